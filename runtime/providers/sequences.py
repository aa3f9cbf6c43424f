"""Holes in a feed's numbers: which feeds number every trade, so that a hole is a loss. Pure.

feed        number     per      a hole
alpaca      i          day      says nothing: ids are per exchange
binance     t          symbol   trades are missing (Binance, trade streams: ids are sequential)
coinbase    trade_id   product  trades are missing (Coinbase Exchange, matches channel)
massive     q          symbol   is legal: numbers grow, and not by one (Massive, stocks websocket)
"""

from __future__ import annotations

from itertools import pairwise

from runtime.frames import Array

CONTIGUOUS = frozenset(("binance", "coinbase"))
FEEDS = CONTIGUOUS | {"alpaca", "massive"}


def gaps(feed: str, numbers: Array) -> list[tuple[int, int]]:
    """The first and last missing number of every hole that means a loss; raises ValueError for an unknown feed.

    numbers    of one symbol, in order of arrival; one that came before, or late, makes no hole
    """
    if feed not in FEEDS:
        raise ValueError(f"feed {feed}: expected one of {', '.join(sorted(FEEDS))}")
    if feed not in CONTIGUOUS or not len(numbers):
        return []
    known = sorted(set(numbers.tolist()))
    return [(before + 1, after - 1) for before, after in pairwise(known) if after > before + 1]
