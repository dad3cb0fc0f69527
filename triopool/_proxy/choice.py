"""One proxy, or none: as it is given for a request, for a rule, or as the answer of a chooser.

No way leads past a proxy that was chosen. So nothing here takes an answer for "no proxy" that does
not say so: ``None`` would be that of a chooser whose author forgot a ``return``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from .._config import described
from .proxy import DIRECT, Direct, Proxy

ProxyOption: TypeAlias = Proxy | str | Direct

WHAT_IT_IS = "a triopool.Proxy, a proxy's URL (a str) or triopool.DIRECT"


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
    hint = ": a function of the origin is for ConnectionPool(proxy=)" if callable(value) else ""
    raise TypeError(f"{name} must be {WHAT_IT_IS}, not {described(value)}{hint or for_each(value)}")


def for_each(value: object) -> str:
    """What to write instead of a mapping, in which other clients have a proxy for each scheme."""
    if isinstance(value, Mapping):
        return ": one for each scheme is ProxyRules(http=..., https=...)"
    return ""


def proxy_or_none(name: str, value: object) -> Proxy | None:
    """The same as a request has it: None for the direct way."""
    checked = check_proxy(name, value)
    return None if checked is DIRECT else checked
