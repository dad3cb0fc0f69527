"""A small in-memory world: a server that says which request it answers, and a pool beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from inside import check_slots

from triopool import ConnectionPool
from triopool.testing import HTTPServer, Network, Reply, Request, http_server

A = "http://192.0.2.1"
B = "http://192.0.2.2"


@dataclass
class World:
    """Attributes:
    delay: how long the servers take to answer, in seconds.
    """

    network: Network
    pool: ConnectionPool
    delay: float = 0.0

    def __post_init__(self) -> None:
        self.a = http_server(self._answer)
        self.b = http_server(self._answer)
        self.network.listen("192.0.2.1", 80, self.a, connect_delay=0.1)
        self.network.listen("192.0.2.2", 80, self.b, connect_delay=0.1)

    async def _answer(self, request: Request) -> Reply:
        body = request.body or request.target.encode()
        return Reply(body=body, delay=self.delay, headers=[("Served", request.target)])

    async def get(self, url: str, **options: Any) -> None:
        """Send a request; see that the answer is the one to this very request."""
        response = await self.pool.get(url, **options)
        target = "/" + url.split("/", 3)[3]
        assert response.status_code == 200
        assert response.headers["Served"] == target

    async def works_at_full_size(self) -> None:
        """Nothing was lost: as many requests as there are slots run at once, each gets its own."""
        self.check()
        slots = self.pool.max_connections
        assert slots is not None
        self.delay = 1.0
        started_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(slots):
                nursery.start_soon(self.get, f"{A}/fresh/{number}")
        # One round: the answer's second, and a dial, or what is left of an orphan's grace.
        assert trio.current_time() - started_at < 1.0 + 5.0
        statistics = self.pool.statistics()
        assert (statistics.busy, statistics.waiting) == (0, 0)
        self.check()

    def check(self) -> None:
        check_slots(self.pool)
        # The sockets there are, and no others, have a slot.
        assert len(self.network.open_sockets) <= self.pool.statistics().open


@asynccontextmanager
async def world(*, max_connections: int = 2, **options: Any) -> AsyncIterator[World]:
    async with Network() as network:
        async with ConnectionPool(
            max_connections=max_connections,
            resolver=network.resolve,
            socket_factory=network.socket,
            **options,
        ) as pool:
            yield World(network, pool)
        assert not network.open_sockets, "a socket outlived its pool"


def connections(server: HTTPServer) -> list[int]:
    """On which connection each request came."""
    return [request.connection_number for request in server.requests]
