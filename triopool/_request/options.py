"""The keyword arguments of a request: their names and types, said once.

``ConnectionPool.request()`` tells what they mean, ``prepare.py`` checks what is given for them, and
``tests/test_options.py`` holds the three together.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias, TypedDict

from .. import _habits
from .._body.body import Content
from .._body.form import Params
from .._body.multipart import MultipartFields
from .._config import Redirects, Timeouts
from .._facts import OnProgress
from .._proxy.choice import ProxyOption
from . import fields as _fields
from .auth import AuthOption
from .fields import Headers

OnInformational: TypeAlias = Callable[[int, list[tuple[bytes, bytes]]], object]


class RequestOptions(TypedDict, total=False):
    """The keyword arguments of a request; :meth:`ConnectionPool.request` explains them."""

    params: Params | None
    headers: Headers | None
    content: Content | None
    json: Any
    form: Params | None
    multipart: MultipartFields | None
    auth: AuthOption | None
    timeouts: Timeouts | None
    server_hostname: str | None
    ssl_context: ssl.SSLContext | None
    proxy: ProxyOption | None
    target: str | None
    idempotent: bool | None
    expect_continue: bool
    follow_redirects: bool | Redirects
    decode: bool
    on_informational: OnInformational | None
    on_progress: OnProgress | None
    max_body_bytes: int | None


def repeatable(options: RequestOptions) -> RequestOptions:
    """The same, for several requests: what may be an iterator is read into a list, once.

    Raises:
      TypeError: there is no reading it.
    """
    copied: RequestOptions = {**options}
    copied["headers"] = _fields.read(options.get("headers") or ())
    params = options.get("params")
    if isinstance(params, Iterable) and not isinstance(params, str | bytes | Mapping):
        copied["params"] = list(params)
    return copied


def check_names(caller: str, options: Collection[str]) -> None:
    """Tell of a keyword that no request has, with the one that was meant where it is known.

    Raises:
      TypeError: there is one.
    """
    _habits.check_keywords(caller, options, RequestOptions.__annotations__, _habits.OF_A_REQUEST)
