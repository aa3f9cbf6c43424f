"""Every rule in docs/rules.md is read, and what the guide says of it is what the code says."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator

import pytest

from functions.rules import limits
from functions.rules.english import read
from functions.rules.faults import RuleFault
from functions.rules.forms import from_json, to_json
from functions.rules.mirror import NoMirror, flip
from functions.rules.spelling import spell, spell_rule
from functions.rules.text import CLAUSES, FUNCTIONS, INFIXES, STARTS, parse_condition, parse_text
from functions.rules.units import WRITTEN
from functions.rules.wire import parse_rules, parse_text_rule
from tests.conftest import ROOT

GUIDE = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```([a-z ]+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
RULES = [one.strip() for label, text in FENCED if label == "rule" for one in text.split("\n\n")]


def answered(label: str) -> Iterator[tuple[str, str]]:
    """Blocks of a label, each with the block after it."""
    for (kind, text), (_, following) in itertools.pairwise(FENCED):
        if kind == f"rule {label}":
            yield text.strip(), following.rstrip("\n")


@pytest.mark.parametrize("text", RULES)
def test_a_rule_of_the_guide_is_read_and_given_back(text: str) -> None:
    rule = parse_text_rule(text, "r", "n")
    assert parse_text_rule(spell_rule(rule), "r", "n") == rule
    assert from_json(to_json(rule.when)) == rule.when


def test_the_guide_has_many_rules() -> None:
    assert len(RULES) > 25


@pytest.mark.parametrize(("text", "message"), list(answered("fault")))
def test_an_error_of_the_guide_is_what_is_said(text: str, message: str) -> None:
    with pytest.raises(RuleFault) as caught:
        parse_text(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(("text", "english"), list(answered("read")))
def test_the_english_of_the_guide_is_what_is_read(text: str, english: str) -> None:
    assert read(parse_text_rule(text)) == english


@pytest.mark.parametrize(("text", "flipped"), list(answered("flip")))
def test_the_mirror_images_of_the_guide_are_those_made(text: str, flipped: str) -> None:
    try:
        assert spell_rule(flip(parse_text_rule(text))) == flipped
    except NoMirror as reason:
        assert str(reason) == flipped


def test_the_rules_in_json_are_read() -> None:
    (body,) = (text for label, text in FENCED if label == "json rules")
    rules, faults = parse_rules(body)
    assert ([rule.id for rule in rules], faults) == (["plain", "text", "tree"], ())


def test_text_and_json_of_the_table_are_the_same_tree() -> None:
    section = GUIDE.split("\n## JSON\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(.*?)` \| `(\{.*?\})` \|$", section, re.MULTILINE)
    assert len(rows) == 12
    for text, form in rows:
        when = parse_condition(text)
        assert spell(when) == text
        assert to_json(when) == json.loads(form)
        assert from_json(json.loads(form)) == when


def test_every_word_of_the_language_is_in_the_grammar() -> None:
    (grammar,) = (text for label, text in FENCED if label == "ebnf")
    words = set(re.findall(r'"(.*?)"', grammar))
    spellings = {"re-arm", "rearms", "=", "=>", "=<", "<>"}
    assert {*INFIXES, *CLAUSES, *STARTS} - spellings <= words
    assert {*FUNCTIONS, *WRITTEN.values(), *limits.TIMEFRAMES} <= words


def test_the_limits_of_the_guide_are_those_of_the_code() -> None:
    section = GUIDE.split("\n## Limits\n", 1)[1]
    told = dict(re.findall(r"^\| (.*?) \| (.*?) \|", section, re.MULTILINE))
    assert told["text"] == f"{limits.TEXT_BYTES_MAX // 1_024} KB"
    assert told["levels of a rule"] == str(limits.DEPTH_MAX)
    assert told["conditions of a rule"] == f"{limits.CONDITIONS_MAX}, {limits.PLAIN_MAX} plain ones"
    assert told["numbers, metrics and operations"] == str(limits.VALUES_MAX)
    assert float(told["a number"]) == limits.NUMBER_MAX
    assert told["bars of `3 of last 5 bars`"] == str(limits.BARS_MAX)
    assert limits.COOLDOWN_MAX_NS == 7 * limits.DAY_NS
    assert told["symbols of a rule, rules"] == f"{limits.SYMBOLS_MAX:,}"
