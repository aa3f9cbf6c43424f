"""The best of one partition for every toplist: the first of the two stages of a ranking.

Who is not among the best of a partition is not among the best of all. A symbol that was among them
and is not any more is told once more, with rank 0, so that the second stage can forget it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market.listings import COLUMNS_MAX, Toplist
from functions.market.toplists import KEPT, ranked

Array = NDArray[Any]

STATE = {"sent.*": "u1"}  # per list: 1 = the symbol was among the best when it was last told
EXTRA = tuple(f"c{k}" for k in range(COLUMNS_MAX))  # columns of the wire for a list's own columns
ALWAYS = frozenset({"volume_daily"})  # every rank carries it
GONE = 0
ENDED = ""  # version of a list that is no more


def wanted(lists: Iterable[Toplist]) -> frozenset[str]:
    """The metrics that the lists need."""
    return ALWAYS.union(*(one.metrics for one in lists))


def best_of(
    state: Any, lists: tuple[Toplist, ...], values: Mapping[str, Array], row: Array
) -> dict[str, Any] | None:
    """The rows of `toplists.partial`, but for time and configuration; None where none has news.

    values   metric -> f8 at each of `row`
    row      the symbols that may rank, ascending; every other one leaves
    """
    symbols = np.array([state.symbols[one] for one in row.tolist()])
    volume = values["volume_daily"]
    parts = [_part(state, one, values, volume, row, symbols) for one in lists]
    kept = {one.id for one in lists}
    parts += [_ended(state, name) for name in state.family("sent") if name not in kept]
    parts = [part for part in parts if len(part["row"])]
    if not parts:
        return None
    told = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not any(one.columns for one in lists):
        return {name: column for name, column in told.items() if name not in EXTRA}
    return told


def _part(
    state: Any, one: Toplist, values: Any, volume: Array, row: Array, symbols: Array
) -> dict[str, Array]:
    """One list: its best symbols in order, then those that were among them."""
    value = np.where(_passes(state, one, values, row), values[one.metric], np.nan)
    best = ranked(value, symbols, one.is_falling, KEPT)
    sent = state[f"sent.{one.id}"]
    is_gone = sent > 0
    is_gone[row[best]] = False
    gone = np.flatnonzero(is_gone)
    sent[gone] = 0
    sent[row[best]] = 1
    shown = {name: values[metric][best] for name, metric in zip(EXTRA, one.columns, strict=False)}
    return _rows(one, row[best], value[best], volume[best], shown, gone)


def _rows(
    one: Toplist, row: Array, value: Array, volume: Array, shown: Mapping[str, Array], gone: Array
) -> dict[str, Array]:
    left = np.full(len(gone), np.nan)
    size = len(row) + len(gone)
    absent = np.full(len(row), np.nan)
    return {
        "row": np.concatenate([row, gone]),
        "list": np.full(size, one.id, dtype=object),
        "key": np.full(size, one.key, dtype=object),
        "version": np.full(size, one.version, dtype=object),
        "is_falling": np.full(size, one.is_falling, dtype=np.uint8),
        "value": np.concatenate([value, left]),
        "volume": np.concatenate([np.nan_to_num(volume), np.zeros(len(gone))]),
        "rank": np.concatenate([np.arange(1, len(row) + 1), np.full(len(gone), GONE)]),
        **{name: np.concatenate([shown.get(name, absent), left]) for name in EXTRA},
    }


def _ended(state: Any, name: str) -> dict[str, Array]:
    """A list that is no more: all who were in it leave."""
    gone = np.flatnonzero(state[f"sent.{name}"])
    del state[f"sent.{name}"]
    none = np.array([], dtype=np.int64)
    told = _rows(Toplist(name, "", True), none, none * 1.0, none * 1.0, {}, gone)
    return {**told, "version": np.full(len(gone), ENDED, dtype=object)}


def _passes(state: Any, one: Toplist, values: Any, row: Array) -> Array:
    """Who meets the filters; a metric that is absent meets none."""
    passes = np.ones(len(row), dtype=bool)
    with np.errstate(invalid="ignore"):
        for metric, is_least, limit in one.filters:
            passes &= values[metric] >= limit if is_least else values[metric] <= limit
    if one.exchange:
        fact = f"fact.exchange.{one.exchange}"
        passes &= state[fact][row] > 0 if fact in state else False
    return passes
