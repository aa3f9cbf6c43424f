"""What the price did after an alert: returns at horizons and at the close, the best and the worst of the way.

All are percent of the alert's price p and positive when the price rose. With `minute(t)` the start of
the minute of t, and bars known by the start of their minute:

    return after h    close of the bar minute(ts + h - 1 ns): the minute in which the h minutes end.
                      The price is never younger than h, and less than a minute older than that.
    begins            the first minute that starts at or after ts. The alert's own minute is left out:
                      its high and low may be older than the alert.
    ends              the close of the market on the alert's trading day; for an alert after it, the
                      end of the trading day (of symbols that trade around the clock: of the UTC day)
    return at close   close of the last bar within [begins, ends)
    best, worst       highest high and lowest low within [begins, ends)

Absent (NaN): a horizon whose minute has no bar; the last three without any bar within, and until the
market's bars have reached `ends`. Bars are those of the alert's symbol in their newest revision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import sessions
from functions.market.sessions import MINUTE_NS

Array = NDArray[Any]

HORIZONS_MIN = (1, 5, 15, 60)
RETURNS = (*(f"return_{minutes}m_pct" for minutes in HORIZONS_MIN), "return_close_pct")
COLUMNS = (*RETURNS, "best_pct", "worst_pct")


def horizon_minute(ts_ns: Array, minutes: int) -> Array:
    """The start of the minute whose close is the price `minutes` after each time, ns."""
    return (ts_ns + minutes * MINUTE_NS - 1) // MINUTE_NS * MINUTE_NS


def begins(ts_ns: Array) -> Array:
    """The first minute that starts at or after each time, ns."""
    return -(-ts_ns // MINUTE_NS) * MINUTE_NS


def ends(symbols: Any, ts_ns: Array, setup: str = "") -> Array:
    """Until when the bars after each alert count, ns; `setup` as in `sessions.setup_of`."""
    found = np.empty(len(ts_ns), dtype=np.int64)
    for place, (symbol, ts) in enumerate(zip(symbols, ts_ns.tolist(), strict=True)):
        moment = sessions.moments(ts, setup)[sessions.market_of(str(symbol), setup)]
        found[place] = moment.close_ns if ts < moment.close_ns else moment.end_ns
    return found


def outcomes(
    bars: Mapping[str, Any], alerts: Mapping[str, Any], setup: str = ""
) -> dict[str, Array]:
    """The outcome of each alert, an array of percent for each of COLUMNS.

    bars    symbol, ts_ns (start of the minute), high, low, close; one row per symbol and minute, any order
    alerts  symbol, ts_ns, price; any order
    """
    ts_ns = np.asarray(alerts["ts_ns"], dtype=np.int64)
    price = np.asarray(alerts["price"], dtype=float)
    minute = np.asarray(bars["ts_ns"], dtype=np.int64)
    symbols, codes = _coded(bars["symbol"], alerts["symbol"])
    order = _by_symbol(symbols, minute)
    timeline = Timeline(symbols[order], minute[order])
    high, low, close = (
        np.asarray(bars[name], dtype=float)[order] for name in ("high", "low", "close")
    )
    found = {}
    for name, minutes in zip(RETURNS, HORIZONS_MIN, strict=False):
        place = timeline.exactly(codes, horizon_minute(ts_ns, minutes))
        found[name] = np.where(place >= 0, _picked(close, place), np.nan)
    end = ends(alerts["symbol"], ts_ns, setup)
    first, last = timeline.between(codes, begins(ts_ns), end)
    newest = minute.max() + MINUTE_NS if len(minute) else 0
    known = (last > first) & (newest >= end)
    found["return_close_pct"] = np.where(known, _picked(close, last - 1), np.nan)
    found["best_pct"] = _over(np.maximum, high, first, last, known)
    found["worst_pct"] = _over(np.minimum, low, first, last, known)
    return {name: (values / price - 1) * 100 for name, values in found.items()}


class Timeline:
    """Bars ordered by symbol and minute, searched by both."""

    def __init__(self, symbols: Array, minute: Array) -> None:
        self._minute = minute
        self._symbols = symbols

    def exactly(self, symbol: Array, minute: Array) -> Array:
        """The position of the bar of each symbol and minute, -1 where there is none."""
        place, after = self.between(symbol, minute, minute + 1)
        return np.where(after > place, place, -1)

    def between(self, symbol: Array, first: Array, last: Array) -> tuple[Array, Array]:
        """The positions of the bars within [first, last) of each symbol: from, to (exclusive)."""
        begin = np.searchsorted(self._symbols, symbol, side="left")
        end = np.searchsorted(self._symbols, symbol, side="right")
        places = np.empty((2, len(symbol)), dtype=np.int64)
        for row, (b, e) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
            span = (first[row], last[row])
            places[:, row] = b + np.searchsorted(self._minute[b:e], span)
        return places[0], places[1]


def _coded(first: Any, second: Any) -> tuple[Array, Array]:
    """Symbols of both as numbers, the same number for the same symbol."""
    names = dict.fromkeys([*dict.fromkeys(first), *second])
    place = {name: code for code, name in enumerate(names)}
    return _codes(place, first), _codes(place, second)


def _codes(place: Mapping[Any, int], names: Any) -> Array:
    return np.fromiter(map(place.__getitem__, names), dtype=np.int64, count=len(names))


def _by_symbol(symbols: Array, minute: Array) -> Array:
    """Positions by symbol, then by minute."""
    if len(minute) and symbols.max() < 1 << 16 and (minute[1:] >= minute[:-1]).all():
        return np.argsort(symbols.astype(np.uint16), kind="stable")  # a pass over the digits
    return np.lexsort((minute, symbols))


def _picked(values: Array, place: Array) -> Array:
    """Values at positions; anything at positions that are not there."""
    if not len(values):
        return np.full(len(place), np.nan)
    return values[np.clip(place, 0, len(values) - 1)]


def _over(reduce: np.ufunc, values: Array, first: Array, last: Array, known: Array) -> Array:
    """`reduce` over [first, last) of each alert, NaN where not known."""
    found = np.full(len(first), np.nan)
    rows = np.flatnonzero(known)
    if len(rows):
        padded = np.append(values, values[-1])  # reduceat takes positions within the array only
        bounds = np.stack((first[rows], last[rows]), axis=1).reshape(-1)
        found[rows] = reduce.reduceat(padded, bounds)[::2]
    return found


def rule_statistics(rule_id: Any, symbols: Any, found: Mapping[str, Array]) -> dict[str, list[Any]]:
    """How the alerts of each rule went: counts, and of each return hits, mean and median in percent.

    A hit is a return above zero. Absent returns count nowhere; without any, the three are NaN.
    """
    rules, symbol = np.asarray(rule_id, dtype=object), np.asarray(symbols, dtype=object)
    names = sorted(set(rules.tolist()))
    table: dict[str, list[Any]] = {"rule_id": names}
    masks = [rules == name for name in names]
    table["alerts"] = [int(mask.sum()) for mask in masks]
    table["symbols"] = [len(set(symbol[mask].tolist())) for mask in masks]
    for column in RETURNS:
        horizon = column.removeprefix("return_").removesuffix("_pct")
        known = [found[column][mask & np.isfinite(found[column])] for mask in masks]
        table[f"known_{horizon}"] = [len(one) for one in known]
        table[f"hits_{horizon}_pct"] = [_mean(one > 0) * 100 for one in known]
        table[f"mean_{horizon}_pct"] = [_mean(one) for one in known]
        table[f"median_{horizon}_pct"] = [_or_nan(np.median, one) for one in known]
    for name, reduce in (("best_pct", np.max), ("worst_pct", np.min)):
        known = [found[name][mask & np.isfinite(found[name])] for mask in masks]
        table[name] = [_or_nan(reduce, one) for one in known]
    return table


def _mean(values: Array) -> float:
    return _or_nan(np.mean, values)


def _or_nan(reduce: Any, values: Array) -> float:
    return float(reduce(values)) if len(values) else float("nan")
