"""Why a connection can't serve another request: one value, set where it becomes known."""

from __future__ import annotations

from typing import Any

import pytest

from triopool import Spent, Timeouts, TriopoolError
from triopool._dial import dialler
from triopool._protocol.connection import HTTP1Connection
from triopool.testing import KeepOpen, Receive, ReceiveRequest, Send, Wait, script

from .world import URL, Answer, Answering, ok, pieces, serving

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[HTTP1Connection]:
    """The connections of a test, as they are dialled."""
    found: list[HTTP1Connection] = []

    class Noted(HTTP1Connection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            found.append(self)

    monkeypatch.setattr(dialler, "HTTP1Connection", Noted)
    return found


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (ok(b"hello"), None),
        (CHUNKED + b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", None),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", None),
        (ok(b"hello", b"Connection: close"), Spent.ASKED_TO_CLOSE),
        (ok(b"hello", b"Proxy-Connection: keep-alive,  Close"), Spent.ASKED_TO_CLOSE),
        (ok(b"hello", b"Proxy-Connection: keep-alive"), None),
        (ok(b"hello", b"Keep-Alive: timeout=0"), Spent.ASKED_TO_CLOSE),
        (ok(b"hello", b"Keep-Alive: max=0"), Spent.ASKED_TO_CLOSE),
        (ok(b"hello").replace(b"1.1", b"1.0"), Spent.OTHER_VERSION),
        (ok(b"hello").replace(b"OK\r\n", b"OK\n"), Spent.BARE_LF),
        (ok(b"hello", b"X: a\r\n b"), Spent.FOLDED_LINE),
        (ok(b"hello", b"Content-Length: 5"), Spent.TWO_LENGTHS),
        (
            CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
            Spent.TWO_LENGTHS,
        ),
        (ok(b"hello", b"X: \x01"), Spent.DOUBTFUL),
        (ok(b"hello").replace(b" OK", b""), Spent.DOUBTFUL),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Spent.DOUBTFUL),
        (CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n", Spent.DOUBTFUL),
        (CHUNKED + b"5;\r\nhello\r\n0\r\n\r\n", Spent.DOUBTFUL),
        (CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n", Spent.DOUBTFUL),
        (ok(b"hello") + b"HTTP", Spent.EARLY_BYTES),
        (ok(b"hello", b"Connection: close", b"X: a\r\n b"), Spent.FOLDED_LINE),
    ],
)
async def test_a_response_can_spend_its_connection(
    autojump_clock: object, connections: list[HTTP1Connection], raw: bytes, why: Spent | None
) -> None:
    async with serving(Answering(raw)) as (pool, _):
        await pool.get(URL)
        [connection] = connections
        assert connection.spent is why
        assert connection.closed == (why is not None)


async def test_the_end_of_the_connection_spends_it(
    autojump_clock: object, connections: list[HTTP1Connection]
) -> None:
    async with serving(Answering(Answer([HEAD + b"\r\nhello"], "close"))) as (pool, _):
        await pool.get(URL)
        assert [connection.spent for connection in connections] == [Spent.ENDED]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer([ok(bytes(100))[:-1], b""], "close"), Spent.ENDED),
        (Answer([ok(bytes(100))[:-1], b""], "reset"), Spent.BROKEN),
        (Answer([ok(bytes(100))[:-1]]), Spent.TIMED_OUT),
        (Answer([b"what?"]), Spent.NOT_LEGAL),
        (Answer([ok(bytes(101))]), Spent.CUT_SHORT),
    ],
    ids=["cut", "reset", "slow", "not legal", "too large"],
)
async def test_what_breaks_an_exchange_off_spends_its_connection(
    autojump_clock: object, connections: list[HTTP1Connection], answer: Answer, why: Spent
) -> None:
    async with serving(Answering(answer)) as (pool, _):
        with pytest.raises(TriopoolError):
            await pool.get(URL, timeouts=Timeouts(read=1), max_body_bytes=100)
        assert [connection.spent for connection in connections] == [why]


async def test_a_response_that_is_left_spends_its_connection(
    autojump_clock: object, connections: list[HTTP1Connection]
) -> None:
    async with serving(Answering(ok(bytes(1_000_000)))) as (pool, _):
        async with pool.stream("GET", URL):
            pass
        assert [connection.spent for connection in connections] == [Spent.CUT_SHORT]


async def test_a_switch_spends_the_connection(
    autojump_clock: object, connections: list[HTTP1Connection]
) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n"
    async with serving(script(ReceiveRequest(), Send(switch), KeepOpen())) as (pool, _):
        async with pool.stream("GET", URL, headers={"Upgrade": "other"}):
            assert [connection.spent for connection in connections] == [Spent.SWITCHED]
        assert [connection.spent for connection in connections] == [Spent.SWITCHED]


async def test_a_request_that_is_refused_half_way_spends_its_connection(
    autojump_clock: object, connections: list[HTTP1Connection]
) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    async with serving(script(Receive(), Send(refusal), Wait(50))) as (pool, _):
        response = await pool.post(URL, content=pieces(*[bytes(100_000)] * 10))
        assert response.status_code == 413
        assert [connection.spent for connection in connections] == [Spent.NOT_SENT]


async def test_a_server_that_takes_nothing_spends_the_connection(
    autojump_clock: object, connections: list[HTTP1Connection]
) -> None:
    async with serving(script(Receive(), Wait(50))) as (pool, _):
        with pytest.raises(TriopoolError):
            await pool.post(URL, content=bytes(1_000_000), timeouts=Timeouts(write=1))
        assert [connection.spent for connection in connections] == [Spent.TIMED_OUT]


async def test_a_pool_that_is_left_spends_no_idle_connection(
    autojump_clock: object, connections: list[HTTP1Connection]
) -> None:
    """The reason for closing it is the pool's."""
    async with serving(Answering(ok())) as (pool, _):
        await pool.get(URL)
    [connection] = connections
    assert connection.closed
    assert connection.spent is None
