"""The truth of every node at some moments: masks of true and of false, made when first asked for.

What is in neither mask is unknown. A rule that is a plain conjunction only needs masks of true: one
comparison per distinct test, one `&` each, and it ends at the first test that holds nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.rules import tree
from functions.rules.compile import AT_ANY_HOUR, EQUAL_WITHIN, NOISE, Node, Rules, Test
from functions.rules.kept import DTYPES
from functions.rules.moments import MAY_FIRE, Moments

Array = NDArray[Any]

UNKNOWN, FALSE, TRUE = range(3)  # of a condition, as a code


def _noise(right: Array) -> Array:
    return NOISE * np.maximum(1.0, np.abs(right))


BOUND: dict[str, Callable[[Array, Array], Array]] = {  # the number has its room for noise already
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: np.abs(a - b) < EQUAL_WITHIN,
    "!=": lambda a, b: np.abs(a - b) >= EQUAL_WITHIN,
}
OPERATORS: dict[str, Callable[[Array, Array], Array]] = {
    **BOUND,
    ">": lambda a, b: a > b + _noise(b),
    "<": lambda a, b: a < b - _noise(b),
    ">=": lambda a, b: a >= b - _noise(b),
    "<=": lambda a, b: a <= b + _noise(b),
}
ARITHMETIC: dict[str, Callable[..., Array]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "abs": np.abs,
    "negative": np.negative,
    "min": lambda *parts: np.minimum.reduce(parts),
    "max": lambda *parts: np.maximum.reduce(parts),
}


class Pass:
    """One evaluation of a rule set. Nothing is computed before it is asked for, and then once.

    state     where nodes that watch keep what they know
    is_peek   look only: nothing that is kept changes (for explanations)
    """

    def __init__(self, rules: Rules, moments: Moments, state: Any, is_peek: bool = False) -> None:
        self.rules, self.moments, self.state, self.is_peek = rules, moments, state, is_peek
        self.nowhere: Array = np.zeros(len(moments), dtype=bool)
        self.told: dict[str, Array] = {}  # key -> what a node measured: change, ns, candles
        self._values: list[Array | None] = [None] * len(rules.values)
        self._finite: list[Array | None] = [None] * len(rules.values)
        self._tests: list[Array | None] = [None] * len(rules.tests)
        self._true: list[Array | None] = [None] * len(rules.nodes)
        self._false: list[Array | None] = [None] * len(rules.nodes)
        self._guards: dict[Any, Array | None] = {}
        barred = moments.barred
        is_barred = barred is not None and bool(barred.any())
        self.may: Array | None = barred == MAY_FIRE if is_barred and barred is not None else None

    # -- values

    def value(self, place: int) -> Array:
        """A value at every moment: f8, NaN where it is not known."""
        found = self._values[place]
        if found is None:
            found = self._values[place] = self._computed(self.rules.values[place])
        return found

    def _computed(self, value: tree.Value) -> Array:
        if isinstance(value, tree.Metric):
            return self.moments.values(value.name)
        if isinstance(value, tree.Number):
            return np.full(len(self.moments), value.value)
        parts = [self.value(self.rules.place_of[one]) for one in value.values]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            found = ARITHMETIC[value.operator](*parts)
        found[~np.isfinite(found)] = np.nan
        return found

    def finite(self, place: int) -> Array:
        """Where a value is known."""
        found = self._finite[place]
        if found is None:
            found = self._finite[place] = np.isfinite(self.value(place))
        return found

    # -- tests and guards

    def test(self, place: int) -> Array:
        """Where a test holds, guards aside; `nowhere` itself where it holds nowhere."""
        found = self._tests[place]
        if found is None:
            self._test(place)
            found = self._tests[place]
        return self.nowhere if found is None else found

    def _test(self, place: int) -> None:
        """Do a test, and with it those that compare the same value with other numbers."""
        test, (group, bounds) = self.rules.tests[place], self.rules.groups[place]
        left = self.value(test.left)
        if test.bound is None:
            held = OPERATORS[test.operator](left, self.value(test.right))[None, :]
        else:
            held = BOUND[test.operator](left, bounds)
        somewhere = held.any(axis=1).tolist()
        for one, mask, is_somewhere in zip(group, held, somewhere, strict=True):
            self._tests[one] = mask if is_somewhere else self.nowhere

    def known(self, test: Test) -> Array:
        """Where both sides of a test are known."""
        left = self.finite(test.left)
        return left if test.bound is not None else left & self.finite(test.right)

    def guard(self, volume: float, bits: int) -> Array | None:
        """Where leaves count; None = everywhere, `nowhere` itself = nowhere."""
        key = volume, bits
        if key not in self._guards:
            self._guards[key] = self._guarded(volume, bits)
        return self._guards[key]

    def _guarded(self, volume: float, bits: int) -> Array | None:
        held: Array | None = None
        if bits != AT_ANY_HOUR:
            held = ((bits >> self.moments.session) & 1).astype(bool)
            if held.all():
                held = None
            elif not held.any():
                return self.nowhere
        if volume > 0:
            enough = self.moments.volume() >= volume
            if not enough.all():
                held = enough if held is None else held & enough
        return held if held is None or held.any() else self.nowhere

    # -- nodes

    def true(self, place: int) -> Array:
        """Where a node is true."""
        found = self._true[place]
        if found is None:
            node = self.rules.nodes[place]
            found = self._true[place] = MAKE_TRUE[node.kind](self, node)
        return found

    def false(self, place: int) -> Array:
        """Where a node is false."""
        found = self._false[place]
        if found is None:
            node = self.rules.nodes[place]
            found = self._false[place] = MAKE_FALSE[node.kind](self, node)
        return found

    def truth_at(self, place: int, moment: int) -> bool | None:
        """Whether a node is true at one moment, None = unknown; a compare's masks are not made for that."""
        node = self.rules.nodes[place]
        if node.kind is not tree.Compare:
            is_true = bool(self.true(place).item(moment))
            return is_true or (False if self.false(place).item(moment) else None)
        (number,), counts = node.tests, self.guard(node.volume, node.sessions)
        if counts is not None and not counts.item(moment):
            return None
        test = self.rules.tests[number]
        if not math.isfinite(self.value(test.left).item(moment)):
            return None
        if test.bound is None and not math.isfinite(self.value(test.right).item(moment)):
            return None
        return bool(self.test(number).item(moment))

    def keep(self, place: int, is_true: Array, is_false: Array) -> None:
        """Where a node that watches is true and false; it was asked before its rule is."""
        self._true[place], self._false[place] = is_true, is_false

    def code(self, place: int) -> Array:
        """TRUE, FALSE or UNKNOWN at every moment; unknown at moments that fire nothing."""
        is_true, is_false = self.true(place), self.false(place)
        code = is_true.view(np.uint8) * np.uint8(2) + is_false.view(np.uint8)
        return code if self.may is None else code * self.may

    def carry(self, name: str) -> Array:
        """What is kept of each run's symbol."""
        if self.is_peek and name not in self.state:
            return np.zeros(len(self.moments.runs.rows), DTYPES[name.partition(".")[0]])
        return np.array(self.state[name][self.moments.rows])

    def leave(self, name: str, of_runs: Array) -> None:
        """Keep what each run's last moment leaves behind."""
        if not self.is_peek:
            self.state[name][self.moments.rows] = of_runs

    def is_new(self, is_timed: bool) -> Array:
        """Where nothing counts as the moment before: the first of an unbroken stretch.

        Rules that are asked at clock events have other moments than those asked at prints only.
        """
        key = "new", is_timed
        if key not in self._guards:
            stretch, column = self.moments.stretch, f"stretch.{'all' if is_timed else 'prints'}"
            self._guards[key] = self.moments.before(self.carry(column), stretch) != stretch
            self.leave(column, self.moments.lasts(stretch))
        found = self._guards[key]
        return self.nowhere if found is None else found


def _all_true(asked: Pass, node: Node) -> Array:
    held = asked.guard(node.volume, node.sessions)
    if held is asked.nowhere:
        return held
    for place in node.tests:
        holds = asked.test(place)
        if holds is asked.nowhere:
            return holds
        if held is None:
            held = holds
        else:
            held = held & holds
            if not held.any():
                return asked.nowhere
    for place in node.parts:
        if asked.rules.nodes[place].kind is not tree.Compare:
            holds = asked.true(place)
            held = holds if held is None else held & holds
            if not held.any():
                return asked.nowhere
    return asked.nowhere if held is None else held


def _compare_false(asked: Pass, node: Node) -> Array:
    held = asked.guard(node.volume, node.sessions)
    if held is asked.nowhere:
        return held
    (place,) = node.tests
    false = asked.known(asked.rules.tests[place]) & ~asked.test(place)
    return false if held is None else false & held


def _any_of(masks: Callable[[int], Array], node: Node) -> Array:
    found = masks(node.parts[0])
    for place in node.parts[1:]:
        found = found | masks(place)
    return found


def _any_false(asked: Pass, node: Node) -> Array:
    found = asked.false(node.parts[0])
    for place in node.parts[1:]:
        if not found.any():
            return asked.nowhere
        found = found & asked.false(place)
    return found


def _member(asked: Pass, node: Node, code: int) -> Array:
    member = asked.moments.member
    return asked.nowhere if member is None else member(node.leaf.toplist) == code


MAKE_TRUE: dict[type, Callable[[Pass, Node], Array]] = {
    tree.Compare: _all_true,
    tree.All: _all_true,
    tree.Any: lambda asked, node: _any_of(asked.true, node),
    tree.Not: lambda asked, node: asked.false(node.parts[0]),
    tree.InList: lambda asked, node: _member(asked, node, TRUE),
}
MAKE_FALSE: dict[type, Callable[[Pass, Node], Array]] = {
    tree.Compare: _compare_false,
    tree.All: lambda asked, node: _any_of(asked.false, node),
    tree.Any: _any_false,
    tree.Not: lambda asked, node: asked.true(node.parts[0]),
    tree.InList: lambda asked, node: _member(asked, node, FALSE),
}
