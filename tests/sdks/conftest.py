"""The server of an SDK, on loopback."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from transports.world import tcp

from triopool.testing import HTTPServer, Reply, Request, http_server

Serve: TypeAlias = Callable[
    [Callable[[Request], Awaitable[Reply]]], AbstractAsyncContextManager[tuple[str, HTTPServer]]
]


def sdk(name: str) -> Any:
    """A fixture that is an SDK, by the first part of its name, or else skips the test.

    On CI, where the extra is installed in one environment, the test fails there.
    """

    @pytest.fixture(name=name.partition(".")[0])
    def imported() -> Any:
        try:
            return importlib.import_module(name)
        except ImportError as exc:
            reason = f'needs pip install -e ".[sdks]": {exc}'
            if os.environ.get("TRIOPOOL_SDKS"):
                pytest.fail(reason)
            pytest.skip(reason)

    return imported


openai = sdk("openai")
anthropic = sdk("anthropic")
mcp = sdk("mcp")
ollama = sdk("ollama")
hishel = sdk("hishel")
respx = sdk("respx")
httpx_plugin = sdk("pytest_httpx")  # A name that begins with pytest_ would be a hook.
vcr = sdk("vcr")
opentelemetry = sdk("opentelemetry.instrumentation.httpx")


@pytest.fixture
def serve() -> Serve:
    """The URL of a server with these answers, and the server, which knows what it was asked."""

    @asynccontextmanager
    async def begin(
        answer: Callable[[Request], Awaitable[Reply]],
    ) -> AsyncIterator[tuple[str, HTTPServer]]:
        server = http_server(answer)
        async with tcp(server) as url:
            yield url, server

    return begin


@pytest.fixture
def as_json() -> Callable[..., Reply]:
    """A reply with an object in it."""

    def reply(what: object) -> Reply:
        return Reply(body=json.dumps(what).encode(), headers={"Content-Type": "application/json"})

    return reply
