"""When a request may be sent again, on another connection.

A server may close a connection at the very moment at which we use it again. No check can prevent
that: the request and the close cross on the way. RFC 9110 section 9.2.2 and RFC 9112 section 9.3.1
allow a client to repeat the request on another connection, with care:

- only if the connection was reused: a fresh one that fails says something about the server;
- only if not one byte of a response had arrived, and the connection was closed or reset;
- only if nothing of the request had been handed to the kernel, or the method is safe, or the caller
  said ``idempotent=True``: else the server may have acted on it;
- only if the body can be produced again: never a started iterator twice;
- at most three times, not counting those at which nothing was sent.

Where nothing was sent, nothing is at stake, and no bound is needed: each such connection has just
served another request, so there are no more of them than requests that went well. A server that
closes every connection behind its response, without a word, makes many: a request that waits is
handed one of them after the other.

The loop that does it is the client's (:mod:`._client.client`).
"""

from __future__ import annotations

from .._errors import ResolveError, TriopoolError
from .._exchange.exchange import Exchange
from .._facts import CloseReason
from .._slots.engine import Slots

MAX_RETRIES = 3


def may_retry(exchange: Exchange) -> bool:
    """Whether a request that met a broken connection may go to another one."""
    sending, request = exchange.sending, exchange.sending.request
    return (
        exchange.was_stale
        and (exchange.nothing_sent or (request.may_be_repeated and sending.in_vain < MAX_RETRIES))
        and (request.replayable or not sending.body_started)
    )


def prepare_retry(exchange: Exchange, slots: Slots) -> None:
    """Count it; and before the last one, see to it that it meets no stale connection again."""
    sending = exchange.sending
    key = sending.request.key
    slots.count_retried(key)
    sending.attempt += 1
    if exchange.nothing_sent:
        return
    sending.in_vain += 1
    if sending.in_vain == MAX_RETRIES:
        # A server that has closed three idle connections has most likely closed all of them, as
        # one does that was started anew. So we give up those that are idle. The last attempt then
        # takes whatever comes first: a fresh dial, or a connection that another request returns,
        # which has just worked. To insist on a fresh one would let younger requests overtake it.
        slots.close_idle(key, CloseReason.STALE)


def tell_what_began_it(error: TriopoolError, first: TriopoolError) -> None:
    """Say of the error of a later attempt how the *first* one failed: as a note, and as a cause."""
    if error is first:
        return
    error.add_note(f"triopool had sent the request before, on a connection gone stale: {first}")
    if isinstance(error, ResolveError):
        return  # Its cause is shared with other requests that asked for the host.
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    root.__cause__ = first
