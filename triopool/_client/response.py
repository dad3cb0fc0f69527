"""A response: its head, and its body as a stream or read whole. And the errors that carry one.

Long because of its docstrings: all that a program can do with a response is told in one place.
"""

from __future__ import annotations

import enum
import json as stdlib_json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

import trio
from multidict import CIMultiDict, CIMultiDictProxy
from trio.lowlevel import enable_ki_protection

from .. import _habits
from .._charset import charset_of
from .._config import check_count
from .._errors import InvalidURL, TriopoolError
from .._facts import OnProgress, Progress, RequestInfo, ResponseConnection, of_response
from .._reading.items import Content, EventItems, JSONItems, LineItems, Receive, TextItems
from .._reading.lines import MAX_LENGTH
from .._reading.links import Link, read_links
from .._reading.saving import NewFile
from .._request import url as _urls

if TYPE_CHECKING:
    from .._exchange.upgraded import UpgradedStream
    from .._origin import Origin
    from .._request.url import URL
    from .delivery import Delivery


class _Streamed(enum.Enum):
    """How much of a body was handed out piece by piece."""

    NOT = enum.auto()
    PARTLY = enum.auto()
    WHOLLY = enum.auto()


_NOT_HERE = {
    _Streamed.NOT: (
        "the body has not been read: 'await response.read()' first, or use pool.request()"
    ),
    _Streamed.PARTLY: (
        "a part of the body was read as a stream, and is not kept: "
        "'await response.read()' reads and keeps the rest"
    ),
    _Streamed.WHOLLY: (
        "the body was read as a stream, to its end, and is not kept: keep the pieces as they come, "
        "or call 'await response.read()' instead"
    ),
}
"""Why there is no content."""

ResponseHeaders: TypeAlias = CIMultiDictProxy[str]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""The statuses that lead elsewhere, if there is a Location."""


class Response(trio.abc.ReceiveStream):
    """The response to one request.

    From ``pool.request()`` it comes with its body read: use :attr:`content`, :attr:`text`,
    :meth:`json`. From ``pool.stream()`` it comes when its head has arrived: iterate over it
    (``async for chunk in response``), call :meth:`receive_some`, or :meth:`read` it whole. It is a
    ``trio.abc.ReceiveStream``, so whatever takes one takes it.

    It holds its connection until the body has been read to the end, or it is closed. Leaving the
    ``stream()`` block closes it.

    Attributes:
      status_code: such as 200.
      reason: the reason phrase; may be empty.
      http_version: ``"1.1"`` or ``"1.0"``.
      raw_headers: (name, value) pairs as they were sent, in order.
      url: the URL that was asked, without its fragment.
      method: the method that was asked with; a redirect may have changed it.
    """

    def __init__(self, delivery: Delivery, content: bytes | None = None) -> None:
        request = delivery.exchange.request
        self._delivery = delivery
        self._content = content
        self._streamed = _Streamed.NOT
        self._url: URL = request.url
        self._head = delivery.exchange.response
        self.method: str = request.method
        self.status_code: int = self._head.status_code

    # ── The head ───────────────────────────────────────────────────────────────────────────────

    @property
    def reason(self) -> str:
        return self._head.reason.decode("latin-1")

    @property
    def http_version(self) -> str:
        return self._head.http_version.decode("ascii")

    @property
    def url(self) -> str:
        return str(self._url)

    @cached_property
    def history(self) -> tuple[Response, ...]:
        """The responses that redirected here, oldest first; see ``follow_redirects=``.

        Their bodies have not been read.
        """
        # Made when it is asked for: one for each response of a chain would take quadratic time.
        found = []
        delivery = self._delivery.previous
        while delivery is not None:
            found.append(Response(delivery))
            delivery = delivery.previous
        return tuple(reversed(found))

    @cached_property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        return self._delivery.raw_headers

    @cached_property
    def headers(self) -> ResponseHeaders:
        """The fields, by name regardless of case. ``headers.getall(name)`` gives every value.

        Bytes beyond ASCII come as ISO-8859-1 (RFC 9110 section 5.5); the values as they were sent
        are in :attr:`raw_headers`.
        """
        return _decoded(self.raw_headers)

    @property
    def trailers(self) -> ResponseHeaders:
        """The fields that came behind a chunked body; empty before the body has been read."""
        return _decoded(self._delivery.exchange.trailers)

    @property
    def connection(self) -> ResponseConnection:
        """On which connection it came: id, addresses, TLS facts, whether it was reused."""
        exchange = self._delivery.exchange
        return of_response(exchange.connection.info, reused=exchange.reused)

    @property
    def upgraded(self) -> UpgradedStream | None:
        """What the connection has become, if the server switched to another protocol.

        A ``trio.abc.Stream`` after 101 Switching Protocols, or a successful CONNECT; else None. It
        keeps the connection's slot until it is closed or the ``stream()`` block is left.
        """
        return self._delivery.exchange.upgraded

    @property
    def request(self) -> RequestInfo:
        """The facts of the request that this answers, as instruments are told them.

        After redirects it is the last one. No header field, no body, no credentials.
        """
        return self._delivery.exchange.sending.info()

    @property
    def elapsed(self) -> float:
        """Seconds from the call to the head's arrival, waiting and dialling included.

        On Trio's clock. After a redirect it counts from there, and after a session's retry from
        when it was sent again.
        """
        return self._delivery.elapsed

    @cached_property
    def links(self) -> CIMultiDictProxy[Link]:
        """The links in its head, by relation type (RFC 8288): ``response.links["next"].url``.

        ``links.get("next")`` is None at the last page; ``links.getall(rel)`` gives all of one type.
        """
        found: CIMultiDict[Link] = CIMultiDict()
        for value in self.headers.getall("Link", []):
            for link in read_links(value):
                found.add(link.rel, replace(link, url=_absolute(self._url, link.url)))
        return CIMultiDictProxy(found)

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code < 300

    @property
    def is_redirect(self) -> bool:
        """Whether it leads elsewhere: 301, 302, 303, 307 or 308, with a Location."""
        return self.status_code in REDIRECTS and "Location" in self.headers

    @property
    def is_error(self) -> bool:
        """Whether the status is 400 or more: what :meth:`raise_for_status` raises for."""
        return self.status_code >= 400

    def raise_for_status(self) -> Response:
        """Raise :class:`StatusError` for a status of 400 or more; else return the response."""
        if self.is_error:
            # The server's words, for a message: escaped and bounded.
            reason = ascii(self.reason[:100])[1:-1] or _usual_reason(self.status_code)
            # Not the path of a Location, which may be as good as a password.
            path = self._url.target.partition("?")[0] if self._delivery.previous is None else ""
            answer = f"was answered with {self.status_code} {reason}".rstrip()
            message = f"{self.method} {self._url.origin}{path} {answer}{self._what_to_do}"
            raise StatusError(message, self, origin=self._url.origin)
        return self

    @property
    def _what_to_do(self) -> str:
        """What a message says of a status that is the proxy's."""
        key = self._delivery.exchange.request.key
        proxy = key.proxy
        if self.status_code != 407 or proxy is None or not key.forwarded:
            return ""
        if any(name.lower() == b"proxy-authorization" for name, _ in proxy.fields):
            return f": the proxy {proxy} does not accept these credentials"
        return f": the proxy {proxy} wants credentials: in its URL, or with Proxy(auth=)"

    # ── The body, whole ────────────────────────────────────────────────────────────────────────

    @enable_ki_protection
    async def read(self) -> bytes:
        """Read the body (what :meth:`receive_some` left of it) to its end, and return it.

        Repeated calls return it again.

        If cancelled, what was read so far is lost, and the connection is closed.

        Raises:
          ReadError, ReadTimeout: the rest of the body did not come.
          RemoteProtocolError: it was not legal, or exceeded ``max_body_bytes``.
          PoolClosed: the pool was left meanwhile.
          trio.ClosedResourceError: the response was closed before.
        """
        if self._content is None:
            self._check_open()
        await trio.lowlevel.checkpoint()
        if self._content is None:
            # Another task may have closed it meanwhile, and its rest may be being drained.
            self._check_open()
            self._content = await self._delivery.read_all()
        return self.content

    @property
    def content(self) -> bytes:
        """The body. After ``stream()`` it has to be read first."""
        if self._content is None:
            raise RuntimeError(_NOT_HERE[self._streamed])
        return self._content

    @property
    def encoding(self) -> str:
        """The charset that Content-Type names, if Python has it; else UTF-8."""
        return charset_of(self.headers.get("Content-Type", ""))

    @property
    def text(self) -> str:
        """The body as text, by :attr:`encoding`; what can't be decoded becomes U+FFFD."""
        return self.content.decode(self.encoding, errors="replace")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
          ValueError: it is not: ``json.JSONDecodeError``, or ``UnicodeDecodeError``. Also if it is
            nested deeper than Python can follow.
        """
        content = self.content
        try:
            return stdlib_json.loads(content)
        except RecursionError:
            text = content.decode(stdlib_json.detect_encoding(content), "surrogatepass")
        # Not where it was raised: a thousand lines of traceback tell nothing.
        raise stdlib_json.JSONDecodeError("nested too deep", text, 0)

    # ── The body, as a stream ──────────────────────────────────────────────────────────────────

    @enable_ki_protection
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes of the body: at least one, and ``b""`` at its end.

        If cancelled, no byte is lost: it may be called again.

        Args:
          max_bytes: how many at most; None for what has arrived.

        Raises:
          The errors of :meth:`read`.
        """
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}")
        self._check_open()
        if self._delivery.is_ready:
            await trio.lowlevel.checkpoint()
            self._check_open()  # Another task may have read it meanwhile.
        piece = await self._delivery.receive(max_bytes)
        self._streamed = _Streamed.PARTLY if piece else _Streamed.WHOLLY
        return piece

    async def __anext__(self) -> bytes:
        # As trio's, but for the type.
        piece = await self.receive_some()
        if not piece:
            raise StopAsyncIteration
        return piece

    # ── The body, as what it stands for ────────────────────────────────────────────────────────
    #
    # These iterators own nothing: see _reading/items.py.

    def iter_text(self) -> AsyncIterator[str]:
        """Iterate over the body as text: pieces as they come, none of them empty.

        By :attr:`encoding`; what can't be decoded becomes U+FFFD.

        As all iterators over the body: it works in the ``stream()`` block, and where the body has
        been read already. It need not be closed: the block is what holds the connection. If
        cancelled, nothing is lost: it may go on. What it has read and not given out is lost to
        other ways of reading.

        Raises:
          The errors of :meth:`read`, from each step.
        """
        return TextItems(self._receiver(), self._refusal, self.encoding)

    def iter_lines(self, *, max_line_length: int | None = MAX_LENGTH) -> AsyncIterator[str]:
        """Iterate over the lines of the body, without what ends them: LF, CR LF or CR.

        As :meth:`iter_text` otherwise. The last line may lack its end. Lines end nowhere else: not
        at a form feed, not at U+2028.

        Args:
          max_line_length: how many characters a line may have; None for no bound.

        Raises:
          RemoteProtocolError: a line is longer. Those before it have been given out.
          The errors of :meth:`read`.
        """
        check_count("max_line_length", max_line_length)
        return LineItems(self._receiver(), self._refusal, self.encoding, max_line_length)

    def iter_json_lines(self, *, max_line_bytes: int | None = MAX_LENGTH) -> AsyncIterator[Any]:
        """Iterate over lines of which each is a JSON text (JSON Lines, NDJSON).

        As :meth:`iter_text` otherwise. They are UTF-8, whatever the Content-Type says, and end with
        LF. Those that are blank are left out.

        Args:
          max_line_bytes: how many bytes a line may have; None for no bound.

        Raises:
          ValueError: a line is not JSON, as in :meth:`json`. The next step goes on behind it.
          RemoteProtocolError: a line is longer. Those before it have been given out.
          The errors of :meth:`read`.
        """
        check_count("max_line_bytes", max_line_bytes)
        return JSONItems(self._receiver(), self._refusal, max_line_bytes)

    def iter_events(
        self, *, max_event_length: int | None = MAX_LENGTH, last_event_id: str = ""
    ) -> EventItems:
        """Iterate over server-sent events, as the WHATWG standard has them.

        As :meth:`iter_text` otherwise. Neither status nor Content-Type is looked at: call
        :meth:`raise_for_status` before. An event that is cut by the end of the body is none. To
        connect again when the stream ends: ``pool.events()``.

        Args:
          max_event_length: how many characters a line, or the data of an event, may have; None
            for no bound.
          last_event_id: what events have as their id until the server gives one.

        Raises:
          RemoteProtocolError: an event, or a line, is longer. Those before it have been given out.
          The errors of :meth:`read`.
        """
        check_count("max_event_length", max_event_length)
        return EventItems(self._receiver(), self._refusal, max_event_length, last_event_id)

    @enable_ki_protection
    async def save_to(
        self,
        path: str | os.PathLike[str],
        *,
        on_progress: OnProgress | None = None,
        fsync: bool = True,
    ) -> None:
        """Write the body (what was not read of it) to a file, which is there as a whole or not.

        The bytes go to a temporary file in the same directory, which takes the place of *path* when
        all have come. What was there before is replaced; a symbolic link is, too. In constant
        memory; a slow disk slows the server down. A status is not looked at: call
        :meth:`raise_for_status` before. To go on with what was broken off: ``pool.download()``.

        If cancelled, or if anything is raised, the connection is closed at once, and the temporary
        file is removed before this returns.

        Args:
          path: where the file is to be.
          on_progress: called with a :class:`triopool.Progress` after each piece. It counts bytes as
            they travel, compressed ones where the server compresses.
          fsync: whether to see to it that the bytes are on the disk before they get their name. If
            not, the file may be broken after the power has failed.

        Raises:
          OSError: the file can't be written.
          Exception: what *on_progress* raised.
          The errors of :meth:`read`.
        """
        file = NewFile(path)
        try:
            receive = self._receiver()
            await file.open()
            while piece := await receive():
                await file.write(piece)
                if on_progress is not None:
                    on_progress(self._progress())
            await file.finish(fsync=fsync)
        except BaseException as exc:
            # Another task that reads goes on. Else close it, now: no slot waits for the disk.
            if not isinstance(exc, trio.BusyResourceError):
                self.close(drain=False)
            await file.discard()
            raise

    def _receiver(self) -> Receive:
        return self.receive_some if self._content is None else Content(self._content).receive

    def _refusal(self, what: str) -> Exception:
        return self._delivery.exchange.not_accepted(what)

    def _progress(self) -> Progress:
        exchange = self._delivery.exchange
        to_send = exchange.request.body_length
        return Progress(to_send or 0, to_send, exchange.body_bytes, self._head.length)

    def _check_open(self) -> None:
        self._delivery.check_open()
        if self._content is not None:
            raise RuntimeError("the body was read already: see response.content")

    async def aclose(self) -> None:
        """Give the connection up. What little is left of the body is read by the pool, for the
        connection's sake; if it is more, the connection is closed. Never waits for the server.
        """
        self.close()
        # Not shielded: the task that iterates over this as another request's body, say, may be
        # cancelled.
        await self._delivery.exchange.wait_joined()
        await trio.lowlevel.checkpoint()

    def close(self, *, drain: bool = True) -> None:
        """:meth:`aclose`, but synchronous; without *drain*, an unread connection is closed."""
        self._delivery.close(drain=drain)

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}] to {self.method} {self._url.origin}>"


_habits.answer(Response, "triopool.Response", _habits.ON_A_RESPONSE)


def _decoded(fields: list[tuple[bytes, bytes]]) -> ResponseHeaders:
    return CIMultiDictProxy(
        CIMultiDict((name.decode("ascii"), value.decode("latin-1")) for name, value in fields)
    )


def _absolute(base: URL, reference: str) -> str:
    """Where a reference in the head leads; as it was written if that is not http or https."""
    target, mark, fragment = reference.partition("#")
    try:
        return f"{_urls.join(base, target)}{mark}{fragment}"
    except InvalidURL:
        return reference


def _usual_reason(status_code: int) -> str:
    try:
        return HTTPStatus(status_code).phrase
    except ValueError:
        return ""


# ── Errors ─────────────────────────────────────────────────────────────────────────────────────


class RedirectError(TriopoolError):
    """A redirect that was to be followed can't be: too many, or to where it must not lead.

    Attributes:
      response: the response that redirects. Its head can be looked at, its body is closed.
    """

    def __init__(self, message: str, response: Response, *, origin: Origin | None = None) -> None:
        super().__init__(message, origin=origin, phase="read")
        self.response = response


class StatusError(TriopoolError):
    """Raised by :meth:`Response.raise_for_status` for a status of 400 or more.

    Attributes:
      response: the response, whose head (and body, if read) can still be looked at.
    """

    def __init__(self, message: str, response: Response, *, origin: Origin | None = None) -> None:
        super().__init__(message, origin=origin)
        self.response = response
