"""The channel in which the waiters of one origin are parked.

It is one of Trio's memory channels, and :mod:`.waiter` says what we need it for. Why a channel for
each origin, and not for each waiter: a channel is ten objects. With ten thousand requests waiting
the garbage collector looks at each of them again and again, and a waiting request cost half as much
again. See ``docs/performance.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .slot import Slot


SPARE_ENDS = 100
"""How many ends of a channel are kept for the next waiters; picked arbitrarily. To make one takes
about as long as all that Trio does to hand a connection over."""


class Channel:
    """Hands connections to the tasks that are parked in it, in the order in which they parked.

    It is without a buffer, so nothing can lie in it that no task has. And Trio's channel is made
    for the first waiter only: most origins never have one.
    """

    __slots__ = ("_receive", "_send", "_spare_ends", "_youngest")

    def __init__(self) -> None:
        self._send: trio.MemorySendChannel[Slot] | None = None
        # This end is never received from: it is there to be cloned.
        self._receive: trio.MemoryReceiveChannel[Slot] | None = None
        # The ends of waiters that were served; no task is parked there. The next waiters use them.
        self._spare_ends: list[trio.MemoryReceiveChannel[Slot]] = []
        # The age of the youngest that was ever parked in here.
        self._youngest = -1

    def enter(self, age: int) -> tuple[trio.MemoryReceiveChannel[Slot], bool]:
        """A receiving end of the channel, for a waiter that parks in this step.

        Returns:
          The end, and whether the waiter comes in turn: all others that were ever parked are older.
        """
        if self._receive is None:
            self._send, self._receive = trio.open_memory_channel(0)
        in_turn = age > self._youngest
        if in_turn:
            self._youngest = age
        end = self._spare_ends.pop() if self._spare_ends else self._receive.clone()
        return end, in_turn

    def send(self, slot: Slot, end: trio.MemoryReceiveChannel[Slot]) -> None:
        """Hand a connection to the waiter that has been parked for longest, which is at *end*."""
        assert self._send is not None
        self._send.send_nowait(slot)
        if len(self._spare_ends) < SPARE_ENDS:
            self._spare_ends.append(end)

    @property
    def parked(self) -> int:
        """How many tasks are parked in here."""
        return 0 if self._send is None else self._send.statistics().tasks_waiting_receive
