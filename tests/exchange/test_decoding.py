"""Encoded bodies, from the wire to who reads them: what is asked for, what comes, what it costs."""

# ruff: noqa: SIM117 - one line for the world, the next for what happens in it.
from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from triopool import ReadError, RemoteProtocolError, Response
from triopool._decoding import ACCEPT_ENCODING, PIECE_BYTES, Decoder
from triopool._exchange.reader import PIECES_IN_A_ROW
from triopool.testing import KeepOpen, ReceiveRequest, Send, Wait, WaitFor, script

from .test_decoders import ENCODERS, MIB, NOISE
from .world import URL, Answer, Answering, ok, serving, split_everywhere

TEXT = b'["as it was meant", "as it was meant", "as it was meant"]'


def encode(encoding: str, data: bytes) -> bytes:
    """*data* in these encodings, one applied to the result of the other."""
    for name in encoding.split(", "):
        data = ENCODERS[{"deflate": "zlib", "br": "brotli"}.get(name, name)][1](data)
    return data


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def with_length(encoding: str, data: bytes) -> bytes:
    return head(f"Content-Encoding: {encoding}", f"Content-Length: {len(data)}") + data


def chunked(encoding: str, data: bytes) -> bytes:
    """In chunks that have nothing to do with the encoding, and with trailers."""
    size = 11 if len(data) < 10_000 else 9999
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    start = head(f"Content-Encoding: {encoding}", "Transfer-Encoding: chunked")
    return start + framed + b"0\r\nX-Behind: it\r\n\r\n"


async def iterated(response: Response) -> bytes:
    return b"".join([piece async for piece in response])


async def in_sevens(response: Response) -> bytes:
    pieces = []
    while piece := await response.receive_some(7):
        assert len(piece) <= 7
        pieces.append(piece)
    assert await response.receive_some(7) == b""
    return b"".join(pieces)


async def whole_behind_the_first_bytes(response: Response) -> bytes:
    return await response.receive_some(3) + await response.read()


async def until_it_fails(response: Response) -> tuple[bytes, Exception]:
    received = b""
    try:
        async for piece in response:
            received += piece
    except RemoteProtocolError as exc:
        return received, exc
    raise AssertionError("nothing was wrong with it")


READERS = [iterated, in_sevens, whole_behind_the_first_bytes, Response.read]


# ── What comes ─────────────────────────────────────────────────────────────────────────────────

SHAPES = {
    "gzip": ("gzip", gzip.compress(TEXT, mtime=0)),
    "gzip, two members": ("x-gzip", gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:])),
    "zlib": ("deflate", zlib.compress(TEXT)),
    "raw deflate": ("deflate", ENCODERS["raw deflate"][1](TEXT)),
    "brotli": ("br", encode("br", TEXT)),
    "zstd": ("zstd", encode("zstd", TEXT)),
    "two codings": ("deflate, gzip", encode("deflate, gzip", TEXT)),
    "two fields": ("br\r\nContent-Encoding: zstd", encode("br, zstd", TEXT)),
    "a coding and none": ("identity,\r\nContent-Encoding: ,gzip", encode("gzip", TEXT)),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("frame", [with_length, chunked])
@pytest.mark.parametrize("name", SHAPES)
async def test_an_encoded_body_is_decoded_however_it_comes_and_is_read(
    autojump_clock: object, name: str, frame: Callable[[str, bytes], bytes]
) -> None:
    """Scenario 60."""
    splits = list(split_everywhere(frame(*SHAPES[name])))
    answers = [Answer(pieces) for pieces in splits for _ in ("request", *READERS)]
    async with serving(Answering(*answers), idle_timeout=None) as (pool, _):
        for _ in splits:
            response = await pool.get(URL)
            assert response.content == TEXT
            check_head(response, frame)
            for read in READERS:
                async with pool.stream("GET", URL) as response:
                    assert await read(response) == TEXT
                    check_head(response, frame)
        assert pool.statistics().dialled == 1


def check_head(response: Response, frame: object) -> None:
    """It is told as it came, encoding and all."""
    assert response.headers["content-encoding"]
    assert dict(response.trailers) == ({"X-Behind": "it"} if frame is chunked else {})


async def test_text_and_json_are_those_of_the_decoded_body(autojump_clock: object) -> None:
    async with serving(Answering(with_length("gzip", encode("gzip", TEXT)))) as (pool, _):
        response = await pool.get(URL)
        assert (response.text, response.json()) == (TEXT.decode(), json.loads(TEXT))


async def get(*lines: str, data: bytes, status: str = "200 OK", **options: Any) -> Response:
    """The response to one request that is answered with these header lines and this body."""
    raw = head(*lines, f"Content-Length: {len(data)}", status=status) + data
    async with serving(Answering(raw)) as (pool, _):
        response = await pool.request(**({"method": "GET", "url": URL} | options))
        assert (await pool.get(f"{URL}/next")).connection.reused
    return response


GZIPPED = encode("gzip", TEXT)


@pytest.mark.parametrize("encoding", ["compress", "gzip, aes128gcm", "identity", "", "gzip;q=1"])
async def test_what_is_not_known_is_delivered_as_it_is(
    autojump_clock: object, encoding: str
) -> None:
    response = await get(f"Content-Encoding: {encoding}", data=GZIPPED)
    assert response.content == GZIPPED


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
async def test_an_empty_body_is_empty_in_any_encoding(
    autojump_clock: object, encoding: str
) -> None:
    assert (await get(f"Content-Encoding: {encoding}", data=b"")).content == b""
    raw = head(f"Content-Encoding: {encoding}", "Transfer-Encoding: chunked") + b"0\r\n\r\n"
    until_the_close = head(f"Content-Encoding: {encoding}")
    async with serving(Answering(raw, Answer([until_the_close], "close"))) as (pool, _):
        assert (await pool.get(URL)).content == b""
        assert (await pool.get(URL)).content == b""


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 None"), ("GET", "304 Not Modified")]
)
async def test_where_there_is_no_body_there_is_nothing_to_decode(
    autojump_clock: object, method: str, status: str
) -> None:
    length = [] if status.startswith("204") else ["Content-Length: 99"]
    raw = head("Content-Encoding: gzip", *length, status=status)
    async with serving(Answering(raw, raw)) as (pool, _):
        response = await pool.request(method, URL)
        assert (response.content, response.headers["content-encoding"]) == (b"", "gzip")
        async with pool.stream(method, URL) as response:
            assert await response.receive_some() == b""
        assert pool.statistics().dialled == 1


# ── What is asked for ──────────────────────────────────────────────────────────────────────────


async def asked(data: bytes = GZIPPED, **options: Any) -> tuple[str | None, bytes]:
    """What was sent as Accept-Encoding, and what the caller got for a gzipped body."""
    server = Answering(with_length("gzip", data))
    async with serving(server) as (pool, _):
        response = await pool.get(URL, **options)
    return server.requests[0].header("accept-encoding"), response.content


async def test_everything_is_asked_for_that_can_be_decoded(autojump_clock: object) -> None:
    assert ACCEPT_ENCODING == "gzip, deflate, br, zstd"
    assert await asked() == (ACCEPT_ENCODING, TEXT)


async def test_without_decoding_nothing_is_asked_for_and_all_comes_as_it_is(
    autojump_clock: object,
) -> None:
    assert await asked(decode=False) == (None, GZIPPED)
    not_even_an_error = with_length("gzip, gzip, gzip", b"whatever")
    async with serving(Answering(not_even_an_error)) as (pool, _):
        async with pool.stream("GET", URL, decode=False) as response:
            assert await response.receive_some() == b"whatever"


async def test_who_asks_himself_gets_it_decoded_all_the_same(autojump_clock: object) -> None:
    assert await asked(headers={"Accept-Encoding": "gzip;q=0.5"}) == ("gzip;q=0.5", TEXT)
    assert await asked(headers={b"ACCEPT-ENCODING": b"identity"}) == ("identity", TEXT)
    assert await asked(headers={"Accept-Encoding": "x"}, decode=False) == ("x", GZIPPED)


async def test_a_range_is_one_of_the_bytes_as_they_are(autojump_clock: object) -> None:
    # Whoever ignores the range, and sends all of it encoded, is understood.
    assert await asked(headers={"Range": "bytes=0-9"}) == (None, TEXT)
    response = await get(
        "Content-Encoding: gzip",
        f"Content-Range: bytes 0-9/{len(GZIPPED)}",
        data=GZIPPED[:10],
        status="206 Partial Content",
        headers={"range": "bytes=0-9"},
    )
    assert response.content == GZIPPED[:10]


# ── What is wrong ──────────────────────────────────────────────────────────────────────────────


def with_a_bad_checksum(data: bytes) -> bytes:
    return data[:-8] + bytes(4) + data[-4:]


TOO_EARLY = {"gzip": "gzip", "deflate": "deflate", "br": "brotli", "zstd": "zstd"}
WRONG = {
    "gzip, no data": ("gzip", TEXT, "gzip data that can't be decoded: incorrect header check"),
    "gzip, bad checksum": (
        "gzip",
        with_a_bad_checksum(GZIPPED),
        "gzip data that can't be decoded: incorrect data check",
    ),
    "deflate, no data": ("deflate", b"\xff" + TEXT, "deflate data that can't be decoded: invalid"),
    "br, no data": ("br", TEXT, "brotli data that can't be decoded"),
    "br, going on": ("br", encode("br", TEXT) + b"x", "brotli data that can't be decoded"),
    "zstd, no data": ("zstd", TEXT, "zstd data that can't be decoded"),
    "zstd, going on": ("zstd", encode("zstd", TEXT) + b"xxxxxxxxx", "zstd data that can't be"),
    "three codings": ("gzip, br, gzip", GZIPPED, "data that are encoded 3 times over: at most 2"),
    "the second of two": ("deflate, gzip", GZIPPED, "deflate data that can't be decoded"),
    "nothing in it": (
        "gzip",
        encode("gzip", b"") * 9000,
        "gzip data that go on and on with nothing",
    ),
} | {
    f"{name}, cut": (name, encode(name, NOISE)[:-1], f"{told} data that end too early")
    for name, told in TOO_EARLY.items()
}


@pytest.mark.parametrize("frame", [with_length, chunked])
@pytest.mark.parametrize("name", WRONG)
async def test_what_can_not_be_decoded_is_an_error_that_says_why(
    autojump_clock: object, name: str, frame: Callable[[str, bytes], bytes]
) -> None:
    encoding, data, message = WRONG[name]
    raw = frame(encoding, data)
    async with serving(Answering(raw, raw), max_connections=1) as (pool, _):
        with pytest.raises(RemoteProtocolError) as caught:
            await pool.get(URL)
        error = caught.value
        assert str(error).startswith(f"http://192.0.2.1:80 sent {message}")
        assert (error.phase, str(error.origin)) == ("read", "http://192.0.2.1:80")
        assert pool.statistics().busy == 0
        async with pool.stream("GET", URL) as response:
            with pytest.raises(RemoteProtocolError) as caught:
                await iterated(response)
            assert str(caught.value) == str(error)
            # A body that was cut must not look complete to who reads on.
            for max_bytes in (None, 1, None):
                with pytest.raises(RemoteProtocolError) as again:
                    await response.receive_some(max_bytes)
                assert again.value is caught.value
            assert pool.statistics().busy == 0
            with pytest.raises(RemoteProtocolError) as again:
                await response.read()
            assert again.value is caught.value
            with pytest.raises(trio.ClosedResourceError):
                await response.read()
        assert (await pool.get(URL)).status_code == 200


async def test_what_came_before_the_error_is_delivered(autojump_clock: object) -> None:
    data = encode("gzip", NOISE)
    async with serving(Answering(with_length("gzip", data[:-8]))) as (pool, _):
        async with pool.stream("GET", URL) as response:
            received, error = await until_it_fails(response)
    assert received == NOISE
    assert "gzip data that end too early" in str(error)


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_body_that_can_not_be_decoded_costs_the_connection_unless_all_of_it_is_here(
    autojump_clock: object, arrived: bool
) -> None:
    first = with_length("gzip", TEXT)[: None if arrived else -1]
    server = script(ReceiveRequest(), Send(first), KeepOpen())
    async with serving(server) as (pool, network):
        with pytest.raises(RemoteProtocolError, match="incorrect header check"):
            await pool.get(URL)
        assert pool.statistics().idle == len(network.open_sockets) == int(arrived)
        assert trio.current_time() == 0  # Who can't be understood isn't listened to.


async def test_a_cut_that_the_framing_shows_is_told_as_such(autojump_clock: object) -> None:
    raw = with_length("gzip", GZIPPED)
    async with serving(Answering(Answer([raw[:-1]], "close"))) as (pool, network):
        async with pool.stream("GET", URL) as response:
            assert await response.receive_some() == TEXT
            for _ in range(2):
                with pytest.raises(ReadError, match=r"after \d+ of the \d+ bytes of the body"):
                    await response.receive_some()
        assert not network.open_sockets


# ── What it costs ──────────────────────────────────────────────────────────────────────────────

BOMB_BYTES = 96 * MIB


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """100 KB that stand for 96 MiB."""
    data = encode("gzip", bytes(BOMB_BYTES))
    assert len(data) < 100_000
    return data


async def test_a_bomb_comes_in_small_pieces_and_takes_no_memory(
    autojump_clock: object, bomb: bytes
) -> None:
    async with serving(Answering(with_length("gzip", bomb)), buffer_size=MIB) as (pool, _):
        async with pool.stream("GET", URL) as response:
            size = 0
            tracemalloc.start()
            try:
                async for piece in response:
                    assert len(piece) <= PIECE_BYTES
                    size += len(piece)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert size == BOMB_BYTES
    assert peak < 16 * PIECE_BYTES


@pytest.mark.parametrize("limit", [100_000, 1_000_000])
async def test_a_bound_on_the_body_holds_for_what_it_decodes_to(
    autojump_clock: object, bomb: bytes, limit: int
) -> None:
    raw = with_length("gzip", bomb)
    async with serving(Answering(raw, raw, raw), buffer_size=MIB) as (pool, _):
        message = f"decodes to more than max_body_bytes={limit}"
        with pytest.raises(RemoteProtocolError, match=message):
            await pool.get(URL, max_body_bytes=limit)
        async with pool.stream("GET", URL, max_body_bytes=limit) as response:
            received, error = await until_it_fails(response)
            with pytest.raises(RemoteProtocolError, match=message) as again:
                await response.receive_some()
            assert again.value is error
        assert limit - PIECE_BYTES < len(received) <= limit
        assert pool.statistics().busy == 0
        assert (await pool.get(URL)).content == bytes(BOMB_BYTES)


async def test_a_bound_on_the_body_holds_for_what_travels_too(autojump_clock: object) -> None:
    data = encode("gzip", NOISE)
    assert len(data) > len(NOISE)
    answers = (with_length("gzip", data), chunked("gzip", data))
    for raw in answers:
        async with serving(Answering(raw, raw)) as (pool, network):
            assert (await pool.get(URL, max_body_bytes=len(data))).content == NOISE
            with pytest.raises(RemoteProtocolError, match=f"max_body_bytes={len(NOISE)}"):
                await pool.get(URL, max_body_bytes=len(NOISE))
            assert not network.open_sockets


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_body_that_is_too_large_costs_the_connection_unless_all_of_it_is_here(
    autojump_clock: object, arrived: bool
) -> None:
    data = encode("gzip", bytes(1000))
    first = with_length("gzip", data)[: None if arrived else -1]
    server = script(ReceiveRequest(), Send(first), KeepOpen())
    async with serving(server) as (pool, network):
        with pytest.raises(RemoteProtocolError, match="decodes to more than max_body_bytes=999"):
            await pool.get(URL, max_body_bytes=999)
        assert pool.statistics().idle == len(network.open_sockets) == int(arrived)


async def test_other_tasks_run_while_much_is_decoded(autojump_clock: object, bomb: bytes) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with serving(Answering(with_length("gzip", bomb)), buffer_size=MIB) as (pool, _):
        async with pool.stream("GET", URL) as response:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take_turns)
                body = await response.read()
                nursery.cancel_scope.cancel()
    assert len(body) == BOMB_BYTES
    # At least: some of it is still on its way when it begins.
    assert turns >= BOMB_BYTES / PIECE_BYTES / PIECES_IN_A_ROW


async def test_who_reads_a_bomb_whole_can_be_stopped(autojump_clock: object, bomb: bytes) -> None:
    async with serving(Answering(with_length("gzip", bomb)), buffer_size=MIB) as (pool, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.get, URL)
            while not pool.statistics().idle:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert pool.statistics().idle == 1


# ── Who decodes, and when ──────────────────────────────────────────────────────────────────────


class Watched:
    """Counts how often a decoder was asked for something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        next_piece = Decoder.next_piece

        def counting(decoder: Decoder) -> bytes:
            self.asked += 1
            return next_piece(decoder)

        monkeypatch.setattr(Decoder, "next_piece", counting)


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


async def test_a_rest_is_drained_and_not_decoded(
    autojump_clock: object, decoding: Watched, bomb: bytes
) -> None:
    raw = chunked("gzip", bomb[:50_000] + b"and what is no gzip data")
    pieces = [raw[at : at + 10_000] for at in range(0, len(raw), 10_000)]
    async with serving(Answering(Answer(pieces), Answer(pieces))) as (pool, _):
        async with pool.stream("GET", URL) as response:
            assert response.status_code == 200
        await trio.sleep(0.04)
        assert decoding.asked == 0
        async with pool.stream("GET", URL) as response:
            assert response.connection.reused
            assert await response.receive_some(1) == b"\0"
            asked = decoding.asked
            assert asked > 0
        await trio.sleep(0.04)
        assert decoding.asked == asked
        response = await pool.get(URL + "/next")
        assert (response.content, response.connection.reused) == (b"/next", True)
        assert pool.statistics().dialled == 1


async def test_the_connection_is_given_back_before_anything_is_decoded(
    autojump_clock: object, decoding: Watched
) -> None:
    raw = with_length("gzip", encode("gzip", NOISE[:1000]))
    async with serving(Answering(raw), max_connections=1) as (pool, _):
        async with pool.stream("GET", URL) as response:
            assert (decoding.asked, pool.statistics().idle) == (0, 1)
            other = await pool.get(URL + "/other")
            assert (other.content, other.connection.reused) == (b"/other", True)
            assert await response.read() == NOISE[:1000]


async def test_many_chunks_at_once_are_decoded_at_once(
    autojump_clock: object, decoding: Watched
) -> None:
    data = encode("gzip", NOISE[:100])
    async with serving(Answering(chunked("gzip", data))) as (pool, _):
        assert (await pool.get(URL)).content == NOISE[:100]
    assert 0 < decoding.asked < len(data) / 11


async def test_who_asks_waits_for_something_and_never_gets_nothing(
    autojump_clock: object,
) -> None:
    """A gzip header is 10 bytes from which nothing follows."""
    first, rest = GZIPPED[:10], GZIPPED[10:]
    start = head("Content-Encoding: gzip", f"Content-Length: {len(GZIPPED)}")
    steps = [step for at in range(10) for step in (Send(first[at : at + 1]), Wait(1.0))]
    server = script(ReceiveRequest(), Send(start), *steps, Send(rest), KeepOpen())
    async with serving(server) as (pool, _):
        async with pool.stream("GET", URL) as response:
            assert await response.receive_some() == TEXT
            assert trio.current_time() == 10.0
            assert await response.receive_some() == b""


async def test_every_call_is_a_checkpoint_that_can_be_cancelled(autojump_clock: object) -> None:
    async with serving(Answering(with_length("gzip", GZIPPED))) as (pool, _):
        async with pool.stream("GET", URL) as response:
            received = b""
            while True:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await response.receive_some(9)
                assert scope.cancelled_caught
                with trio.testing.assert_checkpoints():
                    piece = await response.receive_some(9)
                if not piece:
                    break
                received += piece
            assert received == TEXT


class Chosen:
    """Sends the pieces of an answer when the test says so."""

    def __init__(self, *pieces: bytes) -> None:
        self.events = [trio.Event() for _ in pieces]
        steps = [s for e, p in zip(self.events, pieces, strict=True) for s in (WaitFor(e), Send(p))]
        self.handler = script(ReceiveRequest(), *steps, KeepOpen())


@pytest.mark.parametrize("size", [None, 1, 1000])
@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "gzip, br"])
async def test_a_cancelled_receive_some_loses_no_byte(
    autojump_clock: object, encoding: str, size: int | None
) -> None:
    """Cancelled while it waits for more input, each time; once with part of it decoded."""
    data = encode(encoding, NOISE[:4000])
    raw = with_length(encoding, data)
    at = len(raw) - len(data)
    chosen = Chosen(raw[:at], *(raw[i : i + 100] for i in range(at, len(raw), 100)))
    received = b""
    async with serving(chosen.handler) as (pool, _):
        chosen.events[0].set()
        async with pool.stream("GET", URL) as response:
            for event in chosen.events[1:]:
                event.set()
                with trio.move_on_after(1):
                    while piece := await response.receive_some(size):
                        received += piece
            assert await response.receive_some() == b""
    assert received == NOISE[:4000]


async def test_a_body_read_half_way_can_be_read_to_its_end(autojump_clock: object) -> None:
    for data in (ok(TEXT), with_length("gzip", GZIPPED)):
        async with serving(Answering(data)) as (pool, _):
            async with pool.stream("GET", URL) as response:
                assert await response.receive_some(4) == TEXT[:4]
                assert await response.receive_some(4) == TEXT[4:8]
                assert await response.read() == TEXT[8:]
                assert response.content == TEXT[8:]
                with pytest.raises(RuntimeError, match="was read already"):
                    await response.receive_some()
