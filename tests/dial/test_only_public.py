"""The socket factory for public addresses only: what it refuses, and at every door."""

from __future__ import annotations

import importlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import triopool
from triopool import AddressInfo, ConnectError, ConnectionPool, OnlyPublic, only_public
from triopool.testing import Network, Reply, Request, http_server

PUBLIC, INSIDE = "93.184.215.14", "10.0.0.5"

split = str.split

REFUSED = split(
    """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254
    169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.9 192.0.0.170
    192.0.0.192 192.0.2.1 192.88.99.1 192.88.99.2 192.168.0.1 192.168.255.255 198.18.0.1
    198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:10.0.0.1
    64:ff9b::10.0.0.1 64:ff9b::808:808 64:ff9b:1::a00:1 64:ff9b:1:ffff::1 100::1 100:0:0:1::1
    2001::1 2001:0:1::1 2001:1::1 2001:2::1 2001:10::1 2001:20::1 2001:1ff::1 2001:db8::1
    2002:7f00:1:: 2002:808:808::1 3fff::1 4000::1 5f00::1 6000::1 8000::1 c000::1 e000::1
    f000::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 febf::1 fec0::1 feff::1 ff02::1 ff0e::1
    2606:4700::5efe:a00:1 2606:4700::200:5efe:7f00:1
    """
)

LET_THROUGH = split(
    """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255
    192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 93.184.215.14
    2001:200::1 2001:4860:4860::8888 2003::1 2606:4700:4700::1111 3ffe:ffff::1
    2606:4700::5efe:808:808 2a00:1450:4001:80b::200e
    """
)


def info(address: str, port: int = 80) -> AddressInfo:
    if ":" in address:
        return AddressInfo(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return AddressInfo(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


def passes(address: str, factory: OnlyPublic = only_public) -> bool:
    try:
        made: Any = factory(info(address))
    except PermissionError:
        return False
    made.close()
    return True


# ── What it refuses ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not passes(address)


@pytest.mark.parametrize("address", LET_THROUGH)
def test_what_is_public_is_let_through(address: str) -> None:
    assert passes(address, OnlyPublic(socket_factory=lambda address: socket.socket()))


def test_what_this_python_calls_not_global_is_refused() -> None:
    """But for anycast and the like, which IANA calls global since."""
    for address in (*REFUSED, *LET_THROUGH):
        literal = ipaddress.ip_address(address)
        assert literal.is_global or not passes(address)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "", None, b"::1"])
def test_what_is_no_literal_is_refused_for_a_socket_would_look_it_up(host: Any) -> None:
    with pytest.raises(PermissionError, match="not a literal address"):
        only_public(AddressInfo(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)))


def test_the_network_and_its_rfc_are_told() -> None:
    with pytest.raises(PermissionError) as caught:
        only_public(info("10.1.2.3"))
    assert str(caught.value) == (
        "not a public address: 10.1.2.3 is in 10.0.0.0/8 (private use, RFC 1918)"
    )


# ── Further networks ───────────────────────────────────────────────────────────────────────────


def test_further_networks_are_refused_and_allowed_and_to_refuse_goes_first() -> None:
    factory = OnlyPublic(
        refuse=["10.1.0.0/16", ipaddress.ip_address("168.63.129.16")],
        allow=["10.0.0.0/8", ipaddress.ip_network("fd00:1::/32"), "::1", "::", "127.0.0.1"],
        socket_factory=lambda address: socket.socket(),
    )
    allowed = ["10.2.0.1", "fd00:1::1", "::1", "::", "127.0.0.1", "8.8.8.8"]
    assert all(passes(address, factory) for address in allowed)
    refused = ["10.1.0.1", "168.63.129.16", "192.168.0.1", "fd00:2::1", "127.0.0.2"]
    assert not any(passes(address, factory) for address in refused)
    with pytest.raises(PermissionError, match=r"10\.1\.0\.1 is in 10\.1\.0\.0/16, which is ref"):
        factory(info("10.1.0.1"))


@pytest.mark.parametrize(
    ("network", "public", "private"),
    [
        ("64:ff9b::/96", "64:ff9b::8.8.8.8", "64:ff9b::10.0.0.1"),
        ("::ffff:0:0/96", "::ffff:8.8.8.8", "::ffff:10.0.0.1"),
        ("::ffff:0:0:0/96", "::ffff:0:8.8.8.8", "::ffff:0:10.0.0.1"),
        ("::/96", "::8.8.8.8", "::10.0.0.1"),
        ("2002::/16", "2002:808:808::1", "2002:a00:1::1"),
        ("2001::/32", "2001:0:1:2:3:4:f7f7:f7f7", "2001:0:1:2:3:4:f5ff:fffe"),
    ],
)
def test_where_a_translation_is_allowed_the_address_inside_has_to_be_public_too(
    network: str, public: str, private: str
) -> None:
    def make(address: AddressInfo) -> socket.socket:
        return socket.socket()

    factory = OnlyPublic(allow=[network], socket_factory=make)
    assert passes(public, factory)
    assert not passes(private, factory)
    assert passes(private, OnlyPublic(allow=[network, "10.0.0.0/8"], socket_factory=make))
    strict = OnlyPublic(allow=[network], refuse=["8.0.0.0/8"], socket_factory=make)
    assert not passes(public, strict)


def test_its_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="allow must be a list of networks, not a str"):
        OnlyPublic(allow="10.0.0.0/8")
    with pytest.raises(TypeError, match="socket_factory must be callable"):
        OnlyPublic(socket_factory=socket)  # type: ignore[arg-type]
    for nonsense in ("localhost", "10.0.0.1/8", "10.0.0.0/33"):
        with pytest.raises(ValueError, match=r"network|host bits"):
            OnlyPublic(refuse=[nonsense])


def test_its_repr_tells_what_was_changed() -> None:
    assert repr(only_public) == "triopool.OnlyPublic()"
    shown = repr(OnlyPublic(refuse=["10.1.0.0/16"], allow=["::1"]))
    assert shown == "triopool.OnlyPublic(refuse=['10.1.0.0/16'], allow=['::1/128'])"


def test_an_async_factory_makes_the_sockets_as_well() -> None:
    async def factory(address: AddressInfo) -> trio.socket.SocketType:
        return trio.socket.socket(address.family)

    async def main() -> None:
        made = OnlyPublic(socket_factory=factory)(info("8.8.8.8"))
        assert isinstance(made, Awaitable)
        (await made).close()

    trio.run(main)


# ── At every door ──────────────────────────────────────────────────────────────────────────────


async def answer(request: Request) -> Reply:
    if request.target == "/moved":
        return Reply(status=302, headers=[("Location", "http://inside.test/")])
    return Reply(body=b"hello")


def two_worlds(network: Network) -> None:
    for address in (PUBLIC, INSIDE):
        network.listen(address, 80, http_server(answer))
    network.host("public.test", PUBLIC)
    network.host("inside.test", INSIDE)


async def lease(pool: ConnectionPool) -> None:
    async with pool.lease("http://inside.test/"):
        pass


async def stream(pool: ConnectionPool) -> None:
    async with pool.stream("GET", "http://inside.test/"):
        pass


DOORS: dict[str, Callable[[ConnectionPool], Awaitable[Any]]] = {
    "request": lambda pool: pool.get("http://inside.test/"),
    "stream": stream,
    "lease": lease,
    "warm-up": lambda pool: pool.warm_up("http://inside.test/"),
    "redirect": lambda pool: pool.get("http://public.test/moved", follow_redirects=True),
    "literal": lambda pool: pool.get(f"http://{INSIDE}/"),
    "IPv4-mapped literal": lambda pool: pool.get(f"http://[::ffff:{INSIDE}]/"),
    "scoped literal": lambda pool: pool.get("http://[fe80::1%25lo]/"),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
async def test_no_door_leads_inside(
    autojump_clock: MockClock, door: Callable[[ConnectionPool], Awaitable[Any]]
) -> None:
    async with Network() as network:
        two_worlds(network)
        guarded = OnlyPublic(socket_factory=network.socket)
        async with ConnectionPool(resolver=network.resolve, socket_factory=guarded) as pool:
            with pytest.raises(ConnectError, match="not a public address") as caught:
                await door(pool)
            assert isinstance(caught.value.__cause__, PermissionError)
            assert (await pool.get("http://public.test/")).content == b"hello"
        assert network.connections_accepted(INSIDE, 80) == 0
        assert {event.endpoint for event in network.events("socket")} == {(PUBLIC, 80)}


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
async def test_httpx_does_not_lead_inside(autojump_clock: MockClock, name: str) -> None:
    library = pytest.importorskip(name)
    ours = importlib.import_module(f"triopool.{name}")
    async with Network() as network:
        two_worlds(network)
        guarded = OnlyPublic(socket_factory=network.socket)
        transport = ours.TriopoolTransport(resolver=network.resolve, socket_factory=guarded)
        async with library.AsyncClient(transport=transport, follow_redirects=True) as client:
            for url in ("http://inside.test/", "http://public.test/moved", f"http://{INSIDE}/"):
                with pytest.raises(library.ConnectError, match="not a public address"):
                    await client.get(url)
            assert (await client.get("http://public.test/")).content == b"hello"
        assert network.connections_accepted(INSIDE, 80) == 0


async def test_a_name_that_changes_is_refused_when_it_leads_inside(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network:
        two_worlds(network)
        guarded = OnlyPublic(socket_factory=network.socket)
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=guarded, dns_ttl=0
        ) as pool:
            await pool.get("http://public.test/")
            network.host("public.test", INSIDE)
            pool.close_idle()
            with pytest.raises(ConnectError, match="not a public address"):
                await pool.get("http://public.test/")


async def test_of_a_names_addresses_the_public_ones_are_used(autojump_clock: MockClock) -> None:
    async with Network() as network:
        two_worlds(network)
        network.host("both.test", "fd00::1", INSIDE, PUBLIC)
        guarded = OnlyPublic(socket_factory=network.socket)
        async with ConnectionPool(resolver=network.resolve, socket_factory=guarded) as pool:
            response = await pool.get("http://both.test/")
        assert response.connection.remote_address == (PUBLIC, 80)
        assert trio.current_time() == 0.0


async def test_a_unix_socket_is_refused(autojump_clock: MockClock) -> None:
    async with ConnectionPool(socket_factory=only_public, unix_socket="/run/docker.sock") as pool:
        with pytest.raises(ConnectError, match="not an address of the internet"):
            await pool.get("http://docker/")


async def test_localhost_is_refused_on_the_real_network() -> None:
    async with ConnectionPool(socket_factory=triopool.only_public) as pool:
        with pytest.raises(ConnectError, match="not a public address"):
            await pool.get("http://localhost/")
