"""Text and JSON are two forms of one tree: each gives it back."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given, settings

from functions.rules import tree
from functions.rules.forms import from_json, to_json
from functions.rules.spelling import spell, spell_rule
from functions.rules.text import parse_condition
from functions.rules.wire import parse_rule, parse_text_rule, rule_to_json
from tests.functions.rules.random_trees import conditions, rules

many = settings(max_examples=100, deadline=None)


@given(conditions())
@many
def test_text_gives_the_tree_back(when: tree.Condition) -> None:
    assert parse_condition(spell(when)) == when


@given(conditions())
@many
def test_json_gives_the_tree_back(when: tree.Condition) -> None:
    assert from_json(json.loads(json.dumps(to_json(when)))) == when


@given(rules())
@many
def test_a_rule_is_given_back_by_its_json(rule: tree.Rule) -> None:
    assert parse_rule(json.loads(json.dumps(rule_to_json(rule)))) == rule


@given(rules())
@many
def test_the_text_of_a_rule_says_all_that_its_version_is_made_of(rule: tree.Rule) -> None:
    again = parse_text_rule(spell_rule(rule), rule.id)
    assert again.version == rule.version
    assert replace(again, name=rule.name, enabled=rule.enabled, owner=rule.owner) == rule
