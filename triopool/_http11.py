"""One HTTP/1.1 connection: h11 over a wire. The only file that knows h11.

h11 says what is legal, and whether the connection can be reused: when both sides are done and
nothing trails. What is ours is to move the bytes, and to turn foreign errors into our own. What a
server sends passes the scanner first, which keeps the bounds.

The methods come in two kinds. Those that ask h11 never touch the network; the others,
:meth:`Connection.send_now`, :meth:`Connection.send` and :meth:`Connection.receive`, move bytes and
nothing else. Deadlines are their caller's.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import h11
import trio

from . import _tls
from ._connection_info import ConnectionInfo
from ._errors import LocalProtocolError, PoolClosed, ReadError, RemoteProtocolError, WriteError
from ._patience import Keeper
from ._scanner import MAX_HEAD_BYTES, Framing, NotLegal, Scanner, Stage
from ._slot import Condition
from ._wire import Wire

_END_OF_MESSAGE = h11.EndOfMessage()
_NOT_TOKEN = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")

Head: TypeAlias = h11.Request
Bytes: TypeAlias = bytes | bytearray | memoryview
RawHeaders: TypeAlias = "list[tuple[bytes, bytes]]"


class NeedData:
    """What :meth:`Connection.next_event` returns when h11 wants to read from the network."""


NEED_DATA = NeedData()
Data: TypeAlias = h11.Data
EndOfMessage: TypeAlias = h11.EndOfMessage
InformationalResponse: TypeAlias = h11.InformationalResponse
Response: TypeAlias = h11.Response
Event: TypeAlias = "NeedData | Data | EndOfMessage | InformationalResponse | Response"


def make_head(method: str, target: str, fields: Sequence[tuple[Any, Any]]) -> Head:
    """Check the head of a request, before anything is taken or sent.

    Raises:
      LocalProtocolError: it is not legal HTTP/1.1. A header is named; its value, which may be a
        secret, is not told.
    """
    head = _head_or_problem(method, target, fields)
    if isinstance(head, h11.Request):
        return head
    # Raised here and not where h11 raised: its exception quotes values, and would be the context.
    raise LocalProtocolError(
        f"the request is not legal HTTP/1.1: {_what_is_wrong(method, target, fields) or head}",
        phase="write",
    )


def _head_or_problem(method: str, target: str, pairs: Sequence[tuple[Any, Any]]) -> Head | str:
    try:
        return h11.Request(method=method, target=target, headers=list(pairs))
    except UnicodeEncodeError:
        return "it is not ASCII"
    except h11.LocalProtocolError as exc:
        return str(exc)


def _what_is_wrong(method: str, target: str, pairs: Sequence[tuple[Any, Any]]) -> str | None:
    """Find the part that is illegal by itself; None if it is what they are together."""
    host = [("Host", "a")]
    if isinstance(_head_or_problem(method, "/", host), str):
        return "the method is not a token"
    if isinstance(_head_or_problem("GET", target, host), str):
        return "the target has characters that can't be sent"
    for name, value in pairs:
        text = name if isinstance(name, str) else name.decode("latin-1")
        legal = _NOT_TOKEN.split(text, maxsplit=1)[0]
        if not legal or legal != text:
            # What follows may be a value that slipped in.
            return f"the name of a header is not a token (it begins with {legal[:40]!r})"
        others = [] if text.lower() == "host" else host
        if isinstance(_head_or_problem("GET", "/", [*others, (name, value)]), str):
            return f"the value of header {text[:100]!r} can't be sent (not quoted here)"
    return None


class Connection:
    """One connection, and the state of the exchange on it.

    Attributes:
      info: its facts.
      patience: how long to wait for the server.
      bytes_received: how many bytes have arrived in this exchange.
    """

    def __init__(
        self, wire: Wire, tls: _tls.TLSStream | None, info: ConnectionInfo, keeper: Keeper
    ) -> None:
        self.info = info
        self.patience = keeper.patience(wire.close)
        self._wire = wire
        self._tls = tls
        self._stream: Wire | _tls.TLSStream = wire if tls is None else tls
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._scanner = Scanner()
        self._sent_before = 0
        self.bytes_received = 0
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

    @property
    def idle_limit(self) -> float | None:
        """How long the server keeps it when idle, in seconds less a margin; None if not told."""
        return self._scanner.idle_limit

    def close(self) -> None:
        self._wire.close()
        self.patience.forget()

    @property
    def socket(self) -> trio.socket.SocketType:
        """For facts about it: not to be read or written."""
        return self._wire.socket

    @property
    def tls(self) -> trio.SSLStream[Any] | None:
        """For facts about it: not to be read or written."""
        return None if self._tls is None else self._tls.ssl

    @property
    def closed(self) -> bool:
        """Whether the descriptor has been closed: by us, or by the pool when it was left."""
        return self._wire.closed

    # ── Sending ────────────────────────────────────────────────────────────────────────────────

    @property
    def bytes_sent(self) -> int:
        """How many bytes of this exchange the kernel has taken (ciphertext, if TLS)."""
        return self._wire.bytes_sent - self._sent_before

    def start(self, head: Head) -> bytes:
        """Begin an exchange; return the head as it goes over the wire."""
        self._sent_before = self._wire.bytes_sent
        self.bytes_received = 0
        self._scanner.start(head.method)
        return self._h11.send(head) or b""

    def body(self, data: Bytes) -> Bytes:
        """Frame a piece of the request's body. It is copied only if it goes out as a chunk."""
        return self._say(h11.Data(data=data))  # type: ignore[arg-type] # asks for its len() only

    def end_of_body(self, last: Bytes = b"") -> Bytes:
        """Frame the *last* piece of the request's body, and its end."""
        framed, end = self.body(last) if last else b"", self._say(_END_OF_MESSAGE)
        return b"".join((framed, end)) if end else framed

    def _say(self, event: h11.Data | h11.EndOfMessage) -> Bytes:
        try:
            parts = self._h11.send_with_data_passthrough(event) or [b""]
            return parts[0] if len(parts) == 1 else b"".join(parts)
        except h11.LocalProtocolError as exc:
            raise LocalProtocolError(
                f"the body does not fit the request's Content-Length: {exc}",
                origin=self.info.origin,
                phase="write",
            ) from exc

    def send_now(self, data: Bytes) -> Bytes:
        """Write what the kernel takes at once; return the rest. Not a checkpoint.

        With TLS that is all of it. Raises what :meth:`send` does.
        """
        if self._tls is not None:
            return data
        try:
            sent = self._wire.send_now(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise self._send_failed(exc) from exc
        return data[sent:]

    async def send(self, data: Bytes, on_progress: Callable[[], object]) -> None:
        """Write to the network. If this raises, the connection can't be reused.

        Args:
          data: what to write.
          on_progress: called whenever the kernel has taken some of it and not all.

        Raises:
          WriteError: the connection broke.
          PoolClosed: the pool was left meanwhile.
        """
        self._wire.on_progress = on_progress
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise self._send_failed(exc) from exc

    def _send_failed(self, exc: Exception) -> WriteError | PoolClosed:
        if isinstance(exc, trio.ClosedResourceError):
            return self._pool_was_left("write")
        origin = self.info.origin
        return WriteError(
            f"the connection to {origin} broke while the request was sent: {_why(exc)}",
            origin=origin,
            phase="write",
        )

    # ── Receiving ──────────────────────────────────────────────────────────────────────────────

    def next_event(self) -> Event:
        """What h11 makes of the bytes so far.

        Raises:
          RemoteProtocolError: they are not legal HTTP/1.1, or exceed a bound.
          ReadError: the peer closed the connection in the middle of a message.
        """
        try:
            some = self._scanner.take()
        except NotLegal as exc:
            raise self.illegal(str(exc)) from None
        # Whatever the scanner gives makes an event: a whole head, a whole chunk, a part of a body.
        if some:
            self._h11.receive_data(some)  # type: ignore[arg-type] # takes whatever is like bytes
        event = self._ask_h11()
        return NEED_DATA if event is h11.NEED_DATA else event

    def _ask_h11(self) -> Any:
        try:
            # ConnectionClosed and PAUSED come behind a whole response, or 101, where nobody asks.
            return self._h11.next_event()
        except h11.RemoteProtocolError as exc:
            if self._eof:
                raise self._cut() from exc
        # Not from h11's exception, nor in its context: it may quote what was sent.
        if self._scanner.status == 101:
            raise self.illegal("101 Switching Protocols, which was not asked for")
        raise self.illegal("what is not legal HTTP/1.1: h11 refuses its head, or its trailers")

    def _cut(self) -> ReadError:
        if not self.bytes_received:
            where = "without sending a response"
        elif self._scanner.stage is Stage.HEAD:
            where = f"in the middle of a head, after {self.bytes_received} bytes"
        else:
            where = "in the middle of the response"
        origin = self.info.origin
        return ReadError(f"{origin} closed the connection {where}", origin=origin, phase="read")

    @property
    def framing(self) -> Framing:
        """What the head of this exchange's response says about its body, once it is here."""
        return self._scanner.framing

    def illegal(self, what: str) -> RemoteProtocolError:
        """The error that says that the server sent *what*."""
        origin = self.info.origin
        return RemoteProtocolError(f"{origin} sent {what}", origin=origin, phase="read")

    async def receive(self, max_bytes: int | None = None) -> bytes:
        """Read from the network for :meth:`next_event`. If cancelled, no byte is lost.

        A checkpoint, and nothing more, if what has been read would take long to look at in a row.

        Returns what was read, for who knows that it is the body as it stands.

        Raises:
          ReadError: the connection broke.
          PoolClosed: the pool was left meanwhile.
        """
        if self._scanner.paused:
            await trio.lowlevel.checkpoint()
            self._scanner.resume()
            return b""
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as exc:
            raise ReadError(
                f"the connection to {self.info.origin} broke while the response was read: "
                f"{_why(exc)}",
                origin=self.info.origin,
                phase="read",
            ) from exc
        except trio.ClosedResourceError as exc:
            raise self._pool_was_left("read") from exc
        self._eof = not data
        self.bytes_received += len(data)
        if data:
            self._scanner.put(data)
        else:
            self._h11.receive_data(b"")
        return data

    # ── Another protocol ───────────────────────────────────────────────────────────────────────

    @property
    def switched(self) -> bool:
        """Whether HTTP is over on this connection: after 101, or a successful CONNECT."""
        return self._h11.their_state is h11.SWITCHED_PROTOCOL

    def take_over(self) -> tuple[trio.abc.Stream, bytes]:
        """The stream underneath, and what has been read of it behind the response."""
        assert self.switched
        self._wire.on_progress = None
        return self._stream, self._scanner.rest

    def _pool_was_left(self, phase: str) -> PoolClosed:
        return PoolClosed(
            f"the exchange with {self.info.origin} was under way when the pool, or the lease of "
            "its connection, was left",
            origin=self.info.origin,
            phase=phase,
        )

    # ── Reuse ──────────────────────────────────────────────────────────────────────────────────

    @property
    def may_be_reused(self) -> bool:
        """Whether, once the response has been read, the connection can serve another exchange."""
        spoilt = self._scanner.tainted or self._eof or self._wire.is_unfit
        return self._h11.our_state is h11.DONE and not spoilt

    async def next_cycle(self) -> bool:
        """Make ready for another exchange; False if the connection can't be reused.

        Looks at what has arrived behind the response: who waits for the connection gets it without
        another glance. Not a checkpoint, except with TLS: there, some of it may have been read into
        TLS's buffer already.
        """
        done = self.may_be_reused and self._h11.their_state is h11.DONE
        if not done or self._h11.trailing_data[0] or self._scanner.rest:
            return False
        if not (await self.settle() if self._tls else not self._wire.is_readable()):
            return False
        self._h11.start_next_cycle()
        return True


def raw_headers(event: Response | InformationalResponse | EndOfMessage) -> RawHeaders:
    """The fields in the order and spelling in which they were sent."""
    return event.headers.raw_items()


def _why(exc: BaseException) -> str:
    """What broke a stream. TLS says it in the cause only."""
    if isinstance(exc.__cause__, ssl.SSLError):
        return _tls.reason(exc.__cause__)
    return str(exc) or str(exc.__cause__ or type(exc).__name__)
