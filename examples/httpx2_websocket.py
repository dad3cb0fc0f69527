"""httpx2's WebSockets, on a pool of triopool: each holds one slot, among all other requests.

    pip install -e ".[examples]"
    python examples/httpx2_websocket.py

The same goes for httpx with httpx-ws: ``aconnect_ws(url, client)``.
"""

from __future__ import annotations

from typing import Any

import httpx2
import trio
from _server import reply, serve
from httpx2.websockets import WebSocketDisconnect, WebSocketUpgradeError

import triopool
from triopool.httpx2 import TriopoolTransport


async def main() -> None:
    async with (
        serve(app) as url,
        triopool.ConnectionPool(max_connections=2) as pool,
        httpx2.AsyncClient(base_url=url, transport=TriopoolTransport(pool)) as client,
    ):
        async with client.websocket("/shout") as websocket:
            await websocket.send_text("hello")
            print(f"heard {await websocket.receive_text()!r}")
            await websocket.send_bytes(b"\x01\x02\x03")
            print(f"heard {await websocket.receive_bytes()!r}")
            await websocket.send_text("ü" * 10_000)
            print(f"heard {len(await websocket.receive_text())} characters")

            # Other requests go through the pool's other connection meanwhile.
            print(f"a request beside it: {(await client.get('/')).text}")
            print(f"open: {slots(pool)}")

            # To give up on listening loses nothing.
            with trio.move_on_after(0.05) as scope:
                await websocket.receive_text()
            print(f"cancelled while it listened: {scope.cancelled_caught}")
            await websocket.send_text("still there?")
            print(f"heard {await websocket.receive_text()!r}")

            await websocket.send_text("bye")
            try:
                await websocket.receive_text()
            except WebSocketDisconnect as exc:
                print(f"the server left: {exc.code}, {exc.reason!r}")
        print(f"closed: {slots(pool)}")

        try:
            async with client.websocket("/private"):
                pass
        except WebSocketUpgradeError as exc:
            print(f"refused: {exc.response.status_code}")

        with trio.move_on_after(0.1):
            async with client.websocket("/shout") as websocket:
                await websocket.receive_text()  # the server waits for us
        print(f"cancelled: {slots(pool)}")


def slots(pool: triopool.ConnectionPool) -> str:
    now = pool.statistics()
    return f"{now.busy} of {now.max_connections} connections busy, {now.waiting} waiting"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The server's side: gives back in capitals what it hears, until it hears "bye"."""
    if scope["type"] == "http":
        await reply(send, b"hello")
        return
    await receive()
    if scope["path"] == "/private":
        await send({"type": "websocket.close"})  # before it was accepted: 403
        return
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 1000, "reason": "good-bye"})
        elif message.get("text") is not None:
            await send({"type": "websocket.send", "text": message["text"].upper()})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"][::-1]})


if __name__ == "__main__":
    trio.run(main)
