"""The truth by hand: small stories whose outcome can be seen without a computer."""

from __future__ import annotations

import pytest

from runtime.providers.exchange import trading_days_from
from runtime.providers.labelled import make_market, truth_of
from runtime.providers.labelled.candles import Candle, Candles, shapes, whole
from runtime.providers.labelled.market import at_ns
from runtime.providers.labelled.script import FIRST_DATE, FULL, HALF, STORIES
from runtime.providers.labelled.truth import Observer, Truth
from runtime.providers.labelled.watches import Bounce, OpeningRange, Rejection, Return

SECOND_NS = 1_000_000_000
DAY = trading_days_from(FIRST_DATE, 1)[0]


def candle(opened: float, high: float, low: float, close: float) -> Candle:
    return Candle(0, *(whole(one) for one in (opened, high, low, close)), 100.0)


def kinds_of(*prints: tuple[str, float], halts: list[tuple[int, int]] | None = None) -> list[Truth]:
    observer = Observer("A", [DAY], [], halts or [], {})
    for at, price in prints:
        clock, _, second = at.rpartition(":")
        observer.meet(at_ns(DAY, clock) + int(second) * SECOND_NS, price, 100.0)
    observer.end()
    return observer.rows


@pytest.mark.parametrize(
    ("before", "now", "held"),
    [
        ((10, 10.1, 9.4, 9.5), (9.4, 10.3, 9.3, 10.2), "bullish_engulfing"),
        ((10, 10.6, 9.9, 10.5), (10.6, 10.7, 9.8, 9.9), "bearish_engulfing"),
        ((10, 10.1, 9.0, 9.1), (9.3, 9.8, 9.2, 9.7), "bullish_harami"),
        ((9.1, 10.1, 9.0, 10), (9.7, 9.8, 9.2, 9.3), "bearish_harami"),
        ((10, 10.5, 9.5, 10.2), (10, 10.4, 9.6, 10.1), "inside_bar"),
    ],
)
def test_a_pattern_of_two_candles_is_seen(before: tuple[float, ...], now: tuple[float, ...], held: str) -> None:  # fmt: skip
    assert f"{held}_1m" in shapes("1m", [candle(*before), candle(*now)])  # type: ignore[arg-type]
    assert f"{held}_1m" not in shapes("1m", [candle(*now), candle(*now)])  # type: ignore[arg-type]


def test_a_shadow_of_exactly_twice_the_body_is_not_more_than_twice() -> None:
    assert "lower_shadow_ratio_1m" not in shapes("1m", [candle(10.05, 10.07, 10.01, 10.07)])
    assert "lower_shadow_ratio_1m" in shapes("1m", [candle(10.05, 10.07, 10.00, 10.07)])


def test_a_rejection_needs_the_level_first_and_is_told_once() -> None:
    watch, level = Rejection(is_high=True), whole(100)
    assert [watch.meet(whole(p), level) for p in (99.4, 99.95, 99.6, 99.5, 99.4)] == [False, False, False, True, False]  # fmt: skip
    watch = Rejection(is_high=True)
    assert not any(watch.meet(whole(p), level) for p in (99.95, 100.2, 99.4))


def test_a_bounce_comes_from_above_touches_and_leaves() -> None:
    def met(*prices: float) -> list[int]:
        watch = Bounce(is_support=True)
        return [watch.meet(1 + k, whole(p), whole(100), 1) for k, p in enumerate(prices)]

    assert met(100.5, 100.05, 100.3) == [0, 0, 1]
    assert met(100.05, 100.3) == [0, 0]  # nobody knows where it came from
    assert met(99.5, 100.05, 100.3) == [0, 0, 0]  # from below
    assert met(100.5, 100.05, 99.8, 100.3) == [0, 0, 0, 0]  # fell through


def test_a_return_is_armed_by_a_close_and_fires_at_a_print() -> None:
    watch = Return()
    watch.close(whole(101.9), 100.0)
    assert not watch.meet(whole(100.2), 100.0)
    watch.close(whole(102.1), 100.0)
    assert [watch.meet(whole(p), 100.0) for p in (101.0, 100.4, 100.4)] == [False, True, False]


def test_an_opening_range_is_left_once_a_day() -> None:
    watch = OpeningRange(5)
    for minute, price in ((0, 10.0), (4, 10.4), (5, 10.4)):
        assert watch.meet(minute, whole(price)) == (False, False)
    assert watch.meet(6, whole(10.5)) == (True, False)
    assert watch.meet(9, whole(10.2)) == (True, False)  # the candle that left it lasts
    assert watch.meet(10, whole(10.6)) == (False, False)


def test_the_recent_high_needs_twenty_candles() -> None:
    candles = Candles({})
    for k in range(19):
        candles.put(candle(1, 2 + k, 1, 1))
    assert candles.recent_high() is None
    candles.put(candle(1, 2, 1, 1))
    assert candles.recent_high() == whole(20)


def test_a_cross_is_no_cross_at_the_days_start_nor_after_a_halt() -> None:
    prints = (("09:31:00", 10.0), ("09:32:00", 9.0), ("09:40:00", 11.0))
    names = {row.kind: row.ts_ns for row in kinds_of(*prints)}
    assert names["crossed_above_open"] == at_ns(DAY, "09:40")
    halts = [(at_ns(DAY, "09:33"), 1), (at_ns(DAY, "09:38"), 0)]
    assert "crossed_above_open" not in {row.kind for row in kinds_of(*prints, halts=halts)}


def test_a_run_is_measured_from_the_newest_price_a_minute_old() -> None:
    rows = kinds_of(
        ("10:00:00", 100.0), ("10:00:59", 101.6), ("10:01:30", 101.4), ("10:02:10", 103.1)
    )
    assert [row.ts_ns for row in rows if row.kind == "running_up_60s"] == [at_ns(DAY, "10:02") + 10 * SECOND_NS]  # fmt: skip


@pytest.fixture(scope="module")
def story() -> list[Truth]:
    return truth_of(make_market(7))


def test_halts_gaps_and_splits_of_the_script_are_in_the_truth(story: list[Truth]) -> None:
    days = make_market(7).days
    split = {(row.symbol, row.ts_ns): row.value for row in story if row.kind == "split"}
    assert split == {("SPLA", days[FULL].start_ns): 0.5, ("SPLB", days[HALF].start_ns): 2.0}
    halts = {(row.symbol, row.ts_ns) for row in story if row.kind == "halt"}
    assert ("HALT", at_ns(days[FULL], "10:03")) in halts
    assert len(halts) == 4
    gaps = [r.value for r in story if (r.kind, r.symbol) == ("gap", "GAPU") and r.ts_ns > days[FULL].open_ns]  # fmt: skip
    assert gaps[0] > 2
    assert gaps[1] < -2


def test_highs_and_lows_are_those_of_the_prints(story: list[Truth]) -> None:
    market = make_market(7)
    day = market.days[FULL]
    who = market.symbols.index("BRKA")
    is_mine = market.trades["who"] == who
    ts_ns, price = market.trades["ts_ns"][is_mine], market.trades["price"][is_mine]
    inside = (ts_ns >= day.open_ns) & (ts_ns < day.close_ns)
    told = {r.kind: r for r in story if r.symbol == "BRKA" and day.start_ns <= r.ts_ns < day.end_ns}
    assert told["high"].value == price[inside].max()
    assert told["low"].value == price[inside].min()
    assert price[ts_ns == told["high"].ts_ns].tolist() == [told["high"].value]


def test_near_misses_are_near_and_missed(story: list[Truth]) -> None:
    full = make_market(7).days[FULL]
    quick = [r for r in story if r.symbol == "ALMO" and r.kind == "running_up_60s_pct" and r.ts_ns > full.open_ns]  # fmt: skip
    assert quick == []
    assert set(STORIES) == {row.symbol for row in story}
