"""Quotes against the obvious loop, on any cut: what the newest is, and since when its state lasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.market.quotes import (
    CROSSED,
    LOCKED,
    NONE,
    NORMAL,
    NOT_FIRM,
    ONE_SIDED,
    ROUND_LOTS_SINCE_NS,
    STATE,
    add_quotes,
    round_lot_of,
)
from functions.market.running import runs_of
from runtime.frames import Frame

T0 = 1_767_623_400_000_000_000
QUOTES = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.sampled_from([-30, 0, 1, 2, 3]),  # ns after the quote before it in the list
        st.sampled_from([0.0, 9.0, 10.0, 11.0]),
        st.sampled_from([0.0, 9.0, 10.0, 11.0]),
        st.sampled_from([0, 0, 0, 1, 8]),
        st.sampled_from([0, 1]),
    ),
    min_size=1,
    max_size=40,
)
Quote = tuple[str, int, float, float, int, int]


def slow_state(bid: float, ask: float, condition: int) -> int:
    if condition:
        return NOT_FIRM
    if bid == 0 or ask == 0:
        return ONE_SIDED
    if bid == ask:
        return LOCKED
    return NORMAL if bid < ask else CROSSED


def slow_quotes(quotes: list[Quote]) -> dict[str, list[Any]]:
    """[newest time, state, since, bid, ask, bid size] of each symbol."""
    kept: dict[str, list[Any]] = {}
    for symbol, at, bid, ask, condition, lots in quotes:
        newest, state, since, *_ = kept.get(symbol, [0, NONE, 0])
        if T0 + at < newest:
            continue
        now = slow_state(bid, ask, condition)
        since = since if now == state else T0 + at
        kept[symbol] = [T0 + at, now, since, bid, ask, 3.0 * (100 if lots else 1)]
    return kept


@settings(max_examples=300)
@given(QUOTES, st.integers(1, 40))
def test_the_newest_quote_and_its_state_are_those_of_the_obvious_loop_on_any_cut(
    steps: list[Quote], width: int
) -> None:
    times = np.cumsum([step for _, step, *_ in steps]).tolist()
    quotes = [(one[0], at, *one[2:]) for one, at in zip(steps, times, strict=True)]
    state: dict[str, Any] = {"quote": np.zeros((3, 4)), "prev_close": np.zeros(3)}
    state |= {name: np.zeros(3, STATE[name]) for name in STATE if name != "quote"}
    for start in range(0, len(quotes), width):
        symbol, at, bid, ask, condition, lots = zip(*quotes[start : start + width], strict=True)
        row = np.array(["ABC".index(one) for one in symbol])
        columns = {
            "row": row,
            "ts_ns": T0 + np.array(at),
            "bid": np.array(bid),
            "ask": np.array(ask),
        }
        columns |= {"bid_size": np.full(len(row), 3.0), "ask_size": np.full(len(row), 4.0)}
        columns |= {"condition": np.array(condition), "lots": np.array(lots)}
        add_quotes(state, Frame(columns), runs_of(row))
    for symbol, expected in slow_quotes(quotes).items():
        row = "ABC".index(symbol)
        found = [state["quote_ns"][row], state["quote_state"][row], state["quote_since_ns"][row]]
        assert [*found, *state["quote"][row, :3].tolist()] == expected


def slow_round_lot(price: float) -> float:
    if price <= 250:
        return 100
    if price <= 1_000:
        return 40
    return 10 if price <= 10_000 else 1


@given(
    st.floats(0.0001, 1e6) | st.sampled_from([250.0, 250.01, 1000.0, 1000.01, 10000.0, 10000.01])
)
def test_a_round_lot_is_that_of_the_rule_since_it_is_in_force(price: float) -> None:
    since = np.array([ROUND_LOTS_SINCE_NS, ROUND_LOTS_SINCE_NS - 1])
    found = round_lot_of(np.array([price, price]), since)
    assert found.tolist() == [slow_round_lot(price), 100]
