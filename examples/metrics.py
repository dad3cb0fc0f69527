"""Traces and metrics: OpenTelemetry hears of each request, Prometheus reads the pool.

pip install -e ".[examples]"
python examples/metrics.py
"""

from __future__ import annotations

from typing import Any

import trio
from _server import reply, serve
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

import triopool
from triopool.opentelemetry import OpenTelemetryInstrument
from triopool.prometheus import PoolCollector


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The server tells in which trace it is: what its own instrumentation would go on with."""
    fields = dict(scope["headers"])
    await reply(send, fields[b"traceparent"], 404 if scope["path"] == "/lost" else 200)


def told(span: ReadableSpan) -> str:
    known = span.attributes or {}
    path = str(known["url.full"]).split("/", 3)[3]
    status = known["http.response.status_code"]
    return f"{span.name} /{path}: {status}, {span.status.status_code.name}"


async def main() -> None:
    # A program has exporters that send these somewhere; we look at them.
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    instrument = OpenTelemetryInstrument(
        tracer_provider=tracers, meter_provider=MeterProvider([reader])
    )
    async with serve(app) as url, triopool.ConnectionPool(instruments=[instrument]) as pool:
        registry = CollectorRegistry()
        registry.register(PoolCollector(pool))

        with tracers.get_tracer("program").start_as_current_span("a page of ours") as ours:
            response = await pool.get(f"{url}/?q=trio&sig=secret")
            await pool.get(f"{url}/lost")
        trace_id = f"{ours.get_span_context().trace_id:032x}"
        print(f"the server is in our trace: {trace_id in response.text}")
        for span in spans.get_finished_spans()[:2]:
            print(f"  {told(span)}")

        print("metrics of OpenTelemetry:")
        data: Any = reader.get_metrics_data()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            print(f"  {metric.name}: {len(metric.data.data_points)} series")

        print("what Prometheus gets:")
        for line in generate_latest(registry).decode().splitlines():
            if line.startswith(("triopool_connections", "triopool_reused")):
                print(f"  {line}")


if __name__ == "__main__":
    trio.run(main)
