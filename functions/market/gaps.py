"""Gaps of the feed: of which symbols events are missing, since when, and when their values count again.

    the news says                    rules on the symbol
    it lasts (no end)                are barred until other news comes
    it ended, nothing was sent       are barred for WINDOW_NS after its end: as long as the windows of
                                     minutes look back; sums of the day stay short until the next
    what was missing has been sent   go on at once

While it is not known to be whole, a symbol fires nothing, so what is sent to fill the gap fires nothing
either. Any news begins a stretch: the value before it makes no cross, and what was held, counted or
awaited is over. A rule that was true before the gap and is true after it does not fire again.

A gap of quotes bars nothing: the newest quote is forgotten, so mid and spread are absent until the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import quotes
from functions.market.running import runs_of
from functions.market.sessions import MINUTE_NS

Array = NDArray[Any]

TRADES, QUOTES = 1, 2  # bits of `what`
WINDOW_NS = 60 * MINUTE_NS  # the longest window of minutes that sums: volume_60m
LASTS_NS = 1 << 62
CROSSINGS = ("seen", "other")  # the first print after a gap is no cross

STATE = {
    "gap_from_ns": "i8",  # since when a gap lasts; 0 = none does
    "gapped_until_ns": "i8",  # nothing fires before this time; LASTS_NS while a gap lasts
    "gap_news_ns": "i8",  # time of the newest news of a gap
}


def add(state: Any, gaps: Any) -> None:
    """Keep what is told of gaps, in order of arrival."""
    runs = runs_of(gaps["row"])
    place = np.arange(len(gaps)) - runs.starts[runs.of]  # how many of the symbol come before
    for turn in range(int(place.max(initial=-1)) + 1):
        some = gaps[runs.order[place == turn]]
        of_trades = some[(some["what"] & TRADES) > 0]
        if len(of_trades):
            _add_distinct(state, of_trades)
        of_quotes = some["row"][((some["what"] & QUOTES) > 0) & (some["repaired"] == 0)]
        state["quote_state"][of_quotes] = quotes.NONE


def _add_distinct(state: Any, gaps: Any) -> None:
    row, from_ns, to_ns = gaps["row"], gaps["from_ns"], gaps["to_ns"]
    since_ns, until_ns = state["gap_from_ns"][row], state["gapped_until_ns"][row]
    is_repaired = gaps["repaired"] > 0
    lasts = (to_ns == 0) & ~is_repaired
    ends = ~lasts & (from_ns <= since_ns)  # news of another gap does not end the one that lasts
    goes_on = lasts | ((since_ns > 0) & ~ends)
    end_ns = to_ns + WINDOW_NS
    known_ns = np.where(until_ns == LASTS_NS, 0, until_ns)
    over_ns = np.where(
        is_repaired, np.where(known_ns > end_ns, known_ns, 0), np.maximum(known_ns, end_ns)
    )
    first_ns = np.where(lasts & (since_ns == 0), from_ns, np.minimum(since_ns, from_ns))
    state["gap_from_ns"][row] = np.where(goes_on, np.where(lasts, first_ns, since_ns), 0)
    state["gapped_until_ns"][row] = np.where(goes_on, LASTS_NS, over_ns)
    state["gap_news_ns"][row] = np.maximum(state["gap_news_ns"][row], gaps["ts_ns"])
    for name in CROSSINGS:
        state[name][row] = 0


def is_whole(state: Any, row: Any, ts_ns: Array) -> Array:
    """Whether nothing that counts at each event's time is known to be missing of its symbol."""
    return np.asarray(ts_ns >= state.read("gapped_until_ns")[row])
