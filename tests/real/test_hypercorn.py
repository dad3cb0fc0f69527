"""The pool against hypercorn on Trio, over TCP and TLS: a server in the same event loop."""

from __future__ import annotations

import json
import random
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import servers
import trio
from servers import serve_hypercorn

import triopool
from triopool import ConnectionPool, Timeouts

from .helpers import PATIENCE, all_at_once, nothing_is_held, until

pytestmark = pytest.mark.usefixtures("no_leaked_sockets")


@pytest.fixture(params=["plain", "tls"])
def server(request: pytest.FixtureRequest) -> str:
    """The URL of hypercorn, without a slash at the end; each test is run without and with TLS."""
    url: str = request.getfixturevalue("hypercorn" if request.param == "plain" else "hypercorn_tls")
    return url


class Gate:
    """A path of the server that answers while it is open, and lets everybody wait while not.

    Attributes:
      inside: how many requests wait now.
      most: how many have ever waited at once.
    """

    def __init__(self) -> None:
        self._opened = trio.Event()
        self.inside = self.most = 0

    async def __call__(self, scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self._opened.wait()
        finally:
            self.inside -= 1
        await servers.respond(send, query["name"].encode())

    def open(self) -> None:
        self._opened.set()

    def close(self) -> None:
        self._opened = trio.Event()
        self.most = 0


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setitem(servers.ROUTES, "/gate", gate)
    return gate


# ── Reuse ──────────────────────────────────────────────────────────────────────────────────────


async def test_sequential_requests_share_one_connection(
    server: str, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        for number in range(50):
            response = await pool.get(f"{server}/")
            assert response.text == "Hello, world!\n"
            assert response.connection.reused == (number > 0)
        assert (pool.statistics().dialled, pool.statistics().reused) == (1, 49)


async def test_responses_without_a_body_leave_the_connection_reusable(
    server: str, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        head = await pool.head(f"{server}/")
        assert (head.content, head.headers["Content-Length"]) == (b"", "14")
        assert (await pool.get(f"{server}/nowhere")).status_code == 404
        assert (await pool.post(f"{server}/echo")).content == b""
        assert (await pool.get(f"{server}/chunked", params={"chunks": 0})).content == b""
        assert pool.statistics().dialled == 1


async def test_no_more_requests_than_connections_reach_the_server(
    server: str, client_ssl_context: ssl.SSLContext, gate: Gate
) -> None:
    names = [f"{number:04}" for number in range(200)]

    async with ConnectionPool(max_connections=7, ssl_context=client_ssl_context) as pool:
        async with trio.open_nursery() as nursery:

            async def open_when_full() -> None:
                await until(lambda: gate.inside == 7)
                assert (pool.statistics().busy, pool.statistics().waiting) == (7, 193)
                gate.open()

            nursery.start_soon(open_when_full)
            bodies = await all_at_once(pool, [f"{server}/gate?name={name}" for name in names])
        assert [body.decode() for body in bodies] == names  # to each his own
        assert gate.most == 7
        assert (pool.statistics().dialled, pool.statistics().idle) == (7, 7)


async def test_connection_closed_by_the_server_while_idle_is_never_noticed() -> None:
    sockets: list[trio.socket.SocketType] = []

    def remember(address: triopool.AddressInfo) -> trio.socket.SocketType:
        sockets.append(trio.socket.socket(address.family, address.type, address.proto))
        return sockets[-1]

    async with (
        serve_hypercorn(keep_alive_timeout=1.0) as url,
        ConnectionPool(socket_factory=remember) as pool,
    ):
        for number in (1, 2, 3):
            response = await pool.post(f"{url}/echo", content=f"{number}")
            assert response.text == f"{number}"
            assert pool.statistics().stale + 1 == len(sockets) == number
            if number < 3:
                # The sweeper may close it before we have seen that it can.
                await until(lambda: sockets[-1].fileno() == -1 or sockets[-1].is_readable())


async def test_warmed_up_connections_are_reused(
    server: str, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        await pool.warm_up(server, 3)
        await all_at_once(pool, [f"{server}/"] * 3)
        assert (pool.statistics().dialled, pool.statistics().reused) == (3, 3)


# ── Bodies ─────────────────────────────────────────────────────────────────────────────────────


async def test_request_body_arrives_as_it_was_given(
    server: str, client_ssl_context: ssl.SSLContext
) -> None:
    body = random.Random(0).randbytes(1_000_000)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 30_000):
            yield body[start : start + 30_000]

    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        for content in (b"short", "text", body, pieces(), pieces):
            response = await pool.put(f"{server}/echo", content=content)
            expected = content if isinstance(content, bytes) else body
            assert response.content == (b"text" if content == "text" else expected)
            assert response.headers["X-Method"] == "PUT"
        echoed = await pool.post(f"{server}/echo", json={"a": [1, None, "ü"]})
        assert json.loads(echoed.content) == {"a": [1, None, "ü"]}
        assert pool.statistics().dialled == 1


async def test_refusal_of_an_upload_reaches_the_caller(
    server: str, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            for _ in range(5):
                response = await pool.post(f"{server}/refuse", content=bytes(8 << 20))
                assert (response.status_code, response.content) == (413, b"too much\n")
                nothing_is_held(pool)
            assert (await pool.get(f"{server}/")).status_code == 200


async def test_pieces_come_as_the_server_sends_them(
    server: str, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        url = f"{server}/chunked?chunks=4&seconds=0.05"
        async with pool.stream("GET", url) as response:
            # The first is here although the server will only make the last one later.
            assert await response.receive_some() == b"chunk 0\n"
            assert pool.statistics().busy == 1
            rest = [piece async for piece in response]
        assert b"".join(rest) == b"chunk 1\nchunk 2\nchunk 3\n"
        assert pool.statistics().idle == 1


# ── Deadlines and cancellation ─────────────────────────────────────────────────────────────────


async def test_deadline_of_the_caller_and_of_the_read_phase_free_the_slot(
    server: str, client_ssl_context: ssl.SSLContext
) -> None:
    url = f"{server}/slow?seconds=3600"
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        await pool.warm_up(server)
        with trio.move_on_after(0.02) as scope:
            await pool.get(url)
        assert scope.cancelled_caught
        assert pool.statistics().open == 0
        with pytest.raises(triopool.ReadTimeout):
            await pool.get(url, timeouts=Timeouts(read=0.02))
        assert pool.statistics().open == 0
        assert (await pool.get(f"{server}/")).status_code == 200


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_storm_of_cancellations_leaves_every_slot_and_no_descriptor(
    server: str, client_ssl_context: ssl.SSLContext, gate: Gate, seed: int
) -> None:
    rng = random.Random(seed)

    async def customer(name: str, patience: float, path: str) -> None:
        with trio.move_on_after(patience):
            response = await pool.post(f"{server}{path}", content=name)
            if path == "/echo":
                assert response.text == name

    async with ConnectionPool(max_connections=5, ssl_context=client_ssl_context) as pool:
        for batch in range(5):
            async with trio.open_nursery() as nursery:
                for number in range(60):
                    path = rng.choice(["/echo", "/echo", "/chunked?seconds=0.01", "/slow"])
                    name = f"{batch} {number}"
                    nursery.start_soon(customer, name, rng.uniform(0.0, 0.1), path)
            statistics = pool.statistics()
            assert statistics.waiting == 0
            assert statistics.open <= 5
        await until(lambda: pool.statistics().busy == pool.statistics().dialling == 0)
        await works_at_full_size(pool, server, gate)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_storm_of_aiohttp_9670_leaves_every_slot_free(
    hypercorn: str, gate: Gate, seed: int
) -> None:
    """A small limit, a slow server, clients that time out; then the server becomes fast.

    aiohttp lost a slot each time a waiter was woken and timed out in one tick, until none was left
    and every request hung. So here, in each round, the answers and the timeouts come together: at
    the very moment at which the server answers those that it has, others in line give up.
    """
    rng = random.Random(seed)
    given_up = answered = 0

    async def client(scope: trio.CancelScope, name: str) -> None:
        nonlocal given_up, answered
        with scope:
            response = await pool.get(f"{hypercorn}/gate?name={name}")
            assert response.text == name
            answered += 1
        given_up += scope.cancelled_caught

    async with ConnectionPool(max_connections=2) as pool:
        for batch in range(60):
            gate.close()
            # Some give up by the clock, all at one moment, as timeouts do...
            deadline = trio.current_time() + rng.uniform(0.01, 0.03)
            scopes = [
                trio.CancelScope(deadline=rng.choice([deadline, deadline, float("inf")]))
                for _ in range(50)
            ]
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    for number, scope in enumerate(scopes):
                        nursery.start_soon(client, scope, f"{batch}-{number}")
                    await trio.sleep_until(deadline)
                    gate.open()
                    # ... and some at whatever point, while connections pass from one to the next.
                    impatient = [s for s in scopes if s.deadline == float("inf")]
                    for scope in rng.sample(impatient, len(impatient) * 2 // 3):
                        for _ in range(rng.randrange(4)):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()
            nothing_is_held(pool)
        assert given_up + answered == 60 * 50
        assert given_up > 1500

        # The server is fast now: the next one is served at once, for there is no line.
        with trio.fail_after(PATIENCE):
            assert (await pool.get(f"{hypercorn}/")).status_code == 200
        await works_at_full_size(pool, hypercorn, gate)


async def works_at_full_size(pool: ConnectionPool, server: str, gate: Gate) -> None:
    """As many requests as the pool has slots are at the server at the same time."""
    nothing_is_held(pool)
    limit = pool.max_connections
    assert limit is not None
    gate.open()
    await until(lambda: gate.inside == 0)  # those whose client has gone
    gate.close()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number in range(limit):
                nursery.start_soon(pool.get, f"{server}/gate?name={number}")
            await until(lambda: gate.inside == limit)
            statistics = pool.statistics()
            assert (statistics.busy, statistics.open, statistics.waiting) == (limit, limit, 0)
            gate.open()
    nothing_is_held(pool)
    assert pool.statistics().idle == limit
