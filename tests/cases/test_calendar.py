"""Cases 42 to 50: sessions, days, holidays, other exchanges, and what a restart may keep."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from functions.market import sessions
from functions.market.sessions import CRYPTO, US, moments
from runtime.loader import load_plan
from tests.cases.exchange import DAY_NS, MINUTE_NS, SECOND_NS, SUBJECTS, Exchange, at, day_of
from tests.conftest import ROOT

XETRA = "xetra XETR 08:00-22:00 *.DE"
HOUR_NS = 60 * MINUTE_NS


def date_of(ts_ns: int, market: int = US, setup: str = "") -> date:
    return date.fromordinal(date(1970, 1, 1).toordinal() + moments(ts_ns, setup)[market].day)


# -- 42


@pytest.mark.parametrize(
    ("moment", "volumes"),
    [
        ((2026, 1, 6, 4, 0), (100, 0, 0)),
        ((2026, 1, 6, 9, 29, 59), (100, 0, 0)),
        ((2026, 1, 6, 9, 30), (0, 100, 0)),
        ((2026, 1, 6, 15, 59, 59), (0, 100, 0)),
        ((2026, 1, 6, 16, 0), (0, 0, 100)),
        ((2026, 1, 6, 19, 59, 59), (0, 0, 100)),
    ],
)
def test_case_42_a_print_counts_in_the_session_it_lies_in(
    moment: tuple[int, ...], volumes: tuple[int, ...]
) -> None:
    exchange = Exchange().trade("A", at(*moment), 9.0)
    names = ("volume_pre", "volume_market", "volume_post")
    assert tuple(exchange.state(name, "A") for name in names) == volumes


@pytest.mark.parametrize("moment", [(2026, 1, 5, 20, 0), (2026, 1, 6, 0, 30), (2026, 1, 6, 3, 59)])
def test_case_42_an_overnight_print_is_of_the_next_trading_date_and_of_no_session(
    moment: tuple[int, ...],
) -> None:
    exchange = Exchange().trade("A", at(2026, 1, 5, 15, 0), 8.0).trade("A", at(*moment), 9.0)
    assert exchange.state("day", "A") * DAY_NS == day_of(2026, 1, 6)
    assert exchange.ask("A", "change_from_close", "volume_daily") == {
        "change_from_close": 1.0,
        "volume_daily": 0.0,
    }


def test_case_42_a_friday_evening_overnight_is_mondays() -> None:
    assert date_of(at(2026, 1, 9, 20, 0)) == date(2026, 1, 12)


# -- 43


def test_case_43_on_a_half_day_the_market_ends_at_one_and_the_evening_at_five() -> None:
    exchange = Exchange().trade("A", at(2026, 11, 27, 12, 59), 9.0)
    exchange.trade("A", at(2026, 11, 27, 13, 0), 9.5).trade("A", at(2026, 11, 27, 16, 59), 9.6)
    assert exchange.state("volume_market", "A") == 100
    assert exchange.state("volume_post", "A") == 200
    assert exchange.state("close_market", "A") == 9.0
    exchange.trade("A", at(2026, 11, 27, 17, 0), 9.7)
    assert exchange.state("day", "A") * DAY_NS == day_of(2026, 11, 30)


def test_case_43_half_days_are_no_measure_for_full_ones() -> None:
    exchange = Exchange()
    for moment, size in (
        ((2026, 11, 25, 10, 0), 1_000.0),
        ((2026, 11, 27, 10, 0), 10.0),  # the half day after Thanksgiving
    ):
        exchange.trade("A", at(*moment), 9.0, size=size).clock(at(*moment) + MINUTE_NS)
    exchange.trade("A", at(2026, 11, 30, 10, 0), 9.0, size=500.0)
    assert exchange.ask("A", "relative_volume_same_time") == 50.0
    exchange.clock(at(2026, 11, 30, 10, 1)).trade("A", at(2026, 12, 24, 10, 0), 9.0, size=5.0)
    assert exchange.ask("A", "relative_volume_same_time") == 50.0


# -- 44


def test_case_44_a_closure_nobody_planned_is_a_setting() -> None:
    exchange = Exchange(closures="2026-11-24").trade("A", at(2026, 11, 24, 12, 0), 9.0)
    assert exchange.state("volume_market", "A") == 0
    assert exchange.state("day", "A") * DAY_NS == day_of(2026, 11, 25)
    usual = Exchange().trade("A", at(2026, 11, 24, 12, 0), 9.0)
    assert usual.state("volume_market", "A") == 100


def test_case_44_a_closure_of_the_past_is_known() -> None:
    assert date_of(at(2025, 1, 9, 12, 0)) == date(2025, 1, 10)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"closures": "2025-13-09"}, "closures: expected dates such as 2025-01-09"),
        ({"closures": "xetra:2026-06-01"}, "closures: no market 'xetra'"),
        ({"markets": "xetra XETR *.DE"}, "markets: expected NAME CALENDAR HH:MM-HH:MM PATTERN"),
        ({"markets": "xetra XETR 22:00-08:00 *.DE"}, "no rising pair of whole five minutes"),
        ({"markets": "xetra XETRA 08:00-22:00 *.DE"}, "no calendar 'XETRA'"),
        ({"markets": "us XETR 08:00-22:00 *.DE"}, "different names"),
    ],
)
def test_case_44_wrong_calendars_are_refused_at_load(settings: dict[str, str], says: str) -> None:
    plan = load_plan(Path(ROOT / "functions"), SUBJECTS, {"scanner": settings})
    assert len(plan.faults) == 1
    assert says in plan.faults[0].message


# -- 45


@pytest.mark.parametrize(
    ("day", "opened_utc"),
    [((2026, 3, 6), 14), ((2026, 3, 9), 13), ((2026, 10, 30), 13), ((2026, 11, 2), 14)],
)
def test_case_45_the_open_follows_new_yorks_clock(day: tuple[int, ...], opened_utc: int) -> None:
    opened = at(*day, opened_utc, 30, zone="UTC")
    exchange = Exchange().trade("A", opened - SECOND_NS, 9.0).trade("A", opened, 9.5)
    assert exchange.state("volume_pre", "A") == 100
    assert exchange.state("open_market", "A") == 9.5


def test_case_45_crypto_days_begin_at_midnight_utc() -> None:
    midnight = at(2026, 3, 9, zone="UTC")
    exchange = Exchange().trade("BTC-USD", midnight - SECOND_NS, 60_000.0)
    exchange.trade("BTC-USD", midnight, 60_600.0)
    assert exchange.ask("BTC-USD", "volume_daily", "change_from_close_pct") == {
        "volume_daily": 100.0,
        "change_from_close_pct": 1.0,
    }
    assert moments(midnight)[CRYPTO].day == moments(midnight - 1)[CRYPTO].day + 1


def test_case_45_another_exchange_follows_its_own_clock_and_holidays() -> None:
    def frankfurt(*moment: int) -> int:
        return at(*moment, zone="Europe/Berlin")

    exchange = Exchange(markets=XETRA)
    exchange.trade("SAP.DE", frankfurt(2026, 3, 12, 8, 30), 150.0)
    exchange.trade("SAP.DE", frankfurt(2026, 3, 12, 9, 0), 151.0)
    exchange.trade("SAP.DE", frankfurt(2026, 3, 12, 17, 29), 152.0)
    exchange.trade("SAP.DE", frankfurt(2026, 3, 12, 17, 30), 153.0)
    names = ("volume_pre", "volume_market", "volume_post", "open_market", "close_market")
    assert [exchange.state(name, "SAP.DE") for name in names] == [100, 200, 100, 151, 152]
    exchange.trade("AAPL", at(2026, 3, 12, 15, 59), 200.0)
    exchange.clock(frankfurt(2026, 3, 12, 22, 0))
    assert exchange.state("day", "SAP.DE") * DAY_NS == day_of(2026, 3, 13)
    assert exchange.state("day", "AAPL") * DAY_NS == day_of(2026, 3, 12)
    assert date_of(frankfurt(2026, 5, 1, 12, 0), 2, f"|{XETRA}") == date(2026, 5, 4)
    assert date_of(frankfurt(2026, 7, 3, 12, 0), 2, f"|{XETRA}") == date(2026, 7, 3)


def test_case_45_another_exchange_has_opening_ranges_and_volumes_by_time_of_its_own() -> None:
    exchange = Exchange(markets=XETRA)
    opened = at(2026, 3, 12, 9, 0, zone="Europe/Berlin")
    exchange.trade("SAP.DE", opened, 150.0, size=400.0).clock(opened + MINUTE_NS)
    opened += DAY_NS
    exchange.trade("SAP.DE", opened, 150.0, size=100.0).clock(opened + MINUTE_NS)
    assert exchange.ask("SAP.DE", "relative_volume_same_time") == 25.0
    exchange.trade("SAP.DE", opened + MINUTE_NS, 151.0)
    assert exchange.ask("SAP.DE", "opening_range_breakout_1m", "minutes_in_market") == {
        "opening_range_breakout_1m": 1.0,
        "minutes_in_market": 1.0,
    }


def test_case_45_symbols_known_before_a_market_was_configured_move_to_it() -> None:
    exchange = Exchange().trade("SAP.DE", at(2026, 3, 12, 12, 0), 150.0)
    assert exchange.state("market", "SAP.DE") == 1 + US
    exchange.plan = Exchange(markets=XETRA).plan
    exchange.restart().trade("SAP.DE", at(2026, 3, 12, 12, 1), 150.0)
    assert exchange.state("market", "SAP.DE") == 3


def test_case_45_local_times_that_do_not_exist_or_come_twice_are_sessions_all_the_same() -> None:
    markets = "cairo XCAI 00:00-24:00 *.CA" if _has("XCAI") else "tel XTAE 00:00-24:00 *.TA"
    for day in range(365):
        moment = moments(day_of(2026, 1, 1) + day * DAY_NS, f"|{markets}")[2]
        assert moment.midnight_ns <= moment.start_ns <= moment.open_ns < moment.close_ns


def _has(calendar: str) -> bool:
    import exchange_calendars

    return calendar in exchange_calendars.get_calendar_names()


# -- 46


def test_case_46_a_day_rolls_once_by_the_clock_whatever_comes_again() -> None:
    exchange = Exchange().trade("A", at(2026, 1, 5, 15, 0), 8.0)
    night = at(2026, 1, 5, 20, 0)
    exchange.clock(night)
    rolled = exchange.chain.snapshot().blob
    exchange.clock(night, night - SECOND_NS)  # a clock never goes back
    exchange.restart().clock(night + SECOND_NS)
    assert exchange.state("profile_days", "A") == 1
    assert exchange.state("c1d_n", "A") == 1
    exchange.trade("A", at(2026, 1, 5, 15, 1), 7.0)  # a late print of the day before
    assert exchange.state("day", "A") * DAY_NS == day_of(2026, 1, 6)
    assert exchange.state("prev_close", "A") == 8.0
    assert exchange.ask("A", "volume_daily") == 0
    assert rolled


def test_case_46_two_owners_roll_to_the_same_bytes() -> None:
    def rolled(is_restarted: bool) -> bytes:
        exchange = Exchange().trade("A", at(2026, 1, 5, 15, 0), 8.0)
        exchange.clock(at(2026, 1, 5, 19, 59, 59))
        if is_restarted:
            exchange.restart()
        return exchange.clock(at(2026, 1, 5, 20, 0)).chain.snapshot().blob

    assert rolled(False) == rolled(True)


def test_case_46_nobody_asks_for_a_day_to_roll() -> None:
    exchange = Exchange().trade("A", at(2026, 1, 5, 15, 0), 8.0, 8.5)
    exchange.trade("A", at(2026, 1, 6, 15, 0), 9.0)  # no clock event in between
    assert exchange.ask("A", "change_from_close", "volume_daily") == {
        "change_from_close": 0.5,
        "volume_daily": 100.0,
    }


# -- 47


def test_case_47_a_snapshot_of_the_same_day_goes_on_where_it_was() -> None:
    exchange = (
        Exchange().trade("A", at(2026, 1, 6, 8, 0), 8.0).trade("A", at(2026, 1, 6, 10, 0), 9.0)
    )
    names = ("premarket_volume", "volume_daily", "change_from_open", "minutes_in_market")
    before = exchange.ask("A", *names)
    assert exchange.restart().ask("A", *names) == before


def test_case_47_a_snapshot_of_yesterday_keeps_only_what_yesterday_leaves() -> None:
    exchange = Exchange().trade("A", at(2026, 1, 5, 10, 0), 8.0)
    exchange.trade("A", at(2026, 1, 5, 15, 0), 12.0, size=700.0).restart()
    exchange.clock(at(2026, 1, 6, 11, 0))
    names = ("volume_daily", "position_in_range_today", "change_from_open", "volume_60m")
    assert exchange.ask("A", *names) == {
        "volume_daily": 0.0,
        "position_in_range_today": None,
        "change_from_open": None,
        "volume_60m": 0.0,
    }
    exchange.trade("A", at(2026, 1, 6, 11, 0), 12.5)
    assert exchange.ask("A", "change_from_close", "change_pct_5m") == {
        "change_from_close": 0.5,
        "change_pct_5m": None,
    }


def test_case_47_days_missed_are_told_after_the_first_clock_and_count() -> None:
    exchange = Exchange().trade("A", at(2026, 1, 5, 15, 0), 8.0).restart()
    exchange.clock(at(2026, 1, 8, 9, 0))
    exchange.days("A", (day_of(2026, 1, 6), 9.0, 1e6), (day_of(2026, 1, 7), 10.0, 1e6))
    exchange.trade("A", at(2026, 1, 8, 9, 31), 11.0)
    assert exchange.ask("A", "change_from_close", "change_pct_2d") == {
        "change_from_close": 1.0,
        "change_pct_2d": pytest.approx(100 * 2 / 9),
    }


# -- 48


def test_case_48_days_are_trading_days_not_calendar_days() -> None:
    exchange = Exchange()
    days = [d for d in range(366) if np.is_busday(np.datetime64("2025-01-01") + d)]
    bars = [(day_of(2025, 1, 1) + d * DAY_NS, 100.0 + k, 1e6) for k, d in enumerate(days)]
    exchange.days("A", *bars)
    exchange.trade("A", at(2026, 1, 6, 10, 0), 500.0)  # told in order, whichever days there were
    last = 100.0 + len(bars) - 1
    assert exchange.ask("A", "change_pct_5d") == pytest.approx(100 * (500 / (last - 4) - 1))
    assert exchange.ask("A", "change_pct_20d") == pytest.approx(100 * (500 / (last - 19) - 1))
    low = last - 250  # of 251 days before and today: fifty-two weeks
    exchange.trade("A", at(2026, 1, 6, 10, 1), 400.0)
    expected = pytest.approx(100 * (400 - low) / (500 - low), abs=1e-5)
    assert exchange.ask("A", "position_in_range_1y") == expected


def test_case_48_a_year_needs_a_years_days() -> None:
    exchange = Exchange()
    exchange.days("A", *((day_of(2025, 10, 1) + k * DAY_NS, 9.0, 1e6) for k in range(30)))
    exchange.trade("A", at(2026, 1, 6, 10, 0), 9.5)
    names = ("position_in_range_1y", "avg_volume_20d")
    assert exchange.ask("A", *names) == {"position_in_range_1y": None, "avg_volume_20d": 1e6}


# -- 49


def test_case_49_windows_look_back_across_the_open_and_not_over_the_night() -> None:
    exchange = Exchange().trade("A", at(2026, 1, 5, 19, 58), 8.0)
    exchange.clock(at(2026, 1, 5, 19, 59)).clock(at(2026, 1, 6, 9, 27))
    exchange.trade("A", at(2026, 1, 6, 9, 27), 9.0).clock(at(2026, 1, 6, 9, 28))
    exchange.trade("A", at(2026, 1, 6, 9, 30, 10), 9.9)
    names = ("volume_5m", "change_2m", "change_60m", "minutes_in_market")
    assert exchange.ask("A", *names) == {
        "volume_5m": 200.0,  # with the premarket's minutes
        "change_2m": pytest.approx(0.9),  # from the last price before the open
        "change_60m": None,  # an hour ago there was no price of this day
        "minutes_in_market": 0.0,
    }


# -- 50


def test_case_50_a_day_on_which_a_symbol_was_halted_counts_with_what_it_traded() -> None:
    exchange = Exchange()
    for day, size in ((5, 300.0), (6, 0.0), (7, 100.0)):
        ten = at(2026, 1, day, 10, 0)
        exchange.trade("A", ten - 10 * MINUTE_NS, 9.0, size=100.0).clock(ten - 9 * MINUTE_NS)
        if size:
            exchange.trade("A", ten, 9.0, size=size)
        else:
            exchange.status("A", ten, reason="T1")
        exchange.clock(ten + MINUTE_NS)
        exchange.status("A", ten + HOUR_NS, code=0)
    exchange.trade("A", at(2026, 1, 8, 10, 0), 9.0, size=200.0)
    assert exchange.ask("A", "relative_volume_same_time") == pytest.approx(
        100 * 200 / ((400 + 100 + 200) / 3)
    )


def test_case_50_days_without_a_trade_are_no_days_of_the_mean() -> None:
    exchange = Exchange()
    for day in (5, 7):  # on the 6th it did not trade at all
        exchange.trade("A", at(2026, 1, day, 10, 0), 9.0, size=100.0)
        exchange.clock(at(2026, 1, day, 10, 1), at(2026, 1, day, 20, 0))
    exchange.clock(at(2026, 1, 8, 4, 0)).trade("A", at(2026, 1, 8, 10, 0), 9.0, size=100.0)
    assert exchange.state("profile_days", "A") == 2
    assert exchange.ask("A", "relative_volume_same_time") == 100.0


def test_every_day_of_the_years_to_come_lies_in_one_day_of_each_market() -> None:
    """The twin: of a plain walk over the days of the schedule, session by session."""
    calendar = sessions.us_calendar()
    draw = np.random.default_rng(1)
    for ts_ns in (day_of(2024, 1, 1) + draw.integers(0, 1000 * DAY_NS, 500)).tolist():
        place = next(k for k in range(len(calendar.day)) if calendar.end_ns[k] > ts_ns)
        bounds = [calendar.start_ns[place], calendar.open_ns[place], calendar.close_ns[place]]
        moment = calendar.at(ts_ns)
        assert (moment.day, moment.session) == (
            calendar.day[place],
            sum(ts_ns >= b for b in bounds),
        )


def test_case_45_bars_know_the_days_of_another_exchange() -> None:
    exchange = Exchange(markets=XETRA)
    exchange.trade("SAP.DE", at(2026, 3, 12, 15, 0, zone="Europe/Berlin"), 150.0)
    evening = at(2026, 3, 12, 22, 30, zone="Europe/Berlin")  # its next day, still today in New York
    exchange.trade("SAP.DE", evening, 151.0, upd=32 | 4 | 1).clock(evening + MINUTE_NS)
    assert [bar["close"] for bar in exchange.bars] == [150.0, 151.0]


def test_case_44_bars_know_the_closures_that_are_added() -> None:
    exchange = Exchange(closures="2026-11-24").trade("A", at(2026, 11, 23, 21, 0), 9.0)
    late = at(2026, 11, 24, 21, 0)  # of the 25th, as are the evening before and all of the 24th
    exchange.trade("A", late, 10.0, upd=32 | 4 | 1).clock(late + MINUTE_NS)
    assert [bar["close"] for bar in exchange.bars] == [9.0]


def test_case_43_a_cancel_on_a_half_day_leaves_the_evening_out_of_the_days_high() -> None:
    exchange = Exchange().trade("A", at(2026, 11, 27, 10, 0), 10.0)
    wrong = at(2026, 11, 27, 10, 1)
    exchange.trade("A", wrong, 30.0).trade("A", at(2026, 11, 27, 12, 59), 11.0)
    exchange.trade("A", at(2026, 11, 27, 14, 0), 20.0).clock(at(2026, 11, 27, 14, 1))
    exchange.send(
        "ticks.corrections", ["A"], ts_ns=[wrong], price=[30.0], size=[100.0], new_price=[np.nan], new_size=[0.0]
    )  # fmt: skip
    exchange.clock(at(2026, 11, 27, 14, 2))
    assert [exchange.state(name, "A") for name in ("day_high", "ext_high")] == [11.0, 20.0]
