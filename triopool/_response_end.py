"""How a response ended, as instruments are told."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Outcome(enum.Enum):
    """How a response ended, seen from its caller."""

    COMPLETE = "complete"
    """All of its body arrived, and what the caller read of it could be decoded. Also: the
    connection had switched to another protocol, and the block was left without an exception."""
    FAILED = "failed"
    """It broke off: the connection, a timeout, ``max_body_bytes``, a body that can't be decoded,
    an exception of ``on_progress``, or the pool was left."""
    LEFT = "left"
    """The caller closed it, or left its block, before the end of the body. What is left of the
    body may still be read by the pool, for the connection's sake."""
    CANCELLED = "cancelled"
    """As LEFT, by a cancellation."""


@dataclass(frozen=True, slots=True)
class ResponseEnd:
    """The end of a response, of which an instrument was told by ``response_started``.

    Attributes:
      outcome: how it ended.
      body_bytes: how many bytes of its body had arrived, as they travel.
      seconds: from the call of ``request()`` to this end, waiting and dialling included.
      error: why it failed; for LEFT and CANCELLED the exception with which the block was left, if
        it was one; else None.
    """

    outcome: Outcome
    body_bytes: int
    seconds: float
    error: BaseException | None
