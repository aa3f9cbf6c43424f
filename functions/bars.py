"""One-minute bars: closed by the clock, also for quiet symbols, and revised by late prints.

bars.final   each bar once its minute is over, and again (revision + 1) when a late print changed it
bars.live    at each clock event, the running bar of every symbol that traded since the last one
"""

import numpy as np

from functions.market import firsts, sessions
from functions.market.candles import LAST, STATE, add_prints, close_bars, live_bars
from functions.market.clocks import in_time
from runtime import function

bars = function(
    "bars",
    writes=["bars.final", "bars.live"],
    state={**STATE, "priced_ns": "i8"},  # newest time of an eligible last: 0 = none yet
    carry="keep",
    # Wait this long after a minute before its bars close. 0: the clock is a watermark, ingest sends
    # it only when event time got there, and what is later still revises its bar. Larger values give
    # fewer revisions and later bars.
    settings={"grace_ms": 0},
)


@bars.on("ticks.trades")
def add(trades, state, clock):
    trades = in_time(trades, clock)
    said = add_prints(
        state,
        trades["row"],
        trades["ts_ns"],
        trades["price"],
        trades["size"],
        settled(trades, state),
        trades.get("count"),
    )
    return {"bars.final": said}


def settled(trades, state):
    """What each print may update; a print that may be the last only if it is the first is settled."""
    row, ts_ns, upd = trades["row"], trades["ts_ns"], trades.get("upd")
    if upd is not None and (upd & firsts.LAST_IF_FIRST).any():
        codes = {one: sessions.market_of(state.symbols[one]) for one in np.unique(row).tolist()}
        market = np.array([codes[one] for one in row.tolist()])
        last_day = firsts.trading_days(state["priced_ns"][row], market)
        upd = firsts.settled(upd, row, firsts.trading_days(ts_ns, market), last_day)
    eligible = slice(None) if upd is None else (upd & LAST) != 0
    np.maximum.at(state["priced_ns"], row[eligible], ts_ns[eligible])
    return upd


@bars.on("ticks.clock")
def close(clock, state, settings):
    return {
        "bars.final": close_bars(state, clock, int(settings["grace_ms"] * 1_000_000)),
        "bars.live": live_bars(state),
    }
