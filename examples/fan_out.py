"""Fan out over several hosts: a slow one, or a black hole, never starves the fast one.

    python examples/fan_out.py
    python examples/fan_out.py http://127.0.0.1:8080/ http://127.0.0.1:8081/ --requests 500

Without URLs it starts three servers of its own: a fast one, a slow one, and one that accepts
connections and never says a word. All requests of all hosts are made at once, through one pool.
"""

from __future__ import annotations

import argparse
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import trio
from _server import reply, serve

import triopool


@dataclass
class Tally:
    """How the requests to one URL went."""

    name: str
    url: str
    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


async def fan_out(
    tallies: list[Tally], *, requests: int, connections: int, deadline: float
) -> triopool.PoolStatistics:
    """Send *requests* to each URL, all of them at once."""

    async def fetch(tally: Tally) -> None:
        began_at = trio.current_time()
        with trio.move_on_after(deadline) as scope:
            try:
                (await pool.get(tally.url)).raise_for_status()
            except triopool.TriopoolError as exc:
                tally.failures[str(exc)] += 1
            else:
                tally.seconds.append(trio.current_time() - began_at)
        if scope.cancelled_caught:
            tally.failures[f"no answer within {deadline:g} s"] += 1

    async with triopool.ConnectionPool(
        max_connections=connections,
        # What keeps the hosts apart: one that holds its share for ever holds nobody else's.
        max_connections_per_origin=max(1, connections // len(tallies)),
    ) as pool:
        async with trio.open_nursery() as nursery:
            for tally in tallies:
                for _ in range(requests):
                    nursery.start_soon(fetch, tally)
        return pool.statistics()


def report(tallies: list[Tally], statistics: triopool.PoolStatistics) -> None:
    print(f"{'':<28}{'answered':>9}{'failed':>8}{'median':>10}{'slowest':>10}")
    for tally in tallies:
        seconds = sorted(tally.seconds)
        median, slowest = (
            (f"{seconds[len(seconds) // 2] * 1000:.0f} ms", f"{seconds[-1] * 1000:.0f} ms")
            if seconds
            else ("-", "-")
        )
        failed = tally.failures.total()
        print(f"{tally.name[:27]:<28}{len(seconds):>9}{failed:>8}{median:>10}{slowest:>10}")
    for tally in tallies:
        for failure, count in tally.failures.most_common(3):
            print(f"{tally.name}: {count} x {failure}")
    print(
        f"{statistics.dialled} connections opened, at most {statistics.max_connections} at once;"
        f" in the end busy {statistics.busy}, waiting {statistics.waiting}"
    )


# ── Servers for the demonstration ──────────────────────────────────────────────────────────────


async def fast(scope: Any, receive: Any, send: Any) -> None:
    await reply(send, b"here you are\n")


async def slow(scope: Any, receive: Any, send: Any) -> None:
    await trio.sleep(0.05)
    await reply(send, b"well ...\n")


@asynccontextmanager
async def demonstration() -> AsyncIterator[list[Tally]]:
    async with serve(fast) as fast_url, serve(slow) as slow_url:
        with socket.create_server(("127.0.0.1", 0)) as black_hole:  # listens, and that is all
            port = black_hole.getsockname()[1]
            yield [
                Tally("fast", fast_url),
                Tally("slow", slow_url),
                Tally("black hole", f"http://127.0.0.1:{port}"),
            ]


# ── Command line ───────────────────────────────────────────────────────────────────────────────


def http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port, or the brackets of an IPv6 address
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"{text!r} is not an http or https URL")
    return text


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return seconds


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Send many requests to several hosts at once.")
    parser.add_argument("urls", metavar="URL", nargs="*", type=http_url, help="where to")
    parser.add_argument(
        "--requests", metavar="N", type=at_least_one, default=200, help="for each URL (200)"
    )
    parser.add_argument(
        "--connections", metavar="N", type=at_least_one, default=30, help="at once, in all (30)"
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=positive_seconds,
        default=2.0,
        help="of each request, waiting included (2)",
    )
    parsed = parser.parse_args()
    hosts = len(parsed.urls) or 3
    if parsed.connections < hosts:
        parser.error(f"--connections must be at least the number of hosts, {hosts}")
    return parsed


async def main(args: argparse.Namespace) -> None:
    options = {name: getattr(args, name) for name in ("requests", "connections", "deadline")}
    if args.urls:
        tallies = [Tally(url, url) for url in args.urls]
        report(tallies, await fan_out(tallies, **options))
    else:
        async with demonstration() as tallies:
            report(tallies, await fan_out(tallies, **options))


if __name__ == "__main__":
    trio.run(main, arguments())
