"""A file as the body of a request, or as a part of one.

**A file may change after it was measured.** What was announced is sent: not a byte more if the file
has grown, as a log does, and an error if it has shrunk, for then the announced length can't be kept
and the connection is lost anyway. If a file is overwritten with as many bytes, nobody notices. To
measure anew, for a redirect, is a new promise.

**Regular files only.** The length of a pipe or a device is unknown, its bytes come once, and to
open a pipe blocks until somebody writes to it, in a thread that can't be cancelled. Files of
``/proc`` say that they have 0 bytes, and are believed.

**Where a task can be suspended, and what is owned there.** The disk is touched in threads only:

- Measuring owns nothing, so its thread is abandoned on cancellation: it may be hanging on a
  network disk, and closes by itself what it opened to see whether it can be.
- Reading owns the open file. Its thread can't be abandoned, for nobody may close a file under a
  read. So a cancelled upload ends when the block has been read: at most ``FILE_BLOCK_BYTES``, but
  as late as the disk likes. The thread itself stores what it opened where the closing looks for
  it. So there is no moment in which a file is open and nothing refers to it.
- Closing happens in the thread of the last read. If it does not come to that, because of an error,
  a cancellation or a generator closed half-way, then in a thread of its own, shielded.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar, TypeVarTuple

import trio

from .._threads import run_in_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FILE_BLOCK_BYTES = 1024 * 1024
"""How much of a file is read at once. A thread costs about 100 µs, whatever it reads: the upload of
50 MB takes 1.6 times as long in blocks of 256 KiB."""

OPEN_FILE_BLOCK_BYTES = 64 * 1024
"""The same for a file that the caller has opened with Trio: a block is one chunk on the way."""

MAX_DISK_THREADS = 40
"""How many threads touch the disk at one time, for all pools of a Trio run: the disk is the
machine's, and a body knows no pool. As many as Trio has for everything else, which are left alone:
a network disk that hangs stops other uploads of files, and nothing else."""


class FileContent:
    """A file, by its path. See ``body.py`` for the three steps.

    Attributes:
      content_type: None, as for bytes. A guess could do harm: the signature of an upload URL may
        cover this header.
      path: where it is.
      size: in bytes, as measured last; None before.
    """

    content_type: str | None = None

    def __init__(self, path: os.PathLike[str]) -> None:
        self.path = os.fsdecode(path)
        self.size: int | None = None

    async def measure(self) -> int:
        """The size in bytes. If cancelled, leaves the disk to answer to nobody.

        Raises:
          OSError: it is not there, is no regular file, or may not be read.
        """
        size = await touch_disk(size_of, self.path, abandon_on_cancel=True)
        self.size = size
        return size

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        """The bytes, as many as were measured; in blocks of at most FILE_BLOCK_BYTES.

        If cancelled, waits for the read under way.

        Raises:
          OSError: it can't be opened or read, or has shrunk.
        """
        reader = _Reader(self.path, await self.measure() if self.size is None else self.size)
        try:
            while reader.left:
                yield await touch_disk(reader.read)
        finally:
            # Open only if the last block was not read. Shielded, for this may well be the end of
            # a cancelled upload; and in a thread, since to close a file may write to the disk.
            file = reader.file
            if file is not None and not file.closed:
                with trio.CancelScope(shield=True):
                    await touch_disk(file.close)


class OpenFile:
    """What trio.open_file() returned, in blocks. To iterate over the file itself would give lines.

    It was opened by the caller, so its length is not asked for, and it can be sent once.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def __aiter__(self) -> OpenFile:
        return self

    async def __anext__(self) -> bytes:
        block: bytes = await self._file.read(OPEN_FILE_BLOCK_BYTES)
        if not block:
            raise StopAsyncIteration
        return block

    async def aclose(self) -> None:
        await self._file.aclose()


def size_of(path: str) -> int:
    """The size in bytes of a regular file that can be opened. Blocks."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file, so its length is unknown", path)
    # If it may not be read, that is told now, and not with a request half sent.
    with io.FileIO(path):
        return status.st_size


_disk_threads: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar(
    "triopool: threads that touch the disk"
)


async def touch_disk(
    function: Callable[[*Ts], T], *args: *Ts, abandon_on_cancel: bool = False
) -> T:
    """Call *function* in one of the threads that are there for the disk."""
    try:
        limiter = _disk_threads.get()
    except LookupError:
        limiter = trio.CapacityLimiter(MAX_DISK_THREADS)
        _disk_threads.set(limiter)
    return await run_in_thread(
        function, *args, limiter=limiter, abandon_on_cancel=abandon_on_cancel
    )


class _Reader:
    """Reads so many bytes of a file.

    Attributes:
      left: how many bytes are still to be read.
      file: from the first read on; closed by the last one, or else by the reader's owner.
    """

    def __init__(self, path: str, size: int) -> None:
        self._path = path
        self._size = size
        self.left = size
        self.file: io.FileIO | None = None

    def read(self) -> bytes:
        """The next block. Blocks; for one thread at a time."""
        if self.file is None:
            self.file = io.FileIO(self._path)
        block = self.file.read(min(FILE_BLOCK_BYTES, self.left))
        if not block:
            raise OSError(
                f"{self._path!r} has shrunk while it was being sent: it had {self._size} bytes "
                f"when it was measured, and has {self._size - self.left} now"
            )
        self.left -= len(block)
        if not self.left:
            self.file.close()
        return block
