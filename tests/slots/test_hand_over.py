"""How a connection, or an error, gets from the engine to one waiting task and to no other."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool._config import Timeouts
from triopool._errors import PoolClosed, PoolTimeout
from triopool._slots.invariants import check

from .fakes import HANG, NO_LIMITS, A, B, FakeDialler, Refused, bench

# ── What we rely on in Trio ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["sent", "closed", "cancelled"])
async def test_trio_forgets_a_tasks_sleep_data_when_it_wakes_it_and_not_when_the_task_runs(
    how: str,
) -> None:
    async def receive() -> None:
        task = trio.lowlevel.current_task()
        task.custom_sleep_data = "set before it parks"
        tasks.append(task)
        with scope:
            try:
                await end.receive()
            except trio.ClosedResourceError:
                assert how == "closed"

    tasks: list[trio.lowlevel.Task] = []
    scope = trio.CancelScope()
    send, whole = trio.open_memory_channel[str](0)
    end = whole.clone()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        [task] = tasks
        assert task.custom_sleep_data is not None
        {"sent": lambda: send.send_nowait("it"), "closed": end.close, "cancelled": scope.cancel}[
            how
        ]()
        assert task.custom_sleep_data is None
        assert send.statistics().tasks_waiting_receive == 0


async def test_in_trio_to_close_a_clone_wakes_its_task_alone_and_the_others_keep_their_order() -> (
    None
):
    async def receive(name: str, end: trio.MemoryReceiveChannel[str]) -> None:
        try:
            got.append((name, await end.receive()))
        except trio.ClosedResourceError:
            got.append((name, "closed"))

    got: list[tuple[str, str]] = []
    send, whole = trio.open_memory_channel[str](0)
    ends = {name: whole.clone() for name in ("one", "two", "three")}
    async with trio.open_nursery() as nursery:
        for name, end in ends.items():
            nursery.start_soon(receive, name, end)
            await wait_all_tasks_blocked()
        ends["two"].close()
        await wait_all_tasks_blocked()
        assert got == [("two", "closed")]
        for what in ("first", "second"):
            send.send_nowait(what)
            await wait_all_tasks_blocked()
        assert got[1:] == [("one", "first"), ("three", "second")]
        with pytest.raises(trio.WouldBlock):
            send.send_nowait("nobody waits")


# ── The channel and the books ──────────────────────────────────────────────────────────────────


async def test_a_waiter_is_parked_in_the_step_in_which_it_is_enqueued(
    autojump_clock: MockClock,
) -> None:
    """So a connection that comes back right behind that step is handed over."""

    class ReleasesBehindIt(trio.abc.Instrument):
        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            if pool.slots.books.origins.waiting and not released:
                released.append(True)
                check(pool.slots)
                holder.release()

    released: list[bool] = []
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        trio.lowlevel.add_instrument(releases := ReleasesBehindIt())
        caller = await pool.ask(A)
        trio.lowlevel.remove_instrument(releases)
        assert caller.connection is holder.connection
        assert pool.slots.statistics().handed_over == 2


async def test_a_request_that_comes_again_is_served_before_those_that_parked_before_it(
    autojump_clock: MockClock,
) -> None:
    """The channel's order is that of parking, and it is not the order of age here."""
    async with bench(max_connections=2) as pool:
        oldest, holder = await pool.hold(A), await pool.hold(A)
        younger = [await pool.ask(A), await pool.ask(A)]
        oldest.come_again(closed=False)
        pool.dialler.script(A, HANG)
        await pool.settle()
        youngest = await pool.ask(A)
        check(pool.slots)
        holder.release()
        await pool.settle()
        assert not oldest.waits
        assert [caller.waits for caller in (*younger, youngest)] == [True, True, True]
        oldest.release()
        await pool.settle()
        assert [caller.waits for caller in (*younger, youngest)] == [False, True, True]
        younger[0].release()
        await pool.settle()
        assert [caller.waits for caller in (*younger, youngest)] == [False, False, True]


async def test_a_request_that_comes_again_may_be_told_an_error_and_the_others_go_on(
    autojump_clock: MockClock,
) -> None:
    async with bench(max_connections=1) as pool:
        holder = await pool.hold(A)
        early = await pool.ask(A, timeouts=Timeouts(pool=9))
        late = await pool.ask(A, timeouts=Timeouts(pool=3))
        await trio.sleep(5)
        assert isinstance(late.error, PoolTimeout)
        assert early.waits
        holder.release()
        await pool.settle()
        assert early.connection is holder.connection


async def test_a_channel_is_made_for_an_origin_that_a_request_waits_for_and_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    real = trio.open_memory_channel

    def counting(size: int) -> object:
        made.append(size)
        return real(size)

    async with bench(max_connections=2) as pool:
        monkeypatch.setattr(trio, "open_memory_channel", counting)
        await pool.slots.warm_up(A, 1, NO_LIMITS)
        await pool.hold(A)
        assert not made
        await pool.hold(B)
        callers = [await pool.ask(B) for _ in range(3)]
        assert made == [0]
        for caller in callers:
            caller.cancel()
        await pool.settle()
        await pool.ask(B)
        assert made == [0]


# ── Errors ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["timeout", "dial", "shut"])
async def test_an_error_that_a_waiter_is_told_has_the_cause_that_it_has_and_no_other(
    kind: str, autojump_clock: MockClock
) -> None:
    cause = OSError("the network is down")

    class Fails(FakeDialler):
        async def _handshake(self, *args: object) -> None:
            await trio.sleep(1)
            raise Refused from cause

    dialler = Fails() if kind == "dial" else FakeDialler()
    async with bench(dialler, max_connections=1) as pool:
        if kind != "dial":
            await pool.hold(A)
        caller = await pool.ask(A, timeouts=Timeouts(pool=1, connect=None))
        if kind == "shut":
            pool.slots.shut("closed")
        await trio.sleep(2)
        expected = {"timeout": PoolTimeout, "dial": Refused, "shut": PoolClosed}[kind]
        assert isinstance(caller.error, expected)
        assert caller.error.__cause__ is (cause if kind == "dial" else None)
        assert caller.error.__context__ is None or caller.error.__cause__ is cause


async def test_an_error_that_was_told_is_not_kept_by_the_frames_that_it_went_through(
    autojump_clock: MockClock,
) -> None:
    """Else each would be garbage that only the collector finds."""

    class Told(Exception):
        pass

    class Fails(FakeDialler):
        async def _handshake(self, *args: object) -> None:
            await trio.sleep(1)
            raise Told

    async def fail() -> weakref.ref[Exception]:
        try:
            await pool.slots.acquire(A, NO_LIMITS)
        except Told as error:
            return weakref.ref(error)
        raise AssertionError

    async with bench(Fails()) as pool:
        gc.collect()
        gc.disable()
        try:
            error = await fail()
            await wait_all_tasks_blocked()
            assert error() is None
        finally:
            gc.enable()
