"""Files and forms over the wire.

On the real clock, where a file is read: that happens in threads, of which a clock that jumps knows
nothing. It would take a thread that reads for the end of all work, and jump to the next deadline.
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Callable
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
import trio

from triopool import ConnectionPool, LocalProtocolError, Part, Progress
from triopool._body.file import FILE_BLOCK_BYTES
from triopool.abc import Instrument
from triopool.testing import Network, Receive, ReceiveBytes, Request, script

from .world import URL, Answer, Answering, nothing_held, ok, pieces, serving

CHUNKED = ("transfer-encoding", "chunked")


async def echoed(method: str = "POST", **options: Any) -> Request:
    """The request as it arrives."""
    server = Answering()
    async with serving(server) as (pool, _):
        await pool.request(method, URL, **options)
    return server.requests[0]


def framing(request: Request) -> tuple[str | None, str | None]:
    return request.header("content-length"), request.header("transfer-encoding")


class OpenFiles:
    """The files that have been opened to be sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[io.FileIO] = []
        opened = self.opened

        class Watched(io.FileIO):
            def __init__(self, path: str) -> None:
                super().__init__(path)
                opened.append(self)

        monkeypatch.setattr(io, "FileIO", Watched)

    @property
    def still_open(self) -> int:
        return sum(not file.closed for file in self.opened)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> OpenFiles:
    return OpenFiles(monkeypatch)


def made(directory: Path, size: int, name: str = "file.txt") -> Path:
    path = directory / name
    path.write_bytes(os.urandom(size))
    return path


SEVERAL_BLOCKS = 3 * FILE_BLOCK_BYTES + 100

# ── A file ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 1, 65536, FILE_BLOCK_BYTES, SEVERAL_BLOCKS])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_file_is_sent_with_its_length(
    tmp_path: Path, files: OpenFiles, method: str, size: int
) -> None:
    path = made(tmp_path, size)
    request = await echoed(method, content=path)
    assert request.method == method
    assert request.body == path.read_bytes()
    assert framing(request) == (str(size), None)
    # The signature of an upload URL may cover it.
    assert request.header("content-type") is None
    assert files.opened
    assert not files.still_open


@pytest.mark.parametrize("kind", [Path, trio.Path])
async def test_any_kind_of_path_will_do_but_a_str_is_a_text(tmp_path: Path, kind: Any) -> None:
    path = made(tmp_path, 10)
    assert (await echoed(content=kind(path))).body == path.read_bytes()
    assert (await echoed(content=str(path))).body == os.fsencode(path)


async def test_a_file_is_sent_by_streams_and_leases_too(tmp_path: Path) -> None:
    path = made(tmp_path, 100_000)
    server = Answering()
    async with serving(server) as (pool, _):
        async with pool.stream("PUT", URL, content=path) as response:
            assert await response.read() == b"/"
        async with pool.lease(URL) as connection:
            await connection.request("PUT", "/", content=path)
            await connection.request("PUT", "/", content=path)
    assert [request.body for request in server.requests] == [path.read_bytes()] * 3


async def test_a_file_waits_to_be_asked_for(tmp_path: Path, files: OpenFiles) -> None:
    path = made(tmp_path, 100_000)
    opened = []

    async def refuse(conversation: Any) -> None:
        opened.append(len(files.opened))
        await conversation.stream.send_all(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")

    async with serving(script(Receive(), refuse, ReceiveBytes(1))) as (pool, _):
        response = await pool.put(URL, content=path, expect_continue=True)
    assert response.status_code == 413
    # It was opened to be measured, and not to be read.
    assert opened == [1] == [len(files.opened)]


@pytest.mark.parametrize("where", ["content", "multipart"])
@pytest.mark.parametrize("what", ["missing", "directory", "pipe"])
async def test_what_can_not_be_read_is_told_before_anything_is_taken(
    tmp_path: Path, where: str, what: str
) -> None:
    path = tmp_path / "file"
    expected: type[OSError] = FileNotFoundError
    if what == "directory":
        path.mkdir()
        expected = IsADirectoryError
    elif what == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("needs named pipes")
        os.mkfifo(path)
        expected = OSError
    options: Any = {"content": path} if where == "content" else {"multipart": {"a": path}}
    async with serving(Answering()) as (pool, network):
        with pytest.raises(expected, match=r"file'$"):
            await pool.put(URL, **options)
        with pytest.raises(expected):
            async with pool.stream("PUT", URL, **options):
                raise AssertionError
        assert not network.log
        assert pool.statistics().dialled == 0
        async with pool.lease(URL) as connection:
            with pytest.raises(expected):
                await connection.request("PUT", "/", **options)
            # Nothing was taken there either: it is as good as new.
            assert (await connection.request("GET", "/next")).content == b"/next"


@pytest.mark.parametrize("where", ["content", "multipart"])
async def test_a_file_that_shrinks_while_it_is_sent_is_an_error_and_costs_the_connection(
    tmp_path: Path, files: OpenFiles, where: str
) -> None:
    path = made(tmp_path, SEVERAL_BLOCKS)

    def shrink(progress: Progress) -> None:
        if progress.sent > 10_000:  # a form's head goes out before its file is opened
            os.truncate(path, 1)

    options: Any = {"content": path} if where == "content" else {"multipart": {"a": path}}
    server = script(ReceiveBytes(10_000_000))
    async with serving(server, max_connections=1) as (pool, network):
        with pytest.raises(OSError, match=r"'.*file\.txt' has shrunk while it was being sent"):
            await pool.put(URL, on_progress=shrink, **options)
        assert not network.open_sockets
        assert (pool.statistics().open, pool.statistics().discarded) == (0, 1)
        assert not files.still_open
    received = server.conversations[0].received
    assert FILE_BLOCK_BYTES < len(received) < SEVERAL_BLOCKS


async def test_a_file_that_grows_is_sent_as_long_as_it_was(tmp_path: Path) -> None:
    path = made(tmp_path, SEVERAL_BLOCKS)
    before = path.read_bytes()

    def grow(progress: Progress) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    server = Answering()
    async with serving(server) as (pool, _):
        await pool.put(URL, content=path, on_progress=grow)
        await pool.put(URL, content=path)
    assert [request.body for request in server.requests] == [before, path.read_bytes()]
    assert len(path.read_bytes()) > len(before)


async def test_a_file_that_vanishes_behind_a_redirect_is_an_error(tmp_path: Path) -> None:
    path = made(tmp_path, 10)
    redirect = b"HTTP/1.1 307 There\r\nLocation: /2\r\nContent-Length: 0\r\n\r\n"

    class Vanishing(Answering):
        def _answer(self, target: str) -> Answer:
            path.unlink()
            return super()._answer(target)

    server = Vanishing(redirect)
    async with serving(server) as (pool, _):
        with pytest.raises(FileNotFoundError, match=r"file\.txt"):
            await pool.put(URL, content=path, follow_redirects=True)
    assert len(server.requests) == 1


GONE = Answer([], "close")


@pytest.mark.parametrize("where", ["content", "multipart"])
@pytest.mark.parametrize("idempotent", [True, None])
async def test_a_file_is_read_again_where_the_request_may_be_repeated(
    tmp_path: Path, files: OpenFiles, where: str, idempotent: bool | None
) -> None:
    path = made(tmp_path, SEVERAL_BLOCKS)
    options: Any = {"content": path} if where == "content" else {"multipart": {"a": path}}
    server = Answering(ok(), GONE)
    async with serving(server) as (pool, _):
        await pool.get(URL)
        if idempotent:
            await pool.put(URL, idempotent=True, **options)
        else:
            with pytest.raises(Exception, match="without sending a response"):
                await pool.put(URL, **options)
        assert pool.statistics().retried == int(bool(idempotent))
    bodies = {request.body for request in server.requests[1:]}
    assert len(server.requests) == 2 + bool(idempotent)
    assert len(bodies) == 1
    assert path.read_bytes() in bodies.pop()
    # Once to be measured, and once for each time it is sent.
    assert len(files.opened) == len(server.requests)
    assert not files.still_open


@pytest.mark.parametrize("when", ["measured", "opened", "read"])
async def test_a_cancelled_upload_leaves_no_file_and_no_slot(
    tmp_path: Path, files: OpenFiles, when: str
) -> None:
    path = made(tmp_path, SEVERAL_BLOCKS)
    scope = trio.CancelScope()

    class CancelWhenSent(Instrument):
        def request_sent(self, request: object, connection: object) -> None:
            scope.cancel()

    def cancel(progress: Progress) -> None:
        scope.cancel()

    options: Any = {"on_progress": cancel} if when == "read" else {}
    instruments = [CancelWhenSent()] if when == "opened" else []
    async with serving(script(ReceiveBytes(10_000_000)), instruments=instruments) as (pool, _):
        with scope:
            if when == "measured":
                scope.cancel()
            await pool.put(URL, content=path, **options)
        assert scope.cancelled_caught
        assert pool.statistics().busy == 0
        # Before it has begun, the connection is as good as new.
        assert pool.statistics().idle == (when == "opened")
        assert not files.still_open


# ── The caller's own framing ───────────────────────────────────────────────────────────────────


async def test_the_callers_own_framing_is_used_if_it_is_true(tmp_path: Path) -> None:
    path = made(tmp_path, 10)
    for content in (path, path.read_bytes()):
        request = await echoed(content=content, headers={"Content-Length": "10"})
        assert (framing(request), len(request.body)) == (("10", None), 10)
        request = await echoed(content=content, headers={"Transfer-Encoding": "chunked"})
        assert (framing(request), len(request.body)) == ((None, "chunked"), 10)
        async with serving(Answering()) as (pool, network):
            with pytest.raises(LocalProtocolError, match="not that of the body, 10"):
                await pool.put(URL, content=content, headers={"Content-Length": "9"})
            assert not network.log


async def test_a_form_of_unknown_length_can_be_given_one(autojump_clock: object) -> None:
    part = {"a": Part(lambda: pieces(b"x" * 10))}
    length = len((await echoed(multipart=part)).body)
    request = await echoed(multipart=part, headers={"Content-Length": str(length)})
    assert framing(request) == (str(length), None)
    assert len(request.body) == length
    async with serving(script(ReceiveBytes(10_000))) as (pool, network):
        with pytest.raises(LocalProtocolError, match="does not fit the request's Content-Length"):
            await pool.put(URL, multipart=part, headers={"Content-Length": str(length - 1)})
        assert not network.open_sockets


# ── Forms ──────────────────────────────────────────────────────────────────────────────────────

URLENCODED = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ({}, b""),
        ({"a": "b"}, b"a=b"),
        ({"a": ["b", 2, True], "c": None}, b"a=b&a=2&a=true&c="),
        ([("a", "1"), ("b", ""), ("a", 2.5)], b"a=1&b=&a=2.5"),
        ({"ä &=": "ö+%\r\n"}, b"%C3%A4+%26%3D=%C3%B6%2B%25%0D%0A"),
    ],
)
async def test_a_form_is_encoded(autojump_clock: object, form: Any, body: bytes) -> None:
    request = await echoed(form=form)
    assert request.body == body
    assert request.header("content-type") == URLENCODED
    assert framing(request) == (str(len(body)), None)


@pytest.mark.parametrize("kind", ["form", "json"])
async def test_the_callers_own_content_type_wins(autojump_clock: object, kind: str) -> None:
    options: Any = {kind: {"a": "b"}}
    request = await echoed(**options, headers={"content-type": "mine/mine"})
    assert [value for name, value in request.headers if name == "content-type"] == ["mine/mine"]


def parts_of(request: Request) -> list[tuple[str, str | None, str | None, bytes]]:
    """Name, file name, content type, content: as the standard library reads them."""
    head = f"Content-Type: {request.header('content-type')}\r\n\r\n".encode()
    message = message_from_bytes(head + request.body, policy=policy.HTTP)
    assert not message.defects
    parts = []
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        content_type = part.get_content_type() if "content-type" in part else None
        parts.append((name, part.get_filename(), content_type, content))
    return parts


async def test_a_multipart_form_of_every_kind_of_value_arrives(
    tmp_path: Path, files: OpenFiles
) -> None:
    path = made(tmp_path, SEVERAL_BLOCKS, "video.mp4")
    request = await echoed(
        multipart={
            "text": "ü",
            "number": 5,
            "none": None,
            "several": ["a", b"b"],
            "path": path,
            "part": Part(b"<a/>", filename="a.xml", content_type="text/xml"),
            "renamed": Part(path, filename="other", content_type="a/b"),
        }
    )
    data = path.read_bytes()
    assert parts_of(request) == [
        ("text", None, None, "ü".encode()),
        ("number", None, None, b"5"),
        ("none", None, None, b""),
        ("several", None, None, b"a"),
        ("several", None, None, b"b"),
        ("path", "video.mp4", "video/mp4", data),
        ("part", "a.xml", "text/xml", b"<a/>"),
        ("renamed", "other", "a/b", data),
    ]
    assert framing(request) == (str(len(request.body)), None)
    assert len(files.opened) == 4
    assert not files.still_open


async def test_a_form_with_what_has_no_length_is_chunked(tmp_path: Path) -> None:
    path = made(tmp_path, 100_000)
    request = await echoed(
        multipart={"a": path, "b": Part(lambda: pieces(b"x", b"y" * 100_000), filename="b")}
    )
    assert framing(request) == (None, "chunked")
    assert [(name, content) for name, _, _, content in parts_of(request)] == [
        ("a", path.read_bytes()),
        ("b", b"x" + b"y" * 100_000),
    ]


class Boom(Exception):
    pass


async def test_what_a_part_raises_is_what_the_request_raises(autojump_clock: object) -> None:
    closed = []

    async def failing() -> AsyncIterator[bytes]:
        try:
            yield b"begun"
            raise Boom
        finally:
            closed.append(True)

    async with serving(script(ReceiveBytes(10_000)), max_connections=1) as (pool, network):
        with pytest.raises(Boom):
            await pool.post(URL, multipart={"a": Part(failing)})
        assert closed == [True]
        assert not network.open_sockets
        assert pool.statistics().open == 0


@pytest.mark.parametrize(
    ("produce", "message"),
    [
        (lambda: pieces("text"), "the iterator for field 'a' must yield bytes, not str"),  # type: ignore[arg-type]
        (lambda: b"bytes", "for field 'a' must return an async iterable of bytes, not bytes"),
        (trio.lowlevel.checkpoint, "async iterable of bytes, not coroutine"),
    ],
)
async def test_a_part_of_something_else_than_bytes_is_told(
    autojump_clock: object, produce: Callable[[], Any], message: str
) -> None:
    async with serving(script(ReceiveBytes(10_000))) as (pool, network):
        with pytest.raises(TypeError, match=message):
            await pool.post(URL, multipart={"a": Part(produce)})
        assert not network.open_sockets


# ── An open file of Trio's ─────────────────────────────────────────────────────────────────────


async def test_an_open_file_is_closed_whatever_becomes_of_it(tmp_path: Path) -> None:
    path = made(tmp_path, SEVERAL_BLOCKS)
    refusal = b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"
    async with serving(script(Receive(), ReceiveBytes(1))) as (pool, _):
        file = await trio.open_file(path, "rb")
        with pytest.raises(Exception, match=r"closed the connection|broke"):
            await pool.put(URL, content=file)
        assert file.closed

    async def refuse(conversation: Any) -> None:
        await conversation.stream.send_all(refusal)

    async with serving(script(Receive(), refuse, ReceiveBytes(1))) as (pool, _):
        file = await trio.open_file(path, "rb")
        response = await pool.put(URL, content=file, expect_continue=True)
        assert response.status_code == 413
        assert file.closed


async def test_a_file_over_tls(
    tmp_path: Path, client_ssl_context: Any, server_ssl_context: Any
) -> None:
    path = made(tmp_path, SEVERAL_BLOCKS)
    server = Answering()
    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 443, server, ssl_context=server_ssl_context)
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, ssl_context=client_ssl_context
        ) as pool:
            await pool.put("https://one.test/", content=path)
            nothing_held(pool, network)
    assert server.requests[0].body == path.read_bytes()
