"""What rules keep of every symbol: families of columns named after the rule version, and their removal.

armed.<version>            1 = the rule was true at its last moment
fired.<version>            event time of its last alert; 0 = none
<family>.<version>.<node>  what one condition remembers, see `watches`
stretch.prints             unbroken stretch of the last moment of rules asked at prints,
stretch.all                and of those asked at clock events too
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SIXTIETHS = 60
RING = SIXTIETHS + 2  # the running one, the sixty of the window, the one that ended before it
STATE = {
    "armed.*": "u1",
    "fired.*": "i8",
    "code.*": "u1",
    "ns.*": "i8",
    "bits.*": "u8",
    "ring.*": ("f8", RING, "put"),
    "stretch.*": "i8",
}
DTYPES = {"code": "u1", "ns": "i8", "bits": "u8", "stretch": "i8"}
BY_VERSION = ("armed", "fired", "code", "ns", "bits", "ring")


def forget(state: Any, kept: Iterable[str]) -> None:
    """Drop what is kept of rule versions that are no more; those that stay go on as they were."""
    versions = set(kept)
    for family in BY_VERSION:
        for name in state.family(family):
            if name.partition(".")[0] not in versions:
                del state[f"{family}.{name}"]
