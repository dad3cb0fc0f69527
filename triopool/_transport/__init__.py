"""Bytes over one socket, in the clear or under TLS. This room knows no HTTP."""
