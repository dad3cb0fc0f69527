"""One request and its response, on one leased connection.

    request ──► send ─────────────────────────────┐
                 └─ side by side ─┐               ├──► lease ended
                read head ────────┴► read body ───┘

The exchange owns its lease, and ends it synchronously. When both sides are done the connection goes
back; what breaks the exchange off before makes the connection spent first, so that ending the lease
closes it. Until the head is here, whatever is raised breaks it off, ``Cancelled`` included. After
that an error does; a cancelled read can be repeated, as with any Trio stream, and leaving the
``stream()`` block for good breaks it off there.

How the bytes move, how messages are framed and how long we wait for the server is the business of
the codec below (``_protocol/seam.py``). What stays here is the order of things.

The two sides
-------------
:class:`Sender` sends the request, :class:`Receiving` takes the body of the response; the exchange
sees that both come to their end, which may be in any order. A connection is reused only if the
system has taken the request to its end. A 2xx to a request that was not sent to its end is an
error: the server can't have had what it says it has. Any other answer to it is an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import trio

from .._errors import ReadError, RemoteProtocolError, TriopoolError, WriteError
from .._facts import CloseReason
from .._protocol.seam import NO_FIELDS, Head, RawHeaders
from . import drain as _drain
from .progress import Meter
from .receiving import Receiving, not_accepted
from .sender import Sender
from .upgraded import UpgradedStream

if TYPE_CHECKING:
    from .._protocol.seam import Codec, Connection
    from .._request.request import Request
    from .background import Background
    from .holding import Holding
    from .sending import Sending

MAX_INFORMATIONAL = 20
"""1xx responses to one request."""


State: TypeAlias = Literal["opening", "reading", "whole", "complete", "switched"]
"""How far an exchange is:

    opening ──► reading ──► [whole ──►] complete
            └─► switched

- opening: the final head has not come.
- reading: the body is coming, or is left alone by its reader.
- whole: the response is here to its end, and the request is still being sent.
- complete: both are done, or the request never will be.
- switched: what follows the head is another protocol, and no body.

Text and no enum: to look a member up takes 75 ns, and each exchange does it ten times.
"""


class Exchange:
    """One request and its response.

    Attributes:
      sending: the request on its way, and what changes while it is.
      request: what is sent.
      connection: what it is sent on.
      codec: how it is sent there. Not to be asked once the exchange has ended.
      reused: whether the connection has been idle, or has served another request before.
      response: the head of the final response, or of a 101.
      upgraded: the stream that follows, where that is no longer HTTP.
      trailers: the fields behind a chunked body, once it has come to its end.
      failure: what ended it too early, once that is known: each read raises it.
      was_stale: whether it failed as a connection does that the server closed while it was idle.
    """

    # What few exchanges need is set when they do: to set all of it each time takes half a µs.
    response: Head
    upgraded: UpgradedStream | None = None
    trailers: RawHeaders = NO_FIELDS
    failure: BaseException | None = None
    was_stale: bool = False
    _state: State = "opening"
    _informational = 0
    # What the caller's own iterator raised, until a read has told it.
    _untold: BaseException | None = None

    def __init__(self, sending: Sending, lease: Holding, background: Background) -> None:
        self.sending = sending
        self.request: Request = sending.request
        self.connection: Connection = lease.connection
        self.codec: Codec = lease.connection.open_codec()
        self.reused: bool = lease.reused
        self._lease = lease
        self._background = background
        request = sending.request
        self._meter = meter = (
            None if request.on_progress is None else Meter(request.on_progress, request.body_length)
        )
        self._sender = Sender(sending, self.codec, meter)
        self._body = Receiving(self.codec, request, meter)

    # ── The head ───────────────────────────────────────────────────────────────────────────────

    async def attempt(self) -> None:
        """Send the request; read the head of the response, and of its body what is there already.

        If :attr:`was_stale`, and in no other case, the lease is still open when this has raised. So
        a request that is sent again gives it up once it stands in line, and no younger one gets its
        slot.

        Raises:
          WriteError, WriteTimeout, ReadError, ReadTimeout: as their names say.
          RemoteProtocolError: the response is not legal, or exceeds a bound.
          PoolClosed: the pool was left meanwhile.
          BaseException: what the body's iterator raised, as itself.
        """
        self.sending.listener.begun(self.connection, reused=self.reused)
        try:
            # If it was cancelled while it waited for its connection it is not sent.
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            self._end_lease()  # The connection is as it was.
            raise
        try:
            await self._open()
            return
        except BaseException as exc:
            failure = exc
        if isinstance(failure, trio.Cancelled):
            failure.add_note(f"triopool was {self._doing()}")
        self.was_stale = self._looks_stale(failure)
        self._sender.stop()
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
        return broke and self.reused and not self.codec.bytes_received

    async def _open(self) -> None:
        await self._sender.begin(
            self._background,
            self._upload_crashed,
            reused=self.reused,
            just_seen=self._lease.just_seen,
        )
        head = self.response = await self._read_head()
        if self.codec.upgraded is not None:
            self._state = "switched"
            await self._sender.wait_until_sent()
            self.upgraded = UpgradedStream(self.codec.upgraded, self.connection, self.abandon)
            return
        self._state = "reading"
        self._sender.answer(accepted=self._is_success)
        if self._meter is not None:
            self._meter.to_receive = head.length
        self._body.check_length(head)
        if self._take_what_came():
            await self._finish()

    async def _read_head(self) -> Head:
        """Read up to the final head, or to a switch."""
        codec = self.codec
        while True:
            await codec.receive()
            while (head := codec.next_head()) is not None:
                if head.status_code >= 200 or codec.upgraded is not None:
                    return head
                self._take_informational(head)

    def _take_informational(self, head: Head) -> None:
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise self.not_accepted(f"more than {MAX_INFORMATIONAL} informational responses")
        if head.status_code == 100:
            self._sender.go_ahead()
        if self.request.on_informational is not None:
            self.request.on_informational(head.status_code, head.read_fields())

    @property
    def _is_success(self) -> bool:
        return 200 <= self.response.status_code < 300

    # ── The sending side ───────────────────────────────────────────────────────────────────────

    def _upload_crashed(self, error: BaseException) -> None:
        """Perhaps no task is reading now: the next one that reads is told."""
        self._untold = error
        self._break_off(error)

    def take_untold(self) -> BaseException | None:
        """What the body's iterator raised, if no read has told it yet."""
        untold, self._untold = self._untold, None
        return untold

    def first_cause(self, exc: BaseException) -> BaseException:
        """See :meth:`Sender.first_cause`; so for the three below."""
        return self._sender.first_cause(exc)

    async def join(self) -> None:
        await self._sender.join()

    async def wait_joined(self) -> None:
        await self._sender.wait_joined()

    async def give_up_body(self) -> None:
        await self._sender.give_up_body()

    # ── The body ───────────────────────────────────────────────────────────────────────────────

    @property
    def body_bytes(self) -> int:
        """How many bytes of the body have arrived."""
        return self._body.body_bytes

    @property
    def ended(self) -> bool:
        """Whether the connection has been given back or closed; pieces may still be there."""
        return self._lease.ended

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`read` may return without a checkpoint."""
        nothing_to_wait_for = self._state == "whole" and not self._sender.is_under_way
        return bool(self._body.pieces) or self.ended or self.switched or nothing_to_wait_for

    @property
    def switched(self) -> bool:
        """Whether what follows the head is no body."""
        return self._state == "switched"

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing: all of the body is here, and the request needs no more."""
        return self._state == "complete" and self.failure is None

    def content_encoding(self) -> str:
        """How the body is encoded, where that matters to its reader; else ``""``."""
        # A part of an encoded body (RFC 9110 section 15.3.7) can't be decoded by itself.
        if not self.request.decode or self.response.status_code == 206:
            return ""
        return self.response.encoding

    def tell_progress(self) -> None:
        """Tell the caller. Not while draining: no task of theirs is there to take an exception."""
        assert self._meter is not None
        self._meter.tell()

    async def read(self) -> bytes:
        """The next piece of the body; ``b""`` at its end. A checkpoint only if it has to wait.

        The end comes when the request has been sent to its end, too.

        If cancelled no byte is lost, and it may be called again.

        Raises:
          WriteError, WriteTimeout: the request was not sent to its end, and the response is a
            success; or the server took nothing of it for too long.
          ReadError, ReadTimeout, RemoteProtocolError, PoolClosed: as :meth:`attempt`. Again and
            again: a body that was cut must not look complete to a task that reads on.
          BaseException: what the body's iterator raised.
          trio.ClosedResourceError: another task has closed the response.
        """
        while not self._body.pieces:
            if self.failure is not None:
                self._untold = None
                raise self.failure
            if self.is_complete or self.switched:
                return b""
            if self.ended:
                raise trio.ClosedResourceError("the response was closed")
            await self._read_more()
        return self._body.give_out()

    def take_all(self) -> bytes | None:
        """The rest of the body, if all of it has arrived; else None."""
        return self._body.give_out() if self.is_complete else None

    async def _read_more(self) -> None:
        try:
            if self._state == "whole":
                await self._sender.wait_unless_refused(accepted=self._is_success)
                if not self.ended:  # Another task may have closed it.
                    await self._finish()
            else:
                await self.codec.receive()
                if self._take_what_came():
                    await self._finish()
        except TriopoolError as exc:
            self._break_off(self.first_cause(exc))
        except trio.Cancelled as exc:
            exc.add_note(f"triopool was {self._doing()}")
            raise

    def _take_what_came(self) -> bool:
        """Take what has come of the body; whether both sides are done with that."""
        try:
            is_whole = self._body.take()
        except TriopoolError as exc:
            # Whether it came together with the head or later makes no difference to the caller.
            self._break_off(self.first_cause(exc))
            return False
        if not is_whole:
            return False
        self._state = "whole"
        self.trailers = self.codec.trailers
        return not self._sender.is_under_way

    # ── Endings ────────────────────────────────────────────────────────────────────────────────

    async def _finish(self) -> None:
        """Both sides are done: give the connection back, if it can serve another exchange."""
        self._state = "complete"
        if not self.codec.sent_whole and self._is_success:
            self._break_off(self._sender.why_not_whole(self.response.status_code))
            return
        try:
            await self.codec.finish()
        except BaseException:
            self.abandon()
            raise
        self._end_lease()

    def abandon(self) -> None:
        """Close the connection, and stop the upload, unless the exchange has ended already."""
        self._sender.stop()
        if not self.ended:
            self.codec.abandon()
            self._end_lease()

    def _break_off(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self.abandon()

    def _end_lease(self) -> None:
        """Leave the connection: to be used again, or for its slot to be freed if it is spent."""
        self._lease.end(CloseReason.STALE if self.was_stale else CloseReason.DISCARDED)

    @property
    def worth_draining(self) -> bool:
        """Whether what is left is, or may be, so little that reading it saves the connection."""
        return _drain.is_worth_it(self.codec, self.response, self._body)

    def start_drain(self) -> None:
        """Read the rest for the connection's sake, in a task of the pool."""
        self._background.start(self._drain, stop=self.abandon, name=_drain.NAME)

    async def _drain(self) -> None:
        try:
            await _drain.drain(self._body, self._skip)
        finally:
            self.abandon()

    async def _skip(self) -> bool:
        """Take what comes next, and drop it; whether there is more."""
        if self.ended:
            return False
        self._body.pieces.clear()
        await self._read_more()
        return True

    # ── Errors ─────────────────────────────────────────────────────────────────────────────────

    @property
    def nothing_sent(self) -> bool:
        """Whether the kernel took not one byte of the request."""
        return not self.codec.bytes_sent

    def not_accepted(self, what: str) -> RemoteProtocolError:
        """The error that says that the server sent *what*."""
        return not_accepted(self.request, what)

    def _doing(self) -> str:
        """What is going on, for a note on a cancellation."""
        way, codec = self.request.way, self.codec
        if self._state == "reading":
            return f"reading the response from {way}, {codec.how_far}"
        if self._state == "whole" or not codec.sent_whole:
            return f"sending the request to {way}: {codec.bytes_sent} bytes had been sent"
        waited = "" if codec.waited is None else f", for {codec.waited:.3g} s"
        return f"waiting for the head of the response from {way}{waited}"
