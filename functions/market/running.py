"""Running values at every print of a frame in which symbols repeat, exact for any cut of the stream.

`np.maximum.at(high, row, price)` leaves the value after the whole frame, and a rule that compares
with it answers differently when the same prints arrive in two frames. The kernels here give the
value at each print, as a plain loop over the prints would:

    before = raise_high(state["high"], trades["row"], trades["price"])

Every sum is a left fold that starts with the state, so floating point gives the same bits however
the prints were cut. A kernel takes the row of each print, or a `Runs` where several columns are
folded over the same rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ROUNDS_MAX = 24  # a step over all symbols costs about 1 us; longer runs are cheaper one by one
RADIX_ROWS_MAX = 1 << 16  # numpy sorts 16-bit integers by radix, about three times faster


class Runs(NamedTuple):
    """The prints of a frame brought together by symbol, in order of arrival within each.

    order   print -> sorted place: `price[order]` is price by symbol
    rows    the row of each run, ascending
    starts  sorted place of the first print of each run
    counts  prints of each run
    of      the run each sorted place belongs to
    """

    order: Array
    rows: Array
    starts: Array
    counts: Array
    of: Array
    by_length: Array  # runs, longest first
    rounds: Array  # sorted places of all first prints, then all second prints, ...
    bounds: list[int]  # where each round begins and ends
    lasts: Array  # sorted place of the last print of each run

    def unsorted(self, values: Array) -> Array:
        """Values by symbol put back in order of arrival."""
        out = np.empty_like(values)
        out[self.order] = values
        return out


def runs_of(row: Array | Runs) -> Runs:
    """Bring the prints of each symbol together: one stable sort, to be used for several columns."""
    if isinstance(row, Runs):
        return row
    size = len(row)
    small = size and int(row.max()) < RADIX_ROWS_MAX
    order = np.argsort(row.astype(np.uint16) if small else row, kind="stable")
    ordered = row[order]
    if size and (ordered[1:] != ordered[:-1]).all():  # no symbol comes twice: nothing to fold
        places = np.arange(size)
        ones = np.ones_like(places)
        return Runs(order, ordered, places, ones, places, places, places, [0, size], places)
    fresh = np.empty(size, dtype=bool)
    fresh[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    return _runs(order, ordered, fresh)


def runs_from(runs: Runs, fresh: Array) -> Runs:
    """The same prints in shorter runs: a run begins wherever `fresh`, by symbol, is set."""
    return _runs(runs.order, runs.rows[runs.of], fresh)


def _runs(order: Array, ordered: Array, fresh: Array) -> Runs:
    starts = np.flatnonzero(fresh)
    counts = np.diff(starts, append=len(ordered))
    by_length = np.argsort(-counts, kind="stable")
    rounds, bounds = _rounds(starts[by_length], counts[by_length])
    of = np.cumsum(fresh) - 1
    lasts = starts + counts - 1
    return Runs(order, ordered[starts], starts, counts, of, by_length, rounds, bounds, lasts)


def _rounds(starts: Array, counts: Array) -> tuple[Array, list[int]]:
    """The k-th print of every run that has one, for k below ROUNDS_MAX; runs come longest first."""
    longest = int(counts[0]) if len(counts) else 0
    depth = min(longest, ROUNDS_MAX)
    widths = np.searchsorted(-counts, -np.arange(1, depth + 1), side="right")
    bounds = [0, *np.cumsum(widths).tolist()]
    places = [starts[:width] + k for k, width in enumerate(widths.tolist())]
    return (np.concatenate(places) if places else starts), bounds


def fold(ufunc: np.ufunc, carry: Array, runs: Runs, ordered: Array) -> Array:
    """The left fold of each run at each of its prints, the print included.

    carry    value of each run before its first print
    ordered  values by symbol (`values[runs.order]`)
    """
    if len(runs.bounds) == 2:  # no symbol comes twice
        return np.asarray(ufunc(carry, ordered, dtype=carry.dtype))
    out = np.empty(len(ordered), dtype=carry.dtype)
    values = ordered[runs.rounds]
    results = np.empty(len(values), dtype=carry.dtype)
    before = carry[runs.by_length]
    for begin, end in zip(runs.bounds[:-1], runs.bounds[1:], strict=True):
        before = ufunc(before[: end - begin], values[begin:end], out=results[begin:end])
    out[runs.rounds] = results
    for run in runs.by_length[: int((runs.counts > ROUNDS_MAX).sum())].tolist():
        first = int(runs.starts[run]) + ROUNDS_MAX
        rest = slice(first - 1, int(runs.starts[run] + runs.counts[run]))
        chain = ordered[rest].astype(carry.dtype)
        chain[0] = out[first - 1]
        out[rest] = ufunc.accumulate(chain)
    return out


def shifted(carry: Array, runs: Runs, ordered: Array) -> Array:
    """The value at the previous print of the same symbol; `carry` at the first of each run."""
    out = np.empty(len(ordered), dtype=ordered.dtype)
    out[1:] = ordered[:-1]
    out[runs.starts] = carry
    return out


def add_volume(volume: Array, row: Array | Runs, size: Array) -> Array:
    """Add each print's size to its symbol's total; the total at each print, that print included."""
    runs = runs_of(row)
    totals = fold(np.add, volume[runs.rows], runs, size[runs.order])
    volume[runs.rows] = totals[runs.lasts]
    return runs.unsorted(totals)


def raise_high(high: Array, row: Array | Runs, price: Array) -> Array:
    """Raise each symbol's high to its prints; the high each print met (0 = the first of all)."""
    runs = runs_of(row)
    carry = high[runs.rows]
    after = fold(np.maximum, carry, runs, price[runs.order])
    high[runs.rows] = after[runs.lasts]
    return runs.unsorted(shifted(carry, runs, after))


def lower_low(low: Array, row: Array | Runs, price: Array) -> Array:
    """Lower each symbol's low to its prints; the low each print met (0 = the first of all)."""
    runs = runs_of(row)
    carry = low[runs.rows]
    after = fold(np.minimum, np.where(carry > 0, carry, np.inf), runs, price[runs.order])
    low[runs.rows] = after[runs.lasts]
    return runs.unsorted(shifted(carry, runs, after))


def previous(last: Array, row: Array | Runs, value: Array) -> Array:
    """The value at the previous print of the same symbol; `last` keeps the newest of each."""
    runs = runs_of(row)
    ordered = value[runs.order]
    before = shifted(last[runs.rows], runs, ordered)
    last[runs.rows] = ordered[runs.lasts]
    return runs.unsorted(before)
