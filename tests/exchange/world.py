"""A server that answers as it is told, and a pool that is pointed at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from inside import check_slots

from triopool import ConnectionPool
from triopool.testing import Conversation, Network, ReceiveRequest, Request, Reset, Send
from triopool.testing import Handler as Handler

URL = "http://192.0.2.1"
GAP = 0.001
"""Seconds between two pieces of an answer, so that each is read by itself."""


@dataclass(frozen=True)
class Answer:
    """What to send to one request: pieces, then nothing, a FIN, or an RST."""

    pieces: Sequence[bytes]
    end: str = "keep"


def whole(raw: bytes, end: str = "keep") -> Answer:
    return Answer([raw], end)


def ok(body: bytes = b"", *fields: bytes) -> bytes:
    """A plain 200 with a Content-Length."""
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 200 OK", length, *fields, b"", body])


class Answering:
    """Gives the answers in turn, over all connections; then 200 with the request's target.

    The answer *once* for a target is given to the first request for it, out of turn.

    Attributes:
      requests: what was asked.
      connections: how many there have been.
    """

    def __init__(self, *answers: Answer | bytes, once: dict[str, Answer] | None = None) -> None:
        self._answers = [whole(a) if isinstance(a, bytes) else a for a in answers]
        self._once = once or {}
        self.requests: list[Request] = []
        self.connections = 0

    async def __call__(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        conversation = Conversation(stream, number=self.connections)
        try:
            while True:
                await ReceiveRequest()(conversation)
                request = conversation.requests[-1]
                self.requests.append(request)
                answer = self._answer(request.target)
                await _play(answer, conversation)
                if answer.end != "keep":
                    return
        except EOFError:
            pass

    def _answer(self, target: str) -> Answer:
        if target in self._once:
            return self._once.pop(target)
        return self._answers.pop(0) if self._answers else whole(ok(target.encode()))


async def _play(answer: Answer, conversation: Conversation) -> None:
    for number, piece in enumerate(answer.pieces):
        if number:
            await trio.sleep(GAP)
        await Send(piece)(conversation)
    if answer.end == "reset":
        await Reset()(conversation)


@asynccontextmanager
async def serving(
    handler: Handler, *, buffer_size: int = 65536, **options: Any
) -> AsyncIterator[tuple[ConnectionPool, Network]]:
    """A pool, and a network in which *handler* serves :data:`URL`. Nothing may be left at the end:
    no slot in use but idle ones, and then no socket."""
    async with Network(buffer_size=buffer_size) as network:
        network.listen("192.0.2.1", 80, handler)
        options = {"resolver": network.resolve, "socket_factory": network.socket} | options
        async with ConnectionPool(**options) as pool:
            yield pool, network
            nothing_held(pool, network)
        assert not network.open_sockets


def nothing_held(pool: ConnectionPool, network: Network) -> None:
    check_slots(pool)
    statistics = pool.statistics()
    assert (statistics.busy, statistics.dialling, statistics.waiting) == (0, 0, 0)
    assert statistics.idle == len(network.open_sockets)


async def pieces(*parts: bytes, gap: float = 0.0) -> AsyncIterator[bytes]:
    for number, part in enumerate(parts):
        if number and gap:
            await trio.sleep(gap)
        yield part


def split_everywhere(raw: bytes) -> Iterable[Sequence[bytes]]:
    """Whole, byte by byte, and in two at every point."""
    yield [raw]
    yield [raw[i : i + 1] for i in range(len(raw))]
    for i in range(1, len(raw)):
        yield [raw[:i], raw[i:]]
