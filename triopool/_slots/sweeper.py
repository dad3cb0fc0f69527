"""The sweeper: a task that looks after idle connections, so that few requests meet unfit ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from .slot import Slot, State

if TYPE_CHECKING:
    from .dispatcher import Dispatcher


SWEEP_AT_LEAST = 1.0
"""Sweeps are at least this many seconds apart, however many connections are due."""

SWEEP_AT_MOST = 5.0
"""A connection closed by its peer while idle is closed by us within about this many seconds."""

LOOKS_AT_ONCE = 100
"""After so many idle connections that were not fit, other tasks have their turn. Picked
arbitrarily: closing one costs the system some 10 to 50 µs."""


class Sweeper:
    """Closes idle connections that have expired, or that their peer has closed. One task."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._idle = dispatcher.books.idle
        self._anything_idle = trio.Event()
        self._idle.on_first = lambda: self._anything_idle.set()

    @enable_ki_protection
    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            if not self._idle:
                self._anything_idle = trio.Event()
                await self._anything_idle.wait()
            now = trio.current_time()
            due = self._idle.next_due(now)
            await trio.sleep(min(max(due - now, SWEEP_AT_LEAST), SWEEP_AT_MOST))
            await self.sweep()

    async def sweep(self) -> None:
        """Look at each idle connection."""
        idle = tuple(self._idle)
        unsure: list[Slot] = []
        for start in range(0, len(idle), LOOKS_AT_ONCE):
            if start:
                await trio.lowlevel.checkpoint()
            some = idle[start : start + LOOKS_AT_ONCE]
            unsure += self._dispatcher.sweep(some, trio.current_time())
        for slot in unsure:
            # It may have been taken, or closed, while we looked at the ones before.
            if slot.state is State.IDLE:
                await self._find_out(slot)
        if unsure:
            self._idle.put_in_order(unsure)

    async def _find_out(self, slot: Slot) -> None:
        self._idle.take(slot)
        self._idle.settling = slot
        try:
            fit = await self._dispatcher.settle(slot)
        finally:
            self._idle.settling = None
        self._dispatcher.settled(slot, fit)
