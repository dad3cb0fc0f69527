"""A request, checked and ready to be sent, so that nothing can be wrong with it later."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, TypeAlias, TypedDict

from .._body.body import Body, Content, to_body
from .._body.content import Measured, MultipartFields
from .._body.form import Params
from .._config import Redirects, Timeouts, check_bool, check_count, check_redirects, described
from .._decoding import ACCEPT_ENCODING
from .._errors import LocalProtocolError
from .._facts import OnProgress
from .._origin import PoolKey
from .._protocol import request_head as _head
from . import fields as _fields
from . import hints as _hints
from .auth import Auth, check_auth
from .fields import Field, Headers
from .places import Places
from .url import URL, check_server_hostname

AuthOption: TypeAlias = Auth | tuple[str, str]
OnInformational: TypeAlias = Callable[[int, list[tuple[bytes, bytes]]], object]

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The safe methods (RFC 9110 section 9.2.1), which may be sent twice without asking.

PUT and DELETE are idempotent by the book, but a server may have acted on the first one and answer
the second one otherwise; whoever knows better says ``idempotent=True``.
"""

USUAL = SAFE | {"POST", "PUT", "PATCH", "DELETE", "CONNECT"}
"""Methods that may be given in lower case. Others are sent as they are (RFC 9110 section 9.1)."""

_USER_AGENT = f"triopool/{version('triopool')}"
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
_FRAMING = frozenset({"content-length", "transfer-encoding"})
# RFC 9112 section 3.2.3; the host is checked by whoever connects to it.
_AUTHORITY = re.compile(r"(\[[^\[\]]+\]|[^\[\]:/@]+):[0-9]{1,5}")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Request:
    """A request that is legal to send: made whole, its head included, and never changed.

    ``dataclasses.replace()`` makes another one of it, with a head of its own. What changes while it
    is sent stands in ``_exchange/sending.py``.

    Attributes:
      target: what the caller wants on the request line instead of the URL's path and query.
      fields: the header fields that the caller gave.
      verbatim: whether they are all that is to be sent.
      body: what to send: bytes, an async iterable that can be sent once, or a factory of such.
      body_length: in bytes; None if not known. That of a file is known once :meth:`measured` has
        asked for it.
      content_type: what the body suggests.
      idempotent: whether the request may be sent twice; None for: if its method is safe.
      redirects: which ones to follow; None for none.
      head: what goes over the wire, written from all the above.
      key: where to.
    """

    method: str
    url: URL
    timeouts: Timeouts
    target: str | None = None
    fields: Sequence[Field] = ()
    verbatim: bool = False
    body: Body = b""
    body_length: int | None = 0
    content_type: str | None = None
    auth: Auth | None = None
    decode: bool = True
    server_hostname: str | None = None
    idempotent: bool | None = None
    expect_continue: bool = False
    redirects: Redirects | None = None
    on_informational: OnInformational | None = None
    on_progress: OnProgress | None = None
    max_body_bytes: int | None = None
    head: _head.Head = field(init=False)
    key: PoolKey = field(init=False)

    def __init__(self, *, places: Places | None = None, **attributes: Any) -> None:
        """Make it, and write its head.

        Not the dataclass's own ``__init__``, which sets each attribute by a call: 2.3 µs for twenty
        of them, of which most requests need three.

        Args:
          places: what is known of the place, so that the head need not be checked again.
          attributes: as named above; those that are left out have the default of the class.

        Raises:
          LocalProtocolError: the head would not be legal.
        """
        mine = vars(self)
        mine.update(attributes)
        mine["key"] = PoolKey(self.url.origin, self.server_hostname)
        mine["head"] = self._compose(places)

    # ── The head ───────────────────────────────────────────────────────────────────────────────

    def _compose(self, places: Places | None) -> _head.Head:
        target = self.target or self.url.target
        if places is not None and self._is_usual:
            place = self.url.host_header, self.decode
            usual = places.usual_head(place)
            if usual is None:
                fields = _fields.complete((), self._defaults())
                usual = _head.make_head("GET", "/", fields)
                places.keep_usual_head(place, usual)
            return _head.make_head_like(usual, self.method, target)
        lines = self.fields if self.verbatim else _fields.complete(self.fields, self._defaults())
        head = _head.make_head(self.method, target, lines)
        if self.fields:
            _fields.check(head.headers.raw_items(), self.body_length)
        return head

    @property
    def _is_usual(self) -> bool:
        """Whether the fields are those of all requests to the same place."""
        special = self.fields or self.auth or self.content_type or self.expect_continue
        return self.method in SAFE and self.body == b"" and not special

    def _defaults(self) -> dict[str, str]:
        """The fields that are sent unless the caller gave them."""
        given = _fields.names_of(self.fields)
        if self.method == "CONNECT":
            # RFC 9110 section 9.3.6: whom to connect to, and no body.
            return {"Host": self.target or "", "User-Agent": _USER_AGENT}
        wanted = {"Host": self.url.host_header, "Accept": "*/*", "User-Agent": _USER_AGENT}
        # A range is one of the encoded bytes (RFC 9110 section 14.1.2): it could not be decoded.
        if self.decode and "range" not in given:
            wanted["Accept-Encoding"] = ACCEPT_ENCODING
        if self.auth is not None:
            wanted["Authorization"] = self.auth.field_value()
        if self.content_type is not None:
            wanted["Content-Type"] = self.content_type
        if self.expect_continue:
            wanted["Expect"] = "100-continue"
        if "upgrade" in given:
            wanted["Connection"] = "Upgrade"  # RFC 9110 section 7.8: it has to be named there
        if not _FRAMING & given:
            wanted |= self._framing()
        return wanted

    def _framing(self) -> dict[str, str]:
        if self.body_length is None:
            return {"Transfer-Encoding": "chunked"}
        # RFC 9110 section 8.6: no Content-Length where a body has no meaning and there is none.
        if self.body != b"" or self.method in {"POST", "PUT", "PATCH"}:
            return {"Content-Length": str(self.body_length)}
        return {}

    @property
    def may_switch(self) -> bool:
        """Whether a response could turn the connection into something else than HTTP."""
        upgrade = bool(self.fields) and "upgrade" in _fields.names_of(self.fields)
        return self.method == "CONNECT" or upgrade

    # ── The body ───────────────────────────────────────────────────────────────────────────────

    @property
    def to_be_measured(self) -> bool:
        """Whether the body has to be asked for its length, such as a file."""
        return isinstance(self.body, Measured)

    async def measured(self) -> Request:
        """The same request, with the length of such a body.

        Raises:
          OSError: the file can't be read.
        """
        assert isinstance(self.body, Measured)
        return replace(self, body_length=await self.body.measure())

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent a second time."""
        return isinstance(self.body, bytes) or callable(self.body)

    # ── The rest ───────────────────────────────────────────────────────────────────────────────

    def __repr__(self) -> str:
        # Nothing that may be a secret: no field, no body, no target.
        return f"<Request {self.method} to {self.url.origin}>"

    @property
    def may_be_repeated(self) -> bool:
        """Whether the server may get it twice."""
        return self.method in SAFE if self.idempotent is None else self.idempotent


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
    target: str | None
    idempotent: bool | None
    expect_continue: bool
    follow_redirects: bool | Redirects
    decode: bool
    on_informational: OnInformational | None
    on_progress: OnProgress | None
    max_body_bytes: int | None


def prepare(
    method: str,
    url: str,
    *,
    default_timeouts: Timeouts,
    places: Places,
    params: Params | None = None,
    headers: Headers | None = None,
    content: Content | None = None,
    json: Any = None,
    form: Params | None = None,
    multipart: MultipartFields | None = None,
    auth: AuthOption | None = None,
    timeouts: Timeouts | None = None,
    server_hostname: str | None = None,
    target: str | None = None,
    idempotent: bool | None = None,
    expect_continue: bool = False,
    follow_redirects: bool | Redirects = False,
    decode: bool = True,
    on_informational: OnInformational | None = None,
    on_progress: OnProgress | None = None,
    max_body_bytes: int | None = None,
) -> Request:
    """Check everything that the caller gave; see :meth:`ConnectionPool.request`.

    Args:
      places: what the pool remembers of earlier requests.
    """
    _check_types(method, timeouts, server_hostname, target)
    check_bool("expect_continue", expect_continue)
    check_bool("decode", decode)
    if idempotent is not None:
        check_bool("idempotent", idempotent)
    if on_informational is not None or on_progress is not None:
        _check_hooks(on_informational=on_informational, on_progress=on_progress)
    if method.upper() in USUAL:
        method = method.upper()
    parsed = places.parse(url, params)
    if server_hostname is not None:
        if parsed.origin.scheme != "https":
            raise ValueError("server_hostname is for https URLs only")
        server_hostname = check_server_hostname(server_hostname)
    fields = [] if headers is None else _fields.read(headers)
    given = _fields.names_of(fields) if fields else set()
    if target is None and "proxy-authorization" in given:
        raise LocalProtocolError("header 'Proxy-Authorization': proxies are not supported")
    body, content_type = to_body(content=content, json=json, form=form, multipart=multipart)
    if multipart is not None and "content-type" in given:
        raise ValueError("multipart= makes its own Content-Type, with its boundary: leave it out")
    if method == "CONNECT":
        _check_connect(target, body)
    # RFC 9110 section 10.1.1: not without a body. Whoever writes the field means it, too.
    expects = expect_continue or ("expect" in given and _fields.expects_continue(fields))
    return Request(
        places=places,
        method=method,
        url=parsed,
        timeouts=timeouts or default_timeouts,
        target=target,
        fields=fields,
        body=body,
        body_length=len(body) if isinstance(body, bytes) else None,
        content_type=content_type,
        auth=_choose_auth(auth, given, parsed),
        decode=decode,
        server_hostname=server_hostname,
        idempotent=idempotent,
        expect_continue=expects and body != b"",
        redirects=check_redirects(follow_redirects),
        on_informational=on_informational,
        on_progress=on_progress,
        max_body_bytes=check_count("max_body_bytes", max_body_bytes, least=0),
    )


def refuse_switch(request: Request) -> None:
    """Refuse, for want of a block that holds the connection, what may become another protocol."""
    if request.may_switch:
        raise LocalProtocolError(
            "a request for another protocol (CONNECT, or with an Upgrade header) needs stream(), "
            "whose block holds the connection: 'async with pool.stream(...) as response:'"
        )


def _choose_auth(auth: object, given: set[str], url: URL) -> Auth | None:
    """The argument goes before the URL's; a header goes before both, and beside neither."""
    chosen = check_auth(auth)
    if "authorization" not in given:
        return chosen or url.auth
    if chosen is not None:
        raise ValueError("give either auth= or an Authorization header, not both")
    return None


def _check_connect(target: str | None, body: Body) -> None:
    if target is None or not _AUTHORITY.fullmatch(target):
        raise LocalProtocolError(
            "CONNECT is asked of a proxy, and needs whom to connect to: target='host:port'"
        )
    if body != b"":
        raise LocalProtocolError("CONNECT has no body (RFC 9110 section 9.3.6)")


def _check_types(method: object, timeouts: object, server_hostname: object, target: object) -> None:
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {type(method).__name__}")
    if timeouts is not None and not isinstance(timeouts, Timeouts):
        raise TypeError(f"timeouts must be a triopool.Timeouts, not {described(timeouts)}")
    if server_hostname is not None and not (isinstance(server_hostname, str) and server_hostname):
        raise TypeError(f"server_hostname must be a name or None, not {_text(server_hostname)}")
    if target is not None and not (isinstance(target, str) and target):
        raise TypeError(f"target must be a str that is not empty, or None, not {_text(target)}")


def _text(value: object) -> str:
    return "an empty one" if value == "" else described(value)


def _check_hooks(**hooks: object) -> None:
    for name, hook in hooks.items():
        if hook is not None and (not callable(hook) or inspect.iscoroutinefunction(hook)):
            verdict = "is async" if callable(hook) else "is not"
            raise TypeError(f"{name} must be callable, and not async: {described(hook)} {verdict}")


def check_names(caller: str, options: Collection[str]) -> None:
    """Tell of a keyword that no request has, with the one that was meant where it is known.

    Raises:
      TypeError: there is one.
    """
    unknown = [name for name in options if name not in RequestOptions.__annotations__]
    _hints.refuse(caller, unknown, _hints.OF_A_REQUEST)
