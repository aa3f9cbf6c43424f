"""Quiet hours: stretches of a user's own days, on the clock of the zone they live in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class QuietHours:
    """From `start` to `end` on a zone's clock, over midnight where end is not after start."""

    start: time
    end: time
    zone: str
    days: frozenset[int]  # on which it begins, 0 = Monday


def quiet_of(told: Mapping[str, Any]) -> QuietHours:
    """Quiet hours as they are written; raises ValueError."""
    zone, days = told.get("zone", "UTC"), told.get("days", list(DAYS))
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise ValueError(f"zone: expected one such as America/New_York, found {zone!r}") from error
    if not isinstance(days, list) or not all(day in DAYS for day in days):
        raise ValueError(f"days: expected some of {', '.join(DAYS)}, found {days!r}")
    start, end = _time(told.get("from")), _time(told.get("to"))
    return QuietHours(start, end, zone, frozenset(DAYS.index(day) for day in days))


def _time(text: Any) -> time:
    match = TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"from, to: expected a time such as 22:30, found {text!r}")
    return time(int(match[1]), int(match[2]))


def quiet_ends(hours: tuple[QuietHours, ...], ts_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """When the quiet hours that hold at each time (ns UTC) end; 0 where none do."""
    ends = np.zeros(len(ts_ns), dtype=np.int64)
    if not hours or not len(ts_ns):
        return ends
    first = datetime.fromtimestamp(int(ts_ns.min()) // SECOND_NS, UTC).date()
    last = datetime.fromtimestamp(int(ts_ns.max()) // SECOND_NS, UTC).date()
    for one in hours:
        for start_ns, end_ns in _stretches(one, first, last):
            inside = (ts_ns >= start_ns) & (ts_ns < end_ns)
            ends[inside] = np.maximum(ends[inside], end_ns)
    return ends


def _stretches(hours: QuietHours, first: date, last: date) -> Iterator[tuple[int, int]]:
    """The stretches that may touch the days between two dates in UTC: local days differ by one."""
    for number in range(-2, (last - first).days + 2):
        day = first + timedelta(days=number)
        if day.weekday() in hours.days:
            yield _stretch(hours, day)


@lru_cache(maxsize=4096)
def _stretch(hours: QuietHours, day: date) -> tuple[int, int]:
    """Beginning and end (ns UTC) of the stretch that begins on a local day."""
    zone = ZoneInfo(hours.zone)
    until = day if hours.end > hours.start else day + timedelta(days=1)
    start = datetime.combine(day, hours.start, zone).timestamp()
    end = datetime.combine(until, hours.end, zone).timestamp()
    return int(start) * SECOND_NS, int(end) * SECOND_NS
