"""Public suffixes: the names below which everybody may register one, such as ``co.uk``.

A cookie for one of them would go to sites that have nothing to do with each other. No rule tells
them from other names: there is a list, at https://publicsuffix.org, of ten thousand entries, which
changes every week. The standard library knows two dozen second-level names by heart, from before
2010. So we need a library that keeps the list. ``publicsuffixlist`` brings it along, has a release
for each change of it, depends on nothing, and never asks the network by itself; ``tldextract`` does
that unless told otherwise, and ``publicsuffix2`` has a list of 2019.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import trio

from .._threads import run_in_thread

IsPublicSuffix: TypeAlias = Callable[[str], bool]
"""Says whether a domain, in lower case and ASCII, is a public suffix."""

_LIBRARY = "publicsuffixlist"


def check_installed(library: str = _LIBRARY) -> None:
    """See that the list is there, without reading it.

    Raises:
      ImportError: it is not.
    """
    if importlib.util.find_spec(library) is None:
        raise ImportError(
            "cookies need the list of public suffixes, or one could be set for all of 'co.uk': "
            "pip install 'triopool[cookies]', or give Cookies(is_public_suffix=...)"
        )


@cache
def _list() -> IsPublicSuffix:
    rule: IsPublicSuffix = importlib.import_module(_LIBRARY).PublicSuffixList().is_public
    return rule


async def load() -> IsPublicSuffix:
    """The rule of the list. Read once, in a thread, for that takes a tenth of a second.

    Raises:
      Exception: what the library raises if its list can't be read.
    """
    return await run_in_thread(_list, limiter=trio.CapacityLimiter(1))
