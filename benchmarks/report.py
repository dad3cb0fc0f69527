"""The report: results.md for people, results.json with every single measurement."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import clients
from .clients import CLIENTS, UNIT
from .experiment import Point
from .experiments import EXPERIMENTS
from .insights import INSIGHTS
from .latency import AT_ONCE
from .results import MORE, Results, Series, Spread
from .targets import Verdict, judge

Cell = Callable[[str, Point], str | None]


class Circumstances(NamedTuple):
    """Where and how it was measured.

    Attributes:
      server: its name and version.
      versions: of the packages that were measured.
      missing: the clients that are not installed.
      settings: what the command line said.
    """

    machine: dict[str, str]
    server: str
    versions: dict[str, str]
    missing: list[str]
    settings: dict[str, Any]


def circumstances(server: str, measured: list[str], settings: dict[str, Any]) -> Circumstances:
    """Of this machine: nothing that would tell whose it is."""
    machine = {
        "CPUs": str(os.cpu_count()),
        "processor": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    missing = [name for name in CLIENTS if name not in clients.installed()]
    return Circumstances(machine, server, clients.versions(measured), missing, settings)


def write(
    results: Results,
    about: Circumstances,
    directory: Path,
    insights: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Write both files.

    Args:
      insights: what was found of each of :data:`benchmarks.insights.INSIGHTS` that was wanted.
    """
    verdicts = judge(results)
    found = {
        **about._asdict(),
        "targets": [
            {
                "title": verdict.target.title,
                "limit": verdict.target.limit,
                "measured": verdict.measured and verdict.measured._asdict(),
                "met": verdict.is_met,
            }
            for verdict in verdicts
        ],
        "records": [record._asdict() for record in results.records],
        "insights": insights or {},
    }
    (directory / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = as_text(results, about, verdicts, insights or {})
    (directory / "results.md").write_text(text, encoding="utf-8")


def as_text(
    results: Results,
    about: Circumstances,
    verdicts: Sequence[Verdict],
    insights: Mapping[str, dict[str, Any]],
) -> str:
    parts = ["# What was measured", *_circumstances(about), *_targets(verdicts)]
    for name in dict.fromkeys(record.experiment for record in results.records):
        parts += [f"## {EXPERIMENTS[name].title}", *_SECTIONS.get(name, _scale)(results, name)]
        parts += _failures(results, name)
    for name, found in insights.items():
        insight = INSIGHTS[name]
        parts += [f"## {insight.title}", f"```text\n{insight.show(found).strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _circumstances(about: Circumstances) -> list[str]:
    rounds = about.settings["rounds"]
    lines = [
        "Ratios are medians of what was compared within each round, with their quartiles in "
        f"brackets; {rounds} round{'s' * (rounds > 1)}. The other numbers are medians. CPU is that "
        'of the client\'s process. A client that took too long is not asked for more: "-".',
        "Machine: " + ", ".join(f"{what} {value}" for what, value in about.machine.items()) + ".",
        f"Server: {about.server}.",
        "Versions: " + ", ".join(f"{name} {v}" for name, v in about.versions.items()) + ".",
    ]
    if about.missing:
        lines.append(f"Not installed, and so not measured: {', '.join(about.missing)}.")
    return lines


def _targets(verdicts: Sequence[Verdict]) -> list[str]:
    rows = [
        [
            verdict.target.title,
            f"{verdict.target.limit:.2f}",
            _ratio(verdict.measured) or "not measured",
            {True: "met", False: "**not met**", None: ""}[verdict.is_met],
        ]
        for verdict in verdicts
    ]
    return ["## Targets", _table(["", "at most", "measured", ""], rows)]


# ── A section for each experiment ──────────────────────────────────────────────────────────────


def _to_unit(results: Results, name: str, quantity: str) -> Cell:
    """What fills a table with the ratios to the unit."""

    def ratio(client: str, point: Point) -> str | None:
        unit = Series(name, UNIT, point, quantity)
        return _ratio(results.ratio(Series(name, client, point, quantity), unit))

    return ratio


def _cost(results: Results, name: str) -> list[str]:
    def microseconds(client: str, point: Point) -> str | None:
        return _scaled(results.median(Series(name, client, point, "cpu")), 1e6)

    def rate(client: str, point: Point) -> str | None:
        wall = results.median(Series(name, client, point, "wall"))
        return None if wall is None else f"{1 / wall:,.0f}"

    def share(client: str, point: Point) -> str | None:
        """How much of the time the client has computed: where it is 100 %, it is the bottleneck."""
        cpu, wall = Series(name, client, point, "cpu"), Series(name, client, point, "wall")
        found = results.ratio(cpu, wall)
        return found and f"{found.median * 100:.0f} %"

    points, grid = results.points(name), _Grid(results, name)
    return [
        f"CPU time of a request, {CLIENTS[UNIT].title} = 1.00:",
        grid.table(points, _to_unit(results, name, "cpu")),
        f"Time on the wall, {CLIENTS[UNIT].title} = 1.00:",
        grid.table(points, _to_unit(results, name, "wall")),
        "CPU time, in µs:",
        grid.table(points, microseconds),
        "Answers in a second:",
        grid.table(points, rate),
        "How much of that second the client computed; the rest it waited for the server, or for a "
        "CPU:",
        grid.table(points, share),
    ]


def _latency(results: Results, name: str) -> list[str]:
    """Percentiles of all rounds together."""
    rows = []
    for client in results.clients(name):
        times: list[float] = []
        for record in results.records:
            if (record.experiment, record.client) == (name, client) and record.values is not None:
                each = record.values["each_us"]
                times += each if isinstance(each, list) else []
        point = results.points(name)[0]
        if not times:
            rows.append([CLIENTS[client].title, _absent(results, name, client, point)])
            continue
        times.sort()
        shares = (0.5, 0.9, 0.99, 0.999, 1)
        percentiles = [times[min(int(share * len(times)), len(times) - 1)] for share in shares]
        unit = Series(name, UNIT, point, "cpu")
        rows.append(
            [
                CLIENTS[client].title,
                *(f"{microseconds / 1000:.2f}" for microseconds in percentiles),
                _ratio(results.ratio(Series(name, client, point, "cpu"), unit)) or "",
                _scaled(results.median(Series(name, client, point, "warm_up_cpu")), 1e6) or "",
            ]
        )
    head = ["ms", "median", "90 %", "99 %", "99.9 %", "longest", "CPU (ratio)"]
    return [
        f"{AT_ONCE} at a time. The last column: CPU time of a request of the warm-up, in which all "
        "were started at once.",
        _table([*head, "warm-up, µs"], rows),
    ]


def _crowd(results: Results, name: str) -> list[str]:
    def ratio(client: str, point: Point) -> str | None:
        waves = Series(name, client, point, "waves_cpu")
        return _ratio(results.ratio(Series(name, client, point, "cpu"), waves))

    def microseconds(client: str, point: Point) -> str | None:
        return _scaled(results.median(Series(name, client, point, "cpu")), 1e6)

    points, grid = results.points(name), _Grid(results, name)
    return [
        "CPU time of a request; in waves of 100 = 1.00:",
        grid.table(points, ratio),
        "The same, in µs:",
        grid.table(points, microseconds),
    ]


def _scale(results: Results, name: str) -> list[str]:
    def ratio(client: str, point: Point) -> str | None:
        none = Series(name, client, points[0], "cpu")
        return _ratio(results.ratio(Series(name, client, point, "cpu"), none))

    def microseconds(client: str, point: Point) -> str | None:
        return _scaled(results.median(Series(name, client, point, "cpu")), 1e6)

    points, grid = results.points(name), _Grid(results, name)
    return [
        "CPU time of a request; with none = 1.00:",
        grid.table(points[1:], ratio),
        "The same, in µs:",
        grid.table(points, microseconds),
    ]


def _transfer(results: Results, name: str) -> list[str]:
    def rate(client: str, point: Point) -> str | None:
        wall = results.median(Series(name, client, point, "wall"))
        if wall is None:
            return None
        rate = int(point["size"]) / wall / 1e6
        return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"

    grid = _Grid(results, name)
    kinds = dict.fromkeys((p["way"], p["over"]) for p in results.points(name))
    parts = []
    for way, over in kinds:
        points = [p for p in results.points(name) if (p["way"], p["over"]) == (way, over)]
        parts += [
            f"{str(way).capitalize()} over {over}, MB/s:",
            grid.table(points, rate),
            f"Time on the wall, {CLIENTS[UNIT].title} = 1.00:",
            grid.table(points, _to_unit(results, name, "wall")),
            f"CPU time, {CLIENTS[UNIT].title} = 1.00:",
            grid.table(points, _to_unit(results, name, "cpu")),
        ]
    return parts


def _proxies(results: Results, name: str) -> list[str]:
    def to(other: str, of: str = "cpu") -> Cell:
        def ratio(client: str, point: Point) -> str | None:
            unit = Series(name, client, point, other)
            return _ratio(results.ratio(Series(name, client, point, of), unit))

        return ratio

    def microseconds(client: str, point: Point) -> str | None:
        return _scaled(results.median(Series(name, client, point, "cpu")), 1e6)

    grid, parts = _Grid(results, name), []
    for over, what in (("TCP", "forwarded"), ("TLS", "in a tunnel, with TLS inside")):
        points = [point for point in results.points(name) if point["over"] == over]
        parts += [
            f"CPU time of a request that is {what}; directly, from as far away, = 1.00:",
            grid.table(points, to("relayed_cpu")),
            "The same; directly, from the server itself, = 1.00:",
            grid.table(points, to("direct_cpu")),
            "From as far away; from the server itself = 1.00:",
            grid.table(points, to("direct_cpu", "relayed_cpu")),
            f"CPU time of a request that is {what}, in µs:",
            grid.table(points, microseconds),
        ]
    return parts


_SECTIONS: dict[str, Callable[[Results, str], list[str]]] = {
    "cost": _cost,
    "secure": _cost,
    "latency": _latency,
    "crowd": _crowd,
    "transfer": _transfer,
    "proxies": _proxies,
}


def _failures(results: Results, name: str) -> list[str]:
    """Errors in full, but for those that only took too long."""
    found = [
        f"{CLIENTS[record.client].title}, {_what(record.point)}: {record.error}"
        for record in results.records
        if record.experiment == name and record.error and not record.took_too_long
    ]
    return ["Failed:", "\n".join(f"- {line}" for line in dict.fromkeys(found))] if found else []


# ── Tables ─────────────────────────────────────────────────────────────────────────────────────


class _Grid:
    """A table of one experiment: a row for each client, a column for each point."""

    def __init__(self, results: Results, name: str) -> None:
        self._results = results
        self._name = name

    def table(self, points: Sequence[Point], cell: Cell) -> str:
        grows = EXPERIMENTS[self._name].grows
        head = [grows.replace("_", " "), *(f"{point[grows]:,}" for point in points)]
        rows = [
            [
                CLIENTS[client].title,
                *(cell(client, p) or _absent(self._results, self._name, client, p) for p in points),
            ]
            for client in self._results.clients(self._name)
        ]
        return _table(head, rows)


def _absent(results: Results, experiment: str, client: str, point: Point) -> str:
    error = results.error(experiment, client, point)
    if error is None:
        return "-"
    return error if error.startswith(MORE) else "failed"


def _what(point: Point) -> str:
    return ", ".join(f"{word.replace('_', ' ')} {value}" for word, value in point.items())


def _scaled(number: float | None, by: float) -> str | None:
    return None if number is None else f"{number * by:,.0f}"


def _ratio(found: Spread | None) -> str | None:
    if found is None:
        return None
    if found.low == found.high:
        return f"{found.median:.2f}"
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown, and straight for those who read it as text."""
    lines = [list(head), *([*row, *[""] * (len(head) - len(row))] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)
