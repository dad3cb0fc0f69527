"""A body into a file: there as a whole or not at all."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from exchange.world import serving
from inside import before_each_write_of_a_file
from sweeping import sweep

from triopool import Progress, ReadError
from triopool._reading import saving
from triopool._reading.saving import BLOCK_BYTES, NewFile
from triopool.testing import Reply, Request, Sweep, http_server

from .shelf import CONTENT, Shelf, in_this_thread

URL = "http://192.0.2.1"


def answering(reply: Reply) -> Any:
    async def respond(request: Request) -> Reply:
        return reply

    return http_server(respond)


async def test_a_body_is_saved_as_it_comes(tmp_path: Path, autojump_clock: object) -> None:
    path = tmp_path / "file"
    reply = Reply(body=[b"a" * 10, b"b" * 10], gap=1)
    seen: list[Progress] = []
    async with serving(answering(reply)) as (pool, _), pool.stream("GET", URL) as response:
        await response.save_to(path, on_progress=seen.append)
        assert pool.statistics().busy == 0
    assert path.read_bytes() == b"a" * 10 + b"b" * 10
    assert seen == [Progress(0, 0, 10, 20), Progress(0, 0, 20, 20)]
    assert os.listdir(tmp_path) == ["file"]


async def test_a_body_that_has_been_read_can_be_saved(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with serving(answering(Reply(body=b"abc"))) as (pool, _):
        response = await pool.get(URL)
        await response.save_to(str(tmp_path / "one"))
        await response.save_to(trio.Path(tmp_path / "two"), fsync=False)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == b"abc"


async def test_an_empty_body_is_an_empty_file(tmp_path: Path, autojump_clock: object) -> None:
    async with serving(answering(Reply())) as (pool, _), pool.stream("GET", URL) as response:
        await response.save_to(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b""


async def test_what_is_compressed_is_saved_decoded(tmp_path: Path, autojump_clock: object) -> None:
    body = gzip.compress(CONTENT)
    seen: list[Progress] = []
    reply = Reply(body=body, headers={"Content-Encoding": "gzip"})
    async with serving(answering(reply)) as (pool, _), pool.stream("POST", URL, content=b"12") as r:
        await r.save_to(tmp_path / "file", on_progress=seen.append)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert seen[-1] == Progress(2, 2, len(body), len(body))


async def test_a_large_body_is_written_in_blocks(tmp_path: Path, autojump_clock: object) -> None:
    body = os.urandom(BLOCK_BYTES) * 3 + b"rest"
    async with serving(answering(Reply(body=body))) as (pool, _), pool.stream("GET", URL) as r:
        await r.save_to(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == body


async def test_it_takes_the_place_of_what_was_there(tmp_path: Path, autojump_clock: object) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"old")
    new.symlink_to(old)
    async with serving(answering(Reply(body=b"abc"))) as (pool, _):
        await (await pool.get(URL)).save_to(new)
    assert new.read_bytes() == b"abc"
    assert not new.is_symlink()
    assert old.read_bytes() == b"old"
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(new.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


async def test_a_name_may_be_as_long_as_names_are(tmp_path: Path, autojump_clock: object) -> None:
    async with serving(answering(Reply(body=b"abc"))) as (pool, _):
        await (await pool.get(URL)).save_to(tmp_path / ("x" * 255))


async def test_the_directory_is_that_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    reply = Reply(body=[b"a", b"b"], gap=1)
    async with serving(answering(reply)) as (pool, _), pool.stream("GET", URL) as response:
        await response.save_to("file", on_progress=lambda now: os.chdir(tmp_path / "other"))
    assert (tmp_path / "file").read_bytes() == b"ab"


# ── What goes wrong ────────────────────────────────────────────────────────────────────────────


async def test_a_body_that_is_cut_leaves_what_was_there(
    tmp_path: Path, autojump_clock: object
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    async with serving(Shelf(CONTENT, 100)) as (pool, _), pool.stream("GET", URL) as response:
        with pytest.raises(ReadError):
            await response.save_to(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("to", ["directory", "no/such/directory", "file/below"])
async def test_where_no_file_can_be_the_error_comes_before_the_body(
    to: str, tmp_path: Path, autojump_clock: object
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    reply = Reply(body=[b"a", b"b" * 100_000], gap=10)
    async with serving(answering(reply)) as (pool, _), pool.stream("GET", URL) as response:
        with pytest.raises(OSError, match=to):
            await response.save_to(tmp_path / to)
        assert trio.current_time() < 1
        assert pool.statistics().busy == 0
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]


async def test_what_on_progress_raises_arrives_as_itself(
    tmp_path: Path, autojump_clock: object
) -> None:
    def fail(now: Progress) -> None:
        raise ZeroDivisionError

    reply = Reply(body=[b"a", b"b"], gap=10)
    async with serving(answering(reply)) as (pool, _), pool.stream("GET", URL) as response:
        with pytest.raises(ZeroDivisionError):
            await response.save_to(tmp_path / "file", on_progress=fail)
        assert pool.statistics().busy == 0
    assert os.listdir(tmp_path) == []


async def test_a_disk_that_is_full_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    async with serving(answering(Reply(body=b"abc"))) as (pool, _):
        response = await pool.get(URL)
        with pytest.raises(OSError, match="No space"):
            await response.save_to(tmp_path / "file")
        assert os.listdir(tmp_path) == []
        await response.save_to(tmp_path / "file", fsync=False)


async def test_another_task_that_reads_is_not_disturbed(
    tmp_path: Path, autojump_clock: object
) -> None:
    found: list[bytes] = []
    reply = Reply(body=[b"a", b"b"], gap=1)

    async with serving(answering(reply)) as (pool, _), pool.stream("GET", URL) as response:
        assert await response.receive_some() == b"a"

        async def read() -> None:
            found.append(await response.receive_some())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await response.save_to(tmp_path / "file")
    assert found == [b"b"]
    assert os.listdir(tmp_path) == []


async def test_a_disk_that_hangs_holds_no_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    """The cancelled task closes its response at once, and only then waits for the disk."""
    hangs, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        go_on.wait(30)

    before_each_write_of_a_file(monkeypatch, hang)
    body = bytes(BLOCK_BYTES + 1000)
    async with serving(answering(Reply(body=[body, b"more"], gap=100))) as (pool, _):

        async def save() -> None:
            async with pool.stream("GET", URL) as response:
                await response.save_to(tmp_path / "file")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(save)
            await trio.to_thread.run_sync(hangs.wait, 30)
            assert pool.statistics().busy == 1
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                assert pool.statistics().busy == 0
                go_on.set()
    assert os.listdir(tmp_path) == []


def test_saving_may_be_cancelled_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio.to_thread, "run_sync", in_this_thread)
    monkeypatch.setattr(saving, "BLOCK_BYTES", 5)
    path = tmp_path / "file"

    async def scenario(sweep: Sweep) -> None:
        path.write_bytes(b"old")
        reply = Reply(body=[b"12345", b"678", b"90"], gap=0.1)
        async with serving(answering(reply), max_connections=1) as (pool, _):

            async def victim() -> None:
                async with pool.stream("GET", URL) as response:
                    await response.save_to(path)

            result = await sweep.victim(victim)
            assert path.read_bytes() in (
                [b"old", b"1234567890"] if result.cancelled else [b"1234567890"]
            )
            assert os.listdir(tmp_path) == ["file"]
            assert pool.statistics().busy == 0
            await pool.get(URL)

    sweep(scenario)


# ── What comes too late ────────────────────────────────────────────────────────────────────────


async def test_a_thread_that_comes_after_the_removal_does_nothing(tmp_path: Path) -> None:
    file = NewFile(tmp_path / "file")
    await file.discard()
    await file.open()
    await file.write(bytes(BLOCK_BYTES))
    await file.clear()
    await file.keep(saving.Remains("a", "b"))
    assert os.listdir(tmp_path) == []
