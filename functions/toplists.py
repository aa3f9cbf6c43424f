"""One ranking of the whole market from the best of every partition."""

import numpy as np

from functions.market.toplists import LISTS, ranked
from runtime import function


@function(reads="toplists.partial", writes="toplists.updated")
def toplists(partials):
    symbols = partials["symbol"].astype(str)
    parts = []
    for name, (_, is_falling) in LISTS.items():
        place = np.flatnonzero(partials["list"] == name)
        parts.append(place[ranked(partials["value"][place], symbols[place], is_falling)])
    place = np.concatenate(parts)
    best = partials[place]
    return {
        "symbol": best["symbol"],
        "list": best["list"],
        "ts_ns": best["ts_ns"],
        "value": best["value"],
        "price": best["price"],
        "volume": best["volume"],
        "rank": np.concatenate([np.arange(1, len(part) + 1) for part in parts]),
    }
