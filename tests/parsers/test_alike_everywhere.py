"""As ``test_alike.py``, for responses by the thousand, split and cut short at each point."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from corpus.grammar import (
    FIELDS,
    Case,
    byte_by_byte,
    in_chunks,
    pairs,
    singles,
    splits,
    with_length,
)
from corpus.test_cost import ATTEMPTS, DRIBBLED, INPUTS, LARGE, MOST, SMALL
from fuzz.responses import STRAY, raws
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .fixtures import fixtures
from .reading import (
    ASKINGS,
    END,
    LONG,
    PARSERS,
    SHORT,
    Driver,
    Story,
    assert_alike,
    bytewise,
    cut,
    head_of,
    whole,
)
from .switches import SWITCHES

pytestmark = pytest.mark.usefixtures("both_parsers")


def test_every_response_in_these_tests_is_read_alike_wherever_it_is_split_or_cut() -> None:
    assert len(fixtures()) > 400
    for raw in fixtures():
        assert_alike(whole(raw))
        if len(raw) <= LONG:
            assert_alike(bytewise(raw))
        # Those that are no whole responses are shorter ones of others.
        assert_alike(cut(raw, 1 if len(raw) <= SHORT else len(raw) // 9))


def test_the_corpus_is_read_alike_wherever_it_is_split_or_cut() -> None:
    for number, case in enumerate(singles()):
        assert_alike(whole(case.raw) if case.method == "GET" else [Story("HEAD", [[case.raw]])])
        assert_alike(bytewise(case.raw))
        assert_alike(Story("GET", [pieces]) for pieces in splits(case.raw, len(case.raw)))
        assert_alike(cut(case.raw, 5, first=number % 5))


def test_two_oddities_in_one_response_are_read_alike() -> None:
    for case in pairs():
        assert_alike([Story("GET", [[case.raw[:50], case.raw[50:]], [case.raw, END]])])


def test_what_comes_behind_a_response_is_read_alike() -> None:
    for case, stray in itertools.product(singles(), STRAY):
        assert_alike(_with_stray(case, stray))


def _with_stray(case: Case, stray: bytes) -> Iterator[Story]:
    raw = case.raw
    yield Story(case.method, [[raw + stray]])
    yield Story(case.method, [[raw, stray]])
    yield Story(case.method, [[raw[:-1], raw[-1:] + stray]])


# ── Much of it ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("size", [300, 70_000])
def test_what_is_hostile_is_read_alike_below_the_bounds_and_above(name: str, size: int) -> None:
    raw = INPUTS[name](size)
    assert_alike(whole(raw))
    assert_alike(cut(raw, len(raw) // 6))


@pytest.mark.parametrize("name", DRIBBLED)
def test_what_comes_byte_by_byte_is_read_alike(name: str) -> None:
    assert_alike(bytewise(DRIBBLED[name](LONG)))


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
    assert_alike([Story(asking, [[*pieces, *end], [*pieces, END]])])


LINES = [with_length().raw, in_chunks().raw, in_chunks(trailer=FIELDS[0]).raw, *SWITCHES[:6]]


@settings(same_each_time, max_examples=1000)
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
    assert_alike([Story(asking, [[raw, END]])])


def test_each_byte_at_each_place_of_a_head_is_read_alike() -> None:
    odd = b'\0\t\n\v\r\x1f !"(),/09:;=@A[z\x7f\x80\xff'
    for raw, others in ((LINES[0], bytes(range(256))), (SWITCHES[2], odd), (LINES[2], odd)):
        for at, byte in itertools.product(range(len(raw)), others):
            assert_alike([Story("upgrade", [[raw[:at] + bytes([byte]) + raw[at + 1 :], END]])])
