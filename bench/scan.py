"""One scan: every symbol prints once, all rules and all toplists are evaluated, on one core."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.machinery import control_frame, percentiles_ms, rules_body
from bench.metrics import RULES
from runtime.chain import Chain
from runtime.config import Settings
from runtime.frames import Frame
from runtime.loader import load_plan
from runtime.state import Rows, Table, shape_of
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
        **rules_alone(symbols, rules, scans),
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


# -- the rules alone


def rules_alone(symbols: int, rules: int, scans: int) -> dict[str, Any]:
    """Rules of three conditions over 43 metrics, metrics given: measured, and what the parts predict.

    Predicted: a comparison for each distinct test, an `&` and an `any` for each condition of a rule,
    a copy, a comparison and two writes for each rule's last truth.
    """
    from functions.rules import compiled, parse_rules
    from functions.rules.firing import fire
    from functions.rules.kept import STATE

    parsed, faults = parse_rules(_mixed(rules))
    made = compiled(parsed)
    assert not faults
    assert not made.faults
    shapes = {name: shape_of(name, shape) for name, shape in STATE.items()}
    state = Table(Rows([f"S{k}" for k in range(symbols)]), shapes)
    draw = np.random.default_rng(5)
    values = {name: draw.standard_normal(symbols) for name in made.metrics}
    spent, fired = [], 0
    for number in range(scans + 3):
        for one in values.values():
            moved = draw.random(symbols) < 0.02
            one[moved] = draw.standard_normal(int(moved.sum()))
        moments = _moments(symbols, START_NS + number * 1_000_000_000, values)
        state.mark(None)
        began = time.process_time()  # of this process: what else runs does not count
        said = len(fire(made, moments, state))
        spent.append(time.process_time() - began)
        fired += said if number >= 3 else 0
        state.settle()
    predicted_s = _predicted_s(symbols, len(made.tests), 3 * rules, rules)
    return {
        "rules_cpu_p50_ms": percentiles_ms(spent[3:])["p50_ms"],
        "rules_cpu_p95_ms": percentiles_ms(spent[3:])["p95_ms"],
        "rules_predicted_cpu_ms": round(1000 * predicted_s, 3),
        "rules_tests": len(made.tests),
        "rules_fired_per_scan": round(fired / scans, 1),
    }


def _mixed(rules: int) -> str:
    """Rules of three different metrics each; about one symbol in a thousand meets all three."""
    draw = np.random.default_rng(4)
    return json.dumps(
        {
            "rules": [
                {
                    "id": f"r{k}",
                    "name": f"R {k}",
                    "cooldown": 300,
                    "conditions": [
                        {"metric": str(name), "operator": ">", "value": float(value), "volume_threshold": 1000}
                        for name, value in zip(draw.choice(RULES, 3, replace=False), draw.uniform(1.1, 1.5, 3), strict=True)
                    ],
                }
                for k in range(rules)
            ]
        }
    )  # fmt: skip


def _moments(symbols: int, ts_ns: int, values: dict[str, Any]) -> Any:
    from functions.market.running import runs_of
    from functions.rules.moments import Moments

    place, one = np.arange(symbols), np.ones(symbols, dtype=np.int64)
    volume, session = np.full(symbols, 5000.0), np.full(symbols, 2, dtype=np.uint8)
    may_fire = np.zeros(symbols, dtype=np.uint8)
    return Moments(
        runs_of(place), one * ts_ns, values.__getitem__, lambda: volume, session, one, one, 0 * one, may_fire
    )  # fmt: skip


def _predicted_s(symbols: int, tests: int, conditions: int, rules: int) -> float:
    values, mask, byte = np.ones(symbols), np.zeros(symbols, dtype=bool), np.zeros(symbols, "u1")
    return (
        tests * (_cost_s(lambda: values > 2.0) + _cost_s(mask.any))
        + conditions * (_cost_s(lambda: mask & mask) + _cost_s(mask.any))
        + rules * (2 * _cost_s(byte.copy) + 2 * _cost_s(lambda: mask > mask))
    )


def _cost_s(do: Any) -> float:
    """Seconds of one operation: the best of a few rounds."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(200):
            do()
        best = min(best, (time.perf_counter() - began) / 200)
    return best
