"""The best of one partition, found for all lists at once: what sorting list by list finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from functions.market.listings import SYSTEM
from functions.market.partials import GONE, STATE, best_of, plan_of
from functions.market.toplists import KEPT
from runtime.state import Rows, Table, shape_of

Told = dict[str, list[tuple[str, int]]]


def table_of(symbols: int) -> Table:
    names = [f"S{k * 7919 % 10007}" for k in range(symbols)]  # rows are in no order of symbols
    return Table(Rows(names), {name: shape_of(name, shape) for name, shape in STATE.items()})


def sorted_lists(state: Table, values: dict[str, Any], row: Any) -> Told:
    """The best of each list by plain sorting: (symbol, rank)."""
    found: Told = {}
    for one in SYSTEM:
        sign = -1.0 if one.is_falling else 1.0
        told = zip(row.tolist(), values[one.metric].tolist(), strict=True)
        known = sorted((sign * v, state.symbols[r]) for r, v in told if np.isfinite(v))
        found[one.id] = [(symbol, k) for k, (_, symbol) in enumerate(known[:KEPT], start=1)]
    return found


def told_lists(state: Table, best: dict[str, Any] | None) -> tuple[Told, set[tuple[str, str]]]:
    """Ranks by list as they were told, and (list, symbol) of those who left."""
    ranks: Told = {one.id: [] for one in SYSTEM}
    left = set()
    if best is not None:
        for row, name, rank in zip(best["row"], best["list"], best["rank"], strict=True):
            if rank == GONE:
                left.add((name, state.symbols[row]))
            else:
                ranks[name].append((state.symbols[row], int(rank)))
    return ranks, left


def drawn(draw: np.random.Generator, size: int, is_coarse: bool) -> Any:
    """Values of which some are absent or infinite, and, where coarse, many are equal."""
    value = draw.standard_normal(size)
    value = np.round(value, 1) if is_coarse else value
    value[draw.random(size) < 0.2] = np.nan
    value[draw.random(size) < 0.02] = np.inf
    return value


@pytest.mark.parametrize("symbols", [1, 40, 64, 65, 200, 255, 256, 700, 3000])
@pytest.mark.parametrize("is_coarse", [False, True])
def test_the_best_are_those_that_sorting_finds_and_who_left_is_told_once(
    symbols: int, is_coarse: bool
) -> None:
    draw = np.random.default_rng(symbols)
    state, plan = table_of(symbols), plan_of(SYSTEM)
    before: set[tuple[str, str]] = set()
    for _ in range(4):
        row = np.flatnonzero(draw.random(symbols) < 0.9)
        values = {name: drawn(draw, len(row), is_coarse) for name in plan.metrics}
        expected = sorted_lists(state, values, row)
        ranks, left = told_lists(state, best_of(state, plan, values, row))
        assert ranks == expected
        now = {(name, symbol) for name, best in expected.items() for symbol, _ in best}
        assert left == before - now
        before = now


def test_where_fewer_are_known_than_there_are_ranks_all_of_them_rank() -> None:
    state, plan = table_of(1000), plan_of(SYSTEM)
    values = {name: np.full(1000, np.nan) for name in plan.metrics}
    for value in values.values():
        value[[3, 500, 998]] = (2.0, -1.0, 0.5)
    row = np.arange(1000)
    ranks, _ = told_lists(state, best_of(state, plan, values, row))
    assert ranks == sorted_lists(state, values, row)
    assert {len(best) for best in ranks.values()} == {3}
