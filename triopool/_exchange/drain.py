"""The drain: an unread rest of a response is read for the connection's sake, and dropped.

A response that is closed before its end leaves the rest of its body on the connection. We can close
the connection, and the next request dials; or read the rest, and the next request reuses it. Which
of the two is cheaper cannot be known. So a drain is bounded, in bytes and in time, and what exceeds
a bound costs the connection. It runs in a task of the pool, for the caller has gone on. Meanwhile
the exchange keeps its lease, so that the bounds of the pool hold; and however the drain ends, the
exchange is ended behind it. Nothing is decoded, and no progress is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .._protocol.seam import Codec, Head
    from .receiving import Receiving

NAME = "triopool drain"
"""Of the tasks that drain."""

DRAIN_BYTES = 64 * 1024
DRAIN_SECONDS = 0.05
"""An unread rest within these bounds is read for the connection's sake; else it is closed."""


def is_worth_it(codec: Codec, head: Head, body: Receiving) -> bool:
    """Whether what is left is, or may be, so little that reading it saves the connection."""
    if not codec.worth_draining:
        return False
    return head.length is None or head.length - body.body_bytes <= DRAIN_BYTES


async def drain(body: Receiving, skip: Callable[[], Awaitable[bool]]) -> None:
    """Read the rest, within the bounds.

    Args:
      skip: takes what comes next, and drops it; says whether there is more.
    """
    enough = body.body_bytes + DRAIN_BYTES
    with trio.move_on_after(DRAIN_SECONDS):
        while body.body_bytes <= enough and await skip():
            pass
