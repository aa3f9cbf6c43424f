"""Sale conditions: every row of the exchanges' tables, by tape and hour, and Massive's ids for them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from functions.market import sessions
from runtime.providers.conditions import (
    ALL,
    EXTREMES,
    IF_FIRST,
    LAST,
    MASSIVE,
    OFFICIAL_CLOSE,
    OFFICIAL_OPEN,
    VOLUME,
    flags_of,
    is_extended,
    massive_flags,
    update_flags,
)

NEW_YORK = ZoneInfo("America/New_York")
OPENED_NS = 1_514_903_400_000_000_000  # 2018-01-02 09:30 in New York

# condition -> (on the CTA tapes A and B, on the UTP tape C, Massive's ids), regular hours
TABLE = {
    "@": (ALL, ALL, (0,)),
    "A": (ALL, ALL, (1,)),
    "B": (VOLUME, ALL, ()),
    "C": (VOLUME, VOLUME, (7,)),
    "D": (ALL, ALL, (11,)),
    "E": (ALL, VOLUME, ()),
    "F": (ALL, ALL, (14,)),
    "G": (IF_FIRST, IF_FIRST, (5,)),
    "H": (VOLUME, VOLUME, (21,)),
    "I": (VOLUME, VOLUME, (37,)),
    "K": (ALL, ALL, (23,)),
    "L": (IF_FIRST, IF_FIRST, (30,)),
    "M": (OFFICIAL_CLOSE, OFFICIAL_CLOSE, (15,)),
    "N": (VOLUME, VOLUME, (20,)),
    "O": (IF_FIRST, ALL, (25,)),
    "P": (IF_FIRST, IF_FIRST, (22,)),
    "Q": (OFFICIAL_OPEN, OFFICIAL_OPEN, (16,)),
    "R": (IF_FIRST, IF_FIRST, (29,)),
    "S": (ALL, ALL, (34,)),
    "T": (VOLUME, VOLUME, (12,)),
    "U": (VOLUME, VOLUME, (13,)),
    "V": (VOLUME, VOLUME, (52,)),
    "W": (VOLUME, VOLUME, (2,)),
    "X": (ALL, ALL, (9,)),
    "Y": (ALL, ALL, (36,)),
    "Z": (IF_FIRST, IF_FIRST, (33,)),
    "1": (ALL, ALL, (27,)),
    "4": (IF_FIRST, IF_FIRST, (10,)),
    "5": (ALL, ALL, (28,)),
    "6": (ALL, ALL, (8,)),
    "7": (VOLUME, VOLUME, (53,)),
    "8": (0, 0, (59,)),
    "9": (LAST | EXTREMES, LAST | EXTREMES, (38,)),
}


@pytest.mark.parametrize("condition", TABLE)
def test_a_condition_means_on_its_tape_what_the_exchanges_say(condition: str) -> None:
    on_cta, on_utp, ids = TABLE[condition]
    for tape, expected in (("A", on_cta), ("B", on_cta), ("C", on_utp)):
        assert update_flags(condition, tape, is_extended=False) == (expected, [])
        for one in ids:
            assert massive_flags([one], tape, is_extended=False) == (expected, [])


def test_an_id_of_massive_names_the_meaning_not_the_letter() -> None:
    for tape in "ABC":
        assert massive_flags([2], tape, is_extended=False)[0] == VOLUME  # average price
        assert massive_flags([4], tape, is_extended=False)[0] == ALL  # bunched
        assert massive_flags([3], tape, is_extended=False)[0] == ALL  # automatic execution
        assert massive_flags([56], tape, is_extended=False)[0] == VOLUME  # placeholder
    told = {one for _, _, ids in TABLE.values() for one in ids}
    assert told | {3, 4, 56} == MASSIVE.keys()


def test_an_id_nobody_knows_is_told_as_its_number() -> None:
    assert massive_flags([14, 99], "A", is_extended=False) == (VOLUME, ["99"])


def test_what_may_always_be_the_last_and_what_may_be_if_first_is_the_last_if_first() -> None:
    assert update_flags("FZ", "A", is_extended=False)[0] == IF_FIRST
    assert update_flags("ZI", "A", is_extended=False)[0] == VOLUME


def test_columns_are_mapped_by_their_hour() -> None:
    times = np.array([OPENED_NS - 1, OPENED_NS, OPENED_NS])
    flags, unknown = flags_of([" FTI", "@ T", "F,%"], ["A", "C", "C"], times)
    assert flags.tolist() == [VOLUME, VOLUME, VOLUME]
    assert unknown == {"%": 1}
    assert flags_of(["@ T"], ["C"], times[:1])[0].tolist() == [ALL]


def test_regular_hours_end_at_one_on_days_that_close_early() -> None:
    hours = [(2025, 11, 28, 12, 59), (2025, 11, 28, 13, 0), (2025, 11, 26, 13, 0)]
    hours += [(2025, 7, 3, 13, 0), (2025, 12, 24, 15, 0), (2025, 12, 23, 15, 0)]
    times = [int(datetime(*one, tzinfo=NEW_YORK).timestamp()) * 10**9 for one in hours]  # type: ignore[misc,arg-type]
    assert is_extended(np.array(times)).tolist() == [False, True, False, True, True, False]


def test_the_hours_are_those_of_the_calendar_since_2004() -> None:
    calendar = sessions.us_calendar()
    since = calendar.day >= (datetime(2004, 1, 1) - datetime(1970, 1, 1)).days
    for edge, expected in ((calendar.open_ns, False), (calendar.close_ns, True)):
        assert (is_extended(edge[since]) == expected).all()
        assert (is_extended(edge[since] - 1) == (not expected)).all()
