"""What may be relied on in a socket, held against the kernel's sockets and against the network's.

Every test here runs twice. Where the network's sockets have to differ, the test is in
``test_network.py``.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import socket
import ssl
import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

import pytest
import trio
from trio.socket import SocketType
from trio.testing import wait_all_tasks_blocked

from triopool.abc import AddressInfo
from triopool.testing import Network


async def idle(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


class Maker(ABC):
    """Makes sockets of one of the two sorts."""

    @abstractmethod
    def socket(self) -> SocketType:
        """Make an IPv4 socket, not connected."""

    @abstractmethod
    async def pair(self) -> tuple[SocketType, SocketType]:
        """Make two that are connected: the client's, the server's."""

    @abstractmethod
    async def settle(self) -> None:
        """Wait until what was sent has arrived."""


class KernelMaker(Maker):
    def socket(self) -> SocketType:
        return trio.socket.socket()

    async def pair(self) -> tuple[SocketType, SocketType]:
        with trio.socket.socket() as listener:
            await listener.bind(("127.0.0.1", 0))
            listener.listen()
            client = trio.socket.socket()
            await client.connect(listener.getsockname())
            server, _ = await listener.accept()
        # Small enough to be filled by a test.
        for end in (client, server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return client, server

    async def settle(self) -> None:
        await trio.sleep(0.02)  # loopback takes some microseconds


class NetworkMaker(Maker):
    def __init__(self, network: Network) -> None:
        self._network = network
        network.listen("127.0.0.1", 80, idle)

    def socket(self) -> SocketType:
        address = AddressInfo(
            socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80)
        )
        return self._network.socket(address)

    async def pair(self) -> tuple[SocketType, SocketType]:
        client = self.socket()
        await client.connect(("127.0.0.1", 80))
        return client, self._network.open_server_sockets[-1]

    async def settle(self) -> None:
        await wait_all_tasks_blocked()


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the model is Linux's TCP")


@pytest.fixture(params=[pytest.param("kernel", marks=on_linux), "network"])
async def maker(request: pytest.FixtureRequest) -> AsyncIterator[Maker]:
    if request.param == "kernel":
        yield KernelMaker()
    else:
        async with Network(buffer_size=4096) as network:
            yield NetworkMaker(network)


def raises(number: int) -> pytest.RaisesExc[OSError]:
    return pytest.raises(OSError, match=re.escape(os.strerror(number)))


# ── Bytes ──────────────────────────────────────────────────────────────────────────────────────


async def test_bytes_arrive_in_order_and_are_taken_in_portions(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        assert await client.send(b"one ") == 4
        assert await client.send(memoryview(b"two")) == 3
        await maker.settle()
        assert await server.recv(5) == b"one t"
        assert await server.recv(100) == b"wo"
        await server.send(b"three")
        assert await client.recv(100) == b"three"


async def test_recv_into_fills_a_buffer(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        buffer = bytearray(8)
        await client.send(b"hello")
        assert await server.recv_into(buffer, 4) == 4
        assert await server.recv_into(buffer) == 1
        assert buffer == b"oell\0\0\0\0"


async def test_recv_waits_for_bytes(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                assert await client.recv(10) == b"late"

            await maker.settle()
            await server.send(b"late")


async def test_sending_nothing_sends_nothing(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        assert await client.send(b"") == 0
        await maker.settle()
        assert not server.is_readable()


async def test_a_cancelled_recv_loses_no_byte(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        with trio.move_on_after(0.01):
            await server.recv(10)
        await client.send(b"kept")
        await maker.settle()
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.recv(10)
        assert scope.cancelled_caught
        assert await server.recv(10) == b"kept"


async def test_bytes_that_came_before_the_cancellation_are_returned(maker: Maker) -> None:
    client, server = await maker.pair()
    received: list[bytes] = []
    with client, server:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as inner:

                        @inner.start_soon
                        async def _() -> None:
                            await client.send(b"x")
                            await maker.settle()
                            scope.cancel()

                        received.append(await server.recv(10))

    assert received == [b"x"]


# ── Room ───────────────────────────────────────────────────────────────────────────────────────


async def fill(sender: SocketType) -> int:
    """Send until there is no room; return how much went."""
    sent = 0
    with trio.move_on_after(0.05) as scope:
        while True:
            sent += await sender.send(bytes(3000))
            scope.deadline = trio.current_time() + 0.05
    return sent


async def test_a_sender_without_room_waits_until_somebody_reads(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        sent = await fill(client)
        with trio.move_on_after(0.02) as scope:
            await client.wait_writable()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                await client.wait_writable()
                assert await client.send(b"more") == 4
                client.shutdown(socket.SHUT_WR)

            received = 0
            while data := await server.recv(65536):
                received += len(data)
        assert received == sent + 4


async def test_a_large_send_is_taken_in_part(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        assert 0 < await client.send(bytes(50_000_000)) < 50_000_000


async def test_a_socket_with_room_is_writable(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        await client.wait_writable()


# ── Readability ────────────────────────────────────────────────────────────────────────────────


async def test_readable_means_bytes_or_the_end(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        assert not client.is_readable()
        await server.send(b"x")
        await maker.settle()
        assert client.is_readable()
        await client.recv(10)
        assert not client.is_readable()
        server.close()
        await maker.settle()
        assert client.is_readable()
        assert await client.recv(10) == b""
        assert client.is_readable()


async def test_a_reset_makes_a_socket_readable(maker: Maker) -> None:
    client, server = await maker.pair()
    with client:
        reset(server)
        await maker.settle()
        assert client.is_readable()


# ── The end ────────────────────────────────────────────────────────────────────────────────────


async def test_a_closed_peer_is_read_to_its_end(maker: Maker) -> None:
    client, server = await maker.pair()
    with client:
        await server.send(b"last words")
        server.close()
        server.close()  # twice is as good as once
        assert await client.recv(100) == b"last words"
        assert await client.recv(100) == b""
        assert await client.recv(100) == b""


async def test_the_first_send_to_a_closed_peer_succeeds_and_the_second_fails(maker: Maker) -> None:
    client, server = await maker.pair()
    with client:
        server.close()
        await maker.settle()
        assert await client.send(b"lost") == 4
        await maker.settle()
        assert await client.recv(1) == b""
        await client.wait_writable()
        with pytest.raises(BrokenPipeError):
            await client.send(b"x")
        assert await client.recv(1) == b""


async def test_half_a_connection_can_be_shut_down(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        before = client.did_shutdown_SHUT_WR
        client.shutdown(socket.SHUT_WR)
        assert (before, client.did_shutdown_SHUT_WR) == (False, True)
        assert await server.recv(1) == b""
        await server.send(b"go on")
        assert await client.recv(10) == b"go on"
        await client.wait_writable()
        with pytest.raises(BrokenPipeError):
            await client.send(b"x")


async def test_the_receiving_half_can_be_shut_down(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        client.shutdown(socket.SHUT_RD)
        assert not client.did_shutdown_SHUT_WR
        assert await client.recv(1) == b""
        await client.send(b"go on")
        assert await server.recv(10) == b"go on"


async def test_both_halves_can_be_shut_down(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        client.shutdown(socket.SHUT_RDWR)
        assert client.did_shutdown_SHUT_WR
        assert await client.recv(1) == b""
        assert await server.recv(1) == b""


LINGER = "hh" if sys.platform == "win32" else "ii"


def reset(sock: SocketType) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(LINGER, 1, 0))
    sock.close()


async def test_closing_with_bytes_unread_resets_after_what_was_sent(maker: Maker) -> None:
    client, server = await maker.pair()
    with client:
        await client.send(b"never read")
        await server.send(b"last words")
        await maker.settle()
        server.close()
        await maker.settle()
        assert await client.recv(4) == b"last"
        assert await client.recv(100) == b" words"
        with pytest.raises(ConnectionResetError):
            await client.recv(100)


async def test_whoever_receives_first_is_told_of_the_reset(maker: Maker) -> None:
    client, server = await maker.pair()
    with client:
        reset(server)
        await maker.settle()
        with pytest.raises(ConnectionResetError):
            await client.recv(1)
        assert await client.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            await client.send(b"x")


async def test_an_error_that_is_asked_for_is_told_to_nobody_else(maker: Maker) -> None:
    client, server = await maker.pair()
    with client:
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        reset(server)
        await maker.settle()
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
        assert await client.recv(1) == b""


async def test_after_a_reset_the_peer_has_no_name(maker: Maker) -> None:
    client, server = await maker.pair()
    with client:
        name = client.getsockname()
        reset(server)
        await maker.settle()
        assert client.getsockname() == name
        with raises(errno.ENOTCONN):
            client.getpeername()
        with raises(errno.ENOTCONN):
            client.shutdown(socket.SHUT_WR)


async def test_whoever_sends_first_is_told_of_the_reset(maker: Maker) -> None:
    client, server = await maker.pair()
    with client:
        reset(server)
        await maker.settle()
        await client.wait_writable()
        with pytest.raises(ConnectionResetError):
            await client.send(b"x")
        with pytest.raises(BrokenPipeError):
            await client.send(b"x")
        assert await client.recv(1) == b""


async def test_a_reset_wakes_who_waits(maker: Maker) -> None:
    client, server = await maker.pair()
    with client:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(ConnectionResetError):
                    await client.recv(1)

            await maker.settle()
            reset(server)


async def test_resetting_after_the_peer_has_closed_disturbs_nobody(maker: Maker) -> None:
    client, server = await maker.pair()
    client.close()
    await maker.settle()
    reset(server)


# ── One's own close, and other tasks ───────────────────────────────────────────────────────────


async def test_close_wakes_the_receiver(maker: Maker) -> None:
    client, server = await maker.pair()
    with server:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await client.recv(1)

            await maker.settle()
            client.close()


async def test_close_wakes_the_sender(maker: Maker) -> None:
    client, server = await maker.pair()
    with server:
        await fill(client)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await client.send(b"x")

            await maker.settle()
            client.close()


async def test_two_tasks_cannot_wait_for_the_same_thing(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.recv, 1)
            await maker.settle()
            with pytest.raises(trio.BusyResourceError):
                await client.recv(1)
            nursery.cancel_scope.cancel()


async def test_one_task_can_receive_while_another_sends(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.recv, 1)
            await maker.settle()
            await client.send(b"x")
            nursery.cancel_scope.cancel()


async def test_a_peer_that_is_done_sending_makes_no_room(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        await fill(client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, b"x")
            await maker.settle()
            server.shutdown(socket.SHUT_WR)
            await maker.settle()
            assert nursery.child_tasks
            nursery.cancel_scope.cancel()


async def test_a_closed_socket_says_so(maker: Maker) -> None:
    client, server = await maker.pair()
    with server:
        assert client.fileno() >= 0
        client.close()
        assert client.fileno() == -1
        for call in (client.getsockname, client.getpeername):
            with raises(errno.EBADF):
                call()
        for call in (
            functools.partial(client.shutdown, socket.SHUT_WR),
            functools.partial(client.getsockopt, socket.SOL_SOCKET, socket.SO_LINGER),
            functools.partial(client.setsockopt, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        ):
            with raises(errno.EBADF):
                call()
        with pytest.raises(ValueError, match="negative"):
            client.is_readable()
        with pytest.raises(ValueError, match="negative"):
            await client.wait_writable()
        for attempt in (
            client.recv(1),
            client.send(b"x"),
            client.connect(("127.0.0.1", 1)),
            client.bind(("127.0.0.1", 0)),
        ):
            with raises(errno.EBADF):
                await attempt


# ── Becoming connected ─────────────────────────────────────────────────────────────────────────


async def test_both_ends_know_each_other(maker: Maker) -> None:
    client, server = await maker.pair()
    with client, server:
        assert client.getsockname() == server.getpeername()
        assert client.getpeername() == server.getsockname()
        assert client.getsockname()[0] == "127.0.0.1"
        assert client.getsockname()[1] > 0
        assert (client.family, client.type) == (socket.AF_INET, socket.SOCK_STREAM)
        assert (server.family, server.type) == (socket.AF_INET, socket.SOCK_STREAM)


async def test_a_socket_that_is_not_connected_says_so(maker: Maker) -> None:
    with maker.socket() as sock:
        assert sock.getsockname() == ("0.0.0.0", 0)
        with raises(errno.ENOTCONN):
            sock.getpeername()
        with raises(errno.ENOTCONN):
            sock.shutdown(socket.SHUT_WR)
        with raises(errno.ENOTCONN):
            await sock.recv(1)
        with pytest.raises(BrokenPipeError):
            await sock.send(b"x")


async def test_where_nobody_listens_connecting_is_refused(maker: Maker) -> None:
    with maker.socket() as sock:
        with pytest.raises(ConnectionRefusedError):
            await sock.connect(("127.0.0.1", 1))
        assert sock.fileno() >= 0


async def test_a_cancelled_connect_closes_the_socket(maker: Maker) -> None:
    with maker.socket() as sock:
        with trio.CancelScope() as scope:
            scope.cancel()
            await sock.connect(("127.0.0.1", 80))
        assert scope.cancelled_caught
        assert sock.fileno() == -1


async def test_a_socket_is_bound_once(maker: Maker) -> None:
    with maker.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        host, port = sock.getsockname()
        assert host == "127.0.0.1"
        assert port > 0
        with raises(errno.EINVAL):
            await sock.bind(("127.0.0.1", 0))


async def test_an_address_of_another_family_is_refused(maker: Maker) -> None:
    with maker.socket() as sock:
        with pytest.raises(socket.gaierror):
            await sock.bind(("::", 0))
        with pytest.raises(socket.gaierror):
            await sock.connect(("::1", 80))


# ── Options ────────────────────────────────────────────────────────────────────────────────────


async def test_an_option_that_was_set_can_be_read(maker: Maker) -> None:
    with maker.socket() as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(LINGER, 1, 7))
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        assert struct.unpack(LINGER, raw) == (1, 7)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, -1)


# ── What Trio builds on sockets ────────────────────────────────────────────────────────────────


async def test_a_socket_stream_works(maker: Maker) -> None:
    client_end, server_end = await maker.pair()
    async with trio.SocketStream(client_end) as client, trio.SocketStream(server_end) as server:
        payload = bytes(range(256)) * 100
        received = bytearray()

        async def send() -> None:
            await client.wait_send_all_might_not_block()
            await client.send_all(payload)
            await client.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            async for data in server:
                received += data
        assert received == payload


async def test_tls_works(
    maker: Maker, client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    client_end, server_end = await maker.pair()
    client = trio.SSLStream(
        trio.SocketStream(client_end), client_ssl_context, server_hostname="localhost"
    )
    server = trio.SSLStream(trio.SocketStream(server_end), server_ssl_context, server_side=True)
    received = bytearray()

    async def serve() -> None:
        async for data in server:
            received.extend(data)
        await server.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await client.send_all(b"secret" * 3000)
        await client.aclose()
    assert received == b"secret" * 3000
