"""SDKs on a pool that is lent, and on the pool of the run."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import httpx2
import pytest

import triopool.httpx
import triopool.httpx2
from triopool import ConnectionPool
from triopool.testing import Reply, Request

from .conftest import Serve

Transport: TypeAlias = Callable[[Any], Any]
"""Makes a transport for ``httpx`` or ``httpx2``."""

Transports: TypeAlias = Callable[[], AbstractAsyncContextManager[Transport]]

# What they have to say of Python and of one another; and what they leave to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]

OURS = {httpx: triopool.httpx, httpx2: triopool.httpx2}


@pytest.fixture(params=["lent", "run"])
def transports(request: pytest.FixtureRequest) -> Transports:
    @asynccontextmanager
    async def begin() -> AsyncIterator[Transport]:
        if request.param == "run":
            yield lambda library: OURS[library].TriopoolTransport(lifetime="run")
            return
        async with ConnectionPool() as pool:
            yield lambda library: OURS[library].TriopoolTransport(pool)
            assert pool.is_open  # No SDK has closed it.
            assert pool.statistics().busy == 0

    return begin


# ── openai and anthropic ───────────────────────────────────────────────────────────────────────


def completion(text: str, kind: str = "chat.completion") -> dict[str, Any]:
    said = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": None, "message": said, "delta": said}
    return {"id": "1", "object": kind, "created": 1, "model": "m", "choices": [choice]}


async def openais(request: Request) -> Reply:
    if not json.loads(request.body).get("stream"):
        body = json.dumps(completion("hello")).encode()
        return Reply(body=body, headers={"Content-Type": "application/json"})
    chunks = [json.dumps(completion(text, "chat.completion.chunk")) for text in ("hel", "lo")]
    pieces = [f"data: {chunk}\n\n".encode() for chunk in (*chunks, "[DONE]")]
    return Reply(body=pieces, headers={"Content-Type": "text/event-stream"})


@pytest.mark.parametrize("made_for", [httpx2, httpx], ids=["httpx2", "httpx"])
async def test_openai(openai: Any, serve: Serve, transports: Transports, made_for: Any) -> None:
    async with serve(openais) as (url, server), transports() as transport:
        client = made_for.AsyncClient(transport=transport(made_for))
        async with openai.AsyncOpenAI(api_key="k", base_url=url, http_client=client) as sdk:
            messages = [{"role": "user", "content": "hi"}]
            answer = await sdk.chat.completions.create(model="m", messages=messages)
            assert answer.choices[0].message.content == "hello"
            pieces = await sdk.chat.completions.create(model="m", messages=messages, stream=True)
            assert [piece.choices[0].delta.content async for piece in pieces] == ["hel", "lo"]
        assert {request.target for request in server.requests} == {"/chat/completions"}


async def test_openai_tries_again_by_trios_clock(
    openai: Any, serve: Serve, transports: Transports
) -> None:
    asked = []

    async def unwilling(request: Request) -> Reply:
        asked.append(request)
        if len(asked) == 1:
            return Reply(503, {"Retry-After-Ms": "1"})
        return await openais(request)

    async with serve(unwilling) as (url, _), transports() as transport:
        client = openai.DefaultAsyncHttpxClient(transport=transport(httpx2))
        sdk = openai.AsyncOpenAI(api_key="k", base_url=url, http_client=client)
        await sdk.chat.completions.create(model="m", messages=[])
        await sdk.close()
    assert len(asked) == 2


async def test_anthropic(
    anthropic: Any,
    serve: Serve,
    as_json: Callable[..., Reply],
    transports: Transports,
) -> None:

    async def answer(request: Request) -> Reply:
        said = [{"type": "text", "text": "hello"}]
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": "1", "type": "message", "role": "assistant", "model": "m"}
        return as_json({**message, "content": said, "stop_reason": "end_turn", "usage": usage})

    async with serve(answer) as (url, _), transports() as transport:
        client = anthropic.DefaultAsyncHttpxClient(transport=transport(httpx2))
        async with anthropic.AsyncAnthropic(api_key="k", base_url=url, http_client=client) as sdk:
            messages = [{"role": "user", "content": "hi"}]
            answered = await sdk.messages.create(model="m", max_tokens=9, messages=messages)
            assert answered.content[0].text == "hello"


# ── mcp ────────────────────────────────────────────────────────────────────────────────────────


async def test_mcp(
    mcp: Any,
    serve: Serve,
    as_json: Callable[..., Reply],
    transports: Transports,
) -> None:
    streams = importlib.import_module("mcp.client.streamable_http")

    async def answer(request: Request) -> Reply:
        if request.method != "POST":
            return Reply(405)
        asked = json.loads(request.body)
        match asked["method"]:
            case "initialize":
                version = asked["params"]["protocolVersion"]
                server = {"serverInfo": {"name": "s", "version": "1"}, "capabilities": {}}
                result: dict[str, Any] = {"protocolVersion": version, **server}
            case "tools/list":
                result = {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]}
            case _:
                return Reply(202)
        return as_json({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    async with serve(answer) as (url, _), transports() as transport:
        client = httpx2.AsyncClient(transport=transport(httpx2))
        async with (
            streams.streamable_http_client(f"{url}/mcp", http_client=client) as (read, write, *_),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            assert [tool.name for tool in (await session.list_tools()).tools] == ["add"]


# ── ollama, and hishel, which wraps a transport ────────────────────────────────────────────────


async def test_ollama(ollama: Any, serve: Serve, transports: Transports) -> None:

    async def answer(request: Request) -> Reply:
        lines = [json.dumps({"model": "m", "response": text}) + "\n" for text in ("hel", "lo")]
        return Reply(body=[line.encode() for line in lines])

    async with (
        serve(answer) as (url, _),
        transports() as transport,
        ollama.AsyncClient(host=url, transport=transport(httpx)) as sdk,
    ):
        pieces = await sdk.generate(model="m", prompt="hi", stream=True)
        assert [piece.response async for piece in pieces] == ["hel", "lo"]


@pytest.mark.parametrize("made_for", [httpx2, httpx], ids=["httpx2", "httpx"])
async def test_hishel(
    hishel: Any,
    serve: Serve,
    transports: Transports,
    made_for: Any,
    tmp_path: Path,
) -> None:
    cache = importlib.import_module(f"hishel.{made_for.__name__}")

    async def answer(request: Request) -> Reply:
        return Reply(body=b"kept", headers={"Cache-Control": "max-age=1000"})

    async with serve(answer) as (url, server), transports() as transport:
        storage = hishel.AsyncSqliteStorage(database_path=tmp_path / "cache.db")
        around = cache.AsyncCacheTransport(transport(made_for), storage=storage)
        client = made_for.AsyncClient(transport=around)
        for _ in range(2):
            assert (await client.get(url)).text == "kept"
        await client.aclose()
        assert len(server.requests) == 1


def test_the_page_names_all_that_are_tested_here() -> None:
    page = (Path(__file__).parents[2] / "docs" / "httpx.md").read_text(encoding="utf-8")
    tested = re.findall(r"^async def test_([a-z]+)\(", Path(__file__).read_text(), re.MULTILINE)
    assert len(tested) == 5
    assert not [name for name in tested if f"| {name} " not in page]
