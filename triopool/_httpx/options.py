"""What a transport and a client of ours have to say about options that are a library's own."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any


class HTTP2Warning(UserWarning):
    """``http2=True`` was asked for. Nothing else changes: HTTP/1.1 is spoken, as to any server."""


def warn_of_http2(options: dict[str, Any], *, stacklevel: int) -> None:
    """Take what is said of versions out of *options*.

    Args:
      options: the caller's.
      stacklevel: how far above this function the line is that has them.

    Raises:
      ValueError: HTTP/1.1 is not wanted.
    """
    if options.pop("http2", False):
        warnings.warn(
            "triopool speaks HTTP/1.1 and no HTTP/2: http2=True changes nothing",
            HTTP2Warning,
            stacklevel=stacklevel + 1,
        )
    if not options.pop("http1", True):
        raise ValueError("triopool speaks HTTP/1.1: http1= has to be True")


def refuse_what_is_the_clients(library: ModuleType, options: dict[str, Any]) -> None:
    """Refuse options of a client, among those of a transport.

    Raises:
      TypeError: there is one.
    """
    if "timeouts" in options:
        raise TypeError("timeouts= has no meaning here: those of the client hold")
    name = library.__name__
    proxies = vars(library)["Proxy"], vars(library)["URL"]
    if isinstance(options.get("proxy"), proxies):
        raise TypeError(
            f"proxy= is the pool's here, such as a triopool.Proxy or its URL (a str): it is "
            f"triopool.{name}.AsyncClient that takes what {name} has for one"
        )
