"""Server-sent events from a URL, for as long as the caller wants: connect, read, connect again.

What WHATWG calls an EventSource (HTML, section 9.2), as an object in a block:

    enter ──► connected ──► the stream ended, or broke ──► wait ──► connect ──┐
                  ▲                                         ▲                 │
                  └────────────── 200 ──────────────────────┼─────────────────┤
                                                            └─ can't connect ─┤
    end: 204, or any other answer (an error), or the block is left  ◄─────────┘

It has no task: all of it happens in the task that asks for the next event, and so within that
task's cancel scopes. Nor does it hold a slot while it waits. What it holds is the block of one
``stream()`` at a time, which it leaves when its own block is left.

It stands on nothing but a function that is used like ``pool.stream()``. So whatever has one can
offer this, with its own ways of retrying below. (The block of such a stream is entered in one step
and left in another, so it must hold no cancel scope and no nursery.)

Where we differ from browsers:

- The first connection is made on entering, and if it fails that is raised: most likely the caller
  has to know. Browsers go on trying.
- One that can't be opened again is tried at growing intervals. The standard allows that.
- How long a server lets us wait is bounded on both sides: else a ``retry: 0`` makes us storm it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TypeAlias, cast

import trio
from trio.lowlevel import enable_ki_protection

from .._config import check_count, check_seconds
from .._errors import (
    ConnectError,
    PoolFull,
    PoolTimeout,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    TLSError,
    TriopoolError,
    WriteError,
    WriteTimeout,
)
from .._reading.events import CONTENT_TYPE, ServerSentEvent
from .._reading.items import EventItems
from .._request import fields as _fields
from .._request.fields import Field
from .._request.options import RequestOptions
from .response import Response

StreamFunction: TypeAlias = Callable[..., AbstractAsyncContextManager[Response]]
"""Called as ``pool.stream()`` is."""

RECONNECT_AFTER = 3.0
"""Seconds to wait before connecting again, until the server says. What Chrome has."""
LEAST_DELAY = 0.1
MOST_DELAY = 3600.0
"""Bounds, in seconds, of what a server may ask for. Picked arbitrarily."""
LONGEST_GROWN_DELAY = 60.0
"""To how many seconds our own waiting may grow. Picked arbitrarily."""
MOST_DOUBLINGS = 16

MAX_ID_BYTES = 4096
"""How long an id may be that is to be sent back in a header field. Picked arbitrarily."""

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")

_MAY_PASS = (
    *(ConnectError, ReadError, ReadTimeout, WriteError, WriteTimeout),
    *(PoolTimeout, PoolFull),
)
"""What may be otherwise the next time; but :class:`TLSError` is not."""


class EventSource:
    """The events of a URL; goes on when the connection has ended. From ``pool.events(url)``.

    ``async with pool.events(url) as events: async for event in events: ...``

    Entering it connects. Leaving it, at any point, frees the slot at once. A step that was
    cancelled may be repeated: ``with trio.move_on_after(10): event = await anext(events)``.

    Attributes:
      last_event_id: that of the last event that was given out; to be kept where a later run is to
        go on from there.
      response: the one whose events come now; None while there is no connection.
    """

    def __init__(
        self,
        stream: StreamFunction,
        url: str,
        *,
        last_event_id: str,
        reconnect_after: float,
        max_event_length: int | None,
        options: RequestOptions,
    ) -> None:
        if not isinstance(last_event_id, str):
            raise TypeError(f"last_event_id must be a str, not {type(last_event_id).__name__}")
        if _sendable(last_event_id) is None:
            raise ValueError("last_event_id can't be sent in a header field")
        self._stream = stream
        self._url = url
        self._options = options
        self._max_event_length = check_count("max_event_length", max_event_length)
        self._delay = check_seconds("reconnect_after", reconnect_after) or RECONNECT_AFTER
        self.last_event_id: str = last_event_id
        self.response: Response | None = None
        # The last id of the stream, which an event that says nothing may have told.
        self._id = last_event_id
        self._block: AbstractAsyncContextManager[Response] | None = None
        self._events: EventItems | None = None
        self._connect_at = 0.0
        self._failed = 0
        self._busy = False
        # Why there is nothing more: what each further step raises.
        self._end: Callable[[], BaseException] | None = _not_entered

    # ── The block ──────────────────────────────────────────────────────────────────────────────

    @enable_ki_protection
    async def __aenter__(self) -> EventSource:
        if self._end is not _not_entered:
            raise RuntimeError("this block has been entered already: call events() again")
        self._end = None
        try:
            await self._connect()
        except BaseException:
            self._end = _closed  # Its block has never begun.
            raise
        return self

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end = _closed
        if exc is None and self._events is not None and self.response is not None:
            self.response.close(drain=False)  # Such a stream has no end for which to keep a slot.
        await self._disconnect(exc)

    def __aiter__(self) -> EventSource:
        return self

    @enable_ki_protection
    async def __anext__(self) -> ServerSentEvent:
        """The next event; waits and connects again as needed.

        If cancelled, no event is lost: it may be called again.

        Raises:
          StatusError, RemoteProtocolError: what the server answered is no stream of events.
          TriopoolError: as for ``pool.stream()``, if trying again would not help.
          trio.BusyResourceError: another task is waiting for the next event.
        """
        if self._busy:
            raise trio.BusyResourceError("another task is reading these events")
        self._busy = True
        try:
            while True:
                if self._end is not None:
                    raise self._end()
                event = await self._next()
                if event is not None:
                    self.last_event_id = event.id
                    return event
        finally:
            self._busy = False

    # ── One connection after the other ─────────────────────────────────────────────────────────

    async def _next(self) -> ServerSentEvent | None:
        """The next event; None if the state has changed instead."""
        if self._events is None:
            await self._connect_again()
            return None
        try:
            return await anext(self._events)
        except StopAsyncIteration:
            await self._pause(None)
        except TriopoolError as exc:
            if not _may_pass(exc):
                self._end = _Again(exc)
                await self._disconnect(exc)
                raise
            await self._pause(exc)
        return None

    async def _pause(self, error: TriopoolError | None) -> None:
        """The stream has ended: give its connection up, and wait from now on."""
        assert self._events is not None
        parser, self._events = self._events.parser, None
        self.last_event_id = self._id = parser.last_event_id
        if parser.retry is not None:
            self._delay = min(max(parser.retry, LEAST_DELAY), MOST_DELAY)
        self._failed = 0
        self._connect_at = trio.current_time() + self._delay
        await self._disconnect(error)

    async def _connect_again(self) -> None:
        await trio.sleep_until(self._connect_at)
        if self._end is not None:
            return  # Another task has left the block.
        try:
            await self._connect()
        except TriopoolError as exc:
            if not _may_pass(exc):
                self._end = _Again(exc)
                raise
            self._failed = min(self._failed + 1, MOST_DOUBLINGS)
            grown = min(self._delay * 2**self._failed, LONGEST_GROWN_DELAY)
            self._connect_at = trio.current_time() + max(grown, self._delay)

    async def _connect(self) -> None:
        """Enter the block of a stream; leave it again if it is not one of events."""
        block = self._stream("GET", self._url, **self._request_options())
        response = await block.__aenter__()
        # Nothing between here and the line before can be interrupted: the block is ours.
        self._block, self.response = block, response
        try:
            self._look_at(response)
        except BaseException as exc:
            await self._disconnect(exc)
            raise
        if self._end is not None:  # It was a 204; or another task has left the block.
            await self._disconnect(None)

    def _look_at(self, response: Response) -> None:
        """Begin to read the events of a response, or learn that there are none."""
        if response.status_code == 204:
            self._end = StopAsyncIteration
            return
        response.raise_for_status()
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if response.status_code != 200 or kind != CONTENT_TYPE:
            what = f" and another type than {CONTENT_TYPE}" if response.status_code == 200 else ""
            origin = response.request.origin
            raise RemoteProtocolError(
                f"{origin} answered with {response.status_code}{what}, where events were to come",
                origin=origin,
                phase="read",
            )
        self._events = response.iter_events(
            max_event_length=self._max_event_length, last_event_id=self._id
        )

    async def _disconnect(self, error: BaseException | None) -> None:
        block, self._block, self.response = self._block, None, None
        if block is not None:
            kind = None if error is None else type(error)
            traceback = None if error is None else error.__traceback__
            await block.__aexit__(kind, error, traceback)

    def _request_options(self) -> RequestOptions:
        given = _fields.read(self._options.get("headers") or ())
        fields: list[Field] = [
            *_fields.complete(given, {"Accept": CONTENT_TYPE, "Cache-Control": "no-store"})
        ]
        if self._id:
            fields = _fields.without(fields, frozenset({"last-event-id"}))
            sendable = _sendable(self._id)
            if sendable is None:
                # To go on without it would lose events, or repeat them.
                raise RemoteProtocolError("the id of the last event can't be sent back")
            fields.append(("Last-Event-ID", sendable))
        return cast("RequestOptions", {**self._options, "headers": fields})

    def __repr__(self) -> str:
        state = "no connection" if self.response is None else repr(self.response)
        return f"<triopool.EventSource, {state}>"


class _Again:
    """Raises an error once more."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self) -> BaseException:
        return self._error


def _not_entered() -> BaseException:
    return RuntimeError("write 'async with pool.events(url) as events:' and iterate in that block")


def _closed() -> BaseException:
    return trio.ClosedResourceError("the block of these events was left")


def _may_pass(error: TriopoolError) -> bool:
    return isinstance(error, _MAY_PASS) and not isinstance(error, TLSError)


def _sendable(event_id: str) -> bytes | None:
    """An id as it goes into a header field, in UTF-8; None if it can't."""
    encoded = event_id.strip(" \t").encode("utf-8", "replace")
    is_legal = len(encoded) <= MAX_ID_BYTES and not _CONTROL.search(encoded)
    return encoded if is_legal else None
