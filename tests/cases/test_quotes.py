"""Best bids and offers: market cases 30 to 35."""

from __future__ import annotations

import numpy as np
import pytest

from functions.market import metrics
from functions.market.toplists import ranked
from runtime.ingest import Splitter
from runtime.providers import Batch
from runtime.subjects import load_subjects
from runtime.testing.harness import SUBJECTS_FILE
from tests.cases.printed import SECOND_NS, Day, ns

QUOTED = ("bid", "ask", "mid", "spread", "spread_pct")
CONDITIONS = {"non-firm": 1, "closed": 2, "limit-up limit-down pause": 4, "market-wide halt": 8}


def lists(day: Day, clock: str, metric: str) -> list[str]:
    """The symbols of a list by a metric, highest first."""
    state = day.h.state("scanner")
    day.until(clock)
    values = metrics.compute([metric], state, metrics.at_clock(state, ns(clock)))[metric]
    symbols = np.array(state.symbols)
    return symbols[ranked(values, symbols, is_falling=True)].tolist()  # type: ignore[no-any-return]


# -- 30


def test_case_30_a_symbol_with_quotes_only_has_no_price_and_no_change() -> None:
    day = Day()
    names = ("price", "change_pct_5m", "change_from_close_pct", "volume_daily", "range_today")
    day.quote("09:30:01", 10.0, 10.1)
    assert day.ask("09:30:02", *names) == [None] * 5
    assert day.ask("09:30:02", *QUOTED) == pytest.approx(
        [10.0, 10.1, 10.05, 0.1, 0.995025], rel=1e-6
    )


def test_case_30_such_a_symbol_is_in_lists_of_spreads_and_in_none_of_changes() -> None:
    day = Day()
    day.quote("09:30:01", 10.0, 10.5, symbol="QUIET")
    day.trade("09:30:01", 10.0)
    day.quote("09:30:01", 10.0, 10.1)
    day.until("09:31")
    day.trade("09:31:01", 11.0)
    assert lists(day, "09:31:02", "spread") == ["QUIET", "AAA"]
    assert lists(day, "09:31:02", "change_pct_1m") == ["AAA"]
    day.trade("09:31:03", 11.1)
    ranks = day.h.clock(ns("09:31:04"))["toplists.partial"]
    assert set(ranks["symbol"].tolist()) == {"AAA"}


def test_case_30_a_quote_fires_no_rule_and_changes_no_bar() -> None:
    day = Day()
    day.rule("any", ("price", ">", 0))
    day.quote("09:30:01", 10.0, 10.1)
    assert day.until("09:31") == {}
    assert day.trade("09:31:01", 10.05) == ["any"]


def test_case_30_a_quote_of_yesterday_is_none_of_today() -> None:
    day = Day()
    day.quote("19:59:59", 10.0, 10.1)
    assert day.ask("19:59:59.5", "mid") == [10.05]
    assert day.ask("20:00", "mid") == [None]


# -- 31


@pytest.mark.parametrize(("bid", "ask"), [(0.0, 10.1), (10.0, 0.0), (0.0, 0.0)])
def test_case_31_without_both_sides_there_is_no_mid(bid: float, ask: float) -> None:
    day = Day()
    day.quote("09:30:01", 10.0, 10.1)
    day.quote("09:30:02", bid, ask)
    expected = [bid or None, ask or None, None, None, None]
    assert day.ask("09:30:03", *QUOTED) == expected
    sizes = [300.0 if bid else None, 400.0 if ask else None]
    assert day.ask("09:30:03", "bid_size", "ask_size") == sizes


def test_case_31_a_condition_on_an_absent_mid_is_never_true() -> None:
    day = Day()
    day.rule("narrow", ("spread", "<", 1))
    day.quote("09:30:01", 0.0, 10.1)
    assert day.trade("09:30:02", 10.0) == []
    day.quote("09:30:03", 10.0, 10.1)
    assert day.trade("09:30:04", 10.0) == ["narrow"]


# -- 32


def test_case_32_a_crossed_market_has_no_mid_and_lasts_until_it_is_not() -> None:
    day = Day()
    day.quote("09:30:01", 10.0, 10.1)
    assert day.ask("09:30:02", "crossed_s", "locked_s", "mid") == [0.0, 0.0, 10.05]
    day.quote("09:30:02.5", 10.2, 10.1)
    day.quote("09:30:03.5", 10.3, 10.1)  # still crossed: it lasts since the first
    assert day.ask("09:30:05", "crossed_s", "locked_s", "mid", "spread") == [2.5, 0.0, None, None]
    day.quote("09:30:06", 10.0, 10.1)
    assert day.ask("09:30:07", "crossed_s", "mid") == [0.0, 10.05]


def test_case_32_a_locked_market_has_a_mid_without_a_spread() -> None:
    day = Day()
    day.quote("09:30:01", 10.1, 10.1)
    assert day.ask("09:30:03", "locked_s", "crossed_s", "mid", "spread") == [2.0, 0.0, 10.1, 0.0]


def test_case_32_a_rule_may_ask_how_long_a_market_is_crossed() -> None:
    day = Day()
    day.rule("crossed", ("crossed_s", ">=", 1))
    day.quote("09:30:01", 10.2, 10.1)
    assert day.trade("09:30:01.5", 10.1) == []
    assert day.trade("09:30:02", 10.1) == ["crossed"]


# -- 33


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS.keys())
def test_case_33_quotes_that_bind_nobody_make_no_mid_and_cross_nothing(condition: int) -> None:
    day = Day()
    day.quote("09:30:01", 10.0, 10.1)
    day.quote("09:30:02", 12.0, 10.1, condition=condition)
    assert day.ask("09:30:04", *QUOTED) == [None] * 5
    assert day.ask("09:30:04", "crossed_s", "locked_s", "bid_size") == [0.0, 0.0, None]
    day.quote("09:30:05", 10.0, 10.2, condition=0)
    assert day.ask("09:30:06", "mid") == [10.1]


# -- 34


def test_case_34_sizes_in_round_lots_are_shares_by_the_lot_of_the_symbol() -> None:
    day = Day()
    for symbol, price in (("CHEAP", 20.0), ("HIGH", 700.0), ("NVR", 8000.0), ("BRK.A", 740_000.0)):
        day.quote("09:30:01", price, price + 0.1, symbol=symbol, bid_size=3.0, ask_size=4.0, lots=1)
    sizes = [
        day.ask("09:30:02", "bid_size", "ask_size", symbol=symbol)
        for symbol in ("CHEAP", "HIGH", "NVR", "BRK.A")
    ]
    assert sizes == [[300, 400], [120, 160], [30, 40], [3, 4]]


def test_case_34_the_listed_round_lot_goes_before_the_price_and_shares_stay_shares() -> None:
    day = Day()
    day.h.send("ticks.reference", symbol=["AAA"], ts_ns=[ns("09:00")], name=["round_lot"], value=[10.0])  # fmt: skip
    day.quote("09:30:01", 20.0, 20.1, bid_size=3.0, ask_size=4.0, lots=1)
    assert day.ask("09:30:02", "bid_size", "ask_size") == [30.0, 40.0]
    day.quote("09:30:03", 20.0, 20.1, bid_size=300.0, ask_size=400.0, lots=0)
    assert day.ask("09:30:04", "bid_size", "ask_size") == [300.0, 400.0]
    day.quote("09:30:05", 20.0, 20.1, bid_size=350.0)
    assert day.ask("09:30:06", "bid_size") == [350.0]


def test_case_34_the_close_of_yesterday_decides_not_a_quote_of_the_moment() -> None:
    day = Day()
    day.h.send("ticks.reference", symbol=["AAA"], ts_ns=[ns("09:00")], name=["prev_close"], value=[240.0])  # fmt: skip
    day.quote("09:30:01", 255.0, 255.1, bid_size=3.0, lots=1)
    assert day.ask("09:30:02", "bid_size") == [300.0]


# -- 35


def test_case_35_of_many_quotes_the_newest_is_enough() -> None:
    whole, conflated = Day(), Day()
    for k, bid in enumerate((10.0, 10.02, 10.04)):
        whole.quote(f"09:30:01.{k}", bid, 10.1)
    conflated.quote("09:30:01.2", 10.04, 10.1)
    expected = whole.ask("09:30:02", *QUOTED)
    assert conflated.ask("09:30:02", *QUOTED) == expected
    assert expected[0] == 10.04


def test_case_35_every_trade_counts_and_may_fire_also_within_one_frame() -> None:
    day = Day()
    day.rule("high", ("price", ">", 10.5))
    prices = [10.0, 11.0, 10.0, 12.0, 10.0]
    times = [ns("09:30:01") + k for k in range(5)]
    out = day.h.send("ticks.trades", symbol=["AAA"] * 5, ts_ns=times, price=prices, size=[1.0] * 5)
    assert out["alerts"]["price"].tolist() == [11.0, 12.0]
    bar = day.until("09:31")
    assert (bar["count"], bar["volume"], bar["high"]) == ([5], [5.0], [12.0])


def test_case_35_the_feed_publishes_every_trade() -> None:
    subjects = load_subjects(SUBJECTS_FILE)
    splitter = Splitter(subjects, "test")
    at = ns("09:30") + np.arange(5000) * SECOND_NS // 1000
    columns = {"ts_ns": at, "price": np.full(5000, 10.0), "size": np.ones(5000)}
    batch = Batch("trades", columns, ["A", "B"], np.arange(5000) % 2)
    frames = [one.frame for one in (*splitter.split(batch), *splitter.flush())]
    assert sum(len(frame) for frame in frames) == 5000
