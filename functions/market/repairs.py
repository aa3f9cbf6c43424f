"""Bars put right after the fact: corrections and cancels of trades, duplicates, what comes in the wrong order.

    what comes                                 what happens
    a trade that came before (same id, time    left out
      and price)
    a correction of a recent print             its bar is computed again from the prints that are left
    one of a print that is gone already        counted in `repeated`, nothing else
    one whose print is not known               held for 10 s of event time
    a trade that a held correction is of       taken as corrected from the start
    a held correction whose time is over       counted in `unknown`, taken from its bar as far as that goes

Where not all prints of a minute are known any more, volumes are still exact; high and low, if the
print had set them, become those of the prints that are known, of the open and of the close.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from functions.market import prints
from functions.market.candles import MINUTE_NS, SLOT, SLOTS, place_of, put
from functions.market.prints import ALL, BITS, COUNT, EXTREMES, GONE, LAST, PRINTS, VOLUME, Prints

Array = NDArray[Any]
Columns = dict[str, Any]

HOLD_NS = (
    10_000_000_000  # within 10 s participants report; so long a trade may come after its cancel
)
HELD_MAX = 1_024  # per partition: beyond a burst the oldest has waited long enough
AS_BEFORE = 255  # `new_upd`: the update bits stay
COUNTED, ARRIVING, TWICE = range(3)  # `kind` of what is said

STATE = {
    "held": "text",  # corrections that wait for their trade, as JSON
    "unknown": "i8",  # corrections whose trade never came
    "repeated": "i8",  # cancels of what was cancelled before
}


def none_waiting(texts: list[str]) -> str:
    """Of partitions that become one: what waits names rows, which are others then; raises ValueError."""
    if any(texts):
        raise ValueError("corrections wait for their trades; let the feed run on for ten seconds")
    return ""


MERGES = {"held": none_waiting}


class Print(NamedTuple):
    """One print, with what it may update and how many trades it stands for."""

    ts_ns: int
    id: int
    price: float
    size: float
    upd: int
    count: int = 1


class Change(NamedTuple):
    """A correction as the feed tells it; a `new_price` that is NaN cancels."""

    row: int
    ts_ns: int
    id: int
    price: float
    size: float
    upd: int  # -1 = not told
    new_price: float
    new_size: float
    new_upd: int
    new_id: int
    until_ns: int  # held no longer than this

    @property
    def original(self) -> prints.Original:
        return prints.Original(self.ts_ns, self.id, self.price, self.size, self.upd)

    def applied_to(self, one: Print) -> Print | None:
        """The print after the change; None if it is cancelled."""
        if not self.new_price > 0:
            return None
        upd = one.upd if self.new_upd == AS_BEFORE else self.new_upd & BITS
        number = self.new_id or one.id
        return Print(one.ts_ns, number, self.new_price, self.new_size, upd, one.count)


def changes_of(corrections: Any, clock_ns: int) -> list[Change]:
    """The corrections of a frame."""
    count = len(corrections["ts_ns"])
    told = [corrections[name].tolist() for name in ("row", "ts_ns")]
    for name, otherwise in (
        ("id", 0),
        ("price", None),
        ("size", None),
        ("upd", -1),
        ("new_price", None),
        ("new_size", None),
        ("new_upd", AS_BEFORE),
        ("new_id", 0),
    ):
        column = corrections.get(name)
        told.append([otherwise] * count if column is None else column.tolist())
    until_ns = [(clock_ns or ts_ns) + HOLD_NS for ts_ns in told[1]]
    return [Change(*values) for values in zip(*told, until_ns, strict=True)]


def held_of(state: Any) -> list[Change]:
    """The corrections that wait, oldest first."""
    return [Change(*values) for values in json.loads(state["held"] or "[]")]


def hold(state: Any, held: list[Change]) -> None:
    """Remember what waits."""
    state["held"] = json.dumps(held) if held else ""


# -- corrections


def correct(state: Any, corrections: Any, clock_ns: int) -> Columns | None:
    """Apply corrections in order; what they changed, as columns of the `corrected` record."""
    held, said = held_of(state), []
    for change in changes_of(corrections, clock_ns):
        place = prints.find(state, change.row, change.original)
        if place < 0:
            held.append(change)
            if len(held) > HELD_MAX:
                said.append(_apply_unknown(state, held.pop(0)))
        elif state["print_kind"][change.row, place] & GONE:
            state["repeated"][change.row] += 1
        else:
            said.append(_apply(state, change, place))
    hold(state, held)
    return columns_of(said)


def release(state: Any, clock_ns: int) -> Columns | None:
    """Apply the held corrections that waited long enough."""
    if not state["held"]:
        return None
    held = held_of(state)
    said = [_apply_unknown(state, one) for one in held if one.until_ns <= clock_ns]
    hold(state, [one for one in held if one.until_ns > clock_ns])
    return columns_of(said)


def _apply(state: Any, change: Change, place: int) -> Columns:
    row = change.row
    kind = int(state["print_kind"][row, place])
    ts_ns, number = int(state["print_ns"][row, place]), int(state["print_id"][row, place])
    old = Print(ts_ns, number, change.price, change.size, kind & BITS, kind // COUNT)
    new = change.applied_to(old)
    if new is None:
        state.put("print_kind", (row, place), kind | GONE)
    else:
        state.put("print_id", (row, place), new.id)
        state.put("print_price", (row, place), new.price)
        state.put("print_size", (row, place), new.size)
        state.put("print_kind", (row, place), new.upd | new.count * COUNT)
    return said_of(row, old, new, COUNTED, _repair(state, row, old, new, is_known=True))


def _apply_unknown(state: Any, change: Change) -> Columns:
    state["unknown"][change.row] += 1
    upd = ALL if change.upd < 0 else change.upd & BITS
    old = Print(change.ts_ns, change.id, change.price, change.size, upd)
    new = change.applied_to(old)
    bar = _repair(state, change.row, old, new, is_known=False)
    return said_of(change.row, old, new, COUNTED, bar)


def _repair(state: Any, row: int, old: Print, new: Print | None, is_known: bool) -> Columns:
    """Put the bar of a print right; returns it, with `is_exact`."""
    minute = old.ts_ns // MINUTE_NS
    found = place_of(state, row, minute)
    if found is None:
        return {"is_exact": 0}
    kind, place = found
    bar = {name: state[f"{kind}{name}"][row, place].item() for name in SLOT}
    left = prints_of_minute(state, row, minute)
    is_exact = is_known and state["prints"][row] - bar["begun"] <= PRINTS
    if is_exact:
        bar |= folded(left)
    else:
        _take(bar, old)
        if new is not None:
            _give(bar, new)
        _look_again(bar, old, left, is_known)
    for name, value in bar.items():
        put(state, f"{kind}{name}", (row, place), value)
    put(state, f"{kind}unsaid", (row, place), 1)
    if kind:
        state["reopened"][row] = 1
    elif place == state["newest"][row] % SLOTS:
        state["changed"][row] = 1
    return bar | {"is_exact": int(is_exact)}


def prints_of_minute(state: Any, row: int, minute: int) -> list[Print]:
    """The recent prints of a minute that still count, in order of arrival."""
    places = prints.recent(state, row)
    places = places[state["print_ns"][row, places] // MINUTE_NS == minute]
    names = ("ns", "id", "price", "size", "kind")
    columns = [state[f"print_{name}"][row, places].tolist() for name in names]
    return [
        Print(*told, kind & BITS, kind // COUNT)
        for *told, kind in zip(*columns, strict=True)
        if not kind & GONE
    ]


def folded(left: list[Print]) -> Columns:
    """A bar as the kernel would have made it from these prints."""
    bar: Columns = dict.fromkeys(("open", "high", "close", "volume", "notional"), 0.0)
    bar |= {"low": float("inf"), "count": 0}
    for one in left:
        _give(bar, one)
    return bar


def _give(bar: Columns, one: Print) -> None:
    if one.upd & VOLUME:
        bar["volume"] += one.size
        bar["notional"] += one.price * one.size
        bar["count"] += one.count
    if one.upd & LAST:
        bar["open"] = bar["open"] or one.price
        bar["close"] = one.price
    if one.upd & EXTREMES:
        bar["high"], bar["low"] = max(bar["high"], one.price), min(bar["low"], one.price)


def _take(bar: Columns, one: Print) -> None:
    if one.upd & VOLUME:
        bar["volume"] = max(bar["volume"] - one.size, 0.0)
        bar["notional"] = max(bar["notional"] - one.price * one.size, 0.0)
        bar["count"] = max(bar["count"] - one.count, 0)


def _look_again(bar: Columns, old: Print, left: list[Print], is_known: bool) -> None:
    """What can still be said about the prices of a bar whose prints are not all known."""
    lasts = [one.price for one in left if one.upd & LAST]
    if lasts and is_known:
        bar["close"] = lasts[-1]
    if not old.upd & EXTREMES:
        return
    prices = [one.price for one in left if one.upd & EXTREMES]
    prices += [bar[name] for name in ("open", "close") if bar[name] > 0]
    if prices and old.price >= bar["high"]:
        bar["high"] = max(prices)
    if prices and old.price <= bar["low"]:
        bar["low"] = min(prices)


# -- prints that are not taken as they come


def sift(
    state: Any, trades: Prints
) -> tuple[Prints | None, prints.Order, Array | None, Columns | None]:
    """Leave out duplicates, take prints as corrected where a held correction is of them.

    Returns the prints that are left, or None, their order by symbol, a mask of those that count nowhere
    (cancelled before they came; None: there are none), and what is to be said.
    """
    order = prints.order_of(trades.row)
    rows = prints.doubtful_rows(state, trades, order)
    held = held_of(state) if state["held"] else []
    waiting = [one.row for one in held]
    is_doubtful = np.isin(trades.row, np.union1d(rows, waiting)) if held or len(rows) else None
    if is_doubtful is None or not is_doubtful.any():
        return trades, order, None, None
    taken, said = _look_at(state, trades, np.flatnonzero(is_doubtful), held)
    stays = np.array([place for place, one in enumerate(taken) if one != TWICE], dtype=np.int64)
    if not len(stays):
        return None, order, None, columns_of(said)
    gone = np.array([taken[place] is None for place in stays.tolist()])
    left = _as_taken(trades, taken).pick(stays)
    order = prints.order_of(left.row)
    return left, order, gone if gone.any() else None, columns_of(said)


def _as_taken(trades: Prints, taken: list[Any]) -> Prints:
    """The prints with those that were corrected as right."""
    changed = [place for place, one in enumerate(taken) if isinstance(one, Print)]
    if not changed:
        return trades
    columns = trades._asdict()
    for name, otherwise in (("price", 0), ("size", 0), ("upd", ALL), ("id", 0)):
        before = columns[name]
        column = np.full(len(taken), otherwise) if before is None else before.copy()
        column[changed] = [getattr(taken[place], name) for place in changed]
        columns[name] = column
    return Prints(**columns)


def _look_at(
    state: Any, trades: Prints, places: Array, held: list[Change]
) -> tuple[list[Any], list[Columns]]:
    """Go through doubtful prints one by one.

    The first answer is, by place, what becomes of a print: COUNTED as it came, TWICE, a corrected Print
    or None for one that is cancelled.
    """
    taken: list[Any] = [COUNTED] * len(trades.row)
    said: list[Columns] = []
    keys: dict[int, Any] = {}
    for place in places.tolist():
        row, one = int(trades.row[place]), _print_at(trades, place)
        known = keys.setdefault(row, prints.recent_keys(state, row))
        if one.id and (one.id, one.ts_ns, one.price) in known:
            state["duplicates"][row] += 1
            taken[place] = TWICE
            said.append(said_of(row, one, None, TWICE))
            continue
        now = _as_held(one, row, held)
        if now is not one:
            taken[place] = now
            said.append(said_of(row, one, now, ARRIVING))
        known.append(((now or one).id, one.ts_ns, (now or one).price))
    hold(state, held)
    return taken, said


def _as_held(one: Print, row: int, held: list[Change]) -> Print | None:
    """A print after the held corrections that are of it, which then wait no longer."""
    now: Print | None = one
    for change in list(held):
        if (
            now is not None
            and change.row == row
            and change.original.is_it(now.ts_ns, now.id, now.price, now.size, now.upd)
        ):
            now = change.applied_to(now)
            held.remove(change)
    return now


def _print_at(trades: Prints, place: int) -> Print:
    upd = ALL if trades.upd is None else int(trades.upd[place]) & BITS
    count = 1 if trades.count is None else int(trades.count[place])
    number = 0 if trades.id is None else int(trades.id[place])
    ts_ns, price = int(trades.ts_ns[place]), float(trades.price[place])
    return Print(ts_ns, number, price, float(trades.size[place]), upd, count)


# -- what is said


def said_of(
    row: int, old: Print, new: Print | None, kind: int, bar: Columns | None = None
) -> Columns:
    """One row of the `corrected` record."""
    bar = bar or {"is_exact": 1}
    low, high = bar.get("low", 0.0), bar.get("high", 0.0)
    prices = {"open": bar.get("open", 0.0), "high": high, "low": low if high > 0 else 0.0}
    prices["close"] = bar.get("close", 0.0)
    return {
        "row": row,
        "ts_ns": old.ts_ns,
        "id": old.id,
        "price": old.price,
        "size": old.size,
        "upd": old.upd,
        "count": old.count,
        "new_price": new.price if new else np.nan,
        "new_size": new.size if new else 0.0,
        "new_upd": new.upd if new else 0,
        "new_id": new.id if new else 0,
        **{name: price if price > 0 else np.nan for name, price in prices.items()},
        "is_exact": bar["is_exact"],
        "kind": kind,
    }


def columns_of(said: list[Columns]) -> Columns | None:
    """Rows as columns."""
    return {name: [one[name] for one in said] for name in said[0]} if said else None
