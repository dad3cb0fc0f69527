"""Scripts, on the network and on real connections."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from triopool.abc import AddressInfo
from triopool.testing import (
    Close,
    Conversation,
    Handler,
    KeepOpen,
    Network,
    Receive,
    ReceiveBytes,
    ReceiveRequest,
    Request,
    Reset,
    Send,
    Wait,
    WaitFor,
    in_turn,
    script,
)

ADDRESS = AddressInfo(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("192.0.2.1", 80))
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def connected(
    handler: Handler, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[trio.SocketStream]:
    async with Network() as network:
        network.listen("192.0.2.1", 80, handler, ssl_context=ssl_context)
        with network.socket(ADDRESS) as sock:
            await sock.connect(ADDRESS.sockaddr)
            yield trio.SocketStream(sock)


async def test_steps_are_played_in_order_and_then_the_connection_closes(
    autojump_clock: MockClock,
) -> None:
    server = script(Send(b"one"), Wait(2.0), Send(b"two"))
    async with connected(server) as stream:
        assert await stream.receive_some() == b"one"
        assert trio.current_time() == 0
        assert await stream.receive_some() == b"two"
        assert trio.current_time() == 2.0
        assert await stream.receive_some() == b""
    assert server.conversations[0].finished


async def test_what_one_step_reads_too_much_is_read_by_the_next() -> None:
    server = script(Receive(), Send(b"1"), Receive(b"\n"), Send(b"2"), ReceiveBytes(3), Send(b"3"))
    async with connected(server) as stream:
        await stream.send_all(GET + b"line\nrest!")
        assert b"".join([data async for data in stream]) == b"123"
    assert server.conversations[0].received == GET + b"line\nrest!"


async def test_steps_wait_for_all_that_they_read() -> None:
    server = script(Receive(b"end"), ReceiveBytes(2), Send(b"done"))
    async with connected(server) as stream:
        for byte in b"the en":
            await stream.send_all(bytes([byte]))
        await stream.send_all(b"dx")
        await stream.send_all(b"y")
        assert await stream.receive_some() == b"done"


async def test_requests_are_read_with_their_body() -> None:
    server = script(ReceiveRequest(), ReceiveRequest(), Send(b"done"))
    async with connected(server) as stream:
        await stream.send_all(GET + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        await stream.send_all(b"y")
        assert await stream.receive_some() == b"done"
    assert server.conversations[0].requests == [
        Request("GET", "/", (("host", "a"),), b"", 1),
        Request("POST", "/", (("host", "a"), ("content-length", "2")), b"xy", 1),
    ]


async def test_bytes_behind_a_request_that_do_not_begin_another_are_an_error() -> None:
    ours, theirs = memory_stream_pair()
    await ours.send_all(GET + b"\0\0")
    with pytest.raises(h11.RemoteProtocolError, match="where a request was to begin"):
        await script(ReceiveRequest(), Send(b"done"))(theirs)


async def test_bytes_behind_an_upgrade_are_another_protocols() -> None:
    server = script(ReceiveRequest(), ReceiveBytes(2), Send(b"done"))
    async with connected(server) as stream:
        await stream.send_all(GET.replace(b"\r\n\r\n", b"\r\nUpgrade: x\r\n\r\n") + b"\0\0")
        assert await stream.receive_some() == b"done"


@pytest.mark.parametrize("step", [Receive(), ReceiveBytes(100), ReceiveRequest()])
async def test_a_client_that_leaves_early_ends_the_conversation(step: Receive) -> None:
    server = script(step, Send(b"never"))
    async with connected(server) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\n")
        await stream.send_eof()
        assert await stream.receive_some() == b""
    assert not server.conversations[0].finished
    assert server.conversations[0].received == b"GET / HTTP/1.1\r\n"


async def test_a_script_can_wait_for_the_test(autojump_clock: MockClock) -> None:
    event = trio.Event()
    async with connected(script(WaitFor(event), Send(b"now"))) as stream:
        await trio.sleep(7)
        event.set()
        assert await stream.receive_some() == b"now"
        assert trio.current_time() == 7


async def test_a_connection_can_be_kept_open(autojump_clock: MockClock) -> None:
    server = script(Send(b"hello"), KeepOpen())
    async with connected(server) as stream:
        assert await stream.receive_some() == b"hello"
        with trio.move_on_after(60) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        await stream.send_all(b"bye")
        await stream.send_eof()
        assert await stream.receive_some() == b""
    assert server.conversations[0].finished
    assert server.conversations[0].received == b"bye"


async def test_a_script_can_close_early(autojump_clock: MockClock) -> None:
    async with connected(script(Close(), Wait(60))) as stream:
        assert await stream.receive_some() == b""
        assert trio.current_time() == 0


async def test_a_script_can_reset(autojump_clock: MockClock) -> None:
    async with connected(script(Send(b"lost"), Wait(1), Reset())) as stream:
        await trio.sleep(2)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
    assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_a_script_can_reset_under_tls(
    autojump_clock: MockClock,
    client_ssl_context: ssl.SSLContext,
    server_ssl_context: ssl.SSLContext,
) -> None:
    async with connected(script(ReceiveBytes(1), Reset()), server_ssl_context) as transport:
        stream = trio.SSLStream(transport, client_ssl_context, server_hostname="localhost")
        await stream.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_only_sockets_can_be_reset() -> None:
    with pytest.raises(TypeError, match="StapledStream"):
        await script(Reset())(memory_stream_pair()[0])


async def test_a_step_can_be_an_async_function() -> None:
    async def shout(conversation: Conversation) -> None:
        data = await conversation.receive_some()
        await conversation.stream.send_all(data.upper())

    async with connected(script(shout)) as stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"HELLO"


async def test_an_exception_of_a_step_passes() -> None:
    async def fail(conversation: Conversation) -> None:
        raise LookupError("step")

    with pytest.raises(LookupError, match="step"):
        await script(fail)(memory_stream_pair()[0])


async def test_a_script_is_played_for_each_connection() -> None:
    server = script(ReceiveBytes(1))
    for name in b"1", b"2":
        async with connected(server) as stream:
            await stream.send_all(name)
            assert await stream.receive_some() == b""
    assert [(c.number, c.received) for c in server.conversations] == [(1, b"1"), (2, b"2")]


async def test_handlers_can_take_turns(autojump_clock: MockClock) -> None:
    answers: list[bytes] = []
    async with Network() as network:
        network.listen("192.0.2.1", 80, in_turn(script(Send(b"1")), script(Send(b"2"))))
        for _ in range(3):
            with network.socket(ADDRESS) as sock:
                await sock.connect(ADDRESS.sockaddr)
                answers.append(await sock.recv(10))
    assert answers == [b"1", b"2", b"2"]


async def test_it_serves_real_connections_too() -> None:
    server = script(Receive(), Reset())
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, server, 0)
        async with await trio.testing.open_stream_to_socket_listener(listeners[0]) as stream:
            await stream.send_all(GET)
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
        nursery.cancel_scope.cancel()
    assert server.conversations[0].finished
