"""The HTTP proxy that an example talks to: it forwards, opens tunnels, and may want credentials.

Not an example itself, and far from a proxy for anything else: it reads no request bodies.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

import triopool


@asynccontextmanager
async def serve_proxy(credentials: str = "") -> AsyncIterator[str]:
    """Serve on a port that the system chooses; yields the URL, without the credentials."""
    line = b"\r\nProxy-Authorization: Basic %b\r\n" % b64encode(credentials.encode())
    wanted = line if credentials else b""
    async with triopool.ConnectionPool() as pool, trio.open_nursery() as nursery:
        handler = partial(serve_client, pool, wanted)
        (listener,) = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def serve_client(
    pool: triopool.ConnectionPool, wanted: bytes, client: trio.SocketStream
) -> None:
    """Serve one connection, until the client closes it or has a tunnel."""
    while head := await read_head(client):
        method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
        if wanted not in head:
            await answer(client, "407 Proxy Authentication Required", "Basic realm=example")
        elif method == "CONNECT":
            host, _, port = target.rpartition(":")
            async with await trio.open_tcp_stream(host, int(port)) as origin:
                await client.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(copy, client, origin)
                    nursery.start_soon(copy, origin, client)
            return
        else:
            # What is forwarded has the whole URL on its first line.
            try:
                response = await pool.request(method, target)
            except triopool.ConnectError:
                await answer(client, "502 Bad Gateway")
            else:
                status = f"{response.status_code} {response.reason}"
                await answer(client, status, content=response.content)


async def read_head(client: trio.SocketStream) -> bytes:
    """The head of a request; nothing if the client has closed the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = await client.receive_some()
        if not data:
            return b""
        head += data
    return head


async def answer(
    client: trio.SocketStream, status: str, challenge: str = "", content: bytes = b""
) -> None:
    fields = f"Proxy-Authenticate: {challenge}\r\n" if challenge else ""
    fields += f"Content-Length: {len(content)}\r\n"
    await client.send_all(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode() + content)


async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    async for data in source:
        await sink.send_all(data)
    await sink.send_eof()
