"""What happens is written down once: it is counted, and the instrument is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import trio

from .._instruments.combine import SILENT
from .._statistics import Counts, nothing_counted
from .dials import DialEnd

if TYPE_CHECKING:
    from .._facts import CloseReason
    from ..abc import Instrument
    from .dials import Dial
    from .slot import Share, Slot
    from .waiter import Waiter


class Journal:
    """Counts, for the pool and for the origin; and keeps the news for the instrument.

    The instrument is told at the end of the operation in which a thing happened, when the books
    agree, and not where a slot is already free and not yet given to the next in line. For it may
    ask for statistics, and they have to add up.

    Attributes:
      counts: of the whole pool. Those of an origin are in its share.
      news: what the instrument is still to be told.
    """

    def __init__(self, instrument: Instrument) -> None:
        self.counts: Counts = nothing_counted()
        self._instrument = instrument
        # With no instrument no facts are made, and no news kept.
        self._is_silent = instrument is SILENT
        self.news: deque[Callable[[], None]] = deque()

    def tell(self) -> None:
        """Tell the instrument what is new. The books agree."""
        while self.news:
            self.news.popleft()()

    # ── Requests ───────────────────────────────────────────────────────────────────────────────

    def reused(self, slot: Slot) -> None:
        """A request took an idle connection. Told at once, for the books agree."""
        self.counts["reused"] += 1
        slot.share.counts["reused"] += 1
        if not self._is_silent:
            assert slot.connection is not None
            self._instrument.reused(slot.connection.info)

    def queued(self, waiter: Waiter, waiting: int) -> None:
        """A request waits for a slot. Told at once, for the books agree."""
        if not self._is_silent:
            self._instrument.queued(waiter.share.key.origin, waiting)
        if waiter.listener is not None:
            waiter.listener.queued(waiting)

    def handed_over(self, slot: Slot, waiter: Waiter) -> None:
        """A request that waited has its connection. Told at once, for the books agree."""
        self.counts["handed_over"] += 1
        slot.share.counts["handed_over"] += 1
        if not self._is_silent:
            assert slot.connection is not None
            waited = trio.current_time() - waiter.queued_at
            self._instrument.handed_over(slot.connection.info, waited)

    def retried(self, share: Share | None) -> None:
        """A request is sent again. *share* is that of its origin, unless it was forgotten."""
        self.counts["retried"] += 1
        if share is not None:
            share.counts["retried"] += 1

    # ── Connections ────────────────────────────────────────────────────────────────────────────

    def dial_started(self, dial: Dial, waiter: Waiter | None) -> None:
        """A dial has begun, for *waiter* if there is one."""
        if not self._is_silent:
            origin = dial.slot.share.key.origin
            self.news.append(partial(self._instrument.dial_started, origin))
        if waiter is not None and waiter.listener is not None:
            self.news.append(waiter.listener.dial_started)

    def dial_ended(self, dial: Dial, end: DialEnd, error: Exception | None) -> None:
        """A dial is over; *error* is that of the dial, unless it was CALLED_OFF."""
        slot = dial.slot
        what = "dialled" if end is DialEnd.OPEN else "dial_failures"
        self.counts[what] += 1
        slot.share.counts[what] += 1
        if self._is_silent:
            return
        if end is DialEnd.OPEN:
            assert slot.connection is not None
            seconds = trio.current_time() - dial.started_at
            self.news.append(partial(self._instrument.dialled, slot.connection.info, seconds))
        else:
            origin = slot.share.key.origin
            self.news.append(partial(self._instrument.dial_failed, origin, error))

    def idled(self, slot: Slot) -> None:
        """A connection serves nobody now. Only where there is an instrument."""
        assert slot.connection is not None
        self.news.append(partial(self._instrument.idled, slot.connection.info))

    def closed(self, slot: Slot, reason: CloseReason) -> None:
        """A connection's descriptor was closed."""
        # Named as the statistics have it; where they have none for a reason, it is not shown.
        what = reason.name.lower()
        for counts in (self.counts, slot.share.counts):
            counts[what] = counts.get(what, 0) + 1
        if not self._is_silent:
            assert slot.connection is not None
            info = slot.connection.info
            if slot.connection.spent is not None:
                info = replace(info, spent=slot.connection.spent)
            self.news.append(partial(self._instrument.closed, info, reason))
