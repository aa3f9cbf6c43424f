"""Cases 51 to 57: splits, dividends, renames, spellings, new and gone symbols, closes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from runtime.providers import backtest_events
from runtime.providers.file import FileProvider
from runtime.providers.history import known_in_time
from runtime.providers.instruments import Instruments
from runtime.providers.symbols import is_test, kind_of, normal
from tests.cases.exchange import ABOVE_10, DAY_NS, MINUTE_NS, SECOND_NS, Exchange, at, day_of

FRIDAY, MONDAY = day_of(2026, 1, 2), day_of(2026, 1, 5)
SPLIT = day_of(2026, 1, 6)
BEFORE = [(FRIDAY, 100.0, 1000.0), (MONDAY, 104.0, 2000.0)]


def told(exchange: Exchange, way: str, factor: float) -> Exchange:
    """History, and a split of Tuesday told as a bar's factor, as a fact, or both."""
    exchange.days("A", *BEFORE, factor=factor if way in ("bar", "both") else np.nan)
    if way in ("fact", "both"):
        exchange.fact("A", "split", factor, SPLIT)
    return exchange


# -- 51


@pytest.mark.parametrize("way", ["bar", "fact", "both"])
@pytest.mark.parametrize("factor", [0.5, 10.0, 2 / 3])
def test_case_51_a_split_scales_what_is_known_before_the_first_print(
    way: str, factor: float
) -> None:
    exchange = told(Exchange(), way, factor).clock(at(2026, 1, 6, 4, 0))
    exchange.trade("A", at(2026, 1, 6, 4, 0), 104.0 * factor)
    names = ("change_from_close", "change_pct_2d", "avg_volume_5d")
    assert exchange.ask("A", *names) == {
        "change_from_close": pytest.approx(0.0, abs=1e-6),
        "change_pct_2d": pytest.approx(4.0, abs=1e-5),
        "avg_volume_5d": None,
    }
    assert exchange.state("c1d_volume", "A")[:2] == pytest.approx([1000 / factor, 2000 / factor])


@pytest.mark.parametrize("way", ["bar", "fact", "both"])
@pytest.mark.parametrize("clock", [(2026, 1, 5, 21, 0), (2026, 1, 6, 9, 0)])
def test_case_51_a_split_learnt_when_its_day_had_begun_counts_at_once(
    way: str, clock: tuple[int, ...]
) -> None:
    exchange = Exchange().trade("A", at(2026, 1, 5, 15, 59), 104.0).clock(at(*clock))
    told(exchange, way, 0.5).trade("A", at(2026, 1, 6, 9, 30), 52.0)
    assert exchange.ask("A", "change_from_close", "change_pct_2d") == {
        "change_from_close": 0.0,
        "change_pct_2d": 4.0,
    }


@pytest.mark.parametrize("way", ["bar", "fact", "both"])
def test_case_51_what_is_told_again_counts_once(way: str) -> None:
    exchange = told(Exchange(), way, 0.5).clock(at(2026, 1, 6, 4, 0))
    told(exchange, way, 0.5).clock(at(2026, 1, 6, 8, 0))
    exchange.trade("A", at(2026, 1, 6, 9, 30), 52.0)
    told(exchange.restart(), way, 0.5)
    assert exchange.ask("A", "change_from_close", "change_pct_2d") == {
        "change_from_close": 0.0,
        "change_pct_2d": 4.0,
    }
    told(exchange.clock(at(2026, 1, 7, 9, 30)), way, 0.5).trade("A", at(2026, 1, 7, 9, 31), 52.0)
    assert exchange.ask("A", "change_from_close", "change_pct_2d") == {
        "change_from_close": 0.0,
        "change_pct_2d": 0.0,
    }


def test_case_51_a_split_of_a_day_to_come_waits_for_it() -> None:
    exchange = Exchange().days("A", *BEFORE).fact("A", "split", 0.5, day_of(2026, 1, 8))
    for day, price, change in ((6, 104.0, 0.0), (7, 104.0, 0.0), (8, 53.0, 1.0)):
        exchange.trade("A", at(2026, 1, day, 9, 30), price)
        assert exchange.ask("A", "change_from_close") == change


def test_case_51_splits_of_years_ago_adjust_a_history_told_as_traded() -> None:
    exchange = Exchange()
    exchange.days("A", (day_of(2024, 1, 2), 400.0, 100.0)).fact(
        "A", "split", 0.5, day_of(2024, 1, 3)
    )
    exchange.days("A", (day_of(2024, 1, 3), 200.0, 200.0)).fact(
        "A", "split", 0.5, day_of(2024, 1, 4)
    )
    exchange.days("A", (day_of(2024, 1, 4), 101.0, 400.0)).trade("A", at(2026, 1, 6, 10, 0), 101.0)
    assert exchange.state("c1d_close", "A")[:3].tolist() == [100.0, 100.0, 101.0]
    assert exchange.state("c1d_volume", "A")[:3].tolist() == [400.0, 400.0, 400.0]


def test_case_51_minutes_and_their_indicators_are_scaled_with_the_day() -> None:
    exchange = Exchange()
    for minute in range(30):
        exchange.trade("A", at(2026, 1, 5, 15, 20) + minute * MINUTE_NS, 100.0 + minute % 3)
    exchange.clock(at(2026, 1, 5, 16, 0)).fact("A", "split", 0.5, SPLIT)
    exchange.clock(at(2026, 1, 6, 4, 0))
    before = exchange.ask("A", "ema_9", "rsi_14", "atr_14", "volume_avg_5m")
    exchange.trade("A", at(2026, 1, 6, 9, 30), 50.5).clock(at(2026, 1, 6, 9, 31))
    after = exchange.ask("A", "ema_9", "rsi_14", "atr_14")
    assert before["ema_9"] == pytest.approx(50.5, abs=0.5)
    assert after["ema_9"] == pytest.approx(50.5, abs=0.5)  # not fifty points of a fall in it
    assert after["rsi_14"] == pytest.approx(50, abs=15)
    assert after["atr_14"] < 2
    assert before["volume_avg_5m"] in (None, 200.0)


def test_case_51_history_that_reaches_further_back_takes_the_place_of_a_shorter_one() -> None:
    exchange = Exchange()
    for day in (5, 6):
        exchange.trade("A", at(2026, 1, day, 15, 0), 100.0 + day)
    exchange.clock(at(2026, 1, 7, 9, 0))
    older = [(day_of(2025, 12, 1) + k * DAY_NS, 50.0 + k, 1e6) for k in range(30)]
    recent = [(MONDAY, 105.0, 1e6), (SPLIT, 106.0, 1e6)]
    for _ in range(2):
        exchange.days("A", *older, *recent)
        assert exchange.state("c1d_n", "A") == 32
        assert exchange.ask("A", "avg_volume_20d") == 1e6
    exchange.trade("A", at(2026, 1, 7, 9, 30), 107.0)
    assert exchange.ask("A", "change_from_close") == 1.0


def test_case_51_one_frame_and_many_say_the_same() -> None:
    n = 40
    when = [day_of(2025, 11, 3) + k * DAY_NS for k in range(n)]
    close = [100.0 + k for k in range(n)]
    factor = [0.5 if k in (10, 30) else np.nan for k in range(n)]
    whole = Exchange()
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    whole.send("ticks.daily", ["A"] * n, ts_ns=when, volume=[1e3] * n, factor=factor, **prices)
    parts = Exchange()
    for k in range(n):
        parts.days("A", (when[k], close[k], 1e3), factor=factor[k])
    assert whole.chain.snapshot().blob == parts.chain.snapshot().blob
    slow = [c * 0.5 ** sum(split >= k for split in (10, 30)) for k, c in enumerate(close)]
    assert whole.state("c1d_close", "A")[:n].tolist() == slow


# -- 52


def test_case_52_a_dividend_leaves_the_gap_as_it_traded() -> None:
    exchange = Exchange().days("A", *BEFORE).fact("A", "dividend", 2.0, SPLIT)
    exchange.trade("A", at(2026, 1, 6, 9, 30), 102.0)
    assert exchange.ask("A", "gap_from_close", "change_from_close") == {
        "gap_from_close": -2.0,
        "change_from_close": -2.0,
    }


# -- 53


def test_case_53_a_rename_carries_history_and_facts_to_the_new_symbol(tmp_path: Path) -> None:
    daily, facts = tmp_path / "daily.csv", tmp_path / "facts.csv"
    daily.write_text(
        "symbol,date,open,high,low,close,volume\n"
        "FB,2022-06-07,190,200,180,195,1000\nFB,2022-06-08,195,200,190,196.6,2000\n"
    )
    facts.write_text(
        "symbol,name,value,ts_ns\n"
        f"FB,float,2000000000,{day_of(2022, 6, 1)}\nMETA,rename:FB,1,{day_of(2022, 6, 9)}\n"
    )
    exchange = Exchange().clock(at(2022, 6, 9, 9, 0))
    for _ in range(2):  # a feed that starts again tells everything again
        for _, batch in known_in_time([daily], [facts]):
            symbols = [batch.symbols[k] for k in batch.index]  # type: ignore[union-attr]
            exchange.send(batch.base, symbols, **batch.columns)
    exchange.trade("META", at(2022, 6, 9, 9, 30), 197.6)
    assert exchange.ask("META", "change_from_close", "float", "change_pct_2d") == {
        "change_from_close": 1.0,
        "float": 2e9,
        "change_pct_2d": pytest.approx(100 * (197.6 / 195 - 1)),
    }
    exchange.trade("FB", at(2022, 6, 9, 9, 30), 25.0)  # a fund that took the letters over
    assert exchange.ask("FB", "change_from_close", "float", "change_pct_2d") == {
        "change_from_close": None,
        "float": None,
        "change_pct_2d": None,
    }


def test_case_53_a_symbol_used_again_starts_clean_in_every_column() -> None:
    exchange = Exchange(ABOVE_10).days("A", *BEFORE).trade("A", at(2026, 1, 5, 10, 0), 104.0)
    exchange.clock(at(2026, 1, 5, 10, 1), at(2026, 1, 6, 0, 0)).fact("A", "ended", 1.0, SPLIT)
    for function in ("scanner", "indicators"):
        table = exchange.chain.table(function)
        kept = {name for name, column in table.columns().items() if not isinstance(column, str) and column[0].any()}  # fmt: skip
        assert kept <= {"market", "since_day", "ring_low"}  # an empty low is infinite
    exchange.trade("A", at(2026, 1, 6, 10, 0), 20.0).fact("A", "ended", 1.0, SPLIT)
    assert exchange.state("last", "A") == 20.0


@pytest.mark.parametrize(
    ("spelled", "here", "kind"),
    [
        *((one, "BRK.B", "class") for one in ("BRK.B", "BRK/B", "BRK B", "BRK-B")),
        *((one, "BAC.PRL", "preferred") for one in ("BAC.PRL", "BAC PRL", "BAC/PRL", "BAC-PL", "BACpL")),
        *((one, "ABCD.U", "unit") for one in ("ABCD.U", "ABCD/U", "ABCD.UN", "ABCD=")),
        *((one, "ABCD.WS", "warrant") for one in ("ABCD.WS", "ABCD/WS", "ABCD WT", "ABCD+", "ABCD.W")),
        ("ABCD.WS.A", "ABCD.WS.A", "warrant"),
        *((one, "ABCD.RT", "right") for one in ("ABCD.RT", "ABCD RT", "ABCD^", "ABCD.R")),
        *((one, "ABCD.WI", "when issued") for one in ("ABCD.WI", "ABCD WI", "ABCD*")),
        ("ABCDW", "ABCDW", "warrant"),
        ("ABCDU", "ABCDU", "unit"),
        ("ABCDR", "ABCDR", "right"),
        ("ABCDV", "ABCDV", "when issued"),
        ("GOOGL", "GOOGL", "common"),
        ("F", "F", "common"),
        ("SAP.DE", "SAP.DE", "common"),
        *((one, one, "common") for one in ("BTC-USD", "BTC/USD", "ETH-USDT", "BTCUSDT.SPOT")),
        *((one, one, "test") for one in ("ZVZZT", "ZWZZT", "ZXYZ.A", "NTEST", "NTEST.A", "ZTEST")),
    ],
)  # fmt: skip
def test_case_53_one_spelling_for_every_feeds(spelled: str, here: str, kind: str) -> None:
    assert normal(spelled) == here
    assert normal(here) == here
    assert kind_of(here) == kind
    assert is_test(here) == (kind == "test")


def test_case_53_a_file_is_read_in_one_spelling_and_without_test_symbols(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    rows = "".join(f"{s},{at(2026, 1, 6, 10, 0)},20,100\n" for s in ("BRK B", "ZVZZT", "BRK/B", "NTEST.A", "A"))  # fmt: skip
    file.write_text("symbol,ts_ns,price,size\n" + rows, encoding="utf-8")
    exchange = Exchange(ABOVE_10)
    for base, frame in backtest_events([str(file)], lambda *_: None):
        exchange.run(base, frame)
    assert sorted(alert["symbol"] for alert in exchange.alerts) == ["A", "BRK.B"]
    assert FileProvider([file]).trades == 3


# -- 54


def test_case_54_an_ipo_has_no_prior_close_and_no_change_from_it() -> None:
    exchange = Exchange().trade("OLD", at(2026, 1, 5, 15, 0), 9.0)
    exchange.clock(at(2026, 1, 6, 9, 30)).status("IPO", at(2026, 1, 6, 9, 30), action="H", reason="IPO1")  # fmt: skip
    first = at(2026, 1, 6, 12, 47)
    exchange.status("IPO", first, action="T").trade("OLD", first, 9.9).trade(
        "IPO", first, 30.0, 31.0
    )
    names = ("change_from_close_pct", "gap_from_close", "change_from_open", "minutes_in_market")
    assert exchange.ask("IPO", *names) == {
        "change_from_close_pct": None,
        "gap_from_close": None,
        "change_from_open": 1.0,
        "minutes_in_market": 197.0,
    }
    exchange.clock(first + SECOND_NS)
    assert exchange.lists["gainers_1d"] == ["OLD"]
    assert exchange.lists["volume_1d"] == ["IPO", "OLD"]


# -- 55


def test_case_55_who_is_delisted_leaves_the_lists_and_its_state_stays_until_it_ends() -> None:
    exchange = Exchange().trade("A", at(2026, 1, 6, 10, 0), 9.0)
    exchange.clock(at(2026, 1, 6, 10, 4))
    assert exchange.lists["volume_1d"] == ["A"]
    exchange.status("A", at(2026, 1, 6, 10, 4), action="H", reason="D")
    exchange.clock(at(2026, 1, 6, 16, 0))
    assert exchange.lists["volume_1d"] == ["A"]  # halted today: not stale yet
    exchange.clock(at(2026, 1, 7, 10, 0))
    assert exchange.lists == {}
    assert exchange.state("prev_close", "A") == 9.0
    exchange.fact("A", "ended", 1.0, day_of(2026, 1, 7))
    assert exchange.state("prev_close", "A") == 0.0


# -- 56


def test_case_56_an_instrument_id_means_what_it_meant_at_the_events_time() -> None:
    ten = at(2026, 1, 6, 10, 0)
    known = Instruments()
    known.add(7, "OLD", 0, ten)
    known.add(7, "NEW", ten, ten + MINUTE_NS)
    known.add(8, "OTHER", 0)
    assert [known.symbol_at(7, t) for t in (ten - 1, ten, ten + MINUTE_NS)] == ["OLD", "NEW", None]
    assert known.symbol_at(9, ten) is None
    found = known.symbols_at(np.array([7, 7, 8, 9]), np.array([ten - 1, ten, ten, ten]))
    assert found.tolist() == ["OLD", "NEW", "OTHER", None]


def test_case_56_any_order_of_mappings_is_the_same_map() -> None:
    mappings = [(7, "A", 0, 50), (7, "B", 20, 40), (7, "C", 45, 60), (7, "C", 45, 60)]
    times = np.arange(70)
    expected = ["A"] * 20 + ["B"] * 20 + ["A"] * 5 + ["C"] * 15 + [None] * 10  # type: ignore[list-item]
    for order in itertools.permutations(mappings):
        known = Instruments()
        for mapping in order:
            known.add(*mapping)
        assert known.symbols_at(np.full(70, 7), times).tolist() == expected
        assert [known.symbol_at(7, int(t)) for t in times] == expected


# -- 57


def test_case_57_the_prior_close_is_the_official_one_not_the_last_print() -> None:
    exchange = Exchange().trade("A", at(2026, 1, 5, 15, 59), 9.0)
    exchange.trade("A", at(2026, 1, 5, 16, 2), 9.1, upd=16)
    exchange.trade("A", at(2026, 1, 5, 19, 50), 12.0)
    exchange.trade("A", at(2026, 1, 6, 9, 30), 9.6)
    assert exchange.ask("A", "change_from_close") == 0.5


def test_case_57_a_close_told_afterwards_replaces_what_the_prints_made_of_it() -> None:
    exchange = Exchange().trade("A", at(2026, 1, 5, 15, 59), 9.0)
    exchange.clock(at(2026, 1, 6, 4, 0)).days("A", (MONDAY, 9.2, 1e6))
    exchange.trade("A", at(2026, 1, 6, 9, 30), 9.6)
    assert exchange.ask("A", "change_from_close") == pytest.approx(0.4)
    assert exchange.state("c1d_n", "A") == 1


def test_case_57_a_bar_of_the_running_day_is_no_prior_close() -> None:
    exchange = Exchange().days("A", (MONDAY, 9.0, 1e6)).trade("A", at(2026, 1, 6, 9, 30), 9.6)
    exchange.days("A", (SPLIT, 9.5, 1e6)).clock(at(2026, 1, 6, 9, 31))
    assert exchange.ask("A", "change_from_close") == pytest.approx(0.6)
