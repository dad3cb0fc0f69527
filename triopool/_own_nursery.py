"""A nursery for an object's own tasks, out of which no exception group comes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import trio


class OwnNursery:
    """Runs the tasks of an object that is an ``async with`` block to its users.

    A nursery that is told of the exception which ended its block puts it into a group: ``except
    KeyError`` around the block would not catch the program's own KeyError. So ours is told of no
    exception; the block's goes on as itself. That is right as long as our tasks raise nothing, and
    have been cancelled when we close.

    (``testing/_network.py`` does the same, for it imports nothing of ours but ``abc``.)
    """

    def __init__(self) -> None:
        # Around the nursery. It is shielded at the end; see close().
        self._scope = trio.CancelScope()
        # None before open(): Trio makes nurseries in a run only.
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None

    async def open(self) -> trio.Nursery:
        """To be called once, by the task that closes it."""
        self._scope.__enter__()
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        return self._nursery

    def cancel(self) -> None:
        """Cancel all tasks in it. May be called again."""
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

    async def close(self) -> None:
        """Wait for all tasks to end, which have been cancelled.

        Shielded, so that a cancelled program waits too, and leaves no task and no socket behind.
        """
        assert self._manager is not None
        self._scope.shield = True
        try:
            await self._manager.__aexit__(None, None, None)
        finally:
            self._scope.__exit__(None, None, None)
