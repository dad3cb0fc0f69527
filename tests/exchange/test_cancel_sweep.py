"""The cancel sweep over every kind of exchange: cancelled at any moment, nothing is lost, and no
response goes astray: each carries the target that was asked."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from sweeping import sweep as sweep_and_count

from triopool import ConnectionPool
from triopool.testing import (
    Conversation,
    Network,
    Reply,
    Request,
    Sweep,
    http_server,
)

from .world import URL, Answer, Answering, nothing_held, ok, pieces

TLS_URL = "https://one.test"


async def reply(request: Request) -> Reply:
    """The target, after a while, in two pieces if it is to be streamed."""
    body = request.target.encode()
    if request.target.startswith("/streamed"):
        return Reply(body=[body, b"!" * 1000], delay=0.1, gap=0.02)
    return Reply(body=body, delay=0.1)


class World:
    def __init__(self, pool: ConnectionPool, network: Network, url: str) -> None:
        self.pool = pool
        self.network = network
        self.url = url

    async def get(self, target: str, **options: Any) -> None:
        response = await self.pool.get(self.url + target, **options)
        assert response.content == target.encode()

    async def is_sound(self) -> None:
        """Nothing is held once dials and drains are through, and every slot works."""
        await trio.sleep(6)
        nothing_held(self.pool, self.network)
        async with trio.open_nursery() as nursery:
            for i in range(2):
                nursery.start_soon(self.get, f"/fresh/{i}")
        await trio.sleep(1)  # The one may have been served by the other's connection.
        nothing_held(self.pool, self.network)
        statistics = self.pool.statistics()
        closed = (
            statistics.discarded + statistics.stale + statistics.expired
            + statistics.evicted + statistics.retired
        )  # fmt: skip
        assert statistics.dialled == closed + statistics.open
        assert statistics.dialled == len(self.network.events("connected"))


Victim = Callable[[World], Awaitable[None]]


@asynccontextmanager
async def world(
    handler: Any, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None
) -> AsyncIterator[World]:
    client, server = contexts or (None, None)
    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 80, handler, connect_delay=0.05)
        if server is not None:
            network.listen("192.0.2.1", 443, handler, connect_delay=0.05, ssl_context=server)
        async with ConnectionPool(
            resolver=network.resolve,
            socket_factory=network.socket,
            ssl_context=client,
            max_connections=2,
        ) as pool:
            yield World(pool, network, TLS_URL if client else URL)
        assert not network.open_sockets


async def plain_get(w: World) -> None:
    await w.get("/victim")


async def upload(w: World) -> None:
    response = await w.pool.post(w.url + "/victim", content=pieces(b"a", b"b", gap=0.03))
    assert response.content == b"/victim"


async def large_upload(w: World) -> None:
    response = await w.pool.post(w.url + "/victim", content=bytes(200_000))
    assert response.content == b"/victim"


async def streamed(w: World) -> None:
    async with w.pool.stream("GET", w.url + "/streamed") as response:
        body = b"".join([piece async for piece in response])
    assert body == b"/streamed" + b"!" * 1000


async def left_early(w: World) -> None:
    async with w.pool.stream("GET", w.url + "/streamed") as response:
        assert await response.receive_some() == b"/streamed"
    await trio.sleep(0.01)
    await w.get("/behind")


async def expecting(w: World) -> None:
    response = await w.pool.put(w.url + "/victim", content=b"body", expect_continue=True)
    assert response.content == b"/victim"


async def leasing(w: World) -> None:
    async with w.pool.lease(w.url) as connection:
        for target in ("/1", "/2"):
            response = await connection.request("GET", target)
            assert response.content == target.encode()


async def leasing_and_leaving_early(w: World) -> None:
    async with w.pool.lease(w.url) as connection:
        async with connection.stream("GET", "/streamed") as response:
            assert await response.receive_some() == b"/streamed"
        assert (await connection.request("GET", "/2")).content == b"/2"


def sweep(
    victim: Victim,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    *,
    make_handler: Callable[[], Any] = lambda: http_server(reply),
    warm: bool = True,
    with_signal: bool = False,
) -> None:
    outcomes: set[bool] = set()

    async def scenario(one: Sweep) -> None:
        async with world(make_handler(), contexts) as w:
            if warm:
                await w.get("/warm")
            result = await one.victim(victim, w)
            outcomes.add(result.cancelled)
            await w.is_sound()

    name = f"{victim.__name__}, warm={warm}, tls={contexts is not None}"
    points = sweep_and_count(scenario, with_signal=with_signal, name=f"exchange: {name}")
    assert outcomes == {True, False}
    print(f"{points} points: {name}")


VICTIMS = [
    plain_get,
    upload,
    large_upload,
    streamed,
    left_early,
    expecting,
    leasing,
    leasing_and_leaving_early,
]


@pytest.mark.parametrize("warm", [False, True], ids=["new", "reused"])
@pytest.mark.parametrize("victim", VICTIMS)
def test_an_exchange_may_be_cancelled_anywhere(victim: Victim, warm: bool) -> None:
    sweep(victim, warm=warm)


@pytest.mark.parametrize("victim", [upload, left_early])
def test_control_c_may_come_anywhere(victim: Victim) -> None:
    sweep(victim, with_signal=True)


@pytest.mark.parametrize("victim", [plain_get, upload, left_early, leasing_and_leaving_early])
def test_an_exchange_with_tls_may_be_cancelled_anywhere(
    victim: Victim, client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    sweep(victim, (client_ssl_context, server_ssl_context))


def test_the_retry_of_a_stale_connection_may_be_cancelled_anywhere() -> None:
    gone = Answer([b"", b""], "close")
    sweep(plain_get, make_handler=lambda: Answering(once={"/victim": gone}))


@pytest.mark.parametrize("tls", [False, True])
def test_a_refused_upload_may_be_cancelled_anywhere(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext, tls: bool
) -> None:
    contexts = (client_ssl_context, server_ssl_context) if tls else None

    class Refusing(Answering):
        async def __call__(self, stream: trio.abc.Stream) -> None:
            conversation = Conversation(stream, number=1)
            try:
                while (data := await conversation.receive_some()).startswith(b"GET"):
                    await stream.send_all(ok(data.split()[1]))
            except EOFError:
                return
            await trio.sleep(0.1)
            await stream.send_all(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\n")
            await trio.sleep(0.1)
            await stream.send_all(b"no")

    async def refused(w: World) -> None:
        response = await w.pool.post(w.url + "/victim", content=bytes(1_000_000))
        assert (response.status_code, response.content) == (413, b"no")

    sweep(refused, contexts, make_handler=Refusing, warm=False)


async def test_a_broken_off_read_all_is_sound(autojump_clock: object) -> None:
    async with world(http_server(reply), None) as w:
        async with w.pool.stream("GET", w.url + "/streamed") as response:
            with trio.move_on_after(0.01):
                await response.read()
        await w.is_sound()
