"""Servers that do one thing after another, right or wrong.

A script is a list of steps that is played for each connection. The steps know about bytes and
time, and next to nothing about HTTP, so what they send may be torn, late, too much, or nonsense::

    half_an_answer = script(
        ReceiveRequest(),
        Send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\nonly"),
        Wait(3.0),
        Reset(),
    )
    network.listen("192.0.2.1", 80, half_an_answer)
    ...
    assert half_an_answer.conversations[0].received.startswith(b"GET / HTTP/1.1")

A step is anything that can be called as ``await step(conversation)``, so an async function of the
test's own will do. When the client closes the connection before a script is through, that is the
end of this conversation and no error, for a test may well be about a client that does so; assert
``conversation.finished`` where it matters.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import h11
import trio

from ._arguments import check_bytes, check_callable, check_count, check_seconds
from ._request import Request, check_begins_request, read_request
from ._stream import Handler, reset, served


class Conversation:
    """One connection on which a script is played.

    Attributes:
      stream: the connection.
      number: which connection of its script this is; the first one is 1.
      requests: the requests that :class:`ReceiveRequest` has read.
      finished: whether the script was played to its end.
    """

    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        self.stream = stream
        self.number = number
        self.requests: list[Request] = []
        self.finished = False
        self._received = bytearray()
        self._unread = bytearray()

    @property
    def received(self) -> bytes:
        """All bytes that were read from the client so far."""
        return bytes(self._received)

    async def receive_some(self) -> bytes:
        """Read what has arrived and no step has read yet, waiting for at least one byte.

        If this is cancelled, no byte is lost.

        Raises:
          EOFError: the client has closed the connection.
        """
        if self._unread:
            await trio.lowlevel.checkpoint()
            data = bytes(self._unread)
            self._unread.clear()
            return data
        data = bytes(await self.stream.receive_some())
        if not data:
            raise EOFError("the client has closed the connection")
        self._received += data
        return data

    def unread(self, data: bytes) -> None:
        """Put *data*, which was read too early, back in front of what comes."""
        self._unread[:0] = data


Step: TypeAlias = Callable[[Conversation], Awaitable[object]]


class Script:
    """Plays its steps on every connection. See :func:`script`.

    A handler for :meth:`Network.listen` and for :func:`trio.serve_tcp`.

    Attributes:
      conversations: what happened on each connection so far, in order.
    """

    def __init__(self, *steps: Step) -> None:
        for step in steps:
            check_callable("a step", step)
        self.conversations: list[Conversation] = []
        self._steps = steps

    async def __call__(self, stream: trio.abc.Stream) -> None:
        """Play the steps, then close the connection, if no step has done that.

        If a step raises, the connection is left open, as :class:`HTTPServer` does it.
        """
        conversation = Conversation(stream, number=len(self.conversations) + 1)
        self.conversations.append(conversation)
        async with served(stream):
            try:
                for step in self._steps:
                    await step(conversation)
            except EOFError:
                return
            conversation.finished = True


def script(*steps: Step) -> Script:
    """Make a server that plays *steps* on each connection and then closes it."""
    return Script(*steps)


@dataclass(frozen=True)
class Receive:
    """Read until *until* has been read: by default, to the end of a request's head."""

    until: bytes = b"\r\n\r\n"

    def __post_init__(self) -> None:
        check_bytes("Receive.until", self.until)

    async def __call__(self, conversation: Conversation) -> None:
        data = b""
        while self.until not in data:
            data += await conversation.receive_some()
        end = data.index(self.until) + len(self.until)
        conversation.unread(data[end:])


@dataclass(frozen=True)
class ReceiveBytes:
    """Read *count* bytes."""

    count: int

    def __post_init__(self) -> None:
        check_count("ReceiveBytes.count", self.count, least=0)

    async def __call__(self, conversation: Conversation) -> None:
        data = b""
        while len(data) < self.count:
            data += await conversation.receive_some()
        conversation.unread(data[self.count :])


@dataclass(frozen=True)
class ReceiveRequest:
    """Read one request, with its body. Sends no ``100 Continue``.

    What has come together with the request has to begin the next one (unless it asked for another
    protocol), or ``h11.RemoteProtocolError`` is raised.
    """

    async def __call__(self, conversation: Conversation) -> None:
        protocol = h11.Connection(h11.SERVER)
        request = await read_request(protocol, conversation.receive_some, conversation.number)
        assert request is not None  # receive_some raises EOFError instead
        conversation.requests.append(request)
        behind = protocol.trailing_data[0]
        if request.method != "CONNECT" and request.header("upgrade") is None:
            check_begins_request(behind)
        conversation.unread(behind)


@dataclass(frozen=True)
class Send:
    """Send *data*, waiting while the client has no room for it."""

    data: bytes

    def __post_init__(self) -> None:
        check_bytes("Send.data", self.data)

    async def __call__(self, conversation: Conversation) -> None:
        await conversation.stream.send_all(self.data)


@dataclass(frozen=True)
class Wait:
    """Wait for *seconds*, on Trio's clock."""

    seconds: float

    def __post_init__(self) -> None:
        check_seconds("Wait.seconds", self.seconds)

    async def __call__(self, conversation: Conversation) -> None:
        await trio.sleep(self.seconds)


@dataclass(frozen=True)
class WaitFor:
    """Wait until *event* is set, by the test or by another step."""

    event: trio.Event

    def __post_init__(self) -> None:
        if not isinstance(self.event, trio.Event):
            raise TypeError(f"WaitFor.event must be a trio.Event, not {self.event!r}")

    async def __call__(self, conversation: Conversation) -> None:
        await self.event.wait()


@dataclass(frozen=True)
class KeepOpen:
    """Keep the connection open, and read on, until the client closes it."""

    async def __call__(self, conversation: Conversation) -> None:
        try:
            while True:
                await conversation.receive_some()
        except EOFError:
            pass


@dataclass(frozen=True)
class Close:
    """Close the connection, for TLS without a goodbye."""

    async def __call__(self, conversation: Conversation) -> None:
        await trio.aclose_forcefully(conversation.stream)


@dataclass(frozen=True)
class Reset:
    """Close the connection with an RST. The client may lose what it has not read yet."""

    async def __call__(self, conversation: Conversation) -> None:
        await reset(conversation.stream)


def in_turn(*handlers: Handler) -> Handler:
    """Make a server whose first connection is served by the first handler, and so on.

    The last handler serves all connections that follow.
    """
    if not handlers:
        raise ValueError("in_turn() needs at least one handler")
    for handler in handlers:
        check_callable("handler", handler)
    connections = itertools.count()

    async def serve(stream: trio.abc.Stream) -> None:
        await handlers[min(next(connections), len(handlers) - 1)](stream)

    return serve
