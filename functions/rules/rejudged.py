"""A rule judged again at a print whose price was corrected, as far as what its alert told allows.

Judged again are comparisons and crossings of `price`, of arithmetic with it, and of changes against
closes that are older than the print. Every other value, and what conditions remembered before the
print, is as the alert told it. A condition of which that does not decide stays as it was.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np

from functions.rules import reasons, tree
from functions.rules.checks import metrics_of
from functions.rules.compile import FLIPPED, Entry, Leaf, Rules
from functions.rules.evaluate import ARITHMETIC, OPERATORS

Truth = bool | None
# Changes whose base is an older close; that of `change_from_open` may be the print itself.
CHANGES = re.compile(r"change_(pct_)?\d+[mhd]|change_from_close(_premarket|_postmarket)?(_pct)?")


class Rejudged(NamedTuple):
    """A rule after the correction; `stands` is False only where it certainly is not true any more."""

    stands: bool
    strength: float
    leaves: list[dict[str, Any]]
    values: dict[str, float]


def rejudged(
    rules: Rules,
    entry: Entry,
    told: list[dict[str, Any]],
    values: dict[str, float],
    prices: tuple[float, float],
) -> Rejudged:
    """A rule that was true at a print, at its corrected price.

    told    the leaves as the alert explained them; values: metrics at the print, where they were known
    prices  of the print, before and after
    """
    moved = {name: _moved(name, value, *prices) for name, value in values.items()}
    leaves = [_again(rules, *pair, moved) for pair in zip(entry.leaves, told, strict=True)]
    truths = {leaf.leaf: one["truth"] for leaf, one in zip(entry.leaves, leaves, strict=True)}
    stands = _judged(entry.rule.when, True, truths) is not False
    return Rejudged(stands, reasons.strength(leaves), leaves, moved)


# -- values


def _follows(name: str) -> bool:
    """Whether a metric moves with the price of the print."""
    return name == "price" or CHANGES.fullmatch(name) is not None


def _moved(name: str, value: float, before: float, after: float) -> float:
    """A metric at the corrected price: its base, which it does not tell, stays where it was."""
    if name == "price":
        return after
    if not _follows(name):
        return value
    if "pct" in name:
        return 100.0 * ((1.0 + value / 100.0) * (after / before) - 1.0)
    return value + (after - before)


def _value(value: tree.Value, known: dict[str, float]) -> float:
    """A value of a rule; NaN where a metric of it was not known."""
    if isinstance(value, tree.Number):
        return value.value
    if isinstance(value, tree.Metric):
        return known.get(value.name, math.nan)
    parts = [np.float64(_value(one, known)) for one in value.values]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        found = float(ARITHMETIC[value.operator](*parts))
    return found if math.isfinite(found) else math.nan


# -- leaves


def _again(
    rules: Rules, leaf: Leaf, told: dict[str, Any], known: dict[str, float]
) -> dict[str, Any]:
    """A leaf after the correction; one that the price does not move is as it was told."""
    one = leaf.leaf
    if not isinstance(one, tree.Compare | tree.Crosses):
        return told
    left, right = rules.values[leaf.left], rules.values[leaf.right]
    if not any(_follows(name) for side in (left, right) for name in metrics_of(side)):
        return told
    value, threshold = _value(left, known), _value(right, known)
    operator = one.operator if isinstance(one, tree.Compare) else one.direction
    holds = bool(
        OPERATORS[FLIPPED.get(operator, operator)](np.float64(value), np.float64(threshold))
    )
    # Unknown stays unknown: a guard said so, or another value. A cross also needs the moment before,
    # of which is told only that one which crossed was on the other side.
    truth = told["truth"]
    if not (math.isfinite(value) and math.isfinite(threshold)):
        truth = None  # divided by 0, perhaps: what cannot be computed is not certainly untrue
    if truth is not None:
        truth = holds and (truth or isinstance(one, tree.Compare))
    margin = reasons.margin(operator, value, threshold)
    both = {"value": value, "threshold": threshold}
    return {
        "text": told["text"],
        **{name: number if math.isfinite(number) else None for name, number in both.items()},
        "truth": truth,
        "margin": margin,
    }


# -- conditions


def _judged(condition: tree.Condition, was: Truth, truths: dict[Any, Truth]) -> Truth:
    """A condition after the correction; None where nothing decides it.

    was   what it was at the print; None where the alert does not tell
    """
    if isinstance(condition, tree.All):
        parts = [_judged(one, True if was else None, truths) for one in condition.parts]
        return False if False in parts else None if None in parts else True
    if isinstance(condition, tree.Any):
        none_was = False if was is False else None
        parts = [_judged(one, none_was, truths) for one in condition.parts]
        return True if True in parts else None if None in parts else False
    if isinstance(condition, tree.Not):
        part = _judged(condition.part, None if was is None else not was, truths)
        return None if part is None else not part
    if isinstance(condition, tree.Held | tree.FirstToday):
        inside = _judged(condition.condition, True if was else None, truths)
        return False if inside is False else was
    if isinstance(condition, tree.Then):
        return False if _judged(condition.second, True if was else None, truths) is False else was
    if isinstance(condition, tree.OfLast | tree.Rearm):  # candles closed, and a latch, stay
        return was
    return truths[condition]
