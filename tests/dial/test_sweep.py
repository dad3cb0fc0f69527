"""The cancel sweep over the dial: whatever it is doing, cancelled anywhere, nothing is lost."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trustme
from inside import check_slots
from servers import server_certificate
from sweeping import sweep

from triopool import ConnectionPool
from triopool._deadlines import Deadlines
from triopool._dial.dialler import Dialler
from triopool._dial.names import Names
from triopool._origin import Origin, PoolKey
from triopool.abc import AddressInfo
from triopool.testing import Network, NetworkSocket, Sweep

from .helpers import hello_server, server_context

URL = "http://host.test/"
ADDRESSES = ("2001:db8::1", "192.0.2.1", "192.0.2.2")


@asynccontextmanager
async def swept_pool(network: Network, url: str, **options: Any) -> AsyncIterator[ConnectionPool]:
    """A pool of one slot, on which a fresh request must succeed when the block is done."""
    options = {"resolver": network.resolve, "socket_factory": network.socket, **options}
    async with ConnectionPool(max_connections=1, **options) as pool:
        yield pool
        check_slots(pool)
        assert len(network.open_sockets) <= 3  # of one dial at most
        with trio.fail_after(10):
            assert (await pool.get(url)).content == b"hello"
        check_slots(pool)
        statistics = pool.statistics()
        assert (statistics.open, statistics.busy, statistics.dialling) == (1, 0, 0)
        assert len(network.open_sockets) == 1
        pool.close_idle()
        assert not network.open_sockets
    assert not network.open_sockets


async def get(pool: ConnectionPool, url: str) -> None:
    assert (await pool.get(url)).content == b"hello"


def prepare(network: Network, scenario: str, context: ssl.SSLContext) -> None:
    tls = context if scenario == "TLS" else None
    port = 443 if tls else 80
    if scenario == "race":
        network.host("host.test", *ADDRESSES)
        for number, address in enumerate(ADDRESSES):
            network.listen(address, port, hello_server(), connect_delay=0.61 - number * 0.03)
    elif scenario == "refusals":
        network.host("host.test", *ADDRESSES)
        network.refuse(ADDRESSES[0], port, after=0.31)
        network.hang(ADDRESSES[1], port)
        network.listen(ADDRESSES[2], port, hello_server(), connect_delay=0.11)
    else:
        network.host("host.test", "192.0.2.1", lookup_delay=2.0 if scenario == "lookup" else 0.0)
        network.listen("192.0.2.1", port, hello_server(), connect_delay=0.1, ssl_context=tls)


def async_factory(network: Network) -> Any:
    async def factory(address: AddressInfo) -> NetworkSocket:
        await trio.sleep(0.05)
        sock = network.socket(address)
        try:
            await trio.sleep(0.05)
        except trio.Cancelled:
            sock.close()  # not returned yet, hence the factory's own
            raise
        return sock

    return factory


SCENARIOS = ["one address", "race", "refusals", "TLS", "lookup", "async factory"]


@pytest.mark.parametrize("with_signal", [False, True], ids=["cancelled", "control-C"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_request_cancelled_anywhere_in_its_dial_loses_nothing(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext, name: str, with_signal: bool
) -> None:
    server_ssl_context = server_context(server_certificate(ca))
    url = "https://host.test/" if name == "TLS" else URL
    if name == "TLS":
        server_ssl_context = server_context(ca.issue_cert("host.test"))

    async def scenario(sweep: Sweep) -> None:
        async with Network() as network:
            prepare(network, name, server_ssl_context)
            options: dict[str, Any] = {"ssl_context": client_ssl_context}
            if name == "async factory":
                options["socket_factory"] = async_factory(network)
            async with swept_pool(network, url, **options) as pool:
                await sweep.victim(get, pool, url)

    points = sweep(scenario, with_signal=with_signal, name=f"request, {name}")
    print(f"{points} points: request, {name}, {with_signal=}")


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_dial_cancelled_anywhere_leaves_no_socket(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext, name: str
) -> None:
    """The dial itself, as the pool calls one off: not its caller, whom it outlives."""
    server_ssl_context = server_context(ca.issue_cert("host.test"))
    origin = Origin("https", "host.test", 443) if name == "TLS" else Origin("http", "host.test", 80)

    async def scenario(sweep: Sweep) -> None:
        async with Network() as network, trio.open_nursery() as nursery:
            prepare(network, name, server_ssl_context)
            names = Names(network.resolve, 10.0)
            names.start(nursery)
            factory = async_factory(network) if name == "async factory" else network.socket
            dialler = Dialler(
                names, Deadlines(), ssl_context=client_ssl_context, socket_factory=factory
            )
            result = await sweep.victim(dialler.dial, PoolKey(origin), [])
            if result.value is None:
                assert result.cancelled
                assert not network.open_sockets
                with trio.fail_after(10):
                    connection = await dialler.dial(PoolKey(origin), [])
            else:
                connection = result.value
            assert len(network.open_sockets) == 1
            connection.close()
            assert not network.open_sockets
            nursery.cancel_scope.cancel()

    points = sweep(scenario, name=f"dial, {name}")
    print(f"{points} points: dial, {name}")


def test_the_first_of_several_who_share_a_lookup_cancelled_anywhere_takes_nothing_from_the_others(
    client_ssl_context: ssl.SSLContext,
) -> None:
    async def scenario(sweep: Sweep) -> None:
        asked = 0

        async def resolver(host: str, port: int) -> Sequence[AddressInfo]:
            nonlocal asked
            asked += 1
            return await network.resolve(host, port)

        async with Network() as network:
            network.host("host.test", "192.0.2.1", lookup_delay=1.0)
            network.listen("192.0.2.1", 80, hello_server())
            async with ConnectionPool(resolver=resolver, socket_factory=network.socket) as pool:
                async with trio.open_nursery() as nursery:

                    async def join(after: float) -> None:
                        await trio.sleep(after)
                        await get(pool, URL)

                    nursery.start_soon(join, 0.3)
                    nursery.start_soon(join, 0.6)
                    await sweep.victim(get, pool, URL)
                check_slots(pool)
                assert asked == 1
            assert not network.open_sockets

    points = sweep(scenario, name="request, shared lookup")
    print(f"{points} points: request, shared lookup")
