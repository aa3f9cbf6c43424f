"""Rules that name the lists of users, which come in the same control body."""

from __future__ import annotations

import json

import pytest

from functions.rules import RuleFault, compile_rules, parse_condition, read
from functions.rules.wire import parse_rules

LISTS = [
    {"id": "cheap-1", "name": "Cheap", "metric": "price"},
    {"id": "off", "name": "Off", "metric": "price", "enabled": False},
]


def body_of(*whens: object, lists: object = LISTS) -> str:
    rules = [{"id": f"r{k}", "name": "R", "when": when} for k, when in enumerate(whens)]
    return json.dumps({"rules": rules, "toplists": lists})


def test_a_rule_names_a_list_of_the_same_body_as_text_and_as_json() -> None:
    body = body_of("enters cheap-1 and price > 1", {"in": "cheap-1"}, {"leaves": "gainers_5m"})
    rules, faults = parse_rules(body)
    assert not faults
    assert "the list cheap-1" in read(rules[0])
    assert [rule.id for rule in compile_rules(body).rules] == ["r0", "r1", "r2"]


def test_a_list_that_is_not_there_is_a_fault_of_that_rule_alone_with_the_nearest() -> None:
    rules, faults = parse_rules(body_of("enters cheap-2", {"in": "off"}, "in cheap-1"))
    assert [rule.id for rule in rules] == ["r2"]
    assert [fault.nearest for fault in faults] == ["cheap-1", ""]
    assert (faults[0].start, faults[0].end) == (7, 14)


def test_lists_of_a_body_are_known_in_no_other() -> None:
    parse_rules(body_of("in cheap-1"))
    with pytest.raises(RuleFault, match="expected a toplist"):
        parse_condition("in cheap-1")


@pytest.mark.parametrize("lists", [None, 5, [1], [{"id": 1}]])
def test_lists_that_are_none_are_left_to_who_checks_lists(lists: object) -> None:
    rules, faults = parse_rules(body_of("in gainers_5m", lists=lists))
    assert (len(rules), faults) == (1, ())
