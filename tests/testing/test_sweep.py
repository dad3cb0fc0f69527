"""The cancel sweep: it goes everywhere, finds what is planted, and says where."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from triopool.testing import Sweep, SweepPoint, VictimResult, cancel_sweep


class Slot:
    """One slot, handed over from task to task. Right, but for the bug that is asked for."""

    def __init__(self, *, loses_the_hand_over: bool = False) -> None:
        self._free = True
        self._waiters = trio.lowlevel.ParkingLot()
        self._loses_the_hand_over = loses_the_hand_over

    async def acquire(self) -> None:
        if self._free:
            await trio.lowlevel.checkpoint()
            self._free = False
        else:
            await self._waiters.park()
            if self._loses_the_hand_over:
                # The slot is ours already, and this is where a cancellation arrives.
                await trio.lowlevel.checkpoint_if_cancelled()

    def release(self) -> None:
        if self._waiters:
            self._waiters.unpark()
        else:
            self._free = True


async def hold(slot: Slot, seconds: float) -> str:
    await slot.acquire()
    try:
        await trio.sleep(seconds)
    finally:
        slot.release()
    return "held"


async def hand_over(sweep: Sweep, make_slot: Callable[[], Slot]) -> None:
    """The victim waits for a slot that another task holds; afterwards it can be had again."""
    slot = make_slot()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, slot, 1.0)
        await trio.sleep(0.5)
        result = await sweep.victim(hold, slot, 2.0)
        assert result == VictimResult(True, None) or result == VictimResult(False, "held")
    await hold(slot, 1.0)


def lossy() -> Slot:
    return Slot(loses_the_hand_over=True)


both_ways = pytest.mark.parametrize("with_signal", [False, True], ids=["cancel", "control-c"])


@both_ways
def test_code_without_a_bug_passes(with_signal: bool) -> None:
    points = cancel_sweep(functools.partial(hand_over, make_slot=Slot), with_signal=with_signal)
    assert points > 6


@both_ways
def test_a_lost_hand_over_is_found_and_can_be_repeated(with_signal: bool) -> None:
    scenario = functools.partial(hand_over, make_slot=lossy)
    with pytest.raises(trio.TooSlowError, match="stuck") as caught:
        cancel_sweep(scenario, with_signal=with_signal)
    [note] = caught.value.__notes__
    point = eval(note.partition("only=")[2].removesuffix(")"))
    assert point in [(step, when) for step in range(1, 10) for when in ("before", "after")]
    with pytest.raises(trio.TooSlowError, match="stuck"):
        cancel_sweep(scenario, with_signal=with_signal, only=point)


def test_the_hand_over_is_lost_between_the_steps_of_two_tasks_and_nowhere_else() -> None:
    scenario = functools.partial(hand_over, make_slot=lossy)
    found: list[SweepPoint] = []
    for point in [SweepPoint(step, when) for step in range(1, 6) for when in ("before", "after")]:
        try:
            cancel_sweep(scenario, only=point)
        except trio.TooSlowError:
            found.append(point)
    # Step 1: the victim begins, and waits. 2: the other task hands over. 3: the victim goes on.
    assert found == [(2, "after"), (3, "before")]


# ── Which points there are ─────────────────────────────────────────────────────────────────────


@both_ways
def test_every_step_is_cancelled_before_and_after(with_signal: bool) -> None:
    seen: list[tuple[SweepPoint, int, bool]] = []

    async def scenario(sweep: Sweep) -> None:
        lines = 0

        async def victim() -> None:
            nonlocal lines
            for _ in range(3):
                lines += 1
                await trio.lowlevel.checkpoint()

        result = await sweep.victim(victim)
        seen.append((sweep.point, lines, result.cancelled))

    assert cancel_sweep(scenario, with_signal=with_signal) == 7
    assert seen == [
        ((1, "before"), 0 if with_signal else 1, True),  # control-C needs no checkpoint here
        ((1, "after"), 1, True),
        ((2, "before"), 1, True),
        ((2, "after"), 2, True),
        ((3, "before"), 2, True),
        ((3, "after"), 3, True),
        ((4, "before"), 3, True),
        # In step 4 the victim comes to its end, and there is no one to be cancelled after it.
        ((4, "after"), 3, False),
        ((5, "before"), 3, False),
        ((5, "after"), 3, False),
    ]


def test_steps_of_other_tasks_count() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with trio.open_nursery() as nursery:
            for seconds in (1, 2, 3):
                nursery.start_soon(trio.sleep, seconds)
            await trio.testing.wait_all_tasks_blocked()
            await sweep.victim(trio.sleep, 4)

    # Before and after: the beginning of the victim, three other tasks, and before its end.
    assert cancel_sweep(scenario) == 9


def test_a_point_that_does_not_exist_is_not_swept() -> None:
    async def scenario(sweep: Sweep) -> None:
        await sweep.victim(trio.lowlevel.checkpoint)

    assert cancel_sweep(scenario, only=(1, "after")) == 1
    assert cancel_sweep(scenario, only=(1000, "after")) == 0


@both_ways
def test_a_victim_that_ends_before_it_notices_is_not_cancelled(with_signal: bool) -> None:
    results: list[VictimResult[str]] = []

    async def victim() -> str:
        await trio.lowlevel.cancel_shielded_checkpoint()
        return "through"

    async def scenario(sweep: Sweep) -> None:
        results.append(await sweep.victim(victim))
        await trio.sleep(1)  # and neither is what comes after it

    assert cancel_sweep(scenario, with_signal=with_signal, only=(1, "after")) == 1
    assert results == [VictimResult(cancelled=False, value="through")]


def test_control_c_counts_when_it_comes_out_of_a_nursery() -> None:
    async def victim() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            await trio.sleep(2)

    results: list[VictimResult[None]] = []

    async def scenario(sweep: Sweep) -> None:
        results.append(await sweep.victim(victim))

    cancel_sweep(scenario, with_signal=True, only=(2, "after"))
    assert results == [VictimResult(cancelled=True, value=None)]


# ── What goes wrong, and where ─────────────────────────────────────────────────────────────────


@both_ways
def test_an_exception_of_the_victim_passes_and_tells_the_point(with_signal: bool) -> None:
    async def victim() -> None:
        try:
            await trio.sleep(1)
        finally:
            raise LookupError("victim")

    async def scenario(sweep: Sweep) -> None:
        await sweep.victim(victim)

    with pytest.raises(LookupError, match="victim") as caught:
        cancel_sweep(scenario, with_signal=with_signal, only=(1, "after"))
    assert "only=(1, 'after')" in caught.value.__notes__[0]
    assert ("control-C" in caught.value.__notes__[0]) is with_signal


def test_control_c_that_is_still_due_takes_nobodys_place() -> None:
    async def victim() -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()
        raise LookupError("victim")

    async def scenario(sweep: Sweep) -> None:
        await sweep.victim(victim)

    with pytest.raises(LookupError, match="victim"):
        cancel_sweep(scenario, with_signal=True, only=(1, "after"))


def test_a_failed_assertion_of_the_scenario_tells_the_point() -> None:
    async def scenario(sweep: Sweep) -> None:
        result = await sweep.victim(trio.sleep, 1)
        assert not result.cancelled

    with pytest.raises(AssertionError) as caught:
        cancel_sweep(scenario)
    assert caught.value.__notes__ == [
        "When the victim was cancelled before step 1. "
        "To repeat: cancel_sweep(…, only=(1, 'before'))"
    ]


def test_a_failure_without_a_cancellation_says_so() -> None:
    async def scenario(sweep: Sweep) -> None:
        raise LookupError("scenario")

    with pytest.raises(LookupError) as caught:
        cancel_sweep(scenario)
    assert caught.value.__notes__ == [
        "In the run for (1, 'before'), in which that point was not reached."
    ]


def test_a_scenario_that_is_stuck_fails_at_once() -> None:
    async def scenario(sweep: Sweep) -> None:
        await sweep.victim(trio.lowlevel.checkpoint)
        await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError, match="60 s were not enough"):
        cancel_sweep(scenario, give_up_after=60)


def test_a_scenario_needs_a_victim() -> None:
    async def scenario(sweep: Sweep) -> None:
        pass

    with pytest.raises(RuntimeError, match=r"did not call sweep\.victim"):
        cancel_sweep(scenario)


def test_a_scenario_has_one_victim_only() -> None:
    async def scenario(sweep: Sweep) -> None:
        await sweep.victim(trio.lowlevel.checkpoint)
        await sweep.victim(trio.lowlevel.checkpoint)

    with pytest.raises(RuntimeError, match="called again"):
        cancel_sweep(scenario)


def test_a_sweep_that_does_not_end_is_stopped() -> None:
    async def victim() -> None:
        while True:
            await trio.sleep(1)

    async def scenario(sweep: Sweep) -> None:
        await sweep.victim(victim)

    with pytest.raises(RuntimeError, match="not through after 10 points"):
        cancel_sweep(scenario, max_points=10)


# ── Two events in one tick ─────────────────────────────────────────────────────────────────────


class Handed:
    """One thing, given to one task. Right, but for the bug: it is lost if its receiver is cancelled
    before it is given, and in the same tick."""

    def __init__(self) -> None:
        self._receiver: trio.lowlevel.Task | None = None
        self.is_free = True

    def give_back(self) -> None:
        self.is_free = self._receiver is None
        if self._receiver is not None and self._receiver.custom_sleep_data is self:
            trio.lowlevel.reschedule(self._receiver)

    async def take(self) -> None:
        self.is_free = False
        self._receiver = trio.lowlevel.current_task()
        self._receiver.custom_sleep_data = self
        try:
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)
        except trio.Cancelled:
            self._receiver = None  # Too late, if it has been given meanwhile.
            raise
        self.is_free = True


async def taken(sweep: Sweep) -> None:
    thing = Handed()
    give_back = sweep.other(thing.give_back)

    async def take_or_leave() -> None:
        with trio.move_on_after(1):
            await thing.take()

    await sweep.victim(take_or_leave)
    give_back()
    assert thing.is_free


def test_what_breaks_only_when_two_events_fall_into_one_tick_is_found_so() -> None:
    cancel_sweep(taken)
    assert cancel_sweep(taken, happens=("other", "cancel"), only=(1, "after"))
    with pytest.raises(AssertionError) as caught:
        cancel_sweep(taken, happens=("cancel", "other"), only=(1, "after"))
    [note] = caught.value.__notes__
    assert note == (
        "When the victim was cancelled and the other event came after step 1. "
        "To repeat: cancel_sweep(…, only=(1, 'after'), happens=('cancel', 'other'))"
    )


def test_the_other_event_comes_once() -> None:
    calls: list[float] = []

    async def scenario(sweep: Sweep) -> None:
        other = sweep.other(lambda: calls.append(trio.current_time()))
        await sweep.victim(trio.sleep, 1)
        other()
        other()

    assert cancel_sweep(scenario, happens=("other",), only=(1, "after")) == 1
    assert calls == [0]
    assert cancel_sweep(scenario, happens=("other",), only=(9, "after")) == 0
    assert calls == [0, 1]
    assert cancel_sweep(scenario, only=(1, "after")) == 1
    assert calls == [0, 1, 0]


def test_a_busy_program_lets_the_clock_jump_at_each_point() -> None:
    ends: list[float] = []

    async def scenario(sweep: Sweep) -> None:
        result = await sweep.victim(trio.sleep, 1)
        assert not result.cancelled
        ends.append(trio.current_time())

    # Before and after step 1, in which it falls asleep; after that time is up; at no point.
    assert cancel_sweep(scenario, happens=(0.75,)) == 3
    assert ends == [1.75, 1.0, 1.75, 1.0, 1.0, 1.0]


def test_control_c_and_another_event_fall_into_one_tick() -> None:
    calls: list[SweepPoint] = []

    async def scenario(sweep: Sweep) -> None:
        sweep.other(lambda: calls.append(sweep.point))
        assert (await sweep.victim(trio.sleep, 1)).cancelled

    point = SweepPoint(1, "after")
    assert cancel_sweep(scenario, with_signal=True, happens=("other", "cancel"), only=point) == 1
    assert calls == [point]


def test_an_event_that_fails_fails_the_scenario_and_tells_the_point() -> None:
    async def scenario(sweep: Sweep) -> None:
        sweep.other(never)
        await sweep.victim(trio.sleep, 1)

    def never() -> None:
        raise LookupError("planted")

    with pytest.raises(LookupError, match="planted") as caught:
        cancel_sweep(scenario, happens=("other", 0.5), only=(1, "after"))
    assert "When the other event came and the program was busy for 0.5 s" in str(
        caught.value.__notes__
    )


def test_a_share_of_the_points_is_a_sample_and_the_same_for_the_same_seed() -> None:
    def tried(**options: float) -> list[SweepPoint]:
        seen: list[SweepPoint] = []

        async def scenario(sweep: Sweep) -> None:
            seen.append(sweep.point)
            await sweep.victim(steps)

        cancel_sweep(scenario, **options)  # type: ignore[arg-type]
        return seen

    async def steps() -> None:
        for _ in range(50):
            await trio.lowlevel.checkpoint()

    everything = tried()
    assert everything == tried(share=1.0)
    sample = tried(share=0.2)
    assert sample == tried(share=0.2, seed=0) != tried(share=0.2, seed=1)
    assert 10 < len(sample) < 40
    assert set(sample) <= {SweepPoint(step, when) for step, when in everything} | {sample[-1]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"happens": ("cancelled",)}, "'cancelled'"),
        ({"happens": (-1,)}, "-1"),
        ({"share": 0}, "more than 0"),
        ({"share": 1.5}, "at most 1"),
    ],
)
def test_what_can_not_happen_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cancel_sweep(never_run, **options)


def test_an_other_event_has_to_be_named() -> None:
    async def scenario(sweep: Sweep) -> None:
        await sweep.victim(trio.sleep, 1)

    with pytest.raises(RuntimeError, match="named no other event"):
        cancel_sweep(scenario, happens=("other",))


# ── Control-C ──────────────────────────────────────────────────────────────────────────────────


async def never_run(sweep: Sweep) -> None:
    raise NotImplementedError


def test_control_c_needs_the_main_thread() -> None:
    errors: list[Exception] = []

    def sweep() -> None:
        try:
            cancel_sweep(never_run, with_signal=True)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=sweep)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


def test_control_c_needs_pythons_own_handler() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(RuntimeError, match="Python's handler"):
            cancel_sweep(never_run, with_signal=True)
    finally:
        signal.signal(signal.SIGINT, before)


def test_control_c_needs_the_main_task() -> None:
    errors: list[Exception] = []

    async def other_task(sweep: Sweep) -> None:
        with pytest.raises(RuntimeError, match="own task") as caught:
            await sweep.victim(trio.sleep, 1)
        errors.append(caught.value)

    async def scenario(sweep: Sweep) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other_task, sweep)

    cancel_sweep(scenario, with_signal=True)
    assert errors
