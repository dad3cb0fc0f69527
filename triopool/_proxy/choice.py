"""What the user gives as ``proxy=``, and what it comes to.

No way leads past a proxy that was chosen. So nothing here takes an answer for "no proxy" that does
not say so: ``None`` would be that of a chooser whose author forgot a ``return``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TypeAlias

from .._config import described
from .._origin import Origin
from ..abc import ProxyChooser
from .proxy import DIRECT, Direct, Proxy

ProxyOption: TypeAlias = Proxy | str | Direct
"""One proxy, or none, as the user may write it."""

Choose: TypeAlias = Callable[[Origin], Proxy | Direct]
"""A chooser whose answers are checked."""


def check_proxy(name: str, value: object) -> Proxy | Direct:
    """One proxy, or none, that was given as *name*.

    Raises:
      InvalidURL: it is a URL that can't be used.
      TypeError: it is something else, such as None.
    """
    if isinstance(value, Proxy | Direct):
        return value
    if isinstance(value, str):
        return Proxy(value)
    raise TypeError(f"{name} must be {_ONE}, not {described(value)}")


def check_proxy_of_request(value: ProxyOption | None) -> Proxy | Direct | None:
    """What was given as ``proxy=`` for a request; None for: as the pool has it.

    Raises:
      InvalidURL, TypeError: as :func:`check_proxy`.
    """
    return None if value is None else check_proxy("proxy", value)


def check_proxy_of_pool(value: ProxyOption | ProxyChooser | None) -> Choose | None:
    """What was given as ``proxy=`` for a pool; None if its requests go directly.

    Raises:
      InvalidURL, TypeError: as :func:`check_proxy`.
    """
    if value is None or value is DIRECT:
        return None
    # A class can be called, too, but it is not meant: ProxyRules instead of ProxyRules().
    if callable(value) and not isinstance(value, type):
        if inspect.iscoroutinefunction(value):
            raise TypeError(
                "proxy can't be an async function: ask first, and give each request its"
            )
        return functools.partial(_ask, value)
    if not isinstance(value, Proxy | str):
        raise TypeError(
            f"proxy must be {_ONE}, or a function of the origin, not {described(value)}"
        )
    proxy = check_proxy("proxy", value)
    return lambda origin: proxy


def _ask(chooser: ProxyChooser, origin: Origin) -> Proxy | Direct:
    answer: object = chooser(origin)
    if inspect.iscoroutine(answer):
        answer.close()  # So that nobody is told that it was never awaited.
    return check_proxy(f"what the proxy chooser returns for {origin}", answer)


_ONE = "a triopool.Proxy, a proxy's URL (a str) or triopool.DIRECT"
