"""The cancel sweep over dials by way of proxies: cancelled anywhere, nothing stays open.

The dial itself is cancelled, as the pool calls one off, and not the request, which it outlives.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import NamedTuple

import pytest
import trio
import trustme
from dial.helpers import server_context
from inside import stream_of
from sweeping import sweep

from triopool import Proxy
from triopool._origin import Origin
from triopool.testing import Network, Sweep

from .helpers import (
    SECURE,
    TARGET,
    Server,
    Way,
    answer_pings,
    connect,
    dialler_on,
    socks4a,
    socks5_with_login,
    tls,
    via,
)

HTTPS = "https://p.example:3128"


class Contexts(NamedTuple):
    client: ssl.SSLContext
    proxy: ssl.SSLContext
    origin: ssl.SSLContext


class World(NamedTuple):
    """A way, and what is on it."""

    route: Way
    origin: Origin
    server: Server


def over_connect(made: Contexts) -> World:
    return World(via("http://p.example:3128"), TARGET, connect(answer_pings))


def over_connect_to_tls(made: Contexts) -> World:
    inside = connect(tls(made.origin, answer_pings))
    return World(via("http://p.example:3128"), SECURE, inside)


def over_socks5_with_credentials(made: Contexts) -> World:
    one = Proxy("socks5h://p.example:3128", auth=("ada", "secret"))
    return World(via(one), TARGET, socks5_with_login(answer_pings))


def over_socks4a_to_tls(made: Contexts) -> World:
    origin = SECURE._replace(port=80)
    return World(via("socks4a://p.example:3128"), origin, socks4a(tls(made.origin, answer_pings)))


def over_tls_to_the_proxy(made: Contexts) -> World:
    one = Proxy(HTTPS, ssl_context=made.client)
    return World(via(one), TARGET, tls(made.proxy, connect(answer_pings)))


def tls_in_tls(made: Contexts) -> World:
    one = Proxy(HTTPS, ssl_context=made.client)
    return World(via(one), SECURE, tls(made.proxy, connect(tls(made.origin, answer_pings))))


def a_chain(made: Contexts) -> World:
    """TLS in TLS in TLS, and SOCKS before the last."""
    first = Proxy(HTTPS, ssl_context=made.client)
    last = Proxy("https://r.example:80", ssl_context=made.client, server_hostname="p.example")
    inside = socks4a(tls(made.proxy, connect(tls(made.origin, answer_pings))))
    route = via(first, "socks4a://q.example:1080", last)
    return World(route, SECURE, tls(made.proxy, connect(inside)))


def forwarding(made: Contexts) -> World:
    one = Proxy(HTTPS, ssl_context=made.client)
    return World(via(one, forwards=True), one.origin, tls(made.proxy, answer_pings))


def one_address_after_the_other(made: Contexts) -> World:
    """Of the origin's three, the proxy refuses two."""
    refused: list[bytes] = []

    async def serve(stream: trio.abc.Stream) -> None:
        asked = await stream.receive_some(9)
        if not asked:
            return
        if asked[4:8].endswith(b"\x08"):
            await stream.send_all(b"\0\x5a" + bytes(6))
            await answer_pings(stream)
        refused.append(bytes(asked))
        await stream.send_all(b"\0\x5b")

    return World(via("socks4://p.example:3128"), TARGET, serve)


def one_proxy_after_the_other(made: Contexts) -> World:
    """Of the proxy's three addresses, one has the wrong certificate and one breaks."""
    one = Proxy(HTTPS, ssl_context=made.client)
    return World(via(one), SECURE, tls(made.proxy, connect(tls(made.origin, answer_pings))))


WORLDS = [
    over_connect,
    over_connect_to_tls,
    over_socks5_with_credentials,
    over_socks4a_to_tls,
    over_tls_to_the_proxy,
    tls_in_tls,
    a_chain,
    forwarding,
    one_address_after_the_other,
    one_proxy_after_the_other,
]


@pytest.mark.parametrize(
    ("make", "with_signal"), [*((make, False) for make in WORLDS), (tls_in_tls, True)]
)
def test_a_dial_cancelled_anywhere_leaves_no_socket(
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
    make: Callable[[Contexts], World],
    with_signal: bool,
) -> None:
    made = Contexts(
        client_ssl_context,
        server_context(ca.issue_cert("p.example")),
        server_context(ca.issue_cert("a.example")),
    )

    async def break_off(stream: trio.abc.Stream) -> None:
        await stream.receive_some(1)

    async def scenario(sweep: Sweep) -> None:
        world = make(made)
        async with Network() as network:
            network.host("a.example", "192.0.2.6", "192.0.2.7", "192.0.2.8", lookup_delay=0.4)
            if make is one_proxy_after_the_other:
                network.host("p.example", "192.0.2.2", "192.0.2.3", "192.0.2.1", lookup_delay=0.3)
                network.listen("192.0.2.2", 3128, tls(made.origin, break_off))
                network.listen("192.0.2.3", 3128, tls(made.proxy, break_off))
            else:
                network.host("p.example", "192.0.2.1", lookup_delay=0.3)
            network.listen("192.0.2.1", 3128, world.server, connect_delay=0.1)
            async with dialler_on(network, made.client) as dialler:
                key = world.route.key(world.origin)
                result = await sweep.victim(dialler.dial, key, [])
                connection = result.value
                if connection is None:
                    assert result.cancelled
                    assert not network.open_sockets
                    with trio.fail_after(10):
                        connection = await dialler.dial(key, [])
                assert len(network.open_sockets) == 1
                stream = stream_of(connection)
                await stream.send_all(b"ping")
                assert await stream.receive_some() == b"pong"
                connection.close()
                assert not network.open_sockets

    points = sweep(scenario, with_signal=with_signal, name=f"dial, {make.__name__}")
    print(f"{points} points: dial, {make.__name__}, {with_signal=}")
