"""One request and its response as messages, on one connection.

:mod:`.seam` says what an exchange may ask of any protocol; each of the others speaks one.
"""
