"""The pool against haproxy, over TCP and TLS.

haproxy is here for what other servers don't do: 1xx responses, a 408 that nobody asked for,
refusals before the body was read, connections dropped without a word; and as the proxy in front of
a server that fails.
"""

from __future__ import annotations

import gzip
import random
import select
import socket
import ssl
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import pytest
import trio
from servers import Haproxy, Nginx

import triopool
from triopool import ConnectionPool, Timeouts, WriteError

from .helpers import PATIENCE, all_at_once, nothing_is_held, until

Server = Literal["plain", "tls"]
both = pytest.mark.parametrize("server", ["plain", "tls"])
pytestmark = pytest.mark.usefixtures("no_leaked_sockets")


class Informational:
    """What ``on_informational=`` has been told.

    Attributes:
      seen: status codes and header fields, in the order in which they came.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[bytes, bytes]]] = []

    def __call__(self, status_code: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.seen.append((status_code, {name.lower(): value for name, value in headers}))

    @property
    def status_codes(self) -> list[int]:
        return [status_code for status_code, _ in self.seen]


@asynccontextmanager
async def behind_it(answer: bytes) -> AsyncIterator[int]:
    """A server for haproxy to stand in front of; yields its port.

    It reads the head of one request, sends *answer*, and closes the connection.
    """

    async def handle(stream: trio.SocketStream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = await stream.receive_some()
            if not piece:  # haproxy did not want it after all
                return
            head += piece
        await stream.send_all(answer)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


class Sockets:
    """A socket factory that remembers what it made."""

    def __init__(self) -> None:
        self.made: list[trio.socket.SocketType] = []

    def __call__(self, address: triopool.AddressInfo) -> trio.socket.SocketType:
        self.made.append(trio.socket.socket(address.family, address.type, address.proto))
        return self.made[-1]

    @property
    def all_are_readable(self) -> bool:
        return all(sock.is_readable() for sock in self.made)

    @property
    def all_were_ended(self) -> bool:
        """Whether the server has ended every one; the pool may have seen that and closed it."""
        return all(sock.fileno() == -1 or has_ended(sock) for sock in self.made)


# Linux only. Elsewhere what can be read may be TLS's session tickets.
HUNG_UP = getattr(select, "POLLRDHUP", 0) or select.POLLIN


def has_ended(sock: trio.socket.SocketType) -> bool:
    poll = select.poll()
    poll.register(sock.fileno(), HUNG_UP)
    return bool(poll.poll(0))


async def pieces_of(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def collect(stream: trio.abc.ReceiveStream, into: list[bytes]) -> None:
    async for piece in stream:
        into.append(piece)


# ── Reuse ──────────────────────────────────────────────────────────────────────────────────────


@both
async def test_sequential_requests_share_one_connection(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    ports = set()
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        for path, status_code in [("/", 200), ("/nothing", 204), ("/redirect", 302)] * 10:
            response = await pool.request("GET", haproxy.url(path, server=server))
            assert response.status_code == status_code
            ports.add(response.headers["X-Port"])
        head = await pool.head(haproxy.url("/", server=server))
        assert (head.status_code, head.content) == (200, b"")
        statistics = pool.statistics()
    assert len(ports) == 1
    assert (statistics.dialled, statistics.reused) == (1, 30)


async def test_surplus_tls_connections_that_never_carried_a_request_are_reused(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext
) -> None:
    sockets = Sockets()
    url = haproxy.url(server="tls")
    async with ConnectionPool(ssl_context=client_ssl_context, socket_factory=sockets) as pool:
        await pool.warm_up(url, 4)
        # The session tickets are here: healthy, and readable nevertheless.
        await until(lambda: sockets.all_are_readable)
        await all_at_once(pool, [url] * 4)
        statistics = pool.statistics()
    assert (statistics.dialled, statistics.reused, statistics.stale) == (4, 4, 0)


@pytest.mark.parametrize("limit", [1, 7])
async def test_server_that_cuts_after_three_requests_is_never_noticed(
    haproxy: Haproxy, limit: int
) -> None:
    ports: Counter[str] = Counter()

    async def customer() -> None:
        for _ in range(10):
            response = await pool.get(haproxy.url(server="three"))
            assert response.status_code == 200
            ports[response.headers["X-Port"]] += 1

    async with ConnectionPool(max_connections=limit) as pool:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(customer)
        statistics = pool.statistics()
        nothing_is_held(pool)
    assert ports.total() == 100
    assert statistics.dialled >= 34
    assert statistics.retried == 0  # it says "Connection: close" on the third response
    # Each had its three, but for those that are open.
    assert statistics.discarded == statistics.dialled - statistics.open


async def test_server_that_closes_after_each_response_is_never_noticed(haproxy: Haproxy) -> None:
    async with ConnectionPool(max_connections=5) as pool:
        await all_at_once(pool, [haproxy.url(server="closing")] * 100)
        statistics = pool.statistics()
    assert (statistics.open, statistics.dialled, statistics.discarded) == (0, 100, 100)
    assert (statistics.reused, statistics.retried) == (0, 0)


def around_its_keep_alive(seed: int) -> Callable[[], Awaitable[None]]:
    """Pauses of about the 100 ms after which the front end "silent" closes an idle connection."""
    rng = random.Random(seed)

    async def pause() -> None:
        await trio.sleep(rng.uniform(0.095, 0.105))

    return pause


async def test_gets_survive_a_server_that_closes_idle_connections_without_a_word(
    haproxy: Haproxy,
) -> None:
    answered = 0

    async def customer(number: int) -> None:
        nonlocal answered
        pause = around_its_keep_alive(number)
        for _ in range(15):
            response = await pool.get(haproxy.url(server="silent"))
            assert response.content == b"GET 0"
            answered += 1
            await pause()

    async with ConnectionPool() as pool:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(customer, number)
        nothing_is_held(pool)
    assert answered == 300


async def test_post_is_never_sent_twice_to_a_server_that_closes_idle_connections(
    haproxy: Haproxy,
) -> None:
    run = uuid.uuid4()
    succeeded: list[str] = []
    failed: list[str] = []

    async def customer(number: int) -> None:
        pause = around_its_keep_alive(number)
        for attempt in range(15):
            order = f"/waiting?{run}-{number:02}-{attempt:02}"
            try:
                response = await pool.post(haproxy.url(order, server="silent"), content=b"buy")
            except (triopool.ReadError, triopool.WriteError):
                failed.append(order)  # whether it arrived is not known: that's for the caller
            else:
                assert response.content == b"POST 3"
                succeeded.append(order)
            await pause()

    def received() -> Counter[str]:
        return Counter(line.split()[2] for line in haproxy.requests(str(run)))

    async with ConnectionPool() as pool:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(customer, number)
        nothing_is_held(pool)
        # haproxy has one thread: what it did before it answers this is in the log, or soon is.
        await pool.get(haproxy.url(f"/?{run}-last"))
        await until(lambda: len(haproxy.requests(f"{run}-last")) == 1)
        await until(lambda: all(order in received() for order in succeeded))
    assert len(succeeded) + len(failed) == 300
    assert all(received()[order] == 1 for order in succeeded)
    assert all(received()[order] <= 1 for order in failed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("server", ["impatient", "impatient-tls"])
async def test_request_timeout_on_a_connection_without_a_request_is_nobodys_answer(
    haproxy: Haproxy,
    client_ssl_context: ssl.SSLContext,
    server: Literal["impatient", "impatient-tls"],
    method: str,
) -> None:
    sockets = Sockets()
    url = haproxy.url(server=server)
    async with ConnectionPool(ssl_context=client_ssl_context, socket_factory=sockets) as pool:
        await pool.warm_up(url, 3)
        # haproxy sends 408 on each, and closes it.
        await until(lambda: sockets.all_were_ended)
        statuses: list[int] = []

        async def ask() -> None:
            response = await pool.request(method, url)
            statuses.append(response.status_code)

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(ask)
        statistics = pool.statistics()
        nothing_is_held(pool)
    assert statuses == [200] * 3
    assert (statistics.stale, statistics.dialled, statistics.retried) == (3, 6, 0)


# ── Informational responses ────────────────────────────────────────────────────────────────────


@both
async def test_early_hints_reach_the_caller_and_then_the_response(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    url = haproxy.url("/hints", server=server)
    links = [
        b"</style.css>; rel=preload; as=style",
        b"</script.js>; rel=preload; as=script",
        b"<https://cdn.test>; rel=preconnect",
    ]
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        for _ in range(5):
            told = Informational()
            response = await pool.get(url, on_informational=told)
            assert told.seen == [(103, {b"link": link}) for link in links]
            assert (response.status_code, response.content) == (200, b"GET 0")
            assert "Link" not in response.headers
        # Who does not want to be told isn't.
        assert (await pool.get(url)).content == b"GET 0"
        statistics = pool.statistics()
    assert (statistics.dialled, statistics.reused) == (1, 5)


async def test_informational_responses_pass_through_a_proxy(haproxy: Haproxy) -> None:
    answer = (
        b"HTTP/1.1 102 Processing\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    )
    told: list[tuple[int, list[tuple[bytes, bytes]]]] = []
    async with behind_it(answer) as port, ConnectionPool() as pool:
        response = await pool.get(
            haproxy.url(f"/port/{port}/"),
            on_informational=lambda status_code, headers: told.append((status_code, headers)),
        )
        assert (response.status_code, response.content) == (200, b"ok")
        assert [status_code for status_code, _ in told] == [102, 103]
        assert [value for _, value in told[1][1]] == [b"</a>", b"</b>"]
        assert pool.statistics().idle == 1


# ── Uploads ────────────────────────────────────────────────────────────────────────────────────

UPLOADS: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda body: body,
    "iterator": lambda body: pieces_of(body, 10_000),
    "factory": lambda body: lambda: pieces_of(body, 100_000),
}


@both
@pytest.mark.parametrize("kind", UPLOADS)
async def test_refusal_of_an_upload_that_nobody_reads_reaches_the_caller(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server, kind: str
) -> None:
    body = bytes(16 << 20)
    url = haproxy.url("/limited", server=server)
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            for _ in range(5):
                response = await pool.post(url, content=UPLOADS[kind](body))
                assert response.status_code == 413
                assert len(response.content) == int(response.headers["Content-Length"]) > 0
                nothing_is_held(pool)
            assert (await pool.get(haproxy.url(server=server))).status_code == 200
        statistics = pool.statistics()
    # It owed the rest of the body each time.
    assert (statistics.dialled, statistics.discarded, statistics.retried) == (6, 5, 0)


@both
@pytest.mark.parametrize("kind", UPLOADS)
async def test_success_of_an_upload_that_nobody_reads_is_no_success(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server, kind: str
) -> None:
    """It says 200, reads no more, and closes: what it has had of the body nobody knows."""
    body = bytes(16 << 20)
    url = haproxy.url("/", server=server)
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            for _ in range(3):
                with pytest.raises(WriteError, match="answered with 200 to a request whose end"):
                    await pool.post(url, content=UPLOADS[kind](body))
                nothing_is_held(pool)
            assert (await pool.get(url)).status_code == 200


@pytest.mark.exhaustive
@both
async def test_request_timeout_in_the_middle_of_an_upload_reaches_the_caller(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    left = 0

    async def never_finished() -> AsyncIterator[bytes]:
        nonlocal left
        try:
            yield b"a beginning"
            await trio.sleep_forever()
        finally:
            left += 1

    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            for number in (1, 2, 3):
                response = await pool.post(
                    haproxy.url("/hurrying", server=server), content=never_finished()
                )
                assert response.status_code == 408
                assert left == number
                assert pool.statistics().open == 0
        assert (pool.statistics().dialled, pool.statistics().discarded) == (3, 3)


@both
async def test_upload_waits_for_the_server_to_ask_for_it(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    body = b"x" * 2000
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        told = Informational()
        asked = await pool.post(
            haproxy.url("/waiting", server=server),
            content=body,
            expect_continue=True,
            on_informational=told,
        )
        assert (asked.content, told.status_codes) == (b"POST 2000", [100])
        assert pool.statistics().idle == 1

        # Refused, and answered, without having been asked for: the connection owes a body.
        for path, status_code in [("/limited", 413), ("/", 200)]:
            told = Informational()
            response = await pool.post(
                haproxy.url(path, server=server),
                content=body,
                expect_continue=True,
                on_informational=told,
            )
            assert (response.status_code, told.status_codes) == (status_code, [])
            nothing_is_held(pool)
            assert (await pool.get(haproxy.url(server=server))).content == b"GET 0"
        statistics = pool.statistics()
    assert (statistics.dialled, statistics.discarded, statistics.retried) == (3, 2, 0)


# ── Connections that end ───────────────────────────────────────────────────────────────────────


@both
async def test_rejected_request_is_an_error_and_costs_no_slot(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    url = haproxy.url("/reject", server=server)
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            # On a fresh connection that says something about the server: no second attempt.
            with pytest.raises(triopool.ReadError, match=r"127\.0\.0\.1"):
                await pool.get(url)
            assert (pool.statistics().dialled, pool.statistics().retried) == (1, 0)
            # On a reused one it looks like a close that crossed the request: GET is tried again.
            for method, retried in [("GET", 1), ("POST", 1)]:
                assert (await pool.get(haproxy.url(server=server))).status_code == 200
                with pytest.raises(triopool.ReadError, match=r"127\.0\.0\.1"):
                    await pool.request(method, url)
                assert pool.statistics().open == 0
                assert pool.statistics().retried == retried
            assert (await pool.get(haproxy.url(server=server))).status_code == 200
        statistics = pool.statistics()
    assert (statistics.dialled, statistics.discarded, statistics.stale) == (5, 2, 2)


@both
async def test_connection_that_the_server_forgets_without_a_word_ends_with_the_read_timeout(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            # ReadError: where haproxy lacks the right to forget it, it resets the connection.
            with pytest.raises((triopool.ReadTimeout, triopool.ReadError)) as caught:
                await pool.get(haproxy.url("/drop", server=server), timeouts=Timeouts(read=0.2))
            assert "127.0.0.1" in str(caught.value)
            assert pool.statistics().open == 0
            assert (await pool.get(haproxy.url(server=server))).status_code == 200
        statistics = pool.statistics()
    assert (statistics.dialled, statistics.discarded, statistics.retried) == (2, 1, 0)


TRUNCATED = {
    "length": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100,
        "after 100 of the 1000 bytes of the body",
    ),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + b"x" * 100 + b"\r\n",
        "after 100 bytes of a chunked body",
    ),
}


@both
@pytest.mark.parametrize("framing", TRUNCATED)
async def test_response_whose_origin_dies_half_way_is_an_error_that_says_so(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server, framing: str
) -> None:
    answer, said = TRUNCATED[framing]
    async with (
        behind_it(answer) as port,
        ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool,
    ):
        url = haproxy.url(f"/port/{port}/", server=server)
        # One that was used before, so that only the bytes received speak against another attempt.
        assert (await pool.get(haproxy.url(server=server))).status_code == 200
        with pytest.raises(triopool.ReadError, match=said):
            await pool.get(url)
        assert pool.statistics().open == 0

        async with pool.stream("GET", url) as response:
            assert response.status_code == 200
            came: list[bytes] = []
            with pytest.raises(triopool.ReadError, match=said):
                await collect(response, came)
            assert b"".join(came) == b"x" * 100
            with pytest.raises(triopool.ReadError, match=said):
                await response.receive_some()
            assert pool.statistics().open == 0
        statistics = pool.statistics()
    assert (statistics.dialled, statistics.discarded, statistics.retried) == (2, 2, 0)


# ── A proxy's own answers ──────────────────────────────────────────────────────────────────────


@both
async def test_failures_behind_a_proxy_are_ordinary_responses(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    with socket.socket() as nobody, socket.socket() as silence:
        nobody.bind(("127.0.0.1", 0))  # ours, so that nobody else listens there; nor do we
        silence.bind(("127.0.0.1", 0))
        silence.listen()
        async with (
            behind_it(b"") as closing,
            behind_it(b"what is this?\r\n\r\n") as babbling,
            ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool,
        ):
            for path, status_code in [
                (f"/port/{closing}/", 502),
                (f"/port/{babbling}/", 502),
                (f"/port/{nobody.getsockname()[1]}/", 503),
                (f"/port/{silence.getsockname()[1]}/hurry", 504),
                ("/tarpit", 429),
            ]:
                with trio.fail_after(PATIENCE):
                    response = await pool.get(haproxy.url(path, server=server))
                assert response.status_code == status_code
                assert str(status_code) in response.text
                with pytest.raises(triopool.StatusError, match=str(status_code)):
                    response.raise_for_status()
                nothing_is_held(pool)
            statistics = pool.statistics()
    # All on one connection: what ails the one behind it is no fault of this one.
    assert (statistics.dialled, statistics.reused, statistics.idle) == (1, 4, 1)


async def test_body_without_a_length_is_read_whole_and_the_connection_not_reused(
    haproxy: Haproxy,
) -> None:
    async with (
        behind_it(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000) as port,
        ConnectionPool() as pool,
    ):
        for _ in range(3):
            response = await pool.get(haproxy.url(f"/port/{port}/"))
            assert response.content == b"x" * 100_000
        assert (pool.statistics().open, pool.statistics().dialled) == (0, 3)


@both
async def test_trailers_come_with_the_end_of_the_body(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n"
        b"3\r\nabc\r\n0\r\nX-Checksum: 42\r\n\r\n"
    )
    async with (
        behind_it(answer) as port,
        ConnectionPool(ssl_context=client_ssl_context) as pool,
    ):
        for _ in range(3):
            response = await pool.get(haproxy.url(f"/port/{port}/", server=server))
            assert response.content == b"abc"
            assert dict(response.trailers) == {"x-checksum": "42"}
        assert (pool.statistics().dialled, pool.statistics().reused) == (1, 2)


@both
async def test_large_download_through_a_proxy_comes_whole(
    haproxy: Haproxy, nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    url = haproxy.url(f"/port/{nginx.ports['plain']}/large", server=server)
    async with ConnectionPool(max_connections=2, ssl_context=client_ssl_context) as pool:
        bodies = await all_at_once(pool, [url] * 4)
        nothing_is_held(pool)
        assert pool.statistics().dialled == 2
    assert all(body == (nginx.directory / "www" / "large").read_bytes() for body in bodies)


@both
async def test_compressed_body_is_decoded(
    haproxy: Haproxy, nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server
) -> None:
    plain = (nginx.directory / "www" / "2000").read_bytes()
    url = haproxy.url(f"/gzip/{nginx.ports['plain']}/2000", server=server)
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        response = await pool.get(url)
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.content == plain

        assert await all_at_once(pool, [url] * 20) == [plain] * 20

        # 4 MiB, in pieces.
        large = haproxy.url(f"/gzip/{nginx.ports['plain']}/large", server=server)
        async with pool.stream("GET", large) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            pieces: list[bytes] = []
            await collect(response, pieces)
        assert max(map(len, pieces)) <= 64 * 1024
        assert b"".join(pieces) == (nginx.directory / "www" / "large").read_bytes()

        # As it came, for who wants that; and nobody compresses for who can't have it.
        response = await pool.get(url, decode=False, headers={"Accept-Encoding": "gzip"})
        assert len(response.content) < len(plain)
        assert gzip.decompress(response.content) == plain
        response = await pool.get(url, headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in response.headers
        assert response.content == plain
        head = await pool.head(url)
        assert (head.status_code, head.content) == (200, b"")
        nothing_is_held(pool)
        assert pool.statistics().discarded == 0


# ── Cancellation ───────────────────────────────────────────────────────────────────────────────


@both
@pytest.mark.parametrize("seed", [1, 2])
async def test_storm_of_cancellations_leaves_every_slot(
    haproxy: Haproxy, client_ssl_context: ssl.SSLContext, server: Server, seed: int
) -> None:
    rng = random.Random(seed)

    def url(path: str) -> str:
        return haproxy.url(path, server=server)

    async def customer(patience: float, path: str) -> None:
        size = rng.choice([rng.randrange(1000), rng.randrange(100_000, 200_000)])
        with trio.move_on_after(patience):
            if path in ("/hints", "/tarpit"):
                response = await pool.get(url(path))
                assert response.status_code == (200 if path == "/hints" else 429)
            else:
                # The answer tells the length: each would notice one that is not its own.
                response = await pool.post(url(path), content=bytes(size))
                refused = path == "/limited" and size > 1024
                assert response.status_code == (413 if refused else 200)
                assert refused or response.text == f"POST {size}"

    async with ConnectionPool(max_connections=4, ssl_context=client_ssl_context) as pool:
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for _ in range(60):
                    path = rng.choice(["/hints", "/tarpit", "/limited", "/waiting", "/"])
                    nursery.start_soon(customer, rng.uniform(0.0, 0.1), path)
            assert pool.statistics().waiting == 0
            assert pool.statistics().open <= 4
        await until(lambda: pool.statistics().busy == pool.statistics().dialling == 0)
        nothing_is_held(pool)
        await all_at_once(pool, [url("/hints")] * 8)
        nothing_is_held(pool)
