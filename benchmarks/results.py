"""What was measured, and how it is compared.

Absolute times mean little on a machine that does other things as well: it is slower in this minute
than in the next. So two clients are compared *within a round*, in which they had their turns one
soon after the other, and what is told of a comparison is the median of the rounds' ratios, with the
quartiles to show how far they are apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .experiment import Point, Values

MORE = "more than"
"""How the error of a client begins that took too long, as in "more than 20 s"."""


class Record(NamedTuple):
    """One measurement.

    Attributes:
      round: counted from 0.
      values: what was measured; None if that failed.
      error: why it failed, then.
    """

    round: int
    experiment: str
    client: str
    point: Point
    values: Values | None
    error: str | None = None

    @property
    def took_too_long(self) -> bool:
        return self.error is not None and self.error.startswith(MORE)


class Series(NamedTuple):
    """What a round has one number for: a quantity of one client at one point."""

    experiment: str
    client: str
    point: Point
    quantity: str


class Spread(NamedTuple):
    """The median of some numbers, and their quartiles."""

    low: float
    median: float
    high: float


def spread(numbers: Sequence[float]) -> Spread:
    if len(numbers) == 1:
        return Spread(numbers[0], numbers[0], numbers[0])
    low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return Spread(low, median, high)


class Results:
    """All records of a run."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)
        self._found = {
            (record.experiment, record.client, _key(record.point), record.round): record
            for record in self.records
        }

    def rounds(self) -> list[int]:
        return sorted({record.round for record in self.records})

    def clients(self, experiment: str) -> list[str]:
        """Those that were asked, in the order in which they were."""
        return list(dict.fromkeys(r.client for r in self.records if r.experiment == experiment))

    def points(self, experiment: str) -> list[Point]:
        found = {_key(r.point): r.point for r in self.records if r.experiment == experiment}
        return list(found.values())

    def number(self, series: Series, round_: int) -> float | None:
        """What it was in that round; of several goes, the median. None if it was not measured."""
        record = self._found.get((series.experiment, series.client, _key(series.point), round_))
        if record is None or record.values is None:
            return None
        value = record.values[series.quantity]
        return statistics.median(value) if isinstance(value, list) else value

    def numbers(self, series: Series) -> list[float]:
        found = (self.number(series, round_) for round_ in self.rounds())
        return [number for number in found if number is not None]

    def ratios(self, of: Series, to: Series) -> list[float]:
        """Of each round that has both of them."""
        pairs = ((self.number(of, round_), self.number(to, round_)) for round_ in self.rounds())
        return [mine / its for mine, its in pairs if mine is not None and its is not None]

    def median(self, series: Series) -> float | None:
        numbers = self.numbers(series)
        return statistics.median(numbers) if numbers else None

    def ratio(self, of: Series, to: Series) -> Spread | None:
        ratios = self.ratios(of, to)
        return spread(ratios) if ratios else None

    def error(self, experiment: str, client: str, point: Point) -> str | None:
        """Why there is no number for it, if there was an attempt."""
        for record in self.records:
            where = (record.experiment, record.client, _key(record.point))
            if record.error and where == (experiment, client, _key(point)):
                return record.error
        return None


def _key(point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(point.items()))
