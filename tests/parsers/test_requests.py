"""Both parsers write the same bytes for a request, and refuse the same bodies in the same words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fuzz.test_fuzz import names, values
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from triopool import LocalProtocolError
from triopool._protocol.parser import DoesNotFit
from triopool._protocol.request_head import RequestHead, make_head, make_head_like
from triopool._protocol.seam import Bytes

from .reading import PARSERS

pytestmark = pytest.mark.usefixtures("both_parsers")

Field = tuple[str | bytes, str | bytes]

HOST: Field = ("Host", "a.example")
FIELDS: list[Field] = [
    ("Content-Length", "5"),
    ("content-length", "3"),
    ("Transfer-Encoding", "Chunked"),
    ("X", b"y"),
    ("Connection", "close"),
]


def written(
    parser: str, head: RequestHead, body: bytes | None, pieces: Sequence[Bytes] = ()
) -> list[bytes | str]:
    """What is written at each step; at the end why it was refused, if it was."""
    one = PARSERS[parser](lambda why: None)
    told: list[bytes | str] = []
    try:
        told.append(one.start(head, body))
        for number, piece in enumerate(pieces, 1):
            told.append(b"".join(one.frame(piece, last=number == len(pieces))))
    except DoesNotFit as exc:
        told += [str(exc), repr(exc.__cause__), repr(exc.__context__)]
    return told


def written_alike(
    method: str,
    fields: Sequence[Field],
    body: bytes | None,
    pieces: Sequence[Bytes] = (),
    target: str = "/",
) -> list[bytes | str]:
    one, other = (
        written(parser, make_head(method, target, [HOST, *fields]), body, pieces)
        for parser in ("h11", "httptools")
    )
    assert one == other
    return one


HEADS: list[tuple[str, list[Field]]] = [
    ("GET", []),
    ("HEAD", []),
    ("CONNECT", []),
    ("OPTIONS", []),
    ("get", [("x", ""), (b"X", b"\xff"), ("Accept", "a, b"), ("aCCept", "c\td")]),
    ("GET", [("Connection", "close")]),
    ("GET", [("Connection", "Upgrade"), ("Upgrade", "other")]),
    ("GET", [("Expect", "100-continue"), ("TE", "trailers"), ("Trailer", "X")]),
]


@pytest.mark.parametrize("target", ["/", "*", "a.example:80", "http://a.example/b?c#d", "/%zz"])
@pytest.mark.parametrize(("method", "fields"), HEADS)
def test_a_head_is_written_alike(method: str, fields: list[Field], target: str) -> None:
    head, *nothing_else = written_alike(method, fields, b"", target=target)
    assert not nothing_else
    assert isinstance(head, bytes)
    assert head.startswith(f"{method} {target} HTTP/1.1\r\nHost: a.example\r\n".encode())
    assert written_alike(method, fields, None, target=target) == [head]


@pytest.mark.parametrize(
    "field",
    [
        *[("Content-Length", length) for length in ("5", "05", "00000000000000000005")],
        *[("content-length", length) for length in ("0", "4", "6", "99999999999999999999")],
        *[("Transfer-Encoding", coding) for coding in ("chunked", "Chunked")],
        ("X", "y"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"hello", None])
@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b""],
        [b"hello"],
        [b"hello", b""],
        [b"hel", bytearray(b"lo")],
        [b"", memoryview(b"hello")],
        [b"hell"],
        [b"hello", b"o"],
        [b"x" * 70_000],
    ],
)
def test_a_body_is_framed_or_refused_alike(
    field: Field, body: bytes | None, pieces: list[Bytes]
) -> None:
    if body is None or not pieces:
        told = written_alike("POST", [field], body, pieces)
        assert told


def test_a_length_and_a_coding_at_once_are_written_alike() -> None:
    for fields in ([("Content-Length", "5"), ("Transfer-Encoding", "chunked")],):
        for order in (fields, fields[::-1]):
            told = written_alike("POST", [*order], None, [b"hel", b"lo!", b""])
            assert told[1:] == [b"3\r\nhel\r\n", b"3\r\nlo!\r\n", b"0\r\n\r\n"]


def test_a_length_that_is_told_twice_is_written_once() -> None:
    fields: list[Field] = [("Content-Length", "5"), ("X", "y"), ("content-length", "5")]
    [told] = written_alike("POST", fields, b"hello")
    assert isinstance(told, bytes)
    assert told.lower().count(b"content-length") == 1


def test_host_is_written_first_wherever_it_was_given() -> None:
    told = [
        written(parser, make_head("GET", "/", [("X", "y"), ("hoST", "a"), ("Z", "z")]), b"")
        for parser in PARSERS
    ]
    assert told == [[b"GET / HTTP/1.1\r\nhoST: a\r\nX: y\r\nZ: z\r\n\r\n"]] * 2


def test_a_head_is_written_the_same_again_and_with_the_fields_of_another() -> None:
    told = []
    for parser in PARSERS:
        head = make_head("GET", "/", [HOST, ("X", "y")])
        like = make_head_like(head, "HEAD", "/other")
        told.append([written(parser, it, b"") for it in (head, head, like, like, head)])
    assert told[0] == told[1]


def test_an_exchange_that_was_refused_does_not_go_on() -> None:
    """The connection is spent then: what is left is that nothing more is framed."""
    for parser in PARSERS.values():
        one = parser(lambda why: None)
        one.start(make_head("POST", "/", [HOST, ("Content-Length", "3")]), None)
        for piece in (b"four", b"five!"):
            with pytest.raises(DoesNotFit, match="it is longer"):
                one.frame(piece, last=True)


@settings(deadline=None, derandomize=True, database=None, max_examples=400)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "CONNECT", "x"]),
    fields=st.lists(st.sampled_from(FIELDS) | st.tuples(names, values), max_size=4),
    body=st.none() | st.binary(max_size=6),
    pieces=st.lists(st.binary(max_size=3), max_size=3),
)
def test_whatever_can_be_sent_is_written_alike(
    method: str,
    fields: list[Field],
    body: bytes | None,
    pieces: list[bytes],
) -> None:
    try:
        make_head(method, "/", [HOST, *fields])
    except LocalProtocolError:
        assume(False)
    written_alike(method, fields, body, pieces if body is None else ())
