"""Indicators of one-minute bars: recursions that a late bar can take back and play again.

Definitions (J. Welles Wilder, New Concepts in Technical Trading Systems, 1978, for the RSI):

    sma_n    mean of the last n closes
    ema_n    the first is the mean of the first n closes; then ema + 2 / (n + 1) * (close - ema)
    rsi_14   100 - 100 / (1 + gain / loss), gain and loss smoothed with 1/14, the first of each the
             mean of the first 14 changes; 50 where nothing moved
    vwap_N   sum(price * size) / sum(size) of the N minutes that end with the bar; a minute without
             trades is a gap

A value is absent (NaN) until there are enough bars. Bars are numbered k = 0, 1, ... by symbol. A
recursion keeps its value after each of the last five bars, at `(k + 1) % 5`; so a bar of the
last REVISABLE minutes can be replaced or put in between, and what came after it is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = dict[str, Array]

MINUTE_NS = 60_000_000_000
REVISABLE = 4  # minutes; as far back as the bars are revised
AFTER = (
    REVISABLE + 1
)  # values kept of each recursion: before the oldest revisable bar and after each
MINUTES = 64  # of volume and notional kept: the hour of the oldest revisable bar
EMAS = (9, 20, 50)
SMAS = (20, 50, 200)
VWAPS = {"vwap_5m": 5, "vwap_15m": 15, "vwap_1h": 60}
RSI = 14
CLOSES = max(SMAS) + 2 * REVISABLE  # a replay needs closes from before the oldest revisable bar

NAMES = (*(f"ema_{n}" for n in EMAS), *(f"sma_{n}" for n in SMAS), f"rsi_{RSI}", *VWAPS)

STATE = {
    "bars": "i8",  # number of bars seen
    "late": "i8",  # bars that came too late to be computed
    "minute": ("i8", AFTER),  # minute of bar k at k % AFTER
    "said": ("i4", AFTER),  # the revision its values were last said with
    "closes": ("f8", CLOSES),  # close of bar k at k % CLOSES
    "volume": ("f8", MINUTES),  # of minute m at m % MINUTES; 0 in a gap
    "notional": ("f8", MINUTES),
    "gain": ("f8", AFTER),  # of the RSI; a plain sum until the seed is complete
    "loss": ("f8", AFTER),
    **{f"ema_{n}": ("f8", AFTER) for n in EMAS},
}


def add_bars(
    state: Mapping[str, Array],
    row: Array,
    ts_ns: Array,
    close: Array,
    volume: Array,
    vwap: Array,
    revision: Array,
) -> Columns | None:
    """Add bars, in order of arrival; the indicators of each bar and of those it changed."""
    minute = ts_ns // MINUTE_NS
    with np.errstate(invalid="ignore"):
        notional = np.where(volume > 0, vwap * volume, 0.0)
    parts = []
    for turn in rounds(row):
        parts += _add_round(
            state,
            turn,
            row[turn],
            minute[turn],
            close[turn],
            volume[turn],
            notional[turn],
            revision[turn],
        )
    if not parts:
        return None
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns["ts_ns"], columns.pop("cause")))
    return {name: values[order] for name, values in columns.items()}


def rounds(row: Array) -> Iterator[Array]:
    """Positions in rounds: the first of every row, then the second of every row that has one, ..."""
    left = np.arange(len(row))
    while len(left):
        _, first = np.unique(row[left], return_index=True)
        yield left[np.sort(first)]
        left = np.delete(left, first)


def _add_round(
    state: Mapping[str, Array],
    cause: Array,
    row: Array,
    minute: Array,
    close: Array,
    volume: Array,
    notional: Array,
    revision: Array,
) -> list[Columns]:
    """Add bars of different symbols; every part is one step of the replay."""
    bars = state["bars"][row]
    newest = np.where(bars > 0, state["minute"][row, (bars - 1) % AFTER], -MINUTES)
    late = minute <= newest - REVISABLE
    state["late"][row[late]] += 1
    keep = ~late
    cause, row, minute, close = cause[keep], row[keep], minute[keep], close[keep]
    volume, notional, revision = volume[keep], notional[keep], revision[keep]
    _put_minute(state, row, newest[keep], minute, volume, notional)
    k = _make_place(state, row, minute)
    state["closes"][row, k % CLOSES] = close
    said = state["said"]
    said[row, k % AFTER] = np.maximum(said[row, k % AFTER], revision - 1)
    parts = []
    while len(row):
        parts.append({"cause": cause, **_step(state, row, k)})
        more = k + 1 < state["bars"][row]
        cause, row, k = cause[more], row[more], k[more] + 1
    return parts


def _put_minute(
    state: Mapping[str, Array],
    row: Array,
    newest: Array,
    minute: Array,
    volume: Array,
    notional: Array,
) -> None:
    """Keep a minute's volume and notional; the minutes passed over since the newest are gaps."""
    gap = np.clip(minute - newest - 1, 0, MINUTES)
    gone = np.repeat(row, gap)
    back = np.arange(len(gone)) - np.repeat(np.cumsum(gap) - gap, gap) + 1
    slot = (np.repeat(minute, gap) - back) % MINUTES
    for name, values in (("volume", volume), ("notional", notional)):
        state[name][gone, slot] = 0
        state[name][row, minute % MINUTES] = values


def _make_place(state: Mapping[str, Array], row: Array, minute: Array) -> Array:
    """The number of each bar: a new one, that of the bar it revises, or one made in between."""
    bars = state["bars"][row]
    k = bars.copy()  # the first bar that is not older
    for back in range(1, REVISABLE + 1):
        k -= (bars >= back) & (state["minute"][row, (bars - back) % AFTER] >= minute)
    fresh = (k == bars) | (state["minute"][row, k % AFTER] != minute)
    for back in range(REVISABLE):  # later bars move up by one, the newest first
        moves = fresh & (bars - 1 - back >= k)
        source, symbol = bars[moves] - 1 - back, row[moves]
        for name, width in (("minute", AFTER), ("said", AFTER), ("closes", CLOSES)):
            ring = state[name]
            ring[symbol, (source + 1) % width] = ring[symbol, source % width]
    new = row[fresh]
    state["minute"][new, k[fresh] % AFTER] = minute[fresh]
    state["said"][new, k[fresh] % AFTER] = -1
    state["bars"][new] += 1
    return k


def _step(state: Mapping[str, Array], row: Array, k: Array) -> Columns:
    """Compute bar k of each row from what was after bar k - 1; its record, said once more."""
    close = state["closes"][row, k % CLOSES]
    out: Columns = {"row": row, "ts_ns": state["minute"][row, k % AFTER] * MINUTE_NS}
    means = {n: _mean(state, row, k, n) for n in sorted({*EMAS, *SMAS})}
    for n in EMAS:
        out[f"ema_{n}"] = _ema(state[f"ema_{n}"], row, k, close, n, means[n])
    for n in SMAS:
        out[f"sma_{n}"] = means[n]
    out[f"rsi_{RSI}"] = _rsi(state, row, k, close)
    minute = state["minute"][row, k % AFTER]
    for name, minutes in VWAPS.items():
        out[name] = _vwap(state, row, minute, minutes)
    state["said"][row, k % AFTER] += 1
    out["revision"] = state["said"][row, k % AFTER]
    return out


def _mean(state: Mapping[str, Array], row: Array, k: Array, n: int) -> Array:
    """Mean of the n closes up to bar k, added oldest first; NaN where there are fewer."""
    mean = np.full(len(row), np.nan)
    enough = np.flatnonzero(k + 1 >= n)
    if len(enough):
        bars = k[enough, None] + np.arange(1 - n, 1)
        closes = state["closes"][row[enough, None], bars % CLOSES]
        mean[enough] = np.add.accumulate(closes, axis=1)[:, -1] / n
    return mean


def _ema(ring: Array, row: Array, k: Array, close: Array, n: int, seed: Array) -> Array:
    before = ring[row, k % AFTER]
    after = np.where(k + 1 > n, before + 2.0 / (n + 1) * (close - before), seed)
    ring[row, (k + 1) % AFTER] = np.where(k + 1 >= n, after, 0.0)
    return after


def _rsi(state: Mapping[str, Array], row: Array, k: Array, close: Array) -> Array:
    """Wilder's RSI; the first change is that of bar 1."""
    change = np.where(k > 0, close - state["closes"][row, (k - 1) % CLOSES], 0.0)
    smoothed = {}
    for name, part in (("gain", np.maximum(change, 0.0)), ("loss", np.maximum(-change, 0.0))):
        before = state[name][row, k % AFTER]
        total = before + part
        seeding = np.where(k == RSI, total / RSI, total)
        smoothed[name] = np.where(k > RSI, (before * (RSI - 1) + part) / RSI, seeding)
        state[name][row, (k + 1) % AFTER] = smoothed[name]
    gain, loss = smoothed["gain"], smoothed["loss"]
    with np.errstate(invalid="ignore", divide="ignore"):
        rsi = np.where(gain + loss > 0, 100.0 - 100.0 / (1.0 + gain / loss), 50.0)
    return np.where(k >= RSI, rsi, np.nan)


def _vwap(state: Mapping[str, Array], row: Array, minute: Array, minutes: int) -> Array:
    slots = (minute[:, None] + np.arange(1 - minutes, 1)) % MINUTES
    volume = np.add.accumulate(state["volume"][row[:, None], slots], axis=1)[:, -1]
    notional = np.add.accumulate(state["notional"][row[:, None], slots], axis=1)[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(volume > 0, notional / volume, np.nan)
