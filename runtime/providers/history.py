"""What is known of symbols beside their ticks, from files: daily bars and facts, told when they became known.

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
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from runtime.frames import Array
from runtime.providers import Batch, Provider, clock_batch
from runtime.providers.minutes import minutes_until
from runtime.providers.symbols import normal, normal_table
from runtime.tables import read_bars, read_facts

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
DAY_KNOWN_NS = 29 * HOUR_NS
SPLIT_BEFORE_NS = 12 * HOUR_NS
RENAME_KNOWN_NS = 5 * HOUR_NS
RENAME, ENDED = "rename:", "ended"
KINDS = (
    "daily",
    "reference",
    "minutes",
)  # may be told again: never cut off by where a feed goes on


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
    told = [one for path in daily for one in _days(path)]
    facts = [one for path in reference for one in _facts(path)]
    told = sorted(told + facts, key=lambda one: one.known_ns)
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


def _facts(path: Path) -> Iterator[Told]:
    facts = read_facts(path)
    symbols, listed = _spelled(facts["symbol"])
    names = np.array(facts["name"], dtype=object)[listed]
    ts_ns, value = facts["ts_ns"][listed], facts["value"][listed]
    is_rename = np.array([name.startswith(RENAME) for name in names], dtype=bool)
    from_ns = np.where(names == "split", ts_ns - SPLIT_BEFORE_NS, ts_ns)
    from_ns = np.where(is_rename, ts_ns // DAY_NS * DAY_NS + RENAME_KNOWN_NS, from_ns)
    for when, rows in by_time(np.maximum(from_ns, 0)):
        columns = {"ts_ns": np.maximum(ts_ns[rows], 1), "name": names[rows], "value": value[rows]}
        yield Told(when, "reference", symbols[rows], columns)


def _spelled(symbols: list[str]) -> tuple[Array, Array]:
    """(symbols as they are spelled here, which events stay): test symbols do not."""
    table = normal_table(symbols)
    listed = np.array([symbol in table for symbol in symbols], dtype=bool)
    return np.array([table[one] for one in symbols if one in table], dtype=object), listed


def by_time(keys: Array) -> Iterator[tuple[int, Array]]:
    """(key, positions) of each distinct key, ascending; positions in their order."""
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


class Informed:
    """A feed with what is known beside it, told in time; minutes of the past right after its first clock event."""

    def __init__(
        self, feed: Provider, known: list[tuple[int, Batch]], minutes: Sequence[Path] = ()
    ) -> None:
        self.name, self.speed, self.warm_ns = feed.name, feed.speed, feed.warm_ns
        for name in (
            "mute_s",
            "again",
            "open_between",
            "overlaps",
            "resumes",
            "universe",
        ):  # what a connection asks a feed for, where it has them
            if hasattr(feed, name):
                setattr(self, name, getattr(feed, name))
        self._feed = feed
        self._known = known
        self._minutes = minutes

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        """The feed's batches, and after each clock event what became known by then."""
        place, minutes = 0, self._minutes
        for batch in self._feed.batches(after_ns):
            start = 0
            times = batch.times
            if batch.kind == "clock" and minutes:
                yield clock_batch(times[:1])
                yield from minutes_until(minutes, int(times[0]))
                start, minutes = 1, ()
            while batch.kind == "clock" and place < len(self._known):
                known_ns = self._known[place][0]
                if known_ns > times[-1]:
                    break
                stop = max(int(np.searchsorted(times, known_ns)) + 1, start)
                if stop > start:
                    yield clock_batch(times[start:stop])
                yield self._known[place][1]
                start, place = stop, place + 1
            if start < len(batch):
                yield clock_batch(times[start:]) if start else batch


def informed(
    feed: Provider, daily: list[Path], reference: list[Path], minutes: Sequence[Path] = ()
) -> Provider:
    """The feed, with what the files know beside it. Raises TableError."""
    known = known_in_time(daily, reference)
    return Informed(feed, known, minutes) if known or minutes else feed
