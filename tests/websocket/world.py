"""A WebSocket server whose every byte the test says, and a pool in front of it."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import trio
from inside import check_slots

from triopool import ConnectionPool
from triopool.testing import Network

URL = "ws://192.0.2.1/chat"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool = True


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame as a server sends it (RFC 6455 section 5.2)."""
    first, size = (fin << 7) | (rsv << 4) | opcode, len(payload)
    if size < 126:
        return bytes([first, size]) + payload
    if size < 2**16:
        return bytes([first, 126]) + struct.pack("!H", size) + payload
    return bytes([first, 127]) + struct.pack("!Q", size) + payload


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


class Peer:
    """The server's side of one WebSocket.

    Attributes:
      head: the request that asked for it.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.head = b""
        self._buffer = b""

    async def accept(self, *lines: str, status: str = "101 Switching Protocols") -> None:
        """Answer the handshake, with more fields or others."""
        await self.read_head()
        await self.stream.send_all(self.answer(*lines, status=status))

    async def read_head(self) -> None:
        while b"\r\n\r\n" not in self.head:
            self.head += await self.stream.receive_some()

    def answer(self, *lines: str, status: str = "101 Switching Protocols") -> bytes:
        fields = {
            "upgrade": "Upgrade: websocket",
            "connection": "Connection: Upgrade",
            "sec-websocket-accept": f"Sec-WebSocket-Accept: {self.token}",
        }
        more = []
        for line in lines:
            name = line.partition(":")[0].lower()
            if name in fields:
                fields[name] = line
            else:
                more.append(line)
        return "\r\n".join([f"HTTP/1.1 {status}", *fields.values(), *more, "", ""]).encode()

    @property
    def token(self) -> str:
        key = self.field("Sec-WebSocket-Key").encode()
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        return base64.b64encode(digest).decode()

    def field(self, name: str) -> str:
        for line in self.head.decode().split("\r\n")[1:]:
            if line.lower().startswith(f"{name.lower()}: "):
                return line.partition(": ")[2]
        raise KeyError(name)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def _bytes(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self._buffer += data
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    async def receive(self) -> Frame:
        """The next frame of the client, which has to be masked."""
        first, second = await self._bytes(2)
        assert second & 0x80, "a client masks"
        assert not first & 0x70, "no extension was agreed on"
        size = second & 0x7F
        if size == 126:
            [size] = struct.unpack("!H", await self._bytes(2))
        elif size == 127:
            [size] = struct.unpack("!Q", await self._bytes(8))
        mask, payload = await self._bytes(4), await self._bytes(size)
        whole = mask * (size // 4 + 1)
        plain = int.from_bytes(payload) ^ int.from_bytes(whole[:size])
        return Frame(first & 0x0F, plain.to_bytes(size), bool(first & 0x80))

    async def until_close(self) -> tuple[int | None, bytes]:
        """The client's farewell: code and reason. What comes before it is dropped."""
        while (found := await self.receive()).opcode != CLOSE:
            pass
        if not found.payload:
            return None, b""
        return struct.unpack("!H", found.payload[:2])[0], found.payload[2:]

    async def echo(self) -> None:
        """Send messages back as they came, answer pings, and the farewell."""
        while True:
            opcode, payload, fin = await self.receive()
            if opcode == PING:
                await self.send(frame(PONG, payload))
            elif opcode != PONG:
                await self.send(frame(opcode, payload, fin=fin))
            if opcode == CLOSE:
                return


Serve = Callable[[Peer], Awaitable[None]]


async def echo(peer: Peer) -> None:
    await peer.accept()
    await peer.echo()


@asynccontextmanager
async def serving(
    serve: Serve = echo, *, in_the_end: bool = True, **options: Any
) -> AsyncIterator[ConnectionPool]:
    """A pool, and a server at :data:`URL`. *in_the_end* nothing is held."""

    async def whole(stream: trio.abc.Stream) -> None:
        async with stream:
            with suppress(EOFError, trio.BrokenResourceError):  # The client has gone.
                await serve(Peer(stream))

    async with Network() as network:
        network.listen("192.0.2.1", 80, whole, connect_delay=0.1)
        async with ConnectionPool(socket_factory=network.socket, **options) as pool:
            yield pool
            check_slots(pool)
            assert not in_the_end or pool.statistics().busy == pool.statistics().waiting == 0
        assert not network.open_sockets
