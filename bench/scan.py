"""One scan of 10,000 symbols on one core: metrics, rules, their alerts, toplists; and the rules alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from bench.machinery import percentiles_ms
from bench.metrics import MIDNIGHT_NS, MINUTE_NS, RULES, World
from runtime.config import Settings
from runtime.state import Rows, Table, shape_of
from runtime.subjects import Subjects

START_NS = 1_767_623_400_000_000_000
SECOND_NS = 1_000_000_000
NOON = 12 * 60
MANY = 10  # times as many rules, in a second measurement
RARE = 0.97  # a condition holds for one symbol in thirty
WARM = 5  # scans before those that count: what is true at the beginning turns true once
PARTS = ("moments", "values", "rules", "alerts", "list_values", "ranking")


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    symbols: int = 10_000,
    rules: int = 100,
    scans: int = 60,
    days: int = 260,
    minutes: int = 65,
) -> tuple[dict[str, Any], dict[str, Any]]:
    world = World(settings, subjects, symbols)
    world.add_days(days)
    for minute in range(NOON - minutes, NOON - 1):
        world.add_minute(minute)
    world.close(NOON - 1)
    now = MIDNIGHT_NS + NOON * MINUTE_NS + SECOND_NS
    world.clock(now)
    limits = _limits(world.chain.table("scanner"), now)
    found: dict[str, Any] = {}
    prints_s: list[float] = []
    for name, count in (("", rules), ("many_", MANY * rules)):
        spent, alerts, begun_s = _scanned(world, _rules(limits, count), now, scans)
        prints_s += begun_s
        now += MINUTE_NS
        whole = [sum(one.values()) for one in spent]
        found |= {f"{name}{key}": value for key, value in percentiles_ms(whole).items()}
        for part in PARTS:
            found[f"{name}{part}_ms"] = percentiles_ms([one[part] for one in spent])["p50_ms"]
        found[f"{name}alerts_per_scan"] = round(alerts / scans, 1)
    found["prints_p50_ms"] = percentiles_ms(prints_s)["p50_ms"]
    found["ticks_per_s"] = round(symbols / float(np.median(prints_s)))
    sizes = {"symbols": symbols, "rules": rules, "many_rules": MANY * rules, "conditions": 3}
    return {**sizes, "scans": scans}, {**found, **rules_alone(symbols, rules, scans)}


def _limits(state: Any, now: int) -> dict[str, float]:
    """Per metric a threshold that is rarely met; of one that says yes or no, the middle."""
    from functions.market import metrics

    wanted = {name: metrics.ALIASES.get(name, name) for name in RULES}
    values = metrics.compute(set(wanted.values()), state, metrics.at_clock(state, now))
    found = {}
    for name, real in wanted.items():
        if name == "trade_count_1m":  # every symbol prints at every scan
            continue
        known = values[real][np.isfinite(values[real])]
        if len(known):
            limit = float(np.quantile(known, RARE))
            found[name] = limit if limit < known.max() else float(known.min() + known.max()) / 2
    return found


def _rules(limits: dict[str, float], count: int) -> Any:
    from functions.rules import compiled, parse_rules

    draw, names = np.random.default_rng(4), sorted(limits)
    made = [
        {"id": f"r{k}", "name": f"R {k}", "cooldown": 300, "conditions": [
            {"metric": str(name), "operator": ">", "value": limits[name], "volume_threshold": 1000}
            for name in draw.choice(names, 3, replace=False)
        ]}
        for k in range(count)
    ]  # fmt: skip
    parsed, faults = parse_rules(json.dumps({"rules": made}))
    assert not faults, faults
    return compiled(parsed)


def _scanned(
    world: World, rules: Any, now: int, scans: int
) -> tuple[list[dict[str, float]], int, list[float]]:
    """(seconds by part of every scan, alerts, seconds of the prints before each scan).

    Every symbol prints a few shares between two scans: it is prices that make conditions true, not a
    minute's volume, which would pass its threshold at all symbols in a row.
    """
    spent, alerts, prints_s = [], 0, []
    world.clock(now)
    for number in range(scans + WARM):
        at_ns = now + (number + 1) * SECOND_NS // 2
        prints_s.append(world.prints(at_ns, size_max=3))
        parts, said = _scan(world.chain.table("scanner"), rules, at_ns + SECOND_NS // 4)
        if number >= WARM:
            spent.append(parts)
            alerts += said
    return spent, alerts, prints_s[WARM:]


def _scan(state: Any, rules: Any, now: int) -> tuple[dict[str, float], int]:
    """One scan as the scanner does it, part by part, ready to be undone."""
    from functions.market import halts, metrics, partials
    from functions.market.listings import SYSTEM
    from functions.rules import asked, firing
    from functions.scanner import STALE_NS, alert_of

    spent: dict[str, float] = {}
    state.mark(None)
    with _timed(spent, "moments"):  # of all rules, also of those that only prints change
        events = metrics.at_clock(state, now)
        moments = asked.at_clock(state, now, True, STALE_NS, events=events)
        moments = replace(moments, is_clock=False)
    with _timed(spent, "values"):
        for name in rules.metrics:
            moments.values(name)
    with _timed(spent, "rules"):
        fired = firing.fire(rules, moments, state)
    with _timed(spent, "alerts"):
        for one in fired:
            alert_of(state, one, float(state["last"][one.row]), f"clock|{now}", {"clock_ns": now})
    with _timed(spent, "list_values"):
        plan = partials.plan_of(SYSTEM)
        row = np.flatnonzero(halts.is_fresh(state, now, STALE_NS))
        if len(row) < state.rows:
            events = metrics.at_clock(state, now, row)
        values = metrics.compute(plan.metrics, state, events)
    with _timed(spent, "ranking"):
        partials.best_of(state, plan, values, row)
    state.settle()
    return spent, len(fired)


@contextmanager
def _timed(spent: dict[str, float], part: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    spent[part] = time.perf_counter() - began


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
