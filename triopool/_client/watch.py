"""Tells the instruments how each request goes, from its call to the end of its response.

The engine tells what happens to connections, and knows no requests. What happens to one request is
told here, and every event of it carries the same :class:`RequestInfo`, by whose ``id`` they can be
put together.

A request ends once: it fails before it has a response, or its response ends. A response ends when
the first of these has happened, and what follows is not told:

- its body was delivered to the end, or broke off: ``BodyReader`` tells that;
- it was closed, or its block was left: ``Response`` and ``StreamContext`` tell that;
- the pool was left, so that nothing more can come.

That is the end for the caller, and not the one for the connection. When a connection is given back
nobody has decoded the body yet, which may fail; and a drain goes on after the caller has left.

A pool without instruments has no watches: ``request.watch`` is None.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import PoolClosed
from .._exchange.exchange import Exchange
from .._facts import ConnectionInfo, Outcome, RequestInfo, ResponseEnd, ResponseInfo, of_response
from .._instruments.combine import SILENT
from .._request.request import Request
from ..abc import Instrument

if TYPE_CHECKING:
    from .._exchange.exchange import Holding


class Watches:
    """The watches of one pool: who is told, the numbers of the requests, and the open responses."""

    def __init__(self, tell: Instrument) -> None:
        self._tell = tell
        self._ids = itertools.count(1)
        self._open: dict[Watch, None] = {}
        self._is_left = False

    def watched(self, request: Request, sending: Awaitable[Exchange]) -> Awaitable[Exchange]:
        """*sending*, to be awaited; the instruments are told how it goes, if there are any."""
        return sending if self._tell is SILENT else self._watch(request, sending)

    async def _watch(self, request: Request, sending: Awaitable[Exchange]) -> Exchange:
        info = request.info(next(self._ids))
        watch = request.watch = Watch(info, self._tell, self._open)
        self._tell.request_started(info)
        try:
            exchange = await sending
        except BaseException as exc:
            watch.failed(exc)
            raise
        watch.answered(exchange)
        if self._is_left:  # While the head was on its way from the connection to here.
            watch.pool_left()
        return exchange

    def pool_left(self) -> None:
        """No response can go on: those that have not ended end now."""
        self._is_left = True
        for watch in tuple(self._open):
            watch.pool_left()


class Watch:
    """Tells the instruments of one request."""

    def __init__(self, info: RequestInfo, tell: Instrument, open_watches: dict[Watch, None]):
        self.info = info
        self._tell = tell
        self._open = open_watches
        self._called_at = self._waits_since = trio.current_time()
        self._response: ResponseInfo | None = None
        # Of the response that has started and has not ended.
        self._exchange: Exchange | None = None

    # ── Up to the response ─────────────────────────────────────────────────────────────────────

    def queued(self, waiting: int) -> None:
        """It has to wait for a slot; *waiting* requests of the pool do, with this one."""
        self._tell.request_queued(self.info, waiting)

    def dial_started(self) -> None:
        """A dial has begun for it."""
        self._tell.request_dial_started(self.info)

    def connected(self, lease: Holding) -> None:
        """It has a connection of the pool's."""
        seconds = trio.current_time() - self._waits_since
        connection = of_response(lease.connection.info, reused=lease.reused)
        self._tell.request_connected(self.info, connection, seconds)

    def sent(self, connection: ConnectionInfo) -> None:
        """It is about to be written."""
        self._tell.request_sent(self.info, connection)

    def retried(self, error: BaseException) -> None:
        """The connection was stale: it begins again."""
        self._tell.request_retried(self.info, error)
        self.info = replace(self.info, attempt=self.info.attempt + 1)
        self._waits_since = trio.current_time()

    def failed(self, error: BaseException) -> None:
        """There is no response."""
        self._tell.request_failed(self.info, error)

    def answered(self, exchange: Exchange) -> None:
        """The head of the response is here."""
        seconds = trio.current_time() - self._called_at
        self._response = ResponseInfo(exchange.response.status_code, seconds)
        self._exchange = exchange
        self._open[self] = None
        self._tell.response_started(self.info, self._response, exchange.connection.info)

    # ── The end of the response ────────────────────────────────────────────────────────────────

    def delivered(self) -> None:
        """The reader was given the body to its end."""
        # What follows a switch is no body, so it has no end of one either.
        if self._exchange is not None and not self._exchange.switched:
            self._end(Outcome.COMPLETE)

    def broke(self, error: BaseException) -> None:
        """The body can't be read any further; if cancelled, nobody wants to."""
        if isinstance(error, Exception):
            self._end(Outcome.FAILED, error)
        else:
            self.left(error)

    def left(self, error: BaseException | None) -> None:
        """The response was closed; *error* is what ended its block, if anything did."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.is_complete or (exchange.switched and error is None):
            self._end(Outcome.COMPLETE)
        elif exchange.failure is not None:
            self._end(Outcome.FAILED, exchange.failure)  # Nobody has read as far as that.
        else:
            self._end(Outcome.CANCELLED if _is_cancelled(error) else Outcome.LEFT, error)

    def pool_left(self) -> None:
        """The pool has closed all connections."""
        if self._exchange is not None and self._exchange.is_complete:
            self._end(Outcome.COMPLETE)
        else:
            self._end(Outcome.FAILED, PoolClosed("the pool was left before the response ended"))

    @enable_ki_protection
    def _end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        assert self._response is not None
        del self._open[self]
        seconds = trio.current_time() - self._called_at
        end = ResponseEnd(outcome, exchange.body_bytes, seconds, error)
        self._tell.response_ended(self.info, self._response, end)


def _is_cancelled(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)
