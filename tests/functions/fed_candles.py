"""Candles fed to a series one by one, and what it knows after each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from functions.market import series
from functions.market.series import Series
from runtime.state import Rows, Table, shape_of

NAN = float("nan")
Values = list[float]


class Bar(NamedTuple):
    """One candle; `start` counts minutes, or whatever its series counts."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float = 1.0
    vwap: float = NAN


def of_closes(closes: Sequence[float]) -> list[Bar]:
    """Candles of which only the close is known."""
    return [Bar(k, close, close, close, close) for k, close in enumerate(closes)]


def after_each(
    kept: Series, bars: Sequence[Bar], values_at: Callable[[series.Candles], dict[str, Any]]
) -> dict[str, Values]:
    """values_at(the newest candle) after every candle, as one list per name."""
    state = Table(Rows(["S"]), {name: shape_of(name, one) for name, one in kept.state.items()})
    found: dict[str, Values] = {}
    row = np.array([0])
    for bar in bars:
        candle = {name: np.array([getattr(bar, name)]) for name in series.CANDLE}
        series.put_candles(state, kept, row, np.array([bar.start]), candle)
        for name, value in values_at(series.newest(state, kept, row)).items():
            found.setdefault(name, []).append(float(value[0]))
    return found


def averages(kept: Series, bars: Sequence[Bar]) -> dict[str, Values]:
    """Every average that a series keeps: ema_9, sma_20, rsi_14, atr_14."""

    def values_at(candle: series.Candles) -> dict[str, Any]:
        values = {f"ema_{n}": series.ema(candle, n) for n in kept.emas}
        values |= {f"sma_{n}": series.mean_close(candle, n) for n in kept.smas}
        values |= {f"rsi_{n}": series.rsi(candle, n) for n in kept.rsis}
        if kept.atr:
            values[f"atr_{kept.atr}"] = series.atr(candle, kept.atr)
        return values

    return after_each(kept, bars, values_at)
