"""Market cases 12 to 21: what comes twice, late, in the wrong order, or is taken back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from functions.market.candles import disagreement
from runtime.providers.sequences import gaps
from tests.cases.printed import Day, ns

NAN = float("nan")


class Corrected(Day):
    """A day whose trades have ids and may be taken back."""

    def print(self, clock: str, price: float, size: float = 100.0, number: int = 0) -> int:
        """One regular print; returns the number of alerts."""
        columns = {"ts_ns": [ns(clock)], "price": [price], "size": [size], "id": [number]}
        out = self.h.send("ticks.trades", symbol=["AAA"], **columns)
        return len(out["alerts"]) if "alerts" in out else 0

    def correct(
        self, clock: str, price: float, new_price: float = NAN, size: float = 100.0, number: int = 0
    ) -> dict[str, Any]:
        """A correction, or without a new price a cancel, of a print; the changes said, as columns."""
        out = self.h.send(
            "ticks.corrections",
            symbol=["AAA"],
            ts_ns=[ns(clock)],
            id=[number],
            price=[price],
            size=[size],
            new_price=[new_price],
            new_size=[size if new_price > 0 else 0.0],
        )
        if "alerts" in out:  # what had fired is amended or withdrawn
            assert "fired" not in out["alerts"]["kind"].tolist()
        told = out.get("bars.corrected")
        return {name: told[name].tolist() for name in told.columns} if told is not None else {}

    def counted(self, name: str) -> int:
        """A count of the bars function."""
        return int(self.h.state("bars")[name][0])


def test_case_12_a_trade_that_comes_twice_counts_once_and_fires_nothing_the_second_time() -> None:
    day = Corrected()
    day.rule("busy", ("volume_daily", ">", 150.0))
    assert day.print("09:31:01", 10.0, number=7) == 0
    assert day.print("09:31:01", 10.0, number=7) == 0
    day.print("09:31:01", 10.0, number=8)  # another trade of the same time, price and size
    assert (day.known("volume_market"), day.counted("duplicates")) == (200.0, 1)
    assert day.until("09:32")["volume"] == [200.0]
    day.print("09:33", 10.0)
    day.print("09:33", 10.0)  # without ids nothing tells two trades from one said twice
    assert day.known("volume_market") == 400.0


def test_case_12_the_same_id_at_another_time_is_another_trade() -> None:
    day = Corrected()
    day.print("09:31:01", 10.0, number=7)
    day.print("09:31:02", 10.0, number=7)  # ids are per exchange and day
    assert (day.known("volume_market"), day.counted("duplicates")) == (200.0, 0)


def test_case_13_a_late_print_revises_its_bar_and_fires_nothing() -> None:
    day = Corrected()
    day.rule("up", ("price", ">", 11.0))
    day.print("09:31:01", 10.0)
    day.until("09:32")
    day.print("09:32:01", 10.5)
    assert day.print("09:31:59", 12.0) == 0
    bars = day.until("09:32:02")
    assert (bars["ts_ns"], bars["high"], bars["revision"]) == ([ns("09:31")], [12.0], [1])


def test_case_14_a_print_later_than_the_window_revises_its_bar_within_the_hour_and_fires_nothing() -> None:  # fmt: skip
    day = Corrected()
    day.rule("up", ("price", ">", 11.0))
    day.print("09:31:01", 10.0)
    day.until("10:15")
    day.print("10:15", 10.5)
    day.until("10:16")
    assert day.print("09:31:02", 12.0) == 0
    bars = day.until("10:16:01")
    assert (bars["ts_ns"], bars["high"], bars["volume"]) == ([ns("09:31")], [12.0], [200.0])
    assert day.known("volume_market") == 300.0
    day.until("11:00")
    day.print("11:00", 10.5)
    day.print("09:31:03", 99.0)
    assert day.counted("late") == 1
    assert ns("09:31") not in day.until("11:01")["ts_ns"]
    assert day.known("volume_market") == 500.0


def test_case_15_of_prints_with_one_time_the_last_to_arrive_is_the_last() -> None:
    for prices in ((10.0, 12.0, 11.0), (11.0, 12.0, 10.0)):
        day = Corrected()
        for price in prices:
            day.print("09:31:01", price)
        bar = day.until("09:32")
        assert (bar["open"], bar["close"]) == ([prices[0]], [prices[-1]])
        assert day.known("last") == prices[-1]


def test_case_16_a_hole_in_the_numbers_is_a_loss_only_where_every_trade_is_numbered() -> None:
    numbers = np.array([5, 6, 9, 8, 9, 12])
    assert gaps("binance", numbers) == gaps("coinbase", numbers) == [(7, 7), (10, 11)]
    assert gaps("massive", numbers) == gaps("alpaca", numbers) == []
    with pytest.raises(ValueError, match="expected one of alpaca, binance"):
        gaps("nasdaq", numbers)


def test_case_17_a_corrected_high_is_the_highest_of_the_prints_that_are_left() -> None:
    day = Corrected()
    day.print("09:31:01", 10.0, number=1)
    day.until("09:32")
    day.print("09:32:01", 11.0, number=2)
    day.print("09:32:02", 99.0, number=3)
    said = day.correct("09:32:02", 99.0, 10.5, number=3)
    assert (said["high"], said["close"], said["is_exact"]) == ([11.0], [10.5], [1])
    assert (day.known("day_high"), day.known("last"), day.known("live_high")) == (11.0, 10.5, 11.0)
    money = 100 * (10.0 + 11.0 + 10.5)
    assert (day.known("notional_market"), day.known("volume_market")) == (money, 300.0)
    assert (day.until("09:33")["high"], day.until("09:33")) == ([11.0], {})


def test_case_17_a_cancelled_open_and_close_are_those_of_the_prints_that_are_left() -> None:
    day = Corrected()
    day.print("09:30:00", 9.0, number=1)
    day.print("09:30:01", 10.0, number=2)
    day.print("09:30:02", 12.0, number=3)
    day.correct("09:30:00", 9.0, number=1)
    day.correct("09:30:02", 12.0, number=3)
    for name in ("open_market", "close_market", "last", "seen", "day_high", "day_low", "ext_low"):
        assert day.known(name) == 10.0, name
    assert day.known("live_count") == 1.0


def test_case_17_a_price_back_where_it_was_after_a_cancel_is_no_crossing() -> None:
    day = Corrected()
    day.rule("up", ("crossed_above_open", ">", 0.0))
    day.print("09:30:00", 10.0, number=1)
    day.print("09:31:00", 10.5, number=2)
    day.print("09:31:01", 9.0, number=3)
    day.correct("09:31:01", 9.0, number=3)
    assert day.known("seen") == 10.5
    assert day.print("09:31:02", 10.6, number=4) == 0


def test_case_17_a_cancel_of_an_unknown_trade_is_taken_from_the_totals_and_counted() -> None:
    day = Corrected()
    day.print("09:31:01", 10.0, 500.0, number=1)
    day.until("09:31:10")
    assert day.correct("09:31:00", 10.0, size=200.0, number=99) == {}
    day.until("09:31:19")
    assert (day.known("volume_market"), day.counted("unknown")) == (500.0, 0)
    out = day.h.clock(ns("09:31:20"))["bars.corrected"]
    assert (out["is_exact"].tolist(), day.counted("unknown")) == ([0], 1)
    assert day.known("volume_market") == 300.0
    assert day.until("09:32")["volume"] == [300.0]


def test_case_18_a_cancel_in_a_closed_bar_revises_it_at_the_next_clock() -> None:
    day = Corrected()
    for second, price in ((1, 10.0), (2, 14.0), (3, 11.0)):
        day.print(f"09:31:0{second}", price, number=second)
    assert (day.until("09:32")["high"], day.known("day_high")) == ([14.0], 14.0)
    day.print("09:32:01", 12.0, number=4)
    day.correct("09:31:02", 14.0, number=2)
    bars = day.until("09:32:02")
    assert (bars["high"], bars["volume"], bars["revision"]) == ([11.0], [200.0], [1])
    assert day.known("day_high") == 12.0
    assert day.ask("09:32:03", "high", "volume", "volume_2m", "dollar_volume_daily") == [11.0, 200.0, 300.0, 3300.0]  # fmt: skip


def test_case_18_a_closed_bar_that_loses_its_only_price_is_flat_and_without_volume() -> None:
    day = Corrected()
    day.print("09:31:01", 10.0, number=1)
    day.until("09:32")
    day.print("09:32:01", 20.0, number=2)
    assert day.until("09:33")["close"] == [20.0]
    day.correct("09:32:01", 20.0, number=2)
    bars = day.until("09:33:01")
    assert (bars["open"], bars["close"], bars["volume"], bars["count"]) == ([10.0], [10.0], [0.0], [0])  # fmt: skip
    assert (day.known("last"), day.known("day_high")) == (10.0, 10.0)


def test_case_19_a_cancel_that_comes_before_its_trade_waits_ten_seconds_for_it() -> None:
    day = Corrected()
    day.rule("up", ("price", ">", 11.0))
    day.print("09:31:01", 10.0, number=1)
    day.until("09:31:02")
    day.correct("09:31:01.5", 12.0, number=2)
    day.until("09:31:11")
    assert day.print("09:31:01.5", 12.0, number=2) == 0
    assert (day.known("volume_market"), day.known("day_high"), day.known("last")) == (100.0, 10.0, 10.0)  # fmt: skip
    bars = day.until("09:32")
    assert (bars["high"], bars["volume"], day.counted("unknown")) == ([10.0], [100.0], 0)


def test_case_19_a_trade_that_comes_after_its_correction_is_right_from_the_start() -> None:
    day = Corrected()
    day.rule("up", ("price", ">", 11.0))
    day.print("09:31:01", 10.0, number=1)
    day.correct("09:31:01.5", 12.0, 10.2, number=2)
    assert day.print("09:31:01.5", 12.0, number=2) == 0
    assert (day.known("day_high"), day.known("last")) == (10.2, 10.2)
    assert day.until("09:32")["high"] == [10.2]


def test_case_20_a_bar_said_again_replaces_and_never_counts_twice() -> None:
    day = Corrected()
    for minute in (31, 32, 33):
        day.print(f"09:{minute}:01", 10.0, number=minute)
        day.until(f"09:{minute + 1}")
    day.print("09:32:30", 12.0, number=99)  # revises 09:32
    assert day.until("09:34:01")["revision"] == [1]
    names = ("volume_5m", "volume_avg_5m", "trade_count_5m", "vwap_5m")
    assert day.ask("09:34:02", *names) == [400.0, pytest.approx(400 / 3), 4.0, 10.5]
    assert day.known("c1m_n") == 3


def test_case_21_bars_of_ours_and_of_a_feed_are_compared_with_a_tolerance() -> None:
    ours = {
        "symbol": ["A", "A", "B"],
        "ts_ns": np.array([ns("09:31"), ns("09:32"), ns("09:31")]),
        "close": np.array([10.0, 11.0, 5.0]),
        "volume": np.array([100.0, 200.0, 0.0]),
        "vwap": np.array([10.0, 11.0, NAN]),
    }
    assert set(disagreement(ours, ours).values()) == {0.0}
    theirs = {
        "symbol": ["A", "B", "B"],
        "ts_ns": np.array([ns("09:31"), ns("09:31"), ns("09:32")]),
        "close": np.array([10.0, 5.0, 6.0]),
        "volume": np.array([80.0, 0.0, 10.0]),
        "vwap": np.array([10.0, 5.0, 6.0]),
    }
    found = disagreement(ours, theirs)
    assert found == pytest.approx({"missing": 1 / 3, "extra": 1 / 3, "close": 0.0, "volume": 0.2, "vwap": 0.0})  # fmt: skip
