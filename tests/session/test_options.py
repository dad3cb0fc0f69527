"""What a session adds to its requests, and what goes before what."""

from __future__ import annotations

import base64
import inspect
import re
from typing import Any

import pytest
import trio

from triopool import (
    DIRECT,
    BasicAuth,
    BearerAuth,
    ConnectionPool,
    LocalProtocolError,
    ReadTimeout,
    RedirectError,
    Redirects,
    RequestOptions,
    Retry,
    SessionOptions,
    SessionRequestOptions,
    Timeouts,
    WriteError,
)
from triopool._habits import OF_A_SESSION
from triopool.testing import Reply, http_proxy

from .world import API, OTHER, jar, to, web


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


# ── Said once ──────────────────────────────────────────────────────────────────────────────────


def test_a_request_of_a_session_has_the_options_of_a_pools_and_retry() -> None:
    ours, theirs = SessionRequestOptions.__annotations__, RequestOptions.__annotations__
    assert list(ours) == [*theirs, "retry"]
    assert {name for name in theirs if ours[name] != theirs[name]} == {"headers"}


def test_all_options_of_a_session_are_explained_and_no_others() -> None:
    section = re.search(r"\nArgs:\n(.*?)\n\n", inspect.getdoc(ConnectionPool.session) or "", re.S)
    assert section is not None
    explained = re.findall(r"^  (\w+(?:, \w+)*): ", section[1], re.M)
    names = [name for line in explained for name in line.split(", ")]
    assert sorted(names) == sorted(SessionOptions.__annotations__)
    assert not set(OF_A_SESSION) & set(names)


@pytest.mark.parametrize("name", list(SessionOptions.__annotations__))
def test_every_option_is_checked_when_the_session_is_made(name: str) -> None:
    wrong: Any = {name: object()}
    with pytest.raises((TypeError, ValueError)):
        ConnectionPool().session(**wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 3}, r"session\(\) got .* 'timeout': did you mean timeouts=triopool"),
        ({"spam": 3}, r"session\(\) got an unexpected keyword argument 'spam'$"),
        ({"headers": 3}, "headers must be a mapping"),
        ({"headers": {"a": 3}}, "the value of header 'a' must be str or bytes, not int"),
        ({"headers": {"a": "b\r\nSECRET"}}, "header 'a'"),
        ({"headers": {"Proxy-Authorization": "x"}}, "would reach the origin"),
        ({"headers": {"Authorization": "x"}, "auth": ("a", "b")}, "either auth= or an Author"),
        ({"params": "a=b"}, "params must be a mapping"),
        ({"params": [("a", object())]}, "'a' in params must be"),
        ({"retry": 3}, "retry must be a triopool.Retry or None, not 3"),
        ({"cookies": {"a": "b"}}, "cookies must be a bool or triopool.Cookies, not dict"),
        ({"decode": 1}, "decode must be True or False"),
        ({"proxy": {}}, "proxy must be"),
        ({"timeouts": 3}, "timeouts must be a triopool.Timeouts, not 3"),
    ],
)
def test_a_wrong_option_is_told_and_its_value_is_not(options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError, LocalProtocolError), match=message) as caught:
        ConnectionPool().session(**options)
    assert "SECRET" not in str(caught.value)


async def test_a_wrong_option_of_a_request_is_told(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(base_url=API)
        wrong: Any
        for wrong, message in [
            ({"timeout": 3}, "did you mean timeouts="),
            ({"retry": 3}, "retry must be a triopool.Retry or None, not int"),
            ({"headers": 3}, "headers must be a mapping"),
            ({"params": 3}, "params must be a mapping"),
            ({"params": [1]}, "cannot unpack"),
        ]:
            with pytest.raises(TypeError, match=message):
                await api.get("", **wrong)
        with pytest.raises(TypeError, match=r"'retry': did you mean pool\.session"):
            await w.pool.get(API, retry=Retry())  # type: ignore[call-arg]
        with pytest.raises(LocalProtocolError, match="needs stream"):
            await api.get("", headers={"Upgrade": "x"})
        assert w.asked == []


# ── Headers and parameters ─────────────────────────────────────────────────────────────────────


async def test_headers_are_put_together_by_name(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(
            base_url=API, headers=[("X-A", "1"), ("x-b", "2"), ("X-A", "3"), ("X-C", "4")]
        )
        await api.get("", headers={b"X-B": b"own"})
        request = w.seen[-1][1]
        assert [pair for pair in request.headers if pair[0].startswith("x-")] == [
            ("x-a", "1"),
            ("x-a", "3"),
            ("x-c", "4"),
            ("x-b", "own"),
        ]
        await api.get("", headers={"x-a": None, "X-C": "own"})
        assert [w.last(name) for name in ("x-a", "x-b", "x-c")] == [None, "2", "own"]
        await api.get("", headers=None)
        assert w.last("x-a") == "1"
        await api.get("", headers={})
        assert w.last("x-a") == "1"
        child = api.session(headers={"X-B": None, "X-D": "5"})
        await child.get("", headers=[("X-D", None), ("X-E", "6")])
        assert [w.last(f"x-{name}") for name in "abcde"] == ["1", None, "4", None, "6"]
        await api.get("")
        assert [w.last(f"x-{name}") for name in "abcde"] == ["1", "2", "4", None, None]


async def test_what_triopool_adds_is_not_taken_away(autojump_clock: object) -> None:
    async with web() as w:
        await w.pool.session(headers={"User-Agent": None}).get(API)
        assert str(w.last("user-agent")).startswith("triopool/")


async def test_a_form_of_parts_has_its_own_content_type(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(base_url=API, headers={"Content-Type": "text/x"})
        await api.post("", content=b"x")
        await api.post("", multipart={"a": "b"})
        first, second = w.header("content-type")
        assert first == "text/x"
        assert str(second).startswith("multipart/form-data;")


async def test_params_are_put_together_by_name(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(base_url=API, params={"a": [1, 2], "b": 3})
        await api.get("x")
        await api.get("x?b=0", params={"b": 4})
        await api.get("x", params=iter([("c", 5), ("a", 6), ("a", 7)]))
        await api.get("x", params=None)
        await api.get("x", params={"a": []})
        await api.session(params={"b": None}).get("x", params={"d": True})
        await w.pool.session(base_url=API).get("x", params={"e": 1})
        assert w.targets == [
            "/x?a=1&a=2&b=3",
            "/x?b=0&a=1&a=2&b=4",
            "/x?b=3&c=5&a=6&a=7",
            "/x?a=1&a=2&b=3",
            "/x?b=3",
            "/x?a=1&a=2&b=&d=true",
            "/x?e=1",
        ]


# ── Credentials ────────────────────────────────────────────────────────────────────────────────


async def test_credentials_of_the_request_go_before_the_sessions(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(base_url=API, auth=("s", "1"))
        own = f"{API}/".replace("//", "//u:2@")
        cases: list[tuple[str, Any, str | None]] = [
            ("", {}, basic("s", "1")),
            ("", {"auth": BearerAuth("t")}, "Bearer t"),
            ("", {"auth": None}, None),
            ("", {"headers": {"Authorization": "own"}}, "own"),
            ("", {"headers": {"authorization": None}}, None),
            ("", {"headers": {"authorization": None}, "auth": ("r", "3")}, basic("r", "3")),
            (own, {}, basic("u", "2")),
            (own, {"auth": ("r", "3")}, basic("r", "3")),
            (own, {"headers": {"Authorization": "own"}}, "own"),
        ]
        for url, options, expected in cases:
            await api.get(url, **options)
            assert w.last("authorization") == expected
        # The same where the session has a header, or no base.
        for session in (
            w.pool.session(base_url=API, headers={"Authorization": "s"}),
            w.pool.session(headers={"Authorization": "s"}),
        ):
            for url, options, expected in [(f"{API}/", {}, "s"), *cases[1:]]:
                if url or session.base_url:
                    await session.get(url, **options)
                    assert w.last("authorization") == expected


async def test_a_derived_session_has_the_credentials_that_were_given_last(
    autojump_clock: object,
) -> None:
    async with web() as w:
        for first, second, expected in [
            ({"auth": ("a", "1")}, {}, basic("a", "1")),
            ({"auth": ("a", "1")}, {"auth": None}, None),
            ({"auth": ("a", "1")}, {"headers": {"Authorization": "h"}}, "h"),
            ({"auth": ("a", "1")}, {"headers": {"Authorization": None}}, None),
            ({"auth": ("a", "1")}, {"base_url": "http://b:2@api.test"}, basic("b", "2")),
            ({"headers": {"Authorization": "h"}}, {"auth": ("a", "1")}, basic("a", "1")),
            ({"headers": {"Authorization": "h"}}, {"auth": None}, None),
            ({"headers": {"Authorization": "h"}}, {"base_url": "v2/"}, "h"),
            ({"base_url": "http://b:2@api.test"}, {}, basic("b", "2")),
            ({"base_url": "http://b:2@api.test"}, {"auth": BasicAuth("a", "1")}, basic("a", "1")),
            (
                {"base_url": "http://b:2@api.test", "auth": ("a", "1")},
                {"base_url": "x/"},
                basic("a", "1"),
            ),
            ({"base_url": "http://b:2@api.test", "headers": {"Authorization": "h"}}, {}, "h"),
            ({"auth": ("a", "1"), "params": {"k": 1}}, {"base_url": OTHER}, None),
        ]:
            options: Any = {"base_url": API, **first}
            more: Any = second
            await w.pool.session(**options).session(**more).get("")
            assert w.last("authorization") == expected


async def test_what_is_for_the_origin_of_the_base_goes_nowhere_else(autojump_clock: object) -> None:
    fields = {"Cookie": "SECRET", "Host": "h.test", "X-Mine": "1"}
    async with web() as w:
        for options in ({"auth": BearerAuth("SECRET")}, {"headers": {"Authorization": "SECRET"}}):
            more: Any = {**options, "headers": {**fields, **options.get("headers", {})}}
            api = w.pool.session(base_url=API, params={"key": "SECRET"}, **more)
            await api.get("")
            assert "SECRET" in str(w.last("authorization"))
            assert (w.last("cookie"), w.last("host")) == ("SECRET", "h.test")
            for elsewhere in (api, api.session(base_url=f"{OTHER}/")):
                await elsewhere.get(f"{OTHER}/x")
                request = w.seen[-1][1]
                assert "SECRET" not in repr(request)
                assert request.header("host") == "other.test"
                assert request.header("x-mine") == "1"


async def test_without_a_base_what_a_session_has_goes_everywhere(autojump_clock: object) -> None:
    async with web() as w:
        s = w.pool.session(auth=("a", "1"), params={"k": 1})
        await s.get(f"{API}/x")
        await s.session(base_url=OTHER).get("x")
        assert w.header("authorization") == [basic("a", "1")] * 2
        assert w.targets == ["/x?k=1"] * 2


async def test_credentials_don_t_follow_a_redirect_to_another_origin(
    autojump_clock: object,
) -> None:
    async with web() as w:
        w.replies["/x"] = [to(f"{OTHER}/y")]
        api = w.pool.session(base_url=API, auth=("a", "1"), follow_redirects=True)
        assert (await api.get("x")).content == b"GET /y"
        assert w.header("authorization") == [basic("a", "1"), None]


# ── The others ─────────────────────────────────────────────────────────────────────────────────


async def test_timeouts_of_request_session_parent_and_pool(autojump_clock: object) -> None:
    async with web(timeouts=Timeouts(read=8)) as w:
        w.replies["/"] = [Reply(delay=20)]
        parent = w.pool.session(base_url=API, timeouts=Timeouts(read=4))
        child = parent.session(timeouts=Timeouts(read=2))
        for session, options, seconds in [
            (child, {"timeouts": Timeouts(read=1)}, 1),
            (child, {}, 2),
            (parent, {}, 4),
            (parent.session(headers={"a": "b"}), {}, 4),
            (child, {"timeouts": None}, 8),
            (parent.session(timeouts=None), {}, 8),
        ]:
            given: Any = options
            with pytest.raises(ReadTimeout) as caught:
                await session.get("", **given)
            assert caught.value.seconds == seconds


async def test_redirects_of_request_and_session(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [to("/y")]
        w.replies["/y"] = [to("/z")]
        follows = w.pool.session(base_url=API, follow_redirects=True)
        assert (await follows.get("x")).content == b"GET /z"
        assert (await follows.get("x", follow_redirects=False)).status_code == 302
        assert (await follows.session(follow_redirects=False).get("x")).status_code == 302
        assert (await w.pool.session(base_url=API).get("x")).status_code == 302
        with pytest.raises(RedirectError):
            await follows.session(follow_redirects=Redirects(1)).get("x")


async def test_decode_and_max_body_bytes(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [Reply(body=b"12345")]
        api = w.pool.session(base_url=API, decode=False, max_body_bytes=4)
        with pytest.raises(Exception, match="max_body_bytes=4"):
            await api.get("x")
        assert (await api.get("x", max_body_bytes=None)).content == b"12345"
        assert w.header("accept-encoding") == [None, None]
        await api.get("x", max_body_bytes=5, decode=True)
        assert w.last("accept-encoding") is not None


async def test_a_session_may_have_a_proxy_of_its_own(autojump_clock: object) -> None:
    async with web() as w:
        proxy = http_proxy(w.network)
        w.network.listen("192.0.2.8", 3128, proxy)
        api = w.pool.session(base_url=API, proxy="http://192.0.2.8:3128")
        through = await api.get("x")
        assert through.connection.proxy is not None
        assert (await api.get("x", proxy=DIRECT)).connection.proxy is None
        assert (await api.session(proxy=DIRECT).get("x")).connection.proxy is None
        assert (await api.session(proxy=None).get("x")).connection.proxy is None
        async with api.lease() as connection:
            assert connection.info.proxy is not None
        async with api.lease(proxy=DIRECT) as connection:
            assert connection.info.proxy is None


# ── Leases ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_lease_is_the_sessions(autojump_clock: object) -> None:
    async with web(max_connections=1) as w:
        w.replies["/v1/x"] = [to("y", 307, ("Set-Cookie", "c=1"))]
        api = w.pool.session(
            base_url="http://a:1@api.test/v1/",
            headers={"X-Mine": "1"},
            params={"p": 1},
            follow_redirects=True,
            cookies=jar(),
            retry=Retry(),
        )
        w.replies["/v1/x?p=1"] = w.replies["/v1/x"]
        async with api.lease() as connection:
            response = await connection.request("GET", "x")
            assert response.url == f"{API}/v1/y"
            async with connection.stream("GET", "/z", headers={"X-Mine": None}) as streamed:
                assert await streamed.read() == b"GET /z?p=1"
            await connection.request("GET", f"{API}/v1/")
            with pytest.raises(ValueError, match="leased for"):
                await connection.request("GET", OTHER)
            with pytest.raises(TypeError, match="'retry'"):
                await connection.request("GET", "", retry=None)  # type: ignore[call-arg]
        assert w.targets == ["/v1/x?p=1", "/v1/y", "/z?p=1", "/v1/?p=1"]
        assert w.header("cookie") == [None, "c=1", None, "c=1"]
        assert w.header("x-mine") == ["1", "1", None, "1"]
        assert w.header("authorization") == [basic("a", "1")] * 4
        assert {request.connection_number for _, request in w.seen} == {1}


async def test_nothing_is_sent_again_on_a_lease(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/x"] = [Reply(503), Reply(200)]
        w.replies["/y"] = [Reply(drop=True)]
        api = w.pool.session(base_url=API, retry=Retry(backoff=0))
        async with api.lease("sub/") as connection:
            assert (await connection.request("GET", "/x")).status_code == 503
            await connection.request("GET", "/y")
            await trio.sleep(1)
            with pytest.raises(WriteError, match="lease another one"):
                await connection.request("GET", "/y")


async def test_a_lease_has_no_credentials_in_its_url(autojump_clock: object) -> None:
    async with web() as w:
        with pytest.raises(ValueError, match="about a connection"):
            w.pool.session(base_url=API).lease("http://a:b@api.test/")
        with pytest.raises(ValueError, match="about a connection"):
            w.pool.session().lease("http://a:b@api.test/")
        async with w.pool.session(timeouts=Timeouts(pool=1)).lease(API) as connection:
            assert connection.is_usable


async def test_no_repr_shows_what_a_session_has(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(
            base_url=f"{API}/SECRET/",
            headers={"X-Key": "SECRET"},
            params={"key": "SECRET"},
            auth=BearerAuth("SECRET"),
            cookies=jar(),
        )
        assert "SECRET" not in "".join(repr(value) for value in [api, *vars(api).values()])
