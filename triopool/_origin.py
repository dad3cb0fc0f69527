"""Who a request is for."""

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
