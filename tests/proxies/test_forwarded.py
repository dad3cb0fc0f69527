"""Requests that a proxy forwards, through a pool: what is on the wire, and what becomes of it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import triopool
from triopool import (
    DIRECT,
    BasicAuth,
    Proxy,
    ProxyError,
    ReadError,
    ReadTimeout,
    StatusError,
    Timeouts,
)
from triopool.testing import (
    Close,
    KeepOpen,
    ReceiveRequest,
    Reply,
    Request,
    Script,
    Send,
    Wait,
    http_proxy,
    http_server,
    in_turn,
    script,
)

from .world import ADA, HTTP, SECURE, A, B, Contexts, contexts, lent, world

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BASIC = b"Basic " + base64.b64encode(b"ada:secret")
WITH_ADA = "http://ada:secret@proxy.test:3128"


@pytest.fixture(scope="module")
def made() -> Contexts:
    return contexts()


def always(answer: bytes = OK) -> Script:
    """A proxy that gives the same answer to each request."""
    return script(*[ReceiveRequest(), Send(answer)] * 10, KeepOpen())


async def heads(proxy: Any, *requests: tuple[str, str, dict[str, Any]]) -> list[bytes]:
    """What a proxy receives from a pool that has it, byte for byte."""
    server = always()
    async with world(proxy=proxy) as w:
        w.network.listen("192.0.2.9", 3128, server)
        for method, url, options in requests:
            async with w.pool.stream(method, url, **options) as response:
                assert await response.read() == (b"" if method == "HEAD" else b"ok")
            assert response.connection.proxy is not None
            assert response.connection.proxy.forwards
    return [
        part for talk in server.conversations for part in talk.received.split(b"\r\n\r\n") if part
    ]


async def test_a_forwarded_request_to_the_byte(autojump_clock: MockClock) -> None:
    proxy = Proxy(WITH_ADA, headers={"X-Token": "t"})
    [head] = await heads(proxy, ("GET", "http://eve:pw@a.test:8080/p?q=1#fragment", {}))
    assert head.split(b"\r\n") == [
        b"GET http://a.test:8080/p?q=1 HTTP/1.1",
        b"Host: a.test:8080",
        b"Accept: */*",
        b"User-Agent: triopool/" + triopool.__version__.encode(),
        *[line for line in head.split(b"\r\n") if line.startswith(b"Accept-Encoding: ")],
        b"Authorization: Basic " + base64.b64encode(b"eve:pw"),
        b"Proxy-Authorization: " + BASIC,
        b"X-Token: t",
    ]


@pytest.mark.parametrize(
    ("method", "url", "target", "sent"),
    [
        ("GET", "http://a.test", None, "http://a.test/"),
        ("GET", "http://a.test:80/x", None, "http://a.test/x"),
        ("GET", "http://A.TEST/x#y", None, "http://a.test/x"),
        ("GET", "http://a.test/?q#y", None, "http://a.test/?q"),
        ("GET", "http://name:word@a.test/", None, "http://a.test/"),
        ("GET", "http://[2001:db8::1]:81/x", None, "http://[2001:db8::1]:81/x"),
        ("OPTIONS", "http://a.test/x", "*", "http://a.test"),
        ("OPTIONS", "http://a.test:81/x", "*", "http://a.test:81"),
        ("OPTIONS", "http://a.test/x", None, "http://a.test/x"),
        ("GET", "http://a.test/x", "/y?z", "http://a.test/y?z"),
        ("GET", "http://a.test/x", "//y", "http://a.test//y"),
        ("GET", "http://a.test/x", "*", "*"),
        ("GET", "http://a.test/x", "ftp://b.test/y", "ftp://b.test/y"),
        ("GET", "http://a.test/x", "http://b.test/y", "http://b.test/y"),
    ],
)
async def test_the_target_of_a_forwarded_request(
    autojump_clock: MockClock, method: str, url: str, target: str | None, sent: str
) -> None:
    options = {} if target is None else {"target": target}
    [head] = await heads(HTTP, (method, url, options))
    line, host = head.split(b"\r\n")[:2]
    assert line == f"{method} {sent} HTTP/1.1".encode()
    # The URL's own, whatever the target is: without name and password, and the usual port.
    assert host in (b"Host: a.test", b"Host: a.test:81", b"Host: [2001:db8::1]:81")


async def test_the_proxys_fields_come_last_on_every_request_and_on_a_reused_connection(
    autojump_clock: MockClock,
) -> None:
    proxy = Proxy(WITH_ADA, headers=[("X-One", "1"), ("X-Two", "2")])
    last = [b"Proxy-Authorization: " + BASIC, b"X-One: 1", b"X-Two: 2"]
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"{A}/1", {}),
        ("GET", f"{A}/1", {}),
        ("HEAD", f"{B}/2", {}),
        ("GET", f"{B}/3", {"headers": {"X-Mine": "m"}, "auth": ("eve", "pw")}),
        ("POST", f"{A}/4", {"content": b""}),
        ("GET", f"{A}/5", {"decode": False}),
    ]
    received = await heads(proxy, *requests)
    assert len(received) == len(requests)
    for head in received:
        assert head.split(b"\r\n")[-3:] == last
        assert head.count(b"Proxy-Authorization") == head.count(b"X-One") == 1
        assert b"proxy-connection" not in head.lower()


async def test_a_field_that_the_request_has_itself_is_not_repeated(
    autojump_clock: MockClock,
) -> None:
    proxy = Proxy(HTTP, headers={"User-Agent": "proxys", "X-Token": "proxys", "X-Other": "o"})
    [head, again] = await heads(
        proxy,
        ("GET", f"{A}/", {"headers": {"x-token": "mine"}}),
        ("GET", f"{A}/", {}),
    )
    assert head.lower().count(b"x-token:") == head.lower().count(b"user-agent:") == 1
    assert b"x-token: mine" in head
    assert b"X-Other: o" in head
    assert b"proxys" not in head
    assert b"X-Token: proxys" in again


async def test_one_pool_and_one_connection_but_each_request_gets_its_own_proxys_fields(
    autojump_clock: MockClock,
) -> None:
    """A head that is remembered for one proxy is never sent to another one, or directly."""
    other = "http://other:pw@proxy.test:3128"
    async with world(max_connections=4, proxy=WITH_ADA) as w:
        server = always()
        w.network.listen("192.0.2.9", 3128, server)
        for _ in range(2):
            await w.pool.get(f"{A}/")
            await w.pool.get(f"{A}/", proxy=other)
            await w.pool.get(f"{A}/", proxy=HTTP)
            await w.get(f"{A}/", proxy=DIRECT)
            await w.pool.get(f"{A}/")
    by_proxy = [talk.received for talk in server.conversations]
    assert [talk.count(b"GET http://a.test/ HTTP/1.1") for talk in by_proxy] == [4, 2, 2]
    assert [talk.count(BASIC) for talk in by_proxy] == [4, 0, 0]
    assert [talk.count(base64.b64encode(b"other:pw")) for talk in by_proxy] == [0, 2, 0]
    assert by_proxy[2].count(b"Proxy-Authorization") == 0
    assert all(request.header("proxy-authorization") is None for request in w.a.requests)


# ── Whose connection ───────────────────────────────────────────────────────────────────────────


async def test_all_origins_share_what_is_forwarded(autojump_clock: MockClock) -> None:
    async with world(proxy=HTTP, max_connections_per_origin=1) as w:
        ids = {(await w.get(f"{origin}/{n}")).connection.id for n in range(3) for origin in (A, B)}
        assert len(ids) == w.http.connections == 1
        [(key, figures)] = w.pool.statistics().origins.items()
        assert (key.origin, key.forwarded) == (("http", "proxy.test", 3128), True)
        assert figures.open == 1


async def test_they_dont_if_the_proxy_says_so(autojump_clock: MockClock) -> None:
    async with world(proxy=Proxy(HTTP, share_connections=False)) as w:
        for origin in (A, B):
            for n in range(2):
                await w.get(f"{origin}/{n}")
        assert w.http.connections == 2
        for origin in (A, B):
            assert (await w.get(f"{origin}/")).connection.origin.host in origin
        assert {key.origin.host for key in w.pool.statistics().origins} == {"a.test", "b.test"}


async def test_the_bound_per_origin_counts_what_is_forwarded_together(
    autojump_clock: MockClock,
) -> None:
    async with world(max_connections=10, max_connections_per_origin=2, proxy=HTTP) as w:
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            for n in range(4):
                nursery.start_soon(w.get, f"{A}/{n}")
                nursery.start_soon(w.get, f"{B}/{n}")
            await trio.sleep(0.5)
            statistics = w.pool.statistics()
            assert (statistics.open, statistics.waiting) == (2, 6)
        assert w.http.connections == 2


async def test_tunnelled_origins_are_counted_by_themselves(autojump_clock: MockClock) -> None:
    proxy = Proxy(HTTP, tunnel=True)
    async with world(max_connections=10, max_connections_per_origin=2, proxy=proxy) as w:
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            for n in range(4):
                nursery.start_soon(w.get, f"{A}/{n}")
                nursery.start_soon(w.get, f"{B}/{n}")
            await trio.sleep(0.5)
            statistics = w.pool.statistics()
            assert (statistics.open, statistics.waiting) == (4, 4)


# ── Answers ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [400, 403, 404, 407, 502, 503, 504])
async def test_whatever_the_proxy_answers_to_a_forwarded_request_is_a_response(
    autojump_clock: MockClock, status: int
) -> None:
    async def refuse(request: Request) -> Reply:
        return Reply(status=status, body=b"no")

    async with world(proxy=HTTP) as w:
        w.network.listen("192.0.2.9", 3128, http_proxy(w.network, refuse))
        for _ in range(2):
            response = await w.pool.get(f"{A}/", follow_redirects=True)
            assert (response.status_code, response.content) == (status, b"no")
        assert response.connection.reused
        with pytest.raises(StatusError) as caught:
            response.raise_for_status()
        assert caught.value.origin == ("http", "a.test", 80)
        hint = ": the proxy http://proxy.test:3128 wants credentials: in its URL, or with Proxy("
        assert (hint in str(caught.value)) == (status == 407)
        assert not w.a.requests


async def test_a_407_to_wrong_credentials_says_that_they_are_not_accepted(
    autojump_clock: MockClock,
) -> None:
    async with world(proxy="http://ada:wrong@proxy.test:3128", credentials=ADA) as w:
        response = await w.pool.get(f"{A}/x?y")
        assert response.status_code == 407
        with pytest.raises(StatusError) as caught:
            response.raise_for_status()
        assert str(caught.value) == (
            "GET http://a.test:80/x was answered with 407 Proxy Authentication Required: "
            "the proxy http://proxy.test:3128 does not accept these credentials"
        )
        assert len(w.http.requests) == 1  # It is not asked again.


async def test_a_407_of_an_origin_says_nothing_of_the_proxy(autojump_clock: MockClock) -> None:
    """In a tunnel, and directly: then it is the origin that has said so."""

    async def refuse(request: Request) -> Reply:
        return Reply(status=407)

    for proxy in (None, Proxy(HTTP, tunnel=True)):
        async with world(proxy=proxy) as w:
            w.network.listen("192.0.2.1", 80, http_server(refuse))
            with pytest.raises(StatusError) as caught:
                (await w.pool.get(f"{A}/")).raise_for_status()
            assert str(caught.value).endswith("407 Proxy Authentication Required")


async def test_informational_responses_are_told(autojump_clock: MockClock) -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + OK
    told: list[int] = []
    async with world(proxy=HTTP) as w:
        w.network.listen("192.0.2.9", 3128, always(answer))
        for _ in range(2):
            response = await w.pool.get(
                f"{A}/", on_informational=lambda status, headers: told.append(status)
            )
            assert response.content == b"ok"
    assert told == [103, 103]


async def test_a_body_waits_for_the_proxys_100_continue(autojump_clock: MockClock) -> None:
    async with world(proxy=HTTP) as w:
        response = await w.pool.post(f"{A}/", content=b"body", expect_continue=True)
        assert response.content == b"body"


@pytest.mark.parametrize("field", ["Proxy-Connection", "proxy-CONNECTION", "Connection"])
async def test_a_proxy_that_asks_to_close_is_heeded(autojump_clock: MockClock, field: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\n%b: keep, Close\r\nContent-Length: 2\r\n\r\nok" % field.encode()
    async with world(proxy=HTTP) as w:
        server = script(ReceiveRequest(), Send(answer), KeepOpen())
        w.network.listen("192.0.2.9", 3128, server)
        for n in range(1, 4):
            assert (await w.pool.get(f"{A}/")).content == b"ok"
            assert not w.network.open_sockets
            assert len(server.conversations) == n
        assert b"onnection:" not in server.conversations[0].received


async def test_a_redirect_is_forwarded_again_with_the_proxys_fields(
    autojump_clock: MockClock,
) -> None:
    async def redirect(request: Request) -> Reply:
        if request.target == "/":
            return Reply(status=302, headers={"Location": "http://b.test/there"})
        return Reply(headers={"Served": request.target})

    async with world(proxy=WITH_ADA, credentials=ADA) as w:
        w.network.listen("192.0.2.1", 80, http_server(redirect))
        response = await w.pool.get(
            f"{A}/", follow_redirects=True, auth=BasicAuth("eve", "pw"), headers={"Cookie": "c"}
        )
        assert response.headers["Served"] == "/there"
        assert [request.target for request in w.http.requests] == [f"{A}/", f"{B}/there"]
        first, second = w.http.requests
        assert first.header("authorization")
        assert first.header("cookie")
        assert not second.header("authorization")
        assert not second.header("cookie")
        assert [one.headers[-1][0] for one in w.http.requests] == ["proxy-authorization"] * 2
        assert w.http.connections == 1


# ── Stale connections ──────────────────────────────────────────────────────────────────────────


async def test_a_connection_that_the_proxy_closed_is_replaced(autojump_clock: MockClock) -> None:
    async with world(proxy=WITH_ADA, credentials=ADA) as w:
        await w.get(f"{A}/1")
        w.network.open_server_sockets[0].close()
        await w.get(f"{B}/2")
        assert (w.pool.statistics().stale, w.http.connections) == (1, 2)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_that_meets_the_proxys_close_is_retried_by_the_usual_rule(
    autojump_clock: MockClock,
    method: str,
) -> None:
    """The close and the request cross on the way."""
    once = script(ReceiveRequest(), Send(OK), ReceiveRequest(), Close())
    async with world(proxy=WITH_ADA) as w:
        again = always()
        w.network.listen("192.0.2.9", 3128, in_turn(once, again))
        await w.pool.get(f"{A}/1")
        if method == "GET":
            response = await w.pool.get(f"{B}/2")
            assert response.content == b"ok"
            assert w.pool.statistics().retried == 1
            [talk] = again.conversations
            assert talk.received.startswith(b"GET http://b.test/2 HTTP/1.1\r\nHost: b.test\r\n")
            assert talk.received.endswith(b"Proxy-Authorization: " + BASIC + b"\r\n\r\n")
        else:
            with pytest.raises(ReadError) as caught:
                await w.pool.post(f"{B}/2", content=b"x")
            assert caught.value.origin == ("http", "b.test", 80)
            assert not again.conversations


async def test_a_retry_that_finds_the_proxy_gone_says_so(autojump_clock: MockClock) -> None:
    once = script(ReceiveRequest(), Send(OK), ReceiveRequest(), Close())
    async with world(proxy=WITH_ADA) as w:
        w.network.listen("192.0.2.9", 3128, once)
        await w.pool.get(f"{A}/1")
        w.network.refuse("192.0.2.9", 3128)
        with pytest.raises(ProxyError, match="can't be reached") as caught:
            await w.pool.get(f"{B}/2")
        [note] = caught.value.__notes__
        assert "gone stale" in note
        assert "secret" not in note


# ── TLS to the proxy ───────────────────────────────────────────────────────────────────────────


async def test_what_is_forwarded_over_tls_has_the_proxys_facts_and_none_of_the_origins(
    autojump_clock: MockClock,
    made: Contexts,
) -> None:
    async with world(made, proxy=lent(made, auth=ADA), credentials=ADA) as w:
        for n in range(2):
            response = await w.get(f"{A}/{n}")
        assert w.https.connections == 1
        info = response.connection
        assert info.tls is None
        assert info.origin == ("https", "proxy.test", 3129)
        assert info.proxy is not None
        assert info.proxy.tls is not None
        assert info.proxy.tls.version == "TLSv1.3"
        assert (info.proxy.url, info.proxy.forwards) == ("https://proxy.test:3129", True)
        assert info.remote_address == ("192.0.2.9", 3129)


async def test_https_is_never_forwarded(autojump_clock: MockClock, made: Contexts) -> None:
    async with world(made, proxy=lent(made)) as w:
        response = await w.get(f"{SECURE}/x")
        assert response.connection.proxy is not None
        assert not response.connection.proxy.forwards
        assert [request.method for request in w.https.requests] == ["CONNECT"]


async def test_a_proxy_behind_others_forwards_too(
    autojump_clock: MockClock, made: Contexts
) -> None:
    """Its fields are for it alone; the others are asked for tunnels."""
    first = Proxy(HTTP, auth=ADA)
    async with world(made, proxy=lent(made, auth=("last", "pw"), via=first)) as w:
        asked = http_proxy(w.network, credentials=ADA)
        last = http_proxy(w.network, credentials=("last", "pw"))
        w.network.listen("192.0.2.9", 3128, asked)
        w.network.listen("192.0.2.9", 3129, last, ssl_context=made.proxy)
        for origin in (A, B):
            await w.get(f"{origin}/x")
        assert [request.target for request in asked.requests] == ["proxy.test:3129"]
        assert [request.target for request in last.requests] == [f"{A}/x", f"{B}/x"]


async def test_a_slow_proxy_is_a_read_timeout_of_the_requests_own_origin(
    autojump_clock: MockClock,
) -> None:
    async with world(proxy=HTTP, timeouts=Timeouts(read=1.0)) as w:
        w.network.listen("192.0.2.9", 3128, script(ReceiveRequest(), Wait(5), KeepOpen()))
        with pytest.raises(ReadTimeout) as caught:
            await w.pool.get(f"{B}/x")
        assert caught.value.origin == ("http", "b.test", 80)
        assert not w.network.open_sockets


async def test_nothing_is_looked_up_but_the_proxy(autojump_clock: MockClock) -> None:
    async with world(proxy=HTTP) as w:
        await w.get(f"{A}/x")
        assert [event.endpoint for event in w.network.events("resolve")] == ["proxy.test"]


async def test_an_upload_in_pieces_is_forwarded(autojump_clock: MockClock) -> None:
    async def pieces() -> Any:
        for _ in range(3):
            await trio.sleep(0.1)
            yield b"piece"

    async with world(proxy=HTTP) as w:
        response = await w.pool.post(f"{A}/x", content=pieces())
        assert response.content == b"piece" * 3
