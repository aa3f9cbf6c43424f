"""A backtest of one trading day of 10,000 symbols' minute bars: from the file to the report."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from runtime.backtest_command import Job
from runtime.backtest_command import run as run_job
from runtime.backtest_input import Asked
from runtime.config import Settings
from runtime.loader import load_plan
from runtime.subjects import Subjects
from runtime.tables import write_parquet

OPEN_NS = 1_767_623_400_000_000_000  # 2026-01-05 09:30 in New York
MINUTE_NS = 60_000_000_000
RULES = [  # a few thousand alerts a day: each costs 0.2 ms, with its reasons
    ("running", "change_pct_5m > 1.8 and relative_volume_5m > 1"),
    ("busy", "volume_1m > 850 and change_pct_1m > 0.7"),
    ("vwap", "price crosses above vwap and change_pct_15m > 2.5"),
    ("hot", "rsi_14 > 92 volume >= 0"),
    ("high", "dist_to_high_of_day_pct > -0.1 and change_pct_15m > 3 volume >= 0"),
]


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    symbols: int = 10_000,
    minutes: int = 390,
    rules: int = 5,
    processes: int = 0,
) -> tuple[dict[str, Any], dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="jetscan-bench-") as name:
        folder = Path(name)
        _write_day(folder / "day.parquet", symbols, minutes)
        told = [{"id": one, "name": one, "cooldown": 600, "when": when} for one, when in RULES]
        (folder / "rules.json").write_text(json.dumps(told[:rules]), encoding="utf-8")
        asked = Asked(bars=[folder / "day.parquet"])
        job = Job(
            asked, folder / "out", [folder / "rules.json"], None, "both", False, "", processes
        )
        began, began_cpu = time.perf_counter(), _cpu_s()
        found, dead = run_job(
            job,
            partial(load_plan, Path(settings.functions_dir), subjects),
            subjects,
            lambda *_: None,
        )
        seconds, cpu_s = time.perf_counter() - began, _cpu_s() - began_cpu
    sizes = {"symbols": symbols, "minutes": minutes, "rules": rules, "bars": found["bars"]}
    return sizes, {
        "seconds": round(seconds, 2),
        "cpu_s": round(cpu_s, 2),
        "minute_ms": round(seconds / minutes * 1e3, 1),
        "bars_per_s": round(found["bars"] / seconds),
        "alerts": found["alerts.jsonl"],
        "dead": len(dead),
        "peak_rss_mb": _peak_mb(resource.RUSAGE_SELF),
        "peak_rss_of_a_process_mb": _peak_mb(resource.RUSAGE_CHILDREN),  # the largest
    }


def _peak_mb(who: int) -> int:
    return round(resource.getrusage(who).ru_maxrss / 1024)


def _cpu_s() -> float:
    """Of this process and of those that it ran and that are over."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _write_day(path: Path, symbols: int, minutes: int) -> None:
    """Every symbol trades every minute: the dearest day there can be."""
    draw = np.random.default_rng(3)
    price = np.round(np.exp(draw.uniform(1, 5, symbols)), 2)
    parts: dict[str, list[Any]] = {}
    for minute in range(minutes):
        opened = price
        moved = opened * np.exp(draw.standard_normal(symbols) * 0.002)
        price = np.maximum(np.round(moved, 2), 0.01)
        top, bottom = np.maximum(opened, price), np.minimum(opened, price)
        columns = {
            "ts_ns": np.full(symbols, OPEN_NS + minute * MINUTE_NS),
            "open": opened,
            "high": np.round(top * 1.0005, 2),
            "low": np.maximum(np.round(bottom * 0.9995, 2), 0.01),
            "close": price,
            "volume": draw.integers(100, 900, symbols).astype(float),
            "vwap": (opened + price) / 2,
            "count": draw.integers(1, 9, symbols),
        }
        columns["high"] = np.maximum(columns["high"], top)
        columns["low"] = np.minimum(columns["low"], bottom)
        for name, values in columns.items():
            parts.setdefault(name, []).append(values)
    names = [f"S{k}" for k in range(symbols)] * minutes
    write_parquet(path, {"symbol": names} | {n: np.concatenate(v) for n, v in parts.items()})
