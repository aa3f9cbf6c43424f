"""One scan: every symbol prints once, all rules and all toplists are evaluated, on one core."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.machinery import control_frame, percentiles_ms, rules_body
from runtime.chain import Chain
from runtime.config import Settings
from runtime.frames import Frame
from runtime.loader import load_plan
from runtime.subjects import Subjects

START_NS = 1_767_623_400_000_000_000
MINUTE_NS = 60_000_000_000


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    symbols: int = 10_000,
    rules: int = 100,
    scans: int = 60,
) -> tuple[dict[str, Any], dict[str, Any]]:
    market = load_plan(Path(settings.functions_dir), subjects).chain("market")
    assert market is not None
    chain = Chain(market, subjects, 0)
    chain.run(1, "control.0", control_frame(subjects, rules_body(rules)))
    draw = np.random.default_rng(3)
    names = [f"S{k}" for k in range(symbols)]
    prices = np.round(np.exp(draw.uniform(1, 5, symbols)), 2)
    for minute in range(20):  # history enough for every metric in use
        prices = _move(prices, draw)
        _print(chain, names, prices, START_NS + minute * MINUTE_NS, draw)
        _tick(chain, START_NS + (minute + 1) * MINUTE_NS)
    prints_s, toplists_s, alerts = [], [], 0
    for number in range(scans):
        prices = _move(prices, draw)
        now = START_NS + 20 * MINUTE_NS + number * 500_000_000
        began = time.perf_counter()
        alerts += sum(one.base == "alerts" for one in _print(chain, names, prices, now, draw))
        prints_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        _tick(chain, now + 400_000_000)
        toplists_s.append(time.perf_counter() - began)
    whole = [a + b for a, b in zip(prints_s, toplists_s, strict=True)]
    sizes = {"symbols": symbols, "rules": rules, "conditions": 3 * rules, "scans": scans}
    results = {
        **percentiles_ms(whole),
        "prints_p50_ms": percentiles_ms(prints_s)["p50_ms"],
        "toplists_p50_ms": percentiles_ms(toplists_s)["p50_ms"],
        "ticks_per_s": round(symbols / float(np.median(prints_s))),
        "alert_frames": alerts,
    }
    return sizes, results


def _move(prices: Any, draw: np.random.Generator) -> Any:
    return np.maximum(np.round(prices * np.exp(draw.standard_normal(len(prices)) * 0.001), 2), 0.01)


def _print(
    chain: Chain, names: list[str], prices: Any, ts_ns: int, draw: np.random.Generator
) -> Any:
    count = len(names)
    columns = {
        "ts_ns": np.full(count, ts_ns),
        "price": prices,
        "size": draw.integers(1, 500, count).astype(float),
    }
    return chain.run_frame("ticks.trades", Frame(columns, names, np.arange(count), "bench"))


def _tick(chain: Chain, ts_ns: int) -> None:
    chain.run_frame("ticks.clock", Frame({"ts_ns": np.array([ts_ns])}, source="bench"))
