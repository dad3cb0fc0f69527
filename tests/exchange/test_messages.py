"""What errors say of what a server sent: enough to act on, short, and legible."""

# ruff: noqa: SIM117 - one line for the world, the next for what happens in it.
from __future__ import annotations

import traceback
from typing import Any

import pytest

from triopool import ReadError, ReadTimeout, RemoteProtocolError, Timeouts, TriopoolError
from triopool._http11 import MAX_QUOTED
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


def messages(error: BaseException) -> list[str]:
    """Of the error, and of all that is printed with it."""
    found = []
    link: BaseException | None = error
    while link is not None:
        found.append(str(link))
        link = link.__cause__ or link.__context__
    return found


@pytest.mark.parametrize(
    ("raw", "quoted"),
    [
        (b"220 ready for SMTP\r\n\r\n", "illegal status line: b'220 ready for SMTP'"),
        (b"\x1b[31mred\r\n\r\n", r"illegal status line: b'\x1b[31mred'"),
        (HEAD + b"No colon\r\n\r\n", "illegal header line: b'No colon'"),
        (HEAD + b"X\0: y\r\n\r\n", r"illegal header line: b'X\x00: y'"),
        (CHUNKED + b"wrong\x9b\r\n", r"illegal chunk header: b'wrong\x9b"),
        (b'it\'s "quoted"\r\n\r\n', "illegal status line: b'it\\'s \"quoted\"'"),
    ],
)
async def test_the_offending_line_is_quoted_and_escaped(
    autojump_clock: object, raw: bytes, quoted: str
) -> None:
    error = await error_for(raw)
    assert isinstance(error, RemoteProtocolError)
    assert f"sent what is not legal HTTP/1.1: {quoted}" in str(error)
    for message in messages(error):
        assert message.isascii()
        assert message.isprintable()


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
        assert len(message) < 150 + MAX_QUOTED
    # And so neither a long page in a log.
    assert len("".join(traceback.format_exception(error))) < 20_000


@pytest.mark.parametrize(
    "record",
    [
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\x15\x03\x03\x00\x02\x02\x28\r\n\r\n",
        b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(range(14, 200)) + b"\r\n\r\n",
    ],
    ids=["alert", "alert, more behind", "handshake"],
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
