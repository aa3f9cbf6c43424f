"""What rules are asked of: the scanner's prints, and its symbols at a clock event, as moments by symbol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import gaps, halts, metrics, sessions, tape
from functions.market.running import Runs
from functions.market.state import SERIES
from functions.rules.moments import (
    CLOSED,
    GAPPED,
    HALTED,
    IN,
    MAY_FIRE,
    NOT_KNOWN,
    OUT,
    STALE,
    Moments,
)

Array = NDArray[Any]


def at_prints(state: Any, prints: tape.Prints, is_always: bool) -> Moments:
    """Prints that may fire; `is_always`: also while the market is closed."""
    return _moments(state, prints.events, prints.runs, is_always)


def at_clock(
    state: Any,
    clock_ns: int,
    is_always: bool,
    stale_ns: int,
    row: int | None = None,
    events: tape.Moments | None = None,
) -> Moments:
    """Every symbol at a clock event, or one of them; those without a print for `stale_ns` are stale.

    events   `metrics.at_clock` of all symbols, where somebody has them already
    """
    some = None if row is None else np.array([row])
    rows = np.arange(state.rows) if some is None else some
    events = metrics.at_clock(state, clock_ns, some) if events is None else events
    place = np.arange(len(rows))
    ones = np.ones_like(place)
    runs = Runs(place, rows, place, ones, place, place, place, [0, len(place)], place)
    found = _moments(state, events, runs, is_always)
    barred = np.array(found.barred)
    barred[~halts.is_fresh(state, clock_ns, stale_ns)[rows] & (barred == MAY_FIRE)] = STALE
    return replace(found, barred=barred, is_clock=True)


def _moments(state: Any, events: tape.Moments, runs: Runs, is_always: bool) -> Moments:
    place = runs.order
    is_sorted = bool((place[1:] > place[:-1]).all())

    def by_symbol(values: Array) -> Array:
        return values if is_sorted else values[place]

    row, ts_ns = by_symbol(events.row), by_symbol(events.ts_ns)
    row = slice(None) if events.is_all and is_sorted else row  # then nothing is gathered
    session = by_symbol(np.asarray(events.session))
    market = state.read("market")[row] - 1
    begin_ns, midnight_ns = _bounds(events.where, market)
    return Moments(
        runs,
        ts_ns,
        _values(state, events, by_symbol),
        lambda: by_symbol(events["volume_daily"]),
        session,
        state.read("day")[row],
        _stretch(state, row, begin_ns - (session == sessions.CLOSED)),
        midnight_ns,
        _barred(state, row, ts_ns, session, is_always),
        lambda timeframe: state.read(f"{SERIES[timeframe].name}_n")[row],
        lambda toplist: _member(state, row, len(ts_ns), toplist),
    )


def _member(state: Any, row: Any, size: int, toplist: str) -> Array:
    """Whether each symbol is in a toplist; not known before the list was ranked once."""
    name = f"in.{toplist}"
    if name not in state:
        return np.full(size, NOT_KNOWN)
    return np.where(state.read(name)[row] > 0, IN, OUT)


def _bounds(where: tuple[sessions.Moment, ...], market: Array) -> tuple[Array, Array]:
    """(start of the first session, midnight) of each moment's trading day."""
    start_ns, midnight_ns = (
        np.array([getattr(one, name) for one in where]) for name in ("start_ns", "midnight_ns")
    )
    return start_ns[market], midnight_ns[market]


def _values(
    state: Any, events: tape.Moments, by_symbol: Callable[[Array], Array]
) -> Callable[[str], Array]:
    """Metrics, each computed when first asked for."""
    found: dict[str, Array] = {}

    def value(name: str) -> Array:
        if name not in found:
            found[name] = by_symbol(metrics.compute((name,), state, events)[name])
        return found[name]

    return value


def _stretch(state: Any, row: Any, begin_ns: Array) -> Array:
    """When the stretch began that a moment lies in: a day, its first session, the newest status or news of a gap."""
    newest_ns = np.maximum(state.read("status_ns")[row], state.read("resumed_ns")[row])
    return np.maximum(np.maximum(begin_ns, newest_ns), state.read("gap_news_ns")[row])


def _barred(state: Any, row: Any, ts_ns: Array, session: Array, is_always: bool) -> Array:
    trades = halts.is_trading(state, row, ts_ns) & halts.is_open(state, row, ts_ns)
    barred = np.where(trades, np.uint8(MAY_FIRE), np.uint8(HALTED))
    barred[trades & ~gaps.is_whole(state, row, ts_ns)] = GAPPED
    if not is_always:
        barred[trades & (session == sessions.CLOSED)] = CLOSED
    return barred
