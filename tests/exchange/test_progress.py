"""What on_progress= is told, and what becomes of an exchange whose caller does not like it."""

# ruff: noqa: SIM117 - one line for the world, the next for what happens in it.
from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from triopool import Part, Progress, ReadError
from triopool._exchange.upload import ONE_WRITE_BYTES, PIECE_BYTES
from triopool.testing import (
    KeepOpen,
    Receive,
    ReceiveBytes,
    Send,
    Wait,
    script,
)

from .test_decoders import NOISE, gzip_member
from .world import URL, Answer, Answering, ok, pieces, serving

Told = list[tuple[int, int | None, int, int | None]]


class Teller:
    """Remembers what it is told, as tuples."""

    def __init__(self) -> None:
        self.told: Told = []

    def __call__(self, progress: Progress) -> None:
        facts = (progress.sent, progress.to_send, progress.received, progress.to_receive)
        self.told.append(facts)


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


NOTHING = ok()
"""A response without a body, of which nothing is told."""


async def told(*answers: Answer | bytes, method: str = "POST", **options: Any) -> Told:
    teller = Teller()
    async with serving(Answering(*answers)) as (pool, _):
        await pool.request(method, URL, on_progress=teller, **options)
    return teller.told


# ── Up ─────────────────────────────────────────────────────────────────────────────────────────

K64, K256 = ONE_WRITE_BYTES, PIECE_BYTES


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, []),
        (b"", []),
        (b"body", [(4, 4, 0, None)]),
        ("ü", [(2, 2, 0, None)]),
        (bytes(K64), [(K64, K64, 0, None)]),
        (bytes(K64 + 1), [(K64 + 1, K64 + 1, 0, None)]),
        (bytes(K256), [(K256, K256, 0, None)]),
        (bytes(K256 + 1), [(K256, K256 + 1, 0, None), (K256 + 1, K256 + 1, 0, None)]),
        (
            bytes(2 * K256 + 9),
            [(sent, 2 * K256 + 9, 0, None) for sent in (K256, 2 * K256, 2 * K256 + 9)],
        ),
        (lambda: b"body", [(4, None, 0, None)]),
        (lambda: pieces(), []),
        (lambda: pieces(b"bo", b"", b"dy"), [(2, None, 0, None), (4, None, 0, None)]),
        (lambda: pieces(bytes(K256 + 1)), [(K256, None, 0, None), (K256 + 1, None, 0, None)]),
    ],
    ids=str,
)
async def test_an_upload_is_told_piece_by_piece(
    autojump_clock: object, content: Any, expected: Told
) -> None:
    assert await told(NOTHING, content=content) == expected


@pytest.mark.parametrize(("json", "size"), [({"a": 1}, 7), ("x" * 100_000, 100_002)])
async def test_what_is_made_into_bytes_is_told_as_such(
    autojump_clock: object, json: Any, size: int
) -> None:
    assert (await told(NOTHING, json=json))[-1] == (size, size, 0, None)


async def test_an_iterator_has_no_length_unless_the_caller_gives_one(
    autojump_clock: object,
) -> None:
    """And even then: to_send is the body's, of which nothing but the iterator knows."""
    expected: Told = [(2, None, 0, None), (4, None, 0, None)]
    assert await told(NOTHING, content=pieces(b"bo", b"dy")) == expected
    length = {"Content-Length": "4"}
    assert await told(NOTHING, content=pieces(b"bo", b"dy"), headers=length) == expected


async def test_what_is_chunked_by_the_caller_counts_without_its_framing(
    autojump_clock: object,
) -> None:
    chunked = {"Transfer-Encoding": "chunked"}
    assert await told(NOTHING, content=b"body", headers=chunked) == [(4, 4, 0, None)]


async def test_a_body_that_waits_to_be_asked_for_is_told_when_it_goes(
    autojump_clock: object,
) -> None:
    teller, go_ahead = Teller(), Send(b"HTTP/1.1 100 Continue\r\n\r\n")
    before = []

    async def look(conversation: Any) -> None:
        before.append(list(teller.told))

    server = script(Receive(), Wait(0.5), look, go_ahead, ReceiveBytes(4), Send(NOTHING))
    async with serving(server) as (pool, _):
        await pool.post(URL, content=b"body", expect_continue=True, on_progress=teller)
    assert before == [[]]
    assert teller.told == [(4, 4, 0, None)]


async def test_a_slow_server_is_seen_to_be_slow(autojump_clock: object) -> None:
    """What counts is what the system has taken, and it takes no more than there is room for."""
    seen: list[tuple[float, int]] = []

    def on_progress(progress: Progress) -> None:
        seen.append((trio.current_time(), progress.sent))

    steps = [step for _ in range(4) for step in (ReceiveBytes(K256), Wait(1.0))]
    server = script(Receive(), *steps, Send(NOTHING), KeepOpen())
    async with serving(server, buffer_size=1000) as (pool, _):
        await pool.post(URL, content=bytes(4 * K256), on_progress=on_progress)
    assert seen == [(0.0, K256), (1.0, 2 * K256), (2.0, 3 * K256), (3.0, 4 * K256)]


async def test_a_file_and_a_form_know_their_length(tmp_path: Path) -> None:
    """On the real clock: a file is read in threads."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(300_000))
    assert await told(NOTHING, content=path) == [
        (K256, 300_000, 0, None),
        (300_000, 300_000, 0, None),
    ]
    for form, known in (
        ({"a": path, "b": "x"}, True),
        ({"a": b"x" * 100_000}, True),
        ({"a": path, "b": Part(lambda: pieces(b"x", b"y"))}, False),
    ):
        facts = await told(NOTHING, multipart=form)
        total = facts[-1][0]
        assert total > 100_000
        assert {to_send for _, to_send, _, _ in facts} == {total if known else None}
        assert [sent for sent, *_ in facts] == sorted({sent for sent, *_ in facts})


# ── Down ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_download_is_told_piece_by_piece(autojump_clock: object) -> None:
    raw = ok(b"12345")
    at = len(raw) - 5
    for answer, expected in (
        ([raw], [(0, 0, 5, 5)]),
        ([raw[:at], raw[at:]], [(0, 0, 5, 5)]),
        ([raw[: at + 2], raw[at + 2 :]], [(0, 0, 2, 5), (0, 0, 5, 5)]),
        ([raw[: at + 2], raw[at + 2 : at + 4], b"5"], [(0, 0, n, 5) for n in (2, 4, 5)]),
    ):
        assert await told(Answer(answer), method="GET") == expected


@pytest.mark.parametrize("end", ["keep", "close"])
async def test_a_download_of_unknown_length_says_so(autojump_clock: object, end: str) -> None:
    chunked = [head("Transfer-Encoding: chunked"), b"2\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n"]
    until_the_close = [head(), b"ab", b"c", b""]
    answer = Answer(chunked if end == "keep" else until_the_close, end)
    assert await told(answer, method="GET") == [(0, 0, 2, None), (0, 0, 3, None)]


async def test_up_and_down_are_told_together(autojump_clock: object) -> None:
    assert await told(ok(b"123"), content=b"body") == [(4, 4, 0, None), (4, 4, 3, 3)]


async def test_an_encoded_download_counts_as_it_travels(autojump_clock: object) -> None:
    data = gzip_member(bytes(1_000_000))
    raw = head("Content-Encoding: gzip", f"Content-Length: {len(data)}") + data
    assert await told(raw, method="GET") == [(0, 0, len(data), len(data))]
    # Even those pieces are told from which nothing follows.
    at = len(raw) - len(data)
    answer = Answer([raw[: at + 1], raw[at + 1 : at + 5], raw[at + 5 :]])
    sizes = (1, 5, len(data))
    assert await told(answer, method="GET") == [(0, 0, n, len(data)) for n in sizes]


async def test_where_there_is_no_body_nothing_is_told(autojump_clock: object) -> None:
    for method, answer in (
        ("HEAD", head("Content-Length: 5")),
        ("GET", head(status="204 None")),
        ("GET", head("Content-Length: 5", status="304 Same")),
        ("GET", NOTHING),
    ):
        assert await told(answer, method=method) == []


async def test_a_stream_is_told_as_it_is_read(autojump_clock: object) -> None:
    teller = Teller()
    raw = ok(b"123456")
    async with serving(Answering(Answer([raw[:-3], raw[-3:]]))) as (pool, _):
        async with pool.stream("GET", URL, on_progress=teller) as response:
            assert teller.told == []
            assert await response.receive_some(1) == b"1"
            assert await response.receive_some(1) == b"2"
            assert teller.told == [(0, 0, 3, 6)]
            assert await response.read() == b"3456"
            assert teller.told == [(0, 0, 3, 6), (0, 0, 6, 6)]


@pytest.mark.parametrize("read", [False, True])
async def test_what_is_drained_is_told_to_nobody(autojump_clock: object, read: bool) -> None:
    teller = Teller()
    raw = ok(b"123456")
    async with serving(Answering(Answer([raw[:-3], raw[-3:-1], raw[-1:]]))) as (pool, _):
        async with pool.stream("GET", URL, on_progress=teller) as response:
            if read:
                await response.receive_some()
        await trio.sleep(1)
        assert pool.statistics().idle == 1
        assert teller.told == ([(0, 0, 3, 6)] if read else [])


# ── More than once ─────────────────────────────────────────────────────────────────────────────


async def test_a_retry_begins_anew(autojump_clock: object) -> None:
    teller = Teller()
    server = Answering(NOTHING, Answer([], "close"), ok(b"12"))
    async with serving(server) as (pool, _):
        await pool.get(URL)
        await pool.put(URL, content=b"body", idempotent=True, on_progress=teller)
        assert pool.statistics().retried == 1
    assert teller.told == [(4, 4, 0, None), (4, 4, 0, None), (4, 4, 2, 2)]


@pytest.mark.parametrize(("status", "again"), [(307, True), (303, False)])
async def test_a_redirect_begins_anew_and_its_own_body_is_not_told(
    autojump_clock: object, status: int, again: bool
) -> None:
    redirect = head("Location: /2", "Content-Length: 5", status=f"{status} There") + b"moved"
    facts = await told(redirect, ok(b"12"), content=b"body", follow_redirects=True)
    assert facts == (
        [(4, 4, 0, None), (4, 4, 0, None), (4, 4, 2, 2)]
        if again
        else [(4, 4, 0, None), (0, 0, 2, 2)]
    )


# ── What it raises ─────────────────────────────────────────────────────────────────────────────


class Boom(Exception):
    pass


class Raising:
    """Raises when it is called for the *nth* time, and is not to be called again."""

    def __init__(self, nth: int = 1) -> None:
        self.boom = Boom()
        self._left = nth

    def __call__(self, progress: Progress) -> None:
        self._left -= 1
        assert self._left >= 0
        if not self._left:
            raise self.boom


@pytest.mark.parametrize(
    ("content", "nth"),
    [
        (b"small", 1),
        (bytes(5 * K256), 1),
        (bytes(5 * K256), 3),
        (bytes(5 * K256), 5),
        (lambda: b"small", 1),
        (lambda: pieces(b"a", b"b", gap=1.0), 2),
    ],
    ids=["one write", "first piece", "some piece", "last piece", "factory", "iterator"],
)
async def test_what_it_raises_during_an_upload_is_what_the_request_raises(
    autojump_clock: object, content: Any, nth: int
) -> None:
    raising = Raising(nth)
    async with serving(script(ReceiveBytes(10_000_000)), max_connections=1) as (pool, network):
        with pytest.raises(Boom) as caught:
            await pool.post(URL, content=content, on_progress=raising)
        assert caught.value is raising.boom
        assert caught.value.__cause__ is None
        assert not network.open_sockets
        assert (pool.statistics().open, pool.statistics().discarded) == (0, 1)


async def test_an_iterator_is_closed_when_it_raises(autojump_clock: object) -> None:
    closed = []

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    async with serving(script(ReceiveBytes(10_000))) as (pool, network):
        with pytest.raises(Boom):
            await pool.post(URL, content=body(), on_progress=Raising())
        assert closed == [True]
        assert not network.open_sockets


def half(encoded: bool) -> tuple[Answer, bytes]:
    """A body that is large, of which more comes later, and what it says."""
    data = gzip_member(NOISE) if encoded else NOISE
    encoding = "gzip" if encoded else "identity"
    start = head(f"Content-Encoding: {encoding}", f"Content-Length: {len(data)}")
    return Answer([start + data[:1000], data[1000:2000], data[2000:]]), NOISE


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
async def test_what_it_raises_during_a_download_is_what_the_request_raises(
    autojump_clock: object, encoded: bool, nth: int
) -> None:
    answer, _ = half(encoded)
    raising = Raising(nth)
    async with serving(Answering(answer), max_connections=1) as (pool, network):
        with pytest.raises(Boom) as caught:
            await pool.get(URL, on_progress=raising)
        assert caught.value is raising.boom
        assert not network.open_sockets
        assert (pool.statistics().open, pool.statistics().discarded) == (0, 1)


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
async def test_what_it_raises_during_a_stream_is_what_the_reader_gets(
    autojump_clock: object, encoded: bool, nth: int
) -> None:
    """Again and again: what was in hand then is lost, and what follows must not seem to follow."""
    answer, body = half(encoded)
    raising = Raising(nth)
    async with serving(Answering(answer), max_connections=1) as (pool, network):
        async with pool.stream("GET", URL, on_progress=raising) as response:
            received = b""
            with contextlib.suppress(Boom):
                async for piece in response:
                    received += piece
            assert body.startswith(received)
            assert len(received) < 2000
            assert not network.open_sockets
            assert pool.statistics().open == 0
            for _ in range(2):
                with pytest.raises(Boom) as caught:
                    await response.receive_some()
                assert caught.value is raising.boom
            with pytest.raises(Boom):
                await response.read()


async def test_what_it_raises_when_all_is_here_costs_no_connection(autojump_clock: object) -> None:
    async with serving(Answering(ok(b"12345"))) as (pool, _):
        with pytest.raises(Boom):
            await pool.get(URL, on_progress=Raising())
        assert pool.statistics().idle == 1
        assert (await pool.get(URL + "/next")).connection.reused


async def test_what_it_raises_leaves_the_stream_block_as_itself(autojump_clock: object) -> None:
    answer, _ = half(False)
    async with serving(Answering(answer), max_connections=1) as (pool, network):
        raising = Raising()
        with pytest.raises(Boom) as caught:
            async with pool.stream("GET", URL, on_progress=raising) as response:
                await response.read()
        assert caught.value is raising.boom
        assert not network.open_sockets


async def test_it_may_cancel_whoever_asked(autojump_clock: object) -> None:
    async with serving(Answering(half(False)[0])) as (pool, network):
        with trio.CancelScope() as scope:
            await pool.get(URL, on_progress=lambda progress: scope.cancel())
        assert scope.cancelled_caught
        assert not network.open_sockets


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_download_that_breaks_off_was_told_as_far_as_it_came(
    autojump_clock: object, end: str
) -> None:
    teller = Teller()
    raw = ok(b"12345")
    async with serving(Answering(Answer([raw[:-2], b""], end))) as (pool, _):
        with pytest.raises(ReadError, match="after 3 of the 5 bytes"):
            await pool.get(URL, on_progress=teller)
    assert teller.told == [(0, 0, 3, 5)]
