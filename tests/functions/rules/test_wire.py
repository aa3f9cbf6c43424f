"""Rules as they are sent: plain and old forms stay valid, defaults, versions, faults by rule."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.rules import tree
from functions.rules.checks import defaults_of
from functions.rules.compile import compile_rules
from functions.rules.faults import RuleFault
from functions.rules.forms import from_json, to_json
from functions.rules.text import parse_condition
from functions.rules.tree import Compare, Guard, Metric, Number
from functions.rules.wire import (
    check_rules,
    parse_rule,
    parse_rules,
    parse_text_rule,
    rule_to_json,
    versioned,
)
from tests.functions.rules.random_trees import conditions, rules

LEAF: dict[str, Any] = {"metric": "price", "operator": ">", "value": 5}
RULE: dict[str, Any] = {"id": "r1", "name": "Above", "conditions": [LEAF]}
ABOVE = Compare(">", Metric("price"), Number(5.0))


def rule_of(**fields: Any) -> tree.Rule:
    return parse_rule({**RULE, **fields})


def leaf_of(**fields: Any) -> Compare:
    when = rule_of(conditions=[{**LEAF, **fields}]).when
    assert isinstance(when, Compare)
    return when


def test_plain_conditions_must_all_hold() -> None:
    assert rule_of().when == ABOVE
    assert rule_of(conditions=[LEAF, {**LEAF, "operator": "<", "value": 9.5}]).when == tree.All(
        (ABOVE, Compare("<", Metric("price"), Number(9.5)))
    )


def test_the_rule_of_the_contract_is_read() -> None:
    rule = parse_rule(
        {"id": "r1", "name": "RSI Oversold", "description": "", "conditions": [
            {"metric": "rsi_14", "operator": "<", "value": 30, "volume_threshold": 0, "calculated_during": "all", "timeframe": "", "value_type": "$"}],
         "cooldown": 300, "enabled": True, "created_at": "...", "updated_at": "..."}
    )  # fmt: skip
    assert rule.when == Compare("<", Metric("rsi_14"), Number(30.0), Guard(0.0, ()))
    assert (rule.cooldown_ns, rule.enabled) == (300_000_000_000, True)


@pytest.mark.parametrize(
    "older",
    [
        {"id": "r1", "name": "Above", "conditions": [{"metric": "price", "op": ">", "value": 5}]},
        {"id": "r1", "name": "Above", "type": "numeric", **LEAF},
        {"id": "r1", "name": "Above", "metric": "price", "op": ">", "value": 5, "cooldown_sec": 10},
        {"id": "r1", "name": "Above", "when": "price > 5"},
        {"id": "r1", "name": "Above", "when": LEAF},
        {"id": "r1", "name": "Above", "when": {"all": [LEAF]}, "cooldown": "10s"},
    ],
)
def test_other_spellings_mean_the_same(older: dict[str, Any]) -> None:
    rule = parse_rule(older)
    assert rule.when in (ABOVE, tree.All((ABOVE,)))
    assert (rule.when != ABOVE) or rule.version == rule_of().version


def test_older_names_of_metrics_are_known() -> None:
    for older, name in (("rel_volume_5m", "relative_volume_5m"), ("rsi_14_1m", "rsi_14"), ("price_change_2m_pct", "change_pct_2m")):  # fmt: skip
        assert leaf_of(metric=older).left == Metric(name)


# -- defaults


@pytest.mark.parametrize(
    ("text", "volume", "sessions"),
    [
        ("price > 5", 0, ()),
        ("rsi_14_5m < 30", 50_000, ()),
        ("rsi_14 < 30", 50_000, ()),
        ("rsi_14_1m < 30", 50_000, ()),
        ("rsi_9 < 30", 0, ()),
        ("dist_to_high_of_day_pct < 1", 25_000, ("market",)),
        ("change_from_open > 1", 10_000, ("market", "postmarket")),
        ("change_from_open > gap_from_close", 75_000, ("market",)),
        ("rsi_14_5m < 30 volume >= 0", 0, ()),
        ("change_from_open > 1 during all", 10_000, ()),
        ("change_from_open > 1 during premarket", 10_000, ("premarket",)),
        ("price > 5 during premarket, market, postmarket", 0, ("premarket", "market", "postmarket")),
        ("price crosses above vwap_live", 0, ()),
        ("gap_from_close changed by >= 3% in 5m", 75_000, ("premarket", "market")),
    ],
)  # fmt: skip
def test_what_a_condition_leaves_open_is_as_documented(
    text: str, volume: float, sessions: tuple[str, ...]
) -> None:
    leaf = parse_condition(text)
    assert isinstance(leaf, tree.Compare | tree.Crosses | tree.Changed)
    assert defaults_of(leaf) == (volume, sessions)


@pytest.mark.parametrize(
    ("fields", "guard"),
    [
        ({}, Guard()),
        ({"volume_threshold": None, "calculated_during": None}, Guard()),
        ({"volume_threshold": 0}, Guard(0.0)),
        ({"volume_threshold": ""}, Guard(0.0)),
        ({"calculated_during": ""}, Guard(None, ())),
        ({"calculated_during": "all"}, Guard(None, ())),
        ({"calculated_during": "market"}, Guard(None, ("market",))),
        ({"calculated_during": ["market", "premarket"]}, Guard(None, ("premarket", "market"))),
    ],
)
def test_absent_is_the_default_and_nothing_is_no_guard(fields: Any, guard: Guard) -> None:
    assert leaf_of(**fields).guard == guard


def test_metrics_without_a_session_in_common_need_one_said() -> None:
    text = "change_from_close_premarket > change_from_close_postmarket"
    with pytest.raises(RuleFault, match="metrics with a session in common"):
        parse_condition(text)
    with pytest.raises(RuleFault, match="metrics with a session in common"):
        from_json({"metric": "change_from_close_premarket", "operator": ">", "value": "change_from_close_postmarket"})  # fmt: skip
    assert defaults_of(parse_condition(f"{text} during market")) == (0, ("market",))  # type: ignore[arg-type]


# -- versions


def test_the_version_is_of_what_a_rule_means() -> None:
    version = rule_of().version
    same: list[dict[str, Any]] = [
        {"name": "Other"},
        {"description": "x"},
        {"enabled": False},
        {"owner": "ann"},
        {"created_at": "now"},
        {"conditions": [{**LEAF, "volume_threshold": 0, "calculated_during": "all"}]},
        {"watchlist": "", "once_per": "", "symbols": []},
    ]
    assert {rule_of(**fields).version for fields in same} == {version}
    others: list[dict[str, Any]] = [
        {"id": "r2"},
        {"cooldown": 11},
        {"once_per": "5m"},
        {"symbols": ["AAPL"]},
        {"watchlist": "mine"},
        {"conditions": [{**LEAF, "value": 6}]},
        {"conditions": [{**LEAF, "volume_threshold": 1}]},
        {"conditions": [LEAF, LEAF]},
        {"conditions": [{**LEAF, "value": "$5"}]},
    ]
    assert len({rule_of(**fields).version for fields in others} - {version}) == len(others)


def test_symbols_of_a_watchlist_come_and_go_without_another_version() -> None:
    one, other = (rule_of(watchlist="mine", symbols=names) for names in (["A"], ["A", "B"]))
    assert one.version == other.version
    assert rule_of(symbols=["A", "B"]).version == rule_of(symbols=["B", "A"]).version


@given(conditions())
@settings(max_examples=50, deadline=None)
def test_a_tree_has_one_version_however_it_is_written(when: tree.Condition) -> None:
    sent = parse_rule({"id": "r", "name": "n", "when": json.loads(json.dumps(to_json(when)))})
    assert sent.version == versioned(tree.Rule("r", "other", when)).version


# -- fields of a rule


def test_fields_of_a_rule_are_read() -> None:
    rule = rule_of(symbols=["AAPL", "BRK.B"], watchlist="mine", once_per="1h", owner="ann", cooldown=0.5)  # fmt: skip
    assert (rule.symbols, rule.watchlist, rule.once_per) == (("AAPL", "BRK.B"), "mine", "60m")
    assert (rule.owner, rule.cooldown_ns) == ("ann", 500_000_000)


def test_what_the_text_says_goes_before_the_fields_beside_it() -> None:
    fields = {"id": "r", "name": "n", "cooldown": 10, "symbols": ["A"]}
    rule = parse_rule({**fields, "when": "price > 5 on B cooldown 5m"})
    assert (rule.symbols, rule.cooldown_ns) == (("B",), 300_000_000_000)
    assert parse_rule({**fields, "when": "price > 5"}).symbols == ("A",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": ""}, "rule Above: id: expected 1 to 64 of letters, digits, - and _, found ''"),
        ({"name": ""}, "rule r1: name: expected 1 to 200 letters, found ''"),
        ({"name": "Up \ud800"}, "rule r1: name: expected whole letters, found half a letter"),
        ({"name": "Up \0"}, "rule r1: name: expected 1 to 200 letters, found"),
        ({"cooldown": -1}, "rule r1: cooldown: expected seconds from 0 to 604800, found -1"),
        ({"cooldown": float("nan")}, "rule r1: cooldown: expected seconds from 0 to 604800, found nan"),
        ({"cooldown": "soon"}, "rule r1: cooldown: expected a duration such as 20s, 5m, 2h or 1d, or seconds, found 'soon'"),
        ({"enabled": 1}, "rule r1: enabled: expected true or false, found 1"),
        ({"symbols": "A"}, "rule r1: symbols: expected a list of symbols, found 'A'"),
        ({"symbols": ["A A"]}, "rule r1: symbols: expected a symbol, found 'A A'"),
        ({"once_per": "7m"}, "rule r1: once_per: expected a timeframe: one of 1m 2m 5m 10m 15m 30m 60m, found '7m'"),
        ({"conditions": []}, "rule r1: conditions: expected a list of 1 to 32 conditions, found []"),
        ({"when": "price > 5"}, "rule r1: expected either conditions or when, found both"),
        ({"colour": 1}, "rule r1: expected one of the fields conditions"),
        ({"conditions": [{**LEAF, "metric": "prise"}]}, "rule r1: conditions[0].metric: expected a metric, found 'prise'; did you mean price?"),
        ({"conditions": [LEAF, {"metric": "price", "value": 3}]}, "rule r1: conditions[1]: expected the field operator, found none"),
        ({"conditions": [{**LEAF, "operator": "=>"}]}, "rule r1: conditions[0]: expected an operator: one of > < >= <= == !=, found '=>'; did you mean >=?"),
        ({"conditions": [{**LEAF, "value": True}]}, "rule r1: conditions[0].value: expected a value: a number, a text or an object, found True"),
        ({"conditions": [{**LEAF, "value": None}]}, "rule r1: conditions[0].value: expected a value"),
        ({"conditions": [{**LEAF, "value": "5%"}]}, "rule r1: conditions[0]: expected a value in $, as price is, found % (5)"),
        ({"conditions": [{**LEAF, "value": "5 +"}]}, "rule r1: conditions[0].value: line 1, column 4: expected a condition, a metric or a number, found the end"),
        ({"conditions": [{**LEAF, "volume_threshold": -1}]}, "rule r1: conditions[0].volume_threshold: expected shares from 0, found -1"),
        ({"conditions": [{**LEAF, "calculated_during": "markets"}]}, "rule r1: conditions[0].calculated_during: expected one of all, premarket, market, postmarket, or a list of sessions, found 'markets'; did you mean market?"),
        ({"conditions": [{**LEAF, "volume_treshold": 1}]}, "did you mean volume_threshold?"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_json_is_said_with_its_path(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleFault) as caught:
        rule_of(**fields)
    assert message in str(caught.value)
    assert str(caught.value).startswith("rule ")


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"al": []}, "did you mean all?"),
        ({}, "found fields none"),
        ([], "expected a condition: an object or a text, found []"),
        ({"not": {"enters": "gainer_5m"}}, "when.not.enters: expected a toplist, found 'gainer_5m'; did you mean gainers_5m?"),
        ({"all": [LEAF, "price >"]}, "when.all[1]: line 1, column 8"),
        ({"then": [LEAF], "within": "2m"}, "when.then: expected two conditions, found 1"),
        ({"held": LEAF, "for": "2d"}, "when: expected a duration from 1s to 1d, found 172800s"),
        ({"held": LEAF}, "when: expected the field for, found none"),
        ({"of_last": LEAF, "at_least": 3.0, "bars": 5}, "when.at_least: expected a whole number, found 3.0"),
        ({"crosses": "over", "metric": "price", "value": 3}, "expected a direction: one of above below, found 'over'"),
        ({"left": {"+": [1]}, "operator": ">", "value": 3}, "expected 2 values for +, found 1"),
        ({"left": {"*": [{"metric": "prise"}, 1]}, "operator": ">", "value": 3}, "when.left.*[0].metric: expected a metric, found 'prise'"),
        ({"left": 1, "metric": "price", "operator": ">", "value": 3}, "expected either metric or left, found both"),
        ({"metric": "price", "operator": ">", "value": {"plus": 1}}, "expected metric or one of + - * /"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_tree_is_said_with_its_path(when: Any, message: str) -> None:
    with pytest.raises(RuleFault) as caught:
        parse_rule({"id": "r", "name": "n", "when": when})
    assert message in str(caught.value)
    assert str(caught.value).startswith("rule r: when")


# -- many rules


@pytest.mark.parametrize("text", ["\ud800", "half \udfff", "a\0b"])
def test_what_no_alert_can_carry_and_no_database_keep_is_no_name(text: str) -> None:
    for field in ("name", "owner"):
        rule = {"id": "r", "name": "R", "when": "price > 1", field: text}
        with pytest.raises(RuleFault, match=f"rule r: {field}"):
            check_rules(json.dumps({"rules": [rule]}))


def test_a_rule_that_is_wrong_stops_no_other() -> None:
    given = [{**RULE, "id": "b"}, {"id": "wrong"}, {**RULE, "id": "a"}, {**RULE, "id": "b"}, 5]
    rules, faults = parse_rules(json.dumps({"rules": given}))
    assert [rule.id for rule in rules] == ["a", "b"]
    assert [str(fault).split(":", maxsplit=1)[0] for fault in faults] == ["rule wrong", "rule b", "expected a rule"]  # fmt: skip
    with pytest.raises(RuleFault, match="rule wrong"):
        check_rules(json.dumps({"rules": given}))
    body = json.dumps({"rules": [RULE]})
    assert check_rules(body) == body


@pytest.mark.parametrize("body", ["", "[]", "{", '{"rules": 3}', "[" * 100_000])
def test_a_body_that_is_none_is_refused(body: str) -> None:
    with pytest.raises(RuleFault):
        parse_rules(body)


def test_there_are_at_most_1000_rules() -> None:
    with pytest.raises(RuleFault, match="at most 1000 rules, found 1001"):
        parse_rules(json.dumps({"rules": [RULE] * 1_001}))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["price", "price > 5", "5m", ">", "above", "market", "gainers_5m"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["metric", "operator", "op", "value", "all", "any", "not", "crosses", "changed", "by", "within", "held", "for", "of_last", "at_least", "bars", "then", "rearm", "direction", "left", "+", "abs", "max", "in", "enters", "volume_threshold", "calculated_during", "id", "name", "when", "conditions", "cooldown", "symbols", "once_per"]), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(JSONS)
@settings(max_examples=500, deadline=None)
def test_any_json_is_a_rule_or_a_fault(given_json: Any) -> None:
    for read in (
        from_json,
        parse_rule,
        lambda one: parse_rule({"id": "r", "name": "n", "when": one}),
    ):
        try:
            read(given_json)
        except RuleFault as fault:
            assert str(fault)
            json.dumps(fault.as_dict())


def test_json_deeper_than_a_rule_is_refused() -> None:
    deep: Any = LEAF
    for _ in range(500):
        deep = {"not": deep}
    with pytest.raises(RuleFault, match="at most 16 levels"):
        from_json(deep)
    value: Any = 1
    for _ in range(500):
        value = {"negative": value}
    with pytest.raises(RuleFault, match="at most 16 levels"):
        from_json({**LEAF, "value": value})


def test_a_rule_of_text_alone_has_the_defaults() -> None:
    rule = parse_text_rule("price > 5", "r1")
    assert replace(rule, name="Above") == rule_of()


@given(rules())
@settings(max_examples=100, deadline=None)
def test_every_rule_that_is_read_compiles(rule: tree.Rule) -> None:
    body = json.dumps({"rules": [rule_to_json(rule)]})
    assert [one.version for one in compile_rules(body).rules] == [rule.version] * rule.enabled
