"""Stand-ins for those who patch httpx: each replaces what its model does, in the same manner.

They are here so that every test run has them, for either library; ``tests/sdks/test_mocks.py`` has
the real ones, where they are installed.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias
from unittest import mock

from .world import Library

Answer: TypeAlias = Callable[[Any], Any | None]
"""The response to a request, both of the library; None to let the request pass."""


@contextmanager
def like_pytest_httpx(lib: Library, answer: Answer) -> Iterator[None]:
    """Replaces the method of the transport's class; what passes goes to the one that was there."""
    real = lib.client.AsyncHTTPTransport.handle_async_request

    async def mocked(transport: Any, request: Any) -> Any:
        await request.aread()
        response = answer(request)
        return await real(transport, request) if response is None else response

    with mock.patch.object(lib.client.AsyncHTTPTransport, "handle_async_request", mocked):
        yield


@contextmanager
def like_vcrpy(lib: Library, answer: Answer) -> Iterator[None]:
    """The same; takes the bodies of both to pieces, and puts others into their place."""
    real = lib.client.AsyncHTTPTransport.handle_async_request

    @functools.wraps(real)
    async def recorded(transport: Any, request: Any) -> Any:
        body = b"".join([piece async for piece in request.stream])
        request.stream = lib.client.ByteStream(body)
        response = answer(request)
        if response is not None:
            return response
        response = await real(transport, request)
        content = b"".join([piece async for piece in response.stream])
        await response.stream.aclose()
        response.stream = lib.client.ByteStream(content)
        return response

    with mock.patch.object(lib.client.AsyncHTTPTransport, "handle_async_request", recorded):
        yield


class Wrapped:
    """What wrapt makes of a function: an object that says it is that function."""

    def __init__(self, function: Any, around: Callable[..., Awaitable[Any]]) -> None:
        self._function = function
        self._around = around

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        return functools.partial(self, instance)

    def __call__(self, instance: Any, request: Any) -> Awaitable[Any]:
        return self._around(functools.partial(self._function, instance), request)


@contextmanager
def like_opentelemetry(lib: Library, answer: Answer) -> Iterator[None]:
    """Wraps the method; adds a field to the request, and lets it pass."""

    async def traced(call: Callable[[Any], Awaitable[Any]], request: Any) -> Any:
        request.headers["traceparent"] = "00-1-2-01"
        response = answer(request)
        return await call(request) if response is None else response

    transport = lib.client.AsyncHTTPTransport
    wrapped = Wrapped(transport.handle_async_request, traced)
    with mock.patch.object(transport, "handle_async_request", wrapped):
        yield


@contextmanager
def like_respx(lib: Library, answer: Answer) -> Iterator[None]:
    """Replaces the method of httpcore's pool, one floor below the transport."""
    pool = lib.core.AsyncConnectionPool
    real = pool.handle_async_request

    async def mocked(self: Any, request: Any) -> Any:
        url = lib.client.URL(
            scheme=request.url.scheme.decode(),
            host=request.url.host.decode(),
            port=request.url.port,
            raw_path=request.url.target,
        )
        asked = lib.client.Request(
            request.method.decode(), url, headers=request.headers, stream=request.stream
        )
        await asked.aread()
        request.stream = asked.stream
        response = answer(asked)
        if response is None:
            return await real(self, request)
        return lib.core.Response(
            response.status_code, headers=response.headers.raw, content=response.stream
        )

    with mock.patch.object(pool, "handle_async_request", mocked):
        yield


Patch: TypeAlias = Callable[[Library, Answer], AbstractContextManager[None]]

PATCHES: list[Patch] = [like_pytest_httpx, like_vcrpy, like_opentelemetry, like_respx]
