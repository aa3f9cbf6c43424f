"""The metrics rules and toplists may name, computed for many events at once, only those in use.

All are f8 with NaN where a value cannot be computed. A window of n minutes is the live minute and the
n - 1 before it; at a clock event on a whole minute it is the n minutes that just ended. Names,
formulas and defaults are those of `functions.market.vocabulary`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import days, halts, machines, quotes, series, sessions, tape, windows
from functions.market.indicators import NAMES as INDICATORS
from functions.market.state import (
    BAR,
    CHANGES,
    DAYS,
    MINUTE_NS,
    MINUTES_OF,
    OPENING_RANGES,
    PROFILE_MINUTES,
    SERIES,
)
from functions.market.tape import Moments
from functions.market.vocabulary import named, table, toplists

Array = NDArray[Any]
Metric = Callable[[Any, Moments], Array]

MINUTE_WINDOWS = (1, 2, 5, 10, 15, 30, 60)
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS

MULTIPLIER, CANDLES = 3.0, 5  # of through_vwap
EQUAL_WITHIN = 1e-9  # sums of prices in binary are equal within this


def at_clock(state: Any, clock_ns: int, row: Array | None = None) -> Moments:
    """The moments of a clock event: every symbol, or some rows, as its last print left it."""
    row = None if row is not None and isinstance(_index(state, row), slice) else row
    rows = np.arange(state.rows) if row is None else row
    at: Any = slice(None) if row is None else row  # of all rows nothing is gathered
    where = sessions.moments(clock_ns, state["setup"])
    market = tape.know_markets(state, rows)
    session = np.array([one.session for one in where], dtype=np.uint8)[market]
    printed = state.read("minute")[at]
    minute = np.maximum(printed, (clock_ns - 1) // MINUTE_NS)
    minute = halts.suspended(state, at, minute)
    is_live = printed == minute
    last = state.read("last")[at]
    price = np.where(last > 0, last, np.nan)
    ts_ns = np.full(len(rows), clock_ns)

    def live(name: str) -> Callable[[], Array]:
        return lambda: np.where(is_live, state.read(name)[at], 0.0)

    def kept(name: str) -> Callable[[], Array]:
        return lambda: np.asarray(state.read(name)[at])

    def positive(name: str) -> Callable[[], Array]:
        return lambda: _positive(state.read(name)[at])

    later = {name: live(name) for name in ("live_volume", "live_notional", "live_count", "live_high", "live_low")}  # fmt: skip
    later |= {name: kept(name) for name in ("volume_pre", "volume_market", "volume_post", "notional_pre", "notional_market")}  # fmt: skip
    later |= {name: positive(name) for name in ("day_high", "day_low", "ext_high", "ext_low")}
    found = Moments(rows, ts_ns, price, minute, session, later, row is None, is_clock=True)
    found.where = where
    return found


def compute(names: Iterable[str], state: Any, events: Moments) -> dict[str, Array]:
    """The named metrics at each event: name -> f8."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return {name: _value(name, state, events) for name in names}


def _value(name: str, state: Any, events: Moments) -> Array:
    """One metric; at a clock event rules and toplists ask for the same ones."""

    def computed() -> Array:
        return np.asarray(METRICS[name](state, events), dtype=float)

    return np.asarray(_kept(events, ("value", name), computed)) if events.is_clock else computed()


def watch(state: Any, prints: tape.Prints, uses: frozenset[str]) -> None:
    """Move on, by prints, the metrics in use that are of a print: what they said at the last is kept."""
    runs, events = prints.runs, prints.events
    if not len(events):
        return
    machines.watch(state, runs, events, uses)
    with np.errstate(invalid="ignore", divide="ignore"):
        for name in sorted(uses & AT_PRINTS.keys()):
            machines.keep(state, runs, events, name, AT_PRINTS[name](state, events)[runs.order])


def listed(names: str) -> str:
    """The rows of the vocabulary for names separated by blanks or commas, as JSON; raises ValueError.

    `all` is every metric; no name at all is the whole vocabulary, toplists included.
    """
    rows, wanted = named(), names.replace(",", " ").split()
    if not wanted:
        return json.dumps([*table(), *toplists()])
    if wanted == ["all"]:
        return json.dumps(table())
    for name in wanted:
        if name not in rows:
            near = difflib.get_close_matches(name, rows, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"no metric {name!r}{hint}")
    return json.dumps([rows[name] for name in wanted])


def _positive(values: Array) -> Array:
    return np.where(values > 0, values, np.nan)


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _kept(m: Moments, key: Any, make: Callable[[], Any]) -> Any:
    """What several metrics share is computed once per set of events."""
    if key not in m.memo:
        m.memo[key] = make()
    return m.memo[key]


def _fact(name: str) -> Metric:
    return lambda s, m: _positive(m.of(s, name))


# -- windows of minutes


def _window(m: Moments, s: Any, name: str) -> Array:
    """A column of `windows` at each event, folded first where it is not of the event's minute."""
    return np.asarray(_kept(m, "windows", lambda: _windows(s, m))(name))


def _windows(s: Any, m: Moments) -> Callable[[str], Array]:
    minutes = windows.distinct(m.minute)
    if len(minutes) <= 1 or m.is_clock:
        row, first = (m.row, None) if m.is_clock else np.unique(m.row, return_index=True)
        windows.refresh(s, row, m.minute if first is None else m.minute[first])
        rows = slice(None) if m.is_all else m.row
        return lambda name: s.read(name)[rows]
    found = {name: np.empty(len(m)) for name in windows.STATE if name.startswith(("window_", "candle_"))}  # fmt: skip
    for minute in minutes:
        here = np.flatnonzero(m.minute == minute)
        row = np.unique(m.row[here])
        windows.refresh(s, row, np.full(len(row), minute))
        for name, values in found.items():
            values[here] = s.read(name)[m.row[here]]
    return lambda name: found[name]


def _is_known(s: Any, m: Moments) -> Array:
    """Whether anything was ever counted of a symbol."""
    return (m.of(s, "flows_from") > 0) | (m.of(s, "bar_minute") > 0)


def _sum(name: str, n: int) -> Metric:
    def total(s: Any, m: Moments) -> Array:
        live = m[f"live_{name}"]
        values = live if n == 1 else live + _window(m, s, f"window_{name}_{n}")
        return np.where(_is_known(s, m), values, np.nan)

    return total


def _high(n: int) -> Metric:
    return lambda s, m: _positive(np.maximum(m["live_high"], _window(m, s, f"window_high_{n}")))


def _low(n: int) -> Metric:
    def low(s: Any, m: Moments) -> Array:
        return _finite(np.minimum(_live_low(m), _window(m, s, f"window_low_{n}")))

    return low


def _live_low(m: Moments) -> Array:
    return np.where(m["live_low"] > 0, m["live_low"], np.inf)


def _close_before(n: int) -> Metric:
    """The close of the newest bar at or before n minutes before each event's minute."""

    def before(s: Any, m: Moments) -> Array:
        over = int(s["closed_to"] or 0) - 1  # the newest minute that is carried
        first = int(m.minute[0]) if len(m) else 0
        if m.is_all and (m.minute == first).all():
            place: Any = min(first - n, over)
            values = s["closes"][:, place % windows.PRICES]
        else:
            place = np.minimum(m.minute - n, over)
            values = s["closes"][m.row, place % windows.PRICES]
        return np.where((over > 0) & (over - place < windows.PRICES), _positive(values), np.nan)

    return lambda s, m: _kept(m, ("close before", n), lambda: before(s, m))


def _change(before: Metric) -> Metric:
    return lambda s, m: m.price - before(s, m)


def _change_pct(before: Metric) -> Metric:
    def change(s: Any, m: Moments) -> Array:
        base = before(s, m)
        return 100.0 * (m.price - base) / base

    return change


# -- sessions and days


def _in_session(metric: Metric, *codes: int) -> Metric:
    return lambda s, m: np.where(np.isin(m.session, codes), metric(s, m), np.nan)


def _postmarket_volume(s: Any, m: Moments) -> Array:
    is_pre = np.asarray(m.session) == sessions.PREMARKET
    both = m.of(s, "post_before") + m["volume_pre"]
    return _traded(s, m, np.where(is_pre, both, m["volume_post"]))


def _traded(s: Any, m: Moments, values: Array) -> Array:
    return np.where(_is_known(s, m), values, np.nan)


def _open_of_gap(s: Any, m: Moments) -> Array:
    opened = m.of(s, "open_market")
    return _positive(np.where(opened > 0, opened, m.of(s, "open_pre")))


def _gap(s: Any, m: Moments) -> Array:
    return _open_of_gap(s, m) - _fact("prev_close")(s, m)


def _notional_daily(s: Any, m: Moments) -> Array:
    return _traded(s, m, m["notional_pre"] + m["notional_market"])


def _minutes_in_market(s: Any, m: Moments) -> Array:
    market = m.of(s, "market") - 1
    opened = np.array([one.open_ns for one in m.where])[market]
    minutes = np.floor((m.ts_ns - opened) / MINUTE_NS)
    return np.where(np.asarray(m.session) != sessions.CLOSED, minutes, np.nan)


# -- daily history


def _mean_volume(n: int) -> Metric:
    return _of_series("daily", series.mean_volume, n)


def _close_days_ago(n: int) -> Metric:
    return _candle("daily", "close", n - 1)


def _of_days(s: Any, m: Moments, name: str) -> Array:
    _kept(m, "days", lambda: days.fold(s, m.row))
    return m.of(s, name)


def _days_high(n: int) -> Metric:
    """High of today and the n - 1 days before."""

    def high(s: Any, m: Moments) -> Array:
        past = _of_days(s, m, f"days_high_{n}")
        return np.where(np.isfinite(past), np.fmax(m["ext_high"], _positive(past)), np.nan)

    return high


def _days_low(n: int) -> Metric:
    def low(s: Any, m: Moments) -> Array:
        past = _of_days(s, m, f"days_low_{n}")
        return np.where(np.isfinite(past), np.fmin(m["ext_low"], past), np.nan)

    return low


def _biggest_range(n: int) -> Metric:
    def biggest(s: Any, m: Moments) -> Array:
        today = 100.0 * (m["ext_high"] - m["ext_low"]) / m["ext_low"]
        past = _of_days(s, m, f"days_range_{n}")
        return np.where(np.isfinite(past), np.fmax(past, today), np.nan)

    return biggest


def _range(high: Metric, low: Metric) -> Metric:
    return lambda s, m: high(s, m) - low(s, m)


def _range_pct(high: Metric, low: Metric) -> Metric:
    def percent(s: Any, m: Moments) -> Array:
        bottom = low(s, m)
        return 100.0 * (high(s, m) - bottom) / bottom

    return percent


def _position(high: Metric, low: Metric) -> Metric:
    def position(s: Any, m: Moments) -> Array:
        top, bottom = high(s, m), low(s, m)
        return np.where(top > bottom, 100.0 * (m.price - bottom) / (top - bottom), np.nan)

    return position


# -- candles


def _candle(name: str, column: str, back: int = 0) -> Metric:
    """A column of the last closed candle, or of one before it; NaN where there is none."""

    def value(s: Any, m: Moments) -> Array:
        candles = _newest(s, m, name)
        return np.where(candles.k >= back, candles.at(column, back), np.nan)

    return lambda s, m: _kept(m, ("candle", name, column, back), lambda: value(s, m))


def _newest(s: Any, m: Moments, name: str) -> series.Candles:
    """The last closed candle of a timeframe."""

    def make() -> series.Candles:
        return series.Candles(s, SERIES[name], m.row, m.of(s, f"{SERIES[name].name}_n") - 1)

    found: series.Candles = _kept(m, ("newest", name), make)
    return found


def _flag(condition: Array, *rests_on: Array) -> Array:
    """1 or 0; NaN where something it rests on is not known."""
    known = np.isfinite(rests_on[0])
    for one in rests_on[1:]:
        known = known & np.isfinite(one)
    return np.where(known, condition.astype(float), np.nan)


def _lower_shadow(name: str) -> Metric:
    def ratio(s: Any, m: Moments) -> Array:
        o, low, c = (_candle(name, one)(s, m) for one in ("open", "low", "close"))
        return _finite((np.minimum(o, c) - low) / _positive(np.abs(c - o)))

    return ratio


def _upper_shadow(name: str) -> Metric:
    def ratio(s: Any, m: Moments) -> Array:
        o, h, c = (_candle(name, one)(s, m) for one in ("open", "high", "close"))
        return _finite((h - np.maximum(o, c)) / _positive(np.abs(c - o)))

    return ratio


def _colour(name: str, sign: int) -> Metric:
    def flag(s: Any, m: Moments) -> Array:
        body = _candle(name, "close")(s, m) - _candle(name, "open")(s, m)
        return _flag(sign * body > 0, body)

    return flag


def _pair(name: str, condition: Callable[..., Array]) -> Metric:
    """A pattern of the last closed candle and the one before: condition(o, c, before o, before c)."""

    def flag(s: Any, m: Moments) -> Array:
        o, c = _candle(name, "open")(s, m), _candle(name, "close")(s, m)
        po, pc = _candle(name, "open", 1)(s, m), _candle(name, "close", 1)(s, m)
        return _flag(condition(o, c, po, pc), o, po)

    return flag


def _bullish_engulfing(o: Array, c: Array, po: Array, pc: Array) -> Array:
    return (pc < po) & (c > o) & (c - o > po - pc) & (o < pc) & (c > po)


def _bearish_engulfing(o: Array, c: Array, po: Array, pc: Array) -> Array:
    return (pc > po) & (c < o) & (o - c > pc - po) & (o > pc) & (c < po)


def _bullish_harami(o: Array, c: Array, po: Array, pc: Array) -> Array:
    return (pc < po) & (c > o) & (c - o < po - pc) & (pc < o) & (c < po)


def _bearish_harami(o: Array, c: Array, po: Array, pc: Array) -> Array:
    return (pc > po) & (c < o) & (o - c < pc - po) & (o < pc) & (c > po)


def _inside(name: str) -> Metric:
    def flag(s: Any, m: Moments) -> Array:
        high, before = _candle(name, "high")(s, m), _candle(name, "high", 1)(s, m)
        low, below = _candle(name, "low")(s, m), _candle(name, "low", 1)(s, m)
        return _flag((high < before) & (low > below), high, before)

    return flag


def _beyond_last(name: str, column: str, sign: int) -> Metric:
    def flag(s: Any, m: Moments) -> Array:
        now, before = _candle(name, column)(s, m), _candle(name, column, 1)(s, m)
        return _flag(sign * (now - before) > 0, now, before)

    return flag


def _of_series(name: str, function: Callable[..., Array], *arguments: int) -> Metric:
    def value(s: Any, m: Moments) -> Array:
        return function(_newest(s, m, name), *arguments)

    return lambda s, m: _kept(m, (name, function.__name__, arguments), lambda: value(s, m))


def _indicator(column: str) -> Metric:
    place = INDICATORS.index(column)

    def value(s: Any, m: Moments) -> Array:
        known = m.of(s, "indicators_minute") > 0
        return np.where(known, m.of(s, "indicators")[:, place], np.nan)

    return value


def _bar(column: str) -> Metric:
    place = BAR.index(column)
    return lambda s, m: np.where(m.of(s, "bar_minute") > 0, m.of(s, "bar")[:, place], np.nan)


def _mean_at(kind: str, n: int, name: str) -> Metric:
    """A moving average of the closed candles of a timeframe."""
    if name == "1m":
        return _indicator(f"{kind}_{n}")
    return _of_series(name, series.ema if kind == "ema" else series.mean_close, n)


def _distance(level: Metric) -> Metric:
    def distance(s: Any, m: Moments) -> Array:
        base = level(s, m)
        return 100.0 * (m.price - base) / base

    return distance


def _atr(name: str) -> Metric:
    return _indicator("atr_14") if name == "1m" else _of_series(name, series.atr, 14)


# -- the running candle


def _bucket(s: Any, m: Moments, minutes: int) -> Array:
    """The minute at which the running candle of a timeframe began."""

    def make() -> Array:
        market = m.of(s, "market") - 1
        start = np.empty(len(m), dtype=np.int64)
        for minute in windows.distinct(m.minute):
            mine = m.minute == minute
            start[mine] = windows.candle_starts(s, minute, minutes)[market[mine]]
        return start

    return np.asarray(_kept(m, ("bucket", minutes), make))


def _candle_volume(s: Any, m: Moments, name: str) -> Array:
    n = MINUTES_OF[name]
    live = m["live_volume"]
    return live if n == 1 else live + _window(m, s, f"candle_volume_{n}")


def _mean_candles(s: Any, m: Moments, name: str, n: int) -> Array:
    """Mean volume of the n candles before the running one."""

    def before() -> series.Candles:
        newest = _newest(s, m, name)
        # At its end the running one is closed.
        is_closed = newest.at("start") >= _bucket(s, m, MINUTES_OF[name])
        if not is_closed.any():
            return newest
        return series.Candles(s, newest.series, m.row, newest.k - is_closed)

    def make() -> Array:
        return series.mean_volume(_kept(m, ("before running", name), before), n)

    return np.asarray(_kept(m, ("mean candles", name, n), make))


def _relative_volume(name: str) -> Metric:
    def relative(s: Any, m: Moments) -> Array:
        tf_ns = MINUTES_OF[name] * MINUTE_NS
        lasted = halts.window_ns(s, m) - _bucket(s, m, MINUTES_OF[name]) * MINUTE_NS
        elapsed = np.minimum(lasted, tf_ns)
        forecast = _candle_volume(s, m, name) * tf_ns / _positive(elapsed)
        return 100.0 * forecast / _positive(_mean_candles(s, m, name, 10))

    return relative


def _spike(name: str, n: int) -> Metric:
    return lambda s, m: _candle_volume(s, m, name) / _positive(_mean_candles(s, m, name, n))


def _relative_volume_daily(s: Any, m: Moments) -> Array:
    return _traded(s, m, 100.0 * m["volume_daily"] / _positive(_mean_volume(10)(s, m)))


def _same_time(s: Any, m: Moments) -> Array:
    """100 * volume since the day's start / its mean at this minute of the last days of the same kind."""
    out = np.full(len(m), np.nan)
    market = m.of(s, "market") - 1
    for code in np.unique(market).tolist():
        if code != sessions.CRYPTO:
            _same_time_of(s, m, np.flatnonzero(market == code), m.where[code], out)
    return out


def _same_time_of(s: Any, m: Moments, place: Array, moment: sessions.Moment, out: Array) -> None:
    first = moment.start_ns // MINUTE_NS
    for minute in windows.distinct(m.minute[place]):
        since = min(int(minute - first), PROFILE_MINUTES - 1)
        here = place[m.minute[place] == minute]
        if since >= 0:
            mean = _usual_volume(s, m.row[here], since, 2 if moment.is_half else 1)
            out[here] = 100.0 * m["volume_daily"][here] / _positive(mean)


def _usual_volume(s: Any, row: Array, since: int, kind: int) -> Array:
    """Mean volume of the last days of a kind up to a minute of the day; NaN where none is known."""
    rows = _index(s, row)
    days_over, kinds = s.read("profile_days")[rows], s.read("profile_kind")[rows]
    known = KEPT_DAYS[np.where(days_over < DAYS, days_over, DAYS + days_over % (DAYS + 1))]
    known &= kinds == kind
    count = known.sum(axis=1)
    sums = _volumes(s, row, rows, since + 1)
    sums[~known] = 0.0
    return sums.sum(axis=1) / np.where(count > 0, count, np.nan)


def _volumes(s: Any, row: Array, rows: Any, end: int) -> Array:
    """Volume of every kept day up to minute `end`; nearly always all rows have reached the same."""
    reached = s.read("same_minute")[rows]
    minutes = windows.distinct(reached)
    if len(minutes) == 1:
        return _summed(s, row, minutes[0], end)
    sums = np.empty((len(row), DAYS + 1))
    for minute in minutes:
        here = np.flatnonzero(reached == minute)
        sums[here] = _summed(s, row[here], minute, end)
    return sums


def _index(s: Any, row: Array) -> Any:
    """Row numbers as an index: a slice where they are all rows, which costs no gathering."""
    is_all = len(row) == s.rows and bool((np.diff(row) > 0).all())  # prints repeat their rows
    return slice(None) if is_all else row


def _kept_days(days_over: int) -> list[bool]:
    """By slot: whether a completed day lies there."""
    ages = ((days_over - slot) % (DAYS + 1) for slot in range(DAYS + 1))
    return [0 < age <= min(days_over, DAYS) for age in ages]


# By days that are over, as far as DAYS; behind them by how many remain when all slots were gone round.
KEPT_DAYS = np.array(
    [_kept_days(days_over) for days_over in (*range(DAYS), *range(DAYS + 1, 2 * DAYS + 2))]
)


def _summed(s: Any, row: Array, begin: int, end: int) -> Array:
    """Volume of every kept day up to minute `end`, moved on from minute `begin`, which is kept."""
    is_on = end >= begin
    rows = _index(s, row)
    sums = np.array(s.read("same_time")[rows]) if is_on else np.zeros((len(row), DAYS + 1))
    for minute in range(begin if is_on else 0, end):
        for day in range(DAYS + 1):
            sums[:, day] += s["profile"][rows, day * PROFILE_MINUTES + minute]
    if end > begin:
        s["same_time"][rows], s["same_minute"][rows] = sums, end
    return sums


# -- levels


def _recent(name: str, side: str) -> Metric:
    function = series.highest if side == "high" else series.lowest
    return _of_series(name, function)


def _near_high(level: Metric) -> Metric:
    def distance(s: Any, m: Moments) -> Array:
        top = level(s, m)
        return 100.0 * (top - m.price) / top

    return distance


def _near_low(level: Metric) -> Metric:
    def distance(s: Any, m: Moments) -> Array:
        bottom = level(s, m)
        return 100.0 * (m.price - bottom) / bottom

    return distance


def _broke_high(name: str) -> Metric:
    def flag(s: Any, m: Moments) -> Array:
        level, n = _recent(name, "high")(s, m), MINUTES_OF[name]
        running = m["met_high"]
        if n > 1:
            running = np.maximum(running, _window(m, s, f"candle_high_{n}"))
        return _flag(m.price > np.maximum(level, running), level, m.price)

    return flag


def _broke_low(name: str) -> Metric:
    def flag(s: Any, m: Moments) -> Array:
        level, n = _recent(name, "low")(s, m), MINUTES_OF[name]
        running = np.where(m["met_low"] > 0, m["met_low"], np.inf)
        if n > 1:
            running = np.minimum(running, _window(m, s, f"candle_low_{n}"))
        return _flag(m.price < np.minimum(level, running), level, m.price)

    return flag


def _cross(level: Metric, sign: int) -> Metric:
    """The price met was strictly on the other side, or on the level after having been there."""

    def flag(s: Any, m: Moments) -> Array:
        at = level(s, m)
        prev = _positive(m["prev"])
        side = np.where(prev != at, prev - at, _positive(m["prev_other"]) - at)
        return _flag((sign * side < 0) & (sign * (m.price - at) > 0), at, prev)

    return flag


def _opening_range(minutes: int, sign: int) -> Metric:
    column = OPENING_RANGES.index(minutes)
    level, first = ("range_high", "range_up") if sign > 0 else ("range_low", "range_down")

    def flag(s: Any, m: Moments) -> Array:
        market = m.of(s, "market") - 1
        opened = np.array([one.open_ns // MINUTE_NS for one in m.where])[market]
        closed = np.array([one.close_ns // MINUTE_NS for one in m.where])[market]
        at = _positive(m.of(s, level)[:, column])
        broke = m.of(s, first)[:, column]
        live = m["live_high"] if sign > 0 else np.where(m["live_low"] > 0, m["live_low"], np.inf)
        is_regular = (m.minute >= opened + minutes) & (m.minute < closed)
        now = (broke == 0) & is_regular & (sign * (live - at) > 0)
        broke = np.where(now, m.minute, broke)
        bucket = (m.minute - opened) // minutes
        hit = (broke > 0) & ((broke - opened) // minutes == bucket)
        is_over = m.ts_ns >= (opened + minutes) * MINUTE_NS
        return np.where(is_over, _flag(hit, at), np.nan)

    return flag


def _through_vwap(sign: int) -> Metric:
    def flag(s: Any, m: Moments) -> Array:
        kept = SERIES["1m"]
        k = m.of(s, f"{kept.name}_n") - 1
        total = np.zeros(len(m))
        for back in range(1, CANDLES + 1):
            total += _candle("1m", "high", back)(s, m) - _candle("1m", "low", back)(s, m)
        mean = total / CANDLES
        o, c = _candle("1m", "open")(s, m), _candle("1m", "close")(s, m)
        span = _candle("1m", "high")(s, m) - _candle("1m", "low")(s, m)
        vwap = _positive(m.of(s, "vwap_closed"))
        crossed = (sign * (vwap - o) > 0) & (sign * (c - vwap) > 0)
        is_wide = span - MULTIPLIER * mean > -EQUAL_WITHIN
        return _flag(crossed & is_wide, np.where(k >= CANDLES, vwap, np.nan))

    return flag


def _said(name: str) -> Metric:
    """What a metric of prints said at each print, or at the last one; NaN where nobody watches it."""

    def flag(s: Any, m: Moments) -> Array:
        column = f"hit.{name}"
        if column in m.memo:
            return machines.said(m.memo[column])
        if not m.is_clock or column not in s:
            return np.full(len(m), np.nan)
        return machines.said(m.of(s, column))

    return flag


# -- the last minute, news, reference data


def _price_60s_ago(s: Any, m: Moments) -> Array:
    """The newest price at or before 60 s before the event: a search in the ring of price changes."""

    def make() -> Array:
        target = halts.window_ns(s, m) - MINUTE_NS
        count = m.of(s, "changes")
        low, high = np.maximum(count - CHANGES, 0) - 1, count - 1
        for _ in range(CHANGES.bit_length()):
            middle = (low + high + 1) // 2
            is_old = s["change_ns"][m.row, middle % CHANGES] <= target
            low = np.where(is_old & (middle > low), middle, low)
            high = np.where(is_old, high, np.maximum(middle - 1, low))
        price = s["change_price"][m.row, low % CHANGES]
        return np.where((low >= 0) & (low >= count - CHANGES) & (count > 0), price, np.nan)

    return np.asarray(_kept(m, "price 60 s ago", make))


def _running_move(s: Any, m: Moments) -> Array:
    return m.price - _price_60s_ago(s, m)


def _running_pct(s: Any, m: Moments) -> Array:
    base = _price_60s_ago(s, m)
    return 100.0 * (m.price - base) / base


def _reference(name: str) -> Metric:
    def value(s: Any, m: Moments) -> Array:
        return np.where(_has(s, name), _fact_of(s, m, name), np.nan)

    return value


def _has(s: Any, name: str) -> bool:
    return f"fact.{name}" in s


def _fact_of(s: Any, m: Moments, name: str) -> Array:
    if not _has(s, name):
        return np.full(len(m), np.nan)
    return _positive(m.of(s, f"fact.{name}"))


def _since_news(unit_ns: int, look_back_ns: int) -> Metric:
    def since(s: Any, m: Moments) -> Array:
        age = m.ts_ns - _fact_of(s, m, "news_ns")
        return np.where((age >= 0) & (age <= look_back_ns), age / unit_ns, np.nan)

    return since


def _until_earnings(s: Any, m: Moments) -> Array:
    market = m.of(s, "market") - 1
    dates = np.zeros(len(m), dtype=np.int64)
    for code in np.unique(market).tolist():
        mine = market == code
        hours, place = np.unique(m.ts_ns[mine] // HOUR_NS, return_inverse=True)
        known = [sessions.date_of(one * HOUR_NS, code, s["setup"]) for one in hours.tolist()]
        dates[mine] = np.array(known, dtype=np.int64)[place]
    ahead = np.floor(_fact_of(s, m, "earnings_ns") / DAY_NS) - dates
    return np.where(ahead >= 0, ahead, np.nan)


# -- the table of metrics

OPEN, CLOSE = _fact("open_market"), _fact("prev_close")
TODAY_HIGH, TODAY_LOW = (lambda _, m: m["ext_high"]), (lambda _, m: m["ext_low"])
VWAP: Metric = lambda _, m: m["session_vwap"]  # noqa: E731 - a table of formulas
SPAN_NAMES = {"today": (TODAY_HIGH, TODAY_LOW)}
SPAN_NAMES |= {f"{n}m": (_high(n), _low(n)) for n in (2, 5, 10, 15, 30, 60)}
SPAN_NAMES |= {
    name: (_days_high(n), _days_low(n))
    for name, n in (("5d", 5), ("10d", 10), ("20d", 20), ("1y", 252))
}
LEVELS: dict[str, Metric] = {
    "open": OPEN,
    "close": CLOSE,
    "vwap": VWAP,
    **{
        f"{kind}{n}_{name}": _mean_at(kind, n, name)
        for kind, n, name in (
            *(("ema", 20, "2m"), ("ema", 9, "5m"), ("ema", 9, "15m"), ("ema", 21, "15m")),
            *(("ema", 9, "60m"), ("ema", 21, "60m"), ("ema", 9, "daily"), ("ema", 21, "daily")),
            *(("ema", 50, "daily"), ("sma", 200, "daily")),
        )
    },
}
MEANS = (
    *(("sma", 20, "daily"), ("sma", 10, "daily"), ("sma", 200, "daily"), ("ema", 20, "1m")),
    *(("ema", 9, "1m"), ("ema", 9, "5m"), ("ema", 9, "15m"), ("ema", 21, "15m"), ("ema", 9, "60m")),
    *(("ema", 21, "60m"), ("ema", 50, "15m"), ("ema", 50, "daily")),
)
SHORT = ("1m", "2m", "5m", "15m")
PATTERNS = (*SHORT, "30m", "60m")
FACTS = ("institutional_ownership_pct", "marketcap", "shares_outstanding", "short_interest_pct", "short_ratio", "float")  # fmt: skip

# Of a print: it needs what the print met. Computed at prints, for those in use.
AT_PRINTS: dict[str, Metric] = {
    **{f"broke_recent_high_{name}": _broke_high(name) for name in (*SHORT, "4h")},
    **{f"broke_recent_low_{name}": _broke_low(name) for name in SHORT},
    **{f"crossed_above_{name}": _cross(level, 1) for name, level in LEVELS.items()},
    **{f"crossed_below_{name}": _cross(level, -1) for name, level in LEVELS.items()},
}
WATCHED = frozenset((*AT_PRINTS, *machines.NAMES, "running_up_60s"))

METRICS: dict[str, Metric] = {
    "price": lambda _, m: m.price,
    "volume_live": lambda s, m: _traded(s, m, m["live_volume"]),
    "vwap_live": lambda _, m: m["live_notional"] / _positive(m["live_volume"]),
    **{name: _bar(name) for name in BAR},
    # sessions
    "premarket_volume": lambda s, m: _traded(s, m, m["volume_pre"]),
    "postmarket_volume": _postmarket_volume,
    "volume_daily": lambda s, m: _traded(s, m, m["volume_daily"]),
    "dollar_volume_daily": _notional_daily,
    "minutes_in_market": _minutes_in_market,
    # windows of minutes
    **{f"volume_{n}m": _sum("volume", n) for n in MINUTE_WINDOWS},
    **{f"dollar_volume_{n}m": _sum("notional", n) for n in (1, 5, 15, 60)},
    **{f"trade_count_{n}m": _sum("count", n) for n in (1, 2, 5, 15, 60)},
    **{f"change_{n}m": _change(_close_before(n)) for n in (1, 2, 5, 10, 15, 30, 60)},
    **{f"change_pct_{n}m": _change_pct(_close_before(n)) for n in MINUTE_WINDOWS},
    **{f"change_pct_{n}h": _change_pct(_close_before(60 * n)) for n in (2, 4)},
    **{f"change_pct_{n}d": _change_pct(_close_days_ago(n)) for n in (2, 5, 10, 20)},
    # against closes and opens
    "change_from_close": _change(CLOSE),
    "change_from_close_pct": _change_pct(CLOSE),
    "change_from_close_premarket": _in_session(_change(CLOSE), sessions.PREMARKET),
    "change_from_close_premarket_pct": _in_session(_change_pct(CLOSE), sessions.PREMARKET),
    "change_from_close_postmarket": _in_session(_change(_fact("close_market")), sessions.POSTMARKET),
    "change_from_close_postmarket_pct": _in_session(_change_pct(_fact("close_market")), sessions.POSTMARKET),
    "change_from_open": _change(OPEN),
    "change_from_open_pct": _change_pct(OPEN),
    "gap_from_close": _gap,
    "gap_from_close_pct": lambda s, m: 100.0 * _gap(s, m) / CLOSE(s, m),
    # ranges
    **{f"range_{name}": _range(*span) for name, span in SPAN_NAMES.items() if name not in ("20d", "1y")},
    **{f"range_pct_{name}": _range_pct(*span) for name, span in SPAN_NAMES.items() if name not in ("5d", "10d", "1y")},
    **{f"position_in_range_{name}": _position(*span) for name, span in SPAN_NAMES.items() if name != "10m"},
    **{f"biggest_range_{name}": _biggest_range(n) for name, n in (("3m", 63), ("6m", 126), ("1y", 252))},
    "relative_range_pct": lambda s, m: 100.0 * (m["ext_high"] - m["ext_low"]) / _positive(_atr("daily")(s, m)),
    # volume against its past
    **{f"avg_volume_{n}d": _mean_volume(n) for n in (5, 10, 20)},
    **{f"relative_volume_{name}": _relative_volume(name) for name in SHORT},
    "relative_volume_daily": _relative_volume_daily,
    "relative_volume_same_time": _same_time,
    **{f"volume_spike_{n}_{name}": _spike(name, n) for n, name in product((2, 10), SHORT)},
    # indicators
    **{name: _indicator(name) for name in INDICATORS if name not in ("macd", "macd_signal", "macd_histogram", "bb_mid", "bb_upper", "bb_lower", "stoch_k", "stoch_d")},
    "macd_12_26_9": _indicator("macd"),
    "macd_12_26_9_signal": _indicator("macd_signal"),
    "macd_12_26_9_histogram": _indicator("macd_histogram"),
    "bb_20_2.0": _indicator("bb_mid"),
    "bb_20_2.0_upper": _indicator("bb_upper"),
    "bb_20_2.0_lower": _indicator("bb_lower"),
    "stoch_14_3_3": _indicator("stoch_k"),
    "stoch_14_3_3_d": _indicator("stoch_d"),
    **{f"rsi_14_{name}": _of_series(name, series.rsi, 14) for name in ("2m", "5m", "15m", "daily")},
    **{f"atr_14_{name}": _atr(name) for name in ("5m", "daily")},
    **{
        f"atrp_14_{name}": lambda s, m, name=name: 100.0 * _atr(name)(s, m) / _candle(name, "close")(s, m)
        for name in ("1m", "5m", "daily")
    },
    # distances
    "vwap_dist": _change(VWAP),
    "vwap_dist_pct": _change_pct(VWAP),
    "vwap_dist_5m_pct": _distance(_indicator("vwap_5m")),
    **{f"ma_dist_{kind}{n}_{name}_pct": _distance(_mean_at(kind, n, name)) for kind, n, name in MEANS},
    "dist_to_high_of_day_pct": _near_high(lambda _, m: m["day_high"]),
    "dist_to_low_of_day_pct": _near_low(lambda _, m: m["day_low"]),
    "dist_to_high_of_day_extended_pct": _near_high(TODAY_HIGH),
    "dist_to_low_of_day_extended_pct": _near_low(TODAY_LOW),
    **{f"dist_to_recent_high_{name}_pct": _near_high(_recent(name, "high")) for name in SHORT},
    **{f"dist_to_recent_low_{name}_pct": _near_low(_recent(name, "low")) for name in SHORT},
    # candles
    **{f"consecutive_candles_{name}": _of_series(name, series.run) for name in (*SHORT, "daily")},
    **{f"lower_shadow_ratio_{name}": _lower_shadow(name) for name in SHORT},
    **{f"upper_shadow_ratio_{name}": _upper_shadow(name) for name in SHORT},
    **{f"is_bullish_candle_{name}": _colour(name, 1) for name in SHORT},
    **{f"is_bearish_candle_{name}": _colour(name, -1) for name in SHORT},
    **{f"bullish_engulfing_{name}": _pair(name, _bullish_engulfing) for name in PATTERNS},
    **{f"bearish_engulfing_{name}": _pair(name, _bearish_engulfing) for name in PATTERNS},
    **{f"bullish_harami_{name}": _pair(name, _bullish_harami) for name in SHORT},
    **{f"bearish_harami_{name}": _pair(name, _bearish_harami) for name in SHORT},
    **{f"inside_bar_{name}": _inside(name) for name in ("5m", "15m", "30m", "60m", "4h")},
    "inside_bar_1d": _inside("daily"),
    **{f"new_candle_high_{name}": _beyond_last(name, "high", 1) for name in (*PATTERNS, "4h")},
    **{f"new_candle_low_{name}": _beyond_last(name, "low", -1) for name in (*PATTERNS, "4h")},
    "new_candle_high_1d": _beyond_last("daily", "high", 1),
    "new_candle_low_1d": _beyond_last("daily", "low", -1),
    # what needs the print before
    **{name: _said(name) for name in (*AT_PRINTS, *machines.NAMES)},
    **{f"opening_range_breakout_{n}m": _opening_range(n, 1) for n in OPENING_RANGES},
    **{f"opening_range_breakdown_{n}m": _opening_range(n, -1) for n in OPENING_RANGES},
    "through_vwap_above": _through_vwap(1),
    "through_vwap_below": _through_vwap(-1),
    "running_up_60s": _running_move,
    "running_up_60s_pct": _running_pct,
    "running_down_60s": _running_move,
    "running_down_60s_pct": _running_pct,
    # price bands
    "limit_state_s": halts.limit_state_s,
    "dist_to_limit_up_pct": _near_high(lambda s, m: halts.bands(s, m)[0]),
    "dist_to_limit_down_pct": _near_low(lambda s, m: halts.bands(s, m)[1]),
    # quotes
    "bid": lambda s, m: quotes.side(s, m.row, quotes.BID),
    "ask": lambda s, m: quotes.side(s, m.row, quotes.ASK),
    "bid_size": lambda s, m: quotes.side(s, m.row, quotes.BID_SIZE),
    "ask_size": lambda s, m: quotes.side(s, m.row, quotes.ASK_SIZE),
    "mid": lambda s, m: quotes.mid(s, m.row),
    "spread": lambda s, m: quotes.spread(s, m.row),
    "spread_pct": lambda s, m: 100.0 * quotes.spread(s, m.row) / quotes.mid(s, m.row),
    "locked_s": lambda s, m: quotes.lasted_s(s, m.row, m.ts_ns, quotes.LOCKED),
    "crossed_s": lambda s, m: quotes.lasted_s(s, m.row, m.ts_ns, quotes.CROSSED),
    # reference data
    **{name: _reference(name) for name in FACTS},
    "minutes_since_news": _since_news(MINUTE_NS, DAY_NS),
    "hours_since_news": _since_news(HOUR_NS, DAY_NS),
    "days_since_news": _since_news(DAY_NS, 3 * DAY_NS),
    "days_until_earnings": _until_earnings,
}  # fmt: skip
ALIASES = {
    "rsi_14_1m": "rsi_14",
    "atr_14_1m": "atr_14",
    **{f"price_change_{n}m_pct": f"change_pct_{n}m" for n in (1, 2, 5, 15, 30, 60)},
}
NAMES = frozenset(METRICS)
