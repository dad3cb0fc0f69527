"""What a request's error says when a proxy is at fault: whose it is, and what was going on."""

from __future__ import annotations

import errno
import ssl
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from triopool import (
    ConnectError,
    ConnectTimeout,
    Origin,
    Proxy,
    ProxyError,
    ResolveError,
    Timeouts,
    TLSError,
)
from triopool.testing import (
    KeepOpen,
    Receive,
    ReceiveBytes,
    ReceiveRequest,
    Reply,
    Request,
    Reset,
    Script,
    Send,
    SOCKSRequest,
    http_proxy,
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
    Contexts,
    World,
    contexts,
    lent,
    world,
)

TUNNEL = Proxy(HTTP, tunnel=True)
ORIGIN = Origin("http", "a.test", 80)
S5H, S4A, S4, S5 = (f"{url}:1080" for url in (SOCKS5H, SOCKS4A, SOCKS4, SOCKS5))


@pytest.fixture(scope="module")
def made() -> Contexts:
    return contexts()


async def fails(w: World, url: str = f"{A}/", **options: Any) -> ConnectError:
    """A request fails in its dial, and leaves neither a slot nor a socket."""
    with pytest.raises(ConnectError) as caught:
        await w.pool.get(url, **options)
    assert caught.value.phase == "connect"
    assert not w.network.open_sockets
    statistics = w.pool.statistics()
    assert (statistics.open, statistics.waiting, statistics.dial_failures) == (0, 0, 1)
    return caught.value


# ── It can't be reached ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("proxy", [HTTP, TUNNEL])
async def test_a_proxy_that_cant_be_reached_is_told_with_its_addresses(
    autojump_clock: MockClock, proxy: Any
) -> None:
    async with world(proxy=proxy) as w:
        w.network.host("proxy.test", "192.0.2.9", "2001:db8::1")
        w.network.refuse("192.0.2.9", 3128)
        w.network.refuse("2001:db8::1", 3128, error=errno.ENETUNREACH)
        error = await fails(w)
        assert str(error) == (
            "the proxy http://proxy.test:3128 can't be reached: "
            "192.0.2.9:3128: Connection refused; [2001:db8::1]:3128: Network is unreachable"
        )
        assert type(error) is ProxyError
        assert (error.proxy, error.status_code, error.headers) == (HTTP, None, [])
        assert isinstance(error.__cause__, ExceptionGroup)
        # What requests of all origins share is the proxy's own.
        shared = Origin("http", "proxy.test", 3128)
        assert error.origin == (ORIGIN if proxy is TUNNEL else shared)


async def test_what_is_forwarded_and_not_shared_is_the_origins(autojump_clock: MockClock) -> None:
    async with world(proxy=Proxy(HTTP, share_connections=False)) as w:
        w.network.refuse("192.0.2.9", 3128)
        assert (await fails(w)).origin == ORIGIN


async def test_a_proxy_without_an_address(autojump_clock: MockClock) -> None:
    async with world(proxy="http://gone.test") as w:
        error = await fails(w)
        assert str(error) == (
            "the proxy http://gone.test:80 can't be reached: 'gone.test' could not be resolved: "
            "Name or service not known"
        )
        assert isinstance(error.__cause__, ResolveError)
        # There is a proxy, so nobody goes past it.
        assert not w.a.requests
        assert [event.endpoint for event in w.network.events("resolve")] == ["gone.test"]


async def test_nobody_goes_directly_when_the_proxy_has_failed(
    autojump_clock: MockClock, made: Contexts
) -> None:
    ways: list[Any] = [HTTP, TUNNEL, SOCKS5H, SOCKS5, SOCKS4, SOCKS4A, lent(made)]
    for proxy in ways:
        for url in (f"{A}/", f"{SECURE}/"):
            async with world(made, proxy=proxy) as w:
                for address, port in (("192.0.2.9", 3128), ("192.0.2.9", 3129)):
                    w.network.refuse(address, port)
                w.network.refuse("192.0.2.10", 1080)
                await fails(w, url)
                assert not w.a.requests
                assert {event.endpoint for event in w.network.events("connect")} <= {
                    ("192.0.2.9", 3128),
                    ("192.0.2.9", 3129),
                    ("192.0.2.10", 1080),
                }


# ── It refuses ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(status=403), "403 Forbidden"),
        (Reply(status=302, headers={"Location": "http://b.test/"}), "302 Found"),
        (Reply(status=401, headers={"WWW-Authenticate": "Basic"}), "401 Unauthorized"),
        (
            Reply(status=502, headers={"Proxy-Status": "squid; error=dns_error"}),
            "502 Bad Gateway (Proxy-Status: squid; error=dns_error)",
        ),
        (
            Reply(
                status=407,
                headers=[("Proxy-Authenticate", 'Basic realm="x"'), ("Proxy-Authenticate", "NTLM")],
            ),
            "407 Proxy Authentication Required: it wants credentials (it offers Basic, NTLM): "
            "in its URL, or with Proxy(auth=)",
        ),
        (Reply(status=503, body=b"x" * 100_000, gap=1, close=True), "503 Service Unavailable"),
    ],
)
@pytest.mark.parametrize("follow", [False, True])
async def test_a_refusal_is_told_and_never_repeated(
    autojump_clock: MockClock, reply: Reply, says: str, follow: bool
) -> None:
    async def refuse(request: Request) -> Reply:
        return reply

    async with world(proxy=TUNNEL) as w:
        server = http_proxy(w.network, refuse)
        w.network.listen("192.0.2.9", 3128, server)
        error = await fails(w, follow_redirects=follow, auth=("eve", "pw"))
        assert str(error) == (
            f"the proxy http://proxy.test:3128 refused a tunnel to http://a.test:80: {says}"
        )
        assert isinstance(error, ProxyError)
        assert error.status_code == reply.status
        names = {name.lower() for name, _ in error.headers}
        assert {name.lower().encode() for name, _ in reply.headers} <= names
        assert error.origin == ORIGIN
        assert len(server.requests) == 1
        assert not w.a.requests + w.b.requests


async def test_credentials_that_are_wrong(autojump_clock: MockClock) -> None:
    async with world(credentials=ADA) as w:
        error = await fails(w, proxy=Proxy(HTTP, auth=("ada", "wrong"), tunnel=True))
        assert str(error).endswith(
            "407 Proxy Authentication Required: it does not accept these credentials"
        )
        assert len(w.http.requests) == 1
    async with world(credentials=ADA) as w:
        error = await fails(w, proxy="socks5h://ada:wrong@socks.test")
        assert str(error) == f"the proxy {S5H} does not accept these credentials"
    async with world(credentials=ADA) as w:
        error = await fails(w, proxy=SOCKS5H)
        assert str(error) == (
            f"the proxy {S5H} wants credentials: in its URL, or with Proxy(auth=)"
        )


@pytest.mark.parametrize("url", [SOCKS5H, SOCKS5, SOCKS4A, SOCKS4])
async def test_a_socks_refusal_is_told(autojump_clock: MockClock, url: str) -> None:
    async def refuse(request: SOCKSRequest) -> int:
        return 4 if "5" in url else 91

    async with world(proxy=url) as w:
        w.network.listen("192.0.2.10", 1080, socks_proxy(w.network, refuse))
        error = await fails(w)
        assert str(error).startswith(f"the proxy {url}:1080 refused to connect to {A}:80: ")
        assert ("the host is unreachable" in str(error)) == ("5" in url)
        assert error.origin == ORIGIN


async def test_an_origin_behind_a_socks5_proxy_whose_name_is_not_known(
    autojump_clock: MockClock,
) -> None:
    """socks5 resolves here: that is nothing of the proxy's."""
    async with world(proxy=SOCKS5) as w:
        error = await fails(w, "http://gone.test/")
        assert type(error) is ResolveError
        assert not w.socks.connections


# ── It talks nonsense ──────────────────────────────────────────────────────────────────────────

TO_CONNECT = (Receive(),)
TO_SOCKS = (ReceiveBytes(3),)


@pytest.mark.parametrize(
    ("proxy", "server", "says"),
    [
        (
            TUNNEL,
            script(*TO_CONNECT, Send(b"HTTP/1.1 200 Connection")),
            "closed the connection in the middle of its answer to CONNECT, after 23 bytes",
        ),
        (TUNNEL, script(*TO_CONNECT), "closed the connection without an answer to CONNECT"),
        (
            TUNNEL,
            script(*TO_CONNECT, Send(b"HTTP/1.1 200 OK\r\n\r\nx"), KeepOpen()),
            "sent something before it was asked for anything",
        ),
        # Just before our question, or just behind it.
        (TUNNEL, script(Send(b"220 smtp\r\n"), KeepOpen()), "sent "),
        (TUNNEL, script(*TO_CONNECT, Send(b"SSH-2.0-x\r\n\r\n"), KeepOpen()), "sent "),
        (
            SOCKS5H,
            script(*TO_SOCKS, Send(b"HTTP/1.0 400 x\r\n\r\n"), KeepOpen()),
            "answered with HTTP: is it an http:// proxy?",
        ),
        (SOCKS5H, script(*TO_SOCKS), "closed the connection without an answer"),
        (
            SOCKS4A,
            script(ReceiveBytes(9), Send(b"\x05\x00"), KeepOpen()),
            "answered with",
        ),
        (SOCKS4A, script(ReceiveBytes(9), Reset()), "closed the connection without an answer"),
    ],
)
@pytest.mark.parametrize("url", [A, SECURE])
async def test_nonsense_is_the_proxys_error(
    autojump_clock: MockClock, made: Contexts, url: str, proxy: Any, server: Script, says: str
) -> None:
    async with world(made, proxy=proxy) as w:
        w.network.listen("192.0.2.9", 3128, server)
        w.network.listen("192.0.2.10", 1080, server)
        error = await fails(w, f"{url}/")
        shown = HTTP if proxy is TUNNEL else f"{proxy}:1080"
        assert str(error).startswith(f"the proxy {shown} {says}")
        assert type(error) is ProxyError
        assert error.origin == ("https" if url is SECURE else "http", "a.test", error.origin.port)


async def test_a_tls_proxy_that_speaks_no_tls(autojump_clock: MockClock, made: Contexts) -> None:
    for url in (A, SECURE):
        async with world(made, proxy=lent(made)) as w:
            w.network.listen("192.0.2.9", 3129, script(Send(b"HTTP/1.1 400 x\r\n\r\n"), KeepOpen()))
            error = await fails(w, f"{url}/")
            assert type(error) is ProxyError
            assert str(error).startswith(f"TLS with the proxy {HTTPS}: ")
            assert isinstance(error.__cause__, ssl.SSLError)


async def test_an_origin_without_tls_behind_a_tunnel_is_the_origins_error(
    autojump_clock: MockClock, made: Contexts
) -> None:
    async with world(made, proxy=HTTP) as w:
        w.network.listen("192.0.2.1", 443, script(Send(b"HTTP/1.1 400 x\r\n\r\n"), KeepOpen()))
        error = await fails(w, f"{SECURE}/")
        assert type(error) is TLSError
        assert error.origin == ("https", "a.test", 443)


# ── It takes too long ──────────────────────────────────────────────────────────────────────────

SILENT = script(KeepOpen())
UNANSWERED = script(Receive(), KeepOpen())
OPENED = script(Receive(), Send(b"HTTP/1.1 200 OK\r\n\r\n"), KeepOpen())


@pytest.mark.parametrize(
    ("proxy", "url", "server", "says"),
    [
        (TUNNEL, A, UNANSWERED, f"waiting for {HTTP} to open a tunnel"),
        (HTTP, SECURE, UNANSWERED, f"waiting for {HTTP} to open a tunnel"),
        (HTTP, SECURE, OPENED, "TLS handshake with https://a.test:443"),
        (SOCKS5H, A, SILENT, f"waiting for {S5H} to connect"),
        (SOCKS4A, SECURE, SILENT, f"waiting for {S4A} to connect"),
        (SOCKS5, A, script(ReceiveBytes(3), Send(b"\5")), None),
        (HTTP, A, None, "connecting to 192.0.2.9:3128"),
        (TUNNEL, A, None, "connecting to 192.0.2.9:3128"),
        ("https", A, SILENT, f"TLS handshake with {HTTPS}"),
        ("https", SECURE, SILENT, f"TLS handshake with {HTTPS}"),
        (Proxy(HTTP, via=SOCKS5H), A, SILENT, f"waiting for {S5H} to connect"),
        (Proxy(SOCKS4A, via=TUNNEL), A, UNANSWERED, f"waiting for {HTTP} to open a tunnel"),
    ],
)
async def test_a_timeout_says_what_was_going_on(
    autojump_clock: MockClock,
    made: Contexts,
    proxy: Any,
    url: str,
    server: Any,
    says: str | None,
) -> None:
    if proxy == "https":
        proxy = lent(made)
    if says is None:
        server, says = script(ReceiveBytes(3), Send(b"\5"), KeepOpen()), "waiting for socks5://"
    async with world(made, proxy=proxy, timeouts=Timeouts(connect=10)) as w:
        for address, port in (("192.0.2.9", 3128), ("192.0.2.9", 3129), ("192.0.2.10", 1080)):
            if server is None:
                w.network.hang(address, port)
            else:
                w.network.listen(address, port, server)
        began = trio.current_time()
        error = await fails(w, f"{url}/")
        assert trio.current_time() - began == 10
        assert type(error) is ConnectTimeout
        origin = f"{url}:{443 if url is SECURE else 80}"
        last = proxy if isinstance(proxy, str) else proxy.url
        last = {SOCKS5H: S5H, SOCKS4A: S4A, SOCKS5: S5}.get(last, last)
        forwards = url is A and last.startswith("http") and proxy is not TUNNEL
        where = f"the proxy {last}" if forwards else f"{origin} through {last}"
        assert str(error).startswith(f"no connection to {where} within 10 s: {says}")
        assert error.seconds == 10


async def test_the_connect_timeout_bounds_all_hops_together(
    autojump_clock: MockClock, made: Contexts
) -> None:
    """Each hop takes less than it."""
    chain = Proxy(HTTP, tunnel=True, via=Proxy("socks5h://socks.test"))
    async with world(proxy=chain, timeouts=Timeouts(connect=3.0)) as w:
        w.pause = 2.0
        began = trio.current_time()
        error = await fails(w)
        assert trio.current_time() - began == 3.0
        assert f"waiting for {HTTP} to open a tunnel" in str(error)
    async with world(proxy=chain, timeouts=Timeouts(connect=5.0)) as w:
        w.pause = 2.0
        await w.get(f"{A}/x")


async def test_a_proxy_that_trickles_is_bounded_too(autojump_clock: MockClock) -> None:
    async def trickle(conversation: Any) -> None:
        while True:
            await conversation.stream.send_all(b"HTTP/1.1 100 x\r\n\r\n"[:1])
            await trio.sleep(1)

    async with world(proxy=TUNNEL, timeouts=Timeouts(connect=5.0)) as w:
        w.network.listen("192.0.2.9", 3128, script(ReceiveRequest(), trickle))
        error = await fails(w)
        assert isinstance(error, ConnectTimeout | ProxyError)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n", "sent "),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "sent "),
        (b"HTTP/1.1 100 x\r\n\r\n" * 21, "sent more than 20 informational responses"),
        (b"HTTP/1.1 101 x\r\n\r\n", "sent 101 Switching Protocols"),
        (b"HTTP/1.1 407 " + b"\x1b[31m" * 50 + b"\r\n\r\n", None),
    ],
)
async def test_an_answer_without_bound_is_bounded(
    autojump_clock: MockClock, answer: bytes, says: str | None
) -> None:
    async with world(proxy=TUNNEL) as w:
        w.network.listen("192.0.2.9", 3128, script(ReceiveRequest(), Send(answer), KeepOpen()))
        error = await fails(w)
        assert type(error) is ProxyError
        message = str(error)
        assert message.startswith(f"the proxy {HTTP} {says or 'refused a tunnel'}")
        assert len(message) < 400
        assert message.isprintable()
