"""Why a rule fired, and why it did not: every leaf with its value, threshold, truth and margin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.rules import tree
from functions.rules.checks import metrics_of
from functions.rules.compile import AT_ANY_HOUR, Entry, Leaf, Node
from functions.rules.evaluate import Pass
from functions.rules.moments import BARRED
from functions.rules.spelling import spell

Array = NDArray[Any]
At = Callable[[int], float]  # a value by moment

STRENGTH_MAX = 10.0  # ten times its threshold is as far beyond as anything
SECOND_NS = 1_000_000_000
SIGNS = {">": 1, ">=": 1, "<": -1, "<=": -1, "above": 1, "below": -1}


# -- strength


def margin(operator: str, value: float, threshold: float) -> float | None:
    """How far a value is beyond its threshold, as a part of it; negative where it is not.

    A threshold of 0 counts as 1. None where nothing is known, and for ==, which has no beyond.
    """
    if operator == "==" or not (math.isfinite(value) and math.isfinite(threshold)):
        return None
    scale = abs(threshold) or 1.0
    if operator == "!=":
        return abs(value - threshold) / scale
    return SIGNS[operator] * (value - threshold) / scale


def strength(leaves: list[dict[str, Any]]) -> float:
    """The smallest margin of the leaves that are true, within 0 and STRENGTH_MAX; 0 without any.

    0.05 = the closest condition is 5 % beyond its threshold.
    """
    margins = [one["margin"] for one in leaves if one["truth"] and one["margin"] is not None]
    return min(max(min(margins, default=0.0), 0.0), STRENGTH_MAX)


# -- leaves


def explained(asked: Pass, entry: Entry, places: Sequence[int]) -> list[list[dict[str, Any]]]:
    """For each of some moments, every leaf of a rule."""
    columns = [_column(asked, leaf, places) for leaf in entry.leaves]
    return [list(leaves) for leaves in zip(*columns, strict=True)]


def values_at(asked: Pass, entry: Entry, places: Sequence[int]) -> list[dict[str, float | None]]:
    """For each of some moments, the metrics a rule names."""
    columns = [(name, asked.moments.values(name).item) for name in sorted(entry.metrics)]
    return [{name: _told(value(place)) for name, value in columns} for place in places]


def _column(asked: Pass, leaf: Leaf, places: Sequence[int]) -> Iterator[dict[str, Any]]:
    """One leaf at each of some moments."""
    operator, value_at, threshold_at = _sides(asked, leaf)
    for place in places:
        value, threshold = value_at(place), threshold_at(place)
        yield {
            "text": leaf.text,
            "value": _told(value),
            "threshold": _told(threshold),
            "truth": asked.truth_at(leaf.node, place),
            "margin": margin(operator, value, threshold),
        }


def _sides(asked: Pass, leaf: Leaf) -> tuple[str, At, At]:
    """(operator, value, threshold) of a leaf, both at a moment: few moments are ever explained."""
    one = leaf.leaf
    if isinstance(one, tree.Changed):
        key = asked.rules.nodes[leaf.node].key
        return one.operator, asked.told[key].item, lambda _: one.by.value
    if leaf.left < 0:
        return "==", _absent, _absent
    operator = one.operator if isinstance(one, tree.Compare) else one.direction
    return operator, _side(asked, leaf.left), _side(asked, leaf.right)


def _side(asked: Pass, side: int) -> At:
    value = asked.rules.values[side]
    if isinstance(value, tree.Number):
        number = value.value
        return lambda _: number
    at: At = asked.value(side).item
    return at


def _absent(_: int) -> float:
    return math.nan


def _told(value: float) -> float | None:
    return value if math.isfinite(value) else None


# -- why not


def why(asked: Pass, entry: Entry, fired_ns: int, free_ns: int, is_armed: bool) -> dict[str, Any]:
    """Why a rule does not fire at the one moment of a look (`Pass(..., is_peek=True)`), for JSON.

    fired_ns   when it fired last; 0 = never
    free_ns    when its cooldown and its candle are over
    is_armed   whether it was true at the moment before
    """
    leaves = [
        {**next(_column(asked, leaf, (0,))), "why": list(_unknown(asked, leaf))}
        for leaf in entry.leaves
    ]
    is_true, is_false = bool(asked.true(entry.root)[0]), bool(asked.false(entry.root)[0])
    barred = _barred(asked)
    truth = None if barred else True if is_true else False if is_false else None
    ts_ns = int(asked.moments.ts_ns[0])
    found = list(_rule_why(asked, entry, truth, is_armed))
    if fired_ns and ts_ns < free_ns:
        is_cooling = ts_ns < fired_ns + entry.rule.cooldown_ns
        found.append(
            f"{'cooling down' if is_cooling else 'capped: once per ' + entry.rule.once_per} until {free_ns}"
        )
    return {
        "rule": entry.rule.id,
        "version": entry.rule.version,
        "ts_ns": ts_ns,
        "truth": truth,
        "fires": not found,
        "armed": is_armed,
        "why": found,
        "leaves": leaves,
        "conditions": [_condition(asked, asked.rules.nodes[one], one) for one in entry.watching],
        "fired_ns": fired_ns,
    }


def _rule_why(asked: Pass, entry: Entry, truth: bool | None, is_armed: bool) -> Iterator[str]:
    row = int(asked.moments.runs.rows[0])
    if entry.scope is not None and asked.state.symbols[row] not in entry.scope:
        yield "not in scope"
    if _barred(asked):
        yield _barred(asked)
    elif truth is None:
        yield "unknown"
    elif not truth:
        yield "not true"
    elif is_armed:
        yield "true already: it fires when it turns true"


def _barred(asked: Pass) -> str:
    barred = asked.moments.barred
    return "" if barred is None else BARRED[int(barred[0])]


def _unknown(asked: Pass, leaf: Leaf) -> Iterator[str]:
    """Why a leaf is unknown at the one moment of a look; nothing where it is known."""
    if _barred(asked):
        yield _barred(asked)
    node = asked.rules.nodes[leaf.node]
    if asked.true(leaf.node)[0] or asked.false(leaf.node)[0]:
        return
    found = [*_outside(asked, node if leaf.left >= 0 and not node.parts else _inside(asked, node))]
    for place in (leaf.left, leaf.right):
        for name in sorted(metrics_of(asked.rules.values[place])) if place >= 0 else ():
            if not np.isfinite(asked.moments.values(name)[0]):
                found += [f"missing: {name}"]
    if leaf.left < 0:
        found.append(f"missing: toplist {leaf.leaf.toplist} is not known")
    elif not found and not all(asked.finite(one)[0] for one in (leaf.left, leaf.right) if one >= 0):
        found.append("missing: no number, as a division by 0")
    yield from found or ["warming up"]


def _inside(asked: Pass, node: Node) -> Node:
    return asked.rules.nodes[node.parts[0]] if node.parts else node


def _outside(asked: Pass, node: Node) -> Iterator[str]:
    """Which guards of a leaf keep it unknown."""
    session = int(asked.moments.session[0])
    if node.sessions != AT_ANY_HOUR and not node.sessions >> session & 1:
        yield "out of session"
    if node.volume > 0:
        volume = float(asked.moments.volume()[0])
        if not volume >= node.volume:
            yield f"volume below {node.volume:g}: {volume:g}"


def _condition(asked: Pass, node: Node, place: int) -> dict[str, Any]:
    """What a condition that remembers has reached."""
    is_true, is_false = bool(asked.true(place)[0]), bool(asked.false(place)[0])
    truth = True if is_true else False if is_false else None
    told = {
        "text": spell(node.leaf),
        "truth": truth,
        "why": "" if truth is not None else "warming up",
    }
    if node.kind in (tree.Held, tree.Then):
        limit = node.leaf.for_ns if node.kind is tree.Held else node.leaf.within_ns
        told |= {"value": _seconds(asked.told[node.key][0]), "threshold": limit / SECOND_NS}
    elif node.kind is tree.OfLast and node.key in asked.told:
        told |= {"value": int(asked.told[node.key][0]), "threshold": node.leaf.at_least}
    return told


def _seconds(ns: Any) -> float | None:
    return _told(float(ns) / SECOND_NS)
