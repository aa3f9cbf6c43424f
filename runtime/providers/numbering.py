"""Feeds that number every trade of a symbol: what came before is left out, a hole is a gap.

For Binance (`t`) and Coinbase (`trade_id`), whose numbers are contiguous per symbol, see
`runtime.providers.sequences`. After a reconnection the feed goes on later: the hole says exactly what
was missed, and what is sent again is known by its number, be it before or after what goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
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
    forgotten: int = 0  # numbers up to this one may be missing, and are not remembered


@dataclass
class Numbered:
    """What was seen of each symbol, by a connection and by what is sent again beside it."""

    _seen: dict[str, _Seen] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sift(self, batch: Batch) -> list[Batch]:
        """The trades that are new, in order, each hole as a gap before the trade that shows it."""
        with self._lock:
            return list(self._sifted(batch))

    def _sifted(self, batch: Batch) -> Iterator[Batch]:
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
            seen = self._seen.setdefault(batch.symbols[symbol], _Seen())
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
        if first > seen.newest + 1:
            seen.forgotten = first - 1
        seen.missing.update(dict.fromkeys(range(first, number)))
        while len(seen.missing) > REMEMBERED:
            seen.forgotten = max(seen.forgotten, next(iter(seen.missing)))
            del seen.missing[seen.forgotten]

    def newest(self) -> dict[str, tuple[int, int]]:
        """Of each symbol the newest number and its event time in ns."""
        with self._lock:
            return {symbol: (one.newest, one.newest_ns) for symbol, one in self._seen.items()}

    def keep(self, follows: Callable[[str], bool]) -> None:
        """Forget symbols that are not followed: what is not asked for makes no hole."""
        with self._lock:
            self._seen = {symbol: one for symbol, one in self._seen.items() if follows(symbol)}

    def is_whole(self, symbol: str, after: int) -> bool:
        """Whether every number past `after` has come, up to the newest."""
        with self._lock:
            seen = self._seen.get(symbol, _Seen())  # followed no more: nothing of it is missing
            return seen.forgotten <= after and not any(one > after for one in seen.missing)


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
