"""What a pool counts, for Prometheus: read when it is scraped, and not before.

::

    from prometheus_client import REGISTRY
    from triopool.prometheus import PoolCollector

    async with triopool.ConnectionPool() as pool:
        collector = PoolCollector(pool)
        REGISTRY.register(collector)
        try:
            ...
        finally:
            REGISTRY.unregister(collector)

``pip install 'triopool[prometheus]'``. A pool pays nothing for it but the microseconds of
``pool.statistics()`` with each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as _exc:
    raise ImportError(
        "triopool.prometheus needs prometheus-client: pip install 'triopool[prometheus]'"
    ) from _exc
import trio

from ._pool import ConnectionPool
from ._statistics import OriginStatistics, PoolStatistics
from ._trio_only import check_trio

__all__ = ["PoolCollector"]

Family: TypeAlias = GaugeMetricFamily | CounterMetricFamily

_COUNTS = {
    "dialled": "Connections opened.",
    "dial_failures": "Dials that ended without a connection.",
    "reused": "Requests that took an idle connection.",
    "handed_over": "Requests that waited and were handed a connection, returned or fresh.",
    "retried": "Requests sent again because a reused connection was stale.",
}
_CLOSED = ("evicted", "expired", "stale", "discarded", "retired")
_STATES = ("busy", "idle", "dialling")


class PoolCollector(Collector):
    """Shows the statistics of one pool, or of several, to a registry of ``prometheus_client``.

    To be made in the Trio program whose pools these are. It may be scraped from any thread: from
    another one than Trio's, the figures are asked for in Trio's, and waited for. A pool that is not
    open is left out.

    Of each pool it shows ``triopool_connections`` (by ``state``), ``triopool_max_connections``,
    ``triopool_waiting_requests``, ``triopool_oldest_wait_seconds``, and these counts:
    ``triopool_dialled_total``, ``triopool_dial_failures_total``, ``triopool_reused_total``,
    ``triopool_handed_over_total``, ``triopool_retried_total``, and ``triopool_closed_total`` (by
    ``reason``). :class:`triopool.PoolStatistics` says what each of them means.

    Args:
      pools: a pool; or several of them by names, which become the label ``pool``.
      by_origin: whether to show the connections, the requests that wait, and the oldest wait of
        each origin, too: ``triopool_origin_connections`` and so on, with the label ``origin``. Not
        for programs that talk to thousands of them.
    """

    def __init__(
        self,
        pools: ConnectionPool | Mapping[str, ConnectionPool],
        *,
        by_origin: bool = False,
    ) -> None:
        self._run = check_trio()
        # A label that is empty is none at all, to Prometheus.
        self._pools = {"": pools} if isinstance(pools, ConnectionPool) else dict(pools)
        self._by_origin = by_origin

    def describe(self) -> Iterable[Family]:
        """The families, without figures: so that the registry need not ask the pools for names."""
        return _Families(self._by_origin)

    def collect(self) -> Iterable[Family]:
        """The families, with what the pools count at this moment."""
        families = _Families(self._by_origin)
        for name, pool in self._pools.items():
            statistics = self._statistics(pool)
            if statistics is not None:
                families.add(name, statistics)
        return families

    def _statistics(self, pool: ConnectionPool) -> PoolStatistics | None:
        if not pool.is_open:
            return None
        if trio.lowlevel.in_trio_run():
            return pool.statistics()
        try:
            return trio.from_thread.run_sync(pool.statistics, trio_token=self._run)
        except trio.RunFinishedError:
            return None


class _Families:
    """The families of one scrape."""

    def __init__(self, by_origin: bool) -> None:
        self._max = GaugeMetricFamily(
            "triopool_max_connections",
            "How many connections may be open at once.",
            labels=["pool"],
        )
        self._closed = CounterMetricFamily(
            "triopool_closed", "Connections closed, by reason.", labels=["pool", "reason"]
        )
        self._counts = {
            name: CounterMetricFamily(f"triopool_{name}", what, labels=["pool"])
            for name, what in _COUNTS.items()
        }
        self._whole = _Gauges("triopool", ["pool"])
        self._origins = _Gauges("triopool_origin", ["pool", "origin"]) if by_origin else None

    def __iter__(self) -> Iterator[Family]:
        yield from (self._max, *self._whole, *self._counts.values(), self._closed)
        if self._origins is not None:
            yield from self._origins

    def add(self, pool: str, statistics: PoolStatistics) -> None:
        if statistics.max_connections is not None:
            self._max.add_metric([pool], statistics.max_connections)
        self._whole.add([pool], statistics)
        for name, family in self._counts.items():
            family.add_metric([pool], getattr(statistics, name))
        for reason in _CLOSED:
            self._closed.add_metric([pool, reason], getattr(statistics, reason))
        if self._origins is not None:
            for key, figures in statistics.origins.items():
                self._origins.add([pool, str(key)], figures)


class _Gauges:
    """How things are now, in a whole pool or with its origins."""

    def __init__(self, prefix: str, labels: list[str]) -> None:
        self._connections = GaugeMetricFamily(
            f"{prefix}_connections",
            "Connections that are open or being dialled, by state.",
            labels=[*labels, "state"],
        )
        self._waiting = GaugeMetricFamily(
            f"{prefix}_waiting_requests",
            "Requests that have neither a connection nor a dial of their own.",
            labels=labels,
        )
        self._oldest = GaugeMetricFamily(
            f"{prefix}_oldest_wait_seconds",
            "For how long the oldest of those requests has waited.",
            labels=labels,
        )

    def __iter__(self) -> Iterator[GaugeMetricFamily]:
        yield from (self._connections, self._waiting, self._oldest)

    def add(self, labels: list[str], statistics: OriginStatistics) -> None:
        for state in _STATES:
            self._connections.add_metric([*labels, state], getattr(statistics, state))
        self._waiting.add_metric(labels, statistics.waiting)
        self._oldest.add_metric(labels, statistics.oldest_wait)
