"""Deadlines: the caller's is a cancel scope, the phases' are triopool's.

On an in-memory network and Trio's mock clock, so that every time below is exact, and the whole
takes no time at all. See testing_your_code.py for how that works.
"""

from __future__ import annotations

import trio
from trio.testing import MockClock

import triopool
from triopool import Timeouts
from triopool.testing import KeepOpen, Network, Reply, Request, Wait, http_server, script


async def answer(request: Request) -> Reply:
    """What all servers below answer: at once, or after an hour for /slow."""
    return Reply(body=b"hello", delay=3600 if request.target == "/slow" else 0.02)


async def deadline_of_the_caller(network: Network, pool: triopool.ConnectionPool) -> None:
    """No timeout argument: a deadline covers whatever the block does, one request or ten."""
    with trio.move_on_after(0.5) as scope:
        await pool.get("http://192.0.2.1/")
        await pool.get("http://192.0.2.1/slow")
    print(f"  move_on_after(0.5): cancelled = {scope.cancelled_caught}")

    try:
        with trio.fail_after(0.5):
            await pool.get("http://192.0.2.1/slow")
    except trio.TooSlowError as exc:
        print(f"  fail_after(0.5): {type(exc).__name__}")


async def phases(network: Network, pool: triopool.ConnectionPool) -> None:
    """Guards against a peer that hangs, each with its own exception.

    Each of them is a TriopoolError and a trio.TooSlowError.
    """
    network.hang("192.0.2.66", 80)  # a black hole
    network.listen("192.0.2.2", 80, script(Wait(3600)))  # accepts, and reads nothing
    network.listen("192.0.2.3", 80, script(KeepOpen()))  # reads, and answers nothing
    timeouts = Timeouts(pool=1.0, connect=2.0, write=3.0, read=4.0)  # None: no limit

    async def attempt(what: str, url: str, content: bytes | None = None) -> None:
        began_at = trio.current_time()
        try:
            await pool.request("PUT", url, content=content, timeouts=timeouts)
        except triopool.TriopoolError as exc:
            seconds = trio.current_time() - began_at
            print(f"  {what}: {type(exc).__name__} after {seconds:g} s, in phase {exc.phase!r}")
            print(f"    {exc}")

    await attempt("black hole", "http://192.0.2.66/")
    await attempt("peer that reads nothing", "http://192.0.2.2/", bytes(1_000_000))
    await attempt("peer that answers nothing", "http://192.0.2.3/")

    pool.max_connections = 1
    async with pool.lease("http://192.0.2.1/"):  # the one connection is ours
        await attempt("pool that is used up", "http://192.0.2.3/")
    pool.max_connections = 10


async def slow_handshake(network: Network, pool: triopool.ConnectionPool) -> None:
    """Callers with 200 ms in front of a handshake of 300 ms.

    If the handshake ended with its caller, nobody would ever get a connection, however often they
    try. Here it goes on, in a task of the pool, and serves the next request.
    """
    network.listen("192.0.2.4", 80, http_server(answer), connect_delay=0.3)
    for number in (1, 2, 3):
        began_at = trio.current_time()
        with trio.move_on_after(0.2) as scope:
            await pool.get("http://192.0.2.4/")
        milliseconds = (trio.current_time() - began_at) * 1000
        outcome = "gave up" if scope.cancelled_caught else "answered"
        now = pool.statistics()
        print(
            f"  caller {number}: {outcome} after {milliseconds:.0f} ms;"
            f" now {now.idle} idle, {now.dialling} dialling"
        )


async def cancellation_frees_the_slot(network: Network, pool: triopool.ConnectionPool) -> None:
    """A cancelled request has given its slot to the next in line before its scope has ended."""

    def show(when: str) -> None:
        now = pool.statistics()
        print(f"  {when}: busy {now.busy}, waiting {now.waiting}, dialling {now.dialling}")

    async def hold() -> None:
        with trio.move_on_after(1.0):
            await pool.get("http://192.0.2.1/slow")
        show("the very moment it is cancelled")

    async def next_in_line() -> None:
        began_at = trio.current_time()
        await pool.get("http://192.0.2.1/")
        print(f"  the next in line was answered after {trio.current_time() - began_at:.2f} s")

    pool.max_connections = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.sleep(0.5)
        nursery.start_soon(next_in_line)
        await trio.sleep(0.1)
        show("while it holds the only slot")
    show("when both are done")


async def main() -> None:
    for scene in (deadline_of_the_caller, phases, slow_handshake, cancellation_frees_the_slot):
        assert scene.__doc__ is not None
        print(scene.__doc__.splitlines()[0])
        async with Network() as network:
            network.listen("192.0.2.1", 80, http_server(answer))
            async with triopool.ConnectionPool(
                max_connections=10, socket_factory=network.socket
            ) as pool:
                await scene(network, pool)


if __name__ == "__main__":
    trio.run(main, clock=MockClock(autojump_threshold=0))
