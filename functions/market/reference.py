"""What is told of symbols beside their ticks: daily history, splits, renames, facts.

History is told as it was traded, unadjusted, in order of date; a split multiplies every price known
of the days before it and divides every volume. It is told as the factor of the bar before it, or as
the fact `split` dated with its day (00:00 UTC of it), or both: it counts once. Whatever is told again
counts once as well, so that a feed may tell all it knows at every start.

    what is told                        what becomes of it
    a day before the symbol's running   a candle of daily history, replaced if told again; the newest
                                        sets the previous close
    the running day or a later one      ignored: it is not over
    days before the first known         the history begins anew with them; at the next clock event the
                                        newest days that were known come after them
    a split of a day to come            waits; takes effect when that day begins, before its first print
    a split of a day that has begun     takes effect at once: on daily history and the previous close; on
                                        minutes and indicators only if nothing printed since
    `ended`                             the row is emptied: from that date on the symbol is somebody else's

Dividends adjust nothing: gaps and changes from the close are of prices as traded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import series, sessions, windows
from functions.market.indicators import NAMES as INDICATORS
from functions.market.state import ASIDE, BAR, DAYS, PROFILE_MINUTES, SERIES

Array = NDArray[Any]

DAILY = SERIES["daily"]
KEPT = ("market", "since_day")  # of a row that is emptied


# -- splits


def split_due(state: Any, row: Array, day: int) -> None:
    """The splits that take effect with a day that begins."""
    due = row[(state["factor"][row] > 0) & (state["factor_day"][row] <= day)]
    if not len(due):
        return
    factor, since = state["factor"][due].copy(), state["factor_day"][due].copy()
    state["factor"][due] = 0.0
    take_effect(state, due, factor, since)


def take_effect(state: Any, row: Array, factor: Array, day: Array) -> None:
    """Splits with the days they come with: everything known of the days before is scaled, once."""
    is_news = day > state["split_day"][row]
    row, factor, day = row[is_news], factor[is_news], day[is_news]
    newest = series.last_of(state, DAILY, row)
    is_after = (newest >= 0) & (series.at(state, DAILY, "start", row, newest) >= day)
    state["split_day"][row], state["split_factor"][row] = day, factor
    past = ~is_after  # history that goes beyond the split was told adjusted or begins after it
    series.scale(state, DAILY, row[past], factor[past])
    state["days_changed"][row] += 1
    state["prev_close"][row[past]] *= factor[past]
    rest = past & (day > state["scaled_day"][row]) & (state["day"][row] <= day)
    state["scaled_day"][row] = np.maximum(day, state["scaled_day"][row])
    _scale_minutes(state, row[rest], factor[rest], day[rest])


def _scale_minutes(state: Any, row: Array, factor: Array, day: Array) -> None:
    """Minutes and indicators, unless the day of the split has prints; volumes of the days before."""
    is_quiet = (state["day"][row] < day) | (state["ext_high"][row] == 0)
    _scale_volumes(state, row, factor, is_quiet)
    row, factor = row[is_quiet], factor[is_quiet]
    for name, one in SERIES.items():
        if name != "daily":
            series.scale(state, one, row, factor)
    for name in ("ring_open", "ring_high", "ring_low", "closes"):
        state.put(name, row, state[name][row] * factor[:, None])
    state.put("ring_volume", row, state["ring_volume"][row] / factor[:, None])
    state["windows_minute"][row] = 0
    state["last"][row] *= factor
    for place, name in enumerate(INDICATORS):
        if not name.startswith(("rsi", "stoch")):
            values = state["indicators"][row, place]
            scaled = values / factor if name.startswith("volume") else values * factor
            state.put("indicators", (row, place), scaled)
    for place, name in enumerate(BAR):
        values = state["bar"][row, place]
        state.put("bar", (row, place), values / factor if name == "volume" else values * factor)


def _scale_volumes(state: Any, row: Array, factor: Array, is_quiet: Array) -> None:
    state["post_before"][row] /= factor
    by_day = np.repeat(factor[:, None], DAYS + 1, axis=1)
    running = state["profile_days"][row] % (DAYS + 1)
    by_day[~is_quiet, running[~is_quiet]] = 1.0
    scaled = state["profile"][row] / np.repeat(by_day, PROFILE_MINUTES, axis=1)
    state.put("profile", row, scaled.astype("f4"))
    state["same_minute"][row] = 0
    state["same_time"][row] = 0


# -- daily history


def add_days(state: Any, days: Any) -> None:
    """Daily history: bars of days that are over, in order of date, and the factor for the day after each."""
    row, date = days["row"], days["ts_ns"] // sessions.DAY_NS
    for day in np.unique(date).tolist():
        here = np.flatnonzero(date == day)
        _, last = np.unique(row[here][::-1], return_index=True)
        here = here[::-1][last]  # told twice: the later one
        _add_day(state, days, here[_is_over(state, row[here], day)], day)


def _is_over(state: Any, row: Array, day: int) -> Array:
    running = state["day"][row]
    return ((running == 0) | (day < running)) & (day >= state["since_day"][row])


def _add_day(state: Any, days: Any, place: Array, day: int) -> None:
    row = days["row"][place]
    count = state[f"{DAILY.name}_n"][row]
    _begin_history(state, row[(count > 0) & (day < state["days_from"][row])])
    newest = series.last_of(state, DAILY, row)
    is_known = (newest >= 0) & (day <= series.at(state, DAILY, "start", row, newest))
    kept = ~is_known | (day >= state["split_day"][row])  # what a split scaled is not told anew
    place, row = place[kept], row[kept]
    split_due(state, row, day)
    is_behind = day < state["split_day"][row]
    factor = np.where(is_behind, state["split_factor"][row], 1.0)
    candle = {name: days[name][place] * factor for name in ("open", "high", "low", "close")}
    candle["volume"] = days["volume"][place] / factor
    keep_day(state, row, np.full(len(row), day), candle)
    newest = series.last_of(state, DAILY, row)
    is_newest = series.at(state, DAILY, "start", row, newest) == day
    state["prev_close"][row[is_newest]] = candle["close"][is_newest]
    _add_factors(state, days, place[is_newest], day)


def keep_day(state: Any, row: Array, day: Array, candle: Any) -> None:
    """A candle of daily history."""
    is_first = state[f"{DAILY.name}_n"][row] == 0
    state["days_from"][row[is_first]] = day[is_first]
    series.put_candles(state, DAILY, row, day, candle)
    state["days_changed"][row] += 1


def _begin_history(state: Any, row: Array) -> None:
    """Forget the daily candles of some rows: history that reaches further back is about to come."""
    _set_aside(state, row)
    for name in DAILY.state:
        if not name.endswith(("_start", *series.CANDLE)):
            state.put(name, row, 0)
    state["split_day"][row] = 0


def _set_aside(state: Any, row: Array) -> None:
    """The newest candles of some rows, the oldest first, for when the history before them is told."""
    newest = series.last_of(state, DAILY, row)
    for place in range(ASIDE):
        k = newest - ASIDE + 1 + place
        start = series.at(state, DAILY, "start", row, k)
        state["aside_day"][row, place] = np.where(k >= 0, start, 0)
        for name in series.CANDLE:
            state[f"aside_{name}"][row, place] = series.at(state, DAILY, name, row, k)


def join_history(state: Any) -> None:
    """Days that were set aside come after those told meanwhile."""
    row = np.flatnonzero(state["aside_day"][:, -1])
    for place in range(ASIDE if len(row) else 0):
        day = state["aside_day"][row, place]
        newest = series.last_of(state, DAILY, row)
        is_next = (day > 0) & (day > series.at(state, DAILY, "start", row, newest))
        rows = row[is_next]
        candle = {name: state[f"aside_{name}"][rows, place] for name in series.CANDLE}
        keep_day(state, rows, day[is_next], candle)
        state["prev_close"][rows] = candle["close"]
    state["aside_day"][row] = 0


def _add_factors(state: Any, days: Any, place: Array, day: int) -> None:
    told = days.get("factor")
    if told is None:
        return
    known = np.isfinite(told[place]) & (told[place] > 0) & (told[place] != 1.0)
    row, factor = days["row"][place[known]], told[place[known]]
    market = state["market"][row] - 1
    since = np.zeros(len(row), dtype=np.int64)
    for code in np.unique(market).tolist():
        mine = market == code
        since[mine] = sessions.day_after(np.full(mine.sum(), day), code, state["setup"])
    take_effect(state, row, factor, since)


# -- facts


def add_facts(state: Any, facts: Any) -> None:
    """Reference data, in order: the newest value of each named fact, splits, symbols that end."""
    names = facts["name"].astype(str)
    date = facts["ts_ns"] // sessions.DAY_NS
    special = {"ended": _end, "split": _split, "prev_close": _close}
    cuts = np.flatnonzero(np.isin(names, list(special)))
    start = 0
    for cut in cuts.tolist():
        _keep_facts(state, facts, names, date, slice(start, cut))
        row = facts["row"][cut : cut + 1]
        special[names[cut]](state, row, facts["value"][cut : cut + 1], int(date[cut]))
        start = cut + 1
    _keep_facts(state, facts, names, date, slice(start, None))


def _keep_facts(state: Any, facts: Any, names: Array, date: Array, part: slice) -> None:
    row, value, date, names = facts["row"][part], facts["value"][part], date[part], names[part]
    holds = (date >= state["since_day"][row]) | (date == 0)  # date 0: always known, of who is there
    for name in np.unique(names[holds]).tolist():
        here = np.flatnonzero(holds & (names == name))
        state[f"fact.{name}"][row[here]] = value[here]


def _close(state: Any, row: Array, value: Array, date: int) -> None:
    if date == 0 or date >= state["since_day"][row[0]]:
        state["prev_close"][row] = value


def _split(state: Any, row: Array, value: Array, date: int) -> None:
    one = int(row[0])
    if not value[0] > 0 or not date or date < state["since_day"][one]:
        return  # a split without its day cannot be placed
    if date <= state["day"][one]:
        take_effect(state, row, value, np.array([date]))
    elif date > state["split_day"][one]:
        state["factor"][one], state["factor_day"][one] = value[0], date


def _end(state: Any, row: Array, value: Array, date: int) -> None:
    """Empty a row whose symbol was renamed or delisted, once; nothing dated before counts any more."""
    del value
    if date <= state["since_day"][row[0]]:
        return
    kept = {name: state[name][row].copy() for name in KEPT}
    for name, values in state.columns().items():
        if not isinstance(values, str):
            state.put(name, row, 0)
    for name, before in kept.items():
        state[name][row] = before
    windows.know(state, row)
    state["since_day"][row] = date
