"""``lifetime="run"``: a pool that the first request opens, and that ends with the Trio run.

Most tests begin runs of their own, because it is the end of the run that matters. They do so with
Trio's own entry points, and a clock that jumps.
"""

from __future__ import annotations

import gc
import logging
import queue
import signal
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio
from inside import close_transport, nursery_of, tasks_of
from trio.testing import MockClock, wait_all_tasks_blocked

import triopool
from triopool import ConnectionPool
from triopool.abc import Instrument
from triopool.testing import Network, Reply, Request, http_server

from .world import ADDRESS, Library, echo

URL = f"http://{ADDRESS}/"


class World:
    """A network, and a transport that may outlive it, as one of a module does.

    Attributes:
      network: that of the current run.
    """

    network: Network

    def __init__(self, lib: Library, **options: Any) -> None:
        self.lib = lib
        self.transport = lib.ours.TriopoolTransport(
            lifetime="run", socket_factory=lambda address: self.network.socket(address), **options
        )
        self.client = lib.client.AsyncClient(transport=self.transport, timeout=None)

    @asynccontextmanager
    async def served(self, answer: Callable[..., Any] = echo) -> AsyncIterator[None]:
        """A server. It is there until the block ends, and its sockets are looked at later."""
        async with Network() as self.network:
            self.network.listen(ADDRESS, 80, http_server(answer))
            yield

    async def serve(self) -> None:
        """The same until the run ends, for a system task: so it does not end before others."""
        async with self.served(hang):
            await trio.sleep_forever()

    async def get(self, target: str = "") -> str:
        return str((await self.client.get(URL + target)).text)


@pytest.fixture
def w(lib: Library) -> World:
    return World(lib)


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(main, clock=MockClock(autojump_threshold=0))


@contextmanager
def unraised() -> Iterator[list[warnings.WarningMessage]]:
    """The warnings of the block; and what could not be raised in it is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
        gc.collect()


async def hang(request: Request) -> Reply:
    await trio.sleep_forever()
    raise AssertionError


# ── From the first request to the end ──────────────────────────────────────────────────────────


def test_a_client_that_nobody_opens_has_a_pool_until_the_run_ends(w: World) -> None:
    seen: list[ConnectionPool] = []

    async def main() -> None:
        async with w.served():
            assert await w.get("one") == "GET /one "
            assert await w.get("two") == "GET /two "
            seen.append(w.transport.pool)
            assert seen[0].is_open
            assert (seen[0].statistics().dialled, seen[0].statistics().reused) == (1, 1)

    with unraised() as caught:
        run(main)
    assert not seen[0].is_open
    assert not w.network.open_sockets
    assert not caught


def test_one_transport_serves_run_after_run(w: World) -> None:
    pools: list[ConnectionPool] = []

    async def main() -> None:
        async with w.served():
            assert await w.get() == "GET / "
            pools.append(w.transport.pool)

    for _ in range(3):
        run(main)
        assert not w.network.open_sockets
    assert len({id(pool) for pool in pools}) == 3
    assert not any(pool.is_open for pool in pools)


def test_one_transport_serves_two_runs_at_once(lib: Library) -> None:
    """In two threads, of which each has a run of its own."""
    transport = lib.ours.TriopoolTransport(lifetime="run")
    both, pools, failed = threading.Barrier(2, timeout=20), [], []

    async def main() -> None:
        pool = transport.pool
        await wait_all_tasks_blocked()
        await trio.to_thread.run_sync(both.wait)
        assert pool.is_open
        assert transport.pool is pool
        pools.append(pool)

    def begin() -> None:
        try:
            trio.run(main)
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert pools[0] is not pools[1]
    assert not any(pool.is_open for pool in pools)


async def test_those_who_begin_together_share_one_pool(w: World, autojump_clock: object) -> None:
    async with w.served():
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(w.get)
        assert w.transport.pool.statistics().handed_over == 5


async def test_each_test_is_a_run(w: World, autojump_clock: object) -> None:
    """pytest-trio begins one for each, so nothing of one test is seen by the next."""
    async with w.served():
        assert await w.get() == "GET / "


async def test_the_pool_of_the_run_is_open_a_tick_after_it_was_asked_for(w: World) -> None:
    pool = w.transport.pool
    assert not pool.is_open
    await wait_all_tasks_blocked()
    assert pool.is_open
    assert w.transport.pool is pool
    assert "triopool keeper of deadlines" in tasks_of(pool)


def test_there_is_no_pool_outside_of_a_run(w: World) -> None:
    with pytest.raises(RuntimeError, match="triopool is for Trio"):
        _ = w.transport.pool


def test_without_a_request_nothing_is_opened(w: World) -> None:
    async def main() -> None:
        async with w.client:
            pass

    run(main)


async def test_a_client_of_ours_may_have_one_too(lib: Library, autojump_clock: object) -> None:
    client = lib.ours.AsyncClient(lifetime="run", trust_env=False, verify=False)
    async with Network() as network:
        network.hang(ADDRESS, 80)
        with pytest.raises(lib.client.ConnectError):
            await client.get("http://127.0.0.1:1/")
    await client.aclose()


# ── What is refused ────────────────────────────────────────────────────────────────────────────


def test_what_can_not_be_meant_is_refused(lib: Library) -> None:
    with pytest.raises(ValueError, match="lifetime must be 'block' or 'run', not 'ever'"):
        lib.ours.TriopoolTransport(lifetime="ever")
    with pytest.raises(TypeError, match="a pool that is lent has its own"):
        lib.ours.TriopoolTransport(ConnectionPool(), lifetime="run")
    with pytest.raises(TypeError, match=r"lifetime: .* the pool's affair"):
        lib.ours.AsyncClient(pool=ConnectionPool(), lifetime="run")
    with pytest.raises(ValueError, match="max_connections must be at least 1"):
        lib.ours.TriopoolTransport(lifetime="run", max_connections=0)


async def test_instruments_that_can_be_taken_once_are_for_every_pool(
    lib: Library, autojump_clock: object
) -> None:
    class Dials(Instrument):
        count = 0

        def dial_started(self, origin: triopool.Origin) -> None:
            self.count += 1

    dials = Dials()
    w = World(lib, instruments=iter([dials]))
    async with w.served():
        for _ in range(2):
            await w.get()
            await w.transport.aclose()
    assert dials.count == 2


# ── Closed before the end ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["aclose", "block"])
async def test_a_client_that_is_closed_gives_the_pool_up(
    w: World, autojump_clock: object, way: str
) -> None:
    async with w.served():
        await w.get()
        first = w.transport.pool
        if way == "aclose":
            await w.client.aclose()
        else:
            async with w.lib.client.AsyncClient(transport=w.transport):
                pass
        await trio.sleep(1)
        assert not first.is_open
        assert not w.network.open_sockets
        other = w.lib.client.AsyncClient(transport=w.transport)
        assert (await other.get(URL)).text == "GET / "
        assert w.transport.pool is not first


async def test_closing_one_client_breaks_no_request_of_another(
    w: World, autojump_clock: object
) -> None:
    async def slowly(request: Request) -> Reply:
        return Reply(body=b"there", delay=5)

    async with w.served(slowly):
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await w.get())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            first = w.transport.pool
            await w.transport.aclose()
            await w.transport.aclose()
            assert first.is_open
        assert answers == ["there"]
        await trio.sleep(1)
        assert not first.is_open


async def test_a_pool_that_is_given_up_as_it_opens_serves_nobody(
    w: World, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[ConnectionPool] = []

    class Pool(ConnectionPool):
        async def __aenter__(self) -> ConnectionPool:
            await super().__aenter__()
            opened.append(self)
            if len(opened) == 1:  # The request that made it waits for it, and has not gone on.
                close_transport(w.transport)
            return self

    monkeypatch.setattr("triopool._httpx.run_lifetime.ConnectionPool", Pool)
    async with w.served():
        assert await w.get() == "GET / "
        assert [pool.is_open for pool in opened] == [False, True]
        assert opened[1].statistics().handed_over == 1


async def test_one_that_was_given_up_before_it_opened_ends_as_it_opens(
    w: World, autojump_clock: object
) -> None:
    pool = w.transport.pool
    await w.transport.aclose()
    await trio.sleep(1)
    assert pool.statistics().dialled == 0
    assert not pool.is_open


def test_closing_outside_of_a_run_is_no_error(w: World) -> None:
    close_transport(w.transport)


# ── The end of the run ─────────────────────────────────────────────────────────────────────────


def test_a_response_that_nobody_closed_is_warned_of(w: World) -> None:
    async def main() -> None:
        async def endless(request: Request) -> Reply:
            return Reply(body=[b"!"] * 1000, gap=1)

        async with w.served(endless):
            request = w.client.build_request("GET", URL)
            w.kept = await w.client.send(request, stream=True)  # type: ignore[attr-defined]

    with unraised() as caught:
        run(main)
    [warning] = [one for one in caught if issubclass(one.category, ResourceWarning)]
    assert "ended with 1 request(s) in flight" in str(warning.message)


@pytest.mark.parametrize("at", ["in line", "dialling", "waiting for the head"])
def test_requests_of_other_system_tasks_are_warned_of(lib: Library, at: str) -> None:
    w = World(lib, max_connections=1)
    ended: list[BaseException] = []

    async def ask() -> None:
        try:
            await w.get()
        except BaseException as exc:
            ended.append(exc)
            raise

    async def main() -> None:
        trio.lowlevel.spawn_system_task(w.serve)
        await trio.sleep(1)
        if at == "dialling":
            w.network.hang(ADDRESS, 80)
        for _ in range(2 if at == "in line" else 1):
            trio.lowlevel.spawn_system_task(ask)
        await trio.sleep(1)

    with unraised() as caught:
        run(main)
    [warning] = caught
    count = 2 if at == "in line" else 1
    assert f"ended with {count} request(s) in flight" in str(warning.message)
    assert len(ended) == count


def test_what_is_drained_as_the_run_ends_is_nobodys_request(w: World) -> None:
    async def main() -> None:
        async def slowly(request: Request) -> Reply:
            return Reply(body=[b"!"] * 10, gap=0.01)

        async with w.served(slowly):
            async with w.client.stream("GET", URL):
                pass
            assert w.transport.pool.statistics().busy == 1

    with unraised() as caught:
        run(main)
    assert not caught


def test_the_warning_may_be_an_error_and_does_not_end_the_program(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    async def main() -> str:
        trio.lowlevel.spawn_system_task(w.serve)
        await trio.sleep(1)
        trio.lowlevel.spawn_system_task(w.get)
        await trio.sleep(1)
        return "done"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(main) == "done"
    assert [type(one.exc_value) for one in told] == [ResourceWarning]


def test_what_is_asked_at_the_very_end_is_told_so(w: World) -> None:
    """Trio finalises generators when all system tasks have ended, and starts none any more."""
    told: list[BaseException] = []
    kept: list[Any] = []

    async def rows() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            try:
                with trio.CancelScope(shield=True):
                    await w.get()
            except Exception as exc:
                told.append(exc)

    async def main() -> None:
        generator = rows()
        kept.append(generator)
        await anext(generator)

    with unraised():
        run(main)
    [error] = told
    assert isinstance(error, w.lib.client.TransportError)
    assert "the Trio run is ending" in str(error)


def test_what_another_system_task_asks_after_the_end_is_told_so(w: World) -> None:
    told: list[BaseException] = []

    async def late() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                try:
                    await w.get()
                except Exception as exc:
                    told.append(exc)

    async def main() -> None:
        async with w.served():
            trio.lowlevel.spawn_system_task(late)
            await trio.sleep(1)

    run(main)
    [error] = told
    assert isinstance(error, w.lib.client.TransportError)
    assert isinstance(error.__cause__, triopool.PoolClosed)


class Odd(Exception):
    pass


def test_what_ends_the_main_task_arrives_as_itself(w: World) -> None:
    async def main() -> None:
        async with w.served():
            await w.get()
        raise Odd

    with pytest.raises(Odd):
        run(main)
    assert not w.network.open_sockets


def test_control_c_ends_it_like_any_other_end(w: World) -> None:
    pools: list[ConnectionPool] = []

    async def main() -> None:
        async with w.served(hang), trio.open_nursery() as nursery:
            nursery.start_soon(w.get)
            await trio.sleep(1)
            pools.append(w.transport.pool)
            signal.raise_signal(signal.SIGINT)
            await trio.sleep(1)

    with unraised() as caught, pytest.raises(BaseExceptionGroup) as raised:
        run(main)
    assert raised.value.split(KeyboardInterrupt)[1] is None
    assert not pools[0].is_open
    assert not w.network.open_sockets
    assert not caught


def test_a_guest_run_has_one_too(w: World) -> None:
    """A host loop that is a queue: each step of Trio's run is put there, and done by us."""
    steps: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
    outcomes: list[Any] = []

    async def main() -> str:
        async with w.served():
            return await w.get()

    trio.lowlevel.start_guest_run(
        main,
        run_sync_soon_threadsafe=steps.put,
        done_callback=outcomes.append,
        clock=MockClock(autojump_threshold=0),
        host_uses_signal_set_wakeup_fd=True,
    )
    while not outcomes:
        steps.get(timeout=20)()
    assert outcomes[0].unwrap() == "GET / "
    assert not w.network.open_sockets


# ── A pool that fails ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("failure", [Odd("the resolver"), SystemExit(3)])
async def test_a_pool_that_fails_ends_neither_the_run_nor_what_comes_after(
    w: World,
    autojump_clock: object,
    caplog: pytest.LogCaptureFixture,
    failure: BaseException,
) -> None:
    async def fail() -> None:
        raise failure

    async with w.served():
        await w.get()
        first = w.transport.pool
        nursery = nursery_of(first)
        with caplog.at_level(logging.ERROR, logger="triopool"):
            nursery.start_soon(fail)
            await trio.sleep(1)
        assert not first.is_open
        assert not w.network.open_sockets
        [record] = caplog.records
        assert record.getMessage().startswith("the pool of this run has failed")
        assert record.exc_info is not None
        assert await w.get() == "GET / "
        assert w.transport.pool is not first
