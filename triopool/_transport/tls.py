"""TLS over the wire; or over other TLS, where a proxy that speaks TLS leads to an origin that does.

OpenSSL works on memory alone here: it encrypts into one buffer and decrypts out of another (two
``ssl.MemoryBIO``), and we carry what is in them to the layer below and from there. So it is the
same whatever is below: a socket of the kernel's, one of the in-memory network, more TLS.

Why not trio.SSLStream
----------------------
It did this for us, and a small request cost nearly twice what it costs now. Each call is a
coroutine of several layers that has to be awaited, so that a request could not be written in the
step in which it began, and the end of each exchange was such a call. And it calls itself broken in
both directions once sending has failed, though an answer may still be there to be read.

Why not ssl.SSLSocket
---------------------
It works on the descriptor itself, without the two buffers. We measured it: the copies cost no more
than what it adds, two reads of the system for each record and one ``send`` for each 16 KiB. And a
descriptor would have two owners, the socket and this, while all that is no descriptor would still
need this module (docs/design.md has the figures).

Order
-----
What OpenSSL has framed has to go out in its order, to the last byte, or nothing can follow it. So
of several tasks that have something to send one at a time does, and takes along what the others
have framed meanwhile; those wait until it has gone. So with reading: of two tasks that need more to
come (one that reads, and one whose write needs an answer first, when a TLS 1.2 server renegotiates)
one reads for both.

Ends
----
HTTP servers commonly close without a ``close_notify``, and HTTP has its own framing that tells a
whole response from a truncated one. So an end is an end. But one kind of body has no such framing:
it ends with the connection. Anybody on the way can end that, but only the server can send a
``close_notify`` (RFC 9112 section 9.8). So ``TLSStream.was_cut`` tells whether there was one.
"""

from __future__ import annotations

import contextlib
import math
import ssl

import trio
from trio.lowlevel import ParkingLot

from .._errors import TLSError
from .._facts import TLSInfo
from .._pool_key import PoolKey
from .layer import Layer
from .tls_errors import explain

RECORD_BYTES = 16 * 1024
"""The most that a record has (RFC 8446 section 5.1), and what OpenSSL gives at once."""

READ_BYTES = 64 * 1024
"""How much is read from below at once. It is decrypted right away, while it is still in the cache
of the processor: 50 MB in pieces of 512 KiB cost more than that by half."""


class TLSStream(trio.abc.Stream):
    """TLS over a layer, which can still be read when sending has failed or was cancelled.

    A server may answer a request that it has not read to its end, and then close. The upload is
    then stopped in mid-record, or breaks, and its answer is yet to be read. So what broke a write
    is raised to the task that writes, and the wire remembers that it is torn; a task that reads
    goes on, and if TLS has something to say in its turn, that is dropped.

    One task may send while another one receives.

    Attributes:
      ssl: for facts about the handshake.
      was_cut: whether an end of file that was read came without the peer's ``close_notify``.
    """

    def __init__(
        self,
        below: Layer,
        context: ssl.SSLContext,
        server_hostname: str,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname, session=session
        )
        self.was_cut = False
        # What has left OpenSSL and was not taken below: the next bytes to go out.
        self._unsent: bytes | memoryview = b""
        # Whether a task sends now, or reads, from below; and the tasks that wait for it.
        self._sending = False
        self._sent = ParkingLot()
        self._feeding = False
        self._fed = ParkingLot()
        # What has been decrypted and not been given out; whether OpenSSL can make no more of what
        # it has been given; and how it has ended.
        self._receiving = False
        self._decrypted: list[bytes] = []
        self._dry = False
        self._ended = False
        self._failure: ssl.SSLError | None = None

    async def do_handshake(self) -> None:
        """Agree on keys, and verify the peer.

        Raises:
          ssl.SSLError: that is not possible.
          trio.BrokenResourceError: the connection broke.
        """
        while True:
            try:
                self.ssl.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._send_out()
                await self._feed()
        await self._send_out()

    @property
    def torn(self) -> bool:
        """Whether nothing more can be sent: one torn layer tears all of them, down to the wire."""
        return self._below.torn

    @torn.setter
    def torn(self, torn: bool) -> None:
        self._below.torn = torn

    # ── Sending ────────────────────────────────────────────────────────────────────────────────

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        """Take *data* over, and send what is taken at once; return 0 if none of it was.

        What has been taken over is ours to send: :meth:`push` tells whether some of it is still
        here, and then :meth:`send_all` is to be called, with the rest or with nothing.

        Not a checkpoint.
        """
        if not data or not self.push() or self._below.torn or not self._encrypt(data):
            return 0
        self.push()
        return len(data)

    def push(self) -> bool:
        """Send what TLS has framed as far as it is taken at once; whether nothing is left.

        Not a checkpoint.
        """
        if self._sending or not self._below.push():
            return False
        while rest := self._unsent or self._outgoing.read():
            self._unsent = b""
            sent = self._below.send_now(rest)
            if sent < len(rest):
                self._unsent = memoryview(rest)[sent:]
                return False
        return self._below.push()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of *data*, behind what :meth:`send_now` has taken over.

        If this is cancelled in the middle, or breaks, nothing more can be sent.
        """
        await trio.lowlevel.checkpoint()
        await self._check_untorn()
        while data and not self._encrypt(data):
            # A TLS 1.2 server renegotiates.
            await self._send_out()
            await self._feed()
        await self._send_out()
        await self._check_untorn()  # Another task may have sent for us, and failed.

    async def _check_untorn(self) -> None:
        # While a write is under way the wire is torn until it has succeeded.
        if self._below.torn and not self._sending:
            await self._below.send_all(b"")  # It knows what to raise.

    def _encrypt(self, data: bytes | bytearray | memoryview) -> bool:
        """Frame all of *data*; False if TLS needs something from the peer first."""
        try:
            self.ssl.write(data)
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as exc:
            self._below.torn = True
            raise trio.BrokenResourceError from exc
        return True

    async def _send_out(self) -> None:
        """Send all that TLS has framed; or wait until another task, which sends now, has done so.

        Not a checkpoint if it is taken at once.
        """
        while not self.push():
            if self._sending:
                await self._sent.park()
                continue
            rest, self._unsent = self._unsent, b""
            self._sending = True
            try:
                await self._below.send_all(rest)
            except BaseException:
                # A record was framed and has not gone out, and none can follow it. The wire knows
                # that by itself; but other TLS may be cancelled before it has reached the wire.
                self._below.torn = True
                raise
            finally:
                self._sending = False
                self._sent.unpark_all()

    async def wait_send_all_might_not_block(self) -> None:
        await self._below.wait_send_all_might_not_block()

    # ── Receiving ──────────────────────────────────────────────────────────────────────────────

    def is_readable(self) -> bool:
        """Whether something has come, here or further down, or an end; or it is of no more use."""
        return self._has_some or self._below.is_readable()

    @property
    def _has_some(self) -> bool:
        """Whether something has been read from below that OpenSSL has not seen, or we have kept."""
        return not self._dry or bool(self._decrypted) or self._ended

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least a byte, and all that is at hand; ``b""`` at the end. If cancelled, none is lost.

        OpenSSL gives one record of at most 16 KiB at a time, and what a record costs above this
        (a call, an event, a look at the clock) is more than its decryption. So we take all that
        were read from below in one go.
        """
        if self._receiving:
            raise trio.BusyResourceError("another task is reading")
        self._receiving = True
        try:
            if self._has_some:
                await trio.lowlevel.checkpoint()
            else:
                await self._feed()
            while not self._decrypt(max_bytes):
                if self._outgoing.pending:
                    await self._answer()
                await self._feed()
            if self._outgoing.pending:
                await self._answer()
        finally:
            self._receiving = False
        return self._give_out(max_bytes)

    def _decrypt(self, max_bytes: int | None) -> bool:
        """Decrypt what has come, as far as it is wanted; whether there is something to give out."""
        if self._decrypted or self._ended:
            return True
        room = math.inf if max_bytes is None else max_bytes
        try:
            while room and not self._dry:
                piece = self.ssl.read(RECORD_BYTES if room > RECORD_BYTES else int(room))
                if not piece:
                    self._ended = True  # By a close_notify.
                    break
                self._decrypted.append(piece)
                room -= len(piece)
                self._dry = not (self._incoming.pending or self.ssl.pending())
        except ssl.SSLWantReadError:
            self._dry = True
        except ssl.SSLError as exc:
            self._end_by(exc)
        return bool(self._decrypted) or self._ended

    def _end_by(self, exc: ssl.SSLError) -> None:
        """TLS is over, without the peer's goodbye. What was decrypted before goes first."""
        self._ended = True
        self._below.torn = True
        if isinstance(exc, ssl.SSLEOFError):
            self.was_cut = True
        else:
            self._failure = exc

    def _give_out(self, max_bytes: int | None) -> bytes:
        pieces = self._decrypted
        if not pieces:
            if self._failure is not None:
                raise trio.BrokenResourceError from self._failure
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if max_bytes is not None and len(data) > max_bytes:
            pieces.append(data[max_bytes:])
            data = data[:max_bytes]
        return data

    async def _answer(self) -> None:
        """Send what TLS has to say while we read (new keys). If that breaks, we read on."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._send_out()

    async def _feed(self) -> None:
        """Wait for more to come, and let OpenSSL have it; or wait until another task has done so.

        If cancelled, no byte is lost.
        """
        if self._feeding:
            await self._fed.park()
            return
        self._feeding = True
        try:
            data = await self._below.receive_some(READ_BYTES)
        finally:
            self._feeding = False
            if self._fed:
                self._fed.unpark_all()
        self._dry = False
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def aclose(self) -> None:
        """Close without a word to the peer."""
        await self._below.aclose()


async def handshake(
    below: Layer,
    context: ssl.SSLContext,
    key: PoolKey,
    session: ssl.SSLSession | None = None,
) -> TLSStream:
    """Speak TLS on what is *below*. The caller owns the wire, and closes it if this raises.

    Raises:
      TLSError: the certificate was refused, or the handshake failed. Nothing of a request was sent.
    """
    name = _name_to_verify(key)
    try:
        stream = TLSStream(below, context, name, session)
        await stream.do_handshake()
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__ or exc
        raise TLSError(explain(name, cause), origin=key.origin, phase="connect") from cause
    except (ssl.SSLError, ValueError) as exc:
        # Setting up can fail too: a name that can't be an SNI, a context without a trust store.
        raise TLSError(explain(name, exc), origin=key.origin, phase="connect") from exc
    return stream


def _name_to_verify(key: PoolKey) -> str:
    """SNI has no trailing dot (RFC 6066 section 3), and an address's zone is only ours to know."""
    name = key.server_hostname or key.origin.host
    return name.partition("%")[0].removesuffix(".")


def facts(tls: TLSStream) -> TLSInfo:
    agreed = tls.ssl
    cipher = agreed.cipher()
    return TLSInfo(
        version=agreed.version(),
        cipher=cipher[0] if cipher else None,
        alpn_protocol=agreed.selected_alpn_protocol(),
        peer_certificate=agreed.getpeercert(binary_form=True),
    )
