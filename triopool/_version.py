"""The version: said here, and read from here when the package is built.

Not asked of what is installed: to look that up takes longer than to import all the rest of us.
"""

__version__ = "0.1.0"
