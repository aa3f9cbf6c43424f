"""The last hours minute by minute, and what the minutes before the running one add up to.

Slot `m % width` of a ring holds minute m. A slot in which nothing happened holds what changes no sum
and no extreme, and slots are emptied as their minute begins, so that a window is folded without asking
slot by slot what lies there.

    ring_open closes                        of closed bars, PRICES minutes; an open of 0 means no bar;
                                            closes are carried over minutes without one, CARRIED at most
    ring_high ring_low                      of bars, and of prints that only set highs and lows
    ring_volume ring_notional ring_count    what prints counted, FLOWS minutes, the running one included

Sums are left folds from the newest minute back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import sessions

Array = NDArray[Any]

PRICES = 256  # a candle of four hours
FLOWS = 64  # an hour, and the minute before it
CARRIED = 240  # a price that nobody traded at for four hours is no price
EXTREMES = {"high": np.maximum, "low": np.minimum}
SUMS = ("volume", "notional", "count")
NOTHING = {"high": 0.0, "low": np.inf}
# What is kept ready for the running minute: windows of n minutes without it, per column.
WINDOWS = {
    "volume": (2, 5, 10, 15, 30, 60),
    "notional": (5, 15, 60),
    "count": (2, 5, 15, 60),
    "high": (2, 5, 10, 15, 30, 60),
    "low": (2, 5, 10, 15, 30, 60),
}
# And of the running candles of n minutes what lies before the running minute.
CANDLES = {"volume": (2, 5, 15), "high": (2, 5, 15, 240), "low": (2, 5, 15)}
LONG = 240  # folded minute by minute, not anew

STATE: dict[str, Any] = {
    "ring_open": ("f8", PRICES, "put"),
    "ring_high": ("f8", PRICES, "put"),
    "ring_low": ("f8", PRICES, "put"),
    "closes": ("f8", PRICES, "put"),
    "ring_volume": ("f8", FLOWS, "put"),
    "ring_notional": ("f8", FLOWS, "put"),
    "ring_count": ("f4", FLOWS, "put"),
    "clean_to": "i8",  # slots hold the minutes up to this one; 0 = nothing happened yet
    "flows_from": "i8",  # the first minute whose prints were seen; volumes before it are those of bars
    "windows_minute": "i8",  # the running minute that the columns below are for; 0 = to be folded again
    **{f"window_{name}_{n}": "f8" for name, several in WINDOWS.items() for n in several},
    **{f"candle_{name}_{n}": "f8" for name, several in CANDLES.items() for n in several},
}


def width_of(name: str) -> int:
    """Minutes kept in the ring of a column."""
    return FLOWS if name in SUMS else PRICES


def fold_back(
    state: Any, rows: Any, minute: int, name: str, depths: Iterable[int]
) -> dict[int, Array]:
    """A column folded over the d minutes before `minute`, for each depth d > 0.

    rows    row numbers, or slice(None): then each minute is one stretch of memory
    """
    ring, width, wanted = state[f"ring_{name}"], width_of(name), frozenset(depths)
    fold = _STEPS[name]
    found: dict[int, Array] = {}
    total: Array | None = None
    for back in range(1, max(wanted, default=0) + 1):
        values = ring[rows, (minute - back) % width]
        total = values.astype(float) if total is None else fold(total, values)
        if back in wanted:
            found[back] = total.copy()
    return found


def first_open(state: Any, rows: Any, minute: int, minutes: int, high: Array) -> Array:
    """The first open of the d minutes before `minute`; 0 where there is none.

    high  the highest high of these minutes: where it is 0 nothing happened
    """
    first = minute - minutes
    found = np.array(state["ring_open"][rows, first % PRICES])
    every = np.arange(state.rows) if isinstance(rows, slice) else rows
    left = np.flatnonzero((found == 0) & (high > 0))
    for one in range(first + 1, minute):
        if not len(left):
            break
        found[left] = state.at("ring_open", state.cells(every[left], one % PRICES))
        left = left[found[left] == 0]
    return found


_STEPS: dict[str, Callable[[Array, Array], Array]] = {
    "high": lambda total, values: np.maximum(total, values, out=total),
    "low": lambda total, values: np.minimum(total, values, out=total),
    **dict.fromkeys(SUMS, lambda total, values: np.add(total, values, out=total)),
}


# -- minutes begin and end


def know(state: Any, row: Array) -> None:
    """Rows that are new: an empty low is no low of 0."""
    state.put("ring_low", (row, slice(None)), np.inf)


def make_room(state: Any, row: Array, minute: Array | int) -> None:
    """Empty the slots of minutes that begin, in distinct rows."""
    known = state["clean_to"][row]
    behind = known < minute
    if not behind.any():
        return
    ahead = np.broadcast_to(minute, row.shape)
    state["clean_to"][row[behind]] = ahead[behind]
    behind &= known > 0
    if not behind.any():
        return
    row, known, ahead = row[behind], known[behind], ahead[behind]
    first = max(int(known.min()) + 1, int(ahead.max()) - PRICES + 1)
    for one in range(first, int(ahead.max()) + 1):
        mine = row[(known < one) & (one <= ahead)]
        if len(mine):
            empty(state, slice(None) if len(mine) == state.rows else mine, one)


def empty(state: Any, rows: Any, minute: int) -> None:
    """Nothing happened in a minute yet."""
    for name in ("open", "high"):
        state.put(f"ring_{name}", (rows, minute % PRICES), 0.0)
    state.put("ring_low", (rows, minute % PRICES), np.inf)
    for name in SUMS:
        state.put(f"ring_{name}", (rows, minute % FLOWS), 0.0)


def carry(state: Any, minute: int) -> None:
    """A minute is over: where it has no bar its close is that of the minute before."""
    slot = minute % PRICES
    is_there = state["ring_open"][:, slot] > 0
    before = state["closes"][:, (minute - 1) % PRICES]
    is_young = minute - state["bar_minute"] <= CARRIED
    close = np.where(is_there, state["closes"][:, slot], np.where(is_young, before, 0.0))
    state.put("closes", (slice(None), slot), close)


def carry_on(state: Any, row: Array, minute: int, close: Array, last: int) -> None:
    """A bar came late: the minutes after it up to `last` that have no bar carry its close."""
    for later in range(minute + 1, min(last, minute + CARRIED) + 1):
        goes_on = state["ring_open"][row, later % PRICES] == 0
        row, close = row[goes_on], close[goes_on]
        if not len(row):
            return
        state.put("closes", (row, later % PRICES), close)


def carry_between(state: Any, row: Array, newest: Array, carried: Array, last: int) -> None:
    """Minutes after `carried` up to `last` have no bar: they carry the close of the `newest` bar."""
    close = state["closes"][row, newest % PRICES].copy()
    first = max(int(carried.min(initial=last)) + 1, last - PRICES + 1)
    for minute in range(first, last + 1):
        mine = carried < minute
        price = np.where(minute - newest[mine] <= CARRIED, close[mine], 0.0)
        state.put("closes", (row[mine], minute % PRICES), price)


# -- the running minute


def keep_flows(state: Any, row: Array, minute: Array, values: dict[str, Array]) -> None:
    """What prints counted in minutes: totals of distinct (row, minute), the rows may repeat."""
    kept = minute > state.read("clean_to")[row] - FLOWS
    at = (row[kept], minute[kept] % FLOWS)
    for name in SUMS:
        state.put(f"ring_{name}", at, values[name][kept])
    keep_extremes(state, row, minute, values["high"], values["low"])
    is_unknown = state.read("flows_from")[row] == 0
    if is_unknown.any():
        state["flows_from"][row[is_unknown][::-1]] = minute[is_unknown][::-1]
    is_past = minute < state.read("windows_minute")[row]
    if is_past.any():
        state["windows_minute"][row[is_past]] = 0


def keep_extremes(state: Any, row: Array, minute: Array, high: Array, low: Array) -> None:
    """Highs and lows of minutes that have no bar yet, or never will."""
    kept = np.flatnonzero(
        (minute > state.read("clean_to")[row] - PRICES)
        & (high > 0)
        & (state["ring_open"][row, minute % PRICES] == 0)
    )
    at = (row[kept], minute[kept] % PRICES)
    state.put("ring_high", at, np.maximum(state["ring_high"][at], high[kept]))
    state.put("ring_low", at, np.minimum(state["ring_low"][at], low[kept]))


def add_late(state: Any, row: Array, minute: Array, values: dict[str, Array]) -> None:
    """Prints of minutes that are over, in order of arrival."""
    kept = minute > state["clean_to"][row] - FLOWS
    row, minute = row[kept], minute[kept]
    key, place = np.unique(row * FLOWS + minute % FLOWS, return_inverse=True)
    at = (key // FLOWS, key % FLOWS)
    for name in SUMS:
        total = state[f"ring_{name}"][at].astype(float)
        np.add.at(total, place, values[name][kept])
        state.put(f"ring_{name}", at, total)
    state["windows_minute"][row] = 0


# -- windows kept ready


def distinct(minutes: Array) -> list[int]:
    """The different minutes, ascending; nearly always there is one."""
    if len(minutes) and (minutes == minutes[0]).all():
        return [int(minutes[0])]
    found: list[int] = np.unique(minutes).tolist()
    return found


def refresh(state: Any, row: Array, minute: Array) -> None:
    """Have the windows of rows ready for their running minutes."""
    known = state.read("windows_minute")[row]
    stale = np.flatnonzero(known != minute)
    if not len(stale):
        return
    for one in distinct(minute[stale]):
        for is_next in (True, False):
            here = stale[(minute[stale] == one) & ((known[stale] == one - 1) == is_next)]
            if len(here):
                rows = slice(None) if len(here) == state.rows else row[here]
                for name, values in _folded(state, rows, one, is_next).items():
                    state[name][rows] = values
                state["windows_minute"][rows] = one


def _folded(state: Any, rows: Any, minute: int, is_next: bool) -> dict[str, Array]:
    """The columns of WINDOWS and CANDLES for a running minute; `is_next`: they are those of the one before."""
    found: dict[str, Array] = {}
    for name, several in WINDOWS.items():
        candles = [n for n in CANDLES.get(name, ()) if n != LONG or not is_next]
        lasted = {n: minute - candle_starts(state, minute, n) for n in candles}
        depths = {n - 1 for n in several}
        depths |= {int(one) for many in lasted.values() for one in many if one}
        totals = fold_back(state, rows, minute, name, depths)
        found |= {f"window_{name}_{n}": totals[n - 1] for n in several}
        for n in candles:
            found[f"candle_{name}_{n}"] = _by_market(state, rows, lasted[n], totals, name)
        if len(candles) < len(CANDLES.get(name, ())):
            found[f"candle_{name}_{LONG}"] = _longer(state, rows, minute, name)
    return found


def _by_market(state: Any, rows: Any, lasted: Array, totals: dict[int, Array], name: str) -> Array:
    """The fold that each row's market asks for; nothing where its candle begins with this minute."""
    market = state["market"][rows]
    value = np.full(len(market), NOTHING.get(name, 0.0))
    for code, depth in enumerate(lasted.tolist(), start=1):
        if depth:
            mine = market == code
            value[mine] = totals[depth][mine]
    return value


def _longer(state: Any, rows: Any, minute: int, name: str) -> Array:
    """The long candle with the minute that is just over."""
    values = state[f"ring_{name}"][rows, (minute - 1) % width_of(name)]
    grown = EXTREMES[name](state[f"candle_{name}_{LONG}"][rows], values)
    begins = candle_starts(state, minute, LONG)[state["market"][rows] - 1] == minute
    return np.where(begins, NOTHING[name], grown)


def candle_starts(state: Any, minute: int, minutes: int) -> Array:
    """By market code: the minute at which the candle of a timeframe began that holds `minute`."""
    return _candle_starts(int(minute), minutes, state["setup"])


@lru_cache(maxsize=1 << 10)
def _candle_starts(minute: int, minutes: int, setup: str) -> Array:
    midnight = (
        np.array(sessions.midnights(minute * sessions.MINUTE_NS, setup)) // sessions.MINUTE_NS
    )
    starts = np.asarray(minute - (minute - midnight) % minutes)
    starts.flags.writeable = False
    return starts
