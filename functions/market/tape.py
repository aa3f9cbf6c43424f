"""Moves the scanner's state on: by prints, quotes and the clock; by closed bars see `closed`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import (
    firsts,
    machines,
    outliers,
    quotes,
    reference,
    series,
    sessions,
    windows,
)
from functions.market.indicators import NAMES as INDICATORS
from functions.market.running import Runs, fold, runs_from, runs_of, shifted
from functions.market.state import (
    CHANGES,
    DAYS,
    MINUTE_NS,
    MINUTES_OF,
    OPENING_RANGES,
    PROFILE_MINUTES,
    SERIES,
)

Array = NDArray[Any]

VOLUME, LAST, EXTREMES, OFFICIAL_OPEN, OFFICIAL_CLOSE = 1, 2, 4, 8, 16  # bits of `upd`
LATE_MINUTES = 4  # a bar takes prints of the minute before by so many
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
    is_clock: bool = False  # symbols at a clock event: the rows are distinct
    memo: dict[Any, Any] = field(default_factory=dict)
    where: tuple[sessions.Moment, ...] = ()

    def __getitem__(self, name: str) -> Array:
        if name not in self.memo:
            later = self.later.get(
                name
            )  # knows nothing of these events, which end with the frame then
            self.memo[name] = FOLLOWING[name](self) if later is None else later()
        return self.memo[name]

    def __len__(self) -> int:
        return len(self.row)

    def of(self, state: Any, column: str) -> Array:
        """A state column at each event's row, to be looked at only."""
        return state.read(column)[self.at]

    @property
    def at(self) -> Any:
        """Index of the rows: where they are all rows a slice, which costs no gathering."""
        return slice(None) if self.is_all else self.row


MONEY = ("volume_pre", "volume_market", "volume_post", "notional_pre", "notional_market")
FOLLOWING: dict[str, Callable[[Moments], Array]] = {  # fields of events that follow from others
    "session_vwap": lambda events: session_vwap(
        *(events[name] for name in MONEY), np.asarray(events.session)
    ),
    "volume_daily": lambda events: events[MONEY[0]] + events[MONEY[1]] + events[MONEY[2]],
}


@dataclass(frozen=True)
class Prints:
    """The prints of a part that may fire rules: eligible, in time, in order of arrival."""

    runs: Runs  # the same prints brought together by symbol
    events: Moments
    ts_ns: Array
    ids: Array | None = None  # of trades, where the feed tells them
    sizes: Array | None = None

    def cause_of(self, event: int) -> dict[str, Any]:
        """What an alert says of the print that caused it."""
        return {} if self.ids is None else {"trade_ids": [int(self.ids[event])]}

    def name_of(self, event: int) -> tuple[int, int, float, float]:
        """(time, id or 0, price, size): what names a print when it is corrected."""
        number = 0 if self.ids is None else int(self.ids[event])
        size = 0.0 if self.sizes is None else float(self.sizes[event])
        return int(self.ts_ns[event]), number, float(self.events.price[event]), size


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
    market = state.read("market")[row]
    if not market.all():
        fresh = row[(state["bar_minute"][row] == 0) & (state["clean_to"][row] == 0)]
        windows.know(state, np.unique(fresh))
        for one in np.unique(row[market == 0]).tolist():
            state["market"][one] = 1 + sessions.market_of(state.symbols[one], state["setup"])
        market = state["market"][row]
    return market - 1


# -- days and sessions


def roll(state: Any, row: Array, where: tuple[sessions.Moment, ...]) -> None:
    """Bring rows (distinct) to the day and session of a moment; going back changes nothing."""
    market = know_markets(state, row)
    if not _is_behind(state, row, market, where):
        return
    for code in np.unique(market).tolist():
        moment = where[code]
        rows = row[market == code]
        fresh = rows[state["day"][rows] < moment.day]
        if len(fresh):
            _begin_day(state, fresh, moment)
        same = rows[state["day"][rows] == moment.day]
        moved = same[state["session"][same] < moment.session]
        begins = moved[state["session"][moved] == sessions.CLOSED]
        for name in ("seen", "other"):  # the first value after a day's start is no cross
            state[name][begins] = 0
        state["session"][moved] = moment.session
        if moment.session == sessions.MARKET:
            _forget_bounces(state, moved)  # the VWAP begins anew


def _is_behind(state: Any, row: Array, market: Array, where: tuple[sessions.Moment, ...]) -> bool:
    """Whether a day or a session begins for any of the rows."""
    day = np.array([one.day for one in where])[market]
    session = np.array([one.session for one in where])[market]
    known = state.read("day")[row]
    return bool(((known < day) | ((known == day) & (state.read("session")[row] < session))).any())


def _begin_day(state: Any, row: Array, moment: sessions.Moment) -> None:
    traded = row[(state["day"][row] > 0) & _traded(state, row)]
    if len(traded):
        _end_day(state, traded)
    reference.split_due(state, row, moment.day)
    state["post_before"][row] = state["volume_post"][row]
    for name in (
        *("volume_pre", "volume_market", "volume_post", "notional_pre", "notional_market"),
        *("open_pre", "open_market", "close_market", "is_official", "session"),
        *("day_high", "day_low", "ext_high", "ext_low", "changes"),
        *(
            "range_high",
            "range_low",
            "range_up",
            "range_down",
            "seen",
            "other",
        ),
        *("vwap_closed", "same_minute", "same_time", "quote_state"),
    ):
        state[name][row] = 0
    for name in ("half_high", "half_low"):
        state.put(name, (row, slice(None)), 0.0)
    slot = state["profile_days"][row] % (DAYS + 1)
    kinds = state["profile_kind"]
    kinds[row, slot] = 2 if sessions.is_half_day(moment) else 1
    for one in np.unique(slot).tolist():
        _empty_profile(state, row[slot == one], one * PROFILE_MINUTES)
    state["day"][row] = moment.day
    _forget_bounces(state, row)


def _empty_profile(state: Any, row: Array, first: int) -> None:
    """Make room for a day's volumes, hour by hour: all at once would be gathered as a whole."""
    rows = slice(None) if len(row) == state.rows else row
    for hour in range(first, first + PROFILE_MINUTES, 60):
        part = rows, slice(hour, hour + 60)
        if state["profile"][part].any():
            state.put("profile", part, 0.0)


def _forget_bounces(state: Any, row: Array) -> None:
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
    reference.keep_day(state, missing, state["day"][missing], candle)


# -- prints


def add_prints(
    state: Any, trades: Any, uses: frozenset[str], holds_outliers: bool = False
) -> Prints:
    """Move the state on by prints of one stretch; the prints that may fire.

    uses            names of metrics in use: those that watch every print are moved on as well
    holds_outliers  prints far from the market count in the volume only, until they are confirmed

    Prints of a minute behind the symbol's newest are late: they count in the volumes and fire
    nothing. Prints of an earlier trading day count in their minutes only.
    """
    row, ts_ns, price, size = trades["row"], trades["ts_ns"], trades["price"], trades["size"]
    upd = trades.get("upd")
    where = sessions.moments(int(ts_ns[0]), state["setup"])
    runs = runs_of(row)
    catch_up(state, _first_seen(state, runs.rows), int(ts_ns[0]) // MINUTE_NS)
    roll(state, runs.rows, where)
    market = state.read("market")[row] - 1
    days = np.array([one.day for one in where])[market]
    session = np.array([one.session for one in where], dtype=np.uint8)[market]
    is_today = state.read("day")[row] == days
    counts = np.ones(len(row), dtype=bool) if upd is None else (upd & VOLUME) > 0
    counted = np.where(counts, size, 0.0)
    notional = counted * price
    minute, is_late, segments = _minutes(state, runs, ts_ns // MINUTE_NS)
    if upd is not None:
        upd = _firsts(state, row, upd, np.where(is_today & ~is_late, days, firsts.NO_DAY))
    if holds_outliers:
        upd = _without_held(state, trades, upd, is_today & ~is_late, days, session)
    trades_in = counts.astype(float) if "count" not in trades else counts * trades["count"]
    later = _live(state, runs, segments, minute, counted, notional, trades_in, price, upd, is_late)
    _flows(state, segments, minute[runs.order], later)
    if is_late.any():
        sums = {"volume": counted, "notional": notional, "count": trades_in}
        _late(state, row, ts_ns // MINUTE_NS, is_late & counts, sums)
        moved = is_late & is_today
        moved = moved if upd is None else moved & ((upd & EXTREMES) > 0)
        _late_extremes(state, row, ts_ns // MINUTE_NS, price, np.flatnonzero(moved))
    today, money = np.where(is_today, counted, 0.0), np.where(is_today, notional, 0.0)
    volumes = _sessions(state, runs, session, today, money)
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
    ids = trades.get("id")
    return Prints(own, events, ts_ns[place], None if ids is None else ids[place], size[place])


def _first_seen(state: Any, row: Array) -> Array:
    """Rows of which bars are known and no print was seen."""
    return row[(state.read("flows_from")[row] == 0) & (state.read("bar_minute")[row] > 0)]


def _firsts(state: Any, row: Array, upd: Array, day: Array) -> Array:
    """What prints may update, once it is known which are the first eligible last of their day."""
    if not (upd & firsts.LAST_IF_FIRST).any():
        return upd
    market = state["market"][row] - 1
    last_day = firsts.trading_days(state["last_ns"][row], market, state["setup"])
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


def _flows(state: Any, segments: Runs, newest: Array, live: dict[str, Array]) -> None:
    """Keep what was counted in each symbol's minutes."""
    minute = newest[segments.starts]
    _, last = np.unique(segments.rows[::-1], return_index=True)
    last = len(minute) - 1 - last
    windows.make_room(state, segments.rows[last], minute[last])
    lasts = segments.lasts
    sums = {name: live[f"live_{name}"][lasts] for name in (*windows.SUMS, "high", "low")}
    windows.keep_flows(state, segments.rows, minute, sums)
    over = minute < int(state["closed_to"] or 0)
    if over.any():  # a quiet symbol's print that came late
        fill_in(state, segments.rows[over], minute[over])


def _late(state: Any, row: Array, minute: Array, is_late: Array, sums: dict[str, Array]) -> None:
    """Prints of minutes that are over count in those minutes, their candles and the volume by minute."""
    place = np.flatnonzero(is_late)
    row, minute = row[place], minute[place]
    windows.add_late(state, row, minute, {name: values[place] for name, values in sums.items()})
    fill_in(state, row, minute)


def fill_in(state: Any, row: Array, minute: Array) -> None:
    """Minutes that are over changed: the day's volume by minute, highs and lows, and closed candles."""
    for one in np.unique(minute).tolist():
        rows = np.unique(row[minute == one])
        keep_profile(state, rows, one)
        slot = one % windows.PRICES
        is_barless = (state["ring_open"][rows, slot] == 0) & (state["ring_high"][rows, slot] > 0)
        if is_barless.any():
            mine = rows[is_barless]
            keep_day(state, mine, one, np.zeros(len(mine), dtype=bool))
        rebuild(state, rows, one)


def _late_extremes(state: Any, row: Array, minute: Array, price: Array, place: Array) -> None:
    """Late prints that may set highs and lows; where their minute has a bar its revision does it."""
    behind = state["minute"][row[place]] - minute[place]
    for one in place[behind < LATE_MINUTES].tolist():  # few
        own, at = row[one : one + 1], minute[one : one + 1]
        high = low = price[one : one + 1]
        windows.keep_extremes(state, own, at, high, low)
        if int(at[0]) < int(state["closed_to"] or 0):
            fill_in(state, own, at)


def _sessions(
    state: Any, runs: Runs, session: Array, counted: Array, notional: Array
) -> dict[str, Array]:
    """Volume and money of each session at every print, by symbol."""
    out: dict[str, Array] = {}
    of = session[runs.order]
    is_pre, is_market, is_post = (
        of == code for code in (sessions.PREMARKET, sessions.MARKET, sessions.POSTMARKET)
    )
    counted, notional = counted[runs.order], notional[runs.order]
    for name, values, mine in (
        ("volume_pre", counted, is_pre),
        ("volume_market", counted, is_market),
        ("volume_post", counted, is_post),
        ("notional_pre", notional, is_pre),
        ("notional_market", notional, is_market | is_post),
    ):
        carry = state.read(name)[runs.rows]
        if mine.any():
            out[name] = fold(np.add, carry, runs, np.where(mine, values, 0.0))
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
    state["last"][runs.rows] = ordered[lasts]
    state["last_ns"][runs.rows] = events.ts_ns[runs.order][lasts]
    events.memo["prev"] = runs.unsorted(prev)
    events.memo["prev_other"] = runs.unsorted(prev_other)


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
        carry = state.read(name)[runs.rows]
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
        firsts = (session == code) & (state.read(name)[events.row] == 0)
        if may_move is not None:
            firsts &= may_move
        places = np.flatnonzero(firsts)[::-1]  # the first one is written last
        if len(places):
            state[name][events.row[places]] = events.price[places]
    closes = (session == sessions.MARKET) & ((state.read("is_official")[events.row] & 2) == 0)
    places = np.flatnonzero(closes)
    if len(places):
        state["close_market"][events.row[places]] = events.price[places]


def _changes(state: Any, runs: Runs, events: Moments) -> None:
    """Remember prices by time: every change, as long as there is room for a minute of them."""
    row, ts_ns = runs.rows[runs.of], events.ts_ns[runs.order]
    price, count = events.price[runs.order], state["changes"][runs.rows]
    last = (runs.rows, (count - 1) % CHANGES)
    carry_ns = state["changes_ns"][runs.rows]
    after = fold(np.maximum, carry_ns, runs, ts_ns)
    newest = shifted(carry_ns, runs, after)
    state["changes_ns"][runs.rows] = after[runs.lasts]
    kept = np.flatnonzero(ts_ns >= newest)  # what is older than the newest is no news
    before = np.where(count > 0, state["change_price"][last], np.nan)[runs.of[kept]]
    goes_on = np.flatnonzero(row[kept][1:] == row[kept][:-1]) + 1
    before[goes_on] = price[kept][goes_on - 1]
    new = kept[price[kept] != before]
    if not len(new):
        return
    fresh = np.ones(len(new), dtype=bool)
    fresh[1:] = runs.of[new][1:] != runs.of[new][:-1]
    starts = np.flatnonzero(fresh)
    place = np.arange(len(new)) - starts[np.cumsum(fresh) - 1]
    number = count[runs.of[new]] + place
    full = _overflows(state, row[new], ts_ns[new], number, place)
    for one in np.unique(row[new][full]).tolist():
        mine = new[row[new] == one]
        _add_changes(state, one, ts_ns[mine].tolist(), price[mine].tolist())
    rest = ~np.isin(row[new], row[new][full])
    totals = np.append(number[starts[1:] - 1], number[-1]) + 1
    runs_left = rest[starts]
    state["changes"][row[new][starts][runs_left]] = totals[runs_left]
    rest &= number >= np.repeat(totals, np.diff(starts, append=len(new))) - CHANGES
    at = (row[new][rest], number[rest] % CHANGES)
    state.put("change_ns", at, ts_ns[new][rest])
    state.put("change_price", at, price[new][rest])


def _overflows(state: Any, row: Array, ts_ns: Array, number: Array, place: Array) -> Array:
    """Whether a change would push out one that the last minute still rests on."""
    oldest = number + 1 - CHANGES  # what is left after it
    own = number - place  # the first of these changes
    kept_ns = state["change_ns"][row, oldest % CHANGES]
    here = oldest >= own
    kept_ns[here] = ts_ns[(np.arange(len(row)) - (number - oldest))[here]]
    return (oldest >= 1) & (kept_ns > ts_ns - MINUTE_NS)


def _add_changes(state: Any, row: int, ts_ns: list[int], price: list[float]) -> None:
    """The same for one busy symbol: where there is no room, changes of a quarter second become one."""
    count = int(state["changes"][row])
    held = [(k % CHANGES) for k in range(max(count - CHANGES, 0), count)]
    times = state["change_ns"][row, held].tolist()
    prices = state["change_price"][row, held].tolist()
    for when, value in zip(ts_ns, price, strict=True):
        if len(times) >= CHANGES and times[1] > when - MINUTE_NS:
            last = {one // CHANGE_NS: place for place, one in enumerate(times)}
            times, prices = ([several[k] for k in last.values()] for several in (times, prices))
        times, prices = [*times[1 - CHANGES :], when], [*prices[1 - CHANGES :], value]
    state.put("change_ns", (row, slice(0, len(times))), times)
    state.put("change_price", (row, slice(0, len(times))), prices)
    state["changes"][row] = len(times)


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


# -- quotes


def add_quotes(state: Any, frame: Any) -> None:
    """Move the state on by best bids and offers of one stretch."""
    runs = runs_of(frame["row"])
    roll(state, runs.rows, sessions.moments(int(frame["ts_ns"][0]), state["setup"]))
    quotes.add_quotes(state, frame, runs)


# -- candles


def session_vwap(
    pre: Array, market: Array, post: Array, money_pre: Array, money: Array, session: Array
) -> Array:
    """VWAP since the open, before it since 04:00; NaN where nothing traded, or the market is closed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        vwap = np.where(session == sessions.PREMARKET, money_pre / pre, money / (market + post))
    return np.where(session == sessions.CLOSED, np.nan, vwap)


def bucket_start(state: Any, row: Array, minute: int, minutes: int) -> Array:
    """The minute at which each row's candle of a timeframe began: counted from the market's midnight."""
    return windows.candle_starts(state, minute, minutes)[state["market"][row] - 1]


def rebuild(state: Any, row: Array, minute: int) -> None:
    """A minute that is over changed: its candles that are closed are made again."""
    # Without a clock so far, what the symbol's own later bars left behind is over.
    closed_to = int(state["closed_to"] or 0) or state["clean_to"][row]
    for name, minutes in MINUTES_OF.items():
        if minutes == 1:
            continue
        start = bucket_start(state, row, minute, minutes)
        is_closed = start + minutes <= closed_to
        for one in np.unique(start[is_closed]).tolist():
            close_candles(state, {name: row[is_closed & (start == one)]}, one + minutes)


def close_candles(state: Any, rows: dict[str, Array], end: int) -> None:
    """Close candles that end with a minute: per timeframe the rows; those without a bar have none."""
    whole = any(len(mine) == state.rows for mine in rows.values())
    every = np.arange(state.rows) if whole else np.unique(np.concatenate(list(rows.values())))
    where: Any = slice(None) if whole else every
    lengths = {MINUTES_OF[name] for name in rows}
    flows = {one for one in lengths if one < windows.FLOWS}
    folds = {name: windows.fold_back(state, where, end, name, lengths) for name in ("high", "low")}
    folds["open"] = {
        one: windows.first_open(state, where, end, one, folds["high"][one]) for one in lengths
    }
    volume = windows.fold_back(state, where, end, "volume", flows)
    close = state["closes"][where, (end - 1) % windows.PRICES]
    for name, mine in rows.items():
        minutes = MINUTES_OF[name]
        place = mine if whole else np.searchsorted(every, mine)
        place = place[folds["open"][minutes][place] > 0]
        if len(place):
            row = every[place]
            candle = {one: values[minutes][place] for one, values in folds.items()}
            candle["close"] = close[place]
            candle["volume"] = volume[minutes][place] if minutes in flows else np.zeros(len(place))
            is_first = is_newer(state, name, row, end - minutes)
            series.put_candles(state, SERIES[name], row, np.full(len(row), end - minutes), candle)
            machines.at_close(state, name, row[is_first])


def is_newer(state: Any, name: str, row: Array, start: int) -> Array:
    """Whether a candle that began with a minute closes now: one made again, or late, arms nothing."""
    kept = SERIES[name]
    newest = series.last_of(state, kept, row)
    return (newest < 0) | (series.at(state, kept, "start", row, newest) < start)


def _candles_over(state: Any, minute: int) -> None:
    """Close the candles of every timeframe that end as a minute begins."""
    market = state["market"] - 1
    present = np.bincount(market) > 0
    rows: dict[str, Array] = {}
    for name, minutes in MINUTES_OF.items():
        if minutes > 1:
            ends = windows.candle_starts(state, minute - 1, minutes) + minutes == minute
            if ends[: len(present)][present].any():
                rows[name] = np.flatnonzero(ends[market])
    if rows:
        close_candles(state, rows, minute)


def catch_up(state: Any, row: Array, minute: int) -> None:
    """Rows whose bars no clock went with: what ended between their newest bar and a minute is over."""
    row = row[(state["bar_minute"][row] > 0) & (state["clean_to"][row] < minute)]
    if not len(row):
        return
    newest = state["bar_minute"][row].copy()
    carried = newest
    for end, rows in sorted(_ended(state, row, newest, minute).items()):
        mine = np.isin(row, np.concatenate(list(rows.values())))
        windows.make_room(state, row[mine], end - 1)
        windows.carry_between(state, row[mine], newest[mine], carried[mine], end - 1)
        carried = np.where(mine, np.maximum(carried, end - 1), carried)
        close_candles(state, rows, end)
    windows.carry_between(state, row, newest, carried, minute - 1)


def _ended(state: Any, row: Array, newest: Array, minute: int) -> dict[int, dict[str, Array]]:
    """The candles of each row's newest bar that ended by a minute and are not closed: rows by end and timeframe."""
    found: dict[int, dict[str, Array]] = {}
    minutes_known, of = np.unique(newest, return_inverse=True)
    market = state["market"][row] - 1
    for name, minutes in MINUTES_OF.items():
        if minutes == 1:
            continue
        by_market = [windows.candle_starts(state, one, minutes) for one in minutes_known.tolist()]
        start = np.array(by_market)[of, market]
        k = series.last_of(state, SERIES[name], row)
        is_closed = (k >= 0) & (series.at(state, SERIES[name], "start", row, k) >= start)
        due = ~is_closed & (start + minutes <= minute)
        for end in np.unique(start[due]).tolist():
            found.setdefault(end + minutes, {})[name] = row[due & (start == end)]
    return found


# -- the day


def keep_day(state: Any, row: Array, minute: int, is_late: Array) -> None:
    """The bar's share in the day: highs and lows by half hour, opening ranges."""
    where = sessions.moments(minute * MINUTE_NS, state["setup"])
    market = state["market"][row] - 1
    for code in np.unique(market).tolist():
        moment = where[code]
        mine = (market == code) & (state["day"][row] == moment.day)
        rows, late = row[mine], is_late[mine]
        if not len(rows) or moment.session == sessions.CLOSED:
            continue
        high, low = (
            state[name][rows, minute % windows.PRICES] for name in ("ring_high", "ring_low")
        )
        if code == sessions.US:
            since = minute - moment.start_ns // MINUTE_NS
            _keep_half_hour(state, rows, since // HALF_HOUR, high, low)
            if late.any():
                _again_half_hour(state, rows[late], minute, moment)
        raise_extremes(state, rows, high, low, minute, code)
        if moment.session == sessions.MARKET:
            opened = moment.open_ns // MINUTE_NS
            _keep_ranges(state, rows, minute, minute - opened, high, low)
            if late.any():
                _again_ranges(state, rows[late], opened)


def _keep_half_hour(state: Any, row: Array, half: int, high: Array, low: Array) -> None:
    known_high, known_low = state["half_high"][row, half], state["half_low"][row, half]
    state.put("half_high", (row, half), np.maximum(known_high, high))
    state.put("half_low", (row, half), np.where(known_low > 0, np.minimum(known_low, low), low))


def _again_half_hour(state: Any, row: Array, minute: int, moment: sessions.Moment) -> None:
    """The half hour of a bar that changed: a correction may have taken its high or low away."""
    since = minute - moment.start_ns // MINUTE_NS
    half, first = since // HALF_HOUR, minute - since % HALF_HOUR
    end = min(first + HALF_HOUR, int(state["clean_to"][row].min()) + 1)
    high = windows.fold_back(state, row, end, "high", {end - first})[end - first]
    low = windows.fold_back(state, row, end, "low", {end - first})[end - first]
    before_high, before_low = state["half_high"][row, half], state["half_low"][row, half]
    state.put("half_high", (row, half), high)
    state.put("half_low", (row, half), np.where(np.isfinite(low), low, 0.0))
    changed = row[(before_high > high) | (before_low < low)]
    if len(changed):
        recompute_extremes(state, changed, moment)


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


def recompute_extremes(state: Any, row: Array, moment: sessions.Moment) -> None:
    """Highs and lows of the day of a moment from its half hours and the running minute."""
    half_ns = HALF_HOUR * MINUTE_NS
    opened, closed = (
        (one - moment.start_ns) // half_ns for one in (moment.open_ns, moment.close_ns)
    )
    for names, halves in ((("day_high", "day_low"), slice(opened, closed)), (("ext_high", "ext_low"), slice(0, 34))):  # fmt: skip
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


def _keep_ranges(
    state: Any, row: Array, minute: int, since_open: int, high: Array, low: Array
) -> None:
    top, bottom = state["range_high"], state["range_low"]
    for column, minutes in enumerate(OPENING_RANGES):
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


def _again_ranges(state: Any, row: Array, opened: int) -> None:
    """Opening ranges and their first breaks from the minutes since the open, while the rings have them."""
    newest = int(state["clean_to"][row].max())
    if newest - opened >= windows.PRICES:
        return
    for name in ("range_high", "range_low", "range_up", "range_down"):
        state[name][row] = 0
    for minute in range(opened, newest + 1):
        slot = minute % windows.PRICES
        rows = row[state["ring_high"][row, slot] > 0]
        if len(rows):
            high, low = state["ring_high"][rows, slot], state["ring_low"][rows, slot]
            _keep_ranges(state, rows, minute, minute - opened, high, low)


def keep_profile(state: Any, row: Array, minute: int) -> None:
    """The volume of a minute among those of its day."""
    where = sessions.moments(minute * MINUTE_NS, state["setup"])
    volume = state["ring_volume"][row, minute % windows.FLOWS]
    market = state["market"][row] - 1
    for code in np.unique(market[volume > 0]).tolist():
        moment = where[code]
        since = minute - moment.start_ns // MINUTE_NS
        if code == sessions.CRYPTO or not 0 <= since < PROFILE_MINUTES:
            continue
        mine = np.flatnonzero((volume > 0) & (market == code) & (state["day"][row] == moment.day))
        slot = state["profile_days"][row[mine]] % (DAYS + 1)
        state.put("profile", (row[mine], slot * PROFILE_MINUTES + since), volume[mine])


def add_indicators(state: Any, indicators: Any) -> None:
    """Keep the indicators of the newest bar of each symbol."""
    row, minute = indicators["row"], indicators["ts_ns"] // MINUTE_NS
    order = np.argsort(minute, kind="stable")
    order = order[minute[order] >= state["indicators_minute"][row[order]]]
    state["indicators_minute"][row[order]] = minute[order]
    for column, name in enumerate(INDICATORS):
        state.put("indicators", state.cells(row[order], column), indicators[name][order])


# -- the clock


def tick(state: Any, clock_ns: int) -> None:
    """Event time reached `clock_ns`: days and sessions begin, candles whose time is over close."""
    row = np.arange(state.rows)
    if not len(row):
        return
    outliers.release(state, clock_ns)
    reference.join_history(state)
    know_markets(state, row)
    before, now = int(state["closed_to"] or 0), clock_ns // MINUTE_NS
    if now > before:
        since = before or _first_print(state, now)
        catch_up(state, row, since)
        state["closed_to"] = str(now)
        _begin_minutes(state, row, 1 + since, now)
    roll(state, row, sessions.moments(clock_ns, state["setup"]))


def _first_print(state: Any, now: int) -> int:
    """The minute of the first print seen, at the first clock event of all."""
    minutes = state["flows_from"]
    return int(minutes[minutes > 0].min(initial=now))


def _begin_minutes(state: Any, row: Array, first: int, last: int) -> None:
    """Minutes begin; what is over is kept while the figures are still of its day."""
    newest = max(int(state["bar_minute"].max()), int(state["minute"].max()))
    for minute in range(first, last + 1):
        if newest <= minute - 2 * windows.PRICES:  # the rings are empty
            break
        windows.carry(state, minute - 1)
        slot = (minute - 1) % windows.PRICES
        barless = (state["ring_open"][:, slot] == 0) & (state["ring_high"][:, slot] > 0)
        if barless.any():  # prints that set highs and lows only
            rows = np.flatnonzero(barless)
            keep_day(state, rows, minute - 1, np.zeros(len(rows), dtype=bool))
        keep_profile(state, row, minute - 1)
        _candles_over(state, minute)
        windows.make_room(state, row, minute)
    windows.make_room(state, row, last)
