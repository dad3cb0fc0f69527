"""HTTP/1.1 as h11 speaks it, without any I/O. The only file that knows h11.

h11 says what is legal, and keeps the two state machines: when both sides are done, and neither has
asked for the close, the connection can go on. What a server sends passes the scanner first, which
keeps the bounds and the rules that are no parser's. What is left to do here is small: to frame what
is sent, and to turn h11's events into heads and pieces.

h11's exceptions quote the line that they refuse, which may hold a secret. So none of them leaves
this file, neither as a cause nor as a context, and nothing depends on their wording.
"""

from __future__ import annotations

from typing import Any

import h11

from .._facts import Spent
from .heads import Doubt, NotLegal, not_legal
from .parser import CutShort, DoesNotFit
from .request_head import RequestHead
from .scanner import MAX_HEAD_BYTES, Scanner
from .seam import NO_FIELDS, Bytes, Head, RawHeaders

_END_OF_MESSAGE = h11.EndOfMessage()


class H11Parser:
    """A :class:`~.parser.Parser`, which says what its methods promise."""

    def __init__(self, doubt: Doubt) -> None:
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.scanner = Scanner(doubt)
        self._ended = False
        self.trailers: RawHeaders = NO_FIELDS
        self.body_bytes = 0
        self.may_switch = False
        self._at_eof = False
        # What was read last, if all of it is the body as it stands: see take().
        self._read_of_body: bytes | None = None
        self._goes_as_read = False

    # ── Requests ───────────────────────────────────────────────────────────────────────────────

    def start(self, head: RequestHead, body: bytes | None) -> bytes:
        """Begin an exchange: the head as it goes over the wire, and the *body* if that is all."""
        self.scanner.start(head.method, asks_to_switch=head.fields.ask_to_switch)
        self._ended = self._goes_as_read = False
        self.trailers = NO_FIELDS
        self.body_bytes = 0
        self.may_switch = head.may_switch
        request = head.kept
        if type(request) is not h11.Request:
            request = _make_request(head)
        parts: list[Bytes] = [*(self._h11.send_with_data_passthrough(request) or ())]
        if body is not None:
            parts += self.frame(body, last=True)
        return b"".join(parts)

    def frame(self, piece: Bytes, *, last: bool) -> list[Bytes]:
        """A piece of the body as it goes over the wire, without a copy.

        Raises:
          DoesNotFit: the body is longer than the head said; or shorter, and this is the *last* one.
        """
        parts: list[Bytes] = []
        send = self._h11.send_with_data_passthrough
        wrong = "longer"
        try:
            if piece:
                parts += send(h11.Data(data=piece)) or ()  # type: ignore[arg-type] # asks for len()
            if last:
                wrong = "shorter"
                parts += send(_END_OF_MESSAGE) or ()
            return [part for part in parts if part]
        except h11.LocalProtocolError:
            pass
        raise DoesNotFit(f"it is {wrong}")

    # ── Responses ──────────────────────────────────────────────────────────────────────────────

    def put(self, data: bytes) -> None:
        """Take in what has been read; ``b""`` if the server has ended the connection."""
        if data:
            self.scanner.put(data)
            self._read_of_body = data if self._goes_as_read else None
        else:
            self._at_eof = True
            self._h11.receive_data(b"")

    def next_head(self) -> Head | None:
        """The next head; None if more has to be put in first.

        Raises:
          NotLegal: what came is not legal, or exceeds a bound.
          CutShort: it has ended in the middle.
        """
        event = self._next_event()
        if event is h11.NEED_DATA:
            return None
        told = self.scanner.told
        is_final = type(event) is h11.Response
        # See take(); not yet for the piece that the head came with.
        self._goes_as_read = is_final and not told.chunked
        return Head(
            event.status_code,
            event.reason,
            event.http_version,
            event.headers.raw_items,
            told.length if is_final else None,
            told.chunked,
            told.encoding,
        )

    def take(self) -> Bytes | None:
        """The next piece of the body; empty if more has to be put in first; None at its end.

        Unless a body is chunked, it is what was read, and h11 only has to say where it ends. But
        h11 copies what it gets three times, and wants it in pieces of 64 KiB (see the scanner).
        So it is shown all that was read, its pieces are only counted, and we give out what was
        read, in one piece and without a copy. What goes beyond the end of the body is cut off: it
        belongs to no exchange, and costs the connection.

        Raises as :meth:`next_head`.
        """
        if self._read_of_body is not None:
            read, self._read_of_body = self._read_of_body, None
            before = self.body_bytes
            while self.take():
                pass
            return read[: self.body_bytes - before]
        if self._ended:
            return None  # h11 may refuse what comes behind.
        event = self._next_event()
        if type(event) is h11.Data:
            data: bytes = event.data
            self.body_bytes += len(data)
            return data
        if type(event) is h11.EndOfMessage:
            self._ended = True
            if self.scanner.told.chunked:
                self.trailers = event.headers.raw_items()
            return None
        return b""

    def _next_event(self) -> Any:
        """What h11 makes of the bytes so far."""
        some = self.scanner.take()
        # Whatever the scanner gives makes an event: a whole head, a whole chunk, a part of a body.
        if some:
            self._h11.receive_data(some)  # type: ignore[arg-type] # takes whatever is like bytes
        try:
            # ConnectionClosed and PAUSED come behind a whole response, or 101, where we don't ask.
            return self._h11.next_event()
        except h11.RemoteProtocolError:
            pass  # We raise our own outside: here h11's, which quotes, would be its context.
        raise self._refusal()

    def _refusal(self) -> NotLegal | CutShort:
        """Why h11 refuses what came; from what we know ourselves, and not from its message."""
        if self._at_eof:
            return CutShort("the end of the connection, in the middle of a message")
        return not_legal("h11 refuses its head, or its trailers")

    @property
    def has_switched(self) -> bool:
        """Whether HTTP is over on this connection: after 101, or a successful CONNECT."""
        return self._h11.their_state is h11.SWITCHED_PROTOCOL

    # ── The next exchange ──────────────────────────────────────────────────────────────────────

    @property
    def stays_open(self) -> bool:
        """Whether the connection will serve another exchange, for all that has been said so far.

        That is not so if one side has asked for the close, or if the end of the connection is the
        end of the body. To be asked once the request has been framed to its end.
        """
        told = self.scanner.told
        return (told.chunked or told.length is not None) and self._h11.our_state is h11.DONE

    def why_spent(self) -> Spent | None:
        """Once both sides are done: why there can't be a next cycle; None if there can."""
        if self._h11.our_state is not h11.DONE:
            return Spent.ASKED_TO_CLOSE
        if self._h11.trailing_data[0] or self.scanner.has_rest:
            return Spent.EARLY_BYTES
        return None

    @property
    def rest(self) -> bytes:
        """What has been put in behind the head of a switch: it belongs to the other protocol."""
        return self.scanner.rest

    def next_cycle(self) -> None:
        """Both sides are done, and nothing trails: make ready for another exchange."""
        self._h11.start_next_cycle()


def _make_request(head: RequestHead) -> h11.Request:
    """The same head as h11's object, to be kept with it.

    It takes 10 µs to make one; 3 if its fields have been a part of another one.
    """
    fields = head.fields
    headers: Any = fields.lines if fields.kept is None else fields.kept
    request = head.kept = h11.Request(method=head.method, target=head.target, headers=headers)
    fields.kept = request.headers
    return request
