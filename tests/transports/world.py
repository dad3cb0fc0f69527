"""Either library, a client of it on a pool of ours, and a server in memory that it talks to."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import trio
from inside import check_slots

from triopool import ConnectionPool
from triopool.testing import Handler, Network, Reply, Request

LIBRARIES = ["httpx", "httpx2"]
URL = "http://one.test"
TLS_URL = "https://one.test"
ADDRESS = "192.0.2.1"

Contexts: TypeAlias = tuple[ssl.SSLContext, ssl.SSLContext]
"""The client's and the server's."""


@dataclass(frozen=True)
class Library:
    """One of the two: its modules, which are of one shape.

    Attributes:
      client: ``httpx`` or ``httpx2``.
      core: ``httpcore`` or ``httpcore2``.
      ours: ``triopool.httpx`` or ``triopool.httpx2``.
    """

    name: str
    client: Any
    core: Any
    ours: Any

    @classmethod
    def of(cls, name: str) -> Library:
        modules = (name, name.replace("httpx", "httpcore"), f"triopool.{name}")
        return cls(name, *map(importlib.import_module, modules))


@dataclass(frozen=True)
class World:
    client: Any
    pool: ConnectionPool
    network: Network


@asynccontextmanager
async def serving(
    lib: Library,
    handler: Handler,
    contexts: Contexts | None = None,
    *,
    buffer_size: int = 65536,
    client: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[World]:
    """A client of *lib*, and a network in which *handler* is one.test. Nothing may be left at the
    end: no slot in use but idle ones, and then no socket.

    Args:
      client: arguments of the client; what is not said has no timeout.
      options: those of the transport.
    """
    ours, theirs = contexts or (None, None)
    async with Network(buffer_size=buffer_size) as network:
        network.host("one.test", ADDRESS)
        network.listen(ADDRESS, 80, handler)
        if theirs is not None:
            network.listen(ADDRESS, 443, handler, ssl_context=theirs)
        plugged = {"resolver": network.resolve, "socket_factory": network.socket}
        transport = lib.ours.TriopoolTransport(**plugged | {"ssl_context": ours} | options)
        async with lib.client.AsyncClient(
            transport=transport, **{"timeout": None} | (client or {})
        ) as made:
            yield World(made, transport.pool, network)
            await trio.sleep(6)  # Drains are through, and dials that nobody waits for.
            nothing_held(transport.pool, network)
        assert not network.open_sockets


def nothing_held(pool: ConnectionPool, network: Network) -> None:
    check_slots(pool)
    statistics = pool.statistics()
    assert (statistics.busy, statistics.dialling, statistics.waiting) == (0, 0, 0)
    assert statistics.idle == len(network.open_sockets)


async def echo(request: Request) -> Reply:
    """What arrived, as a response says it best: method, target, and the body."""
    return Reply(body=f"{request.method} {request.target} ".encode() + request.body)


def ok(body: bytes = b"", *fields: bytes) -> bytes:
    """A plain 200 with a Content-Length."""
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 200 OK", length, *fields, b"", body])


async def read_into(seen: bytearray, response: Any) -> None:
    """Read a body to its end, and keep what came even if that raises."""
    async for piece in response.aiter_raw():
        seen += piece


@asynccontextmanager
async def tcp(handler: Handler, ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL, without a slash at the end, of *handler* behind a real socket on loopback."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        if ssl_context is None:
            nursery.start_soon(trio.serve_listeners, handler, listeners)
        else:
            secure = [
                trio.SSLListener(one, ssl_context, https_compatible=True) for one in listeners
            ]
            nursery.start_soon(trio.serve_listeners, handler, secure)
        yield f"{'http' if ssl_context is None else 'https'}://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()
