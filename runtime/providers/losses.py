"""Gaps as events: of which symbols what is missing, since when, until when, and whether it was sent after all."""

from __future__ import annotations

import numpy as np

from runtime.frames import Array
from runtime.providers import Batch

TRADES, QUOTES = 1, 2  # bits of `what`


def gap_batch(
    symbols: list[str],
    index: Array,
    ts_ns: int | Array,
    from_ns: int | Array,
    to_ns: int | Array = 0,
    what: int = TRADES,
    is_repaired: bool = False,
) -> Batch:
    """One gap per place of `index`; `to_ns` 0 = it lasts. Times are ns of event time."""
    count = len(index)
    columns: dict[str, Array] = {
        "ts_ns": np.broadcast_to(np.asarray(ts_ns, dtype=np.int64), count).copy(),
        "from_ns": np.broadcast_to(np.asarray(from_ns, dtype=np.int64), count).copy(),
        "to_ns": np.broadcast_to(np.asarray(to_ns, dtype=np.int64), count).copy(),
        "what": np.full(count, what, dtype=np.uint8),
        "repaired": np.full(count, is_repaired, dtype=np.uint8),
    }
    return Batch("gaps", columns, symbols, index)
