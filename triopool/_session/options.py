"""The keyword arguments of a session, and of its requests: their names and types, said once.

``ConnectionPool.session()`` tells what they mean, ``policy.py`` checks what is given for them, and
``tests/session/test_options.py`` holds them together with those of a pool's requests.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeAlias, TypedDict

from .. import _habits
from .._body.body import Content
from .._body.form import Params
from .._body.multipart import MultipartFields
from .._config import Redirects, Timeouts
from .._facts import OnProgress
from .._proxy.choice import ProxyOption
from .._request.auth import AuthOption
from .._request.fields import FieldText, Headers
from .._request.options import OnInformational
from .cookies import Cookies
from .retry import Retry

HeadersToMerge: TypeAlias = (
    Headers | Mapping[str, str | None] | Iterable[tuple[FieldText, FieldText | None]]
)
"""Fields that are put over those of the session; None for a value takes one away."""


class SessionOptions(TypedDict, total=False):
    """What all requests of a session have in common; :meth:`ConnectionPool.session` explains it."""

    base_url: str | None
    confined: bool
    headers: HeadersToMerge | None
    params: Params | None
    auth: AuthOption | None
    timeouts: Timeouts | None
    ssl_context: ssl.SSLContext | None
    proxy: ProxyOption | None
    follow_redirects: bool | Redirects
    decode: bool
    max_body_bytes: int | None
    retry: Retry | None
    cookies: bool | Cookies | None


class SessionRequestOptions(TypedDict, total=False):
    """The keyword arguments of a session's request.

    Those of the pool's, which :meth:`ConnectionPool.request` explains, and ``retry=``. In
    ``headers=`` a value may be None; :meth:`ConnectionPool.session` tells how all of them go
    together with the session's.
    """

    params: Params | None
    headers: HeadersToMerge | None
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
    retry: Retry | None


def check_names(options: Collection[str]) -> None:
    """Tell of a keyword that no session has, with the one that was meant where it is known.

    Raises:
      TypeError: there is one.
    """
    known = SessionOptions.__annotations__
    _habits.check_keywords("session()", options, known, _habits.OF_A_SESSION)
