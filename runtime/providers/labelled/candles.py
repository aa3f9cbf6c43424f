"""Candles of one symbol as they truly were: plain lists, whole numbers, one print after the other.

Prices are whole hundredths of a cent, so that a comparison with a level or a share of it is exact;
only moving averages are floating point.
"""

from __future__ import annotations

from dataclasses import dataclass, field

UNITS = 10_000  # of a price: a split in halves keeps whole numbers
RECENT = 20  # candles that make a recent high or low


def whole(price: float) -> int:
    """A price in units."""
    return round(price * UNITS)


@dataclass
class Candle:
    """One candle; `end_ns` is when it is over."""

    end_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: float

    @property
    def body(self) -> int:
        """Close less open."""
        return self.close - self.open

    def add(self, price: int, size: float) -> None:
        """One more print."""
        self.high, self.low = max(self.high, price), min(self.low, price)
        self.close = price
        self.volume += size

    def scaled(self, factor: float) -> Candle:
        """The candle as it is told after a split."""
        prices = (self.open, self.high, self.low, self.close)
        opened, high, low, close = (round(one * factor) for one in prices)
        return Candle(self.end_ns, opened, high, low, close, self.volume / factor)


@dataclass
class Mean:
    """An exponential mean of n closes: the first is their plain mean, then 2 / (n + 1) of the difference."""

    n: int
    value: float | None = None
    _seed: list[float] = field(default_factory=list)

    def add(self, close: float) -> None:
        """One more close."""
        if self.value is not None:
            self.value += 2.0 / (self.n + 1) * (close - self.value)
            return
        self._seed.append(close)
        if len(self._seed) == self.n:
            self.value = sum(self._seed) / self.n

    def scale(self, factor: float) -> None:
        """A split."""
        self.value = None if self.value is None else self.value * factor
        self._seed = [close * factor for close in self._seed]


@dataclass
class Candles:
    """The closed candles of a timeframe, the running one, and the means of their closes."""

    means: dict[int, Mean]
    closed: list[Candle] = field(default_factory=list)
    running: Candle | None = None

    def close(self, now_ns: int) -> bool:
        """Whether the running candle was over by now, and is closed."""
        if self.running is None or self.running.end_ns > now_ns:
            return False
        self.put(self.running)
        self.running = None
        return True

    def put(self, candle: Candle) -> None:
        """One more closed candle."""
        self.closed.append(candle)
        for mean in self.means.values():
            mean.add(candle.close / UNITS)

    def add(self, end_ns: int, price: int, size: float) -> None:
        """A print of the candle that ends at `end_ns`."""
        if self.running is None:
            self.running = Candle(end_ns, price, price, price, price, size)
        else:
            self.running.add(price, size)

    def scale(self, factor: float) -> None:
        """A split."""
        self.closed = [one.scaled(factor) for one in self.closed]
        for mean in self.means.values():
            mean.scale(factor)

    def recent_high(self) -> int | None:
        """The highest price of the last 20 closed candles; None while there are fewer."""
        last = self.closed[-RECENT:]
        return max(one.high for one in last) if len(last) == RECENT else None

    def recent_low(self) -> int | None:
        """The lowest price of the last 20 closed candles; None while there are fewer."""
        last = self.closed[-RECENT:]
        return min(one.low for one in last) if len(last) == RECENT else None


def shapes(name: str, closed: list[Candle]) -> set[str]:
    """The alert metrics of the newest candle, and of the pair it makes with the one before, that hold."""
    if not closed:
        return set()
    now = closed[-1]
    held = set()
    lower, upper = min(now.open, now.close) - now.low, now.high - max(now.open, now.close)
    if now.body and lower > 2 * abs(now.body):
        held.add(f"lower_shadow_ratio_{name}")
    if now.body and upper > 2 * abs(now.body):
        held.add(f"upper_shadow_ratio_{name}")
    if now.body > 0:
        held.add(f"is_bullish_candle_{name}")
    if now.body < 0:
        held.add(f"is_bearish_candle_{name}")
    return held | pair_shapes(name, closed[-2], now) if len(closed) > 1 else held


def pair_shapes(name: str, before: Candle, now: Candle) -> set[str]:
    """Engulfing, harami, inside, new high and low."""
    held = set()
    if now.high > before.high:
        held.add(f"new_candle_high_{name}")
    if now.low < before.low:
        held.add(f"new_candle_low_{name}")
    if now.high < before.high and now.low > before.low:
        held.add(f"inside_bar_{name}")
    is_larger, is_smaller = abs(now.body) > abs(before.body), abs(now.body) < abs(before.body)
    if before.body < 0 < now.body:
        if is_larger and now.open < before.close and now.close > before.open:
            held.add(f"bullish_engulfing_{name}")
        if is_smaller and now.open > before.close and now.close < before.open:
            held.add(f"bullish_harami_{name}")
    if now.body < 0 < before.body:
        if is_larger and now.open > before.close and now.close < before.open:
            held.add(f"bearish_engulfing_{name}")
        if is_smaller and now.open < before.close and now.close > before.open:
            held.add(f"bearish_harami_{name}")
    return held
