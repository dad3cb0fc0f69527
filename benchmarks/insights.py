"""What is measured of triopool's inside: no comparison by rounds, and so no experiment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import memory, phases, proxies_in_turn
from .server import Server


class Insight(NamedTuple):
    """One of them.

    Attributes:
      title: for the report.
      measure: given the server, and whether to be quick; the result is fit for JSON.
      show: makes text of that.
      takes_long: whether a quick run leaves it out, unless it is asked for.
    """

    title: str
    measure: Callable[[Server, bool], dict[str, Any]]
    show: Callable[[dict[str, Any]], str]
    takes_long: bool = False


def _phases(server: Server, quick: bool) -> dict[str, Any]:
    return phases.measure(f"{server.http}/2000", turns=4 if quick else 20)


def _memory(server: Server, quick: bool) -> dict[str, Any]:
    return memory.measure(f"{server.http}/2000", requests=20_000 if quick else 1_000_000)


def _proxies_in_turn(server: Server, quick: bool) -> dict[str, Any]:
    return proxies_in_turn.measure(f"{server.http}/2000", server.proxy, laps=4 if quick else 10)


INSIGHTS = {
    "phases": Insight("Where the CPU time of a request goes", _phases, phases.show),
    "memory": Insight("What is kept in memory", _memory, memory.show, takes_long=True),
    "proxies-in-turn": Insight(
        "What is left of a thousand proxies after another", _proxies_in_turn, proxies_in_turn.show
    ),
}
