"""What a request costs when thousands are started at once, on a pool of 100.

Each is a task of its own, and so are those that they are compared with: as many requests, started
in *waves* of 100, the next one when the last one is over. Both pay for a task each, so what differs
is the crowd. Both are measured in one process, with one pool, in turn. The garbage collector is
left as it is: a crowd makes work for it, and that is part of its cost.

Bare h11 has no pool. Here it has a semaphore and a list of 100 connections, which shows how much of
the cost is that of the tasks.
"""

from __future__ import annotations

from functools import partial

from .experiment import QUICK_CLIENTS, Bench, Clock, Experiment, Point, Values
from .loads import Getter, get, shared

CONNECTIONS = 100


async def _measure(bench: Bench, point: Point) -> Values:
    n = int(point["requests"])
    found: dict[str, list[float]] = {}
    async with bench.open(CONNECTIONS) as client:
        caller = await shared(bench, client, bench.server.http, CONNECTIONS)
        await _in_waves(bench, caller, CONNECTIONS * 5)
        # The largest take long enough as it is.
        for _ in range(2 if n <= 3000 else 1):
            for name, start in (("", _at_once), ("waves_", _in_waves)):
                clock = Clock()
                await start(bench, caller, n)
                for what, value in clock.each(n).items():
                    assert isinstance(value, float | int)
                    found.setdefault(name + what, []).append(value)
    return {**found}


async def _at_once(bench: Bench, caller: Getter, n: int) -> None:
    one = partial(get, caller, f"{bench.server.http}/2000")
    await bench.runtime.start(one for _ in range(n))


async def _in_waves(bench: Bench, caller: Getter, n: int) -> None:
    for _ in range(n // CONNECTIONS):
        await _at_once(bench, caller, CONNECTIONS)


CROWD = Experiment(
    name="crowd",
    title="Cost of a request when so many are started at once, on a pool of 100",
    measure=_measure,
    grows="requests",
    points=[{"requests": n} for n in (1000, 3000, 10_000)],
    quick=[{"requests": n} for n in (3000, 10_000)],
    quick_clients=QUICK_CLIENTS,
)
