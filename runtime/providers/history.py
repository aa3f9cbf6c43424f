"""What is known of symbols beside their ticks, from files: daily bars and facts, told when they became known.

A file is daily bars or facts; a folder has the tables that `jetscan reference fetch` writes, one file each.

    told                                      known from
    a minute bar of the past                  the feed's first clock event, see `minutes`
    a daily bar                               05:00 UTC on the day after its date
    a fact, news, earnings                    its `ts_ns`; 0: always
    `split`, dated with its day               12:00 UTC on the day before
    `rename:OLD` of the new symbol, dated     05:00 UTC on its date, see `renames`
    with its day
    one of several earnings of a symbol       a day after those before it; the first: always
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.frames import Array
from runtime.providers import Batch
from runtime.providers.folders import DAY_NS, RENAME, facts_in
from runtime.providers.renames import Past, Rename, renamed
from runtime.providers.symbols import normal, normal_table
from runtime.tables import read_bars, read_facts

HOUR_NS = 3_600_000_000_000
DAY_KNOWN_NS = 29 * HOUR_NS
SPLIT_BEFORE_NS = 12 * HOUR_NS
KINDS = ("daily", "reference", "minutes")  # may be told again, wherever a feed goes on


@dataclass
class Table:
    """The symbols of all files, each with its place: a splitter looks each of them up once."""

    places: dict[str, int]

    def of(self, symbols: list[str]) -> tuple[Array, Array]:
        """(places of symbols as they are spelled here, which of them stay): test symbols do not."""
        spelled = normal_table(symbols)
        listed = np.array([one in spelled for one in symbols], dtype=bool)
        places = self.places
        index = [places.setdefault(spelled[one], len(places)) for one in symbols if one in spelled]
        return np.array(index, dtype=np.int64), listed


def known_in_time(daily: list[Path], reference: list[Path]) -> list[tuple[int, Batch]]:
    """(known from, batch) of files, in order of time. Raises TableError."""
    folders = [path for path in reference if path.is_dir()]
    bars = [path / "daily_bars.parquet" for path in folders]
    table = Table({})
    told: list[Past] = []
    renames: list[Rename] = []
    for path in (*(one for one in bars if one.exists()), *daily):
        told += _days(path, table)
    for path in reference:
        facts = facts_in(path) if path.is_dir() else read_facts(path)
        told += _facts(facts, table, renames)
    told.sort(key=lambda one: one.known_ns)
    told = renamed(told, renames, len(table.places))
    symbols = list(table.places)
    return [(one.known_ns, Batch(one.kind, one.columns, symbols, one.index)) for one in told]


def _days(path: Path, table: Table) -> Iterator[Past]:
    days = read_bars(path)
    index, listed = table.of(days.pop("symbol"))
    columns = {name: days[name][listed] for name in days if name not in ("vwap", "count")}
    for day, rows in by_time(columns["ts_ns"]):
        of_day = {name: values[rows] for name, values in columns.items()}
        yield Past(day + DAY_KNOWN_NS, "daily", index[rows], of_day)


def _facts(facts: dict[str, Any], table: Table, renames: list[Rename]) -> Iterator[Past]:
    index, listed = table.of(facts["symbol"])
    names = np.array(facts["name"], dtype=object)[listed]
    ts_ns, value = facts["ts_ns"][listed], facts["value"][listed]
    is_rename = np.array([name.startswith(RENAME) for name in names], dtype=bool)
    for place in np.flatnonzero(is_rename).tolist():
        old = normal(names[place].removeprefix(RENAME))
        old_place = table.places.setdefault(old, len(table.places))
        renames.append(Rename(int(ts_ns[place]) // DAY_NS * DAY_NS, old_place, int(index[place])))
    index, names, ts_ns, value = (one[~is_rename] for one in (index, names, ts_ns, value))
    from_ns = np.where(names == "split", ts_ns - SPLIT_BEFORE_NS, ts_ns)
    for when, rows in by_time(np.maximum(from_ns, 0)):
        columns = {"ts_ns": np.maximum(ts_ns[rows], 1), "name": names[rows], "value": value[rows]}
        yield Past(when, "reference", index[rows], columns)


def by_time(keys: Array) -> Iterator[tuple[int, Array]]:
    """(key, positions) of each distinct key, ascending; positions in their order."""
    if not len(keys):
        return
    order = np.argsort(keys, kind="stable")
    values, starts = np.unique(keys[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, starts[1:]), strict=True)
