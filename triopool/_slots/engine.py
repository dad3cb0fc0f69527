"""The slot engine: which connection a request gets, when one is opened, and when one is closed.

It knows neither HTTP nor sockets. A connection is anything that can be glanced at and closed; a
dial is an async callable that makes one.

The problem
-----------
A request that finds no idle connection can be served in two ways: a connection that is given back,
or a fresh dial. It should take the one that comes first, and it may be cancelled at every point of
waiting for either. Pools that let the request itself dial throw a handshake away each time a caller
gives up; pools that *wake* a waiter and let it look for itself lose the wake-up when the waiter is
cancelled in the same tick, or are overtaken by a newcomer, and stall (aiohttp #9670 and #4936,
httpcore #785, redis-py #2624 and many more).

Our way
-------
*Hand over, don't wake up.* Every decision is one synchronous method: it takes a connection from its
present user and gives it to the next, with no moment in between at which it is nobody's or "about
to be" somebody's. A waiter takes part through a memory channel without a buffer, so giving to it
succeeds or fails at once: see :mod:`.waiter`.

*Slots are borrowed for connections, not for requests.* A slot borrows its token of the origin's
limiter, then of the total one, before its dial begins, and gives both back when the descriptor is
closed. What is open is counted; therefore it is bounded.

*Dials belong to the pool.* They outlive their request: see :mod:`.dials`.

*Tasks are started for dials that have their slot, never for waiting.* The design's first sketch
let one task for each waiter block in the limiters. Waiting requests cost more than half of it, and
the total limiter's queue is ordered by when a request came to *it*, not by the age of the request,
which is what fairness across origins means. Here the limiters are asked without waiting, and
:mod:`.waiting` knows whose turn it is.

The rules
---------
1. A newcomer takes the most recently used idle connection of its origin. No checkpoint.
2. Otherwise it becomes a waiter. While there are slots to be had (a free one; or one that a least
   recently used idle connection of another origin gives up; or one of an orphaned dial of another
   origin), the oldest waiter across origins gets a dial.
3. A returned connection goes to its origin's oldest waiter, unless an older one waits in line
   for a slot: then it is closed, and that one gets the slot. With no waiter at all it becomes idle.
4. A fresh connection goes to its origin's oldest waiter. If that is not its owner, the two swap:
   the owner inherits the other one's dial, so that each still has one. If the older one has
   none, the owner waits for a slot again; if its dial's time is over, it is passed by. An owner
   whose own time is over by now keeps what it has.
5. A failed dial is told to its owner and to no other request. Its slot goes to the next in line.
6. A waiter that has no dial by the end of its pool timeout is given the error. The keeper of
   deadlines does that, and not a cancel scope around the wait: that was more than half of what
   waiting cost. A connection or a dial that comes in the same tick as the timeout wins.
7. A request is as old as when it first came. One that looked at a connection which was not fit, or
   was given one, keeps its slot until it stands in line again, before all who came since.

Where a task can be suspended: in ``Waiter.wait``, in ``settle`` (an idle TLS connection has to be
looked at; its slot is owned meanwhile), after a hundred idle connections that were not fit (the
slot of the last one is owned), in ``warm_up`` and ``wait_quiet``, in a dial, and in the sleep of
the sweeper. Nowhere else.

What it costs
-------------
A request touches the ends of its queues, and asks no more than it has to know. While nobody waits,
nobody's turn is looked up; while no slot is to be had, it does not matter who is next; whether a
waiter is dead matters only where something would be closed or dialled for it. A waiter's objects
count twice: with thousands of them in memory, the garbage collector looks at each again and again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import trio
from trio.lowlevel import enable_ki_protection

from .._config import Timeouts
from .._deadlines import Deadlines
from .._facts import CloseReason
from .._instruments.combine import SILENT
from .._pool_key import PoolKey
from .._statistics import PoolStatistics
from ..abc import Instrument
from .books import Books
from .bounds import Bounds
from .dials import Connect, Dials, WarmUp
from .dispatcher import Dispatcher, operation
from .idle import Idle, ToldIdle
from .journal import Journal
from .lease import Lease
from .pooled import Pooled
from .search import Search
from .slot import Share, Slot, State
from .sweeper import Sweeper
from .waiter import Waiter, WaitListener
from .waiting import Origins


class Slots:
    """The engine. See the module's essay."""

    def __init__(
        self,
        connect: Connect,
        deadlines: Deadlines,
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
        """*deadlines* is for the caller to run, and to stop after :meth:`shut`."""
        # Keeps the pool timeouts of those who wait; the caller has others in it.
        self._deadlines = deadlines
        # Who has what. Changed by operations only, and true between any two of them. Public for the
        # invariants, and for tests.
        bounds = Bounds(max_connections)
        journal = Journal(instrument)
        self.books: Books = Books(
            bounds,
            Origins(max_connections_per_origin),
            Idle(idle_timeout, max_lifetime)
            if instrument is SILENT
            else ToldIdle(idle_timeout, max_lifetime, journal.idled),
            Dials(connect, bounds),
            journal,
        )
        # Who gets what.
        self._dispatcher = Dispatcher(
            self.books,
            max_waiting=max_waiting,
            max_idle=max_idle,
            max_exchanges=max_requests_per_connection,
        )
        # Whether there are leases that are the last ones of their connections.
        self.has_last_leases: bool = max_requests_per_connection is not None
        # One bound method for all waiters: with thousands of them, each object counts.
        self._time_out = self._dispatcher.time_out
        self._sweeper = Sweeper(self._dispatcher)
        # Requests are numbered as they come. The number is their age, in all queues.
        self._ages = itertools.count()

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to work: all tasks run in *nursery*, which is to be cancelled after ``shut()``."""
        self.books.dials.start_in(nursery)
        nursery.start_soon(self._sweeper.run, name="triopool sweeper")

    # ── Acquire ────────────────────────────────────────────────────────────────────────────────

    def acquire_nowait(self, key: PoolKey, last: Lease | None = None) -> Lease | None:
        """Reuse an idle connection, if the newest of its origin is fit at a glance.

        Neither a checkpoint nor a coroutine, for this is the way of most requests. To be called
        under protection from KeyboardInterrupt, or the lease could be lost as it is returned.

        Returns:
          None if :meth:`acquire` has to find out more, or to wait. Nothing has changed then.
        """
        queue = self.books.origins.by_key.get(key)
        if queue is None or not queue.share.idle:
            return None
        return self._reuse_newest(queue.share, last)

    def _reuse_newest(self, share: Share, last: Lease | None) -> Lease | None:
        """Lease the newest idle connection of an origin, if it is fit at a glance.

        This overtakes nobody, for no request waits while a connection of its origin is idle. Nor do
        we ask whether the pool refuses requests, for then it keeps nothing idle.
        """
        slot = self.books.idle.take_fit(share, trio.current_time())
        if slot is None:
            return None
        if last is None:
            return self._reuse(slot, next(self._ages), 0.0)
        stale = last.take_slot()
        if stale is not None:
            self._dispatcher.close(stale, CloseReason.STALE)
        return self._reuse(slot, last.age, last.waited)

    @enable_ki_protection
    async def acquire(
        self,
        key: PoolKey,
        timeouts: Timeouts,
        last: Lease | None = None,
        listener: WaitListener | None = None,
    ) -> Lease:
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
          listener: is told whether the request has to wait, and for what.

        Raises:
          PoolTimeout: nothing became free within ``timeouts.pool`` seconds.
          PoolFull: ``max_waiting`` requests wait already.
          ConnectError: the dial failed.
          PoolClosed: the pool was closed, before or while waiting.
        """
        share = self.books.origins.share(key)
        if share is not None and share.idle:
            lease = self._reuse_newest(share, last)
            if lease is not None:
                return lease
        if last is None:
            unfit, age, waited = None, next(self._ages), 0.0
        else:
            unfit, age, waited = last.take_slot(), last.age, last.waited
        if unfit is None:
            self.books.refuse_if_closed(key)
        kept = None
        if unfit is not None or (share is not None and share.idle):
            search = Search(self._dispatcher, key, unfit)
            slot = await search.run()
            if slot is not None:
                return self._reuse(slot, age, waited)
            kept = search.kept
        else:
            # Nothing is dialled for a request that was cancelled before it began.
            await trio.lowlevel.checkpoint_if_cancelled()
            if last is None:
                self._dispatcher.refuse_if_too_many_wait(key)
        # Only now, for the origin may have been forgotten while we looked.
        queue = self.books.origins.queue(key)
        share, channel = queue.share, queue.channel
        waiter = Waiter(
            share, channel, age, timeouts, waited, listener, self._deadlines, self._time_out
        )
        self._dispatcher.stand_in_line(waiter, kept)
        if waiter.dial is None:
            waiter.begin_pool_timeout()
            self.books.journal.queued(waiter, self.books.origins.waiting)
        try:
            slot = await waiter.wait()
        except trio.ClosedResourceError:
            # That is how one waiter alone is told something; it has left the books already. If it
            # is an error, that is raised below and not here, where it would have this for context.
            slot = None
        except BaseException as exc:
            if isinstance(exc, trio.Cancelled):
                exc.add_note(f"triopool was {self.books.doing(waiter, queue)}")
            self._dispatcher.give_up(waiter)
            raise
        if slot is None:
            slot = waiter.take_what_was_put_down()
        # No checkpoint from the hand-over to here: a connection once given is not lost.
        self.books.journal.handed_over(slot, waiter)
        return self._lease(slot, waiter.age, waiter.waited)

    def _reuse(self, slot: Slot, age: int, waited: float) -> Lease:
        self.books.journal.reused(slot)
        lease = self._lease(slot, age, waited)
        lease.just_seen = True
        return lease

    def _lease(self, slot: Slot, age: int, waited: float) -> Lease:
        reused, slot.fresh = not slot.fresh, False
        slot.exchanges += 1
        return Lease(self._dispatcher, slot, reused, age, waited)

    # ── Operations ─────────────────────────────────────────────────────────────────────────────

    def follow_up(self) -> None:
        """The last step of each operation."""
        self._dispatcher.follow_up()

    @property
    def max_connections(self) -> int | None:
        return self.books.bounds.max_connections

    @max_connections.setter
    @enable_ki_protection
    @operation
    def max_connections(self, value: int | None) -> None:
        self.books.bounds.max_connections = value
        while self.books.bounds.exceeded and self.books.idle:
            self.books.close(self.books.idle.oldest, CloseReason.EVICTED)

    @enable_ki_protection
    async def warm_up(self, key: PoolKey, n: int, timeouts: Timeouts) -> None:
        """Dial until *n* connections to an origin are open, as far as slots are free.

        Evicts nothing, and takes no slot that a request waits for. If cancelled, its dials go on
        as orphans.

        Raises:
          ConnectError: a dial failed; the first failure of several.
        """
        self.books.refuse_if_closed(key)
        warm_up = WarmUp()
        self._begin(warm_up, key, n, timeouts.connect)
        try:
            if warm_up.dials:
                await warm_up.done.wait()
            else:
                await trio.lowlevel.checkpoint()
        finally:
            self._end(warm_up)
        if warm_up.error is not None:
            raise warm_up.error

    @operation
    def _begin(self, warm_up: WarmUp, key: PoolKey, n: int, connect_timeout: float | None) -> None:
        queue = self.books.origins.queue(key)
        missing = n - queue.share.limiter.borrowed_tokens
        while len(warm_up.dials) < missing and not queue.share.full and self.books.bounds.has_token:
            self.books.dial_to_warm_up(queue.share, warm_up, connect_timeout)
        self.books.origins.forget_if_empty(queue)

    @operation
    def _end(self, warm_up: WarmUp) -> None:
        for dial in warm_up.dials:
            self.books.dials.orphan(dial)

    @enable_ki_protection
    @operation
    def close_idle(
        self, key: PoolKey | None = None, reason: CloseReason = CloseReason.RETIRED
    ) -> None:
        """Close all connections that no request uses, or those of one origin."""
        share = None if key is None else self.books.origins.share(key)
        if key is None or share is not None:
            for slot in self.books.idle.unused(share):
                self.books.close(slot, reason)

    @enable_ki_protection
    @operation
    def retire(self, predicate: Callable[[Pooled], bool]) -> int:
        """Close the open connections that match: idle ones now, busy ones when returned."""
        # All answers first, so that a predicate that raises changes nothing.
        matching = [
            slot
            for slot in self.books.bounds.slots
            if slot.connection is not None and predicate(slot.connection)
        ]
        unused = set(self.books.idle.unused(None))
        for slot in matching:
            if slot in unused:
                self.books.close(slot, CloseReason.RETIRED)
            else:
                slot.retired = True
        return len(matching)

    @enable_ki_protection
    @operation
    def refuse(self, why: str) -> None:
        """Refuse new requests from now on; those that wait or run go on. Nothing is kept idle."""
        self.books.refusal = why
        for slot in self.books.idle.unused(None):
            self.books.close(slot, CloseReason.POOL_CLOSED)

    async def wait_quiet(self) -> None:
        """Wait until no request waits, none is in flight, and no dial is wanted.

        For a pool that refuses new requests: once quiet, it stays so.
        """
        await self._dispatcher.quiet().wait()

    @enable_ki_protection
    @operation
    def shut(self, why: str) -> None:
        """Close everything: each waiter gets :class:`PoolClosed`, each connection is closed."""
        books = self.books
        books.refusal = why
        for queue in tuple(books.origins.by_key.values()):
            for waiter in (*queue.dialling, *queue.waiting):
                books.leave(waiter)
                waiter.fail(books.closed_error(queue.share.key))
        for dial in books.dials.under_way:
            if dial.owner is not None:  # A warm-up: it ends now, though its dial may end later.
                dial.owner.dial_ended(dial, books.closed_error(dial.slot.share.key))
                books.dials.orphan(dial)
            dial.scope.cancel()
        for slot in books.bounds.slots:
            if slot.state is not State.DIALLING:
                books.close(slot, CloseReason.POOL_CLOSED)

    # ── Figures ────────────────────────────────────────────────────────────────────────────────

    def count_retried(self, key: PoolKey) -> None:
        """A request is sent again, for its connection was stale."""
        self.books.journal.retried(self.books.origins.share(key))

    def statistics(self) -> PoolStatistics:
        """A frozen snapshot. Looks at every open connection and every waiting request."""
        return self.books.statistics()
