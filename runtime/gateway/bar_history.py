"""Bars of a symbol and a timeframe: folded by the database, the newest minutes from the stream.

A candle of less than a day begins at a multiple of its length after midnight on the market's clocks, all
sessions included, as those of the metrics do. A day is the official bar where it is known, else what was
traded while the market was open. Prices are as they traded: no splits are taken back.

The database folds everything before the candle that holds the oldest minute of the stream's newest; from
there on minutes are read one by one, so that those of the stream can be put between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from runtime.gateway.queries import NS_MOST, moment, nanoseconds
from runtime.gateway.recent_bars import MINUTE_NS, Minute
from runtime.gateway.trading_days import Day, Days
from runtime.shapes import rfc3339
from runtime.store import Store

Row = dict[str, Any]

MINUTES = {name: int(name[:-1]) for name in ("1m", "2m", "5m", "10m", "15m", "30m")}
MINUTES |= {"1h": 60, "4h": 240, "1d": 1440}
DAY_NS = 1440 * MINUTE_NS
NIGHTS = 3  # a market is open for a third of a day or more
AWAY_NS = 5 * DAY_NS  # a long weekend

_RANGE = "FROM bars_1m WHERE symbol = $1 AND timestamp >= $2 AND timestamp < $3"
_FOLD = """
    (array_agg(open ORDER BY timestamp))[1] AS open, max(high) AS high, min(low) AS low,
    (array_agg(close ORDER BY timestamp DESC))[1] AS close, sum(volume) AS volume,
    sum(vwap * volume) / nullif(sum(volume) FILTER (WHERE vwap IS NOT NULL), 0) AS vwap,
    sum(count)::bigint AS count
"""
SINGLE = f"SELECT timestamp AS begins, open, high, low, close, volume, vwap, count, revision {_RANGE} ORDER BY timestamp"
CANDLES = f"""SELECT date_bin($5, timestamp, date_trunc('day', timestamp, $6)) AS begins, {_FOLD} {_RANGE}
    GROUP BY begins ORDER BY begins"""
DAYS = f"""SELECT width_bucket(timestamp, $4::timestamptz[]) AS place, {_FOLD} {_RANGE} GROUP BY place"""
OFFICIAL = """SELECT day, open, high, low, close, volume FROM daily_bars
    WHERE symbol = $1 AND day >= $2 AND day <= $3"""


@dataclass(frozen=True)
class Wanted:
    """What is asked for; exactly one end may be open.

    from_ns   None = the newest `limit` bars before `to_ns`; else the oldest from there on
    """

    symbol: str
    timeframe: str
    from_ns: int | None
    to_ns: int
    limit: int

    @property
    def minutes(self) -> int:
        """The length of a bar."""
        return MINUTES[self.timeframe]

    @property
    def bounds(self) -> tuple[int, int]:
        """The times that are looked at: no more than what `limit` bars of an active symbol take."""
        span = self.limit * self.minutes * MINUTE_NS * (2 if self.minutes == 1440 else NIGHTS)
        if self.from_ns is None:
            return max(self.to_ns - span - AWAY_NS, -NS_MOST), self.to_ns
        return self.from_ns, max(self.from_ns, min(self.to_ns, self.from_ns + span + AWAY_NS))


@dataclass(frozen=True)
class Told:
    """Bars, oldest first, and from where to ask for more; None = there are no more in the range."""

    bars: list[Row]
    next_ns: int | None


async def bars_of(store: Store, wanted: Wanted, days: Days | None, newest: list[Minute]) -> Told:
    """The bars of the database and of the newest minutes. Raises Outage.

    days   of the symbol's market within the bounds; None will do for single minutes
    """
    begin, end = wanted.bounds
    newest = [one for one in newest if begin <= one.ts_ns < end]
    if wanted.minutes == 1440 and days is not None:
        rows = await _daily(store, wanted, days.days, newest)
    else:
        rows = await _intraday(store, wanted, days.zone if days else "UTC", newest)
    return _page(rows, wanted, end)


def _page(rows: list[Row], wanted: Wanted, end: int) -> Told:
    limit = wanted.limit
    if wanted.from_ns is None:
        return Told(rows[-limit:], None)
    if len(rows) > limit:
        return Told(rows[:limit], int(rows[limit]["ts_ns"]))
    return Told(rows, end if end < wanted.to_ns else None)


# -- candles of less than a day


async def _intraday(store: Store, wanted: Wanted, zone: str, newest: list[Minute]) -> list[Row]:
    begin, end = wanted.bounds
    start_of = _starts(wanted.minutes, zone)
    cut = max(begin, start_of(newest[0].ts_ns)) if newest else end
    limit = wanted.limit + 1
    span = (wanted.symbol, moment(begin), moment(cut), limit)
    order = " DESC LIMIT $4" if wanted.from_ns is None else " LIMIT $4"
    if begin >= cut:
        found = []
    elif wanted.minutes == 1:
        found = await store.fetch(SINGLE + order, *span)
    else:
        step = timedelta(minutes=wanted.minutes)
        found = await store.fetch(CANDLES + order, *span, step, zone)
    rows = [_row(one) for one in (found if wanted.from_ns is not None else reversed(found))]
    if wanted.from_ns is not None and len(rows) >= limit:
        return rows
    minutes = await _minutes(store, wanted.symbol, cut, end, newest)
    return rows + [_folded(ts_ns, group) for ts_ns, group in _grouped(minutes, start_of)]


def _starts(minutes: int, zone: str) -> Callable[[int], int]:
    """Time -> when the candle that holds it began."""
    step, clocks = minutes * MINUTE_NS, ZoneInfo(zone)

    def start_of(ts_ns: int) -> int:
        local = moment(ts_ns).astimezone(clocks)
        midnight = nanoseconds(datetime(local.year, local.month, local.day, tzinfo=clocks))
        return ts_ns - (ts_ns - midnight) % step

    return start_of


async def _minutes(
    store: Store, symbol: str, begin: int, end: int, newest: Sequence[Minute]
) -> list[Minute]:
    """Single minutes of the database and of the stream, the newest revision of each."""
    if begin >= end or not newest:
        return []
    found = {}
    for one in await store.fetch(SINGLE, symbol, moment(begin), moment(end)):
        minute = _minute(one)
        found[minute.ts_ns] = minute
    for minute in newest:
        before = found.get(minute.ts_ns)
        if minute.ts_ns >= begin and (before is None or minute.revision >= before.revision):
            found[minute.ts_ns] = minute
    return [found[ts_ns] for ts_ns in sorted(found)]


def _minute(row: Row) -> Minute:
    known = {name: value for name, value in row.items() if name not in ("begins", "vwap")}
    vwap = math.nan if row["vwap"] is None else row["vwap"]
    return Minute(ts_ns=nanoseconds(row["begins"]), vwap=vwap, **known)


def _grouped(
    minutes: Iterable[Minute], start_of: Callable[[int], int]
) -> Iterable[tuple[int, list[Minute]]]:
    for ts_ns, group in groupby(minutes, key=lambda one: start_of(one.ts_ns)):
        yield ts_ns, list(group)


# -- days


async def _daily(store: Store, wanted: Wanted, days: list[Day], newest: list[Minute]) -> list[Row]:
    begin, end = wanted.bounds
    days = [one for one in days if begin <= one.open_ns < end]
    if not days:
        return []
    official = await _official(store, wanted.symbol, days)
    others = [one for one in days if one.day not in official]
    found = dict(official)
    is_new = {
        one.day for one in others if any(one.open_ns <= m.ts_ns < one.close_ns for m in newest)
    }
    found |= await _traded(store, wanted.symbol, [one for one in others if one.day not in is_new])
    for one in (one for one in others if one.day in is_new):
        inside = [m for m in newest if one.open_ns <= m.ts_ns < one.close_ns]
        minutes = await _minutes(store, wanted.symbol, one.open_ns, one.close_ns, inside)
        found[one.day] = _folded(one.open_ns, minutes)
    rows = [
        {**found[one.day], "ts_ns": one.open_ns, "day": one.day} for one in days if one.day in found
    ]
    return rows[-wanted.limit :] if wanted.from_ns is None else rows[: wanted.limit + 1]


async def _official(store: Store, symbol: str, days: list[Day]) -> dict[str, Row]:
    first, last = (date.fromisoformat(one.day) for one in (days[0], days[-1]))
    rows = await store.fetch(OFFICIAL, symbol, first, last)
    return {str(row.pop("day")): {**row, "vwap": None, "count": None} for row in rows}


async def _traded(store: Store, symbol: str, days: list[Day]) -> dict[str, Row]:
    """What was traded while the market was open, by day."""
    if not days:
        return {}
    edges = [moment(edge) for one in days for edge in (one.open_ns, one.close_ns)]
    rows = await store.fetch(DAYS, symbol, edges[0], edges[-1], sorted(set(edges)))
    if len(set(edges)) == len(edges):
        return {days[row["place"] // 2].day: row for row in rows if row["place"] % 2}
    return {days[row["place"] - 1].day: row for row in rows}  # around the clock: no gap between


# -- rows


def _row(found: Row) -> Row:
    found["ts_ns"] = nanoseconds(found.pop("begins"))
    return found


def _folded(ts_ns: int, minutes: list[Minute]) -> Row:
    """One bar of minutes in order; sums are left folds."""
    known = [one for one in minutes if not math.isnan(one.vwap)]
    volume = sum(one.volume for one in known)
    weighted = sum(one.vwap * one.volume for one in known)
    return {
        "ts_ns": ts_ns,
        "open": minutes[0].open,
        "high": max(one.high for one in minutes),
        "low": min(one.low for one in minutes),
        "close": minutes[-1].close,
        "volume": sum(one.volume for one in minutes),
        "vwap": weighted / volume if volume else None,
        "count": sum(one.count for one in minutes),
        "is_running": not minutes[-1].is_final,
    }


def shape(row: Row) -> Row:
    """A bar as clients know it."""
    told = {
        "timestamp": rfc3339(row["ts_ns"]),
        "open": row["open"],
        "high": row["high"],
        "low": row["low"],
        "close": row["close"],
        "volume": row["volume"],
        "vwap": row["vwap"],
        "trades": row["count"],
    }
    if "day" in row:
        told["day"] = row["day"]
    if row.get("is_running"):
        told["is_running"] = True
    return told
