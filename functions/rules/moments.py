"""The moments at which rules are asked: prints of a frame, or symbols at a clock event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market.running import Runs

Array = NDArray[Any]

MAY_FIRE, HALTED, STALE, GAPPED, CLOSED = range(5)
BARRED = ("", "halted", "stale", "gapped", "closed")  # why a moment fires nothing, by code
NOT_KNOWN, OUT, IN = range(3)  # of a toplist


@dataclass
class Moments:
    """Moments by symbol: every array has one place per moment, sorted as `runs` sorts.

    Where a symbol comes twice in one set, the later moment knows what the earlier left. What only
    bars and the clock change (candles, membership) is the same at all moments of a symbol in a set.

    runs         the moments brought together by symbol
    ts_ns        event time
    values       metric -> f8, NaN where it cannot be computed (never infinite)
    volume       the real shares of the trading day, as volume guards ask for them
    session      code of `sessions.SESSIONS`
    day          number of the trading day, above 0
    stretch      a number of the unbroken stretch a moment lies in, above 0 and never used again by
                 the symbol: another after the start of a day, a halt, a gap of the feed
    midnight_ns  when the date began on the market's clocks: candles of a day are counted from it
    barred       code of BARRED; None = all may fire
    candles      timeframe -> how many candles of it the symbol has closed
    member       toplist -> NOT_KNOWN, OUT or IN
    is_clock     symbols at a clock event: only rules that time changes are asked
    """

    runs: Runs
    ts_ns: Array
    values: Callable[[str], Array]
    volume: Callable[[], Array]
    session: Array
    day: Array
    stretch: Array
    midnight_ns: Array
    barred: Array | None = None
    candles: Callable[[str], Array] | None = None
    member: Callable[[str], Array] | None = None
    is_clock: bool = False
    memo: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.runs.of)

    @property
    def rows(self) -> Any:
        """Index of the runs' rows: a slice where they are consecutive, which costs no gathering."""
        if "rows" not in self.memo:
            rows = self.runs.rows
            is_whole = len(rows) > 0 and int(rows[-1]) - int(rows[0]) == len(rows) - 1
            self.memo["rows"] = slice(int(rows[0]), int(rows[-1]) + 1) if is_whole else rows
        return self.memo["rows"]

    @property
    def is_single(self) -> bool:
        """Whether no symbol comes twice."""
        return len(self.runs.rows) == len(self.runs.of)

    @property
    def is_whole(self) -> Array | None:
        """The moments that lie in no gap; None = all."""
        if "whole" not in self.memo:
            is_whole = None if self.barred is None else self.barred != GAPPED
            self.memo["whole"] = None if is_whole is None or is_whole.all() else is_whole
        return self.memo["whole"]

    def before(self, carry: Array, ordered: Array) -> Array:
        """What was at the moment before: `carry` (per run) at the first of each run, or `carry` itself."""
        if self.is_single:
            return carry.astype(ordered.dtype, copy=False)
        out = np.empty_like(ordered)
        out[1:] = ordered[:-1]
        out[self.runs.starts] = carry
        return out

    def lasts(self, ordered: Array) -> Array:
        """What is at the last moment of each run."""
        return ordered if self.is_single else ordered[self.runs.lasts]

    def spread(self, of_runs: Array) -> Array:
        """What is of a run at each of its moments."""
        return of_runs if self.is_single else of_runs[self.runs.of]

    def filled(self, is_set: Array, value: Array, carry: Array) -> Array:
        """The newest value that was set at or before each moment; `carry` (per run) before any."""
        if self.is_single:
            return np.where(is_set, value, carry)
        place = np.maximum.accumulate(np.where(is_set, np.arange(len(self)), -1))
        is_own = place >= self.runs.starts[self.runs.of]
        return np.where(is_own, value[np.maximum(place, 0)], carry[self.runs.of])
