"""What the slot engine needs of the world, without a world: connections, a dialler, callers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from triopool._config import Timeouts
from triopool._deadlines import Deadlines
from triopool._facts import CloseReason, Condition, ConnectionInfo, Spent
from triopool._instruments.combine import SILENT
from triopool._origin import Origin, PoolKey
from triopool._slots.engine import Slots
from triopool._slots.invariants import check
from triopool._slots.lease import Lease
from triopool._slots.slot import Slot
from triopool._slots.waiter import Waiter
from triopool._slots.waiting import Line, OriginQueue
from triopool.abc import Instrument

NO_LIMITS = Timeouts(pool=None, connect=None, write=None, read=None)


def key(name: str) -> PoolKey:
    return PoolKey(Origin("http", f"{name}.test", 80))


A, B, C = key("a"), key("b"), key("c")


def discard_lease(lease: Lease) -> None:
    """End a lease whose connection can't be used again, unless it has ended."""
    if not lease.ended:
        lease.connection.spent = Spent.CUT_SHORT
        lease.end()


class FakeConnection:
    """Open until it is closed, and of the condition that the test says.

    Attributes:
      looks: what a glance shows.
      fit: what ``settle()`` finds out.
      breaks: the method that raises, if any.
      spent: why it can't be used again; None while it can.
      settle_when: if set, what ``settle()`` waits for.
    """

    def __init__(self, dialler: FakeDialler, key: PoolKey, number: int) -> None:
        self.info = ConnectionInfo(number, key.origin, None, None, None, trio.current_time())
        self.idle_limit: float | None = None
        self.spent: Spent | None = None
        self.looks = Condition.FRESH
        self.fit = True
        self.settle_when: trio.Event | None = None
        self.breaks = ""
        self._dialler = dialler
        dialler.open.add(self)

    @property
    def is_open(self) -> bool:
        return self in self._dialler.open

    def condition(self) -> Condition:
        if self.breaks == "condition":
            raise RuntimeError("planted")
        return self.looks

    async def settle(self) -> bool:
        if self.settle_when is not None:
            await self.settle_when.wait()
        else:
            await trio.lowlevel.checkpoint()
        if self.fit:
            self.looks = Condition.FRESH
        return self.fit

    def close(self) -> None:
        self._dialler.open.discard(self)
        if self.breaks == "close":
            raise RuntimeError("planted")

    def __repr__(self) -> str:
        return f"<FakeConnection {self.info.id} to {self.info.origin.host}>"


class Refused(Exception):
    """What a scripted dial fails with; *after* a delay in seconds."""

    def __init__(self, after: float = 0.0) -> None:
        super().__init__(after)
        self.after = after


HANG = math.inf
"""A dial that never ends by itself."""

A_DAY = 86400


class FakeDialler:
    """Dials as scripted, and knows what is really open.

    Attributes:
      open: the connections that are open.
      dialling: how many dials are under way.
      peak: the most that was ever open or dialling at once.
      dialled: the key of each dial begun, in order.
      delay: how long a dial takes that no script speaks of.
      deaf: the keys whose dials go on when they are cancelled.
    """

    def __init__(self, delay: float = 0.1) -> None:
        self.delay = delay
        self.open: set[FakeConnection] = set()
        self.dialling = 0
        self.peak = 0
        self.dialled: list[PoolKey] = []
        self.deaf: set[PoolKey] = set()
        self._scripts: dict[PoolKey, list[float | Exception]] = {}
        self._made = 0

    def script(self, key: PoolKey, *plans: float | Exception) -> None:
        """Plan the next dials to *key*: each takes so many seconds, or fails."""
        self._scripts[key] = list(plans)

    async def __call__(self, key: PoolKey, notes: list[str]) -> FakeConnection:
        self.dialled.append(key)
        self.dialling += 1
        self.peak = max(self.peak, self.dialling + len(self.open))
        try:
            await self._handshake(key, notes)
            return self.connection(key)
        finally:
            self.dialling -= 1

    async def _handshake(self, key: PoolKey, notes: list[str]) -> None:
        script = self._scripts.get(key)
        plan = script.pop(0) if script else self.delay
        notes.append("connecting")
        if isinstance(plan, Refused):
            await trio.sleep(plan.after)
        if isinstance(plan, Exception):
            raise plan
        with trio.CancelScope(shield=key in self.deaf):
            await trio.sleep(plan)

    def connection(self, key: PoolKey) -> FakeConnection:
        self._made += 1
        return FakeConnection(self, key, self._made)


class Caller:
    """A request in a task of its own: takes a connection, and holds it until told to let go.

    Cancelled with a connection in hand, it does what an exchange does, and closes it.
    """

    def __init__(self, key: PoolKey, timeouts: Timeouts) -> None:
        self.key = key
        self.timeouts = timeouts
        self.scope = trio.CancelScope()
        self.lease: Lease | None = None
        self.error: Exception | None = None
        self.cancelled = False
        self.ended = trio.Event()
        self.ended_at = math.nan
        self._let_go = trio.Event()
        self._stale: Lease | None = None

    async def run(self, slots: Slots) -> None:
        with self.scope:
            while True:
                stale, self._stale = self._stale, None
                try:
                    self.lease = await slots.acquire(self.key, self.timeouts, stale)
                except Exception as error:
                    self.error = error
                self.ended_at = trio.current_time()
                self.ended.set()
                if self.lease is not None:
                    await self._hold(self.lease)
                if self._stale is None:
                    break
        self.cancelled = self.scope.cancelled_caught

    async def _hold(self, lease: Lease) -> None:
        try:
            await self._let_go.wait()
        finally:
            if self._stale is None:
                discard_lease(lease)

    @property
    def connection(self) -> FakeConnection:
        assert self.lease is not None, f"not served: {self.error!r}"
        return self.lease.connection

    @property
    def waits(self) -> bool:
        return self.lease is None and self.error is None and not self.cancelled

    def release(self) -> None:
        assert self.lease is not None
        self.lease.end()
        self._let_go.set()

    def discard(self) -> None:
        assert self.lease is not None
        discard_lease(self.lease)
        self._let_go.set()

    def come_again(self, *, closed: bool) -> None:
        """Find that the connection is stale; close it, or leave that to the engine."""
        assert self.lease is not None
        if closed:
            discard_lease(self.lease)
        self._stale, self.lease = self.lease, None
        self.ended = trio.Event()
        self._let_go.set()
        self._let_go = trio.Event()

    def cancel(self) -> None:
        self.scope.cancel()


class Auditor(Instrument):
    """Sees that the engine's books agree and its figures add up, whenever it is told something.

    A pool switches an instrument off that raises. So the first error is kept, and passed on.

    Attributes:
      slots: the engine, once it is made.
      also: another instrument to be told.
      told: what, how often.
      error: the first thing that was wrong.
    """

    def __init__(self, also: Instrument | None = None) -> None:
        self.slots: Slots | None = None
        self.also = also
        self.told: Counter[str] = Counter()
        self.error: BaseException | None = None

    def _hear(self, hook: str, *facts: Any) -> None:
        self.told[hook] += 1
        try:
            self._audit()
        except AssertionError as error:
            error.add_note(f"in the hook {hook!r}")
            self.error = self.error or error
        if self.also is not None:
            getattr(self.also, hook)(*facts)

    def _audit(self) -> None:
        assert self.slots is not None
        check(self.slots)
        figures = self.slots.statistics()
        closed = self.slots.books.journal.counts.get("pool_closed", 0) + sum(
            getattr(figures, reason.name.lower(), 0) for reason in CloseReason
        )
        for one in (figures, *figures.origins.values()):
            assert one.open == one.busy + one.idle + one.dialling
        for gauge in ("open", "busy", "idle", "dialling", "waiting"):
            parts = [getattr(one, gauge) for one in figures.origins.values()]
            assert getattr(figures, gauge) == sum(parts)
        assert figures.dialled - closed == figures.busy + figures.idle
        assert self.told["dialled"] <= figures.dialled
        assert self.told["dial_failed"] <= figures.dial_failures
        begun = figures.dialled + figures.dial_failures + figures.dialling
        assert self.told["dial_started"] <= begun

    def queued(self, *facts: Any) -> None:
        self._hear("queued", *facts)

    def dial_started(self, *facts: Any) -> None:
        self._hear("dial_started", *facts)

    def dialled(self, *facts: Any) -> None:
        self._hear("dialled", *facts)

    def dial_failed(self, *facts: Any) -> None:
        self._hear("dial_failed", *facts)

    def reused(self, *facts: Any) -> None:
        self._hear("reused", *facts)

    def handed_over(self, *facts: Any) -> None:
        self._hear("handed_over", *facts)

    def closed(self, *facts: Any) -> None:
        self._hear("closed", *facts)


class Bench:
    """An engine at work, its dialler, and callers.

    Attributes:
      options: what the engine was made with.
    """

    def __init__(self, dialler: FakeDialler, nursery: trio.Nursery, options: Any) -> None:
        self.dialler = dialler
        self.options = options
        self.auditor = Auditor(options.get("instrument"))
        if options.get("instrument") is not SILENT:
            options = options | {"instrument": self.auditor}
        self.deadlines = Deadlines()
        self.slots = Slots(dialler, self.deadlines, **options)
        self.auditor.slots = self.slots
        self.slots.start(nursery)
        nursery.start_soon(self.deadlines.run)
        self._nursery = nursery

    async def ask(self, key: PoolKey, *, timeouts: Timeouts = NO_LIMITS) -> Caller:
        """Start a caller, and let it come as far as it comes without time."""
        caller = Caller(key, timeouts)
        self._nursery.start_soon(caller.run, self.slots)
        await wait_all_tasks_blocked()
        return caller

    async def hold(self, key: PoolKey) -> Caller:
        """A caller that has its connection."""
        caller = await self.ask(key)
        await caller.ended.wait()
        return caller

    async def idle(self, key: PoolKey, n: int = 1) -> list[FakeConnection]:
        """Leave *n* idle connections to *key*, the last one used most recently."""
        callers = [await self.hold(key) for _ in range(n)]
        for caller in callers:
            caller.release()
        return [caller.connection for caller in callers]

    async def settle(self) -> None:
        """Let every task go on until it waits."""
        await wait_all_tasks_blocked()
        check(self.slots)

    def shut(self, why: str) -> None:
        """Shut the engine, and let nothing of it run any more, as a pool does that is left."""
        self.slots.shut(why)
        self.deadlines.stop()

    # What tests may know of the engine's inside.

    @property
    def origins(self) -> dict[PoolKey, OriginQueue]:
        return self.slots.books.origins.by_key

    @property
    def line(self) -> Line:
        return self.slots.books.origins.line

    @property
    def open_slots(self) -> list[Slot]:
        return self.slots.books.bounds.slots

    def time_out(self, waiter: Waiter) -> None:
        """Let the pool timeout of a waiter run out, whatever the time."""
        waiter.run_out()

    @property
    def open(self) -> int:
        """How many connections are really open."""
        return len(self.dialler.open)

    async def assert_full_size(self) -> None:
        """Everything is given back, and as many callers as the bound allows are served at once."""
        statistics = self.slots.statistics()
        assert statistics.busy == statistics.waiting == 0
        callers = [await self.ask(key("fresh")) for _ in range(self.slots.max_connections or 10)]
        # Orphaned dials of other origins give way at once; then each dial takes its time.
        await trio.sleep(self.dialler.delay)
        await self.settle()
        assert [caller.waits for caller in callers] == [False] * len(callers)
        for caller in callers:
            caller.release()
        await self.settle()


@asynccontextmanager
async def bench(dialler: FakeDialler | None = None, **options: Any) -> AsyncIterator[Bench]:
    """Run an engine; check its books at the end, shut it, and see that nothing is left.

    On a clock that jumps, a body that is stuck fails at once, for a day passes at once.
    """
    dialler = dialler if dialler is not None else FakeDialler()
    async with trio.open_nursery() as nursery:
        bench = Bench(dialler, nursery, options)
        try:
            with trio.fail_after(A_DAY):
                yield bench
            await bench.settle()
        finally:
            # Whatever has failed: its tasks end, and with them the nursery.
            bench.shut("the test is over")
        await bench.settle()
        assert bench.auditor.error is None
        assert bench.slots.statistics().open == 0
        assert not dialler.open
        assert not dialler.dialling
        assert not bench.origins
        nursery.cancel_scope.cancel()
