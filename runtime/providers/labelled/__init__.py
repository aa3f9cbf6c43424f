"""A market of scripted stories with the truth about it: what an alert has to find, and nothing else."""

from __future__ import annotations

import math

import numpy as np

from runtime.providers.labelled.market import Market, make_market
from runtime.providers.labelled.truth import Bar, Observer, Truth

__all__ = ["Market", "Truth", "make_market", "truth_of"]


def truth_of(market: Market) -> list[Truth]:
    """Everything that happened, in order of the time it was seen."""
    rows: list[Truth] = []
    for who, symbol in enumerate(market.symbols):
        observer = Observer(
            symbol,
            market.days,
            _history(market, who),
            _halts(market, who),
            {place: factor for one, place, factor in market.splits if one == who},
        )
        here = np.flatnonzero(market.trades["who"] == who)
        columns = (market.trades[name][here].tolist() for name in ("ts_ns", "price", "size"))
        for ts_ns, price, size in zip(*columns, strict=True):
            observer.meet(ts_ns, price, size)
        observer.end()
        rows += observer.rows
    return sorted(rows, key=lambda row: (row.seen_ns, row.symbol, row.kind))


def _history(market: Market, who: int) -> list[Bar]:
    here = np.flatnonzero(market.daily["who"] == who)
    names = ("ts_ns", "open", "high", "low", "close", "volume", "factor")
    rows = zip(*(market.daily[name][here].tolist() for name in names), strict=True)
    return [Bar(*row)._replace(factor=1.0 if math.isnan(row[6]) else row[6]) for row in rows]


def _halts(market: Market, who: int) -> list[tuple[int, int]]:
    here = np.flatnonzero(market.status["who"] == who)
    codes = market.status["code"][here].tolist()
    return list(zip(market.status["ts_ns"][here].tolist(), codes, strict=True))
