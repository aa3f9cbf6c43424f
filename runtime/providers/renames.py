"""Symbols that were renamed: the old one ends, and all that was told of it is told again of the new one.

At 05:00 UTC on the date of a rename, in this order: the old symbols end; what is always known of whoever
has such a symbol is told again, for it may be somebody else's now; the new symbols get the past of the
old ones as it was before that date, so that A may become B on the day on which B becomes C. Who takes
over a symbol that ends on the same day begins there: functions count nothing older of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import numpy as np

from runtime.frames import Array

KNOWN_NS = 5 * 3_600_000_000_000
ENDED = "ended"


@dataclass(frozen=True)
class Past:
    """Events that became known at one time; `index` is the symbol of each."""

    known_ns: int
    kind: str
    index: Array
    columns: dict[str, Array]

    @property
    def is_always_known(self) -> bool:
        """Whether it is of whoever has the symbol, at any time."""
        return not self.known_ns and self.kind != "daily"


class Rename(NamedTuple):
    """From a date on, 00:00 UTC of it, an old symbol is called by a new one."""

    date_ns: int
    old: int
    new: int


def renamed(told: list[Past], renames: list[Rename], symbols: int) -> list[Past]:
    """What is told, in order of time, with all that follows from renames."""
    if not renames:
        return told
    own, always = _by_symbol(told, {one.old for one in renames}, symbols)
    found: list[Past] = []
    for date_ns, group in groupby(sorted(set(renames)), key=lambda one: one.date_ns):
        found += _on_a_day(date_ns, list(group), own, always)
    return sorted([*told, *found], key=lambda one: one.known_ns)


Parts = defaultdict[int, list[Past]]


def _by_symbol(told: list[Past], wanted: set[int], symbols: int) -> tuple[Parts, Parts]:
    """(what is told of each wanted symbol, what is always known of it)."""
    own, always = Parts(list), Parts(list)
    is_wanted = np.zeros(symbols, dtype=bool)
    is_wanted[list(wanted)] = True
    for one in told:
        rows = np.flatnonzero(is_wanted[one.index])
        for symbol in np.unique(one.index[rows]).tolist() if len(rows) else ():
            mine = rows[one.index[rows] == symbol]
            columns = {name: values[mine] for name, values in one.columns.items()}
            part = Past(one.known_ns, one.kind, one.index[mine], columns)
            (always if one.is_always_known else own)[symbol].append(part)
    return own, always


def _on_a_day(date_ns: int, renames: list[Rename], own: Parts, always: Parts) -> Iterator[Past]:
    when = date_ns + KNOWN_NS
    olds = np.array([one.old for one in renames], dtype=np.int64)
    yield _end(when, date_ns, olds)
    for one in renames:
        yield from (replace(part, known_ns=when) for part in always[one.old])
    pasts = {one.old: [part for part in own[one.old] if part.known_ns <= when] for one in renames}
    for one in renames:
        own[one.old] = [part for part in own[one.old] if part.known_ns > when]
    for one in renames:
        copies = [
            replace(part, known_ns=when, index=np.full_like(part.index, one.new))
            for part in _joined(pasts[one.old])
        ]
        own[one.new] = sorted(copies + own[one.new], key=lambda part: part.known_ns)
        yield from copies


def _end(when: int, date_ns: int, olds: Array) -> Past:
    columns = {
        "ts_ns": np.full(len(olds), date_ns, dtype=np.int64),
        "name": np.full(len(olds), ENDED, dtype=object),
        "value": np.ones(len(olds)),
    }
    return Past(when, "reference", olds, columns)


def _joined(parts: list[Past]) -> Iterator[Past]:
    """Parts of one kind that follow one another, as one."""
    for kind, several in groupby(parts, key=lambda one: one.kind):
        run = list(several)
        columns = {
            name: np.concatenate([one.columns[name] for one in run]) for name in run[0].columns
        }
        yield Past(run[0].known_ns, kind, np.concatenate([one.index for one in run]), columns)
