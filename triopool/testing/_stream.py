"""What a server does to a connection that the stream interface has no word for."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import trio

from ._socket import RESET_ON_CLOSE

Handler: TypeAlias = Callable[[trio.abc.Stream], Awaitable[object]]
"""Serves one connection, as with :func:`trio.serve_tcp`."""


@asynccontextmanager
async def served(stream: trio.abc.Stream) -> AsyncIterator[None]:
    """Close *stream* when the block has ended, and end it quietly if the client goes away.

    Closing waits for nothing, not even for TLS to say goodbye.

    If the block raises, the stream stays open: the network (or ``trio.serve_tcp``) closes it, once
    it knows of the failure. If the client saw the end of the connection before, it might give up
    and leave the network, and a cancellation would replace the failure.
    """
    with suppress(trio.BrokenResourceError):
        yield
    await trio.aclose_forcefully(stream)


async def reset(stream: trio.abc.Stream) -> None:
    """Close the TCP connection under *stream* with an RST.

    Raises:
      TypeError: there is no ``trio.SocketStream`` under *stream*.
    """
    below = without_tls(stream)
    if not isinstance(below, trio.SocketStream):
        raise TypeError(f"only a connection of sockets can be reset, not a {type(below).__name__}")
    below.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    await below.aclose()


def without_tls(stream: trio.abc.Stream) -> trio.abc.Stream:
    """The stream below all the TLS that *stream* has."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    return stream
