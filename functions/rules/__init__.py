"""The rule language: one tree of a rule, read from text and JSON, written as text, JSON and English."""

from functions.rules.checks import defaults_of
from functions.rules.compile import Rules, compile_rules, compiled
from functions.rules.desk import answer as answer_rules
from functions.rules.desk import faults_by_rule
from functions.rules.english import read
from functions.rules.faults import RuleFault
from functions.rules.forms import from_json, to_json
from functions.rules.mirror import NoMirror, flip
from functions.rules.spelling import spell, spell_rule
from functions.rules.text import parse_condition, parse_text
from functions.rules.tree import Rule
from functions.rules.wire import (
    check_rules,
    parse_rule,
    parse_rules,
    parse_text_rule,
    rule_to_json,
)

__all__ = [
    "NoMirror",
    "Rule",
    "RuleFault",
    "Rules",
    "answer_rules",
    "check_rules",
    "compile_rules",
    "compiled",
    "defaults_of",
    "faults_by_rule",
    "flip",
    "from_json",
    "parse_condition",
    "parse_rule",
    "parse_rules",
    "parse_text",
    "parse_text_rule",
    "read",
    "rule_to_json",
    "spell",
    "spell_rule",
    "to_json",
]
