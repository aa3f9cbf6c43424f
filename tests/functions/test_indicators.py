"""Indicators against values worked out by hand and against the plain loop, late bars included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.indicators import indicators
from functions.market.indicators import add_bars
from runtime.state import Rows, Table, shapes_of

MINUTE_NS = 60_000_000_000
FIRST = 29_460_390  # a minute since 1970
NAMES = ("ema_9", "sma_20", "rsi_14", "vwap_5m")
Bar = tuple[float, float, float]  # close, volume, vwap


def empty(rows: int) -> Table:
    return Table(Rows(f"S{k}" for k in range(rows)), shapes_of(indicators))


def add(state: Table, bars: list[tuple[int, int, Bar, int]]) -> dict[str, Any] | None:
    """Bars as (row, minute, (close, volume, vwap), revision); open, high and low are the close."""
    row, minute, bar, revision = zip(*bars, strict=True)
    close, volume, vwap = (np.array(one) for one in zip(*bar, strict=True))
    columns = {"row": np.array(row), "ts_ns": np.array(minute) * MINUTE_NS, "vwap": vwap}
    columns |= dict.fromkeys(("open", "high", "low", "close"), close)
    return add_bars(state, {**columns, "volume": volume, "revision": np.array(revision)})


def slow(bars: dict[int, Bar]) -> dict[int, dict[str, float]]:
    """Every indicator of every minute of one symbol, from the definitions."""
    said: dict[int, dict[str, float]] = {}
    minutes = sorted(bars)
    closes = [bars[minute][0] for minute in minutes]
    ema = gain = loss = float("nan")
    for k, minute in enumerate(minutes):
        if k + 1 >= 9:
            ema = sum(closes[:9]) / 9 if k == 8 else ema + 0.2 * (closes[k] - ema)
        changes = [closes[j] - closes[j - 1] for j in range(1, k + 1)]
        if k == 14:
            gain = sum(max(one, 0.0) for one in changes) / 14
            loss = sum(max(-one, 0.0) for one in changes) / 14
        elif k > 14:
            gain = (gain * 13 + max(changes[-1], 0.0)) / 14
            loss = (loss * 13 + max(-changes[-1], 0.0)) / 14
        rsi = float("nan")
        if k >= 14:
            rsi = 50.0 if gain + loss == 0 else 100 * gain / (gain + loss)
        window = [bars[one] for one in minutes if minute - 5 < one <= minute]
        volume = sum(one[1] for one in window)
        said[minute] = {
            "ema_9": ema,
            "sma_20": sum(closes[k - 19 : k + 1]) / 20 if k >= 19 else float("nan"),
            "rsi_14": rsi,
            "vwap_5m": sum(one[1] * one[2] for one in window) / volume,
        }
    return said


def test_the_first_ema_is_the_mean_and_the_next_moves_by_a_fifth() -> None:
    bars = [(0, FIRST + k, (float(k), 1.0, float(k)), 0) for k in range(10)]
    out = add(empty(1), bars)
    assert out is not None
    assert np.isnan(out["ema_9"][:8]).all()
    assert out["ema_9"][8:].tolist() == pytest.approx([4.0, 5.0])


def test_rsi_is_50_where_nothing_moves_and_100_where_all_rises() -> None:
    for step, expected in ((0.0, 50.0), (1.0, 100.0), (-1.0, 0.0)):
        bars = [(0, FIRST + k, (100 + step * k, 1.0, 100.0), 0) for k in range(16)]
        out = add(empty(1), bars)
        assert out is not None
        assert np.isnan(out["rsi_14"][:14]).all()
        assert out["rsi_14"][14:].tolist() == [expected] * 2


def test_a_minute_without_trades_is_a_gap_in_the_vwap() -> None:
    out = add(empty(1), [(0, FIRST, (10.0, 1.0, 10.0), 0), (0, FIRST + 4, (20.0, 3.0, 20.0), 0), (0, FIRST + 5, (30.0, 1.0, 30.0), 0)])  # fmt: skip
    assert out is not None
    assert out["vwap_5m"].tolist() == [10.0, 17.5, 22.5]


def test_a_bar_older_than_an_hour_is_counted_and_says_nothing() -> None:
    state = empty(1)
    add(state, [(0, FIRST + k, (10.0, 1.0, 10.0), 0) for k in range(64, 70)])
    assert add(state, [(0, FIRST, (99.0, 1.0, 99.0), 0)]) is None
    assert state["bar_late"].tolist() == [1]


STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-3, 2), st.integers(900, 1100), st.integers(1, 50)),
    min_size=20,
    max_size=90,
)


@settings(deadline=None, max_examples=60)
@given(STEPS, st.integers(1, 7))
def test_revised_and_inserted_bars_give_what_the_loop_gives(
    steps: list[tuple[int, int, int, int]], width: int
) -> None:
    bars: list[dict[int, Bar]] = [{}, {}]
    fed: list[tuple[int, int, Bar, int]] = []
    for row, step, cents, volume in steps:
        minute = max(bars[row], default=FIRST) + step
        revision = int(minute in bars[row])
        bars[row][minute] = (cents / 100, float(volume), cents / 100)
        fed.append((row, minute, bars[row][minute], revision))
    state = empty(2)
    newest: dict[tuple[int, int], dict[str, float]] = {}
    for start in range(0, len(fed), width):
        out = add(state, fed[start : start + width])
        assert out is not None
        for k in range(len(out["row"])):
            key = int(out["row"][k]), int(out["ts_ns"][k]) // MINUTE_NS
            newest[key] = {name: float(out[name][k]) for name in NAMES}
    expected = {(row, m): v for row in (0, 1) for m, v in slow(bars[row]).items()}
    assert newest.keys() == expected.keys()
    for key, values in expected.items():
        assert newest[key] == pytest.approx(values, nan_ok=True, rel=1e-9)
