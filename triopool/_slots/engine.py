"""The slot engine: which connection a request gets, when one is opened, and when one is closed.

It knows neither HTTP nor sockets. A connection is anything that can be glanced at and closed; a
dial is an async callable that makes one.

The problem
-----------
A request that finds no idle connection can be served in two ways: a connection that somebody
returns, or a fresh dial. It should take whichever comes first, and it may be cancelled at every
point of waiting for either. Pools that let the request itself dial throw a handshake away whenever
its caller gives up; pools that *wake* a waiter and let it look for itself lose the wake-up when
the waiter is cancelled in the same tick, or are overtaken by a newcomer, and stall (aiohttp #9670
and #4936, httpcore #785, redis-py #2624 and many more).

Our way
-------
*Hand over, don't wake up.* Every decision is one synchronous method: it takes a connection from
whoever had it and gives it to whoever has it next, with no moment in between at which it is
nobody's or "about to be" somebody's. A waiter takes part through a memory channel without a
buffer (see :class:`Waiter`), so giving to it succeeds or fails at once.

*Slots are borrowed for connections, not for requests.* A :class:`Slot` borrows its token of the
origin's limiter, then of the total one, before its dial begins, and gives both back when the
descriptor is closed. What is open is counted; therefore it is bounded.

*Dials belong to the pool.* They run in the pool's nursery and outlive their request: a caller who
gives up after 200 ms of a handshake of 300 ms has paid for the next caller's connection. So that
a black-holed host can't hold slots for nothing, a dial without an owner ends after a short grace,
and at once where another origin needs its slot.

*Tasks are started for dials that have their slot, never for waiting.* The design's first sketch
let one task for each waiter block in the limiters. Waiting requests cost more than half of it, and
the total limiter's queue is ordered by when a request came to *it*, not by the age of the request,
which is what fairness across origins means. Here the limiters are asked without waiting, and
:class:`Line` knows whose turn it is.

The rules
---------
1. A newcomer takes the most recently used idle connection of its origin. No checkpoint.
2. Otherwise it becomes a waiter. While there are slots to be had (a free one; or one that a least
   recently used idle connection of another origin gives up; or one of an orphaned dial of another
   origin), the oldest waiter across origins gets a dial.
3. A returned connection goes to its origin's oldest waiter, unless somebody older waits in line
   for a slot: then it is closed, and they get the slot. With no waiter at all it becomes idle.
4. A fresh connection goes to its origin's oldest waiter. If that is not its owner, the two swap:
   the owner inherits the other one's dial, so that everybody still has one. If the older one has
   none, the owner waits for a slot again; if its dial's time is over, it is passed by. An owner
   whose own time is over by now keeps what it has.
5. A failed dial is told to its owner and to nobody else, and its slot goes to the next in line.

6. A waiter that has no dial by the end of its pool timeout is given the error. It is the keeper of
   pool timeouts who says so, not a cancel scope around the wait: that was more than half of what
   waiting cost. So whoever is given a connection or a dial in the same step has it.

7. A request is as old as when it first came. One that looked at a connection which was not fit, or
   was given one, keeps its slot until it stands in line again, before all who came since.

Where a task can be suspended: in ``Waiter.wait``, in ``settle`` (an idle TLS
connection has to be looked at; its slot is owned meanwhile), after a hundred idle connections that
were not fit (the slot of the last one is owned), in ``warm_up`` and ``wait_quiet``, in a dial, and
in the sleep of sweeper and keeper. Nowhere else.

The instrument is told of things at the end of the operation in which they happened, when the books
agree: not where a slot is already free and not yet given to whoever is next.

What it costs
-------------
A request touches the ends of its queues, and asks no more than it has to know. While nobody waits,
nobody's turn is looked up; while no slot is to be had, it does not matter who is next; whether a
waiter is dead matters only where something would be closed or dialled for it. A waiter's objects
count twice: with thousands of them in memory, the garbage collector looks at each again and again.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Generic, TypeAlias

import outcome
import trio
from trio.lowlevel import enable_ki_protection

from .._config import Timeouts
from .._deadlines import Deadlines
from .._errors import ConnectTimeout, PoolClosed, PoolFull, PoolTimeout
from .._facts import CloseReason, Condition
from .._instruments.combine import SILENT
from .._pool_key import PoolKey
from .._statistics import Counts, PoolStatistics
from ..abc import Instrument
from .lease import Lease
from .slot import C, Slot, State, WarmUp
from .snapshot import snapshot
from .waiting import Line, OriginQueue, Waiter, WaiterWatch, insert

logger = logging.getLogger("triopool")


ORPHAN_GRACE = 5.0
"""How long a dial may go on without an owner, in seconds.

Long enough for any handshake worth waiting for, short enough that a black-holed host gives its
slots back within a few requests' patience. Picked, not derived.
"""

SWEEP_AT_LEAST = 1.0
"""Sweeps are at least this many seconds apart, however many connections are due."""

SWEEP_AT_MOST = 5.0
"""A connection closed by its peer while idle is closed by us within about this many seconds."""

LOOKS_AT_ONCE = 100
"""After so many idle connections that were not fit, others have their turn. Picked arbitrarily:
closing one costs the system some 10 to 50 µs."""

JITTER = 0.1
"""Lifetimes are shortened by up to this share, so that they don't all end together."""

Connect: TypeAlias = Callable[[PoolKey, list[str]], Awaitable[C]]
"""Opens a connection; appends to the list what it is doing, for the message of a timeout."""


class Slots(Generic[C]):
    """The engine. See the module's essay."""

    def __init__(
        self,
        connect: Connect[C],
        *,
        max_connections: int | None = 100,
        max_connections_per_origin: int | None = None,
        max_waiting: int | None = None,
        max_idle: int | None = None,
        idle_timeout: float | None = 15.0,
        max_lifetime: float | None = 600.0,
        max_requests_per_connection: int | None = None,
        instrument: Instrument = SILENT,
    ) -> None:
        self._connect = connect
        self._max_per_origin = max_connections_per_origin
        self._max_waiting = _or_infinity(max_waiting)
        self._max_idle = _or_infinity(max_idle)
        self._idle_timeout = _or_infinity(idle_timeout)
        self._max_lifetime = _or_infinity(max_lifetime)
        self._max_exchanges = _or_infinity(max_requests_per_connection)
        self._tell = instrument
        # What the instrument is still to be told, once the books agree again.
        self._news: deque[Callable[[], None]] = deque()
        self.counts = Counts()

        self._total = trio.CapacityLimiter(_or_infinity(max_connections))
        # Whether the bound was ever changed. While it was not, nobody need ask the limiter.
        self._may_be_above_its_bound = False
        self._origins: dict[PoolKey, OriginQueue[C]] = {}
        # All idle connections, least recently used first.
        self._idle: OrderedDict[Slot[C], None] = OrderedDict()
        self._line: Line[C] = Line()
        self._pool_timeouts: Deadlines[Waiter[C]] = Deadlines(self._time_out)
        self._ages = itertools.count()
        self._uses = itertools.count()
        self._waiting = 0
        # The origins that have orphaned dials, so that one of another origin is found at once.
        self._orphaned: OrderedDict[OriginQueue[C], None] = OrderedDict()
        self._orphans = 0
        # An orphan that was called off for another origin; its slot is about to be free.
        self._giving_way: Slot[C] | None = None
        # A connection that the sweeper settles. Nobody uses it: it counts as idle where those are
        # to be closed.
        self._in_settling: Slot[C] | None = None

        # Why new requests are refused; None while they are not.
        self._refusal: str | None = None
        self._quiet: trio.Event | None = None
        self._nursery: trio.Nursery | None = None
        self._anything_idle = trio.Event()

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to work: all tasks run in *nursery*, and the last of them ends after ``shut()``."""
        self._nursery = nursery
        nursery.start_soon(self._keep_honest, name="triopool sweeper")
        nursery.start_soon(self._pool_timeouts.run, name="triopool keeper of pool timeouts")

    # ── Acquire ────────────────────────────────────────────────────────────────────────────────

    @enable_ki_protection
    async def acquire(
        self,
        key: PoolKey,
        timeouts: Timeouts,
        last: Lease[C] | None = None,
        watch: WaiterWatch | None = None,
    ) -> Lease[C]:
        """Reuse an idle connection, or wait for one.

        Served first come, first served. Atomic with respect to cancellation: if this raises, no
        slot is held, and nothing is left open that the engine does not own. Not a checkpoint if
        an idle connection can be reused.

        Args:
          key: whom to connect to.
          timeouts: how long to wait for a slot, and how long a dial of one's own may take.
          last: the lease of a connection that turned out to be stale, if this is to replace it.
            The request is as old as it was then, has what is left of its pool timeout, and is not
            refused for ``max_waiting``. If that lease has not ended, it ends here: its connection
            is closed once the request stands in line, so that no younger one gets its slot.
          watch: is told whether the request has to wait, and for what.

        Raises:
          PoolTimeout: nothing became free within ``timeouts.pool`` seconds.
          PoolFull: ``max_waiting`` requests wait already.
          ConnectError: the dial failed.
          PoolClosed: the pool was closed, before or while waiting.
        """
        if last is None:
            unfit, age, waited = None, next(self._ages), 0.0
        else:
            unfit, age, waited = last.take_slot(), last.age, last.waited
        if unfit is None:
            self._refuse_if_closed(key)
        # While *unfit* is open, its slot is ours: we keep it until we stand in line.
        why, looks = CloseReason.STALE, 0
        try:
            while (queue := self._origins.get(key)) is not None and queue.idle:
                slot = next(reversed(queue.idle))
                if unfit is not None:
                    # No request waits for its slot: it would have had that of this idle one.
                    self.close(unfit, why)
                    unfit = None
                self._take_from_idle(slot)
                if self._has_expired(slot, trio.current_time()):
                    why = CloseReason.EXPIRED
                else:
                    condition = self._glance(slot)
                    if condition is Condition.FRESH or (
                        condition is Condition.UNSURE and await self._settle(slot)
                    ):
                        return self._reuse(slot, age, waited)
                    why = CloseReason.STALE
                unfit = slot
                looks += 1
                if looks % LOOKS_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            # Nothing is dialled for a request that was cancelled before it began.
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            if unfit is not None:
                self.close(unfit, why)
            raise
        if unfit is None or unfit.state is State.CLOSED:
            self._refuse_if_closed(key)
        waiter = Waiter(self._queue(key), age, trio.current_time(), timeouts, waited, watch)
        if last is None and unfit is None:
            self._refuse_if_too_many_wait(waiter.queue)
        self._enqueue(waiter, unfit, why)
        try:
            slot = await waiter.wait()
        except BaseException as exc:
            # Cancelled, or given an error; if the latter it has left already.
            if isinstance(exc, trio.Cancelled):
                exc.add_note(f"triopool was {self._doing(waiter)}")
            self._leave(waiter)
            self._dispatch()
            raise
        # No checkpoint from the hand-over to here: a connection once given is not lost.
        return self._accept(slot, waiter)

    def _glance(self, slot: Slot[C]) -> Condition:
        """See whether an idle connection is fit. What fails is not."""
        assert slot.connection is not None
        try:
            return slot.connection.condition()
        except Exception:
            logger.exception("looking at an idle connection failed; it is closed")
            return Condition.STALE

    async def _settle(self, slot: Slot[C]) -> bool:
        """Whether a connection is fit of which a glance could not tell; it is ours meanwhile.

        If this is cancelled the connection is closed.
        """
        assert slot.connection is not None
        try:
            fit = await slot.connection.settle()
        except Exception:
            # The sweeper's task must not end with it, and with the sweeper the pool.
            logger.exception("looking at an idle connection failed; it is closed")
            fit = False
        except BaseException:
            self.close(slot, CloseReason.DISCARDED)
            raise
        # The pool may have been closed meanwhile, and this connection with it.
        return fit and slot.state is State.BUSY

    def _reuse(self, slot: Slot[C], age: int, waited: float) -> Lease[C]:
        assert slot.connection is not None
        self.counts.reused += 1
        slot.queue.counts.reused += 1
        self._tell.reused(slot.connection.info)
        lease = self._lease(slot, age, waited)
        lease.just_seen = True
        return lease

    def _accept(self, slot: Slot[C], waiter: Waiter[C]) -> Lease[C]:
        assert slot.connection is not None
        self.counts.handed_over += 1
        slot.queue.counts.handed_over += 1
        if self._tell is not SILENT:
            self._tell.handed_over(slot.connection.info, trio.current_time() - waiter.queued_at)
        return self._lease(slot, waiter.age, waiter.waited)

    def _lease(self, slot: Slot[C], age: int, waited: float) -> Lease[C]:
        reused, slot.fresh = not slot.fresh, False
        slot.exchanges += 1
        return Lease(self, slot, reused, age, waited)

    # ── Wait ───────────────────────────────────────────────────────────────────────────────────

    def _enqueue(self, waiter: Waiter[C], unfit: Slot[C] | None, why: CloseReason) -> None:
        """Let a request stand in line, and own a dial if a slot is to be had.

        *unfit* is a slot that it gives up, whose connection is closed for *why*.
        """
        self._stand_in_line(waiter)
        if unfit is not None and unfit.state is not State.CLOSED:
            self._close(unfit, why)
        self._dispatch()
        if waiter.dial is None:
            self._begin_pool_timeout(waiter)
            self._tell.queued(waiter.queue.key.origin, self._waiting)
            if waiter.watch is not None:
                waiter.watch.queued(self._waiting)

    def _stand_in_line(self, waiter: Waiter[C]) -> None:
        """Wait for a slot from now on, behind all who are older."""
        insert(waiter.queue.waiting, waiter)
        self._waiting += 1
        self._line.join(waiter.queue)
        self._keep_line_short()

    def _begin_pool_timeout(self, waiter: Waiter[C]) -> None:
        if waiter.timeouts.pool is not None:
            waiter.ends_at = waiter.waits_since + waiter.timeouts.pool - waiter.waited
            self._pool_timeouts.look_at(waiter, waiter.ends_at)

    def _refuse_if_too_many_wait(self, queue: OriginQueue[C]) -> None:
        """Raise PoolFull, unless there is a slot to be had."""
        if self._waiting >= self._max_waiting and (
            queue.full or not (self._idle or self._total.available_tokens > 0)
        ):
            self._forget_if_empty(queue)
            raise PoolFull(
                f"{self._waiting} requests wait for a connection already (max_waiting)",
                origin=queue.key.origin,
                phase="pool",
            )

    def _time_out(self, waiter: Waiter[C]) -> None:
        """Its time is over, and it has neither a connection nor a dial of its own."""
        self._leave(waiter)
        # Its task lets the next in line have their turn, as it does when it is cancelled.
        waiter.give(outcome.Error(self._waited_too_long(waiter)))

    def _waited_too_long(self, waiter: Waiter[C]) -> PoolTimeout:
        key, seconds = waiter.queue.key, waiter.timeouts.pool
        return PoolTimeout(
            f"no connection to {key} became free within {seconds} s: "
            f"{waiter.queue.limiter.borrowed_tokens} are open to it, "
            f"{self._total.borrowed_tokens} of {self._total.total_tokens} in the pool, "
            f"and {self._waiting} other requests wait",
            origin=key.origin,
            phase="pool",
            seconds=seconds,
        )

    def _doing(self, waiter: Waiter[C]) -> str:
        """What is going on for a request that waits. Costs the same however many others wait."""
        key, now = waiter.queue.key, trio.current_time()
        if (dial := waiter.dial) is not None:
            return f"dialling {key}, for {now - dial.dial_started_at:.3g} s: {_tried(dial)}"
        what = f"waiting for a connection to {key}, for {now - waiter.queued_at:.3g} s"
        if waiter in waiter.queue.waiting:
            what += f", with no slot free, and {self._waiting - 1} other requests waiting"
        return what

    def _leave(self, waiter: Waiter[C]) -> None:
        """Forget a waiter that was not served. Its dial goes on without it."""
        if self._remove(waiter):
            dial, waiter.dial = waiter.dial, None
            if dial is not None:
                self._orphan(dial)
            self._forget_if_empty(waiter.queue)

    def _remove(self, waiter: Waiter[C]) -> bool:
        """Take a waiter out of its queue; False if it was out already."""
        queue = waiter.queue
        if waiter in queue.waiting:
            del queue.waiting[waiter]
            self._waits_no_more(waiter)
        elif waiter in queue.dialling:
            del queue.dialling[waiter]
        else:
            return False
        return True

    def _waits_no_more(self, waiter: Waiter[C]) -> None:
        """It is served, gets a dial, or leaves: it is no longer under its pool timeout."""
        self._waiting -= 1
        waiter.waited += trio.current_time() - waiter.waits_since
        self._pool_timeouts.forget(waiter)

    # ── Give back ──────────────────────────────────────────────────────────────────────────────

    @enable_ki_protection
    def give_back(self, slot: Slot[C]) -> None:
        """Take a connection back from its lease: hand it over, keep it, or close it."""
        if slot.state is not State.CLOSED:
            assert slot.connection is not None
            now, limit = trio.current_time(), slot.connection.idle_limit
            if limit is None or limit > self._idle_timeout:
                limit = self._idle_timeout
            slot.idle_until = now + limit
            slot.used = next(self._uses)
            self._take_back(slot, now)

    def _take_back(self, slot: Slot[C], now: float) -> None:
        if slot.retired:
            self._close(slot, CloseReason.RETIRED)
        elif now >= slot.expires_at or slot.exchanges >= self._max_exchanges:
            self._close(slot, CloseReason.EXPIRED)
        elif self._is_above_its_bound():
            self._close(slot, CloseReason.EVICTED)
        else:
            self._offer(slot)
        self._dispatch()

    @enable_ki_protection
    def close(self, slot: Slot[C], reason: CloseReason) -> None:
        """Close a connection; its slot goes to whoever is next in line."""
        if slot.state is not State.CLOSED:
            self._close(slot, reason)
            self._dispatch()

    def _close(self, slot: Slot[C], reason: CloseReason) -> None:
        assert slot.connection is not None
        if slot.state is State.IDLE:
            self._take_from_idle(slot)
        slot.move(State.CLOSED)
        try:
            slot.connection.close()
        except Exception:
            logger.exception("closing a connection failed; its slot is free all the same")
        self._free(slot)
        self._count(reason.name.lower(), slot.queue)
        if self._tell is not SILENT:
            self._news.append(partial(self._tell.closed, slot.connection.info, reason))

    def _free(self, slot: Slot[C]) -> None:
        """Give both tokens back. The descriptor is closed."""
        queue = slot.queue
        self._total.release_on_behalf_of(slot)
        queue.limiter.release_on_behalf_of(slot)
        self._line.join(queue)
        self._forget_if_empty(queue)

    # ── Who gets it ────────────────────────────────────────────────────────────────────────────

    def _offer(self, slot: Slot[C], owner: Waiter[C] | None = None) -> None:
        """Give a connection to whom it is due: a waiter, somebody's slot, or the idle stack.

        *owner* is the waiter that a fresh connection was dialled for, if it still waits. Then
        the slot is spoken for within the origin, and nobody of another origin has a claim to it.
        """
        while (waiter := self._whose_turn(slot, owner)) is not None:
            if owner is None and self._somebody_elsewhere_is_older(waiter):
                break
            if self._hand_over(slot, waiter, owner):
                return
            if waiter is owner:
                owner = None
        if self._next_in_line() is not None or self._is_above_its_bound():
            self._close(slot, CloseReason.EVICTED)
        elif self._refusal is not None:
            self._close(slot, CloseReason.POOL_CLOSED)
        else:
            self._make_idle(slot)
            if len(self._idle) > self._max_idle:
                self._close(next(iter(self._idle)), CloseReason.EVICTED)

    def _whose_turn(self, slot: Slot[C], owner: Waiter[C] | None) -> Waiter[C] | None:
        """The oldest waiter of an origin; for a fresh connection, the oldest who can swap.

        A dial that was cancelled in this very step, because its time is over, is none that the
        owner could inherit. It fails, and its waiter with it, as if there were no other dial. And
        an owner whose own time is over, just when its dial has succeeded, has none to wait for
        another one.
        """
        queue = slot.queue
        if owner is not None and _is_over(slot):
            return owner
        oldest = queue.oldest
        if owner is None or oldest is None or oldest is owner or not _is_over(oldest.dial):
            return oldest
        dialling = next(one for one in queue.dialling if one is owner or not _is_over(one.dial))
        waiting = queue.oldest_waiting
        return dialling if waiting is None or dialling.age < waiting.age else waiting

    def _somebody_elsewhere_is_older(self, waiter: Waiter[C]) -> bool:
        while (first := self._line.first()) is not None and first is not waiter.queue:
            rival = first.oldest_waiting
            assert rival is not None
            if rival.age > waiter.age:
                break
            if not rival.dead:
                return True
            self._leave(rival)
        return False

    def _hand_over(self, slot: Slot[C], waiter: Waiter[C], owner: Waiter[C] | None) -> bool:
        """Hand a connection to a waiter; False if the waiter was cancelled a moment ago."""
        if not waiter.give(outcome.Value(slot)):
            self._leave(waiter)
            return False
        self._remove(waiter)
        slot.move(State.BUSY)
        dial, waiter.dial = waiter.dial, None
        if dial is None:
            if owner is not None and owner is not waiter:
                # There is no dial for it to inherit: it waits for a slot again, in its place.
                self._remove(owner)
                owner.waits_since = trio.current_time()
                self._stand_in_line(owner)
                self._begin_pool_timeout(owner)
        elif owner is None:
            self._orphan(dial)
        else:
            # Swap: the owner inherits the waiter's dial, and keeps its own deadline.
            dial.owner, owner.dial = owner, dial
            dial.connect_timeout = owner.timeouts.connect
            dial.scope.deadline = slot.scope.deadline
        return True

    def _dispatch(self) -> None:
        """Start dials, oldest waiter first, while there are slots to be had.

        The last step of each operation. Only then is the instrument told what has happened: it may
        ask for statistics, and they have to add up.
        """
        if self._waiting:
            self._start_dials()
        if self._quiet is not None and self._is_quiet():
            self._quiet.set()
        while self._news:
            self._news.popleft()()

    def _start_dials(self) -> None:
        while self._slot_to_be_had() and (queue := self._next_in_line()) is not None:
            if self._total.available_tokens > 0:
                waiter, _ = queue.waiting.popitem(last=False)
                self._waits_no_more(waiter)
                insert(queue.dialling, waiter)
                waiter.dial = self._start_dial(queue, waiter, waiter.timeouts.connect)
                if waiter.watch is not None:
                    self._news.append(waiter.watch.dial_started)
            elif self._idle:
                self._close(next(iter(self._idle)), CloseReason.EVICTED)
            else:
                self._make_way(queue)
                break

    def _slot_to_be_had(self) -> bool:
        """Whether it matters who is next in line: to find that out costs more than to ask this."""
        return bool(self._idle or self._orphaned or self._total.available_tokens > 0)

    def _next_in_line(self) -> OriginQueue[C] | None:
        """The origin whose oldest waiting request is next to get a slot; the dead are removed."""
        while (queue := self._line.first()) is not None:
            waiter = queue.oldest_waiting
            assert waiter is not None
            if not waiter.dead:
                return queue
            self._leave(waiter)
        return None

    def _make_way(self, queue: OriginQueue[C]) -> None:
        """Call off an orphaned dial of another origin; its slot is free when it has ended.

        One at a time: when its slot is free, whoever is next in line may call off another one.
        """
        if self._giving_way is None:
            for other in self._orphaned:
                if other is not queue:
                    self._giving_way = next(iter(other.orphans))
                    self._giving_way.scope.cancel()
                    break

    # ── Idle ───────────────────────────────────────────────────────────────────────────────────

    def _make_idle(self, slot: Slot[C]) -> None:
        slot.move(State.IDLE)
        slot.fresh = False
        slot.queue.idle[slot] = None
        self._idle[slot] = None
        if len(self._idle) == 1:
            self._anything_idle.set()

    def _take_from_idle(self, slot: Slot[C]) -> None:
        slot.move(State.BUSY)
        del slot.queue.idle[slot]
        del self._idle[slot]

    def _has_expired(self, slot: Slot[C], now: float) -> bool:
        return now >= slot.idle_until or now >= slot.expires_at

    @enable_ki_protection
    async def _keep_honest(self) -> None:
        """The sweeper: closes idle connections that expired or that their peer has closed."""
        while True:
            if not self._idle:
                self._anything_idle = trio.Event()
                await self._anything_idle.wait()
            now = trio.current_time()
            due = min((min(s.idle_until, s.expires_at) for s in self._idle), default=now)
            await trio.sleep(min(max(due - now, SWEEP_AT_LEAST), SWEEP_AT_MOST))
            idle, unsure = tuple(self._idle), []
            for start in range(0, len(idle), LOOKS_AT_ONCE):
                if start:
                    await trio.lowlevel.checkpoint()
                unsure += self.sweep(idle[start : start + LOOKS_AT_ONCE], trio.current_time())
            if unsure:
                await self._settle_all(unsure)

    async def _settle_all(self, unsure: list[Slot[C]]) -> None:
        for slot in unsure:
            # It may have been taken, or closed, while we looked at the ones before.
            if slot.state is State.IDLE:
                self._take_from_idle(slot)
                self._in_settling = slot
                try:
                    fit = await self._settle(slot)
                finally:
                    self._in_settling = None
                if fit:
                    self._take_back(slot, trio.current_time())
                else:
                    self.close(slot, CloseReason.STALE)
        # Being looked at is not being used: they go back to their places.
        for order in (self._idle, *(queue.idle for queue in {slot.queue for slot in unsure})):
            for slot in sorted(order, key=lambda one: one.used):
                order.move_to_end(slot)

    @enable_ki_protection
    def sweep(self, slots: Iterable[Slot[C]], now: float) -> list[Slot[C]]:
        """Close the idle ones of *slots* that are unfit; return those that one can't be sure of."""
        unsure = []
        for slot in slots:
            if slot.state is not State.IDLE:
                continue
            if self._has_expired(slot, now):
                self._close(slot, CloseReason.EXPIRED)
                continue
            condition = self._glance(slot)
            if condition is Condition.STALE:
                self._close(slot, CloseReason.STALE)
            elif condition is Condition.UNSURE:
                unsure.append(slot)
        self._dispatch()
        return unsure

    # ── Dials ──────────────────────────────────────────────────────────────────────────────────

    def _start_dial(
        self, queue: OriginQueue[C], owner: Waiter[C] | WarmUp[C], connect_timeout: float | None
    ) -> Slot[C]:
        assert self._nursery is not None
        slot = Slot(queue, owner, trio.current_time(), connect_timeout)
        queue.limiter.acquire_on_behalf_of_nowait(slot)
        self._total.acquire_on_behalf_of_nowait(slot)
        slot.scope.deadline = slot.dial_started_at + _or_infinity(connect_timeout)
        if self._tell is not SILENT:
            self._news.append(partial(self._tell.dial_started, queue.key.origin))
        self._nursery.start_soon(self._dial, slot, name=f"triopool dial to {queue.key}")
        return slot

    @enable_ki_protection
    async def _dial(self, slot: Slot[C]) -> None:
        """Open the connection for a slot, in a task of the pool."""
        try:
            with slot.scope:
                slot.connection = await self._connect(slot.queue.key, slot.notes)
        except Exception as error:
            self._dial_failed(slot, error)
        except BaseException:
            self._dial_failed(slot, None)
            raise
        else:
            if slot.connection is None:
                self._dial_failed(slot, _too_slow(slot))
            else:
                self._dial_succeeded(slot, trio.current_time())

    def _dial_succeeded(self, slot: Slot[C], now: float) -> None:
        assert slot.connection is not None
        owner = self._end_dial(slot)
        slot.expires_at = now + self._max_lifetime * (1 - JITTER * random.random())
        slot.idle_until = now + self._idle_timeout
        slot.used = next(self._uses)
        self._count("dialled", slot.queue)
        if self._tell is not SILENT:
            took = now - slot.dial_started_at
            self._news.append(partial(self._tell.dialled, slot.connection.info, took))
        if isinstance(owner, WarmUp):
            owner.dial_ended(slot, None)
            owner = None
        self._offer(slot, owner)
        self._dispatch()

    def _dial_failed(self, slot: Slot[C], error: Exception | None) -> None:
        """Tell the owner, and nobody else. *error* is None if the dial was called off."""
        owner = self._end_dial(slot)
        slot.move(State.CLOSED)
        self._count("dial_failures", slot.queue)
        if self._tell is not SILENT:
            self._news.append(partial(self._tell.dial_failed, slot.queue.key.origin, error))
        error = error or self._closed_error(slot.queue.key)
        if isinstance(owner, WarmUp):
            owner.dial_ended(slot, error)
        elif owner is not None:
            self._remove(owner)
            owner.give(outcome.Error(error))
        self._free(slot)
        self._dispatch()

    def _end_dial(self, slot: Slot[C]) -> Waiter[C] | WarmUp[C] | None:
        """Undo what ties a slot to its dial and its owner; return the owner."""
        queue = slot.queue
        if slot in queue.orphans:
            del queue.orphans[slot]
            self._orphans -= 1
            if not queue.orphans:
                del self._orphaned[queue]
        if self._giving_way is slot:
            self._giving_way = None
        owner, slot.owner = slot.owner, None
        if isinstance(owner, Waiter):
            owner.dial = None
        return owner

    def _orphan(self, slot: Slot[C]) -> None:
        """Let a dial go on for whoever comes next, within the grace."""
        slot.owner = None
        slot.queue.orphans[slot] = None
        self._orphans += 1
        self._orphaned[slot.queue] = None
        slot.scope.deadline = min(slot.scope.deadline, trio.current_time() + ORPHAN_GRACE)

    # ── Operations ─────────────────────────────────────────────────────────────────────────────

    @property
    def max_connections(self) -> int | None:
        total = self._total.total_tokens
        return None if total == math.inf else int(total)

    @max_connections.setter
    @enable_ki_protection
    def max_connections(self, value: int | None) -> None:
        self._total.total_tokens = _or_infinity(value)
        self._may_be_above_its_bound = True
        while self._total.available_tokens < 0 and self._idle:
            self._close(next(iter(self._idle)), CloseReason.EVICTED)
        self._dispatch()

    def _is_above_its_bound(self) -> bool:
        """Whether the bound was lowered below what is open."""
        return self._may_be_above_its_bound and self._total.available_tokens < 0

    @enable_ki_protection
    async def warm_up(self, key: PoolKey, n: int, timeouts: Timeouts) -> None:
        """Dial until *n* connections to an origin are open, as far as slots are free.

        Evicts nothing, and takes no slot that a request waits for. If cancelled, its dials go on
        as orphans.

        Raises:
          ConnectError: a dial failed; the first failure of several.
        """
        self._refuse_if_closed(key)
        queue = self._queue(key)
        party = WarmUp[C]()
        missing = n - queue.limiter.borrowed_tokens
        while len(party.dials) < missing and not queue.full and self._total.available_tokens > 0:
            party.dials[self._start_dial(queue, party, timeouts.connect)] = None
        self._forget_if_empty(queue)
        self._dispatch()
        try:
            if party.dials:
                await party.done.wait()
            else:
                await trio.lowlevel.checkpoint()
        finally:
            for slot in party.dials:
                self._orphan(slot)
            self._dispatch()
        if party.error is not None:
            raise party.error

    @enable_ki_protection
    def close_idle(
        self, key: PoolKey | None = None, reason: CloseReason = CloseReason.RETIRED
    ) -> None:
        """Close all idle connections, or those of one origin."""
        for slot in self._unused(key):
            self._close(slot, reason)
        self._dispatch()

    def _unused(self, key: PoolKey | None = None) -> list[Slot[C]]:
        """The connections that nobody uses, of one origin or of all."""
        queue = None if key is None else self._origins.get(key)
        idle = self._idle if key is None else queue.idle if queue is not None else ()
        unused = list(idle)
        slot = self._in_settling
        if slot is not None and slot.state is State.BUSY and (key is None or slot.queue is queue):
            unused.append(slot)
        return unused

    @enable_ki_protection
    def retire(self, predicate: Callable[[C], bool]) -> int:
        """Close the open connections that match: idle ones now, busy ones when returned."""
        # All answers first, so that a predicate that raises changes nothing.
        matching = [
            slot
            for slot in self._open_slots()
            if slot.connection is not None and predicate(slot.connection)
        ]
        unused = set(self._unused())
        for slot in matching:
            if slot in unused:
                self._close(slot, CloseReason.RETIRED)
            else:
                slot.retired = True
        self._dispatch()
        return len(matching)

    @enable_ki_protection
    def refuse(self, why: str) -> None:
        """Refuse new requests from now on; those that wait or run go on. Nothing is kept idle."""
        self._refusal = why
        for slot in self._unused():
            self._close(slot, CloseReason.POOL_CLOSED)
        self._dispatch()

    async def wait_quiet(self) -> None:
        """Wait until no request waits, none is in flight, and no dial is wanted.

        For a pool that refuses new requests: once quiet, it stays so.
        """
        if self._quiet is None:
            self._quiet = trio.Event()
        if self._is_quiet():
            self._quiet.set()
        await self._quiet.wait()

    def _is_quiet(self) -> bool:
        unused = len(self._idle) + self._orphans
        return not self._waiting and self._total.borrowed_tokens == unused

    @enable_ki_protection
    def shut(self, why: str) -> None:
        """Close everything: each waiter gets :class:`PoolClosed`, each connection is closed."""
        self._pool_timeouts.stop()
        self._refusal = why
        for queue in tuple(self._origins.values()):
            for waiter in (*queue.dialling, *queue.waiting):
                self._leave(waiter)
                waiter.give(outcome.Error(self._closed_error(queue.key)))
        for slot in self._open_slots():
            if slot.state is State.DIALLING:
                if isinstance(slot.owner, WarmUp):
                    slot.owner.dial_ended(slot, self._closed_error(slot.queue.key))
                    self._orphan(slot)
                slot.scope.cancel()
            else:
                self._close(slot, CloseReason.POOL_CLOSED)
        self._dispatch()

    def _refuse_if_closed(self, key: PoolKey) -> None:
        if self._refusal is not None:
            raise self._closed_error(key)

    def _closed_error(self, key: PoolKey) -> PoolClosed:
        why = self._refusal or "the pool's own block was cancelled"
        return PoolClosed(why, origin=key.origin, phase="pool")

    # ── Bookkeeping ────────────────────────────────────────────────────────────────────────────

    def _queue(self, key: PoolKey) -> OriginQueue[C]:
        queue = self._origins.get(key)
        if queue is None:
            queue = self._origins[key] = OriginQueue(key, self._max_per_origin)
        return queue

    def _forget_if_empty(self, queue: OriginQueue[C]) -> None:
        if queue.empty and self._origins.get(queue.key) is queue:
            del self._origins[queue.key]
            self._keep_line_short()

    def _keep_line_short(self) -> None:
        if len(self._line) > 2 * len(self._origins) + 16:
            self._line.sweep()

    def _open_slots(self) -> list[Slot[C]]:
        slots: list[Slot[C]] = self._total.statistics().borrowers  # type: ignore[assignment]
        return slots

    def _count(self, what: str, queue: OriginQueue[C]) -> None:
        self.counts.add(what)
        queue.counts.add(what)

    def count_retried(self, key: PoolKey) -> None:
        self.counts.add("retried")
        queue = self._origins.get(key)
        if queue is not None:
            queue.counts.add("retried")

    def statistics(self) -> PoolStatistics:
        """A frozen snapshot. Looks at every open connection and every waiting request."""
        return snapshot(
            self._open_slots(), self._origins.values(), self.counts, self.max_connections
        )


def _is_over(dial: Slot[C] | None) -> bool:
    """Whether a dial has been cancelled, or its time has passed."""
    if dial is None:
        return False
    # A scope that has been left does not look at the clock any more.
    return dial.scope.cancel_called or dial.scope.deadline <= trio.current_time()


def _too_slow(slot: Slot[C]) -> ConnectTimeout | None:
    """The error of a dial that was cancelled: too slow, or, without an owner, called off."""
    if slot.owner is None:
        return None
    key, seconds = slot.queue.key, slot.connect_timeout
    return ConnectTimeout(
        f"no connection to {key} within {seconds} s: {_tried(slot)}",
        origin=key.origin,
        phase="connect",
        seconds=seconds,
    )


def _tried(slot: Slot[C]) -> str:
    return "; ".join(slot.notes) or "nothing had been tried yet"


def _or_infinity(limit: float | None) -> float:
    return math.inf if limit is None else limit
