"""The pool through proxies that others wrote: squid, haproxy, tinyproxy, dante, microsocks.

What a proxy refuses or breaks is told as the proxy's fault; what it passes on is as without one.
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
from servers import (
    FORBIDDEN_PORT,
    Dante,
    Microsocks,
    Nginx,
    Squid,
    Tinyproxy,
    TLSFront,
    WebSocketServer,
    kill,
    run_dante,
    run_microsocks,
    run_squid,
    run_tinyproxy,
    run_tls_front,
    running_again,
)

from triopool import (
    DIRECT,
    AddressInfo,
    ConnectionPool,
    ConnectTimeout,
    Proxy,
    ProxyError,
    ReadError,
    RemoteProtocolError,
    StatusError,
    Timeouts,
    WriteError,
)

from .helpers import PATIENCE, all_at_once, nothing_is_held, until
from .websocket import websocket

Server = Literal["plain", "tls"]
both = pytest.mark.parametrize("server", ["plain", "tls"])
pytestmark = pytest.mark.usefixtures("no_leaked_sockets")

ADA = "ada:s3cret"
SQUIDS_ADA = "ada:s3%3Acret"
WRONG = "ada:wr0ng"


@dataclass(frozen=True)
class Way:
    """A way through a proxy.

    Attributes:
      fixture: the proxy.
      url: made of the running proxy.
      tunnel: of :class:`triopool.Proxy`.
      keeps: whether the proxy keeps connections on which it forwards.
    """

    fixture: str
    url: Callable[[Any], str]
    tunnel: bool = False
    keeps: bool = True


WAYS = {
    "squid": Way("squid", lambda squid: squid.url()),
    "squid, tunnel": Way("squid", lambda squid: squid.url(), tunnel=True),
    "squid, credentials": Way("squid", lambda squid: squid.url("closed", credentials=SQUIDS_ADA)),
    "squid, TLS": Way("squid_tls", lambda front: front.url("closed", credentials=SQUIDS_ADA)),
    "squid, TLS, tunnel": Way("squid_tls", lambda front: front.url(), tunnel=True),
    "tinyproxy": Way("tinyproxy", lambda tinyproxy: tinyproxy.url(), keeps=False),
    "tinyproxy, tunnel": Way("tinyproxy", lambda tinyproxy: tinyproxy.url(), tunnel=True),
    "tinyproxy, credentials": Way(
        "closed_tinyproxy", lambda tinyproxy: tinyproxy.url(credentials=ADA), keeps=False
    ),
    "dante, SOCKS5": Way("dante", lambda dante: dante.url("socks5")),
    "dante, SOCKS5h": Way("dante", lambda dante: dante.url("socks5h")),
    "dante, SOCKS4": Way("dante", lambda dante: dante.url("socks4")),
    "microsocks": Way("microsocks", lambda microsocks: microsocks.url()),
    "microsocks, credentials": Way(
        "closed_microsocks", lambda microsocks: microsocks.url("socks5", credentials=ADA)
    ),
}
every_way = pytest.mark.parametrize("way", WAYS, indirect=True)
each_kind_of_way = pytest.mark.parametrize(
    ("way", "server"),
    [
        ("squid", "plain"),
        ("squid", "tls"),
        ("squid, TLS", "tls"),
        ("tinyproxy", "plain"),
        ("dante, SOCKS5", "plain"),
        ("microsocks", "tls"),
    ],
    indirect=["way"],
)
"""Each proxy, and each kind of way, once: for what takes long."""


@pytest.fixture(scope="session")
def way(request: pytest.FixtureRequest) -> Way:
    """A way, with its proxy running before anything counts the sockets of a test."""
    chosen = WAYS[request.param]
    request.getfixturevalue(chosen.fixture)
    return chosen


@pytest.fixture
def proxy(request: pytest.FixtureRequest, way: Way, client_ssl_context: ssl.SSLContext) -> Proxy:
    """The proxy of the test's *way*."""
    url = way.url(request.getfixturevalue(way.fixture))
    context = client_ssl_context if url.startswith("https") else None
    return Proxy(url, ssl_context=context, tunnel=way.tunnel)


# ── What works as without one ──────────────────────────────────────────────────────────────────


@both
@every_way
async def test_requests_go_through_and_share_a_connection(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, proxy: Proxy, way: Way, server: Server
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context, proxy=proxy) as pool:
        for _ in range(10):
            response = await pool.get(nginx.url("/2000", server=server))
            assert (response.status_code, len(response.content)) == (200, 2000)
            info = response.connection.proxy
            assert info is not None
            assert info.url == proxy.url
            assert (info.tls is not None) == proxy.url.startswith("https")
        forwarded = server == "plain" and not proxy.tunnel and proxy.url.startswith("http")
        assert response.connection.proxy.forwards == forwarded
        expected = 10 if forwarded and not way.keeps else 1
        assert pool.statistics().dialled == expected
        nothing_is_held(pool)


@each_kind_of_way
async def test_a_hundred_requests_at_once_share_twenty_connections(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, proxy: Proxy, server: Server
) -> None:
    path = f"/2000?{uuid.uuid4()}"
    urls = [nginx.url(f"{path}-{i}-", server=server) for i in range(100)]
    async with ConnectionPool(
        max_connections=20, ssl_context=client_ssl_context, proxy=proxy
    ) as pool:
        bodies = await all_at_once(pool, urls)
        assert [len(body) for body in bodies] == [2000] * 100
        assert pool.statistics().open <= 20
        nothing_is_held(pool)
    assert len(nginx.requests(path)) == 100


@each_kind_of_way
async def test_a_hundred_connections_at_once(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, proxy: Proxy, server: Server
) -> None:
    """Each asks for bytes of its own, and keeps its connection until all have theirs."""
    url = nginx.url("/large", server=server)
    pieces: dict[int, bytes] = {}

    async def fetch(number: int) -> None:
        wanted = {"Range": f"bytes={number * 1000}-{number * 1001}"}
        async with pool.stream("GET", url, headers=wanted) as response:
            assert response.status_code == 206
            pieces[number] = await response.read()
            if len(pieces) == 100:
                all_here.set()
            await all_here.wait()

    all_here = trio.Event()
    async with ConnectionPool(
        max_connections=100, ssl_context=client_ssl_context, proxy=proxy
    ) as pool:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(fetch, number)
        nothing_is_held(pool)
    large = nginx.directory / "www" / "large"
    expected = large.read_bytes()
    assert all(piece == expected[n * 1000 : n * 1001 + 1] for n, piece in pieces.items())


@each_kind_of_way
async def test_fifty_megabytes_both_ways(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, proxy: Proxy, server: Server
) -> None:
    piece = bytes(range(256)) * 4096
    url = nginx.url(f"/store/{uuid.uuid4()}", server=server)

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(50):
            yield number.to_bytes(4, "big") + piece[4:]

    sent, received = hashlib.sha256(), hashlib.sha256()
    async for part in pieces():
        sent.update(part)
    async with ConnectionPool(ssl_context=client_ssl_context, proxy=proxy) as pool:
        with trio.fail_after(PATIENCE):
            stored = await pool.put(url, content=pieces())
            assert stored.status_code == 201
            async with pool.stream("GET", url) as response:
                async for part in response:
                    received.update(part)
            assert (await pool.delete(url)).status_code == 204
        nothing_is_held(pool)
    assert received.digest() == sent.digest()


async def test_forwarded_requests_of_all_origins_share_a_connection(
    squid: Squid, nginx: Nginx
) -> None:
    urls = [
        nginx.url("/2000", server=server, host=host)
        for host in ("one.test", "two.test", "127.0.0.1")
        for server in ("plain", "announced")
    ]
    async with ConnectionPool(proxy=squid.url()) as pool:
        for url in urls:
            assert len((await pool.get(url)).content) == 2000
        assert pool.statistics().dialled == 1
    async with ConnectionPool(proxy=Proxy(squid.url(), share_connections=False)) as pool:
        for url in urls:
            assert len((await pool.get(url)).content) == 2000
        assert pool.statistics().dialled == len(urls)


@each_kind_of_way
async def test_a_websocket_goes_through_a_tunnel(
    websockets: WebSocketServer, client_ssl_context: ssl.SSLContext, proxy: Proxy, server: Server
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context, proxy=proxy) as pool:
        with trio.fail_after(PATIENCE):
            # The first message comes together with the 101.
            async with websocket(pool, websockets.url("/early", server=server)) as ws:
                assert await ws.receive() == "early"
                for message in ("hello", bytes(100_000)):
                    await ws.send(message)
                    assert await ws.receive() == message
        assert pool.statistics().open == 0


async def test_an_upgrade_goes_through_squid_beside_forwarded_requests(
    squid: Squid, hypercorn: str
) -> None:
    """What squid forwards loses its Upgrade: so a request with one has to go another way."""
    async with ConnectionPool(proxy=squid.url()) as pool:
        with trio.fail_after(PATIENCE):
            response = await pool.get(f"{hypercorn}/headers")
            assert response.connection.proxy is not None
            assert response.connection.proxy.forwards
            async with websocket(pool, f"{hypercorn}/") as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
            again = await pool.get(f"{hypercorn}/headers")
            assert again.connection.id == response.connection.id
        assert any("CONNECT" in line for line in squid.requests())
        nothing_is_held(pool)


async def test_session_tickets_inside_of_two_layers_of_tls_do_not_spoil_a_connection(
    squid_tls: TLSFront, nginx: Nginx, client_ssl_context: ssl.SSLContext
) -> None:
    proxy = Proxy(squid_tls.url(), ssl_context=client_ssl_context)
    url = nginx.url("/whoami", server="tls")
    async with ConnectionPool(ssl_context=client_ssl_context, proxy=proxy) as pool:
        await pool.warm_up(url, 4)
        await trio.sleep(0.1)  # the tickets are here: healthy, and readable nevertheless
        bodies = await all_at_once(pool, [url] * 4)
        assert len({body.split()[0] for body in bodies}) == 4
        assert pool.statistics().dialled == 4
        response = await pool.get(url)
        assert response.connection.reused
        for tls in (response.connection.tls, response.connection.proxy.tls):
            assert tls.version == "TLSv1.3"  # Before it there are no tickets behind a handshake.


async def test_each_request_may_have_its_own_proxy(
    squid: Squid, tinyproxy: Tinyproxy, microsocks: Microsocks, nginx: Nginx
) -> None:
    proxies = [squid.url(), tinyproxy.url(), microsocks.url(), DIRECT]
    async with ConnectionPool(proxy=squid.url("closed")) as pool:
        for _ in range(2):
            for proxy in proxies:
                response = await pool.get(nginx.url("/2000"), proxy=proxy)
                info = response.connection.proxy
                assert (info and info.url) == (None if proxy is DIRECT else proxy)
        assert (await pool.get(nginx.url("/2000"))).status_code == 407


async def test_a_proxy_can_be_reached_through_another(
    squid_tls: TLSFront, microsocks: Microsocks, nginx: Nginx, client_ssl_context: ssl.SSLContext
) -> None:
    context = client_ssl_context
    for first, second in (
        (Proxy(squid_tls.url(), ssl_context=context), Proxy(microsocks.url())),
        (Proxy(microsocks.url()), Proxy(squid_tls.url(), ssl_context=context)),
    ):
        chain = Proxy(second.url, ssl_context=second.ssl_context, via=first)
        async with ConnectionPool(ssl_context=context, proxy=chain) as pool:
            for server in ("plain", "tls"):
                url = nginx.url("/2000", server=server)
                assert [len((await pool.get(url)).content) for _ in range(2)] == [2000, 2000]
            assert pool.statistics().dialled == 2


async def test_names_are_looked_up_where_the_scheme_says(
    squid: Squid, dante: Dante, nginx: Nginx
) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int, /) -> Sequence[AddressInfo]:
        asked.append(host)
        infos = await trio.socket.getaddrinfo("127.0.0.1", port, type=trio.socket.SOCK_STREAM)
        return [AddressInfo(*info) for info in infos]

    async with ConnectionPool(resolver=resolve) as pool:
        for proxy in (squid.url(), Proxy(squid.url(), tunnel=True)):
            await pool.get(nginx.url("/2000", host="one.test"), proxy=proxy)
        await pool.get(nginx.url("/2000", host="localhost"), proxy=dante.url("socks5h"))
        assert asked == []
        for scheme in ("socks5", "socks4"):
            await pool.get(nginx.url("/2000", host=f"{scheme}.test"), proxy=dante.url(scheme))
        assert asked == ["socks5.test", "socks4.test"]


@pytest.mark.parametrize("tunnel", [False, True])
async def test_the_origin_is_told_nothing_of_the_proxys_credentials(
    squid: Squid, hypercorn: str, tunnel: bool
) -> None:
    url = squid.url("closed", credentials=SQUIDS_ADA)
    async with ConnectionPool(proxy=Proxy(url, tunnel=tunnel)) as pool:
        fields = json.loads((await pool.get(f"{hypercorn}/headers")).content)
    assert "proxy-authorization" not in [name.lower() for name, _ in fields]
    assert ("via" in [name.lower() for name, _ in fields]) != tunnel


# ── What a proxy refuses ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("credentials", ["", WRONG])
async def test_squid_wants_other_credentials(squid: Squid, nginx: Nginx, credentials: str) -> None:
    url = squid.url("closed", credentials=credentials)
    async with ConnectionPool(proxy=url) as pool:
        response = await pool.get(nginx.url("/2000"))
        assert response.status_code == 407
        why = "does not accept these credentials" if credentials else "wants credentials"
        with pytest.raises(StatusError, match=f"407 .*: the proxy .* {why}"):
            response.raise_for_status()
        with pytest.raises(ProxyError, match=f"407 .* {why}") as caught:
            await pool.get(nginx.url("/2000", server="tls"))
        assert caught.value.status_code == 407
        fields = {name.lower(): value for name, value in caught.value.headers}
        assert fields[b"proxy-authenticate"] == b'Basic realm="triopool"'
        assert "wr0ng" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
        nothing_is_held(pool)


async def test_tinyproxy_wants_other_credentials(closed_tinyproxy: Tinyproxy, nginx: Nginx) -> None:
    async with ConnectionPool() as pool:
        for credentials, status in (("", 407), (WRONG, 401)):
            proxy = closed_tinyproxy.url(credentials=credentials)
            assert (await pool.get(nginx.url("/2000"), proxy=proxy)).status_code == status
            with pytest.raises(ProxyError) as caught:
                await pool.get(nginx.url("/2000", server="tls"), proxy=proxy)
            assert caught.value.status_code == status
        nothing_is_held(pool)


@pytest.mark.parametrize("credentials", ["", WRONG])
async def test_socks_wants_other_credentials(
    closed_microsocks: Microsocks, dante: Dante, nginx: Nginx, credentials: str
) -> None:
    async with ConnectionPool() as pool:
        for proxy in (
            closed_microsocks.url(credentials=credentials),
            dante.url("socks5", "closed", credentials=credentials),
        ):
            with pytest.raises(ProxyError, match="credentials") as caught:
                await pool.get(nginx.url("/2000"), proxy=proxy)
            assert "wr0ng" not in str(caught.value)
        nothing_is_held(pool)


@pytest.mark.parametrize(("host", "status"), [("forbidden.test", 403), ("one.test", 503)])
async def test_squid_refuses(squid: Squid, unused_port: int, host: str, status: int) -> None:
    async with ConnectionPool(proxy=squid.url()) as pool:
        response = await pool.get(f"http://{host}:{unused_port}/")
        assert response.status_code == status
        with pytest.raises(ProxyError, match=str(status)) as caught:
            await pool.get(f"https://{host}:{unused_port}/")
        assert caught.value.status_code == status
        assert caught.value.proxy == squid.url()
        nothing_is_held(pool)


async def test_tinyproxy_refuses(tinyproxy: Tinyproxy, unused_port: int) -> None:
    async with ConnectionPool(proxy=tinyproxy.url()) as pool:
        assert (await pool.get("http://forbidden.test/")).status_code == 403
        for host, status in (("forbidden.test", 403), ("127.0.0.1", 500)):
            with pytest.raises(ProxyError) as caught:
                await pool.get(f"https://{host}:{unused_port}/")
            assert caught.value.status_code == status


async def test_socks_refuses(
    dante: Dante, microsocks: Microsocks, nginx: Nginx, unused_port: int
) -> None:
    async with ConnectionPool() as pool:
        for proxy, url, why in (
            (dante.url("socks5"), f"http://127.0.0.1:{FORBIDDEN_PORT}/", "rule"),
            (dante.url("socks5"), f"http://127.0.0.1:{unused_port}/", "refused"),
            (microsocks.url(), f"http://127.0.0.1:{unused_port}/", "refused"),
            (dante.url("socks4"), f"http://127.0.0.1:{unused_port}/", "refused"),
            # dante has no 4a.
            (dante.url("socks4a"), nginx.url("/2000", host="localhost"), "refused"),
        ):
            with pytest.raises(ProxyError, match=why):
                await pool.get(url, proxy=proxy)
        nothing_is_held(pool)


async def test_a_proxy_of_another_kind_is_told_as_that(
    squid: Squid, microsocks: Microsocks, nginx: Nginx
) -> None:
    async with ConnectionPool() as pool:
        for proxy, why in (
            (nginx.url("").replace("http", "socks5"), "answered with HTTP: is it an http:// proxy"),
            (Proxy(microsocks.url("http"), tunnel=True), "what is not legal HTTP/1.1"),
        ):
            with trio.fail_after(PATIENCE), pytest.raises(ProxyError, match=why):
                await pool.get(nginx.url("/2000"), proxy=proxy)
        # squid waits for the end of a line, which SOCKS does not have.
        proxy = squid.url().replace("http", "socks5")
        why = f"waiting for {proxy} to connect"
        with pytest.raises(ConnectTimeout, match=why):
            await pool.get(nginx.url("/2000"), proxy=proxy, timeouts=Timeouts(connect=0.5))
        await until(lambda: pool.statistics().dialling == 0)
        nothing_is_held(pool)


async def test_the_proxys_certificate_is_not_verified_by_the_pools_context(
    squid_tls: TLSFront, nginx: Nginx, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context, proxy=squid_tls.url()) as pool:
        with pytest.raises(ProxyError, match="certificate"):
            await pool.get(nginx.url("/2000", server="tls"))


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


# ── Proxies that die ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Mortal:
    """A proxy of the test's own.

    Attributes:
      proxy: how to reach it.
      port: where it listens.
    """

    proxy: Proxy
    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def mortal(
    name: str, make_directory: Callable[[], Path], ca: Any, context: ssl.SSLContext
) -> Iterator[Mortal]:
    if name == "squid":
        with run_squid(make_directory()) as squid:
            yield Mortal(Proxy(squid.url()), squid.ports["open"], squid.process)
    elif name == "haproxy":
        with (
            run_squid(make_directory()) as squid,
            run_tls_front(make_directory(), ca, squid.ports) as front,
        ):
            proxy = Proxy(front.url(), ssl_context=context)
            yield Mortal(proxy, front.ports["open"], front.process)
    elif name == "tinyproxy":
        with run_tinyproxy(make_directory(), credentials=False) as tinyproxy:
            yield Mortal(Proxy(tinyproxy.url()), tinyproxy.port, tinyproxy.process)
    elif name == "dante":
        with run_dante(make_directory()) as dante:
            yield Mortal(Proxy(dante.url("socks5")), dante.ports["open"], dante.process)
    else:
        with run_microsocks(make_directory(), credentials=False) as microsocks:
            yield Mortal(Proxy(microsocks.url()), microsocks.port, microsocks.process)


@both
@pytest.mark.parametrize("name", ["squid", "haproxy", "tinyproxy", "dante", "microsocks"])
async def test_a_proxy_is_killed_in_the_middle_and_comes_back(
    nginx: Nginx,
    client_ssl_context: ssl.SSLContext,
    reachable_directory: Callable[[], Path],
    ca: Any,
    name: str,
    server: Server,
) -> None:
    url = nginx.url("/2000", server=server)
    with mortal(name, reachable_directory, ca, client_ssl_context) as running:
        proxy = running.proxy
        async with ConnectionPool(ssl_context=client_ssl_context, proxy=proxy) as pool:
            with trio.fail_after(PATIENCE):
                await all_at_once(pool, [url] * 2)
                await pool.warm_up(url, 2)  # So that one is idle while one is used.
                async with pool.stream("GET", nginx.url("/slow", server=server)) as response:
                    await response.receive_some()
                    kill(running.process)
                    with pytest.raises((ReadError, RemoteProtocolError)):
                        await response.read()
            for _ in range(3):
                with (
                    trio.fail_after(PATIENCE),
                    pytest.raises(ProxyError, match="Connection refused") as caught,
                ):
                    await pool.get(url)
                assert str(caught.value).startswith(f"the proxy {proxy.url} can't be reached: ")
                assert (caught.value.proxy, caught.value.status_code) == (proxy.url, None)
            await until(lambda: pool.statistics().dialling == 0)
            assert pool.statistics().open == 0
            # The way past it is open, if asked for, and only then.
            assert (await pool.get(url, proxy=DIRECT)).status_code == 200
            with running_again(running.process, running.port), trio.fail_after(PATIENCE):
                assert [len(body) for body in await all_at_once(pool, [url] * 20)] == [2000] * 20
                nothing_is_held(pool)


@both
@pytest.mark.parametrize("name", ["squid", "haproxy", "tinyproxy", "dante", "microsocks"])
async def test_a_proxy_is_killed_under_an_upload(
    nginx: Nginx,
    client_ssl_context: ssl.SSLContext,
    reachable_directory: Callable[[], Path],
    ca: Any,
    name: str,
    server: Server,
) -> None:
    with mortal(name, reachable_directory, ca, client_ssl_context) as running:

        async def pieces() -> AsyncIterator[bytes]:
            for number in range(1000):
                if number == 3:
                    kill(running.process)
                yield bytes(100_000)

        async with ConnectionPool(ssl_context=client_ssl_context, proxy=running.proxy) as pool:
            url = nginx.url(f"/store/{uuid.uuid4()}", server=server)
            with (
                trio.fail_after(PATIENCE),
                pytest.raises((ReadError, RemoteProtocolError, WriteError)),
            ):
                await pool.put(url, content=pieces())
            nothing_is_held(pool)
            assert pool.statistics().open == 0
