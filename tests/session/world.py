"""Servers that answer as they are told, at some names, and a pool whose sessions ask them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from inside import check_slots

from triopool import ConnectionPool, Cookies
from triopool.testing import HTTPServer, Network, Reply, Request, http_server

API = "http://api.test"
OTHER = "http://other.test"
HOSTS = ("api.test", "other.test", "one.test", "two.test")

Answer = Reply | Callable[[Request], Reply]


class Web:
    """Attributes:
    replies: for a path, what to answer in turn; the last one again and again. Else an echo.
    seen: what arrived, with scheme and host.
    """

    def __init__(self, pool: ConnectionPool, network: Network) -> None:
        self.pool = pool
        self.network = network
        self.replies: dict[str, list[Reply]] = {}
        self.seen: list[tuple[str, Request]] = []

    def serve(self, where: str) -> HTTPServer:
        async def respond(request: Request) -> Reply:
            self.seen.append((where, request))
            replies = self.replies.get(f"{where}{request.target}") or self.replies.get(
                request.target
            )
            if not replies:
                return Reply(body=f"{request.method} {request.target}".encode())
            return replies.pop(0) if len(replies) > 1 else replies[0]

        return http_server(respond)

    @property
    def asked(self) -> list[str]:
        return [f"{request.method} {where}{request.target}" for where, request in self.seen]

    @property
    def targets(self) -> list[str]:
        return [request.target for _, request in self.seen]

    def header(self, name: str) -> list[str | None]:
        """What each request had for this field."""
        return [request.header(name) for _, request in self.seen]

    def last(self, name: str) -> str | None:
        return self.header(name)[-1]


@asynccontextmanager
async def web(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None, **options: Any
) -> AsyncIterator[Web]:
    client, server = contexts or (None, None)
    async with Network() as network:
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, ssl_context=client, **options
        ) as pool:
            world = Web(pool, network)
            for number, name in enumerate(HOSTS, 1):
                address = f"192.0.2.{number}"
                network.host(name, address)
                network.listen(address, 80, world.serve(f"http://{name}"))
                if server is not None:
                    handler = world.serve(f"https://{name}")
                    network.listen(address, 443, handler, ssl_context=server)
            yield world
            await trio.sleep(1)
            nothing_held(pool, network)
        assert not network.open_sockets


def nothing_held(pool: ConnectionPool, network: Network) -> None:
    check_slots(pool)
    statistics = pool.statistics()
    assert (statistics.busy, statistics.dialling, statistics.waiting) == (0, 0, 0)
    assert statistics.idle == len(network.open_sockets)


def is_public_suffix(domain: str) -> bool:
    """A list of our own: what has no dot in it, and one with."""
    return "." not in domain or domain == "co.test"


def jar(**options: Any) -> Cookies:
    return Cookies(is_public_suffix=is_public_suffix, **options)


def to(location: str, status: int = 302, *fields: tuple[str, str]) -> Reply:
    return Reply(status, (("Location", location), *fields), b"moved")


def sets(*cookies: str, status: int = 200) -> Reply:
    return Reply(status, [("Set-Cookie", cookie) for cookie in cookies])
