"""Every indicator against talipp on random candles with gaps, and against printed worked examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.indicators import indicators
from functions.market.indicators import NAMES, add_bars
from functions.market.series import Series
from functions.market.state import SERIES
from runtime.state import Rows, Table, shapes_of
from tests.functions import oracles
from tests.functions.fed_candles import Bar, averages, of_closes
from tests.functions.oracles import differences

MINUTE_NS = 60_000_000_000
FIRST = 29_460_390  # a minute since 1970
Arrival = tuple[int, Bar, int]  # row, bar, revision
KINDS = ("walk", "flat", "coarse", "jumps", "quiet", "one")


def random_bars(draw: np.random.Generator, kind: str, count: int) -> list[Bar]:
    """Minutes with gaps; flat stretches, prices that repeat, jumps, minutes without volume, one bar."""
    minute, close, bars = FIRST, float(round(draw.uniform(5, 300), 2)), []
    tick = 1.0 if kind == "coarse" else 0.01
    for k in range(1 if kind == "one" else count):
        minute += int(draw.choice([1, 1, 1, 1, 2, 3, 7, 45, 200]))
        opened = close
        if kind == "flat" and k // 40 % 2 == 0:
            bars.append(Bar(minute, close, close, close, close, 100.0, close))
            continue
        if kind == "jumps" and draw.random() < 0.05:
            close *= float(draw.choice([0.1, 0.5, 2.0, 10.0]))
        steps = draw.integers(-3, 4, size=3)
        close = max(round(close + tick * float(steps[0]), 4), tick)
        high = max(opened, close) + tick * abs(float(steps[1]))
        low = max(min(opened, close) - tick * abs(float(steps[2])), tick / 2)
        volume = float(draw.integers(0 if kind == "quiet" else 1, 5)) * 50
        vwap = float(draw.uniform(low, high)) if volume else float("nan")
        bars.append(Bar(minute, opened, high, low, close, volume, vwap))
    return bars


def arrivals_of(draw: np.random.Generator, market: Sequence[Sequence[Bar]]) -> list[Arrival]:
    """Bars of all rows by minute; some said wrong at first and revised, some up to three minutes late."""
    found: list[tuple[float, Arrival]] = []
    for row, bars in enumerate(market):
        for bar in bars:
            chance, late = draw.random(), float(draw.integers(1, 4)) + 0.5
            when = bar.start + (late if chance < 0.1 else 0.4 * draw.random())
            if chance > 0.9:
                wrong = bar._replace(high=bar.high * 1.5, close=bar.close * 1.2, volume=7.0, vwap=9)
                found += [(when, (row, wrong, 0)), (bar.start + late, (row, bar, 1))]
            else:
                found.append((when, (row, bar, 0)))
    return [arrival for _, arrival in sorted(found, key=lambda one: one[0])]


def said(
    arrivals: Sequence[Arrival], cuts: Sequence[int], rows: int
) -> dict[tuple[int, int], dict[str, float]]:
    """The newest values said of every (row, minute), by name, after feeding in batches."""
    state = Table(Rows(f"S{k}" for k in range(rows)), shapes_of(indicators))
    newest: dict[tuple[int, int], dict[str, float]] = {}
    for start, stop in zip([0, *cuts], [*cuts, len(arrivals)], strict=True):
        batch = arrivals[start:stop]
        if not batch:
            continue
        columns: dict[str, Any] = {
            name: np.array([getattr(bar, name) for _, bar, _ in batch])
            for name in ("open", "high", "low", "close", "volume", "vwap")
        }
        columns["row"] = np.array([row for row, _, _ in batch])
        columns["ts_ns"] = np.array([bar.start for _, bar, _ in batch]) * MINUTE_NS
        columns["revision"] = np.array([revision for _, _, revision in batch])
        out = add_bars(state, columns)
        assert out is not None
        for k, (row, ts_ns) in enumerate(zip(out["row"], out["ts_ns"], strict=True)):
            newest[int(row), int(ts_ns) // MINUTE_NS] = {n: float(out[n][k]) for n in NAMES}
    return newest


def wrong_values(market: Sequence[Sequence[Bar]], arrivals: Sequence[Arrival], cuts: Sequence[int]) -> list[str]:  # fmt: skip
    newest = said(arrivals, cuts, len(market))
    assert newest.keys() == {(row, bar.start) for row, bars in enumerate(market) for bar in bars}
    wrong = []
    for row, bars in enumerate(market):
        expected = oracles.indicators_of(bars)
        assert set(expected) == set(NAMES)
        for name, values in expected.items():
            found = [newest[row, bar.start][name] for bar in bars]
            wrong += [f"symbol {row}, {one}" for one in differences(name, found, values)]
    return wrong


@pytest.mark.parametrize("seed", range(3))
def test_every_indicator_is_what_talipp_says_whatever_arrives_late_or_revised(seed: int) -> None:
    draw = np.random.default_rng(seed)
    market = [random_bars(draw, kind, 280) for kind in KINDS]
    arrivals = arrivals_of(draw, market)
    cuts = sorted(draw.integers(0, len(arrivals), 200).tolist())
    assert wrong_values(market, arrivals, cuts)[:20] == []


SHAPES = st.lists(
    st.tuples(
        st.integers(1, 70), st.integers(-3, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 3)
    ),
    min_size=1,
    max_size=60,
)  # fmt: skip


def bars_of(steps: Sequence[tuple[int, int, int, int, int]]) -> list[Bar]:
    minute, close, bars = FIRST, 50.0, []
    for gap, move, up, down, volume in steps:
        minute, opened, close = minute + gap, close, max(close + move, 5.0)
        high, low = max(opened, close) + up, min(opened, close) - down
        vwap = (high + low) / 2 if volume else float("nan")
        bars.append(Bar(minute, opened, high, low, close, 10.0 * volume, vwap))
    return bars


@settings(deadline=None, max_examples=60)
@given(st.lists(SHAPES, min_size=1, max_size=2), st.integers(1, 9))
def test_every_indicator_of_any_few_bars_is_what_talipp_says(
    steps: list[list[tuple[int, int, int, int, int]]], width: int
) -> None:
    market = [bars_of(one) for one in steps]
    arrivals = [(row, bar, 0) for row, bars in enumerate(market) for bar in bars]
    arrivals.sort(key=lambda one: one[1].start)
    assert wrong_values(market, arrivals, range(width, len(arrivals), width)) == []


# -- the other timeframes


def expected_of(name: str, bars: Sequence[Bar]) -> list[float]:
    kind, _, n = name.partition("_")
    return {"ema": oracles.ema, "sma": oracles.sma, "rsi": oracles.rsi, "atr": oracles.atr}[kind](
        int(n), bars
    )


TIMEFRAMES = [name for name, kept in SERIES.items() if kept.emas or kept.rsis or kept.atr]


@pytest.mark.parametrize("kind", ["walk", "flat", "jumps"])
@pytest.mark.parametrize("name", TIMEFRAMES)
def test_candles_of_every_timeframe_have_the_averages_talipp_says(name: str, kind: str) -> None:
    kept = SERIES[name]
    bars = random_bars(np.random.default_rng(len(name)), kind, 270 if name == "daily" else 120)
    found = averages(kept, bars)
    assert found
    for one, values in found.items():
        assert differences(f"{one} of {name}", values, expected_of(one, bars))[:5] == []


def test_a_series_too_narrow_for_its_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="closes=27, expected at least 28"):
        Series("c", closes=27, smas=(10, 20))
    with pytest.raises(ValueError, match="spans=28, expected at least 38"):
        Series("c", stochastic=30)


# -- printed examples

# StockCharts ChartSchool, "Relative Strength Index": the closes to the cent and what Wilder's formula
# makes of them; the printed table (70.53, 66.32, ...) rounds its averages, or has more digits.
RSI_CLOSES = (
    44.34, 44.09, 44.15, 43.61, 44.33, 44.83, 45.10, 45.42, 45.84, 46.08, 45.89, 46.03, 45.61, 46.28,
    46.28, 46.00, 46.03, 46.41, 46.22, 45.64, 46.21, 46.25, 45.71, 46.45, 45.78, 45.35, 44.03, 44.18,
    44.22, 44.57, 43.42, 42.66, 43.13,
)  # fmt: skip
RSI_OF_14 = (
    70.46, 66.25, 66.48, 69.35, 66.29, 57.92, 62.88, 63.21, 56.01, 62.34, 54.67, 50.39, 40.02, 41.49,
    41.90, 45.50, 37.32, 33.09, 37.79,
)  # fmt: skip
RSI_PRINTED = (
    70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38, 54.71, 50.42, 39.99, 41.46,
    41.87, 45.46, 37.30, 33.08, 37.77,
)  # fmt: skip
# The same, "Moving Averages": 10-day simple and exponential; the table was made of more digits.
MEAN_CLOSES = (
    22.27, 22.19, 22.08, 22.17, 22.18, 22.13, 22.23, 22.43, 22.24, 22.29, 22.15, 22.39, 22.38, 22.61,
    23.36, 24.05, 23.75, 23.83, 23.95, 23.63, 23.82, 23.87, 23.65, 23.19, 23.10, 23.33, 22.68, 23.10,
    22.40, 22.17,
)  # fmt: skip
EMA_OF_10 = (
    22.22, 22.21, 22.24, 22.27, 22.33, 22.52, 22.80, 22.97, 23.13, 23.28, 23.34, 23.43, 23.51, 23.54,
    23.47, 23.40, 23.39, 23.26, 23.23, 23.08, 22.92,
)  # fmt: skip
SMA_OF_10 = (22.22, 22.21, 22.23, 22.26, 22.31, 22.42, 22.61, 22.77, 22.91)
# The same, "Average True Range": high, low, close; the printed ATR begins one day earlier with 0.55.
ATR_CANDLES = (
    (48.70, 47.79, 48.16), (48.72, 48.14, 48.61), (48.90, 48.39, 48.75), (48.87, 48.37, 48.63),
    (48.82, 48.24, 48.74), (49.05, 48.64, 49.03), (49.20, 48.94, 49.07), (49.35, 48.86, 49.32),
    (49.92, 49.50, 49.91), (50.19, 49.87, 50.13), (50.12, 49.20, 49.53), (49.66, 48.90, 49.50),
    (49.88, 49.43, 49.75), (50.19, 49.73, 50.03), (50.36, 49.26, 50.31), (50.57, 50.09, 50.52),
)  # fmt: skip
ATR_OF_14 = (0.59, 0.59)


def test_rsi_is_that_of_the_printed_example() -> None:
    values = averages(Series("c", rsis=(14,)), of_closes(RSI_CLOSES))["rsi_14"]
    assert np.isnan(values[:14]).all()
    assert values[14:] == pytest.approx(RSI_OF_14, abs=0.0051)
    assert values[14:] == pytest.approx(RSI_PRINTED, abs=0.08)
    assert values[14] == pytest.approx(100 - 100 / (1 + 3.34 / 1.40))  # gains and losses by hand


def test_moving_averages_are_those_of_the_printed_example() -> None:
    found = averages(Series("c", closes=18, emas=(10,), smas=(10,)), of_closes(MEAN_CLOSES))
    assert np.isnan(found["ema_10"][:9]).all()
    assert found["ema_10"][9:] == pytest.approx(EMA_OF_10, abs=0.0071)
    assert found["sma_10"][9:18] == pytest.approx(SMA_OF_10, abs=0.0071)


def test_atr_is_that_of_the_printed_example() -> None:
    bars = [Bar(k, close, high, low, close) for k, (high, low, close) in enumerate(ATR_CANDLES)]
    values = averages(Series("c", atr=14), bars)["atr_14"]
    assert np.isnan(values[:14]).all()
    assert values[14:] == pytest.approx(ATR_OF_14, abs=0.0051)
    assert values[14] == pytest.approx((7.76 / 14 * 13 + 1.10) / 14)  # true ranges added by hand
