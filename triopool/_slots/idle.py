"""Idle connections, in the order in which they were last used.

The store is two orders of the same slots. An origin's own is a stack: its newest connection is
reused first, so that few connections stay in use and the rest age out. The order over all origins
says which connection is evicted where a slot is needed. Both are ordered dictionaries, so a request
touches their ends and nothing in between.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from .._facts import Condition
from .slot import Share, Slot, State

JITTER = 0.1
"""Lifetimes are shortened by up to this fraction, so that they don't all end together."""


class Idle:
    """All idle connections, least recently used first. Knows no clock: *now* is an argument.

    Attributes:
      order: all of them. For this class to change.
      on_first: called when there is an idle connection and there was none. The sweeper sets it.
      settling: a connection that the sweeper has taken out for a look. No request uses it.
    """

    on_first: Callable[[], object]

    def __init__(self, idle_timeout: float | None, max_lifetime: float | None) -> None:
        self._idle_timeout = math.inf if idle_timeout is None else idle_timeout
        self._max_lifetime = math.inf if max_lifetime is None else max_lifetime
        self.order: OrderedDict[Slot, None] = OrderedDict()
        self._uses = itertools.count()
        self.settling: Slot | None = None

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.order)

    @property
    def oldest(self) -> Slot:
        """The one that was not used for longest."""
        return next(iter(self.order))

    def newest(self, share: Share) -> Slot:
        """The one of an origin that was used last."""
        return next(reversed(share.idle))

    def add(self, slot: Slot) -> None:
        """Keep a connection that was just used, or just opened."""
        slot.move(State.IDLE)
        slot.fresh = False
        slot.share.idle[slot] = None
        self.order[slot] = None
        if len(self.order) == 1:
            self.on_first()

    def take_fit(self, share: Share, now: float) -> Slot | None:
        """Take the newest of an origin that has some, if it is fit at a glance."""
        slot = self.newest(share)
        if slot.has_expired(now) or slot.glance() is not Condition.FRESH:
            return None
        self.take(slot)
        return slot

    def take(self, slot: Slot) -> None:
        """Take a connection out, to be used."""
        slot.move(State.BUSY)
        del slot.share.idle[slot]
        del self.order[slot]

    def remove(self, slot: Slot) -> None:
        """Take a connection out, to be closed."""
        del slot.share.idle[slot]
        del self.order[slot]

    def unused(self, share: Share | None) -> list[Slot]:
        """The connections that no request uses, of one origin or of all (None)."""
        unused = list(self.order if share is None else share.idle)
        slot = self.settling
        # It may have been closed while the sweeper looks at it.
        if slot is not None and slot.state is State.BUSY and share in (None, slot.share):
            unused.append(slot)
        return unused

    # ── Clocks ─────────────────────────────────────────────────────────────────────────────────

    def opened(self, slot: Slot, now: float) -> None:
        """A connection is open: its lifetime begins."""
        slot.expires_at = now + self._max_lifetime * (1 - JITTER * random.random())
        slot.idle_until = now + self._idle_timeout
        slot.used = next(self._uses)

    def used(self, slot: Slot, now: float) -> None:
        """A connection was used until now: its idle time begins."""
        assert slot.connection is not None
        limit = slot.connection.idle_limit
        if limit is None or limit > self._idle_timeout:
            limit = self._idle_timeout
        slot.idle_until = now + limit
        slot.used = next(self._uses)

    def next_due(self, now: float) -> float:
        """When the first of them expires; *now* if there is none. Looks at each."""
        return min((min(slot.idle_until, slot.expires_at) for slot in self.order), default=now)

    def put_in_order(self, slots: Iterable[Slot]) -> None:
        """Put *slots* back where they belong: they were taken out, looked at, and added again.

        To be looked at is not to be used. This sorts whole orders, which are nearly sorted.
        """
        for order in (self.order, *(share.idle for share in {slot.share for slot in slots})):
            for slot in sorted(order, key=lambda one: one.used):
                order.move_to_end(slot)


class ToldIdle(Idle):
    """Tells of each connection that becomes idle. A class, so that pools without instruments, which
    need not know, don't even ask.
    """

    def __init__(
        self,
        idle_timeout: float | None,
        max_lifetime: float | None,
        tell: Callable[[Slot], object],
    ) -> None:
        super().__init__(idle_timeout, max_lifetime)
        self._tell = tell

    def add(self, slot: Slot) -> None:
        super().add(slot)
        self._tell(slot)
