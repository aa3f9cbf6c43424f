"""Candles of a series that come or change when they are no longer among its newest few.

Every recursion x(k) = f(x(k-1), candle k) of `functions.market.series` but the sums and extremes can
be run backwards: x(k-1) follows from x(k) and candle k. So the newest state is taken back candle by candle
to the one before the change, and played forward again. What rounding adds on the way back it loses on the
way forward, where the same factors shrink it. Sums and extremes of a window are made anew at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import series
from functions.market.series import CANDLE, REVISABLE, Candles, Series

Array = NDArray[Any]

RAWS = 2 * REVISABLE  # newest candles before the last one whose stochastic is made anew


def put_older(
    state: Any, kept: Series, row: Array, behind: Array, is_new: Array, candle: Mapping[str, Array]
) -> list[tuple[Array, Candles]]:
    """Replace or put in between one candle of each row; (place in `row`, the newest candles).

    row      distinct rows
    behind   how many candles are newer; fewer than the series keeps spans of
    is_new   whether it comes in between: else it replaces one
    candle   `start` and the columns of CANDLE
    """
    newest = state[f"{kept.name}_n"][row] - 1
    first = newest - behind + is_new
    _take_back(state, kept, row, newest, first)
    newest = newest + is_new
    state[f"{kept.name}_n"][row] = newest + 1
    _make_room(state, kept, row[is_new], newest[is_new], first[is_new])
    for column in ("start", *CANDLE):
        width = kept.width(column)
        there = newest - first < width  # else newer candles lie in its place
        at = (row[there], first[there] % width)
        state.put(f"{kept.name}_{column}", at, candle[column][there])
    return list(_played(state, kept, row, first, newest))


def _take_back(state: Any, kept: Series, row: Array, newest: Array, first: Array) -> None:
    """The state after candle `first` - 1 in the place it has there, from the one after the newest."""
    k = newest.copy()
    while (more := k >= first).any():
        row, k, first = row[more], k[more], first[more]
        _step_back(Candles(state, kept, row, k))
        k = k - 1


def _step_back(candles: Candles) -> None:
    kept, k = candles.series, candles.k
    close, previous = candles.at("close"), candles.at("close", 1)
    if kept.has_signal:
        line = candles.after("ema_12") - candles.after("ema_26")
        known = candles.after("signal")
        seed = np.where(k > 25, np.where(k == 33, known * 9, known) - line, 0.0)
        candles.keep_before("signal", np.where(k > 33, (known - 0.2 * line) / 0.8, seed))
    for n in kept.emas:
        known, weight = candles.after(f"ema_{n}"), 2.0 / (n + 1)
        seed = np.where(k == n - 1, known * n, known) - close
        moved = (known - weight * close) / (1 - weight)
        candles.keep_before(f"ema_{n}", np.where(k >= n, moved, seed))
    change = np.where(k > 0, close - previous, 0.0)
    for n in kept.rsis:
        for name, moved in (("gain", change), ("loss", -change)):
            _smooth_back(candles, f"{name}_{n}", np.maximum(moved, 0.0), n, n)
    if kept.atr:
        wide = series.true_range(candles, previous)
        _smooth_back(candles, f"atr_{kept.atr}", wide, kept.atr, kept.atr - 1)


def _smooth_back(candles: Candles, name: str, value: Array, n: int, seed: int) -> None:
    known, k = candles.after(name), candles.k
    seeded = np.where(k == seed, known * n, known) - value
    candles.keep_before(name, np.where(k > seed, (known * n - value) / (n - 1), seeded))


def _make_room(state: Any, kept: Series, row: Array, newest: Array, first: Array) -> None:
    """Candles from `first` on move up by one, the newest first."""
    back = 0
    while (more := newest - back > first).any():
        row, newest, first = row[more], newest[more], first[more]
        for column in ("start", *CANDLE):
            width = kept.width(column)
            if back < width - 1:
                moved = state[f"{kept.name}_{column}"][row, (newest - back - 1) % width]
                state.put(f"{kept.name}_{column}", (row, (newest - back) % width), moved)
        back += 1


def _played(
    state: Any, kept: Series, row: Array, k: Array, newest: Array
) -> Iterator[tuple[Array, Candles]]:
    """Play candles again; yields those whose state is kept."""
    place = np.arange(len(row))
    while len(row):
        series.step(Candles(state, kept, row, k))
        near = newest - k <= RAWS
        if near.any():
            _fold_anew(state, kept, row[near], k[near])
            kept_on = newest - k <= REVISABLE
            if kept_on.any():
                _sum_anew(state, kept, row[kept_on], k[kept_on])
                yield place[kept_on], Candles(state, kept, row[kept_on], k[kept_on])
        more = k < newest
        place, row, k, newest = place[more], row[more], k[more] + 1, newest[more]


def _sum_anew(state: Any, kept: Series, row: Array, k: Array) -> None:
    candles = Candles(state, kept, row, k)
    closes = state[f"{kept.name}_close"]
    for n in kept.smas:
        back = k[:, None] - np.arange(n - 1, -1, -1)
        values = np.where(back >= 0, closes[row[:, None], back % kept.closes], 0.0)
        candles.keep(f"sum_{n}", np.cumsum(values, axis=1)[:, -1])
        candles.keep(f"rest_{n}", np.zeros(len(row)))


def _fold_anew(state: Any, kept: Series, row: Array, k: Array) -> None:
    n = kept.stochastic
    if not n:
        return
    candles = Candles(state, kept, row, k)
    for name, column, ufunc in (("highest", "high", np.maximum), ("lowest", "low", np.minimum)):
        back = np.maximum(k[:, None] - np.arange(n), 0)
        values = state[f"{kept.name}_{column}"][row[:, None], back % kept.spans]
        candles.keep(f"{name}_{n}", ufunc.reduce(values, axis=1))
    series.raw(candles, candles.at("close"))
