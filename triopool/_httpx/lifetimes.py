"""Whose pool a transport uses, and for how long: lent, until a block ends, or until the run ends.

Each of the three has a ``pool``, and four moments at which it is told: entered, left, closed, and
asked for a pool that is not open. That last one is the only thing that a request may wait for.
"""

from __future__ import annotations

from typing import Protocol

from .._config import described
from .._pool import ConnectionPool, close_all
from .._trio_only import check_trio
from .opened import Opened, opened_by_this_task


class Lifetime(Protocol):
    """How long the pool of a transport lives."""

    @property
    def pool(self) -> ConnectionPool:
        """The one to use now."""
        ...

    async def enter(self) -> None:
        """The transport is entered. A client does so once more for each mount."""

    async def leave(self) -> None:
        """It is left."""

    def close(self) -> None:
        """It is closed, perhaps without having been entered."""

    async def open(self) -> ConnectionPool:
        """A request has found the pool not open: the one to use instead.

        Raises:
          RuntimeError: it can't be opened here.
        """
        ...


class Lent:
    """A pool that somebody else opens and leaves."""

    def __init__(self, pool: ConnectionPool) -> None:
        if not isinstance(pool, ConnectionPool):
            raise TypeError(f"pool must be a triopool.ConnectionPool, not {described(pool)}")
        self.pool = pool

    async def enter(self) -> None:
        check_trio()

    async def leave(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def open(self) -> ConnectionPool:
        """It will say itself why it can't be used."""
        return self.pool


class InBlock:
    """A pool of the transport's own, from entering it to leaving it.

    Args:
      pool: a new one.
      code: what the caller has made, in code, with {} for how it comes to a pool.
    """

    def __init__(self, pool: ConnectionPool, code: str) -> None:
        self.pool = pool
        self._code = code
        self._entered = 0
        # With those of the task that has entered; None before.
        self._opened: Opened | None = None

    async def enter(self) -> None:
        check_trio()
        opened = opened_by_this_task()
        if not self._entered:
            await opened.open(self.pool)
            self._opened = opened
        elif opened is not self._opened:
            # The last task to leave would close a nursery that another task has opened.
            raise RuntimeError(
                "this transport is open in another task. To share a pool, lend it: "
                + self._code.format("pool=pool")
            )
        self._entered += 1

    async def leave(self) -> None:
        self._entered -= 1
        if self._opened is not None and not self._entered:
            await self._opened.close(self.pool)

    def close(self) -> None:
        """Close all connections. The pool is left where it was entered."""
        close_all(self.pool)

    async def open(self) -> ConnectionPool:
        for_run = self._code.format("lifetime='run'")
        raise RuntimeError(
            "the pool of this transport is not open. Open one, and lend it:\n\n"
            "    async with triopool.ConnectionPool() as pool:\n"
            f"        client = {self._code.format('pool=pool')}\n\n"
            "That client needs no block of its own: an SDK may make it, keep it and wrap it. "
            "Without a pool that is lent, a client has to be used in its own block ('async with "
            "... as client:'), or has a pool until the Trio run ends, if you say so:\n\n"
            f"    client = {for_run}\n"
        )
