"""The clients on Trio that have a pool."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import triopool

from .clients import KEEP_SECONDS, PATIENCE_SECONDS, Options, pieces
from .pooled import Pooled


class Triopool(Pooled):
    _inner: triopool.ConnectionPool
    http_parser: Literal["h11", "httptools"] = "httptools"

    def _make(self, options: Options) -> triopool.ConnectionPool:
        return triopool.ConnectionPool(
            max_connections=options.connections,
            idle_timeout=KEEP_SECONDS,
            ssl_context=options.ssl_context(),
            proxy=options.proxy,
            http_parser=self.http_parser,
        )

    async def get(self, url: str) -> bytes:
        return (await self._inner.request("GET", url)).content

    async def download(self, url: str) -> int:
        received = 0
        async with self._inner.stream("GET", url) as response:
            async for piece in response:
                received += len(piece)
        return received

    async def upload(self, url: str, size: int) -> bytes:
        headers = {"Content-Length": str(size)}
        response = await self._inner.request("POST", url, content=pieces(size), headers=headers)
        return response.content

    async def hold(self, url: str, arrive: Callable[[], Awaitable[object]]) -> None:
        async with self._inner.stream("GET", url) as response:
            await arrive()
            async for _ in response:
                pass


class TriopoolWithH11(Triopool):
    http_parser = "h11"


# ── httpx and httpx2 ───────────────────────────────────────────────────────────────────────────


class Httpx(Pooled):
    library = "httpx"

    def _make(self, options: Options) -> Any:
        library = importlib.import_module(self.library)
        limits = library.Limits(
            max_connections=options.connections,
            max_keepalive_connections=options.connections,
            keepalive_expiry=KEEP_SECONDS,
        )
        return library.AsyncClient(
            limits=limits,
            verify=options.ssl_context(),
            proxy=options.proxy,
            timeout=PATIENCE_SECONDS,
            trust_env=False,
        )

    async def get(self, url: str) -> bytes:
        return bytes((await self._inner.get(url)).content)

    async def download(self, url: str) -> int:
        received = 0
        async with self._inner.stream("GET", url) as response:
            async for piece in response.aiter_bytes():
                received += len(piece)
        return received

    async def upload(self, url: str, size: int) -> bytes:
        headers = {"Content-Length": str(size)}
        response = await self._inner.post(url, content=pieces(size), headers=headers)
        return bytes(response.content)

    async def hold(self, url: str, arrive: Callable[[], Awaitable[object]]) -> None:
        async with self._inner.stream("GET", url) as response:
            await arrive()
            await response.aread()


class Httpx2(Httpx):
    library = "httpx2"


class TriopoolUnderHttpx(Httpx):
    def _make(self, options: Options) -> Any:
        library = importlib.import_module(self.library)
        bridge = importlib.import_module(f"triopool.{self.library}")
        transport = bridge.TriopoolTransport(
            max_connections=options.connections,
            idle_timeout=KEEP_SECONDS,
            ssl_context=options.ssl_context(),
            proxy=options.proxy,
        )
        return library.AsyncClient(transport=transport, timeout=PATIENCE_SECONDS, trust_env=False)


class TriopoolUnderHttpx2(TriopoolUnderHttpx):
    library = "httpx2"


# ── httpcore and httpcore2 ─────────────────────────────────────────────────────────────────────


class Httpcore(Pooled):
    library = "httpcore"

    def _make(self, options: Options) -> Any:
        library = importlib.import_module(self.library)
        return library.AsyncConnectionPool(
            proxy=None if options.proxy is None else library.Proxy(options.proxy),
            ssl_context=options.ssl_context(),
            max_connections=options.connections,
            max_keepalive_connections=options.connections,
            keepalive_expiry=KEEP_SECONDS,
        )

    async def get(self, url: str) -> bytes:
        return bytes((await self._inner.request("GET", url)).content)

    async def download(self, url: str) -> int:
        received = 0
        async with self._inner.stream("GET", url) as response:
            async for piece in response.aiter_stream():
                received += len(piece)
        return received

    async def upload(self, url: str, size: int) -> bytes:
        headers = {"Host": url.split("/")[2], "Content-Length": str(size)}
        response = await self._inner.request("POST", url, content=pieces(size), headers=headers)
        return bytes(response.content)

    async def hold(self, url: str, arrive: Callable[[], Awaitable[object]]) -> None:
        async with self._inner.stream("GET", url) as response:
            await arrive()
            await response.aread()


class Httpcore2(Httpcore):
    library = "httpcore2"
