"""One request and its response, on one leased connection.

    request ──► send ───────────► read head ──► read body ──► lease released
                 └─ side by side ─┘

The exchange owns its lease, and ends it synchronously: it gives the connection back when both sides
are done, and abandons it for everything else. Until the head is here, whatever is raised abandons
it, ``Cancelled`` included. After that an error does; a cancelled read can be repeated, as with any
Trio stream, and whoever leaves the ``stream()`` block for good abandons it there.

Sending and reading
-------------------
A server may answer before it has read the request: it refuses an upload of 100 MB after the first
kilobyte, say. A client that writes everything before it reads would block for ever, or see a reset
and never the answer. So a body that does not go out in one write is sent by a task of its own
while the head is awaited; a final response ends the upload, and the connection is not reused.

A request without a body, or with one that fits one write, needs no task: it is written, then read.
If that write fails, the answer may still be there to be read.

The deadlines are per gap, and the connection's patience (``_patience.py``) keeps them, but for the
one of reading the head after an upload, which is a scope. The read deadline does not run while the
request is still being sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import trio
from trio.lowlevel import enable_ki_protection

from ._connection_info import CloseReason
from ._errors import (
    PoolClosed,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    TriopoolError,
    WriteError,
)
from ._http11 import (
    NEED_DATA,
    Connection,
    Data,
    EndOfMessage,
    InformationalResponse,
    RawHeaders,
    Response,
    raw_headers,
)
from ._progress import Progress
from ._scanner import NOT_TOLD
from ._upgraded import UpgradedStream
from ._upload import ONE_WRITE_BYTES, Upload, write_timeout

if TYPE_CHECKING:
    from ._request import Request

MAX_INFORMATIONAL = 20
"""1xx responses to one request."""

DRAIN_BYTES = 64 * 1024
DRAIN_SECONDS = 0.05
"""An unread rest within these bounds is read for the connection's sake; else it is closed."""


class Holding(Protocol):
    """The right to use a connection: the pool's lease, or a turn of a lease that the user holds."""

    @property
    def connection(self) -> Connection: ...
    @property
    def reused(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    def release(self) -> None: ...
    def close(self, reason: CloseReason) -> None: ...


class Exchange:
    """One request and its response.

    Attributes:
      request: what is sent.
      connection: what it is sent on.
      response: the head of the final response, or of a 101.
      upgraded: the stream that follows, where that is no longer HTTP.
      trailers: the fields behind a chunked body, once it has been read.
      body_bytes: how many bytes of the body have arrived.
      write_failed: how sending broke. The response may still be there to be read.
    """

    # What few exchanges need is set when they do: to set all of it each time takes half a µs.
    response: Response | InformationalResponse
    framing = NOT_TOLD
    upgraded: UpgradedStream | None = None
    body_bytes = 0
    write_failed: WriteError | None = None
    _answered = False
    _body_sent = 0
    _upload: Upload | None = None
    _informational = 0
    # What ended the body too early. Told after the pieces that had arrived before.
    _broken: TriopoolError | None = None
    _reading = False

    def __init__(self, request: Request, lease: Holding) -> None:
        self.request = request
        self.connection = lease.connection
        self.reused = lease.reused
        self._lease = lease
        self.trailers: RawHeaders = []
        self._pieces: list[bytes | bytearray] = []

    # ── The head ───────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Send the request; read the head of the response, and of its body what is there already.

        Raises:
          WriteError, WriteTimeout, ReadError, ReadTimeout: as their names say.
          RemoteProtocolError: the response is not legal, or exceeds a bound.
          PoolClosed: the pool was left meanwhile.
          Exception: what the body's iterator raised, as itself.
        """
        try:
            # If it was cancelled while it waited for its connection it is not sent.
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            self._lease.release()  # Nobody has touched the connection.
            raise
        try:
            if self.request.observer is not None:
                self.request.observer.begun(self)
            how = self._write_then_read if self._fits_one_write else self._side_by_side
            self.response = await how()
            self._answered = True
            self.framing = self.connection.framing
            if self.connection.switched:
                self.upgraded = UpgradedStream(self.connection, self.abandon)
            else:
                self._check_declared_length()
                await self._take_what_is_there()
        except ReadError:
            self.abandon()
            if self.write_failed is None:
                raise
            # It tells more than the end of file that follows it.
            raise self.write_failed from self.write_failed.__cause__
        except BaseException:
            self.abandon()
            raise

    @property
    def _fits_one_write(self) -> bool:
        request, body = self.request, self.request.body
        return (
            isinstance(body, bytes) and len(body) <= ONE_WRITE_BYTES and not request.expect_continue
        )

    async def _write_then_read(self) -> Response | InformationalResponse:
        connection, body = self.connection, self.request.body
        assert isinstance(body, bytes)
        payload = connection.start(self.request.head) + connection.end_of_body(body)
        limits, patience = self.request.timeouts, connection.patience
        written = False
        try:
            try:
                if rest := connection.send_now(payload):
                    patience.begin(limits.write)
                    await connection.send(rest, lambda: patience.begin(limits.write))
                if body:
                    self.count_sent(len(body))
                self.note_written()
            except WriteError as exc:
                self.write_failed = exc
            written = True
            patience.begin(limits.read)
            return await self._read_head(lambda: patience.begin(limits.read))
        except PoolClosed:
            if not patience.is_over:
                raise
            late = self._read_timeout() if written else write_timeout(self.request, connection)
            raise late from None  # That it was closed is how it was done, not why.
        finally:
            patience.end()

    async def _read_head(self, begin_again: Callable[[], None]) -> Response | InformationalResponse:
        """Read up to the final head. *begin_again* is called before each wait but the first."""
        connection = self.connection
        while True:
            await connection.receive()
            while (event := connection.next_event()) is not NEED_DATA:
                if isinstance(event, Response):
                    return event
                assert isinstance(event, InformationalResponse)
                if connection.switched:
                    return event
                self._heed_informational(event)
            begin_again()

    def _heed_informational(self, event: InformationalResponse) -> None:
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise self.connection.illegal(f"more than {MAX_INFORMATIONAL} informational responses")
        if event.status_code == 100 and self._upload is not None:
            self._upload.go_ahead.set()
        if self.request.on_informational is not None:
            self.request.on_informational(event.status_code, raw_headers(event))

    def _check_declared_length(self) -> None:
        limit = self.request.max_body_bytes
        # RFC 9112 section 6.3: these have no body, and Content-Length tells of another response.
        if limit is None or self.request.method == "HEAD" or self.response.status_code == 304:
            return
        length = self.framing.length
        if length is not None and length > limit:
            raise self._too_large(f"a body of {length} bytes")

    # ── Side by side ───────────────────────────────────────────────────────────────────────────

    async def _side_by_side(self) -> Response | InformationalResponse:
        first = self.connection.start(self.request.head)
        upload = self._upload = Upload(
            self.request, self.connection, first, self.count_sent, self.note_written
        )
        response: Response | InformationalResponse | None = None
        error: Exception | None = None
        stop: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(upload.run, nursery.cancel_scope)
                try:
                    with upload.read_scope:
                        response = await self._read_head(upload.begin_to_read_again)
                    if response is not None:
                        await upload.stop()
                except PoolClosed as exc:
                    error = exc
                    if self.connection.patience.is_over:
                        error = write_timeout(self.request, self.connection)
                except Exception as exc:
                    error = exc
                except BaseException:
                    # The slot is free now, even if the upload has to wait for its iterator.
                    self.abandon()
                    raise
                if response is None:
                    self.abandon()  # As above.
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            stop = most_urgent(group)
        self.write_failed = upload.failed
        if stop is not None:
            raise stop
        if response is None:
            raise upload.crash or error or self._read_timeout()
        return response

    # ── The body ───────────────────────────────────────────────────────────────────────────────

    @property
    def ended(self) -> bool:
        """Whether the connection has been given back or closed; pieces may still be there."""
        return self._lease.ended

    @property
    def has_pieces(self) -> bool:
        return bool(self._pieces)

    @property
    def switched(self) -> bool:
        """Whether what follows the head is no body."""
        return self.upgraded is not None

    def content_encoding(self) -> str:
        """How the body is encoded, where that matters to who reads it; else ``""``."""
        # A part of an encoded body (RFC 9110 section 15.3.7) can't be decoded by itself.
        if not self.request.decode or self.response.status_code == 206:
            return ""
        return self.framing.encoding

    async def read(self) -> bytes:
        """The next piece of the body; ``b""`` at its end. A checkpoint only if it has to wait.

        If cancelled no byte is lost, and it may be called again.

        Raises:
          ReadError, ReadTimeout, RemoteProtocolError, PoolClosed: as :meth:`open`. Again and
            again: a body that was cut must not look complete to who reads on.
        """
        while not self._pieces:
            if self._broken is not None:
                raise self._broken
            if self.ended or self.switched:
                return b""
            await self._read_more()
        return self._take_pieces()

    def _take_pieces(self) -> bytes:
        # A single one that is of the type bytes is not copied.
        joined = b"".join(self._pieces)
        self._pieces.clear()
        return joined

    def take_all(self) -> bytes | None:
        """The rest of the body, if all of it has arrived; else None."""
        if not self.ended or self._broken is not None or self.switched:
            return None
        return self._take_pieces()

    async def _read_more(self) -> None:
        self._reading = True
        try:
            await self._take_what_is_there(await self._wait_for_more())
        except TriopoolError as exc:
            self._break_off(exc)
        finally:
            self._reading = False

    async def _wait_for_more(self) -> bytes:
        length, chunked, _ = self.framing
        rest = None if length is None or chunked else length - self.body_bytes
        patience = self.connection.patience
        patience.begin(self.request.timeouts.read)
        try:
            return await self.connection.receive(rest)
        except PoolClosed:
            if not patience.is_over:
                raise
            raise self._read_timeout() from None
        finally:
            patience.end()

    async def _take_what_is_there(self, raw: bytes = b"") -> None:
        """Take what has arrived of the body; if that was all, end the exchange.

        Args:
          raw: what h11 is to look at, if nothing of that is a head.
        """
        # Unless it is chunked, the body is what was read, and h11 only says where it ends.
        as_read = bool(raw) and not self.framing.chunked
        size = 0
        end: EndOfMessage | None = None
        try:
            while (event := self.connection.next_event()) is not NEED_DATA:
                if isinstance(event, EndOfMessage):
                    end = event
                    break
                assert isinstance(event, Data)
                self._count(len(event.data))
                size += len(event.data)
                if not as_read:
                    self._pieces.append(event.data)
        except TriopoolError as exc:
            # Whether it arrived together with the head or later makes no difference to the caller.
            self._break_off(exc)
        if as_read and size:
            self._pieces.append(raw[:size])
        if end is not None:
            if self.framing.chunked:
                self.trailers = raw_headers(end)
            await self._finish()

    def _count(self, size: int) -> None:
        self.body_bytes += size
        limit = self.request.max_body_bytes
        if limit is not None and self.body_bytes > limit:
            raise self._too_large("a body")

    def _break_off(self, error: TriopoolError) -> None:
        if isinstance(error, ReadError | ReadTimeout):
            error.args = (f"{error}, {self._how_far()}",)
        self._broken = error
        self.abandon()

    def _how_far(self) -> str:
        length, chunked, _ = self.framing
        if chunked:
            return f"after {self.body_bytes} bytes of a chunked body, before its end"
        if length is None:
            return f"after {self.body_bytes} bytes of the body, whose length was not told"
        return f"after {self.body_bytes} of the {length} bytes of the body"

    # ── Progress ───────────────────────────────────────────────────────────────────────────────

    def count_sent(self, size: int) -> None:
        """The system has taken so many bytes more of the request's body."""
        self._body_sent += size
        if self.request.on_progress is not None:
            self.tell_progress()

    def note_written(self) -> None:
        """The system has taken all of the request."""
        if self.request.observer is not None:
            self.request.observer.written()

    def tell_progress(self) -> None:
        """Tell the caller. Not while draining: then nobody of his is there to take an exception."""
        request = self.request
        assert request.on_progress is not None
        request.on_progress(
            Progress(self._body_sent, request.body_length, self.body_bytes, self.framing.length)
        )

    # ── Endings ────────────────────────────────────────────────────────────────────────────────

    async def _finish(self) -> None:
        """Both sides are done: give the connection back if it can be reused."""
        try:
            reusable = await self.connection.next_cycle()
        except BaseException:
            self.abandon()
            raise
        if reusable:
            self._lease.release()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Close the connection, unless the exchange has ended already."""
        self._lease.close(CloseReason.DISCARDED)

    @property
    def worth_draining(self) -> bool:
        """Whether what is left is, or may be, so little that reading it saves the connection."""
        if self._reading or not self.connection.may_be_reused:
            return False
        length, chunked, _ = self.framing
        return chunked or (length is not None and length - self.body_bytes <= DRAIN_BYTES)

    @enable_ki_protection
    async def drain(self) -> None:
        """Read the rest for the connection's sake, within bounds; close it if there is more.

        Runs in a task of the pool, which an exception would end: none comes out.
        """
        enough = self.body_bytes + DRAIN_BYTES
        try:
            with trio.move_on_after(DRAIN_SECONDS):
                while not self.ended and self.body_bytes <= enough:
                    self._pieces.clear()
                    await self._read_more()
        finally:
            self.abandon()

    # ── Errors ─────────────────────────────────────────────────────────────────────────────────

    @property
    def was_stale(self) -> bool:
        """Whether it failed as a connection does that the server closed while it was idle."""
        return self.reused and not self.connection.bytes_received

    @property
    def nothing_sent(self) -> bool:
        """Whether the kernel took not one byte of the request."""
        return not self.connection.bytes_sent

    def _read_timeout(self) -> ReadTimeout:
        seconds = self.request.timeouts.read
        received = self.connection.bytes_received
        # Once the head is here, _break_off() tells how far the body has come.
        so_far = "" if self._answered else f" ({received} bytes received so far)"
        return ReadTimeout(
            f"{self.request.key} sent nothing for {seconds} s{so_far}",
            origin=self.request.key.origin,
            phase="read",
            seconds=seconds,
        )

    def _too_large(self, what: str) -> RemoteProtocolError:
        return self.connection.illegal(
            f"{what}, more than max_body_bytes={self.request.max_body_bytes}"
        )


def most_urgent(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception of a nursery's group that goes on, for no group leaves a request.

    All that can be in there are Cancelled ones, control-C, and what the body's iterator mixed
    with a Cancelled of its own.
    """
    error: BaseException = group.split(trio.Cancelled)[1] or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
