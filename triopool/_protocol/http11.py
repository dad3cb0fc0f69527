"""One HTTP/1.1 connection: h11 over a wire. The only file that knows h11.

h11 says what is legal, and whether the connection can be reused: when both sides are done and
nothing trails. What is ours is to move the bytes, and to turn foreign errors into our own. What a
server sends passes the scanner first, which keeps the bounds.

What moves bytes (:meth:`Connection.send_now`, :meth:`~Connection.send`, :meth:`~Connection.flush`,
:meth:`~Connection.receive`) keeps its own deadlines: the server is given so much time for each gap,
and a connection that it lets wait for longer is closed (``_deadlines.py``). Sending and receiving
may be done by two tasks at one time, one of each.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

import h11
import trio

from .._config import Timeouts
from .._deadlines import Deadline, Deadlines
from .._errors import (
    LocalProtocolError,
    PoolClosed,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    WriteError,
    WriteTimeout,
)
from .._facts import Condition, ConnectionInfo, Spent
from .._origin import PoolKey
from .._transport import tls as _tls
from .._transport.wire import Wire
from .request_head import Head
from .scanner import MAX_HEAD_BYTES, Framing, NotLegal, Scanner, Stage

_END_OF_MESSAGE = h11.EndOfMessage()
# In which the request has not been framed to its end.
_UNDER_WAY = frozenset({h11.IDLE, h11.SEND_BODY})
Bytes: TypeAlias = bytes | bytearray | memoryview
RawHeaders: TypeAlias = "list[tuple[bytes, bytes]]"


_NO_LIMITS = Timeouts(write=None, read=None)


class NeedData:
    """What :meth:`Connection.next_event` returns when h11 wants to read from the network."""


NEED_DATA = NeedData()
Data: TypeAlias = h11.Data
EndOfMessage: TypeAlias = h11.EndOfMessage
InformationalResponse: TypeAlias = h11.InformationalResponse
Response: TypeAlias = h11.Response
Event: TypeAlias = "NeedData | Data | EndOfMessage | InformationalResponse | Response"


class Connection:
    """One connection, and the state of the exchange on it.

    Attributes:
      info: its facts.
      waited: for how many seconds a read that was cancelled had waited; None if not known.
      on_write_stall: called if the server takes nothing of the request for too long; None to close
        the connection, which is a :class:`WriteTimeout`.
      bytes_received: how many bytes have arrived in this exchange.
    """

    def __init__(
        self,
        wire: Wire,
        tls: _tls.TLSStream | None,
        info: ConnectionInfo,
        key: PoolKey,
        deadlines: Deadlines,
    ) -> None:
        self.info = info
        self.spent: Spent | None = None
        self._name = str(key)
        # One for each direction, for an upload and its response may go on side by side.
        self._write_clock = Deadline(deadlines, self._write_stalled)
        self.on_write_stall: Callable[[], object] | None = None
        self._read_clock = Deadline(deadlines, wire.close)
        self._limits: Timeouts = _NO_LIMITS
        self.waited: float | None = None
        self._wire = wire
        self._tls = tls
        self._stream: Wire | _tls.TLSStream = wire if tls is None else tls
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._scanner = Scanner()
        self._served_before = False
        # Whether more is to be sent; and whether a task waits for what the server sends.
        self._sending = self._receiving = False
        # What has been framed and not been taken by the kernel.
        self._owed: Bytes = b""
        self._sent_before = 0
        self.bytes_received = 0
        self._eof = False

    # ── For the slot engine ────────────────────────────────────────────────────────────────────

    def condition(self) -> Condition:
        """See whether anything has arrived while it was idle. Synchronous, about a microsecond."""
        if not self._wire.is_readable():
            return Condition.FRESH
        # TLS 1.3 sends session tickets after the handshake, and may change keys at any time.
        return Condition.STALE if self._tls is None else Condition.UNSURE

    async def settle(self) -> bool:
        """Let TLS process what has arrived; False if it was data, an end of file or an error.

        Never waits for the peer. Works under an expired deadline too, where it raises Cancelled
        rather than tell a lie.
        """
        assert self._tls is not None
        try:
            with self._wire.impatient():
                await self._tls.receive_some(1)
        except trio.WouldBlock:
            return True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return False

    @property
    def idle_limit(self) -> float | None:
        """How long the server keeps it when idle, in seconds less a margin; None if not told."""
        return self._scanner.idle_limit

    def close(self) -> None:
        self._wire.close()
        self._write_clock.forget()
        self._read_clock.forget()

    @property
    def socket(self) -> trio.socket.SocketType:
        """For facts about it: not to be read or written."""
        return self._wire.socket

    @property
    def tls(self) -> trio.SSLStream[Any] | None:
        """For facts about it: not to be read or written."""
        return None if self._tls is None else self._tls.ssl

    @property
    def closed(self) -> bool:
        """Whether the descriptor has been closed: by us, or by the pool when it was left."""
        return self._wire.closed

    # ── Sending ────────────────────────────────────────────────────────────────────────────────
    #
    # h11 calls a request done as soon as its end has been *framed*. Whether the connection can be
    # reused depends on what was *sent*: so whatever has been framed is owed until the kernel has
    # taken all of it, and to frame and to write are never two steps of the caller's.

    @property
    def bytes_sent(self) -> int:
        """How many bytes of this exchange the kernel has taken (ciphertext, if TLS)."""
        return self._wire.bytes_sent - self._sent_before

    @property
    def sent_whole(self) -> bool:
        """Whether the kernel has taken the request to its end."""
        framed = self._h11.our_state not in _UNDER_WAY
        return framed and not (self._owed or self._wire.torn)

    def begin(self, head: Head, limits: Timeouts, *, served_before: bool, just_seen: bool) -> None:
        """Begin an exchange: frame its head. Nothing is written yet.

        Args:
          head: of the request.
          limits: how long each wait for the server may take.
          served_before: whether the server may have ended the connection, or sent something that
            nobody asked for: then we look at it in the step in which we write.
          just_seen: whether it has been looked at in this very step.
        """
        self._sent_before = self._wire.bytes_sent
        self.bytes_received = 0
        self._scanner.start(head.method)
        self._limits = limits
        self._sending = True
        self._served_before = served_before
        self._wire.look_before_write = served_before and not just_seen
        self.on_write_stall = None
        self._owed = self._h11.send(head) or b""

    def send_now(self, body: bytes) -> bool:
        """Write the head and a whole *body*, as far as the kernel takes them at once.

        Not a checkpoint.

        Returns:
          Whether that was all; else :meth:`flush` writes the rest. With TLS it is nothing.

        Raises:
          WriteError, PoolClosed: as :meth:`send`.
        """
        self._owed = b"".join((self._owed, *self._frame(body, last=True)))
        return self._write_now()

    async def send(self, piece: Bytes, *, last: bool = False) -> None:
        """Frame and write a piece of the body; and its end, if it is the *last* one.

        If this raises, the connection can't be reused. Only the last piece may be empty; if nothing
        is sent for it, this is no checkpoint.

        Raises:
          WriteError: the connection broke.
          WriteTimeout: the server took nothing for the time that is the limit.
          LocalProtocolError: the body does not fit the Content-Length of the request.
          PoolClosed: the pool was left meanwhile.
        """
        framed = self._frame(piece, last=last)
        self._owed = framed[0] if len(framed) == 1 else b"".join(framed)
        if self._owed:
            await self.flush()
        else:
            assert last  # of a body whose length was told: its end is not framed
            self.end_sending()

    async def flush(self) -> None:
        """Write what is owed. See :meth:`send`."""
        # Let others run before and not after, so that what has been taken is counted at once.
        await trio.lowlevel.checkpoint()
        if self._served_before and not self.bytes_sent:
            self._wire.look_before_write = True  # It has not been seen in this step.
        if self._write_now():
            return
        # No clock runs for what the kernel takes at once.
        clock, limit = self._write_clock, self._limits.write
        self._wire.on_progress = lambda: clock.begin(limit)
        clock.begin(limit)
        try:
            await self._stream.send_all(self._owed)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._raise_send_failure(exc)
        finally:
            clock.end()
        self._paid()

    def _frame(self, piece: Bytes, *, last: bool) -> list[Bytes]:
        """A piece of the body as it goes over the wire, without a copy."""
        parts: list[Bytes] = []
        send = self._h11.send_with_data_passthrough
        try:
            if piece:
                parts += send(h11.Data(data=piece)) or ()  # type: ignore[arg-type] # asks for len()
            if last:
                parts += send(_END_OF_MESSAGE) or ()
        except h11.LocalProtocolError as exc:
            raise LocalProtocolError(
                f"the body does not fit the request's Content-Length: {exc}",
                origin=self.info.origin,
                phase="write",
            ) from exc
        return [part for part in parts if part]

    def _write_now(self) -> bool:
        """Write what the kernel takes at once of what is owed; whether that was all."""
        if self._tls is not None:
            return False
        try:
            sent = self._wire.send_now(self._owed)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._raise_send_failure(exc)
        if sent < len(self._owed):
            self._owed = memoryview(self._owed)[sent:]
            return False
        self._paid()
        return True

    def _paid(self) -> None:
        """The kernel has taken all that was framed."""
        self._owed = b""
        if self._h11.our_state not in _UNDER_WAY:
            self.end_sending()

    def _write_stalled(self) -> None:
        """The server has taken nothing for too long."""
        if self.on_write_stall is None:
            self._wire.close()
        else:
            self._write_clock.is_over = False
            self.on_write_stall()

    def end_sending(self) -> None:
        """Nothing more is sent: from now on the server's silence counts against it."""
        self._sending = False
        if self._receiving:
            self._read_clock.begin(self._limits.read)

    def _raise_send_failure(self, exc: Exception) -> NoReturn:
        if isinstance(exc, trio.ClosedResourceError):
            self._raise_closed("write", exc)
        origin = self.info.origin
        raise WriteError(
            f"the connection to {origin} broke while the request was sent: {_why(exc)}",
            origin=origin,
            phase="write",
        ) from exc

    def check_open(self, phase: str) -> None:
        """Raise the reason if the connection was closed under us.

        Raises:
          WriteTimeout, ReadTimeout: the server let us wait for too long.
          PoolClosed: the pool, or the lease of the connection, was left.
        """
        if self.closed:
            self._raise_closed(phase, None)

    def _raise_closed(self, phase: str, exc: Exception | None) -> NoReturn:
        """Say why the connection was closed under us.

        If it was for our own impatience, that is the reason, and how it was done is not told.
        """
        if self._write_clock.is_over:
            raise self._write_timeout() from None
        if self._read_clock.is_over:
            raise self._read_timeout() from None
        raise PoolClosed(
            f"the exchange with {self.info.origin} was under way when the pool, or the lease of "
            "its connection, was left",
            origin=self.info.origin,
            phase=phase,
        ) from exc

    def _write_timeout(self) -> WriteTimeout:
        seconds = self._limits.write
        return WriteTimeout(
            f"{self._name} took nothing of the request for {seconds} s "
            f"({self.bytes_sent} bytes sent so far)",
            origin=self.info.origin,
            phase="write",
            seconds=seconds,
        )

    def _read_timeout(self) -> ReadTimeout:
        seconds = self._limits.read
        # Once the head is here, the exchange tells how far the body has come.
        in_head = self._scanner.stage is Stage.HEAD
        so_far = f" ({self.bytes_received} bytes received so far)" if in_head else ""
        return ReadTimeout(
            f"{self._name} sent nothing for {seconds} s{so_far}",
            origin=self.info.origin,
            phase="read",
            seconds=seconds,
        )

    # ── Receiving ──────────────────────────────────────────────────────────────────────────────

    def next_event(self) -> Event:
        """What h11 makes of the bytes so far.

        Raises:
          RemoteProtocolError: they are not legal HTTP/1.1, or exceed a bound.
          ReadError: the peer closed the connection in the middle of a message, or where TLS can't
            tell whether it was the middle.
        """
        try:
            some = self._scanner.take()
        except NotLegal as exc:
            raise self.illegal(str(exc)) from None
        # Whatever the scanner gives makes an event: a whole head, a whole chunk, a part of a body.
        if some:
            self._h11.receive_data(some)  # type: ignore[arg-type] # takes whatever is like bytes
        event: Any = None
        try:
            # ConnectionClosed and PAUSED come behind a whole response, or 101, where nobody asks.
            event = self._h11.next_event()
        except h11.RemoteProtocolError as exc:
            if self._eof:
                raise self._cut() from exc
        if event is None:
            # Not from h11's exception, nor in its context: it may quote what was sent.
            self._refuse()
        if self._eof and isinstance(event, h11.EndOfMessage):
            self._check_end_of_file()
        return NEED_DATA if event is h11.NEED_DATA else event

    def _refuse(self) -> NoReturn:
        if self._scanner.status == 101:
            raise self.illegal("101 Switching Protocols, which was not asked for")
        raise self.illegal("what is not legal HTTP/1.1: h11 refuses its head, or its trailers")

    def _cut(self) -> ReadError:
        if not self.bytes_received:
            where = "without sending a response"
        elif self._scanner.stage is Stage.HEAD:
            where = f"in the middle of a head, after {self.bytes_received} bytes"
        else:
            where = "in the middle of the response"
        origin = self.info.origin
        return ReadError(f"{origin} closed the connection {where}", origin=origin, phase="read")

    @property
    def framing(self) -> Framing:
        """What the head of this exchange's response says about its body, once it is here."""
        return self._scanner.framing

    def illegal(self, what: str) -> RemoteProtocolError:
        """The error that says that the server sent *what*."""
        origin = self.info.origin
        return RemoteProtocolError(f"{origin} sent {what}", origin=origin, phase="read")

    def _check_end_of_file(self) -> None:
        """Refuse to take an end of file for the end of a body, unless TLS vouches for it.

        Any other body has ended, by its own framing, before an end of file is read.
        """
        if self._tls is not None and self._tls.was_cut:
            origin = self.info.origin
            raise ReadError(
                f"{origin} closed the connection without TLS's close_notify, so the body may have "
                "been cut (RFC 9112 section 9.8)",
                origin=origin,
                phase="read",
            )

    async def receive(self, max_bytes: int | None = None) -> bytes:
        """Read from the network for :meth:`next_event`. If cancelled, no byte is lost.

        A checkpoint, and nothing more, if what has been read would take long to look at in a row.

        Returns what was read, for who knows that it is the body as it stands.

        Raises:
          ReadError: the connection broke.
          ReadTimeout: nothing came for the time that is the limit, since all had been sent.
          PoolClosed: the pool was left meanwhile.
        """
        if self._scanner.paused:
            await trio.lowlevel.checkpoint()
            self._scanner.resume()
            return b""
        self._receiving = True
        if not self._sending:
            self._read_clock.begin(self._limits.read)
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as exc:
            raise ReadError(
                f"the connection to {self.info.origin} broke while the response was read: "
                f"{_why(exc)}",
                origin=self.info.origin,
                phase="read",
            ) from exc
        except trio.ClosedResourceError as exc:
            self._raise_closed("read", exc)
        except trio.Cancelled:
            if self._limits.read is not None and self._read_clock.ends_at != math.inf:
                self.waited = trio.current_time() - self._read_clock.ends_at + self._limits.read
            raise
        finally:
            self._receiving = False
            self._read_clock.end()
        self._eof = not data
        self.bytes_received += len(data)
        if data:
            self._scanner.put(data)
        else:
            self._h11.receive_data(b"")
        return data

    # ── Another protocol ───────────────────────────────────────────────────────────────────────

    @property
    def switched(self) -> bool:
        """Whether HTTP is over on this connection: after 101, or a successful CONNECT."""
        return self._h11.their_state is h11.SWITCHED_PROTOCOL

    def take_over(self) -> tuple[trio.abc.Stream, bytes]:
        """The stream underneath, and what has been read of it behind the response."""
        assert self.switched
        self._wire.on_progress = None
        return self._stream, self._scanner.rest

    # ── Reuse ──────────────────────────────────────────────────────────────────────────────────

    @property
    def may_be_reused(self) -> bool:
        """Whether, once the response has been read, the connection can serve another exchange."""
        spoilt = self._scanner.tainted or self._eof or self._wire.is_unfit
        return self._h11.our_state is h11.DONE and not self._owed and not spoilt

    async def next_cycle(self) -> bool:
        """Make ready for another exchange; False if the connection can't be reused.

        Looks at what has arrived behind the response: who waits for the connection gets it without
        another glance. Not a checkpoint, except with TLS: there, some of it may have been read into
        TLS's buffer already.
        """
        done = self.may_be_reused and self._h11.their_state is h11.DONE
        if not done or self._h11.trailing_data[0] or self._scanner.rest:
            return False
        if not (await self.settle() if self._tls else not self._wire.is_readable()):
            return False
        self._h11.start_next_cycle()
        self.on_write_stall = None
        return True


def raw_headers(event: Response | InformationalResponse | EndOfMessage) -> RawHeaders:
    """The fields in the order and spelling in which they were sent."""
    return event.headers.raw_items()


def _why(exc: BaseException) -> str:
    """What broke a stream. TLS says it in the cause only."""
    if isinstance(exc.__cause__, ssl.SSLError):
        return _tls.reason(exc.__cause__)
    return str(exc) or str(exc.__cause__ or type(exc).__name__)
