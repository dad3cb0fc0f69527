"""Sending and receiving side by side: both go on until both are done, and what is fit for reuse
depends on what was sent."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import h11
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from triopool import (
    ConnectionPool,
    PoolClosed,
    RedirectError,
    Response,
    StatusError,
    Timeouts,
    WriteError,
    WriteTimeout,
)
from triopool._exchange.upload import REFUSAL_SECONDS
from triopool.testing import Network

from .world import URL, pieces, serving

BIG = 20 << 20


class StrictServer:
    """Reads with h11, to the end of each request, and answers when it likes.

    Each byte behind a body has to begin a request: else h11 raises, and with it the test fails.

    Attributes:
      bodies: how many bytes the body of each request had, those that came to their end.
    """

    def __init__(self, answer: Callable[[StrictServer, Call], Awaitable[None]]) -> None:
        self._answer = answer
        self.bodies: list[int] = []
        self.connections = 0

    async def __call__(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        protocol = h11.Connection(h11.SERVER)
        while True:
            call = Call(stream, protocol)
            if not await call.read_head():
                return
            await self._answer(self, call)
            if await call.read_body() is None:
                return
            self.bodies.append(call.size)
            if protocol.our_state is not h11.DONE:
                return
            protocol.start_next_cycle()


class Call:
    """One request, on the server's side."""

    def __init__(self, stream: trio.abc.Stream, protocol: h11.Connection) -> None:
        self.stream = stream
        self._protocol = protocol
        self.size = 0
        self.ended = False

    async def _next(self) -> Any:
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            data = await self.stream.receive_some(65536)
            if not data:
                return None  # In the middle of a request: the client has its reasons.
            self._protocol.receive_data(data)
        return event

    async def read_head(self) -> bool:
        return isinstance(await self._next(), h11.Request)

    async def read_piece(self) -> bytes:
        event = await self._next()
        if isinstance(event, h11.Data):
            self.size += len(event.data)
            return bytes(event.data)
        self.ended = isinstance(event, h11.EndOfMessage)
        return b""

    async def read_body(self) -> int | None:
        while not self.ended:
            if not await self.read_piece() and not self.ended:
                return None
        return self.size

    async def send(self, *events: Any) -> None:
        await self.stream.send_all(b"".join(self._protocol.send(event) or b"" for event in events))

    async def send_response(self, body: bytes = b"done", *, status: int = 200) -> None:
        fields = [("Content-Length", str(len(body)))]
        await self.send(
            h11.Response(status_code=status, headers=fields),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )


async def answer_at_once(server: StrictServer, call: Call) -> None:
    await call.send_response()


async def continue_and_answer_in_one_segment(server: StrictServer, call: Call) -> None:
    await call.send(
        h11.InformationalResponse(status_code=100, headers=[]),
        h11.Response(status_code=200, headers=[("Content-Length", "4")]),
        h11.Data(data=b"done"),
        h11.EndOfMessage(),
    )


def sized(size: int, piece: int = 65536) -> AsyncIterator[bytes]:
    return pieces(*[bytes(piece)] * (size // piece), bytes(size % piece))


# ── Reuse depends on what was sent ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("answer", [answer_at_once, continue_and_answer_in_one_segment])
@pytest.mark.parametrize("expect_continue", [False, True])
@pytest.mark.parametrize("body", ["bytes", "one chunk", "many chunks", "large bytes"])
async def test_a_connection_is_not_used_again_while_a_body_is_owed(
    autojump_clock: object, answer: Any, expect_continue: bool, body: str
) -> None:
    """Whatever comes first, the server finds a request behind each body."""
    server = StrictServer(answer)
    async with serving(server, max_connections=1) as (pool, _):
        for number in range(30):
            contents: dict[str, Any] = {
                "bytes": b"x" * 10,
                "one chunk": pieces(b"x" * 10),
                "many chunks": pieces(*[b"x"] * 10),
                "large bytes": bytes(300_000),
            }
            response = await pool.post(URL, content=contents[body], expect_continue=expect_continue)
            assert response.content == b"done"
            assert len(server.bodies) >= number
        assert (await pool.get(URL)).content == b"done"
    assert server.bodies[:30] == [300_000 if body == "large bytes" else 10] * 30


def test_no_byte_of_a_body_is_ever_owed_wherever_the_upload_is_stopped() -> None:
    """Whenever the caller leaves: the connection is closed, or the body was sent."""

    @given(delay=st.integers(0, 12), parts=st.integers(1, 6), read=st.booleans())
    @settings(max_examples=100, deadline=None)
    def leave(delay: int, parts: int, read: bool) -> None:
        async def main() -> None:
            server = StrictServer(answer_at_once)
            async with serving(server, max_connections=1) as (pool, _):
                content = pieces(*[b"x"] * parts, gap=0.001)
                async with pool.stream("POST", URL, content=content) as response:
                    await trio.sleep(delay / 2000)
                    if read:
                        await response.read()
                assert (await pool.get(URL)).content == b"done"
                await trio.testing.wait_all_tasks_blocked()
                assert server.bodies in ([0], [parts, 0])

        trio.run(main, clock=MockClock(autojump_threshold=0))

    leave()


# ── Both sides go on until both are done ───────────────────────────────────────────────────────


@pytest.mark.parametrize("body", [bytes(BIG), "iterator"], ids=["bytes", "iterator"])
async def test_a_server_that_answers_first_and_reads_then_gets_all_of_it(
    autojump_clock: object, body: Any
) -> None:
    async def answer(server: StrictServer, call: Call) -> None:
        await call.send_response(b"go on")
        await trio.sleep(5.0)

    server = StrictServer(answer)
    async with serving(server) as (pool, _):
        content = sized(BIG) if body == "iterator" else body
        response = await pool.put(URL, content=content)
        assert (response.status_code, response.content) == (200, b"go on")
        await trio.sleep(1.0)
        assert server.bodies == [BIG]
        assert pool.statistics().idle == 1


async def test_a_server_that_tells_how_far_it_has_come_gets_all_of_it(
    autojump_clock: object,
) -> None:
    async def answer(server: StrictServer, call: Call) -> None:
        await call.send(h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked")]))
        while not call.ended:
            await call.read_piece()
            await call.send(h11.Data(data=b"%d\n" % call.size))
            await trio.sleep(0.5)
        await call.send(h11.EndOfMessage())

    server = StrictServer(answer)
    async with serving(server, max_lifetime=None) as (pool, _):
        timeouts = Timeouts(read=1.0, write=3.0)
        async with pool.stream("POST", URL, content=sized(BIG), timeouts=timeouts) as response:
            told = [piece async for piece in response]
        assert b"".join(told).endswith(b"%d\n" % BIG)
        await trio.sleep(1.0)
        assert server.bodies == [BIG]
        assert pool.statistics().idle == 1


async def echo(server: StrictServer, call: Call) -> None:
    await call.send(h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked")]))
    while not call.ended:
        if piece := await call.read_piece():
            await call.send(h11.Data(data=piece))
    await call.send(h11.EndOfMessage())


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_block_that_writes_and_reads_gets_its_echo(
    autojump_clock: object,
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    tls: bool,
) -> None:
    size = 30 << 20 if not tls else 3 << 20
    to_send, content = trio.open_memory_channel[bytes](0)

    async def write() -> None:
        async with to_send:
            for _ in range(size // 65536):
                await to_send.send(bytes(65536))

    async with Network() as network:
        context = server_ssl_context if tls else None
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 443 if tls else 80, StrictServer(echo), ssl_context=context)
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, ssl_context=client_ssl_context
        ) as pool:
            url = "https://one.test" if tls else URL
            received = 0
            async with (
                pool.stream("POST", url, content=content) as response,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(write)
                async for piece in response:
                    received += len(piece)
            assert received == size
            assert pool.statistics().idle == 1


async def test_a_question_may_depend_on_the_answer_before(autojump_clock: object) -> None:
    """Duplex: a piece is sent only when the one before has come back."""
    to_send, content = trio.open_memory_channel[bytes](1)
    async with serving(StrictServer(echo), max_lifetime=None) as (pool, _):
        async with pool.stream("POST", URL, content=content) as response:
            for number in range(10):
                await to_send.send(b"%d" % number)
                assert await response.receive_some() == b"%d" % number
                await trio.sleep(100.0)  # Nobody is too slow: it is our turn.
            await to_send.aclose()
            assert await response.receive_some() == b""
        assert pool.statistics().idle == 1


# ── What is not sent whole ─────────────────────────────────────────────────────────────────────


async def success_then_close(server: StrictServer, call: Call) -> None:
    while call.size < 200_000:
        await call.read_piece()
    await call.send_response(b"fine")
    await trio.sleep(0.5)
    await call.stream.aclose()


async def success_then_nothing(server: StrictServer, call: Call) -> None:
    await call.send_response(b"fine")
    await trio.sleep_forever()


async def refusal_then_nothing(server: StrictServer, call: Call) -> None:
    await call.send_response(b"too large", status=413)
    await trio.sleep_forever()


async def test_half_a_body_under_a_success_is_an_error(autojump_clock: object) -> None:
    server = StrictServer(success_then_close)
    async with serving(server) as (pool, network):
        with pytest.raises(WriteError, match=r"answered with 200 .* bytes of the body") as caught:
            await pool.post(URL, content=bytes(BIG))
        assert isinstance(caught.value.__cause__, WriteError)
        async with pool.stream("POST", URL, content=bytes(BIG)) as response:
            assert await response.receive_some() == b"fine"
            for _ in range(2):  # Again and again.
                with pytest.raises(WriteError, match="answered with 200"):
                    await response.receive_some()
        assert not network.open_sockets


async def test_a_server_that_accepts_and_takes_nothing_more_is_too_slow(
    autojump_clock: object,
) -> None:
    async with serving(StrictServer(success_then_nothing)) as (pool, network):
        with pytest.raises(WriteTimeout):
            await pool.post(URL, content=bytes(BIG), timeouts=Timeouts(write=7.0))
        assert trio.current_time() == 7.0
        assert not network.open_sockets


@pytest.mark.parametrize("write", [0.5, 7.0])
async def test_a_server_that_refuses_and_takes_nothing_more_is_believed(
    autojump_clock: object, write: float
) -> None:
    async with serving(StrictServer(refusal_then_nothing)) as (pool, network):
        timeouts = Timeouts(write=write)
        response = await pool.post(URL, content=bytes(BIG), timeouts=timeouts)
        assert response.content == b"too large"
        with pytest.raises(StatusError):
            response.raise_for_status()
        assert REFUSAL_SECONDS <= trio.current_time() <= min(write, 2 * REFUSAL_SECONDS)
        assert not network.open_sockets


async def test_a_server_that_refuses_and_reads_on_keeps_its_connection(
    autojump_clock: object,
) -> None:
    async def answer(server: StrictServer, call: Call) -> None:
        await call.send_response(b"no", status=404)

    server = StrictServer(answer)
    async with serving(server) as (pool, _):
        assert (await pool.post(URL, content=sized(BIG))).status_code == 404
        await trio.sleep(1.0)
        assert (server.bodies, pool.statistics().idle) == ([BIG], 1)


async def test_to_close_the_response_stops_the_upload(autojump_clock: object) -> None:
    server = StrictServer(success_then_nothing)
    async with serving(server) as (pool, network):
        content = Endless()
        async with pool.stream("POST", URL, content=content.generate()) as response:
            await trio.sleep(1.0)
            assert response.status_code == 200
            assert not content.closed
        assert content.closed
        assert not network.open_sockets
        assert trio.current_time() == 1.0


class Endless:
    """A body that does not end by itself."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.closed = False
        self._crash_at = crash_at

    async def generate(self) -> AsyncIterator[bytes]:
        number = 0
        try:
            while number != self._crash_at:
                yield bytes(1000)
                number += 1
                await trio.sleep(0.01)
            raise ZeroDivisionError
        finally:
            self.closed = True


@pytest.mark.parametrize("status", [200, 413])
@pytest.mark.parametrize("reads", [False, True])
async def test_what_the_iterator_raises_behind_the_answer_is_told_once_and_as_itself(
    autojump_clock: object, status: int, reads: bool
) -> None:
    async def answer(server: StrictServer, call: Call) -> None:
        await call.send_response(status=status)

    async with serving(StrictServer(answer)) as (pool, network):
        content = Endless(crash_at=10)
        with pytest.raises(ZeroDivisionError) as caught:  # noqa: PT012 - on leaving the block
            async with pool.stream("POST", URL, content=content.generate()) as response:
                if reads:
                    await response.read()
                await trio.sleep(1.0)
        assert caught.value.__context__ is None
        assert content.closed
        assert not network.open_sockets
        assert pool.statistics().busy == 0


async def test_an_error_out_of_another_exchange_is_no_broken_connection(
    autojump_clock: object,
) -> None:
    """The body of one request may be the response of another; its errors are not this one's."""
    error = WriteError("of somebody else")

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        raise error

    async with serving(StrictServer(answer_at_once)) as (pool, _):
        with pytest.raises(WriteError) as caught:
            await pool.post(URL, content=body())
        assert caught.value is error


async def test_a_shielded_upload_goes_on_in_a_cancelled_program_until_the_pool_is_left(
    autojump_clock: object,
) -> None:
    content = Endless()
    outcome: list[BaseException] = []

    async def post(pool: ConnectionPool) -> None:
        with trio.CancelScope(shield=True):
            try:
                await pool.post(URL, content=content.generate())
            except PoolClosed as exc:
                outcome.append(exc)

    async with Network() as network, trio.open_nursery() as nursery:
        network.listen("192.0.2.1", 80, StrictServer(answer_at_once))
        with trio.CancelScope() as scope:
            async with ConnectionPool(
                resolver=network.resolve, socket_factory=network.socket
            ) as pool:
                nursery.start_soon(post, pool)
                await trio.sleep(1.0)
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await trio.sleep(5.0)
                assert (content.closed, outcome) == (False, [])
        await trio.testing.wait_all_tasks_blocked()
        assert content.closed
        assert len(outcome) == 1
        assert not network.open_sockets


@pytest.mark.parametrize("answered", [False, True])
async def test_what_an_iterator_raises_when_its_request_is_cancelled_goes_on_in_place_of_that(
    autojump_clock: object, answered: bool
) -> None:
    """As out of any nursery."""

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"begun"
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async def answer(server: StrictServer, call: Call) -> None:
        if answered:
            await call.send_response()

    async with serving(StrictServer(answer)) as (pool, network):
        with pytest.raises(ZeroDivisionError), trio.move_on_after(1.0):
            await pool.post(URL, content=body())
        assert trio.current_time() == 1.0
        assert not network.open_sockets


@pytest.mark.parametrize("fails", [False, True])
async def test_another_protocol_begins_behind_a_request_that_was_sent_whole(
    autojump_clock: object, fails: bool
) -> None:
    """The server may switch before it has read the body (RFC 9110 section 7.8)."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    size = 1_000_000

    async def server(stream: trio.abc.Stream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        await stream.send_all(switch)
        await trio.sleep(1.0)
        if fails:
            return
        received = len(data.partition(b"\r\n\r\n")[2])
        while received < size:
            received += len(await stream.receive_some())
        await stream.send_all(b"%d" % received)
        assert await stream.receive_some() == b"hello"

    async with serving(server) as (pool, network):
        block = pool.stream("POST", URL, content=bytes(size), headers={"Upgrade": "x"})
        if fails:
            with pytest.raises(WriteError):
                await block.__aenter__()
        else:
            async with block as response:
                assert response.upgraded is not None
                assert await response.upgraded.receive_some() == b"%d" % size
                await response.upgraded.send_all(b"hello")
        assert not network.open_sockets


# ── Bodies that are stopped, and bodies that know their own response ───────────────────────────


@pytest.mark.parametrize("expect_continue", [False, True])
async def test_a_body_that_can_be_sent_once_is_sent_whole_behind_a_redirect_or_not_at_all(
    autojump_clock: object, expect_continue: bool
) -> None:
    """The redirect comes before the upload has had its first turn, or just as it has been woken."""
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
    go_ahead = b"HTTP/1.1 100 Continue\r\n\r\n"
    bodies: list[int] = []

    async def server(stream: trio.abc.Stream) -> None:
        protocol = h11.Connection(h11.SERVER)
        call = Call(stream, protocol)
        head = await call._next()
        if head.target == b"/":
            await stream.send_all(go_ahead + moved if expect_continue else moved)
            await call.read_body()
        else:
            await call.read_body()
            bodies.append(call.size)
            await call.send_response()

    outcomes = []
    for _ in range(60):
        async with serving(server) as (pool, _):
            content = pieces(b"row 1", b"row 2")
            try:
                response = await pool.put(
                    URL, content=content, expect_continue=expect_continue, follow_redirects=True
                )
                outcomes.append(response.status_code)
            except RedirectError:
                outcomes.append(307)
    assert bodies == [10] * outcomes.count(200)
    assert set(outcomes) <= {200, 307}


@pytest.mark.parametrize("how", ["closes", "reads"])
async def test_a_body_that_uses_its_own_response_does_not_wait_for_itself(
    autojump_clock: object, how: str
) -> None:
    responses: list[Response] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        await trio.sleep(1.0)
        await (responses[0].aclose() if how == "closes" else responses[0].read())
        yield b"two"

    async def answer(server: StrictServer, call: Call) -> None:
        await call.send(h11.Response(status_code=200, headers=[("Content-Length", "9")]))

    async with serving(StrictServer(answer)) as (pool, network):
        async with pool.stream("POST", URL, content=body()) as response:
            responses.append(response)
            await trio.sleep(2.0)
        assert trio.current_time() == 2.0
        assert not network.open_sockets


async def test_two_exchanges_that_are_each_others_bodies_can_be_left(
    autojump_clock: object,
) -> None:
    async def greet(server: StrictServer, call: Call) -> None:
        await call.send(h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked")]))
        await call.send(h11.Data(data=b"hello"))

    async def back() -> AsyncIterator[bytes]:
        await there.wait()
        async with box[0] as response:
            async for piece in response:
                yield piece

    box: list[Response] = []
    there = trio.Event()
    async with serving(StrictServer(greet)) as (pool, network):
        with trio.move_on_after(1.0):
            async with (
                pool.stream("POST", URL, content=back()) as one,
                pool.stream("POST", URL, content=one) as other,
            ):
                box.append(other)
                there.set()
                await trio.sleep_forever()
        assert trio.current_time() == 1.0
        assert not network.open_sockets


class SlowToClose(trio.abc.ReceiveStream):
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        raise AssertionError("nobody asked for it")

    async def aclose(self) -> None:
        await trio.sleep(1000.0)


async def test_a_body_that_was_refused_is_closed_without_waiting_for_it(
    autojump_clock: object,
) -> None:
    async def answer(server: StrictServer, call: Call) -> None:
        await call.send_response(status=417)

    async with serving(StrictServer(answer)) as (pool, _):
        response = await pool.put(URL, content=SlowToClose(), expect_continue=True)
        assert response.status_code == 417
        assert trio.current_time() == 0.0


async def test_a_refused_body_that_fails_to_be_closed_is_logged_and_waited_for_by_nobody(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    class FailsToClose(SlowToClose):
        async def aclose(self) -> None:
            raise ZeroDivisionError

    async def answer(server: StrictServer, call: Call) -> None:
        await call.send_response(status=417)

    async with serving(StrictServer(answer)) as (pool, _):
        response = await pool.put(URL, content=FailsToClose(), expect_continue=True)
        assert response.status_code == 417
    assert "a task of the pool failed" in caplog.text


async def test_a_refusal_that_takes_its_time_is_read_to_its_end(autojump_clock: object) -> None:
    """The server takes nothing more of the body for longer than the write timeout."""

    async def answer(server: StrictServer, call: Call) -> None:
        await call.send(h11.Response(status_code=413, headers=[("Content-Length", "5")]))
        for letter in b"error":
            await trio.sleep(0.3)
            await call.send(h11.Data(data=bytes([letter])))
        await trio.sleep_forever()

    async with serving(StrictServer(answer)) as (pool, network):
        timeouts = Timeouts(write=0.8, read=1.0)
        response = await pool.post(URL, content=bytes(BIG), timeouts=timeouts)
        assert (response.status_code, response.content) == (413, b"error")
        assert not network.open_sockets


@pytest.mark.parametrize("size", [20_000, 60_000])
async def test_a_small_body_that_the_kernel_does_not_take_at_once_is_echoed_too(
    autojump_clock: object, size: int
) -> None:
    async with serving(StrictServer(echo), buffer_size=1000) as (pool, _):
        response = await pool.post(URL, content=bytes(size))
        assert response.content == bytes(size)
        assert pool.statistics().idle == 1


async def test_what_a_stopped_body_raises_is_logged(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async with (
        serving(StrictServer(answer_at_once)) as (pool, _),
        pool.stream("POST", URL, content=body()),
    ):
        await trio.sleep(1.0)
    (record,) = caplog.records
    assert (record.levelname, record.exc_info and record.exc_info[0]) == (
        "WARNING",
        ZeroDivisionError,
    )


async def test_the_end_of_a_response_behind_its_upload_is_a_checkpoint(
    autojump_clock: object,
) -> None:
    async def answer(server: StrictServer, call: Call) -> None:
        await call.send_response()

    async with (
        serving(StrictServer(answer)) as (pool, _),
        pool.stream("POST", URL, content=pieces(b"a", b"b", gap=0.5)) as response,
    ):
        assert await response.receive_some() == b"done"
        await trio.sleep(1.0)
        with trio.testing.assert_checkpoints():
            assert await response.receive_some() == b""


async def test_a_reader_behind_a_refusal_is_told_that_another_task_has_closed_it(
    autojump_clock: object,
) -> None:
    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await response.receive_some()

    async with (
        serving(StrictServer(refusal_then_nothing)) as (pool, _),
        pool.stream("POST", URL, content=bytes(BIG)) as response,
    ):
        assert await response.receive_some() == b"too large"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.sleep(0.2)
            await response.aclose()
