"""The two parsers give the same answers: response by response, split anywhere, and cut anywhere.

What is compared is all that can be seen of a connection (``reading.py``), after each piece that
arrives: heads, bodies, trailers, errors and their messages, why the connection is spent, what
belongs to another protocol, what was sent. There is no exception: what one of them would read
otherwise has been refused, or doubted, before either of them gets it. (But for a head that only one
of them refuses, of which the message would name it. No such head is known.)
"""

from __future__ import annotations

import pytest
from exchange.test_responses import SHAPES

from triopool._protocol.chunks import CHUNKS_IN_A_ROW
from triopool._protocol.scanner import GIVEN_AT_ONCE

from .reading import ASKINGS, END, PARSERS, Story, assert_alike, cut, read, whole
from .switches import SWITCHES

pytestmark = pytest.mark.usefixtures("both_parsers")


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_of_a_response_is_read_alike(name: str) -> None:
    """The usual ones; all others below, and split at each point in ``test_alike_everywhere.py``."""
    raw = SHAPES[name].raw
    assert_alike(whole(raw))
    assert_alike(cut(raw, 3))
    assert_alike([Story("GET", [[raw + b"behind"]]), Story("HEAD", [[raw, b"behind"]])])


@pytest.mark.parametrize("asking", ASKINGS)
@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**64, 10**20 - 1])
def test_a_length_of_more_than_64_bits_is_refused_alike(length: int, asking: str) -> None:
    """h11 takes twenty digits, and llhttp has 64 bits. Found by test_any_bytes_are_read_alike."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length
    assert_alike([Story(asking, [[raw], [raw, END]])])


CHUNKED_OK = b"HTTP/1.1 200 OK\r\nX: \t y \t\r\n%b\r\n5\r\nhello\r\n0\r\n%b\r\n"

SHOWN = {
    CHUNKED_OK % (b"transfer-ENCODING: CHUNKED\r\n", b""): (b"transfer-ENCODING", b"chunked"),
    CHUNKED_OK % (b"Transfer-Encoding: chunked\r\n", b"A: b\r\n"): (b"A", b"b"),
    CHUNKED_OK % (b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5 , 5\r\n"): (
        b"Content-Length",
        b"5",
    ),
    b"HTTP/1.1 200 OK\r\ncontent-length:5 ,5\r\nContent-Length: 5\r\n\r\nhello": (
        b"content-length",
        b"5",
    ),
}


@pytest.mark.parametrize("raw", SHOWN)
@pytest.mark.parametrize("parser", PARSERS)
def test_fields_are_shown_as_h11_shows_them(parser: str, raw: bytes) -> None:
    seen = read(Story("GET", [[raw, END]]), parser)
    shown = [fact for step in seen for fact in step if isinstance(fact, list)]
    assert SHOWN[raw] in [field for fields in shown for field in fields]
    lengths = [name for fields in shown for name, _ in fields if name.lower() == b"content-length"]
    assert len(lengths) < 2
    assert_alike(whole(raw))


def test_nothing_of_a_response_is_left_for_the_next_one() -> None:
    reused = [shape.raw for shape in SHAPES.values() if shape.reused and shape.method == "GET"]
    for first in reused:
        assert_alike(Story("GET", [[first], [then], [first]]) for then in reused)


@pytest.mark.parametrize("asking", ASKINGS)
def test_a_switch_of_protocols_is_read_alike(asking: str) -> None:
    for raw in SWITCHES:
        behind = raw + b"other\r\n\r\n"
        assert_alike([Story(asking, [[raw]]), Story(asking, [[behind, END]])])
        for at in range(1, len(behind)):
            assert_alike([Story(asking, [[behind[:at], behind[at:]]])])


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
        assert_alike([Story("GET", [pieces, pieces]), Story("GET", [[*pieces, END]])])
        assert_alike([Story("GET", [[*pieces, b"behind"]]), Story("GET", [[*pieces[:-1], END]])])


def test_chunks_beyond_what_is_looked_at_in_a_row_are_read_alike() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"1\r\nx\r\n" * (3 * CHUNKS_IN_A_ROW)
    for behind in (b"0\r\n\r\n", b"0\r\nX: y\r\n\r\nmore", b"", b"x"):
        assert_alike(whole(head + chunks + behind))
