"""Bodies that are much larger than what is read, or what h11 gets, at once."""

from __future__ import annotations

import random

import pytest
import trio
from inside import connections, not_parsed_yet

from triopool import RemoteProtocolError, Response
from triopool._protocol.chunks import CHUNKS_IN_A_ROW

from .world import URL, Answer, Answering, ok, serving

BODY = random.Random(1).randbytes(3_000_000)
BUFFER = 4 << 20  # All of it is there at once.


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\nX: y\r\n\r\n"


ANSWERS = {
    "length": Answer([ok(BODY)]),
    "large chunks": Answer([chunked(BODY, 1_000_000)]),
    "small chunks": Answer([chunked(BODY, 1000)]),
    "until the end": Answer([b"HTTP/1.1 200 OK\r\n\r\n" + BODY], "close"),
}


@pytest.mark.parametrize("how", ["whole", "pieces", "small pieces"])
@pytest.mark.parametrize("framing", ANSWERS)
async def test_much_arrives_as_it_was_sent(autojump_clock: object, framing: str, how: str) -> None:
    async with serving(Answering(ANSWERS[framing]), buffer_size=BUFFER) as (pool, _):
        if how == "whole":
            response = await pool.get(URL)
            assert response.content == BODY
        else:
            most = 50_000 if how == "small pieces" else None
            found = []
            async with pool.stream("GET", URL) as response:
                while piece := await response.receive_some(most):
                    assert type(piece) is bytes
                    assert most is None or len(piece) <= most
                    found.append(piece)
            assert b"".join(found) == BODY
        assert response.trailers.get("X") == ("y" if "chunks" in framing else None)
        assert pool.statistics().idle == (framing != "until the end")


@pytest.mark.parametrize("framing", ["length", "small chunks"])
async def test_much_that_comes_behind_a_response_is_nobodys(
    autojump_clock: object, framing: str
) -> None:
    raw = ANSWERS[framing].pieces[0] + ok(b"not yours") * 10_000
    async with serving(Answering(raw), buffer_size=BUFFER) as (pool, network):
        assert (await pool.get(URL)).content == BODY
        assert (await pool.get(URL + "/2")).content == b"/2"
        assert network.connections_accepted("192.0.2.1", 80) == 2
        assert len(network.open_sockets) == pool.statistics().idle == 1


@pytest.mark.parametrize("framing", ["small chunks", "until the end"])
async def test_no_more_than_max_body_bytes_is_given_out(
    autojump_clock: object, framing: str
) -> None:
    found: list[bytes] = []
    async with (
        serving(Answering(ANSWERS[framing]), buffer_size=BUFFER) as (pool, _),
        pool.stream("GET", URL, max_body_bytes=2_000_000) as response,
    ):
        with pytest.raises(RemoteProtocolError, match="more than max_body_bytes=2000000"):
            await collect(response, found)
    assert 1_000_000 < sum(map(len, found)) <= 2_000_000
    assert BODY.startswith(b"".join(found))


async def collect(response: Response, found: list[bytes]) -> None:
    async for piece in response:
        found.append(piece)


@pytest.mark.parametrize("framing", ["length", "small chunks"])
async def test_an_idle_connection_keeps_nothing_of_what_came(
    autojump_clock: object, framing: str
) -> None:
    """Half a MiB for each, otherwise."""
    async with serving(Answering(ANSWERS[framing]), buffer_size=BUFFER) as (pool, _):
        await pool.get(URL)
        (connection,) = connections(pool)
        assert not_parsed_yet(connection) == b""


# ── Chunks of one byte ─────────────────────────────────────────────────────────────────────────

ONE_BYTE_CHUNKS = chunked(BODY[:100_000], 1)


class Steps(trio.abc.Instrument):
    """Counts the steps of the task that makes it."""

    def __init__(self) -> None:
        self.number = 0
        self._watched = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.number += task is self._watched


async def test_others_have_their_turn_while_chunks_of_one_byte_are_read(
    autojump_clock: object,
) -> None:
    """All 100,000 of them have arrived, and a read takes half a MiB."""
    async with serving(Answering(ONE_BYTE_CHUNKS), buffer_size=BUFFER) as (pool, _):
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        response = await pool.get(URL)
        trio.lowlevel.remove_instrument(steps)
        assert response.content == BODY[:100_000]
        assert steps.number >= 100_000 / CHUNKS_IN_A_ROW
        assert pool.statistics().idle == 1


async def test_chunks_that_came_together_are_given_out_together(autojump_clock: object) -> None:
    async with (
        serving(Answering(ONE_BYTE_CHUNKS), buffer_size=BUFFER) as (pool, _),
        pool.stream("GET", URL) as response,
    ):
        sizes = [len(piece) async for piece in response]
    assert sum(sizes) == 100_000
    assert len(sizes) < 2 * 100_000 / CHUNKS_IN_A_ROW


async def test_a_read_that_is_cancelled_between_two_chunks_loses_nothing(
    autojump_clock: object,
) -> None:
    async with (
        serving(Answering(ONE_BYTE_CHUNKS), buffer_size=BUFFER) as (pool, _),
        pool.stream("GET", URL) as response,
    ):
        found = []
        cancelled = 0
        piece = b"-"
        while piece:
            with trio.CancelScope() as scope:
                scope.cancel()
                await response.receive_some()
            cancelled += scope.cancelled_caught
            piece = await response.receive_some()
            found.append(piece)
    assert b"".join(found) == BODY[:100_000]
    assert cancelled > 40


async def test_a_response_that_is_closed_between_two_chunks_is_closed_for_its_reader(
    autojump_clock: object,
) -> None:
    async with (
        serving(Answering(ONE_BYTE_CHUNKS), buffer_size=BUFFER) as (pool, network),
        pool.stream("GET", URL) as response,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def _() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await response.read()

        for _ in range(20):
            await trio.lowlevel.checkpoint()
        response.close()
        assert not network.open_sockets
