"""The guide's tables of metrics are the code's; what gateways tell of NATS is what it holds."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from runtime import telemetry
from runtime.bus import Bus, BusError
from runtime.config import Settings
from runtime.frames import Frame, encode
from runtime.gateway.engine import Engine
from runtime.gateway.levels import Levels
from runtime.ownership import declared_units
from runtime.subjects import Subjects
from runtime.worker import Worker
from tests.conftest import ROOT, Nats
from tests.monitoring.names import METRICS, series

GUIDE = ROOT / "docs" / "monitoring.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", re.MULTILINE)
SPOKEN = re.compile(r"\bjetscan_[a-z_]+[a-z]\b")
NOT_METRICS = {"jetscan_refresh", "jetscan_layout", "jetscan_oidc"}  # cookies and keys of the page
TEXTS = [
    file
    for folder in ("docs", "deploy", "helm")
    for file in sorted((ROOT / folder).rglob("*"))
    if file.suffix in (".md", ".yaml", ".yml", ".json", ".tpl")
]


def test_the_tables_of_the_guide_are_the_metrics_of_the_code() -> None:
    found = {name: rest for name, *rest in ROW.findall(GUIDE.read_text(encoding="utf-8"))}
    expected = {
        name: [
            one._type,
            ", ".join(f"`{label}`" for label in one._labelnames),
            one._documentation,
        ]
        for name, one in METRICS.items()
    }
    assert found == expected


@pytest.mark.parametrize("file", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_metrics_named_anywhere_are_exported(file: Path) -> None:
    spoken = set(SPOKEN.findall(file.read_text(encoding="utf-8"))) - NOT_METRICS
    assert spoken <= METRICS.keys() | series().keys()


def level(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def trade(nats: Nats, subjects: Subjects) -> None:
    columns = {"ts_ns": np.array([10**18]), "price": np.array([5.0]), "size": np.array([1.0])}
    frame = Frame(columns, ["AAPL"], np.zeros(1, dtype=int), "test")
    await nats.bus.put("ticks.trades.3", encode(frame, subjects.record_of("ticks.trades")))


async def test_units_and_lag_are_told_while_a_worker_runs_and_when_none_does(
    nats: Nats, subjects: Subjects
) -> None:
    levels = Levels(nats.bus, subjects, Engine(nats.bus, subjects))
    all_units = len(declared_units(subjects))
    await levels.look()
    assert (level("jetscan_workers"), level("jetscan_units", state="unhosted")) == (0, all_units)
    settings = Settings(functions_dir=str(ROOT / "functions"), snapshot_interval_s=0.2)
    bus, control = await Bus.connect(nats.url, "data"), await Bus.connect(nats.url, "control")
    worker = Worker(settings, subjects, bus, control)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(30):
        while level("jetscan_units", state="hosted") != all_units:
            await levels.look()
    assert (level("jetscan_workers"), level("jetscan_units", state="unhosted")) == (1, 0)
    worker.stop()
    await running
    given_up = json.dumps({"worker": "", "strikes": 0, "cursor": 0}).encode()
    await bus.kv("owners").put("deleted.0", given_up)  # of a function that is no more
    await levels.look()
    assert level("jetscan_units", state="unhosted") == all_units
    await bus.close()
    await control.close()
    await trade(nats, subjects)
    await levels.look()
    assert (level("jetscan_workers"), level("jetscan_units", state="unhosted")) == (0, all_units)
    waiting = {"stream": "MARKET", "consumer": "market-3"}
    assert level("jetscan_consumer_pending", **waiting) == 1
    assert level("jetscan_consumer_pending", stream="MARKET", consumer="market-2") == 0
    assert level("jetscan_stream_messages", stream="MARKET") == 1
    assert level("jetscan_stream_bytes_max", stream="MARKET") == 4 << 30
    assert [level("jetscan_stream_refuses", stream=one) for one in ("MARKET", "BARS")] == [0, 1]
    assert level("consumer_lag", chain="market", partition="3") is None


async def test_a_gateway_that_cannot_look_goes_on_and_looks_again(
    nats: Nats, subjects: Subjects
) -> None:
    levels = Levels(nats.bus, subjects, Engine(nats.bus, subjects))
    keeping = asyncio.create_task(levels.keep())
    await nats.bus.api("STREAM.DELETE.DEAD")  # the look fails
    await asyncio.sleep(0.3)
    assert not keeping.done()
    keeping.cancel()
    bus = await Bus.connect(nats.url, "gone")
    await bus.close()
    with pytest.raises(BusError):
        await Engine(bus, subjects).ask()


def test_errors_that_are_logged_are_counted_and_only_they(
    capfd: pytest.CaptureFixture[str],
) -> None:
    telemetry.configure("info", "json", "worker")
    log = telemetry.get_logger("test")
    log.error("unit failed", unit="market.1")
    log.warning("unit waits", unit="market.1")
    assert level("errors_total", service="worker", error_type="unit failed") == 1
    assert level("errors_total", service="worker", error_type="unit waits") is None
    lines = capfd.readouterr().err.splitlines()
    assert ['"service": "worker"' in one for one in lines] == [True, True]
