"""The metrics rules and toplists may name, computed for many events at once, only those in use.

All are f8 with NaN where a value cannot be computed. Minutes are clock minutes: a window of n
minutes is the running minute and the n - 1 before it, and what it changed from is the last price
before it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MINUTE_NS = 60_000_000_000
MINUTES = 64  # ring of closed minutes: the longest window is 60
CHANGES = (1, 2, 5, 10, 15, 30, 60)
VOLUMES = (1, 2, 5, 10, 15, 30, 60)
INDICATORS = (
    "ema_9",
    "ema_20",
    "ema_50",
    "sma_20",
    "sma_50",
    "sma_200",
    "rsi_14",
    "vwap_5m",
    "vwap_15m",
    "vwap_1h",
)
BAR = ("open", "high", "low", "close", "volume", "vwap")

# What the metrics rest on, kept by the scanner: one row per symbol.
STATE = {
    "last": "f8",  # last eligible price; 0 = none yet
    "last_ns": "i8",  # its time
    "day": "i8",  # trading day of the newest print
    "day_volume": "f8",
    "day_open": "f8",  # first eligible price at or after 09:30
    "prev_close": "f8",  # last eligible price of the trading day before; 0 = not known
    "minute": "i8",  # newest minute with a print
    "flow": "f8",  # volume of all prints in time, without end
    "minute_flow": "f8",  # flow when the newest minute began
    "first_minute": "i8",  # first closed minute known; 0 = none
    "filled": "i8",  # newest closed minute known
    "closes": ("f8", MINUTES),  # close of each minute, carried over minutes without trades
    "volumes": ("f8", MINUTES),
    "bar": ("f8", len(BAR)),  # the last final bar
    "bar_minute": "i8",
    "indicators": ("f8", len(INDICATORS)),
    "indicators_minute": "i8",
}


@dataclass(frozen=True)
class Events:
    """Moments at which metrics are wanted: prints, or symbols at a clock event."""

    row: Array
    price: Array
    minute: Array
    volume: Array  # of the trading day, the event included
    flow: Array  # since the event's minute began


Metric = Callable[[Mapping[str, Array], Events], Array]


def _known(values: Array, is_known: Array) -> Array:
    return np.where(is_known, values, np.nan)


def _close_before(state: Mapping[str, Array], events: Events, minutes: int) -> Array:
    """The last price before the window of n minutes began; NaN where it is not known."""
    row, wanted = events.row, events.minute - minutes
    filled = state["filled"][row]
    place = np.minimum(wanted, filled)
    is_known = (state["first_minute"][row] > 0) & (wanted >= state["first_minute"][row])
    is_known &= (filled - place < MINUTES) & (wanted - filled < MINUTES)
    return _known(state["closes"][row, place % MINUTES], is_known)


def _change(minutes: int) -> Metric:
    return lambda state, events: events.price - _close_before(state, events, minutes)


def _change_pct(minutes: int) -> Metric:
    def change(state: Mapping[str, Array], events: Events) -> Array:
        before = _close_before(state, events, minutes)
        return 100.0 * (events.price - before) / before

    return change


def _volume(minutes: int) -> Metric:
    if minutes == 1:
        return lambda _, events: events.flow
    ages = np.arange(1, minutes)

    def volume(state: Mapping[str, Array], events: Events) -> Array:
        row, minute = events.row[:, None], events.minute[:, None] - ages
        age_in_ring = state["filled"][row] - minute
        is_kept = (age_in_ring >= 0) & (age_in_ring < MINUTES)
        closed = np.where(is_kept, state["volumes"][row, minute % MINUTES], 0.0)
        return events.flow + np.add.accumulate(closed, axis=1)[:, -1]

    return volume


def _bar(column: int) -> Metric:
    return lambda state, events: _known(
        state["bar"][events.row, column], state["bar_minute"][events.row] > 0
    )


def _indicator(column: int) -> Metric:
    return lambda state, events: _known(
        state["indicators"][events.row, column], state["indicators_minute"][events.row] > 0
    )


def _from(column: str, is_percent: bool) -> Metric:
    def change(state: Mapping[str, Array], events: Events) -> Array:
        base = _known(state[column][events.row], state[column][events.row] > 0)
        change = events.price - base
        return 100.0 * change / base if is_percent else change

    return change


METRICS: dict[str, Metric] = {
    "price": lambda _, events: events.price,
    "volume_daily": lambda _, events: events.volume,
    **{f"change_{n}m": _change(n) for n in CHANGES},
    **{f"change_pct_{n}m": _change_pct(n) for n in CHANGES},
    **{f"volume_{n}m": _volume(n) for n in VOLUMES},
    "change_from_close": _from("prev_close", False),
    "change_from_close_pct": _from("prev_close", True),
    "change_from_open": _from("day_open", False),
    "change_from_open_pct": _from("day_open", True),
    **{name: _bar(column) for column, name in enumerate(BAR)},
    **{name: _indicator(column) for column, name in enumerate(INDICATORS)},
}
NAMES = frozenset(METRICS)
ALIASES = {
    "rsi_14_1m": "rsi_14",
    **{f"price_change_{n}m_pct": f"change_pct_{n}m" for n in (1, 2, 5, 15, 30, 60)},
}


def compute(names: Iterable[str], state: Mapping[str, Array], events: Events) -> dict[str, Array]:
    """The named metrics at each event."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: METRICS[name](state, events) for name in names}
