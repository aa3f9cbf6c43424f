"""Runs plain rules on numpy columns: conditions which must all hold, each a metric against a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import sessions
from functions.rules.checks import defaults_of
from functions.rules.tree import All, Compare, Metric, Number, Rule
from functions.rules.wire import parse_rules

Array = NDArray[Any]

NOISE = 1e-9  # of binary fractions: a ratio of 2 in cents is not more than 2
EQUAL_WITHIN = 1e-4  # of the wire contract: == means |a - b| < 0.0001
OPERATORS: dict[str, Callable[[Array, float], Array]] = {
    ">": lambda a, b: a > b + NOISE * max(1.0, abs(b)),
    "<": lambda a, b: a < b - NOISE * max(1.0, abs(b)),
    ">=": lambda a, b: a >= b - NOISE * max(1.0, abs(b)),
    "<=": lambda a, b: a <= b + NOISE * max(1.0, abs(b)),
    "==": lambda a, b: np.abs(a - b) < EQUAL_WITHIN,
    "!=": lambda a, b: np.abs(a - b) >= EQUAL_WITHIN,
}


@dataclass(frozen=True)
class Condition:
    """One leaf: a metric against a number, where the day's volume and the session allow it."""

    metric: str
    operator: str
    value: float
    volume_threshold: float = 0.0
    sessions: tuple[str, ...] = ()  # () = at any hour


@dataclass(frozen=True)
class Plain:
    """A rule whose conditions must all hold."""

    id: str
    name: str
    conditions: tuple[Condition, ...]
    cooldown_ns: int
    version: str


@dataclass(frozen=True)
class Compiled:
    """A rule set ready to run: every distinct leaf once, rules as lists of leaves."""

    rules: tuple[Plain, ...]
    leaves: tuple[Condition, ...]
    leaves_of: tuple[tuple[int, ...], ...]
    metrics: frozenset[str]

    def truth(self, values: Mapping[str, Array], volume: Array, session: Array) -> list[Array]:
        """For every rule, whether it holds at each event.

        values   metric -> f8 per event, NaN where it cannot be computed
        volume   the day's volume at each event, which volume thresholds are about
        session  session of each event (`sessions.PREMARKET` ...)
        """
        with np.errstate(invalid="ignore"):
            held = [self._leaf(leaf, values, volume, session) for leaf in self.leaves]
        truths = []
        for places in self.leaves_of:
            truth = held[places[0]]
            for place in places[1:]:
                truth = truth & held[place]
            truths.append(truth)
        return truths

    def _leaf(
        self, leaf: Condition, values: Mapping[str, Array], volume: Array, session: Array
    ) -> Array:
        metric = values[leaf.metric]
        holds = OPERATORS[leaf.operator](metric, leaf.value)
        if leaf.operator == "!=":
            holds &= np.isfinite(metric)
        if leaf.volume_threshold:
            holds = holds & (volume >= leaf.volume_threshold)
        if leaf.sessions:
            numbers = [sessions.SESSIONS.index(name) for name in leaf.sessions]
            holds = holds & np.isin(session, numbers)
        return holds


@lru_cache(maxsize=8)
def compile_rules(body: str) -> Compiled:
    """The enabled plain rules of a control body; the same text gives the same object."""
    parsed = parse_rules(body)[0] if body else ()
    rules = tuple(plain for rule in parsed if rule.enabled and (plain := _plain(rule)))
    leaves = list(dict.fromkeys(leaf for rule in rules for leaf in rule.conditions))
    place = {leaf: k for k, leaf in enumerate(leaves)}
    return Compiled(
        rules,
        tuple(leaves),
        tuple(tuple(dict.fromkeys(place[leaf] for leaf in rule.conditions)) for rule in rules),
        frozenset(leaf.metric for leaf in leaves),
    )


def _plain(rule: Rule) -> Plain | None:
    parts = rule.when.parts if isinstance(rule.when, All) else (rule.when,)
    found = [_leaf(part) for part in parts]
    leaves = tuple(leaf for leaf in found if leaf is not None)
    if len(leaves) < len(parts) or rule.symbols or rule.watchlist or rule.once_per:
        return None
    return Plain(rule.id, rule.name, leaves, rule.cooldown_ns, rule.version)


def _leaf(part: Any) -> Condition | None:
    if not isinstance(part, Compare):
        return None
    if not isinstance(part.left, Metric) or not isinstance(part.right, Number):
        return None
    return Condition(part.left.name, part.operator, part.right.value, *defaults_of(part))
