"""One trace from a trade to the WebSocket, its ids in alerts and logs, and spans at a collector."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runtime import telemetry, tracing
from runtime.config import ConfigError, Settings, load_settings
from runtime.frames import decode
from runtime.ingest import Ingest
from runtime.probe import Answer, run_probe
from runtime.providers.file import FileProvider
from runtime.subjects import Subjects
from runtime.tables import write_parquet
from tests.conftest import ROOT, Nats
from tests.gateway.running import running
from tests.monitoring.test_probe import tell_clock, worker

UNSAMPLED = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-00"
T0 = 1_767_623_400_000_000_000
SPOKEN = """\
from runtime import tracing
import sys
tracing.export_to(sys.argv[1], "worker")
with tracing.Sampling(1).begin("ingest", subject="ticks.trades.3"):
    pass
"""


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is recorded from now on."""
    exporter = InMemorySpanExporter()
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())  # once in a process
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    processor = SimpleSpanProcessor(exporter)
    provider.add_span_processor(processor)
    yield exporter
    processor.shutdown()


def named(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {one.name: one for one in spans.get_finished_spans()}


def test_a_span_goes_on_behind_a_message(spans: InMemorySpanExporter) -> None:
    with tracing.Sampling(1).begin("ingest") as headers:
        pass
    assert tracing.is_sampled(headers)
    with tracing.within("market", headers, [headers, {"traceparent": UNSAMPLED}], unit="market.3"):
        present = tracing.present()
    tracing.record("websocket", present, 5, written=2)
    found = named(spans)
    ingest, market, socket = found["ingest"], found["market"], found["websocket"]
    assert market.parent is not None
    assert market.parent.span_id == ingest.context.span_id
    assert [one.context.span_id for one in market.links] == [ingest.context.span_id]
    assert socket.parent is not None
    assert socket.parent.span_id == market.context.span_id
    assert socket.start_time == 5
    assert {one.context.trace_id for one in found.values()} == {ingest.context.trace_id}


def test_what_is_not_sampled_has_ids_and_no_span(
    spans: InMemorySpanExporter, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure("info", "json")
    sampling = tracing.Sampling(3)
    sampled = []
    for _ in range(6):
        with sampling.begin("ingest") as headers:
            sampled.append(tracing.is_sampled(headers))
    assert sampled == [False, False, True, False, False, True]
    with tracing.within("market", {"traceparent": UNSAMPLED}):
        telemetry.get_logger("test").info("something")
        assert tracing.present() == UNSAMPLED
    with tracing.within("market", {}), tracing.within("market", {"traceparent": "nonsense-01"}):
        assert tracing.present() == ""
    tracing.record("websocket", UNSAMPLED, 5)
    tracing.record("websocket", "00-zz-zz-01", 5)
    line = json.loads(capfd.readouterr().err.splitlines()[-1])
    assert (line["trace_id"], line["span_id"]) == ("ab" * 16, "cd" * 8)
    assert [one.name for one in spans.get_finished_spans()] == ["ingest", "ingest"]


async def test_every_frame_of_a_feed_has_a_trace_and_one_of_so_many_is_sampled(
    nats: Nats, subjects: Subjects, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    columns = {"symbol": ["AAPL"] * 4, "ts_ns": T0 + np.arange(4) * 10**9, "price": np.ones(4)}
    write_parquet(tmp_path / "a.parquet", {**columns, "size": np.ones(4)})
    feed = FileProvider([tmp_path / "a.parquet"], speed=0)
    await Ingest(nats.bus, subjects, feed, trace_every=5).run()
    last = (await nats.bus.stream_state("MARKET")).last
    stored = [one async for one in nats.bus.read_to("MARKET", [">"], 1, last)]
    told = [one.headers["traceparent"] for one in stored]
    assert len({one.split("-")[1] for one in told}) == len(told) > 5
    recorded = [one for one in told if tracing.is_recorded(one)]
    assert len(recorded) == len(told) // 5 == len(spans.get_finished_spans())


async def test_one_trace_leads_from_a_trade_to_the_socket(
    nats: Nats, subjects: Subjects, spans: InMemorySpanExporter
) -> None:
    answers: list[Answer] = []
    await tell_clock(nats, subjects)
    async with running(nats, subjects, Settings()) as gate, worker(nats, subjects):
        async with asyncio.timeout(40):
            url = f"http://{gate.address}"
            await run_probe(nats.bus, url, "", 0.1, 3, answers.append)
        alert = next(iter(gate.gateway.hub.alerts()))
        message = await nats.bus.last("ALERTS", "alerts.filtered")
    assert message is not None
    (filtered,) = decode(message.data, subjects.record_of("alerts.filtered"))["id"]
    assert alert["id"] == filtered
    mine = [
        one
        for one in spans.get_finished_spans()
        if one.context is not None and format(one.context.trace_id, "032x") == alert["trace_id"]
    ]
    by_id = {one.context.span_id: one for one in mine}
    socket = next(one for one in mine if one.name == "websocket")
    way = [socket]
    while way[-1].parent is not None:
        way.append(by_id[way[-1].parent.span_id])
    assert [one.name for one in way] == ["websocket", "deliver", "alerts", "market", "probe"]
    assert socket.attributes is not None
    assert socket.attributes["number"] == alert["seq"]


class Collector(BaseHTTPRequestHandler):
    """Takes spans as an OTLP collector does."""

    taken: list[tuple[str, ExportTraceServiceRequest]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        self.taken.append((self.path, request))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_spans_come_to_a_collector_when_the_process_ends() -> None:
    Collector.taken = []
    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", SPOKEN, address], env=environment, check=True, timeout=60)
    server.shutdown()
    server.server_close()
    ((path, request),) = Collector.taken
    (resource,) = request.resource_spans
    assert path == "/v1/traces"
    told = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert told["service.name"] == "jetscan-worker"
    assert [one.name for one in resource.scope_spans[0].spans] == ["ingest"]


def test_without_the_sdk_who_wants_traces_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(tracing.TracingError, match="pip install jetscan"):
        tracing.export_to("http://127.0.0.1:1", "worker")
    monkeypatch.setenv("JETSCAN_OTLP_URL", "collector:4318")
    with pytest.raises(ConfigError, match="expected http://HOST:4318"):
        load_settings()
