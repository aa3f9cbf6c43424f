"""Which events came before, where the same vendor tells a while again: by what they say, for times do not tell them apart.

Of one trade two connections to a vendor say the same: symbol, id, price, size and, to the millisecond, time
(an id alone is of an exchange with some vendors). Other kinds are the same if they say the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from runtime.frames import Array
from runtime.providers import SECOND_NS, Batch, of_rows

REACH_NS = 2 * SECOND_NS  # by which events of a feed are out of order, at most
NS_MS = 1_000_000
OWN = ("recv_ns",)  # what each connection says for itself
Key = tuple[object, ...]


class Seen:
    """The events of the newest while, in ns of event time. It costs next to nothing until one asks."""

    def __init__(self, while_ns: int = REACH_NS) -> None:
        self.newest_ns = 0
        self.batches: deque[Batch] = deque()
        self._while_ns = while_ns

    def note(self, batch: Batch) -> None:
        """Events came."""
        self.newest_ns = max(self.newest_ns, batch.newest_ns)
        self.batches.append(batch)
        while self.batches[0].newest_ns < self.newest_ns - self._while_ns:
            self.batches.popleft()

    def keys(self) -> set[Key]:
        """What tells each of them apart."""
        return {key for batch in self.batches for key in keys_of(batch)}


class Gap:
    """A gap that is being filled: what was told at its ends, however it came."""

    def __init__(self, from_ns: int, to_ns: int, told: set[Key]) -> None:
        self._ends_ns, self._told = (from_ns, to_ns), told
        self.is_filled = False

    @property
    def asked(self) -> tuple[int, int]:
        """The times between which is asked for."""
        return self._ends_ns[0] - REACH_NS, self._ends_ns[1] + REACH_NS

    def is_behind(self, ts_ns: int) -> bool:
        """Whether what comes at a time is past it."""
        return self.is_filled and ts_ns > self._ends_ns[1] + REACH_NS

    def new(self, batch: Batch) -> Batch | None:
        """Of a batch what nobody told; between the ends nobody could."""
        begin_ns, end_ns = self._ends_ns
        is_near = (batch.times <= begin_ns) | (batch.times >= end_ns - REACH_NS)
        part = of_rows(batch, is_near)
        if part is None:
            return batch
        keep = np.ones(len(batch), dtype=bool)
        keep[is_near] = is_unseen(part, self._told)
        self._told.update(keys_of(part))
        return of_rows(batch, keep)


class Overlap:
    """The ends of gaps, where trades that are sent again overlap with those that came, before and after.

    What is sent again is asked for from REACH_NS before a gap until REACH_NS after it: of one time some
    came and others did not. A gap may begin while another one is being filled: all of them are looked at.
    """

    def __init__(self) -> None:
        self._seen = Seen()
        self._gaps: list[Gap] = []

    def begin(self, from_ns: int, to_ns: int) -> Gap:
        """A gap between two times, which is about to be filled."""
        gap = Gap(from_ns, to_ns, self._seen.keys())
        self._gaps.append(gap)
        return gap

    def came(self, batch: Batch) -> Batch | None:
        """Of a batch as it comes what was not sent again already."""
        if not is_numbered(batch):
            return batch
        self._seen.note(batch)
        oldest_ns = int(batch.times.min())
        self._gaps = [one for one in self._gaps if not one.is_behind(oldest_ns)]
        return self.new(batch)

    def new(self, batch: Batch) -> Batch | None:
        """Of a batch what nobody told at the ends of any gap."""
        if not is_numbered(batch):
            return batch
        left: Batch | None = batch
        for gap in self._gaps:
            if left is not None:
                left = gap.new(left)
        return left


def unseen(batch: Batch, keys: set[Key]) -> Batch | None:
    """The events that are not among those; None where there are none."""
    return of_rows(batch, is_unseen(batch, keys))


def is_unseen(batch: Batch, keys: set[Key]) -> Array:
    """Of each event whether it is not among those."""
    return np.array([key not in keys for key in keys_of(batch)], dtype=bool)


def keys_of(batch: Batch) -> Iterator[Key]:
    """What tells each event of a batch apart."""
    columns = batch.columns
    if is_numbered(batch):
        told = [columns["ts_ns"] // NS_MS, columns["id"], columns["price"], columns["size"]]
    else:
        told = [values for name, values in columns.items() if name not in OWN]
    symbols = (
        [batch.symbols[one] for one in batch.index.tolist()] if batch.index is not None else []
    )
    for symbol, values in zip(
        symbols, zip(*(one.tolist() for one in told), strict=True), strict=True
    ):
        yield batch.kind, symbol, *values


def is_numbered(batch: Batch) -> bool:
    """Whether a batch is trades with ids."""
    return batch.kind == "trades" and batch.index is not None and "id" in batch.columns
