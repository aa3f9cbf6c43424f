"""Outcomes of alerts: no look-ahead, absent where a bar is missing, and PostgreSQL says the same."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from functions.history import keep_bars
from functions.market.outcomes import COLUMNS, outcomes, rule_statistics
from functions.outcomes import fill_outcomes, open_outcomes, report_outcomes, report_rules
from runtime.frames import Frame, texts
from runtime.store import Store
from tests.functions import slow_outcomes
from tests.functions.slow_outcomes import MINUTE_NS

OPEN_NS = 1_767_623_400_000_000_000  # Monday 2026-01-05, 09:30 in New York
CLOSE_NS = OPEN_NS + 390 * MINUTE_NS
SETTINGS = {"closures": "", "markets": ""}
Row = dict[str, Any]


def bar(minute: int, close: float, *, symbol: str = "A", **prices: float) -> Row:
    prices = {"high": close, "low": close, **prices}
    return {"symbol": symbol, "ts_ns": OPEN_NS + minute * MINUTE_NS, "close": close, **prices}


def alert(after_ns: int = 0, price: float = 100.0, symbol: str = "A") -> Row:
    return {"symbol": symbol, "ts_ns": OPEN_NS + after_ns, "price": price}


def columns(rows: list[Row]) -> dict[str, Any]:
    names = rows[0] if rows else ("symbol", "ts_ns", "high", "low", "close", "price")
    return {name: np.array([row[name] for row in rows]) for name in names}


def outcome(bars: list[Row], one: Row) -> dict[str, float]:
    found = outcomes(columns(bars), columns([one]))
    return {name: round(float(values[0]), 9) for name, values in found.items()}


def test_an_alert_at_the_end_of_a_bar_is_judged_by_the_bars_after_it() -> None:
    bars = [bar(-1, 100.0), bar(0, 101.0), bar(4, 105.0), bar(14, 115.0), bar(59, 160.0)]
    found = outcome(bars, alert(0))
    assert [found[f"return_{m}m_pct"] for m in (1, 5, 15, 60)] == [1.0, 5.0, 15.0, 60.0]


def test_an_alert_within_a_minute_is_judged_by_the_minute_in_which_the_horizon_ends() -> None:
    bars = [bar(0, 150.0), bar(1, 101.0), bar(5, 105.0)]
    found = outcome(bars, alert(1))
    assert (found["return_1m_pct"], found["return_5m_pct"]) == (1.0, 5.0)


def test_what_its_own_minute_saw_before_the_alert_is_no_excursion() -> None:
    bars = [
        bar(0, 100.0, high=900.0, low=1.0),
        bar(1, 101.0, high=103.0, low=99.0),
        bar(389, 100.5),
    ]
    found = outcome(bars, alert(30_000_000_000))
    assert (found["best_pct"], found["worst_pct"]) == (3.0, -1.0)


def test_what_happens_after_the_close_is_not_the_days() -> None:
    bars = [bar(388, 102.0), bar(390, 500.0), bar(391, 1.0)]
    found = outcome(bars, alert(0))
    assert (found["return_close_pct"], found["best_pct"], found["worst_pct"]) == (2.0, 2.0, 2.0)


def test_an_alert_after_the_close_is_judged_until_the_day_ends() -> None:
    late = 390 * MINUTE_NS
    bars = [bar(390, 101.0), bar(629, 104.0), bar(1380, 500.0)]
    assert outcome(bars, alert(late))["return_close_pct"] == 4.0


def test_until_the_market_has_closed_the_way_there_is_not_known() -> None:
    bars = [bar(0, 101.0), bar(388, 105.0)]
    found = outcome(bars, alert(0))
    assert found["return_1m_pct"] == 1.0
    assert all(np.isnan(found[name]) for name in ("return_close_pct", "best_pct", "worst_pct"))
    known = outcome([*bars, bar(389, 50.0, symbol="B")], alert(0))
    assert known["return_close_pct"] == 5.0


def test_a_minute_without_a_bar_gives_no_return() -> None:
    found = outcome([bar(1, 101.0), bar(389, 100.0)], alert(0))
    assert np.isnan(found["return_1m_pct"])
    assert np.isnan(outcome([bar(0, 101.0, symbol="B")], alert(0))["return_1m_pct"])


def test_without_bars_or_without_alerts_there_is_nothing() -> None:
    nothing = outcomes(columns([]), columns([alert(0)]))
    assert all(np.isnan(values).all() and len(values) == 1 for values in nothing.values())
    assert all(
        len(values) == 0 for values in outcomes(columns([bar(0, 1.0)]), columns([])).values()
    )


def market(seed: int) -> tuple[list[Row], list[Row]]:
    chance = random.Random(seed)
    bars = []
    for symbol in ("A", "B", "C", "BTCUSDT"):
        price = 100.0
        for minute in range(-30, 660):
            price *= 1 + chance.gauss(0, 0.002)
            if chance.random() < 0.8:
                high, low = price * (1 + chance.random() / 100), price * (1 - chance.random() / 100)
                bars.append(bar(minute, price, symbol=symbol, high=high, low=low))
    alerts = []
    for number in range(80):
        whole = chance.random() < 0.3
        after = chance.randrange(-30, 640) * MINUTE_NS + (
            0 if whole else chance.randrange(MINUTE_NS)
        )
        one = alert(after, chance.uniform(90, 110), chance.choice("A B C D BTCUSDT".split()))
        alerts.append({**one, "id": f"{number}", "rule_id": chance.choice(["r1", "r2"])})
    chance.shuffle(bars)
    return bars, alerts


@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_says_what_the_slow_twin_says(seed: int) -> None:
    bars, alerts = market(seed)
    if seed == 3:
        bars = [one for one in bars if one["ts_ns"] < CLOSE_NS - 5 * MINUTE_NS]
    fast = outcomes(columns(bars), columns(alerts))
    assert tuple(fast) == COLUMNS
    for place, one in enumerate(alerts):
        slow = slow_outcomes.outcome(bars, one)
        for name in COLUMNS:
            assert fast[name][place] == pytest.approx(slow[name], nan_ok=True), (name, one)


def test_statistics_count_only_what_is_known() -> None:
    bars, alerts = market(5)
    fast = outcomes(columns(bars), columns(alerts))
    told = rule_statistics([a["rule_id"] for a in alerts], [a["symbol"] for a in alerts], fast)
    slow = [{**slow_outcomes.outcome(bars, one), **one} for one in alerts]
    for place, rule in enumerate(told["rule_id"]):
        mine = [one for one in slow if one["rule_id"] == rule]
        assert told["alerts"][place] == len(mine)
        assert told["symbols"][place] == len({one["symbol"] for one in mine})
        for horizon in ("1m", "5m", "15m", "60m", "close"):
            expected = slow_outcomes.rule(mine, horizon)
            assert told[f"known_{horizon}"][place] == expected.pop("known")
            for what, value in expected.items():
                assert told[f"{what}_{horizon}_pct"][place] == pytest.approx(value, nan_ok=True)


# -- in PostgreSQL


def bar_frame(rows: list[Row]) -> Frame:
    names = [row["symbol"] for row in rows]
    columns = {
        name: np.array([row[name] for row in rows]) for name in ("ts_ns", "high", "low", "close")
    }
    columns |= dict.fromkeys(("open", "volume", "vwap"), columns["close"])
    columns |= {
        name: np.zeros(len(rows), np.int64) + rows[0].get("revision", 0)
        for name in ("count", "revision")
    }
    return Frame(columns, names, np.arange(len(rows)))


def alert_frame(rows: list[Row]) -> Frame:
    columns: dict[str, Any] = {
        name: np.array([row[name] for row in rows]) for name in ("ts_ns", "price")
    }
    for name in ("id", "rule_id"):
        columns[name] = texts([row[name] for row in rows])
    columns["rule_name"] = columns["rule_id"]
    return Frame(columns, [row["symbol"] for row in rows], np.arange(len(rows)))


async def told(store: Store) -> dict[str, dict[str, Any]]:
    return {row["alert_id"]: row for row in await store.fetch("SELECT * FROM outcomes")}


async def feed(store: Store, bars: list[Row]) -> None:
    await keep_bars(bar_frame(bars), store)
    await fill_outcomes(bar_frame(bars), store)


@pytest.mark.parametrize("first", ["alerts", "bars", "mixed"])
async def test_the_database_says_what_the_kernel_says_in_any_order(
    store: Store, first: str
) -> None:
    bars, alerts = market(7)
    bars += [bar(2200, 100.0, symbol="Z")]  # the next day is over
    bars.sort(key=lambda one: one["ts_ns"])
    slices = [bars[k : k + 100] for k in range(0, len(bars), 100)]
    halves = {"alerts": (80, 0), "bars": (0, 80), "mixed": (40, 40)}[first]
    if halves[0]:
        await open_outcomes(alert_frame(alerts[: halves[0]]), store, SETTINGS)
    for one in slices:
        await feed(store, one)
    if halves[1]:
        await open_outcomes(alert_frame(alerts[80 - halves[1] :]), store, SETTINGS)
        await feed(store, slices[-1])
    await feed(store, slices[-1])  # once more: nothing changes
    found, expected = await told(store), outcomes(columns(bars), columns(alerts))
    for place, one in enumerate(alerts):
        row = found[one["id"]]
        assert row["stage"] == 2
        for name in COLUMNS:
            value = float("nan") if row[name] is None else row[name]
            assert value == pytest.approx(expected[name][place], nan_ok=True), (name, one)
    statistics = rule_statistics(
        [a["rule_id"] for a in alerts], [a["symbol"] for a in alerts], expected
    )
    rows = await store.fetch("SELECT * FROM rule_outcomes ORDER BY rule_id")
    for name, values in statistics.items():
        for row, value in zip(rows, values, strict=True):
            assert row[name] == (value if isinstance(value, str) else pytest.approx(value)), name


async def test_returns_are_there_as_soon_as_their_minute_is(store: Store) -> None:
    one = {**alert(0), "id": "x", "rule_id": "r"}
    await open_outcomes(alert_frame([one]), store, SETTINGS)
    await feed(store, [bar(0, 101.0)])
    row = (await told(store))["x"]
    assert (row["return_1m_pct"], row["return_5m_pct"], row["stage"]) == (
        pytest.approx(1.0),
        None,
        0,
    )


async def test_a_late_revision_changes_the_outcome_within_the_hour(store: Store) -> None:
    one = {**alert(0), "id": "x", "rule_id": "r"}
    await open_outcomes(alert_frame([one]), store, SETTINGS)
    await feed(store, [bar(0, 101.0, high=150.0), bar(389, 102.0)])
    await feed(store, [bar(395, 102.0)])
    assert (await told(store))["x"]["best_pct"] == pytest.approx(50.0)
    await keep_bars(bar_frame([{**bar(0, 101.0, high=120.0), "revision": 1}]), store)
    await feed(store, [bar(460, 102.0)])
    row = (await told(store))["x"]
    assert (row["best_pct"], row["stage"]) == (pytest.approx(20.0), 2)


@pytest.mark.parametrize("comes_first", ["fired", "withdrawn"])
async def test_a_withdrawn_alert_counts_in_no_statistics_in_any_order(
    store: Store, comes_first: str
) -> None:
    alerts = [{**alert(0), "id": name, "rule_id": "r"} for name in ("x", "y")]
    fired = alert_frame(alerts)
    gone, amended = (alert_frame([{**alert(7), "id": "x", "rule_id": "r"}]) for _ in range(2))
    gone.columns["kind"], amended.columns["kind"] = texts(["withdrawn"]), texts(["amended"])
    frames = [fired, gone] if comes_first == "fired" else [gone, fired]
    for frame in [*frames, amended, *frames]:
        await open_outcomes(frame, store, SETTINGS)
    await feed(store, [bar(0, 101.0)])
    (row,) = await store.fetch("SELECT alerts, known_1m FROM rule_outcomes")
    assert row == {"alerts": 1, "known_1m": 1}
    assert (await told(store))["x"]["ts_ns"] == OPEN_NS


@pytest.mark.parametrize("is_late", [False, True])
async def test_an_amended_alert_has_the_outcome_of_its_newest_price_whenever_that_comes(
    store: Store, is_late: bool
) -> None:
    await open_outcomes(alert_frame([{**alert(0), "id": "x", "rule_id": "r"}]), store, SETTINGS)
    later = [
        {**alert(k), "id": "x", "rule_id": "r", "price": price}
        for k, price in ((2, 80.0), (1, 50.0))
    ]
    amended = [alert_frame([one]) for one in later]  # the older one comes last
    for frame in amended:
        frame.columns["kind"] = texts(["amended"])
    if is_late:
        await feed(store, [bar(0, 101.0), bar(395, 102.0), bar(460, 102.0)])
    for frame in amended:
        await open_outcomes(frame, store, SETTINGS)
    if not is_late:
        await feed(store, [bar(0, 101.0), bar(395, 102.0), bar(460, 102.0)])
    row = (await told(store))["x"]
    assert (row["price"], row["ts_ns"]) == (80.0, OPEN_NS)
    assert row["return_1m_pct"] == pytest.approx((101.0 / 80.0 - 1) * 100)
    assert row["stage"] == 2


def test_a_backtest_reports_the_alerts_that_stand() -> None:
    rows = [{**alert(k), "id": name, "rule_id": "r", "rule_name": "R", "kind": kind} for k, (name, kind) in enumerate(
        [("x", "fired"), ("y", "fired"), ("y", "amended"), ("y", "amended"), ("x", "withdrawn")])]  # fmt: skip
    rows[2]["price"], rows[3]["price"] = 50.0, 80.0
    found = report_outcomes(columns([bar(0, 101.0)]), columns(rows), SETTINGS)
    assert found["id"].tolist() == ["y"]
    assert found["ts_ns"].tolist() == [OPEN_NS + 1]
    assert found["price"].tolist() == [80.0]
    assert report_rules(columns([bar(0, 101.0)]), columns(rows), SETTINGS)["alerts"] == [1]
