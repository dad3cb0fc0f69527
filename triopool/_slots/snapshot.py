"""How the slot engine's books become statistics."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import trio

from .._statistics import COUNTERS, Counts, OriginStatistics, PoolStatistics
from .slot import Slot, State
from .waiter import Waiter
from .waiting import OriginQueue


def snapshot(
    slots: Collection[Slot],
    queues: Iterable[OriginQueue],
    counts: Counts,
    max_connections: int | None,
) -> PoolStatistics:
    """Freeze how things are now, for the pool and for each origin."""
    own: dict[OriginQueue, list[Slot]] = {queue: [] for queue in queues}
    for slot in slots:
        own[slot.queue].append(slot)
    return PoolStatistics(
        **_gauges(slots, [waiter for queue in own for waiter in queue.waiting]),
        **_counters(counts),
        max_connections=max_connections,
        origins={
            queue.key: OriginStatistics(**_gauges(its, queue.waiting), **_counters(queue.counts))
            for queue, its in own.items()
        },
    )


def _gauges(slots: Collection[Slot], waiting: Collection[Waiter]) -> dict[str, Any]:
    states = [slot.state for slot in slots]
    now = trio.current_time()
    return {
        "open": len(slots),
        "busy": states.count(State.BUSY),
        "idle": states.count(State.IDLE),
        "dialling": states.count(State.DIALLING),
        "waiting": len(waiting),
        "oldest_wait": now - min((waiter.queued_at for waiter in waiting), default=now),
    }


def _counters(counts: Counts) -> dict[str, int]:
    return {name: counts[name] for name in COUNTERS}
