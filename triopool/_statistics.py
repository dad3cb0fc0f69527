"""What the pool counts, and the frozen snapshots that show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeAlias

from ._pool_key import PoolKey


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginStatistics:
    """A snapshot of one origin (more exactly, of one pool key: see ``server_hostname``).

    The gauges say how things are now:

    Attributes:
      open: slots in use: ``busy + idle + dialling``.
      busy: connections held by a request, a lease, or a drain.
      idle: connections ready for reuse.
      dialling: dials under way.
      waiting: requests that have neither a connection nor a dial of their own.
      oldest_wait: how long the oldest of those waits, in seconds; 0.0 if none does.

    The counts begin at the pool's start (for an origin: when it was last forgotten):

    Attributes:
      dialled: connections opened.
      dial_failures: dials that ended without one, called off or failed.
      reused: requests that took an idle connection.
      handed_over: requests that waited and were handed a connection, returned or fresh.
      retried: requests sent again because a reused connection was stale.
      evicted: idle or returned connections closed to make room for another origin.
      expired: connections closed for their age, idle time, or number of requests.
      stale: idle connections that the peer had closed or written to.
      discarded: connections that could not be reused after their exchange.
      retired: connections closed by ``retire()`` or ``close_idle()``.
    """

    open: int
    busy: int
    idle: int
    dialling: int
    waiting: int
    oldest_wait: float
    dialled: int
    dial_failures: int
    reused: int
    handed_over: int
    retried: int
    evicted: int
    expired: int
    stale: int
    discarded: int
    retired: int


_GAUGES = ("open", "busy", "idle", "dialling", "waiting", "oldest_wait")

COUNTERS = tuple(field.name for field in fields(OriginStatistics) if field.name not in _GAUGES)
"""The names of the counts."""

Counts: TypeAlias = dict[str, int]
"""Running totals by name; each only ever grows. What is not among COUNTERS may be counted, and is
not shown."""


def nothing_counted() -> Counts:
    return dict.fromkeys(COUNTERS, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics(OriginStatistics):
    """A snapshot of the whole pool: the same figures, over all origins.

    Attributes:
      max_connections: the bound on ``open``; None for none.
      origins: the figures of each origin that has something open or waiting.
      http_parser: what reads the responses: ``"h11"`` or ``"httptools"``.
    """

    max_connections: int | None
    origins: Mapping[PoolKey, OriginStatistics]
    http_parser: str = "h11"
