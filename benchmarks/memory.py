"""What a client keeps in memory, and whether it keeps more and more.

    python -m benchmarks.memory [--requests 1000000]

Three questions, and why each is asked in its own way:

*How large is one?* An idle connection, a request that waits for a connection, a request in flight.
What a client needs once, whatever it does, shall not count: so we look at N of them and at 2 N,
and take the difference. What Python's heap holds is asked of ``tracemalloc``, which needs memory
itself; so the resident set is asked in another process. (The system knows of pages only, and what
was freed since is still in them: take it for a bound.) A request is a task besides, which costs
something before it asks for anything: what a task costs that waits for an event is told beside it.
What the kernel has for a socket is in none of these figures.

*What does one GET allocate?* How much the heap grows while it is under way; what is left of 10,000
of them, which should be nothing; and how much of what they dropped had to wait for the collector
of cycles, which a program without cycles does not need.

*Does anything grow?* A million requests, and not the easiest: some have a URL that nobody asked for
before, so that a cache would show; some are cancelled, at different points; some fail, at different
points, names of new hosts among them. They run in slices. After each the pool comes to rest with
all its connections open, the garbage is collected, and heap, resident set and open files are
looked at. Caches are filled beforehand as far as they go, but there is always something that takes
a while to find its size, so the first half of the slices says nothing. In the second half we look
at the median of the slopes between any two slices, which a single odd one does not move. What it
comes to over all of that half has to stay within a tolerance, which is one object for each 500
requests of a million: room for what is cleared away by the hundred, and less than any of the odd
requests leaves. And it says nothing unless it stands out of what the slices differ by anyway, which
is told as noise: with much of it, nothing is seen, and that is not the same as nothing being there.

Everything runs in a fresh process. So does the server: for sizes it is one that lets requests wait
until it is told to answer (``--gate``), for the others the one of all benchmarks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import trio

import triopool

from .clients import CLIENTS, Caller, Options
from .descriptors import raise_limit
from .runtimes import RUNTIMES, Job

HEAP_TOLERANCE = 1000
"""How many blocks the heap may seem to grow by, over the second half of the slices."""

RSS_TOLERANCE = 2 * 1024 * 1024
"""The same for the resident set, in bytes: a few arenas of Python's, which are 256 KiB or 1 MiB."""

DESCRIPTOR_TOLERANCE = 2
"""The same for open files."""

NOISY = 3
"""How many times the noise a trend has to be. Of ten slices that only differ at random, the trend
over all of them has about the noise itself as its standard deviation."""

PATIENCE = 6000
"""How many hundredths of a second to wait for requests that don't come."""


# ── What there is to look at ───────────────────────────────────────────────────────────────────


def resident_bytes() -> int | None:
    """The resident set of this process; None where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    if sys.platform == "win32":
        return None
    import resource

    # The largest that it ever was. In bytes on macOS, else in KiB.
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def open_files() -> int | None:
    """How many descriptors are open; None where the system does not tell."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return None


def look() -> dict[str, int | None]:
    """At this process, once the garbage has been collected."""
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else None
    return {
        "heap_bytes": traced,
        "blocks": sys.getallocatedblocks(),
        "rss_bytes": resident_bytes(),
        "descriptors": open_files(),
    }


async def _forget_deadlines() -> None:
    """Let Trio drop the deadlines that are over: it does so when there are a thousand of them."""
    for _ in range(1500):
        with trio.CancelScope(deadline=trio.current_time() + 3600):  # noqa: ASYNC100 - as it says
            pass
    await trio.lowlevel.checkpoint()


# ── A server that waits ────────────────────────────────────────────────────────────────────────

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000
)


class _AtGate(asyncio.Protocol):
    """Holds what is asked for /held; answers anything else, and some of it does something."""

    held: list[asyncio.Transport]
    is_open: bool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for head in heads:
            self._asked(head.split()[1])

    def _asked(self, path: bytes) -> None:
        gate = type(self)
        if path == b"/held" and not gate.is_open:
            gate.held.append(self._transport)
        elif path == b"/count":
            body = str(len(gate.held)).encode()
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
        else:
            if path in (b"/close", b"/open"):
                gate.is_open = path == b"/open"
            if path in (b"/let-go", b"/open"):
                for transport in gate.held:
                    transport.write(ANSWER)
                gate.held.clear()
            self._transport.write(ANSWER)


async def _serve_gate() -> None:
    _AtGate.held, _AtGate.is_open = [], False
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_AtGate, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Gate:
    """Speaks to the server that waits. Blocks while it does, which is not for long."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.url = f"{origin}/held"
        host, port = origin.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._ask("/close")

    def held(self) -> int:
        """How many requests wait for their answer."""
        return int(self._ask("/count"))

    def let_go(self) -> None:
        """Answer all of them."""
        self._ask("/let-go")

    def open(self) -> None:
        """Answer all of them, and those that come later at once."""
        self._ask("/open")

    def _ask(self, path: str) -> bytes:
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n".encode())
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += self._socket.recv(65536)
        head, _, body = raw.partition(b"\r\n\r\n")
        missing = int(head.lower().split(b"content-length:")[1].split()[0]) - len(body)
        while missing > 0:
            piece = self._socket.recv(missing)
            body, missing = body + piece, missing - len(piece)
        return body

    def close(self) -> None:
        self._socket.close()


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.memory", *arguments]


# Where to find this package, whatever the program was started as.
_ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def run_gate() -> Iterator[str]:
    """Run it in a process of its own; its URL."""
    process = subprocess.Popen(_command("--gate"), cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


# ── How large is one? ──────────────────────────────────────────────────────────────────────────

IDLE, WAITING, IN_FLIGHT, TASK = "idle connection", "waiting request", "request in flight", "task"


class _Crowd:
    """Makes N of something, and N more.

    Nothing but what is counted may differ between the two looks, so there is one task that looks,
    both times, and the others start and end around it.
    """

    def __init__(self, client: str, what: str, n: int, gate: Gate) -> None:
        kind = CLIENTS[client]
        self._what, self._n, self._gate = what, n, gate
        self._runtime = RUNTIMES[kind.runtime]()
        self._sleep: Callable[[float], Awaitable[None]] = (
            trio.sleep if kind.runtime == "trio" else asyncio.sleep
        )
        self._client = kind.open(Options(1 if what == WAITING else 2 * n, ""))
        self._looks: list[dict[str, int | None]] = []
        self._job: Job

    def run(self) -> list[dict[str, int | None]]:
        return self._runtime.run(self._main)

    async def _main(self) -> list[dict[str, int | None]]:
        async with self._client as client:
            caller = await client.caller(self._gate.origin)
            # What is imported late, and what is made once.
            await caller.get(f"{self._gate.origin}/")
            if self._what == TASK:
                over = self._runtime.event()
                self._job = lambda: _wait(over.wait)
                await self._one_by_one(over.set)
            else:
                self._job = lambda: _ask(caller, self._gate.url)
                if self._what == IDLE:
                    await self._all_again()
                elif self._what == IN_FLIGHT:
                    await self._one_by_one(self._gate.open)
                else:
                    await self._runtime.start([self._job, self._behind_the_first])
        return self._looks

    async def _behind_the_first(self) -> None:
        await self._until_held(1)
        await self._one_by_one(self._gate.open)

    async def _all_again(self) -> None:
        """Open N connections, then 2 N of them; look while they are idle."""
        for n in (self._n, 2 * self._n):

            async def let_go(n: int = n) -> None:
                await self._until_held(n)
                self._gate.let_go()

            await self._runtime.start([let_go, *[self._job] * n])
            await self._settle()
            self._looks.append(look())

    async def _one_by_one(self, end: Callable[[], None]) -> None:
        """Start N tasks, then N more; look while they wait."""

        async def second() -> None:
            await self._are_there(2)
            self._looks.append(look())
            end()

        async def first() -> None:
            await self._are_there(1)
            self._looks.append(look())
            await self._runtime.start([second, *[self._job] * self._n])

        await self._runtime.start([first, *[self._job] * self._n])

    async def _are_there(self, times: int) -> None:
        if self._what == IN_FLIGHT:
            await self._until_held(times * self._n)
        await self._settle()

    async def _until_held(self, n: int) -> None:
        for _ in range(PATIENCE):
            if self._gate.held() == n:
                return
            await self._sleep(0.01)
        raise RuntimeError(f"{self._gate.held()} requests have come, and not {n}")

    async def _settle(self) -> None:
        """Let all tasks take their steps. Those that wait here don't tell that they do."""
        for _ in range(20):
            await self._sleep(0.01)


async def _wait(wait: Callable[[], Awaitable[object]]) -> None:
    await wait()


async def _ask(caller: Caller, url: str) -> None:
    await caller.get(url)


def size(client: str, what: str, n: int, origin: str, trace: bool) -> dict[str, float | None]:
    """What one more of them needs, in this process."""
    gate = Gate(origin)
    if trace:
        tracemalloc.start()
    before, after = _Crowd(client, what, n, gate).run()
    gate.close()
    each = {}
    for key in ("heap_bytes", "blocks", "rss_bytes"):
        least, most = before[key], after[key]
        each[key] = None if least is None or most is None else (most - least) / n
    return each


# ── What does one GET allocate? ────────────────────────────────────────────────────────────────


async def _peak_bytes(get: Callable[[], Awaitable[object]]) -> float:
    """How far the heap grows while one request is under way."""
    tracemalloc.start()
    peaks = []
    for _ in range(30):
        gc.collect()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        await get()
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    return statistics.median(peaks)


async def _peak_blocks(get: Callable[[], Awaitable[object]]) -> float:
    """The same, in blocks: looked at whenever a function is called or returns."""
    peaks = []
    for _ in range(10):
        gc.collect()
        most = before = sys.getallocatedblocks()

        def see(*_: object) -> None:
            nonlocal most
            most = max(most, sys.getallocatedblocks())

        sys.setprofile(see)
        try:
            await get()
        finally:
            sys.setprofile(None)
        peaks.append(most - before)
    return statistics.median(peaks)


async def _left_over(
    get: Callable[[], Awaitable[object]], requests: int, forget: Callable[[], Awaitable[None]]
) -> dict[str, float]:
    """What is left of many: for the collector of cycles, and after it."""
    await forget()
    gc.collect()
    gc.disable()
    before = sys.getallocatedblocks()
    for _ in range(requests):
        await get()
    with_garbage = sys.getallocatedblocks()
    cyclic = gc.collect()
    await forget()
    gc.collect()  # Empties the lists of free objects as well.
    after = sys.getallocatedblocks()
    gc.enable()
    return {
        "cyclic_objects": cyclic / requests,
        "blocks_before_collection": (with_garbage - before) / requests,
        "blocks_left": (after - before) / requests,
    }


async def _nothing() -> None:
    pass


def allocations(client: str, url: str, requests: int) -> dict[str, float]:
    """What one GET allocates, one after the other on one connection, in this process."""
    kind = CLIENTS[client]
    forget = _forget_deadlines if kind.runtime == "trio" else _nothing

    async def main() -> dict[str, float]:
        async with kind.open(Options(1, "")) as opened:
            caller = await opened.caller(url.rpartition("/")[0])

            async def get() -> None:
                await caller.get(url)

            for _ in range(200):
                await get()
            left = await _left_over(get, requests, forget)
            return {
                "peak_bytes": await _peak_bytes(get),
                "peak_blocks": await _peak_blocks(get),
                **left,
            }

    return RUNTIMES[kind.runtime]().run(main)


# ── Does anything grow? ────────────────────────────────────────────────────────────────────────

CONNECTIONS = 20
WORKERS = 24
"""A few more than connections, so that some requests wait."""

FILL = 1200
"""URLs and names of hosts asked for beforehand: more than any cache of the package has room for."""


class Load:
    """The requests, and what comes of them: 1 in 50 is cancelled, 1 in 50 fails, 1 in 10 is new."""

    def __init__(self, pool: triopool.ConnectionPool, url: str, refused_port: int) -> None:
        self._pool = pool
        self._url = url
        self._refused_port = refused_port
        self._count = itertools.count()
        self.answered = self.cancelled = self.failed = 0

    async def run(self, requests: int) -> None:
        """So many of them, by all the workers."""
        left = iter(range(requests))

        async def worker() -> None:
            for _ in left:
                await self._one(next(self._count))

        async with trio.open_nursery() as nursery:
            for _ in range(WORKERS):
                nursery.start_soon(worker)

    async def fill(self, times: int) -> None:
        """As many URLs and names as caches may have room for."""
        for i in range(times):
            await self._get(f"{self._url}?fill={i}")
            await self._fails(self._get, f"http://fill{i}.test:{self._refused_port}/")

    async def _one(self, i: int) -> None:
        turn = i // 50
        if i % 50 == 0:
            await self._cancel(turn, f"{self._url}?cancelled={i}")
        elif i % 50 == 25:
            await self._fail(turn, i)
        elif i % 10 == 3:
            await self._get(f"{self._url}?i={i}")
        else:
            await self._get(self._url)

    async def _get(self, url: str, **options: Any) -> None:
        response = await self._pool.request("GET", url, **options)
        if len(response.content) != 2000 or response.status_code != 200:
            raise RuntimeError(f"a wrong answer: {response}")
        self.answered += 1

    async def _cancel(self, turn: int, url: str) -> None:
        """Before it begins; a while after; or just about when the answer comes, or does not."""
        with trio.CancelScope(deadline=trio.current_time() + (0.0, 1e-4, 3e-3)[turn % 3]) as scope:
            await self._get(url)
        self.cancelled += scope.cancelled_caught

    async def _fail(self, turn: int, i: int) -> None:
        match turn % 4:
            case 0:
                await self._fails(self._get, f"http://[{i}")
            case 1:
                await self._fails(self._get, f"http://refused{i}.test:{self._refused_port}/")
            case 2:
                await self._fails(self._get, f"http://{i}.unknown/")
            case _:
                await self._fails(self._get, self._url, max_body_bytes=10)

    async def _fails(self, get: Callable[..., Awaitable[None]], url: str, **options: Any) -> None:
        try:
            await get(url, **options)
        except triopool.TriopoolError:
            self.failed += 1
        else:
            raise RuntimeError(f"{url} should have failed")


async def _resolve(host: str, port: int) -> list[triopool.AddressInfo]:
    """A name service that knows all names but some."""
    await trio.lowlevel.checkpoint()
    if host.endswith(".unknown"):
        raise OSError("no such name")
    return [
        triopool.AddressInfo(
            socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)
        )
    ]


async def _rest(pool: triopool.ConnectionPool, url: str) -> None:
    """Wait until the pool is as it was: all its connections open and idle, and nothing else."""
    with trio.fail_after(60):
        while True:
            now = pool.statistics()
            if now.idle == now.open == CONNECTIONS and len(now.origins) == 1:
                return
            if not now.busy and not now.dialling:
                await pool.warm_up(url, CONNECTIONS)
            await trio.sleep(0.01)


async def run_load(url: str, requests: int, slices: int, fill: int = FILL) -> dict[str, Any]:
    """Run *requests* of all kinds against *url*, in slices, and look after each of them."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen: a connection is refused
        async with triopool.ConnectionPool(
            max_connections=CONNECTIONS, resolver=_resolve, idle_timeout=None, max_lifetime=None
        ) as pool:
            load = Load(pool, url, nobody.getsockname()[1])
            await load.fill(fill)
            looks = []
            for _ in range(slices):
                await load.run(requests // slices)
                await _rest(pool, url)
                await _forget_deadlines()
                looks.append(look())
    return {
        "requests": requests // slices * slices,
        "answered": load.answered,
        "cancelled": load.cancelled,
        "failed": load.failed,
        "slices": looks,
        "growth": {
            key: growth([one[key] for one in looks], requests // slices, tolerance)
            for key, tolerance in (
                ("blocks", HEAP_TOLERANCE),
                ("rss_bytes", RSS_TOLERANCE),
                ("descriptors", DESCRIPTOR_TOLERANCE),
            )
        },
    }


def growth(
    series: Sequence[float | None], requests: int, tolerance: float
) -> dict[str, float | bool] | None:
    """Whether the second half of a series grows; see the top of this file.

    Args:
      series: what was seen after each slice.
      requests: how many there are in a slice.
      tolerance: by how much it may seem to grow, over the whole of the second half.
    """
    late = [value for value in series[len(series) // 2 :] if value is not None]
    if len(late) < 2:
        return None
    pairs = itertools.combinations(enumerate(late), 2)
    slope = statistics.median((b - a) / (j - i) for (i, a), (j, b) in pairs)
    by = slope * (len(late) - 1)
    level = [value - slope * i for i, value in enumerate(late)]
    middle = statistics.median(level)
    # 1.48 times it is the standard deviation, were the noise a normal one.
    noise = 1.48 * statistics.median(abs(value - middle) for value in level)
    return {
        "per_1000_requests": slope / requests * 1000,
        "by": by,
        "tolerance": tolerance,
        "noise": noise,
        "grows": by > max(tolerance, NOISY * noise),
    }


# ── All of it ──────────────────────────────────────────────────────────────────────────────────

COMPARED = ("triopool", "aiohttp", "httpx2")
Found: TypeAlias = dict[str, Any]


def _work(work: str, options: dict[str, Any]) -> Found:
    """What a process of its own does."""
    raise_limit()
    match work:
        case "size":
            return size(**options)
        case "allocations":
            return allocations(**options)
        case _:
            return trio.run(lambda: run_load(**options))


def _in_a_process(work: str, **options: Any) -> Found:
    command = _command("--work", work, json.dumps(options))
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: Found = json.loads(done.stdout)
    return found


def measure_sizes(n: int, clients: Sequence[str] = COMPARED) -> list[Found]:
    """How large one is, of each kind, with each client."""
    rows = []
    for client, what in itertools.product(clients, (TASK, IDLE, WAITING, IN_FLIGHT)):
        found: Found = {"client": client, "what": what}
        for trace in (True, False):
            with run_gate() as origin:
                one = _in_a_process(
                    "size", client=client, what=what, n=n, origin=origin, trace=trace
                )
            wanted = ("heap_bytes",) if trace else ("blocks", "rss_bytes")
            found |= {key: one[key] for key in wanted}
        rows.append(found)
    return rows


def measure_allocations(url: str, requests: int, clients: Sequence[str] = COMPARED) -> list[Found]:
    """What one GET allocates, with each client."""
    return [
        {"client": client} | _in_a_process("allocations", client=client, url=url, requests=requests)
        for client in clients
    ]


def measure_growth(url: str, requests: int, slices: int = 20) -> Found:
    """Whether triopool grows."""
    return _in_a_process("growth", url=url, requests=requests, slices=slices)


def measure(
    url: str, *, requests: int = 1_000_000, n: int = 200, slices: int = 20
) -> dict[str, Any]:
    """All three: fit for JSON, and for ``show()``.

    Args:
      url: what to GET, of 2,000 bytes; that the server does not mind a query.
      requests: how many, to see whether anything grows.
      n: how many connections, and requests, to see how large one is.
    """
    clients = [client for client in COMPARED if CLIENTS[client].is_installed()]
    return {
        "n": n,
        "sizes": measure_sizes(n, clients),
        "allocations": measure_allocations(url, 10_000, clients),
        "growth": measure_growth(url, requests, slices),
    }


def show(found: dict[str, Any]) -> str:
    """The tables."""
    return "\n\n".join(
        (_show_sizes(found), _show_allocations(found["allocations"]), _show_growth(found["growth"]))
    )


def _number(value: float | None, width: int, digits: int = 0) -> str:
    return f"{'-' if value is None else f'{value:,.{digits}f}':>{width}}"


def _show_sizes(found: Found) -> str:
    title = f"One more, of {found['n']:,}"
    lines = [f"{title:32} heap, bytes    blocks  resident, bytes"]
    for row in found["sizes"]:
        title = f"{row['client']}: {row['what']}"
        lines.append(
            f"{title:32}{_number(row['heap_bytes'], 12)}{_number(row['blocks'], 10, 1)}"
            f"{_number(row['rss_bytes'], 17)}"
        )
    return "\n".join(lines)


def _show_allocations(rows: list[Found]) -> str:
    lines = [f"{'One GET':16} peak, bytes  peak, blocks  cyclic objects  blocks left"]
    for row in rows:
        lines.append(
            f"{row['client']:16}{_number(row['peak_bytes'], 12)}{_number(row['peak_blocks'], 14)}"
            f"{_number(row['cyclic_objects'], 16, 3)}{_number(row['blocks_left'], 13, 4)}"
        )
    return "\n".join(lines)


def _show_growth(found: Found) -> str:
    lines = [
        f"{found['requests']:,} requests: {found['answered']:,} answered, "
        f"{found['cancelled']:,} cancelled, {found['failed']:,} failed",
        f"{'slice':>5}{'blocks':>12}{'resident, bytes':>18}{'descriptors':>13}",
    ]
    for number, one in enumerate(found["slices"], 1):
        lines.append(
            f"{number:5}{_number(one['blocks'], 12)}{_number(one['rss_bytes'], 18)}"
            f"{_number(one['descriptors'], 13)}"
        )
    for key, seen in found["growth"].items():
        if seen is not None:
            verdict = "GROWS" if seen["grows"] else "does not grow"
            lines.append(
                f"{key}: {verdict} ({seen['per_1000_requests']:+.3f} per 1,000 requests; "
                f"{seen['by']:+,.0f} over the second half; may be {seen['tolerance']:,}; "
                f"noise {seen['noise']:,.0f})"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a client keeps in memory.")
    parser.add_argument("--requests", type=int, default=1_000_000, help="to see what grows")
    parser.add_argument("-n", type=int, default=200, help="to see how large one is")
    parser.add_argument("--gate", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.gate:
        raise_limit()
        asyncio.run(_serve_gate())
    elif options.work:
        print(json.dumps(_work(options.work[0], json.loads(options.work[1]))))
    else:
        # Not above: what is measured need not have its certificates in memory.
        from .server import serve

        with serve(sizes=()) as server:
            print(show(measure(f"{server.http}/2000", requests=options.requests, n=options.n)))


if __name__ == "__main__":
    main()
