"""The cancel sweep over a pool with proxies: however a request or a dial ends, nothing is lost.

A dial outlives its request, so a sweep over requests alone does not end it at each of its steps.
Three other things do: another origin needs the slot of a dial that has no request any more; the
time of a dial is over, since the program was busy; the pool is left. Each is tried at each step.

Slots are compared with sockets after every step of every task, and counted when all is over.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import sweeping
import trio
from dial.helpers import pool_on
from sweeping import sweep
from trio.testing import wait_all_tasks_blocked

from triopool import DIRECT, ConnectTimeout, PoolClosed, Proxy, Timeouts
from triopool.testing import Scenario, Sweep, cancel_sweep

from .world import (
    ADA,
    HTTP,
    SECURE,
    SOCKS4A,
    SOCKS5,
    A,
    B,
    Contexts,
    World,
    contexts,
    lent,
    world,
)


@dataclass(frozen=True)
class Way:
    """A URL, and how its requests get there."""

    name: str
    url: str
    proxy: Callable[[Contexts], Proxy | str]
    credentials: tuple[str, str] | None = None
    with_tls: bool = False

    def __str__(self) -> str:
        return self.name


def way(name: str, url: str, proxy: Any, *, login: bool = False, with_tls: bool = False) -> Way:
    make = proxy if callable(proxy) else lambda made: proxy
    return Way(name, url, make, ADA if login else None, with_tls)


FORWARDED = way("forwarded", A, Proxy(HTTP, auth=ADA), login=True)
CONNECT = way("CONNECT", A, Proxy(HTTP, auth=ADA, tunnel=True), login=True)
LOGIN = way("SOCKS5 with credentials", A, "socks5h://ada:secret@socks.test", login=True)
PLAIN = [
    FORWARDED,
    CONNECT,
    LOGIN,
    way("SOCKS4a", A, SOCKS4A),
    way("SOCKS5 and two addresses", A, SOCKS5),
    way("forwarded by the second", A, Proxy(HTTP, via=SOCKS4A)),
    way("CONNECT behind SOCKS", A, Proxy(HTTP, tunnel=True, via="socks5h://socks.test")),
]
WITH_TLS = [
    way("forwarded over TLS", A, lent, with_tls=True),
    way("CONNECT to TLS", SECURE, HTTP, with_tls=True),
    way("TLS in TLS", SECURE, lent, with_tls=True),
    way(
        "TLS in TLS in a tunnel in SOCKS",
        SECURE,
        lambda made: lent(made, via=Proxy(HTTP, via=SOCKS4A)),
        with_tls=True,
    ),
]

ALL = [*PLAIN, *WITH_TLS]

basic_ways = pytest.mark.parametrize("one", [FORWARDED, CONNECT, LOGIN], ids=str)
all_ways = pytest.mark.parametrize("one", ALL, ids=str)


@pytest.fixture(scope="module")
def made() -> Contexts:
    return contexts()


def world_of(one: Way, made: Contexts, **options: Any) -> Any:
    return world(
        made if one.with_tls else None,
        credentials=one.credentials,
        proxy=one.proxy(made),
        **options,
    )


def set_up(w: World, one: Way) -> None:
    """No two things take the same time, so that each run of a sweep has the same steps."""
    w.pause = 0.037
    if one.name.endswith("two addresses"):
        w.network.host("a.test", "192.0.2.66", "192.0.2.1")


def swept(scenario: Scenario, one: Way, *, name: str, share: float = 0.1, **options: Any) -> None:
    """Try all points; of those with a handshake a *share*, since dials have sweeps of their own."""
    if one.with_tls:
        options["share"] = max(share, sweeping.share)
    elif "happens" not in options:
        assert sweep(scenario, name=name, **options) > 5
        return
    sweeping.tally[name] = cancel_sweep(scenario, **options)
    assert sweeping.tally[name]


# ── The caller ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("one", "with_signal"),
    [*((one, False) for one in ALL), *((one, True) for one in (FORWARDED, CONNECT, LOGIN))],
    ids=str,
)
def test_a_first_request(made: Contexts, one: Way, with_signal: bool) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made) as w:
            set_up(w, one)
            await sweep.victim(w.get, f"{one.url}/victim")
            await w.works_at_full_size(one.url)

    swept(scenario, one, with_signal=with_signal, name=f"pool, first: {one}, {with_signal}")


@all_ways
def test_a_reused_connection(made: Contexts, one: Way) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made) as w:
            set_up(w, one)
            await w.get(f"{one.url}/first")
            w.delay = 0.3
            await sweep.victim(w.get, f"{one.url}/victim")
            await w.works_at_full_size(one.url)

    swept(scenario, one, share=1.0, name=f"pool, reused: {one}")


@basic_ways
def test_a_queued_request_that_is_handed_a_connection(made: Contexts, one: Way) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made, max_connections=1) as w:
            set_up(w, one)
            w.delay = 1.0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(w.get, f"{one.url}/before")
                await trio.sleep(0.7)

                async def behind() -> None:
                    await trio.sleep(0.01)
                    # Of another origin: what is forwarded is handed over all the same.
                    await w.get(f"{B}/behind")

                nursery.start_soon(behind)
                await sweep.victim(w.get, f"{one.url}/victim")
            await w.works_at_full_size(one.url)

    sweep(scenario, name=f"pool, queued: {one}")


@pytest.mark.parametrize("what", ["close", "reset"])
@basic_ways
def test_a_connection_that_goes_stale_meanwhile(made: Contexts, one: Way, what: str) -> None:
    """The proxy gives it up before the request, in its midst, in the tick of the cancellation."""

    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made) as w, trio.open_nursery() as nursery:
            set_up(w, one)
            await w.get(f"{one.url}/first")
            idle = w.network.open_server_sockets[0]
            give_up = sweep.other(idle.close if what == "close" else idle.reset)
            w.delay = 0.3

            async def later() -> None:
                await trio.sleep(0.15)
                give_up()

            nursery.start_soon(later)
            # It may be sent again: nothing of an answer has come.
            await sweep.victim(w.get, f"{one.url}/victim")
            nursery.cancel_scope.cancel()
            await w.works_at_full_size(one.url)

    sweep(scenario, with_other=True, name=f"pool, stale: {one}, {what}")


@basic_ways
def test_a_connection_that_is_returned_to_another_origin(made: Contexts, one: Way) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made, max_connections=1) as w:
            set_up(w, one)
            w.delay = 1.0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: w.get(f"{B}/before", proxy=DIRECT))
                await trio.sleep(0.5)
                await sweep.victim(w.get, f"{one.url}/victim")
            await w.works_at_full_size(one.url)

    sweep(scenario, name=f"pool, returned: {one}")


@basic_ways
def test_a_lease_of_two_exchanges(made: Contexts, one: Way) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made) as w:
            set_up(w, one)

            async def victim() -> None:
                async with w.pool.lease(f"{one.url}/") as connection:
                    for number in range(2):
                        response = await connection.request("GET", f"/{number}")
                        assert response.text == f"/{number}"

            await sweep.victim(victim)
            await w.works_at_full_size(one.url)

    sweep(scenario, name=f"pool, lease: {one}")


@basic_ways
def test_a_warm_up(made: Contexts, one: Way) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made) as w:
            set_up(w, one)
            await sweep.victim(w.pool.warm_up, f"{one.url}/", 2)
            await w.works_at_full_size(one.url)

    sweep(scenario, name=f"pool, warm-up: {one}")


# ── Another origin's need ──────────────────────────────────────────────────────────────────────


@all_ways
def test_a_dial_that_is_called_off_for_another_origin(made: Contexts, one: Way) -> None:
    """Its request has gone; at each of its steps in turn, another origin needs its slot."""

    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made, max_connections=1) as w:
            set_up(w, one)
            needed, served = trio.Event(), trio.Event()

            async def need() -> None:
                await needed.wait()
                with trio.fail_after(0.5):
                    await w.get(f"{B}/other", proxy=DIRECT)
                served.set()

            with trio.move_on_after(0.001):
                await w.get(f"{one.url}/given-up")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(need)
                need_it = sweep.other(needed.set)
                await wait_all_tasks_blocked()
                await sweep.victim(trio.sleep, 1.0)
                need_it()
            assert served.is_set()
            assert len(w.network.open_sockets) == w.pool.statistics().open == 1
            await w.works_at_full_size(one.url)

    swept(scenario, one, share=0.5, happens=("other",), name=f"pool, called off: {one}")


@pytest.mark.parametrize("one", [CONNECT, LOGIN, *WITH_TLS], ids=str)
def test_an_orphan_that_gives_way_to_the_victim(made: Contexts, one: Way) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made, max_connections=1) as w:
            set_up(w, one)
            w.pause = 100.0
            with trio.move_on_after(0.5):
                await w.get(f"{one.url.replace('a.', 'b.')}/given-up")
            w.pause = 0.037
            await sweep.victim(w.get, f"{one.url}/victim")
            await w.works_at_full_size(one.url)

    swept(scenario, one, name=f"pool, orphan: {one}")


# ── Time ───────────────────────────────────────────────────────────────────────────────────────


@all_ways
def test_a_dial_whose_time_is_over_at_any_step(made: Contexts, one: Way) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made) as w:
            set_up(w, one)

            async def victim() -> None:
                with suppress(ConnectTimeout):
                    await w.get(f"{one.url}/victim", timeouts=Timeouts(connect=3.0))

            await sweep.victim(victim)
            statistics = w.pool.statistics()
            assert len(w.network.open_sockets) == statistics.open == statistics.idle
            await w.works_at_full_size(one.url)

    swept(scenario, one, happens=(3.5,), name=f"pool, out of time: {one}")


# ── The pool is left ───────────────────────────────────────────────────────────────────────────


@all_ways
def test_a_pool_that_is_left_at_any_step_of_a_dial(made: Contexts, one: Way) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world_of(one, made, is_watched=False) as w:
            set_up(w, one)

            async def ask(pool: Any, url: str) -> None:
                with suppress(PoolClosed):
                    assert (await pool.get(url)).status_code == 200

            async def victim() -> None:
                context = made.pool if one.with_tls else None
                async with (
                    trio.open_nursery() as nursery,
                    pool_on(w.network, ssl_context=context, proxy=one.proxy(made)) as pool,
                ):
                    nursery.start_soon(ask, pool, f"{one.url}/1")
                    await ask(pool, f"{one.url}/2")

            await sweep.victim(victim)
            assert not w.network.open_sockets

    swept(scenario, one, name=f"pool, left: {one}")
