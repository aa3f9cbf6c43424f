"""Cases 66 to 76: symbols that come and go, messages nobody knows, and when a rule fires."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import numpy as np
import pytest

from functions.rules import asked, compile_rules
from functions.rules.firing import why_not
from functions.scanner import STALE_NS
from runtime import telemetry
from runtime.frames import FRAME_BYTES_MAX, Frame, encode, texts
from tests.cases.exchange import ABOVE_10, DAY_NS, MINUTE_NS, SECOND_NS, SUBJECTS, Exchange, at

TEN = at(2026, 1, 6, 10, 0)  # a Tuesday
TRADES = SUBJECTS.record_of("ticks.trades")


def rule(when: str, **more: Any) -> dict[str, Any]:
    made = {"id": "r", "name": "R", "cooldown": 0, "when": when, **more}
    assert compile_rules(json.dumps({"rules": [made]})).faults == {}
    return made


CROSSES = rule("price crosses above 10")


def prices_fired(when: dict[str, Any], *prices: float) -> list[float]:
    """What fires of prints a second apart."""
    exchange = Exchange(when)
    for place, price in enumerate(prices):
        exchange.trade("A", TEN + place * SECOND_NS, price)
    return exchange.fired()


# -- 66


def test_case_66_a_symbol_that_first_trades_during_the_day_is_known_from_then_on() -> None:
    exchange = Exchange(ABOVE_10, CROSSES).trade("A", TEN, 9.0)
    exchange.trade("IPO", TEN + 60 * MINUTE_NS, 11.0)
    assert [(one["rule_id"], one["symbol"]) for one in exchange.alerts] == [("above", "IPO")]
    exchange.trade("IPO", TEN + 61 * MINUTE_NS, 9.5, 10.5)
    assert {one["rule_id"] for one in exchange.alerts} == {"above", "r"}


def test_case_66_a_symbol_that_is_no_longer_sent_leaves_the_lists_and_fires_nothing() -> None:
    quiet = rule("(volume_1m < 50) held for 6m")
    exchange = Exchange(quiet).trade("A", TEN, 9.0).trade("GONE", TEN, 9.0)
    exchange.trade("A", TEN + 60 * SECOND_NS, 9.1).clock(TEN + 90 * SECOND_NS)
    late_ns = TEN + STALE_NS + 200 * SECOND_NS
    exchange.trade("A", late_ns, 9.2).clock(late_ns + SECOND_NS)
    exchange.trade("A", late_ns + 2 * SECOND_NS, 9.3).clock(late_ns + 3 * SECOND_NS)
    assert {symbol for of in exchange.lists.values() for symbol in of} == {"A"}
    assert exchange.alerts == []


# -- 67, 68


def trade_message(**more: Any) -> bytes:
    frame = Frame({"ts_ns": np.array([TEN]), "price": np.array([11.0]), "size": np.array([1.0])}, ["A"], np.array([0]))  # fmt: skip
    return msgpack.packb({**msgpack.unpackb(encode(frame, TRADES)), **more})  # type: ignore[no-any-return]


def test_case_67_unknown_fields_are_counted_and_ignored() -> None:
    counter = telemetry.UNKNOWN_FIELDS.labels("ticks.trades")._value
    before, exchange = counter.get(), Exchange(ABOVE_10).clock(TEN)
    outputs = exchange.chain.run(1, "ticks.trades.0", trade_message(venue=b"x", mood="good"))
    assert "alerts" in {one.base for one in outputs}
    assert counter.get() == before + 2


def test_case_67_an_unknown_type_of_message_is_set_aside_and_the_next_is_read() -> None:
    exchange = Exchange(ABOVE_10).clock(TEN)
    (aside,) = exchange.chain.run(1, "ticks.nonsense.0", trade_message())
    assert aside.base == "dead"
    assert "alerts" in {one.base for one in exchange.chain.run(2, "ticks.trades.0", trade_message())}  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        trade_message().replace(b"\xa1A", b"\xa1\xff"),
        b'{"price": 11, "size": 1, "note": "\xff\xfe"}',
        trade_message()[:-3],
        b"",
        b"\x00" * 10_000_000,
        trade_message(note=b"x" * FRAME_BYTES_MAX),
    ],
    ids=["utf-8", "utf-8 in JSON", "truncated", "empty", "10 MB", "oversize"],
)
def test_case_68_what_cannot_be_read_is_set_aside_and_the_next_is_read(data: bytes) -> None:
    exchange = Exchange(ABOVE_10).clock(TEN)
    (aside,) = exchange.chain.run(1, "ticks.trades.0", data)
    assert aside.base == "dead"
    assert len(aside.data) <= FRAME_BYTES_MAX
    assert exchange.chain.table("scanner").rows == 0
    assert "alerts" in {one.base for one in exchange.chain.run(2, "ticks.trades.0", trade_message())}  # fmt: skip


# -- 69


def test_case_69_the_first_value_is_no_cross() -> None:
    assert prices_fired(CROSSES, 11.0, 9.0, 11.5) == [11.5]


def test_case_69_the_first_value_after_a_halt_or_a_days_start_is_no_cross() -> None:
    exchange = Exchange(CROSSES).trade("A", TEN, 9.0)
    exchange.status("A", TEN + SECOND_NS, 1).status("A", TEN + MINUTE_NS, 0)
    exchange.trade("A", TEN + MINUTE_NS + SECOND_NS, 11.0, 9.0)
    exchange.trade("A", TEN + DAY_NS, 11.0)
    assert exchange.fired() == []
    exchange.trade("A", TEN + DAY_NS + SECOND_NS, 9.0, 12.0)
    assert exchange.fired() == [12.0]


def test_case_69_a_print_that_may_set_no_price_is_no_value_before() -> None:
    exchange = Exchange(CROSSES).trade("A", TEN, 11.0).trade("A", TEN + SECOND_NS, 9.0, upd=1)
    assert exchange.trade("A", TEN + 2 * SECOND_NS, 11.0).fired() == []


# -- 70


@pytest.mark.parametrize(
    ("when", "price", "fires"),
    [
        ("price > 10.1", 10.1, False),
        ("price >= 10.1", 10.1, True),
        ("price > 0.3", 0.1 + 0.2, False),
        ("price >= 0.3", 0.3 - 1e-16, True),
        ("price == 0.3", 0.1 + 0.2, True),
        ("price != 0.3", 0.1 + 0.2, False),
        ("price > 10.1", 10.1001, True),
    ],
)
def test_case_70_binary_noise_decides_nothing(when: str, price: float, fires: bool) -> None:
    assert bool(prices_fired(rule(when), price)) is fires


# -- 71


def test_case_71_flapping_around_a_level_fires_once_until_it_was_left() -> None:
    flapping = (10.5, 9.9, 10.5, 9.9, 10.5, 9.4, 10.6)
    assert prices_fired(rule("price > 10 re-arms below 9.5"), *flapping) == [10.5, 10.6]
    assert len(prices_fired(rule("price > 10"), *flapping)) == 4


# -- 72


def test_case_72_a_cooldown_counts_event_time_is_not_prolonged_and_outlives_a_restart() -> None:
    exchange = Exchange(rule("price > 10", cooldown=4))
    for second in range(0, 10, 2):
        exchange.restart() if second == 2 else None
        exchange.trade("A", TEN + second * SECOND_NS, 9.0, 11.0 + second)
    assert exchange.fired() == [11.0, 15.0, 19.0]


# -- 73


def edit(exchange: Exchange, version: int, *rules: dict[str, Any]) -> Exchange:
    body = texts([json.dumps({"rules": list(rules)})])
    exchange.run("control", Frame({"version": np.array([version]), "body": body}))
    return exchange


def test_case_73_an_edited_rule_starts_clean_and_says_that_it_warms_up() -> None:
    exchange = Exchange(rule("(price > 10) held for 60s")).trade("A", TEN, 9.0, 11.0)
    exchange.trade("A", TEN + 50 * SECOND_NS, 11.1)
    edit(exchange, 2, rule("(price > 10.5) held for 60s"))
    exchange.trade("A", TEN + 70 * SECOND_NS, 11.2)
    assert exchange.fired() == []
    told = why(exchange, "A", TEN + 71 * SECOND_NS)
    assert (told["truth"], told["fires"]) == (None, False)
    assert told["conditions"][0]["why"] == "warming up"
    exchange.trade("A", TEN + 131 * SECOND_NS, 11.3)
    assert len(exchange.fired()) == 1


def why(exchange: Exchange, symbol: str, ts_ns: int) -> dict[str, Any]:
    """Why the rule does not fire at a time."""
    table = exchange.chain.table("scanner")
    moments = asked.at_clock(table, ts_ns, True, STALE_NS, table.row_of(symbol))
    return why_not(compile_rules(str(table["rules"])), "r", moments, table)


def test_case_61_a_rule_on_a_gapped_symbol_says_so() -> None:
    exchange = Exchange(rule("price > 10")).trade("A", TEN, 9.0)
    lost = {"ts_ns": [TEN + 1], "from_ns": [TEN + 1], "to_ns": [0], "what": [1], "repaired": [0]}
    exchange.send("ticks.gaps", ["A"], **lost).trade("A", TEN + SECOND_NS, 11.0)
    told = why(exchange, "A", TEN + 2 * SECOND_NS)
    assert told["truth"] is None
    assert "gapped" in told["leaves"][0]["why"]


# -- 74


def test_case_74_a_sequence_of_a_symbol_that_was_away_is_over() -> None:
    sequence = rule("price > 10 then price > 11 within 60s")
    assert prices_fired(sequence, 10.5, 11.5) == [11.5]
    exchange = Exchange(sequence).trade("A", TEN, 10.5)
    exchange.trade("B", TEN + 300 * SECOND_NS, 5.0)
    exchange.trade("A", TEN + 301 * SECOND_NS, 11.5)
    assert exchange.fired() == []
    exchange = Exchange(sequence).trade("A", TEN, 10.5)
    exchange.status("A", TEN + SECOND_NS, 1).status("A", TEN + 2 * SECOND_NS, 0)
    assert exchange.trade("A", TEN + 3 * SECOND_NS, 11.5).fired() == []


def test_case_74_a_symbol_that_left_the_rule_keeps_no_open_sequence() -> None:
    sequence = "price > 10 then price > 11 within 60s"
    exchange = Exchange(rule(sequence)).trade("A", TEN, 10.5)
    edit(exchange, 2, rule(sequence, symbols=["B"])).trade("A", TEN + SECOND_NS, 11.5)
    assert exchange.fired() == []


# -- 75


def test_case_75_whoever_takes_over_says_an_alert_with_the_same_id() -> None:
    exchange = Exchange(ABOVE_10).trade("A", TEN, 9.0)
    snapshot = exchange.chain.snapshot()
    first = exchange.trade("A", TEN + SECOND_NS, 11.0).alerts[-1]["id"]
    exchange.chain.restore(snapshot.meta, {snapshot.blob_id: snapshot.blob})
    again = exchange.trade("A", TEN + SECOND_NS, 11.0).alerts[-1]["id"]
    assert len(exchange.alerts) == 2
    assert first == again


# -- 76


@pytest.mark.parametrize(
    "when",
    [
        "float < 1000000 volume >= 0",
        "not (float > 1000000 volume >= 0)",
        "not (not (float < 1000000 volume >= 0))",
    ],
)
def test_case_76_what_is_not_known_is_never_true(when: str) -> None:
    exchange = Exchange(rule(when)).trade("A", TEN, 11.0)
    assert exchange.fired() == []
    assert why(exchange, "A", TEN + SECOND_NS)["truth"] is None
    exchange.fact("A", "float", 500_000.0).trade("A", TEN + SECOND_NS, 11.1)
    assert exchange.fired() == [11.1]
