"""Rules as one table of nodes: what several rules say is there once, and a faulty rule stops no other.

A node is a condition. Stateless ones are the same for all rules that have them; one that remembers
something is of one rule version and has a key, under which its state lies:

    <family>.<rule version>.<number of the node in its rule>     families: `watches.STATE`

Compares are tests (a value against a value) and guards (volume, sessions). A conjunction keeps the
tests of its parts, the highest volume and the sessions all of them allow, so that it costs a few
vector operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.market import sessions
from functions.market.metrics import ALIASES, METRICS
from functions.rules import tree
from functions.rules.checks import check_size, children_of, defaults_of, family_of, metrics_of, walk
from functions.rules.spelling import spell
from functions.rules.wire import parse_rules

Array = NDArray[Any]

NOISE = 1e-9  # of binary fractions: a ratio of 2 in cents is not more than 2
EQUAL_WITHIN = 1e-4  # of the wire contract: == means |a - b| < 0.0001
GROUP_MAX = 16  # tests done at once: more masks than that do not stay near the processor
RINGS_MAX = 32  # `changed` of a rule set: 5.2 MB each with 10,000 symbols, 170 MB in all
TIMEFRAMES = {"1m": 1, "2m": 2, "5m": 5, "10m": 10, "15m": 15, "30m": 30, "60m": 60}
# Data that only prints, or nothing within a day, change: metrics of these stand still between prints.
STILL = frozenset(
    "ticks session prev_day_close today_open today_close day_high_low day_high_low_extended "
    "session_vwap fundamentals short_interest avg_daily_volume status".split()
)
AT_ANY_HOUR = (1 << len(sessions.SESSIONS)) - 1
FLIPPED = {"below": "<", "above": ">"}


@dataclass(frozen=True)
class Test:
    """A value against a value, as places in `Rules.values`; `bound` where the right one is a number."""

    operator: str
    left: int
    right: int
    bound: float | None = None


@dataclass(frozen=True)
class Node:
    """A condition of the table.

    kind      type of the tree's condition; `tree.Compare` alone has a test
    parts     nodes it is made of
    tests     of a compare, and of those a conjunction consists of, the most shared first
    volume    shares of the day below which it is unknown
    sessions  bits of the sessions outside which it is unknown
    leaf      the tree's condition, where numbers of it are needed
    key       where it keeps its state; "" = it has none
    value     place of the value that is watched
    is_timed  of one with a key: its rule is asked at clock events too
    """

    kind: type
    parts: tuple[int, ...] = ()
    tests: tuple[int, ...] = ()
    volume: float = 0.0
    sessions: int = AT_ANY_HOUR
    leaf: Any = None
    key: str = ""
    value: int = -1
    is_timed: bool = False


@dataclass(frozen=True)
class Leaf:
    """What is explained of a rule: its leaves as written, with the node that knows their truth."""

    leaf: Any
    text: str
    node: int
    left: int = -1  # places of values
    right: int = -1


@dataclass(frozen=True)
class Entry:
    """A rule in the table."""

    rule: tree.Rule
    root: int
    watching: tuple[int, ...]  # nodes with state, those they rest on first
    leaves: tuple[Leaf, ...]
    metrics: frozenset[str]
    is_timed: bool  # time alone changes it: asked at clock events as well
    scope: frozenset[str] | None  # symbols; None = all


@dataclass
class Rules:
    """A rule set ready to run: made by `compiled`, never changed afterwards.

    faults     id -> why a rule is left out
    metrics    names in use
    groups     per test: the tests that compare the same value in the same way with numbers, and these
               numbers as a column: one operation for all of them
    """

    entries: tuple[Entry, ...] = ()
    nodes: list[Node] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)
    values: list[tree.Value] = field(default_factory=list)
    place_of: dict[tree.Value, int] = field(default_factory=dict)  # of each value
    faults: dict[str, str] = field(default_factory=dict)
    groups: list[tuple[list[int], Array]] = field(default_factory=list)

    @cached_property
    def rules(self) -> tuple[tree.Rule, ...]:
        """The rules that run, by id."""
        return tuple(entry.rule for entry in self.entries)

    @cached_property
    def metrics(self) -> frozenset[str]:
        """Names of the metrics in use."""
        return frozenset().union(*(entry.metrics for entry in self.entries))

    @cached_property
    def timed(self) -> tuple[Entry, ...]:
        """The rules that are asked at clock events as well as at prints."""
        return tuple(entry for entry in self.entries if entry.is_timed)

    def entry_of(self, rule_id: str) -> Entry | None:
        """A rule that runs, by its id."""
        return next((entry for entry in self.entries if entry.rule.id == rule_id), None)


def compiled(rules: Iterable[tree.Rule], clock_metrics: bool = True) -> Rules:
    """The enabled rules, by id; one that cannot be compiled is told in `faults`.

    clock_metrics   rules whose metrics change without a print (windows, candles, minutes) are asked
                    at clock events too; False: only those with `held`, `changed`, `of the last` or lists
    """
    table = _Table(clock_metrics)
    for rule in sorted(rules, key=lambda one: one.id):
        if rule.enabled:
            table.add(rule)
    return table.made()


@lru_cache(maxsize=8)
def compile_rules(body: str) -> Rules:
    """The enabled rules of a control body; the same text gives the same object. Faults stop no other."""
    if not body:
        return Rules()
    parsed, faults = parse_rules(body)
    rules = compiled(parsed, clock_metrics=False)
    rules.faults |= {fault.path or str(place): str(fault) for place, fault in enumerate(faults)}
    return rules


# -- what depends on time


def changes_with_time(metric: str) -> bool:
    """Whether a metric can change without a print: windows, candles, minutes, quotes, news."""
    family = family_of(metric)
    return family.evaluate_on == "candle_close" or not set(family.needs) <= STILL


def is_timed(rule: tree.Rule, clock_metrics: bool = True) -> bool:
    """Whether time alone can change a rule."""
    timed = (tree.Held, tree.Changed, tree.OfLast, tree.InList, tree.Enters, tree.Leaves)
    if any(isinstance(one, timed) for one, _ in walk(rule.when)):
        return True
    return clock_metrics and any(changes_with_time(name) for name in metrics_of(rule.when))


def guard_of(leaf: tree.Compare | tree.Crosses | tree.Changed) -> tuple[float, int]:
    """(volume, bits of sessions) of a leaf's guard, defaults filled in."""
    volume, names = defaults_of(leaf)
    return volume, _bits(names) if names else AT_ANY_HOUR


def parts_of(condition: Any) -> list[Any]:
    """The conditions a condition is made of."""
    return [one for one in children_of(condition) if not isinstance(one, tree.Value)]


def _bits(names: Iterable[str]) -> int:
    return sum(1 << sessions.SESSIONS.index(name) for name in names)


# -- the table


class _Table:
    def __init__(self, clock_metrics: bool) -> None:
        self._clock_metrics = clock_metrics
        self._rules = Rules()
        self.nodes, self.tests = self._rules.nodes, self._rules.tests
        self._entries: list[Entry] = []
        self._node_of: dict[Node, int] = {}
        self._test_of: dict[Test, int] = {}
        self._rings = 0

    def add(self, rule: tree.Rule) -> None:
        """Take a rule up, or say why not."""
        try:
            self._check(rule)
            made = _One(self, rule, is_timed(rule, self._clock_metrics))
            self._entries.append(made.entry(made.node(rule.when)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self._rules.faults[rule.id] = f"rule {rule.id}: {error}"

    def _check(self, rule: tree.Rule) -> None:
        check_size(rule.when)
        for name in sorted(metrics_of(rule.when)):
            if ALIASES.get(name, name) not in METRICS:
                raise ValueError(f"metric: no metric {name!r}")
        rings = len({one for one, _ in walk(rule.when) if isinstance(one, tree.Changed)})
        if self._rings + rings > RINGS_MAX:
            raise ValueError(
                f"changed: expected at most {RINGS_MAX} in all rules together, as each keeps 62 values "
                f"a symbol; found {self._rings + rings}"
            )
        self._rings += rings

    def node(self, node: Node) -> int:
        """The place of a node, which is there once."""
        return _place(self._node_of, self._rules.nodes, node)

    def test(self, operator: str, left: tree.Value, right: tree.Value) -> int:
        """The place of a test."""
        right = folded(right)
        bound = _bound(operator, right.value) if isinstance(right, tree.Number) else None
        test = Test(operator, self.value(left), self.value(right), bound)
        return _place(self._test_of, self._rules.tests, test)

    def value(self, value: tree.Value) -> int:
        """The place of a value."""
        value = folded(value)
        for part in value.values if isinstance(value, tree.Arithmetic) else ():
            self.value(part)
        return _place(self._rules.place_of, self._rules.values, value)

    def made(self) -> Rules:
        """The table, the tests of conjunctions ordered so that what is known already comes first."""
        shared = Counter(test for node in self._rules.nodes for test in node.tests)
        self._rules.nodes = [
            replace(node, tests=tuple(sorted(node.tests, key=lambda one: (-shared[one], one))))
            for node in self._rules.nodes
        ]
        self._rules.entries = tuple(self._entries)
        self._rules.groups = _groups(self.tests)
        return self._rules


def _place(places: dict[Any, int], kept: list[Any], one: Any) -> int:
    if one not in places:
        places[one] = len(kept)
        kept.append(one)
    return places[one]


def _groups(tests: list[Test]) -> list[tuple[list[int], Array]]:
    """For each test the tests it is done with, and their numbers; itself alone where it has none."""
    members: dict[Any, list[int]] = {}
    for place, test in enumerate(tests):
        alone = place if test.bound is None else -1
        members.setdefault((test.operator, test.left, alone), []).append(place)
    groups = {
        place: (some[first : first + GROUP_MAX])
        for some in members.values()
        for first in range(0, len(some), GROUP_MAX)
        for place in some[first : first + GROUP_MAX]
    }
    return [
        (groups[place], np.array([[tests[one].bound or 0.0] for one in groups[place]]))
        for place in range(len(tests))
    ]


def _bound(operator: str, right: float) -> float:
    """A number with room for binary fractions, so that one comparison is enough."""
    noise = NOISE * max(1.0, abs(right))
    return right + {">": noise, "<": -noise, ">=": -noise, "<=": noise}.get(operator, 0.0)


def folded(value: tree.Value) -> tree.Value:
    """A value whose arithmetic of plain numbers is done, and whose metrics have their computed names."""
    if isinstance(value, tree.Metric):
        return tree.Metric(ALIASES.get(value.name, value.name))
    if not isinstance(value, tree.Arithmetic):
        return tree.Number(float(value.value)) if isinstance(value, tree.Number) else value
    parts = tuple(folded(one) for one in value.values)
    if not all(isinstance(one, tree.Number) for one in parts):
        return tree.Arithmetic(value.operator, parts)
    try:
        number = NUMBERS[value.operator](
            *(one.value for one in parts if isinstance(one, tree.Number))
        )
    except ZeroDivisionError:  # not known, at any moment
        return tree.Arithmetic(value.operator, parts)
    return tree.Number(float(number))


NUMBERS: dict[str, Callable[..., float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "abs": abs,
    "negative": lambda a: -a,
    "min": min,
    "max": max,
}


class _One:
    """One rule on its way into the table."""

    def __init__(self, table: _Table, rule: tree.Rule, is_timed: bool) -> None:
        self._table = table
        self._is_timed = is_timed
        self._rule = rule
        self._made: dict[tree.Condition, int] = {}
        self._watching: list[int] = []
        self._leaves: list[Leaf] = []

    def entry(self, root: int) -> Entry:
        """The rule, with all that is known of it. A watchlist may be empty."""
        is_scoped = bool(self._rule.symbols or self._rule.watchlist)
        return Entry(
            self._rule,
            root,
            tuple(self._watching),
            tuple(self._leaves),
            frozenset(ALIASES.get(name, name) for name in metrics_of(self._rule.when)),
            self._is_timed,
            frozenset(self._rule.symbols) if is_scoped else None,
        )

    def node(self, condition: tree.Condition) -> int:
        """The place of a condition; said twice in a rule it is one."""
        found = self._made.get(condition)
        if found is None:
            found = self._made[condition] = MAKERS[type(condition)](self, condition)
        return found

    def _watch(self, kind: type, parts: tuple[int, ...], leaf: Any, **more: Any) -> int:
        key = f"{self._rule.version}.{len(self._watching)}"
        place = self._table.node(
            Node(kind, parts, leaf=leaf, key=key, is_timed=self._is_timed, **more)
        )
        self._watching.append(place)
        return place

    def _tested(self, leaf: tree.Compare) -> tuple[int, Test]:
        volume, bits = guard_of(leaf)
        place = self._table.test(leaf.operator, leaf.left, leaf.right)
        node = Node(tree.Compare, tests=(place,), volume=volume, sessions=bits)
        return self._table.node(node), self._table.tests[place]

    def compare(self, leaf: tree.Compare) -> int:
        """A value against a value."""
        place, test = self._tested(leaf)
        self._explain(leaf, place, test.left, test.right)
        return place

    def crosses(self, leaf: tree.Crosses) -> int:
        """A compare that turns true."""
        operator = FLIPPED[leaf.direction]
        side, test = self._tested(tree.Compare(operator, leaf.left, leaf.right, leaf.guard))
        place = self._watch(tree.Crosses, (side,), leaf)
        self._explain(leaf, place, test.left, test.right)
        return place

    def changed(self, leaf: tree.Changed) -> int:
        """A value against itself."""
        volume, bits = guard_of(leaf)
        value = self._table.value(leaf.value)
        place = self._watch(tree.Changed, (), leaf, volume=volume, sessions=bits, value=value)
        self._explain(leaf, place, value)
        return place

    def _explain(self, leaf: Any, place: int, left: int = -1, right: int = -1) -> None:
        bare = replace(leaf, guard=tree.Guard()) if hasattr(leaf, "guard") else leaf
        self._leaves.append(Leaf(leaf, spell(bare), place, left, right))

    def listed(self, leaf: Any) -> int:
        place = self._table.node(Node(tree.InList, leaf=tree.InList(leaf.toplist)))
        if isinstance(leaf, tree.Leaves):
            place = self._table.node(Node(tree.Not, (place,)))
        if not isinstance(leaf, tree.InList):
            place = self._watch(type(leaf), (place,), leaf)
        self._explain(leaf, place)
        return place

    def over(self, condition: Any) -> int:
        """A condition that watches others."""
        parts = tuple(self.node(part) for part in parts_of(condition))
        if isinstance(condition, tree.Rearm):
            operator, anywhere = FLIPPED[condition.direction], tree.Guard(0.0, ())
            back = tree.Compare(operator, condition.value, condition.level, anywhere)
            level, _ = self._tested(back)
            parts = (*parts, level)
        return self._watch(type(condition), parts, condition)

    def negated(self, condition: tree.Not) -> int:
        return self._table.node(Node(tree.Not, (self.node(condition.part),)))

    def any_of(self, condition: tree.Any) -> int:
        parts = dict.fromkeys(self.node(part) for part in condition.parts)
        return self._table.node(Node(tree.Any, tuple(parts)))

    def all_of(self, condition: tree.All) -> int:
        """Parts that are compares give their tests and guards, others stay parts."""
        nodes = self._table.nodes
        places = list(dict.fromkeys(self.node(part) for part in condition.parts))
        compares = [nodes[one] for one in places if nodes[one].kind is tree.Compare]
        bits = AT_ANY_HOUR
        for one in compares:
            bits &= one.sessions
        return self._table.node(
            Node(
                tree.All,
                tuple(places),
                tuple(sorted({test for one in compares for test in one.tests})),
                max((one.volume for one in compares), default=0.0),
                bits,
            )
        )


MAKERS: dict[type, Callable[[_One, Any], int]] = {
    tree.Compare: _One.compare,
    tree.Crosses: _One.crosses,
    tree.Changed: _One.changed,
    tree.Enters: _One.listed,
    tree.Leaves: _One.listed,
    tree.InList: _One.listed,
    tree.Held: _One.over,
    tree.OfLast: _One.over,
    tree.Then: _One.over,
    tree.FirstToday: _One.over,
    tree.Rearm: _One.over,
    tree.All: _One.all_of,
    tree.Any: _One.any_of,
    tree.Not: _One.negated,
}
