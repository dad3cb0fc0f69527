"""The books of the slot engine: who has what, at this moment.

The parts know one thing each. Here are the steps that touch several of them, so that they agree
again afterwards. Nothing is decided here: who gets what is for :mod:`.dispatcher`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .._errors import PoolClosed
from .slot import Share, Slot, State
from .snapshot import snapshot

if TYPE_CHECKING:
    from .._facts import CloseReason
    from .._pool_key import PoolKey
    from .._statistics import PoolStatistics
    from .bounds import Bounds
    from .dials import Dials, WarmUp
    from .idle import Idle
    from .journal import Journal
    from .waiter import Waiter
    from .waiting import OriginQueue, Origins


class Books:
    """The parts of the engine, and the steps that keep them in agreement."""

    def __init__(
        self, bounds: Bounds, origins: Origins, idle: Idle, dials: Dials, journal: Journal
    ) -> None:
        # The pool's tokens. Each slot that is not CLOSED has one, and nothing else has.
        self.bounds = bounds
        # All who wait, and the origins. A waiter is in here from the step in which it parks to the
        # step in which it is served, fails or leaves. An origin that is full is not in the line.
        self.origins = origins
        # The slots that are IDLE, and no others. While any is in here, no waiter of its origin
        # waits, and none that could have its slot.
        self.idle = idle
        # The slots that are DIALLING, and no others. Each dial has its owner, or is an orphan.
        self.dials = dials
        # What is counted, and what the instrument is still to be told, once the books agree.
        self.journal = journal
        # Why new requests are refused; None while they are not. Once set, nothing becomes idle.
        self.refusal: str | None = None

    def close(self, slot: Slot, reason: CloseReason) -> None:
        """Close an open connection; its slot is free."""
        if slot.state is State.IDLE:
            self.idle.remove(slot)
        slot.close()
        self.journal.closed(slot, reason)
        self.free(slot)

    def free(self, slot: Slot) -> None:
        """Give the tokens of a slot back. It is CLOSED, and so is its descriptor."""
        queue = self.origins.of(slot.share)
        self.bounds.give_back(slot)
        self.origins.line.join(queue)  # The origin may have been full.
        self.origins.forget_if_empty(queue)

    def leave(self, waiter: Waiter) -> None:
        """Forget a waiter that is not served. Its dial goes on without it."""
        if self.origins.remove(waiter):
            dial, waiter.dial = waiter.dial, None
            if dial is not None:
                self.dials.orphan(dial)
            self.origins.forget_if_empty(self.origins.of(waiter.share))

    def dial_for(self, queue: OriginQueue) -> None:
        """Start a dial for the oldest waiting request of an origin. There has to be a slot."""
        waiter = self.origins.take_first(queue)
        waiter.dial = self.dials.start(queue.share, waiter, waiter.timeouts.connect)
        self.journal.dial_started(waiter.dial, waiter)

    def dial_to_warm_up(self, share: Share, warm_up: WarmUp, connect_timeout: float | None) -> None:
        """Start a dial that no request waits for. There has to be a slot."""
        dial = self.dials.start(share, warm_up, connect_timeout)
        warm_up.dials[dial] = None
        self.journal.dial_started(dial, None)

    # ── Questions ──────────────────────────────────────────────────────────────────────────────

    @property
    def has_slot(self) -> bool:
        """Whether a slot can be had at once: a free one, or that of an idle connection."""
        return bool(self.idle.order) or self.bounds.has_token

    @property
    def is_quiet(self) -> bool:
        """Whether no request waits, none is in flight, and no dial is wanted."""
        return not self.under_way

    @property
    def under_way(self) -> int:
        """How many connections are leased, or dialled for a request, and how many requests wait."""
        return self.origins.waiting + self.bounds.borrowed - len(self.idle) - self.dials.orphans

    def refuse_if_closed(self, key: PoolKey) -> None:
        """Raise PoolClosed if the pool takes no new requests."""
        if self.refusal is not None:
            raise self.closed_error(key)

    def closed_error(self, key: PoolKey) -> PoolClosed:
        """The error that a request gets when the pool refuses it."""
        why = self.refusal or "the pool's own block was cancelled"
        return PoolClosed(why, origin=key.origin, phase="pool")

    def doing(self, waiter: Waiter, queue: OriginQueue) -> str:
        """What is going on for a request that waits. Costs the same however many others wait."""
        key, now = waiter.share.key, trio.current_time()
        if (dial := waiter.dial) is not None:
            return f"dialling {key}, for {now - dial.started_at:.3g} s: {dial.tried}"
        what = f"waiting for a connection to {key}, for {now - waiter.queued_at:.3g} s"
        if waiter in queue.waiting:
            others = self.origins.waiting - 1
            what += f", with no slot free, and {others} other requests waiting"
        return what

    def statistics(self) -> PoolStatistics:
        """A frozen snapshot. Looks at every open connection and every waiting request."""
        return snapshot(
            self.bounds.slots,
            self.origins.by_key.values(),
            self.journal.counts,
            self.bounds.max_connections,
        )
