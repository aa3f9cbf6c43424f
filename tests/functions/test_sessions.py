"""Sessions and trading days on New York's clock, daylight saving and weekends included."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from functions.market.sessions import NEW_YORK, SESSIONS, new_york_day, new_york_session


def ns(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=NEW_YORK).timestamp()) * 10**9  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("moment", "session"),
    [
        ((2024, 8, 8, 3, 59), "closed"),
        ((2024, 8, 8, 4, 0), "premarket"),
        ((2024, 8, 8, 9, 29), "premarket"),
        ((2024, 8, 8, 9, 30), "market"),
        ((2024, 8, 8, 16, 0), "postmarket"),
        ((2024, 8, 8, 20, 0), "closed"),
        ((2024, 8, 10, 12, 0), "closed"),  # a Saturday
        ((2024, 3, 11, 9, 30), "market"),  # the Monday after the clocks changed
        ((2024, 11, 4, 9, 29), "premarket"),
    ],
)
def test_a_session_is_half_open_in_new_york(moment: tuple[int, ...], session: str) -> None:
    assert SESSIONS[int(new_york_session(np.array([ns(*moment)]))[0])] == session


def test_a_trading_day_begins_at_four_on_weekdays() -> None:
    moments = [ns(2024, 8, 9, 3, 59), ns(2024, 8, 9, 4, 0), ns(2024, 8, 11, 12), ns(2024, 8, 12, 4)]
    day = new_york_day(np.array(moments))
    assert (day - day[0]).tolist() == [0, 1, 1, 4]
