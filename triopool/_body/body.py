"""The body of a request: what the caller gave, as something that can be sent.

There are three kinds. Bytes; an async iterable, which can be sent once; and a callable that returns
a fresh one of these, so that the request can be repeated.

Files and forms of several parts are of the third kind. The naive way is to take open files and to
pass on what they give. Then the length is unknown, so the body goes out chunked, which the upload
of an object store and many an older server refuse; the disk is read on Trio's thread, and every
other request stands still meanwhile; a file that was read once can't be sent again when its
connection turns out to be stale; and who closes it when half of it is sent?

So such a body is named, not opened. It goes through three steps:

1. *Made*, synchronously: all that can be wrong with names and types is told here.
2. *Measured*, before a slot is taken: the sizes of the files, so that the body has a
   Content-Length. If a file is not there, is a directory or may not be read, that is told here.
3. *Called*, once per attempt: a fresh iterator over the same bytes. A file is opened when it is
   its turn, so that at most one is open at a time.
"""

from __future__ import annotations

import io
import json as stdlib_json
import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import trio

from .file import FileContent, OpenFile
from .form import encode_pairs
from .multipart import Multipart, MultipartFields
from .pieces import Pieces

BodyFactory: TypeAlias = Callable[[], bytes | Pieces]
Body: TypeAlias = bytes | Pieces | BodyFactory
Content: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | Pieces | BodyFactory

Measured: TypeAlias = FileContent | Multipart
"""Bodies that know their length once they have looked at the disk, and can be produced again."""


def to_body(
    *, content: Any, json: Any, form: Any, multipart: MultipartFields | None
) -> tuple[Body, str | None]:
    """The body, and the Content-Type that it suggests.

    Raises:
      TypeError, ValueError: it can't be sent; or more than one was given.
    """
    if content is None and json is None and form is None and multipart is None:
        return b"", None
    given = {"content": content, "json": json, "form": form, "multipart": multipart}
    names = [f"{name}=" for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise TypeError(f"give one body, not several: {', '.join(names)}")
    if json is not None:
        return _encode_json(json), "application/json"
    if form is not None:
        return encode_pairs(form, "form").encode(), "application/x-www-form-urlencoded"
    if multipart is not None:
        parts = Multipart(multipart)
        return parts, parts.content_type
    if isinstance(content, str):
        return content.encode(), "text/plain; charset=utf-8"
    return _from_content(content), None


def _encode_json(value: Any) -> bytes:
    text = stdlib_json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _from_content(content: Any) -> Body:
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if isinstance(content, os.PathLike):
        return FileContent(content)
    # Trio's async files are of no public class; `wrapped` is documented.
    if isinstance(content, trio.abc.AsyncResource) and hasattr(content, "wrapped"):
        return OpenFile(content)
    if isinstance(content, AsyncIterable) or callable(content):
        return cast("Body", content)  # What it gives is checked when it is asked.
    raise TypeError(
        "content must be bytes, str, a Path, an async iterable of bytes, or a callable that "
        f"returns one, not {type(content).__name__}{_hint_for_content(content)}"
    )


def _hint_for_content(content: object) -> str:
    if isinstance(content, io.IOBase):
        return ": pass its path, as a pathlib.Path"
    if isinstance(content, Mapping):
        return ": is it for json= or form=?"
    if isinstance(content, Iterable):
        return ": join the pieces, or make the iterable async"
    return ""
