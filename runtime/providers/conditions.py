"""Sale conditions of the consolidated tape, as what a print may update.

Bits: 1 volume, 2 last, 4 high and low; 8 and 16: the print tells the official open, close. All
conditions of a print count (logical AND); a condition nobody knows leaves the volume. `c` in the
exchanges' tables, "last only if it is the first of the day", is kept as never.

Sources: CTS Pillar output specification and UTP specification (update of consolidated high, low,
last and volume by sale condition), dxFeed's table of raw exchange sale conditions.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from runtime.frames import Array

VOLUME, LAST, EXTREMES, OFFICIAL_OPEN, OFFICIAL_CLOSE = 1, 2, 4, 8, 16
ALL = VOLUME | LAST | EXTREMES
NEVER_LAST = VOLUME | EXTREMES
UTP_TAPE = "C"
REGULAR = " @"
MINUTE_NS = 60_000_000_000
NEW_YORK = ZoneInfo("America/New_York")

UPDATES = {
    **dict.fromkeys("ADFKOSXY156", ALL),
    **dict.fromkeys("GLPRZ4", NEVER_LAST),
    **dict.fromkeys("CHINVW7", VOLUME),
    "M": OFFICIAL_CLOSE,
    "Q": OFFICIAL_OPEN,
    "8": 0,
    "9": LAST | EXTREMES,
}
# B: average price on the CTA tapes, bunched on UTP. E: automatic execution on CTA, a placeholder on UTP.
BY_TAPE = {"B": (VOLUME, ALL), "E": (ALL, VOLUME)}
EXTENDED = "TU"  # Form T, and sold out of sequence: no price in regular hours, one outside
MASSIVE = {0: "@", 1: "A", 4: "B", 2: "W", 7: "C", 11: "D", 3: "E", 14: "F", 5: "G", 21: "H", 37: "I", 23: "K", 30: "L", 15: "M", 20: "N", 25: "O", 22: "P", 16: "Q", 29: "R", 34: "S", 12: "T", 13: "U", 52: "V", 9: "X", 36: "Y", 33: "Z", 27: "1", 10: "4", 28: "5", 8: "6", 53: "7", 59: "8", 38: "9"}  # fmt: skip


def update_flags(conditions: Iterable[str], tape: str, is_extended: bool) -> tuple[int, int]:
    """(update bits, unknown conditions) of a print on tape A, B or C, in or outside regular hours."""
    bits, official, unknown = ALL, 0, 0
    for condition in conditions:
        if condition in REGULAR or not condition:
            continue
        if condition in BY_TAPE:
            told = BY_TAPE[condition][tape == UTP_TAPE]
        elif condition in EXTENDED:
            told = ALL if is_extended else VOLUME
        elif condition in UPDATES:
            told = UPDATES[condition]
        else:
            told, unknown = VOLUME, unknown + 1
        bits, official = bits & told, official | told & (OFFICIAL_OPEN | OFFICIAL_CLOSE)
    return bits | official, unknown


def flags_of(conditions: list[str], tapes: list[str], ts_ns: Array) -> tuple[Array, int]:
    """Update bits (u1) of prints with raw condition texts such as "F I", and the unknown ones counted.

    A code that stands twice or among blanks counts once; commas and blanks only separate.
    """
    extended = is_extended(ts_ns).tolist()
    known: dict[tuple[str, str, bool], tuple[int, int]] = {}
    flags = np.empty(len(conditions), dtype=np.uint8)
    unknown = 0
    for place, key in enumerate(zip(conditions, tapes, extended, strict=True)):
        if key not in known:
            known[key] = update_flags(key[0].replace(",", " "), key[1], key[2])
        flags[place], more = known[key]
        unknown += more
    return flags, unknown


def is_extended(ts_ns: Array) -> Array:
    """Whether times lie outside 09:30 to 16:00 in New York."""
    day_minutes = 1440
    minute = ts_ns // MINUTE_NS
    days, place = np.unique(minute // day_minutes, return_inverse=True)
    offset = np.array([_offset_minutes(day) for day in days.tolist()])[place]
    local = (minute + offset) % day_minutes
    return np.asarray((local < 9 * 60 + 30) | (local >= 16 * 60))


@lru_cache(maxsize=1024)
def _offset_minutes(utc_day: int) -> int:
    noon = datetime.fromtimestamp(utc_day * 86_400 + 43_200, UTC).astimezone(NEW_YORK)
    return int((noon.replace(tzinfo=UTC) - noon.astimezone(UTC)).total_seconds() // 60)
