"""Indicators of one-minute bars, said again for the bars that a late bar changes.

The recursions are those of `functions.market.series`. In addition, over the N minutes that end with
a bar, where a minute without trades is a gap:

    vwap_N          sum(price * size) / sum(size)
    volume_avg_N    mean volume of the bars

A bar of the last 64 minutes that is not among the newest four is put in its place by
`functions.market.older`, and the newest five bars are said again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import series
from functions.market.older import put_older
from functions.market.series import AFTER, REVISABLE, Series

Array = NDArray[Any]
Columns = dict[str, Array]

MINUTE_NS = 60_000_000_000
DAY_NS = 1440 * MINUTE_NS
SPLIT_MINUTE = (
    60  # bars from 01:00 UTC of its date on are after a split: 20:00 or 21:00 in New York
)
MINUTES = 64  # of volume and notional kept: the hour of the oldest revisable bar
EMAS = (9, 12, 20, 21, 26, 50, 200)
SMAS = (10, 20, 50, 200)
RSIS = (9, 14, 21)
WINDOWS = {"5m": 5, "15m": 15, "1h": 60}
BARS = Series(
    "bar",
    closes=max(SMAS) + 2 * REVISABLE,
    spans=MINUTES + 2 * REVISABLE,  # of the oldest bar that may be revised, for the true range
    emas=EMAS,
    smas=SMAS,
    rsis=RSIS,
    atr=14,
    has_signal=True,
    has_run=False,
    extremes=0,
    stochastic=14,
)
NAMES = (
    *(f"ema_{n}" for n in EMAS),
    *(f"sma_{n}" for n in SMAS),
    *(f"rsi_{n}" for n in RSIS),
    *("macd", "macd_signal", "macd_histogram", "atr_14"),
    *("bb_mid", "bb_upper", "bb_lower", "stoch_k", "stoch_d"),
    *(f"vwap_{name}" for name in WINDOWS),
    *(f"volume_avg_{name}" for name in WINDOWS),
)

STATE = {
    **BARS.state,
    "said": ("i4", AFTER),  # the revision the values of bar k were last said with, at k % AFTER
    "minutes": ("i4", MINUTES, "put"),  # which minute lies at m % MINUTES
    "volumes": ("f8", MINUTES, "put"),
    "notionals": ("f8", MINUTES, "put"),
    "factor": "f8",  # price factor of a split that is to come; 0 = none
    "factor_day": "i8",  # the date it comes with
    "split_day": "i8",  # date of the newest bar before which bars were scaled
    "since_day": "i8",  # date since which the symbol is whose it is
}


def add_bars(state: Any, bars: Any) -> Columns | None:
    """Add bars, in order of arrival; the indicators of each bar and of those it changed."""
    row, minute = bars["row"], bars["ts_ns"] // MINUTE_NS
    with np.errstate(invalid="ignore"):
        notional = np.where(bars["volume"] > 0, bars["vwap"] * bars["volume"], 0.0)
    parts = []
    for turn in rounds(row):
        part = {name: bars[name][turn] for name in (*series.CANDLE, "revision")}
        parts += _add_round(state, turn, row[turn], minute[turn], part, notional[turn])
    if not parts:
        return None
    if len(parts) == 1:
        parts[0].pop("cause")
        return parts[0]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns["ts_ns"], columns.pop("cause")))
    return {name: values[order] for name, values in columns.items()}


def add_minutes(state: Any, minutes: Any) -> None:
    """Bars of the past, from files: those after the newest that is known; nothing is said of them."""
    row, minute = minutes["row"], minutes["ts_ns"] // MINUTE_NS
    newest = series.at(state, BARS, "start", row, state["bar_n"][row] - 1)
    is_news = (state["bar_n"][row] == 0) | (minute > newest)
    if is_news.any():
        add_bars(state, minutes[is_news])


def add_factors(state: Any, row: Array, factor: Array, day: Array) -> None:
    """Splits with the dates they come with: they wait for the first bar after them, and count once."""
    for one, value, date in zip(row.tolist(), factor.tolist(), day.tolist(), strict=True):
        newest = state["bar_start"][one, (state["bar_n"][one] - 1) % series.FEW]
        is_late = newest >= date * DAY_NS // MINUTE_NS + SPLIT_MINUTE
        if value > 0 and value != 1.0 and date > state["split_day"][one] and not is_late:
            state["factor"][one], state["factor_day"][one] = value, date


def add_daily_factors(state: Any, days: Any) -> None:
    """The factors of daily bars, each for the day after its bar."""
    if "factor" in days:
        known = np.flatnonzero(np.isfinite(days["factor"]))
        day = days["ts_ns"][known] // DAY_NS + 1
        add_factors(state, days["row"][known], days["factor"][known], day)


def add_facts(state: Any, facts: Any) -> None:
    """Splits, and symbols that ended: their rows are emptied, once."""
    for place in np.flatnonzero(np.isin(facts["name"].astype(str), ("split", "ended"))).tolist():
        row, day = facts["row"][place : place + 1], facts["ts_ns"][place : place + 1] // DAY_NS
        if facts["name"][place] == "split":
            add_factors(state, row, facts["value"][place : place + 1], day)
        elif day[0] > state["since_day"][row[0]]:
            for name in state.columns():
                state.put(name, row, 0)
            state["since_day"][row] = day


def _split_due(state: Any, row: Array, minute: Array) -> None:
    """Scale what the first bar of each split's day meets; rows are distinct."""
    starts = state["factor_day"][row] * DAY_NS // MINUTE_NS + SPLIT_MINUTE
    is_due = (state["factor"][row] > 0) & (minute >= starts)
    if not is_due.any():
        return
    due, factor = row[is_due], state["factor"][row[is_due]]
    series.scale(state, BARS, due, factor)
    state.put("volumes", due, state["volumes"][due] / factor[:, None])
    state["factor"][due] = 0.0
    state["split_day"][due] = minute[is_due] * MINUTE_NS // DAY_NS


def rounds(row: Array) -> Iterator[Array]:
    """Positions in rounds: the first of every row, then the second of every row that has one, ..."""
    left = np.arange(len(row))
    while len(left):
        _, first = np.unique(row[left], return_index=True)
        yield left[np.sort(first)]
        left = np.delete(left, first)


def _add_round(
    state: Any, cause: Array, row: Array, minute: Array, bars: Columns, notional: Array
) -> list[Columns]:
    """Add bars of different symbols; every part is one step of the replay."""
    _split_due(state, row, minute)
    newest = series.at(state, BARS, "start", row, state["bar_n"][row] - 1)
    older, behind, is_new = _older(state, row, minute)
    _keep_windows(state, row, minute, newest, bars["volume"], notional)
    parts: list[Columns] = []
    if older.any():
        candle = {name: bars[name][older] for name in series.CANDLE} | {"start": minute[older]}
        parts = _add_older(state, cause[older], row[older], candle, behind, is_new)
        rest = ~older
        cause, row, minute = cause[rest], row[rest], minute[rest]
        bars = {name: values[rest] for name, values in bars.items()}
    if not len(row):
        return parts
    count = state["bar_n"][row]
    said, revision = state["said"], bars["revision"]
    computed = series.put_candles(state, BARS, row, minute, bars)
    if computed:
        place, candles = computed[0]
        rows, k = candles.row, candles.k
        _move_said(said, rows, k, count[place], state["bar_n"][rows])
        said[rows, k % AFTER] = np.maximum(said[rows, k % AFTER], revision[place] - 1)
    return parts + _said_again(state, cause, computed)


def _said_again(
    state: Any, cause: Array, computed: list[tuple[Array, series.Candles]]
) -> list[Columns]:
    said, parts = state["said"], []
    for place, candles in computed:
        rows, k = candles.row, candles.k
        said[rows, k % AFTER] += 1
        out = values_at(candles)
        out["ts_ns"] = candles.at("start").astype(np.int64) * MINUTE_NS
        parts.append({"row": rows, "cause": cause[place], **out, "revision": said[rows, k % AFTER]})
    return parts


def _keep_windows(
    state: Any, row: Array, minute: Array, newest: Array, volume: Array, notional: Array
) -> None:
    """Volume and money of minutes, those of the last hour."""
    in_time = minute > newest - MINUTES
    kept, slot = row[in_time], minute[in_time] % MINUTES
    state.put("minutes", (kept, slot), minute[in_time])
    state.put("volumes", (kept, slot), volume[in_time])
    state.put("notionals", (kept, slot), notional[in_time])


def _older(state: Any, row: Array, minute: Array) -> tuple[Array, Array, Array]:
    """(which bars lie behind the newest few, within the hour; how many are newer; which were never there)."""
    count, starts = state["bar_n"][row], state["bar_start"]
    newest = starts[row, (count - 1) % series.FEW].astype(np.int64)
    older = (count > REVISABLE) & (minute < starts[row, (count - REVISABLE) % series.FEW])
    older &= minute > newest - MINUTES
    row, minute, newest = row[older], minute[older], newest[older]
    later = minute[:, None] + np.arange(1, MINUTES)
    is_there = state["minutes"][row[:, None], later % MINUTES] == later
    behind = (is_there & (later <= newest[:, None])).sum(axis=1)
    return older, behind, state["minutes"][row, minute % MINUTES] != minute


def _add_older(
    state: Any, cause: Array, row: Array, candle: Columns, behind: Array, is_new: Array
) -> list[Columns]:
    """Bars behind the newest few; the indicators of the newest few are said again."""
    computed = put_older(state, BARS, row, behind, is_new, candle)
    moved = row[is_new]
    _said_move_up(state["said"], moved, state["bar_n"][moved] - 1, behind[is_new])
    return _said_again(state, cause, computed)


def _move_said(said: Array, row: Array, k: Array, before: Array, after: Array) -> None:
    """Revisions move up with the bars that a bar put in between moved; a new bar was never said."""
    fresh = after > before
    for back in range(REVISABLE):
        source = before - 1 - back
        moves = fresh & (source >= k)
        said[row[moves], (source[moves] + 1) % AFTER] = said[row[moves], source[moves] % AFTER]
    said[row[fresh], k[fresh] % AFTER] = -1


def _said_move_up(said: Array, row: Array, newest: Array, behind: Array) -> None:
    """A bar came before the newest few: their revisions move up with them."""
    before = [said[row, (newest - 1 - back) % AFTER] for back in range(AFTER)]
    for back, revision in enumerate(before):
        fresh = behind == back  # the bar itself was never said
        said[row, (newest - back) % AFTER] = np.where(fresh, -1, revision)


def values_at(bars: series.Candles) -> Columns:
    """Every indicator after each bar."""
    out: Columns = {f"ema_{n}": series.ema(bars, n) for n in EMAS}
    out |= {f"sma_{n}": series.mean_close(bars, n) for n in SMAS}
    out |= {f"rsi_{n}": series.rsi(bars, n) for n in RSIS}
    out["macd"], out["macd_signal"], out["macd_histogram"] = series.macd(bars)
    out["atr_14"] = series.atr(bars, 14)
    out["bb_mid"], out["bb_upper"], out["bb_lower"] = series.bollinger(bars)
    out["stoch_k"], out["stoch_d"] = series.stochastic(bars)
    _add_windows(bars.state, bars.row, bars.at("start"), out)
    return out


def _add_windows(state: Any, row: Array, minute: Array, out: Columns) -> None:
    """Fold volume and money over the minutes that end with each bar, newest first."""
    volume, notional, bars = np.zeros(len(row)), np.zeros(len(row)), np.zeros(len(row))
    names = {n: name for name, n in WINDOWS.items()}
    first = int(minute[0]) if len(minute) else 0
    is_one = bool((minute == first).all())  # one slot of the rings then, for every row
    is_all = is_one and len(row) == state.rows and bool((np.diff(row) > 0).all())
    rows: Any = slice(None) if is_all else row
    for back in range(max(WINDOWS.values())):
        wanted: Any = (first if is_one else minute) - back
        at = (rows, wanted % MINUTES)
        is_there = state["minutes"][at] == wanted
        volume += np.where(is_there, state["volumes"][at], 0.0)
        notional += np.where(is_there, state["notionals"][at], 0.0)
        bars += is_there
        if back + 1 in names:
            with np.errstate(invalid="ignore", divide="ignore"):
                out[f"vwap_{names[back + 1]}"] = np.where(volume > 0, notional / volume, np.nan)
                out[f"volume_avg_{names[back + 1]}"] = volume / bars
