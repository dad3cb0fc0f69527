"""What instruments are told, and that a broken one breaks nothing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import trio

import triopool
from triopool import ConnectError, ConnectionPool, LoggingInstrument
from triopool._facts import CloseReason, ConnectionInfo, Spent
from triopool._origin import Origin
from triopool.abc import Instrument
from triopool.testing import Network, Reply, Request, http_server

from .world import A, B, world

HOOKS = [name for name in vars(Instrument) if not name.startswith("_")]


class Recorder(Instrument):
    def __init__(self) -> None:
        self.events: list[tuple[str, tuple[Any, ...]]] = []

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


def _record(hook: str) -> Any:
    def method(self: Recorder, *facts: Any) -> None:
        self.events.append((hook, facts))

    return method


for _hook in HOOKS:
    setattr(Recorder, _hook, _record(_hook))


async def test_a_first_request_and_a_second_one(autojump_clock: trio.abc.Clock) -> None:
    recorder = Recorder()
    async with world(instruments=[recorder]) as w:
        await w.get(f"{A}/1?secret")
        await w.get(f"{A}/2")
    assert recorder.names == [
        "request_started",
        "attempt_started",
        "dial_started",
        "request_dial_started",
        "dialled",
        "handed_over",
        "request_connected",
        "request_sent",
        "idled",
        "response_started",
        "response_ended",
        "request_ended",
        "request_started",
        "attempt_started",
        "reused",
        "request_connected",
        "request_sent",
        "idled",
        "response_started",
        "response_ended",
        "request_ended",
        "closed",
    ]
    facts = dict(recorder.events)
    assert facts["dialled"][0].id == 1
    assert facts["dialled"][1] == pytest.approx(0.1)
    request, response, connection = facts["response_started"]
    assert (request.method, request.target, request.attempt) == ("GET", "/2", 1)
    assert (response.status_code, connection.id) == (200, 1)
    assert facts["closed"][1] is triopool.CloseReason.POOL_CLOSED


async def test_a_request_that_waits_is_told_as_queued(autojump_clock: trio.abc.Clock) -> None:
    recorder = Recorder()
    async with world(max_connections=1, instruments=[recorder]) as w:
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.get, f"{A}/1")
            await trio.sleep(0.5)
            nursery.start_soon(w.get, f"{A}/2")
    [(origin, waiting)] = [facts for name, facts in recorder.events if name == "queued"]
    assert (origin.host, waiting) == ("192.0.2.1", 1)
    seconds = [facts[1] for name, facts in recorder.events if name == "handed_over"]
    assert seconds == pytest.approx([0.1, 0.6])


async def test_an_eviction_tells_its_reason(autojump_clock: trio.abc.Clock) -> None:
    recorder = Recorder()
    async with world(max_connections=1, instruments=[recorder]) as w:
        await w.get(f"{A}/1")
        await w.get(f"{B}/1")
        reasons = [facts[1] for name, facts in recorder.events if name == "closed"]
    assert reasons == [triopool.CloseReason.EVICTED]


async def test_failures_are_told(autojump_clock: trio.abc.Clock) -> None:
    recorder = Recorder()
    async with (
        Network() as network,
        ConnectionPool(socket_factory=network.socket, instruments=[recorder]) as pool,
    ):
        with pytest.raises(ConnectError):
            await pool.get(A)
        network.hang("192.0.2.1", 80)
        with trio.move_on_after(1):
            await pool.get(A)
    begins = ["request_started", "attempt_started", "dial_started", "request_dial_started"]
    assert recorder.names == [
        *begins,
        "dial_failed",
        "request_failed",
        "request_ended",
        *begins,
        "request_failed",
        "request_ended",
        "dial_failed",
    ]
    failed = [facts[1] for name, facts in recorder.events if name == "request_failed"]
    assert isinstance(failed[0], ConnectError)
    assert isinstance(failed[1], trio.Cancelled)
    # Called off when the pool was left.
    assert recorder.events[-1][1][1] is None


@pytest.mark.parametrize("hook", HOOKS)
async def test_an_instrument_that_raises_is_switched_off_and_breaks_nothing(
    hook: str, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def broken(self: Instrument, *facts: object) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("a bug in the instrument")

    Broken = type("Broken", (Recorder,), {hook: broken})  # noqa: N806
    after = Recorder()
    drop_next = False

    async def respond(request: Request) -> Reply:
        return Reply(drop=drop_next)

    async with Network() as network:
        network.listen("192.0.2.1", 80, http_server(respond), connect_delay=0.1)
        async with ConnectionPool(
            max_connections=1, socket_factory=network.socket, instruments=[Broken(), after]
        ) as pool:
            for _ in range(2):
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(pool.get, A)
                        await trio.sleep(0.01)
                await pool.get(A)
                with pytest.raises(ConnectError):
                    await pool.get("http://192.0.2.66/")
            session = pool.session(retry=triopool.Retry(attempts=2, backoff=0))
            with pytest.raises(ConnectError):
                await session.get("http://192.0.2.66/")
            await _meet_a_stale_connection(network, pool)
            assert pool.statistics().busy == 0
    assert hook in after.names
    assert calls == 1
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert hook in record.getMessage()


async def test_an_instrument_with_one_hook_is_switched_off_alone(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class OneHook(Instrument):
        def reused(self, connection: triopool.ConnectionInfo) -> None:
            raise RuntimeError("a bug in the instrument")

    recorder = Recorder()
    async with world(instruments=[OneHook(), recorder]) as w:
        for number in range(3):
            await w.get(f"{A}/{number}")
    assert recorder.names.count("reused") == 2
    assert len(caplog.records) == 1


async def _meet_a_stale_connection(network: Network, pool: ConnectionPool) -> None:
    """A server that closes the connection in the tick in which the next request is sent on it."""

    async def closes_at_the_second(stream: trio.abc.Stream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await stream.receive_some()

    network.listen("192.0.2.5", 80, closes_at_the_second)
    await pool.get("http://192.0.2.5/")
    await pool.get("http://192.0.2.5/")
    assert pool.statistics().retried == 1


async def test_the_logging_instrument_logs_each_event_and_no_secret(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "triopool")
    async with world(max_connections=1, instruments=[LoggingInstrument()]) as w:
        await w.get(f"{A}/1?token=geheim", headers={"Authorization": "geheim"})
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.get, f"{A}/2")
            await trio.sleep(0.5)
            nursery.start_soon(w.get, f"{A}/3")
        with pytest.raises(ConnectError):
            await w.pool.get("http://192.0.2.66/")
        w.network.hang("192.0.2.67", 80)
        with trio.move_on_after(1):
            await w.pool.get("http://192.0.2.67/")
        await _meet_a_stale_connection(w.network, w.pool)
    for words in (
        "dialling http://192.0.2.1:80",
        "is open, at ('192.0.2.1', 80), after 0.100 s",
        "is reused",
        "waits for a slot, 1 waiting",
        "is handed over after a wait of 0.500 s",
        "dial to http://192.0.2.66:80 ended: could not connect",
        "dial to http://192.0.2.67:80 ended: called off",
        "GET http://192.0.2.1:80/1 goes over connection 1",
        "GET http://192.0.2.1:80/1 is answered with 200",
        "is sent again: http://192.0.2.5:80 closed the connection without sending a response",
        "GET http://192.0.2.66:80/ failed: could not connect",
        "GET http://192.0.2.67:80/ failed: ",  # and Trio's own words for a cancellation
        "is closed: evicted",
    ):
        assert words in caplog.text
    assert "geheim" not in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_why_a_connection_can_not_be_used_again_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    info = ConnectionInfo(7, Origin("http", "one.test", 80), None, None, None, 0.0)
    caplog.set_level(logging.DEBUG, "triopool")
    instrument = LoggingInstrument()
    instrument.closed(replace(info, spent=Spent.ASKED_TO_CLOSE), CloseReason.DISCARDED)
    instrument.closed(info, CloseReason.EXPIRED)
    assert [record.getMessage() for record in caplog.records] == [
        "connection 7 to http://one.test:80 is closed: discarded (one side asked to close it)",
        "connection 7 to http://one.test:80 is closed: expired",
    ]


async def test_what_others_raise_is_logged_by_its_type(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise ValueError("geheim")

    class Failing(Instrument):
        def __repr__(self) -> str:
            return "geheim"

        def reused(self, connection: object) -> None:
            raise RuntimeError

    caplog.set_level(logging.DEBUG, "triopool")
    async with world(instruments=[LoggingInstrument(), Failing()]) as w:
        with pytest.raises(ValueError, match="geheim"):
            await w.pool.post(f"{A}/1", content=body())
        for number in (2, 3):
            await w.get(f"{A}/{number}")
    assert "POST http://192.0.2.1:80/1 failed: ValueError" in caplog.text
    assert "Failing raised in 'reused': switched off" in caplog.text
    assert "geheim" not in caplog.text


def test_the_logging_instrument_takes_a_logger_and_a_level(
    caplog: pytest.LogCaptureFixture,
) -> None:
    instrument = LoggingInstrument(logging.getLogger("mine"), level=logging.WARNING)
    instrument.dial_started(triopool.Origin("http", "example.org", 80))
    assert caplog.record_tuples == [("mine", logging.WARNING, "dialling http://example.org:80")]
