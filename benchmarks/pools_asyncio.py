"""The clients on asyncio that have a pool."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp

from .clients import KEEP_SECONDS, Options, pieces
from .pooled import Pooled


class Aiohttp(Pooled):
    _inner: aiohttp.ClientSession

    def _make(self, options: Options) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=options.connections,
            keepalive_timeout=KEEP_SECONDS,
            ssl=options.ssl_context(),
        )
        return aiohttp.ClientSession(connector=connector, proxy=options.proxy)

    async def get(self, url: str) -> bytes:
        async with self._inner.get(url) as response:
            return await response.read()

    async def download(self, url: str) -> int:
        received = 0
        async with self._inner.get(url) as response:
            async for piece in response.content.iter_any():
                received += len(piece)
        return received

    async def upload(self, url: str, size: int) -> bytes:
        headers = {"Content-Length": str(size)}
        async with self._inner.post(url, data=pieces(size), headers=headers) as response:
            return await response.read()

    async def hold(self, url: str, arrive: Callable[[], Awaitable[object]]) -> None:
        async with self._inner.get(url) as response:
            await arrive()
            await response.read()
