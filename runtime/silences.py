"""Which symbols one source has fallen silent on while another goes on to trade them, by event time.

A symbol that says nothing is thin, or lost; the trades of another source tell. Since the first source's
last trade of it, the other one had some: so many, times the share of the other's trades of this symbol
that the first one had until then, would have been expected of the first.

    EXPECTED trades or more, over SILENT_NS      lost (none of 16 expected: once in nine million times by chance)
    never had, NEVER trades over NEVER_NS        lost: the vendor does not send it
    the first one trades it again for BACK_NS    back, unless it falls silent within
"""

from __future__ import annotations

import numpy as np

from runtime.frames import Array
from runtime.providers import SECOND_NS, Batch

EXPECTED = 16.0
DOUBT = 10.0  # trades of the other source that the first one is held not to have had: shares of little are small
SILENT_NS = 2 * SECOND_NS
NEVER, NEVER_NS = 30, 30 * SECOND_NS
BACK_NS = 30 * SECOND_NS
GROWS_BY = 1024
WHOEVER = -1  # of a symbol that is published from whoever is published


class Places:
    """One place for each symbol, whatever table of whichever source it stands in."""

    def __init__(self) -> None:
        self.symbols: list[str] = []
        self._places: dict[str, int] = {}
        self._tables: dict[int, tuple[list[str], Array]] = {}

    def of(self, symbols: list[str]) -> Array:
        """The place of every symbol of a table, looked up once."""
        _, known = self._tables.get(id(symbols), (symbols, np.zeros(0, dtype=np.int64)))
        if len(symbols) > len(known):
            new = [self._place(one) for one in symbols[len(known) :]]
            known = np.concatenate([known, np.array(new, dtype=np.int64)])
            self._tables[id(symbols)] = symbols, known  # holding it keeps its id its own
        return known

    def _place(self, symbol: str) -> int:
        place = self._places.setdefault(symbol, len(self.symbols))
        if place == len(self.symbols):
            self.symbols.append(symbol)
        return place


class Silences:
    """The trades of several sources, by symbol, and who is published of each."""

    def __init__(self, sources: int, places: Places) -> None:
        self._places, self._sources = places, range(sources)
        self._size = 0
        self._had = np.zeros((sources, 0))  # trades so far
        self._newest_ns = np.zeros((sources, 0), dtype=np.int64)
        self._since = np.zeros((sources, 0))  # trades since the published source's last
        self._since_ns = np.zeros((sources, 0), dtype=np.int64)  # the first of these
        self._published_ns = np.zeros(0, dtype=np.int64)  # the newest trade, of whichever source
        self._back_ns = np.zeros(0, dtype=np.int64)  # since when it trades again; 0: it does not
        self.owner = np.zeros(0, dtype=np.int64)
        self.moved = 0  # symbols that are published from another source than the others

    def begin(self) -> None:
        """Another source is published: of every symbol, and nobody has fallen silent on any."""
        self._since[:] = 0
        self._back_ns[:] = 0
        self.owner[:] = WHOEVER
        self.moved = 0

    def hear(self, source: int, published: int, batch: Batch) -> None:
        """Events of a source; of these only trades tell anything."""
        if batch.index is None or not len(batch):
            return
        at = self._places.of(batch.symbols)[batch.index]
        self._grow(len(self._places.symbols))
        if batch.kind != "trades":
            return
        ts_ns = batch.columns["ts_ns"]
        np.add.at(self._had[source], at, 1)
        np.maximum.at(self._newest_ns[source], at, ts_ns)
        if source == published:
            self._since[:, at] = 0
            if self.moved:
                again = at[(self.owner[at] != WHOEVER) & (self._back_ns[at] == 0)]
                self._back_ns[again] = self._newest_ns[source][again]
            return
        first = self._since[source][at] == 0
        np.add.at(self._since[source], at, 1)
        self._since_ns[source][at[first][::-1]] = ts_ns[first][::-1]  # of several the earliest

    def publish(self, batch: Batch) -> None:
        """Events of a batch that was heard are published."""
        if batch.kind == "trades" and batch.index is not None and len(batch):
            at = self._places.of(batch.symbols)[batch.index]
            np.maximum.at(self._published_ns, at, batch.columns["ts_ns"])

    def rows_of(self, source: int, published: int, batch: Batch) -> Array | None:
        """Which events of a batch that was heard are published; None: as those of any symbol are."""
        if not self.moved or batch.index is None:
            return None
        at = self._places.of(batch.symbols)[batch.index]
        owner = self.owner[at]
        return np.asarray(owner == source if source != published else owner == WHOEVER)

    def lost(self, published: int) -> list[tuple[int, Array]]:
        """(source, places) of symbols to publish from another source, as far as they are not."""
        found = []
        free = self.owner == WHOEVER
        for source in self._sources:
            if source == published:
                continue
            since, had = self._since[source], self._had[published]
            span_ns = self._newest_ns[source] - self._since_ns[source]
            share = had / (np.maximum(self._had[source] - since, had) + DOUBT)
            is_silent = (had > 0) & (since * share >= EXPECTED) & (span_ns >= SILENT_NS)
            is_never = (had == 0) & (since >= NEVER) & (span_ns >= NEVER_NS)
            places = np.flatnonzero(free & (is_silent | is_never))
            if len(places):
                found.append((source, places))
                free = free.copy()
                free[places] = False
        return found

    def back(self, published: int) -> Array:
        """Places of moved symbols that the published source sends again."""
        if not self.moved:
            return np.zeros(0, dtype=np.int64)
        mine = np.flatnonzero(self.owner != WHOEVER)
        owner = self.owner[mine]
        had = self._had[published][mine]
        share = had / (np.maximum(self._had[owner, mine], had) + DOUBT)
        silent = self._since[owner, mine] * share >= EXPECTED
        self._back_ns[mine[silent]] = 0
        since_ns = self._back_ns[mine]
        traded_ns = self._newest_ns[published][mine] - since_ns
        return np.asarray(mine[(since_ns > 0) & (traded_ns >= BACK_NS)])

    def published_ns(self, others_ns: int) -> Array:
        """By place up to when each symbol was published: `others_ns` of those that are not moved."""
        mine = self.owner != WHOEVER
        found = np.full(self._size, others_ns)
        found[mine] = self._published_ns[mine]
        return found

    def move(self, places: Array, source: int) -> Array:
        """Publish symbols from a source, WHOEVER: as the others; of each the newest trade that was published.

        Of a symbol that never was published it is the newest there is: nothing is missing of it.
        """
        newest_ns = self._published_ns[places]
        newest_ns = np.where(newest_ns > 0, newest_ns, self._newest_ns[:, places].max(axis=0))
        self.owner[places] = source
        self._back_ns[places] = 0
        self._since[:, places] = 0
        self.moved = int((self.owner != WHOEVER).sum())
        return newest_ns

    def moved_to(self) -> list[int]:
        """The sources that symbols are published from beside the others."""
        return np.unique(self.owner[self.owner != WHOEVER]).tolist() if self.moved else []

    def _grow(self, size: int) -> None:
        if size <= self._size:
            return
        more = size - self._size + GROWS_BY
        self._size += more
        for name in ("_had", "_newest_ns", "_since", "_since_ns"):
            held = getattr(self, name)
            added = np.zeros((len(held), more), dtype=held.dtype)
            setattr(self, name, np.concatenate([held, added], axis=1))
        self._published_ns = np.concatenate([self._published_ns, np.zeros(more, dtype=np.int64)])
        self._back_ns = np.concatenate([self._back_ns, np.zeros(more, dtype=np.int64)])
        self.owner = np.concatenate([self.owner, np.full(more, WHOEVER, dtype=np.int64)])
