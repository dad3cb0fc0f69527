"""What the tests against real servers share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from triopool import ConnectionPool

PATIENCE = 60.0
"""A guard against hanging, in seconds: what a test waits for takes milliseconds."""


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.002)


async def all_at_once(pool: ConnectionPool, urls: list[str]) -> list[bytes]:
    """The bodies that *urls*, asked for at the same time, are answered with, in their order."""
    bodies: dict[int, bytes] = {}

    async def fetch(number: int, url: str) -> None:
        response = await pool.get(url)
        bodies[number] = response.raise_for_status().content

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number, url in enumerate(urls):
                nursery.start_soon(fetch, number, url)
    return [body for _, body in sorted(bodies.items())]


def nothing_is_held(pool: ConnectionPool) -> None:
    """Every slot that is not idle is free."""
    statistics = pool.statistics()
    assert (statistics.busy, statistics.waiting) == (0, 0)
    assert statistics.open == statistics.idle + statistics.dialling


def tcp_states(remote_port: int) -> list[str]:
    """The states of this machine's TCP connections to *remote_port*, in Linux's numbers.

    Empty on other systems.
    """
    table = Path("/proc/self/net/tcp")
    lines = table.read_text().splitlines()[1:] if table.exists() else []
    return [
        state
        for _, _, remote, state, *_ in map(str.split, lines)
        if int(remote.partition(":")[2], 16) == remote_port
    ]


CLOSE_WAIT = "08"
