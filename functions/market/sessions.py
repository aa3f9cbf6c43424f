"""Trading days and sessions: of New York for stocks, of UTC for what trades around the clock.

    New York, Monday to Friday      session          UTC in winter    in summer
    04:00 - 09:30                   premarket        09:00 - 14:30    08:00 - 13:30
    09:30 - 16:00                   market           14:30 - 21:00    13:30 - 20:00
    16:00 - 20:00                   postmarket       21:00 - 01:00    20:00 - 24:00
    else                            closed

A trading day begins at 04:00; what is printed overnight or on a weekend belongs to the day before.
Around the clock the day begins at 00:00 UTC and all of it is `market`. Exchange holidays and early
closes come with the exchange calendar; until then they count as ordinary weekdays.
"""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CLOSED, PREMARKET, MARKET, POSTMARKET = range(4)
SESSIONS = ("closed", "premarket", "market", "postmarket")

MINUTE_NS = 60_000_000_000
DAY_NS = 1440 * MINUTE_NS
DAY_START = 4 * 60  # minutes after midnight, New York
BOUNDS = np.array([DAY_START, 9 * 60 + 30, 16 * 60, 20 * 60])
BETWEEN = np.array([CLOSED, PREMARKET, MARKET, POSTMARKET, CLOSED], dtype=np.uint8)
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0
NEW_YORK = ZoneInfo("America/New_York")


@lru_cache(maxsize=4096)
def _offset_minutes(utc_day: int) -> int:
    """New York's offset on a UTC day, at 10:00 UTC: after any clock change, before any 04:00."""
    moment = datetime.fromtimestamp(utc_day * 86_400 + 36_000, UTC)
    offset = moment.astimezone(NEW_YORK).utcoffset()
    assert offset is not None  # the moment is aware
    return int(offset.total_seconds() // 60)


def _new_york(ts_ns: Array) -> tuple[Array, Array]:
    """Days since 1970 and minutes after midnight on New York's clocks."""
    utc_day = ts_ns // DAY_NS
    days, place = np.unique(utc_day, return_inverse=True)
    offsets = np.array([_offset_minutes(day) for day in days.tolist()], dtype=np.int64)
    local = ts_ns // MINUTE_NS + offsets[place.reshape(ts_ns.shape)]
    return local // 1440, local % 1440


def _weekday(day: Array) -> Array:
    return (day + EPOCH_WEEKDAY) % 7


def new_york_session(ts_ns: Array) -> Array:
    """The session (a code of SESSIONS, u1) of each time."""
    day, minute = _new_york(ts_ns)
    session = BETWEEN[np.searchsorted(BOUNDS, minute, side="right")]
    return np.where(_weekday(day) < 5, session, np.uint8(CLOSED))


def new_york_day(ts_ns: Array) -> Array:
    """The trading day of each time, as days since 1970: the last weekday 04:00 that has passed."""
    day, minute = _new_york(ts_ns)
    day = day - (minute < DAY_START)
    return day - np.maximum(_weekday(day) - 4, 0)


def utc_day(ts_ns: Array) -> Array:
    """The day of what trades around the clock, as days since 1970."""
    return ts_ns // DAY_NS


@lru_cache(maxsize=1 << 17)
def trades_always(symbol: str, patterns: str) -> bool:
    """Whether a symbol trades around the clock: one of the patterns (separated by blanks) fits."""
    return any(fnmatchcase(symbol, pattern) for pattern in patterns.split())
