"""Who says which proxy: the request, the pool, its chooser, who is asked anew each time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import trio
from inside import is_kept, preparations
from trio.testing import MockClock

from triopool import (
    DIRECT,
    InvalidURL,
    Origin,
    Proxy,
    ProxyRules,
    RedirectError,
    Redirects,
)
from triopool.testing import (
    Close,
    KeepOpen,
    ReceiveRequest,
    Reply,
    Request,
    Send,
    http_server,
    in_turn,
    script,
)

from .world import ADA, HTTP, SECURE, SOCKS4A, SOCKS5H, A, B, Contexts, World, contexts, world

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TUNNEL = Proxy(HTTP, tunnel=True)


@pytest.fixture(scope="module")
def made() -> Contexts:
    return contexts()


class Asked:
    """A chooser that gives one answer after the other, and remembers for whom."""

    def __init__(self, *answers: Any) -> None:
        self.origins: list[str] = []
        self._answers = itertools.cycle(answers)

    def __call__(self, origin: Origin) -> Any:
        assert isinstance(origin, Origin)
        self.origins.append(str(origin))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def way(response: Any) -> tuple[str, bool] | None:
    proxy = response.connection.proxy
    return None if proxy is None else (proxy.url, proxy.forwards)


def nothing_was_taken(w: World) -> None:
    statistics = w.pool.statistics()
    assert statistics.origins == {}
    figures = {name: getattr(statistics, name) for name in ("open", "waiting", "dialled")}
    assert set(figures.values()) == {0}
    assert statistics.dial_failures == 0
    assert not w.network.log


# ── Whose word counts ──────────────────────────────────────────────────────────────────────────


async def test_the_requests_word_goes_before_the_pools(autojump_clock: MockClock) -> None:
    ask = Asked(HTTP)
    async with world(proxy=ask) as w:
        assert way(await w.get(f"{A}/1")) == (HTTP, True)
        assert way(await w.get(f"{A}/2", proxy=None)) == (HTTP, True)
        assert ask.origins == ["http://a.test:80"] * 2
        assert way(await w.get(f"{A}/3", proxy=DIRECT)) is None
        assert way(await w.get(f"{A}/4", proxy=TUNNEL)) == (HTTP, False)
        assert way(await w.get(f"{A}/5", proxy=SOCKS5H)) == (f"{SOCKS5H}:1080", False)
        assert len(ask.origins) == 2


@pytest.mark.parametrize("pools", [None, DIRECT])
async def test_a_pool_without_one_goes_directly(autojump_clock: MockClock, pools: Any) -> None:
    async with world(proxy=pools) as w:
        assert way(await w.get(f"{A}/1")) is None
        assert way(await w.get(f"{A}/1", proxy=HTTP)) == (HTTP, True)
        assert way(await w.get(f"{A}/1", proxy=None)) is None


async def test_rules_say_it_by_scheme_and_name(autojump_clock: MockClock, made: Contexts) -> None:
    rules = ProxyRules(http=HTTP, https=SOCKS5H, no_proxy="b.test")
    async with world(made, proxy=rules) as w:
        for _ in range(2):
            assert way(await w.get(f"{A}/1")) == (HTTP, True)
            assert way(await w.get(f"{SECURE}/1")) == (f"{SOCKS5H}:1080", False)
            assert way(await w.get(f"{B}/1")) is None


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("options", [{}, {"decode": False}])
async def test_nothing_is_kept_of_what_a_chooser_said_before(
    autojump_clock: MockClock, method: str, options: Any
) -> None:
    """The same request again and again, which a pool without chooser would prepare only once."""
    answers = [HTTP, DIRECT, SOCKS5H, TUNNEL, HTTP, SOCKS4A, DIRECT]
    ask = Asked(*answers)
    expected = [
        (HTTP, True),
        None,
        (f"{SOCKS5H}:1080", False),
        (HTTP, False),
        (HTTP, True),
        (f"{SOCKS4A}:1080", False),
        None,
    ]
    async with world(max_connections=10, proxy=ask) as w:
        for one in expected * 3:
            assert way(await w.pool.request(method, f"{A}/", **options)) == one
        assert len(ask.origins) == 3 * len(answers)
        kept = preparations(w.pool)
        assert not is_kept(kept, "GET", f"{A}/")
        assert (
            len(kept.places) <= 2
        )  # The host's name, and the fields that all requests to it have.


@pytest.mark.parametrize("pools", [HTTP, Proxy(HTTP, auth=ADA), ProxyRules(http=HTTP)])
async def test_what_is_kept_for_a_pools_own_proxy_is_for_that_alone(
    autojump_clock: MockClock, pools: Any
) -> None:
    credentials = ADA if isinstance(pools, Proxy) else None
    elsewhere = "socks4a://ada@socks.test" if credentials else SOCKS4A
    async with world(max_connections=10, proxy=pools, credentials=credentials) as w:
        for _ in range(2):
            assert way(await w.get(f"{A}/1")) == (HTTP, True)
            assert way(await w.get(f"{A}/1", proxy=DIRECT)) is None
            assert way(await w.get(f"{A}/1", proxy=elsewhere)) is not None
            assert way(await w.get(f"{A}/1", decode=True)) == (HTTP, True)
        assert is_kept(preparations(w.pool), "GET", f"{A}/1")
        assert all("proxy-authorization" not in dict(one.headers) for one in w.a.requests)


# ── A chooser that fails ───────────────────────────────────────────────────────────────────────


class Mine(Exception):
    pass


CALLS: list[Callable[[World], Any]] = [
    lambda w: w.pool.get(f"{A}/"),
    lambda w: w.pool.get(f"{A}/", decode=False),
    lambda w: w.pool.post(f"{A}/", content=b"x"),
    lambda w: w.pool.warm_up(f"{A}/"),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("error", [Mine("x"), OSError("x"), LookupError("x")])
async def test_what_a_chooser_raises_arrives_as_itself_before_anything_is_taken(
    autojump_clock: MockClock, call: Callable[[World], Any], error: Exception
) -> None:
    async with world(proxy=Asked(error)) as w:
        with pytest.raises(type(error)) as caught:
            await call(w)
        assert caught.value is error
        nothing_was_taken(w)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("answer", [None, 1, b"http://p", ("http://p",), Proxy, Origin])
async def test_an_answer_that_is_none_is_a_type_error_before_anything_is_taken(
    autojump_clock: MockClock, call: Callable[[World], Any], answer: Any
) -> None:
    async with world(proxy=Asked(answer)) as w:
        with pytest.raises(TypeError, match=r"chooser returns for http://a\.test:80 must be"):
            await call(w)
        nothing_was_taken(w)


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_that_is_no_url_is_told_without_it(
    autojump_clock: MockClock, call: Callable[[World], Any]
) -> None:
    async with world(proxy=Asked("gopher://ada:secret@p")) as w:
        with pytest.raises(InvalidURL) as caught:
            await call(w)
        assert "secret" not in str(caught.value)
        nothing_was_taken(w)


async def test_a_block_asks_before_it_is_entered_and_takes_nothing(
    autojump_clock: MockClock,
) -> None:
    async with world(proxy=Asked(Mine())) as w:
        for open_block in (w.pool.lease, lambda url: w.pool.stream("GET", url)):
            with pytest.raises(Mine):
                open_block(f"{A}/")
        nothing_was_taken(w)


@pytest.mark.parametrize("wrong", [1, b"http://p", ["http://p"], Proxy, lambda origin: HTTP])
async def test_a_requests_proxy_is_one_or_direct(autojump_clock: MockClock, wrong: Any) -> None:
    async with world() as w:
        with pytest.raises(TypeError, match="proxy must be"):
            await w.pool.get(f"{A}/", proxy=wrong)
        nothing_was_taken(w)


@pytest.mark.parametrize("proxy", ["", "p", "p:1", "gopher://p", "http://", "http://p/path"])
async def test_a_url_that_cant_be_used_leads_nowhere(autojump_clock: MockClock, proxy: str) -> None:
    """It is no reason to go directly."""
    async with world() as w:
        with pytest.raises(InvalidURL):
            await w.pool.get(f"{A}/", proxy=proxy)
        nothing_was_taken(w)
        assert not w.a.requests


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://[2001:db8::1]/", SOCKS4A),
        ("http://[2001:db8::1]/", "socks4://p"),
        ("http://0.0.0.1/", SOCKS4A),
        ("http://[fe80::1%25eth0]/", HTTP),
        ("http://[fe80::1%25eth0]/", SOCKS5H),
        ("http://[fe80::1%25eth0]/", TUNNEL),
    ],
)
async def test_what_a_proxy_cant_be_asked_for_is_refused_before_anything_is_taken(
    autojump_clock: MockClock, url: str, proxy: Any
) -> None:
    async with world() as w:
        with pytest.raises(ValueError, match="can't reach") as caught:
            await w.pool.get(url, proxy=proxy)
        assert isinstance(caught.value, InvalidURL)
        nothing_was_taken(w)


# ── Redirects ──────────────────────────────────────────────────────────────────────────────────


def redirecting(w: World, to: str) -> None:
    """From a.test to another place."""

    async def respond(request: Request) -> Reply:
        return Reply(status=302, headers={"Location": to})

    w.network.listen("192.0.2.1", 80, http_server(respond))


async def test_a_redirect_chooses_anew(autojump_clock: MockClock) -> None:
    ask = Asked(HTTP, SOCKS5H)
    async with world(proxy=ask) as w:
        redirecting(w, f"{B}/x")
        response = await w.pool.get(f"{A}/", follow_redirects=True)
        assert way(response) == (f"{SOCKS5H}:1080", False)
        assert [way(one) for one in response.history] == [(HTTP, True)]
        assert ask.origins == ["http://a.test:80", "http://b.test:80"]
        [request] = w.b.requests
        assert request.target == "/x"


@pytest.mark.parametrize("named", [HTTP, SOCKS5H, TUNNEL, DIRECT])
async def test_a_redirect_goes_the_way_that_the_caller_named(
    autojump_clock: MockClock, named: Any
) -> None:
    ask = Asked(Mine("nobody asks"))
    async with world(proxy=ask) as w:
        redirecting(w, f"{B}/x")
        response = await w.pool.get(f"{A}/", follow_redirects=True, proxy=named)
        assert [way(one) for one in response.history] == [way(response)]
        assert not ask.origins


async def test_a_redirect_whose_chooser_fails_leaves_nothing_behind(
    autojump_clock: MockClock,
) -> None:
    error = Mine()
    for answer, kind in ((error, Mine), (None, TypeError), ("gopher://x", InvalidURL)):
        async with world(proxy=Asked(HTTP, answer)) as w:
            redirecting(w, f"{B}/x")
            with pytest.raises(kind):
                await w.pool.get(f"{A}/", follow_redirects=True)
            statistics = w.pool.statistics()
            assert (statistics.busy, statistics.waiting) == (0, 0)
            assert len(w.network.open_sockets) == statistics.open


async def test_a_redirect_to_where_the_proxy_cant_go_is_a_redirect_error(
    autojump_clock: MockClock,
) -> None:
    async with world(proxy=SOCKS4A) as w:
        redirecting(w, "http://[2001:db8::1]/")
        with pytest.raises(RedirectError, match=r"can't be followed: SOCKS4 can't reach IPv6"):
            await w.pool.get(f"{A}/", follow_redirects=True)


async def test_a_redirect_from_a_tunnel_to_what_is_forwarded_and_back(
    autojump_clock: MockClock, made: Contexts
) -> None:
    """The credentials go with CONNECT, then with the request, then with another CONNECT."""
    proxy = Proxy(HTTP, auth=ADA)
    async with world(made, proxy=proxy, credentials=ADA) as w:

        async def respond(request: Request) -> Reply:
            there = {"/1": "http://b.test/2", "/3": ""}[request.target]
            return Reply(status=302, headers={"Location": there}) if there else Reply()

        async def back(request: Request) -> Reply:
            return Reply(status=307, headers={"Location": f"{SECURE}/3"})

        w.network.listen("192.0.2.1", 443, http_server(respond), ssl_context=made.origin)
        w.network.listen("192.0.2.2", 80, http_server(back))
        redirects = Redirects(allow_downgrade=True)
        response = await w.pool.get(f"{SECURE}/1", follow_redirects=redirects)
        assert response.status_code == 200
        assert [(one.method, one.target) for one in w.http.requests] == [
            ("CONNECT", "a.test:443"),
            ("GET", "http://b.test/2"),
        ]


# ── Retries ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("proxy", [HTTP, TUNNEL, SOCKS5H])
async def test_a_retry_goes_the_same_way_and_asks_nobody(
    autojump_clock: MockClock, proxy: Any
) -> None:
    """A chooser that answered differently would send one request two ways."""
    ask = Asked(proxy, DIRECT)
    dies = script(ReceiveRequest(), Send(OK), ReceiveRequest(), Close())
    lives = script(ReceiveRequest(), Send(OK), KeepOpen())
    async with world(proxy=ask) as w:
        if proxy is HTTP:
            w.network.listen("192.0.2.9", 3128, in_turn(dies, lives))
        else:
            w.network.listen("192.0.2.1", 80, in_turn(dies, lives))
        first = await w.pool.get(f"{A}/")
        await w.pool.get(f"{B}/")  # The chooser's second answer.
        second = await w.pool.get(f"{A}/")
        assert way(first) == way(second)
        assert w.pool.statistics().retried == 1
        assert len(ask.origins) == 3


async def test_three_stale_tunnels_and_then_a_fresh_one(autojump_clock: MockClock) -> None:
    dies = script(ReceiveRequest(), Send(OK), ReceiveRequest(), Close())
    lives = script(ReceiveRequest(), Send(OK), KeepOpen())
    async with world(max_connections=10, proxy=TUNNEL) as w:
        w.network.listen("192.0.2.1", 80, in_turn(*[dies] * 5, lives))
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(w.pool.get, f"{A}/")
        assert w.pool.statistics().idle == 5
        assert (await w.pool.get(f"{A}/")).content == b"ok"
        statistics = w.pool.statistics()
        assert (statistics.retried, statistics.stale, statistics.open) == (3, 5, 1)
        assert len(w.network.open_sockets) == 1
