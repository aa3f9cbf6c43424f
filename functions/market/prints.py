"""The recent prints of every symbol: by them a duplicate is known, and a correction finds its original.

Print n of a symbol lies at n % PRINTS, in order of arrival. A print that was cancelled stays where it
is, marked as gone: a feed that repeats itself then does not bring it back.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Per symbol. Most corrections come within seconds, and a busy symbol prints some dozens a second; what a
# feed repeats after a reconnect is about as much. 64 are 2.5 KB of state a symbol.
PRINTS = 64
VOLUME, LAST, EXTREMES = 1, 2, 4  # bits of `upd`
ALL = VOLUME | LAST | EXTREMES
LAST_IF_FIRST = 32
BITS = ALL | LAST_IF_FIRST  # those that are kept
GONE = 1 << 8  # a bit of `print_kind` beside those of `upd`; from COUNT on it counts trades
COUNT = 1 << 9

STATE = {
    "prints": "i8",  # how many came
    "print_newest_ns": "i8",  # the newest time among those of frames with ids
    "print_ns": ("i8", PRINTS, "put"),
    "print_price": ("f8", PRINTS, "put"),
    "print_size": ("f8", PRINTS, "put"),
    "print_id": ("i8", PRINTS, "put"),  # the feed's; 0 = none
    "print_kind": ("i8", PRINTS, "put"),  # upd | GONE | count * COUNT
    "duplicates": "i8",  # prints left out because they had come before
}


class Prints(NamedTuple):
    """Prints in order of arrival; None where the feed tells no update bits, counts or ids."""

    row: Array
    ts_ns: Array
    price: Array
    size: Array
    upd: Array | None = None
    count: Array | None = None
    id: Array | None = None

    def pick(self, rows: Any) -> Prints:
        """Some of the prints."""
        return Prints(*(None if one is None else one[rows] for one in self))


def prints_of(trades: Any) -> Prints:
    """The prints of a frame."""
    told = (trades.get(name) for name in ("upd", "count", "id"))
    return Prints(trades["row"], trades["ts_ns"], trades["price"], trades["size"], *told)


class Order(NamedTuple):
    """A frame's prints brought together by symbol, in order of arrival within each."""

    places: Array  # of the prints, by symbol
    starts: Array  # where the prints of each symbol begin
    counts: Array


def order_of(row: Array) -> Order:
    """Bring the prints of each symbol together."""
    is_small = row.max() < 1 << 16  # numpy sorts 16-bit integers by radix, about three times faster
    places = np.argsort(row.astype(np.uint16) if is_small else row, kind="stable")
    ordered = row[places]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return Order(places, starts, np.diff(starts, append=len(row)))


def keep(state: Any, prints: Prints, order: Order, gone: Array | None = None) -> Array:
    """Put prints into the rings of their symbols; returns the number of each print.

    gone    mask of prints that are known and count nowhere
    """
    by, counts = order.places, order.counts
    ordered = prints.row[by]
    rows = ordered[order.starts]
    first = state["prints"][rows]
    numbers = np.arange(len(by)) + np.repeat(first - order.starts, counts)
    ts_ns = prints.ts_ns[by]
    state["prints"][rows] = first + counts
    newest_ns = state["print_newest_ns"]
    has_ids = prints.id is not None or newest_ns[rows].any()
    if prints.id is not None:
        newest_ns[rows] = np.maximum(newest_ns[rows], np.maximum.reduceat(ts_ns, order.starts))
    found = np.empty_like(numbers)
    found[by] = numbers
    if counts.max() > PRINTS:  # of a symbol with more, the newest are kept
        recent = numbers >= np.repeat(first + counts - PRINTS, counts)
        by, ordered, numbers, ts_ns = by[recent], ordered[recent], numbers[recent], ts_ns[recent]
    at = (ordered, numbers % PRINTS)
    kind = _kinds(prints, gone)
    state.put("print_ns", at, ts_ns)
    state.put("print_price", at, prints.price[by])
    state.put("print_size", at, prints.size[by])
    if has_ids:
        state.put("print_id", at, 0 if prints.id is None else prints.id[by])
    state.put("print_kind", at, kind if isinstance(kind, int) else kind[by])
    return found


def _kinds(prints: Prints, gone: Array | None) -> Any:
    if prints.upd is None and prints.count is None and gone is None:
        return ALL | COUNT
    upd: Any = ALL if prints.upd is None else prints.upd.astype(np.int64)
    count: Any = 1 if prints.count is None else prints.count
    kind = np.zeros(len(prints.row), dtype=np.int64) + (upd & BITS | count * COUNT)
    return kind if gone is None else np.where(gone, kind | GONE, kind)


# -- duplicates


def doubtful_rows(state: Any, prints: Prints, order: Order) -> Array:
    """The symbols among whose prints there may be a duplicate.

    A print that is newer than all before it did not come before; this settles nearly all of them.
    """
    nobody = np.zeros(0, dtype=np.int64)
    if prints.id is None:
        return nobody
    by = order.places
    ts_ns, row, number = prints.ts_ns[by], prints.row[by], prints.id[by]
    old = np.flatnonzero((ts_ns <= _newest_before(state, row, ts_ns, order)) & (number != 0))
    if not len(old):
        return nobody
    was_kept = (state["print_id"][row[old]] == number[old, None]).any(axis=1)
    key = number.astype(np.uint64) ^ (row.astype(np.uint64) << np.uint64(40))
    by_key = np.argsort(key, kind="stable")
    twice = by_key[1:][key[by_key[1:]] == key[by_key[:-1]]]
    return np.unique(np.concatenate([row[old[was_kept]], row[twice[number[twice] != 0]]]))


def _newest_before(state: Any, row: Array, ts_ns: Array, order: Order) -> Array:
    """The newest time of the symbol before each print, by symbol."""
    carried = np.repeat(state["print_newest_ns"][row[order.starts]], order.counts)
    before = np.empty_like(ts_ns)
    before[1:] = ts_ns[:-1]
    before[order.starts] = 0
    if (ts_ns >= before).all():  # in order of time
        return np.maximum(before, carried)
    # Offsets that grow by symbol make one running maximum of those of all symbols.
    first = ts_ns.min()
    width = int(ts_ns.max() - first) + 1
    offset = np.repeat(np.arange(len(order.starts)) * width, order.counts) - first
    before[1:] = np.maximum.accumulate(ts_ns + offset)[:-1] - offset[1:]
    before[order.starts] = 0
    return np.maximum(before, carried)


def recent(state: Any, row: int) -> Array:
    """The places of a symbol's recent prints, oldest first."""
    count = int(state["prints"][row])
    return np.arange(max(0, count - PRINTS), count) % PRINTS


def recent_keys(state: Any, row: int) -> deque[tuple[int, int, float]]:
    """What names the recent prints of a symbol: id, time and price; ids are per exchange and day."""
    places = recent(state, row)
    columns = (state[f"print_{name}"][row, places].tolist() for name in ("id", "ns", "price"))
    return deque(zip(*columns, strict=True), maxlen=PRINTS)


# -- originals


def reported(upd: int) -> int:
    """Update bits as a feed reports them: whether a print was the first of its day it does not know."""
    return upd & BITS & ~LAST if upd & LAST_IF_FIRST else upd & BITS


class Original(NamedTuple):
    """A print as a feed names it when it corrects it: `id` 0 and `upd` -1 where it does not say."""

    ts_ns: int
    id: int
    price: float
    size: float
    upd: int

    def is_it(self, ts_ns: int, number: int, price: float, size: float, upd: int) -> bool:
        """Whether a print is the original: by its id if both have one, else by its time."""
        if price != self.price or size != self.size:
            return False
        if self.upd >= 0 and reported(self.upd) != reported(upd):
            return False
        return number == self.id if number and self.id else ts_ns == self.ts_ns


def find(state: Any, row: int, original: Original) -> int:
    """The place of the original among a symbol's recent prints; -1 where it is not.

    Of several the newest that still counts; one that is gone only where no other is.
    """
    gone = -1
    names = ("ns", "id", "price", "size", "kind")
    for place in recent(state, row)[::-1].tolist():
        *told, kind = (state[f"print_{name}"][row, place].item() for name in names)
        if original.is_it(*told, kind & BITS):
            if not kind & GONE:
                return place
            gone = place if gone < 0 else gone
    return gone
