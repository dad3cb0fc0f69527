"""What happened to other pools, and each rule of the engine's essay, one sentence a test.

The numbers in the headings below are those of the rules, where there is one.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool._config import Timeouts
from triopool._errors import ConnectTimeout, PoolClosed, PoolFull, PoolTimeout
from triopool._facts import CloseReason, Condition, ConnectionInfo, Spent
from triopool._instruments.combine import SILENT
from triopool._origin import Origin
from triopool._pool_key import PoolKey
from triopool._slots.dials import ORPHAN_GRACE
from triopool._slots.invariants import check
from triopool._slots.lease import Lease
from triopool._slots.slot import State
from triopool._slots.sweeper import LOOKS_AT_ONCE, SWEEP_AT_LEAST, SWEEP_AT_MOST
from triopool.abc import Instrument

from .fakes import (
    HANG,
    NO_LIMITS,
    A,
    B,
    Bench,
    C,
    Caller,
    FakeConnection,
    FakeDialler,
    Refused,
    bench,
    discard_lease,
    key,
)


class Ends(Instrument):
    """When each connection was closed and why, and when each dial failed and how."""

    def __init__(self) -> None:
        self.closes: list[tuple[float, int, CloseReason]] = []
        self.failures: list[tuple[float, BaseException | None]] = []

    def closed(self, connection: ConnectionInfo, reason: CloseReason) -> None:
        self.closes.append((trio.current_time(), connection.id, reason))

    def dial_failed(self, origin: Origin, error: BaseException | None) -> None:
        self.failures.append((trio.current_time(), error))


class OpenAfterEachStep(trio.abc.Instrument):
    """How many connections were open after each step of any task."""

    def __init__(self, pool: Bench) -> None:
        self._pool = pool
        self._open = [pool.open]

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._open.append(self._pool.open)

    @property
    def most_closed_at_once(self) -> int:
        return max(before - after for before, after in itertools.pairwise(self._open))


async def exchange(pool: Bench, key: PoolKey, seconds: float) -> None:
    """Hold a connection for so long, as a request does; closed if it is cut short."""
    lease = await pool.slots.acquire(key, NO_LIMITS)
    try:
        await trio.sleep(seconds)
    except trio.Cancelled:
        discard_lease(lease)
        raise
    lease.end()


# ── Rule 1: reuse ──────────────────────────────────────────────────────────────────────────────


async def test_an_idle_connection_is_reused(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        first = await pool.hold(A)
        assert first.lease is not None
        assert not first.lease.reused
        first.release()
        second = await pool.ask(A)
        assert second.lease is not None
        assert second.lease.reused
        assert second.connection is first.connection
        assert pool.dialler.dialled == [A]


async def test_the_most_recently_used_connection_is_taken_first(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        one, two, three = await pool.idle(A, 3)
        callers = [await pool.ask(A) for _ in range(3)]
        assert [caller.connection for caller in callers] == [three, two, one]


class StepCounter(trio.abc.Instrument):
    """Counts what the scheduler does."""

    def __init__(self) -> None:
        self.steps = 0
        self.spawned = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.spawned += 1


async def test_the_reuse_path_makes_no_scope_no_task_no_limiter_call_and_no_checkpoint(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def count(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    async with bench(instrument=SILENT) as pool:
        await pool.idle(A)
        count(trio.CancelScope, "__enter__")
        count(trio, "open_memory_channel")
        for name, member in vars(trio.CapacityLimiter).items():
            if callable(member) and not name.startswith("_"):
                count(trio.CapacityLimiter, name)
        counter = StepCounter()
        trio.lowlevel.add_instrument(counter)
        try:
            lease = await pool.slots.acquire(A, Timeouts())
            lease.end()
        finally:
            trio.lowlevel.remove_instrument(counter)
        assert calls == []
        assert (counter.steps, counter.spawned) == (0, 0)
        # The counter of calls does count.
        pool.slots.close_idle()
        assert calls == ["release_on_behalf_of", "release_on_behalf_of"]


async def test_an_idle_connection_that_went_stale_is_closed_and_the_next_one_tried(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        older, newer = await pool.idle(A, 2)
        newer.looks = Condition.STALE
        caller = await pool.ask(A)
        assert caller.connection is older
        assert not newer.is_open
        assert pool.slots.statistics().stale == 1


async def test_a_connection_is_not_reused_once_idle_for_too_long(autojump_clock: MockClock) -> None:
    async with bench(idle_timeout=0.5) as pool:
        [connection] = await pool.idle(A)
        await trio.sleep(0.3)
        (await pool.ask(A)).release()
        await trio.sleep(0.51)
        assert connection.is_open, "the sweeper comes once a second"
        caller = await pool.hold(A)
        assert caller.connection is not connection
        assert not connection.is_open


async def test_the_peers_own_idle_limit_is_honoured(autojump_clock: MockClock) -> None:
    async with bench(idle_timeout=15) as pool:
        caller = await pool.hold(A)
        connection = caller.connection
        connection.idle_limit = 4.0
        caller.release()
        await trio.sleep(3.9)
        again = await pool.ask(A)
        assert again.connection is connection
        again.release()
        await trio.sleep(4.1)
        assert (await pool.hold(A)).connection is not connection


async def test_a_longer_limit_of_the_peer_does_not_extend_ours(autojump_clock: MockClock) -> None:
    async with bench(idle_timeout=2) as pool:
        caller = await pool.hold(A)
        caller.connection.idle_limit = 60.0
        caller.release()
        await trio.sleep(2.1)
        assert (await pool.hold(A)).connection is not caller.connection


async def test_busy_connections_do_not_shorten_the_life_of_idle_ones(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=60, idle_timeout=15) as pool:
        for _ in range(50):
            await pool.hold(A)
        idle = await pool.idle(B, 10)
        await trio.sleep(14)
        assert all(connection.is_open for connection in idle)


async def test_one_idle_connection_too_many_closes_the_least_recently_used(
    autojump_clock: MockClock,
) -> None:
    ends = Ends()
    async with bench(max_idle=2, instrument=ends) as pool:
        one, two = await pool.idle(A), await pool.idle(B)
        third = await pool.hold(C)
        # Busy ones don't count.
        assert all(connection.is_open for connection in one + two)
        third.release()
        assert not one[0].is_open
        assert two[0].is_open
        again = await pool.hold(B)  # Used again, it is not the least recently used any more.
        assert again.connection is two[0]
        again.release()
        await pool.idle(A)
        assert not third.connection.is_open
        assert [(number, reason.name) for _, number, reason in ends.closes] == [
            (1, "EVICTED"),
            (3, "EVICTED"),
        ]
        assert pool.slots.statistics().idle == 2


async def test_busy_connections_do_not_count_as_idle_ones(autojump_clock: MockClock) -> None:
    async with bench(max_connections=60, max_idle=1, idle_timeout=15) as pool:
        [idle] = await pool.idle(B)
        for _ in range(50):
            await pool.hold(A)
        await trio.sleep(9)
        assert idle.is_open


async def test_with_no_idle_connections_allowed_each_request_dials(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_idle=0) as pool:
        for _ in range(3):
            await pool.idle(A)
            assert pool.open == 0
        # That bounds idle connections only: one that a request waits for is still handed over.
        pool.slots.max_connections = 1
        first = await pool.hold(A)
        second = await pool.ask(A)
        first.release()
        await pool.settle()
        assert second.connection is first.connection
        second.release()
        # Warmed up for nothing, and no dial is tried again for it.
        await pool.slots.warm_up(A, 3, NO_LIMITS)
        assert pool.open == 0
        assert pool.dialler.dialled == [A] * 5
        await trio.sleep(120)  # The sweeper, woken for nothing, has nothing to look at.


async def test_a_dial_that_nobody_waits_for_any_more_keeps_to_the_bound(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_idle=1) as pool:
        [idle] = await pool.idle(B)
        caller = await pool.ask(A)
        caller.cancel()
        await trio.sleep(1)
        assert not idle.is_open
        assert pool.slots.statistics().idle == 1


async def test_a_connection_is_retired_after_so_many_requests(autojump_clock: MockClock) -> None:
    async with bench(max_requests_per_connection=3) as pool:
        ids = []
        for _ in range(7):
            caller = await pool.hold(A)
            ids.append(caller.connection.info.id)
            caller.release()
        assert ids == [1, 1, 1, 2, 2, 2, 3]
        assert pool.slots.statistics().expired == 2


# ── Connections that a glance can't judge ──────────────────────────────────────────────────────


async def test_an_unsure_connection_is_settled_and_reused_if_fit(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        [connection] = await pool.idle(A)
        connection.looks = Condition.UNSURE
        assert (await pool.ask(A)).connection is connection


async def test_an_unsure_connection_is_settled_and_closed_if_not_fit(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        [connection] = await pool.idle(A)
        connection.looks, connection.fit = Condition.UNSURE, False
        assert (await pool.hold(A)).connection is not connection
        assert not connection.is_open
        assert pool.slots.statistics().stale == 1


async def settling(pool: Bench) -> tuple[FakeConnection, Caller]:
    """A caller that is looking at an unsure connection."""
    [connection] = await pool.idle(A)
    connection.looks, connection.settle_when = Condition.UNSURE, trio.Event()
    return connection, await pool.ask(A)


async def test_nobody_else_gets_a_connection_while_it_is_settled(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        connection, caller = await settling(pool)
        other = await pool.hold(A)
        assert other.connection is not connection
        assert connection.settle_when is not None
        connection.settle_when.set()
        await pool.settle()
        assert caller.connection is connection


async def test_a_cancelled_settle_closes_the_connection(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        connection, caller = await settling(pool)
        caller.cancel()
        await pool.settle()
        assert not connection.is_open
        await pool.assert_full_size()


async def explode() -> bool:
    raise OSError("broken")


async def test_a_connection_whose_settle_raises_is_closed_and_the_request_goes_on(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(max_connections=1) as pool:
        [connection] = await pool.idle(A)
        connection.looks = Condition.UNSURE
        connection.settle = explode  # type: ignore[method-assign]
        caller = await pool.hold(A)
        assert caller.connection is not connection
        assert not connection.is_open
        assert "it is closed" in caplog.text
        caller.release()
        await pool.assert_full_size()


async def test_a_request_that_settles_while_the_pool_is_shut_is_told_so(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        connection, caller = await settling(pool)
        pool.slots.shut("closed for the night")
        assert not connection.is_open
        assert connection.settle_when is not None
        connection.settle_when.set()
        await pool.settle()
        assert isinstance(caller.error, PoolClosed)


def look_in_vain(pool: Bench, connection: FakeConnection) -> Callable[[], None]:
    """Make a glance at *connection* inconclusive; return what makes the look at it end badly."""
    connection.looks, connection.fit = Condition.UNSURE, False
    connection.settle_when = trio.Event()
    return connection.settle_when.set


async def test_a_request_that_looks_at_a_stale_connection_keeps_its_turn(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        [connection] = await pool.idle(A)
        look_ends = look_in_vain(pool, connection)
        first = await pool.ask(A)
        younger = [await pool.ask(A), await pool.ask(B), await pool.ask(A)]
        look_ends()
        await first.ended.wait()
        assert all(caller.waits for caller in younger)
        first.release()
        for caller in younger:
            await caller.ended.wait()
            caller.release()


async def test_a_request_that_looks_at_one_stale_connection_looks_at_the_next(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2) as pool:
        older, newer = await pool.idle(A, 2)
        look_ends = look_in_vain(pool, newer)
        caller = await pool.ask(A)
        look_ends()
        await caller.ended.wait()
        assert caller.connection is older
        assert not newer.is_open


async def test_a_request_that_looked_in_vain_is_not_refused(autojump_clock: MockClock) -> None:
    """It came when nobody waited; those who fill the line came since."""
    async with bench(max_connections=2, max_waiting=1) as pool:
        [connection] = await pool.idle(A)
        await pool.hold(B)
        look_ends = look_in_vain(pool, connection)
        caller = await pool.ask(A)
        waiting = await pool.ask(B)
        look_ends()
        await caller.ended.wait()
        assert caller.error is None
        assert waiting.waits


async def test_a_request_that_looks_in_vain_goes_on_while_the_pool_drains(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        [connection] = await pool.idle(A)
        look_ends = look_in_vain(pool, connection)
        caller = await pool.ask(A)
        pool.slots.refuse("draining")
        look_ends()
        await caller.ended.wait()
        caller.release()
        await pool.slots.wait_quiet()


async def test_one_request_closes_so_many_stale_connections_in_one_step_and_no_more(
    autojump_clock: MockClock,
) -> None:
    n = 3 * LOOKS_AT_ONCE + 7
    async with bench(max_connections=n) as pool:
        for connection in await pool.idle(A, n):
            connection.looks = Condition.STALE
        counter = OpenAfterEachStep(pool)
        trio.lowlevel.add_instrument(counter)
        caller = await pool.ask(A)
        trio.lowlevel.remove_instrument(counter)
        assert pool.open == 0
        assert counter.most_closed_at_once == LOOKS_AT_ONCE
        await caller.ended.wait()


async def test_a_request_that_closes_many_stale_connections_keeps_its_turn(
    autojump_clock: MockClock,
) -> None:
    n = LOOKS_AT_ONCE
    async with bench(max_connections=n) as pool, trio.open_nursery() as nursery:
        for connection in await pool.idle(A, n):
            connection.looks = Condition.STALE
        callers = [Caller(A, NO_LIMITS), *(Caller(B, NO_LIMITS) for _ in range(n))]
        nursery.start_soon(callers[0].run, pool.slots)
        # The others come while it lets them have their turn.
        while pool.open == n:
            await trio.lowlevel.checkpoint()
        for caller in callers[1:]:
            nursery.start_soon(caller.run, pool.slots)
        await callers[0].ended.wait()
        await pool.settle()
        assert [caller.waits for caller in callers].count(True) == 1
        assert not callers[0].waits
        for caller in callers:
            caller.cancel()


# ── Coming again ───────────────────────────────────────────────────────────────────────────────


async def test_a_request_whose_connection_was_stale_is_as_old_as_before(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2) as pool:
        holders = [await pool.hold(A), await pool.hold(A)]
        first, *younger = [await pool.ask(key) for key in (A, A, B, A)]
        holders[0].release()
        await first.ended.wait()
        first.come_again(closed=True)
        await pool.settle()  # Its slot was free for a moment: the oldest of those in line dials.
        holders[1].release()
        await first.ended.wait()
        assert first.connection is holders[1].connection
        assert all(caller.waits for caller in younger)
        for caller in (first, *younger):
            await caller.ended.wait()
            caller.release()


async def test_a_request_that_leaves_its_stale_connection_to_the_engine_has_its_slot(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        first, *younger = [await pool.ask(key) for key in (A, A, B)]
        holder.release()
        await first.ended.wait()
        stale = first.connection
        first.come_again(closed=False)
        await first.ended.wait()
        assert not stale.is_open
        assert pool.slots.statistics().stale == 1
        assert all(caller.waits for caller in younger)
        first.cancel()


async def test_a_fresh_connection_goes_to_an_older_request_that_has_no_dial_of_its_own(
    autojump_clock: MockClock,
) -> None:
    """The owner of that dial waits again; what it has waited for a slot before counts."""
    async with bench(max_connections=1) as pool:
        first = await pool.hold(A)
        began = trio.current_time()
        younger = await pool.ask(A, timeouts=Timeouts(pool=3))
        await trio.sleep(2)
        first.come_again(closed=True)
        await first.ended.wait()
        assert trio.current_time() == pytest.approx(began + 2 + pool.dialler.delay)
        assert younger.waits
        assert pool.slots.statistics().waiting == 1
        await younger.ended.wait()
        assert isinstance(younger.error, PoolTimeout)
        assert trio.current_time() == pytest.approx(began + 3 + pool.dialler.delay)
        first.release()


async def test_a_request_that_comes_again_has_what_is_left_of_its_pool_timeout(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        caller = await pool.ask(A, timeouts=Timeouts(pool=5))
        other = await pool.ask(B)
        await trio.sleep(3)
        holder.release()
        await trio.sleep(100)  # What it does with its connection is not waiting.
        pool.dialler.script(B, HANG)
        began = trio.current_time()
        caller.come_again(closed=True)
        await caller.ended.wait()
        assert isinstance(caller.error, PoolTimeout)
        assert trio.current_time() == pytest.approx(began + 2)
        other.cancel()


async def test_a_request_that_comes_again_is_not_refused(autojump_clock: MockClock) -> None:
    async with bench(max_connections=2, max_waiting=1) as pool:
        caller, holder = await pool.hold(A), await pool.hold(A)
        waiting = await pool.ask(B)
        pool.slots.max_connections = 1
        caller.come_again(closed=True)
        await pool.settle()
        assert pool.slots.statistics().waiting == 2
        holder.release()
        for one in (caller, waiting):
            await one.ended.wait()
            one.release()


async def test_requests_that_come_again_keep_the_order_in_which_they_came_first(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=4) as pool:
        callers = [await pool.hold(A) for _ in range(4)]
        others = [await pool.ask(A) for _ in range(8)]
        for i in (2, 0, 3, 1):
            callers[i].come_again(closed=True)
        await pool.settle()
        served: list[Caller] = []
        while len(served) < 12:
            await trio.sleep(pool.dialler.delay)
            await pool.settle()
            for caller in (*callers, *others):
                if not caller.waits and caller not in served:
                    served.append(caller)
                    caller.release()
        assert served == [*callers, *others]


async def test_a_request_that_comes_again_while_the_pool_drains_is_served(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        caller = await pool.hold(A)
        pool.slots.refuse("draining")
        caller.come_again(closed=False)
        await caller.ended.wait()
        caller.release()
        await pool.slots.wait_quiet()


async def test_a_request_that_comes_again_to_a_pool_that_was_shut_is_told_so(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        caller = await pool.hold(A)
        pool.slots.shut("closed")
        caller.come_again(closed=False)
        await caller.ended.wait()
        assert isinstance(caller.error, PoolClosed)


async def test_the_line_does_not_grow_with_requests_that_come_again(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=3) as pool:
        callers = [await pool.hold(A) for _ in range(3)]
        waiting = [await pool.ask(B) for _ in range(3)]
        for _ in range(200):
            for caller in callers:
                caller.come_again(closed=False)
                await pool.settle()
            await trio.sleep(1)
            await pool.settle()
        assert len(pool.line) <= 20
        for caller in (*callers, *waiting):
            caller.cancel()


# ── Rules 2 and 3: waiting, and hand-over ──────────────────────────────────────────────────────


async def test_a_returned_connection_overtakes_a_dial_and_the_dial_becomes_idle(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        pool.dialler.script(A, 0.1, 1.0)
        first = await pool.hold(A)
        second = await pool.ask(A)
        first.release()
        await pool.settle()
        assert second.connection is first.connection
        assert second.lease is not None
        assert second.lease.reused
        await trio.sleep(1.1)
        statistics = pool.slots.statistics()
        assert (statistics.busy, statistics.idle, statistics.dialled) == (1, 1, 2)


async def test_a_dial_overtakes_a_connection_that_is_not_returned(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        first = await pool.hold(A)
        second = await pool.hold(A)
        assert second.connection is not first.connection
        assert second.ended_at == pytest.approx(0.2)


async def test_requests_of_an_origin_are_served_first_come_first_served(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        callers = [await pool.ask(A) for _ in range(5)]
        for caller in callers:
            holder.release()
            await pool.settle()
            assert caller.connection is holder.connection
            holder = caller
        assert pool.dialler.dialled == [A]


async def test_a_newcomer_queues_behind_a_waiter_that_was_served_but_did_not_run_yet(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        waiter = await pool.ask(A)
        holder.release()
        # No checkpoint since: the waiter did not run.
        with trio.move_on_after(1) as newcomer:
            await pool.slots.acquire(A, NO_LIMITS)
        assert newcomer.cancelled_caught
        assert waiter.connection is holder.connection


async def test_a_waiter_cancelled_in_the_tick_before_the_hand_over_is_skipped(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder, dead, next_one = await pool.hold(A), await pool.ask(A), await pool.ask(A)
        dead.cancel()
        holder.release()
        await pool.settle()
        assert dead.cancelled
        assert dead.lease is None
        assert next_one.connection is holder.connection


async def test_a_waiter_cancelled_in_the_tick_after_the_hand_over_has_its_connection(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder, dead, next_one = await pool.hold(A), await pool.ask(A), await pool.ask(A)
        holder.release()
        dead.cancel()
        await pool.settle()
        assert dead.connection is holder.connection
        assert not dead.connection.is_open, "its holder was cancelled, and closed it"
        await trio.sleep(pool.dialler.delay)
        await pool.settle()
        assert not next_one.waits


async def test_a_connection_is_not_closed_for_an_older_waiter_that_is_dead(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder, dead, waiter = await pool.hold(A), await pool.ask(B), await pool.ask(A)
        dead.cancel()
        holder.release()
        await pool.settle()
        assert waiter.connection is holder.connection


async def test_all_dead_waiters_are_skipped(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        dead = [await pool.ask(A) for _ in range(5)]
        for caller in dead:
            caller.cancel()
        holder.release()
        assert pool.slots.statistics().idle == 1
        await pool.settle()


async def test_a_dead_owner_is_skipped_when_its_dial_succeeds(autojump_clock: MockClock) -> None:
    class CancelsTheFirst(FakeDialler):
        async def __call__(self, key: PoolKey, notes: list[str]) -> FakeConnection:
            connection = await super().__call__(key, notes)
            callers.pop(0).cancel()
            return connection

    async with bench(CancelsTheFirst(), max_connections=1) as pool:
        callers: list[Caller] = []
        first, second = await pool.ask(A), await pool.ask(A)
        callers.append(first)
        await trio.sleep(0.1)
        await pool.settle()
        assert first.lease is None
        assert second.ended_at == pytest.approx(0.1)


async def test_a_dead_waiter_is_not_told_of_its_failed_dial(autojump_clock: MockClock) -> None:
    class CancelsThenFails(FakeDialler):
        async def __call__(self, key: PoolKey, notes: list[str]) -> FakeConnection:
            await super().__call__(key, notes)
            caller.cancel()
            [connection] = self.open
            connection.close()
            raise OSError("refused")

    async with bench(CancelsThenFails()) as pool:
        caller = await pool.ask(A)
        await trio.sleep(0.2)
        await pool.settle()
        assert caller.cancelled
        assert caller.error is None


async def test_fifty_timed_out_clients_leave_all_slots_free(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        async with trio.open_nursery() as nursery:
            for i in range(50):
                scope = trio.CancelScope(deadline=trio.current_time() + 0.05 + i * 0.013)
                nursery.start_soon(until, scope, partial(exchange, pool, A, math.inf))
        await trio.sleep(pool.dialler.delay)
        await pool.assert_full_size()


async def until(scope: trio.CancelScope, action: Callable[[], Any]) -> None:
    with scope:
        await action()


async def test_nothing_is_dialled_for_a_request_that_was_cancelled_before_it_began(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        with trio.CancelScope() as scope:
            scope.cancel()
            await pool.slots.acquire(A, NO_LIMITS)
        assert scope.cancelled_caught
        await pool.settle()
        assert pool.dialler.dialled == []


async def test_after_a_hundred_cancelled_requests_the_next_hundred_run_at_full_concurrency(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=10) as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(exchange, pool, A, math.inf)
            await trio.sleep(0.15)
            nursery.cancel_scope.cancel()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(exchange, pool, A, 1.0)
        assert trio.current_time() - began == pytest.approx(0.1 + 10 * 1.0)


async def test_callers_cancelled_while_they_are_assigned_a_connection_leave_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    class CancelsAnOwner(FakeDialler):
        async def __call__(self, key: PoolKey, notes: list[str]) -> FakeConnection:
            connection = await super().__call__(key, notes)
            if callers:
                callers.pop(0).cancel()
            return connection

    async with bench(CancelsAnOwner(), max_connections=10) as pool:
        callers: list[Caller] = []
        callers += [await pool.ask(A) for _ in range(20)]
        for caller in tuple(callers[15:]):
            caller.cancel()
        await trio.sleep(0.1 + ORPHAN_GRACE)
        for caller in callers:
            caller.cancel()
        await pool.settle()
        assert pool.slots.statistics().dialling == 0
        await pool.assert_full_size()


async def test_a_returned_connection_is_closed_for_an_older_request_to_another_origin(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2) as pool:
        one, two = await pool.hold(A), await pool.hold(A)
        older = await pool.ask(B)
        younger = await pool.ask(A)
        one.release()
        await older.ended.wait()
        assert older.ended_at == pytest.approx(0.2 + 0.1)
        assert not one.connection.is_open
        assert younger.waits
        two.release()
        await pool.settle()
        assert younger.connection is two.connection


async def test_a_returned_connection_is_kept_for_the_older_request_to_its_own_origin(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        older, younger = await pool.ask(A), await pool.ask(B)
        holder.release()
        await pool.settle()
        assert older.connection is holder.connection
        assert younger.waits


async def test_a_returned_connection_nobody_waits_for_is_closed_for_another_origin(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        other = await pool.ask(B)
        holder.release()
        await trio.sleep(pool.dialler.delay)
        await pool.settle()
        assert not other.waits
        assert pool.slots.statistics().evicted == 1


async def test_the_least_recently_used_idle_connection_is_evicted_before_waiting(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2) as pool:
        oldest, newest = await pool.idle(A, 2)
        caller = await pool.ask(B)
        assert not oldest.is_open
        assert newest.is_open
        await trio.sleep(pool.dialler.delay)
        await pool.settle()
        assert not caller.waits
        assert pool.dialler.peak == 2


async def test_idle_connections_are_evicted_in_the_order_of_their_last_use_across_origins(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=3) as pool:
        callers = [await pool.hold(A), await pool.hold(B), await pool.hold(A)]
        for caller in callers:
            caller.release()
        await pool.ask(C)
        assert [caller.connection.is_open for caller in callers] == [False, True, True]
        await pool.ask(C)
        assert [caller.connection.is_open for caller in callers] == [False, False, True]


async def test_an_origin_at_its_own_bound_does_not_hold_up_another_one(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2, max_connections_per_origin=1) as pool:
        holder = await pool.hold(A)
        older = await pool.ask(A)
        other = await pool.hold(B)
        assert older.waits
        holder.release()
        await pool.settle()
        assert older.connection is holder.connection
        assert not other.waits


async def test_a_waiter_of_an_origin_at_its_own_bound_dials_when_a_connection_is_closed(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2, max_connections_per_origin=1) as pool:
        holder, waiter = await pool.hold(A), await pool.ask(A)
        # Somebody looks for the next in line while the origin has no room.
        (await pool.hold(B)).release()
        holder.discard()
        await waiter.ended.wait()
        assert waiter.ended_at == pytest.approx(0.3)


async def test_the_bound_per_origin_is_never_exceeded(autojump_clock: MockClock) -> None:
    async with bench(max_connections=10, max_connections_per_origin=2) as pool:
        callers = [await pool.ask(A) for _ in range(5)]
        await trio.sleep(0.2)
        assert [caller.waits for caller in callers] == [False, False, True, True, True]
        assert pool.dialler.peak == 2


async def test_slots_go_round_by_age_across_origins(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(C)
        callers = [await pool.ask(name) for name in (A, B, A, C, B)]
        for caller in callers:
            holder.release()
            await caller.ended.wait()
            holder = caller
        assert [caller.ended_at for caller in callers] == sorted(c.ended_at for c in callers)


async def test_a_crawler_whose_requests_start_more_opens_no_more_than_its_bound(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2) as pool:
        left = list(range(48))

        async def crawl(nursery: trio.Nursery) -> None:
            lease = await pool.slots.acquire(A, NO_LIMITS)
            await trio.sleep(0.01)
            for _ in range(3):
                if left:
                    left.pop()
                    nursery.start_soon(crawl, nursery)
            lease.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crawl, nursery)
            nursery.start_soon(crawl, nursery)
        assert pool.dialler.dialled == [A, A]
        statistics = pool.slots.statistics()
        assert statistics.reused + statistics.handed_over == 50


# ── Rule 4: swapped and orphaned dials ─────────────────────────────────────────────────────────


async def test_a_fresh_connection_goes_to_the_oldest_and_the_owner_inherits_its_dial(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        pool.dialler.script(A, 0.5, 0.1)
        older, younger = await pool.ask(A), await pool.ask(A)
        await trio.sleep(1)
        assert older.ended_at == pytest.approx(0.1)
        assert younger.ended_at == pytest.approx(0.5)
        assert pool.dialler.dialled == [A, A]


async def test_an_inherited_dial_that_fails_is_told_to_its_new_owner(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        pool.dialler.script(A, Refused(after=0.5), 0.1)
        older, younger = await pool.ask(A), await pool.ask(A)
        await trio.sleep(1)
        assert older.lease is not None
        assert isinstance(younger.error, Refused)
        assert younger.ended_at == pytest.approx(0.5)


async def test_a_connection_owned_by_a_younger_request_is_not_closed_for_another_origin(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2) as pool:
        pool.dialler.script(A, 0.5, 0.1)
        older, younger, other = await pool.ask(A), await pool.ask(A), await pool.ask(B)
        await trio.sleep(0.6)
        assert older.ended_at == pytest.approx(0.1)
        assert younger.ended_at == pytest.approx(0.5)
        assert other.waits


async def test_a_swap_does_not_cost_a_request_the_time_it_had(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        pool.dialler.script(A, 8.8, 0.5)
        older = await pool.ask(A, timeouts=Timeouts(connect=10))
        await trio.sleep(8)
        younger = await pool.ask(A, timeouts=Timeouts(connect=1))
        await trio.sleep(1.1)
        assert older.ended_at == pytest.approx(8.5)
        assert younger.error is None
        assert younger.ended_at == pytest.approx(8.8)


async def test_an_inherited_dial_may_take_as_long_as_its_owner_had(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        pool.dialler.script(A, 12.0, 0.5)
        older = await pool.ask(A, timeouts=Timeouts(connect=10))
        await trio.sleep(8)
        younger = await pool.ask(A, timeouts=Timeouts(connect=10))
        await younger.ended.wait()
        assert older.ended_at == pytest.approx(8.5)
        assert younger.ended_at == pytest.approx(12.0)
        assert younger.error is None


class Computing(FakeDialler):
    """Computes for a second, in the last step of each dial to A that succeeds."""

    def __init__(self, clock: MockClock) -> None:
        super().__init__()
        self._clock = clock

    async def __call__(self, key: PoolKey, notes: list[str]) -> FakeConnection:
        connection = await super().__call__(key, notes)
        if key == A:
            self._clock.jump(1)
        return connection


async def test_a_dial_whose_time_is_over_is_not_inherited(mock_clock: MockClock) -> None:
    """The younger request's dial succeeds in the step in which the older one's time ends."""
    mock_clock.autojump_threshold = 0
    async with bench(Computing(mock_clock), max_connections=2) as pool:
        pool.dialler.script(A, HANG, 0.5)
        older = await pool.ask(A, timeouts=Timeouts(connect=1))
        younger = await pool.ask(A, timeouts=Timeouts(connect=10))
        await younger.ended.wait()
        assert younger.connection.is_open
        await older.ended.wait()
        assert isinstance(older.error, ConnectTimeout)
        assert older.error.seconds == 1


async def test_a_request_whose_time_ends_as_its_dial_succeeds_has_its_connection(
    mock_clock: MockClock,
) -> None:
    """In a swap it would have no time left for the dial that it inherits."""
    mock_clock.autojump_threshold = 0
    async with bench(Computing(mock_clock), max_connections=2) as pool:
        pool.dialler.script(A, 5, 0.5)
        older = await pool.ask(A, timeouts=Timeouts(connect=10))
        younger = await pool.ask(A, timeouts=Timeouts(connect=1))
        await younger.ended.wait()
        assert younger.connection.info.id == 1
        await older.ended.wait()
        assert older.connection.info.id == 2


async def test_a_request_whose_dial_is_over_can_still_be_handed_what_comes_back(
    mock_clock: MockClock,
) -> None:
    mock_clock.autojump_threshold = 0
    async with bench(max_connections=2) as pool:
        holder = await pool.hold(A)
        pool.dialler.script(A, HANG)
        caller = await pool.ask(A, timeouts=Timeouts(connect=1))
        mock_clock.jump(2)
        holder.release()
        await caller.ended.wait()
        assert caller.connection is holder.connection


async def test_a_fresh_connection_passes_by_a_dial_that_is_over_to_the_next_in_age(
    mock_clock: MockClock,
) -> None:
    mock_clock.autojump_threshold = 0
    async with bench(Computing(mock_clock), max_connections=3) as pool:
        pool.dialler.script(A, HANG, HANG, 0.5)
        first = await pool.ask(A, timeouts=Timeouts(connect=1))
        second = await pool.ask(A, timeouts=Timeouts(connect=4))
        third = await pool.ask(A, timeouts=Timeouts(connect=10))
        await trio.sleep(50)
        assert isinstance(first.error, ConnectTimeout)
        assert second.lease is not None
        assert isinstance(third.error, ConnectTimeout)
        assert third.error.seconds == third.ended_at == 10


async def test_a_fresh_connection_goes_to_an_older_request_also_past_a_dial_that_is_over(
    mock_clock: MockClock,
) -> None:
    mock_clock.autojump_threshold = 0
    async with bench(Computing(mock_clock), max_connections=3) as pool:
        pool.dialler.script(A, 0.1, HANG, 0.5)
        first = await pool.hold(A)
        second = await pool.ask(A, timeouts=Timeouts(connect=1))
        third = await pool.ask(A, timeouts=Timeouts(connect=10))
        pool.slots.max_connections = 2
        first.come_again(closed=True)
        await pool.settle()
        assert pool.slots.statistics().waiting == 1
        await first.ended.wait()
        assert first.connection.info.id == 2
        assert third.waits
        await third.ended.wait()
        assert third.connection.info.id == 3
        assert isinstance(second.error, ConnectTimeout)


async def test_an_inherited_dial_that_is_too_slow_fails_when_its_owners_own_would_have(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        pool.dialler.script(A, HANG, 0.5)
        await pool.ask(A, timeouts=Timeouts(connect=10))
        await trio.sleep(8)
        younger = await pool.ask(A, timeouts=Timeouts(connect=4))
        await younger.ended.wait()
        assert younger.ended_at == pytest.approx(12.0)
        assert isinstance(younger.error, ConnectTimeout)
        assert younger.error.seconds == 4


async def test_a_handshake_longer_than_its_callers_patience_serves_the_next_one(
    autojump_clock: MockClock,
) -> None:
    async with bench(FakeDialler(delay=0.3)) as pool:
        served = []
        for _ in range(3):
            with trio.move_on_after(0.2):
                await exchange(pool, A, 0)
                served.append(trio.current_time())
        assert served == [pytest.approx(0.3)] * 2
        assert len(pool.dialler.dialled) == 2


async def test_a_dial_without_an_owner_goes_on_for_five_seconds_exactly(
    autojump_clock: MockClock,
) -> None:
    ends = Ends()
    async with bench(FakeDialler(HANG), instrument=ends) as pool:
        caller = await pool.ask(A)
        await trio.sleep(1)
        caller.cancel()
        await trio.sleep(10)
        [(time, error)] = ends.failures
        assert time == pytest.approx(1 + 5)
        assert error is None


async def test_the_grace_does_not_extend_a_dials_own_limit(autojump_clock: MockClock) -> None:
    ends = Ends()
    async with bench(FakeDialler(HANG), instrument=ends) as pool:
        caller = await pool.ask(A, timeouts=Timeouts(connect=2))
        await trio.sleep(1)
        caller.cancel()
        await trio.sleep(10)
        [(time, error)] = ends.failures
        assert time == pytest.approx(2)
        assert error is None


async def test_a_dial_without_an_owner_gives_way_to_another_origin_at_once(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        pool.dialler.script(A, HANG)
        orphaning = await pool.ask(A)
        orphaning.cancel()
        await trio.sleep(0.5)
        other = await pool.ask(B)
        await trio.sleep(1)
        assert other.ended_at == pytest.approx(0.5 + 0.1)


async def test_only_as_many_dials_give_way_as_slots_are_wanted(autojump_clock: MockClock) -> None:
    async with bench(max_connections=3) as pool:
        pool.dialler.script(A, HANG, HANG, HANG)
        orphaning = [await pool.ask(A) for _ in range(3)]
        for caller in orphaning:
            caller.cancel()
        await trio.sleep(0.5)
        others = [await pool.ask(B), await pool.ask(C)]
        await trio.sleep(0.1)
        await pool.settle()
        assert [caller.waits for caller in others] == [False, False]
        assert pool.slots.statistics().dialling == 1


async def test_a_dial_that_is_slow_to_give_way_is_called_off_only_once(
    autojump_clock: MockClock,
) -> None:
    async with bench(FakeDialler(delay=1.0), max_connections=2) as pool:
        pool.dialler.deaf.add(A)
        for caller in [await pool.ask(A), await pool.ask(A)]:
            caller.cancel()
        await pool.settle()
        others = [await pool.ask(B), await pool.ask(B)]
        await trio.sleep(0.5)
        check(pool.slots)
        assert [caller.waits for caller in others] == [True, True]
        await trio.sleep(2.0)
        await pool.settle()
        assert [caller.waits for caller in others] == [False, False]


async def test_a_dial_without_an_owner_does_not_give_way_to_its_own_origin(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        pool.dialler.script(A, 3.0)
        (await pool.ask(A)).cancel()
        await trio.sleep(0.5)
        heir = await pool.ask(A)
        await trio.sleep(3)
        assert heir.ended_at == pytest.approx(3.0)
        assert pool.dialler.dialled == [A]


async def test_a_black_holed_origin_has_a_bounded_number_of_dials_and_starves_nobody(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=4) as pool:
        pool.dialler.script(A, *[HANG] * 1000)
        async with trio.open_nursery() as nursery:
            for i in range(40):
                deadline = trio.current_time() + 0.2 + i * 0.001
                nursery.start_soon(
                    until, trio.CancelScope(deadline=deadline), partial(exchange, pool, A, 0)
                )
                await trio.sleep(0.03)
        assert pool.dialler.peak == 4
        began = trio.current_time()
        other = await pool.hold(B)
        assert other.ended_at - began == pytest.approx(0.1)


# ── Rule 5: failed dials ───────────────────────────────────────────────────────────────────────


async def test_a_dial_error_is_told_to_its_owner_and_to_nobody_else(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2) as pool:
        pool.dialler.script(A, Refused(after=0.2), 0.5, 0.1)
        first, second, third = [await pool.ask(A) for _ in range(3)]
        await trio.sleep(1)
        assert isinstance(first.error, Refused)
        assert first.ended_at == pytest.approx(0.2)
        # The third one's dial began when the first one's failed; the second, older, got it.
        assert second.ended_at == pytest.approx(0.3)
        assert third.ended_at == pytest.approx(0.5)


async def test_a_dial_error_is_not_told_to_an_older_request(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        pool.dialler.script(A, 0.5, Refused(after=0.2))
        older, younger = await pool.ask(A), await pool.ask(A)
        await older.ended.wait()
        assert older.error is None
        assert older.ended_at == pytest.approx(0.5)
        assert isinstance(younger.error, Refused)


async def test_the_failure_of_a_dial_without_an_owner_fails_nobody(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        pool.dialler.script(A, Refused(after=0.3), 0.1)
        (await pool.ask(A)).cancel()
        heir = await pool.ask(A)
        await trio.sleep(1)
        assert heir.error is None
        assert heir.ended_at == pytest.approx(0.3 + 0.1)


async def test_every_caller_of_a_host_that_refuses_gets_its_own_attempt_and_error(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2) as pool:
        pool.dialler.script(A, *[Refused(after=0.1 + i * 0.01) for i in range(7)])
        callers = [await pool.ask(A) for _ in range(7)]
        await trio.sleep(2)
        assert all(isinstance(caller.error, Refused) for caller in callers)
        assert len({id(caller.error) for caller in callers}) == 7
        assert len(pool.dialler.dialled) == 7
        assert pool.dialler.peak == 2


async def test_any_exception_of_the_dialler_reaches_its_owner_as_itself(
    autojump_clock: MockClock,
) -> None:
    error = ZeroDivisionError("in a socket factory")
    async with bench(max_connections=1) as pool:
        pool.dialler.script(A, error)
        caller = await pool.ask(A)
        assert caller.error is error
        await pool.assert_full_size()


# ── Limits ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_pool_timeout_comes_exactly_on_time_and_says_how_things_are(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2, max_connections_per_origin=1) as pool:
        await pool.hold(A)
        await trio.sleep(1)
        caller = await pool.ask(A, timeouts=Timeouts(pool=2.5))
        await pool.ask(A)
        await trio.sleep(5)
        assert caller.ended_at == pytest.approx(0.1 + 1 + 2.5)
        assert isinstance(caller.error, PoolTimeout)
        assert (caller.error.origin, caller.error.phase) == (A.origin, "pool")
        assert caller.error.seconds == 2.5
        assert str(caller.error) == (
            "no connection to http://a.test:80 became free within 2.5 s: "
            "1 are open to it, 1 of 2 in the pool, and 1 other requests wait"
        )


async def test_a_request_with_a_dial_of_its_own_is_not_subject_to_the_pool_timeout(
    autojump_clock: MockClock,
) -> None:
    async with bench(FakeDialler(3.0)) as pool:
        caller = await pool.ask(A, timeouts=Timeouts(pool=1))
        await trio.sleep(4)
        assert caller.ended_at == pytest.approx(3.0)


async def test_the_pool_timeout_is_lifted_when_a_waiting_request_gets_its_dial(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        pool.dialler.script(A, 0.1, 3.0)
        holder = await pool.hold(A)
        caller = await pool.ask(A, timeouts=Timeouts(pool=1))
        await trio.sleep(0.5)
        holder.discard()
        await trio.sleep(4)
        assert caller.ended_at == pytest.approx(0.1 + 0.5 + 3.0)


async def test_a_connect_timeout_comes_exactly_on_time_and_says_what_was_tried(
    autojump_clock: MockClock,
) -> None:
    async with bench(FakeDialler(HANG), max_connections=1) as pool:
        first = await pool.ask(A, timeouts=Timeouts(connect=2))
        second = await pool.ask(A, timeouts=Timeouts(connect=3))
        await trio.sleep(10)
        assert first.ended_at == pytest.approx(2)
        assert second.ended_at == pytest.approx(2 + 3), "it counts from the moment of the slot"
        assert isinstance(first.error, ConnectTimeout)
        assert (first.error.origin, first.error.phase) == (A.origin, "connect")
        assert first.error.seconds == 2
        assert str(first.error) == "no connection to http://a.test:80 within 2 s: connecting"


async def test_a_connect_timeout_before_anything_was_tried_says_so(
    autojump_clock: MockClock,
) -> None:
    class Hangs(FakeDialler):
        async def __call__(self, key: PoolKey, notes: list[str]) -> FakeConnection:
            await trio.sleep_forever()
            raise AssertionError

    async with bench(Hangs()) as pool:
        caller = await pool.ask(A, timeouts=Timeouts(connect=1))
        await trio.sleep(2)
        assert "nothing had been tried yet" in str(caller.error)


async def test_no_more_than_max_waiting_requests_wait(autojump_clock: MockClock) -> None:
    async with bench(max_connections=2, max_waiting=2) as pool:
        dialling = [await pool.ask(A), await pool.ask(A)]
        waiting = [await pool.ask(A), await pool.ask(B)]
        refused = await pool.ask(B)
        assert isinstance(refused.error, PoolFull)
        assert refused.ended_at == trio.current_time() == 0
        assert all(caller.waits for caller in dialling + waiting)
        waiting[0].cancel()
        await pool.settle()
        assert (await pool.ask(B)).waits, "one place in the queue is free again"


async def test_nobody_may_wait_if_max_waiting_is_zero(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1, max_waiting=0) as pool:
        holder = await pool.hold(A)
        assert isinstance((await pool.ask(A)).error, PoolFull)
        holder.release()
        assert (await pool.ask(A)).connection is holder.connection


async def test_a_request_that_is_refused_calls_off_no_dial(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1, max_waiting=0) as pool:
        pool.dialler.script(A, 1.0)
        (await pool.ask(A)).cancel()
        await pool.settle()
        refused = await pool.ask(B)
        assert isinstance(refused.error, PoolFull)
        assert pool.slots.statistics().dialling == 1


# ── Lifetimes, and the sweeper ─────────────────────────────────────────────────────────────────


async def test_lifetimes_end_within_their_last_tenth_and_not_all_together(
    autojump_clock: MockClock,
) -> None:
    ends = Ends()
    async with bench(max_lifetime=100, idle_timeout=None, instrument=ends) as pool:
        await pool.idle(A, 20)
        await trio.sleep(120)
        assert len(ends.closes) == 20
        assert {reason for _, _, reason in ends.closes} == {CloseReason.EXPIRED}
        times = [time for time, _, _ in ends.closes]
        assert min(times) >= 90
        assert max(times) <= 100 + 20 * 0.1 + SWEEP_AT_LEAST
        assert max(times) - min(times) > 2


async def test_a_connection_passed_from_waiter_to_waiter_still_ends_with_its_lifetime(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1, max_lifetime=10) as pool:
        holder = await pool.hold(A)
        first = holder.connection
        waiting = await pool.ask(A)
        while holder.connection is first:
            assert trio.current_time() < 10.2
            await trio.sleep(0.35)
            holder.release()
            await trio.sleep(pool.dialler.delay * 1.1)
            holder, waiting = waiting, await pool.ask(A)
        assert trio.current_time() > 9.0
        assert not first.is_open
        assert pool.slots.statistics().expired == 1


async def test_the_sweeper_closes_an_idle_connection_when_it_is_due(
    autojump_clock: MockClock,
) -> None:
    ends = Ends()
    async with bench(idle_timeout=3.3, instrument=ends) as pool:
        await pool.idle(A)
        await trio.sleep(10)
        [(time, _, reason)] = ends.closes
        assert time == pytest.approx(0.1 + 3.3)
        assert reason is CloseReason.EXPIRED


async def test_sweeps_are_at_least_a_second_apart(autojump_clock: MockClock) -> None:
    ends = Ends()
    async with bench(idle_timeout=0.2, instrument=ends) as pool:
        await pool.idle(A)
        await trio.sleep(0.7)
        await pool.hold(B)
        await pool.idle(B)
        await trio.sleep(3)
        times = [time for time, _, _ in ends.closes]
        assert times == [pytest.approx(1.1), pytest.approx(2.1)]


async def test_the_sweeper_finds_a_connection_closed_by_its_peer_within_five_seconds(
    autojump_clock: MockClock,
) -> None:
    ends = Ends()
    async with bench(idle_timeout=None, max_lifetime=None, instrument=ends) as pool:
        one, two = await pool.idle(A, 2)
        one.looks = Condition.STALE
        await trio.sleep(5.1)
        [(time, number, reason)] = ends.closes
        assert time == pytest.approx(0.2 + 5)
        assert (number, reason) == (one.info.id, CloseReason.STALE)
        await trio.sleep(20)
        assert two.is_open


async def test_the_sweeper_settles_what_it_is_not_sure_of(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        fit, unfit = await pool.idle(A, 2)
        fit.looks = unfit.looks = Condition.UNSURE
        unfit.fit = False
        await trio.sleep(6)
        assert fit.is_open
        assert fit.looks is Condition.FRESH
        assert not unfit.is_open
        assert pool.slots.statistics().stale == 1
        assert (await pool.ask(A)).connection is fit


async def sweeping(pool: Bench, n: int = 1) -> list[FakeConnection]:
    """*n* idle connections, the first of which the sweeper is settling just now."""
    connections = await pool.idle(A, n)
    for connection in connections:
        connection.looks = Condition.UNSURE
    connections[0].settle_when = trio.Event()
    await trio.sleep(5.5)
    assert pool.slots.statistics().busy == 1
    return connections


def settled(connection: FakeConnection) -> None:
    assert connection.settle_when is not None
    connection.settle_when.set()


async def test_a_connection_that_the_sweeper_settled_goes_to_the_request_that_came_meanwhile(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        [connection] = await sweeping(pool)
        caller = await pool.ask(A)
        assert caller.waits
        settled(connection)
        await pool.settle()
        assert caller.connection is connection


async def test_a_warm_connection_that_the_sweeper_settled_counts_as_reused(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        await pool.slots.warm_up(A, 1, NO_LIMITS)
        [connection] = pool.dialler.open
        connection.looks, connection.settle_when = Condition.UNSURE, trio.Event()
        await trio.sleep(6)
        caller = await pool.ask(A)
        settled(connection)
        await pool.settle()
        assert caller.lease is not None
        assert caller.lease.connection is connection
        assert caller.lease.reused, "it was idle for seconds, so it may be stale"


async def test_a_connection_retired_while_the_sweeper_settles_it_is_not_used_again(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        [connection] = await sweeping(pool)
        pool.slots.retire(lambda _: True)
        settled(connection)
        await pool.settle()
        assert not connection.is_open


async def test_the_sweeper_leaves_alone_what_was_taken_meanwhile(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        first, second = await sweeping(pool, 2)
        caller = await pool.ask(A)
        assert caller.connection is second
        settled(first)
        await pool.settle()
        assert caller.connection.is_open
        assert pool.slots.statistics().idle == 1


async def test_a_connection_whose_settle_raises_does_not_take_the_sweeper_with_it(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        [connection] = await pool.idle(A)
        connection.looks = Condition.UNSURE
        connection.settle = explode  # type: ignore[method-assign]
        await trio.sleep(6)
        assert not connection.is_open


async def test_the_sweeper_survives_the_pool_being_shut_while_it_settles(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        [connection] = await sweeping(pool)
        pool.slots.shut("closed")
        settled(connection)
        await pool.settle()
        assert pool.slots.statistics().open == 0


async def test_being_settled_is_not_being_used(autojump_clock: MockClock) -> None:
    async with bench(max_connections=2) as pool:
        older, newer = await pool.idle(A, 2)
        older.looks = Condition.UNSURE
        await trio.sleep(6)
        await pool.ask(B)
        assert [older.is_open, newer.is_open] == [False, True]


# ── Flat cost ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["close idle", "close idle of it", "retire", "refuse"])
async def test_a_connection_that_the_sweeper_settles_is_closed_as_the_idle_ones_are(
    how: str, autojump_clock: MockClock
) -> None:
    ends = Ends()
    async with bench(instrument=ends) as pool:
        [connection] = await pool.idle(A)
        await pool.idle(B)
        connection.looks, connection.settle_when = Condition.UNSURE, trio.Event()
        await trio.sleep(SWEEP_AT_MOST)
        assert pool.slots.statistics().busy == 1
        {
            "close idle": pool.slots.close_idle,
            "close idle of it": lambda: pool.slots.close_idle(A),
            "retire": lambda: pool.slots.retire(lambda one: one.info.origin == A.origin),
            "refuse": lambda: pool.slots.refuse("draining"),
        }[how]()
        assert not connection.is_open
        reason = CloseReason.POOL_CLOSED if how == "refuse" else CloseReason.RETIRED
        assert (trio.current_time(), connection.info.id, reason) in ends.closes
        connection.settle_when.set()
        await pool.settle()


async def test_closing_the_idle_ones_of_one_origin_spares_what_the_sweeper_settles_of_another(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        [connection] = await pool.idle(A)
        connection.looks, connection.settle_when = Condition.UNSURE, trio.Event()
        await trio.sleep(SWEEP_AT_MOST)
        pool.slots.close_idle(B)
        assert connection.is_open
        connection.settle_when.set()
        await pool.settle()


async def test_a_waiting_request_gets_the_slot_of_a_connection_closed_while_it_is_settled(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        [connection] = await pool.idle(A)
        connection.looks, connection.settle_when = Condition.UNSURE, trio.Event()
        await trio.sleep(SWEEP_AT_MOST)
        caller = await pool.ask(B)
        pool.slots.close_idle()
        await caller.ended.wait()
        assert caller.lease is not None
        connection.settle_when.set()
        await pool.settle()


async def test_the_sweeper_closes_so_many_in_one_step_and_no_more(
    autojump_clock: MockClock,
) -> None:
    n = 2 * LOOKS_AT_ONCE + 7
    async with bench(max_connections=n) as pool:
        for connection in await pool.idle(A, n):
            connection.looks = Condition.STALE
        counter = OpenAfterEachStep(pool)
        trio.lowlevel.add_instrument(counter)
        await trio.sleep(SWEEP_AT_MOST + 1)
        trio.lowlevel.remove_instrument(counter)
        assert pool.open == 0
        assert counter.most_closed_at_once == LOOKS_AT_ONCE


async def test_the_sweeper_passes_by_what_was_closed_while_others_had_their_turn(
    autojump_clock: MockClock,
) -> None:
    n = LOOKS_AT_ONCE + 7

    class ClosesTheRest(trio.abc.Instrument):
        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            if pool.open < n:
                pool.slots.close_idle()

    async with bench(max_connections=n) as pool:
        for connection in await pool.idle(A, n):
            connection.looks = Condition.STALE
        trio.lowlevel.add_instrument(closer := ClosesTheRest())
        await trio.sleep(SWEEP_AT_MOST + 1)
        trio.lowlevel.remove_instrument(closer)
        figures = pool.slots.statistics()
        assert (figures.stale, figures.retired) == (LOOKS_AT_ONCE, 7)


@pytest.mark.parametrize("breaks", ["condition", "close"])
@pytest.mark.parametrize("who", ["sweeper", "request", "dial"])
async def test_a_connection_that_raises_costs_itself_and_nothing_else(
    breaks: str, who: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(max_connections=2) as pool:
        [connection] = await pool.idle(A)
        connection.breaks = breaks
        if breaks == "close":
            connection.looks = Condition.STALE
        if who == "sweeper":
            await trio.sleep(SWEEP_AT_MOST + 1)
        elif who == "request":
            await pool.hold(A)
        else:  # A dial of another origin's that evicts it; a glance is not taken then.
            connection.breaks = "close"
            pool.slots.max_connections = 1
            await pool.hold(B)
        assert not connection.is_open
        assert "failed" in caplog.text
        assert "planted" in caplog.text
        await pool.settle()


async def test_origins_are_forgotten_when_they_are_empty(autojump_clock: MockClock) -> None:
    async with bench(max_connections=2) as pool:
        for i in range(2000):
            await exchange(pool, key(f"host{i}"), 0)
            assert len(pool.origins) <= 2
            assert len(pool.line) <= 2
        pool.slots.close_idle()
        assert not pool.origins


async def test_an_origin_that_is_forgotten_is_in_no_line(autojump_clock: MockClock) -> None:
    """Its key would stay in memory, and with that the credentials of a proxy."""
    async with bench(max_connections=1) as pool:
        await exchange(pool, A, 0)
        pool.slots.close_idle()
        assert not pool.origins
        assert len(pool.line) == 0
        pool.dialler.script(A, OSError("refused"))
        await (await pool.ask(A)).ended.wait()
        assert not pool.origins
        assert len(pool.line) == 0


async def test_origins_are_forgotten_also_while_the_head_of_the_line_is_blocked(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        await pool.hold(A)
        head = await pool.ask(B)
        for i in range(500):
            (await pool.ask(key(f"host{i}"))).cancel()
            await pool.settle()
            assert len(pool.origins) == 2
            assert len(pool.line) <= 2 * 2 + 16
        assert head.waits


async def test_the_line_keeps_its_order_when_it_is_swept(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1, max_connections_per_origin=1) as pool:
        holder = await pool.hold(A)
        names = [key(f"host{i}") for i in range(60)]
        callers = [await pool.ask(name) for name in names]
        for caller in callers[1::2] + callers[40::2]:
            caller.cancel()
        await pool.settle()
        for caller in callers[0:40:2]:
            holder.release()
            await caller.ended.wait()
            holder = caller
        ends = [caller.ended_at for caller in callers[0:40:2]]
        assert ends == sorted(ends)


# ── Operations ─────────────────────────────────────────────────────────────────────────────────


async def test_raising_max_connections_serves_as_many_more_waiters(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        await pool.hold(A)
        callers = [await pool.ask(name) for name in (A, B, A, C)]
        pool.slots.max_connections = 3
        assert pool.slots.max_connections == 3
        await trio.sleep(pool.dialler.delay * 1.5)
        assert [caller.waits for caller in callers] == [False, False, True, True]
        pool.slots.max_connections = None
        assert pool.slots.max_connections is None
        await trio.sleep(pool.dialler.delay * 1.5)
        assert [caller.waits for caller in callers] == [False] * 4


async def test_lowering_max_connections_closes_idle_ones_and_busy_ones_when_they_come_back(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=5) as pool:
        busy = [await pool.hold(A) for _ in range(3)]
        idle = await pool.idle(B, 2)
        pool.slots.max_connections = 2
        assert [connection.is_open for connection in idle] == [False, False]
        for caller in busy:
            caller.release()
        assert [caller.connection.is_open for caller in busy] == [False, True, True]
        assert pool.slots.statistics().evicted == 3
        await pool.settle()


async def test_above_a_lowered_bound_nobody_is_handed_a_connection_that_comes_back(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2) as pool:
        holders = [await pool.hold(A), await pool.hold(A)]
        waiter = await pool.ask(A)
        pool.slots.max_connections = 1
        holders[0].release()
        await pool.settle()
        assert waiter.waits
        holders[1].release()
        await pool.settle()
        assert waiter.connection is holders[1].connection


async def test_lowering_max_connections_closes_only_as_many_idle_ones_as_needed(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=3) as pool:
        one, two, three = await pool.idle(A, 3)
        pool.slots.max_connections = 2
        assert [c.is_open for c in (one, two, three)] == [False, True, True]


async def test_a_dial_that_ends_above_a_lowered_bound_is_not_kept(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=2) as pool:
        callers = [await pool.ask(A), await pool.ask(A)]
        for caller in callers:
            caller.cancel()
        await pool.settle()
        pool.slots.max_connections = 1
        await trio.sleep(pool.dialler.delay)
        await pool.settle()
        assert pool.open == 1


async def test_close_idle_closes_all_idle_connections_and_no_busy_one(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        busy = await pool.hold(A)
        await pool.idle(A, 2)
        await pool.idle(B)
        pool.slots.close_idle()
        assert pool.dialler.open == {busy.connection}
        assert pool.slots.statistics().retired == 3


async def test_close_idle_of_one_origin_leaves_the_others_alone(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        await pool.idle(A, 2)
        kept = await pool.idle(B)
        pool.slots.close_idle(A)
        pool.slots.close_idle(key("never seen"))
        assert pool.dialler.open == set(kept)


async def test_retire_closes_idle_connections_now_and_busy_ones_when_they_come_back(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        busy, dialling = await pool.hold(A), await pool.ask(B)
        idle = await pool.idle(C, 2)
        assert pool.slots.retire(lambda c: c.info.origin in (A.origin, C.origin)) == 3
        assert not any(connection.is_open for connection in idle)
        assert busy.connection in pool.dialler.open
        busy.release()
        assert busy.connection not in pool.dialler.open
        assert pool.slots.statistics().retired == 3
        await trio.sleep(pool.dialler.delay)
        assert dialling.connection.is_open


async def test_a_predicate_that_raises_retires_nothing(autojump_clock: MockClock) -> None:
    def picky(connection: FakeConnection) -> bool:
        if connection.info.id == 3:
            raise KeyError(connection.info.id)
        return True

    async with bench() as pool:
        await pool.idle(A, 3)
        with pytest.raises(KeyError):
            pool.slots.retire(picky)
        assert pool.open == 3


def discard(caller: Caller, pool: Bench) -> None:
    caller.discard()


def retire(caller: Caller, pool: Bench) -> None:
    pool.slots.retire(lambda _: True)
    caller.release()


def wear_out(caller: Caller, pool: Bench) -> None:
    [slot] = pool.open_slots
    slot.expires_at = trio.current_time()
    caller.release()


@pytest.mark.parametrize("end", [discard, retire, wear_out])
@pytest.mark.parametrize("name", [A, B])
async def test_a_connection_that_ends_lets_exactly_the_oldest_waiter_dial(
    autojump_clock: MockClock, end: Callable[[Caller, Bench], None], name: PoolKey
) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        first, second = await pool.ask(name), await pool.ask(A)
        end(holder, pool)
        await trio.sleep(pool.dialler.delay)
        await pool.settle()
        assert not holder.connection.is_open
        assert [first.waits, second.waits] == [False, True]


async def test_warm_up_opens_what_is_missing(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        await pool.hold(A)
        await pool.idle(A)
        await pool.slots.warm_up(A, 5, NO_LIMITS)
        assert pool.open == 5
        assert pool.slots.statistics().idle == 4


async def test_warm_up_of_what_is_warm_is_a_checkpoint_and_nothing_else(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        await pool.idle(A, 2)
        with trio.testing.assert_checkpoints():
            await pool.slots.warm_up(A, 2, NO_LIMITS)
        with trio.testing.assert_checkpoints():
            await pool.slots.warm_up(B, 0, NO_LIMITS)
        assert len(pool.dialler.dialled) == 2
        await pool.settle()


async def test_warm_up_takes_free_slots_only_and_evicts_nothing(autojump_clock: MockClock) -> None:
    async with bench(max_connections=4, max_connections_per_origin=3) as pool:
        idle = await pool.idle(B, 2)
        await pool.slots.warm_up(A, 10, NO_LIMITS)
        assert pool.open == 4
        assert all(connection.is_open for connection in idle)
        pool.slots.close_idle(B)
        await pool.slots.warm_up(A, 10, NO_LIMITS)
        assert pool.open == 3


async def test_warm_up_raises_its_first_failure_and_keeps_what_succeeded(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        first = Refused(after=0.2)
        pool.dialler.script(A, 0.1, first, Refused(after=0.3), 0.4)
        with pytest.raises(Refused) as raised:
            await pool.slots.warm_up(A, 4, NO_LIMITS)
        assert raised.value is first
        assert trio.current_time() == pytest.approx(0.4)
        assert pool.slots.statistics().idle == 2


async def test_a_warm_up_whose_dials_take_too_long_raises_connect_timeout(
    autojump_clock: MockClock,
) -> None:
    async with bench(FakeDialler(HANG)) as pool:
        with pytest.raises(ConnectTimeout):
            await pool.slots.warm_up(A, 2, Timeouts(connect=3))
        assert trio.current_time() == pytest.approx(3)


async def test_the_dials_of_a_cancelled_warm_up_go_on_as_orphans(autojump_clock: MockClock) -> None:
    async with bench(FakeDialler(1.0), max_connections=3) as pool:
        with trio.move_on_after(0.5):
            await pool.slots.warm_up(A, 2, NO_LIMITS)
        check(pool.slots)
        assert pool.slots.statistics().dialling == 2
        assert (await pool.ask(A)).waits
        await trio.sleep(0.6)
        await pool.settle()
        assert pool.slots.statistics().idle == 1, "the other one serves the request"


async def test_the_dials_of_a_cancelled_warm_up_give_way(autojump_clock: MockClock) -> None:
    async with bench(max_connections=2) as pool:
        pool.dialler.script(A, HANG, HANG)
        with trio.move_on_after(0.5):
            await pool.slots.warm_up(A, 2, NO_LIMITS)
        caller = await pool.hold(B)
        assert caller.ended_at == pytest.approx(0.5 + 0.1)


async def test_a_warm_connection_goes_to_a_request_that_waits(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        pool.dialler.script(A, 0.2, 1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.slots.warm_up, A, 1, NO_LIMITS)
            await wait_all_tasks_blocked()
            caller = await pool.ask(A)
        assert caller.ended_at == pytest.approx(0.2)


# ── Draining and shutting ──────────────────────────────────────────────────────────────────────


async def test_a_drained_pool_serves_requests_that_are_there_and_refuses_new_ones(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        waiter = await pool.ask(A)
        pool.slots.refuse("draining")
        newcomer = await pool.ask(A)
        assert isinstance(newcomer.error, PoolClosed)
        assert str(newcomer.error) == "draining"
        with pytest.raises(PoolClosed, match="draining"):
            await pool.slots.warm_up(A, 1, NO_LIMITS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.slots.wait_quiet)
            await trio.sleep(1)
            holder.release()
            await trio.sleep(1)
            waiter.release()
        assert trio.current_time() == pytest.approx(0.1 + 2)


async def test_a_pool_with_nothing_in_flight_is_quiet_at_once(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        await pool.slots.wait_quiet()
        await pool.idle(A, 2)
        await pool.slots.wait_quiet()


async def test_a_drain_waits_for_dials_that_are_wanted_and_not_for_orphans(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        pool.dialler.script(A, HANG)
        pool.dialler.script(B, 2.0)
        (await pool.ask(A)).cancel()
        caller = await pool.ask(B)
        pool.slots.refuse("draining")
        with trio.move_on_after(1.9) as too_soon:
            await pool.slots.wait_quiet()
        assert too_soon.cancelled_caught
        await trio.sleep(0.2)
        caller.release()
        await pool.slots.wait_quiet()
        assert pool.slots.statistics().dialling == 1


async def test_a_drain_costs_as_much_for_each_of_many_orphans_as_for_each_of_few(
    autojump_clock: MockClock,
) -> None:
    async def calls(n: int) -> int:
        counted = 0

        def count(frame: object, event: str, arg: object) -> None:
            nonlocal counted
            counted += 1

        async with bench(FakeDialler(HANG), max_connections=None, instrument=SILENT) as pool:
            callers = [await pool.ask(key(str(i))) for i in range(n)]
            for caller in callers:
                caller.cancel()
            await pool.settle()
            pool.slots.refuse("draining")
            sys.setprofile(count)
            await pool.slots.wait_quiet()
            pool.slots.shut("closed")
            await wait_all_tasks_blocked()
            sys.setprofile(None)
        return counted

    assert await calls(200) < 6 * await calls(40)


async def test_a_drain_ends_also_if_the_last_request_gives_up(autojump_clock: MockClock) -> None:
    async with bench(FakeDialler(HANG)) as pool:
        caller = await pool.ask(A)
        pool.slots.refuse("draining")
        with trio.fail_after(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.slots.wait_quiet)
                await trio.sleep(1)
                caller.cancel()


async def test_a_shut_pool_tells_its_waiters_and_closes_its_connections(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=4) as pool:
        [idle] = await pool.idle(A)
        busy = await pool.hold(B)
        pool.dialler.script(C, HANG, HANG)
        dialling = [await pool.ask(C), await pool.ask(C)]
        waiting = [await pool.ask(B), await pool.ask(key("d"))]
        pool.slots.shut("the pool was left")
        assert not idle.is_open
        assert not busy.connection.is_open
        await pool.settle()
        for caller in dialling + waiting:
            assert isinstance(caller.error, PoolClosed)
            assert str(caller.error) == "the pool was left"
        assert pool.slots.statistics().open == 0
        dialled = len(pool.dialler.dialled)
        assert isinstance((await pool.ask(A)).error, PoolClosed)
        busy.release()
        assert len(pool.dialler.dialled) == dialled
        assert pool.slots.statistics().open == 0


async def test_a_waiter_cancelled_in_the_tick_of_the_shutting_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        await pool.hold(A)
        caller = await pool.ask(A)
        caller.cancel()
        pool.slots.shut("closed")
        await pool.settle()
        assert caller.cancelled
        assert caller.error is None


async def test_a_dial_that_ends_after_the_shutting_is_closed(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        pool.dialler.deaf.add(A)
        caller = await pool.ask(A)
        pool.slots.shut("closed")
        await pool.settle()
        assert isinstance(caller.error, PoolClosed)
        await trio.sleep(pool.dialler.delay)
        await pool.settle()
        assert pool.open == 0


async def warm_up_until_closed(pool: Bench) -> None:
    with pytest.raises(PoolClosed), trio.fail_after(5):
        await pool.slots.warm_up(A, 1, NO_LIMITS)


async def test_a_warm_up_ends_at_the_shutting_though_its_dial_ends_later(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        pool.dialler.deaf.add(A)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(warm_up_until_closed, pool)
            await wait_all_tasks_blocked()
            pool.slots.shut("closed")
            shut_at = trio.current_time()
        assert trio.current_time() == shut_at
        await trio.sleep(pool.dialler.delay)


async def test_a_warm_up_in_a_pool_that_is_shut_raises_pool_closed(
    autojump_clock: MockClock,
) -> None:
    async with bench(FakeDialler(HANG)) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(warm_up_until_closed, pool)
        await wait_all_tasks_blocked()
        pool.slots.shut("closed")


async def test_a_drain_ends_when_the_pool_is_shut(autojump_clock: MockClock) -> None:
    async with bench() as pool, trio.open_nursery() as nursery:
        pool.dialler.deaf.add(A)
        nursery.start_soon(warm_up_until_closed, pool)
        await wait_all_tasks_blocked()
        pool.slots.refuse("draining")
        pool.slots.shut("closed")
        await pool.slots.wait_quiet()
        assert trio.current_time() < 1
        await trio.sleep(pool.dialler.delay)


async def test_when_the_pools_own_block_is_cancelled_a_warm_up_does_not_pass_for_done(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as outside, trio.open_nursery() as inside:
        pool = Bench(FakeDialler(HANG), inside, {})
        outside.start_soon(warm_up_until_closed, pool)
        await wait_all_tasks_blocked()
        inside.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        pool.shut("closed")


async def test_when_the_pools_own_block_is_cancelled_waiters_are_told_and_not_cancelled(
    autojump_clock: MockClock,
) -> None:
    dialler = FakeDialler(HANG)
    async with trio.open_nursery() as outside, trio.open_nursery() as inside:
        pool = Bench(dialler, inside, {"max_connections": 1})
        callers = [Caller(A, NO_LIMITS), Caller(A, NO_LIMITS)]
        for caller in callers:
            outside.start_soon(caller.run, pool.slots)
        await wait_all_tasks_blocked()
        inside.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        pool.shut("closed")
    for caller in callers:
        assert isinstance(caller.error, PoolClosed)
        assert str(caller.error) == "the pool's own block was cancelled"
    assert dialler.dialling == 0


# ── Leases, slots, statistics ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("late", [Caller.release, Caller.discard])
async def test_a_lease_ends_once(late: Callable[[Caller], None], autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        first = await pool.hold(A)
        assert first.lease is not None
        first.release()
        assert first.lease.ended
        second = await pool.ask(A)
        late(first)
        assert second.connection is first.connection
        assert second.connection.is_open
        assert pool.slots.statistics().busy == 1


async def test_the_end_of_a_lease_cannot_be_cut_in_two_by_control_c() -> None:
    protected: list[bool] = []

    class Dispatcher:
        def give_back(self, slot: object) -> None:
            protected.append(trio.lowlevel.currently_ki_protected())

        def close(self, slot: object, reason: CloseReason) -> None:
            protected.append(trio.lowlevel.currently_ki_protected())

    async with bench(max_connections=2) as pool:
        for spent in (None, Spent.BROKEN):
            held = await pool.hold(A)
            assert held.lease is not None
            held.connection.spent = spent
            Lease(Dispatcher(), held.lease._slot, reused=False, age=0, waited=0.0).end()
            held.release()
    assert not trio.lowlevel.currently_ki_protected()
    assert protected == [True, True]


async def test_statistics_add_up_in_every_hook_also_when_a_dial_has_failed(
    autojump_clock: MockClock,
) -> None:
    class Figures(Instrument):
        def __init__(self) -> None:
            self.seen: list[tuple[int, int, int, int]] = []

        def dial_failed(self, origin: Origin, error: BaseException | None) -> None:
            now = pool.slots.statistics()
            self.seen.append((now.open, now.busy, now.idle, now.dialling))
            check(pool.slots)

    figures = Figures()
    async with bench(max_connections=2, instrument=figures) as pool:
        pool.dialler.script(A, Refused(after=1))
        callers = [await pool.ask(A), await pool.ask(B)]
        await trio.sleep(5)
        assert figures.seen == [(1, 1, 0, 0)]
        assert isinstance(callers[0].error, Refused)


async def test_a_slot_makes_legal_moves_only(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        caller = await pool.hold(A)
        [slot] = pool.open_slots
        assert repr(slot) == "<Slot busy for http://a.test:80>"
        caller.discard()
        with pytest.raises(AssertionError, match="can't go from CLOSED to IDLE"):
            slot.move(State.IDLE)


async def test_statistics_show_the_whole_and_each_origin(autojump_clock: MockClock) -> None:
    async with bench(max_connections=4, max_connections_per_origin=2) as pool:
        await pool.idle(A)
        (await pool.ask(A)).release()
        await pool.hold(B)
        pool.dialler.script(B, 60.0)
        await pool.ask(B)
        await pool.ask(B)
        await trio.sleep(2)
        await pool.ask(B)
        whole = pool.slots.statistics()
        assert (whole.open, whole.busy, whole.idle, whole.dialling) == (3, 1, 1, 1)
        assert whole.waiting == 2
        assert whole.oldest_wait == pytest.approx(2)
        assert (whole.dialled, whole.reused, whole.handed_over) == (2, 1, 2)
        assert whole.max_connections == 4
        a, b = whole.origins[A], whole.origins[B]
        assert (a.open, a.idle, a.waiting, a.oldest_wait, a.reused) == (1, 1, 0, 0, 1)
        assert (b.open, b.busy, b.dialling, b.waiting) == (2, 1, 1, 2)


async def test_retries_are_counted_for_the_pool_and_for_an_origin_that_is_known(
    autojump_clock: MockClock,
) -> None:
    async with bench() as pool:
        await pool.hold(A)
        pool.slots.count_retried(A)
        pool.slots.count_retried(B)
        statistics = pool.slots.statistics()
        assert (statistics.retried, statistics.origins[A].retried) == (2, 1)
