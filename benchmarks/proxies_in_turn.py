"""Whether proxies leave something behind: a thousand after a thousand, each asked once.

    python -m benchmarks.proxies_in_turn [--laps 10]

Each request names a proxy that was never asked before, by an address and credentials of its own:
one in two as a URL and forwarded, the others as a :class:`triopool.Proxy` and through a tunnel. The
pool keeps its usual 100 connections, so most are closed to make room for others. After each lap
we look at the heap, the resident set, the open files, and the objects that belong to a proxy. The
latter can't be more than those of the connections that are open; and once these are closed, too,
there should be as many as before, and so of the files. (A head is kept for the place that the
tunnels lead to, with nothing of a proxy in it.)

It runs in a fresh process. What the figures mean, and what is taken for growth, is told at the top
of :mod:`benchmarks.memory`.
"""

from __future__ import annotations

import argparse
import gc
import ipaddress
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import trio
import trio.testing

import triopool

from .descriptors import raise_limit
from .memory import DESCRIPTOR_TOLERANCE, HEAP_TOLERANCE, RSS_TOLERANCE, growth, look

LAP = 1000
"""How many proxies are asked between two looks."""

AT_ONCE = 20

_OF_A_PROXY = ("Proxy", "PoolKey", "ProxyInfo", "RequestHead")


def run(url: str, proxy: str, laps: int, lap: int = LAP) -> dict[str, Any]:
    """Ask them, in this process.

    Args:
      url: what to GET; by http.
      proxy: the URL of one that listens on all addresses of this machine.
    """
    return trio.run(lambda: _run(url, proxy, laps, lap))


async def _run(url: str, proxy: str, laps: int, lap: int) -> dict[str, Any]:
    looks = []
    async with triopool.ConnectionPool() as pool:
        # What is loaded with the first request, and what it takes to look, is there before.
        await _ask_all(pool, url, proxy, range(AT_ONCE))
        pool.close_idle()
        await trio.testing.wait_all_tasks_blocked()
        before = _look()
        for number in range(laps):
            first = AT_ONCE + number * lap
            await _ask_all(pool, url, proxy, range(first, first + lap))
            looks.append(_look() | {"open": pool.statistics().open})
        pool.close_idle()
        await trio.testing.wait_all_tasks_blocked()
        after = _look()
    return {
        "laps": laps,
        "lap": lap,
        "before": before,
        "looks": looks,
        "after": after,
        "growth": {
            key: growth([one[key] for one in looks], lap, tolerance)
            for key, tolerance in (
                ("blocks", HEAP_TOLERANCE),
                ("rss_bytes", RSS_TOLERANCE),
                ("descriptors", DESCRIPTOR_TOLERANCE),
            )
        },
    }


async def _ask_all(pool: triopool.ConnectionPool, url: str, proxy: str, numbers: range) -> None:
    left = iter(numbers)

    async def worker() -> None:
        for number in left:
            response = await pool.get(url, proxy=_proxy(proxy, number))
            response.raise_for_status()

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(worker)


def _proxy(proxy: str, number: int) -> str | triopool.Proxy:
    """A proxy of its own for each number: the same process by another address."""
    address = ipaddress.IPv4Address("127.0.0.2") + number
    there = proxy.replace("127.0.0.1", f"user{number}:secret@{address}")
    return there if number % 2 else triopool.Proxy(there, tunnel=True)


def _look() -> dict[str, Any]:
    found = look()
    names = [type(thing).__name__ for thing in gc.get_objects()]
    return {**found, "objects": {name: names.count(name) for name in _OF_A_PROXY}}


# ── From outside ───────────────────────────────────────────────────────────────────────────────


def measure(url: str, proxy: str, laps: int) -> dict[str, Any]:
    """The same in a fresh process; fit for JSON, and for ``show()``."""
    command = [sys.executable, "-m", "benchmarks.proxies_in_turn", "--work", url, proxy]
    done = subprocess.run(
        [*command, "--laps", str(laps)],
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def show(found: dict[str, Any]) -> str:
    """The table."""
    head = f"{'':>16}{'open':>6}{'blocks':>10}{'resident, bytes':>17}{'descriptors':>13}  "
    lines = [head + "objects of a proxy"]
    rows = [("before", found["before"])]
    for number, one in enumerate(found["looks"], 1):
        rows.append((f"{number * found['lap']:,} proxies", one))
    for title, one in [*rows, ("all closed", found["after"])]:
        figures = [one.get("open", 0), one["blocks"], one["rss_bytes"], one["descriptors"]]
        told = ["-" if figure is None else f"{figure:,}" for figure in figures]
        objects = ", ".join(f"{name} {count}" for name, count in one["objects"].items())
        lines.append(f"{title:>16}{told[0]:>6}{told[1]:>10}{told[2]:>17}{told[3]:>13}  {objects}")
    for key, seen in found["growth"].items():
        if seen is not None:
            verdict = "GROWS" if seen["grows"] else "does not grow"
            lines.append(
                f"{key}: {verdict} ({seen['by']:+,.0f} over the second half; "
                f"may be {seen['tolerance']:,}; noise {seen['noise']:,.0f})"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether proxies leave something behind.")
    parser.add_argument("--laps", type=int, default=10, help=f"how often {LAP:,} of them")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        raise_limit()
        url, proxy = options.work
        print(json.dumps(run(url, proxy, laps=options.laps)))
    else:
        # Not above: what is measured need not have its certificates in memory.
        from .server import serve

        with serve(sizes=()) as server:
            print(show(measure(f"{server.http}/2000", server.proxy, options.laps)))


if __name__ == "__main__":
    main()
