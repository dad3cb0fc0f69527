"""Iterators over the body of a response: pieces of text, lines, objects, events.

**They own nothing.** A generator that a loop is left in the middle of is not closed before the
garbage collector finds it; under Trio that is no place to give a connection back. So these are
objects with ``__anext__`` that ask the response for its next bytes. The response belongs to its
``stream()`` block, and with the block ends everything: whether the loop was left, and whether
somebody still has the iterator, makes no difference.

**Each step is a place to be cancelled at**, also one that has its item already: no item is lost by
that. Other tasks get their turn with each piece that is read, and else every ``ITEMS_IN_A_ROW``
steps: a full checkpoint for each of 60,000 short lines would take ten times as long as the lines.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Generic, TypeAlias, TypeVar

import trio

from .events import EventParser, ServerSentEvent
from .lines import Splitter, TextLines
from .refusal import NotAccepted
from .text import TextDecoder

T = TypeVar("T")
Receive: TypeAlias = Callable[[], Awaitable[bytes]]
"""Gives the next piece of a body; ``b""`` at its end, again and again. A checkpoint."""

PIECE_BYTES = 65536
ITEMS_IN_A_ROW = 100
_BLANK = " \t\r"
"""White space in JSON, but for the LF."""


class Content:
    """A body that has been read, in pieces, as if it came one by one."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._taken = 0

    async def receive(self) -> bytes:
        """The next piece. A checkpoint."""
        await trio.lowlevel.checkpoint()
        start = self._taken
        self._taken = start + PIECE_BYTES
        return self._content[start : self._taken]


class Items(AsyncIterator[T], Generic[T]):
    """Iterates over what a body has in it.

    Args:
      receive: where the body comes from.
      refuse: makes an error that says what the server sent.
    """

    def __init__(self, receive: Receive, refuse: Callable[[str], Exception]) -> None:
        self._receive = receive
        self._refuse = refuse
        self._ready: deque[Any] = deque()
        self._in_a_row = 0
        self._ended = False
        self._failure: Exception | None = None

    async def __anext__(self) -> T:
        if self._ready:
            await self._let_others_run()
        # Another task may have taken it meanwhile.
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                await trio.lowlevel.checkpoint()
                raise StopAsyncIteration
            self._in_a_row = 0
            self._take(await self._receive())
        return self._shown(self._ready.popleft())

    async def _let_others_run(self) -> None:
        self._in_a_row += 1
        if self._in_a_row % ITEMS_IN_A_ROW:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()

    def _take(self, piece: bytes) -> None:
        self._ended = not piece
        try:
            # Not extend(): what comes before an error is given out before it.
            for item in self._feed(piece) if piece else self._end():
                self._ready.append(item)
        except NotAccepted as exc:
            self._failure = self._refuse(str(exc))

    @abstractmethod
    def _feed(self, piece: bytes) -> Iterable[Any]:
        """The items that end in *piece*."""

    def _end(self) -> Iterable[Any]:
        """The items that end with the body."""
        return ()

    def _shown(self, item: Any) -> T:
        """An item as the program gets it."""
        shown: T = item
        return shown


class TextItems(Items[str]):
    """Pieces of text, none of them empty."""

    def __init__(self, receive: Receive, refuse: Callable[[str], Exception], charset: str) -> None:
        super().__init__(receive, refuse)
        self._text = TextDecoder(charset)

    def _feed(self, piece: bytes) -> Iterable[str]:
        return filter(None, [self._text.feed(piece)])

    def _end(self) -> Iterable[str]:
        return filter(None, [self._text.feed(b"", last=True)])


class LineItems(Items[str]):
    """Lines of text, without what ends them."""

    def __init__(
        self,
        receive: Receive,
        refuse: Callable[[str], Exception],
        charset: str,
        max_length: int | None,
    ) -> None:
        super().__init__(receive, refuse)
        self._text = TextDecoder(charset)
        self._lines = TextLines(max_length)

    def _feed(self, piece: bytes) -> Iterator[str]:
        return self._lines.feed(self._text.feed(piece))

    def _end(self) -> Iterator[str]:
        yield from self._lines.feed(self._text.feed(b"", last=True))
        yield from self._lines.end()


class JSONItems(Items[Any]):
    """What the lines say, each of which is a JSON text.

    They end with LF only, which is the one newline of these formats: a CR is white space in JSON.
    Bytes are split and not text, each byte taken for a character meanwhile: so one line that is not
    UTF-8 spoils no other one.
    """

    def __init__(
        self,
        receive: Receive,
        refuse: Callable[[str], Exception],
        max_length: int | None,
    ) -> None:
        super().__init__(receive, refuse)
        self._lines = Splitter(max_length, "bytes")

    def _feed(self, piece: bytes) -> Iterator[str]:
        return (line for line in self._lines.feed(piece.decode("latin-1")) if line.strip(_BLANK))

    def _end(self) -> Iterator[str]:
        return (line for line in self._lines.end() if line.strip(_BLANK))

    def _shown(self, item: str) -> Any:
        try:
            return json.loads(item.encode("latin-1"))
        except RecursionError:
            pass
        # Not where it was raised: a thousand lines of traceback tell nothing.
        raise json.JSONDecodeError("nested too deep", "", 0)


class EventItems(Items[ServerSentEvent]):
    """Server-sent events.

    Attributes:
      parser: knows the last id, and the time to wait before connecting again.
    """

    def __init__(
        self,
        receive: Receive,
        refuse: Callable[[str], Exception],
        max_length: int | None,
        last_event_id: str,
    ) -> None:
        super().__init__(receive, refuse)
        self.parser: EventParser = EventParser(max_length, last_event_id)

    def _feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        return self.parser.feed(piece)
