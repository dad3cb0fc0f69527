"""Tells the instruments how each request goes, from its call to the end of its response.

The engine tells what happens to connections, and knows no requests. What happens to one request is
told here, and every event of it carries the same :class:`RequestInfo`, by whose ``id`` they can be
put together.

A request ends once: it fails before it has a response, or its response ends. A response ends when
the first of these has happened, and what follows is not told:

- its body was delivered to the end, or broke off: ``BodyReader`` tells that;
- it was closed, or its block was left: ``Delivery`` tells that;
- the pool was left, so that nothing more can come.

That is the end for the caller, and not the one for the connection. When a connection is given back
the body has not been decoded yet, which may fail; and a drain goes on after the caller has left.

A pool without instruments has no watches: its requests have the listener that does nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import PoolClosed
from .._exchange.sending import Sending
from .._facts import ConnectionInfo, Outcome, ResponseEnd, ResponseInfo, of_response
from .._instruments.combine import SILENT
from .._request.listener import Listener
from ..abc import Instrument

if TYPE_CHECKING:
    from .delivery import Delivery


class Watches:
    """The watches of one pool.

    Attributes:
      instrument: what is told; for many instruments, the one that stands for them.
      open: the watches of responses that have not ended.
      is_left: whether the pool was left.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.is_left = False
        self.open: dict[Watch, None] = {}
        self._ids = itertools.count(1)

    def begin(self, sending: Sending) -> None:
        """A request begins: watch it, if there are instruments."""
        if self.instrument is not SILENT:
            sending.id = next(self._ids)
            sending.listener = Watch(sending, self)
            self.instrument.request_started(sending.info())

    def pool_left(self) -> None:
        """No response can go on: those that have not ended end now."""
        self.is_left = True
        for watch in tuple(self.open):
            watch.pool_left()


class Watch(Listener):
    """Tells the instruments of one request.

    Where the request has a listener already, that one hears the same up to the response.

    Attributes:
      info: what instruments are told of the request; ``attempt`` changes.
    """

    def __init__(self, sending: Sending, watches: Watches) -> None:
        self.info = sending.info()
        self._callers = sending.listener
        self._watches = watches
        self._instrument = watches.instrument
        self._called_at = self._waits_since = trio.current_time()
        self._response: ResponseInfo | None = None
        # Of the response that has started and has not ended.
        self._delivery: Delivery | None = None

    # ── Up to the response ─────────────────────────────────────────────────────────────────────

    def queued(self, waiting: int) -> None:
        self._instrument.request_queued(self.info, waiting)

    def dial_started(self) -> None:
        self._instrument.request_dial_started(self.info)

    def connected(self, connection: ConnectionInfo, *, reused: bool) -> None:
        seconds = trio.current_time() - self._waits_since
        self._instrument.request_connected(
            self.info, of_response(connection, reused=reused), seconds
        )

    def begun(self, connection: Any, *, reused: bool) -> None:
        self._instrument.request_sent(self.info, connection.info)
        self._callers.begun(connection, reused=reused)

    def written(self) -> None:
        self._callers.written()

    def retried(self, error: BaseException) -> None:
        self._instrument.request_retried(self.info, error)
        self.info = replace(self.info, attempt=self.info.attempt + 1)
        self._waits_since = trio.current_time()

    def failed(self, error: BaseException) -> None:
        self._instrument.request_failed(self.info, error)
        self._callers.failed(error)

    def answered(self, delivery: Delivery) -> None:
        seconds = self.elapsed = trio.current_time() - self._called_at
        exchange = delivery.exchange
        self._response = ResponseInfo(exchange.response.status_code, seconds)
        self._delivery = delivery
        self._watches.open[self] = None
        self._instrument.response_started(self.info, self._response, exchange.connection.info)
        if self._watches.is_left:  # While the head was on its way from the connection to here.
            self.pool_left()
        self._callers.answered(delivery)

    # ── The end of the response ────────────────────────────────────────────────────────────────

    def delivered(self) -> None:
        # What follows a switch is no body, so it has no end of one either.
        if self._delivery is not None and not self._delivery.exchange.switched:
            self._end(Outcome.COMPLETE)

    def broke(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._end(Outcome.FAILED, error)
        else:
            self.left(error)

    def left(self, error: BaseException | None) -> None:
        if self._delivery is None:
            return
        exchange = self._delivery.exchange
        if exchange.is_complete or (exchange.switched and error is None):
            self._end(Outcome.COMPLETE)
        elif exchange.failure is not None:
            self._end(Outcome.FAILED, exchange.failure)  # The caller has not read as far as that.
        else:
            self._end(Outcome.CANCELLED if _is_cancelled(error) else Outcome.LEFT, error)

    def pool_left(self) -> None:
        """The pool has closed all connections."""
        if self._delivery is not None and self._delivery.exchange.is_complete:
            self._end(Outcome.COMPLETE)
        else:
            self._end(Outcome.FAILED, PoolClosed("the pool was left before the response ended"))

    @enable_ki_protection
    def _end(self, outcome: Outcome, error: BaseException | None = None) -> None:
        delivery, self._delivery = self._delivery, None
        if delivery is None:
            return
        assert self._response is not None
        del self._watches.open[self]
        seconds = trio.current_time() - self._called_at
        end = ResponseEnd(outcome, delivery.exchange.body_bytes, seconds, error)
        self._instrument.response_ended(self.info, self._response, end)


def _is_cancelled(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)
