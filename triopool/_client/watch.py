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
from .._facts import (
    ConnectionInfo,
    Outcome,
    RequestRecord,
    ResponseEnd,
    ResponseInfo,
    of_response,
)
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
            watch = sending.listener = Watch(sending, self)
            self.instrument.request_started(watch.record.request)
            watch.begin_attempt()

    def pool_left(self) -> None:
        """No response can go on: those that have not ended end now."""
        self.is_left = True
        for watch in tuple(self.open):
            watch.pool_left()


class Watch(Listener):
    """Tells the instruments of one request.

    Where the request has a listener already, that one hears the same up to the response.

    Attributes:
      record: what instruments are told of the request.
    """

    def __init__(self, sending: Sending, watches: Watches) -> None:
        self._sending = sending
        self._callers = sending.listener
        self._watches = watches
        self._instrument = watches.instrument
        self._waits_since = sending.began_at
        info = sending.info()
        self.record = RequestRecord(info, sending.began_at, info.redirects + info.retries)
        # Of the response that has started and has not ended.
        self._delivery: Delivery | None = None

    def begin_attempt(self) -> None:
        """The request is about to be sent: with what the instruments add to it this time."""
        record, sending = self.record, self._sending
        fields = self._instrument.attempt_started(record)
        if fields or sending.request.added:
            # A request never changes, so another one takes its place.
            sending.request = sending.request.with_added(fields or ())
        record.connection = record.error = None

    # ── Up to the response ─────────────────────────────────────────────────────────────────────

    def queued(self, waiting: int) -> None:
        self._instrument.request_queued(self.record.request, waiting)

    def dial_started(self) -> None:
        self._instrument.request_dial_started(self.record.request)

    def connected(self, connection: ConnectionInfo, *, reused: bool) -> None:
        seconds = trio.current_time() - self._waits_since
        told = self.record.connection = of_response(connection, reused=reused)
        self._instrument.request_connected(self.record.request, told, seconds)

    def begun(self, connection: Any, *, reused: bool) -> None:
        if self.record.connection is None:  # It is one that the program has leased.
            self.record.connection = of_response(connection.info, reused=reused)
        self._instrument.request_sent(self.record.request, connection.info)
        self._callers.begun(connection, reused=reused)

    def written(self) -> None:
        self._callers.written()

    def retried(self, error: BaseException) -> None:
        record = self.record
        self._instrument.request_retried(record.request, error)
        record.request = replace(record.request, attempt=record.request.attempt + 1)
        record.resends += 1
        record.error = error
        self._waits_since = trio.current_time()
        self.begin_attempt()

    def retry_planned(self, reason: int | BaseException, seconds: float) -> None:
        self._instrument.request_retry_planned(self.record.request, reason, seconds)

    def failed(self, error: BaseException) -> None:
        record = self.record
        record.error = error
        self._instrument.request_failed(record.request, error)
        self._instrument.request_ended(record)
        self._callers.failed(error)

    def answered(self, delivery: Delivery) -> None:
        exchange, record, head = delivery.exchange, self.record, delivery.exchange.response
        response = record.response = ResponseInfo(
            head.status_code, delivery.elapsed, http_version=head.http_version.decode("ascii")
        )
        self._delivery = delivery
        self._watches.open[self] = None
        self._instrument.response_started(record.request, response, exchange.connection.info)
        if exchange.switched:
            self._instrument.request_ended(record)
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
        record, exchange = self.record, delivery.exchange
        assert record.response is not None
        del self._watches.open[self]
        seconds = trio.current_time() - self._sending.began_at
        end = ResponseEnd(outcome, exchange.body_bytes, seconds, error)
        if exchange.switched:  # Then it was over with the head.
            self._instrument.response_ended(record.request, record.response, end)
            return
        record.end, record.error = end, error
        self._instrument.response_ended(record.request, record.response, end)
        self._instrument.request_ended(record)


def _is_cancelled(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)
