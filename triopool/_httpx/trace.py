"""The ``trace`` extension of httpx: an async callable that is told what happens to a request.

What we have to tell comes up in the middle of things, where nothing may be awaited. So httpcore's
events go on a channel, and a task beside the request awaits the callable for each. The callable is
told everything in order, but does not hold up the request. What it raises ends the request.

The pool dials, and not the request, which may be served by a connection that was dialled for
another one. So the events of a dial are told when it is over.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, TypeAlias

import trio

from .._client.delivery import Delivery
from .._errors import ConnectError
from .._groups import most_urgent
from .._pool_key import PoolKey
from .._request.listener import Listener

Trace: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[object]]


class Tracer(Listener):
    """Says with httpcore's names how one request goes, up to the head of its response.

    Args:
      say: takes the name of an event, and what is known about it.
      request: httpcore's own request, which its events carry.
      key: where it goes, and on which way.
      stream_of: makes what httpx calls a network stream.
    """

    def __init__(
        self,
        say: Callable[[str, dict[str, Any]], object],
        request: Any,
        key: PoolKey,
        stream_of: Callable[[Any], Any],
    ) -> None:
        self._say = say
        self._request = {"request": request}
        self._key = key
        self._stream_of = stream_of
        # What was begun and has neither been completed nor failed.
        self._under_way: str | None = None

    def begun(self, connection: Any, *, reused: bool) -> None:
        """A connection has been leased, and the request is about to be sent."""
        if self._under_way is not None:
            self._fail(None)
            self._begin("connection.retry", {"delay": 0.0})
            self._complete()
        if not reused:
            self._tell_of_dial(connection)
        self._begin("http11.send_request_headers", self._request)

    def _tell_of_dial(self, connection: Any) -> None:
        stream = self._stream_of(connection)
        self._begin_dial()
        self._complete(stream)
        for name in _names_for_tls(self._key):
            self._begin("connection.start_tls", {"server_hostname": name})
            self._complete(stream)

    def written(self) -> None:
        """The whole request has been handed to the system."""
        self._complete()
        self._begin("http11.send_request_body", self._request)
        self._complete()
        self._begin("http11.receive_response_headers", self._request)

    def answered(self, delivery: Delivery) -> None:
        if self._under_way == "http11.send_request_headers":
            self.written()  # Not all of it, for the answer came early.
        head = delivery.exchange.response
        version = b"HTTP/" + head.http_version
        self._complete((version, head.status_code, head.reason, delivery.raw_headers))

    def failed(self, error: BaseException) -> None:
        if not isinstance(error, Exception):
            return  # Cancelled, as is the task that would tell of it.
        if self._under_way is None and isinstance(error, ConnectError):
            self._begin_dial()
        self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        """What was under way has failed; before anything was, it was the dial, if it got so far."""
        if self._under_way is not None:
            self._say(f"{self._under_way}.failed", {"exception": error})
            self._under_way = None

    def _begin_dial(self) -> None:
        first = self._key.proxies[0].origin if self._key.proxies else self._key.origin
        self._begin("connection.connect_tcp", {"host": first.host, "port": first.port})

    def _begin(self, name: str, info: dict[str, Any]) -> None:
        self._under_way = name
        self._say(f"{name}.started", info)

    def _complete(self, value: object = None) -> None:
        self._say(f"{self._under_way}.complete", {"return_value": value})
        self._under_way = None


def _names_for_tls(key: PoolKey) -> list[str]:
    """What each handshake of a dial asks for, in their order: proxies' first, then the origin's."""
    names = [
        proxy.server_hostname or proxy.origin.host
        for proxy in key.proxies
        if proxy.origin.scheme == "https"
    ]
    return [*names, key.server_hostname or key.origin.host] if key.has_tls else names


async def traced(
    trace: Trace, work: Callable[[Callable[[str, dict[str, Any]], object]], Awaitable[None]]
) -> None:
    """Await ``work(say)``; await *trace* for all that it says, in a task beside it.

    Raises:
      Exception: what *trace* raises, or what *work* does; never in a group.
    """
    send, receive = trio.open_memory_channel[tuple[str, dict[str, Any]]](math.inf)
    stop: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pump, trace, receive)
            with send:
                try:
                    await work(lambda name, info: send.send_nowait((name, info)))
                except Exception as exc:
                    stop = exc
    except BaseExceptionGroup as group:
        stop = most_urgent(group)
    if stop is not None:
        raise stop


async def _pump(trace: Trace, events: AsyncIterable[tuple[str, dict[str, Any]]]) -> None:
    # Not protected from control-C: this task runs the caller's code, which should be interrupted
    # like any other. A KeyboardInterrupt that is raised here, in our own line, ends the nursery of
    # this one request, cancels the request, and goes on to the caller. Nothing is held here that
    # could be lost with it: the request looks after its connection in the other task.
    async for name, info in events:
        await trace(name, info)
