"""The same file through `jetscan backtest` and through NATS: the same bars, the same alert ids."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from runtime.bus import Bus
from runtime.config import Settings
from runtime.frames import Frame, decode, encode, texts
from runtime.ingest import Ingest
from runtime.providers.file import FileProvider
from runtime.providers.sim import SimProvider
from runtime.shapes import alert_shapes
from runtime.subjects import Subjects
from runtime.tables import write_parquet
from runtime.worker import Worker
from tests.conftest import ROOT, Nats

RULES = [
    {"id": "up", "name": "Up", "cooldown": 60, "conditions": [{"metric": "change_pct_1m", "operator": ">", "value": 0.2}]},
    {"id": "rsi", "name": "RSI", "cooldown": 60, "conditions": [{"metric": "rsi_14", "operator": ">", "value": 60}]},
]  # fmt: skip
MINUTE_NS = 60_000_000_000


def recorded(path: Path) -> Path:
    """Twenty minutes of a simulated market as a file."""
    parts: dict[str, list[Any]] = {"symbol": [], "ts_ns": [], "price": [], "size": [], "upd": []}
    for batch in SimProvider(12, 9, rate=8).batches():
        if (
            batch.kind == "clock"
            and len(parts["ts_ns"])
            and batch.newest_ns > parts["ts_ns"][0][0] + 20 * MINUTE_NS
        ):
            break
        if batch.kind == "trades" and batch.index is not None:
            parts["symbol"] += [batch.symbols[one] for one in batch.index]
            for name in ("ts_ns", "price", "size", "upd"):
                parts[name].append(batch.columns[name])
    write_parquet(
        path,
        {
            "symbol": parts["symbol"],
            **{name: np.concatenate(parts[name]) for name in ("ts_ns", "price", "size", "upd")},
        },
    )
    return path


def backtested(tmp_path: Path, file: Path) -> Path:
    (tmp_path / "rules.json").write_text(json.dumps(RULES), encoding="utf-8")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "runtime.cli",
            "backtest",
            "--trades",
            str(file),
            "--rules",
            str(tmp_path / "rules.json"),
            "--out",
            str(tmp_path / "out"),
            "--json",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return tmp_path / "out"


def test_a_backtests_bars_are_a_plain_group_by(tmp_path: Path) -> None:
    file = recorded(tmp_path / "day.parquet")
    out = backtested(tmp_path, file)
    trades = pl.read_parquet(file).sort("ts_ns", maintain_order=True)
    eligible = trades.filter(pl.col("upd") == 7)
    keys = ["symbol", pl.col("ts_ns") // MINUTE_NS * MINUTE_NS]
    prices = eligible.group_by(keys, maintain_order=True).agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
    )
    volumes = trades.group_by(keys).agg(volume=pl.col("size").sum())
    expected = prices.join(volumes, on=["symbol", "ts_ns"]).sort("symbol", "ts_ns")
    bars = pl.read_parquet(out / "bars.parquet").select(expected.columns).sort("symbol", "ts_ns")
    assert bars.equals(expected)
    indicators = pl.read_parquet(out / "indicators.parquet")
    assert indicators.columns[:2] == ["symbol", "ts_ns"]
    assert indicators.height == bars.height


async def test_live_and_backtest_say_the_same(
    tmp_path: Path, nats: Nats, subjects: Subjects
) -> None:
    file = recorded(tmp_path / "day.parquet")
    out = backtested(tmp_path, file)
    body = json.dumps({"rules": RULES})
    control = Frame({"version": np.array([1]), "body": texts([body])}, source="test")
    for partition in range(subjects.partitions):
        data = encode(control, subjects.record_of("control"))
        await nats.bus.put(subjects.wire("control", partition), data)
    await Ingest(nats.bus, subjects, FileProvider([file], speed=0)).run()
    await asyncio.wait_for(answered(nats, subjects), 60)
    alerts = [one for m in await read(nats.bus, "ALERTS", "alerts.filtered") for one in alert_shapes(decode(m.data, subjects.record_of("alerts.filtered")))]  # fmt: skip
    for message in await read(nats.bus, "ALERTS", "alerts.filtered"):
        assert 0 < int(message.headers["Jetscan-Input-Time"]) <= message.ts_ns
    lines = (out / "alerts.jsonl").read_text(encoding="utf-8").splitlines()
    recorded_alerts = [json.loads(line) for line in lines]
    assert len(recorded_alerts) > 5
    assert sorted(one["id"] for one in alerts) == sorted(one["id"] for one in recorded_alerts)
    outcomes = pl.read_parquet(out / "outcomes.parquet")
    assert outcomes["id"].to_list() == [one["id"] for one in recorded_alerts]
    assert outcomes["return_1m_pct"].is_finite().any()
    rules = pl.read_parquet(out / "rule_outcomes.parquet")
    assert rules["alerts"].sum() == len(recorded_alerts)
    assert [one["seq"] for one in alerts] == list(range(1, len(alerts) + 1))
    live = {}
    for partition in range(subjects.partitions):
        for message in await read(nats.bus, "BARS", f"bars.final.{partition}"):
            frame = decode(message.data, subjects.record_of("bars.final"))
            for row, symbol in enumerate(frame["symbol"]):
                live[symbol, int(frame["ts_ns"][row])] = [float(frame[n][row]) for n in ("open", "high", "low", "close", "volume", "vwap")]  # fmt: skip
    table = pl.read_parquet(out / "bars.parquet")
    names = ["open", "high", "low", "close", "volume", "vwap"]
    expected = {(row["symbol"], row["ts_ns"]): [row[n] for n in names] for row in table.to_dicts()}
    assert live == expected


async def answered(nats: Nats, subjects: Subjects) -> None:
    """Host everything until nothing is pending, then hand over."""
    bus, control = await Bus.connect(nats.url, "w"), await Bus.connect(nats.url, "c")
    worker = Worker(Settings(functions_dir=str(ROOT / "functions")), subjects, bus, control)
    running = asyncio.create_task(worker.run())
    calm = 0
    while calm < 3:
        await asyncio.sleep(0.2)
        states = [
            await nats.bus.consumer_state("MARKET", f"market-{partition}")
            for partition in range(subjects.partitions)
        ]
        states.append(await nats.bus.consumer_state("ALERTS", "alerts-all"))
        done = all(
            state is not None and not state.pending and not state.unacknowledged for state in states
        )
        calm = calm + 1 if done else 0
        assert not running.done(), running.exception()
    worker.stop()
    await running
    await bus.close()
    await control.close()


async def read(bus: Bus, stream: str, subject: str) -> list[Any]:
    return await bus.history(stream, subject, 10**6)
