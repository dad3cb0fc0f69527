"""What reusing an idle connection costs: counted, not timed.

One of the project's three seeds: aiohttp #9598 and #9600 showed that the deadline machinery around
the check of an idle connection was 13 % of a request.
"""

from __future__ import annotations

import sys

import pytest
import trio
from inside import acquire

from triopool import Timeouts

from .world import A, world


class Counter(trio.abc.Instrument):
    def __init__(self) -> None:
        self.tasks = self.steps = 0
        self.watched: trio.lowlevel.Task | None = None

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += task is self.watched


class Tally:
    def __init__(self) -> None:
        self.scopes = self.limiter_calls = 0


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Tally:
    tally = Tally()

    def scope(**options: float) -> trio.CancelScope:
        # The servers of the test make some too.
        tally.scopes += sys._getframe(1).f_globals["__name__"].startswith("triopool._")
        return real_scope(**options)

    def limiter_call(self: trio.CapacityLimiter, borrower: object) -> None:
        tally.limiter_calls += 1

    real_scope = trio.CancelScope
    monkeypatch.setattr(trio, "CancelScope", scope)
    for name in ("acquire_on_behalf_of_nowait", "release_on_behalf_of"):
        monkeypatch.setattr(trio.CapacityLimiter, name, limiter_call)
    return tally


async def test_reuse_makes_no_cancel_scope_no_task_no_limiter_call_and_no_checkpoint(
    autojump_clock: trio.abc.Clock, request: pytest.FixtureRequest
) -> None:
    async with world() as w:
        await w.get(f"{A}/1")
        key = next(iter(w.pool.statistics().origins))
        counter = Counter()
        counter.watched = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(counter)
        tally: Tally = request.getfixturevalue("tally")
        lease = await acquire(w.pool, key, Timeouts())
        assert lease.reused
        lease.end()
        assert (tally.scopes, tally.limiter_calls) == (0, 0)
        assert (counter.tasks, counter.steps) == (0, 0)
        trio.lowlevel.remove_instrument(counter)
        request.getfixturevalue("monkeypatch").undo()


async def test_a_whole_reused_request_makes_no_scope_and_no_task(
    autojump_clock: trio.abc.Clock, request: pytest.FixtureRequest
) -> None:
    async with world() as w:
        await w.get(f"{A}/1")
        counter = Counter()
        counter.watched = trio.lowlevel.current_task()
        trio.lowlevel.add_instrument(counter)
        tally: Tally = request.getfixturevalue("tally")
        await w.pool.get(f"{A}/2")
        assert tally.scopes == 0
        # Once so that others may run, once because the answer was not there yet then.
        assert counter.steps <= 2
        assert tally.limiter_calls == 0
        assert counter.tasks == 0
        trio.lowlevel.remove_instrument(counter)
        request.getfixturevalue("monkeypatch").undo()


async def test_the_check_of_an_idle_connection_is_made_outside_any_deadline(
    autojump_clock: trio.abc.Clock,
) -> None:
    # An awaited read under an expired deadline reads nothing, and so takes a dead connection for
    # a live one. A glance does not.
    async with world() as w:
        await w.get(f"{A}/1")
        [server_end] = w.network.open_server_sockets
        server_end.close()
        with trio.CancelScope() as scope:
            scope.cancel()
            await w.pool.get(f"{A}/2")
        assert w.pool.statistics().stale == 1
