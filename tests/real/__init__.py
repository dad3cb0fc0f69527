"""The pool against servers that others wrote, over real sockets, on real time.

A deadline in here is a guard against hanging, or part of what is tested; none measures speed.
"""
