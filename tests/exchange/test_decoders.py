"""Content codings: the same result however the bytes come, in pieces that have a bound."""

from __future__ import annotations

import gzip
import importlib
import itertools
import random
import tracemalloc
import types
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopool import _decoding
from triopool._decoding import (
    IN_VAIN_BYTES,
    MAX_ENCODINGS,
    PIECE_BYTES,
    SLICE_BYTES,
    Decoder,
    DecodingError,
    find_codings,
    import_first,
    make_decoder,
)

BROTLI: Any = importlib.import_module("brotli")
ZSTD: Any = import_first(importlib.import_module, "compression.zstd", "backports.zstd")


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def gzip_member(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip_member),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "brotli": ("br", BROTLI.compress),
    "zstd": ("zstd", ZSTD.compress),
}
each_coding = pytest.mark.parametrize(("encoding", "encode"), ENCODERS.values(), ids=ENCODERS)

TEXT = b"It is decoded in pieces, and a piece has a bound. " * 4
NOISE = random.Random(1).randbytes(150_000)
MIB = 1024 * 1024


def decoder_for(encoding: str) -> Decoder:
    decoder = make_decoder(encoding)
    assert decoder is not None
    return decoder


def pieces_of(decoder: Decoder) -> bytes:
    """Everything that can be had without more input."""
    pieces = list(iter(decoder.next_piece, b""))
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


def decode(encoding: str, *chunks: bytes) -> bytes:
    decoder = decoder_for(encoding)
    decoded = bytearray()
    for chunk in chunks:
        decoder.feed(chunk)
        decoded += pieces_of(decoder)
    decoder.end()
    return bytes(decoded)


def outcome(encoding: str, *chunks: bytes) -> bytes | None:
    """What is decoded, or None for an error. Anything but a DecodingError is a failure."""
    try:
        return decode(encoding, *chunks)
    except DecodingError:
        return None


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


# ── Each coding ────────────────────────────────────────────────────────────────────────────────


@each_coding
@pytest.mark.parametrize("data", [b"", b"x", TEXT, NOISE, bytes(MIB)], ids=lambda d: len(d))
def test_each_coding_is_undone(
    encoding: str, encode: Callable[[bytes], bytes], data: bytes
) -> None:
    assert decode(encoding, encode(data)) == data


@each_coding
def test_it_does_not_matter_how_the_bytes_come(
    encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    encoded = encode(TEXT)
    assert decode(encoding, *one_by_one(encoded)) == TEXT
    for at in range(len(encoded) + 1):
        assert decode(encoding, encoded[:at], encoded[at:]) == TEXT


def test_a_large_block_may_come_byte_by_byte() -> None:
    """A block of zstd is up to 128 KiB, in which nothing comes out."""
    assert decode("zstd", *one_by_one(ZSTD.compress(NOISE))) == NOISE


@each_coding
def test_what_is_fed_too_early_is_kept(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    data = bytes(3 * PIECE_BYTES)
    encoded = encode(data)
    decoder = decoder_for(encoding)
    decoder.feed(encoded[:-3])
    first = decoder.next_piece()
    decoder.feed(encoded[-3:])
    assert first + pieces_of(decoder) == data
    decoder.end()


@each_coding
def test_data_cut_off_anywhere_are_an_error(
    encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    encoded = encode(TEXT)
    for length in range(1, len(encoded)):
        with pytest.raises(DecodingError, match=r"^[a-z]+ data that end too early$"):
            decode(encoding, encoded[:length])
        assert outcome(encoding, *one_by_one(encoded[:length])) is None


@each_coding
def test_a_body_without_a_byte_is_fine(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    assert decode(encoding) == b""
    assert decode(encoding, b"") == b""


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("gzip", "gzip data that can't be decoded: incorrect header check"),
        ("deflate", "deflate data that can't be decoded: invalid stored block lengths"),
        ("br", "brotli data that can't be decoded: "),
        ("zstd", "zstd data that can't be decoded: Unknown frame descriptor"),
    ],
)
def test_the_error_says_what_is_wrong(encoding: str, message: str) -> None:
    with pytest.raises(DecodingError) as caught:
        decode(encoding, b"\x00\xff not what it says")
    assert str(caught.value).startswith(message)
    assert caught.value.__cause__ is not None


def test_the_checksums_of_gzip_and_zlib_are_checked() -> None:
    for kind, last in [("gzip", 8), ("zlib", 4)]:
        encoding, encode = ENCODERS[kind]
        encoded = bytearray(encode(TEXT))
        encoded[-last] ^= 1
        with pytest.raises(DecodingError, match=r"incorrect data check$"):
            decode(encoding, bytes(encoded))


@each_coding
@given(flips=st.lists(st.tuples(st.integers(0), st.integers(0, 7)), min_size=1, max_size=4))
def test_corrupted_data_raise_nothing_but_our_error(
    encoding: str, encode: Callable[[bytes], bytes], flips: list[tuple[int, int]]
) -> None:
    encoded = bytearray(encode(TEXT))
    for at, bit in flips:
        encoded[at % len(encoded)] ^= 1 << bit
    outcome(encoding, bytes(encoded))
    outcome(encoding, *one_by_one(bytes(encoded)))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd, deflate"])
@pytest.mark.parametrize(
    "head", [b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"], ids=["", "gzip", "zstd"]
)
@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=3))
def test_arbitrary_bytes_raise_nothing_but_our_error(
    encoding: str, head: bytes, data: bytes, cuts: list[int]
) -> None:
    data = head + data
    bounds = [0, *sorted(cuts), len(data)]
    chunks = [data[start:stop] for start, stop in itertools.pairwise(bounds)]
    assert outcome(encoding, *chunks) == outcome(encoding, data)


@given(data=st.binary(max_size=2000), cut=st.integers(0, 2000))
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_whatever_was_encoded_comes_out(encoding: str, data: bytes, cut: int) -> None:
    encoded = dict(ENCODERS.values())[encoding](data)
    assert decode(encoding, encoded[:cut], encoded[cut:]) == data


# ── Where data end ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_and_frames_may_follow_each_other(encoding: str) -> None:
    encode = ENCODERS[encoding][1]
    encoded = encode(b"one, ") + encode(b"") + encode(b"two, ")
    assert decode(encoding, encoded) == b"one, two, "
    assert decode(encoding, *one_by_one(encoded)) == b"one, two, "
    assert decode(encoding, encoded + encode(NOISE) * 3) == b"one, two, " + NOISE * 3


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_second_member_cut_off_anywhere_is_an_error(encoding: str) -> None:
    encode = ENCODERS[encoding][1]
    one, two = encode(b"one"), encode(b"two")
    assert decode(encoding, one) == b"one"
    for length in range(1, len(two)):
        assert outcome(encoding, one + two[:length]) is None
        assert outcome(encoding, one, *one_by_one(two[:length])) is None


@pytest.mark.parametrize("behind", [b"\0", bytes(1000), b"x", b"\x1f\x1f", b"no\x1f\x8b", TEXT])
@pytest.mark.parametrize("kind", ["gzip", "zlib", "raw deflate"])
def test_what_is_behind_gzip_or_deflate_data_is_ignored(kind: str, behind: bytes) -> None:
    encoding, encode = ENCODERS[kind]
    encoded = encode(TEXT) + behind
    assert decode(encoding, *one_by_one(encoded)) == TEXT
    for at in range(len(encoded) + 1):
        assert decode(encoding, encoded[:at], encoded[at:]) == TEXT


def test_a_member_behind_deflate_data_is_ignored_too() -> None:
    assert decode("deflate", zlib.compress(b"one") + zlib.compress(b"two")) == b"one"


@pytest.mark.parametrize("behind", [b"\0", b"more of it", BROTLI.compress(b"two")])
def test_anything_behind_brotli_data_is_an_error(behind: bytes) -> None:
    encoded = BROTLI.compress(b"one")
    with pytest.raises(DecodingError, match=r"^brotli data that can't be decoded"):
        decode("br", encoded + behind)
    with pytest.raises(DecodingError, match=r"^brotli data that go on behind their end$"):
        decode("br", encoded, behind)


@pytest.mark.parametrize("behind", [b"\0", b"more of it"])
def test_anything_but_a_frame_behind_zstd_data_is_an_error(behind: bytes) -> None:
    encoded = ZSTD.compress(b"one") + behind
    assert outcome("zstd", encoded) is None
    assert outcome("zstd", *one_by_one(encoded)) is None


def test_frames_of_zstd_that_are_to_be_skipped_are_skipped() -> None:
    """RFC 8878 section 3.1.2."""
    skipped = bytes.fromhex("502a4d18 05000000") + b"12345"
    encoded = skipped + ZSTD.compress(TEXT) + skipped
    assert decode("zstd", encoded) == TEXT
    assert decode("zstd", *one_by_one(encoded)) == TEXT


# ── Deflate: two formats of one name ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("window_bits", range(9, 16))
@pytest.mark.parametrize("level", range(10))
def test_zlib_is_told_from_raw_deflate_whatever_made_it(level: int, window_bits: int) -> None:
    for sign in (1, -1):
        compressor = zlib.compressobj(level, wbits=sign * window_bits)
        encoded = compressor.compress(TEXT) + compressor.flush()
        assert decode("deflate", encoded) == TEXT
        assert decode("deflate", *one_by_one(encoded)) == TEXT


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"\x78\x9d", id="the check fails"),
        pytest.param(b"\x88\x1c", id="the window is too large"),
        pytest.param(b"\x79\x9b", id="it is another method"),
    ],
)
def test_what_has_no_valid_zlib_header_is_read_as_raw(head: bytes) -> None:
    with pytest.raises(DecodingError) as caught:
        decode("deflate", head + b"\xff" * 20)
    assert "header" not in str(caught.value)


def test_a_preset_dictionary_is_an_error() -> None:
    compressor = zlib.compressobj(zdict=TEXT)
    assert outcome("deflate", compressor.compress(TEXT) + compressor.flush()) is None


# ── Bounds ─────────────────────────────────────────────────────────────────────────────────────


def bomb(encoding: str, size: int) -> bytes:
    """*size* bytes of zeros; a second encoding is applied to the result of the first."""
    data = bytes(size)
    for name in encoding.split(", "):
        data = ENCODERS[{"deflate": "zlib", "br": "brotli"}.get(name, name)][1](data)
    return data


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "br, zstd"])
def test_a_bomb_comes_in_pieces_and_only_when_asked_for(encoding: str) -> None:
    size = 16 * MIB
    encoded = bomb(encoding, size)
    assert len(encoded) < size / 200
    decoder = decoder_for(encoding)
    decoder.feed(encoded)
    tracemalloc.start()
    try:
        pieces = sizes = 0
        while piece := decoder.next_piece():
            assert len(piece) <= PIECE_BYTES
            sizes += len(piece)
            pieces += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    decoder.end()
    assert sizes == size
    assert pieces >= size / PIECE_BYTES
    # One piece in the making and one made, for each of two stages, and what is fed to the second.
    assert peak < 8 * PIECE_BYTES


def test_a_piece_of_a_bomb_takes_no_more_input_than_it_needs() -> None:
    decoder = decoder_for("gzip")
    decoder.feed(gzip_member(bytes(64 * MIB)) * 100)
    tracemalloc.start()
    try:
        assert len(decoder.next_piece()) == PIECE_BYTES
        assert tracemalloc.get_traced_memory()[1] < 5 * PIECE_BYTES
    finally:
        tracemalloc.stop()


def test_zstd_has_the_largest_window_that_is_allowed_and_no_larger() -> None:
    """RFC 9659 section 3: 8 MiB."""

    def frame(window_log: int) -> bytes:
        parameters = {ZSTD.CompressionParameter.window_log: window_log}
        compressor = ZSTD.ZstdCompressor(options=parameters)
        data: bytes = compressor.compress(TEXT) + compressor.flush()
        return data

    assert decode("zstd", frame(23)) == TEXT
    with pytest.raises(DecodingError, match="too much memory"):
        decode("zstd", frame(24))


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_without_end_and_with_nothing_in_them_are_an_error(encoding: str) -> None:
    encode = ENCODERS[encoding][1]
    assert decode(encoding, encode(b"") * 500 + encode(TEXT) + encode(b"") * 500) == TEXT
    with pytest.raises(DecodingError, match=rf"^{encoding} data that go on and on with nothing"):
        decode(encoding, encode(b"") * 2000)


def test_a_bomb_that_the_second_coding_skips_is_an_error() -> None:
    """As the name of a file in the header of gzip, whose end never comes."""
    endless = b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 16 * MIB
    with pytest.raises(DecodingError, match=r"^gzip data that go on and on with nothing in them$"):
        decode("gzip, br", BROTLI.compress(endless, quality=1))


def test_what_is_ignored_has_a_bound_as_well() -> None:
    padding = bytes(IN_VAIN_BYTES // 2)
    assert decode("gzip", gzip_member(TEXT), padding) == TEXT
    with pytest.raises(DecodingError, match=r"^gzip data that go on and on with nothing in them$"):
        decode("gzip", gzip_member(TEXT), padding, padding, b"\0")


def test_a_member_that_ends_where_a_slice_ends_is_followed_by_the_next() -> None:
    stored = zlib.compressobj(0, wbits=16 + zlib.MAX_WBITS)
    one = stored.compress(NOISE[: SLICE_BYTES - 23]) + stored.flush()
    assert len(one) == SLICE_BYTES
    assert decode("gzip", one * 3) == NOISE[: SLICE_BYTES - 23] * 3


def test_data_of_exactly_one_piece_are_whole() -> None:
    for encoding, encode in ENCODERS.values():
        for size in (PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1):
            assert decode(encoding, encode(NOISE[:size])) == NOISE[:size]
            assert decode(encoding, encode(bytes(size))) == bytes(size)


# ── Several codings ────────────────────────────────────────────────────────────────────────────


def test_the_coding_that_was_applied_last_is_undone_first() -> None:
    encoded = BROTLI.compress(gzip_member(TEXT))
    assert decode("gzip, br", encoded) == TEXT
    assert decode("gzip, br", *one_by_one(encoded)) == TEXT
    assert outcome("br, gzip", encoded) is None


def test_either_of_two_codings_may_be_cut_off() -> None:
    inner = gzip_member(TEXT)
    for length in range(1, len(inner)):
        with pytest.raises(DecodingError, match=r"^gzip data that end too early$"):
            decode("gzip, zstd", ZSTD.compress(inner[:length]))
    outer = ZSTD.compress(inner)
    for length in range(1, len(outer)):
        with pytest.raises(DecodingError, match=r"^zstd data that end too early$"):
            decode("gzip, zstd", outer[:length])


def test_three_codings_are_refused() -> None:
    assert MAX_ENCODINGS == 2
    with pytest.raises(DecodingError) as caught:
        make_decoder("gzip, br, x-gzip")
    assert str(caught.value) == "data that are encoded 3 times over: at most 2 are decoded"


@pytest.mark.parametrize(
    "value",
    [
        "gzip",
        "GZip",
        "x-gzip",
        "X-GZIP",
        " gzip ",
        "\tgzip",
        ",gzip,,",
        "identity, gzip",
        "gzip, Identity",
    ],
)
def test_one_coding_may_be_written_in_many_ways(value: str) -> None:
    assert decode(value, gzip_member(TEXT)) == TEXT


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        "identity",
        "identity, identity",
        "compress",
        "gzip, compress",
        "gzip;q=1",
        "none",
        "gzip, gzip, gzip, unknown",
        "aws-chunked",
        "g\xefzip",
    ],
)
def test_nothing_is_decoded_if_there_is_nothing_that_is_known(value: str) -> None:
    assert make_decoder(value) is None


# ── What is there to decode with ───────────────────────────────────────────────────────────────


def only(*names: str) -> Callable[[str], types.ModuleType]:
    """An importer for which no other modules are there."""

    def import_module(name: str) -> types.ModuleType:
        if name not in names:
            raise ModuleNotFoundError(name)
        module: types.ModuleType = BROTLI if name == "brotli" else ZSTD
        return module

    return import_module


@pytest.mark.parametrize(
    ("there", "codings"),
    [
        ((), ["gzip", "deflate"]),
        (("brotli",), ["gzip", "deflate", "br"]),
        (("compression.zstd",), ["gzip", "deflate", "zstd"]),
        (("backports.zstd",), ["gzip", "deflate", "zstd"]),
        (("brotli", "compression.zstd"), ["gzip", "deflate", "br", "zstd"]),
    ],
)
def test_only_what_can_be_decoded_is_asked_for(there: tuple[str, ...], codings: list[str]) -> None:
    assert list(find_codings(only(*there))) == codings


def test_everything_is_there_for_these_tests() -> None:
    assert _decoding.ACCEPT_ENCODING == "gzip, deflate, br, zstd"


def test_a_brotli_whose_output_has_no_bound_is_not_used() -> None:
    old = types.ModuleType("brotli")
    vars(old).update(Decompressor=type("Decompressor", (), {}), error=Exception)
    modules = {"brotli": old, "compression.zstd": ZSTD}
    assert list(find_codings(modules.__getitem__)) == ["gzip", "deflate", "zstd"]


def test_what_there_is_no_module_for_is_delivered_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_decoding, "CODINGS", find_codings(only()))
    assert make_decoder("br") is None
    assert make_decoder("gzip, zstd") is None
    assert decode("gzip", gzip_member(TEXT)) == TEXT
