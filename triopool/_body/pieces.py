"""The pieces of a body, as code of the user's produces them: checked, and closed in the end.

What the user gives is code that runs in the middle of an exchange. It may return something else
than an iterable, yield something else than bytes, raise, or be left half-way. Here is said once
what follows from that.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import NoReturn, TypeAlias

# A trio.abc.ReceiveStream is an iterable of "bytes | bytearray".
Pieces: TypeAlias = AsyncIterable[bytes | bytearray | memoryview]


async def checked_pieces(body: AsyncIterable[object], whose: str) -> AsyncGenerator[bytes, None]:
    """The pieces of *body*, each as bytes. Closes its iterator, however this ends.

    A caller that may stop half-way closes this generator itself (``contextlib.aclosing``): what is
    left to the garbage collector is closed late, and not in the task that has used it. The closing
    is not shielded. How long it takes after a cancellation is for the iterator's author to say.

    Args:
      whose: what to call the iterator in an error's message.

    Raises:
      TypeError: a piece is not bytes.
      Exception: what the iterator raised, as itself.
    """
    iterator = aiter(body)
    try:
        async for piece in iterator:
            yield checked_piece(piece, whose)
    finally:
        await close_body(iterator)


def checked_piece(piece: object, whose: str) -> bytes:
    """What an iterator gave, as bytes.

    Raises:
      TypeError: it is not bytes.
    """
    if type(piece) is bytes:
        return piece
    if isinstance(piece, bytes | bytearray | memoryview):
        # A copy: the user may write into it again before it is sent.
        return bytes(piece)
    raise TypeError(f"{whose} must yield bytes, not {type(piece).__name__}")


def refuse_result(made: object, whose: str) -> NoReturn:
    """Say that the user's function has returned *made*, which is no body.

    Raises:
      TypeError: always.
    """
    if inspect.iscoroutine(made):
        made.close()  # Or Python warns that it was never awaited.
    raise TypeError(f"{whose} must return an async iterable of bytes, not {type(made).__name__}")


async def close_body(body: object) -> None:
    """Close a generator, a stream or a file; other iterables have nothing to be closed."""
    aclose: Callable[[], Awaitable[object]] | None = getattr(body, "aclose", None)
    if aclose is not None:
        await aclose()
