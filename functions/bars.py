"""One-minute bars: closed by the clock, also for quiet symbols, and revised by late prints.

bars.final   each bar once its minute is over, and again (revision + 1) when a late print changed it
bars.live    at each clock event, the running bar of every symbol that traded since the last one
"""

from functions.market.candles import STATE, add_prints, close_bars, live_bars
from functions.market.clocks import in_time
from runtime import function

bars = function(
    "bars",
    writes=["bars.final", "bars.live"],
    state=STATE,
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
        trades.get("upd"),
        trades.get("count"),
    )
    return {"bars.final": said}


@bars.on("ticks.clock")
def close(clock, state, settings):
    return {
        "bars.final": close_bars(state, clock, int(settings["grace_ms"] * 1_000_000)),
        "bars.live": live_bars(state),
    }
