"""A response on its way to its caller: the body being read, and the connection being given up.

A program sees a ``Response``, and that stands on this. What ends a response without being its
reader talks to this too: the ``stream()`` block, a redirect that leads on, the stream that httpx
reads. So a response has one place where it ends, and all that it holds ends there:

- its connection goes back, is drained, or is closed: at once, synchronously;
- the upload that may still be under way is stopped, and its iterator closed: that can take a
  moment, because the iterator is the caller's code, so it is waited for (:meth:`Delivery.join`);
- the listener of the request is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import TriopoolError
from .._exchange.reader import BodyReader

if TYPE_CHECKING:
    from .._exchange.exchange import Exchange


class Delivery:
    """The response of one exchange, from the arrival of its head on.

    Attributes:
      exchange: what it is the response of.
      previous: that of the response whose redirect led here; None if none did.
      elapsed: seconds from the beginning of the request to the arrival of the head.
      closed: whether it has been closed, by any task. What was read before stays.
    """

    __slots__ = (
        "_listener",
        "_reader",
        "_start_drain",
        "closed",
        "elapsed",
        "exchange",
        "previous",
    )

    def __init__(
        self,
        exchange: Exchange,
        start_drain: Callable[[Exchange], None],
        previous: Delivery | None = None,
    ) -> None:
        self.exchange: Exchange = exchange
        self.previous: Delivery | None = previous
        self.elapsed: float = trio.current_time() - exchange.sending.began_at
        self.closed: bool = False
        self._reader = BodyReader(exchange)
        self._listener = exchange.sending.listener
        self._start_drain = start_drain

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The fields of the head, as they were sent."""
        return self.exchange.response.read_fields()

    # ── Reading ────────────────────────────────────────────────────────────────────────────────

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`receive` may return without a checkpoint."""
        return self._reader.is_ready

    async def receive(self, max_bytes: int | None = None) -> bytes:
        """The next bytes of the body; ``b""`` at its end. A checkpoint only if it has to wait.

        If cancelled no byte is lost, and it may be called again.

        Raises:
          TriopoolError: as :meth:`Response.read` tells.
          trio.ClosedResourceError: the response was closed, perhaps meanwhile.
        """
        self.check_open()
        try:
            return await self._reader.read(max_bytes)
        except TriopoolError:
            self.check_open()  # Another task may have closed the response.
            raise

    @enable_ki_protection
    async def read_all(self) -> bytes:
        """The rest of the body, to its end. If cancelled, the connection is closed.

        Raises:
          BaseException: as :meth:`receive`. And if an upload under way is the reason, its error.
        """
        try:
            return await self._reader.read_all()
        except trio.BusyResourceError:
            raise  # Another task reads: what it gets is its own, and stays.
        except BaseException as exc:
            # What was raised may not be what went wrong first. Another task may have closed the
            # response under us: then that is what we say. Or an upload has failed beside us, and
            # has closed the connection: then its error is the cause, and what the reader got only
            # follows from it.
            closed_by_another_task = self.closed and isinstance(exc, TriopoolError)
            self._listener.broke(exc)
            self.close(drain=False)
            await self.join()
            if closed_by_another_task:
                raise _closed() from None
            first = self.exchange.first_cause(exc)
            if first is exc:
                raise
        try:
            # Not where *exc* was caught: the first cause keeps the cause and context that it has.
            raise first
        finally:
            del first  # which refers to this frame

    def check_open(self) -> None:
        """Raise trio.ClosedResourceError if it was closed."""
        if self.closed:
            raise _closed()

    # ── Ending ─────────────────────────────────────────────────────────────────────────────────

    @enable_ki_protection
    def close(self, *, drain: bool = True, error: BaseException | None = None) -> None:
        """Give the connection up, now. May be called again.

        Args:
          drain: whether a small rest of the body may be read by the pool, for the connection's
            sake. Else an unread connection is closed.
          error: what has ended the block or the reading; None if nothing has.
        """
        self._listener.left(error)
        closed_before, self.closed = self.closed, True
        if closed_before or self.exchange.ended:
            return
        # A drain reads the rest of the body so that the connection can be reused: worth it if the
        # rest is small. While another task is reading, that one would lose bytes to the drain; so
        # the connection is closed, and the task hears that the response was.
        if drain and self.exchange.worth_draining and not self._reader.is_busy:
            self._start_drain(self.exchange)
        else:
            self.exchange.abandon()

    async def join(self) -> None:
        """Wait until the iterator of the request's body has been closed. Not for the server.

        Shielded, and no checkpoint if there is nothing to wait for.
        """
        await self.exchange.join()

    async def leave(self, error: BaseException | None) -> None:
        """Close it as its block is left, with the exception *error* if there is one.

        An exception, Cancelled or one of the caller's own, closes an unread connection: a program
        that gives up should not keep a server busy with the rest.

        Raises:
          BaseException: what the iterator of the request's body raised, if no read told of it.
        """
        self.close(drain=error is None, error=error)
        await self.join()
        await trio.lowlevel.cancel_shielded_checkpoint()
        if error is None and (untold := self.exchange.take_untold()) is not None:
            raise untold

    async def give_up_body(self) -> None:
        """No other request will send the request's body: close it, unless it is being sent now."""
        await self.exchange.give_up_body()


def _closed() -> trio.ClosedResourceError:
    return trio.ClosedResourceError("the response was closed: it is read before its block is left")
