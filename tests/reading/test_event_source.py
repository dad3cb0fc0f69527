"""Events that go on: when it connects again, when it ends, what it holds meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import trio
from exchange.world import GAP, Answer, Answering, nothing_held, ok, serving
from sweeping import sweep

from triopool import (
    ConnectError,
    LocalProtocolError,
    PoolClosed,
    ReadTimeout,
    RemoteProtocolError,
    ServerSentEvent,
    StatusError,
    Timeouts,
)
from triopool._client.event_source import MAX_ID_BYTES, MOST_DELAY
from triopool.testing import Reply, Request, Sweep, http_server

from .looking import AfterThisStep

URL = "http://192.0.2.1"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def stream(*parts: bytes, end: str = "close", head: bytes = STREAM) -> Answer:
    """A stream of events that the server ends."""
    return Answer([head, *parts], end)


def ids_asked_for(server: Answering) -> list[str | None]:
    return [request.header("last-event-id") for request in server.requests]


async def data_of(events: Any) -> list[str]:
    return [event.data async for event in events]


async def test_it_goes_on_behind_the_last_event_until_204(autojump_clock: object) -> None:
    server = Answering(
        stream(b"id: 1\ndata: a\n\nid: 2\nda", b"ta: b\n\ndata: cut"),
        stream(b"data: c\n\n", b"id: \xc3\xa4\n\n"),
        NO_CONTENT,
    )
    async with serving(server) as (pool, _), pool.events(URL + "/") as events:
        assert await anext(events) == ServerSentEvent("a", id="1")
        assert events.last_event_id == "1"
        assert await data_of(events) == ["b", "c"]
        # An event without data is none, but its id counts.
        assert events.last_event_id == "ä"
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    assert ids_asked_for(server) == [None, "2", "ä".encode().decode("latin-1")]
    assert [request.header("accept") for request in server.requests] == ["text/event-stream"] * 3
    assert server.requests[0].header("cache-control") == "no-store"


async def test_204_at_once_is_no_event_at_all(autojump_clock: object) -> None:
    async with serving(Answering(NO_CONTENT)) as (pool, _), pool.events(URL) as events:
        assert events.response is None
        assert pool.statistics().busy == 0
        assert await data_of(events) == []


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (b"", 3.0),
        (b"retry: 1500\n\n", 1.5),
        (b"retry: 0\n\n", 0.1),
        (b"retry: 99999999999999999999\n\n", MOST_DELAY),
        (b"retry: soon\n\n", 3.0),
    ],
)
async def test_it_waits_as_long_as_the_server_says_and_holds_no_slot(
    told: bytes, seconds: float, autojump_clock: object
) -> None:
    server = Answering(stream(told, b"data: a\n\n"), NO_CONTENT)
    async with serving(server, max_connections=1) as (pool, _), pool.events(URL) as events:
        assert (await anext(events)).data == "a"
        assert pool.statistics().busy == 1
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(data_of, events)
            await trio.sleep(seconds / 2)
            assert events.response is None
            assert pool.statistics().busy == 0
        assert trio.current_time() - began == pytest.approx(seconds)


async def test_the_caller_says_how_long_to_wait_until_the_server_does(
    autojump_clock: object,
) -> None:
    server = Answering(stream(b"data: a\n\n"), stream(b"retry: 2000\n\n"), NO_CONTENT)
    async with serving(server) as (pool, _):
        async with pool.events(URL, reconnect_after=7, last_event_id="6") as events:
            assert await data_of(events) == ["a"]
        assert trio.current_time() == pytest.approx(9 + GAP * 2, abs=0.01)
        assert ids_asked_for(server) == ["6", "6", "6"]


async def test_a_connection_that_breaks_or_falls_silent_is_made_again(
    autojump_clock: object,
) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nContent-Type: TEXT/Event-Stream;charset=utf-8\r\n"
    chunked += b"Transfer-Encoding: chunked\r\n\r\n"
    server = Answering(
        stream(b"data: a\n\n", b": the end", end="reset"),
        stream(b"9\r\ndata: b\n\n\r\n", head=chunked),
        stream(b"data: c\n\n", end="keep"),
        NO_CONTENT,
    )
    timeouts = Timeouts(read=10)
    async with serving(server) as (pool, _), pool.events(URL, timeouts=timeouts) as events:
        assert await data_of(events) == ["a", "b", "c"]
        assert trio.current_time() == pytest.approx(3 + 3 + 10 + 3, abs=0.1)


async def test_what_cannot_be_reached_again_is_tried_at_growing_intervals(
    autojump_clock: object,
) -> None:
    server = Answering(stream(b"data: a\n\n"), stream(b"data: b\n\n"), NO_CONTENT)
    async with serving(server) as (pool, network), pool.events(URL) as events:
        assert (await anext(events)).data == "a"
        network.refuse("192.0.2.1", 80)
        tried: list[float] = []
        with trio.move_on_after(400):
            await anext(events)
        tried = [event.at for event in network.events("connect")][1:]
        waits = [round(later - earlier) for earlier, later in pairwise(tried)]
        assert waits[:6] == [6, 12, 24, 48, 60, 60]
        # What was cancelled may be repeated; and once it is there again, all is as it was.
        network.listen("192.0.2.1", 80, server)
        assert (await anext(events)).data == "b"
        began = trio.current_time()
        assert await data_of(events) == []
        assert trio.current_time() - began == pytest.approx(3, abs=0.01)


async def test_the_first_connection_is_not_tried_again(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, network):
        network.refuse("192.0.2.1", 80)
        with pytest.raises(ConnectError):
            async with pool.events(URL):
                raise AssertionError
        network.listen("192.0.2.1", 80, Answering(Answer([])))
        with pytest.raises(ReadTimeout):
            async with pool.events(URL, timeouts=Timeouts(read=1)):
                raise AssertionError


OTHER_ANSWERS = [
    (ok(b"data: a\n\n"), RemoteProtocolError, "200 and another type than text/event-stream, where"),
    (ok(b"", b"Content-Type: text/event-streams"), RemoteProtocolError, "text/event-stream"),
    (STREAM.replace(b"200 OK", b"201 Created"), RemoteProtocolError, "answered with 201, where"),
    (ok().replace(b"200 OK", b"302 Found"), RemoteProtocolError, "answered with 302, where"),
    (ok().replace(b"200 OK", b"503 Busy"), StatusError, "503 Busy"),
    (b"spam\r\n\r\n", RemoteProtocolError, "sent"),
]


@pytest.mark.parametrize(("answer", "error", "words"), OTHER_ANSWERS)
async def test_another_answer_is_an_error_at_first_and_later(
    answer: bytes, error: type[Exception], words: str, autojump_clock: object
) -> None:
    async with serving(Answering(answer), max_connections=1) as (pool, network):
        with pytest.raises(error, match=words):
            async with pool.events(URL):
                raise AssertionError
        nothing_held(pool, network)
        pool.close_idle()
        network.listen("192.0.2.1", 80, Answering(stream(b"data: a\n\n"), answer))
        async with pool.events(URL) as events:
            assert (await anext(events)).data == "a"
            for _ in range(2):
                with pytest.raises(error, match=words):
                    await anext(events)
                assert pool.statistics().busy == 0


async def test_an_event_that_is_too_long_ends_it(autojump_clock: object) -> None:
    server = Answering(stream(b"data: a\n\ndata: abcdefgh\n\n", end="keep"))
    async with serving(server) as (pool, _), pool.events(URL, max_event_length=10) as events:
        assert (await anext(events)).data == "a"
        for _ in range(2):
            with pytest.raises(RemoteProtocolError, match="more than 10 characters"):
                await anext(events)
            assert pool.statistics().busy == 0


@pytest.mark.parametrize("event_id", [b"a\x01b", b"x" * (MAX_ID_BYTES + 1)])
async def test_an_id_that_cannot_be_sent_back_is_an_error(
    event_id: bytes, autojump_clock: object
) -> None:
    server = Answering(stream(b"id: " + event_id + b"\ndata: a\n\n"))
    async with serving(server) as (pool, _), pool.events(URL) as events:
        assert (await anext(events)).data == "a"
        with pytest.raises(RemoteProtocolError, match="can't be sent back"):
            await anext(events)


async def test_the_callers_fields_go_along(autojump_clock: object) -> None:
    server = Answering(stream(b"id:  7 \ndata: a\n\n"), NO_CONTENT)
    fields = {"accept": "text/event-stream, */*", "X-Key": "secret", "last-event-id": "mine"}
    async with serving(server) as (pool, _), pool.events(URL, headers=fields) as events:
        assert await data_of(events) == ["a"]
        assert "secret" not in repr(events)
    assert ids_asked_for(server) == ["mine", "7"]
    for request in server.requests:
        assert request.header("accept") == "text/event-stream, */*"
        assert request.header("x-key") == "secret"


async def test_wrong_arguments_are_told_at_once(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, _):
        wrong: Sequence[dict[str, Any]] = [
            {"reconnect_after": 0},
            {"last_event_id": "a\nb"},
        ]
        for options in wrong:
            with pytest.raises(ValueError, match=next(iter(options))):
                pool.events(URL, **options)
        with pytest.raises(TypeError, match="last_event_id must be a str, not int"):
            pool.events(URL, last_event_id=7)  # type: ignore[arg-type]
        with pytest.raises(LocalProtocolError):
            async with pool.events(URL, headers={"a b": "c"}):
                raise AssertionError


async def test_it_works_in_its_block_and_only_once(autojump_clock: object) -> None:
    async with serving(Answering(stream(b"data: a\n\n", end="keep"))) as (pool, network):
        events = pool.events(URL)
        with pytest.raises(RuntimeError, match="async with"):
            await anext(events)
        async with events:
            assert aiter(events) is events
            assert repr(events) == f"<triopool.EventSource, <Response [200] to GET {URL}:80>>"
            with pytest.raises(RuntimeError, match="entered already"):
                await events.__aenter__()
        nothing_held(pool, network)
        assert repr(events) == "<triopool.EventSource, no connection>"
        with pytest.raises(trio.ClosedResourceError):
            await anext(events)
        with pytest.raises(RuntimeError, match="entered already"):
            await events.__aenter__()


async def test_a_block_that_was_never_entered_gives_nothing(autojump_clock: object) -> None:
    async with serving(Answering(ok())) as (pool, network):
        events = pool.events(URL)
        with pytest.raises(RemoteProtocolError):
            await events.__aenter__()
        with pytest.raises(trio.ClosedResourceError):
            await anext(events)
        nothing_held(pool, network)


@pytest.mark.parametrize("when", [0.5, 1.5, 3.5, 4.5])
async def test_leaving_the_block_ends_the_step_of_another_task(
    when: float, autojump_clock: object
) -> None:
    """While it reads; while it waits; while it connects again; while it reads once more."""

    async def respond(request: Request) -> Reply:
        fields = {"Content-Type": "text/event-stream"}
        return Reply(body=[b": a\n", b": b\n"], gap=1, delay=1 if seen else 0, headers=fields)

    seen: list[str] = []
    async with serving(http_server(respond), max_connections=1) as (pool, network):

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await anext(events)
            seen.append("closed")

        async with (
            trio.open_nursery() as nursery,
            pool.events(URL, reconnect_after=2) as events,
        ):
            seen.append("entered")
            nursery.start_soon(read)
            await trio.sleep(when)
        assert seen == ["entered", "closed"]
        # What comes of a request that was under way is read by the pool.
        assert pool.statistics().busy == (1 if when == 3.5 else 0)
        await trio.sleep(10)
        nothing_held(pool, network)


async def test_one_task_reads_at_a_time(autojump_clock: object) -> None:
    server = Answering(stream(b"data: a\n\n"), NO_CONTENT)
    async with serving(server) as (pool, _), pool.events(URL) as events:
        await anext(events)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(data_of, events)
            await trio.sleep(1)
            with pytest.raises(trio.BusyResourceError):
                await anext(events)


async def test_leaving_the_loop_and_the_block_frees_the_slot_in_the_same_tick(
    autojump_clock: object,
) -> None:
    server = Answering(stream(b"data: a\n\n", end="keep"))
    async with serving(server, max_connections=1) as (pool, network):
        async with pool.events(URL) as events:
            async for _ in events:
                break
            assert pool.statistics().busy == 1
            look = AfterThisStep(pool)
        assert look.busy == 0
        assert not network.open_sockets


async def test_the_end_of_the_pool_is_its_end(autojump_clock: object) -> None:
    server = Answering(stream(b"data: a\n\n", end="keep"))
    async with serving(server) as (pool, _), trio.open_nursery() as nursery:

        async def drain() -> None:
            await trio.sleep(1)
            await pool.drain()

        async with pool.events(URL, timeouts=Timeouts(read=2)) as events:
            await anext(events)
            nursery.start_soon(drain)
            for _ in range(2):
                with pytest.raises(PoolClosed):
                    await anext(events)


async def test_an_event_source_needs_nothing_but_a_function_like_stream(
    autojump_clock: object,
) -> None:
    """So a session can offer it, with retries of its own below."""
    from triopool import EventSource

    asked: list[Any] = []
    server = Answering(stream(b"data: a\n\n"), NO_CONTENT)
    async with serving(server) as (pool, _):

        def of_a_session(method: str, url: str, **options: Any) -> Any:
            asked.append((method, url))
            return pool.stream(method, URL + url, **options)

        events = EventSource(
            of_a_session,
            "/events",
            last_event_id="",
            reconnect_after=1,
            max_event_length=None,
            options={},
        )
        async with events:
            assert await data_of(events) == ["a"]
    assert asked == [("GET", "/events")] * 2


async def by_id(request: Request) -> Reply:
    """Goes on behind the event that the client has had."""
    following = {None: b"id: 1\ndata: a\n\n", "1": b"id: 2\ndata: b\n\n"}
    body = following.get(request.header("last-event-id"))
    if body is None:
        return Reply(status=204)
    fields = {"Content-Type": "text/event-stream"}
    return Reply(body=[body, b": the end\n"], headers=fields, gap=0.1, chunked=True)


def test_it_may_be_cancelled_anywhere() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with serving(http_server(by_id), max_connections=1) as (pool, _):

            async def victim() -> None:
                async with pool.events(URL, reconnect_after=0.3) as events:
                    assert await data_of(events) == ["a", "b"]

            await sweep.victim(victim)
            assert pool.statistics().busy == 0
            await victim()

    sweep(scenario)


def test_each_step_may_be_cancelled_anywhere_and_repeated() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with serving(http_server(by_id), max_connections=1) as (pool, _):
            found: list[str] = []
            async with pool.events(URL, reconnect_after=0.3) as events:

                async def go_on() -> None:
                    async for event in events:
                        found.append(event.data)

                await sweep.victim(go_on)
                await go_on()
                assert found == ["a", "b"]

    sweep(scenario)
