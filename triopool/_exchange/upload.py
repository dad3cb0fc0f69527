"""The sending side of an exchange whose body does not go out in one write: a task of the pool.

It runs beside the task that reads the response, and neither stops the other: a server may answer
first and read then, or answer while it reads. It ends in one of four ways, and raises none of them,
for the reading side decides what they mean:

    SENDING ──► SENT      the kernel has taken everything
            ──► BROKEN    the connection broke; the response may still be there to be read
            ──► STOPPED   the exchange is over, or the server has refused the body
            ──► CRASHED   something ends the exchange: what the caller's own iterator raised, or the
                          server took nothing for too long

The iterator is the caller's. It runs in this task, and is closed in it. So that no code of the
caller's runs on behind its back, a task that leaves the exchange waits for this one to end; the
connection and its slot do not.

The task is shielded: a request that is shielded goes on in a cancelled program, and its body with
it. What stops it is its exchange, or the pool when it is left.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING

import trio

from .._body.pieces import checked_piece, close_body, refuse_result
from .._errors import ReadError, TriopoolError, WriteError
from .._groups import most_urgent
from .turn import Turn

if TYPE_CHECKING:
    from .._protocol.seam import Bytes, Codec
    from .sending import Sending

logger = logging.getLogger("triopool")


ONE_WRITE_BYTES = 64 * 1024
"""A body of at most this many bytes is sent together with the head; without a task, if the kernel
takes it at once."""

PIECE_BYTES = 256 * 1024
"""A larger one goes out in pieces of at most this size, and after each its progress is told. A
piece costs about 25 µs, so that 50 MB of them cost half of what they cost at 64 KiB each."""

CONTINUE_WAIT = 1.0
"""Seconds that a body waits for 100 Continue (RFC 9110 section 10.1.1: not indefinitely)."""


REFUSAL_SECONDS = 0.5
"""A server that has answered, with anything but a success, and takes nothing of the body for so
long (at most twice that) has refused it. Most close the connection, which is noticed sooner.
Picked, not derived."""


class State(enum.Enum):
    SENDING = "sending"
    SENT = "sent"
    BROKEN = "broken"
    STOPPED = "stopped"
    CRASHED = "crashed"


class Upload:
    """Sends the body of one request; if that *is_framed*, what the kernel has left of it.

    Attributes:
      state: see the module.
      error: how the connection broke; what it crashed with; or what the iterator raised when it was
        stopped. Else None.
      closes_body: whether a body that was never asked for is to be closed in the end; else it goes
        to another exchange, after a redirect.
    """

    def __init__(
        self,
        sending: Sending,
        codec: Codec,
        *,
        is_framed: bool,
        count_sent: Callable[[int], None],
        crashed: Callable[[BaseException], None],
    ) -> None:
        self._sending = sending
        self._request = sending.request
        self._codec = codec
        self._is_framed = is_framed
        self._count_sent = count_sent
        self._answered = False
        self._crashed = crashed
        self._scope = trio.CancelScope(shield=True)
        self._go_ahead = trio.Event()
        self._ended = trio.Event()
        self._task: trio.lowlevel.Task | None = None
        self._of_connection: TriopoolError | None = None
        self._turn = Turn()
        self.state = State.SENDING
        self.closes_body = False
        self.error: BaseException | None = None

    # ── For the exchange ───────────────────────────────────────────────────────────────────────

    def go_ahead(self) -> None:
        """The server has asked for the body, or has accepted the request without asking."""
        self._go_ahead.set()

    def answer(self, *, accepted: bool) -> None:
        """The final head is here: a body that waits to be asked for has its answer."""
        self._answered = True
        if accepted:
            self.go_ahead()
            return
        if self._request.expect_continue and not self._go_ahead.is_set():
            self.stop()
        # To take nothing more is one way to refuse a body; the answer is still to be read.
        self._codec.on_write_stall = self.stop

    def stop(self) -> None:
        """Send nothing more. Synchronous; the task ends as soon as the iterator lets it."""
        if self.state is State.SENDING:
            self.state = State.STOPPED
            self._scope.cancel()

    async def wait_ended(self) -> None:
        """Wait until the task has ended, and the iterator has been closed."""
        await self._ended.wait()

    async def wait_until_sent(self) -> None:
        """Wait for the end, behind the head of a switch.

        Raises:
          BaseException: it was not sent to its end.
        """
        self._answered = True
        await self.wait_ended()
        if self.error is not None:
            raise self.error

    async def wait_unless_refused(self, *, accepted: bool) -> None:
        """The response is whole; wait for the request to be, unless the server refuses it."""
        while not self.has_ended:
            before = self._codec.bytes_sent
            with trio.move_on_after(REFUSAL_SECONDS):
                await self.wait_ended()
            # A server that has accepted the request is given the whole write timeout.
            if self._codec.bytes_sent == before and not accepted:
                self.stop()

    def cause_of(self, exc: BaseException) -> BaseException:
        """What to raise where reading raised *exc*: it may follow from how sending ended."""
        if self.error is None:
            return exc
        match self.state, exc:
            case State.CRASHED, _:
                pass  # It has closed the connection, which the reader notices as that and no more.
            case State.BROKEN, ReadError():
                pass  # A write that broke tells more than the end of file that follows it.
            case State.STOPPED, trio.Cancelled():
                pass  # What the iterator raises when it is cancelled goes on in place of that.
            case _:
                return exc
        # As out of any nursery; and no group leaves a request.
        return most_urgent(self.error) if isinstance(exc, trio.Cancelled) else self.error

    @property
    def is_running_here(self) -> bool:
        """Whether the caller is the iterator, which can't wait for its own end."""
        return self._task is trio.lowlevel.current_task()

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    # ── The task ───────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        request = self._request
        self._task = trio.lowlevel.current_task()
        try:
            with self._scope:
                await self._send_everything()
                self._end(State.SENT)
                if not self._answered:
                    self._sending.listener.written()
        except BaseException as exc:
            # A WriteError may also be the iterator's own, out of another exchange.
            is_ours = exc is self._of_connection
            is_broken = is_ours and isinstance(exc, WriteError)
            stopped = self.state is State.STOPPED
            # To be stopped is to have the connection closed: that is no news.
            self.error = None if is_ours and stopped else exc
            if stopped and not is_ours:
                logger.warning("the body of %r failed when it was stopped", request, exc_info=exc)
            self._end(State.BROKEN if is_broken else State.CRASHED)
        finally:
            self._codec.stop_sending()
            try:
                if self.closes_body:
                    await self._give_up_body()
            finally:
                self._ended.set()

    async def _give_up_body(self) -> None:
        # As a body that was begun is closed: in a scope that has been cancelled.
        with trio.CancelScope(shield=True) as forcefully:
            forcefully.cancel()
            await self._sending.give_up_body()

    def _end(self, state: State) -> None:
        if self.state is not State.STOPPED:
            self.state = state
            if state is State.CRASHED:
                assert self.error is not None
                self._crashed(self.error)

    async def _send_everything(self) -> None:
        request = self._request
        if self._is_framed:
            await self._send_rest(request.body)
            return
        if request.expect_continue:
            with trio.move_on_after(CONTINUE_WAIT):
                await self._go_ahead.wait()
            self._go_ahead.set()
        # If we have been stopped the body may go to another exchange: we take no step in it.
        await trio.lowlevel.checkpoint_if_cancelled()
        body: object = request.body() if callable(request.body) else request.body
        if isinstance(body, bytes):
            await self._send_bytes(body)
        elif isinstance(body, AsyncIterable):
            self._sending.body_started = True
            await self._send_pieces(body)
        else:
            refuse_result(body, "content= was called for the body, and")

    async def _send_bytes(self, body: bytes) -> None:
        # The end goes with the last piece: a server that answers the last byte must find us done.
        *pieces, last = _cut(body) or [b""]
        for piece in pieces:
            await self._send(piece)
        await self._send(last, last=True)

    async def _send_pieces(self, body: AsyncIterable[object]) -> None:
        iterator = aiter(body)
        try:
            async for piece in iterator:
                for part in _cut(checked_piece(piece, "the body's iterator")):
                    await self._send(part)
        finally:
            await close_body(iterator)
        await self._send(b"", last=True)

    async def _send(self, piece: Bytes, *, last: bool = False) -> None:
        # Others run before a piece and not behind it: what was taken is counted in the same step.
        if self._turn.is_over(len(piece)) or self.state is not State.SENDING:
            await trio.lowlevel.checkpoint()
        try:
            if not self._codec.send_now(piece, last=last):
                await self._codec.flush()
                self._turn.begin()
        except TriopoolError as exc:
            self._of_connection = exc
            raise
        if piece:
            self._count_sent(len(piece))

    async def _send_rest(self, body: object) -> None:
        assert isinstance(body, bytes)
        try:
            await self._codec.flush()
        except TriopoolError as exc:
            self._of_connection = exc
            raise
        self._count_sent(len(body))


def _cut(data: bytes) -> list[Bytes]:
    """In pieces of at most PIECE_BYTES, without a copy."""
    if len(data) <= PIECE_BYTES:
        return [data] if data else []
    view = memoryview(data)
    return [view[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
