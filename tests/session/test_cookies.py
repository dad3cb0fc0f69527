"""Cookies: what a server may set, where it goes, and what is kept of it."""

from __future__ import annotations

import http.cookiejar
import os
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from triopool import ConnectionPool, Cookies
from triopool._request.url import parse
from triopool._session import public_suffixes
from triopool._session.cookies import MAX_COOKIES, MAX_PER_DOMAIN
from triopool.testing import Reply

from .world import API, OTHER, is_public_suffix, jar, sets, to, web

NOW = 1_700_000_000


@pytest.fixture(autouse=True)
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time on the wall: cookies expire by that, and not by Trio's clock."""
    now = [NOW + 0.5]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


@pytest.fixture
def contexts(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return client_ssl_context, server_ssl_context


def sent(cookies: Cookies, url: str) -> str | None:
    value = cookies.field_for(parse(url))
    return None if value is None else value.decode("latin-1")


def after(
    *fields: str | bytes, url: str = "https://www.a.test/x/y", into: Cookies | None = None
) -> Cookies:
    """A jar with what a response from *url* sets."""
    cookies = jar() if into is None else into
    values = [field if isinstance(field, bytes) else field.encode("latin-1") for field in fields]
    cookies.take(parse(url), [(b"Set-Cookie", value) for value in values])
    return cookies


# ── What a server may set, and where it goes ───────────────────────────────────────────────────

HOST = "https://www.a.test/x/y"

SET = [
    # (the field, where to, what is sent there)
    ("a=b", HOST, "a=b"),
    ("a=b", "https://www.a.test:444/x", "a=b"),
    ("a=b", "http://www.a.test/x/y?z", "a=b"),
    ("a=b", "https://a.test/x/y", None),
    ("a=b", "https://sub.www.a.test/x/y", None),
    (" a = b ; ", HOST, "a=b"),
    ("a=", HOST, "a="),
    ('a="b c=d"', HOST, 'a="b c=d"'),
    ("a=b\xe9", HOST, "a=b\xe9"),
    ("a", HOST, None),
    ("=b", HOST, None),
    ("; a=b", HOST, None),
    ("a=b\x01", HOST, None),
    ("a=b\tc", HOST, None),
    ("a=b; x=\x7f", HOST, None),
    ("a=" + 4095 * "b", HOST, "a=" + 4095 * "b"),
    ("a=" + 4096 * "b", HOST, None),
    ("a=b; x=" + 17_000 * "y", HOST, None),
    # Domain
    ("a=b; Domain=a.test", HOST, "a=b"),
    ("a=b; domain=.A.TEST", "https://a.test/x/y", "a=b"),
    ("a=b; Domain=a.test", "https://other.a.test/x", "a=b"),
    ("a=b; Domain=a.test", "https://xa.test/x", None),
    ("a=b; Domain=www.a.test", "https://sub.www.a.test/x", "a=b"),
    ("a=b; Domain=www.a.test", "https://a.test/x", None),
    ("a=b; Domain=", HOST, "a=b"),
    ("a=b; Domain", "https://sub.www.a.test/x", None),
    ("a=b; Domain=other.test", "https://other.test/x", None),
    ("a=b; Domain=other.test", HOST, None),
    ("a=b; Domain=sub.www.a.test", "https://sub.www.a.test/x", None),
    ("a=b; Domain=a.test.", HOST, None),
    ("a=b; Domain=\xe9.test", HOST, None),
    ("a=b; Domain=test", HOST, None),
    ("a=b; Domain=x.test; Domain=a.test", HOST, "a=b"),
    ("a=b; Domain=" + 1025 * "x", HOST, "a=b"),
    # Path
    ("a=b", "https://www.a.test/x", "a=b"),
    ("a=b", "https://www.a.test/x/", "a=b"),
    ("a=b", "https://www.a.test/xy", None),
    ("a=b", "https://www.a.test/", None),
    ("a=b; Path=/", "https://www.a.test/", "a=b"),
    ("a=b; path=/z", "https://www.a.test/z/", "a=b"),
    ("a=b; Path=/z/", "https://www.a.test/z", None),
    ("a=b; Path=z", HOST, "a=b"),
    ("a=b; Path", HOST, "a=b"),
    # Expires and Max-Age
    ("a=b; Max-Age=1", HOST, "a=b"),
    ("a=b; Max-Age=0", HOST, None),
    ("a=b; Max-Age=-1", HOST, None),
    ("a=b; Max-Age=soon", HOST, "a=b"),
    ("a=b; Max-Age=" + 50 * "9", HOST, "a=b"),
    ("a=b; Expires=Wed, 09 Jun 2021 10:18:14 GMT", HOST, None),
    ("a=b; Expires=Wed, 09-Jun-2021 10:18:14 GMT", HOST, None),
    ("a=b; Expires=Wed, 09 Jun 2032 10:18:14 GMT", HOST, "a=b"),
    ("a=b; Expires=never", HOST, "a=b"),
    ("a=b; Expires=Wed, 09 Jun 2021 10:18:14 GMT; Max-Age=9", HOST, "a=b"),
    # Secure and the prefixes
    ("a=b; Secure", HOST, "a=b"),
    ("a=b; secure=1; HttpOnly", HOST, "a=b"),
    ("a=b; Secure", "http://www.a.test/x/y", None),
    ("__Secure-a=b; Secure", HOST, "__Secure-a=b"),
    ("__Secure-a=b", HOST, None),
    ("__Host-a=b; Secure; Path=/", HOST, "__Host-a=b"),
    ("__host-a=b; Secure", HOST, None),
    ("__Host-a=b; Path=/", HOST, None),
    ("__Host-a=b; Secure; Path=/; Domain=www.a.test", HOST, None),
]


@pytest.mark.parametrize(("field", "url", "expected"), SET)
def test_what_a_server_sets_goes_where_the_standard_says(
    field: str, url: str, expected: str | None
) -> None:
    assert sent(after(field), url) == expected


@pytest.mark.parametrize(
    ("field", "url", "expected"),
    [
        ("a=b; Secure", "http://a.test/", None),
        ("__Secure-a=b; Secure", "http://a.test/", None),
        ("a=b; Domain=co.test", "http://x.co.test/", None),
        ("a=b; Domain=test", "http://a.test/", None),
        ("a=b; Domain=co.test", "http://co.test/", "a=b"),
        ("a=b; Domain=localhost", "http://localhost/", "a=b"),
        ("a=b; Domain=co.test.", "http://x.co.test./", None),
        ("a=b; Domain=192.0.2.1", "http://192.0.2.1/", "a=b"),
        ("a=b; Domain=0.2.1", "http://192.0.2.1/", None),
        ("a=b", "http://[2001:db8::1]/", "a=b"),
        ("a=b; Domain=db8::1", "http://[fe80::1%25eth0]/", None),
    ],
)
def test_what_it_gets_back_itself(field: str, url: str, expected: str | None) -> None:
    assert sent(after(field, url=url), url) == expected


def test_a_cookie_for_a_public_suffix_is_for_its_host_alone() -> None:
    cookies = after("a=b; Domain=co.test", url="http://co.test/")
    assert sent(cookies, "http://x.co.test/") is None


def test_an_address_gets_no_cookie_of_another_one() -> None:
    cookies = after("a=b; Domain=192.0.2.1", url="http://192.0.2.1/")
    assert [cookie.domain for cookie in cookies] == ["192.0.2.1"]
    cookies.jar.set_cookie(cookie_of(domain=".2.1"))
    assert sent(cookies, "http://192.0.2.1/") == "a=b"


def cookie_of(**facts: Any) -> http.cookiejar.Cookie:
    usual: dict[str, Any] = {
        "version": 0,
        "name": "n",
        "value": "v",
        "port": None,
        "port_specified": False,
        "domain": "a.test",
        "domain_specified": False,
        "domain_initial_dot": False,
        "path": "/",
        "path_specified": True,
        "secure": False,
        "expires": None,
        "discard": True,
        "comment": None,
        "comment_url": None,
        "rest": {},
    }
    return http.cookiejar.Cookie(**{**usual, **facts})


def test_longer_paths_go_first_and_a_newer_one_replaces() -> None:
    cookies = after("a=1; Path=/", "b=2", "c=3; Path=/x/y", "b=4", "a=5; Path=/; Domain=www.a.test")
    assert sent(cookies, HOST) == "c=3; b=4; a=5"
    assert len(cookies) == 3
    after("a=6; Path=/", into=cookies)
    assert sent(cookies, "https://www.a.test/") == "a=6"
    after("a=; Path=/; Domain=www.a.test; Max-Age=0", "nothing=; Max-Age=0", into=cookies)
    assert sent(cookies, "https://www.a.test/") is None


def test_a_server_removes_no_cookie_of_another_one() -> None:
    """http.cookiejar lets it."""
    cookies = after("a=b; Path=/; Domain=a.test", "c=d; Path=/")
    for url in ("https://evil.test/", "https://test/"):
        after(
            "a=; Path=/; Domain=a.test; Max-Age=0",
            "c=; Path=/; Domain=www.a.test; Max-Age=0",
            url=url,
            into=cookies,
        )
    assert sent(cookies, HOST) == "a=b; c=d"


@pytest.mark.parametrize("field", ["a=evil", "a=; Max-Age=0"])
def test_a_host_below_touches_no_cookie_that_is_for_its_host_alone(field: str) -> None:
    cookies = after("a=b; Path=/", url="https://a.test/")
    after(f"{field}; Path=/; Domain=a.test", url="https://evil.a.test/", into=cookies)
    assert "a=b" in str(sent(cookies, "https://a.test/"))


async def test_both_of_them_are_saved_and_loaded(tmp_path: Path) -> None:
    cookies = after("a=b; Path=/", url="https://a.test/")
    after("a=c; Path=/; Domain=a.test", url="https://www.a.test/", into=cookies)
    await cookies.save(tmp_path / "cookies.txt")
    loaded = jar()
    await loaded.load(tmp_path / "cookies.txt")
    assert sorted(cookie.domain for cookie in loaded) == [".a.test", "a.test"]


def test_many_cookies_at_once_take_no_look_at_the_jar_each() -> None:
    class Counting(http.cookiejar.CookieJar):
        looks = 0

        def __iter__(self) -> Any:
            self.looks += 1
            return super().__iter__()

    counting = Counting()
    cookies = Cookies(counting, is_public_suffix=is_public_suffix)
    after(*[f"n{number}=v" for number in range(100)], url="http://a.test/", into=cookies)
    assert counting.looks < 5


def test_http_does_not_replace_what_is_https_only() -> None:
    cookies = after("a=b; Secure; Path=/x; Domain=a.test")
    for url, field in [
        ("http://www.a.test/x/y", "a=evil"),
        ("http://a.test/x/y", "a=evil; Path=/x/z"),
        ("http://a.test/x", "a=; Path=/x; Domain=a.test; Max-Age=0"),
    ]:
        after(field, url=url, into=cookies)
    assert [cookie.value for cookie in cookies] == ["b"]
    after("a=1; Path=/", "other=1; Path=/x", url="http://www.a.test/x/y", into=cookies)
    after("a=1", url="http://b.test/x/y", into=cookies)
    assert len(cookies) == 4
    after("a=2; Path=/x; Domain=a.test", into=cookies)
    assert sent(cookies, "https://a.test/x") == "a=2"


def test_cookies_expire_by_the_clock_on_the_wall(wall_clock: list[float]) -> None:
    cookies = after("a=b; Max-Age=60", "c=d", "e=f; Expires=Fri, 31 Dec 9999 23:59:59 GMT")
    wall_clock[0] += 59
    assert sent(cookies, HOST) == "a=b; c=d; e=f"
    wall_clock[0] += 2
    assert sent(cookies, HOST) == "c=d; e=f"
    assert len(cookies) == 3
    after("g=h", into=cookies)
    assert len(cookies) == 3
    wall_clock[0] += 400 * 24 * 3600
    assert sent(cookies, HOST) == "c=d; g=h"


def test_there_are_bounds() -> None:
    cookies = jar()
    for number in range(MAX_PER_DOMAIN + 5):
        after(f"n{number}=v", into=cookies)
    assert len(cookies) == MAX_PER_DOMAIN
    assert "n0=" not in str(sent(cookies, HOST))
    assert f"n{MAX_PER_DOMAIN + 4}=" in str(sent(cookies, HOST))
    for host in range(20):
        for _ in range(2):
            url = f"https://{host}.b.test/"
            after(*[f"n{number}=v" for number in range(150)], url=url, into=cookies)
    assert len(cookies) == MAX_COOKIES
    assert sent(cookies, HOST) is not None


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    cookies = jar()
    for number in range(300):
        after(f"a=b; Path=/{number}", into=cookies)
        after(f"a=b; Path=/{number}; Max-Age=0", into=cookies)
    assert (len(cookies), vars(cookies.jar)["_cookies"]) == (0, {})


def test_what_is_in_a_jar_is_seen_and_can_be_removed() -> None:
    cookies = after("a=SECRET; HttpOnly; Secure; Max-Age=5")
    [cookie] = cookies
    assert (cookie.name, cookie.value, cookie.domain, cookie.path) == (
        "a",
        "SECRET",
        "www.a.test",
        "/x",
    )
    assert (cookie.secure, cookie.expires) == (True, NOW + 5)
    assert cookie.has_nonstandard_attr("HTTPOnly")
    assert repr(cookies) == "<triopool.Cookies, 1 of them>"
    for cookie in cookies:
        cookies.jar.clear(cookie.domain, cookie.path, cookie.name)
    assert sent(cookies, HOST) is None
    after("a=b", into=cookies).clear()
    assert len(cookies) == 0


def test_a_jar_of_another_library_is_taken_as_it_is() -> None:
    theirs = http.cookiejar.CookieJar()
    theirs.set_cookie(cookie_of(value="\u20ac"))
    theirs.set_cookie(cookie_of(name="flag", value=None, domain=".a.test", path=""))
    cookies = jar(jar=theirs)
    assert cookies.field_for(parse("http://a.test/")) == "n=\u20ac; flag".encode()
    assert cookies.jar is theirs


def test_a_jar_and_a_rule_are_checked() -> None:
    wrong: Any
    for wrong in ({"a": "b"}, []):
        with pytest.raises(TypeError, match=r"jar must be an http\.cookiejar\.CookieJar, not"):
            Cookies(wrong, is_public_suffix=is_public_suffix)
    with pytest.raises(TypeError, match="is_public_suffix must be callable, not 3"):
        Cookies(is_public_suffix=3)  # type: ignore[arg-type]


def test_who_has_no_cookies_does_not_load_what_they_need() -> None:
    program = (
        "import sys, triopool; triopool.ConnectionPool().session(retry=triopool.Retry()); "
        "print([m for m in ('http.cookiejar', 'publicsuffixlist') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "[]", shown.stderr


# ── The list of public suffixes ────────────────────────────────────────────────────────────────


def test_without_the_list_there_are_no_cookies_unless_there_is_another_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'triopool\[cookies\]'"):
        ConnectionPool().session(cookies=True)
    session = ConnectionPool().session(cookies=jar())
    assert session.session().cookies is not None


async def test_the_list_is_read_once_and_not_before_it_is_needed(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("publicsuffixlist")
    async with web() as w:
        cookies = Cookies()
        api = w.pool.session(base_url="http://api.test/", cookies=cookies)
        w.replies["/"] = [sets("a=b; Domain=test", "c=d; Domain=api.test")]
        await api.get("")
        assert trio.current_time() == 0  # The clock stands while the disk is read.
        await api.get("")
        assert w.header("cookie") == [None, "c=d"]
        await cookies.get_ready()
    rule = await public_suffixes.load()
    assert await public_suffixes.load() is rule
    for domain in ("com", "co.uk", "github.io", "kobe.jp", "xn--p1ai", "localhost", "never.ck"):
        assert rule(domain)
    for domain in ("example.com", "example.co.uk", "me.github.io", "city.kobe.jp", "www.ck"):
        assert not rule(domain)


# ── Sessions ───────────────────────────────────────────────────────────────────────────────────


async def test_nobody_has_cookies_who_has_not_asked(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/"] = [sets("a=b")]
        for session in (
            w.pool.session(base_url=API),
            w.pool.session(base_url=API, cookies=False),
            w.pool.session(base_url=API, cookies=None),
            w.pool.session(base_url=API, cookies=jar()).session(cookies=False),
        ):
            assert session.cookies is None
            await session.get("")
            await session.get("")
        assert w.header("cookie") == [None] * 8


async def test_cookies_come_and_go(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/login"] = [sets("sid=1; Path=/", "x=2; Path=/y")]
        api = w.pool.session(base_url=API, cookies=jar())
        await api.post("login")
        await api.get("x")
        async with api.stream("GET", "y") as response:
            await response.read()
        await api.get(OTHER)
        await api.get("x", headers={"Cookie": "mine=1"})
        await w.pool.get(f"{API}/x")
        assert w.header("cookie") == [None, "sid=1", "x=2; sid=1", None, "mine=1", None]


async def test_cookies_never_go_from_one_session_to_another(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/login"] = [sets("sid=1; Path=/")]
        one = w.pool.session(base_url=API, cookies=jar())
        await one.get("login")
        two = w.pool.session(base_url=API, cookies=jar())
        child = one.session(headers={"a": "b"})
        shared = one.session(cookies=one.cookies)
        assert child.cookies is not None
        assert child.cookies is not one.cookies
        for session in (two, child, shared):
            await session.get("x")
        assert w.header("cookie") == [None, None, None, "sid=1"]


async def test_each_hop_of_a_redirect_sets_and_gets_its_cookies(
    autojump_clock: object, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with web(contexts) as w:
        w.replies["/1"] = [to("/2", 302, ("Set-Cookie", "a=1; Path=/2"), ("Set-Cookie", "b=1"))]
        w.replies["/2"] = [to("http://two.test/3", 302, ("Set-Cookie", "b=; Max-Age=0"))]
        w.replies["/3"] = [to("http://one.test/2/4", 302, ("Set-Cookie", "o=1"))]
        w.replies["/2/4"] = [to("https://one.test/5")]
        w.replies["/5"] = [to("https://two.test/6", 302, ("Set-Cookie", "s=1; Secure"))]
        w.replies["/6"] = [to("https://one.test/7")]
        api = w.pool.session(base_url="http://one.test", cookies=jar(), follow_redirects=True)
        response = await api.get("1")
        assert len(response.history) == 6
        assert w.header("cookie") == [None, "a=1; b=1", None, "a=1", None, "o=1", "s=1"]


async def test_a_cookie_of_the_callers_own_is_for_its_origin(autojump_clock: object) -> None:
    async with web() as w:
        w.replies["/1"] = [to("/2", 302, ("Set-Cookie", "a=1"))]
        w.replies["/2"] = [to(f"{OTHER}/3")]
        w.replies["/3"] = [to(f"{API}/4")]
        api = w.pool.session(base_url=API, cookies=jar(), follow_redirects=True)
        await api.get("1", headers={"Cookie": "mine=1"})
        assert w.header("cookie") == ["mine=1", "mine=1", None, "a=1"]


async def test_a_rule_that_raises_lets_no_slot_go_lost(autojump_clock: object) -> None:
    def broken(domain: str) -> bool:
        raise ZeroDivisionError

    async with web(max_connections=1) as w:
        w.replies["/"] = [sets("a=b; Domain=api.test")]
        api = w.pool.session(base_url=API, cookies=Cookies(is_public_suffix=broken))
        with pytest.raises(ZeroDivisionError):
            await api.get("")
        assert (await api.get("x")).status_code == 200


# ── Files ──────────────────────────────────────────────────────────────────────────────────────


async def test_cookies_are_saved_and_loaded(tmp_path: Path, wall_clock: list[float]) -> None:
    file = tmp_path / "cookies.txt"
    cookies = after(
        "a=b; HttpOnly; Max-Age=60", "c=d\xe9; Domain=a.test; Secure", "e=", "f=g; Max-Age=1"
    )
    wall_clock[0] += 2
    await cookies.save(file)
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == (
        b"# Netscape HTTP Cookie File\n"
        b"#HttpOnly_www.a.test\tFALSE\t/x\tFALSE\t%d\ta\tb\n"
        b"www.a.test\tFALSE\t/x\tFALSE\t0\te\t\n"
        b".a.test\tTRUE\t/x\tTRUE\t0\tc\td\xe9\n" % (NOW + 60)
    )
    loaded = after("a=old")
    await loaded.load(str(file))
    assert sorted(map(str, loaded)) == sorted(
        str(cookie) for cookie in cookies if cookie.name != "f"
    )
    assert sent(loaded, HOST) == "a=b; e=; c=d\xe9"
    [first] = [cookie for cookie in loaded if cookie.name == "a"]
    assert first.has_nonstandard_attr("HTTPOnly")
    await after(into=loaded).save(file)  # Over the old one.
    assert os.listdir(tmp_path) == ["cookies.txt"]


async def test_what_others_have_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "cookies.txt"
    file.write_bytes(
        b"# Netscape HTTP Cookie File\r\n# a comment\r\n\r\n"
        b"a.test\tTRUE\t/\tFALSE\t1700000060.25\tone\t1\r\n"
        b".A.test\tFALSE\t/\tFALSE\t\ttwo\t2\n"
        b"a.test\tTRUE\t/\tFALSE\t1600000000\told\t3\n"
        b".co.test\tTRUE\t/\tFALSE\t0\tfour\t4\n"
    )
    cookies = jar()
    await cookies.load(file)
    assert sent(cookies, "http://a.test/") == "one=1; two=2"
    assert sent(cookies, "http://www.a.test/") == "one=1"
    assert len(cookies) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"SECRET",
        b"a.test\tTRUE\t/\tFALSE\tSECRET\ta\tb",
        b".\tTRUE\t/\tFALSE\t0\ta\tSECRET",
        b"a.test\tTRUE\t/\tFALSE\t.\ta\tSECRET",
        b"a.test\tTRUE\t/\tFALSE\t0\ta\tSECRET\rX: y",
        b"a.test\tTRUE\t/\tFALSE\t0\ta\0\tSECRET",
    ],
)
async def test_a_file_that_is_none_is_told_without_its_secrets(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "cookies.txt"
    file.write_bytes(b"a.test\tTRUE\t/\tFALSE\t0\ta\tb\n" + line)
    cookies = jar()
    with pytest.raises(ValueError, match="line 2 is not that of a cookie") as caught:
        await cookies.load(file)
    assert "SECRET" not in str(caught.value)
    assert len(cookies) == 0


async def test_blanks_in_a_file_do_not_hinder_requests(tmp_path: Path) -> None:
    file = tmp_path / "cookies.txt"
    file.write_bytes(b"a.test\tTRUE\t/\tFALSE\t0\t one\tb c \n")
    cookies = jar()
    await cookies.load(file)
    assert sent(cookies, "http://a.test/") == "one=b c"


async def test_a_file_that_can_t_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        await jar().save(tmp_path / "no" / "cookies.txt")
    with pytest.raises(FileNotFoundError):
        await jar().load(tmp_path / "cookies.txt")
    file = tmp_path / "cookies.txt"
    file.write_text("old")

    def broken(*paths: object) -> None:
        raise OSError("no")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", broken)
        with pytest.raises(OSError, match="no"):
            await after("a=b").save(file)
    assert os.listdir(tmp_path) == ["cookies.txt"]
    assert file.read_text() == "old"


async def test_the_file_of_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await after("a=b").save("cookies.txt")
    loaded = jar()
    await loaded.load("cookies.txt")
    assert len(loaded) == 1


async def test_a_jar_from_a_file_goes_on(autojump_clock: object, tmp_path: Path) -> None:
    async with web() as w:
        w.replies["/login"] = [sets("sid=1; Path=/; Max-Age=60")]
        api = w.pool.session(base_url=API, cookies=jar())
        await api.get("login")
        assert api.cookies is not None
        await api.cookies.save(tmp_path / "c")
        again = w.pool.session(base_url=API, cookies=jar())
        assert again.cookies is not None
        await again.cookies.load(tmp_path / "c")
        await again.get("x")
        assert w.last("cookie") == "sid=1"
        w.replies["/x"] = [Reply(204)]
        assert (await again.get("x")).status_code == 204
