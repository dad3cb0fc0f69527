"""Traces and metrics for OpenTelemetry, by its stable semantic conventions for HTTP clients.

::

    from triopool.opentelemetry import OpenTelemetryInstrument

    async with triopool.ConnectionPool(instruments=[OpenTelemetryInstrument()]) as pool: ...

Needs the API only: ``pip install 'triopool[otel]'``. Where traces and metrics go, the program says
with OpenTelemetry's own SDK.

*Spans.* Each request has a span of kind CLIENT, below the caller's current one; so has each request
that a redirect leads to, each further attempt after a stale connection, and each retry of a
session, these with ``http.request.resend_count``. A span begins when the request does, so that
waiting for a connection and dialling are in it, and ends when its response has: the body was read
to its end or broke off, the response was closed, or its block left. What a pool drains after that
is not in it. If the connection switches to another protocol, as for a WebSocket, the span ends with
that response.

*Context.* The fields of the global propagator (``traceparent``, mostly) go along with each attempt,
and name its very span; one that the caller has set stays.

*Errors.* ``error.type`` is a status from 400 on, or else the name of the exception:
``triopool.ReadTimeout``, ``trio.Cancelled``, a body's own ``ValueError``. The status of the span is
ERROR then, with triopool's own words for its description; no other exception's words are told,
which may hold a secret. A caller that leaves a response early is no error.

*Metrics.* ``http.client.request.duration`` (the span's), ``http.client.active_requests``,
``http.client.open_connections`` by state, and ``http.client.connection.duration``. All times are
taken on Trio's clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

try:
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.propagators.textmap import default_setter
except ImportError as _exc:
    raise ImportError(
        "triopool.opentelemetry needs opentelemetry-api: pip install 'triopool[otel]'"
    ) from _exc
import trio

from ._errors import TriopoolError
from ._facts import Outcome
from ._version import __version__
from .abc import Instrument

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span, TracerProvider

    from ._facts import CloseReason, ConnectionInfo, RequestInfo, RequestRecord
    from ._origin import Origin

__all__ = ["SECRET_PARAMETERS", "OpenTelemetryInstrument"]

SECRET_PARAMETERS = frozenset(
    {
        # Those that the conventions name.
        *("AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"),
        # Others of the same signed URLs.
        *("X-Amz-Credential", "X-Amz-Security-Token", "X-Amz-Signature", "X-Goog-Credential"),
    }
)
"""The parameters of a query whose values are not told, unless the program says which."""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"

_KNOWN_METHODS = (
    *("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"),
)

# What the conventions advise.
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_CONNECTION_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)

_DEFAULT_PORTS = {"http": 80, "https": 443}

Attributes = dict[str, Any]


class _Attempt(NamedTuple):
    """What is remembered of an attempt until it is over.

    Attributes:
      span: its span.
      started_ns: when it began, in nanoseconds since the epoch, as spans have it.
      started_at: the same, on Trio's clock.
      attributes: those that its metrics have, as far as they are known when it begins.
      counted: those under which its request is counted as active.
    """

    span: Span
    started_ns: int
    started_at: float
    attributes: Attributes
    counted: Attributes


class OpenTelemetryInstrument(Instrument):
    """Tells OpenTelemetry of requests and connections; the module's docstring says what.

    One instrument can serve any number of pools.

    Args:
      tracer_provider: None for the global one.
      meter_provider: None for the global one.
      propagator: writes the context into header fields; None for the global one.
      secret_parameters: the parameters of a query whose values become ``REDACTED`` in ``url.full``;
        None for all. Their case makes no difference. Credentials in a URL, and its fragment, are
        never told.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
        secret_parameters: Collection[str] | None = SECRET_PARAMETERS,
    ) -> None:
        self._tracer = trace.get_tracer(
            "triopool", __version__, tracer_provider, schema_url=SCHEMA_URL
        )
        self._propagator = propagator
        self._secret = (
            None
            if secret_parameters is None
            else frozenset(name.lower() for name in secret_parameters)
        )
        known = os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS")
        self._known_methods = frozenset(
            _KNOWN_METHODS if known is None else (name.strip() for name in known.split(","))
        )
        meter = metrics.get_meter("triopool", __version__, meter_provider, schema_url=SCHEMA_URL)
        self._request_duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_REQUEST_SECONDS,
        )
        self._active_requests = meter.create_up_down_counter(
            "http.client.active_requests", "{request}", "Number of active HTTP requests."
        )
        self._open_connections = meter.create_up_down_counter(
            "http.client.open_connections",
            "{connection}",
            "Number of outbound HTTP connections that are currently active or idle on the client.",
        )
        self._connection_duration = meter.create_histogram(
            "http.client.connection.duration",
            "s",
            "The duration of the successfully established outbound HTTP connections.",
            explicit_bucket_boundaries_advisory=_CONNECTION_SECONDS,
        )
        self._attempts: dict[RequestRecord, _Attempt] = {}
        self._states: dict[ConnectionInfo, str] = {}

    # ── Requests ───────────────────────────────────────────────────────────────────────────────

    def attempt_started(self, record: RequestRecord) -> Iterable[tuple[str, str]]:
        earlier = self._attempts.pop(record, None)
        if earlier is not None:
            self._end(earlier, record)
        request = record.request
        attributes = {"http.request.method": self._method(request), **_server(request.origin)}
        counted = attributes if earlier is None else earlier.counted
        started_ns = time.time_ns()
        span = self._tracer.start_span(
            request.method if request.method in self._known_methods else "HTTP",
            kind=trace.SpanKind.CLIENT,
            attributes=attributes | self._more(record),
            start_time=started_ns,
        )
        self._attempts[record] = _Attempt(
            span, started_ns, trio.current_time(), attributes, counted
        )
        if earlier is None:
            self._active_requests.add(1, counted)
        fields: dict[str, str] = {}
        propagator = self._propagator or propagate.get_global_textmap()
        propagator.inject(fields, trace.set_span_in_context(span), setter=default_setter)
        return fields.items()

    def request_ended(self, record: RequestRecord) -> None:
        attempt = self._attempts.pop(record)
        self._active_requests.add(-1, attempt.counted)
        self._end(attempt, record)

    def _method(self, request: RequestInfo) -> str:
        return request.method if request.method in self._known_methods else "_OTHER"

    def _more(self, record: RequestRecord) -> Attributes:
        """The attributes that a span has from its begin, and metrics don't."""
        request = record.request
        attributes: Attributes = {"url.full": _url(request, self._secret)}
        if request.method not in self._known_methods:
            attributes["http.request.method_original"] = request.method
        if record.resends:
            attributes["http.request.resend_count"] = record.resends
        return attributes

    def _end(self, attempt: _Attempt, record: RequestRecord) -> None:
        """An attempt is over: the last one, or one that the record is about to forget."""
        seconds = trio.current_time() - attempt.started_at
        span, attributes = attempt.span, dict(attempt.attributes)
        if record.response is not None:
            attributes["http.response.status_code"] = record.response.status_code
            attributes["network.protocol.version"] = record.response.http_version
        wrong = _what_went_wrong(record)
        if wrong is not None:
            attributes["error.type"] = wrong[0]
        self._request_duration.record(seconds, attributes, trace.set_span_in_context(span))
        if span.is_recording():
            span.set_attributes(attributes)
            if record.connection is not None:
                span.set_attributes(_peer(record.connection, with_port=True))
            if wrong is not None:
                span.set_status(trace.StatusCode.ERROR, wrong[1])
        span.end(attempt.started_ns + round(seconds * 1e9))

    # ── Connections ────────────────────────────────────────────────────────────────────────────

    def idled(self, connection: ConnectionInfo) -> None:
        self._is_now(connection, "idle")

    def reused(self, connection: ConnectionInfo) -> None:
        self._is_now(connection, "active")

    def handed_over(self, connection: ConnectionInfo, seconds: float) -> None:
        self._is_now(connection, "active")

    def closed(self, connection: ConnectionInfo, reason: CloseReason) -> None:
        self._is_now(connection, None)
        seconds = trio.current_time() - connection.opened_at
        self._connection_duration.record(seconds, _of_connection(connection))

    def _is_now(self, connection: ConnectionInfo, state: str | None) -> None:
        before = self._states.pop(connection, None)
        if state is not None:
            self._states[connection] = state
        if state == before:
            return
        attributes = _of_connection(connection)
        for one, change in ((before, -1), (state, 1)):
            if one is not None:
                with_state = attributes | {"http.connection.state": one}
                self._open_connections.add(change, with_state)


# ── Attributes ─────────────────────────────────────────────────────────────────────────────────


def _server(origin: Origin) -> Attributes:
    return {"server.address": origin.host, "server.port": origin.port}


def _peer(connection: ConnectionInfo, *, with_port: bool) -> Attributes:
    """To whom the connection leads: an address, or the path of a Unix socket."""
    match connection.remote_address:
        case (str() as address, int() as port, *_):
            more = {"network.peer.port": port} if with_port else {}
            return {"network.peer.address": address, **more}
        case str() as path if path:
            return {"network.peer.address": path}
    return {}


def _of_connection(connection: ConnectionInfo) -> Attributes:
    return {
        **_server(connection.origin),
        **_peer(connection, with_port=False),
        "network.protocol.version": "1.1",
    }


def _what_went_wrong(record: RequestRecord) -> tuple[str, str | None] | None:
    """``error.type`` and, where that does not say it all, a description; None if all went well.

    The words of our own errors hold no secret. Others' may.
    """
    error, outcome = record.error, None if record.end is None else record.end.outcome
    if outcome is Outcome.CANCELLED:
        return "trio.Cancelled", None  # It may be in a group.
    if error is not None and outcome is not Outcome.LEFT:
        kind = type(error)
        home = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        words = str(error) if isinstance(error, TriopoolError) else None
        return f"{home}{kind.__qualname__}", words
    if record.response is not None and record.response.status_code >= 400:
        return str(record.response.status_code), None
    return None


def _url(request: RequestInfo, secret: Collection[str] | None) -> str:
    """The URL of a request, with nothing in it that is known to be secret."""
    origin, target = request.origin, request.target
    port = "" if origin.port == _DEFAULT_PORTS[origin.scheme] else f":{origin.port}"
    whole = f"{origin.scheme}://{origin.bracketed_host}{port}"
    if not target.startswith("/"):
        return whole  # CONNECT, or OPTIONS *: it is no path of that origin's.
    path, mark, query = target.partition("?")
    return f"{whole}{path}{mark}{'&'.join(_told(part, secret) for part in query.split('&'))}"


def _told(parameter: str, secret: Collection[str] | None) -> str:
    """What is told of a parameter of a query; *secret* are the names of secret ones, None for all.

    One without a name may be all secret.
    """
    name, mark, value = parameter.partition("=")
    if secret is None and not mark:
        return "REDACTED" if name else ""
    if secret is None or (value and unquote_plus(name).lower() in secret):
        return f"{name}=REDACTED"
    return parameter
