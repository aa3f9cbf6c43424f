"""Logs, metrics and traces: the one place that knows structlog, Prometheus and OpenTelemetry."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import structlog
from opentelemetry import propagate, trace
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
REQUEST_BYTES_MAX = 8 << 10

_UNIT = ["chain", "partition"]
FRAMES = Gauge("jetscan_frames", "Input frames answered since the unit was taken", _UNIT)
EVENTS = Gauge("jetscan_events", "Input events answered since the unit was taken", _UNIT)
OUTPUTS = Gauge("jetscan_outputs", "Output messages stored since the unit was taken", _UNIT)
SUPPRESSED = Gauge("jetscan_suppressed", "Outputs that had been said before", _UNIT)
HANDLER_S = Histogram(
    "jetscan_step_seconds", "Time of a chain for one frame", ["chain"], buckets=LATENCY_S
)
LAG_MESSAGES = Gauge(
    "jetscan_lag_messages", "Input messages not answered yet", ["chain", "partition"]
)
SNAPSHOT_AGE_S = Gauge(
    "jetscan_snapshot_age_seconds", "Age of the saved state", ["chain", "partition"]
)
DEAD_LETTERS = Counter("jetscan_dead_letters_total", "Frames set aside", ["function"])
TAKEOVERS = Counter("jetscan_takeovers_total", "Units taken over from a worker judged dead")
EXPIRED = Counter("jetscan_input_expired_total", "Input messages that expired unread", ["chain"])
SINK_PENDING = Gauge("jetscan_sink_pending", "Messages a sink has not taken", ["sink"])
JOINED = Counter(
    "jetscan_joined_frames_total", "Frames run together with the one before them", ["chain"]
)
INGESTED = Counter("jetscan_ingested_total", "Events published by the feed", ["source", "kind"])
REFERENCE_REFRESHED = Gauge(
    "jetscan_reference_refreshed_timestamp_seconds",
    "When reference data was brought up to date",
    ["source"],
)
REFERENCE_FAILED = Counter(
    "jetscan_reference_failures_total",
    "Times reference data could not be brought up to date",
    ["source"],
)
DROPS = Counter("jetscan_feed_drops_total", "Connections that a feed ended", ["source", "code"])
SHED = Counter(
    "jetscan_shed_total", "Events that were not published, for want of time", ["source", "kind"]
)
UNKNOWN_FIELDS = Counter(
    "jetscan_unknown_fields_total", "Columns of frames that nobody knows", ["subject"]
)
FEED_UNKNOWN = Counter(
    "jetscan_feed_unknown_total",
    "Kinds and fields of a vendor that nobody knows",
    ["source", "what"],
)
TAKEN_OVER = Counter("jetscan_feed_takeovers_total", "Times a source took over", ["source"])
FEED_PRICE_DISAGREEMENT = Gauge(
    "jetscan_feed_price_disagreement",
    "Share of symbols that two sources printed lately at prices more than 0.1 % apart",
    ["source", "published"],
)
FEED_VOLUME_RATIO = Gauge(
    "jetscan_feed_volume_ratio",
    "Volume of a source in the last whole minute over that of the published one",
    ["source", "published"],
)
TAKEN_OVER_SYMBOLS = Counter(
    "jetscan_feed_symbol_takeovers_total", "Symbols that were taken over alone", ["source"]
)
UNFILLED = Counter("jetscan_gaps_unfilled_total", "Gaps that could not be filled", ["source"])
FEED_SYMBOLS = Gauge(
    "jetscan_feed_symbols", "Symbols of a feed: wanted, acknowledged, refused", ["source", "state"]
)
FEED_REFUSED = Counter(
    "jetscan_feed_refused_total", "Messages of a vendor that were refused", ["source"]
)
UNKNOWN_CONDITIONS = Counter(
    "jetscan_unknown_conditions_total", "Prints with a sale condition nobody knows", ["code"]
)
CONNECTIONS = Gauge("websocket_connections", "Open WebSocket connections")
SENT = Counter("websocket_messages_sent_total", "Messages written to WebSocket clients")
CONFLATED = Counter("websocket_conflated_total", "Toplist updates skipped for slow clients")
DROPPED_CLIENTS = Counter(
    "websocket_clients_dropped_total", "Clients cut off because they stopped reading"
)
ALERTS_DELIVERED = Counter("alerts_delivered_total", "Alerts written to WebSocket clients")
DELIVERY_S = Histogram(
    "alert_delivery_latency_seconds", "From an alert's stream to the socket", buckets=LATENCY_S
)
REQUESTS = Counter("http_requests_total", "Requests", ["method", "endpoint", "status"])
REQUEST_S = Histogram(
    "http_request_duration_seconds", "Time of a request", ["endpoint"], buckets=LATENCY_S
)
LIMITED = Counter("http_requests_limited_total", "Requests answered 429", ["limit"])
AUDIT_LOST = Counter("jetscan_audit_lost_total", "Audit rows that only the log has")


def set_unit(
    chain: str,
    partition: str,
    *,
    frames: int,
    events: int,
    published: int,
    suppressed: int,
    pending: int,
    snapshot_age_s: float,
) -> None:
    """What a hosted unit has done; called when it saves and when it is quiet, not per frame."""
    values = {
        FRAMES: frames,
        EVENTS: events,
        OUTPUTS: published,
        SUPPRESSED: suppressed,
        LAG_MESSAGES: pending,
        SNAPSHOT_AGE_S: snapshot_age_s,
    }
    for gauge, value in values.items():
        gauge.labels(chain, partition).set(value)


def configure(level: str, style: str) -> None:
    """Send logs to standard error, as JSON lines or for people."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            _with_trace,
            structlog.processors.dict_tracebacks if style == "json" else _as_is,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _as_is(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return event


def _with_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
        event["span_id"] = format(context.span_id, "016x")
    return event


def get_logger(name: str) -> Any:
    """A logger that carries the module's name."""
    return structlog.get_logger(module=name)


def bind(**values: str) -> None:
    """Add values to every log line of the present task."""
    structlog.contextvars.bind_contextvars(**values)


# -- traces: no cost without an SDK

_tracer = trace.get_tracer("jetscan")


@contextlib.contextmanager
def span(name: str, headers: Mapping[str, str] | None = None, **attributes: Any) -> Iterator[Any]:
    """A span, child of the one that the message's headers name."""
    parent = propagate.extract(dict(headers)) if headers else None
    with _tracer.start_as_current_span(name, context=parent, attributes=attributes) as current:
        yield current


def inject(headers: dict[str, str]) -> dict[str, str]:
    """Add the present span to a message's headers."""
    propagate.inject(headers)
    return headers


# -- metrics over HTTP, for processes without a gateway


def rendered() -> tuple[bytes, str]:
    """Every metric as Prometheus text, and its content type."""
    return generate_latest(), CONTENT_TYPE_LATEST


async def serve_metrics(
    host: str, port: int, is_ready: Callable[[], bool] = lambda: True
) -> asyncio.Server:
    """Answer GET /metrics, /health, /live and /ready; port 0 takes a free one."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.LimitOverrunError, ValueError):
            line = await asyncio.wait_for(reader.readline(), 5)
            status, kind, body = _answered(line.split(b" ")[1].decode(), is_ready)
            head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, host, port, limit=REQUEST_BYTES_MAX)


def _answered(path: str, is_ready: Callable[[], bool]) -> tuple[str, str, bytes]:
    if path == "/metrics":
        body, kind = rendered()
        return "200 OK", kind, body
    if path == "/health":
        return "200 OK", "application/json", b'{"status":"healthy"}'
    if path == "/live":
        return "200 OK", "application/json", b'{"status":"alive"}'
    if path == "/ready" and is_ready():
        return "200 OK", "application/json", b'{"status":"ready"}'
    if path == "/ready":
        return "503 Service Unavailable", "application/json", b'{"status":"not ready"}'
    return "404 Not Found", "text/plain", b"not found"
