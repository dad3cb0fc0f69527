"""Bodies that are made from what the user names: a file by its path, a form of several parts.

The naive way is to take open files and to pass on whatever they give. Then the length is unknown,
so the body goes out chunked, which the upload of an object store and many an older server refuse;
the disk is read on Trio's thread, and every other request stands still meanwhile; a file that was
read once can't be sent again when its connection turns out to be stale; and who closes it when
half of it is sent?

So a body of ours is named, not opened. It goes through three steps:

1. *Made*, synchronously: all that can be wrong with names and types is told here.
2. *Measured*, before a slot is taken: the sizes of the files, so that the body has a
   Content-Length. Whatever is not there, is a directory or may not be read is told here.
3. *Called*, once per attempt: a fresh iterator over the same bytes. A file is opened when it is
   its turn, so that at most one is open at a time.

**A file may change between the second step and the third.** What was announced is sent: not a byte
more if the file has grown (a log does), and an error if it has shrunk, for then the announced
length can't be kept and the connection is lost anyway. One that is overwritten with as many bytes
is not noticed. To measure anew, for a redirect, is a new promise.

**Regular files only.** The length of a pipe or a device is unknown, its bytes come once, and to
open a pipe blocks until somebody writes to it, in a thread that can't be cancelled. Files of
``/proc`` say that they have 0 bytes, and are believed.

**Where a task can be suspended, and what is owned there.** The disk is touched in threads only:

- Measuring owns nothing, so its thread is abandoned on cancellation: it may be hanging on a
  network disk, and closes by itself what it opened to see whether it can be.
- Reading owns the open file. Its thread can't be abandoned, for nobody may close a file under a
  read. So a cancelled upload ends when the block has been read: at most ``FILE_BLOCK_BYTES``, but
  as late as the disk likes. The thread itself stores what it opened where the closing looks for
  it; there is no moment in which a file is open and nobody knows.
- Closing happens in the thread of the last read. If it does not come to that, because of an error,
  a cancellation or a generator closed half-way, then in a thread of its own, shielded.
- An iterator of the user's is closed on every path too, but not shielded: how long that may take
  is for its author to say.

Left out: ``filename*`` (RFC 7578 section 4.2 forbids it), headers of a part's own, parts within
parts, and to say a length for what a function produces.
"""

from __future__ import annotations

import errno
import inspect
import io
import mimetypes
import os
import re
import secrets
import stat
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing
from dataclasses import KW_ONLY, dataclass, field
from pathlib import PurePath
from typing import Any, TypeAlias, TypeVar, TypeVarTuple, cast

import trio

from .._threads import run_in_thread
from .form import as_text

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FILE_BLOCK_BYTES = 1024 * 1024
"""How much of a file is read at once. A thread costs about 100 µs, whatever it reads: the upload of
50 MB takes 1.6 times as long in blocks of 256 KiB."""

MAX_DISK_THREADS = 40
"""How many threads touch the disk at one time, for all pools of a Trio run: the disk is the
machine's, and a body knows no pool. As many as Trio has for everything else, which are left alone:
a network disk that hangs stops other uploads of files, and nothing else."""

JOINED_BYTES = 64 * 1024
"""The small things of a form are joined to pieces of at most this size."""

_OCTETS = "application/octet-stream"
_TEXT = "text/plain; charset=utf-8"
_PRINTABLE = re.compile(r"[\x20-\x7e]+")


# ── A file ─────────────────────────────────────────────────────────────────────────────────────


class FileContent:
    """A file, by its path.

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
        size = await _touch_disk(_size_of, self.path, abandon_on_cancel=True)
        self.size = size
        return size

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        reader = _Reader(self.path, await self.measure() if self.size is None else self.size)
        try:
            while reader.left:
                yield await _touch_disk(reader.read)
        finally:
            file = reader.file
            if file is not None and not file.closed:
                with trio.CancelScope(shield=True):
                    await _touch_disk(file.close)


_disk_threads: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar(
    "triopool: threads that touch the disk"
)


async def _touch_disk(
    function: Callable[[*Ts], T], *args: *Ts, abandon_on_cancel: bool = False
) -> T:
    try:
        limiter = _disk_threads.get()
    except LookupError:
        limiter = trio.CapacityLimiter(MAX_DISK_THREADS)
        _disk_threads.set(limiter)
    return await run_in_thread(
        function, *args, limiter=limiter, abandon_on_cancel=abandon_on_cancel
    )


def _size_of(path: str) -> int:
    """In bytes, of a regular file that can be opened. Blocks."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file, so its length is unknown", path)
    # Better now than with a request half sent.
    with io.FileIO(path):
        return status.st_size


class _Reader:
    """Reads so many bytes of a file.

    Attributes:
      left: how many bytes are still to be read.
      file: from the first read on; closed by the last one, or else by whoever made the reader.
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


# ── A form ─────────────────────────────────────────────────────────────────────────────────────

Produce: TypeAlias = Callable[[], AsyncIterable[bytes | bytearray | memoryview]]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart form, where a plain value does not say enough.

    Args:
      content: bytes, text, the path of a file, or a function that returns a fresh async iterable
        of bytes whenever it is called (an async generator function is one). The length of what a
        function gives is unknown, so the whole form is then sent chunked.
      filename: the name that the server is told. None: the file's own name for a path; otherwise
        none, so that the server takes the part for a field and not for a file.
      content_type: None: for a path, guessed from the file name by :mod:`mimetypes`; for text
        with a file name, plain text; for anything else with a file name,
        ``application/octet-stream``; without a file name, nothing.

    Raises:
      TypeError: an argument is of the wrong type. An open file is: pass its path.
      ValueError: *content_type* is not made of printable ASCII characters.
    """

    content: bytes | bytearray | memoryview | str | os.PathLike[str] | Produce = field(repr=False)
    _: KW_ONLY
    filename: str | None = None
    content_type: str | None = None

    def __post_init__(self) -> None:
        for name, text in (("filename", self.filename), ("content_type", self.content_type)):
            if not isinstance(text, str | None):
                raise TypeError(
                    f"{name} of a Part must be a str or None, not {type(text).__name__}"
                )
        if self.content_type is not None and not _PRINTABLE.fullmatch(self.content_type):
            raise ValueError("content_type of a Part must be made of printable ASCII characters")
        if isinstance(self.content, bytearray | memoryview):
            # A copy: what is sent again must be what was sent.
            object.__setattr__(self, "content", bytes(self.content))
        elif not (isinstance(self.content, bytes | str | os.PathLike) or callable(self.content)):
            raise TypeError(
                "content of a Part must be bytes, str, a path, or a function that returns an "
                f"async iterable of bytes, not {type(self.content).__name__}{_hint(self.content)}"
            )


def _hint(content: object) -> str:
    if hasattr(content, "read"):
        return ": pass the path of the file, as a pathlib.Path"
    if isinstance(content, AsyncIterable):
        return ": give triopool.Part a function that returns a fresh one each time"
    return ": give it to triopool.Part" if callable(content) else ""


# Any: a str, a number, a bool, None, bytes, a path, a Part, or a list of these. Type checkers give
# up on a literal dict with values of several such types.
MultipartFields: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Any]]


class Multipart:
    """A form as ``multipart/form-data`` (RFC 7578), streamed part by part.

    Booleans are sent as JSON has them and None as an empty value, as in ``params``. Text goes out
    as it is: a browser would make CR LF of each of its line ends, but a program means what it says.

    A form without a field is legal, as it is in a browser: whether there is something to send may
    depend on what somebody filled in.

    Args:
      fields: a mapping, or an iterable of (name, value) pairs. A value is text, a number, a bool,
        None, bytes, the path of a file, or a :class:`Part`; or a list of those, for a field that
        is repeated. (Not any iterable: a generator is more likely to be meant as one
        content in pieces.)

    Attributes:
      content_type: with the boundary: 128 random bits, so that no content holds it by chance or by
        malice, and the same ones whenever this body is sent.

    Raises:
      TypeError: a name or a value is of the wrong type.
      ValueError: a name or a text can't be encoded as UTF-8.
    """

    def __init__(self, fields: MultipartFields) -> None:
        boundary = secrets.token_hex(16)
        self.content_type: str | None = f"multipart/form-data; boundary={boundary}"
        self._start = f"--{boundary}\r\n".encode()
        self._end = f"--{boundary}--\r\n".encode()
        self._fields = [_field(name, _part(name, value)) for name, value in _flat(fields)]
        self._measured = False

    async def measure(self) -> int | None:
        """As :meth:`FileContent.measure`, for all files; None with a part of unknown length."""
        files = [(one, one.content) for one in self._fields if type(one.content) is FileContent]
        if files:
            asked = [(file.path, None if one.content_type else one.filename) for one, file in files]
            # Nothing is stored by the thread, for it may be abandoned.
            found = await _touch_disk(_look_at, asked, abandon_on_cancel=True)
            for (one, file), (size, guessed) in zip(files, found, strict=True):
                file.size = size
                one.content_type = one.content_type or guessed
        else:
            await trio.lowlevel.checkpoint()
        self._measured = True
        sizes = [len(one) if isinstance(one, bytes) else one.size for one in self._chunks()]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        if not self._measured:
            await self.measure()
        for chunk in _joined(self._chunks()):
            if isinstance(chunk, bytes):
                yield chunk
                continue
            # Closed here: a generator that is left half-way must not wait for the collector.
            async with aclosing(chunk()) as pieces:
                async for piece in pieces:
                    yield piece

    def _chunks(self) -> Iterator[bytes | FileContent | _Produced]:
        for one in self._fields:
            yield self._start + one.head()
            yield one.content
            yield b"\r\n"
        yield self._end


Measured: TypeAlias = FileContent | Multipart
"""Bodies that know their length once they have looked at the disk, and can be produced again."""


@dataclass(slots=True)
class _Field:
    """A part, ready to be sent but for what the disk has to say.

    Attributes:
      disposition: the first line of its head.
      filename: as the server is told.
      content_type: None for none, or for a file whose type has not been guessed yet.
    """

    disposition: bytes
    content: bytes | FileContent | _Produced
    filename: str | None
    content_type: str | None

    def head(self) -> bytes:
        lines = [self.disposition]
        if self.content_type is not None:
            lines.append(f"Content-Type: {self.content_type}".encode())
        return b"\r\n".join([*lines, b"", b""])


class _Produced:
    """What a function of the user's gives, checked and closed."""

    size = None

    def __init__(self, name: str, produce: Produce) -> None:
        self._name = name
        self._produce = produce

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        pieces: object = self._produce()
        if inspect.iscoroutine(pieces):
            pieces.close()
        if not isinstance(pieces, AsyncIterable):
            raise TypeError(
                f"the function for field {self._name!r} must return an async iterable of bytes, "
                f"not {type(pieces).__name__}"
            )
        iterator = aiter(pieces)
        try:
            async for piece in iterator:
                if not isinstance(piece, bytes | bytearray | memoryview):
                    raise TypeError(
                        f"the iterator for field {self._name!r} must yield bytes, "
                        f"not {type(piece).__name__}"
                    )
                yield bytes(piece)
        finally:
            await close_body(iterator)


async def close_body(body: object) -> None:
    """Close a generator, a stream or a file; other iterables have no end to be told."""
    aclose: Callable[[], Awaitable[object]] | None = getattr(body, "aclose", None)
    if aclose is not None:
        await aclose()


def _joined(
    chunks: Iterable[bytes | FileContent | _Produced],
) -> Iterator[bytes | FileContent | _Produced]:
    """Join the small things. What is large stays alone, and to join one thing does not copy it."""
    small: list[bytes] = []
    size = 0
    for chunk in chunks:
        fits = isinstance(chunk, bytes) and size + len(chunk) <= JOINED_BYTES
        if small and not fits:
            yield b"".join(small)
            small, size = [], 0
        if isinstance(chunk, bytes):
            small.append(chunk)
            size += len(chunk)
        else:
            yield chunk
    # The end of a form is small: there is always something left.
    yield b"".join(small)


def _look_at(asked: list[tuple[str, str | None]]) -> list[tuple[int, str | None]]:
    """The size of each path, and the content type that its file name suggests. Blocks.

    (The types too: :mod:`mimetypes` reads the system's tables when it is first asked.)
    """
    return [(_size_of(path), name if name is None else _guess_type(name)) for path, name in asked]


def _guess_type(filename: str) -> str:
    # "./" so that a name such as "data:text/html,.png" is not taken for a URL.
    guessed, encoding = mimetypes.guess_type(f"./{filename}")
    # What is compressed is not of the type that it will have again.
    return _OCTETS if guessed is None or encoding is not None else guessed


# ── What the user gave, checked ────────────────────────────────────────────────────────────────


def _flat(fields: Any) -> Iterator[tuple[str, object]]:
    """Names and values, one value at a time."""
    if isinstance(fields, str | bytes) or not isinstance(fields, Iterable):
        raise TypeError(
            "a multipart form must be a mapping, or an iterable of (name, value) pairs, "
            f"not {type(fields).__name__}"
        )
    for pair in fields.items() if isinstance(fields, Mapping) else fields:
        match pair:
            case (str() as name, list() as values):
                for value in values:
                    yield name, value
            case (str() as name, tuple()):
                # As other clients take a file; taken for a list it would be three fields.
                raise TypeError(
                    f"field {name!r} must not be a tuple: give "
                    "triopool.Part(content, filename=..., content_type=...), or a list of values"
                )
            case (str() as name, value):
                yield name, value
            case (name, _):
                raise TypeError(f"the name of a field must be a str, not {type(name).__name__}")
            case _:
                raise TypeError("a multipart form must be made of (name, value) pairs")


def _part(name: str, value: object) -> Part:
    match value:
        case Part():
            return value
        case bytes() | bytearray() | memoryview() | os.PathLike():
            return Part(value)
    text = as_text(value)
    if text is not None:
        return Part(text)
    raise TypeError(
        f"field {name!r} must be a str, a number, a bool, None, bytes, a path or a triopool.Part, "
        f"not {type(value).__name__}{_hint(value)}"
    )


def _field(name: str, part: Part) -> _Field:
    content, filename, content_type = part.content, part.filename, part.content_type
    if isinstance(content, os.PathLike):
        # Its type, unless given, is guessed where the tables can be read.
        filename = PurePath(os.fsdecode(content)).name if filename is None else filename
    elif filename is not None and content_type is None:
        content_type = _TEXT if isinstance(content, str) else _OCTETS
    disposition = b'Content-Disposition: form-data; name="%b"' % _quoted(
        name, f"the name of field {name!r}"
    )
    if filename is not None:
        disposition += b'; filename="%b"' % _quoted(filename, f"the file name of field {name!r}")
    return _Field(disposition, _content(name, content), filename, content_type)


def _content(name: str, content: object) -> bytes | FileContent | _Produced:
    match content:
        case str():
            return _utf8(content, f"the text of field {name!r}")
        case bytes():
            return content
        case os.PathLike():
            return FileContent(content)
    return _Produced(name, cast("Produce", content))


def _quoted(text: str, what: str) -> bytes:
    """For between quotes: the escapes of the HTML standard (multipart/form-data), no others."""
    data = _utf8(text, what)
    return data.replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A")


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    # Not where it was raised: that one quotes the text.
    raise ValueError(f"{what} can't be encoded as UTF-8")
