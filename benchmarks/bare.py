"""The limits: what is left of a client when everything but the exchange has been taken away.

``BareH11`` is the unit of all comparisons: what a careful reader of the h11 and Trio manuals would
write for one connection. It has no pool, no timeouts, no response object. ``BareBytes`` does not
even parse: it looks for the length, and waits for so many bytes.

Both send what triopool sends for lack of other orders: a Host, an Accept, and a User-Agent.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import Self

import h11
import trio

from .clients import Caller, Options, pieces

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class _Bare:
    """Opens a connection for each caller, and closes them at the end."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._streams: list[trio.abc.Stream] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    async def _connect(self, origin: str) -> trio.abc.Stream:
        scheme, authority = origin.split("://")
        host, port = authority.split(":")
        stream: trio.abc.Stream
        if scheme == "http":
            stream = await trio.open_tcp_stream(host, int(port))
        else:
            stream = await trio.open_ssl_over_tcp_stream(
                host, int(port), ssl_context=self._options.ssl_context(), https_compatible=True
            )
        self._streams.append(stream)
        return stream


# ── h11 ────────────────────────────────────────────────────────────────────────────────────────


class BareH11(_Bare):
    async def caller(self, origin: str) -> Caller:
        return _H11Caller(origin, await self._connect(origin))


class _H11Caller:
    def __init__(self, origin: str, stream: trio.abc.Stream) -> None:
        self._start = len(origin)
        self._stream = stream
        self._protocol = h11.Connection(h11.CLIENT)
        self._fields = [
            ("Host", origin.split("://")[1]),
            ("Accept", "*/*"),
            ("User-Agent", "bare/1"),
        ]

    async def get(self, url: str) -> bytes:
        await self._ask(url)
        return await self._body()

    async def download(self, url: str) -> int:
        await self._ask(url)
        received = 0
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                self._protocol.receive_data(bytes(await self._stream.receive_some(65536)))
            elif isinstance(event, h11.Data):
                received += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._protocol.start_next_cycle()
                return received

    async def upload(self, url: str, size: int) -> bytes:
        fields = [*self._fields, ("Content-Length", str(size))]
        request = h11.Request(method="POST", target=url[self._start :], headers=fields)
        await self._stream.send_all(self._protocol.send(request) or b"")
        async for piece in pieces(size):
            await self._stream.send_all(self._protocol.send(h11.Data(data=piece)) or b"")
        self._protocol.send(h11.EndOfMessage())
        return await self._body()

    async def _ask(self, url: str) -> None:
        request = h11.Request(method="GET", target=url[self._start :], headers=self._fields)
        head = self._protocol.send(request) or b""
        await self._stream.send_all(head + (self._protocol.send(h11.EndOfMessage()) or b""))

    async def _body(self) -> bytes:
        parts = []
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                self._protocol.receive_data(bytes(await self._stream.receive_some(65536)))
            elif isinstance(event, h11.Data):
                parts.append(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._protocol.start_next_cycle()
                return b"".join(parts)


# ── Bytes ──────────────────────────────────────────────────────────────────────────────────────


class BareBytes(_Bare):
    async def caller(self, origin: str) -> Caller:
        return _BytesCaller(origin, await self._connect(origin))


class _BytesCaller:
    def __init__(self, origin: str, stream: trio.abc.Stream) -> None:
        self._start = len(origin)
        self._stream = stream
        self._fields = f"Host: {origin.split('://')[1]}\r\nAccept: */*\r\nUser-Agent: bare/1\r\n"

    async def get(self, url: str) -> bytes:
        await self._ask(url)
        return await self._body()

    async def download(self, url: str) -> int:
        await self._ask(url)
        received, length = await self._head()
        count = len(received)
        while count < length:
            count += len(await self._receive())
        return count

    async def upload(self, url: str, size: int) -> bytes:
        head = f"POST {url[self._start :]} HTTP/1.1\r\n{self._fields}Content-Length: {size}\r\n\r\n"
        await self._stream.send_all(head.encode())
        async for piece in pieces(size):
            await self._stream.send_all(piece)
        return await self._body()

    async def _ask(self, url: str) -> None:
        head = f"GET {url[self._start :]} HTTP/1.1\r\n{self._fields}\r\n"
        await self._stream.send_all(head.encode())

    async def _body(self) -> bytes:
        received, length = await self._head()
        while len(received) < length:
            received += await self._receive()
        return received

    async def _head(self) -> tuple[bytes, int]:
        """What has arrived of the body together with the head, and how long it will be."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += await self._receive()
        head, _, rest = received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None:
            raise ValueError(f"an answer without a length: {head!r}")
        return rest, int(length[1])

    async def _receive(self) -> bytes:
        received = bytes(await self._stream.receive_some(65536))
        if not received:
            raise ValueError("the server has closed the connection")
        return received
