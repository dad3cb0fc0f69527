"""A request of a session, cancelled at every point: between two attempts, too, nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from inside import check_slots
from sweeping import sweep

from triopool import ConnectError, ConnectionPool, Retry, Session, StatusError
from triopool.testing import Network, Reply, Request, Sweep, http_server

from .world import API, jar, sets, to

RETRY = Retry(backoff=0.3, jitter=0, budget=None)


class World:
    """A server that is busy at first, and a session that asks it."""

    def __init__(self, pool: ConnectionPool, network: Network, answers: list[Reply]) -> None:
        self.pool = pool
        self.network = network
        self.answers = answers
        self.cookies: list[str | None] = []

    async def respond(self, request: Request) -> Reply:
        if request.target == "/fresh":
            return Reply(body=b"fresh")
        self.cookies.append(request.header("cookie"))
        return self.answers.pop(0) if self.answers else Reply(body=b"in the end")

    def session(self, **options: Any) -> Session:
        return self.pool.session(
            base_url=API, cookies=jar(), retry=RETRY, follow_redirects=True, **options
        )

    async def works_at_full_size(self) -> None:
        """Both slots are there."""
        await trio.sleep(7)  # What was left to be drained has been, and a dial without a request.
        check_slots(self.pool)
        assert self.pool.statistics().busy == 0
        assert len(self.network.open_sockets) <= self.pool.statistics().open

        async def ask() -> None:
            assert (await self.pool.get(f"{API}/fresh")).content == b"fresh"

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(ask)


@asynccontextmanager
async def world(*answers: Reply) -> AsyncIterator[World]:
    async with Network() as network:
        async with ConnectionPool(
            max_connections=2, resolver=network.resolve, socket_factory=network.socket
        ) as pool:
            w = World(pool, network, list(answers))
            network.host("api.test", "192.0.2.1")
            network.listen("192.0.2.1", 80, http_server(w.respond), connect_delay=0.1)
            yield w
        assert not network.open_sockets, "a socket outlived its pool"


def test_retries_with_cookies_and_a_redirect() -> None:
    async def scenario(sweep: Sweep) -> None:
        answers = [
            sets("a=1; Path=/", status=503),
            to("/next", 302),
            Reply(429, body=[b"1", b"2"], gap=0.02),
            Reply(504, body=[b"1", b"2"], gap=30),
        ]
        async with world(*answers) as w:
            api = w.session(headers={"X": "y"})
            await sweep.victim(lambda: api.get("x", retry=Retry(5, backoff=0.3, jitter=0)))
            assert w.cookies[1:] == ["a=1"] * len(w.cookies[1:])
            await w.works_at_full_size()

    sweep(scenario)


def test_a_block_whose_request_is_retried() -> None:
    async def scenario(sweep: Sweep) -> None:
        async def victim() -> None:
            async with w.session().stream("GET", "x") as response:
                async for _ in response:
                    pass

        last = Reply(503, body=[b"1", b"2"], gap=0.2)
        async with world(Reply(503), Reply(503), last) as w:
            await sweep.victim(victim)
            await w.works_at_full_size()

    sweep(scenario)


def test_a_body_that_waits_for_a_connection() -> None:
    async def scenario(sweep: Sweep) -> None:
        async def rows() -> AsyncIterator[bytes]:
            try:
                yield b"a"
            finally:
                closed.append(True)

        async def victim() -> None:
            try:
                await w.session().post("http://192.0.2.9/", content=body)
            except ConnectError:
                pass
            else:
                raise AssertionError("there is nobody")

        closed: list[bool] = []
        body = rows()
        async with world() as w:
            await sweep.victim(victim)
            assert body.ag_frame is None  # It was closed, before it had begun.
            assert not closed
            await w.works_at_full_size()

    sweep(scenario)


def test_events_that_go_on_over_retries() -> None:
    async def scenario(sweep: Sweep) -> None:
        async def victim() -> None:
            # Cancelled, there is no time for another attempt: then a 503 is the last word.
            with suppress(StatusError):
                async with w.session().events("x", reconnect_after=0.4) as events:
                    async for _ in events:
                        pass

        kind = {"Content-Type": "text/event-stream", "Set-Cookie": "a=1; Path=/"}
        stream = Reply(headers=kind, body=[b"id: 1\ndata: a\n\n", b"data"], gap=0.2, close=True)
        async with world(Reply(503), stream, Reply(503), Reply(204)) as w:
            await sweep.victim(victim)
            assert not any(w.cookies[:2])
            assert w.cookies[2:] == ["a=1"] * len(w.cookies[2:])
            await w.works_at_full_size()

    sweep(scenario)


def test_a_stream_of_the_program_s_own() -> None:
    async def scenario(sweep: Sweep) -> None:
        async def victim() -> None:
            async with w.session().connect() as stream:
                await stream.send_all(b"GET /fresh HTTP/1.1\r\nHost: api.test\r\n\r\n")
                assert bytes(await stream.receive_some()).endswith(b"fresh")

        async with world() as w:
            await sweep.victim(victim)
            await w.works_at_full_size()

    sweep(scenario)
