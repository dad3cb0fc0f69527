"""Which connection a request gets, when one is opened, and when one is closed.

This room knows neither HTTP nor sockets: a connection is what :mod:`.pooled` says it is. Begin with
the essay in :mod:`.engine`.
"""
