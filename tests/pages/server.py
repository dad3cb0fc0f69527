"""The server that the blocks of our pages talk to: it stands for all hosts of example.org.

* ``/echo`` sends back what it is sent; ``/chat`` does so piece by piece, or message by message to
  whoever asks for a WebSocket.
* ``/moved`` redirects. ``/log`` has two lines. ``/events`` has two events, and then no more.
* ``/login`` sets a cookie. ``/missing`` is a 404. ``/users`` is in pages.
* It sends bytes back to whoever asks for another protocol, or does not speak HTTP.
* Everything else is answered with 200 and ``{"hello": "world"}``.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import h11
import trio
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping
from wsproto.events import Request as WebSocketRequest

from triopool.testing import Reply, Request, http_server


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Run the server; its URL, without a slash at the end."""
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, serve_connection, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def respond(request: Request) -> Reply:
    match request.target.partition("?")[0].rpartition("/")[2]:
        case "moved":
            return Reply(status=302, headers=[("Location", "/here")])
        case "missing":
            return Reply(status=404)
        case "log":
            return Reply(headers={"Content-Type": "text/plain"}, body=b"one\ntwo\n")
        case "rows":
            return Reply(body=b'{"id": 1}\n{"id": 2}\n')
        case "events":
            # Two events, and when they have been seen no more.
            if request.header("Last-Event-ID"):
                return Reply(status=204)
            events = b"retry: 100\n\nevent: add\ndata: [1]\n\nid: 2\ndata: [2]\n\n"
            return Reply(headers={"Content-Type": "text/event-stream"}, body=events)
        case "login":
            return Reply(headers={"Set-Cookie": "sid=42"})
        case "pages":
            link = [] if "page=2" in request.target else [("Link", '<?page=2>; rel="next"')]
            return Reply(headers=link, json=["one", "two"])
        case "echo":
            content_type = request.header("Content-Type") or "text/plain"
            return Reply(headers=[("Content-Type", content_type)], body=request.body)
    return Reply(headers=[("Content-Type", "application/json")], body=b'{"hello": "world"}\n')


async def serve_connection(stream: trio.SocketStream) -> None:
    """Serve whatever the head of the first request asks for."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some()
        if not data:
            return
        head += data
        if b" HTTP/1.1\r\n" not in head and b"\n" in head:
            await stream.send_all(head)
            return
    upgrade = re.search(rb"^upgrade: *(.*?)\r$", head, re.IGNORECASE | re.MULTILINE)
    if upgrade is not None and upgrade[1].lower() == b"websocket":
        await serve_websocket(stream, head)
    elif upgrade is not None:
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % upgrade[1]
        )
        async for data in stream:
            await stream.send_all(data)
    elif b" /chat " in head:
        await chat(stream, head)
    else:
        await http_server(respond)(trio.StapledStream(stream, Replayed(head, stream)))


async def chat(stream: trio.SocketStream, head: bytes) -> None:
    """Send back each piece of the body as it comes."""
    protocol = h11.Connection(h11.SERVER)
    protocol.receive_data(head)
    while not isinstance(event := protocol.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Request):
            chunked = h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked")])
            await stream.send_all(protocol.send(chunked) or b"")
        elif isinstance(event, h11.Data):
            await stream.send_all(protocol.send(h11.Data(data=bytes(event.data))) or b"")
        else:
            protocol.receive_data(await stream.receive_some())
    await stream.send_all(protocol.send(event) or b"")
    await stream.aclose()


async def serve_websocket(stream: trio.SocketStream, head: bytes) -> None:
    """Send back each message."""
    protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    data = head
    while True:
        protocol.receive_data(data)
        for event in protocol.events():
            match event:
                case WebSocketRequest(subprotocols=offered):
                    chosen = offered[0] if offered else None
                    await stream.send_all(protocol.send(AcceptConnection(subprotocol=chosen)))
                case Message(data=message):
                    await stream.send_all(protocol.send(Message(data=message)))
                case Ping() | CloseConnection():
                    await stream.send_all(protocol.send(event.response()))
        if protocol.state is wsproto.connection.ConnectionState.CLOSED:
            return
        data = await stream.receive_some()
        if not data:
            return


class Replayed(trio.abc.ReceiveStream):
    """What is received, with *lead*, which has been read already, once more in front of it."""

    def __init__(self, lead: bytes, stream: trio.SocketStream) -> None:
        self._lead = lead
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self._lead:
            return bytes(await self._stream.receive_some(max_bytes))
        await trio.lowlevel.checkpoint()
        lead, self._lead = self._lead, b""
        return lead

    async def aclose(self) -> None:
        await self._stream.aclose()
