"""Answers why a rule does not fire for a symbol: the rule and the symbol are found, or said to be missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from functions.rules import asked, firing
from functions.rules.compile import Rules
from functions.rules.english import read
from functions.rules.faults import nearest, shown
from functions.rules.spelling import spell_rule
from functions.rules.tree import Rule


def answer(
    rules: Rules, state: Any, word: str, symbol: str, at_ns: int, is_always: bool, stale_ns: int
) -> dict[str, Any]:
    """`{"rule", "symbol", "fault"}` where there is nothing to ask, else all of `firing.why_not`.

    With it go the rule's name, text and English, the last price, and `verdict`: `would fire`, `true`,
    `false`, `unknown` or `silent` (true, and kept from firing). `since_ns` is when the rule turned true,
    0 where the cooldown may hide a later turn. Nothing that is kept changes.
    """
    rule = rule_named(rules, word)
    told: dict[str, Any] = {"rule": rule.id if rule else word, "symbol": symbol}
    if rule is None:
        return {**told, "fault": no_rule(rules, word)}
    row = state.row_of(symbol)
    if row is None or not state["market"][row]:
        return {**told, "fault": no_symbol(state.symbols, symbol)}
    at_ns = at_ns or int(state["last_ns"][row])
    if at_ns <= 0:
        return {
            **told,
            "fault": "no event time is known yet: nothing has traded, no clock event came",
        }
    moments = asked.at_clock(state, at_ns, is_always, stale_ns, row)
    found = firing.why_not(rules, rule.id, moments, state)
    more = {"name": rule.name, "text": spell_rule(rule), "english": read(rule)}
    price = float(state["last"][row])
    return {**told, **more, "price": price or None, **found, **verdict_of(rule, found)}


def rule_named(rules: Rules, word: str) -> Rule | None:
    """The rule that runs with this id, or else the only one with this name."""
    by_id = rules.entry_of(word)
    if by_id is not None:
        return by_id.rule
    named = [one for one in rules.rules if one.name.casefold() == word.casefold()]
    return named[0] if len(named) == 1 else None


def verdict_of(rule: Rule, found: dict[str, Any]) -> dict[str, Any]:
    """`verdict` and `since_ns` of an answer."""
    if found["truth"] is None:
        return {"verdict": "unknown", "since_ns": 0}
    if not found["truth"]:
        return {"verdict": "false", "since_ns": 0}
    if found["fires"]:
        return {"verdict": "would fire", "since_ns": 0}
    if not found["armed"]:
        return {"verdict": "silent", "since_ns": 0}
    is_exact = not rule.cooldown_ns and not rule.once_per
    return {"verdict": "true", "since_ns": found["fired_ns"] if is_exact else 0}


def no_rule(rules: Rules, word: str) -> str:
    """Why no rule of this id or name runs."""
    fault = rules.faults.get(word) or next(
        (text for place, text in rules.faults.items() if place.partition(":")[0] == f"rule {word}"),
        "",
    )
    if fault:
        return f"the rule does not run, as it does not compile: {fault}"
    known = [name for one in rules.rules for name in (one.id, one.name)]
    return f"no rule {shown(word)} runs{_meant(word, known)}: it is disabled, or not there"


def no_symbol(known: Iterable[str], symbol: str) -> str:
    """That nothing was heard of a symbol."""
    return f"nothing has been heard of {shown(symbol)} yet{_meant(symbol.upper(), known)}"


def _meant(word: str, known: Iterable[str]) -> str:
    found = nearest(word, known)
    return f"; did you mean {found}?" if found else ""
