"""What makes a tree a rule: names exist, units fit, limits hold, whichever form it was written in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any as Anything

from functions.market.metrics import ALIASES, NAMES
from functions.market.toplists import LISTS
from functions.market.vocabulary import ALIASES as SAME
from functions.market.vocabulary import ALL as SESSIONS
from functions.market.vocabulary import FAMILIES, MORE, Family
from functions.rules import limits, tree
from functions.rules.faults import RuleFault, nearest, shown
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
from functions.rules.units import WRITTEN, same_unit, unit_of_value

OPERATORS = (">", "<", ">=", "<=", "==", "!=")
ORDERS = OPERATORS[:4]
ARITIES = {
    "+": (2, 2),
    "-": (2, 2),
    "*": (2, 2),
    "/": (2, 2),
    "abs": (1, 1),
    "negative": (1, 1),
    "min": (2, limits.VALUES_MAX),
    "max": (2, limits.VALUES_MAX),
}
FAMILY = {name: family for family in (*FAMILIES, *MORE) for name in family.names}
# Older spellings of names: rel_volume_5m is relative_volume_5m.
OLDER = {
    name.replace("relative_", "rel_"): name for name in NAMES if name.startswith("relative_volume_")
}
KNOWN = (*NAMES, *ALIASES, *OLDER)


def metric_named(name: str) -> Metric:
    """The metric of a name or of another name of it; raises RuleFault."""
    found = OLDER.get(name, name)
    found = ALIASES.get(found, found)
    if found not in NAMES:
        raise RuleFault("a metric", shown(name), nearest=nearest(name, KNOWN))
    return Metric(found)


# Ids of lists beside the system's, while rules of a body that has some are read.
OTHER_LISTS: ContextVar[frozenset[str]] = ContextVar("OTHER_LISTS", default=frozenset())


@contextmanager
def with_lists(ids: Iterable[str]) -> Iterator[None]:
    """Within it rules may name these lists too; a body is read whole, so nothing else sees them."""
    token = OTHER_LISTS.set(frozenset(ids))
    try:
        yield
    finally:
        OTHER_LISTS.reset(token)


def toplist_named(name: str) -> str:
    """The name of a toplist; raises RuleFault."""
    others = OTHER_LISTS.get()
    if name in LISTS or name in others:
        return name
    if name.lower() in LISTS:
        return name.lower()
    raise RuleFault("a toplist", shown(name), nearest=nearest(name, (*LISTS, *sorted(others))))


def family_of(name: str) -> Family:
    """What the vocabulary documents of a name; `rsi_14` is documented as `rsi_14_1m`."""
    return FAMILY[SAME.get(name, name)]


def defaults_of(leaf: Compare | Crosses | Changed) -> tuple[float, tuple[str, ...]]:
    """Where a leaf counts: shares of the trading day, and sessions, () = at any hour.

    What its guard leaves open is as its metrics document it: the highest of their volume thresholds,
    the sessions they have in common. All three sessions are any hour. Raises RuleFault where metrics
    have no session in common.
    """
    volume, sessions = leaf.guard.volume, leaf.guard.sessions
    families = [family_of(name) for name in metrics_of(leaf)]
    if volume is None:
        volume = max((family.volume_threshold for family in families), default=0.0)
    if sessions is None:
        common = [one for one in SESSIONS if all(one in family.sessions for family in families)]
        if not common:
            raise RuleFault(
                "metrics with a session in common, or `during` after the comparison",
                " and ".join(
                    f"{name} ({', '.join(family_of(name).sessions)})"
                    for name in sorted(metrics_of(leaf))
                ),
            )
        sessions = () if len(common) == len(SESSIONS) else tuple(common)
    return float(volume), sessions


def children_of(node: Condition | Value) -> tuple[Anything, ...]:
    """The conditions and values right under a node."""
    match node:
        case tree.Arithmetic():
            return node.values
        case tree.Compare() | tree.Crosses():
            return (node.left, node.right)
        case tree.Changed():
            return (node.value, node.by)
        case tree.Held() | tree.OfLast() | tree.FirstToday():
            return (node.condition,)
        case tree.Then():
            return (node.first, node.second)
        case tree.Rearm():
            return (node.condition, node.value, node.level)
        case tree.All() | tree.Any():
            return node.parts
        case tree.Not():
            return (node.part,)
    return ()


def walk(node: Condition | Value) -> Iterator[tuple[Anything, int]]:
    """Every node of a tree with its depth from 1, a node before what is under it."""
    waiting = [(node, 1)]
    while waiting:
        one, depth = waiting.pop()
        yield one, depth
        waiting += [(child, depth + 1) for child in reversed(children_of(one))]


def leaves_of(root: Condition) -> Iterator[Compare | Crosses | Changed]:
    """The comparisons of a condition, in the order of its text."""
    return (node for node, _ in walk(root) if isinstance(node, Compare | Crosses | Changed))


def metrics_of(node: Condition | Value) -> frozenset[str]:
    """The metrics a condition or a value names."""
    return frozenset(one.name for one, _ in walk(node) if isinstance(one, Metric))


def check_size(root: Condition | Value) -> None:
    """Depth and number of nodes; raises RuleFault."""
    values = conditions = 0
    for node, depth in walk(root):
        if depth > limits.DEPTH_MAX:
            raise RuleFault(f"at most {limits.DEPTH_MAX} levels", "a deeper rule")
        is_value = isinstance(node, Value)
        values, conditions = values + is_value, conditions + (not is_value)
    for count, most, what in (
        (conditions, limits.CONDITIONS_MAX, "conditions"),
        (values, limits.VALUES_MAX, "numbers, metrics and operations"),
    ):
        if count > most:
            raise RuleFault(f"at most {most} {what} in a rule", str(count))


def check_tree(root: Condition) -> Condition:
    """A tree made by hand, whole; raises RuleFault."""
    check_size(root)
    nodes = [node for node, _ in walk(root)]
    for node in reversed(nodes):
        check_node(node)
    for leaf in leaves_of(root):
        defaults_of(leaf)
    return root


def check_node(node: Anything) -> Anything:
    """A node whose children were checked; returns it, raises RuleFault."""
    CHECKS[type(node)](node)
    return node


def check_duration(found_ns: int) -> None:
    """A duration of a condition: a second to a day."""
    if not limits.WITHIN_MIN_NS <= found_ns <= limits.WITHIN_MAX_NS:
        raise RuleFault("a duration from 1s to 1d", f"{found_ns / limits.SECOND_NS:g}s")


def check_counts(least: int, bars: int) -> None:
    """`least` of the last `bars` bars."""
    if not 1 <= bars <= limits.BARS_MAX:
        raise RuleFault(f"1 to {limits.BARS_MAX} bars", str(bars))
    if not 1 <= least <= bars:
        raise RuleFault(f"1 to {bars} of the last {bars} bars", str(least))


def check_timeframe(timeframe: str) -> None:
    """A timeframe that candles are made of."""
    _one_of("a timeframe", timeframe, limits.TIMEFRAMES)


def check_symbols(symbols: list[str]) -> tuple[str, ...]:
    """Symbols once each, as they were told."""
    if len(symbols) > limits.SYMBOLS_MAX:
        raise RuleFault(f"at most {limits.SYMBOLS_MAX} symbols", str(len(symbols)))
    return tuple(dict.fromkeys(symbols))


def _one_of(what: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise RuleFault(
            f"{what}: one of {' '.join(known)}", shown(found), nearest=nearest(str(found), known)
        )


def _number(node: Number) -> None:
    if not math.isfinite(node.value) or abs(node.value) > limits.NUMBER_MAX:
        raise RuleFault(f"a number up to {limits.NUMBER_MAX:g}", f"{node.value:g}")
    if node.unit:
        _one_of("a unit", node.unit, tuple(WRITTEN))


def _metric(node: Metric) -> None:
    if node.name not in NAMES:
        metric_named(node.name)
        raise RuleFault(f"the metric's own name, {ALIASES[node.name]}", shown(node.name))


def _arithmetic(node: Arithmetic) -> None:
    _one_of("an operator", node.operator, tuple(ARITIES))
    least, most = ARITIES[node.operator]
    if not least <= len(node.values) <= most:
        wanted = f"{least} values" if least == most else f"{least} values or more"
        raise RuleFault(f"{wanted} for {node.operator}", str(len(node.values)))
    unit_of_value(node)


def _compare(node: Compare) -> None:
    _one_of("an operator", node.operator, OPERATORS)
    _sides(node.left, node.right)
    _guard(node)


def _crosses(node: Crosses) -> None:
    _one_of("a direction", node.direction, ("above", "below"))
    _sides(node.left, node.right)
    _guard(node)


def _sides(left: Value, right: Value) -> None:
    same_unit(left, right)
    if not metrics_of(left) | metrics_of(right):
        raise RuleFault("a metric on one side at least", "numbers only")


def _changed(node: Changed) -> None:
    _one_of("an operator", node.operator, ORDERS)
    if not metrics_of(node.value):
        raise RuleFault("a value with a metric in it", "numbers only")
    if node.by.unit != "percent":
        same_unit(node.value, node.by)
    check_duration(node.within_ns)
    _guard(node)


def _guard(node: Compare | Crosses | Changed) -> None:
    guard: Guard = node.guard
    if guard.volume is not None and not 0 <= guard.volume <= limits.NUMBER_MAX:
        raise RuleFault(f"shares from 0 to {limits.NUMBER_MAX:g}", f"{guard.volume:g}")
    for session in guard.sessions or ():
        _one_of("a session", session, SESSIONS)
    if guard.sessions and guard.sessions != ordered(guard.sessions):
        raise RuleFault("sessions once each, in the order of the day", ", ".join(guard.sessions))


def ordered(sessions: tuple[str, ...]) -> tuple[str, ...]:
    """Sessions once each, in the order of the day."""
    return tuple(one for one in SESSIONS if one in sessions)


def _of_last(node: tree.OfLast) -> None:
    check_counts(node.at_least, node.bars)
    check_timeframe(node.timeframe)


def _rearm(node: tree.Rearm) -> None:
    _one_of("a direction", node.direction, ("above", "below"))
    _sides(node.value, node.level)


def _parts(node: tree.All | tree.Any) -> None:
    if not node.parts:
        raise RuleFault("one condition at least", "none")


def _nothing(_: Anything) -> None:
    """What is right by its parts."""


CHECKS: dict[type, Callable[[Anything], None]] = {
    Number: _number,
    Metric: _metric,
    Arithmetic: _arithmetic,
    Compare: _compare,
    Crosses: _crosses,
    Changed: _changed,
    tree.Held: lambda node: check_duration(node.for_ns),
    tree.OfLast: _of_last,
    tree.Then: lambda node: check_duration(node.within_ns),
    tree.FirstToday: _nothing,
    tree.Rearm: _rearm,
    tree.Enters: lambda node: _nothing(toplist_named(node.toplist)),
    tree.Leaves: lambda node: _nothing(toplist_named(node.toplist)),
    tree.InList: lambda node: _nothing(toplist_named(node.toplist)),
    tree.All: _parts,
    tree.Any: _parts,
    tree.Not: _nothing,
}
