"""Every value has a unit; what does not fit is a fault that names both."""

from __future__ import annotations

import pytest

from functions.market.metrics import NAMES
from functions.rules.faults import RuleFault
from functions.rules.text import parse_condition, parse_value
from functions.rules.units import UNITS, WORDS, WRITTEN, unit_of_value


def test_every_metric_has_a_unit() -> None:
    assert UNITS.keys() >= NAMES
    assert {UNITS[name] for name in NAMES} == {*WRITTEN, "flag"}
    wanted = {"rsi_14": "points", "trade_count_1m": "trades", "consecutive_candles_5m": "bars", "running_up_60s_pct": "percent", "limit_state_s": "seconds", "bid_size": "shares"}  # fmt: skip
    assert {name: UNITS[name] for name in wanted} == wanted


def test_every_unit_can_be_written_after_a_number() -> None:
    assert set(WORDS.values()) == set(WRITTEN)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("price", "usd"),
        ("5", ""),
        ("5 + 3 * 2", ""),
        ("price + 5", "usd"),
        ("5 + price", "usd"),
        ("2 * price", "usd"),
        ("price * volume_daily", "usd"),
        ("volume_daily * price", "usd"),
        ("marketcap / shares_outstanding", "usd"),
        ("volume_daily / float", "ratio"),
        ("price / vwap_live", "ratio"),
        ("price * price", "usd^2"),
        ("price * price / open", "usd"),
        ("1 / price", "1/usd"),
        ("volume_1m / trade_count_1m", "shares/trades"),
        ("change_pct_5m / change_pct_1m", "ratio"),
        ("change_pct_5m * 2", "percent"),
        ("change_pct_5m / 2", "percent"),
        ("max(1, price, 3)", "usd"),
        ("abs(-rsi_14)", "points"),
        ("price * 2x", "usd"),
    ],
)
def test_units_are_those_of_the_arithmetic(text: str, unit: str) -> None:
    assert unit_of_value(parse_value(text)) == unit


@pytest.mark.parametrize(
    ("text", "expected", "found"),
    [
        ("price > volume_daily", "a value in $, as price is", "shares (volume_daily)"),
        ("rsi_14 > 30%", "a value in points, as rsi_14 is", "% (30)"),
        ("price > 3%", "a value in $, as price is", "% (3)"),
        ("change_pct_5m > $3", "a value in %, as change_pct_5m is", "$ (3)"),
        ("price + volume_1m > 3", "a value in $, as price is", "shares (volume_1m)"),
        ("5 + price - rsi_14 > 3", "a value in $, as the result of + is", "points (rsi_14)"),
        ("min(3, price, volume_1m) > 3", "a value in $, as price is", "shares (volume_1m)"),
        ("price * 3% > 1", "percent alone, or times a plain number", "$ * %; write 3% of a price as price * 0.03"),
        ("change_pct_5m * change_pct_1m > 1", "percent alone, or times a plain number", "% * %"),
        ("1 / change_pct_5m > 1", "percent alone, or times a plain number", "ratio / %"),
        ("hours_since_news < 90m", "a value in hours, as hours_since_news is", "minutes (90); write 1.5h"),
        ("30s > minutes_since_news", "a value in seconds, as 30 is", "minutes (minutes_since_news); write 0.5m"),
        ("trade_count_1m > 5 bars", "a value in trades, as trade_count_1m is", "bars (5)"),
        ("price crosses above rsi_14", "a value in $, as price is", "points (rsi_14)"),
        ("volume_1m changed by >= $3 in 5m", "a value in shares, as volume_1m is", "$ (3)"),
        ("price > 5 re-arms below 3%", "a value in $, as price is", "% (3)"),
        ("is_bullish_candle_1m == 1 shares", "a value in flag, as is_bullish_candle_1m is", "shares (1)"),
    ],
)  # fmt: skip
def test_a_mismatch_names_both_units(text: str, expected: str, found: str) -> None:
    with pytest.raises(RuleFault) as caught:
        parse_condition(text)
    assert caught.value.expected == expected
    assert caught.value.found.startswith(found)
    assert caught.value.column > 1


def test_percent_of_any_value_is_a_change() -> None:
    for name in ("price", "volume_1m", "rsi_14", "change_pct_5m"):
        parse_condition(f"{name} changed by >= 3% in 5m")
