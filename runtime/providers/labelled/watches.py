"""Things that take several prints: rejections, bounces off the VWAP, returns to an EMA, opening ranges.

Each watch is told of every print of its symbol and answers whether it fires at that print.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.providers.labelled.candles import UNITS

MINUTE_NS = 60_000_000_000


@dataclass
class Rejection:
    """Within 0.1 % of the recent high, then 0.5 % below it; or of the low and above it."""

    is_high: bool
    is_armed: bool = False

    def meet(self, price: int, level: int | None) -> bool:
        """A print, and the recent high or low it met."""
        if level is None:
            self.is_armed = False
            return False
        beyond = price - level if self.is_high else level - price
        if -beyond * 200 >= level:
            fires, self.is_armed = self.is_armed, False
            return fires
        if beyond * 1000 > level:
            self.is_armed = False
        elif -beyond * 1000 <= level:
            self.is_armed = True
        return False


@dataclass
class Bounce:
    """From above within 0.1 % of the VWAP, then 0.2 % above it; or from below and below it.

    The VWAP is money over volume. It begins anew at 04:00 and 09:30, and a side or a touch of the
    one before says nothing about the new one.
    """

    is_support: bool
    came_from_above: bool | None = None
    touched_ns: int = 0

    def reset(self) -> None:
        """The VWAP begins anew."""
        self.came_from_above, self.touched_ns = None, 0

    def meet(self, ts_ns: int, price: int, money: int, volume: int) -> int:
        """Nanoseconds since the touch if the print is the bounce; else 0."""
        away = price * volume - money
        is_away = abs(away) * 1000 > money
        mine = away if self.is_support else -away
        since = 0
        if mine * 500 >= money:
            since = ts_ns - self.touched_ns if self.touched_ns else 0
            self.touched_ns = 0
        elif mine < 0 and is_away:
            self.touched_ns = 0
        elif not is_away and self.came_from_above is self.is_support:
            self.touched_ns = ts_ns
        if is_away:
            self.came_from_above = away > 0
        return since


@dataclass
class Return:
    """A candle closed more than 2 % away from the EMA, then the first print within 0.5 % of it."""

    is_armed: bool = False

    def close(self, close: int, mean: float | None) -> None:
        """A candle closed; the mean has it in."""
        if mean is not None and abs(close / UNITS - mean) / mean > 0.02:
            self.is_armed = True

    def meet(self, price: int, mean: float | None) -> bool:
        """A print."""
        if mean is None or abs(price / UNITS - mean) / mean > 0.005:
            return False
        fires, self.is_armed = self.is_armed, False
        return fires


@dataclass
class OpeningRange:
    """The first minutes after the open, and the first candle of that length beyond them."""

    minutes: int
    high: int = 0
    low: int = 0
    up_minute: int = -1  # first minute, since the open, above the range
    down_minute: int = -1

    def meet(self, minute: int, price: int) -> tuple[bool, bool]:
        """A print, minutes after the open: whether its candle is the breakout, the breakdown."""
        if minute < self.minutes:
            self.high = max(self.high, price)
            self.low = min(self.low or price, price)
            return False, False
        if not self.high:
            return False, False
        if self.up_minute < 0 and price > self.high:
            self.up_minute = minute
        if self.down_minute < 0 and price < self.low:
            self.down_minute = minute
        candle = minute // self.minutes
        return (
            self.up_minute >= 0 and self.up_minute // self.minutes == candle,
            self.down_minute >= 0 and self.down_minute // self.minutes == candle,
        )
