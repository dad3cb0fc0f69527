"""How long we wait for a peer: the deadlines of all connections, kept by one task.

The obvious way is a cancel scope around each wait. But a scope with a deadline costs 15 µs, a fifth
of what parsing a response costs, and nearly always for nothing: the answer comes. So nobody's wait
is cancelled here. A connection whose peer has been too slow is of no more use in any case, so when
its time has come the keeper *closes* it, and whoever waits on it hears that it was closed, and asks
its patience why.

To start and to stop the clock is then to set a number. The heap has an entry for each connection,
not for each wait, and is lazy: an entry tells when to look at the connection again, which is never
later than its deadline. Since most deadlines are later than the ones before them, most waits never
touch the heap. (Where a shorter wait follows a longer one there is a second entry, and the first is
dead.)

Whoever has got what he waited for in the very step in which his time came has not waited in vain: a
scope would not cancel him either. So the keeper lets everybody else take their step first. Without
that, a program that blocks for a while would find its answers there and half of its connections
closed.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

import trio
from trio.lowlevel import enable_ki_protection

DEAD_AT_MOST = 100
"""How many useless entries are not worth a thought; picked arbitrarily."""


def deadline(seconds: float | None) -> float:
    """An instant on Trio's clock, *seconds* from now; infinity for None."""
    return math.inf if seconds is None else trio.current_time() + seconds


class Patience:
    """What a connection has of it.

    Attributes:
      ends_at: when the peer has been too slow, on Trio's clock; infinity while nobody waits.
      is_over: whether it has been, so that the connection was closed.
    """

    __slots__ = ("_close", "_keeper", "_looked_at", "ends_at", "is_over")

    def __init__(self, keeper: Keeper, close: Callable[[], object]) -> None:
        self.ends_at = math.inf
        self.is_over = False
        self._keeper = keeper
        self._close = close
        # When the keeper will look at it; infinity if it has no entry.
        self._looked_at = math.inf

    def begin(self, seconds: float | None) -> None:
        """Wait for so long from now on; None for ever."""
        self.ends_at = deadline(seconds)
        if self.ends_at < self._looked_at:
            self._keeper.look_at(self, self.ends_at)

    def end(self) -> None:
        """Wait no more."""
        self.ends_at = math.inf


class Keeper:
    """Closes connections whose peers are too slow, in a task of its own."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Patience]] = []
        self._ties = itertools.count()
        # How many entries have been replaced by an earlier one.
        self._dead = 0
        self._asleep = trio.CancelScope()

    def patience(self, close: Callable[[], object]) -> Patience:
        """For a new connection; *close* has to be synchronous."""
        return Patience(self, close)

    def look_at(self, patience: Patience, when: float) -> None:
        """Have an entry for it at *when*, instead of the later one that it may have."""
        self._dead += patience._looked_at < math.inf
        patience._looked_at = when
        heapq.heappush(self._heap, (when, next(self._ties), patience))
        if self._dead > DEAD_AT_MOST and self._dead > len(self._heap) / 2:
            self._bury()
        if when < self._asleep.deadline:
            self._asleep.deadline = when

    def _bury(self) -> None:
        self._heap = [entry for entry in self._heap if entry[0] == entry[2]._looked_at]
        heapq.heapify(self._heap)
        self._dead = 0

    @enable_ki_protection
    async def run(self) -> None:
        """Keep all deadlines, until cancelled."""
        while True:
            due = self._heap[0][0] if self._heap else math.inf
            with trio.CancelScope(deadline=due) as self._asleep:
                await trio.sleep_forever()
            await trio.lowlevel.checkpoint()
            self._look(trio.current_time())

    def _look(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            when, _, patience = heapq.heappop(self._heap)
            if when != patience._looked_at:
                self._dead -= 1
                continue
            patience._looked_at = math.inf
            if patience.ends_at <= now:
                patience.is_over = True
                patience._close()
            elif patience.ends_at < math.inf:
                self.look_at(patience, patience.ends_at)
