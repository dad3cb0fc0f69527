"""A write that was cut short: the answer can still be read, and nothing else can be done."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool import PoolClosed, ReadError, TLSError, WriteError
from triopool._origin import Origin
from triopool._pool_key import PoolKey
from triopool._transport.tls import TLSStream, handshake
from triopool._transport.wire import Wire
from triopool.testing import Network, in_turn

from .helpers import ipv4, pool_on, server_context

ADDRESS = "192.0.2.1"
KEY = PoolKey(Origin("https", ADDRESS, 443))
EARLY = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\n"


@pytest.fixture
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    return server_context(ca.issue_cert(ADDRESS))


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network(buffer_size=70_000) as network:
        yield network


# ── Early answers ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connection_whose_upload_was_cut_short_is_never_reused(
    autojump_clock: MockClock,
    network: Network,
    server_tls: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    scheme: str,
) -> None:
    """Else the next request's head would be taken for the rest of this one's body.

    How much fits into the buffers on the way differs with TLS, so sizes on both sides are tried.
    """
    received: list[bytes] = []

    async def answer_early(stream: trio.abc.Stream) -> None:
        data = b""
        while len(data) < 70_000:
            data += await stream.receive_some(10_000)
            await trio.sleep(0.1)
        await stream.send_all(EARLY)
        await trio.sleep(1.0)
        await stream.send_all(b"too much")
        received.append(data)
        await trio.sleep(2.0)  # longer than one waits for a server that has answered
        while more := await stream.receive_some(65536):
            received[-1] += more

    async def answer(stream: trio.abc.Stream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(EARLY + b"too much")

    port = 443 if scheme == "https" else 80
    tls = server_tls if scheme == "https" else None
    reused = set()
    for size in range(80_000, 240_000, 8_000):
        handler = in_turn(answer_early, answer)
        network.listen(ADDRESS, port, handler, ssl_context=tls)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            response = await pool.post(f"{scheme}://{ADDRESS}/", content=bytes(size))
            assert (response.status_code, response.content) == (413, b"too much")
            reused.add(pool.statistics().idle == 1)
            with trio.move_on_after(1.0):
                await pool.get(f"{scheme}://{ADDRESS}/next")
        await trio.sleep(2.0)
        head, _, rest = received[-1].partition(b"\r\n\r\n")
        assert f"content-length: {size}".encode() in head.lower()
        assert rest.find(b"GET /next") in (-1, size)
    assert len(received) == 20
    assert reused == {True, False}


async def test_the_answer_of_a_tls_server_that_stops_reading_can_be_read_after_the_write_broke(
    autojump_clock: MockClock,
    network: Network,
    server_tls: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
) -> None:
    async def answer_and_go(stream: trio.abc.Stream) -> None:
        await stream.receive_some(10)
        await stream.send_all(EARLY + b"too much")

    network.listen(ADDRESS, 443, answer_and_go, ssl_context=server_tls)
    async with tls_stream(network, client_ssl_context) as (stream, wire):
        await stream.send_all(b"x" * 10)
        await wait_all_tasks_blocked()
        await stream.send_all(b"the first one after the end still goes out")
        with pytest.raises(trio.BrokenResourceError, match="Broken pipe"):
            await stream.send_all(b"the second one does not")
        assert await stream.receive_some() == EARLY + b"too much"
        with pytest.raises(trio.BrokenResourceError, match="cut short"):
            await stream.send_all(b"never again")
        assert wire.torn


# ── The stream ─────────────────────────────────────────────────────────────────────────────────


class tls_stream:  # noqa: N801 - used as a function
    """A TLS stream to the server at ADDRESS, and its wire."""

    def __init__(self, network: Network, context: ssl.SSLContext) -> None:
        self._network, self._context = network, context

    async def __aenter__(self) -> tuple[TLSStream, Wire]:
        sock = self._network.socket(ipv4(1, 443))
        await sock.connect((ADDRESS, 443))
        self._wire = Wire(sock)
        return await handshake(self._wire, self._context, KEY), self._wire

    async def __aexit__(self, *exc: object) -> None:
        self._wire.close()


async def silent(stream: trio.abc.Stream) -> None:
    await trio.sleep(10.0)
    await stream.send_all(b"hello")
    await trio.sleep_forever()


@pytest.fixture
def silent_network(network: Network, server_tls: ssl.SSLContext) -> Network:
    network.listen(ADDRESS, 443, silent, ssl_context=server_tls)
    return network


async def test_a_cancelled_write_is_cancelled_and_reading_goes_on(
    autojump_clock: MockClock, silent_network: Network, client_ssl_context: ssl.SSLContext
) -> None:
    async with tls_stream(silent_network, client_ssl_context) as (stream, wire):
        await stream.wait_send_all_might_not_block()
        with trio.move_on_after(1.0) as scope:
            await stream.send_all(bytes(200_000))
        assert scope.cancelled_caught
        assert wire.torn
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")
        assert wire.is_readable()  # that is, of no use to the pool
        assert await stream.receive_some() == b"hello"
        assert trio.current_time() == 10.0
        with wire.impatient(), pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(1)


async def test_closing_under_a_write_is_told_as_closing(
    autojump_clock: MockClock, silent_network: Network, client_ssl_context: ssl.SSLContext
) -> None:
    async with tls_stream(silent_network, client_ssl_context) as (stream, _):

        async def write() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await stream.send_all(bytes(200_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await wait_all_tasks_blocked()
            await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")
        assert not silent_network.open_sockets


async def test_a_wire_is_torn_by_a_write_that_was_cut_short_and_by_nothing_else(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen(ADDRESS, 80, silent)
    sock = network.socket(ipv4(1))
    await sock.connect((ADDRESS, 80))
    wire = Wire(sock)
    torn = []
    for step in (
        partial(wire.send_all, bytes(10)),
        wire.receive_some,
        partial(wire.send_all, bytes(200_000)),
    ):
        with trio.move_on_after(1.0):
            await step()
        torn.append(wire.torn)
    assert torn == [False, False, True]
    with pytest.raises(trio.BrokenResourceError, match="an earlier write was cut short"):
        await wire.send_all(b"x")
    with (
        wire.impatient(),
        pytest.raises(trio.BrokenResourceError, match="an earlier write was cut short"),
    ):
        await wire.receive_some()
    wire.close()
    with pytest.raises(trio.ClosedResourceError):
        await wire.receive_some()


@pytest.mark.parametrize("how", ["pool", "peer"])
async def test_an_upload_over_tls_that_breaks_is_told_by_who_broke_it(
    autojump_clock: MockClock,
    silent_network: Network,
    client_ssl_context: ssl.SSLContext,
    how: str,
) -> None:
    errors: list[type[Exception]] = []

    async def upload(pool: Any) -> None:
        try:
            await pool.post(f"https://{ADDRESS}/", content=bytes(500_000))
        except (PoolClosed, ReadError, WriteError) as exc:
            errors.append(type(exc))

    async with (
        trio.open_nursery() as nursery,
        pool_on(silent_network, ssl_context=client_ssl_context) as pool,
    ):
        nursery.start_soon(upload, pool)
        await trio.sleep(1.0)
        if how == "peer":
            silent_network.open_server_sockets[0].reset()
            await trio.sleep(1.0)
    assert len(errors) == 1
    # A reset is told once: to the task that writes, or to the one that reads.
    assert errors[0] in ({PoolClosed} if how == "pool" else {ReadError, WriteError})


async def test_a_write_that_breaks_in_the_handshake_ends_the_handshake(
    autojump_clock: MockClock, silent_network: Network, client_ssl_context: ssl.SSLContext
) -> None:
    sock = silent_network.socket(ipv4(1, 443))
    await sock.connect((ADDRESS, 443))
    silent_network.open_server_sockets[0].reset()
    wire = Wire(sock)
    with pytest.raises(TLSError, match=r"handshake with 192.0.2.1 failed: .*Connection reset"):
        await handshake(wire, client_ssl_context, KEY)
    wire.close()


async def test_closing_the_tls_layer_closes_the_socket(
    autojump_clock: MockClock, silent_network: Network, client_ssl_context: ssl.SSLContext
) -> None:
    async with tls_stream(silent_network, client_ssl_context) as (stream, _):
        await trio.aclose_forcefully(stream)
        assert not silent_network.open_sockets
