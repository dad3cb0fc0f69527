"""What other clients call it: keywords that nothing of ours has, and what to write instead."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., object])

_A_LIMIT = "timeouts=triopool.Timeouts(...), or a cancel scope such as trio.fail_after()"
_A_CONTEXT = "ssl_context="
_EACH = "the same argument of each request, or of pool.session()"
_A_SESSION = "the same argument of pool.session()"

OF_A_REQUEST: Mapping[str, str] = {
    "allow_redirects": "follow_redirects=",
    "body": "content=",
    "cert": "ConnectionPool(ssl_context=...)",
    "base_url": "pool.session(base_url=...)",
    "cookies": "headers={'Cookie': ...}, or pool.session(cookies=True)",
    "data": "form= or content=",
    "fields": "form= or multipart=",
    "files": "multipart=",
    "mounts": "proxy=",
    "no_proxy": "proxy=triopool.DIRECT",
    "proxies": "proxy=",
    "proxy_auth": "proxy=triopool.Proxy(url, auth=...)",
    "proxy_headers": "proxy=triopool.Proxy(url, headers=...)",
    "max_redirects": "follow_redirects=triopool.Redirects(limit=...)",
    "query": "params=",
    "redirect": "follow_redirects=",
    "retries": "pool.session(retry=triopool.Retry(...))",
    "retry": "pool.session(retry=triopool.Retry(...))",
    "sni_hostname": "server_hostname=",
    "ssl": "ConnectionPool(ssl_context=...)",
    "ssl_context": "ConnectionPool(ssl_context=...)",
    "stream": "pool.stream(...)",
    "timeout": _A_LIMIT,
    "verify": "ConnectionPool(ssl_context=...)",
}

OF_A_POOL: Mapping[str, str] = {
    "auth": _EACH,
    "base_url": _A_SESSION,
    "cert": _A_CONTEXT,
    "cookies": _A_SESSION,
    "connector": "the pool's own options",
    "follow_redirects": _EACH,
    "headers": _EACH,
    "keepalive_expiry": "idle_timeout=",
    "limit": "max_connections=",
    "limit_per_host": "max_connections_per_origin=",
    "limits": "max_connections= and max_idle=",
    "max_keepalive_connections": "max_idle=",
    "maxsize": "max_connections=",
    "mounts": "proxy=, a function of the origin",
    "network_backend": "socket_factory=",
    "http_proxy": "proxy=triopool.ProxyRules(http=...)",
    "https_proxy": "proxy=triopool.ProxyRules(https=...)",
    "no_proxy": "proxy=triopool.ProxyRules(..., no_proxy=...)",
    "proxies": "proxy=, or proxy=triopool.ProxyRules(http=..., https=...)",
    "proxy_auth": "proxy=triopool.Proxy(url, auth=...)",
    "proxy_headers": "proxy=triopool.Proxy(url, headers=...)",
    "proxy_ssl_context": "proxy=triopool.Proxy(url, ssl_context=...)",
    "proxy_url": "proxy=",
    "retries": "pool.session(retry=triopool.Retry(...))",
    "retry": _A_SESSION,
    "ssl": _A_CONTEXT,
    "timeout": _A_LIMIT,
    "trust_env": "proxy=triopool.ProxyRules.from_environment()",
    "ttl_dns_cache": "dns_ttl=",
    "uds": "unix_socket=",
    "verify": _A_CONTEXT,
}

OF_A_SESSION: Mapping[str, str] = {
    "allow_redirects": "follow_redirects=",
    "cert": "ConnectionPool(ssl_context=...)",
    "limits": "options of the pool, whose connections the session borrows",
    "max_redirects": "follow_redirects=triopool.Redirects(limit=...)",
    "prefix_url": "base_url=",
    "proxies": "proxy=",
    "raise_for_status": "response.raise_for_status()",
    "retries": "retry=triopool.Retry(...)",
    "retry_options": "retry=triopool.Retry(...)",
    "ssl_context": "ConnectionPool(ssl_context=...)",
    "timeout": _A_LIMIT,
    "transport": "options of the pool, whose connections the session borrows",
    "verify": "ConnectionPool(ssl_context=...)",
}

OF_A_PROXY: Mapping[str, str] = {
    "cert": _A_CONTEXT,
    "host": "url='http://host:port'",
    "password": "auth=(name, password)",
    "port": "url='http://host:port'",
    "proxy_auth": "auth=",
    "proxy_headers": "headers=",
    "proxy_ssl": _A_CONTEXT,
    "rdns": "socks5h:// in the URL",
    "ssl": _A_CONTEXT,
    "uds": "unix_socket=",
    "username": "auth=(name, password)",
    "verify": _A_CONTEXT,
}

OF_A_CLIENT: Mapping[str, str] = {
    "idle_timeout": "limits=",
    "max_connections": "limits=",
    "max_idle": "limits=",
    "ssl_context": "verify=",
    "timeouts": "timeout=",
}
"""Keywords of a pool, given to a client of httpx that makes its own."""


def refuse(caller: str, names: Iterable[str], meant: Mapping[str, str]) -> None:
    """Refuse keywords that *caller* does not have, and say what was *meant* where it is known.

    Raises:
      TypeError: there is one.
    """
    for name in names:
        hint = f": did you mean {meant[name]}?" if name in meant else ""
        raise TypeError(f"{caller} got an unexpected keyword argument {name!r}{hint}")


def given(caller: str, meant: Mapping[str, str]) -> Callable[[F], F]:
    """Decorate a method, so that its error for a keyword that it does not have is :func:`refuse`'s.

    A decorator, and not ``**unexpected``, so that type checkers see the very signature.
    """

    def decorate(method: F) -> F:
        parameters = inspect.signature(method).parameters

        @functools.wraps(method)
        def checked(*args: Any, **options: Any) -> object:
            refuse(caller, [name for name in options if name not in parameters], meant)
            return method(*args, **options)

        return cast("F", checked)

    return decorate
