"""Which way a request takes, which connections it may have, and what a proxy gets of it."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from triopool import InvalidURL, Origin, PoolKey, Proxy
from triopool._proxy.route import forwarded_fields, forwarded_target, route
from triopool._request.url import parse

HTTP = Origin("http", "a.example", 80)
HTTPS = Origin("https", "a.example", 443)
PLAIN = "http://proxy:3128"


def way(key: PoolKey) -> str:
    return "forwarded" if key.forwarded else "tunnel"


@pytest.mark.parametrize(
    ("origin", "proxy", "may_switch", "expected"),
    [
        (HTTP, Proxy(PLAIN), False, "forwarded"),
        (HTTP, Proxy("https://proxy"), False, "forwarded"),
        (HTTP, Proxy(PLAIN, via="socks5://first"), False, "forwarded"),
        (HTTP, Proxy(PLAIN), True, "tunnel"),
        (HTTP, Proxy("https://proxy"), True, "tunnel"),
        (HTTP, Proxy(PLAIN, tunnel=True), False, "tunnel"),
        (HTTPS, Proxy(PLAIN), False, "tunnel"),
        (HTTPS, Proxy("https://proxy"), False, "tunnel"),
        (HTTPS, Proxy(PLAIN), True, "tunnel"),
        (HTTP, Proxy("socks5://proxy"), False, "tunnel"),
        (HTTP, Proxy("socks5h://proxy", via=PLAIN), False, "tunnel"),
        (HTTP, Proxy("socks4://proxy"), True, "tunnel"),
        (HTTPS, Proxy("socks4a://proxy"), False, "tunnel"),
    ],
)
def test_scheme_and_proxy_say_which_way(
    origin: Origin, proxy: Any, may_switch: bool, expected: str
) -> None:
    assert way(route(origin, None, proxy, may_switch=may_switch)) == expected


def test_a_tunnel_has_origin_server_name_and_proxy_in_its_key() -> None:
    proxy = Proxy(PLAIN)
    assert route(HTTPS, "b.example", proxy) == PoolKey(HTTPS, "b.example", proxy)
    assert route(HTTPS, None, proxy) == PoolKey(HTTPS, None, proxy, False)


def test_what_is_forwarded_is_shared_by_all_origins() -> None:
    proxy = Proxy(PLAIN)
    other = Origin("http", "b.example", 8080)
    assert route(HTTP, None, proxy) == PoolKey(proxy.origin, None, proxy, forwarded=True)
    assert route(HTTP, None, proxy) == route(other, None, proxy)
    own = Proxy(PLAIN, share_connections=False)
    assert route(HTTP, None, own) == PoolKey(HTTP, None, own, forwarded=True)
    assert route(HTTP, None, own) != route(other, None, own)


def test_requests_to_the_proxy_itself_have_keys_of_their_own() -> None:
    """Directly, in a tunnel to itself, and forwarded: three kinds of connection to one address."""
    proxy = Proxy(PLAIN)
    keys = {
        PoolKey(proxy.origin),
        route(proxy.origin, None, proxy, may_switch=True),
        route(proxy.origin, None, proxy),
    }
    assert len(keys) == 3


def test_each_part_of_a_proxy_makes_another_key() -> None:
    proxies = [
        Proxy("https://proxy"),
        Proxy("https://proxy:444"),
        Proxy("https://a:b@proxy"),
        Proxy("https://a:c@proxy"),
        Proxy("https://proxy", headers={"a": "b"}),
        Proxy("https://proxy", ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
        Proxy("https://proxy", server_hostname="other"),
        Proxy("https://proxy", unix_socket="/run/proxy"),
        Proxy("https://proxy", share_connections=False),
        Proxy("https://proxy", tunnel=True),
        Proxy("https://proxy", via="http://first"),
        Proxy("https://proxy", via="http://a:b@first"),
    ]
    for origin in (HTTP, HTTPS):
        assert len({route(origin, None, proxy) for proxy in proxies}) == len(proxies)


@pytest.mark.parametrize("may_switch", [False, True])
def test_an_origin_that_a_proxy_can_t_reach_is_refused_before_anything_is_taken(
    may_switch: bool,
) -> None:
    zone = parse("http://[fe80::1%25eth0]/").origin
    for proxy in (Proxy(PLAIN), Proxy("socks5://proxy")):
        with pytest.raises(InvalidURL, match="zone"):
            route(zone, None, proxy, may_switch=may_switch)
    with pytest.raises(InvalidURL, match="SOCKS4"):
        route(parse("https://[::1]/").origin, None, Proxy("socks4a://proxy"))


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (PoolKey(HTTPS), "https://a.example:443"),
        (PoolKey(HTTPS, "b"), "https://a.example:443 as b"),
        (PoolKey(HTTPS, "b", Proxy(PLAIN)), "https://a.example:443 as b through http://proxy:3128"),
        (route(HTTP, None, Proxy("socks5://p")), "http://a.example:80 through socks5://p:1080"),
        (route(HTTP, None, Proxy(PLAIN)), "the proxy http://proxy:3128"),
        (
            route(HTTP, None, Proxy(PLAIN, share_connections=False)),
            "http://a.example:80 through http://proxy:3128",
        ),
    ],
)
def test_a_key_says_the_way(key: PoolKey, shown: str) -> None:
    assert str(key) == shown


# ── What is forwarded ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "url", "target", "sent"),
    [
        ("GET", "http://a.example", None, "http://a.example/"),
        ("GET", "http://a.example/x?y=z", None, "http://a.example/x?y=z"),
        ("GET", "http://a.example?", None, "http://a.example/?"),
        ("GET", "http://a.example:80/", None, "http://a.example/"),
        ("GET", "http://a.example:8080/x", None, "http://a.example:8080/x"),
        ("GET", "http://[::1]:8080/x", None, "http://[::1]:8080/x"),
        ("GET", "http://ada:secret@a.example/x#y", None, "http://a.example/x"),
        ("GET", "http://Bücher.example/ü", None, "http://xn--bcher-kva.example/%C3%BC"),
        ("OPTIONS", "http://a.example/", None, "http://a.example/"),
        ("OPTIONS", "http://a.example/x", "*", "http://a.example"),
        ("OPTIONS", "http://a.example:81/", "*", "http://a.example:81"),
        ("GET", "http://a.example/", "*", "*"),
        ("GET", "http://a.example:81/", "/a//b?c", "http://a.example:81/a//b?c"),
        ("GET", "http://a.example/", "//b", "http://a.example//b"),
        ("GET", "http://a.example/", "http://b.example/c", "http://b.example/c"),
    ],
)
def test_a_forwarded_request_has_the_absolute_form(
    method: str, url: str, target: str | None, sent: str
) -> None:
    assert forwarded_target(method, parse(url), target) == sent


GIVEN = [(b"Host", b"a.example"), (b"User-Agent", b"x")]


def test_the_proxy_s_fields_come_last() -> None:
    proxy = Proxy("http://a:b@proxy", headers=[("X-A", "1"), ("X-A", "2")])
    assert forwarded_fields(GIVEN, proxy) == [
        (b"Proxy-Authorization", b"Basic YTpi"),
        (b"X-A", b"1"),
        (b"X-A", b"2"),
    ]
    assert not forwarded_fields(GIVEN, Proxy(PLAIN))
    assert len(GIVEN) == 2


def test_a_field_that_the_request_has_itself_is_not_repeated() -> None:
    proxy = Proxy("http://a:b@proxy", headers={"user-agent": "y", "X-A": "1"})
    own = [*GIVEN, (b"proxy-authorization", b"Bearer own")]
    assert forwarded_fields(own, proxy) == [(b"X-A", b"1")]
