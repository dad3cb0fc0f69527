"""What is left of a connection once HTTP is over: after 101 Switching Protocols, or CONNECT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from .._protocol.seam import Connection, Upgraded


class UpgradedStream(trio.abc.Stream):
    """A connection that has switched to another protocol, ``response.upgraded``; or one that never
    spoke HTTP: ``pool.connect()``.

    It begins with whatever the server sent right behind its response. It holds its connection, and
    that one's slot, until it is closed, or the block is left; the connection is not used after
    that. Errors are those of any Trio stream: ``trio.BrokenResourceError``,
    ``trio.ClosedResourceError``. No timeout of the pool applies to it.
    """

    def __init__(
        self, upgraded: Upgraded, connection: Connection, close: Callable[[], object]
    ) -> None:
        self._connection = connection
        self._stream, self._lead = upgraded
        self._close = close
        self._sending = False
        self._ended = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send *data*. If cancelled, some of it may have been sent, and no more can be.

        Raises:
          trio.BusyResourceError: another task is sending.
          trio.BrokenResourceError: the connection broke, or an earlier call was cancelled.
          trio.ClosedResourceError: this stream, or the pool, was closed.
        """
        with self._alone():
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room; see :meth:`trio.abc.SendStream`. If cancelled, no harm."""
        with self._alone():
            await self._stream.wait_send_all_might_not_block()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """As Trio's own streams: two tasks would mix their bytes."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes: at least one, and ``b""`` when the peer has ended its side.

        If cancelled, no byte is lost.

        Args:
          max_bytes: how many at most; None for what has arrived.

        Raises:
          trio.BrokenResourceError: the connection broke.
          trio.ClosedResourceError: this stream, or the pool, was closed.
        """
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, not {max_bytes!r}")
        # The response may have been closed, or the pool left, with some of the lead unread.
        if (self._lead or self._ended) and not self._connection.closed:
            await trio.lowlevel.checkpoint()
            size = len(self._lead) if max_bytes is None else max_bytes
            some, self._lead = self._lead[:size], self._lead[size:]
        else:
            some = bytes(await self._stream.receive_some(max_bytes))
        # An end is told again, though what follows it may be an error.
        self._ended = not some
        return some

    @enable_ki_protection
    def close(self) -> None:
        """:meth:`aclose`, but synchronous. May be called again."""
        self._close()

    async def aclose(self) -> None:
        """Close the connection now, without a word to the peer; its slot is free in this tick."""
        self.close()
        await trio.lowlevel.checkpoint()
