"""The trading days of the New York exchange, as far as feeds and a made-up market have to know them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
LATE_NS = 20 * 60 * SECOND_NS  # by which a delayed feed goes on after the market
EPOCH = date(1970, 1, 1)


class TradingDay(NamedTuple):
    """A date on which the exchange is open; bounds in UTC ns."""

    date: date
    midnight_ns: int  # in New York
    start_ns: int  # 04:00, premarket
    open_ns: int
    close_ns: int
    end_ns: int  # four hours after the close

    @property
    def stamp_ns(self) -> int:
        """00:00 UTC of the date: the time of a daily bar."""
        return (self.date - EPOCH).days * DAY_NS

    @property
    def is_half(self) -> bool:
        """Whether the exchange closes early."""
        return self.close_ns - self.open_ns < 6 * HOUR_NS


@lru_cache(maxsize=64)
def _year(year: int) -> dict[date, TradingDay]:
    import exchange_calendars  # builds on pandas: loaded only where a market is made

    schedule = exchange_calendars.get_calendar(
        "XNYS", start=f"{year}-01-01", end=f"{year}-12-31"
    ).schedule
    days = {}
    for stamp, opened, closed in zip(
        schedule.index, schedule["open"], schedule["close"], strict=True
    ):
        day = stamp.date()
        midnight = int(datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).timestamp())
        start_ns = midnight * SECOND_NS + 4 * HOUR_NS
        close_ns = int(closed.value)
        days[day] = TradingDay(
            day,
            midnight * SECOND_NS,
            start_ns,
            int(opened.value),
            close_ns,
            close_ns + 4 * HOUR_NS,
        )
    return days


def trading_day(day: date) -> TradingDay | None:
    """The trading day of a date; None on weekends and holidays."""
    return _year(day.year).get(day)


def open_between(from_ns: int, to_ns: int) -> bool:
    """Whether anybody could trade between two times, from premarket until what is late after the evening has come."""
    day, last = (datetime.fromtimestamp(ns / 1e9, NEW_YORK).date() for ns in (from_ns, to_ns))
    while day <= last:
        one = trading_day(day)
        if one is not None and one.start_ns <= to_ns and from_ns <= one.end_ns + LATE_NS:
            return True
        day += timedelta(days=1)
    return False


def trading_days_before(day: date, count: int) -> list[TradingDay]:
    """The newest `count` trading days before a date, oldest first."""
    found: list[TradingDay] = []
    while len(found) < count:
        day -= timedelta(days=1)
        one = trading_day(day)
        if one is not None:
            found.append(one)
    return found[::-1]


def trading_days_from(day: date, count: int) -> list[TradingDay]:
    """The first `count` trading days at or after a date."""
    found: list[TradingDay] = []
    while len(found) < count:
        one = trading_day(day)
        if one is not None:
            found.append(one)
        day += timedelta(days=1)
    return found
