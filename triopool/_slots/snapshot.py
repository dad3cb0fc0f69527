"""How the slot engine's books become statistics."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import trio

from .._statistics import COUNTERS, Counts, OriginStatistics, PoolStatistics
from .slot import Share, Slot, State
from .waiter import Waiter
from .waiting import OriginQueue


def snapshot(
    slots: Collection[Slot],
    queues: Collection[OriginQueue],
    counts: Counts,
    max_connections: int | None,
) -> PoolStatistics:
    """Freeze how things are now, for the pool and for each origin."""
    own: dict[Share, list[Slot]] = {queue.share: [] for queue in queues}
    for slot in slots:
        own[slot.share].append(slot)
    figures = {
        **_gauges(slots, [waiter for queue in queues for waiter in queue.waiting]),
        **_counters(counts),
    }
    return PoolStatistics(
        **figures,
        max_connections=max_connections,
        origins={
            queue.share.key: OriginStatistics(
                **_gauges(own[queue.share], queue.waiting), **_counters(queue.share.counts)
            )
            for queue in queues
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
