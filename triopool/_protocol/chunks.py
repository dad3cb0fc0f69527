"""Chunked bodies: many chunks become few, and only what all programs read alike passes.

A server decides how small its chunks are. A parser that makes an event of each takes a second for
80,000 chunks of one byte, which fit into one read. So the data of all the chunks that have arrived
are joined to a single chunk, without extensions. Even here each takes its time: after
``CHUNKS_IN_A_ROW`` of them we pause, so that other tasks have their turn.
"""

from __future__ import annotations

import re

from .._facts import Spent
from .heads import MAX_DIGITS, TCHAR, TEXT, Doubt, NotLegal, name_byte, not_legal

MAX_LINE_BYTES = 64 * 1024
"""Of a line that begins a chunk."""

CHUNKS_IN_A_ROW = 2000
"""How many chunks are looked at before other tasks get their turn: about 2 ms."""

_LINE = re.compile(rb"([0-9A-Fa-f]{1,%d}+)\r\n" % MAX_DIGITS)
_ACCEPTED_LINE = re.compile(rb"([0-9A-Fa-f]{1,%d}+)(;[^\n]*|[ \t]*+)\r\n" % MAX_DIGITS)
_EXTENSIONS = re.compile(
    rb'(?:;[%b]++(?:=(?:[%b]++|"(?:[\t\x20!#-\[\]-~\x80-\xff]++|\\[%b])*+"))?+)++'
    % (TCHAR, TCHAR, TEXT)
)
_HEX = b"0123456789abcdefABCDEF"


class Chunks:
    """Reads the chunks of one body, up to the line of the last one.

    Attributes:
      budget: how many more are looked at until others have had their turn.
      last_line_bytes: how long the line of the last chunk is, which :meth:`take` stops before; 0 as
        long as it has not come.
    """

    __slots__ = ("_doubt", "_in_chunk", "_left", "_searched", "budget", "last_line_bytes")

    def __init__(self, doubt: Doubt) -> None:
        self._doubt = doubt
        self._left = 0  # how much of a chunk's data is still to come
        self._in_chunk = False  # until the end of the line behind its data
        self._searched = 0  # how much of a line was searched for its end
        self.budget = CHUNKS_IN_A_ROW
        self.last_line_bytes = 0

    def rest(self) -> None:
        """Others have had their turn."""
        self.budget = CHUNKS_IN_A_ROW

    def take(self, data: bytes | bytearray, at: int, most: int) -> tuple[bytes, int]:
        """The data of the chunks in *data* from *at* on, in one piece, and where they end.

        Args:
          most: how many bytes it may have.

        Raises:
          NotLegal: the first of them is not legal. (What came before such a one is given out first;
            then it is found again.)
        """
        view = memoryview(data)
        parts: list[bytes | memoryview] = []
        size = 0
        in_chunk = self._in_chunk
        try:
            while self.budget and size < most:
                if self._in_chunk and not self._left:
                    if not _is_at_line_end(data, at):
                        break
                    at += 2
                    self._in_chunk = False
                if not self._left:
                    at = self._begin_chunk(data, at)
                if not self._left or at == len(data):
                    break
                part = view[at : at + min(self._left, most - size)]
                parts.append(part)
                size += len(part)
                at += len(part)
                self._left -= len(part)
        except NotLegal:
            if not size:
                self._in_chunk = in_chunk  # as we go back to *at*
                raise
        return b"".join(parts), at

    def _begin_chunk(self, data: bytes | bytearray, at: int) -> int:
        """Go on to the data of the next chunk, if its line is here and it is not the last one."""
        line = _LINE.match(data, at) or self._odd_line(data, at)
        if line is None:
            return at
        self._searched = 0
        self._left = int(line[1], 16)
        if not self._left:
            self.last_line_bytes = len(line[0])
            return at
        self._in_chunk = True
        self.budget -= 1
        return line.end()

    def _odd_line(self, data: bytes | bytearray, start: int) -> re.Match[bytes] | None:
        """A line that is more than a number; None if it has not ended."""
        end = data.find(b"\n", start + self._searched) + 1
        if (end or len(data)) - start > MAX_LINE_BYTES:
            raise NotLegal(f"a chunk line of more than {MAX_LINE_BYTES} bytes")
        if not end:
            # What waits for its end must not be searched from its beginning with each byte.
            self._searched = len(data) - start
            return None
        line = _ACCEPTED_LINE.match(data, start, end)
        if line is None:
            raise not_legal(_what_is_wrong(bytes(data[start:end])))
        # Others may see the end of the line elsewhere (RFC 9112 section 7.1.1).
        if not _EXTENSIONS.fullmatch(line[2]):
            self._doubt(Spent.DOUBTFUL)
        return line


def _is_at_line_end(data: bytes | bytearray, at: int) -> bool:
    """Whether the line behind a chunk's data ends here; False if that has not come."""
    end = data[at : at + 2]
    if end == b"\r\n":
        return True
    if b"\r\n".startswith(end):
        return False
    raise not_legal(f"behind the data of a chunk {name_byte(end, end[0] == 13)}")


def _what_is_wrong(line: bytes) -> str:
    what = "ends with a bare LF"
    if line.endswith(b"\r\n"):
        at = min(len(line) - len(line.lstrip(_HEX)), MAX_DIGITS)
        what = f"has no size, or one too large: {name_byte(line, at)}"
    return f"a chunk line of {len(line)} bytes {what}"
