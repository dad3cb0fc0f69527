"""``max_requests_per_connection``: the last request on a connection says that it is the last."""

from __future__ import annotations

import pytest
import trio

from triopool import CloseReason, ConnectionInfo, Spent
from triopool.abc import Instrument
from triopool.testing import Request

from .world import URL, Answer, Answering, ok, serving, whole


class Closed(Instrument):
    def __init__(self) -> None:
        self.reasons: list[tuple[CloseReason, Spent | None]] = []

    def closed(self, connection: ConnectionInfo, reason: CloseReason) -> None:
        self.reasons.append((reason, connection.spent))


def says(request: Request) -> list[str]:
    """The values of its Connection fields."""
    return [value for name, value in request.headers if name == "connection"]


async def test_the_last_request_that_a_connection_may_serve_says_so(autojump_clock: object) -> None:
    server, closed = Answering(), Closed()
    async with serving(server, max_requests_per_connection=3, instruments=[closed]) as (pool, _):
        for number in range(7):
            response = await pool.get(f"{URL}/{number}")
            assert response.content == f"/{number}".encode()
        assert pool.statistics().expired == 2
    assert [says(request) for request in server.requests] == [[], [], ["close"]] * 2 + [[]]
    assert closed.reasons[:2] == [(CloseReason.EXPIRED, Spent.ASKED_TO_CLOSE)] * 2
    assert server.connections == 3


@pytest.mark.parametrize("given", ["close", "Keep-Alive", "close, x"])
async def test_what_the_caller_says_of_the_connection_is_not_contradicted(
    autojump_clock: object, given: str
) -> None:
    server = Answering()
    async with serving(server, max_requests_per_connection=1) as (pool, _):
        await pool.post(URL, content=b"abc", headers={"Connection": given, "X-A": "b"})
        assert pool.statistics().expired == 1
    [request] = server.requests
    assert says(request) == ([given] if "close" in given else ["close"])
    assert request.body == b"abc"
    assert request.header("X-A") == "b"


async def test_a_body_that_ends_with_the_connection_is_read_to_its_end(
    autojump_clock: object,
) -> None:
    server = Answering(Answer([b"HTTP/1.1 200 OK\r\n\r\n", b"abc", b"def"], end="close"))
    async with serving(server, max_requests_per_connection=1) as (pool, _):
        assert (await pool.get(URL)).content == b"abcdef"


async def test_what_may_become_another_protocol_does_not_say_that_it_ends(
    autojump_clock: object,
) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    server = Answering(whole(switch))
    async with serving(server, max_requests_per_connection=1) as (pool, _):
        async with pool.stream("GET", URL, headers={"Upgrade": "x"}) as response:
            assert response.upgraded is not None
        assert pool.statistics().discarded == 1
    assert says(server.requests[0]) == ["Upgrade"]


async def test_a_leased_connection_serves_on_for_nobody_knows_its_last_request(
    autojump_clock: object,
) -> None:
    server = Answering()
    async with serving(server, max_requests_per_connection=1) as (pool, _):
        async with pool.lease(URL) as connection:
            for _ in range(3):
                await connection.request("GET", "/")
        assert pool.statistics().expired == 1
    assert [says(request) for request in server.requests] == [[], [], []]


async def test_a_request_whose_last_connection_was_stale_is_sent_again_as_it_was(
    autojump_clock: object,
) -> None:
    """The head that said so belongs to that connection, and not to the request."""
    server = Answering(ok(), Answer([], end="close"))
    async with serving(server, max_requests_per_connection=2) as (pool, _):
        await pool.get(URL)
        assert (await pool.get(f"{URL}/again")).content == b"/again"
    assert [says(request) for request in server.requests] == [[], ["close"], []]


async def test_a_response_that_is_left_on_the_last_request_closes_at_once(
    autojump_clock: object,
) -> None:
    server, closed = Answering(ok(b"x" * 100)), Closed()
    async with serving(server, max_requests_per_connection=1, instruments=[closed]) as (pool, _):
        async with pool.stream("GET", URL):
            pass
        assert pool.statistics().open == 0
    assert trio.current_time() == 0.0
