"""The labelled market as a feed: labelled://?seed=7&dirt=usual&speed=max."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from runtime.frames import Array
from runtime.providers import (
    END_NS,
    MINUTE_NS,
    SECOND_NS,
    Batch,
    ProviderError,
    clock_batch,
    speed_of,
    take_parameters,
)
from runtime.providers.labelled.dirt import DIRT, arrivals
from runtime.providers.labelled.market import Columns, Market, make_market

# The order of kinds that arrive in one second: what is known of a symbol before its prints.
KINDS = ("reference", "status", "quotes", "trades", "corrections")


class LabelledProvider:
    """The labelled market, as clean or dirty as asked for."""

    name = "labelled"
    warm_ns = 0

    def __init__(self, seed: int = 7, dirt: str = "clean", speed: float = 1.0) -> None:
        self.speed = speed
        self.market = make_market(seed)
        told = arrivals(self.market.trades, dirt, seed)
        self._kinds: dict[str, Columns] = {
            "reference": _on_time(self.market.reference),
            "status": _on_time(self.market.status),
            "quotes": _on_time(self.market.quotes),
            "trades": told.trades,
            "corrections": told.corrections,
        }

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        """History and reference data, then what arrives second by second, clock events between."""
        start_ns = self.market.days[0].start_ns
        if not after_ns:
            yield _batch(self.market, "daily", self.market.daily)
            reference = self._kinds["reference"]
            known = reference["arrived_ns"] < start_ns
            yield _batch(self.market, "reference", _picked(reference, known))
        clock_ns = max(start_ns, after_ns // SECOND_NS * SECOND_NS)
        if not after_ns:
            yield clock_batch(np.array([clock_ns], dtype=np.int64))
        for second_ns, kind, columns in self._seconds(clock_ns):
            if second_ns > clock_ns:
                yield clock_batch(_clocks(clock_ns, second_ns))
                clock_ns = second_ns
            yield _batch(self.market, kind, columns)
        end_ns = (clock_ns // MINUTE_NS + 1) * MINUTE_NS + END_NS
        yield clock_batch(_clocks(clock_ns, end_ns))

    def _seconds(self, from_ns: int) -> Iterator[tuple[int, str, Columns]]:
        """(second, kind, columns) of everything that arrives at or after a time."""
        cuts: list[tuple[int, int, int, int]] = []
        for rank, kind in enumerate(KINDS):
            second = self._kinds[kind]["arrived_ns"] // SECOND_NS
            starts = np.flatnonzero(np.diff(second, prepend=-1)).tolist()
            for start, stop in pairwise([*starts, len(second)]):
                cuts.append((int(second[start]) * SECOND_NS, rank, start, stop))
        for second_ns, rank, start, stop in sorted(cuts):
            if second_ns >= from_ns:
                kind = KINDS[rank]
                yield second_ns, kind, _picked(self._kinds[kind], slice(start, stop))


def _clocks(before_ns: int, until_ns: int) -> Array:
    """The clock events of a stretch in which nothing arrives: whole minutes, and its end.

    Fewer than one a second, which `clocks_between` makes of recorded trades: candles close on whole
    minutes, so the seconds between would tell nobody anything and cost most of a run.
    """
    first = (before_ns // MINUTE_NS + 1) * MINUTE_NS
    minutes = np.arange(first, until_ns, MINUTE_NS, dtype=np.int64)
    return np.append(minutes, until_ns)


def _on_time(columns: Columns) -> Columns:
    return {**columns, "arrived_ns": columns["ts_ns"]}


def _picked(columns: Columns, rows: Array | slice) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


def _batch(market: Market, kind: str, columns: Columns) -> Batch:
    told = {name: values for name, values in columns.items() if name not in ("who", "arrived_ns")}
    return Batch(kind, told, market.symbols, columns["who"])


def open_labelled(address: str, given: dict[str, str]) -> LabelledProvider:
    """labelled://?seed=7&dirt=clean&speed=1"""
    if address:
        raise ProviderError(f"labelled://{address}: expected parameters only")
    taken = take_parameters(given, {"seed": int, "dirt": dirt_of, "speed": speed_of})
    return LabelledProvider(**taken)


def dirt_of(text: str) -> str:
    """A key of DIRT; raises ValueError."""
    if text not in DIRT:
        raise ValueError(f"expected one of {', '.join(DIRT)}")
    return text
