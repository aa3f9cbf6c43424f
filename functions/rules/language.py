"""Plain JSON rules: all conditions must hold, each a metric against a number.

    {"id": "r1", "name": "RSI oversold", "cooldown": 300, "enabled": true, "conditions": [
        {"metric": "rsi_14", "operator": "<", "value": 30, "volume_threshold": 0,
         "calculated_during": "all"}]}

`op` for `operator` and `cooldown_sec` for `cooldown` are understood as well. A metric that cannot be
computed makes its condition unknown, and unknown never fires.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import sessions
from functions.market.metrics import ALIASES, NAMES

Array = NDArray[Any]

NAME_MAX = 200
CONDITIONS_MAX = 32
RULES_MAX = 1_000
COOLDOWN_MAX_S = 7 * 86_400
NOISE = 1e-9  # of binary fractions: a ratio of 2 in cents is not more than 2
EQUAL_WITHIN = 1e-4  # of the wire contract: == means |a - b| < 0.0001
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
SESSIONS = ("all", *sessions.SESSIONS[1:])  # closed cannot be asked for
KEYS = {
    "id",
    "name",
    "description",
    "conditions",
    "cooldown",
    "enabled",
    "created_at",
    "updated_at",
}
CONDITION_KEYS = {
    "metric",
    "operator",
    "value",
    "volume_threshold",
    "calculated_during",
    "timeframe",
    "value_type",
}
OPERATORS: dict[str, Callable[[Array, float], Array]] = {
    ">": lambda a, b: a > b + NOISE * max(1.0, abs(b)),
    "<": lambda a, b: a < b - NOISE * max(1.0, abs(b)),
    ">=": lambda a, b: a >= b - NOISE * max(1.0, abs(b)),
    "<=": lambda a, b: a <= b + NOISE * max(1.0, abs(b)),
    "==": lambda a, b: np.abs(a - b) < EQUAL_WITHIN,
    "!=": lambda a, b: np.abs(a - b) >= EQUAL_WITHIN,
}


class RuleFault(ValueError):
    """A rule that cannot be used: which field, what was expected, what was found."""


@dataclass(frozen=True)
class Condition:
    """One leaf: a metric against a number, where the day's volume and the session allow it."""

    metric: str
    operator: str
    value: float
    volume_threshold: float = 0.0
    calculated_during: str = "all"


@dataclass(frozen=True)
class Rule:
    """A checked rule; `version` is the hash of what it means."""

    id: str
    name: str
    conditions: tuple[Condition, ...]
    cooldown_ns: int
    enabled: bool
    version: str


def check_rules(body: str) -> str:
    """A control body `{"rules": [...]}` with every rule checked; raises RuleFault (a ValueError)."""
    parse_rules(body)
    return body


def parse_rules(body: str) -> tuple[Rule, ...]:
    """The rules of a control body, ordered by id."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RuleFault(f"not JSON: {error}") from error
    rules = told.get("rules") if isinstance(told, dict) else None
    if not isinstance(rules, list):
        raise RuleFault('expected {"rules": [...]}')
    if len(rules) > RULES_MAX:
        raise RuleFault(f"expected at most {RULES_MAX} rules, found {len(rules)}")
    parsed = [parse_rule(rule) for rule in rules]
    seen: set[str] = set()
    for rule in parsed:
        if rule.id in seen:
            raise RuleFault(f"rule {rule.id}: stands twice")
        seen.add(rule.id)
    return tuple(sorted(parsed, key=lambda rule: rule.id))


def parse_rule(given: Any) -> Rule:
    """One rule; raises RuleFault."""
    if not isinstance(given, dict):
        raise RuleFault(f"expected an object, found {_kind(given)}")
    told = dict(given)
    if "cooldown_sec" in told:
        told.setdefault("cooldown", told.pop("cooldown_sec"))
    if "conditions" not in told and "metric" in told:  # the older form of one condition
        told["conditions"] = [
            {name: told.pop(name) for name in list(told) if name in CONDITION_KEYS | {"op"}}
        ]
        told.pop("type", None)
    where = f"rule {told.get('id') or told.get('name') or '?'}"
    _only(told, KEYS, where)
    rule_id = told.get("id")
    if not isinstance(rule_id, str) or not ID.fullmatch(rule_id):
        raise RuleFault(
            f"{where}: id: expected 1 to 64 of letters, digits, - and _, found {rule_id!r}"
        )
    name = told.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_MAX:
        raise RuleFault(f"{where}: name: expected 1 to {NAME_MAX} letters, found {name!r}")
    cooldown = told.get("cooldown", 10)
    if not _is_number(cooldown) or not 0 <= cooldown <= COOLDOWN_MAX_S:
        raise RuleFault(
            f"{where}: cooldown: expected seconds from 0 to {COOLDOWN_MAX_S}, found {cooldown!r}"
        )
    enabled = told.get("enabled", True)
    if not isinstance(enabled, bool):
        raise RuleFault(f"{where}: enabled: expected true or false, found {enabled!r}")
    conditions = told.get("conditions")
    if not isinstance(conditions, list) or not 0 < len(conditions) <= CONDITIONS_MAX:
        raise RuleFault(f"{where}: conditions: expected a list of 1 to {CONDITIONS_MAX}")
    leaves = tuple(
        _condition(condition, f"{where}: conditions[{k}]") for k, condition in enumerate(conditions)
    )
    meaning = json.dumps([[vars(leaf) for leaf in leaves], cooldown], sort_keys=True)
    version = hashlib.blake2b(f"{rule_id}|{meaning}".encode(), digest_size=8).hexdigest()
    return Rule(rule_id, name, leaves, int(cooldown * 1e9), enabled, version)


def _condition(given: Any, where: str) -> Condition:
    if not isinstance(given, dict):
        raise RuleFault(f"{where}: expected an object, found {_kind(given)}")
    told = dict(given)
    if "op" in told:
        told.setdefault("operator", told.pop("op"))
    _only(told, CONDITION_KEYS, where)
    metric = told.get("metric")
    if not isinstance(metric, str) or ALIASES.get(metric, metric) not in NAMES:
        near = difflib.get_close_matches(str(metric), [*NAMES, *ALIASES], 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(NAMES))}"
        raise RuleFault(f"{where}: metric: no metric {metric!r}{hint}")
    operator = told.get("operator")
    if operator not in OPERATORS:
        raise RuleFault(
            f"{where}: operator: expected one of {' '.join(OPERATORS)}, found {operator!r}"
        )
    value = told.get("value")
    if not _is_number(value):
        raise RuleFault(f"{where}: value: expected a number, found {value!r}")
    threshold = told.get("volume_threshold") or 0
    if not _is_number(threshold) or threshold < 0:
        raise RuleFault(f"{where}: volume_threshold: expected shares from 0, found {threshold!r}")
    during = told.get("calculated_during") or "all"
    if during not in SESSIONS:
        raise RuleFault(
            f"{where}: calculated_during: expected one of {', '.join(SESSIONS)}, found {during!r}"
        )
    if told.get("value_type") not in (None, "", "$", "%"):
        raise RuleFault(f"{where}: value_type: expected $ or %, found {told['value_type']!r}")
    return Condition(ALIASES.get(metric, metric), operator, float(value), float(threshold), during)


def _only(told: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in told:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = (
                f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
            )
            raise RuleFault(f"{where}: {name}: no such field{hint}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _kind(value: Any) -> str:
    return type(value).__name__


@dataclass(frozen=True)
class Compiled:
    """A rule set ready to run: every distinct leaf once, rules as lists of leaves."""

    rules: tuple[Rule, ...]
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
        if leaf.calculated_during != "all":
            holds = holds & (session == sessions.SESSIONS.index(leaf.calculated_during))
        return holds


@lru_cache(maxsize=8)
def compile_rules(body: str) -> Compiled:
    """The enabled rules of a control body; the same text gives the same object."""
    rules = tuple(rule for rule in parse_rules(body) if rule.enabled) if body else ()
    leaves = list(dict.fromkeys(leaf for rule in rules for leaf in rule.conditions))
    place = {leaf: k for k, leaf in enumerate(leaves)}
    return Compiled(
        rules,
        tuple(leaves),
        tuple(tuple(dict.fromkeys(place[leaf] for leaf in rule.conditions)) for rule in rules),
        frozenset(leaf.metric for leaf in leaves),
    )
