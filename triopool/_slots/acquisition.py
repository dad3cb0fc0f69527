"""How a request gets a connection where a glance is not enough: look for one, then wait for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .._facts import CloseReason, Condition
from .slot import Slot, State
from .sweeper import LOOKS_AT_ONCE
from .waiter import Waiter, WaitListener

if TYPE_CHECKING:
    from .._config import Timeouts
    from .._deadlines import Deadlines
    from .._origin import PoolKey
    from .dispatcher import Dispatcher


class Acquisition:
    """One request on its way to a connection.

    What it may own is *kept*: the slot of a connection that it has found unfit. While the request
    does not stand in line yet, tasks may run that came after it. If the slot was given up before, a
    younger request could get it, and this one would wait behind it (rule 7).

    Attributes:
      key: whom to connect to.
      age: smaller is older.
      waited: how much of its pool timeout it has used up, in seconds.
    """

    __slots__ = ("_dispatcher", "_is_new", "_kept", "_reason", "age", "key", "waited")

    def __init__(
        self,
        dispatcher: Dispatcher,
        key: PoolKey,
        age: int,
        waited: float,
        kept: Slot | None,
        is_new: bool,
    ) -> None:
        """*kept* is the slot of a stale connection that this is to replace, unless *is_new*."""
        self.key = key
        self.age = age
        self.waited = waited
        self._dispatcher = dispatcher
        self._is_new = is_new
        self._kept = kept
        # Why the connection in that slot is to be closed.
        self._reason = CloseReason.STALE

    async def look(self) -> Slot | None:
        """Take the newest idle connection that is fit; None if there is none.

        Those that are not fit are closed, but for the last one: its slot is kept.
        """
        if self._kept is None:
            self._dispatcher.books.refuse_if_closed(self.key)
        try:
            slot = await self._take_fit()
            if slot is None:
                # Nothing is dialled for a request that was cancelled before it began.
                await trio.lowlevel.checkpoint_if_cancelled()
            return slot
        except BaseException:
            self._let_go()
            raise

    async def _take_fit(self) -> Slot | None:
        origins, idle = self._dispatcher.books.origins, self._dispatcher.books.idle
        looks = 0
        while (queue := origins.by_key.get(self.key)) is not None and queue.idle:
            slot = idle.newest(queue)
            # No request waits for the slot of the one before: it would have had that of this one.
            self._let_go()
            idle.take(slot)
            if slot.has_expired(trio.current_time()):
                self._reason = CloseReason.EXPIRED
            elif await self._is_fit(slot):
                return slot
            else:
                self._reason = CloseReason.STALE
            self._kept = slot
            looks += 1
            if looks % LOOKS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return None

    async def _is_fit(self, slot: Slot) -> bool:
        match slot.glance():
            case Condition.FRESH:
                return True
            case Condition.STALE:
                return False
            case Condition.UNSURE:
                return await self._dispatcher.settle(slot)

    def _let_go(self) -> None:
        slot, self._kept = self._kept, None
        if slot is not None:
            self._dispatcher.close(slot, self._reason)

    def stand_in_line(
        self, timeouts: Timeouts, listener: WaitListener | None, deadlines: Deadlines
    ) -> Waiter:
        """Become a waiter, whose task has to wait in this very step.

        Raises:
          PoolClosed, PoolFull: it may not.
        """
        dispatcher, books, kept = self._dispatcher, self._dispatcher.books, self._kept
        if kept is not None and kept.state is State.CLOSED:
            kept = None  # The pool was closed, or has retired it, while we looked.
        if kept is None:
            books.refuse_if_closed(self.key)
        queue = books.origins.queue(self.key)
        if self._is_new and self._kept is None:
            dispatcher.refuse_if_too_many_wait(queue)
        self._kept = None
        waiter = Waiter(
            queue, self.age, timeouts, self.waited, listener, deadlines, dispatcher.time_out
        )
        dispatcher.stand_in_line(waiter, kept, self._reason)
        if waiter.dial is None:
            dispatcher.begin_pool_timeout(waiter)
            books.journal.queued(waiter, books.origins.waiting)
        return waiter
