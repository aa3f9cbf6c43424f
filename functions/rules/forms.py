"""The JSON form of a tree; a comparison is the plain condition of docs/wire.md.

    {"all": [...]}  {"any": [...]}  {"not": ...}
    {"metric": "price", "operator": ">", "value": 5, "volume_threshold": 0, "calculated_during": "all"}
    {"metric": "price", "crosses": "above", "value": {"metric": "vwap_live"}}
    {"metric": "price", "changed": ">=", "by": "3%", "within": "5m"}
    {"held": ..., "for": "20s"}                 {"first_today": ...}
    {"of_last": ..., "at_least": 3, "bars": 5, "timeframe": "1m"}
    {"then": [..., ...], "within": "2m"}        {"enters": "gainers_5m"} {"leaves": ...} {"in": ...}
    {"rearm": ..., "direction": "below", "metric": "price", "value": 99}

Where the left side is no metric it stands as `left`. A value is a number, a text ("$5", "vwap_live * 1.02"),
{"metric": ...}, {"+": [a, b]} and so with - * / min max, {"abs": a} or {"negative": a}. A text may stand for a
condition as well. A duration is a text or a number of seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any as Anything

from functions.market.vocabulary import ALL as SESSIONS
from functions.rules import tree
from functions.rules.checks import (
    ARITIES,
    check_node,
    check_size,
    defaults_of,
    leaves_of,
    metric_named,
    ordered,
    toplist_named,
)
from functions.rules.durations import duration_ns, duration_text
from functions.rules.faults import RuleFault, nearest, shown
from functions.rules.limits import DEPTH_MAX, SECOND_NS
from functions.rules.spelling import spell_number
from functions.rules.text import parse_condition, parse_value
from functions.rules.tree import (
    Arithmetic,
    Changed,
    Compare,
    Condition,
    Crosses,
    Guard,
    Metric,
    Number,
    Value,
)
from functions.rules.words import WORD

Json = dict[str, Anything]

SIDES = ("metric", "left")
GUARD = ("volume_threshold", "calculated_during")
# What an older client sends with a condition, and what follows from the metric anyhow.
TOLD = ("timeframe", "value_type")
DURING = ("all", *SESSIONS)


def from_json(given: Anything, path: str = "") -> Condition:
    """The tree of a JSON form; raises RuleFault with the path to what is wrong."""
    when = _condition(given, path, 1)
    try:
        check_size(when)
        for leaf in leaves_of(when):
            defaults_of(leaf)
    except RuleFault as fault:
        raise fault.under(path) from None
    return when


def to_json(node: Condition) -> Json:
    """The JSON form of a tree."""
    return WRITERS[type(node)](node)


# -- reading conditions


def _condition(given: Anything, path: str, depth: int) -> Condition:
    if depth > DEPTH_MAX:
        raise RuleFault(f"at most {DEPTH_MAX} levels", "a deeper rule", path=path)
    if isinstance(given, str):
        return _text(parse_condition, given, path)
    told = _object(given, "a condition: an object or a text", path)
    if "op" in told:
        told.setdefault("operator", told.pop("op"))
    kind = next((kind for kind in READERS if kind in told), None)
    if kind is None:
        near = next((found for name in told if (found := nearest(str(name), READERS))), "")
        raise RuleFault(
            f"a condition: one of {' '.join(READERS)}",
            f"fields {', '.join(map(str, told)) or 'none'}"[:200],
            nearest=near,
            path=path,
        )
    read, fields = READERS[kind]
    only(told, fields, path)
    return read(told, path, depth)


def _text(parse: Callable[[str], Anything], given: str, path: str) -> Anything:
    try:
        return parse(given)
    except RuleFault as fault:
        raise fault.under(path) from None


def _made(node: Anything, path: str) -> Anything:
    try:
        return check_node(node)
    except RuleFault as fault:
        raise fault.under(path) from None


def _compare(told: Json, path: str, depth: int) -> Condition:
    left, right, guard = _sides(told, path, depth)
    return _made(Compare(_word(told, "operator", path), left, right, guard), path)


def _crosses(told: Json, path: str, depth: int) -> Condition:
    left, right, guard = _sides(told, path, depth)
    return _made(Crosses(_word(told, "crosses", path), left, right, guard), path)


def _changed(told: Json, path: str, depth: int) -> Condition:
    by = _value(_field(told, "by", path), f"{path}.by", depth + 1)
    if not isinstance(by, Number):
        raise RuleFault("a number such as 3%", "a value", path=f"{path}.by")
    value, guard = _left(told, path, depth), _guard(told, path)
    operator, within = _word(told, "changed", path), _duration(told, "within", path)
    return _made(Changed(value, operator, by, within, guard), path)


def _sides(told: Json, path: str, depth: int) -> tuple[Value, Value, Guard]:
    right = _value(_field(told, "value", path), f"{path}.value", depth + 1)
    return _left(told, path, depth), right, _guard(told, path)


def _left(told: Json, path: str, depth: int) -> Value:
    if ("metric" in told) == ("left" in told):
        raise RuleFault("either metric or left", "both" if "left" in told else "neither", path=path)
    if "left" in told:
        return _value(told["left"], f"{path}.left", depth + 1)
    return _metric(told["metric"], f"{path}.metric")


def _guard(told: Json, path: str) -> Guard:
    return Guard(_threshold(told, path), _during(told, path))


def _threshold(told: Json, path: str) -> float | None:
    found = told.get("volume_threshold")
    if found is None:
        return None
    if found == "":
        return 0.0
    path = f"{path}.volume_threshold"
    number = number_of(found)
    if number is None or number < 0:
        raise RuleFault("shares from 0", shown(found), path=path)
    return number


def _during(told: Json, path: str) -> tuple[str, ...] | None:
    found = told.get("calculated_during")
    if found is None:
        return None
    if found in ("", "all") or found == []:
        return ()
    several = found if isinstance(found, list) else [found]
    for one in several:
        if one not in SESSIONS:
            raise RuleFault(
                f"one of {', '.join(DURING)}, or a list of sessions",
                shown(one),
                nearest=nearest(str(one), DURING),
                path=f"{path}.calculated_during",
            )
    return ordered(tuple(several))


def _held(told: Json, path: str, depth: int) -> Condition:
    condition = _condition(told["held"], f"{path}.held", depth + 1)
    return _made(tree.Held(condition, _duration(told, "for", path)), path)


def _of_last(told: Json, path: str, depth: int) -> Condition:
    condition = _condition(told["of_last"], f"{path}.of_last", depth + 1)
    least, bars = (_whole(told, name, path) for name in ("at_least", "bars"))
    return _made(tree.OfLast(condition, least, bars, timeframe_of(told, "timeframe")), path)


def _then(told: Json, path: str, depth: int) -> Condition:
    parts = _list(told, "then", path, depth)
    if len(parts) != 2:
        raise RuleFault("two conditions", str(len(parts)), path=f"{path}.then")
    return _made(tree.Then(parts[0], parts[1], _duration(told, "within", path)), path)


def _first_today(told: Json, path: str, depth: int) -> Condition:
    return tree.FirstToday(_condition(told["first_today"], f"{path}.first_today", depth + 1))


def _rearm(told: Json, path: str, depth: int) -> Condition:
    condition = _condition(told["rearm"], f"{path}.rearm", depth + 1)
    level = _value(_field(told, "value", path), f"{path}.value", depth + 1)
    direction = _word(told, "direction", path)
    return _made(tree.Rearm(condition, direction, _left(told, path, depth), level), path)


def _listed(kind: str, make: Callable[[str], Condition]) -> Callable[..., Condition]:
    def read(told: Json, path: str, _: int) -> Condition:
        name = _word(told, kind, path)
        return make(_text(toplist_named, name, f"{path}.{kind}"))

    return read


def _several(kind: str, make: Callable[..., Condition]) -> Callable[..., Condition]:
    def read(told: Json, path: str, depth: int) -> Condition:
        return _made(make(tuple(_list(told, kind, path, depth))), f"{path}.{kind}")

    return read


def _not(told: Json, path: str, depth: int) -> Condition:
    return tree.Not(_condition(told["not"], f"{path}.not", depth + 1))


def _list(told: Json, name: str, path: str, depth: int) -> list[Condition]:
    found = told[name]
    if not isinstance(found, list):
        raise RuleFault("a list of conditions", shown(found), path=f"{path}.{name}")
    return [_condition(one, f"{path}.{name}[{k}]", depth + 1) for k, one in enumerate(found)]


COMPARED = (*SIDES, "value", *GUARD, *TOLD)
Reader = Callable[[Json, str, int], Condition]
# A kind of condition is told by a field of its own; `operator` goes last, old rules have it everywhere.
READERS: dict[str, tuple[Reader, tuple[str, ...]]] = {
    "all": (_several("all", tree.All), ("all",)),
    "any": (_several("any", tree.Any), ("any",)),
    "not": (_not, ("not",)),
    "crosses": (_crosses, ("crosses", *COMPARED)),
    "changed": (_changed, ("changed", "by", "within", *SIDES, *GUARD)),
    "held": (_held, ("held", "for")),
    "of_last": (_of_last, ("of_last", "at_least", "bars", "timeframe")),
    "then": (_then, ("then", "within")),
    "first_today": (_first_today, ("first_today",)),
    "rearm": (_rearm, ("rearm", "direction", "value", *SIDES)),
    "enters": (_listed("enters", tree.Enters), ("enters",)),
    "leaves": (_listed("leaves", tree.Leaves), ("leaves",)),
    "in": (_listed("in", tree.InList), ("in",)),
    "operator": (_compare, ("operator", *COMPARED)),
    "metric": (_compare, ("operator", *COMPARED)),
}

# -- reading values


def _value(given: Anything, path: str, depth: int) -> Value:
    if depth > DEPTH_MAX:
        raise RuleFault(f"at most {DEPTH_MAX} levels", "a deeper rule", path=path)
    number = number_of(given)
    if number is not None:
        return _made(Number(number), path)
    if isinstance(given, str):
        return _text(parse_value, given, path)
    told = _object(given, "a value: a number, a text or an object", path)
    if len(told) != 1:
        raise RuleFault("one field: metric or an operation", f"{len(told)} fields", path=path)
    ((name, parts),) = told.items()
    if name == "metric":
        return _metric(parts, f"{path}.metric")
    if name not in ARITIES:
        raise RuleFault(
            f"metric or one of {' '.join(ARITIES)}",
            shown(name),
            nearest=nearest(str(name), ("metric", *ARITIES)),
            path=path,
        )
    several = parts if isinstance(parts, list) and ARITIES[name] != (1, 1) else [parts]
    values = [_value(one, f"{path}.{name}[{k}]", depth + 1) for k, one in enumerate(several)]
    return _made(Arithmetic(name, tuple(values)), path)


def _metric(given: Anything, path: str) -> Metric:
    if not isinstance(given, str):
        raise RuleFault("a metric", shown(given), path=path)
    return _text(metric_named, given, path)


# -- small things, of rules as well


def only(told: Mapping[str, Anything], known: Iterable[str], path: str) -> None:
    """No field but the known ones."""
    for name in told:
        if name not in known:
            raise RuleFault(
                f"one of the fields {', '.join(sorted(known))}",
                shown(name),
                nearest=nearest(str(name), known),
                path=path,
            )


def number_of(given: Anything) -> float | None:
    """A finite number as f8; None for anything else."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    try:
        number = float(given)
    except OverflowError:
        return None
    return number + 0.0 if math.isfinite(number) else None


def duration_of(given: Anything, path: str) -> int:
    """Nanoseconds of `"5m"` or of a number of seconds."""
    number = number_of(given)
    if number is not None:
        return round(number * SECOND_NS)
    word = WORD.fullmatch(given.strip()) if isinstance(given, str) and len(given) < 32 else None
    found = None
    if word is not None and word["number"] and "e" not in word["number"].lower():
        found = duration_ns(word["number"], (word["suffix"] or "").lower())
    if found is None:
        raise RuleFault("a duration such as 20s, 5m, 2h or 1d, or seconds", shown(given), path=path)
    return found


def timeframe_of(told: Json, name: str) -> str:
    """A timeframe as text, 1m where there is none."""
    found = told.get(name) or "1m"
    return "60m" if found == "1h" else str(found)


def _duration(told: Json, name: str, path: str) -> int:
    return duration_of(_field(told, name, path), f"{path}.{name}")


def _object(given: Anything, wanted: str, path: str) -> Json:
    if not isinstance(given, dict):
        raise RuleFault(wanted, shown(given), path=path)
    return dict(given)


def _field(told: Json, name: str, path: str) -> Anything:
    if name not in told:
        raise RuleFault(f"the field {name}", "none", path=path)
    return told[name]


def _word(told: Json, name: str, path: str) -> str:
    found = _field(told, name, path)
    if not isinstance(found, str):
        raise RuleFault("a text", shown(found), path=f"{path}.{name}")
    return found


def _whole(told: Json, name: str, path: str) -> int:
    found = _field(told, name, path)
    if isinstance(found, bool) or not isinstance(found, int):
        raise RuleFault("a whole number", shown(found), path=f"{path}.{name}")
    return found


# -- writing


def value_to_json(value: Value) -> Anything:
    """The JSON form of a value."""
    if isinstance(value, Metric):
        return {"metric": value.name}
    if isinstance(value, Number):
        whole = int(value.value) if value.value == int(value.value) else value.value
        return spell_number(value) if value.unit else whole
    parts = [value_to_json(one) for one in value.values]
    return {value.operator: parts[0] if ARITIES[value.operator] == (1, 1) else parts}


def _left_to_json(value: Value) -> Json:
    return {"metric": value.name} if isinstance(value, Metric) else {"left": value_to_json(value)}


def _guard_to_json(guard: Guard) -> Json:
    told: Json = {}
    if guard.volume is not None:
        told["volume_threshold"] = value_to_json(Number(guard.volume))
    if guard.sessions is not None:
        sessions = guard.sessions
        told["calculated_during"] = (
            list(sessions) if len(sessions) > 1 else "".join(sessions) or "all"
        )
    return told


def _compare_to_json(node: Compare) -> Json:
    right = {"operator": node.operator, "value": value_to_json(node.right)}
    return _left_to_json(node.left) | right | _guard_to_json(node.guard)


def _crosses_to_json(node: Crosses) -> Json:
    right = {"crosses": node.direction, "value": value_to_json(node.right)}
    return _left_to_json(node.left) | right | _guard_to_json(node.guard)


def _changed_to_json(node: Changed) -> Json:
    change = {"changed": node.operator, "by": value_to_json(node.by)}
    within = {"within": duration_text(node.within_ns)}
    return _left_to_json(node.value) | change | within | _guard_to_json(node.guard)


def _of_last_to_json(node: tree.OfLast) -> Json:
    counted = {"at_least": node.at_least, "bars": node.bars, "timeframe": node.timeframe}
    return {"of_last": to_json(node.condition), **counted}


def _rearm_to_json(node: tree.Rearm) -> Json:
    told = {"rearm": to_json(node.condition), "direction": node.direction}
    return told | _left_to_json(node.value) | {"value": value_to_json(node.level)}


def _then_to_json(node: tree.Then) -> Json:
    parts = [to_json(node.first), to_json(node.second)]
    return {"then": parts, "within": duration_text(node.within_ns)}


WRITERS: dict[type, Callable[[Anything], Json]] = {
    Compare: _compare_to_json,
    Crosses: _crosses_to_json,
    Changed: _changed_to_json,
    tree.Held: lambda node: {"held": to_json(node.condition), "for": duration_text(node.for_ns)},
    tree.OfLast: _of_last_to_json,
    tree.Then: _then_to_json,
    tree.FirstToday: lambda node: {"first_today": to_json(node.condition)},
    tree.Rearm: _rearm_to_json,
    tree.Enters: lambda node: {"enters": node.toplist},
    tree.Leaves: lambda node: {"leaves": node.toplist},
    tree.InList: lambda node: {"in": node.toplist},
    tree.All: lambda node: {"all": [to_json(part) for part in node.parts]},
    tree.Any: lambda node: {"any": [to_json(part) for part in node.parts]},
    tree.Not: lambda node: {"not": to_json(node.part)},
}
