"""Two tasks at one response: one of them is told, and nobody else notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from triopool import ConnectionPool, Response, Timeouts
from triopool._exchange.exchange import Exchange
from triopool.testing import Conversation, Network, Receive, Send, Wait, script

from .world import URL, Answering, ok, serving

READ: list[Callable[[Response], Awaitable[Any]]] = [
    Response.read,
    Response.receive_some,
    lambda response: response.__anext__(),
]
IDS = ["read", "receive_some", "iterate"]


class Outcomes:
    """What became of each task."""

    def __init__(self) -> None:
        self.of: dict[str, object] = {}

    async def run(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        try:
            self.of[name] = await work()
        except Exception as exc:
            self.of[name] = type(exc)


def half(size: int = 100) -> Any:
    """Sends the head and half of the body; the rest a second later."""
    raw = ok(bytes(size))
    return script(Receive(), Send(raw[: -size // 2]), Wait(1.0), Send(raw[-size // 2 :]), Wait(50))


@pytest.mark.parametrize("read", READ, ids=IDS)
@pytest.mark.parametrize("reader_first", [False, True])
async def test_to_close_a_response_in_the_tick_in_which_another_task_reads_harms_nobody(
    autojump_clock: object, read: Any, reader_first: bool
) -> None:
    """A drain must not run beside a reader: the pool would end, and every request with it."""
    for _ in range(20):
        async with serving(half()) as (pool, network):
            outcomes = Outcomes()
            async with pool.stream("GET", URL) as response:
                jobs = [("read", lambda: read(response)), ("close", response.aclose)]
                async with trio.open_nursery() as nursery:
                    for name, job in jobs if reader_first else reversed(jobs):
                        nursery.start_soon(outcomes.run, name, job)
            assert outcomes.of["close"] is None
            assert outcomes.of["read"] is trio.ClosedResourceError or isinstance(
                outcomes.of["read"], bytes
            )
            await trio.sleep(5.0)
            assert pool.is_open
            assert pool.statistics().busy == 0
            assert len(network.open_sockets) == pool.statistics().idle


@pytest.mark.parametrize("read", READ, ids=IDS)
@pytest.mark.parametrize("after", [0.0, 0.5])
async def test_to_close_a_response_that_another_task_reads_is_told_to_that_one(
    autojump_clock: object, read: Any, after: float
) -> None:
    async with serving(script(Receive(), Send(ok(bytes(9))[:-9]), Wait(50))) as (pool, network):
        outcomes = Outcomes()
        async with pool.stream("GET", URL) as response, trio.open_nursery() as nursery:
            nursery.start_soon(outcomes.run, "read", lambda: read(response))
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(after)
            await response.aclose()
            assert not network.open_sockets
        assert outcomes.of == {"read": trio.ClosedResourceError}
        with pytest.raises(trio.ClosedResourceError):
            await response.receive_some()


async def test_a_body_that_is_closed_while_it_is_read_whole_never_looks_complete(
    autojump_clock: object,
) -> None:
    """Between two pieces too, where the reader lets others run."""

    async def endless(conversation: Conversation) -> None:
        while True:
            await conversation.stream.send_all(bytes(65536))

    head = Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    for ticks in range(1, 60):
        async with serving(script(Receive(), head, endless)) as (pool, _):
            outcomes = Outcomes()
            async with pool.stream("GET", URL) as response, trio.open_nursery() as nursery:
                nursery.start_soon(outcomes.run, "read", response.read)
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                response.close()
            assert outcomes.of == {"read": trio.ClosedResourceError}


@pytest.mark.parametrize("first", READ, ids=IDS)
@pytest.mark.parametrize("second", READ, ids=IDS)
async def test_a_second_reader_is_told_that_there_is_a_first_and_harms_nobody(
    autojump_clock: object, first: Any, second: Any
) -> None:
    async with serving(half()) as (pool, _):
        outcomes = Outcomes()
        async with pool.stream("GET", URL) as response:
            async with trio.open_nursery() as nursery:
                # What has arrived already goes to the first of them at once.
                await response.receive_some()
                nursery.start_soon(outcomes.run, "first", lambda: first(response))
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(outcomes.run, "second", lambda: second(response))
            await response.read()
        assert outcomes.of["second"] is trio.BusyResourceError
        assert outcomes.of["first"] == bytes(50)
        assert pool.statistics().idle == 1


async def test_a_second_reader_does_not_end_the_first_ones_timeout(autojump_clock: object) -> None:
    async with serving(script(Receive(), Send(ok(bytes(9))[:-9]), Wait(50))) as (pool, _):
        outcomes = Outcomes()
        timeouts = Timeouts(read=3.0)
        async with (
            pool.stream("GET", URL, timeouts=timeouts) as response,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(outcomes.run, "first", response.read)
            await trio.sleep(1.0)
            nursery.start_soon(outcomes.run, "second", response.read)
        assert trio.current_time() == 3.0
        assert str(outcomes.of["first"]).count("ReadTimeout")
        assert outcomes.of["second"] is trio.BusyResourceError


@pytest.mark.parametrize("error", [trio.BusyResourceError, RuntimeError, OSError])
async def test_no_drain_can_end_the_pool(
    autojump_clock: object,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
) -> None:
    async def crash(self: Exchange) -> None:
        raise error("a bug")

    async with serving(half()) as (pool, network):
        async with pool.stream("GET", URL) as response:
            monkeypatch.setattr(Exchange, "_read_more", crash)
            assert response.status_code == 200
        await trio.sleep(1.0)
        monkeypatch.undo()
        assert not network.open_sockets
        assert "a task of the pool failed" in caplog.text
    async with serving(Answering()) as (pool, _):
        assert (await pool.get(f"{URL}/next")).text == "/next"


async def test_closing_while_the_end_of_an_upload_is_awaited_is_told_as_closing(
    autojump_clock: object,
) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, script(Receive(), Send(ok(b"go")), Wait(50)))
        async with ConnectionPool(resolver=network.resolve, socket_factory=network.socket) as pool:
            outcomes = Outcomes()
            async with (
                pool.stream("POST", URL, content=bytes(1_000_000)) as response,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(outcomes.run, "read", response.read)
                await trio.sleep(0.1)
                await response.aclose()
            assert outcomes.of == {"read": trio.ClosedResourceError}
            assert not network.open_sockets
