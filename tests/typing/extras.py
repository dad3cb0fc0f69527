"""The types of what needs an extra, as ``public_api.py`` does it for all else.

A file of its own, for there is one check that leaves it out: the one with trio-typing installs
triopool without any extra, which shows that all else needs none.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import assert_type

from opentelemetry import propagate, trace
from prometheus_client import REGISTRY

import triopool
import triopool.opentelemetry
import triopool.prometheus
import triopool.websocket
from triopool.abc import Instrument

URL = "https://www.example.org/"


async def websockets(pool: triopool.ConnectionPool, api: triopool.Session) -> None:
    async with triopool.websocket.connect(
        pool, "wss://www.example.org", subprotocols=["a"], max_message_bytes=100, headers={"a": "b"}
    ) as ws:
        assert_type(ws, triopool.websocket.WebSocket)
        assert_type(await ws.receive(), str | bytes)
        assert_type(ws.subprotocol, str | None)
        assert_type(ws.closed, triopool.websocket.Closed | None)
        assert_type(await ws.ping(), float)
        assert_type(ws.response, triopool.Response)
        await ws.send("text")
        await ws.send(b"bytes")
        await ws.aclose(4000, "reason")
        async for message in ws:
            assert_type(message, str | bytes)
    async with triopool.websocket.connect(api, "chat") as ws:
        assert_type(ws, triopool.websocket.WebSocket)
    triopool.websocket.connect(pool, URL, content=b"x")  # type: ignore[call-arg]
    triopool.websocket.connect(URL)  # type: ignore[arg-type, call-arg]


def traces() -> None:
    instrument: Instrument = triopool.opentelemetry.OpenTelemetryInstrument(
        tracer_provider=trace.get_tracer_provider(),
        propagator=propagate.get_global_textmap(),
        secret_parameters={"token"},
    )
    triopool.ConnectionPool(instruments=[instrument])
    triopool.opentelemetry.OpenTelemetryInstrument(secret_parameters=3)  # type: ignore[arg-type]


def scrapes(pool: triopool.ConnectionPool) -> None:
    REGISTRY.register(triopool.prometheus.PoolCollector(pool))
    REGISTRY.register(triopool.prometheus.PoolCollector({"a": pool}, by_origin=True))
    triopool.prometheus.PoolCollector([pool])  # type: ignore[arg-type]
