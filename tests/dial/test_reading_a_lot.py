"""Much data: larger reads, and many TLS records at once; nothing is lost or mixed up by that."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool._origin import Origin
from triopool._pool_key import PoolKey
from triopool._transport.tls import RECORD_BYTES, TLSStream, handshake
from triopool._transport.wire import LARGEST_RECEIVE_SIZE, RECEIVE_SIZE, Wire
from triopool.testing import Network

from .helpers import ipv4, server_context

ADDRESS = "192.0.2.1"
KEY = PoolKey(Origin("https", ADDRESS, 443))
DATA = bytes(range(256)) * (RECORD_BYTES // 256)


# ── The wire ───────────────────────────────────────────────────────────────────────────────────


async def test_reads_become_larger_while_a_lot_is_coming(autojump_clock: MockClock) -> None:
    async with Network(buffer_size=8 << 20) as network:
        network.listen(ADDRESS, 80, stay)
        sock = network.socket(ipv4(1))
        await sock.connect((ADDRESS, 80))
        wire, server = Wire(sock), network.open_server_sockets[-1]

        async def sizes(count: int) -> list[int]:
            await server.send(bytes(count))
            found = []
            while sum(found) < count:
                found.append(len(await wire.receive_some()))
            return found

        # Before: one read, however much there is.
        assert await sizes(100) == [100]
        several = await sizes(6 << 20)
        assert several[:5] == [RECEIVE_SIZE] * 5 < several[5:10]
        # Never more than a quarter of what came before, and not beyond the bound.
        for number, size in enumerate(several[4:], 4):
            assert size <= max(RECEIVE_SIZE, sum(several[:number]) // 4)
        assert max(several) == LARGEST_RECEIVE_SIZE
        # A little by itself again and again: the next read is a small one.
        for _ in range(5):
            assert await sizes(10) == [10]
        assert (await sizes(1 << 20))[0] == RECEIVE_SIZE
        # Nobody gets more than he asked for.
        await server.send(bytes(100))
        assert len(await wire.receive_some(30)) == 30
        wire.close()


async def stay(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


# ── TLS ────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def talking(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> AsyncIterator[tuple[TLSStream, Any]]:
    """A TLS stream, and the server's end of it."""
    ends: list[Any] = []

    async def server(stream: trio.abc.Stream) -> None:
        ends.append(stream)
        await trio.sleep_forever()

    async with Network(buffer_size=8 << 20) as network:
        network.listen(ADDRESS, 443, server, ssl_context=server_tls)
        sock = network.socket(ipv4(1, 443))
        await sock.connect((ADDRESS, 443))
        wire = Wire(sock)
        stream = await handshake(wire, client_tls, KEY)
        await wait_all_tasks_blocked()
        await ends[0].do_handshake()
        yield stream, ends[0]
        wire.close()


@pytest.fixture
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    return server_context(ca.issue_cert(ADDRESS))


async def test_the_records_that_are_at_hand_come_at_once(
    autojump_clock: MockClock, server_tls: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with talking(server_tls, client_ssl_context) as (stream, server):
        await server.send_all(DATA * 20)
        pieces = []
        while len(b"".join(pieces)) < 20 * len(DATA):
            pieces.append(await stream.receive_some())
        assert b"".join(pieces) == DATA * 20
        assert max(map(len, pieces)) >= 3 * RECORD_BYTES
        # And no more than somebody wants.
        await server.send_all(DATA * 4)
        wanted = [len(await stream.receive_some(size)) for size in (1, 40_000, 100)]
        assert wanted[0] == 1
        assert wanted[1] <= 40_000
        assert wanted[2] <= 100


async def test_where_less_was_at_hand_than_it_seemed_nobody_waits(
    autojump_clock: MockClock, server_tls: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    """Records of one byte each: what was read is nearly all TLS's own."""
    async with talking(server_tls, client_ssl_context) as (stream, server):
        for number in range(1500):
            await server.send_all(bytes([number % 256]))
        received = await stream.receive_some()
        assert len(received) == 1500
        assert received == bytes(number % 256 for number in range(1500))
        assert trio.current_time() == 0


async def test_what_breaks_behind_good_records_is_told_behind_them_and_again(
    autojump_clock: MockClock, server_tls: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with talking(server_tls, client_ssl_context) as (stream, server):
        await server.send_all(DATA * 2)
        await server.transport_stream.send_all(b"no record" * 10_000)
        assert await stream.receive_some() == DATA * 2
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.receive_some()
            assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_a_cancelled_read_of_many_records_loses_none(
    autojump_clock: MockClock, server_tls: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    for steps in range(30):
        async with talking(server_tls, client_ssl_context) as (stream, server):
            await server.send_all(DATA * 20)
            received = []

            async def read(stream: TLSStream = stream, received: list[bytes] = received) -> None:
                while True:
                    received.append(await stream.receive_some())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            before = len(received)
            while len(b"".join(received)) < 20 * len(DATA):
                received.append(await stream.receive_some(10_000))
            assert b"".join(received) == DATA * 20
            assert all(len(piece) <= 10_000 for piece in received[before:])


async def test_a_handshake_that_is_cancelled_while_it_writes_says_so(
    autojump_clock: MockClock, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network(buffer_size=100) as network:  # The first message is longer.
        network.listen(ADDRESS, 443, stay)
        sock = network.socket(ipv4(1, 443))
        await sock.connect((ADDRESS, 443))
        wire = Wire(sock)
        with trio.move_on_after(1) as scope:
            await handshake(wire, client_ssl_context, KEY)
        # A write that was cut short is otherwise remembered, and told to the next one.
        assert scope.cancelled_caught
        wire.close()
