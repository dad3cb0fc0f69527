"""What is made of what a server sends."""

# ruff: noqa: SIM117 - one line for the world, the next for what happens in it.
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any

import pytest
import trio
from inside import slip_in

from triopool import (
    ConnectionPool,
    PoolClosed,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    Response,
    StatusError,
    Timeouts,
)
from triopool.testing import KeepOpen, Network, ReceiveRequest, Send, Wait, script

from .world import URL, Answer, Answering, ok, serving, split_everywhere, whole

# ── Every shape, split everywhere (scenario 60) ────────────────────────────────────────────────


@dataclass(frozen=True)
class Shape:
    """A response and what is right for it."""

    raw: bytes
    body: bytes = b""
    status: int = 200
    method: str = "GET"
    reused: bool = True
    end: str = "keep"
    headers: tuple[tuple[str, str], ...] = ()
    trailers: tuple[tuple[str, str], ...] = ()
    informational: tuple[int, ...] = ()


def head(*lines: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status}", *lines, "", ""]).encode("latin-1")


LENGTH_5 = head("Content-Length: 5") + b"hello"
CHUNKED = head("Transfer-Encoding: chunked") + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"

SHAPES = {
    "Content-Length": Shape(LENGTH_5, b"hello"),
    "empty": Shape(head("Content-Length: 0")),
    "chunked": Shape(CHUNKED, b"hello"),
    "chunked, empty": Shape(head("Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    "chunked, with extensions and trailers": Shape(
        head("Transfer-Encoding: chunked", "Trailer: X")
        + b'3;a;b="c"\r\nhel\r\n0002\r\nlo\r\n0;z\r\nX: 1\r\nx: 2\r\n\r\n',
        b"hello",
        trailers=(("X", "1"), ("x", "2")),
    ),
    "HTTP/1.0, ended by the close": Shape(
        head(version="1.0") + b"hello", b"hello", reused=False, end="close"
    ),
    "HTTP/1.1, ended by the close": Shape(head() + b"hello", b"hello", reused=False, end="close"),
    "HTTP/1.0 with a length": Shape(
        head("Content-Length: 5", version="1.0") + b"hello", b"hello", reused=False
    ),
    "Connection: close": Shape(
        head("Content-Length: 5", "Connection: close") + b"hello", b"hello", reused=False
    ),
    "HEAD": Shape(head("Content-Length: 5"), method="HEAD"),
    "HEAD, chunked": Shape(head("Transfer-Encoding: chunked"), method="HEAD"),
    "304, chunked": Shape(
        head("Transfer-Encoding: chunked", status="304 Not Modified"), status=304
    ),
    "204": Shape(head(status="204 No Content"), status=204),
    "204 with a length of 0": Shape(head("Content-Length: 0", status="204 No Content"), status=204),
    "304": Shape(head("Content-Length: 5", status="304 Not Modified"), status=304),
    "no reason": Shape(b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
    "1xx before it": Shape(
        head(status="100 Continue")
        + head("Link: </a>", status="103 Early Hints")
        + head(status="102 Processing")
        + LENGTH_5,
        b"hello",
        informational=(100, 103, 102),
    ),
    "keep-alive": Shape(
        head("Content-Length: 5", "Connection: keep-alive", "Keep-Alive: timeout=5, max=99")
        + b"hello",
        b"hello",
    ),
    "repeated fields": Shape(
        head("Content-Length: 0", "Set-Cookie: a=b", "set-cookie: c=d", "X: \xe9"),
        headers=(("Set-Cookie", "a=b"), ("set-cookie", "c=d"), ("X", "é")),
    ),
    # Delivered, then closed (scenario 57): others may read differently what was sent.
    "the same length twice": Shape(
        head("Content-Length: 5", "Content-Length: 5") + b"hello", b"hello", reused=False
    ),
    "the same length twice in one field": Shape(
        head("Content-Length: 5, 5") + b"hello", b"hello", reused=False
    ),
    "no space behind the status": Shape(
        b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", b"hello", reused=False
    ),
    "a control character in a value": Shape(
        head("X: a\x01b", "Content-Length: 5") + b"hello",
        b"hello",
        reused=False,
        headers=(("X", "a\x01b"),),
    ),
    "a control character in the reason": Shape(
        head("Content-Length: 5", status="200 O\x1bK") + b"hello", b"hello", reused=False
    ),
    "204 with a length": Shape(
        head("Content-Length: 5", status="204 No Content"), status=204, reused=False
    ),
    "204, chunked": Shape(
        head("Transfer-Encoding: chunked", status="204 No Content"), status=204, reused=False
    ),
    "a 1xx with a length": Shape(
        head("Content-Length: 5", status="103 Early Hints") + LENGTH_5,
        b"hello",
        reused=False,
        informational=(103,),
    ),
    "a 1xx, chunked": Shape(
        head("Transfer-Encoding: chunked", status="103 Early Hints") + LENGTH_5,
        b"hello",
        reused=False,
        informational=(103,),
    ),
    "bare LF in trailers": Shape(
        head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\nX: y\n\r\n",
        b"hello",
        reused=False,
        trailers=(("X", "y"),),
    ),
    "bare LF behind trailers": Shape(
        head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\n", b"hello", reused=False
    ),
    "obs-fold in trailers": Shape(
        head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\nX: a\r\n\tb\r\n\r\n",
        b"hello",
        reused=False,
        trailers=(("X", "a b"),),
    ),
    "a length in trailers": Shape(
        head("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        b"hello",
        reused=False,
        trailers=(("Content-Length", "5"),),
    ),
    "CR in a chunk extension": Shape(
        head("Transfer-Encoding: chunked") + b"5;a\r\r\nhello\r\n0\r\n\r\n", b"hello", reused=False
    ),
    "NUL in a chunk extension": Shape(
        head("Transfer-Encoding: chunked") + b"5;a=\0\r\nhello\r\n0\r\n\r\n",
        b"hello",
        reused=False,
    ),
    "an open quote in a chunk extension": Shape(
        head("Transfer-Encoding: chunked") + b'5;a="b\r\nhello\r\n0\r\n\r\n',
        b"hello",
        reused=False,
    ),
    "an open quote behind the last chunk": Shape(
        head("Transfer-Encoding: chunked") + b'5\r\nhello\r\n0;a="b\r\n\r\n',
        b"hello",
        reused=False,
    ),
    "blanks behind a chunk size": Shape(
        head("Transfer-Encoding: chunked") + b"5 \t\r\nhello\r\n0\r\n\r\n",
        b"hello",
        reused=False,
    ),
    "obs-fold": Shape(
        head("X: a", " b", "Content-Length: 5") + b"hello",
        b"hello",
        reused=False,
        headers=(("X", "a b"),),
    ),
    "bare LF": Shape(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello", reused=False),
    "bare LF in one line": Shape(
        b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 5\r\n\r\nhello", b"hello", reused=False
    ),
    "bare LF in a 1xx": Shape(
        b"HTTP/1.1 100 Continue\n\n" + LENGTH_5, b"hello", reused=False, informational=(100,)
    ),
    "Transfer-Encoding and Content-Length": Shape(
        head("Transfer-Encoding: chunked", "Content-Length: 3") + b"5\r\nhello\r\n0\r\n\r\n",
        b"hello",
        reused=False,
    ),
    "HTTP/1.0, chunked": Shape(
        head("Transfer-Encoding: chunked", version="1.0") + b"5\r\nhello\r\n0\r\n\r\n",
        b"hello",
        reused=False,
    ),
    "HTTP/2.0": Shape(head("Content-Length: 5", version="2.0") + b"hello", b"hello", reused=False),
    "Keep-Alive: timeout=0": Shape(
        head("Content-Length: 0", "Keep-Alive: timeout=0"), reused=False
    ),
    "Keep-Alive: max=0": Shape(head("Content-Length: 0", "Keep-Alive: max=0"), reused=False),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SHAPES)
async def test_a_response_is_the_same_however_it_is_split(
    autojump_clock: object, name: str
) -> None:
    shape = SHAPES[name]
    async with Network() as network:
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, idle_timeout=None
        ) as pool:
            for pieces in split_everywhere(shape.raw):
                await see(pool, network, shape, pieces)


async def see(
    pool: ConnectionPool, network: Network, shape: Shape, pieces: Sequence[bytes]
) -> None:
    network.listen("192.0.2.1", 80, Answering(Answer(pieces, shape.end)))
    seen: list[int] = []
    response = await pool.request(
        shape.method, URL, on_informational=lambda status, headers: seen.append(status)
    )
    assert (response.status_code, response.content) == (shape.status, shape.body)
    assert tuple(response.trailers.items()) == shape.trailers
    assert tuple(seen) == shape.informational
    for name, value in shape.headers:
        assert value in response.headers.getall(name)
    assert pool.statistics().open == int(shape.reused)
    second = await pool.get(URL + "/next")
    assert second.content == b"/next"
    assert second.connection.reused == shape.reused
    pool.close_idle()


REFUSED = {
    "two lengths": head("Content-Length: 5", "Content-Length: 6") + b"hello!",
    "a signed length": head("Content-Length: +5") + b"hello",
    "a length of 21 digits": head("Content-Length: " + "9" * 21),
    "NUL in a value": head("X: a\0b", "Content-Length: 0"),
    "NUL in a name": head("X\0: a", "Content-Length: 0"),
    "CR in a value": head("X: a\rb", "Content-Length: 0"),
    "space before the colon": head("X : a", "Content-Length: 0"),
    "no colon": head("X", "Content-Length: 0"),
    "a fold at the beginning": head(" X: y", "Content-Length: 0"),
    "another coding": head("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "two codings": head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "a blank line first": b"\r\n" + LENGTH_5,
    "not HTTP": b"220 ready for \x1b[31mSMTP\r\n\r\n",
    "a status of two digits": head("Content-Length: 0", status="20 OK"),
    "CR without LF behind a status line": b"HTTP/1.1 200 OK\rX: y\r\n\r\n",
    "two CR behind a line": b"HTTP/1.1 200 OK\r\r\n\r\n",
    "VT in a value": head("X: a\x0bb", "Content-Length: 0"),
    "FF in a value": head("X: \x0c", "Content-Length: 0"),
    "FF in the reason": head("Content-Length: 0", status="200 O\x0cK"),
    "an empty name": head(": y", "Content-Length: 0"),
    "a status of less than 100": head("Content-Length: 0", status="099 x"),
    "an empty length": head("Content-Length: "),
    "a length and nothing": head("Content-Length: 5,") + b"hello",
    "lengths that are written differently": head("Content-Length: 5, 05") + b"hello",
    "the same coding twice in one field": head("Transfer-Encoding: chunked, chunked"),
    "blanks before a chunk extension": head("Transfer-Encoding: chunked") + b"5 ;a\r\n",
    "a chunk size with a prefix": head("Transfer-Encoding: chunked") + b"0x5\r\n",
    "a negative chunk size": head("Transfer-Encoding: chunked") + b"-5\r\n",
    "no chunk size": head("Transfer-Encoding: chunked") + b";a\r\n",
    "an empty chunk line": head("Transfer-Encoding: chunked") + b"\r\n",
    "a chunk size of 21 digits": head("Transfer-Encoding: chunked") + b"0" * 20 + b"5\r\n",
    "a bare LF behind a chunk size": head("Transfer-Encoding: chunked") + b"5\nhello\r\n",
    "a bare LF behind an extension": head("Transfer-Encoding: chunked") + b"5;a\nhello\r\n",
    "a fold in the first trailer": head("Transfer-Encoding: chunked") + b"0\r\n X: y\r\n\r\n",
    "101": head("Upgrade: x", status="101 Switching Protocols") + b"early",
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_not_legal_is_refused_however_it_is_split(
    autojump_clock: object, name: str
) -> None:
    messages = set()
    async with Network() as network:
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, idle_timeout=None
        ) as pool:
            for pieces in split_everywhere(REFUSED[name]):
                network.listen("192.0.2.1", 80, Answering(Answer(pieces)))
                with pytest.raises(RemoteProtocolError) as caught:
                    await pool.get(URL)
                messages.add(str(caught.value))
                assert not network.open_sockets
                assert pool.statistics().open == 0
                assert (await pool.get(URL + "/next")).content == b"/next"
                pool.close_idle()
    for message in messages:
        assert message.startswith("http://192.0.2.1:80 sent ")
        assert message.isascii()
        assert message.isprintable()
        assert len(message) < 400


async def test_101_is_refused_clearly(autojump_clock: object) -> None:
    """Not asked for, it is none of the client's: see test_upgrade.py."""
    async with serving(Answering(REFUSED["101"])) as (pool, network):
        with pytest.raises(
            RemoteProtocolError, match=r"101 Switching Protocols, which was not aske"
        ):
            await pool.get(URL)
        assert not network.open_sockets


async def test_a_body_that_is_not_legal_breaks_off_behind_what_came_before(
    autojump_clock: object,
) -> None:
    raw = head("Transfer-Encoding: chunked") + b"3\r\nhel\r\nxyz\r\n"
    for pieces in split_everywhere(raw):
        if pieces != [raw] and pieces[0] != raw[:-1]:
            continue
        async with serving(Answering(Answer(pieces))) as (pool, network):
            async with pool.stream("GET", URL) as response:
                assert response.status_code == 200
                assert await response.receive_some() == b"hel"
                for _ in range(2):
                    with pytest.raises(
                        RemoteProtocolError, match="a chunk line of 5 bytes has no size"
                    ):
                        await response.receive_some()
                with pytest.raises(RemoteProtocolError):
                    await response.read()
            assert not network.open_sockets


# ── Bounds (scenario 55) ───────────────────────────────────────────────────────────────────────


def endless(first: bytes, repeated: bytes) -> Any:
    async def forever(conversation: Any) -> None:
        await conversation.stream.send_all(first)
        while True:
            await conversation.stream.send_all(repeated)

    return script(ReceiveRequest(), forever)


CHUNKED_HEAD = head("Transfer-Encoding: chunked")


def of_size(size: int, fields: int = 1000) -> bytes:
    """A head of exactly *size* bytes, in at most so many fields and two."""
    start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", b"\r\n"
    left = size - len(start) - len(end)
    lines = [b"X: " + b"y" * 995 + b"\r\n"] * min(left // 1000 - 1, fields)
    last = left - 1000 * len(lines)
    return b"".join([start, *lines, b"X: ", b"y" * (last - 5), b"\r\n", end])


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (endless(b"", head(status="102 Processing")), "more than 20 informational"),
        (endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "head of more than 65536 bytes"),
        (endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000), "head of more than 65536 bytes"),
        (endless(b"HTTP/1.1 200 ", b"y" * 1000), "head of more than 65536 bytes"),
        (endless(CHUNKED_HEAD + b"1;", b"x" * 1000), "chunk line of more than 65536 bytes"),
        (endless(CHUNKED_HEAD, b"0"), "chunk line of more than 65536 bytes"),
        (endless(CHUNKED_HEAD + b"0\r\n", b"X: y\r\n"), "head of more than 65536 bytes"),
        (endless(b"", b"y" * 1000), "does not begin with 'HTTP/'"),
        (endless(of_size(1 << 20, fields=1), b""), "head of more than 65536 bytes"),
    ],
    ids=[
        "1xx",
        "fields",
        "value",
        "reason",
        "extension",
        "size",
        "trailers",
        "noise",
        "1 MB header",
    ],
)
async def test_what_never_ends_is_a_bounded_error(
    autojump_clock: object, server: Any, message: str
) -> None:
    async with serving(server) as (pool, network):
        with pytest.raises(RemoteProtocolError, match=message) as caught:
            await pool.get(URL)
        assert len(str(caught.value)) < 400
        assert not network.open_sockets


@pytest.mark.parametrize("gap", [False, True], ids=["whole", "in two"])
async def test_a_head_may_have_64_kib_and_not_a_byte_more(
    autojump_clock: object, gap: bool
) -> None:
    for size, fits in ((65536, True), (65537, False), (100_000, False)):
        raw = of_size(size)
        assert len(raw) == size
        pieces = [raw[:60_000], raw[60_000:]] if gap else [raw]
        async with serving(Answering(Answer(pieces)), buffer_size=1 << 20) as (pool, _):
            if fits:
                assert (await pool.get(URL)).status_code == 200
            else:
                with pytest.raises(RemoteProtocolError, match="head of more than 65536 bytes"):
                    await pool.get(URL)


@pytest.mark.parametrize(
    "raw",
    [
        head(*["X: y"] * 255, "Content-Length: 0"),
        head(*["X: y"] * 200, status="103 Early Hints") + head(*["X: y"] * 55, "Content-Length: 0"),
        head(*["X: y"] * 200, "Transfer-Encoding: chunked") + b"0\r\n" + b"X: y\r\n" * 55 + b"\r\n",
    ],
    ids=["head", "1xx", "trailers"],
)
async def test_256_fields_are_enough(autojump_clock: object, raw: bytes) -> None:
    one_more = raw.replace(b"X: y\r\n", b"X: y\r\nX: y\r\n", 1)
    async with serving(Answering(raw, one_more)) as (pool, _):
        assert (await pool.get(URL)).status_code == 200
        with pytest.raises(RemoteProtocolError, match="sent 257 fields, more than 256"):
            await pool.get(URL)


async def test_1xx_and_trailers_count_as_the_head_they_are(autojump_clock: object) -> None:
    big = "X: " + "y" * 30_000
    hints = head(big, status="103 Early Hints")
    trailers = big.encode() + b"\r\n\r\n"
    chunked = head("Transfer-Encoding: chunked") + b"0\r\n"
    for raw, fits in (
        (hints + hints + LENGTH_5, True),
        (hints + hints + hints + LENGTH_5, False),
        (hints + chunked + trailers, True),
        (hints + hints + chunked + trailers, False),
    ):
        async with serving(Answering(raw), buffer_size=1 << 20) as (pool, _):
            if fits:
                assert (await pool.get(URL)).status_code == 200
            else:
                with pytest.raises(RemoteProtocolError, match="head of more than 65536 bytes"):
                    await pool.get(URL)


@pytest.mark.parametrize(
    ("raw", "limit", "fits"),
    [
        (LENGTH_5, 5, True),
        (LENGTH_5, 4, False),
        (CHUNKED, 5, True),
        (CHUNKED, 4, False),
        (head("Content-Length: 0"), 0, True),
        (head("Content-Length: 5", status="304 Not Modified"), 0, True),
    ],
)
async def test_a_body_may_be_bounded(
    autojump_clock: object, raw: bytes, limit: int, fits: bool
) -> None:
    for pieces in split_everywhere(raw):
        if len(pieces) == 2:
            continue
        async with serving(Answering(Answer(pieces))) as (pool, network):
            if fits:
                await pool.get(URL, max_body_bytes=limit)
            else:
                with pytest.raises(RemoteProtocolError, match=f"more than max_body_bytes={limit}"):
                    await pool.get(URL, max_body_bytes=limit)
                assert not network.open_sockets


async def test_a_bound_on_the_body_is_none_on_what_head_tells_of_it(autojump_clock: object) -> None:
    async with serving(Answering(head("Content-Length: 5"))) as (pool, _):
        assert (await pool.head(URL, max_body_bytes=0)).headers["content-length"] == "5"


# ── Reuse ──────────────────────────────────────────────────────────────────────────────────────


async def test_two_requests_use_one_connection(autojump_clock: object) -> None:
    """Scenario 20."""
    async with serving(Answering()) as (pool, network):
        first = await pool.get(URL + "/1")
        second = await pool.get(URL + "/2")
        assert (first.content, second.content) == (b"/1", b"/2")
        assert (first.connection.reused, second.connection.reused) == (False, True)
        assert first.connection.id == second.connection.id
        assert first.connection.id == 1
        assert network.connections_accepted("192.0.2.1", 80) == 1


@pytest.mark.parametrize("headers", [{"Connection": "close"}, {"connection": "x, Close"}])
async def test_what_we_said_about_the_close_counts(autojump_clock: object, headers: Any) -> None:
    """Scenario 21: even if the server ignores it."""
    async with serving(Answering()) as (pool, network):
        assert (await pool.get(URL + "/1", headers=headers)).content == b"/1"
        assert not network.open_sockets
        assert pool.statistics().discarded == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_server_that_closes_without_saying_so(autojump_clock: object, method: str) -> None:
    """Scenario 22. The close has arrived when the next request looks, so nothing is lost."""
    server = Answering(*[whole(ok(b"%d" % i), "close") for i in range(5)])
    async with serving(server) as (pool, _):
        for i in range(5):
            response = await pool.request(method, URL)
            assert response.content == b"%d" % i
            await trio.sleep(0.1)
        assert len(server.requests) == 5
        assert pool.statistics().retried == 0


async def test_a_waiter_is_not_handed_a_connection_that_was_closed_behind_the_response(
    autojump_clock: object,
) -> None:
    server = Answering(whole(head() + b"1", "close"), whole(ok(b"2"), "close"), ok(b"3") + b"!")
    async with serving(server, max_connections=1) as (pool, _):
        bodies = []

        async def post(delay: float) -> None:
            await trio.sleep(delay)
            bodies.append((await pool.post(URL)).content)

        async with trio.open_nursery() as nursery:
            for i in range(4):
                nursery.start_soon(post, i / 1000)
        assert bodies == [b"1", b"2", b"3", b"/"]
        assert (len(server.requests), server.connections) == (4, 4)


@pytest.mark.parametrize("behind", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_who_waits_is_not_handed_what_came_at_once_behind_the_response(
    autojump_clock: object, behind: bytes
) -> None:
    """It looks for itself before it writes, and goes to another connection."""
    server = Answering(Answer([]))
    async with serving(server, max_connections=1) as (pool, network):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.get, URL)
            await trio.sleep(1)

            @nursery.start_soon
            async def _() -> None:
                assert (await pool.post(URL + "/2")).content == b"/2"

            await trio.sleep(1)
            # In one moment, in two packets: the second one was not read with the first.
            (end,) = network.open_server_sockets
            end.send_nowait(ok(bytes(65536 - 42))[:65536])
            if behind:
                slip_in(network.open_sockets[0], behind)
            else:
                end.close()
        assert (pool.statistics().stale, pool.statistics().retried) == (1, 1)
        assert (len(server.requests), server.connections) == (2, 2)


@pytest.mark.parametrize(
    "stray",
    [
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ok(b"not yours"),
        b"\r\n",
    ],
)
async def test_what_comes_on_an_idle_connection_closes_it(
    autojump_clock: object, stray: bytes
) -> None:
    """Scenario 23."""
    async with serving(Answering()) as (pool, network):
        await pool.get(URL + "/1")
        await network.open_server_sockets[0].send(stray)
        assert (await pool.get(URL + "/2")).content == b"/2"
        assert network.connections_accepted("192.0.2.1", 80) == 2
        assert pool.statistics().stale == 1


@pytest.mark.parametrize("stray", [b"\r\n", b"x", ok(b"not yours")])
async def test_what_comes_behind_a_response_is_nobodys(
    autojump_clock: object, stray: bytes
) -> None:
    """Scenario 59."""
    async with serving(Answering(LENGTH_5 + stray)) as (pool, network):
        assert (await pool.get(URL)).content == b"hello"
        assert not network.open_sockets
        assert (await pool.get(URL + "/2")).content == b"/2"


async def test_busy_connections_are_not_idle_ones(autojump_clock: object) -> None:
    """Scenario 26: how many are busy has no influence on how many stay idle."""
    server = Answering(*[Answer([LENGTH_5[:-1], LENGTH_5[-1:]])] * 60)
    async with serving(server, max_connections=100) as (pool, _):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(pool.get, URL)
        assert pool.statistics().idle == 50
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(pool.get, URL)
        assert pool.statistics().idle == 50


@pytest.mark.parametrize(
    ("field", "good", "late"),
    [
        ("Keep-Alive: timeout=5", 3.9, 4.1),
        ("Keep-Alive: timeout=5, max=100", 3.9, 4.1),
        ("keep-alive: max=100 , Timeout = 5", 3.9, 4.1),
        ("Keep-Alive: timeout=1", 0.4, 0.6),
        ("Keep-Alive: timeout=2", 0.9, 1.1),
        ("Keep-Alive: timeout=x, nonsense", 14.9, 15.1),
        ("Keep-Alive: timeout=99999999999999999999", 14.9, 15.1),
        ("Keep-Alive: timeout=5, " + "too long, " * 30, 14.9, 15.1),
    ],
)
async def test_what_the_server_says_about_its_patience_is_kept_with_a_margin(
    autojump_clock: object, field: str, good: float, late: float
) -> None:
    """Scenario 27: what leaves us in time must also arrive in time."""
    answer = ok(b"", field.encode())
    for seconds, reused in ((good, True), (late, False)):
        async with serving(Answering(answer)) as (pool, _):
            await pool.get(URL)
            await trio.sleep(seconds)
            assert (await pool.get(URL)).connection.reused is reused


# ── Cut off ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "without sending a response|broke"),
        (b"HTTP/1.1 200 OK\r\nX:", "in the middle of a head, after 19 bytes|broke"),
        (head(status="100 Continue"), "in the middle of a head, after 25 bytes|broke"),
        (
            head("Content-Length: 1000") + b"x" * 100,
            "in the middle of the response, after 100 of the 1000 bytes|broke.*, after 100",
        ),
        (
            head("Transfer-Encoding: chunked") + b"5\r\nhe",
            "after 2 bytes of a chunked body, before its end",
        ),
        (CHUNKED[:-2], "after 5 bytes of a chunked body, before its end"),
    ],
)
async def test_a_response_that_is_cut_is_an_error_that_says_where(
    autojump_clock: object, raw: bytes, message: str, end: str
) -> None:
    """Scenario 53."""
    async with serving(Answering(Answer([raw, b""], end))) as (pool, network):
        with pytest.raises(ReadError, match=message) as caught:
            await pool.get(URL)
        assert (caught.value.phase, str(caught.value.origin)) == ("read", "http://192.0.2.1:80")
        assert caught.value.__cause__ is not None
        assert not network.open_sockets


async def test_a_body_that_was_cut_never_looks_complete(autojump_clock: object) -> None:
    for pieces in (
        [head("Content-Length: 9"), b"part"],
        [head("Content-Length: 9") + b"part", b""],
    ):
        async with serving(Answering(Answer(pieces, "close"))) as (pool, _):
            async with pool.stream("GET", URL) as response:
                assert await response.receive_some() == b"part"
                for _ in range(3):
                    with pytest.raises(ReadError):
                        await response.receive_some()
                with pytest.raises(ReadError):
                    await response.read()
                with pytest.raises(RuntimeError, match="was read as a stream"):
                    _ = response.content


async def test_a_piece_that_comes_together_with_the_cut_does_not_look_like_the_whole(
    autojump_clock: object,
) -> None:
    """read_all() had a short cut for one piece, which took it for the body."""
    raw = head("Transfer-Encoding: chunked")
    async with serving(Answering(Answer([raw, b"3\r\nhel\r\nnonsense\r\n"]))) as (pool, _):
        async with pool.stream("GET", URL) as response:
            assert await response.receive_some(1) == b"h"
            for _ in range(2):
                with pytest.raises((RemoteProtocolError, trio.ClosedResourceError)):
                    await response.read()


# ── Time (scenario 61) ─────────────────────────────────────────────────────────────────────────


def slowly(gap: float, *pieces: bytes) -> Any:
    steps = [step for piece in pieces for step in (Wait(gap), Send(piece))]
    return script(ReceiveRequest(), *steps, KeepOpen())


async def test_four_pieces_each_in_time_are_in_time(autojump_clock: object) -> None:
    raw = head("Content-Length: 4")
    server = slowly(2.9, raw[:9], raw[9:], b"1", b"2", b"3", b"4")
    async with serving(server) as (pool, _):
        response = await pool.get(URL, timeouts=Timeouts(read=3))
        assert response.content == b"1234"
        assert trio.current_time() == pytest.approx(6 * 2.9)


@pytest.mark.parametrize(
    ("pieces", "after", "received"),
    [
        ((), 3.0, r" \(0 bytes received so far"),
        ((b"HTTP/1.1 ",), 5.0, r" \(9 bytes received so far"),
        ((head(status="102 Processing"),), 5.0, r" \(27 bytes received so far"),
        ((head("Content-Length: 4"), b"12"), 7.0, ", after 2 of the 4 bytes of the body"),
        ((head("Connection: close"), b"12"), 7.0, ", after 2 bytes of the body, whose length"),
    ],
)
async def test_a_gap_that_is_too_long_is_too_long(
    autojump_clock: object, pieces: tuple[bytes, ...], after: float, received: str
) -> None:
    async with serving(slowly(2.0, *pieces)) as (pool, network):
        with pytest.raises(ReadTimeout, match=f"nothing for 3 s{received}") as caught:
            await pool.get(URL, timeouts=Timeouts(read=3))
        assert trio.current_time() == after
        assert (caught.value.seconds, caught.value.phase) == (3, "read")
        assert isinstance(caught.value, trio.TooSlowError)
        assert not network.open_sockets


async def test_without_timeouts_there_are_none(autojump_clock: object) -> None:
    never = Timeouts(pool=None, connect=None, read=None, write=None)
    raw = head("Content-Length: 4")
    async with serving(slowly(10_000, raw, b"12", b"34")) as (pool, _):
        assert (await pool.post(URL, content=bytes(100_000), timeouts=never)).content == b"1234"
    async with serving(slowly(10_000, raw, b"12", b"34")) as (pool, _):
        assert (await pool.get(URL, timeouts=never)).content == b"1234"


async def test_a_caller_may_take_his_time(autojump_clock: object) -> None:
    """The read timeout is about the server."""
    raw = head("Content-Length: 300000")
    async with serving(Answering(Answer([raw + bytes(300_000)]))) as (pool, _):
        async with pool.stream("GET", URL, timeouts=Timeouts(read=1)) as response:
            size = 0
            async for piece in response:
                size += len(piece)
                await trio.sleep(100)
        assert size == 300_000


# ── The response as an object ──────────────────────────────────────────────────────────────────


async def get(raw: bytes, method: str = "GET", path: str = "/", end: str = "keep") -> Response:
    async with serving(Answering(whole(raw, end))) as (pool, _):
        return await pool.request(method, URL + path)


async def test_the_head_is_told(autojump_clock: object) -> None:
    response = await get(
        head("Content-Length: 2", "X-A: 1", "x-a: 2", "Y: \xe4", status="299 A\xe4") + b"ok",
        path="/x?y#z",
    )
    assert (response.status_code, response.reason, response.http_version) == (299, "Aä", "1.1")
    assert response.is_success
    assert response.raise_for_status() is response
    assert response.url == "http://192.0.2.1/x?y"
    assert response.method == "GET"
    assert response.headers["CONTENT-LENGTH"] == "2"
    assert response.headers.getall("X-A") == ["1", "2"]
    assert response.headers["y"] == "ä"
    assert (b"x-a", b"2") in response.raw_headers
    assert (b"Y", b"\xe4") in response.raw_headers
    assert not response.trailers
    assert response.connection.remote_address == ("192.0.2.1", 80)
    assert repr(response) == "<Response [299] to GET http://192.0.2.1:80>"


@pytest.mark.parametrize(
    ("content_type", "body", "encoding", "text"),
    [
        (None, "ä".encode(), "utf-8", "ä"),
        ("text/plain", "ä".encode(), "utf-8", "ä"),
        ("text/plain; charset=latin-1", b"\xe4", "latin-1", "ä"),
        ('text/plain; a=b; CHARSET="ISO-8859-1"', b"\xe4", "iso-8859-1", "ä"),
        ("text/plain; charset=utf-8", b"a\xff", "utf-8", "a�"),
        ("text/plain; charset=utf-16-le", b"a\0", "utf-16-le", "a"),
        ("text/plain; charset=nonsense", "ä".encode(), "utf-8", "ä"),
        ("text/plain; charset=hex", b"61", "utf-8", "61"),
        ("text/plain; charset=idna", b"xn--a", "utf-8", "xn--a"),
        ("text/plain; charset=undefined", b"a", "utf-8", "a"),
        ("text/plain; charset*=utf-8''%00", b"a", "utf-8", "a"),
        ("text/plain; charset=", b"a", "utf-8", "a"),
        ("; charset", b"a", "utf-8", "a"),
    ],
)
async def test_text_is_decoded_as_the_server_says_if_it_makes_sense(
    autojump_clock: object, content_type: str | None, body: bytes, encoding: str, text: str
) -> None:
    fields = [] if content_type is None else [f"Content-Type: {content_type}".encode()]
    response = await get(ok(body, *fields))
    assert response.encoding == encoding
    assert response.text == text


async def test_json_is_decoded(autojump_clock: object) -> None:
    assert (await get(ok('{"ä": 1}\n'.encode()))).json() == {"ä": 1}
    for raw in (b"", b"<html>", b"\xff\xfe\xfd"):
        response = await get(ok(raw))
        with pytest.raises(ValueError, match=r"Expecting|can't decode"):
            response.json()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
async def test_json_that_is_nested_too_deep_is_a_value_error(
    autojump_clock: object, encoding: str
) -> None:
    response = await get(ok(("[" * 30_000).encode(encoding)))
    with pytest.raises(JSONDecodeError, match="nested too deep") as caught:
        response.json()
    assert caught.value.doc == "[" * 30_000
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("404 Not here", "GET http://192.0.2.1:80/x was answered with 404 Not here"),
        ("500 ", "500 Internal Server Error"),
        ("599 ", "with 599$"),
        ("400 \x1b[31m\xe4", r"with 400 \\x1b\[31m\\xe4$"),
        ("400 " + "x" * 1000, "with 400 x{100}$"),
    ],
)
async def test_a_bad_status_can_be_raised(
    autojump_clock: object, status: str, message: str
) -> None:
    response = await get(head("Content-Length: 4", status=status) + b"body", path="/x?SECRET")
    assert not response.is_success
    with pytest.raises(StatusError, match=message) as caught:
        response.raise_for_status()
    assert caught.value.response is response
    assert caught.value.response.content == b"body"
    assert "SECRET" not in str(caught.value)


async def test_trailers_are_there_when_the_body_has_been_read(autojump_clock: object) -> None:
    raw = head("Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\nDigest: 1\r\n\r\n"
    async with serving(Answering(Answer([raw[:-20], raw[-20:]]))) as (pool, _):
        async with pool.stream("GET", URL) as response:
            assert not response.trailers
            assert await response.read() == b"x"
            assert response.trailers["digest"] == "1"


# ── The response as a stream ───────────────────────────────────────────────────────────────────


async def test_a_response_is_a_receive_stream(autojump_clock: object) -> None:
    async with serving(Answering(Answer([head("Content-Length: 6"), b"abc", b"def"]))) as (pool, _):
        async with pool.stream("GET", URL) as response:
            assert isinstance(response, trio.abc.ReceiveStream)
            assert [piece async for piece in response] == [b"abc", b"def"]
            assert await response.receive_some() == b""
            assert await response.receive_some() == b""
            assert pool.statistics().idle == 1


async def test_pieces_are_as_large_as_is_asked(autojump_clock: object) -> None:
    async with serving(Answering(LENGTH_5)) as (pool, _):
        async with pool.stream("GET", URL) as response:
            assert await response.receive_some(2) == b"he"
            assert await response.receive_some(1) == b"l"
            assert await response.read() == b"lo"
            assert await response.read() == response.content == b"lo"
            for wrong in (0, -1):
                with pytest.raises(ValueError, match="max_bytes must be at least 1"):
                    await response.receive_some(wrong)
            with pytest.raises(RuntimeError, match="read already"):
                await response.receive_some()


async def test_every_call_is_a_checkpoint(autojump_clock: object) -> None:
    async with serving(Answering(LENGTH_5)) as (pool, _):
        async with pool.stream("GET", URL) as response:
            with trio.testing.assert_checkpoints():
                await response.receive_some(2)
            with trio.testing.assert_checkpoints():
                await response.read()
            with trio.testing.assert_checkpoints():
                await response.read()
            with trio.testing.assert_checkpoints():
                await response.aclose()
            with trio.testing.assert_checkpoints():
                await response.aclose()


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5, 2.5])
async def test_a_cancelled_read_loses_no_byte(autojump_clock: object, seconds: float) -> None:
    """At 1.0 s, the piece and the cancellation come in one tick, in either order."""
    server = slowly(1.0, head("Content-Length: 4"), b"12", b"34")
    async with serving(server) as (pool, _):
        async with pool.stream("GET", URL) as response:
            body = b""
            while True:
                with trio.move_on_after(seconds):
                    piece = await response.receive_some()
                    if not piece:
                        break
                    body += piece
        assert body == b"1234"
        assert pool.statistics().idle == 1


async def test_an_already_cancelled_read_takes_nothing(autojump_clock: object) -> None:
    async with serving(Answering(Answer([LENGTH_5[:-2], LENGTH_5[-2:]]))) as (pool, _):
        async with pool.stream("GET", URL) as response:
            for _ in range(3):
                with trio.move_on_after(0):
                    await response.receive_some()
                    pytest.fail("not a checkpoint")
            await trio.sleep(1)
            assert await response.receive_some() == b"hel"
            with trio.move_on_after(0):
                await response.receive_some()
                pytest.fail("not a checkpoint")
            assert await response.receive_some() == b"lo"


async def test_a_cancelled_read_of_the_whole_closes_the_connection(autojump_clock: object) -> None:
    async with serving(slowly(1.0, head("Content-Length: 4"), b"12", b"34")) as (pool, network):
        async with pool.stream("GET", URL) as response:
            with trio.move_on_after(1.5) as scope:
                await response.read()
            assert scope.cancelled_caught
            assert not network.open_sockets
            with pytest.raises(trio.ClosedResourceError):
                await response.read()


async def test_closed_is_closed(autojump_clock: object) -> None:
    async with serving(Answering(LENGTH_5)) as (pool, _):
        async with pool.stream("GET", URL) as response:
            await response.aclose()
            await response.aclose()
            response.close()
            for read in (response.receive_some, response.read):
                with pytest.raises(trio.ClosedResourceError, match="the response was closed"):
                    await read()
            with pytest.raises(RuntimeError, match="has not been read"):
                _ = response.content
        whole_response = await pool.get(URL + "/x")
        await whole_response.aclose()
        assert whole_response.content == b"/x"
        assert await whole_response.read() == b"/x"


async def test_who_reads_is_told_that_another_task_has_closed(autojump_clock: object) -> None:
    """And no drain reads in his stead: it would meet him on the socket."""
    async with serving(Answering(Answer([head("Content-Length: 4"), *[b""] * 40]))) as (pool, _):
        async with pool.stream("GET", URL) as response:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _() -> None:
                    with pytest.raises(trio.ClosedResourceError):
                        await response.receive_some()

                await trio.testing.wait_all_tasks_blocked()
                response.close()
        assert pool.statistics().open == 0


async def test_two_readers_are_one_too_many(autojump_clock: object) -> None:
    async with serving(slowly(1.0, head("Content-Length: 1"), b"1")) as (pool, _):
        async with pool.stream("GET", URL) as response:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _() -> None:
                    assert await response.receive_some() == b"1"

                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await response.receive_some()


async def test_a_stream_can_be_entered_once(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, _):
        stream = pool.stream("GET", URL)
        async with stream as response:
            assert await response.read() == b"/"
        with pytest.raises(RuntimeError, match="call stream"):
            await stream.__aenter__()


async def test_whoever_reads_when_the_pool_is_left_is_told(autojump_clock: object) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, slowly(0.1, head("Content-Length: 4"), b"12", b""))
        async with trio.open_nursery() as nursery:
            options: Any = {"resolver": network.resolve, "socket_factory": network.socket}
            async with ConnectionPool(**options) as pool:

                @nursery.start_soon
                async def _() -> None:
                    async with pool.stream("GET", URL) as response:
                        assert await response.receive_some() == b"12"
                        await trio.sleep(10)  # Left meanwhile.
                        for _ in range(2):
                            with pytest.raises(PoolClosed, match="the pool"):
                                await response.receive_some()

                @nursery.start_soon
                async def _() -> None:
                    async with pool.stream("GET", URL) as response:
                        await response.receive_some()
                        with pytest.raises(PoolClosed, match="the pool"):
                            await response.receive_some()

                @nursery.start_soon
                async def _() -> None:
                    async with pool.stream("GET", URL):
                        await trio.sleep(10)

                await trio.sleep(1)
            assert not network.open_sockets
        assert trio.current_time() == pytest.approx(10.2)


@pytest.mark.parametrize("size", [10, 60_000, 1_000_000])
async def test_whoever_writes_when_the_pool_is_left_is_told(
    autojump_clock: object, size: int
) -> None:
    async with Network(buffer_size=5) as network:
        network.listen("192.0.2.1", 80, script(Wait(100.0)))
        async with trio.open_nursery() as nursery:
            options: Any = {"resolver": network.resolve, "socket_factory": network.socket}
            async with ConnectionPool(**options) as pool:

                @nursery.start_soon
                async def _() -> None:
                    with pytest.raises(PoolClosed, match="the pool") as caught:
                        await pool.post(URL, content=bytes(size))
                    # Side by side, either side may be the first to know.
                    assert caught.value.phase in ("read", "write")

                await trio.sleep(1)
        assert not network.open_sockets
        assert trio.current_time() == 1.0
