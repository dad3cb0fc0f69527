"""The plain facts of a connection, as responses and instruments show them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import Any

from ._origin import Origin


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
class ConnectionInfo:
    """The facts of a connection that do not change while it is open.

    Attributes:
      id: counts up from 1 within a pool.
      origin: whom it was dialled for.
      local_address: ours, as ``getsockname`` tells it.
      remote_address: the peer's, as ``getpeername`` tells it: the address that won the race.
      tls: None for plain HTTP.
      opened_at: on Trio's clock.
    """

    id: int
    origin: Origin
    local_address: Any
    remote_address: Any
    tls: TLSInfo | None
    opened_at: float


@dataclass(frozen=True, slots=True)
class ResponseConnection(ConnectionInfo):
    """The facts of the connection that a response came on.

    Attributes:
      reused: whether it had been idle, or had served another request before.
    """

    reused: bool


def of_response(info: ConnectionInfo, *, reused: bool) -> ResponseConnection:
    """The same facts, for one of the requests that the connection serves."""
    facts = {field.name: getattr(info, field.name) for field in fields(info)}
    return ResponseConnection(**facts, reused=reused)
