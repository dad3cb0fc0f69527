"""The two parsers give the same answers: response by response, split anywhere, and cut anywhere.

What is compared is all that can be seen of a connection (``reading.py``), after each piece that
arrives: heads, bodies, trailers, errors and their messages, why the connection is spent, what
belongs to another protocol, what was sent. There is no exception: what one of them would read
otherwise has been refused, or doubted, before either of them gets it. (But for a head that only one
of them refuses, of which the message would name it. No such head is known.)
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence

import pytest
from corpus.grammar import Case, byte_by_byte, in_chunks, pairs, singles, splits, with_length
from corpus.test_cost import ATTEMPTS, DRIBBLED, INPUTS, LARGE, MOST, SMALL
from fuzz.responses import STRAY, raws
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triopool._protocol.chunks import CHUNKS_IN_A_ROW
from triopool._protocol.scanner import GIVEN_AT_ONCE

from .fixtures import fixtures
from .reading import ASKINGS, END, PARSERS, Driver, Story, differences, head_of

pytestmark = pytest.mark.usefixtures("both_parsers")

Pieces = Sequence[bytes]

SHORT, LONG = 600, 5_000
"""What is shorter is split at each point, and comes byte by byte."""


def alike(stories: Iterable[Story]) -> None:
    for story in stories:
        found = differences(story)
        assert not found, "\n".join(found)


def whole(raw: bytes) -> Iterator[Story]:
    """As the answer to each kind of request, twice, and with the end of the connection."""
    for asking in ASKINGS:
        yield Story(asking, [[raw], [raw, END]])


def cut(raw: bytes, step: int = 1, first: int = 1) -> Iterator[Story]:
    """In two, and cut short, at each point."""
    for at in range(first, len(raw), step):
        yield Story("GET", [[raw[:at], raw[at:], END]])
        yield Story("GET", [[raw[:at], END]])


def bytewise(raw: bytes) -> Iterator[Story]:
    yield Story("GET", [[*byte_by_byte(raw), END]])


# ── What the tests know ────────────────────────────────────────────────────────────────────────


def test_every_response_in_these_tests_is_read_alike() -> None:
    assert len(fixtures()) > 400
    for raw in fixtures():
        alike(whole(raw))
        if len(raw) <= LONG:
            alike(bytewise(raw))
        # Those that are no whole responses are shorter ones of others.
        alike(cut(raw, 1 if len(raw) <= SHORT else len(raw) // 20))


def test_the_corpus_is_read_alike_wherever_it_is_split_or_cut() -> None:
    for number, case in enumerate(singles()):
        alike(whole(case.raw) if case.method == "GET" else [Story("HEAD", [[case.raw]])])
        alike(bytewise(case.raw))
        alike(Story("GET", [pieces]) for pieces in splits(case.raw, len(case.raw)))
        alike(cut(case.raw, 5, first=number % 5))


def test_two_oddities_in_one_response_are_read_alike() -> None:
    for case in pairs():
        alike([Story("GET", [[case.raw[:50], case.raw[50:]], [case.raw, END]])])


def test_what_comes_behind_a_response_is_read_alike() -> None:
    for case, stray in itertools.product(singles(), STRAY):
        alike(_with_stray(case, stray))


def _with_stray(case: Case, stray: bytes) -> Iterator[Story]:
    raw = case.raw
    yield Story(case.method, [[raw + stray]])
    yield Story(case.method, [[raw, stray]])
    yield Story(case.method, [[raw[:-1], raw[-1:] + stray]])


SWITCHES = [
    b"HTTP/1.1 101 x\r\n" + fields + b"\r\n"
    for fields in (
        b"",
        b"Upgrade: other\r\n",
        b"Connection: Upgrade\r\nUpgrade: other\r\n",
        b"Connection: close\r\nUpgrade: other\r\n",
        b"Connection: Upgrade\r\nUpgrade: other\r\nContent-Length: 5\r\n",
        b"Connection: Upgrade\r\nUpgrade: other\r\nContent-Length: 0\r\n",
        b"Connection: Upgrade\r\nUpgrade: other\r\nTransfer-Encoding: chunked\r\n",
        b"Connection: Upgrade\r\n folded\r\nUpgrade: other\r\n",
        b"Connection: Upgrade\r\nUpgrade: other\r\nX\x01: y\r\n",
    )
] + [
    b"HTTP/1.1 %d x\r\n%b\r\n" % (status, fields)
    for status in (200, 204, 299, 300, 304, 407)
    for fields in (b"", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n")
]


@pytest.mark.parametrize("asking", ASKINGS)
def test_a_switch_of_protocols_is_read_alike(asking: str) -> None:
    for raw in SWITCHES:
        behind = raw + b"other\r\n\r\n"
        alike([Story(asking, [[raw]]), Story(asking, [[behind, END]])])
        for at in range(1, len(behind)):
            alike([Story(asking, [[behind[:at], behind[at:]]])])


# ── Much of it ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("size", [300, 70_000])
def test_what_is_hostile_is_read_alike_below_the_bounds_and_above(name: str, size: int) -> None:
    raw = INPUTS[name](size)
    alike(whole(raw))
    alike(cut(raw, len(raw) // 30))


@pytest.mark.parametrize("name", DRIBBLED)
def test_what_comes_byte_by_byte_is_read_alike(name: str) -> None:
    alike(bytewise(DRIBBLED[name](LONG)))


@pytest.mark.parametrize("size", [GIVEN_AT_ONCE - 1, GIVEN_AT_ONCE, GIVEN_AT_ONCE + 1, 300_000])
@pytest.mark.parametrize("step", [1_000, 65_536, 100_000, 1_000_000])
def test_a_large_body_is_read_alike(size: int, step: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(body[at : at + 9_000]), body[at : at + 9_000])
        for at in range(0, size, 9_000)
    )
    for raw in (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, body),
        b"HTTP/1.1 200 OK\r\n\r\n" + body,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % chunks,
    ):
        pieces = [raw[at : at + step] for at in range(0, len(raw), step)]
        alike([Story("GET", [pieces, pieces]), Story("GET", [[*pieces, END]])])
        alike([Story("GET", [[*pieces, b"behind"]]), Story("GET", [[*pieces[:-1], END]])])


def test_chunks_beyond_what_is_looked_at_in_a_row_are_read_alike() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"1\r\nx\r\n" * (3 * CHUNKS_IN_A_ROW)
    for behind in (b"0\r\n\r\n", b"0\r\nX: y\r\n\r\nmore", b"", b"x"):
        alike(whole(head + chunks + behind))


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("name", DRIBBLED)
def test_what_comes_byte_by_byte_costs_no_more_than_time_in_proportion(
    name: str, parser: str
) -> None:
    """As ``corpus/test_cost.py`` has it, with all that a connection does for each byte."""

    def seconds_for(size: int) -> float:
        pieces = [*byte_by_byte(DRIBBLED[name](size)), END]
        asking = ASKINGS["GET"]
        driver = Driver(PARSERS[parser])
        started = time.process_time()
        driver.exchange(asking, pieces, head_of(asking))
        return max(time.process_time() - started, 0.001)

    small = large = 1e9
    for _ in range(ATTEMPTS):
        small, large = min(small, seconds_for(SMALL)), min(large, seconds_for(LARGE))
        if large < MOST * small:
            return
    pytest.fail(f"{large / small:.0f} times the time for 16 times the size")


# ── What nobody has written down ───────────────────────────────────────────────────────────────

same_each_time = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@settings(same_each_time, max_examples=2000)
@given(
    raws,
    st.sampled_from(sorted(ASKINGS)),
    st.lists(st.integers(1, 400), max_size=5),
    st.booleans(),
)
def test_any_bytes_are_read_alike(raw: bytes, asking: str, cuts: list[int], ends: bool) -> None:
    at = [0, *sorted({point for point in cuts if point < len(raw)}), len(raw)]
    pieces = [raw[start:end] for start, end in itertools.pairwise(at) if start < end]
    end = [END] if ends or not pieces else []
    alike([Story(asking, [[*pieces, *end], [*pieces, END]])])


LINES = [with_length().raw, in_chunks().raw, in_chunks(trailer=None).raw, *SWITCHES[:6]]


@settings(same_each_time, max_examples=2000)
@given(
    st.sampled_from(LINES),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255), st.integers(0, 2)), max_size=3),
    st.sampled_from(["GET", "upgrade"]),
)
def test_a_byte_more_or_less_or_another_one_is_read_alike(
    raw: bytes, changes: list[tuple[int, int, int]], asking: str
) -> None:
    for at, byte, dropped in changes:
        raw = raw[:at] + bytes([byte]) + raw[at + dropped :]
    alike([Story(asking, [[raw, END]])])


def test_each_byte_at_each_place_of_a_head_is_read_alike() -> None:
    for raw in (LINES[0], SWITCHES[2]):
        for at, byte in itertools.product(range(len(raw)), range(256)):
            alike([Story("upgrade", [[raw[:at] + bytes([byte]) + raw[at + 1 :], END]])])
