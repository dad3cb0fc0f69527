"""A well-behaved HTTP proxy, for tests of what a client does with what it answers.

It forwards requests in absolute form, each on a connection of its own, and opens tunnels for
CONNECT. For a proxy that behaves badly, write a :func:`script`; it may end with a :class:`Tunnel`.
"""

from __future__ import annotations

import errno
import http.client
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, TypeAlias, cast

import h11
import trio

from ._arguments import Pairs, check_callable
from ._http_server import Connection, Reply
from ._network import Network
from ._proxy_request import Target, check_fields, field_value, read_target
from ._request import Request
from ._stream import served
from ._tunnel import Onward, as_long_as_there, relay

if TYPE_CHECKING:
    from ._socket import NetworkSocket

Answer: TypeAlias = Callable[[Request], Awaitable[Reply | None]]


# Meant for one hop only, RFC 9110 section 7.6.1; what Connection names goes, too. And Expect was
# met here: the request is passed on as a whole.
_FOR_THIS_HOP = {
    *("connection", "keep-alive", "te", "upgrade", "expect"),
    *("proxy-connection", "proxy-authenticate", "proxy-authorization"),
}
_VIA = ("Via", "1.1 testing")

# RFC 9209 section 2.3. The others are "the destination is not available".
_WHAT_FAILED = {
    errno.ECONNREFUSED: "connection_refused",
    errno.ETIMEDOUT: "connection_timeout",
    errno.EHOSTUNREACH: "destination_ip_unroutable",
    errno.ENETUNREACH: "destination_ip_unroutable",
}


class HTTPProxy:
    """Serves each connection as an HTTP proxy does, with keep-alive. See :func:`http_proxy`.

    A handler for :meth:`Network.listen`.

    Attributes:
      requests: what was received so far, over all connections, in order; CONNECT too.
      connections: how many connections there have been.
    """

    def __init__(
        self,
        network: Network,
        respond: Answer | None = None,
        *,
        credentials: tuple[str, str] | str | None = None,
    ) -> None:
        if respond is not None:
            check_callable("respond", respond)
        self.requests: list[Request] = []
        self.connections: int = 0
        self._onward = Onward(network)
        self._respond = respond
        self._wanted = field_value(credentials)

    @property
    def open_sockets(self) -> tuple[NetworkSocket, ...]:
        """The proxy's own sockets, to those that it was asked for, that are open; oldest first."""
        return self._onward.open_sockets

    async def __call__(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until either side closes it.

        If it raises, the connection is left open, as :class:`HTTPServer` does it.

        Raises:
          h11.RemoteProtocolError: the client sent something that a proxy should not get.
          Exception: whatever *respond* raised.
        """
        self.connections += 1
        connection = Connection(stream, self.connections)
        async with served(stream):
            while (request := await connection.receive()) is not None:
                self.requests.append(request)
                asked = read_target(request)
                check_fields(request, asked, wants_credentials=self._wanted is not None)
                with closing(
                    _Exchange(connection, request, asked, self._decide, self._onward)
                ) as exchange:
                    goes_on = await as_long_as_there(connection.read_ahead, exchange.serve)
                    if exchange.tunnel is not None:
                        await exchange.open_tunnel(stream, exchange.tunnel)
                if not goes_on:
                    break

    async def _decide(self, request: Request) -> Reply | None:
        """What the proxy itself answers; None if the request may pass."""
        given = request.header("proxy-authorization")
        if self._wanted is not None and given != self._wanted:
            scheme = self._wanted.partition(" ")[0]
            return Reply(status=407, headers={"Proxy-Authenticate": f'{scheme} realm="testing"'})
        if self._respond is None:
            return None
        reply = await self._respond(request)
        if reply is not None and not isinstance(reply, Reply):
            raise TypeError(f"the proxy has to be given a Reply or None, not {reply!r}")
        return reply


def http_proxy(
    network: Network,
    respond: Answer | None = None,
    *,
    credentials: tuple[str, str] | str | None = None,
) -> HTTPProxy:
    """Make an HTTP proxy for *network*: it forwards, and opens tunnels.

    For example, one that speaks TLS, wants credentials, and lets nobody reach one of the hosts::

        async def refuse(request: Request) -> Reply | None:
            return Reply(status=403) if request.target == "secret.test:443" else None

        proxy = http_proxy(network, refuse, credentials=("ada", "pass"))
        network.listen("192.0.2.9", 3128, proxy, ssl_context=context)

    Names are looked up in *network*, and nothing that the proxy does is in its log. Where an origin
    can't be reached the answer is 502, and ``Proxy-Status`` says why (RFC 9209). What is forwarded
    is sent as a whole, on a connection of its own, with a ``Via`` on the way there and back, and
    given up when the client goes away.

    It is strict. A client should send requests for http in absolute form, and nothing else but
    CONNECT, each with the Host that it names; no ``Proxy-Connection``, no ``Upgrade`` to be
    forwarded, nothing with a CONNECT that is for the server behind it, no byte before the tunnel is
    open, and credentials where they are wanted and nowhere else. What it should not send is an
    error of the test. Wrong credentials, or none, are answered with 407.

    Args:
      network: where the proxy listens, and finds the servers.
      respond: asked about each request that has the credentials wanted. None lets it pass; a
        :class:`Reply` is the proxy's own answer. One with a 2xx opens a tunnel if the request was
        CONNECT: it is sent as it is, with the fields that *headers* has and no other. A body
        comes right behind it, as from a proxy that has misunderstood. To be slow, sleep.
      credentials: a name and a password (Basic), or a token (Bearer).

    Raises:
      TypeError: one of them has another type.
    """
    return HTTPProxy(network, respond, credentials=credentials)


class _OriginFailed(Exception):
    """The origin broke off, or sent what is not HTTP."""


class _Exchange:
    """One request, and what becomes of it.

    Attributes:
      tunnel: the connection to its other end, if a tunnel is to be opened.
    """

    def __init__(
        self,
        connection: Connection,
        request: Request,
        asked: Target,
        decide: Answer,
        onward: Onward,
    ) -> None:
        self.tunnel: trio.SocketStream | None = None
        self._connection = connection
        self._request = request
        self._asked = asked
        self._decide = decide
        self._onward = onward
        self._stream: trio.SocketStream | None = None
        self._reply = Reply()

    def close(self) -> None:
        """Close the connection onward."""
        if self._stream is not None:
            self._stream.socket.close()

    async def serve(self) -> bool:
        """Answer the request, unless a tunnel is to be opened; tell whether another can follow."""
        reply = await self._decide(self._request)
        is_tunnel = self._request.method == "CONNECT" and (reply is None or reply.status < 300)
        if reply is not None and not is_tunnel:
            return await self._answer(reply)
        try:
            self._stream = await self._onward.connect(self._asked.host, self._asked.port)
        except OSError as error:
            return await self._answer(_bad_gateway(_reason(error)))
        if not is_tunnel:
            return await self._forward(self._stream)
        self._reply = reply or self._reply
        await trio.sleep(self._reply.delay)
        self.tunnel = self._stream
        return False

    async def _answer(self, reply: Reply) -> bool:
        return await self._connection.answer(self._request, reply)

    async def open_tunnel(self, client: trio.abc.Stream, onward: trio.SocketStream) -> None:
        """Say that the tunnel is open, and pass bytes on until it ends."""
        if early := self._connection.ahead:
            raise h11.RemoteProtocolError(
                f"the client sent {len(early)} bytes before the tunnel was open"
            )
        await client.send_all(_tunnel_head(self._reply))
        if not self._reply.drop:
            await relay(client.receive_some, client, onward)

    async def _forward(self, onward: trio.SocketStream) -> bool:
        protocol = h11.Connection(h11.CLIENT)
        with suppress(trio.BrokenResourceError):  # it may have answered all the same
            await onward.send_all(self._onward_request(protocol))
        begun = False
        while True:
            try:
                event = await _next_event(protocol, onward)
            except _OriginFailed as failure:
                if begun:
                    return False  # to break off is all that can be said now
                return await self._answer(_bad_gateway(str(failure)))
            begun = begun or isinstance(event, h11.Response)
            await self._connection.pass_on(_to_pass_on(event))
            if isinstance(event, h11.EndOfMessage):
                return self._connection.goes_on()

    def _onward_request(self, protocol: h11.Connection) -> bytes:
        request = self._request
        head = h11.Request(
            method=request.method,
            target=self._asked.path,
            headers=[*_end_to_end(request.headers), _VIA, ("Connection", "close")],
        )
        wire = protocol.send(head)
        if request.body:
            wire += protocol.send(h11.Data(data=request.body))
        return wire + protocol.send(h11.EndOfMessage())


async def _next_event(protocol: h11.Connection, stream: trio.SocketStream) -> h11.Event:
    try:
        while (event := protocol.next_event()) is h11.NEED_DATA:
            protocol.receive_data(await stream.receive_some())
    except trio.BrokenResourceError as error:
        raise _OriginFailed("connection_terminated") from error
    except h11.RemoteProtocolError as error:
        raise _OriginFailed("http_protocol_error") from error
    return cast(h11.Event, event)


def _to_pass_on(event: h11.Event) -> h11.Event:
    if isinstance(event, h11.Response | h11.InformationalResponse):
        pairs = [
            (name.decode("ascii"), value.decode("latin-1"))
            for name, value in event.headers.raw_items()
        ]
        return type(event)(
            status_code=event.status_code,
            reason=event.reason,
            headers=[*_end_to_end(pairs), _VIA],
        )
    return event


def _end_to_end(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    pairs = list(pairs)
    named = {
        word.strip().lower()
        for name, value in pairs
        if name.lower() == "connection"
        for word in value.split(",")
    }
    return [pair for pair in pairs if pair[0].lower() not in _FOR_THIS_HOP | named]


def _tunnel_head(reply: Reply) -> bytes:
    reason = http.client.responses.get(reply.status, "")
    fields = [*cast(Pairs, reply.headers)]
    if reply.close:
        fields.append(("Connection", "close"))
    lines = [f"HTTP/1.1 {reply.status} {reason}", *(f"{name}: {value}" for name, value in fields)]
    body = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _bad_gateway(reason: str) -> Reply:
    return Reply(status=502, headers={"Proxy-Status": f"testing; error={reason}"})


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "dns_error"
    return _WHAT_FAILED.get(error.errno or 0, "destination_unavailable")
