"""Feeds that number every trade of a symbol: what came before is left out, a hole is a gap. Pure.

For Binance (`t`) and Coinbase (`trade_id`), whose numbers are contiguous per symbol, see
`runtime.providers.sequences`. After a reconnection the feed goes on later: the hole says exactly what
was missed, and what a backfill brings again is known by its number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from runtime.providers import Batch
from runtime.providers.losses import TRADES, gap_batch

REMEMBERED = 100_000  # numbers of holes kept per symbol; older ones count as sent


@dataclass
class _Seen:
    newest: int = 0
    newest_ns: int = 0
    missing: dict[int, None] = field(default_factory=dict)


@dataclass
class Numbered:
    """What was seen of each symbol of one table."""

    _seen: dict[int, _Seen] = field(default_factory=dict)

    def sift(self, batch: Batch) -> Iterator[Batch]:
        """The trades that are new, in order, each hole as a gap before the trade that shows it."""
        if batch.kind != "trades" or batch.index is None or "id" not in batch.columns:
            yield batch
            return
        begin, keep = 0, np.ones(len(batch), dtype=bool)
        triples = zip(
            batch.index.tolist(),
            batch.columns["id"].tolist(),
            batch.columns["ts_ns"].tolist(),
            strict=True,
        )
        for place, (symbol, number, ts_ns) in enumerate(triples):
            seen = self._seen.setdefault(symbol, _Seen())
            if number <= seen.newest:
                keep[place] = number in seen.missing
                seen.missing.pop(number, None)
                continue
            if seen.newest and number > seen.newest + 1:
                yield from _picked(batch, begin, place, keep)
                begin = place
                yield _gap(batch, symbol, seen.newest_ns, ts_ns)
                self._miss(seen, number)
            seen.newest, seen.newest_ns = number, ts_ns
        yield from _picked(batch, begin, len(batch), keep)

    def _miss(self, seen: _Seen, number: int) -> None:
        first = max(seen.newest + 1, number - REMEMBERED)
        seen.missing.update(dict.fromkeys(range(first, number)))
        while len(seen.missing) > REMEMBERED:
            del seen.missing[next(iter(seen.missing))]

    def newest(self, symbol: int) -> int:
        """The newest number of a symbol, 0 before its first trade."""
        return self._seen[symbol].newest if symbol in self._seen else 0


def _picked(batch: Batch, begin: int, end: int, keep: np.ndarray) -> Iterator[Batch]:
    rows = begin + np.flatnonzero(keep[begin:end])
    if len(rows) == len(batch):
        yield batch
    elif len(rows) and batch.index is not None:
        columns = {name: values[rows] for name, values in batch.columns.items()}
        yield Batch(batch.kind, columns, batch.symbols, batch.index[rows])


def _gap(batch: Batch, symbol: int, from_ns: int, to_ns: int) -> Batch:
    to_ns = max(from_ns, to_ns)
    return gap_batch(batch.symbols, np.array([symbol]), to_ns, from_ns, to_ns, TRADES)
