"""Durations as they are written: `20s`, `5m`, `2h`, `1d`, kept in nanoseconds."""

from __future__ import annotations

from decimal import Decimal

from functions.rules.limits import DAY_NS, SECOND_NS
from functions.rules.units import WORDS

NS_OF = {
    "seconds": SECOND_NS,
    "minutes": 60 * SECOND_NS,
    "hours": 3_600 * SECOND_NS,
    "days": DAY_NS,
}
WRITTEN = (("d", DAY_NS), ("h", 3_600 * SECOND_NS), ("m", 60 * SECOND_NS), ("s", SECOND_NS))


def duration_ns(number: str, word: str) -> int | None:
    """Nanoseconds of a number and a unit of time; None for another unit."""
    factor = NS_OF.get(WORDS.get(word, ""))
    return None if factor is None else int(Decimal(number) * factor)


def duration_text(ns: int) -> str:
    """The shortest way to write a duration: `90s`, `2m`, `0.5s`."""
    for letter, factor in WRITTEN:
        if ns and ns % factor == 0:
            return f"{ns // factor}{letter}"
    return f"{(Decimal(ns) / SECOND_NS).normalize():f}s" if ns else "0s"
