"""The system toplists: what they rank by, and how a ranking is made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LENGTH = 50  # ranks shown
KEPT = 60  # a member leaves when it falls below this rank: at the edge, two would change places for ever
FEW = 64  # symbols that are ranked for all lists at once, in one sort
FALLING, RISING = True, False

# id -> (metric, highest first).
LISTS = {
    "gainers_1m": ("change_pct_1m", FALLING),
    "gainers_5m": ("change_pct_5m", FALLING),
    "gainers_15m": ("change_pct_15m", FALLING),
    "gainers_1h": ("change_pct_60m", FALLING),
    "gainers_1d": ("change_from_close_pct", FALLING),
    "losers_1m": ("change_pct_1m", RISING),
    "losers_5m": ("change_pct_5m", RISING),
    "losers_15m": ("change_pct_15m", RISING),
    "losers_1h": ("change_pct_60m", RISING),
    "losers_1d": ("change_from_close_pct", RISING),
    "volume_1m": ("volume_1m", FALLING),
    "volume_5m": ("volume_5m", FALLING),
    "volume_15m": ("volume_15m", FALLING),
    "volume_1h": ("volume_60m", FALLING),
    "volume_1d": ("volume_daily", FALLING),
    "rsi_high": ("rsi_14", FALLING),
    "rsi_low": ("rsi_14", RISING),
    "relative_volume": ("relative_volume_15m", FALLING),
    "vwap_dist_high": ("vwap_dist_5m_pct", FALLING),
    "vwap_dist_low": ("vwap_dist_5m_pct", RISING),
}


def ranked(values: Array, symbols: Array, is_falling: bool, length: int = LENGTH) -> Array:
    """Positions of the best `length` values, best first; absent ones never rank, ties go by symbol."""
    known = np.flatnonzero(np.isfinite(values))
    keys = -values[known] if is_falling else values[known]
    if len(known) > length:
        limit = np.partition(keys, length - 1)[length - 1]
        is_close = keys <= limit
        known, keys = known[is_close], keys[is_close]
    order = np.lexsort((symbols[known], keys))
    return known[order[:length]]
