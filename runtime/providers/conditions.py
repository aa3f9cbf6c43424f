"""Sale conditions of the consolidated tape, as what a print may update.

Bits: 1 volume, 2 last, 4 high and low; 8 and 16: the print tells the official open, close; 32: last
only if the symbol has no eligible last of the day yet (`c` in the exchanges' tables). All conditions
of a print count (logical AND); a condition nobody knows leaves the volume.

Sources: CTS Pillar output specification and UTP specification (update of consolidated high, low,
last and volume by sale condition), dxFeed's table of raw exchange sale conditions, Massive's
`/v3/reference/conditions` (ids).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from runtime.frames import Array

VOLUME, LAST, EXTREMES, OFFICIAL_OPEN, OFFICIAL_CLOSE, LAST_IF_FIRST = 1, 2, 4, 8, 16, 32
ALL = VOLUME | LAST | EXTREMES
IF_FIRST = VOLUME | EXTREMES | LAST_IF_FIRST
UTP_TAPE = "C"
REGULAR = " @"
MINUTE_NS = 60_000_000_000
DAY_MINUTES = 1440
DAY_NS = DAY_MINUTES * MINUTE_NS
OPEN_MINUTE, CLOSE_MINUTE, EARLY_CLOSE_MINUTE = 9 * 60 + 30, 16 * 60, 13 * 60
NEW_YORK = ZoneInfo("America/New_York")

UPDATES = {
    **dict.fromkeys("ADFKSXY156", ALL),
    **dict.fromkeys("GLPRZ4", IF_FIRST),
    **dict.fromkeys("CHINVW7", VOLUME),
    "M": OFFICIAL_CLOSE,
    "Q": OFFICIAL_OPEN,
    "8": 0,
    "9": LAST | EXTREMES,
}
# (on the CTA tapes A and B, on the UTP tape C).
# B: average price, bunched. E: automatic execution, a placeholder. O: the opening print.
BY_TAPE = {"B": (VOLUME, ALL), "E": (ALL, VOLUME), "O": (IF_FIRST, ALL)}
EXTENDED = "TU"  # Form T, and sold out of sequence: no price in regular hours, one outside
ODD_LOT = "I"
MASSIVE = {0: "@", 1: "A", 4: "B", 2: "W", 7: "C", 11: "D", 3: "E", 56: "E", 14: "F", 5: "G", 21: "H", 37: "I", 23: "K", 30: "L", 15: "M", 20: "N", 25: "O", 22: "P", 16: "Q", 29: "R", 34: "S", 12: "T", 13: "U", 52: "V", 9: "X", 36: "Y", 33: "Z", 27: "1", 10: "4", 28: "5", 8: "6", 53: "7", 59: "8", 38: "9"}  # fmt: skip
# Massive's ids name the meaning, also where the letter means another thing on another tape.
MASSIVE_MEANS_TAPE = {4: "C", 3: "A", 56: "C"}

ODD_LOTS = ("volume", "eligible")  # what odd lots may update: see `odd_lots` below


def update_flags(
    conditions: Iterable[str], tape: str, is_extended: bool, odd_lots: str = "volume"
) -> tuple[int, list[str]]:
    """(update bits, conditions nobody knows) of a print on tape A, B or C, in or outside regular hours.

    odd_lots  `volume`: an odd lot sets no price, as on the consolidated tape; `eligible`: it does, so
              that highs and lows are those of any print
    """
    told = ((one, tape) for one in conditions if one not in REGULAR)
    return _all_of(told, is_extended, odd_lots)


def massive_flags(
    ids: Iterable[int], tape: str, is_extended: bool, odd_lots: str = "volume"
) -> tuple[int, list[str]]:
    """As `update_flags`, from Massive's condition ids; an unknown id is told as its number."""
    told = (
        (MASSIVE.get(one, str(one) + "?"), MASSIVE_MEANS_TAPE.get(one, tape)) for one in ids if one
    )
    bits, unknown = _all_of(told, is_extended, odd_lots)
    return bits, [one.rstrip("?") for one in unknown]


def _all_of(
    conditions: Iterable[tuple[str, str]], is_extended: bool, odd_lots: str
) -> tuple[int, list[str]]:
    """What every one of (condition, tape) allows."""
    bits, official, unknown = ALL | LAST_IF_FIRST, 0, []
    for condition, tape in conditions:
        told = _allowed(condition, tape, is_extended, odd_lots)
        if told is None:
            told = VOLUME
            unknown.append(condition)
        official |= told & (OFFICIAL_OPEN | OFFICIAL_CLOSE)
        bits &= told | LAST_IF_FIRST if told & LAST else told
    if bits & LAST:  # what may always be the last needs no leave to be the first
        bits &= ~LAST_IF_FIRST
    return bits | official, unknown


def _allowed(condition: str, tape: str, is_extended: bool, odd_lots: str) -> int | None:
    if condition == ODD_LOT and odd_lots == "eligible":
        return ALL
    if condition in BY_TAPE:
        return BY_TAPE[condition][tape == UTP_TAPE]
    if condition and condition in EXTENDED:
        return ALL if is_extended else VOLUME
    return UPDATES.get(condition)


def flags_of(
    conditions: list[str], tapes: list[str], ts_ns: Array, odd_lots: str = "volume"
) -> tuple[Array, Counter[str]]:
    """Update bits (u1) of prints with raw condition texts such as "F I", and how often each unknown one came.

    Commas and blanks only separate; every other letter is a condition.
    """
    prints = list(zip(conditions, tapes, is_extended(ts_ns).tolist(), strict=True))
    known = {one: _flags(*one, odd_lots) for one in set(prints)}
    unknown: Counter[str] = Counter()
    for one, (_, more) in known.items():
        for condition in more:
            unknown[condition] += prints.count(one)
    return np.array([known[one][0] for one in prints], dtype=np.uint8), unknown


@lru_cache(maxsize=4096)
def _flags(text: str, tape: str, extended: bool, odd_lots: str) -> tuple[int, list[str]]:
    return update_flags(text.replace(",", " "), tape, extended, odd_lots)


def is_extended(ts_ns: Array) -> Array:
    """Whether times lie outside 09:30 to 16:00 in New York, 13:00 on days that close early."""
    if len(ts_ns):
        first_ns, end_ns = _regular_ns(int(ts_ns[0]) // DAY_NS)
        if ((ts_ns >= first_ns) & (ts_ns < end_ns)).all():
            return np.zeros(len(ts_ns), dtype=bool)
    minute = ts_ns // MINUTE_NS
    days, place = np.unique(minute // DAY_MINUTES, return_inverse=True)
    offset = np.array([_offset_minutes(day) for day in days.tolist()])[place]
    close = np.array([_close_minute(day) for day in days.tolist()])[place]
    local = (minute + offset) % DAY_MINUTES
    return np.asarray((local < OPEN_MINUTE) | (local >= close))


@lru_cache(maxsize=1024)
def _regular_ns(utc_day: int) -> tuple[int, int]:
    """When regular hours begin and end on a UTC day, which they never leave."""
    midnight = utc_day * DAY_MINUTES - _offset_minutes(utc_day)
    return (midnight + OPEN_MINUTE) * MINUTE_NS, (midnight + _close_minute(utc_day)) * MINUTE_NS


@lru_cache(maxsize=1024)
def _offset_minutes(utc_day: int) -> int:
    noon = datetime.fromtimestamp(utc_day * 86_400 + 43_200, UTC).astimezone(NEW_YORK)
    return int((noon.replace(tzinfo=UTC) - noon.astimezone(UTC)).total_seconds() // 60)


@lru_cache(maxsize=1024)
def _close_minute(utc_day: int) -> int:
    """The close of a date; regular hours never cross midnight UTC, so its UTC day names it.

    NYSE rule 7.2: 13:00 on July 3 and December 24 when the day after is a holiday in the week, and on
    the day after Thanksgiving.
    """
    day = date(1970, 1, 1) + timedelta(days=utc_day)
    is_eve = (day.month, day.day) in ((7, 3), (12, 24)) and day.weekday() < 4
    is_after_thanksgiving = day.month == 11 and day.weekday() == 4 and 23 <= day.day <= 29
    return EARLY_CLOSE_MINUTE if is_eve or is_after_thanksgiving else CLOSE_MINUTE
