"""A pool until the end of the Trio run, for programs that have no block to open one in.

A pool has tasks, and a task needs a nursery. Here that is Trio's own, for system tasks: one of them
enters the pool when the first request of a run is sent, and is cancelled by Trio when the main task
has ended. So nothing has to be closed, and nobody sees the end of it. What follows from that:

* **A system task must not raise**: Trio would end the whole program with a ``TrioInternalError``.
  Nothing leaves ours. What went wrong is a bug of ours, or of what the pool was given; it is
  logged, the pool is closed, its requests fail, and the next one gets another pool.
* **Nobody can be told of requests that are in flight** when the run ends, so they are warned of.
  That warning may be made an error, and must not leave the task either.
* **Closing is not the end of a block.** Who closes a client of several on one transport must not
  break the others' requests. So the pool is given up: it takes no new request, and ends once it has
  none. The next request gets another pool.

A run has a variable of its own for it, so one transport may serve run after run (each test of
pytest-trio is one), or two in two threads.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import PoolClosed
from .._pool import ConnectionPool, requests_of
from .._trio_only import check_trio

logger = logging.getLogger("triopool")


class UntilRunEnds:
    """A pool for each run, opened by its first request.

    Args:
      options: those of a pool.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        if "instruments" in options:  # For more pools than one.
            options = options | {"instruments": tuple(options["instruments"])}
        self._options = options
        self._hosted = trio.lowlevel.RunVar[Hosted | None]("triopool", None)
        ConnectionPool(**options)  # What is wrong is told here, and not by the first request.

    @property
    def pool(self) -> ConnectionPool:
        """That of the current run. It opens in the next tick, if this is the first to ask.

        Raises:
          RuntimeError: there is no run.
          PoolClosed: the run is at its very end, where nothing can be started any more.
        """
        return self._current().pool

    async def enter(self) -> None:
        check_trio()

    async def leave(self) -> None:
        self.close()

    @enable_ki_protection
    def close(self) -> None:
        """Give the pool of this run up. There may be none, and no run."""
        try:
            hosted = self._hosted.get()
        except RuntimeError:
            return  # Not in a run, so nothing is open that we could reach.
        if hosted is not None:
            self._hosted.set(None)
            hosted.give_up()

    async def open(self) -> ConnectionPool:
        while True:
            hosted = self._current()
            await hosted.opened.wait()
            if not hosted.is_given_up:
                return hosted.pool

    @enable_ki_protection
    def _current(self) -> Hosted:
        check_trio()
        hosted = self._hosted.get()
        if hosted is None or hosted.has_ended:
            hosted = Hosted(ConnectionPool(**self._options))
            hosted.start()
            self._hosted.set(hosted)
        return hosted


class Hosted:
    """A pool that a system task enters and leaves.

    Attributes:
      opened: set once it has been entered.
      is_given_up: whether it takes no new request.
      has_ended: whether it has been left.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        self.opened = trio.Event()
        self.is_given_up = self.has_ended = False
        self._unfinished = 0
        self._waiting: trio.lowlevel.Task | None = None

    def start(self) -> None:
        """Begin, in the next tick.

        Raises:
          PoolClosed: Trio starts no system task any more.
        """
        try:
            trio.lowlevel.spawn_system_task(self._host, name="triopool pool of the run")
        except RuntimeError as exc:
            raise PoolClosed("the Trio run is ending: no pool can be opened any more") from exc

    def give_up(self) -> None:
        """End once there is no request. May be called once."""
        self.is_given_up = True
        if self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting)
            self._waiting = None

    async def _host(self) -> None:
        try:
            async with self.pool:
                self.opened.set()
                if not self.is_given_up:
                    await self._wait()
                try:
                    await self.pool.drain()
                finally:
                    self._unfinished = requests_of(self.pool)
        except trio.Cancelled:  # The main task has ended.
            if self._unfinished:
                _warn(self._unfinished)
            raise
        except BaseException:
            logger.exception("the pool of this run has failed; the next request gets another")
        finally:
            self.has_ended = True

    async def _wait(self) -> None:
        """Wait to be given up.

        An event would do, if it could be known what is in flight at the very moment of a
        cancellation. Other system tasks are cancelled with us, and may run before we do.
        """

        def count(_: object) -> trio.lowlevel.Abort:
            self._waiting = None
            self._unfinished = requests_of(self.pool)
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(count)


def _warn(unfinished: int) -> None:
    warning = _Warning(
        f"the Trio run has ended with {unfinished} request(s) in flight, or responses not closed, "
        "on a pool that lives until the run ends: let the main task wait for them"
    )
    del warning  # Now it is told.


class _Warning:
    """Warns when it is gone: what is raised then, Python reports, and nobody gets.

    That is how warnings of unclosed things are told, and a test run that makes them errors sees it.
    """

    def __init__(self, message: str) -> None:
        self._message = message

    def __del__(self) -> None:
        warnings.warn(self._message, ResourceWarning, stacklevel=2)
