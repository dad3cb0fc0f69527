"""A dial by way of proxies: its steps, what it says meanwhile, and how it fails."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trustme
from dial.helpers import server_context
from inside import stream_of
from trio.testing import MockClock

import triopool
from triopool import ConnectError, Proxy, ProxyError, ResolveError, TLSError
from triopool._dial import dialler as dialler_module
from triopool._dial.dialler import Dialler
from triopool._origin import Origin
from triopool._pool_key import PoolKey
from triopool._protocol.seam import Connection
from triopool.testing import KeepOpen, Network, Receive, ReceiveBytes, Reset, Send, Wait, script

from .helpers import (
    SECURE,
    TARGET,
    Server,
    Turn,
    Way,
    answer_pings,
    connect,
    dialler_on,
    proxy,
    read_head,
    socks4a,
    socks5_with_login,
    tls,
    via,
)

VERSION = triopool.__version__.encode()
HTTP, HTTPS = "http://p.example:3128", "https://p.example:3128"
SOCKS5H, SOCKS5 = "socks5h://p.example:3128", "socks5://p.example:3128"
SOCKS4A, SOCKS4 = "socks4a://p.example:3128", "socks4://p.example:3128"


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network() as network:
        network.host("p.example", "192.0.2.1")
        network.host("q.example", "192.0.2.2")
        network.host("a.example", "192.0.2.7")
        yield network


@pytest.fixture
def origin_tls(ca: trustme.CA) -> ssl.SSLContext:
    return server_context(ca.issue_cert("a.example"))


@pytest.fixture
def proxy_tls(ca: trustme.CA) -> ssl.SSLContext:
    return server_context(ca.issue_cert("p.example"))


async def dial(
    network: Network,
    route: Way,
    origin: Origin = TARGET,
    ssl_context: ssl.SSLContext | None = None,
    notes: list[str] | None = None,
    **options: Any,
) -> Connection:
    error: Exception
    async with dialler_on(network, ssl_context, **options) as dialler:
        try:
            with trio.fail_after(30):
                key = route.key(origin)
                return await dialler.dial(key, [] if notes is None else notes)
        except Exception as exc:
            error = exc  # Raised in the block, it would come out in a group.
    raise error


async def fails(network: Network, kind: type[ConnectError], *args: Any, **options: Any) -> str:
    """Fail, with nothing left open; return what is said."""
    with pytest.raises(kind) as caught:
        await dial(network, *args, **options)
    assert type(caught.value) is kind
    assert caught.value.phase == "connect"
    assert not network.open_sockets
    if isinstance(caught.value, ProxyError):
        assert caught.value.proxy is not None
    return str(caught.value)


async def works(connection: Connection, network: Network) -> None:
    """The connection leads to :func:`answer_pings`; closing it leaves nothing open."""
    stream = stream_of(connection)
    await stream.send_all(b"ping")
    assert await stream.receive_some() == b"pong"
    assert len(network.open_sockets) == 1
    connection.close()
    assert not network.open_sockets


# ── All the ways ───────────────────────────────────────────────────────────────────────────────

ADA = ("ada", "secret")


@pytest.mark.parametrize("origin", [TARGET, SECURE])
@pytest.mark.parametrize(
    ("route", "is_tls", "serve"),
    [
        (via(HTTP), False, connect),
        (via(HTTPS), True, connect),
        (via(Proxy(SOCKS5H, auth=ADA)), False, socks5_with_login),
        (via(SOCKS4A), False, socks4a),
    ],
    ids=["http", "https", "socks5h", "socks4a"],
)
async def test_every_kind_of_proxy_leads_to_every_kind_of_origin(
    autojump_clock: MockClock,
    network: Network,
    client_ssl_context: ssl.SSLContext,
    origin_tls: ssl.SSLContext,
    proxy_tls: ssl.SSLContext,
    origin: Origin,
    route: Way,
    is_tls: bool,
    serve: Any,
) -> None:
    inside: Server = tls(origin_tls, answer_pings) if origin is SECURE else answer_pings
    if serve in (socks5_with_login, socks4a):
        origin = origin._replace(port=80)
    server = serve(inside)
    if is_tls:
        lent = Proxy(HTTPS, ssl_context=client_ssl_context)
        route, server = via(lent), tls(proxy_tls, server)
    network.listen("192.0.2.1", 3128, server)
    connection = await dial(network, route, origin, client_ssl_context)
    assert (connection.info.tls is None) == (origin.scheme == "http")
    assert connection.info.remote_address == ("192.0.2.1", 3128)
    assert connection.info.origin == origin
    await works(connection, network)


async def test_a_chain_leads_from_proxy_to_proxy_whatever_they_speak(
    autojump_clock: MockClock,
    network: Network,
    client_ssl_context: ssl.SSLContext,
    origin_tls: ssl.SSLContext,
    proxy_tls: ssl.SSLContext,
) -> None:
    """TLS in TLS in TLS, and SOCKS in between."""
    inside = tls(proxy_tls, connect(tls(origin_tls, answer_pings)))
    network.listen("192.0.2.1", 3128, tls(proxy_tls, connect(socks4a(inside))))
    lent: Any = {"ssl_context": client_ssl_context}
    last = Proxy("https://r.example:80", server_hostname="p.example", **lent)
    route = via(Proxy(HTTPS, **lent), "socks4a://q.example:1080", last)
    connection = await dial(network, route, SECURE, client_ssl_context)
    await works(connection, network)


async def test_each_hop_is_told_the_next_one_and_nothing_else(
    autojump_clock: MockClock, network: Network
) -> None:
    heads: list[bytes] = []

    def noting(inside: Server) -> Server:
        async def serve(stream: trio.abc.Stream) -> None:
            heads.append(await read_head(stream))
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
            await inside(stream)

        return serve

    network.listen("192.0.2.1", 3128, noting(noting(answer_pings)))
    first = Proxy(HTTP, headers=[(b"X-First", b"1")])
    second = Proxy("http://[2001:db8::2]:8080", headers=[(b"X-Second", b"2")])
    await works(await dial(network, via(first, second)), network)
    assert heads == [
        b"CONNECT [2001:db8::2]:8080 HTTP/1.1\r\nHost: [2001:db8::2]:8080\r\n"
        b"User-Agent: triopool/" + VERSION + b"\r\nX-First: 1\r\n\r\n",
        b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n"
        b"User-Agent: triopool/" + VERSION + b"\r\nX-Second: 2\r\n\r\n",
    ]
    assert [str(event.endpoint) for event in network.events("resolve")] == ["p.example"]


@pytest.mark.parametrize("url", [HTTP, HTTPS])
async def test_a_proxy_that_forwards_is_the_end_of_the_way(
    autojump_clock: MockClock,
    network: Network,
    client_ssl_context: ssl.SSLContext,
    proxy_tls: ssl.SSLContext,
    url: str,
) -> None:
    one = Proxy(url, ssl_context=client_ssl_context if url == HTTPS else None)
    server = tls(proxy_tls, answer_pings) if one.origin.scheme == "https" else answer_pings
    network.listen("192.0.2.1", 3128, server)
    connection = await dial(network, via(one, forwards=True), one.origin)
    assert connection.info.tls is None
    await works(connection, network)


async def test_a_chain_may_end_with_a_proxy_that_forwards(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.1", 3128, connect(answer_pings))
    route = via(HTTP, "http://q.example:8080", forwards=True)
    await works(await dial(network, route, Origin("http", "q.example", 8080)), network)


async def test_a_proxy_may_listen_on_a_unix_socket(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("/run/proxy", None, connect(answer_pings))
    route = via(Proxy(HTTP, unix_socket="/run/proxy"))
    await works(await dial(network, route), network)
    assert not network.events("resolve")


# ── Names resolved on our side ─────────────────────────────────────────────────────────────────


def socks_server(version: int, answers: dict[str, bytes]) -> tuple[Server, list[str]]:
    """A proxy that knows which address it will connect to; and what it was asked for."""
    asked: list[str] = []

    async def serve(stream: trio.abc.Stream) -> None:
        if version == 5:
            await stream.receive_some(3)
            await stream.send_all(b"\x05\0")
            request = await stream.receive_some(22)
            address = request[4:-2]
        else:
            address = (await stream.receive_some(9))[4:8]
        name = ".".join(map(str, address)) if len(address) == 4 else address.hex()
        asked.append(name)
        if name in answers:
            await stream.send_all(answers[name])
            await answer_pings(stream)
        elif version == 5:
            await stream.send_all(b"\x05\x04")
        else:
            await stream.send_all(b"\0\x5b")

    return serve, asked


GRANTED = b"\x05\0\0\x01" + bytes(6)


async def test_addresses_are_tried_one_after_the_other_each_on_a_new_connection(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("a.example", "192.0.2.7", "2001:db8::7", "192.0.2.8")
    server, asked = socks_server(5, {"192.0.2.8": GRANTED})
    network.listen("192.0.2.1", 3128, server)
    await works(await dial(network, via(SOCKS5)), network)
    assert asked == ["192.0.2.7", "20010db8" + "0" * 23 + "7", "192.0.2.8"]
    assert network.connections_accepted("192.0.2.1", 3128) == 3


@pytest.mark.parametrize("url", [SOCKS5, SOCKS4])
async def test_at_most_four_addresses_are_asked_for_and_all_are_told(
    autojump_clock: MockClock, network: Network, url: str
) -> None:
    network.host("a.example", *(f"192.0.2.{number}" for number in range(10, 16)))
    server, asked = socks_server(int(url[5]), {})
    network.listen("192.0.2.1", 3128, server)
    message = await fails(network, ProxyError, via(url))
    assert asked == [f"192.0.2.{number}" for number in range(10, 14)]
    assert message.startswith(f"the proxy {url} refused to connect to http://a.example:80: 192")
    assert all(address in message for address in asked)


async def test_socks4_is_asked_for_ipv4_only(autojump_clock: MockClock, network: Network) -> None:
    network.host("a.example", "2001:db8::7", "0.0.0.9", "192.0.2.7")
    server, asked = socks_server(4, {"192.0.2.7": b"\0\x5a" + bytes(6)})
    network.listen("192.0.2.1", 3128, server)
    await works(await dial(network, via(SOCKS4)), network)
    assert asked == ["192.0.2.7"]


async def test_a_host_of_which_no_address_can_be_asked_for_is_told_before_anything_is_open(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("a.example", "2001:db8::7")
    assert await fails(network, ProxyError, via(SOCKS4)) == (
        f"the proxy {SOCKS4} can't reach any of the addresses of http://a.example:80: "
        "SOCKS4 has IPv4 only (use socks5://), and no kind of SOCKS has zones"
    )
    assert not network.events("socket")


@pytest.mark.parametrize("url", [SOCKS5H, SOCKS4A, HTTP])
async def test_names_that_the_proxy_resolves_are_never_looked_up_here(
    autojump_clock: MockClock, network: Network, url: str
) -> None:
    network.listen("192.0.2.1", 3128, script(Wait(1.0)))
    await fails(network, ProxyError, via(url))
    assert [str(event.endpoint) for event in network.events("resolve")] == ["p.example"]


async def test_an_address_is_tried_again_through_all_the_hops_before(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("a.example", "192.0.2.7", "192.0.2.8")
    server, asked = socks_server(5, {"192.0.2.8": GRANTED})
    network.listen("192.0.2.1", 3128, connect(server))
    await works(await dial(network, via(HTTP, "socks5://q.example:1080")), network)
    assert asked == ["192.0.2.7", "192.0.2.8"]


# ── A proxy that can't be reached ──────────────────────────────────────────────────────────────


async def test_a_proxy_whose_name_is_not_known_is_told(
    autojump_clock: MockClock, network: Network
) -> None:
    message = await fails(network, ProxyError, via("http://gone.example:3128"))
    assert message == (
        "the proxy http://gone.example:3128 can't be reached: 'gone.example' could not be "
        "resolved: Name or service not known"
    )


async def test_a_next_proxy_whose_name_is_not_known_is_told(
    autojump_clock: MockClock, network: Network
) -> None:
    message = await fails(network, ProxyError, via(SOCKS5, "http://gone.example:3128"))
    assert message.startswith("the proxy http://gone.example:3128 can't be reached: 'gone.exam")


async def test_an_origin_whose_name_is_not_known_is_no_fault_of_the_proxys(
    autojump_clock: MockClock, network: Network
) -> None:
    origin = Origin("http", "gone.example", 80)
    message = await fails(network, ResolveError, via(SOCKS5), origin)
    assert message == "'gone.example' could not be resolved: Name or service not known"


async def test_the_addresses_of_a_proxy_are_all_told(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("p.example", "192.0.2.1", "192.0.2.2", "192.0.2.3")
    network.listen("192.0.2.2", 3128, script(Wait(1.0)))
    network.listen("192.0.2.3", 3128, script(Receive(), Reset()))
    assert await fails(network, ProxyError, via(HTTP)) == (
        f"the proxy {HTTP} can't be reached: 192.0.2.1:3128: Connection refused; "
        "192.0.2.2:3128: closed the connection without an answer to CONNECT: "
        "[Errno 104] Connection reset by peer; "
        "192.0.2.3:3128: closed the connection without an answer to CONNECT: "
        "[Errno 104] Connection reset by peer"
    )


async def test_one_refused_address_is_told_with_its_cause(
    autojump_clock: MockClock, network: Network
) -> None:
    with pytest.raises(ProxyError) as caught:
        await dial(network, via(HTTP))
    assert str(caught.value) == (
        f"the proxy {HTTP} can't be reached: 192.0.2.1:3128: Connection refused"
    )
    assert caught.value.origin == TARGET
    assert isinstance(caught.value.__cause__, OSError)


async def test_an_address_that_breaks_before_the_proxy_has_answered_is_followed_by_the_next(
    autojump_clock: MockClock,
    network: Network,
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
    proxy_tls: ssl.SSLContext,
) -> None:
    network.host("p.example", *(f"192.0.2.{number}" for number in range(1, 5)))
    bad = server_context(ca.issue_cert("other.example"))
    network.listen("192.0.2.2", 3128, tls(bad, connect(answer_pings)))
    network.listen("192.0.2.3", 3128, tls(proxy_tls, script(Receive(), Reset())))
    network.listen("192.0.2.4", 3128, tls(proxy_tls, connect(answer_pings)))
    route = via(Proxy(HTTPS, ssl_context=client_ssl_context))
    await works(await dial(network, route), network)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 503 Busy\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n\r\nx", b"SSH"]
)
async def test_an_answer_is_an_answer(
    autojump_clock: MockClock, network: Network, answer: bytes
) -> None:
    network.host("p.example", "192.0.2.1", "192.0.2.2")
    network.listen("192.0.2.1", 3128, script(Receive(), Send(answer)))
    network.listen("192.0.2.2", 3128, connect(answer_pings))
    await fails(network, ProxyError, via(HTTP))
    assert network.connections_accepted("192.0.2.2", 3128) == 0


async def test_a_second_proxy_that_is_gone_is_no_reason_to_try_the_first_ones_addresses(
    autojump_clock: MockClock, network: Network
) -> None:
    network.host("p.example", "192.0.2.1", "192.0.2.2")

    async def nothing(stream: trio.abc.Stream) -> None:
        await read_head(stream)

    network.listen("192.0.2.1", 3128, connect(nothing))
    network.listen("192.0.2.2", 3128, connect(answer_pings))
    message = await fails(network, ProxyError, via(HTTP, "http://q.example:8080"))
    assert message == (
        "the proxy http://q.example:8080 closed the connection without an answer to CONNECT"
    )


# ── TLS ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_proxys_certificate_that_is_refused_is_told_as_the_proxys(
    autojump_clock: MockClock,
    network: Network,
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
) -> None:
    bad = server_context(ca.issue_cert("a.example"))
    network.listen("192.0.2.1", 3128, tls(bad, connect(answer_pings)))
    route = via(Proxy(HTTPS, ssl_context=client_ssl_context))
    with pytest.raises(ProxyError) as caught:
        await dial(network, route, SECURE, client_ssl_context)
    message = str(caught.value)
    assert message.startswith(f"TLS with the proxy {HTTPS}: the certificate of p.example was refu")
    assert caught.value.proxy == HTTPS
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    # Of two addresses both are told.
    network.host("p.example", "192.0.2.1", "192.0.2.2")
    message = await fails(network, ProxyError, route, SECURE, client_ssl_context)
    assert message.startswith(
        f"the proxy {HTTPS} can't be reached: 192.0.2.1:3128: the certificate of p.example was ref"
    )
    assert message.endswith("; 192.0.2.2:3128: Connection refused")


async def test_what_can_be_done_about_a_proxys_tls_is_told_with_the_proxys_options(
    autojump_clock: MockClock,
    network: Network,
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
) -> None:
    trusted = Proxy(HTTPS, ssl_context=client_ssl_context)
    for address, asked, certificate, hint in (
        ("192.0.2.3", trusted, ca.issue_cert("a.example"), "or set Proxy(server_hostname=))"),
        ("192.0.2.4", HTTPS, ca.issue_cert("p.example"), "trust it with Proxy(ssl_context=) if"),
    ):
        network.host("p.example", address)
        network.listen(address, 3128, tls(server_context(certificate), connect(answer_pings)))
        assert hint in await fails(network, ProxyError, via(asked))


async def test_a_proxy_that_speaks_no_tls_is_told_as_that(
    autojump_clock: MockClock, network: Network, client_ssl_context: ssl.SSLContext
) -> None:
    refusal = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    network.listen("192.0.2.1", 3128, script(Send(refusal), KeepOpen()))
    message = await fails(network, ProxyError, via(Proxy(HTTPS, ssl_context=client_ssl_context)))
    assert message.startswith(
        f"TLS with the proxy {HTTPS}: the TLS handshake with p.example failed"
    )
    assert message.endswith(
        "(does it speak TLS on this port? most proxies are http://, for https URLs, too)"
    )


async def test_a_name_to_verify_of_the_proxys_own(
    autojump_clock: MockClock,
    network: Network,
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
) -> None:
    other = server_context(ca.issue_cert("other.example"))
    network.listen("192.0.2.1", 3128, tls(other, connect(answer_pings)))
    lent: Any = {"ssl_context": client_ssl_context, "server_hostname": "other.example"}
    await works(await dial(network, via(Proxy(HTTPS, **lent))), network)


async def test_an_origins_certificate_is_the_origins_business(
    autojump_clock: MockClock,
    network: Network,
    client_ssl_context: ssl.SSLContext,
    proxy_tls: ssl.SSLContext,
) -> None:
    network.host("p.example", "192.0.2.1", "192.0.2.2")
    network.listen("192.0.2.1", 3128, connect(tls(proxy_tls, answer_pings)))
    with pytest.raises(TLSError) as caught:
        await dial(network, via(HTTP), SECURE, client_ssl_context)
    assert str(caught.value).startswith(
        f"could not connect to https://a.example:443 through {HTTP}: "
        "the certificate of a.example was refused"
    )
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert caught.value.origin == SECURE
    assert not network.events("connect")[1:]
    assert not network.open_sockets


@pytest.mark.parametrize("lent", [True, False])
async def test_a_proxy_is_never_verified_by_the_context_for_origins(
    autojump_clock: MockClock,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    client_ssl_context: ssl.SSLContext,
    proxy_tls: ssl.SSLContext,
    origin_tls: ssl.SSLContext,
    lent: bool,
) -> None:
    """Nor an origin by the proxy's. Without a context of its own we trust what the system does."""
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr("triopool._dial.trust.default_context", lambda: stranger)
    network.listen("192.0.2.1", 3128, tls(proxy_tls, connect(tls(origin_tls, answer_pings))))
    route = via(Proxy(HTTPS, ssl_context=client_ssl_context if lent else None))
    kind = TLSError if lent else ProxyError
    message = await fails(
        network, kind, route, SECURE, ssl_context=None if lent else client_ssl_context
    )
    assert ("the certificate of p.example was refused" in message) == (not lent)


async def test_our_own_context_serves_a_proxy(
    autojump_clock: MockClock,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    client_ssl_context: ssl.SSLContext,
    proxy_tls: ssl.SSLContext,
    origin_tls: ssl.SSLContext,
) -> None:
    monkeypatch.setattr("triopool._dial.trust.default_context", lambda: client_ssl_context)
    network.listen("192.0.2.1", 3128, tls(proxy_tls, connect(tls(origin_tls, answer_pings))))
    await works(await dial(network, via(HTTPS), SECURE), network)


# ── What it is doing ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "server", "says"),
    [
        (HTTP, script(Receive(), KeepOpen()), f"waiting for {HTTP} to open a tunnel"),
        (SOCKS5H, script(ReceiveBytes(3), KeepOpen()), f"waiting for {SOCKS5H} to connect"),
        (HTTPS, script(KeepOpen()), f"TLS handshake with {HTTPS}"),
        (
            HTTP,
            script(Receive(), Send(b"HTTP/1.1 200 OK\r\n\r\n"), KeepOpen()),
            "TLS handshake with https://a.example:443",
        ),
        (HTTP, None, "connecting to 192.0.2.1:3128"),
    ],
)
async def test_a_dial_says_what_it_is_doing(
    autojump_clock: MockClock,
    network: Network,
    client_ssl_context: ssl.SSLContext,
    url: str,
    server: Server | None,
    says: str,
) -> None:
    if server is None:
        network.hang("192.0.2.1", 3128)
    else:
        network.listen("192.0.2.1", 3128, server)
    notes: list[str] = []
    route = via(Proxy(url, ssl_context=client_ssl_context if url == HTTPS else None))
    with pytest.raises(trio.TooSlowError):
        await dial(network, route, SECURE, client_ssl_context, notes)
    assert notes == [says]
    assert not network.open_sockets


async def test_a_dial_says_which_names_it_is_looking_up(
    autojump_clock: MockClock, network: Network
) -> None:
    for slow, says in [("p.example", "proxy"), ("a.example", "host")]:
        network.host(slow, "192.0.2.1", lookup_delay=50.0)
        notes: list[str] = []
        with pytest.raises(trio.TooSlowError):
            await dial(network, via(SOCKS5), notes=notes)
        assert notes == [f"looking up the {says}'s addresses"]


# ── Who owns the socket ────────────────────────────────────────────────────────────────────────


async def test_a_connection_that_cant_be_made_leaves_nothing_open(
    autojump_clock: MockClock, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Surprise(Exception):
        pass

    def make(*args: Any) -> Any:
        raise Surprise

    monkeypatch.setattr(dialler_module, "HTTP1Connection", make)
    network.listen("192.0.2.1", 3128, connect(answer_pings))
    with pytest.raises(Surprise):
        await dial(network, via(HTTP))
    assert not network.open_sockets


async def test_the_directly_dialled_are_dialled_as_ever(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.7", 80, answer_pings)
    async with dialler_on(network) as dialler:
        assert isinstance(dialler, Dialler)
        await works(await dialler.dial(PoolKey(TARGET), []), network)


async def test_without_a_proxy_a_certificate_that_is_refused_is_told_with_its_address(
    autojump_clock: MockClock,
    network: Network,
    client_ssl_context: ssl.SSLContext,
    proxy_tls: ssl.SSLContext,
) -> None:
    network.listen("192.0.2.7", 443, tls(proxy_tls, answer_pings))
    message = await fails(network, TLSError, Way(None), SECURE, client_ssl_context)
    assert message.startswith(
        "could not connect to https://a.example:443: 192.0.2.7:443: the certificate of a.example"
    )


async def test_a_server_that_is_no_proxy_gets_to_see_no_credentials_of_a_later_hop(
    autojump_clock: MockClock, network: Network
) -> None:
    """What a hop is told is written when the one before has answered, and not earlier."""
    seen = bytearray()

    async def serve(stream: trio.abc.Stream) -> None:
        seen.extend(await read_head(stream))
        await stream.send_all(b"HTTP/1.1 500 No\r\n\r\n")
        while data := await stream.receive_some():
            seen.extend(data)

    network.listen("192.0.2.1", 3128, serve)
    second = Proxy("http://q.example:1", headers=[(b"Proxy-Authorization", b"Basic c2VjcmV0")])
    await fails(network, ProxyError, via(HTTP, second))
    assert b"c2Vj" not in seen


async def test_a_fixture_of_the_helpers_is_what_it_says(
    autojump_clock: MockClock, network: Network
) -> None:
    network.listen("192.0.2.1", 3128, proxy([Turn(b"\x05\x01\0", b"\x05\xff")]))
    assert await fails(network, ProxyError, via(SOCKS5H)) == (
        f"the proxy {SOCKS5H} wants credentials: in its URL, or with Proxy(auth=)"
    )
