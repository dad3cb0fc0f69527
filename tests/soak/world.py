"""What servers and clients of a soak share: a network with bytes in flight, a clock, the findings.

The in-memory network has no latency, and its servers are tasks: while one task of the program
computes, they stand still. Real servers don't. So what a server of the soak sends is *posted*: it
is in flight until its time comes, and is delivered then, by a task, or by :meth:`World.compute` in
the middle of somebody's step, as a kernel does it. That is what a program meets that computes.

A *finding* is something that must not happen. They are collected, for the pool is to be told from
the servers: a cycle goes on after one.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import trio
from inside import check_slots
from trio.testing import MockClock

from triopool import ConnectionPool
from triopool.abc import AddressInfo
from triopool.testing import Network, NetworkSocket

MOMENTS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.3)
"""All that takes time takes one of these: so few that things often meet at one instant."""

Way: TypeAlias = tuple[int, ...]
"""How a request comes to a server: the ports of the proxies that it goes through, in turn."""

CHECKED_EVERY = 5
"""The books are looked at after each so many steps; a prime number, so that all kinds come."""

IDLE_AT_MOST = 1000
"""How often the clock may jump in vain."""


class World:
    """One cycle's.

    Attributes:
      random: decides what the clients do. The servers' plans depend on the request alone.
      leaving: whether the pool is being drained or left, so that PoolClosed is an answer.
      pressing: whether control-C may be pressed; :attr:`pressed` tells whether it was.
      whole: the visits whose answer, a 2xx, was taken for a success; they must have got their body.
      honest: whether the servers have had their fun, and only answer from now on.
      findings: what must not happen, as a word and a sentence.
      told: what happened, and when; for who has to find out why.
      watches: the client's side of each connection, by its local port.
      ways: how each request has to come, by its token.
    """

    def __init__(self, seed: str, network: Network) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.network = network
        self.pool: ConnectionPool
        self.honest = self.leaving = self.pressing = self.pressed = False
        self.whole: list[Any] = []
        self.findings: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.counts: Counter[str] = Counter()
        self.watches: dict[int, Watch] = {}
        self.ways: dict[str, Way] = {}
        self._in_flight: list[tuple[float, int, Callable[[], object]]] = []
        self._ties = itertools.count()
        self._may_stay = 0
        # How long the last computation took, and when it ended.
        self._computed = 0.0, -math.inf
        self._asleep = trio.CancelScope()
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        self._clock = clock

    def find(self, kind: str, what: str) -> None:
        """Something must not happen, and did."""
        self.findings.append((kind, what))
        self.tell(f"FOUND {kind}: {what}")

    def tell(self, what: str) -> None:
        self.told.append(f"{trio.current_time():8.3f}  {what}")

    def press(self) -> None:
        """Control-C, in whatever step this is."""
        self.tell("control-C")
        self.pressing, self.pressed = False, True
        signal.raise_signal(signal.SIGINT)

    # ── Time ───────────────────────────────────────────────────────────────────────────────────

    def moment(self) -> float:
        return self.random.choice(MOMENTS)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def post(self, at: float, deliver: Callable[[], object]) -> None:
        """Call *deliver*, which has to be synchronous, when it is time *at*."""
        heapq.heappush(self._in_flight, (at, next(self._ties), deliver))
        if at < self._asleep.deadline:
            self._asleep.deadline = at

    async def deliver(self) -> None:
        """The task that delivers."""
        while True:
            due = self._in_flight[0][0] if self._in_flight else math.inf
            with trio.CancelScope(deadline=due) as self._asleep:
                await trio.sleep_forever()
            self._deliver_until(trio.current_time())

    def _deliver_until(self, now: float) -> None:
        while self._in_flight and self._in_flight[0][0] <= now:
            heapq.heappop(self._in_flight)[2]()

    def compute(self, seconds: float) -> None:
        """Let time pass within this step: for the network, and for nobody else."""
        self.tell(f"computes for {seconds} s")
        end = trio.current_time() + seconds
        while self._in_flight and (at := self._in_flight[0][0]) <= end:
            self._clock.jump(max(0.0, at - trio.current_time()))
            self._deliver_until(at)
        self._clock.jump(max(0.0, end - trio.current_time()))
        self._computed = seconds, trio.current_time()

    def stood_still_for(self, seconds: float) -> bool:
        """Whether the program has computed for so long, and until now: then no server has read."""
        computed, until = self._computed
        return until == trio.current_time() and computed >= seconds - 1e-9

    def end_the_run(self) -> None:
        """Let Trio crash: nothing else ends tasks that wait in a shield."""

        def crash(deadline: float) -> float:
            raise RuntimeError("it hangs")

        self._clock.deadline_to_sleep_time = crash  # type: ignore[method-assign]

    # ── The network ────────────────────────────────────────────────────────────────────────────

    def socket(self, address: AddressInfo) -> NetworkSocket:
        """The pool's socket factory."""
        sock = self.network.socket(address)
        figures, there = self.pool.statistics(), len(self.network.open_sockets)
        # A race of two addresses has a socket for each, in one slot.
        if there > figures.open + figures.dialling:
            self.find("bound", f"{there} sockets in {figures.open} slots")
        if self.pressing and self.chance(0.2):
            self.press()
        Watch(self, sock)
        return sock

    def resize(self, slots: int) -> None:
        """Change how many connections there may be; what is busy may stay until it comes back."""
        self._may_stay = self.pool.statistics().open
        self.pool.max_connections = slots

    def _check_bound(self) -> None:
        there, bound = self.pool.statistics().open, self.pool.max_connections
        assert bound is not None
        if there <= bound:
            self._may_stay = 0
        elif there > self._may_stay:
            self.find("bound", f"{there} open with max_connections={bound}")

    def check(self) -> None:
        """What is true between any two steps."""
        self._check_bound()
        try:
            check_slots(self.pool)
            if not self.leaving:  # What is closed by leaving is in no figure.
                _check_sums(self.pool)
        except AssertionError as exc:
            self.find("books", str(exc) or repr(exc.__traceback__ and _where(exc)))


def _check_sums(pool: ConnectionPool) -> None:
    figures = pool.statistics()
    assert figures.open == figures.busy + figures.idle + figures.dialling, "open is not the sum"
    closed = figures.evicted + figures.expired + figures.stale + figures.discarded + figures.retired
    there = figures.busy + figures.idle
    assert figures.dialled == there + closed, (
        f"{figures.dialled} were dialled, {there} are there and {closed} were closed"
    )


def _where(exc: BaseException) -> str:
    traceback = exc.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    assert traceback is not None
    return f"{traceback.tb_frame.f_code.co_name}:{traceback.tb_lineno}"


class Watch:
    """Looks at what a client does with its socket.

    Attributes:
      acted_at: when it last sent or received something.
      unread_since: when something came that a task waited for, and has not read yet; else None.
      closed_at: when it was closed.
    """

    def __init__(self, world: World, sock: NetworkSocket) -> None:
        self.world = world
        self.acted_at = trio.current_time()
        self.unread_since: float | None = None
        self.closed_at: float | None = None
        self._socket = sock
        self._awaited = False
        for name in ("send_nowait", "recv_nowait"):
            setattr(sock, name, self._watched(getattr(sock, name)))
        self._wait_readable = sock.wait_readable
        sock.wait_readable = self.wait_readable  # type: ignore[method-assign]
        self._connect, self._send, self._recv, self._close = (
            sock.connect,
            sock.send,
            sock.recv,
            sock.close,
        )
        sock.connect, sock.send, sock.recv, sock.close = (  # type: ignore[method-assign]
            self.connect,
            self.send,
            self.recv,
            self.close,
        )

    def _watched(self, act: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def watched(argument: Any) -> Any:
            done = act(argument)
            self._acted()
            return done

        return watched

    def _acted(self) -> None:
        self.acted_at = trio.current_time()
        if self.unread_since is not None and not self._socket.is_readable():
            self.unread_since = None

    async def connect(self, address: Any) -> None:
        await self._connect(address)
        self.world.watches[self._socket.getsockname()[1]] = self

    async def wait_readable(self) -> None:
        self._awaited = True
        try:
            await self._wait_readable()
        finally:
            self._awaited = False

    async def send(self, data: Any, flags: int = 0, /) -> int:
        count = await self._send(data, flags)
        self._acted()
        return count

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        data = await self._recv(buflen, flags)
        if self._socket.fileno() != -1:
            self._acted()
        return data

    def close(self) -> None:
        if self.closed_at is None:
            self.closed_at = trio.current_time()
        self._close()

    def delivered(self) -> None:
        """Something has just arrived.

        It counts if a task sleeps until then. One that is awake and has not come to read would be
        cancelled by a scope too.
        """
        if self._awaited and self.unread_since is None:
            self.unread_since = trio.current_time()

    def had_its_answer(self, limit: float) -> bool:
        """Whether, when it was closed, something lay there that had come within *limit*."""
        return self.unread_since is not None and self.unread_since < self.acted_at + limit - 1e-9


class Checking(trio.abc.Instrument):
    """Looks at the books between steps, ends what spins, and presses control-C.

    Attributes:
      press_at: after how many steps, while it may be pressed.
    """

    def __init__(self, world: World, scope: trio.CancelScope, steps: int) -> None:
        self.steps = 0
        self.press_at = math.inf
        self._idle = 0
        self._world = world
        self._scope = scope
        self._enough = steps

    def before_io_wait(self, timeout: float) -> None:
        """See that somebody does something: what waits for ever in a shield is not cancelled."""
        self._idle += 1
        if self._idle == IDLE_AT_MOST:
            tell_where_all_are(self._world)
            self._world.find("hangs", "all wait for ever")
            self._world.end_the_run()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        self._idle = 0
        if self.steps == self._enough:
            tell_where_all_are(self._world)
            self._world.find("spins", f"more than {self._enough} steps")
            self._scope.cancel()
        if self._world.pressing and self.steps >= self.press_at:
            self._world.press()
        if self.steps % CHECKED_EVERY == 0 and self._world.pool.is_open:
            try:
                self._world.check()
            except Exception as exc:  # Trio would only log it.
                self._world.find("books", repr(exc))


def tell_where_all_are(world: World) -> None:
    """For a cycle that hangs: which lines its tasks wait in."""
    tasks = [trio.lowlevel.current_root_task()]
    for task in tasks:
        if task is None:
            continue
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        frames = [
            f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
            for frame, line in task.iter_await_frames()
        ]
        world.tell(f"{task.name}: {' > '.join(frames)}")
