"""The plain facts that responses and instruments show: frozen, and true for good.

They stand together because they are told together: an instrument hears of a request, of the
connection it got, and of how its response ended.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from ._origin import Origin

# ── Connections ────────────────────────────────────────────────────────────────────────────────


class Condition(enum.Enum):
    """What a glance at an idle connection shows, without I/O."""

    FRESH = "nothing has arrived: ready to be used"
    STALE = "the peer closed it or sent bytes that nobody asked for"
    UNSURE = "something arrived that may be TLS's own business: settle() finds out"


class CloseReason(enum.Enum):
    """Why a connection was closed."""

    EXPIRED = "expired"
    """Idle too long, too old, or used for too many requests."""
    STALE = "stale"
    """Idle, but the peer had closed it or sent bytes."""
    EVICTED = "evicted"
    """Closed to make room for another origin, because ``max_connections`` was lowered, or because
    ``max_idle`` others are idle."""
    DISCARDED = "discarded"
    """Not reusable: one side asked for the close, or the exchange was not finished on both."""
    RETIRED = "retired"
    """Closed by ``retire()`` or ``close_idle()``."""
    POOL_CLOSED = "pool closed"
    """The pool was left."""


class Spent(enum.Enum):
    """Why no other request can use a connection. The values are words for a log."""

    ASKED_TO_CLOSE = "one side asked to close it"
    """By ``Connection: close``, by ``Keep-Alive: timeout=0`` or ``max=0``, or by its version."""
    ENDED = "the server ended it"
    BROKEN = "it broke"
    STALE = "it had ended, or bytes had come, before the request was written"
    TIMED_OUT = "the server was too slow"
    CUT_SHORT = "the exchange was not finished"
    """A request was cancelled, a response was closed before its end, or the pool was left."""
    NOT_SENT = "the server answered before it had taken the request"
    EARLY_BYTES = "bytes came behind the response, or the end of the connection"
    NOT_LEGAL = "the server sent what is not legal"
    SWITCHED = "it has switched to another protocol"
    STREAM = "it was a stream of the program's own"
    """See ``pool.connect()``."""
    OTHER_VERSION = "the server speaks another version than HTTP/1.1"
    BARE_LF = "a line of the response ended with a bare LF"
    FOLDED_LINE = "a field of the response went on in a second line"
    TWO_LENGTHS = "the length of the response was told more than once"
    DOUBTFUL = "others may read the response differently"
    """Control characters, odd chunks, a body where there is none, framing in trailers."""


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """What the TLS handshake agreed on.

    Attributes:
      version: such as ``"TLSv1.3"``.
      cipher: the name of the cipher suite.
      alpn_protocol: ``"http/1.1"``, or None if the server did not choose one.
      peer_certificate: the server's certificate, DER encoded; None if there is none.
    """

    version: str | None
    cipher: str | None
    alpn_protocol: str | None
    peer_certificate: bytes | None


@dataclass(frozen=True, slots=True)
class ProxyInfo:
    """The facts of the proxy that a connection goes through.

    Attributes:
      url: its URL, without credentials, as ``str(proxy)`` has it.
      tls: what the TLS handshake with the proxy agreed on; None without TLS to it.
      forwards: whether it forwards single requests. Else it has opened a tunnel to the origin.
    """

    url: str
    tls: TLSInfo | None
    forwards: bool


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """The facts of a connection that do not change while it is open.

    Attributes:
      id: counts up from 1 within a pool.
      origin: whom it was dialled for; the proxy's own, if it forwards for all origins.
      local_address: ours, as ``getsockname`` tells it.
      remote_address: the peer's, as ``getpeername`` tells it: the address that won the race. If
        there are proxies on the way, the first one's.
      tls: with the origin; None for plain HTTP.
      opened_at: on Trio's clock.
      proxy: the proxy on the way, the last one if there are several; None for a direct connection.
      http_parser: what reads the responses: ``"h11"`` or ``"httptools"``.
      spent: why no other request can use it, for :meth:`triopool.abc.Instrument.closed`; None while
        one can, and where the pool closes it for a reason of its own. Left out of comparisons, so
        that what an instrument remembers of a connection is found again.
    """

    id: int
    origin: Origin
    local_address: Any
    remote_address: Any
    tls: TLSInfo | None
    opened_at: float
    proxy: ProxyInfo | None = field(default=None, kw_only=True)
    http_parser: str = field(default="h11", kw_only=True)
    spent: Spent | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class ResponseConnection(ConnectionInfo):
    """The facts of the connection that a response came on.

    Attributes:
      reused: whether it had been idle, or had served another request before.
    """

    reused: bool


def of_response(info: ConnectionInfo, *, reused: bool) -> ResponseConnection:
    """The same facts, for one of the requests that the connection serves."""
    facts = {fact.name: getattr(info, fact.name) for fact in fields(info)}
    return ResponseConnection(**facts, reused=reused)


# ── Requests and responses ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """The facts of a request, as instruments see them.

    Attributes:
      method: as given.
      origin: where to.
      target: path and query. May hold secrets, if the application puts them there, and is left
        out of the ``repr``.
      attempt: 1, or more if it is sent again after a stale connection.
      redirects: how many led here; then the target is what a server said.
      id: a number that no other request of the pool has: counts up from 1. It is the same in all
        events of a request, however often it is sent again. A request that follows a redirect is
        another one.
      redirected_from: the id of the request whose redirect led to this one; else None.
      proxy: the URL of the proxy that it goes through, without credentials; None if it goes
        directly.
      retries: how many times a session's :class:`triopool.Retry` had something sent again, for the
        same call, up to this one.
      retried_from: the id of the request that this one repeats for such a retry; else None.
    """

    method: str
    origin: Origin
    target: str = field(repr=False)
    attempt: int
    redirects: int = 0
    id: int = 0
    redirected_from: int | None = None
    proxy: str | None = None
    retries: int = 0
    retried_from: int | None = None


@dataclass(frozen=True, slots=True)
class ResponseInfo:
    """The facts of a response's head, as instruments see them.

    Attributes:
      status_code: such as 200.
      seconds: from the call of ``request()`` to the head's arrival, waiting and dialling included.
      http_version: ``"1.1"`` or ``"1.0"``.
    """

    status_code: int
    seconds: float
    http_version: str = field(default="1.1", kw_only=True)


class Outcome(enum.Enum):
    """How a response ended, seen from its caller."""

    COMPLETE = "complete"
    """All of its body arrived, and what the caller read of it could be decoded. Also: the
    connection had switched to another protocol, and the block was left without an exception."""
    FAILED = "failed"
    """It broke off: the connection, a timeout, ``max_body_bytes``, a body that can't be decoded,
    an exception of ``on_progress``, or the pool was left. Also: it is a redirect that was to be
    followed, and can't be."""
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


@dataclass(slots=True, eq=False)
class RequestRecord:
    """All that is known of one request: one object for it, from its begin to its end, which grows.

    For instruments, and not to be changed by them. It is equal to itself only, so it can be the key
    under which an instrument keeps what belongs to the request, also where pools share one.

    Attributes:
      request: its facts; ``attempt`` counts, all else stays.
      started_at: when ``request()`` was called, or the redirect led here; on Trio's clock.
      resends: how often it had been sent before: redirects that led here, retries of its session,
        and earlier attempts.
      connection: what this attempt is sent on; None while it has no connection.
      error: why the attempt before this one failed, while the next one begins; then None until the
        request is over, and then why, if anything was wrong: see ``end.error``.
      response: of its head; None while that is not here.
      end: of the response; None before that, and for good if there is no response, or if the
        connection has switched to another protocol.
    """

    request: RequestInfo
    started_at: float
    resends: int
    connection: ResponseConnection | None = None
    error: BaseException | None = None
    response: ResponseInfo | None = None
    end: ResponseEnd | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What of the two bodies has gone over the wire so far; see ``on_progress=``.

    All in bytes, as they travel: compressed ones where the server compresses.

    Attributes:
      sent: how much of the request's body has been handed to the system.
      to_send: its length; None if that is not known.
      received: how much of the response's body has arrived.
      to_receive: its length; None if the server did not tell, or has not answered yet.
    """

    sent: int
    to_send: int | None
    received: int
    to_receive: int | None


OnProgress: TypeAlias = Callable[[Progress], object]
