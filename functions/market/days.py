"""Daily history folded: highs, lows and ranges of the last days, made when they are first asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import series
from functions.market.state import DAY_RANGES, DAY_SPANS, SERIES

Array = NDArray[Any]

DAILY = SERIES["daily"]


def fold(state: Any, row: Array) -> None:
    """Have the columns `days_*` of rows ready: days_high_n is of the n - 1 days before today."""
    row = row[state.read("days_folded")[row] != state.read("days_changed")[row] + 1]
    if not len(row):
        return
    row = np.unique(row)
    k = series.last_of(state, DAILY, row)
    highest, lowest = np.zeros(len(row)), np.full(len(row), np.inf)
    largest = np.zeros(len(row))
    for back in range(max(DAY_SPANS) - 1):
        day = series.Candles(state, DAILY, row, k - back)
        high, low = day.at("high"), day.at("low")
        highest, lowest = np.maximum(highest, high), np.minimum(lowest, low)
        with np.errstate(invalid="ignore", divide="ignore"):
            largest = np.maximum(largest, 100.0 * (high - low) / low)
        is_known = k > back
        for n, names in _AT.get(back + 2, ()):
            for name, values in zip(names, (highest, lowest, largest), strict=True):
                if name:
                    state[f"{name}_{n}"][row] = np.where(k >= n - 2, values, np.nan)
        if not is_known.any():
            _nothing(state, row, back + 3)
            break
    state["days_folded"][row] = state["days_changed"][row] + 1


def _nothing(state: Any, row: Array, least: int) -> None:
    """Spans of `least` days and more are longer than any history."""
    for several in _AT.values():
        for n, names in several:
            if n >= least:
                for name in filter(None, names):
                    state[f"{name}_{n}"][row] = np.nan


_AT: dict[int, list[tuple[int, tuple[str, str, str]]]] = {
    n: [
        (
            n,
            (
                "days_high" if n in DAY_SPANS else "",
                "days_low" if n in DAY_SPANS else "",
                "days_range" if n in DAY_RANGES else "",
            ),
        )
    ]
    for n in {*DAY_SPANS, *DAY_RANGES}
}
