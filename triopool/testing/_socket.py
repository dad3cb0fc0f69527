"""A socket of the in-memory network: a Trio socket with another Trio socket at its far end.

It is a :class:`trio.socket.SocketType`, so ``trio.SocketStream``, ``trio.SSLStream``, and every
client that lets its user make the sockets, take it for one of the kernel's. What a connection does
is in ``_end.py``: there it is as TCP on Linux has it. Here is what makes a socket of it: names,
options, and waiting.

These things are as Trio's own sockets have them: every async method looks for cancellation first,
then acts, then lets others run, so that a cancelled call has done nothing and one that did
something is not cancelled; a cancelled ``connect`` closes the socket; ``close`` wakes the tasks
that wait, with ``ClosedResourceError``; a second task that waits for the same thing gets
``BusyResourceError``.

There is no latency: what is sent has arrived. Delays are the server's business.
"""

from __future__ import annotations

import builtins
import errno
import socket as stdlib_socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

import trio

from ._end import End, error
from ._endpoint import UNBOUND, Endpoint, endpoint_of, sockaddr_of
from ._kernel import Action, Kernel, Route

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

    from triopool.abc import AddressInfo


T = TypeVar("T")

# "Linger, for zero seconds": how a program asks any kernel to reset instead of an orderly close.
_LINGER = (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER)
RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

# Where we are, when a client that did not bind has connected.
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class NetworkSocket(trio.socket.SocketType):
    """One end of a connection of a :class:`Network`, or what may become one.

    Used as any Trio socket is. The network makes them, and hands them out as
    :attr:`Network.open_sockets` and :attr:`Network.open_server_sockets`.

    Attributes:
      address: the :class:`triopool.abc.AddressInfo` it was made for; at the server's end, that of
        the client.
    """

    def __init__(self, kernel: Kernel, address: AddressInfo, *, server_side: bool = False) -> None:
        super().__init__()
        self.address = address
        self._kernel = kernel
        self._server_side = server_side
        self._table = kernel.server_sockets if server_side else kernel.client_sockets
        self._table[self] = None
        self._descriptor = kernel.next_descriptor()
        self._options: dict[tuple[int, int], bytes] = {}
        self._local = UNBOUND.get(address.family, "")
        self._remote = endpoint_of(address.family, address.sockaddr)
        self._end = End(kernel.buffer_size, is_unix=self._is_unix)
        self._record("socket")

    def __repr__(self) -> str:
        side = "server" if self._server_side else "client"
        state = "connected" if self._end.is_connected else "not connected"
        if self.closed:
            state = "closed"
        return f"<NetworkSocket, {side}'s, {state}, remote {self._remote!r}>"

    @property
    def closed(self) -> bool:
        """Whether this end has been closed."""
        return self._end.closed

    def reset(self) -> None:
        """Close with an RST: the peer loses what it has not read yet, and gets ``ECONNRESET``."""
        self._options[_LINGER] = RESET_ON_CLOSE
        self.close()

    # ── What a socket tells about itself ───────────────────────────────────────────────────────

    @property
    def family(self) -> stdlib_socket.AddressFamily:
        return stdlib_socket.AddressFamily(self.address.family)

    @property
    def type(self) -> stdlib_socket.SocketKind:
        return stdlib_socket.SocketKind(self.address.type)

    @property
    def proto(self) -> int:
        return self.address.proto

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802 - the name is Trio's
        return self._end.shut_down

    def fileno(self) -> int:
        """Return a number that no real file has, or -1 after :meth:`close`."""
        return -1 if self.closed else self._descriptor

    def getsockname(self) -> Any:
        self._end.check_open()
        return sockaddr_of(self._local)

    def getpeername(self) -> Any:
        self._end.check_has_peer()
        return sockaddr_of(self._remote)

    @overload
    def getsockopt(self, level: int, optname: int) -> int: ...

    @overload
    def getsockopt(self, level: int, optname: int, buflen: int) -> bytes: ...

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> int | bytes:
        """Return what was set, or zero if nothing was. ``SO_ERROR`` takes the pending error."""
        self._end.check_open()
        if (level, optname) == (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ERROR):
            return self._end.take_error()
        raw = self._options.get((level, optname), bytes(4))
        return int.from_bytes(raw[:4], sys.byteorder) if buflen is None else raw[:buflen]

    @overload
    def setsockopt(self, level: int, optname: int, value: int | Buffer) -> None: ...

    @overload
    def setsockopt(self, level: int, optname: int, value: None, optlen: int) -> None: ...

    def setsockopt(
        self, level: int, optname: int, value: int | Buffer | None, optlen: int | None = None
    ) -> None:
        """Remember the option, and log it. Only ``SO_LINGER`` has an effect, on :meth:`close`."""
        self._end.check_open()
        if self._is_unix and level == stdlib_socket.IPPROTO_TCP:
            raise error(errno.EOPNOTSUPP)
        if isinstance(value, int):
            raw = value.to_bytes(4, sys.byteorder, signed=value < 0)
        else:
            raw = bytes(optlen or 0) if value is None else bytes(value)
        self._options[level, optname] = raw
        self._record("setsockopt", (level, optname, value))

    # ── Becoming connected ─────────────────────────────────────────────────────────────────────

    async def bind(self, address: Any) -> None:
        """Choose the local address; a port of zero gets a free one.

        Raises:
          socket.gaierror: *address* is no literal address of this socket's family.
          OSError: ``EINVAL``, if the socket is bound already.
        """
        local = endpoint_of(self.family, address)
        await trio.lowlevel.checkpoint()
        self._end.check_open()
        if self._local != UNBOUND.get(self.family, ""):
            raise error(errno.EINVAL)
        self._local = self._complete(local, wildcards={})
        self._record("bind", self._local)

    async def connect(self, address: Any) -> None:
        """Connect, as slowly or as much in vain as the network was told for *address*.

        If this is cancelled the socket is closed, as every Trio socket is then.

        Raises:
          OSError: the network refused, or the socket is connected already.
          trio.ClosedResourceError: another task closed the socket meanwhile.
        """
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            route = self._set_out_for(endpoint_of(self.family, address))
            # Not a sleep, so that close() can wake us before the answer has come.
            with trio.move_on_after(route.after):
                await _park(self._end.writer)
        except trio.Cancelled:
            self.close()
            raise
        self._check_not_closed_meanwhile()
        self._meet(route)

    def _set_out_for(self, remote: Endpoint) -> Route:
        self._end.check_open()
        if self._end.is_connected:
            raise error(errno.EISCONN)
        self._remote = remote
        self._record("connect")
        return self._kernel.route_to(remote)

    def _meet(self, route: Route) -> None:
        if route.accept is None:
            self._record("failed", errno.errorcode[route.error])
            raise error(route.error)
        self._local = self._complete(self._local, wildcards=_HERE)
        here = self.address._replace(sockaddr=sockaddr_of(self._local))
        peer = NetworkSocket(self._kernel, here, server_side=True)
        peer._local = self._remote
        self._end.connect(peer._end)
        self._record("connected")
        route.accept(peer)

    def _complete(self, local: Endpoint, wildcards: Mapping[str, str]) -> Endpoint:
        if isinstance(local, str):
            return local
        host, port = local
        return wildcards.get(host, host), port or self._kernel.next_port()

    # ── Sending ────────────────────────────────────────────────────────────────────────────────

    async def send(self, data: Buffer, flags: int = 0, /) -> int:
        """Send at least one byte of *data*, and return how many were sent.

        Waits while the peer has no room. If this is cancelled, nothing was sent.

        Raises:
          BrokenPipeError: the peer is gone, or we have said that we are done.
          ConnectionResetError: the peer reset the connection.
          trio.ClosedResourceError: another task closed the socket while this one waited.
          trio.BusyResourceError: another task is waiting to send.
        """
        return await self._act(self._end.writer, lambda: self.send_nowait(data))

    def send_nowait(self, data: Buffer) -> int:
        """:meth:`send`, but without a checkpoint: ``BlockingIOError`` where that one waits.

        So is :meth:`recv_nowait`. Trio's own sockets have no such methods; with them, and with
        :meth:`wait_readable`, a pool treats this socket as it does the kernel's.
        """
        with memoryview(data).cast("B") as view:
            return self._end.send(view)

    async def wait_writable(self) -> None:
        """Wait until :meth:`send` would not wait: there is room, or an error to be told."""
        self._check_descriptor()
        await self._act(self._end.writer, self._check_writable)

    def _check_writable(self) -> None:
        if not self._end.is_writable():
            raise BlockingIOError

    # ── Receiving ──────────────────────────────────────────────────────────────────────────────

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        """Receive between one and *buflen* bytes; ``b""`` at the end of file.

        If this is cancelled, no byte is lost.

        Raises:
          ConnectionResetError: the peer reset the connection.
          trio.ClosedResourceError: another task closed the socket while this one waited.
          trio.BusyResourceError: another task is waiting to receive.
        """
        return await self._act(self._end.reader, lambda: self.recv_nowait(buflen))

    async def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into *buffer*, otherwise as :meth:`recv`; return how many bytes came."""
        with memoryview(buffer).cast("B") as view:
            data = await self.recv(nbytes or len(view))
            view[: len(data)] = data
        return len(data)

    def recv_nowait(self, buflen: int) -> bytes:
        """:meth:`recv`, but without a checkpoint; see :meth:`send_nowait`."""
        return self._end.receive(buflen)

    async def wait_readable(self) -> None:
        """Wait until :meth:`recv` would not wait. As ``trio.lowlevel.wait_readable()``."""
        self._check_descriptor()
        await self._act(self._end.reader, self._check_readable)

    def _check_readable(self) -> None:
        if not self.is_readable():
            raise BlockingIOError

    def is_readable(self) -> bool:
        """Tell whether :meth:`recv` would not wait: there are bytes, the end, or an error."""
        self._check_descriptor()
        return self._end.is_readable()

    # ── Ending ─────────────────────────────────────────────────────────────────────────────────

    def shutdown(self, flag: int) -> None:
        """Say that no more will be sent (``SHUT_WR``), received (``SHUT_RD``), or both.

        Raises:
          OSError: ``ENOTCONN``, if the socket is not connected.
        """
        if flag != stdlib_socket.SHUT_RD:
            self._end.shut_down_sending()
        if flag != stdlib_socket.SHUT_WR:
            self._end.shut_down_receiving()
        self._record("shutdown", flag)

    def close(self) -> None:
        """Close this end, and wake the tasks that wait for it. Closing again does nothing."""
        if self.closed:
            return
        del self._table[self]
        self._end.close(reset=self._options.get(_LINGER) == RESET_ON_CLOSE)
        self._record("close")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: builtins.type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ── The shape of every async method ────────────────────────────────────────────────────────

    async def _act(self, lot: trio.lowlevel.ParkingLot, attempt: Callable[[], T]) -> T:
        """Call *attempt* until it no longer raises ``BlockingIOError``, waiting in *lot* between.

        The order is Trio's: look for cancellation, act, let others run. To act last would be
        simpler, but a test should meet the moment where the bytes have gone and the caller does
        not know it yet.

        Nothing is awaited between a wake-up and the act, nor after an act that follows a wait. For
        ``park`` returns normally to a task that was cancelled after it was woken: what the task
        then takes, it must also return, or it would be lost.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            result = attempt()
        except BlockingIOError:
            return await self._wait_and_act(lot, attempt)
        except BaseException:
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise
        await trio.lowlevel.cancel_shielded_checkpoint()
        return result

    async def _wait_and_act(self, lot: trio.lowlevel.ParkingLot, attempt: Callable[[], T]) -> T:
        while True:
            await _park(lot)
            self._check_not_closed_meanwhile()
            try:
                return attempt()
            except BlockingIOError:
                pass  # Something else has happened, or another task was faster.

    # ── Checks and small facts ─────────────────────────────────────────────────────────────────

    def _record(self, action: Action, detail: Any = None) -> None:
        if not self._server_side:
            self._kernel.record(action, self._remote, detail)

    def _check_descriptor(self) -> None:
        # A real socket's number goes to the selector here, and Python refuses -1 by itself.
        if self.closed:
            raise ValueError("file descriptor cannot be a negative integer (-1)")

    def _check_not_closed_meanwhile(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError("another task closed this socket")

    @property
    def _is_unix(self) -> bool:
        return self.family not in UNBOUND


async def _park(lot: trio.lowlevel.ParkingLot) -> None:
    if lot:
        raise trio.BusyResourceError("another task is already waiting for this socket")
    await lot.park()
