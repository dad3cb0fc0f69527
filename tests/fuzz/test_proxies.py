"""Whatever a proxy says: a tunnel that works, or an error of the proxy's, and nothing is left.

And whatever the user says of proxies: it is taken or refused, in time in proportion to its length.

The short version, the same each time; README.md tells how to look for longer.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triopool import InvalidURL, Origin, Proxy, ProxyRules
from triopool._protocol import scanner
from triopool._protocol.connect import Connect
from triopool._proxy.no_proxy import NoProxy

from .proxies import KINDS, ProxyCase, play, properly
from .proxy_answers import proxy_cases, said, seeds
from .test_fuzz import odd_text, same_each_time


@settings(same_each_time, max_examples=300)
@example(ProxyCase(b"", end="reset"))
@given(proxy_cases())
def test_no_proxy_can_do_harm(case: ProxyCase) -> None:
    play(case)


@settings(same_each_time, max_examples=100)
@given(st.binary(max_size=100))
def test_any_bytes_make_a_case(data: bytes) -> None:
    """As the longer run makes them; and what it found can be put down as bytes."""
    case = ProxyCase.from_bytes(data)
    assert ProxyCase.from_bytes(case.to_bytes()) == case
    play(case)


@pytest.mark.parametrize("kind", KINDS)
def test_a_proxy_that_does_as_it_should_leads_to_a_tunnel(kind: str) -> None:
    assert play(properly(kind)) == "a tunnel"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("behind", [b"x", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\x05\0"])
def test_what_comes_with_the_last_answer_is_an_error(kind: str, behind: bytes) -> None:
    case = properly(kind)
    outcome = play(dataclasses.replace(case, raw=case.raw + behind))
    assert "sent something before it was asked for anything" in outcome


# ── In whatever pieces ─────────────────────────────────────────────────────────────────────────


def byte_by_byte(case: ProxyCase) -> ProxyCase:
    """The same words, at the same turns."""
    starts = [0, *(cut for cut in case.cuts if 0 < cut < len(case.raw))]
    waits = tuple(starts[number] for number in case.waits if number < len(starts))
    return dataclasses.replace(case, cuts=tuple(range(1, len(case.raw))), waits=waits)


def says_the_same_in_whatever_pieces(case: ProxyCase) -> None:
    outcomes = {play(case), play(byte_by_byte(case))}
    # What comes with an answer is nobody's. But what comes later is no longer the proxy's.
    if not any("before it was asked" in outcome for outcome in outcomes):
        assert len(outcomes) == 1, outcomes


@settings(same_each_time, max_examples=80)
@given(said(), st.sampled_from(["keep", "close"]))
def test_pieces_make_no_difference(case: ProxyCase, end: str) -> None:
    if len(case.raw) < 2000:
        says_the_same_in_whatever_pieces(dataclasses.replace(case, end=end))


def test_pieces_make_no_difference_to_the_seeds() -> None:
    for case in {case.raw: case for case in seeds()}.values():
        if len(case.raw) < 60:
            says_the_same_in_whatever_pieces(case)


# ── Bounds ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["connect", "socks5", "socks4a", "socks5 by connect"])
@pytest.mark.parametrize("how", ["request", "warm up"])
@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nA: ",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100,
        b"HTTP/1.1 103 x\r\nA: b\r\n\r\n",
        b"HTTP/1.1 407 x\r\nProxy-Authenticate: " + b'"\\' * 100,
        b"\x05\0",
        b"\0\x5a",
        b"",
    ],
    ids=["field", "fields", "1xx", "challenge", "socks5", "socks4", "x"],
)
def test_a_proxy_without_end_takes_little_memory(kind: str, how: str, raw: bytes) -> None:
    """How much it can say is bounded, too: play() looks at that."""
    tracemalloc.start()
    try:
        play(ProxyCase(raw, kind, endless=True, how=how))
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


class Counting(bytearray):
    """Counts all bytes that are copied, or looked at."""

    count = 0

    def __init__(self, data: Any = b"") -> None:
        super().__init__(data)
        tally(len(self))

    def __iadd__(self, data: Any) -> Any:
        tally(len(data))
        return super().__iadd__(data)

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        tally(len(found) if isinstance(key, slice) else 1)
        return found

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        tally(len(self) if key.stop else 0)

    def find(self, what: Any, start: Any = 0, end: Any = sys.maxsize) -> int:
        tally(min(end, len(self)) - start)
        return super().find(what, start, end)


def tally(number: int) -> None:
    Counting.count += number


class CountingPattern:
    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern

    def match(self, data: bytes, start: int, end: int) -> Any:
        tally(min(end, len(data)) - start)
        return self._pattern.match(data, start, end)

    def search(self, data: bytes, start: int, end: int) -> Any:
        tally(min(end, len(data)) - start)
        return self._pattern.search(data, start, end)


def counting_bytes(data: Any) -> bytes:
    tally(len(data))
    return bytes(data)


@pytest.mark.parametrize(
    ("begin", "word"),
    [
        (b"HTTP/1.1 200 OK\r\nA:", b"a"),
        (b"HTTP/1.1 200 OK\r\nA:", b" "),
        (b"HTTP/1.1 200 OK\r\nA:", b"\r\n "),
        (b"HTTP/1.1 200 OK\r\n", b"A: " + b"b" * 400 + b"\r\n"),
        (b"HTTP/1.1 200 OK\n", b"A: " + b"b" * 400 + b"\n"),
        (b"HTTP/1.1 200 ", b" "),
        (b"HTTP/1.1 200 ", b"\r"),
        (b"", b"HTTP/1.1 103 x\r\nA: " + b"b" * 4000 + b"\r\n\r\n"),
    ],
)
def test_an_answer_byte_by_byte_costs_no_more_than_in_proportion(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, word: bytes
) -> None:
    """A few times each byte is copied or looked at, however many there are before it."""
    monkeypatch.setattr(scanner, "bytearray", Counting, raising=False)
    monkeypatch.setattr(scanner, "bytes", counting_bytes, raising=False)
    for name in ("BLANK_LINE", "CLEAN_HEAD"):
        monkeypatch.setattr(scanner, name, CountingPattern(getattr(scanner, name)))
    raw = begin + word * (64_000 // len(word))
    connect = Connect("a.example", 443, [])
    Counting.count = 0
    for at in range(len(raw)):
        connect.put(raw[at : at + 1])
        assert connect.answer() is None
    assert len(raw) < Counting.count < 40 * len(raw)


# ── What the user says ─────────────────────────────────────────────────────────────────────────

ORIGINS = [
    *(Origin("http", host, 80) for host in ("a.example", "x.y.a.example.", "localhost", "::1")),
    *(Origin("https", host, 8443) for host in ("192.0.2.1", "fe80::1%eth0", "xn--bcher-kva.ch")),
]
ENTRIES = [
    "*", "a.example", ".example", "*.example", "10.0.0.0/8", "[::1]:80", "fe80::/10", "::ffff:1",
    "192.0.2.1:8443", "1.2.3", "bücher.ch", "xn--", "*.*", "a:b:c", "[", "%", "/", ":", "\0",
]  # fmt: skip
entries = st.sampled_from(ENTRIES) | odd_text
no_proxy_texts = st.lists(entries, max_size=6).map(",".join) | odd_text


@settings(same_each_time, max_examples=300)
@given(no_proxy_texts)
def test_no_text_of_no_proxy_raises(text: str) -> None:
    rules = ProxyRules(http="http://p", https="http://p", no_proxy=text)
    assert all(rules(origin) is rules(origin) for origin in ORIGINS)


@contextmanager
def calls_counted() -> Iterator[Callable[[], int]]:
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield lambda: count
    finally:
        sys.setprofile(before)


def calls_for(text: str) -> int:
    with calls_counted() as count:
        rules = NoProxy(text)
        for origin in ORIGINS:
            rules.matches(origin)
    return count()


@settings(same_each_time, max_examples=60)
@given(entries, st.sampled_from([",", " ", ", ", ".", ""]))
@example("a.", "")
@example("1:", "")
def test_no_proxy_costs_no_more_than_in_proportion(entry: str, between: str) -> None:
    """Each entry for itself costs a bounded time: it can't be longer than a name."""
    unit = f"{entry}{between}" or "a"
    calls_for(unit)  # What is learnt once is not counted: patterns, the tables of IDNA.
    small, large = (calls_for(unit * (size // len(unit) + 1)) for size in (2_000, 8_000))
    assert large < 5 * small + 1000


URLS = st.sampled_from(
    [f"{scheme}://" for scheme in ("http", "https", "socks5", "socks5h", "socks4", "socks4a")]
    + ["", "//", "ftp://", "HTTP://", "socks://", "http:", "file:///"]
)


@settings(same_each_time, max_examples=500)
@given(URLS, odd_text, odd_text, odd_text, st.booleans())
@example("http://", "", "", "\ud800", True)
def test_a_url_is_a_proxys_or_refused_and_shows_no_secret(
    begin: str, name: str, between: str, behind: str, has_credentials: bool
) -> None:
    who = f"{name}:{between}SECRET{between}@" if has_credentials else name
    text = f"{begin}{who}a.example{behind}"
    proxy, error = attempt(Proxy, text)
    if error is not None:
        looks_like_a_message(error)
        return
    shown = f"{proxy!r} {proxy}"
    assert "SECRET" not in shown
    assert shown.isprintable()
    assert Proxy(proxy.url).url == proxy.url
    # It can be told to another one, and to a program that reads it.
    assert Connect(proxy.origin.host, proxy.origin.port, proxy.fields).request


def attempt(make: Callable[[Any], Any], what: Any) -> tuple[Any, ValueError | None]:
    try:
        return make(what), None
    except ValueError as error:
        return None, error


def looks_like_a_message(error: ValueError) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 400
    assert "SECRET" not in "".join(traceback.format_exception(error))


VARIABLES = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"]
names = st.sampled_from([*VARIABLES, *map(str.upper, VARIABLES), "REQUEST_METHOD", "Http_Proxy"])
values = st.builds(
    "{}{}".format, URLS, odd_text | st.just("u:SECRET@a.example:81") | st.just("a.example")
)


@settings(same_each_time, max_examples=300)
@given(st.dictionaries(names, values | st.just(""), max_size=5))
def test_any_environment_makes_rules_or_names_the_variable(environ: dict[str, str]) -> None:
    rules, error = attempt(ProxyRules.from_environment, environ)
    if error is not None:
        assert isinstance(error, InvalidURL)
        looks_like_a_message(error)
        variable, _, rest = str(error).partition(" ")
        assert environ[variable]
        assert rest.startswith("in the environment can't be used: ")
        return
    assert "SECRET" not in repr(rules)
    # Nothing that is set is passed over, but by an entry of no_proxy.
    is_set = environ.get("https_proxy", environ.get("HTTPS_PROXY"))
    excepted = environ.get("no_proxy", environ.get("NO_PROXY"))
    if is_set and not excepted:
        assert isinstance(rules(Origin("https", "a.example", 443)), Proxy)
