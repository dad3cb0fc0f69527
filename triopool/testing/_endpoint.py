"""Where a connection ends: an address and a port, or a path.

The socket module has three shapes for that (2-tuples, 4-tuples, strings), and an IPv6 address can
be spelt in many ways. Inside the network there is one shape and one spelling, so that endpoints
can be compared.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import suppress
from typing import Any, TypeAlias

from ._arguments import check_count

Endpoint: TypeAlias = tuple[str, int] | str
"""``(address, port)`` with the address in its canonical spelling, or the path of a Unix socket."""

UNBOUND: dict[int, Endpoint] = {socket.AF_INET: ("0.0.0.0", 0), socket.AF_INET6: ("::", 0)}
"""The local endpoint, by family, of a socket that has none yet; ``""`` for a Unix socket."""


def endpoint(address: str, port: int | None) -> Endpoint:
    """Return the endpoint for a literal *address* and *port*; a *port* of None means a path.

    Raises:
      ValueError: *address* is not a literal IP address, or *port* is none.
    """
    if not isinstance(address, str):
        raise TypeError(f"an address must be a str, not {address!r}")
    if port is None:
        return address
    check_count("port", port, least=0, most=65535)
    return str(ipaddress.ip_address(address)), port


def endpoint_of(family: int, sockaddr: Any) -> Endpoint:
    """Return the endpoint that *sockaddr*, an address in the socket module's shape, stands for.

    Raises:
      socket.gaierror: the address is no literal one of that *family*. Real sockets say so too,
        having tried to look it up.
    """
    if family not in UNBOUND:
        return os.fsdecode(sockaddr)
    host, port, *_ = sockaddr
    with suppress(ValueError):
        found = endpoint(host, port)
        if family_of(found) == family:
            return found
    raise socket.gaierror(socket.EAI_NONAME, f"{host!r} is no address of this socket's family")


def family_of(where: Endpoint) -> int:
    """Return the address family that *where* belongs to."""
    if isinstance(where, str):
        return socket.AF_UNIX
    version = ipaddress.ip_address(where[0]).version
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def sockaddr_of(where: Endpoint) -> Any:
    """Return *where* in the shape that the socket module uses for its family."""
    if family_of(where) == socket.AF_INET6:
        return (*where, 0, 0)
    return where
