"""The proxies of the in-memory network, asked by raw sockets and by h11."""

from __future__ import annotations

import base64
import errno
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import h11
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from triopool.abc import AddressInfo
from triopool.testing import (
    Close,
    Handler,
    Network,
    Receive,
    ReceiveBytes,
    ReceiveRequest,
    Reply,
    Request,
    Reset,
    Send,
    SOCKSRequest,
    Tunnel,
    Wait,
    http_proxy,
    http_server,
    script,
    socks_proxy,
)

PROXY = AddressInfo(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("192.0.2.9", 3128))
ORIGIN, ORIGIN_6 = "192.0.2.1", "2001:db8::1"
ADA = ("ada", "päss:word")
BASIC = "Basic " + base64.b64encode("ada:päss:word".encode()).decode()


def forwarded(url: str = "http://one.test/path", *fields: str, method: str = "GET") -> bytes:
    host = url.removeprefix("http://").partition("/")[0]
    return "\r\n".join([f"{method} {url} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


def connect(to: str = "one.test:80", *fields: str) -> bytes:
    return "\r\n".join([f"CONNECT {to} HTTP/1.1", f"Host: {to}", *fields, "", ""]).encode()


async def echo(request: Request) -> Reply:
    """What the origin got: its request line, its fields, its body."""
    fields = "".join(f"{name}: {value}\n" for name, value in request.headers)
    said = f"{request.method} {request.target}\n{fields}\n".encode() + request.body
    return Reply(headers={"X-Port": "origin"}, body=said)


class Client:
    """A client of HTTP on one connection, which trusts h11 to read what comes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.informational: list[int] = []
        self._left_over = b""

    async def ask(self, request: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
        await self.stream.send_all(request)
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> tuple[h11.Response, bytes]:
        protocol = h11.Connection(h11.CLIENT)
        protocol.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        protocol.send(h11.EndOfMessage())
        if self._left_over:
            protocol.receive_data(self._left_over)
        head, body = None, b""
        while True:
            event = protocol.next_event()
            if event is h11.NEED_DATA:
                protocol.receive_data(bytes(await self.stream.receive_some()))
            elif isinstance(event, h11.InformationalResponse):
                self.informational.append(event.status_code)
            elif isinstance(event, h11.Response):
                head = event
                if method == "CONNECT" and event.status_code < 300:
                    return head, protocol.trailing_data[0]
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                assert head is not None
                self._left_over = protocol.trailing_data[0]
                return head, body


def fields_of(head: h11.Response) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in head.headers}


@asynccontextmanager
async def world(
    make: Callable[[Network], Handler] = http_proxy,
    origin: Handler | None = None,
    ssl_context: ssl.SSLContext | None = None,
    **options: Any,
) -> AsyncIterator[tuple[Network, Any, trio.SocketStream]]:
    """A network with a proxy and an origin, and a connection to the proxy; all closed behind."""
    async with Network() as network:
        for name in ("one.test", "two.test"):
            network.host(name, ORIGIN, ORIGIN_6)
        network.listen(ORIGIN, 80, origin or http_server(echo))
        network.listen(ORIGIN_6, 80, origin or http_server(echo))
        proxy = make(network, **options)
        network.listen("192.0.2.9", 3128, proxy, ssl_context=ssl_context)
        sock = network.socket(PROXY)
        with sock:
            await sock.connect(PROXY.sockaddr)
            yield network, proxy, trio.SocketStream(sock)
        await wait_all_tasks_blocked()
        assert not network.open_server_sockets
        assert not getattr(proxy, "open_sockets", ())


async def send_what_is_wrong(
    *messages: bytes, make: Callable[[Network], Handler] = http_proxy, **options: Any
) -> None:
    """Send *messages*, one by one; the network ends it."""
    async with world(make, **options) as (_, _, stream):
        for message in messages:
            await stream.send_all(message)
            await wait_all_tasks_blocked()
        await stream.send_eof()
        await trio.sleep_forever()


async def read_all(stream: trio.abc.Stream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


# ── HTTP: forwarding ───────────────────────────────────────────────────────────────────────────


async def test_a_request_is_forwarded_in_origin_form() -> None:
    async with world() as (network, proxy, stream):
        head, body = await Client(stream).ask(
            forwarded("http://one.test/path?q", "X-Mine: 1", "Connection: X-Hop", "X-Hop: 2")
        )
        assert body.startswith(b"GET /path?q\nhost: one.test\nx-mine: 1\n")
        assert b"x-hop" not in body
        assert b"via: 1.1 testing\n" in body
        assert fields_of(head)["x-port"] == "origin"
        assert fields_of(head)["via"] == "1.1 testing"
        assert "connection" not in fields_of(head)
        assert [request.target for request in proxy.requests] == ["http://one.test/path?q"]
        assert {event.endpoint for event in network.log} == {("192.0.2.9", 3128)}
        assert network.connections_accepted(ORIGIN, 80) == 1


async def test_requests_to_all_origins_share_a_connection() -> None:
    async with world() as (_, proxy, stream):
        client = Client(stream)
        for number in range(4):
            name = "one.test" if number % 2 else f"two.test:{80}"
            _, body = await client.ask(forwarded(f"http://{name}/{number}"))
            assert body.startswith(f"GET /{number}\nhost: {name}\n".encode())
        assert proxy.connections == 1
        assert {request.connection_number for request in proxy.requests} == {1}


async def test_an_ipv6_address_is_written_in_brackets() -> None:
    async with world() as (network, _, stream):
        _, body = await Client(stream).ask(forwarded(f"http://[{ORIGIN_6}]/"))
        assert f"host: [{ORIGIN_6}]".encode() in body
        assert network.connections_accepted(ORIGIN_6, 80) == 1


@pytest.mark.parametrize(("url", "target"), [("http://one.test", "*"), ("http://one.test/", "/")])
async def test_options_for_a_whole_server_have_a_url_without_a_path(url: str, target: str) -> None:
    async with world() as (_, _, stream):
        _, body = await Client(stream).ask(forwarded(url, method="OPTIONS"))
        assert body.startswith(f"OPTIONS {target}\n".encode())


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("Content-Length: 7", b"one two"),
        ("Transfer-Encoding: chunked", b"3\r\none\r\n4\r\n two\r\n0\r\n\r\n"),
    ],
)
async def test_a_body_is_forwarded(field: str, body: bytes) -> None:
    async with world() as (_, proxy, stream):
        request = forwarded("http://one.test/", field, method="POST")
        _, said = await Client(stream).ask(request + body)
        assert said.endswith(b"\n\none two")
        assert proxy.requests[0].body == b"one two"


async def test_who_waits_for_100_continue_gets_it_from_the_proxy() -> None:
    async with world() as (_, _, stream):
        fields = ("Content-Length: 3", "Expect: 100-continue")
        await stream.send_all(forwarded("http://one.test/", *fields, method="POST"))
        assert await stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        _, said = await Client(stream).ask(b"one")
        assert said.endswith(b"one")
        assert b"expect" not in said


async def test_what_comes_before_and_behind_the_response_is_passed_on() -> None:
    origin = script(
        ReceiveRequest(),
        Send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"),
        Send(b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Send(b"3\r\none\r\n0\r\nX-Trailer: 1\r\n\r\n"),
    )
    async with world(origin=origin) as (_, _, stream):
        client = Client(stream)
        await stream.send_all(forwarded())
        head, body = await client.answer()
        assert (client.informational, head.reason, body) == ([103], b"Fine", b"one")


async def test_a_response_without_a_length_becomes_chunked() -> None:
    origin = script(ReceiveRequest(), Send(b"HTTP/1.0 200 OK\r\n\r\nall"))
    async with world(origin=origin) as (_, _, stream):
        client = Client(stream)
        for _ in range(2):
            head, body = await client.ask(forwarded())
            assert (fields_of(head)["transfer-encoding"], body) == ("chunked", b"all")


async def test_an_answer_that_comes_before_the_request_was_read_is_passed_on(
    autojump_clock: MockClock,
) -> None:
    answer = b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"
    async with world(origin=script(Receive(), Send(answer), Wait(1), Close())) as (_, _, stream):
        request = forwarded("http://one.test/", "Content-Length: 200000", method="POST")
        head, _ = await Client(stream).ask(request + bytes(200_000))
        assert head.status_code == 413


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((ReceiveRequest(), Reset()), "connection_terminated"),
        ((ReceiveRequest(), Close()), "http_protocol_error"),
        ((ReceiveRequest(), Send(b"Good morning!\r\n\r\n")), "http_protocol_error"),
    ],
)
async def test_an_origin_that_fails_is_a_bad_gateway(steps: Any, reason: str) -> None:
    async with world(origin=script(*steps)) as (_, _, stream):
        client = Client(stream)
        for _ in range(2):
            head, _ = await client.ask(forwarded())
            assert (head.status_code, fields_of(head)["proxy-status"]) == (
                502,
                f"testing; error={reason}",
            )


async def test_an_origin_that_fails_in_the_middle_ends_the_connection() -> None:
    origin = script(ReceiveRequest(), Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none"))
    async with world(origin=origin) as (_, _, stream):
        await stream.send_all(forwarded())
        assert (await read_all(stream)).endswith(b"one")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errno.ECONNREFUSED, "connection_refused"),
        (errno.EHOSTUNREACH, "destination_ip_unroutable"),
        (errno.EPERM, "destination_unavailable"),
    ],
)
@pytest.mark.parametrize("request_", [forwarded(), connect()])
async def test_an_origin_that_refuses_is_a_bad_gateway(
    request_: bytes, error: int, reason: str
) -> None:
    async with world() as (network, _, stream):
        for address in (ORIGIN, ORIGIN_6):
            network.refuse(address, 80, error=error)
        head, _ = await Client(stream).ask(request_, method=request_.split()[0].decode())
        assert head.status_code == 502
        assert fields_of(head)["proxy-status"] == f"testing; error={reason}"


async def test_all_addresses_of_an_origin_are_tried() -> None:
    async with world() as (network, _, stream):
        network.refuse(ORIGIN, 80)
        head, _ = await Client(stream).ask(forwarded())
        assert head.status_code == 200
        assert network.connections_accepted(ORIGIN_6, 80) == 1


async def test_a_name_that_nobody_knows_is_a_bad_gateway() -> None:
    async with world() as (network, _, stream):
        head, _ = await Client(stream).ask(forwarded("http://nobody.test/"))
        assert fields_of(head)["proxy-status"] == "testing; error=dns_error"
        assert not network.events("resolve")


async def test_a_client_that_asks_for_the_end_gets_it_from_a_proxy_too() -> None:
    async with world() as (_, _, stream):
        await stream.send_all(forwarded("http://one.test/", "Connection: close"))
        assert b"Connection: close" in await read_all(stream)


async def test_pipelined_requests_are_forwarded_in_turn() -> None:
    async with world() as (_, _, stream):
        client = Client(stream)
        _, one = await client.ask(forwarded("http://one.test/1") + forwarded("http://one.test/2"))
        _, two = await client.answer()
        assert (one[:6], two[:6]) == (b"GET /1", b"GET /2")


@pytest.mark.parametrize("request_", [forwarded(), connect()])
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_what_is_under_way_is_given_up_when_the_client_goes(
    request_: bytes, end: str, autojump_clock: MockClock
) -> None:
    async with world(origin=script(ReceiveRequest(), Wait(math.inf))) as (network, _, stream):
        if request_.startswith(b"CONNECT"):
            network.hang(ORIGIN, 80)
        await stream.send_all(request_)
        await trio.sleep(1)
        assert len(network.open_server_sockets) > 1
        getattr(stream.socket, end)()
        network.open_server_sockets[-1].close()  # the origin's own end


async def test_a_client_may_go_between_two_requests() -> None:
    async with world() as (_, proxy, stream):
        await Client(stream).ask(forwarded())
        await stream.send_all(b"GET http://one.te")
    assert len(proxy.requests) == 1


# ── HTTP: tunnels ──────────────────────────────────────────────────────────────────────────────


async def test_a_tunnel_passes_bytes_on_both_ways() -> None:
    async with world() as (network, proxy, stream):
        client = Client(stream)
        await stream.send_all(connect())
        assert await stream.receive_some() == b"HTTP/1.1 200 OK\r\n\r\n"
        for number in range(2):
            _, body = await client.ask(f"GET /{number} HTTP/1.1\r\nHost: one.test\r\n\r\n".encode())
            assert body == f"GET /{number}\nhost: one.test\n\n".encode()
        assert len(proxy.open_sockets) == 1
        assert proxy.open_sockets[0] in network.open_server_sockets
        assert len(network.open_sockets) == 1
        assert [(request.method, request.target) for request in proxy.requests] == [
            ("CONNECT", "one.test:80")
        ]


async def test_a_large_body_passes_a_tunnel_both_ways() -> None:
    async with world() as (_, _, stream):
        client = Client(stream)
        await client.ask(connect(), "CONNECT")
        head = b"POST / HTTP/1.1\r\nHost: one.test\r\nContent-Length: 1000000\r\n\r\n"
        _, body = await client.ask(head + b"x" * 1_000_000)
        assert body.endswith(b"x" * 1_000_000)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (Reply(status=201), b"HTTP/1.1 201 Created\r\n\r\n"),
        (Reply(status=299), b"HTTP/1.1 299 \r\n\r\n"),
        (
            Reply(headers=[("Content-Length", "5"), ("X-A", "b")], close=True),
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\nConnection: close\r\n\r\n",
        ),
        (Reply(body=b"early"), b"HTTP/1.1 200 OK\r\n\r\nearly"),
        (Reply(body=[b"ea", b"rly"]), b"HTTP/1.1 200 OK\r\n\r\nearly"),
    ],
)
async def test_a_tunnel_can_be_opened_with_any_2xx(reply: Reply, answer: bytes) -> None:
    async def respond(request: Request) -> Reply:
        return reply

    async with world(respond=respond) as (_, _, stream):
        await stream.send_all(connect())
        assert await stream.receive_some() == answer
        _, body = await Client(stream).ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert body.startswith(b"GET /\n")


async def test_a_tunnel_can_be_dropped_as_soon_as_it_is_open(autojump_clock: MockClock) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(delay=2.0, drop=True)

    async with world(respond=respond) as (_, _, stream):
        await stream.send_all(connect())
        assert await read_all(stream) == b"HTTP/1.1 200 OK\r\n\r\n"
        assert trio.current_time() == 2.0


async def test_a_tunnel_can_be_refused_with_any_code_and_the_connection_goes_on() -> None:
    async def respond(request: Request) -> Reply | None:
        return Reply(status=403, body=b"no") if request.target == "two.test:80" else None

    async with world(respond=respond) as (network, proxy, stream):
        client = Client(stream)
        head, body = await client.ask(connect("two.test:80"), "CONNECT")
        assert (head.status_code, body) == (403, b"no")
        assert not network.connections_accepted(ORIGIN, 80)
        head, _ = await client.ask(connect("one.test:80"), "CONNECT")
        assert head.status_code == 200
        assert len(proxy.requests) == 2


async def test_a_refusal_can_end_the_connection() -> None:
    async def respond(request: Request) -> Reply:
        return Reply(status=503, drop=True)

    async with world(respond=respond) as (_, _, stream):
        await stream.send_all(forwarded() + connect())
        answer = await read_all(stream)
        assert answer == b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


async def test_the_end_of_one_side_is_passed_on_and_the_other_may_go_on() -> None:
    origin = script(Receive(b"?"), Receive(b"never"))
    finish = script(Receive(b"?"), Wait(0), Send(b"answer"))
    async with world(origin=finish) as (_, _, stream):
        await Client(stream).ask(connect(), "CONNECT")
        await stream.send_all(b"?")
        await stream.send_eof()
        assert await read_all(stream) == b"answer"
    async with world(origin=origin) as (_, _, stream):
        await Client(stream).ask(connect(), "CONNECT")
        await stream.send_all(b"?")
    assert origin.conversations[0].received == b"?"


async def test_a_reset_is_passed_on_both_ways() -> None:
    async with world(origin=script(Receive(b"?"), Reset())) as (_, _, stream):
        await Client(stream).ask(connect(), "CONNECT")
        await stream.send_all(b"?")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
    ended: list[str] = []

    async def origin(stream: trio.abc.Stream) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        ended.append("reset")

    async with world(origin=origin) as (_, _, stream):
        await Client(stream).ask(connect(), "CONNECT")
        await wait_all_tasks_blocked()
        stream.socket.reset()  # type: ignore[attr-defined]
        await wait_all_tasks_blocked()
    assert ended == ["reset"]


async def test_a_tunnel_ends_when_the_test_closes_the_proxys_socket() -> None:
    async with world() as (_, proxy, stream):
        await Client(stream).ask(connect(), "CONNECT")
        proxy.open_sockets[0].close()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_a_proxy_can_speak_tls_and_pass_on_tls(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    async with world(ssl_context=server_ssl_context) as (network, proxy, stream):
        network.listen(ORIGIN, 443, http_server(echo), ssl_context=server_ssl_context)
        outer = trio.SSLStream(
            stream, client_ssl_context, server_hostname="two.test", https_compatible=True
        )
        await Client(outer).ask(connect("one.test:443"), "CONNECT")
        inner = trio.SSLStream(
            outer, client_ssl_context, server_hostname="one.test", https_compatible=True
        )
        # What is in TLS is not the proxy's to see, and so no error of its.
        _, body = await Client(inner).ask(b"GET /in HTTP/1.1\r\nHost: one.test\r\n\r\n")
        assert body.startswith(b"GET /in\n")
        await inner.aclose()
        assert proxy.connections == 1


async def test_a_reset_reaches_through_the_tls_of_a_proxy(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    origin = script(Receive(b"?"), Reset())
    async with world(origin=origin, ssl_context=server_ssl_context) as (_, _, stream):
        outer = trio.SSLStream(stream, client_ssl_context, server_hostname="two.test")
        await Client(outer).ask(connect(), "CONNECT")
        await outer.send_all(b"?")
        with pytest.raises(trio.BrokenResourceError):
            await outer.receive_some()


async def test_the_end_of_an_origin_is_the_end_for_a_client_in_tls(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    origin = script(Receive(b"?"), Send(b"!"))
    async with world(origin=origin, ssl_context=server_ssl_context) as (_, _, stream):
        outer = trio.SSLStream(
            stream, client_ssl_context, server_hostname="two.test", https_compatible=True
        )
        await Client(outer).ask(connect(), "CONNECT")
        await outer.send_all(b"?")
        assert await read_all(outer) == b"!"


async def test_proxies_can_be_asked_for_one_another() -> None:
    async with world(credentials=ADA) as (network, _, stream):
        second = http_proxy(network, credentials=("bob", "x"))
        network.listen("192.0.2.8", 3128, second)
        client = Client(stream)
        given = f"Proxy-Authorization: {BASIC}"
        await client.ask(connect("192.0.2.8:3128", given), "CONNECT")
        bob = "Proxy-Authorization: Basic " + base64.b64encode(b"bob:x").decode()
        head, body = await client.ask(forwarded("http://one.test/", bob))
        assert (head.status_code, b"via: 1.1 testing\n" in body) == (200, True)
        head, _ = await client.ask(connect("one.test:80", bob), "CONNECT")
        assert head.status_code == 200


# ── HTTP: credentials ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("credentials", "scheme", "right", "wrong"),
    [
        (ADA, "Basic", BASIC, "Basic " + base64.b64encode(b"ada:x").decode()),
        ("t0ken", "Bearer", "Bearer t0ken", "Bearer other"),
    ],
)
@pytest.mark.parametrize("make", [forwarded, connect])
async def test_credentials_are_wanted(
    credentials: Any, scheme: str, right: str, wrong: str, make: Any
) -> None:
    async with world(credentials=credentials) as (network, _, stream):
        client = Client(stream)
        target = "http://one.test/" if make is forwarded else "one.test:80"
        method = "GET" if make is forwarded else "CONNECT"
        for fields in ([], [f"Proxy-Authorization: {wrong}"]):
            head, _ = await client.ask(make(target, *fields), method)
            assert head.status_code == 407
            assert fields_of(head)["proxy-authenticate"] == f'{scheme} realm="testing"'
        assert not network.connections_accepted(ORIGIN, 80)
        head, body = await client.ask(make(target, f"Proxy-Authorization: {right}"), method)
        assert head.status_code == 200
        assert b"proxy-authorization" not in body


# ── HTTP: what a client should not send ────────────────────────────────────────────────────────

GIVEN = f"Proxy-Authorization: {BASIC}"


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n", "absolute form"),
        (b"GET https://one.test/ HTTP/1.1\r\nHost: one.test\r\n\r\n", "absolute form"),
        (b"GET http://one.test/#x HTTP/1.1\r\nHost: one.test\r\n\r\n", "absolute form"),
        (b"OPTIONS * HTTP/1.1\r\nHost: one.test\r\n\r\n", "absolute form"),
        (forwarded("http://one.test"), "a URL without a path"),
        (forwarded("http://ada:secret@one.test/"), "a name or a password"),
        (connect("ada:secret@one.test:80"), "a name or a password"),
        (forwarded("http://one.test:/"), "host and a port"),
        (forwarded("http://one.test:0/"), "host and a port"),
        (forwarded("http://one.test:65536/"), "host and a port"),
        (forwarded("http:///"), "host and a port"),
        (forwarded("http://2001:db8::1/"), "host and a port"),
        (forwarded("http://[2001:db8::1%25eth0]/"), "host and a port"),
        (forwarded("http://[1::2::3]/"), "host and a port"),
        (forwarded("http://o%6Ee.test/"), "host and a port"),
        (connect("one.test"), "without a port"),
        (connect("http://one.test:80"), "host and a port"),
        (b"GET http://one.test/ HTTP/1.1\r\nHost: two.test\r\n\r\n", "a Host that is not"),
        (b"CONNECT one.test:80 HTTP/1.1\r\nHost: one.test\r\n\r\n", "a Host that is not"),
        (forwarded("http://one.test/", "Proxy-Connection: keep-alive"), "Proxy-Connection"),
        (forwarded("http://one.test/", GIVEN), "Proxy-Authorization, unasked"),
        (connect("one.test:80", GIVEN), "Proxy-Authorization, unasked"),
        (forwarded("http://one.test/", "Upgrade: websocket"), "an Upgrade"),
        (connect("one.test:80", "Cookie: a=b"), "behind: cookie"),
        (connect("one.test:80", "Authorization: x", "Content-Length: 0"), "content-length"),
        (b"Good morning!\r\n\r\n", "don't begin one|illegal|request"),
        (forwarded() + b"\0\0\0", "where a request was to begin"),
        (connect() + b"\x16\x03", "2 bytes before the tunnel was open"),
    ],
)
async def test_what_a_proxy_should_not_be_sent_is_an_error(request_: bytes, what: str) -> None:
    with pytest.raises(h11.RemoteProtocolError, match=what) as caught:
        await send_what_is_wrong(request_)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ((GIVEN, GIVEN), "twice"),
        (("Proxy-Authorization: Digest a",), "neither Basic nor Bearer"),
        (("Proxy-Authorization: Basic ????",), "neither Basic nor Bearer"),
        (("Proxy-Authorization: Basic YWRh",), "neither Basic nor Bearer"),
        (("Proxy-Authorization: Basic YWRhO",), "neither Basic nor Bearer"),
    ],
)
async def test_credentials_that_are_none_are_an_error(fields: tuple[str, ...], what: str) -> None:
    with pytest.raises(h11.RemoteProtocolError, match=what):
        await send_what_is_wrong(forwarded("http://one.test/", *fields), credentials=ADA)


async def test_bytes_that_come_while_a_tunnel_is_being_opened_are_an_error(
    autojump_clock: MockClock,
) -> None:
    async def respond(request: Request) -> None:
        await trio.sleep(1)

    with pytest.raises(h11.RemoteProtocolError, match="3 bytes before the tunnel was open"):
        await send_too_early(respond, connect(), b"GET")


async def send_too_early(respond: Any, *messages: bytes, make: Any = http_proxy) -> None:
    async with world(make, respond=respond) as (_, _, stream):
        for message in messages:
            await stream.send_all(message)
            await wait_all_tasks_blocked()
        await trio.sleep_forever()


@pytest.mark.parametrize("pieces", [1, 7, 1000])
@pytest.mark.parametrize("target", ["/", "*", "/path?query"])
async def test_credentials_for_a_proxy_inside_of_a_tunnel_are_an_error(
    target: str, pieces: int
) -> None:
    ordinary = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
    leak = f"GET {target} HTTP/1.1\r\nHost: a\r\nX-A: b\r\n{GIVEN}\r\n\r\n".encode()
    sent = ordinary + leak.replace(b"Proxy-Auth", b"pRoxy-auth")
    with pytest.raises(h11.RemoteProtocolError, match="through a tunnel, to an origin"):
        await send_what_is_wrong(
            connect("one.test:80", GIVEN),
            *(sent[start : start + pieces] for start in range(0, len(sent), pieces)),
            credentials=ADA,
            origin=script(Wait(math.inf)),
        )


async def test_the_words_of_such_a_field_may_be_in_a_body() -> None:
    async with world() as (_, _, stream):
        client = Client(stream)
        await client.ask(connect(), "CONNECT")
        words = b"\nProxy-Authorization: no\r\n"
        head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(words)}\r\n\r\n".encode()
        _, body = await client.ask(head + words)
        assert body.endswith(words)


async def test_an_origin_does_not_take_credentials_for_a_proxy() -> None:
    with pytest.raises(h11.RemoteProtocolError, match="a proxy's credentials"):
        await send_what_is_wrong(
            f"GET / HTTP/1.1\r\nHost: a\r\n{GIVEN}\r\n\r\n".encode(),
            make=lambda network: http_server(echo),
        )


async def test_an_exception_of_a_proxys_respond_leaves_as_itself() -> None:
    async def respond(request: Request) -> None:
        raise LookupError("respond")

    with pytest.raises(LookupError, match="respond"):
        await send_what_is_wrong(forwarded(), respond=respond)


async def test_a_group_of_exceptions_leaves_in_a_group() -> None:
    async def respond(request: Request) -> None:
        raise ExceptionGroup("several", [LookupError("respond")])

    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        await send_what_is_wrong(forwarded(), respond=respond)


async def test_a_proxy_has_to_be_given_a_reply_or_none() -> None:
    async def respond(request: Request) -> Any:
        return 403

    with pytest.raises(TypeError, match="a Reply or None, not 403"):
        await send_what_is_wrong(forwarded(), respond=respond)


@pytest.mark.parametrize("make", [http_proxy, socks_proxy])
@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("network",), {}),
        ((Network(), "respond"), {}),
        ((Network(),), {"credentials": 5}),
        ((Network(),), {"credentials": ("ada", b"x")}),
    ],
)
def test_arguments_of_a_proxy_are_checked(make: Any, arguments: Any, options: Any) -> None:
    with pytest.raises(TypeError):
        make(*arguments, **options)


def test_credentials_of_socks_have_at_most_255_bytes_each() -> None:
    socks_proxy(Network(), credentials=("a" * 255, "é" * 127))
    for credentials in (("a" * 256, ""), ("", "é" * 128)):
        with pytest.raises(ValueError, match="255 bytes"):
            socks_proxy(Network(), credentials=credentials)


# ── Tunnel, the step of a script ───────────────────────────────────────────────────────────────


async def test_a_script_can_misbehave_and_then_be_a_tunnel() -> None:
    async with Network() as network:
        network.listen(ORIGIN, 80, http_server(echo))
        proxy = script(
            ReceiveRequest(),
            Send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nnoise"),
            Tunnel(network, ORIGIN, 80),
        )
        network.listen("192.0.2.9", 3128, proxy)
        with network.socket(PROXY) as sock:
            await sock.connect(PROXY.sockaddr)
            stream = trio.SocketStream(sock)
            # A script does not mind what comes too early.
            inside = b"GET /early HTTP/1.1\r\nHost: a\r\n\r\n"
            await stream.send_all(connect() + inside)
            said = b""
            while b"GET /early" not in said:
                said += await stream.receive_some()
            assert b"\r\n\r\nnoise" in said
        await wait_all_tasks_blocked()
        assert proxy.conversations[0].finished
        assert not network.open_server_sockets


async def test_a_tunnel_passes_on_between_streams_that_are_no_sockets() -> None:
    """They can't be reset: what can be done for them is to close them."""
    async with Network() as network:
        network.listen(ORIGIN, 80, script(Receive(b"?"), Reset()))
        ours, theirs = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(script(Tunnel(network, ORIGIN, 80)), theirs)
            await ours.send_all(b"?")
            assert await read_all(ours) == b""


def test_the_arguments_of_a_tunnel_are_checked() -> None:
    with pytest.raises(TypeError, match="Network"):
        Tunnel("network", ORIGIN, 80)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Tunnel\.port"):
        Tunnel(Network(), ORIGIN, 0)


# ── Network.connect ────────────────────────────────────────────────────────────────────────────


async def test_what_a_server_connects_to_is_not_in_the_log() -> None:
    async with Network() as network:
        network.host("one.test", ORIGIN)
        network.listen(ORIGIN, 80, http_server(echo))
        async with await network.connect("one.test", 80) as stream:
            assert network.open_sockets == ()
            assert len(network.open_server_sockets) == 2
            _, body = await Client(stream).ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert body.startswith(b"GET /")
        assert network.log == ()


async def test_a_server_is_told_why_it_can_not_connect() -> None:
    async with Network() as network:
        network.host("one.test", ORIGIN, ORIGIN_6)
        network.refuse(ORIGIN_6, 80, error=errno.EHOSTUNREACH)
        with pytest.raises(OSError, match="No route to host"):
            await network.connect("one.test", 80)
        with pytest.raises(ConnectionRefusedError):
            await network.connect(ORIGIN, 80)
        with pytest.raises(socket.gaierror):
            await network.connect("nobody.test", 80)
        assert not network.open_server_sockets


# ── SOCKS ──────────────────────────────────────────────────────────────────────────────────────


def socks5(host: str | bytes, port: int = 80) -> bytes:
    if isinstance(host, bytes):
        return b"\5\1\0\3" + bytes([len(host)]) + host + port.to_bytes(2, "big")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = b"\4" if ":" in host else b"\1"
    return b"\5\1\0" + kind + socket.inet_pton(family, host) + port.to_bytes(2, "big")


def socks4(host: str | bytes, port: int = 80, user: bytes = b"") -> bytes:
    name = host + b"\0" if isinstance(host, bytes) else b""
    address = b"\0\0\0\1" if name else socket.inet_aton(str(host))
    return b"\4\1" + port.to_bytes(2, "big") + address + user + b"\0" + name


def credentials(username: bytes, password: bytes) -> bytes:
    return b"\1" + bytes([len(username)]) + username + bytes([len(password)]) + password


ADA_SAYS = credentials(b"ada", "päss:word".encode())
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def tell(stream: trio.abc.Stream, message: bytes, pieces: int = 1000) -> bytes:
    for start in range(0, len(message), pieces):
        await stream.send_all(message[start : start + pieces])
        if pieces < 1000:
            await wait_all_tasks_blocked()
    return bytes(await stream.receive_some())


@pytest.mark.parametrize("pieces", [1, 3, 1000])
@pytest.mark.parametrize(
    ("host", "is_name"), [(b"one.test", True), (ORIGIN, False), (ORIGIN_6, False)]
)
async def test_socks5_connects_to_names_and_addresses(
    host: str | bytes, is_name: bool, pieces: int
) -> None:
    async with world(socks_proxy) as (network, proxy, stream):
        assert await tell(stream, b"\5\1\0", pieces) == b"\5\0"
        answer = await tell(stream, socks5(host), pieces)
        local = proxy.open_sockets[0].getsockname()
        kind, packed = (4, "::1") if host == ORIGIN_6 else (1, "127.0.0.1")
        family = socket.AF_INET6 if kind == 4 else socket.AF_INET
        assert answer == b"\5\0\0" + bytes([kind]) + socket.inet_pton(family, packed) + local[
            1
        ].to_bytes(2, "big")
        _, body = await Client(stream).ask(GET)
        assert body.startswith(b"GET /")
        text = host.decode() if isinstance(host, bytes) else host
        assert proxy.requests == [SOCKSRequest(5, text, 80, is_name, None, None, 1)]
        assert not network.events("resolve")


@pytest.mark.parametrize("pieces", [1, 1000])
async def test_socks5_wants_credentials(pieces: int) -> None:
    async with world(socks_proxy, credentials=ADA) as (_, proxy, stream):
        assert await tell(stream, b"\5\2\0\2", pieces) == b"\5\2"
        assert await tell(stream, ADA_SAYS, pieces) == b"\1\0"
        assert (await tell(stream, socks5(b"one.test"), pieces))[:2] == b"\5\0"
        (request,) = proxy.requests
        assert (request.username, request.password) == ADA
        assert "ada" not in repr(request)


async def test_socks5_turns_away_who_has_no_credentials() -> None:
    async with world(socks_proxy, credentials=ADA) as (_, proxy, stream):
        assert await tell(stream, b"\5\1\0") == b"\5\xff"
        await stream.send_eof()
        assert await read_all(stream) == b""
        assert proxy.requests == []


async def test_socks5_turns_away_who_offers_nothing_but_credentials_unasked() -> None:
    async with world(socks_proxy) as (_, _, stream):
        assert await tell(stream, b"\5\1\2") == b"\5\xff"


@pytest.mark.parametrize("said", [credentials(b"ada", b""), credentials(b"", b"x")])
async def test_socks5_turns_away_who_has_other_credentials(said: bytes) -> None:
    async with world(socks_proxy, credentials=ADA) as (_, proxy, stream):
        await tell(stream, b"\5\2\0\2")
        assert await tell(stream, said) == b"\1\1"
        await stream.send_eof()
        assert await read_all(stream) == b""
        assert proxy.requests == []


@pytest.mark.parametrize("host", [b"one.test", ORIGIN])
async def test_socks4_connects_to_names_and_addresses(host: str | bytes) -> None:
    async with world(socks_proxy) as (_, proxy, stream):
        assert await tell(stream, socks4(host), 1) == b"\0\x5a" + bytes(6)
        _, body = await Client(stream).ask(GET)
        assert body.startswith(b"GET /")
        text = host.decode() if isinstance(host, bytes) else host
        is_name = isinstance(host, bytes)
        assert proxy.requests == [SOCKSRequest(4, text, 80, is_name, None, None, 1)]


async def test_socks4_wants_a_user() -> None:
    async with world(socks_proxy, credentials=ADA) as (_, proxy, stream):
        assert await tell(stream, socks4(ORIGIN, user=b"ada")) == b"\0\x5a" + bytes(6)
        assert proxy.requests[0].username == "ada"
    async with world(socks_proxy, credentials=ADA) as (_, proxy, stream):
        assert await tell(stream, socks4(ORIGIN, user=b"bob")) == b"\0\x5d" + bytes(6)
        assert proxy.requests == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errno.ECONNREFUSED, 5),
        (errno.EHOSTUNREACH, 4),
        (errno.ENETUNREACH, 3),
        (errno.EPERM, 1),
    ],
)
async def test_socks_says_why_nobody_can_be_reached(error: int, code: int) -> None:
    async with world(socks_proxy) as (network, _, stream):
        network.refuse(ORIGIN, 80, error=error)
        await tell(stream, b"\5\1\0")
        assert await tell(stream, socks5(ORIGIN)) == bytes([5, code, 0, 1]) + bytes(6)
        assert await read_all(stream) == b""
    async with world(socks_proxy) as (network, _, stream):
        network.refuse(ORIGIN, 80, error=error)
        assert await tell(stream, socks4(ORIGIN)) == b"\0\x5b" + bytes(6)
        assert await read_all(stream) == b""


async def test_a_name_that_nobody_knows_can_not_be_reached_by_socks() -> None:
    async with world(socks_proxy) as (_, _, stream):
        await tell(stream, b"\5\1\0")
        assert (await tell(stream, socks5(b"nobody.test")))[:2] == b"\5\4"


async def test_socks_refuses_with_any_code() -> None:
    async def respond(request: SOCKSRequest) -> int | None:
        return 0xF4 if request.port == 81 else None

    async with world(socks_proxy, respond=respond) as (network, _, stream):
        await tell(stream, b"\5\1\0")
        assert await tell(stream, socks5(ORIGIN, 81)) == b"\5\xf4\0\1" + bytes(6)
        assert await read_all(stream) == b""
        assert not network.connections_accepted(ORIGIN, 80)
    async with world(socks_proxy, respond=respond) as (_, _, stream):
        assert await tell(stream, socks4(ORIGIN, 81)) == b"\0\xf4" + bytes(6)
    async with world(socks_proxy, respond=respond) as (_, _, stream):
        assert await tell(stream, socks4(ORIGIN, 80)) == b"\0\x5a" + bytes(6)


@pytest.mark.parametrize("code", [0, 256, "no"])
async def test_a_code_that_is_none_is_an_error(code: Any) -> None:
    async def respond(request: SOCKSRequest) -> Any:
        return code

    with pytest.raises((TypeError, ValueError), match="what respond"):
        async with world(socks_proxy, respond=respond) as (_, _, stream):
            await tell(stream, socks4(ORIGIN))


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_socks_gives_up_when_the_client_goes(end: str) -> None:
    async with world(socks_proxy) as (network, _, stream):
        network.hang(ORIGIN, 80)
        await tell(stream, b"\5\1\0")
        await stream.send_all(socks5(ORIGIN))
        await wait_all_tasks_blocked()
        assert len(network.open_server_sockets) == 2
        getattr(stream.socket, end)()


@pytest.mark.parametrize(
    "said", [b"", b"\5", b"\5\2\0", b"\4", b"\4\1\0\x50\1\2\3\4user", socks4(b"na")[:-1]]
)
async def test_a_client_of_socks_may_go_at_any_time(said: bytes) -> None:
    async with world(socks_proxy) as (_, proxy, stream):
        await stream.send_all(said)
    assert proxy.requests == []


async def test_socks_can_be_behind_tls(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    async with world(socks_proxy, ssl_context=server_ssl_context) as (_, _, stream):
        outer = trio.SSLStream(
            stream, client_ssl_context, server_hostname="two.test", https_compatible=True
        )
        assert await tell(outer, socks4(ORIGIN)) == b"\0\x5a" + bytes(6)
        _, body = await Client(outer).ask(GET)
        assert body.startswith(b"GET /")


async def test_a_script_can_answer_as_socks_does_and_then_be_a_tunnel() -> None:
    async with Network() as network:
        network.listen(ORIGIN, 80, http_server(echo))
        odd = script(
            ReceiveBytes(3),
            Send(b"\5\0"),
            ReceiveBytes(10),
            Send(b"\5\0\0\3\4here\0\x50"),
            Tunnel(network, ORIGIN, 80),
        )
        network.listen("192.0.2.9", 3128, odd)
        with network.socket(PROXY) as sock:
            await sock.connect(PROXY.sockaddr)
            stream = trio.SocketStream(sock)
            await tell(stream, b"\5\1\0")
            assert await tell(stream, socks5(ORIGIN)) == b"\5\0\0\3\4here\0\x50"
            _, body = await Client(stream).ask(GET)
            assert body.startswith(b"GET /")


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ([b"\6\1\0"], "a version of SOCKS"),
        ([b"GET / HTTP/1.1\r\n\r\n"], "a version of SOCKS"),
        ([b"\5\0"], "ways to authenticate"),
        ([b"\5\2\0\0"], "ways to authenticate"),
        ([b"\5\2\0\xff"], "ways to authenticate"),
        ([b"\5\1\0" + socks5(ORIGIN)], "10 bytes before it had its answer"),
        ([b"\5\1\0", b"\5\2\0\1\1\2\3\4\0\x50"], "not to connect: 5 2 0"),
        ([b"\5\1\0", b"\4\1\0\1\1\2\3\4\0\x50"], "not to connect: 4 1 0"),
        ([b"\5\1\0", b"\5\1\1\1\1\2\3\4\0\x50"], "not to connect: 5 1 1"),
        ([b"\5\1\0", b"\5\1\0\2\1\2\3\4\0\x50"], "an address of kind 2"),
        ([b"\5\1\0", socks5(ORIGIN, 0)], "0 for a port"),
        ([b"\5\1\0", socks5(ORIGIN) + b"GET /"], "5 bytes before it had its answer"),
        ([b"\5\1\0", socks5(b"")], "for a name"),
        ([b"\5\1\0", socks5(b"one\0test")], "for a name"),
        ([b"\5\1\0", socks5("ö.test".encode())], "for a name"),
        ([b"\5\1\0", socks5(b"[2001:db8::1]")], "for a name"),
        ([b"\5\1\0", socks5(b"192.0.2.1")], "an address as a name"),
        ([b"\5\1\2", b"\5"], "1 bytes after it was turned away"),
        ([b"\4\2\0\x50\1\2\3\4\0"], "not to connect"),
        ([socks4(ORIGIN, 0)], "0 for a port"),
        ([socks4("0.0.0.0")], r"0\.0\.0\.0"),
        ([socks4(ORIGIN, user=b"ada")], "though none is wanted"),
        ([socks4(ORIGIN, user=b"\xff")], "not UTF-8"),
        ([b"\4\1\0\x50\1\2\3\4" + b"a" * 300], "a user of more than 255 bytes"),
        ([socks4(b"a" * 256)], "a name of more than 255 bytes"),
        ([socks4(b"192.0.2.1")], "an address as a name"),
        ([socks4(b" ")], "for a name"),
        ([socks4(ORIGIN) + b"G"], "1 bytes before it had its answer"),
    ],
)
async def test_what_socks_should_not_be_sent_is_an_error(messages: list[bytes], what: str) -> None:
    with pytest.raises(h11.RemoteProtocolError, match=what):
        await send_what_is_wrong(*messages, make=socks_proxy)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (b"\2" + ADA_SAYS[1:], "of a version that is none"),
        (credentials(b"ada", b"\xff"), "not UTF-8"),
        (ADA_SAYS + b"x", "1 bytes before it had its answer"),
    ],
)
async def test_what_are_no_credentials_of_socks_is_an_error(said: bytes, what: str) -> None:
    with pytest.raises(h11.RemoteProtocolError, match=what) as caught:
        await send_what_is_wrong(b"\5\2\0\2", said, make=socks_proxy, credentials=ADA)
    assert "ada" not in str(caught.value)


async def test_bytes_that_come_before_the_answer_of_socks_are_an_error(
    autojump_clock: MockClock,
) -> None:
    async def respond(request: SOCKSRequest) -> None:
        await trio.sleep(1)

    with pytest.raises(h11.RemoteProtocolError, match="3 bytes before it had its answer"):
        await send_too_early(respond, socks4(ORIGIN), b"GET", make=socks_proxy)


async def test_credentials_for_a_proxy_behind_socks_are_an_error() -> None:
    leak = f"GET / HTTP/1.1\r\nHost: a\r\n{GIVEN}\r\n\r\n".encode()
    with pytest.raises(h11.RemoteProtocolError, match="through a tunnel, to an origin"):
        await send_what_is_wrong(socks4(ORIGIN), leak, make=socks_proxy)
