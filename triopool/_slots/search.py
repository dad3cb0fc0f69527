"""The search for an idle connection that is fit, where one glance does not find it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .._facts import CloseReason, Condition
from .slot import Slot, State
from .sweeper import LOOKS_AT_ONCE

if TYPE_CHECKING:
    from .._origin import PoolKey
    from .dispatcher import Dispatcher


class Search:
    """One request looks at the idle connections of its origin, the newest first.

    What is found unfit is closed, but for the last one: its slot is *kept* until the request stands
    in line. Until then tasks may run that came after it. If the slot was given up before, a younger
    request could get it, and this one would wait behind that (rule 7).

    """

    __slots__ = ("_dispatcher", "_kept", "_key", "_reason")

    def __init__(self, dispatcher: Dispatcher, key: PoolKey, kept: Slot | None) -> None:
        """*kept* is the slot of a stale connection that the request had before, if any."""
        self._dispatcher = dispatcher
        self._key = key
        self._kept = kept
        # Why the connection in that slot is to be closed.
        self._reason = CloseReason.STALE

    @property
    def kept(self) -> tuple[Slot, CloseReason] | None:
        """The slot that was kept, and why its connection is to be closed.

        None if there is none, or if it was closed while we looked: the pool may have been shut.
        """
        if self._kept is None or self._kept.state is State.CLOSED:
            return None
        return self._kept, self._reason

    async def run(self) -> Slot | None:
        """Take the newest connection that is fit; None if there is none.

        If this is cancelled, nothing is kept.

        Raises:
          PoolClosed: the pool was closed, and so was the connection that was looked at.
        """
        try:
            slot = await self._run()
            if slot is None:
                await trio.lowlevel.checkpoint_if_cancelled()
                if self.kept is None:
                    self._dispatcher.books.refuse_if_closed(self._key)
            return slot
        except BaseException:
            self._let_go()
            raise

    async def _run(self) -> Slot | None:
        origins, idle = self._dispatcher.books.origins, self._dispatcher.books.idle
        looks = 0
        while (queue := origins.by_key.get(self._key)) is not None and queue.idle:
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
