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


def unseen(batch: Batch, keys: set[Key]) -> Batch | None:
    """The events that are not among those; None where there are none."""
    return of_rows(batch, is_unseen(batch, keys))


def is_unseen(batch: Batch, keys: set[Key]) -> Array:
    """Of each event whether it is not among those."""
    return np.array([key not in keys for key in keys_of(batch)], dtype=bool)


def keys_of(batch: Batch) -> Iterator[Key]:
    """What tells each event of a batch apart."""
    columns = batch.columns
    if batch.kind == "trades" and "id" in columns:
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
