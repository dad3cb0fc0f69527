"""Deadlines by the thousand, kept by one task.

The obvious way is a cancel scope around each wait. But a scope with a deadline costs 15 µs, a fifth
of what parsing a response costs, and nearly always for nothing: the result comes in time. So we
cancel nobody's wait here. Each wait has a :class:`Deadline`, an entry in a heap. When its time has
come, one task calls a function, and that function makes the wait end: it closes the connection
whose peer is too slow, or gives an error to the request that has waited for too long.

The heap is lazy. An entry says when to *look at* a deadline, which is never later than the deadline
itself. If the deadline has moved on by then, it gets a new entry. Most deadlines are later than the
ones before them, so to start and to stop a clock is mostly to set a number, and the heap is not
touched. A deadline that gets an earlier entry, or that is forgotten, leaves its old entry behind,
dead. The dead are dropped once they are the greater part of the heap: so nothing that is over stays
in memory for long, and dropping an entry costs the same however many there are.

We must not end a wait that a cancel scope would have let be. In each round Trio first sees what has
arrived and wakes the tasks that wait for it, then looks at the clock and cancels what is due, and
then lets each task that is awake take a step. So with a scope, a result that has arrived by that
round wins, however late the program looks. Our task is one among these; they run in no particular
order, and each may compute for long. So we do two things:

- We note the time when we wake, and end what was due by then, not by now.
- We let two rounds pass before that. A deadline may have passed after Trio looked at the clock.
  Then its result wakes its task in the next round, and the task takes its step in that round.

Without these, a program that is busy for a while would lose half of the waits that had a result.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections.abc import Callable

import trio
from trio.lowlevel import enable_ki_protection

logger = logging.getLogger("triopool")


DEAD_AT_MOST = 100
"""How many dead entries are not worth a thought; picked arbitrarily."""

ENDED_AT_ONCE = 100
"""After so many waits ended in one step, other tasks have their turn; picked arbitrarily."""


class Deadline:
    """When one wait will have taken too long, and what ends it then.

    Attributes:
      ends_at: the deadline, on Trio's clock; infinity while the clock does not run.
      is_over: whether it has passed, so that the wait was ended.
      looked_at: when it will be looked at; infinity if it has no entry. :class:`Deadlines` sets it.
    """

    __slots__ = ("_deadlines", "_end_wait", "ends_at", "is_over", "looked_at")

    def __init__(self, deadlines: Deadlines, end_wait: Callable[[], object] | None = None) -> None:
        """*end_wait* has to be synchronous. A subclass may override :meth:`run_out` instead."""
        self.ends_at: float = math.inf
        self.looked_at: float = math.inf
        self.is_over: bool = False
        self._deadlines = deadlines
        self._end_wait = end_wait

    def begin(self, seconds: float | None) -> None:
        """Start the clock: the wait may take *seconds* from now on, or for ever if None."""
        self.ends_at = math.inf if seconds is None else trio.current_time() + seconds
        # A later entry would come too late. An earlier one is put right when it comes up.
        if self.ends_at < self.looked_at:
            self._deadlines.look_at(self, self.ends_at)

    def begin_until(self, ends_at: float) -> None:
        """Start the clock: the wait may take until *ends_at*."""
        self.ends_at = ends_at
        self._deadlines.look_at(self, ends_at)

    def end(self) -> None:
        """Stop the clock. It may be started again."""
        self.ends_at = math.inf

    def forget(self) -> None:
        """Stop the clock for good: nothing of this is to be kept in memory for long."""
        self.ends_at = math.inf
        if self.looked_at < math.inf:
            self.looked_at = math.inf
            self._deadlines.one_more_is_dead()

    def run_out(self) -> None:
        """The time is over: end the wait."""
        self.is_over = True
        assert self._end_wait is not None  # or this is overridden
        self._end_wait()


class Deadlines:
    """All deadlines of a pool: one heap, and the one task that keeps them."""

    def __init__(self) -> None:
        # (when to look at it, a tie-breaker, the deadline)
        self._heap: list[tuple[float, int, Deadline]] = []
        self._ties = itertools.count()
        # How many entries are of no use: replaced by an earlier one, or forgotten.
        self._dead = 0
        # The scope in which the task sleeps; to move its deadline is to wake it earlier.
        self._asleep = trio.CancelScope()
        self._until_stopped = trio.CancelScope(shield=True)

    def __len__(self) -> int:
        """How many entries there are, dead ones included."""
        return len(self._heap)

    def look_at(self, deadline: Deadline, when: float) -> None:
        """For :class:`Deadline`: have an entry at *when*, instead of the later one it may have."""
        replaced = deadline.looked_at < math.inf
        deadline.looked_at = when
        heapq.heappush(self._heap, (when, next(self._ties), deadline))
        if replaced:
            self.one_more_is_dead()
        if when < self._asleep.deadline:
            self._asleep.deadline = when

    def one_more_is_dead(self) -> None:
        """For :class:`Deadline`: its entry is of no use any more."""
        self._dead += 1
        if self._dead > DEAD_AT_MOST and self._dead > len(self._heap) / 2:
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].looked_at]
            heapq.heapify(self._heap)
            self._dead = 0

    @enable_ki_protection
    async def run(self) -> None:
        """Keep all deadlines, until :meth:`stop`.

        Cancelling the task does not end it: a shielded request goes on in a cancelled program, and
        its deadlines with it.
        """
        with self._until_stopped:
            while True:
                first = self._heap[0][0] if self._heap else math.inf
                with trio.CancelScope(deadline=first) as self._asleep:
                    await trio.sleep_forever()
                due = trio.current_time()
                # If a result arrives in the same scheduler tick as its deadline, the result wins,
                # as it would with a cancel scope. It may wake its task in this round or in the
                # next one (the essay says why), so we yield twice before we end anything.
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                await self._end(due)

    def stop(self) -> None:
        """Let :meth:`run` end."""
        self._until_stopped.cancel()

    async def _end(self, due: float) -> None:
        """End the waits whose deadline had passed at *due*."""
        ended = 0
        while self._heap and self._heap[0][0] <= due:
            when, _, deadline = heapq.heappop(self._heap)
            if when != deadline.looked_at:
                self._dead -= 1
                continue
            deadline.looked_at = math.inf
            if deadline.ends_at > due:
                # The clock was stopped, or started again: then we look again when that is due.
                if deadline.ends_at < math.inf:
                    self.look_at(deadline, deadline.ends_at)
                continue
            try:
                deadline.run_out()
            except Exception:
                logger.exception("ending a wait that took too long failed")
            ended += 1
            if ended % ENDED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
