"""What a test says about its servers is checked where it says it."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from trio.testing import MockClock

from triopool import ConnectionPool
from triopool.testing import (
    Network,
    Receive,
    ReceiveBytes,
    ReceiveRequest,
    Reply,
    Request,
    Send,
    Wait,
    WaitFor,
    http_server,
    in_turn,
    script,
)

A = "192.0.2.1"


def test_header_fields_may_be_a_mapping() -> None:
    fields: Mapping[str, str] = {"Content-Type": "text/plain", "X-Colour": "blue"}
    reply = Reply(headers=fields, trailers={"Digest": "x"}, chunked=True)
    assert reply.headers == (("Content-Type", "text/plain"), ("X-Colour", "blue"))
    assert reply.trailers == (("Digest", "x"),)
    assert reply == Reply(headers=list(fields.items()), trailers=[("Digest", "x")], chunked=True)


async def test_a_mapping_of_header_fields_is_sent(autojump_clock: MockClock) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(headers={"X-Colour": "blue", "Content-Length": "2"}, body=b"hi")

    async with Network() as network:
        network.listen(A, 80, http_server(respond))
        async with ConnectionPool(socket_factory=network.socket) as pool:
            response = await pool.get(f"http://{A}/")
    assert response.raw_headers == [(b"X-Colour", b"blue"), (b"Content-Length", b"2")]


def test_a_body_may_come_from_any_iterable_of_bytes() -> None:
    assert Reply(body=(piece for piece in (b"a", b"b"))).body == (b"a", b"b")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"status": "200"}, TypeError, "Reply.status must be a whole number, not '200'"),
        ({"status": True}, TypeError, "Reply.status must be a whole number"),
        ({"status": 101}, ValueError, "Reply.status must be from 200 to 999, not 101"),
        ({"headers": "Host: a"}, TypeError, "Reply.headers must be a mapping, or pairs"),
        ({"headers": 5}, TypeError, "Reply.headers must be a mapping, or pairs"),
        ({"headers": ["Host: a"]}, TypeError, "pairs of name and value, both str, not 'Host: a'"),
        ({"headers": [("Age", 5)]}, TypeError, "both str, not"),
        ({"headers": {"Age": 5}}, TypeError, "both str, not"),
        ({"headers": {"A b": "c"}}, ValueError, "Reply: this is not HTTP: "),
        ({"headers": {"A": "b\r\nC: d"}}, ValueError, "Reply: this is not HTTP: "),
        ({"body": "text"}, TypeError, "Reply.body must be bytes, not str: encode it"),
        ({"body": bytearray(b"a")}, TypeError, "Reply.body must be bytes, not bytearray"),
        ({"body": 5}, TypeError, "Reply.body must be bytes, not 5"),
        ({"body": [b"a", "b"]}, TypeError, "a piece of Reply.body must be bytes, not str"),
        ({"delay": -1}, ValueError, "Reply.delay must be 0 or more seconds, not -1"),
        ({"delay": math.nan}, ValueError, "Reply.delay must be 0 or more"),
        ({"gap": "1"}, TypeError, "Reply.gap must be a number of seconds, not '1'"),
        ({"gap": False}, TypeError, "Reply.gap must be a number of seconds"),
        ({"chunked": "no"}, TypeError, "Reply.chunked must be True or False, not 'no'"),
        ({"close": 1}, TypeError, "Reply.close must be True or False"),
        ({"drop": None}, TypeError, "Reply.drop must be True or False"),
        ({"trailers": {"Digest": "x"}}, ValueError, "come behind a chunked body: chunked=True"),
        ({"trailers": {"": "x"}, "chunked": True}, ValueError, "this is not HTTP"),
    ],
)
def test_a_reply_is_checked_where_it_is_made(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        Reply(**fields)
    assert message in str(caught.value)


def client_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda n: n.host("a", "example.org"), ValueError, "does not appear to be an IPv4"),
        (lambda n: n.host(5, A), TypeError, "a host's name must be a str, not 5"),
        (lambda n: n.host("a", A, lookup_delay=-1), ValueError, "lookup_delay must be 0 or more"),
        (lambda n: n.host("a", 5), TypeError, "an address must be a str, not 5"),
        (lambda n: n.listen(A, 80, None), TypeError, "handler must be callable, not None"),
        (lambda n: n.listen(A, "80", print), TypeError, "port must be a whole number, not '80'"),
        (lambda n: n.listen(A, 65536, print), ValueError, "port must be from 0 to 65535"),
        (lambda n: n.listen(A, 80, print, connect_delay=None), TypeError, "connect_delay must be"),
        (lambda n: n.listen(A, 80, print, ssl_context=True), TypeError, "ssl_context must be an"),
        (
            lambda n: n.listen(A, 80, print, ssl_context=client_context()),
            ValueError,
            "ssl_context is for clients",
        ),
        (lambda n: n.refuse(A, 80, after="1"), TypeError, "after must be a number of seconds"),
        (lambda n: n.refuse(A, 80, error=0), ValueError, "error must be at least 1, not 0"),
        (lambda n: n.hang(A, -1), ValueError, "port must be from 0 to 65535"),
        (lambda n: Network(buffer_size=0), ValueError, "buffer_size must be at least 1"),
        (lambda n: http_server(None), TypeError, "respond must be callable, not None"),
        (lambda n: script(ReceiveRequest), TypeError, "a step must be an object that can be ca"),
        (lambda n: script(b"HTTP/1.1 200 OK"), TypeError, "a step must be callable, not b'HTTP"),
        (lambda n: Send("text"), TypeError, "Send.data must be bytes, not str: encode it"),
        (lambda n: Receive("text"), TypeError, "Receive.until must be bytes, not str"),
        (lambda n: ReceiveBytes(-1), ValueError, "ReceiveBytes.count must be at least 0"),
        (lambda n: Wait(-1), ValueError, "Wait.seconds must be 0 or more"),
        (lambda n: WaitFor(None), TypeError, "WaitFor.event must be a trio.Event, not None"),
        (lambda n: in_turn(), ValueError, "in_turn() needs at least one handler"),
        (lambda n: in_turn(print, None), TypeError, "handler must be callable, not None"),
    ],
)
def test_what_is_told_about_servers_is_checked_where_it_is_told(
    call: Callable[[Any], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        call(Network())
    assert message in str(caught.value)


async def test_a_handler_that_forgets_to_return_its_reply_is_told(
    autojump_clock: MockClock,
) -> None:
    async def respond(request: Request) -> Any:
        Reply(body=b"hello")

    async def get() -> None:
        async with Network() as network:
            network.listen(A, 80, http_server(respond))
            async with ConnectionPool(socket_factory=network.socket) as pool:
                await pool.get(f"http://{A}/")

    with pytest.raises(TypeError, match="the server has to be given a Reply, not None"):
        await get()
