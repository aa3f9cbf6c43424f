"""Moves the scanner's state on: by prints, by closed bars, by the clock and by reference data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import firsts, machines, outliers, reference, series, sessions
from functions.market.indicators import NAMES as INDICATORS
from functions.market.running import Runs, fold, runs_from, runs_of, shifted
from functions.market.state import (
    BAR,
    CHANGES,
    DAYS,
    LOOK_BACK,
    MINUTE_NS,
    MINUTES,
    MINUTES_OF,
    OPENING_RANGES,
    PROFILE_MINUTES,
    SERIES,
)

Array = NDArray[Any]

VOLUME, LAST, EXTREMES, OFFICIAL_OPEN, OFFICIAL_CLOSE = 1, 2, 4, 8, 16  # bits of `upd`
CHANGE_NS = 250_000_000  # price changes closer than this are one
HALF_HOUR = 30


@dataclass
class Moments:
    """Events at which metrics are wanted: prints, or symbols at a clock event.

    Fields that need work are thunks in `later`, done when first asked for.
    """

    row: Array
    ts_ns: Array
    price: Array
    minute: Array
    session: int | Array
    later: dict[str, Callable[[], Array]]
    is_all: bool = False  # the rows are all rows, in order
    memo: dict[Any, Any] = field(default_factory=dict)
    where: tuple[sessions.Moment, ...] = ()

    def __getitem__(self, name: str) -> Array:
        if name not in self.memo:
            self.memo[name] = self.later[name]()
        return self.memo[name]

    def __len__(self) -> int:
        return len(self.row)

    def of(self, state: Any, column: str) -> Array:
        """A state column at each event's row."""
        return state[column] if self.is_all else state[column][self.row]


def complete(events: Moments) -> None:
    """Give events the fields that follow from others."""
    money = ("volume_pre", "volume_market", "volume_post", "notional_pre", "notional_market")
    events.later["session_vwap"] = lambda: session_vwap(
        *(events[name] for name in money), np.asarray(events.session)
    )
    events.later["volume_daily"] = lambda: events[money[0]] + events[money[1]] + events[money[2]]


@dataclass(frozen=True)
class Prints:
    """The prints of a part that may fire rules: eligible, in time, in order of arrival."""

    runs: Runs  # the same prints brought together by symbol
    events: Moments
    ts_ns: Array


def parts_of(ts_ns: Array) -> Iterator[slice]:
    """The stretches of a frame that lie in one session of one day, in every market."""
    first, last = int(ts_ns[0]), int(ts_ns[-1])
    stretch = ts_ns // sessions.STRETCH_NS
    if (
        first // sessions.STRETCH_NS == last // sessions.STRETCH_NS
        and (stretch == stretch[0]).all()
    ):
        yield slice(None)
        return
    cuts = np.flatnonzero(np.diff(stretch) != 0) + 1
    for start, stop in pairwise([0, *cuts.tolist(), len(ts_ns)]):
        yield slice(start, stop)


def know_markets(state: Any, row: Array) -> Array:
    """The market code of each row, looked up once per symbol."""
    market = state["market"][row]
    if not market.all():
        for one in np.unique(row[market == 0]).tolist():
            state["market"][one] = 1 + sessions.market_of(state.symbols[one], state["setup"])
        market = state["market"][row]
    return market - 1


# -- days and sessions


def roll(state: Any, row: Array, where: tuple[sessions.Moment, ...]) -> None:
    """Bring rows (distinct) to the day and session of a moment; going back changes nothing."""
    market = know_markets(state, row)
    for code in np.unique(market).tolist():
        moment = where[code]
        rows = row[market == code]
        fresh = rows[state["day"][rows] < moment.day]
        if len(fresh):
            _begin_day(state, fresh, moment)
        same = rows[state["day"][rows] == moment.day]
        moved = same[state["session"][same] < moment.session]
        state["session"][moved] = moment.session


def _begin_day(state: Any, row: Array, moment: sessions.Moment) -> None:
    traded = row[(state["day"][row] > 0) & _traded(state, row)]
    if len(traded):
        _end_day(state, traded)
    reference.split_due(state, row, moment.day)
    state["post_before"][row] = state["volume_post"][row]
    for name in (
        *("volume_pre", "volume_market", "volume_post", "notional_pre", "notional_market"),
        *("open_pre", "open_market", "close_market", "is_official", "session"),
        *("day_high", "day_low", "ext_high", "ext_low", "half_high", "half_low"),
        *(
            "range_high",
            "range_low",
            "range_up",
            "range_down",
            "seen",
            "other",
            "prev",
            "prev_other",
        ),
        *("vwap_closed", "same_minute", "same_time", "quote_state"),
    ):
        state[name][row] = 0
    slot = state["profile_days"][row] % (DAYS + 1)
    kinds = state["profile_kind"]
    kinds[row, slot] = 2 if sessions.is_half_day(moment) else 1
    places = slot[:, None] * PROFILE_MINUTES + np.arange(PROFILE_MINUTES)
    dirty = state["profile"][row[:, None], places].any(axis=1) if len(row) else slot
    if dirty.any():
        state.put("profile", (row[dirty][:, None], places[dirty]), 0.0)
    state["day"][row] = moment.day
    for name in state.family("arm"):
        if name.startswith("vwap_"):
            state[f"arm.{name}"][row] = 0


def _traded(state: Any, row: Array) -> Array:
    total = state["volume_pre"][row] + state["volume_market"][row] + state["volume_post"][row]
    return (total > 0) | (state["ext_high"][row] > 0)


def _end_day(state: Any, row: Array) -> None:
    """Keep a day that is over: its candle, its close, its volume by minute."""
    close, last = state["close_market"][row], state["last"][row]
    state["prev_close"][row] = np.where(close > 0, close, last)
    state["profile_days"][row] += 1
    whole = row[(close > 0) & (state["day_high"][row] > 0)]
    if not len(whole):
        return
    newest = series.last_of(state, SERIES["daily"], whole)
    start = series.at(state, SERIES["daily"], "start", whole, newest)
    missing = whole[(newest < 0) | (start < state["day"][whole])]  # a file may have said it already
    candle = {
        "open": state["open_market"][missing],
        "high": state["day_high"][missing],
        "low": state["day_low"][missing],
        "close": state["close_market"][missing],
        "volume": state["volume_pre"][missing]
        + state["volume_market"][missing]
        + state["volume_post"][missing],
    }
    series.put_candles(state, SERIES["daily"], missing, state["day"][missing], candle)


# -- prints


def add_prints(
    state: Any, trades: Any, uses: frozenset[str], holds_outliers: bool = False
) -> Prints:
    """Move the state on by prints of one stretch; the prints that may fire.

    uses            names of metrics in use: those that watch every print are moved on as well
    holds_outliers  prints far from the market count in the volume only, until they are confirmed

    Prints of a minute behind the symbol's newest are late: they count in the volumes and fire
    nothing. Prints of an earlier trading day change nothing but bars.
    """
    row, ts_ns, price, size = trades["row"], trades["ts_ns"], trades["price"], trades["size"]
    upd = trades.get("upd")
    where = sessions.moments(int(ts_ns[0]), state["setup"])
    runs = runs_of(row)
    roll(state, runs.rows, where)
    market = state["market"][row] - 1
    days = np.array([one.day for one in where])[market]
    session = np.array([one.session for one in where], dtype=np.uint8)[market]
    is_today = state["day"][row] == days
    counts = is_today if upd is None else is_today & ((upd & VOLUME) > 0)
    counted = np.where(counts, size, 0.0)
    notional = counted * price
    minute, is_late, segments = _minutes(state, runs, ts_ns // MINUTE_NS)
    if upd is not None:
        upd = _firsts(state, row, upd, np.where(is_today & ~is_late, days, firsts.NO_DAY))
    if holds_outliers:
        upd = _without_held(state, trades, upd, is_today & ~is_late, days, session)
    trades_in = counts.astype(float) if "count" not in trades else counts * trades["count"]
    later = _live(state, runs, segments, minute, counted, notional, trades_in, price, upd, is_late)
    volumes = _sessions(state, runs, session, counted, notional)
    may_fire = is_today & ~is_late
    if upd is not None:
        _official(state, row, price, upd, is_today)
        may_fire &= (upd & LAST) > 0
    place = np.flatnonzero(may_fire)
    is_all = len(place) == len(row)
    later |= volumes
    picked = {name: (lambda name=name: runs.unsorted(later[name])[place]) for name in later}
    events = Moments(row[place], ts_ns[place], price[place], minute[place], session[place], picked)
    events.where = where
    complete(events)
    own = runs if is_all else runs_of(events.row)
    may_move = None if upd is None else (upd[place] & EXTREMES) > 0
    moves = may_fire if upd is None else is_today & ~is_late & ((upd & EXTREMES) > 0)
    if (moves & ~may_fire).any():  # prints that move highs and lows and are no last price
        whole = Moments(row, ts_ns, price, minute, session, {})
        _extremes(state, runs, whole, moves)
        events.memo |= {name: values[place] for name, values in whole.memo.items()}
    elif len(place):
        _extremes(state, own, events, may_move)
    if len(place):
        _prices(state, own, events)
        _opens(state, events, may_move)
        if any(name.startswith("running_") for name in uses):
            _changes(state, own, events)
        machines.watch(state, own, events, uses)
    return Prints(own, events, ts_ns[place])


def _firsts(state: Any, row: Array, upd: Array, day: Array) -> Array:
    """What prints may update, once it is known which are the first eligible last of their day."""
    if not (upd & firsts.LAST_IF_FIRST).any():
        return upd
    last_day = firsts.trading_days(state["last_ns"][row], state["market"][row] - 1)
    return firsts.settled(upd, row, day, last_day)


def _without_held(
    state: Any, trades: Any, upd: Array | None, is_in_time: Array, day: Array, session: Array
) -> Array:
    """What prints may update; those that are held as outliers only the volume."""
    price = trades["price"]
    upd = np.full(len(price), VOLUME | LAST | EXTREMES, dtype=np.uint8) if upd is None else upd
    both = LAST | EXTREMES
    may = is_in_time & ((upd & both) == both)
    held = outliers.hold(state, trades["row"], trades["ts_ns"], price, may, day, session)
    return np.where(held, upd & ~np.uint8(both), upd)


def _minutes(state: Any, runs: Runs, minute: Array) -> tuple[Array, Array, Runs]:
    """Each print's newest minute, whether it is behind it, and the runs of one symbol and minute."""
    carried = state["minute"][runs.rows]
    ordered = minute[runs.order]
    newest = fold(np.maximum, carried, runs, ordered)
    fresh = np.empty(len(newest), dtype=bool)
    fresh[:1] = True
    fresh[1:] = newest[1:] != newest[:-1]
    fresh[runs.starts] = True
    is_late = runs.unsorted(ordered < newest)
    segments = runs if int(fresh.sum()) == len(runs.starts) else runs_from(runs, fresh)
    return runs.unsorted(newest), is_late, segments


def _live(
    state: Any,
    runs: Runs,
    segments: Runs,
    minute: Array,
    counted: Array,
    notional: Array,
    counts: Array,
    price: Array,
    upd: Array | None,
    is_late: Array,
) -> dict[str, Array]:
    """The running minute at every print, by symbol (sorted places)."""
    newest = minute[runs.order]
    goes_on = state["minute"][segments.rows] == newest[segments.starts]
    in_time = ~is_late
    moves = in_time if upd is None else in_time & ((upd & EXTREMES) > 0)
    inputs = {
        "live_volume": (np.add, np.where(in_time, counted, 0.0), 0.0),
        "live_notional": (np.add, np.where(in_time, notional, 0.0), 0.0),
        "live_count": (np.add, np.where(in_time, counts, 0.0), 0.0),
        "live_high": (np.maximum, np.where(moves, price, 0.0), 0.0),
        "live_low": (np.minimum, np.where(moves, price, np.inf), np.inf),
    }
    out: dict[str, Array] = {}
    for name, (ufunc, values, nothing) in inputs.items():
        carry = np.where(goes_on, state[name][segments.rows], nothing)
        if name == "live_low":
            carry = np.where(carry > 0, carry, np.inf)
        out[name] = fold(ufunc, carry, segments, values[runs.order])
        out[f"before_{name}"] = shifted(carry, segments, out[name])
        state[name][runs.rows] = out[name][runs.lasts]
    state["minute"][runs.rows] = newest[runs.lasts]
    met = {"met_high": out.pop("before_live_high"), "met_low": out.pop("before_live_low")}
    for name in ("live_volume", "live_notional", "live_count"):
        del out[f"before_{name}"]
    return out | met


def _sessions(
    state: Any, runs: Runs, session: Array, counted: Array, notional: Array
) -> dict[str, Array]:
    """Volume and money of each session at every print, by symbol."""
    out: dict[str, Array] = {}
    of = session[runs.order]
    for name, values, codes in (
        ("volume_pre", counted, (sessions.PREMARKET,)),
        ("volume_market", counted, (sessions.MARKET,)),
        ("volume_post", counted, (sessions.POSTMARKET,)),
        ("notional_pre", notional, (sessions.PREMARKET,)),
        ("notional_market", notional, (sessions.MARKET, sessions.POSTMARKET)),
    ):
        carry = state[name][runs.rows]
        mine = np.isin(of, codes)
        if mine.any():
            out[name] = fold(np.add, carry, runs, np.where(mine, values[runs.order], 0.0))
            state[name][runs.rows] = out[name][runs.lasts]
        else:
            out[name] = carry[runs.of]
    return out


def _official(state: Any, row: Array, price: Array, upd: Array, is_today: Array) -> None:
    for bit, flag, name in ((OFFICIAL_OPEN, 1, "open_market"), (OFFICIAL_CLOSE, 2, "close_market")):
        told = np.flatnonzero(is_today & ((upd & bit) > 0))
        if len(told):
            state[name][row[told]] = price[told]
            state["is_official"][row[told]] |= flag


def _prices(state: Any, runs: Runs, events: Moments) -> None:
    """Last prices, and what each print met: the price before it, and the newest that differs from that."""
    ordered = events.price[runs.order]
    carry = state["seen"][runs.rows]
    prev = shifted(carry, runs, ordered)
    is_set = (ordered != prev) & (prev > 0)
    other = filled_forward(is_set, prev, state["other"][runs.rows], runs)
    prev_other = shifted(state["other"][runs.rows], runs, other)
    lasts = runs.lasts
    state["seen"][runs.rows] = ordered[lasts]
    state["other"][runs.rows] = other[lasts]
    state["prev"][runs.rows] = prev[lasts]
    state["prev_other"][runs.rows] = prev_other[lasts]
    state["last"][runs.rows] = ordered[lasts]
    state["last_ns"][runs.rows] = events.ts_ns[runs.order][lasts]
    events.memo["prev"] = runs.unsorted(prev)
    events.memo["prev_other"] = runs.unsorted(prev_other)
    met_high, met_low = events["met_high"], events["met_low"]
    state["met_high"][runs.rows] = met_high[runs.order][lasts]
    state["met_low"][runs.rows] = met_low[runs.order][lasts]


def _extremes(state: Any, runs: Runs, events: Moments, may_move: Array | None) -> None:
    """Highs and lows of the day at every print: regular session and extended hours."""
    is_market = np.asarray(events.session) == sessions.MARKET
    is_open = np.asarray(events.session) != sessions.CLOSED
    if may_move is not None:
        is_market, is_open = is_market & may_move, is_open & may_move
    for name, ufunc, nothing, mine in (
        ("day_high", np.maximum, 0.0, is_market),
        ("day_low", np.minimum, np.inf, is_market),
        ("ext_high", np.maximum, 0.0, is_open),
        ("ext_low", np.minimum, np.inf, is_open),
    ):
        carry = state[name][runs.rows]
        carry = np.where(carry > 0, carry, nothing)
        if mine.any():
            after = fold(ufunc, carry, runs, np.where(mine, events.price, nothing)[runs.order])
            state[name][runs.rows] = np.where(
                np.isfinite(after[runs.lasts]), after[runs.lasts], 0.0
            )
        else:
            after = carry[runs.of]
        found = runs.unsorted(after)
        events.memo[name] = np.where(np.isfinite(found) & (found > 0), found, np.nan)


def _opens(state: Any, events: Moments, may_move: Array | None) -> None:
    """The first prices of the sessions, and the newest of the regular one."""
    session = np.asarray(events.session)
    for code, name in ((sessions.PREMARKET, "open_pre"), (sessions.MARKET, "open_market")):
        firsts = (session == code) & (state[name][events.row] == 0)
        if may_move is not None:
            firsts &= may_move
        places = np.flatnonzero(firsts)[::-1]  # the first one is written last
        state[name][events.row[places]] = events.price[places]
    closes = (session == sessions.MARKET) & ((state["is_official"][events.row] & 2) == 0)
    places = np.flatnonzero(closes)
    state["close_market"][events.row[places]] = events.price[places]


def _changes(state: Any, runs: Runs, events: Moments) -> None:
    """Remember prices by time, one per symbol and 250 ms: the newest of each."""
    row, ts_ns = events.row[runs.order], events.ts_ns[runs.order]
    price, slot = events.price[runs.order], ts_ns // CHANGE_NS
    count = state["changes"][runs.rows]
    newest = state["change_ns"][runs.rows, (count - 1) % CHANGES] // CHANGE_NS
    carry = np.where(count > 0, newest, -1)
    before = shifted(carry, runs, fold(np.maximum, carry, runs, slot))
    grows = slot > before
    total = np.cumsum(grows)
    number = total - (total - grows)[runs.starts][runs.of] + count[runs.of] - 1
    is_last = np.empty(len(row), dtype=bool)
    is_last[-1:] = True
    is_last[:-1] = (row[1:] != row[:-1]) | (number[1:] != number[:-1])
    keep = is_last & (slot >= before)
    index = (row[keep], number[keep] % CHANGES)
    state.put("change_ns", index, ts_ns[keep])
    state.put("change_price", index, price[keep])
    state["changes"][runs.rows] = number[runs.lasts] + 1


def filled_forward(is_set: Array, values: Array, carry: Array, runs: Runs) -> Array:
    """In each run the value where it was last set; `carry` before the first."""
    place = np.maximum.accumulate(np.where(is_set, np.arange(len(is_set)), -1))
    is_own = place >= runs.starts[runs.of]
    return np.where(is_own, values[np.maximum(place, 0)], carry[runs.of])


def ordinals(state: Any, runs: Runs, ts_ns: Array) -> tuple[Array, Array]:
    """What names each print among those of its symbol: the newest time reached, and the print's number since.

    Times may repeat and go back a little; the two together never repeat.
    """
    carried_ns = state["same_ns"][runs.rows]
    newest = fold(np.maximum, carried_ns, runs, ts_ns[runs.order])
    begins = newest > shifted(carried_ns, runs, newest)
    place = np.arange(len(newest))
    carried = place - runs.starts[runs.of] + state["same"][runs.rows][runs.of] + 1
    start = np.maximum.accumulate(np.where(begins, place, -1))
    number = np.where(start >= runs.starts[runs.of], place - start, carried)
    state["same_ns"][runs.rows] = newest[runs.lasts]
    state["same"][runs.rows] = number[runs.lasts]
    return runs.unsorted(newest), runs.unsorted(number)


# -- bars


def add_bars(state: Any, bars: Any) -> None:
    """Keep closed bars: the newest one whole, every minute of the last hours, and candles of them."""
    row, minute = bars["row"], bars["ts_ns"] // MINUTE_NS
    know_markets(state, row)
    order = np.argsort(minute, kind="stable")
    while len(order):  # minute by minute: in one minute a symbol has one bar
        first = order[minute[order] == minute[order[0]]]
        order = order[minute[order] != minute[order[0]]]
        _, only = np.unique(row[first][::-1], return_index=True)  # the newest revision wins
        _add_minute(state, bars, first[::-1][only], int(minute[first[0]]))


def _add_minute(state: Any, bars: Any, place: Array, minute: int) -> None:
    row = bars["row"][place]
    roll(state, row, sessions.moments(minute * MINUTE_NS, state["setup"]))
    _keep_minute(state, bars, place, row, minute)
    candle = {name: bars[name][place] for name in series.CANDLE}
    series.put_candles(state, SERIES["1m"], row, np.full(len(row), minute), candle)
    closed_to = int(state["closed_to"] or 0)
    for name, minutes in MINUTES_OF.items():
        if minutes > 1:
            start = bucket_start(state, row, minute, minutes)
            is_over = start + minutes <= closed_to
            if is_over.any():
                close_candles(state, name, row[is_over], start[is_over])
    _keep_day(state, row, minute)
    newest = state["bar_minute"][row] <= minute
    rows, of = row[newest], place[newest]
    state["bar_minute"][rows] = minute
    for column, name in enumerate(BAR):
        state["bar"][rows, column] = bars[name][of]
    state["vwap_closed"][rows] = session_vwap(
        *(state[name][rows] for name in ("volume_pre", "volume_market", "volume_post")),
        *(state[name][rows] for name in ("notional_pre", "notional_market")),
        state["session"][rows],
    )


def session_vwap(
    pre: Array, market: Array, post: Array, money_pre: Array, money: Array, session: Array
) -> Array:
    """VWAP since the open, before it since 04:00; NaN where nothing traded."""
    before = session <= sessions.PREMARKET
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(before, money_pre / pre, money / (market + post))


def _keep_minute(state: Any, bars: Any, place: Array, row: Array, minute: int) -> None:
    # What was known before a silence longer than the ring is no price of a few hours ago.
    is_first = (state["first_minute"][row] == 0) | (minute - 1 - state["filled"][row] > LOOK_BACK)
    state["first_minute"][row[is_first]] = minute
    state["filled"][row[is_first]] = minute - 1
    gap = np.clip(minute - 1 - state["filled"][row], 0, MINUTES)
    if gap.any():  # minutes without trades keep the price
        quiet = np.repeat(row, gap)
        back = np.arange(len(quiet)) - np.repeat(np.cumsum(gap) - gap, gap) + 1
        newest = state["closes"][quiet, state["filled"][quiet] % MINUTES]
        state.put("closes", (quiet, (minute - back) % MINUTES), newest)
    kept = state["filled"][row] - minute < MINUTES
    rows, of, slot = row[kept], place[kept], minute % MINUTES
    at = (rows, slot)
    was_there = state["ring_minute"][at] == minute
    revised = was_there | (minute < state["filled"][rows])
    if revised.any():  # later minutes without trades carried the old price
        _carry_on(state, rows[revised], minute, bars["close"][of[revised]])
    state.put("ring_minute", at, minute)
    for name in ("open", "high", "low", "volume"):
        state.put(f"ring_{name}", at, bars[name][of])
    volume = bars["volume"][of]
    with np.errstate(invalid="ignore"):
        state.put("ring_notional", at, np.where(volume > 0, bars["vwap"][of] * volume, 0.0))
    state.put("ring_count", at, bars["count"][of])
    state.put("closes", at, bars["close"][of])
    state["filled"][row] = np.maximum(state["filled"][row], minute)


def _carry_on(state: Any, row: Array, minute: int, close: Array) -> None:
    for one, price in zip(row.tolist(), close.tolist(), strict=True):
        later = minute + 1
        while later <= state["filled"][one] and state["ring_minute"][one, later % MINUTES] != later:
            state.put("closes", (one, later % MINUTES), price)
            later += 1


def bucket_start(state: Any, row: Array, minute: int | Array, minutes: int) -> Array:
    """The minute at which each row's candle of a timeframe began: counted from the market's midnight."""
    market = state["market"][row] - 1
    ts_ns = int(np.max(minute)) * MINUTE_NS
    where = sessions.moments(ts_ns, state["setup"])
    midnight = np.array([one.midnight_ns // MINUTE_NS for one in where])[market]
    return np.asarray(minute - (minute - midnight) % minutes)


def close_candles(state: Any, name: str, row: Array, start: Array) -> None:
    """Make the candles of a timeframe that began at `start` from their minutes; rows without are left out."""
    minutes = MINUTES_OF[name]
    wanted = start[:, None] + np.arange(minutes)
    slots = wanted % MINUTES
    is_there = state["ring_minute"][row[:, None], slots] == wanted
    some = is_there.any(axis=1)
    if not some.any():
        return
    row, start, slots, is_there = row[some], start[some], slots[some], is_there[some]
    first = is_there.argmax(axis=1)
    last = minutes - 1 - is_there[:, ::-1].argmax(axis=1)
    line = np.arange(len(row))
    by = row[:, None]
    candle = {
        "open": state["ring_open"][row, slots[line, first]],
        "high": np.where(is_there, state["ring_high"][by, slots], 0.0).max(axis=1),
        "low": np.where(is_there, state["ring_low"][by, slots], np.inf).min(axis=1),
        "close": state["closes"][row, slots[line, last]],
        "volume": np.cumsum(np.where(is_there, state["ring_volume"][by, slots], 0.0), axis=1)[
            :, -1
        ],
    }
    series.put_candles(state, SERIES[name], row, start, candle)
    machines.at_close(state, name, row)


def _keep_day(state: Any, row: Array, minute: int) -> None:
    """The bar's share in the day: highs and lows by half hour, opening ranges, volume by minute."""
    where = sessions.moments(minute * MINUTE_NS, state["setup"])
    market = state["market"][row] - 1
    for code in np.unique(market).tolist():
        moment = where[code]
        rows = row[(market == code) & (state["day"][row] == moment.day)]
        if not len(rows) or moment.session == sessions.CLOSED:
            continue
        if code == sessions.CRYPTO:
            continue
        since = minute - moment.start_ns // MINUTE_NS
        if code == sessions.US:
            _keep_half_hour(state, rows, minute, since)
        else:
            high, low = (state[name][rows, minute % MINUTES] for name in ("ring_high", "ring_low"))
            raise_extremes(state, rows, high, low, minute, code)
        _keep_profile(state, rows, minute, since)
        if moment.session == sessions.MARKET:
            _keep_ranges(state, rows, minute, minute - moment.open_ns // MINUTE_NS)


def _keep_half_hour(state: Any, row: Array, minute: int, since: int) -> None:
    half, first = since // HALF_HOUR, minute - since % HALF_HOUR
    wanted = first + np.arange(HALF_HOUR)
    is_there = state["ring_minute"][row[:, None], wanted % MINUTES] == wanted
    high = np.where(is_there, state["ring_high"][row[:, None], wanted % MINUTES], 0.0).max(axis=1)
    low = np.where(is_there, state["ring_low"][row[:, None], wanted % MINUTES], np.inf).min(axis=1)
    before_high, before_low = state["half_high"][row, half], state["half_low"][row, half]
    state["half_high"][row, half] = high
    state["half_low"][row, half] = low
    changed = row[(before_high > high) | ((before_low > 0) & (before_low < low))]
    if len(changed):  # a correction or cancel took an extreme away
        recompute_extremes(state, changed)
    raise_extremes(state, row, high, low, minute)


def raise_extremes(
    state: Any, row: Array, high: Array, low: Array, minute: int, market: int = sessions.US
) -> None:
    """Bars may raise what prints did not: late prints, and days that came as bars."""
    moment = sessions.moments(minute * MINUTE_NS, state["setup"])[market]
    names = [("ext_high", "ext_low")]
    if moment.session == sessions.MARKET:
        names.append(("day_high", "day_low"))
    for up, down in names:
        state[up][row] = np.maximum(state[up][row], high)
        known = state[down][row]
        state[down][row] = np.where(known > 0, np.minimum(known, low), low)


def recompute_extremes(state: Any, row: Array) -> None:
    """Highs and lows of the day from its half hours and the running minute."""
    for names, halves in ((("day_high", "day_low"), slice(11, 24)), (("ext_high", "ext_low"), slice(0, 34))):  # fmt: skip
        high = state["half_high"][row, halves].max(axis=1)
        lows = state["half_low"][row, halves]
        low = np.where(lows > 0, lows, np.inf).min(axis=1)
        state[names[0]][row] = high
        state[names[1]][row] = np.where(np.isfinite(low), low, 0.0)
    _with_running(state, row)


def _with_running(state: Any, row: Array) -> None:
    """The running minute's share in the extremes of a New York day."""
    row = row[state["live_high"][row] > 0]
    for minute in np.unique(state["minute"][row]).tolist():
        moment = sessions.moments(minute * MINUTE_NS, state["setup"])[sessions.US]
        rows = row[(state["minute"][row] == minute) & (state["day"][row] == moment.day)]
        if len(rows) and moment.session != sessions.CLOSED:
            raise_extremes(state, rows, state["live_high"][rows], state["live_low"][rows], minute)


def _keep_ranges(state: Any, row: Array, minute: int, since_open: int) -> None:
    high = state["ring_high"][row, minute % MINUTES]
    low = state["ring_low"][row, minute % MINUTES]
    for column, minutes in enumerate(OPENING_RANGES):
        top, bottom = state["range_high"], state["range_low"]
        if since_open < minutes:
            top[row, column] = np.maximum(top[row, column], high)
            known = bottom[row, column]
            bottom[row, column] = np.where(known > 0, np.minimum(known, low), low)
            continue
        for name, broke in (
            ("range_up", (top[row, column] > 0) & (high > top[row, column])),
            ("range_down", (bottom[row, column] > 0) & (low < bottom[row, column])),
        ):
            first = state[name][row, column]
            earlier = broke & ((first == 0) | (first > minute))
            state[name][row[earlier], column] = minute


def _keep_profile(state: Any, row: Array, minute: int, since: int) -> None:
    if since >= PROFILE_MINUTES:
        return
    slot = state["profile_days"][row] % (DAYS + 1)
    volume = state["ring_volume"][row, minute % MINUTES]
    state.put("profile", (row, slot * PROFILE_MINUTES + since), volume)


def add_indicators(state: Any, indicators: Any) -> None:
    """Keep the indicators of the newest bar of each symbol."""
    row, minute = indicators["row"], indicators["ts_ns"] // MINUTE_NS
    order = np.argsort(minute, kind="stable")
    order = order[minute[order] >= state["indicators_minute"][row[order]]]
    state["indicators_minute"][row[order]] = minute[order]
    for column, name in enumerate(INDICATORS):
        state["indicators"][row[order], column] = indicators[name][order]
    machines.at_close(state, "1m", np.unique(row))


# -- the clock


def tick(state: Any, clock_ns: int) -> None:
    """Event time reached `clock_ns`: days and sessions begin, candles whose time is over close."""
    row = np.arange(state.rows)
    if not len(row):
        return
    outliers.release(state, clock_ns)
    roll(state, row, sessions.moments(clock_ns, state["setup"]))
    before, now = int(state["closed_to"] or 0), clock_ns // MINUTE_NS
    if now <= before:
        return
    state["closed_to"] = str(now)
    first = max(before + 1, now - MINUTES + 8) if before else now
    for end in range(first, now + 1):
        _close_at(state, row, end)


def _close_at(state: Any, row: Array, end: int) -> None:
    """Close the candles that end at a minute."""
    traded = row[state["filled"][row] > end - 1 - 240]
    if not len(traded):
        return
    for name, minutes in MINUTES_OF.items():
        if minutes == 1 or (minutes <= 60 and end % minutes):
            continue
        rows = traded[state["filled"][traded] >= end - minutes]
        if len(rows):
            start = bucket_start(state, rows, end - 1, minutes)
            due = start + minutes == end
            if due.any():
                close_candles(state, name, rows[due], start[due])
