"""One HTTP/1.1 connection: h11 over a wire. The only file that knows h11.

h11 says what is legal, and whether the connection can be reused: when both sides are done and
nothing trails. What is ours is to move the bytes, to turn foreign errors into our own, and to keep
the bounds that h11 leaves to its user.

The methods come in two kinds. Synchronous ones ask h11 and never touch the network; the two
asynchronous ones, :meth:`Connection.send` and :meth:`Connection.receive`, move bytes and nothing
else. Deadlines are their caller's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import h11
import trio

from ._connection_info import ConnectionInfo
from ._errors import LocalProtocolError, PoolClosed, ReadError, RemoteProtocolError, WriteError
from ._slot import Condition
from ._tls import TLSStream
from ._wire import RECEIVE_SIZE, Wire

MAX_HEAD_BYTES = 64 * 1024
"""Bound on the head of a response: status lines and fields, 1xx ones and trailers included."""

MAX_FIELDS = 256
"""Bound on the number of fields in one head."""

Head: TypeAlias = h11.Request
RawHeaders: TypeAlias = "list[tuple[bytes, bytes]]"


class NeedData:
    """What :meth:`Connection.next_event` returns when h11 wants to read from the network."""


NEED_DATA = NeedData()
Data: TypeAlias = h11.Data
EndOfMessage: TypeAlias = h11.EndOfMessage
InformationalResponse: TypeAlias = h11.InformationalResponse
Response: TypeAlias = h11.Response
Event: TypeAlias = "NeedData | Data | EndOfMessage | InformationalResponse | Response"


def make_head(method: str, target: str, headers: Iterable[tuple[Any, Any]]) -> Head:
    """Check the head of a request, before anything is taken or sent.

    Raises:
      LocalProtocolError: it is not legal HTTP/1.1. A header is named; its value, which may be a
        secret, is not told.
    """
    pairs: list[tuple[Any, Any]] = list(headers)
    try:
        return h11.Request(method=method, target=target, headers=pairs)
    except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
        problem = str(exc)
        for name, value in pairs:
            try:
                h11.Request(method="GET", target="/", headers=[("Host", "a"), (name, value)])
            except (h11.LocalProtocolError, UnicodeEncodeError):
                if _is_legal_name(name):
                    problem = f"the value of header {name!r} has characters that can't be sent"
                else:
                    problem = f"{name!r} is not a legal header name"
                break
    # "from None", for h11's message quotes the value.
    raise LocalProtocolError(f"the request is not legal HTTP/1.1: {problem}") from None


def _is_legal_name(name: str | bytes) -> bool:
    try:
        any_value: Any = [("Host", "a"), (name, b"0")]
        h11.Request(method="GET", target="/", headers=any_value)
    except (h11.LocalProtocolError, UnicodeEncodeError):
        return False
    return True


class Connection:
    """One connection, and the state of the exchange on it.

    Attributes:
      info: its facts.
      idle_limit: how long the server keeps it when idle, in seconds less a margin; None if it
        did not say.
      bytes_received: how many bytes have arrived in this exchange.
    """

    def __init__(self, wire: Wire, tls: TLSStream | None, info: ConnectionInfo) -> None:
        self.info = info
        self.idle_limit: float | None = None
        self._wire = wire
        self._tls = tls
        self._stream: trio.abc.Stream = wire if tls is None else tls
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._sent_before = 0
        self.bytes_received = 0
        # Something about the exchange that h11 accepts, and after which we don't reuse.
        self._tainted = False
        self._eof = False

    # ── For the slot engine ────────────────────────────────────────────────────────────────────

    def condition(self) -> Condition:
        """See whether anything has arrived while it was idle. Synchronous, about a microsecond."""
        if not self._wire.is_readable():
            return Condition.FRESH
        # TLS 1.3 sends session tickets after the handshake, and may change keys at any time.
        return Condition.STALE if self._tls is None else Condition.UNSURE

    async def settle(self) -> bool:
        """Let TLS process what has arrived; False if it was data, an end of file or an error.

        Never waits for the peer. Works under an expired deadline too, where it raises Cancelled
        rather than tell a lie.
        """
        assert self._tls is not None
        self._wire.patient = False
        try:
            await self._tls.receive_some(1)
        except trio.WouldBlock:
            return True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        finally:
            self._wire.patient = True
        return False

    def close(self) -> None:
        self._wire.close()

    # ── Sending ────────────────────────────────────────────────────────────────────────────────

    @property
    def bytes_sent(self) -> int:
        """How many bytes of this exchange the kernel has taken (ciphertext, if TLS)."""
        return self._wire.bytes_sent - self._sent_before

    def start(self, head: Head) -> bytes:
        """Begin an exchange; return the head as it goes over the wire."""
        self._sent_before = self._wire.bytes_sent
        self.bytes_received = 0
        return self._h11.send(head) or b""

    def body(self, data: bytes) -> bytes:
        """Frame a piece of the request's body."""
        return self._say(h11.Data(data=data))

    def end_of_body(self) -> bytes:
        return self._say(h11.EndOfMessage())

    def _say(self, event: h11.Data | h11.EndOfMessage) -> bytes:
        try:
            return self._h11.send(event) or b""
        except h11.LocalProtocolError as exc:
            raise LocalProtocolError(
                f"the body does not fit the request's Content-Length: {exc}",
                origin=self.info.origin,
                phase="write",
            ) from exc

    async def send(self, data: bytes) -> None:
        """Write to the network. If this raises, the connection can't be reused.

        Raises:
          WriteError: the connection broke.
          PoolClosed: the pool was left meanwhile.
        """
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as exc:
            raise WriteError(
                f"the connection to {self.info.origin} broke while the request was sent: {exc}",
                origin=self.info.origin,
                phase="write",
            ) from exc
        except trio.ClosedResourceError as exc:
            raise self._pool_was_left("write") from exc

    # ── Receiving ──────────────────────────────────────────────────────────────────────────────

    def next_event(self) -> Event:
        """What h11 makes of the bytes so far.

        Raises:
          RemoteProtocolError: they are not legal HTTP/1.1, or exceed a bound.
          ReadError: the peer closed the connection in the middle of a message.
        """
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as exc:
            raise self._not_legal(exc) from exc
        if event is h11.NEED_DATA:
            return NEED_DATA
        if isinstance(event, h11.Data):
            return event
        if isinstance(event, h11.Response | h11.InformationalResponse | h11.EndOfMessage):
            self._check_fields(event)
            return event
        # ConnectionClosed, PAUSED: h11 has nothing more to say on this connection.
        raise RemoteProtocolError(
            f"{self.info.origin} switched protocols, which was not asked for",
            origin=self.info.origin,
            phase="read",
        )

    def _not_legal(self, exc: h11.RemoteProtocolError) -> ReadError | RemoteProtocolError:
        origin = self.info.origin
        if self._eof:
            where = f"in the middle of its response: {exc}"
            if not self.bytes_received:
                where = "without sending a response"
            return ReadError(f"{origin} closed the connection {where}", origin=origin, phase="read")
        return RemoteProtocolError(
            f"{origin} sent what is not legal HTTP/1.1: {ascii(str(exc))[1:-1][:300]}",
            origin=origin,
            phase="read",
        )

    def _check_fields(self, event: Response | InformationalResponse | EndOfMessage) -> None:
        if len(event.headers) > MAX_FIELDS:
            raise RemoteProtocolError(
                f"{self.info.origin} sent {len(event.headers)} fields in one head, "
                f"more than {MAX_FIELDS}",
                origin=self.info.origin,
                phase="read",
            )
        if isinstance(event, h11.Response):
            self._heed(event)

    def _heed(self, response: Response) -> None:
        """Look at what the server says about the connection."""
        framings = set()
        for name, value in response.headers:
            if name in (b"transfer-encoding", b"content-length"):
                framings.add(name)
            elif name == b"keep-alive":
                self._heed_keep_alive(value)
        # RFC 9112 section 6.1: the one may have been smuggled past somebody who read the other.
        # HTTP/1.0 knows no Transfer-Encoding.
        if len(framings) == 2 or (
            b"transfer-encoding" in framings and response.http_version < b"1.1"
        ):
            self._tainted = True

    def _heed_keep_alive(self, value: bytes) -> None:
        """Keep a margin, so that a request does not meet the server's close half-way.

        The header is RFC 2068 section 19.7.1's; servers still send it.
        """
        for part in value.split(b","):
            name, _, number = part.strip().partition(b"=")
            if name.lower() == b"timeout" and number.isdigit():
                seconds = float(number[:9])
                self.idle_limit = max(seconds - 1.0, seconds / 2)
                self._tainted |= seconds == 0
            elif name.lower() == b"max" and number.isdigit():
                self._tainted |= int(number[:9]) == 0

    async def receive(self) -> None:
        """Read from the network for :meth:`next_event`. If cancelled, no byte is lost.

        Raises:
          ReadError: the connection broke.
          PoolClosed: the pool was left meanwhile.
        """
        try:
            data = await self._stream.receive_some(RECEIVE_SIZE)
        except trio.BrokenResourceError as exc:
            raise ReadError(
                f"the connection to {self.info.origin} broke while the response was read: {exc}",
                origin=self.info.origin,
                phase="read",
            ) from exc
        except trio.ClosedResourceError as exc:
            raise self._pool_was_left("read") from exc
        self._eof = not data
        self.bytes_received += len(data)
        self._h11.receive_data(data)  # type: ignore[arg-type] # takes a bytearray as well

    def _pool_was_left(self, phase: str) -> PoolClosed:
        return PoolClosed(
            f"the pool was closed while the exchange with {self.info.origin} was under way",
            origin=self.info.origin,
            phase=phase,
        )

    # ── Reuse ──────────────────────────────────────────────────────────────────────────────────

    @property
    def peer_done(self) -> bool:
        """Whether the response has been read to its end."""
        return self._h11.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)

    async def next_cycle(self) -> bool:
        """Make ready for another exchange; False if the connection can't be reused.

        Not a checkpoint, except with TLS: there, bytes behind the response may have been read
        into TLS's buffer already, where no glance at the socket would find them.
        """
        done = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        if not done or self._tainted or self._h11.trailing_data[0]:
            return False
        if self._tls is not None and not await self.settle():
            return False
        self._h11.start_next_cycle()
        return True


def raw_headers(event: Response | InformationalResponse | EndOfMessage) -> RawHeaders:
    """The fields in the order and spelling in which they were sent."""
    return event.headers.raw_items()


def declared_length(response: Response) -> float:
    """What Content-Length says; infinity where the end is told otherwise."""
    for name, value in response.headers:
        if name == b"content-length":
            return int(value)
    return math.inf


def is_chunked(response: Response) -> bool:
    return any(name == b"transfer-encoding" for name, _ in response.headers)
