"""The scanner answers why a rule does not fire, and is afterwards as it was."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from functions.bars import bars
from functions.indicators import indicators
from functions.rules import faults_by_rule
from functions.scanner import scanner
from runtime.testing import Harness

T0 = 1_767_623_400_000_000_000  # Monday, 09:30 in New York
SECOND_NS = 10**9
OVER = {"id": "over", "name": "Over ten", "when": "price > 10 volume >= 0 cooldown 0s"}
BROKEN = {"id": "broken", "name": "Broken", "when": "prise > 10"}


def hosted(*rules: dict[str, Any]) -> Harness:
    h = Harness(bars, indicators, scanner)
    body = json.dumps({"rules": [{"cooldown": 0, **one} for one in rules]})
    h.send("control", version=[1], body=[body])
    return h


def prints(h: Harness, *prices: float, symbol: str = "AAPL", at_s: int = 0) -> None:
    n = len(prices)
    times = [T0 + (at_s + k) * SECOND_NS for k in range(n)]
    h.send("ticks.trades", symbol=[symbol] * n, ts_ns=times, price=prices, size=[10.0] * n)


def why(h: Harness, rule: str, symbol: str = "AAPL", at_ns: int = 0) -> dict[str, Any]:
    out = h.send("ask.why", ts_ns=[at_ns], rule=[rule], about=[symbol], id=["q"])["why.values"]
    assert out["id"].tolist() == ["q"]
    found: dict[str, Any] = json.loads(out["body"][0])
    return found


def test_a_rule_that_is_false_tells_value_threshold_and_margin_of_each_leaf() -> None:
    h = hosted(OVER)
    prints(h, 9.0)
    told = why(h, "over")
    assert (told["verdict"], told["why"]) == ("false", ["not true"])
    (leaf,) = told["leaves"]
    assert (leaf["value"], leaf["threshold"], leaf["margin"]) == (9.0, 10.0, -0.1)
    assert told["text"].startswith("price > 10")
    assert told["english"].startswith("Fires")


def test_a_rule_that_fired_tells_since_when_it_is_true() -> None:
    h = hosted(OVER)
    prints(h, 9.0, 11.0, 12.0)
    told = why(h, "over")
    assert (told["verdict"], told["since_ns"]) == ("true", T0 + SECOND_NS)
    assert told["fired_ns"] == T0 + SECOND_NS


def test_behind_a_cooldown_nobody_knows_since_when_a_rule_is_true() -> None:
    h = hosted({**OVER, "when": "price > 10 cooldown 60s"})
    prints(h, 9.0, 11.0)
    told = why(h, "over")
    assert (told["verdict"], told["since_ns"]) == ("true", 0)
    assert told["why"][-1] == f"cooling down until {T0 + 61 * SECOND_NS}"


def test_a_leaf_that_is_warming_or_missing_says_so() -> None:
    h = hosted({**OVER, "when": "rsi_14_5m > 50 volume >= 0"})
    prints(h, 9.0)
    told = why(h, "over")
    assert told["verdict"] == "unknown"
    assert told["leaves"][0]["why"] == ["missing: rsi_14_5m"]


def test_a_rule_is_found_by_its_name_as_well() -> None:
    h = hosted(OVER)
    prints(h, 9.0)
    assert why(h, "over TEN")["rule"] == "over"


@pytest.mark.parametrize(
    ("rule", "symbol", "says"),
    [
        ("ovre", "AAPL", "no rule 'ovre' runs; did you mean over?"),
        ("over", "APPL", "nothing has been heard of 'APPL' yet; did you mean AAPL?"),
        ("broken", "AAPL", "does not compile: rule broken: when: line 1, column 1: expected a"),
    ],
)
def test_what_cannot_be_asked_says_why_with_the_nearest_name(
    rule: str, symbol: str, says: str
) -> None:
    h = hosted(OVER, BROKEN)
    prints(h, 9.0)
    assert says in why(h, rule, symbol)["fault"]


def test_questions_change_nothing_not_even_for_a_symbol_nobody_knows() -> None:
    h = hosted(OVER, {**OVER, "id": "watching", "when": "(price > 10) held for 10s"})
    prints(h, 9.0, 11.0)
    h.clock(T0 + 2 * SECOND_NS)
    before, rows = copied(h), list(h.state("scanner").symbols)
    for rule in ("over", "watching", "none"):
        for symbol in ("AAPL", "NONE"):
            why(h, rule, symbol)
            why(h, rule, symbol, T0 + 3600 * SECOND_NS)
    after = copied(h)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert list(h.state("scanner").symbols) == rows


def copied(h: Harness) -> dict[str, Any]:
    return {name: np.array(values) for name, values in h.state("scanner").columns().items()}


def test_one_rule_that_does_not_compile_stops_no_other() -> None:
    h = hosted(BROKEN, OVER)
    prints(h, 9.0, 11.0)
    assert why(h, "over")["verdict"] == "true"


def test_faults_are_told_by_rule_and_limits_of_all_rules_together_are_among_them() -> None:
    many = [
        {"id": f"r{k:02}", "name": "Moves", "when": f"price changed by >= {k + 1}% in 5m"}
        for k in range(33)
    ]
    told = json.loads(faults_by_rule(json.dumps({"rules": [*many, BROKEN, OVER, 7]})))
    assert set(told) == {"r32", "broken", "35"}
    assert "at most 32 in all rules" in told["r32"]
