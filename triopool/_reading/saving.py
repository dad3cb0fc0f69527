"""A file that is there as a whole or not at all.

**A temporary file beside it, and a rename.** The bytes go into a file with a name of its own, in
the same directory, because a rename is atomic within a file system only. When all of them have come
it takes the place of what was there. Programs that look at the path see the old file or the new
one, and never a part. A symbolic link is replaced, not followed.

**It is synced before the rename** (``fsync``). Otherwise, after a failure of the power, the new
name may stand for a file whose bytes have never reached the disk: neither the old one nor the new
one, which is what we promise not to happen. The directory is not synced. So after such a failure
either of the two may be there, and whole. That costs some milliseconds with a disk, in a thread and
when the connection has been given back; ``fsync=False`` saves them where a file can be fetched
again, as in a cache.

**Where a task can be suspended, and what is owned there.** The disk is touched in threads only, and
a disk may hang. A connection must not be held for as long. So a write is abandoned if its task is
cancelled: the task closes its response, and its slot is free. Only then it waits for the disk,
shielded, to remove the file. What thread runs when is then unknown; a lock lets one after the other
touch the file, and one that comes after the removal does nothing. The rename can't be abandoned: it
has happened, or it has not. (A program that is killed leaves its temporary file: a dot, sixteen
digits, ``.part``.)

**What was left unfinished** can be kept for a later call, beside the path as ``<name>.part``. What
has to be known of it, to go on, stands at its own end: so there is no second file that could belong
to another one. To keep it and to claim it are renames, too. Of two calls that want to go on with
it, one gets it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, BinaryIO, NamedTuple

import trio

from .._body.file import touch_disk

BLOCK_BYTES = 1024 * 1024
"""How much is gathered for one write: a thread costs about 100 µs, whatever it writes."""

SUFFIX = ".part"
MAGIC = b"\r\ntriopool.part\n"
MAX_FOOTER_BYTES = 10_000
_LENGTH_BYTES = 4


class Remains(NamedTuple):
    """What is known of an unfinished file.

    Attributes:
      resource: stands for what was asked for: a digest, because a URL may hold secrets.
      validator: the version of which the file has the first bytes, for If-Range.
    """

    resource: str
    validator: str


def digest_of(resource: str) -> str:
    """What stands in the file for *resource*."""
    return hashlib.sha256(resource.encode("utf-8", "surrogatepass")).hexdigest()


class NewFile:
    """A file that is being written, and has not got its name yet.

    Every method that is not async may be called in the task only. All of them raise OSError if the
    disk does.

    Attributes:
      size: how many bytes it has, those that are gathered included.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Now: the program may change its directory while the file comes.
        self._path = os.path.abspath(os.fsdecode(path))
        directory = os.path.dirname(self._path)
        # Not the name and something more, which may be too long for a name.
        self._temporary = os.path.join(directory, f".{secrets.token_hex(8)}{SUFFIX}")
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._dead = False
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self.size = 0

    # ── For the task ───────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Make it. If cancelled, :meth:`discard` has to be called all the same."""
        await touch_disk(self._open, None, abandon_on_cancel=True)

    async def open_remains(self, resource: str) -> Remains | None:
        """Make it, out of what was kept of the *resource* if there is something; what is known.

        If cancelled, :meth:`discard` or :meth:`keep` has to be called all the same.
        """
        remains, self.size = await touch_disk(self._open, resource) or (None, 0)
        return remains

    async def write(self, piece: bytes) -> None:
        """Add to it. A checkpoint only now and then, and if cancelled the file is no good."""
        self._gathered.append(piece)
        self._gathered_bytes += len(piece)
        self.size += len(piece)
        if self._gathered_bytes >= BLOCK_BYTES:
            await touch_disk(self._write, self._hand_out(), abandon_on_cancel=True)

    async def clear(self) -> None:
        """Begin anew."""
        self._hand_out()
        self.size = 0
        await touch_disk(self._clear, abandon_on_cancel=True)

    async def finish(self, *, fsync: bool) -> None:
        """Give it its name. If cancelled, that has not happened, or it has and this returns."""
        await touch_disk(self._finish, self._hand_out(), fsync)

    async def discard(self) -> None:
        """Remove it. Shielded; waits for the disk."""
        with trio.CancelScope(shield=True):
            await touch_disk(self._discard)

    async def keep(self, remains: Remains) -> None:
        """Leave it for a later call. Shielded; waits for the disk.

        If that can't be done it is removed, and nothing is raised: there is an error already.
        """
        with trio.CancelScope(shield=True):
            await touch_disk(self._keep, self._hand_out(), remains)

    def _hand_out(self) -> list[bytes]:
        gathered, self._gathered = self._gathered, []
        self._gathered_bytes = 0
        return gathered

    # ── In a thread ────────────────────────────────────────────────────────────────────────────

    def _open(self, resource: str | None) -> tuple[Remains, int] | None:
        with self._lock:
            if self._dead:
                return None
            if os.path.isdir(self._path):
                # The rename would say so, too, but not before all has come.
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._path)
            if resource is not None and (known := self._claim(resource)) is not None:
                return known
            # "x": never into what is there. Its permissions are those of any new file.
            try:
                self._file = open(self._temporary, "xb")  # noqa: SIM115 - closed by another method
            except OSError as exc:
                # The caller knows the name of one file only.
                raise OSError(exc.errno, exc.strerror, self._path) from exc
            return None

    def _claim(self, resource: str) -> tuple[Remains, int] | None:
        """Go on with what was kept. If it is of no use it is removed."""
        kept = self._path + SUFFIX
        try:
            if not stat.S_ISREG(os.lstat(kept).st_mode):
                return None
            os.rename(kept, self._temporary)
        except OSError:
            return None  # Nothing was kept, or another call has it.
        with suppress(OSError), ExitStack() as undo:
            file = undo.enter_context(open(self._temporary, "r+b"))
            known = _read_footer(file, resource)
            if known is not None:
                undo.pop_all()
                self._file = file
                return known
        os.unlink(self._temporary)
        return None

    def _write(self, pieces: Sequence[bytes]) -> None:
        with self._lock:
            if self._file is not None:
                self._file.writelines(pieces)

    def _clear(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.seek(0)
                self._file.truncate()

    def _finish(self, pieces: Sequence[bytes], fsync: bool) -> None:
        with self._lock:
            assert self._file is not None
            self._file.writelines(pieces)
            self._file.flush()
            if fsync:
                os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._temporary, self._path)
            self._file = None

    def _discard(self) -> None:
        with self._lock:
            self._dead = True
            file, self._file = self._file, None
            if file is not None:
                # What is in the buffer may not fit on the disk; closed it is all the same.
                with suppress(OSError):
                    file.close()
                with suppress(OSError):
                    os.unlink(self._temporary)

    def _keep(self, pieces: Sequence[bytes], remains: Remains) -> None:
        with self._lock:
            if self._file is not None:
                # ValueError: it was closed, and could not get its name.
                with suppress(OSError, ValueError):
                    self._file.writelines([*pieces, _footer(remains)])
                    self._file.close()
                    os.replace(self._temporary, self._path + SUFFIX)
                    self._file = None
        self._discard()


def _footer(remains: Remains) -> bytes:
    known = json.dumps(remains).encode()
    return known + len(known).to_bytes(_LENGTH_BYTES, "big") + MAGIC


def _read_footer(file: BinaryIO, resource: str) -> tuple[Remains, int] | None:
    """What is known of *file*, and its size without the footer, which is cut off.

    None if it is not what we have kept, or of another resource.
    """
    size = file.seek(0, os.SEEK_END)
    tail = _read_at(file, max(0, size - MAX_FOOTER_BYTES), size)
    rest, magic, behind = tail.rpartition(MAGIC)
    start = len(rest) - _LENGTH_BYTES
    known: Any = None
    if magic and not behind and start >= 0:
        length = int.from_bytes(rest[start:], "big")
        with suppress(ValueError, RecursionError):
            known = json.loads(rest[max(0, start - length) : start])
        size -= length + _LENGTH_BYTES + len(MAGIC)
    match known:
        case [str() as of, str() as validator] if (
            of == resource and size > 0 and validator.isascii() and validator.isprintable()
        ):
            file.truncate(size)
            file.seek(size)
            return Remains(of, validator), size
    return None


def _read_at(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)
