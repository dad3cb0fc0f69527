"""A request, checked and ready to be sent, so that nothing can be wrong with it later."""

from __future__ import annotations

import io
import json as stdlib_json
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeAlias, TypedDict, cast

import trio

from . import _http11, _url
from ._config import Timeouts, check_count
from ._errors import LocalProtocolError
from ._origin import Origin, PoolKey
from ._url import URL, Params

# A trio.abc.ReceiveStream is an iterable of "bytes | bytearray".
Pieces: TypeAlias = AsyncIterable[bytes | bytearray | memoryview]
BodyFactory: TypeAlias = Callable[[], bytes | Pieces]
Body: TypeAlias = bytes | Pieces | BodyFactory
Content: TypeAlias = bytes | bytearray | memoryview | str | Pieces | BodyFactory
HeaderText: TypeAlias = str | bytes
Headers: TypeAlias = (
    Mapping[str, str]
    | Mapping[str, bytes]
    | Mapping[bytes, bytes]
    | Iterable[tuple[HeaderText, HeaderText]]
)

OnInformational: TypeAlias = Callable[[int, list[tuple[bytes, bytes]]], object]

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The methods that may be sent twice without asking: the safe ones (RFC 9110 section 9.2.1).

PUT and DELETE are idempotent by the book, but a server may have acted on the first one and answer
the second one otherwise; whoever knows better says ``idempotent=True``.
"""

USUAL = IDEMPOTENT | {"POST", "PUT", "PATCH", "DELETE", "CONNECT"}
"""Methods that may be given in lower case. Others are sent as they are (RFC 9110 section 9.1)."""

FILE_BLOCK_BYTES = 64 * 1024
"""How much of a file is read at once."""

_USER_AGENT = f"triopool/{version('triopool')}"
# RFC 9110 section 5.5: these have no business in a value. h11 refuses CR, LF and NUL only.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_UNSUPPORTED = {b"upgrade": "protocol upgrades are", b"proxy-authorization": "proxies are"}


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
      body_started: whether an iterator over it has been asked for anything.
      replayable: whether the body can be sent a second time.
      idempotent: whether the request can be.
    """

    method: str
    url: URL
    key: PoolKey
    head: _http11.Head
    body: Body
    timeouts: Timeouts
    idempotent: bool
    expect_continue: bool
    on_informational: OnInformational | None
    max_body_bytes: int | None
    attempt: int = 1
    body_started: bool = False

    @property
    def replayable(self) -> bool:
        return isinstance(self.body, bytes) or callable(self.body)

    async def give_up_body(self) -> None:
        """Close a body that nobody will send. One that was begun is closed by whoever sent it."""
        if not (self.replayable or self.body_started):
            self.body_started = True
            await close_body(self.body)

    def info(self) -> RequestInfo:
        return RequestInfo(self.method, self.url.origin, self.url.target, self.attempt)


async def close_body(body: object) -> None:
    """Close a generator, a stream or a file; other iterables have no end to be told."""
    aclose: Callable[[], Awaitable[object]] | None = getattr(body, "aclose", None)
    if aclose is not None:
        await aclose()


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
    _check_types(method, timeouts, server_hostname, on_informational)
    if method.upper() in USUAL:
        method = method.upper()
    target = _url.parse(url, params)
    if server_hostname is not None and target.origin.scheme != "https":
        raise ValueError("server_hostname is for https URLs only")
    given = _pairs(headers)
    body, content_type = _body(content, json)
    expects = expect_continue and body != b""  # RFC 9110 section 10.1.1: not without a body
    lines = _lines(method, target, given, body, content_type, expects)
    return Request(
        method=method,
        url=target,
        key=PoolKey(target.origin, server_hostname),
        head=_make_head(method, target.target, lines, body, checked=not given),
        body=body,
        timeouts=timeouts or default_timeouts,
        idempotent=method in IDEMPOTENT if idempotent is None else idempotent,
        expect_continue=expects,
        on_informational=on_informational,
        max_body_bytes=check_count("max_body_bytes", max_body_bytes, least=0),
    )


def _check_types(
    method: object, timeouts: object, server_hostname: object, on_informational: object
) -> None:
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {type(method).__name__}")
    if timeouts is not None and not isinstance(timeouts, Timeouts):
        raise TypeError(f"timeouts must be a triopool.Timeouts, not {timeouts!r}")
    if server_hostname is not None and not (isinstance(server_hostname, str) and server_hostname):
        raise TypeError(f"server_hostname must be a name or None, not {server_hostname!r}")
    if on_informational is not None and not callable(on_informational):
        raise TypeError(f"on_informational must be callable, not {on_informational!r}")


# ── The head ───────────────────────────────────────────────────────────────────────────────────


def _make_head(
    method: str,
    target: str,
    lines: list[tuple[HeaderText, HeaderText]],
    body: Body,
    *,
    checked: bool,
) -> _http11.Head:
    """Refuse what is not legal, and in fields that were given what is legal by the letter only."""
    if method == "CONNECT":
        raise LocalProtocolError("CONNECT is not supported")
    head = _http11.make_head(method, target, lines)
    if not checked:
        _check_fields(head, body)
    return head


def _check_fields(head: _http11.Head, body: Body) -> None:
    for name, value in head.headers.raw_items():
        if _CONTROL.search(value):
            raise LocalProtocolError(f"the value of header {name.decode()!r} can't be sent")
    fields = dict(head.headers)
    for name in _UNSUPPORTED.keys() & fields.keys():
        raise LocalProtocolError(f"header {name.decode()!r}: {_UNSUPPORTED[name]} not supported")
    length = fields.get(b"content-length")
    if length is not None and b"transfer-encoding" in fields:
        raise LocalProtocolError(
            "Content-Length and Transfer-Encoding exclude each other (RFC 9112 section 6.2)"
        )
    if length is not None and isinstance(body, bytes) and int(length) != len(body):
        raise LocalProtocolError(f"Content-Length is not that of the body, {len(body)}")


def _lines(
    method: str,
    url: URL,
    given: list[tuple[HeaderText, HeaderText]],
    body: Body,
    content_type: str | None,
    expects: bool,
) -> list[tuple[HeaderText, HeaderText]]:
    """The header fields: those that were given, behind the defaults for those that were not.

    Host goes first (RFC 9110 section 7.2).
    """
    names = {_lower(name) for name, _ in given}
    wanted = {"Host": url.host_header, "Accept": "*/*", "User-Agent": _USER_AGENT}
    if content_type is not None:
        wanted["Content-Type"] = content_type
    if expects:
        wanted["Expect"] = "100-continue"
    # RFC 9110 section 8.6: no Content-Length where a body has no meaning and there is none.
    if not {"content-length", "transfer-encoding"} & names:
        if not isinstance(body, bytes):
            wanted["Transfer-Encoding"] = "chunked"
        elif body or method in {"POST", "PUT", "PATCH"}:
            wanted["Content-Length"] = str(len(body))
    lines = [(name, value) for name, value in wanted.items() if name.lower() not in names]
    if "host" in names:
        return sorted([*lines, *given], key=lambda line: _lower(line[0]) != "host")
    return [*lines, *given]


def _pairs(headers: Headers | None) -> list[tuple[HeaderText, HeaderText]]:
    if headers is None:
        return []
    items: Any = headers.items() if isinstance(headers, Mapping) else headers
    pairs = []
    for item in items if isinstance(items, Iterable) else [items]:
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


# ── The body ───────────────────────────────────────────────────────────────────────────────────


def _body(content: Any, json: Any) -> tuple[Body, str | None]:
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
    if _is_async_file(content):
        return _Blocks(content), None
    if isinstance(content, AsyncIterable) or callable(content):
        return cast("Body", content), None  # What they give is seen when they are asked.
    hint = ": open it with trio.open_file() and pass the async file" * isinstance(
        content, io.IOBase
    )
    raise TypeError(
        "content must be bytes, str, an async iterable of bytes, or a callable that returns one, "
        f"not {type(content).__name__}{hint}"
    )


def _is_async_file(content: object) -> bool:
    return isinstance(content, trio.abc.AsyncResource) and hasattr(content, "wrapped")


class _Blocks:
    """An async file, in blocks. To iterate over it would give lines."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __aiter__(self) -> _Blocks:
        return self

    async def __anext__(self) -> bytes:
        block: bytes = await self._file.read(FILE_BLOCK_BYTES)
        if not block:
            raise StopAsyncIteration
        return block

    async def aclose(self) -> None:
        await self._file.aclose()
