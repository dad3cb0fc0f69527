"""A form of several parts as the body of a request: ``multipart/form-data`` (RFC 7578).

A form is a sequence of chunks: some bytes of ours before each part, its content, the end. The
content is bytes, a file, or what a function of the user's produces. Small chunks are joined, so
that a form of many fields is not sent in as many pieces; a file is opened when it is its turn, so
that at most one is open at a time.

Left out: ``filename*`` (RFC 7578 section 4.2 forbids it), headers of a part's own, parts within
parts, and to say a length for what a function produces.
"""

from __future__ import annotations

import mimetypes
import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import KW_ONLY, dataclass, field
from pathlib import PurePath
from typing import Any, TypeAlias, cast

import trio

from .file import FileContent, size_of, touch_disk
from .form import as_text
from .pieces import Pieces, checked_pieces, refuse_result

JOINED_BYTES = 64 * 1024
"""The small things of a form are joined to pieces of at most this size."""

_OCTETS = "application/octet-stream"
_TEXT = "text/plain; charset=utf-8"
_PRINTABLE = re.compile(r"[\x20-\x7e]+")

Produce: TypeAlias = Callable[[], Pieces]
"""Returns a fresh async iterable of bytes whenever it is called."""


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
                "content of a Part must be bytes, str, a path, or a function that returns an async "
                f"iterable of bytes, not {type(self.content).__name__}"
                f"{_hint_for_part(self.content)}"
            )


def _hint_for_part(content: object) -> str:
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

    A form without a field is legal, as it is in a browser: perhaps nothing was filled in.

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
        """The length of the whole form; None if it has a part of unknown length.

        Looks at all files, in one thread. If cancelled, that thread is left to end by itself.

        Raises:
          OSError: a file is not there, is no regular file, or may not be read.
        """
        files = [(one, one.content) for one in self._fields if type(one.content) is FileContent]
        if files:
            asked = [(file.path, None if one.content_type else one.filename) for one, file in files]
            # The thread stores nothing: it may be abandoned, and would write into a form that is
            # being sent.
            found = await touch_disk(_look_at, asked, abandon_on_cancel=True)
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
        """The bytes of the form, the same ones each time; as its parts give them."""
        if not self._measured:
            await self.measure()
        for chunk in _joined(self._chunks()):
            if isinstance(chunk, bytes):
                yield chunk
                continue
            # Closed here, and not by the garbage collector, if we are left half-way.
            async with aclosing(chunk()) as pieces:
                async for piece in pieces:
                    yield piece

    def _chunks(self) -> Iterator[bytes | FileContent | _Produced]:
        for one in self._fields:
            yield self._start + one.head()
            yield one.content
            yield b"\r\n"
        yield self._end


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
    """What a function of the user's produces, which is called anew for each attempt."""

    size = None  # Not known, so the whole form has no length.

    def __init__(self, name: str, produce: Produce) -> None:
        self._name = name
        self._produce = produce

    def __call__(self) -> AsyncGenerator[bytes, None]:
        produced: object = self._produce()
        if not isinstance(produced, AsyncIterable):
            refuse_result(produced, f"the function for field {self._name!r}")
        return checked_pieces(produced, f"the iterator for field {self._name!r}")


def _joined(
    chunks: Iterable[bytes | FileContent | _Produced],
) -> Iterator[bytes | FileContent | _Produced]:
    """Join small chunks. A large one stays by itself, and is not copied."""
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
    # The last chunk of a form is small, so there is always something left to be joined.
    yield b"".join(small)


def _look_at(asked: list[tuple[str, str | None]]) -> list[tuple[int, str | None]]:
    """The size of each path, and the content type that its file name suggests. Blocks.

    (The types too: :mod:`mimetypes` reads the system's tables when it is first asked.)
    """
    return [(size_of(path), None if name is None else _guess_type(name)) for path, name in asked]


def _guess_type(filename: str) -> str:
    # With "./", so that mimetypes takes no name such as "data:text/html,.png" for a URL.
    guessed, encoding = mimetypes.guess_type(f"./{filename}")
    # With an encoding ("a.txt.gz") the type is that of the file once it is unpacked; it isn't yet.
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
                # Other clients take a tuple for a file. Taken for a list, it would be three fields.
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
        f"not {type(value).__name__}{_hint_for_part(value)}"
    )


def _field(name: str, part: Part) -> _Field:
    content, filename, content_type = part.content, part.filename, part.content_type
    if isinstance(content, os.PathLike):
        # Its type, unless given, is guessed in a thread: see _look_at().
        filename = PurePath(os.fsdecode(content)).name if filename is None else filename
    elif filename is not None and content_type is None:
        content_type = _TEXT if isinstance(content, str) else _OCTETS
    disposition = b'Content-Disposition: form-data; name="%b"' % _escaped(
        name, f"the name of field {name!r}"
    )
    if filename is not None:
        disposition += b'; filename="%b"' % _escaped(filename, f"the file name of field {name!r}")
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


def _escaped(text: str, what: str) -> bytes:
    """Text to stand between quotes, with the escapes of the HTML standard and no others."""
    data = _utf8(text, what)
    return data.replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A")


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    # Raised out here, so that it has no context: Python's own error quotes the text.
    raise ValueError(f"{what} can't be encoded as UTF-8")
