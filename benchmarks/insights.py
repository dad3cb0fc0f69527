"""What is measured of triopool's inside: no comparison by rounds, and so no experiment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import memory, phases


class Insight(NamedTuple):
    """One of them.

    Attributes:
      title: for the report.
      measure: given a URL of 2,000 bytes, and whether to be quick; the result is fit for JSON.
      show: makes text of that.
      takes_long: whether a quick run leaves it out, unless it is asked for.
    """

    title: str
    measure: Callable[[str, bool], dict[str, Any]]
    show: Callable[[dict[str, Any]], str]
    takes_long: bool = False


def _phases(url: str, quick: bool) -> dict[str, Any]:
    return phases.measure(url, turns=4 if quick else 20)


def _memory(url: str, quick: bool) -> dict[str, Any]:
    return memory.measure(url, requests=20_000 if quick else 1_000_000)


INSIGHTS = {
    "phases": Insight("Where the CPU time of a request goes", _phases, phases.show),
    "memory": Insight("What is kept in memory", _memory, memory.show, takes_long=True),
}
