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
            shapes[f"{self.name}_{name}"] = ("f8", AFTER, "put")
        if self.stochastic:
            shapes[f"{self.name}_raw"] = ("f8", RAWS, "put")
        return shapes


class Candles:
    """Candle k of each row of a series and those before it; where they lie is found once for all columns.

    row, k  of each candle; what lies at k < 0 is only there to be left out
    """

    def __init__(self, state: Any, series: Series, row: Array, k: Array) -> None:
        self.state, self.series, self.row, self.k = state, series, row, k
        self._slots: dict[int, Array] = {}
        self._cells: dict[tuple[int, int], Any] = {}

    def __len__(self) -> int:
        return len(self.row)

    def cells(self, width: int, back: int = 0) -> Any:
        """Where a ring of some width holds what is `back` candles before k."""
        cells = self._cells.get((width, back))
        if cells is None:
            cells = self.state.cells(self.row, self._slot(width, back))
            self._cells[width, back] = cells
        return cells

    def _slot(self, width: int, back: int) -> Array:
        slot = self._slots.get(width)
        if slot is None:
            is_power = width & (width - 1) == 0  # then a mask; a remainder takes ten times as long,
            k = self.k  # and to divide by one number is fast
            slot = self._slots[width] = k & (width - 1) if is_power else k - k // width * width
        if back > 0:
            return np.where(slot < back, slot + (width - back), slot - back)
        return np.where(slot + 1 == width, 0, slot + 1) if back else slot

    def at(self, column: str, back: int = 0) -> Array:
        """A column of the candle `back` before k."""
        cells = self.cells(self.series.width(column), back)
        return np.asarray(self.state.at(f"{self.series.name}_{column}", cells))

    def put(self, column: str, values: Array) -> None:
        """Write a column of candle k."""
        cells = self.cells(self.series.width(column))
        self.state.put(f"{self.series.name}_{column}", cells, values)

    def before(self, name: str) -> Array:
        """A recursion after candle k - 1."""
        return np.asarray(self.state.at(f"{self.series.name}_{name}", self.cells(AFTER)))

    def after(self, name: str) -> Array:
        """A recursion after candle k."""
        return np.asarray(self.state.at(f"{self.series.name}_{name}", self.cells(AFTER, -1)))

    def keep(self, name: str, values: Array) -> None:
        """A recursion after candle k is computed."""
        self.state.put(f"{self.series.name}_{name}", self.cells(AFTER, -1), values)

    def keep_before(self, name: str, values: Array) -> None:
        """A recursion after candle k - 1 is computed, from what it is after candle k."""
        self.state.put(f"{self.series.name}_{name}", self.cells(AFTER), values)


def put_candles(
    state: Any, series: Series, row: Array, start: Array, candle: Mapping[str, Array]
) -> list[tuple[Array, Candles]]:
    """Add or replace one candle of each row; returns (place in `row`, candles) of all that were computed.

    row     distinct rows
    start   where each candle begins, in any unit that grows with time
    candle  open, high, low, close, volume
    """
    name = series.name
    count = state[f"{name}_n"][row]
    place = np.arange(len(row))
    newest = at(state, series, "start", row, count - 1)
    if ((count == 0) | (newest < start)).all():
        return [(place, _append(state, series, row, count, start, candle))]
    oldest = at(state, series, "start", row, count - REVISABLE)
    is_late = (count > REVISABLE) & (start < oldest)
    if is_late.any():
        state[f"{name}_late"][row[is_late]] += 1
        place, row, start = place[~is_late], row[~is_late], start[~is_late]
    candles = Candles(state, series, row, _make_place(state, series, row, start))
    for column in CANDLE:
        candles.put(column, candle[column][place])
    computed = []
    while len(candles):
        step(candles)
        computed.append((place, candles))
        row, k = candles.row, candles.k
        more = k + 1 < state[f"{name}_n"][row]
        place, candles = place[more], Candles(state, series, row[more], k[more] + 1)
    return computed


def _append(
    state: Any, series: Series, row: Array, k: Array, start: Array, candle: Mapping[str, Array]
) -> Candles:
    """Put candles after the newest of each row."""
    candles = Candles(state, series, row, k)
    candles.put("start", start)
    for column in CANDLE:
        candles.put(column, candle[column])
    state[f"{series.name}_n"][row] = k + 1
    step(candles)
    return candles


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


def step(candles: Candles) -> None:
    """Compute the recursions at candle k of each row from what they were after candle k - 1."""
    series, k = candles.series, candles.k
    close, previous = candles.at("close"), candles.at("close", 1)
    for n in series.emas:
        _ema(candles, close, n)
    for n in series.smas:
        leaving = np.where(k >= n, candles.at("close", n), 0.0)
        _move_sum(candles, f"sum_{n}", f"rest_{n}", close, leaving)
    if series.rsis:
        change = np.where(k > 0, close - previous, 0.0)
        gain, loss = np.maximum(change, 0.0), np.maximum(-change, 0.0)
        for n in series.rsis:
            _smooth(candles, f"gain_{n}", gain, n, first=1)
            _smooth(candles, f"loss_{n}", loss, n, first=1)
    if series.atr:
        _smooth(candles, f"atr_{series.atr}", true_range(candles, previous), series.atr)
    if series.has_signal:
        _signal(candles, candles.after("ema_12") - candles.after("ema_26"))
    if series.has_run:
        colour = np.sign(close - candles.at("open"))
        run = candles.before("run")
        goes_on = (k > 0) & (np.sign(run) == colour)
        candles.keep("run", np.where(goes_on, run + colour, colour))
    for n in (series.extremes, series.stochastic):
        if n:
            _extreme(candles, f"highest_{n}", "high", np.maximum, n)
            _extreme(candles, f"lowest_{n}", "low", np.minimum, n)
    if series.stochastic:
        raw(candles, close)
    if series.means:
        _mean_volumes(candles)


def true_range(candles: Candles, previous: Array) -> Array:
    """The true range of each candle; `previous` is the close before it."""
    high, low = candles.at("high"), candles.at("low")
    wide = np.maximum(high - low, np.maximum(np.abs(high - previous), np.abs(low - previous)))
    return np.where(candles.k > 0, wide, high - low)


def _mean_volumes(candles: Candles) -> None:
    volume = candles.at("volume")
    for n in candles.series.means:
        leaving = np.where(candles.k >= n, candles.at("volume", n), 0.0)
        _move_sum(candles, f"volume_sum_{n}", f"volume_rest_{n}", volume, leaving)


def _ema(candles: Candles, close: Array, n: int) -> None:
    known = candles.before(f"ema_{n}")
    total = known + close
    seeded = np.where(candles.k == n - 1, total / n, total)
    moved = known + 2.0 / (n + 1) * (close - known)
    candles.keep(f"ema_{n}", np.where(candles.k >= n, moved, seeded))


def _smooth(candles: Candles, name: str, value: Array, n: int, first: int = 0) -> None:
    """Wilder's smoothing of values that begin at candle `first`; a plain sum until the seed is complete."""
    known = candles.before(name)
    seed = n - 1 + first  # the candle that completes it
    total = known + value
    seeded = np.where(candles.k == seed, total / n, total)
    candles.keep(name, np.where(candles.k > seed, (known * (n - 1) + value) / n, seeded))


def _signal(candles: Candles, line: Array) -> None:
    known, k = candles.before("signal"), candles.k
    total = np.where(k >= 25, known + line, 0.0)
    seeded = np.where(k == 33, total / 9, total)
    candles.keep("signal", np.where(k > 33, known + 0.2 * (line - known), seeded))


def _move_sum(candles: Candles, sums: str, rests: str, entering: Array, leaving: Array) -> None:
    """A sum over a window moved on by one; `rests` keeps what rounding took from it."""
    total, lost = _exact_sum(candles.before(sums), entering)
    total, more = _exact_sum(total, -leaving)
    candles.keep(sums, total)
    candles.keep(rests, candles.before(rests) + lost + more)


def _exact_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """(a + b rounded, what rounding took): their sum is exact."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _extreme(candles: Candles, name: str, column: str, ufunc: np.ufunc, n: int) -> None:
    """The highest high or lowest low of n candles: searched anew only where the extreme left."""
    k, known, now = candles.k, candles.before(name), candles.at(column)
    value = np.where(k > 0, ufunc(known, now), now)
    searched = np.flatnonzero((k >= n) & (candles.at(column, n) == known) & (value != now))
    if len(searched):
        value[searched] = _fold(candles, searched, column, ufunc, n)
    candles.keep(name, value)


def _fold(candles: Candles, place: Array, column: str, ufunc: np.ufunc, n: int) -> Array:
    """The fold of a column over the n candles up to k, for some of the candles; for k >= n - 1."""
    state, series = candles.state, candles.series
    slots = (candles.k[place] - np.arange(n)[:, None]) % series.width(column)
    cells = state.cells(candles.row[place], slots)
    return np.asarray(ufunc.reduce(state.at(f"{series.name}_{column}", cells), axis=0))


def raw(candles: Candles, close: Array) -> None:
    """The raw stochastic of each candle, from the extremes of its window."""
    n, name = candles.series.stochastic, f"{candles.series.name}_raw"
    high, low = candles.after(f"highest_{n}"), candles.after(f"lowest_{n}")
    with np.errstate(invalid="ignore", divide="ignore"):
        raw = np.where(high > low, 100.0 * (close - low) / (high - low), 50.0)
    candles.state.put(name, candles.cells(RAWS, -1), np.where(candles.k >= n - 1, raw, np.nan))


# -- what a series knows at candle k of each row


def last_of(state: Any, series: Series, row: Array) -> Array:
    """The number of each row's newest candle; -1 where there is none."""
    return np.asarray(state[f"{series.name}_n"][row] - 1)


def newest(state: Any, series: Series, row: Array) -> Candles:
    """The newest candle of each row."""
    return Candles(state, series, row, last_of(state, series, row))


def at(state: Any, series: Series, column: str, row: Array, k: Array) -> Array:
    """A column of candle k; what lies there is only meaningful for 0 <= k."""
    return Candles(state, series, row, k).at(column)


def _known(values: Array, is_known: Array) -> Array:
    return np.where(is_known, values, np.nan)


def mean_close(candles: Candles, n: int) -> Array:
    """sma_n: mean of the n closes up to candle k."""
    total = candles.after(f"sum_{n}") + candles.after(f"rest_{n}")
    return _known(total / n, candles.k >= n - 1)


def mean_volume(candles: Candles, n: int) -> Array:
    """Mean volume of the n candles up to candle k."""
    total = candles.after(f"volume_sum_{n}") + candles.after(f"volume_rest_{n}")
    return _known(total / n, candles.k >= n - 1)


def highest(candles: Candles) -> Array:
    """The highest high of the last RECENT candles."""
    return _known(candles.after(f"highest_{RECENT}"), candles.k >= RECENT - 1)


def lowest(candles: Candles) -> Array:
    """The lowest low of the last RECENT candles."""
    return _known(candles.after(f"lowest_{RECENT}"), candles.k >= RECENT - 1)


def ema(candles: Candles, n: int) -> Array:
    """ema_n after candle k."""
    return _known(candles.after(f"ema_{n}"), candles.k >= n - 1)


def rsi(candles: Candles, n: int) -> Array:
    """Wilder's RSI after candle k."""
    gain, loss = candles.after(f"gain_{n}"), candles.after(f"loss_{n}")
    with np.errstate(invalid="ignore", divide="ignore"):
        index = np.where(gain + loss > 0, 100.0 - 100.0 / (1.0 + gain / loss), 50.0)
    return _known(index, candles.k >= n)


def atr(candles: Candles, n: int) -> Array:
    """Wilder's average true range after candle k."""
    return _known(candles.after(f"atr_{n}"), candles.k >= n)


def run(candles: Candles) -> Array:
    """The signed run of candles of one colour that ends with candle k."""
    return _known(candles.after("run"), candles.k >= 0)


def macd(candles: Candles) -> tuple[Array, Array, Array]:
    """(line, signal, histogram) of the MACD 12, 26, 9 after candle k."""
    line = ema(candles, 12) - ema(candles, 26)
    signal = _known(candles.after("signal"), candles.k >= 33)
    return line, signal, line - signal


def bollinger(candles: Candles, n: int = 20, wide: float = 2.0) -> tuple[Array, Array, Array]:
    """(mid, upper, lower): the mean of n closes and `wide` population standard deviations around it."""
    mid = mean_close(candles, n)
    square = np.zeros(len(candles))
    for back in range(n - 1, -1, -1):
        square += (candles.at("close", back) - mid) ** 2
    spread = wide * np.sqrt(square / n)
    return mid, mid + spread, mid - spread


def stochastic(candles: Candles, slow: int = 3, of: int = 3) -> tuple[Array, Array]:
    """(%K, %D) of George Lane's stochastic: raw %K over n candles, its mean of 3, and the mean of 3 of that.

    Where the n candles have no range raw %K is 50.
    """
    n, name, k = candles.series.stochastic, f"{candles.series.name}_raw", candles.k
    raws = [
        _known(candles.state.at(name, candles.cells(RAWS, back - 1)), k >= back + n - 1)
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
        values = state[f"{name}_{column}"][row]
        if column.startswith("volume_"):
            state.put(f"{name}_{column}", row, values / factor[:, None])
        elif column != "run":
            state.put(f"{name}_{column}", row, values * factor[:, None])
