"""Traces go through message headers; metrics are served without a gateway."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runtime import telemetry
from runtime.shapes import alert_shapes, latency_ms
from runtime.testing import Harness


@pytest.fixture(scope="module")
def exported() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def test_a_span_continues_behind_a_message(exported: InMemorySpanExporter) -> None:
    with telemetry.span("ingest"):
        headers = telemetry.inject({})
    with telemetry.span("deliver", headers):
        pass
    ingest, deliver = exported.get_finished_spans()
    assert deliver.parent is not None
    assert deliver.parent.span_id == ingest.context.span_id
    assert headers["traceparent"].split("-")[1] == format(ingest.context.trace_id, "032x")


def test_an_alert_names_the_trace_of_its_cause() -> None:
    from functions.alerts import alerts

    out = Harness(alerts).send("alerts", symbol=["A"], ts_ns=[1], price=[2.0])
    (alert,) = alert_shapes(out["alerts.filtered"], "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01")
    assert alert["trace_id"] == "ab" * 16
    assert (alert["seq"], alert["rule_id"], alert["symbol"]) == (1, "test", "A")


async def test_a_worker_serves_its_metrics_and_probes() -> None:
    telemetry.set_unit(
        "market", "3", frames=5, events=9, published=2, suppressed=0, pending=7, snapshot_age_s=1.5
    )
    is_ready = [False]
    server = await telemetry.serve_metrics("127.0.0.1", 0, lambda: is_ready[0])
    address = "http://127.0.0.1:" + str(server.sockets[0].getsockname()[1])
    async with httpx.AsyncClient(base_url=address) as client:
        text = (await client.get("/metrics")).text
        assert 'jetscan_lag_messages{chain="market",partition="3"} 7.0' in text
        assert (await client.get("/ready")).status_code == 503
        is_ready[0] = True
        assert [(await client.get(path)).status_code for path in ("/ready", "/live", "/health", "/x")] == [200, 200, 200, 404]  # fmt: skip
    server.close()
    await asyncio.wait_for(server.wait_closed(), 5)


def test_an_alert_that_is_withdrawn_says_so_and_why() -> None:
    from functions.alerts import alerts

    columns = {"symbol": ["A", "A"], "ts_ns": [1, 2], "price": [2.0, 2.0], "rule_name": ["R", "R"]}
    out = Harness(alerts).send(
        "alerts", **columns, kind=["fired", "withdrawn"], reason=["", "trade cancelled"]
    )
    fired, withdrawn = alert_shapes(out["alerts.filtered"])
    assert (fired["kind"], fired["message"]) == ("fired", "Rule 'R' matched for A")
    assert "reason" not in fired
    assert withdrawn["message"] == "Withdrawn: Rule 'R' matched for A (trade cancelled)"
    assert (withdrawn["kind"], withdrawn["reason"]) == ("withdrawn", "trade cancelled")


def test_latency_is_told_by_the_stages_that_are_known() -> None:
    second_ns = 10**9
    told = latency_ms(
        second_ns, 2 * second_ns, 2 * second_ns + 1_500_000, 2 * second_ns + 1_750_000
    )
    assert told == {"feed": 1000.0, "stream": 1.5, "gateway": 0.25}
    assert latency_ms(second_ns, 0, 3 * second_ns) == {}
    assert latency_ms(second_ns, 2 * second_ns, 3 * second_ns) == {"feed": 1000.0, "stream": 1000.0}


def test_a_replayed_event_and_a_clock_that_is_ahead_have_no_latency_of_the_feed() -> None:
    day_ns, second_ns = 86_400 * 10**9, 10**9
    stored_ns = 2 * day_ns
    said_ns = stored_ns + second_ns
    told = {
        ts_ns: "feed" in latency_ms(ts_ns, stored_ns, said_ns)
        for ts_ns in (
            stored_ns - day_ns,
            stored_ns - 60 * second_ns - 1,
            stored_ns - 60 * second_ns,
            stored_ns,
            stored_ns + 1,
        )
    }
    assert list(told.values()) == [False, False, True, True, False]
    assert latency_ms(day_ns, stored_ns, said_ns) == {"stream": 1000.0}
