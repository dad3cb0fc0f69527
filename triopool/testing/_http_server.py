"""A well-behaved HTTP/1.1 server, for tests of what a client does with what it answers.

For a server that behaves badly, write a :func:`script`.
"""

from __future__ import annotations

import http.client
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import h11
import trio

from ._request import Request, check_begins_request, read_request
from ._stream import served

Fields: TypeAlias = Sequence[tuple[str, str]]

_BODILESS = {204, 304}


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer to a request.

    Where the body goes is the server's business: it adds ``Content-Length``, or
    ``Transfer-Encoding`` if *chunked*, unless *headers* has one of them; and it sends no body where
    HTTP allows none.

    Attributes:
      status: the status code, 200 or above.
      headers: name and value of each field, in order.
      body: the body, or its pieces; with *chunked*, each piece is a chunk.
      delay: how long the answer takes, in seconds.
      gap: how long to pause between two pieces of the body, in seconds.
      chunked: whether to send the body in chunks.
      trailers: fields to send after a chunked body.
      close: whether to say ``Connection: close``, and to do it.
      drop: whether to close the connection without having said so.
    """

    status: int = 200
    headers: Fields = ()
    body: bytes | Sequence[bytes] = b""
    delay: float = 0.0
    gap: float = 0.0
    chunked: bool = False
    trailers: Fields = ()
    close: bool = False
    drop: bool = False


Respond: TypeAlias = Callable[[Request], Awaitable[Reply]]


class HTTPServer:
    """Serves each connection as HTTP/1.1 says, with keep-alive. See :func:`http_server`.

    A handler for :meth:`Network.listen` and for :func:`trio.serve_tcp`.

    Attributes:
      requests: what was received so far, over all connections, in order.
      connections: how many connections there have been.
    """

    def __init__(self, respond: Respond) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._respond = respond

    async def __call__(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until either side closes it.

        Raises:
          h11.RemoteProtocolError: the client sent something that is not HTTP, or bytes behind a
            body that don't begin a request.
          Exception: whatever *respond* raised.
        """
        self.connections += 1
        connection = _Connection(stream, self.connections)
        async with served(stream):
            while (request := await connection.receive()) is not None:
                self.requests.append(request)
                reply = await self._respond(request)
                await connection.send(request, reply)
                if reply.drop or not connection.is_reusable:
                    connection.check_rest()
                    break


def http_server(respond: Respond) -> HTTPServer:
    """Make a server that answers each request with what ``await respond(request)`` returns.

    It reads each request to its end before it asks for the reply, having sent ``100 Continue`` if
    the client waits for that. It goes on with the next request on the same connection unless one of
    both sides has asked for its end. A client that goes away in the middle is no error; one that
    sends something else than HTTP is, and so is whatever *respond* raises. Each byte behind a body
    has to begin the next request, also where the server closes the connection and serves no more.
    """
    return HTTPServer(respond)


class _Connection:
    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        self._stream = stream
        self._number = number
        self._protocol = h11.Connection(h11.SERVER)

    async def receive(self) -> Request | None:
        if self._protocol.our_state is h11.DONE:
            self._protocol.start_next_cycle()
        return await read_request(self._protocol, self._receive_some, self._number)

    async def _receive_some(self) -> bytes:
        if self._protocol.they_are_waiting_for_100_continue:
            go_ahead = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            await self._stream.send_all(self._protocol.send(go_ahead))
        return bytes(await self._stream.receive_some())

    async def send(self, request: Request, reply: Reply) -> None:
        await trio.sleep(reply.delay)
        pieces = _pieces(reply) if _may_have_body(request, reply) else []
        wire = self._protocol.send(_head(reply))
        for index, piece in enumerate(pieces):
            if index and reply.gap:
                await self._stream.send_all(wire)
                await trio.sleep(reply.gap)
                wire = b""
            wire += self._protocol.send(h11.Data(data=piece))
        wire += self._protocol.send(h11.EndOfMessage(headers=list(reply.trailers)))
        await self._stream.send_all(wire)

    def check_rest(self) -> None:
        """See that what came behind the last request, and is not served, begins one."""
        check_begins_request(self._protocol.trailing_data[0])

    @property
    def is_reusable(self) -> bool:
        return self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE


def _pieces(reply: Reply) -> list[bytes]:
    return [reply.body] if isinstance(reply.body, bytes) else list(reply.body)


def _may_have_body(request: Request, reply: Reply) -> bool:
    return request.method != "HEAD" and reply.status not in _BODILESS


def _head(reply: Reply) -> h11.Response:
    names = {name.lower() for name, _ in reply.headers}
    headers = list(reply.headers)
    if names.isdisjoint({"content-length", "transfer-encoding"}):
        if reply.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif reply.status not in _BODILESS:
            headers.append(("Content-Length", str(sum(map(len, _pieces(reply))))))
    if reply.close:
        headers.append(("Connection", "close"))
    reason = http.client.responses.get(reply.status, "").encode("ascii")
    return h11.Response(status_code=reply.status, headers=headers, reason=reason)
