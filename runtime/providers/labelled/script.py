"""What happens in the labelled market: a story per symbol, told as moves, halts, gaps and splits.

A move takes some minutes and changes the level of the price by so many percent; between moves a
symbol trembles around its level. Times are New York's. The first days are a prologue with a few
prints an hour, from which candles of hours and days are made; then come a full day and a half day.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

FIRST_DATE = date(2025, 11, 19)  # a Wednesday: five days, the full day, Thanksgiving, the half day
PROLOGUE_DAYS = 5
FULL, HALF = PROLOGUE_DAYS, PROLOGUE_DAYS + 1  # places in the list of days
DAYS = HALF + 1

# When symbols print every minute, as minutes after midnight; else every SPARSE_MINUTES.
DENSE = {
    FULL: ((9 * 60, 12 * 60), (15 * 60 + 50, 16 * 60 + 10)),
    HALF: ((9 * 60 + 10, 11 * 60 + 10), (12 * 60 + 50, 13 * 60 + 10)),
}
SPARSE_MINUTES = 20


class Move(NamedTuple):
    """The level changes by `percent` within `minutes`; sizes are multiplied meanwhile."""

    day: int
    at: str
    minutes: int
    percent: float
    sizes: float = 4.0


class Halt(NamedTuple):
    """No print from `at` on for so many minutes."""

    day: int
    at: str
    minutes: int = 5


class Gap(NamedTuple):
    """The day begins so many percent away from where the last one ended."""

    day: int
    percent: float


class Split(NamedTuple):
    """Prices are multiplied by `factor` from the day on."""

    day: int
    factor: float


Event = Move | Halt | Gap | Split

UP = (
    Move(FULL, "10:05", 4, 2.5),
    Move(FULL, "10:40", 20, -1.0, 1.0),
    Move(FULL, "11:10", 3, 2.0),
    Move(HALF, "09:50", 3, 2.0),
    Move(HALF, "10:30", 15, -0.6, 1.0),
    Move(HALF, "10:50", 3, 1.5),
)
TO_THE_HIGH_AND_DOWN = (
    Move(FULL, "09:50", 10, 1.5),
    Move(FULL, "10:10", 8, -0.9, 1.0),
    Move(FULL, "10:30", 8, 0.9, 2.0),
    Move(FULL, "10:41", 4, -1.3),
    Move(FULL, "11:05", 8, 1.3, 2.0),
    Move(FULL, "11:16", 3, -1.3),
    Move(HALF, "09:45", 6, 1.5),
    Move(HALF, "10:00", 6, -0.9, 1.0),
    Move(HALF, "10:15", 5, 0.9, 2.0),
    Move(HALF, "10:22", 3, -1.4),
)
DIP_TO_VWAP = (
    Move(FULL, "09:34", 8, 1.6, 2.0),
    Move(FULL, "10:05", 6, -0.8, 1.0),
    Move(FULL, "10:12", 2, 0.8),
    Move(FULL, "10:40", 6, -0.9, 1.0),
    Move(FULL, "10:48", 3, 0.9),
    Move(HALF, "09:36", 6, 1.4, 2.0),
    Move(HALF, "10:00", 6, -0.7, 1.0),
    Move(HALF, "10:07", 2, 0.8),
)
SPIKE_AND_BACK = (
    Move(FULL, "10:00", 2, 4.5, 8.0),
    Move(FULL, "10:40", 3, -4.5, 6.0),
    Move(FULL, "11:00", 1, 5.0, 8.0),
    Move(FULL, "11:40", 2, -5.0, 6.0),
    Move(HALF, "09:45", 2, 4.5, 8.0),
    Move(HALF, "10:40", 3, -4.5, 6.0),
)
SURGE_INTO_A_HALT = (
    Move(FULL, "10:02", 1, 6.0, 10.0),
    Halt(FULL, "10:03"),
    Move(FULL, "10:08", 2, -3.0, 8.0),
    Move(HALF, "09:41", 1, -5.0, 10.0),
    Halt(HALF, "09:42"),
    Move(HALF, "09:47", 1, 2.0, 8.0),
)
GAP_AND_FILL = (
    Gap(FULL, 5.0),
    Move(FULL, "09:45", 12, -3.0),
    Move(FULL, "10:30", 25, -3.5, 2.0),
    Move(FULL, "11:20", 4, 2.4),
    Gap(HALF, -4.0),
    Move(HALF, "09:40", 10, 3.0),
    Move(HALF, "10:20", 20, 2.5, 2.0),
)
ALMOST = (  # near misses: a rise that is too slow, a high that is not reached, a dip that stops short
    Move(FULL, "10:00", 2, 1.3, 1.5),
    Move(FULL, "10:20", 5, -0.9, 1.0),
    Move(FULL, "10:35", 6, 0.55, 1.0),
    Move(FULL, "10:45", 4, -0.35, 1.0),
    Move(FULL, "11:00", 30, 1.8, 1.3),
    Move(HALF, "10:00", 30, -1.6, 1.3),
    Move(HALF, "10:40", 3, 1.1, 1.8),
)


def mirrored(story: tuple[Event, ...]) -> tuple[Event, ...]:
    """The same story downwards."""
    return tuple(
        one._replace(percent=-one.percent) if isinstance(one, Move | Gap) else one for one in story
    )


# Symbol -> (price it trades around, story).
STORIES: dict[str, tuple[float, tuple[Event, ...]]] = {
    "CALM": (48.0, ()),
    "DOZE": (131.0, ()),
    "ALMO": (64.0, ALMOST),
    "ALMD": (83.0, mirrored(ALMOST)),
    "BRKA": (37.0, UP),
    "BRKB": (212.0, UP),
    "FALL": (58.0, mirrored(UP)),
    "FALM": (174.0, mirrored(UP)),
    "TOPA": (29.0, TO_THE_HIGH_AND_DOWN),
    "TOPB": (96.0, TO_THE_HIGH_AND_DOWN),
    "BOTA": (41.0, mirrored(TO_THE_HIGH_AND_DOWN)),
    "BOTB": (118.0, mirrored(TO_THE_HIGH_AND_DOWN)),
    "HOLD": (77.0, DIP_TO_VWAP),
    "HOLE": (22.0, DIP_TO_VWAP),
    "CAPA": (69.0, mirrored(DIP_TO_VWAP)),
    "CAPB": (145.0, mirrored(DIP_TO_VWAP)),
    "SPIK": (33.0, SPIKE_AND_BACK),
    "SPIL": (52.0, SPIKE_AND_BACK),
    "DROP": (89.0, mirrored(SPIKE_AND_BACK)),
    "DROQ": (191.0, mirrored(SPIKE_AND_BACK)),
    "HALT": (44.0, SURGE_INTO_A_HALT),
    "HALU": (156.0, mirrored(SURGE_INTO_A_HALT)),
    "GAPU": (27.0, GAP_AND_FILL),
    "GAPD": (101.0, mirrored(GAP_AND_FILL)),
    "SPLA": (240.0, (Split(FULL, 0.5), *UP)),
    "SPLB": (18.0, (Split(HALF, 2.0), *mirrored(UP))),
}
SPLIT_IN_HISTORY = ("CALM", 100, 0.5)  # symbol, days before the first, factor
