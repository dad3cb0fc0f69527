"""A WebSocket: the handshake goes through the pool, and wsproto speaks on what is left.

    pip install -e ".[examples]"
    python examples/websocket.py

``connect`` and ``WebSocket`` are there to be copied. They leave out: compression and other
extensions, subprotocols, sending a message in several frames, reconnecting, and pings of their own
accord (``ping`` is there to be called). A ping of the server is answered while somebody receives.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from _server import reply, serve
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import generate_accept_token

import triopool

FAREWELL_SECONDS = 5.0
"""How long to wait for the server to say goodbye as well."""

GOODBYES = (CloseReason.NORMAL_CLOSURE, CloseReason.GOING_AWAY, CloseReason.NO_STATUS_RCVD)
"""Codes with which a WebSocket ends that nothing went wrong with."""


class HandshakeError(Exception):
    """The server agreed to something else than was asked."""


@asynccontextmanager
async def connect(
    pool: triopool.ConnectionPool, url: str, *, max_message_size: int = 2**20
) -> AsyncIterator[WebSocket]:
    """Open a WebSocket, as ``async with connect(pool, "wss://...") as websocket:``.

    It holds one of the pool's slots for as long as the block. At the end of the block it says
    goodbye; an exception in the block, a cancellation included, closes the connection at once.

    Args:
      max_message_size: how long a message of the server may be, in bytes, or in characters if it
        is text. A longer one ends the connection.

    Raises:
      HandshakeError: the server did not switch to WebSocket as RFC 6455 has it.
      triopool.TriopoolError: what ``pool.stream()`` raises, and ``StatusError`` for a refusal.
    """
    if url.startswith(("ws://", "wss://")):
        url = "http" + url.removeprefix("ws")
    key = base64.b64encode(secrets.token_bytes(16))
    headers = {  # the pool adds "Connection: Upgrade"
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key.decode(),
    }
    async with pool.stream("GET", url, headers=headers) as response:
        stream = response.raise_for_status().upgraded
        if stream is None:
            raise HandshakeError(f"the server answered with {response.status_code}, and not 101")
        # RFC 6455, section 4.1.
        if response.headers.get("Upgrade", "").lower() != "websocket":
            raise HandshakeError("the server switched to another protocol")
        if response.headers.get("Sec-WebSocket-Accept") != generate_accept_token(key).decode():
            raise HandshakeError("the server did not understand the handshake")
        for unasked in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"):
            if unasked in response.headers:
                raise HandshakeError(f"the server chose a {unasked} that nobody asked for")
        websocket = WebSocket(stream, max_message_size)
        error = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(websocket.answer_pings)
            try:
                yield websocket
                await websocket.aclose()
            except BaseException as exc:
                error = exc  # raised below, for the nursery would wrap it into a group
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error


class WebSocket(trio.abc.Channel[str | bytes]):
    """Messages both ways: ``await send(...)``, ``await receive()``, ``async for message in ...``.

    It is a ``trio.abc.Channel``. Any number of tasks may send and receive at
    once; each message goes to one of them.

    Attributes:
      closed: with which code and reason the connection ended; None as long as it has not.
    """

    def __init__(self, stream: trio.abc.Stream, max_message_size: int) -> None:
        self.closed: CloseConnection | None = None
        self._stream = stream
        self._protocol = Connection(ConnectionType.CLIENT)
        self._sending = trio.Lock()
        self._receiving = trio.Lock()
        self._max_message_size = max_message_size
        # The message that is coming in. Here, and not in receive(), so that a cancelled receive()
        # loses nothing.
        self._parts: list[Any] = []  # of str, or of bytes
        self._size = 0
        # A pong or a farewell that we owe the server. It is sent by a task of its own: receive()
        # may be cancelled at any time, which is no time to cut a frame, and must not wait for a
        # server that waits for us to read.
        self._owed = b""
        self._owing = trio.Event()
        self._pings: dict[bytes, trio.Event] = {}

    # ── Send ───────────────────────────────────────────────────────────────────────────────────

    async def send(self, value: str | bytes) -> None:
        """Send a message, as text or as bytes.

        If cancelled in the middle of it, nothing more can be sent.

        Raises:
          trio.BrokenResourceError: the server has closed, or the connection broke.
          trio.ClosedResourceError: :meth:`aclose` has been called.
        """
        await self._send(TextMessage(value) if isinstance(value, str) else BytesMessage(value))

    async def ping(self) -> float:
        """Send a ping, and return how many seconds later the pong was here.

        Some task has to receive meanwhile, for that is where pongs come in.
        """
        payload, pong = secrets.token_bytes(8), trio.Event()
        began_at = trio.current_time()
        self._pings[payload] = pong
        try:
            await self._send(Ping(payload))
            await pong.wait()
            if self.closed is not None:
                raise trio.BrokenResourceError("the connection ended before the pong was here")
        finally:
            del self._pings[payload]
        return trio.current_time() - began_at

    async def _send(self, event: Event) -> None:
        async with self._sending:
            if self.closed is not None:
                raise trio.BrokenResourceError(_how(self.closed))
            if self._protocol.state is not ConnectionState.OPEN:
                raise trio.ClosedResourceError("this WebSocket was closed")
            # What we owe goes first: nothing may follow a farewell.
            data, self._owed = self._owed + bytes(self._protocol.send(event)), b""
            await self._stream.send_all(data)

    async def answer_pings(self) -> None:
        """Send whatever we owe the server, until cancelled. ``connect`` has a task for it."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # receive() will tell
            while True:
                await self._owing.wait()
                await self._settle()

    async def _settle(self) -> None:
        async with self._sending:
            data, self._owed, self._owing = self._owed, b"", trio.Event()
            if data:
                await self._stream.send_all(data)

    def _owe(self, event: Event) -> None:
        # In place of what is owed already: only the latest ping needs a pong (RFC 6455, section
        # 5.5.3), and nobody makes us hoard them.
        self._owed = bytes(self._protocol.send(event))
        self._owing.set()

    # ── Receive ────────────────────────────────────────────────────────────────────────────────

    async def receive(self) -> str | bytes:
        """The next message. If cancelled, none is lost.

        Raises:
          trio.EndOfChannel: the server has said goodbye; ``async for`` ends.
          trio.BrokenResourceError: the connection ended in any other way; see :attr:`closed`.
          trio.ClosedResourceError: :meth:`aclose` has been called.
        """
        async with self._receiving:
            while (message := self._next_message()) is None:
                if self.closed is not None:
                    if self.closed.code in GOODBYES:
                        raise trio.EndOfChannel
                    raise trio.BrokenResourceError(_how(self.closed))
                try:
                    data = bytes(await self._stream.receive_some())
                except trio.BrokenResourceError:
                    data = b""
                self._protocol.receive_data(data or None)  # None: it ended without a farewell
            return message

    def _next_message(self) -> str | bytes | None:
        """A message out of what has arrived; None if there is none, or no more."""
        for event in self._protocol.events():
            match event:
                case TextMessage() | BytesMessage():
                    self._size += len(event.data)
                    if self._size > self._max_message_size:
                        reason = f"a message of more than {self._max_message_size}"
                        self._ended(CloseConnection(CloseReason.MESSAGE_TOO_BIG, reason))
                        return None
                    if event.data or not self._parts:
                        self._parts.append(event.data)
                    if event.message_finished:
                        return self._take_message()
                case Ping() if self._protocol.state is ConnectionState.OPEN:
                    self._owe(event.response())
                case Pong():
                    if (pong := self._pings.get(bytes(event.payload))) is not None:
                        pong.set()
                case CloseConnection():
                    self._ended(event)
                    return None
        return None

    def _take_message(self) -> str | bytes:
        parts, self._parts, self._size = self._parts, [], 0
        return "".join(parts) if isinstance(parts[0], str) else b"".join(parts)

    def _ended(self, event: CloseConnection) -> None:
        """The server said goodbye, or the connection broke, or the server broke the rules."""
        self.closed = event
        if self._protocol.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._owe(event.response())
        for pong in self._pings.values():
            pong.set()  # it will not come; ping() looks

    # ── Close ──────────────────────────────────────────────────────────────────────────────────

    async def aclose(self) -> None:
        """Say goodbye, wait some seconds for the answer, and close. If cancelled, close at once."""
        try:
            with trio.move_on_after(FAREWELL_SECONDS):
                if self.closed is None:
                    await self._send(CloseConnection(CloseReason.NORMAL_CLOSURE))
                    async for _ in self:
                        pass  # what was on its way to us before the server heard of it
                await self._settle()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await self._stream.aclose()


def _how(closed: CloseConnection) -> str:
    return f"the WebSocket ended with code {int(closed.code)}: {closed.reason or 'no reason given'}"


# ── The example ────────────────────────────────────────────────────────────────────────────────


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The server's side: /shout gives back what it hears, /flood says too much at first."""
    if scope["type"] == "http":
        await reply(send, b"hello\n")
        return
    await receive()
    if scope["path"] == "/private":
        await send({"type": "websocket.close"})  # before it was accepted: 403
        return
    await send({"type": "websocket.accept"})
    if scope["path"] == "/flood":
        await send({"type": "websocket.send", "bytes": bytes(2**20)})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") is not None:
            await send({"type": "websocket.send", "text": message["text"].upper()})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"][::-1]})


async def talk(pool: triopool.ConnectionPool, url: str) -> None:
    async with connect(pool, f"{url}/shout") as websocket:
        print(f"open: {slots(pool)}")

        for message in ("hello", b"\x01\x02\x03", "ü" * 100_000):
            await websocket.send(message)
            answer = await websocket.receive()
            print(f"  {shown(message)} came back as {shown(answer)}")

        # Both ways at once: one task listens, others speak.
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                async for answer in websocket:
                    print(f"  heard {answer!r}")
                    if answer == "THREE":
                        break

            nursery.start_soon(listen)
            seconds = await websocket.ping()
            print(f"  a pong was back in less than a second: {seconds < 1}")
            for word in ("one", "two", "three"):
                await websocket.send(word)

        # A task that gives up on receiving misses nothing.
        with trio.move_on_after(0.05) as scope:
            await websocket.receive()
        print(f"  cancelled while it listened: {scope.cancelled_caught}")
        await websocket.send("still there?")
        print(f"  {await websocket.receive()!r}")

        # The pool has one connection, and this is it.
        with trio.move_on_after(0.05) as scope:
            await pool.get(url)
        print(f"  another request had to wait: {scope.cancelled_caught}")

    assert websocket.closed is not None
    print(f"closed with {int(websocket.closed.code)}: {slots(pool)}")
    print(f"another request: {(await pool.get(url)).text.strip()}")


async def fail(pool: triopool.ConnectionPool, url: str) -> None:
    try:
        async with connect(pool, f"{url}/private"):
            pass
    except triopool.StatusError as exc:
        print(f"refused: {exc.response.status_code}")

    try:
        async with connect(pool, f"{url}/flood", max_message_size=100_000) as websocket:
            await websocket.receive()
    except trio.BrokenResourceError as exc:
        print(f"too much: {exc}")

    with trio.move_on_after(0.1):
        async with connect(pool, f"{url}/shout") as websocket:
            await websocket.receive()  # the server waits for us
    print(f"cancelled: {slots(pool)}")


def slots(pool: triopool.ConnectionPool) -> str:
    now = pool.statistics()
    return f"{now.busy} of {now.max_connections} connections busy, {now.idle} idle"


def shown(message: str | bytes) -> str:
    return repr(message) if len(message) < 10 else f"{len(message)} x {message[:1]!r}"


async def main() -> None:
    async with serve(app) as url, triopool.ConnectionPool(max_connections=1) as pool:
        await talk(pool, url)
        await fail(pool, url)


if __name__ == "__main__":
    trio.run(main)
