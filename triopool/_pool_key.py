"""The key under which connections are shared: where to, and on which way."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from ._origin import Origin
from ._proxy.proxy import Proxy


class PoolKey(NamedTuple):
    """All that shapes a connection and may differ between two requests of one pool.

    Two requests share connections, a queue and the bound per origin if and only if their keys
    are equal. What a pool has only one of (its own TLS context, local address, socket path) need
    not be in here.

    Attributes:
      origin: where to. Of connections on which a proxy forwards to all origins: the proxy's own.
      server_hostname: the name sent as SNI and verified, where it is not the origin's host.
      proxy: the proxy on the way, with its credentials and all else; None for a direct connection.
      forwarded: whether that proxy forwards single requests. Else it opens a tunnel to the origin.
      ssl_context: what TLS with the origin is spoken by, where that is not the pool's.
    """

    origin: Origin
    server_hostname: str | None = None
    proxy: Proxy | None = None
    forwarded: bool = False
    ssl_context: ssl.SSLContext | None = None

    @property
    def proxies(self) -> tuple[Proxy, ...]:
        """All proxies on the way, from the one that is dialled on; none of a direct connection."""
        return () if self.proxy is None else self.proxy.chain

    @property
    def has_tls(self) -> bool:
        """Whether there is TLS with the origin."""
        return self.origin.scheme == "https" and not self.forwarded

    def way_to(self, origin: Origin) -> str:
        """In words: where a request for *origin* goes that has this key, and how."""
        name = str(origin)
        if self.server_hostname is not None:
            name = f"{name} as {self.server_hostname}"
        return name if self.proxy is None else f"{name} through {self.proxy}"

    def __str__(self) -> str:
        if self.forwarded and self.proxy is not None and self.origin == self.proxy.origin:
            return f"the proxy {self.proxy}"
        return self.way_to(self.origin)


class StreamKey(PoolKey):
    """The key of a connection that is a stream of the program's own: ``pool.connect()``.

    Never equal to that of requests, so no request's connection becomes such a stream, and no such
    stream serves a request. It queues for itself, and has a bound per origin of its own. A class,
    and not one field more, for which each look-up of each request's key would pay.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StreamKey) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((StreamKey, *self))

    def __str__(self) -> str:
        return f"{super().__str__()}, as a stream"
