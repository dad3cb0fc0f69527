"""Clients that do with a pool whatever a program may do, and see that each answer is their own."""

from __future__ import annotations

import hashlib
import math
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from triopool import (
    ConnectError,
    ConnectionPool,
    LeasedConnection,
    LocalProtocolError,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    Response,
    Retry,
    Session,
    Timeouts,
    TriopoolError,
    WriteError,
    WriteTimeout,
)

from .proxies import Ways
from .servers import Servers, expected_body
from .world import Way, World

DOCUMENTED = (
    *(ConnectError, LocalProtocolError, PoolFull, PoolTimeout),
    *(ReadError, ReadTimeout, RemoteProtocolError, WriteError, WriteTimeout),
)
HOSTS = ("192.0.2.1", "192.0.2.1", "192.0.2.2", "both.test")
AGAIN = Retry(
    on=(500, ConnectError, PoolTimeout, ReadError, ReadTimeout, WriteError, WriteTimeout),
    backoff=0.05,
)
SIZES = (1, 200, 5000, 70_000, 70_000, 300_000)


@dataclass
class Asked:
    """One request, as its client sees it.

    Attributes:
      digest: of its body.
      disturbed: whether the client itself has kept it from ending well.
      by: who asks: the pool, or a session that tries again what may be tried again.
    """

    token: str
    method: str
    options: dict[str, Any]
    digest: str
    by: ConnectionPool | Session
    disturbed: bool = False


class Client:
    """One task of the program; goes on to the next thing until it has done enough."""

    def __init__(self, world: World, servers: Servers, ways: Ways, name: str) -> None:
        self._world = world
        self._servers = servers
        self._ways = ways
        self._name = name
        self._count = 0

    async def run(self, times: int) -> None:
        things: list[Callable[[], Awaitable[None]]] = [
            *(self.request,) * 6,
            *(self.stream,) * 3,
            *(self.two_tasks,) * 2,
            *(self.impatient,) * 3,
            *(self.busy,) * 2,
            self.lease,
            self.operate,
        ]
        for _ in range(times):
            with self._world_catches():
                await self._world.random.choice(things)()
            if self._world.chance(0.15):
                self._world.compute(self._world.moment())
            if self._world.chance(0.5):
                await trio.sleep(self._world.moment())

    def _world_catches(self) -> _Catching:
        return _Catching(self._world, self._name)

    # ── What there is to be asked ──────────────────────────────────────────────────────────────

    def asked(self) -> Asked:
        world = self._world
        self._count += 1
        token = f"{self._name}-{self._count}"
        options: dict[str, Any] = {}
        body = b""
        method = world.random.choice(("GET", "GET", "GET", "HEAD", "POST", "PUT", "POST"))
        if method in ("POST", "PUT"):
            body, options = self._body()
        digest = hashlib.sha256(body).hexdigest()[:16]
        fields = {"Digest": digest}
        if method in ("POST", "PUT") and world.chance(0.3):
            options["idempotent"] = True
        if not (method in ("GET", "HEAD") or options.get("idempotent")):
            fields["Repeatable"] = "no"
        if world.chance(0.05):
            fields["Connection"] = "close"
        if world.chance(0.3):
            limits = {"read": world.random.choice((0.1, 0.12, 0.15, 0.16, 0.3))}
            options["timeouts"] = Timeouts(pool=30.0, connect=10.0, write=5.0, **limits)
        if world.chance(0.1):
            options["on_informational"] = lambda status, raw: self._hook()
        if world.chance(0.1):
            options["on_progress"] = lambda progress: self._hook()
        by: ConnectionPool | Session = world.pool
        if world.chance(0.2):
            by = world.pool.session(retry=AGAIN)
        return Asked(token, method, {"headers": fields, "decode": False, **options}, digest, by)

    def _body(self) -> tuple[bytes, dict[str, Any]]:
        world = self._world
        body = self._name.encode().ljust(8, b"_") * (world.random.choice(SIZES) // 8 + 1)
        pause = world.moment() if world.chance(0.3) else None
        kind = world.random.choice(("bytes", "bytes", "bytes", "iterator", "callable"))
        content: Any = body
        if kind == "iterator":
            content = _in_pieces(body, pause)
        elif kind == "callable":
            content = lambda: _in_pieces(body, pause)  # noqa: E731
        return body, {"content": content, "expect_continue": world.chance(0.25)}

    def _hook(self) -> None:
        if self._world.chance(0.3):
            self._world.compute(self._world.moment())

    def _url(self, asked: Asked) -> str:
        """For whom it is; adds the proxy to its options, if it is to have one of its own."""
        host = self._world.random.choice(HOSTS)
        options, self._world.ways[asked.token] = self._ways.take(host)
        asked.options.update(options)
        return f"http://{host}/{asked.token}"

    # ── Ways to ask it ─────────────────────────────────────────────────────────────────────────

    async def request(self) -> None:
        asked = self.asked()
        await self._request(asked, asked.by.request, self._url(asked))

    async def _request(
        self, asked: Asked, request: Callable[..., Awaitable[Response]], url: str
    ) -> None:
        with self.judged(asked):
            response = await request(asked.method, url, **asked.options)
            # In the very step in which the connection has been given back.
            if self._world.chance(0.3):
                self._world.compute(self._world.moment())
            self.look_at(asked, response, response.content)

    async def impatient(self) -> None:
        """Cancels, or shields and doesn't."""
        shield = self._world.chance(0.2)
        asked = self.asked()
        url = self._url(asked)
        way = self._world.random.choice((self._whole, self._in_parts))
        with trio.move_on_after(self._world.moment()) as outer:
            asked.disturbed = not shield
            with trio.CancelScope(shield=shield):
                await way(asked, url)
        self._world.tell(f"{asked.token}: {'was cancelled' if outer.cancelled_caught else 'ended'}")

    async def _whole(self, asked: Asked, url: str) -> None:
        await self._request(asked, asked.by.request, url)

    async def _in_parts(self, asked: Asked, url: str) -> None:
        with self.judged(asked):
            async with asked.by.stream(asked.method, url, **asked.options) as response:
                self.look_at(asked, response, await self._read_in_parts(response))

    async def stream(self) -> None:
        """Reads in parts, or leaves the rest; may be cancelled between two parts."""
        asked = self.asked()
        with self.judged(asked):
            url = self._url(asked)
            async with asked.by.stream(asked.method, url, **asked.options) as response:
                self.look_at(asked, response)
                if self._world.chance(0.5):
                    self.look_at(asked, response, await self._read_in_parts(response))
                    return
                for _ in range(self._world.random.randrange(3)):
                    await response.receive_some(1000)
                asked.disturbed = True

    async def _read_in_parts(self, response: Response) -> bytes:
        body = b""
        patience = 10
        while True:
            piece: bytes | None = None
            # A read that was cancelled has lost nothing, and is repeated. But not for ever: each
            # time, the read timeout begins anew.
            with trio.move_on_after(self._world.moment() if patience else math.inf):
                piece = await response.receive_some(self._world.random.choice((None, 100, 5000)))
            if piece == b"":
                return body
            body += piece or b""
            if self._world.chance(0.05):
                self._world.compute(self._world.moment())
            if piece is None:
                patience -= 1
                await trio.sleep(0.01)

    async def lease(self) -> None:
        """Several exchanges on one connection."""
        world = self._world
        host = world.random.choice(HOSTS)
        options, way = self._ways.take(host)
        async with world.pool.lease(f"http://{host}/", **options) as connection:
            for _ in range(world.random.randrange(4)):
                if not connection.is_usable:
                    return
                await self._leased(connection, way)
                if world.chance(0.2):
                    await trio.sleep(world.moment())

    async def _leased(self, connection: LeasedConnection, way: Way) -> None:
        asked = self.asked()
        asked.by = self._world.pool
        self._world.ways[asked.token] = way
        if self._world.chance(0.7):
            await self._request(asked, connection.request, f"/{asked.token}")
            return
        with self.judged(asked):
            target = f"/{asked.token}"
            async with connection.stream(asked.method, target, **asked.options) as response:
                self.look_at(asked, response)
                await response.receive_some(10)
                asked.disturbed = True

    async def two_tasks(self) -> None:
        """Two tasks at one response, which meet in one tick, or nearly."""
        asked = self.asked()
        asked.disturbed = True
        ways = [Response.read, Response.receive_some, _iterate, Response.aclose, Response.aclose]
        first, second = self._world.random.choice(ways), self._world.random.choice(ways)
        delays = self._world.moment(), self._world.moment()
        if self._world.chance(0.5):
            delays = delays[0], delays[0]
        with self.judged(asked):
            url = self._url(asked)
            async with asked.by.stream(asked.method, url, **asked.options) as response:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._use, asked, response, first, delays[0])
                    nursery.start_soon(self._use, asked, response, second, delays[1])
                if self._world.chance(0.3):
                    raise _Odd

    async def _use(
        self, asked: Asked, response: Response, use: Callable[[Response], Any], delay: float
    ) -> None:
        await trio.sleep(delay)
        try:
            await use(response)
        except (trio.ClosedResourceError, trio.BusyResourceError):
            self._world.counts["refused to the second task"] += 1
        except RuntimeError as exc:
            if "the body was read already" not in str(exc):
                raise
        except TriopoolError as exc:
            self.judge(asked, exc)

    async def busy(self) -> None:
        """Computes, when others may have their answers, or run out of time."""
        for _ in range(self._world.random.randint(1, 6)):
            await trio.sleep(self._world.moment())
            self._world.compute(self._world.moment())

    async def operate(self) -> None:
        """What an operator does, while everything goes on."""
        world = self._world
        match world.random.randrange(6):
            case 0:
                world.pool.close_idle()
            case 1:
                limit = world.random.randrange(3)
                world.pool.retire(lambda info: info.id % 3 == limit)
            case 2:
                world.resize(world.random.randint(1, 5))
            case 3 | 4:
                # What an answer's failure would be to a request, a dial's is to this.
                with suppress(ConnectError):
                    host = world.random.choice(HOSTS)
                    options, _ = self._ways.take(host)
                    number = world.random.randrange(4)
                    await world.pool.warm_up(f"http://{host}/", number, **options)
            case 5:
                world.check()

    # ── Judging ────────────────────────────────────────────────────────────────────────────────

    def judged(self, asked: Asked) -> _Judging:
        self._world.tell(f"{asked.token}: {asked.method}, asked by {self._name}")
        return _Judging(self, asked)

    def look_at(self, asked: Asked, response: Response, body: bytes | None = None) -> None:
        """See that *response* is the answer to this request; if *body*, that it is whole."""
        world, token = self._world, response.headers.get("Token")
        world.tell(f"{asked.token}: got {response.status_code} for {token}")
        if token != asked.token:
            world.find("stranger", f"{asked.token} got the answer to {token}")
            return
        attempt = int(response.headers["Attempt"])
        visit = self._servers.visits[asked.token][attempt - 1]
        plan, told = visit.plan, response.headers["Body-Was"]
        if told not in ("-", asked.digest):
            world.find("body", f"{asked.token}: the server has got another body")
        if body is None:
            return
        world.counts["answers"] += 1
        if attempt > 1 and isinstance(asked.by, Session):
            world.counts["answers to later attempts of a session"] += 1
        if response.is_success:
            world.whole.append(visit)
        expected = expected_body(asked.token, attempt, told, plan.size)
        if asked.method == "HEAD" or plan.status in (204, 304):
            expected = b""
        may_be_cut = plan.framing == "until close" and plan.fault in ("cut", "behind")
        if body == expected or (may_be_cut and expected[: len(body)] == body[: len(expected)]):
            return
        world.find(
            "answer",
            f"{asked.token}: {len(body)} bytes of a body of {len(expected)} look complete: {plan}",
        )

    def judge(self, asked: Asked, exc: Exception) -> None:
        """See that *exc* may end this request."""
        world = self._world
        world.counts[type(exc).__name__] += 1
        world.tell(f"{asked.token}: {type(exc).__name__}: {exc}")
        if isinstance(exc, PoolClosed) and world.leaving:
            return
        if not isinstance(exc, DOCUMENTED):
            kind = "closed" if isinstance(exc, PoolClosed) else "exception"
            world.find(kind, f"{asked.token}: {exc!r}, caused by {exc.__cause__!r}")
            return
        visits = self._servers.visits.get(asked.token)
        if not visits or isinstance(asked.by, Session):
            return  # Which attempt was the last one is not known here.
        last = visits[-1]
        if isinstance(exc, ReadTimeout):
            assert exc.seconds is not None
            if last.watch.had_its_answer(exc.seconds):
                world.find("in time", f"{asked.token} had its answer in time: {exc}")
            return
        if isinstance(exc, WriteTimeout) and last.plan.fault == "slow":
            assert exc.seconds is not None
            # It takes its next piece a tick or two after the program is back.
            if world.stood_still_for(exc.seconds):
                return
        if last.answered_at is not None and last.must_succeed and not asked.disturbed:
            world.find("answered", f"{asked.token} was answered, but: {exc!r}; {last.plan}")


async def _iterate(response: Response) -> None:
    async for _ in response:
        pass


async def _in_pieces(body: bytes, pause: float | None) -> AsyncIterator[bytes]:
    size = max(1, len(body) // 5)
    for at in range(0, len(body), size):
        yield body[at : at + size]
        if pause is not None:
            await trio.sleep(pause)


def flat(exc: BaseException) -> str:
    """What an exception says, in one line; for a group, what is in it."""
    if isinstance(exc, BaseExceptionGroup):
        return ", ".join(map(flat, exc.exceptions))
    where = traceback.extract_tb(exc.__traceback__)[-1:]
    return f"{exc!r} at {where and f'{Path(where[0].filename).name}:{where[0].lineno}'}"


class _Odd(Exception):
    """The program's own."""


class _Judging:
    """Judges what leaves the block, and keeps it."""

    def __init__(self, client: Client, asked: Asked) -> None:
        self._client = client
        self._asked = asked

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, exc: BaseException | None, where: Any) -> bool:
        if isinstance(exc, _Odd):
            return True
        if isinstance(exc, Exception) and not isinstance(exc, BaseExceptionGroup):
            self._client.judge(self._asked, exc)
            return True
        return False


class _Catching:
    """What no request is to blame for, and what is left of it."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, exc: BaseException | None, where: Any) -> bool:
        closed = isinstance(exc, PoolClosed) and self._world.leaving
        if closed or isinstance(exc, DOCUMENTED):  # A lease's, or a warm-up's.
            self._world.counts[type(exc).__name__] += 1
            return True
        if isinstance(exc, Exception):
            self._world.find("exception", f"{self._name}: {flat(exc)}")
            return True
        return False
