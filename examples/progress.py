"""Upload a file and download it again, each with a progress bar, in constant memory.

    pip install -e ".[examples]"
    python examples/progress.py

The server is hypercorn, on loopback; the files are in a temporary directory. Where the output is no
terminal, each bar is printed once, when it is full.
"""

from __future__ import annotations

import hashlib
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import rich.progress
import trio
from _server import reply, serve

import triopool

PIECE = bytes(range(256)) * 256  # 64 KiB
PIECES = 512


class Shelf:
    """The server's side: keeps what is PUT, and answers GET with it."""

    def __init__(self, path: trio.Path) -> None:
        self.path = path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "PUT":
            async with await trio.open_file(self.path, "wb") as file:
                more = True
                while more:
                    message = await receive()
                    await file.write(message["body"])
                    more = message["more_body"]
            await reply(send, b"", status=201)
            return
        length = (b"content-length", b"%d" % (await self.path.stat()).st_size)
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        async with await trio.open_file(self.path, "rb") as file:
            while piece := await file.read(len(PIECE)):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


Bars = rich.progress.Progress


async def upload(pool: triopool.ConnectionPool, path: Path, url: str, bars: Bars) -> None:
    """Send a file. It is read as it is sent, and its length is told to the server."""
    bar = bars.add_task(f"upload {path.name}")

    def show(now: triopool.Progress) -> None:
        bars.update(bar, completed=now.sent, total=now.to_send)

    (await pool.put(url, content=path, on_progress=show)).raise_for_status()


async def download(pool: triopool.ConnectionPool, url: str, path: trio.Path, bars: Bars) -> None:
    """Save what *url* has to offer as *path*.

    *path* is there as a whole or not at all. What comes is written before more is read: a slow disk
    slows the server down, and nothing piles up here.
    """
    bar = bars.add_task(f"download {path.name}", total=None)

    def show(now: triopool.Progress) -> None:
        # What has come over the wire. Not every server tells how much it will be: None, then.
        bars.update(bar, completed=now.received, total=now.to_receive)

    await pool.download(url, path, on_progress=show)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        here, there, back = (Path(directory, name) for name in ("here", "there", "back"))
        with here.open("wb") as file:
            file.writelines(PIECE for _ in range(PIECES))
        columns = (
            rich.progress.TextColumn("{task.description:<14}"),
            rich.progress.BarColumn(),
            rich.progress.DownloadColumn(),
            rich.progress.TransferSpeedColumn(),
        )
        async with serve(Shelf(trio.Path(there))) as url, triopool.ConnectionPool() as pool:
            tracemalloc.start()
            with Bars(*columns) as bars:
                await upload(pool, here, url, bars)
                await download(pool, url, trio.Path(back), bars)
            _, peak = tracemalloc.get_traced_memory()
        print(f"{back.stat().st_size} bytes, the same as before: {digest(here) == digest(back)}")
    print(f"memory at its peak: {peak / 2**20:.1f} MiB, server and progress bars included")


if __name__ == "__main__":
    trio.run(main)
