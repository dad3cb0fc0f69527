"""Whatever a server sends, to decode it takes time in proportion to its length.

CPU time for two sizes of each input is compared, as in ``tests/corpus/test_cost.py``: the ratio is
8 if it is linear, 64 if it is quadratic. The bound is far from both, the least of some attempts
counts, and less than a millisecond counts as one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest

from triopool._reading.events import EventParser
from triopool._reading.lines import Splitter, TextLines
from triopool._reading.links import read_links
from triopool._reading.ranges import is_the_rest, validator_of
from triopool._reading.refusal import NotAccepted
from triopool._reading.text import TextDecoder

SMALL, LARGE = 10_000, 80_000
MOST = 3 * LARGE / SMALL
ATTEMPTS = 5


def pieces(body: bytes) -> Iterable[bytes]:
    """Seven bytes at a time."""
    return (body[at : at + 7] for at in range(0, len(body), 7))


def events(body: bytes) -> None:
    parser = EventParser(None)
    for piece in pieces(body):
        list(parser.feed(piece))


def lines(body: bytes) -> None:
    splitter = TextLines(None)
    for piece in pieces(body):
        list(splitter.feed(piece.decode("latin-1")))
    list(splitter.end())


def lines_at_once(body: bytes) -> None:
    list(Splitter(None, "bytes").feed(body.decode("latin-1")))


def text(charset: str) -> Callable[[bytes], None]:
    def decode(body: bytes) -> None:
        decoder = TextDecoder(charset)
        try:
            for piece in pieces(body):
                decoder.feed(piece)
        except NotAccepted:
            pass

    return decode


def links(body: bytes) -> None:
    list(read_links(body.decode("latin-1")))


def ranges(body: bytes) -> None:
    value = body.decode("latin-1")
    validator_of({"ETag": value})
    validator_of({"Last-Modified": value, "Date": value})
    is_the_rest({"Content-Range": value}, 0, "")


WORDS = {
    events: [b"data:a\n", b"data:\n\n", b"a", b"\n", b"\r", b":", b"id:7\n", b"retry:9", b"9"],
    lines: [b"a", b"\n", b"\r", b"\r\n", b"a\n"],
    lines_at_once: [b"a", b"\n", b"a\n"],
    text("utf-8"): [b"a", b"\xff", b"\xe2\x82", b"\xf0"],
    text("utf-7"): [b"+", b"+A", b"A", b"+-"],
    text("utf-16"): [b"a", b"\xd8"],
    text("iso2022_jp"): [b"a", b"\x1b", b"\x1b$B"],
    text("hz"): [b"~", b"~{", b"a"],
    links: [
        b"<>,",
        b";",
        b'"',
        b"\\",
        b" ",
        b",",
        b"<>;a=",
        b'<>;a="',
        b"<>;title*=",
        b"<>;rel=a ",
    ],
    ranges: [b"1", b"bytes ", b'"', b'"a', b"Mon, ", b"(", b" ", b":"],
}
BEFORE = {events: b"data:", links: b"<>;rel=", ranges: b"bytes 0-"}


def seconds(read: Callable[[bytes], None], body: bytes) -> float:
    began = time.process_time()
    read(body)
    return time.process_time() - began


@pytest.mark.parametrize(
    ("read", "word"), [(read, word) for read, words in WORDS.items() for word in words]
)
def test_what_it_costs_is_in_proportion_to_its_length(
    read: Callable[[bytes], None], word: bytes
) -> None:
    ratio = float("inf")
    for before in (b"", BEFORE.get(read, b"")):
        for _ in range(ATTEMPTS):
            small = seconds(read, before + word * (SMALL // len(word)))
            large = seconds(read, before + word * (LARGE // len(word)))
            ratio = max(large, 0.001) / max(small, 0.001)
            if ratio < MOST:
                break
        assert ratio < MOST
