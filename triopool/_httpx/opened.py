"""The pools that a task has opened by its transports, and the order in which they are left.

A client of httpx opens its transport and then its mounts, and closes them in the same order. A
pool has a nursery, and the nurseries of a task have to be left in the reverse order. So a pool
whose turn has not come is closed at once, with all its connections. Its nursery, in which nothing
but its keepers is left, is left together with those that were opened after it. It must not be
cancelled before: the task is in it, and in all the blocks that it has entered since.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import trio
from trio.lowlevel import enable_ki_protection

from .._pool import ConnectionPool, close_all

_of_tasks: WeakKeyDictionary[trio.lowlevel.Task, Opened] = WeakKeyDictionary()


class Opened:
    """The pools of one task that were opened and whose nurseries have not been left."""

    def __init__(self) -> None:
        self._pools: list[ConnectionPool] = []

    async def open(self, pool: ConnectionPool) -> None:
        """Open *pool*, in this task."""
        await pool.__aenter__()
        self._pools.append(pool)

    @enable_ki_protection
    async def close(self, pool: ConnectionPool) -> None:
        """Close *pool*; leave all that can be left then."""
        close_all(pool)
        while self._pools and not self._pools[-1].is_open:
            await self._pools.pop().__aexit__(None, None, None)


def opened_by_this_task() -> Opened:
    """The same object for the same task."""
    return _of_tasks.setdefault(trio.lowlevel.current_task(), Opened())
