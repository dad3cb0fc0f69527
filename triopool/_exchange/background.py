"""What the pool does for a request beside it: uploads, and the draining of what was not read.

These tasks run in the pool's nursery, so an exception that left one of them would end the pool, and
with it every request of the program. None leaves: each is work on one exchange, and what goes wrong
there is told by the exchange, or logged here if it is a bug of ours.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio
from trio.lowlevel import enable_ki_protection

logger = logging.getLogger("triopool")


class Background:
    """Starts such tasks, and stops them when the pool is left."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        # What ends each of them, with its name.
        self._stops: dict[Callable[[], object], str] = {}

    def open(self, nursery: trio.Nursery) -> None:
        """Run them in *nursery*."""
        self._nursery = nursery

    def start(
        self, work: Callable[[], Awaitable[None]], *, stop: Callable[[], object], name: str
    ) -> None:
        """Begin to *work*; *stop* ends that, synchronously, when the pool is left."""
        assert self._nursery is not None
        self._stops[stop] = name
        self._nursery.start_soon(self._run, work, stop, name=name)

    def count(self, name: str) -> int:
        """How many of that name there are."""
        return list(self._stops.values()).count(name)

    def stop(self) -> None:
        """End all of them."""
        for stop in tuple(self._stops):
            stop()

    # What runs in here has no caller to whom control-C could be told. The main task is told.
    @enable_ki_protection
    async def _run(self, work: Callable[[], Awaitable[None]], stop: Callable[[], object]) -> None:
        try:
            await work()
        except Exception:
            logger.exception("a task of the pool failed; its connection is closed")
            stop()
        finally:
            self._stops.pop(stop, None)
