"""The decoders by themselves: each input whole, byte by byte, and cut in two at every point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inside import charsets_known

from triopool import ServerSentEvent
from triopool._reading.events import EventParser
from triopool._reading.lines import Splitter, TextLines
from triopool._reading.refusal import NotAccepted
from triopool._reading.text import MAX_HELD_BYTES, TextDecoder


def cuts(raw: bytes) -> Iterable[Sequence[bytes]]:
    yield [raw]
    yield [raw[i : i + 1] for i in range(len(raw))]
    for i in range(1, len(raw)):
        yield [raw[:i], raw[i:]]


# ── Text ───────────────────────────────────────────────────────────────────────────────────────


def decoded(charset: str, pieces: Iterable[bytes]) -> str:
    decoder = TextDecoder(charset)
    return "".join([decoder.feed(piece) for piece in pieces]) + decoder.feed(b"", last=True)


@pytest.mark.parametrize(
    "charset", ["utf-8", "latin-1", "utf-16", "utf-32", "shift_jis", "utf-7", "iso2022_jp"]
)
def test_text_is_the_same_however_it_is_cut(charset: str) -> None:
    text = "spam ä €" if charset == "utf-8" else "spam\r\neggs"
    raw = text.encode(charset)
    for pieces in cuts(raw):
        assert decoded(charset, pieces) == text


def test_what_cannot_be_decoded_is_replaced() -> None:
    for pieces in cuts(b"a\xff\xe2\x82b\xe2\x82"):
        assert decoded("utf-8", pieces) == "a\ufffd\ufffdb\ufffd"


@pytest.mark.parametrize("charset", ["utf-16", "utf_32", "u16", "U32"])
def test_without_a_byte_order_mark_it_is_little_endian(charset: str) -> None:
    raw = "spam ä".encode("utf-16-le" if "16" in charset else "utf-32-le")
    for pieces in cuts(raw):
        assert decoded(charset, pieces) == "spam ä"


@pytest.mark.parametrize("charset", sorted(charsets_known()))
def test_every_charset_that_a_response_may_have_can_be_decoded_piece_by_piece(charset: str) -> None:
    assert len(decoded(charset, [b"ab", b"cd\xff\xff" * 2])) > 0


def test_a_run_of_utf_7_is_not_kept_for_ever() -> None:
    decoder = TextDecoder("utf-7")
    assert decoder.feed(b"+" + b"A" * (MAX_HELD_BYTES - 1)) == ""
    with pytest.raises(NotAccepted, match="utf-7"):
        decoder.feed(b"A")


@pytest.mark.parametrize("charset", ["iso2022_jp", "iso-2022-kr", "csiso2022jp"])
def test_an_escape_sequence_without_an_end_is_refused(charset: str) -> None:
    decoder = TextDecoder(charset)
    with pytest.raises(NotAccepted, match=charset):
        "".join(decoder.feed(bytes([number])) for number in b"\x1b$" + b"(" * 20)


# ── Lines ──────────────────────────────────────────────────────────────────────────────────────


def lines_of(pieces: Iterable[str], max_length: int | None = None) -> Iterator[str]:
    splitter = TextLines(max_length)
    for piece in pieces:
        yield from splitter.feed(piece)
    yield from splitter.end()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("\n", [""]),
        ("a", ["a"]),
        ("a\nb", ["a", "b"]),
        ("a\r\nb\rc\n\nd\r\n\r\ne\r\r", ["a", "b", "c", "", "d", "", "e", ""]),
        ("\r\n\r\n", ["", ""]),
        ("a\n\rb", ["a", "", "b"]),
        ("a\u2028b\x0bc\x0cd\x1ce\x85f", ["a\u2028b\x0bc\x0cd\x1ce\x85f"]),
    ],
)
def test_lines_end_with_lf_cr_lf_or_cr_and_nowhere_else(text: str, lines: list[str]) -> None:
    for cut in range(len(text) + 1):
        assert list(lines_of([text[:cut], text[cut:]])) == lines
    assert list(lines_of(text)) == lines


@given(st.lists(st.text("ab\r\n", max_size=5)))
def test_lines_are_those_that_python_finds(pieces: list[str]) -> None:
    assert list(lines_of(pieces)) == "".join(pieces).splitlines()


def test_a_cr_ends_its_line_at_once() -> None:
    splitter = TextLines(None)
    assert list(splitter.feed("a\r")) == ["a"]
    assert list(splitter.feed("\nb\r\n")) == ["b"]


@pytest.mark.parametrize("pieces", [["ok\n1234\n12345\nx\n"], "ok\n1234\n12345\nx\n"])
def test_a_line_that_is_too_long_comes_behind_those_before_it(pieces: Iterable[str]) -> None:
    found = lines_of(pieces, max_length=4)
    assert [next(found), next(found)] == ["ok", "1234"]
    with pytest.raises(NotAccepted, match="a line of more than 4 characters"):
        next(found)


def test_a_line_without_an_end_is_refused_before_it_is_kept() -> None:
    splitter = Splitter(1000, "bytes")
    for _ in range(10):
        assert list(splitter.feed("x" * 100)) == []
    with pytest.raises(NotAccepted, match="more than 1000 bytes"):
        list(splitter.feed("x"))


# ── Events ─────────────────────────────────────────────────────────────────────────────────────


def events_of(raw: bytes) -> list[ServerSentEvent]:
    """The events, which are the same however the bytes are cut."""
    found: list[list[ServerSentEvent]] = []
    for pieces in cuts(raw):
        parser = EventParser(None)
        found.append([event for piece in pieces for event in parser.feed(piece)])
    assert all(events == found[0] for events in found)
    return found[0]


Event = ServerSentEvent


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        # The examples of the standard.
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event("YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
            b"data:  third event\n\n",
            [Event("first event", id="1"), Event("second event"), Event(" third event")],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [Event(""), Event("\n")]),
        (b"data:test\n\ndata: test\n\n", [Event("test"), Event("test")]),
        # Ends of lines.
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\r", [Event("a"), Event("b"), Event("c")]),
        # One byte order mark is none, a second one is the beginning of a name.
        (b"\xef\xbb\xbfdata: a\n\n", [Event("a")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [Event("b")]),
        # Types.
        (b"event: add\ndata: 1\n\ndata: 2\n\n", [Event("1", "add"), Event("2")]),
        (b"event: add\n\ndata: 2\n\n", [Event("2")]),
        (b"event: a\nevent:\ndata: 2\n\n", [Event("2")]),
        # Ids: one with NUL is ignored, one without data counts for those that follow.
        (b"id: 1\n\ndata: a\n\n", [Event("a", id="1")]),
        (b"id: 1\nid: \x00\ndata: a\n\n", [Event("a", id="1")]),
        (b"id: 1\ndata: a\n\nid:\ndata: b\n\n", [Event("a", id="1"), Event("b")]),
        # Times to wait: ASCII digits only.
        (b"retry: 1500\ndata: a\n\ndata: b\n\n", [Event("a", retry=1.5), Event("b")]),
        (b"retry: 0\ndata: a\n\n", [Event("a", retry=0.0)]),
        (b"retry: -1\nretry: 1.5\nretry:\nretry: 1e3\ndata: a\n\n", [Event("a")]),
        ("retry: \u0661\nretry: \u00b2\ndata: a\n\n".encode(), [Event("a")]),
        (b"retry: " + b"9" * 400 + b"\ndata: a\n\n", [Event("a", retry=float("inf"))]),
        # Fields that nobody knows, names in other cases, what can't be decoded.
        (b"Data: a\n data: b\nspam\n:\ndata: \xff\n\n", [Event("\ufffd")]),
        # The end of the stream is no end of an event.
        (b"data: a\n\ndata: b\n", [Event("a")]),
    ],
)
def test_events_are_read_as_the_standard_says(raw: bytes, events: list[Event]) -> None:
    assert events_of(raw) == events


def test_the_id_counts_from_the_end_of_its_event_on() -> None:
    parser = EventParser(None, "0")
    assert [event.id for event in parser.feed(b"data: a\n\nid: 1\ndata: b\n")] == ["0"]
    assert parser.last_event_id == "0"
    assert [event.id for event in parser.feed(b"\nid: 2\n\nretry: 7\n")] == ["1"]
    assert parser.last_event_id == "2"
    assert parser.retry == 0.007


def test_an_event_has_a_bound_and_so_has_a_line() -> None:
    parser = EventParser(8)
    assert [event.data for event in parser.feed(b"data:123\ndata:4\n\n")] == ["123\n4"]
    assert list(parser.feed(b"data:1\n" * 4)) == []
    with pytest.raises(NotAccepted, match="an event of more than 8 characters"):
        list(parser.feed(b"data:1\n"))
    with pytest.raises(NotAccepted, match="a line of more than 8 characters"):
        list(EventParser(8).feed(b"data:1234"))


def test_an_event_may_be_json() -> None:
    assert Event('{"a": [1]}').json() == {"a": [1]}
    with pytest.raises(ValueError, match="Expecting"):
        Event("spam").json()
