"""The scanner asks compiled rules: at prints, at clock events, over halts, and tells why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from functions.bars import bars
from functions.indicators import indicators
from functions.rules import asked, compile_rules
from functions.rules.firing import why_not
from functions.scanner import scanner
from runtime.testing import Harness

T0 = 1_767_623_400_000_000_000  # Monday, 09:30 in New York
SECOND_NS = 10**9


def hosted(when: str, version: int = 1, h: Harness | None = None, **more: Any) -> Harness:
    h = h or Harness(bars, indicators, scanner)
    rule = {"id": "r", "name": "R", "cooldown": 0, "when": when, **more}
    h.send("control", version=[version], body=[json.dumps({"rules": [rule]})])
    return h


def alerts(h: Harness, *prices: float, at_s: int = 0) -> list[dict[str, Any]]:
    """Alerts of one print a second."""
    count = len(prices)
    out = h.send(
        "ticks.trades",
        symbol=["A"] * count,
        ts_ns=[T0 + (at_s + k) * SECOND_NS for k in range(count)],
        price=prices,
        size=[100.0] * count,
        id=[700 + at_s + k for k in range(count)],
    )
    return told(out)


def told(out: Any) -> list[dict[str, Any]]:
    if "alerts" not in out:
        return []
    frame = out["alerts"]
    names = ("ts_ns", "price", "kind", "strength", "explain", "causes", "id")
    columns = [frame[name].tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def test_an_alert_tells_its_strength_its_leaves_and_its_trade() -> None:
    (alert,) = alerts(hosted("price > 10"), 9.0, 11.0)
    assert (alert["kind"], alert["strength"]) == ("fired", pytest.approx(0.1))
    assert json.loads(alert["explain"])["leaves"] == [
        {
            "text": "price > 10",
            "value": 11.0,
            "threshold": 10.0,
            "truth": True,
            "margin": pytest.approx(0.1),
        }
    ]
    assert json.loads(alert["causes"]) == {"stream": "MARKET", "trade_ids": [701]}


def test_what_was_held_long_enough_fires_at_the_clock_at_the_last_price() -> None:
    h = hosted("(price > 10) held for 20s")
    assert alerts(h, 9.0, 11.0) == []
    assert told(h.clock(T0 + 20 * SECOND_NS)) == []
    (alert,) = told(h.clock(T0 + 21 * SECOND_NS))
    assert (alert["ts_ns"], alert["price"]) == (T0 + 21 * SECOND_NS, 11.0)
    assert told(h.clock(T0 + 22 * SECOND_NS)) == []


def test_a_stale_symbol_fires_nothing_at_the_clock() -> None:
    h = hosted("(price > 10) held for 400s")
    alerts(h, 9.0, 11.0)
    fired = [told(h.clock(T0 + second * SECOND_NS)) for second in range(60, 900, 60)]
    assert fired == [[]] * 14


def test_the_first_print_after_a_halt_is_no_cross() -> None:
    def halted(code: int) -> list[int]:
        h = hosted("price crosses above 10")
        alerts(h, 9.0)
        for second, said in ((1, code), (2, 0)):
            h.send("ticks.status", symbol=["A"], ts_ns=[T0 + second * SECOND_NS], code=[said])
        return [one["ts_ns"] for one in alerts(h, 11.0, 9.0, 11.0, at_s=3)]

    assert halted(1) == [T0 + 5 * SECOND_NS]


def test_a_changed_rule_forgets_and_a_renamed_one_does_not() -> None:
    h = hosted("(price > 10) then (price > 11) within 1m")
    alerts(h, 9.0, 10.5)
    hosted("(price > 10) then (price > 11) within 1m", 2, h, name="Other")
    assert len(alerts(h, 11.5, at_s=2)) == 1
    hosted("(price > 10) then (price > 11) within 2m", 3, h)
    alerts(h, 9.0, 10.5, at_s=3)
    hosted("(price > 10) then (price > 11) within 1m", 4, h)
    assert alerts(h, 11.5, at_s=5) == []


def test_a_restored_scanner_goes_on_where_it_was() -> None:
    h = hosted("price changed by >= 1% in 1m or (price > 10) held for 10s")
    alerts(h, 9.0, 11.0)
    h.crash_and_restore()
    assert len(told(h.clock(T0 + 11 * SECOND_NS))) == 1


def test_why_a_rule_does_not_fire_is_told_from_the_scanners_state() -> None:
    h = hosted("price > 10")
    h.send("ticks.trades", symbol=["B"], ts_ns=[T0], price=[12.0], size=[1.0])
    alerts(h, 9.0)
    state = h.state("scanner")
    moments = asked.at_clock(state, T0 + SECOND_NS, True, 300 * SECOND_NS, row=1)
    told_why = why_not(compile_rules(state["rules"]), "r", moments, state)
    assert told_why["why"] == ["not true"]
    assert told_why["leaves"][0]["value"] == 9.0


def test_the_first_member_of_a_partition_enters_a_list_that_was_ranked_before() -> None:
    h = Harness(bars, indicators, scanner)
    rule = {"id": "r", "name": "R", "cooldown": 0, "when": "enters gainers_5m"}
    h.send("control", version=[1], body=[json.dumps({"rules": [rule]})])

    def second(k: int, entering: tuple[str, ...] = ()) -> list[str]:
        at = T0 + k * SECOND_NS
        h.send("ticks.trades", symbol=["A", "B"], ts_ns=[at] * 2, price=[9.0] * 2, size=[1.0] * 2)
        if entering:
            size = len(entering)
            told = {"list": ["gainers_5m"] * size, "ts_ns": [at] * size, "kind": [1] * size}
            h.send("toplists.changes", symbol=list(entering), **told, rank=[1] * size)
        out = h.clock(at + SECOND_NS)
        return out["alerts"]["symbol"].tolist() if "alerts" in out else []

    assert second(0) == []
    assert second(1) == []
    assert second(2, ("A",)) == ["A"]
    assert second(3, ("B",)) == ["B"]


def test_who_is_in_a_list_at_its_first_ranking_did_not_enter_it() -> None:
    h = Harness(bars, indicators, scanner)
    rule = {"id": "r", "name": "R", "cooldown": 0, "when": "enters gainers_5m"}
    h.send("control", version=[1], body=[json.dumps({"rules": [rule]})])
    h.send("ticks.trades", symbol=["A"], ts_ns=[T0], price=[9.0], size=[1.0])
    h.clock(T0 + SECOND_NS)
    told = {"list": ["gainers_5m"], "ts_ns": [T0], "kind": [1], "rank": [1]}
    h.send("toplists.changes", symbol=["A"], **told)
    assert "alerts" not in h.clock(T0 + 2 * SECOND_NS)
