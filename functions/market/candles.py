"""One-minute bars under construction: four minute slots per symbol, filled print by print.

Slot `minute % 4` of a symbol holds the bar of that minute until the symbol trades four minutes
later. What a print may do to it is in its `upd` bits; a bar exists once it has an eligible price.

    the print's minute is                      what happens
    the one its slot holds                     added
    newer than what its slot holds             the slot begins anew (what it had not said is said first)
    4 or more behind the symbol's newest       counted in `late`, nothing else

A bar that was said and then changed by a late print is said again with the next revision, and only
on a clock event, so that the number of revisions does not depend on where a frame was cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = dict[str, Array]

MINUTE_NS = 60_000_000_000
SLOTS = 4  # prints are reported up to 10 s late by rule; three minutes leave room for a slow feed
VOLUME, LAST, EXTREMES = 1, 2, 4  # bits of `upd`
ALL = VOLUME | LAST | EXTREMES

STATE = {
    "start": ("i8", SLOTS),  # minutes since 1970; 0 = empty
    "open": ("f8", SLOTS),  # 0 = no eligible price yet
    "high": ("f8", SLOTS),
    "low": ("f8", SLOTS),
    "close": ("f8", SLOTS),
    "volume": ("f8", SLOTS),
    "notional": ("f8", SLOTS),
    "count": ("i8", SLOTS),
    "revision": ("i4", SLOTS),  # the revision it will be said with next
    "unsaid": ("u1", SLOTS),  # 1 = changed since it was last said
    "newest": "i8",  # newest minute of the symbol
    "changed": "u1",  # 1 = changed since its live bar was last said
    "late": "i8",  # prints that came too late for their bar
}


def add_prints(
    slots: Mapping[str, Array],
    row: Array,
    ts_ns: Array,
    price: Array,
    size: Array,
    upd: Array | None,
    count: Array | None = None,
) -> Columns | None:
    """Add prints, in order of arrival, to the bars of their minutes.

    Returns the bars that had to leave their slot before a clock event could say them (event time
    leapt minutes ahead), or None.
    """
    minute = ts_ns // MINUTE_NS
    first, last = int(minute.min()), int(minute.max())
    if last - first >= SLOTS:  # two minutes could share a slot: let one half go first
        half = len(row) // 2
        parts = [slice(0, half), slice(half, None)]
        said = [
            add_prints(
                slots,
                row[p],
                ts_ns[p],
                price[p],
                size[p],
                None if upd is None else upd[p],
                None if count is None else count[p],
            )
            for p in parts
        ]
        return joined(said)
    spread: Any = first if first == last else minute
    late = spread <= slots["newest"][row] - SLOTS
    if first <= 0:
        late |= minute <= 0
    if late.any():
        np.add.at(slots["late"], row[late], 1)
        keep = ~late
        row, minute, price, size = row[keep], minute[keep], price[keep], size[keep]
        upd = None if upd is None else upd[keep]
        count = None if count is None else count[keep]
        if not len(row):
            return None
        spread = minute
    at = row * SLOTS + spread % SLOTS
    flat = {
        name: slots[name].reshape(-1) for name, shape in STATE.items() if isinstance(shape, tuple)
    }
    evicted = None
    stale = flat["start"][at] != spread
    if stale.any():
        evicted = _evict(slots, row[stale], at[stale])
        _begin(flat, at[stale], minute[stale])
        np.maximum.at(slots["newest"], row, minute)
    _add(flat, at, price, size, upd, count)
    flat["unsaid"][at] = 1
    slots["changed"][row] = 1
    return evicted


def _begin(flat: Mapping[str, Array], at: Array, minute: Array) -> None:
    """Empty the slots and give them to the minutes."""
    for name in ("open", "high", "close", "volume", "notional", "count", "revision"):
        flat[name][at] = 0
    flat["low"][at] = np.inf
    flat["start"][at] = minute


def _add(
    flat: Mapping[str, Array],
    at: Array,
    price: Array,
    size: Array,
    upd: Array | None,
    count: Array | None,
) -> None:
    """Fold the prints into their slots; `np.add.at` is a left fold, assignment keeps the last."""
    everything = upd is None or bool((upd & ALL == ALL).all())
    for bit, put in ((VOLUME, _put_volume), (LAST, _put_last), (EXTREMES, _put_extremes)):
        if everything:
            put(flat, at, price, size)
        elif (may := (upd & bit) != 0).any():  # type: ignore[operator]
            put(flat, at[may], price[may], size[may])
    counted = slice(None) if everything else (upd & VOLUME) != 0  # type: ignore[operator]
    np.add.at(flat["count"], at[counted], 1 if count is None else count[counted])


def _put_volume(flat: Mapping[str, Array], at: Array, price: Array, size: Array) -> None:
    np.add.at(flat["volume"], at, size)
    np.add.at(flat["notional"], at, price * size)


def _put_last(flat: Mapping[str, Array], at: Array, price: Array, size: Array) -> None:
    flat["close"][at] = price
    fresh = np.flatnonzero(flat["open"][at] == 0)[::-1]  # reversed: the first to arrive is kept
    flat["open"][at[fresh]] = price[fresh]


def _put_extremes(flat: Mapping[str, Array], at: Array, price: Array, size: Array) -> None:
    np.maximum.at(flat["high"], at, price)
    np.minimum.at(flat["low"], at, price)


def _evict(slots: Mapping[str, Array], row: Array, at: Array) -> Columns | None:
    """Say what the slots to be reused have not said, and older bars of the symbol before them."""
    ready = _ready(slots)
    if not ready.reshape(-1)[at].any():
        return None
    said = []
    for symbol, slot in zip(row.tolist(), (at % SLOTS).tolist(), strict=True):
        if ready[symbol, slot]:
            start = slots["start"][symbol]
            leaving = np.flatnonzero(ready[symbol] & (start <= start[slot]))
            leaving = leaving[np.argsort(start[leaving])]
            said.append(_say(slots, np.full(len(leaving), symbol), leaving))
            ready[symbol, leaving] = False
    return joined(said)


def _ready(slots: Mapping[str, Array]) -> Array:
    """Slots that have something to say: changed, and with an eligible price."""
    return (slots["unsaid"] == 1) & (slots["close"] > 0)


def close_bars(slots: Mapping[str, Array], clock_ns: int, grace_ns: int) -> Columns | None:
    """The bars whose minute is over by `clock_ns`, by minute, then row; a changed one again."""
    minute_max = (clock_ns - grace_ns) // MINUTE_NS - 1  # the newest minute that is over
    row, slot = np.nonzero(_ready(slots) & (slots["start"] <= minute_max))
    if not len(row):
        return None
    order = np.lexsort((row, slots["start"][row, slot]))
    return _say(slots, row[order], slot[order])


def _say(slots: Mapping[str, Array], row: Array, slot: Array) -> Columns:
    columns = bars_at(slots, row, slot)
    slots["revision"][row, slot] += 1
    slots["unsaid"][row, slot] = 0
    return columns


def live_bars(slots: Mapping[str, Array]) -> Columns | None:
    """The newest bar of every symbol that changed since the last call."""
    row = np.flatnonzero(slots["changed"])
    slots["changed"][row] = 0
    slot = slots["newest"][row] % SLOTS
    has_price = slots["close"][row, slot] > 0
    return bars_at(slots, row[has_price], slot[has_price]) if has_price.any() else None


def bars_at(slots: Mapping[str, Array], row: Array, slot: Array) -> Columns:
    """Slots as columns of the `bars` record.

    Where no print might set high and low they are those of open and close.
    """
    bar = {name: slots[name][row, slot] for name in ("volume", "count", "revision", "notional")}
    open_, close = slots["open"][row, slot], slots["close"][row, slot]
    high, low = slots["high"][row, slot], slots["low"][row, slot]
    volume, notional = bar["volume"], bar.pop("notional")
    with np.errstate(invalid="ignore", divide="ignore"):
        vwap = np.where(volume > 0, notional / volume, np.nan)
    return {
        "row": row,
        "ts_ns": slots["start"][row, slot] * MINUTE_NS,
        "open": open_,
        "high": np.where(high > 0, high, np.maximum(open_, close)),
        "low": np.where(high > 0, low, np.minimum(open_, close)),
        "close": close,
        "vwap": vwap,
        **bar,
    }


def joined(parts: list[Columns | None]) -> Columns | None:
    """Several sets of columns one after the other; None if there is nothing."""
    present = [part for part in parts if part]
    if not present:
        return None
    return {name: np.concatenate([part[name] for part in present]) for name in present[0]}
