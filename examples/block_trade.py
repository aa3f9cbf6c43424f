"""Block trade: ten thousand shares or more in one print. One: events in, events out."""

from runtime import Answer, Frame, Settings, function


@function(reads="ticks.trades", writes="alerts", settings={"size_min": 10_000.0})
def block_trade(trades: Frame, settings: Settings) -> Answer:
    return trades[trades["size"] >= settings["size_min"]]
