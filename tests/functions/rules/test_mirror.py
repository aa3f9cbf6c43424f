"""The mirror image of a rule holds in the mirrored market exactly where the rule holds."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.market.metrics import NAMES
from functions.market.toplists import LISTS
from functions.rules import tree
from functions.rules.checks import check_tree, metrics_of
from functions.rules.mirror import (
    CENTRED,
    LEVEL,
    SIGNED,
    NoMirror,
    flip,
    flip_condition,
    kind_of,
    other_name,
)
from functions.rules.spelling import spell
from functions.rules.text import parse_condition
from functions.rules.tree import Metric, Number, Value
from functions.rules.wire import parse_text_rule
from tests.functions.rules.random_trees import rules


@pytest.mark.parametrize(
    ("text", "flipped"),
    [
        ("price > 100", "price < 100"),
        ("price == 100 and close > 1", "price == 100 and close < 1"),
        ("high > open volume >= 1k during market", "low < open volume >= 1k during market"),
        ("change_pct_5m > 3 and volume_daily > 100k", "change_pct_5m < -3 and volume_daily > 100k"),
        ("rsi_14_5m < 29.7", "rsi_14_5m > 70.3"),
        ("position_in_range_today >= 90%", "position_in_range_today <= 10%"),
        ("price crosses above vwap_live", "price crosses below vwap_live"),
        ("price changed by >= 3% in 5m", "price changed by <= -3% in 5m"),
        ("price > vwap_live * 1.02", "price < vwap_live * 0.98"),
        ("price > vwap_live + 0.5", "price < vwap_live - 0.5"),
        ("price > vwap_live + 2 * atr_14", "price < vwap_live - 2 * atr_14"),
        ("price / vwap_live > 1.02", "price / vwap_live < 0.98"),
        ("price - vwap_live > $0.3", "price - vwap_live < -$0.3"),
        ("(price - vwap_live) / atr_14 > 2", "(price - vwap_live) / atr_14 < -2"),
        ("change_1m > atr_14", "change_1m < -atr_14"),
        ("max(open, close) > high - 1", "min(open, close) < low + 1"),
        ("price * volume_daily > $1M and price > 5", "price * volume_daily > $1M and price < 5"),
        ("(price > 100) re-arms below 99", "(price < 100) re-arms above 99"),
        ("3 of last 5 bars (close > open)", "3 of last 5 bars (close < open)"),
        ("(price > 5) held for 20s", "(price < 5) held for 20s"),
        ("first time today (price > 5)", "first time today (price < 5)"),
        ("price > 5 then price < 4 within 1m", "price < 5 then price > 4 within 1m"),
        ("not (price > 5 or enters gainers_5m)", "not (price < 5 or enters losers_5m)"),
        ("in rsi_high and leaves vwap_dist_low", "in rsi_low and leaves vwap_dist_high"),
        ("is_bullish_candle_5m == 1", "is_bearish_candle_5m == 1"),
        ("vwap_support_1m == 1", "vwap_resistance_1m == 1"),
        ("dist_to_high_of_day_pct < 0.5", "dist_to_low_of_day_pct < 0.5"),
        ("running_up_60s >= 1.5", "running_down_60s <= -1.5"),
        ("close > bb_20_2.0_upper", "close < bb_20_2.0_lower"),
        ("upper_shadow_ratio_1m > 2", "lower_shadow_ratio_1m > 2"),
        ("opening_range_breakout_5m == 1", "opening_range_breakdown_5m == 1"),
        ("consecutive_candles_5m >= 3 bars", "consecutive_candles_5m <= -3 bars"),
    ],
)
def test_the_mirror_image_is(text: str, flipped: str) -> None:
    condition = parse_condition(text)
    assert spell(flip_condition(condition)) == flipped
    assert flip_condition(flip_condition(condition)) == condition


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("volume_1m > 5", "nothing in the rule has an up and a down"),
        ("abs(vwap_dist_pct) > 3", "nothing in the rule has an up and a down"),
        ("broke_recent_high_4h == 1", "there is no metric broke_recent_low_4h, the other side of broke_recent_high_4h"),
        ("price * price > 5", "level * level values have no mirror image"),
        ("price > 3 * vwap_live", "a price times a number has a mirror image only between 0 and 2"),
        ("rsi_14 changed by >= 3% in 5m", "a change in percent of centred values has no mirror image"),
        ("rsi_14 < 1e-20", "its numbers have no exact mirror image"),
        ("rsi_14 > 2 * 30", "a number that is computed has no mirror image beside centred values"),
        ("-price > 5", "the negative of level values has no mirror image"),
        ("price > change_5m", "level and signed values together have no mirror image"),
    ],
)  # fmt: skip
def test_a_rule_without_a_mirror_image_says_why(text: str, why: str) -> None:
    with pytest.raises(NoMirror) as caught:
        flip_condition(parse_condition(text))
    assert str(caught.value) == why


@given(rules())
@settings(max_examples=300, deadline=None)
def test_twice_flipped_is_the_rule_itself(rule: tree.Rule) -> None:
    try:
        flipped = flip(rule)
    except NoMirror as reason:
        assert str(reason)
        return
    check_tree(flipped.when)
    assert flip(flipped) == rule
    assert flipped.version != rule.version
    assert replace(flipped, when=rule.when, version=rule.version) == rule


def test_a_flipped_rule_keeps_what_is_not_its_condition() -> None:
    rule = parse_text_rule("price > 5 on AAPL cooldown 5m once per 5m bar", "r1", "Up")
    flipped = flip(rule)
    assert (flipped.id, flipped.name, flipped.symbols, flipped.once_per) == ("r1", "Up", ("AAPL",), "5m")  # fmt: skip


def test_names_have_one_other_side() -> None:
    for name in NAMES:
        try:
            other = other_name(name, NAMES, "metric")
        except NoMirror:
            continue
        assert other_name(other, NAMES, "metric") == name
        assert kind_of(other) == kind_of(name)
    without = {name for name in NAMES if not _has_other(name)}
    assert without == {"broke_recent_high_4h", "rejected_recent_high_30m", "rejected_recent_high_60m"}  # fmt: skip
    assert {other_name(name, LISTS, "toplist") for name in LISTS} == set(LISTS)


def _has_other(name: str) -> bool:
    try:
        return bool(other_name(name, NAMES, "metric"))
    except NoMirror:
        return False


# -- the slow twin: the market turned over

MIRRORED: dict[str, Callable[[float], float]] = {
    LEVEL: lambda x: 200.0 - x,
    SIGNED: lambda x: -x,
    CENTRED: lambda x: 100.0 - x,
}
SIGNS: dict[str, Callable[[float, float], Any]] = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne}  # fmt: skip


def computed(value: Value, market: dict[str, float]) -> float:
    if isinstance(value, Number):
        return value.value
    if isinstance(value, Metric):
        return market[value.name]
    parts = [computed(one, market) for one in value.values]
    if value.operator in SIGNS:
        return float(SIGNS[value.operator](parts[0], parts[1]))
    several: dict[str, Callable[..., float]] = {"abs": abs, "negative": operator.neg, "min": min, "max": max}  # fmt: skip
    return several[value.operator](*parts)


def turned_over(market: dict[str, float]) -> dict[str, float]:
    """Prices mirrored at 100: every name has the mirrored value of its other side."""
    return {
        other_name(name, NAMES, "metric"): MIRRORED.get(kind_of(name), lambda x: x)(x)
        for name, x in market.items()
    }


# Mirrored at 100, a level stays a level of 1 times itself: products of prices are left to their examples.
COMPARISONS = [
    "price > 100",
    "high >= close",
    "price - vwap_live > 0.5",
    "price > vwap_live + 0.5",
    "price > vwap_live + 2 * atr_14",
    "0.5 + price > vwap_live",
    "change_1m > atr_14",
    "change_1m + change_5m > 1 - atr_14",
    "-change_1m > 1",
    "rsi_14 < 29.75",
    "rsi_14 > rsi_14_5m + 5",
    "rsi_14 - rsi_14_5m > 5",
    "max(open, close) > high - 1",
    "max(change_1m, change_5m, 1) > 0.5",
    "min(rsi_14, 60) > 30",
    "abs(change_1m) > atr_14 and price > open",
    "abs(price - open) > 1 and change_1m > 0",
    "(price - vwap_live) / atr_14 > 2",
    "change_1m * 2 > 1",
    "bid > mid - spread",
    "close > bb_20_2.0_upper",
    "dist_to_high_of_day_pct < 2 and price > open",
    "is_bullish_candle_1m != 1",
    "running_up_60s >= 1.5",
]  # fmt: skip


def holds(condition: Any, market: dict[str, float]) -> bool:
    if isinstance(condition, tree.All):
        return all(holds(part, market) for part in condition.parts)
    left, right = computed(condition.left, market), computed(condition.right, market)
    if condition.operator in ("==", "!="):
        return bool(math.isclose(left, right)) == (condition.operator == "==")
    return bool(SIGNS[condition.operator](left, right))


@pytest.mark.parametrize("text", COMPARISONS)
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_the_mirror_image_holds_in_the_market_turned_over(text: str, data: st.DataObject) -> None:
    condition = parse_condition(text)
    # quarters are exact, mirrored or not
    ranges = {LEVEL: (380, 420), SIGNED: (-20, 20), CENTRED: (0, 400)}
    market = {
        name: data.draw(st.integers(*ranges.get(kind_of(name), (1, 8)))) / 4
        for name in sorted(metrics_of(condition))
    }
    assert holds(flip_condition(condition), turned_over(market)) == holds(condition, market)
