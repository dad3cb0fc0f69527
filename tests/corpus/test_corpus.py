"""Hostile responses, made by a grammar: delivered exactly, delivered and closed, or refused; and
the request that follows gets its own answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from exchange.world import URL, Answer, Answering
from fuzz.responses import raws
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triopool import ConnectionPool, RemoteProtocolError
from triopool._protocol.scanner import MAX_FIELDS
from triopool.testing import Network

from .grammar import (
    CLOSED,
    REFUSED,
    REUSED,
    Case,
    byte_by_byte,
    in_chunks,
    pairs,
    singles,
    splits,
    with_length,
)
from .reading import new_scanner, read

SINGLES, PAIRS = list(singles()), list(pairs())


async def play(cases: Iterable[tuple[Case, Sequence[bytes]]]) -> None:
    async with Network() as network:
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, idle_timeout=None
        ) as pool:
            for case, pieces in cases:
                network.listen("192.0.2.1", 80, Answering(Answer(pieces, case.end)))
                await see(pool, case)
                assert pool.statistics().open == int(case.fate is REUSED), case.name
                # Were anything of it left, this would be the answer to the next request.
                following = await pool.get(URL + "/next")
                assert following.content == b"/next", case.name
                assert following.connection.reused == (case.fate is REUSED), case.name
                pool.close_idle()
        assert not network.open_sockets


async def see(pool: ConnectionPool, case: Case) -> None:
    seen: list[int] = []
    try:
        response = await pool.request(
            case.method, URL, on_informational=lambda status, headers: seen.append(status)
        )
    except RemoteProtocolError:
        assert case.fate is REFUSED, case.name
        return
    assert case.fate is not REFUSED, case.name
    assert tuple(seen) == case.informational, case.name
    assert response.status_code == case.status, case.name
    assert tuple(response.raw_headers) == case.fields, case.name
    assert response.content == case.body, case.name
    trailers = tuple((name.encode(), value) for name, value in response.trailers.items())
    expected = tuple((name, value.decode("latin-1")) for name, value in case.trailers)
    assert trailers == expected, case.name


async def test_a_response_is_as_good_as_its_worst_part_however_it_is_split(
    autojump_clock: object,
) -> None:
    """Whole, and in two at some points; below, at every point, and byte by byte."""
    await play((case, pieces) for case in SINGLES for pieces in splits(case.raw, 4))
    await play((case, byte_by_byte(case.raw)) for case in SINGLES[::4])


async def test_two_oddities_in_one_response_are_no_better_than_one(autojump_clock: object) -> None:
    await play((case, [case.raw]) for case in PAIRS[::11])


async def test_what_comes_behind_a_response_is_never_the_next_ones_answer(
    autojump_clock: object,
) -> None:
    stray = [b"\r\n", b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother", b"0\r\n\r\n"]
    cases = []
    for case in SINGLES:
        if case.end == "keep" and case.fate is not REFUSED:
            for bytes_behind in stray:
                raw = case.raw + bytes_behind
                cases.append((Case(**vars(case) | {"raw": raw, "fate": CLOSED}), [raw]))
    await play(cases)


def test_the_corpus_has_all_fates_in_it() -> None:
    for cases in (SINGLES, PAIRS):
        assert {case.fate for case in cases} == {REUSED, CLOSED, REFUSED}
    assert len({case.name for case in SINGLES}) == len(SINGLES)
    assert with_length().fate is in_chunks().fate is REUSED
    assert len(SINGLES) + len(PAIRS) > 3455


# ── As h11 reads it ────────────────────────────────────────────────────────────────────────────


def test_what_h11_refuses_is_refused_and_the_rest_is_read_as_h11_reads_it() -> None:
    """Split at every point. Two oddities in one response are split in two only."""
    for case in SINGLES:
        read_alike(case, [byte_by_byte(case.raw), *splits(case.raw, len(case.raw))])
    for case in PAIRS[::3]:
        read_alike(case, [[case.raw[:50], case.raw[50:]]])


def read_alike(case: Case, all_pieces: Iterable[Sequence[bytes]]) -> None:
    told, refused = read([case.raw], case.method, None)
    # What h11 waits for the end of may be refused at once.
    assert not refused or case.fate is REFUSED, case.name
    for pieces in all_pieces:
        ours, we_refuse = read(pieces, case.method, new_scanner())
        assert we_refuse == (case.fate is REFUSED), case.name
        assert we_refuse or ours == told, case.name


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=500,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(raws, st.sampled_from(["GET", "HEAD"]), st.lists(st.integers(1, 300), max_size=5))
def test_any_bytes_are_read_as_h11_reads_them(raw: bytes, method: str, cuts: list[int]) -> None:
    raw = raw[:60_000] or b"x"
    at = [0, *sorted({cut for cut in cuts if cut < len(raw)}), len(raw)]
    pieces = [raw[start:end] for start, end in itertools.pairwise(at)]
    told, refused = read([raw], method, None)
    ours, we_refuse = read(pieces, method, new_scanner())
    if we_refuse and not refused:
        # It refuses that too, when its end has come. But for the bounds, which are ours.
        _, refused = read([raw + b"\r\n\r\n"], method, None)
        assert refused or raw.count(b"\n") > MAX_FIELDS
    else:
        assert (ours, we_refuse) == (told, refused)
