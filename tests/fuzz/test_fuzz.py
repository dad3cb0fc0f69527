"""Whatever a server sends: no hang, no foreign error, no slot lost, no answer mistaken.

The short version, the same each time; README.md tells how to look for longer.
"""

from __future__ import annotations

import traceback
import tracemalloc
from collections.abc import Callable

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from triopool import InvalidURL, LocalProtocolError
from triopool._protocol.request_head import make_head
from triopool._request.url import URL, join, parse

from .responses import BOMB_BYTES, BOMBS, LOCATIONS, cases
from .target import Case, play

same_each_time = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@settings(same_each_time, max_examples=1000)
@example(Case(b"", end="reset"))
@given(cases)
def test_no_server_can_do_harm(case: Case) -> None:
    play(case)


@settings(same_each_time, max_examples=200)
@given(st.binary(max_size=300))
def test_any_bytes_make_a_case(data: bytes) -> None:
    """As the longer run makes them; and what it found can be put down as bytes."""
    case = Case.from_bytes(data)
    assert Case.from_bytes(case.to_bytes()) == case
    play(case)


# ── Memory ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", BOMBS, ids=bytes.decode)
@pytest.mark.parametrize(
    ("how", "limit", "outcome"),
    [
        ("request", None, "RemoteProtocolError"),
        ("stream", 2 * BOMB_BYTES, "2xx"),
        ("lease", None, "RemoteProtocolError"),
    ],
)
def test_a_bomb_takes_little_memory(
    encoding: bytes, how: str, limit: int | None, outcome: str
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    raw = head % (encoding, len(BOMBS[encoding])) + BOMBS[encoding]
    tracemalloc.start()
    try:
        assert play(Case(raw, how=how, limit=limit)) == outcome
        assert tracemalloc.get_traced_memory()[1] < BOMB_BYTES / 10
    finally:
        tracemalloc.stop()


# ── Locations and URLs ─────────────────────────────────────────────────────────────────────────

BASE = parse("http://user:pass@a.example:81/b/c?d")

_LETTERS = "htp:/@[]?#%\\.;&=-_0123456789abcdefxvz \t\r\n\0éß℀。\u0300\u202e\ud800\U0001f600"
odd_text = st.text(st.sampled_from(_LETTERS), max_size=40) | st.text(max_size=20)
references = (
    odd_text
    | odd_text.map("http://{}".format)
    | odd_text.map("//{}".format)
    | odd_text.map("http://[{}]/".format)
    | st.tuples(odd_text, st.integers(100, 5000)).map(lambda it: f"http://{it[0]}" + "é" * it[1])
    | st.sampled_from(LOCATIONS).map(lambda raw: raw.decode("latin-1"))
)


def attempt(function: Callable[..., URL], *args: object) -> tuple[URL | None, InvalidURL | None]:
    try:
        return function(*args), None
    except InvalidURL as error:
        return None, error


@settings(same_each_time, max_examples=1000)
@given(references)
def test_a_location_leads_somewhere_or_is_refused(reference: str) -> None:
    url, error = attempt(join, BASE, reference)
    if url is None:
        assert str(error).isprintable()
        assert len(str(error)) < 500
        return
    assert url.origin.scheme in ("http", "https")
    assert 0 < url.origin.port < 65536
    assert url.target.startswith("/")
    # It can be sent as it is, and means the same to who reads it.
    make_head("GET", url.target, [("Host", url.host_header)])
    if "%" not in url.origin.host:
        assert parse(str(url)) == url._replace(auth=None)


@settings(same_each_time, max_examples=1000)
@given(
    before=st.sampled_from(["http://", "https://", "ftp://", "//", "http:", "", "/"]) | odd_text,
    name=odd_text,
    between=odd_text,
    behind=odd_text,
)
def test_no_message_tells_a_credential(before: str, name: str, between: str, behind: str) -> None:
    text = f"{before}{name}:{between}SECRET{between}@a.example{behind}"
    for url, error in (attempt(parse, text), attempt(join, BASE, text)):
        if url is None:
            assert "SECRET" not in "".join(traceback.format_exception(error))


# ── Heads of requests ──────────────────────────────────────────────────────────────────────────

names = st.sampled_from(["Host", "host", "Content-Length", "Transfer-Encoding", "X", b"X"]) | (
    st.text(max_size=5)
)
values = (
    st.sampled_from(["a", "5", "05", "chunked", "Chunked", b"\xff"])
    | st.text(max_size=5)
    | (st.binary(max_size=5))
)


@settings(same_each_time, max_examples=1000)
@given(
    method=st.sampled_from(["GET", "HEAD"]) | st.text(max_size=5),
    target=st.sampled_from(["/", "*", "a:1"]) | st.text(max_size=5),
    fields=st.lists(st.tuples(names, values), max_size=4),
)
def test_a_head_that_passes_is_one_that_h11_takes_and_sends_as_it_is(
    method: str, target: str, fields: list[tuple[str | bytes, str | bytes]]
) -> None:
    """We check it by rules of our own: what they let pass must not be refused when it is sent."""
    try:
        head = make_head(method, target, [("Host", "b"), *fields])
    except LocalProtocolError:
        return
    request = h11.Request(method=head.method, target=head.target, headers=head.fields.lines)
    as_sent = [(name, value.lower()) for name, value in request.headers.raw_items()]
    assert as_sent == [(name, value.lower()) for name, value in head.fields.lines]
    assert (request.method.decode(), request.target.decode()) == (method, target)
