"""How an exchange ends, and what becomes of its connection: the slot is free at once."""

from __future__ import annotations

import gc
import ssl
from typing import Any

import pytest
import trio

from triopool import ConnectionPool, ReadError, Timeouts
from triopool._protocol.connection import HTTP1Connection
from triopool.testing import KeepOpen, Network, ReceiveRequest, Send, Wait, script

from .world import URL, Answer, Answering, nothing_held, ok, serving

HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH = HEAD + b"Content-Length: %d\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def then(*steps: Any) -> Any:
    return script(ReceiveRequest(), *steps, KeepOpen())


async def leave_early(pool: ConnectionPool, **options: Any) -> float:
    """Leave a response unread; return how long that took."""
    async with pool.stream("GET", URL, **options) as response:
        assert response.status_code == 200
        left_at = trio.current_time()
    return trio.current_time() - left_at


@pytest.mark.parametrize("kib", [1, 64])
async def test_a_small_rest_is_drained_without_letting_the_caller_wait(
    autojump_clock: object, kib: int
) -> None:
    server = then(Send(LENGTH % (kib << 10)), Wait(0.049), Send(bytes(kib << 10)))
    async with serving(server) as (pool, network):
        assert await leave_early(pool) == 0.0
        assert pool.statistics().busy == 1
        await trio.sleep(0.05)
        assert (pool.statistics().busy, pool.statistics().idle) == (0, 1)
        assert len(network.open_sockets) == 1


async def test_a_large_rest_closes_the_connection_at_once(autojump_clock: object) -> None:
    async with serving(then(Send(LENGTH % 65537))) as (pool, network):
        assert await leave_early(pool) == 0.0
        assert (pool.statistics().open, len(network.open_sockets)) == (0, 0)


async def test_what_counts_is_what_is_left(autojump_clock: object) -> None:
    server = then(Send(LENGTH % 100_000 + bytes(40_000)), Wait(0.01), Send(bytes(60_000)))
    async with serving(server, buffer_size=1 << 20) as (pool, _):
        async with pool.stream("GET", URL) as response:
            await response.receive_some()
        await trio.sleep(1)
        assert pool.statistics().idle == 1


async def test_a_slow_rest_is_given_50_ms(autojump_clock: object) -> None:
    async with serving(then(Send(LENGTH % 1))) as (pool, network):
        await leave_early(pool)
        await trio.sleep(0.0499)
        assert len(network.open_sockets) == 1
        await trio.sleep(0.0002)
        assert not network.open_sockets
        assert pool.statistics().discarded == 1


async def test_a_chunked_rest_of_unknown_length_is_drained_within_bounds(
    autojump_clock: object,
) -> None:
    chunk = b"4000\r\n" + bytes(16384) + b"\r\n"
    for chunks, idle in ((4, 1), (40, 0)):
        server = then(Send(CHUNKED), Wait(0.01), Send(chunk * chunks + b"0\r\n\r\n"))
        async with serving(server) as (pool, _):
            await leave_early(pool)
            await trio.sleep(0.02)
            assert pool.statistics().idle == idle
            assert pool.statistics().open == idle


@pytest.mark.parametrize(
    "answer",
    [
        LENGTH % 5 + b"no",
        CHUNKED + b"nonsense",
        HEAD + b"Connection: close\r\nContent-Length: 5\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        HEAD + b"\r\nuntil it is closed",
    ],
    ids=["cut", "not legal", "close", "two framings", "until the close"],
)
async def test_a_rest_that_saves_nothing_is_not_drained_for_long(
    autojump_clock: object, answer: bytes
) -> None:
    async with serving(Answering(Answer([answer, b""], "close"))) as (pool, network):
        assert await leave_early(pool) == 0.0
        await trio.sleep(0.002)
        assert not network.open_sockets
        assert pool.statistics().open == 0


async def test_the_read_timeout_holds_for_a_drain_too(autojump_clock: object) -> None:
    async with serving(then(Send(LENGTH % 1))) as (pool, network):
        await leave_early(pool, timeouts=Timeouts(read=0.02))
        await trio.sleep(0.021)
        assert not network.open_sockets


async def test_a_bound_on_the_body_holds_for_a_drain_too(autojump_clock: object) -> None:
    async with serving(then(Send(CHUNKED), Wait(0.01), Send(b"5\r\nhello\r\n"))) as (pool, network):
        await leave_early(pool, max_body_bytes=3)
        await trio.sleep(0.011)
        assert not network.open_sockets


async def test_an_early_answer_is_not_drained(autojump_clock: object) -> None:
    """The connection owes a body: nothing can save it."""

    async def body() -> Any:
        yield b"x"
        await trio.sleep_forever()

    server = script(Wait(1), Send(LENGTH % 1), KeepOpen())
    async with serving(server) as (pool, network):
        async with pool.stream("POST", URL, content=body()):
            pass
        assert not network.open_sockets


@pytest.mark.parametrize("how", ["exception", "cancelled"])
async def test_who_does_not_leave_in_peace_closes(autojump_clock: object, how: str) -> None:
    async with serving(then(Send(LENGTH % 5))) as (pool, network):
        if how == "exception":
            with pytest.raises(KeyError):
                async with pool.stream("GET", URL):
                    raise KeyError
        else:
            with trio.move_on_after(1) as scope:
                async with pool.stream("GET", URL):
                    await trio.sleep_forever()
            assert scope.cancelled_caught
        assert (pool.statistics().open, len(network.open_sockets)) == (0, 0)


async def test_closing_twice_drains_once(autojump_clock: object) -> None:
    """Two drains of one connection met on its socket, and that ended the whole pool."""
    async with serving(then(Send(LENGTH % 2), Wait(0.02), Send(b"ok"))) as (pool, _):
        async with pool.stream("GET", URL) as response:
            await response.aclose()
            await response.aclose()
        await trio.sleep(1)
        assert pool.statistics().idle == 1


async def test_breaking_out_of_a_loop_leaves_nothing_behind(autojump_clock: object) -> None:
    """Scenario 62."""
    server = Answering(Answer([LENGTH % 6 + b"abc", b"def"]), Answer([LENGTH % 100_000 + b"abc"]))
    async with serving(server) as (pool, network):
        for idle in (1, 0):
            async with pool.stream("GET", URL) as response:
                async for piece in response:
                    assert piece == b"abc"
                    break
            del response
            await trio.sleep(0.1)
            gc.collect()
            assert (pool.statistics().idle, len(network.open_sockets)) == (idle, idle)


async def test_a_last_newline_left_unread_does_not_cost_the_connection(
    autojump_clock: object,
) -> None:
    """Scenario 54."""
    server = Answering(Answer([LENGTH % 4 + b"{ }", b"\n"]))
    async with serving(server) as (pool, _):
        async with pool.stream("GET", URL) as response:
            assert await response.receive_some() == b"{ }"
        await trio.sleep(0.01)
        assert (await pool.get(URL)).connection.reused


async def test_a_small_response_gives_its_connection_back_before_it_is_read(
    autojump_clock: object,
) -> None:
    async with serving(Answering(ok(b"first")), max_connections=1) as (pool, network):
        async with pool.stream("GET", URL) as first:
            nothing_held(pool, network)
            assert (await pool.get(URL + "/second")).content == b"/second"
            assert await first.read() == b"first"
        assert len(network.events("connected")) == 1


@pytest.mark.parametrize(
    "raw",
    [
        ok(b"x"),
        LENGTH % 0,
        CHUNKED + b"0\r\n\r\n",
        HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
        LENGTH % 100_000,
    ],
)
async def test_the_slot_is_free_at_once(autojump_clock: object, raw: bytes) -> None:
    async with serving(Answering(raw), max_connections=1) as (pool, network):
        async with pool.stream("GET", URL):
            pass
        nothing_held(pool, network)
        assert (await pool.get(URL + "/x")).content == b"/x"
        assert trio.current_time() == 0.0


async def test_what_is_cancelled_while_it_ends_is_closed(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TLS the end may be a checkpoint, where something has come behind the response."""
    scope = trio.CancelScope()

    async def finish(connection: HTTP1Connection) -> None:
        scope.cancel()
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(HTTP1Connection, "finish", finish)
    async with serving(then(Send(LENGTH % 2 + b"ok"))) as (pool, network):
        with scope:
            await pool.get(URL)
        assert scope.cancelled_caught
        assert (pool.statistics().open, len(network.open_sockets)) == (0, 0)


async def test_leaving_the_pool_ends_its_drains(autojump_clock: object) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, then(Send(LENGTH % 5)))
        async with ConnectionPool(resolver=network.resolve, socket_factory=network.socket) as pool:
            await leave_early(pool)
        assert trio.current_time() == 0.0
        assert not network.open_sockets


# ── TLS ────────────────────────────────────────────────────────────────────────────────────────


async def test_with_tls_everything_ends_alike(
    autojump_clock: object, client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    server = Answering(
        ok(b"one"),
        Answer([LENGTH % 4 + b"{ }", b"\n"]),
        ok(b"two") + b"stray",
        ok(b"three"),
        Answer([LENGTH % 9 + b"part"], "close"),
    )
    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 443, server, ssl_context=server_ssl_context)
        async with ConnectionPool(
            resolver=network.resolve,
            socket_factory=network.socket,
            ssl_context=client_ssl_context,
        ) as pool:
            url = "https://one.test/"
            assert (await pool.get(url)).content == b"one"
            async with pool.stream("GET", url) as response:
                assert response.connection.reused
                assert await response.receive_some() == b"{ }"
            await trio.sleep(0.01)
            third = await pool.get(url)
            assert (third.content, third.connection.reused) == (b"two", True)
            assert not network.open_sockets  # stray bytes, in TLS's buffer or not
            assert (await pool.get(url)).content == b"three"
            with pytest.raises(ReadError):
                await pool.get(url)
            assert not network.open_sockets
            assert (await pool.get(url + "x")).content == b"/x"
            await network.open_server_sockets[-1].send(b"not even TLS")
            last = await pool.get(url + "y")
            assert (last.content, last.connection.reused) == (b"/y", False)
            assert pool.statistics().retried == 0
