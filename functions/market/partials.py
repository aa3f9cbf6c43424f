"""The best of one partition for every toplist: the first of the two stages of a ranking.

Who is not among the best of a partition is not among the best of all. A symbol that was among them
and is not any more is told once more, with rank 0, so that the second stage can forget it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market.listings import COLUMNS_MAX, SYSTEM, Toplist
from functions.market.toplists import FEW, KEPT

Array = NDArray[Any]

PLACES = 256  # bits of `sent`; more than there may be lists
WORDS = PLACES // 64
HEAPS = 256  # into which symbols are dealt out to find the best: some times KEPT
KNOWN_MAX = np.finfo(float).max
STATE = {
    "sent": ("u8", WORDS),  # per list a bit: the symbol was among the best when last told
    "by_symbol": "i4",  # place of the symbol among all, sorted; ties go by it
    "sorted": "text",  # of how many symbols that is
    "sent_lists": "text",  # ids of the lists in the order of their bits, separated by blanks
}
MERGES = {"sorted": lambda _: ""}  # other symbols: their places are found anew
EXTRA = tuple(f"c{k}" for k in range(COLUMNS_MAX))  # columns of the wire for a list's own columns
ALWAYS = frozenset({"volume_daily"})  # every rank carries it
GONE = 0
ENDED = 0  # version of a list that is no more


@dataclass(frozen=True)
class Plan:
    """Lists as columns; `ids` and those behind it are by list."""

    lists: tuple[Toplist, ...]
    metrics: frozenset[str]
    joined: str
    ids: Array
    keys: Array
    versions: Array
    is_falling: Array
    signs: Array
    is_plain: bool  # only system lists: nothing but id and rank has to be told


@lru_cache(maxsize=8)
def plan_of(lists: tuple[Toplist, ...]) -> Plan:
    """What does not change from second to second."""
    falling = np.array([one.is_falling for one in lists], dtype=np.uint8)
    return Plan(
        lists,
        ALWAYS.union(*(one.metrics for one in lists)),
        " ".join(one.id for one in lists),
        np.array([one.id for one in lists], dtype=object),
        np.array([one.key for one in lists], dtype=object),
        np.array([one.version for one in lists], dtype=np.uint32),
        falling,
        np.where(falling, -1.0, 1.0)[:, None],
        lists == SYSTEM,
    )


def best_of(
    state: Any, plan: Plan, values: Mapping[str, Array], row: Array
) -> dict[str, Any] | None:
    """The rows of `toplists.partial`, but for time and configuration; None where none has news.

    values   metric -> f8 at each of `row`
    row      the symbols that may rank, ascending; every other one leaves
    """
    ended = None if state["sent_lists"] == plan.joined else _renumbered(state, plan)
    keys = _keys(state, plan, values, row)
    which, place, rank = _rankings(state, keys, row)
    value = keys[which, place] * plan.signs[which, 0]
    now = _words(state.rows, row[place], which)
    sent = state["sent"]
    gone, left = _set_bits(sent & ~now)
    sent[...] = now
    told = _rows(plan, values, value, row, which, place, rank, gone, left)
    if ended is not None and len(ended["row"]):
        told = {name: np.concatenate([told[name], ended[name]]) for name in told}
    return told if len(told["row"]) else None


def _bits(sent: Array) -> Array:
    """(rows, PLACES) of 0 and 1."""
    return np.unpackbits(sent.view(np.uint8), axis=1, bitorder="little")


def _words(rows: int, row: Array, which: Array) -> Array:
    """`sent` with one bit set for each of distinct pairs of row and list."""
    words = np.zeros(rows * WORDS, dtype=np.uint64)
    bits = np.left_shift(np.uint64(1), (which % 64).astype(np.uint64))
    np.bitwise_or.at(words, row * WORDS + which // 64, bits)
    return words.reshape(rows, WORDS)


def _set_bits(words: Array) -> tuple[Array, Array]:
    """(row, list) of the bits that are set, by row: few rows have any."""
    rows = np.unique(np.flatnonzero(words != 0) // WORDS)  # of masks it is found faster
    at, which = np.nonzero(_bits(words[rows]))
    return rows[at], which


def _keys(state: Any, plan: Plan, values: Mapping[str, Array], row: Array) -> Array:
    """(lists, symbols): rising from the best on; NaN where a symbol does not pass a list's filters."""
    keys = np.empty((len(plan.lists), len(row)))
    for which, one in enumerate(plan.lists):
        np.multiply(values[one.metric], plan.signs[which, 0], out=keys[which])
        if one.filters or one.exchange:
            keys[which, ~_passes(state, one, values, row)] = np.nan
    return keys


def _rankings(state: Any, keys: Array, row: Array) -> tuple[Array, Array, Array]:
    """(list, position in `row`, rank) of the best of every list; `keys` rise from the best on."""
    symbol = _sorted_places(state)[row]
    if len(row) <= FEW:
        return _rankings_of_few(keys, symbol)
    found = np.flatnonzero(keys <= _limits(keys)[:, None])  # a tenth of the time of two indices
    which, place = np.divmod(found, len(row))
    order = np.lexsort((symbol[place], keys[which, place], which))
    which, place = which[order], place[order]
    starts = np.searchsorted(which, np.arange(len(keys)))
    rank = np.arange(len(which)) - starts[which]
    best = rank < KEPT
    return which[best], place[best], rank[best] + 1


def _limits(keys: Array) -> Array:
    """Of each list a key that at least KEPT keys do not exceed, and few others: finding the last of
    the best itself takes ten times as long. Where fewer are known all are within it.

    The symbols are dealt out into heaps; KEPT heaps begin with a key within the limit. What is absent
    or beyond the limit anyway stays as it is; keys that are -inf, which is rare, become absent.
    """
    depth = keys.shape[1] // HEAPS
    heaps, rest = keys[:, : depth * HEAPS], keys[:, depth * HEAPS :]
    heaps = heaps.reshape(len(keys), depth, HEAPS)
    least = np.fmin.reduce(heaps, axis=1, initial=np.inf)
    if (least == -np.inf).any() or (rest == -np.inf).any():
        np.copyto(keys, np.nan, where=keys == -np.inf)
        least = np.fmin.reduce(heaps, axis=1, initial=np.inf)
    return np.minimum(np.partition(least, KEPT - 1, axis=1)[:, KEPT - 1], KNOWN_MAX)


def _sorted_places(state: Any) -> Array:
    """The place of every symbol among all, sorted anew where symbols came."""
    if state["sorted"] != str(state.rows):
        place = np.empty(state.rows, dtype=np.int32)
        place[np.argsort(np.array(state.symbols))] = np.arange(state.rows)
        state["by_symbol"], state["sorted"] = place, str(state.rows)
    places: Array = state.read("by_symbol")
    return places


def _rankings_of_few(keys: Array, symbol: Array) -> tuple[Array, Array, Array]:
    """All lists in one sort; `keys` (lists, symbols) rise from the best on."""
    by_symbol = np.argsort(symbol)  # a stable sort after it leaves ties in order of symbols
    keys = keys[:, by_symbol]
    is_known = np.isfinite(keys)
    keys[~is_known] = np.nan  # sorted last
    order = by_symbol[np.argsort(keys, axis=1, kind="stable")]
    counts = np.minimum(is_known.sum(axis=1), KEPT)
    which, rank = np.nonzero(np.arange(len(symbol)) < counts[:, None])
    return which, order[which, rank], rank + 1


def _rows(
    plan: Plan,
    values: Mapping[str, Array],
    value: Array,
    row: Array,
    which: Array,
    place: Array,
    rank: Array,
    gone: Array,
    left: Array,
) -> dict[str, Array]:
    """The best, list by list, then who left; `value` is of the best."""
    every = np.concatenate([which, left])
    none = np.full(len(gone), np.nan)
    volume = np.nan_to_num(values["volume_daily"][place])
    told = {
        "row": np.concatenate([row[place], gone]),
        "list": plan.ids[every],
        "version": plan.versions[every],
        "is_falling": plan.is_falling[every],
        "value": np.concatenate([value, none]),
        "volume": np.concatenate([volume, np.zeros(len(gone))]),
        "rank": np.concatenate([rank, np.full(len(gone), GONE)]),
    }
    if plan.is_plain:
        return told
    absent = np.full(len(row), np.nan)
    shown = [[values[m] for m in one.columns] for one in plan.lists]
    for k, name in enumerate(EXTRA):
        column = np.array([one[k] if k < len(one) else absent for one in shown])
        told[name] = np.concatenate([column[which, place], none])
    return {**told, "key": plan.keys[every]}


def _renumbered(state: Any, plan: Plan) -> dict[str, Array]:
    """Lists came or went: bits move to their new places; who was in a list that is no more leaves."""
    before = state["sent_lists"].split()
    bits = _bits(state["sent"])
    place_of = {one.id: place for place, one in enumerate(plan.lists)}
    moved = np.zeros_like(bits)
    ended = []
    for place, name in enumerate(before):
        if name in place_of:
            moved[:, place_of[name]] = bits[:, place]
        else:
            ended += [(name, one) for one in np.flatnonzero(bits[:, place]).tolist()]
    state["sent"][...] = np.packbits(moved, axis=1, bitorder="little").view("<u8")
    state["sent_lists"] = plan.joined
    return _ended(ended)


def _ended(ended: list[tuple[str, int]]) -> dict[str, Array]:
    size = len(ended)
    names = np.array([name for name, _ in ended], dtype=object)
    none = np.full(size, np.nan)
    return {
        "row": np.array([row for _, row in ended], dtype=np.int64),
        "list": names,
        "version": np.full(size, ENDED, dtype=np.uint32),
        "is_falling": np.ones(size, dtype=np.uint8),
        "value": none,
        "volume": np.zeros(size),
        "rank": np.full(size, GONE),
        "key": np.full(size, "", dtype=object),
        **dict.fromkeys(EXTRA, none),
    }


def _passes(state: Any, one: Toplist, values: Mapping[str, Array], row: Array) -> Array:
    """Who meets the filters; a metric that is absent meets none."""
    passes = np.ones(len(row), dtype=bool)
    with np.errstate(invalid="ignore"):
        for metric, is_least, limit in one.filters:
            passes &= values[metric] >= limit if is_least else values[metric] <= limit
    if one.exchange:
        fact = f"fact.exchange.{one.exchange}"
        passes &= state.read(fact)[row] > 0 if fact in state else False
    return passes
