"""Writes a tree as text, so that reading the text gives the same tree."""

from __future__ import annotations

from typing import Any as Anything

from functions.rules import tree
from functions.rules.durations import duration_text
from functions.rules.tree import (
    Arithmetic,
    Compare,
    Condition,
    Crosses,
    Guard,
    Metric,
    Number,
    Rule,
    Value,
)
from functions.rules.units import WRITTEN

MAGNITUDES = (("B", 1e9), ("M", 1e6), ("k", 1e3))
DEFAULT_COOLDOWN_NS = Rule.cooldown_ns


def spell(when: Condition) -> str:
    """The text of a condition."""
    return SPELLED[type(when)](when)


def spell_rule(rule: Rule) -> str:
    """The text of a rule: its condition, then its clauses where they say more than the defaults."""
    words = [spell(rule.when)]
    if rule.symbols:
        words.append(f"on {', '.join(rule.symbols)}")
    if rule.watchlist:
        words.append(f"in watchlist {rule.watchlist}")
    if rule.cooldown_ns != DEFAULT_COOLDOWN_NS:
        words.append(f"cooldown {duration_text(rule.cooldown_ns)}")
    if rule.once_per:
        words.append(f"once per {rule.once_per} bar")
    return " ".join(words)


def spell_value(value: Value) -> str:
    """The text of a value."""
    if isinstance(value, Metric):
        return value.name
    if isinstance(value, Number):
        return spell_number(value)
    return _arithmetic(value)


def spell_number(number: Number) -> str:
    """The text of a number with its unit: `$1.5M`, `3%`, `100k shares`."""
    amount, unit = spell_amount(abs(number.value)), number.unit
    sign = "-" if number.value < 0 else ""
    if unit == "usd":
        return f"{sign}${amount}"
    gap = " " if len(WRITTEN.get(unit, "")) > 1 or (unit and amount[-1].isalpha()) else ""
    return f"{sign}{amount}{gap}{WRITTEN.get(unit, '')}"


def spell_amount(value: float) -> str:
    """The shortest text of a number that is exactly it: `100k`, `0.5`."""
    if value == int(value):
        for letter, factor in MAGNITUDES:
            if value >= factor and (100 * value) % factor == 0:
                text = f"{value / factor:.2f}".rstrip("0").rstrip(".")
                return f"{text}{letter}"
        return str(int(value))
    return repr(value)


def _arithmetic(value: Arithmetic) -> str:
    if value.operator in ("abs", "min", "max"):
        return f"{value.operator}({', '.join(spell_value(one) for one in value.values)})"
    if value.operator == "negative":
        return f"-{_in_brackets(value.values[0])}"
    left, right = value.values
    return (
        f"{_operand(left, value.operator, 0)} {value.operator} {_operand(right, value.operator, 1)}"
    )


def _operand(value: Value, operator: str, place: int) -> str:
    """An operand, in brackets unless it binds tighter anyhow; the left one also if it binds alike."""
    if not isinstance(value, Arithmetic) or value.operator not in "+-*/":
        return spell_value(value)
    inner, outer = value.operator in "*/", operator in "*/"
    is_clear = inner > outer or (inner == outer and not place)
    return spell_value(value) if is_clear else f"({spell_value(value)})"


def _in_brackets(value: Value) -> str:
    is_clear = isinstance(value, Metric) or (
        isinstance(value, Arithmetic) and value.operator in ("abs", "min", "max")
    )
    return spell_value(value) if is_clear else f"({spell_value(value)})"


def _guard(guard: Guard) -> str:
    volume = "" if guard.volume is None else f" volume >= {spell_amount(guard.volume)}"
    if guard.sessions is None:
        return volume
    return f"{volume} during {', '.join(guard.sessions) or 'all'}"


def _compare(node: Compare) -> str:
    sides = f"{spell_value(node.left)} {node.operator} {spell_value(node.right)}"
    return sides + _guard(node.guard)


def _crosses(node: Crosses) -> str:
    sides = f"{spell_value(node.left)} crosses {node.direction} {spell_value(node.right)}"
    return sides + _guard(node.guard)


def _changed(node: tree.Changed) -> str:
    change = f"{node.operator} {spell_number(node.by)} in {duration_text(node.within_ns)}"
    return f"{spell_value(node.value)} changed by {change}{_guard(node.guard)}"


def _rearm(node: tree.Rearm) -> str:
    condition = node.condition
    is_short = isinstance(condition, Compare | Crosses) and condition.left == node.value
    when = "" if is_short else f"when {spell_value(node.value)} "
    return f"({spell(condition)}) re-arms {when}{node.direction} {spell_value(node.level)}"


def _then(node: tree.Then) -> str:
    return f"{_part(node.first)} then {_part(node.second)} within {duration_text(node.within_ns)}"


def _several(node: tree.All | tree.Any) -> str:
    is_all = isinstance(node, tree.All)
    if len(node.parts) == 1:
        return f"{'all' if is_all else 'any'}({spell(node.parts[0])})"
    return (" and " if is_all else " or ").join(_part(part) for part in node.parts)


def _part(node: Condition) -> str:
    """A part, in brackets where somebody might read it otherwise."""
    is_clear = isinstance(
        node,
        Compare | Crosses | tree.Changed | tree.Enters | tree.Leaves | tree.InList
        | tree.FirstToday | tree.OfLast | tree.Not | tree.Held,
    )  # fmt: skip
    return spell(node) if is_clear else f"({spell(node)})"


def _of_last(node: tree.OfLast) -> str:
    frame = "" if node.timeframe == "1m" else f"{node.timeframe} "
    return f"{node.at_least} of last {node.bars} {frame}bars ({spell(node.condition)})"


SPELLED: dict[type, Anything] = {
    Compare: _compare,
    Crosses: _crosses,
    tree.Changed: _changed,
    tree.Held: lambda node: f"({spell(node.condition)}) held for {duration_text(node.for_ns)}",
    tree.OfLast: _of_last,
    tree.Then: _then,
    tree.FirstToday: lambda node: f"first time today ({spell(node.condition)})",
    tree.Rearm: _rearm,
    tree.Enters: lambda node: f"enters {node.toplist}",
    tree.Leaves: lambda node: f"leaves {node.toplist}",
    tree.InList: lambda node: f"in {node.toplist}",
    tree.All: _several,
    tree.Any: _several,
    tree.Not: lambda node: f"not ({spell(node.part)})",
}
