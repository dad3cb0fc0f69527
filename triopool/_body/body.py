"""The body of a request: what the caller gave, as something that can be sent.

There are three kinds: bytes; an async iterable, which can be sent once; and a callable that returns
a fresh one of these, so that the request can be repeated.
"""

from __future__ import annotations

import io
import json as stdlib_json
import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import trio

from .content import FileContent, Multipart, MultipartFields
from .form import encode_pairs

# A trio.abc.ReceiveStream is an iterable of "bytes | bytearray".
Pieces: TypeAlias = AsyncIterable[bytes | bytearray | memoryview]
BodyFactory: TypeAlias = Callable[[], bytes | Pieces]
Body: TypeAlias = bytes | Pieces | BodyFactory
Content: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | Pieces | BodyFactory

FILE_BLOCK_BYTES = 64 * 1024
"""How much of a file that the caller opened is read at once."""


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
    if isinstance(content, trio.abc.AsyncResource) and hasattr(content, "wrapped"):
        return _AsyncFile(content)
    if isinstance(content, AsyncIterable) or callable(content):
        return cast("Body", content)  # What they give is seen when they are asked.
    raise TypeError(
        "content must be bytes, str, a Path, an async iterable of bytes, or a callable that "
        f"returns one, not {type(content).__name__}{_hint(content)}"
    )


def _hint(content: object) -> str:
    if isinstance(content, io.IOBase):
        return ": pass its path, as a pathlib.Path"
    if isinstance(content, Mapping):
        return ": is it for json= or form=?"
    return ": join the pieces, or make the iterable async" * isinstance(content, Iterable)


class _AsyncFile:
    """What trio.open_file() returned, in blocks. To iterate over that would give lines."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __aiter__(self) -> _AsyncFile:
        return self

    async def __anext__(self) -> bytes:
        block: bytes = await self._file.read(FILE_BLOCK_BYTES)
        if not block:
            raise StopAsyncIteration
        return block

    async def aclose(self) -> None:
        await self._file.aclose()
