"""Traces from tick to WebSocket: the one place that knows OpenTelemetry.

Every frame of a feed gets a trace id, which its alerts keep: `traceparent` in the headers of messages, as W3C
writes it. Of so many frames one is sampled; only these become spans, and only where spans are exported. So an
alert can always be found in the logs, and a span's 60 us are paid now and then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, TraceFlags

TRACEPARENT = "traceparent"
ODD = frozenset("13579bdf")  # the last digit of a traceparent whose trace is sampled
NONE: AbstractContextManager[None] = nullcontext()

_tracer = trace.get_tracer("jetscan")


class TracingError(RuntimeError):
    """Spans cannot be exported; the text says what to do."""


class Sampling:
    """Begins traces: one of so many frames is sampled; 0: none is."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._begun = 0

    @contextlib.contextmanager
    def begin(self, name: str, **attributes: Any) -> Iterator[dict[str, str]]:
        """The headers of a message that begins a trace, with a span around what is done if it is sampled."""
        self._begun += 1
        if not self._every or self._begun % self._every:
            yield {TRACEPARENT: _unsampled()}
            return
        with _tracer.start_as_current_span(name, attributes=attributes):
            yield {TRACEPARENT: present() or _unsampled()}  # without an SDK there is no span


def within(
    name: str, headers: Mapping[str, str], also: Iterable[Mapping[str, str]] = (), **attributes: Any
) -> AbstractContextManager[Any]:
    """Go on with the trace of a message: a span if it is sampled, else its ids for the logs.

    also   headers of messages that are answered with it: their traces are linked
    """
    told = headers.get(TRACEPARENT)
    if told is None:
        return NONE
    parent = _read(told)
    if parent is None:
        return NONE
    if not is_recorded(told):
        return trace.use_span(NonRecordingSpan(parent))
    found = (_read(one.get(TRACEPARENT, "")) for one in also if is_sampled(one))
    return _tracer.start_as_current_span(
        name,
        trace.set_span_in_context(NonRecordingSpan(parent)),
        attributes=attributes,
        links=[Link(one) for one in found if one is not None],
    )


def is_sampled(headers: Mapping[str, str]) -> bool:
    """Whether a message belongs to a trace that is recorded."""
    return is_recorded(headers.get(TRACEPARENT, ""))


def is_recorded(traceparent: str) -> bool:
    """Whether the span that it names is recorded."""
    return traceparent[-1:] in ODD


def present() -> str:
    """The present span as `traceparent`; empty where there is none."""
    found = trace.get_current_span().get_span_context()
    return _written(found) if found.is_valid else ""


def ids() -> dict[str, str]:
    """The present trace and span as fields of a log line."""
    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return {}
    return {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}


def record(name: str, parent: str, began_ns: int, **attributes: Any) -> None:
    """A span that ends now, of something that was not done in one go."""
    if is_recorded(parent) and (found := _read(parent)) is not None:
        inside = trace.set_span_in_context(NonRecordingSpan(found), context.Context())
        _tracer.start_span(name, inside, attributes=attributes, start_time=began_ns).end()


def _unsampled() -> str:
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"


def _written(found: SpanContext) -> str:
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


def _read(text: str) -> SpanContext | None:
    """The span that a traceparent names; None for what is none."""
    parts = text.split("-")
    if len(parts) != 4 or [len(one) for one in parts] != [2, 32, 16, 2]:
        return None
    try:
        numbers = [int(one, 16) for one in parts[1:]]
    except ValueError:
        return None
    found = SpanContext(numbers[0], numbers[1], True, TraceFlags(numbers[2]))
    return found if found.is_valid else None


def export_to(url: str, service: str) -> None:
    """Send spans to an OTLP collector over HTTP; raises TracingError without the SDK."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingError(
            f"JETSCAN_OTLP_URL is set, but {error.name} is not installed: pip install jetscan[traces]"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": f"jetscan-{service}"}))
    exporter = OTLPSpanExporter(f"{url.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))  # ended, and so flushed, at exit
    trace.set_tracer_provider(provider)
