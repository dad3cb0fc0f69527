"""The caller's socket factory: when it is called, with what, and who owns what it returns."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from triopool import ConnectError, ConnectionPool
from triopool.abc import AddressInfo
from triopool.testing import KeepOpen, Network, NetworkSocket, script

from .helpers import hello_server, pool_on, tcp_server, told

URL = "http://host.test/"
FOUR = "192.0.2.1"


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network() as network:
        network.host("host.test", FOUR)
        network.listen(FOUR, 80, hello_server())
        yield network


# ── Called once per address, before bind and connect ───────────────────────────────────────────


async def test_options_set_by_a_factory_come_before_bind_and_before_connect(
    autojump_clock: MockClock,
    network: Network,
) -> None:
    def factory(address: AddressInfo) -> NetworkSocket:
        sock = network.socket(address)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x10)
        return sock

    async with pool_on(network, socket_factory=factory, local_address="192.0.2.99") as pool:
        await pool.get(URL)
    actions = [event.action for event in network.log if event.endpoint == (FOUR, 80)]
    assert actions == [
        "socket",
        "setsockopt",
        "bind",
        "connect",
        "connected",
        "setsockopt",
        "close",
    ]
    first, nodelay = network.events("setsockopt")
    assert first.detail == (socket.IPPROTO_IP, socket.IP_TOS, 0x10)
    assert nodelay.detail == (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def test_a_factory_is_called_once_for_each_address_tried_and_for_no_other(
    autojump_clock: MockClock,
    network: Network,
) -> None:
    network.host("host.test", "2001:db8::1", FOUR, "2001:db8::2")
    seen: list[AddressInfo] = []

    def factory(address: AddressInfo) -> NetworkSocket:
        seen.append(address)
        return network.socket(address)

    async with pool_on(network, socket_factory=factory) as pool:
        await pool.get(URL)
        await pool.get(URL)
    assert [address.sockaddr[0] for address in seen] == ["2001:db8::1", FOUR]
    assert [address.family for address in seen] == [socket.AF_INET6, socket.AF_INET]
    assert {address.type for address in seen} == {socket.SOCK_STREAM}


# ── Its shapes ─────────────────────────────────────────────────────────────────────────────────

Factory = Callable[[AddressInfo], Any]


def plain_trio(address: AddressInfo) -> trio.socket.SocketType:
    return trio.socket.socket(address.family, address.type, address.proto)


def plain_stdlib(address: AddressInfo) -> socket.socket:
    return socket.socket(address.family, address.type, address.proto)


async def async_trio(address: AddressInfo) -> trio.socket.SocketType:
    await trio.lowlevel.checkpoint()
    return plain_trio(address)


async def async_stdlib(address: AddressInfo) -> socket.socket:
    return plain_stdlib(address)


def made_for_aiohttp(addr_info: tuple[int, int, int, str, Any]) -> socket.socket:
    """Unpacks the tuple, as the example in aiohttp's documentation does."""
    family, kind, proto, _, _ = addr_info
    sock = socket.socket(family=family, type=kind, proto=proto)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
    sock.setblocking(False)
    return sock


class AwaitableFactory:
    """Returns something awaitable that is no coroutine."""

    def __call__(self, address: AddressInfo) -> Awaitable[socket.socket]:
        class Later:
            def __await__(self) -> Any:
                return async_stdlib(address).__await__()

        return Later()


@pytest.mark.parametrize(
    "factory",
    [plain_trio, plain_stdlib, async_trio, async_stdlib, made_for_aiohttp, AwaitableFactory()],
    ids=lambda factory: getattr(factory, "__name__", "awaitable"),
)
async def test_a_factory_may_be_sync_or_async_and_return_either_kind_of_socket(
    factory: Factory, no_leaked_sockets: None
) -> None:
    async with tcp_server(hello_server()) as port, ConnectionPool(socket_factory=factory) as pool:
        for _ in range(2):
            response = await pool.get(f"http://127.0.0.1:{port}/")
            assert response.content == b"hello"
        assert pool.statistics().open == 1


# ── In force ───────────────────────────────────────────────────────────────────────────────────


class Recorder(trio.socket.SocketType):
    """A real socket that writes down what is done to it."""

    def __init__(self, real: trio.socket.SocketType, calls: list[str]) -> None:
        super().__init__()
        self.real = real
        self._calls = calls

    def __getattribute__(self, name: str) -> Any:
        if name in ("real", "_calls") or name.startswith("__"):
            return super().__getattribute__(name)
        if name in ("setsockopt", "bind", "connect", "send"):
            self._calls.append(name)
        return getattr(self.real, name)


OPTIONS = {
    "127.0.0.1": (socket.AF_INET, socket.IPPROTO_IP, "IP_TOS", 0x28),
    "::1": (socket.AF_INET6, socket.IPPROTO_IPV6, "IPV6_TCLASS", 0x28),
}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name or mask these differently")
@pytest.mark.parametrize("host", OPTIONS)
async def test_options_set_by_a_factory_are_in_force_before_the_handshake(host: str) -> None:
    family, level, name, value = OPTIONS[host]
    option = getattr(socket, name)
    calls: list[str] = []
    sockets: list[Recorder] = []
    segment_sizes: list[int] = []

    def factory(address: AddressInfo) -> Recorder:
        assert address.family == family
        sock = Recorder(plain_trio(address), calls)
        sock.setsockopt(level, option, value)
        # What the peer may send in one segment is told in the SYN, and nowhere else.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 600)
        sockets.append(sock)
        return sock

    async def handler(stream: trio.SocketStream) -> None:
        segment_sizes.append(stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
        await hello_server()(stream)

    async with (
        tcp_server(handler, host) as port,
        ConnectionPool(socket_factory=factory, local_address=host) as pool,
    ):
        await pool.get(f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/")
        assert sockets[0].getsockopt(level, option) == value
        assert sockets[0].getpeername()[0] == host
    assert calls[:4] == ["setsockopt", "setsockopt", "bind", "connect"]
    assert "send" in calls
    # The server heard of it in the handshake. (12 bytes of each segment are for timestamps.)
    assert segment_sizes[0] in (600, 588)


# ── Raising ────────────────────────────────────────────────────────────────────────────────────


async def test_oserror_from_a_factory_skips_the_address_at_once(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("host.test", "2001:db8::1", FOUR)

    def factory(address: AddressInfo) -> NetworkSocket:
        if address.family == socket.AF_INET6:
            raise OSError("no IPv6 here")
        return network.socket(address)

    async with pool_on(network, socket_factory=factory) as pool:
        assert (await pool.get(URL)).content == b"hello"
    assert told(network, "connected") == [(0.0, "connected", FOUR)]


async def test_oserror_for_every_address_is_told_as_any_failure(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("host.test", "2001:db8::1", FOUR)

    async def factory(address: AddressInfo) -> NetworkSocket:
        raise PermissionError(13, "Permission denied")

    async with pool_on(network, socket_factory=factory) as pool:
        with pytest.raises(ConnectError) as caught:
            await pool.get(URL)
    assert str(caught.value).endswith(
        "[2001:db8::1]:80: Permission denied; 192.0.2.1:80: Permission denied"
    )


class Crash(Exception):
    pass


@pytest.mark.parametrize("addresses", [[FOUR], [FOUR, "192.0.2.2"]])
@pytest.mark.parametrize(
    "crash", [Crash(), trio.TooSlowError(), KeyError("x"), ExceptionGroup("mine", [Crash()])]
)
async def test_another_exception_reaches_the_caller_as_itself(
    autojump_clock: MockClock, network: Network, addresses: Sequence[str], crash: Exception
) -> None:
    network.host("host.test", *addresses)

    def factory(address: AddressInfo) -> NetworkSocket:
        raise crash

    async with pool_on(network, socket_factory=factory) as pool:
        with pytest.raises(type(crash)) as caught:
            await pool.get(URL)
        assert caught.value is crash
        assert pool.statistics().open == 0


# ── Returning something else ───────────────────────────────────────────────────────────────────


async def none_later(address: AddressInfo) -> None:
    return None


async def a_stream(address: AddressInfo) -> trio.testing.MemorySendStream:
    return trio.testing.MemorySendStream()


@pytest.mark.parametrize(
    "factory",
    [lambda address: None, none_later, lambda address: 5, a_stream, lambda address: plain_stdlib],
    ids=["None", "coroutine", "int", "stream", "function"],
)
@pytest.mark.parametrize("addresses", [[FOUR], [FOUR, "192.0.2.2"]], ids=["alone", "race"])
async def test_what_is_no_socket_is_a_typeerror(
    autojump_clock: MockClock, network: Network, factory: Factory, addresses: Sequence[str]
) -> None:
    network.host("host.test", *addresses)
    async with pool_on(network, socket_factory=factory) as pool:
        with pytest.raises(
            TypeError, match="socket_factory must return a Trio or standard-library"
        ):
            await pool.get(URL)
        assert pool.statistics().open == 0


class Special(socket.socket):
    """Trio takes the standard library's own class only: a subclass may do other things."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: socket.socket(type=socket.SOCK_DGRAM), "must return a SOCK_STREAM socket"),
        (lambda: trio.socket.socket(type=socket.SOCK_DGRAM), "must return a SOCK_STREAM socket"),
        (lambda: socket.socket(socket.AF_INET6), r"of the address's own family \(AF_INET\)"),
        (lambda: trio.socket.socket(socket.AF_INET6), r"of the address's own family \(AF_INET\)"),
        (Special, "not 'Special'"),
    ],
)
async def test_the_wrong_kind_of_socket_is_a_typeerror_and_closed(
    autojump_clock: MockClock, network: Network, make: Callable[[], Any], message: str
) -> None:
    made: list[Any] = []

    def factory(address: AddressInfo) -> Any:
        made.append(make())
        return made[-1]

    async with pool_on(network, socket_factory=factory) as pool:
        with pytest.raises(TypeError, match=message):
            await pool.get(URL)
    assert [sock.fileno() for sock in made] == [-1]


async def test_a_socket_that_is_closed_already_skips_the_address(
    autojump_clock: MockClock, network: Network
) -> None:
    def factory(address: AddressInfo) -> socket.socket:
        sock = plain_stdlib(address)
        sock.close()
        return sock

    async with pool_on(network, socket_factory=factory) as pool:
        with pytest.raises(ConnectError, match="Bad file descriptor"):
            await pool.get(URL)


# ── Ownership ──────────────────────────────────────────────────────────────────────────────────


async def test_the_pool_closes_what_a_factory_made_on_every_path(
    autojump_clock: MockClock, network: Network
) -> None:
    made: list[NetworkSocket] = []

    async def factory(address: AddressInfo) -> NetworkSocket:
        made.append(network.socket(address))
        await trio.sleep(0.01)
        return made[-1]

    network.host("host.test", "2001:db8::1", FOUR)
    network.hang("2001:db8::1", 80)
    async with pool_on(network, socket_factory=factory) as pool:
        await pool.get(URL)
        lost, won = made
        assert lost.closed
        assert not won.closed
        with pytest.raises(ConnectError):
            await pool.get("http://192.0.2.7/")
        assert made[2].closed
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up, pool)
            await trio.sleep(0.2)
            assert not made[3].closed
    assert [sock.closed for sock in made] == [True] * 4


async def give_up(pool: ConnectionPool) -> None:
    with trio.move_on_after(0.1):
        await pool.get("http://[2001:db8::1]/")


async def test_a_failed_bind_closes_the_socket(autojump_clock: MockClock, network: Network) -> None:
    made: list[NetworkSocket] = []

    def factory(address: AddressInfo) -> NetworkSocket:
        made.append(network.socket(address))
        return made[-1]

    async def bind_then_return(address: AddressInfo) -> NetworkSocket:
        sock = factory(address)
        await sock.bind(("192.0.2.98", 0))
        return sock

    async with pool_on(
        network, socket_factory=bind_then_return, local_address="192.0.2.99"
    ) as pool:
        with pytest.raises(ConnectError, match="Invalid argument"):
            await pool.get(URL)
        assert made[0].closed


async def test_a_loser_whose_factory_shrugs_off_its_cancellation_is_closed(
    autojump_clock: MockClock,
    network: Network,
) -> None:
    network.host("host.test", "2001:db8::1", FOUR)
    network.listen(FOUR, 80, script(KeepOpen()))

    async def stubborn(address: AddressInfo) -> NetworkSocket:
        sock = network.socket(address)
        if address.family == socket.AF_INET6:
            with trio.CancelScope(shield=True):
                await trio.sleep(1.0)
        return sock

    async with pool_on(network, socket_factory=stubborn) as pool:
        await pool.warm_up(URL)
        assert [sock.getpeername()[0] for sock in network.open_sockets] == [FOUR]


# ── Trio's own ways ────────────────────────────────────────────────────────────────────────────


async def test_a_trio_socket_is_used_by_trios_own_methods_only() -> None:
    """It shows no others, so the pool does with a checkpoint more; to take it apart would take it
    from the caller, who may have kept it."""
    made: list[trio.socket.SocketType] = []

    def factory(address: AddressInfo) -> trio.socket.SocketType:
        made.append(trio.socket.socket(address.family, address.type, address.proto))
        return made[0]

    server = tcp_server(hello_server())
    async with server as port, ConnectionPool(socket_factory=factory) as pool:
        for _ in range(2):
            assert (await pool.get(f"http://127.0.0.1:{port}/")).status_code == 200
        assert pool.statistics().reused == 1
        assert made[0].getpeername()
        assert len(made) == 1


async def test_sockets_that_the_program_makes_for_all_of_trio_are_used(
    autojump_clock: MockClock, network: Network
) -> None:
    """trio.socket.set_custom_socket_factory() is how a program tells Trio to use other ones."""

    class Factory(trio.abc.SocketFactory):
        def socket(self, family: Any = 0, type: Any = 0, proto: int = 0) -> Any:  # noqa: A002
            return network.socket(AddressInfo(family, type, proto, "", (FOUR, 80)))

    before = trio.socket.set_custom_socket_factory(Factory())
    try:
        async with ConnectionPool(resolver=network.resolve) as pool:
            assert (await pool.get(URL)).status_code == 200
            assert len(network.open_sockets) == 1
    finally:
        trio.socket.set_custom_socket_factory(before)
    assert not network.open_sockets
