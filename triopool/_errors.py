"""Every error that leaves triopool, as one tree.

The tree is split by whose turn it was when things went wrong, because that decides what the
caller can do about it: the pool's (nothing was sent, ask again later), the dial's (nothing was
sent, the address or the certificate is at fault), the exchange's (something may have been sent).

Foreign exceptions become ours at the seams (the dial, the wire), always with ``from``, so that
``__cause__`` has the original. ``trio.Cancelled`` is never touched, and no ``ExceptionGroup``
leaves a request; where several addresses failed, the group is the ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from ._origin import Origin


class TriopoolError(Exception):
    """The root of the tree.

    Attributes:
      origin: the scheme, host and port that the request was for, where there was one.
      phase: what was going on: ``"pool"``, ``"connect"``, ``"write"`` or ``"read"``, or None.
      seconds: the limit that was exceeded, for a timeout; else None.
    """

    def __init__(
        self,
        message: str,
        *,
        origin: Origin | None = None,
        phase: str | None = None,
        seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.origin = origin
        self.phase = phase
        self.seconds = seconds


# ── The pool's turn: nothing was sent ──────────────────────────────────────────────────────────


class PoolTimeout(TriopoolError, trio.TooSlowError):
    """Neither a connection nor a dial of one's own was to be had within ``timeouts.pool``."""


class PoolClosed(TriopoolError):
    """The pool was left, or is being drained, before or while the request was under way."""


class PoolFull(TriopoolError):
    """``max_waiting`` requests wait already; raised at once, so that load can be shed."""


# ── The dial's turn: nothing was sent ──────────────────────────────────────────────────────────


class ConnectError(TriopoolError):
    """No connection could be opened. The message names each address tried, and why it failed.

    ``__cause__`` is the one failure, or an ``ExceptionGroup`` of them all.
    """


class ConnectTimeout(ConnectError, trio.TooSlowError):
    """The dial (names, race, TLS) took longer than ``timeouts.connect``."""


class ResolveError(ConnectError):
    """The host has no address, or the name service did not answer."""


class TLSError(ConnectError):
    """The TLS handshake failed; the message says how the certificate was wrong, if it was."""


class ProxyError(ConnectError):
    """The proxy can't be reached, refused, or did not speak its protocol.

    Nothing was sent to the origin, so the request may be tried again through another proxy, if its
    body can be produced again. (The same is true of :class:`ConnectTimeout`.)::

        for proxy in proxies:
            try:
                return await pool.get(url, proxy=proxy)
            except (triopool.ProxyError, triopool.ConnectTimeout):
                continue

    What an HTTP proxy answers to a request that it should forward (407, 502) is no error but a
    response, because it may be the origin's as well; see ``Response.raise_for_status()``.

    Attributes:
      proxy: its URL, without credentials.
      status_code: what an HTTP proxy answered to CONNECT; None if it did not answer.
      headers: the fields of that answer.
    """

    def __init__(
        self,
        message: str,
        *,
        origin: Origin | None = None,
        phase: str | None = None,
        seconds: float | None = None,
        proxy: str = "",
        status_code: int | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message, origin=origin, phase=phase, seconds=seconds)
        self.proxy = proxy
        self.status_code = status_code
        self.headers: list[tuple[bytes, bytes]] = list(headers)


# ── The exchange's turn: the request may have been received ────────────────────────────────────


class WriteError(TriopoolError):
    """The connection broke while the request was being sent."""


class WriteTimeout(TriopoolError, trio.TooSlowError):
    """The peer took no byte of the request for ``timeouts.write`` seconds."""


class ReadError(TriopoolError):
    """The connection broke while the response was awaited or read."""


class ReadTimeout(TriopoolError, trio.TooSlowError):
    """The peer sent no byte of the response for ``timeouts.read`` seconds."""


class LocalProtocolError(TriopoolError):
    """What we were asked to send is not legal HTTP/1.1; nothing unsafe was sent."""


class RemoteProtocolError(TriopoolError):
    """What the peer sent is not legal HTTP/1.1, or exceeds a bound."""


# ── The caller's turn ──────────────────────────────────────────────────────────────────────────


class InvalidURL(TriopoolError, ValueError):
    """The URL cannot be used for a request; the message says which part, and what to write."""
