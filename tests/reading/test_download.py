"""A URL into a file, going on where it broke off."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from exchange.world import nothing_held, ok, serving
from sweeping import sweep

from triopool import (
    ConnectError,
    Progress,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    StatusError,
    Timeouts,
)
from triopool._client import download
from triopool._reading import saving
from triopool.testing import Request, Sweep

from .shelf import CONTENT, DATE, EARLIER, Shelf, in_this_thread

URL = "http://192.0.2.1/file"
SIZE = len(CONTENT)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # A hundred bytes are progress.
    monkeypatch.setattr(download, "LITTLE_BYTES", 100)
    return tmp_path / "file"


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def rewrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def remove_all(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()


def files(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


async def test_a_file_is_fetched(path: Path, autojump_clock: object) -> None:
    shelf = Shelf()
    async with serving(shelf) as (pool, network):
        response = await pool.download(URL, path)
        assert response.status_code == 200
        nothing_held(pool, network)
    assert content_of(path) == CONTENT
    assert files(path) == ["file"]
    assert shelf.asked == [(None, None)]
    assert shelf.requests[0].header("accept-encoding") == "identity"


async def test_it_goes_on_where_it_broke_off(path: Path, autojump_clock: object) -> None:
    shelf = Shelf(CONTENT, 1000, 500, 200)
    seen: list[Progress] = []
    async with serving(shelf) as (pool, _):
        response = await pool.download(URL, path, on_progress=seen.append)
        assert response.status_code == 206
    assert content_of(path) == CONTENT
    assert shelf.asked == [
        (None, None),
        ("bytes=1000-", '"one"'),
        ("bytes=1500-", '"one"'),
        ("bytes=1700-", '"one"'),
    ]
    # A bar never goes back.
    received = [now.received for now in seen]
    assert received == sorted(received)
    assert seen[-1] == Progress(0, 0, SIZE, SIZE)


async def test_a_server_that_falls_silent_is_asked_again(
    path: Path, autojump_clock: object
) -> None:
    class Silent(Shelf):
        async def __call__(self, stream: trio.abc.Stream) -> None:
            self.cuts, cuts = [], self.cuts
            if not cuts:
                return await super().__call__(stream)
            await stream.receive_some()
            await stream.send_all(self._head(b"200 OK", SIZE) + CONTENT[: cuts[0]])
            return await trio.sleep(1000)

    async with serving(Silent(CONTENT, 200)) as (pool, _):
        await pool.download(URL, path, timeouts=Timeouts(read=1))
    assert content_of(path) == CONTENT


async def test_a_file_that_changes_meanwhile_is_fetched_anew(
    path: Path, autojump_clock: object
) -> None:
    shelf = Shelf(CONTENT, 1000)

    def change(request: Request) -> None:
        if request.header("range"):
            shelf.content, shelf.validator = b"new", '"two"'
            shelf.fields = [b'ETag: "two"']

    shelf.answer = change
    async with serving(shelf) as (pool, _):
        assert (await pool.download(URL, path)).status_code == 200
    assert content_of(path) == b"new"


WEAK: Sequence[Sequence[bytes]] = [
    [],
    [b'ETag: W/"one"'],
    [b"ETag: one"],
    [b'ETag: W/"one"', b"Last-Modified: " + EARLIER, b"Date: " + DATE],
    [b"Last-Modified: " + EARLIER],
    [b"Last-Modified: " + DATE, b"Date: " + DATE],
    [b"Last-Modified: " + EARLIER[:-4], b"Date: " + DATE],
    [b"Last-Modified: yesterday", b"Date: " + DATE],
    [b"Last-Modified: " + EARLIER + b" (\xe4)", b"Date: " + DATE],
    [b'ETag: "\xe4"'],
    [b'ETag: "one"', b"Accept-Ranges: none"],
]


@pytest.mark.parametrize("fields", WEAK)
async def test_without_a_strong_validator_it_can_not_go_on(
    fields: Sequence[bytes], path: Path, autojump_clock: object
) -> None:
    shelf = Shelf(CONTENT, 1000, fields=fields)
    async with serving(shelf) as (pool, network):
        with pytest.raises(ReadError):
            await pool.download(URL, path, resume=True)
        nothing_held(pool, network)
    assert shelf.asked == [(None, None)]
    assert files(path) == []


async def test_a_date_is_a_validator_if_it_is_old_enough(
    path: Path, autojump_clock: object
) -> None:
    fields = [b"Last-Modified: " + EARLIER, b"Date: " + DATE]
    shelf = Shelf(CONTENT, 1000, fields=fields, validator=EARLIER.decode())
    async with serving(shelf) as (pool, _):
        await pool.download(URL, path)
    assert content_of(path) == CONTENT
    assert shelf.asked[1] == ("bytes=1000-", EARLIER.decode())


@pytest.mark.parametrize("decode", [True, False])
async def test_a_body_that_is_decoded_can_not_go_on(
    decode: bool, path: Path, autojump_clock: object
) -> None:
    body = gzip.compress(os.urandom(2000))
    fields = [b'ETag: "one"', b"Content-Encoding: gzip"]
    async with serving(Shelf(body, 1000, fields=fields)) as (pool, _):
        if decode:
            with pytest.raises(ReadError):
                await pool.download(URL, path)
            assert files(path) == []
        else:
            await pool.download(URL, path, decode=False)
            assert content_of(path) == body


async def test_three_attempts_in_a_row_that_bring_little_are_enough(
    path: Path, autojump_clock: object
) -> None:
    shelf = Shelf(CONTENT, 99, 99, 100, 99, 0, 99, 1)
    async with serving(shelf) as (pool, network):
        with pytest.raises(ReadError):
            await pool.download(URL, path)
        nothing_held(pool, network)
    assert len(shelf.asked) == 6
    assert files(path) == []


def part(where: bytes, body: bytes, *fields: bytes) -> bytes:
    head = ok(body, b"Content-Range: " + where, *fields)
    return head.replace(b"200 OK", b"206 Partial Content")


@pytest.mark.parametrize(
    "wrong",
    [
        part(b"bytes 999-4095/4096", CONTENT[999:]),
        part(b"bytes 1000-4095/4096", CONTENT[1000:], b'ETag: "two"'),
        part(b"spam", CONTENT[1000:]),
        ok().replace(b"200 OK", b"206 Partial Content"),
        ok().replace(b"200 OK", b"416 Range Not Satisfiable"),
    ],
)
async def test_what_is_not_the_rest_is_not_taken(
    wrong: bytes, path: Path, autojump_clock: object
) -> None:
    shelf = Shelf(CONTENT, 1000)
    shelf.answer = lambda request: wrong if request.header("range") else None
    async with serving(shelf) as (pool, _):
        await pool.download(URL, path)
    assert content_of(path) == CONTENT
    assert [asked for asked, _ in shelf.asked] == [None, "bytes=1000-", None]


async def test_a_part_of_the_rest_is_not_the_end(path: Path, autojump_clock: object) -> None:
    def parts(request: Request) -> bytes | None:
        if (asked := request.header("range")) is None:
            return None
        start = int(asked[6:-1])
        end = min(start + 1000, SIZE)
        # Where the server does not tell the length of the whole, its word counts.
        whole = b"%d" % SIZE if end < SIZE else b"*"
        return part(b"bytes %d-%d/%b" % (start, end - 1, whole), CONTENT[start:end])

    shelf = Shelf(CONTENT, 1000, answer=parts)
    async with serving(shelf) as (pool, _):
        await pool.download(URL, path)
    assert content_of(path) == CONTENT
    assert len(shelf.asked) == 5


async def test_a_server_that_begins_anew_each_time_is_not_asked_for_ever(
    path: Path, autojump_clock: object
) -> None:
    """It has an ETag and no ranges, and breaks off at the same place each time."""

    class WithoutRanges(Shelf):
        def _answer(self, request: Request) -> tuple[bytes, bytes]:
            return self._head(b"200 OK", SIZE), self.content

    shelf = WithoutRanges(CONTENT, *[1000] * 20)
    async with serving(shelf) as (pool, network):
        with pytest.raises(ReadError):
            await pool.download(URL, path)
        nothing_held(pool, network)
    assert len(shelf.asked) == 1 + download.FRUITLESS_ATTEMPTS
    assert files(path) == []


def rest_of(whole: str, body: bytes, *fields: bytes, end: int = SIZE) -> bytes:
    return part(f"bytes 1000-{end - 1}/{whole}".encode(), body, b'ETag: "one"', *fields)


@pytest.mark.parametrize(
    "rest",
    [
        rest_of("2000", CONTENT[1000:2000], end=2000),
        rest_of(str(SIZE), CONTENT[1000:] + b"more"),
        rest_of(str(SIZE), gzip.compress(CONTENT[1000:]), b"Content-Encoding: gzip"),
    ],
    ids=["of another whole", "too long", "encoded"],
)
async def test_a_rest_that_makes_no_whole_is_not_taken(
    path: Path, autojump_clock: object, rest: bytes
) -> None:
    shelf = Shelf(CONTENT, 1000)
    shelf.answer = lambda request: rest if request.header("range") else None
    async with serving(shelf) as (pool, _):
        await pool.download(URL, path)
    assert content_of(path) == CONTENT
    assert shelf.asked == [(None, None), ("bytes=1000-", '"one"'), (None, None)]


async def test_a_part_of_a_whole_whose_length_is_not_told_is_not_the_end(
    path: Path, autojump_clock: object
) -> None:
    def answer(request: Request) -> bytes | None:
        first = request.header("range") == "bytes=1000-"
        return rest_of("*", CONTENT[1000:2000], end=2000) if first else None

    shelf = Shelf(CONTENT, 1000, answer=answer)
    async with serving(shelf) as (pool, _):
        await pool.download(URL, path)
    assert content_of(path) == CONTENT
    assert len(shelf.asked) == 3


async def test_a_server_that_never_sends_the_last_part_is_an_error(
    path: Path, autojump_clock: object
) -> None:
    shelf = Shelf(CONTENT, 1000)
    shelf.answer = lambda request: (
        part(b"bytes 1000-1001/4096", b"ab") if request.header("range") == "bytes=1000-" else
        part(b"bytes 1002-1003/4096", b"cd") if request.header("range") == "bytes=1002-" else
        part(b"bytes 1004-1005/4096", b"ef") if request.header("range") else None
    )  # fmt: skip
    async with serving(shelf) as (pool, _):
        with pytest.raises(RemoteProtocolError, match="another part of the file"):
            await pool.download(URL, path)
    assert files(path) == []


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (ok().replace(b"200 OK", b"404 Not Found"), StatusError, "404"),
        (ok().replace(b"200 OK", b"302 Found"), RemoteProtocolError, "sent 302, which is no file"),
        (part(b"bytes 0-1/2", b"ab"), RemoteProtocolError, "sent 206, which is no file"),
    ],
)
async def test_another_answer_is_an_error(
    answer: bytes, error: type[Exception], words: str, path: Path, autojump_clock: object
) -> None:
    async with serving(Shelf(answer=lambda request: answer)) as (pool, network):
        with pytest.raises(error, match=words):
            await pool.download(URL, path, resume=True)
        nothing_held(pool, network)
    assert files(path) == []


async def test_the_bound_is_that_of_the_whole(path: Path, autojump_clock: object) -> None:
    async with serving(Shelf(CONTENT, 1000)) as (pool, _):
        await pool.download(URL, path, max_body_bytes=SIZE)
        assert content_of(path) == CONTENT
    async with serving(Shelf(CONTENT, 1000)) as (pool, _):
        with pytest.raises(RemoteProtocolError, match="max_body_bytes"):
            await pool.download(URL, path, max_body_bytes=SIZE - 1)


async def test_the_callers_fields_go_along(path: Path, autojump_clock: object) -> None:
    shelf = Shelf(CONTENT, 1000)
    async with serving(shelf) as (pool, _):
        await pool.download(URL, path, headers={"X-Key": "a", "accept-encoding": "gzip"})
    for request in shelf.requests:
        assert request.header("x-key") == "a"
        assert request.header("accept-encoding") == "gzip"


async def test_wrong_arguments_are_told_at_once(path: Path, autojump_clock: object) -> None:
    async with serving(Shelf()) as (pool, _):
        for name in ("resume", "fsync"):
            wrong: Any = {name: "no"}
            with pytest.raises(TypeError, match=name):
                await pool.download(URL, path, **wrong)
        with pytest.raises(IsADirectoryError):
            await pool.download(URL, path.parent)
        assert pool.statistics().dialled == 0
    assert files(path) == []


# ── Kept for a later call ──────────────────────────────────────────────────────────────────────


async def broken_off(path: Path, url: str = URL, content: bytes = CONTENT, **options: Any) -> None:
    """A download that leaves a beginning of 1000 bytes."""
    async with serving(Shelf(content, 1000, 0, 0, 0, **options)) as (pool, _):
        with pytest.raises(ReadError):
            await pool.download(url, path, resume=True)
    assert files(path) == ["file.part"]


async def test_what_was_broken_off_is_kept_and_gone_on_with(
    path: Path, autojump_clock: object
) -> None:
    await broken_off(path, URL + "?token=secret")
    kept = path.with_name("file.part").read_bytes()
    assert kept.startswith(CONTENT[:1000])
    assert b"secret" not in kept
    shelf = Shelf()
    async with serving(shelf) as (pool, _):
        await pool.download(URL + "?token=secret", path, resume=True)
    assert shelf.asked == [("bytes=1000-", '"one"')]
    assert content_of(path) == CONTENT
    assert files(path) == ["file"]


async def test_what_was_kept_may_be_broken_off_again(path: Path, autojump_clock: object) -> None:
    await broken_off(path)
    async with serving(Shelf(CONTENT, 500, 0, 0, 0)) as (pool, network):
        with pytest.raises(ReadError):
            await pool.download(URL, path, resume=True)
        assert path.with_name("file.part").read_bytes().startswith(CONTENT[:1500])
        # Also where nothing new has come.
        network.refuse("192.0.2.1", 80)
        with pytest.raises(ConnectError):
            await pool.download(URL, path, resume=True)
    shelf = Shelf()
    async with serving(shelf) as (pool, _):
        await pool.download(URL, path, resume=True)
    assert shelf.asked == [("bytes=1500-", '"one"')]
    assert content_of(path) == CONTENT


async def test_a_cancelled_download_is_kept(path: Path, autojump_clock: object) -> None:
    class Slow(Shelf):
        async def __call__(self, stream: trio.abc.Stream) -> None:
            await stream.receive_some()
            await stream.send_all(self._head(b"200 OK", SIZE) + CONTENT[:700])
            await trio.sleep(1000)

    async with serving(Slow(), max_connections=1) as (pool, network):
        with trio.move_on_after(5):
            await pool.download(URL, path, resume=True)
        nothing_held(pool, network)
        network.listen("192.0.2.1", 80, shelf := Shelf())
        await pool.download(URL, path, resume=True)
    assert shelf.asked == [("bytes=700-", '"one"')]
    assert content_of(path) == CONTENT


async def test_without_resume_nothing_is_kept_nor_used(path: Path, autojump_clock: object) -> None:
    await broken_off(path)
    before = path.with_name("file.part").read_bytes()
    shelf = Shelf(CONTENT, 1000, 0, 0, 0)
    async with serving(shelf) as (pool, _):
        with pytest.raises(ReadError):
            await pool.download(URL, path)
    assert shelf.asked[0] == (None, None)
    assert files(path) == ["file.part"]
    assert path.with_name("file.part").read_bytes() == before


@pytest.mark.parametrize("url", [URL + "2", URL + "?a=b"])
async def test_what_was_kept_of_another_url_is_not_used(
    url: str, path: Path, autojump_clock: object
) -> None:
    await broken_off(path)
    shelf = Shelf(b"other")
    async with serving(shelf) as (pool, _):
        await pool.download(url, path, resume=True)
    assert shelf.asked == [(None, None)]
    assert content_of(path) == b"other"
    assert files(path) == ["file"]


async def test_params_are_a_part_of_the_url(path: Path, autojump_clock: object) -> None:
    await broken_off(path)
    shelf = Shelf(b"other")
    async with serving(shelf) as (pool, _):
        await pool.download(URL, path, resume=True, params={"page": 2})
    assert shelf.asked == [(None, None)]


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"spam",
        saving.MAGIC,
        b"x" + saving.MAGIC,
        b"\0\0\0\x04null" + saving.MAGIC,
        b"null\0\0\0\x04" + saving.MAGIC,
        b"[]" + b"\xff" * 4 + saving.MAGIC,
        b"{\xff}\0\0\0\x03" + saving.MAGIC,
        b"x" * 20_000,
        saving.MAGIC + b"x",
        b"[" * 9_000 + (9_000).to_bytes(4, "big") + saving.MAGIC,
    ],
)
async def test_what_is_not_ours_is_not_gone_on_with(
    kept: bytes, path: Path, autojump_clock: object
) -> None:
    path.with_name("file.part").write_bytes(kept)
    shelf = Shelf()
    async with serving(shelf) as (pool, _):
        await pool.download(URL, path, resume=True)
    assert shelf.asked == [(None, None)]
    assert content_of(path) == CONTENT
    assert files(path) == ["file"]


@pytest.mark.parametrize("validator", ["a\nb", "ä"])
async def test_a_validator_that_is_none_is_not_sent(
    validator: str, path: Path, autojump_clock: object
) -> None:
    await broken_off(path)
    part = path.with_name("file.part")
    resource = json.loads(content_of(part)[1000:].rpartition(b"]")[0] + b"]")[0]
    known = json.dumps([resource, validator]).encode()
    rewrite(part, b"abc" + known + len(known).to_bytes(4, "big") + saving.MAGIC)
    shelf = Shelf()
    async with serving(shelf) as (pool, _):
        await pool.download(URL, path, resume=True)
    assert shelf.asked == [(None, None)]
    assert content_of(path) == CONTENT


async def test_a_symbolic_link_is_not_gone_on_with(path: Path, autojump_clock: object) -> None:
    await broken_off(path)
    part, other = path.with_name("file.part"), path.with_name("other")
    os.rename(part, other)
    os.symlink(other, part)
    before = content_of(other)
    async with serving(Shelf()) as (pool, _):
        await pool.download(URL, path, resume=True)
    assert content_of(other) == before
    assert content_of(path) == CONTENT


async def test_of_two_that_go_on_with_it_one_gets_it(path: Path, autojump_clock: object) -> None:
    await broken_off(path)
    shelf = Shelf()
    async with serving(shelf) as (pool, _), trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(lambda: pool.download(URL, path, resume=True))
    assert sorted(shelf.asked, key=str) == [("bytes=1000-", '"one"'), (None, None)]
    assert content_of(path) == CONTENT
    assert files(path) == ["file"]


async def test_a_file_that_can_not_get_its_name_leaves_nothing(
    path: Path, autojump_clock: object
) -> None:
    def answer(request: Request) -> None:
        path.mkdir()  # While it comes.

    async with serving(Shelf(answer=answer)) as (pool, _):
        with pytest.raises(IsADirectoryError):
            await pool.download(URL, path, resume=True)
    assert files(path) == ["file"]


async def test_what_can_not_be_kept_is_removed(
    path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    path.with_name("file.part").mkdir()
    async with serving(Shelf(CONTENT, 1000, 0, 0, 0)) as (pool, _):
        with pytest.raises(ReadError):
            await pool.download(URL, path, resume=True)
    assert files(path) == ["file.part"]
    assert path.with_name("file.part").is_dir()


async def test_a_read_timeout_with_nothing_new_is_an_error(
    path: Path, autojump_clock: object
) -> None:
    async def silent(stream: trio.abc.Stream) -> None:
        await trio.sleep(1000)

    async with serving(silent) as (pool, _):
        with pytest.raises(ReadTimeout):
            await pool.download(URL, path, timeouts=Timeouts(read=1))


def test_a_download_may_be_cancelled_anywhere_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio.to_thread, "run_sync", in_this_thread)
    monkeypatch.setattr(download, "LITTLE_BYTES", 100)
    monkeypatch.setattr(saving, "BLOCK_BYTES", 512)
    path = tmp_path / "file"

    async def scenario(sweep: Sweep) -> None:
        remove_all(tmp_path)
        async with serving(Shelf(CONTENT, 1000, 500), max_connections=1) as (pool, _):
            result = await sweep.victim(partial(pool.download, URL, path, resume=True))
            there = os.listdir(tmp_path)
            assert there in ([[], ["file"], ["file.part"]] if result.cancelled else [["file"]])
            assert pool.statistics().busy == 0
            await pool.download(URL, path, resume=True)
            assert content_of(path) == CONTENT
            assert os.listdir(tmp_path) == ["file"]

    sweep(scenario)
