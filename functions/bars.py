"""One-minute bars: closed by the clock, also for quiet symbols, and revised by what comes late.

bars.final      each bar once its minute is over, and again (revision + 1) when a late print, a
                correction or a cancel changed it
bars.live       at each clock event, the running bar of every symbol that traded since the last one
bars.corrected  what corrections changed, and prints that are not taken as they came
"""

from functions.market import candles, prints, repairs
from runtime import function

bars = function(
    "bars",
    writes=["bars.corrected", "bars.final", "bars.live"],
    state={**candles.STATE, **prints.STATE, **repairs.STATE},
    # Wait this long after a minute before its bars close. 0: the clock is a watermark, ingest sends
    # it only when event time got there, and what is later still revises its bar. Larger values give
    # fewer revisions and later bars.
    settings={"grace_ms": 0},
    version=2,
    carry="clean",
)


@bars.on("ticks.trades")
def add(trades, state):
    taken, number, said = repairs.sift(state, prints.prints_of(trades))
    left = None if taken is None else candles.add_prints(state, taken, number)
    return {"bars.corrected": said, "bars.final": left}


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
