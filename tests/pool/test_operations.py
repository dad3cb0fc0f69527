"""statistics, warm_up, drain, close_idle, retire, max_connections, as a user calls them."""

from __future__ import annotations

import dataclasses

import pytest
import trio

from triopool import ConnectError, ConnectionPool, PoolClosed, PoolFull, PoolTimeout, Timeouts
from triopool.testing import Network

from .world import A, B, connections, world


async def test_statistics_tell_what_is_open_and_what_has_happened(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with world(max_connections=2) as w:
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(w.get, f"{A}/{number}")
                await trio.sleep(0.01)
            await trio.sleep(0.5)
            during = w.pool.statistics()
        after = w.pool.statistics()
    assert (during.open, during.busy, during.idle, during.dialling) == (2, 2, 0, 0)
    assert during.waiting == 1
    assert during.oldest_wait == pytest.approx(0.51)
    assert during.max_connections == 2
    assert (after.open, after.busy, after.idle, after.waiting) == (2, 0, 2, 0)
    assert (after.dialled, after.handed_over, after.reused) == (2, 3, 0)
    [(key, origin)] = after.origins.items()
    assert str(key) == "http://192.0.2.1:80"
    assert (origin.open, origin.dialled) == (2, 2)


async def test_statistics_are_frozen(autojump_clock: trio.abc.Clock) -> None:
    async with world() as w:
        snapshot = w.pool.statistics()
        with pytest.raises(dataclasses.FrozenInstanceError):
            snapshot.open = 3  # type: ignore[misc]


async def test_warmed_up_connections_are_used(autojump_clock: trio.abc.Clock) -> None:
    async with world(max_connections=5) as w:
        await w.pool.warm_up(f"{A}/", 3)
        assert w.pool.statistics().idle == 3
        await w.pool.warm_up(f"{A}/", 3)
        assert w.pool.statistics().dialled == 3
        started_at = trio.current_time()
        await w.get(f"{A}/1")
        assert trio.current_time() == started_at


async def test_a_warm_up_takes_no_more_than_is_free(autojump_clock: trio.abc.Clock) -> None:
    async with world(max_connections=2) as w:
        await w.get(f"{B}/idle")
        await w.pool.warm_up(f"{A}/", 10)
        statistics = w.pool.statistics()
    assert (statistics.idle, statistics.evicted) == (2, 0)


async def test_a_warm_up_that_fails_says_why(autojump_clock: trio.abc.Clock) -> None:
    async with Network() as network, ConnectionPool(socket_factory=network.socket) as pool:
        with pytest.raises(ConnectError, match="Connection refused"):
            await pool.warm_up("http://192.0.2.77/", 2)
        with pytest.raises(ValueError, match="at least 0"):
            await pool.warm_up("http://192.0.2.77/", -1)


async def test_drain_lets_what_is_under_way_finish_and_refuses_the_rest(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with world(max_connections=1) as w:
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.get, f"{A}/in-flight")
            await trio.sleep(0.5)
            nursery.start_soon(w.get, f"{A}/waiting")
            await trio.sleep(0.01)

            async def refused() -> None:
                await trio.sleep(0.1)
                with pytest.raises(PoolClosed, match="drained"):
                    await w.pool.get(f"{A}/refused")

            nursery.start_soon(refused)
            await w.pool.drain()
            # A dial of 0.1 s, and two answers of a second each.
            assert trio.current_time() == pytest.approx(2.1)
            assert w.pool.statistics().open == 0
        await w.pool.drain()


async def test_close_idle_closes_what_is_idle(autojump_clock: trio.abc.Clock) -> None:
    async with world() as w:
        await w.get(f"{A}/1")
        await w.get(f"{B}/1")
        w.pool.close_idle()
        statistics = w.pool.statistics()
        assert (statistics.open, statistics.retired) == (0, 2)
        assert not w.network.open_sockets


async def test_retire_closes_idle_connections_now_and_busy_ones_when_returned(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with world() as w:
        await w.get(f"{B}/1")
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.get, f"{A}/busy")
            await trio.sleep(0.5)
            assert w.pool.retire(lambda info: info.remote_address[0].startswith("192.0.2.")) == 2
            assert (w.pool.statistics().busy, w.pool.statistics().idle) == (1, 0)
        assert w.pool.statistics().open == 0
        await w.get(f"{A}/after")
        assert connections(w.a) == [1, 2]


async def test_a_predicate_that_raises_retires_nothing(autojump_clock: trio.abc.Clock) -> None:
    async with world() as w:
        await w.get(f"{A}/1")
        with pytest.raises(ZeroDivisionError):
            w.pool.retire(lambda info: bool(1 / 0))
        assert w.pool.statistics().idle == 1
        assert w.pool.retire() == 1


async def test_max_connections_can_be_changed_while_running(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with world(max_connections=1) as w:
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(w.get, f"{A}/{number}")
            await trio.sleep(0.5)
            w.pool.max_connections = 3
            assert w.pool.statistics().dialling == 2
            await trio.sleep(0.05)
        assert w.pool.statistics().idle == 3
        w.pool.max_connections = 1
        assert w.pool.max_connections == 1
        assert w.pool.statistics().open == 1
        w.pool.max_connections = None
        assert w.pool.max_connections is None
        with pytest.raises(ValueError, match="at least 1"):
            w.pool.max_connections = 0


async def test_a_full_queue_refuses_at_once(autojump_clock: trio.abc.Clock) -> None:
    async with world(max_connections=1, max_waiting=1) as w:
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.get, f"{A}/first")
            await trio.sleep(0.5)
            nursery.start_soon(w.get, f"{A}/waits")
            await trio.sleep(0.1)
            with pytest.raises(PoolFull, match="max_waiting"):
                await w.pool.get(f"{A}/refused")
            assert trio.current_time() == pytest.approx(0.6)


async def test_the_wait_for_a_slot_has_its_own_timeout(autojump_clock: trio.abc.Clock) -> None:
    async with world(max_connections=1) as w:
        w.delay = 9.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.get, f"{A}/first")
            await trio.sleep(0.5)
            with pytest.raises(PoolTimeout, match=r"1 of 1 in the pool") as caught:
                await w.pool.get(f"{A}/late", timeouts=Timeouts(pool=2.0))
            assert trio.current_time() == pytest.approx(2.5)
    assert isinstance(caught.value, trio.TooSlowError)
    assert (caught.value.phase, caught.value.seconds) == ("pool", 2.0)
    assert caught.value.origin is not None
    assert caught.value.origin.host == "192.0.2.1"
