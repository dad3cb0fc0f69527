"""What the sockets of one network share: the routes, the tables of open sockets, the log."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import trio
from trio.socket import SocketType

from ._endpoint import Endpoint

Action: TypeAlias = Literal[
    "resolve",
    "socket",
    "setsockopt",
    "bind",
    "connect",
    "connected",
    "failed",
    "shutdown",
    "close",
]


class NetworkEvent(NamedTuple):
    """One thing that the client did to the network; compares equal to a plain tuple.

    Attributes:
      at: when, in seconds on Trio's clock, rounded to the nanosecond: a virtual clock adds up
        floats, and in a test ``0.55`` should mean ``0.55``.
      action: what. ``"connect"`` is the start of an attempt, which ends in ``"connected"``,
        ``"failed"``, or ``"close"`` if it was cancelled.
      endpoint: to whom: ``(address, port)``, a path, or for ``"resolve"`` the name.
      detail: ``(level, option, value)`` for ``"setsockopt"``, the local endpoint for ``"bind"``,
        the name of the errno for ``"failed"``, the flag for ``"shutdown"``; else None.
    """

    at: float
    action: Action
    endpoint: Endpoint
    detail: Any = None


@dataclass(frozen=True, slots=True)
class Route:
    """What happens to an attempt to connect to an endpoint.

    Attributes:
      after: how many seconds the answer takes; ``math.inf`` if none ever comes.
      accept: called with the server's end of each new connection; None refuses them.
      error: the errno to refuse with.
    """

    after: float = 0.0
    accept: Callable[[SocketType], object] | None = None
    error: int = errno.ECONNREFUSED


class Kernel:
    """The part of an operating system that its sockets have in common."""

    def __init__(self, buffer_size: int) -> None:
        self.buffer_size = buffer_size
        self.log: list[NetworkEvent] = []
        self.routes: dict[Endpoint, Route] = {}
        # The sockets that are open, oldest first; dicts for their order. Each enters itself.
        self.client_sockets: dict[SocketType, None] = {}
        self.server_sockets: dict[SocketType, None] = {}
        self._ports = itertools.count(49152)  # the first of the dynamic ones, RFC 6335 section 6
        # Far above any real descriptor: if one of these ever reaches a system call, the call fails,
        # and does not hit a file of the test runner.
        self._descriptors = itertools.count(1_000_000_000)

    def record(self, action: Action, where: Endpoint, detail: Any = None) -> None:
        self.log.append(NetworkEvent(round(trio.current_time(), 9), action, where, detail))

    def route_to(self, where: Endpoint) -> Route:
        missing = errno.ENOENT if isinstance(where, str) else errno.ECONNREFUSED
        return self.routes.get(where, Route(error=missing))

    def next_port(self) -> int:
        return next(self._ports)

    def next_descriptor(self) -> int:
        return next(self._descriptors)
