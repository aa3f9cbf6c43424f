"""Metrics of 10,000 symbols with a year of days and a day of minutes: all names, one scan, one minute close, memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.machinery import percentiles_ms
from runtime.chain import Chain
from runtime.config import Settings
from runtime.frames import Frame
from runtime.loader import load_plan
from runtime.subjects import Subjects

MIDNIGHT_NS = 1_767_589_200_000_000_000  # 2026-01-05 in New York
MINUTE_NS = 60_000_000_000
DAY_NS = 86_400_000_000_000
OPEN = 240  # minutes after midnight at which the day begins
CLOSE_AT = 12 * 60  # noon: candles of every timeframe end
# What 100 rules of traders name, and the 20 toplists: price, change, volume, levels, candles, averages.
RULES = (
    "price change_1m change_5m change_pct_1m change_pct_5m change_pct_15m change_from_close_pct change_from_open_pct "
    "gap_from_close_pct volume_1m volume_5m volume_daily dollar_volume_5m dollar_volume_daily avg_volume_10d "
    "relative_volume_1m relative_volume_5m relative_volume_daily relative_volume_same_time range_5m range_pct_today "
    "position_in_range_today position_in_range_20d rsi_14_1m rsi_14_5m atr_14_1m atrp_14_daily vwap_dist_pct "
    "ma_dist_ema9_5m_pct ma_dist_sma200_daily_pct trade_count_1m consecutive_candles_5m minutes_in_market float "
    "dist_to_high_of_day_pct dist_to_low_of_day_pct dist_to_recent_high_5m_pct volume_spike_10_5m is_bullish_candle_5m "
    "bullish_engulfing_5m inside_bar_15m new_candle_high_5m lower_shadow_ratio_5m"
).split()
PRINT_COLUMNS = ("print_ns", "print_price", "print_size", "print_id", "print_kind")
CHANGE_COLUMNS = ("change_ns", "change_price")
CLOSING = (
    "bars",
    "indicators",
    "scanner",
)  # who closes a minute; ranking toplists is no part of it
AT_PRINTS = "crossed_above_vwap broke_recent_high_5m rejected_recent_high_5m running_up_60s_pct"
TOPLISTS = (
    "change_pct_1m change_pct_5m change_pct_15m change_pct_60m change_from_close_pct volume_1m volume_5m volume_15m "
    "volume_60m volume_daily rsi_14_1m relative_volume_15m vwap_dist_5m_pct"
).split()


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    symbols: int = 10_000,
    minutes: int = CLOSE_AT - OPEN,
    days: int = 260,
    scans: int = 40,
) -> tuple[dict[str, Any], dict[str, Any]]:
    from functions.market import metrics

    world = World(settings, subjects, symbols)
    world.add_days(days)
    world.fill_profile()
    world.fill_prints()
    for minute in range(CLOSE_AT - minutes, CLOSE_AT - 1):
        world.add_minute(minute)
    close_s = world.close(CLOSE_AT - 1)
    state = world.chain.table("scanner")
    now = MIDNIGHT_NS + CLOSE_AT * MINUTE_NS
    wanted = {metrics.ALIASES.get(name, name) for name in (*RULES, *TOPLISTS)}

    def seconds(names: Any, at_ns: int) -> float:
        world.clock(at_ns)
        began = time.perf_counter()
        metrics.compute(names, state, metrics.at_clock(state, at_ns))
        return time.perf_counter() - began

    second_ns = 1_000_000_000
    first_s = seconds(metrics.NAMES, now + second_ns)  # folds the year of days, sums up the morning
    every_s = [seconds(metrics.NAMES, now + (k + 2) * second_ns) for k in range(scans // 2)]
    now += MINUTE_NS
    minute_s = seconds(metrics.NAMES, now + second_ns)
    now += MINUTE_NS
    first_scan_s = seconds(wanted, now + second_ns)
    scan_s = [seconds(wanted, now + (k + 2) * second_ns) for k in range(scans)]
    print_s = [world.prints(now + (k + 50) * second_ns) for k in range(5)]
    families = _families(metrics, state, now + MINUTE_NS) if not quiet else {}
    sizes = {"symbols": symbols, "days": days, "minutes": minutes, "scans": scans, "names": len(metrics.NAMES), "names_of_a_scan": len(wanted)}  # fmt: skip
    return sizes, {
        "all_ms": percentiles_ms(every_s)["p50_ms"],
        "all_p95_ms": percentiles_ms(every_s)["p95_ms"],
        "all_first_of_minute_ms": round(minute_s * 1e3, 1),
        "all_first_of_day_ms": round(first_s * 1e3, 1),
        "scan_ms": percentiles_ms(scan_s)["p50_ms"],
        "scan_p95_ms": percentiles_ms(scan_s)["p95_ms"],
        "scan_first_of_minute_ms": round(first_scan_s * 1e3, 1),
        "close_ms": round(sum(close_s[name] for name in CLOSING) * 1e3, 1),
        "close_cpu_ms": round(sum(close_s[f"{name}_cpu"] for name in CLOSING) * 1e3, 1),
        **{f"close_{name}_ms": round(value * 1e3, 1) for name, value in close_s.items()},
        "prints_ms": percentiles_ms(print_s)["p50_ms"],
        "state_mb": round(
            sum(world.chain.table(one).bytes_used for one in ("bars", "indicators", "scanner"))
            / 1e6
        ),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **families,
    }


class World:
    """One chain that holds every symbol, fed with days and minutes."""

    def __init__(self, settings: Settings, subjects: Subjects, symbols: int) -> None:
        plan = load_plan(
            Path(settings.functions_dir), subjects, {"scanner": {"watch": AT_PRINTS}}
        ).chain("market")
        assert plan is not None
        self.chain = Chain(plan, subjects, 0)
        self.names = [f"S{k}" for k in range(symbols)]
        self.draw = np.random.default_rng(3)
        self.price = np.round(np.exp(self.draw.uniform(1, 5, symbols)), 2)

    def send(self, base: str, columns: dict[str, Any]) -> None:
        index = None if base == "ticks.clock" else np.arange(len(self.names))
        names = None if index is None else self.names
        for output in self.chain.run_frame(base, Frame(columns, names, index, "bench")):
            assert output.base != "dead", output.data

    def clock(self, ts_ns: int) -> None:
        self.send("ticks.clock", {"ts_ns": np.array([ts_ns])})

    def candles(self, spread: float) -> Iterator[tuple[str, Any]]:
        opened = self.price
        moved = opened * np.exp(self.draw.standard_normal(len(opened)) * spread)
        self.price = np.maximum(np.round(moved, 2), 0.01)
        yield "open", opened
        yield "high", np.round(np.maximum(opened, self.price) * (1 + spread / 2), 2)
        yield "low", np.maximum(np.round(np.minimum(opened, self.price) * (1 - spread / 2), 2), 0.01)  # fmt: skip
        yield "close", self.price

    def add_days(self, count: int) -> None:
        last = MIDNIGHT_NS // DAY_NS
        for day in range(last - count, last):
            columns = dict(self.candles(0.02))
            columns["volume"] = self.draw.integers(100_000, 900_000, len(self.names)).astype(float)
            columns["factor"] = np.full(len(self.names), np.nan)
            self.send("ticks.daily", {"ts_ns": np.full(len(self.names), day * DAY_NS), **columns})

    def fill_profile(self) -> None:
        """Volumes by minute of all days that are kept, as if they had been lived through."""
        from functions.market.state import DAYS, PROFILE_MINUTES

        table, rows = self.chain.table("scanner"), slice(None)
        for slot in range(DAYS * PROFILE_MINUTES):
            volume = self.draw.integers(100, 900, len(self.names)).astype("f4")
            table.put("profile", (rows, slot), volume)
        table["profile_days"] = DAYS
        table["profile_kind"] = np.arange(DAYS + 1) < DAYS

    def fill_prints(self) -> None:
        """Recent prints and price changes, as many as are kept: of a day long ago, so that none counts."""
        for function, names in (("bars", PRINT_COLUMNS), ("scanner", CHANGE_COLUMNS)):
            table = self.chain.table(function)
            for name in names:
                table.put(name, slice(None), 1)

    def add_minute(self, minute: int) -> None:
        """A minute as the bars stream has it, which is how a day is rebuilt."""
        ts_ns = MIDNIGHT_NS + minute * MINUTE_NS
        columns = dict(self.candles(0.001))
        columns["volume"] = self.draw.integers(100, 900, len(self.names)).astype(float)
        columns |= {"vwap": columns["close"], "count": np.full(len(self.names), 3)}
        columns["revision"] = np.zeros(len(self.names), dtype=np.int32)
        self.send("bars.final", {"ts_ns": np.full(len(self.names), ts_ns), **columns})
        self.clock(ts_ns + MINUTE_NS)

    def prints(self, ts_ns: int, size_max: int = 499) -> float:
        """One print of every symbol; the seconds it took."""
        count = len(self.names)
        price = np.maximum(np.round(self.price * (1 + self.draw.standard_normal(count) * 1e-4), 2), 0.01)  # fmt: skip
        columns = {"ts_ns": np.full(count, ts_ns), "price": price}
        columns["size"] = self.draw.integers(1, size_max + 1, count).astype(float)
        began = time.perf_counter()
        self.send("ticks.trades", columns)
        return time.perf_counter() - began

    def close(self, minute: int) -> dict[str, float]:
        """The close of a minute in which all traded: seconds by step."""
        start = MIDNIGHT_NS + minute * MINUTE_NS
        for second in (1, 30):
            self.prints(start + second * 1_000_000_000)
        with _timed(self.chain) as steps:
            self.clock(start + MINUTE_NS)
        return steps


@contextmanager
def _timed(chain: Chain) -> Iterator[dict[str, float]]:
    """Seconds by function in its handlers; of the scanner's clock all but the ranking of toplists."""
    from functions.market import tape

    steps: dict[str, float] = {}
    kept, tick = dict(chain._readers), tape.tick
    for base, readers in kept.items():
        chain._readers[base] = [_counted(reader, steps) for reader in readers]
    tape.tick = _counting(tick, steps, "scanner")
    try:
        yield steps
    finally:
        chain._readers, tape.tick = kept, tick


def _counted(reader: Any, steps: dict[str, float]) -> Any:
    name, binding = reader.hosted.name, reader.binding
    if (name, binding.subject) == ("scanner", "ticks.clock"):
        name = "toplists"
    handler = _counting(binding.handler, steps, name)
    return replace(reader, binding=replace(binding, handler=handler))


def _counting(run: Callable[..., Any], steps: dict[str, float], name: str) -> Callable[..., Any]:
    def run_timed(*given: Any, **named: Any) -> Any:
        began, began_cpu = time.perf_counter(), time.process_time()
        try:
            return run(*given, **named)
        finally:
            steps[name] = steps.get(name, 0.0) + time.perf_counter() - began
            steps[f"{name}_cpu"] = steps.get(f"{name}_cpu", 0.0) + time.process_time() - began_cpu

    return run_timed


def _families(metrics: Any, state: Any, at_ns: int) -> dict[str, float]:
    """Where the time of all names goes: milliseconds by family, each alone, the dearest ten."""
    from functions.market.vocabulary import FAMILIES

    found = {}
    for family in FAMILIES:
        names = {metrics.ALIASES.get(name, name) for name in family.names}
        events = metrics.at_clock(state, at_ns)
        began = time.perf_counter()
        metrics.compute(names, state, events)
        found[f"family_{family.id}_ms"] = round((time.perf_counter() - began) * 1e3, 2)
    return dict(sorted(found.items(), key=lambda one: -one[1])[:10])
