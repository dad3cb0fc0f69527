"""Instruments hear of the end of every response, once; and all events of a request have its id."""

from __future__ import annotations

import gzip
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import listener_of, open_watches
from sweeping import sweep
from trio.testing import MockClock

from triopool import (
    ConnectionInfo,
    ConnectionPool,
    LoggingInstrument,
    Origin,
    Outcome,
    PoolClosed,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    RequestInfo,
    ResponseEnd,
    ResponseInfo,
    Timeouts,
    TriopoolError,
    WriteError,
)
from triopool._pool import close_all
from triopool._request.listener import SILENT
from triopool.abc import Instrument
from triopool.testing import (
    Handler,
    Network,
    Receive,
    ReceiveRequest,
    Reply,
    Request,
    Reset,
    Send,
    Sweep,
    Wait,
    http_server,
    script,
)

A = "http://192.0.2.1"
LARGE = bytes(200_000)


class Listener(Instrument):
    """Keeps what is told of requests, by id, and sees that it is told in a legal order."""

    def __init__(self) -> None:
        self.told: dict[int, list[str]] = defaultdict(list)
        self.infos: dict[int, RequestInfo] = {}
        self.ends: list[tuple[RequestInfo, ResponseInfo, ResponseEnd]] = []
        self._responses: dict[int, ResponseInfo] = {}

    def _tell(self, what: str, request: RequestInfo) -> None:
        told = self.told[request.id]
        assert bool(told) == (what != "started"), (what, told)
        assert not {"failed", "ended"} & set(told), (what, told)
        told.append(what)
        self.infos[request.id] = request

    def request_started(self, request: RequestInfo) -> None:
        self._tell("started", request)

    def request_queued(self, request: RequestInfo, waiting: int) -> None:
        self._tell("queued", request)

    def request_dial_started(self, request: RequestInfo) -> None:
        self._tell("dial", request)

    def request_connected(
        self, request: RequestInfo, connection: ConnectionInfo, seconds: float
    ) -> None:
        self._tell("connected", request)

    def request_sent(self, request: RequestInfo, connection: ConnectionInfo) -> None:
        self._tell("sent", request)

    def request_retried(self, request: RequestInfo, error: BaseException) -> None:
        self._tell("retried", request)

    def response_started(
        self, request: RequestInfo, response: ResponseInfo, connection: ConnectionInfo
    ) -> None:
        self._tell("answered", request)
        self._responses[request.id] = response

    def response_ended(
        self, request: RequestInfo, response: ResponseInfo, end: ResponseEnd
    ) -> None:
        assert "answered" in self.told[request.id]
        self._tell("ended", request)
        assert self._responses[request.id] is response
        self.ends.append((request, response, end))

    def request_failed(self, request: RequestInfo, error: BaseException) -> None:
        assert "answered" not in self.told[request.id]
        self._tell("failed", request)

    @property
    def end(self) -> ResponseEnd:
        """The only one."""
        [(_, _, end)] = self.ends
        return end

    def check(self) -> None:
        """Each request that started has one end, of one kind."""
        for told in self.told.values():
            assert told[-1] in {"ended", "failed"}, told


@asynccontextmanager
async def serving(
    handler: Handler, listener: Listener, **options: Any
) -> AsyncIterator[ConnectionPool]:
    async with Network() as network:
        network.listen("192.0.2.1", 80, handler, connect_delay=0.1)
        async with ConnectionPool(
            socket_factory=network.socket, instruments=[listener], **options
        ) as pool:
            yield pool
    listener.check()


def always(reply: Reply) -> Handler:
    async def respond(request: Request) -> Reply:
        return reply

    return http_server(respond)


def head(length: int, *fields: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % length, *fields, b"", b""])


cut = script(ReceiveRequest(), Send(head(1000) + b"only"), Wait(1))
stalls = script(ReceiveRequest(), Send(head(1000) + b"only"), Wait(1000))
switches = script(
    ReceiveRequest(),
    Send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello"),
    Wait(1000),
)


async def test_a_body_that_breaks_off_is_a_failure_with_bytes_and_seconds(
    autojump_clock: MockClock,
) -> None:
    listener = Listener()
    async with serving(cut, listener) as pool:
        with pytest.raises(ReadError) as caught:
            await pool.get(A)
    [(request, response, end)] = listener.ends
    assert (request.id, response.status_code) == (1, 200)
    assert end == ResponseEnd(Outcome.FAILED, 4, pytest.approx(1.1), caught.value)
    assert listener.told[1] == ["started", "dial", "connected", "sent", "answered", "ended"]


async def test_a_body_that_stalls_is_a_failure(autojump_clock: MockClock) -> None:
    listener = Listener()
    async with serving(stalls, listener, timeouts=Timeouts(read=5)) as pool:
        with pytest.raises(ReadTimeout):
            await pool.get(A)
    assert isinstance(listener.end.error, ReadTimeout)
    assert listener.end.seconds == pytest.approx(5.1)


async def test_a_body_that_was_read_is_complete(autojump_clock: MockClock) -> None:
    listener = Listener()
    async with serving(always(Reply(body=[b"1", b"23"], gap=1.0)), listener) as pool:
        await pool.get(A)
        async with pool.stream("GET", A) as response:
            await response.read()
        async with pool.stream("GET", A) as response:
            assert [piece async for piece in response] == [b"1", b"23"]
            assert len(listener.ends) == 3  # Told when the reader got the end, not later.
    expected = [ResponseEnd(Outcome.COMPLETE, 3, pytest.approx(s), None) for s in (1.1, 1.0, 1.0)]
    assert [end for _, _, end in listener.ends] == expected


async def test_a_response_without_a_body_is_complete(autojump_clock: MockClock) -> None:
    listener = Listener()
    async with serving(always(Reply()), listener) as pool:
        await pool.head(A)
        async with pool.stream("GET", A):
            pass
    assert [end.outcome for _, _, end in listener.ends] == [Outcome.COMPLETE] * 2


async def test_a_body_that_arrived_and_was_not_read_is_complete(
    autojump_clock: MockClock,
) -> None:
    listener = Listener()
    async with serving(always(Reply(body=b"hello")), listener) as pool, pool.stream("GET", A):
        pass
    assert listener.end.outcome is Outcome.COMPLETE


@pytest.mark.parametrize("size", [1000, 200_000])
async def test_a_block_that_is_left_early_leaves_its_response(
    size: int, autojump_clock: MockClock
) -> None:
    listener = Listener()
    reply = Reply(body=[b"x", bytes(size)], gap=0.01)  # The smaller one is drained.
    async with serving(always(reply), listener) as pool:
        async with pool.stream("GET", A) as response:
            await response.receive_some()
        assert listener.end == ResponseEnd(Outcome.LEFT, 1, pytest.approx(0.1), None)
        await trio.sleep(1)
        assert pool.statistics().idle == (size == 1000)


async def test_an_exception_in_the_block_is_told(autojump_clock: MockClock) -> None:
    listener = Listener()
    async with serving(stalls, listener) as pool:
        with pytest.raises(LookupError):
            async with pool.stream("GET", A):
                raise LookupError
    assert listener.end.outcome is Outcome.LEFT
    assert isinstance(listener.end.error, LookupError)


@pytest.mark.parametrize("how", ["request", "stream", "stream with a group"])
async def test_a_cancelled_response_is_told_as_cancelled(
    how: str, autojump_clock: MockClock
) -> None:
    listener = Listener()

    async def request(pool: ConnectionPool) -> None:
        if how == "request":
            await pool.get(A)
        async with pool.stream("GET", A) as response:
            if how == "stream":
                await response.read()
            try:
                await trio.sleep_forever()
            except trio.Cancelled as exc:
                raise BaseExceptionGroup("as of an older nursery", [exc]) from None

    async with serving(stalls, listener) as pool:
        with trio.move_on_after(3):
            await request(pool)
    assert (listener.end.outcome, listener.end.body_bytes) == (Outcome.CANCELLED, 4)
    assert listener.end.seconds == pytest.approx(3)


async def test_a_cancelled_read_that_is_repeated_is_no_end(autojump_clock: MockClock) -> None:
    listener = Listener()
    reply = Reply(body=[b"a", b"b"], gap=3)
    async with serving(always(reply), listener) as pool, pool.stream("GET", A) as response:
        await response.receive_some()
        with trio.move_on_after(1):
            await response.receive_some()
        assert not listener.ends
        assert await response.read() == b"b"
    assert listener.end.outcome is Outcome.COMPLETE


async def test_a_response_that_another_task_closes_is_left_once(
    autojump_clock: MockClock,
) -> None:
    listener = Listener()

    async def close(response: trio.abc.AsyncResource) -> None:
        await trio.sleep(1)
        await response.aclose()

    async with (
        serving(stalls, listener) as pool,
        pool.stream("GET", A) as response,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(close, response)
        await response.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await response.receive_some()
    assert (listener.end.outcome, listener.end.error) == (Outcome.LEFT, None)


async def test_a_body_that_cannot_be_decoded_is_a_failure(autojump_clock: MockClock) -> None:
    listener = Listener()
    reply = Reply(headers={"Content-Encoding": "gzip"}, body=gzip.compress(b"hello")[:-4] + b"XXXX")
    async with serving(always(reply), listener) as pool:
        with pytest.raises(RemoteProtocolError):
            await pool.get(A)
    assert listener.end.outcome is Outcome.FAILED


async def test_a_body_that_decodes_to_too_much_is_a_failure(autojump_clock: MockClock) -> None:
    listener = Listener()
    reply = Reply(headers={"Content-Encoding": "gzip"}, body=gzip.compress(LARGE))
    async with serving(always(reply), listener) as pool:
        with pytest.raises(RemoteProtocolError):
            await pool.get(A, max_body_bytes=1000)
    assert listener.end.outcome is Outcome.FAILED


async def test_a_chunked_body_that_is_too_large_is_a_failure(autojump_clock: MockClock) -> None:
    listener = Listener()
    reply = Reply(body=[b"x"] * 10, gap=0.1, chunked=True)
    async with serving(always(reply), listener) as pool:
        with pytest.raises(RemoteProtocolError):
            await pool.get(A, max_body_bytes=5)
    assert (listener.end.outcome, listener.end.body_bytes) == (Outcome.FAILED, 6)


async def test_an_exception_of_on_progress_is_a_failure(autojump_clock: MockClock) -> None:
    listener = Listener()

    def on_progress(progress: object) -> None:
        raise LookupError

    async with serving(always(Reply(body=b"hello")), listener) as pool:
        with pytest.raises(LookupError):
            await pool.get(A, on_progress=on_progress)
    assert listener.end.outcome is Outcome.FAILED
    assert isinstance(listener.end.error, LookupError)


async def test_a_success_that_was_said_of_half_a_request_is_a_failure(
    autojump_clock: MockClock,
) -> None:
    listener = Listener()
    server = script(Receive(), Send(head(2) + b"ok"), Wait(1), Reset())
    async with serving(server, listener) as pool:
        with pytest.raises(WriteError):
            await pool.put(A, content=bytes(10_000_000))
    assert listener.end.outcome is Outcome.FAILED
    assert isinstance(listener.end.error, WriteError)


async def test_a_refusal_of_half_a_request_is_complete(autojump_clock: MockClock) -> None:
    listener = Listener()
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
    async with serving(script(Receive(), Send(answer), Wait(1), Reset()), listener) as pool:
        await pool.put(A, content=bytes(10_000_000))
    assert (listener.end.outcome, listener.end.error) == (Outcome.COMPLETE, None)


async def test_what_the_iterator_of_a_request_raises_is_how_its_response_fails(
    autojump_clock: MockClock,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        await trio.sleep(1)
        raise LookupError

    listener = Listener()
    async with serving(script(Receive(), Send(head(2) + b"ok"), Wait(9)), listener) as pool:
        with pytest.raises(LookupError):
            await pool.put(A, content=body())
    assert listener.end.outcome is Outcome.FAILED
    assert isinstance(listener.end.error, LookupError)


async def test_a_response_that_is_open_when_the_pool_is_left_fails(
    autojump_clock: MockClock,
) -> None:
    listener = Listener()

    async def read(pool: ConnectionPool, path: str) -> None:
        async with pool.stream("GET", A + path) as response:
            await response.receive_some()
            await trio.sleep(10)
            if path != "/here":
                with pytest.raises(PoolClosed):
                    await response.receive_some()

    async def respond(request: Request) -> Reply:
        if request.target == "/here":
            return Reply(body=b"all of it")
        return Reply(body=[b"x", b"y"], gap=100)

    async with trio.open_nursery() as nursery:
        async with serving(http_server(respond), listener) as pool:
            nursery.start_soon(read, pool, "/")
            nursery.start_soon(read, pool, "/here")
            await trio.sleep(1)
        ends = {request.target: end for request, _, end in listener.ends}
        assert ends["/"].outcome is Outcome.FAILED
        assert isinstance(ends["/"].error, PoolClosed)
        assert ends["/"].seconds == pytest.approx(1)
        assert ends["/here"].outcome is Outcome.COMPLETE
    assert len(listener.ends) == 2


async def test_a_failure_that_nobody_has_read_is_told_when_the_block_is_left(
    autojump_clock: MockClock,
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno chunk\r\n"
    listener = Listener()
    server = script(ReceiveRequest(), Send(answer), Wait(9))
    async with serving(server, listener) as pool, pool.stream("GET", A):
        assert not listener.ends
    assert (listener.end.outcome, listener.end.body_bytes) == (Outcome.FAILED, 3)
    assert isinstance(listener.end.error, RemoteProtocolError)


async def test_a_failure_that_is_read_again_and_again_is_told_once(
    autojump_clock: MockClock,
) -> None:
    listener = Listener()
    async with serving(cut, listener) as pool, pool.stream("GET", A) as response:
        await response.receive_some()
        for _ in range(3):
            with pytest.raises(ReadError):
                await response.receive_some()
    assert listener.end.outcome is Outcome.FAILED


async def test_a_response_that_starts_when_the_pool_was_left_ends_at_once(
    autojump_clock: MockClock,
) -> None:
    listener = Listener()
    answer = b"HTTP/1.1 103 Early Hints\r\n\r\n" + head(1000) + b"only"
    async with serving(script(ReceiveRequest(), Send(answer), Wait(9)), listener) as pool:

        def leave(status_code: int, fields: object) -> None:
            close_all(pool)

        async with pool.stream("GET", A, on_informational=leave):
            assert listener.end.outcome is Outcome.FAILED
            assert isinstance(listener.end.error, PoolClosed)


async def test_what_switched_is_complete_when_its_block_is_left(
    autojump_clock: MockClock,
) -> None:
    listener = Listener()
    async with serving(switches, listener) as pool:
        async with pool.stream("GET", A, headers={"Upgrade": "x"}) as response:
            assert response.upgraded is not None
            assert await response.receive_some() == b""
            assert await response.upgraded.receive_some() == b"hello"
            await trio.sleep(7)
            assert not listener.ends
        assert listener.end == ResponseEnd(Outcome.COMPLETE, 0, pytest.approx(7.1), None)
        with trio.move_on_after(1):
            async with pool.stream("GET", A, headers={"Upgrade": "x"}):
                await trio.sleep_forever()
    assert listener.ends[1][2].outcome is Outcome.CANCELLED


async def test_each_request_of_a_redirect_has_an_id_and_an_end_of_its_own(
    autojump_clock: MockClock,
) -> None:
    async def respond(request: Request) -> Reply:
        if request.target == "/2":
            return Reply(body=b"here")
        return Reply(status=302, headers={"Location": f"/{len(server.requests)}"}, body=LARGE)

    server = http_server(respond)
    listener = Listener()
    async with serving(server, listener) as pool:
        await pool.get(f"{A}/0", follow_redirects=True)
    assert [
        (request.id, request.target, request.redirected_from, response.status_code, end.outcome)
        for request, response, end in listener.ends
    ] == [
        (1, "/0", None, 302, Outcome.LEFT),
        (2, "/1", 1, 302, Outcome.LEFT),
        (3, "/2", 2, 200, Outcome.COMPLETE),
    ]


async def test_what_a_request_waited_for_is_told_with_its_id(autojump_clock: MockClock) -> None:
    facts: list[tuple[object, ...]] = []

    class Facts(Listener):
        def request_queued(self, request: RequestInfo, waiting: int) -> None:
            facts.append(("queued", request.target, waiting))

        def request_connected(
            self, request: RequestInfo, connection: ConnectionInfo, seconds: float
        ) -> None:
            facts.append(
                (request.target, connection.id, getattr(connection, "reused", None), seconds)
            )

        def queued(self, origin: Origin, waiting: int) -> None:
            facts.append(("queued", waiting))

    async with serving(always(Reply(delay=1)), Facts(), max_connections=1) as pool:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(pool.get, f"{A}/{number}")
                await trio.sleep(0.01)
        await pool.get(f"{A}/3")
    assert facts == [
        ("queued", 1),
        ("queued", "/1", 1),
        ("queued", 2),
        ("queued", "/2", 2),
        ("/0", 1, False, pytest.approx(0.1)),
        ("/1", 1, True, pytest.approx(1.09)),
        ("/2", 1, True, pytest.approx(2.08)),
        ("/3", 1, True, 0),
    ]


async def test_a_request_that_is_sent_again_keeps_its_id(autojump_clock: MockClock) -> None:
    async def closes_at_the_second(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await stream.receive_some()

    listener = Listener()
    async with serving(closes_at_the_second, listener) as pool:
        await pool.get(A)
        await pool.get(A)
    once = ["connected", "sent"]
    assert listener.told[2] == ["started", *once, "retried", "dial", *once, "answered", "ended"]
    assert listener.infos[2].attempt == 2


async def test_the_requests_of_a_lease_have_ids_and_ends(autojump_clock: MockClock) -> None:
    listener = Listener()
    async with serving(always(Reply(body=[b"x", LARGE], gap=1)), listener) as pool:
        async with pool.lease(A) as connection:
            await connection.request("GET", "/1")
            async with connection.stream("GET", "/2"):
                pass
        async with pool.lease(A) as connection:
            block = connection.stream("GET", "/3")
            await block.__aenter__()
        assert len(listener.ends) == 2
    outcomes = [end.outcome for _, _, end in listener.ends]
    assert outcomes == [Outcome.COMPLETE, Outcome.LEFT, Outcome.FAILED]
    assert listener.told[1] == ["started", "sent", "answered", "ended"]


async def test_the_end_is_logged_with_the_id_and_without_a_secret(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "triopool")
    async with serving(cut, Listener()) as pool:
        pass
    async with Network() as network:
        network.listen("192.0.2.1", 80, cut)
        async with ConnectionPool(
            socket_factory=network.socket, instruments=[LoggingInstrument()]
        ) as pool:
            with pytest.raises(ReadError):
                await pool.get(f"{A}/path?token=secret")
            with pytest.raises(LookupError):
                async with pool.stream("GET", A):
                    raise LookupError("a secret of the program's")
    lines = [record.getMessage() for record in caplog.records]
    assert "#1 GET http://192.0.2.1:80/path begins" in lines
    assert "#1 GET http://192.0.2.1:80/path has the new connection 1 after 0.000 s" in lines
    [failed] = [line for line in lines if "is failed" in line]
    assert failed.startswith(
        "#1 GET http://192.0.2.1:80/path, answered with 200, is failed after 4 bytes of body and "
        "1.000 s: http://192.0.2.1:80 closed the connection"
    )
    assert any(
        line.endswith("is left after 4 bytes of body and 0.000 s: LookupError") for line in lines
    )
    assert "secret" not in caplog.text


def test_a_request_info_can_be_made_as_before() -> None:
    info = RequestInfo("GET", Origin("http", "example.org", 80), "/", 1)
    assert (info.id, info.redirected_from) == (0, None)


def test_a_request_that_is_cancelled_anywhere_has_one_end() -> None:
    async def scenario(sweep: Sweep) -> None:
        listener = Listener()
        reply = Reply(body=[b"x" * 10, LARGE], gap=0.01, delay=0.1)
        async with serving(always(reply), listener) as pool:
            await pool.get(f"{A}/first")
            await sweep.victim(pool.get, f"{A}/victim")
        if listener.infos[len(listener.told)].target == "/victim":
            told = listener.told[2]
            assert told[-1] == ("ended" if "answered" in told else "failed")
        if len(listener.ends) == 2:
            _, _, end = listener.ends[1]
            assert end.outcome in {Outcome.COMPLETE, Outcome.CANCELLED}

    sweep(scenario)


async def test_without_instruments_nothing_is_watched(autojump_clock: MockClock) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, always(Reply()))
        async with (
            ConnectionPool(socket_factory=network.socket) as pool,
            pool.stream("GET", A) as response,
        ):
            assert listener_of(response) is SILENT


# ── Any ending ─────────────────────────────────────────────────────────────────────────────────

SERVERS: dict[str, Callable[[], Handler]] = {
    "empty": lambda: always(Reply()),
    "small": lambda: always(Reply(body=b"hello")),
    "large": lambda: always(Reply(body=LARGE)),
    "slow": lambda: always(Reply(body=[b"x" * 100] * 5, gap=0.03, delay=0.1)),
    "chunked": lambda: always(Reply(body=[b"x" * 100] * 5, gap=0.03, chunked=True)),
    "gzip": lambda: always(
        Reply(headers={"Content-Encoding": "gzip"}, body=gzip.compress(LARGE), close=True)
    ),
    "garbled": lambda: always(Reply(headers={"Content-Encoding": "gzip"}, body=b"hello")),
    "redirect": lambda: always(Reply(status=302, headers={"Location": "/x"}, body=b"there")),
    "cut": lambda: cut,
    "stalls": lambda: stalls,
    "switches": lambda: switches,
    "no answer": lambda: script(ReceiveRequest(), Wait(0.1)),
}


async def _whole(pool: ConnectionPool, url: str, options: dict[str, Any]) -> None:
    await pool.get(url, **options)


async def _read_to_the_end(pool: ConnectionPool, url: str, options: dict[str, Any]) -> None:
    async with pool.stream("GET", url, headers={"Upgrade": "x"}, **options) as response:
        async for _ in response:
            pass


async def _read_a_little(pool: ConnectionPool, url: str, options: dict[str, Any]) -> None:
    async with pool.stream("GET", url, **options) as response:
        await response.receive_some(3)


async def _leave(pool: ConnectionPool, url: str, options: dict[str, Any]) -> None:
    async with pool.stream("GET", url, **options):
        pass


async def _raise(pool: ConnectionPool, url: str, options: dict[str, Any]) -> None:
    async with pool.stream("GET", url, **options) as response:
        await response.receive_some()
        raise LookupError


async def _close_twice(pool: ConnectionPool, url: str, options: dict[str, Any]) -> None:
    async with pool.stream("GET", url, **options) as response:
        await response.aclose()
        response.close(drain=False)


async def _close_from_another_task(pool: ConnectionPool, url: str, options: dict[str, Any]) -> None:
    async with pool.stream("GET", url, **options) as response, trio.open_nursery() as nursery:
        nursery.start_soon(response.aclose)
        await response.read()


async def _over_a_lease(pool: ConnectionPool, url: str, options: dict[str, Any]) -> None:
    async with pool.lease(url) as connection:
        await connection.request("GET", url, **options)
        async with connection.stream("GET", url, **options):
            pass


async def _never_closed(pool: ConnectionPool, url: str, options: dict[str, Any]) -> None:
    await pool.stream("GET", url, **options).__aenter__()


CLIENTS: list[Callable[[ConnectionPool, str, dict[str, Any]], Awaitable[None]]] = [
    _whole,
    _read_to_the_end,
    _read_a_little,
    _leave,
    _raise,
    _close_twice,
    _close_from_another_task,
    _over_a_lease,
    _never_closed,
]


def _progress_that_raises(progress: object) -> None:
    raise LookupError


OPTIONS: list[dict[str, Any]] = [
    {},
    {"max_body_bytes": 250},
    {"on_progress": _progress_that_raises},
    {"follow_redirects": True},
    {"decode": False},
]


@settings(deadline=None, max_examples=60)
@given(
    requests=st.lists(
        st.tuples(
            st.sampled_from(sorted(SERVERS)),
            st.sampled_from(CLIENTS),
            st.sampled_from(OPTIONS),
            st.sampled_from([0.02, 0.11, 0.15, 0.21, 0.5, 20.0]),
        ),
        min_size=1,
        max_size=8,
    ),
    pool_seconds=st.sampled_from([0.3, 30.0]),
)
def test_every_response_that_starts_ends_once_however_it_ends(
    requests: list[tuple[str, Any, dict[str, Any], float]], pool_seconds: float
) -> None:
    listener = Listener()

    async def request(
        pool: ConnectionPool, url: str, client: Any, options: dict[str, Any], seconds: float
    ) -> None:
        try:
            with trio.move_on_after(seconds):
                await client(pool, url, options)
        except* (TriopoolError, LookupError, trio.ClosedResourceError, trio.BusyResourceError):
            pass

    async def main() -> None:
        async with Network() as network, trio.open_nursery() as nursery:
            async with ConnectionPool(
                max_connections=3,
                socket_factory=network.socket,
                instruments=[listener],
                timeouts=Timeouts(read=5.0),
            ) as pool:
                for number, (server, client, options, seconds) in enumerate(requests, 1):
                    address = f"192.0.2.{number}"
                    network.listen(address, 80, SERVERS[server](), connect_delay=0.1)
                    nursery.start_soon(
                        request, pool, f"http://{address}/", client, options, seconds
                    )
                await trio.sleep(pool_seconds)
            for told in listener.told.values():
                assert "answered" not in told or "ended" in told
        assert not open_watches(pool)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    listener.check()
