"""What a connection asks of a parser of HTTP/1.1. There are two: h11, and llhttp (httptools).

    connection.py ──► parser ──► scanner.py    the rules, which are the same for all
                        ├── h11_parser.py
                        └── httptools_parser.py

A parser frames requests and reads responses; no I/O. What a server sends passes the scanner first,
whichever parser is behind it. So all that we promise of bounds, cost, doubt and strictness is in
one place; and the tests hold the two parsers against each other, response by response.
"""

from __future__ import annotations

from typing import Protocol

from .._facts import Spent
from .request_head import RequestHead
from .scanner import Scanner
from .seam import Bytes, Head, RawHeaders


class CutShort(Exception):
    """The server ended the connection in the middle of a message."""


class DoesNotFit(Exception):
    """A body is not as long as its request said. How it differs, as the end of a sentence."""


class Parser(Protocol):
    """One side of one connection: frames requests, reads responses.

    Attributes:
      scanner: what the server's bytes pass first.
      trailers: the fields behind a chunked body, once it has ended.
      body_bytes: how much of the body has been given out.
      may_switch: whether a response could be the end of HTTP on this connection.
    """

    scanner: Scanner
    trailers: RawHeaders
    body_bytes: int
    may_switch: bool

    # ── Requests ───────────────────────────────────────────────────────────────────────────────

    def start(self, head: RequestHead, body: bytes | None) -> bytes:
        """Begin an exchange: the head as it goes over the wire, and the *body* if that is all.

        Raises:
          DoesNotFit: the body is not as long as the head says.
        """
        ...

    def frame(self, piece: Bytes, *, last: bool) -> list[Bytes]:
        """A piece of the body as it goes over the wire, without a copy.

        Raises:
          DoesNotFit: the body is longer than the head said; or shorter, and this is the *last* one.
        """
        ...

    # ── Responses ──────────────────────────────────────────────────────────────────────────────

    def put(self, data: bytes) -> None:
        """Take in what has been read; ``b""`` if the server has ended the connection."""

    def next_head(self) -> Head | None:
        """The next head; None if more has to be put in first.

        Raises:
          NotLegal: what came is not legal, or exceeds a bound.
          CutShort: it has ended in the middle.
        """
        ...

    def take(self) -> Bytes | None:
        """The next piece of the body; empty if more has to be put in first; None at its end.

        Raises as :meth:`next_head`.
        """
        ...

    @property
    def has_switched(self) -> bool:
        """Whether HTTP is over on this connection: after 101, or a successful CONNECT."""
        ...

    @property
    def rest(self) -> bytes:
        """What has been put in behind the head of a switch: it belongs to the other protocol."""
        ...

    # ── The next exchange ──────────────────────────────────────────────────────────────────────

    @property
    def stays_open(self) -> bool:
        """Whether the connection will serve another exchange, for all that has been said so far.

        That is not so if one side has asked for the close, or if the end of the connection is the
        end of the body. To be asked once the request has been framed to its end.
        """
        ...

    def why_spent(self) -> Spent | None:
        """Once both sides are done: why there can't be a next cycle; None if there can."""
        ...

    def next_cycle(self) -> None:
        """Both sides are done, and nothing trails: make ready for another exchange."""
