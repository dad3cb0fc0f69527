"""What proxies have in common: they wait for two sides at once, and pass on what each of them says.

A proxy is as strict as a server can be that can't read everything. Of what goes through a tunnel it
reads the heads of requests, unless the client speaks TLS there: a ``Proxy-Authorization`` that
travels to an origin has left the hop that it was meant for.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

import h11
import trio

from ._arguments import check_count
from ._network import Network
from ._script import Conversation
from ._socket import NetworkSocket
from ._stream import reset, without_tls

T = TypeVar("T")
Receive: TypeAlias = Callable[[], Awaitable[bytes | bytearray]]

# A request in origin form is for an origin. One in absolute form, or CONNECT, is for another proxy,
# the next one of a chain: that may well want credentials.
_CREDENTIALS_FOR_A_PROXY = re.compile(
    rb" (?:/[^ \r\n]*|\*) HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*proxy-authorization:", re.IGNORECASE
)
_FIELD = b"proxy-authorization:"
_LOOKED_AT_BYTES = 64 * 1024
_TLS_HANDSHAKE = b"\x16"


class Onward:
    """The connections of a proxy to those that it was asked for."""

    def __init__(self, network: Network) -> None:
        check_network(network)
        self._network = network
        self._sockets: list[NetworkSocket] = []

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Connect to *host*, and remember the socket.

        Raises:
          OSError: as :meth:`Network.connect`.
        """
        stream = await self._network.connect(host, port)
        self._sockets = [*self.open_sockets, cast(NetworkSocket, stream.socket)]
        return stream

    @property
    def open_sockets(self) -> tuple[NetworkSocket, ...]:
        """Those that are not closed, oldest first."""
        return tuple(sock for sock in self._sockets if not sock.closed)


def check_network(value: object) -> None:
    """Accept a network only: a proxy connects over the one on which it listens."""
    if not isinstance(value, Network):
        raise TypeError(f"a proxy needs the Network that it is part of, not {value!r}")


async def as_long_as_there(
    client_is_gone: Callable[[], Awaitable[object]], serve: Callable[[], Awaitable[T]]
) -> T | None:
    """Await *serve*, or give it up, and return None, when *client_is_gone* has returned.

    What *serve* raises leaves as itself, and not in an ``ExceptionGroup``.
    """
    result: T | None = None
    failure: BaseException | None = None

    async def watch() -> None:
        with suppress(trio.BrokenResourceError):
            await client_is_gone()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        try:
            result = await serve()
        except (trio.Cancelled, BaseExceptionGroup):
            raise  # what is cancelled here, and groups of it, are the nursery's to sort out
        except BaseException as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result


async def relay(receive: Receive, client: trio.abc.Stream, onward: trio.abc.Stream) -> None:
    """Pass bytes on, both ways, until both sides have ended, or one has broken.

    The end of one side is passed on if the other side's stream knows half an end, which TLS does
    not: there it is the end of both. So is a connection that broke: the other one is reset.

    Args:
      receive: returns what *client* sends, ``b""`` at its end.
      client: where what *onward* sends goes.
      onward: the other side.

    Raises:
      h11.RemoteProtocolError: credentials for a proxy were sent into the tunnel.
    """
    inside = _Inside()
    failures: list[h11.RemoteProtocolError] = []

    async def pass_on(
        receive: Receive, to: trio.abc.Stream, look_at: Callable[[bytes | bytearray], object]
    ) -> None:
        try:
            while data := await receive():
                look_at(data)
                await to.send_all(data)
            if isinstance(to, trio.abc.HalfCloseableStream):
                await to.send_eof()
                return
        except h11.RemoteProtocolError as error:
            failures.append(error)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await _break(client)
            await _break(onward)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on, receive, onward, inside.look_at)
        nursery.start_soon(pass_on, onward.receive_some, client, len)
    for failure in failures:
        raise failure


async def _break(stream: trio.abc.Stream) -> None:
    below = without_tls(stream)
    if isinstance(below, trio.SocketStream) and below.socket.fileno() != -1:
        await reset(below)


class _Inside:
    """Reads along what a client sends into a tunnel."""

    def __init__(self) -> None:
        self._last = bytearray()
        self._is_tls = False

    def look_at(self, data: bytes | bytearray) -> None:
        """Look at *data*, which comes next.

        Raises:
          h11.RemoteProtocolError: a request for an origin has a ``Proxy-Authorization``.
        """
        self._is_tls = self._is_tls or (not self._last and data[:1] == _TLS_HANDSHAKE)
        if self._is_tls:
            return
        self._last += data
        new = self._last[-len(data) - len(_FIELD) :]
        if _FIELD in new.lower() and _CREDENTIALS_FOR_A_PROXY.search(self._last):
            raise h11.RemoteProtocolError(
                "the client sent a Proxy-Authorization through a tunnel, to an origin"
            )
        del self._last[:-_LOOKED_AT_BYTES]


@dataclass(frozen=True)
class Tunnel:
    """Connect to *host* and *port*, and pass bytes on, both ways, until both sides have ended.

    For a proxy that does something a proxy should not do, and then works, or seems to::

        talkative = script(
            ReceiveRequest(),
            Send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello"),
            Tunnel(network, "192.0.2.1", 80),
        )

    Attributes:
      network: where *host* is to be found.
      host: a name that the network was told of, or a literal IP address.
      port: the port.

    Raises:
      OSError: nobody takes the connection there.
      h11.RemoteProtocolError: credentials for a proxy were sent into the tunnel.
    """

    network: Network
    host: str
    port: int

    def __post_init__(self) -> None:
        check_network(self.network)
        check_count("Tunnel.port", self.port, least=1, most=65535)

    async def __call__(self, conversation: Conversation) -> None:
        async def receive() -> bytes:
            try:
                return await conversation.receive_some()
            except EOFError:
                return b""

        onward = await self.network.connect(self.host, self.port)
        with onward.socket:
            await relay(receive, conversation.stream, onward)
