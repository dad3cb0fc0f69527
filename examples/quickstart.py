"""400 requests at once through 10 connections, 100 of them cancelled half-way; every slot returns.

The server is a real one, hypercorn, on loopback. Run it:

    pip install -e ".[examples]"
    python examples/quickstart.py
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import trio
from _server import reply, serve

import triopool


class Watch(triopool.abc.Instrument):
    """Notes how long requests wait for a connection. Hooks are plain functions, called in place."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.sent = 0

    def reused(self, connection: triopool.ConnectionInfo) -> None:
        self.waits.append(0.0)

    def handed_over(self, connection: triopool.ConnectionInfo, seconds: float) -> None:
        self.waits.append(seconds)

    def request_sent(
        self, request: triopool.RequestInfo, connection: triopool.ConnectionInfo
    ) -> None:
        self.sent += 1


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The server's side: answers after 10 ms, and a request for /never not at all."""
    await trio.sleep(0.01 if scope["path"] == "/" else 3600)
    await reply(send, b"Hello, world!\n")


async def main() -> None:
    outcomes: Counter[str] = Counter()
    watch = Watch()

    async def fetch(url: str) -> None:
        response = await pool.get(url)
        outcomes[f"answered with {response.status_code}"] += 1
        outcomes["on a used connection"] += response.connection.reused

    async def give_up_half_way(url: str) -> None:
        # A deadline is a cancel scope, as everywhere in Trio. Some of these give up while they
        # wait in line, some during a dial, some in the middle of an exchange.
        with trio.move_on_after(random.uniform(0.01, 0.4)) as scope:
            await pool.get(url)
        outcomes["cancelled"] += scope.cancelled_caught

    async with serve(app) as server:
        async with triopool.ConnectionPool(max_connections=10, instruments=[watch]) as pool:
            async with trio.open_nursery() as nursery:
                for number in range(400):
                    if number % 4 == 3:
                        nursery.start_soon(give_up_half_way, f"{server}/never")
                    else:
                        nursery.start_soon(fetch, f"{server}/")

            # Nobody asks any more. A cancelled request has given its slot back before its scope
            # ended; what is open now is idle, and ready for the next one.
            after = pool.statistics()
        left = pool.statistics()

    waits = sorted(watch.waits)
    in_line = 400 - watch.sent
    print("requests")
    print(f"  answered with 200    {outcomes['answered with 200']:>6}")
    print(f"  cancelled in line    {in_line:>6}")
    print(f"  cancelled half-way   {outcomes['cancelled'] - in_line:>6}")
    print("connections")
    print(f"  allowed at once      {after.max_connections:>6}")
    print(f"  opened               {after.dialled:>6}  (an exchange that is cancelled costs one)")
    print(f"  reused for           {outcomes['on a used connection']:>6}  of the answers")
    print("waiting for a connection")
    print(f"  median               {waits[len(waits) // 2] * 1000:>6.0f}  ms")
    print(f"  longest              {waits[-1] * 1000:>6.0f}  ms")
    print("when all is done")
    print(f"  busy {after.busy}, waiting {after.waiting}, idle {after.idle}")
    print("after the pool's block")
    print(f"  open {left.open}")


if __name__ == "__main__":
    trio.run(main)
