"""The budget: where the CPU time of one request goes, phase by phase, beside a bare h11 loop.

    python -m benchmarks.phases

The problem
-----------
What a request costs is spread over many small functions and coroutines, in tasks that take turns.
A profiler that traces every call costs several times as much as what it measures, and most where
calls are small, so it shows the calls and not the work. One that samples needs very many samples
to tell phases apart that take a microsecond. Counters inside the package would cost something
when nobody looks.

Our way
-------
The package has nothing in it for this. The table below names its seams: functions where one phase
ends and another begins. While we measure, and only then, each of them is replaced by a wrapper.

*Exclusive of what is nested.* Running phases form a stack. Where a phase begins or ends, the time
since the last switch goes to the phase on top, so that each nanosecond belongs to one of them.
Below all of them lies "rest": Trio's scheduler and the program that asks.

*Exclusive of suspension.* A coroutine's wrapper drives it by hand, step by step. At each ``yield``
all phases of the task leave the stack, innermost first, and when Trio resumes the task they come
back. So one stack does for all tasks, and what other tasks do meanwhile is charged to them.

*The counters' own cost is taken off.* It has two halves: from the clock's reading into the phase,
which falls into the phase, and from there out, which falls into the phase around it. Both are
measured with phases that do nothing, for plain calls, for coroutines and for their resumptions.
But a loop over an empty phase has warm caches, and a real program has not: that is too little, by
a third or so. What counting really costs altogether is known, however, for the same requests run
without counters as well, by turns. So the empty phases say only how the cost is spread, and it is
scaled to what it must be. Hence the phases add up to what a request costs unprofiled; what they
would have added up to without the scaling is told too, as a measure of how far to trust them.

The clock is the thread's CPU time: it stands still while the machine does something else. It costs
half a microsecond a reading, but on a shared machine no other clock means anything.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import inspect
import socket
import statistics
import time
import types
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, NamedTuple, TypeAlias

import trio

import triopool

from .bare import BareH11
from .clients import Caller, Options

# ── The seams ──────────────────────────────────────────────────────────────────────────────────


class Seam(NamedTuple):
    """A function that is a phase, or a part of one.

    Attributes:
      phase: one of PHASES.
      where: module, colon, name. It is looked up where it is called: a function that another
        module imports by name is a seam of that module.
      times: how often one GET passes it, if its answer comes in one piece.
      or_more: whether it is passed more often if the answer comes in several.
    """

    phase: str
    where: str
    times: int = 1
    or_more: bool = False


PHASES = {
    "prepare": "the arguments checked, the head composed",
    "prepare (library)": "the head, as the parser's library wants it: h11, or llhttp",
    "acquire": "a connection from the pool",
    "frame": "what is to be written: our part",
    "frame (library)": "the library's part",
    "write": "to the socket, through Trio",
    "receive": "from the socket, through Trio",
    "parse": "what has arrived: our part, the bounds",
    "parse (library)": "the library's part",
    "response": "the objects of exchange and response, the body joined",
    "release": "back to the pool",
    "release (library)": "the library made ready for the next cycle",
    "deadlines": "the clock started and stopped",
    "chain": "what calls all these: the client's own coroutines",
    "rest": "Trio's scheduler, and the program that asks",
}

_H11 = (
    Seam("frame (library)", "h11:Connection.send_with_data_passthrough", 2),
    Seam("parse (library)", "h11:Connection.receive_data", or_more=True),
    Seam("parse (library)", "h11:Connection.next_event", 3, or_more=True),
    Seam("release (library)", "h11:Connection.start_next_cycle"),
)

_TRIOPOOL = (
    Seam("prepare", "triopool._request.preparations:Preparations.plain"),
    Seam("prepare", "triopool._requests:refuse_switch"),
    Seam("acquire", "triopool._slots.engine:Slots.acquire_nowait"),
    Seam("write", "triopool._protocol.connection:HTTP1Connection.start"),
    Seam("receive", "triopool._protocol.connection:HTTP1Connection.receive", or_more=True),
    Seam("parse", "triopool._protocol.connection:HTTP1Connection.next_head", or_more=True),
    Seam("parse", "triopool._protocol.connection:HTTP1Connection.take", 2, or_more=True),
    Seam("response", "triopool._exchange.exchange:Exchange.__init__"),
    Seam("response", "triopool._client.response:Response.__init__"),
    Seam("response", "triopool._client.delivery:Delivery.__init__"),
    Seam("response", "triopool._client.delivery:Delivery.read_all"),
    Seam("release", "triopool._protocol.connection:HTTP1Connection.finish"),
    Seam("release", "triopool._slots.lease:Lease.end"),
    Seam("deadlines", "triopool._deadlines:Deadline.begin", or_more=True),
    Seam("deadlines", "triopool._deadlines:Deadline.end", or_more=True),
    Seam("chain", "triopool._requests:Requests.request"),
)

TRIOPOOL = (
    *_TRIOPOOL,
    Seam("frame", "triopool._protocol.httptools_parser:HttptoolsParser.start"),
    Seam("parse (library)", "triopool._protocol.httptools_parser:_is_legal"),
)

TRIOPOOL_WITH_H11 = (
    *_TRIOPOOL,
    Seam("frame", "triopool._protocol.h11_parser:H11Parser.start"),
    *_H11,
)

BARE = (
    Seam("prepare (library)", "h11:Request.__init__"),
    Seam("write", "trio:SocketStream.send_all"),
    Seam("receive", "trio:SocketStream.receive_some", or_more=True),
    Seam("chain", "benchmarks.bare:_H11Caller.get"),
    *_H11,
)


class SeamError(Exception):
    """A seam is not what the table says. Adapt the table to the package."""


def _find(seam: Seam) -> tuple[Any, str, Callable[..., Any]]:
    """The object that a seam's function belongs to, its name there, and itself."""
    module, _, path = seam.where.partition(":")
    *owners, name = path.split(".")
    try:
        owner = importlib.import_module(module)
        for attribute in owners:
            owner = getattr(owner, attribute)
        function = vars(owner)[name]
    except (ImportError, AttributeError, KeyError) as exc:
        raise SeamError(
            f"there is no {seam.where}, where the phase {seam.phase!r} was to be measured"
        ) from exc
    if not inspect.isfunction(function):
        raise SeamError(f"{seam.where} is no function, but {function!r}")
    return owner, name, function


def _check(seams: Sequence[Seam], entered: Sequence[int], requests: int) -> None:
    for seam, times in zip(seams, entered, strict=True):
        due = seam.times * requests
        if times != due and not (seam.or_more and times > due):
            raise SeamError(
                f"{requests} requests went {times} times through {seam.where}, and not "
                f"{due} times: is it imported by name somewhere, or does it do something else now?"
            )


# ── The meter ──────────────────────────────────────────────────────────────────────────────────

Clock: TypeAlias = Callable[[], int]


class Cost(NamedTuple):
    """What it costs to count one entry, in nanoseconds.

    Attributes:
      outside: what of it falls into the phase around it.
      inside: what of it falls into the phase itself.
    """

    outside: int = 0
    inside: int = 0


class Costs(NamedTuple):
    """By the kind of entry: a call, the first step of a coroutine, each step that follows."""

    call: Cost = Cost()
    first_step: Cost = Cost()
    next_step: Cost = Cost()


class Meter:
    """Charges time to seams. Index -1 is the rest.

    Attributes:
      spent: nanoseconds, by seam; the cost of counting among them.
      counting: the part that is the cost of counting, going by what empty phases cost.
      entered: how often each was called.
    """

    def __init__(self, seams: int, costs: Costs, clock: Clock = time.thread_time_ns) -> None:
        self._seams = seams
        self._costs = costs
        self._clock = clock
        self._stack = [-1]
        self.restart()

    def restart(self) -> None:
        """Forget what was counted so far. All phases must have been left."""
        assert self._stack == [-1]
        self.spent = [0] * (self._seams + 1)
        self.entered = [0] * self._seams
        self.counting = [0] * (self._seams + 1)
        self._since = self._clock()

    def enter(self, seam: int, cost: Cost) -> None:
        now = self._clock()
        around = self._stack[-1]
        self.spent[around] += now - self._since
        self.counting[around] += cost.outside
        self._stack.append(seam)
        self._since = now

    def leave(self, cost: Cost) -> None:
        now = self._clock()
        left = self._stack.pop()
        self.spent[left] += now - self._since
        self.counting[left] += cost.inside
        self._since = now

    def stop(self) -> None:
        """Charge what came last. All phases must have been left."""
        assert self._stack == [-1]
        self.spent[-1] += self._clock() - self._since

    def wrap(self, seam: int, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):
            return self._wrap_coroutine(seam, function)
        cost = self._costs.call

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.entered[seam] += 1
            self.enter(seam, cost)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave(cost)

        return counted

    def _wrap_coroutine(
        self, seam: int, function: Callable[..., Coroutine[Any, Any, Any]]
    ) -> Callable[..., Any]:
        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            self.entered[seam] += 1
            return self._drive(seam, function(*args, **kwargs))

        return counted

    @types.coroutine
    def _drive(self, seam: int, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """What ``await coroutine`` does, but each of its steps is an entry."""
        cost, following = self._costs.first_step, self._costs.next_step
        step: Callable[[Any], Any] = coroutine.send
        value: Any = None
        while True:
            self.enter(seam, cost)
            try:
                wanted = step(value)
            except StopIteration as stop:
                return stop.value
            finally:
                self.leave(cost)
            cost = following
            try:
                value = yield wanted
                step = coroutine.send
            except BaseException as exc:
                value, step = exc, coroutine.throw


@contextlib.contextmanager
def _counted(seams: Sequence[Seam], meter: Meter) -> Iterator[None]:
    """Wrap the seams, and restore them, whatever happens."""
    with contextlib.ExitStack() as undo:
        for index, (owner, name, function) in enumerate(map(_find, seams)):
            setattr(owner, name, meter.wrap(index, function))
            undo.callback(setattr, owner, name, function)
        yield


# ── What counting costs ────────────────────────────────────────────────────────────────────────


def _nothing(_: object) -> None:
    pass


async def _nothing_async(_: object) -> None:
    pass


@types.coroutine
def _suspend() -> Generator[None, None, None]:
    yield


async def _suspended(times: int) -> None:
    for _ in range(times):
        await _suspend()


def _call(function: Callable[[int], Any], n: int) -> None:
    for _ in range(n):
        function(n)


def _await(function: Callable[[int], Any], n: int) -> None:
    async def loop() -> None:
        for _ in range(n):
            await function(n)

    _resume_all(loop())


def _resume(function: Callable[[int], Any], n: int) -> None:
    async def once() -> None:
        await function(n)

    _resume_all(once())


def _resume_all(coroutine: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(StopIteration):
        while True:
            coroutine.send(None)


def calibrate(n: int = 2000, repeats: int = 7) -> Costs:
    """Measure the counters with phases that do nothing."""

    def cost(loop: Callable[[Callable[[int], Any], int], None], empty: Callable[..., Any]) -> Cost:
        found = []
        for _ in range(repeats):
            started = time.thread_time_ns()
            loop(empty, n)
            plain = time.thread_time_ns() - started
            meter = Meter(1, Costs())
            loop(meter.wrap(0, empty), n)
            meter.stop()
            inside, outside = meter.spent
            found.append(((outside - plain) // n, inside // n))
        return Cost(*(round(statistics.median(column)) for column in zip(*found, strict=True)))

    return Costs(
        call=cost(_call, _nothing),
        first_step=cost(_await, _nothing_async),
        next_step=cost(_resume, _suspended),
    )


# ── The clients ────────────────────────────────────────────────────────────────────────────────

Get: TypeAlias = Callable[[], Awaitable[bytes]]
Open: TypeAlias = Callable[[str, int], AbstractAsyncContextManager[list[Get]]]
"""Given a URL and how many requests there will be at once; makes a function for each of them."""


@contextlib.asynccontextmanager
async def _open_bare(url: str, at_once: int) -> AsyncIterator[list[Get]]:
    origin = url.removesuffix(_path(url))
    async with BareH11(Options(at_once, "")) as bare:
        callers = [await bare.caller(origin) for _ in range(at_once)]
        # Not partial(caller.get, url), for get() is a seam: it has to be looked up each time.
        yield [functools.partial(_get, caller, url) for caller in callers]


async def _get(caller: Caller, url: str) -> bytes:
    return await caller.get(url)


def _path(url: str) -> str:
    return "/" + url.split("/", 3)[3]


def _open_triopool_with(http_parser: Literal["h11", "httptools"]) -> Open:
    return lambda url, at_once: _open_triopool(url, at_once, http_parser)


@contextlib.asynccontextmanager
async def _open_triopool(
    url: str, at_once: int, http_parser: Literal["h11", "httptools"] = "httptools"
) -> AsyncIterator[list[Get]]:
    async with triopool.ConnectionPool(max_connections=at_once, http_parser=http_parser) as pool:

        async def get() -> bytes:
            return (await pool.request("GET", url)).content

        yield [get] * at_once


CLIENTS: dict[str, tuple[Open, tuple[Seam, ...]]] = {
    "triopool": (_open_triopool, TRIOPOOL),
    "triopool with h11": (_open_triopool_with("h11"), TRIOPOOL_WITH_H11),
    "bare h11": (_open_bare, BARE),
}


# ── The measurement ────────────────────────────────────────────────────────────────────────────


async def _batch(gets: Sequence[Get], requests: int, body: bytes) -> None:
    async def worker(get: Get) -> None:
        for _ in range(requests // len(gets)):
            assert await get() == body

    async with trio.open_nursery() as nursery:
        for get in gets:
            nursery.start_soon(worker, get)


class _Profile:
    """One client, and what its turns have shown, in µs per request."""

    def __init__(self, seams: tuple[Seam, ...], gets: Sequence[Get], costs: Costs) -> None:
        self._seams, self._gets, self._costs = seams, gets, costs
        of = {seam.phase for seam in seams} | {"rest"}
        self._phases = [phase for phase in PHASES if phase in of]
        self._plain: list[float] = []
        self._spent: list[dict[str, float]] = []
        self._counting: list[dict[str, float]] = []
        self._entries: list[dict[str, float]] = []

    async def turn(self, requests: int, body: bytes) -> None:
        """The same requests, once without and once with counters."""
        # What was wrapped or restored a moment ago is not yet where the interpreter expects it.
        few = len(self._gets) * 3
        await _batch(self._gets, few, body)
        started = time.thread_time_ns()
        await _batch(self._gets, requests, body)
        self._plain.append((time.thread_time_ns() - started) / requests / 1000)
        meter = Meter(len(self._seams), self._costs)
        with _counted(self._seams, meter):
            await _batch(self._gets, few, body)
            meter.restart()
            await _batch(self._gets, requests, body)
            meter.stop()
        _check(self._seams, meter.entered, requests)
        self._spent.append(self._by_phase(meter.spent, requests * 1000))
        self._counting.append(self._by_phase(meter.counting, requests * 1000))
        self._entries.append(self._by_phase(meter.entered, requests))

    def _by_phase(self, by_seam: Sequence[int], divisor: int) -> dict[str, float]:
        phases = [*(seam.phase for seam in self._seams), "rest"]
        sums = dict.fromkeys(self._phases, 0.0)
        for phase, count in zip(phases, by_seam, strict=False):
            sums[phase] += count / divisor
        return sums

    def told(self) -> dict[str, Any]:
        plain = statistics.median(self._plain)
        spent, counting, entries = map(_medians, (self._spent, self._counting, self._entries))
        profiled, calibrated = sum(spent.values()), sum(counting.values())
        scale = (profiled - plain) / calibrated
        us = {phase: spent[phase] - scale * counting[phase] for phase in self._phases}
        return {
            "unprofiled_us": plain,
            "profiled_us": profiled,
            "counting_us": profiled - plain,
            "counting_calibrated_us": calibrated,
            "accounted": (profiled - calibrated) / plain,
            "phases": [
                {"phase": p, "us": us[p], "share": us[p] / plain, "entries": entries[p]}
                for p in self._phases
            ],
        }


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {phase: statistics.median(turn[phase] for turn in turns) for phase in turns[0]}


def system_calls_us(url: str, *, requests: int = 1000, pause: float = 200e-6) -> dict[str, float]:
    """CPU time of one send() and of one recv(), with nothing around them.

    Between them is a pause, for a server that has gone to sleep has to be woken, and that costs
    more than sending does. It is waited for with open eyes, so that the processor
    does not go to sleep as well.
    """
    address = url.split("/")[2]
    host, _, port = address.partition(":")
    request = f"GET {_path(url)} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
    clock = time.thread_time_ns
    sending, receiving = [], []
    with socket.create_connection((host, int(port)), timeout=10) as one:
        one.sendall(request)
        size = _read_response(one)
        one.settimeout(None)  # With one, Python would ask poll() before each read.
        for _ in range(requests):
            before = clock()
            one.send(request)
            sending.append(clock() - before)
            until = time.perf_counter() + pause
            while time.perf_counter() < until:
                pass
            before = clock()
            missing = size - len(one.recv(65536))
            receiving.append(clock() - before)
            while missing:
                missing -= len(one.recv(65536))
    reading = statistics.median(-(clock() - clock()) for _ in range(requests))
    return {
        "send": (statistics.median(sending) - reading) / 1000,
        "recv": (statistics.median(receiving) - reading) / 1000,
    }


def _read_response(connection: socket.socket) -> int:
    """Read one; tell how many bytes it had."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += connection.recv(65536)
    head, _, body = raw.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    missing = int(fields[b"content-length"]) - len(body)
    while missing:
        missing -= len(connection.recv(missing))
    return len(head) + 4 + int(fields[b"content-length"])


async def _measure(url: str, requests: int, turns: int, at_once: int) -> dict[str, Any]:
    costs = calibrate()
    profiles = {}
    body = b""
    async with contextlib.AsyncExitStack() as stack:
        for name, (opened, seams) in CLIENTS.items():
            gets = await stack.enter_async_context(opened(url, at_once))
            profiles[name] = _Profile(seams, gets, costs)
            body = await gets[0]()
            await _batch(gets, at_once * 10, body)
        for _ in range(turns):
            for profile in profiles.values():
                await profile.turn(requests, body)
    return {
        "requests": requests,
        "turns": turns,
        "at_once": at_once,
        "counting_ns": costs._asdict(),
        "clients": {name: profile.told() for name, profile in profiles.items()},
    }


def measure(
    url: str, *, requests: int = 2000, turns: int = 10, at_once: int = 20
) -> dict[str, Any]:
    """Profile a GET of *url*, by all clients, by turns.

    Args:
      requests: how many in a turn, unprofiled and profiled each.
      at_once: how many at a time, and how many connections.

    Returns:
      what ``show()`` prints, fit for JSON.

    Raises:
      SeamError: a seam is not what the table says.
    """
    requests -= requests % at_once
    found = trio.run(_measure, url, requests, turns, at_once)
    found["system_calls_us"] = system_calls_us(url)
    found["meaning"] = dict(PHASES)
    return found


def show(found: dict[str, Any]) -> str:
    """The table."""
    clients: dict[str, dict[str, Any]] = found["clients"]

    def line(title: str, cells: Iterable[str]) -> str:
        return f"{title:28}" + "".join(f"│ {cell:27} " for cell in cells).rstrip()

    def row(phase: str) -> Iterator[str]:
        for client in clients.values():
            yield "".join(
                f"{one['us']:10.1f} {one['share']:7.1%} {one['entries']:8.2f}"
                for one in client["phases"]
                if one["phase"] == phase
            )

    def total(key: str, form: str = "10.1f") -> Iterator[str]:
        return (f"{client[key]:{form}}" for client in clients.values())

    ns = "; ".join(
        f"{kind.replace('_', ' ')} {cost[0]} and {cost[1]}"
        for kind, cost in found["counting_ns"].items()
    )
    calls = found["system_calls_us"]
    return "\n".join(
        [
            line("CPU time of one request", (f"{name}, µs   share  entries" for name in clients)),
            *(line(phase, row(phase)) for phase in PHASES),
            line("all: as measured unprofiled", total("unprofiled_us")),
            line("counting cost besides", total("counting_us")),
            line("  by the empty phases", total("counting_calibrated_us")),
            line("  with that, all would be", total("accounted", "10.0%")),
            "",
            f"{found['turns']} turns of {found['requests']}, {found['at_once']} at a time.",
            f"System calls alone: send {calls['send']:.1f} µs, recv {calls['recv']:.1f} µs.",
            f"An empty phase costs, in ns, before it and in it: {ns}.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the CPU time of one request goes.")
    parser.add_argument("-n", type=int, default=2000, help="requests in a turn")
    parser.add_argument("-c", type=int, default=20, help="how many at a time")
    parser.add_argument("--turns", type=int, default=10)
    options = parser.parse_args()
    from .server import serve

    with serve(sizes=()) as server:
        url = f"{server.http}/2000"
        found = measure(url, requests=options.n, turns=options.turns, at_once=options.c)
        print(f"{server.name}, 2,000 bytes")
    print(show(found))
    for phase, meaning in PHASES.items():
        print(f"  {phase:14} {meaning}")


if __name__ == "__main__":
    main()
