"""Where a URL of a test leads: scheme, host and port."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


class Place(NamedTuple):
    """What a server serves.

    Attributes:
      host: a name, or a literal IP address without brackets.
      port: the URL's, or the usual one.
      is_tls: whether it is https.
    """

    host: str
    port: int
    is_tls: bool

    @property
    def is_literal(self) -> bool:
        """Whether the host is an IP address."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def place_of(url: str) -> Place:
    """Read the URL of an origin, such as ``"http://a.test"`` or ``"https://[::1]:8443"``.

    Raises:
      ValueError: it is none, or has more in it than an origin.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {url!r}")
    parts = urlsplit(url)
    port = parts.port  # A ValueError if it is none.
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"url must be that of an origin, as http://a.test, not {url!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(
            f"a server serves all of an origin: leave everything else out of {url!r}, and look at "
            "request.target"
        )
    return Place(parts.hostname, port or _PORTS[parts.scheme], parts.scheme == "https")
