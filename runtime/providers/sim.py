"""A made-up market: seeded, the same bytes for the same seed, and continued at any second.

Every second of the market is a function of (seed, day, second) alone, so a run that stops at one
second goes on at the next as if it had not stopped. Prices follow a minute path drawn per day with
noise inside the minute; volume follows a U over the session and a power law over the symbols. News
moves a price at once, some symbols are halted for five minutes, some split over night.

Days are those of the New York exchange, 04:00 until four hours after its close, holidays and half
days as they are. How much of a feed's dirt comes with it - prints that arrive late, twice or with a
wrong price, odd lots - is said by `dirt`; quotes, splits and the year before can be left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

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
from runtime.providers.exchange import NEW_YORK, TradingDay, trading_day, trading_days_from
from runtime.providers.sim_past import Past, facts_batch, generator

FIRST_DAY = date(2026, 1, 5)  # a Monday: where a simulation begins that names no start
OPEN_S = 4 * 3600  # seconds after midnight, New York
CLOSE_S = 20 * 3600
MARKET_OPEN_S = 9 * 3600 + 1800
MARKET_CLOSE_S = 16 * 3600
MINUTES = (CLOSE_S - OPEN_S) // 60
LATE_MAX_S = 3
AMENDED_AFTER_S = LATE_MAX_S + 1  # a correction comes when its print has arrived for certain
HALT_CHANCE = 0.01  # a symbol and day
HALT_MINUTES = 5
NEWS_CHANCE = 0.02
SPLIT_TOLD_S = 1800  # after the close of the day before
SYMBOLS_MAX = 20_000
HISTORY_MAX = 1_000
RATE_PER_SYMBOL = 0.4  # trades a second and symbol over the regular session, by default
QUOTES_PER_TRADE = 0.5
SWAPPED_PLACES = 6.0  # how far a print of a bad feed leaves its place
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SHARES_OF_SESSIONS = (0.02, 0.95, 0.03)  # of the day's trades: before, during, after the market
SWAPS, QUOTES = 1, 2  # streams of chance beside the prints


class Dirt(NamedTuple):
    """Shares of the prints that arrive late, are odd lots, come twice, or are amended afterwards."""

    late: float
    odd_lots: float
    twice: float
    amended: float
    is_swapped: bool = False  # prints of a second leave their order


DIRT = {
    "clean": Dirt(0.0, 0.0, 0.0, 0.0),
    "usual": Dirt(0.01, 0.35, 0.002, 0.0005),
    "bad": Dirt(0.05, 0.5, 0.02, 0.005, is_swapped=True),
}


class Parts(NamedTuple):
    """What there is beside prints."""

    dirt: str = "usual"
    quotes: bool = True
    history: int = 250  # days of daily bars at the start; 0 leaves reference data out as well
    halts: bool = True
    splits: bool = True


PRINTS = Parts(quotes=False, history=0, splits=False)


@dataclass(frozen=True)
class Day:
    """What one day of the market rests on."""

    bounds: TradingDay
    prices: Array  # [minutes + 1, symbols] f4: the path at whole minutes
    halted_from: Array  # [symbols] minute, past the end where there is no halt
    news: list[tuple[int, int]]  # (minute, symbol)

    @property
    def midnight_ns(self) -> int:
        """00:00 in New York."""
        return self.bounds.midnight_ns

    @property
    def close_s(self) -> int:
        """Seconds after midnight at which the market closes."""
        return (self.bounds.close_ns - self.bounds.midnight_ns) // SECOND_NS

    @property
    def end_s(self) -> int:
        """Seconds after midnight at which the day ends."""
        return (self.bounds.end_ns - self.bounds.midnight_ns) // SECOND_NS


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
        parts: Parts = PRINTS,
    ) -> None:
        self.speed = speed
        self.warm_ns = warm_ns
        self.symbols = tickers(symbols)
        self._seed = seed
        self._start_ns = start_ns
        self._days = days
        self._parts = parts
        self._dirt = DIRT[parts.dirt]
        self._rate = rate or symbols * RATE_PER_SYMBOL
        draw = generator(seed, 0, 0)
        rank = np.arange(1, symbols + 1)
        weight = rank**-0.9  # a few names trade most, as they do
        self._weight = draw.permutation(weight / weight.sum())
        self._chances = np.cumsum(self._weight)
        base = np.exp(draw.uniform(np.log(1.5), np.log(400), symbols))
        self._volatility = 0.0008 * (1 + 4 * draw.random(symbols) ** 2)  # of a minute
        trades = self._weight * self._rate * (MARKET_CLOSE_S - MARKET_OPEN_S)
        self._past = Past(seed, self.symbols, base, self._volatility, trades, parts.splits)

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        """The market from its start, or from the second after `after_ns`."""
        first = after_ns or self._start_ns or default_start_ns()
        moment = datetime.fromtimestamp(first / 1e9, NEW_YORK)
        day, second = moment.date(), moment.hour * 3600 + moment.minute * 60 + moment.second
        if self._parts.history and not after_ns:
            begins = trading_days_from(day, 1)[0]
            yield from self._past.days(begins, self._parts.history)
            yield self._past.facts(first)
        done = 0
        while not self._days or done < self._days:
            bounds = trading_day(day)
            if bounds is not None and second < (bounds.end_ns - bounds.midnight_ns) // SECOND_NS:
                yield from self._day(bounds, max(second, OPEN_S), after_ns)
                done += 1
            day, second = day + timedelta(days=1), 0

    def _day(self, bounds: TradingDay, second: int, after_ns: int) -> Iterator[Batch]:
        drawn = self._drawn_day(bounds)
        recent: deque[dict[str, Array]] = deque(maxlen=AMENDED_AFTER_S + 1)
        for earlier in range(second - AMENDED_AFTER_S, second):  # what may still arrive
            recent.append(self._drawn(drawn, earlier) if earlier >= OPEN_S else {})
        for now in range(second, drawn.end_s):
            now_ns = drawn.midnight_ns + now * SECOND_NS
            if now_ns > after_ns:
                yield clock_batch(np.array([now_ns], dtype=np.int64))
            recent.append(self._drawn(drawn, now))
            if now % 60 == 0:
                yield from self._told(drawn, now)
            if self._parts.quotes:
                yield from self._quoted(drawn, now)
            yield from self._arrived(recent, drawn, now)
            yield from self._amended(recent[0])
        closed_ns = drawn.bounds.end_ns
        yield clock_batch(closed_ns + np.arange(END_NS // SECOND_NS + 1) * SECOND_NS)

    # -- a second

    def _drawn(self, drawn: Day, second: int) -> dict[str, Array]:
        """Every trade whose event time lies in a second, in event order, with what becomes of it."""
        ordinal, dirt = drawn.bounds.date.toordinal(), self._dirt
        draw = generator(self._seed, ordinal, second)
        count = int(draw.poisson(self._rate * intensity(second, drawn.close_s)))
        who = np.searchsorted(self._chances, draw.random(count)).clip(0, len(self.symbols) - 1)
        offset = np.sort(draw.integers(0, SECOND_NS, count))
        minute = (second - OPEN_S) // 60
        middle = _middle(drawn, second, who, offset)
        spread = np.maximum(0.01, middle * 0.0004)
        noise = draw.standard_normal(count) * middle * 0.0002
        price = _rounded(middle + noise + spread * (draw.integers(0, 2, count) - 0.5))
        is_odd = draw.random(count) < dirt.odd_lots
        size = np.where(
            is_odd, draw.integers(1, 100, count), 100 * (1 + draw.geometric(0.4, count) - 1)
        ).astype(np.float64)
        delay = np.where(draw.random(count) < dirt.late, draw.integers(1, LATE_MAX_S + 1, count), 0)
        is_twice = draw.random(count) < dirt.twice
        fate = np.where(draw.random(count) < dirt.amended, draw.integers(1, 3, count), 0)
        wrong = _rounded(price * np.exp(0.02 * draw.standard_normal(count)))
        halted = drawn.halted_from[who]
        is_trading = (minute < halted) | (minute >= halted + HALT_MINUTES)
        columns = {
            "ts_ns": drawn.midnight_ns + second * SECOND_NS + offset,
            "price": np.where(fate > 0, wrong, price),
            "size": size,
            "upd": np.where(is_odd, 1, 7).astype(np.uint8),
            "id": ((ordinal * 86_400 + second) << 20) + np.arange(count),
            "who": who,
            "delay": delay,
            "is_twice": is_twice,
            "fate": fate,  # 1 it will be cancelled, 2 it gets its right price
            "right": price,
        }
        return {name: values[is_trading] for name, values in columns.items()}

    def _arrived(self, recent: deque[dict[str, Array]], drawn: Day, second: int) -> Iterator[Batch]:
        """What arrives in a second: its own prints, and the late and repeated ones of those before."""
        parts = []
        for age, made in zip(range(AMENDED_AFTER_S, -1, -1), recent, strict=True):
            if made:
                due = (made["delay"] == age) | (made["is_twice"] & (made["delay"] + 1 == age))
                parts.append({name: made[name][due] for name in _TRADE})
        columns = {name: np.concatenate([part[name] for part in parts]) for name in _TRADE}
        count = len(columns["ts_ns"])
        if count and self._dirt.is_swapped:
            draw = generator(self._seed, drawn.bounds.date.toordinal(), second, SWAPS)
            order = np.argsort(np.arange(count) + draw.uniform(0, SWAPPED_PLACES, count))
            columns = {name: values[order] for name, values in columns.items()}
        if count:
            yield Batch("trades", columns, self.symbols, columns.pop("who"))

    def _amended(self, made: dict[str, Array]) -> Iterator[Batch]:
        """The corrections of the prints of a second that is long enough ago."""
        place = np.flatnonzero(made["fate"]) if made else np.zeros(0, dtype=np.int64)
        if not len(place):
            return
        columns = {name: made[name][place] for name in ("ts_ns", "id", "price", "size", "upd")}
        is_cancel = made["fate"][place] == 1
        columns["new_price"] = np.where(is_cancel, np.nan, made["right"][place])
        columns["new_size"] = np.where(is_cancel, 0.0, columns["size"])
        columns["new_upd"] = columns["upd"]
        yield Batch("corrections", columns, self.symbols, made["who"][place])

    def _quoted(self, drawn: Day, second: int) -> Iterator[Batch]:
        """Best bids and offers of some symbols, the busy ones more often."""
        draw = generator(self._seed, drawn.bounds.date.toordinal(), second, QUOTES)
        count = int(draw.poisson(QUOTES_PER_TRADE * self._rate * intensity(second, drawn.close_s)))
        who = np.searchsorted(self._chances, draw.random(count)).clip(0, len(self.symbols) - 1)
        offset = np.sort(draw.integers(0, SECOND_NS, count))
        minute = (second - OPEN_S) // 60
        halted = drawn.halted_from[who]
        is_open = (minute < halted) | (minute >= halted + HALT_MINUTES)
        who, offset = who[is_open], offset[is_open]
        if not len(who):
            return
        middle = _middle(drawn, second, who, offset)
        tick = np.where(middle < 1, 1e4, 1e2)
        half = np.maximum(0.01, middle * 0.0004) / 2
        bid = np.maximum(np.floor((middle - half) * tick), 1.0) / tick
        sizes = 100.0 * draw.geometric(0.3, (2, len(who)))
        columns = {
            "ts_ns": drawn.midnight_ns + second * SECOND_NS + offset,
            "bid": bid,
            "ask": np.maximum(np.ceil((middle + half) * tick), bid * tick + 1) / tick,
            "bid_size": sizes[0],
            "ask_size": sizes[1],
        }
        yield Batch("quotes", columns, self.symbols, who)

    def _told(self, drawn: Day, second: int) -> Iterator[Batch]:
        """Halts, resumptions, news and the next day's splits, on whole minutes."""
        minute = (second - OPEN_S) // 60
        now_ns = drawn.midnight_ns + second * SECOND_NS
        for code, at in ((1, drawn.halted_from), (0, drawn.halted_from + HALT_MINUTES)):
            who = np.flatnonzero(at == minute)
            if len(who):
                codes = np.full(len(who), code, dtype=np.uint8)
                times = np.full(len(who), now_ns)
                yield Batch("status", {"ts_ns": times, "code": codes}, self.symbols, who)
        news = np.array([who for at, who in drawn.news if at == minute], dtype=np.int64)
        if len(news) and self._parts.history:
            times = np.full(len(news), float(now_ns))
            yield facts_batch(self.symbols, news, now_ns, ["news_ns"] * len(news), times)
        if second == drawn.close_s + SPLIT_TOLD_S:
            following = trading_days_from(drawn.bounds.date + timedelta(days=1), 1)[0]
            who, factor = self._past.splits(drawn.bounds.date, following.date)
            if len(who):
                yield facts_batch(
                    self.symbols, who, following.stamp_ns, ["split"] * len(who), factor
                )

    # -- a day

    def _drawn_day(self, bounds: TradingDay) -> Day:
        draw = generator(self._seed, bounds.date.toordinal(), 1)
        count = len(self.symbols)
        steps = draw.standard_normal((MINUTES + 1, count), dtype=np.float32)
        steps *= self._volatility.astype(np.float32)
        steps[0] = draw.standard_normal(count) * 0.02  # the gap over night
        news = np.flatnonzero(draw.random(count) < NEWS_CHANCE)
        at = draw.integers(1, MINUTES, len(news))
        steps[at, news] += (draw.standard_normal(len(news)) * 0.06).astype(np.float32)
        level = self._past.level(bounds.date).astype(np.float32)
        path = np.exp(np.cumsum(steps, axis=0)) * level
        chance = HALT_CHANCE if self._parts.halts else 0.0
        halted = np.where(
            draw.random(count) < chance, draw.integers(330, 690, count), MINUTES + HALT_MINUTES
        )
        return Day(bounds, path, halted, list(zip(at.tolist(), news.tolist(), strict=True)))


_TRADE = ("ts_ns", "price", "size", "upd", "id", "who")


def _middle(drawn: Day, second: int, who: Array, offset: Array) -> Array:
    """The price between bid and ask at times within a second."""
    minute, part = divmod(second - OPEN_S, 60)
    before, after = drawn.prices[minute, who], drawn.prices[minute + 1, who]
    return np.asarray(before + (after - before) * ((part + offset / SECOND_NS) / 60))


def _rounded(price: Array) -> Array:
    """To cents, or hundredths of a cent under a dollar; at least one of them."""
    tick = np.where(price < 1, 1e4, 1e2)
    return np.asarray(np.maximum(np.round(price * tick) / tick, 1 / tick))


def intensity(second: int, close_s: int = MARKET_CLOSE_S) -> float:
    """Trades per second relative to the regular session's mean: a U, thin before and after."""
    before, during, after = SHARES_OF_SESSIONS
    market_s = MARKET_CLOSE_S - MARKET_OPEN_S
    if second < MARKET_OPEN_S:
        return before / during * market_s / (MARKET_OPEN_S - OPEN_S)
    if second >= close_s:
        return after / during * market_s / (CLOSE_S - MARKET_CLOSE_S)
    place = (second - MARKET_OPEN_S) / (close_s - MARKET_OPEN_S)
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
    """sim://?symbols=500&seed=7&speed=1&warm=10m&rate=200&start=2026-01-05T09:30&days=1
    &dirt=usual&quotes=1&history=250&halts=1&splits=1"""
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
        "dirt": _dirt,
        "quotes": _yes,
        "history": _history,
        "halts": _yes,
        "splits": _yes,
    }
    taken = take_parameters(given, known)
    parts = Parts(**{name: taken.pop(name) for name in Parts._fields if name in taken})
    return SimProvider(
        taken.get("symbols", 500),
        taken.get("seed", 7),
        taken.get("start", 0),
        taken.get("speed", 1.0),
        taken.get("warm", 0),
        taken.get("rate", 0.0),
        taken.get("days", 0),
        parts,
    )


def _dirt(text: str) -> str:
    if text not in DIRT:
        raise ValueError(f"expected one of {', '.join(DIRT)}")
    return text


def _yes(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("expected 0 or 1")
    return text == "1"


def _history(text: str) -> int:
    days = int(text)
    if not 0 <= days <= HISTORY_MAX:
        raise ValueError(f"expected 0 to {HISTORY_MAX} trading days")
    return days


def _duration_ns(text: str) -> int:
    units = {"s": SECOND_NS, "m": MINUTE_NS, "h": 60 * MINUTE_NS}
    if text[-1:] not in units:
        raise ValueError("expected a time such as 90s, 10m or 1h")
    return int(float(text[:-1]) * units[text[-1]])


def _start_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * SECOND_NS
