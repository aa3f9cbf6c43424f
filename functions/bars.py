"""One-minute bars: closed by the clock, also for quiet symbols, and revised by what comes late.

bars.final      each bar once its minute is over, and again (revision + 1) when a late print, a
                correction or a cancel changed it
bars.live       at each clock event, the running bar of every symbol that traded since the last one
bars.corrected  what corrections changed, and prints that are not taken as they came
"""

import numpy as np

from functions.market import candles, firsts, prints, repairs, sessions
from functions.market.clocks import in_time
from functions.market.prints import LAST
from runtime import function

bars = function(
    "bars",
    writes=["bars.corrected", "bars.final", "bars.live"],
    state={
        **candles.STATE,
        **prints.STATE,
        **repairs.STATE,
        "priced_ns": "i8",  # newest time of an eligible last: 0 = none yet
    },
    merges=repairs.MERGES,
    carry="keep",
    # Wait this long after a minute before its bars close. 0: the clock is a watermark, ingest sends
    # it only when event time got there, and what is later still revises its bar. Larger values give
    # fewer revisions and later bars.
    # closures, markets: as those of the scanner, see functions/market/sessions.py
    settings={"grace_ms": 0, "closures": "", "markets": ""},
    checks=sessions.check_setup,
    by_minute=lambda settings: settings["grace_ms"] % 60_000 == 0,
)


@bars.remembers("bars.final")
def know_again(bars, state):
    candles.remember(state, bars)
    np.maximum.at(state["priced_ns"], bars["row"], bars["ts_ns"])


@bars.on("ticks.trades")
def add(trades, state, settings, clock):
    taken, order, gone, said = repairs.sift(state, prints.prints_of(in_time(trades, clock)))
    if taken is None:
        return {"bars.corrected": said}
    setup = sessions.setup_of(settings["closures"], settings["markets"])
    taken = taken._replace(upd=settled(state, taken, gone, setup))
    number = prints.keep(state, taken, order, gone)
    if gone is not None:
        taken, number = taken.pick(~gone), number[~gone]
    left = candles.add_prints(state, taken, number) if len(number) else None
    return {"bars.corrected": said, "bars.final": left}


def settled(state, taken, gone, setup=""):
    """What each print may update; a print that may be the last only if it is the first is settled.

    gone    mask of prints that count nowhere, None where there are none
    setup   the calendars a deployment adds, see sessions
    """
    row, ts_ns, upd = taken.row, taken.ts_ns, taken.upd
    counts = slice(None) if gone is None else ~gone
    if upd is not None and (upd & firsts.LAST_IF_FIRST).any():
        codes = {
            one: sessions.market_of(state.symbols[one], setup) for one in np.unique(row).tolist()
        }
        market = np.array([codes[one] for one in row.tolist()])
        last_day = firsts.trading_days(state["priced_ns"][row], market, setup)
        days = firsts.trading_days(ts_ns, market, setup)
        upd = upd.copy()
        upd[counts] = firsts.settled(upd[counts], row[counts], days[counts], last_day[counts])
    eligible = counts if upd is None else (upd & LAST) != 0
    if upd is not None and gone is not None:
        eligible &= ~gone
    np.maximum.at(state["priced_ns"], row[eligible], ts_ns[eligible])
    return upd


@bars.on("ticks.corrections")
def correct(corrections, state, clock):
    return {"bars.corrected": repairs.correct(state, corrections, clock)}


@bars.on("ticks.clock")
def close(clock, state, settings):
    return {
        "bars.corrected": repairs.release(state, clock),
        "bars.final": candles.close_bars(state, clock, int(settings["grace_ms"] * 1_000_000)),
        "bars.live": candles.live_bars(state),
    }
