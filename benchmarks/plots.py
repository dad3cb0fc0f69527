"""The plots, as PNG. A client has the same colour in all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only: no window, whatever this machine has

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from .clients import CLIENTS, UNIT
from .experiment import Point
from .results import Results, Series
from .scale import AT_ONCE

COLOURS = {
    "bare-bytes": "#999999",
    UNIT: "#000000",
    "triopool": "#d62728",
    "triopool-h11": "#ff9896",
    "triopool-httpx": "#ff7f0e",
    "triopool-httpx2": "#bcbd22",
    "httpx": "#9467bd",
    "httpx2": "#e377c2",
    "httpcore": "#8c564b",
    "httpcore2": "#c49c94",
    "aiohttp": "#1f77b4",
    "aiohttp-uvloop": "#17becf",
}


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw what there are results for; give the files."""
    done = {record.experiment for record in results.records if record.values is not None}
    files = []
    for name, (needs, plot) in _PLOTS.items():
        if needs & done:
            figure = plot(results)
            files.append(directory / f"{name}.png")
            figure.savefig(files[-1], dpi=120)
            plt.close(figure)
    return files


# ── Latency ────────────────────────────────────────────────────────────────────────────────────


def _latency(results: Results) -> Any:
    """Each request's time, of the first round in which the client was measured."""
    figure, axes = _figure("Time of each request, 20 at a time, after the warm-up")
    for client in results.clients("latency"):
        times = next(iter(_times(results, client)), [])
        milliseconds = [microseconds / 1000 for microseconds in times]
        # Small, and see-through: what matters is where they are dense.
        style = {**_style(client), "markersize": 2, "linestyle": "none", "markeredgewidth": 0}
        axes.plot(milliseconds, **style, alpha=0.5)
    axes.set(xlabel="request, in the order of their starts", ylabel="time [ms]", yscale="log")
    _finish(axes)
    legend = axes.get_legend()
    for handle in legend.legend_handles if legend is not None else []:
        if handle is not None:
            handle.set(marker="s", markersize=6, alpha=1)  # such a dot would not be seen there
    return figure


def _distribution(results: Results) -> Any:
    figure, axes = _figure("How long a request takes, 20 at a time")
    for client in results.clients("latency"):
        times = sorted(time for each in _times(results, client) for time in each)
        if times:
            shares = [1 - i / len(times) for i in range(len(times))]
            milliseconds = [microseconds / 1000 for microseconds in times]
            axes.plot(milliseconds, shares, **_style(client, marker=None))
    axes.set(
        xlabel="time [ms]", ylabel="share of requests that take longer", xscale="log", yscale="log"
    )
    _finish(axes)
    return figure


def _times(results: Results, client: str) -> list[list[float]]:
    """Of each round."""
    found = []
    for record in results.records:
        if (record.experiment, record.client) == ("latency", client) and record.values is not None:
            each = record.values["each_us"]
            assert isinstance(each, list)
            found.append(each)
    return found


# ── By concurrency ─────────────────────────────────────────────────────────────────────────────


def _throughput(results: Results) -> Any:
    def rate(client: str, point: Point) -> float | None:
        wall = results.median(Series("cost", client, point, "wall"))
        return None if wall is None else 1 / wall

    figure, axes = _figure("Throughput: GET of 2,000 bytes")
    _curves(axes, results, "cost", results.points("cost"), rate)
    axes.set(xlabel="requests under way", ylabel="answers in a second", xscale="log", yscale="log")
    _finish(axes)
    return figure


def _cost(results: Results) -> Any:
    title = "CPU time of a GET of 2,000 bytes"
    figure, axes = _ratios(results, "cost", title, lambda _, point: (UNIT, point, "cpu"))
    axes.set(xlabel="requests under way", ylabel="bare h11 = 1")
    return figure


def _crowd(results: Results) -> Any:
    title = "CPU time of a request when many are started at once, on a pool of 100"
    figure, axes = _ratios(results, "crowd", title, lambda who, point: (who, point, "waves_cpu"))
    axes.set(xlabel="requests started at once", ylabel="in waves of 100 = 1")
    return figure


def _ratios(
    results: Results,
    experiment: str,
    title: str,
    divisor: Callable[[str, Point], tuple[str, Point, str]],
) -> tuple[Any, Any]:
    """Curves of CPU time by what that client is compared with at that point."""

    def ratio(client: str, point: Point) -> float | None:
        to = Series(experiment, *divisor(client, point))
        found = results.ratio(Series(experiment, client, point, "cpu"), to)
        return None if found is None else found.median

    figure, axes = _figure(title)
    _curves(axes, results, experiment, results.points(experiment), ratio)
    axes.set(xscale="log", yscale="log")
    _finish(axes)
    return figure, axes


# ── Scale ──────────────────────────────────────────────────────────────────────────────────────

_SCALES = {"idle": "idle connections", "origins": "other origins", "waiting": "waiting requests"}


def _scale(results: Results) -> Any:
    figure, all_axes = plt.subplots(1, 3, figsize=(15, 5.5), sharey=True, layout="constrained")
    figure.suptitle(f"CPU time of a GET of 2,000 bytes, {AT_ONCE} at a time")
    for axes, (name, title) in zip(all_axes, _SCALES.items(), strict=True):

        def microseconds(client: str, point: Point, name: str = name) -> float | None:
            cpu = results.median(Series(name, client, point, "cpu"))
            return None if cpu is None else cpu * 1e6

        _curves(axes, results, name, results.points(name), microseconds)
        # Logarithmic, but with room for none at all.
        axes.set_xscale("symlog", linthresh=10)
        axes.set_xlabel(title)
        _finish(axes)
    all_axes[0].set_ylabel("CPU time [µs]")
    # From zero on: what should be flat is to look as flat as it is.
    all_axes[0].set_ylim(bottom=0)
    return figure


# ── Transfer ───────────────────────────────────────────────────────────────────────────────────


def _transfer(results: Results) -> Any:
    def rate(client: str, point: Point) -> float | None:
        wall = results.median(Series("transfer", client, point, "wall"))
        return None if wall is None else int(point["size"]) / wall / 1e6

    figure, all_axes = plt.subplots(2, 2, figsize=(13, 10), layout="constrained")
    kinds = [(way, over) for way in ("download", "upload") for over in ("TCP", "TLS")]
    for axes, (way, over) in zip(all_axes.flat, kinds, strict=True):
        points = [p for p in results.points("transfer") if (p["way"], p["over"]) == (way, over)]
        _curves(axes, results, "transfer", points, rate)
        axes.set(title=f"{way} over {over}", xlabel="size [bytes]", ylabel="MB/s")
        axes.set(xscale="log", yscale="log")
        _finish(axes)
    return figure


# ── What they have in common ───────────────────────────────────────────────────────────────────

_PLOTS: dict[str, tuple[set[str], Callable[[Results], Any]]] = {
    "latency": ({"latency"}, _latency),
    "distribution": ({"latency"}, _distribution),
    "throughput": ({"cost"}, _throughput),
    "cost": ({"cost"}, _cost),
    "crowd": ({"crowd"}, _crowd),
    "scale": (set(_SCALES), _scale),
    "transfer": ({"transfer"}, _transfer),
}


def _figure(title: str) -> tuple[Any, Axes]:
    figure, axes = plt.subplots(figsize=(10, 6), layout="constrained")
    axes.set_title(title)
    return figure, axes


def _curves(
    axes: Axes,
    results: Results,
    experiment: str,
    points: Sequence[Point],
    height: Callable[[str, Point], float | None],
) -> None:
    """A line for each client, with a mark at each point that it was measured at."""
    for client in results.clients(experiment):
        found = [(_size(point), height(client, point)) for point in points]
        there = [(x, y) for x, y in found if y is not None]
        if there:
            axes.plot(*zip(*there, strict=True), **_style(client))


def _size(point: Point) -> int:
    """The number in it: all other words of a point say of which kind it is."""
    return next(value for value in point.values() if isinstance(value, int))


def _style(client: str, marker: str | None = "o") -> dict[str, Any]:
    style: dict[str, Any] = {"label": CLIENTS[client].title, "color": COLOURS[client]}
    if marker is not None:
        style |= {"marker": marker, "markersize": 4}
    if client in ("triopool", UNIT):
        style["linewidth"] = 2.5
    return style


def _finish(axes: Axes) -> None:
    axes.grid(True, which="both", alpha=0.2)
    if axes.get_yscale() == "log":
        # 0.5 and 2,000, and not powers of ten; between them, too, where there is room.
        axes.yaxis.set_major_formatter("{x:,g}")
        low, high = axes.get_ylim()
        if high / low < 50:
            axes.yaxis.set_minor_formatter("{x:,g}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")
