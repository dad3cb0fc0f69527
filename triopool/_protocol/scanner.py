"""What a response's bytes have to pass before a parser sees them. Knows no parser.

A parser says what is legal. Three things it leaves to us, whichever it is:

*Cost.* Nothing that a server sends may cost more than time in proportion to its length. h11's
regular expressions try each start and each end of a run of blanks: 60 KB of them in one field stop
the whole program for half a minute. And whatever waits for its end must not be searched again from
its beginning with each byte that arrives. So each head is held here until it is whole, within a
bound; it is then checked by expressions that never go back (possessive ones), line by line.

*Doubt.* Much is accepted that others may read differently: a bare LF, a folded line, a length that
is told twice, a body where there must be none. Where two programs disagree on where a response
ends, the rest of one is taken for the next one (RFC 9112 section 11.2). Such a response is
delivered, and its connection is not used again: it is *tainted*.

*Secrets.* A parser's message quotes the line that it refuses. Ours name the field as far as its
name is a token, and tell the length and the first byte that is illegal.

What has passed goes to the parser in the one form that all programs read alike. Folded lines are
unfolded, each line ends with CR LF, chunks have no extensions. Chunks that have arrived together
become a single one: to parse 80,000 chunks of one byte takes a second. Even here they take their
time, so after some the scanner *pauses* for a checkpoint.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

MAX_HEAD_BYTES = 64 * 1024
"""Bound on the heads of one response together: 1xx ones, the final one, trailers; and on a line
that begins a chunk."""

MAX_FIELDS = 256
"""Bound on the number of fields in them."""

GIVEN_AT_ONCE = 64 * 1024
"""How much of a body h11 gets at once. It copies that three times, and beyond this size malloc()
asks the system for each copy: 50 MB cost 6 ms in pieces of 64 KiB, 50 to 70 ms in larger ones."""

CHUNKS_IN_A_ROW = 2000
"""How many chunks are looked at before other tasks get their turn: about 2 ms."""

MAX_DIGITS = 20
"""Of a Content-Length, or of the size of a chunk."""

MAX_NAME_TOLD = 100
MAX_KEEP_ALIVE_BYTES = 256
"""What is longer says nothing that we heed."""

# RFC 9110 sections 5.5 and 5.6. A double plus gives nothing back that it has taken: such an
# expression takes time in proportion to the text, whether it matches or not.
_TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
_TEXT = rb"\t\x20-\x7e\x80-\xff"
_FIELDS = rb"(?:[%b]++:[%b]*+\r\n)*+\r\n" % (_TCHAR, _TEXT)

_CLEAN_HEAD = re.compile(rb"HTTP/1\.1 [1-9][0-9][0-9] [%b]*+\r\n%b" % (_TEXT, _FIELDS))
_CLEAN_TRAILERS = re.compile(rb"[^\n]++\n" + _FIELDS)

# From here on, what is legal and what is only accepted.
_BLANK_LINE = re.compile(rb"\n\r?\n")
_TOKEN = re.compile(rb"[%b]*+" % _TCHAR)
_STATUS_LINE = re.compile(rb"HTTP/([0-9]\.[0-9]) ([0-9]{3})( [^\0\r\v\f]*+)?+")
_NEVER_IN_TEXT = re.compile(rb"[\0\r\v\f]")
_CONTROL = re.compile(rb"[^%b]" % _TEXT)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,%d}+)\r\n" % MAX_DIGITS)
_ACCEPTED_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,%d}+)(;[^\n]*|[ \t]*+)\r\n" % MAX_DIGITS)
_EXTENSIONS = re.compile(
    rb'(?:;[%b]++(?:=(?:[%b]++|"(?:[\t\x20!#-\[\]-~\x80-\xff]++|\\[%b])*+"))?+)++'
    % (_TCHAR, _TCHAR, _TEXT)
)
_HEX = b"0123456789abcdefABCDEF"

# Fields that say how the body ends, what it is, and how long the connection lasts.
_LENGTH, _CODING = b"content-length", b"transfer-encoding"
_ENCODING, _KEEP_ALIVE = b"content-encoding", b"keep-alive"
_HEEDED = re.compile(
    rb"\n(%b|%b|%b|%b):[ \t]*+([^\r\n]*+)" % (_LENGTH, _CODING, _ENCODING, _KEEP_ALIVE), re.I
)
_BEGINNING = b"HTTP/"


class NotLegal(Exception):
    """What the server sent, as the end of a sentence. Nothing secret is in it."""


class Framing(NamedTuple):
    """What the head of a response says about its body.

    Attributes:
      length: what Content-Length says; None where the end is told otherwise.
      chunked: whether it comes in chunks.
      encoding: Content-Encoding; ``""`` if there is none.
    """

    length: int | None = None
    chunked: bool = False
    encoding: str = ""


NOT_TOLD = Framing()


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
    gives it out until it gives out nothing.

    Attributes:
      stage: what is to come next.
      tainted: whether others may read differently what has come in this exchange.
      status: that of the last head; 0 if there was none yet.
      framing: what the final head says about the body.
      idle_limit: how long the server keeps the connection when idle, in seconds less a margin;
        None if it did not say.
    """

    def __init__(self) -> None:
        self.idle_limit: float | None = None
        self._data: bytes | bytearray = b""
        self._at = 0  # what is before this has been given out
        self._searched = 0  # no end of a line, or of a head, is before this
        self._chunks_left = CHUNKS_IN_A_ROW
        self.start(b"")

    def start(self, method: bytes) -> None:
        """Begin an exchange: a request with this method has been sent, or will be."""
        self.stage = Stage.HEAD
        self.tainted = False
        self.status = 0
        self.framing = NOT_TOLD
        self._method = method
        self._head_bytes = self._fields = 0
        self._left = 0  # how much of a chunk's data is still to come
        self._in_chunk = False  # until the end of the line behind its data
        self._last_line_bytes = 0  # of the line of the last chunk

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
        self._chunks_left = CHUNKS_IN_A_ROW

    def take(self) -> bytes | memoryview:
        """What the parser may have next. Nothing, if more has to come first or it is paused.

        Raises:
          NotLegal: what has come is not legal, or exceeds a bound. Again and again.
        """
        if self._at == len(self._data):
            return b""
        if self.stage is Stage.HEAD:
            return self._take_head()
        if self.stage is Stage.BODY:
            return self._take_body()
        if self.stage is Stage.CHUNKS and (chunk := self._take_chunks()):
            return chunk
        return self._take_trailers() if self.stage is Stage.TRAILERS else b""

    @property
    def paused(self) -> bool:
        """Whether there is more to look at, and others should have their turn before."""
        return not self._chunks_left and self._at < len(self._data)

    def resume(self) -> None:
        """Go on: others have had their turn."""
        self._chunks_left = CHUNKS_IN_A_ROW

    @property
    def rest(self) -> bytes:
        """What has come and was not given out: it does not belong to the response."""
        return bytes(self._data[self._at :])

    # ── Heads and trailers ─────────────────────────────────────────────────────────────────────

    def _take_head(self) -> bytes:
        head = self._take_section(_CLEAN_HEAD)
        if head:
            self._heed(head)
            if self.stage is Stage.BODY and self._at < len(self._data):
                # A small response comes in one piece: the parser gets it in one, too.
                return b"".join((head, self._take_body()))
        return head

    def _take_trailers(self) -> bytes:
        behind = self._at + self._last_line_bytes
        if self._data.startswith(b"\r\n", behind):  # as most of the time
            self.stage = Stage.NOTHING
            self._go_to(behind + 2)
            return b"0\r\n\r\n"
        trailers = self._take_section(_CLEAN_TRAILERS)
        if not trailers:
            return b""
        self.stage = Stage.NOTHING
        fields = trailers[trailers.index(b"\n") + 1 :]
        # RFC 9110 section 6.5.1: not in trailers, and some merge those with the head.
        if _HEEDED.search(b"\n" + fields):
            self.tainted = True
        return b"0\r\n" + fields

    def _take_section(self, clean: re.Pattern[bytes]) -> bytes:
        """A line, fields, and a blank line, as they have passed; ``b""`` if it has not ended.

        Args:
          clean: what it looks like if nothing about it is odd.
        """
        data, start = self._data, self._at
        # What comes before and behind trailers is not counted: they may be empty.
        free = self._last_line_bytes + 2 if self.stage is Stage.TRAILERS else 0
        limit = start + free + MAX_HEAD_BYTES - self._head_bytes
        search_from = max(start, self._searched - 3)
        end = data.find(b"\r\n\r\n", search_from, limit) + 4
        if end > 3 and clean.match(data, start, end):
            self._count_fields(data.count(b"\n", start, end) - 2)
            section = bytes(data[start:end])
        else:
            blank = _BLANK_LINE.search(data, search_from, limit)
            if blank is None:
                self._expect_more(start, limit)
                return b""
            end = blank.end()
            section = self._tidy(bytes(data[start:end]))
        self._head_bytes += end - start - free
        self._go_to(end)
        return section

    def _expect_more(self, start: int, limit: int) -> None:
        """A section has not ended: see whether it may."""
        if self.stage is Stage.HEAD:
            self._check_beginning(bytes(self._data[start : start + len(_BEGINNING)]))
        if len(self._data) >= limit:
            raise NotLegal(f"a head of more than {MAX_HEAD_BYTES} bytes")
        self._searched = len(self._data)

    def _check_beginning(self, beginning: bytes) -> None:
        if _BEGINNING.startswith(beginning):
            return
        # RFC 8446 section 5.1: a record of the type alert, or handshake.
        if beginning[0] in b"\x15\x16" and b"\x03".startswith(beginning[1:2]):
            raise NotLegal("a TLS record and no response: is it an https port?")
        pairs = zip(beginning, _BEGINNING, strict=False)
        at = next(at for at, (byte, expected) in enumerate(pairs) if byte != expected)
        raise _not_legal(f"it does not begin with 'HTTP/' ({_byte(beginning, at)})")

    def _tidy(self, section: bytes) -> bytes:
        """Check a section line by line; write it so that all programs read the same in it."""
        # The last two are the blank line, and what is behind it.
        first, *lines = (line.removesuffix(b"\r") for line in section.split(b"\n")[:-2])
        # RFC 9112 sections 2.2 and 5.2: a bare LF is accepted, and a continued line.
        if section.count(b"\n") != section.count(b"\r\n"):
            self.tainted = True
        if self.stage is Stage.HEAD:
            self._check_status_line(first)
        fields: list[list[bytes]] = []
        for line in lines:
            if line.startswith((b" ", b"\t")):
                if not fields:
                    raise _not_legal("its first field begins with a blank")
                fields[-1].append(line.lstrip(b" \t"))
                self.tainted = True
            else:
                fields.append([line])
        self._count_fields(len(fields))
        tidied = (self._tidy_field(b" ".join(parts)) for parts in fields)
        return b"\r\n".join((first, *tidied, b"", b""))

    def _check_status_line(self, line: bytes) -> None:
        self._check_beginning(line[: len(_BEGINNING)])
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            raise _not_legal(f"its status line {_fault(line)}")
        version, status, reason = found.groups()
        if status < b"100":
            raise _not_legal("its status is less than 100")
        if version != b"1.1" or reason is None or _CONTROL.search(reason):
            self.tainted = True

    def _tidy_field(self, line: bytes) -> bytes:
        name, colon, value = line.partition(b":")
        if not colon:
            # A value that slipped in, as likely as not: no part of it is told.
            raise _not_legal(f"a line of {len(line)} bytes among the fields has no colon")
        token = _token(name)
        if not name or token != name:
            what = _byte(name, len(token)) if name else "it is empty"
            raise _not_legal(f"the name of a field is no token: {_shown(token)!r}, {what}")
        if _NEVER_IN_TEXT.search(value):
            fault = _fault(value.strip(b" \t"))
            raise _not_legal(f"the value of field {_shown(name)!r} {fault}")
        if _CONTROL.search(value):
            self.tainted = True
        return name + b": " + value.strip(b" \t")

    def _count_fields(self, number: int) -> None:
        self._fields += number
        if self._fields > MAX_FIELDS:
            raise NotLegal(f"{self._fields} fields, more than {MAX_FIELDS}")

    def _go_to(self, end: int) -> None:
        """Go on behind a section. What follows is large, perhaps, and is not to be added to."""
        self._data, self._at = bytes(self._data), end
        self._forget()

    def _forget(self) -> None:
        """An idle connection keeps nothing of what has come."""
        if self._at == len(self._data):
            self._data, self._at, self._searched = b"", 0, 0

    # ── What a head says ───────────────────────────────────────────────────────────────────────

    def _heed(self, head: bytes) -> None:
        """Look at what the server says about the body, and about the connection."""
        self.status = status = int(head[9:12])
        told: dict[bytes, list[bytes]] = {}
        for name, value in _HEEDED.findall(head):
            told.setdefault(name.lower(), []).append(value.rstrip(b" \t"))
        length = self._read_length(told[_LENGTH]) if _LENGTH in told else None
        chunked = _CODING in told
        if chunked:
            self._read_coding(told[_CODING])
        # RFC 9112 section 6.1, RFC 9110 section 8.6: with both, one may have been smuggled past a
        # program that read the other; where there can be no body, others may wait for one. (A
        # length of 0 says the same to all, and many servers tell it with each 204.)
        both, bodiless = chunked and length is not None, status < 200 or status == 204
        if both or (bodiless and (chunked or length)):
            self.tainted = True
        if status >= 200:
            encoding = b", ".join(told[_ENCODING]).decode("latin-1") if _ENCODING in told else ""
            self.framing = Framing(length, chunked, encoding)
            if _KEEP_ALIVE in told:
                self._heed_keep_alive(b",".join(told[_KEEP_ALIVE]))
        self._set_stage(status, chunked)

    def _set_stage(self, status: int, chunked: bool) -> None:
        """Go on to what follows a head (RFC 9112 section 6.3)."""
        if status < 200:
            if status == 101:
                self.stage = Stage.NOTHING
        elif (
            status in (204, 304)
            or self._method == b"HEAD"
            or (self._method == b"CONNECT" and status < 300)
        ):
            self.stage = Stage.NOTHING
        else:
            self.stage = Stage.CHUNKS if chunked else Stage.BODY

    def _read_length(self, values: list[bytes]) -> int:
        if len(values) == 1 and len(values[0]) <= MAX_DIGITS and values[0].isdigit():
            return int(values[0])
        # RFC 9110 section 8.6: the same number more than once may be taken for one.
        lengths = {length.strip(b" \t") for value in values for length in value.split(b",")}
        if len(lengths) > 1:
            raise _not_legal("its Content-Length is told more than once, and differently")
        length = lengths.pop()
        if not length.isdigit() or len(length) > MAX_DIGITS:
            raise _not_legal("its Content-Length is no number, or too large")
        self.tainted = True
        return int(length)

    def _read_coding(self, values: list[bytes]) -> None:
        if len(values) > 1 or values[0].lower() != b"chunked":
            raise _not_legal("its Transfer-Encoding is not 'chunked', once")

    def _heed_keep_alive(self, value: bytes) -> None:
        """Keep a margin, so that a request does not meet the server's close half-way.

        The header is RFC 2068 section 19.7.1's; servers still send it.
        """
        if len(value) > MAX_KEEP_ALIVE_BYTES:
            return
        for part in value.split(b","):
            name, _, number = (word.strip() for word in part.partition(b"="))
            if name.lower() == b"timeout" and number.isdigit():
                seconds = float(number[:9])
                self.idle_limit = max(seconds - 1.0, seconds / 2)
                self.tainted |= seconds == 0
            elif name.lower() == b"max" and number.isdigit():
                self.tainted |= int(number[:9]) == 0

    # ── Bodies ─────────────────────────────────────────────────────────────────────────────────

    def _take_body(self) -> memoryview:
        some = memoryview(self._data)[self._at : self._at + GIVEN_AT_ONCE]
        self._at += len(some)
        self._forget()
        return some

    def _take_chunks(self) -> bytes:
        """The data of the chunks that have come, as one chunk."""
        view = memoryview(self._data)
        parts: list[bytes | memoryview] = [b""]
        size = 0
        try:
            while self._chunks_left and size < GIVEN_AT_ONCE and self._is_at_data():
                part = view[self._at : self._at + min(self._left, GIVEN_AT_ONCE - size)]
                parts.append(part)
                size += len(part)
                self._at += len(part)
                self._left -= len(part)
        except NotLegal:
            # What came before it is given out first. Then it is found again.
            if not size:
                raise
        if size:
            parts[0] = b"%x\r\n" % size
            parts.append(b"\r\n")
        chunk = b"".join(parts)
        self._forget()
        return chunk

    def _is_at_data(self) -> bool:
        """Go on to the data of a chunk; False if it is not there, or behind the last chunk."""
        data = self._data
        if self._left:
            return self._at < len(data)
        if self._in_chunk:
            end = data[self._at : self._at + 2]
            if end != b"\r\n":
                if b"\r\n".startswith(end):
                    return False
                raise _not_legal(f"behind the data of a chunk {_byte(end, end[0] == 13)}")
            self._at += 2
            self._in_chunk = False
        line = _CHUNK_LINE.match(data, self._at) or self._odd_chunk_line()
        if line is None:
            return False
        self._left = int(line[1], 16)
        if not self._left:
            self.stage = Stage.TRAILERS
            self._last_line_bytes = len(line[0])
            return False
        self._in_chunk = True
        self._chunks_left -= 1
        self._at = line.end()
        return self._at < len(data)

    def _odd_chunk_line(self) -> re.Match[bytes] | None:
        """A line that is more than a number; None if it has not ended."""
        data, start = self._data, self._at
        end = data.find(b"\n", max(start, self._searched)) + 1
        if (end or len(data)) - start > MAX_HEAD_BYTES:
            raise NotLegal(f"a chunk line of more than {MAX_HEAD_BYTES} bytes")
        if not end:
            self._searched = len(data)
            return None
        line = _ACCEPTED_CHUNK_LINE.match(data, start, end)
        if line is None:
            text = bytes(data[start:end])
            what = "ends with a bare LF"
            if text.endswith(b"\r\n"):
                at = min(len(text) - len(text.lstrip(_HEX)), MAX_DIGITS)
                what = f"has no size, or one too large: {_byte(text, at)}"
            raise _not_legal(f"a chunk line of {len(text)} bytes {what}")
        # Others may see the end of the line elsewhere (RFC 9112 section 7.1.1).
        if not _EXTENSIONS.fullmatch(line[2]):
            self.tainted = True
        return line


def _not_legal(why: str) -> NotLegal:
    return NotLegal(f"what is not legal HTTP/1.1: {why}")


def _fault(text: bytes) -> str:
    """What is wrong with a text, without quoting it."""
    found = _NEVER_IN_TEXT.search(text)
    what = f"is malformed, {_byte(text, found.start())}" if found else "is malformed"
    return f"(of {len(text)} bytes) {what}"


def _byte(text: bytes | bytearray, at: int) -> str:
    return f"byte {at + 1} is 0x{text[at]:02x}"


def _token(name: bytes) -> bytes:
    found = _TOKEN.match(name)
    assert found is not None  # It may be empty.
    return found[0]


def _shown(token: bytes) -> str:
    return token[:MAX_NAME_TOLD].decode("ascii")
