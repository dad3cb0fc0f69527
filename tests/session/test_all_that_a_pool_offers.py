"""What a session offers beside requests: events, downloads, streams. It leaves none out."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import pytest
import trio
from reading.shelf import CONTENT, Shelf
from websocket import world as sockets

import triopool.websocket
from triopool import (
    DIRECT,
    ConnectionPool,
    InvalidURL,
    LeasedConnection,
    RedirectError,
    Retry,
    Session,
    StatusError,
    Timeouts,
)
from triopool.abc import Instrument
from triopool.testing import Reply, http_proxy

from .world import API, OTHER, Web, jar, to, web

EXACT = Retry(backoff=1.0, jitter=0)
OF_THE_POOL = {"close_idle", "drain", "is_open", "max_connections", "retire", "statistics"}
"""What concerns all that share it."""


def events(*lines: str, **fields: str) -> Reply:
    headers = {"Content-Type": "text/event-stream", **fields}
    return Reply(headers=headers, body="".join(f"{line}\n" for line in lines).encode(), close=True)


# ── None is left out ───────────────────────────────────────────────────────────────────────────


def offered(kind: type) -> set[str]:
    # What only has an answer for those who ask for it (_habits.py) is not offered.
    return {name for name in dir(kind) if not name.startswith("_") and hasattr(kind, name)}


def parameters(kind: type, name: str) -> list[tuple[str, object, object]]:
    """Their names, kinds and defaults; but for where it leads, for which a session has a base."""
    found = inspect.signature(getattr(kind, name)).parameters.values()
    return [
        (one.name, one.kind, None if one.name == "url" else one.default)
        for one in found
        if one.name != "self"
    ]


def test_a_session_offers_what_a_pool_does() -> None:
    assert offered(ConnectionPool) - offered(Session) == OF_THE_POOL
    assert offered(Session) - offered(ConnectionPool) == {"base_url", "cookies", "retry"}
    for name in offered(ConnectionPool) & offered(Session):
        assert parameters(Session, name) == parameters(ConnectionPool, name), name


def test_a_lease_offers_what_one_connection_can_do() -> None:
    verbs = {"delete", "get", "head", "options", "patch", "post", "put", "request", "stream"}
    assert offered(LeasedConnection) == {"end", "info", "is_usable", *verbs}
    for name in verbs:
        assert parameters(LeasedConnection, name) == parameters(ConnectionPool, name)


async def test_a_lease_has_the_usual_methods(autojump_clock: object) -> None:
    async with web() as w, w.pool.lease(API) as connection:
        for name in ("get", "head", "post", "put", "patch", "delete", "options"):
            await getattr(connection, name)("/x")
        assert w.asked == [
            f"{name} {API}/x"
            for name in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        ]
        assert {request.connection_number for _, request in w.seen} == {1}


# ── Events ─────────────────────────────────────────────────────────────────────────────────────


async def test_events_are_asked_for_as_all_else_is(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/v1/news?p=1&q=2"] = [
            events("id: 7", "data: a", "", **{"Set-Cookie": "c=1"}),
            events("data: b", ""),
            Reply(204),
        ]
        api = w.pool.session(
            base_url="http://a:1@api.test/v1/",
            headers={"Accept": "application/json", "X-Mine": "1", "X-Other": "2"},
            params={"p": 1},
            cookies=jar(),
        )
        headers = iter([("X-Mine", None), ("X-Own", "3")])
        async with api.events("news", headers=headers, params=iter([("q", 2)])) as source:
            assert [event.data async for event in source] == ["a", "b"]
        assert w.header("accept") == ["text/event-stream"] * 3
        assert w.header("last-event-id") == [None, "7", "7"]
        assert w.header("cookie") == [None, "c=1", "c=1"]
        assert [w.header(f"x-{name}") for name in ("mine", "other", "own")] == [
            [None] * 3,
            ["2"] * 3,
            ["3"] * 3,
        ]
        assert w.last("authorization") is not None


async def test_a_session_retries_what_events_ask_for(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/news"] = [Reply(503), events("data: a", ""), Reply(503), Reply(204)]
        began = trio.current_time()
        async with w.pool.session(base_url=API, retry=EXACT).events("news") as source:
            assert trio.current_time() == began + 1
            assert [event.data async for event in source] == ["a"]
            assert trio.current_time() == began + 1 + 3 + 1
        w.replies["/news"] = [Reply(503)]
        with pytest.raises(StatusError):
            async with w.pool.session(base_url=API, retry=EXACT).events("news", retry=None):
                raise AssertionError


# ── Downloads ──────────────────────────────────────────────────────────────────────────────────


def put_on_shelves(w: Web, *names: str) -> list[Shelf]:
    """A server at each name that breaks off half way."""
    shelves = []
    for number, name in enumerate(names, 100):
        shelf = Shelf(CONTENT, 1000)
        w.network.host(name, f"192.0.2.{number}")
        w.network.listen(f"192.0.2.{number}", 80, shelf)
        shelves.append(shelf)
    return shelves


async def test_a_download_is_asked_for_as_all_else_is(
    autojump_clock: object, tmp_path: Path
) -> None:
    async with web() as w:
        [shelf] = put_on_shelves(w, "files.test")
        headers = {"X-Mine": "1", "X-Other": "2"}
        api = w.pool.session(base_url="http://files.test/v1/", headers=headers)
        response = await api.download("a", tmp_path / "a", headers={"x-other": None})
        assert response.status_code == 206
        assert (tmp_path / "a").read_bytes() == CONTENT
        assert shelf.asked == [(None, None), ("bytes=1000-", '"one"')]
        assert [request.target for request in shelf.requests] == ["/v1/a"] * 2
        assert [request.header("x-mine") for request in shelf.requests] == ["1"] * 2
        assert [request.header("x-other") for request in shelf.requests] == [None] * 2


async def test_what_is_left_of_one_session_s_file_is_not_the_beginning_of_another_s(
    autojump_clock: object, tmp_path: Path
) -> None:
    """Their relative URLs, and even their ETags, may be the same."""
    async with web() as w:
        one, two = put_on_shelves(w, "one.files.test", "two.files.test")
        one.cuts = two.cuts = [1000, 0, 0, 0]
        path = tmp_path / "a"
        first = w.pool.session(base_url="http://one.files.test/")
        second = w.pool.session(base_url="http://two.files.test/")
        with pytest.raises(triopool.ReadError):
            await first.download("a", path, resume=True)
        two.cuts = []
        await second.download("a", path, resume=True)
        assert two.asked == [(None, None)]
        one.cuts = [1000, 0, 0, 0]
        with pytest.raises(triopool.ReadError):
            await first.download("a", path, resume=True, params={"p": 1})
        one.cuts, one.asked = [], []
        await first.session(params={"p": 1}).download("a", path, resume=True)
        assert one.asked == [("bytes=1000-", '"one"')]


async def test_a_session_retries_a_download(autojump_clock: object, tmp_path: Path) -> None:
    async with web() as w:
        w.replies["/a"] = [Reply(503), Reply(body=b"all")]
        await w.pool.session(base_url=API, retry=EXACT).download("a", tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == b"all"


async def test_a_download_in_a_closed_pool_touches_no_file(
    autojump_clock: object, tmp_path: Path
) -> None:
    async with web() as w:
        api = w.pool.session(base_url=API)
    for ask in (lambda: api.events("a"), api.connect, api.lease):
        with pytest.raises(triopool.PoolClosed):
            ask()
    with pytest.raises(triopool.PoolClosed):
        await api.download("a", tmp_path / "a")
    assert not os.listdir(tmp_path)


# ── Connections ────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_goes_where_the_session_leads_and_on_its_way(
    autojump_clock: object,
) -> None:
    async with web(max_connections=2) as w:
        proxy = http_proxy(w.network)
        w.network.listen("192.0.2.8", 3128, proxy)
        api = w.pool.session(
            base_url=f"{API}/v1/", proxy="http://192.0.2.8:3128", timeouts=Timeouts(pool=1)
        )
        async with api.connect() as stream:
            await stream.send_all(b"GET /raw HTTP/1.1\r\nHost: api.test\r\n\r\n")
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 200")
        assert [(one.method, one.target) for one in proxy.requests] == [("CONNECT", "api.test:80")]
        async with api.connect("x", proxy=DIRECT), api.connect(OTHER, proxy=DIRECT):
            with pytest.raises(triopool.PoolTimeout):
                async with api.connect("x"):
                    raise AssertionError
        assert len(proxy.requests) == 1
        with pytest.raises(TypeError, match="timeouts="):
            api.connect(timeout=1)  # type: ignore[call-arg]


async def test_connections_are_opened_where_the_session_leads(autojump_clock: object) -> None:
    async with web() as w:
        proxy = http_proxy(w.network)
        w.network.listen("192.0.2.8", 3128, proxy)
        api = w.pool.session(base_url=f"{API}/v1/", proxy="http://192.0.2.8:3128")
        await api.warm_up(n=2)
        assert w.pool.statistics().idle == 2
        assert (await api.get("x")).connection.reused
        await api.warm_up("/", 1, proxy=DIRECT)
        assert w.pool.statistics().idle == 3


@pytest.mark.parametrize("url", ["../x", f"{OTHER}/v1/", "/", "%2e%2e/x"])
async def test_nothing_leads_out_of_a_session_that_is_confined(
    url: str, autojump_clock: object, tmp_path: Path
) -> None:
    async with web() as w:
        api = w.pool.session(base_url=f"{API}/v1/", confined=True)
        with pytest.raises(InvalidURL, match="confined"):
            async with api.events(url):
                raise AssertionError
        with pytest.raises(InvalidURL, match="confined"):
            await api.download(url, tmp_path / "a")
        with pytest.raises(InvalidURL, match="confined"):
            api.connect(url)
        with pytest.raises(InvalidURL, match="confined"):
            await api.warm_up(url)
        assert not w.seen
        assert not os.listdir(tmp_path)


async def test_no_redirect_leads_events_or_a_download_out(
    autojump_clock: object, tmp_path: Path
) -> None:
    told = Ends()
    async with web(instruments=[told]) as w:
        w.replies["/v1/a"] = [to("/b")]
        api = w.pool.session(base_url=f"{API}/v1/", confined=True, follow_redirects=True)
        with pytest.raises(RedirectError, match="confined"):
            async with api.events("a"):
                raise AssertionError
        with pytest.raises(RedirectError, match="confined"):
            await api.download("a", tmp_path / "a")
        assert w.targets == ["/v1/a"] * 2
    assert told.outcomes == [triopool.Outcome.FAILED] * 2


# ── WebSockets, and what instruments hear ──────────────────────────────────────────────────────


async def test_a_websocket_of_a_session(autojump_clock: object) -> None:
    peers: list[sockets.Peer] = []

    async def echo(peer: sockets.Peer) -> None:
        peers.append(peer)
        await sockets.echo(peer)

    async with sockets.serving(echo) as pool:
        api = pool.session(base_url="http://192.0.2.1/v1/", headers={"X-Mine": "1"}, confined=True)
        for url in ("chat", "ws://192.0.2.1/v1/chat"):
            async with triopool.websocket.connect(api, url) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
        with pytest.raises(InvalidURL, match="confined"):
            triopool.websocket.connect(api, "ws://192.0.2.1/chat")
    assert [peer.head.split(b" ")[1] for peer in peers] == [b"/v1/chat"] * 2
    assert [peer.field("X-Mine") for peer in peers] == ["1"] * 2


class Ends(Instrument):
    def __init__(self) -> None:
        self.records: list[triopool.RequestRecord] = []

    def request_ended(self, record: triopool.RequestRecord) -> None:
        self.records.append(record)

    @property
    def outcomes(self) -> list[Any]:
        return [record.end and record.end.outcome for record in self.records]


async def test_a_record_counts_retries_and_redirects(autojump_clock: object) -> None:
    told = Ends()
    async with web(instruments=[told]) as w:
        w.replies["/a"] = [Reply(503), Reply(503), to("/b")]
        w.replies["/b"] = [Reply(503), Reply(200)]
        retry = Retry(attempts=9, backoff=1.0, jitter=0)
        await w.pool.session(base_url=API, retry=retry, follow_redirects=True).get("a")
    assert [record.request.target for record in told.records] == ["/a"] * 3 + ["/b"] * 2
    assert [record.resends for record in told.records] == [0, 1, 2, 3, 4]
