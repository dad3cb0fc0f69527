"""Spans and metrics, by the semantic conventions; checked with the SDK's in-memory exporters."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from sweeping import sweep

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import context, propagate, trace
from opentelemetry.baggage import set_baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanKind, StatusCode

import triopool
from triopool import ConnectionPool
from triopool._facts import CloseReason, ConnectionInfo
from triopool._origin import Origin
from triopool.opentelemetry import OpenTelemetryInstrument
from triopool.testing import Network, Reply, Request, Sweep, http_server

A = "http://192.0.2.1"
B = "http://192.0.2.2:8080"
CUT = "http://192.0.2.3"
"""A server of HTTP/1.0 that sends half of its body."""
SILENT = "http://192.0.2.4"
"""A server that closes without an answer."""
SLOW = "http://192.0.2.6"
"""A server that sends half of its body, and then waits."""


class Telemetry:
    """The SDK, in memory, and the instrument that it hears from."""

    def __init__(self, *, sampler: Any = None, **options: Any) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider(sampler=sampler)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.instrument = OpenTelemetryInstrument(
            tracer_provider=self.tracers,
            meter_provider=MeterProvider(metric_readers=[self._reader]),
            **options,
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._spans.get_finished_spans()

    @property
    def attributes(self) -> list[dict[str, Any]]:
        return [dict(span.attributes or {}) for span in self.spans]

    def points(self, name: str) -> list[Any]:
        data: Any = self._reader.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def totals(self, name: str, *labels: str) -> dict[tuple[Any, ...], int]:
        """The values of a counter, by labels; those that are 0 are left out."""
        found: dict[tuple[Any, ...], int] = {}
        for point in self.points(name):
            key = tuple(point.attributes[label] for label in labels)
            found[key] = found.get(key, 0) + point.value
        return {key: value for key, value in found.items() if value}


class Servers:
    """Attributes:
    requests: what was asked, of all of them.
    delay: how long they take to answer.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.delay = 0.0

    async def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        target, _, _ = request.target.partition("?")
        match target.split("/")[1:]:
            case ["status", number]:
                return Reply(status=int(number), body=b"body", delay=self.delay)
            case ["redirect"]:
                return Reply(status=302, headers=[("Location", f"{B}/there?sig=secret")])
            case ["loop"]:
                return Reply(status=302, headers=[("Location", "/loop")])
        return Reply(body=b"body", delay=self.delay)


async def cut(stream: trio.abc.Stream) -> None:
    async with stream:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nx")


async def slowly(stream: trio.abc.Stream) -> None:
    async with stream:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")
        await stream.receive_some()


async def hang_up(stream: trio.abc.Stream) -> None:
    async with stream:
        await stream.receive_some()


@asynccontextmanager
async def world(
    telemetry: Telemetry, **options: Any
) -> AsyncIterator[tuple[ConnectionPool, Servers]]:
    servers = Servers()
    async with Network() as network:
        network.listen("192.0.2.1", 80, http_server(servers), connect_delay=0.25)
        network.listen("192.0.2.2", 8080, http_server(servers))
        network.listen("192.0.2.3", 80, cut)
        network.listen("192.0.2.4", 80, hang_up)
        network.listen("192.0.2.6", 80, slowly)
        async with ConnectionPool(
            socket_factory=network.socket, instruments=[telemetry.instrument], **options
        ) as pool:
            yield pool, servers


# ── Spans ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_span_of_a_request_has_what_the_conventions_ask_for(
    autojump_clock: trio.abc.Clock,
) -> None:
    telemetry = Telemetry()
    async with world(telemetry) as (pool, servers):
        servers.delay = 0.5
        await pool.get(f"{A}/path?q=trio", auth=("name", "secret"))
    [span] = telemetry.spans
    assert (span.name, span.kind, span.status.status_code) == (
        "GET",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert span.attributes == {
        "http.request.method": "GET",
        "server.address": "192.0.2.1",
        "server.port": 80,
        "url.full": "http://192.0.2.1/path?q=trio",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "network.peer.address": "192.0.2.1",
        "network.peer.port": 80,
    }
    assert span.start_time is not None
    assert span.end_time is not None
    # On Trio's clock, from the call to the end of the body.
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(0.75)
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "triopool"


async def test_what_decides_about_sampling_is_there_when_a_span_begins(
    autojump_clock: trio.abc.Clock,
) -> None:
    asked: list[Any] = []

    class NoSampler(Sampler):
        def should_sample(self, *args: Any, **options: Any) -> Any:
            asked.append(options["attributes"] if "attributes" in options else args[4])
            return ALWAYS_OFF.should_sample(*args, **options)

        def get_description(self) -> str:
            return "no"

    telemetry = Telemetry(sampler=NoSampler())
    async with world(telemetry) as (pool, servers):
        await pool.get(A)
    [attributes] = asked
    assert {"http.request.method", "server.address", "server.port", "url.full"} == set(attributes)
    assert telemetry.spans == ()
    assert (servers.requests[0].header("traceparent") or "").endswith(("-00", "-02"))
    [point] = telemetry.points("http.client.request.duration")
    assert point.count == 1


async def test_the_context_goes_along_and_names_the_very_span(
    autojump_clock: trio.abc.Clock,
) -> None:
    telemetry = Telemetry()
    tracer = telemetry.tracers.get_tracer("program")
    async with world(telemetry) as (pool, servers):
        with tracer.start_as_current_span("caller") as caller:
            await pool.get(A)
            async with pool.stream("GET", A) as response:
                await response.read()
        await pool.get(A, headers={"traceparent": "of the caller's own"})
    first, second, _, third = telemetry.spans
    for span, request in zip((first, second), servers.requests, strict=False):
        assert span.context is not None
        assert span.parent is not None
        assert span.parent.span_id == caller.get_span_context().span_id
        trace_id, span_id = f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"
        flags = f"{span.context.trace_flags:02x}"
        assert request.header("traceparent") == f"00-{trace_id}-{span_id}-{flags}"
    assert third.parent is None
    assert servers.requests[2].header("traceparent") == "of the caller's own"


async def test_the_propagator_is_the_global_one_or_ones_own(
    autojump_clock: trio.abc.Clock,
) -> None:
    before = propagate.get_global_textmap()
    own = Telemetry(propagator=W3CBaggagePropagator())
    try:
        propagate.set_global_textmap(W3CBaggagePropagator())
        as_all = Telemetry()
    finally:
        propagate.set_global_textmap(before)
    for telemetry, name in ((own, "baggage"), (as_all, "traceparent")):
        async with world(telemetry) as (pool, servers):
            token = context.attach(set_baggage("a", "b"))
            try:
                await pool.get(A)
            finally:
                context.detach(token)
        assert servers.requests[0].header(name) is not None


async def test_a_redirect_has_a_span_of_its_own(autojump_clock: trio.abc.Clock) -> None:
    telemetry = Telemetry()
    async with world(telemetry) as (pool, servers):
        await pool.get(f"{A}/redirect", follow_redirects=True)
    first, second = telemetry.attributes
    assert (first["http.response.status_code"], first["server.port"]) == (302, 80)
    assert "http.request.resend_count" not in first
    assert second["http.request.resend_count"] == 1
    assert second["url.full"] == "http://192.0.2.2:8080/there?sig=REDACTED"
    assert [span.status.status_code for span in telemetry.spans] == [StatusCode.UNSET] * 2
    contexts = [request.header("traceparent") for request in servers.requests]
    assert len(set(contexts)) == 2
    assert telemetry.totals("http.client.active_requests") == {}


async def test_a_redirect_that_is_refused_is_an_error(autojump_clock: trio.abc.Clock) -> None:
    telemetry = Telemetry()
    async with world(telemetry) as (pool, _):
        with pytest.raises(triopool.RedirectError):
            await pool.get(f"{A}/loop", follow_redirects=triopool.Redirects(limit=1))
    found = [
        (one["http.response.status_code"], one.get("error.type")) for one in telemetry.attributes
    ]
    assert found == [(302, None), (302, "triopool.RedirectError")]
    assert telemetry.spans[1].status.status_code is StatusCode.ERROR


async def test_each_retry_of_a_session_has_a_span(autojump_clock: trio.abc.Clock) -> None:
    telemetry = Telemetry()
    async with world(telemetry) as (pool, servers):
        api = pool.session(base_url=A, retry=triopool.Retry())
        await api.get("status/503")
    assert [one.get("http.request.resend_count") for one in telemetry.attributes] == [None, 1, 2]
    assert {one["error.type"] for one in telemetry.attributes} == {"503"}
    assert len({request.header("traceparent") for request in servers.requests}) == 3
    assert telemetry.totals("http.client.active_requests") == {}


async def test_each_attempt_after_a_stale_connection_has_a_span(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def closes_at_the_second(stream: trio.abc.Stream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await stream.receive_some()

    telemetry = Telemetry()
    async with Network() as network:
        network.listen("192.0.2.5", 80, closes_at_the_second)
        async with ConnectionPool(
            socket_factory=network.socket, instruments=[telemetry.instrument]
        ) as pool:
            await pool.get("http://192.0.2.5/")
            await pool.get("http://192.0.2.5/")
    before, stale, again = telemetry.attributes
    assert before["network.protocol.version"] == "1.1"
    assert stale["error.type"] == "triopool.ReadError"
    assert stale["network.peer.address"] == "192.0.2.5"
    assert "http.response.status_code" not in stale
    assert "http.request.resend_count" not in stale
    assert (again["http.request.resend_count"], again["http.response.status_code"]) == (1, 200)
    assert "error.type" not in again
    assert telemetry.spans[1].status.status_code is StatusCode.ERROR
    points = telemetry.points("http.client.request.duration")
    assert sum(point.count for point in points) == 3
    assert telemetry.totals("http.client.active_requests") == {}


async def test_a_status_from_400_on_is_an_error(autojump_clock: trio.abc.Clock) -> None:
    telemetry = Telemetry()
    async with world(telemetry) as (pool, _):
        for status in (204, 304, 400, 503):
            await pool.get(f"{A}/status/{status}")
        with pytest.raises(triopool.StatusError):
            async with pool.stream("GET", f"{A}/status/404") as response:
                response.raise_for_status()
    found = [
        (one["http.response.status_code"], one.get("error.type")) for one in telemetry.attributes
    ]
    assert found == [(204, None), (304, None), (400, "400"), (503, "503"), (404, "404")]
    codes = [span.status.status_code for span in telemetry.spans]
    assert codes == [StatusCode.UNSET] * 2 + [StatusCode.ERROR] * 3
    assert {span.status.description for span in telemetry.spans} == {None}


async def test_errors_are_told_by_their_names_and_no_secret_with_them(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise ValueError("secret")

    telemetry = Telemetry()
    async with world(telemetry) as (pool, _):
        with pytest.raises(triopool.ConnectError):
            await pool.get("http://192.0.2.66/")
        with pytest.raises(triopool.ReadError):
            await pool.get(SILENT)
        with pytest.raises(triopool.ReadError):
            await pool.get(CUT)
        with pytest.raises(ValueError, match="secret"):
            await pool.post(A, content=body())
        with trio.move_on_after(0.1):
            await pool.get(A)
        with trio.move_on_after(1):
            async with pool.stream("GET", SLOW) as response:
                await response.read()
        with pytest.raises(RuntimeError):
            async with pool.stream("GET", SLOW):
                raise RuntimeError("the caller's own")
    found = [
        (one.get("http.response.status_code"), one.get("error.type"))
        for one in telemetry.attributes
    ]
    assert found == [
        (None, "triopool.ConnectError"),
        (None, "triopool.ReadError"),
        (200, "triopool.ReadError"),
        (None, "ValueError"),
        (None, "trio.Cancelled"),
        (200, "trio.Cancelled"),
        (200, None),
    ]
    descriptions = [span.status.description for span in telemetry.spans]
    assert descriptions[0] is not None
    assert "could not connect" in descriptions[0]
    assert descriptions[3:] == [None] * 4
    assert "secret" not in str(descriptions)
    assert "network.peer.address" not in telemetry.attributes[0]
    assert telemetry.attributes[2]["network.protocol.version"] == "1.0"


async def test_a_span_ends_when_the_block_is_left_and_not_when_the_rest_is_drained(
    autojump_clock: trio.abc.Clock,
) -> None:
    telemetry = Telemetry()
    async with world(telemetry) as (pool, _):
        async with pool.stream("GET", SLOW):
            await trio.sleep(0.5)
            assert not telemetry.spans
        [span] = telemetry.spans
        assert pool.statistics().busy == 1  # It is being drained.
    assert span.start_time is not None
    assert span.end_time is not None
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(0.5)


async def test_a_span_ends_with_the_switch_to_another_protocol(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def switch(stream: trio.abc.Stream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
            )
            await stream.receive_some()

    telemetry = Telemetry()
    async with Network() as network:
        network.listen("192.0.2.1", 80, switch)
        async with (
            ConnectionPool(
                socket_factory=network.socket, instruments=[telemetry.instrument]
            ) as pool,
            pool.stream("GET", A, headers={"Upgrade": "x"}),
        ):
            [attributes] = telemetry.attributes
            assert attributes["http.response.status_code"] == 101
            assert telemetry.totals("http.client.active_requests") == {}
            state = "http.connection.state"
            open_connections = telemetry.totals("http.client.open_connections", state)
            assert open_connections == {("active",): 1}
    assert len(telemetry.spans) == 1


# ── What is told of a request ──────────────────────────────────────────────────────────────────


async def url_full(url: str, **options: Any) -> str:
    telemetry = Telemetry(**options)
    async with world(telemetry) as (pool, _):
        await pool.get(url)
    told: str = telemetry.attributes[0]["url.full"]
    return told


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", ""),
        ("?", "?"),
        ("?a=b&sig=geheim&c=d", "?a=b&sig=REDACTED&c=d"),
        ("?Signature=geheim", "?Signature=REDACTED"),
        ("?AWSAccessKeyId=geheim&x", "?AWSAccessKeyId=REDACTED&x"),
        ("?X-Goog-Signature=geheim", "?X-Goog-Signature=REDACTED"),
        ("?x-amz-signature=geheim", "?x-amz-signature=REDACTED"),
        ("?%73ig=geheim", "?%73ig=REDACTED"),
        ("?sig=", "?sig="),
        ("?sig", "?sig"),
        ("?design=1", "?design=1"),
        ("?sig=geheim&sig=auch", "?sig=REDACTED&sig=REDACTED"),
    ],
)
async def test_signatures_in_a_query_are_redacted(
    query: str, told: str, autojump_clock: trio.abc.Clock
) -> None:
    assert await url_full(f"http://name:geheim@192.0.2.1/p{query}#f") == f"{A}/p{told}"


async def test_a_program_says_which_parameters_are_secret(autojump_clock: trio.abc.Clock) -> None:
    url = f"{A}/?a=b&Token=c&sig=d"
    assert await url_full(url, secret_parameters=["token"]) == f"{A}/?a=b&Token=REDACTED&sig=d"
    url = f"{A}/?a=b&geheim&&c="
    redacted = f"{A}/?a=REDACTED&REDACTED&&c=REDACTED"
    assert await url_full(url, secret_parameters=None) == redacted


async def test_a_target_that_is_no_path_is_left_out_of_the_url(
    autojump_clock: trio.abc.Clock,
) -> None:
    telemetry = Telemetry()
    async with world(telemetry) as (pool, _):
        await pool.options(f"{B}/", target="*")
    assert telemetry.attributes[0]["url.full"] == B


async def test_methods_that_nobody_knows_are_told_apart(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"
    for known, expected in (
        (None, [("GET", "GET", None), ("HTTP", "_OTHER", "PURGE")]),
        ("PURGE, PUT", [("HTTP", "_OTHER", "GET"), ("PURGE", "PURGE", None)]),
    ):
        if known is not None:
            monkeypatch.setenv(name, known)
        telemetry = Telemetry()
        async with world(telemetry) as (pool, _):
            for method in ("get", "PURGE"):
                await pool.request(method, A)
        found = [
            (
                span.name,
                (span.attributes or {})["http.request.method"],
                (span.attributes or {}).get("http.request.method_original"),
            )
            for span in telemetry.spans
        ]
        assert found == expected


# ── Metrics ────────────────────────────────────────────────────────────────────────────────────


async def test_the_duration_of_requests(autojump_clock: trio.abc.Clock) -> None:
    telemetry = Telemetry()
    async with world(telemetry) as (pool, servers):
        servers.delay = 0.5
        for path in ("one", "two", "status/404"):
            await pool.get(f"{A}/{path}?q=x")
    good, bad = telemetry.points("http.client.request.duration")
    assert good.attributes == {
        "http.request.method": "GET",
        "server.address": "192.0.2.1",
        "server.port": 80,
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    assert (good.count, good.sum) == (2, pytest.approx(0.75 + 0.5))
    assert good.explicit_bounds[:3] == (0.005, 0.01, 0.025)
    assert (bad.attributes["error.type"], bad.count) == ("404", 1)
    for span, seconds in zip(telemetry.spans, (0.75, 0.5, 0.5), strict=True):
        assert span.start_time is not None
        assert span.end_time is not None
        assert (span.end_time - span.start_time) / 1e9 == pytest.approx(seconds)


async def test_active_requests(autojump_clock: trio.abc.Clock) -> None:
    telemetry = Telemetry()
    labels = ("http.request.method", "server.address", "server.port")
    async with world(telemetry) as (pool, servers):
        servers.delay = 1.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.get, A)
            nursery.start_soon(pool.get, A)
            nursery.start_soon(pool.post, B)
            await trio.sleep(0.5)
            assert telemetry.totals("http.client.active_requests", *labels) == {
                ("GET", "192.0.2.1", 80): 2,
                ("POST", "192.0.2.2", 8080): 1,
            }
        assert telemetry.totals("http.client.active_requests") == {}


async def test_open_connections_by_state(autojump_clock: trio.abc.Clock) -> None:
    telemetry = Telemetry()

    def now() -> dict[tuple[Any, ...], int]:
        return telemetry.totals(
            "http.client.open_connections", "http.connection.state", "server.port"
        )

    async with world(telemetry, idle_timeout=10) as (pool, servers):
        servers.delay = 1.0
        await pool.warm_up(A)
        assert now() == {("idle", 80): 1}
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(pool.get, A)
            nursery.start_soon(pool.get, B)
            await trio.sleep(0.5)
            assert now() == {("active", 80): 2, ("active", 8080): 1}
        assert now() == {("idle", 80): 2, ("idle", 8080): 1}
        await pool.get(A)
        await trio.sleep(5.0)
        statistics = pool.statistics()
        assert sum(now().values()) == statistics.idle == statistics.open
        await trio.sleep(20.0)
        assert now() == {}
        [point, _] = sorted(
            telemetry.points("http.client.connection.duration"), key=lambda one: -one.count
        )
        assert point.attributes == {
            "server.address": "192.0.2.1",
            "server.port": 80,
            "network.peer.address": "192.0.2.1",
            "network.protocol.version": "1.1",
        }
        assert (point.count, point.explicit_bounds[0]) == (2, 0.01)
        assert point.min > 10.0


async def test_one_instrument_serves_several_pools(autojump_clock: trio.abc.Clock) -> None:
    telemetry = Telemetry()
    async with (
        world(telemetry) as (one, _),
        world(telemetry) as (other, _),
        trio.open_nursery() as nursery,
    ):
        for pool in (one, other):
            nursery.start_soon(pool.get, A)
    assert len(telemetry.spans) == 2
    assert telemetry.totals("http.client.active_requests") == {}


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("2001:db8::1", 443, 0, 0), "2001:db8::1"),
        ("/run/a.sock", "/run/a.sock"),
        ("", None),
        (None, None),
    ],
)
def test_the_peer_is_an_address_or_the_path_of_a_socket(address: Any, peer: str | None) -> None:
    telemetry = Telemetry()
    info = ConnectionInfo(1, Origin("https", "a.example", 443), None, address, None, 0.0)

    async def main() -> None:
        telemetry.instrument.closed(info, CloseReason.EXPIRED)

    trio.run(main)
    [point] = telemetry.points("http.client.connection.duration")
    assert point.attributes.get("network.peer.address") == peer


async def test_a_pool_that_is_left_leaves_nothing_counted(autojump_clock: trio.abc.Clock) -> None:
    telemetry = Telemetry()

    async def read_on(pool: ConnectionPool) -> None:
        with pytest.raises(triopool.PoolClosed):
            await pool.get(A)

    async with trio.open_nursery() as nursery, world(telemetry) as (pool, servers):
        servers.delay = 10.0
        nursery.start_soon(read_on, pool)
        await trio.sleep(1.0)
        assert telemetry.totals("http.client.active_requests") == {(): 1}
    assert telemetry.totals("http.client.active_requests") == {}
    assert telemetry.totals("http.client.open_connections") == {}
    assert telemetry.attributes[0]["error.type"] == "triopool.PoolClosed"


async def test_requests_of_httpx_on_the_pool_are_told_as_well(
    autojump_clock: trio.abc.Clock,
) -> None:
    httpx = pytest.importorskip("httpx")
    from triopool.httpx import TriopoolTransport

    telemetry = Telemetry()
    async with (
        world(telemetry) as (pool, servers),
        httpx.AsyncClient(transport=TriopoolTransport(pool)) as client,
    ):
        assert (await client.get(f"{A}/of/httpx?sig=x")).status_code == 200
    [attributes] = telemetry.attributes
    assert attributes["url.full"] == f"{A}/of/httpx?sig=REDACTED"
    assert servers.requests[0].header("traceparent") is not None


def test_whenever_a_request_is_cancelled_its_span_ends_and_nothing_stays_counted() -> None:
    async def scenario(sweep: Sweep) -> None:
        telemetry = Telemetry()
        async with world(telemetry, max_connections=1) as (pool, servers):
            servers.delay = 0.3

            async def victim() -> None:
                await pool.get(f"{A}/redirect", follow_redirects=True)
                async with pool.stream("GET", f"{A}/") as response:
                    await response.read()

            await sweep.victim(victim)
            assert telemetry.totals("http.client.active_requests") == {}
            statistics = pool.statistics()
            found = telemetry.totals("http.client.open_connections")
            assert sum(found.values()) == statistics.idle + statistics.busy
            points = telemetry.points("http.client.request.duration")
            assert sum(point.count for point in points) == len(telemetry.spans)
        assert telemetry.totals("http.client.open_connections") == {}

    sweep(scenario)


# ── Without an SDK, and without the API ────────────────────────────────────────────────────────


async def test_without_an_sdk_nothing_happens(autojump_clock: trio.abc.Clock) -> None:
    telemetry = Telemetry()
    telemetry.instrument = OpenTelemetryInstrument(
        tracer_provider=trace.NoOpTracerProvider(), meter_provider=None
    )
    async with world(telemetry) as (pool, servers):
        await pool.get(A)
    assert servers.requests[0].header("traceparent") is None


def test_without_the_api_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "triopool.opentelemetry")
    with pytest.raises(ImportError, match=r"pip install 'triopool\[otel\]'"):
        importlib.import_module("triopool.opentelemetry")
