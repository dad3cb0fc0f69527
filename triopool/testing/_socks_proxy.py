"""A well-behaved SOCKS proxy, versions 4, 4a and 5, that takes every message to the letter.

For a proxy that behaves badly, write a :func:`script`; it may end with a :class:`Tunnel`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, TypeAlias

import trio

from ._arguments import check_callable, check_count
from ._network import Network
from ._socks_dialogue import Client, Outcome, Socks4, Socks5, SOCKSRequest, mistake
from ._stream import served
from ._tunnel import Onward, as_long_as_there, relay

if TYPE_CHECKING:
    from ._socket import NetworkSocket

Answer: TypeAlias = Callable[[SOCKSRequest], Awaitable[int | None]]


class SOCKSProxy:
    """Serves each connection as a SOCKS proxy does. See :func:`socks_proxy`.

    A handler for :meth:`Network.listen`.

    Attributes:
      requests: what it was asked for so far, over all connections, in order.
      connections: how many connections there have been.
    """

    def __init__(
        self,
        network: Network,
        respond: Answer | None = None,
        *,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        if respond is not None:
            check_callable("respond", respond)
        _check_credentials(credentials)
        self.requests: list[SOCKSRequest] = []
        self.connections: int = 0
        self._onward = Onward(network)
        self._respond = respond
        self._credentials = credentials

    @property
    def open_sockets(self) -> tuple[NetworkSocket, ...]:
        """The proxy's own sockets, to those that it was asked for, that are open; oldest first."""
        return self._onward.open_sockets

    async def __call__(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until it has ended.

        If it raises, the connection is left open, as :class:`HTTPServer` does it.

        Raises:
          h11.RemoteProtocolError: the client sent something that a proxy should not get.
          Exception: whatever *respond* raised.
        """
        self.connections += 1
        client = Client(stream, self.connections)
        async with served(stream):
            with suppress(EOFError):  # the client went away
                await self._serve(client)

    async def _serve(self, client: Client) -> None:
        version = await client.read(1)
        if version == b"\x05":
            dialogue: Socks4 | Socks5 = Socks5(client, self._credentials)
        elif version == b"\x04":
            dialogue = Socks4(client, self._credentials)
        else:
            raise mistake(f"{version!r} for a version of SOCKS")
        request = await dialogue.read_request()
        if request is None:
            return
        self.requests.append(request)
        with closing(_Attempt(request, self._respond, self._onward)) as attempt:
            outcome = await as_long_as_there(client.read_ahead, attempt.make)
            if outcome is None:
                return
            await client.answer(dialogue.answer(outcome))
            if attempt.stream is not None:
                await relay(client.stream.receive_some, client.stream, attempt.stream)


def socks_proxy(
    network: Network,
    respond: Answer | None = None,
    *,
    credentials: tuple[str, str] | None = None,
) -> SOCKSProxy:
    """Make a SOCKS proxy for *network*, of version 4, 4a and 5.

    For example, one that wants credentials, and can't reach one of the hosts::

        async def refuse(request: SOCKSRequest) -> int | None:
            return 4 if request.host == "gone.test" else None

        proxy = socks_proxy(network, refuse, credentials=("ada", "pass"))
        network.listen("192.0.2.9", 1080, proxy)
        ...
        assert [request.is_name for request in proxy.requests] == [True]

    Names are looked up in *network*, and nothing that the proxy does is in its log. Where a server
    can't be reached the answer says why, as far as the version has a code for that. The attempt is
    given up when the client goes away.

    It is strict. A client should send each message whole and no byte beyond it, wait for each
    answer, send addresses as addresses and names as names, and credentials where they are wanted
    and nowhere else. What it should not send is an error of the test.

    Args:
      network: where the proxy listens, and finds the servers.
      respond: asked about each request that has the credentials wanted. None lets it pass; a number
        is the code to refuse it with: 1 to 255, of which version 5 has a meaning for 1 to 8, and
        version 4 for 91 to 93. To be slow, sleep.
      credentials: a name and a password. Version 4 has no password: its user has to be that name.

    Raises:
      TypeError: one of them has another type.
      ValueError: a name or a password has more than 255 bytes.
    """
    return SOCKSProxy(network, respond, credentials=credentials)


class _Attempt:
    """To reach what was asked for.

    Attributes:
      stream: the connection, once there is one.
    """

    def __init__(self, request: SOCKSRequest, respond: Answer | None, onward: Onward) -> None:
        self.stream: trio.SocketStream | None = None
        self._request = request
        self._respond = respond
        self._onward = onward

    async def make(self) -> Outcome:
        """Connect, unless *respond* has a code to refuse with."""
        code = None if self._respond is None else await self._respond(self._request)
        if code is not None:
            check_count("what respond() returns", code, least=1, most=255)
            return Outcome(code=code)
        try:
            self.stream = await self._onward.connect(self._request.host, self._request.port)
        except OSError as error:
            return Outcome(failure=error)
        host, port, *_ = self.stream.socket.getsockname()
        return Outcome(local=(host, port))

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.stream is not None:
            self.stream.socket.close()


def _check_credentials(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, tuple) or [*map(type, value)] != [str, str]:
        raise TypeError("credentials must be a name and a password: (str, str)")
    if max(len(text.encode()) for text in value) > 255:
        raise ValueError("a name and a password have at most 255 bytes each")
