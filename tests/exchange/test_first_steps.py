"""What a newcomer from another client meets first: words that help, and no surprises."""

# ruff: noqa: SIM117 - one line for the world, the next for what happens in it.
from __future__ import annotations

import asyncio
import copy
import dataclasses
import inspect
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import triopool.httpx
from triopool import ConnectionPool, Timeouts
from triopool._trio_only import check_trio
from triopool.testing import KeepOpen, ReceiveRequest, Send, script

from .world import URL, Answering, ok, serving

# ── Timeouts ───────────────────────────────────────────────────────────────────────────────────


def test_one_number_is_for_all_four_timeouts() -> None:
    assert Timeouts(5) == Timeouts(pool=5, connect=5, write=5, read=5)
    assert Timeouts(None) == Timeouts(pool=None, connect=None, write=None, read=None)
    assert Timeouts(5, read=60) == Timeouts(pool=5, connect=5, write=5, read=60)
    assert Timeouts(5, read=None).read is None


def test_timeouts_that_are_not_given_keep_their_defaults() -> None:
    assert repr(Timeouts()) == "Timeouts(pool=30.0, connect=10.0, write=30.0, read=30.0)"
    assert repr(Timeouts(read=1)) == "Timeouts(pool=30.0, connect=10.0, write=30.0, read=1)"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((5, 6), {}, "positional argument"),
        ((), {"total": 5}, "unexpected keyword argument 'total'"),
        ((), {"each": 5}, "positional-only"),
        (("5",), {}, "Timeouts.pool must be a number of seconds or None, not str"),
        ((0,), {}, "Timeouts.pool must be positive"),
        ((5,), {"read": -1}, r"Timeouts.read must be positive \(None for no limit\), not -1"),
    ],
)
def test_timeouts_that_make_no_sense_are_refused(
    arguments: Any, options: Any, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Timeouts(*arguments, **options)


def test_timeouts_are_a_value() -> None:
    timeouts = Timeouts(5, read=60)
    assert dataclasses.replace(timeouts, read=7) == Timeouts(5, read=7)
    assert hash(timeouts) == hash(Timeouts(5, read=60))
    assert pickle.loads(pickle.dumps(timeouts)) == copy.copy(timeouts) == timeouts
    with pytest.raises(dataclasses.FrozenInstanceError):
        timeouts.read = 5  # type: ignore[misc]
    # What a reader of its signature sees for "not given".
    assert str(inspect.signature(Timeouts)).startswith("(each: 'float | None' = ..., /, *, pool")


# ── The keywords of other clients ──────────────────────────────────────────────────────────────

HINTS = {
    "timeout": "did you mean timeouts=triopool.Timeouts(...), or a cancel scope such as",
    "data": "did you mean form= or content=?",
    "files": "did you mean multipart=?",
    "allow_redirects": "did you mean follow_redirects=?",
    "verify": "did you mean ssl_context=?",
    "cookies": "did you mean headers={'Cookie': ...}, or pool.session(cookies=True)?",
    "base_url": "did you mean pool.session(base_url=...)?",
    "retries": "did you mean pool.session(retry=triopool.Retry(...))?",
    "proxies": "did you mean proxy=?",
    "proxy_auth": "did you mean proxy=triopool.Proxy(url, auth=...)?",
}


@pytest.mark.parametrize("name", HINTS)
@pytest.mark.parametrize("how", ["request", "get", "post", "stream", "leased", "leased stream"])
async def test_the_keyword_of_another_client_is_told_with_the_one_that_was_meant(
    autojump_clock: object, how: str, name: str
) -> None:
    option: Any = {name: 5}
    async with serving(Answering()) as (pool, network):
        async with pool.lease(URL) as leased:
            accepted = network.connections_accepted("192.0.2.1", 80)
            calls: dict[str, Callable[[], Any]] = {
                "request": lambda: pool.request("GET", URL, **option),
                "get": lambda: pool.get(URL, **option),
                "post": lambda: pool.post(URL, **option),
                "stream": lambda: pool.stream("GET", URL, **option),
                "leased": lambda: leased.request("GET", "/", **option),
                "leased stream": lambda: leased.stream("GET", "/", **option),
            }
            with pytest.raises(TypeError) as caught:
                await calls[how]()
            assert network.connections_accepted("192.0.2.1", 80) == accepted
    assert f"got an unexpected keyword argument {name!r}: {HINTS[name]}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("timeout", ": did you mean timeouts=triopool.Timeouts(...)"),
        ("verify", ": did you mean ssl_context=?"),
        ("limits", ": did you mean max_connections= and max_idle=?"),
        ("headers", ": did you mean the same argument of each request, or of pool.session()?"),
        ("cookies", ": did you mean the same argument of pool.session()?"),
        ("proxies", ": did you mean proxy=, or proxy=triopool.ProxyRules(http=..., https=...)?"),
        ("proxy_auth", ": did you mean proxy=triopool.Proxy(url, auth=...)?"),
        ("trust_env", ": did you mean proxy=triopool.ProxyRules.from_environment()?"),
        ("nonsense", ""),
    ],
)
@pytest.mark.parametrize("make", [ConnectionPool, triopool.httpx.TriopoolTransport])
def test_a_keyword_that_no_pool_has_is_told_with_the_one_that_was_meant(
    make: Any, name: str, hint: str
) -> None:
    with pytest.raises(TypeError) as caught:
        make(**{name: 5})
    begin = f"ConnectionPool() got an unexpected keyword argument {name!r}{hint}"
    assert str(caught.value).startswith(begin)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("timeouts", "timeout="),
        ("max_connections", "limits="),
        ("socket_factory", "pool=triopool.ConnectionPool(...)"),
    ],
)
def test_a_keyword_of_a_pool_given_to_a_client_of_httpx_is_told(name: str, hint: str) -> None:
    with pytest.raises(TypeError) as caught:
        triopool.httpx.AsyncClient(**{name: 5})
    said = f"AsyncClient() got an unexpected keyword argument {name!r}: did you mean {hint}?"
    assert str(caught.value) == said


async def test_a_lease_tells_it_too(autojump_clock: object) -> None:
    option: Any = {"timeout": 5}
    async with serving(Answering()) as (pool, _):
        with pytest.raises(TypeError, match=r"^lease\(\) got .* 'timeout': did you mean timeouts="):
            pool.lease(URL, **option)


# ── Under something else than Trio ─────────────────────────────────────────────────────────────


def test_under_asyncio_the_error_says_that_triopool_is_for_trio() -> None:
    async def with_a_pool() -> None:
        async with ConnectionPool():
            pass

    async def with_httpx() -> None:
        async with httpx.AsyncClient(transport=triopool.httpx.TriopoolTransport()):
            pass

    for main in (with_a_pool, with_httpx):
        with pytest.raises(
            RuntimeError, match=r"^triopool is for Trio, .* under asyncio"
        ) as caught:
            asyncio.run(main())
        assert caught.value.__context__ is None


async def test_a_pool_that_is_used_in_another_thread_says_so(autojump_clock: object) -> None:
    raised = []

    def elsewhere(pool: ConnectionPool, *, under_asyncio: bool) -> None:
        async def use() -> None:
            pool.close_idle()

        try:
            if under_asyncio:
                asyncio.run(use())
            else:
                pool.close_idle()
        except RuntimeError as exc:
            raised.append(str(exc))

    async with serving(Answering()) as (pool, _):
        for under_asyncio in (False, True):
            options = {"under_asyncio": under_asyncio}
            thread = threading.Thread(target=elsewhere, args=[pool], kwargs=options)
            thread.start()
            thread.join()
    assert "not in a Trio task (in another thread?)" in raised[0]
    assert "under asyncio: run the program with trio.run()" in raised[1]


def test_outside_of_any_run_nothing_is_said_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "asyncio")
    with pytest.raises(RuntimeError, match="not in a Trio task"):
        check_trio()


# ── The content of a stream ────────────────────────────────────────────────────────────────────


async def test_content_says_that_a_body_was_read_as_a_stream(autojump_clock: object) -> None:
    server = script(
        ReceiveRequest(),
        Send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd"),
        KeepOpen(),
    )
    async with serving(server) as (pool, _), pool.stream("GET", URL) as response:
        with pytest.raises(RuntimeError, match="the body has not been read: 'await response"):
            _ = response.content
        assert await response.receive_some(1) == b"a"
        with pytest.raises(RuntimeError, match="a part of the body was read as a stream"):
            _ = response.content
        assert b"".join([piece async for piece in response]) == b"bcd"
        for get in (lambda: response.content, lambda: response.text, response.json):
            with pytest.raises(RuntimeError, match="was read as a stream, to its end, and is not"):
                get()


async def test_the_rest_of_a_stream_can_still_be_read(autojump_clock: object) -> None:
    async with serving(Answering(ok(b"abcd"))) as (pool, _):
        async with pool.stream("GET", URL) as response:
            await response.receive_some(1)
            assert await response.read() == b"bcd" == response.content
