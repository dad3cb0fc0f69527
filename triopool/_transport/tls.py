"""TLS over the wire.

``https_compatible`` is on: HTTP servers commonly close without a ``close_notify``, and HTTP has its
own framing that tells a whole response from a truncated one. One kind of body has no such framing:
it ends with the connection. Anybody on the way can end that, but only the server can send a
``close_notify`` (RFC 9112 section 9.8). So ``TLSStream.was_cut`` tells whether there was one.
"""

from __future__ import annotations

import math
import ssl

import trio

from .._errors import TLSError
from .._facts import TLSInfo
from .._origin import PoolKey
from .tls_errors import explain
from .wire import Wire

RECORD_BYTES = 16 * 1024
"""The most that a record has (RFC 8446 section 5.1), and what OpenSSL gives at once."""


class _Transport(trio.abc.Stream):
    """The wire as SSLStream sees it: after the handshake, sending seems never to fail."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.handshaking = True
        # The task that decrypts what has been read already, and nothing else.
        self.reads_at_hand_only: trio.lowlevel.Task | None = None
        # Whether the connection has ended; TLS itself may have ended before.
        self.at_eof = False
        # How much of the last read has not been decrypted. More than it is, for what TLS adds.
        self.encrypted = 0
        # Why the wire is torn: what a call that sends is to raise.
        self.failure: Exception = trio.BrokenResourceError("an earlier write was cancelled")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._wire.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            if self.handshaking:
                raise
            self.failure = exc
        except trio.Cancelled:
            # Not lost: TLSStream looks for it again, and so does the next checkpoint.
            if self.handshaking:
                raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._wire.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self.reads_at_hand_only is trio.lowlevel.current_task():
            raise trio.WouldBlock
        data = await self._wire.receive_some(max_bytes)
        self.encrypted = len(data)
        self.at_eof = not data
        return data

    async def aclose(self) -> None:
        await self._wire.aclose()


class TLSStream(trio.abc.Stream):
    """TLS over a wire, which can still be read when sending has failed or was cancelled.

    A server may answer a request that it has not read to its end, and then close. The upload is
    then stopped in mid-record, or breaks, and its answer is yet to be read. But trio.SSLStream
    calls itself broken in both directions once its transport's ``send_all`` has raised. So that
    never raises, and the wire remembers that it is torn; the error is raised here instead.
    """

    def __init__(self, wire: Wire, context: ssl.SSLContext, server_hostname: str) -> None:
        self._wire = wire
        self._transport = _Transport(wire)
        self.ssl = trio.SSLStream(
            self._transport, context, server_hostname=server_hostname, https_compatible=True
        )
        # What has been decrypted and not been given out; and what broke behind it.
        self._decrypted: list[bytes] = []
        self._failure: trio.BrokenResourceError | None = None

    async def do_handshake(self) -> None:
        await self.ssl.do_handshake()
        self._transport.handshaking = False

    @property
    def was_cut(self) -> bool:
        """Whether an end of file that was read came without the peer's ``close_notify``.

        TLS reads on only when it has nothing more to decrypt. So behind a ``close_notify`` it does
        not get to the end of the connection.
        """
        return self._transport.at_eof

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.ssl.send_all(data)
        if self._wire.torn:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise self._transport.failure

    async def wait_send_all_might_not_block(self) -> None:
        await self.ssl.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least a byte, and all that is at hand.

        trio.SSLStream gives one record of at most 16 KiB at a time, and what a record costs above
        this (a call, an event, a look at the clock) is more than its decryption. One read from the
        wire holds up to 32 records. So behind the first one, for which we may have to wait, we take
        those that are at hand whole: as long as more than a record is left of what was read, TLS
        can decrypt the next one without the wire. Should it turn to the wire all the same, that
        raises WouldBlock in place of waiting.
        """
        if self._decrypted:
            await trio.lowlevel.checkpoint()  # A call was cancelled, and this is what it had.
        elif self._failure is not None:
            raise self._failure
        else:
            await self._decrypt(max_bytes)
        if self._transport.encrypted > RECORD_BYTES:
            await self._decrypt_what_is_at_hand(max_bytes)
        data = b"".join(self._decrypted)
        rest = b"" if max_bytes is None else data[max_bytes:]
        self._decrypted = [rest] if rest else []
        return data[:max_bytes]

    async def _decrypt_what_is_at_hand(self, max_bytes: int | None) -> None:
        room = math.inf if max_bytes is None else max_bytes - sum(map(len, self._decrypted))
        self._transport.reads_at_hand_only = trio.lowlevel.current_task()
        try:
            while self._transport.encrypted > RECORD_BYTES and room >= RECORD_BYTES:
                room -= await self._decrypt()
        except trio.WouldBlock:
            pass  # There was less in it than it seemed.
        except trio.BrokenResourceError as exc:
            # To be raised by the next call: what was decrypted before it goes first.
            self._failure = exc
        finally:
            self._transport.reads_at_hand_only = None

    async def _decrypt(self, max_bytes: int | None = None) -> int:
        """Decrypt one record, or a part of it; keep it until a call gives it out."""
        size = RECORD_BYTES if max_bytes is None else min(max_bytes, RECORD_BYTES)
        data = bytes(await self.ssl.receive_some(size))
        self._decrypted.append(data)
        self._transport.encrypted -= len(data)
        return len(data)

    async def aclose(self) -> None:
        """Close without a word to the peer."""
        await self._wire.aclose()


async def handshake(wire: Wire, context: ssl.SSLContext, key: PoolKey) -> TLSStream:
    """Speak TLS on *wire*. The caller owns the wire and closes it if this raises.

    Raises:
      TLSError: the certificate was refused, or the handshake failed. Nothing of a request was sent.
    """
    name = _name_to_verify(key)
    try:
        stream = TLSStream(wire, context, name)
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
    stream = tls.ssl
    cipher = stream.cipher()
    return TLSInfo(
        version=stream.version(),
        cipher=cipher[0] if cipher else None,
        alpn_protocol=stream.selected_alpn_protocol(),
        peer_certificate=stream.getpeercert(binary_form=True),
    )
