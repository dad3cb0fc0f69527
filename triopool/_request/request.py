"""A request, checked and ready to be sent, so that nothing can be wrong with it later."""

from __future__ import annotations

import copy
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .._body.body import Body, Measured
from .._config import Redirects, Timeouts
from .._decoding import ACCEPT_ENCODING
from .._facts import OnProgress
from .._pool_key import PoolKey, StreamKey
from .._protocol import request_head as _head
from .._proxy.chooser import Chooser
from .._proxy.proxy import Proxy
from .._proxy.route import forwarded_fields, forwarded_target, route
from . import fields as _fields
from .auth import Auth
from .fields import Field
from .options import OnInformational
from .places import Places
from .url import URL

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The safe methods (RFC 9110 section 9.2.1), which may be sent twice without asking.

PUT and DELETE are idempotent by the book, but a server may have acted on the first one and answer
the second one otherwise. A program that knows better says ``idempotent=True``.
"""

_FRAMING = frozenset({"content-length", "transfer-encoding"})


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
      proxy: which one it goes through; None for the direct way.
      chooser: whom to ask for the proxy of a redirect; None if the caller has named this one, or
        the pool has none.
      added: fields that instruments have added, the last ones of the head; see :meth:`with_added`.
      head: what goes over the wire, written from all the above.
      key: where to, and on which way.
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
    ssl_context: ssl.SSLContext | None = None
    idempotent: bool | None = None
    expect_continue: bool = False
    redirects: Redirects | None = None
    on_informational: OnInformational | None = None
    on_progress: OnProgress | None = None
    max_body_bytes: int | None = None
    proxy: Proxy | None = None
    chooser: Chooser | None = None
    added: Sequence[tuple[bytes, bytes]] = ()
    head: _head.RequestHead = field(init=False)
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
          InvalidURL: the proxy can't be told to connect there.
        """
        mine = vars(self)
        mine.update(attributes)
        mine["key"] = self._key_of(a_stream=False)
        mine["head"] = self._compose(places)

    # ── The head ───────────────────────────────────────────────────────────────────────────────

    def _compose(self, places: Places | None) -> _head.RequestHead:
        target = self.target or self.url.target
        forwarder = self.key.proxy if self.key.forwarded else None
        if forwarder is not None:
            target = forwarded_target(self.method, self.url, self.target)
        if places is not None and self._is_usual:
            place = self.url.host_header, self.decode
            usual = places.usual_head(place)
            if usual is None:
                usual = _head.make_head("GET", "/", self._lines(None))
                places.keep_usual_head(place, usual)
            # What is kept has nothing of a proxy in it, whose fields may be secrets.
            more = () if forwarder is None else forwarded_fields(usual.fields.lines, forwarder)
            return _head.make_head_like(usual, self.method, target, more)
        head = _head.make_head(self.method, target, self._lines(forwarder))
        if self.fields:
            _fields.check(head.fields.lines, self.body_length)
        return head

    def _lines(self, forwarder: Proxy | None) -> Sequence[Field]:
        """All fields; the last ones are for the proxy, if it forwards the request."""
        lines = self.fields if self.verbatim else _fields.complete(self.fields, self._defaults())
        return lines if forwarder is None else [*lines, *forwarded_fields(lines, forwarder)]

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
            return {"Host": self.target or "", "User-Agent": _head.USER_AGENT}
        wanted = {"Host": self.url.host_header, "Accept": "*/*", "User-Agent": _head.USER_AGENT}
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
    def way(self) -> str:
        """Where it goes, and through which proxy, for messages."""
        return self.key.way_to(self.url.origin)

    @property
    def key_of_stream(self) -> StreamKey:
        """The key of a stream of the program's own to the same place: never one that is shared."""
        return StreamKey(*self._key_of(a_stream=True))

    def _key_of(self, *, a_stream: bool) -> PoolKey:
        """Where it goes, and on which way: a stream needs one that is all its own."""
        origin, name, context = self.url.origin, self.server_hostname, self.ssl_context
        if self.proxy is None:
            return PoolKey(origin, name, ssl_context=context)
        may_switch = a_stream or self.may_switch
        return route(origin, name, self.proxy, may_switch=may_switch, ssl_context=context)

    @property
    def may_switch(self) -> bool:
        """Whether a response could turn the connection into something else than HTTP."""
        upgrade = bool(self.fields) and "upgrade" in _fields.names_of(self.fields)
        return self.method == "CONNECT" or upgrade

    def with_added(self, fields: Iterable[Field]) -> Request:
        """The same request, with fields of instruments behind its own.

        They take the place of those that were added before. One that it has itself stays as it is.

        Args:
          fields: each of which can be sent.
        """
        lines = self.head.fields.lines
        own = lines[: len(lines) - len(self.added)]
        added: dict[bytes, tuple[bytes, bytes]] = {}
        names = {name.lower() for name, _ in own}
        for line in _fields.as_sent(fields):
            if (name := line[0].lower()) not in names:
                added.setdefault(name, line)
        request = copy.copy(self)
        head = _head.RequestHead(
            self.head.method, self.head.target, _head.Fields([*own, *added.values()])
        )
        vars(request).update(added=tuple(added.values()), head=head)
        return request

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
        length = await self.body.measure()
        return replace(self, body_length=length, added=()).with_added(self.added)

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
