"""Nothing that a server sends costs more than time in proportion to its length.

CPU time of this process is measured for two sizes of each input, and what is looked at is their
ratio: 16 if it is linear (less, with all that does not depend on the size), 256 if it is quadratic.
The bound is far from both, the least of some attempts counts, and less than a millisecond counts as
one: so no test fails because a machine is slow or busy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from exchange.world import URL, Answering, serving

from triopool import ConnectionPool, TriopoolError

from .reading import new_scanner, read

SMALL, LARGE = 2_000, 32_000
MOST = 4 * LARGE / SMALL
ATTEMPTS = 5

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"\r\n\r\n"


def in_field(value: Callable[[int], bytes], name: bytes = b"X") -> Callable[[int], bytes]:
    return lambda size: HEAD + name + b":" + value(size) + END


def in_trailer(value: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda size: CHUNKED + b"0\r\nX:" + value(size) + END


def in_chunk_line(line: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda size: CHUNKED + line(size) + b"\r\nhello\r\n0" + END


def of(word: bytes, behind: bytes = b"", before: bytes = b"") -> Callable[[int], bytes]:
    """A word, so often that it has the size that is asked for."""
    return lambda size: before + word * (size // len(word)) + behind


VALUES = {
    "blanks and VT": of(b" ", b"\v"),
    "blanks and NUL": of(b" ", b"\0"),
    "tabs and blanks and FF": of(b" \t", b"\f"),
    "blanks, a value and NUL": of(b" ", b"a\0"),
    "a value, blanks and NUL": of(b" ", b"\0", b"a"),
    "blanks on both sides": of(b" ", b"a" + b" " * 2000 + b"\0"),
    "blanks and a control character": of(b" ", b"\x01"),
    "words": of(b"a ", b"\0"),
    "words far from each other": of(b"a" + b" " * 50, b"\0"),
    "one word": of(b"a", b"\0"),
    "folded lines": of(b"\r\n ", b"a\0"),
    "folded lines of blanks": of(b"\r\n" + b" " * 50, b"a\v"),
    "folded by a bare LF": of(b"\n ", b"a"),
    "CR": of(b"\r"),
    "quotes": of(b'"', b"\0"),
    "obs-text": of(b"\xff", b"\0"),
}

INPUTS = {
    **{f"{name}, in a field": in_field(value) for name, value in VALUES.items()},
    **{f"{name}, in a trailer": in_trailer(value) for name, value in VALUES.items()},
    **{
        f"{name}, in a 1xx": lambda size, value=value: (
            b"HTTP/1.1 103 x\r\nX:" + value(size) + END + HEAD + b"Content-Length: 0" + END
        )
        for name, value in VALUES.items()
    },
    **{
        f"{name}, in the reason": lambda size, value=value: HEAD[:-2] + value(size) + END
        for name, value in VALUES.items()
    },
    "a name without a colon": of(b"a", END, HEAD),
    "a name that is no token": of(b"a", b"(: y" + END, HEAD),
    "blanks before a colon": of(b" ", b": y" + END, HEAD + b"X"),
    "colons": of(b":", END, HEAD + b"X"),
    "many fields": lambda size: HEAD + (b"X:" + b" " * (size // 200) + b"\r\n") * 200 + END,
    "many fields that are too many": of(b"X:\r\n", b"\r\n", HEAD),
    "a list of lengths": in_field(of(b"5,", b"5"), b"Content-Length"),
    "a list of other lengths": in_field(of(b"5,", b"6"), b"Content-Length"),
    "digits": in_field(of(b"0"), b"Content-Length"),
    "a list of codings": in_field(of(b"chunked,"), b"Transfer-Encoding"),
    "a list of encodings": in_field(of(b"identity,"), b"Content-Encoding"),
    "a list for Connection": in_field(of(b"x,"), b"Connection"),
    "a list for Keep-Alive": in_field(of(b"timeout=5,"), b"Keep-Alive"),
    "blanks behind a chunk's size": in_chunk_line(of(b" ", b"x", b"5")),
    "blanks in an extension": in_chunk_line(of(b" ", b"\n", b"5;")),
    "blanks in an extension, and CR": in_chunk_line(of(b" ", b"\rx", b"5;")),
    "blanks behind an extension": in_chunk_line(of(b" ", b"", b"5;a=b")),
    "extensions": in_chunk_line(of(b";a=b", b"(", b"5")),
    "an open quote": in_chunk_line(of(b"a", b"", b'5;a="')),
    "backslashes in quotes": in_chunk_line(of(b"\\a", b"", b'5;a="')),
    "quoted strings": in_chunk_line(of(b';a=""', b'"', b"5")),
    "zeros before a size": in_chunk_line(of(b"0", b"5")),
    "a name in an extension": in_chunk_line(of(b"a", b"\0", b"5;")),
    "chunks of one byte": of(b"1\r\nx\r\n", b"0" + END, CHUNKED),
    "chunks of one byte with extensions": of(b"1;a\r\nx\r\n", b"0" + END, CHUNKED),
    "noise": of(b"\xff", END),
    "empty lines": of(b"\r\n"),
    "empty lines behind a head": of(b"\r\n", END, HEAD + b"Content-Length: 5" + END),
}


async def seconds_for(pool: ConnectionPool, size: int) -> float:
    started = time.process_time()
    with suppress(TriopoolError):
        await pool.get(f"{URL}/{size}")
    pool.close_idle()
    return max(time.process_time() - started, 0.001)


@pytest.mark.parametrize("name", INPUTS)
async def test_it_costs_no_more_than_time_in_proportion(autojump_clock: object, name: str) -> None:
    small = large = 1e9
    for _ in range(ATTEMPTS):
        answers = [INPUTS[name](size) for size in (SMALL, LARGE)]
        assert len(answers[0]) < 3 * SMALL
        assert LARGE / 2 < len(answers[1]) < 2 * LARGE
        async with serving(Answering(*answers), buffer_size=1 << 20) as (pool, _):
            small = min(small, await seconds_for(pool, SMALL))
            large = min(large, await seconds_for(pool, LARGE))
        if large < MOST * small:
            return
    pytest.fail(f"{large / small:.0f} times the time for 16 times the size")


DRIBBLED = {
    "a head": in_field(of(b"a")),
    "blanks in a head": in_field(of(b" ")),
    "a head of many lines": of(b"X: " + b"y" * 200 + b"\r\n", b"\r\n", HEAD),
    "a head with bare LF": of(b"X: " + b"y" * 200 + b"\n", b"\n", HEAD),
    "a head of folded lines": in_field(of(b"\r\n ")),
    "a reason": of(b" ", END, HEAD[:-2]),
    "a line of a chunk": in_chunk_line(of(b"a", b"", b"5;")),
    "blanks in the line of a chunk": in_chunk_line(of(b" ", b"", b"5;")),
    "chunks of one byte": INPUTS["chunks of one byte"],
    "a large chunk": of(b"x", b"", CHUNKED + b"fffff\r\n"),
    "trailers": in_trailer(of(b"a")),
    "trailers of many lines": of(b"X: " + b"y" * 200 + b"\n", b"\n", CHUNKED + b"0\r\n"),
    "a body": of(b"x", b"", HEAD + END[2:]),
}


@pytest.mark.parametrize("name", DRIBBLED)
def test_what_comes_byte_by_byte_costs_no_more_than_time_in_proportion(name: str) -> None:
    def seconds_for(size: int) -> float:
        raw = DRIBBLED[name](size)
        pieces: Sequence[bytes] = [raw[at : at + 1] for at in range(len(raw))]
        started = time.process_time()
        _, refused = read(pieces, "GET", new_scanner())
        assert not refused
        return max(time.process_time() - started, 0.001)

    small = large = 1e9
    for _ in range(ATTEMPTS):
        small, large = min(small, seconds_for(SMALL)), min(large, seconds_for(LARGE))
        if large < MOST * small:
            return
    pytest.fail(f"{large / small:.0f} times the time for 16 times the size")
