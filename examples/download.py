"""Download a file, with a progress bar, in constant memory.

    pip install -e ".[examples]"
    python examples/download.py

The server is hypercorn, on loopback; the file goes to a temporary directory.
"""

from __future__ import annotations

import hashlib
import tempfile
import tracemalloc
from typing import Any

import trio
from _server import serve
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

import triopool

PIECE = bytes(range(256)) * 256  # 64 KiB
PIECES = 512


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The server's side: 32 MiB, of a known length."""
    length = (b"content-length", b"%d" % (len(PIECE) * PIECES))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    for _ in range(PIECES):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def download(pool: triopool.ConnectionPool, url: str, path: trio.Path) -> str:
    """Save what *url* has to offer as *path*; return its SHA-256.

    *path* is there as a whole or not at all: a response that is cut short raises, and so does a
    cancellation, before the last step. What there was of it stays behind as ``*.part``.
    """
    digest = hashlib.sha256()
    unfinished = path.with_name(path.name + ".part")
    columns = ("[progress.description]{task.description}", BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn()) as progress:
        async with pool.stream("GET", url) as response:
            response.raise_for_status()
            # Not every server tells the length; the bar goes without it, then.
            length = response.headers.get("Content-Length")
            bar = progress.add_task(path.name, total=int(length) if length else None)
            async with await trio.open_file(unfinished, "wb") as file:
                # Each piece is what has arrived, and the next is not read before this one is
                # written: a slow disk slows the server down, and nothing piles up here.
                async for piece in response:
                    await file.write(piece)
                    digest.update(piece)
                    progress.advance(bar, len(piece))
    await unfinished.rename(path)
    return digest.hexdigest()


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = trio.Path(directory, "file.bin")
        async with serve(app) as url, triopool.ConnectionPool() as pool:
            tracemalloc.start()
            digest = await download(pool, url, path)
            _, peak = tracemalloc.get_traced_memory()
        size = (await path.stat()).st_size
    expected = hashlib.sha256(PIECE * PIECES).hexdigest()
    print(f"{size} bytes, as the server sent them: {digest == expected}")
    print(f"memory at its peak: {peak / 2**20:.1f} MiB, server and progress bar included")


if __name__ == "__main__":
    trio.run(main)
