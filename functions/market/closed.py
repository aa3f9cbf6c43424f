"""Closed bars in the scanner: minutes whose prints were seen follow them, minutes that were not are counted from them.

A minute is seen if it is not before the first minute of which the symbol's prints came here
(`flows_from`). Of the others a bar says all that is known:

    from bars, exactly                      not from bars
    candles, windows, indicators            crossings and what watches every print (`seen`, `arm.*`)
    volume, money and trades of minutes,    price changes within a minute (`running_*`)
    of sessions and by minute of the day    official opens and closes told by a print
    VWAP (its money is VWAP times volume)   whether an open or high was eligible for the other
    highs and lows, opening ranges          quotes, halts
    opens, closes, last price (dated with
    the end of its minute)

A bar that is said again counts by what it differs from before. Of the minute in which prints begin the
bar stands, if it counted other prints than came here. Bars bring the rows of their symbols to their
minute, as the clock would.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import machines, series, sessions, tape, windows
from functions.market.state import BAR, MINUTE_NS, SERIES

Array = NDArray[Any]
Columns = dict[str, Array]

OFFICIAL_OPEN, OFFICIAL_CLOSE = 1, 2  # bits of `is_official`
SESSION = {  # where volume and money of a session are counted
    sessions.PREMARKET: ("volume_pre", "notional_pre"),
    sessions.MARKET: ("volume_market", "notional_market"),
    sessions.POSTMARKET: ("volume_post", "notional_market"),
}


def add_bars(state: Any, bars: Any) -> None:
    """Keep closed bars: the newest one whole, every minute of the last hours, and candles of them."""
    row, minute = bars["row"], bars["ts_ns"] // MINUTE_NS
    tape.know_markets(state, row)
    order = np.argsort(minute, kind="stable")
    while len(order):  # minute by minute: in one minute a symbol has one bar
        first = order[minute[order] == minute[order[0]]]
        order = order[minute[order] != minute[order[0]]]
        _, only = np.unique(row[first][::-1], return_index=True)  # the newest revision wins
        _add_minute(state, bars, first[::-1][only], int(minute[first[0]]))


def add_minutes(state: Any, minutes: Any) -> None:
    """Bars of the past, from files: of symbols without prints, after the newest that is known."""
    row, minute = minutes["row"], minutes["ts_ns"] // MINUTE_NS
    is_news = (state["flows_from"][row] == 0) & (minute > state["clean_to"][row])
    if is_news.any():
        add_bars(state, minutes[is_news])


def end_past(state: Any, row: Array, clock_ns: int) -> None:
    """Symbols that came as bars of the past: with the day the clock has reached, theirs are over."""
    row = row[(state["day"][row] > 0) & (state["flows_from"][row] == 0)]
    if clock_ns and len(row):
        tape.roll(state, row, sessions.moments(clock_ns, state["setup"]))


def _add_minute(state: Any, bars: Any, place: Array, minute: int) -> None:
    row = bars["row"][place]
    where = sessions.moments(minute * MINUTE_NS, state["setup"])
    tape.catch_up(state, row, minute)
    tape.roll(state, row, where)
    is_late = _keep_minute(state, bars, place, row, minute)
    candle = {name: bars[name][place] for name in series.CANDLE}
    closes = tape.is_newer(state, "1m", row, minute)
    series.put_candles(state, SERIES["1m"], row, np.full(len(row), minute), candle)
    # Who computes them hears of a bar before we do: its indicators are there already.
    machines.at_close(state, "1m", row[closes & (state["indicators_minute"][row] == minute)])
    if is_late.any():
        tape.rebuild(state, row[is_late], minute)
    tape.keep_day(state, row, minute, is_late)
    newest = state["bar_minute"][row] <= minute
    rows, of = row[newest], place[newest]
    state["bar_minute"][rows] = minute
    for column, name in enumerate(BAR):
        state.put("bar", state.cells(rows, column), bars[name][of])
    state["vwap_closed"][rows] = tape.session_vwap(
        *(state[name][rows] for name in ("volume_pre", "volume_market", "volume_post")),
        *(state[name][rows] for name in ("notional_pre", "notional_market")),
        np.array([one.session for one in where], dtype=np.uint8)[state["market"][rows] - 1],
    )


def _keep_minute(state: Any, bars: Any, place: Array, row: Array, minute: int) -> Array:
    """A bar's prices in the rings; whether it was there before, or later minutes are over already."""
    windows.make_room(state, row, minute)
    reached = int(state["closed_to"] or 0) or state["clean_to"][row]  # without a clock, by bars
    kept = minute > state["clean_to"][row] - windows.PRICES
    slot = minute % windows.PRICES
    is_late = (state["ring_open"][row, slot] > 0) | (minute < reached)
    _count(state, bars, place, row, minute)
    rows, of = row[kept], place[kept]
    cells = state.cells(rows, slot)
    for name in ("open", "high", "low"):
        state.put(f"ring_{name}", cells, bars[name][of])
    state.put("closes", cells, bars["close"][of])
    late = is_late & kept
    if late.any():
        last = int(np.max(reached)) - 1
        windows.carry_on(state, row[late], minute, bars["close"][place[late]], last)
        state["windows_minute"][row[late]] = 0
    return late


# -- minutes whose prints were not seen


def _count(state: Any, bars: Any, place: Array, row: Array, minute: int) -> None:
    """Count what bars have and prints did not bring."""
    since, slot = state["flows_from"][row], minute % windows.FLOWS
    is_kept = minute > state["clean_to"][row] - windows.FLOWS
    differs = (state["ring_volume"][row, slot] != bars["volume"][place]) & is_kept
    is_unseen = (since == 0) | ((minute < since) & is_kept) | ((minute == since) & differs)
    if not is_unseen.any():
        return
    row, place, since = row[is_unseen], place[is_unseen], since[is_unseen]
    is_kept, differs = is_kept[is_unseen], differs[is_unseen]
    if (since == 0).any():
        _keep_prices(state, bars, place[since == 0], row[since == 0], minute)
    _keep_volumes(state, bars, place[differs], row[differs], minute)
    _run_on(state, bars, place, row, minute)
    state["windows_minute"][row] = 0


def _keep_volumes(state: Any, bars: Any, place: Array, row: Array, minute: int) -> None:
    """Volume, money and trades of a minute, in its ring, its session and its day by minute."""
    at = (row, minute % windows.FLOWS)
    volume = bars["volume"][place]
    with np.errstate(invalid="ignore"):
        notional = np.where(volume > 0, bars["vwap"][place] * volume, 0.0)
    more, money = volume - state["ring_volume"][at], notional - state["ring_notional"][at]
    for name, values in zip(windows.SUMS, (volume, notional, bars["count"][place]), strict=True):
        state.put(f"ring_{name}", at, values)
    for mine, moment in _today(state, row, minute):
        for name, values in zip(SESSION.get(moment.session, ()), (more, money), strict=False):
            total = state[name][row[mine]] + values[mine]
            state[name][row[mine]] = np.maximum(total, 0.0)
    tape.keep_profile(state, row, minute)


def _today(state: Any, row: Array, minute: int) -> list[tuple[Array, sessions.Moment]]:
    """By market: the places in `row` whose figures are of the day of a minute, and its moment there."""
    where = sessions.moments(minute * MINUTE_NS, state["setup"])
    market = state["market"][row] - 1
    return [
        (np.flatnonzero((market == code) & (state["day"][row] == where[code].day)), where[code])
        for code in np.unique(market).tolist()
    ]


def _keep_prices(state: Any, bars: Any, place: Array, row: Array, minute: int) -> None:
    """The last price, and the first and newest of the sessions, of symbols without a print."""
    is_newest = minute >= state["bar_minute"][row]
    rows = row[is_newest]
    state["last"][rows] = bars["close"][place[is_newest]]
    state["last_ns"][rows] = (minute + 1) * MINUTE_NS - 1
    before = state["ring_open"][row, minute % windows.PRICES]  # of this minute, when said before
    official = state["is_official"][row]
    for mine, moment in _today(state, row, minute):
        name = {sessions.PREMARKET: "open_pre", sessions.MARKET: "open_market"}.get(moment.session)
        if name is None:
            continue
        known = state[name][row[mine]]
        opens = mine[(known == 0) | (known == before[mine])]
        if name == "open_market":
            opens = opens[official[opens] & OFFICIAL_OPEN == 0]
            closes = mine[is_newest[mine] & (official[mine] & OFFICIAL_CLOSE == 0)]
            state["close_market"][row[closes]] = bars["close"][place[closes]]
        state[name][row[opens]] = bars["open"][place[opens]]


def _run_on(state: Any, bars: Any, place: Array, row: Array, minute: int) -> None:
    """The bar is of the symbol's newest minute: prints of that minute that still come are added to it."""
    newest = state["minute"][row] <= minute
    row, place = row[newest], place[newest]
    state["minute"][row] = minute
    at = (row, minute % windows.FLOWS)
    for name in windows.SUMS:
        state[f"live_{name}"][row] = state[f"ring_{name}"][at]
    state["live_high"][row] = bars["high"][place]
    state["live_low"][row] = bars["low"][place]
