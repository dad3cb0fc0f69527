"""A WebSocket client on a connection of the pool, as the library has it.

pip install -e ".[examples]"
python examples/websocket.py
"""

from __future__ import annotations

from typing import Any

import trio
from _server import serve

import triopool
from triopool.websocket import WebSocketBroken, connect


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The server's side: it shouts what it hears."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"].upper()})


async def main() -> None:
    async with serve(app) as url, triopool.ConnectionPool(max_connections=1) as pool:
        async with connect(pool, url, max_message_bytes=100_000) as ws:
            print(f"busy: {pool.statistics().busy} of {pool.max_connections}")
            async with trio.open_nursery() as nursery:
                for word in ("one", "two", "three"):
                    nursery.start_soon(ws.send, word)
            heard = [await ws.receive() for _ in range(3)]
            print(f"heard {sorted(heard)}, a pong after less than a second: {await ws.ping() < 1}")
            with trio.move_on_after(0.05) as scope:
                await ws.receive()
            print(f"cancelled while it listened: {scope.cancelled_caught}; nothing is lost by that")
            await ws.send("x" * 100_001)
            try:
                await ws.receive()
            except WebSocketBroken as exc:
                print(f"too much: {exc}")
        print(f"busy: {pool.statistics().busy} of {pool.max_connections}")


if __name__ == "__main__":
    trio.run(main)
