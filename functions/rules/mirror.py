"""The mirror image of a rule: up becomes down, and what has no direction stays.

    kind of a value                       a number beside it       + and - beside it
    level     price, vwap, ema_9          stays                    change sides
    signed    change_pct_5m, vwap_dist    5 becomes -5
    centred   rsi_14, stoch, position     30 becomes 70            change sides
    relative  price / vwap                1.02 becomes 0.98        change sides
    neutral   volume, ranges, flags       stays

Names change sides as well: high and low, bullish and bearish, support and resistance, gainers and losers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any as Anything

from functions.market.metrics import NAMES
from functions.market.toplists import LISTS
from functions.rules import tree
from functions.rules.checks import FAMILY, check_tree
from functions.rules.faults import RuleFault
from functions.rules.tree import (
    Arithmetic,
    Changed,
    Compare,
    Condition,
    Crosses,
    Metric,
    Number,
    Rule,
    Value,
)
from functions.rules.wire import versioned

LEVEL, SIGNED, CENTRED, RELATIVE, NEUTRAL, PLAIN = (
    *("level", "signed", "centred", "relative", "neutral"),
    "plain",  # numbers alone: they take the kind of what they meet
)
FAMILIES = {
    LEVEL: "price close open high low vwap_live vwap indicator_ema indicator_sma indicator_bb part_bb indicator_vwap",
    SIGNED: "change change_from_close change_from_close_premarket change_from_close_postmarket change_from_open "
    "change_pct indicator_price gap_from_close vwap_dist helper_vwap ma_dist consecutive_candles running_up "
    "running_down indicator_macd part_macd helper_change",
    CENTRED: "indicator_rsi rsi_14 indicator_stoch part_stoch position_in_range",
}
KIND_OF = {family: kind for kind, several in FAMILIES.items() for family in several.split()}
QUOTES = ("bid", "ask", "mid")  # the levels among the quotes
SIDES = (
    *(("high", "low"), ("upper", "lower"), ("above", "below"), ("up", "down"), ("bid", "ask")),
    *(("bullish", "bearish"), ("support", "resistance"), ("breakout", "breakdown")),
    ("gainers", "losers"),
)
OTHER_SIDE = {one: other for pair in SIDES for one, other in (pair, pair[::-1])}
TURNED = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "above": "below", "below": "above"}
CENTRES = {
    CENTRED: Decimal(100),
    RELATIVE: Decimal(2),
}  # what a value and its mirror image add up to


class NoMirror(ValueError):
    """A rule that has no mirror image; says why."""


def flip(rule: Rule) -> Rule:
    """The mirror image of a rule, under its id and name; raises NoMirror, which says why there is none."""
    return versioned(replace(rule, when=flip_condition(rule.when)))


def flip_condition(when: Condition) -> Condition:
    """The mirror image of a condition; the mirror image of that is the condition itself."""
    found = _condition(when)
    if found == when:
        raise NoMirror("nothing in the rule has an up and a down")
    if _condition(found) != when:
        raise NoMirror("its numbers have no exact mirror image")
    try:
        return check_tree(found)
    except RuleFault as fault:
        raise NoMirror(f"its mirror image is no rule: {fault.message}") from fault


# -- names


def other_name(name: str, known: Anything, what: str) -> str:
    """The name of the other side; the same where a name has no side."""
    parts = re.split(r"(_)", name)
    found = "".join(OTHER_SIDE.get(part, part) for part in parts)
    if found not in known:
        raise NoMirror(f"there is no {what} {found}, the other side of {name}")
    return found


def kind_of(name: str) -> str:
    """The kind of a metric's values."""
    return LEVEL if name in QUOTES else KIND_OF.get(FAMILY[name].id, NEUTRAL)


# -- values


def _value(value: Value, kind: str) -> Value:
    """A value mirrored as one of a kind: that of the comparison it stands in."""
    own = _kind(value)
    if isinstance(value, Number):
        return _number(value, kind)
    if own in (NEUTRAL, PLAIN) and kind == SIGNED:
        return _negated(_inside(value, own))
    if own in (NEUTRAL, PLAIN) and kind in CENTRES:
        raise NoMirror(f"a number that is computed has no mirror image beside {kind} values")
    return _inside(value, own)


def _number(number: Number, kind: str) -> Number:
    found = Decimal(repr(number.value))
    if kind == SIGNED:
        found = -found
    elif kind in CENTRES:
        found = CENTRES[kind] - found
    return replace(number, value=float(found) + 0.0)


def _negated(value: Value) -> Value:
    if isinstance(value, Arithmetic) and value.operator == "negative":
        return value.values[0]
    return Arithmetic("negative", (value,))


def _inside(value: Value, kind: str) -> Value:
    """A value mirrored by its parts: the value of this in the mirror is the mirrored value."""
    if isinstance(value, Number):
        return _number(value, kind)
    if isinstance(value, Metric):
        return Metric(other_name(value.name, NAMES, "metric"))
    if value.operator in ("min", "max"):
        return _extreme(value, kind)
    if value.operator in ("abs", "negative"):
        (part,) = value.values
        return replace(value, values=(_inside(part, _kind(part)),))
    if value.operator in "+-":
        return _sum(value, kind)
    return _product(value)


def _extreme(value: Arithmetic, kind: str) -> Value:
    """The highest of some is the lowest in the mirror, where they have a direction."""
    other = {"min": "max", "max": "min"}[value.operator]
    operator = value.operator if kind in (NEUTRAL, PLAIN) else other
    return Arithmetic(operator, tuple(_value(one, kind) for one in value.values))


def _sum(value: Arithmetic, kind: str) -> Value:
    left, right = value.values
    one, two = _kind(left), _kind(right)
    if kind in (LEVEL, *CENTRES) and two in (NEUTRAL, PLAIN):  # a level and a distance
        operator = {"+": "-", "-": "+"}[value.operator]
        return Arithmetic(operator, (_value(left, kind), _inside(right, NEUTRAL)))
    if kind in (LEVEL, *CENTRES) and one in (NEUTRAL, PLAIN):
        return Arithmetic(value.operator, (_value(left, SIGNED), _inside(right, two)))
    if one == two:
        return replace(value, values=(_inside(left, one), _inside(right, two)))
    if SIGNED in (one, two):
        return replace(value, values=tuple(_value(part, SIGNED if own != kind else own) for part, own in ((left, one), (right, two))))  # fmt: skip
    return replace(value, values=(_value(left, one), _value(right, two)))


def _product(value: Arithmetic) -> Value:
    """A level times 1.02 is one times 0.98; else factors stay."""
    left, right = value.values
    one, two = _kind(left), _kind(right)
    if LEVEL in (one, two) and PLAIN in (one, two):
        number = left if one == PLAIN else right
        if not isinstance(number, Number) or not 0 < number.value < 2 or value.operator == "/":
            raise NoMirror("a price times a number has a mirror image only between 0 and 2")
        return replace(value, values=tuple(_value(part, RELATIVE if own == PLAIN else own) for part, own in ((left, one), (right, two))))  # fmt: skip
    return replace(value, values=(_inside(left, one), _inside(right, two)))


# Kinds of what is added (+ and -) and of what is multiplied (* and /); what is missing has no mirror image.
ADDED = {
    (LEVEL, SIGNED): LEVEL,
    (LEVEL, NEUTRAL): LEVEL,
    (CENTRED, SIGNED): CENTRED,
    (CENTRED, NEUTRAL): CENTRED,
    (RELATIVE, SIGNED): RELATIVE,
    (RELATIVE, NEUTRAL): RELATIVE,
    (SIGNED, SIGNED): SIGNED,
    (SIGNED, NEUTRAL): SIGNED,
    (NEUTRAL, NEUTRAL): NEUTRAL,
    (PLAIN, PLAIN): PLAIN,
}
MULTIPLIED = {
    ("*", LEVEL, NEUTRAL): NEUTRAL,  # price * volume: what was turned over
    ("*", SIGNED, NEUTRAL): SIGNED,
    ("*", SIGNED, LEVEL): SIGNED,
    ("*", NEUTRAL, NEUTRAL): NEUTRAL,
    ("*", PLAIN, PLAIN): PLAIN,
    ("*", LEVEL, PLAIN): LEVEL,
    ("*", SIGNED, PLAIN): SIGNED,
    ("/", LEVEL, LEVEL): RELATIVE,
    ("/", LEVEL, PLAIN): LEVEL,
    ("/", SIGNED, PLAIN): SIGNED,
    ("/", SIGNED, NEUTRAL): SIGNED,
    ("/", SIGNED, LEVEL): SIGNED,
    ("/", NEUTRAL, NEUTRAL): NEUTRAL,
    ("/", NEUTRAL, LEVEL): NEUTRAL,
    ("/", PLAIN, PLAIN): PLAIN,
}


def _kind(value: Value) -> str:
    if isinstance(value, Number):
        return PLAIN
    if isinstance(value, Metric):
        return kind_of(value.name)
    kinds = [_kind(one) for one in value.values]
    if value.operator in "*/":
        return _multiplied(value.operator, *kinds)
    if value.operator in ("abs", "negative"):
        return _alone(value.operator, kinds[0])
    if value.operator in "+-":
        return _added(value.operator, *kinds)
    return _together(kinds)


def _alone(operator: str, kind: str) -> str:
    if operator == "abs":
        return NEUTRAL if kind == SIGNED else kind
    if kind in (SIGNED, NEUTRAL, PLAIN):
        return kind
    raise NoMirror(f"the negative of {kind} values has no mirror image")


def _added(operator: str, one: str, other: str) -> str:
    if one == PLAIN != other:
        one = NEUTRAL
    if other == PLAIN != one:
        other = NEUTRAL
    if operator == "-" and one == other and one in (LEVEL, *CENTRES):
        return SIGNED  # a difference
    swapped = (one, other) not in ADDED and operator == "+"
    found = ADDED.get((other, one) if swapped else (one, other))
    if found is None and (one, other) == (NEUTRAL, SIGNED):
        found = SIGNED
    if found is None:
        raise NoMirror(f"{one} {operator} {other} values have no mirror image")
    return found


def _multiplied(operator: str, one: str, other: str) -> str:
    pairs = [(one, other), (other, one)] if operator == "*" else [(one, other)]
    plain = [(NEUTRAL if a == PLAIN else a, NEUTRAL if b == PLAIN else b) for a, b in pairs]
    for a, b in (*pairs, *plain):
        if (operator, a, b) in MULTIPLIED:
            return MULTIPLIED[operator, a, b]
    raise NoMirror(f"{one} {operator} {other} values have no mirror image")


def _together(kinds: list[str]) -> str:
    """The kind that values of one comparison share: numbers take that of the others."""
    some = {kind for kind in kinds if kind != PLAIN} or {PLAIN}
    if some == {SIGNED, NEUTRAL}:
        return SIGNED
    if len(some) > 1:
        raise NoMirror(f"{' and '.join(sorted(some))} values together have no mirror image")
    return some.pop()


# -- conditions


def _condition(node: Condition) -> Condition:
    return FLIPS[type(node)](node)


def _sided(left: Value, right: Value) -> tuple[str, Value, Value]:
    kind = _together([_kind(left), _kind(right)])
    return kind, _value(left, kind), _value(right, kind)


def _compare(node: Compare) -> Condition:
    kind, left, right = _sided(node.left, node.right)
    turned = TURNED.get(node.operator, node.operator)
    operator = node.operator if kind in (NEUTRAL, PLAIN) else turned
    return replace(node, operator=operator, left=left, right=right)


def _crosses(node: Crosses) -> Condition:
    kind, left, right = _sided(node.left, node.right)
    direction = node.direction if kind in (NEUTRAL, PLAIN) else TURNED[node.direction]
    return replace(node, direction=direction, left=left, right=right)


def _changed(node: Changed) -> Condition:
    kind = _kind(node.value)
    value = _inside(node.value, kind)
    if kind in (NEUTRAL, PLAIN):
        return replace(node, value=value)
    if kind != LEVEL and node.by.unit == "percent":
        raise NoMirror(f"a change in percent of {kind} values has no mirror image")
    return replace(node, value=value, operator=TURNED[node.operator], by=_number(node.by, SIGNED))


def _rearm(node: tree.Rearm) -> Condition:
    kind, value, level = _sided(node.value, node.level)
    direction = node.direction if kind in (NEUTRAL, PLAIN) else TURNED[node.direction]
    condition = _condition(node.condition)
    return replace(node, condition=condition, direction=direction, value=value, level=level)


def _inner(node: Anything) -> Condition:
    return replace(node, condition=_condition(node.condition))


def _several(node: tree.All | tree.Any) -> Condition:
    return replace(node, parts=tuple(_condition(part) for part in node.parts))


def _then(node: tree.Then) -> Condition:
    return replace(node, first=_condition(node.first), second=_condition(node.second))


def _listed(node: tree.Enters | tree.Leaves | tree.InList) -> Condition:
    return replace(node, toplist=other_name(node.toplist, LISTS, "toplist"))


FLIPS: dict[type, Callable[[Anything], Condition]] = {
    Compare: _compare,
    Crosses: _crosses,
    Changed: _changed,
    tree.Held: _inner,
    tree.OfLast: _inner,
    tree.FirstToday: _inner,
    tree.Then: _then,
    tree.Rearm: _rearm,
    tree.Enters: _listed,
    tree.Leaves: _listed,
    tree.InList: _listed,
    tree.All: _several,
    tree.Any: _several,
    tree.Not: lambda node: replace(node, part=_condition(node.part)),
}
