"""Prints whose time cannot be: further ahead of event time than any feed's clock is behind the exchanges'."""

from __future__ import annotations

from typing import Any

import numpy as np

AHEAD_NS = 60_000_000_000  # a minute: what is nearer can do no harm beyond its own minute


def in_time(trades: Any, clock_ns: int) -> Any:
    """The trades; those more than a minute ahead of event time count at event time instead.

    Else one wrong stamp would make every later print of its symbol late, until event time got there.
    Before the first clock event (0) nothing is known, and nothing is changed.
    """
    ts_ns = trades["ts_ns"]
    limit_ns = clock_ns + AHEAD_NS
    if not clock_ns or int(ts_ns.max()) <= limit_ns:
        return trades
    kept = trades[:]
    kept.columns["ts_ns"] = np.where(ts_ns > limit_ns, clock_ns, ts_ns)
    return kept
