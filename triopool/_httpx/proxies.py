"""The proxies of a client of httpx, as a pool has them.

The library makes a transport for each proxy, those of the environment included. A pool needs none
of these: it is asked which proxy a request goes through. So nothing is sent past the pool.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from .._proxy.proxy import Proxy
from .._proxy.rules import ProxyRules

_NAMES_RESOLVED_HERE = re.compile(r"\Asocks5(?=://)", re.IGNORECASE)


def pools_proxy(library: ModuleType, proxy: Any) -> Any:
    """What a client is given as ``proxy=``, as a pool takes it.

    Args:
      library: ``httpx`` or ``httpx2``.
      proxy: a URL, or the library's own class for one, or for a proxy. What is none of these is for
        the pool to look at.

    Raises:
      ValueError, TypeError: the proxy can't be used. Nothing of its URL is quoted.
    """
    if isinstance(proxy, str | library.URL):
        return Proxy(_with_names_for_the_proxy(str(proxy)))
    if isinstance(proxy, library.Proxy):
        return Proxy(
            _with_names_for_the_proxy(str(proxy.url)),
            auth=proxy.auth,
            headers=proxy.headers.raw,
            ssl_context=proxy.ssl_context,
        )
    return proxy


def environments_rules() -> ProxyRules:
    """What the environment says now.

    Raises:
      ValueError: a variable that counts can't be used. It is named, and its value is not quoted.
    """
    return ProxyRules.from_environment(
        {name: _with_names_for_the_proxy(value) for name, value in os.environ.items()}
    )


def _with_names_for_the_proxy(url: str) -> str:
    """The URL of a proxy that is told names, as the library means it: for us that is socks5h.

    To resolve them here would tell the name service what the proxy was to keep from it.
    """
    return _NAMES_RESOLVED_HERE.sub("socks5h", url)


def with_none_as(directly: Any, mounts: Mapping[str, Any] | None) -> dict[str, Any]:
    """The mounts of a client, None among them replaced.

    For the library None is its transport without a proxy. Ours has the proxies itself.
    """
    return {
        pattern: directly if transport is None else transport
        for pattern, transport in (mounts or {}).items()
    }
