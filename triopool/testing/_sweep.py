"""Cancel a piece of code at every moment at which it can be cancelled.

Code that shares something between tasks has to survive the cancellation of any of them at any
time, and tests that cancel "after 0.1 s" say next to nothing about that. The moments which break
such code are a few microseconds wide. Here is the one that has broken most pools::

    task A gives back a slot          task B waits for a slot
    ────────────────────────          ───────────────────────
    hands it to B, unparks B
                                      (B is runnable, and has not run)
    ── cancel B ──
                                      await lot.park() returns, as if nothing had happened
                                      await anything()   → Cancelled, and who has the slot now?

When a task is woken before it is cancelled, Trio lets the wake-up win: ``park()`` returns
normally, and ``Cancelled`` arrives at the *next* checkpoint. So whatever was handed over belongs
to B before B knows, and if B has not taken care of it before its next checkpoint, it is lost for
good. No deadline and no step of B's own falls into that gap, for it lies between two steps of two
tasks.

But it is easy to hit from outside of all tasks. A Trio program is a sequence of steps (a step is
what one task does between two checkpoints) and everything that matters happens at their borders:
a task can be cancelled in the middle of its own step, but it can't notice before the step is
over. So if a program takes n steps, there are finitely many moments to cancel it at, and we can
try them all. An *instrument* is told of every step of every task, and can call
``cancel_scope.cancel()`` right there:

* Run 1 cancels before step 1, run 2 after it, run 3 before step 2, and so on, until the victim is
  through before its moment comes. Steps of *any* task count, from the start of the victim to its
  end, because of the gap above.
* After step k and before step k + 1 may be the same moment, and may not: between two rounds of
  its scheduler, Trio looks at the clock and at the sockets, and wakes tasks. Both are tried.
* Each run is a fresh :func:`trio.run`, for one cancellation changes all that follows. This is
  quadratic; but the clock is a :class:`~trio.testing.MockClock` that jumps, a step takes some
  microseconds, and a hundred steps, which is a lot, take a fraction of a second.
* A lost wake-up is a task that sleeps for ever. On a clock that jumps, for ever comes at once: a
  run that is not through after ``give_up_after`` virtual seconds fails.

What is *not* tried is every order of tasks. Trio tosses a coin for the order of the tasks that
become runnable at the same time, and there is no way to load it from outside. Where two things
happen at one instant, two runs may differ in their steps, and a failure may need some attempts to
be seen again. Keep events apart (no two delays that end together), and a sweep is the same each
time; where that can't be done, sweep more than once.

Two events in one tick are what breaks code that survives each of them. A deadline passes in the
very step in which its answer comes, because another task computes for long; a connection is given
back in the very tick in which its next user is cancelled. With *happens* a sweep puts such things
together at each point, in the order in which they are told: the cancellation; another event, which
the scenario has named (:meth:`Sweep.other`); and a jump of the clock, which is what a program that
is busy for so long looks like to Trio. With ``happens=(0.1,)`` the program is busy at every point
in turn, and nobody is cancelled at all. Where that is a lot of runs, *share* takes a sample of
them, the same one for the same *seed*.

Control-C is another matter than cancellation: it reaches the main task only, it ignores shields,
and nobody catches it on the way. With ``with_signal=True`` the same sweep presses it instead.
Trio takes note of the signal, since an instrument runs in a part of Trio that must not be
interrupted, and raises ``KeyboardInterrupt`` in the main task at its next checkpoint.
"""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar, TypeVarTuple

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

When: TypeAlias = Literal["before", "after"]

Happening: TypeAlias = Literal["cancel", "other"] | float
"""What happens at a point: the victim is cancelled; the event that the scenario has named comes;
or the program is busy for so many seconds of its clock."""


class SweepPoint(NamedTuple):
    """A moment at which to cancel.

    Attributes:
      step: counts the steps of all tasks; 1 is the step in which the victim begins.
      when: before or after that step. ``(1, "before")`` cancels the victim before its first line.
    """

    step: int
    when: When


@dataclass(frozen=True, slots=True)
class VictimResult(Generic[T]):
    """How the victim ended, if not with an exception.

    Attributes:
      cancelled: whether it was cut short. A victim that was cancelled after its last checkpoint
        finishes normally, and so does one that nobody cancelled.
      value: what it returned; None if it was cut short.
    """

    cancelled: bool
    value: T | None


class Sweep:
    """One run of a sweep, as the scenario sees it.

    Attributes:
      point: the moment at which this run cancels.
    """

    def __init__(
        self, point: SweepPoint, *, with_signal: bool, happens: Sequence[Happening] = ("cancel",)
    ) -> None:
        self.point = point
        self._trigger = _Trigger(point)
        self._with_signal = with_signal
        self._happens = tuple(happens)
        self._clock = MockClock(autojump_threshold=0)
        self._main_task: trio.lowlevel.Task | None = None
        self._victims = 0
        self._other: Callable[[], None] | None = None

    def other(self, fn: Callable[[], object]) -> Callable[[], None]:
        """Name the event that is to coincide with the cancellation, before the victim begins.

        In a sweep whose *happens* has ``"other"``, it comes at the point of each run, or earlier
        where the scenario lets it come; in other sweeps it comes there only. So::

            release = sweep.other(holder.release)
            nursery.start_soon(call_after, 0.05, release)
            await sweep.victim(pool.get, url)

        Args:
          fn: synchronous; called between the steps of two tasks.

        Returns:
          A function that calls *fn* if it has not been called yet.
        """
        called = False

        def once() -> None:
            nonlocal called
            if not called:
                called = True
                fn()

        self._other = once
        return once

    def _let_happen(self, cancel: Callable[[], object]) -> None:
        for what in self._happens:
            if what == "cancel":
                cancel()
            elif what == "other":
                assert self._other is not None
                self._other()
            else:
                self._clock.jump(what)

    async def victim(self, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> VictimResult[T]:
        """Run ``async_fn(*args)``, in this task, as the part of the scenario to be cancelled.

        To be called exactly once in a scenario; in a sweep with a signal, by the task that runs
        the scenario, because control-C reaches no other.

        Returns:
          Whether it was cancelled, and its value. Any exception other than the cancellation passes
          on.
        """
        self._victims += 1
        if self._victims > 1:
            raise RuntimeError("a scenario has one victim; sweep.victim() was called again")
        if "other" in self._happens and self._other is None:
            raise RuntimeError("the scenario named no other event: call sweep.other() before")
        if self._with_signal:
            return await self._interrupt(async_fn, *args)
        value: T | None = None
        with (
            trio.CancelScope() as scope,
            self._trigger.armed_with(lambda: self._let_happen(scope.cancel)),
        ):
            value = await async_fn(*args)
        return VictimResult(scope.cancelled_caught, value)

    async def _interrupt(
        self, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts
    ) -> VictimResult[T]:
        if trio.lowlevel.current_task() is not self._main_task:
            raise RuntimeError("with a signal, the scenario's own task must call sweep.victim()")
        value: T | None = None
        interrupted = False
        try:
            with self._trigger.armed_with(lambda: self._let_happen(_press_control_c)):
                value = await async_fn(*args)
        except* KeyboardInterrupt:
            interrupted = True
        finally:
            # If the victim was through before Trio could raise it, it is still due. It must not
            # fall on what the scenario does next.
            if self._trigger.fired and not interrupted:
                with suppress(KeyboardInterrupt):
                    await trio.lowlevel.checkpoint()
        return VictimResult(interrupted, value)

    def _run(self, scenario: Scenario, give_up_after: float) -> bool:
        """Run *scenario* once, and return whether the moment to cancel came."""
        instruments = [self._trigger]
        try:
            trio.run(
                self._main, scenario, give_up_after, clock=self._clock, instruments=instruments
            )
        except BaseException as error:
            error.add_note(self._note())
            raise
        return self._trigger.fired

    async def _main(self, scenario: Scenario, give_up_after: float) -> None:
        self._main_task = trio.lowlevel.current_task()
        # Trio's own tasks are still starting up. Their steps, in whatever order, are not ours.
        await wait_all_tasks_blocked()
        with trio.move_on_after(give_up_after) as scope:
            await scenario(self)
        if scope.cancelled_caught:
            raise trio.TooSlowError(f"the scenario got stuck: {give_up_after:g} s were not enough")
        if not self._victims:
            raise RuntimeError("the scenario did not call sweep.victim()")

    def _note(self) -> str:
        step, when = self.point
        if not self._trigger.fired:
            return f"In the run for ({step}, {when!r}), in which that point was not reached."
        cancelled = "control-C was pressed" if self._with_signal else "the victim was cancelled"
        told = {"cancel": cancelled, "other": "the other event came"}
        what = " and ".join(
            told[one] if isinstance(one, str) else f"the program was busy for {one:g} s"
            for one in self._happens
        )
        how = "" if self._happens == ("cancel",) else f", happens={self._happens}"
        return (
            f"When {what} {when} step {step}. To repeat: cancel_sweep(…, only={(step, when)}{how})"
        )


Scenario: TypeAlias = Callable[[Sweep], Awaitable[object]]


def cancel_sweep(
    scenario: Scenario,
    *,
    with_signal: bool = False,
    happens: Sequence[Happening] = ("cancel",),
    only: tuple[int, When] | None = None,
    share: float = 1.0,
    seed: int = 0,
    max_points: int = 10_000,
    give_up_after: float = 3600.0,
) -> int:
    """Run *scenario* again and again, each time cancelling its victim one moment later.

    For example, "however a request is cancelled, the pool can be used after it"::

        async def scenario(sweep: Sweep) -> None:
            async with Network() as network:
                network.listen("192.0.2.1", 80, http_server(respond))
                async with ConnectionPool(socket_factory=network.socket) as pool:
                    await sweep.victim(pool.get, "http://192.0.2.1/")
                    response = await pool.get("http://192.0.2.1/")
                    assert response.status_code == 200
                assert not network.open_sockets

        def test_a_request_can_be_cancelled_anywhere() -> None:
            cancel_sweep(scenario)

    Not an async function: each run is a :func:`trio.run` of its own, on a clock that jumps.

    Args:
      scenario: sets things up, awaits :meth:`Sweep.victim` once, and asserts that all is well.
      with_signal: press control-C instead of cancelling.
      happens: what happens at each point, in this order, between two steps: ``"cancel"``; a number
        of seconds for which the program is busy, so that the clock jumps by them; ``"other"``, the
        event that the scenario has named with :meth:`Sweep.other`. Without ``"cancel"`` the victim
        is not cancelled.
      only: try this point and no other, to repeat a failure.
      share: which share of the points to try, chosen at random; 1.0 for all of them.
      seed: another sample for another seed.
      max_points: a guard against victims that never end.
      give_up_after: how long one run may take before it counts as stuck, in virtual seconds.

    Returns:
      How many points were tried, that is, in how many runs the victim was there to be cancelled.

    Raises:
      ValueError: *happens* or *share* is none of these.
      RuntimeError: the scenario has no victim or two, or named no other event where there is to be
        one; there are more than *max_points*; or
        *with_signal* is asked for outside of the main thread, or where SIGINT is handled by
        somebody else.
      trio.TooSlowError: a run got stuck.
      BaseException: whatever *scenario* raised, with a note that tells the point.
    """
    for what in happens:
        if what not in ("cancel", "other") and not (isinstance(what, int | float) and what >= 0):
            raise ValueError(f'happens has "cancel", "other" and numbers of seconds, not {what!r}')
    if not 0 < share <= 1:
        raise ValueError(f"share must be more than 0 and at most 1, not {share!r}")
    if with_signal:
        _check_that_trio_gets_the_signal()

    def reached(point: SweepPoint) -> bool:
        return Sweep(point, with_signal=with_signal, happens=happens)._run(scenario, give_up_after)

    if only is not None:
        return int(reached(SweepPoint(*only)))
    dice = random.Random(seed)
    whens: tuple[When, ...] = ("before", "after")
    swept = step = 0
    while swept <= max_points:
        step += 1
        points = [SweepPoint(step, when) for when in whens if dice.random() < share]
        new = sum(map(reached, points))
        if points and not new:
            return swept
        swept += new
    raise RuntimeError(f"the victim was not through after {max_points} points")


def _check_that_trio_gets_the_signal() -> None:
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        raise RuntimeError("control-C can be swept only in the main thread, with Python's handler")


def _press_control_c() -> None:
    signal.raise_signal(signal.SIGINT)


class _Trigger(trio.abc.Instrument):
    """Counts steps while it is armed, and fires at one point."""

    def __init__(self, point: SweepPoint) -> None:
        self.fired = False
        self.error: Exception | None = None
        self._point = point
        self._step = 0
        self._fire: Callable[[], object] | None = None

    @contextmanager
    def armed_with(self, fire: Callable[[], object]) -> Iterator[None]:
        self._fire = fire
        try:
            # This is the middle of a step: its beginning is behind us.
            self._begin_step()
            yield
        finally:
            self._fire = None
            if self.error is not None:
                raise self.error

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._begin_step()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._reach("after")

    def _begin_step(self) -> None:
        if self._fire is not None:
            self._step += 1
            self._reach("before")

    def _reach(self, when: When) -> None:
        if self._fire is not None and (self._step, when) == self._point:
            self.fired = True
            try:
                self._fire()
            except Exception as error:
                # Raised here, it would only switch the instrument off.
                self.error = error
