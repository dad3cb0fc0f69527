"""Server-sent events, as the WHATWG HTML standard reads them (section 9.2.6). No I/O.

What the standard leaves open is the size of an event. Here it is bounded, and so is each line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .lines import TextLines
from .refusal import NotAccepted
from .text import TextDecoder

CONTENT_TYPE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """An event of a stream of the type ``text/event-stream``.

    Attributes:
      data: what it says; several lines where the server sent several.
      event: its type; ``"message"`` where the server named none.
      id: the last id that the server gave, with this event or before it; ``""`` if none.
      retry: the time to wait before connecting again, in seconds, if it came with this event.
    """

    data: str
    event: str = "message"
    id: str = ""
    retry: float | None = None

    def json(self) -> Any:
        """The data as JSON.

        Raises:
          ValueError: it is not.
        """
        return json.loads(self.data)


class EventParser:
    """Takes the bytes of a stream, gives out its events.

    Args:
      max_length: how many characters a line, or the data of an event, may have; None for no bound.
      last_event_id: the last id of the stream that this one goes on with.

    Attributes:
      last_event_id: the last one that the server gave. With an event it counts from the event's end
        on: so an event that was cut will be asked for again.
      retry: the time to wait before connecting again, in seconds; None if the server told none.
    """

    def __init__(self, max_length: int | None, last_event_id: str = "") -> None:
        self.last_event_id: str = last_event_id
        self.retry: float | None = None
        # One byte order mark at the beginning is no part of the text.
        self._text = TextDecoder("utf-8-sig")
        self._lines = TextLines(max_length)
        self._max_length = max_length
        self._id = last_event_id
        self._begin()

    def _begin(self) -> None:
        self._data: list[str] = []
        self._length = 0
        self._type = ""
        self._retry: float | None = None

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """The events that end in *piece*. One that has not ended at the end of the stream is none.

        Raises:
          NotAccepted: a line, or the data of an event, is too long.
        """
        for line in self._lines.feed(self._text.feed(piece)):
            if line:
                self._read(line)
                continue
            self.last_event_id = self._id
            if self._data:
                data, kind = "\n".join(self._data), self._type or "message"
                yield ServerSentEvent(data, kind, self._id, self._retry)
            self._begin()

    def _read(self, line: str) -> None:
        # A line that begins with a colon is a comment: a field without a name, which nobody knows.
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._length += len(value) + 1
            if self._max_length is not None and self._length > self._max_length + 1:
                raise NotAccepted(f"an event of more than {self._max_length} characters")
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            # float(), because int() refuses many digits; a number too large is infinity.
            self.retry = self._retry = float(value) / 1000
