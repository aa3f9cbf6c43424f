"""Best bid and offer: mid, spread, and how long a market is locked or crossed.

    state       the newest quote                                        mid, spread
    NONE        there was none yet today                                absent
    NORMAL      bid below ask                                           known
    LOCKED      bid equals ask                                          mid = both, spread = 0
    CROSSED     bid above ask                                           absent
    ONE_SIDED   bid or ask is 0                                         absent
    NOT_FIRM    non-firm, closed, limit-up limit-down pause, market-wide halt   absent

Quotes may be conflated: of one frame the newest of each symbol counts, and the time since which its
state lasts is that of the first quote of the stretch, on any cut. A quote older than the symbol's
newest changes nothing. Trades are never conflated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market.running import Runs, fold, runs_of, shifted

Array = NDArray[Any]

NONE, NORMAL, LOCKED, CROSSED, ONE_SIDED, NOT_FIRM = range(6)
HAS_MID = (NORMAL, LOCKED)
NON_FIRM, CLOSED, LULD_PAUSE, MARKET_WIDE = 1, 2, 4, 8  # bits of `condition` in the quotes record

BID, ASK, BID_SIZE, ASK_SIZE = range(4)
STATE = {
    "quote": ("f8", 4),  # bid, ask, bid size, ask size (shares) of the newest quote
    "quote_state": "u1",  # one of the states above
    "quote_ns": "i8",  # time of the newest quote
    "quote_since_ns": "i8",  # since when it is in its state
}

# Round lots of shares by price: SEC rule 600(b)(93) (Market Data Infrastructure), in force since
# 2025-11-03; before, 100. The exchanges take the mean close of a month: a symbol near a bound may
# differ, so the listed `round_lot` of reference data goes first.
ROUND_LOTS = ((250.0, 100.0), (1_000.0, 40.0), (10_000.0, 10.0), (np.inf, 1.0))
ROUND_LOTS_SINCE_NS = 1_762_146_000_000_000_000  # 2025-11-03 00:00 in New York


def state_of(bid: Array, ask: Array, condition: Array | None = None) -> Array:
    """The state (u1) of quotes; `condition` are their bits, any of which makes them not firm."""
    found = np.select([bid < ask, bid == ask], [NORMAL, LOCKED], CROSSED).astype(np.uint8)
    found[(bid <= 0) | (ask <= 0)] = ONE_SIDED
    if condition is not None:
        found[condition != 0] = NOT_FIRM
    return found


def round_lot_of(price: Array, ts_ns: Array) -> Array:
    """Shares in a round lot at a price; NaN or 0, a price not known, counts as below 250."""
    bounds = np.array([bound for bound, _ in ROUND_LOTS[:-1]])
    lots = np.array([lot for _, lot in ROUND_LOTS])
    known = np.where(price > 0, price, 0.0)
    return np.where(ts_ns >= ROUND_LOTS_SINCE_NS, lots[np.searchsorted(bounds, known)], 100.0)


def add_quotes(state: Any, quotes: Any, runs: Runs) -> None:
    """Move the scanner's quotes on: the newest of each symbol, its state and since when it lasts.

    runs  of `quotes["row"]`
    """
    ts_ns = quotes["ts_ns"]
    newest = fold(np.maximum, state["quote_ns"][runs.rows], runs, ts_ns[runs.order])
    in_time = ts_ns[runs.order] >= newest
    if not in_time.all():
        kept = np.sort(runs.order[in_time])
        if len(kept):
            add_quotes(state, quotes[kept], runs_of(quotes["row"][kept]))
        return
    now = state_of(quotes["bid"], quotes["ask"], quotes.get("condition"))[runs.order]
    since_ns = _since(state, runs, now, newest)
    last = runs.order[runs.lasts]
    state["quote_since_ns"][runs.rows] = since_ns
    state["quote_state"][runs.rows] = now[runs.lasts]
    state["quote_ns"][runs.rows] = newest[runs.lasts]
    for column, name in ((BID, "bid"), (ASK, "ask")):
        state["quote"][runs.rows, column] = quotes[name][last]
    lot = _lot(state, quotes, runs.rows, last)
    for column, name in ((BID_SIZE, "bid_size"), (ASK_SIZE, "ask_size")):
        state["quote"][runs.rows, column] = quotes[name][last] * lot


def _since(state: Any, runs: Runs, now: Array, ts_ns: Array) -> Array:
    """Since when each symbol's newest quote is in its state."""
    changed = now != shifted(state["quote_state"][runs.rows], runs, now)
    place = np.maximum.accumulate(np.where(changed, np.arange(len(now)), -1))[runs.lasts]
    is_own = place >= runs.starts
    return np.where(is_own, ts_ns[np.maximum(place, 0)], state["quote_since_ns"][runs.rows])


def _lot(state: Any, quotes: Any, row: Array, last: Array) -> Array:
    """What sizes are multiplied with to be shares: 1, or the round lot where the feed counts in lots."""
    is_lots = quotes.get("lots")
    if is_lots is None or not is_lots[last].any():
        return np.ones(len(row))
    close, bid = state["prev_close"][row], quotes["bid"][last]
    price = np.where(close > 0, close, np.where(bid > 0, bid, quotes["ask"][last]))
    lot = round_lot_of(price, quotes["ts_ns"][last])
    if "fact.round_lot" in state:
        listed = state["fact.round_lot"][row]
        lot = np.where(listed > 0, listed, lot)
    return np.where(is_lots[last] != 0, lot, 1.0)


# -- values of symbols, for metrics: all f8, NaN where there is none


def side(state: Any, row: Array, column: int) -> Array:
    """Bid, ask or one of their sizes; absent without a firm quote, and where that side is missing."""
    value = state["quote"][row, column]
    price = state["quote"][row, column % 2]
    found = state["quote_state"][row]
    return np.where((found != NONE) & (found != NOT_FIRM) & (price > 0), value, np.nan)


def mid(state: Any, row: Array) -> Array:
    """Half way between bid and ask; absent when one is missing, crossed or not firm."""
    total = state["quote"][row, BID] + state["quote"][row, ASK]
    return np.where(np.isin(state["quote_state"][row], HAS_MID), total / 2.0, np.nan)


def spread(state: Any, row: Array) -> Array:
    """Ask - bid; absent where mid is."""
    width = state["quote"][row, ASK] - state["quote"][row, BID]
    return np.where(np.isin(state["quote_state"][row], HAS_MID), width, np.nan)


def lasted_s(state: Any, row: Array, ts_ns: Array, wanted: int) -> Array:
    """Seconds for which the market of each symbol is LOCKED or CROSSED; 0 when it is not."""
    found = state["quote_state"][row]
    seconds = np.maximum(ts_ns - state["quote_since_ns"][row], 0) / 1e9
    return np.where(found == NONE, np.nan, np.where(found == wanted, seconds, 0.0))
