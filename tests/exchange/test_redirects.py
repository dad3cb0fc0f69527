"""Redirects: where they lead, what goes along, and what never does."""

from __future__ import annotations

import logging
import ssl
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from triopool import (
    ConnectionPool,
    LocalProtocolError,
    LoggingInstrument,
    RedirectError,
    Redirects,
    RequestInfo,
    Response,
    StatusError,
)
from triopool.abc import Instrument
from triopool.testing import HTTPServer, Network, Reply, Request, http_server

from .world import URL, Answer, Answering, nothing_held, pieces, serving

SECRET = "SECRET"


def to(location: str, status: int = 302, body: bytes = b"moved") -> Reply:
    return Reply(status, (("Location", location),), body)


def echo(request: Request) -> Reply:
    """What arrived, as a response says it best: method, target, and the body."""
    text = f"{request.method} {request.target} ".encode()
    return Reply(200, (), text + request.body)


class Web:
    """Servers at a.test and b.test, over http and https, that redirect as they are told.

    Attributes:
      redirects: the answer for a path, once or always; other paths are echoed.
      seen: what arrived, with the scheme and host.
    """

    def __init__(self, pool: ConnectionPool, network: Network) -> None:
        self.pool = pool
        self.network = network
        self.redirects: dict[str, Reply] = {}
        self.seen: list[tuple[str, Request]] = []

    def serve(self, where: str) -> HTTPServer:
        async def respond(request: Request) -> Reply:
            self.seen.append((where, request))
            return self.redirects.get(request.target) or echo(request)

        return http_server(respond)

    @property
    def asked(self) -> list[str]:
        return [f"{request.method} {where}{request.target}" for where, request in self.seen]

    def header(self, name: str) -> list[str | None]:
        """What each request had for this field."""
        return [request.header(name) for _, request in self.seen]


@asynccontextmanager
async def web(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None, **options: Any
) -> AsyncIterator[Web]:
    client, server = contexts or (None, None)
    async with Network() as network:
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, ssl_context=client, **options
        ) as pool:
            world = Web(pool, network)
            for number, name in enumerate(("one.test", "two.test"), 1):
                address = f"192.0.2.{number}"
                network.host(name, address)
                network.listen(address, 80, world.serve(f"http://{name}"))
                if server is not None:
                    handler = world.serve(f"https://{name}")
                    network.listen(address, 443, handler, ssl_context=server)
            yield world
            await trio.sleep(1)
            nothing_held(pool, network)
        assert not network.open_sockets


@pytest.fixture
def contexts(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return client_ssl_context, server_ssl_context


# ── Where they lead ────────────────────────────────────────────────────────────────────────────


async def test_a_redirect_is_a_response_like_any_other_unless_asked(
    autojump_clock: object,
) -> None:
    async with web() as w:
        w.redirects["/"] = to("/there")
        response = await w.pool.get("http://one.test/")
        assert (response.status_code, response.content, response.history) == (302, b"moved", ())
        assert w.asked == ["GET http://one.test/"]


async def test_redirects_are_followed_and_remembered(autojump_clock: object) -> None:
    async with web() as w:
        w.redirects["/1"] = to("/2?q=1", 301)
        w.redirects["/2?q=1"] = to("http://two.test/3", 307)
        response = await w.pool.get("http://one.test/1", follow_redirects=True)
        assert response.content == b"GET /3 "
        assert response.url == "http://two.test/3"
        assert [(r.status_code, r.url, len(r.history)) for r in response.history] == [
            (301, "http://one.test/1", 0),
            (307, "http://one.test/2?q=1", 1),
        ]
        assert response.history[0].headers["location"] == "/2?q=1"
        assert w.asked == [
            "GET http://one.test/1",
            "GET http://one.test/2?q=1",
            "GET http://two.test/3",
        ]
        assert w.pool.statistics().dialled == 2  # The body of a redirect costs no connection.


async def test_streams_and_leases_follow_too(autojump_clock: object) -> None:
    async with web(max_connections=1) as w:
        w.redirects["/1"] = to("/2")
        w.redirects["/away"] = to("http://two.test/")
        url = "http://one.test/1"
        async with w.pool.stream("GET", url, follow_redirects=True) as response:
            assert (await response.read(), len(response.history)) == (b"GET /2 ", 1)
        async with w.pool.lease(url) as connection:
            response = await connection.request("GET", "/1", follow_redirects=True)
            assert (response.content, len(response.history)) == (b"GET /2 ", 1)
            with pytest.raises(LocalProtocolError, match=r"leads away: .* http://two.test:80"):
                await connection.request("GET", "/away", follow_redirects=True)
            assert connection.is_usable
        assert w.pool.statistics().dialled == 1


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("/x", "/x"),
        ("x", "/a/x"),
        ("../x", "/x"),
        ("?x=1", "/a/b?x=1"),
        ("//one.test/x", "/x"),
        ("HTTP://ONE.TEST:80/x", "/x"),
        ("/x#fragment", "/x"),
        ("/a b", "/a%20b"),
        ("/%2e%2E/x", "/%2e%2E/x"),
        ("/\\x", "/%5Cx"),
        ("", "/a/b?c"),
    ],
)
async def test_a_location_is_resolved_against_the_url(
    autojump_clock: object, location: str, leads_to: str
) -> None:
    async with web() as w:
        w.redirects["/a/b?c"] = to(location)
        options = {"follow_redirects": Redirects(limit=1)}
        if not location:
            with pytest.raises(RedirectError, match="limit of 1"):
                await w.pool.get("http://one.test/a/b?c", **options)
        else:
            await w.pool.get("http://one.test/a/b?c", **options)
        assert w.asked[1] == f"GET http://one.test{leads_to}"


@pytest.mark.parametrize(
    ("raw", "leads_to"),
    [("/é".encode(), "/%C3%A9"), ("/é".encode("latin-1"), "/%C3%A9"), (b"/%c3%a9", "/%c3%a9")],
)
async def test_a_location_beyond_ascii_is_encoded(
    autojump_clock: object, raw: bytes, leads_to: str
) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % raw
    async with serving(Answering(redirect)) as (pool, _):
        response = await pool.get(URL, follow_redirects=True)
        assert response.content == leads_to.encode()


@pytest.mark.parametrize("status", [300, 304, 305, 306, 399])
async def test_other_statuses_lead_nowhere(autojump_clock: object, status: int) -> None:
    async with web() as w:
        w.redirects["/"] = to("/x", status, b"")
        response = await w.pool.get("http://one.test/", follow_redirects=True)
        assert (response.status_code, len(w.seen)) == (status, 1)


async def test_without_a_location_there_is_nothing_to_follow(autojump_clock: object) -> None:
    async with web() as w:
        w.redirects["/"] = Reply(302, (), b"moved, I won't say where")
        response = await w.pool.get("http://one.test/", follow_redirects=True)
        assert (response.status_code, response.content) == (302, b"moved, I won't say where")


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("ftp://one.test/", "not an http or https URL"),
        ("javascript:alert(1)", "not an http or https URL"),
        ("http://[::1/", "can't be parsed"),
        ("http://127.1/", "no IPv4 address"),
        (f"http://u:{SECRET} @two.test/", "credentials"),
        ("http://\x7f/", "control character"),
    ],
)
async def test_a_location_that_leads_nowhere_is_told(
    autojump_clock: object, location: str, why: str
) -> None:
    raw = b"HTTP/1.1 302 Found\r\nContent-Length: 2\r\nLocation: %s\r\n\r\nhi" % location.encode()
    async with serving(Answering(raw)) as (pool, _):
        with pytest.raises(RedirectError, match=why) as caught:
            await pool.get(URL, follow_redirects=True)
        assert str(caught.value).startswith("the redirect (302) from http://192.0.2.1:80 ")
        assert (caught.value.response.status_code, caught.value.phase) == (302, "read")
        assert str(caught.value.origin) == "http://192.0.2.1:80"
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        # Nothing is wrong with the connection, unless a control character came over it.
        assert pool.statistics().idle == ("\x7f" not in location)


async def test_two_locations_are_told_unless_they_agree(autojump_clock: object) -> None:
    async with web() as w:
        w.redirects["/"] = Reply(302, (("Location", "/a"), ("Location", "/b")))
        w.redirects["/same"] = Reply(302, (("Location", "/a"), ("Location", "/a")))
        with pytest.raises(RedirectError, match="names several locations"):
            await w.pool.get("http://one.test/", follow_redirects=True)
        response = await w.pool.get("http://one.test/same", follow_redirects=True)
        assert response.url == "http://one.test/a"


@pytest.mark.parametrize("limit", [1, 3, 20])
async def test_a_loop_ends(autojump_clock: object, limit: int) -> None:
    async with web(max_connections=1) as w:
        w.redirects["/"] = to("/")
        redirects = True if limit == 20 else Redirects(limit=limit)
        with pytest.raises(RedirectError, match=f"more than the limit of {limit}") as caught:
            await w.pool.get("http://one.test/", follow_redirects=redirects)
        assert len(w.seen) == limit + 1
        assert len(caught.value.response.history) == limit


@pytest.mark.parametrize(
    "location",
    [
        f"http://one.test:x/{SECRET}",
        f"http://one.test/{SECRET}\x7f?{SECRET}",
        f"ftp://one.test/{SECRET}?{SECRET}#{SECRET}",
        f"http://{SECRET}:{SECRET}@one.test:0/{SECRET}?a@{SECRET}",
        f"{SECRET}:{SECRET}",
        f"http://one.test/404/{SECRET}?{SECRET}",
    ],
)
async def test_no_more_of_a_location_is_told_than_where_it_leads(
    autojump_clock: object, location: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "triopool")
    async with web(instruments=[LoggingInstrument()]) as w:
        w.redirects["/"] = to(location)
        w.redirects[f"/404/{SECRET}?{SECRET}"] = Reply(404)
        with pytest.raises((RedirectError, StatusError)) as caught:
            (await w.pool.get("http://one.test/", follow_redirects=True)).raise_for_status()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in caplog.text
    assert caplog.records


async def test_each_redirect_of_a_long_chain_keeps_as_much_as_the_one_before(
    autojump_clock: object,
) -> None:
    async def kept(redirects: int) -> int:
        """Bytes, of all the tuples that hang on the last response of a chain."""
        async with web(max_connections=1) as w:
            for number in range(redirects):
                w.redirects[f"/{number}"] = to(f"/{number + 1}")
            follow = Redirects(limit=redirects)
            response = await w.pool.get("http://one.test/0", follow_redirects=follow)
            tuples = {}
            stack: list[Any] = [response]
            while stack:
                thing = stack.pop()
                if isinstance(thing, Response):
                    stack.extend(vars(thing).values())
                elif isinstance(thing, tuple | list) and id(thing) not in tuples:
                    tuples[id(thing)] = sys.getsizeof(thing)
                    stack.extend(thing)
            assert response.url == f"http://one.test/{redirects}"
            assert [r.url for r in response.history] == [
                f"http://one.test/{number}" for number in range(redirects)
            ]
        return sum(tuples.values())

    assert await kept(400) < 3 * await kept(200)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, None])
def test_a_limit_that_is_none_is_refused(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"Redirects\.limit must be"):
        Redirects(limit=bad)


def test_no_is_not_yes() -> None:
    no: Any = "no"
    with pytest.raises(TypeError, match=r"Redirects\.allow_downgrade must be True or False"):
        Redirects(allow_downgrade=no)


async def test_https_does_not_lead_to_http_unless_allowed(
    autojump_clock: object, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with web(contexts) as w:
        w.redirects["/"] = to("http://one.test/open")
        with pytest.raises(RedirectError, match=r"https to http://one\.test:80") as caught:
            await w.pool.get("https://one.test/", follow_redirects=True)
        assert "Redirects(allow_downgrade=True)" in str(caught.value)
        assert w.asked == ["GET https://one.test/"]
        redirects = Redirects(allow_downgrade=True)
        response = await w.pool.get("https://one.test/", follow_redirects=redirects)
        assert response.url == "http://one.test/open"


# ── What goes along ────────────────────────────────────────────────────────────────────────────

AS_IT_WAS = "as it was"


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "DELETE", "GET"),
        (303, "GET", "GET"),
        (303, "HEAD", "HEAD"),
        (301, "PUT", AS_IT_WAS),
        (302, "PATCH", AS_IT_WAS),
        (301, "HEAD", AS_IT_WAS),
        (307, "POST", AS_IT_WAS),
        (308, "POST", AS_IT_WAS),
        (308, "DELETE", AS_IT_WAS),
        (307, "OPTIONS", AS_IT_WAS),
    ],
)
async def test_the_method_is_rewritten_by_the_book(
    autojump_clock: object, status: int, method: str, becomes: str
) -> None:
    async with web() as w:
        w.redirects["/1"] = to("/2", status)
        described = {"Content-Type": "a/b", "Content-Language": "eo", "X-Other": "x"}
        response = await w.pool.request(
            method, "http://one.test/1", content=b"body", headers=described, follow_redirects=True
        )
        second = w.seen[1][1]
        names = {name for name, _ in second.headers}
        assert second.header("x-other") == "x"
        if becomes == AS_IT_WAS:
            assert (second.method, second.body) == (method, b"body")
            assert {"content-type", "content-language", "content-length"} <= names
        else:
            assert (second.method, second.body, response.method) == (becomes, b"", becomes)
            assert not [name for name in names if name.startswith(("content-", "transfer-"))]


@pytest.mark.parametrize("kind", ["bytes", "factory", "path", "json", "form", "multipart"])
async def test_a_body_that_can_be_produced_again_is_sent_again(
    autojump_clock: object, kind: str, tmp_path: Path
) -> None:
    # The clock may jump while a thread reads the file: no deadline runs then but idle_timeout.
    file = tmp_path / "file"
    file.write_bytes(b"b" * 100_000)
    options: dict[str, dict[str, Any]] = {
        "bytes": {"content": b"b" * 100_000},
        "factory": {"content": lambda: pieces(b"b" * 1000, b"c")},
        "path": {"content": file},
        "json": {"json": {"b": 1}},
        "form": {"form": {"b": 1}},
        "multipart": {"multipart": {"b": file, "c": "x"}},
    }
    async with web() as w:
        w.redirects["/1"] = to("http://two.test/2", 307)
        await w.pool.post("http://one.test/1", **options[kind], follow_redirects=True)
        (_, first), (_, second) = w.seen
        assert first.body == second.body != b""
        for name in ("content-type", "content-length", "transfer-encoding"):
            assert first.header(name) == second.header(name)


class Closing:
    """A body that can be sent once, and tells whether it was closed."""

    def __init__(self) -> None:
        self.started = self.closed = False

    def __aiter__(self) -> Closing:
        return self

    async def __anext__(self) -> bytes:
        if self.started:
            raise StopAsyncIteration
        self.started = True
        return b"once"

    async def aclose(self) -> None:
        self.closed = True


async def test_a_body_that_was_begun_is_not_sent_twice(autojump_clock: object) -> None:
    async with web() as w:
        w.redirects["/1"] = to("/2", 307)
        body = Closing()
        with pytest.raises(RedirectError, match="can be produced only once"):
            await w.pool.post("http://one.test/1", content=body, follow_redirects=True)
        assert body.closed
        assert len(w.seen) == 1
        # As GET it has no body.
        w.redirects["/1"] = to("/2", 303)
        response = await w.pool.post("http://one.test/1", content=Closing(), follow_redirects=True)
        assert response.content == b"GET /2 "


@pytest.mark.parametrize("status", [303, 307])
async def test_a_body_that_nobody_has_asked_for_yet_goes_to_where_it_is_wanted(
    autojump_clock: object, status: int
) -> None:
    async def first_server(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(
            b"HTTP/1.1 %d Elsewhere\r\nLocation: http://two.test/2\r\nContent-Length: 0\r\n\r\n"
            % status
        )
        await stream.aclose()

    async with web() as w:
        w.network.host("first.test", "192.0.2.9")
        w.network.listen("192.0.2.9", 80, first_server)
        body = Closing()
        response = await w.pool.put(
            "http://first.test/1", content=body, expect_continue=True, follow_redirects=True
        )
        assert body.closed
        if status == 307:
            assert response.content == b"PUT /2 once"
        else:
            assert (response.content, body.started) == (b"GET /2 ", False)
        assert w.header("expect") == ["100-continue" if status == 307 else None]


# ── What never does ────────────────────────────────────────────────────────────────────────────


async def test_credentials_and_cookies_stay_with_their_origin(autojump_clock: object) -> None:
    private = {"Authorization": SECRET, "Cookie": SECRET, "X-Mine": "kept"}
    async with web() as w:
        w.redirects["/1"] = to("/2")
        w.redirects["/2"] = to("http://two.test/3")
        w.redirects["/3"] = to("http://one.test/4")
        await w.pool.get("http://one.test/1", headers=private, follow_redirects=True)
        # Not even when it comes back: who sent it back is a stranger.
        assert w.header("authorization") == [SECRET, SECRET, None, None]
        assert w.header("cookie") == [SECRET, SECRET, None, None]
        assert w.header("x-mine") == ["kept"] * 4


@pytest.mark.parametrize(
    "elsewhere",
    ["http://two.test/2", "http://one.test:8080/2", "https://one.test/2", "http://sub.one.test/2"],
)
async def test_every_part_of_the_origin_counts(
    autojump_clock: object, contexts: tuple[ssl.SSLContext, ssl.SSLContext], elsewhere: str
) -> None:
    async with web(contexts) as w:
        w.network.host("sub.one.test", "192.0.2.1")
        w.network.listen("192.0.2.1", 8080, w.serve("http://one.test:8080"))
        w.redirects["/1"] = to(elsewhere)
        await w.pool.get("http://one.test/1", auth=("name", SECRET), follow_redirects=True)
        first, second = w.header("authorization")
        assert first is not None
        assert second is None


async def test_credentials_in_a_location_are_its_own(autojump_clock: object) -> None:
    async with web() as w:
        w.redirects["/1"] = to("http://u:p@two.test/2")
        response = await w.pool.get(
            "http://a:b@one.test/1", headers={"Host": "virtual.test"}, follow_redirects=True
        )
        assert w.header("authorization") == ["Basic YTpi", "Basic dTpw"]
        assert w.header("host") == ["virtual.test", "two.test"]
        assert response.url == "http://two.test/2"


async def test_a_host_of_the_callers_own_is_kept_at_its_origin(autojump_clock: object) -> None:
    async with web() as w:
        w.redirects["/1"] = to("/2")
        await w.pool.get(
            "http://one.test/1", headers={"Host": "virtual.test"}, follow_redirects=True
        )
        assert w.header("host") == ["virtual.test", "virtual.test"]


async def test_a_server_name_is_not_used_for_another_origin(
    autojump_clock: object, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with web(contexts) as w:
        w.redirects["/1"] = to("https://two.test/2")
        response = await w.pool.get(
            "https://one.test/1", server_hostname="two.test", follow_redirects=True
        )
        keys = [str(key) for key in w.pool.statistics().origins]
        assert response.content == b"GET /2 "
        assert sorted(keys) == ["https://one.test:443 as two.test", "https://two.test:443"]


# ── What it costs ──────────────────────────────────────────────────────────────────────────────


class Told(Instrument):
    def __init__(self) -> None:
        self.events: list[str] = []

    def request_sent(self, request: RequestInfo, connection: object) -> None:
        self.events.append(f"sent {request.target} {request.attempt}")

    def response_started(self, request: RequestInfo, response: Any, connection: object) -> None:
        self.events.append(f"answered {request.target} {response.status_code}")

    def request_failed(self, request: RequestInfo, error: BaseException) -> None:
        self.events.append(f"failed {request.target}")


async def test_instruments_see_each_request(autojump_clock: object) -> None:
    told = Told()
    async with web(instruments=[told]) as w:
        w.redirects["/1"] = to("/2")
        await w.pool.get("http://one.test/1", follow_redirects=True)
    assert told.events == ["sent /1 1", "answered /1 302", "sent /2 1", "answered /2 200"]


async def test_a_large_body_of_a_redirect_is_not_read(autojump_clock: object) -> None:
    async with web() as w:
        w.redirects["/1"] = to("/2", body=bytes(10_000_000))
        response = await w.pool.get("http://one.test/1", follow_redirects=True)
        assert response.content == b"GET /2 "
        assert w.pool.statistics().discarded == 1


async def test_a_small_body_of_a_redirect_is_drained_meanwhile(autojump_clock: object) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nContent-Length: 4\r\nLocation: /2\r\n\r\n"
    async with serving(Answering(Answer([redirect, b"body"])), max_connections=1) as (pool, _):
        response = await pool.get(URL, follow_redirects=True)
        assert (response.content, response.connection.reused) == (b"/2", True)


async def test_the_bound_on_a_body_is_for_each_response(autojump_clock: object) -> None:
    async with serving(
        Answering(b"HTTP/1.1 302 Found\r\nLocation: /22\r\nContent-Length: 2\r\n\r\nhi")
    ) as (pool, _):
        response = await pool.get(URL, follow_redirects=True, max_body_bytes=3)
        assert response.content == b"/22"


async def test_a_redirect_of_connect_is_not_followed(autojump_clock: object) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /2\r\nContent-Length: 2\r\n\r\nhi"
    async with (
        serving(Answering(redirect)) as (pool, _),
        pool.stream("CONNECT", URL, target="two.test:80", follow_redirects=True) as response,
    ):
        assert (response.status_code, await response.read()) == (302, b"hi")
        assert response.upgraded is None
