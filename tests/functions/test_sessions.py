"""Sessions and trading days: half open, daylight saving, holidays, half days, unscheduled closures."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from functions.market.sessions import CRYPTO, SESSIONS, US, is_half_day, market_of, moments

NEW_YORK = ZoneInfo("America/New_York")


def ns(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=NEW_YORK).timestamp()) * 10**9  # type: ignore[misc,arg-type]


def session(*moment: int) -> str:
    return SESSIONS[moments(ns(*moment))[US].session]


def day(*moment: int) -> date:
    return date.fromordinal(date(1970, 1, 1).toordinal() + moments(ns(*moment))[US].day)


@pytest.mark.parametrize(
    ("moment", "expected"),
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
        ((2024, 7, 4, 12, 0), "closed"),  # a holiday
    ],
)
def test_case_42_a_session_is_half_open_in_new_york(moment: tuple[int, ...], expected: str) -> None:
    assert session(*moment) == expected


def test_case_42_an_overnight_print_belongs_to_the_next_session() -> None:
    assert day(2024, 8, 8, 20, 0) == date(2024, 8, 9)
    assert day(2024, 8, 9, 3, 59) == date(2024, 8, 9)
    assert day(2024, 8, 9, 20, 0) == date(2024, 8, 12)  # over the weekend
    assert day(2024, 7, 3, 18, 0) == date(2024, 7, 5)  # after a half day, over the holiday


def test_case_43_half_days_close_at_one_and_their_postmarket_at_five() -> None:
    assert session(2024, 11, 29, 12, 59) == "market"
    assert session(2024, 11, 29, 13, 0) == "postmarket"
    assert session(2024, 11, 29, 17, 0) == "closed"
    assert is_half_day(moments(ns(2024, 11, 29, 10))[US])
    assert not is_half_day(moments(ns(2024, 11, 27, 10))[US])


def test_case_44_unscheduled_closures_are_known_and_can_be_added() -> None:
    assert session(2025, 1, 9, 12) == "closed"
    assert moments(ns(2026, 11, 24, 12), "2026-11-24")[US].session == 0
    assert session(2026, 11, 24, 12) == "market"


def test_case_45_sessions_follow_new_yorks_clock_and_crypto_days_are_utc() -> None:
    winter, summer = ns(2024, 3, 8, 9, 30), ns(2024, 3, 11, 9, 30)
    assert datetime.fromtimestamp(winter / 1e9, UTC).hour == 14
    assert datetime.fromtimestamp(summer / 1e9, UTC).hour == 13
    midnight = int(datetime(2024, 8, 9, tzinfo=UTC).timestamp()) * 10**9
    before, after = moments(midnight - 1)[CRYPTO], moments(midnight)[CRYPTO]
    assert after.day == before.day + 1
    assert SESSIONS[after.session] == "market"


def test_a_symbol_belongs_to_a_market() -> None:
    assert [market_of(one) for one in ("AAPL", "BRK.B", "BTCUSDT.SPOT", "ETH-USD")] == [0, 0, 1, 1]


def test_a_time_outside_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="within 1990 to 2040"):
        moments(int(datetime(2050, 1, 1, tzinfo=UTC).timestamp()) * 10**9)
