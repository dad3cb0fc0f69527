"""A WebSocket over a connection of the pool: the pool does the handshake, wsproto speaks."""

from __future__ import annotations

import base64
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, TextMessage
from wsproto.utilities import generate_accept_token

from triopool import ConnectionPool


class WebSocket:
    """What wsproto says, over a stream.

    Attributes:
      closed: the farewell of the server, once it has come.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.closed: CloseConnection | None = None
        self._protocol = Connection(ConnectionType.CLIENT)
        self._events: deque[Event] = deque()

    async def send(self, message: str | bytes) -> None:
        event = TextMessage(message) if isinstance(message, str) else BytesMessage(message)
        await self.send_event(event)

    async def send_event(self, event: Event) -> None:
        await self.stream.send_all(self._protocol.send(event))

    async def receive(self) -> str | bytes | None:
        """The next message, whole; None when the server says farewell, which is then answered."""
        parts: list[str | bytes] = []
        while True:
            while not self._events:
                data = await self.stream.receive_some()
                assert data, "the server closed without a farewell"
                self._protocol.receive_data(data)
                self._events.extend(self._protocol.events())
            event = self._events.popleft()
            if isinstance(event, CloseConnection):
                self.closed = event
                await self.send_event(event.response())
                return None
            assert isinstance(event, TextMessage | BytesMessage)
            parts.append(bytes(event.data) if isinstance(event, BytesMessage) else event.data)
            if event.message_finished:
                return type(parts[0])().join(parts)  # type: ignore[arg-type]


def handshake() -> dict[str, str]:
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }


@asynccontextmanager
async def websocket(pool: ConnectionPool, url: str) -> AsyncIterator[WebSocket]:
    headers = handshake()
    async with pool.stream("GET", url, headers=headers) as response:
        assert response.status_code == 101
        assert response.headers["Upgrade"].lower() == "websocket"
        expected = generate_accept_token(headers["Sec-WebSocket-Key"].encode()).decode()
        assert response.headers["Sec-WebSocket-Accept"] == expected
        assert response.upgraded is not None
        yield WebSocket(response.upgraded)
