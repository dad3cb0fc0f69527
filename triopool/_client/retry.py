"""When a request may be sent again, and the loop that does it.

A server may close a connection at the very moment at which we use it again. No check can prevent
that: the request and the close cross on the way. RFC 9110 section 9.2.2 and RFC 9112 section 9.3.1
allow a client to repeat the request on another connection, with care:

- only if the connection was reused: a fresh one that fails says something about the server;
- only if not one byte of a response had arrived, and the connection was closed or reset;
- only if nothing of the request had been handed to the kernel, or the method is safe, or the caller
  said ``idempotent=True``: else the server may have acted on it;
- only if the body can be produced again: never a started iterator twice;
- at most three times; before the last one the origin's idle connections are given up, for a server
  that has closed three has closed them all, so that it goes to a fresh connection (or one that
  another request has used successfully just now).
"""

from __future__ import annotations

from .._errors import ReadError, ResolveError, TriopoolError, WriteError
from .._exchange.background import Background
from .._exchange.exchange import Exchange
from .._exchange.sending import Sending
from .._facts import CloseReason
from .._slots.engine import Slots
from .._slots.lease import Lease

MAX_RETRIES = 3


async def send(sending: Sending, slots: Slots, background: Background) -> Exchange:
    """Lease a connection, send the request, read the head of the response.

    Raises:
      TriopoolError: any phase's; and what the caller's body raised.
    """
    first: TriopoolError | None = None
    lease: Lease | None = None
    if sending.request.to_be_measured:
        sending.request = await sending.request.measured()
    key, timeouts = sending.request.key, sending.request.timeouts
    try:
        while True:
            lease = await slots.acquire(key, timeouts, lease, sending.listener)
            # No checkpoint between here and attempt(), which looks after the lease.
            exchange = Exchange(sending, lease, background)
            sending.listener.connected(lease.connection.info, reused=lease.reused)
            try:
                await exchange.attempt()
            except (ReadError, WriteError) as exc:
                first = first or exc
                if not may_retry(exchange):
                    exchange.abandon()
                    raise
                sending.listener.retried(exc)
                _prepare_next(sending, slots)
            else:
                return exchange
    except TriopoolError as exc:
        if first is not None and exc is not first:
            _blame(exc, first)
        raise


def _prepare_next(sending: Sending, slots: Slots) -> None:
    key = sending.request.key
    slots.count_retried(key)
    if sending.attempt == MAX_RETRIES:
        slots.close_idle(key, CloseReason.STALE)
    sending.attempt += 1


def _blame(error: TriopoolError, first: TriopoolError) -> None:
    """Say what began it: as a note, and as the last of the causes."""
    error.add_note(f"triopool had sent the request before, on a connection gone stale: {first}")
    if isinstance(error, ResolveError):
        return  # Its cause is shared with others who asked for the host.
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    root.__cause__ = first


def may_retry(exchange: Exchange) -> bool:
    """Whether a request that met a broken connection may go to another one."""
    sending, request = exchange.sending, exchange.sending.request
    return (
        exchange.was_stale
        and sending.attempt <= MAX_RETRIES
        and (exchange.nothing_sent or request.may_be_repeated)
        and (request.replayable or not sending.body_started)
    )
