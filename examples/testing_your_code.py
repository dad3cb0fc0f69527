"""How to test a program that uses a pool: without sockets, without waiting, at every cancellation.

``cheapest`` is the application. Below it are three tests as one would write them for pytest; to
keep this file free of it, ``main`` calls them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock

import triopool
from triopool.testing import Network, Reply, Sweep, cancel_sweep

# ── The application ────────────────────────────────────────────────────────────────────────────


async def cheapest(
    pool: triopool.ConnectionPool, shops: list[str], *, patience: float
) -> tuple[int, str] | None:
    """Ask all shops at once; return the lowest price that was told in time, and whose it is."""
    offers: list[tuple[int, str]] = []

    async def ask(shop: str) -> None:
        try:
            response = (await pool.get(shop)).raise_for_status()
        except triopool.TriopoolError:
            return
        offers.append((response.json()["price"], shop))

    with trio.move_on_after(patience):
        async with trio.open_nursery() as nursery:
            for shop in shops:
                nursery.start_soon(ask, shop)
    return min(offers, default=None)


# ── Its tests ──────────────────────────────────────────────────────────────────────────────────

GOOD, DEAR, BROKEN, HANGING = (
    f"http://{name}.example" for name in ("good", "dear", "broken", "hanging")
)


def shopping_street() -> Network:
    """The world as the application sees it: names, addresses, servers, and how long they take."""
    network = Network()
    network.serve(GOOD, Reply(json={"price": 3}, delay=0.2), connect_delay=0.1)
    network.serve(DEAR, Reply(json={"price": 5}), connect_delay=0.13)
    network.serve(BROKEN, Reply(status=503))
    network.host("hanging.example", "192.0.2.4")
    network.hang("192.0.2.4", 80)
    return network


async def test_broken_shops_are_left_out() -> None:
    # The pool is the real one: it looks names up, races, connects, as in production.
    async with shopping_street() as network, network.pool() as pool:
        assert await cheapest(pool, [DEAR, BROKEN, GOOD], patience=10.0) == (3, GOOD)
        # Times are exact: 100 ms to connect, 200 ms to answer. The machine's speed plays no part.
        assert round(trio.current_time(), 9) == 0.3


async def test_a_shop_that_hangs_costs_our_patience_and_no_more() -> None:
    async with shopping_street() as network, network.pool() as pool:
        assert await cheapest(pool, [HANGING, DEAR], patience=10.0) == (5, DEAR)
        assert round(trio.current_time(), 9) == 10.0


async def whatever_happens_the_pool_stays_whole(sweep: Sweep) -> None:
    """Run again and again; each time ``cheapest`` is cancelled one step of the scheduler later."""
    async with shopping_street() as network:
        async with network.pool(max_connections=2) as pool:

            async def victim() -> tuple[int, str] | None:
                return await cheapest(pool, [GOOD, DEAR, BROKEN], patience=10.0)

            result = await sweep.victim(victim)
            assert result.cancelled or result.value == (3, GOOD)
            # Now the pool must be as good as new: no slot lost, nobody's answer mixed up.
            assert pool.statistics().busy == 0
            assert await cheapest(pool, [GOOD, DEAR, BROKEN], patience=10.0) == (3, GOOD)
        assert not network.open_sockets


def main() -> None:
    tests: list[Callable[[], Awaitable[None]]] = [
        test_broken_shops_are_left_out,
        test_a_shop_that_hangs_costs_our_patience_and_no_more,
    ]
    for test in tests:
        # With pytest-trio its fixture `autojump_clock` does this; and the fixture `network` of
        # triopool.testing.fixtures enters a network.
        trio.run(test, clock=MockClock(autojump_threshold=0))
        print(f"passed: {test.__name__}")
    # Not an async function: each run of the sweep is a trio.run of its own.
    points = cancel_sweep(whatever_happens_the_pool_stays_whole)
    print(f"passed: {whatever_happens_the_pool_stays_whole.__name__}")
    print(f"        cancelled at each of {points} moments")


if __name__ == "__main__":
    main()
