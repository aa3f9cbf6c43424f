"""One-minute bars under construction: four minute slots per symbol, filled print by print.

Slot `minute % 4` of a symbol holds the bar of that minute until the symbol trades four minutes
later; then it moves to place `minute % 64` of the symbol's old bars. What a print may do to it is in
its `upd` bits; a bar exists once it has an eligible price.

    the print's minute is                      what happens
    the one its slot holds                     added
    newer than what its slot holds             the slot begins anew, its bar becomes an old one
    4 to 59 behind the symbol's newest         added to the old bar, which begins if there is none
    60 or more behind                          counted in `late`, nothing else

A bar that was said and then changed by a late print is said again with the next revision, and only
on a clock event, so that the number of revisions does not depend on where a frame was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market.prints import ALL, EXTREMES, LAST, VOLUME, Prints

Array = NDArray[Any]
Columns = dict[str, Array]

MINUTE_NS = 60_000_000_000
SLOTS = 4  # prints are reported up to 10 s late by rule; three minutes leave room for a slow feed
REVISED = 60  # minutes: what is later than an hour comes from no feed but from a repair by hand
OLD = 64  # at least REVISED + SLOTS, so that no two bars that may change share a place

SLOT = {
    "start": "i8",  # minutes since 1970; 0 = empty
    "open": "f8",  # 0 = no eligible price yet
    "high": "f8",
    "low": "f8",
    "close": "f8",
    "volume": "f8",
    "notional": "f8",
    "count": "i8",
    "revision": "i4",  # the revision it will be said with next
    "unsaid": "u1",  # 1 = changed since it was last said
    "begun": "i8",  # number of the minute's first print among those of the symbol
}
STATE = {
    **{name: (dtype, SLOTS) for name, dtype in SLOT.items()},
    **{f"old_{name}": (dtype, OLD, "put") for name, dtype in SLOT.items()},
    "newest": "i8",  # newest minute of the symbol
    "changed": "u1",  # 1 = changed since its live bar was last said
    "reopened": "u1",  # 1 = an old bar changed and was not said yet
    "late": "i8",  # prints that came too late for their bar
}


def add_prints(state: Any, prints: Prints, number: Array) -> Columns | None:
    """Add prints, in order of arrival, to the bars of their minutes.

    number    of each print among those of its symbol

    Returns the bars that had to leave the old ones before a clock event could say them (event time
    leapt an hour ahead), or None.
    """
    minute = prints.ts_ns // MINUTE_NS
    first, last = int(minute.min()), int(minute.max())
    if last - first >= SLOTS:  # two minutes could share a slot: let one half go first
        half = len(minute) // 2
        parts = [slice(0, half), slice(half, None)]
        return joined([add_prints(state, prints.pick(p), number[p]) for p in parts])
    spread: Any = first if first == last else minute
    at = prints.row * SLOTS + spread % SLOTS
    flat = {name: state[name].reshape(-1) for name in SLOT}
    left = None
    stale = flat["start"][at] != spread
    if first <= max(int(state["newest"].max()) - REVISED, 0):  # some may be too late for any bar
        stale |= minute <= np.maximum(state["newest"][prints.row] - REVISED, 0)
    if stale.any():
        is_old = stale & (minute <= np.maximum(state["newest"][prints.row] - SLOTS, 0))
        fresh = np.flatnonzero(stale & ~is_old)
        left = _begin_slots(state, flat, prints.row[fresh], minute[fresh], number[fresh])
        if is_old.any():
            left = joined([left, _add_old(state, prints.pick(is_old), number[is_old])])
            prints, at = prints.pick(~is_old), at[~is_old]
    _add(flat, at, prints)
    flat["unsaid"][at] = 1
    state["changed"][prints.row] = 1
    return left


def _begin(bars: Mapping[str, Array], at: Array, minute: Array, number: Array) -> None:
    """Empty bars and give them to minutes; of several prints the first one began it."""
    for name in ("open", "high", "close", "volume", "notional", "count", "revision"):
        bars[name][at] = 0
    bars["low"][at] = np.inf
    bars["start"][at] = minute
    bars["begun"][at[::-1]] = number[::-1]


def _begin_slots(
    state: Any, flat: Mapping[str, Array], row: Array, minute: Array, number: Array
) -> Columns | None:
    """Begin slots anew; what they held becomes old bars."""
    at = row * SLOTS + minute % SLOTS
    leaving = np.unique(at[flat["start"][at] > 0])
    left = None
    if len(leaving):
        bars = {name: flat[name][leaving] for name in SLOT}
        rows, place = leaving // SLOTS, bars["start"] % OLD
        left = _displaced(state, rows, place)
        for name, values in bars.items():
            state.put(f"old_{name}", (rows, place), values)
        state["reopened"][rows[bars["unsaid"] == 1]] = 1
    _begin(flat, at, minute, number)
    np.maximum.at(state["newest"], row, minute)
    return left


def _displaced(state: Any, row: Array, place: Array) -> Columns | None:
    """Say what old bars that leave have not said."""
    unsaid = _ready(state, "old_", (row, place))
    return _say(state, "old_", row[unsaid], place[unsaid]) if unsaid.any() else None


def _add_old(state: Any, prints: Prints, number: Array) -> Columns | None:
    """Add prints whose bar is no longer in a slot."""
    minute = prints.ts_ns // MINUTE_NS
    late = minute <= np.maximum(state["newest"][prints.row] - REVISED, 0)
    np.add.at(state["late"], prints.row[late], 1)
    prints, minute, number = prints.pick(~late), minute[~late], number[~late]
    if not len(minute):
        return None
    keys, first, at = np.unique(
        prints.row * OLD + minute % OLD, return_index=True, return_inverse=True
    )
    rows, place = keys // OLD, keys % OLD
    bars = {name: state[f"old_{name}"][rows, place] for name in SLOT}
    begins = np.flatnonzero(bars["start"] != minute[first])
    left = _displaced(state, rows[begins], place[begins])
    _begin(bars, begins, minute[first[begins]], number[first[begins]])
    _add(bars, at, prints)
    bars["unsaid"][:] = 1
    for name, values in bars.items():
        state.put(f"old_{name}", (rows, place), values)
    state["reopened"][rows] = 1
    return left


def _add(bars: Mapping[str, Array], at: Array, prints: Prints) -> None:
    """Fold the prints into bars; `np.add.at` is a left fold, assignment keeps the last."""
    upd, price, size = prints.upd, prints.price, prints.size
    everything = upd is None or bool((upd & ALL == ALL).all())
    for bit, add in ((VOLUME, _add_volume), (LAST, _add_last), (EXTREMES, _add_extremes)):
        if everything:
            add(bars, at, price, size)
        elif (may := (upd & bit) != 0).any():  # type: ignore[operator]
            add(bars, at[may], price[may], size[may])
    counted = slice(None) if everything else (upd & VOLUME) != 0  # type: ignore[operator]
    np.add.at(bars["count"], at[counted], 1 if prints.count is None else prints.count[counted])


def _add_volume(bars: Mapping[str, Array], at: Array, price: Array, size: Array) -> None:
    np.add.at(bars["volume"], at, size)
    np.add.at(bars["notional"], at, price * size)


def _add_last(bars: Mapping[str, Array], at: Array, price: Array, size: Array) -> None:
    bars["close"][at] = price
    fresh = np.flatnonzero(bars["open"][at] == 0)[::-1]  # reversed: the first to arrive is kept
    bars["open"][at[fresh]] = price[fresh]


def _add_extremes(bars: Mapping[str, Array], at: Array, price: Array, size: Array) -> None:
    np.maximum.at(bars["high"], at, price)
    np.minimum.at(bars["low"], at, price)


# -- bars that were said


UNKNOWN = -(1 << 40)  # `begun` of a bar whose prints are gone: more than any ring of prints ago


def remember(state: Any, bars: Any) -> None:
    """Have bars again that were said before, as far as a bar tells: what is late revises them."""
    minute = bars["ts_ns"] // MINUTE_NS
    for one in np.unique(minute).tolist():
        place = np.flatnonzero(minute == one)
        _, last = np.unique(bars["row"][place][::-1], return_index=True)
        _remember_minute(state, bars, place[::-1][last], one)


def _remember_minute(state: Any, bars: Any, place: Array, minute: int) -> None:
    row, volume = bars["row"][place], bars["volume"][place]
    is_old = minute <= state["newest"][row] - SLOTS
    fresh = row[~is_old & (state["start"][row, minute % SLOTS] != minute)]
    flat = {name: state[name].reshape(-1) for name in SLOT}
    spread = np.full(len(fresh), minute)
    _begin_slots(state, flat, fresh, spread, np.full(len(fresh), UNKNOWN))
    told = {name: bars[name][place] for name in ("open", "high", "low", "close", "count")}
    with np.errstate(invalid="ignore"):
        told["notional"] = np.where(volume > 0, bars["vwap"][place] * volume, 0.0)
    told |= {"volume": volume, "revision": bars["revision"][place] + 1}
    told["start"] = np.full(len(row), minute)
    told["begun"] = np.full(len(row), UNKNOWN)
    told["unsaid"] = np.zeros(len(row), dtype=np.uint8)
    for kind, width, mine in (("", SLOTS, ~is_old), ("old_", OLD, is_old)):
        for name, values in told.items():
            put(state, f"{kind}{name}", (row[mine], minute % width), values[mine])


# -- saying bars


def _ready(state: Any, kind: str, at: Any) -> Array:
    """Bars that have something to say: changed, and with an eligible price now or when last said."""
    said_or_priced = (state[f"{kind}close"][at] > 0) | (state[f"{kind}revision"][at] > 0)
    return np.asarray((state[f"{kind}unsaid"][at] == 1) & said_or_priced)


def close_bars(state: Any, clock_ns: int, grace_ns: int) -> Columns | None:
    """The bars whose minute is over by `clock_ns`, by minute, then row; a changed one again."""
    minute_max = (clock_ns - grace_ns) // MINUTE_NS - 1  # the newest minute that is over
    row, slot = np.nonzero(_ready(state, "", ...) & (state["start"] <= minute_max))
    said = [_say(state, "", row, slot) if len(row) else None]
    reopened = np.flatnonzero(state["reopened"])
    if len(reopened):
        is_over = state["old_start"][reopened] <= minute_max
        line, place = np.nonzero(_ready(state, "old_", reopened) & is_over)
        said.append(_say(state, "old_", reopened[line], place) if len(line) else None)
        state["reopened"][reopened] = _ready(state, "old_", reopened).any(axis=1)
    bars = joined(said)
    if bars is None:
        return None
    order = np.lexsort((bars["row"], bars["ts_ns"]))
    return {name: values[order] for name, values in bars.items()}


def _say(state: Any, kind: str, row: Array, place: Array) -> Columns:
    columns = bars_at(state, row, place, kind)
    put(state, f"{kind}revision", (row, place), columns["revision"] + 1)
    put(state, f"{kind}unsaid", (row, place), 0)
    return columns


def put(state: Any, name: str, at: Any, values: Any) -> None:
    """Write a column of slots or of old bars."""
    if name.startswith("old_"):
        state.put(name, at, values)
    else:
        state[name][at] = values


def live_bars(state: Any) -> Columns | None:
    """The newest bar of every symbol that changed since the last call."""
    row = np.flatnonzero(state["changed"])
    state["changed"][row] = 0
    slot = state["newest"][row] % SLOTS
    has_price = state["close"][row, slot] > 0
    return bars_at(state, row[has_price], slot[has_price]) if has_price.any() else None


def bars_at(state: Any, row: Array, place: Array, kind: str = "") -> Columns:
    """Slots, or old bars (kind "old_"), as columns of the `bars` record.

    Where no print might set high and low they are those of open and close. A bar whose eligible
    prints were all cancelled after it was said is flat at the close before it.
    """
    bar = {name: state[f"{kind}{name}"][row, place] for name in SLOT}
    for one in np.flatnonzero(bar["close"] == 0).tolist():
        bar["open"][one] = bar["close"][one] = _close_before(state, row[one], bar["start"][one])
    open_, close, high, low = bar["open"], bar["close"], bar["high"], bar["low"]
    volume, notional = bar["volume"], bar["notional"]
    with np.errstate(invalid="ignore", divide="ignore"):
        vwap = np.where(volume > 0, notional / volume, np.nan)
    return {
        "row": row,
        "ts_ns": bar["start"] * MINUTE_NS,
        "open": open_,
        "high": np.where(high > 0, high, np.maximum(open_, close)),
        "low": np.where((high > 0) & (low > 0), low, np.minimum(open_, close)),
        "close": close,
        "vwap": vwap,
        **{name: bar[name] for name in ("volume", "count", "revision")},
    }


def _close_before(state: Any, row: int, minute: int) -> float:
    """The close of the newest bar before a minute that is known; without one, the newest price of all."""
    starts = np.concatenate([state["start"][row], state["old_start"][row]])
    closes = np.concatenate([state["close"][row], state["old_close"][row]])
    known = np.flatnonzero((starts < minute) & (closes > 0))
    if len(known):
        return float(closes[known[starts[known].argmax()]])
    prices = state["print_price"][row]
    return float(prices[(int(state["prints"][row]) - 1) % len(prices)])


# -- bars found by their minute


def place_of(state: Any, row: int, minute: int) -> tuple[str, int] | None:
    """Where the bar of a minute lies: ("", slot), ("old_", place), or None where it is not known."""
    for kind, width in (("", SLOTS), ("old_", OLD)):
        if minute > 0 and state[f"{kind}start"][row, minute % width] == minute:
            return kind, minute % width
    return None


def joined(parts: list[Columns | None]) -> Columns | None:
    """Several sets of columns one after the other; None if there is nothing."""
    present = [part for part in parts if part]
    if not present:
        return None
    return {name: np.concatenate([part[name] for part in present]) for name in present[0]}


def disagreement(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> dict[str, float]:
    """How far bars we built are from those of a feed: the largest relative difference of each column.

    Both are columns of the `bars` record with `symbol` or `row` as well; only bars of the same symbol and
    minute are compared, the newest of several, and a value that is absent on one side is not. `missing`
    and `extra` are the shares of the feed's bars that we do not have, and of ours that it does not have.
    """
    mine, other = _by_minute(ours), _by_minute(theirs)
    shared = [key for key in other if key in mine]
    found = {
        "missing": 1.0 - len(shared) / len(other) if other else 0.0,
        "extra": 1.0 - len(shared) / len(mine) if mine else 0.0,
    }
    for name in ("open", "high", "low", "close", "volume", "vwap", "count"):
        if name in ours and name in theirs:
            a = np.array([ours[name][mine[key]] for key in shared], dtype=float)
            b = np.array([theirs[name][other[key]] for key in shared], dtype=float)
            larger = np.maximum(np.abs(a), np.abs(b))
            apart = np.abs(a - b) / np.where(larger > 0, larger, 1.0)
            found[name] = float(apart[np.isfinite(apart)].max(initial=0.0))
    return found


def _by_minute(bars: Mapping[str, Array]) -> dict[tuple[Any, int], int]:
    symbols = bars["symbol" if "symbol" in bars else "row"]
    minutes = np.asarray(bars["ts_ns"]) // MINUTE_NS
    return {key: place for place, key in enumerate(zip(symbols, minutes.tolist(), strict=True))}
