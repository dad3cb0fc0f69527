"""TLS over TLS over TLS: at every layer as at one."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trustme
from dial.helpers import EVIL, GOOD, Records, server_context
from inside import layer_below
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool import ProxyError, TLSError
from triopool._config import Timeouts
from triopool._deadlines import Deadlines
from triopool._dial.hops import travel
from triopool._dial.line import Line
from triopool._dial.tunnel import Tunnel
from triopool._facts import Condition, ConnectionInfo, Spent
from triopool._origin import Origin
from triopool._pool_key import PoolKey
from triopool._protocol.connection import HTTP1Connection
from triopool._protocol.parsers import H11
from triopool._protocol.request_head import make_head
from triopool._transport.wire import Stale
from triopool.testing import Network

from .helpers import PORT, PROXY, Server, errand, line_to, read, report, tls

DEPTHS = [1, 2, 3]
KEY = PoolKey(Origin("https", "a.example", 443))


@pytest.fixture
def context(ca: trustme.CA) -> ssl.SSLContext:
    return server_context(ca.issue_cert("a.example"))


@pytest.fixture(params=DEPTHS)
def depth(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


class Nested:
    """The server's end of several layers of TLS, each spoken record by record, as OpenSSL does."""

    def __init__(self, stream: trio.abc.Stream, context: ssl.SSLContext, depth: int) -> None:
        self.wire = stream
        self.layers: list[Records] = []
        self._context = context
        self._depth = depth

    async def handshake(self) -> None:
        stream = self.wire
        for _ in range(self._depth):
            records = Records(stream, self._context)
            await records.handshake()
            self.layers.append(records)
            stream = Over(records)

    @property
    def top(self) -> Records:
        return self.layers[-1]


class Over(trio.abc.Stream):
    """What is inside of a layer, as a stream."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if data:
            self._records.write(bytes(data))
            await self._records.flush()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._records.read()

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


Serve = Callable[[Nested], Any]


def served_by(serve: Serve, context: ssl.SSLContext, depth: int) -> Server:
    async def handler(stream: trio.abc.Stream) -> None:
        nested = Nested(stream, context, depth)
        await nested.handshake()
        await serve(nested)

    return handler


@asynccontextmanager
async def line_through(
    server: Server, context: ssl.SSLContext, depth: int, **options: Any
) -> AsyncIterator[tuple[Line, Network]]:
    """A line with so many layers of TLS; nothing is open afterwards."""
    async with Network(**options) as network:
        network.listen(PROXY, PORT, server)
        line = await line_to(network)
        try:
            for _ in range(depth):
                await line.shake_hands(context, KEY)
            yield line, network
        finally:
            line.close()
        assert not network.open_sockets


def connection_on(line: Line) -> HTTP1Connection:
    info = ConnectionInfo(1, KEY.origin, None, None, None, 0.0)
    return HTTP1Connection(line.wire, line.tls, info, KEY, Deadlines(), H11.make)


async def get(connection: HTTP1Connection, *, reused: bool = False) -> bytes:
    """One exchange; as much of it as is needed here."""
    head = make_head("GET", "/", [("Host", "a.example")])
    written = connection.start(KEY.origin, head, b"", Timeouts(), reused=reused, just_seen=False)
    if not written:
        await connection.flush()
    while connection.next_head() is None:
        await connection.receive()
    body = b""
    while (piece := connection.take()) is not None:
        body += piece
        if not piece:
            await connection.receive()
    await connection.finish()
    return body


# ── Bytes ──────────────────────────────────────────────────────────────────────────────────────


async def echo(stream: trio.abc.Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_much_goes_both_ways_at_one_time(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    depth: int,
    version: ssl.TLSVersion,
) -> None:
    context.maximum_version = version
    server: Server = echo
    for _ in range(depth):
        server = tls(context, server)
    sent = bytes(range(256)) * 4000
    async with line_through(server, client_ssl_context, depth) as (line, _):
        received = bytearray()

        async def receive() -> None:
            while len(received) < len(sent):
                received.extend(await line.stream.receive_some())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await line.stream.wait_send_all_might_not_block()
            await line.stream.send_all(sent)
        assert received == sent
        assert line.tls is not None
        assert line.tls.ssl.version() in ("TLSv1.2", "TLSv1.3")


async def test_not_more_is_given_than_was_asked_for(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    depth: int,
) -> None:
    """An answer of SOCKS inside of TLS is read by count, too."""

    async def serve(nested: Nested) -> None:
        nested.top.write(b"abc" + b"d" * 50_000, b"e" * 50_000)
        await nested.top.flush()
        await trio.sleep_forever()

    server = served_by(serve, context, depth)
    async with line_through(server, client_ssl_context, depth) as (line, _):
        assert await line.stream.receive_some(3) == b"abc"
        rest = await read(line.stream, 100_000)  # type: ignore[arg-type]
        assert rest == b"d" * 50_000 + b"e" * 50_000


# ── Reuse ──────────────────────────────────────────────────────────────────────────────────────


async def serve_good(nested: Nested) -> None:
    while await nested.top.request():
        nested.top.write(GOOD)
        await nested.top.flush()


async def test_session_tickets_of_every_layer_make_no_connection_stale(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    depth: int,
) -> None:
    server = served_by(serve_good, context, depth)
    async with line_through(server, client_ssl_context, depth) as (line, _):
        connection = connection_on(line)
        await wait_all_tasks_blocked()
        assert connection.condition() is Condition.UNSURE  # The tickets have come.
        assert await connection.settle()
        assert connection.condition() is Condition.FRESH
        for reused in (False, True, True):
            assert await get(connection, reused=reused) == b"good"
            assert connection.spent is None
            assert connection.condition() is Condition.FRESH


async def surplus_in_the_record(nested: Nested, layer: int) -> None:
    nested.layers[layer].write(GOOD + EVIL)
    await nested.layers[layer].flush()


async def surplus_in_another_record(nested: Nested, layer: int) -> None:
    nested.layers[layer].write(GOOD, EVIL)
    await nested.layers[layer].flush()


@pytest.mark.parametrize("surplus", [surplus_in_the_record, surplus_in_another_record])
async def test_what_comes_behind_a_response_spends_the_connection(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    depth: int,
    surplus: Any,
) -> None:
    """The glance would not see it: it has been read from the socket, and waits in some layer."""

    async def serve(nested: Nested) -> None:
        await nested.top.request()
        await surplus(nested, -1)
        await trio.sleep_forever()

    async with line_through(served_by(serve, context, depth), client_ssl_context, depth) as (
        line,
        _,
    ):
        connection = connection_on(line)
        assert await get(connection) == b"good"
        assert connection.spent is Spent.EARLY_BYTES


@pytest.mark.parametrize("layer", [0, 1, 2])
async def test_bytes_that_any_layer_is_sent_while_idle_spend_the_connection(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    layer: int,
) -> None:
    """The proxy writes into the tunnel, where the layer above makes no sense of it."""

    async def serve(nested: Nested) -> None:
        await nested.top.request()
        nested.top.write(GOOD)
        await nested.top.flush()
        await trio.sleep(1.0)
        nested.layers[layer].write(EVIL)
        await nested.layers[layer].flush()
        await trio.sleep_forever()

    async with line_through(served_by(serve, context, 3), client_ssl_context, 3) as (line, _):
        connection = connection_on(line)
        assert await get(connection) == b"good"
        assert connection.spent is None
        await trio.sleep(2.0)
        assert connection.condition() is Condition.UNSURE
        assert not await connection.settle()


async def test_a_connection_that_has_gone_stale_takes_nothing_of_a_request(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    depth: int,
) -> None:
    async def serve(nested: Nested) -> None:
        await nested.top.request()
        nested.top.write(GOOD)
        await nested.top.flush()
        await trio.sleep(1.0)

    server = served_by(serve, context, depth)
    async with line_through(server, client_ssl_context, depth) as (line, _):
        connection = connection_on(line)
        assert await get(connection) == b"good"
        await trio.sleep(2.0)
        sent = line.wire.bytes_sent
        line.wire.look_before_write = True
        with pytest.raises(Stale):
            await line.stream.send_all(b"a request")
        assert line.wire.bytes_sent == sent
        assert line.wire.torn


# ── Ends ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layer", [None, 0, 1])
async def test_an_end_is_whole_only_with_the_topmost_layers_word(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    layer: int | None,
) -> None:
    """A proxy that says goodbye properly can't vouch for what the origin has not finished."""

    async def serve(nested: Nested) -> None:
        nested.top.write(b"hello")
        await nested.top.flush()
        if layer is not None:
            with contextlib.suppress(ssl.SSLWantReadError):
                nested.layers[layer].tls.unwrap()
            await nested.layers[layer].flush()

    async with line_through(served_by(serve, context, 2), client_ssl_context, 2) as (line, _):
        received = b""
        while data := await line.stream.receive_some():
            received += data
        assert received == b"hello"
        assert line.tls is not None
        assert line.tls.was_cut == (layer != 1)


# ── Torn writes ────────────────────────────────────────────────────────────────────────────────


async def silent(nested: Nested) -> None:
    await trio.sleep(10.0)
    nested.top.write(b"hello")
    await nested.top.flush()
    await trio.sleep_forever()


async def test_a_cancelled_write_is_cancelled_and_reading_goes_on(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    depth: int,
) -> None:
    server = served_by(silent, context, depth)
    async with line_through(server, client_ssl_context, depth, buffer_size=70_000) as (line, _):
        assert line.tls is not None
        with trio.move_on_after(1.0) as scope:
            await line.stream.send_all(bytes(200_000))
        assert scope.cancelled_caught
        assert line.wire.torn
        assert line.tls.torn
        with pytest.raises(trio.BrokenResourceError):
            await line.stream.send_all(b"x")
        assert await line.stream.receive_some() == b"hello"
        with line.wire.impatient(), pytest.raises(trio.BrokenResourceError):
            await line.stream.receive_some(1)


async def test_a_write_that_is_cancelled_before_it_reaches_the_wire_tears_it_all_the_same(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The inner layer has framed a record then, and nothing can follow that was never sent.

    The layer below looks for a cancellation first, and so does not touch the wire at all.
    """
    server = served_by(silent, context, 2)
    async with line_through(server, client_ssl_context, 2) as (line, _):
        assert line.tls is not None
        with trio.CancelScope() as scope:
            scope.cancel()
            await line.tls.send_all(b"x")
        assert scope.cancelled_caught
        assert not line.wire.torn  # Nothing had been framed yet.

        outer = layer_below(line.tls)
        send_all, sent = outer.send_all, line.wire.bytes_sent

        async def cancelled(data: bytes | bytearray | memoryview) -> None:
            scope.cancel()
            await send_all(data)

        monkeypatch.setattr(outer, "send_all", cancelled)
        with trio.CancelScope() as scope:
            await line.tls.send_all(b"x")
        assert scope.cancelled_caught
        assert line.wire.torn
        assert line.wire.bytes_sent == sent
        with pytest.raises(trio.BrokenResourceError):
            await line.tls.send_all(b"x")


async def test_a_layer_that_finds_the_one_below_broken_counts_nothing_as_sent(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
) -> None:
    """The outer layer was ended, and calls itself broken without a word to the wire."""

    async def serve(nested: Nested) -> None:
        nested.wire.socket.shutdown(1)  # type: ignore[attr-defined]
        await trio.sleep_forever()

    async with line_through(served_by(serve, context, 2), client_ssl_context, 2) as (line, _):
        assert line.tls is not None
        while await layer_below(line.tls).receive_some():
            pass  # Tickets of the inner layer.
        with pytest.raises(trio.BrokenResourceError):
            await line.stream.send_all(b"x")
        assert line.wire.torn


async def test_an_exception_that_is_no_break_goes_on(
    autojump_clock: MockClock, context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with line_through(served_by(silent, context, 1), client_ssl_context, 1) as (line, _):
        line.wire.on_progress = lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):
            await line.stream.send_all(bytes(200_000))
        assert line.wire.torn


async def test_closing_under_a_write_is_told_as_closing(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    depth: int,
) -> None:
    server = served_by(silent, context, depth)
    async with line_through(server, client_ssl_context, depth) as (line, network):

        async def write() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await line.stream.send_all(bytes(200_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await wait_all_tasks_blocked()
            await line.stream.aclose()
        assert not network.open_sockets


async def test_closing_any_layer_closes_the_socket(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    depth: int,
) -> None:
    server = served_by(silent, context, depth)
    async with line_through(server, client_ssl_context, depth) as (line, network):
        assert line.tls is not None
        await trio.aclose_forcefully(line.tls)
        assert not network.open_sockets


# ── Handshakes ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_handshake_that_fails_at_any_depth_is_told(
    autojump_clock: MockClock,
    ca: trustme.CA,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    at: int,
) -> None:
    server = tls(server_context(ca.issue_cert("other.example")), echo)
    for _ in range(at - 1):
        server = tls(context, server)
    with pytest.raises(TLSError, match=r"the certificate of a\.example was refused"):
        async with line_through(server, client_ssl_context, 3):
            pytest.fail("it has not failed")


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_an_end_in_the_handshake_of_the_inner_layer_is_told(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    end: str,
) -> None:
    async def serve(nested: Nested) -> None:
        await trio.sleep(1.0)
        await nested.wire.receive_some()
        getattr(nested.wire.socket, end)()  # type: ignore[attr-defined]

    with pytest.raises(TLSError, match=r"closed the connection during|reset by peer"):
        async with line_through(served_by(serve, context, 1), client_ssl_context, 2):
            pytest.fail("it has not failed")


# ── The proxy's answer over TLS ────────────────────────────────────────────────────────────────

OK = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize("answer", [[OK + b"x"], [OK, b"x"], [OK, b"", b"x"]])
async def test_a_byte_behind_an_answer_is_an_error_in_whatever_record(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    answer: list[bytes],
    depth: int,
) -> None:
    async def serve(nested: Nested) -> None:
        await nested.top.request()
        nested.top.write(*(record for record in answer if record))
        await nested.top.flush()
        await trio.sleep_forever()

    step = Tunnel(errand("https://p:1"), "a.example", 443, [])
    server = served_by(serve, context, depth)
    async with line_through(server, client_ssl_context, depth) as (line, network):
        with pytest.raises(ProxyError, match="sent something before it was asked for anything"):
            await travel(line, [step], report())
        assert not network.open_sockets


async def test_session_tickets_behind_an_answer_are_no_error(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    depth: int,
) -> None:
    async def serve(nested: Nested) -> None:
        while await nested.top.request():
            nested.top.write(OK)
            await nested.top.flush()

    step = Tunnel(errand("https://p:1"), "a.example", 443, [])
    server = served_by(serve, context, depth)
    async with line_through(server, client_ssl_context, depth) as (line, _):
        await wait_all_tasks_blocked()
        assert line.wire.is_readable()
        await travel(line, [step, step], report())
        assert line.answered
