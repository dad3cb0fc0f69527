"""One end of a connection, as TCP on Linux has it: what has arrived, and what happens at an end.

A network for tests is worth little if it is kinder than the kernel, for clients break where the
kernel is unkind. So these things are as TCP on Linux has them, and the tests hold real sockets to
the same expectations:

* To send takes what the peer has room for, which may be less than it was given.
* To close is a FIN, and the peer reads to the end. But to close with bytes unread is to reset
  (RFC 2525 section 2.17): the peer reads what it already has, and then gets ``ECONNRESET``.
* The first send after the peer has closed *succeeds*, because the client can't know yet. What it
  sent is lost, and only the next send says ``EPIPE``. This is why a client that meets a stale
  connection can't tell whether its request arrived. (A Unix socket does know, and says so.)
* ``ECONNRESET`` is told once, to the first of receive and send that asks. After that, receive says
  end of file and send says ``EPIPE``: of two tasks that share a connection, one always gets the
  less telling answer. And the peer's name is gone.

In one point it is less kind than Linux: a reset that was asked for also throws away what the peer
has received and not read. Other systems do that, and RFC 9112 section 9.6 warns of it.

Everything here is synchronous: what would have to wait raises ``BlockingIOError``. How a task waits
is the socket's business. An end only wakes the tasks that wait when something has happened.
"""

from __future__ import annotations

import errno
import os

import trio


def error(number: int) -> OSError:
    """The exception for an errno: a BrokenPipeError, a ConnectionResetError, ..."""
    return OSError(number, os.strerror(number))


class End:
    """One of the two ends of a connection, or what may become one.

    Args:
      buffer_size: how many bytes it takes that are not read.
      is_unix: whether it is a Unix socket's.

    Attributes:
      closed: whether it was closed from here.
      shut_down: whether this side has said that it sends no more.
      reader, writer: where a task is parked that waits until it can receive or send. Woken when
        that may have changed.
    """

    def __init__(self, buffer_size: int, *, is_unix: bool) -> None:
        self._buffer_size = buffer_size
        self._is_unix = is_unix
        self._peer: End | None = None
        self.closed = False
        self.shut_down = False
        # What came from the peer: its bytes, its FIN, its RST (told once, and then zero again).
        self._received = bytearray()
        self._at_eof = False
        self._pending_error = 0
        # Whether an RST went, either way: nothing more can be sent.
        self._broken = False
        self.reader = trio.lowlevel.ParkingLot()
        self.writer = trio.lowlevel.ParkingLot()

    def connect(self, peer: End) -> None:
        """Make a connection of this end and *peer*."""
        self._peer, peer._peer = peer, self

    @property
    def is_connected(self) -> bool:
        """Whether there is or was a connection."""
        return self._peer is not None

    def check_open(self) -> None:
        """Raise ``EBADF`` if this end was closed."""
        if self.closed:
            raise error(errno.EBADF)

    def check_has_peer(self) -> None:
        """Raise ``ENOTCONN`` if there is no connection, or an RST has ended it."""
        self._living_peer()

    # ── Sending ────────────────────────────────────────────────────────────────────────────────

    def send(self, data: memoryview) -> int:
        """Give the peer as much of *data* as it has room for, and return how much that was."""
        self.check_open()
        self._raise_pending_error()
        peer = self._peer
        if peer is None or self.shut_down or self._broken:
            raise error(errno.EPIPE)
        if peer.closed:
            return self._send_to_nobody(len(data))
        count = min(len(data), peer._room)
        if data and not count:
            raise BlockingIOError
        peer._received += data[:count]
        peer.reader.unpark_all()
        return count

    def _send_to_nobody(self, count: int) -> int:
        # The kernel takes the bytes and sends them. The peer's kernel answers with an RST, which
        # breaks the connection. But this call returns before that, so it can't know.
        self._broken = True
        if self._is_unix:
            raise error(errno.EPIPE)
        return count

    def is_writable(self) -> bool:
        """Whether :meth:`send` would not wait: there is room, or an error to be told."""
        if self._broken or self.shut_down:
            return True
        peer = self._peer
        return peer is not None and (peer.closed or peer._room > 0)

    @property
    def _room(self) -> int:
        return self._buffer_size - len(self._received)

    # ── Receiving ──────────────────────────────────────────────────────────────────────────────

    def receive(self, max_bytes: int) -> bytes:
        """Return what has arrived, at most *max_bytes* of it; ``b""`` at the end of file."""
        peer = self._connected_peer()
        if not self._received:
            self._raise_pending_error()
            if self._at_eof:
                return b""
            raise BlockingIOError
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        peer.writer.unpark_all()
        return data

    def is_readable(self) -> bool:
        """Whether :meth:`receive` would not wait: there are bytes, the end, or an error."""
        return bool(self._received or self._at_eof or self._pending_error)

    def take_error(self) -> int:
        """The errno that is pending, or zero. It is told once."""
        number, self._pending_error = self._pending_error, 0
        return number

    def _raise_pending_error(self) -> None:
        if number := self.take_error():
            raise error(number)

    # ── Ending ─────────────────────────────────────────────────────────────────────────────────

    def shut_down_sending(self) -> None:
        """Say that no more will be sent: the peer gets a FIN."""
        peer = self._living_peer()
        self.shut_down = True
        self.writer.unpark_all()
        peer._take_fin()

    def shut_down_receiving(self) -> None:
        """Want no more: what is received from now on is an end of file."""
        self._living_peer()
        self._take_fin()

    def close(self, *, reset: bool) -> None:
        """End it from here; an RST if it is to be a *reset*, or if bytes are unread."""
        self.closed = True
        if self._peer is not None and not self._peer.closed:
            if reset:
                self._peer._received.clear()
            if reset or self._received:
                self._peer._take_rst()
            else:
                self._peer._take_fin()
        self._received.clear()
        self._wake()

    def _take_fin(self) -> None:
        self._at_eof = True
        self._wake()

    def _take_rst(self) -> None:
        self._pending_error = errno.ECONNRESET
        self._broken = True
        self._take_fin()

    def _wake(self) -> None:
        self.reader.unpark_all()
        self.writer.unpark_all()

    def _connected_peer(self) -> End:
        self.check_open()
        if self._peer is None:
            raise error(errno.ENOTCONN)
        return self._peer

    def _living_peer(self) -> End:
        peer = self._connected_peer()
        if self._broken:
            raise error(errno.ENOTCONN)
        return peer
