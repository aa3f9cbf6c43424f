"""Logs and metrics: the one place that knows structlog and Prometheus."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from runtime import tracing

LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
REQUEST_BYTES_MAX = 8 << 10

WRITE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
ROWS = (1, 5, 10, 25, 50, 100, 250, 500, 1000)
RULES_NAMED_MAX = 1_000  # rules with a series of their own; alerts of others count as OTHERS
OTHERS = "others"

# -- workers: what a unit, a partition of a chain, has done

_UNIT = ["chain", "partition"]
FRAMES = Counter("jetscan_frames_total", "Input frames answered", _UNIT)
EVENTS = Counter("jetscan_events_total", "Events that functions were given", ["chain", "subject"])
OUTPUTS = Counter("jetscan_outputs_total", "Output messages stored", _UNIT)
SUPPRESSED = Counter("jetscan_suppressed_total", "Outputs that had been said before", _UNIT)
TICKS = Counter("ticks_processed_total", "Trades that functions were given", ["partition"])
INDICATORS = Counter(
    "indicators_processed_total", "Rows of indicators that functions were given", ["partition"]
)
ALERTS_PROCESSED = Counter("alerts_processed_total", "Alerts that were numbered or decided about")
SCANNED = Counter(
    "symbols_scanned_total", "Symbols of frames of trades, each once a frame", ["partition"]
)
SCAN_S = Histogram(
    "scan_cycle_seconds", "Time of all functions of a chain for one frame", ["chain"],
    buckets=LATENCY_S,
)  # fmt: skip
FUNCTION_S = Histogram(
    "jetscan_function_seconds", "Time of one call of a function", ["function"], buckets=LATENCY_S
)
DESIRED_WORKERS = Gauge("jetscan_desired_workers", "Workers that a chain wants", ["chain"])
CHAIN_LAG_S = Gauge(
    "jetscan_lag_seconds", "Event time by which the last partition of a chain is behind", ["chain"]
)
LAG = Gauge("consumer_lag", "Input messages not answered yet", _UNIT)
LAG_S = Gauge(
    "consumer_lag_seconds", "How long the input waited that is answered now; 0: none waits", _UNIT
)
QUEUED = Gauge("worker_queue_depth", "Input messages that the worker holds", _UNIT)
SNAPSHOT_AGE_S = Gauge("jetscan_snapshot_age_seconds", "Age of the saved state", _UNIT)
STATE_BYTES = Gauge("jetscan_state_bytes", "Saved state", _UNIT)
SYMBOLS = Gauge("symbol_count", "Symbols that a unit has state of", _UNIT)
LAST_TICK = Gauge(
    "last_tick_timestamp", "Event time that a unit has reached, seconds since 1970", _UNIT
)
ALERTS_EMITTED = Counter("alerts_emitted_total", "Alerts that a rule raised", ["rule_id"])
ALERTS_DEDUPLICATED = Counter(
    "alerts_deduplicated_total", "Messages of alerts found to be said before, and not said again"
)
_UNIT_GAUGES = (LAG, LAG_S, QUEUED, SNAPSHOT_AGE_S, STATE_BYTES, SYMBOLS, LAST_TICK)

# -- writing: to streams and to the database

_WRITE = ["stream", "partition"]
PUBLISHED = Counter("stream_publish_total", "Messages stored", _WRITE)
PUBLISH_ERRORS = Counter("stream_publish_errors_total", "Tries to store one that failed", _WRITE)
PUBLISH_S = Histogram(
    "stream_publish_latency_seconds", "Until a message was acknowledged", _WRITE, buckets=WRITE_S
)
PUBLISHED_ROWS = Histogram(
    "stream_publish_batch_size", "Events in a frame of ingest", ["stream"], buckets=ROWS
)
WRITTEN = Counter("timescale_write_total", "Rows written to PostgreSQL, or left out", ["status"])
WRITE_ERRORS = Counter(
    "timescale_write_errors_total", "Batches or rows that PostgreSQL did not take", ["error_type"]
)
WRITTEN_S = Histogram(
    "timescale_write_latency_seconds", "Time of a batch", ["operation"], buckets=LATENCY_S
)
WRITTEN_ROWS = Histogram(
    "timescale_write_batch_size", "Rows of a batch", ["operation"], buckets=ROWS
)
WRITING = Gauge("timescale_write_queue_depth", "Rows given to PostgreSQL and not taken yet")
RECONNECTS = Counter("jetscan_nats_reconnects_total", "Connections to NATS made again")
ERRORS = Counter("errors_total", "Errors logged", ["service", "error_type"])
BUILD = Gauge("jetscan_build_info", "1; the version is a label", ["version", "service"])

DEAD_LETTERS = Counter("jetscan_dead_letters_total", "Frames set aside", ["function"])
TAKEOVERS = Counter("jetscan_takeovers_total", "Units taken over from a worker judged dead")
EXPIRED = Counter("jetscan_input_expired_total", "Input messages that expired unread", ["chain"])
SINK_PENDING = Gauge("jetscan_sink_pending", "Messages a sink has not taken", ["sink"])
JOINED = Counter(
    "jetscan_joined_frames_total", "Frames run together with the one before them", ["chain"]
)
LAST_EVENT = Gauge(
    "jetscan_feed_last_event_timestamp_seconds", "When the feed last sent a trade", ["source"]
)
FEED_UP = Gauge("jetscan_feed_up", "1: what is wanted comes; 0: standby or lost", ["source"])
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
# -- gateway: what NATS holds and who hosts it, and what clients are served

STREAM_BYTES = Gauge("jetscan_stream_bytes", "Stored in a stream", ["stream"])
STREAM_BYTES_MAX = Gauge("jetscan_stream_bytes_max", "Room of a stream; 0: no limit", ["stream"])
STREAM_MESSAGES = Gauge("jetscan_stream_messages", "Messages in a stream", ["stream"])
STREAM_FULL = Gauge("jetscan_stream_refuses", "1: refuses writes when it is full", ["stream"])
CONSUMER_PENDING = Gauge(
    "jetscan_consumer_pending", "Messages a durable consumer has not got", ["stream", "consumer"]
)
CONSUMER_UNACKED = Gauge(
    "jetscan_consumer_unacknowledged", "Messages got and not acknowledged", ["stream", "consumer"]
)
WORKERS = Gauge("jetscan_workers", "Workers that answer")
UNITS = Gauge("jetscan_units", "Units that a worker hosts, or none", ["state"])
PAUSED = Gauge("jetscan_paused", "Functions and chains that are paused")
LOOKED_AT = Gauge(
    "jetscan_levels_timestamp_seconds", "When NATS and the workers were last looked at"
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
RULES_CREATED = Counter("rules_created_total", "Rules made over REST")
RULES_UPDATED = Counter("rules_updated_total", "Rules changed over REST")
RULES_DELETED = Counter("rules_deleted_total", "Rules removed over REST")
RULES_ACTIVE = Gauge("rules_active_count", "Rules that are enabled and compile")
AUDIT_LOST = Counter("jetscan_audit_lost_total", "Audit rows that only the log has")

PROBE_S = Histogram("jetscan_probe_seconds", "From a probe's trade to its alert", buckets=LATENCY_S)
PROBES = Counter("jetscan_probes_total", "Probes: answered or lost", ["result"])
PROBED_AT = Gauge("jetscan_probe_answered_timestamp_seconds", "When a probe was last answered")


def set_scaling(chain: str, desired: int, lag_s: float | None) -> None:
    """What autoscalers go by; a lag that is not known keeps its last value, as the figure does."""
    DESIRED_WORKERS.labels(chain).set(desired)
    if lag_s is not None:
        CHAIN_LAG_S.labels(chain).set(lag_s)


@dataclass(frozen=True)
class UnitCounts:
    """What a unit has done since it was taken, and how it is now."""

    frames: int
    published: int
    suppressed: int
    events: Mapping[str, int]  # by subject
    symbols_scanned: int
    pending: int
    lag_s: float
    queued: int
    snapshot_age_s: float
    state_bytes: int
    symbols: int
    clock_ns: int


class UnitMeter:
    """The metrics of a hosted unit; told when it saves and once a second, not per frame."""

    def __init__(self, chain: str, partition: str) -> None:
        self._labels = chain, partition
        self._told: dict[str, int] = {}

    def tell(self, counts: UnitCounts) -> None:
        """Take the counts of now."""
        chain, partition = self._labels
        self._add(FRAMES.labels(*self._labels), "frames", counts.frames)
        self._add(OUTPUTS.labels(*self._labels), "published", counts.published)
        self._add(SUPPRESSED.labels(*self._labels), "suppressed", counts.suppressed)
        self._add(SCANNED.labels(partition), "scanned", counts.symbols_scanned)
        for subject, events in counts.events.items():
            self._add(EVENTS.labels(chain, subject), subject, events)
        self._add(TICKS.labels(partition), "ticks", counts.events.get("ticks.trades", 0))
        self._add(INDICATORS.labels(partition), "indicators", counts.events.get("indicators", 0))
        numbered = counts.events.get("alerts", 0) + counts.events.get("alerts.filtered", 0)
        self._add(ALERTS_PROCESSED, "alerts", numbered)
        now = (
            counts.pending,
            counts.lag_s,
            counts.queued,
            counts.snapshot_age_s,
            counts.state_bytes,
            counts.symbols,
            counts.clock_ns / 1e9,
        )
        for gauge, value in zip(_UNIT_GAUGES, now, strict=True):
            gauge.labels(*self._labels).set(value)

    def _add(self, counter: Counter, name: str, value: int) -> None:
        counter.inc(max(value - self._told.get(name, 0), 0))
        self._told[name] = value

    def forget(self) -> None:
        """The unit is somebody else's: what it was here must not be taken for what it is."""
        for gauge in _UNIT_GAUGES:
            with contextlib.suppress(KeyError):
                gauge.remove(*self._labels)


def note_published(stream: str, partition: str, took_s: float) -> None:
    """A message was stored."""
    stored, latency = _published(stream, partition)
    stored.inc()
    latency.observe(took_s)


@functools.cache  # labels are looked up once, not for every message
def _published(stream: str, partition: str) -> tuple[Counter, Histogram]:
    return PUBLISHED.labels(stream, partition), PUBLISH_S.labels(stream, partition)


def note_feeds(are_up: Mapping[str, bool]) -> None:
    """How the feeds of this process are; a source that a standby took over from is no longer told."""
    FEED_UP.clear()
    for source, is_up in are_up.items():
        FEED_UP.labels(source).set(is_up)


_rules_named: set[str] = set()


def note_alerts(rule_ids: Iterable[str]) -> None:
    """Alerts were raised by these rules, each as often as it is named."""
    for rule_id, times in collections.Counter(rule_ids).items():
        if len(_rules_named) < RULES_NAMED_MAX:
            _rules_named.add(rule_id)
        ALERTS_EMITTED.labels(rule_id if rule_id in _rules_named else OTHERS).inc(times)


def timed(function: str) -> AbstractContextManager[Any]:
    """Measure one call of a function."""
    return _function(function).time()


@functools.cache
def _function(name: str) -> Histogram:
    return FUNCTION_S.labels(name)


_service = ["jetscan"]
# Without local variables: they may be passwords.
TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure(level: str, style: str, service: str = "jetscan") -> None:
    """Send logs to standard error, as JSON lines or for people; `service` is what this process is."""
    _service[0] = service
    BUILD.labels(version("jetscan"), service).set(1)
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            _counted,
            _with_trace,
            TRACEBACKS if style == "json" else _as_is,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _as_is(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return event


def _counted(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Count errors by what is said of them: a text of the code, so that there are few."""
    event["service"] = _service[0]
    if method in ("error", "exception", "critical"):
        ERRORS.labels(_service[0], event["event"]).inc()
    return event


def _with_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.update(tracing.ids())
    return event


def get_logger(name: str) -> Any:
    """A logger that carries the module's name."""
    return structlog.get_logger(module=name)


def bind(**values: str) -> None:
    """Add values to every log line of the present task."""
    structlog.contextvars.bind_contextvars(**values)


# -- metrics over HTTP, for processes without a gateway


def rendered() -> tuple[bytes, str]:
    """Every metric as Prometheus text, and its content type."""
    return generate_latest(), CONTENT_TYPE_LATEST


async def serve_metrics(
    host: str,
    port: int,
    is_ready: Callable[[], bool] = lambda: True,
    scaling: Callable[[], Mapping[str, object]] | None = None,
) -> asyncio.Server:
    """Answer GET /metrics, /health, /live and /ready; port 0 takes a free one.

    scaling   what GET /scaling answers, in the process that has the figures
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.LimitOverrunError, ValueError):
            line = await asyncio.wait_for(reader.readline(), 5)
            path = line.split(b" ")[1].decode()
            status, kind, body = _answered(path, is_ready)
            if path == "/scaling" and scaling is not None:
                status, kind, body = "200 OK", "application/json", json.dumps(scaling()).encode()
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
