"""One object for each request, from its begin to its end; and the fields that instruments add."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio
from inside import preparations

import triopool
from triopool import ConnectionPool, Outcome, RequestRecord
from triopool.abc import Instrument
from triopool.testing import Network, Reply, Request, http_proxy, http_server

from .world import A, B, world

Fields = Iterable[tuple[str, str]] | None


@dataclass
class Seen:
    """A record as it was when an instrument was told."""

    hook: str
    record: RequestRecord
    then: RequestRecord


class Adding(Instrument):
    """Adds fields to each attempt, and keeps all records."""

    def __init__(self, fields: Callable[[RequestRecord], Fields] = lambda record: None) -> None:
        self.fields = fields
        self.seen: list[Seen] = []

    def attempt_started(self, record: RequestRecord) -> Fields:
        self.seen.append(Seen("attempt", record, replace(record)))
        return self.fields(record)

    def request_ended(self, record: RequestRecord) -> None:
        self.seen.append(Seen("end", record, replace(record)))

    @property
    def story(self) -> list[tuple[str, int]]:
        return [(seen.hook, seen.then.request.attempt) for seen in self.seen]


def numbered(record: RequestRecord) -> Fields:
    return [("X-Number", f"{record.request.id}.{record.request.attempt}")]


async def test_a_record_knows_all_of_a_request_in_the_end(autojump_clock: trio.abc.Clock) -> None:
    told = Adding()
    async with world(instruments=[told]) as w:
        await trio.sleep(1)
        w.delay = 0.5
        await w.get(f"{A}/1")
    first, last = told.seen
    assert first.record is last.record
    assert first.record == first.record != first.then
    assert (first.then.connection, first.then.response, first.then.end) == (None, None, None)
    record = last.then
    assert (record.request.method, record.request.id, record.resends) == ("GET", 1, 0)
    assert record.started_at == pytest.approx(1.0)
    assert record.connection is not None
    assert (record.connection.id, record.connection.reused) == (1, False)
    assert record.response is not None
    assert (record.response.status_code, record.response.http_version) == (200, "1.1")
    assert record.response.seconds == pytest.approx(0.6)
    assert record.end is not None
    assert (record.end.outcome, record.error) == (Outcome.COMPLETE, None)


async def test_a_record_of_a_request_without_a_response(autojump_clock: trio.abc.Clock) -> None:
    told = Adding(numbered)
    async with world(instruments=[told]) as w:
        with pytest.raises(triopool.ConnectError) as caught:
            await w.pool.get("http://192.0.2.66/")
    assert told.story == [("attempt", 1), ("end", 1)]
    record = told.seen[-1].then
    assert record.error is caught.value
    assert (record.connection, record.response, record.end) == (None, None, None)


async def test_fields_are_sent_and_the_kept_request_stays_as_it_is(
    autojump_clock: trio.abc.Clock,
) -> None:
    told = Adding(numbered)
    async with world(instruments=[Instrument(), told]) as w:
        for _ in range(2):
            await w.get(f"{A}/1")
        assert [request.header("X-Number") for request in w.a.requests] == ["1.1", "2.1"]
        kept = preparations(w.pool).plain("GET", f"{A}/1")
        assert kept.added == ()
        assert b"X-Number" not in [name for name, _ in kept.head.fields.lines]


async def test_what_the_request_has_itself_stays_and_each_name_is_sent_once(
    autojump_clock: trio.abc.Clock,
) -> None:
    def both(record: RequestRecord) -> Fields:
        return iter([("traceparent", "ours"), ("TraceParent", "again"), ("Accept", "none")])

    async with world(instruments=[Adding(both), Adding(both)]) as w:
        await w.get(f"{A}/1", headers={"traceparent": "theirs"})
        await w.get(f"{A}/2")
    got = [
        [(name, value) for name, value in request.headers if name.lower() == "traceparent"]
        for request in w.a.requests
    ]
    assert got == [[("traceparent", "theirs")], [("traceparent", "ours")]]
    assert {request.header("Accept") for request in w.a.requests} == {"*/*"}


async def test_a_request_of_every_kind_gets_the_fields(
    autojump_clock: trio.abc.Clock, tmp_path: Path
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"piece"

    (tmp_path / "file").write_bytes(b"x" * 100)
    bodies: list[dict[str, Any]] = [
        {"content": b"bytes"},
        {"content": pieces()},
        {"content": tmp_path / "file"},
        {"json": {}, "params": {"a": "b"}, "auth": ("a", "b")},
    ]
    async with world(instruments=[Adding(numbered)]) as w:
        for options in bodies:
            response = await w.pool.post(f"{A}/1", **options)
            assert response.status_code == 200
        async with w.pool.lease(A) as connection:
            await connection.request("GET", "/leased")
    assert [request.header("X-Number") for request in w.a.requests] == [
        f"{number}.1" for number in range(1, 6)
    ]
    assert len(w.a.requests[2].body) == 100


async def test_a_leased_connection_is_in_the_record(autojump_clock: trio.abc.Clock) -> None:
    told = Adding()
    async with world(instruments=[told]) as w, w.pool.lease(A) as connection:
        for number in (1, 2):
            await connection.request("GET", f"/{number}")
    found = [seen.then.connection for seen in told.seen if seen.hook == "end"]
    assert [one.reused for one in found if one is not None] == [False, True]


async def closes_at_the_second(stream: trio.abc.Stream, heads: list[bytes]) -> None:
    async with stream:
        heads.append(bytes(await stream.receive_some()))
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        heads.append(bytes(await stream.receive_some()))


async def test_a_request_that_is_sent_again_has_the_fields_of_its_second_attempt(
    autojump_clock: trio.abc.Clock,
) -> None:
    heads: list[bytes] = []
    errors: list[tuple[int, bool, bool]] = []

    def at_odd_attempts(record: RequestRecord) -> Fields:
        errors.append((record.resends, record.error is None, record.connection is None))
        return numbered(record) if record.request.attempt == 1 else None

    told = Adding(at_odd_attempts)
    async with Network() as network:
        network.listen("192.0.2.5", 80, lambda stream: closes_at_the_second(stream, heads))
        async with ConnectionPool(socket_factory=network.socket, instruments=[told]) as pool:
            for _ in range(2):
                await pool.get("http://192.0.2.5/")
    assert [b"X-Number" in head for head in heads[:3]] == [True, True, False]
    # While the second attempt begins, the record still tells of the first one.
    assert errors == [(0, True, True), (0, True, True), (1, False, False)]
    assert told.story == [
        *[("attempt", 1), ("end", 1)],
        *[("attempt", 1), ("attempt", 2), ("end", 2)],
    ]
    assert (told.seen[-1].then.error, told.seen[-1].then.resends) == (None, 1)


async def test_a_redirect_gets_fields_of_its_own(autojump_clock: trio.abc.Clock) -> None:
    seen: list[str | None] = []

    async def respond(request: Request) -> Reply:
        seen.append(request.header("X-Number"))
        if request.target == "/":
            return Reply(status=307, headers=[("Location", f"{B}/there")])
        return Reply()

    def only_the_first(record: RequestRecord) -> Fields:
        return numbered(record) if record.request.id == 1 else None

    for fields, expected in ((numbered, ["1.1", "2.1"]), (only_the_first, ["1.1", None])):
        told = Adding(fields)
        seen.clear()
        async with Network() as network:
            for address in ("192.0.2.1", "192.0.2.2"):
                network.listen(address, 80, http_server(respond))
            async with ConnectionPool(socket_factory=network.socket, instruments=[told]) as pool:
                await pool.get(f"{A}/", follow_redirects=True)
        assert seen == expected
        assert [one.then.resends for one in told.seen] == [0, 0, 1, 1]


async def test_a_redirect_that_can_not_be_followed_has_failed(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(status=302, headers=[("Location", "/again")])

    told = Adding()
    async with Network() as network:
        network.listen("192.0.2.1", 80, http_server(respond))
        async with ConnectionPool(socket_factory=network.socket, instruments=[told]) as pool:
            with pytest.raises(triopool.RedirectError) as caught:
                await pool.get(A, follow_redirects=triopool.Redirects(limit=1))
    ends = [seen.then for seen in told.seen if seen.hook == "end"]
    assert [record.error for record in ends] == [None, caught.value]
    assert ends[1].end is not None
    assert ends[1].end.outcome is Outcome.FAILED


async def test_a_field_of_a_proxy_that_forwards_stays(autojump_clock: trio.abc.Clock) -> None:
    """With the proxy, as with any other, a name is told once."""

    async def respond(request: Request) -> Reply:
        return Reply()

    async with Network() as network:
        proxy = http_proxy(network)
        network.listen("192.0.2.1", 80, http_server(respond))
        network.listen("192.0.2.9", 3128, proxy)
        for name, expected in (("X-Number", "the proxy's"), ("X-Other", "1.1")):
            async with ConnectionPool(
                socket_factory=network.socket,
                proxy=triopool.Proxy("http://192.0.2.9:3128", headers={name: "the proxy's"}),
                instruments=[Adding(numbered)],
            ) as pool:
                await pool.get(A)
            fields = proxy.requests[-1].headers
            assert [value for name, value in fields if name.lower() == "x-number"] == [expected]


@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Length", "5")],
        [("Host", "evil.example")],
        [(b"Transfer-Encoding", b"chunked")],
        [("upgrade", "h2c")],
        [("a b", "c")],
        [("a", "b\r\nc: d")],
        [("a",)],
        5,
    ],
    ids=str,
)
async def test_an_instrument_that_adds_what_it_may_not_is_switched_off(
    fields: Any, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    told = Adding(numbered)
    async with world(instruments=[Adding(lambda record: fields), told]) as w:
        for number in (1, 2):
            await w.get(f"{A}/{number}")
    assert [request.header("X-Number") for request in w.a.requests] == ["1.1", "2.1"]
    [logged] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "Adding raised in 'attempt_started': switched off" in logged.getMessage()


async def test_a_request_whose_connection_switches_is_over_with_the_head(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def switch(stream: trio.abc.Stream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
            )
            await stream.receive_some()

    ended: list[str] = []

    class Told(Adding):
        def response_ended(self, *facts: object) -> None:
            ended.append("response")

    told = Told()
    async with Network() as network:
        network.listen("192.0.2.1", 80, switch)
        async with ConnectionPool(socket_factory=network.socket, instruments=[told]) as pool:
            async with pool.stream("GET", A, headers={"Upgrade": "x"}):
                assert told.story == [("attempt", 1), ("end", 1)]
                assert ended == []
            assert ended == ["response"]
    assert len(told.seen) == 2
    record = told.seen[-1].record
    assert (record.end, record.error) == (None, None)
    assert record.response is not None
    assert record.response.status_code == 101


class Idled(Instrument):
    def __init__(self) -> None:
        self.ids: list[int] = []

    def idled(self, connection: triopool.ConnectionInfo) -> None:
        self.ids.append(connection.id)


async def test_a_connection_that_serves_nobody_is_told_as_idle(
    autojump_clock: trio.abc.Clock,
) -> None:
    told = Idled()
    async with world(max_connections=1, instruments=[told]) as w:
        await w.pool.warm_up(A)
        assert told.ids == [1]
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            for number in (1, 2):  # The second one gets it handed over: no idle in between.
                nursery.start_soon(w.get, f"{A}/{number}")
        assert told.ids == [1, 1]
