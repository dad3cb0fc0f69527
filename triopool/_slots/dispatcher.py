"""Whose turn it is: what each event in the engine's life means for those who wait.

Events are synchronous: a request stands in line, gives up, gives its connection back; a dial ends;
time passes. Each is an *operation*, decided in one step in which no other task can run. The rules
are those of the essay in :mod:`.engine`, and their numbers are quoted here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import trio

from .._errors import PoolFull, PoolTimeout
from .._facts import CloseReason, Condition
from .._pool_key import PoolKey
from .books import Books
from .dials import Dial, DialEnd
from .slot import Slot, State
from .waiter import Waiter
from .waiting import OriginQueue


class _FollowsUp(Protocol):
    def follow_up(self) -> None: ...


S = TypeVar("S", bound=_FollowsUp)
P = ParamSpec("P")
T = TypeVar("T")


def operation(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A method that changes who has what. Its last step is to follow that up.

    Slots may have become free, or another request may be the next in line. To forget the follow-up
    is the bug of this field: a request that waits although it could be served. So it is written
    here, and nowhere else. Each way into the books is an operation. The steps that operations are
    made of are not, for between two of these the books need not agree.
    """

    # No keywords: to pass them on, though there are none, takes as long as all the rest of this.
    @functools.wraps(method)
    def whole(self: S, *args: Any) -> T:
        result: T = method(self, *args)  # type: ignore[call-arg]
        self.follow_up()
        return result

    return whole  # type: ignore[return-value]


class Dispatcher:
    """Decides who gets a connection, and who gets a slot."""

    def __init__(
        self,
        books: Books,
        *,
        max_waiting: int | None,
        max_idle: int | None,
        max_exchanges: int | None,
    ) -> None:
        self.books = books
        books.dials.ended = self.dial_ended
        self._max_waiting = _or_infinity(max_waiting)
        self._max_idle = _or_infinity(max_idle)
        self._max_exchanges = _or_infinity(max_exchanges)
        # Set once the pool is quiet; None while no task wants to know.
        self._quiet: trio.Event | None = None

    def follow_up(self) -> None:
        """The last step of each operation: see :func:`operation`.

        Only then is the instrument told what has happened: it may ask for statistics, and they have
        to add up.
        """
        if self.books.origins.waiting:
            self._start_dials()
        if self._quiet is not None and self.books.is_quiet:
            self._quiet.set()
        if self.books.journal.news:
            self.books.journal.tell()

    def _start_dials(self) -> None:
        """Rule 2: start dials, oldest waiter first, while there are slots to be had."""
        books = self.books
        # We ask first whether a slot is to be had, for to find out who is next costs more.
        while books.has_slot or books.dials.orphaned:
            queue = books.origins.next_in_line()
            if queue is None:
                break
            if books.bounds.has_token:
                books.dial_for(queue)
            elif books.idle:
                books.close(books.idle.oldest, CloseReason.EVICTED)
            else:
                books.dials.make_way(queue.share)
                break

    # ── A request waits ────────────────────────────────────────────────────────────────────────

    def refuse_if_too_many_wait(self, key: PoolKey) -> None:
        """Raise PoolFull, unless the request would get a slot at once."""
        waiting = self.books.origins.waiting
        if waiting < self._max_waiting:
            return
        share = self.books.origins.share(key)
        if (share is not None and share.full) or not self.books.has_slot:
            raise PoolFull(
                f"{waiting} requests wait for a connection already (max_waiting)",
                origin=key.origin,
                phase="pool",
            )

    @operation
    def stand_in_line(self, waiter: Waiter, kept: tuple[Slot, CloseReason] | None) -> None:
        """Let a request wait. Only now it gives up the slot that it has kept, if any (rule 7)."""
        self.books.origins.stand_in_line(waiter)
        if kept is not None:
            self.books.close(*kept)

    @operation
    def time_out(self, waiter: Waiter) -> None:
        """Rule 6: it has waited for too long, and has neither a connection nor a dial."""
        self.books.leave(waiter)
        waiter.fail(self._waited_too_long(waiter))

    def _waited_too_long(self, waiter: Waiter) -> PoolTimeout:
        key, seconds, bounds = waiter.share.key, waiter.timeouts.pool, self.books.bounds
        return PoolTimeout(
            f"no connection to {key} became free within {seconds} s: "
            f"{waiter.share.limiter.borrowed_tokens} are open to it, "
            f"{bounds.borrowed} of {bounds.total} in the pool, "
            f"and {self.books.origins.waiting} other requests wait",
            origin=key.origin,
            phase="pool",
            seconds=seconds,
        )

    @operation
    def give_up(self, waiter: Waiter) -> None:
        """Its task was cancelled while it waited."""
        self.books.leave(waiter)

    # ── A connection comes back ────────────────────────────────────────────────────────────────

    @operation
    def give_back(self, slot: Slot) -> None:
        """A lease has ended, and its connection can be used again: hand it over, or keep it."""
        if slot.state is not State.CLOSED:
            now = trio.current_time()
            self.books.idle.used(slot, now)
            self._take_back(slot, now)

    def _take_back(self, slot: Slot, now: float) -> None:
        if slot.retired:
            self.books.close(slot, CloseReason.RETIRED)
        elif now >= slot.expires_at or self.is_used_up(slot):
            self.books.close(slot, CloseReason.EXPIRED)
        elif self.books.bounds.exceeded:
            self.books.close(slot, CloseReason.EVICTED)
        else:
            self._offer(slot)

    def is_used_up(self, slot: Slot) -> bool:
        """Whether its connection has been leased as often as it may be."""
        return slot.exchanges >= self._max_exchanges

    @operation
    def close(self, slot: Slot, reason: CloseReason) -> None:
        """Close a connection; its slot goes to the next in line."""
        if slot.state is not State.CLOSED:
            self.books.close(slot, reason)

    async def settle(self, slot: Slot) -> bool:
        """Find out whether a connection is fit; if this is cancelled, the connection is closed.

        The one place here that waits. The slot belongs to the calling task meanwhile.
        """
        try:
            return await slot.settle()
        except BaseException:
            self.close(slot, CloseReason.DISCARDED)
            raise

    @operation
    def settled(self, slot: Slot, fit: bool) -> None:
        """The sweeper has found out whether an idle connection is fit: it comes back, or not."""
        if fit:
            self._take_back(slot, trio.current_time())
        elif slot.state is not State.CLOSED:
            self.books.close(slot, CloseReason.STALE)

    @operation
    def sweep(self, slots: Iterable[Slot], now: float) -> list[Slot]:
        """Close the idle ones of *slots* that are unfit; return those that one can't be sure of."""
        unsure = []
        for slot in slots:
            if slot.state is not State.IDLE:
                continue
            if slot.has_expired(now):
                self.books.close(slot, CloseReason.EXPIRED)
                continue
            condition = slot.glance()
            if condition is Condition.STALE:
                self.books.close(slot, CloseReason.STALE)
            elif condition is Condition.UNSURE:
                unsure.append(slot)
        return unsure

    # ── A dial ends ────────────────────────────────────────────────────────────────────────────

    @operation
    def dial_ended(self, dial: Dial, end: DialEnd, error: Exception | None) -> None:
        """Offer the connection; or tell the owner, and no other request, why there is none."""
        owner, dial.owner = dial.owner, None
        slot = dial.slot
        if end is DialEnd.OPEN:
            self.books.idle.opened(slot, trio.current_time())
            self.books.journal.dial_ended(dial, end, None)
            if owner is not None:
                owner.dial_ended(dial, None)
            # A warm-up does not want the connection itself.
            self._offer(slot, (owner, dial) if isinstance(owner, Waiter) else None)
            return
        slot.close()
        if end is DialEnd.TOO_SLOW:
            error = dial.too_slow()
        self.books.journal.dial_ended(dial, end, error)
        if isinstance(owner, Waiter):  # It leaves the books before it is told, as always.
            self.books.origins.remove(owner)
        if owner is not None:
            owner.dial_ended(dial, error or self.books.closed_error(slot.share.key))
        self.books.free(slot)

    # ── Who gets it ────────────────────────────────────────────────────────────────────────────

    def _offer(self, slot: Slot, made: tuple[Waiter, Dial] | None = None) -> None:
        """Give a connection to whom it is due: a waiter, another origin, or the idle ones.

        *made*: the waiter that a fresh connection was dialled for, if that still waits, and the
        dial. Then the connection is spoken for within the origin, and nobody of another origin has
        a claim to its slot: to close it would waste a handshake.
        """
        books = self.books
        queue = books.origins.of(slot.share)
        while (waiter := _who_can_swap(queue, *made) if made else queue.oldest) is not None:
            if made is None and self._is_due_elsewhere(queue, waiter):
                break
            if self._hand_over(slot, waiter, made):
                return
            # It was cancelled a moment ago, and its task has not run yet. It leaves now, and the
            # next one is asked. With its owner gone, the connection is as any that comes back.
            books.leave(waiter)
            if made is not None and waiter is made[0]:
                made = None
        if (books.origins.waiting and books.origins.next_in_line()) or books.bounds.exceeded:
            books.close(slot, CloseReason.EVICTED)
        elif books.refusal is not None:
            books.close(slot, CloseReason.POOL_CLOSED)
        else:
            books.idle.add(slot)
            if len(books.idle.order) > self._max_idle:
                books.close(books.idle.oldest, CloseReason.EVICTED)

    def _is_due_elsewhere(self, queue: OriginQueue, waiter: Waiter) -> bool:
        """Rule 3: whether an older request than *waiter*, of another origin, waits for a slot."""
        origins = self.books.origins
        # Mostly it is our own origin's turn, or nobody's. Then we need not know who is alive.
        if not origins.waiting or origins.line.first() is queue:
            return False
        first = origins.next_in_line()
        rival = None if first is None else first.oldest_waiting
        return rival is not None and rival.age < waiter.age

    def _hand_over(self, slot: Slot, waiter: Waiter, made: tuple[Waiter, Dial] | None) -> bool:
        """Hand a connection to a waiter; False if the waiter was cancelled a moment ago.

        In this one step the connection changes hands, and the books follow. When it is over the
        waiter's task has the connection, though it has not run yet. If it is cancelled before it
        does, it has the connection all the same, and gives it back as any request does.
        """
        # A returned connection goes to the oldest waiter. A fresh one may pass by others.
        in_turn = made is None or waiter is self.books.origins.of(slot.share).oldest
        if not waiter.give(slot, in_turn=in_turn):
            return False
        self.books.origins.remove(waiter)
        slot.move(State.BUSY)
        spare, waiter.dial = waiter.dial, None
        if made is None:
            # The connection came back, or its owner has gone: the waiter's own dial is not needed.
            if spare is not None:
                self.books.dials.orphan(spare)
            return True
        owner, dial = made
        if spare is not None:
            # Swap: the owner has lost its connection to an older waiter, and inherits that one's
            # dial. Each of them still has a connection or a dial, and no handshake was in vain.
            spare.pass_on(owner, dial)
            owner.dial = spare
        elif owner is not waiter:
            # There is no dial for the owner to inherit: it waits for a slot again, in its place,
            # under what is left of its pool timeout.
            self.books.origins.remove(owner)
            owner.waits_since = trio.current_time()
            self.books.origins.stand_in_line(owner)
            owner.begin_pool_timeout()
        return True

    # ── Quiet ──────────────────────────────────────────────────────────────────────────────────

    def quiet(self) -> trio.Event:
        """Set once no request waits, none is in flight, and no dial is wanted."""
        if self._quiet is None:
            self._quiet = trio.Event()
        if self.books.is_quiet:
            self._quiet.set()
        return self._quiet


def _who_can_swap(queue: OriginQueue, owner: Waiter, dial: Dial) -> Waiter:
    """Rule 4: who gets a fresh connection. The oldest, or the oldest who can swap.

    A dial that was cancelled in this very step, because its time is over, is none that the owner
    could inherit. It fails, and its waiter with it, as if there were no other dial. And an owner
    whose own time is over, just when its dial has succeeded, has none to wait for another one.
    """
    oldest = queue.oldest
    if dial.is_over or oldest is None:
        return owner
    if not oldest.is_about_to_fail:
        return oldest
    dialling = next(one for one in queue.dialling if not one.is_about_to_fail)
    waiting = queue.oldest_waiting
    return dialling if waiting is None or dialling.age < waiting.age else waiting


def _or_infinity(limit: int | None) -> float:
    return math.inf if limit is None else limit
