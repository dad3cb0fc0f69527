"""How long each single request takes: the experiment that triopool began with.

10,000 requests for 2,000 bytes are started at once, on a pool of 100. That was a warm-up. Then come
another 10,000, 20 at a time, and the time of each is written down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from .clients import Caller
from .experiment import QUICK_CLIENTS, Bench, Clock, Experiment, Point, Values
from .loads import callers, get

CONNECTIONS = 100
AT_ONCE = 20


async def _measure(bench: Bench, point: Point) -> Values:
    n = int(point["requests"])
    url = f"{bench.server.http}/2000"
    async with bench.open(CONNECTIONS) as client:
        them = await callers(client, bench.server.http, CONNECTIONS)
        warm_up = await _warm_up(bench, them, n, url)
        clock = Clock()
        taken = await _watch_each(bench, them[:AT_ONCE], n, url)
        values = clock.each(n)
    values |= {f"warm_up_{name}": value for name, value in warm_up.items()}
    # In whole microseconds: a file of ten thousand lines shall not be longer than it must.
    values["each_us"] = [round(seconds * 1e6) for seconds in taken]
    return values


async def _warm_up(bench: Bench, them: Sequence[Caller], n: int, url: str) -> Values:
    async def worker(caller: Caller, times: int) -> None:
        for _ in range(times):
            await get(caller, url)

    # Without a pool there is nothing to wait for but one's own turn.
    tasks = n if bench.kind.has_pool else len(them)
    clock = Clock()
    await bench.runtime.start(
        partial(worker, them[i % len(them)], n // tasks) for i in range(tasks)
    )
    return clock.each(n)


async def _watch_each(bench: Bench, them: Sequence[Caller], n: int, url: str) -> list[float]:
    """In the order in which they were started."""
    taken = [0.0] * n
    numbers = iter(range(n))

    async def worker(caller: Caller) -> None:
        for number in numbers:
            started = time.perf_counter()
            await get(caller, url)
            taken[number] = time.perf_counter() - started

    await bench.runtime.start(partial(worker, caller) for caller in them)
    return taken


LATENCY = Experiment(
    name="latency",
    title=f"Time of each request, {AT_ONCE} at a time, after a warm-up of as many at once",
    measure=_measure,
    grows="requests",
    points=[{"requests": 10_000}],
    quick=[{"requests": 2_000}],
    quick_clients=(*QUICK_CLIENTS, "triopool-httpx2", "aiohttp-uvloop"),
)
