"""A program written for httpx, on a pool of triopool: one line is different.

    pip install -e ".[examples]"
    python examples/httpx_drop_in.py

Cookies, redirects, event hooks, encodings stay httpx's. What changes is where the connections live.
For httpx2 write ``httpx2`` and ``triopool.httpx2``.
"""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import httpx
import trio
from _server import reply, serve

from triopool import PoolStatistics
from triopool.httpx import TriopoolTransport


async def program(client: httpx.AsyncClient) -> None:
    """What there was before, and knows nothing of triopool."""
    # A redirect, and a cookie that the next requests need.
    response = await client.post("/login", data={"name": "ada"})
    print(f"login: {[r.status_code for r in response.history]}, then {response.status_code}")
    print(f"  {response.url.path} says {response.text!r}, cookies {dict(client.cookies)}")

    # Many at once.
    lengths: list[int] = []

    async def fetch(number: int) -> None:
        response = await client.get("/item", params={"number": number})
        lengths.append(len(response.raise_for_status().content))

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(fetch, number)
    print(f"items: {len(lengths)} answers, {sum(lengths)} bytes")

    # A body that is larger than one likes to keep.
    size = 0
    async with client.stream("GET", "/large") as response:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
    print(f"large: {size} bytes, in pieces")

    # A server that hangs: httpx's timeout, and a deadline of Trio's.
    try:
        await client.get("/never", timeout=httpx.Timeout(5, read=0.1))
    except httpx.ReadTimeout as exc:
        print(f"timeout: {type(exc).__name__}, caused by triopool's {type(exc.__cause__).__name__}")
    with trio.move_on_after(0.1) as scope:
        await client.get("/never")
    print(f"deadline: cancelled = {scope.cancelled_caught}")


async def main() -> None:
    async with serve(app) as url:
        transport = TriopoolTransport(max_connections=10)
        async with httpx.AsyncClient(
            base_url=url,
            follow_redirects=True,
            transport=transport,  # this is the one line
        ) as client:
            await program(client)
            report(transport.pool.statistics())
        print(f"left: {transport.pool.statistics().open} open")


def report(now: PoolStatistics) -> None:
    requests = now.reused + now.handed_over
    print(f"pool: {requests} requests, {now.dialled} connections opened")
    print(f"  busy {now.busy}, waiting {now.waiting}, idle {now.idle}")


# ── The server's side ──────────────────────────────────────────────────────────────────────────


async def app(scope: Any, receive: Any, send: Any) -> None:
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    cookies = SimpleCookie(headers.get("cookie", ""))
    match scope["path"]:
        case "/login":
            answer = [(b"location", b"/home"), (b"set-cookie", b"session=42"), NO_BODY]
            await send({"type": "http.response.start", "status": 303, "headers": answer})
            await send({"type": "http.response.body", "body": b""})
        case _ if "session" not in cookies:
            await reply(send, b"who are you?", 403)
        case "/home":
            await reply(send, b"welcome")
        case "/large":
            await reply(send, bytes(4 * 2**20))
        case "/never":
            await trio.sleep_forever()
        case _:
            await trio.sleep(0.005)
            await reply(send, scope["query_string"])


NO_BODY = (b"content-length", b"0")


if __name__ == "__main__":
    trio.run(main)
