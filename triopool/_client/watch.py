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

A pool without instruments has no watches.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import PoolClosed
from .._exchange.exchange import Exchange
from .._exchange.sending import Sending
from .._facts import ConnectionInfo, Outcome, ResponseEnd, ResponseInfo, of_response
from .._instruments.combine import SILENT
from .._request.listener import Listener
from ..abc import Instrument


class Watches:
    """The watches of one pool: who is told, the numbers of the requests, and the open responses."""

    def __init__(self, tell: Instrument) -> None:
        self._tell = tell
        self._ids = itertools.count(1)
        self._open: dict[Watch, None] = {}
        self._is_left = False

    def watched(self, sending: Sending, work: Awaitable[Exchange]) -> Awaitable[Exchange]:
        """*work*, to be awaited; the instruments are told how it goes, if there are any."""
        return work if self._tell is SILENT else self._watch(sending, work)

    async def _watch(self, sending: Sending, work: Awaitable[Exchange]) -> Exchange:
        sending.id = next(self._ids)
        watch = sending.listener = Watch(sending, self._tell, self._open)
        self._tell.request_started(watch.info)
        try:
            exchange = await work
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


class Watch(Listener):
    """Tells the instruments of one request.

    Where the request had a listener already, that one is told through us what it can't know
    otherwise: that the request is about to be written, and has been.
    """

    def __init__(self, sending: Sending, tell: Instrument, open_watches: dict[Watch, None]) -> None:
        self.info = sending.info()
        self._callers = sending.listener
        self._tell = tell
        self._open = open_watches
        self._called_at = self._waits_since = trio.current_time()
        self._response: ResponseInfo | None = None
        # Of the response that has started and has not ended.
        self._exchange: Exchange | None = None

    # ── Up to the response ─────────────────────────────────────────────────────────────────────

    def queued(self, waiting: int) -> None:
        self._tell.request_queued(self.info, waiting)

    def dial_started(self) -> None:
        self._tell.request_dial_started(self.info)

    def connected(self, connection: ConnectionInfo, *, reused: bool) -> None:
        seconds = trio.current_time() - self._waits_since
        self._tell.request_connected(self.info, of_response(connection, reused=reused), seconds)

    def begun(self, connection: Any, *, reused: bool) -> None:
        self._tell.request_sent(self.info, connection.info)
        self._callers.begun(connection, reused=reused)

    def written(self) -> None:
        self._callers.written()

    def retried(self, error: BaseException) -> None:
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
        # What follows a switch is no body, so it has no end of one either.
        if self._exchange is not None and not self._exchange.switched:
            self._end(Outcome.COMPLETE)

    def broke(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._end(Outcome.FAILED, error)
        else:
            self.left(error)

    def left(self, error: BaseException | None) -> None:
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
