"""Which prints may set which price: market cases 1 to 11."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.providers import ProviderError, frame_of, open_provider
from runtime.providers.conditions import VOLUME, flags_of, massive_flags
from runtime.providers.file import FileProvider
from tests.cases.printed import Day, ns

PRICES = ("price", "volume_daily", "trade_count_1m", "dist_to_high_of_day_pct")


def csv(path: Path, *rows: str, name: str = "trades.csv") -> Path:
    """A file of trades: symbol, ts_ns, price, size, conditions, tape."""
    file = path / name
    file.write_text("symbol,ts_ns,price,size,conditions,tape\n" + "\n".join(rows) + "\n")
    return file


def test_case_1_an_odd_lot_counts_in_volume_and_trades_and_sets_no_price() -> None:
    day = Day()
    day.rule("high", ("price", ">", 10.5))
    day.trade("09:30:01", 10.0)
    assert day.trade("09:30:02", 11.0, 5, "I") == []
    assert day.trade("09:30:03", 9.0, 5, "F I") == []
    assert day.ask("09:30:04", *PRICES) == [10.0, 110.0, 3.0, 0.0]
    assert (day.known("day_high"), day.known("day_low")) == (10.0, 10.0)
    bar = day.until("09:31")
    assert (bar["high"], bar["low"], bar["close"]) == ([10.0], [10.0], [10.0])
    assert (bar["volume"], bar["count"]) == ([110.0], [3])


def test_case_1_a_feed_may_take_the_high_of_any_print_instead(tmp_path: Path) -> None:
    day = Day(odd_lots="eligible")
    day.trade("09:30:01", 10.0)
    day.trade("09:30:02", 11.0, 5, "I")
    assert (day.known("day_high"), day.known("last")) == (11.0, 11.0)
    file = csv(tmp_path, f"A,{ns('09:30')},10,5,I,A")
    for parameters, expected in (("", VOLUME), ("&odd_lots=eligible", 7)):
        batches = open_provider(f"file://{file}?speed=max{parameters}").batches()
        upd = [batch.columns["upd"].tolist() for batch in batches if batch.kind == "trades"]
        assert upd == [[expected]]


@pytest.mark.parametrize(
    ("condition", "tape"),
    [
        ("B", "A"),
        ("W", "C"),
        ("H", "A"),
        ("C", "B"),
        ("N", "C"),
        ("V", "A"),
        ("7", "B"),
        ("7", "C"),
    ],
)
def test_case_2_prints_that_are_no_market_prices_count_in_the_volume_only(
    condition: str, tape: str
) -> None:
    day = Day()
    day.rule("high", ("price", ">", 10.5))
    day.trade("09:30:01", 10.0)
    assert day.trade("09:30:02", 11.0, 40, condition, tape) == []
    assert day.ask("09:30:03", *PRICES) == [10.0, 140.0, 2.0, 0.0]


def test_case_3_b_and_e_mean_by_tape_what_their_letter_alone_does_not_say() -> None:
    for condition, is_price in (("B", {"A": False, "B": False, "C": True}), ("E", {"A": True, "B": True, "C": False})):  # fmt: skip
        for tape, moves in is_price.items():
            day = Day()
            day.trade("09:30:01", 10.0, tape=tape)
            day.trade("09:30:02", 11.0, 50, condition, tape)
            expected = 11.0 if moves else 10.0
            assert (day.known("last"), day.known("day_high")) == (expected, expected)
            assert day.known("volume_market") == 150.0
    assert [massive_flags([4], tape, is_extended=False)[0] for tape in "ABC"] == [7, 7, 7]


def test_case_4_official_open_and_close_add_no_volume_and_are_not_counted_twice() -> None:
    day = Day()
    day.trade("09:30:00.1", 10.0, 1000, "O", "C")
    day.trade("09:30:00.2", 10.02, 1000, "Q", "C")
    day.trade("15:59:59", 10.5)
    day.trade("16:00:00.1", 10.6, 2000, "6", "C")
    day.trade("16:00:05", 10.61, 2000, "M", "C")
    assert day.ask("16:00:06", "volume_daily", "change_from_open")[0] == 3100.0
    assert (day.known("open_market"), day.known("close_market")) == (10.02, 10.61)
    assert day.known("last") == 10.6  # the official close is no trade
    assert (day.known("day_high"), day.known("ext_high")) == (10.5, 10.6)


def test_case_5_a_corrected_close_sets_the_price_without_volume() -> None:
    day = Day()
    day.trade("15:59:59", 10.0)
    day.trade("15:59:59.5", 10.25, 500, "9")
    assert day.ask("15:59:59.9", *PRICES) == [10.25, 100.0, 1.0, 0.0]


@pytest.mark.parametrize("condition", ["G", "L", "P", "R", "Z", "4"])
def test_case_6_prints_of_an_earlier_moment_move_highs_but_not_the_last(condition: str) -> None:
    day = Day()
    day.trade("09:30:01", 10.0)
    day.trade("09:30:02", 11.0, 100, condition)
    assert (day.known("day_high"), day.known("last")) == (11.0, 10.0)
    bar = day.until("09:31")
    assert (bar["high"], bar["close"], bar["volume"]) == ([11.0], [10.0], [200.0])


def test_case_6_the_first_of_the_day_is_the_last_where_there_is_none_and_only_once() -> None:
    day = Day()
    day.trade("09:30:01", 11.0, 100, "Z")
    assert (day.known("last"), day.known("open_market")) == (11.0, 11.0)
    day.trade("09:30:02", 12.0, 100, "Z")
    assert day.known("last") == 11.0
    bar = day.until("09:31")
    assert (bar["open"], bar["close"]) == ([11.0], [11.0])
    day.trade("09:31:01", 10.0)
    day.until("20:00")
    tomorrow = (2026, 1, 7)
    day.trade("09:30:01", 9.0, 100, "L", date=tomorrow)
    day.trade("09:30:02", 8.0, 100, "L", date=tomorrow)
    assert day.known("last") == 9.0
    assert day.until("09:31", tomorrow)["close"] == [9.0]


def test_case_6_an_opening_print_of_the_cta_tapes_is_such_a_print() -> None:
    for tape, expected in (("A", 10.0), ("C", 11.0)):
        day = Day()
        day.trade("09:29:59", 10.0, conditions="T")
        day.trade("09:30:01", 11.0, conditions="O", tape=tape)
        assert day.known("last") == expected


def test_case_6_a_z_print_does_not_fire_a_crossing_now() -> None:
    day = Day()
    day.rule("cross", ("crossed_above_vwap", "==", 1))
    day.trade("09:30:01", 10.0)
    day.trade("09:30:02", 9.9)
    assert day.trade("09:30:03", 10.5, 1, "Z") == []
    assert day.trade("09:30:04", 10.5, 1) == ["cross"]


def test_case_7_a_print_may_do_what_all_its_conditions_allow() -> None:
    expected = {"F O": 7, "F I": 1, "Z 4": 37, "Z I": 1, "9 Z": 36, "6 M": 16, "O X 1": 7}
    found, _ = flags_of(list(expected), ["C"] * len(expected), np.full(len(expected), ns("10:00")))
    assert dict(zip(expected, found.tolist(), strict=True)) == expected
    day = Day()
    day.trade("09:30:01", 10.0)
    day.trade("09:30:02", 11.0, 10, "F T I")
    assert (day.known("day_high"), day.known("volume_market")) == (10.0, 110.0)


def test_case_8_an_unknown_condition_leaves_the_volume_and_is_counted(tmp_path: Path) -> None:
    rows = [f"A,{ns('09:30:01')},10,100,@,A", f"A,{ns('09:30:02')},11,50,F ?,A"]
    provider = FileProvider([csv(tmp_path, *rows, rows[1])])
    assert provider.unknown_conditions == {"?": 2}
    day = Day()
    day.trade("09:30:01", 10.0)
    day.trade("09:30:02", 11.0, 50, "F ?")
    assert day.ask("09:30:03", *PRICES) == [10.0, 150.0, 2.0, 0.0]


def test_case_8_a_log_names_each_unknown_condition_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = f"A,{ns('09:30:01')},10,100,!,A"
    FileProvider([csv(tmp_path, row, row), csv(tmp_path, row, name="b.csv")])
    said = capsys.readouterr()
    assert (said.out + said.err).count("unknown sale condition") == 1


@pytest.mark.parametrize("conditions", ["", " ", "@", "@   "])
def test_case_9_no_condition_is_a_regular_sale(conditions: str) -> None:
    day = Day()
    day.trade("09:30:01", 10.0)
    day.trade("09:30:02", 11.0, 10, conditions)
    assert (day.known("last"), day.known("day_high"), day.known("volume_market")) == (11, 11, 110)


def test_case_10_form_t_sets_the_prices_of_extended_hours_and_not_of_the_day() -> None:
    day = Day()
    day.rule("new-high-of-day", ("dist_to_high_of_day_pct", "<=", 0))
    assert day.trade("08:00", 12.0, 200, "T") == []
    assert (day.known("last"), day.known("ext_high"), day.known("open_pre")) == (12, 12, 12)
    assert (day.known("day_high"), day.known("volume_pre")) == (0.0, 200.0)
    assert day.trade("09:30:01", 10.0) == ["new-high-of-day"]
    day.trade("16:30", 13.0, 300, "T")
    assert (day.known("ext_high"), day.known("day_high"), day.known("volume_post")) == (13, 10, 300)
    assert day.known("close_market") == 10.0


def test_case_10_an_odd_lot_of_extended_hours_sets_no_price() -> None:
    day = Day()
    day.trade("08:00", 12.0, 200, "T")
    day.trade("08:00:01", 15.0, 7, "T I")
    assert (day.known("last"), day.known("ext_high"), day.known("volume_pre")) == (12, 12, 207)


def test_case_10_form_t_reported_in_regular_hours_counts_in_the_volume_only() -> None:
    day = Day()
    day.trade("09:30:01", 10.0)
    day.trade("09:30:02", 15.0, 40, "T")
    assert (day.known("last"), day.known("ext_high"), day.known("volume_market")) == (10, 10, 140)


def test_case_11_every_frame_says_whose_trades_they_are(tmp_path: Path) -> None:
    file = csv(tmp_path, f"A,{ns('09:30')},10,5,@,A")
    for parameters, expected in (("", "file"), ("&source=alpaca-iex", "alpaca-iex")):
        provider = open_provider(f"file://{file}?speed=max{parameters}")
        frames = [frame_of(batch, provider.name) for batch in provider.batches()]
        assert {frame.source for frame in frames} == {expected}
    with pytest.raises(ProviderError, match="letters, digits"):
        open_provider(f"file://{file}?source=a%20b")


def test_case_11_volume_is_compared_with_the_past_of_the_same_feed() -> None:
    """A feed of one exchange has 2 to 3 % of the tape: measured against the tape it looks dead."""
    for share in (1.0, 0.03):
        day = Day()
        for date in ((2026, 1, 6), (2026, 1, 7)):
            day.until("09:30", date)
            day.trade("09:30:01", 10.0, 10_000 * share, date=date)
            day.until("09:31", date)
            day.until("20:00", date)
        today = (2026, 1, 8)
        day.until("09:30", today)
        day.trade("09:30:01", 10.0, 20_000 * share, date=today)
        relative = day.ask("09:31", "relative_volume_same_time", date=today)
        assert relative == [pytest.approx(200.0)]
