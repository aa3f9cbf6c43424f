"""Random conditions over a few metrics, toplists and times, so small that everything meets everything."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from functions.rules import tree

SECOND_NS = 10**9
STILL = ("price", "vwap_dist")  # prints alone change them
METRICS = (*STILL, "volume_5m", "rsi_14_5m")
LISTS = ("gainers", "losers")

numbers = st.sampled_from([-1.0, 0.0, 9.9, 10.0, 10.1, 30.0]).map(tree.Number)
metrics = st.sampled_from(METRICS).map(tree.Metric)
guards = st.builds(
    tree.Guard,
    st.sampled_from([0.0, 0.0, None, 500.0]),
    st.sampled_from([(), (), None, ("market",), ("premarket", "market")]),
)


def arithmetic(values: Any) -> Any:
    two = st.tuples(values, values)
    return st.one_of(
        st.builds(tree.Arithmetic, st.sampled_from(["+", "-", "*", "/", "min", "max"]), two),
        st.builds(tree.Arithmetic, st.sampled_from(["abs", "negative"]), st.tuples(values)),
    )


values = st.one_of(metrics, metrics, numbers, st.recursive(metrics | numbers, arithmetic, max_leaves=3))  # fmt: skip
named = st.one_of(metrics, st.builds(tree.Arithmetic, st.just("-"), st.tuples(metrics, numbers)))
compares = st.builds(
    tree.Compare, st.sampled_from(["<", ">", "<=", ">=", "==", "!="]), values, values, guards
)
lists = st.sampled_from(LISTS)
changes = st.builds(
    tree.Changed,
    named,
    st.sampled_from(["<", ">", "<=", ">="]),
    st.builds(tree.Number, st.sampled_from([0.0, 1.0, -1.0]), st.sampled_from(["", "percent"])),
    st.sampled_from([1, 60, 61, 300]).map(lambda s: s * SECOND_NS),
    guards,
)
leaves = st.one_of(
    compares,
    compares,
    compares,
    st.builds(tree.Crosses, st.sampled_from(["above", "below"]), values, values, guards),
    changes,
    st.builds(tree.Enters, lists),
    st.builds(tree.Leaves, lists),
    st.builds(tree.InList, lists),
)
spans = st.sampled_from([1, 5, 60]).map(lambda s: s * SECOND_NS)


def wider(inside: Any) -> Any:
    several = st.lists(inside, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(tree.All, several),
        st.builds(tree.Any, several),
        st.builds(tree.Not, inside),
        st.builds(tree.Held, inside, spans),
        st.builds(tree.OfLast, inside, st.integers(1, 3), st.integers(3, 4), st.just("1m")),
        st.builds(tree.Then, inside, inside, spans),
        st.builds(tree.FirstToday, inside),
        st.builds(tree.Rearm, inside, st.sampled_from(["above", "below"]), values, values),
    )


conditions = st.recursive(leaves, wider, max_leaves=6)

# The same with plain insides: each condition that remembers meets the values that move it.
plain = st.builds(
    tree.Compare,
    st.sampled_from(["<", ">", ">=", "=="]),
    st.sampled_from(STILL).map(tree.Metric),
    st.sampled_from([9.9, 10.0, 10.1]).map(tree.Number),
    st.builds(tree.Guard, st.sampled_from([0.0, 500.0]), st.just(())),
)
pairs = st.lists(plain, min_size=2, max_size=2).map(tuple)
simple = st.one_of(
    st.builds(tree.Then, plain, plain, spans),
    st.builds(tree.Then, plain, plain, spans),
    st.builds(tree.Changed, metrics, st.just(">"), st.just(tree.Number(0.0)), st.just(60 * SECOND_NS), st.just(tree.Guard(0.0, ()))),
    st.builds(tree.Held, plain, spans),
    st.builds(tree.All, pairs),
    st.builds(tree.Rearm, plain, st.just("below"), st.just(tree.Metric("price")), st.just(tree.Number(9.9))),
)  # fmt: skip
