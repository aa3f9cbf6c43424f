"""Trading days and sessions: of New York for stocks, of UTC for what trades around the clock, of others by setting.

    New York, a trading day             session
    04:00 - 09:30                       premarket
    09:30 - 16:00 (13:00 half days)     market
    the four hours after the close      postmarket
    else                                closed

What is printed while the market is closed belongs to the next trading day, and to no session. Around
the clock a day is a UTC day and all of it is `market`. Holidays, half days and unscheduled closures
are those of the calendars of `exchange_calendars`, kept as plain arrays.

What a deployment adds travels as one text, `CLOSURES|MARKETS` (`setup_of` makes it from two settings):

    closures   2025-01-09, xetra:2026-06-01             dates without trading, New York's without a name
    markets    xetra XETR 08:00-22:00 *.DE *.F; ...     name, calendar, first and last hour on the
                                                        exchange's own clocks, patterns of symbols

A lunch break is part of `market`: nothing prints in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CLOSED, PREMARKET, MARKET, POSTMARKET = range(4)
SESSIONS = ("closed", "premarket", "market", "postmarket")
US, CRYPTO = range(2)
MARKETS = ("us", "crypto")  # a setup adds others, from code 2 on
AROUND_THE_CLOCK = ("*.SPOT", "*.USDM", "*-USD", "*-USDT", "*USDT", "*/USD", "???USD", "????USD")

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
STRETCH_NS = 5 * MINUTE_NS  # sessions change on whole five minutes
FIRST_YEAR, LAST_YEAR = 1990, 2040
HALF_DAY_NS = 6 * HOUR_NS  # a market that is open for less closes early
SHORTER_NS = 90 * MINUTE_NS  # or one that closes this much before its usual time
MARKETS_MAX = 32  # a market's code is a byte, and every stretch of five minutes knows them all

HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
NAME = re.compile(r"[a-z][a-z0-9_]{0,15}")


class Moment(NamedTuple):
    """Where a time lies: its trading day, its session, and the bounds of that day, UTC ns."""

    day: int  # days since 1970 of the trading day's date
    session: int
    midnight_ns: int  # of that date, on the market's clocks
    open_ns: int
    close_ns: int
    end_ns: int
    start_ns: int  # of the first session
    is_half: bool


@dataclass(frozen=True)
class Calendar:
    """The trading days of a market, one row each: date in days since 1970, bounds in UTC ns."""

    day: Array
    midnight_ns: Array
    start_ns: Array
    open_ns: Array
    close_ns: Array
    end_ns: Array
    is_half: Array

    def at(self, ts_ns: int) -> Moment:
        """The moment of a time; raises ValueError outside the years the calendar knows."""
        place = int(np.searchsorted(self.end_ns, ts_ns, side="right"))
        if place == len(self.day) or ts_ns < self.start_ns[0] - 7 * DAY_NS:
            first, last = (np.datetime64(int(self.day[k]), "D").item().year for k in (0, -1))
            raise ValueError(f"time {ts_ns}: expected nanoseconds within {first} to {last}")
        bounds = (self.midnight_ns, self.open_ns, self.close_ns, self.end_ns, self.start_ns)
        midnight, opened, close, end, start = (int(one[place]) for one in bounds)
        session = CLOSED + (ts_ns >= start) + (ts_ns >= opened) + (ts_ns >= close)
        is_half = bool(self.is_half[place])
        return Moment(int(self.day[place]), session, midnight, opened, close, end, start, is_half)

    def day_after(self, day: Array) -> Array:
        """The first trading day after each date."""
        place = np.searchsorted(self.day, day, side="right")
        return np.asarray(self.day[np.minimum(place, len(self.day) - 1)])


@dataclass(frozen=True)
class Market:
    """A market a setup adds: whose calendar, which hours of its clocks, which symbols."""

    name: str
    calendar: str
    start: tuple[int, int]
    end: tuple[int, int]
    patterns: tuple[str, ...]


# -- what a deployment adds


def setup_of(closures: str, markets: str) -> str:
    """The two settings as the one text that `moments` and `market_of` take."""
    return f"{closures}|{markets}" if closures or markets else ""


def check_setup(settings: Any) -> None:
    """Refuse settings `closures` and `markets` that cannot be used; raises ValueError saying why."""
    setup = setup_of(settings["closures"], settings["markets"])
    names = {MARKETS[US]} | {market.name for market in added_markets(setup)}
    for name in sorted(_closures(setup)):
        if name not in names:
            raise ValueError(f"closures: no market {name!r}; there are {', '.join(sorted(names))}")
    _calendars(setup)


@lru_cache(maxsize=8)
def added_markets(setup: str) -> tuple[Market, ...]:
    """The markets of a setup beside MARKETS; raises ValueError."""
    parts = [one.split() for one in setup.partition("|")[2].split(";") if one.strip()]
    markets = tuple(_market(words) for words in parts)
    names = [*MARKETS, *(market.name for market in markets)]
    if len(set(names)) < len(names) or len(names) > MARKETS_MAX:
        raise ValueError(f"markets: expected up to {MARKETS_MAX} different names, found {names}")
    return markets


def _market(words: list[str]) -> Market:
    shape = "markets: expected NAME CALENDAR HH:MM-HH:MM PATTERN ..., found"
    if len(words) < 4 or not NAME.fullmatch(words[0]):
        raise ValueError(f"{shape} {' '.join(words)!r}")
    found = HOURS.fullmatch(words[2])
    if found is None:
        raise ValueError(f"{shape} the hours {words[2]!r}")
    first, last = tuple(map(int, found.groups()[:2])), tuple(map(int, found.groups()[2:]))
    if not (0, 0) <= first < last <= (24, 0) or first[1] % 5 or last[1] % 5:
        raise ValueError(f"{shape} {words[2]!r}, which is no rising pair of whole five minutes")
    return Market(words[0], words[1], first, last, tuple(words[3:]))


@lru_cache(maxsize=8)
def _closures(setup: str) -> dict[str, tuple[date, ...]]:
    """The added dates without trading, by market."""
    found: dict[str, list[date]] = {}
    for one in setup.partition("|")[0].replace(",", " ").split():
        name, _, text = one.rpartition(":")
        try:
            found.setdefault(name or MARKETS[US], []).append(date.fromisoformat(text))
        except ValueError:
            raise ValueError(
                f"closures: expected dates such as 2025-01-09 or xetra:2026-06-01, found {one!r}"
            ) from None
    return {name: tuple(dates) for name, dates in found.items()}


# -- calendars


@lru_cache(maxsize=64)
def _calendar(
    name: str, start: tuple[int, int], end: tuple[int, int], closures: tuple[date, ...]
) -> Calendar:
    """The trading days of an exchange; `end` (0, 0) means four hours after each day's close."""
    import exchange_calendars  # builds on pandas: loaded only where sessions are wanted
    import pandas as pd

    schedule, zone = _schedule(exchange_calendars, name)
    schedule = schedule[~schedule.index.isin(pd.DatetimeIndex(closures))]
    dates = schedule.index

    def local(hour: int, minute: int) -> Array:
        wall = dates + pd.Timedelta(hours=hour, minutes=minute)
        # Midnight does not exist, or comes twice, where clocks change at midnight.
        there = wall.tz_localize(zone, nonexistent="shift_forward", ambiguous=[True] * len(wall))
        return _ns(there.tz_convert("UTC"))

    open_ns, close_ns = _ns(schedule["open"]), _ns(schedule["close"])
    usual = np.median(close_ns - open_ns)
    last_ns = close_ns + 4 * HOUR_NS if end == (0, 0) else local(*end)
    is_half = (close_ns - open_ns < HALF_DAY_NS) & (close_ns - open_ns <= usual - SHORTER_NS)
    # A short day's evening is as long as any other's: it ends as much earlier as the market closed.
    ends = last_ns if end == (0, 0) else last_ns - np.where(is_half, usual - close_ns + open_ns, 0)
    return Calendar(
        dates.to_numpy().astype("datetime64[D]").astype(np.int64),
        local(0, 0),
        np.minimum(local(*start), open_ns),
        open_ns,
        close_ns,
        np.maximum(ends, close_ns).astype(np.int64),
        is_half,
    )


def _schedule(exchange_calendars: Any, name: str) -> tuple[Any, Any]:
    """The days of a calendar within FIRST_YEAR to LAST_YEAR, as far as it knows them, and its time zone."""
    first, last = f"{FIRST_YEAR}-01-01", f"{LAST_YEAR}-12-31"
    try:
        whole = exchange_calendars.get_calendar(name)
        lower, upper = type(whole).bound_min(), type(whole).bound_max()
        if lower is not None and str(lower) > first:
            first = str(lower)[:10]
        if upper is not None and str(upper) < last:
            last = str(upper)[:10]
        found = exchange_calendars.get_calendar(name, start=first, end=last)
    except exchange_calendars.errors.InvalidCalendarName:
        raise ValueError(
            f"markets: no calendar {name!r}; expected a code of exchange_calendars such as XETR"
        ) from None
    return found.schedule, found.tz


def _ns(times: Any) -> Array:
    return np.asarray(times.astype("int64"), dtype=np.int64)


@lru_cache(maxsize=8)
def us_calendar(closures: str = "") -> Calendar:
    """The trading days of New York; `closures` names further dates without trading (2027-01-04, ...)."""
    return _calendar("XNYS", (4, 0), (0, 0), _closures(closures).get(MARKETS[US], ()))


@lru_cache(maxsize=8)
def _calendars(setup: str) -> tuple[Calendar, ...]:
    """The calendars of the markets a setup adds, in order of their codes."""
    away = _closures(setup)
    return tuple(
        _calendar(one.calendar, one.start, one.end, away.get(one.name, ()))
        for one in added_markets(setup)
    )


def calendar_of(market: int, setup: str) -> Calendar:
    """The trading days of a market that a setup adds."""
    return _calendars(setup)[market - len(MARKETS)]


def zone_of(market: int, setup: str) -> str:
    """The time zone of a market's clocks."""
    if market in (US, CRYPTO):
        return ("America/New_York", "UTC")[market]
    import exchange_calendars

    name = added_markets(setup)[market - len(MARKETS)].calendar
    return str(exchange_calendars.get_calendar(name).tz)


# -- a time, a symbol


@lru_cache(maxsize=1 << 14)
def _stretch(number: int, setup: str) -> tuple[Moment, ...]:
    ts_ns = number * STRETCH_NS
    day = ts_ns // DAY_NS
    start, end = day * DAY_NS, (day + 1) * DAY_NS
    around = Moment(day, MARKET, start, start, end, end, start, False)
    added = (calendar.at(ts_ns) for calendar in _calendars(setup))
    return us_calendar(setup).at(ts_ns), around, *added


def moments(ts_ns: int, setup: str = "") -> tuple[Moment, ...]:
    """The moment of a time in every market, by market code."""
    return _stretch(int(ts_ns) // STRETCH_NS, setup)


def is_half_day(moment: Moment) -> bool:
    """Whether the market closes early on the moment's day."""
    return moment.is_half


def day_after(day: Array, market: int, setup: str = "") -> Array:
    """The first trading day of a market after each date, in days since 1970."""
    if market == CRYPTO:
        return day + 1
    calendar = us_calendar(setup) if market == US else _calendars(setup)[market - len(MARKETS)]
    return calendar.day_after(day)


@lru_cache(maxsize=1 << 12)
def _midnights(hour: int, setup: str) -> tuple[int, ...]:
    ts_ns = hour * HOUR_NS
    found = []
    for market, moment in enumerate(moments(ts_ns, setup)):
        before = moment.day - date_of(ts_ns, market, setup)  # days until the trading day
        midnight_ns = moment.midnight_ns - before * DAY_NS
        if market == US and before:  # clocks may change in between
            day = date.fromordinal(date(1970, 1, 1).toordinal() + moment.day - before)
            local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("America/New_York"))
            midnight_ns = int(local.timestamp()) * SECOND_NS
        found.append(midnight_ns)
    return tuple(found)


def midnights(ts_ns: int, setup: str = "") -> tuple[int, ...]:
    """When the date of a time began on the clocks of every market, by market code."""
    return _midnights(int(ts_ns) // HOUR_NS, setup)


def date_of(ts_ns: int, market: int, setup: str = "") -> int:
    """The date on a market's clocks, in days since 1970, whether it trades or not."""
    if market == US:
        when = datetime.fromtimestamp(ts_ns // SECOND_NS, ZoneInfo("America/New_York"))
        return when.date().toordinal() - date(1970, 1, 1).toordinal()
    moment = moments(ts_ns, setup)[market]
    return moment.day + (ts_ns - moment.midnight_ns) // DAY_NS


@lru_cache(maxsize=1 << 17)
def market_of(symbol: str, setup: str = "") -> int:
    """The market a symbol belongs to: one a setup adds, else crypto pairs around the clock, all else New York."""
    for place, market in enumerate(added_markets(setup)):
        if any(fnmatchcase(symbol, one) for one in market.patterns):
            return len(MARKETS) + place
    return CRYPTO if any(fnmatchcase(symbol, one) for one in AROUND_THE_CLOCK) else US
