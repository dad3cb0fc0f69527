"""Lines, objects, events, pages and a file, out of bodies that are cut short.

    python examples/streams.py

The servers are in memory, on a clock that jumps, so that all of it takes no time. With a server
that is real nothing would be different.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import trio
from trio.testing import MockClock

import triopool
from triopool.testing import Close, Conversation, Network, ReceiveRequest, Reply, Request, Send

URL = "http://server.example"
FILE = os.urandom(300_000)
PAGES = 3


async def respond(request: Request) -> Reply:
    """The server's side."""
    if request.target == "/log":
        return Reply(body=[b"12:00:01 sta", b"rted\r\n12:00:02 st", b"opped\r\n"], gap=0.5)
    if request.target == "/rows":
        return Reply(body=b'{"id": 1}\nspam\n{"id": 3}\n')
    if request.target == "/events":
        return events_behind(request.header("Last-Event-ID"))
    page = int(request.target.removeprefix("/pages/"))
    more = {"Link": f'</pages/{page + 1}>; rel="next"'} if page < PAGES else {}
    return Reply(json={"page": page}, headers=more)


def events_behind(last: str | None) -> Reply:
    """The events that a client has not seen. The stream ends when they have been sent."""
    unseen = {None: b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n", "2": b"id: 3\ndata: c\n\n"}
    if last not in unseen:
        return Reply(status=204)  # No more, and no use to ask again.
    return Reply(headers={"Content-Type": "text/event-stream"}, body=unseen[last])


async def serve_file(stream: trio.abc.Stream) -> None:
    """Sends 100,000 bytes of the file, from where it is asked to; then the connection breaks."""
    conversation = Conversation(stream, number=1)
    await ReceiveRequest()(conversation)
    asked = conversation.requests[-1].header("range")
    start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
    head = (
        f'HTTP/1.1 {206 if start else 200} OK\r\nETag: "v1"\r\n'
        f"Content-Length: {len(FILE) - start}\r\n"
        f"Content-Range: bytes {start}-{len(FILE) - 1}/{len(FILE)}\r\n\r\n"
    )
    await Send(head.encode() + FILE[start : start + 100_000])(conversation)
    await Close()(conversation)


async def read_lines(pool: triopool.ConnectionPool) -> None:
    async with pool.stream("GET", f"{URL}/log") as response:
        async for line in response.iter_lines():
            print("line:", line)
            break  # Nothing has to be closed: the block frees the connection.


async def read_objects(pool: triopool.ConnectionPool) -> None:
    rows = (await pool.get(f"{URL}/rows")).iter_json_lines()
    await anext(rows)
    try:
        await anext(rows)
    except ValueError:
        print("line 2 is not JSON, and line 3 is", await anext(rows))


async def read_events(pool: triopool.ConnectionPool) -> None:
    async with pool.events(f"{URL}/events") as events:
        response = events.response
        async for event in events:
            if events.response is not response:
                response = events.response
                print("connected again")
            print(f"event {event.id}: {event.data}")


async def read_pages(pool: triopool.ConnectionPool) -> None:
    pages = []
    url: str | None = f"{URL}/pages/1"
    while url is not None:
        response = (await pool.get(url)).raise_for_status()
        pages.append(response.json()["page"])
        following = response.links.get("next")
        url = following.url if following else None
    print("pages:", *pages)


async def save(pool: triopool.ConnectionPool, network: Network) -> None:
    network.host("files.example", "192.0.2.1")
    network.listen("192.0.2.1", 80, serve_file)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "file")
        await pool.download("http://files.example/", path, resume=True)
        same = await trio.Path(path).read_bytes() == FILE
    requests = network.connections_accepted("192.0.2.1", 80)
    print(f"saved: {len(FILE)} bytes, the same as there: {same}, in {requests} requests")


async def main() -> None:
    async with Network() as network, network.pool() as pool:
        network.serve(URL, respond)
        await read_lines(pool)
        await read_objects(pool)
        await read_events(pool)
        await read_pages(pool)
        await save(pool, network)
        print("busy", pool.statistics().busy)


if __name__ == "__main__":
    trio.run(main, clock=MockClock(autojump_threshold=0))
