"""WebSockets over connections of the pool: an exchange that goes on as something else.

The pool does the handshake, which is HTTP, and hands the stream over; wsproto speaks on it. Against
the server of the websockets package, that one behind haproxy, and hypercorn; over TCP and TLS.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal, TypeAlias

import pytest
import trio
import trio.testing
import trustme
from servers import Haproxy, WebSocketServer, serve_hypercorn, server_certificate
from wsproto.events import CloseConnection

import triopool
from triopool import ConnectionPool

from .helpers import PATIENCE, nothing_is_held, until
from .websocket import handshake, websocket

pytestmark = pytest.mark.usefixtures("no_leaked_sockets")

Tls = Literal["plain", "tls"]
Url: TypeAlias = Callable[[str], str]


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> Tls:
    name: Tls = request.param
    return name


@pytest.fixture(params=["websockets", "haproxy", "hypercorn"])
def url(request: pytest.FixtureRequest, tls: Tls) -> Url:
    """The URL of a path at one of the servers; each test is run with all of them."""
    found: Url = request.getfixturevalue(f"at_{request.param}")
    return found


@pytest.fixture
def at_websockets(websockets: WebSocketServer, tls: Tls) -> Url:
    return lambda path: websockets.url(path, server=tls)


@pytest.fixture
def at_haproxy(haproxy: Haproxy, websockets: WebSocketServer, tls: Tls) -> Url:
    return lambda path: haproxy.url(f"/port/{websockets.ports['plain']}{path}", server=tls)


@pytest.fixture
async def at_hypercorn(ca: trustme.CA, tls: Tls, tmp_path: Path) -> AsyncIterator[Url]:
    certificate = tmp_path / "server.pem"
    server_certificate(ca).private_key_and_cert_chain_pem.write_to_path(certificate)
    async with serve_hypercorn(certificate if tls == "tls" else None) as base:
        yield lambda path: base + path


# ── Messages ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "message",
    ["hello", b"hello", "", "ü" * 1000, random.Random(0).randbytes(1_000_000)],
    ids=["text", "bytes", "empty", "1000 letters", "a million bytes"],
)
async def test_message_comes_back_as_it_was_sent(
    url: Url, client_ssl_context: ssl.SSLContext, message: str | bytes
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            async with websocket(pool, url("/")) as ws:
                for _ in range(3):
                    await ws.send(message)
                    assert await ws.receive() == message
        assert pool.statistics().open == 0


async def test_many_messages_go_both_ways_at_once(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    rng = random.Random(0)
    messages = [rng.randbytes(rng.choice([1, 100, 10_000])) for _ in range(500)]

    async def send_all() -> None:
        for message in messages:
            await ws.send(message)

    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            async with websocket(pool, url("/")) as ws, trio.open_nursery() as nursery:
                nursery.start_soon(send_all)
                for message in messages:
                    assert await ws.receive() == message
        assert pool.statistics().open == 0


async def test_message_that_comes_together_with_the_handshake_is_not_lost(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            for _ in range(10):
                async with websocket(pool, url("/early")) as ws:
                    assert await ws.receive() == "early"
                    await ws.send("and then")
                    assert await ws.receive() == "and then"
        assert (pool.statistics().open, pool.statistics().dialled) == (0, 10)


async def test_early_bytes_may_be_taken_one_by_one(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    # RFC 6455 section 5.2: final and text, length 5, not masked.
    expected = b"\x81\x05early"
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            async with websocket(pool, url("/early")) as ws:
                assert [await ws.stream.receive_some(1) for _ in expected] == [
                    expected[i : i + 1] for i in range(len(expected))
                ]


# ── Farewells ──────────────────────────────────────────────────────────────────────────────────


# Not hypercorn: it closes without waiting for our answer, which it may then answer with a reset.
@pytest.mark.parametrize("url", ["websockets", "haproxy"], indirect=True)
async def test_stream_ends_when_the_server_closes(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            for _ in range(3):
                async with websocket(pool, url("/bye")) as ws:
                    await ws.send("is anybody there?")
                    while await ws.receive() is not None:
                        pass
                    assert ws.closed is not None
                    assert ws.closed.code == 1000
                    for _ in range(2):  # The end is told as often as somebody asks.
                        assert await ws.stream.receive_some() == b""
                    # It is the block that holds the slot.
                    assert pool.statistics().busy == 1
                assert pool.statistics().open == 0


async def test_farewell_of_ours_is_answered_and_the_stream_ends(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            async with websocket(pool, url("/")) as ws:
                await ws.send_event(CloseConnection(code=1000))
                rest = b""
                while data := await ws.stream.receive_some():
                    rest += data
                # RFC 6455 section 5.5.1: final and close; its first two bytes are the code.
                assert rest[:1] == b"\x88"
                assert int.from_bytes(rest[2:4]) == 1000
        assert pool.statistics().open == 0


async def test_refused_handshake_is_an_ordinary_response(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            for number in range(1, 4):
                async with pool.stream("GET", url("/refuse"), headers=handshake()) as response:
                    assert response.status_code == 403
                    assert response.upgraded is None
                    body = await response.read()
                    assert len(body) == int(response.headers.get("Content-Length", len(body)))
                nothing_is_held(pool)
                statistics = pool.statistics()
                assert statistics.dialled + statistics.reused == number
                assert statistics.discarded + statistics.idle == statistics.dialled
            # The one slot is still good for what is not refused.
            async with websocket(pool, url("/")) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"


# ── Slots ──────────────────────────────────────────────────────────────────────────────────────


async def test_slot_is_held_while_the_stream_is_open_and_free_after_that(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    served = trio.Event()

    async def wait_for_a_turn() -> None:
        async with websocket(pool, url("/")) as ws:
            await ws.send("my turn")
            assert await ws.receive() == "my turn"
            served.set()

    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery, websocket(pool, url("/")) as ws:
                nursery.start_soon(wait_for_a_turn)
                await until(lambda: pool.statistics().waiting == 1)
                for number in range(10):
                    await ws.send(f"{number}")
                    assert await ws.receive() == f"{number}"
                statistics = pool.statistics()
                assert (statistics.busy, statistics.waiting) == (1, 1)
                assert not served.is_set()
        assert served.is_set()
        statistics = pool.statistics()
    # Nobody uses a connection after it was a WebSocket.
    assert (statistics.open, statistics.dialled, statistics.discarded) == (0, 2, 2)
    assert (statistics.reused, statistics.waiting) == (0, 0)


async def test_closed_stream_frees_its_slot_before_the_block_is_left(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            async with websocket(pool, url("/")) as first:
                await first.stream.aclose()
                assert pool.statistics().open == 0
                with pytest.raises(trio.ClosedResourceError):
                    await first.stream.receive_some()
                with pytest.raises(trio.ClosedResourceError):
                    await first.stream.send_all(b"x")
                async with websocket(pool, url("/")) as second:
                    await second.send("hello")
                    assert await second.receive() == "hello"
        assert (pool.statistics().open, pool.statistics().dialled) == (0, 2)


async def test_cancelled_in_the_middle_of_receiving_frees_the_slot_at_once(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    async def listen(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        with scope:
            async with websocket(pool, url("/")) as ws:
                task_status.started()
                await ws.receive()

    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            for _ in range(3):
                scope = trio.CancelScope()
                async with trio.open_nursery() as nursery:
                    await nursery.start(lambda task_status, scope=scope: listen(scope, task_status))
                    await trio.testing.wait_all_tasks_blocked()
                    assert pool.statistics().busy == 1
                    scope.cancel()
                assert pool.statistics().open == 0
            async with websocket(pool, url("/")) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"


async def test_cancelled_receive_loses_nothing(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            async with websocket(pool, url("/")) as ws:
                for number in range(50):
                    # Gives up while the answer is on its way, sooner or later.
                    await ws.send(f"{number}")
                    answer = None
                    while answer is None:
                        with trio.move_on_after(0.0002):
                            answer = await ws.receive()
                    assert answer == f"{number}"


async def test_leaving_the_pool_closes_the_stream(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    told = False

    async def listen(pool: ConnectionPool, task_status: trio.TaskStatus[None]) -> None:
        nonlocal told
        async with websocket(pool, url("/")) as ws:
            task_status.started()
            with pytest.raises(trio.ClosedResourceError):
                await ws.receive()
            told = True

    pool = ConnectionPool(ssl_context=client_ssl_context)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery, pool:
            await nursery.start(lambda task_status: listen(pool, task_status))
    assert told


async def test_who_asks_for_no_upgrade_gets_an_ordinary_response(
    websockets: WebSocketServer, tls: Tls, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        response = await pool.get(websockets.url(server=tls))
        assert response.status_code == 426
        assert response.headers["Upgrade"] == "websocket"
        assert response.upgraded is None
        with pytest.raises(triopool.StatusError, match="426"):
            response.raise_for_status()
        nothing_is_held(pool)
