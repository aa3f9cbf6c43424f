"""Fat fingers: a print far from the market is held back until another confirms it or a second has passed.

A held print counts in the volume. It sets no last price, moves no high or low, and fires nothing.

    an eligible print               what happens
    first of its session or halt    taken: there is nothing to compare with
    near the last price taken       taken
    near the middle of the quotes   taken
    near the print that is held     taken: it confirms the held price
    else                            held, in place of one that is held

At the first clock event a second or more after it, what was held moves the highs and lows as any
print does (bars have it from the start), and is the last price if no print came since.

How far is far: the numerical guidelines for clearly erroneous executions (FINRA rule 11892(b)(1),
NYSE rule 7.10(c)(1)): 10 % up to $25, 5 % up to $50, 3 % above, of the last price; twice that outside
regular hours. Below $3, where a tick is a large share of the price, the bands of the Limit Up-Limit Down
plan: 20 %, and below $0.75 the lesser of 75 % and $0.15.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import quotes, sessions
from functions.market.running import Runs, runs_of, shifted

Array = NDArray[Any]

LAST, EXTREMES = 2, 4  # bits of `upd`: what is held may update neither
WAIT_NS = 1_000_000_000
GUIDELINES = ((25.0, 0.10), (50.0, 0.05), (np.inf, 0.03))
LULD_BELOW, LULD_SHARE, PENNY_BELOW, PENNY_SHARE, PENNY_DOLLARS = 3.0, 0.20, 0.75, 0.75, 0.15
EXTENDED_TIMES = 2.0
SESSIONS = 4  # codes of sessions.SESSIONS

TRUSTED, HELD, HIGH, LOW = range(4)
STATE = {
    "outlier": ("f8", 4),  # last price taken, price held, highest and lowest held; 0 = none
    "outlier_ns": "i8",  # time of the newest print held; 0 = none
    "outlier_key": "i8",  # trading day and session these are of
}


def band_of(price: Array, is_regular: Array) -> Array:
    """How far from a price, in dollars, the next one may be."""
    bounds = np.array([bound for bound, _ in GUIDELINES[:-1]])
    share = np.array([part for _, part in GUIDELINES])[np.searchsorted(bounds, price)]
    share = np.where(price < LULD_BELOW, LULD_SHARE, share)
    band = np.where(
        price < PENNY_BELOW, np.minimum(PENNY_SHARE * price, PENNY_DOLLARS), share * price
    )
    return np.where(is_regular, band, EXTENDED_TIMES * band)


def hold(
    state: Any, row: Array, ts_ns: Array, price: Array, may: Array, day: Array, session: Array
) -> Array:
    """Which prints (bool, in order of arrival) are held back; the state of their symbols moves on.

    may           the prints that are to be judged: eligible and in time
    day, session  of each print, one of each for all prints of a symbol
    """
    is_held = np.zeros(len(row), dtype=bool)
    place = np.flatnonzero(may)
    if len(place):
        runs = runs_of(row[place])
        first = place[runs.order[runs.starts]]
        key = day[first] * SESSIONS + session[first]
        _begin(state, runs.rows, key)
        is_regular = session[first] == sessions.MARKET
        is_held[place] = runs.unsorted(
            _judged(state, runs, price[place][runs.order], ts_ns[place][runs.order], is_regular)
        )
    return is_held


def _begin(state: Any, row: Array, key: Array) -> None:
    """A session begins with nothing to compare with; what the one before held is let go."""
    fresh = state["outlier_key"][row] != key
    if fresh.any():
        rows = row[fresh]
        _let_go(state, rows[state["outlier_ns"][rows] > 0])
        state["outlier"][rows] = 0.0
        state["outlier_key"][rows] = key[fresh]


def _judged(state: Any, runs: Runs, price: Array, ts_ns: Array, is_regular: Array) -> Array:
    """Which prints, by symbol, are held. Symbols without a far print are done at once."""
    carried = state["outlier"][runs.rows]
    middle = quotes.mid(state, runs.rows)
    before = shifted(carried[:, TRUSTED], runs, price)
    of, regular = runs.of, is_regular[runs.of]
    is_near = (before <= 0) | _near(price, before, regular) | _near(price, middle[of], regular)
    is_odd = (np.bincount(of[~is_near], minlength=len(runs.rows)) > 0) | (carried[:, HELD] > 0)
    state["outlier"][runs.rows[~is_odd], TRUSTED] = price[runs.lasts[~is_odd]]
    is_held = np.zeros(len(price), dtype=bool)
    for run in np.flatnonzero(is_odd).tolist():
        part = slice(int(runs.starts[run]), int(runs.starts[run] + runs.counts[run]))
        is_held[part] = _one_by_one(
            state, int(runs.rows[run]), price[part], ts_ns[part], middle[run], is_regular[run]
        )
    return is_held


def _near(price: Any, reference: Any, is_regular: Any) -> Any:
    """Whether prices lie within the band of a reference; False where it is absent."""
    return np.abs(price - reference) <= band_of(reference, is_regular)


def _one_by_one(
    state: Any, row: int, price: Array, ts_ns: Array, middle: float, is_regular: bool
) -> list[bool]:
    trusted, held, high, low = state["outlier"][row].tolist()
    is_held = []
    for one, at_ns in zip(price.tolist(), ts_ns.tolist(), strict=True):
        references = [reference for reference in (trusted, held, middle) if reference > 0]
        is_near = any(_near(one, reference, is_regular) for reference in references)
        is_held.append(not is_near and trusted > 0)
        if is_held[-1]:
            held, high = one, max(high, one)
            low = min(low, one) if low else one
            state["outlier_ns"][row] = max(at_ns, int(state["outlier_ns"][row]))
        else:
            trusted, held = one, 0.0
    state["outlier"][row] = trusted, held, high, low
    return is_held


# -- letting go


def release(state: Any, clock_ns: int) -> None:
    """At a clock event: what has been held for a second moves highs and lows."""
    since_ns = state["outlier_ns"]
    rows = np.flatnonzero((since_ns > 0) & (since_ns <= clock_ns - WAIT_NS))
    if len(rows):
        _let_go(state, rows)


def forget(state: Any, row: Array) -> None:
    """After a halt there is nothing to compare with."""
    state["outlier"][row, TRUSTED] = 0.0
    state["outlier"][row, HELD] = 0.0


def _let_go(state: Any, row: Array) -> None:
    of_today = row[state["outlier_key"][row] // SESSIONS == state["day"][row]]
    session = state["outlier_key"][of_today] % SESSIONS
    open_rows, market_rows = of_today[session != sessions.CLOSED], of_today[session == sessions.MARKET]  # fmt: skip
    for rows, high, low in (
        (open_rows, "ext_high", "ext_low"),
        (market_rows, "day_high", "day_low"),
    ):
        held = state["outlier"][rows]
        state[high][rows] = np.maximum(state[high][rows], held[:, HIGH])
        known = state[low][rows]
        state[low][rows] = np.where(known > 0, np.minimum(known, held[:, LOW]), held[:, LOW])
    newest = of_today[state["outlier"][of_today, HELD] > 0]
    _take(state, newest, state["outlier"][newest, HELD])
    state["outlier"][row, HELD:] = 0.0
    state["outlier_ns"][row] = 0


def _take(state: Any, row: Array, price: Array) -> None:
    """A held print that nothing followed is the last price after all."""
    differs = (state["seen"][row] > 0) & (state["seen"][row] != price)
    state["other"][row[differs]] = state["seen"][row[differs]]
    for name in ("seen", "last"):
        state[name][row] = price
    state["outlier"][row, TRUSTED] = price
    state["last_ns"][row] = np.maximum(state["last_ns"][row], state["outlier_ns"][row])
    is_market = state["outlier_key"][row] % SESSIONS == sessions.MARKET
    closes = is_market & ((state["is_official"][row] & 2) == 0)
    state["close_market"][row[closes]] = price[closes]
