"""`jetscan metrics` feeds one clock event a minute where functions allow it: the values are those of every second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.loader import Plan, load_plan
from runtime.metrics import Asked, values_at
from runtime.providers import MINUTE_NS, SECOND_NS
from runtime.providers.file import FileProvider
from runtime.providers.labelled.market import make_market
from runtime.providers.labelled.script import FULL
from runtime.subjects import Subjects
from runtime.tables import write_parquet
from tests.conftest import ROOT

SYMBOLS = 5
NAMES = [
    *("price", "rsi_14", "vwap_dist_5m_pct", "volume_daily", "dollar_volume_15m"),
    *("position_in_range_60m", "rejected_recent_high_1m", "crossed_above_vwap", "vwap_support_5m"),
    *("trade_count_5m", "high", "change_from_open_pct", "opening_range_breakout_5m", "range_5d"),
    *("running_up_60s", "bullish_engulfing_2m"),
]


def plan_of(subjects: Subjects, names: list[str], is_by_minute: bool) -> Plan:
    settings = {"watch": " ".join(names), "toplists": "none" if is_by_minute else "rank"}
    plan = load_plan(ROOT / "functions", subjects, {"scanner": settings})
    if not is_by_minute:
        for one in plan.functions:
            one.declaration.by_minute = None
    return plan


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """The evening, and the morning after with its opening, of a few symbols; some prints are cancelled or c."""
    market, folder = make_market(7), tmp_path_factory.mktemp("by_minute")
    day = market.days[FULL]
    trades = {name: values[market.trades["who"] < SYMBOLS] for name, values in market.trades.items()}  # fmt: skip
    ts_ns = trades["ts_ns"]
    evening = (ts_ns > day.start_ns - 8 * 60 * MINUTE_NS) & (ts_ns < day.start_ns)
    morning = (ts_ns > day.open_ns - 15 * MINUTE_NS) & (ts_ns < day.open_ns + 35 * MINUTE_NS)
    rows = np.flatnonzero(evening | morning)
    trades = {name: values[rows] for name, values in trades.items()}
    who = trades.pop("who")
    number = np.arange(len(rows))
    trades["upd"] = np.where(number % 50 == 7, 32 | 4 | 1, trades["upd"]).astype(np.uint8)
    after_ns = trades["ts_ns"] + 7 * SECOND_NS + 300_000_000
    trades["cancelled_ns"] = np.where(number % 997 == 5, after_ns, 0)
    columns: dict[str, Any] = {"symbol": [market.symbols[one] for one in who.tolist()], **trades}
    write_parquet(folder / "trades.parquet", columns)
    daily = dict(market.daily)
    place = daily.pop("who")
    write_parquet(folder / "daily.parquet", {"symbol": [market.symbols[one] for one in place.tolist()], **daily})  # fmt: skip
    times = [day.open_ns + minute * MINUTE_NS + 17 * SECOND_NS for minute in (-9, 0, 3, 12, 34)]
    times += [day.open_ns + minute * MINUTE_NS for minute in (0, 5, 20)]
    return Asked(NAMES, times, trades=[folder / "trades.parquet"], daily=[folder / "daily.parquet"])


def told(plan: Plan, subjects: Subjects, asked: Asked) -> list[tuple[Any, ...]]:
    found = values_at(plan, subjects, asked, lambda done, total: None)
    return sorted(zip(*(list(column) for column in found.values()), strict=True))


def test_values_by_minute_are_those_of_every_second(subjects: Subjects, recorded: Asked) -> None:
    plans = [plan_of(subjects, recorded.names, is_by_minute) for is_by_minute in (True, False)]
    chains = [plan.chain("scanner") for plan in plans]
    assert [chain.is_by_minute for chain in chains if chain] == [True, False]
    quick, slow = (told(plan, subjects, recorded) for plan in plans)
    assert len(quick) > 100
    assert {name for _, _, name, _ in quick} == set(recorded.names)
    assert quick == slow


def test_clock_events_come_by_minute_but_by_second_after_a_correction(recorded: Asked) -> None:
    provider = FileProvider(recorded.trades)
    every, some = [], []
    for step_ns, clocks in ((SECOND_NS, every), (MINUTE_NS, some)):
        for batch in provider.batches(step_ns=step_ns):
            if batch.kind == "clock":
                clocks += batch.columns["ts_ns"].tolist()
    assert set(some) <= set(every)
    assert {one for one in every if one % MINUTE_NS == 0} <= set(some)
    corrected = provider._corrections[2].tolist()
    for at_ns in corrected:
        near = {one for one in every if at_ns - SECOND_NS < one < at_ns + MINUTE_NS}
        assert near <= set(some)
    assert len(some) < len(every) / 2


@pytest.mark.parametrize(
    ("function", "settings"), [("bars", {"grace_ms": 2_000}), ("scanner", {"outliers": "hold"})]
)
def test_where_seconds_matter_every_second_comes(
    subjects: Subjects, function: str, settings: dict[str, Any]
) -> None:
    plan = load_plan(ROOT / "functions", subjects, {function: settings})
    chain = plan.chain(function)
    assert chain is not None
    assert not chain.is_by_minute


def test_a_function_that_says_nothing_of_minutes_gets_every_second(
    subjects: Subjects, tmp_path: Path
) -> None:
    (tmp_path / "quiet.py").write_text(
        '"""Quiet."""\n\nfrom runtime import function\n\n\n'
        '@function(reads="ticks.trades", writes="alerts")\n'
        "def quiet(trades, clock):\n    return None\n",
        encoding="utf-8",
    )
    chain = load_plan(tmp_path, subjects).chain("quiet")
    assert chain is not None
    assert not chain.is_by_minute
