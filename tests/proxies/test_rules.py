"""ProxyRules: a proxy by scheme, and what goes past it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopool import DIRECT, InvalidURL, Origin, Proxy, ProxyRules
from triopool._proxy import rules as _rules
from triopool._proxy.no_proxy import NoProxy
from triopool._request.url import parse

from .properties import fast

PROXY = Proxy("http://ada:secret@proxy:3128")
OTHER = Proxy("socks5h://tor")


def origin(url: str) -> Origin:
    return parse(url).origin


def test_the_url_s_scheme_says_which_proxy() -> None:
    rules = ProxyRules(http=PROXY, https="socks5h://tor")
    assert rules(origin("http://a.example:443")) is PROXY
    assert rules(origin("https://a.example:80")) == OTHER


def test_without_a_proxy_everything_goes_directly() -> None:
    for url in ("http://a.example", "https://a.example", "http://localhost"):
        assert ProxyRules()(origin(url)) is DIRECT
    only_https = ProxyRules(https=PROXY)
    assert only_https(origin("http://a.example")) is DIRECT
    assert only_https(origin("https://a.example")) is PROXY


def test_what_no_proxy_names_goes_directly() -> None:
    rules = ProxyRules(http=PROXY, https=PROXY, no_proxy="b.example, 192.0.2.0/24, c.example:8443")
    assert rules(origin("http://a.example")) is PROXY
    assert rules(origin("http://x.b.example")) is DIRECT
    assert rules(origin("https://192.0.2.7")) is DIRECT
    assert rules(origin("https://c.example")) is PROXY
    assert rules(origin("https://c.example:8443")) is DIRECT


LOOPBACK = [
    "localhost",
    "LocalHost.",
    "a.b.localhost",
    "local.localhost",
    "127.0.0.1",
    "127.255.255.254",
    "[::1]",
    "[0:0::1]",
    "[::ffff:127.0.0.1]",
    "[::1%25lo]",
]


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_is_not_asked_of_a_proxy(scheme: str, host: str) -> None:
    where = origin(f"{scheme}://{host}:8080")
    assert ProxyRules(http=PROXY, https=PROXY)(where) is DIRECT
    assert ProxyRules(http=PROXY, https=PROXY, loopback=True)(where) is PROXY
    both = ProxyRules(http=PROXY, https=PROXY, loopback=True, no_proxy="*")
    assert both(where) is DIRECT


@pytest.mark.parametrize(
    "host",
    ["localhost.net", "notlocalhost", "128.0.0.1", "126.255.255.255", "0.0.0.0", "[::2]", "[::]"],
)
def test_what_only_looks_like_this_machine_is_asked_of_the_proxy(host: str) -> None:
    assert ProxyRules(http=PROXY)(origin(f"http://{host}")) is PROXY


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"http": None}, TypeError, "http must be a triopool.Proxy, .* not None"),
        ({"https": 1}, TypeError, "https must be a triopool.Proxy, .* not 1"),
        ({"http": "proxy:3128"}, InvalidURL, "a proxy's URL begins with"),
        ({"no_proxy": None}, TypeError, "no_proxy must be a str, not None"),
        ({"no_proxy": ["a"]}, TypeError, "no_proxy must be a str, not list"),
        ({"loopback": "no"}, TypeError, "loopback must be True or False, not str"),
    ],
)
def test_an_argument_that_is_wrong_is_refused(
    options: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        ProxyRules(**options)


def test_rules_show_no_credentials_and_nothing_of_no_proxy() -> None:
    rules = ProxyRules(http=PROXY, no_proxy="secret.example")
    assert repr(rules) == (
        "<ProxyRules http=Proxy('http://proxy:3128', auth=BasicAuth(...)) https=triopool.DIRECT>"
    )


# ── What is remembered ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Origin]:
    """The origins for which the table was asked."""
    origins: list[Origin] = []

    class Watched(NoProxy):
        def matches(self, origin: Origin) -> bool:
            origins.append(origin)
            return super().matches(origin)

    monkeypatch.setattr(_rules, "NoProxy", Watched)
    return origins


def test_an_answer_is_remembered_for_the_last_1024_origins(asked: list[Origin]) -> None:
    rules = ProxyRules(http=PROXY, https=OTHER, no_proxy="b.example")
    many = [Origin("http", f"h{n}.example", 80) for n in range(1024)]
    for where in many * 2:
        assert rules(where) is PROXY
    assert asked == many
    assert rules(Origin("http", "b.example", 80)) is DIRECT
    assert rules(many[1]) is PROXY
    assert len(asked) == 1025
    assert rules(many[0]) is PROXY  # The one that was asked for longest ago.
    assert asked[-1] == many[0]


def test_rules_answer_for_themselves(asked: list[Origin]) -> None:
    where = Origin("http", "b.example", 80)
    assert ProxyRules(http=PROXY, no_proxy="b.example")(where) is DIRECT
    assert ProxyRules(http=PROXY)(where) is PROXY
    assert ProxyRules()(where) is DIRECT  # Without asking.
    assert len(asked) == 2


def test_rules_that_nobody_uses_are_gone_at_once() -> None:
    rules = ProxyRules(http=PROXY, no_proxy="b.example")
    rules(Origin("http", "b.example", 80))
    gone = weakref.ref(rules)
    gc.disable()
    try:
        del rules
        assert gone() is None
    finally:
        gc.enable()


# ── Properties ─────────────────────────────────────────────────────────────────────────────────

hosts = st.one_of(
    st.from_regex(r"[ab]{1,2}(\.[ab]{1,2}){0,3}", fullmatch=True),
    st.ip_addresses().map(str),
    st.sampled_from(["localhost", "a.localhost", "127.0.0.1", "::1"]),
)
texts = st.lists(st.one_of(hosts, hosts.map("*.{}".format), st.text(max_size=5))).map(",".join)


@fast
@given(texts, hosts, st.sampled_from(["http", "https"]), st.booleans())
def test_nothing_goes_directly_unless_an_entry_says_so(
    text: str, host: str, scheme: str, loopback: bool
) -> None:
    """What a proxy was chosen for goes through it: each entry alone is asked once more."""
    where = Origin(scheme, host, 80)
    answer = ProxyRules(http=PROXY, https=PROXY, no_proxy=text, loopback=loopback)(where)
    named = any(
        ProxyRules(http=PROXY, https=PROXY, no_proxy=entry, loopback=True)(where) is DIRECT
        for entry in text.replace(",", " ").split()
    )
    is_ours = ProxyRules(http=PROXY, https=PROXY, loopback=loopback)(where) is DIRECT
    assert answer is (DIRECT if named or is_ours else PROXY)
    assert not (is_ours and loopback)
