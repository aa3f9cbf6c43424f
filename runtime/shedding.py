"""Quotes that are not published when there is more than can be: which, and the gap that says so.

Trades decide alerts and are never shed; they wait, and the feed with them. Quotes may be conflated, so
they go first: a frame of them is dropped when publishing is late by more than LATE_S and its partition
has QUEUED_MAX frames waiting. Before the next quotes of the partition a gap names the symbols.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from runtime.frames import Frame
from runtime.providers.losses import QUOTES, gap_batch

LATE_S = 0.5
QUEUED_MAX = 32  # half of what a partition may have waiting


@dataclass
class Shedder:
    """What was shed of one partition and is not told yet."""

    late_s: float = LATE_S
    queued_max: int = QUEUED_MAX
    _symbols: dict[str, None] = field(default_factory=dict)
    _from_ns: int = 0
    _to_ns: int = 0

    def sheds(self, base: str, frame: Frame, lag_s: float, queued: int) -> bool:
        """Whether a frame is dropped; then it is noted.

        lag_s    seconds by which publishing is behind event time
        queued   frames of the partition that wait
        """
        if base != "ticks.quotes" or lag_s <= self.late_s or queued < self.queued_max:
            return False
        self._symbols |= dict.fromkeys(frame["symbol"].tolist())
        times = frame["ts_ns"]
        self._from_ns = min(self._from_ns or int(times.min()), int(times.min()))
        self._to_ns = max(self._to_ns, int(times.max()))
        return True

    def told(self, source: str) -> Frame | None:
        """The gap since the last call, as a frame; None when nothing was shed."""
        if not self._symbols:
            return None
        symbols, from_ns, to_ns = list(self._symbols), self._from_ns, self._to_ns
        self._symbols, self._from_ns, self._to_ns = {}, 0, 0
        index = np.arange(len(symbols))
        batch = gap_batch(symbols, index, to_ns, from_ns, to_ns + 1, QUOTES)
        return Frame(batch.columns, symbols, index, source)
