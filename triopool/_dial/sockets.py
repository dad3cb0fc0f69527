"""The sockets of a pool: made by a factory, then owned by us, bound, and connected.

The factory may be the user's. What it returns belongs to the pool from then on. So whatever is
wrong with it, or happens to it later, it is closed.
"""

from __future__ import annotations

import functools
import inspect
import socket as stdlib_socket
from collections.abc import Awaitable

import trio

from .._control_c import control_c_passed_on
from .._transport.wire import Nowait, Wire
from ..abc import AddressInfo, AnySocket, NowaitSocket, SocketFactory


class Sockets:
    """Opens the sockets of one pool.

    Args:
      factory: makes each of them; None for :func:`plain_socket`.
      local_address: address and port to connect from; None to leave that to the system.
    """

    def __init__(
        self, factory: SocketFactory | None, local_address: tuple[str, int] | None
    ) -> None:
        self._factory: SocketFactory = factory or plain_socket
        self._local_address = local_address

    async def connect(self, address: AddressInfo) -> Wire:
        """Make a socket for *address*, bind it and connect it; the caller owns the wire.

        Atomic with respect to cancellation: if this raises, the socket is closed.

        Raises:
          OSError: this address can't be used; another one may.
          TypeError: the factory returned something that is no socket for *address*.
          Exception: what the factory raised, as itself.
        """
        self._check_local_family(address)
        with control_c_passed_on():
            made = await _result_of(self._factory(address))
        socket = _take_over(made, address)
        try:
            if self._local_address is not None:
                await socket.bind(self._local_address)
            await socket.connect(address.sockaddr)
        except BaseException:
            socket.close()
            raise
        # The wire is told of the socket that was made, and not only of Trio's: a socket of the
        # standard library has methods that don't wait, which Trio's has not.
        return Wire(socket, nowait(made))

    def _check_local_family(self, address: AddressInfo) -> None:
        if self._local_address is not None:
            host, _ = self._local_address
            family = stdlib_socket.AF_INET6 if ":" in host else stdlib_socket.AF_INET
            if family != address.family:
                raise OSError(f"local_address {host} is of another address family")


def plain_socket(address: AddressInfo) -> AnySocket:
    """The socket factory of a pool that was given none."""
    # Trio makes it, because a program may have told Trio how: set_custom_socket_factory().
    made = trio.socket.socket(address.family, address.type, address.proto)
    try:
        descriptor = made.detach()
    except NotImplementedError:
        return made  # It is not one of the kernel's, so it has no descriptor to be taken over.
    # From Trio's to the standard library's, for its methods that don't wait.
    return stdlib_socket.socket(address.family, address.type, address.proto, fileno=descriptor)


def nowait(socket: AnySocket) -> Nowait | None:
    """The methods of *socket* that don't wait; None if it has none."""
    if isinstance(socket, stdlib_socket.socket):  # Trio has made it non-blocking.
        wait = functools.partial(trio.lowlevel.wait_readable, socket)
        return Nowait(socket.send, socket.recv, wait)
    if isinstance(socket, NowaitSocket):
        return Nowait(socket.send_nowait, socket.recv_nowait, socket.wait_readable)
    return None


async def _result_of(made: AnySocket | Awaitable[AnySocket]) -> AnySocket:
    return await made if inspect.isawaitable(made) else made


def _take_over(made: AnySocket, address: AddressInfo) -> trio.socket.SocketType:
    """Own what the factory returned, as a Trio socket; or close it, and say what is wrong."""
    if not isinstance(made, stdlib_socket.socket | trio.socket.SocketType):
        raise TypeError(
            "socket_factory must return a Trio or standard-library socket, "
            f"not {type(made).__name__}"
        )
    try:
        if made.type != stdlib_socket.SOCK_STREAM or made.family != address.family:
            family = stdlib_socket.AddressFamily(address.family).name
            raise TypeError(
                "socket_factory must return a SOCK_STREAM socket of the address's own family "
                f"({family}), not {made.type!r} of {made.family!r}"
            )
        if isinstance(made, stdlib_socket.socket):
            return trio.socket.from_stdlib_socket(made)
    except BaseException:
        made.close()
        raise
    return made
