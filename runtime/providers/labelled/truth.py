"""What really happened in the labelled market: told by plain loops over its prints, before any dirt.

A row of the truth is (kind, symbol, ts_ns, seen_ns, value):

    an alert metric   its default condition became true: at the close of a candle or at a print;
                      `seen_ns` is the symbol's first print at which a rule can know it; value 1
    high, low         extremes of a day's regular session, and extended_high, extended_low of the
                      whole day: the first print that reached them; value is the price
    gap               the open against the close of the trading day before, percent
    halt, resume      value 0
    split             at the start of the day it takes effect on; value is the factor

Alert metrics are those of the vocabulary with its default conditions and sessions; a condition that
goes on holding, or is not known, is no row. Nothing here is shared with the code that is measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from runtime.providers.exchange import TradingDay
from runtime.providers.labelled.candles import (
    UNITS,
    Candle,
    Candles,
    Mean,
    pair_shapes,
    shapes,
    whole,
)
from runtime.providers.labelled.watches import Bounce, OpeningRange, Rejection, Return

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
TIMEFRAMES = {"1m": 1, "2m": 2, "5m": 5, "15m": 15, "30m": 30, "60m": 60, "4h": 240}
SHORT = ("1m", "2m", "5m", "15m")
MEANS: dict[str, tuple[int, ...]] = {"1m": (9, 20, 200), "2m": (20,), "5m": (9, 20), "15m": (9, 21), "60m": (9, 21)}  # fmt: skip
DAILY_MEANS = (9, 21, 50)
RETURNS = (("1m", 9), ("1m", 20), ("1m", 200), ("5m", 9), ("5m", 20), ("15m", 9), ("15m", 21))
CROSSED_MEANS = (("2m", 20), ("5m", 9), ("15m", 9), ("15m", 21), ("60m", 9), ("60m", 21))
OPENING_RANGES = (1, 2, 5, 15, 30, 60)
# The timeframes on which the vocabulary has each metric that is made for several.
OF_CANDLES = {
    **dict.fromkeys(("lower_shadow_ratio", "upper_shadow_ratio"), SHORT),
    **dict.fromkeys(("is_bullish_candle", "is_bearish_candle"), SHORT),
    **dict.fromkeys(("bullish_engulfing", "bearish_engulfing"), (*SHORT, "30m", "60m")),
    **dict.fromkeys(("bullish_harami", "bearish_harami"), SHORT),
    "inside_bar": ("5m", "15m", "30m", "60m", "4h"),
    **dict.fromkeys(("new_candle_high", "new_candle_low"), tuple(TIMEFRAMES)),
}
CANDLE_NAMES = frozenset(f"{kind}_{name}" for kind, names in OF_CANDLES.items() for name in names)
DAY_NAMES = frozenset(("inside_bar_1d", "new_candle_high_1d", "new_candle_low_1d"))


class Truth(NamedTuple):
    """One thing that happened."""

    kind: str
    symbol: str
    ts_ns: int
    seen_ns: int
    value: float = 1.0


class Bar(NamedTuple):
    """A day before the market began."""

    stamp_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    factor: float  # of the next trading day; 1 = none


@dataclass
class Day:
    """What is known of the running day."""

    bounds: TradingDay
    place: int
    open: int = 0
    close: int = 0
    high: int = 0
    low: int = 0
    extended_high: int = 0
    extended_low: int = 0
    volume: float = 0.0
    reached_ns: dict[str, int] = field(default_factory=dict)
    prints: list[tuple[int, int]] = field(default_factory=list)  # (time, price)
    before: list[int] = field(default_factory=list)  # prices since the start or a halt, no repeats
    ranges: list[OpeningRange] = field(
        default_factory=lambda: [OpeningRange(n) for n in OPENING_RANGES]
    )


class Observer:
    """Follows one symbol through its prints and writes down what becomes true."""

    def __init__(
        self,
        symbol: str,
        days: list[TradingDay],
        history: list[Bar],
        halts: list[tuple[int, int]],
        splits: dict[int, float],
    ) -> None:
        self.rows: list[Truth] = []
        self._symbol = symbol
        self._days = days
        self._halts = list(halts)
        self._splits = splits
        self._candles = {
            name: Candles({n: Mean(n) for n in MEANS.get(name, ())}) for name in TIMEFRAMES
        }
        self._daily = Candles({n: Mean(n) for n in DAILY_MEANS})
        for bar in history:
            opened, high, low, close = (whole(one) for one in bar[1:5])
            self._daily.put(Candle(bar.stamp_ns, opened, high, low, close, bar.volume))
            if bar.factor != 1.0:
                self._daily.scale(bar.factor)
        self._day: Day | None = None
        self._money, self._volume, self._anchor_ns = 0, 0, 0
        self._shapes: dict[str, set[str]] = {}
        self._rejections = {
            **{f"rejected_recent_high_{n}": (n, Rejection(True)) for n in (*SHORT, "30m", "60m")},
            **{f"rejected_recent_low_{n}": (n, Rejection(False)) for n in SHORT},
        }
        self._bounces = {"vwap_support": Bounce(True), "vwap_resistance": Bounce(False)}
        self._returns = {one: Return() for one in RETURNS}
        self._since: dict[str, int] = {}  # metric of candles -> end of the candle it holds since
        self._held: set[str] = set()

    # -- time

    def meet(self, ts_ns: int, price: float, size: float) -> None:
        """The symbol's next print."""
        at = whole(price)
        self._close_candles(ts_ns)
        day = self._roll(ts_ns)
        self._pass_halts(ts_ns, day)
        bounds = day.bounds
        is_market = bounds.open_ns <= ts_ns < bounds.close_ns
        anchor_ns = bounds.open_ns if ts_ns >= bounds.open_ns else bounds.start_ns
        if anchor_ns != self._anchor_ns:
            self._anchor_ns, self._money, self._volume = anchor_ns, 0, 0
            for bounce in self._bounces.values():
                bounce.reset()
        self._money += at * int(size)
        self._volume += int(size)
        day.volume += size
        day.prints.append((ts_ns, at))
        self._extremes(day, ts_ns, at, is_market)
        held = self._shapes_now() | self._at_print(day, ts_ns, at, is_market)
        for name, one in self._candles.items():
            one.add(_end_ns(bounds, TIMEFRAMES[name], ts_ns), at, size)
        held |= self._spikes()
        if not day.before or day.before[-1] != at:
            day.before.append(at)
        for kind in sorted(held - self._held):
            self.rows.append(Truth(kind, self._symbol, self._since.get(kind, ts_ns), ts_ns))
        self._held = held

    def end(self) -> None:
        """The market is over."""
        if self._day is not None:
            self._end_day(self._day)

    def _close_candles(self, now_ns: int) -> None:
        for name, candles in self._candles.items():
            running = candles.running
            if running is None or not candles.close(now_ns):
                continue
            self._reshape(name, shapes(name, candles.closed) & CANDLE_NAMES, running.end_ns)
            if name == "1m":
                self._reshape("vwap", self._through_vwap(candles.closed), running.end_ns)
            for (timeframe, n), one in self._returns.items():
                if timeframe == name:
                    one.close(running.close, candles.means[n].value)

    def _reshape(self, group: str, held: set[str], end_ns: int) -> None:
        for kind in held - self._shapes.get(group, set()):
            self._since[kind] = end_ns
        self._shapes[group] = held

    def _shapes_now(self) -> set[str]:
        return set().union(*self._shapes.values())

    def _roll(self, ts_ns: int) -> Day:
        if self._day is not None and ts_ns < self._day.bounds.end_ns:
            return self._day
        ended_ns = self._end_day(self._day) if self._day is not None else 0
        self._reshape("vwap", set(), 0)  # the VWAP of a day that is over is none any more
        place = next(k for k, one in enumerate(self._days) if ts_ns < one.end_ns)
        self._day = Day(self._days[place], place)
        factor = self._splits.get(place)
        if factor is not None:
            self._split(factor, self._day.bounds)
        self._reshape_days(ended_ns)
        return self._day

    def _reshape_days(self, ended_ns: int) -> None:
        closed = self._daily.closed
        if len(closed) > 1:
            held = pair_shapes("1d", closed[-2], closed[-1]) & DAY_NAMES
            self._reshape("1d", held, ended_ns or closed[-1].end_ns)

    def _end_day(self, day: Day) -> int:
        for kind, value in (
            ("high", day.high),
            ("low", day.low),
            ("extended_high", day.extended_high),
            ("extended_low", day.extended_low),
        ):
            if value:
                reached_ns = day.reached_ns[kind]
                self.rows.append(Truth(kind, self._symbol, reached_ns, reached_ns, value / UNITS))
        if day.high:
            end_ns = day.bounds.end_ns
            self._daily.put(Candle(end_ns, day.open, day.high, day.low, day.close, day.volume))
        return day.bounds.end_ns

    def _split(self, factor: float, bounds: TradingDay) -> None:
        start_ns = bounds.start_ns
        self.rows.append(Truth("split", self._symbol, start_ns, start_ns, factor))
        for one in (*self._candles.values(), self._daily):
            one.scale(factor)

    def _pass_halts(self, ts_ns: int, day: Day) -> None:
        """Halts and resumptions up to now: the first print after one is no cross."""
        while self._halts and self._halts[0][0] <= ts_ns:
            at_ns, code = self._halts.pop(0)
            kind = "halt" if code else "resume"
            self.rows.append(Truth(kind, self._symbol, at_ns, at_ns, 0.0))
            day.before.clear()

    def _extremes(self, day: Day, ts_ns: int, at: int, is_market: bool) -> None:
        if is_market:
            if not day.open:
                day.open = at
                if self._daily.closed:
                    before = self._daily.closed[-1].close
                    gap = 100.0 * (at - before) / before
                    self.rows.append(Truth("gap", self._symbol, ts_ns, ts_ns, gap))
            day.close = at
        for kind, counts in (("high", is_market), ("extended_high", True)):
            if counts and at > getattr(day, kind):
                setattr(day, kind, at)
                day.reached_ns[kind] = ts_ns
        for kind, counts in (("low", is_market), ("extended_low", True)):
            if counts and (not getattr(day, kind) or at < getattr(day, kind)):
                setattr(day, kind, at)
                day.reached_ns[kind] = ts_ns

    # -- what holds at a print

    def _at_print(self, day: Day, ts_ns: int, at: int, is_market: bool) -> set[str]:
        held = self._watched(ts_ns, at, is_market)
        held |= self._crossed(day, at)
        held |= self._ran(day, ts_ns, at)
        if (day.extended_high - at) * 200 < day.extended_high:
            held.add("dist_to_high_of_day_extended_pct")
        if (at - day.extended_low) * 200 < day.extended_low:
            held.add("dist_to_low_of_day_extended_pct")
        return held | self._regular(day, ts_ns, at) if is_market else held

    def _regular(self, day: Day, ts_ns: int, at: int) -> set[str]:
        """What the vocabulary asks for in the regular session only."""
        held = set()
        if (day.high - at) * 200 < day.high:
            held.add("dist_to_high_of_day_pct")
        if (at - day.low) * 200 < day.low:
            held.add("dist_to_low_of_day_pct")
        for name in SHORT:
            high, low = self._candles[name].recent_high(), self._candles[name].recent_low()
            if high is not None and (high - at) * 1000 < high:
                held.add(f"dist_to_recent_high_{name}_pct")
            if low is not None and (at - low) * 1000 < low:
                held.add(f"dist_to_recent_low_{name}_pct")
        for name in (*SHORT, "4h"):
            if self._broke(name, at, True):
                held.add(f"broke_recent_high_{name}")
            if name != "4h" and self._broke(name, at, False):
                held.add(f"broke_recent_low_{name}")
        minute = (ts_ns - day.bounds.open_ns) // MINUTE_NS
        for one in day.ranges:
            up, down = one.meet(minute, at)
            held |= {f"opening_range_breakout_{one.minutes}m"} if up else set()
            held |= {f"opening_range_breakdown_{one.minutes}m"} if down else set()
        return held

    def _broke(self, name: str, at: int, is_high: bool) -> bool:
        """Beyond the last 20 candles and the running one before this print."""
        candles = self._candles[name]
        level = candles.recent_high() if is_high else candles.recent_low()
        if level is None:
            return False
        if candles.running is not None:
            running = candles.running.high if is_high else candles.running.low
            level = max(level, running) if is_high else min(level, running)
        return at > level if is_high else at < level

    def _watched(self, ts_ns: int, at: int, is_market: bool) -> set[str]:
        held = set()
        for kind, (name, one) in self._rejections.items():
            candles = self._candles[name]
            level = candles.recent_high() if one.is_high else candles.recent_low()
            if one.meet(at, level) and is_market:
                held.add(kind)
        for kind, bounce in self._bounces.items():
            since_ns = bounce.meet(ts_ns, at, self._money, self._volume)
            if since_ns:
                held |= {f"{kind}_{n}" for n in SHORT if since_ns <= TIMEFRAMES[n] * MINUTE_NS}
        for (name, n), back in self._returns.items():
            if back.meet(at, self._candles[name].means[n].value):
                held.add(f"back_to_ema_ema{n}_{name}")
        return held

    def _crossed(self, day: Day, at: int) -> set[str]:
        """Strictly beyond a level that the newest price off the level was on the other side of."""
        held = set()
        levels: list[tuple[str, float | None]] = [
            ("open", day.open or None),
            ("close", self._daily.closed[-1].close if self._daily.closed else None),
        ]
        levels += [
            (f"ema{n}_{name}", _units(self._candles[name].means[n].value))
            for name, n in CROSSED_MEANS
        ]
        levels += [(f"ema{n}_daily", _units(self._daily.means[n].value)) for n in DAILY_MEANS]
        closes = [one.close for one in self._daily.closed[-200:]]
        levels.append(("sma200_daily", sum(closes) / 200 if len(closes) == 200 else None))
        for name, level in levels:
            if level is not None:
                held |= _cross(name, day.before, at, level, 1)
        return held | _cross("vwap", day.before, at, self._money, self._volume)

    def _ran(self, day: Day, ts_ns: int, at: int) -> set[str]:
        """The move since the newest price that is at least 60 s old."""
        older = [price for when, price in day.prints[-32:] if when <= ts_ns - MINUTE_NS]
        if not older:
            return set()
        moved = at - older[-1]
        held = set()
        if 10 * moved >= 15 * UNITS:
            held.add("running_up_60s")
        if 1000 * moved >= 15 * older[-1]:
            held.add("running_up_60s_pct")
        if 10 * moved <= -23 * UNITS:
            held.add("running_down_60s")
        if 1000 * moved <= -23 * older[-1]:
            held.add("running_down_60s_pct")
        return held

    def _spikes(self) -> set[str]:
        """The running candle's volume against the mean of the candles before; the print is in."""
        held = set()
        for name in SHORT:
            candles = self._candles[name]
            volume = candles.running.volume if candles.running else 0.0
            for n in (2, 10):
                before = candles.closed[-n:]
                total = sum(one.volume for one in before)
                if len(before) == n and total > 0 and volume * n >= 2 * total:
                    held.add(f"volume_spike_{n}_{name}")
        return held

    def _through_vwap(self, closed: list[Candle]) -> set[str]:
        """The newest minute spans three times the mean of the five before; its body crosses the VWAP."""
        if len(closed) < 6 or not self._volume:
            return set()
        now, before = closed[-1], closed[-6:-1]
        if 5 * (now.high - now.low) < 3 * sum(one.high - one.low for one in before):
            return set()
        opened = now.open * self._volume - self._money
        ended = now.close * self._volume - self._money
        if opened < 0 < ended:
            return {"through_vwap_above"}
        return {"through_vwap_below"} if ended < 0 < opened else set()


def _units(mean: float | None) -> float | None:
    return None if mean is None else mean * UNITS


def _cross(name: str, before: list[int], at: int, level: float, per: int) -> set[str]:
    """Whether the price crossed level / per: the newest price off the level was on the other side."""
    here = at * per - level
    for price in reversed(before):
        there = price * per - level
        if there:
            if there < 0 < here:
                return {f"crossed_above_{name}"}
            return {f"crossed_below_{name}"} if here < 0 < there else set()
    return set()


def _end_ns(day: TradingDay, minutes: int, ts_ns: int) -> int:
    """When the candle of a print is over: candles count from midnight in New York."""
    span_ns = minutes * MINUTE_NS
    return ts_ns - (ts_ns - day.midnight_ns) % span_ns + span_ns
