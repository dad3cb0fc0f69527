"""The rules for the heads of responses, and for trailers: the same for every parser of HTTP/1.

A parser says what is legal. Three things it leaves to us, whichever it is:

*Cost.* Nothing that a server sends may cost more than time in proportion to its length. h11's
regular expressions try each start and each end of a run of blanks: 60 KB of them in one field stop
the whole program for half a minute. So a head is checked here first, by expressions that never go
back (possessive ones), line by line.

*Doubt.* Much is accepted that others may read differently: a bare LF, a folded line, a length that
is told twice, a body where there must be none. Where two programs disagree on where a response
ends, the rest of one is taken for the next one (RFC 9112 section 11.2). Such a response is
delivered, and its connection is not used again: we name the reason (:class:`Spent`) to *doubt*.

*Secrets.* A parser's message quotes the line that it refuses. Ours name the field as far as its
name is a token, and tell the length and the first byte that is illegal.

What has passed is in the one form that all programs read alike: folded lines are unfolded, and each
line ends with CR LF. All functions here take a whole section, from its first line to the blank line
at its end; the scanner finds that end, and keeps the bounds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from .._facts import Spent

Doubt: TypeAlias = Callable[[Spent], object]
"""Is told why others may read a response differently."""

MAX_DIGITS = 20
"""Of a Content-Length, or of the size of a chunk."""
MAX_LENGTH = 2**64 - 1
"""Of a Content-Length: llhttp has no more bits."""

MAX_NAME_TOLD = 100
MAX_KEEP_ALIVE_BYTES = 256
"""We don't read a Keep-Alive field that is longer."""

# RFC 9110 sections 5.5 and 5.6. A double plus gives nothing back that it has taken: such an
# expression takes time in proportion to the text, whether it matches or not.
TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
TEXT = rb"\t\x20-\x7e\x80-\xff"
_FIELDS = rb"(?:[%b]++:[%b]*+\r\n)*+\r\n" % (TCHAR, TEXT)

CLEAN_HEAD = re.compile(rb"HTTP/1\.1 [1-9][0-9][0-9] [%b]*+\r\n%b" % (TEXT, _FIELDS))
"""A head of which nothing is odd: it passes as it is."""
CLEAN_TRAILERS = re.compile(rb"[^\n]++\n" + _FIELDS)
"""The same for trailers, and for the line of the last chunk before them."""

# From here on, what is legal and what is only accepted.
BLANK_LINE = re.compile(rb"\n\r?\n")
_TOKEN = re.compile(rb"[%b]*+" % TCHAR)
_STATUS_LINE = re.compile(rb"HTTP/([0-9]\.[0-9]) ([0-9]{3})( [^\0\r\v\f]*+)?+")
_NEVER_IN_TEXT = re.compile(rb"[\0\r\v\f]")
_CONTROL = re.compile(rb"[^%b]" % TEXT)

# Fields that say how the body ends, what it is, and how long the connection lasts.
_LENGTH, _CODING = b"content-length", b"transfer-encoding"
_ENCODING, _KEEP_ALIVE = b"content-encoding", b"keep-alive"
_CONNECTION, _PROXY_CONNECTION = b"connection", b"proxy-connection"
# Two of the names in one, for each costs a step in each line of each head.
_SPECIAL = re.compile(
    rb"\n(content-(?:length|encoding)|(?:proxy-)?connection|%b|%b):[ \t]*+([^\r\n]*+)"
    % (_CODING, _KEEP_ALIVE),
    re.I,
)
BEGINNING = b"HTTP/"


class NotLegal(Exception):
    """What the server sent, as the end of a sentence. Nothing secret is in it."""


class Told(NamedTuple):
    """What a head says about the body behind it, and about the connection.

    Attributes:
      status: such as 200.
      length: what Content-Length says; None if there is none.
      chunked: whether the body comes in chunks.
      encoding: Content-Encoding; ``""`` if there is none.
      idle_limit: how long the server keeps the connection when idle, in seconds less a margin; None
        if it did not say.
    """

    status: int
    length: int | None
    chunked: bool
    encoding: str
    idle_limit: float | None

    @property
    def ends_by_itself(self) -> bool:
        """Whether the head tells where the body ends. Else that is the end of the connection."""
        return self.chunked or self.length is not None


# ── Its form ───────────────────────────────────────────────────────────────────────────────────


def check_beginning(beginning: bytes) -> None:
    """See that the first bytes of what came can be those of a response."""
    if BEGINNING.startswith(beginning):
        return
    # RFC 8446 section 5.1: a record of the type alert, or handshake.
    if beginning[0] in b"\x15\x16" and b"\x03".startswith(beginning[1:2]):
        raise NotLegal("a TLS record and no response: is it an https port?")
    pairs = zip(beginning, BEGINNING, strict=False)
    at = next(at for at, (byte, expected) in enumerate(pairs) if byte != expected)
    raise not_legal(f"it does not begin with 'HTTP/' ({name_byte(beginning, at)})")


def tidy(section: bytes, doubt: Doubt, *, is_head: bool) -> tuple[bytes, int]:
    """Check a section line by line; write it so that all programs read the same in it.

    Args:
      is_head: whether its first line is a status line; that of trailers has been checked.

    Returns:
      The section, and the number of its fields.
    """
    # The last two are the blank line, and what is behind it.
    first, *lines = (line.removesuffix(b"\r") for line in section.split(b"\n")[:-2])
    # RFC 9112 sections 2.2 and 5.2: a bare LF is accepted, and a continued line.
    if section.count(b"\n") != section.count(b"\r\n"):
        doubt(Spent.BARE_LF)
    if is_head:
        _check_status_line(first, doubt)
    fields: list[list[bytes]] = []
    for line in lines:
        if line.startswith((b" ", b"\t")):
            if not fields:
                raise not_legal("its first field begins with a blank")
            fields[-1].append(line.lstrip(b" \t"))
            doubt(Spent.FOLDED_LINE)
        else:
            fields.append([line])
    tidied = [_tidy_field(b" ".join(parts), doubt) for parts in fields]
    return b"\r\n".join((first, *tidied, b"", b"")), len(fields)


def _check_status_line(line: bytes, doubt: Doubt) -> None:
    check_beginning(line[: len(BEGINNING)])
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise not_legal(f"its status line {_fault(line)}")
    version, status, reason = found.groups()
    if status < b"100":
        raise not_legal("its status is less than 100")
    if version != b"1.1":
        doubt(Spent.OTHER_VERSION)
    elif reason is None or _CONTROL.search(reason):
        doubt(Spent.DOUBTFUL)


def _tidy_field(line: bytes, doubt: Doubt) -> bytes:
    name, colon, value = line.partition(b":")
    if not colon:
        # A value that slipped in, as likely as not: no part of it is told.
        raise not_legal(f"a line of {len(line)} bytes among the fields has no colon")
    token = _leading_token(name)
    if not name or token != name:
        what = name_byte(name, len(token)) if name else "it is empty"
        raise not_legal(f"the name of a field is no token: {_quote(token)!r}, {what}")
    if _NEVER_IN_TEXT.search(value):
        fault = _fault(value.strip(b" \t"))
        raise not_legal(f"the value of field {_quote(name)!r} {fault}")
    if _CONTROL.search(value):
        doubt(Spent.DOUBTFUL)
    return name + b": " + value.strip(b" \t")


# ── What it says ───────────────────────────────────────────────────────────────────────────────


def read_head(head: bytes, doubt: Doubt) -> Told:
    """Read what a head says about the body, and about the connection."""
    status = int(head[9:12])
    found = _find_special(head)
    length = _read_length(found[_LENGTH], doubt) if _LENGTH in found else None
    chunked = _CODING in found
    if chunked:
        _check_coding(found[_CODING])
        # RFC 9112 section 6.1: one may have been smuggled past a program that read the other.
        if length is not None:
            doubt(Spent.TWO_LENGTHS)
    # RFC 9110 section 8.6: there can be no body here, and others may wait for one. (A length of 0
    # says the same to all, and many servers tell it with each 204.)
    if (status < 200 or status == 204) and (chunked or length):
        doubt(Spent.DOUBTFUL)
    # RFC 9112 appendix C.2.2: old proxies say the other one. We heed it, and never send it. But how
    # long the connection lasts is for the final response to say.
    for name in (_CONNECTION, _PROXY_CONNECTION):
        if name in found and status >= 200 and b"close" in words_of(found[name]):
            doubt(Spent.ASKED_TO_CLOSE)
    encoding = b", ".join(found[_ENCODING]).decode("latin-1") if _ENCODING in found else ""
    limit = _read_keep_alive(b",".join(found[_KEEP_ALIVE]), doubt) if _KEEP_ALIVE in found else None
    return Told(status, length, chunked, encoding, limit)


def _find_special(section: bytes) -> dict[bytes, list[bytes]]:
    """The values of the fields that matter to us, by name in lower case."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in _SPECIAL.findall(section):
        found.setdefault(name.lower(), []).append(value.rstrip(b" \t"))
    return found


def has_no_body(status: int, method: bytes) -> bool:
    """Whether a final response ends with its head (RFC 9112 section 6.3)."""
    return (
        status in (204, 304)
        or method == b"HEAD"
        # What follows then is another protocol.
        or (method == b"CONNECT" and status < 300)
    )


def check_trailers(fields: bytes, doubt: Doubt) -> None:
    """See whether trailers are nothing but that."""
    # RFC 9110 section 6.5.1: these must not be in trailers, and some programs merge the two.
    if found := _find_special(b"\n" + fields):
        doubt(Spent.DOUBTFUL)
    if _LENGTH in found:
        _read_length(found[_LENGTH], doubt)
    if _CODING in found:
        _check_coding(found[_CODING])


def _read_length(values: list[bytes], doubt: Doubt) -> int:
    if len(values) == 1 and (length := _length_in(values[0])) is not None:
        return length
    # RFC 9110 section 8.6: the same number more than once may be taken for one.
    lengths = {one.strip(b" \t") for value in values for one in value.split(b",")}
    if len(lengths) > 1:
        raise not_legal("its Content-Length is told more than once, and differently")
    length = _length_in(lengths.pop())
    if length is None:
        raise not_legal("its Content-Length is no number, or too large")
    doubt(Spent.TWO_LENGTHS)
    return length


def _length_in(text: bytes) -> int | None:
    """The number; None if it is none, or too large."""
    if len(text) > MAX_DIGITS or not text.isdigit():
        return None
    length = int(text)
    return length if length <= MAX_LENGTH else None


def _check_coding(values: list[bytes]) -> None:
    if len(values) > 1 or values[0].lower() != b"chunked":
        raise not_legal("its Transfer-Encoding is not 'chunked', once")


def _read_keep_alive(value: bytes, doubt: Doubt) -> float | None:
    """Keep a margin, so that a request does not meet the server's close half-way.

    The header is RFC 2068 section 19.7.1's; servers still send it.
    """
    limit = None
    if len(value) > MAX_KEEP_ALIVE_BYTES:
        return limit
    for part in value.split(b","):
        name, _, number = (word.strip() for word in part.partition(b"="))
        if not number.isdigit():
            continue
        if name.lower() == b"timeout":
            seconds = float(number[:9])
            limit = max(seconds - 1.0, seconds / 2)
            if seconds == 0:
                doubt(Spent.ASKED_TO_CLOSE)
        elif name.lower() == b"max" and int(number[:9]) == 0:
            doubt(Spent.ASKED_TO_CLOSE)
    return limit


def split_fields(section: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a head, or of trailers behind their first line, as they were sent.

    Args:
      section: to its blank line; it has passed the scanner.
    """
    lines = section[: section.index(b"\r\n\r\n")].split(b"\r\n")
    fields = (line.partition(b":") for line in lines[1:])
    return [(name, value.strip(b" \t")) for name, _, value in fields]


def fields_to_show(section: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of a response, with a length once, and a coding in lower case, as h11 has it.

    RFC 9110 section 8.6 allows it, and a program that makes a number of a length is glad of it.
    """
    shown: list[tuple[bytes, bytes]] = []
    has_length = False
    for name, value in split_fields(section):
        lower = name.lower()
        if lower == _CODING:
            value = value.lower()
        elif lower == _LENGTH:
            if has_length:
                continue
            has_length = True
            value = value.partition(b",")[0].rstrip(b" \t")
        shown.append((name, value))
    return shown


def words_of(values: Iterable[bytes]) -> list[bytes]:
    """The words of a list that may stand in several fields (RFC 9110 section 5.6.1)."""
    return [word.strip(b" \t") for word in b",".join(values).lower().split(b",")]


# ── What to say of what is wrong ───────────────────────────────────────────────────────────────


def not_legal(why: str) -> NotLegal:
    return NotLegal(f"what is not legal HTTP/1.1: {why}")


def name_byte(text: bytes | bytearray, at: int) -> str:
    return f"byte {at + 1} is 0x{text[at]:02x}"


def _fault(text: bytes) -> str:
    """What is wrong with a text, without quoting it."""
    found = _NEVER_IN_TEXT.search(text)
    what = f"is malformed, {name_byte(text, found.start())}" if found else "is malformed"
    return f"(of {len(text)} bytes) {what}"


def _leading_token(name: bytes) -> bytes:
    found = _TOKEN.match(name)
    assert found is not None  # It may be empty.
    return found[0]


def _quote(token: bytes) -> str:
    return token[:MAX_NAME_TOLD].decode("ascii")
