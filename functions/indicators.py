"""Indicators of every one-minute bar, said again for the bars that a revision changes."""

from functions.market.indicators import STATE, add_bars
from runtime import function


@function(reads="bars.final", writes="indicators", state=STATE, version=2, carry="clean")
def indicators(bars, state):
    return add_bars(state, bars)
