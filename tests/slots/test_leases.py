"""Leases: had without waiting, ended once; and the moves of the slots below them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from triopool._config import Timeouts
from triopool._facts import CloseReason, Condition, ConnectionInfo, Spent
from triopool._slots.slot import Slot, State
from triopool.abc import Instrument

from .fakes import HANG, NO_LIMITS, A, B, Bench, FakeConnection, bench, discard_lease

# ── The end ────────────────────────────────────────────────────────────────────────────────────


class Closes(Instrument):
    def __init__(self) -> None:
        self.seen: list[tuple[CloseReason, Spent | None]] = []

    def closed(self, connection: ConnectionInfo, reason: CloseReason) -> None:
        self.seen.append((reason, connection.spent))


async def test_a_lease_that_ends_gives_its_connection_back(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        lease = await pool.slots.acquire(A, NO_LIMITS)
        waiting = await pool.ask(A)
        lease.end()
        assert lease.ended
        await pool.settle()
        assert waiting.connection is lease.connection


async def test_a_spent_connection_is_closed_and_the_instrument_is_told_why(
    autojump_clock: MockClock,
) -> None:
    closes = Closes()
    async with bench(max_connections=1, instrument=closes) as pool:
        lease = await pool.slots.acquire(A, NO_LIMITS)
        waiting = await pool.ask(A)
        lease.connection.spent = Spent.ASKED_TO_CLOSE
        lease.end()
        assert not lease.connection.is_open
        assert closes.seen == [(CloseReason.DISCARDED, Spent.ASKED_TO_CLOSE)]
        await waiting.ended.wait()
        assert waiting.connection is not lease.connection


async def test_a_spent_connection_is_closed_for_the_reason_that_is_given(
    autojump_clock: MockClock,
) -> None:
    closes = Closes()
    async with bench(instrument=closes) as pool:
        lease = await pool.slots.acquire(A, NO_LIMITS)
        lease.connection.spent = Spent.BROKEN
        lease.end(CloseReason.STALE)
        assert closes.seen == [(CloseReason.STALE, Spent.BROKEN)]


async def test_an_idle_connection_that_is_closed_is_not_called_spent(
    autojump_clock: MockClock,
) -> None:
    closes = Closes()
    async with bench(instrument=closes) as pool:
        await pool.idle(A)
        pool.slots.close_idle()
        assert closes.seen == [(CloseReason.RETIRED, None)]


async def test_a_lease_ends_once_however_it_ends(autojump_clock: MockClock) -> None:
    async with bench(max_connections=1) as pool:
        first = await pool.hold(A)
        assert first.lease is not None
        first.lease.end()
        second = await pool.ask(A)
        first.connection.spent = Spent.BROKEN
        first.lease.end()
        assert second.connection is first.connection
        assert second.connection.is_open
        assert pool.slots.statistics().busy == 1
        second.discard()
        first.release()


# ── Without waiting ────────────────────────────────────────────────────────────────────────────


async def test_the_newest_idle_connection_is_had_at_once(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        _, newer = await pool.idle(A, 2)
        lease = pool.slots.acquire_nowait(A)
        assert lease is not None
        assert lease.connection is newer
        assert (lease.reused, lease.just_seen) == (True, True)
        assert pool.slots.statistics().reused == 1
        lease.end()


async def test_nothing_is_had_at_once_of_an_origin_without_idle_connections(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        assert pool.slots.acquire_nowait(A) is None
        holder = await pool.hold(A)
        assert pool.slots.acquire_nowait(A) is None
        # Not even where one has just come back, if a request has waited for it.
        waiting = await pool.ask(A)
        holder.release()
        assert pool.slots.acquire_nowait(A) is None
        await pool.settle()
        assert waiting.connection is holder.connection


def expire(connection: FakeConnection, pool: Bench) -> None:
    [slot] = [slot for slot in pool.open_slots if slot.connection is connection]
    slot.idle_until = trio.current_time()


def go_stale(connection: FakeConnection, pool: Bench) -> None:
    connection.looks = Condition.STALE


def become_unsure(connection: FakeConnection, pool: Bench) -> None:
    connection.looks, connection.fit = Condition.UNSURE, False


@pytest.mark.parametrize("happen", [expire, go_stale, become_unsure])
async def test_what_is_not_fit_at_a_glance_is_left_to_the_one_that_may_wait(
    happen: Callable[[FakeConnection, Bench], None], autojump_clock: MockClock
) -> None:
    async with bench() as pool:
        older, newer = await pool.idle(A, 2)
        happen(newer, pool)
        assert pool.slots.acquire_nowait(A) is None
        assert newer.is_open, "nothing has changed"
        lease = await pool.slots.acquire(A, NO_LIMITS)
        assert lease.connection is older
        assert not newer.is_open
        figures = pool.slots.statistics()
        assert (figures.expired, figures.stale) == ((1, 0) if happen is expire else (0, 1))
        lease.end()


async def test_a_pool_that_refuses_requests_has_nothing_at_once(autojump_clock: MockClock) -> None:
    async with bench() as pool:
        await pool.idle(A)
        pool.slots.refuse("draining")
        assert pool.slots.acquire_nowait(A) is None


@pytest.mark.parametrize("ended", [False, True])
async def test_a_request_that_comes_again_and_is_served_at_once_is_as_old_as_it_was(
    ended: bool, autojump_clock: MockClock
) -> None:
    async with bench(max_connections=2) as pool:
        stale = await pool.slots.acquire(A, NO_LIMITS)
        await pool.idle(A)
        stale.waited = 1.5
        if ended:
            discard_lease(stale)
        again = pool.slots.acquire_nowait(A, stale)
        assert again is not None
        assert (again.age, again.waited) == (stale.age, 1.5)
        assert stale.ended
        assert not stale.connection.is_open
        assert pool.slots.statistics().stale == (0 if ended else 1)
        again.end()


async def test_a_request_that_is_not_served_at_once_keeps_what_it_has(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        stale = await pool.slots.acquire(A, NO_LIMITS)
        younger = await pool.ask(B)
        assert pool.slots.acquire_nowait(A, stale) is None
        assert not stale.ended
        again = await pool.slots.acquire(A, NO_LIMITS, stale)
        assert younger.waits, "its slot was kept until it stood in line"
        again.end()
        await younger.ended.wait()


# ── The moves of a slot ────────────────────────────────────────────────────────────────────────


async def test_a_slot_makes_all_the_moves_of_its_table_and_no_others(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: set[tuple[State, State]] = set()
    really_move = Slot.move

    def move(slot: Slot, state: State) -> None:
        made.add((slot.state, state))
        really_move(slot, state)

    monkeypatch.setattr(Slot, "move", move)

    def moves() -> set[tuple[State, State]]:
        just_made = set(made)
        made.clear()
        return just_made

    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        assert moves() == {(State.DIALLING, State.BUSY)}
        waiting = await pool.ask(A)
        holder.release()
        await pool.settle()
        assert moves() == {(State.BUSY, State.BUSY)}
        waiting.release()
        assert moves() == {(State.BUSY, State.IDLE)}
        holder = await pool.ask(A)
        assert moves() == {(State.IDLE, State.BUSY)}
        holder.discard()
        assert moves() == {(State.BUSY, State.CLOSED)}
        await pool.slots.warm_up(A, 1, NO_LIMITS)
        assert moves() == {(State.DIALLING, State.IDLE)}
        pool.slots.close_idle()
        assert moves() == {(State.IDLE, State.CLOSED)}, "it is not busy on the way"
        pool.dialler.script(A, HANG)
        await pool.ask(A, timeouts=Timeouts(pool=None, connect=1))
        await trio.sleep(2)
        assert moves() == {(State.DIALLING, State.CLOSED)}
    for state in State:
        for other in State:
            slot = Slot(None)  # type: ignore[arg-type] # which it does not look at
            slot.state = state
            if other in state.leads_to:
                slot.move(other)
            else:
                with pytest.raises(AssertionError, match="can't go from"):
                    slot.move(other)


def test_the_table_of_moves_is_the_one_that_was_played() -> None:
    assert {state: set(state.leads_to) for state in State} == {
        State.DIALLING: {State.BUSY, State.IDLE, State.CLOSED},
        State.IDLE: {State.BUSY, State.CLOSED},
        State.BUSY: {State.IDLE, State.BUSY, State.CLOSED},
        State.CLOSED: set(),
    }
