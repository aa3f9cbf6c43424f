"""What a correction or cancel changes in the scanner: totals, the running minute, last prices, extremes.

Prices and candles of closed minutes are put right by the revision of their bar that follows, at the
next clock event. What happened at a print (crossings, breaks, rejections) stays as it happened, and nothing here fires
an alert; what becomes of alerts that had fired stands in functions/rules/withdrawals.py.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from functions.market import sessions, tape, windows
from functions.market.state import DAYS, MINUTE_NS, PROFILE_MINUTES
from functions.market.tape import EXTREMES, HALF_HOUR, LAST, VOLUME
from functions.market.windows import FLOWS, PRICES

Array = NDArray[Any]

COUNTED, ARRIVING, TWICE = range(3)  # `kind` of the `corrected` record
IDENTITY = ("row", "ts_ns", "id", "price", "size")  # what a print is known by
ALL = VOLUME | LAST | EXTREMES
OFFICIAL_OPEN, OFFICIAL_CLOSE = 1, 2  # bits of `is_official`


class Corrected(NamedTuple):
    """One row of the `corrected` record: a print before and after, and its minute's bar after it."""

    row: int
    ts_ns: int
    price: float
    size: float
    upd: int
    count: int
    new_price: float  # NaN: it counts nowhere
    new_size: float
    new_upd: int
    open: float  # NaN: no eligible price, or not known
    high: float
    low: float
    close: float
    is_exact: int

    @property
    def minute(self) -> int:
        return self.ts_ns // MINUTE_NS

    @property
    def has_bar(self) -> bool:
        """Whether the bar of its minute is known."""
        return bool(self.is_exact or self.close > 0)

    def gained(self) -> tuple[float, float, float]:
        """(volume, notional, count) after it less those before."""
        before, after = self.upd & VOLUME > 0, self.new_price > 0 and self.new_upd & VOLUME > 0
        volume, notional, count = 0.0, 0.0, 0.0
        if after:
            volume, notional, count = self.new_size, self.new_price * self.new_size, self.count
        if before:
            volume, notional = volume - self.size, notional - self.price * self.size
            count -= self.count
        return volume, notional, count


def apply(state: Any, corrected: Any) -> None:
    """Take over corrections in order; prints that arrive with this input wait for `as_arrived`."""
    kind = corrected["kind"]
    columns = [corrected[name].tolist() for name in Corrected._fields]
    for place in np.flatnonzero(kind == COUNTED).tolist():
        _adjust(state, Corrected(*(column[place] for column in columns)))
    names = (*IDENTITY, "kind", "new_price", "new_size", "new_upd")
    arriving = [corrected[name][kind != COUNTED].tolist() for name in names]
    if arriving[0]:
        state["arriving"] = json.dumps(list(zip(*arriving, strict=True)))


# -- prints that are not taken as they come


def as_arrived(state: Any, trades: Any) -> Any:
    """A frame of trades without those that came before, and with those as right that were corrected."""
    if not state["arriving"]:
        return trades
    told = defaultdict(list)
    for *identity, kind, price, size, upd in json.loads(state["arriving"]):
        told[tuple(identity)].append((kind, price, size, upd))
    state["arriving"] = ""
    stays = np.ones(len(trades), dtype=bool)
    right = {}
    for key, places in _places_of(trades, {key[0] for key in told}).items():
        # The first prints of several alike met a held correction, the last ones are the repetition.
        first = [one[1:] for one in told.get(key, ()) if one[0] == ARRIVING]
        twice = sum(one[0] == TWICE for one in told.get(key, ()))
        stays[places[len(places) - twice :]] = False
        for place, (price, size, upd) in zip(places, first, strict=False):
            if price > 0:
                right[place] = (price, size, upd)
            else:
                stays[place] = False
    return _with(trades, right)[stays]


def _places_of(trades: Any, rows: set[int]) -> dict[tuple[Any, ...], list[int]]:
    """The places of the prints of some symbols, by what they are known by."""
    here = np.flatnonzero(np.isin(trades["row"], list(rows)))
    nothing = np.zeros(len(trades), dtype=np.int64)
    columns = [np.asarray(trades.get(name, nothing))[here].tolist() for name in IDENTITY]
    found = defaultdict(list)
    for place, key in zip(here.tolist(), zip(*columns, strict=True), strict=True):
        found[key].append(place)
    return found


def _with(trades: Any, right: dict[int, tuple[float, float, int]]) -> Any:
    if not right:
        return trades
    places = list(right)
    frame = trades[:]
    ordinary = np.full(len(trades), ALL, dtype=np.uint8)
    for column, name in enumerate(("price", "size", "upd")):
        values = np.array(trades.get(name, ordinary))
        values[places] = [one[column] for one in right.values()]
        frame.columns[name] = values
    return frame


# -- prints that had been counted


def _adjust(state: Any, one: Corrected) -> None:
    row = np.array([one.row])
    market = int(tape.know_markets(state, row)[0])
    moment = sessions.moments(one.ts_ns, state["setup"])[market]
    is_today = bool(state["day"][one.row] == moment.day)
    volume, notional, count = one.gained()
    since = int(state["flows_from"][one.row])
    if is_today and 0 < since <= one.minute:  # else the bar that is said again tells
        _add_to_session(state, one.row, moment.session, volume, notional)
    if one.minute == state["minute"][one.row]:
        _adjust_running(state, one, volume, notional, count)
    take_from_minute(state, one.row, one.minute, -volume, -notional, -count)
    _set_barless(state, one)
    if one.minute < int(state["closed_to"] or 0):  # a minute without a bar has no revision
        tape.fill_in(state, row, np.array([one.minute]))
    if not is_today:
        return
    if market != sessions.CRYPTO and one.minute != state["minute"][one.row]:
        _add_to_profile(state, one, moment, volume)
    if (one.upd | one.new_upd) & LAST:
        _adjust_last(state, one, moment)
        _adjust_close(state, one, moment)
        _adjust_open(state, one, moment, market)
    if (one.upd | one.new_upd) & EXTREMES and one.has_bar and moment.session != sessions.CLOSED:
        _adjust_extremes(state, one, moment, market)


def take_from_minute(
    state: Any, row: int, minute: int, volume: float, notional: float, count: float
) -> None:
    """Take volume, notional and trades from a minute of the ring that its prints had filled."""
    newest = int(state["clean_to"][row])
    if not max(newest - FLOWS + 1, int(state["flows_from"][row]), 1) <= minute <= newest:
        return
    at = (row, minute % FLOWS)
    for name, value in zip(windows.SUMS, (volume, notional, count), strict=True):
        state.put(f"ring_{name}", at, max(float(state[f"ring_{name}"][at]) - value, 0.0))
    state["windows_minute"][row] = 0  # what is folded of it is folded again


def _set_barless(state: Any, one: Corrected) -> None:
    """High and low of a minute without a bar: no revision will put them right."""
    newest, slot = int(state["clean_to"][one.row]), one.minute % PRICES
    is_kept = newest - PRICES < one.minute <= newest
    if is_kept and one.is_exact and not state["ring_open"][one.row, slot] > 0:
        state.put("ring_high", (one.row, slot), one.high if one.high > 0 else 0.0)
        state.put("ring_low", (one.row, slot), one.low if one.low > 0 else np.inf)


def _add(state: Any, name: str, row: int, value: float) -> None:
    """Add to a total; one whose original was never counted does not fall below nothing."""
    state[name][row] = max(float(state[name][row]) + value, 0.0)


def _add_to_session(state: Any, row: int, session: int, volume: float, notional: float) -> None:
    volumes = {
        sessions.PREMARKET: "volume_pre",
        sessions.MARKET: "volume_market",
        sessions.POSTMARKET: "volume_post",
    }
    if session in volumes:
        _add(state, volumes[session], row, volume)
        is_early = session == sessions.PREMARKET
        _add(state, "notional_pre" if is_early else "notional_market", row, notional)


def _adjust_running(
    state: Any, one: Corrected, volume: float, notional: float, count: float
) -> None:
    row = one.row
    _add(state, "live_volume", row, volume)
    _add(state, "live_notional", row, notional)
    _add(state, "live_count", row, count)
    high, low = (price if price > 0 else 0.0 for price in (one.high, one.low))
    state["live_high"][row], state["live_low"][row] = high, low


def _add_to_profile(state: Any, one: Corrected, moment: sessions.Moment, volume: float) -> None:
    """The volume of a closed minute among those of its day."""
    since = one.minute - moment.start_ns // MINUTE_NS
    if 0 <= since < PROFILE_MINUTES:
        place = int(state["profile_days"][one.row]) % (DAYS + 1) * PROFILE_MINUTES + since
        left = float(state["profile"][one.row, place]) + volume
        state.put("profile", (one.row, place), max(left, 0.0))


# -- last prices, opens and closes


def _traded_minutes(state: Any, row: int, first: int, end: int) -> Array:
    """The closed minutes with a bar from `first` up to, not with, `end`, ascending."""
    newest = int(state["clean_to"][row])
    minutes = np.arange(max(first, newest - PRICES + 1, 1), min(end, newest + 1))
    return np.asarray(minutes[state["ring_high"][row, minutes % PRICES] > 0])


def _adjust_last(state: Any, one: Corrected, moment: sessions.Moment) -> None:
    """The last price, if the print had set it: the one before it."""
    row = one.row
    was_last = state["last_ns"][row] == one.ts_ns and state["last"][row] == one.price
    if not was_last or not one.upd & LAST:
        return
    price, is_today = one.close, True
    if not price > 0:
        before = _traded_minutes(state, row, 1, one.minute)
        minute = int(before[-1]) if len(before) else 0
        price = float(state["closes"][row, minute % PRICES]) if minute else 0.0
        is_today = minute * MINUTE_NS >= moment.midnight_ns
    if state["seen"][row] == one.price:
        state["seen"][row] = price if is_today else 0.0
    state["last"][row] = price
    if not price:
        state["last_ns"][row] = 0


def _adjust_close(state: Any, one: Corrected, moment: sessions.Moment) -> None:
    """The newest price of the regular session, if the print had set it."""
    row = one.row
    if (
        moment.session != sessions.MARKET
        or state["is_official"][row] & OFFICIAL_CLOSE
        or state["close_market"][row] != one.price
    ):
        return
    open_minute, end = moment.open_ns // MINUTE_NS, moment.close_ns // MINUTE_NS
    traded = _traded_minutes(state, row, open_minute, end)
    running = int(state["minute"][row])
    newest = max(int(traded[-1]) if len(traded) else 0, running if running < end else 0)
    if one.minute != newest:
        return
    before = traded[traded < one.minute]
    price = one.close
    if not price > 0:
        price = float(state["closes"][row, before[-1] % PRICES]) if len(before) else 0.0
    state["close_market"][row] = price


def _adjust_open(state: Any, one: Corrected, moment: sessions.Moment, market: int) -> None:
    """The first price of its session, if the print had set it.

    Where a late print made a bar in a minute before it, that bar may be the open's: the open stays.
    """
    row = one.row
    opened = moment.open_ns // MINUTE_NS
    if moment.session == sessions.MARKET:
        name, first, end = "open_market", opened, moment.close_ns // MINUTE_NS
    elif moment.session == sessions.PREMARKET:
        name, first, end = "open_pre", moment.start_ns // MINUTE_NS, opened
    else:
        return
    is_official = name == "open_market" and state["is_official"][row] & OFFICIAL_OPEN
    if is_official or state[name][row] != one.price:
        return
    traded = _traded_minutes(state, row, first, end)
    if (len(traded) and traded[0] < one.minute) or _has_earlier(state, row, moment, market, first, one.minute):  # fmt: skip
        return
    price, later = one.open, traded[traded > one.minute]
    if not price > 0:
        price = float(state["ring_open"][row, later[0] % PRICES]) if len(later) else 0.0
    state[name][row] = price


def _has_earlier(
    state: Any, row: int, moment: sessions.Moment, market: int, first: int, minute: int
) -> bool:
    """Whether a half hour of the session before that of a minute has a price; the ring may have lost it."""
    if market != sessions.US:
        return False
    halves = [(one - moment.start_ns // MINUTE_NS) // HALF_HOUR for one in (first, minute)]
    return bool((state["half_high"][row, halves[0] : halves[1]] > 0).any())


# -- extremes


def _adjust_extremes(state: Any, one: Corrected, moment: sessions.Moment, market: int) -> None:
    """Highs and lows of the day, if the print had set one or sets one now."""
    row = one.row
    names = [("ext_high", "ext_low")]
    if moment.session == sessions.MARKET:
        names.append(("day_high", "day_low"))
    found = (one.price, one.new_price)
    if not any(p >= state[up][row] or p <= state[down][row] for up, down in names for p in found):
        return
    rows = np.array([row])
    if market == sessions.US:
        if one.minute != state["minute"][row]:
            _adjust_half_hour(state, one, moment)
        tape.recompute_extremes(state, rows, moment)
        return
    for up, down in names:
        first_ns = moment.start_ns if up == "ext_high" else moment.open_ns
        high, low = _extremes_between(state, one, first_ns // MINUTE_NS, one.minute + PRICES)
        state[up][row], state[down][row] = high, low


def _extremes_between(state: Any, one: Corrected, first: int, end: int) -> tuple[float, float]:
    """High and low of the minutes from `first` up to `end`, its own as corrected; 0 where none is."""
    minutes = _traded_minutes(state, one.row, first, end)
    slots = minutes[minutes != one.minute] % PRICES
    highs, lows = state["ring_high"][one.row, slots].tolist(), state["ring_low"][one.row, slots].tolist()  # fmt: skip
    running = int(state["minute"][one.row])
    if first <= running < end and running != one.minute:
        highs.append(float(state["live_high"][one.row]))
        lows.append(float(state["live_low"][one.row]))
    if first <= one.minute < end:
        highs.append(one.high)
        lows.append(one.low)
    high = max((price for price in highs if price > 0), default=0.0)
    return high, min((price for price in lows if price > 0), default=0.0)


def _adjust_half_hour(state: Any, one: Corrected, moment: sessions.Moment) -> None:
    since = one.minute - moment.start_ns // MINUTE_NS
    first, half = one.minute - since % HALF_HOUR, since // HALF_HOUR
    minutes = _traded_minutes(state, one.row, first, first + HALF_HOUR)
    slots = minutes[minutes != one.minute] % PRICES
    highs = [*state["ring_high"][one.row, slots].tolist(), one.high]
    lows = [*state["ring_low"][one.row, slots].tolist(), one.low]
    at = (one.row, half)
    state.put("half_high", at, max((p for p in highs if p > 0), default=0.0))
    state.put("half_low", at, min((p for p in lows if p > 0), default=0.0))
