"""Random trees that are rules: every node, every unit, within the limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from hypothesis import strategies as st

from functions.market.metrics import NAMES
from functions.market.toplists import LISTS
from functions.market.vocabulary import ALL as SESSIONS
from functions.rules import tree
from functions.rules.checks import ORDERS, check_tree, defaults_of
from functions.rules.faults import RuleFault
from functions.rules.limits import BARS_MAX, SECOND_NS, TEXT_BYTES_MAX, TIMEFRAMES
from functions.rules.spelling import spell
from functions.rules.tree import Arithmetic, Changed, Compare, Crosses, Guard, Metric, Number
from functions.rules.units import UNITS, WRITTEN
from functions.rules.wire import versioned

Values = st.SearchStrategy[tree.Value]
Conditions = st.SearchStrategy[tree.Condition]

amounts = st.one_of(
    st.integers(-1_000, 1_000).map(float),
    st.integers(-9_999, 9_999).map(lambda cents: cents / 100),
    st.integers(1, 9_999).map(lambda thousands: thousands * 1_000.0),
    st.floats(-1e15, 1e15, allow_nan=False).map(lambda number: number + 0.0),
)
durations = st.one_of(
    st.integers(1, 86_400).map(lambda seconds: seconds * SECOND_NS),
    st.integers(1, 24).map(lambda hours: hours * 3_600 * SECOND_NS),
    st.integers(SECOND_NS, 86_400 * SECOND_NS),
)
sessions = st.sets(st.sampled_from(SESSIONS)).map(
    lambda some: tuple(one for one in SESSIONS if one in some)
)
guards = st.builds(
    Guard,
    st.none() | st.integers(0, 5_000_000).map(float) | st.floats(0, 1e9).map(lambda n: n + 0.0),
    st.none() | sessions,
)
toplists = st.sampled_from(sorted(LISTS))


@lru_cache
def numbers(unit: str) -> st.SearchStrategy[Number]:
    """Numbers with a unit, or without."""
    written = ("", unit) if unit in WRITTEN else ("",)
    return st.builds(Number, amounts, st.sampled_from(written))


@lru_cache
def by_unit(names: frozenset[str]) -> dict[str, list[str]]:
    """Metrics by their unit."""
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(UNITS[name], []).append(name)
    return found


@lru_cache(maxsize=256)
def values(unit: str, names: frozenset[str]) -> Values:
    """Values of a unit with at least one metric in them."""
    metrics = st.sampled_from(by_unit(names)[unit]).map(Metric)

    def wider(inner: Values) -> Values:
        other = inner | numbers(unit)
        scaled = st.builds(Number, amounts)
        return st.one_of(
            st.builds(lambda sign, a, b: Arithmetic(sign, (a, b)), st.sampled_from("+-"), inner, other),
            st.builds(lambda sign, a, b: Arithmetic(sign, (a, b)), st.sampled_from("+-"), other, inner),
            st.builds(lambda sign, a, b: Arithmetic(sign, (a, b)), st.sampled_from("*/"), inner, scaled),
            st.builds(lambda a, b: Arithmetic("*", (a, b)), scaled, inner),
            st.builds(lambda one, a: Arithmetic(one, (a,)), st.sampled_from(["abs", "negative"]), inner),
            st.builds(lambda one, a, rest: Arithmetic(one, (a, *rest)), st.sampled_from(["min", "max"]), inner, st.lists(other, min_size=1, max_size=3)),
        )  # fmt: skip

    return st.recursive(metrics, wider, max_leaves=4)


def counting(leaf: tree.Compare | tree.Crosses | tree.Changed) -> tree.Condition:
    """The leaf; where its metrics have no session in common it counts at any hour."""
    try:
        defaults_of(leaf)
    except RuleFault:
        return replace(leaf, guard=replace(leaf.guard, sessions=()))
    return leaf


@st.composite
def leaves(draw: st.DrawFn, names: frozenset[str]) -> tree.Condition:
    """A comparison, a crossing, a change, or an event of a toplist."""
    kind = draw(st.sampled_from(["compare", "compare", "crosses", "changed", "list"]))
    if kind == "list":
        return draw(st.sampled_from([tree.Enters, tree.Leaves, tree.InList]))(draw(toplists))
    unit, guard = draw(st.sampled_from(sorted(by_unit(names)))), draw(guards)
    value = draw(values(unit, names))
    if kind == "changed":
        by = draw(numbers(unit) | st.builds(Number, amounts, st.just("percent")))
        return counting(Changed(value, draw(st.sampled_from(ORDERS)), by, draw(durations), guard))
    other = draw(values(unit, names) | numbers(unit))
    left, right = (value, other) if draw(st.integers(0, 4)) else (other, value)
    if kind == "crosses":
        return counting(Crosses(draw(st.sampled_from(["above", "below"])), left, right, guard))
    return counting(Compare(draw(st.sampled_from([*ORDERS, "==", "!="])), left, right, guard))


@st.composite
def of_last(draw: st.DrawFn, inner: Conditions) -> tree.Condition:
    """`3 of last 5 5m bars (...)`."""
    bars = draw(st.integers(1, BARS_MAX))
    least = draw(st.integers(1, bars))
    return tree.OfLast(draw(inner), least, bars, draw(st.sampled_from(TIMEFRAMES)))


@st.composite
def rearms(draw: st.DrawFn, inner: Conditions, names: frozenset[str]) -> tree.Condition:
    """Hysteresis of any condition, or on the left side of a comparison."""
    condition = draw(inner)
    unit = draw(st.sampled_from(sorted(by_unit(names))))
    value = draw(values(unit, names))
    level = draw(values(unit, names) | numbers(unit))
    if isinstance(condition, Compare | Crosses) and draw(st.booleans()):
        value, level = condition.left, condition.right
    return tree.Rearm(condition, draw(st.sampled_from(["above", "below"])), value, level)


def conditions(names: Iterable[str] = NAMES, max_leaves: int = 8) -> Conditions:
    """Conditions of any shape over some metrics."""
    some = frozenset(names)

    def wider(inner: Conditions) -> Conditions:
        several = st.lists(inner, min_size=1, max_size=4).map(tuple)
        return st.one_of(
            st.builds(tree.All, several),
            st.builds(tree.Any, several),
            st.builds(tree.Not, inner),
            st.builds(tree.Held, inner, durations),
            st.builds(tree.Then, inner, inner, durations),
            st.builds(tree.FirstToday, inner),
            of_last(inner),
            rearms(inner, some),
        )

    found = st.recursive(leaves(some), wider, max_leaves=max_leaves)
    return found.filter(fits)


def fits(condition: tree.Condition) -> bool:
    """Whether a tree and its text keep to the limits; what else is wrong with it is a fault of this file."""
    if len(spell(condition)) > TEXT_BYTES_MAX:
        return False
    try:
        check_tree(condition)
    except RuleFault as fault:
        if "at most" in fault.expected:
            return False
        raise
    return True


def rules(names: Iterable[str] = NAMES) -> st.SearchStrategy[tree.Rule]:
    """Whole rules, each with its version."""
    made = st.builds(
        tree.Rule,
        id=st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True),
        name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20),
        when=conditions(names),
        cooldown_ns=st.integers(0, 7 * 86_400).map(lambda seconds: seconds * SECOND_NS),
        once_per=st.sampled_from(["", *TIMEFRAMES]),
        symbols=st.lists(st.sampled_from(["AAPL", "BRK.B", "BTC/USD", "ON", "IN", "ALL"]), unique=True).map(tuple),
        watchlist=st.sampled_from(["", "mine", "b0-1"]),
        enabled=st.booleans(),
        owner=st.sampled_from(["", "ann"]),
    )  # fmt: skip
    return made.map(versioned)
