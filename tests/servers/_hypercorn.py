"""hypercorn on Trio, in the event loop of the test: an ASGI application, WebSockets too."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import hypercorn
import hypercorn.trio
import trio


@asynccontextmanager
async def serve_hypercorn(
    certificate: Path | None = None, *, keep_alive_timeout: float = 5.0
) -> AsyncIterator[str]:
    """Serve :func:`app` with hypercorn in this very event loop; yields its URL, without a slash.

    Args:
      certificate: a PEM file with key and certificate chain, for TLS.
      keep_alive_timeout: hypercorn closes a connection that was idle for so many seconds.
    """
    config = hypercorn.Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.keep_alive_timeout = keep_alive_timeout
    config.graceful_timeout = 0.5  # for requests still under way when the block ends
    if certificate is not None:
        config.certfile = config.keyfile = str(certificate)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(
            lambda task_status: hypercorn.trio.serve(
                app, config, shutdown_trigger=stop.wait, task_status=task_status
            )
        )
        try:
            yield urls[0]
        finally:
            stop.set()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application behind hypercorn: one behaviour for each path."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await _websocket(scope, receive, send)
    else:
        query = dict(parse_qsl(scope["query_string"].decode()))
        await ROUTES.get(scope["path"], _not_found)(scope, query, receive, send)


async def _lifespan(receive: Any, send: Any) -> None:
    for event in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{event}"
        await send({"type": f"lifespan.{event}.complete"})


async def _websocket(scope: Any, receive: Any, send: Any) -> None:
    """Echo; ``/early`` speaks first; ``/refuse`` doesn't want to, and says so with 403."""
    path = scope["path"]
    assert (await receive())["type"] == "websocket.connect"
    if path == "/refuse":
        await send({"type": "websocket.close"})  # before it was accepted: 403
        return
    await send({"type": "websocket.accept"})
    if path == "/early":
        await send({"type": "websocket.send", "text": "early"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({**message, "type": "websocket.send"})


async def respond(send: Any, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _hello(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    await respond(send, b"Hello, world!\n", 200, (b"content-type", b"text/plain; charset=utf-8"))


async def _not_found(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    await respond(send, b"Not found\n", 404)


async def _chunked(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """No length told: ``?chunks=3&seconds=0`` of them, and a pause before each."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for i in range(int(query.get("chunks", 3))):
        await trio.sleep(float(query.get("seconds", 0)))
        await send({"type": "http.response.body", "body": b"chunk %d\n" % i, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _slow(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """Nothing at all for ``?seconds=1``, then an answer."""
    await trio.sleep(float(query.get("seconds", 1)))
    await respond(send, b"at last\n")


async def _echo(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """The body of the request, once it is here as a whole."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    await respond(send, bytes(body), 200, (b"x-method", scope["method"].encode()))


async def _headers(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """The fields of the request, as JSON: a list of name and value."""
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    await respond(send, json.dumps(fields).encode(), 200, (b"content-type", b"application/json"))


async def _events(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """Server-sent events, numbered: two behind Last-Event-ID, then the end. 204 behind the 6th."""
    last = int(dict(scope["headers"]).get(b"last-event-id", b"0"))
    if last >= 6:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    kind = (b"content-type", b"text/event-stream")
    await send({"type": "http.response.start", "status": 200, "headers": [kind]})
    for number in (last + 1, last + 2):
        event = f"retry: 100\nid: {number}\ndata: event\ndata: {number}\n\n: cut here".encode()
        for piece in (event[:15], event[15:-4]):  # In the middle of a field.
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await trio.sleep(0.01)
        await send({"type": "http.response.body", "body": b" or not\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"id: 99\ndata: never whole"})


async def _refuse(scope: Any, query: dict[str, str], receive: Any, send: Any) -> None:
    """413 without a look at the body."""
    await respond(send, b"too much\n", 413)


ROUTES = {
    "/": _hello,
    "/chunked": _chunked,
    "/slow": _slow,
    "/echo": _echo,
    "/headers": _headers,
    "/events": _events,
    "/refuse": _refuse,
}
