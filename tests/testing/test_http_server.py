"""The well-behaved server, on memory streams and on real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import h11
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from triopool.testing import HTTPServer, Reply, Request, http_server

GET = b"GET /path?query HTTP/1.1\r\nHost: example.org\r\n\r\n"


def always(reply: Reply) -> HTTPServer:
    async def respond(request: Request) -> Reply:
        return reply

    return http_server(respond)


@asynccontextmanager
async def served_by(
    server: Callable[[trio.abc.Stream], Awaitable[object]],
) -> AsyncIterator[trio.abc.Stream]:
    """Connect to *server*; check at the end that it closes the connection when we do."""
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server, theirs)
        yield ours
        await ours.aclose()


async def read_all(stream: trio.abc.Stream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


async def exchange(server: HTTPServer, *requests: bytes) -> bytes:
    """Send *requests* one after the other; return everything that is answered."""
    async with served_by(server) as stream:
        assert isinstance(stream, trio.StapledStream)
        for request in requests:
            await stream.send_all(request)
        await stream.send_eof()
        return await read_all(stream)


async def test_a_request_is_answered() -> None:
    server = always(Reply(headers=[("X-Colour", "blue")], body=b"hello"))
    answer = await exchange(server, GET)
    assert answer == b"HTTP/1.1 200 OK\r\nX-Colour: blue\r\nContent-Length: 5\r\n\r\nhello"


async def test_requests_are_remembered() -> None:
    server = always(Reply())
    await exchange(server, GET)
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
    await exchange(server, post, GET)
    assert server.connections == 2
    assert server.requests == [
        Request("GET", "/path?query", (("host", "example.org"),), b"", 1),
        Request("POST", "/", (("host", "a"), ("content-length", "4")), b"body", 2),
        Request("GET", "/path?query", (("host", "example.org"),), b"", 2),
    ]
    assert server.requests[0].header("HOST") == "example.org"
    assert server.requests[0].header("cookie") is None


async def test_a_chunked_request_is_put_together() -> None:
    server = always(Reply())
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await exchange(server, head, b"3\r\none\r\n", b"3\r\ntwo\r\n0\r\n\r\n")
    assert server.requests[0].body == b"onetwo"


async def test_pipelined_requests_are_answered_in_turn() -> None:
    answer = await exchange(always(Reply(status=204)), GET + GET)
    assert answer == b"HTTP/1.1 204 No Content\r\n\r\n" * 2


async def test_a_body_can_be_chunked_with_trailers() -> None:
    reply = Reply(body=[b"one", b"three"], chunked=True, trailers=[("Digest", "x")])
    answer = await exchange(always(reply), GET)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
    assert body == b"3\r\none\r\n5\r\nthree\r\n0\r\nDigest: x\r\n\r\n"


async def test_the_reply_may_bring_its_own_framing() -> None:
    reply = Reply(headers=[("content-length", "2")], body=b"ab")
    answer = await exchange(always(reply), GET)
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"


async def test_an_answer_to_head_has_no_body() -> None:
    answer = await exchange(always(Reply(body=b"hello")), GET.replace(b"GET", b"HEAD"))
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


async def test_an_answer_that_cannot_have_a_body_has_none() -> None:
    answer = await exchange(always(Reply(status=304, body=b"hello")), GET)
    assert answer == b"HTTP/1.1 304 Not Modified\r\n\r\n"


async def test_a_status_of_ones_own_has_no_reason() -> None:
    assert (await exchange(always(Reply(status=299)), GET)).startswith(b"HTTP/1.1 299 \r\n")


async def test_close_is_said_and_done() -> None:
    async with served_by(always(Reply(close=True))) as stream:
        await stream.send_all(GET + GET)
        answer = await read_all(stream)
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def test_drop_is_done_and_not_said() -> None:
    async with served_by(always(Reply(drop=True))) as stream:
        await stream.send_all(GET + GET)
        answer = await read_all(stream)
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def test_a_client_that_asks_for_the_end_gets_it() -> None:
    async with served_by(always(Reply())) as stream:
        await stream.send_all(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert b"Connection: close" in await read_all(stream)


async def test_delay_and_gap_take_their_time(autojump_clock: MockClock) -> None:
    reply = Reply(body=[b"one", b"two", b"six"], delay=1.0, gap=0.5)
    arrivals: list[tuple[float, bytes]] = []
    async with served_by(always(reply)) as stream:
        await stream.send_all(GET)
        while len(arrivals) < 3:
            data = await stream.receive_some()
            arrivals.append((trio.current_time(), bytes(data[-3:])))
    assert arrivals == [(1.0, b"one"), (1.5, b"two"), (2.0, b"six")]


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    server = always(Reply())
    async with served_by(server) as stream:
        await stream.send_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert await stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(b"body")
        assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.requests[0].body == b"body"


@pytest.mark.parametrize("part", [b"", b"GET / HT", GET[:-2]])
async def test_a_client_may_go_away_at_any_time(part: bytes) -> None:
    server = always(Reply())
    assert await exchange(server, part) == b""
    assert server.requests == []


async def test_a_client_may_go_away_while_it_is_answered() -> None:
    async with served_by(always(Reply(body=bytes(1000), delay=0.001))) as stream:
        await stream.send_all(GET)


async def test_what_is_not_http_is_an_error() -> None:
    ours, theirs = memory_stream_pair()
    await ours.send_all(b"Good morning!\r\n\r\n")
    with pytest.raises(h11.RemoteProtocolError):
        await always(Reply())(theirs)


@pytest.mark.parametrize("reply", [Reply(), Reply(close=True), Reply(drop=True)])
@pytest.mark.parametrize("rest", [b" and more", b"\0\0\0", b"s" * 30])
async def test_bytes_behind_a_body_that_do_not_begin_a_request_are_an_error(
    reply: Reply, rest: bytes
) -> None:
    """No blank line follows, so that h11 alone would wait for one for ever."""
    server = always(reply)
    ours, theirs = memory_stream_pair()
    await ours.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" + rest)
    await ours.send_eof()
    with pytest.raises(h11.RemoteProtocolError, match="where a request was to begin"):
        await server(theirs)
    assert [request.body for request in server.requests] == [b"body"]


async def test_an_exception_of_respond_passes_before_the_connection_is_closed() -> None:
    async def respond(request: Request) -> Reply:
        raise LookupError("respond")

    ours, theirs = memory_stream_pair()
    await ours.send_all(GET)
    with pytest.raises(LookupError, match="respond"):
        await http_server(respond)(theirs)
    await theirs.send_all(b"still open")


async def test_it_serves_real_connections_too() -> None:
    server = always(Reply(body=b"real"))
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, server, 0)
        async with await trio.testing.open_stream_to_socket_listener(listeners[0]) as stream:
            await stream.send_all(GET)
            assert (await stream.receive_some()).endswith(b"real")
        nursery.cancel_scope.cancel()
