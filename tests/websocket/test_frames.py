"""What a server may send, and what it may not: after the cases of the Autobahn test suite."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
import trio

from triopool.websocket import WebSocketBroken, connect

from .world import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    URL,
    Frame,
    Peer,
    close_frame,
    frame,
    serving,
)

FAREWELL = close_frame(1000)


async def hear(raw: bytes | Iterable[bytes]) -> tuple[list[str | bytes], int, int | None]:
    """What a client hears of *raw*; how it ended; and with which code it said farewell."""
    told: list[int | None] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        for piece in [raw] if isinstance(raw, bytes) else raw:
            await peer.send(piece)
            await trio.sleep(0.001)
        told.append((await peer.until_close())[0])

    heard: list[str | bytes] = []
    async with serving(serve) as pool:
        async with connect(pool, URL) as ws:
            try:
                async for message in ws:
                    heard.append(message)
            except WebSocketBroken:
                pass
            assert ws.closed is not None
            code = ws.closed.code
        await trio.sleep(1)  # The server reads our farewell.
    return heard, code, told[0] if told else None


def in_pieces(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


# ── 1, 9: lengths ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 300_000])
@pytest.mark.parametrize("kind", [TEXT, BINARY])
async def test_messages_of_every_length(
    kind: int, size: int, autojump_clock: trio.abc.Clock
) -> None:
    payload = b"*" * size
    message = payload.decode() if kind == TEXT else payload
    assert await hear(frame(kind, payload) + FAREWELL) == ([message], 1000, 1000)
    if size < 1000:
        pieces = in_pieces(frame(kind, payload) + FAREWELL, 1)
        assert await hear(pieces) == ([message], 1000, 1000)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("kind", [TEXT, BINARY])
async def test_what_is_sent_has_every_length(
    kind: int, size: int, autojump_clock: trio.abc.Clock
) -> None:
    seen: list[Frame] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        seen.append(await peer.receive())
        await peer.echo()

    payload = b"*" * size
    async with serving(serve) as pool, connect(pool, URL) as ws:
        await ws.send(payload.decode() if kind == TEXT else payload)
    assert seen == [Frame(kind, payload)]


# ── 2: pings ───────────────────────────────────────────────────────────────────────────────────


async def test_a_ping_is_answered_with_its_payload_also_while_nobody_receives(
    autojump_clock: trio.abc.Clock,
) -> None:
    seen: list[Frame] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        for payload in (b"", b"hello", bytes(range(125))):
            await peer.send(frame(PING, payload))
            seen.append(await peer.receive())
        await peer.echo()

    async with serving(serve) as pool, connect(pool, URL):
        await trio.sleep(1)
    assert seen == [Frame(PONG, b""), Frame(PONG, b"hello"), Frame(PONG, bytes(range(125)))]


async def test_of_many_pings_the_latest_one_is_answered(autojump_clock: trio.abc.Clock) -> None:
    seen: list[Frame] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        await peer.send(b"".join(frame(PING, b"%d" % number) for number in range(2000)))
        while (pong := await peer.receive()).payload != b"1999":
            seen.append(pong)
        await peer.echo()

    async with serving(serve) as pool, connect(pool, URL):
        await trio.sleep(1)
    assert len(seen) < 20


@pytest.mark.parametrize(
    "raw",
    [frame(PONG), frame(PONG, b"unasked"), frame(PONG, b"x" * 125)],
    ids=["empty", "short", "long"],
)
async def test_a_pong_that_nobody_asked_for_is_ignored(
    raw: bytes, autojump_clock: trio.abc.Clock
) -> None:
    assert await hear(raw + frame(TEXT, b"a") + FAREWELL) == (["a"], 1000, 1000)


# ── 5: fragments ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize("between", [b"", frame(PING, b"x"), frame(PONG)])
async def test_fragments_are_put_together_and_control_frames_come_between(
    between: bytes, size: int, autojump_clock: trio.abc.Clock
) -> None:
    for kind, whole in ((TEXT, "dreißig Fräulein 🙂"), (BINARY, bytes(range(20)))):
        assert isinstance(whole, str | bytes)
        payload = whole.encode() if isinstance(whole, str) else whole
        first, second = payload[:8], payload[8:]
        raw = b"".join(
            [
                frame(kind, first, fin=False),
                between,
                frame(CONTINUATION, b"", fin=False),
                between,
                frame(CONTINUATION, second),
                frame(TEXT, b"next"),
                FAREWELL,
            ]
        )
        assert await hear(in_pieces(raw, size)) == ([whole, "next"], 1000, 1000)


async def test_empty_fragments_are_an_empty_message(autojump_clock: trio.abc.Clock) -> None:
    raw = frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 5000 + frame(CONTINUATION)
    assert await hear(raw + FAREWELL) == ([""], 1000, 1000)


async def test_an_async_iterable_is_sent_in_fragments(autojump_clock: trio.abc.Clock) -> None:
    seen: list[Frame] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        while len(seen) < 6:
            seen.append(await peer.receive())
        await peer.echo()

    async def text():  # type: ignore[no-untyped-def]
        for piece in ("one", "", "zwei"):
            yield piece

    async def nothing():  # type: ignore[no-untyped-def]
        for piece in ():
            yield piece

    async def one():  # type: ignore[no-untyped-def]
        yield b"one"

    async with serving(serve) as pool, connect(pool, URL) as ws:
        for pieces in (text(), nothing(), one()):
            await ws.send(pieces)
        await ws.send(bytearray(b"whole"))
    assert seen == [
        Frame(TEXT, b"one", False),
        Frame(CONTINUATION, b"", False),
        Frame(CONTINUATION, b"zwei"),
        Frame(BINARY, b""),
        Frame(BINARY, b"one"),
        Frame(BINARY, b"whole"),
    ]


# ── 3, 4, 5: what is not legal ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "raw",
    [
        *(frame(TEXT, b"x", rsv=rsv) for rsv in range(1, 8)),
        *(frame(opcode, b"x") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        frame(PING, b"x" * 126),
        frame(PING, b"x", fin=False),
        frame(CLOSE, b"", fin=False),
        frame(CONTINUATION, b"x"),
        frame(CONTINUATION, b"x", fin=False),
        frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"),
        frame(TEXT, b"x", fin=False) + frame(BINARY, b"x"),
        bytes([0x81, 0x81, 1, 2, 3, 4, 5]),  # masked
        bytes([0x82, 126, 0, 5]) + b"12345",  # two bytes where one would do
        bytes([0x82, 127]) + struct.pack("!Q", 5) + b"12345",
        bytes([0x82, 127]) + struct.pack("!Q", 2**63) + b"12345",
        frame(CLOSE, b"x"),
        frame(CLOSE, b"\x03\xe8" + b"x" * 124),
        *(close_frame(code) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
    ],
    ids=lambda raw: raw[:12].hex(" "),
)
async def test_a_broken_rule_ends_it_with_1002(raw: bytes, autojump_clock: trio.abc.Clock) -> None:
    after = frame(TEXT, b"after")
    assert await hear(frame(TEXT, b"before") + raw + after) == (["before"], 1002, 1002)


# ── 6: text ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", ["", "κόσμε", "\x00", "\uffff", "\U0010ffff", "ü" * 70_000])
async def test_text_is_text_however_it_is_split(text: str, autojump_clock: trio.abc.Clock) -> None:
    raw = frame(TEXT, text.encode()) + FAREWELL
    for pieces in ([raw], in_pieces(raw, 1) if len(raw) < 100 else in_pieces(raw, 9999)):
        assert await hear(pieces) == ([text], 1000, 1000)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x80",
        b"\xff",
        b"\xc0\xaf",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"good \xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80 bad",
    ],
)
async def test_what_is_no_text_ends_it_with_1007(
    payload: bytes, autojump_clock: trio.abc.Clock
) -> None:
    assert await hear(frame(TEXT, payload) + FAREWELL) == ([], 1007, 1007)


async def test_what_is_no_text_is_seen_before_its_message_has_ended(
    autojump_clock: trio.abc.Clock,
) -> None:
    raw = frame(TEXT, b"fine", fin=False) + frame(CONTINUATION, b"\xff", fin=False)
    assert await hear(raw) == ([], 1007, 1007)


# ── 7: farewells ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 3000, 3999, 4000, 4999])
async def test_a_farewell_is_answered_with_its_code(
    code: int, autojump_clock: trio.abc.Clock
) -> None:
    raw = close_frame(code, "Grüße".encode()) + frame(TEXT, b"after")
    assert await hear(raw) == ([], code, code)


async def test_a_farewell_without_a_code_is_answered_without_one(
    autojump_clock: trio.abc.Clock,
) -> None:
    assert await hear(frame(TEXT, b"a") + frame(CLOSE)) == (["a"], 1005, None)


async def test_a_reason_that_is_no_text_is_not_accepted(autojump_clock: trio.abc.Clock) -> None:
    assert await hear(close_frame(1000, b"\xff")) == ([], 1007, 1007)
