"""What is known of symbols beside their ticks, from files: daily bars and facts, told when they became known.

A file is daily bars or facts; a folder has the tables that `jetscan reference fetch` writes, one file each.

A feed is wrapped: after its first clock event everything known by then is told, in order, and later
things right after the clock event that reaches them. So whoever replays tells the same, and whoever
starts again tells it all again: what is told twice counts once.

    told                                      known from
    a minute bar of the past                  the feed's first clock event, see `minutes`
    a daily bar                               05:00 UTC on the day after its date
    a fact, news, earnings                    its `ts_ns`; 0: always
    `split`, dated with its day               12:00 UTC on the day before
    `rename:OLD` of the new symbol, dated     05:00 UTC on its date: OLD ends there, and all that was told
    with its day                              of it is told again under the new symbol
    one of several earnings of a symbol       a day after those before it; the first: always
"""

from __future__ import annotations

import calendar
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from runtime.frames import Array
from runtime.providers import Batch, Provider, clock_batch
from runtime.providers.minutes import minutes_until
from runtime.providers.symbols import normal, normal_table
from runtime.tables import read_bars, read_columns, read_facts

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
DAY_KNOWN_NS = 29 * HOUR_NS
SPLIT_BEFORE_NS = 12 * HOUR_NS
RENAME_KNOWN_NS = 5 * HOUR_NS
RENAME, ENDED = "rename:", "ended"
DATED = ("split", ENDED)  # placed by their day, whatever came before
MIXING = np.uint64(0x9E3779B97F4A7C15)
HASH_BITS = 2**64 - 1
KINDS = ("daily", "reference", "minutes")  # may be told again, wherever a feed goes on
Fact = tuple[str, str, float, int]  # symbol, name, value, ts_ns


@dataclass(frozen=True)
class Told:
    """Events that became known at one time; `symbols` is the symbol of each."""

    known_ns: int
    kind: str
    symbols: Array
    columns: dict[str, Array]

    def of(self, symbol: str) -> Told:
        """Only the events of one symbol."""
        mine = self.symbols == symbol
        columns = {name: values[mine] for name, values in self.columns.items()}
        return Told(self.known_ns, self.kind, self.symbols[mine], columns)


def known_in_time(daily: list[Path], reference: list[Path]) -> list[tuple[int, Batch]]:
    """(known from, batch) of files, in order of time. Raises TableError."""
    folders = [path for path in reference if path.is_dir()]
    bars = [path / "daily_bars.parquet" for path in folders]
    told = [one for path in (*(one for one in bars if one.exists()), *daily) for one in _days(path)]
    for path in reference:
        facts = facts_in(path) if path.is_dir() else read_facts(path)
        told += _facts(facts)
    told = sorted(told, key=lambda one: one.known_ns)
    for old, new, date_ns in _renames(told):
        told = _renamed(told, old, new, date_ns)
    told = [part for one in told if (part := _without_renames(one)) is not None]
    table: dict[str, int] = {}
    placed = [
        np.array([table.setdefault(symbol, len(table)) for symbol in one.symbols]) for one in told
    ]
    symbols = list(table)  # one table for all: a splitter looks each symbol up once
    return [
        (one.known_ns, Batch(one.kind, one.columns, symbols, index))
        for one, index in zip(told, placed, strict=True)
    ]


def _days(path: Path) -> Iterator[Told]:
    days = read_bars(path)
    symbols, listed = _spelled(days.pop("symbol"))
    columns = {name: days[name][listed] for name in days if name not in ("vwap", "count")}
    for day, rows in by_time(columns["ts_ns"]):
        of_day = {name: values[rows] for name, values in columns.items()}
        yield Told(day + DAY_KNOWN_NS, "daily", symbols[rows], of_day)


def _facts(facts: dict[str, Any]) -> Iterator[Told]:
    symbols, listed = _spelled(facts["symbol"])
    names = np.array(facts["name"], dtype=object)[listed]
    ts_ns, value = facts["ts_ns"][listed], facts["value"][listed]
    is_rename = np.array([name.startswith(RENAME) for name in names], dtype=bool)
    from_ns = np.where(names == "split", ts_ns - SPLIT_BEFORE_NS, ts_ns)
    from_ns = np.where(is_rename, ts_ns // DAY_NS * DAY_NS + RENAME_KNOWN_NS, from_ns)
    for when, rows in by_time(np.maximum(from_ns, 0)):
        columns = {"ts_ns": np.maximum(ts_ns[rows], 1), "name": names[rows], "value": value[rows]}
        yield Told(when, "reference", symbols[rows], columns)


def facts_in(folder: Path) -> dict[str, Any]:
    """What the tables of a folder say, as `read_facts` has it; a table that is not there says nothing. Raises TableError."""
    facts: list[tuple[str, str, float, int]] = []
    for table, told in FACTS_OF.items():
        path = folder / f"{table}.parquet"
        if path.exists():
            facts += told(read_columns(path, ["symbol"]))
    columns = list(zip(*facts, strict=True)) or [(), (), (), ()]
    return {
        "symbol": list(columns[0]),
        "name": list(columns[1]),
        "value": np.array(columns[2], dtype=np.float64),
        "ts_ns": np.array(columns[3], dtype=np.int64),
    }


def _exchanges(rows: dict[str, Any]) -> list[Fact]:
    names = rows.get("exchange", [])
    return [
        (one, f"exchange.{name}", 1.0, 0)
        for one, name in zip(rows["symbol"], names, strict=True)
        if name
    ]


def _splits_of(rows: dict[str, Any]) -> list[Fact]:
    columns = (rows["symbol"], rows["factor"], rows["day"])
    return [(one, "split", factor, _ns(day)) for one, factor, day in zip(*columns, strict=True)]


def _renames_of(rows: dict[str, Any]) -> list[Fact]:
    columns = (rows["symbol"], rows["new_symbol"], rows["day"])
    return [(new, RENAME + old, 1.0, _ns(day)) for old, new, day in zip(*columns, strict=True)]


def _fundamentals(rows: dict[str, Any]) -> list[Fact]:
    columns = (rows["symbol"], rows["name"], rows["value"], rows["known_at"])
    return [(one, name, value, _ns(at)) for one, name, value, at in zip(*columns, strict=True)]


def _earnings(rows: dict[str, Any]) -> list[Fact]:
    """The next earnings of a symbol are known a day after the last ones: until then those are told."""
    facts, newest = [], dict[str, int]()
    for when, one in sorted(
        (_ns(at), one) for one, at in zip(rows["symbol"], rows["timestamp"], strict=True)
    ):
        known_ns = newest[one] + DAY_NS if one in newest else 0
        facts.append((one, "earnings_ns", float(when), known_ns))
        newest[one] = when
    return facts


def _news(rows: dict[str, Any]) -> list[Fact]:
    times = map(_ns, rows["timestamp"])
    return [(one, "news_ns", float(at), at) for one, at in zip(rows["symbol"], times, strict=True)]


FACTS_OF: dict[str, Callable[[dict[str, Any]], list[Fact]]] = {
    "symbols": _exchanges,
    "splits": _splits_of,
    "renames": _renames_of,
    "fundamentals": _fundamentals,
    "earnings": _earnings,
    "news_times": _news,
}


def _ns(when: date) -> int:
    """A time, or 00:00 UTC of a day."""
    if not isinstance(when, datetime):
        return (when - date(1970, 1, 1)).days * DAY_NS
    moment = when.astimezone(UTC) if when.tzinfo else when
    return calendar.timegm(moment.timetuple()) * 1_000_000_000 + moment.microsecond * 1000


def _spelled(symbols: list[str]) -> tuple[Array, Array]:
    """(symbols as they are spelled here, which events stay): test symbols do not."""
    table = normal_table(symbols)
    listed = np.array([symbol in table for symbol in symbols], dtype=bool)
    return np.array([table[one] for one in symbols if one in table], dtype=object), listed


def by_time(keys: Array) -> Iterator[tuple[int, Array]]:
    """(key, positions) of each distinct key, ascending; positions in their order."""
    if not len(keys):
        return
    order = np.argsort(keys, kind="stable")
    values, starts = np.unique(keys[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, starts[1:]), strict=True)


# -- renames


def _renames(told: list[Told]) -> list[tuple[str, str, int]]:
    """(old symbol, new symbol, date in ns) in order of date."""
    found = []
    for one in told:
        if one.kind == "reference":
            columns = (one.symbols, one.columns["name"], one.columns["ts_ns"])
            for new, name, ts_ns in zip(*(column.tolist() for column in columns), strict=True):
                if name.startswith(RENAME):
                    old = normal(name.removeprefix(RENAME))
                    found.append((old, new, ts_ns // DAY_NS * DAY_NS))
    return sorted(found, key=lambda one: one[2])


def _renamed(told: list[Told], old: str, new: str, date_ns: int) -> list[Told]:
    """The old symbol ends; what was told of it is told again of the new one, in the same order."""
    when = date_ns + RENAME_KNOWN_NS
    columns = {
        "ts_ns": np.array([date_ns], dtype=np.int64),
        "name": np.array([ENDED], dtype=object),
        "value": np.array([1.0]),
    }
    again = [Told(when, "reference", np.array([old], dtype=object), columns)]
    for one in told:
        # What is always known (0) is of whoever has the symbol now.
        if one.known_ns <= when and (one.known_ns or one.kind == "daily"):
            mine = one.of(old)
            if len(mine.symbols) and not _is_end(mine):
                renamed = np.full(len(mine.symbols), new, dtype=object)
                again.append(replace(mine, known_ns=when, symbols=renamed))
    before = [one for one in told if one.known_ns <= when]
    return [*before, *again, *(one for one in told if one.known_ns > when)]


def _is_end(one: Told) -> bool:
    return one.kind == "reference" and ENDED in one.columns["name"].tolist()


def _without_renames(one: Told) -> Told | None:
    if one.kind != "reference":
        return one
    keep = np.array([not name.startswith(RENAME) for name in one.columns["name"]], dtype=bool)
    columns = {name: values[keep] for name, values in one.columns.items()}
    return Told(one.known_ns, one.kind, one.symbols[keep], columns) if keep.any() else None


# -- beside a feed


class Beside:
    """What is known, told beside a feed: each thing right after the clock event that reaches it.

    Minutes of the past come right after the first clock event. What is known may be renewed while the
    feed runs: then what is new or different is told, and nothing older than what was told of its name.
    """

    def __init__(
        self,
        known: list[tuple[int, Batch]],
        minutes: Sequence[Path] = (),
        is_renewed: bool = False,
    ) -> None:
        self._waiting = deque(known)
        self._minutes = minutes
        self._memory = Memory() if is_renewed else None
        self.clock_ns = 0

    def around(self, batch: Batch) -> Iterator[Batch]:
        """A batch of the feed, and after each of its clock events what became known by then."""
        if batch.kind != "clock":
            yield batch
            return
        start, times = 0, batch.times
        if self._minutes:
            yield clock_batch(times[:1])
            minutes, self._minutes = self._minutes, ()
            yield from minutes_until(minutes, int(times[0]))
            start = 1
        while self._waiting and self._waiting[0][0] <= times[-1]:
            known_ns, known = self._waiting.popleft()
            stop = max(int(np.searchsorted(times, known_ns)) + 1, start)
            if stop > start:
                yield clock_batch(times[start:stop])
            if self._memory is not None:
                self._memory.note(known)
            yield known
            start = stop
        self.clock_ns = int(times[-1])
        if start < len(batch):
            yield clock_batch(times[start:]) if start else batch

    def news(self, known: list[tuple[int, Batch]]) -> list[tuple[int, Batch]]:
        """Of all that is known what is still to be told, for `renew`; may run in another thread."""
        if self._memory is None:
            raise RuntimeError("what was told is not remembered: expected is_renewed")
        now_ns = self.clock_ns
        due = [one for when, one in known if when <= now_ns]
        later = [(when, one) for when, one in known if when > now_ns]
        return [(0, one) for one in self._memory.news(due)] + later

    def renew(self, news: list[tuple[int, Batch]]) -> None:
        """Tell this from now on, and nothing else that waited; what comes twice counts once."""
        self._waiting = deque(news)


class Memory:
    """What was told: fingerprints of events, the newest time of every fact, the newest day of every symbol."""

    def __init__(self) -> None:
        self._told: list[Array] = []
        self._table: tuple[list[str], Array] = [], np.zeros(0, np.uint64)
        self._facts: dict[tuple[str, str], int] = {}
        self._days: dict[str, int] = {}

    def note(self, batch: Batch) -> None:
        """Remember a batch that is told."""
        self._told.append(self._fingerprints(batch))
        times = batch.columns["ts_ns"].tolist()
        symbols = _symbols_of(batch)
        if batch.kind == "daily":
            for one, ts_ns in zip(symbols, times, strict=True):
                self._days[one] = max(ts_ns, self._days.get(one, 0))
            return
        names = batch.columns["name"].tolist()
        for one, name, ts_ns in zip(symbols, names, times, strict=True):
            self._facts[one, name] = max(ts_ns, self._facts.get((one, name), 0))

    def news(self, due: list[Batch]) -> Iterator[Batch]:
        """Of what is known and due what was not told so; the days of a symbol whole if any before its newest differs."""
        told = np.concatenate([np.zeros(0, np.uint64), *self._told])
        fresh = [~np.isin(self._fingerprints(one), told) for one in due]
        again = self._with_another_past(due, fresh)
        for one, is_new in zip(due, fresh, strict=True):
            if one.kind == "daily":
                rows = is_new | np.array([name in again for name in _symbols_of(one)], dtype=bool)
            else:
                rows = is_new & self._is_newest(one)
            if rows.any():
                yield _rows_of(one, rows)

    def _with_another_past(self, due: list[Batch], fresh: list[Array]) -> set[str]:
        found = set()
        for one, is_new in zip(due, fresh, strict=True):
            if one.kind == "daily" and is_new.any():
                symbols, times = _symbols_of(one), one.columns["ts_ns"].tolist()
                for place in np.flatnonzero(is_new).tolist():
                    if times[place] < self._days.get(symbols[place], 0):
                        found.add(symbols[place])
        return found

    def _is_newest(self, one: Batch) -> Array:
        """Facts that are not older than what was told of their name: functions keep what comes last."""
        columns = (_symbols_of(one), one.columns["name"].tolist(), one.columns["ts_ns"].tolist())
        return np.array(
            [
                name in DATED or ts_ns >= self._facts.get((symbol, name), 0)
                for symbol, name, ts_ns in zip(*columns, strict=True)
            ],
            dtype=bool,
        )

    def _fingerprints(self, batch: Batch) -> Array:
        """One number for what each event says and of which symbol."""
        if batch.symbols is not self._table[0]:
            self._table = batch.symbols, _hashes(batch.symbols)
        found = self._table[1][_index(batch)]
        for name in sorted(batch.columns):
            values = batch.columns[name]
            said = _hashes(values.tolist()) if values.dtype == object else _bits(values)
            found = (found ^ said) * MIXING
            found ^= found >> np.uint64(29)
        return found


def _symbols_of(batch: Batch) -> list[str]:
    return [batch.symbols[one] for one in _index(batch).tolist()]


def _rows_of(batch: Batch, rows: Array) -> Batch:
    columns = {name: values[rows] for name, values in batch.columns.items()}
    return Batch(batch.kind, columns, batch.symbols, _index(batch)[rows])


def _index(batch: Batch) -> Array:
    if batch.index is None:
        raise ValueError(f"expected events of symbols, found {batch.kind}")
    return batch.index


def _hashes(texts: list[str]) -> Array:
    known = {one: hash((one,)) & HASH_BITS for one in set(texts)}
    return np.array([known[one] for one in texts], dtype=np.uint64)


def _bits(values: Array) -> Array:
    return np.ascontiguousarray(values).view(np.uint64)


class Informed:
    """A feed with what is known beside it."""

    def __init__(
        self, feed: Provider, known: list[tuple[int, Batch]], minutes: Sequence[Path] = ()
    ) -> None:
        self.name, self.speed, self.warm_ns = feed.name, feed.speed, feed.warm_ns
        self._feed = feed
        self._known = known
        self._minutes = minutes

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        """The feed's batches, and after each clock event what became known by then."""
        beside = Beside(self._known, self._minutes)
        for batch in self._feed.batches(after_ns):
            yield from beside.around(batch)


def informed(
    feed: Provider, daily: list[Path], reference: list[Path], minutes: Sequence[Path] = ()
) -> Provider:
    """The feed, with what the files know beside it. Raises TableError."""
    known = known_in_time(daily, reference)
    return Informed(feed, known, minutes) if known or minutes else feed
