"""Trading days and sessions of the United States, for arrays of times.

premarket 04:00-09:30, market 09:30-16:00, postmarket 16:00-20:00 in New York on weekdays, half open;
a trading day begins at 04:00. Exchange holidays and early closes are not known here yet.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NEW_YORK = ZoneInfo("America/New_York")
SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
DAY_STARTS_NS = 4 * HOUR_NS
OPEN_NS = 9 * HOUR_NS + HOUR_NS // 2
CLOSE_NS = 16 * HOUR_NS
POST_ENDS_NS = 20 * HOUR_NS
CLOSED, PREMARKET, MARKET, POSTMARKET = range(4)
NAMES = {"premarket": PREMARKET, "market": MARKET, "postmarket": POSTMARKET}


@lru_cache(maxsize=4096)
def _offset_ns(hour: int) -> int:
    """New York's distance from UTC in an hour since 1970; it changes on whole hours only."""
    moment = datetime.fromtimestamp(hour * 3600, UTC).astimezone(NEW_YORK)
    offset = moment.utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) * SECOND_NS


def local_ns(ts_ns: Array) -> Array:
    """Nanoseconds of New York's clock since 1970, for times in UTC."""
    hours = ts_ns // HOUR_NS
    first, last = int(hours.min()), int(hours.max())
    if first == last:
        return ts_ns + _offset_ns(first)
    known, place = np.unique(hours, return_inverse=True)
    return ts_ns + np.array([_offset_ns(int(hour)) for hour in known])[place]


def trading_day(ts_ns: Array) -> Array:
    """Days since 1970 of the trading day a time belongs to; before 04:00 that is the day before."""
    return (local_ns(ts_ns) - DAY_STARTS_NS) // DAY_NS


def session(ts_ns: Array) -> Array:
    """CLOSED, PREMARKET, MARKET or POSTMARKET at each time."""
    local = local_ns(ts_ns)
    of_day = local % DAY_NS
    is_weekday = (local // DAY_NS + 3) % 7 < 5  # 1970-01-01 was a Thursday
    named = np.select(
        [of_day < DAY_STARTS_NS, of_day < OPEN_NS, of_day < CLOSE_NS, of_day < POST_ENDS_NS],
        [CLOSED, PREMARKET, MARKET, POSTMARKET],
        CLOSED,
    )
    return np.where(is_weekday, named, CLOSED)
