"""One cycle: a world of its own, made of a seed; the same again each time.

Trio tosses a coin for the order of tasks that can run at the same time. Here the coin is seeded,
and the order is shuffled, so that a seed reproduces a cycle step by step, and all orders come.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import random
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import trio
from inside import tasks_of
from trio.testing import MockClock

from triopool import ConnectionPool, Timeouts
from triopool.testing import Network

from .clients import Client, flat
from .proxies import Proxies, Ways
from .servers import Servers
from .world import Checking, World, tell_where_all_are

ENOUGH_SECONDS = 2000.0
"""More virtual time than any cycle takes."""

ENOUGH_STEPS = 50_000
"""More steps than any cycle takes. Virtual time does not pass while a task spins."""

QUIET_SECONDS = 20.0
"""After which nothing of a cycle is under way: no drain, no orphan, no server that is silent."""

Finding = tuple[str, str]


@dataclass(frozen=True)
class Report:
    """What came of a cycle.

    Attributes:
      findings: what must not happen, and did.
      told: what happened.
      counts: how often.
      fingerprint: the same for two cycles in which the same happened at the same times.
    """

    seed: str
    findings: list[Finding]
    told: list[str]
    counts: Counter[str]
    fingerprint: str


def run(seed: str) -> Report:
    """Run one cycle."""
    findings: list[Finding] = []
    worlds: list[World] = []
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    with _seeded(seed), _listening(findings), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            trio.run(_main, seed, worlds, clock=MockClock(autojump_threshold=0))
        except (Exception, BaseExceptionGroup, KeyboardInterrupt) as exc:
            findings.append(("the end", flat(exc)))
        finally:
            signal.signal(signal.SIGINT, handler)
        gc.collect()
    (world,) = worlds
    told = "\n".join(world.told)
    return Report(
        seed,
        world.findings + findings,
        world.told,
        world.counts,
        hashlib.sha256(told.encode()).hexdigest()[:16],
    )


async def _main(seed: str, worlds: list[World]) -> None:
    scope = trio.CancelScope(deadline=trio.current_time() + ENOUGH_SECONDS)
    with scope:
        async with Network(buffer_size=random.choice((2048, 20_000, 65536))) as network:
            world = World(seed, network)
            worlds.append(world)
            servers = Servers(world)
            for address in ("192.0.2.1", "192.0.2.2"):
                delay = world.random.choice((0.0, 0.01, 0.05, 0.3))
                network.listen(address, 80, servers, connect_delay=delay)
            # As far away as the last one; to choose would change all that is chosen later.
            Proxies(world, servers).listen(connect_delay=delay)
            network.host("both.test", "192.0.2.1", "192.0.2.2", lookup_delay=world.moment())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.deliver)
                world.post(ENOUGH_SECONDS - 1, lambda: tell_where_all_are(world))
                await _play(world, servers, Checking(world, scope, ENOUGH_STEPS))
                nursery.cancel_scope.cancel()
            if network.open_sockets:
                world.find("left", f"{len(network.open_sockets)} sockets outlived the pool")
    if scope.cancelled_caught:
        world.find("hangs", "the cycle did not end")


def _pool(world: World, ways: Ways) -> ConnectionPool:
    choose = world.random.choice
    return ConnectionPool(
        proxy=ways.of_pool,
        resolver=world.network.resolve,
        socket_factory=world.socket,
        max_connections=world.random.randint(1, 4),
        max_connections_per_origin=choose((None, None, 1, 2)),
        max_waiting=choose((None, None, None, 2)),
        max_idle=choose((None, None, 1)),
        idle_timeout=choose((15.0, 1.0, 0.15)),
        max_lifetime=choose((600.0, 600.0, 0.5)),
        max_requests_per_connection=choose((None, None, 2)),
        timeouts=Timeouts(
            pool=choose((0.1, 1.0, 30.0)),
            connect=choose((0.1, 10.0, 10.0, 10.0, 10.0)),
            write=choose((0.15, 1.0, 5.0)),
            read=choose((0.15, 0.15, 0.3, 1.0, 5.0)),
        ),
    )


async def _play(world: World, servers: Servers, checking: Checking) -> None:
    """Let clients do what they like, and end in one of three ways."""
    how = world.random.choice(("quiet",) * 8 + ("drain", "leave"))
    ways = Ways(world.seed)
    async with trio.open_nursery() as clients, _pool(world, ways) as pool:
        world.pool = pool
        keepers = tasks_of(pool)
        trio.lowlevel.add_instrument(checking)
        for number in range(world.random.randint(2, 6)):
            client = Client(world, servers, ways, f"client{number}")
            clients.start_soon(client.run, world.random.randint(3, 8), name=f"client{number}")
        if world.chance(0.2):
            await _be_interrupted(world, Client(world, servers, ways, "main"), checking)
        if how == "quiet":
            while len(clients.child_tasks):
                await trio.sleep(1.0)
            world.honest = True
            await trio.sleep(QUIET_SECONDS)
            if pool.is_open:
                _check_tasks(world, keepers)
                await _works_at_full_size(world, ways)
            return
        await trio.sleep(world.random.choice((0.05, 0.3, 1.0)))
        world.leaving = True
        world.tell(f"ends by: {how}")
        if how == "drain":
            await pool.drain()
            world.check()


async def _be_interrupted(world: World, client: Client, checking: Checking) -> None:
    """Do as the clients do, in the main task, which control-C reaches."""
    checking.press_at = checking.steps + world.random.randrange(400)
    world.pressing = True
    try:
        await client.run(3)
        world.pressing = False
        if world.pressed:  # It may still be due.
            await trio.lowlevel.checkpoint()
    except* KeyboardInterrupt:
        world.tell("was interrupted")
        world.counts["control-C"] += 1
    world.pressing = False


async def _works_at_full_size(world: World, ways: Ways) -> None:
    """Nothing was lost: as many requests as there are slots run at once, each gets its own."""
    pool = world.pool
    world.check()
    _check_uploads(world)
    slots = 3
    world.resize(slots)
    figures = pool.statistics()
    if figures.busy or figures.waiting or figures.dialling:
        world.find("left", f"when all was quiet: {figures}")
    if figures.open != len(world.network.open_sockets):
        world.find("left", f"{figures.open} open, {len(world.network.open_sockets)} sockets")
    started_at = trio.current_time()

    async def ask(number: int) -> None:
        token, host = f"full-{number}", f"192.0.2.{number % 2 + 1}"
        url = f"http://{host}/{token}"
        options, world.ways[token] = ways.take(host)
        timeouts = Timeouts(pool=30.0, connect=10.0, write=5.0, read=5.0)
        response = await pool.get(url, timeouts=timeouts, headers={"Digest": EMPTY}, **options)
        if response.headers["Token"] != token:
            world.find("stranger", f"{token} got the answer to {response.headers['Token']}")

    try:
        async with trio.open_nursery() as nursery:
            for number in range(slots):
                nursery.start_soon(ask, number)
    except* Exception as group:
        world.find("full size", flat(group))
    took = trio.current_time() - started_at
    # A second each, and 0.3 to connect; at one connection for each origin one after the other.
    # Those that one proxy forwards have one bound together.
    turns = 2 if ways.all_direct else slots
    if took > turns * (1.0 + 0.3) + 0.1:
        world.find("full size", f"{slots} requests took {took} s with as many slots")
    world.check()


def _check_tasks(world: World, keepers: list[str]) -> None:
    """The pool runs the tasks with which it began, and no dial or drain is left."""
    if (tasks := tasks_of(world.pool)) != keepers:
        world.find("left", f"when all was quiet: {', '.join(tasks)}")


def _check_uploads(world: World) -> None:
    """What was answered with a 2xx, and called a success, has arrived, if the server stayed."""
    for visit in world.whole:
        if visit.must_succeed and not visit.received.complete:
            size = len(visit.received.body)
            world.find("lost", f"{visit.token}: a 2xx, and {size} bytes of its body: {visit.plan}")


EMPTY = hashlib.sha256(b"").hexdigest()[:16]


@contextmanager
def _seeded(seed: str) -> Iterator[None]:
    core: Any = trio._core._run
    before = core._ALLOW_DETERMINISTIC_SCHEDULING, core._r.getstate(), random.getstate()
    core._ALLOW_DETERMINISTIC_SCHEDULING = True
    core._r.seed(seed)
    random.seed(seed)
    # What the collector finds, it finds at the end of a cycle and not in the middle of one. It
    # looks at the cycle's own objects only: all that a test run has would take longer than these.
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
        core._ALLOW_DETERMINISTIC_SCHEDULING = before[0]
        core._r.setstate(before[1])
        random.setstate(before[2])


@contextmanager
def _listening(findings: list[Finding]) -> Iterator[None]:
    """Take what is only logged, or can't be raised, for what it is."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            findings.append(("log", self.format(record)))

    def unraisable(hooked: Any) -> None:
        findings.append(("unraisable", f"{hooked.exc_value!r} in {hooked.object!r}"))

    handler = Handler(logging.ERROR)
    root, hook = logging.getLogger(), sys.unraisablehook
    root.addHandler(handler)
    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = hook
        root.removeHandler(handler)
