"""One request and its response, on one leased connection.

    request ──► send ─────────────────────────────┐
                 └─ side by side ─┐               ├──► lease released
                read head ────────┴► read body ───┘

The exchange owns its lease, and ends it synchronously: it gives the connection back when both sides
are done, and abandons it for everything else. Until the head is here, whatever is raised abandons
it, ``Cancelled`` included. After that an error does; a cancelled read can be repeated, as with any
Trio stream, and leaving the ``stream()`` block for good abandons it there.

Sending and reading
-------------------
A server may answer before it has read the request. It may refuse an upload of 100 MB after the
first kilobyte; it may as well send its head first and read then, or answer piece by piece while it
reads. A client that writes everything before it reads would block for ever in the first case, and
one that takes the head of a response for the end of the upload would lose data in the others. So a
body that does not go out in one write is sent by a task of its own (``_upload.py``), and both sides
go on until both are done. The upload is stopped when

- the write fails,
- the caller closes the response, or
- the response has ended, it is no success, and the server takes nothing more for a short while.

A connection is reused only if the kernel has taken the request to its end. A 2xx to a request that
was not sent to its end is an error: the server can't have had what it says it has.

A request without a body, or with one that fits one write, needs no task: it is written, then read.
If that write fails, the answer may still be there to be read.

The deadlines are per gap, and the connection keeps them. The read deadline does not run while the
request is still being sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from .._errors import (
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    TriopoolError,
    WriteError,
)
from .._facts import CloseReason, Progress
from .._protocol.http11 import (
    NEED_DATA,
    Connection,
    Data,
    EndOfMessage,
    InformationalResponse,
    RawHeaders,
    Response,
    raw_headers,
)
from .._protocol.scanner import NOT_TOLD
from .upgraded import UpgradedStream
from .upload import ONE_TLS_WRITE_BYTES, ONE_WRITE_BYTES, State, Upload

if TYPE_CHECKING:
    from .background import Background
    from .sending import Sending

MAX_INFORMATIONAL = 20
"""1xx responses to one request."""

DRAIN_BYTES = 64 * 1024
DRAIN_SECONDS = 0.05
"""An unread rest within these bounds is read for the connection's sake; else it is closed."""


REFUSAL_SECONDS = 0.5
"""A server that has answered, with anything but a success, and takes nothing of the body for so
long (at most twice that) has refused it. Most close the connection, which is noticed sooner.
Picked, not derived."""


class Holding(Protocol):
    """The right to use a connection: the pool's lease, or a turn of a lease that the user holds."""

    @property
    def connection(self) -> Connection: ...
    @property
    def reused(self) -> bool: ...
    @property
    def just_seen(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    def release(self) -> None: ...
    def close(self, reason: CloseReason) -> None: ...


class Exchange:
    """One request and its response.

    Attributes:
      sending: the request on its way, and what changes while it is.
      request: what is sent.
      connection: what it is sent on.
      response: the head of the final response, or of a 101.
      upgraded: the stream that follows, where that is no longer HTTP.
      trailers: the fields behind a chunked body, once it has been read.
      body_bytes: how many bytes of the body have arrived.
      was_stale: whether it failed as a connection does that the server closed while it was idle.
    """

    # What few exchanges need is set when they do: to set all of it each time takes half a µs.
    response: Response | InformationalResponse
    framing = NOT_TOLD
    upgraded: UpgradedStream | None = None
    body_bytes = 0
    was_stale = False
    _answered = False
    _body_sent = 0
    _informational = 0
    # The sending side, where it has a task of its own.
    _upload: Upload | None = None
    # How the one write broke, where it has not.
    _write_failed: WriteError | None = None
    # Whether the response has been read to its end; and whether the request has been sent to its
    # own, too, or never will be.
    _is_whole = False
    _is_complete = False
    # What ended the exchange too early. Told after the pieces that had arrived before.
    _broken: BaseException | None = None
    # What the caller's own iterator raised, until somebody has been told.
    _untold: BaseException | None = None

    def __init__(self, sending: Sending, lease: Holding, background: Background) -> None:
        self.sending = sending
        self.request = sending.request
        self.connection = lease.connection
        self.reused = lease.reused
        self._lease = lease
        self._background = background
        self.trailers: RawHeaders = []
        self._pieces: list[bytes | bytearray] = []

    # ── The head ───────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Send the request; read the head of the response, and of its body what is there already.

        Raises:
          WriteError, WriteTimeout, ReadError, ReadTimeout: as their names say.
          RemoteProtocolError: the response is not legal, or exceeds a bound.
          PoolClosed: the pool was left meanwhile.
          BaseException: what the body's iterator raised, as itself.
        """
        try:
            await self.attempt()
        except BaseException:
            self.abandon()
            raise

    async def attempt(self) -> None:
        """:meth:`open`, for a caller who tries again if the connection was stale.

        If :attr:`was_stale`, and in no other case, the lease is still open when this has raised. So
        the request can give it up once it stands in line again, and no younger one gets its slot.
        """
        self.sending.listener.begun(self.connection, reused=self.reused)
        try:
            # If it was cancelled while it waited for its connection it is not sent.
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            self._lease.release()  # Nobody has touched the connection.
            raise
        try:
            await self._open()
            return
        except BaseException as exc:
            failure = exc
        if isinstance(failure, trio.Cancelled):
            failure.add_note(f"triopool was {self._doing()}")
        self.was_stale = self._looks_stale(failure)
        self._stop_upload()
        if not self.was_stale:
            self.abandon()  # Now: the slot does not wait for the iterator.
        await self.join()
        cause = self.first_cause(failure)
        if not isinstance(cause, ReadError | WriteError):
            self.was_stale = False
            self.abandon()
        try:
            # Not where it was caught: what the caller's iterator raised keeps its own context.
            raise cause
        finally:
            del failure, cause  # which refer to this frame

    def _looks_stale(self, failure: BaseException) -> bool:
        """Whether it failed as a connection does that the server closed while it was idle."""
        broke = isinstance(failure, ReadError | WriteError)
        return broke and self.reused and not self.connection.bytes_received

    async def _open(self) -> None:
        connection, request = self.connection, self.request
        connection.begin(
            request.head,
            request.timeouts,
            served_before=self.reused,
            just_seen=self._lease.just_seen,
        )
        if self._fits_one_write:
            await self._write()
        else:
            # Before we read: what could be read now is no answer to this.
            await connection.flush()
            self._start_upload(is_framed=False)
        self.response = await self._read_head()
        self._answered = True
        self.framing = connection.framing
        if connection.switched:
            await self._wait_until_sent()
            self.upgraded = UpgradedStream(connection, self.abandon)
        else:
            if self._upload is not None:
                self._answer_upload(self._upload)
            self._check_declared_length()
            await self._take_what_is_there()

    @property
    def _fits_one_write(self) -> bool:
        body = self.request.body
        if not isinstance(body, bytes) or self.request.expect_continue:
            return False
        tls = self.connection.tls is not None
        return len(body) <= (ONE_TLS_WRITE_BYTES if tls else ONE_WRITE_BYTES)

    async def _write(self) -> None:
        """Send a request that goes out in one write."""
        connection, body = self.connection, self.request.body
        assert isinstance(body, bytes)
        try:
            if not connection.send_now(body):
                if body and connection.tls is None:
                    self._start_upload(is_framed=True)  # The server may want to be read first.
                    return
                await connection.flush()
            if body:
                self.count_sent(len(body))
            self.note_written()
        except WriteError as exc:
            if self.nothing_sent:
                raise  # What could be read is no answer to this.
            self._write_failed = exc
            connection.end_sending()

    async def _read_head(self) -> Response | InformationalResponse:
        """Read up to the final head."""
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

    def _heed_informational(self, event: InformationalResponse) -> None:
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise self.connection.illegal(f"more than {MAX_INFORMATIONAL} informational responses")
        if event.status_code == 100 and self._upload is not None:
            self._upload.go_ahead()
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

    # ── The upload ─────────────────────────────────────────────────────────────────────────────

    def _start_upload(self, *, is_framed: bool) -> None:
        upload = self._upload = Upload(
            self.sending,
            self.connection,
            is_framed=is_framed,
            count_sent=self.count_sent,
            note_written=self.note_written,
            crashed=self._upload_crashed,
        )
        self._background.start(upload.run, stop=upload.stop, name="triopool upload")

    def _upload_crashed(self) -> None:
        """Nobody may be reading now: whoever reads next is told."""
        assert self._upload is not None
        self._broken = self._untold = self._upload.error
        self.abandon()

    async def _wait_until_sent(self) -> None:
        """RFC 9110 section 7.8: the request comes before the other protocol."""
        if self._upload is not None:
            await self._upload.wait_ended()
            if self._upload.error is not None:
                raise self._upload.error

    def _answer_upload(self, upload: Upload) -> None:
        """The final head is here: a body that waited to be asked for has its answer."""
        if self._is_success:
            upload.go_ahead()
        else:
            upload.refuse()
            # To take nothing more is one way to refuse it; the answer is still to be read.
            self.connection.on_write_stall = upload.stop

    @property
    def _is_success(self) -> bool:
        return 200 <= self.response.status_code < 300

    async def _wait_for_upload(self, upload: Upload) -> None:
        """The response is whole; wait for the request to be, unless the server refuses it."""
        while not upload.has_ended:
            before = self.connection.bytes_sent
            with trio.move_on_after(REFUSAL_SECONDS):
                await upload.wait_ended()
            # A server that has accepted the request is given the whole write timeout.
            if self.connection.bytes_sent == before and not self._is_success:
                upload.stop()

    async def give_up_body(self) -> None:
        """No other exchange will ask for the request's body: it is closed if this one doesn't."""
        if self._upload is not None and not self._upload.has_ended:
            self._upload.closes_body = True
        else:
            await self.sending.give_up_body()

    async def join(self) -> None:
        """Wait for the upload's task to end, if there is one: it has been stopped, or is over.

        Its iterator is closed then. Shielded, as the end of a nursery is; no checkpoint if there is
        nothing to wait for. If it is that iterator which calls, it does not wait for itself.
        """
        if self._upload is not None:
            with trio.CancelScope(shield=True):
                await self.wait_joined()

    async def wait_joined(self) -> None:
        """:meth:`join`, but if cancelled it waits no more."""
        upload = self._upload
        if upload is not None and not (upload.has_ended or upload.is_running_here):
            await upload.wait_ended()

    def take_untold(self) -> BaseException | None:
        """What the body's iterator raised, if nobody has been told of it by a read."""
        untold, self._untold = self._untold, None
        return untold

    def first_cause(self, exc: BaseException) -> BaseException:
        """What to raise where reading raised *exc*: it may follow from how sending ended.

        A crashed upload closes the connection, which the reader notices as that and no more. A
        write that broke tells more than the end of file that follows it. And what the iterator
        raises when it is cancelled goes on in place of that, as out of any nursery.
        """
        instead: BaseException | None
        upload = self._upload
        if upload is None:
            instead, goes_first = self._write_failed, isinstance(exc, ReadError)
        else:
            instead = upload.error
            goes_first = {
                State.CRASHED: True,
                State.BROKEN: isinstance(exc, ReadError),
                State.STOPPED: isinstance(exc, trio.Cancelled),
            }.get(upload.state, False)
        if instead is None or not goes_first:
            return exc
        return most_urgent(instead) if isinstance(exc, trio.Cancelled) else instead

    # ── The body ───────────────────────────────────────────────────────────────────────────────

    @property
    def ended(self) -> bool:
        """Whether the connection has been given back or closed; pieces may still be there."""
        return self._lease.ended

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`read` may return without a checkpoint."""
        nothing_to_wait_for = self._is_whole and (self._upload is None or self._upload.has_ended)
        return bool(self._pieces) or self.ended or self.switched or nothing_to_wait_for

    @property
    def switched(self) -> bool:
        """Whether what follows the head is no body."""
        return self.upgraded is not None

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing: all of the body is here, and the request needs no more."""
        return self._is_complete and self._broken is None

    @property
    def failure(self) -> BaseException | None:
        """What ended it too early, once that is known: each read raises it."""
        return self._broken

    def content_encoding(self) -> str:
        """How the body is encoded, where that matters to who reads it; else ``""``."""
        # A part of an encoded body (RFC 9110 section 15.3.7) can't be decoded by itself.
        if not self.request.decode or self.response.status_code == 206:
            return ""
        return self.framing.encoding

    async def read(self) -> bytes:
        """The next piece of the body; ``b""`` at its end. A checkpoint only if it has to wait.

        The end comes when the request has been sent to its end, too.

        If cancelled no byte is lost, and it may be called again.

        Raises:
          WriteError, WriteTimeout: the request was not sent to its end, and the response is a
            success; or the server took nothing of it for too long.
          ReadError, ReadTimeout, RemoteProtocolError, PoolClosed: as :meth:`open`. Again and
            again: a body that was cut must not look complete to who reads on.
          BaseException: what the body's iterator raised.
          trio.ClosedResourceError: another task has closed the response.
        """
        while not self._pieces:
            if self._broken is not None:
                self._untold = None
                raise self._broken
            if self._is_complete or self.switched:
                return b""
            if self.ended:
                raise trio.ClosedResourceError("the response was closed")
            await self._read_more()
        return self._take_pieces()

    def _take_pieces(self) -> bytes:
        # A single one that is of the type bytes is not copied.
        joined = b"".join(self._pieces)
        self._pieces.clear()
        return joined

    def take_all(self) -> bytes | None:
        """The rest of the body, if all of it has arrived; else None."""
        if not self._is_complete or self._broken is not None:
            return None
        return self._take_pieces()

    async def _read_more(self) -> None:
        try:
            if self._is_whole:
                assert self._upload is not None
                await self._wait_for_upload(self._upload)
                if not self.ended:  # Another task may have closed it.
                    await self._finish()
            else:
                await self._take_what_is_there(await self._receive())
        except TriopoolError as exc:
            self._break_off(exc)
        except trio.Cancelled as exc:
            exc.add_note(f"triopool was {self._doing()}")
            raise

    async def _receive(self) -> bytes:
        length, chunked, _ = self.framing
        rest = None if length is None or chunked else length - self.body_bytes
        return await self.connection.receive(rest)

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
            self._is_whole = True
            if self.framing.chunked:
                self.trailers = raw_headers(end)
            if self._upload is None or self._upload.has_ended:
                await self._finish()

    def _count(self, size: int) -> None:
        self.body_bytes += size
        limit = self.request.max_body_bytes
        if limit is not None and self.body_bytes > limit:
            raise self._too_large("a body")

    def _break_off(self, error: TriopoolError) -> None:
        if isinstance(error, ReadError | ReadTimeout):
            error.args = (f"{error}, {self._how_far()}",)
        self._broken = self.first_cause(error)
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
        if not self._answered:
            self.sending.listener.written()

    def tell_progress(self) -> None:
        """Tell the caller. Not while draining: no task of theirs is there to take an exception."""
        request = self.request
        assert request.on_progress is not None
        request.on_progress(
            Progress(self._body_sent, request.body_length, self.body_bytes, self.framing.length)
        )

    # ── Endings ────────────────────────────────────────────────────────────────────────────────

    async def _finish(self) -> None:
        """Both sides are done: give the connection back if it can be reused."""
        self._is_complete = True
        if not self.connection.sent_whole:
            self._broken = self._broken or self._why_not_sent_whole()
            self.abandon()
            return
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
        """Close the connection, and stop the upload, unless the exchange has ended already."""
        self._stop_upload()
        self._lease.close(CloseReason.STALE if self.was_stale else CloseReason.DISCARDED)

    def _stop_upload(self) -> None:
        if self._upload is not None:
            self._upload.stop()

    @property
    def worth_draining(self) -> bool:
        """Whether what is left is, or may be, so little that reading it saves the connection."""
        if not self.connection.may_be_reused:
            return False
        length, chunked, _ = self.framing
        return chunked or (length is not None and length - self.body_bytes <= DRAIN_BYTES)

    def start_drain(self) -> None:
        """Read the rest for the connection's sake, in a task of the pool."""
        self._background.start(self._drain, stop=self.abandon, name="triopool drain")

    async def _drain(self) -> None:
        """Within bounds; if there is more, close the connection."""
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
    def nothing_sent(self) -> bool:
        """Whether the kernel took not one byte of the request."""
        return not self.connection.bytes_sent

    def _doing(self) -> str:
        """What is going on, for a note on a cancellation."""
        key, connection = self.request.key, self.connection
        if self._answered and not self._is_whole:
            return f"reading the response from {key}, {self._how_far()}"
        if self._is_whole or not connection.sent_whole:
            return f"sending the request to {key}: {connection.bytes_sent} bytes had been sent"
        waited = "" if connection.waited is None else f", for {connection.waited:.3g} s"
        return f"waiting for the head of the response from {key}{waited}"

    def _why_not_sent_whole(self) -> WriteError | None:
        """The error of a success that was said of half a request; None if it is no success.

        What refuses a request (413, say) is an answer to what the server has had of it.

        Raises:
          TriopoolError: the connection was closed under us, which is why.
        """
        if not self._is_success:
            return None
        self.connection.check_open("write")
        origin = self.request.key.origin
        error = WriteError(
            f"{origin} answered with {self.response.status_code} to a request whose end it has not "
            f"taken: {self._body_sent} bytes of the body were sent",
            origin=origin,
            phase="write",
        )
        error.__cause__ = self._write_failed if self._upload is None else self._upload.error
        return error

    def _too_large(self, what: str) -> RemoteProtocolError:
        return self.connection.illegal(
            f"{what}, more than max_body_bytes={self.request.max_body_bytes}"
        )


def most_urgent(group: BaseException) -> BaseException:
    """The one exception of a nursery's group that goes on, for no group leaves a request.

    All that can be in there are Cancelled ones, control-C, and what the body's iterator mixed
    with a Cancelled of its own.
    """
    error = group
    if isinstance(group, BaseExceptionGroup):
        error = group.split(trio.Cancelled)[1] or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
