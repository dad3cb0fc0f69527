"""Deadlines by the thousand, kept by one task.

The obvious way is a cancel scope around each wait. But a scope with a deadline costs 15 µs, a fifth
of what parsing a response costs, and nearly always for nothing: what was waited for comes. So
nobody's wait is cancelled here. Whoever waits has an entry in a heap; when its time has come the
task calls a function, which sees to it that the wait ends.

The heap is lazy. An entry tells when to look at something, which is never later than its deadline.
If the deadline has moved on meanwhile, it is looked at again then; since most deadlines are later
than the ones before them, most changes never touch the heap. What has an earlier entry by now, or
does not wait any more, leaves its entry behind, dead. The dead are buried when they are the greater
part: so what is over does not stay in memory, and to bury it costs the same whatever their number.

Nobody's wait may be ended where a scope would have let it be. In each round Trio first sees what
has arrived and wakes who waits for that, then looks at the clock and cancels whose time has come,
and then lets everybody who is awake take a step. So an answer that has arrived by that round is
taken, however late the program looks. We run as a task among these, in no order, and any task may
compute for long in its step. So we note the time when we wake, and end what was due by then, not by
now. And we let two rounds pass before that: what is due may have become so after Trio looked at the
clock; then it is in the next round that its answer wakes its task, and that task takes its step.
Without this, a program that is busy for a while finds half of its waits ended that had an answer.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections.abc import Callable
from typing import Generic, TypeVar

import trio
from trio.lowlevel import enable_ki_protection

logger = logging.getLogger("triopool")


DEAD_AT_MOST = 100
"""How many useless entries are not worth a thought; picked arbitrarily."""

ENDED_AT_ONCE = 100
"""After so many that have waited for too long, others have their turn; picked arbitrarily."""


def deadline(seconds: float | None) -> float:
    """An instant on Trio's clock, *seconds* from now; infinity for None."""
    return math.inf if seconds is None else trio.current_time() + seconds


class Timed:
    """Something that may have waited for too long.

    Attributes:
      ends_at: when it has, on Trio's clock; infinity while it does not wait.
      looked_at: when it will be looked at; infinity if it has no entry. :class:`Deadlines` sets it.
    """

    __slots__ = ("ends_at", "looked_at")

    def __init__(self) -> None:
        self.ends_at = self.looked_at = math.inf


T = TypeVar("T", bound=Timed)


class Deadlines(Generic[T]):
    """Calls *run_out* with whatever has waited for too long, in a task of its own."""

    def __init__(self, run_out: Callable[[T], object]) -> None:
        self._run_out = run_out
        self._heap: list[tuple[float, int, T]] = []
        self._ties = itertools.count()
        # How many entries are of no use: replaced by an earlier one, or forgotten.
        self._dead = 0
        self._asleep = trio.CancelScope()
        self._until_stopped = trio.CancelScope(shield=True)

    def look_at(self, timed: T, when: float) -> None:
        """Have an entry for it at *when*, instead of the later one that it may have."""
        replaced = timed.looked_at < math.inf
        timed.looked_at = when
        heapq.heappush(self._heap, (when, next(self._ties), timed))
        if replaced:
            self._one_more_is_dead()
        if when < self._asleep.deadline:
            self._asleep.deadline = when

    def forget(self, timed: T) -> None:
        """It does not wait, and will not again: it is not to be kept in memory for long."""
        timed.ends_at = math.inf
        if timed.looked_at < math.inf:
            timed.looked_at = math.inf
            self._one_more_is_dead()

    def _one_more_is_dead(self) -> None:
        self._dead += 1
        if self._dead > DEAD_AT_MOST and self._dead > len(self._heap) / 2:
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].looked_at]
            heapq.heapify(self._heap)
            self._dead = 0

    @enable_ki_protection
    async def run(self) -> None:
        """Keep all deadlines, until :meth:`stop`.

        To be cancelled is not enough: a shielded request goes on, and its deadlines with it.
        """
        with self._until_stopped:
            while True:
                first = self._heap[0][0] if self._heap else math.inf
                with trio.CancelScope(deadline=first) as self._asleep:
                    await trio.sleep_forever()
                due = trio.current_time()
                # Whoever has got an answer by now takes it in this round or in the next one.
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                await self._end(due)

    def stop(self) -> None:
        """Let :meth:`run` end."""
        self._until_stopped.cancel()

    async def _end(self, due: float) -> None:
        """End what has waited for too long by the time *due*."""
        ended = 0
        while self._heap and self._heap[0][0] <= due:
            when, _, timed = heapq.heappop(self._heap)
            if when != timed.looked_at:
                self._dead -= 1
                continue
            timed.looked_at = math.inf
            if timed.ends_at > due:
                if timed.ends_at < math.inf:
                    self.look_at(timed, timed.ends_at)
                continue
            try:
                self._run_out(timed)
            except Exception:
                logger.exception("ending a wait that took too long failed")
            ended += 1
            if ended % ENDED_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
