"""When a request is sent again (DESIGN section 5), and when it must not be."""

from __future__ import annotations

import errno
import itertools
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from inside import connections, send_by, wire_of

from triopool import (
    ConnectError,
    ConnectionInfo,
    ConnectionPool,
    ConnectTimeout,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    RequestInfo,
    ResolveError,
    Timeouts,
    TriopoolError,
    WriteError,
)
from triopool._client.retry import MAX_RETRIES, may_retry
from triopool.abc import Instrument
from triopool.testing import Network

from .world import URL, Answer, Answering, ok, pieces, serving, whole

# ── The rule, as a table ───────────────────────────────────────────────────────────────────────


class FakeExchange:
    def __init__(self, stale: bool, nothing_sent: bool, sending: Any) -> None:
        self.was_stale = stale
        self.nothing_sent = nothing_sent
        self.sending = sending


class FakeRequest:
    def __init__(self, idempotent: bool, replayable: bool) -> None:
        self.may_be_repeated = idempotent
        self.replayable = replayable


class FakeSending:
    def __init__(self, request: FakeRequest, in_vain: int, started: bool) -> None:
        self.request = request
        self.in_vain = in_vain
        self.body_started = started


BOTH = (False, True)


@pytest.mark.parametrize("in_vain", range(5))
def test_the_rule_says_what_the_design_says(in_vain: int) -> None:
    for stale, nothing_sent, idempotent, replayable, started in itertools.product(*[BOTH] * 5):
        sending = FakeSending(FakeRequest(idempotent, replayable), in_vain, started)
        may_be_sent = nothing_sent or (idempotent and in_vain < 3)
        expected = stale and may_be_sent and (replayable or not started)
        exchange: Any = FakeExchange(stale, nothing_sent, sending)
        assert may_retry(exchange) is expected


# ── The rule, over the wire ────────────────────────────────────────────────────────────────────


class Told(Instrument):
    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        self.retried: list[tuple[str, int, type]] = []

    def request_sent(self, request: RequestInfo, connection: ConnectionInfo) -> None:
        self.sent.append((request.attempt, connection.id))

    def request_retried(self, request: RequestInfo, error: BaseException) -> None:
        self.retried.append((request.method, request.attempt, type(error)))


class Body:
    """Counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0

    async def __call__(self) -> AsyncIterator[bytes]:
        self.begun += 1
        yield b"bo"
        yield b"dy"


def body_of(kind: str) -> tuple[Any, Body]:
    counter = Body()
    kinds = {"none": None, "bytes": b"body", "factory": counter, "iterator": counter()}
    return kinds[kind], counter


GONE = Answer([], "close")  # The request was read, and nothing was answered.
RESET = Answer([b"", b""], "reset")
PART = Answer([b"HTTP/1.1 2"], "close")
HINTS = whole(b"HTTP/1.1 103 Early Hints\r\n\r\n", "close")
SILENT = Answer([])
NONSENSE = whole(b"nonsense\r\n\r\n")

CASES = [
    # (method, idempotent, body, failure) → sent again?
    *[((method, None, "none", GONE), True) for method in ("GET", "HEAD", "OPTIONS", "TRACE")],
    (("GET", None, "none", RESET), True),
    (("GET", None, "bytes", GONE), True),
    (("GET", None, "factory", GONE), True),
    (("GET", None, "iterator", GONE), False),
    (("GET", False, "none", GONE), False),
    (("GET", None, "none", PART), False),
    (("GET", None, "none", HINTS), False),
    (("GET", None, "none", SILENT), False),
    (("GET", None, "none", NONSENSE), False),
    *[
        ((method, None, "bytes", GONE), False)
        for method in ("POST", "PUT", "PATCH", "DELETE", "FETCH", "PROPFIND")
    ],
    (("POST", None, "none", GONE), False),
    (("POST", None, "factory", GONE), False),
    (("POST", True, "bytes", GONE), True),
    (("POST", True, "bytes", RESET), True),
    (("POST", True, "factory", GONE), True),
    (("POST", True, "iterator", GONE), False),
    (("PUT", True, "bytes", PART), False),
]


@pytest.mark.parametrize(("case", "again"), CASES, ids=lambda value: str(value)[:60])
async def test_a_stale_connection_is_replaced_exactly_if_the_rule_says_so(
    autojump_clock: object, case: tuple[str, bool | None, str, Answer], again: bool
) -> None:
    method, idempotent, kind, failure = case
    content, counter = body_of(kind)
    server, told = Answering(ok(b"warm"), failure), Told()
    async with serving(server, instruments=[told]) as (pool, _):
        await pool.get(URL)
        options: Any = {"content": content, "idempotent": idempotent, "timeouts": Timeouts(read=5)}
        if again:
            response = await pool.request(method, URL + "/again", **options)
            assert response.status_code == 200
            assert not response.connection.reused
        else:
            with pytest.raises(TriopoolError):
                await pool.request(method, URL + "/again", **options)
        assert pool.statistics().retried == int(again)
    assert [request.method for request in server.requests] == ["GET", *[method] * (1 + again)]
    assert told.retried == ([(method, 1, ReadError)] if again else [])
    assert told.sent == [(1, 1), (1, 1), *([(2, 2)] if again else [])]
    if kind == "factory":
        assert counter.begun == 1 + again
    if again and kind in ("bytes", "factory"):
        assert server.requests[-1].body == b"body"
    if kind == "iterator":
        assert counter.begun == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("failure", [GONE, RESET], ids=["closed", "reset"])
async def test_a_fresh_connection_that_fails_says_something_about_the_server(
    autojump_clock: object, method: str, failure: Answer
) -> None:
    server = Answering(failure)
    async with serving(server) as (pool, network):
        with pytest.raises(ReadError):
            await pool.request(method, URL, idempotent=True)
        assert pool.statistics().retried == 0
        assert not network.open_sockets
    assert len(server.requests) == 1


def break_sending(pool: ConnectionPool, network: Network, after: int) -> None:
    """Let the idle connection take *after* bytes, and then be found broken: what a kernel does
    that learns of a reset in the very moment, when no glance can see it any more."""
    (connection,) = connections(pool)
    wire = wire_of(connection)
    left = after

    def send_nowait(data: Any) -> int:
        nonlocal left
        if not left:
            (peer,) = network.open_server_sockets
            peer.reset()
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        sent = really_send(memoryview(data)[:left])
        left -= sent
        return sent

    async def send(data: Any, flags: int = 0) -> int:
        await trio.lowlevel.checkpoint()
        return send_nowait(data)

    wire.socket.send = send
    really_send = send_by(wire, send_nowait)


@pytest.mark.parametrize("kind", ["none", "bytes", "factory", "iterator"])
@pytest.mark.parametrize("expect", [False, True])
async def test_what_the_kernel_took_nothing_of_is_sent_again_whatever_it_is(
    autojump_clock: object, kind: str, expect: bool
) -> None:
    content, counter = body_of(kind)
    server = Answering()
    async with serving(server) as (pool, network):
        await pool.get(URL)
        break_sending(pool, network, after=0)
        response = await pool.post(URL, content=content, expect_continue=expect)
        assert response.status_code == 200
        assert pool.statistics().retried == 1
    assert [request.method for request in server.requests] == ["GET", "POST"]
    # An iterator that was not asked for anything is as good as new.
    assert counter.begun == (kind in ("factory", "iterator"))
    assert server.requests[-1].body == (b"" if kind == "none" else b"body")


@pytest.mark.parametrize("kind", ["none", "bytes", "factory", "iterator"])
async def test_what_the_kernel_took_one_byte_of_is_not_sent_again(
    autojump_clock: object, kind: str
) -> None:
    content, _ = body_of(kind)
    server = Answering()
    async with serving(server) as (pool, network):
        await pool.get(URL)
        break_sending(pool, network, after=1)
        with pytest.raises((WriteError, ReadError), match=r"broke while|closed the connection"):
            await pool.post(URL, content=content)
        assert pool.statistics().retried == 0
    assert len(server.requests) == 1


async def test_with_tls_a_byte_is_a_byte_of_ciphertext(
    autojump_clock: object, client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    """The handshake's and the last exchange's bytes don't count; one of this one's does."""
    server = Answering()
    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 443, server, ssl_context=server_ssl_context)
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, ssl_context=client_ssl_context
        ) as pool:
            for after, again in ((0, True), (1, False)):
                await pool.get("https://one.test")
                break_sending(pool, network, after)
                if again:
                    assert (await pool.post("https://one.test/x")).content == b"/x"
                else:
                    with pytest.raises((WriteError, ReadError)):
                        await pool.post("https://one.test/x")
            assert pool.statistics().retried == 1
    assert [request.method for request in server.requests] == ["GET", "POST", "GET"]


# ── How often ──────────────────────────────────────────────────────────────────────────────────


async def warm(pool: Any, count: int) -> None:
    """Leave *count* idle connections."""
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(pool.get, URL)


SLOW = Answer([ok()[:9], ok()[9:]])


async def test_three_times_and_the_last_time_on_a_fresh_connection(autojump_clock: object) -> None:
    server, told = Answering(*[SLOW] * 6, GONE, GONE, GONE), Told()
    async with serving(server, instruments=[told]) as (pool, _):
        await warm(pool, 6)
        assert pool.statistics().idle == 6
        response = await pool.get(URL + "/at last")
        assert response.content == b"/at%20last"
        assert not response.connection.reused
        statistics = pool.statistics()
        assert (statistics.retried, statistics.stale, statistics.discarded) == (3, 6, 0)
        assert statistics.idle == 1
    assert [attempt for attempt, _ in told.sent[6:]] == [1, 2, 3, 4]
    assert [attempt for _, attempt, _ in told.retried] == [1, 2, 3]


async def test_at_most_three_times_then_the_error(autojump_clock: object) -> None:
    server = Answering(*[SLOW] * 6, GONE, GONE, GONE, GONE)
    async with serving(server) as (pool, network):
        await warm(pool, 6)
        with pytest.raises(ReadError, match="without sending a response"):
            await pool.get(URL)
        assert pool.statistics().retried == MAX_RETRIES == 3
        assert not network.open_sockets
    assert len(server.requests) == 10


async def test_a_server_that_closes_behind_each_response_fails_no_request(
    autojump_clock: object,
) -> None:
    """Without a word of it, and in one moment: who waits is handed one dead connection after the
    other. Nothing is written on those, so to go on to the next costs nothing."""
    served = 0

    async def answer_and_close(stream: Any) -> None:
        nonlocal served
        await stream.receive_some()
        stream.socket.send_nowait(ok(b"ok"))
        stream.socket.close()
        served += 1

    async with serving(answer_and_close, max_connections=10) as (pool, _):

        async def ask() -> None:
            for _ in range(5):
                assert (await pool.post(URL, content=b"once")).content == b"ok"

        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(ask)
        assert served == 300
        assert pool.statistics().retried > 100


async def test_a_post_is_never_sent_twice_silently(autojump_clock: object) -> None:
    server = Answering(ok(), GONE)
    async with serving(server) as (pool, _):
        await pool.get(URL)
        with pytest.raises(ReadError, match="without sending a response"):
            await pool.post(URL, content=b"transfer 100")
        assert (await pool.post(URL, content=b"2nd")).status_code == 200
    assert [request.body for request in server.requests[1:]] == [b"transfer 100", b"2nd"]


async def test_a_started_iterator_is_never_begun_again(autojump_clock: object) -> None:
    server = Answering(ok(), GONE)
    async with serving(server) as (pool, _):
        await pool.get(URL)
        with pytest.raises(ReadError):
            await pool.put(URL, content=pieces(b"a", b"b"), idempotent=True)
        assert pool.statistics().retried == 0
    assert [request.method for request in server.requests] == ["GET", "PUT"]


async def test_a_retry_may_be_cancelled_and_time_out_as_any_request(autojump_clock: object) -> None:
    server = Answering(ok(), GONE, SILENT)
    async with serving(server) as (pool, network):
        await pool.get(URL)
        with pytest.raises(TriopoolError, match="sent nothing for 7 s"):
            await pool.get(URL, timeouts=Timeouts(read=7))
        assert trio.current_time() == 7.0
        assert pool.statistics().retried == 1
        assert not network.open_sockets


# ── What is told if that does not help either ──────────────────────────────────────────────────

BEFORE = "triopool had sent the request before, on a connection gone stale: "


class Errors(Instrument):
    """The errors that were answered by sending the request again."""

    def __init__(self) -> None:
        self.seen: list[BaseException] = []

    def request_retried(self, request: RequestInfo, error: BaseException) -> None:
        self.seen.append(error)


def tells_of(error: BaseException, first: BaseException) -> None:
    """Check that *error* says what began it: in a note, and once, behind causes of its own."""
    assert error.__notes__ == [f"{BEFORE}{first}"]
    causes = []
    link = error.__cause__
    while link is not None:
        causes.append(link)
        link = link.__cause__
    (at,) = [at for at, cause in enumerate(causes) if cause is first]
    assert not any(isinstance(cause, TriopoolError) for cause in causes[:at])
    # Behind it there is only what it came from itself.
    assert not any(isinstance(cause, TriopoolError) for cause in causes[at + 1 :])
    assert not hasattr(first, "__notes__")


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("failure", [GONE, RESET], ids=["closed", "reset"])
async def test_the_last_of_four_errors_tells_of_the_first(
    autojump_clock: object, failure: Answer, method: str
) -> None:
    errors = Errors()
    server = Answering(*[SLOW] * 6, *[failure] * 4)
    async with serving(server, instruments=[errors]) as (pool, network):
        await warm(pool, 6)
        with pytest.raises(ReadError) as caught:
            await pool.request(method, URL, content=b"body", idempotent=True)
        assert not network.open_sockets
    assert len(errors.seen) == 3
    assert caught.value.__cause__ is not None
    tells_of(caught.value, errors.seen[0])


async def test_a_request_that_is_helped_tells_of_nothing(autojump_clock: object) -> None:
    errors = Errors()
    async with serving(Answering(ok(), GONE), instruments=[errors]) as (pool, _):
        await pool.get(URL)
        assert (await pool.get(URL)).status_code == 200
    (error,) = errors.seen
    assert not hasattr(error, "__notes__")


async def test_an_error_that_is_the_first_blames_nobody(autojump_clock: object) -> None:
    async with serving(Answering(ok(), GONE)) as (pool, _):
        await pool.get(URL)
        with pytest.raises(ReadError) as caught:
            await pool.post(URL)
        assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (SILENT, ReadTimeout),
        (NONSENSE, RemoteProtocolError),
        (PART, ReadError),
    ],
    ids=["timeout", "nonsense", "part"],
)
async def test_another_error_on_another_connection_tells_of_the_first(
    autojump_clock: object, then: Answer, expected: type[TriopoolError]
) -> None:
    errors = Errors()
    server = Answering(ok(), GONE, then)
    async with serving(server, instruments=[errors]) as (pool, _):
        await pool.get(URL)
        with pytest.raises(expected) as caught:
            await pool.get(URL)
    (first,) = errors.seen
    tells_of(caught.value, first)


@pytest.mark.parametrize("how", ["refused", "no answer", "unknown"])
async def test_a_dial_that_fails_tells_of_what_led_to_it(autojump_clock: object, how: str) -> None:
    errors = Errors()
    async with Network() as network:
        network.host("one.test", "192.0.2.1", "192.0.2.2")
        for address in ("192.0.2.1", "192.0.2.2"):
            network.listen(address, 80, Answering(ok(), GONE))
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, instruments=[errors], dns_ttl=0
        ) as pool:
            await pool.get("http://one.test/")
            for address in ("192.0.2.1", "192.0.2.2"):
                if how == "refused":
                    network.refuse(address, 80)
                elif how == "no answer":
                    network.hang(address, 80)
            if how == "unknown":
                network.host("one.test")
            expected = {
                "refused": ConnectError, "no answer": ConnectTimeout, "unknown": ResolveError
            }[how]  # fmt: skip
            with pytest.raises(expected) as caught:
                await pool.get("http://one.test/")
            (first,) = errors.seen
            if how != "unknown":
                tells_of(caught.value, first)
                assert isinstance(caught.value.__cause__, ExceptionGroup) == (how == "refused")
                return
            # Its causes are shared with whoever else looks up this name: it has a note only.
            assert caught.value.__notes__ == [f"{BEFORE}{first}"]
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.__cause__.__cause__ is None
            # Nor does it tell the next one what is none of his business.
            with pytest.raises(ResolveError) as other:
                await pool.get("http://one.test/")
            assert not hasattr(other.value, "__notes__")


async def test_those_who_share_a_lookup_do_not_share_the_blame(autojump_clock: object) -> None:
    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 80, Answering(ok(), Answer([b"", b""], "close")))
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, dns_ttl=0
        ) as pool:
            await pool.get("http://one.test/")
            network.host("one.test", lookup_delay=1.0)
            failed: list[ResolveError] = []

            async def ask() -> None:
                with pytest.raises(ResolveError) as caught:
                    await pool.get("http://one.test/")
                failed.append(caught.value)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                nursery.start_soon(ask)
            assert trio.current_time() < 1.5
    blamed = [hasattr(error, "__notes__") for error in failed]
    assert sorted(blamed) == [False, True]
