"""Candles of one timeframe and the recursions over them, which a late candle takes back and plays again.

Definitions (J. Welles Wilder, New Concepts in Technical Trading Systems, 1978, for RSI and true range;
G. Appel for the MACD; J. Bollinger; G. Lane for the stochastic):

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
again; for older ones see `functions.market.older`. What leaves a window is taken out of it, not the whole window added again: sums carry what
rounding took away beside them (T. J. Dekker, 1971), extremes are searched anew only where the extreme
itself left.
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
RAWS = 16  # of the stochastic: five a value, and REVISABLE before them
FEW = 8  # candles kept of what only looks at the newest two: a power of two above 2 + REVISABLE
RECENT = 20  # candles a recent high or low looks back
CANDLE = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Series:
    """What is kept of one timeframe; `name` is the prefix of its state columns."""

    name: str
    closes: int = FEW  # how many of each are kept; a window of n needs n + 2 * REVISABLE
    spans: int = RECENT + 2 * REVISABLE  # highs and lows
    volumes: int = FEW
    emas: tuple[int, ...] = ()
    smas: tuple[int, ...] = ()
    rsis: tuple[int, ...] = ()
    atr: int = 0
    has_signal: bool = False
    has_run: bool = True
    extremes: int = RECENT  # highest high and lowest low of so many candles; 0 = not kept
    stochastic: int = 0
    means: tuple[int, ...] = ()  # of volume

    def width(self, column: str) -> int:
        """How many candles are kept of a column."""
        if column in ("high", "low"):
            return self.spans
        return {"close": self.closes, "volume": self.volumes}.get(column, FEW)

    def __post_init__(self) -> None:
        for name, longest in (
            ("closes", max(self.smas, default=0)),
            ("spans", max(self.extremes, self.stochastic)),
            ("volumes", max(self.means, default=0)),
        ):
            least = longest + 2 * REVISABLE if longest else FEW
            if getattr(self, name) < least:
                found = f"{name}={getattr(self, name)}"
                raise ValueError(f"series {self.name}: {found}, expected at least {least}")

    @property
    def recursions(self) -> tuple[str, ...]:
        """Names of the values that rest on the candle before."""
        names = [f"ema_{n}" for n in self.emas]
        names += [f"{part}_{n}" for n in self.smas for part in ("sum", "rest")]
        names += [f"{part}_{n}" for n in self.rsis for part in ("gain", "loss")]
        names += [f"atr_{self.atr}"] if self.atr else []
        names += ["signal"] if self.has_signal else []
        names += ["run"] if self.has_run else []
        for n in (self.extremes, self.stochastic):
            names += [f"highest_{n}", f"lowest_{n}"] if n else []
        names += [f"{part}_{n}" for n in self.means for part in ("volume_sum", "volume_rest")]
        return tuple(names)

    @property
    def state(self) -> dict[str, Any]:
        """The state columns of the series, as a function declares them."""
        shapes: dict[str, Any] = {f"{self.name}_n": "i8", f"{self.name}_late": "i8"}
        shapes[f"{self.name}_start"] = ("i4", FEW, "put")
        for name in CANDLE:
            shapes[f"{self.name}_{name}"] = ("f8", self.width(name), "put")
        for name in self.recursions:
            shapes[f"{self.name}_{name}"] = ("f8", AFTER)
        if self.stochastic:
            shapes[f"{self.name}_raw"] = ("f8", RAWS)
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
    place = np.arange(len(row))
    newest = state[f"{name}_start"][row, (count - 1) % FEW]
    if ((count == 0) | (newest < start)).all():
        k = _append(state, series, row, count, start, candle)
        step(state, series, row, k)
        return [(place, row, k)]
    oldest = state[f"{name}_start"][row, (count - REVISABLE) % FEW]
    is_late = (count > REVISABLE) & (start < oldest)
    if is_late.any():
        state[f"{name}_late"][row[is_late]] += 1
        place, row, start = place[~is_late], row[~is_late], start[~is_late]
    k = _make_place(state, series, row, start)
    for column in CANDLE:
        at_k = (row, k % series.width(column))
        state.put(f"{name}_{column}", at_k, candle[column][place])
    computed = []
    while len(row):
        step(state, series, row, k)
        computed.append((place, row, k))
        more = k + 1 < state[f"{name}_n"][row]
        place, row, k = place[more], row[more], k[more] + 1
    return computed


def _append(
    state: Any, series: Series, row: Array, k: Array, start: Array, candle: Mapping[str, Array]
) -> Array:
    """Put candles after the newest of each row."""
    slots = {width: k % width for width in {FEW, *map(series.width, CANDLE)}}
    state.put(f"{series.name}_start", (row, slots[FEW]), start)
    for column in CANDLE:
        state.put(f"{series.name}_{column}", (row, slots[series.width(column)]), candle[column])
    state[f"{series.name}_n"][row] = k + 1
    return k


def _make_place(state: Any, series: Series, row: Array, start: Array) -> Array:
    """The number of each candle: a new one, that of the one it replaces, or one made in between."""
    name = series.name
    count = state[f"{name}_n"][row]
    starts = state[f"{name}_start"]
    k = count.copy()  # the first candle that is not older
    for back in range(1, REVISABLE + 1):
        k -= (count >= back) & (starts[row, (count - back) % FEW] >= start)
    fresh = (k == count) | (starts[row, k % FEW] != start)
    for back in range(REVISABLE):  # later candles move up by one, the newest first
        moves = fresh & (count - 1 - back >= k)
        if moves.any():
            source, symbol = count[moves] - 1 - back, row[moves]
            for column in ("start", *CANDLE):
                width = series.width(column)
                moved = state[f"{name}_{column}"][symbol, source % width]
                state.put(f"{name}_{column}", (symbol, (source + 1) % width), moved)
    state.put(f"{name}_start", (row, k % FEW), start)
    state[f"{name}_n"][row[fresh]] += 1
    return k


def step(state: Any, series: Series, row: Array, k: Array) -> None:
    """Compute the recursions at candle k of each row from what they were after candle k - 1."""

    def ring(name: str) -> Array:
        return np.asarray(state[f"{series.name}_{name}"].reshape(-1))

    before, after = row * AFTER + k % AFTER, row * AFTER + (k + 1) % AFTER
    close, previous = at(state, series, "close", row, k), at(state, series, "close", row, k - 1)
    for n in series.emas:
        _ema(ring(f"ema_{n}"), before, after, k, close, n)
    for n in series.smas:
        leaving = np.where(k >= n, at(state, series, "close", row, k - n), 0.0)
        _move_sum(ring(f"sum_{n}"), ring(f"rest_{n}"), before, after, close, leaving)
    if series.rsis:
        change = np.where(k > 0, close - previous, 0.0)
        gain, loss = np.maximum(change, 0.0), np.maximum(-change, 0.0)
        for n in series.rsis:
            _smooth(ring(f"gain_{n}"), before, after, k, gain, n, first=1)
            _smooth(ring(f"loss_{n}"), before, after, k, loss, n, first=1)
    if series.atr:
        wide = true_range(state, series, row, k, previous)
        _smooth(ring(f"atr_{series.atr}"), before, after, k, wide, series.atr)
    if series.has_signal:
        line = ring("ema_12")[after] - ring("ema_26")[after]
        _signal(ring("signal"), before, after, k, line)
    if series.has_run:
        colour = np.sign(close - at(state, series, "open", row, k))
        run = ring("run")[before]
        goes_on = (k > 0) & (np.sign(run) == colour)
        ring("run")[after] = np.where(goes_on, run + colour, colour)
    for n in (series.extremes, series.stochastic):
        if n:
            _extreme(state, series, row, k, ring(f"highest_{n}"), "high", np.maximum, n)
            _extreme(state, series, row, k, ring(f"lowest_{n}"), "low", np.minimum, n)
    if series.stochastic:
        raw(state, series, row, k)
    _mean_volumes(state, series, row, k, before, after)


def true_range(state: Any, series: Series, row: Array, k: Array, previous: Array) -> Array:
    """The true range of candle k of each row; `previous` is the close before it."""
    high, low = at(state, series, "high", row, k), at(state, series, "low", row, k)
    wide = np.maximum(high - low, np.maximum(np.abs(high - previous), np.abs(low - previous)))
    return np.where(k > 0, wide, high - low)


def _mean_volumes(
    state: Any, series: Series, row: Array, k: Array, before: Array, after: Array
) -> None:
    if series.means:
        volume = at(state, series, "volume", row, k)
        for n in series.means:
            leaving = np.where(k >= n, at(state, series, "volume", row, k - n), 0.0)
            sums, rests = (
                state[f"{series.name}_volume_{part}_{n}"].reshape(-1) for part in ("sum", "rest")
            )
            _move_sum(sums, rests, before, after, volume, leaving)


def _ema(ring: Array, before: Any, after: Any, k: Array, close: Array, n: int) -> None:
    known = ring[before]
    total = known + close
    seeded = np.where(k == n - 1, total / n, total)
    ring[after] = np.where(k >= n, known + 2.0 / (n + 1) * (close - known), seeded)


def _smooth(
    ring: Array, before: Any, after: Any, k: Array, value: Array, n: int, first: int = 0
) -> None:
    """Wilder's smoothing of values that begin at candle `first`; a plain sum until the seed is complete."""
    known = ring[before]
    seed = n - 1 + first  # the candle that completes it
    total = known + value
    seeded = np.where(k == seed, total / n, total)
    ring[after] = np.where(k > seed, (known * (n - 1) + value) / n, seeded)


def _signal(ring: Array, before: Any, after: Any, k: Array, line: Array) -> None:
    known = ring[before]
    total = np.where(k >= 25, known + line, 0.0)
    seeded = np.where(k == 33, total / 9, total)
    ring[after] = np.where(k > 33, known + 0.2 * (line - known), seeded)


def _move_sum(
    sums: Array, rests: Array, before: Any, after: Any, entering: Array, leaving: Array
) -> None:
    """A sum over a window moved on by one; `rests` keeps what rounding took from it."""
    total, lost = _exact_sum(sums[before], entering)
    total, more = _exact_sum(total, -leaving)
    sums[after] = total
    rests[after] = rests[before] + lost + more


def _exact_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """(a + b rounded, what rounding took): their sum is exact."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _extreme(
    state: Any,
    series: Series,
    row: Array,
    k: Array,
    ring: Array,
    column: str,
    ufunc: np.ufunc,
    n: int,
) -> None:
    """The highest high or lowest low of n candles: searched anew only where the extreme left."""
    known = ring[row * AFTER + k % AFTER]
    now = at(state, series, column, row, k)
    value = np.where(k > 0, ufunc(known, now), now)
    leaving = at(state, series, column, row, k - n)
    searched = np.flatnonzero((k >= n) & (leaving == known) & (value != now))
    if len(searched):
        value[searched] = _fold(state, series, column, row[searched], k[searched], ufunc, n)
    ring[row * AFTER + (k + 1) % AFTER] = value


def _fold(
    state: Any, series: Series, column: str, row: Array, k: Array, ufunc: np.ufunc, n: int
) -> Array:
    """The fold of a column over the n candles up to k, oldest first; meaningless for k < n - 1."""
    values = at(state, series, column, row, k - n + 1)
    for back in range(n - 2, -1, -1):
        values = ufunc(values, at(state, series, column, row, k - back))
    return values


def raw(state: Any, series: Series, row: Array, k: Array) -> None:
    """The raw stochastic of candle k, from the extremes of its window."""
    n, after = series.stochastic, (row, (k + 1) % AFTER)
    close = at(state, series, "close", row, k)
    high = state[f"{series.name}_highest_{n}"][after]
    low = state[f"{series.name}_lowest_{n}"][after]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(high > low, 100.0 * (close - low) / (high - low), 50.0)
    state[f"{series.name}_raw"][row, (k + 1) % RAWS] = np.where(k >= n - 1, found, np.nan)


# -- what a series knows at candle k of each row


def last_of(state: Any, series: Series, row: Array) -> Array:
    """The number of each row's newest candle; -1 where there is none."""
    return np.asarray(state[f"{series.name}_n"][row] - 1)


def at(state: Any, series: Series, column: str, row: Array, k: Array) -> Array:
    """A column of candle k; what lies there is only meaningful for 0 <= k."""
    return np.asarray(state[f"{series.name}_{column}"][row, k % series.width(column)])


def _ring(state: Any, series: Series, name: str, row: Array, k: Array) -> Array:
    return np.asarray(state[f"{series.name}_{name}"].reshape(-1)[row * AFTER + (k + 1) % AFTER])


def _known(values: Array, is_known: Array) -> Array:
    return np.where(is_known, values, np.nan)


def mean_close(state: Any, series: Series, row: Array, k: Array, n: int) -> Array:
    """sma_n: mean of the n closes up to candle k."""
    total = _ring(state, series, f"sum_{n}", row, k) + _ring(state, series, f"rest_{n}", row, k)
    return _known(total / n, k >= n - 1)


def mean_volume(state: Any, series: Series, row: Array, k: Array, n: int) -> Array:
    """Mean volume of the n candles up to candle k."""
    total = _ring(state, series, f"volume_sum_{n}", row, k)
    total = total + _ring(state, series, f"volume_rest_{n}", row, k)
    return _known(total / n, k >= n - 1)


def highest(state: Any, series: Series, row: Array, k: Array) -> Array:
    """The highest high of the last RECENT candles."""
    return _known(_ring(state, series, f"highest_{RECENT}", row, k), k >= RECENT - 1)


def lowest(state: Any, series: Series, row: Array, k: Array) -> Array:
    """The lowest low of the last RECENT candles."""
    return _known(_ring(state, series, f"lowest_{RECENT}", row, k), k >= RECENT - 1)


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
    mid = mean_close(state, series, row, k, n)
    square = np.zeros(len(row))
    for back in range(n - 1, -1, -1):
        square += (at(state, series, "close", row, k - back) - mid) ** 2
    spread = wide * np.sqrt(square / n)
    return mid, mid + spread, mid - spread


def stochastic(
    state: Any, series: Series, row: Array, k: Array, slow: int = 3, of: int = 3
) -> tuple[Array, Array]:
    """(%K, %D) of George Lane's stochastic: raw %K over n candles, its mean of 3, and the mean of 3 of that.

    Where the n candles have no range raw %K is 50.
    """
    known = k + 1 >= series.stochastic
    raw = state[f"{series.name}_raw"]
    raws = [
        _known(raw[row, (k + 1 - back) % RAWS], known & (k - back >= series.stochastic - 1))
        for back in range(slow + of - 1)
    ]
    slowed = [sum(raws[b + 1 : b + slow], raws[b]) / slow for b in range(of)]
    return slowed[0], sum(slowed[1:], slowed[0]) / of


def scale(state: Any, series: Series, row: Array, factor: Array) -> None:
    """Multiply every price of some rows, and divide volumes: a split took effect."""
    name = series.name
    for column in ("open", "high", "low", "close"):
        values = state[f"{name}_{column}"][row] * factor[:, None]
        state.put(f"{name}_{column}", (row, slice(None)), values)
    values = state[f"{name}_volume"][row] / factor[:, None]
    state.put(f"{name}_volume", (row, slice(None)), values)
    for column in series.recursions:
        if column.startswith("volume_"):
            state[f"{name}_{column}"][row] /= factor[:, None]
        elif column != "run":
            state[f"{name}_{column}"][row] *= factor[:, None]
