"""The drain: what nobody has read of a response is read for the connection's sake, and dropped.

A response that is closed before its end leaves the rest of its body on the connection. We can close
the connection, and the next request dials; or read the rest, and the next request reuses it. Which
is cheaper we can't know, so a drain is bounded in bytes and in time, and what exceeds a bound costs
the connection. It runs in a task of the pool: the caller who has closed the response goes on at
once. The exchange keeps its lease meanwhile, so the bounds of the pool hold; and whatever ends the
drain, the exchange abandons what is left. Nothing is decoded, and no progress is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .exchange import Exchange

DRAIN_BYTES = 64 * 1024
DRAIN_SECONDS = 0.05
"""An unread rest within these bounds is read for the connection's sake; else it is closed."""


def is_worth_it(exchange: Exchange) -> bool:
    """Whether what is left is, or may be, so little that reading it saves the connection."""
    if not exchange.codec.worth_draining:
        return False
    length = exchange.response.length
    return length is None or length - exchange.body_bytes <= DRAIN_BYTES


async def drain(exchange: Exchange) -> None:
    """Read the rest within bounds; if there is more, close the connection."""
    enough = exchange.body_bytes + DRAIN_BYTES
    try:
        with trio.move_on_after(DRAIN_SECONDS):
            while not exchange.ended and exchange.body_bytes <= enough:
                await exchange.skip()
    finally:
        exchange.abandon()
