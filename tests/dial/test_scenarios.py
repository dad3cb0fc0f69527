"""The scenarios of the design that are about dialling, 40 to 47, each by its number.

24 and 23 over TLS are in ``test_tls_reuse.py``, 28 is in ``test_tls.py``.
"""

from __future__ import annotations

import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from inside import socket_of
from servers import server_certificate
from trio.testing import MockClock

from triopool import ConnectError, ConnectionPool, InvalidURL, TLSError
from triopool._dial.report import show_address
from triopool.abc import AddressInfo
from triopool.testing import KeepOpen, Network, NetworkSocket, script

from .helpers import (
    DAY,
    NOW,
    bad_certificate,
    hello_server,
    looked_up,
    pool_on,
    server_context,
    tcp_server,
    told,
)

URL = "http://host.test/"
SIX, FOUR = "2001:db8::1", "192.0.2.1"


async def test_40_five_addresses_are_tried_in_order_and_the_good_one_is_used(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        network.host("host.test", *(f"192.0.2.{last}" for last in range(1, 6)))
        network.refuse("192.0.2.1", 443)
        bad, good = hello_server(), hello_server()
        for last, certificate, server in [
            (2, ca.issue_cert("host.test", not_before=NOW - 2 * DAY, not_after=NOW - DAY), bad),
            (3, ca.issue_cert("other.test"), bad),
            (5, ca.issue_cert("host.test"), good),
        ]:
            context = server_context(certificate)
            network.listen(f"192.0.2.{last}", 443, server, ssl_context=context)
        network.refuse("192.0.2.4", 443, error=113)  # EHOSTUNREACH
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            response = await pool.get("https://host.test/")
            assert response.content == b"hello"
            [only] = network.open_sockets
            assert only.getpeername() == ("192.0.2.5", 443)
        assert [where for _, _, where in told(network, "connect")] == [
            f"192.0.2.{last}" for last in range(1, 6)
        ]
        # Each is closed before the next one is made.
        order = [action for _, action, _ in told(network, "socket", "close")]
        assert order == ["socket", "close"] * 5
        assert bad.requests == []
        assert len(good.requests) == 1


async def test_41_an_ipv6_black_hole_costs_exactly_250_ms(autojump_clock: MockClock) -> None:
    async with Network() as network:
        network.host("host.test", SIX, FOUR)
        network.hang(SIX, 80)
        network.listen(FOUR, 80, hello_server())
        async with pool_on(network) as pool:
            response = await pool.get(URL)
            assert response.connection.remote_address == (FOUR, 80)
            assert trio.current_time() == 0.25
            assert len(network.open_sockets) == 1


@pytest.mark.parametrize("attempt", range(10))  # Trio tosses a coin for who comes first.
async def test_42_of_two_that_connect_in_one_tick_or_are_cancelled_in_it_one_socket_is_left_or_none(
    autojump_clock: MockClock, attempt: int
) -> None:
    async with Network() as network:
        network.host("host.test", SIX, FOUR)
        network.listen(SIX, 80, script(KeepOpen()), connect_delay=0.5)
        network.listen(FOUR, 80, script(KeepOpen()), connect_delay=0.25)
        async with pool_on(network) as pool:
            with trio.move_on_after(0.5):
                await pool.warm_up(URL)
            await trio.sleep(0.1)  # the dial outlives who asked for it
            assert len(network.open_sockets) == pool.statistics().open == 1
        async with pool_on(network) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(pool.warm_up, URL)
            await trio.sleep(0.5)
            nursery.cancel_scope.cancel()


async def test_43_a_factory_is_asked_for_each_address_and_its_sockets_are_closed(
    autojump_clock: MockClock,
) -> None:
    made: list[NetworkSocket] = []
    async with Network() as network:

        async def factory(address: AddressInfo) -> NetworkSocket:
            if address.sockaddr[0] == "192.0.2.9":
                raise OSError("not this one")
            made.append(network.socket(address))
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return made[-1]

        network.host("host.test", "192.0.2.9", SIX, FOUR)
        network.hang(SIX, 80)
        network.listen(FOUR, 80, hello_server())
        async with pool_on(network, socket_factory=factory) as pool:
            await pool.get(URL)
            assert [sock.closed for sock in made] == [True, False]
            assert made[1].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert [sock.closed for sock in made] == [True, True]
        option = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for sock in made:
            where = sock.address.sockaddr[:2]
            events = [event for event in network.log if event.endpoint == where]
            assert [event.action for event in events][:3] == ["socket", "setsockopt", "connect"]
            assert events[1].detail == option


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://192.0.2.1:8080/", []),
        ("http://[2001:db8::1]:8080/", []),
        ("http://%31%39%32.0.2.1:8080/", []),
        ("http://host.test.:8080/", ["host.test."]),
        ("http://bücher.test:8080/", ["xn--bcher-kva.test"]),
        ("http://b%C3%BCcher.test:8080/", ["xn--bcher-kva.test"]),
        ("http://HOST%2Etest:8080/", ["host.test"]),
    ],
)
async def test_44_literal_addresses_are_never_looked_up_and_names_are_as_idna_has_them(
    autojump_clock: MockClock, url: str, asked: list[str]
) -> None:
    async with Network() as network:
        for address in (SIX, FOUR):
            network.listen(address, 8080, hello_server())
        network.host("host.test", FOUR)
        network.host("xn--bcher-kva.test", FOUR)
        async with pool_on(network) as pool:
            assert (await pool.get(url)).content == b"hello"
        assert looked_up(network) == asked


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "127.0.0.1.", "0177.0.0.1"])
async def test_44_odd_numeric_hosts_reach_nobody(autojump_clock: MockClock, host: str) -> None:
    async with Network() as network, pool_on(network) as pool:
        with pytest.raises(InvalidURL):
            await pool.get(f"http://{host}/")
        assert network.log == ()


async def test_45_ten_requests_are_one_lookup_and_survive_the_first_ones_cancellation(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        network.host("host.test", FOUR, lookup_delay=1.0)
        network.listen(FOUR, 80, hello_server())
        answers: list[bytes] = []

        async def request(pool: ConnectionPool) -> None:
            answers.append((await pool.get(URL)).content)

        async def request_and_give_up(pool: ConnectionPool) -> None:
            with trio.move_on_after(0.5):
                await request(pool)

        async with pool_on(network) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(request_and_give_up, pool)
            await trio.sleep(0.1)
            for _ in range(9):
                nursery.start_soon(request, pool)
        assert answers == [b"hello"] * 9
        assert looked_up(network) == ["host.test"]


# ── 46: local addresses and Unix sockets ───────────────────────────────────────────────────────


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is nobody's")
async def test_46_the_peer_sees_the_local_address(no_leaked_sockets: None) -> None:
    peers: list[Any] = []

    async def handler(stream: trio.SocketStream) -> None:
        peers.append(stream.socket.getpeername())
        await hello_server()(stream)

    async with tcp_server(handler) as port, ConnectionPool(local_address="127.0.0.2") as pool:
        response = await pool.get(f"http://127.0.0.1:{port}/")
        assert response.connection.local_address == peers[0]
    assert peers[0][0] == "127.0.0.2"


async def test_46_addresses_of_another_family_than_the_local_one_are_skipped(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        network.host("host.test", SIX, FOUR)
        for address in (SIX, FOUR):
            network.listen(address, 80, hello_server())
        for local, remote in (("192.0.2.99", FOUR), ("2001:db8::99", SIX)):
            async with pool_on(network, local_address=(local, 5000)) as pool:
                info = (await pool.get(URL)).connection
                assert info.local_address[:2] == (local, 5000)
                assert info.remote_address[0] == remote
        assert trio.current_time() == 0.0
        assert [where for _, _, where in told(network, "socket")] == [FOUR, SIX]


async def test_46_no_address_of_the_local_ones_family_is_told(autojump_clock: MockClock) -> None:
    async with Network() as network, pool_on(network, local_address="192.0.2.99") as pool:
        with pytest.raises(
            ConnectError, match=r"local_address 192.0.2.99 is of another address fam"
        ):
            await pool.get(f"http://[{SIX}]/")


async def test_46_a_local_address_that_is_not_ours_is_told(no_leaked_sockets: None) -> None:
    async with ConnectionPool(local_address="192.0.2.99") as pool:
        with pytest.raises(ConnectError, match="Cannot assign requested address"):
            await pool.get("http://127.0.0.1:1/")


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not pytest's own: on some systems its path is too long for a Unix socket.
    with tempfile.TemporaryDirectory(prefix="triopool-") as path:
        yield Path(path)


@asynccontextmanager
async def unix_server(path: str, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    async def serve(stream: trio.abc.Stream) -> None:
        if context is not None:
            stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await hello_server()(stream)

    listener = trio.socket.socket(socket.AF_UNIX)
    await listener.bind(path)
    listener.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listener)])
        yield
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", [str, Path])
async def test_46_a_unix_socket_is_used_whatever_the_urls_host(
    directory: Path, no_leaked_sockets: None, kind: Any
) -> None:
    path = str(directory / "server.sock")

    async def never(host: str, port: int) -> Any:
        raise AssertionError("looked up")

    async with unix_server(path), ConnectionPool(unix_socket=kind(path), resolver=never) as pool:
        response = await pool.get("http://any.test/")
        assert response.content == b"hello"
        assert response.connection.remote_address == path


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's own")
async def test_46_an_abstract_unix_socket_is_used_and_named_with_an_at_sign(
    directory: Path,
) -> None:
    path = f"\0{directory}/abstract"
    async with unix_server(path), ConnectionPool(unix_socket=path) as pool:
        assert (await pool.get("http://any.test/")).content == b"hello"
    async with ConnectionPool(unix_socket=path) as pool:
        with pytest.raises(
            ConnectError, match=f"unix socket @{directory}/abstract: Connection ref"
        ):
            await pool.get("http://any.test/")


async def test_46_https_works_over_a_unix_socket_with_the_urls_host_as_name(
    directory: Path, ca: trustme.CA, client_ssl_context: ssl.SSLContext, no_leaked_sockets: None
) -> None:
    path = str(directory / "server.sock")
    context = server_context(server_certificate(ca))
    async with (
        unix_server(path, context),
        ConnectionPool(unix_socket=path, ssl_context=client_ssl_context) as pool,
    ):
        response = await pool.get("https://one.test/")
        assert response.content == b"hello"
        assert response.connection.tls is not None
        with pytest.raises(TLSError, match=f"unix socket {path}: the certificate of elsewhere"):
            await pool.get("https://elsewhere.test/")


async def test_46_a_unix_socket_in_memory_gets_an_address_with_its_path(
    autojump_clock: MockClock,
) -> None:
    seen: list[AddressInfo] = []
    async with Network() as network:

        def factory(address: AddressInfo) -> NetworkSocket:
            seen.append(address)
            return network.socket(address)

        network.listen("/run/server.sock", None, hello_server())
        async with pool_on(network, socket_factory=factory, unix_socket="/run/server.sock") as pool:
            assert (await pool.get(URL)).content == b"hello"
        assert seen == [AddressInfo(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/run/server.sock")]
        assert looked_up(network) == []


@pytest.mark.parametrize("in_memory", [True, False])
async def test_46_a_missing_unix_socket_is_named(in_memory: bool) -> None:
    async with Network() as network:
        options: Any = {"socket_factory": network.socket} if in_memory else {}
        async with ConnectionPool(unix_socket="/nowhere/server.sock", **options) as pool:
            with pytest.raises(ConnectError) as caught:
                await pool.get(URL)
        assert str(caught.value) == (
            "could not connect to http://host.test:80: "
            "unix socket /nowhere/server.sock: No such file or directory"
        )
        assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_46_a_unix_socket_has_no_local_address() -> None:
    with pytest.raises(ValueError, match="local_address has no meaning for a unix_socket"):
        ConnectionPool(unix_socket="/run/server.sock", local_address="192.0.2.99")


def test_46_a_path_of_bytes_is_shown() -> None:
    address = AddressInfo(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", b"/run/\xff.sock")
    assert show_address(address).startswith("unix socket /run/")


async def test_46_an_address_that_the_system_no_longer_knows_is_none(
    autojump_clock: MockClock,
) -> None:
    """A peer that resets at once: getpeername fails, and the first request tells why."""
    async with Network() as network:

        def factory(address: AddressInfo) -> NetworkSocket:
            class Gone(NetworkSocket):
                def getpeername(self) -> Any:
                    raise OSError(107, "Transport endpoint is not connected")

            return socket_of(Gone, network, address)

        network.listen(FOUR, 80, hello_server())
        async with pool_on(network, socket_factory=factory) as pool:
            info = (await pool.get(f"http://{FOUR}/")).connection
            assert info.remote_address is None
            assert info.local_address[0] == "127.0.0.1"


# ── 47 ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("self-signed", "it is self-signed"),
        ("wrong host", "it is for another name"),
        ("expired", "it has expired"),
        ("not yet valid", "it is not valid yet"),
    ],
)
async def test_47_a_bad_certificate_is_a_tlserror_that_says_which_and_nothing_is_sent(
    autojump_clock: MockClock,
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
    kind: str,
    says: str,
) -> None:
    certificate = bad_certificate(kind, ca)
    async with Network() as network:
        server = hello_server()
        network.host("one.test", FOUR)
        network.listen(FOUR, 443, server, ssl_context=server_context(certificate))
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            with pytest.raises(TLSError, match=r"certificate of one.test was refused") as caught:
                await pool.post("https://one.test/", content=b"secret")
        assert says in str(caught.value)
        assert (server.connections, server.requests) == (0, [])
