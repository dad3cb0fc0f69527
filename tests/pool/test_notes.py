"""A caller's deadline that passes inside the pool: what was going on is told by a note."""

# ruff: noqa: SIM117 - one line for the world, the next for what happens in it.
from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from triopool import ConnectionPool, LoggingInstrument, RequestInfo, Timeouts
from triopool.abc import Instrument
from triopool.testing import KeepOpen, Network, ReceiveRequest, Send, script

URL = "http://192.0.2.1/"


class Failures(Instrument):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def request_failed(self, request: RequestInfo, error: BaseException) -> None:
        self.notes += getattr(error, "__notes__", [])


@asynccontextmanager
async def answering(
    head: bytes = b"", **options: object
) -> AsyncIterator[tuple[ConnectionPool, Network]]:
    """A server that reads a request, sends *head*, and nothing more."""
    async with Network() as network:
        network.listen("192.0.2.1", 80, script(ReceiveRequest(), Send(head), KeepOpen()))
        async with ConnectionPool(
            resolver=network.resolve,
            socket_factory=network.socket,
            **options,  # type: ignore[arg-type]
        ) as pool:
            yield pool, network


async def note_on(call: Callable[[], Awaitable[object]], seconds: float = 3) -> str:
    """The one note that is told where the deadline is the caller's."""
    with pytest.raises(trio.TooSlowError) as caught:
        with trio.fail_after(seconds):
            await call()
    assert isinstance(caught.value.__context__, trio.Cancelled)
    [note] = caught.value.__context__.__notes__
    assert isinstance(note, str)
    return note


async def test_a_deadline_that_passes_while_waiting_for_a_slot_is_told_so(
    autojump_clock: object,
) -> None:
    failures = Failures()
    async with answering(max_connections=1, instruments=[failures]) as (pool, _):
        async with trio.open_nursery() as nursery:
            for _ in range(13):
                nursery.start_soon(pool.get, URL)
            await trio.sleep(1)
            note = await note_on(lambda: pool.get(URL))
            nursery.cancel_scope.cancel()
    assert note == (
        "triopool was waiting for a connection to http://192.0.2.1:80, for 3 s, with no slot free, "
        "and 12 other requests waiting"
    )
    assert failures.notes[0] == note


async def test_a_deadline_that_passes_while_dialling_is_told_so(autojump_clock: object) -> None:
    async with answering() as (pool, network):
        network.hang("192.0.2.2", 80)
        note = await note_on(lambda: pool.get("http://192.0.2.2/"))
    assert note == (
        "triopool was dialling http://192.0.2.2:80, for 3 s: connecting to 192.0.2.2:80"
    )


@pytest.mark.parametrize("read", [30, None])
async def test_a_deadline_that_passes_while_waiting_for_the_head_is_told_so(
    autojump_clock: object, read: float | None
) -> None:
    async with answering(b"HTTP/1.1 200") as (pool, _):
        note = await note_on(lambda: pool.get(URL, timeouts=Timeouts(read=read)))
        waited = "" if read is None else ", for 3 s"
        told = f"triopool was waiting for the head of the response from http://192.0.2.1:80{waited}"
        assert note == told


async def test_a_deadline_that_passes_while_sending_is_told_so(autojump_clock: object) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(10_000)
        await trio.sleep_forever()

    async def reads_little(stream: trio.abc.Stream) -> None:
        await stream.receive_some(500)
        with trio.move_on_after(10):
            await trio.sleep_forever()

    async with Network(buffer_size=1000) as network:
        network.listen("192.0.2.1", 80, reads_little)
        async with ConnectionPool(resolver=network.resolve, socket_factory=network.socket) as pool:
            for content in (bytes(60_000), bytes(600_000), body()):
                note = await note_on(lambda content=content: pool.post(URL, content=content))
                begin, _, rest = note.partition(": ")
                assert begin == "triopool was sending the request to http://192.0.2.1:80"
                number, words = rest.split(" ", 1)
                assert 0 < int(number) < 10_000
                assert words == "bytes had been sent"


async def test_a_deadline_that_passes_while_an_upload_s_head_is_awaited_is_told_so(
    autojump_clock: object,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    async with answering() as (pool, _):
        note = await note_on(lambda: pool.post(URL, content=body()))
    told = "triopool was waiting for the head of the response from http://192.0.2.1:80, for 3 s"
    assert note == told


async def test_a_deadline_that_passes_while_reading_the_body_is_told_so(
    autojump_clock: object,
) -> None:
    async def streamed() -> None:
        async with pool.stream("GET", URL) as response:
            async for _ in response:
                pass

    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
    async with answering(head) as (pool, _):
        for call in (lambda: pool.get(URL), streamed):
            note = await note_on(call)
            assert note == (
                "triopool was reading the response from http://192.0.2.1:80, "
                "after 3 of the 9 bytes of the body"
            )


async def test_a_waiter_that_was_called_and_cancelled_in_one_tick_says_that_it_waited(
    autojump_clock: object,
) -> None:
    notes = []

    async def waits(scope: trio.CancelScope) -> None:
        with scope:
            try:
                await pool.get(URL)
            except trio.Cancelled as exc:
                notes.extend(exc.__notes__)
                raise

    async with answering(max_connections=1) as (pool, _):
        async with trio.open_nursery() as nursery:
            first, second = trio.CancelScope(), trio.CancelScope()
            nursery.start_soon(waits, first)
            await trio.sleep(1)
            nursery.start_soon(waits, second)
            await trio.sleep(1)
            second.cancel()
            pool.max_connections = 2  # Who is next? The one that is cancelled: it is removed.
            first.cancel()
    assert "triopool was waiting for a connection to http://192.0.2.1:80, for 1 s" in notes


async def test_the_log_tells_what_was_going_on(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "triopool")
    async with answering(instruments=[LoggingInstrument()]) as (pool, _):
        with trio.move_on_after(3):
            await pool.get(URL)
    assert "failed: Cancelled; triopool was waiting for the head of the response" in caplog.text
