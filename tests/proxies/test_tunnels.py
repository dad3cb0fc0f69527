"""Tunnels, through a pool: which requests get one, whose they are, and whom each layer trusts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from dial.helpers import hello, pool_on
from trio.testing import MockClock

from triopool import ConnectionPool, LocalProtocolError, Proxy, ProxyError, TLSError
from triopool.abc import AddressInfo
from triopool.testing import (
    KeepOpen,
    Network,
    ReceiveRequest,
    Send,
    http_proxy,
    http_server,
    script,
    socks_proxy,
)

from .world import (
    ADA,
    HTTP,
    HTTPS,
    SECURE,
    SOCKS4,
    SOCKS4A,
    SOCKS5,
    SOCKS5H,
    A,
    B,
    Contexts,
    World,
    contexts,
    lent,
    world,
)


@pytest.fixture(scope="module")
def made() -> Contexts:
    return contexts()


def is_a_tunnel(response: Any) -> bool:
    assert response.connection.proxy is not None
    return not response.connection.proxy.forwards


# ── Which way ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("url", [A, SECURE])
@pytest.mark.parametrize("tunnel", [False, True])
@pytest.mark.parametrize("kind", [HTTP, HTTPS, SOCKS5H, SOCKS5, SOCKS4A, SOCKS4])
async def test_url_and_proxy_say_which_way(
    autojump_clock: MockClock, made: Contexts, url: str, tunnel: bool, kind: str
) -> None:
    proxy = Proxy(kind, tunnel=tunnel, ssl_context=made.lent if kind is HTTPS else None)
    forwarded = url is A and kind in (HTTP, HTTPS) and not tunnel
    async with world(made, proxy=proxy) as w:
        for n in range(2):
            response = await w.get(f"{url}/{n}")
        assert response.connection.reused
        assert is_a_tunnel(response) != forwarded
        assert (response.connection.tls is not None) == (url is SECURE)
        assert (response.connection.proxy.tls is not None) == (kind is HTTPS)
        port = 443 if url is SECURE else 80
        if kind in (HTTP, HTTPS):
            asked = [(one.method, one.target) for one in (w.http, w.https)[kind is HTTPS].requests]
            direct = [("GET", f"{A}/0"), ("GET", f"{A}/1")]
            assert asked == (direct if forwarded else [("CONNECT", f"a.test:{port}")])
        else:
            [request] = w.socks.requests
            assert request.port == port
            remote = kind in (SOCKS5H, SOCKS4A)
            assert (request.host, request.is_name) == (
                ("a.test", True) if remote else ("192.0.2.1", False)
            )
        looked_up = [event.endpoint for event in w.network.events("resolve")]
        assert ("a.test" in looked_up) == (kind in (SOCKS5, SOCKS4))
        assert [one.target for one in w.a.requests] == ["/0", "/1"]


async def test_a_request_for_another_protocol_gets_a_tunnel(autojump_clock: MockClock) -> None:
    async def switch(stream: trio.abc.Stream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive_some()
        assert head.startswith(b"GET /chat HTTP/1.1\r\nHost: a.test\r\n")
        assert b"Connection: Upgrade\r\n" in head
        assert b"proxy" not in head.lower()
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
        )
        assert await stream.receive_some() == b"ping"
        await stream.send_all(b"pong")

    async with world(proxy=Proxy(HTTP, auth=ADA), credentials=ADA) as w:
        w.network.listen("192.0.2.1", 80, switch)
        async with w.pool.stream("GET", f"{A}/chat", headers={"Upgrade": "chat"}) as response:
            assert response.upgraded is not None
            await response.upgraded.send_all(b"ping")
            assert await response.upgraded.receive_some() == b"pong"
            assert is_a_tunnel(response)
        assert [request.method for request in w.http.requests] == ["CONNECT"]
        assert w.pool.statistics().open == 0


async def test_a_refused_upgrade_leaves_a_tunnel_that_no_plain_request_takes(
    autojump_clock: MockClock,
) -> None:
    async with world(proxy=HTTP) as w:
        async with w.pool.stream("GET", f"{A}/x", headers={"Upgrade": "chat"}) as response:
            assert await response.read() == b"/x"
        await w.get(f"{A}/y")
        assert [one.method for one in w.http.requests] == ["CONNECT", "GET"]
        assert w.pool.statistics().open == 2
        async with w.pool.stream("GET", f"{A}/z", headers={"Upgrade": "chat"}) as response:
            assert response.connection.reused


async def test_a_connect_of_the_programs_own_is_asked_through_a_tunnel(
    autojump_clock: MockClock,
) -> None:
    """The program speaks with a proxy of its own, which it reaches through the pool's."""
    async with world(proxy=Proxy(SOCKS5H, auth=ADA), credentials=ADA) as w:
        inner = http_proxy(w.network)
        w.network.listen("192.0.2.9", 3128, inner)
        async with w.pool.stream("CONNECT", HTTP, target="b.test:80") as response:
            assert response.upgraded is not None
            await response.upgraded.send_all(b"GET /in HTTP/1.1\r\nHost: b.test\r\n\r\n")
            assert b"/in" in await response.upgraded.receive_some()
        assert [request.target for request in inner.requests] == ["b.test:80"]
        assert [request.host for request in w.socks.requests] == ["proxy.test"]


async def test_a_connect_through_an_http_proxy_is_never_forwarded(
    autojump_clock: MockClock,
) -> None:
    async with world(proxy=HTTP) as w:
        w.network.host("inner.test", "192.0.2.20")
        w.network.listen("192.0.2.20", 80, http_proxy(w.network))
        async with w.pool.stream("CONNECT", "http://inner.test", target="b.test:80") as response:
            assert response.upgraded is not None
        assert [one.target for one in w.http.requests] == ["inner.test:80"]


async def test_connect_has_nothing_of_the_request(autojump_clock: MockClock) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    server = script(
        ReceiveRequest(),
        Send(b"HTTP/1.1 204 x\r\n\r\n"),
        ReceiveRequest(),
        Send(answer),
        KeepOpen(),
    )
    async with world(proxy=Proxy(HTTP, auth=ADA, headers={"X-Token": "t"}, tunnel=True)) as w:
        w.network.listen("192.0.2.9", 3128, server)
        response = await w.pool.put(
            "http://eve:pw@a.test/path?query",
            content=b"body",
            headers={"Cookie": "c", "X-Mine": "m"},
        )
        assert response.content == b"ok"
    connect, request = server.conversations[0].received.split(b"\r\n\r\n", 1)
    lines = connect.split(b"\r\n")
    assert lines[:2] == [b"CONNECT a.test:80 HTTP/1.1", b"Host: a.test:80"]
    names = [line.split(b":")[0] for line in lines[1:]]
    assert names == [b"Host", b"User-Agent", b"Proxy-Authorization", b"X-Token"]
    assert request.startswith(b"PUT /path?query HTTP/1.1\r\nHost: a.test\r\n")
    assert b"Proxy-Authorization" not in request
    assert b"X-Token" not in request


@pytest.mark.parametrize("way", ["forwarded", "tunnel", "direct"])
async def test_a_proxys_credentials_among_the_requests_fields_are_refused(
    autojump_clock: MockClock, way: str
) -> None:
    proxy = {"forwarded": HTTP, "tunnel": Proxy(HTTP, tunnel=True), "direct": None}[way]
    async with world(proxy=proxy) as w:
        for name in ("Proxy-Authorization", "proxy-authorization"):
            with pytest.raises(LocalProtocolError, match=r"Proxy\(auth=\)") as caught:
                await w.pool.get(f"{A}/", headers={name: "Basic c2VjcmV0"})
            assert "c2VjcmV0" not in str(caught.value)
        assert not w.network.events("resolve", "socket")
        assert w.pool.statistics().dialled == 0


# ── Whose tunnel ───────────────────────────────────────────────────────────────────────────────


async def test_each_origin_and_each_proxy_has_tunnels_of_its_own(autojump_clock: MockClock) -> None:
    ways: list[Any] = [
        Proxy(HTTP, tunnel=True),
        Proxy(HTTP, tunnel=True, auth=ADA),
        Proxy(HTTP, tunnel=True, auth=("ada", "other")),
        Proxy(HTTP, tunnel=True, headers={"X": "1"}),
        Proxy(HTTP, tunnel=True, headers={"X": "2"}),
        Proxy(HTTP, tunnel=True, share_connections=False),
        Proxy(HTTP, tunnel=True, via=SOCKS5H),
        Proxy(HTTP, tunnel=True, via=SOCKS4A),
        SOCKS5H,
        SOCKS5,
        None,
    ]
    async with world(max_connections=50) as w:
        w.network.listen("192.0.2.9", 3128, Anyone(w))
        seen = set()
        for way in ways * 2:
            for origin in (A, B):
                response = await w.get(f"{origin}/x", proxy=way)
                seen.add(response.connection.id)
        statistics = w.pool.statistics()
        assert len(seen) == statistics.open == len(statistics.origins) == 2 * len(ways)
        assert statistics.reused == 2 * len(ways)


class Anyone:
    """An HTTP proxy that takes any credentials."""

    def __init__(self, w: World) -> None:
        self._w = w

    async def __call__(self, stream: trio.abc.Stream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = await stream.receive_some()
            if not data:
                return
            head += data
        host, _, port = head.split()[1].decode().partition(":")
        onward = await self._w.network.connect(host, int(port))
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pass_on(source: trio.abc.Stream, to: trio.abc.Stream) -> None:
            while data := await source.receive_some():
                await to.send_all(data)
            await to.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pass_on, stream, onward)
            nursery.start_soon(pass_on, onward, stream)


async def test_a_server_name_is_part_of_a_tunnels_key(
    autojump_clock: MockClock, made: Contexts
) -> None:
    async with world(made, proxy=HTTP) as w:
        for _ in range(2):
            await w.get(f"{SECURE}/x")
            await w.get(f"{SECURE}/x", server_hostname="b.test")
        assert len(w.http.requests) == 2
        assert w.pool.statistics().open == 2


# ── Whom each layer trusts ─────────────────────────────────────────────────────────────────────


async def test_tls_in_tls_has_the_facts_of_both(autojump_clock: MockClock, made: Contexts) -> None:
    async with world(made, proxy=lent(made)) as w:
        info = (await w.get(f"{SECURE}/x")).connection
        assert info.tls is not None
        assert info.proxy is not None
        assert info.proxy.tls is not None
        assert info.tls.peer_certificate != info.proxy.tls.peer_certificate


async def test_the_pools_context_is_never_used_for_the_proxy(
    autojump_clock: MockClock, made: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trusts the proxy's certificate, and even so does not count."""
    empty = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr("triopool._dial.trust.default_context", lambda: empty)
    for url in (A, SECURE):
        async with world(made, proxy=HTTPS, ssl_context=made.lent) as w:
            with pytest.raises(ProxyError) as caught:
                await w.pool.get(f"{url}/")
            assert str(caught.value).startswith(
                "TLS with the proxy https://proxy.test:3129: the certificate of proxy.test was "
                "refused"
            )
            assert not w.https.requests
            assert not w.network.open_sockets


async def test_the_proxys_context_is_never_used_for_the_origin(
    autojump_clock: MockClock, made: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    both.check_hostname, both.verify_mode = False, ssl.CERT_NONE
    empty = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr("triopool._dial.trust.default_context", lambda: empty)
    for context in (None, made.lent):
        proxy = Proxy(HTTPS, ssl_context=both)
        async with world(made, proxy=proxy, ssl_context=context) as w:
            with pytest.raises(TLSError, match=r"the certificate of a\.test was refused") as caught:
                await w.pool.get(f"{SECURE}/")
            assert caught.value.origin == ("https", "a.test", 443)
            assert not w.a.requests
            assert not w.network.open_sockets


async def test_a_client_certificate_goes_where_its_context_goes(
    autojump_clock: MockClock, made: Contexts
) -> None:
    """Both sides ask for one. The proxy gets the proxy's, the origin none."""
    authority = trustme.CA()
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(mine)
    authority.issue_cert("client.test").configure_cert(mine)
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("proxy.test").configure_cert(asking)
    asking.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(asking)
    asks_too = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("a.test").configure_cert(asks_too)
    asks_too.verify_mode = ssl.CERT_OPTIONAL
    authority.configure_trust(asks_too)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusting)
    shown: list[Any] = []

    async with world(made, proxy=Proxy(HTTPS, ssl_context=mine), ssl_context=trusting) as w:

        async def origin(stream: trio.abc.Stream) -> None:
            secure: Any = stream
            await secure.receive_some()
            shown.append(secure.getpeercert())
            await secure.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        w.network.listen("192.0.2.9", 3129, w.https, ssl_context=asking)
        w.network.listen("192.0.2.1", 443, origin, ssl_context=asks_too)
        assert (await w.pool.get(f"{SECURE}/")).status_code == 200
    assert shown == [None]


async def test_a_server_name_for_the_request_is_not_the_proxys(
    autojump_clock: MockClock, made: Contexts
) -> None:
    async with world(made, proxy=lent(made)) as w:
        await w.get(f"{SECURE}/x", server_hostname="b.test")
    async with world(made, proxy=lent(made, server_hostname="elsewhere.test")) as w:
        with pytest.raises(ProxyError, match=r"TLS with the proxy https://proxy\.test:3129: "):
            await w.pool.get(f"{SECURE}/x", server_hostname="a.test")


# ── Chains, and Unix sockets ───────────────────────────────────────────────────────────────────


async def test_a_chain_of_all_kinds(autojump_clock: MockClock, made: Contexts) -> None:
    """TLS in TLS in a tunnel in SOCKS; each hop has its own credentials, and no other's."""
    chain = lent(made, auth=("third", "3"), via=Proxy(HTTP, auth=("second", "2"), via=SOCKS5H))
    async with world(made, proxy=chain) as w:
        second = http_proxy(w.network, credentials=("second", "2"))
        third = http_proxy(w.network, credentials=("third", "3"))
        w.network.listen("192.0.2.9", 3128, second)
        w.network.listen("192.0.2.9", 3129, third, ssl_context=made.proxy)
        for n in range(2):
            response = await w.get(f"{SECURE}/{n}")
        assert [(one.host, one.port) for one in w.socks.requests] == [("proxy.test", 3128)]
        assert [one.target for one in second.requests] == ["proxy.test:3129"]
        assert [one.target for one in third.requests] == ["a.test:443"]
        info = response.connection
        assert info.remote_address == ("192.0.2.10", 1080)
        assert info.proxy is not None
        assert info.proxy.url == HTTPS
        assert len(w.network.open_sockets) == w.pool.statistics().open == 1


@pytest.mark.parametrize("kind", ["http://ada:secret@nowhere", "socks5h://ada:secret@nowhere"])
async def test_a_proxy_at_a_unix_socket(
    autojump_clock: MockClock, kind: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "proxy")
    proxy = Proxy(kind, unix_socket=path)
    async with world(proxy=proxy) as w:
        make = http_proxy if kind.startswith("http") else socks_proxy
        server: Any = make(w.network, credentials=ADA)
        w.network.listen(path, None, server)
        response = await w.get(f"{A}/x")
        assert response.connection.proxy is not None
        assert "secret" not in response.connection.proxy.url
        assert not w.network.events("resolve")
        assert len(server.requests) == 1


async def test_a_unix_socket_is_another_way_than_the_same_url_without(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    path = str(tmp_path / "proxy")
    async with world() as w:
        other = http_proxy(w.network)
        w.network.listen(path, None, other)
        await w.get(f"{A}/1", proxy=HTTP)
        await w.get(f"{A}/2", proxy=Proxy(HTTP, unix_socket=path))
        assert (len(w.http.requests), len(other.requests)) == (1, 1)


async def test_a_pools_unix_socket_is_for_origins_and_a_requests_proxy_goes_past_it(
    autojump_clock: MockClock,
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "origin")
    async with world(unix_socket=path) as w:
        w.network.listen(path, None, w.a)
        assert (await w.get(f"{B}/1")).connection.proxy is None
        assert (await w.get(f"{B}/2", proxy=HTTP)).connection.proxy is not None
        assert [one.target for one in w.a.requests] == ["/1"]
        assert [one.target for one in w.b.requests] == ["/2"]


def test_a_pools_unix_socket_beside_its_proxy_is_refused(tmp_path: Path) -> None:
    for proxy in (HTTP, Proxy(HTTP), lambda origin: HTTP):
        with pytest.raises(ValueError, match=r"Proxy\(unix_socket="):
            ConnectionPool(unix_socket=tmp_path / "origin", proxy=proxy)


# ── The first hop is dialled as an origin is ───────────────────────────────────────────────────


async def test_the_proxys_addresses_race_and_the_factory_gets_them(
    autojump_clock: MockClock,
) -> None:
    asked: list[Any] = []
    async with Network() as network:

        def factory(address: AddressInfo) -> Any:
            asked.append(address.sockaddr[:2])
            return network.socket(address)

        network.host("proxy.test", "2001:db8::9", "192.0.2.9")
        network.host("a.test", "192.0.2.1")
        network.hang("2001:db8::9", 3128)
        network.listen("192.0.2.9", 3128, http_proxy(network))
        network.listen("192.0.2.1", 80, http_server(hello))
        async with pool_on(network, socket_factory=factory, proxy=HTTP) as pool:
            assert (await pool.get(f"{A}/x")).text == "hello"
    assert asked == [("2001:db8::9", 3128), ("192.0.2.9", 3128)]
    assert trio.current_time() == 0.25


async def test_the_local_address_is_bound_for_the_proxy(autojump_clock: MockClock) -> None:
    async with world(proxy=SOCKS5H, local_address="192.0.2.77") as w:
        response = await w.get(f"{A}/x")
        assert response.connection.local_address[0] == "192.0.2.77"
        w.network.host("proxy.test", "2001:db8::9")
        with pytest.raises(ProxyError, match="another address family"):
            await w.pool.get(f"{A}/", proxy=HTTP)


async def test_a_socks5_proxy_is_asked_for_one_address_after_the_other_within_one_slot(
    autojump_clock: MockClock,
) -> None:
    async with world(proxy=SOCKS5) as w:
        w.network.host("a.test", "192.0.2.31", "192.0.2.32", "192.0.2.1")
        await w.get(f"{A}/x")
        assert sorted(one.host for one in w.socks.requests)[0] == "192.0.2.1"
        statistics = w.pool.statistics()
        assert (statistics.open, statistics.dialled, statistics.dial_failures) == (1, 1, 0)
        assert w.socks.connections == 3
