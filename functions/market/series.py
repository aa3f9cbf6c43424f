"""Candles of one timeframe and the recursions over them, which a late candle takes back and plays again.

Definitions (J. Welles Wilder, New Concepts in Technical Trading Systems, 1978, for RSI and true range;
G. Appel for the MACD):

    sma_n     mean of the last n closes
    ema_n     the first is the mean of the first n closes; then ema + 2 / (n + 1) * (close - ema)
    rsi_n     100 - 100 / (1 + gain / loss), gain and loss smoothed with 1/n, the first of each the mean
              of the first n changes; 50 where nothing moved
    atr_n     true range smoothed with 1/n, the first the mean of the first n; the first true range is
              high - low; said from candle n + 1 on
    signal    the EMA of 9 of ema_12 - ema_26, seeded with the mean of the first 9
    run       candles of one colour in a row, red ones negative, 0 after a candle without a body

A value is absent (NaN) until there are enough candles. Candles are numbered k = 0, 1, ... by symbol;
gaps are no candles. A recursion keeps its value after each of the last five, at `(k + 1) % 5`, so a
candle among the last REVISABLE can be replaced or put in between, and what came after it is computed
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = dict[str, Array]

REVISABLE = 4
AFTER = REVISABLE + 1
RECENT = 20  # candles a recent high or low looks back
CANDLE = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Series:
    """What is kept of one timeframe; `name` is the prefix of its state columns."""

    name: str
    width: int = 32  # candles kept; at least the longest mean plus 2 * REVISABLE
    emas: tuple[int, ...] = ()
    rsis: tuple[int, ...] = ()
    atr: int = 0
    has_signal: bool = False
    has_run: bool = True
    has_recent: bool = True

    def __post_init__(self) -> None:
        least = max((RECENT * self.has_recent, *self.emas)) + 2 * REVISABLE
        if self.width < least:  # an EMA begins with the mean of its first n closes
            raise ValueError(f"series {self.name}: width {self.width}, expected at least {least}")

    @property
    def recursions(self) -> tuple[str, ...]:
        """Names of the values that rest on the candle before."""
        names = [f"ema_{n}" for n in self.emas]
        names += [f"{part}_{n}" for n in self.rsis for part in ("gain", "loss")]
        names += [f"atr_{self.atr}"] if self.atr else []
        return (
            *names,
            *(["signal"] if self.has_signal else []),
            *(["run"] if self.has_run else []),
        )

    @property
    def state(self) -> dict[str, Any]:
        """The state columns of the series, as a function declares them."""
        shapes: dict[str, Any] = {f"{self.name}_n": "i8", f"{self.name}_late": "i8"}
        shapes[f"{self.name}_start"] = ("i8", self.width, "put")
        for name in CANDLE:
            shapes[f"{self.name}_{name}"] = ("f8", self.width, "put")
        for name in self.recursions:
            shapes[f"{self.name}_{name}"] = ("f8", AFTER)
        if self.has_recent:
            shapes |= {f"{self.name}_recent_high": "f8", f"{self.name}_recent_low": "f8"}
        return shapes


def put_candles(
    state: Any, series: Series, row: Array, start: Array, candle: Mapping[str, Array]
) -> list[tuple[Array, Array, Array]]:
    """Add or replace one candle of each row; returns (place in `row`, row, k) of every candle computed.

    row     distinct rows
    start   where each candle begins, in any unit that grows with time
    candle  open, high, low, close, volume
    """
    name = series.name
    count = state[f"{name}_n"][row]
    newest = state[f"{name}_start"][row, (count - REVISABLE) % series.width]
    is_late = (count > REVISABLE) & (start < newest)
    place = np.arange(len(row))
    if is_late.any():
        state[f"{name}_late"][row[is_late]] += 1
        place, row, start = place[~is_late], row[~is_late], start[~is_late]
    k = _make_place(state, series, row, start)
    for column in CANDLE:
        state.put(f"{name}_{column}", (row, k % series.width), candle[column][place])
    computed = []
    while len(row):
        _step(state, series, row, k)
        computed.append((place, row, k))
        more = k + 1 < state[f"{name}_n"][row]
        place, row, k = place[more], row[more], k[more] + 1
    return computed


def _make_place(state: Any, series: Series, row: Array, start: Array) -> Array:
    """The number of each candle: a new one, that of the one it replaces, or one made in between."""
    name, width = series.name, series.width
    count = state[f"{name}_n"][row]
    starts = state[f"{name}_start"]
    k = count.copy()  # the first candle that is not older
    for back in range(1, REVISABLE + 1):
        k -= (count >= back) & (starts[row, (count - back) % width] >= start)
    fresh = (k == count) | (starts[row, k % width] != start)
    for back in range(REVISABLE):  # later candles move up by one, the newest first
        moves = fresh & (count - 1 - back >= k)
        if moves.any():
            source, symbol = count[moves] - 1 - back, row[moves]
            for column in ("start", *CANDLE):
                ring = state[f"{name}_{column}"]
                moved = ring[symbol, source % width]
                state.put(f"{name}_{column}", (symbol, (source + 1) % width), moved)
    state.put(f"{name}_start", (row, k % width), start)
    state[f"{name}_n"][row[fresh]] += 1
    return k


def _step(state: Any, series: Series, row: Array, k: Array) -> None:
    """Compute the recursions at candle k of each row from what they were after candle k - 1."""
    name = series.name
    close, before = at(state, series, "close", row, k), at(state, series, "close", row, k - 1)
    for n in series.emas:
        _ema(state, series, row, k, close, n)
    change = np.where(k > 0, close - before, 0.0)
    for n in series.rsis:
        _smooth(state, f"{name}_gain_{n}", row, k, np.maximum(change, 0.0), n, first=1)
        _smooth(state, f"{name}_loss_{n}", row, k, np.maximum(-change, 0.0), n, first=1)
    if series.atr:
        high, low = at(state, series, "high", row, k), at(state, series, "low", row, k)
        wide = np.maximum(high - low, np.maximum(np.abs(high - before), np.abs(low - before)))
        _smooth(
            state, f"{name}_atr_{series.atr}", row, k, np.where(k > 0, wide, high - low), series.atr
        )
    if series.has_signal:
        _signal(state, series, row, k)
    if series.has_run:
        colour = np.sign(close - at(state, series, "open", row, k))
        run = state[f"{name}_run"][row, k % AFTER]
        goes_on = (k > 0) & (np.sign(run) == colour)
        state[f"{name}_run"][row, (k + 1) % AFTER] = np.where(goes_on, run + colour, colour)
    if series.has_recent:
        places = (k[:, None] - np.arange(RECENT)) % series.width
        known = k >= RECENT - 1
        highest = state[f"{name}_high"][row[:, None], places].max(axis=1)
        lowest = state[f"{name}_low"][row[:, None], places].min(axis=1)
        state[f"{name}_recent_high"][row] = np.where(known, highest, np.nan)
        state[f"{name}_recent_low"][row] = np.where(known, lowest, np.nan)


def _ema(state: Any, series: Series, row: Array, k: Array, close: Array, n: int) -> None:
    ring = state[f"{series.name}_ema_{n}"]
    before = ring[row, k % AFTER]
    after = before + 2.0 / (n + 1) * (close - before)
    seeds = np.flatnonzero(k == n - 1)
    if len(seeds):
        after[seeds] = mean_close(state, series, row[seeds], k[seeds], n)
    ring[row, (k + 1) % AFTER] = np.where(k >= n - 1, after, 0.0)


def _smooth(
    state: Any, column: str, row: Array, k: Array, value: Array, n: int, first: int = 0
) -> None:
    """Wilder's smoothing of values that begin at candle `first`; a plain sum until the seed is complete."""
    before = state[column][row, k % AFTER]
    seed = n - 1 + first  # the candle that completes it
    total = before + value
    after = np.where(k == seed, total / n, total)
    state[column][row, (k + 1) % AFTER] = np.where(k > seed, (before * (n - 1) + value) / n, after)


def _signal(state: Any, series: Series, row: Array, k: Array) -> None:
    line = _ring(state, series, "ema_12", row, k) - _ring(state, series, "ema_26", row, k)
    ring = state[f"{series.name}_signal"]
    before = ring[row, k % AFTER]
    total = np.where(k >= 25, before + line, 0.0)
    seeded = np.where(k == 33, total / 9, total)
    ring[row, (k + 1) % AFTER] = np.where(k > 33, before + 0.2 * (line - before), seeded)


# -- what a series knows at candle k of each row


def last_of(state: Any, series: Series, row: Array) -> Array:
    """The number of each row's newest candle; -1 where there is none."""
    return np.asarray(state[f"{series.name}_n"][row] - 1)


def at(state: Any, series: Series, column: str, row: Array, k: Array) -> Array:
    """A column of candle k; what lies there is only meaningful for 0 <= k."""
    return np.asarray(state[f"{series.name}_{column}"][row, k % series.width])


def _ring(state: Any, series: Series, name: str, row: Array, k: Array) -> Array:
    return np.asarray(state[f"{series.name}_{name}"][row, (k + 1) % AFTER])


def _known(values: Array, is_known: Array) -> Array:
    return np.where(is_known, values, np.nan)


def mean_close(state: Any, series: Series, row: Array, k: Array, n: int) -> Array:
    """sma_n: mean of the n closes up to candle k, added oldest first."""
    mean = np.full(len(row), np.nan)
    enough = np.flatnonzero(k + 1 >= n)
    if len(enough):
        places = (k[enough, None] + np.arange(1 - n, 1)) % series.width
        closes = state[f"{series.name}_close"][row[enough, None], places]
        mean[enough] = np.add.accumulate(closes, axis=1)[:, -1] / n
    return mean


def ema(state: Any, series: Series, row: Array, k: Array, n: int) -> Array:
    """ema_n after candle k."""
    return _known(_ring(state, series, f"ema_{n}", row, k), k >= n - 1)


def rsi(state: Any, series: Series, row: Array, k: Array, n: int) -> Array:
    """Wilder's RSI after candle k."""
    gain = _ring(state, series, f"gain_{n}", row, k)
    loss = _ring(state, series, f"loss_{n}", row, k)
    with np.errstate(invalid="ignore", divide="ignore"):
        index = np.where(gain + loss > 0, 100.0 - 100.0 / (1.0 + gain / loss), 50.0)
    return _known(index, k >= n)


def atr(state: Any, series: Series, row: Array, k: Array, n: int) -> Array:
    """Wilder's average true range after candle k."""
    return _known(_ring(state, series, f"atr_{n}", row, k), k >= n)


def run(state: Any, series: Series, row: Array, k: Array) -> Array:
    """The signed run of candles of one colour that ends with candle k."""
    return _known(_ring(state, series, "run", row, k), k >= 0)


def macd(state: Any, series: Series, row: Array, k: Array) -> tuple[Array, Array, Array]:
    """(line, signal, histogram) of the MACD 12, 26, 9 after candle k."""
    line = ema(state, series, row, k, 12) - ema(state, series, row, k, 26)
    signal = _known(_ring(state, series, "signal", row, k), k >= 33)
    return line, signal, line - signal


def bollinger(
    state: Any, series: Series, row: Array, k: Array, n: int = 20, wide: float = 2.0
) -> tuple[Array, Array, Array]:
    """(mid, upper, lower): the mean of n closes and `wide` population standard deviations around it."""
    places = (k[:, None] + np.arange(1 - n, 1)) % series.width
    closes = state[f"{series.name}_close"][row[:, None], places]
    mid = np.add.accumulate(closes, axis=1)[:, -1] / n
    square = np.add.accumulate((closes - mid[:, None]) ** 2, axis=1)[:, -1] / n
    spread = wide * np.sqrt(square)
    known = k >= n - 1
    return _known(mid, known), _known(mid + spread, known), _known(mid - spread, known)


def stochastic(
    state: Any, series: Series, row: Array, k: Array, n: int = 14, slow: int = 3, of: int = 3
) -> tuple[Array, Array]:
    """(%K, %D) of George Lane's stochastic: raw %K over n candles, its mean of 3, and the mean of 3 of that.

    Where the n candles have no range raw %K is 50.
    """
    raws = np.full((len(row), slow + of - 1), np.nan)
    for back in range(slow + of - 1):
        last = k - back
        places = (last[:, None] + np.arange(1 - n, 1)) % series.width
        high = state[f"{series.name}_high"][row[:, None], places].max(axis=1)
        low = state[f"{series.name}_low"][row[:, None], places].min(axis=1)
        close = at(state, series, "close", row, last)
        with np.errstate(invalid="ignore", divide="ignore"):
            raw = np.where(high > low, 100.0 * (close - low) / (high - low), 50.0)
        raws[:, back] = _known(raw, last >= n - 1)
    slowed = np.stack(
        [np.add.accumulate(raws[:, b : b + slow], axis=1)[:, -1] / slow for b in range(of)], axis=1
    )
    return slowed[:, 0], np.add.accumulate(slowed, axis=1)[:, -1] / of


def scale(state: Any, series: Series, row: Array, factor: Array) -> None:
    """Multiply every price of some rows, and divide volumes: a split took effect."""
    name = series.name
    for column in ("open", "high", "low", "close"):
        state.put(f"{name}_{column}", row, state[f"{name}_{column}"][row] * factor[:, None])
    state.put(f"{name}_volume", row, state[f"{name}_volume"][row] / factor[:, None])
    for column in series.recursions:
        if column != "run":
            state[f"{name}_{column}"][row] *= factor[:, None]
    if series.has_recent:
        for column in ("recent_high", "recent_low"):
            state[f"{name}_{column}"][row] *= factor
