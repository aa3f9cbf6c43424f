"""Trading days and sessions: of New York for stocks, of UTC for what trades around the clock.

    New York, a trading day             session
    04:00 - 09:30                       premarket
    09:30 - 16:00 (13:00 half days)     market
    the four hours after the close      postmarket
    else                                closed

What is printed while the market is closed belongs to the next trading day, and to no session. Around
the clock a day is a UTC day and all of it is `market`. Holidays, half days and unscheduled closures
are those of the XNYS calendar of `exchange_calendars`, kept as plain arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CLOSED, PREMARKET, MARKET, POSTMARKET = range(4)
SESSIONS = ("closed", "premarket", "market", "postmarket")
US, CRYPTO = range(2)
MARKETS = ("us", "crypto")
AROUND_THE_CLOCK = ("*.SPOT", "*.USDM", "*-USD", "*-USDT", "*USDT", "*/USD", "???USD", "????USD")

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
STRETCH_NS = 5 * MINUTE_NS  # sessions change on whole five minutes
FIRST_YEAR, LAST_YEAR = 1990, 2040
HALF_DAY_NS = 6 * HOUR_NS  # a market that is open for less closes early


class Moment(NamedTuple):
    """Where a time lies: its trading day, its session, and the bounds of that day, UTC ns."""

    day: int  # days since 1970 of the trading day's date
    session: int
    midnight_ns: int  # of that date, on the market's clocks
    open_ns: int
    close_ns: int
    end_ns: int


@dataclass(frozen=True)
class Calendar:
    """The trading days of a market, one row each: date in days since 1970, bounds in UTC ns."""

    day: Array
    start_ns: Array
    open_ns: Array
    close_ns: Array
    end_ns: Array

    def at(self, ts_ns: int) -> Moment:
        """The moment of a time; raises ValueError outside FIRST_YEAR to LAST_YEAR."""
        place = int(np.searchsorted(self.end_ns, ts_ns, side="right"))
        if place == len(self.day) or ts_ns < self.start_ns[0] - 7 * DAY_NS:
            raise ValueError(
                f"time {ts_ns}: expected nanoseconds within {FIRST_YEAR} to {LAST_YEAR}"
            )
        start, opened = int(self.start_ns[place]), int(self.open_ns[place])
        close, end = int(self.close_ns[place]), int(self.end_ns[place])
        session = CLOSED + (ts_ns >= start) + (ts_ns >= opened) + (ts_ns >= close)
        return Moment(int(self.day[place]), session, start - 4 * HOUR_NS, opened, close, end)


@lru_cache(maxsize=8)
def us_calendar(closures: str = "") -> Calendar:
    """The trading days of New York; `closures` names further dates without trading (2027-01-04, ...)."""
    import exchange_calendars  # builds on pandas: loaded only where sessions are wanted
    import pandas as pd

    found = exchange_calendars.get_calendar(
        "XNYS", start=f"{FIRST_YEAR}-01-01", end=f"{LAST_YEAR}-12-31"
    )
    schedule = found.schedule
    dates = schedule.index
    away = pd.DatetimeIndex(closures.replace(",", " ").split())
    schedule = schedule[~dates.isin(away)]
    dates = schedule.index
    starts = (dates + pd.Timedelta(hours=4)).tz_localize("America/New_York").tz_convert("UTC")
    close_ns = _ns(schedule["close"])
    day = dates.to_numpy().astype("datetime64[D]").astype(np.int64)
    start_ns = _ns(starts)
    return Calendar(day, start_ns, _ns(schedule["open"]), close_ns, close_ns + 4 * HOUR_NS)


def _ns(times: Any) -> Array:
    return np.asarray(times.astype("int64"), dtype=np.int64)


@lru_cache(maxsize=1 << 14)
def _stretch(number: int, closures: str) -> tuple[Moment, Moment]:
    ts_ns = number * STRETCH_NS
    day = ts_ns // DAY_NS
    start = day * DAY_NS
    around = Moment(day, MARKET, start, start, start + DAY_NS, start + DAY_NS)
    return us_calendar(closures).at(ts_ns), around


def moments(ts_ns: int, closures: str = "") -> tuple[Moment, ...]:
    """The moment of a time in every market, by market code."""
    return _stretch(int(ts_ns) // STRETCH_NS, closures)


def session_of(ts_ns: int, market: int = US) -> int:
    """The session (a code of SESSIONS) of a time."""
    return moments(ts_ns)[market].session


def is_half_day(moment: Moment) -> bool:
    """Whether the market closes early on the moment's day."""
    return moment.close_ns - moment.open_ns < HALF_DAY_NS


@lru_cache(maxsize=1 << 17)
def market_of(symbol: str) -> int:
    """The market a symbol belongs to: crypto pairs trade around the clock, all else in New York."""
    return CRYPTO if any(fnmatchcase(symbol, one) for one in AROUND_THE_CLOCK) else US
