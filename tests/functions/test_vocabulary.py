"""The vocabulary is complete, computed, documented, and the one the scanner was designed with."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import yaml

from functions.market import machines, metrics, series, toplists, vocabulary
from functions.market.vocabulary import ALIASES, FAMILIES, FAMILY_OF, HELPERS, MORE, PARTS, named
from functions.scanner import scanner
from runtime.metric_page import metric_page
from tests.conftest import ROOT
from tests.functions.fed_candles import of_closes
from tests.functions.reference_files import ours
from tests.functions.shared_data import SHARED, needs

ROWS = named()
DESIGN = SHARED / "design" / "vocabulary.yaml"


def count(kind: str) -> int:
    """Names listed under a kind; `price` is a base metric and a filter."""
    return sum(len(family.names) for family in FAMILIES if family.kind == kind) + (kind == "base")


def test_there_are_331_names_of_which_nine_stand_for_another_or_stand_twice() -> None:
    kinds = {kind: count(kind) for kind in ("base", "indicator", "filter", "alert")}
    assert kinds == {"base": 9, "indicator": 27, "filter": 131, "alert": 156}
    assert len(ALIASES) == 8
    assert sum(kinds.values()) + len(ALIASES) == 331
    assert len(FAMILY_OF) == sum(kinds.values()) - 1  # price
    assert len(toplists.LISTS) == 20


def test_every_name_is_computed_and_every_computed_name_is_told() -> None:
    assert set(ROWS) == metrics.NAMES | metrics.ALIASES.keys()
    assert {name for family in MORE for name in family.names} == {*HELPERS, *(part for several in PARTS.values() for part in several)}  # fmt: skip


def test_other_names_are_the_same_values() -> None:
    pairs = {frozenset(pair) for pair in ALIASES.items()}
    assert pairs == {frozenset(pair) for pair in metrics.ALIASES.items()}


def test_every_toplist_ranks_by_a_metric() -> None:
    assert {row["metric"] for row in vocabulary.toplists()} <= metrics.NAMES


def test_every_row_says_everything() -> None:
    may_be_empty = {"category", "condition", "params", "evaluate_on", "aliases", "value_type", "timeframe", "volume_threshold"}  # fmt: skip
    for name, row in ROWS.items():
        missing = {field for field, value in row.items() if not value} - may_be_empty
        assert not missing, f"{name} lacks {', '.join(sorted(missing))}"
        assert "{" not in str(row["warm_up"]), name
        assert not re.search(r"(?<!\d)-\d", str(row["warm_up"])), name
        if row["kind"] == "alert":
            assert row["condition"], name
            assert row["evaluate_on"] in ("tick", "candle_close"), name


@pytest.mark.parametrize(
    ("name", "warm_up"),
    [
        ("rsi_14_5m", "15 candles of 5m"),
        ("rsi_14_daily", "15 days"),
        ("rsi_21", "22 bars"),
        ("ma_dist_sma200_daily_pct", "200 days"),
        ("ma_dist_ema50_15m_pct", "50 candles of 15m"),
        ("crossed_above_ema20_2m", "20 candles of 2m, 1 print before"),
        ("crossed_below_sma200_daily", "200 days, 1 print before"),
        ("change_pct_2h", "120 min since the first bar"),
        ("change_pct_20d", "20 days"),
        ("range_today", "1 print in the window"),
        ("range_pct_20d", "19 days"),
        ("biggest_range_6m", "125 days"),
        ("position_in_range_1y", "251 days"),
    ],
)
def test_warm_up_is_exact_for_each_name(name: str, warm_up: str) -> None:
    assert ROWS[name]["warm_up"] == warm_up


def test_units_are_those_of_the_name() -> None:
    wanted = {"running_up_60s": "usd", "running_up_60s_pct": "percent", "gap_from_close": "usd", "vwap_dist_pct": "percent", "bid_size": "shares", "crossed_s": "seconds"}  # fmt: skip
    assert {name: ROWS[name]["unit"] for name in wanted} == wanted
    for name, row in ROWS.items():
        if name.endswith("_pct"):
            assert row["unit"] == "percent", name


@pytest.mark.parametrize(
    ("name", "column"),
    [("rsi_14", "rsi"), ("atr_14", "atr"), ("ema_20", "ema_20"), ("sma_20", "mean"), ("macd_12_26_9", "macd"), ("macd_12_26_9_signal", "signal"), ("bb_20_2.0", "mid"), ("bb_20_2.0_upper", "upper"), ("stoch_14_3_3", "slowed"), ("stoch_14_3_3_d", "smoothed")],
)  # fmt: skip
def test_an_indicator_is_known_from_the_bar_its_warm_up_names(name: str, column: str) -> None:
    values = ours(tuple(of_closes([10.0 + k % 7 for k in range(60)])))[column]
    first = int(np.flatnonzero(np.isfinite(values))[0])
    assert ROWS[name]["warm_up"] == f"{first + 1} bars"


def test_parameters_are_those_the_code_uses() -> None:
    def of(name: str) -> dict[str, Any]:
        return dict(FAMILY_OF[name].params)

    assert of("broke_recent_high_1m")["lookback"] == series.RECENT
    assert of("through_vwap_above") == {"multiplier": metrics.MULTIPLIER, "n": metrics.CANDLES}
    assert of("rejected_recent_high_1m") == {"approach_pct": pytest.approx(100 * machines.APPROACH), "reject_pct": pytest.approx(100 * machines.REJECT)}  # fmt: skip
    assert of("vwap_support_1m") == {"touch_pct": pytest.approx(100 * machines.TOUCH), "bounce_pct": pytest.approx(100 * machines.BOUNCE)}  # fmt: skip
    assert of("back_to_ema_ema9_1m") == {"away_pct": pytest.approx(100 * machines.AWAY), "near_pct": pytest.approx(100 * machines.NEAR)}  # fmt: skip


def test_the_page_of_metrics_is_what_the_code_says() -> None:
    rows = json.loads(scanner.accepts["ask.metrics"](""))
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == "\n".join(metric_page(rows)) + "\n"
    missing = [row["name"] for row in rows if f"`{row['name']}`" not in page]
    assert missing == []
    assert [name for name in ALIASES if f"`{name}`" not in page] == []


def test_wrong_names_are_answered_with_the_nearest_and_other_names_with_their_row() -> None:
    with pytest.raises(ValueError, match="no metric 'rsi_14_5'; did you mean rsi_14_5m"):
        scanner.accepts["ask.metrics"]("rsi_14_5")
    (row,) = json.loads(scanner.accepts["ask.metrics"]("price_change_2m_pct"))
    assert (row["name"], row["unit"]) == ("price_change_2m_pct", "percent")


# -- the design


def designed() -> Any:
    return yaml.safe_load(DESIGN.read_text(encoding="utf-8"))


def condition_of(family: dict[str, Any]) -> str:
    """`> ratio` with the parameter put in, as a number."""
    text = str(family["default_condition"])
    for name, value in family["params"].items():
        text = text.replace(f" -{name}", f" -{value}").replace(f" {name}", f" {value}")
    return text


@needs("design", "vocabulary.yaml")
def test_every_field_is_that_of_the_design() -> None:
    wanted = designed()
    for kind in ("filters", "alerts"):
        for family in wanted[kind]:
            rows = [ROWS[name] for name in family["names"]]
            for row in rows:
                for field in ("title", "volume_threshold", "sessions", "needs"):
                    assert row[field] == family[field], f"{row['name']}: {field}"
                assert row["family"] == family["id"]
            assert list(FAMILY_OF[family["names"][0]].names) == family["names"]
            windows = dict.fromkeys(row["timeframe"] for row in rows if row["timeframe"])
            assert set(windows) == set(family["timeframes"]), family["id"]
            if "unit" in family:
                assert {row["unit"] for row in rows} == set(family["unit"].split("|")), family["id"]
            if "value_types" in family:
                assert {row["value_type"] for row in rows} - {""} == set(family["value_types"])
            assert dict(FAMILY_OF[family["names"][0]].aliases) == family.get("aliases", {})


@needs("design", "vocabulary.yaml")
def test_alert_metrics_have_the_conditions_and_parameters_of_the_design() -> None:
    for family in designed()["alerts"]:
        for name in family["names"]:
            for field in ("category", "params", "evaluate_on"):
                assert ROWS[name][field] == family[field], f"{name}: {field}"
            assert ROWS[name]["condition"] == condition_of(family), name


@needs("design", "vocabulary.yaml")
def test_base_metrics_indicators_and_toplists_are_those_of_the_design() -> None:
    wanted = designed()
    for base in wanted["base_metrics"]:
        assert ROWS[base["name"]]["unit"] == base["unit"]
    for several in wanted["indicators"]:
        for name in several["names"]:
            category = "" if name in ALIASES and FAMILY_OF[name].kind == "filter" else several["category"]  # fmt: skip
            assert ROWS[name]["category"] == category, name
    for one, row in zip(wanted["toplists"]["system"], vocabulary.toplists(), strict=True):
        metric = one["resolve_to"].removeprefix("signed ")
        assert (row["name"], row["title"]) == (one["id"], one["name"])
        assert metrics.ALIASES.get(metric, metric) == row["metric"]
        assert row["order"] == {"desc": "highest first", "asc": "lowest first"}[one["sort"]]
    assert wanted["counts"]["total_vocabulary_names"] == 331
