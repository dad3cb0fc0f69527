"""Reads requests as strictly as a server can, one byte after the other.

A server that is kind to its clients hides what they do wrong: it skips the blank line that should
not be there, and takes for a body whatever comes. :class:`Requests` does not. What was received on
a connection has to be requests, one behind the other, each of them as RFC 9112 has it, and nothing
else. It knows nothing of h11, which writes what it reads here.

:class:`Audit` holds every connection to that which a test makes on the in-memory network, also what
no server reads; ``conftest.py`` plugs it in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# No method is shorter than three characters: what is may be the end of GET.
_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{3,24}) ([!-~\x80-\xff]+) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([^\x00\r\n]*)")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,15}")
_MAX_LINE_BYTES = 256 * 1024

# What no body of a test has in it. If one seems to, a request was taken for the rest of a body.
_REQUEST_IN_A_BODY = re.compile(rb" HTTP/1\.1\r\n[!-~]+: ")
_OVERLAP = 40


class NotARequest(Exception):
    """A client sent what is no request."""


@dataclass
class Head:
    """Attributes:
    fields: name, in lower case, and value of each, in order.
    """

    method: str
    target: str
    fields: list[tuple[str, str]]

    def field(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key == name), None)

    @property
    def switches(self) -> bool:
        """Whether what follows may be another protocol."""
        return self.method == "CONNECT" or self.field("upgrade") is not None


@dataclass
class Received:
    """A request, as far as it has come.

    Attributes:
      body: its body so far.
      complete: whether it has come to its end.
    """

    head: Head
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False


class Requests:
    """What comes on one connection, as requests.

    Attributes:
      requests: those that have come, the last one perhaps in part; unless told to *keep* them,
        only the one that is coming, without its body.
      switched: whether a request has asked for another protocol: what follows is not looked at.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self.requests: list[Received] = []
        self.switched = False
        self._keep = keep
        self._ended = 0
        self._unread = bytearray()
        self._state = self._head
        self._owed = 0
        self._tail = b""

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take *data*, which is what came next.

        Raises:
          NotARequest: what has come can't be requests.
        """
        self._unread += data
        while not self.switched and self._state():
            pass

    @property
    def pending(self) -> int:
        """How many bytes have come that are not a whole line."""
        return len(self._unread)

    def _head(self) -> bool:
        line_end = self._unread.find(b"\r\n")
        self._check_beginning(line_end)
        end = self._unread.find(b"\r\n\r\n")
        if end < 0:
            self._require(len(self._unread) < _MAX_LINE_BYTES, "a head without end")
            return False
        line, *lines = bytes(self._unread[:end]).split(b"\r\n")
        del self._unread[: end + 4]
        match = _LINE.fullmatch(line)
        self._require(match is not None, f"a request line that is none: {line[:80]!r}")
        assert match is not None
        head = Head(match[1].decode(), match[2].decode("latin-1"), self._fields(lines))
        self.requests.append(Received(head))
        self._state = self._framing(head)
        return True

    def _check_beginning(self, line_end: int) -> None:
        """A request line that will never be one is not waited for."""
        start = bytes(self._unread[: 26 if line_end < 0 else line_end])
        fits = re.match(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,24}( |\Z)", start) or not self._unread
        behind = f"behind {self._ended} requests " if self._ended else ""
        self._require(bool(fits), f"{behind}what does not begin one: {start!r}")

    def _fields(self, lines: list[bytes]) -> list[tuple[str, str]]:
        fields = []
        for line in lines:
            match = _FIELD.fullmatch(line)
            self._require(match is not None, "a field that is none")
            assert match is not None
            fields.append((match[1].decode().lower(), match[2].decode("latin-1").strip(" \t")))
        return fields

    def _framing(self, head: Head):  # type: ignore[no-untyped-def]
        names = [name for name, _ in head.fields]
        self._require(names.count("host") == 1, "not one Host")
        self._require(names.count("content-length") <= 1, "two Content-Length")
        self._tail = b""
        if "transfer-encoding" in names:
            self._require("content-length" not in names, "two kinds of framing")
            self._require(head.field("transfer-encoding") == "chunked", "a coding but chunked")
            return self._chunk
        length = head.field("content-length") or "0"
        self._require(length.isdigit() and length.isascii(), "a Content-Length that is none")
        self._owed = int(length)
        return self._body

    def _body(self) -> bool:
        self._take_owed()
        if self._owed:
            return False
        self._end()
        return True

    def _take_owed(self) -> None:
        data = bytes(self._unread[: self._owed])
        del self._unread[: self._owed]
        self._owed -= len(data)
        self._require(
            _REQUEST_IN_A_BODY.search(self._tail + data) is None,
            f"a request in the body of {self.requests[-1].head.method} "
            f"{self.requests[-1].head.target}, whose rest it was taken for",
        )
        self._tail = (self._tail + data)[-_OVERLAP:]
        if self._keep:
            self.requests[-1].body += data

    def _chunk(self) -> bool:
        if (line := self._line()) is None:
            return False
        match = _CHUNK.fullmatch(line)
        self._require(match is not None, f"a chunk without its size: {line[:80]!r}")
        self._owed = int(line, 16)
        self._state = self._chunk_data if self._owed else self._trailers
        return True

    def _chunk_data(self) -> bool:
        self._take_owed()
        if self._owed or len(self._unread) < 2:
            return False
        self._require(self._unread[:2] == b"\r\n", "a chunk that is longer than it says")
        del self._unread[:2]
        self._state = self._chunk
        return True

    def _trailers(self) -> bool:
        if (line := self._line()) is None:
            return False
        if not line:
            self._end()
        else:
            self._fields([line])
        return True

    def _line(self) -> bytes | None:
        end = self._unread.find(b"\r\n")
        if end < 0:
            self._require(len(self._unread) < _MAX_LINE_BYTES, "a line without end")
            return None
        line = bytes(self._unread[:end])
        del self._unread[: end + 2]
        return line

    def _end(self) -> None:
        self._ended += 1
        self.requests[-1].complete = True
        self.switched = self.requests[-1].head.switches
        self._state = self._head
        if not self._keep:
            self.requests.clear()

    def _require(self, fact: bool, what: str) -> None:
        if not fact:
            raise NotARequest(f"the client sent {what}")


class Audit:
    """Reads along on connections; remembers what was wrong, for the end of the test.

    Attributes:
      findings: what was wrong, and on which connection.
    """

    def __init__(self) -> None:
        self.findings: list[str] = []
        self._connections: dict[object, Requests | None] = {}

    def sent(self, connection: object, where: str, data: bytes) -> None:
        """*data* went out on *connection*, which leads to *where*."""
        if connection not in self._connections:
            # TLS is not to be read along; SOCKS (4, 5) is read by the proxies of triopool.testing.
            is_http = data[:1] not in (b"\x16", b"\x04", b"\x05")
            self._connections[connection] = Requests(keep=False) if is_http else None
        requests = self._connections[connection]
        if requests is None:
            return
        try:
            requests.feed(data)
        except NotARequest as exc:
            self.findings.append(f"{where}: {exc}")
            self._connections[connection] = None
