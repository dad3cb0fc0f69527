"""The collector for Prometheus: what it shows is what the pool counts, from any thread."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import trio
from pool.world import A, B, World, world

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest

from triopool import ConnectionPool
from triopool.prometheus import PoolCollector

Figures = dict[str, float]


@contextmanager
def registered(collector: PoolCollector) -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    registry.register(collector)
    yield registry
    registry.unregister(collector)


def scrape(registry: CollectorRegistry) -> Figures:
    """What Prometheus would get."""
    lines = generate_latest(registry).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


@pytest.fixture
async def w(autojump_clock: trio.abc.Clock) -> AsyncIterator[World]:
    async with world(max_connections=2) as made:
        yield made


async def test_figures_are_those_of_the_pool(w: World, autojump_clock: trio.abc.Clock) -> None:
    with registered(PoolCollector(w.pool)) as registry:
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(w.get, f"{A}/{number}")
            await trio.sleep(0.5)
            figures = scrape(registry)
            assert figures['triopool_connections{pool="",state="busy"}'] == 2
            assert figures['triopool_waiting_requests{pool=""}'] == 2
            assert figures['triopool_oldest_wait_seconds{pool=""}'] == pytest.approx(0.5)
        await w.get(f"{B}/evicts")
        figures, statistics = scrape(registry), w.pool.statistics()
    assert figures == {
        'triopool_max_connections{pool=""}': 2,
        'triopool_connections{pool="",state="busy"}': 0,
        'triopool_connections{pool="",state="idle"}': 2,
        'triopool_connections{pool="",state="dialling"}': 0,
        'triopool_waiting_requests{pool=""}': 0,
        'triopool_oldest_wait_seconds{pool=""}': 0,
        'triopool_dialled_total{pool=""}': statistics.dialled,
        'triopool_dial_failures_total{pool=""}': 0,
        'triopool_reused_total{pool=""}': 0,
        'triopool_handed_over_total{pool=""}': statistics.handed_over,
        'triopool_retried_total{pool=""}': 0,
        'triopool_closed_total{pool="",reason="evicted"}': 1,
        'triopool_closed_total{pool="",reason="expired"}': 0,
        'triopool_closed_total{pool="",reason="stale"}': 0,
        'triopool_closed_total{pool="",reason="discarded"}': 0,
        'triopool_closed_total{pool="",reason="retired"}': 0,
    }
    assert statistics.dialled == 3


async def test_a_scrape_may_come_from_another_thread() -> None:
    # On the real clock: a mock one would jump while the thread is out.
    async with world() as w:
        with registered(PoolCollector(w.pool)) as registry:
            await w.get(f"{A}/1")
            figures = await trio.to_thread.run_sync(scrape, registry)
            assert figures == scrape(registry)
    assert figures['triopool_connections{pool="",state="idle"}'] == 1


async def test_several_pools_have_names(w: World, autojump_clock: trio.abc.Clock) -> None:
    async with ConnectionPool(max_connections=None) as other:
        with registered(PoolCollector({"one": w.pool, "other": other})) as registry:
            await w.get(f"{A}/1")
            figures = scrape(registry)
    assert figures['triopool_dialled_total{pool="one"}'] == 1
    assert figures['triopool_dialled_total{pool="other"}'] == 0
    assert 'triopool_max_connections{pool="one"}' in figures
    assert 'triopool_max_connections{pool="other"}' not in figures


async def test_origins_are_shown_if_asked_for_and_no_secret_of_their_proxies(
    w: World, autojump_clock: trio.abc.Clock
) -> None:
    with registered(PoolCollector(w.pool, by_origin=True)) as registry:
        await w.get(f"{A}/1")
        figures = scrape(registry)
        origin = 'origin="http://192.0.2.1:80",pool=""'
        assert figures[f'triopool_origin_connections{{{origin},state="idle"}}'] == 1
        assert figures[f"triopool_origin_waiting_requests{{{origin}}}"] == 0
        assert figures[f"triopool_origin_oldest_wait_seconds{{{origin}}}"] == 0
        w.network.hang("192.0.2.9", 3128)
        with trio.move_on_after(0.1):
            await w.pool.get(f"{B}/1", proxy="http://ada:geheim@192.0.2.9:3128", timeouts=None)
        assert "geheim" not in str(scrape(registry))


async def test_a_pool_that_is_not_open_is_left_out(
    w: World, autojump_clock: trio.abc.Clock
) -> None:
    pool = ConnectionPool()
    with registered(PoolCollector({"new": pool, "w": w.pool})) as registry:
        assert {name for name in scrape(registry) if "new" in name} == set()
        async with pool:
            assert {name for name in scrape(registry) if "new" in name} != set()
        assert {name for name in scrape(registry) if "new" in name} == set()


async def test_after_the_end_of_the_run_nothing_is_shown(
    w: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.abc.Clock
) -> None:
    """Where the run ends between the look at the pool and the question."""

    def too_late(*_: object, **__: object) -> None:
        raise trio.RunFinishedError

    with registered(PoolCollector(w.pool)) as registry:
        monkeypatch.setattr(trio.from_thread, "run_sync", too_late)
        assert await trio.to_thread.run_sync(scrape, registry) == {}


async def test_two_collectors_can_not_claim_the_same_names(
    w: World, autojump_clock: trio.abc.Clock
) -> None:
    with registered(PoolCollector(w.pool)) as registry, pytest.raises(ValueError, match="Duplic"):
        registry.register(PoolCollector(w.pool))


def test_a_collector_is_made_in_trio() -> None:
    with pytest.raises(RuntimeError, match="triopool is for Trio"):
        PoolCollector(ConnectionPool())


def test_without_the_client_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    monkeypatch.delitem(sys.modules, "triopool.prometheus")
    with pytest.raises(ImportError, match=r"pip install 'triopool\[prometheus\]'"):
        importlib.import_module("triopool.prometheus")
