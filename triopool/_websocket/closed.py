"""How a WebSocket ended, and the error that says so."""

from __future__ import annotations

from typing import NamedTuple

import trio

GOOD_CODES = frozenset({1000, 1001, 1005})
"""Codes with which a connection ends that nothing went wrong with: closed, going away, none."""


class Closed(NamedTuple):
    """How a WebSocket ended.

    Attributes:
      code: RFC 6455 section 7.4: 1000 if all is well, 1005 if the server told none, 1006 if the
        connection ended without a farewell; 1002, 1007, 1009, 1011 if we ended it, because the
        server broke the rules, sent what is no text, sent too much, or gave no sign of life.
      reason: in the server's words or, where we ended it, in ours; may be empty.
    """

    code: int
    reason: str


class WebSocketBroken(trio.BrokenResourceError):
    """A WebSocket has ended, and not well.

    Attributes:
      closed: with which code and reason.
    """

    def __init__(self, closed: Closed) -> None:
        why = f": {closed.reason}" if closed.reason else ""
        super().__init__(f"the WebSocket ended with code {closed.code}{why}")
        self.closed = closed
