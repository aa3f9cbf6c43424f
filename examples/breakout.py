"""Breakout: a print above everything seen so far, on real volume. Two: what it remembers is state."""

from functions.market.running import add_volume, raise_high
from runtime import Answer, Frame, Settings, State, function


@function(
    reads="ticks.trades",
    writes="alerts",
    state={"high": "f8", "volume": "f8"},
    settings={"volume_min": 1_000.0},
)
def breakout(trades: Frame, state: State, settings: Settings) -> Answer:
    met = raise_high(state["high"], trades["row"], trades["price"])
    volume = add_volume(state["volume"], trades["row"], trades["size"])
    broke = (met > 0) & (trades["price"] > met) & (volume > settings["volume_min"])
    return trades[broke]
