"""Alert semantics case by case: crossings, equality, hysteresis, cooldown, new versions, unknown values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from functions.rules import compiled, parse_rules, tree
from functions.rules.compile import RINGS_MAX, Rules, compile_rules
from functions.rules.firing import fire, why_not
from functions.rules.kept import forget
from functions.rules.moments import HALTED, STALE
from functions.rules.spelling import spell_rule
from functions.rules.wire import parse_rule, parse_text_rule, rule_to_json
from tests.functions.rules.markets import START_NS, moments_of, table
from tests.functions.rules.slow_rules import Moment
from tests.functions.rules.trees import SECOND_NS

PRICE, TEN = tree.Metric("price"), tree.Number(10.0)
ANYWHERE = tree.Guard(0.0, ())
CROSSES = tree.Crosses("above", PRICE, TEN, ANYWHERE)
OVER = tree.Compare(">", PRICE, TEN, ANYWHERE)


def at(price: float, second: float = 0, **known: Any) -> Moment:
    """A moment of symbol A."""
    whole: dict[str, Any] = {
        "volume": 1_000.0,
        "session": 2,
        "day": 20_000,
        "stretch": 1,
        "barred": 0,
        "candles": {"1m": 0},
        "member": {"gainers": 0},
        "midnight_ns": START_NS,
    }
    values = {"price": price, "volume_5m": price}
    return Moment(0, START_NS + int(second * SECOND_NS), values, **{**whole, **known})


def rules(when: tree.Condition, **more: Any) -> Rules:
    return compiled([tree.Rule("r", "R", when, **{"cooldown_ns": 0, "version": "v", **more})])


def fired(when: tree.Condition | Rules, moments: list[Moment], state: Any = None) -> list[int]:
    """The places of the moments at which it fired."""
    made = when if isinstance(when, Rules) else rules(when)
    found = fire(made, moments_of(moments), table() if state is None else state)
    return [one.place for one in found]


def test_the_first_value_is_no_cross_and_the_next_may_be_one() -> None:
    assert fired(CROSSES, [at(11.0), at(9.0, 1), at(11.0, 2)]) == [2]


def test_a_cross_begins_on_the_level_too() -> None:
    assert fired(CROSSES, [at(10.0), at(10.01, 1)]) == [1]
    assert fired(CROSSES, [at(9.0), at(10.0, 1), at(9.0, 2)]) == []


def test_the_first_value_after_a_gap_a_halt_or_a_days_start_is_no_cross() -> None:
    assert fired(CROSSES, [at(9.0), at(11.0, 1, stretch=2)]) == []


@pytest.mark.parametrize("why", [HALTED, STALE])
def test_a_value_that_may_not_count_is_no_value_before(why: int) -> None:
    assert fired(CROSSES, [at(9.0, barred=why), at(11.0, 1)]) == []
    assert fired(OVER, [at(11.0, barred=why)]) == []


def test_binary_noise_is_neither_more_nor_less() -> None:
    assert fired(OVER, [at(10.0 + 1e-10)]) == []
    assert fired(replace(OVER, operator=">="), [at(10.0 - 1e-10)]) == [0]
    assert fired(replace(OVER, operator="=="), [at(10.00009)]) == [0]
    assert fired(replace(OVER, operator="=="), [at(10.0002)]) == []


def test_flapping_around_a_level_fires_once_until_it_was_left() -> None:
    latch = tree.Rearm(OVER, "below", PRICE, tree.Number(9.5))
    prices = [11.0, 9.9, 11.0, 9.4, 11.0]
    assert fired(latch, [at(price, k) for k, price in enumerate(prices)]) == [0, 4]


def test_a_suppressed_alert_does_not_restart_the_cooldown() -> None:
    made = rules(OVER, cooldown_ns=4 * SECOND_NS)
    moments = [at(11.0 if k % 2 == 0 else 9.0, k) for k in range(6)]
    assert fired(made, moments) == [0, 4]


def test_one_alert_a_candle_and_the_next_candle_is_free() -> None:
    made = rules(OVER, once_per="1m")
    seconds = [0, 1, 59, 60.5, 61]
    moments = [at(9.0 if second in (1, 60.5) else 11.0, second) for second in seconds]
    assert fired(made, moments) == [0, 4]


def test_a_new_version_starts_clean_and_says_that_it_is_warming_up() -> None:
    held = tree.Held(OVER, 60 * SECOND_NS)
    state, old = table(), rules(held, version="old")
    fired(old, [at(11.0), at(11.0, 50)], state)
    new = rules(held, version="new")
    forget(state, ["new"])
    assert "ns.old.0" not in state
    told = why_not(new, "r", moments_of([at(11.0, 59)]), state)
    assert told["conditions"][0]["why"] == "warming up"
    assert told["truth"] is None
    assert fired(new, [at(11.0, 61)], state) == []
    assert fired(new, [at(11.0, 121)], state) == [0]


def test_a_sequence_of_a_symbol_that_was_away_is_over() -> None:
    then = tree.Then(OVER, tree.Compare("<", PRICE, tree.Number(9.0), ANYWHERE), 60 * SECOND_NS)
    assert fired(then, [at(11.0), at(8.0, 59)]) == [1]
    assert fired(then, [at(11.0), at(8.0, 61)]) == []
    assert fired(then, [at(11.0), at(8.0, 1, stretch=2)]) == []


def test_not_of_unknown_is_unknown_and_never_fires() -> None:
    assert fired(tree.Not(OVER), [at(float("nan"))]) == []
    assert fired(tree.Not(OVER), [at(9.0)]) == [0]


def test_a_faulty_rule_stops_no_other() -> None:
    faulty = tree.Rule("a", "A", tree.Compare(">", tree.Metric("nothing"), TEN), version="a")
    made = compiled([faulty, tree.Rule("b", "B", OVER, version="b")])
    assert [entry.rule.id for entry in made.entries] == ["b"]
    assert made.faults == {"a": "rule a: metric: no metric 'nothing'"}
    assert why_not(made, "a", moments_of([at(11.0)]), table())["why"] == [made.faults["a"]]


def test_a_rule_that_would_take_too_much_memory_says_so() -> None:
    change = tree.Changed(PRICE, ">", tree.Number(1.0), 60 * SECOND_NS, ANYWHERE)
    many = [tree.Rule(f"r{k:03}", "R", change, version=f"v{k}") for k in range(RINGS_MAX + 1)]
    made = compiled(many)
    assert len(made.entries) == RINGS_MAX
    assert "at most 32 in all rules" in made.faults[f"r{RINGS_MAX:03}"]


def test_only_rules_that_time_changes_are_asked_at_the_clock() -> None:
    clock = at(11.0, is_clock=True)
    assert fired(rules(OVER), [clock]) == []
    assert fired(rules(tree.Compare(">", tree.Metric("volume_5m"), TEN, ANYWHERE)), [clock]) == [0]
    assert fired(rules(tree.All((OVER, tree.Not(tree.Held(OVER, 1))))), [clock]) == []


def test_the_same_test_of_many_rules_is_there_once() -> None:
    made = compiled([tree.Rule(f"r{k}", "R", OVER, version=f"v{k}") for k in range(5)])
    assert (len(made.nodes), len(made.tests)) == (1, 1)


def test_an_empty_watchlist_is_not_every_symbol() -> None:
    assert fired(rules(OVER, watchlist="mine"), [at(11.0)]) == []
    assert fired(rules(OVER, watchlist="mine", symbols=("A",)), [at(11.0)]) == [0]


def test_symbols_named_beside_a_watchlist_count_in_either_order_and_are_said_again() -> None:
    for text in (
        "price > 10 volume >= 0 in watchlist mine on A",
        "price > 10 volume >= 0 on A in watchlist mine",
    ):
        rule = parse_text_rule(text, "r")
        assert (rule.symbols, rule.watchlist) == (("A",), "mine")
        assert spell_rule(rule) == "price > 10 volume >= 0 on A in watchlist mine"
        told = rule_to_json(rule)
        assert (told["symbols"], told["watchlist"]) == (["A"], "mine")
        assert spell_rule(parse_rule({**told, "name": "R"})) == spell_rule(rule)


def test_strength_is_the_smallest_margin_of_what_is_true() -> None:
    second = tree.Compare(">", tree.Metric("volume_5m"), tree.Number(10.5), ANYWHERE)
    (one,) = fire(rules(tree.All((OVER, second))), moments_of([at(11.0)]), table())
    assert one.strength == pytest.approx(0.5 / 10.5)
    assert one.leaves[0] == {
        "text": "price > 10",
        "value": 11.0,
        "threshold": 10.0,
        "truth": True,
        "margin": pytest.approx(0.1),
    }


@pytest.mark.parametrize(
    ("leaf", "moment", "reason"),
    [
        (OVER, at(float("nan")), "missing: price"),
        (OVER, at(11.0, barred=HALTED), "halted"),
        (OVER, at(11.0, barred=STALE), "stale"),
        (replace(OVER, guard=tree.Guard(5_000.0, ())), at(11.0), "volume below 5000: 1000"),
        (replace(OVER, guard=tree.Guard(0.0, ("premarket",))), at(11.0), "out of session"),
        (replace(CROSSES, guard=tree.Guard(5_000.0, ())), at(11.0), "volume below 5000: 1000"),
        (CROSSES, at(11.0), "warming up"),
        (tree.InList("gainers"), at(11.0), "missing: toplist gainers is not known"),
    ],
)
def test_why_a_leaf_is_unknown_is_said(leaf: Any, moment: Moment, reason: str) -> None:
    told = why_not(rules(leaf), "r", moments_of([moment]), table())
    assert reason in told["leaves"][0]["why"]
    assert told["truth"] is None
    assert not told["fires"]
    json.dumps(told, allow_nan=False)


def test_why_a_true_rule_stays_silent_is_said() -> None:
    state, made = table(), rules(OVER, cooldown_ns=4 * SECOND_NS)
    assert why_not(made, "r", moments_of([at(11.0)]), state)["fires"]
    fired(made, [at(11.0)], state)
    assert "true already" in why_not(made, "r", moments_of([at(11.0, 1)]), state)["why"][0]
    fired(made, [at(9.0, 1)], state)
    told = why_not(made, "r", moments_of([at(11.0, 2)]), state)["why"]
    assert told == [f"cooling down until {START_NS + 4 * SECOND_NS}"]
    assert why_not(rules(OVER, symbols=("B",)), "r", moments_of([at(11.0)]), table())["why"] == [
        "not in scope"
    ]


def test_a_look_changes_nothing() -> None:
    parts = (
        tree.Held(OVER, SECOND_NS),
        tree.Changed(PRICE, ">", TEN, 60 * SECOND_NS, ANYWHERE),
        tree.OfLast(OVER, 1, 2),
        tree.Then(OVER, CROSSES, SECOND_NS),
        tree.FirstToday(tree.Rearm(OVER, "below", PRICE, TEN)),
    )
    state, made = table(), rules(tree.Any(parts))
    why_not(made, "r", moments_of([at(11.0)]), state)
    assert state.columns() == {}
    fired(made, [at(9.0)], state)
    before = {name: values.copy() for name, values in state.columns().items()}
    why_not(made, "r", moments_of([at(11.0, 1)]), state)
    assert all(np.array_equal(before[name], values) for name, values in state.columns().items())


def test_what_is_sent_is_compiled_and_a_fault_in_it_is_kept() -> None:
    good = {"id": "g", "name": "G", "when": "price crosses above 10"}
    made = compile_rules(
        json.dumps({"rules": [good, {"id": "b", "name": "B", "when": "prise > 1"}]})
    )
    assert [rule.id for rule in made.rules] == ["g"]
    assert len(made.faults) == 1
    assert made is compile_rules(json.dumps({"rules": [good, {"id": "b", "name": "B", "when": "prise > 1"}]}))  # fmt: skip
    assert parse_rules(json.dumps({"rules": [good]}))[1] == ()
