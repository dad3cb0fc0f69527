"""The slot engine against :mod:`model`, command by command, as Hypothesis likes to have it.

Hypothesis is not asynchronous, and the engine is. So Trio runs in a thread of its own, on a clock
that only moves when it is told to, and each command waits until all tasks have come to rest. The
time between two commands is odd, so that no two things ever happen at one instant.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import hypothesis
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool._config import Timeouts
from triopool._deadlines import Deadlines
from triopool._facts import Condition
from triopool._origin import PoolKey
from triopool._slots.dials import ORPHAN_GRACE
from triopool._slots.engine import Slots
from triopool._slots.invariants import check

from .fakes import A, Auditor, B, C, Caller, FakeConnection, FakeDialler, Refused, key
from .model import GRACE, IDLE_TIMEOUT, Model, ModelRequest, ModelSlot, ModelWarmUp

assert GRACE == ORPHAN_GRACE

TICK = 0.00714159
"""The time from one command to the next."""


class Loop:
    """Trio in a thread, driven step by step."""

    def __init__(self) -> None:
        self.clock = MockClock()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        trio.run(self._main, clock=self.clock)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        self.deadlines = Deadlines()
        async with trio.open_nursery() as self.nursery:
            self.nursery.start_soon(self.deadlines.run)
            self._ready.set()
            await self._stop.wait()
            self.nursery.cancel_scope.cancel()

    def _shut(self, slots: Slots) -> None:
        self._stop.set()
        slots.shut("the end")
        self.deadlines.stop()

    def __call__(self, async_fn: Callable[..., Any], *args: Any) -> Any:
        return trio.from_thread.run(async_fn, *args, trio_token=self._token)

    def close(self, slots: Slots) -> None:
        trio.from_thread.run_sync(self._shut, slots, trio_token=self._token)
        self._thread.join()


class CommandedConnection(FakeConnection):
    """A request that looks at it waits until the machine decides what it finds."""

    async def settle(self) -> bool:
        if trio.lowlevel.current_task().name != "triopool sweeper":
            self.settle_when = trio.Event()
        return await super().settle()


class CommandedDialler(FakeDialler):
    """Dials that end when the machine says so. Numbered in the order in which they began.

    It stands in for the engine's nursery, because that is where the order can be seen.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__()
        self.ends: dict[int, trio.Event] = {}
        self.errors: dict[int, Exception] = {}
        self.numbers: set[int] = set()
        self._nursery = nursery
        self._begun = 0

    def start_soon(self, async_fn: Callable[..., Any], *args: Any, name: str) -> None:
        if args:
            self._begun += 1
            args[0].notes.append(str(self._begun))
        self._nursery.start_soon(async_fn, *args, name=name)

    async def __call__(self, key: PoolKey, notes: list[str]) -> FakeConnection:
        number = int(notes[0])
        self.ends[number] = trio.Event()
        self.numbers.add(number)
        try:
            await self.ends[number].wait()
            if number in self.errors:
                raise self.errors[number]
            return CommandedConnection(self, key, number)
        finally:
            self.numbers.remove(number)


class WarmUpCall:
    """A ``warm_up()`` in a task of its own, and how it ended."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.state = "waiting"

    async def run(self, slots: Slots, key: PoolKey, n: int, connect: float) -> None:
        with self.scope:
            try:
                await slots.warm_up(key, n, Timeouts(connect=connect))
                self.state = "done"
            except Exception as error:
                self.state = type(error).__name__
        if self.scope.cancelled_caught:
            self.state = "cancelled"


def state_of(caller: Caller, request: ModelRequest) -> str:
    """What became of a request, in the model's words."""
    if caller.cancelled:
        return "cancelled"
    if caller.error is not None:
        return type(caller.error).__name__
    if caller.lease is None:
        return "settling" if request.state == "settling" else "queued"
    return "done" if caller.lease.ended else "served"


keys = st.sampled_from([A, B, C])
picks = st.integers(0, 20)
mostly = st.sampled_from([True, True, True, False])


Rule = TypeVar("Rule", bound=Callable[..., None])


def some(attribute: str) -> Callable[[Rule], Rule]:
    """A rule for when there is at least one of these."""
    return precondition(lambda self: bool(getattr(self, attribute)))


class Machine(RuleBasedStateMachine):
    # ── The engine and the model side by side ──────────────────────────────────────────────────

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.broken = False
        self.callers: dict[ModelRequest, Caller] = {}
        self.warm_ups: dict[ModelWarmUp, WarmUpCall] = {}
        self.number = 0

    @initialize(
        limit=st.integers(1, 4),
        per_origin=st.sampled_from([None, None, 1, 2]),
        max_waiting=st.sampled_from([None, None, 3, 0]),
        max_idle=st.sampled_from([None, None, 2, 1, 0]),
        end=st.sampled_from(["give back", "drain", "shut"]),
    )
    def begin(
        self,
        limit: int,
        per_origin: int | None,
        max_waiting: int | None,
        max_idle: int | None,
        end: str,
    ) -> None:
        self.end = end
        self.model = Model(
            limit, per_origin or math.inf, or_infinity(max_waiting), or_infinity(max_idle), 4
        )
        self.dialler = CommandedDialler(self.loop.nursery)
        self.auditor = Auditor()
        self.slots = Slots(
            self.dialler,
            self.loop.deadlines,
            max_connections=limit,
            max_connections_per_origin=per_origin,
            max_waiting=max_waiting,
            max_idle=max_idle,
            idle_timeout=IDLE_TIMEOUT,
            max_lifetime=None,
            max_requests_per_connection=4,
            instrument=self.auditor,
        )
        self.auditor.slots = self.slots
        self.swept = False
        dispatcher = self.slots._dispatcher
        dispatcher.sweep = self.noticing(dispatcher.sweep)  # type: ignore[method-assign]
        self.loop(self.start)

    async def start(self) -> None:
        self.slots.start(self.dialler)  # type: ignore[arg-type]

    def noticing(self, sweep: Callable[..., Any]) -> Callable[..., Any]:
        """When the sweeper comes is tested elsewhere; what it does then, here."""

        def noticed(*args: Any) -> Any:
            self.swept = True
            return sweep(*args)

        return noticed

    def do(self, command: Callable[..., None], *args: Any) -> None:
        """Run a command of engine and model, and compare what comes of it."""
        try:
            self.loop(self.step, command, args)
        except BaseException:
            self.broken = True
            raise

    async def step(self, command: Callable[..., None], args: tuple[Any, ...]) -> None:
        before = self.size
        command(*args)
        await self.rest()
        assert self.size <= max(self.slots.max_connections or math.inf, before)
        await self.pass_time(TICK)

    async def pass_time(self, seconds: float) -> None:
        """One event at a time, so that the model knows their order."""
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            event = trio.lowlevel.current_statistics().seconds_to_next_deadline
            self.loop.clock.jump(max(0, min(event, end - trio.current_time())))
            await self.rest()

    async def rest(self) -> None:
        self.model.now = trio.current_time()
        await wait_all_tasks_blocked()
        self.model.come_to_rest()
        if self.swept:
            self.model.sweep()
            self.swept = False
        self.compare()

    @property
    def size(self) -> int:
        return len(self.dialler.open) + len(self.dialler.numbers)

    def compare(self) -> None:
        check(self.slots)
        assert self.auditor.error is None
        model, statistics = self.model, self.slots.statistics()
        open_ids = {connection.info.id for connection in self.dialler.open}
        assert open_ids == {slot.number for slot in model.slots if slot.state != "dialling"}
        assert self.dialler.numbers == {slot.number for slot in model.dials}
        assert self.size == statistics.open
        idle = [slot.connection.info.id for slot in self.slots.books.idle if slot.connection]
        assert idle == [slot.number for slot in model.idle]
        for request, caller in self.callers.items():
            assert state_of(caller, request) == request.state
            if request.state == "served":
                assert request.slot is not None
                assert caller.connection.info.id == request.slot.number
        for warm_up, call in self.warm_ups.items():
            assert call.state == warm_up.state
        assert statistics.waiting == len(model.waiting)
        counts = {name: n for name, n in self.slots.books.journal.counts.items() if n}
        assert counts == {name.replace(" ", "_"): n for name, n in model.counts.items()}

    # ── Requests ───────────────────────────────────────────────────────────────────────────────

    def in_state(self, *states: str) -> list[ModelRequest]:
        return [request for request in self.callers if request.state in states]

    @property
    def served(self) -> list[ModelRequest]:
        return self.in_state("served")

    @property
    def settling(self) -> list[ModelRequest]:
        return self.in_state("settling")

    @property
    def live(self) -> list[ModelRequest]:
        return self.in_state("served", "settling", "queued")

    @precondition(lambda self: len(self.live) < 6)
    @rule(
        some_keys=st.lists(keys, min_size=1, max_size=2),
        pool=st.sampled_from([None, 2.2360679]),
        connect=st.sampled_from([3.1622776, 7.4161984]),
    )
    def request(self, some_keys: list[PoolKey], pool: float | None, connect: float) -> None:
        for one in some_keys:
            self.number += 1
            timeouts = Timeouts(pool=pool, connect=connect + self.number * 1e-4)
            self.do(self._request, one, timeouts)

    def _request(self, key: PoolKey, timeouts: Timeouts) -> None:
        request = ModelRequest(key, timeouts.pool or math.inf, timeouts.connect or math.inf)
        caller = Caller(key, timeouts)
        self.callers[request] = caller
        self.loop.nursery.start_soon(caller.run, self.slots)
        self.model.request(request)

    @some("live")
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        self.do(self._cancel, nth(self.live, pick))

    def _cancel(self, request: ModelRequest) -> None:
        self.callers[request].cancel()
        if request.state == "queued":
            self.model.cancel(request)
        else:
            self.model.discard(request)
            request.state = "cancelled"

    @some("served")
    @rule(pick=picks, how=st.lists(mostly, min_size=1, max_size=3))
    def let_go(self, pick: int, how: list[bool]) -> None:
        for well in how[: len(self.served)]:
            self.do(self._release if well else self._discard, nth(self.served, pick))

    def _release(self, request: ModelRequest) -> None:
        self.callers[request].release()
        self.model.release(request)

    def _discard(self, request: ModelRequest) -> None:
        self.callers[request].discard()
        self.model.discard(request)

    @some("served")
    @rule(pick=picks, closed=st.booleans())
    def come_again(self, pick: int, closed: bool) -> None:
        self.do(self._come_again, nth(self.served, pick), closed)

    def _come_again(self, request: ModelRequest, closed: bool) -> None:
        self.callers[request].come_again(closed=closed)
        self.model.comes_again(request, closed=closed)

    @property
    def contended(self) -> bool:
        """Somebody waits and somebody holds; and no two origins with dials contend.

        For then it would be a toss of Trio's coin what happens first.
        """
        queue, dials = self.model.queue, self.model.dials
        names = {request.key for request in queue} | {slot.key for slot in dials}
        return bool(self.served and queue and (not dials or len(names) == 1))

    @some("contended")
    @rule(
        a=picks,
        b=picks,
        race=st.sampled_from(["_cancel_release", "_cancel_discard", "_release_cancel"]),
    )
    def two_things_in_the_same_tick(self, a: int, b: int, race: str) -> None:
        self.do(getattr(self, race), nth(self.in_state("queued"), a), nth(self.served, b))

    def _cancel_release(self, waiter: ModelRequest, holder: ModelRequest) -> None:
        self._cancel(waiter)
        self._release(holder)

    def _cancel_discard(self, waiter: ModelRequest, holder: ModelRequest) -> None:
        self._cancel(waiter)
        self._discard(holder)

    def _release_cancel(self, waiter: ModelRequest, holder: ModelRequest) -> None:
        self._release(holder)
        self._cancel(waiter)

    @some("settling")
    @rule(pick=picks, fit=st.booleans())
    def settle_ends(self, pick: int, fit: bool) -> None:
        self.do(self._settle_ends, nth(self.settling, pick), fit)

    def _settle_ends(self, request: ModelRequest, fit: bool) -> None:
        assert request.slot is not None
        connection = self.connection(request.slot)
        request.slot.fit = connection.fit = fit
        assert connection.settle_when is not None
        connection.settle_when.set()
        self.model.settled(request)

    # ── Connections and dials ──────────────────────────────────────────────────────────────────

    @property
    def idle(self) -> list[ModelSlot]:
        return self.model.idle

    @property
    def pending(self) -> list[object]:
        """What the passing of time may bring about."""
        return [*self.model.queue, *self.model.dials, *self.model.idle]

    @property
    def dials(self) -> list[ModelSlot]:
        return self.model.dials

    def connection(self, slot: ModelSlot) -> FakeConnection:
        return self.by_number[slot.number]

    @property
    def by_number(self) -> dict[int, FakeConnection]:
        return {
            slot.connection.info.id: slot.connection
            for slot in self.slots.books.bounds.slots
            if slot.connection
        }

    @some("idle")
    @rule(
        pick=picks,
        looks=st.sampled_from([Condition.STALE, Condition.UNSURE]),
        fit=st.booleans(),
        asked=st.booleans(),
    )
    def peer_sends_or_closes(self, pick: int, looks: Condition, fit: bool, asked: bool) -> None:
        slot = nth(self.idle, pick)
        self.do(self._peer_sends_or_closes, slot, looks, fit)
        if asked:
            self.do(self._request, slot.key, Timeouts())

    def _peer_sends_or_closes(self, slot: ModelSlot, looks: Condition, fit: bool) -> None:
        connection = self.connection(slot)
        slot.looks = connection.looks = looks
        slot.fit = connection.fit = fit

    @some("dials")
    @rule(pick=picks, how=st.lists(mostly, min_size=1, max_size=3))
    def dials_end(self, pick: int, how: list[bool]) -> None:
        for well in how:
            if self.dials:
                self.do(self._dial_succeeds if well else self._dial_fails, nth(self.dials, pick))

    def _dial_succeeds(self, slot: ModelSlot) -> None:
        self.dialler.ends[slot.number].set()
        self.model.dial_succeeds(slot)

    def _dial_fails(self, slot: ModelSlot) -> None:
        self.dialler.errors[slot.number] = Refused()
        self.dialler.ends[slot.number].set()
        self.model.dial_fails(slot, "Refused")

    @some("pending")
    @rule(seconds=st.sampled_from([0.31831, 0.84107, 1.17724, 4.0412, 5.1931, 16.123]))
    def time_passes(self, seconds: float) -> None:
        self.do_async(self.pass_time, seconds)

    def do_async(self, async_fn: Callable[..., Any], *args: Any) -> None:
        try:
            self.loop(async_fn, *args)
        except BaseException:
            self.broken = True
            raise

    # ── Operations ─────────────────────────────────────────────────────────────────────────────

    @some("pending")
    @rule(
        operation=st.sampled_from(
            ["_warm_up", "_warm_up", "_set_max_connections", "_close_idle", "_retire"]
        ),
        key=keys,
        n=st.integers(1, 5),
    )
    def operate(self, operation: str, key: PoolKey, n: int) -> None:
        self.do(getattr(self, operation), key, n)

    def _set_max_connections(self, key: PoolKey, n: int) -> None:
        self.slots.max_connections = n
        self.model.set_limit(n)

    def _close_idle(self, key: PoolKey, n: int) -> None:
        self.slots.close_idle(key)
        self.model.close_idle(key)

    def _retire(self, key: PoolKey, n: int) -> None:
        self.slots.retire(lambda connection: connection.info.origin == key.origin)
        self.model.retire(key)

    def _warm_up(self, key: PoolKey, n: int) -> None:
        warm_up, call = ModelWarmUp(), WarmUpCall()
        self.warm_ups[warm_up] = call
        self.number += 1
        connect = 5.4772255 + self.number * 1e-4
        self.loop.nursery.start_soon(call.run, self.slots, key, n, connect)
        self.model.warm_up(warm_up, key, n, connect)

    @property
    def warming(self) -> list[ModelWarmUp]:
        return [warm_up for warm_up in self.warm_ups if warm_up.state == "waiting"]

    @some("warming")
    @rule(pick=picks)
    def cancel_warm_up(self, pick: int) -> None:
        self.do(self._cancel_warm_up, nth(self.warming, pick))

    def _cancel_warm_up(self, warm_up: ModelWarmUp) -> None:
        self.warm_ups[warm_up].scope.cancel()
        self.model.cancel_warm_up(warm_up)

    # ── The end ────────────────────────────────────────────────────────────────────────────────

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.wind_up()
        finally:
            self.loop.close(self.slots)

    def wind_up(self) -> None:
        if self.end == "drain":
            self.drain()
        elif self.end == "give back":
            self.give_back_everything()
            self.loop(self.assert_full_size)
        self.loop(self.shut)

    def drain(self) -> None:
        """Whoever is there is served, nobody new is, and then it is quiet."""
        while self.warming:
            self.do(self._cancel_warm_up, self.warming[0])
        self.do(self._refuse)
        self.do(self._request, A, Timeouts())
        while self.live or self.dials:
            if self.settling:
                self.do(self._settle_ends, self.settling[0], len(self.settling) % 2 == 0)
            if self.served:
                self.do(self._release, self.served[0])
            if self.dials:
                self.do(self._dial_succeeds, self.dials[0])
        self.do_async(self.assert_quiet)

    def _refuse(self) -> None:
        self.slots.refuse("draining")
        self.model.refuse()
        self.loop.nursery.start_soon(self.slots.wait_quiet)

    async def assert_quiet(self) -> None:
        assert len(self.loop.nursery.child_tasks) == 2, "only sweeper and keeper are left"
        assert self.slots.statistics().open == 0

    def give_back_everything(self) -> None:
        while self.warming:
            self.do(self._cancel_warm_up, self.warming[0])
        while self.live:
            self.do(self._cancel, self.live[0])
        self.do_async(self.pass_time, ORPHAN_GRACE + 1)
        assert not self.dialler.numbers

    async def assert_full_size(self) -> None:
        """As many callers as the bound allows are served at once."""
        bound = int(min(self.model.limit, self.model.per_origin))
        callers = [Caller(key("fresh"), Timeouts()) for _ in range(bound)]
        for caller in callers:
            self.loop.nursery.start_soon(caller.run, self.slots)
        await wait_all_tasks_blocked()
        for end in self.dialler.ends.values():
            end.set()
        await wait_all_tasks_blocked()
        assert all(caller.lease is not None for caller in callers)
        check(self.slots)

    async def shut(self) -> None:
        waiting = [self.callers[request] for request in self.in_state("queued")]
        self.slots.shut("closed")
        await wait_all_tasks_blocked()
        check(self.slots)
        assert all(type(caller.error).__name__ == "PoolClosed" for caller in waiting)
        assert self.size == self.slots.statistics().open == 0
        assert not self.slots.books.origins.by_key


def or_infinity(value: int | None) -> float:
    return math.inf if value is None else value


def nth(things: list[Any], pick: int) -> Any:
    return things[pick % len(things)]


EXAMPLES = hypothesis.settings.default.max_examples  # type: ignore[union-attr]
IS_THOROUGH = EXAMPLES > 1000

TestMachine = Machine.TestCase
TestMachine.settings = hypothesis.settings(
    max_examples=EXAMPLES if IS_THOROUGH else 150,
    stateful_step_count=60,
    derandomize=not IS_THOROUGH,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
