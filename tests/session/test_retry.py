"""When a session sends a request again, when it must not, and how long it waits."""

from __future__ import annotations

import logging
import math
import random
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from triopool import (
    ConnectError,
    ConnectionPool,
    ConnectTimeout,
    InvalidURL,
    LocalProtocolError,
    LoggingInstrument,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    ProxyError,
    ReadError,
    ReadTimeout,
    RedirectError,
    RemoteProtocolError,
    RequestInfo,
    ResolveError,
    ResponseEnd,
    ResponseInfo,
    Retry,
    RetryBudget,
    Timeouts,
    TLSError,
    TriopoolError,
    WriteError,
)
from triopool._origin import Origin
from triopool._session.budget import MAX_ACCOUNTS, Budgets
from triopool._session.retry_after import retry_after
from triopool.abc import Instrument
from triopool.testing import Reply

from .world import API, OTHER, jar, sets, to, web

EXACT = Retry(backoff=1.0, jitter=0)
"""Waits 1, 2, 4, 8 and 10 seconds."""


# ── What it is for ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"attempts": 0}, ValueError, "Retry.attempts must be at least 1"),
        ({"attempts": None}, TypeError, "Retry.attempts must be a whole number, not None"),
        ({"attempts": 1.5}, TypeError, "Retry.attempts must be a whole number"),
        ({"on": 503}, TypeError, r"Retry.on must have status codes .* not 503"),
        ({"on": OSError}, TypeError, r"not type, as in on=\(OSError,\)"),
        ({"on": "503"}, TypeError, "Retry.on must have status codes"),
        ({"on": ("503",)}, TypeError, "Retry.on may have .* not str"),
        ({"on": (OSError,)}, TypeError, "Retry.on may have .* not type"),
        ({"on": (True,)}, TypeError, "Retry.on may have .* not True"),
        ({"on": (100,)}, ValueError, "Retry.on has 100, which is no final status"),
        ({"backoff": -1}, ValueError, "Retry.backoff must not be negative, not -1"),
        ({"backoff": float("inf")}, ValueError, "Retry.backoff must be finite"),
        ({"max_backoff": float("inf")}, ValueError, "Retry.max_backoff must be finite"),
        ({"backoff": float("nan")}, ValueError, "Retry.backoff must not be negative"),
        ({"backoff": "1"}, TypeError, "Retry.backoff must be a number, not str"),
        ({"max_backoff": True}, TypeError, "Retry.max_backoff must be a number, not True"),
        ({"jitter": 1.1}, ValueError, r"Retry.jitter must be at most 1, not 1\.1"),
        ({"max_retry_after": None}, TypeError, "Retry.max_retry_after must be a number, not None"),
        ({"budget": 0.2}, TypeError, r"Retry.budget must be a triopool.RetryBudget or None, not 0"),
    ],
)
def test_a_retry_is_checked(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Retry(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"burst": 0.5}, "at least 1, not 0.5"), ({"ratio": -1}, "RetryBudget.ratio must not be")],
)
def test_a_budget_is_checked(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetryBudget(**options)


def test_the_reasons_may_be_any_iterable() -> None:
    assert Retry(on=[503, ReadError]).on == (503, ReadError)  # type: ignore[arg-type]
    assert not Retry(on=()).is_for_error(ConnectError("x"))


@pytest.mark.parametrize(
    ("on", "error", "expected"),
    [
        (None, ConnectError("x"), True),
        (None, ConnectTimeout("x"), True),
        (None, ResolveError("x"), True),
        (None, ProxyError("x"), True),
        (None, ProxyError("x", status_code=502), True),
        (None, ProxyError("x", status_code=407), False),
        (None, TLSError("x"), True),
        (None, ReadError("x"), False),
        (None, PoolTimeout("x"), False),
        ((ReadError, WriteError), ReadError("x"), True),
        ((ReadTimeout,), ReadTimeout("x"), True),
        ((TriopoolError,), RemoteProtocolError("x"), True),
        ((TriopoolError,), PoolTimeout("x"), True),
        ((TriopoolError,), PoolClosed("x"), False),
        ((TriopoolError,), LocalProtocolError("x"), False),
        ((TriopoolError,), InvalidURL("x"), False),
    ],
)
def test_which_errors_are_not_the_last_word(on: Any, error: TriopoolError, expected: bool) -> None:
    retry = Retry() if on is None else Retry(on=on)
    assert retry.is_for_error(error) is expected


def test_a_certificate_that_was_refused_will_be_refused_again() -> None:
    def distrust() -> TLSError:
        error = TLSError("x")
        error.__cause__ = ssl.SSLCertVerificationError("no")
        return error

    assert not Retry().is_for_error(distrust())
    several = TLSError("x")
    several.__cause__ = ExceptionGroup("all", [OSError("a"), distrust()])
    assert not Retry().is_for_error(several)
    broken = TLSError("x")
    broken.__cause__ = OSError("reset")
    assert Retry().is_for_error(broken)
    other = TLSError("x")
    other.__cause__ = ExceptionGroup("all", [OSError("a"), ssl.SSLError("reset")])
    assert Retry().is_for_error(other)


def test_it_waits_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = [EXACT.pause(attempts, None) for attempts in (1, 2, 3, 4, 5, 5000)]
    assert pauses == [1, 2, 4, 8, 10, 10]
    assert EXACT.pause(1, 30.0) == 30
    assert EXACT.pause(1, 61.0) is None
    half = Retry(backoff=1, jitter=0.5)
    for chance, usual, asked in [(0.0, 2.0, 30.0), (0.5, 1.5, 30.5), (1.0, 1.0, 31.0)]:
        monkeypatch.setattr(random, "random", lambda chance=chance: chance)
        assert half.pause(2, None) == usual
        assert half.pause(2, 30.0) == asked
    assert Retry(backoff=0).pause(9, None) == 0


# ── Retry-After ────────────────────────────────────────────────────────────────────────────────

DATE = (b"Date", b"Tue, 15 Nov 1994 08:12:31 GMT")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"120", 120.0),
        (b" 0 ", 0.0),
        (b"9999999999", 9999999999.0),
        (b"99999999999", 99999999999.0),
        (b"9" * 5000, math.inf),
        (b"-1", None),
        (b"1.5", None),
        (b"\xb2", None),
        (b"", None),
        (b"soon", None),
        (b"Tue, 15 Nov 1994 08:12:41 GMT", 10.0),
        (b"Tuesday, 15-Nov-94 08:12:41 GMT", 10.0),
        (b"Tue Nov 15 08:12:41 1994", 10.0),
        (b"Tue, 15 Nov 1994 08:12:60 GMT", 28.0),
        (b"Tue, 15 Nov 1994 08:12:21 GMT", 0.0),
        (b"Tue, 15 Nov 1994 28:12:41 GMT", None),
        (b"Tue, 32 Nov 1994 08:12:41 GMT", None),
        (b"Tue, 15 Nov 1994 08:12:41 GMT" + b" " * 50, None),
    ],
)
def test_what_a_server_asks_for(value: bytes, expected: float | None) -> None:
    assert retry_after([DATE, (b"retry-after", value)]) == expected


def test_a_date_is_read_by_the_servers_clock_or_else_by_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 784887151.0)  # As DATE.
    field = (b"Retry-After", b"Tue, 15 Nov 1994 08:12:41 GMT")
    assert retry_after([field]) == 10.0
    assert retry_after([field, (b"Date", b"now")]) == 10.0
    assert retry_after([field, (b"date", b"Tue, 15 Nov 1994 08:12:11 GMT")]) == 30.0
    assert retry_after([field, (b"Retry-After", b"20"), (b"Retry-After", b"x")]) == 20.0
    assert retry_after([DATE]) is None


# ── Over the wire ──────────────────────────────────────────────────────────────────────────────

BUSY = Reply(503, body=b"busy")


async def test_nothing_is_sent_again_unless_asked(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [BUSY, Reply(200)]
        assert (await w.pool.session(base_url=API).get("x")).status_code == 503
        assert (await w.pool.session(base_url=API, retry=EXACT).get("x")).status_code == 200
        w.replies["/x"] = [BUSY]
        api = w.pool.session(base_url=API, retry=EXACT)
        assert (await api.get("x", retry=None)).status_code == 503
        assert (await api.session(retry=None).get("x")).status_code == 503
        assert (api.retry, api.session().retry) == (EXACT, EXACT)
        assert len(w.seen) == 4


async def test_it_is_sent_until_it_is_answered(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [Reply(429), Reply(502), Reply(200, body=b"ok")]
        api = w.pool.session(base_url=API, retry=EXACT)
        assert (await api.get("x")).content == b"ok"
        assert trio.current_time() == 3.0
        assert len(w.seen) == 3
        assert w.pool.statistics().dialled == 1


async def test_the_last_response_is_the_callers(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [Reply(503, body=b"1"), Reply(504, body=b"2"), Reply(429, body=b"3")]
        api = w.pool.session(base_url=API, retry=EXACT)
        response = await api.get("x")
        assert (response.status_code, response.content) == (429, b"3")
        w.replies["/x"] = [Reply(503, body=b"1"), Reply(500, body=b"2")]
        assert (await api.get("x")).content == b"2"
        assert (await api.get("x", retry=Retry(attempts=1, on=(500,)))).content == b"2"
        assert len(w.seen) == 6


async def test_a_block_gets_the_last_response(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [BUSY, Reply(200, body=[b"a", b"b"], gap=1)]
        api = w.pool.session(base_url=API)
        async with api.stream("GET", "x", retry=EXACT) as response:
            assert [piece async for piece in response] == [b"a", b"b"]
        w.replies["/y"] = [BUSY]
        async with api.session(retry=Retry(attempts=2)).stream("GET", "y") as response:
            assert (response.status_code, await response.read()) == (503, b"busy")
        assert w.targets == ["/x", "/x", "/y", "/y"]


async def test_connections_that_fail_are_dialled_again(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(base_url="http://192.0.2.77/", retry=EXACT)
        with pytest.raises(ConnectError) as caught:
            await api.post("x", content=b"body")
        assert trio.current_time() == 3.0
        assert caught.value.__notes__[-1] == (
            "triopool has tried this 3 times, and gave up: Retry.attempts=3"
        )

        async def comes_up() -> None:
            await trio.sleep(0.5)
            w.network.listen("192.0.2.77", 80, w.serve("late"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(comes_up)
            assert (await api.post("x", content=b"body")).status_code == 200
        assert w.asked == ["POST late/x"]


async def rows() -> AsyncIterator[bytes]:
    yield b"a"
    yield b"b"


KINDS: list[tuple[dict[str, Any], bool]] = [
    ({"method": "GET"}, True),
    ({"method": "HEAD"}, True),
    ({"method": "OPTIONS"}, True),
    ({"method": "GET", "idempotent": False}, False),
    ({"method": "POST"}, False),
    ({"method": "PUT"}, False),
    ({"method": "DELETE"}, False),
    ({"method": "POST", "idempotent": True}, True),
    ({"method": "PUT", "idempotent": True, "content": b"ab"}, True),
    ({"method": "POST", "idempotent": True, "content": rows}, True),
    ({"method": "POST", "idempotent": True, "form": {"a": "b"}}, True),
    ({"method": "POST", "idempotent": True, "content": rows()}, False),
]


@pytest.mark.parametrize(("options", "again"), KINDS, ids=str)
async def test_what_may_be_sent_twice_is(
    autojump_clock: object, options: dict[str, Any], again: bool
) -> None:
    async with web() as w:
        w.replies["/x"] = [BUSY, Reply(200)]
        api = w.pool.session(base_url=API, retry=EXACT)
        response = await api.request(url="x", **options)
        assert response.status_code == (200 if again else 503)
        assert len(w.seen) == 1 + again
        assert len({request.body for _, request in w.seen}) == 1
        assert trio.current_time() == (1.0 if again else 0.0)


@pytest.mark.parametrize(
    ("options", "again"), [case for case in KINDS if "content" not in case[0]], ids=str
)
async def test_the_same_for_what_broke_off(
    autojump_clock: object, options: dict[str, Any], again: bool
) -> None:
    async def breaks(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        asked.append(1)

    asked: list[int] = []
    async with web() as w:
        w.network.listen("192.0.2.77", 80, breaks)
        api = w.pool.session(base_url="http://192.0.2.77", retry=Retry(on=(ReadError,), backoff=0))
        with pytest.raises(ReadError) as caught:
            await api.request(url="x", **options)
        assert len(asked) == (3 if again else 1)
        assert bool(getattr(caught.value, "__notes__", None)) is again


async def test_a_body_that_was_begun_and_can_be_produced_only_once_is_not_sent_again(
    autojump_clock: object,
) -> None:
    async def breaks(stream: trio.abc.Stream) -> None:
        while await stream.receive_some():
            await trio.sleep(1)
            return

    async with web() as w:
        w.network.listen("192.0.2.77", 80, breaks)
        api = w.pool.session(base_url="http://192.0.2.77", retry=Retry(on=(TriopoolError,)))
        with pytest.raises(TriopoolError):
            await api.post("x", content=rows(), idempotent=True)
        assert trio.current_time() == 1.0


async def test_a_file_is_sent_again(autojump_clock: object, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    async with web() as w:
        w.replies["/x"] = [BUSY, Reply(200)]
        api = w.pool.session(base_url=API, retry=EXACT, cookies=jar())
        await api.put("x", content=tmp_path / "file", idempotent=True)
        assert [request.body for _, request in w.seen] == [b"content", b"content"]


async def test_a_body_that_was_not_asked_for_goes_with_the_next_attempt(
    autojump_clock: object,
) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        refused.append(1)
        if len(refused) == 2:
            await server(stream)
        else:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    refused: list[int] = []
    async with web() as w:
        server = w.serve("late")
        w.network.listen("192.0.2.77", 80, serve)
        api = w.pool.session(base_url="http://192.0.2.77", retry=EXACT)
        await api.post("x", content=rows(), expect_continue=True, idempotent=True)
        assert [request.body for _, request in w.seen] == [b"ab"]
        w.pool.close_idle()
        body = rows()
        response = await api.post("x", content=body, expect_continue=True)
        assert response.status_code == 503  # For it may not be sent twice.
        with pytest.raises(StopAsyncIteration):
            await anext(body)


async def test_a_connect_error_leaves_a_body_that_can_be_sent_once(autojump_clock: object) -> None:
    async def comes_up() -> None:
        await trio.sleep(0.5)
        w.network.listen("192.0.2.77", 80, w.serve("late"))

    async with web() as w, trio.open_nursery() as nursery:
        api = w.pool.session(base_url="http://192.0.2.77", retry=EXACT)
        nursery.start_soon(comes_up)
        await api.post("x", content=rows())
        assert w.seen[-1][1].body == b"ab"
        body = rows()
        with pytest.raises(ConnectError):
            await api.post("http://192.0.2.78/", content=body)
        with pytest.raises(StopAsyncIteration):
            await anext(body)


async def test_a_body_that_breaks_off_is_asked_for_again_but_not_in_a_block(
    autojump_clock: object,
) -> None:
    async def breaks(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        asked.append(1)
        length = b"9" if len(asked) % 2 else b"2"
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\nok")

    asked: list[int] = []
    async with web() as w:
        w.network.listen("192.0.2.77", 80, breaks)
        api = w.pool.session(base_url="http://192.0.2.77", retry=Retry(on=(ReadError,), backoff=0))
        assert (await api.get("x")).content == b"ok"
        assert len(asked) == 2
        with pytest.raises(ReadError):
            async with api.stream("GET", "x") as response:
                await response.read()
        assert len(asked) == 3


# ── Waiting ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Tue, 15 Nov 1994 08:12:41 GMT", 10.0),
        ("never", 1.0),
        ("60", 60.0),
        ("61", None),
        ("Tue, 15 Nov 2094 08:12:41 GMT", None),
    ],
)
async def test_it_waits_as_long_as_the_server_says_within_a_bound(
    autojump_clock: object, field: str, seconds: float | None
) -> None:
    async with web() as w:
        date = ("Date", "Tue, 15 Nov 1994 08:12:31 GMT")
        w.replies["/x"] = [Reply(429, [("Retry-After", field), date]), Reply(200)]
        response = await w.pool.session(base_url=API, retry=EXACT).get("x")
        assert response.status_code == (429 if seconds is None else 200)
        assert trio.current_time() == (seconds or 0.0)


async def test_no_slot_is_held_while_it_waits(autojump_clock: object) -> None:
    async with web(max_connections=1) as w:
        # With all there is to the answer; with a rest to be drained; with one that never comes.
        for reply in (
            BUSY,
            Reply(503, body=[b"a", b"b"], gap=0.02),
            Reply(503, body=[b"a", b"b"], gap=30),
        ):
            w.replies["/x"] = [reply, Reply(200)]
            api = w.pool.session(base_url=API, retry=EXACT)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(api.get, "x")
                await trio.sleep(0.2)
                assert w.pool.statistics().busy == 0
                assert (await w.pool.get(f"{API}/between")).status_code == 200
            assert w.targets[-3:] == ["/x", "/between", "/x"]


async def test_it_never_waits_past_the_callers_deadline(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [Reply(503, body=b"last")]
        api = w.pool.session(base_url=API, retry=EXACT)
        with trio.fail_after(2.5):  # One wait of 1 s fits, and the next one, of 2 s, does not.
            response = await api.get("x")
        assert (response.status_code, response.content) == (503, b"last")
        assert (trio.current_time(), len(w.seen)) == (1.0, 2)
        with trio.fail_after(1.0), trio.CancelScope():
            await api.get("x")
        assert (trio.current_time(), len(w.seen)) == (1.0, 3)
        with pytest.raises(ConnectError) as caught, trio.fail_after(0.5):
            await api.get("http://192.0.2.77/")
        assert trio.current_time() == 1.0
        assert caught.value.__notes__[-1] == (
            "triopool has tried this once, and gave up: "
            "the deadline would pass in the 1 s until the next attempt"
        )


@pytest.mark.parametrize(
    ("url", "why"), [(f"{API}/x", "status 503"), ("http://192.0.2.77/x", "ConnectError")]
)
async def test_a_cancelled_wait_tells_what_it_was_for(
    autojump_clock: object, url: str, why: str
) -> None:
    async def ask() -> None:
        try:
            # The body of the one is sent, that of the other is not.
            await api.get(url, content=b"" if "api" in url else body)
        except trio.Cancelled as exc:
            notes.extend(exc.__notes__)
            raise

    notes: list[str] = []
    body = rows()
    async with web() as w:
        w.replies["/x"] = [BUSY]
        api = w.pool.session(retry=EXACT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
        where = url.removesuffix("/x")
        assert notes == [f"triopool was waiting 1 s to send GET to {where}:80 again, after {why}"]
        if why == "ConnectError":
            with pytest.raises(StopAsyncIteration):
                await anext(body)


# ── The budget ─────────────────────────────────────────────────────────────────────────────────

ORIGIN = Origin("http", "a.test", 80)


async def test_a_budget_fills_with_requests_and_with_time(autojump_clock: object) -> None:
    budgets, budget = Budgets(), RetryBudget(ratio=0.1, burst=2, per_second=0.5)
    assert [budgets.take(budget, ORIGIN) for _ in range(3)] == [True, True, False]
    for _ in range(10):
        budgets.count_request(budget, ORIGIN)
    assert [budgets.take(budget, ORIGIN) for _ in range(2)] == [True, False]
    await trio.sleep(2)
    assert [budgets.take(budget, ORIGIN) for _ in range(2)] == [True, False]
    await trio.sleep(1000)
    assert [budgets.take(budget, ORIGIN) for _ in range(3)] == [True, True, False]
    assert budgets.take(RetryBudget(ratio=0.1, burst=3), ORIGIN)
    assert budgets.take(budget, ORIGIN._replace(port=81))


async def test_only_so_many_origins_are_remembered(autojump_clock: object) -> None:
    budgets, budget = Budgets(), RetryBudget(burst=1)
    for port in range(1, MAX_ACCOUNTS + 1):
        assert budgets.take(budget, ORIGIN._replace(port=port))
    assert not budgets.take(budget, ORIGIN._replace(port=1))
    assert budgets.take(budget, ORIGIN._replace(port=1000))
    assert len(budgets) == MAX_ACCOUNTS
    assert not budgets.take(budget, ORIGIN._replace(port=1))
    assert budgets.take(budget, ORIGIN._replace(port=2))


async def test_a_dead_backend_is_not_stormed(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [BUSY]
        w.replies[f"{OTHER}/x"] = [BUSY]
        retry = Retry(backoff=0, budget=RetryBudget(per_second=0))
        for _ in range(100):  # A session each: the budget is the pool's.
            assert (await w.pool.session(retry=retry).get(f"{API}/x")).status_code == 503
        # Ten at once, and one for five requests from then on.
        assert 100 + 10 + 15 <= len(w.seen) <= 100 + 10 + 20
        before = len(w.seen)
        await w.pool.session(retry=retry).get(f"{OTHER}/x")
        assert len(w.seen) == before + 3
        await w.pool.session(retry=Retry(backoff=0, budget=None)).get(f"{API}/x")
        assert len(w.seen) == before + 6
        dead = w.pool.session(retry=Retry(backoff=0, budget=RetryBudget(0, 1, 0)))
        with pytest.raises(ConnectError) as caught:
            await dead.get("http://192.0.2.77/")
        assert caught.value.__notes__[-1].endswith(
            "2 times, and gave up: the budget for retries is used up"
        )


# ── With redirects and cookies ─────────────────────────────────────────────────────────────────


async def test_the_hop_that_failed_is_sent_again_and_not_those_before(
    autojump_clock: object,
) -> None:
    async with web() as w:
        w.replies["/1"] = [BUSY, to("/2", 303)]
        w.replies["/2"] = [BUSY, to(f"{OTHER}/3")]
        w.replies["/3"] = [BUSY]
        api = w.pool.session(
            base_url=API, retry=Retry(attempts=4, backoff=0), follow_redirects=True
        )
        response = await api.get("1")
        assert w.targets == ["/1", "/1", "/2", "/2", "/3", "/3"]
        assert (response.status_code, len(response.history)) == (503, 2)
        w.replies["/loop"] = [to("/loop")]
        with pytest.raises(RedirectError):
            await api.get("loop", retry=Retry(on=(TriopoolError,)))


async def test_what_is_retried_may_set_cookies(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [
            sets("a=1", "b=1", status=503),
            sets("a=; Max-Age=0", status=503),
            Reply(200),
        ]
        await w.pool.session(base_url=API, retry=EXACT, cookies=jar()).get("x")
        assert w.header("cookie") == [None, "a=1; b=1", "b=1"]


# ── What instruments are told ──────────────────────────────────────────────────────────────────


class Told(Instrument):
    def __init__(self) -> None:
        self.told: list[str] = []

    def request_started(self, request: RequestInfo) -> None:
        self.told.append(
            f"{request.id} started: retry {request.retries} of {request.retried_from}, "
            f"redirected from {request.redirected_from}"
        )

    def response_ended(
        self, request: RequestInfo, response: ResponseInfo, end: ResponseEnd
    ) -> None:
        self.told.append(f"{request.id} ended: {response.status_code} {end.outcome.value}")

    def request_failed(self, request: RequestInfo, error: BaseException) -> None:
        self.told.append(f"{request.id} failed: {type(error).__name__}")

    def request_retry_planned(
        self, request: RequestInfo, reason: int | BaseException, seconds: float
    ) -> None:
        why = reason if isinstance(reason, int) else type(reason).__name__
        self.told.append(f"{request.id} again in {seconds} s: {why}")


async def test_instruments_are_told(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    instrument = Told()
    caplog.set_level(logging.DEBUG, "triopool")
    async with web(instruments=[instrument, LoggingInstrument()]) as w:
        w.replies["/x"] = [to("/y")]
        w.replies["/y"] = [BUSY, Reply(429, body=[b"a", b"b"], gap=10), Reply(200)]
        api = w.pool.session(base_url=API, retry=EXACT, follow_redirects=True)
        await api.get("x")
        assert instrument.told == [
            "1 started: retry 0 of None, redirected from None",
            "1 ended: 302 complete",
            "2 started: retry 0 of None, redirected from 1",
            "2 ended: 503 complete",
            "2 again in 1.0 s: 503",
            "3 started: retry 1 of 2, redirected from 1",
            "3 ended: 429 left",
            "3 again in 2.0 s: 429",
            "4 started: retry 2 of 3, redirected from 1",
            "4 ended: 200 complete",
        ]
        instrument.told.clear()
        with pytest.raises(ConnectError):
            await api.get("http://192.0.2.77/", retry=Retry(attempts=2, backoff=0))
        assert instrument.told == [
            "5 started: retry 0 of None, redirected from None",
            "5 failed: ConnectError",
            "5 again in 0.0 s: ConnectError",
            "6 started: retry 1 of 5, redirected from None",
            "6 failed: ConnectError",
        ]
        lines = [record.getMessage() for record in caplog.records]
        assert (
            "#2 GET http://api.test:80 is tried again in 1.000 s: it was answered with 503" in lines
        )
        assert "#3 GET http://api.test:80 begins, a retry of #2" in lines
        assert any(
            "#5 GET http://192.0.2.77:80/ is tried again in 0.000 s: could" in x for x in lines
        )


# ── Others ─────────────────────────────────────────────────────────────────────────────────────


async def test_what_never_leaves_the_pool_may_be_tried_again(autojump_clock: object) -> None:
    async with web(max_connections=1, max_waiting=0) as w:
        api = w.pool.session(base_url=API)
        async with w.pool.lease(API):
            with pytest.raises(PoolFull):
                await api.post("x", retry=EXACT)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: api.post("x", retry=Retry(on=(PoolFull,), backoff=1)))
                await trio.sleep(0.1)
                nursery.start_soon(trio.sleep, 0)
                w.pool.max_connections = 2
        assert w.asked == [f"POST {API}/x"]


async def test_a_pool_that_is_left_ends_the_wait(autojump_clock: object) -> None:
    async def ask() -> None:
        with pytest.raises(PoolClosed):
            await api.get("x")
        asked.append(trio.current_time())

    asked: list[float] = []
    async with trio.open_nursery() as nursery, web() as w:
        w.replies["/x"] = [BUSY]
        api = w.pool.session(base_url=API, retry=Retry(backoff=10, max_backoff=10, jitter=0))
        nursery.start_soon(ask)
        await trio.sleep(0.1)
    assert asked == [10.0]


async def test_a_timeout_of_each_attempt(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [Reply(delay=20), Reply(200)]
        api = w.pool.session(
            base_url=API, timeouts=Timeouts(read=2), retry=Retry(on=(ReadTimeout,), backoff=0)
        )
        assert (await api.get("x")).status_code == 200
        assert trio.current_time() == 2.0


def test_a_pool_that_is_not_entered_can_have_sessions() -> None:
    assert ConnectionPool().session(retry=Retry()).retry == Retry()


async def test_each_hop_counts_for_the_budget_of_its_origin(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [to(f"{OTHER}/y")]
        w.replies["/y"] = [BUSY]
        retry = Retry(backoff=0, attempts=2, budget=RetryBudget(ratio=0.5, burst=1, per_second=0))
        api = w.pool.session(base_url=API, retry=retry, follow_redirects=True)
        for _ in range(6):
            await api.get("x")
        # One at first, and one for two requests from then on.
        assert w.targets.count("/y") == 6 + 1 + 2
