"""Uploads whose iterator has its pieces at hand: no piece is held back, and others have turns."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from triopool._exchange.turn import PIECE_COST_BYTES, TURN_BYTES, TURN_SECONDS
from triopool.testing import Receive, ReceiveBytes, Send, Wait, script

from .world import URL, Answering, ok, serving

ROOM = 1 << 30
"""As if the kernel took everything at once."""


class Body(trio.abc.Instrument):
    """Pieces that are all there. As an instrument of Trio's it sees when others can run.

    Attributes:
      given: how many pieces the iterator has given.
      longest_turn: how many it gave at most in one step of the scheduler.
    """

    def __init__(self, size: int, count: int | None) -> None:
        self._piece = bytes(size)
        self._count = count
        self._given_before = 0
        self.given = 0
        self.longest_turn = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while self.given != self._count:
                self.given += 1
                self.work()
                yield self._piece
        finally:
            self.closed = True

    def work(self) -> None:
        """What it takes to make a piece."""

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.longest_turn = max(self.longest_turn, self.given - self._given_before)
        self._given_before = self.given


async def upload(body: Body) -> None:
    trio.lowlevel.add_instrument(body)
    async with serving(Answering(), buffer_size=ROOM) as (pool, _):
        response = await pool.post(URL, content=body)
    assert response.status_code == 200


@pytest.mark.parametrize(("size", "at_most"), [(1, 128), (4096, 43), (65536, 3), (262_144, 1)])
async def test_others_run_while_an_iterator_gives_and_the_kernel_takes(
    autojump_clock: object, size: int, at_most: int
) -> None:
    body = Body(size, 500)
    await upload(body)
    assert body.given == 500
    # One more has been given when others run, and goes out when they have.
    assert body.longest_turn == at_most + 1
    assert (at_most - 1) * (size + PIECE_COST_BYTES) + size <= TURN_BYTES


async def test_small_pieces_do_not_cost_a_step_of_the_scheduler_each(
    autojump_clock: object,
) -> None:
    body = Body(1000, 500)
    await upload(body)
    assert body.longest_turn > 50


async def test_an_iterator_that_takes_its_time_ends_its_turn(autojump_clock: MockClock) -> None:
    class Slow(Body):
        def work(self) -> None:
            autojump_clock.jump(TURN_SECONDS)

    body = Slow(1, 50)
    await upload(body)
    assert body.longest_turn == 1


async def test_a_program_can_cancel_an_upload_that_never_waits(autojump_clock: object) -> None:
    body = Body(1, None)

    async def cancel() -> None:
        while not body.given:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    async with serving(Answering(), buffer_size=ROOM) as (pool, network):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            await pool.post(URL, content=body)
        assert body.closed
        assert body.given < 1000
        assert not network.open_sockets


async def test_a_server_that_takes_nothing_stops_an_iterator(autojump_clock: object) -> None:
    """After what there is room for, and the piece that did not fit."""
    body = Body(1000, None)
    async with serving(script(Wait(2.0)), buffer_size=10_000) as (pool, _):
        with trio.move_on_after(1.0):
            await pool.post(URL, content=body)
    assert body.given == 10


@pytest.mark.parametrize("size", [1, 4096, 65536])
async def test_no_piece_is_held_back_while_the_iterator_makes_the_next(
    autojump_clock: object, size: int
) -> None:
    """The iterator goes on when the server has all that was given."""
    received = trio.Event()

    async def arrived(_: object) -> None:
        received.set()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(size)
        await received.wait()
        yield b"end"

    server = script(Receive(), ReceiveBytes(3 * size), arrived, ReceiveBytes(3), Send(ok()))
    async with serving(server) as (pool, _):
        with trio.fail_after(1.0):
            length = {"Content-Length": str(3 * size + 3)}
            await pool.post(URL, content=body(), headers=length)
