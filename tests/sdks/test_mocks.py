"""The real ones among those who patch httpx: a request that they answer never leaves the program.

``tests/transports/patching.py`` has stand-ins for them, with more cases.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

import triopool.httpx
import triopool.httpx2
from triopool import AddressInfo, ConnectionPool
from triopool.testing import Reply, Request

from .conftest import Serve

URL = "http://api.test/x"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OURS = {httpx: triopool.httpx, httpx2: triopool.httpx2}


def nowhere(address: AddressInfo) -> Any:
    raise AssertionError(f"a request that is mocked goes to {address}")


async def hello(request: Request) -> Reply:
    return Reply(body=b"hello from the network")


def client_of(pool: ConnectionPool, library: Any = httpx) -> Any:
    return library.AsyncClient(transport=OURS[library].TriopoolTransport(pool))


async def test_respx(respx: Any, serve: Serve) -> None:
    async with (
        serve(hello) as (url, _),
        ConnectionPool(socket_factory=nowhere) as nobodys,
        ConnectionPool() as pool,
    ):
        with respx.mock(assert_all_called=False) as router:
            route = router.get(URL).respond(418, text="mocked")
            response = await client_of(nobodys).get(URL)
            assert (response.status_code, response.text) == (418, "mocked")
            assert route.called
            # What it lets pass goes over our pool.
            router.get(url).pass_through()
            assert (await client_of(pool).get(url)).text == "hello from the network"
            with pytest.raises(AssertionError, match="not mocked"):
                await client_of(nobodys).get("http://other.test/")
        assert (await client_of(pool).get(url)).text == "hello from the network"
        assert pool.statistics().dialled == 1


async def test_pytest_httpx(pytest_httpx: Any, request: pytest.FixtureRequest) -> None:
    httpx_mock = request.getfixturevalue("httpx_mock")
    httpx_mock.add_response(url=URL, status_code=418, text="mocked")
    async with ConnectionPool(socket_factory=nowhere) as pool:
        response = await client_of(pool).get(URL)
        assert (response.status_code, response.text) == (418, "mocked")
        httpx_mock.add_exception(httpx.ReadTimeout("mocked"))
        with pytest.raises(httpx.ReadTimeout, match="mocked"):
            await client_of(pool).get(URL)


@pytest.mark.parametrize("made_for", [httpx2, httpx], ids=["httpx2", "httpx"])
async def test_vcrpy(vcr: Any, serve: Serve, made_for: Any, tmp_path: Path) -> None:
    cassette = str(tmp_path / "cassette.yaml")
    async with serve(hello) as (url, server):
        async with ConnectionPool() as pool:
            with vcr.use_cassette(cassette):
                assert (await client_of(pool, made_for).get(url)).text == "hello from the network"
        async with ConnectionPool(socket_factory=nowhere) as pool:
            with vcr.use_cassette(cassette, record_mode="none"):
                assert (await client_of(pool, made_for).get(url)).text == "hello from the network"
        assert len(server.requests) == 1


@pytest.mark.parametrize("made_for", [httpx2, httpx], ids=["httpx2", "httpx"])
async def test_opentelemetry(opentelemetry: Any, serve: Serve, made_for: Any) -> None:
    sdk = importlib.import_module("opentelemetry.sdk.trace")
    export = importlib.import_module("opentelemetry.sdk.trace.export")
    memory = importlib.import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    exporter, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    name = "HTTPXClientInstrumentor" if made_for is httpx else "HTTPX2ClientInstrumentor"
    switch = getattr(opentelemetry, name)()
    async with serve(hello) as (url, server), ConnectionPool() as pool:
        switch.instrument(tracer_provider=provider)
        try:
            assert (await client_of(pool, made_for).get(url)).text == "hello from the network"
        finally:
            switch.uninstrument()
        assert [span.name for span in exporter.get_finished_spans()] == ["GET"]
        await client_of(pool, made_for).get(url)
        assert [bool(request.header("traceparent")) for request in server.requests] == [True, False]
        assert len(exporter.get_finished_spans()) == 1
        assert pool.statistics().dialled == 1


@pytest.mark.parametrize("made_for", [httpx2, httpx], ids=["httpx2", "httpx"])
async def test_a_wrapper_of_opentelemetry(opentelemetry: Any, serve: Serve, made_for: Any) -> None:
    suffix = "" if made_for is httpx else "Httpx2"
    wrapper = getattr(opentelemetry, f"AsyncOpenTelemetryTransport{suffix}")
    async with serve(hello) as (url, _), ConnectionPool() as pool:
        wrapped = wrapper(OURS[made_for].TriopoolTransport(pool))
        async with made_for.AsyncClient(transport=wrapped) as client:
            assert (await client.get(url)).text == "hello from the network"
        assert pool.is_open
