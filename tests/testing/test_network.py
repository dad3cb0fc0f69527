"""The network itself: names, routes, servers, what it remembers."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool.abc import AddressInfo, Resolver, SocketFactory
from triopool.testing import Handler, Network, NetworkSocket

FOUR = AddressInfo(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("192.0.2.1", 80))
SIX = AddressInfo(
    socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("2001:db8::1", 80, 0, 0)
)
UNIX = AddressInfo(getattr(socket, "AF_UNIX", -1), socket.SOCK_STREAM, 0, "", "/run/app.sock")


on_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


async def idle(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def echo(stream: trio.abc.Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


# A test that wants virtual time has to ask for autojump_clock itself: pytest-trio does not look for
# a clock among the fixtures of fixtures.
@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network() as network:
        yield network


@asynccontextmanager
async def connected(
    network: Network, address: AddressInfo = FOUR
) -> AsyncIterator[trio.SocketStream]:
    with network.socket(address) as sock:
        await sock.connect(address.sockaddr)
        yield trio.SocketStream(sock)


# ── Names ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_lookup_returns_the_addresses_in_their_order(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("example.org", "2001:DB8:0::1", "192.0.2.1")
    assert await network.resolve("example.org", 80) == [SIX, FOUR]


async def test_a_lookup_takes_as_long_as_it_was_told_to(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("example.org", "192.0.2.1", lookup_delay=1.5)
    await network.resolve("example.org", 80)
    assert trio.current_time() == 1.5


async def test_names_are_compared_without_case_and_root_dot(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("Example.org.", "192.0.2.1")
    assert await network.resolve("EXAMPLE.ORG", 80) == [FOUR]
    assert await network.resolve("example.org.", 80) == [FOUR]


async def test_an_unknown_name_is_not_found(autojump_clock: MockClock, network: Network) -> None:
    with pytest.raises(socket.gaierror) as caught:
        await network.resolve("example.net", 80)
    assert caught.value.errno == socket.EAI_NONAME


async def test_a_name_can_be_slow_not_to_exist(autojump_clock: MockClock, network: Network) -> None:
    network.host("example.net", lookup_delay=5.0)
    with pytest.raises(socket.gaierror):
        await network.resolve("example.net", 80)
    assert trio.current_time() == 5.0


async def test_lookups_are_logged(autojump_clock: MockClock, network: Network) -> None:
    network.host("example.org", "192.0.2.1", lookup_delay=1.0)
    await network.resolve("example.org", 80)
    await network.resolve("example.org", 443)
    assert network.events("resolve") == [
        (0.0, "resolve", "example.org", None),
        (1.0, "resolve", "example.org", None),
    ]


async def test_resolve_and_socket_fit_the_seams_of_the_pool(network: Network) -> None:
    resolver: Resolver = network.resolve
    socket_factory: SocketFactory = network.socket
    assert resolver is not None
    assert isinstance(socket_factory(FOUR), NetworkSocket)


# ── Routes ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_listener_gets_a_stream_for_each_connection(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.1", 80, echo)
    assert network.connections_accepted("192.0.2.1", 80) == 0
    async with connected(network) as first, connected(network) as second:
        await first.send_all(b"1")
        await second.send_all(b"2")
        assert await first.receive_some() == b"1"
        assert await second.receive_some() == b"2"
    assert network.connections_accepted("192.0.2.1", 80) == 2


async def test_connecting_takes_as_long_as_it_was_told_to(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.1", 80, idle, connect_delay=0.3)
    async with connected(network):
        assert trio.current_time() == 0.3


async def test_an_endpoint_that_nobody_mentioned_refuses_at_once(
    autojump_clock: MockClock, network: Network
) -> None:
    with network.socket(FOUR) as sock, pytest.raises(ConnectionRefusedError):
        await sock.connect(FOUR.sockaddr)
    assert trio.current_time() == 0


async def test_a_refusal_can_take_its_time_and_have_its_reason(
    autojump_clock: MockClock, network: Network
) -> None:
    network.refuse("192.0.2.1", 80, after=2.0, error=errno.EHOSTUNREACH)
    with (
        network.socket(FOUR) as sock,
        pytest.raises(OSError, match=os.strerror(errno.EHOSTUNREACH)),
    ):
        await sock.connect(FOUR.sockaddr)
    assert trio.current_time() == 2.0
    assert network.events("failed") == [(2.0, "failed", ("192.0.2.1", 80), "EHOSTUNREACH")]


async def test_a_black_hole_never_answers(autojump_clock: MockClock, network: Network) -> None:
    network.hang("192.0.2.1", 80)
    with network.socket(FOUR) as sock, trio.move_on_after(1e6) as scope:
        await sock.connect(FOUR.sockaddr)
    assert scope.cancelled_caught
    assert sock.closed


async def test_the_last_word_about_an_endpoint_counts(
    autojump_clock: MockClock, network: Network
) -> None:
    network.hang("192.0.2.1", 80)
    network.listen("192.0.2.1", 80, idle)
    async with connected(network):
        network.refuse("192.0.2.1", 80)
    with network.socket(FOUR) as sock, pytest.raises(ConnectionRefusedError):
        await sock.connect(FOUR.sockaddr)


async def test_an_attempt_under_way_keeps_its_answer(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.1", 80, idle, connect_delay=1.0)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            async with connected(network):
                assert trio.current_time() == 1.0

        await wait_all_tasks_blocked()
        network.refuse("192.0.2.1", 80)


async def test_an_endpoint_has_to_be_a_literal_address(
    autojump_clock: MockClock, network: Network
) -> None:
    with pytest.raises(ValueError, match=r"example\.org"):
        network.listen("example.org", 80, idle)
    with network.socket(FOUR) as sock, pytest.raises(socket.gaierror):
        await sock.connect(("example.org", 80))


async def test_close_wakes_whoever_connects(autojump_clock: MockClock, network: Network) -> None:
    network.hang("192.0.2.1", 80)
    sock = network.socket(FOUR)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await sock.connect(FOUR.sockaddr)

        await wait_all_tasks_blocked()
        sock.close()


async def test_a_socket_connects_once(autojump_clock: MockClock, network: Network) -> None:
    network.listen("192.0.2.1", 80, idle)
    async with connected(network) as stream:
        with pytest.raises(OSError, match=os.strerror(errno.EISCONN)):
            await stream.socket.connect(FOUR.sockaddr)


async def test_two_tasks_cannot_connect_one_socket(
    autojump_clock: MockClock, network: Network
) -> None:
    network.hang("192.0.2.1", 80)
    with network.socket(FOUR) as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.connect, FOUR.sockaddr)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await sock.connect(FOUR.sockaddr)
            nursery.cancel_scope.cancel()


# ── Addresses ──────────────────────────────────────────────────────────────────────────────────


async def test_ipv6_endpoints_are_compared_by_value(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("2001:0db8::0:1", 80, idle)
    async with connected(network, SIX) as stream:
        assert stream.socket.family == socket.AF_INET6
        assert stream.socket.getpeername() == ("2001:db8::1", 80, 0, 0)
        assert stream.socket.getsockname()[0] == "::1"
    assert network.connections_accepted("2001:db8::1", 80) == 1


async def test_the_server_sees_where_the_client_bound(
    autojump_clock: MockClock, network: Network
) -> None:
    peers: list[object] = []

    async def note(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        peers.append(stream.socket.getpeername())

    network.listen("192.0.2.1", 80, note)
    for local in [("198.51.100.7", 0), ("0.0.0.0", 4711)]:
        with network.socket(FOUR) as sock:
            await sock.bind(local)
            await sock.connect(FOUR.sockaddr)
            assert await sock.recv(1) == b""
    assert peers == [("198.51.100.7", 49152), ("127.0.0.1", 4711)]
    assert [event.detail for event in network.events("bind")] == [
        ("198.51.100.7", 49152),
        ("0.0.0.0", 4711),
    ]


async def test_each_connection_has_a_port_of_its_own(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.1", 80, idle)
    async with connected(network) as first, connected(network) as second:
        assert first.socket.getsockname() != second.socket.getsockname()


# ── Unix sockets ───────────────────────────────────────────────────────────────────────────────


@on_unix
async def test_a_unix_path_can_be_listened_to(autojump_clock: MockClock, network: Network) -> None:
    network.listen("/run/app.sock", None, echo)
    async with connected(network, UNIX) as stream:
        await stream.send_all(b"x")
        assert await stream.receive_some() == b"x"
        assert stream.socket.family == socket.AF_UNIX
        assert stream.socket.proto == 0
        assert stream.socket.getsockname() == ""
        assert stream.socket.getpeername() == "/run/app.sock"
    assert network.connections_accepted("/run/app.sock", None) == 1


@on_unix
async def test_a_path_where_nobody_listens_is_not_found(
    autojump_clock: MockClock, network: Network
) -> None:
    with network.socket(UNIX) as sock, pytest.raises(FileNotFoundError):
        await sock.connect("/run/app.sock")


@on_unix
async def test_a_stale_path_refuses(autojump_clock: MockClock, network: Network) -> None:
    network.refuse("/run/app.sock", None)
    with network.socket(UNIX) as sock, pytest.raises(ConnectionRefusedError):
        await sock.connect(b"/run/app.sock")


@on_unix
async def test_a_unix_socket_has_no_tcp_options(
    autojump_clock: MockClock, network: Network
) -> None:
    with network.socket(UNIX) as sock, pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@on_unix
async def test_a_unix_socket_knows_at_once_that_its_peer_has_closed(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("/run/app.sock", None, idle)
    async with connected(network, UNIX) as stream:
        network.open_server_sockets[0].close()
        with pytest.raises(BrokenPipeError):
            await stream.socket.send(b"x")


# ── Sockets ────────────────────────────────────────────────────────────────────────────────────


async def test_a_reset_loses_what_was_not_read(autojump_clock: MockClock, network: Network) -> None:
    network.listen("192.0.2.1", 80, idle)
    async with connected(network) as stream:
        server_end = network.open_server_sockets[0]
        await server_end.send(b"lost")
        server_end.reset()
        with pytest.raises(ConnectionResetError):
            await stream.socket.recv(10)


async def test_the_buffer_size_bounds_what_is_under_way(autojump_clock: MockClock) -> None:
    async with Network(buffer_size=10) as network:
        network.listen("192.0.2.1", 80, idle)
        async with connected(network) as stream:
            assert await stream.socket.send(b"seven b") == 7
            assert await stream.socket.send(b"seven b") == 3
            with trio.move_on_after(1) as scope:
                await stream.socket.send(b"x")
            assert scope.cancelled_caught
            assert await network.open_server_sockets[0].recv(100) == b"seven bsev"


async def test_options_can_be_set_without_a_value(
    autojump_clock: MockClock, network: Network
) -> None:
    with network.socket(FOUR) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, None, 8)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == bytes(8)


async def test_a_repr_says_whose_socket_it_is_and_how_it_does(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.1", 80, idle)
    with network.socket(FOUR) as sock:
        assert "client's, not connected, remote ('192.0.2.1', 80)" in repr(sock)
        await sock.connect(FOUR.sockaddr)
        assert "client's, connected" in repr(sock)
        assert "server's, connected" in repr(network.open_server_sockets[0])
    assert "client's, closed" in repr(sock)


# ── What it remembers ──────────────────────────────────────────────────────────────────────────


async def test_the_log_tells_all_in_order_and_with_the_time(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.1", 80, idle, connect_delay=0.1)
    await trio.sleep(0.2)
    with network.socket(FOUR) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x10)
        await sock.bind(("127.0.0.1", 0))
        await sock.connect(FOUR.sockaddr)
        await trio.sleep(1)
        sock.shutdown(socket.SHUT_WR)
    there = ("192.0.2.1", 80)
    assert network.log == (
        (0.2, "socket", there, None),
        (0.2, "setsockopt", there, (socket.IPPROTO_IP, socket.IP_TOS, 0x10)),
        (0.2, "bind", there, ("127.0.0.1", 49152)),
        (0.2, "connect", there, None),
        (0.3, "connected", there, None),
        (1.3, "shutdown", there, socket.SHUT_WR),
        (1.3, "close", there, None),
    )


async def test_open_sockets_are_those_that_nobody_has_closed(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.1", 80, idle)
    unused = network.socket(SIX)
    async with connected(network) as stream:
        assert list(network.open_sockets) == [unused, stream.socket]
        assert unused.address is SIX
        assert len(network.open_server_sockets) == 1
    assert list(network.open_sockets) == [unused]
    unused.close()
    assert not network.open_sockets


# ── Handlers ───────────────────────────────────────────────────────────────────────────────────


async def test_a_connection_closes_when_its_handler_returns(
    autojump_clock: MockClock, network: Network
) -> None:
    async def greet(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"hello")

    network.listen("192.0.2.1", 80, greet)
    async with connected(network) as stream:
        assert await stream.receive_some() == b"hello"
        assert await stream.receive_some() == b""
    assert not network.open_server_sockets


async def fail(stream: trio.abc.Stream) -> None:
    raise LookupError("handler")


async def use(handler: Handler, body: Callable[[], Awaitable[object]]) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, handler)
        async with connected(network):
            await body()


async def sleep_through_cancellation() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(1)


async def test_an_exception_of_a_handler_cancels_the_body_and_arrives_as_itself(
    autojump_clock: MockClock,
) -> None:
    with pytest.raises(LookupError, match="handler"):
        await use(fail, trio.sleep_forever)


async def test_an_exception_of_a_handler_cancels_tasks_of_the_body(
    autojump_clock: MockClock,
) -> None:
    async def body() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    with pytest.raises(LookupError, match="handler"):
        await use(fail, body)


async def test_an_exception_of_a_handler_is_not_lost_when_the_body_is_through(
    autojump_clock: MockClock,
) -> None:
    with pytest.raises(LookupError, match="handler"):
        await use(fail, sleep_through_cancellation)


async def test_exceptions_of_handler_and_body_arrive_together(autojump_clock: MockClock) -> None:
    async def body() -> None:
        await sleep_through_cancellation()
        raise KeyError("body")

    with pytest.raises(ExceptionGroup) as caught:
        await use(fail, body)
    assert [type(error) for error in caught.value.exceptions] == [LookupError, KeyError]


async def test_an_exception_of_the_body_arrives_as_itself(autojump_clock: MockClock) -> None:
    async def body() -> None:
        raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        await use(idle, body)


async def test_an_exception_of_the_body_is_not_replaced_by_a_cancellation(
    autojump_clock: MockClock,
) -> None:
    async def body() -> None:
        scope.cancel()
        raise KeyError("body")

    with pytest.raises(KeyError, match="body"), trio.CancelScope() as scope:
        await use(idle, body)


async def test_a_cancelled_body_is_just_cancelled(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await use(idle, trio.sleep_forever)
    assert scope.cancelled_caught


async def test_handlers_are_cancelled_and_their_sockets_closed_at_the_end(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, idle)
        sock = network.socket(FOUR)
        await sock.connect(FOUR.sockaddr)
        await wait_all_tasks_blocked()
    assert not network.open_server_sockets
    assert await sock.recv(1) == b""
    sock.close()


async def test_after_the_end_everybody_is_refused(autojump_clock: MockClock) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, idle)
    with network.socket(FOUR) as sock, pytest.raises(ConnectionRefusedError):
        await sock.connect(FOUR.sockaddr)


async def test_nobody_is_served_outside_of_the_block(autojump_clock: MockClock) -> None:
    network = Network()
    network.listen("192.0.2.1", 80, idle)
    with network.socket(FOUR) as sock, pytest.raises(RuntimeError, match="async with network"):
        await sock.connect(FOUR.sockaddr)


async def test_a_client_that_goes_away_is_no_error_of_the_handler(
    autojump_clock: MockClock, network: Network
) -> None:
    async def never_stop(stream: trio.abc.Stream) -> None:
        while True:
            await stream.send_all(bytes(1000))

    network.listen("192.0.2.1", 80, never_stop)
    async with connected(network) as stream:
        await stream.receive_some(1)
    await wait_all_tasks_blocked()
    assert not network.open_server_sockets


async def test_a_client_that_goes_away_is_no_error_of_a_handler_with_tasks(
    autojump_clock: MockClock,
    network: Network,
) -> None:
    async def both_ways(stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, stream)
            nursery.start_soon(stream.send_all, bytes(10_000_000))

    network.listen("192.0.2.1", 80, both_ways)
    async with connected(network) as stream:
        await stream.receive_some(1)
    await wait_all_tasks_blocked()
    assert not network.open_server_sockets


async def test_a_test_can_close_the_servers_end(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.1", 80, echo)
    async with connected(network) as stream:
        await wait_all_tasks_blocked()
        network.open_server_sockets[0].close()
        assert await stream.receive_some() == b""


# ── TLS ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_listener_can_speak_tls(
    autojump_clock: MockClock,
    network: Network,
    client_ssl_context: ssl.SSLContext,
    server_ssl_context: ssl.SSLContext,
) -> None:
    network.listen("192.0.2.1", 443, echo, ssl_context=server_ssl_context)
    address = FOUR._replace(sockaddr=("192.0.2.1", 443))
    async with connected(network, address) as transport:
        stream = trio.SSLStream(transport, client_ssl_context, server_hostname="localhost")
        await stream.send_all(b"secret")
        assert await stream.receive_some() == b"secret"


async def test_a_client_that_fails_the_handshake_is_dropped(
    autojump_clock: MockClock, network: Network, server_ssl_context: ssl.SSLContext
) -> None:
    network.listen("192.0.2.1", 443, fail, ssl_context=server_ssl_context)
    trusts_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    address = FOUR._replace(sockaddr=("192.0.2.1", 443))
    async with connected(network, address) as transport:
        stream = trio.SSLStream(transport, trusts_nobody, server_hostname="localhost")
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()
    await wait_all_tasks_blocked()
    assert not network.open_server_sockets
