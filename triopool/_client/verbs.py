"""The usual methods, by their names: what each is short for, said once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from .._request.options import RequestOptions

if TYPE_CHECKING:
    from .response import Response


class Verbs:
    """For whatever has a ``request()``: a pool, a leased connection."""

    if TYPE_CHECKING:

        async def request(
            self, method: str, url: str, **options: Unpack[RequestOptions]
        ) -> Response: ...

    async def get(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """``request("GET", url, ...)``"""
        return await self.request("GET", url, **options)

    async def head(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """``request("HEAD", url, ...)``"""
        return await self.request("HEAD", url, **options)

    async def post(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """``request("POST", url, ...)``"""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """``request("PUT", url, ...)``"""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """``request("PATCH", url, ...)``"""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """``request("DELETE", url, ...)``"""
        return await self.request("DELETE", url, **options)

    async def options(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """``request("OPTIONS", url, ...)``"""
        return await self.request("OPTIONS", url, **options)
