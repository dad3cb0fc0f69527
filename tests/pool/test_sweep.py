"""The cancel sweep over the whole pool: however a request is cancelled, nothing is lost."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import trio
import trustme
from sweeping import sweep
from trio.testing import wait_all_tasks_blocked

from triopool import ConnectionPool, PoolClosed, ReadError, ReadTimeout, Timeouts
from triopool.testing import Network, Reply, Request, Sweep, cancel_sweep, http_server

from .world import A, B, world

either_way = pytest.mark.parametrize("with_signal", [False, True], ids=["cancelled", "control-C"])


@either_way
def test_a_first_request(with_signal: bool) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world() as w:
            await sweep.victim(w.get, f"{A}/victim")
            await w.works_at_full_size()

    sweep(scenario, with_signal=with_signal)


@either_way
def test_a_reused_connection(with_signal: bool) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world() as w:
            await w.get(f"{A}/first")
            w.delay = 0.3
            await sweep.victim(w.get, f"{A}/victim")
            await w.works_at_full_size()

    sweep(scenario, with_signal=with_signal)


@either_way
def test_a_queued_request_that_is_handed_a_connection(with_signal: bool) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world(max_connections=1) as w:
            w.delay = 1.0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(w.get, f"{A}/before")
                await trio.sleep(0.5)

                async def behind() -> None:
                    await trio.sleep(0.01)
                    await w.get(f"{A}/behind")

                nursery.start_soon(behind)
                await sweep.victim(w.get, f"{A}/victim")
            await w.works_at_full_size()

    sweep(scenario, with_signal=with_signal)


def test_the_request_that_hands_its_connection_over() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world(max_connections=1) as w:
            w.delay = 1.0
            async with trio.open_nursery() as nursery:

                async def behind() -> None:
                    await trio.sleep(0.5)
                    await w.get(f"{A}/behind")

                nursery.start_soon(behind)
                await sweep.victim(w.get, f"{A}/victim")
            await w.works_at_full_size()

    sweep(scenario)


class Told:
    """A server that does with the requests for /victim what it is told, when it is told."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = False
        self._waiting: list[Any] = []

    async def __call__(self, stream: Any) -> None:
        while request := await stream.receive_some():
            if b"/victim" not in request:
                target = request.split()[1]
                head = b"HTTP/1.1 200 OK\r\nServed: %s\r\nContent-Length: 0\r\n\r\n"
                await stream.send_all(head % target)
            else:
                self._waiting.append(stream.socket)
                self._act()
        await stream.aclose()

    def now(self) -> None:
        self._told = True
        self._act()

    def _act(self) -> None:
        while self._told and self._waiting:
            sock = self._waiting.pop()
            if self._what == "reset":
                sock.reset()
            elif self._what == "close":
                sock.close()
            else:
                head = b"HTTP/1.1 200 OK\r\nServed: /victim\r\nContent-Length: 5\r\n\r\nhello"
                sock.send_nowait(head[:-2] if self._what == "begin to answer" else head)


@pytest.mark.parametrize("warm", [False, True], ids=["new", "reused"])
@pytest.mark.parametrize(
    "what", ["answer", "begin to answer", "close", "reset", "retire", "close idle"]
)
def test_what_the_server_or_the_program_does_in_the_tick_of_the_cancellation(
    what: str, warm: bool
) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world() as w, trio.open_nursery() as nursery:
            server = Told(what)
            w.network.listen("192.0.2.1", 80, server, connect_delay=0.1)

            def event() -> None:
                if what == "retire":
                    w.pool.retire(lambda connection: True)
                elif what == "close idle":
                    w.pool.close_idle()
                server.now()

            async def later(seconds: float) -> None:
                await trio.sleep(seconds)
                other()

            async def victim() -> None:
                with suppress(ReadError, ReadTimeout):
                    await w.get(f"{A}/victim", timeouts=Timeouts(read=0.3))

            other = sweep.other(event)
            if warm:
                await w.get(f"{A}/first")
            nursery.start_soon(later, 0.17)
            await sweep.victim(victim)
            nursery.cancel_scope.cancel()
            w.network.listen("192.0.2.1", 80, w.a, connect_delay=0.1)
            await trio.sleep(6)  # A dial that was under way may go to the first server yet.
            w.pool.close_idle()
            await w.works_at_full_size()

    sweep(scenario, with_other=True)


@pytest.mark.parametrize("round_", range(3))
def test_an_answer_in_time_is_never_lost_however_busy_the_program(round_: int) -> None:
    """The answer comes, and the program is busy beyond the deadline, at every point in turn; those
    in which the keeper is awake for another request's timeout among them."""

    async def scenario(sweep: Sweep) -> None:
        async with world(max_connections=4) as w, trio.open_nursery() as nursery:
            server = Told("answer")
            w.network.listen("192.0.2.1", 80, server)
            w.network.listen("192.0.2.2", 80, Told("answer"))

            async def time_out(seconds: float) -> None:
                with pytest.raises(ReadTimeout):
                    await w.get(f"{B}/victim", timeouts=Timeouts(read=seconds))

            async def victim() -> None:
                await w.get(f"{A}/victim", timeouts=Timeouts(read=0.15))

            async def later() -> None:
                await trio.sleep(0.12)
                other()

            other = sweep.other(server.now)
            for seconds in (0.1, 0.11):
                nursery.start_soon(time_out, seconds)
            nursery.start_soon(later)
            await wait_all_tasks_blocked()
            await sweep.victim(victim)

    assert cancel_sweep(scenario, happens=("other", 0.08)) > 20


def test_two_dials_that_swap() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world(max_connections=2) as w:
            w.network.listen("192.0.2.1", 80, w.a, connect_delay=2.0)
            async with trio.open_nursery() as nursery:

                async def quicker() -> None:
                    await trio.sleep(0.5)
                    w.network.listen("192.0.2.1", 80, w.a, connect_delay=0.1)
                    await w.get(f"{A}/quicker")

                nursery.start_soon(quicker)
                await sweep.victim(w.get, f"{A}/victim")
            await w.works_at_full_size()

    sweep(scenario)


def test_an_eviction() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world(max_connections=1) as w:
            await w.get(f"{B}/idle")
            await sweep.victim(w.get, f"{A}/victim")
            await w.works_at_full_size()

    sweep(scenario)


def test_a_connection_that_is_returned_to_another_origin() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world(max_connections=1) as w:
            w.delay = 1.0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(w.get, f"{B}/before")
                await trio.sleep(0.5)
                await sweep.victim(w.get, f"{A}/victim")
            await w.works_at_full_size()

    sweep(scenario)


def test_an_orphaned_dial_that_gives_way() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world(max_connections=1) as w:
            w.network.hang("192.0.2.2", 80)
            with trio.move_on_after(0.5):
                await w.get(f"{B}/black-hole")
            await sweep.victim(w.get, f"{A}/victim")
            await w.works_at_full_size()

    sweep(scenario)


@either_way
def test_a_streamed_response(with_signal: bool) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(body=[b"x" * 1000] * 4, gap=0.2, chunked=True)

    async def scenario(sweep: Sweep) -> None:
        async with world() as w:
            w.network.listen("192.0.2.2", 80, http_server(respond))

            async def victim() -> None:
                async with w.pool.stream("GET", f"{B}/victim") as response:
                    async for _ in response:
                        await trio.sleep(0.05)

            await sweep.victim(victim)
            await w.works_at_full_size()

    sweep(scenario, with_signal=with_signal)


def test_a_stream_that_is_left_early_and_drained() -> None:
    async def respond(request: Request) -> Reply:
        return Reply(body=[b"x" * 1000] * 2, gap=0.01, chunked=True)

    async def scenario(sweep: Sweep) -> None:
        async with world() as w:
            w.network.listen("192.0.2.2", 80, http_server(respond))

            async def victim() -> None:
                async with w.pool.stream("GET", f"{B}/victim") as response:
                    await response.receive_some()
                await trio.sleep(0.1)

            await sweep.victim(victim)
            await trio.sleep(0.1)
            await w.works_at_full_size()

    sweep(scenario)


def test_an_upload() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            await trio.sleep(0.1)
            yield b"piece"

    async def scenario(sweep: Sweep) -> None:
        async with world() as w:

            async def victim() -> None:
                response = await w.pool.post(f"{A}/victim", content=pieces())
                assert response.content == b"piece" * 3

            await sweep.victim(victim)
            await w.works_at_full_size()

    sweep(scenario)


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("192.0.2.9").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client


def test_a_tls_dial_and_its_exchange(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = contexts

    async def respond(request: Request) -> Reply:
        return Reply(body=request.target.encode())

    async def scenario(sweep: Sweep) -> None:
        async with world(ssl_context=client) as w:
            w.network.listen("192.0.2.9", 443, http_server(respond), ssl_context=server)

            async def victim() -> None:
                for number in range(2):
                    response = await w.pool.get(f"https://192.0.2.9/{number}")
                    assert response.text == f"/{number}"

            await sweep.victim(victim)
            response = await w.pool.get("https://192.0.2.9/fresh")
            assert response.text == "/fresh"
            await w.works_at_full_size()

    sweep(scenario)


def test_a_lease_of_two_exchanges() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world() as w:

            async def victim() -> None:
                async with w.pool.lease(f"{A}/") as connection:
                    for number in range(2):
                        response = await connection.request("GET", f"/{number}")
                        assert response.text == f"/{number}"

            await sweep.victim(victim)
            await w.works_at_full_size()

    sweep(scenario)


def test_a_warm_up() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world() as w:
            await sweep.victim(w.pool.warm_up, f"{A}/", 2)
            await w.works_at_full_size()

    sweep(scenario)


def test_draining_the_pool() -> None:
    async def scenario(sweep: Sweep) -> None:
        async with world() as w:
            w.delay = 1.0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(w.get, f"{A}/in-flight")
                nursery.start_soon(w.get, f"{B}/in-flight")
                await trio.sleep(0.5)
                result = await sweep.victim(w.pool.drain)
                if not result.cancelled:
                    assert w.pool.statistics().open == 0
            # What was in flight has been answered, each to its own, whatever became of the drain.
            w.check()
            assert w.pool.statistics().busy == 0

    sweep(scenario)


@either_way
def test_the_pool_itself_with_a_request_in_flight_and_one_that_waits(with_signal: bool) -> None:
    async def scenario(sweep: Sweep) -> None:
        async def respond(request: Request) -> Reply:
            return Reply(delay=1.0)

        async with Network() as network, trio.open_nursery() as nursery:
            network.listen("192.0.2.1", 80, http_server(respond), connect_delay=0.1)
            ended: list[type[BaseException] | None] = []

            async def request(pool: ConnectionPool, number: int) -> None:
                try:
                    await pool.get(f"{A}/{number}")
                except PoolClosed as exc:
                    ended.append(type(exc))
                else:
                    ended.append(None)

            async def victim() -> None:
                async with ConnectionPool(max_connections=1, socket_factory=network.socket) as pool:
                    for number in range(3):
                        nursery.start_soon(request, pool, number)
                        await trio.sleep(0.05)
                    await trio.sleep(0.5)

            # Control-C is caught within: it must not end the scenario's own nursery.
            await sweep.victim(victim)
            assert not network.open_sockets
            with trio.fail_after(5):
                while nursery.child_tasks:
                    await trio.sleep(0.01)
            assert set(ended) <= {PoolClosed}

    sweep(scenario, with_signal=with_signal)
