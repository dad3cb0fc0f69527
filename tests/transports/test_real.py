"""Both libraries against real servers, over TCP and TLS: streams, WebSockets, events."""

from __future__ import annotations

import hashlib
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import httpx_sse
import httpx_ws
import pytest
import servers
import trio
import trustme
import wsproto.frame_protocol
from servers import Nginx, WebSocketServer, serve_hypercorn, server_certificate

import triopool
from triopool import ConnectionPool

from .world import Library

pytestmark = pytest.mark.usefixtures("no_leaked_sockets")

PATIENCE = 60.0
"""A guard against hanging, in seconds: what a test waits for takes milliseconds."""

Tls = Literal["plain", "tls"]
Url: TypeAlias = Callable[[str], str]


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> Tls:
    name: Tls = request.param
    return name


@pytest.fixture
async def client(lib: Library, client_ssl_context: ssl.SSLContext) -> AsyncIterator[Any]:
    """A client of the library, with a pool of at most ten; nothing is held at the end."""
    async with (
        ConnectionPool(ssl_context=client_ssl_context, max_connections=10) as pool,
        lib.ours.AsyncClient(pool=pool, trust_env=False, timeout=PATIENCE) as made,
    ):
        made.pool = pool
        with trio.fail_after(PATIENCE):
            yield made
        nothing_is_held(pool)


def nothing_is_held(pool: ConnectionPool) -> None:
    """Every slot that is not idle is free."""
    statistics = pool.statistics()
    assert (statistics.busy, statistics.waiting) == (0, 0)
    assert statistics.open == statistics.idle + statistics.dialling


@pytest.fixture(params=["nginx", "hypercorn"])
def url(request: pytest.FixtureRequest, tls: Tls) -> Url:
    """The URL of a path at one of the servers."""
    found: Url = request.getfixturevalue(f"at_{request.param}")
    return found


@pytest.fixture
def at_nginx(nginx: Nginx, tls: Tls) -> Url:
    return lambda path: nginx.url(path, server=tls)


@pytest.fixture
async def at_hypercorn(ca: trustme.CA, tls: Tls, tmp_path: Path) -> AsyncIterator[Url]:
    certificate = tmp_path / "server.pem"
    server_certificate(ca).private_key_and_cert_chain_pem.write_to_path(certificate)
    async with serve_hypercorn(certificate if tls == "tls" else None) as base:
        yield lambda path: base + path


# ── Requests ───────────────────────────────────────────────────────────────────────────────────


async def test_requests_share_one_connection(client: Any, url: Url) -> None:
    for _ in range(20):
        response = await client.get(url("/chunked"))
        assert (response.status_code, response.http_version) == (200, "HTTP/1.1")
        assert response.content
    statistics = client.pool.statistics()
    assert (statistics.dialled, statistics.reused) == (1, 19)


async def test_a_hundred_requests_at_once_share_ten_connections(client: Any, url: Url) -> None:
    bodies: list[bytes] = []

    async def ask() -> None:
        bodies.append((await client.get(url("/chunked"))).raise_for_status().content)

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask)
    assert len(set(bodies)) == 1
    assert len(bodies) == 100
    statistics = client.pool.statistics()
    assert (statistics.dialled, statistics.idle) == (10, 10)


async def test_uploads_stream(client: Any, at_nginx: Url) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(65536)

    response = await client.post(at_nginx("/post"), content=pieces())
    # nginx undoes the chunks before it passes the body on.
    assert response.text == f"{64 * 65536}\n"
    length = {"Content-Length": str(64 * 65536)}
    response = await client.post(at_nginx("/post"), content=pieces(), headers=length)
    assert response.text == f"{64 * 65536}\n"


async def test_downloads_stream(client: Any, nginx: Nginx, at_nginx: Url) -> None:
    expected = await trio.Path(nginx.directory, "www", "large").read_bytes()
    digest, size, most = hashlib.sha256(), 0, 0
    async with client.stream("GET", at_nginx("/large")) as response:
        async for piece in response.aiter_raw():
            digest.update(piece)
            size, most = size + len(piece), max(most, len(piece))
    assert digest.digest() == hashlib.sha256(expected).digest()
    assert most < size
    assert client.pool.statistics().idle == 1


async def test_a_body_goes_there_and_back(client: Any, at_hypercorn: Url) -> None:
    body = random.Random(0).randbytes(1_000_000)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    response = await client.put(at_hypercorn("/echo"), content=pieces())
    assert response.content == body
    assert response.headers["x-method"] == "PUT"


async def test_pieces_come_while_the_server_is_still_making_them(
    client: Any, at_hypercorn: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is sent when the one before it has been read: whoever buffered them would hang."""
    read = trio.Semaphore(1)

    async def lockstep(scope: Any, query: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(5):
            await read.acquire()
            body = b"%d\n" % number
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setitem(servers.ROUTES, "/lockstep", lockstep)
    lines = []
    async with client.stream("GET", at_hypercorn("/lockstep")) as response:
        async for line in response.aiter_lines():
            lines.append(line)
            read.release()
    assert lines == ["0", "1", "2", "3", "4"]


@pytest.mark.filterwarnings("ignore:Async generator 'httpx2?[.]:ResourceWarning")
async def test_cancelled_requests_leave_every_slot_free(client: Any, at_nginx: Url) -> None:
    rng = random.Random(0)

    async def ask(seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with client.stream("GET", at_nginx("/slow")) as response:
                await response.aread()

    for _ in range(3):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask, rng.uniform(0, 0.05))
        nothing_is_held(client.pool)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(client.get, at_nginx("/2000"))


async def test_a_pool_is_shared_with_requests_of_ones_own(client: Any, url: Url) -> None:
    theirs = await client.get(url("/chunked"))
    ours = await client.pool.get(url("/chunked"))
    assert theirs.content == ours.content
    assert ours.connection.reused


# ── WebSockets ─────────────────────────────────────────────────────────────────────────────────


def websocket(lib: Library, client: Any, url: str) -> AbstractAsyncContextManager[Any]:
    """By httpx-ws, or by httpx2's own."""
    url = url.replace("http", "ws", 1)  # As one writes it: ws, or wss.
    if lib.name == "httpx":
        return httpx_ws.aconnect_ws(url, client)
    if not hasattr(client, "websocket"):
        pytest.skip("needs an httpx2 that knows WebSockets")
    made: AbstractAsyncContextManager[Any] = client.websocket(url)
    return made


@pytest.fixture(params=["websockets", "hypercorn"])
def socket_url(request: pytest.FixtureRequest, tls: Tls) -> Url:
    """The URL of a path at a server that speaks WebSocket."""
    found: Url = request.getfixturevalue(f"at_{request.param}")
    return found


@pytest.fixture
def at_websockets(websockets: WebSocketServer, tls: Tls) -> Url:
    return lambda path: websockets.url(path, server=tls)


async def test_a_websocket_holds_its_slot_and_frees_it(
    lib: Library, client: Any, socket_url: Url
) -> None:
    client.pool.max_connections = 1
    for _ in range(3):
        async with websocket(lib, client, socket_url("/")) as ws:
            for message in ("hello", "\u00fc" * 1000):
                await ws.send_text(message)
                assert await ws.receive_text() == message
            await ws.send_bytes(bytes(50_000))
            assert await ws.receive_bytes() == bytes(50_000)
            assert client.pool.statistics().busy == 1
            with pytest.raises(lib.client.PoolTimeout):
                await client.get(socket_url("/"), timeout=0.01)
        assert client.pool.statistics().open == 0


async def test_a_message_that_comes_with_the_handshake_is_not_lost(
    lib: Library, client: Any, socket_url: Url
) -> None:
    for _ in range(5):
        async with websocket(lib, client, socket_url("/early")) as ws:
            assert await ws.receive_text() == "early"


async def test_a_websocket_that_is_refused_is_an_error_of_the_library(
    lib: Library, client: Any, socket_url: Url
) -> None:
    refused: Any = httpx_ws if lib.name == "httpx" else pytest.importorskip("httpx2.websockets")
    with pytest.raises(refused.WebSocketUpgradeError) as caught:
        async with websocket(lib, client, socket_url("/refuse")):
            pass
    assert caught.value.response.status_code == 403


async def test_the_farewell_of_a_server_ends_a_websocket(
    lib: Library, client: Any, at_websockets: Url
) -> None:
    closed: Any = httpx_ws if lib.name == "httpx" else pytest.importorskip("httpx2.websockets")
    async with websocket(lib, client, at_websockets("/bye")) as ws:
        await ws.send_text("is anybody there?")
        assert await ws.receive_text() == "is anybody there?"
        with pytest.raises(closed.WebSocketDisconnect) as caught:
            await ws.receive_text()
        assert caught.value.code == wsproto.frame_protocol.CloseReason.NORMAL_CLOSURE


async def test_a_cancelled_websocket_frees_its_slot(
    lib: Library, client: Any, socket_url: Url
) -> None:
    with trio.CancelScope() as scope:
        async with websocket(lib, client, socket_url("/")) as ws:
            assert client.pool.statistics().busy == 1
            scope.cancel()
            await ws.receive_text()
    assert client.pool.statistics().open == 0


async def test_many_websockets_at_once(lib: Library, client: Any, socket_url: Url) -> None:
    async def talk(number: int) -> None:
        async with websocket(lib, client, socket_url("/")) as ws:
            for turn in range(10):
                await ws.send_text(f"{number} {turn}")
                assert await ws.receive_text() == f"{number} {turn}"

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(talk, number)
    assert (client.pool.statistics().open, client.pool.statistics().dialled) == (0, 20)


# ── Server-sent events ─────────────────────────────────────────────────────────────────────────


def events(lib: Library, client: Any, url: str) -> AbstractAsyncContextManager[Any]:
    """By httpx-sse, or by httpx2's own."""
    if lib.name == "httpx":
        return httpx_sse.aconnect_sse(client, "GET", url)
    if not hasattr(client, "sse"):
        pytest.skip("needs an httpx2 that knows server-sent events")
    made: AbstractAsyncContextManager[Any] = client.sse(url)
    return made


@pytest.mark.filterwarnings("ignore:Async generator 'httpx2?[.]:ResourceWarning")
async def test_events_arrive_one_by_one(
    lib: Library, client: Any, at_hypercorn: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = trio.Semaphore(1)

    async def emit(scope: Any, query: Any, receive: Any, send: Any) -> None:
        kind = (b"content-type", b"text/event-stream")
        await send({"type": "http.response.start", "status": 200, "headers": [kind]})
        for number in range(5):
            await read.acquire()
            event = b"event: count\ndata: %d\n\n" % number
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setitem(servers.ROUTES, "/events", emit)
    seen = []
    async with events(lib, client, at_hypercorn("/events")) as source:
        stream = source.aiter_sse() if hasattr(source, "aiter_sse") else source
        async for event in stream:
            seen.append((event.event, event.data))
            assert client.pool.statistics().busy == 1
            read.release()
    assert seen == [("count", str(number)) for number in range(5)]
    assert client.pool.statistics().idle == 1


# ── Errors ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_name_that_the_certificate_does_not_have(
    lib: Library, client: Any, nginx: Nginx
) -> None:
    url = nginx.url("/2000", server="tls")
    with pytest.raises(lib.client.ConnectError) as caught:
        await client.get(url, extensions={"sni_hostname": "elsewhere.test"})
    assert isinstance(caught.value.__cause__, triopool.TLSError)
    response = await client.get(url, extensions={"sni_hostname": "one.test"})
    assert len(response.content) == 2000
