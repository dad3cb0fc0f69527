"""Who a request is for: the origin, and the key under which connections are shared."""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """Scheme, host and port (RFC 9110 section 4.3.1).

    Attributes:
      scheme: ``"http"`` or ``"https"``.
      host: lower case, IDNA-encoded; an IPv6 address stands without brackets.
      port: always a number; the scheme's default is filled in.
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bracketed_host}:{self.port}"

    @property
    def bracketed_host(self) -> str:
        """The host as it stands in a URL: IPv6 addresses in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host


class PoolKey(NamedTuple):
    """All that shapes a connection and may differ between two requests of one pool.

    Two requests share connections, a queue and the bound per origin if and only if their keys
    are equal. What a pool has only one of (its TLS context, local address, socket path) need not
    be in here.

    Attributes:
      origin: where to.
      server_hostname: the name sent as SNI and verified, where it is not the origin's host.
    """

    origin: Origin
    server_hostname: str | None = None

    def __str__(self) -> str:
        if self.server_hostname is None:
            return str(self.origin)
        return f"{self.origin} as {self.server_hostname}"
