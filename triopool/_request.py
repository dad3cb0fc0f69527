"""A request, checked and ready to be sent, so that nothing can be wrong with it later."""

from __future__ import annotations

import io
import json as stdlib_json
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeAlias, TypedDict

from . import _http11, _url
from ._config import Timeouts, check_count
from ._errors import LocalProtocolError
from ._origin import Origin, PoolKey
from ._url import URL, Params

BodyFactory: TypeAlias = Callable[[], AsyncIterable[bytes]]
Content: TypeAlias = "bytes | bytearray | memoryview | str | AsyncIterable[bytes] | BodyFactory"
HeaderText: TypeAlias = "str | bytes"
Headers: TypeAlias = (
    "Mapping[str, str] | Mapping[str, bytes] | Mapping[bytes, bytes]"
    " | Iterable[tuple[HeaderText, HeaderText]]"
)

OnInformational: TypeAlias = Callable[[int, list[tuple[bytes, bytes]]], object]

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The methods that may be sent twice without asking: the safe ones (RFC 9110 section 9.2.1).

PUT and DELETE are idempotent by the book, but a server may have acted on the first one and answer
the second one otherwise; whoever knows better says ``idempotent=True``.
"""

_USER_AGENT = f"triopool/{version('triopool')}"
_UNSUPPORTED = {"upgrade": "protocol upgrades are", "proxy-authorization": "proxies are"}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """The facts of a request, as instruments see them.

    Attributes:
      method: as given.
      origin: where to.
      target: path and query. May hold secrets, if the application puts them there.
      attempt: 1, or more if it is sent again after a stale connection.
    """

    method: str
    origin: Origin
    target: str
    attempt: int


@dataclass(slots=True)
class Request:
    """A request that is legal to send.

    Attributes:
      body: what to send: bytes, an async iterable that can be sent once, or a factory of such.
      replayable: whether the body can be sent a second time.
      idempotent: whether the request can be.
    """

    method: str
    url: URL
    key: PoolKey
    head: _http11.Head
    body: bytes | AsyncIterable[bytes] | BodyFactory
    timeouts: Timeouts
    idempotent: bool
    expect_continue: bool
    on_informational: OnInformational | None
    max_body_bytes: int | None
    attempt: int = 1

    @property
    def replayable(self) -> bool:
        return isinstance(self.body, bytes) or callable(self.body)

    def info(self) -> RequestInfo:
        return RequestInfo(self.method, self.url.origin, self.url.target, self.attempt)


class RequestOptions(TypedDict, total=False):
    """The keyword arguments of a request; :meth:`ConnectionPool.request` explains them."""

    params: Params | None
    headers: Headers | None
    content: Content | None
    json: Any
    timeouts: Timeouts | None
    server_hostname: str | None
    idempotent: bool | None
    expect_continue: bool
    on_informational: OnInformational | None
    max_body_bytes: int | None


def prepare(
    method: str,
    url: str,
    *,
    default_timeouts: Timeouts,
    params: Params | None = None,
    headers: Headers | None = None,
    content: Content | None = None,
    json: Any = None,
    timeouts: Timeouts | None = None,
    server_hostname: str | None = None,
    idempotent: bool | None = None,
    expect_continue: bool = False,
    on_informational: OnInformational | None = None,
    max_body_bytes: int | None = None,
) -> Request:
    """Check everything that the caller gave; see :meth:`ConnectionPool.request`."""
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {type(method).__name__}")
    if timeouts is not None and not isinstance(timeouts, Timeouts):
        raise TypeError(f"timeouts must be a triopool.Timeouts, not {timeouts!r}")
    target = _url.parse(url, params)
    if server_hostname is not None and target.origin.scheme != "https":
        raise ValueError("server_hostname is for https URLs only")
    given = _pairs(headers)
    body, content_type = _body(content, json)
    names = {_lower(name) for name, _ in given}
    if method == "CONNECT":
        raise LocalProtocolError("CONNECT is not supported")
    for name in names & _UNSUPPORTED.keys():
        raise LocalProtocolError(f"header {name!r}: {_UNSUPPORTED[name]} not supported")
    lines = [
        *_defaults(method, target, body, content_type, names, expect_continue=expect_continue),
        *given,
    ]
    return Request(
        method=method,
        url=target,
        key=PoolKey(target.origin, server_hostname),
        head=_http11.make_head(method, target.target, lines),
        body=body,
        timeouts=timeouts or default_timeouts,
        idempotent=method in IDEMPOTENT if idempotent is None else idempotent,
        expect_continue=expect_continue,
        on_informational=on_informational,
        max_body_bytes=check_count("max_body_bytes", max_body_bytes, least=0),
    )


def _defaults(
    method: str,
    url: URL,
    body: bytes | AsyncIterable[bytes] | BodyFactory,
    content_type: str | None,
    given: set[str],
    *,
    expect_continue: bool,
) -> list[tuple[str, str]]:
    """The header fields that are added where the caller gave none of that name. Host goes first."""
    wanted = {"Host": url.host_header, "Accept": "*/*", "User-Agent": _USER_AGENT}
    if content_type is not None:
        wanted["Content-Type"] = content_type
    if expect_continue:
        wanted["Expect"] = "100-continue"
    # RFC 9110 section 8.6: no Content-Length where a body has no meaning and there is none.
    if not {"content-length", "transfer-encoding"} & given:
        if not isinstance(body, bytes):
            wanted["Transfer-Encoding"] = "chunked"
        elif body or method in {"POST", "PUT", "PATCH"}:
            wanted["Content-Length"] = str(len(body))
    return [(name, value) for name, value in wanted.items() if name.lower() not in given]


def _pairs(headers: Headers | None) -> list[tuple[HeaderText, HeaderText]]:
    if headers is None:
        return []
    items: Iterable[Any] = headers.items() if isinstance(headers, Mapping) else headers
    pairs = []
    for item in items:
        match item:
            case (str() | bytes() as name, str() | bytes() as value):
                pairs.append((name, value))
            case (str() | bytes() as name, other):
                raise TypeError(
                    f"the value of header {name!r} must be str or bytes, not {type(other).__name__}"
                )
            case _:
                raise TypeError("headers must be a mapping, or an iterable of (name, value) pairs")
    return pairs


def _lower(name: HeaderText) -> str:
    return (name if isinstance(name, str) else name.decode("latin-1")).lower()


def _body(content: Any, json: Any) -> tuple[bytes | AsyncIterable[bytes] | BodyFactory, str | None]:
    """The body, and the Content-Type that it suggests."""
    if json is not None:
        if content is not None:
            raise TypeError("give either content= or json=, not both")
        encoded = stdlib_json.dumps(
            json, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
        return encoded.encode(), "application/json"
    if content is None:
        return b"", None
    if isinstance(content, str):
        return content.encode(), "text/plain; charset=utf-8"
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content), None
    if isinstance(content, AsyncIterable) or callable(content):
        return content, None
    hint = ": open it with trio.open_file() and pass the async file" * isinstance(
        content, io.IOBase
    )
    raise TypeError(
        "content must be bytes, str, an async iterable of bytes, or a callable that returns one, "
        f"not {type(content).__name__}{hint}"
    )
