"""What is the caller's gets to the right hop, and nothing of one request into the next.

A proxy with credentials, another one without, a SOCKS proxy, and two origins; all of them strict.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from urllib.parse import unquote

import pytest
import trio
import trustme
from dial.helpers import server_context
from inside import preparations
from trio.testing import MockClock

from triopool import (
    DIRECT,
    ConnectionPool,
    ConnectTimeout,
    LocalProtocolError,
    Origin,
    Proxy,
    ProxyError,
    ProxyRules,
    ReadTimeout,
    RedirectError,
    RequestInfo,
    StatusError,
    Timeouts,
)
from triopool._request.request import Request as PreparedRequest
from triopool._request.url import parse
from triopool.abc import Instrument
from triopool.testing import (
    HTTPProxy,
    HTTPServer,
    Network,
    Receive,
    ReceiveBytes,
    Reply,
    Request,
    Send,
    Wait,
    http_proxy,
    http_server,
    script,
    socks_proxy,
)

A, B = "http://a.test", "http://b.test"
P = "http://ada:secret@p.test:3128"
Q = "http://q.test:3128"
S = "socks5h://s.test:1080"
CREDENTIALS = "Basic YWRhOnNlY3JldA=="


@dataclass
class Town:
    """Attributes:
    p: an HTTP proxy that wants credentials.
    q: one that wants none.
    a: an origin, as *b*.
    """

    pool: ConnectionPool
    network: Network
    p: HTTPProxy
    q: HTTPProxy
    a: HTTPServer
    b: HTTPServer

    @property
    def seen_by_p(self) -> list[tuple[str, str]]:
        return [(request.method, request.target) for request in self.p.requests]

    async def get(self, url: str, **options: Any) -> None:
        assert (await self.pool.get(url, **options)).status_code == 200


async def respond(request: Request) -> Reply:
    if request.method == "CONNECT":
        return Reply(status=405)
    if request.target.startswith("/to?"):
        return Reply(status=307, headers={"Location": unquote(request.target.partition("?")[2])})
    return Reply(body=f"{request.method} {request.target}".encode())


@asynccontextmanager
async def town(**options: Any) -> AsyncIterator[Town]:
    async with Network() as network:
        for number, name in enumerate(("a", "b", "p", "q", "s"), start=1):
            network.host(f"{name}.test", f"192.0.2.{number}")
        a, b = http_server(respond), http_server(respond)
        p, q = http_proxy(network, credentials=("ada", "secret")), http_proxy(network)
        for last, port, server in ((1, 80, a), (2, 80, b), (3, 3128, p), (4, 3128, q)):
            network.listen(f"192.0.2.{last}", port, server)
        network.listen("192.0.2.5", 1080, socks_proxy(network))
        options = {"resolver": network.resolve, "socket_factory": network.socket} | options
        async with ConnectionPool(**options) as pool:
            yield Town(pool, network, p, q, a, b)
        assert not network.open_sockets


# ── The fields and the target of a request ─────────────────────────────────────────────────────


async def test_credentials_are_with_each_forwarded_request_and_reach_no_origin(
    autojump_clock: MockClock,
) -> None:
    async with town(proxy=P) as t:
        for path in ("/1", "/1", "/2", "/3"):
            await t.get(A + path)
        await t.get(A + "/4", headers={"X": "y"})
        await t.get(B + "/5")
        assert [request.header("proxy-authorization") for request in t.p.requests] == (
            [CREDENTIALS] * 6
        )
        assert {request.header("host") for request in t.p.requests} == {"a.test", "b.test"}
        assert t.p.connections == 1


@pytest.mark.parametrize("before", [DIRECT, P, Q, S])
@pytest.mark.parametrize("now", [DIRECT, P, Q, S])
async def test_no_head_is_kept_from_one_way_for_another(
    autojump_clock: MockClock, before: Any, now: Any
) -> None:
    """The servers are strict: credentials where they are not wanted would end the test."""
    answers: Iterator[Any] = cycle([before, now])
    async with town(proxy=lambda origin: next(answers)) as t:
        for _ in range(4):
            await t.get(A + "/x")
    # And where heads are kept, because the pool has its proxy for good.
    async with town(proxy=before) as t:
        for _ in range(2):
            await t.get(A + "/x")
            await t.get(A + "/x", proxy=now)


async def test_nothing_of_a_tunnelled_request_is_for_the_proxy_and_nothing_of_the_proxys_for_it(
    autojump_clock: MockClock,
) -> None:
    async with town(proxy=Proxy(P, tunnel=True)) as t:
        await t.get(A + "/x", headers={"X": "y"})
        await t.get(A + "/x")
        assert t.seen_by_p == [("CONNECT", "a.test:80")]
        assert [request.target for request in t.a.requests] == ["/x", "/x"]
        names = {name for request in t.a.requests for name, _ in request.headers}
        assert "proxy-authorization" not in names
        assert t.p.requests[0].header("x") is None


def test_fields_that_are_sent_as_they_were_given_have_the_proxys_behind_them() -> None:
    request = PreparedRequest(
        method="GET",
        url=parse(A),
        timeouts=Timeouts(),
        fields=[("Host", "a.test")],
        verbatim=True,
        proxy=Proxy(P),
    )
    assert request.head.fields.lines == [
        (b"Host", b"a.test"),
        (b"Proxy-Authorization", CREDENTIALS.encode()),
    ]


async def test_a_target_of_the_callers_own_is_put_behind_the_origin(
    autojump_clock: MockClock,
) -> None:
    async with town(proxy=P) as t:
        await t.get(A, target="/x?y")
        assert t.seen_by_p == [("GET", "http://a.test/x?y")]


async def test_another_protocol_takes_a_tunnel(autojump_clock: MockClock) -> None:
    async with town(proxy=P) as t:
        async with t.pool.stream("CONNECT", A, target="c.test:443") as response:
            assert response.status_code == 405
        async with t.pool.stream("GET", A, headers={"Upgrade": "echo"}) as response:
            assert response.status_code == 200
        assert set(t.seen_by_p) == {("CONNECT", "a.test:80")}


async def test_credentials_for_a_proxy_are_no_header_of_a_request(
    autojump_clock: MockClock,
) -> None:
    async with town() as t:
        with pytest.raises(LocalProtocolError, match=r"Proxy\(auth=\)"):
            await t.get(A, headers={"Proxy-Authorization": "Basic eDp5"})
        assert not t.a.requests


# ── From one request to the next ───────────────────────────────────────────────────────────────


async def test_a_function_is_asked_for_each_request(autojump_clock: MockClock) -> None:
    answers: Iterator[Any] = cycle([P, Q, DIRECT])
    asked: list[Origin] = []

    def choose(origin: Origin) -> Any:
        asked.append(origin)
        return next(answers)

    async with town(proxy=choose) as t:
        for _ in range(6):
            await t.get(A + "/x")
        assert (len(t.p.requests), len(t.q.requests), len(asked)) == (2, 2, 6)
        assert len(preparations(t.pool)) == 0


async def test_what_rules_say_is_kept(autojump_clock: MockClock) -> None:
    async with town(proxy=ProxyRules(http=P)) as t:
        await t.get(A + "/x")
        await t.get(A + "/x")
        assert len(preparations(t.pool)) == 1
        assert len(t.p.requests) == 2


@pytest.mark.parametrize("of_the_pool", [None, Q, lambda origin: DIRECT])
async def test_nothing_is_kept_of_a_proxy_that_one_request_has(
    autojump_clock: MockClock, of_the_pool: Any
) -> None:
    async with town(proxy=of_the_pool) as t:
        await t.get(A + "/x", proxy=DIRECT)
        kept = len(preparations(t.pool).places)
        for number in range(5):
            proxy = Proxy(P, headers={"X": str(number)})
            await t.get(A + "/x", proxy=proxy)
        assert len(preparations(t.pool).places) == kept


async def test_direct_goes_past_the_pools_proxy(autojump_clock: MockClock) -> None:
    async with town(proxy=P) as t:
        await t.get(A + "/x", proxy=DIRECT)
        assert not t.p.requests


@pytest.mark.parametrize("of_the_pool", [None, Q, lambda origin: Q])
async def test_a_named_proxy_is_for_redirects_too(
    autojump_clock: MockClock, of_the_pool: Any
) -> None:
    async with town(proxy=of_the_pool) as t:
        await t.get(f"{A}/to?{B}/x", proxy=P, follow_redirects=True)
        assert t.seen_by_p == [("GET", f"{A}/to?{B}/x"), ("GET", f"{B}/x")]
        assert not t.q.requests


async def test_the_pool_is_asked_about_each_redirect(autojump_clock: MockClock) -> None:
    async with town(proxy=lambda origin: P if origin.host == "a.test" else Q) as t:
        await t.get(f"{A}/to?{B}/x", follow_redirects=True)
        assert t.seen_by_p == [("GET", f"{A}/to?{B}/x")]
        assert [request.target for request in t.q.requests] == [f"{B}/x"]


async def test_a_redirect_to_what_the_proxy_cant_reach_is_told_as_the_redirects(
    autojump_clock: MockClock,
) -> None:
    async with town(proxy="socks4a://s.test:1080") as t:
        with pytest.raises(RedirectError, match="can't be followed: SOCKS4 can't reach IPv6"):
            await t.get(f"{A}/to?http://[2001:db8::1]/", follow_redirects=True)


async def test_proxy_connection_is_heeded(autojump_clock: MockClock) -> None:
    async def close(request: Request) -> Reply:
        return Reply(headers={"Proxy-Connection": "Close"})

    async with town() as t:
        t.network.listen("192.0.2.9", 3128, server := http_proxy(t.network, close))
        for _ in range(2):
            await t.get(A, proxy="http://192.0.2.9:3128")
        assert server.connections == 2


# ── Leases, and what is about a connection ─────────────────────────────────────────────────────


@pytest.mark.parametrize("of_the_pool", [None, P, Q, lambda origin: Q])
@pytest.mark.parametrize("leased", [None, DIRECT, P, Q, S])
async def test_all_requests_of_a_lease_take_its_way(
    autojump_clock: MockClock, of_the_pool: Any, leased: Any
) -> None:
    async with town(proxy=of_the_pool) as t, t.pool.lease(A, proxy=leased) as connection:
        for path in ("/1", "/2"):
            response = await connection.request("GET", path)
            assert response.connection.id == connection.info.id
        way = of_the_pool if leased is None else leased
        assert (connection.info.proxy is None) == (way is None or way is DIRECT)
        assert len(t.p.requests) == (2 if way is P else 0)


async def test_a_lease_is_for_its_origin_and_its_way(autojump_clock: MockClock) -> None:
    async with town(proxy=P) as t, t.pool.lease(A) as connection:
        with pytest.raises(ValueError, match=r"leased for http://a\.test:80 through"):
            await connection.request("GET", B)
        with pytest.raises(ValueError, match="takes a tunnel"):
            async with connection.stream("GET", "/", headers={"Upgrade": "echo"}):
                pass
        with pytest.raises(TypeError, match=r"lease\(url, proxy=\.\.\.\)"):
            await connection.request("GET", "/", proxy=DIRECT)
        with pytest.raises(LocalProtocolError, match="a redirect leads away"):
            await connection.request("GET", f"/to?{B}", follow_redirects=True)
        assert [target for _, target in t.seen_by_p] == [f"{A}/to?{B}"]


async def test_connections_are_warmed_up_through_the_proxy(autojump_clock: MockClock) -> None:
    async with town() as t:
        await t.pool.warm_up(A, 2, proxy=P)
        await t.get(A, proxy=P)
        assert t.p.connections == 2
        assert t.a.connections == 1


def test_a_unix_socket_of_origins_is_none_of_a_proxy() -> None:
    with pytest.raises(ValueError, match=r"Proxy\(unix_socket=\.\.\.\)"):
        ConnectionPool(unix_socket="/run/a.sock", proxy=P)


# ── What is shown ──────────────────────────────────────────────────────────────────────────────


async def test_request_and_connection_tell_their_proxy(autojump_clock: MockClock) -> None:
    class Notes(Instrument):
        def __init__(self) -> None:
            self.proxies: list[str | None] = []

        def request_started(self, request: RequestInfo) -> None:
            self.proxies.append(request.proxy)

    notes = Notes()
    async with town(instruments=[notes]) as t:
        shown = []
        for proxy in (DIRECT, P, Proxy(P, tunnel=True), S):
            info = (await t.pool.get(A, proxy=proxy)).connection.proxy
            shown.append(None if info is None else (info.url, info.tls, info.forwards))
    url = "http://p.test:3128"
    assert notes.proxies == [None, url, url, S]
    assert shown == [None, (url, None, True), (url, None, False), (S, None, False)]


async def test_the_tls_of_proxy_and_origin_are_told_apart(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    of_a, of_p = (server_context(ca.issue_cert(name)) for name in ("a.test", "p.test"))
    of_a.maximum_version = ssl.TLSVersion.TLSv1_2
    async with town(ssl_context=client_ssl_context) as t:
        t.network.listen("192.0.2.1", 443, t.a, ssl_context=of_a)
        t.network.listen("192.0.2.3", 443, t.p, ssl_context=of_p)
        secure = Proxy("https://ada:secret@p.test", ssl_context=client_ssl_context)
        shown = []
        for url in (A, "https://a.test"):
            for proxy in (P, secure):
                connection = (await t.pool.get(url, proxy=proxy)).connection
                assert connection.proxy is not None
                shown.append((connection.tls, connection.proxy.tls))
        assert [tuple(tls and tls.version for tls in pair) for pair in shown] == [
            (None, None),
            (None, "TLSv1.3"),
            ("TLSv1.2", None),
            ("TLSv1.2", "TLSv1.3"),
        ]


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        (Q, "the proxy http://q.test:3128 wants credentials"),
        ("http://x:y@q.test:3128", "the proxy http://q.test:3128 does not accept these"),
    ],
)
async def test_a_407_says_what_the_proxy_wants(
    autojump_clock: MockClock, proxy: str, said: str
) -> None:
    async with town() as t:
        closed = http_proxy(t.network, credentials=("ada", "secret"))
        t.network.host("q.test", "192.0.2.9")
        t.network.listen("192.0.2.9", 3128, closed)
        response = await t.pool.get(A, proxy=proxy)
        with pytest.raises(StatusError, match=said) as caught:
            response.raise_for_status()
        assert "secret" not in str(caught.value)


async def test_an_error_of_a_request_names_its_way(autojump_clock: MockClock) -> None:
    async with town(timeouts=Timeouts(read=2)) as t:
        silent = script(Receive(until=b"\r\n\r\n"), Wait(60))
        t.network.listen("192.0.2.9", 3128, silent)
        with pytest.raises(ReadTimeout, match=r"a\.test:80 through http://192\.0\.2\.9:3128"):
            await t.get(A, proxy="http://192.0.2.9:3128")


# ── A dial that fails ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("proxy", ["http", "socks5h", "socks4a"])
async def test_the_connect_timeout_bounds_all_hops_together(
    autojump_clock: MockClock, proxy: str
) -> None:
    """One that answers, slowly; and a second one, which never does."""
    answers = {
        "http": [Send(b"HTTP/1.1 200 OK\r\n\r\n")],
        "socks5h": [Send(b"\x05\0"), ReceiveBytes(1), Send(b"\x05\0\0\x01" + bytes(6))],
        "socks4a": [Send(b"\0\x5a" + bytes(6))],
    }
    async with town(timeouts=Timeouts(connect=3)) as t:
        steps = [step for one in answers[proxy] for step in (Wait(0.9), one)]
        t.network.listen("192.0.2.9", 3128, script(ReceiveBytes(1), *steps, Wait(60)))
        started_at = trio.current_time()
        chain = Proxy(f"{proxy}://r.test:3128", via=f"{proxy}://192.0.2.9:3128")
        with pytest.raises(ConnectTimeout, match=r"within 3 s: .*waiting for .*r\.test:3128 to"):
            await t.get("https://a.test" if proxy == "http" else A, proxy=chain)
        assert trio.current_time() - started_at == 3
        assert not t.network.open_sockets


async def test_our_trust_is_for_the_first_proxy_of_a_chain_too(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
) -> None:
    """Where the last one needs none, neither does the origin."""
    monkeypatch.setattr("triopool._dial.trust.default_context", lambda: client_ssl_context)
    async with town() as t:
        context = server_context(ca.issue_cert("p.test"))
        t.network.listen("192.0.2.3", 443, t.p, ssl_context=context)
        await t.get(A, proxy=Proxy(Q, via="https://ada:secret@p.test"))
        assert t.seen_by_p == [("CONNECT", "q.test:3128")]
        assert len(t.q.requests) == 1


@pytest.mark.parametrize("refusal", ["refused", "unknown", "403"])
@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h", "socks4a"])
async def test_no_failure_of_a_proxy_leads_past_it(
    autojump_clock: MockClock, scheme: str, refusal: str
) -> None:
    async with town() as t:
        port = 1 if refusal == "refused" else 3128
        host = "gone.test" if refusal == "unknown" else "192.0.2.9"
        answer = b"HTTP/1.1 403 x\r\n\r\n" if scheme == "http" else b"\x05\xff"
        t.network.listen("192.0.2.9", 3128, script(ReceiveBytes(1), Send(answer)))
        proxy = Proxy(f"{scheme}://{host}:{port}", tunnel=scheme == "http")
        with pytest.raises(ProxyError):
            await t.get(A, proxy=proxy)
        assert not t.a.connections
