"""The seam: what an exchange may ask of any protocol, and what the pool may ask of a connection.

    exchange ──► Codec         one request and its response, as messages
    slots, dial, responses ──► Connection    what carries them; with HTTP/2 several at one time

A :class:`Codec` keeps its own clocks, turns foreign errors into ours, and knows how its protocol
frames a message. So the exchange asks for heads and for pieces of a body, and knows nothing of
events, chunks, windows or patience. And to frame and to write are never two steps of its: HTTP/2
has flow control between them, and with HTTP/1.1 a request that is framed and not written must not
count as sent.

One task may send while another one receives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import ssl

    import trio

    from .._config import Timeouts
    from .._facts import Condition, ConnectionInfo, Spent
    from .._origin import Origin
    from .request_head import RequestHead

Bytes: TypeAlias = bytes | bytearray | memoryview
RawHeaders: TypeAlias = list[tuple[bytes, bytes]]
"""Fields in the order and spelling in which they were sent."""

NO_FIELDS: RawHeaders = []


class Head(NamedTuple):
    """The head of a response: an informational one (1xx), or the final one.

    Attributes:
      status_code: such as 200.
      reason: may be empty.
      http_version: such as ``b"1.1"``.
      read_fields: gives the fields as they were sent. A function, for most programs never ask.
      length: of the body, where the head tells it.
      chunked: whether the body comes in chunks, so that its end is told behind it.
      encoding: Content-Encoding; ``""`` if there is none.
    """

    status_code: int
    reason: bytes
    http_version: bytes
    read_fields: Callable[[], RawHeaders]
    length: int | None = None
    chunked: bool = False
    encoding: str = ""


class Upgraded(NamedTuple):
    """What is left where the connection has switched to another protocol.

    Attributes:
      stream: the bytes from now on, for the one who asked for the switch.
      lead: what has been read already behind the response.
    """

    stream: trio.abc.Stream
    lead: bytes


class Codec(Protocol):
    """One request and its response, on a connection that may carry others.

    With HTTP/1.1 a connection is used by one exchange after the other, and is their codec itself.
    So an exchange asks nothing more of it once it has ended its lease.
    """

    # ── Sending ────────────────────────────────────────────────────────────────────────────────

    def start(
        self,
        origin: Origin,
        head: RequestHead,
        body: bytes | None,
        timeouts: Timeouts,
        *,
        reused: bool,
        just_seen: bool,
    ) -> bool:
        """Begin: frame the head, and the *body*; write what is taken at once.

        Not a checkpoint. If the body is None, pieces of it are to come.

        Args:
          origin: whom the request is for, for errors: a proxy may forward those of all origins.
          timeouts: of which those for reading and writing are kept here.
          reused: whether the server may have ended the connection, or sent bytes unasked: then it
            is looked at in the step in which we write.
          just_seen: whether it has been looked at in this very step.

        Returns:
          Whether everything was written; else :meth:`flush` writes the rest.

        Raises:
          WriteError: the connection broke. If some was sent, the answer may still be there.
          PoolClosed: as :meth:`flush`.
        """
        ...

    def send_now(self, piece: Bytes, *, last: bool = False) -> bool:
        """Frame a piece of the body, and write what is taken of it at once.

        Not a checkpoint: to let others run is the caller's task. If this raises, nothing more can
        be sent.

        Args:
          piece: only the last one may be empty.
          last: whether it is the last one; then the body's end is framed with it.

        Returns:
          Whether everything was written; else :meth:`flush` writes the rest.

        Raises:
          WriteError: the connection broke.
          LocalProtocolError: the body does not fit the Content-Length of the request.
          PoolClosed: the pool was left meanwhile.
        """
        ...

    async def flush(self) -> None:
        """Wait until what was framed has been taken. A checkpoint.

        Raises:
          WriteError: the connection broke.
          WriteTimeout: the server took nothing for the time that is the limit.
          PoolClosed: the pool was left meanwhile.
        """

    def stop_sending(self) -> None:
        """Nothing more is sent: from now on the server's silence counts against it.

        To be called where the request does not come to its end; may be called again.
        """

    on_write_stall: Callable[[], object] | None
    """Called if the server takes nothing of the request for too long; None for a WriteTimeout, and
    the end of the connection."""

    @property
    def sent_whole(self) -> bool:
        """Whether the system has taken the request to its end."""
        ...

    # ── Receiving ──────────────────────────────────────────────────────────────────────────────

    async def receive(self) -> None:
        """Wait until something has come. If cancelled, no byte is lost.

        A checkpoint, and nothing more, if what has come would take long to look at in a row.

        Raises:
          ReadError: the connection broke.
          ReadTimeout: nothing came for the time that is the limit, since all had been sent.
          PoolClosed: the pool was left meanwhile.
        """

    def next_head(self) -> Head | None:
        """The next head; None if :meth:`receive` has to be called first.

        Raises:
          RemoteProtocolError: what came is not legal, or exceeds a bound.
          ReadError: the server closed the connection in the middle of it.
        """
        ...

    upgraded: Upgraded | None
    """What is left, if the last head was a switch to another protocol."""

    def take(self) -> Bytes | None:
        """The next piece of the body; empty if more has to be received first; None at its end.

        Raises as :meth:`next_head`.
        """
        ...

    @property
    def trailers(self) -> RawHeaders:
        """The fields behind a body, once that has ended."""
        ...

    # ── Ending ─────────────────────────────────────────────────────────────────────────────────

    async def finish(self) -> None:
        """The response is whole: make ready for another exchange, or say why that can't be.

        ``connection.spent`` is the answer. A checkpoint with TLS only, if something has come.
        """

    def abandon(self) -> None:
        """Break the exchange off, now: HTTP/1.1 closes the connection. May be repeated."""

    @property
    def worth_draining(self) -> bool:
        """Whether reading a small rest of the body would save the connection."""
        ...

    def check_open(self) -> None:
        """Raise the reason if the connection was closed under us.

        Raises:
          WriteTimeout, ReadTimeout: the server let us wait for too long.
          PoolClosed: the pool, or the lease of the connection, was left.
        """

    # ── Facts, for messages and for the rule of retries ────────────────────────────────────────

    @property
    def bytes_sent(self) -> int:
        """How many bytes of this exchange the system has taken (ciphertext, if TLS).

        If it is 0 the server can't have acted on the request.
        """
        ...

    bytes_received: int
    """How many bytes have arrived in this exchange."""

    @property
    def how_far(self) -> str:
        """How much of the body has come, once the head has: the end of a sentence."""
        ...

    waited: float | None
    """For how many seconds a receive() that was cancelled had waited; None if not known."""


class Connection(Protocol):
    """What carries exchanges: as the dial makes it, the slots keep it and responses show it."""

    @property
    def info(self) -> ConnectionInfo: ...

    @property
    def spent(self) -> Spent | None:
        """Why it can't carry another exchange; None while it can."""
        ...

    @property
    def idle_limit(self) -> float | None:
        """How long the server keeps it when idle, in seconds less a margin; None if not told."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the descriptor has been closed: by us, or by another owner of the socket."""
        ...

    def condition(self) -> Condition:
        """See whether anything has arrived while it was idle. Synchronous, about a microsecond."""
        ...

    async def settle(self) -> bool:
        """Find out whether an UNSURE connection is fit for use, without waiting for the server."""
        ...

    def open_codec(self) -> Codec:
        """For one exchange."""
        ...

    def announce_end(self) -> None:
        """The next exchange is the last one: the server is told so with its request."""

    def open_stream(self) -> Upgraded:
        """The bytes themselves, for a program that speaks a protocol of its own: no exchange comes
        before this, and none after it.
        """
        ...

    def close(self, why: Spent | None = None) -> None:
        """Close the descriptor, now. Synchronous; may be repeated.

        *why* is what it is spent for, unless it is spent already.
        """

    @property
    def socket(self) -> trio.socket.SocketType:
        """For facts about it: not to be read or written."""
        ...

    @property
    def tls(self) -> ssl.SSLObject | None:
        """For facts about it: not to be read or written."""
        ...
