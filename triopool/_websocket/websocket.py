"""A WebSocket that is open: messages both ways, until it ends.

Who does what
-------------
Three tasks of the block's own, and the caller's. What each of them owns is why a cancellation of
the caller's does no harm:

- The *reader* takes frames as they come, puts messages into the inbox, and notes what is owed to
  the server: a pong, a farewell. It stops reading while more than ``max_message_bytes`` lie in the
  inbox, so that a server that sends faster than the program receives is held up by TCP.
- The *writer* sends what is owed. So no cancelled :meth:`WebSocket.receive` cuts a frame in two,
  and nothing that reads waits for a server that waits to be read.
- The *keeper* asks the server for a pong now and then, and ends the connection if nothing at all
  comes, and nothing that we send is taken. While we are not reading, a silence is not the server's
  fault; nor is it while a long message is being sent, for no ping can go out in the middle of it.
- The caller's task takes messages out of the inbox, or sends one, under a lock. A send that is
  cancelled may have cut a frame; then nothing more can be sent.

A connection ends once, with a code and a reason, by whichever comes first: the server's farewell,
a broken connection, a broken rule, or a bound.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import trio
from trio.lowlevel import enable_ki_protection
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from .._body.pieces import close_body
from .closed import GOOD_CODES, Closed, WebSocketBroken

if TYPE_CHECKING:
    from .._client.response import Response
    from .._exchange.upgraded import UpgradedStream

EVENTS_IN_A_ROW = 500
"""How many frames are taken before other tasks get their turn."""

SENT_AT_ONCE = 64 * 1024
"""What the server takes of a long message is a sign of life: we look after so many bytes."""

COSTS_BYTES = 100
"""What a message in the inbox is counted for beside its length, so that empty ones are bounded."""

Message: TypeAlias = str | bytes
_NOTHING_MORE = "a message before was not sent to its end: nothing more can be sent"


class Limits(NamedTuple):
    """What bounds a WebSocket; ``connect()`` says what each of them means."""

    message_bytes: int
    ping_interval: float | None
    ping_timeout: float | None
    close_timeout: float


class WebSocket(trio.abc.Channel["str | bytes"]):
    """Messages both ways: ``await ws.send(...)``, ``await ws.receive()``, ``async for`` over it.

    A ``trio.abc.Channel``. Any number of tasks may send and receive at once; each message goes to
    one of them. Messages are str or bytes, as they were sent.

    Attributes:
      response: the server's answer to the handshake.
      subprotocol: the one that the server chose; None if it chose none.
      closed: how it ended; None while it has not.
    """

    def __init__(
        self, stream: UpgradedStream, response: Response, subprotocol: str | None, limits: Limits
    ) -> None:
        self.response = response
        self.subprotocol = subprotocol
        self.closed: Closed | None = None
        self._stream = stream
        self._limits = limits
        self._protocol = Connection(ConnectionType.CLIENT)
        self._ended = trio.Event()
        self._is_closing = False
        # Messages on their way to the caller. The bound is _unread.
        self._to_inbox, self._inbox = trio.open_memory_channel["str | bytes"](math.inf)
        self._unread = 0
        self._room = trio.Event()
        self._waits_for_room = False
        # The message that is coming in.
        self._parts: list[Any] = []  # of str, or of bytes
        self._size = 0
        # What the writer is to send. Only the latest ping of the server's needs a pong (RFC 6455
        # section 5.5.3), so nobody makes us hoard them.
        self._sending = trio.Lock()
        self._was_cut = False  # A message was: what is owed may still be sent.
        self._is_torn = False  # A frame was: nothing may.
        self._owed: dict[object, bytes] = {}
        self._owing = trio.Event()
        self._pings: dict[bytes, trio.Event] = {}
        self._signs = 0  # of life

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to read, to write and to watch; for the block that this is of."""
        nursery.start_soon(self._read, name="triopool WebSocket reader")
        nursery.start_soon(self._write, name="triopool WebSocket writer")
        if self._limits.ping_interval is not None:
            nursery.start_soon(self._keep, self._limits.ping_interval, name="triopool keeper")

    # ── Sending ────────────────────────────────────────────────────────────────────────────────

    async def send(self, value: str | bytes | AsyncIterable[str] | AsyncIterable[bytes]) -> None:
        """Send a message: a str as text, bytes as bytes, an async iterable of either in fragments.

        If cancelled in the middle, nothing more can be sent.

        Raises:
          WebSocketBroken: the connection has ended, by the server's farewell, say.
          trio.BrokenResourceError: it broke, or an earlier send was cancelled.
          trio.ClosedResourceError: :meth:`aclose` has been called, or the pool was left.
        """
        async with self._sending:
            if self._was_cut:
                raise trio.BrokenResourceError(_NOTHING_MORE)
            if isinstance(value, AsyncIterable):
                await self._send_pieces(value)
            else:
                await self._send(_event(value, last=True))

    async def _send_pieces(self, pieces: AsyncIterable[str] | AsyncIterable[bytes]) -> None:
        # One piece behind, for the last one has to say that it is.
        held: str | bytes | None = None
        try:
            async for piece in pieces:
                if held is not None:
                    self._was_cut = True  # Until its end has been sent.
                    await self._send(_event(held, last=False))
                held = piece
            await self._send(_event(b"" if held is None else held, last=True))
            self._was_cut = False
        finally:
            await close_body(pieces)

    async def _send(self, event: Event) -> None:
        self._check_open()
        framed = bytes(self._protocol.send(event))  # It may raise; then nothing owed is lost.
        # What is owed goes first.
        try:
            await self._put(self._take_owed() + framed)
        except trio.ClosedResourceError:
            if self.closed is not None and not self._is_closing:
                raise WebSocketBroken(self.closed) from None  # By the keeper.
            raise

    async def _put(self, data: bytes) -> None:
        """Send whole frames; what has begun can't be left half-way."""
        if self._is_torn:
            raise trio.BrokenResourceError(_NOTHING_MORE)
        self._is_torn = True  # Until its end has been sent.
        for at in range(0, len(data), SENT_AT_ONCE):
            await self._stream.send_all(data[at : at + SENT_AT_ONCE])
            if at:  # The first ones the system takes for a server that is gone, too.
                self._signs += 1
        self._is_torn = False

    def _check_open(self) -> None:
        if self.closed is not None:
            raise WebSocketBroken(self.closed)
        if self._protocol.state is not ConnectionState.OPEN:
            raise trio.ClosedResourceError("this WebSocket was closed")

    async def ping(self) -> float:
        """Ask the server for a pong; return how many seconds it took. May be cancelled.

        Raises:
          WebSocketBroken: the connection has ended, perhaps before the pong was here.
          trio.ClosedResourceError: :meth:`aclose` has been called.
        """
        self._check_open()
        began_at, payload, pong = trio.current_time(), secrets.token_bytes(8), trio.Event()
        self._pings[payload] = pong
        try:
            self._owe(payload, Ping(payload))
            await pong.wait()
            if payload in self._pings:
                assert self.closed is not None
                raise WebSocketBroken(self.closed)
        finally:
            self._pings.pop(payload, None)
        return trio.current_time() - began_at

    def _owe(self, what: object, event: Event) -> None:
        self._owed[what] = bytes(self._protocol.send(event))
        self._owing.set()

    def _take_owed(self) -> bytes:
        owed, self._owed = b"".join(self._owed.values()), {}
        return owed

    @enable_ki_protection
    async def _write(self) -> None:
        """The writer. If the connection breaks, the reader hears of it."""
        try:
            while True:
                await self._owing.wait()
                self._owing = trio.Event()
                await self._settle()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _settle(self) -> None:
        async with self._sending:
            if owed := self._take_owed():
                await self._put(owed)

    # ── Receiving ──────────────────────────────────────────────────────────────────────────────

    async def receive(self) -> str | bytes:
        """The next message. If cancelled, none is lost.

        Raises:
          trio.EndOfChannel: the server has said farewell; ``async for`` ends.
          WebSocketBroken: the connection ended in any other way; messages that came before have
            been received.
          trio.ClosedResourceError: :meth:`aclose` has been called.
        """
        try:
            message = await self._inbox.receive()
        except trio.EndOfChannel:
            assert self.closed is not None
            if self.closed.code in GOOD_CODES:
                raise
        else:
            self._unread -= _size_of(message) + COSTS_BYTES
            if self._unread <= self._limits.message_bytes:
                self._room.set()
            return message
        raise WebSocketBroken(self.closed)

    @enable_ki_protection
    async def _read(self) -> None:
        """The reader."""
        while self.closed is None:
            try:
                data = bytes(await self._stream.receive_some())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            self._signs += 1
            self._protocol.receive_data(data or None)  # None: it ended without a farewell
            for number, event in enumerate(self._protocol.events(), 1):
                self._take(event)
                if self._ended.is_set():
                    return
                if number % EVENTS_IN_A_ROW == 0:
                    await trio.lowlevel.checkpoint()
            while self._unread > self._limits.message_bytes and not self._is_closing:
                self._room = trio.Event()
                self._waits_for_room = True
                await self._room.wait()
                self._waits_for_room = False
                self._signs += 1  # The silence meanwhile was ours.

    def _take(self, event: Event) -> None:
        match event:
            case TextMessage() | BytesMessage():
                self._take_part(event)
            case Ping() if self._protocol.state is ConnectionState.OPEN:
                self._owe("pong", event.response())
            case Pong():
                self._take_pong(bytes(event.payload))
            case CloseConnection():
                self._end(event.code, event.reason or "")

    def _take_part(self, event: TextMessage | BytesMessage) -> None:
        self._size += _size_of(event.data)
        if self._size > self._limits.message_bytes:
            most = self._limits.message_bytes
            self._end(CloseReason.MESSAGE_TOO_BIG, f"a message of more than {most} bytes")
            return
        if event.data or not self._parts:
            self._parts.append(event.data)
        if not event.message_finished:
            return
        parts, size, self._parts, self._size = self._parts, self._size, [], 0
        if self._is_closing:
            return  # Nobody receives any more.
        self._unread += size + COSTS_BYTES
        self._to_inbox.send_nowait(
            "".join(parts) if isinstance(event, TextMessage) else b"".join(parts)
        )

    def _take_pong(self, payload: bytes) -> None:
        """A pong is one for all earlier pings as well."""
        while payload in self._pings:
            earliest = next(iter(self._pings))
            self._pings.pop(earliest).set()

    def _end(self, code: int, reason: str) -> None:
        """The server said farewell, or the connection broke, or the server broke the rules."""
        if self.closed is not None:
            return
        self.closed = Closed(int(code), reason)
        if self._protocol.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._owe("farewell", CloseConnection(code, reason))
        self._to_inbox.close()
        self._ended.set()
        for pong in self._pings.values():
            pong.set()  # It will not come: ping() looks.

    # ── Signs of life ──────────────────────────────────────────────────────────────────────────

    @enable_ki_protection
    async def _keep(self, interval: float) -> None:
        """The keeper."""
        while True:
            await trio.sleep(interval)
            if self.closed is not None or self._is_closing:
                return
            signs, timeout = self._signs, self._limits.ping_timeout
            with trio.move_on_after(math.inf if timeout is None else timeout) as scope:
                try:
                    await self.ping()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
            # Whatever else has come, or was taken, is a sign of life, too.
            if scope.cancelled_caught and self._signs == signs and not self._waits_for_room:
                self._end(CloseReason.INTERNAL_ERROR, f"no sign of life for {timeout} s")
                self._stream.close()  # What has come before can still be received.
                return

    # ── Closing ────────────────────────────────────────────────────────────────────────────────

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Say farewell, wait for the server's, and close. If cancelled, close at once.

        What the server has sent, and was not received, is dropped. Does nothing but close if the
        connection has ended.

        Args:
          code: 1000, or 3000 to 4999 for what programs agree on (RFC 6455 section 7.4.2).
          reason: for the server; cut to 123 bytes.
        """
        if code != 1000 and not 3000 <= code <= 4999:
            raise ValueError(f"code must be 1000, or between 3000 and 4999, not {code!r}")
        self._is_closing = True
        self._inbox.close()
        self._room.set()
        try:
            with trio.move_on_after(self._limits.close_timeout):
                if self._protocol.state is ConnectionState.OPEN and self.closed is None:
                    self._owe("farewell", CloseConnection(code, reason))
                await self._settle()
                await self._ended.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.close()

    @enable_ki_protection
    def close(self) -> None:
        """Close the connection now, without a farewell; its slot is free in this tick."""
        self._is_closing = True
        self._inbox.close()
        self._stream.close()
        self._end(CloseReason.ABNORMAL_CLOSURE, "it was closed here without the server's farewell")


def _event(value: Any, *, last: bool) -> Event:
    if isinstance(value, str):
        return TextMessage(value, message_finished=last)
    if isinstance(value, bytes | bytearray | memoryview):
        return BytesMessage(bytes(value), message_finished=last)
    raise TypeError(f"a message is str or bytes, not {type(value).__name__}")


def _size_of(data: str | bytes | bytearray) -> int:
    """In bytes; of text, as UTF-8."""
    return len(data.encode()) if isinstance(data, str) and not data.isascii() else len(data)
