"""Bodies that are named and not opened: files and forms, measured, streamed, sent again."""

from __future__ import annotations

import errno
import functools
import gc
import io
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from triopool._body import file as _file
from triopool._body import multipart as _multipart
from triopool._body.body import Measured
from triopool._body.file import FILE_BLOCK_BYTES, FileContent
from triopool._body.multipart import JOINED_BYTES, Multipart, Part


async def pieces_of(body: Measured) -> list[bytes]:
    return [piece async for piece in body()]


def on_disk(path: Path) -> bytes:
    return path.read_bytes()


async def whole(body: Measured) -> bytes:
    return b"".join(await pieces_of(body))


def produce(*pieces: Any) -> Callable[[], AsyncIterator[Any]]:
    async def produced() -> AsyncIterator[Any]:
        for piece in pieces:
            await trio.lowlevel.checkpoint()
            yield piece

    return produced


def parse(body: Multipart, data: bytes) -> list[tuple[str, str | None, str | None, bytes]]:
    """Name, file name, content type and content of each part, as the standard library reads them.

    Names are as they stand between the quotes: the library would take a backslash for an escape.
    """
    head = f"Content-Type: {body.content_type}\r\n\r\n".encode()
    message = message_from_bytes(head + data, policy=policy.HTTP)
    assert not message.defects
    found = []
    for part in message.iter_parts():
        raw = dict(part.raw_items())
        assert raw.keys() <= {"Content-Disposition", "Content-Type"}
        line = raw["Content-Disposition"].encode("ascii", "surrogateescape").decode()
        kind, _, rest = line.partition('; name="')
        assert kind == "form-data"
        assert rest.endswith('"')
        name, is_file, filename = rest[:-1].partition('"; filename="')
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((name, filename if is_file else None, raw.get("Content-Type"), content))
    return found


async def sent(fields: Any) -> list[tuple[str, str | None, str | None, bytes]]:
    body = Multipart(fields)
    length = await body.measure()
    data = await whole(body)
    assert length in (None, len(data))
    return parse(body, data)


def escaped(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Two blocks and a bit."""
    path = tmp_path / "video.mp4"
    path.write_bytes(os.urandom(FILE_BLOCK_BYTES * 2 + 100))
    return path


class Disk:
    """What is done to files, and in which threads."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.opened: list[WatchedFile] = []
        self.before_read: Callable[[], object] = int

    @property
    def open_files(self) -> list[WatchedFile]:
        return [file for file in self.opened if not file.closed]


class WatchedFile(io.FileIO):
    disk: Disk

    def __init__(self, path: str) -> None:
        self.disk.threads.add(threading.get_ident())
        super().__init__(path)
        self.disk.opened.append(self)

    def read(self, size: int | None = -1, /) -> bytes:
        self.disk.threads.add(threading.get_ident())
        self.disk.before_read()
        return super().read(size)

    def close(self) -> None:
        self.disk.threads.add(threading.get_ident())
        super().close()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Watches what is done to the files that the bodies open."""
    disk = Disk()
    real_stat = os.stat

    def watched_stat(path: Any, **options: Any) -> os.stat_result:
        if isinstance(path, str) and "/pytest-of-" in path:
            disk.threads.add(threading.get_ident())
        return real_stat(path, **options)

    monkeypatch.setattr(WatchedFile, "disk", disk, raising=False)
    monkeypatch.setattr(io, "FileIO", WatchedFile)
    monkeypatch.setattr(os, "stat", watched_stat)
    return disk


# ── A file ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [Path, trio.Path])
async def test_a_file_is_measured_and_sent_in_blocks(kind: Any, video: Path) -> None:
    body = FileContent(kind(video))
    assert body.content_type is None
    assert await body.measure() == len(on_disk(video))
    pieces = await pieces_of(body)
    assert [len(piece) for piece in pieces] == [FILE_BLOCK_BYTES, FILE_BLOCK_BYTES, 100]
    assert b"".join(pieces) == on_disk(video)


async def test_a_file_can_be_sent_again_and_without_having_been_measured(video: Path) -> None:
    body = FileContent(video)
    assert await whole(body) == await whole(body) == on_disk(video)


async def test_an_empty_file_is_not_even_opened_to_be_sent(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "empty").touch()
    body = FileContent(tmp_path / "empty")
    assert await body.measure() == 0
    disk.opened.clear()
    assert await whole(body) == b""
    assert not disk.opened


def test_bodies_are_measured_bodies_and_other_callables_are_not() -> None:
    assert isinstance(FileContent(Path("x")), Measured)
    assert isinstance(Multipart({}), Measured)
    assert not isinstance(produce(), Measured)


async def test_a_missing_file_is_told_with_its_path_when_measured(tmp_path: Path) -> None:
    path = tmp_path / "missing"
    for body in (FileContent(path), Multipart({"a": path})):
        with pytest.raises(FileNotFoundError) as caught:
            await body.measure()
        assert caught.value.filename == str(path)


async def test_a_directory_is_told_when_measured(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        await FileContent(tmp_path).measure()
    assert caught.value.filename == str(tmp_path)


async def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(path)
    with trio.fail_after(5), pytest.raises(OSError, match="Not a regular file") as caught:
        await FileContent(path).measure()
    assert caught.value.errno == errno.EINVAL
    assert caught.value.filename == str(path)


async def test_a_file_that_may_not_be_read_is_told_when_measured(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(io, "FileIO", refuse)
    with pytest.raises(PermissionError):
        await FileContent(video).measure()


async def test_of_a_file_that_has_grown_only_the_measured_part_is_sent(video: Path) -> None:
    body = FileContent(video)
    size = await body.measure()
    before = on_disk(video)
    with video.open("ab") as file:
        file.write(b"more")
    assert await whole(body) == before
    assert await body.measure() == size + 4
    assert await whole(body) == before + b"more"


@pytest.mark.parametrize("rest", [0, 10, FILE_BLOCK_BYTES])
async def test_a_file_that_has_shrunk_is_an_error_with_both_sizes(
    rest: int, video: Path, disk: Disk
) -> None:
    body = FileContent(video)
    size = await body.measure()
    os.truncate(video, rest)
    with pytest.raises(OSError, match="has shrunk") as caught:
        await whole(body)
    assert repr(str(video)) in str(caught.value)
    assert f"it had {size} bytes" in str(caught.value)
    assert f"has {rest} now" in str(caught.value)
    assert not disk.open_files


async def test_a_file_that_is_gone_when_it_is_its_turn_is_told(video: Path) -> None:
    body = Multipart({"a": video})
    await body.measure()
    os.unlink(video)
    with pytest.raises(FileNotFoundError):
        await whole(body)


# ── Who owns the open file ─────────────────────────────────────────────────────────────────────


BODIES = [FileContent, lambda path: Multipart({"text": "x", "file": path})]


@pytest.mark.parametrize("make", BODIES)
async def test_files_are_touched_in_other_threads_only(make: Any, video: Path, disk: Disk) -> None:
    body = make(video)
    await body.measure()
    await whole(body)
    iterator = body()
    await anext(iterator)
    await iterator.aclose()
    os.truncate(video, 0)
    with pytest.raises(OSError, match="has shrunk"):
        await whole(body)
    assert disk.threads
    assert threading.get_ident() not in disk.threads


@pytest.mark.parametrize("make", BODIES)
async def test_the_file_is_closed_when_its_last_block_has_been_read(
    make: Any, video: Path, disk: Disk
) -> None:
    last = on_disk(video)[-100:]
    async with aclosing(make(video)()) as pieces:
        while await anext(pieces) != last:
            pass
        assert len(disk.opened) == 2
        assert not disk.open_files


@pytest.mark.parametrize("make", BODIES)
async def test_a_generator_that_is_closed_half_way_closes_the_file(
    make: Any, video: Path, disk: Disk
) -> None:
    iterator = make(video)()
    while len(await anext(iterator)) < FILE_BLOCK_BYTES:
        pass
    assert disk.open_files
    await iterator.aclose()
    assert not disk.open_files
    disk.opened.clear()
    gc.collect()  # Warnings are errors: of files and of generators.


@pytest.mark.parametrize("make", BODIES)
async def test_a_generator_that_is_closed_by_a_cancelled_task_closes_the_file(
    make: Any, video: Path, disk: Disk
) -> None:
    iterator = make(video)()
    while len(await anext(iterator)) < FILE_BLOCK_BYTES:
        pass
    with trio.CancelScope() as scope:
        scope.cancel()
        await iterator.aclose()
    assert not disk.open_files


@pytest.mark.parametrize("make", BODIES)
async def test_a_generator_that_was_never_started_owns_nothing(
    make: Any, video: Path, disk: Disk
) -> None:
    await make(video)().aclose()
    assert not disk.opened


@pytest.mark.parametrize("make", BODIES)
@pytest.mark.parametrize("reads", [1, 2, 3])
async def test_cancelled_under_a_read_it_waits_for_the_read_and_closes_the_file(
    make: Any, reads: int, video: Path, disk: Disk
) -> None:
    body = make(video)
    await body.measure()
    arrived, go_on, left = threading.Event(), threading.Event(), [reads]
    open_under_the_read: list[WatchedFile] = []

    def hang() -> None:
        left[0] -= 1
        if left[0] == 0:
            arrived.set()
            assert go_on.wait(5)
            open_under_the_read.extend(disk.open_files)

    disk.before_read = hang
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def cancel() -> None:
                await trio.to_thread.run_sync(arrived.wait)
                scope.cancel()
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked(0.05)
                go_on.set()

            async with aclosing(body()) as pieces:
                async for _ in pieces:
                    await trio.lowlevel.checkpoint_if_cancelled()
    assert scope.cancelled_caught
    assert left == [0]
    assert len(open_under_the_read) == 1
    assert not disk.open_files


async def test_cancelled_while_measuring_it_does_not_wait_for_the_disk(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    real = _file.size_of

    def hang(path: str) -> int:
        arrived.set()
        assert go_on.wait(5)
        size = real(path)
        ended.set()
        return size

    for module in (_file, _multipart):
        monkeypatch.setattr(module, "size_of", hang)
    for body in (FileContent(video), Multipart({"a": video})):
        for event in (arrived, go_on, ended):
            event.clear()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(body.measure)
                await trio.to_thread.run_sync(arrived.wait)
                scope.cancel()
        assert scope.cancelled_caught
        assert not ended.is_set()
        go_on.set()
        assert await trio.to_thread.run_sync(ended.wait, 5)


# ── A form ─────────────────────────────────────────────────────────────────────────────────────


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.one_of(
    text, st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=40)
)


def as_bytes(value: Any) -> bytes:
    match value:
        case None:
            return b""
        case bool():
            return str(value).lower().encode()
        case bytes():
            return value
    return str(value).encode()


@given(st.lists(st.tuples(text, st.one_of(plain, st.lists(plain, max_size=3)))))
def test_what_goes_in_comes_out_and_is_as_long_as_measured(fields: list[Any]) -> None:
    expected = []
    for name, value in fields:
        for one in value if isinstance(value, list) else [value]:
            expected.append((escaped(name), None, None, as_bytes(one)))
    if not expected:
        return  # See the test of the empty form: the standard library wants a part.
    assert trio.run(sent, fields) == expected


contents = st.one_of(st.binary(max_size=200), st.integers(0, 3 * JOINED_BYTES).map(bytes))


@given(st.lists(st.tuples(st.sampled_from(["bytes", "path", "function"]), contents), min_size=1))
def test_large_and_small_contents_of_every_kind_come_out(given_parts: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        fields = []
        for number, (kind, content) in enumerate(given_parts):
            path = Path(directory, str(number))
            path.write_bytes(content)
            source = {"bytes": content, "path": path, "function": produce(content, b"")}[kind]
            fields.append((str(number), Part(source)))
        body = Multipart(fields)
        length = trio.run(body.measure)
        data = trio.run(whole, body)
        again = trio.run(whole, body)
    assert data == again
    assert length == (None if "function" in dict(given_parts) else len(data))
    assert [part[3] for part in parse(body, data)] == [content for _, content in given_parts]


async def test_the_bytes_of_a_form_are_these(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"from the disk")
    body = Multipart({"title": "Ä", "file": path})
    assert body.content_type is not None
    kind, _, boundary = body.content_type.partition("; boundary=")
    assert kind == "multipart/form-data"
    expected = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="title"\r\n\r\n'
        "Ä\r\n"
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="file"; filename="notes.txt"\r\n'
        "Content-Type: text/plain\r\n\r\n"
        "from the disk\r\n"
        f"--{boundary}--\r\n"
    ).encode()
    assert await body.measure() == len(expected)
    assert await whole(body) == expected


async def test_an_empty_form_is_only_its_end() -> None:
    body = Multipart({})
    assert body.content_type is not None
    expected = f"--{body.content_type.partition('=')[2]}--\r\n".encode()
    assert await body.measure() == len(expected)
    assert await whole(body) == expected


async def test_a_list_is_a_repeated_field() -> None:
    found = await sent({"a": [1, "two", None], "b": [True, b"\x00"], "c": []})
    assert [(part[0], part[3]) for part in found] == [
        ("a", b"1"),
        ("a", b"two"),
        ("a", b""),
        ("b", b"true"),
        ("b", b"\x00"),
    ]


def test_a_tuple_as_others_take_a_file_is_told() -> None:
    with pytest.raises(TypeError, match=r"field 'a' must not be a tuple: give triopool\.Part"):
        Multipart({"a": ("name.txt", b"x", "text/plain")})


async def test_pairs_keep_their_order_and_may_repeat_a_name() -> None:
    found = await sent(iter([("a", 1), ("b", 2), ("a", 3)]))
    assert [(part[0], part[3]) for part in found] == [("a", b"1"), ("b", b"2"), ("a", b"3")]


async def test_text_keeps_its_line_ends() -> None:
    found = await sent({"a": "one\ntwo\r\nthree\r"})
    assert found[0][3] == b"one\ntwo\r\nthree\r"


@pytest.mark.parametrize(
    ("name", "between_the_quotes"),
    [
        ("", ""),
        ("plain", "plain"),
        ('a"b', "a%22b"),
        ("a\r\nX: y", "a%0D%0AX: y"),
        ("a\\b;=%22", "a\\b;=%22"),
        ("naïve ☃ 𝄞", "naïve ☃ 𝄞"),
    ],
)
async def test_names_are_escaped_as_browsers_do_it(name: str, between_the_quotes: str) -> None:
    found = await sent({name: Part(b"x", filename=name)})
    assert found == [(between_the_quotes, between_the_quotes, "application/octet-stream", b"x")]


async def test_names_and_types_of_parts_that_are_no_files() -> None:
    given_parts = [
        Part("x"),
        Part(b"x"),
        Part(produce(b"x")),
        Part("x", filename="a.png"),
        Part(b"x", filename="a.png"),
        Part(produce(b"x"), filename="a.png"),
        Part(bytearray(b"x"), content_type="image/png"),
        Part(memoryview(b"x"), content_type="text/plain; charset=latin-1", filename=""),
    ]
    found = await sent({"a": given_parts})
    assert [part[1:] for part in found] == [
        (None, None, b"x"),
        (None, None, b"x"),
        (None, None, b"x"),
        ("a.png", "text/plain; charset=utf-8", b"x"),
        ("a.png", "application/octet-stream", b"x"),
        ("a.png", "application/octet-stream", b"x"),
        (None, "image/png", b"x"),
        ("", "text/plain; charset=latin-1", b"x"),
    ]


@pytest.mark.parametrize(
    ("name", "options", "filename", "content_type"),
    [
        ("a.png", {}, "a.png", "image/png"),
        ("a", {}, "a", "application/octet-stream"),
        ("a.unheard-of", {}, "a.unheard-of", "application/octet-stream"),
        ("a.txt.gz", {}, "a.txt.gz", "application/octet-stream"),
        ("data:text;html,.png", {}, "data:text;html,.png", "image/png"),
        ("a.png", {"filename": "b.txt"}, "b.txt", "text/plain"),
        ("a.png", {"content_type": "x/y"}, "a.png", "x/y"),
        ("a.png", {"filename": "b", "content_type": "x/y"}, "b", "x/y"),
    ],
)
async def test_a_file_has_its_name_and_a_type_guessed_from_it(
    name: str, options: Any, filename: str, content_type: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    assert await sent({"a": Part(path, **options)}) == [("a", filename, content_type, b"x")]
    assert await sent({"a": Part(trio.Path(path), **options)}) == [
        ("a", filename, content_type, b"x")
    ]


async def test_a_form_is_sent_again_byte_by_byte_but_another_one_has_another_boundary(
    video: Path,
) -> None:
    fields = {"a": "x", "b": video, "c": Part(produce(b"1", b"2"))}
    body = Multipart(fields)
    first = await whole(body)
    await body.measure()
    assert await whole(body) == first
    assert Multipart(fields).content_type != body.content_type


async def test_a_buffer_that_changes_later_does_not_change_the_form() -> None:
    buffer = bytearray(b"before")
    body = Multipart({"a": buffer, "b": Part(buffer)})
    buffer[:] = b"after!"
    assert [part[3] for part in parse(body, await whole(body))] == [b"before"] * 2


async def test_small_fields_go_out_as_one_piece() -> None:
    assert len(await pieces_of(Multipart({f"field {n}": n for n in range(100)}))) == 1


async def test_pieces_of_joined_fields_are_bounded_and_large_contents_are_not_copied() -> None:
    large = bytes(JOINED_BYTES + 1)
    pieces = await pieces_of(Multipart({"a": "x", "b": large, "c": [bytes(1000)] * 1000}))
    assert sum(piece is large for piece in pieces) == 1
    assert all(len(piece) <= JOINED_BYTES for piece in pieces if piece is not large)
    assert all(await pieces_of(Multipart({"a" * JOINED_BYTES: 1})))
    assert len(pieces) < 1_200_000 / (JOINED_BYTES - 1100) + 3


async def test_one_file_is_open_at_a_time(tmp_path: Path, disk: Disk) -> None:
    paths = [tmp_path / str(number) for number in range(5)]
    for path in paths:
        path.write_bytes(bytes(FILE_BLOCK_BYTES * 2))
    body = Multipart({"a": paths})
    await body.measure()
    assert not disk.open_files
    assert max([len(disk.open_files) async for _ in body()]) == 1


# ── What a function gives ──────────────────────────────────────────────────────────────────────


async def test_the_length_of_what_a_function_gives_is_unknown(video: Path) -> None:
    body = Multipart({"a": "x", "b": video, "c": Part(produce(b"1"))})
    assert await body.measure() is None


async def test_pieces_may_be_any_bytes_like_and_go_out_at_once() -> None:
    body = Multipart({"a": Part(produce(b"1", bytearray(b"2"), memoryview(b"3")))})
    pieces = await pieces_of(body)
    assert pieces[1:-1] == [b"1", b"2", b"3"]
    assert all(type(piece) is bytes for piece in pieces)


class Stream(trio.abc.ReceiveStream):
    """A body that is no generator."""

    def __init__(self) -> None:
        self.closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return b"" if self.closed else b"x"

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


class Endless:
    """An iterable that has no end to be told."""

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return b"x"


async def test_the_iterator_of_a_function_is_closed_when_the_form_is_left_half_way() -> None:
    stream, ended = Stream(), []

    async def produced() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            ended.append(True)

    for function in (lambda: stream, produced, Endless):
        iterator = Multipart({"a": Part(function)})()
        for _ in range(3):
            await anext(iterator)
        await iterator.aclose()
    assert stream.closed
    assert ended == [True]


async def test_the_iterator_of_a_function_is_closed_when_cancelled() -> None:
    ended = []

    async def produced() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await trio.sleep_forever()
        finally:
            ended.append(True)

    with trio.CancelScope() as scope:
        async for piece in Multipart({"a": Part(produced)})():
            if piece == b"x":
                scope.cancel()
    assert ended == [True]
    assert scope.cancelled_caught


async def test_what_a_function_raises_arrives_as_itself() -> None:
    async def produced() -> AsyncIterator[bytes]:
        yield b"x"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await whole(Multipart({"a": Part(produced)}))


async def coroutine_function() -> bytes:
    raise AssertionError("it is never awaited")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda: b"secret", "the function for field 'a' must return .* not bytes"),
        (coroutine_function, "the function for field 'a' must return .* not coroutine"),
        (produce("secret"), "the iterator for field 'a' must yield bytes, not str"),
    ],
)
async def test_a_function_that_gives_something_else_is_told(function: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told) as caught:
        await whole(Multipart({"a": Part(function)}))
    assert "secret" not in str(caught.value)
    gc.collect()


# ── What is refused ────────────────────────────────────────────────────────────────────────────


async def test_open_files_are_refused_with_a_hint(video: Path) -> None:
    hint = r"pass the path of the file"
    async with await trio.open_file(video, "rb") as async_file:
        with video.open("rb") as file, tempfile.NamedTemporaryFile() as temporary:
            for one in (file, temporary, async_file, io.BytesIO(b"secret")):
                with pytest.raises(TypeError, match=f"field 'a' must be .*{hint}"):
                    Multipart({"a": one})
                with pytest.raises(TypeError, match=f"content of a Part must be .*{hint}"):
                    Part(one)  # type: ignore[arg-type]


async def test_things_that_can_be_sent_once_are_refused_with_a_hint() -> None:
    generator: Any = produce(b"x")()
    with pytest.raises(TypeError, match=r"a function that returns a fresh one"):
        Part(generator)
    with pytest.raises(TypeError, match=r"field 'a' .* a function that returns a fresh one"):
        Multipart({"a": generator})
    with pytest.raises(TypeError, match=r"field 'a' .* not function: give it to triopool\.Part"):
        Multipart({"a": produce()})


@pytest.mark.parametrize(
    "value",
    [
        {"secret": 1},
        {"secret"},
        iter(["secret"]),
        [["secret"]],
        [("secret",)],
        1j,
        object(),
    ],
)
def test_a_value_of_another_type_is_refused_without_being_quoted(value: Any) -> None:
    with pytest.raises(TypeError, match="field 'a' must be") as caught:
        Multipart({"a": value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("a=1", "not str"),
        (b"a=1", "not bytes"),
        (None, "not NoneType"),
        (1, "not int"),
        (["ab"], "pairs"),
        ([("a", "b", "c")], "pairs"),
        ([1], "pairs"),
        ({1: "secret"}, "the name of a field must be a str, not int"),
        ([(b"a", "secret")], "the name of a field must be a str, not bytes"),
    ],
)
def test_a_form_that_is_none_is_refused(fields: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told) as caught:
        Multipart(fields)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"a": "secret\udc80"}, "the text of field 'a'"),
        ({"a": Part("secret\udc80")}, "the text of field 'a'"),
        ({"a": Part(b"", filename="\udc80")}, "the file name of field 'a'"),
        ({"a": Path("\udc80.txt")}, "the file name of field 'a'"),
        ({"\udc80": "secret"}, r"the name of field '\\udc80'"),
    ],
)
def test_what_is_not_utf8_is_refused_without_being_quoted(fields: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"{told} can't be encoded as UTF-8") as caught:
        Multipart(fields)
    assert not isinstance(caught.value, UnicodeError)
    assert caught.value.__context__ is None
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content_type", ["", "a/b\r\nX: y", "a/b\n", "a\tb", "a\x00b", "ä/b"])
def test_a_content_type_must_be_fit_for_a_header(content_type: str) -> None:
    with pytest.raises(ValueError, match="content_type of a Part"):
        Part(b"", content_type=content_type)


@pytest.mark.parametrize("option", ["filename", "content_type"])
def test_the_options_of_a_part_are_text(option: str) -> None:
    with pytest.raises(TypeError, match=f"{option} of a Part must be a str or None, not bytes"):
        Part(b"", **{option: b"x"})  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [None, 1, ["secret"]])
def test_the_content_of_a_part_is_something_to_send(content: Any) -> None:
    with pytest.raises(TypeError, match="content of a Part must be") as caught:
        Part(content)
    assert "secret" not in str(caught.value)


def test_reprs_show_no_content(tmp_path: Path) -> None:
    secret = "secret"
    part = Part(secret, filename="a", content_type="b/c")
    assert repr(part) == "Part(filename='a', content_type='b/c')"
    function: Any = functools.partial(produce, secret)
    body = Multipart({"a": secret, "b": part, "c": Part(function), "d": tmp_path / secret})
    assert secret not in repr(body)
    assert secret not in repr(FileContent(tmp_path / secret))


def test_a_part_is_a_value() -> None:
    part = Part(bytearray(b"x"), filename="a")
    assert part == Part(b"x", filename="a")
    assert hash(part) == hash(Part(b"x", filename="a"))
    with pytest.raises(AttributeError):
        part.filename = "b"  # type: ignore[misc]
