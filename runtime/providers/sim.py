"""A made-up market: seeded, the same bytes for the same seed, and continued at any second.

Every second of the market is a function of (seed, day, second) alone, so a run that stops at one
second goes on at the next as if it had not stopped. Prices follow a minute path drawn per day with
noise inside the minute; volume follows a U over the session and a power law over the symbols.
Some prints arrive up to three seconds late, some are odd lots that update the volume only, some
symbols are halted for five minutes, and news moves a price at once.

Days are weekdays, 04:00 to 20:00 in New York; holidays trade.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from runtime.frames import Array
from runtime.providers import (
    END_NS,
    MINUTE_NS,
    SECOND_NS,
    Batch,
    ProviderError,
    clock_batch,
    speed_of,
    take_parameters,
)

NEW_YORK = ZoneInfo("America/New_York")
FIRST_DAY = date(2026, 1, 5)  # a Monday: where a simulation begins that names no start
OPEN_S = 4 * 3600  # seconds after midnight, New York
CLOSE_S = 20 * 3600
MARKET_OPEN_S = 9 * 3600 + 1800
MARKET_CLOSE_S = 16 * 3600
MINUTES = (CLOSE_S - OPEN_S) // 60
LATE_SHARE = 0.01
LATE_MAX_S = 3
ODD_LOT_SHARE = 0.35
HALT_CHANCE = 0.01  # a symbol and day
HALT_MINUTES = 5
NEWS_CHANCE = 0.02
SYMBOLS_MAX = 20_000
RATE_PER_SYMBOL = 0.4  # trades a second and symbol over the regular session, by default
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SHARES_OF_SESSIONS = (0.02, 0.95, 0.03)  # of the day's trades: before, during, after the market


@dataclass(frozen=True)
class Day:
    """What one day of the market rests on."""

    midnight_ns: int
    prices: Array  # [minutes + 1, symbols] f4: the path at whole minutes
    halted_from: Array  # [symbols] minute, MINUTES where there is no halt


class SimProvider:
    """The simulator as a provider."""

    name = "sim"

    def __init__(
        self,
        symbols: int = 500,
        seed: int = 7,
        start_ns: int = 0,
        speed: float = 1.0,
        warm_ns: int = 0,
        rate: float = 0.0,
        days: int = 0,
    ) -> None:
        self.speed = speed
        self.warm_ns = warm_ns
        self.symbols = tickers(symbols)
        self._seed = seed
        self._start_ns = start_ns
        self._days = days
        self._rate = rate or symbols * RATE_PER_SYMBOL
        draw = _generator(seed, 0, 0)
        rank = np.arange(1, symbols + 1)
        weight = rank**-0.9  # a few names trade most, as they do
        self._weight = draw.permutation(weight / weight.sum())
        self._chances = np.cumsum(self._weight)
        self._base = np.exp(draw.uniform(np.log(1.5), np.log(400), symbols))
        self._volatility = 0.0008 * (1 + 4 * draw.random(symbols) ** 2)  # of a minute

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        """The market from its start, or from the second after `after_ns`."""
        first = after_ns or self._start_ns or default_start_ns()
        moment = datetime.fromtimestamp(first / 1e9, NEW_YORK)
        day, second = moment.date(), moment.hour * 3600 + moment.minute * 60 + moment.second
        done = 0
        while not self._days or done < self._days:
            if day.weekday() < 5 and second < CLOSE_S:
                yield from self._day(day, max(second, OPEN_S), after_ns)
                done += 1
            day, second = day + timedelta(days=1), 0

    def _day(self, day: date, second: int, after_ns: int) -> Iterator[Batch]:
        drawn = self._drawn_day(day)
        recent: deque[dict[str, Array]] = deque(maxlen=LATE_MAX_S + 1)
        for earlier in range(second - LATE_MAX_S, second):  # what may still arrive late
            recent.append(self._drawn(day, drawn, earlier) if earlier >= OPEN_S else {})
        for now in range(second, CLOSE_S):
            now_ns = drawn.midnight_ns + now * SECOND_NS
            if now_ns > after_ns:
                yield clock_batch(np.array([now_ns], dtype=np.int64))
            recent.append(self._drawn(day, drawn, now))
            yield from self._status(drawn, now)
            yield from self._arrived(recent)
        closed_ns = drawn.midnight_ns + CLOSE_S * SECOND_NS
        yield clock_batch(closed_ns + np.arange(END_NS // SECOND_NS + 1) * SECOND_NS)

    # -- a second

    def _drawn(self, day: date, drawn: Day, second: int) -> dict[str, Array]:
        """Every trade whose event time lies in a second, in event order, with its delay in seconds."""
        draw = _generator(self._seed, day.toordinal(), second)
        count = int(draw.poisson(self._rate * intensity(second)))
        who = np.searchsorted(self._chances, draw.random(count)).clip(0, len(self.symbols) - 1)
        offset = np.sort(draw.integers(0, SECOND_NS, count))
        minute, part = divmod(second - OPEN_S, 60)
        before, after = drawn.prices[minute, who], drawn.prices[minute + 1, who]
        middle = before + (after - before) * ((part + offset / SECOND_NS) / 60)
        spread = np.maximum(0.01, middle * 0.0004)
        noise = draw.standard_normal(count) * middle * 0.0002
        raw = middle + noise + spread * (draw.integers(0, 2, count) - 0.5)
        tick = np.where(raw < 1, 1e4, 1e2)
        is_odd = draw.random(count) < ODD_LOT_SHARE
        size = np.where(
            is_odd, draw.integers(1, 100, count), 100 * (1 + draw.geometric(0.4, count) - 1)
        ).astype(np.float64)
        delay = np.where(
            draw.random(count) < LATE_SHARE, draw.integers(1, LATE_MAX_S + 1, count), 0
        )
        start = drawn.midnight_ns + second * SECOND_NS
        halted = drawn.halted_from[who]
        is_trading = (minute < halted) | (minute >= halted + HALT_MINUTES)
        columns = {
            "ts_ns": start + offset,
            "price": np.maximum(np.round(raw * tick) / tick, 1 / tick),
            "size": size,
            "upd": np.where(is_odd, 1, 7).astype(np.uint8),
            "who": who,
            "delay": delay,
        }
        return {name: values[is_trading] for name, values in columns.items()}

    def _arrived(self, recent: deque[dict[str, Array]]) -> Iterator[Batch]:
        """What arrives in a second: its own prints, and the late ones of the seconds before."""
        parts = []
        for age, made in zip(range(LATE_MAX_S, -1, -1), recent, strict=True):
            if made:
                due = made["delay"] == age
                parts.append({name: values[due] for name, values in made.items()})
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if len(columns["ts_ns"]):
            who = columns.pop("who")
            columns.pop("delay")
            yield Batch("trades", columns, self.symbols, who)

    def _status(self, drawn: Day, second: int) -> Iterator[Batch]:
        minute, part = divmod(second - OPEN_S, 60)
        if part:
            return
        for code, at in ((1, drawn.halted_from), (0, drawn.halted_from + HALT_MINUTES)):
            who = np.flatnonzero(at == minute)
            if len(who):
                times = np.full(len(who), drawn.midnight_ns + second * SECOND_NS)
                codes = np.full(len(who), code, dtype=np.uint8)
                yield Batch("status", {"ts_ns": times, "code": codes}, self.symbols, who)

    # -- a day

    def _drawn_day(self, day: date) -> Day:
        draw = _generator(self._seed, day.toordinal(), 1)
        count = len(self.symbols)
        steps = draw.standard_normal((MINUTES + 1, count), dtype=np.float32)
        steps *= self._volatility.astype(np.float32)
        steps[0] = draw.standard_normal(count) * 0.02  # the gap over night
        news = np.flatnonzero(draw.random(count) < NEWS_CHANCE)
        at = draw.integers(1, MINUTES, len(news))
        steps[at, news] += (draw.standard_normal(len(news)) * 0.06).astype(np.float32)
        path = np.exp(np.cumsum(steps, axis=0)) * (self._base * self._drift(day)).astype(np.float32)
        halted = np.where(
            draw.random(count) < HALT_CHANCE, draw.integers(330, 690, count), MINUTES + HALT_MINUTES
        )
        midnight = datetime(day.year, day.month, day.day, tzinfo=NEW_YORK)
        return Day(int(midnight.timestamp()) * SECOND_NS, path, halted)

    def _drift(self, day: date) -> Array:
        """Where a day begins relative to the first: a slow wave, so that any day is had at once."""
        phase = _generator(self._seed, 0, 2).uniform(0, 2 * np.pi, len(self.symbols))
        return np.exp(0.2 * np.sin(phase + day.toordinal() / 40.0))


def _generator(seed: int, day: int, second: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, day, second]))


def intensity(second: int) -> float:
    """Trades per second relative to the regular session's mean: a U, thin before and after."""
    before, during, after = SHARES_OF_SESSIONS
    market_s = MARKET_CLOSE_S - MARKET_OPEN_S
    if second < MARKET_OPEN_S:
        return before / during * market_s / (MARKET_OPEN_S - OPEN_S)
    if second >= MARKET_CLOSE_S:
        return after / during * market_s / (CLOSE_S - MARKET_CLOSE_S)
    place = (second - MARKET_OPEN_S) / market_s
    return 0.6 + 4.8 * (place - 0.5) ** 2  # mean 1 over the session, 1.8 at both ends


def tickers(count: int) -> list[str]:
    """Distinct names of one to five letters, always the same."""
    if not 1 <= count <= SYMBOLS_MAX:
        raise ProviderError(f"symbols: expected 1 to {SYMBOLS_MAX}, found {count}")
    draw = np.random.Generator(np.random.Philox(key=1))
    names: dict[str, None] = {}
    while len(names) < count:
        length = int(draw.choice([2, 3, 4, 5], p=[0.05, 0.35, 0.5, 0.1]))
        names["".join(LETTERS[k] for k in draw.integers(0, 26, length))] = None
    return list(names)


def default_start_ns() -> int:
    """09:30 in New York on the first day."""
    opened = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, 9, 30, tzinfo=NEW_YORK)
    return int(opened.timestamp()) * SECOND_NS


def open_sim(address: str, given: dict[str, str]) -> SimProvider:
    """sim://?symbols=500&seed=7&speed=1&warm=10m&rate=200&start=2026-01-05T09:30&days=1"""
    if address:
        raise ProviderError(f"sim://{address}: expected parameters only, as in sim://?symbols=500")
    known: dict[str, Callable[[str], Any]] = {
        "symbols": int,
        "seed": int,
        "speed": speed_of,
        "warm": _duration_ns,
        "rate": float,
        "start": _start_ns,
        "days": int,
    }
    taken = take_parameters(given, known)
    return SimProvider(
        taken.get("symbols", 500),
        taken.get("seed", 7),
        taken.get("start", 0),
        taken.get("speed", 1.0),
        taken.get("warm", 0),
        taken.get("rate", 0.0),
        taken.get("days", 0),
    )


def _duration_ns(text: str) -> int:
    units = {"s": SECOND_NS, "m": MINUTE_NS, "h": 60 * MINUTE_NS}
    if text[-1:] not in units:
        raise ValueError("expected a time such as 90s, 10m or 1h")
    return int(float(text[:-1]) * units[text[-1]])


def _start_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * SECOND_NS
