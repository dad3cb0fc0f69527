"""Iterators over the body of a response: what they give, and that they own nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from exchange.world import serving
from sweeping import sweep

from triopool import (
    ReadError,
    RemoteProtocolError,
    Response,
    ServerSentEvent,
)
from triopool.testing import (
    Close,
    ReceiveRequest,
    Reply,
    Request,
    Send,
    Sweep,
    http_server,
    script,
)

from .looking import AfterThisStep

URL = "http://192.0.2.1"
ITERATORS: dict[str, Callable[[Response], AsyncIterator[Any]]] = {
    "text": Response.iter_text,
    "lines": Response.iter_lines,
    "json": Response.iter_json_lines,
    "events": Response.iter_events,
}
BODIES = {
    "text": [b"a\xc3", b"\xa4b", b"\xc3"],
    "lines": [b"one\r", b"\ntw", b"o\n\nth", b"ree"],
    "json": [b'{"a": 1}\r\n\n', b"[", b"2]\n \n", b"3"],
    "events": [b"data: on", b"e\n\ndata: two\n\n", b"data: three\n\ndata: cut"],
}
ITEMS: dict[str, list[Any]] = {
    "text": ["a", "\xe4b", "\ufffd"],
    "lines": ["one", "two", "", "three"],
    "json": [{"a": 1}, [2], 3],
    "events": [ServerSentEvent("one"), ServerSentEvent("two"), ServerSentEvent("three")],
}


def answering(reply: Reply) -> Any:
    async def respond(request: Request) -> Reply:
        return reply

    return http_server(respond)


@pytest.mark.parametrize("kind", ITERATORS)
async def test_a_body_that_comes_in_pieces(kind: str, autojump_clock: object) -> None:
    reply = Reply(body=BODIES[kind], gap=1, chunked=True)
    async with serving(answering(reply)) as (pool, _), pool.stream("GET", URL) as response:
        iterator = ITERATORS[kind](response)
        assert aiter(iterator) is iterator
        assert [item async for item in iterator] == ITEMS[kind]
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(iterator)


@pytest.mark.parametrize("kind", ITERATORS)
async def test_a_body_that_has_been_read(kind: str, autojump_clock: object) -> None:
    async with serving(answering(Reply(body=b"".join(BODIES[kind])))) as (pool, _):
        response = await pool.get(URL)
        items = ["a\xe4b", "\ufffd"] if kind == "text" else ITEMS[kind]
        for _ in range(2):
            assert [item async for item in ITERATORS[kind](response)] == items
        async with pool.stream("GET", URL) as streamed:
            await streamed.read()
            assert [item async for item in ITERATORS[kind](streamed)] == items


async def test_a_large_body_that_has_been_read_comes_in_pieces(autojump_clock: object) -> None:
    async with serving(answering(Reply(body=b"x" * 100_000))) as (pool, _):
        response = await pool.get(URL)
        assert [len(text) async for text in response.iter_text()] == [65536, 34464]


async def test_the_charset_of_a_text_is_that_of_its_content_type(autojump_clock: object) -> None:
    fields = {"Content-Type": "text/plain; charset=utf-16"}
    async with serving(answering(Reply(body="ä\nö".encode("utf-16"), headers=fields))) as (pool, _):
        response = await pool.get(URL)
        assert [line async for line in response.iter_lines()] == ["ä", "ö"]
        assert "".join([text async for text in response.iter_text()]) == "ä\nö"


# ── Left early ─────────────────────────────────────────────────────────────────────────────────


def endless(item: bytes) -> Any:
    """Serves a body that has one more item each second, and no end."""

    async def handler(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send_all(item)
            await trio.sleep(1)

    return handler


@pytest.mark.parametrize("kind", ITERATORS)
@pytest.mark.parametrize("how", ["break", "raise", "cancel"])
async def test_a_loop_that_is_left_frees_the_slot_in_the_same_tick(
    kind: str, how: str, autojump_clock: object
) -> None:
    item = b"data: 1\n\n" if kind == "events" else b"1\n"
    async with serving(endless(item), max_connections=1) as (pool, network):
        with trio.CancelScope() as scope, suppress(ZeroDivisionError):
            async with pool.stream("GET", URL) as response:
                iterator = ITERATORS[kind](response)
                async for _ in iterator:
                    break
                # The iterator owns nothing: what holds the connection is the block.
                assert pool.statistics().busy == 1
                try:
                    if how == "cancel":
                        scope.cancel()
                        await anext(iterator)
                finally:
                    look = AfterThisStep(pool)
                if how == "raise":
                    raise ZeroDivisionError
        assert look.busy == 0
        assert not network.open_sockets
        # The iterator is still here, which has made no difference.
        with pytest.raises(trio.ClosedResourceError):
            await anext(iterator)


@pytest.mark.parametrize("kind", ITERATORS)
async def test_a_step_that_was_cancelled_loses_no_item(kind: str, autojump_clock: object) -> None:
    reply = Reply(body=BODIES[kind], gap=1, chunked=True)
    async with serving(answering(reply)) as (pool, _), pool.stream("GET", URL) as response:
        iterator = ITERATORS[kind](response)
        items = []
        for _ in range(20):
            with trio.move_on_after(0.3), suppress(StopAsyncIteration):
                items.append(await anext(iterator))
        assert items == ITEMS[kind]


async def test_a_step_that_has_its_item_already_can_be_cancelled(autojump_clock: object) -> None:
    async with serving(answering(Reply(body=b"1\n2\n3\n"))) as (pool, _):
        lines = (await pool.get(URL)).iter_lines()
        assert await anext(lines) == "1"
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(lines)
        assert scope.cancelled_caught
        assert [line async for line in lines] == ["2", "3"]


async def test_other_tasks_get_their_turn_while_many_short_lines_are_read(
    autojump_clock: object,
) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with serving(answering(Reply(body=b"\n" * 10_000))) as (pool, _):
        response = await pool.get(URL)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            assert [line async for line in response.iter_lines()] == [""] * 10_000
            nursery.cancel_scope.cancel()
        assert turns >= 100


async def test_two_tasks_share_an_iterator_and_no_item_comes_twice(autojump_clock: object) -> None:
    lines = [f"{number}" for number in range(1000)]
    body = "\n".join(lines).encode()
    found: list[str] = []
    async with serving(answering(Reply(body=body))) as (pool, _):
        response = await pool.get(URL)
        iterator = response.iter_lines()

        async def read() -> None:
            async for line in iterator:
                found.append(line)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(read)
    assert sorted(found, key=int) == lines


def test_reading_events_may_be_cancelled_anywhere() -> None:
    async def scenario(sweep: Sweep) -> None:
        reply = Reply(body=BODIES["events"], gap=0.1, chunked=True)
        async with serving(answering(reply), max_connections=1) as (pool, _):

            async def victim() -> None:
                async with pool.stream("GET", URL) as response:
                    assert [event async for event in response.iter_events()] == ITEMS["events"]

            await sweep.victim(victim)
            assert pool.statistics().busy == 0
            await victim()

    sweep(scenario)


# ── What is not accepted ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bound", ["4", 0, -1, 1.5, True])
async def test_a_bound_that_is_none_is_refused_at_once(autojump_clock: object, bound: Any) -> None:
    wrong = pytest.raises((TypeError, ValueError), match=r"max_\w+ must be")
    async with serving(answering(Reply(body=b""))) as (pool, _):
        response = await pool.get(URL)
        with wrong:
            response.iter_lines(max_line_length=bound)
        with wrong:
            response.iter_json_lines(max_line_bytes=bound)
        with wrong:
            response.iter_events(max_event_length=bound)
        with wrong:
            pool.events(URL, max_event_length=bound)


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (lambda r: r.iter_lines(max_line_length=4), "a line of more than 4 characters"),
        (lambda r: r.iter_json_lines(max_line_bytes=4), "a line of more than 4 bytes"),
    ],
)
async def test_a_line_that_is_too_long_is_an_error_again_and_again(
    read: Callable[[Response], AsyncIterator[Any]], what: str, autojump_clock: object
) -> None:
    async with serving(answering(Reply(body=b"1234\n12345\n1\n"))) as (pool, _):
        iterator = read(await pool.get(URL))
        assert str(await anext(iterator)) == "1234"
        for _ in range(2):
            with pytest.raises(RemoteProtocolError, match=f"^{URL}:80 sent {what}") as info:
                await anext(iterator)
            assert info.value.origin == ("http", "192.0.2.1", 80)


async def test_an_event_that_is_too_long_is_an_error(autojump_clock: object) -> None:
    async with (
        serving(endless(b'"data"\ndata:"data"\n\n')) as (pool, _),
        pool.stream("GET", URL) as response,
    ):
        with pytest.raises(RemoteProtocolError, match="of more than 7 characters"):
            await anext(response.iter_events(max_event_length=7))
        iterator = response.iter_events(max_event_length=None, last_event_id="7")
        assert (await anext(iterator)).id == "7"


async def test_no_line_of_a_body_that_was_cut_looks_complete(autojump_clock: object) -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\none\ntwo"
    handler = script(ReceiveRequest(), Send(cut), Close())
    async with serving(handler) as (pool, _), pool.stream("GET", URL) as response:
        lines = response.iter_lines()
        assert await anext(lines) == "one"
        for _ in range(2):
            with pytest.raises(ReadError):
                await anext(lines)


@pytest.mark.parametrize(
    ("line", "error"),
    [(b"spam", json.JSONDecodeError), (b'"\xff"', UnicodeDecodeError)],
    ids=["no JSON", "no UTF-8"],
)
async def test_a_line_that_is_not_json_spoils_no_other_one(
    line: bytes, error: type[ValueError], autojump_clock: object
) -> None:
    async with serving(answering(Reply(body=b"1\n" + line + b"\n2\n"))) as (pool, _):
        objects = (await pool.get(URL)).iter_json_lines()
        assert await anext(objects) == 1
        with pytest.raises(error):
            await anext(objects)
        assert [it async for it in objects] == [2]


async def test_json_nested_too_deep_is_an_error_of_its_line(autojump_clock: object) -> None:
    async with serving(answering(Reply(body=b"[" * 100_000 + b"\n2"))) as (pool, _):
        objects = (await pool.get(URL)).iter_json_lines()
        with pytest.raises(ValueError, match="nested too deep"):
            await anext(objects)
        assert [it async for it in objects] == [2]
