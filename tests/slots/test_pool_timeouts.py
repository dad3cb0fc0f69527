"""The pool timeout: exactly on time, for nobody who has something, and without a trace afterwards.

It is kept by one task for all who wait. What it has to do is what a cancel scope around each wait
would; but for one thing: whoever is given something in the very step in which his time is over
has it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool._config import Timeouts
from triopool._deadlines import DEAD_AT_MOST
from triopool._errors import PoolClosed, PoolTimeout
from triopool._slots.invariants import check
from triopool._slots.waiter import Waiter

from .fakes import HANG, NO_LIMITS, A, B, Bench, Caller, FakeDialler, bench

ONE = Timeouts(pool=1, connect=None)


def the_waiter(pool: Bench) -> Waiter:
    [waiter] = pool.origins[A].waiting
    return waiter


async def after(seconds: float, what: Callable[[], object]) -> None:
    await trio.sleep(seconds)
    what()


# ── On time ────────────────────────────────────────────────────────────────────────────────────


async def test_each_has_its_own_time_whatever_the_order_in_which_they_came(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        await pool.hold(B)
        began = trio.current_time()
        callers = [
            await pool.ask(A, timeouts=Timeouts(pool=seconds)) for seconds in (5, 2.5, None, 1, 30)
        ]
        await trio.sleep(100)
        ended = [caller.ended_at - began for caller in callers if not caller.waits]
        assert ended == pytest.approx([5, 2.5, 1, 30])
        assert callers[2].waits


async def test_one_that_comes_later_with_less_time_is_not_kept_waiting(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        await pool.hold(A)
        await pool.ask(A, timeouts=Timeouts(pool=30))
        await trio.sleep(10)
        began = trio.current_time()
        caller = await pool.ask(B, timeouts=ONE)
        await caller.ended.wait()
        assert caller.ended_at - began == pytest.approx(1)


async def test_the_error_is_raised_as_if_the_request_had_found_out_itself(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        await pool.hold(A)
        with pytest.raises(PoolTimeout) as caught:
            await pool.slots.acquire(A, ONE)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        functions = [frame.name for frame in traceback.extract_tb(caught.tb)]
        assert "acquire" in functions
        assert "_time_out" not in functions


async def test_thousands_may_time_out_at_once(autojump_clock: MockClock) -> None:
    async with bench(max_connections=2) as pool, trio.open_nursery() as nursery:
        holders = [await pool.hold(A), await pool.hold(A)]
        began = trio.current_time()
        callers = [Caller(B if i % 3 else A, ONE) for i in range(3000)]
        for caller in callers:
            nursery.start_soon(caller.run, pool.slots)
        await trio.sleep(2)
        assert {caller.ended_at for caller in callers} == {began + 1}
        others = [int(str(caller.error).split()[-4]) for caller in callers]
        assert sorted(others) == list(range(3000)), "each was the next to go"
        assert not pool.deadlines
        for holder in holders:
            holder.release()
        await pool.assert_full_size()


# ── In the same step ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("round_", range(10))
async def test_who_is_handed_a_connection_in_the_step_in_which_his_time_is_over_has_it(
    round_: int, autojump_clock: MockClock
) -> None:
    async with bench(max_connections=1) as pool, trio.open_nursery() as nursery:
        holder = await pool.hold(A)
        caller = await pool.ask(A, timeouts=ONE)
        deadline = the_waiter(pool).ends_at
        nursery.start_soon(after, deadline - trio.current_time(), holder.release)
        await caller.ended.wait()
        assert caller.connection is holder.connection
        assert trio.current_time() == pytest.approx(deadline)


@pytest.mark.parametrize("round_", range(10))
async def test_who_gets_a_dial_in_the_step_in_which_his_time_is_over_has_it(
    round_: int, autojump_clock: MockClock
) -> None:
    async with bench(max_connections=1) as pool, trio.open_nursery() as nursery:
        pool.dialler.script(A, 0.1, 7)
        holder = await pool.hold(A)
        caller = await pool.ask(A, timeouts=ONE)
        deadline = the_waiter(pool).ends_at
        nursery.start_soon(after, deadline - trio.current_time(), holder.discard)
        await caller.ended.wait()
        assert caller.lease is not None
        assert trio.current_time() == pytest.approx(deadline + 7)


@pytest.mark.parametrize("round_", range(20))
async def test_a_timeout_and_a_busy_program_do_not_end_the_wait_of_who_is_about_to_be_served(
    round_: int, mock_clock: MockClock
) -> None:
    async with bench(max_connections=2) as pool, trio.open_nursery() as nursery:
        pool.dialler.delay = 0
        holders = [await pool.hold(A), await pool.hold(A)]
        other = await pool.ask(B, timeouts=Timeouts(pool=1))
        caller = await pool.ask(A, timeouts=Timeouts(pool=1.15))

        async def compute() -> None:
            await trio.sleep(1)
            mock_clock.jump(0.18)
            await trio.lowlevel.checkpoint()
            holders[0].release()

        nursery.start_soon(compute)
        await wait_all_tasks_blocked()
        other.cancel()
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert caller.connection is holders[0].connection


@pytest.mark.parametrize("round_", range(10))
async def test_who_is_cancelled_in_the_step_in_which_his_time_is_over_is_cancelled(
    round_: int, autojump_clock: MockClock
) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        with trio.move_on_after(1) as scope:
            await pool.slots.acquire(A, ONE)
        assert scope.cancelled_caught
        check(pool.slots)
        holder.release()
        await pool.assert_full_size()


async def test_who_was_cancelled_a_moment_before_is_not_told(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        await pool.hold(A)
        caller = await pool.ask(A, timeouts=ONE)
        waiter = the_waiter(pool)
        caller.cancel()
        pool.time_out(waiter)
        check(pool.slots)
        await pool.settle()
        assert caller.cancelled


async def test_who_is_cancelled_a_moment_after_was_told(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        await pool.hold(A)
        caller = await pool.ask(A, timeouts=ONE)
        pool.time_out(the_waiter(pool))
        check(pool.slots)
        caller.cancel()
        await pool.settle()
        assert isinstance(caller.error, PoolTimeout)
        assert "and 0 other requests wait" in str(caller.error)


@pytest.mark.parametrize("round_", range(10))
async def test_a_pool_that_is_shut_in_that_step_says_so(
    round_: int, autojump_clock: MockClock
) -> None:
    async with bench(max_connections=1) as pool:
        await pool.hold(A)
        caller = await pool.ask(A, timeouts=ONE)
        await trio.sleep_until(the_waiter(pool).ends_at)
        pool.slots.shut("closed")
        await pool.settle()
        assert isinstance(caller.error, PoolClosed)


# ── Who has something is let be ────────────────────────────────────────────────────────────────


async def test_who_was_served_hears_no_more_of_it(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        caller = await pool.ask(A, timeouts=ONE)
        holder.release()
        await trio.sleep(5)
        assert caller.connection.is_open
        assert caller.lease is not None
        assert not caller.lease.ended


async def test_who_has_a_dial_from_the_beginning_is_never_under_it(
    autojump_clock: MockClock,
) -> None:
    async with bench(FakeDialler(HANG)) as pool:
        await pool.ask(A, timeouts=ONE)
        assert not pool.deadlines


async def test_of_requests_served_long_ago_nothing_is_kept(autojump_clock: MockClock) -> None:
    async def use(times: int) -> None:
        for _ in range(times):
            lease = await pool.slots.acquire(A, Timeouts(pool=100_000))
            await trio.lowlevel.checkpoint()
            lease.end()
            assert len(pool.deadlines) <= 2 * (waiting + DEAD_AT_MOST)

    async with bench(max_connections=3) as pool:
        waiting = 20
        async with trio.open_nursery() as nursery:
            for _ in range(waiting + 3):
                nursery.start_soon(use, 200)
        assert pool.slots.statistics().handed_over > 3000
        assert len(pool.deadlines) <= DEAD_AT_MOST + 1


# ── Who comes next ─────────────────────────────────────────────────────────────────────────────


async def test_the_next_in_line_may_have_what_was_of_no_use_to_him(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        pool.dialler.script(A, HANG)
        (await pool.ask(A)).cancel()
        await pool.settle()
        began = trio.current_time()
        # The dial to A goes on; it does not give way to a request to A.
        first = await pool.ask(A, timeouts=ONE)
        second = await pool.ask(B)
        await second.ended.wait()
        assert isinstance(first.error, PoolTimeout)
        assert second.ended_at == pytest.approx(began + 1 + pool.dialler.delay)


async def test_a_drain_ends_when_the_last_request_times_out(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        pool.dialler.script(A, HANG)
        (await pool.ask(A)).cancel()
        await pool.settle()
        caller = await pool.ask(A, timeouts=ONE)
        pool.slots.refuse("draining")
        began = trio.current_time()
        await pool.slots.wait_quiet()
        await pool.settle()
        assert isinstance(caller.error, PoolTimeout)
        assert trio.current_time() - began == pytest.approx(1)


async def test_it_is_kept_when_the_pools_own_block_is_cancelled(autojump_clock: MockClock) -> None:
    """For whoever goes on in spite of that, shielded, and waits for somebody else's connection."""
    async with trio.open_nursery() as outside, trio.open_nursery() as inside:
        pool = Bench(FakeDialler(), inside, {"max_connections": 1})
        holder = Caller(A, NO_LIMITS)
        outside.start_soon(holder.run, pool.slots)
        await holder.ended.wait()
        inside.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            began = trio.current_time()
            with trio.move_on_after(5), pytest.raises(PoolTimeout):
                await pool.slots.acquire(A, ONE)
            assert trio.current_time() - began == pytest.approx(1)
            pool.shut("closed")
            await wait_all_tasks_blocked()
        holder.cancel()
    assert not pool.dialler.open
