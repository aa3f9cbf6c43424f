"""From a feed's instrument ids to symbols, where an id may mean another symbol later in the day."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from runtime.frames import Array

NEVER_NS = (1 << 63) - 1  # an end nobody told


@dataclass
class Instruments:
    """Which symbol an id means at which time: Databento's SymbolMapping records, in any order.

    A mapping holds from its start up to, not including, its end; where two hold, the one that began
    later. An id without a mapping at a time has no symbol: its events must not be given another's.
    """

    _by_id: dict[int, list[tuple[int, int, str]]] = field(default_factory=dict)

    def add(self, instrument_id: int, symbol: str, start_ns: int, end_ns: int = NEVER_NS) -> None:
        """Learn a mapping; the same one again changes nothing."""
        known = self._by_id.setdefault(instrument_id, [])
        if (start_ns, end_ns, symbol) not in known:
            insort(known, (start_ns, end_ns, symbol))

    def symbol_at(self, instrument_id: int, ts_ns: int) -> str | None:
        """The symbol an id means at an event time, None where no mapping holds."""
        known = self._by_id.get(instrument_id, [])
        place = bisect_right(known, ts_ns, key=lambda one: one[0])
        for start_ns, end_ns, symbol in reversed(known[:place]):
            if start_ns <= ts_ns < end_ns:
                return symbol
        return None

    def symbols_at(self, ids: Array, ts_ns: Array) -> Array:
        """The symbol of each event (object array of str, None where no mapping holds)."""
        found = np.full(len(ids), None, dtype=object)
        for one in np.unique(ids).tolist():
            here = np.flatnonzero(ids == one)
            for start_ns, end_ns, symbol in self._known(one):
                held = (ts_ns[here] >= start_ns) & (ts_ns[here] < end_ns)
                found[here[held]] = symbol  # in order of their starts: the later one stays
        return found

    def _known(self, instrument_id: int) -> Iterator[tuple[int, int, str]]:
        yield from self._by_id.get(instrument_id, [])
