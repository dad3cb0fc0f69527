"""Responses made by a grammar that knows what has to become of each.

A response is made of parts: a status line, fields, what says where the body ends, chunks, trailers,
ends of lines. Each part knows whether it is legal to the letter, only accepted, or not legal, and
what it stands for. A response is as good as its worst part. So what is expected comes from the
grammar of RFC 9110 and RFC 9112 (and from what h11 accepts beyond it), not from a parser.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

Pairs = tuple[tuple[bytes, bytes], ...]


class Fate(enum.IntEnum):
    """What becomes of a response, and of its connection."""

    REUSED = 0
    CLOSED = 1  # Delivered, and the connection is closed.
    REFUSED = 2


REUSED, CLOSED, REFUSED = Fate


@dataclass(frozen=True)
class Part:
    """Some bytes, what becomes of a response with them in it, and what they say."""

    raw: bytes
    fate: Fate = REUSED
    fields: Pairs = ()


@dataclass(frozen=True)
class Case:
    """A response, and what is right for it."""

    name: str
    raw: bytes
    fate: Fate
    status: int = 200
    fields: Pairs = ()
    body: bytes = b""
    trailers: Pairs = ()
    informational: tuple[int, ...] = ()
    method: str = "GET"
    end: str = "keep"


# ── Parts ──────────────────────────────────────────────────────────────────────────────────────

BODY = b"hello"

STATUS_LINES = [
    Part(b"HTTP/1.1 200 OK"),
    Part(b"HTTP/1.1 200 "),
    Part(b"HTTP/1.1 200 \t a reason\t"),
    Part(b"HTTP/1.1 200 \xc3\xa9\xff"),
    Part(b"HTTP/1.1 200", CLOSED),
    *[Part(b"HTTP/%b 200 OK" % version, CLOSED) for version in (b"1.0", b"1.2", b"2.0", b"0.9")],
    *[Part(b"HTTP/1.1 200 a%cb" % byte, CLOSED) for byte in (0x01, 0x08, 0x0E, 0x1B, 0x1F, 0x7F)],
    *[Part(b"HTTP/1.1 200 a%cb" % byte, REFUSED) for byte in b"\0\r\v\f"],
    *[
        Part(line, REFUSED)
        for line in (
            b"HTTP/1.1  200 OK", b" HTTP/1.1 200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 200\tOK",
            b"http/1.1 200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 OK",
            b"HTTP/1.1 -20 OK", b"HTTP/1.1 +20 OK", b"HTTP/1.1 2\xb20 OK", b"HTTP/1.1 OK",
            b"HTTP/1.1", b"HTTP/11 200 OK", b"HTTP/1.10 200 OK", b"HTTP/1 200 OK", b"ICY 200 OK",
            b"HTTPS/1.1 200 OK", b"\xef\xbb\xbfHTTP/1.1 200 OK", b"", b"\0", b"{}", b"200 OK",
        )
    ],
]  # fmt: skip

FIELDS = [
    Part(b"X: y", fields=((b"X", b"y"),)),
    Part(b"X:y", fields=((b"X", b"y"),)),
    Part(b"X:", fields=((b"X", b""),)),
    Part(b"X: \t y \t", fields=((b"X", b"y"),)),
    Part(b"X:" + b" " * 50, fields=((b"X", b""),)),
    Part(b"X: a" + b" \t" * 25 + b"b", fields=((b"X", b"a" + b" \t" * 25 + b"b"),)),
    Part(b"X: a:b, \"c\\\"\"", fields=((b"X", b"a:b, \"c\\\"\""),)),
    Part(b"X: \x80\xe9\xff", fields=((b"X", b"\x80\xe9\xff"),)),
    Part(b"a!#$%&'*+-.^_`|~9: y", fields=((b"a!#$%&'*+-.^_`|~9", b"y"),)),
    Part(b"Set-Cookie: a\r\nset-cookie: b", fields=((b"Set-Cookie", b"a"), (b"set-cookie", b"b"))),
    *[
        Part(b"X: a%cb" % byte, CLOSED, ((b"X", b"a%cb" % byte),))
        for byte in (0x01, 0x08, 0x0E, 0x1B, 0x1F, 0x7F)
    ],
    Part(b"X: a\r\n b", CLOSED, ((b"X", b"a b"),)),
    Part(b"X: a \r\n\t \tb\r\n c", CLOSED, ((b"X", b"a  b c"),)),
    Part(b"X:\r\n y", CLOSED, ((b"X", b"y"),)),
    Part(b"X: a\r\n ", CLOSED, ((b"X", b"a"),)),
    Part(b"X: a\nY: b", CLOSED, ((b"X", b"a"), (b"Y", b"b"))),
    Part(b"X: a\n b", CLOSED, ((b"X", b"a b"),)),
    *[Part(b"X: a%cb" % byte, REFUSED) for byte in b"\0\r\v\f"],
    *[Part(b"X%cX: y" % byte, REFUSED) for byte in b"\0 \t\r\v\x7f\x80\xff\"(),/;<=>?@[\\]{}"],
    *[
        Part(line, REFUSED)
        for line in (
            b"X : y", b"X\t: y", b": y", b":", b"X", b"X y", b"X\r\n : y", b"X: y\r", b"\r",
            b"X: a\r\nY", b"X: a\r\n \0", b"X: a\n\v",
        )
    ],
]  # fmt: skip

HEAD_FIELDS = [Part(b" X: y", REFUSED), Part(b"\tX: y", REFUSED), *FIELDS]
"""Such as are the first ones; a blank before a later one continues the one before it."""

LENGTHS = [
    Part(b"Content-Length: 5"),
    Part(b"content-LENGTH:5"),
    Part(b"Content-Length: \t 5 \t"),
    Part(b"Content-Length: 005"),
    Part(b"Content-Length: " + b"5".zfill(20)),
    *[
        Part(b"Content-Length: " + value, CLOSED)
        for value in (b"5, 5", b"5,5", b"5 ,\t5,5", b"5\r\nContent-Length: 5", b"5\r\n ")
    ],
    Part(b"Content-Length: 5, 5\r\nX: y\r\ncontent-length: 5,5", CLOSED),
    *[
        Part(b"Content-Length: " + value, REFUSED)
        for value in (
            b"+5", b"-5", b"5.0", b"5e0", b"0x5", b"", b"5 5", b"5;", b"5,", b",5", b"5,,5",
            b"5, 6", b"05, 5", b"\xb25", b"5\x01", b"'5'", b"5".zfill(21), b"9" * 20,
            b"9" * 21,
            b"5\r\nContent-Length: 6", b"5\r\nContent-Length: 05", b"5\r\n 5", b"chunked",
        )
    ],
]  # fmt: skip

CODINGS = [
    Part(b"Transfer-Encoding: chunked"),
    Part(b"transfer-ENCODING:CHUNKED"),
    Part(b"Transfer-Encoding: \tchunked \t"),
    *[
        Part(b"Transfer-Encoding: chunked\r\n" + field, CLOSED)
        for field in (b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 99999")
    ],
    Part(b"Content-Length: 5\r\nTransfer-Encoding: chunked", CLOSED),
    Part(b"Transfer-Encoding:\r\n chunked", CLOSED),
    *[
        Part(b"Transfer-Encoding: " + value, REFUSED)
        for value in (
            b"", b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked",
            b"chunked;q=1", b"xchunked", b"chunkedx", b"chun\x01ked", b"\"chunked\"", b"chunked,",
            b"chunked\r\nTransfer-Encoding: chunked", b"chunked\r\nTransfer-Encoding: identity",
            b"chunked\r\nContent-Length: x", b"chun\r\n ked", b"\x0bchunked",
        )
    ],
]  # fmt: skip

SIZES = [
    *[Part(size) for size in (b"5", b"05", b"5".zfill(20))],
    *[Part(b"5" + extension) for extension in (
        b";a", b";a=b", b";a=\"b c\"", b";a=\"\\\"\\\\\"", b";a=\"\"", b";a;b=c;d=\"e;f\"",
        b";" + b"x" * 100, b";a=\"\xe9\t\"",
    )],
    *[Part(b"5" + behind, CLOSED) for behind in (
        b" ", b"\t", b" \t" * 20, b";", b";;", b";=", b";a=", b";=b", b"; a", b";a ", b";a ;b",
        b";a =b", b";a= b", b";a=b c", b";a=\"b", b";a=\"", b";a=\"b\"c", b";a=\"\\\"", b";a\r",
        b";\r", b";a=\0", b";a=\"\0\"", b";\x01", b";\x7f", b";\xe9", b";a=\"\x1b\"",
        b";a=\"\\\r\"",
        b";" + b" " * 100, b";a(", b";\v",
    )],
    *[Part(size, REFUSED) for size in (
        b"", b" 5", b"\t5", b"+5", b"-5", b"0x5", b"5h", b"g", b"5 ;a", b"5\t;a", b"5 5", b"5,5",
        b"\xb25", b"5\0", b"5\r", b"5\v", b"\r\n5", b"5".zfill(21), b"f" * 21, b"5.", b"5=a", b";a",
        b"5;a\nb", b"5\nb", b"hello",
    )],
]  # fmt: skip
"""What is in front of CR LF, before 5 bytes of data."""

BEHIND_DATA = [Part(b"\r\n"), *[
    Part(end, REFUSED) for end in (b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"o\r\n", b"\r ")
]]  # fmt: skip

LAST_CHUNKS = [
    *[Part(size) for size in (b"0\r\n", b"000\r\n", b"0;a=b\r\n", b"0".zfill(20) + b"\r\n")],
    *[Part(size, CLOSED) for size in (b"0 \r\n", b"0;\r\n", b"0;a=\"\r\n", b"0;\0\r\n")],
    *[Part(size, REFUSED) for size in (b"0\n", b"-0\r\n", b"0 ;a\r\n", b"0x0\r\n", b"0".zfill(21))],
]  # fmt: skip

INFORMATIONAL = [
    Part(b"HTTP/1.1 100 Continue\r\n\r\n"),
    Part(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    Part(b"HTTP/1.1 199 \r\nContent-Length: 0\r\n\r\n"),
    Part(b"HTTP/1.1 102 x\r\nConnection: close\r\n\r\n"),
    *[
        Part(b"HTTP/1.1 103 x\r\n%b\r\n\r\n" % field, CLOSED)
        for field in (
            b"Content-Length: 5", b"Content-Length: 0, 0", b"Transfer-Encoding: chunked",
            b"X: a\r\n b", b"X: \x01",
        )
    ],
    Part(b"HTTP/1.1 100 Continue\n\n", CLOSED),
    Part(b"HTTP/1.1 100\r\n\r\n", CLOSED),
    Part(b"HTTP/1.0 100 Continue\r\n\r\n", CLOSED),
    *[
        Part(raw, REFUSED)
        for raw in (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 100 \0\r\n\r\n",
            b"HTTP/1.1 100 x\r\nX\r\n\r\n", b"HTTP/1.1 100 x\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 100 x\r\nTransfer-Encoding: x\r\n\r\n", b"\r\n", b"\n", b"\0", b"x",
        )
    ],
]  # fmt: skip

TOLD = [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: 0", b"X: y"]
"""What a head may say of a body that does not follow it."""


# ── Responses ──────────────────────────────────────────────────────────────────────────────────


def _fields_of(part: Part) -> Pairs:
    """The framing fields that a part stands for: as sent, but as h11 tells them."""
    if part.fate is REFUSED:
        return ()
    found: list[tuple[bytes, bytes]] = []
    for line in part.raw.replace(b"\r\n ", b" ").split(b"\r\n"):
        name, _, value = line.partition(b":")
        value = value.strip(b" \t").lower()
        if name.lower() == b"content-length":
            if any(other.lower() == name.lower() for other, _ in found):
                continue
            value = value.partition(b",")[0].strip(b" \t")
        found.append((name, value))
    return tuple(found)


def with_length(
    line: Part = STATUS_LINES[0],
    field: Part = HEAD_FIELDS[2],
    length: Part = LENGTHS[0],
    name: str = "",
) -> Case:
    raw = b"\r\n".join([line.raw, field.raw, length.raw, b"", BODY])
    fate = max(line.fate, field.fate, length.fate)
    return Case(name, raw, fate, fields=field.fields + _fields_of(length), body=BODY)


def in_chunks(
    coding: Part = CODINGS[0],
    size: Part = SIZES[0],
    behind: Part = BEHIND_DATA[0],
    last: Part = LAST_CHUNKS[0],
    trailer: Part | None = None,
    name: str = "",
) -> Case:
    head = b"HTTP/1.1 200 OK\r\n" + coding.raw + b"\r\n\r\n"
    chunks = b"%b\r\n%b%b" % (size.raw, BODY, behind.raw)
    trailers = b"" if trailer is None else trailer.raw + b"\r\n"
    parts = [coding, size, behind, last, *([] if trailer is None else [trailer])]
    return Case(
        name,
        b"".join([head, chunks, last.raw, trailers, b"\r\n"]),
        max(part.fate for part in parts),
        fields=_fields_of(coding),
        body=BODY,
        trailers=() if trailer is None else trailer.fields,
    )


def singles() -> Iterator[Case]:
    """Responses with one part that is not the usual one."""
    for line in STATUS_LINES:
        yield with_length(line=line, name=f"status line {line.raw!r}")
    for field in HEAD_FIELDS:
        yield with_length(field=field, name=f"field {field.raw!r}")
    for length in LENGTHS:
        yield with_length(length=length, name=f"length {length.raw!r}")
    for coding in CODINGS:
        yield in_chunks(coding, name=f"coding {coding.raw!r}")
    for size in SIZES:
        yield in_chunks(size=size, name=f"size {size.raw!r}")
    for behind in BEHIND_DATA:
        yield in_chunks(behind=behind, name=f"behind a chunk {behind.raw!r}")
    for last in LAST_CHUNKS:
        yield in_chunks(last=last, name=f"last chunk {last.raw!r}")
    for trailer in HEAD_FIELDS:
        yield in_chunks(trailer=trailer, name=f"trailer {trailer.raw!r}")
    yield from _other_singles()


def _other_singles() -> Iterator[Case]:
    usual = with_length()
    for before in INFORMATIONAL:
        status = () if before.fate is REFUSED else (int(before.raw[9:12]),)
        yield replace(
            usual,
            name=f"before it {before.raw!r}",
            raw=before.raw + usual.raw,
            fate=before.fate,
            informational=status,
        )
    for method, status, told in itertools.product(("GET", "HEAD"), (200, 204, 304), TOLD):
        if (method, status) != ("GET", 200):
            yield _without_body(method, status, told)
    yield from _ends_of_lines()
    # What may be sent in trailers, and must not be: somebody may merge them with the head.
    for told in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
        name, _, value = told.partition(b": ")
        trailer = Part(told, CLOSED, ((name, value),))
        yield in_chunks(trailer=trailer, name=f"trailer {told!r}")
    for told in (b"Content-Length: x", b"Transfer-Encoding: x"):
        yield in_chunks(trailer=Part(told, REFUSED), name=f"trailer {told!r}")
    yield from _until_the_end()


def _without_body(method: str, status: int, told: bytes) -> Case:
    # RFC 9110 section 8.6, RFC 9112 section 6.1.
    body_is_told = told in TOLD[:2]
    name, _, value = told.partition(b": ")
    return Case(
        f"{method}, {status}, {told!r}",
        b"HTTP/1.1 %d x\r\n%b\r\n\r\n" % (status, told),
        CLOSED if status == 204 and body_is_told else REUSED,
        status=status,
        fields=((name, value),),
        method=method,
    )


def _ends_of_lines() -> Iterator[Case]:
    usual = with_length()
    ends = [at for at in range(len(usual.raw)) if usual.raw.startswith(b"\r\n", at)]
    for number in range(1, 1 << len(ends)):
        raw = usual.raw
        for bit, at in reversed(list(enumerate(ends))):
            if number >> bit & 1:
                raw = raw[:at] + raw[at + 1 :]
        yield replace(usual, name=f"bare LF {number:b}", raw=raw, fate=CLOSED)
    chunked = in_chunks(trailer=FIELDS[0])
    for lines in (b"X: y\n\r\n", b"X: y\r\n\n", b"X: y\n\n"):
        raw = chunked.raw.removesuffix(b"X: y\r\n\r\n") + lines
        yield replace(chunked, name=f"trailers {lines!r}", raw=raw, fate=CLOSED)
    yield replace(in_chunks(), name="LF", raw=in_chunks().raw[:-2] + b"\n", fate=CLOSED)


def _until_the_end() -> Iterator[Case]:
    for version, body in itertools.product((b"1.0", b"1.1"), (b"", BODY, b"\r\n\r\n0\r\n\r\n")):
        raw = b"HTTP/%b 200 OK\r\nX: y\r\n\r\n%b" % (version, body)
        fields = ((b"X", b"y"),)
        name = f"until the end, {version!r} {body!r}"
        yield Case(name, raw, CLOSED, fields=fields, body=body, end="close")


def pairs() -> Iterator[Case]:
    """Responses in which two parts are not the usual ones."""
    for line, field in itertools.product(STATUS_LINES[1:], HEAD_FIELDS):
        yield with_length(line, field, name=f"{line.raw!r}, {field.raw!r}")
    for field, length in itertools.product(FIELDS[1:], LENGTHS[1:]):
        yield with_length(field=field, length=length, name=f"{field.raw!r}, {length.raw!r}")
    for coding, size in itertools.product(CODINGS[1:], SIZES[1:]):
        yield in_chunks(coding, size, name=f"{coding.raw!r}, {size.raw!r}")
    for size, trailer in itertools.product(SIZES[1:], HEAD_FIELDS):
        yield in_chunks(size=size, trailer=trailer, name=f"{size.raw!r}, {trailer.raw!r}")
    for size, last in itertools.product(SIZES[1:], LAST_CHUNKS[1:]):
        yield in_chunks(size=size, last=last, name=f"{size.raw!r}, {last.raw!r}")
    for last, trailer in itertools.product(LAST_CHUNKS[1:], HEAD_FIELDS):
        yield in_chunks(last=last, trailer=trailer, name=f"{last.raw!r}, {trailer.raw!r}")


def splits(raw: bytes, most: int) -> Iterator[Sequence[bytes]]:
    """Whole, and in two: at every point, or at about as many as *most*."""
    yield [raw]
    for at in range(1, len(raw), -(-len(raw) // most)):
        yield [raw[:at], raw[at:]]


def byte_by_byte(raw: bytes) -> Sequence[bytes]:
    return [raw[at : at + 1] for at in range(len(raw))]
