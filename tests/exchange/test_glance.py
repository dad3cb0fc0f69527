"""A connection that has served before is looked at in the step in which it is written to."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from inside import connections, wire_of

from triopool import CloseReason, ConnectionInfo, ConnectionPool, Spent, abc
from triopool.testing import Network, NetworkSocket, Request

from .world import Answering, pieces

STRANGE = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstrange!"


class Closings(abc.Instrument):
    def __init__(self) -> None:
        self.reasons: list[CloseReason] = []

    def closed(self, connection: ConnectionInfo, reason: CloseReason) -> None:
        self.reasons.append(reason)


@pytest.mark.parametrize(
    "happen",
    [lambda wire: wire.send_nowait(STRANGE), NetworkSocket.close, NetworkSocket.reset],
    ids=["a response", "an end of file", "a reset"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("body", ["none", "bytes", "large", "iterator"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_what_arrives_between_hand_over_and_writing_is_no_answer(
    autojump_clock: object,
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    happen: Callable[[NetworkSocket], object],
    method: str,
    body: str,
    tls: bool,
) -> None:
    """Whoever gives a connection back may compute for long in that step; the waiter writes later.

    Nothing was sent, so any request may go to another connection, and it keeps its place in line.
    """
    served: list[tuple[int, str]] = []
    ends: dict[int, trio.abc.Stream] = {}

    async def server(stream: trio.abc.Stream) -> None:
        number = len(ends) + 1
        ends[number] = stream

        async def count(request: Request) -> None:
            served.append((number, request.target))

        answering = Answering()
        answering.connections = number - 1
        try:
            await answering(stream)
        finally:
            served.extend((number, request.target) for request in answering.requests)

    contents: dict[str, Any] = {
        "none": None,
        "bytes": b"x",
        "large": bytes(100_000),
        "iterator": pieces(b"x", b"y"),
    }
    order: list[str] = []
    closings = Closings()
    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        context = server_ssl_context if tls else None
        network.listen("192.0.2.1", 443 if tls else 80, server, ssl_context=context)
        url = "https://one.test" if tls else "http://one.test"
        async with ConnectionPool(
            resolver=network.resolve,
            socket_factory=network.socket,
            ssl_context=client_ssl_context,
            max_connections=1,
            instruments=[closings],
        ) as pool:

            async def ask(target: str, content: Any = None) -> None:
                response = await pool.request(method, f"{url}{target}", content=content)
                assert response.text == target
                order.append(target)

            async with trio.open_nursery() as nursery, pool.lease(f"{url}/") as leased:
                nursery.start_soon(ask, "/first", contents[body])
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(ask, "/second")
                await trio.testing.wait_all_tasks_blocked()
                (wire,) = network.open_server_sockets
                # The connection is handed over; whoever got it runs at our next checkpoint.
                leased.end(finished=True)
                happen(wire)
            assert order == ["/first", "/second"]
            assert closings.reasons == [CloseReason.STALE]
            assert pool.statistics().stale == 1
            assert pool.statistics().retried == 1
    assert [target for number, target in served if number == 1] == []
    assert [target for number, target in served if number == 2] == ["/first", "/second"]


class Reused(abc.Instrument):
    """Knows when the engine has looked at an idle connection, and found it fit."""

    def __init__(self) -> None:
        self.event = trio.Event()

    def reused(self, connection: ConnectionInfo) -> None:
        self.event.set()


@pytest.mark.parametrize("body", ["bytes", "large", "iterator"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_what_arrives_between_a_look_and_a_write_that_is_a_tick_later_is_no_answer(
    autojump_clock: object,
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    body: str,
    tls: bool,
) -> None:
    """An idle connection is looked at when it is taken, and what can be is written in that step."""
    contexts = (server_ssl_context, client_ssl_context) if tls else None
    assert not sum([await _interfere(body, contexts) for _ in range(20)])


async def _interfere(body: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> bool:
    """Close the connection as soon as it has been taken; whether that was before it was written."""
    reused, untouched = Reused(), False
    theirs, ours = contexts or (None, None)
    url = "https://one.test" if contexts else "http://one.test"

    async def interfere() -> None:
        nonlocal untouched
        await reused.event.wait()
        untouched = wire.bytes_sent == before
        if untouched:
            end.close()

    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 443 if contexts else 80, Answering(), ssl_context=theirs)
        async with (
            ConnectionPool(
                resolver=network.resolve,
                socket_factory=network.socket,
                ssl_context=ours,
                instruments=[reused],
            ) as pool,
            trio.open_nursery() as nursery,
        ):
            await pool.get(f"{url}/first")
            (end,) = network.open_server_sockets
            (first,) = connections(pool)
            wire = wire_of(first)
            before = wire.bytes_sent
            nursery.start_soon(interfere)
            await trio.testing.wait_all_tasks_blocked()
            contents: dict[str, Any] = {
                "bytes": b"x",
                "large": bytes(100_000),
                "iterator": pieces(b"x", b"y"),
            }
            response = await pool.post(f"{url}/second", content=contents[body])
            assert response.text == "/second"
            assert pool.statistics().retried == untouched
            assert first.spent is (Spent.STALE if untouched else None)
    return untouched
