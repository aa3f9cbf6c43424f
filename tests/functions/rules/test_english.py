"""Every rule reads back in English, whatever it is made of."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings

from functions.market.metrics import NAMES
from functions.market.toplists import LISTS
from functions.rules import tree
from functions.rules.checks import metrics_of, walk
from functions.rules.english import amount, flag, metric, read, span, toplist
from functions.rules.tree import Number
from functions.rules.units import UNITS
from functions.rules.wire import parse_text_rule
from tests.functions.rules.random_trees import rules

OFTEN = ", at most once in 10 seconds for a symbol."


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("price > 100", "Fires as soon as the price is above $100" + OFTEN),
        ("price <= 100.25", "Fires as soon as the price is at most $100.25" + OFTEN),
        ("price != 100", "Fires as soon as the price is not equal to $100" + OFTEN),
        ("price crosses above 100", "Fires when the price rises above $100, having been at or below it" + OFTEN),
        ("price crosses below vwap_live cooldown 0s", "Fires when the price falls below the VWAP live, having been at or above it."),
        ("price > 5 cooldown 5m once per 5m bar", "Fires as soon as the price is above $5, at most once in 5 minutes for a symbol and at most once per 5-minute bar."),
        ("price changed by >= 3% in 5m", "Fires as soon as the price has risen by at least 3% in 5 minutes" + OFTEN),
        ("price changed by < -$3 in 1m", "Fires as soon as the price has fallen by more than $3 in 1 minute" + OFTEN),
        ("price changed by <= 3 in 90s", "Fires as soon as the change of the price in 90 seconds is at most $3" + OFTEN),
        ("(rsi_9 < 30) held for 20s", "Fires as soon as for 20 seconds without a break the RSI 9 is below 30" + OFTEN),
        ("3 of last 5 5m bars (close > open)", "Fires as soon as at least three of the last 5 bars of 5 minutes closed while the close is above the open" + OFTEN),
        ("price > 5 then volume_1m > 100k within 2m", "Fires when first the price is above $5 and then, within 2 minutes, the volume of 1 minute is above 100,000 shares" + OFTEN),
        ("first time today (price > 100)", "Fires when it is the first time today that the price is above $100" + OFTEN),
        ("price > 100 re-arms below 99", "Fires as soon as the price is above $100, not again before the price is below $99" + OFTEN),
        ("enters gainers_5m", "Fires when the symbol enters Top Gainers (5m)" + OFTEN),
        ("leaves losers_1d", "Fires when the symbol leaves Top Losers (1d)" + OFTEN),
        ("in rsi_high", "Fires as soon as the symbol is in RSI High" + OFTEN),
        ("price > 5 and (open > 5 or close > 5)", "Fires as soon as the price is above $5 and (the open is above $5 or the close is above $5)" + OFTEN),
        ("not price > 5", "Fires as soon as it is known not to be so that the price is above $5" + OFTEN),
        ("new_candle_high_5m == 1", "Fires as soon as there is a new candle high of 5 minutes" + OFTEN + " It counts only after 10,000 shares have traded on the day."),
        ("crossed_above_ema9_5m == 0 volume >= 0", "Fires as soon as it is not so that the price crosses above the EMA 9 of 5 minutes" + OFTEN),
        ("abs(price - open) / atr_14 > 2x", "Fires as soon as (the size of (the price minus the open)) divided by the ATR 14 is above 2 times" + OFTEN),
        ("max(open, close, 3) > -price", "Fires as soon as the highest of the open, the close and $3 is above minus the price" + OFTEN),
        ("price > 5 volume >= 100k during premarket, market", "Fires as soon as the price is above $5" + OFTEN + " It counts only after 100,000 shares have traded on the day and in premarket or regular hours."),
        ("price > 5 and rsi_14_5m < 30", "Fires as soon as the price is above $5 and the RSI 14 of 5 minutes is below 30 (counted after 50,000 shares have traded on the day)" + OFTEN),
        ("price > 5 on AAPL, MSFT", "Fires as soon as the price is above $5" + OFTEN + " Only for AAPL and MSFT."),
        ("price > 5 in watchlist mine", "Fires as soon as the price is above $5" + OFTEN + " Only for symbols of the watchlist mine."),
        ("price > 5 in watchlist mine on A, B", "Fires as soon as the price is above $5" + OFTEN + " Only for A, B and symbols of the watchlist mine."),
    ],
)  # fmt: skip
def test_a_rule_reads_as(text: str, english: str) -> None:
    assert read(parse_text_rule(text)) == english


@given(rules())
@settings(max_examples=200, deadline=None)
def test_every_rule_reads_with_all_its_metrics_and_toplists(rule: tree.Rule) -> None:
    text = read(rule)
    assert text.startswith("Fires ")
    assert re.search(r"[.]$", text)
    assert text.count("(") - text.count(")") == 0
    for name in metrics_of(rule.when):
        assert metric(name) in text or flag(name) in text
    for node, _ in walk(rule.when):
        if isinstance(node, tree.Enters | tree.Leaves | tree.InList):
            assert toplist(node.toplist) in text
    assert ("switched off" in text) == (not rule.enabled)


def test_every_metric_and_toplist_has_its_own_words() -> None:
    words = [flag(name) if UNITS[name] == "flag" else metric(name) for name in NAMES]
    assert len(set(words)) == len(NAMES)
    assert len({toplist(name) for name in LISTS}) == len(LISTS)
    assert metric("biggest_range_3m") == "the biggest range of 3 months"


@pytest.mark.parametrize(("ns", "text"), [(10**9, "1 second"), (90 * 10**9, "90 seconds"), (86_400 * 10**9, "1 day"), (7_200 * 10**9, "2 hours"), (1_500_000_000, "1.5 seconds")])  # fmt: skip
def test_durations_are_spoken(ns: int, text: str) -> None:
    assert span(ns) == text


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (Number(1e5), "shares", "100,000 shares"),
        (Number(1.0, "bars"), "", "1 bar"),
        (Number(-2.5, "usd"), "", "-$2.5"),
        (Number(1234.5, "percent"), "usd", "1,234.5%"),
        (Number(1e-7), "usd", "$1e-07"),
        (Number(3.0), "usd^2", "3"),
    ],
)
def test_numbers_are_spoken_with_their_unit(number: Number, unit: str, text: str) -> None:
    assert amount(number, unit) == text
