"""A well-behaved HTTP/1.1 server, for tests of what a client does with what it answers.

For a server that behaves badly, write a :func:`script`.
"""

from __future__ import annotations

import http.client
import json as stdlib_json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import InitVar, dataclass
from typing import Any, TypeAlias, cast

import h11
import trio

from ._arguments import (
    Fields,
    Pairs,
    check_bool,
    check_bytes,
    check_callable,
    check_count,
    check_seconds,
    read_fields,
)
from ._request import Request, check_begins_request, check_for_an_origin, read_request
from ._stream import served

_BODILESS = {204, 304}


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer to a request.

    Where the body goes is the server's business: it adds ``Content-Length``, or
    ``Transfer-Encoding`` if *chunked*, unless *headers* has one of them; and it sends no body where
    HTTP allows none.

    Everything is checked when a reply is made, so that a mistake shows in the handler's own line.

    Attributes:
      status: the status code, from 200 to 999.
      headers: the fields, as a mapping or as pairs of name and value, in order. Kept as pairs.
      body: the body, or its pieces; all of it bytes. With *chunked*, each piece is a chunk.
      delay: how long the answer takes, in seconds.
      gap: how long to pause between two pieces of the body, in seconds.
      chunked: whether to send the body in chunks.
      trailers: fields to send after a chunked body, as *headers*.
      close: whether to say ``Connection: close``, and to do it.
      drop: whether to close the connection without having said so.
      json: the body, as an object to be encoded; None for no such body. Adds ``Content-Type``,
        unless *headers* has it. Made into *body* and *headers*, and not kept.

    Raises:
      TypeError, ValueError: a field has not the type, or not a value, that is told here; or HTTP
        would not allow a header field.
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
    json: InitVar[Any] = None

    def __post_init__(self, json: Any) -> None:
        check_count("Reply.status", self.status, least=200, most=999)
        for name in ("delay", "gap"):
            check_seconds(f"Reply.{name}", getattr(self, name))
        for name in ("chunked", "close", "drop"):
            check_bool(f"Reply.{name}", getattr(self, name))
        for name in ("headers", "trailers"):
            object.__setattr__(self, name, read_fields(f"Reply.{name}", getattr(self, name)))
        object.__setattr__(self, "body", _read_body(self.body))
        if json is not None:
            self._encode(json)
        self._check_with_h11()

    def _encode(self, json: Any) -> None:
        if self.body not in (b"", ()):
            raise ValueError("Reply.body and Reply.json are two bodies: give one of them")
        object.__setattr__(self, "body", stdlib_json.dumps(json).encode())
        headers = cast(Pairs, self.headers)
        if "content-type" not in {name.lower() for name, _ in headers}:
            with_type = (*headers, ("Content-Type", "application/json"))
            object.__setattr__(self, "headers", with_type)

    def _check_with_h11(self) -> None:
        """Let h11 say what it would say when the reply is sent."""
        try:
            head = _head(self)
            h11.EndOfMessage(headers=list(cast(Pairs, self.trailers)))
        except h11.LocalProtocolError as exc:
            raise ValueError(f"Reply: this is not HTTP: {exc}") from exc
        if self.trailers and (b"transfer-encoding", b"chunked") not in head.headers:
            raise ValueError("Reply.trailers come behind a chunked body: chunked=True")


Respond: TypeAlias = Callable[[Request], Awaitable[Reply]]
"""Answers one request."""


def always(reply: Reply) -> Respond:
    """Answer each request with *reply*."""

    async def respond(request: Request) -> Reply:
        return reply

    return respond


class HTTPServer:
    """Serves each connection as HTTP/1.1 says, with keep-alive. See :func:`http_server`.

    A handler for :meth:`Network.listen` and for :func:`trio.serve_tcp`.

    Attributes:
      requests: what was received so far, over all connections, in order.
      connections: how many connections there have been.
    """

    def __init__(self, respond: Respond) -> None:
        check_callable("respond", respond)
        self.requests: list[Request] = []
        self.connections: int = 0
        self._respond = respond

    async def __call__(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until either side closes it.

        If it raises, the connection is left open: :class:`Network` and ``trio.serve_tcp`` close
        it, once they know of the failure.

        Raises:
          h11.RemoteProtocolError: the client sent something that is not HTTP, or bytes behind a
            body that don't begin a request, or credentials that are for a proxy.
          Exception: whatever *respond* raised.
        """
        self.connections += 1
        connection = Connection(stream, self.connections)
        async with served(stream):
            while (request := await connection.receive()) is not None:
                self.requests.append(request)
                check_for_an_origin(request)
                reply = await self._respond(request)
                if not isinstance(reply, Reply):
                    raise TypeError(f"the server has to be given a Reply, not {reply!r}")
                if not await connection.answer(request, reply):
                    break


def http_server(respond: Respond) -> HTTPServer:
    """Make a server that answers each request with what ``await respond(request)`` returns.

    It reads each request to its end before it asks for the reply, having sent ``100 Continue`` if
    the client waits for that. It goes on with the next request on the same connection unless one of
    both sides has asked for its end. A client that goes away in the middle is no error; one that
    sends something else than HTTP is, and so is whatever *respond* raises. Each byte behind a body
    has to begin the next request, also where the server closes the connection and serves no more.

    Raises:
      TypeError: *respond* can't be called.
    """
    return HTTPServer(respond)


class Connection:
    """The server's side of one connection, request by request."""

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

    async def answer(self, request: Request, reply: Reply) -> bool:
        """Send *reply*, and tell whether another request can follow."""
        await self._send(request, reply)
        return self.goes_on() and not reply.drop

    async def _send(self, request: Request, reply: Reply) -> None:
        await trio.sleep(reply.delay)
        pieces = _pieces(reply.body) if _may_have_body(request, reply) else []
        wire = self._protocol.send(_head(reply))
        for index, piece in enumerate(pieces):
            if index and reply.gap:
                await self._stream.send_all(wire)
                await trio.sleep(reply.gap)
                wire = b""
            wire += self._protocol.send(h11.Data(data=piece))
        trailers = list(cast(Pairs, reply.trailers))
        wire += self._protocol.send(h11.EndOfMessage(headers=trailers))
        await self._stream.send_all(wire)

    def goes_on(self) -> bool:
        """Tell whether another request can follow.

        What has come behind the last one has to begin the next, also where that is not served.
        """
        check_begins_request(self._protocol.trailing_data[0])
        return self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE

    async def pass_on(self, event: h11.Event) -> None:
        """Send what another server has said, as a proxy does."""
        await self._stream.send_all(self._protocol.send(event) or b"")

    async def read_ahead(self) -> None:
        """Read what comes while a request is served, for later; return when the client is gone."""
        while data := await self._stream.receive_some():
            self._protocol.receive_data(bytes(data))

    @property
    def ahead(self) -> bytes:
        """What has come behind the last request."""
        return self._protocol.trailing_data[0]


def _read_body(body: object) -> bytes | tuple[bytes, ...]:
    if isinstance(body, Iterable) and not isinstance(body, bytes | bytearray | memoryview | str):
        pieces = tuple(body)
        for piece in pieces:
            check_bytes("a piece of Reply.body", piece)
        return pieces
    check_bytes("Reply.body", body)
    return cast(bytes, body)


def _pieces(body: bytes | Sequence[bytes]) -> list[bytes]:
    return [body] if isinstance(body, bytes) else list(body)


def _may_have_body(request: Request, reply: Reply) -> bool:
    return request.method != "HEAD" and reply.status not in _BODILESS


def _head(reply: Reply) -> h11.Response:
    headers = list(cast(Pairs, reply.headers))
    names = {name.lower() for name, _ in headers}
    if names.isdisjoint({"content-length", "transfer-encoding"}):
        if reply.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif reply.status not in _BODILESS:
            headers.append(("Content-Length", str(sum(map(len, _pieces(reply.body))))))
    if reply.close:
        headers.append(("Connection", "close"))
    reason = http.client.responses.get(reply.status, "").encode("ascii")
    return h11.Response(status_code=reply.status, headers=headers, reason=reason)
