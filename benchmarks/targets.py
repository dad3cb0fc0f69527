"""What triopool is to achieve: a table of ratios, each with the largest value that is allowed.

A ratio compares two numbers of one round: two clients at one point, or one client at two points.
Where a target is about several ratios the largest one counts.
"""

from __future__ import annotations

from typing import NamedTuple

from .clients import UNIT
from .experiment import Point
from .results import Results, Series, Spread


class Target(NamedTuple):
    """One promise.

    Attributes:
      title: what it says.
      limit: the largest ratio that is allowed.
      pairs: what is compared with what.
    """

    title: str
    limit: float
    pairs: tuple[tuple[Series, Series], ...]


class Verdict(NamedTuple):
    """How far a promise is kept.

    Attributes:
      measured: the largest of its ratios; None if one of them was not measured.
    """

    target: Target
    measured: Spread | None

    @property
    def is_met(self) -> bool | None:
        """None if that is not known."""
        return None if self.measured is None else self.measured.median <= self.target.limit


def judge(results: Results) -> list[Verdict]:
    return [Verdict(target, _worst(target, results)) for target in TARGETS]


def _worst(target: Target, results: Results) -> Spread | None:
    found = [results.ratio(of, to) for of, to in target.pairs]
    measured = [ratio for ratio in found if ratio is not None]
    # A quick run leaves out what lies between the ends; the last pair is the far end.
    if not measured or found[-1] is None:
        return None
    return max(measured, key=lambda ratio: ratio.median)


# ── The table ──────────────────────────────────────────────────────────────────────────────────


def _cost(at_once: int, client: str, limit: float, other: str = UNIT) -> Target:
    point: Point = {"at_once": at_once}
    return Target(
        f"{client} / {other}, {at_once} at a time: CPU",
        limit,
        ((Series("cost", client, point, "cpu"), Series("cost", other, point, "cpu")),),
    )


def _secure(at_once: int, limit: float) -> Target:
    point: Point = {"over": "TLS", "at_once": at_once}
    return Target(
        f"triopool / {UNIT}, {at_once} at a time, over TLS: CPU",
        limit,
        ((Series("secure", "triopool", point, "cpu"), Series("secure", UNIT, point, "cpu")),),
    )


def _crowd(requests: int, limit: float) -> Target:
    point: Point = {"requests": requests}
    return Target(
        f"triopool, {requests:,} requests started at once / in waves of 100: CPU",
        limit,
        (
            (
                Series("crowd", "triopool", point, "cpu"),
                Series("crowd", "triopool", point, "waves_cpu"),
            ),
        ),
    )


def _flat(experiment: str, title: str) -> Target:
    def series(number: int) -> Series:
        return Series(experiment, "triopool", {experiment: number}, "cpu")

    return Target(
        f"triopool, from 10 to 10,000 {title} / none: CPU, the largest",
        1.2,
        tuple((series(number), series(0)) for number in (10, 100, 1000, 10_000)),
    )


def _transfer(way: str, over: str, quantity: str, other: str, limit: float) -> Target:
    point: Point = {"way": way, "over": over, "size": 50_000_000}
    return Target(
        f"triopool / {other}, {way} of 50 MB over {over}: "
        + {"cpu": "CPU", "wall": "wall time"}[quantity],
        limit,
        (
            (
                Series("transfer", "triopool", point, quantity),
                Series("transfer", other, point, quantity),
            ),
        ),
    )


def _through_a_proxy(over: str, title: str) -> Target:
    def series(at_once: int, quantity: str) -> Series:
        return Series("proxies", "triopool", {"over": over, "at_once": at_once}, quantity)

    return Target(
        f"triopool, {title} / directly, from as far away: CPU, the larger of 1 and 20 at a time",
        1.1,
        tuple((series(n, "cpu"), series(n, "relayed_cpu")) for n in (1, 20)),
    )


TARGETS = (
    _cost(1, "triopool", 0.65),
    _cost(20, "triopool", 0.5),
    _cost(100, "triopool", 0.5),
    _cost(1, "triopool-h11", 1.15),
    _cost(20, "triopool-h11", 1.15),
    _cost(100, "triopool-h11", 1.15),
    _secure(20, 0.55),
    # They were 1.15 before Trio's memory channels handed connections over; the unit has 1.16.
    _crowd(3000, 1.2),
    _crowd(10_000, 1.3),
    _flat("idle", "idle connections"),
    _flat("origins", "other origins"),
    _flat("waiting", "waiting requests"),
    _cost(20, "triopool-httpx2", 0.5, "httpx2"),
    _cost(20, "triopool-httpx", 0.6, "httpx"),
    _transfer("download", "TCP", "cpu", UNIT, 1.1),
    _transfer("download", "TCP", "wall", UNIT, 1.1),
    _transfer("download", "TCP", "wall", "aiohttp", 1.0),
    _transfer("download", "TCP", "cpu", "aiohttp", 1.0),
    _transfer("download", "TLS", "cpu", UNIT, 1.1),
    _transfer("download", "TLS", "wall", UNIT, 1.1),
    _transfer("download", "TLS", "wall", "aiohttp", 1.1),
    _transfer("download", "TLS", "cpu", "aiohttp", 1.1),
    _transfer("upload", "TCP", "wall", "aiohttp", 1.0),
    _transfer("upload", "TLS", "wall", "aiohttp", 1.0),
    _through_a_proxy("TCP", "forwarded by a proxy"),
    _through_a_proxy("TLS", "in a tunnel"),
)
