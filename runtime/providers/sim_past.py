"""What is known of the made-up market before it begins: daily bars, reference data, splits.

Everything is a function of (seed, day), so that a market may begin on any day. Daily bars are drawn
by themselves, not by simulating their days: they have the level, the pace and the splits of the
market, not its prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np

from runtime.frames import Array, texts
from runtime.providers import MINUTE_NS, Batch
from runtime.providers.exchange import DAY_NS, TradingDay, trading_days_before

SPLIT_EVERY_DAYS = (400, 1500)  # calendar days between a symbol's splits, one way and back
MEAN_SIZE = 140.0  # shares of a print
PACE = 12.0  # how far a day goes, in minutes' volatilities
FACTS: dict[str, tuple[float, float]] = {
    "shares_outstanding": (5e6, 2e9),
    "short_interest_pct": (0.2, 30.0),
    "short_ratio": (0.2, 9.0),
    "institutional_ownership_pct": (2.0, 95.0),
}


def generator(seed: int, day: int, second: int, stream: int = 0) -> np.random.Generator:
    """Chance of one second of one day; a stream is for what is drawn beside the prints."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, stream, day, second]))


@dataclass(frozen=True)
class Past:
    """The past of a market: its symbols, their price, volatility of a minute and trades of a day."""

    seed: int
    symbols: list[str]
    base: Array
    volatility: Array
    trades: Array
    has_splits: bool

    def level(self, day: date) -> Array:
        """Where the prices of a day lie: a slow wave around the base, in shares as they are that day."""
        phase = generator(self.seed, 0, 2).uniform(0, 2 * np.pi, len(self.symbols))
        wave = np.exp(0.2 * np.sin(phase + day.toordinal() / 40.0))
        return np.asarray(self.base * wave * self.scale(day))

    def scale(self, day: date) -> Array:
        """The product of all split factors up to a day: 2:1, then 1:2, in turn."""
        if not self.has_splits:
            return np.ones(len(self.symbols))
        draw = generator(self.seed, 0, 3)
        every = draw.integers(*SPLIT_EVERY_DAYS, len(self.symbols))
        turn = (day.toordinal() + draw.integers(0, 10_000, len(self.symbols))) // every
        return np.where(turn % 2 == 1, 0.5, 1.0)

    def splits(self, day: date, following: date) -> tuple[Array, Array]:
        """(symbols, factors) of the splits that take effect on the trading day after a day."""
        factor = self.scale(following) / self.scale(day)
        who = np.flatnonzero(factor != 1.0)
        return who, factor[who]

    def days(self, first: TradingDay, count: int) -> Iterator[Batch]:
        """The daily bars of the trading days before the first, oldest first."""
        days = [*trading_days_before(first.date, count), first]
        for day, following in pairwise(days):
            yield Batch("daily", self._bars(day, following.date), self.symbols, self._all)

    @property
    def _all(self) -> Array:
        return np.arange(len(self.symbols))

    def _bars(self, day: TradingDay, following: date) -> dict[str, Array]:
        count = len(self.symbols)
        normal = generator(self.seed, day.date.toordinal(), 2).standard_normal((5, count))
        opened = self.level(day.date) * np.exp(0.02 * normal[0])
        closed = opened * np.exp(self.volatility * PACE * normal[1])
        wide = np.exp(np.abs(normal[2:4]) * self.volatility * PACE / 2)
        high, low = np.maximum(opened, closed) * wide[0], np.minimum(opened, closed) / wide[1]
        factor = np.full(count, np.nan)
        who, factors = self.splits(day.date, following)
        factor[who] = factors
        prices = {"open": opened, "high": high, "low": low, "close": closed}
        return {
            "ts_ns": np.full(count, day.stamp_ns),
            **{name: np.maximum(np.round(values, 2), 0.01) for name, values in prices.items()},
            "volume": np.maximum(np.round(self.trades * MEAN_SIZE * np.exp(0.4 * normal[4])), 1.0),
            "factor": factor,
        }

    def facts(self, known_ns: int) -> Batch:
        """Reference data of every symbol as of a time."""
        count = len(self.symbols)
        draw = generator(self.seed, 0, 4)
        found: dict[str, Array] = {name: draw.uniform(*span, count) for name, span in FACTS.items()}
        found["float"] = found["shares_outstanding"] * draw.uniform(0.2, 0.98, count)
        found["marketcap"] = found["shares_outstanding"] * self.base
        found["news_ns"] = known_ns - draw.integers(1, 4320, count) * float(MINUTE_NS)
        found["earnings_ns"] = (known_ns // DAY_NS + draw.integers(0, 90, count)) * float(DAY_NS)
        names = list(found)
        return facts_batch(
            self.symbols,
            np.tile(self._all, len(names)),
            known_ns,
            [name for name in names for _ in range(count)],
            np.concatenate([found[name] for name in names]),
        )


def facts_batch(
    symbols: list[str], who: Array, known_ns: int, names: list[str], values: Array
) -> Batch:
    """Facts that become known at one time."""
    columns = {
        "ts_ns": np.full(len(who), known_ns, dtype=np.int64),
        "name": texts(names),
        "value": values,
    }
    return Batch("reference", columns, symbols, who)
