"""The pool against nginx, over TCP and TLS."""

from __future__ import annotations

import hashlib
import itertools
import random
import ssl
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
from servers import Nginx, open_sockets

import triopool
from triopool import ConnectionPool
from triopool._transport.wire import LARGEST_RECEIVE_SIZE

from .helpers import CLOSE_WAIT, PATIENCE, all_at_once, nothing_is_held, tcp_states, until

Server = Literal["plain", "tls"]
both = pytest.mark.parametrize("server", ["plain", "tls"])
pytestmark = pytest.mark.usefixtures("no_leaked_sockets")


def connection_of(response: triopool.Response) -> tuple[int, int]:
    """As nginx counts: which connection the response came on, and its how many-th request it is."""
    headers = response.headers
    return int(headers["X-Connection"]), int(headers["X-Connection-Requests"])


async def pieces_of(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def large(nginx: Nginx) -> bytes:
    return Path(nginx.directory, "www", "large").read_bytes()


# ── Reuse ──────────────────────────────────────────────────────────────────────────────────────


@both
async def test_sequential_requests_share_one_connection(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        seen = [connection_of(await pool.get(nginx.url("/2000", server=server))) for _ in range(50)]
        statistics = pool.statistics()
    assert len({connection for connection, _ in seen}) == 1
    assert [number for _, number in seen] == list(range(1, 51))
    assert (statistics.dialled, statistics.reused) == (1, 49)


@both
async def test_concurrent_requests_use_the_connections_that_are_allowed_and_no_more(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    async with ConnectionPool(max_connections=5, ssl_context=client_ssl_context) as pool:
        bodies = await all_at_once(pool, [nginx.url("/whoami", server=server)] * 300)
        statistics = pool.statistics()
    per_connection = Counter(body.split()[0] for body in bodies)
    assert len(per_connection) <= 5
    assert statistics.dialled == 5
    assert (statistics.idle, statistics.busy, statistics.waiting) == (5, 0, 0)
    # nginx numbers the requests of each connection without a gap: each answer has its own request.
    for connection, count in per_connection.items():
        numbers = [int(body.split()[1]) for body in bodies if body.split()[0] == connection]
        assert sorted(numbers) == list(range(1, count + 1))


@both
async def test_responses_without_a_body_leave_the_connection_reusable(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        head = await pool.head(nginx.url("/large", server=server))
        assert (head.content, head.headers["Content-Length"]) == (b"", str(4 << 20))
        nothing = await pool.get(nginx.url("/nothing", server=server))
        assert (nothing.status_code, nothing.content) == (204, b"")
        fresh = {"If-None-Match": head.headers["ETag"]}
        not_modified = await pool.get(nginx.url("/large", server=server), headers=fresh)
        assert (not_modified.status_code, not_modified.content) == (304, b"")
        empty = nginx.url(f"/store/{uuid.uuid4()}", server=server)
        assert (await pool.put(empty, content=b"")).status_code == 201
        assert (await pool.get(empty)).content == b""
        assert (await pool.delete(empty)).status_code == 204
        last = await pool.get(nginx.url("/2000", server=server))
        assert connection_of(last)[1] == 7
        assert pool.statistics().dialled == 1


@both
async def test_chunked_body_leaves_the_connection_reusable(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        for number in (1, 2, 3):
            response = await pool.get(nginx.url("/chunked", server=server))
            assert response.headers["Transfer-Encoding"] == "chunked"
            assert len(response.content) == 2000
            assert connection_of(response)[1] == number


@both
async def test_body_that_ends_with_the_connection_is_read_whole_and_the_connection_not_reused(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        for _ in range(3):
            response = await pool.get(nginx.url("/until-close", server=server))
            assert len(response.content) == 2000
            assert connection_of(response)[1] == 1
        assert (pool.statistics().open, pool.statistics().dialled) == (0, 3)


async def test_surplus_tls_connection_that_never_carried_a_request_is_reused(
    nginx: Nginx, client_ssl_context: ssl.SSLContext
) -> None:
    sockets: list[trio.socket.SocketType] = []

    def remember(address: triopool.AddressInfo) -> trio.socket.SocketType:
        sockets.append(trio.socket.socket(address.family, address.type, address.proto))
        return sockets[-1]

    url = nginx.url("/whoami", server="tls")
    async with ConnectionPool(ssl_context=client_ssl_context, socket_factory=remember) as pool:
        await pool.warm_up(url, 4)
        # The session tickets are here: healthy, and readable nevertheless.
        await until(lambda: all(sock.is_readable() for sock in sockets))
        bodies = await all_at_once(pool, [url] * 4)
        response = await pool.get(url)
        statistics = pool.statistics()
    assert len({body.split()[0] for body in bodies}) == 4
    assert response.connection.tls is not None
    assert response.connection.tls.version == "TLSv1.3"
    assert (statistics.dialled, statistics.reused, statistics.stale) == (4, 5, 0)


# ── Connections that the server ends ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [1, 7])
async def test_server_that_cuts_after_three_requests_is_never_noticed(
    nginx: Nginx, limit: int
) -> None:
    async with ConnectionPool(max_connections=limit) as pool:
        bodies = await all_at_once(pool, [nginx.url("/whoami", server="three")] * 300)
        statistics = pool.statistics()
    assert max(Counter(body.split()[0] for body in bodies).values()) <= 3
    assert len(bodies) == 300
    assert statistics.dialled >= 100
    assert statistics.retried == 0  # it says "Connection: close" on the third response


async def test_server_that_closes_after_each_response_is_never_noticed(nginx: Nginx) -> None:
    async with ConnectionPool(max_connections=5) as pool:
        bodies = await all_at_once(pool, [nginx.url("/whoami", server="closing")] * 100)
        statistics = pool.statistics()
    assert {body.split()[1] for body in bodies} == {b"1"}
    assert (statistics.open, statistics.discarded) == (0, statistics.dialled)


def around_its_keep_alive(seed: int) -> Callable[[], Awaitable[None]]:
    """Pauses of about the 100 ms after which the server "silent" closes an idle connection."""
    rng = random.Random(seed)

    async def pause() -> None:
        await trio.sleep(rng.uniform(0.095, 0.105))

    return pause


async def test_gets_survive_a_server_that_closes_idle_connections_without_a_word(
    nginx: Nginx,
) -> None:
    answered = 0

    async def customer(number: int) -> None:
        nonlocal answered
        pause = around_its_keep_alive(number)
        for _ in range(15):
            response = await pool.get(nginx.url("/2000", server="silent"))
            assert len(response.content) == 2000
            answered += 1
            await pause()

    async with ConnectionPool() as pool, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(customer, number)
    assert answered == 300


async def test_post_is_never_sent_twice_to_a_server_that_closes_idle_connections(
    nginx: Nginx,
) -> None:
    run = uuid.uuid4()
    succeeded: list[str] = []
    failed: list[str] = []

    async def customer(number: int) -> None:
        pause = around_its_keep_alive(number)
        for attempt in range(15):
            order = f"/post?{run}-{number:02}-{attempt:02}"
            try:
                response = await pool.post(nginx.url(order, server="silent"), content=b"buy")
            except (triopool.ReadError, triopool.WriteError):
                failed.append(order)  # whether it arrived is not known: that's for the caller
            else:
                assert response.content == b"3\n"
                succeeded.append(order)
            await pause()

    async with ConnectionPool() as pool:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(customer, number)
        # nginx has one worker: what it did before it answers this is in the log.
        await pool.get(nginx.url("/nothing"))
    assert len(succeeded) + len(failed) == 300
    received = Counter(line.split()[3] for line in nginx.requests(str(run)))
    assert all(received[order] == 1 for order in succeeded)
    assert all(received[order] <= 1 for order in failed)


async def test_connections_closed_by_the_server_do_not_pile_up_while_nothing_is_asked(
    nginx: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Or the test would take five seconds.
    monkeypatch.setattr("triopool._slots.sweeper.SWEEP_AT_LEAST", 0.05)
    monkeypatch.setattr("triopool._slots.sweeper.SWEEP_AT_MOST", 0.1)
    async with ConnectionPool(idle_timeout=None, max_lifetime=None) as pool:
        async with AsyncExitStack() as stack:
            for _ in range(5):
                held = await stack.enter_async_context(pool.lease(nginx.url(server="silent")))
                await held.request("GET", "/2000")
        assert pool.statistics().dialled == 5
        await until(lambda: pool.statistics().open == 0)
        assert pool.statistics().stale == pool.statistics().dialled
        assert CLOSE_WAIT not in tcp_states(nginx.ports["silent"])


async def test_reload_of_the_server_is_never_noticed(nginx: Nginx) -> None:
    urls = [nginx.url("/2000")] * 20
    async with ConnectionPool(max_connections=10) as pool:
        await all_at_once(pool, urls)
        await trio.to_thread.run_sync(nginx.reload)
        await all_at_once(pool, urls)
        assert pool.statistics().stale + pool.statistics().retried >= 10


# ── Bodies ─────────────────────────────────────────────────────────────────────────────────────


@both
async def test_large_download_comes_in_bounded_pieces(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    digest = hashlib.sha256()
    largest = 0
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        async with pool.stream("GET", nginx.url("/large", server=server)) as response:
            async for piece in response:
                digest.update(piece)
                largest = max(largest, len(piece))
        assert pool.statistics().idle == 1
    assert digest.digest() == hashlib.sha256(large(nginx)).digest()
    assert largest <= LARGEST_RECEIVE_SIZE


@both
async def test_download_left_half_way_costs_its_connection_and_no_slot(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        for _ in range(5):
            async with pool.stream("GET", nginx.url("/slow", server=server)) as response:
                await response.receive_some(1)
            assert pool.statistics().open == 0
        assert (await pool.get(nginx.url("/nothing", server=server))).status_code == 204


UPLOADS: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda body: body,
    "iterator": lambda body: pieces_of(body, 10_000),
    "factory": lambda body: lambda: pieces_of(body, 100_000),
}


@both
@pytest.mark.parametrize("kind", UPLOADS)
async def test_upload_arrives_whole_and_the_connection_is_reused(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server, kind: str
) -> None:
    body = large(nginx)
    url = nginx.url(f"/store/{uuid.uuid4()}", server=server)
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        length = await pool.post(nginx.url("/post", server=server), content=UPLOADS[kind](body))
        assert length.content == f"{len(body)}\n".encode()
        assert (await pool.put(url, content=UPLOADS[kind](body))).status_code == 201
        assert (await pool.get(url)).content == body
        assert (await pool.delete(url)).status_code == 204
        assert pool.statistics().dialled == 1


@both
@pytest.mark.parametrize("kind", UPLOADS)
@pytest.mark.parametrize("path", ["/limited", "/limited-reset"])
async def test_refusal_of_an_upload_under_way_reaches_the_caller(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server, kind: str, path: str
) -> None:
    body = bytes(16 << 20)
    url = nginx.url(path, server=server)
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            for _ in range(5):
                response = await pool.post(url, content=UPLOADS[kind](body))
                assert response.status_code == 413
                assert b"413" in response.content
                nothing_is_held(pool)
            assert (await pool.get(nginx.url("/nothing", server=server))).status_code == 204


async def test_upload_waits_for_the_server_to_ask_for_it(nginx: Nginx) -> None:
    asked: list[int] = []

    def note(status_code: int, headers: object) -> None:
        asked.append(status_code)

    async with ConnectionPool() as pool:
        response = await pool.post(
            nginx.url("/post"), content=b"x" * 1000, expect_continue=True, on_informational=note
        )
        assert (response.content, asked) == (b"1000\n", [100])
        refused = await pool.post(
            nginx.url("/limited"), content=b"x" * 2000, expect_continue=True, on_informational=note
        )
        assert (refused.status_code, asked) == (413, [100])
        assert (await pool.get(nginx.url("/nothing"))).status_code == 204


# ── Cancellation ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.exhaustive
@both
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_storm_of_cancellations_leaves_every_slot_and_no_descriptor(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server, seed: int
) -> None:
    rng = random.Random(seed)
    before = open_sockets()
    numbers = itertools.count()

    async def customer(patience: float, path: str) -> None:
        with trio.move_on_after(patience):
            # Each asks for something of his own, and would notice an answer that is not his.
            location = f"/store/{uuid.uuid4()}-{next(numbers)}"
            response = await pool.put(nginx.url(location, server=server), content=path)
            assert response.status_code == 201
            assert response.headers["Location"].endswith(location)
            async with pool.stream("GET", nginx.url(path, server=server)) as response:
                assert response.status_code == (204 if path == "/nothing" else 200)
                await response.receive_some()

    async with ConnectionPool(max_connections=6, ssl_context=client_ssl_context) as pool:
        for _ in range(6):
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    path = rng.choice(["/2000", "/chunked", "/large", "/slow", "/nothing"])
                    nursery.start_soon(customer, rng.uniform(0.0, 0.1), path)
            statistics = pool.statistics()
            assert statistics.waiting == 0
            assert statistics.open <= 6
        # Drains, and dials whose caller has gone, are the pool's own, and end soon.
        await until(lambda: pool.statistics().busy == pool.statistics().dialling == 0)
        nothing_is_held(pool)
        assert len(open_sockets() - before) == pool.statistics().open
        # At full size again: six that last, at the same time.
        async with AsyncExitStack() as stack:
            for _ in range(6):
                with trio.fail_after(PATIENCE):
                    await stack.enter_async_context(
                        pool.stream("GET", nginx.url("/slow", server=server))
                    )
            assert pool.statistics().busy == 6
        nothing_is_held(pool)
        assert (await pool.get(nginx.url("/nothing", server=server))).status_code == 204
    assert open_sockets() - before == set()
