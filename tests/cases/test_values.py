"""Numbers as vendors send them, and what they are in the end: market cases 22 to 29."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.alerts import alerts
from functions.bars import bars
from functions.indicators import indicators
from functions.scanner import scanner
from runtime.frames import BadFrame, Frame, decode, encode
from runtime.providers.file import FileProvider
from runtime.providers.numbers import I64_MAX, U32_MAX, U64_MAX, BadNumber, ns_of, price_of, size_of
from runtime.shapes import alert_shapes
from runtime.subjects import load_subjects
from runtime.tables import TableError, read_trades
from runtime.testing import Harness
from runtime.testing.harness import SUBJECTS_FILE
from tests.cases.printed import SECOND_NS, Day, ns

TRADES = load_subjects(SUBJECTS_FILE).record("trades")
T0 = ns("09:30")
BAD_PRICES = [
    0,
    -1,
    0.0,
    -0.01,
    math.nan,
    math.inf,
    "",
    "NaN",
    "x",
    None,
    True,
    [],
    I64_MAX,
    U64_MAX,
]


# -- 22


@pytest.mark.parametrize("value", BAD_PRICES)
def test_case_22_what_is_no_price_is_refused_with_a_reason(value: Any) -> None:
    with pytest.raises(BadNumber, match="price: expected"):
        price_of(value)


def test_case_22_the_largest_integer_stands_for_no_value_in_any_unit() -> None:
    assert price_of(187_230_000_000, 1e-9) == 187.23
    for value, unit in ((I64_MAX, 1e-9), (float(I64_MAX), 1.0), (I64_MAX * 1e-9, 1.0)):
        with pytest.raises(BadNumber):
            price_of(value, unit)
    for value in (U32_MAX, -1, None, math.nan, U64_MAX):
        with pytest.raises(BadNumber, match="size: expected"):
            size_of(value)


def test_case_22_a_size_of_0_with_a_fraction_beside_it_is_accepted() -> None:
    assert size_of(0, "0.25") == 0.25
    assert size_of(0) == 0.0  # an official open or close has no size
    day = Day()
    day.trade("09:30:01", 10.0, size_of(0, "0.25"))
    assert day.ask("09:30:02", "volume_daily", "dollar_volume_daily") == [0.25, 2.5]


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf, I64_MAX * 1e-9, float(I64_MAX)])
def test_case_22_a_frame_with_such_a_price_is_refused_and_a_partition_goes_on(price: float) -> None:
    h = Harness(bars, indicators, scanner, expect_dead=True)
    bad = h.frame("ticks.trades", symbol=["A"], ts_ns=[T0], price=[price], size=[1.0])
    h.publish("ticks.trades", encode(bad, TRADES))
    assert b"price: expected" in h.dead[0].data
    h.send("ticks.trades", symbol=["A"], ts_ns=[T0], price=[10.0], size=[1.0])
    assert h.state("scanner")["last"].tolist() == [10.0]
    assert len(h.dead) == 1


def test_case_22_a_trade_by_hand_without_a_value_is_refused() -> None:
    for message in ({"size": 1}, {"price": None, "size": 1}, {"price": 10.0}, {"price": "10", "size": 1}):  # fmt: skip
        with pytest.raises(BadFrame):
            decode(json.dumps(message).encode(), TRADES, "A", T0)
    with pytest.raises(BadFrame, match="ts_ns: expected <"):
        decode(json.dumps({"price": 10.0, "size": 1, "ts_ns": I64_MAX}).encode(), TRADES, "A", T0)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (f"A,{T0},0,100", "price above 0"),
        (f"A,{T0},nan,100", "price above 0"),
        (f"A,{T0},,100", "expected a value, found none"),
        (f"A,{T0},{I64_MAX},100", "price above 0"),
        (f"A,{T0},10,{U32_MAX}", "size from 0"),
        (f"A,{T0},10,-1", "size from 0"),
        (f"A,{I64_MAX},10,100", "nanoseconds since 1970"),
    ],
)
def test_case_22_a_file_with_such_a_value_is_refused_with_its_row(
    tmp_path: Path, row: str, says: str
) -> None:
    file = tmp_path / "trades.csv"
    file.write_text(f"symbol,ts_ns,price,size\nA,{T0},10.5,100\n{row}\n")
    with pytest.raises(TableError, match="row 2") as caught:
        read_trades(file)
    assert says in str(caught.value)


# -- 23, 24


def test_case_23_fractional_sizes_stay_fractions_to_the_end(tmp_path: Path) -> None:
    file = tmp_path / "trades.csv"
    rows = [f"BTC-USD,{T0 + k},64000.5,{size}" for k, size in enumerate(("0.00015", "1", "0.5"))]
    file.write_text("symbol,ts_ns,price,size\n" + "\n".join(rows) + "\n")
    sizes = [
        b.columns["size"].tolist() for b in FileProvider([file]).batches() if b.kind == "trades"
    ]
    assert sizes == [[0.00015, 1.0, 0.5]]
    assert [size_of(one) for one in ("0.00015", 1, 0.5, "1e-8")] == [0.00015, 1.0, 0.5, 1e-8]
    day = Day()
    for second, size in enumerate(sizes[0]):
        day.trade(f"09:30:0{second}", 64000.5, size, symbol="BTC-USD")
    assert day.ask("09:30:05", "volume_daily", symbol="BTC-USD") == [1.50015]
    assert day.until("09:31")["volume"] == [1.50015]


def test_case_24_prices_below_a_cent_and_above_four_hundred_thousand_are_exact(
    tmp_path: Path,
) -> None:
    prices = [0.0001, 0.00015, 0.5, 742_345.51, 429_496.7296 + 1]
    assert [price_of(repr(one)) for one in prices] == prices
    assert price_of(742_345_510_000_000, 1e-9) == 742_345.51
    symbols = [f"S{k}" for k in range(len(prices))]
    h = Harness(bars, indicators, scanner)
    h.send("ticks.trades", symbol=symbols, ts_ns=[T0] * 5, price=prices, size=[1.0] * 5)
    assert h.clock(T0 + 60 * SECOND_NS)["bars.final"]["close"].tolist() == prices
    assert h.state("scanner")["day_high"].tolist() == prices
    file = tmp_path / "trades.csv"
    rows = "".join(f"S{k},{T0},{price!r},1\n" for k, price in enumerate(prices))
    file.write_text("symbol,ts_ns,price,size\n" + rows)
    assert read_trades(file)["price"].tolist() == prices


# -- 25


def test_case_25_a_fat_finger_fires_nothing_and_moves_no_high_until_a_second_has_passed() -> None:
    day = Day(outliers="hold")
    day.rule("high", ("dist_to_high_of_day_pct", "<=", 0))
    assert day.trade("09:30:01", 20.0) == ["high"]
    assert day.trade("09:30:01.1", 19.99) == []
    assert day.trade("09:30:02.5", 29.0) == []
    assert (day.known("day_high"), day.known("last")) == (20.0, 19.99)
    assert day.trade("09:30:02.6", 19.98) == []
    assert day.known("volume_market") == 400.0
    day.until("09:30:03")
    assert day.known("day_high") == 20.0
    day.until("09:30:04")
    assert (day.known("day_high"), day.known("last")) == (29.0, 19.98)


def test_case_25_a_second_print_confirms_a_move_at_once() -> None:
    day = Day(outliers="hold")
    day.rule("high", ("dist_to_high_of_day_pct", "<=", 0))
    day.trade("09:30:01", 20.0)
    day.trade("09:30:01.5", 19.9)
    assert day.trade("09:30:02.1", 29.0) == []
    assert day.trade("09:30:02.2", 29.1) == ["high"]
    assert (day.known("day_high"), day.known("last")) == (29.1, 29.1)


def test_case_25_quotes_at_the_new_price_make_it_no_outlier() -> None:
    day = Day(outliers="hold")
    day.rule("high", ("dist_to_high_of_day_pct", "<=", 0))
    day.trade("09:30:01", 20.0)
    day.trade("09:30:01.5", 19.9)
    day.quote("09:30:02", 28.9, 29.1)
    assert day.trade("09:30:02.1", 29.0) == ["high"]


def test_case_25_an_outlier_that_nothing_follows_is_the_last_price_after_a_second() -> None:
    day = Day(outliers="hold")
    day.trade("09:30:01", 20.0)
    day.trade("09:30:02.1", 29.0)
    assert day.ask("09:30:03", "price") == [20.0]
    assert day.ask("09:30:04", "price", "range_today") == [29.0, 9.0]


def test_case_25_after_a_halt_and_at_the_open_there_is_nothing_to_compare_with() -> None:
    day = Day(outliers="hold")
    day.trade("09:29:00", 10.0, conditions="T")
    day.trade("09:30:01", 20.0)
    assert (day.known("open_market"), day.known("last")) == (20.0, 20.0)
    day.h.send("ticks.status", symbol=["AAA"], ts_ns=[ns("09:31")], code=[1])
    day.h.send("ticks.status", symbol=["AAA"], ts_ns=[ns("09:36")], code=[0])
    day.trade("09:36:01", 30.0)
    assert day.known("last") == 30.0


# -- 26


def test_case_26_integers_a_browser_cannot_hold_reach_it_as_texts() -> None:
    trade_id = 2**53 + 1
    values = json.dumps({"metrics": {"price": 10.0}, "trade_ids": [trade_id, 7]})
    out = Harness(alerts).send("alerts", symbol=["A"], ts_ns=[T0], price=[10.0], values=[values])
    alert = alert_shapes(out["alerts.filtered"])[0]
    heard = json.loads(json.dumps(alert), parse_int=float)  # as JavaScript reads it
    assert heard["metadata"]["trade_ids"] == [str(trade_id), 7.0]
    assert isinstance(heard["id"], str)
    assert heard["timestamp"] == "2026-01-06T14:30:00.000000000Z"


def test_case_26_ids_of_trades_are_exact_on_the_wire() -> None:
    ids = [2**53 + 1, 2**63 - 2]
    columns = {"ts_ns": np.array([T0, T0]), "price": np.ones(2), "size": np.ones(2)}
    frame = Frame({**columns, "id": np.array(ids)}, ["A"], np.zeros(2, dtype=np.int64))
    assert decode(encode(frame, TRADES), TRADES)["id"].tolist() == ids


# -- 27


def sums(price: np.ndarray[Any, Any], size: np.ndarray[Any, Any]) -> tuple[float, float]:
    """(VWAP of the chain over all prints, the same with sums that are exact to the last bit)."""
    h = Harness(bars, indicators, scanner)
    at = ns("10:00") + np.arange(len(price)) * 15_000  # a million within 15 s: no print is late
    for start in range(0, len(price), 50_000):
        rows = slice(start, start + 50_000)
        columns = {"ts_ns": at[rows], "price": price[rows], "size": size[rows]}
        outputs = h.chain.run_frame("ticks.trades", Frame(columns, ["A"], np.zeros(len(columns["size"]), np.int64)))  # fmt: skip
        assert not [one for one in outputs if one.base == "dead"]
    state = h.state("scanner")
    found = state["notional_market"][0] / state["volume_market"][0]
    return float(found), math.fsum((price * size).tolist()) / math.fsum(size.tolist())


def test_case_27_vwap_of_a_million_prints_has_not_drifted() -> None:
    draw = np.random.default_rng(1)
    price = np.round(187.23 * np.exp(np.cumsum(draw.normal(0, 1e-5, 10**6))), 2)
    for size in (draw.integers(1, 500, 10**6).astype(float), draw.exponential(0.3, 10**6)):
        found, exact = sums(price, size)
        assert abs(found / exact - 1.0) < 1e-12


def test_case_27_a_million_equal_prints_round_the_same_way_and_stay_far_below_a_tick() -> None:
    found, exact = sums(np.full(10**6, 64_000.37), np.full(10**6, 0.001))
    assert abs(found / exact - 1.0) < 1e-10
    assert abs(found - exact) < 0.01 / 1000


# -- 28, 29


def test_case_28_the_unit_of_a_time_follows_from_its_magnitude() -> None:
    at = ns("09:30:00.123456789")
    sent = [at // 10**9, at // 10**6, at // 10**3, at]
    units = [10**9, 10**6, 10**3, 1]
    assert [ns_of(one, T0) for one in sent] == [at // unit * unit for unit in units]
    assert ns_of(str(sent[1]), T0) == sent[1] * 10**6
    assert ns_of(at // 10**6 / 1e3, T0) == at // 10**6 * 10**6  # seconds with a fraction


@pytest.mark.parametrize(
    "value", [0, -1, 10**20, U64_MAX, I64_MAX, None, True, math.nan, T0 + 86_400_000_000_001]
)
def test_case_28_a_time_that_is_none_or_over_a_day_away_is_refused(value: Any) -> None:
    with pytest.raises(BadNumber, match="time: expected"):
        ns_of(value, T0)


@given(st.integers(-86_400, 86_400), st.integers(0, 999_999_999))
def test_case_28_any_time_within_a_day_is_understood_in_every_unit(second: int, part: int) -> None:
    at = T0 + second * 10**9
    for unit in (10**9, 10**6, 10**3, 1):
        exact = (at + part) // unit * unit
        if abs(exact - T0) <= 86_400 * 10**9:
            assert ns_of(exact // unit, T0) == exact


@pytest.mark.parametrize("digits", range(10))
def test_case_29_rfc_3339_has_none_to_nine_digits_of_a_second(digits: int) -> None:
    fraction = "123456789"[:digits]
    text = "2026-01-06T14:30:00" + (f".{fraction}" if digits else "")
    exact = T0 + int(fraction.ljust(9, "0"))
    assert ns_of(text + "Z", T0) == exact
    assert ns_of(text + "+00:00", T0) == exact
    assert ns_of(text.replace("T14", "t09") + "-05:00", T0) == exact


@pytest.mark.parametrize(
    "text",
    ["2026-01-06", "2026-01-06T14:30:00", "2026-01-06T14:30:00.Z", "2026-01-06T14:30:00.1234567891Z", "2026-13-06T14:30:00Z", "2026-01-06T14:30:60Z", "２026-01-06T14:30:00Z", ""],
)  # fmt: skip
def test_case_29_what_is_not_rfc_3339_is_refused(text: str) -> None:
    with pytest.raises(BadNumber, match="time"):
        ns_of(text, T0)


def test_case_29_timestamps_of_msgpack_have_32_64_or_96_bits() -> None:
    second, part = T0 // 10**9, 123_456_789
    sent = {
        b"\xd6\xff" + second.to_bytes(4, "big"): T0,
        b"\xd7\xff" + (part << 34 | second).to_bytes(8, "big"): T0 + part,
        b"\xc7\x0c\xff" + part.to_bytes(4, "big") + second.to_bytes(8, "big"): T0 + part,
    }
    assert {data: ns_of(msgpack.unpackb(data), T0) for data in sent} == sent
