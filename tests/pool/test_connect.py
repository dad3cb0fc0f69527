"""``pool.connect()``: a stream of the program's own, dialled by the pool, in a slot of it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trustme
from dial.helpers import server_context
from inside import check_slots
from sweeping import sweep

import triopool
from triopool import CloseReason, ConnectionPool, PoolClosed, PoolTimeout, Spent, Timeouts
from triopool._pool_key import StreamKey
from triopool.abc import Instrument
from triopool.testing import Network, Reply, Request, Sweep, http_proxy, http_server, socks_proxy

A, B, GREETS, TLS = "http://a.test", "http://b.test:7", "http://greets.test:25", "https://a.test"


@dataclass
class World:
    """A server that echoes, one that answers HTTP at the same address, one that speaks first."""

    network: Network
    pool: ConnectionPool
    heard: list[bytes] = field(default_factory=list)

    async def echo(self, stream: trio.abc.Stream) -> None:
        async with stream:
            while data := await stream.receive_some():
                self.heard.append(bytes(data))
                await stream.send_all(b"echo " + data)

    async def greet(self, stream: trio.abc.Stream) -> None:
        async with stream:
            await stream.send_all(b"220 welcome\r\n")
            await stream.receive_some()

    async def talk(self, url: str, **options: Any) -> None:
        async with self.pool.connect(url, **options) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"echo hello"

    def holds_nothing(self) -> None:
        check_slots(self.pool)
        statistics = self.pool.statistics()
        assert (statistics.busy, statistics.waiting) == (0, 0)
        assert len(self.network.open_sockets) <= statistics.open


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    async with Network() as network:
        for number, name in enumerate(("a.test", "b.test", "greets.test"), 1):
            network.host(name, f"192.0.2.{number}")
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, **options
        ) as pool:
            w = World(network, pool)
            network.listen("192.0.2.1", 80, w.echo, connect_delay=0.1)
            network.listen("192.0.2.2", 7, w.echo, connect_delay=0.1)
            network.listen("192.0.2.3", 25, w.greet, connect_delay=0.1)
            yield w
            w.holds_nothing()
        assert not network.open_sockets


async def test_bytes_go_both_ways_and_nothing_else_does(autojump_clock: trio.abc.Clock) -> None:
    async with world() as w:
        async with w.pool.connect(f"{A}/any/path?is=ignored") as stream:
            assert isinstance(stream, trio.abc.Stream)
            await stream.send_all(b"one")
            assert await stream.receive_some(4) == b"echo"
            assert await stream.receive_some() == b" one"
            await stream.wait_send_all_might_not_block()
        assert w.heard == [b"one"]


async def test_a_server_may_speak_first(autojump_clock: trio.abc.Clock) -> None:
    async with world() as w:
        for _ in range(2):
            async with w.pool.connect(GREETS) as stream:
                assert await stream.receive_some() == b"220 welcome\r\n"


async def test_a_stream_holds_a_slot_for_as_long_as_its_block(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with world(max_connections=1) as w:
        async with w.pool.connect(A):
            statistics = w.pool.statistics()
            assert (statistics.busy, statistics.open) == (1, 1)
            [key] = statistics.origins
            assert str(key) == "http://a.test:80, as a stream"
            with pytest.raises(PoolTimeout, match=r"no connection to http://b\.test:7, as"):
                await w.talk(B, timeouts=Timeouts(pool=1))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(w.talk, B)
                await trio.sleep(1)
                assert w.pool.statistics().waiting == 1
                nursery.cancel_scope.cancel()
        assert w.pool.statistics().open == 0
        await w.talk(B)


async def test_no_connection_of_a_request_becomes_a_stream_and_the_other_way_round(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(body=b"HTTP")

    async with world() as w:
        serve = http_server(respond)
        w.network.listen("192.0.2.4", 80, serve)
        first = await w.pool.get("http://192.0.2.4/")
        assert w.pool.statistics().idle == 1
        async with w.pool.connect("http://192.0.2.4") as stream:
            assert w.pool.statistics().open == 2
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert bytes(await stream.receive_some()).endswith(b"HTTP")
        second = await w.pool.get("http://192.0.2.4/")
        assert first.connection.id == second.connection.id
        statistics = w.pool.statistics()
        assert (statistics.dialled, statistics.discarded, statistics.reused) == (2, 1, 1)


async def test_a_dial_that_nobody_waits_for_any_more_serves_the_next_stream(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with world() as w:
        with trio.move_on_after(0.05):
            await w.talk(A)
        await trio.sleep(1)
        assert w.pool.statistics().idle == 1
        await w.talk(A)
        assert w.pool.statistics().dialled == 1
        # A server that has spoken meanwhile is asked anew: its words were for another one.
        with trio.move_on_after(0.05):
            async with w.pool.connect(GREETS):
                pass
        await trio.sleep(0.5)
        async with w.pool.connect(GREETS) as stream:
            assert await stream.receive_some() == b"220 welcome\r\n"
        assert w.pool.statistics().stale == 1


async def test_a_closed_stream_frees_its_slot_before_the_block_is_left(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with world(max_connections=1) as w, w.pool.connect(A) as stream:
        await stream.aclose()
        assert w.pool.statistics().open == 0
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        await w.talk(A)


async def test_an_exception_in_the_block_arrives_as_itself(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with world() as w:
        with pytest.raises(KeyError):
            async with w.pool.connect(A):
                raise KeyError
        assert w.pool.statistics().open == 0


async def test_leaving_the_pool_closes_the_stream(autojump_clock: trio.abc.Clock) -> None:
    told: list[str] = []

    async def listen(pool: ConnectionPool) -> None:
        async with pool.connect(A) as stream:
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()
            told.append("closed")

    async def wait(pool: ConnectionPool) -> None:
        with pytest.raises(PoolClosed):
            async with pool.connect(A):
                pass
        told.append("refused")

    async with (
        trio.open_nursery() as nursery,
        Network() as network,
        ConnectionPool(
            max_connections=1, resolver=network.resolve, socket_factory=network.socket
        ) as pool,
    ):
        network.host("a.test", "192.0.2.1")
        network.listen("192.0.2.1", 80, World(network, pool).echo)
        nursery.start_soon(listen, pool)
        await trio.sleep(0.5)
        nursery.start_soon(wait, pool)
        await trio.sleep(0.5)
    assert sorted(told) == ["closed", "refused"]


async def test_instruments_hear_of_the_connection_and_of_no_request(
    autojump_clock: trio.abc.Clock,
) -> None:
    told: list[Any] = []

    class Told(Instrument):
        def request_started(self, request: object) -> None:
            told.append("a request")

        def handed_over(self, connection: triopool.ConnectionInfo, seconds: float) -> None:
            told.append(connection.id)

        def closed(self, connection: triopool.ConnectionInfo, reason: CloseReason) -> None:
            told.append((reason, connection.spent))

    async with world(instruments=[Told()]) as w:
        await w.talk(A)
    assert told == [1, (CloseReason.DISCARDED, Spent.STREAM)]


async def test_what_it_does_not_take(autojump_clock: trio.abc.Clock) -> None:
    async with world() as w:
        with pytest.raises(ValueError, match="leave them out of this URL"):
            w.pool.connect("http://ada:secret@a.test")
        with pytest.raises(triopool.InvalidURL):
            w.pool.connect("a.test:80")
        with pytest.raises(TypeError, match=r"connect\(\)"):
            w.pool.connect(A, timeout=3)  # type: ignore[call-arg]
        with pytest.raises(triopool.ConnectError):
            await w.talk("http://192.0.2.66")
        block = w.pool.connect(A)
        async with block:
            pass
        with pytest.raises(RuntimeError, match=r"call connect\(\) again"):
            await block.__aenter__()
    with pytest.raises(PoolClosed):
        w.pool.connect(A)


def test_the_key_of_a_stream_is_never_that_of_requests() -> None:
    key = triopool.PoolKey(triopool.Origin("http", "a.test", 80))
    stream, same = StreamKey(*key), StreamKey(*key)
    assert stream == same
    assert not stream != same  # noqa: SIM202 - the very operator
    assert hash(stream) == hash(same)
    assert stream != key
    assert key != stream
    assert len({key, stream, same}) == 2


# ── TLS and proxies ────────────────────────────────────────────────────────────────────────────


Serve = Callable[[trio.abc.Stream], Awaitable[None]]


def over_tls(serve: Serve, context: ssl.SSLContext) -> Serve:
    async def whole(stream: trio.abc.Stream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError):  # A client that does not trust us says so.
            await serve(tls)

    return whole


@pytest.mark.parametrize("hostname", [None, "other.test"])
async def test_https_has_tls(hostname: str | None, autojump_clock: trio.abc.Clock) -> None:
    ca = trustme.CA()
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    async with world(ssl_context=trusting) as w:
        context = server_context(ca.issue_cert(hostname or "a.test"))
        w.network.listen("192.0.2.1", 443, over_tls(w.echo, context))
        await w.talk(TLS, server_hostname=hostname)
        with pytest.raises(triopool.TLSError):
            await w.talk(TLS, server_hostname="wrong.test")


@pytest.mark.parametrize("share", [True, False])
async def test_an_http_proxy_opens_a_tunnel_where_it_would_forward_requests(
    share: bool, autojump_clock: trio.abc.Clock
) -> None:
    async with world() as w:
        proxy = http_proxy(w.network)
        w.network.listen("192.0.2.9", 3128, proxy)
        way = triopool.Proxy("http://192.0.2.9:3128", share_connections=share)
        await w.talk(A, proxy=way)
        assert [(one.method, one.target) for one in proxy.requests] == [("CONNECT", "a.test:80")]
        assert w.pool.statistics().open == 0


async def test_a_socks_proxy(autojump_clock: trio.abc.Clock) -> None:
    async with world(proxy="socks5h://192.0.2.9") as w:
        w.network.listen("192.0.2.9", 1080, socks_proxy(w.network))
        await w.talk(A)
        await w.talk(A, proxy=triopool.DIRECT)


# ── Cancelled ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("with_signal", [False, True], ids=["cancelled", "control-C"])
def test_a_stream_that_is_cancelled(with_signal: bool) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world(max_connections=2) as w:
            await sweep.victim(w.talk, A)
            w.holds_nothing()
            async with w.pool.connect(A), w.pool.connect(B):
                assert w.pool.statistics().busy == 2

    sweep(scenario, with_signal=with_signal)


def test_a_stream_that_waits_for_a_slot_and_is_cancelled() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world(max_connections=1) as w:

            async def hold() -> None:
                async with w.pool.connect(B):
                    await trio.sleep(0.5)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(hold)
                await trio.sleep(0.2)
                await sweep.victim(w.talk, A)
            w.holds_nothing()
            await w.talk(B)

    sweep(scenario)
