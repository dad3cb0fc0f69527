"""Cancel a request, a warm-up or a drain at every moment: no slot is lost, and nobody is stuck.

Each scenario ends as every test here does (see :func:`fakes.bench`), and before that it shows that
the pool still works at its full size.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from sweeping import sweep
from trio.testing import MockClock

from triopool._config import Timeouts
from triopool._errors import PoolClosed, PoolTimeout
from triopool._facts import Condition
from triopool._slots.dials import ORPHAN_GRACE
from triopool.testing import Sweep

from .fakes import HANG, NO_LIMITS, A, B, Bench, Caller, FakeDialler, bench, discard_lease


async def exchange(pool: Bench, seconds: float = 0.03) -> None:
    """A request to A that holds its connection for so long; closed if it is cut short."""
    lease = await pool.slots.acquire(A, NO_LIMITS)
    try:
        await trio.sleep(seconds)
    except BaseException:  # control-C too
        discard_lease(lease)
        raise
    lease.end()


async def a_new_dial(sweep: Sweep) -> None:
    async with bench(max_connections=2) as pool:
        await sweep.victim(exchange, pool)
        await pool.assert_full_size()


async def a_reuse(sweep: Sweep) -> None:
    async with bench(max_connections=2) as pool:
        await pool.idle(A)
        await sweep.victim(exchange, pool)
        await pool.assert_full_size()


async def a_reuse_that_is_unsure(sweep: Sweep) -> None:
    async with bench(max_connections=2) as pool:
        [connection] = await pool.idle(A)
        connection.looks = Condition.UNSURE
        await sweep.victim(exchange, pool)
        await pool.assert_full_size()


async def an_unsure_connection_that_is_unfit(sweep: Sweep) -> None:
    async with bench(max_connections=2) as pool:
        for connection in await pool.idle(A, 2):
            connection.looks, connection.fit = Condition.UNSURE, False
        await sweep.victim(exchange, pool)
        await pool.assert_full_size()


async def a_hand_over(sweep: Sweep) -> None:
    async with bench(max_connections=1) as pool, trio.open_nursery() as nursery:
        holder = await pool.hold(A)
        nursery.start_soon(release_after, 0.05, sweep.other(holder.release))
        await sweep.victim(exchange, pool)
        await trio.sleep(0.07)
        await pool.assert_full_size()


async def a_connection_that_is_closed_while_somebody_waits(sweep: Sweep) -> None:
    async with bench(max_connections=1) as pool, trio.open_nursery() as nursery:
        holder = await pool.hold(A)
        nursery.start_soon(release_after, 0.05, sweep.other(holder.discard))
        await sweep.victim(exchange, pool)
        await trio.sleep(0.07)
        await pool.assert_full_size()


async def a_request_that_comes_again(sweep: Sweep) -> None:
    """Its connection was stale, and others wait. One of them is served while it is cancelled."""
    async with bench(max_connections=2) as pool, trio.open_nursery() as nursery:
        holder = await pool.hold(A)
        nursery.start_soon(release_after, 0.05, sweep.other(holder.release))
        nursery.start_soon(follow, pool)
        await sweep.victim(exchange_again, pool)
        await trio.sleep(0.5)
        await pool.assert_full_size()


async def exchange_again(pool: Bench) -> None:
    lease = await pool.slots.acquire(A, NO_LIMITS)
    try:
        await trio.sleep(0.03)
        lease = await pool.slots.acquire(A, NO_LIMITS, lease)
        await trio.sleep(0.01)
    except BaseException:
        discard_lease(lease)
        raise
    lease.end()


async def a_stale_connection_at_which_two_look(sweep: Sweep) -> None:
    async with bench(max_connections=1) as pool, trio.open_nursery() as nursery:
        [connection] = await pool.idle(A)
        connection.looks, connection.fit = Condition.UNSURE, False
        connection.settle_when = trio.Event()
        look_ends = sweep.other(connection.settle_when.set)
        nursery.start_soon(follow, pool)
        nursery.start_soon(release_after, 0.05, look_ends)
        await sweep.victim(exchange, pool)
        await trio.sleep(0.5)
        await pool.assert_full_size()


async def idle_ones_closed_while_they_are_looked_at(sweep: Sweep) -> None:
    async with bench(max_connections=2) as pool, trio.open_nursery() as nursery:
        [connection] = await pool.idle(A)
        connection.looks = Condition.UNSURE
        nursery.start_soon(release_after, 0.05, sweep.other(pool.slots.close_idle))
        await sweep.victim(exchange, pool)
        await trio.sleep(0.07)
        await pool.assert_full_size()


async def a_hand_over_with_others_in_the_queue(sweep: Sweep) -> None:
    async with bench(max_connections=1) as pool, trio.open_nursery() as nursery:
        holder = await pool.hold(A)
        before = await pool.ask(A)
        nursery.start_soon(release_after, 0.05, sweep.other(holder.release))
        nursery.start_soon(follow, pool)
        await trio.sleep(0.011)
        nursery.start_soon(let_go_when_served, before)
        await sweep.victim(exchange, pool)
        await trio.sleep(0.5)
        assert pool.slots.statistics().waiting == 0
        await pool.assert_full_size()


async def follow(pool: Bench) -> None:
    """A request just behind the victim, which is served however the victim fares."""
    await trio.sleep(0.02)
    with trio.fail_after(1):
        await exchange(pool)


async def let_go_when_served(caller: Caller) -> None:
    await caller.ended.wait()
    await trio.sleep(0.017)
    caller.release()


async def release_after(seconds: float, release: Callable[[], None]) -> None:
    await trio.sleep(seconds)
    release()


async def a_swap(sweep: Sweep) -> None:
    """The victim's dial is the second, and overtakes the first."""
    async with bench(max_connections=2) as pool:
        pool.dialler.script(A, 0.31, 0.1)
        older = await pool.ask(A)
        await trio.sleep(0.01)
        await sweep.victim(exchange, pool)
        await older.ended.wait()
        older.release()
        await trio.sleep(0.5)
        await pool.assert_full_size()


async def a_swap_seen_from_the_older_one(sweep: Sweep) -> None:
    async with bench(max_connections=2) as pool, trio.open_nursery() as nursery:
        pool.dialler.script(A, 0.31, 0.1)
        nursery.start_soon(follow, pool)
        await sweep.victim(exchange, pool)
        await trio.sleep(0.5)
        await pool.assert_full_size()


async def an_eviction(sweep: Sweep) -> None:
    async with bench(max_connections=2) as pool:
        await pool.idle(B, 2)
        await sweep.victim(exchange, pool)
        await pool.assert_full_size()


async def an_eviction_on_return(sweep: Sweep) -> None:
    async with bench(max_connections=1) as pool, trio.open_nursery() as nursery:
        holder = await pool.hold(B)
        nursery.start_soon(release_after, 0.05, sweep.other(holder.release))
        await sweep.victim(exchange, pool)
        await trio.sleep(0.07)
        await pool.assert_full_size()


async def an_orphan_that_gives_way(sweep: Sweep) -> None:
    async with bench(max_connections=1) as pool:
        pool.dialler.script(B, HANG)
        (await pool.ask(B)).cancel()
        await trio.sleep(0.01)
        await sweep.victim(exchange, pool)
        await trio.sleep(ORPHAN_GRACE + 0.1)
        await pool.assert_full_size()


async def a_dial_that_fails(sweep: Sweep) -> None:
    async with bench(max_connections=1) as pool:
        pool.dialler.script(A, OSError("refused"))
        await sweep.victim(expect, OSError, exchange, pool)
        await pool.assert_full_size()


async def a_pool_timeout(sweep: Sweep) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(B)
        release = sweep.other(holder.release)
        await sweep.victim(time_out, pool)
        release()
        await pool.assert_full_size()


async def time_out(pool: Bench) -> None:
    try:
        lease = await pool.slots.acquire(A, Timeouts(pool=0.05))
    except PoolTimeout:
        return
    assert pool.slots.statistics().handed_over == 2, "it can only have come with the other event"
    lease.end()


async def expect(
    error: type[Exception], async_fn: Callable[[Bench], Awaitable[None]], pool: Bench
) -> None:
    with pytest.raises(error):
        await async_fn(pool)


async def a_warm_up(sweep: Sweep) -> None:
    async with bench(max_connections=3) as pool:
        pool.dialler.script(A, 0.1, 0.2, 0.3)
        await sweep.victim(pool.slots.warm_up, A, 3, NO_LIMITS)
        await trio.sleep(1)
        await pool.assert_full_size()


async def a_drain(sweep: Sweep) -> None:
    async with bench(max_connections=1) as pool, trio.open_nursery() as nursery:
        holder = await pool.hold(A)
        pool.slots.refuse("draining")
        nursery.start_soon(release_after, 0.05, sweep.other(holder.release))
        await sweep.victim(pool.slots.wait_quiet)
        with trio.fail_after(1):
            await pool.slots.wait_quiet()
        assert pool.open == 0


async def a_shutting(sweep: Sweep) -> None:
    """The victim waits when the pool is shut."""
    async with bench(max_connections=1) as pool, trio.open_nursery() as nursery:
        await pool.hold(A)
        shut = sweep.other(lambda: pool.slots.shut("closed"))
        nursery.start_soon(release_after, 0.05, shut)
        await sweep.victim(expect, PoolClosed, exchange, pool)
        await trio.sleep(0.07)
        assert pool.open == 0


WITH_ANOTHER_EVENT = [
    a_hand_over,
    a_connection_that_is_closed_while_somebody_waits,
    a_request_that_comes_again,
    a_stale_connection_at_which_two_look,
    idle_ones_closed_while_they_are_looked_at,
    a_hand_over_with_others_in_the_queue,
    an_eviction_on_return,
    a_pool_timeout,
    a_drain,
    a_shutting,
]

SCENARIOS = [
    *WITH_ANOTHER_EVENT,
    a_new_dial,
    a_reuse,
    a_reuse_that_is_unsure,
    an_unsure_connection_that_is_unfit,
    a_swap,
    a_swap_seen_from_the_older_one,
    an_eviction,
    an_orphan_that_gives_way,
    a_dial_that_fails,
    a_warm_up,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_no_cancellation_loses_a_slot(scenario: Callable[[Sweep], Awaitable[None]]) -> None:
    with_other = scenario in WITH_ANOTHER_EVENT
    assert sweep(scenario, with_other=with_other, name=f"slots: {scenario.__name__}") > 1


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_control_c_does_not_lose_a_slot_either(
    scenario: Callable[[Sweep], Awaitable[None]],
) -> None:
    assert sweep(scenario, with_signal=True, name=f"slots: {scenario.__name__}, control-C") > 1


@pytest.mark.parametrize("seed", range(4))
async def test_after_a_storm_of_cancellations_the_next_request_is_served_at_once(
    seed: int, autojump_clock: MockClock
) -> None:
    dice = random.Random(seed)
    async with bench(FakeDialler(delay=0.0173), max_connections=3) as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(1500):
                patience = dice.choice([0.01, 0.02, 0.05, 0.2]) * (1 + dice.random())
                nursery.start_soon(give_up_after, patience, pool, dice.random() * 0.04)
                await trio.sleep(dice.random() * 0.01)
        assert pool.dialler.peak <= 3
        await trio.sleep(0.02)
        await pool.settle()
        assert pool.slots.statistics().dialling == 0
        began = trio.current_time()
        await exchange(pool, 0)
        assert trio.current_time() - began <= pool.dialler.delay * 1.001
        await pool.assert_full_size()


async def give_up_after(patience: float, pool: Bench, seconds: float) -> None:
    with trio.move_on_after(patience):
        await exchange(pool, seconds)
