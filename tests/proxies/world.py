"""Two origins, three proxies and a pool, in memory; and sockets that are counted at every step.

The servers are strict: what is for a proxy and comes to an origin is an error of the test, and so
is what is for an origin and comes with a CONNECT.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import trio
import trustme
from dial.helpers import server_context
from inside import check_slots

from triopool import ConnectionPool, Proxy
from triopool.testing import (
    HTTPProxy,
    HTTPServer,
    Network,
    Reply,
    Request,
    SOCKSProxy,
    http_proxy,
    http_server,
    socks_proxy,
)

A, B = "http://a.test", "http://b.test"
SECURE = "https://a.test"

HTTP = "http://proxy.test:3128"
HTTPS = "https://proxy.test:3129"
SOCKS5H, SOCKS5 = "socks5h://socks.test", "socks5://socks.test"
SOCKS4A, SOCKS4 = "socks4a://socks.test", "socks4://socks.test"

ADA = ("ada", "secret")

Serve = Callable[[trio.abc.Stream], Awaitable[None]]


class Contexts(NamedTuple):
    """For TLS with the origins and with the proxy. None of them trusts the others' authority.

    Attributes:
      origin: of the origins' side; *pool* trusts it.
      proxy: of the proxy's side; *lent* trusts it.
    """

    origin: ssl.SSLContext
    pool: ssl.SSLContext
    proxy: ssl.SSLContext
    lent: ssl.SSLContext


def contexts() -> Contexts:
    pair = []
    for names in (["a.test", "b.test"], ["proxy.test"]):
        authority = trustme.CA()
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(client)
        pair += [server_context(authority.issue_cert(*names)), client]
    return Contexts(*pair)


@dataclass
class World:
    """Attributes:
    delay: how long the origins take to answer, in seconds.
    pause: how long the proxies take for theirs, where they are asked to connect.
    """

    network: Network
    pool: ConnectionPool
    made: Contexts | None = None
    credentials: tuple[str, str] | None = None
    delay: float = 0.0
    pause: float = 0.0
    a: HTTPServer = field(init=False)
    b: HTTPServer = field(init=False)
    http: HTTPProxy = field(init=False)
    https: HTTPProxy = field(init=False)
    socks: SOCKSProxy = field(init=False)

    def __post_init__(self) -> None:
        self.a, self.b = http_server(self._answer), http_server(self._answer)
        self.http = http_proxy(self.network, self._decide, credentials=self.credentials)
        self.https = http_proxy(self.network, self._decide, credentials=self.credentials)
        self.socks = socks_proxy(self.network, self._decide, credentials=self.credentials)
        network = self.network
        for name, address in HOSTS.items():
            network.host(name, address)
        network.listen("192.0.2.1", 80, self.a, connect_delay=0.01)
        network.listen("192.0.2.2", 80, self.b, connect_delay=0.01)
        network.listen("192.0.2.9", 3128, self.http, connect_delay=0.1)
        network.listen("192.0.2.10", 1080, self.socks, connect_delay=0.1)
        if self.made is not None:
            network.listen(
                "192.0.2.1", 443, self.a, ssl_context=self.made.origin, connect_delay=0.01
            )
            network.listen(
                "192.0.2.9", 3129, self.https, ssl_context=self.made.proxy, connect_delay=0.1
            )

    async def _answer(self, request: Request) -> Reply:
        return Reply(
            body=request.body or request.target.encode(),
            delay=self.delay,
            headers=[("Served", request.target)],
        )

    async def _decide(self, request: object) -> Any:
        if self.pause and getattr(request, "method", "CONNECT") == "CONNECT":
            await trio.sleep(self.pause)
        return None

    async def get(self, url: str, **options: Any) -> Any:
        """Send a request; see that the answer is the one to this very request."""
        response = await self.pool.get(url, **options)
        assert response.status_code == 200, response.status_code
        assert response.headers["Served"] == "/" + url.split("/", 3)[3]
        return response

    async def works_at_full_size(self, url: str, **options: Any) -> None:
        """Nothing was lost: as many requests as there are slots run at once, each gets its own."""
        self.check()
        slots = self.pool.max_connections
        assert slots is not None
        self.delay = 1.0
        started_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(slots):
                nursery.start_soon(lambda n=number: self.get(f"{url}/fresh/{n}", **options))
        # One round: the answer's second, and a dial, or what is left of an orphan's grace.
        assert trio.current_time() - started_at < 1.0 + 5.0
        self.check()
        statistics = self.pool.statistics()
        assert (statistics.busy, statistics.waiting, statistics.dialling) == (0, 0, 0)
        assert len(self.network.open_sockets) == statistics.open

    def check(self) -> None:
        check_slots(self.pool)
        # The sockets there are, and no others, have a slot.
        assert len(self.network.open_sockets) <= self.pool.statistics().open


HOSTS = {
    "a.test": "192.0.2.1",
    "b.test": "192.0.2.2",
    "proxy.test": "192.0.2.9",
    "socks.test": "192.0.2.10",
}


@asynccontextmanager
async def world(
    made: Contexts | None = None,
    *,
    credentials: tuple[str, str] | None = None,
    max_connections: int | None = 2,
    is_watched: bool = True,
    **options: Any,
) -> AsyncIterator[World]:
    """*is_watched*: whether all sockets have to be this pool's."""
    async with Network() as network:
        if made is not None:
            options = {"ssl_context": made.pool, **options}
        async with ConnectionPool(
            max_connections=max_connections,
            **{"resolver": network.resolve, "socket_factory": network.socket, **options},
        ) as pool:
            with one_socket_for_one_slot(network, pool) if is_watched else nullcontext():
                yield World(network, pool, made, credentials)
        assert not network.open_sockets, "a socket outlived its pool"


@contextmanager
def one_socket_for_one_slot(network: Network, pool: ConnectionPool) -> Iterator[None]:
    """See after each step of any task that there are no more sockets than slots in use."""
    watch = _SocketsAndSlots(network, pool)
    trio.lowlevel.add_instrument(watch)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(watch)
    assert not watch.most_beyond, f"{watch.most_beyond} more sockets than slots"


class _SocketsAndSlots(trio.abc.Instrument):
    def __init__(self, network: Network, pool: ConnectionPool) -> None:
        self.most_beyond = 0
        self._network = network
        self._pool = pool

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        beyond = len(self._network.open_sockets) - self._pool.statistics().open
        self.most_beyond = max(self.most_beyond, beyond)


def lent(made: Contexts, **options: Any) -> Proxy:
    """The proxy that speaks TLS, with a context of its own."""
    return Proxy(HTTPS, ssl_context=made.lent, **options)
