"""Where the URLs of a session lead, and where those of a confined one don't."""

from __future__ import annotations

import posixpath
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from triopool import ConnectError, ConnectionPool, InvalidURL, RedirectError, Redirects
from triopool._request.url import parse
from triopool._session.base_url import leads_out, resolve

from .world import API, OTHER, to, web

JOINED = [
    # Of RFC 3986 section 5.4.1, with the path of its base and a query.
    ("http://api.test/b/c/d?q", "g", "/b/c/g"),
    ("http://api.test/b/c/d?q", "./g", "/b/c/g"),
    ("http://api.test/b/c/d?q", "g/", "/b/c/g/"),
    ("http://api.test/b/c/d?q", "/g", "/g"),
    ("http://api.test/b/c/d?q", "?y", "/b/c/d?y"),
    ("http://api.test/b/c/d?q", "g?y", "/b/c/g?y"),
    ("http://api.test/b/c/d?q", "#s", "/b/c/d?q"),
    ("http://api.test/b/c/d?q", "", "/b/c/d?q"),
    ("http://api.test/b/c/d?q", ".", "/b/c/"),
    ("http://api.test/b/c/d?q", "..", "/b/"),
    ("http://api.test/b/c/d?q", "../../../g", "/g"),
    # As people write a base.
    ("http://api.test/v1/", "users", "/v1/users"),
    ("http://api.test/v1/", "/users", "/users"),
    ("http://api.test/v1/", "", "/v1/"),
    ("http://api.test/v1/", "?q=1", "/v1/?q=1"),
    ("http://api.test/v1", "users", "/users"),
    ("http://api.test/v1", "", "/v1"),
    ("http://api.test", "users", "/users"),
    ("http://api.test", "", "/"),
    ("http://api.test/v1/", "//api.test/x", "/x"),
    ("http://api.test/v1/", "http://api.test/x", "/x"),
    ("http://api.test/v1/", "a b", "/v1/a%20b"),
]


@pytest.mark.parametrize(("base", "reference", "target"), JOINED)
async def test_relative_urls_are_joined_as_rfc_3986_says(
    autojump_clock: object, base: str, reference: str, target: str
) -> None:
    async with web() as w:
        await w.pool.session(base_url=base).get(reference)
        assert w.asked == [f"GET {API}{target}"]


async def test_an_absolute_url_leads_where_it_says(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(base_url=f"{API}/v1/")
        await api.get(f"{OTHER}/x")
        async with api.stream("GET", "//other.test/y") as response:
            assert await response.read() == b"GET /y"
        assert w.asked == [f"GET {OTHER}/x", f"GET {OTHER}/y"]


async def test_every_method_of_a_pool_is_there(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(base_url=API)
        for method in ("get", "head", "post", "put", "patch", "delete", "options"):
            assert (await getattr(api, method)("x")).status_code == 200
            assert w.asked[-1] == f"{method.upper()} {API}/x"
        assert (await api.request("get", "y")).content == b"GET /y"


async def test_without_a_base_only_absolute_urls_are_good(autojump_clock: object) -> None:
    async with web() as w:
        s = w.pool.session()
        assert s.base_url is None
        assert repr(s) == "<triopool.Session for any origin>"
        assert (await s.get(f"{API}/x")).content == b"GET /x"
        with pytest.raises(InvalidURL, match="an absolute URL such as"):
            await s.get("x")
        with pytest.raises(TypeError, match="url must be a str, not int"):
            await s.get(3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="url must be a str, not bytes"):
            await s.session(base_url=API).get(b"x")  # type: ignore[arg-type]


async def test_a_base_is_checked_when_the_session_is_made() -> None:
    pool = ConnectionPool()  # Not entered: a session may be made before.
    for wrong, error, message in [
        ("users", InvalidURL, "an absolute URL"),
        ("ftp://a.test/", InvalidURL, "not an http or https URL"),
        (3, TypeError, "base_url must be a str or None, not int"),
    ]:
        options: Any = {"base_url": wrong}
        with pytest.raises(error, match=message):
            pool.session(**options)
    api = pool.session(base_url="http://name:SECRET@a.test/SECRET/#SECRET")
    assert api.base_url == "http://a.test/SECRET/"
    assert repr(api) == "<triopool.Session for http://a.test:80>"
    with pytest.raises(RuntimeError, match="not open"):
        await api.get("")


async def test_derived_sessions_have_their_base_below_or_elsewhere(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(base_url=f"{API}/v1/")
        assert api.session().base_url == f"{API}/v1/"
        users = api.session(base_url="users/")
        assert users.base_url == f"{API}/v1/users/"
        assert api.session(base_url="/v2/").base_url == f"{API}/v2/"
        assert api.session(base_url=OTHER).base_url == f"{OTHER}/"
        await users.get("7")
        assert w.targets == ["/v1/users/7"]


async def test_an_address_with_a_zone_keeps_it(autojump_clock: object) -> None:
    async with web() as w:
        with pytest.raises(ConnectError, match=r"\[fe80::1%eth0\]"):
            await w.pool.session(base_url="http://[fe80::1%25eth0]/v1/").get("x")


# ── Confined ───────────────────────────────────────────────────────────────────────────────────

OUTSIDE = [
    "/",
    "/v2/",
    "/v1",
    "..",
    "../v1",
    "../v10/x",
    f"{API}/v2/x",
    f"{API}/v1/../v2/x",
    f"{OTHER}/v1/x",
    "https://api.test/v1/x",
    "http://api.test:81/v1/x",
    "//other.test/v1/x",
    "%2e%2e/x",
    "a/%2E%2E/%2e./x",
    "a/..%2fx",
    "..%2f",
    "..%5cx",
    "..\\x",
    "%252e%252e/x",
    "%25252e%25252e%252fx",
    "%2525252525252e./x",
    "..;/x",
    "a/..;v=1/x",
    "..%00/x",
    "..%00.txt",
    ".%09./x",
    "%2e%0d%0a%2e%2fx",
    "..%20/x",
    "a/.%2509./x",
]

INSIDE = [
    ("", "/v1/"),
    ("x", "/v1/x"),
    ("./x/../y", "/v1/y"),
    ("../v1/x", "/v1/x"),
    ("?q=../../x", "/v1/?q=../../x"),
    ("a..b/...", "/v1/a..b/..."),
    ("100%25/x", "/v1/100%25/x"),
    ("%E4%2Fx", "/v1/%E4%2Fx"),
    ("a%20..%20b/.%20.a", "/v1/a%20..%20b/.%20.a"),
    ("/v1/x", "/v1/x"),
    (f"{API}/v1/x", "/v1/x"),
    ("http://API.test:80/v1/x", "/v1/x"),
]


@pytest.mark.parametrize("url", OUTSIDE)
async def test_nothing_leads_out_of_a_confined_session(autojump_clock: object, url: str) -> None:
    async with web() as w:
        api = w.pool.session(base_url=f"{API}/v1/", confined=True)
        with pytest.raises(InvalidURL, match="leads out of the base_url at http://api"):
            await api.get(url)
        with pytest.raises(InvalidURL, match="leads out"):
            api.stream("GET", url)
        with pytest.raises(InvalidURL, match="leads out"):
            api.lease(url)
        with pytest.raises((InvalidURL, ValueError)):
            api.session(base_url=url)
        assert w.asked == []


@pytest.mark.parametrize(("url", "target"), INSIDE)
async def test_what_stays_inside_is_good(autojump_clock: object, url: str, target: str) -> None:
    async with web() as w:
        api = w.pool.session(base_url=f"{API}/v1/", confined=True)
        await api.get(url)
        assert w.targets == [target]


@pytest.mark.parametrize(
    "location", [f"{OTHER}/v1/x", "/v2/", "%2e%2e/x", "https://api.test/v1/x", "/"]
)
async def test_a_redirect_does_not_lead_out_either(autojump_clock: object, location: str) -> None:
    async with web() as w:
        w.replies["/v1/x"] = [to(location)]
        api = w.pool.session(base_url=f"{API}/v1/", confined=True, follow_redirects=True)
        with pytest.raises(RedirectError, match=r"redirect \(302\) .* leads out of") as caught:
            await api.get("x")
        assert caught.value.response.status_code == 302
        assert w.targets == ["/v1/x"]


async def test_a_redirect_inside_is_followed(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/v1/x"] = [to("../v1/y")]
        api = w.pool.session(base_url=f"{API}/v1/", confined=True, follow_redirects=Redirects(1))
        response = await api.get("x")
        assert (response.content, len(response.history)) == (b"GET /v1/y", 1)


async def test_a_redirect_out_closes_a_body_that_was_not_asked_for(autojump_clock: object) -> None:
    async def rows() -> AsyncIterator[bytes]:
        yield b"x"

    async def redirects(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 307 See\r\nLocation: /v2/\r\nContent-Length: 0\r\n\r\n")

    body = rows()
    async with web() as w:
        w.network.listen("192.0.2.9", 80, redirects)
        api = w.pool.session(base_url="http://192.0.2.9/v1/", confined=True, follow_redirects=True)
        with pytest.raises(RedirectError, match="leads out"):
            await api.post("x", content=body, expect_continue=True)
        with pytest.raises(StopAsyncIteration):
            await anext(body)


async def test_confinement_is_for_good(autojump_clock: object) -> None:
    async with web() as w:
        api = w.pool.session(base_url=f"{API}/v1/", confined=True)
        users = api.session(base_url="users/", confined=True)
        with pytest.raises(InvalidURL, match="leads out"):
            await users.get("../x")
        with pytest.raises(ValueError, match="is confined as well"):
            api.session(confined=False)
        with pytest.raises(ValueError, match="target= would lead out"):
            await api.get("", target="/v2/")
        for options, error, message in [
            ({"base_url": f"{API}/v1"}, ValueError, "needs a base_url whose path ends with '/'"),
            ({"base_url": f"{API}/v1/?q=/"}, ValueError, "needs a base_url whose path ends"),
            ({}, ValueError, "needs a base_url, which is the bound"),
            ({"base_url": API, "confined": "no"}, TypeError, "confined must be True or False"),
        ]:
            given: Any = {"confined": True, **options}
            with pytest.raises(error, match=message):
                w.pool.session(**given)
        with pytest.raises(InvalidURL, match="leads out"):
            api.session(base_url="../v2/")
        assert w.asked == []


# ── Whatever the URL ───────────────────────────────────────────────────────────────────────────

PARTS = st.sampled_from(
    [
        *("..", ".", "%2e", "%2E", "%2f", "%2F", "%5c", "%25", "2e", "2f", "25", "/", "\\", ";"),
        *("a", "v1", "?", "#", "%", "%E4", "ä", API, OTHER, "//", "http:", "@", ":"),
    ]
)


@given(st.lists(PARTS, max_size=12).map("".join))
@settings(max_examples=1000)
def test_no_reading_of_a_confined_url_is_outside(reference: str) -> None:
    base = parse(f"{API}/v1/")
    try:
        url = resolve(base, reference)
    except InvalidURL:
        return
    if leads_out(base, url):
        return
    assert url.origin == base.origin
    path = url.target.partition("?")[0]
    for _ in range(20):  # As often as a server may decode it, and some more.
        for read in (path, path.replace("\\", "/"), re.sub(";[^/]*", "", path)):
            assert f"{posixpath.normpath(read)}/".startswith("/v1/")
        path = unquote(path)
