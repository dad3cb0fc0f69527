"""How often we ask, and how much at once: how the experiments put requests to a client.

``repeat`` is a *closed loop*: so many workers, each of which sends its next request when it has the
answer to its last one. How many requests that shall be is found out by trying: all clients are to
be measured for about the same time, though the slowest takes fifty times as long as the fastest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from .answers import body
from .clients import Caller, Client
from .experiment import Bench, Clock, Values

BODY = body(2000)


class Getter(Protocol):
    async def get(self, url: str) -> bytes: ...


async def get(caller: Getter, url: str) -> None:
    """One GET of 2,000 bytes, whose answer is checked."""
    if await caller.get(url) != BODY:
        raise ValueError(f"the answer of {url} is not what it should be")


async def callers(client: Client, origin: str, n: int) -> list[Caller]:
    return [await client.caller(origin) for _ in range(n)]


class InTurn:
    """Callers without a pool, shared: a task that wants to ask waits, first come, first served.

    Not a client. It shows what a crowd costs where there is no more than a queue between it and
    the connections: so much of it is the runtime's, and the memory's.
    """

    def __init__(self, bench: Bench, them: Sequence[Caller]) -> None:
        self._free = list(them)
        self._turns = bench.runtime.semaphore(len(them))

    async def get(self, url: str) -> bytes:
        async with self._turns:
            caller = self._free.pop()
            try:
                return await caller.get(url)
            finally:
                self._free.append(caller)


async def shared(bench: Bench, client: Client, origin: str, connections: int) -> Getter:
    """What all tasks ask: the client's pool, or as many callers of one that has none."""
    if bench.kind.has_pool:
        return await client.caller(origin)
    return InTurn(bench, await callers(client, origin, connections))


async def repeat(bench: Bench, them: Sequence[tuple[Caller, str]], *, warm_up: int = 1) -> Values:
    """Let each of these callers GET its URL, over and over; tell what one GET costs.

    Args:
      warm_up: how often each asks before that, to open the connections, and to fill the caches.
    """
    await _rounds(bench, them, warm_up)
    times, taken = 0, 0.0
    while taken < bench.seconds / 5:
        times = times * 2 or 1
        clock = Clock()
        await _rounds(bench, them, times)
        taken = clock.seconds()
    times = max(1, round(times * bench.seconds / taken))
    clock = Clock()
    await _rounds(bench, them, times)
    return clock.each(times * len(them))


async def _rounds(bench: Bench, them: Sequence[tuple[Caller, str]], times: int) -> None:
    async def worker(caller: Caller, url: str) -> None:
        for _ in range(times):
            await get(caller, url)

    await bench.runtime.start(partial(worker, caller, url) for caller, url in them)
