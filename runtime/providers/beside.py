"""What is known is told beside a feed: all that is known by its first clock event right after it, later
things right after the clock event that reaches them.

So whoever replays tells the same, and whoever starts again tells it all again: what is told twice counts
once. While a feed runs what is known may change; then only what is new is told:

    a day of a symbol       that was not told so; with it all days of a symbol whose past differs
    a split, an end         that was not told so, whenever it is learnt
    any other fact          the newest that is due, if it is not what was told last and not older than it
    the next earnings       the same, however old: a date that was moved back counts as well
    an exchange left        as 0
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from runtime.frames import Array
from runtime.providers import Batch, Provider, clock_batch
from runtime.providers.folders import EARNINGS, EXCHANGE
from runtime.providers.history import known_in_time
from runtime.providers.minutes import minutes_until
from runtime.providers.renames import ENDED

DATED = ("split", ENDED)  # placed by their day, whatever came before
MIXING = np.uint64(0x9E3779B97F4A7C15)
HASH_BITS = 2**64 - 1
TABLES_MAX = 8
Known = list[tuple[int, Batch]]
Places = dict[tuple[str, str], tuple[int, int]]  # of a symbol and a fact: batch and row


class Beside:
    """What is known, told right after the clock event that reaches it; minutes of the past after the first."""

    def __init__(
        self, known: Known, minutes: Sequence[Path] = (), is_renewed: bool = False
    ) -> None:
        self._waiting = deque(known)
        self._minutes = minutes
        self._memory = Memory() if is_renewed else None
        self.clock_ns = 0

    def around(self, batch: Batch) -> Iterator[Batch]:
        """A batch of the feed, and after each of its clock events what became known by then."""
        if batch.kind != "clock":
            if self._memory is not None and batch.kind in ("daily", "reference"):
                self._memory.note(batch)  # the feed knows it as well
            yield batch
            return
        start, times = 0, batch.times
        self.clock_ns = int(times[-1])
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
        if start < len(batch):
            yield clock_batch(times[start:]) if start else batch

    def news(self, known: Known) -> Known:
        """Of all that is known what is still to be told, for `renew`; may run in another thread."""
        if self._memory is None:
            raise RuntimeError("what was told is not remembered: expected is_renewed")
        now_ns = self.clock_ns
        due = [one for when, one in known if when <= now_ns]
        later = [(when, one) for when, one in known if when > now_ns]
        return [(0, one) for one in self._memory.news(due)] + later

    def renew(self, news: Known) -> None:
        """Tell this from now on, and nothing else that waited."""
        self._waiting = deque(news)


class Memory:
    """What was told last of every day and every fact of every symbol."""

    def __init__(self) -> None:
        self._facts: dict[tuple[str, str], tuple[int, float]] = {}
        self._dated: dict[tuple[str, str, int], float] = {}
        self._newest_days: dict[str, int] = {}
        self._days: list[tuple[Array, Array]] = []  # which day of which symbol, and what it said
        self._tables: dict[int, tuple[list[str], Array]] = {}

    def note(self, batch: Batch) -> None:
        """Remember a batch that is told."""
        if batch.kind == "daily":
            self._days.append(self._marks(batch))
            for one, ts_ns in zip(_symbols_of(batch), batch.columns["ts_ns"].tolist(), strict=True):
                self._newest_days[one] = max(ts_ns, self._newest_days.get(one, 0))
            return
        for symbol, name, ts_ns, value in _facts_of(batch):
            if name in DATED:
                self._dated[symbol, name, ts_ns] = value
            elif name == EARNINGS or ts_ns >= self._facts.get((symbol, name), (0, 0.0))[0]:
                self._facts[symbol, name] = ts_ns, value

    def news(self, due: list[Batch]) -> Iterator[Batch]:
        """Of what is known and due what is to be told, in its order."""
        days = iter(self._news_of_days([one for one in due if one.kind == "daily"]))
        newest = _newest_of([one for one in due if one.kind != "daily"])
        for one in due:
            rows = next(days) if one.kind == "daily" else self._news_of_facts(one, newest)
            if rows.any():
                yield _rows_of(one, rows)
        yield from self._left_exchanges(newest)

    def _news_of_facts(self, batch: Batch, newest: Places) -> Array:
        rows = np.zeros(len(batch), dtype=bool)
        for place, (symbol, name, ts_ns, value) in enumerate(_facts_of(batch)):
            if name in DATED:
                rows[place] = self._dated.get((symbol, name, ts_ns)) != value
            elif newest[symbol, name] == (id(batch), place):
                told_ns, told = self._facts.get((symbol, name), (0, np.nan))
                rows[place] = value != told and (name == EARNINGS or ts_ns >= told_ns)
        return rows

    def _left_exchanges(self, newest: Places) -> Iterator[Batch]:
        """Exchanges that a symbol was at, of those that are at another one now."""
        moved = {symbol for symbol, name in newest if name.startswith(EXCHANGE)}
        left = [
            (symbol, name, ts_ns)
            for (symbol, name), (ts_ns, value) in list(self._facts.items())
            if name.startswith(EXCHANGE)
            and value
            and symbol in moved
            and (symbol, name) not in newest
        ]
        if left:
            symbols, names, times = zip(*left, strict=True)
            columns = {
                "ts_ns": np.array(times, dtype=np.int64),
                "name": np.array(names, dtype=object),
                "value": np.zeros(len(left)),
            }
            yield Batch("reference", columns, list(symbols), np.arange(len(left)))

    def _news_of_days(self, due: list[Batch]) -> list[Array]:
        """Of each batch of days which rows are told."""
        if not due:
            return []
        keys, said = self._told_days()
        marks = [self._marks(one) for one in due]
        place = np.searchsorted(keys, np.concatenate([one for one, _ in marks]))
        place = np.minimum(place, len(keys) - 1)
        is_same = (keys[place] == np.concatenate([one for one, _ in marks])) & (
            said[place] == np.concatenate([one for _, one in marks])
        )
        cuts = np.cumsum([len(one) for one in due])[:-1]
        fresh = np.split(~is_same, cuts)
        again = self._with_another_past(due, fresh)
        return [
            is_new | np.array([name in again for name in _symbols_of(one)], dtype=bool)
            if again
            else is_new
            for one, is_new in zip(due, fresh, strict=True)
        ]

    def _told_days(self) -> tuple[Array, Array]:
        """Which days were told, ascending, and what each said last."""
        none = np.zeros(1, dtype=np.uint64)
        told = list(self._days)
        keys = np.concatenate([none, *(one for one, _ in told)])
        said = np.concatenate([none, *(one for _, one in told)])
        order = np.argsort(keys, kind="stable")
        is_last = np.append(np.diff(keys[order]) != 0, True)
        return keys[order][is_last], said[order][is_last]

    def _with_another_past(self, due: list[Batch], fresh: list[Array]) -> set[str]:
        """Symbols of which a day before their newest is told: all that follow it are told after it."""
        found = set()
        for one, is_new in zip(due, fresh, strict=True):
            if is_new.any():
                new = _rows_of(one, is_new)
                times = new.columns["ts_ns"].tolist()
                found |= {
                    symbol
                    for symbol, ts_ns in zip(_symbols_of(new), times, strict=True)
                    if ts_ns < self._newest_days.get(symbol, 0)
                }
        return found

    def _marks(self, batch: Batch) -> tuple[Array, Array]:
        """(one number for which day of which symbol, one for what is said of it), of each row."""
        known = self._tables.get(id(batch.symbols))
        if known is None:
            known = batch.symbols, _hashes(batch.symbols)
            self._tables = dict([*self._tables.items()][-TABLES_MAX:]) | {id(batch.symbols): known}
        key = _mixed(known[1][_index(batch)] ^ _bits(batch.columns["ts_ns"]))
        said = key
        for name in sorted(batch.columns):
            said = _mixed(said ^ _bits(batch.columns[name]))
        return key, said


def _newest_of(due: list[Batch]) -> Places:
    """Which batch and row says last what of which symbol."""
    return {
        (symbol, name): (id(one), place)
        for one in due
        for place, (symbol, name, _, _) in enumerate(_facts_of(one))
    }


def _facts_of(batch: Batch) -> Iterator[tuple[str, str, int, float]]:
    """(symbol, name, ts_ns, value) of each row."""
    columns = (batch.columns[name].tolist() for name in ("name", "ts_ns", "value"))
    return zip(_symbols_of(batch), *columns, strict=True)


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
    return np.array([hash((one,)) & HASH_BITS for one in texts], dtype=np.uint64)


def _bits(values: Array) -> Array:
    return np.ascontiguousarray(values).view(np.uint64)


def _mixed(values: Array) -> Array:
    values = values * MIXING
    return np.asarray(values ^ (values >> np.uint64(29)))


class Informed:
    """A feed with what is known beside it."""

    def __init__(self, feed: Provider, known: Known, minutes: Sequence[Path] = ()) -> None:
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
