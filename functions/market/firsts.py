"""Prints that are the last price only if their symbol has no eligible last of the trading day yet.

Sold late, out of sequence or at a price of before (`c` in the exchanges' tables, bit 32 of `upd`): their
price is of another time than their report, so they must not move the last, nor cross a level now. Only
where the day has no last at all they are better than none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import sessions
from functions.market.running import fold, runs_of, shifted

Array = NDArray[Any]

LAST, LAST_IF_FIRST = 2, 32  # bits of `upd`
NO_DAY = -1


def settled(upd: Array, row: Array, day: Array, last_day: Array) -> Array:
    """`upd` with the last-price bit set on prints that are the first eligible last of their day.

    day       trading day of each print; NO_DAY for a print that may not set a price here
    last_day  trading day of the symbol's newest eligible last before these prints, at each print
    """
    if not (upd & LAST_IF_FIRST).any():
        return upd
    runs = runs_of(row)
    qualifies = (upd & (LAST | LAST_IF_FIRST)) != 0
    days = np.where(qualifies, day, NO_DAY)[runs.order]
    carry = last_day[runs.order[runs.starts]]
    before = runs.unsorted(shifted(carry, runs, fold(np.maximum, carry, runs, days)))
    is_first = ((upd & LAST_IF_FIRST) != 0) & (day > before)
    return np.where(is_first, upd | LAST, upd).astype(upd.dtype)


def trading_days(ts_ns: Array, market: Array, setup: str = "") -> Array:
    """The trading day of times in their markets (codes of a calendar setup); NO_DAY for time 0."""
    stretch, place = np.unique(ts_ns // sessions.STRETCH_NS, return_inverse=True)
    where = [
        sessions.moments(one * sessions.STRETCH_NS, setup) for one in stretch[stretch > 0].tolist()
    ]
    days = np.full((len(stretch), 1 + int(market.max(initial=0))), NO_DAY)
    for code in range(days.shape[1]):
        days[stretch > 0, code] = [one[code].day for one in where]
    return np.asarray(days[place, market])
