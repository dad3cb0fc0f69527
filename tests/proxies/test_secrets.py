"""What somebody must not read stands in no text: not in a repr, a message, a cause, a statistic."""

from __future__ import annotations

import dataclasses
import pprint
from collections.abc import Callable, Iterator
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from triopool import (
    ConnectionInfo,
    Origin,
    OriginStatistics,
    PoolKey,
    PoolStatistics,
    Proxy,
    ProxyError,
    ProxyInfo,
    ProxyRules,
    RequestInfo,
)
from triopool._proxy.choice import check_proxy
from triopool._proxy.chooser import chooser_of_pool
from triopool._proxy.route import forwarded_fields, route

from .properties import fast

SECRET = "QXZЖé中"
"""Characters that no text of ours has, so that a single one of them in a message is found."""

secrets = st.text(st.sampled_from(f"{SECRET}ab1%:@/?#[]\\ \t\n\0=&;,\ud800"), min_size=1).filter(
    lambda text: any(character in SECRET for character in text)
)
schemes = st.sampled_from(["http", "https", "socks5", "socks5h", "socks4", "socks4a", "gopher"])
ORIGINS = [
    Origin("http", "a.example", 80),
    Origin("https", "a.example", 443),
    Origin("http", "::1", 80),
    Origin("http", "fe80::1%eth0", 80),
]


def keeps_quiet(text: str) -> None:
    assert not [character for character in SECRET if character in text], text


def keeps_quiet_when_raised(exc: BaseException) -> None:
    """The error, all that it came from, and its notes."""
    link: BaseException | None = exc
    while link is not None:
        for text in (str(link), repr(link), *getattr(link, "__notes__", ())):
            keeps_quiet(text)
        link = link.__cause__ or link.__context__


def attempt(make: Callable[..., Any], *args: object, **options: object) -> Iterator[Any]:
    """What is made, if it can be; its error is looked at."""
    try:
        yield make(*args, **options)
    except (ValueError, TypeError) as exc:
        keeps_quiet_when_raised(exc)


def proxies_with(scheme: str, name: str, password: str) -> Iterator[object]:
    host = "proxy.example.org:3128"
    encoded = f"{quote(name, errors='replace')}:{quote(password, errors='replace')}"
    for userinfo in (encoded, f"{name}:{password}", name):
        yield from attempt(Proxy, f"{scheme}://{userinfo}@{host}")
    for broken in (
        f"{name}:{password}@{host}",
        f"{name}://{password}@{host}",
        f"{scheme}:{name}:{password}@{host}",
        f"{scheme}://{name}:{password}@",
        f"{scheme}://{encoded}@proxy example",
        f"{scheme}://{encoded}@[::1",
        f"{scheme}://{encoded}@{host}0000",
        f"{scheme}://{encoded}@{host}/{password}",
        f"{scheme}://{encoded}@{host}?{password}",
    ):
        yield from attempt(Proxy, broken)
    url = f"{scheme}://{host}"
    yield from attempt(Proxy, url, auth=(name, password))
    yield from attempt(Proxy, url, headers={"token": password})
    yield from attempt(Proxy, url, headers={"token": password.encode("utf-8", "replace")})
    yield from attempt(Proxy, "http://last", via=f"{scheme}://{encoded}@{host}")
    yield from attempt(Proxy, f"{scheme}://{encoded}@{host}", via=url, tunnel=True)


@fast
@given(schemes, secrets, secrets)
@example("http", "Q", "Z")
@example("socks4", "Q", "Z" * 300)
@example("socks5", "Q" * 300, "Z")
@example("http", "Q//", "Z")
@example("http", "a/", "Q")
def test_credentials_of_a_proxy_are_in_no_text(scheme: str, name: str, password: str) -> None:
    for proxy in proxies_with(scheme, name, password):
        assert isinstance(proxy, Proxy)
        for text in (repr(proxy), str(proxy), f"{proxy}", pprint.pformat(proxy), proxy.url):
            keeps_quiet(text)
        keeps_quiet(repr(proxy.auth))
        keeps_quiet(repr(proxy.origin))
        keeps_quiet(repr([one.url for one in proxy.chain]))
        rules = ProxyRules(http=proxy, https=proxy)
        keeps_quiet(repr(rules))
        for origin in ORIGINS:
            for key in attempt(route, origin, None, proxy):
                assert isinstance(key, PoolKey)
                for text in (repr(key), str(key), pprint.pformat(key), repr(statistics_of(key))):
                    keeps_quiet(text)
        info = ProxyInfo(str(proxy), None, False)
        keeps_quiet(repr(ConnectionInfo(1, ORIGINS[0], None, None, None, 0.0, proxy=info)))
        keeps_quiet(repr(RequestInfo("GET", ORIGINS[0], "/", 1, proxy=str(proxy))))
        keeps_quiet_when_raised(ProxyError(f"the proxy {proxy} refused", proxy=str(proxy)))
        for _ in attempt(dataclasses.replace, proxy, url="socks5://other"):
            pass
        # They are where they belong, and nowhere else.
        given = [(b"Host", b"a.example")]
        assert forwarded_fields(given, proxy) == [*proxy.fields]
        assert given == [(b"Host", b"a.example")]


def statistics_of(key: PoolKey) -> PoolStatistics:
    names = [field.name for field in dataclasses.fields(OriginStatistics)]
    figures = OriginStatistics(**dict.fromkeys(names, 0))
    return PoolStatistics(
        **dict.fromkeys(names, 0), max_connections=1, origins=MappingProxyType({key: figures})
    )


@fast
@given(
    st.sampled_from(["http_proxy", "https_proxy", "all_proxy"]),
    st.sampled_from(
        ["{}", "http://{}", "http://{}@proxy", "gopher://{}", "{}@proxy", "http://p/{}"]
    ),
    secrets,
)
def test_a_value_of_the_environment_is_in_no_text(name: str, shape: str, value: str) -> None:
    for rules in attempt(ProxyRules.from_environment, {name: shape.format(value)}):
        # What stands in the place of a host is the host.
        if "@" in shape:
            keeps_quiet(repr(rules))


@fast
@given(secrets)
def test_what_is_given_in_the_place_of_a_proxy_is_in_no_text(value: str) -> None:
    for check in (chooser_of_pool, partial(check_proxy, "proxy")):
        for wrong in (value.encode("utf-8", "replace"), (value, value), [value], {value: value}):
            for _ in attempt(check, wrong):
                raise AssertionError("it was accepted")
        for _ in attempt(check, f"http://{value}@proxy"):
            pass
    wrong_answer: Any = value.encode("utf-8", "replace")
    choose = chooser_of_pool(lambda origin: wrong_answer)
    assert choose is not None
    for _ in attempt(choose, ORIGINS[0]):
        raise AssertionError("it was accepted")
