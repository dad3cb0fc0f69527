"""The web server that the examples talk to: hypercorn, on Trio, in the example's own event loop.

Not an example itself. What it serves is an ASGI application: see ``reply`` for the shortest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hypercorn
import hypercorn.trio
import trio


@asynccontextmanager
async def serve(app: Any, *, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve *app* on a port that the system chooses; yields its URL, without a slash at the end."""
    config = hypercorn.Config()
    config.bind = [f"{host}:0"]
    config.errorlog = None  # the example's output is what the reader wants to see
    config.graceful_timeout = 0.5
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(
            lambda task_status: hypercorn.trio.serve(
                _without_lifespan(app), config, shutdown_trigger=stop.wait, task_status=task_status
            )
        )
        try:
            yield urls[0]
        finally:
            stop.set()


async def reply(send: Any, body: bytes, status: int = 200) -> None:
    """Answer an ASGI request."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def _without_lifespan(app: Any) -> Any:
    """Answer the server's "I am starting" and "I am stopping" on behalf of an application."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})

    return wrapped
