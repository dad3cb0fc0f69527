"""Lines out of pieces, in linear time and bounded memory. No I/O.

A line is kept as the list of its parts until it ends, and joined once: to append each piece to one
text would take quadratic time for a long line in small pieces.
"""

from __future__ import annotations

from collections.abc import Iterator

from .refusal import NotAccepted

MAX_LENGTH = 16 * 2**20
"""How long a line or an event may be: no JSON document that a program reads line by line is longer,
and no machine is troubled by it. Picked arbitrarily."""


class Splitter:
    """Splits text at each LF, and nowhere else.

    Args:
      max_length: of a line, without its LF; None for no bound.
      unit: what is counted, for messages.
    """

    def __init__(self, max_length: int | None, unit: str) -> None:
        self._max_length = max_length
        self._unit = unit
        self._parts: list[str] = []
        self._length = 0

    def feed(self, piece: str) -> Iterator[str]:
        """The lines that end in *piece*.

        Raises:
          NotAccepted: a line is too long. Those before it have been given out.
        """
        lines = piece.split("\n")
        rest = lines.pop()
        for line in lines:
            self._keep(line)
            yield self._take()
        if rest:
            self._keep(rest)

    def end(self) -> Iterator[str]:
        """The last line, if it has no newline."""
        if self._parts:
            yield self._take()

    def _keep(self, part: str) -> None:
        self._length += len(part)
        if self._max_length is not None and self._length > self._max_length:
            raise NotAccepted(f"a line of more than {self._max_length} {self._unit}")
        self._parts.append(part)

    def _take(self) -> str:
        parts = self._parts
        line = parts[0] if len(parts) == 1 else "".join(parts)
        parts.clear()
        self._length = 0
        return line


class UniversalNewlines:
    """Turns CR LF, and CR alone, into LF, wherever the pieces are cut.

    A CR ends its line at once, and an LF that follows in the next piece is dropped: a reader does
    not wait for the next line to get this one.
    """

    _after_cr = False

    def feed(self, text: str) -> str:
        """The same text with other newlines."""
        if not text:
            return text
        if self._after_cr and text[0] == "\n":
            text = text[1:]
        self._after_cr = text.endswith("\r")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text


class TextLines:
    """Splits text at LF, CR LF and CR, and nowhere else.

    Not at the other characters that ``str.splitlines()`` knows: U+2028 may stand in JSON, and a
    form feed in a log.
    """

    def __init__(self, max_length: int | None) -> None:
        self._newlines = UniversalNewlines()
        self._splitter = Splitter(max_length, "characters")

    def feed(self, text: str) -> Iterator[str]:
        """As :meth:`Splitter.feed`."""
        return self._splitter.feed(self._newlines.feed(text))

    def end(self) -> Iterator[str]:
        """As :meth:`Splitter.end`."""
        return self._splitter.end()
