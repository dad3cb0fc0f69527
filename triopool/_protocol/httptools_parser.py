"""HTTP/1.1 with llhttp, the parser of Node.js, by way of httptools. No I/O. Knows httptools alone.

llhttp judges each head, strictly: no lenient flag is set. Only those are spared of which our own
rules have told that others may read them differently, and which cost the connection: h11 accepts
some of them, and llhttp refuses them (a length that is told twice, a control character).

It gets no bodies. How long a body is was read from its head (``heads.py``), and it takes no parser
to count bytes: so a body is given out as it was read, without a copy. What comes in chunks was put
together, and checked, by the scanner (``chunks.py``).

The head of a request was checked when it was made. It is written once, and kept with the head.
"""

from __future__ import annotations

from functools import partial

import httptools

from .._facts import Spent
from .heads import Doubt, fields_to_show, has_no_body, not_legal
from .parser import CutShort, DoesNotFit
from .request_head import RequestHead, write_fields
from .scanner import Scanner, Stage
from .seam import NO_FIELDS, Bytes, Head, RawHeaders


class _NoCallbacks:
    """What llhttp finds in a head is not asked for: most programs never look at the fields."""


_NO_CALLBACKS = _NoCallbacks()


class HttptoolsParser:
    """A :class:`~.parser.Parser`, which says what its methods promise."""

    def __init__(self, doubt: Doubt) -> None:
        self.scanner = Scanner(self._doubted)
        self._doubt = doubt
        self._is_doubtful = False
        self.trailers: RawHeaders = NO_FIELDS
        self.body_bytes = 0
        self.may_switch = False
        self._method = b""
        self._ended = False
        self._at_eof = False
        # Of the request: whether it asks for the close, and how much of its body is missing.
        self._closes = False
        self._to_send: int | None = 0

    def _doubted(self, why: Spent) -> None:
        if why is not Spent.ASKED_TO_CLOSE:
            self._is_doubtful = True
        self._doubt(why)

    # ── Requests ───────────────────────────────────────────────────────────────────────────────

    def start(self, head: RequestHead, body: bytes | None) -> bytes:
        fields = head.fields
        self.scanner.start(head.method, asks_to_switch=fields.ask_to_switch)
        self._method = head.method
        self._ended = False
        self.trailers = NO_FIELDS
        self.body_bytes = 0
        self.may_switch = head.may_switch
        self._closes = fields.ask_to_close
        self._to_send = fields.body_length
        written = head.kept
        if type(written) is not bytes:
            written = _write(head)
        if body is None or (not body and not self._to_send and self._to_send is not None):
            return written
        return b"".join((written, *self.frame(body, last=True)))

    def frame(self, piece: Bytes, *, last: bool) -> list[Bytes]:
        size = len(piece)
        if self._to_send is None:
            framed: list[Bytes] = [b"%x\r\n" % size, piece, b"\r\n"] if size else []
            return [*framed, b"0\r\n\r\n"] if last else framed
        if size > self._to_send:
            raise DoesNotFit("it is longer")
        self._to_send -= size
        if last and self._to_send:
            raise DoesNotFit("it is shorter")
        return [piece] if size else []

    # ── Responses ──────────────────────────────────────────────────────────────────────────────

    def put(self, data: bytes) -> None:
        if data:
            self.scanner.put(data)
        else:
            self._at_eof = True

    def next_head(self) -> Head | None:
        head = self.scanner.take_head()
        if not head:
            self._check_not_cut()
            return None
        if not (self._is_doubtful or _is_legal(head)):
            raise not_legal("llhttp refuses its head")
        told = self.scanner.told
        is_final = told.status >= 200
        return Head(
            told.status,
            head[13 : head.index(b"\r\n")],
            head[5:8],
            partial(fields_to_show, head),
            told.length if is_final else None,
            told.chunked,
            told.encoding,
        )

    def take(self) -> Bytes | None:
        if self._ended:
            return None
        stage = self.scanner.stage
        if stage is Stage.BODY:
            return self._take_body()
        if stage is not Stage.NOTHING:
            return self._take_chunks()
        self._ended = True
        return None

    def _take_body(self) -> Bytes | None:
        length = self.scanner.told.length
        data = self.scanner.take_body(None if length is None else length - self.body_bytes)
        self.body_bytes += len(data)
        if data:
            return data
        if self.body_bytes == length or (length is None and self._at_eof):
            self._ended = True
            return None
        self._check_not_cut()
        return b""

    def _take_chunks(self) -> Bytes | None:
        scanner = self.scanner
        if scanner.stage is Stage.CHUNKS and (data := scanner.take_chunks()):
            self.body_bytes += len(data)
            return data
        if scanner.stage is Stage.TRAILERS and (trailers := scanner.take_trailers()) is not None:
            if trailers != b"\r\n":
                self.trailers = fields_to_show(b"\r\n" + trailers)
            self._ended = True
            return None
        self._check_not_cut()
        return b""

    def _check_not_cut(self) -> None:
        if self._at_eof:
            raise CutShort("the end of the connection, in the middle of a message")

    @property
    def has_switched(self) -> bool:
        status = self.scanner.told.status
        return status == 101 or (self._method == b"CONNECT" and 200 <= status < 300)

    @property
    def rest(self) -> bytes:
        return self.scanner.rest

    # ── The next exchange ──────────────────────────────────────────────────────────────────────

    @property
    def stays_open(self) -> bool:
        told = self.scanner.told
        return (told.chunked or told.length is not None) and not self._closes

    def why_spent(self) -> Spent | None:
        told = self.scanner.told
        ends_by_itself = told.chunked or told.length is not None
        if self._closes or not (ends_by_itself or has_no_body(told.status, self._method)):
            return Spent.ASKED_TO_CLOSE
        return Spent.EARLY_BYTES if self.scanner.has_rest else None

    def next_cycle(self) -> None:
        """Nothing is kept from one exchange to the next."""


def _is_legal(head: bytes) -> bool:
    # llhttp pauses behind a 101, and httptools takes that for an error if the head has no Upgrade,
    # which h11 does not ask for. It makes no difference for what is legal: so it sees a 102.
    if head.startswith(b"101", 9):
        head = b"%b102%b" % (head[:9], head[12:])
    try:
        httptools.HttpResponseParser(_NO_CALLBACKS).feed_data(head)
    except httptools.HttpParserError:
        return False
    return True


def _write(head: RequestHead) -> bytes:
    """A head as it goes over the wire, kept with it; and its fields with those."""
    fields = head.fields
    if type(fields.kept) is not bytes:
        fields.kept = write_fields(fields)
    written = head.kept = b"%b %b HTTP/1.1\r\n%b\r\n" % (head.method, head.target, fields.kept)
    return written
