"""The labelled market before any dirt: prints, quotes, halts, splits, daily history, reference data.

Everything is a function of the seed. A symbol prints twice in a second, at two seconds of every
minute of the busy hours and once in twenty minutes of the quiet ones, so that hours of market are
few frames; prints of a symbol are never closer than 250 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from runtime.frames import Array, texts
from runtime.providers.exchange import TradingDay, trading_days_before, trading_days_from
from runtime.providers.labelled.script import (
    DAYS,
    DENSE,
    FIRST_DATE,
    PROLOGUE_DAYS,
    SPARSE_MINUTES,
    SPLIT_IN_HISTORY,
    STORIES,
    Event,
    Gap,
    Halt,
    Move,
    Split,
)

Columns = dict[str, Array]

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
SECONDS = (17, 53)  # of a minute, in which symbols print; the later ones may be late into the next
HISTORY_DAYS = 250
# How a symbol trembles around its level, per print: (how much of the distance stays, new distance).
CALM = (0.99, 0.0005)
ROUGH = (0.97, 0.005)  # over the prologue
PACE_OF_DAYS = (0.97, 0.011)
FACTS = {
    "float": (2e6, 9e7),
    "shares_outstanding": (1e7, 2e8),
    "short_interest_pct": (0.5, 30.0),
    "short_ratio": (0.3, 9.0),
    "institutional_ownership_pct": (5.0, 95.0),
}


@dataclass(frozen=True)
class Market:
    """Columns of every kind, each in order of time; `who` is the place of the symbol in `symbols`."""

    symbols: list[str]
    days: list[TradingDay]
    trades: Columns  # ts_ns, price, size, upd, id, who
    quotes: Columns
    status: Columns
    daily: Columns
    reference: Columns
    splits: list[tuple[int, int, float]]  # (symbol, place of the day, factor)


def make_market(seed: int) -> Market:
    """The market of a seed."""
    days = trading_days_from(FIRST_DATE, DAYS)
    symbols = list(STORIES)
    parts, history, base = [], [], []
    for who, (price, story) in enumerate(STORIES.values()):
        draw = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 1, who]))
        past, away = _history(draw, price, who)
        history.append(past)
        parts.append(_prints(draw, days, price, away, story, who))
        base.append(price)
    trades = _ordered(parts)
    trades["upd"] = np.full(len(trades["ts_ns"]), 7, dtype=np.uint8)
    trades["id"] = np.arange(1, len(trades["ts_ns"]) + 1)
    splits = [
        (who, one.day, one.factor)
        for who, (_, story) in enumerate(STORIES.values())
        for one in story
        if isinstance(one, Split)
    ]
    draw = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 2, 0]))
    return Market(
        symbols,
        days,
        trades,
        _quotes(trades),
        _status(days),
        _ordered(history),
        _reference(draw, days, splits),
        splits,
    )


def _ordered(parts: list[Columns]) -> Columns:
    """Parts of several symbols as one, by time, then symbol."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((whole["who"], whole["ts_ns"]))
    return {name: values[order] for name, values in whole.items()}


def at_ns(day: TradingDay, at: str) -> int:
    """The time of a clock text such as 10:05 on a day."""
    hour, minute = at.split(":")
    return day.midnight_ns + (int(hour) * 60 + int(minute)) * MINUTE_NS


# -- prints


def _minutes(place: int, day: TradingDay) -> list[tuple[int, tuple[int, ...]]]:
    """The minutes after midnight at which symbols print, with the seconds of each."""
    end = (day.end_ns - day.midnight_ns) // MINUTE_NS
    found: list[tuple[int, tuple[int, ...]]] = []
    for minute in range(4 * 60, end):
        if any(start <= minute < stop for start, stop in DENSE.get(place, ())):
            found.append((minute, SECONDS))
        elif minute % SPARSE_MINUTES == 5:
            found.append((minute, SECONDS[:1]))
    return found


def _times(draw: np.random.Generator, place: int, day: TradingDay) -> list[int]:
    times = []
    for minute, seconds in _minutes(place, day):
        for second in seconds:
            whole = day.midnight_ns + minute * MINUTE_NS + second * SECOND_NS
            first = int(draw.integers(0, 400)) * 1_000_000
            times += [whole + first, whole + first + int(draw.integers(300, 590)) * 1_000_000]
    return times


def _prints(
    draw: np.random.Generator,
    days: list[TradingDay],
    base: float,
    away: float,
    story: tuple[Event, ...],
    who: int,
) -> Columns:
    """The prints of one symbol; `away` is where its price stands against the level, as a logarithm."""
    times, prices, sizes = [], [], []
    for place, day in enumerate(days):
        scale = math.prod(
            one.factor for one in story if isinstance(one, Split) and one.day <= place
        )
        stays, moves = ROUGH if place < PROLOGUE_DAYS else CALM
        for ts_ns in _times(draw, place, day):
            away = away * stays + moves * float(draw.standard_normal())
            size = 100 * int(draw.geometric(0.35))
            if _is_halted(story, days, ts_ns):
                continue
            level = base * scale * math.exp(_level(story, days, place, ts_ns) + away)
            times.append(ts_ns)
            prices.append(round(level, 2))
            sizes.append(float(round(size * _sizes(story, days, ts_ns))))
    count = len(times)
    return {
        "ts_ns": np.array(times, dtype=np.int64),
        "price": np.array(prices),
        "size": np.array(sizes),
        "who": np.full(count, who, dtype=np.int64),
    }


def _level(story: tuple[Event, ...], days: list[TradingDay], place: int, ts_ns: int) -> float:
    """The sum of the moves and gaps until a time, as a logarithm."""
    level = 0.0
    for one in story:
        if isinstance(one, Gap) and one.day <= place:
            level += math.log1p(one.percent / 100)
        elif isinstance(one, Move):
            gone = (ts_ns - at_ns(days[one.day], one.at)) / (one.minutes * MINUTE_NS)
            level += math.log1p(one.percent / 100) * min(max(gone, 0.0), 1.0)
    return level


def _sizes(story: tuple[Event, ...], days: list[TradingDay], ts_ns: int) -> float:
    for one in story:
        if isinstance(one, Move):
            begun = at_ns(days[one.day], one.at)
            if begun <= ts_ns < begun + one.minutes * MINUTE_NS:
                return one.sizes
    return 1.0


def _is_halted(story: tuple[Event, ...], days: list[TradingDay], ts_ns: int) -> bool:
    for one in story:
        if isinstance(one, Halt):
            begun = at_ns(days[one.day], one.at)
            if begun <= ts_ns < begun + one.minutes * MINUTE_NS:
                return True
    return False


def _status(days: list[TradingDay]) -> Columns:
    found = []
    for who, (_, story) in enumerate(STORIES.values()):
        for one in story:
            if isinstance(one, Halt):
                begun = at_ns(days[one.day], one.at)
                found += [(begun, who, 1), (begun + one.minutes * MINUTE_NS, who, 0)]
    found.sort()
    return {
        "ts_ns": np.array([one[0] for one in found], dtype=np.int64),
        "code": np.array([one[2] for one in found], dtype=np.uint8),
        "who": np.array([one[1] for one in found], dtype=np.int64),
    }


def _quotes(trades: Columns) -> Columns:
    """A quote 50 ms before every print, a cent or two around it."""
    wide = 0.01 * (1 + trades["id"] % 2)
    is_bought = trades["id"] % 3 == 0
    bid = np.round(np.where(is_bought, trades["price"] - wide, trades["price"]), 2)
    return {
        "ts_ns": trades["ts_ns"] - 50_000_000,
        "bid": bid,
        "ask": np.round(bid + wide, 2),
        "bid_size": 100.0 * (1 + trades["id"] % 7),
        "ask_size": 100.0 * (1 + trades["id"] % 5),
        "who": trades["who"],
    }


# -- what is known before


def _history(draw: np.random.Generator, base: float, who: int) -> tuple[Columns, float]:
    """Daily bars before the first day, and where the price stands at their end."""
    stays, moves = PACE_OF_DAYS
    symbol, before, factor = SPLIT_IN_HISTORY
    days = trading_days_before(FIRST_DATE, HISTORY_DAYS)
    rows, away = [], 0.0
    for place, day in enumerate(days):
        is_before = list(STORIES)[who] == symbol and place < HISTORY_DAYS - before
        is_last = list(STORIES)[who] == symbol and place == HISTORY_DAYS - before - 1
        scale = base / factor if is_before else base
        opened = scale * math.exp(away + 0.004 * float(draw.standard_normal()))
        away = away * stays + moves * float(draw.standard_normal())
        closed = scale * math.exp(away)
        up, down = (abs(0.005 * float(draw.standard_normal())) for _ in range(2))
        high, low = max(opened, closed) * (1 + up), min(opened, closed) * (1 - down)
        volume = float(draw.integers(40_000, 160_000))
        prices = [round(one, 2) for one in (opened, high, low, closed)]
        rows.append((day.stamp_ns, *prices, volume, factor if is_last else math.nan))
    names = ("open", "high", "low", "close", "volume", "factor")
    columns = {name: np.array([row[k + 1] for row in rows]) for k, name in enumerate(names)}
    columns["ts_ns"] = np.array([row[0] for row in rows], dtype=np.int64)
    columns["who"] = np.full(len(rows), who, dtype=np.int64)
    return columns, away


def _reference(
    draw: np.random.Generator, days: list[TradingDay], splits: list[tuple[int, int, float]]
) -> Columns:
    """Facts known before the first day, and splits, dated with their day and told as it begins in UTC."""
    rows: list[tuple[int, int, str, float]] = []
    known = days[0].start_ns - 60 * MINUTE_NS
    for who, (price, _) in enumerate(STORIES.values()):
        facts = {name: round(float(draw.uniform(*span)), 2) for name, span in FACTS.items()}
        facts["marketcap"] = round(price * facts["shares_outstanding"], 2)
        facts["news_ns"] = float(known - int(draw.integers(1, 600)) * MINUTE_NS)
        facts["earnings_ns"] = float(days[int(draw.integers(0, DAYS))].stamp_ns)
        rows += [(known, who, name, value) for name, value in facts.items()]
    for who, place, factor in splits:
        rows.append((days[place].stamp_ns, who, "split", factor))
    rows.sort(key=lambda row: row[:2])
    return {
        "ts_ns": np.array([row[0] for row in rows], dtype=np.int64),
        "name": texts([row[2] for row in rows]),
        "value": np.array([row[3] for row in rows]),
        "who": np.array([row[1] for row in rows], dtype=np.int64),
    }
