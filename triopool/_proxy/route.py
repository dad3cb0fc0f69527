"""The way of a request: directly, through a tunnel, or forwarded by a proxy.

A way is a :class:`PoolKey`, which has all of it: without a proxy it is direct, with one it is a
tunnel, or ``forwarded``. Which one, by scheme of the URL and kind of the proxy:

    ==============================================  ============================  ===============
    URL                                             http:// and https:// proxies  SOCKS
    ==============================================  ============================  ===============
    http                                            forwarded                     tunnel
    http with Upgrade, CONNECT, or ``tunnel=True``  tunnel                        tunnel
    https                                           tunnel, TLS inside            tunnel, TLS inside
    ==============================================  ============================  ===============

What is forwarded has another target than what the origin itself would get, and the proxy's fields.
Both are made here, when the head is written that goes to that proxy. They are no part of what a
redirect takes along.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from .._origin import Origin
from .._pool_key import PoolKey
from .._request.fields import Field, lower, names_of
from .._request.url import URL
from .proxy import Proxy


def route(
    origin: Origin,
    server_hostname: str | None,
    proxy: Proxy,
    *,
    may_switch: bool = False,
    ssl_context: ssl.SSLContext | None = None,
) -> PoolKey:
    """The way to *origin* through *proxy*.

    Args:
      may_switch: the request is a CONNECT, or asks for another protocol.
      ssl_context: for TLS with the origin; None for the pool's.

    Raises:
      InvalidURL: the proxy can't be told to connect to that origin.
    """
    proxy.check_reaches(origin)
    if not proxy.forwards(origin, may_switch=may_switch):
        return PoolKey(origin, server_hostname, proxy, ssl_context=ssl_context)
    whose = proxy.origin if proxy.share_connections else origin
    return PoolKey(whose, None, proxy, forwarded=True)


def forwarded_target(method: str, url: URL, target: str | None = None) -> str:
    """The target of a request that a proxy forwards (RFC 9112 section 3.2.2).

    Args:
      target: what the caller wants instead of the URL's path and query.
    """
    origin = f"{url.origin.scheme}://{url.host_header}"
    if target is None:
        return origin + url.target
    if target == "*" and method == "OPTIONS":
        return origin  # RFC 9112 section 3.2.4: the last proxy makes an asterisk of it again.
    return origin + target if target.startswith("/") else target


def forwarded_fields(given: Sequence[Field], proxy: Proxy) -> list[tuple[bytes, bytes]]:
    """The fields that *proxy* gets with a request that it forwards, behind the request's own.

    One that the request has itself is not repeated.
    """
    names = names_of(given)
    return [line for line in proxy.fields if lower(line[0]) not in names]
