"""The compiled rules say at every moment what the slow ones say, however the moments were cut."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from functions.market.metrics import METRICS
from functions.rules import tree
from functions.rules.compile import Rules, compiled
from functions.rules.watches import WATCHES
from tests.functions.rules import random_trees
from tests.functions.rules.markets import SMALL_STEPS, SYMBOLS, cut, market, run, table
from tests.functions.rules.slow_rules import Moment, SlowRule
from tests.functions.rules.trees import SECOND_NS, conditions, simple


def rules_of(some: st.SearchStrategy[tree.Condition]) -> st.SearchStrategy[list[tree.Rule]]:
    """Rule sets with cooldowns, candles and scopes."""
    settled = st.fixed_dictionaries(
        {
            "when": some,
            "cooldown_ns": st.sampled_from([0, 0, 5, 60]).map(lambda s: s * SECOND_NS),
            "once_per": st.sampled_from(["", "", "1m"]),
            "symbols": st.sampled_from([(), (), ("A", "C")]),
        }
    )
    return st.lists(settled, min_size=1, max_size=3).map(
        lambda told: [tree.Rule(f"r{k}", "R", version=f"v{k}", **one) for k, one in enumerate(told)]
    )


def slowly(rules: Rules, frames: list[list[Moment]]) -> tuple[list[Any], list[Any], list[SlowRule]]:
    slow = [SlowRule(entry.rule, SYMBOLS, entry.is_timed) for entry in rules.entries]
    truths, firings = [], []
    for now in (moment for frame in frames for moment in frame):
        for one in slow:
            if now.is_clock and not one.is_timed:
                continue
            truth, fires = one.at(now)
            truths.append((one.rule.id, now.symbol, truth))
            if fires:
                firings.append((one.rule.id, now.symbol, now.ts_ns))
    return truths, firings, slow


@settings(max_examples=80, deadline=None, phases=[Phase.generate])
@given(rules_of(conditions), st.integers(0, 10_000))
def test_truth_firings_and_state_are_those_of_the_slow_twin(
    told: list[tree.Rule], seed: int
) -> None:
    agree(told, market(seed, 60))


@settings(max_examples=50, deadline=None, phases=[Phase.generate])
@given(rules_of(simple), st.integers(0, 10_000))
def test_so_they_are_where_times_are_close_and_go_back(told: list[tree.Rule], seed: int) -> None:
    agree(told, market(seed, 240, SMALL_STEPS))


def agree(told: list[tree.Rule], frames: list[list[Moment]]) -> None:
    rules, state = compiled(told), table()
    assert not rules.faults
    truths, firings = run(rules, state, frames)
    slow_truths, slow_firings, slow = slowly(rules, frames)
    assert truths == slow_truths
    assert firings == slow_firings
    for one in slow:
        version = one.rule.version
        for symbol in range(len(SYMBOLS)):
            assert bool(state[f"armed.{version}"][symbol]) == one.seen[symbol].armed
            assert state[f"fired.{version}"][symbol] == one.seen[symbol].fired_ns


@settings(max_examples=50, deadline=None, phases=[Phase.generate])
@given(rules_of(conditions | simple), st.integers(0, 10_000), st.integers(1, 4))
def test_any_cut_says_and_keeps_the_same(told: list[tree.Rule], seed: int, longest: int) -> None:
    rules, frames = compiled(told), market(seed, 60)
    whole, pieces = table(), table()
    assert run(rules, whole, frames) == run(rules, pieces, cut(frames, seed, longest))
    expected, found = whole.columns(), pieces.columns()
    for name in expected.keys() | found.keys():
        assert np.array_equal(expected.get(name, 0), found.get(name, 0)), name


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(random_trees.rules())
def test_every_rule_the_language_can_say_is_compiled(rule: tree.Rule) -> None:
    made = compiled([rule])
    assert not made.faults
    assert made.metrics <= METRICS.keys()


def test_the_random_trees_have_every_condition_that_remembers() -> None:
    assert set(WATCHES) == {
        *(tree.Crosses, tree.Changed, tree.Held, tree.OfLast, tree.Then, tree.FirstToday),
        *(tree.Rearm, tree.Enters, tree.Leaves),
    }
