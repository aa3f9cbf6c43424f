"""What the scanner remembers of every symbol, moved on by prints and by closed bars.

The columns are `functions.market.metrics.STATE`. Prints come in parts that lie in one session of one
trading day (`parts_of`), so that what changes with the session does not change inside a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import sessions
from functions.market.metrics import BAR, INDICATORS, MINUTE_NS, MINUTES, Events
from functions.market.running import Runs, fold, runs_of, shifted

Array = NDArray[Any]

HALF_HOUR_NS = 30 * MINUTE_NS
VOLUME, LAST = 1, 2  # bits of `upd`


@dataclass(frozen=True)
class Prints:
    """The prints of a part that may fire rules: eligible, in time, in order of arrival."""

    runs: Runs  # the same prints brought together by symbol
    events: Events
    ts_ns: Array
    session: int


def parts_of(ts_ns: Array) -> Iterator[tuple[slice, int, int]]:
    """(rows, trading day, session) of the stretches of a frame that lie in one session of one day."""
    first, last = int(ts_ns.min()), int(ts_ns.max())
    if first // HALF_HOUR_NS == last // HALF_HOUR_NS:  # days and sessions change on half hours
        yield slice(None), *_half_hour(first // HALF_HOUR_NS)
        return
    day, session = sessions.new_york_day(ts_ns), sessions.new_york_session(ts_ns)
    cuts = np.flatnonzero((np.diff(day) != 0) | (np.diff(session) != 0)) + 1
    bounds = [0, *cuts.tolist(), len(ts_ns)]
    for start, stop in pairwise(bounds):
        yield slice(start, stop), int(day[start]), int(session[start])


@lru_cache(maxsize=4096)
def _half_hour(number: int) -> tuple[int, int]:
    """(trading day, session) of a half hour since 1970."""
    moment = np.array([number * HALF_HOUR_NS])
    return int(sessions.new_york_day(moment)[0]), int(sessions.new_york_session(moment)[0])


def add_prints(
    state: Mapping[str, Array],
    row: Array,
    ts_ns: Array,
    price: Array,
    size: Array,
    upd: Array | None,
    day: int,
    session: int,
) -> Prints:
    """Move the state on by prints of one session of one trading day; the prints that may fire.

    Prints of a minute behind the symbol's newest are late: they count in the day's volume and fire
    nothing. Prints of an earlier trading day change nothing.
    """
    is_today = _roll(state, row, day)
    counted = np.where(is_today, size, 0.0)
    if upd is not None:
        counted = np.where(upd & VOLUME, counted, 0.0)
    runs = runs_of(row)
    volume = _running(state["day_volume"], runs, counted)
    minute, is_late, flow = _minute_flow(state, runs, ts_ns // MINUTE_NS, counted)
    may_fire = is_today & ~is_late
    if upd is not None:
        may_fire &= (upd & LAST) > 0
    place = np.flatnonzero(may_fire)
    events = Events(row[place], price[place], minute[place], volume[place], flow[place])
    if session == sessions.MARKET:
        _open_day(state, events)
    state["last"][events.row] = events.price  # of several prints of a symbol the last one stays
    state["last_ns"][events.row] = ts_ns[place]
    is_all = len(place) == len(row)
    return Prints(runs if is_all else runs_of(events.row), events, ts_ns[place], session)


def _roll(state: Mapping[str, Array], row: Array, day: int) -> Array:
    """Begin the day of symbols that had none of it yet; which prints are of their symbol's day."""
    known = state["day"][row]
    if (known == day).all():
        return np.ones(len(row), dtype=bool)
    fresh = np.unique(row[known < day])
    state["prev_close"][fresh] = np.where(state["day"][fresh] > 0, state["last"][fresh], 0.0)
    state["day_volume"][fresh] = 0.0
    state["day_open"][fresh] = 0.0
    state["day"][fresh] = day
    return state["day"][row] == day


def _running(column: Array, runs: Runs, values: Array) -> Array:
    totals = fold(np.add, column[runs.rows], runs, values[runs.order])
    column[runs.rows] = totals[runs.lasts]
    return runs.unsorted(totals)


def _minute_flow(
    state: Mapping[str, Array], runs: Runs, minute: Array, size: Array
) -> tuple[Array, Array, Array]:
    """Each print's minute, whether it is behind its symbol's newest, and the volume of that newest."""
    carried = state["minute"][runs.rows]
    ordered = minute[runs.order]
    newest = fold(np.maximum, carried, runs, ordered)
    is_late = ordered < newest
    in_time = np.where(is_late, 0.0, size[runs.order])
    flow_before = state["flow"][runs.rows]
    flow = fold(np.add, flow_before, runs, in_time)
    begins = newest > shifted(carried, runs, newest)
    base = filled_forward(
        begins, shifted(flow_before, runs, flow), state["minute_flow"][runs.rows], runs
    )
    state["minute"][runs.rows] = newest[runs.lasts]
    state["flow"][runs.rows] = flow[runs.lasts]
    state["minute_flow"][runs.rows] = base[runs.lasts]
    return runs.unsorted(newest), runs.unsorted(is_late), runs.unsorted(flow - base)


def filled_forward(is_set: Array, values: Array, carry: Array, runs: Runs) -> Array:
    """In each run the value where it was last set; `carry` before the first."""
    place = np.maximum.accumulate(np.where(is_set, np.arange(len(is_set)), -1))
    is_own = place >= runs.starts[runs.of]
    return np.where(is_own, values[np.maximum(place, 0)], carry[runs.of])


def _open_day(state: Mapping[str, Array], events: Events) -> None:
    opens = np.flatnonzero(state["day_open"][events.row] == 0)[
        ::-1
    ]  # the first one is written last
    state["day_open"][events.row[opens]] = events.price[opens]


def ordinals(state: Mapping[str, Array], runs: Runs, ts_ns: Array) -> tuple[Array, Array]:
    """What names each print among those of its symbol: the newest time reached, and the print's number since.

    Times may repeat and go back a little; the two together never repeat.
    """
    carried_ns = state["same_ns"][runs.rows]
    newest = fold(np.maximum, carried_ns, runs, ts_ns[runs.order])
    begins = newest > shifted(carried_ns, runs, newest)
    place = np.arange(len(newest))
    carried = place - runs.starts[runs.of] + state["same"][runs.rows][runs.of] + 1
    start = np.maximum.accumulate(np.where(begins, place, -1))
    number = np.where(start >= runs.starts[runs.of], place - start, carried)
    state["same_ns"][runs.rows] = newest[runs.lasts]
    state["same"][runs.rows] = number[runs.lasts]
    return runs.unsorted(newest), runs.unsorted(number)


def add_bars(state: Mapping[str, Array], bars: Any) -> None:
    """Keep closed bars: the newest one whole, and close and volume of every minute."""
    row, minute = bars["row"], bars["ts_ns"] // MINUTE_NS
    order = np.argsort(minute, kind="stable")
    while len(order):  # minute by minute: in one minute a symbol has one bar
        first = order[minute[order] == minute[order[0]]]
        order = order[minute[order] != minute[order[0]]]
        _add_minute(state, bars, first, row[first], int(minute[first[0]]))


def _add_minute(
    state: Mapping[str, Array], bars: Any, place: Array, row: Array, minute: int
) -> None:
    # What was known before a silence longer than the ring is no price of a few minutes ago.
    is_first = (state["first_minute"][row] == 0) | (minute - 1 - state["filled"][row] > MINUTES)
    state["first_minute"][row[is_first]] = minute
    state["filled"][row[is_first]] = minute - 1
    gap = np.minimum(minute - 1 - state["filled"][row], MINUTES)
    for age in range(1, int(gap.max(initial=0)) + 1):  # minutes without trades keep the price
        quiet = row[gap >= age]
        newest = state["closes"][quiet, state["filled"][quiet] % MINUTES]
        state["closes"][quiet, (minute - age) % MINUTES] = newest
        state["volumes"][quiet, (minute - age) % MINUTES] = 0.0
    is_kept = state["filled"][row] - minute < MINUTES
    kept, of = row[is_kept], place[is_kept]
    state["closes"][kept, minute % MINUTES] = bars["close"][of]
    state["volumes"][kept, minute % MINUTES] = bars["volume"][of]
    state["filled"][row] = np.maximum(state["filled"][row], minute)
    newest = state["bar_minute"][row] <= minute
    state["bar_minute"][row[newest]] = minute
    for column, name in enumerate(BAR):
        state["bar"][row[newest], column] = bars[name][place[newest]]


def add_indicators(state: Mapping[str, Array], indicators: Any) -> None:
    """Keep the indicators of the newest bar of each symbol."""
    row, minute = indicators["row"], indicators["ts_ns"] // MINUTE_NS
    order = np.argsort(minute, kind="stable")
    order = order[minute[order] >= state["indicators_minute"][row[order]]]
    state["indicators_minute"][row[order]] = minute[order]
    for column, name in enumerate(INDICATORS):
        state["indicators"][row[order], column] = indicators[name][order]
