"""Answers what is asked about rules: do they compile, how do they read, what is their mirror image."""

from __future__ import annotations

import json
from typing import Any

from functions.rules.checks import with_lists
from functions.rules.compile import compiled
from functions.rules.english import read
from functions.rules.faults import RuleFault
from functions.rules.forms import to_json
from functions.rules.mirror import NoMirror, flip
from functions.rules.scopes import with_watchlists
from functions.rules.spelling import spell_rule
from functions.rules.tree import Rule
from functions.rules.wire import (
    parse_rule,
    parse_rules,
    parse_text_rule,
    rule_to_json,
    told_of,
)


def answer(asked: str) -> str:
    """All there is to say of rules, as JSON `{"rules": [...], "faults": [...]}`.

    `asked` is the text of one rule, or JSON: one rule, a list of rules or {"rules": [...]}. A rule that
    does not compile is among the faults; nothing is raised.
    """
    try:
        rules, faults = _read(asked)
    except RuleFault as fault:
        rules, faults = (), (fault,)
    told = {"rules": [_told(rule) for rule in rules], "faults": [_fault(one) for one in faults]}
    return json.dumps(told)


def faults_by_rule(body: str) -> str:
    """What is wrong in a control body, as JSON: id of the rule -> why it does not run.

    Rules are read one by one and then compiled together, as limits hold for all of them. Raises
    RuleFault where the body itself is none.
    """
    faults: dict[str, str] = {}
    rules: dict[str, Rule] = {}
    given_rules, lists, watchlists = told_of(body)
    with with_lists(lists), with_watchlists(watchlists):
        for place, given in enumerate(given_rules):
            named = str(given.get("id") or place) if isinstance(given, dict) else str(place)
            try:
                rule = parse_rule(given)
                rules[rule.id] = rule
            except RuleFault as fault:
                faults[named] = str(fault)
    return json.dumps(faults | compiled(rules.values(), clock_metrics=False).faults)


def _read(asked: str) -> tuple[tuple[Rule, ...], tuple[RuleFault, ...]]:
    if not asked.lstrip().startswith(("{", "[")):
        return (parse_text_rule(asked),), ()
    try:
        given = json.loads(asked)
    except (ValueError, RecursionError) as error:
        raise RuleFault("a rule as text or as JSON", f"other text: {error}") from error
    if isinstance(given, dict) and "rules" not in given:
        return (parse_rule({"id": "rule", "name": "Rule", **given}),), ()
    body = given if isinstance(given, dict) else {"rules": given}
    return parse_rules(json.dumps(body))


def _told(rule: Rule) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": rule.id,
        "name": rule.name,
        "text": spell_rule(rule),
        "json": to_json(rule.when),
        "rule": rule_to_json(rule),
        "english": read(rule),
        "version": rule.version,
        "flip": "",
        "flip_rule": None,
        "flip_english": "",
        "no_flip": "",
    }
    try:
        other = flip(rule)
    except NoMirror as reason:
        return found | {"no_flip": str(reason)}
    told = {"flip": spell_rule(other), "flip_rule": rule_to_json(other)}
    return found | told | {"flip_english": read(other)}


def _fault(fault: RuleFault) -> dict[str, object]:
    return {"error": str(fault), **fault.as_dict()}
