"""The clients on asyncio that have a pool."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import aiohttp

from .clients import KEEP_SECONDS, Options, pieces


class Aiohttp:
    def __init__(self, options: Options) -> None:
        self._options = options

    async def __aenter__(self) -> Self:
        # Not sooner: it wants to be made where the loop runs.
        connector = aiohttp.TCPConnector(
            limit=self._options.connections,
            keepalive_timeout=KEEP_SECONDS,
            ssl=self._options.ssl_context(),
        )
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def caller(self, origin: str) -> Self:
        return self

    async def get(self, url: str) -> bytes:
        async with self._session.get(url) as response:
            return await response.read()

    async def download(self, url: str) -> int:
        received = 0
        async with self._session.get(url) as response:
            async for piece in response.content.iter_any():
                received += len(piece)
        return received

    async def upload(self, url: str, size: int) -> bytes:
        headers = {"Content-Length": str(size)}
        async with self._session.post(url, data=pieces(size), headers=headers) as response:
            return await response.read()

    async def hold(self, url: str, arrive: Callable[[], Awaitable[object]]) -> None:
        async with self._session.get(url) as response:
            await arrive()
            await response.read()
