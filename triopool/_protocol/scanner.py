"""What a response's bytes have to pass before a parser of HTTP/1 sees them. Knows no parser.

    what arrives ──put──► scanner ──take──► parser
                            ├── heads.py   the rules for heads and trailers
                            └── chunks.py  chunked bodies

The scanner holds each head back until it is whole, within a bound, so that no parser searches it
again from its beginning with each byte that arrives; has it checked and read; and knows from that
what comes next. A parser behind it can rest on four things:

- What it is given is legal as far as the form goes, and in the one form that all programs read
  alike: no folded lines, CR LF at the end of each, chunks without extensions.
- It is given whole heads (the first one with the beginning of its body), whole chunks, whole
  trailers. So what it makes of them is there at once, and it needs no bounds of its own.
- :attr:`Scanner.told` says how the body is framed, and how long the connection lasts.
- *doubt* has been told if others may read the response differently.

A parser may have all of that as one stream (:meth:`Scanner.take`, where chunks are framed anew), or
each section by itself.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable

from .chunks import Chunks
from .heads import (
    BEGINNING,
    BLANK_LINE,
    CLEAN_HEAD,
    CLEAN_TRAILERS,
    Doubt,
    NotLegal,
    Told,
    check_beginning,
    check_trailers,
    has_no_body,
    read_head,
    tidy,
)

MAX_HEAD_BYTES = 64 * 1024
"""Bound on the heads of one response together: 1xx ones, the final one, trailers."""

MAX_FIELDS = 256
"""Bound on the number of fields in them."""

GIVEN_AT_ONCE = 64 * 1024
"""How much of a body h11 gets at once. It copies that three times, and beyond this size malloc()
asks the system for each copy: 50 MB cost 6 ms in pieces of 64 KiB, 50 to 70 ms in larger ones."""

NOTHING_TOLD = Told(0, None, False, "", None)


class Stage(enum.Enum):
    """What is to come next."""

    HEAD = enum.auto()
    BODY = enum.auto()  # As it is; the parser sees its end.
    CHUNKS = enum.auto()
    TRAILERS = enum.auto()  # Behind the line of the last chunk.
    NOTHING = enum.auto()  # Or what is no HTTP any more.


class Scanner:
    """Takes what arrives on one connection; gives a parser what has been checked.

    :meth:`start` begins an exchange, :meth:`put` takes in what has been read, and :meth:`take`
    gives it out until it gives out nothing; or :meth:`take_head` and the like, as :attr:`stage`
    says.

    Args:
      doubt: is told of each reason why others may read the response differently.
      read: finds out what a head says of what is behind it.

    Attributes:
      stage: what is to come next.
      told: what the last head of this exchange says.
      idle_limit: how long the server keeps the connection when idle, in seconds less a margin;
        None if it never said.
    """

    def __init__(self, doubt: Doubt, read: Callable[[bytes, Doubt], Told] = read_head) -> None:
        self._doubt = doubt
        self._read = read
        self.idle_limit: float | None = None
        self._data: bytes | bytearray = b""
        self._at = 0  # what is before this has been given out
        self._searched = 0  # the end of a head is not before this
        self._chunks = Chunks(doubt)
        self.start(b"")

    def start(self, method: bytes, *, asks_to_switch: bool = False) -> None:
        """Begin an exchange: a request with this method has been sent, or will be.

        Args:
          asks_to_switch: whether it names another protocol, so that 101 may come.
        """
        self.stage = Stage.HEAD
        self.told = NOTHING_TOLD
        self._method = method
        self._asks_to_switch = asks_to_switch
        self._head_bytes = self._fields = 0

    def put(self, data: bytes) -> None:
        """Take in what has been read."""
        if self._at == len(self._data):
            self._data, self._at, self._searched = data, 0, 0
        else:
            # What waits for its end may come byte by byte: bytes would be copied each time.
            if isinstance(self._data, bytearray):
                del self._data[: self._at]
            else:
                self._data = bytearray(self._data[self._at :])
            self._searched = max(0, self._searched - self._at)
            self._at = 0
            self._data += data
        if self.stage is Stage.CHUNKS:
            self._chunks.rest()

    def take(self) -> bytes | memoryview:
        """What the parser may have next. Nothing, if more has to come first or it is paused.

        Raises:
          NotLegal: what has come is not legal, or exceeds a bound. Again and again.
        """
        if self._at == len(self._data):
            return b""
        if self.stage is Stage.HEAD:
            return self._take_head_and_more()
        if self.stage is Stage.BODY:
            return self._take_some_of_body()
        if self.stage is Stage.CHUNKS and (data := self.take_chunks()):
            return b"%x\r\n%b\r\n" % (len(data), data)
        if self.stage is Stage.TRAILERS and (trailers := self.take_trailers()) is not None:
            return b"0\r\n" + trailers
        return b""

    def _take_head_and_more(self) -> bytes:
        head = self.take_head()
        if self.stage is Stage.BODY and self._at < len(self._data):
            # A small response comes in one piece: the parser gets it in one, too.
            return b"".join((head, self._take_some_of_body()))
        return head

    @property
    def paused(self) -> bool:
        """In a chunked body: whether there is more, and others should have their turn before."""
        return not self._chunks.budget and self._at < len(self._data)

    def resume(self) -> None:
        """Go on: others have had their turn."""
        self._chunks.rest()

    @property
    def has_rest(self) -> bool:
        """Whether something has come and was not given out."""
        return self._at < len(self._data)

    @property
    def rest(self) -> bytes:
        """What has come and was not given out: it does not belong to the response."""
        return bytes(self._data[self._at :])

    # ── Heads and trailers ─────────────────────────────────────────────────────────────────────

    def take_head(self) -> bytes:
        """The next head, to its blank line; ``b""`` if it has not ended. Raises as :meth:`take`."""
        if self._at == len(self._data):
            return b""
        head = self._take_section(CLEAN_HEAD)
        if head:
            self._go_on_behind(head)
        return head

    def _go_on_behind(self, head: bytes) -> None:
        """See what a head says, and so what follows it (RFC 9112 section 6.3)."""
        self.told = told = self._read(head, self._doubt)
        if told.status < 200:
            if told.status == 101:
                if not self._asks_to_switch:
                    raise NotLegal("101 Switching Protocols, which was not asked for")
                self.stage = Stage.NOTHING
            return
        if told.idle_limit is not None:
            self.idle_limit = told.idle_limit
        if has_no_body(told.status, self._method):
            self.stage = Stage.NOTHING
        elif told.chunked:
            self.stage = Stage.CHUNKS
            self._chunks = Chunks(self._doubt)
        else:
            self.stage = Stage.BODY

    def take_trailers(self) -> bytes | None:
        """The fields behind a chunked body, and the blank line; None if they have not ended.

        Raises as :meth:`take`.
        """
        behind = self._at + self._chunks.last_line_bytes
        if self._data.startswith(b"\r\n", behind):  # as most of the time
            self.stage = Stage.NOTHING
            self._go_to(behind + 2)
            return b"\r\n"
        trailers = self._take_section(CLEAN_TRAILERS)
        if not trailers:
            return None
        self.stage = Stage.NOTHING
        fields = trailers[trailers.index(b"\n") + 1 :]
        check_trailers(fields, self._doubt)
        return fields

    def _take_section(self, clean: re.Pattern[bytes]) -> bytes:
        """A line, fields, and a blank line, as they have passed; ``b""`` if it has not ended.

        Args:
          clean: what it looks like if nothing about it is odd.
        """
        data, start = self._data, self._at
        # What comes before and behind trailers is not counted: they may be empty.
        is_head = self.stage is Stage.HEAD
        free = 0 if is_head else self._chunks.last_line_bytes + 2
        limit = start + free + MAX_HEAD_BYTES - self._head_bytes
        search_from = max(start, self._searched - 3)
        end = data.find(b"\r\n\r\n", search_from, limit) + 4
        if end > 3 and clean.match(data, start, end):
            section = bytes(data[start:end])
            fields = section.count(b"\n") - 2
        else:
            blank = BLANK_LINE.search(data, search_from, limit)
            if blank is None:
                self._expect_more(start, limit)
                return b""
            end = blank.end()
            section, fields = tidy(bytes(data[start:end]), self._doubt, is_head=is_head)
        self._fields += fields
        if self._fields > MAX_FIELDS:
            raise NotLegal(f"{self._fields} fields, more than {MAX_FIELDS}")
        self._head_bytes += end - start - free
        self._go_to(end)
        return section

    def _expect_more(self, start: int, limit: int) -> None:
        """A section has not ended: see whether it may."""
        if self.stage is Stage.HEAD:
            check_beginning(bytes(self._data[start : start + len(BEGINNING)]))
        if len(self._data) >= limit:
            raise NotLegal(f"a head of more than {MAX_HEAD_BYTES} bytes")
        self._searched = len(self._data)

    def _go_to(self, end: int) -> None:
        """Go on behind a section. What follows is large, perhaps, and is not to be added to."""
        self._data, self._at = bytes(self._data), end
        self._forget()

    def _forget(self) -> None:
        """An idle connection keeps nothing of what has come."""
        if self._at == len(self._data):
            self._data, self._at, self._searched = b"", 0, 0

    # ── Bodies ─────────────────────────────────────────────────────────────────────────────────

    def take_body(self, most: int | None) -> bytes:
        """What has come of a body that is not chunked; at most so many bytes."""
        data, at = self._data, self._at
        if at or type(data) is not bytes or (most is not None and most < len(data)):
            data = bytes(data[at:] if most is None else data[at : at + most])
        self._at += len(data)
        self._forget()
        return data

    def _take_some_of_body(self) -> memoryview:
        some = memoryview(self._data)[self._at : self._at + GIVEN_AT_ONCE]
        self._at += len(some)
        self._forget()
        return some

    def take_chunks(self) -> bytes:
        """The data of the chunks that have come. Raises as :meth:`take`."""
        data, self._at = self._chunks.take(self._data, self._at, GIVEN_AT_ONCE)
        if self._chunks.last_line_bytes:
            self.stage = Stage.TRAILERS
            # Not a blank line that was searched for already: nothing of the trailers was.
            self._searched = 0
        self._forget()
        return data
