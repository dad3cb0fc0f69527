"""Watch a pool at work: ``pool.statistics()``, again and again, in a table.

    pip install -e ".[examples]"
    python examples/watch_statistics.py

A snapshot is cheap and frozen, and taken without a lock: no other task runs meanwhile. Where the
output is not a terminal, a few snapshots are printed one after the other.
"""

from __future__ import annotations

import random
from typing import Any

import trio
from _server import reply, serve
from rich.console import Console
from rich.live import Live
from rich.table import Table

import triopool

SECONDS = 3.0


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The server's side: takes its time."""
    await trio.sleep(random.expovariate(1 / 0.05))
    await reply(send, b"done\n")


async def load(pool: triopool.ConnectionPool, url: str) -> None:
    """Requests come as customers do: at random, at times more than the pool can serve at once."""
    rush_hour = trio.current_time() + SECONDS / 2
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(SECONDS):
            while True:
                nursery.start_soon(ask, pool, url)
                busy = trio.current_time() < rush_hour
                await trio.sleep(random.expovariate(100 if busy else 40))


async def ask(pool: triopool.ConnectionPool, url: str) -> None:
    with trio.move_on_after(1.0):  # nobody waits for ever
        await pool.get(url)


def table(now: triopool.PoolStatistics) -> Table:
    shown = Table(title=f"{now.open} of {now.max_connections} connections open")
    for heading in ("port", "busy", "idle", "dialling", "waiting", "oldest", "dialled", "served"):
        shown.add_column(heading, justify="right")
    rows = [(str(key.origin.port), figures) for key, figures in now.origins.items()]
    for name, row in [*rows, ("all", now)]:
        gauges = (row.busy, row.idle, row.dialling, row.waiting)
        counts = (row.dialled, row.reused + row.handed_over)
        shown.add_row(name, *map(str, gauges), f"{row.oldest_wait:.2f} s", *map(str, counts))
    return shown


async def watch(pool: triopool.ConnectionPool, console: Console) -> None:
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(table(pool.statistics()), refresh=True)
                await trio.sleep(0.1)
    while True:
        await trio.sleep(SECONDS / 4)
        console.print(table(pool.statistics()))


async def main() -> None:
    console = Console()
    # Two hosts under load share better if neither may take all: a slot that changes hosts costs a
    # connection.
    pool = triopool.ConnectionPool(max_connections=8, max_connections_per_origin=4)
    async with serve(app) as one, serve(app) as two, pool:
        async with trio.open_nursery() as watcher:
            watcher.start_soon(watch, pool, console)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(load, pool, one)
                nursery.start_soon(load, pool, two)
            watcher.cancel_scope.cancel()
        console.print("When nobody asks any more:", table(pool.statistics()), sep="\n")


if __name__ == "__main__":
    trio.run(main)
