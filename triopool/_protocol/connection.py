"""One HTTP/1.1 connection: moves the bytes between the wire and a parser, and keeps the clocks.

It is both sides of the seam. For the pool it is a :class:`~.seam.Connection`; for one exchange
after the other it is their :class:`~.seam.Codec`. What is legal, and how a message is framed, the
parser says (``parser.py``), of which there are two.

*Clocks.* The server is given so much time for each gap. There is a clock for each direction, for an
upload and its response may go on side by side. When one runs out it closes the wire, and the task
that waits there learns that it was closed; the clock then says why (``_deadlines.py``).

*Reuse.* Why a connection can't serve another exchange is one value, ``spent``. It is set where it
becomes known: by the scanner that sees a bare LF, by the write that breaks, by the read that finds
the end. The first reason stays. What is left to ask at the end of an exchange is whether the
request was sent whole, what the parser says, and whether anything came behind.

Long because both directions share one state: the clocks, what is owed, and why it is spent.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable
from typing import Literal, NoReturn, TypeAlias

import trio

from .._config import Timeouts
from .._deadlines import Deadline, Deadlines
from .._errors import (
    LocalProtocolError,
    PoolClosed,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    WriteError,
    WriteTimeout,
)
from .._facts import Condition, ConnectionInfo, Spent
from .._origin import Origin
from .._pool_key import PoolKey
from .._transport.tls import TLSStream
from .._transport.tls_errors import why_broken
from .._transport.wire import Stale, Wire
from .heads import Doubt, NotLegal
from .parser import CutShort, DoesNotFit, Parser
from .request_head import RequestHead, head_of_the_last
from .scanner import Stage
from .seam import Bytes, Head, RawHeaders, Upgraded

_NO_LIMITS = Timeouts(write=None, read=None)


Sent: TypeAlias = Literal["not yet", "whole", "given up"]
"""How far our side of the exchange is:

- not yet: more is to be sent, or has not been taken by the kernel.
- whole: the kernel has taken the request to its end.
- given up: nothing more will be sent, and the end is missing.

Text and no enum: to look a member up takes 75 ns, and each exchange does it five times.
"""


class HTTP1Connection:
    """One connection, and the exchange on it. The seam says what its methods promise.

    Attributes:
      info: its facts.
      spent: why it can't serve another exchange; None while it can.
    """

    def __init__(
        self,
        wire: Wire,
        tls: TLSStream | None,
        info: ConnectionInfo,
        key: PoolKey,
        deadlines: Deadlines,
        make_parser: Callable[[Doubt], Parser],
    ) -> None:
        self.info = info
        self.spent: Spent | None = None
        # Behind a proxy's answer nothing may come before our request, so we look from the first one
        # on. Not within TLS: there a glance can't tell, and TLS has its own tickets to send.
        self._looks_always = tls is None and key.proxy is not None
        self._key = key
        self._origin = key.origin
        self._wire = wire
        self._tls = tls
        self._stream: Wire | TLSStream = wire if tls is None else tls
        self._parser = make_parser(self._spend)
        self._write_clock = Deadline(deadlines, self._write_stalled)
        self._read_clock = Deadline(deadlines, wire.close)
        # Of the exchange on it:
        self.on_write_stall: Callable[[], object] | None = None
        self.upgraded: Upgraded | None = None
        self.bytes_received = 0
        self.waited: float | None = None
        self._limits = _NO_LIMITS
        self._looks = False
        self._sent: Sent = "not yet"
        self._sent_before = 0
        # What has been framed and not been taken by the kernel; and whether that is the last of it.
        self._owed: Bytes = b""
        self._owes_the_end = False
        self._receiving = False
        self._head: Head | None = None
        self._announces_end = False

    # ── For the pool ───────────────────────────────────────────────────────────────────────────

    def condition(self) -> Condition:
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
        try:
            with self._wire.impatient():
                await self._tls.receive_some(1)
        except trio.WouldBlock:
            return True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return False

    @property
    def idle_limit(self) -> float | None:
        return self._parser.scanner.idle_limit

    @property
    def closed(self) -> bool:
        return self._wire.closed

    @property
    def socket(self) -> trio.socket.SocketType:
        return self._wire.socket

    @property
    def tls(self) -> ssl.SSLObject | None:
        return None if self._tls is None or self.info.tls is None else self._tls.ssl

    def open_codec(self) -> HTTP1Connection:
        return self

    def announce_end(self) -> None:
        self._announces_end = True

    def open_stream(self) -> Upgraded:
        self._spend(Spent.STREAM)
        return Upgraded(self._stream, b"")

    def close(self, why: Spent | None = None) -> None:
        self.spent = self.spent or why
        self._wire.close()
        self._write_clock.forget()
        self._read_clock.forget()

    def _spend(self, why: Spent) -> None:
        self.spent = self.spent or why

    # ── Sending ────────────────────────────────────────────────────────────────────────────────
    #
    # A parser calls a request done as soon as its end has been *framed*. Whether the connection can
    # be reused depends on what was *sent*: so whatever has been framed is owed until the kernel has
    # taken all of it, and to frame and to write are never two steps of the caller's.

    @property
    def bytes_sent(self) -> int:
        return self._wire.bytes_sent - self._sent_before

    @property
    def sent_whole(self) -> bool:
        return self._sent == "whole"

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
        self._origin = origin
        self._limits = timeouts
        self._looks = reused or self._looks_always
        self._wire.look_before_write = self._looks and not just_seen
        self._sent = "not yet"
        self._sent_before = self._wire.bytes_sent
        self.bytes_received = 0
        self.waited = None
        self._head = None
        if self._announces_end:
            head = head_of_the_last(head)
        self._owed = self._parser.start(head, body)
        self._owes_the_end = body is not None
        return self._write_now()

    def send_now(self, piece: Bytes, *, last: bool = False) -> bool:
        try:
            framed = self._parser.frame(piece, last=last)
        except DoesNotFit as exc:
            raise LocalProtocolError(
                f"the body does not fit the request's Content-Length: {exc}",
                origin=self._origin,
                phase="write",
            ) from None
        self._owed = framed[0] if len(framed) == 1 else b"".join(framed)
        self._owes_the_end = last
        if self._owed:
            return self._write_now()
        assert last  # of a body whose length was told: its end is not framed
        self._pay()
        return True

    async def flush(self) -> None:
        # Let others run before and not after, so that what has been taken is counted at once.
        await trio.lowlevel.checkpoint()
        if self._looks and not self.bytes_sent:
            self._wire.look_before_write = True  # It has not been seen in this step.
        if self._write_now():
            return
        # No clock runs for what the kernel takes at once.
        clock, limit = self._write_clock, self._limits.write
        self._wire.on_progress = lambda: clock.begin(limit)
        clock.begin(limit)
        try:
            await self._stream.send_all(self._owed)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._raise_send_failure(exc)
        finally:
            clock.end()
        self._pay()

    def _write_now(self) -> bool:
        """Write what the kernel takes at once of what is owed; whether that was all."""
        try:
            sent = self._stream.send_now(self._owed)
            # What TLS has taken over may not have been taken by the kernel.
            all_taken = self._tls is None or self._tls.push()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._raise_send_failure(exc)
        if sent == len(self._owed) and all_taken:
            self._pay()
            return True
        self._owed = memoryview(self._owed)[sent:]
        return False

    def _pay(self) -> None:
        """The kernel has taken all that was framed."""
        self._owed = b""
        if self._owes_the_end:
            self._end_sending("whole")

    def stop_sending(self) -> None:
        if self._sent == "not yet":
            self._end_sending("given up")

    def _end_sending(self, sent: Sent) -> None:
        self._sent = sent
        # From now on the silence of the server counts, if a task waits for it already.
        if self._receiving:
            self._read_clock.begin(self._limits.read)

    def _write_stalled(self) -> None:
        """The server has taken nothing for too long."""
        if self.on_write_stall is None:
            self._wire.close()
        else:
            self._write_clock.is_over = False
            self.on_write_stall()

    def _raise_send_failure(self, exc: Exception) -> NoReturn:
        self.stop_sending()
        if isinstance(exc, trio.ClosedResourceError):
            self._raise_closed("write", exc)
        self._spend(Spent.STALE if isinstance(exc, Stale) else Spent.BROKEN)
        origin = self._origin
        raise WriteError(
            f"the connection to {self._way} broke while the request was sent: {why_broken(exc)}",
            origin=origin,
            phase="write",
        ) from exc

    # ── Receiving ──────────────────────────────────────────────────────────────────────────────

    async def receive(self) -> None:
        scanner = self._parser.scanner
        if scanner.stage is Stage.CHUNKS and scanner.paused:
            await trio.lowlevel.checkpoint()
            scanner.resume()
            return
        self._receiving = True
        if self._sent != "not yet":
            self._read_clock.begin(self._limits.read)
        try:
            rest = None if self._head is None else self._rest_of_body(self._head)
            data = await self._stream.receive_some(rest)
        except trio.BrokenResourceError as exc:
            self._spend(Spent.BROKEN)
            why = f"the connection to {self._way} broke while the response was read: "
            raise self._read_error(why + why_broken(exc)) from exc
        except trio.ClosedResourceError as exc:
            self._raise_closed("read", exc)
        except trio.Cancelled:
            if self._limits.read is not None and self._read_clock.ends_at != math.inf:
                self.waited = trio.current_time() - self._read_clock.ends_at + self._limits.read
            raise
        finally:
            self._receiving = False
            self._read_clock.end()
        self.bytes_received += len(data)
        self._parser.put(data)
        if not data:
            self._spend(Spent.ENDED)
            self._check_end_of_file()

    def _rest_of_body(self, head: Head) -> int | None:
        """How much to read at most: what is behind the body is left where a glance will see it."""
        if head.length is None or head.chunked:
            return None
        return head.length - self._parser.body_bytes

    def next_head(self) -> Head | None:
        try:
            head = self._parser.next_head()
        except (NotLegal, CutShort) as exc:
            self._raise_what_is_wrong(exc)
        if head is not None:
            self._head = head
            if self._parser.may_switch and self._parser.has_switched:
                self._spend(Spent.SWITCHED)
                self._wire.on_progress = None
                self.upgraded = Upgraded(self._stream, self._parser.rest)
        return head

    def take(self) -> Bytes | None:
        try:
            return self._parser.take()
        except (NotLegal, CutShort) as exc:
            self._raise_what_is_wrong(exc)

    @property
    def trailers(self) -> RawHeaders:
        return self._parser.trailers

    def _check_end_of_file(self) -> None:
        """Refuse to take an end of file for the end of a body, unless TLS vouches for it."""
        head, tls = self._head, self._tls
        # Where a body has an end of its own, the parser says that it was cut.
        if head is None or head.chunked or head.length is not None:
            return
        if tls is not None and tls.was_cut:
            raise self._read_error(
                f"{self._way} closed the connection without TLS's close_notify, so the body "
                "may have been cut (RFC 9112 section 9.8)"
            )

    # ── Ending ─────────────────────────────────────────────────────────────────────────────────

    async def finish(self) -> None:
        self.spent = self._why_spent()
        # What comes behind a response must not be taken for the answer to the next request. Most of
        # it is found when it matters, before that one is written. But TLS may have read some of it
        # already; and what it says for itself, such as new session tickets, a glance at that moment
        # would take for such bytes, and give the connection up.
        if (
            self.spent is None
            and self._tls is not None
            and self._tls.is_readable()
            and not await self.settle()
        ):
            self.spent = Spent.EARLY_BYTES
        if self.spent is None:
            self._parser.next_cycle()
            self.on_write_stall = None

    def _why_spent(self) -> Spent | None:
        if self.spent is not None:
            return self.spent
        if self._sent != "whole":
            return Spent.NOT_SENT
        return self._parser.why_spent()

    def abandon(self) -> None:
        self.close(Spent.CUT_SHORT)

    @property
    def worth_draining(self) -> bool:
        done_so_far = self.spent is None and self._sent == "whole"
        return done_so_far and self._parser.stays_open and not self.closed

    # ── Errors ─────────────────────────────────────────────────────────────────────────────────

    @property
    def _way(self) -> str:
        return self._key.way_to(self._origin)

    def check_open(self) -> None:
        if self.closed:
            self._raise_closed("write", None)

    def _raise_closed(self, phase: str, exc: Exception | None) -> NoReturn:
        """Say why the connection was closed under us.

        If it was for our own impatience, that is the reason, and how it was done is not told.
        """
        if self._write_clock.is_over:
            self._spend(Spent.TIMED_OUT)
            raise self._write_timeout() from None
        if self._read_clock.is_over:
            self._spend(Spent.TIMED_OUT)
            raise self._read_timeout() from None
        raise PoolClosed(
            f"the exchange with {self._way} was under way when the pool, or the lease of "
            "its connection, was left",
            origin=self._origin,
            phase=phase,
        ) from exc

    def _write_timeout(self) -> WriteTimeout:
        seconds = self._limits.write
        return WriteTimeout(
            f"{self._way} took nothing of the request for {seconds} s "
            f"({self.bytes_sent} bytes sent so far)",
            origin=self._origin,
            phase="write",
            seconds=seconds,
        )

    def _read_timeout(self) -> ReadTimeout:
        seconds = self._limits.read
        if self._is_in_head:
            so_far = f" ({self.bytes_received} bytes received so far)"
        else:
            so_far = f", {self.how_far}"
        return ReadTimeout(
            f"{self._way} sent nothing for {seconds} s{so_far}",
            origin=self._origin,
            phase="read",
            seconds=seconds,
        )

    def _raise_what_is_wrong(self, exc: NotLegal | CutShort) -> NoReturn:
        origin = self._origin
        if isinstance(exc, NotLegal):
            self._spend(Spent.NOT_LEGAL)
            message = f"{self._way} sent {exc}"
            raise RemoteProtocolError(message, origin=origin, phase="read") from None
        if not self.bytes_received:
            where = "without sending a response"
        elif self._is_in_head:
            where = f"in the middle of a head, after {self.bytes_received} bytes"
        else:
            where = "in the middle of the response"
        raise self._read_error(f"{self._way} closed the connection {where}") from exc

    def _read_error(self, message: str) -> ReadError:
        if not self._is_in_head:
            message = f"{message}, {self.how_far}"
        return ReadError(message, origin=self._origin, phase="read")

    @property
    def how_far(self) -> str:
        head, size = self._head, self._parser.body_bytes
        assert head is not None
        if head.chunked:
            return f"after {size} bytes of a chunked body, before its end"
        if head.length is None:
            return f"after {size} bytes of the body, whose length was not told"
        return f"after {size} of the {head.length} bytes of the body"

    @property
    def _is_in_head(self) -> bool:
        return self._parser.scanner.stage is Stage.HEAD
