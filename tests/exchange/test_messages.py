"""What errors say of what a server sent: enough to act on, short, and legible."""

# ruff: noqa: SIM117 - one line for the world, the next for what happens in it.
from __future__ import annotations

import traceback
from typing import Any

import h11
import pytest

from triopool import ReadError, ReadTimeout, RemoteProtocolError, Timeouts, TriopoolError
from triopool.testing import KeepOpen, ReceiveRequest, Send, script

from .world import URL, Answer, Answering, serving

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = b"y" * 60_000


async def error_for(answer: Answer | bytes, **options: Any) -> TriopoolError:
    async with serving(Answering(answer)) as (pool, network):
        with pytest.raises(TriopoolError) as caught:
            await pool.get(URL, **options)
        assert not network.open_sockets
    return caught.value


def chain(error: BaseException) -> list[BaseException]:
    """The error, and all that is behind it, printed or not."""
    links = [error]
    while link := links[-1].__cause__ or links[-1].__context__:
        links.append(link)
    return links


def messages(error: BaseException) -> list[str]:
    return [str(link) for link in chain(error)]


NOT_LEGAL = {
    b"220 ready for s3cr3t\r\n\r\n": "it does not begin with 'HTTP/' (byte 1 is 0x32)",
    b"HTTP: s3cr3t": "it does not begin with 'HTTP/' (byte 5 is 0x3a)",
    b"HTTP/1.1 s3cr3t\r\n\r\n": "its status line (of 15 bytes) is malformed",
    b"HTTP/1.1 200 s3cr3t\0\r\n\r\n": (
        "its status line (of 20 bytes) is malformed, byte 20 is 0x00"
    ),
    b"HTTP/1.1 099 s3cr3t\r\n\r\n": "its status is less than 100",
    HEAD + b"s3cr3t no colon\r\n\r\n": "a line of 15 bytes among the fields has no colon",
    HEAD + b"X\0s3cr3t: s3cr3t\r\n\r\n": "the name of a field is no token: 'X', byte 2 is 0x00",
    HEAD + b": s3cr3t\r\n\r\n": "the name of a field is no token: '', it is empty",
    HEAD + b"Set-Cookie: id=s3cr3t\0\r\n\r\n": (
        "the value of field 'Set-Cookie' (of 10 bytes) is malformed, byte 10 is 0x00"
    ),
    HEAD + b" s3cr3t: y\r\n\r\n": "its first field begins with a blank",
    HEAD + b"Content-Length: s3cr3t\r\n\r\n": "its Content-Length is no number, or too large",
    HEAD + b"Content-Length: 5\r\nContent-Length: s3cr3t\r\n\r\n": (
        "its Content-Length is told more than once, and differently"
    ),
    HEAD + b"Transfer-Encoding: s3cr3t\r\n\r\n": "its Transfer-Encoding is not 'chunked', once",
    CHUNKED + b"s3cr3t body\r\n": (
        "a chunk line of 13 bytes has no size, or one too large: byte 1 is 0x73"
    ),
    CHUNKED + b"0" * 21 + b"\r\n": (
        "a chunk line of 23 bytes has no size, or one too large: byte 21 is 0x30"
    ),
    CHUNKED + b"5;s3cr3t\nhello\r\n": "a chunk line of 9 bytes ends with a bare LF",
    CHUNKED + b"3\r\ns3cr3t\r\n": "behind the data of a chunk byte 1 is 0x72",
    CHUNKED + b"3\r\nabc\rs3cr3t": "behind the data of a chunk byte 2 is 0x73",
    CHUNKED + b"0\r\nX: s3cr3t\0\r\n\r\n": (
        "the value of field 'X' (of 7 bytes) is malformed, byte 7 is 0x00"
    ),
    CHUNKED
    + b"0\r\nContent-Length: s3cr3t\r\n\r\n": "its Content-Length is no number, or too large",
    CHUNKED
    + b"0\r\nTransfer-Encoding: s3cr3t\r\n\r\n": "its Transfer-Encoding is not 'chunked', once",
}


@pytest.mark.parametrize("raw", NOT_LEGAL, ids=NOT_LEGAL.values())
async def test_what_is_not_legal_is_told_without_quoting_it(
    autojump_clock: object, raw: bytes
) -> None:
    error = await error_for(raw)
    assert isinstance(error, RemoteProtocolError)
    assert str(error) == (f"http://192.0.2.1:80 sent what is not legal HTTP/1.1: {NOT_LEGAL[raw]}")
    for link in chain(error):
        # h11's quote the line that they are about.
        assert not isinstance(link, h11.ProtocolError)
        assert "s3cr3t" not in repr(link)
    assert "s3cr3t" not in "".join(traceback.format_exception(error, chain=True))


async def test_the_name_of_a_field_is_told_up_to_100_characters(autojump_clock: object) -> None:
    error = await error_for(HEAD + b"X" * 60_000 + b": \0\r\n\r\n")
    assert f"'{'X' * 100}'" in str(error)


@pytest.mark.parametrize(
    "raw",
    [
        b"220 " + LONG + b"\r\n\r\n",
        HEAD + b"No colon " + LONG + b"\r\n\r\n",
        CHUNKED + b"wrong" + LONG + b"\r\n",
        b"\xff" * 60_000 + b"\r\n\r\n",
        HEAD + b"X: " + LONG * 2 + b"\r\n\r\n",
        HEAD + b"X: y\r\n" * 20_000,
    ],
    ids=["status line", "header", "chunk", "noise", "too long", "too many"],
)
async def test_a_long_line_makes_no_long_message(autojump_clock: object, raw: bytes) -> None:
    error = await error_for(raw)
    assert isinstance(error, RemoteProtocolError)
    for message in messages(error):
        assert len(message) < 150
    # And so neither a long page in a log.
    assert len("".join(traceback.format_exception(error))) < 20_000


@pytest.mark.parametrize(
    "record",
    [
        b"\x15",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\x15\x03\x03\x00\x02\x02\x28\r\n\r\n",
        b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(range(14, 200)) + b"\r\n\r\n",
    ],
    ids=["its first byte", "alert", "alert, more behind", "handshake"],
)
@pytest.mark.parametrize("end", ["keep", "close"])
async def test_who_speaks_tls_is_recognized(
    autojump_clock: object, record: bytes, end: str
) -> None:
    error = await error_for(Answer([record, b""], end), timeouts=Timeouts(read=5))
    assert "is it an https port?" in str(error)


# ── How far it came ────────────────────────────────────────────────────────────────────────────

BODIES = {
    "length": (HEAD + b"Content-Length: 9\r\n\r\nabc", "after 3 of the 9 bytes of the body"),
    "chunked": (CHUNKED + b"3\r\nabc\r\n", "after 3 bytes of a chunked body, before its end"),
    "nothing": (HEAD + b"Content-Length: 9\r\n\r\n", "after 0 of the 9 bytes of the body"),
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_body_that_breaks_off_says_how_far_it_came(
    autojump_clock: object, kind: str, end: str
) -> None:
    raw, how_far = BODIES[kind]
    error = await error_for(Answer([raw, b""], end))
    assert isinstance(error, ReadError)
    assert str(error).endswith(f", {how_far}")
    assert str(error).count("after") == 1


@pytest.mark.parametrize("kind", BODIES)
async def test_a_body_that_does_not_go_on_says_how_far_it_came(
    autojump_clock: object, kind: str
) -> None:
    raw, how_far = BODIES[kind]
    server = script(ReceiveRequest(), Send(raw), KeepOpen())
    async with serving(server) as (pool, _):
        async with pool.stream("GET", URL, timeouts=Timeouts(read=2)) as response:
            with pytest.raises(ReadTimeout) as caught:
                async for _ in response:
                    pass
            for _ in range(2):  # It is told again, and doesn't grow.
                with pytest.raises(ReadTimeout) as again:
                    await response.receive_some()
                assert again.value is caught.value
    assert str(caught.value) == f"http://192.0.2.1:80 sent nothing for 2 s, {how_far}"
