"""The wire: a connected socket as a Trio stream, with the five things a pool needs besides.

:class:`trio.SocketStream` would do, but for these: closing is *synchronous*, so that a slot is
free in the tick in which its request is cancelled; a glance says whether anything has arrived; the
bytes that the kernel took are *counted*, because a request of which it took none can be sent again
safely whatever its method; and reading can be made *impatient*: to raise ``WouldBlock`` instead of
waiting. With that last one, a TLS stream on top can be asked what an idle connection has received,
without a deadline (under an expired deadline a read says "nothing came" of a dead connection).

The fifth is to act *without a checkpoint*. Trio's sockets let others run after each send and after
each receive. A request needs that once: between the two, so that the answer may arrive meanwhile.
That saves a tenth of what a small request costs. It takes a socket's own, non-blocking methods;
where there are none (a Trio socket from the user's factory) Trio's do.
"""

from __future__ import annotations

import contextlib
import socket as stdlib_socket
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import trio

RECEIVE_SIZE = 64 * 1024
"""How much is read at once, in bytes. As trio.SocketStream."""

LARGEST_RECEIVE_SIZE = 512 * 1024
"""How much is read at once while a lot is coming: 50 MB then cost half of what they cost in pieces
of 64 KiB. But not from the start, and only a quarter of what has come without a pause: a new block
of memory of that size costs more than it saves where a body has ended soon."""


IMPATIENT_BYTES = 256 * 1024
"""How much is read at most to see what an idle connection has received. TLS sends a few session
tickets and key updates, which are some hundred bytes each; picked with room to spare."""


class Stale(trio.BrokenResourceError):
    """It has ended, or bytes have come, before anything was written: nothing was."""


class Nowait(NamedTuple):
    """What a socket does at once, or not at all: then it raises ``BlockingIOError``.

    The methods of a :class:`triopool.abc.NowaitSocket`, or those of a non-blocking socket of the
    standard library.
    """

    send: Callable[[bytes | bytearray | memoryview], int]
    recv: Callable[[int], bytes]
    wait_readable: Callable[[], Awaitable[None]]


class Wire(trio.abc.Stream):
    """Owns a connected Trio socket.

    Attributes:
      bytes_sent: how many bytes the kernel has taken, over its life.
      look_before_write: whether nothing may have arrived when the next byte is written.
      on_progress: called whenever the kernel has taken some of what is sent, and not all.
      torn: whether a write was cut short. What is owed to the peer can't be continued: the wire
        can still be read, but not be written to, and is never fit for another exchange.
    """

    def __init__(self, socket: trio.socket.SocketType, nowait: Nowait | None = None) -> None:
        self.socket = socket
        self._nowait = nowait
        self.bytes_sent = 0
        self.look_before_write = False
        # How many bytes may still be read impatiently; None while it is patient.
        self._allowance: int | None = None
        self.on_progress: Callable[[], object] | None = None
        self.torn = False
        # How much has come without a pause, each time as much as was asked for; halved by a pause.
        self._in_a_row = 0
        # Not for Unix sockets. An HTTP request is written at once; Nagle would only delay it.
        with contextlib.suppress(OSError):
            socket.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Close the descriptor now. A task that waits on it gets ``ClosedResourceError``."""
        self.socket.close()

    def is_readable(self) -> bool:
        """Whether bytes, an end of file or a reset have arrived; or it is of no more use anyway.

        About a microsecond.
        """
        return self.torn or self.closed or self.socket.is_readable()

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """A block in which nothing waits for the peer, nor reads without end what it sends."""
        self._allowance = IMPATIENT_BYTES
        try:
            yield
        finally:
            self._allowance = None

    @property
    def closed(self) -> bool:
        """Whether the descriptor has been closed: by us, or by another owner of the socket."""
        return self.socket.fileno() == -1

    def _stream_error(self, exc: Exception) -> trio.BrokenResourceError | trio.ClosedResourceError:
        # Closed by the pool between two steps of the task that uses it, it is a bad descriptor.
        if self.closed:
            return trio.ClosedResourceError("this socket was closed")
        return trio.BrokenResourceError(str(exc))

    def _look_before_first_write(self) -> None:
        """Refuse to write a request behind bytes that have come unasked.

        They would be taken for its answer. The glance and the write are one step: there is no
        checkpoint in which something could still arrive unseen.
        """
        self.look_before_write = False
        if self.socket.is_readable():
            self.torn = True  # TLS has framed it: nothing else can be sent on this connection.
            raise Stale("the server closed it, or sent bytes unasked")

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        """Send what the kernel takes at once, which may be nothing; return how much it was.

        Not a checkpoint.
        """
        if self._nowait is None or self.torn:
            return 0
        if self.look_before_write and not self.closed:
            self._look_before_first_write()
        try:
            sent = self._nowait.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            self.torn = True
            raise self._stream_error(exc) from exc
        self.bytes_sent += sent
        return sent

    def push(self) -> bool:
        """Whether nothing is kept back: what a wire takes over, the kernel has taken."""
        return True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.torn and not self.closed:
            raise trio.BrokenResourceError("an earlier write was cut short")
        if self._allowance is not None:
            self._send_all_now(data)
            return
        if self.look_before_write and not self.closed:
            self._look_before_first_write()
        self.torn = True  # until proved otherwise
        try:
            sent = await self.socket.send(data)
            self.bytes_sent += sent
            if sent < len(data):
                await self._send_rest(memoryview(data)[sent:])
        except OSError as exc:
            raise self._stream_error(exc) from exc
        self.torn = False

    def _send_all_now(self, data: bytes | bytearray | memoryview) -> None:
        """TLS has something to answer while we look at an idle connection: now, or never.

        A peer that asks and does not read would otherwise hold the task that looks for ever.
        """
        sent = self.send_now(data)
        if sent < len(data):
            self.torn = True
            raise trio.BrokenResourceError("the peer asks for an answer, and does not read it")

    async def _send_rest(self, rest: memoryview) -> None:
        while rest:
            if self.on_progress is not None:
                self.on_progress()
            sent = await self.socket.send(rest)
            self.bytes_sent += sent
            rest = rest[sent:]

    async def wait_send_all_might_not_block(self) -> None:
        try:
            await self.socket.wait_writable()
        except (OSError, ValueError) as exc:
            raise self._stream_error(exc) from exc

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._allowance is not None:
            if self.torn and not self.closed:
                raise trio.BrokenResourceError("an earlier write was cut short")
            if not self.is_readable():
                raise trio.WouldBlock
            if self._allowance <= 0:
                raise trio.BrokenResourceError("the peer has much to say, and none of it is for us")
        size = max(RECEIVE_SIZE, self._in_a_row // 4)
        if max_bytes is not None and max_bytes < size:
            size = max_bytes
        try:
            if self._nowait is None:
                data = await self.socket.recv(size)
            else:
                await trio.lowlevel.checkpoint()
                while (now := self._recv_now(self._nowait, size)) is None:
                    await self._nowait.wait_readable()
                data = now
        except OSError as exc:
            raise self._stream_error(exc) from exc
        if self._allowance is not None:
            self._allowance -= len(data)
        if len(data) == size:
            self._in_a_row = min(self._in_a_row + size, 4 * LARGEST_RECEIVE_SIZE)
        else:
            self._in_a_row //= 2
        return data

    def _recv_now(self, nowait: Nowait, size: int) -> bytes | None:
        try:
            return nowait.recv(size)
        except BlockingIOError:
            return None

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()
