"""A look at the pool at the end of a step of the scheduler."""

from __future__ import annotations

import trio

from triopool import ConnectionPool


class AfterThisStep(trio.abc.Instrument):
    """Looks at the pool when the step in which a task is now has ended, before any other step."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._task = trio.lowlevel.current_task()
        self.busy: int | None = None
        trio.lowlevel.add_instrument(self)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self.busy = self._pool.statistics().busy
            trio.lowlevel.remove_instrument(self)
