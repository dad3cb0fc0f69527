"""Whether a request costs more where there is more around it: three experiments.

In each, 20 requests are under way at a time, and the number that grows is that of

- **idle** connections to the same origin, besides the 20 that are used;
- other **origins**, each with an idle connection of its own. The 20 that are asked are always the
  same, whatever their number: what is measured is the pool, and not how cold the memory of ever
  new connections is;
- **waiting** requests: the pool has 20 connections, and so many more tasks want one all the time.
  A task that has been answered asks again, at the end of the queue. Here the cold memory can't be
  kept out: each request is made by a task that has not run for as long as the queue is. Bare h11,
  with a semaphore and a list of 20 connections in place of a pool, shows what that alone costs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from .clients import Pool
from .experiment import QUICK_CLIENTS, Bench, Clock, Experiment, Point, Values
from .loads import Getter, get, repeat, shared

AT_ONCE = 20
NUMBERS = (0, 10, 100, 1000, 10_000)

# How many connections are opened at once: no server's queue of them is endless.
_BATCH = 200

# How many answers are counted, where there are not more workers than that.
_WAITING_LEAST = 2000


# ── Idle connections ───────────────────────────────────────────────────────────────────────────


async def _measure_idle(bench: Bench, point: Point) -> Values:
    idle = int(point["idle"])
    url = f"{bench.server.http}/2000"
    async with bench.open(idle + AT_ONCE) as client:
        pool = cast(Pool, client)
        await _open_at_once(bench, pool, url, idle + AT_ONCE)
        return await repeat(bench, [(pool, url)] * AT_ONCE)


async def _open_at_once(bench: Bench, pool: Pool, url: str, n: int) -> None:
    """Have *n* connections at once: no answer is read to its end before the last one is here."""
    gates = [bench.runtime.event() for _ in range(0, n, _BATCH)]
    everybody_is_here = bench.runtime.event()
    here = 0

    async def arrive() -> None:
        nonlocal here
        here += 1
        if here == n:
            everybody_is_here.set()
        elif here % _BATCH == 0:
            gates[here // _BATCH].set()
        await everybody_is_here.wait()

    async def one(number: int) -> None:
        await gates[number // _BATCH].wait()
        await pool.hold(url, arrive)

    gates[0].set()
    await bench.runtime.start(partial(one, number) for number in range(n))


# ── Origins ────────────────────────────────────────────────────────────────────────────────────


async def _measure_origins(bench: Bench, point: Point) -> Values:
    others = int(point["origins"])
    urls = [f"{_origin(bench, number)}/2000" for number in range(AT_ONCE + others)]
    async with bench.open(len(urls)) as client:
        pool = cast(Pool, client)
        left = iter(urls)

        async def opener() -> None:
            for url in left:
                await get(pool, url)

        await bench.runtime.start([opener] * _BATCH)
        return await repeat(bench, [(pool, url) for url in urls[:AT_ONCE]])


def _origin(bench: Bench, number: int) -> str:
    """The same server by another address: 127.0.0.2 is the first."""
    address = ipaddress.IPv4Address("127.0.0.2") + number
    return bench.server.http.replace("127.0.0.1", str(address))


# ── Waiting requests ───────────────────────────────────────────────────────────────────────────


async def _measure_waiting(bench: Bench, point: Point) -> Values:
    workers = AT_ONCE + int(point["waiting"])
    url = f"{bench.server.http}/2000"
    async with bench.open(AT_ONCE) as client:
        caller = await shared(bench, client, bench.server.http, AT_ONCE)
        # Until everybody has had a turn they have not all begun to wait.
        before = max(_WAITING_LEAST, workers)
        crowd = _Crowd(caller, url, before=before, n=max(_WAITING_LEAST, workers // 2))
        await bench.runtime.start([crowd.worker] * workers)
    return crowd.values


class _Crowd:
    """Workers that ask until enough has been counted.

    When that is so they are not cut off: each ends with its own answer, out of the count.
    """

    def __init__(self, caller: Getter, url: str, *, before: int, n: int) -> None:
        self._caller = caller
        self._url = url
        self._before = before
        self._n = n
        self._answers = 0
        self.values: Values = {}

    async def worker(self) -> None:
        while not self.values:
            await get(self._caller, self._url)
            self._answers += 1
            if self._answers == self._before:
                self._clock = Clock()
            elif self._answers == self._before + self._n:
                self.values = self._clock.each(self._n)


# ── The three ──────────────────────────────────────────────────────────────────────────────────


def _experiment(name: str, title: str, measure: Callable[..., Awaitable[Values]]) -> Experiment:
    return Experiment(
        name=name,
        title=f"Cost of a GET of 2,000 bytes, {AT_ONCE} at a time, by the number of {title}",
        measure=measure,
        grows=name,
        points=[{name: number} for number in NUMBERS],
        quick=[{name: number} for number in (0, 1000, 10_000)],
        pools_only=name != "waiting",
        quick_clients=QUICK_CLIENTS,
    )


IDLE = _experiment("idle", "idle connections", _measure_idle)
ORIGINS = _experiment("origins", "other origins with an idle connection", _measure_origins)
WAITING = _experiment("waiting", "waiting requests", _measure_waiting)
