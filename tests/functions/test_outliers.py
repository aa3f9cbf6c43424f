"""Prints held back against the obvious loop, on any cut, with clock events between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.bars import bars
from functions.indicators import indicators
from functions.market.outliers import band_of, hold, release
from functions.market.sessions import MARKET, POSTMARKET
from functions.scanner import scanner
from runtime.testing import Harness

T0 = 1_767_623_400_000_000_000
SECOND_NS = 10**9
DAY = 20_458
PRICES = st.sampled_from([0.1, 0.2, 2.0, 2.3, 10.0, 10.9, 11.5, 30.0, 31.0, 60.0, 61.0, 63.0])
EVENTS = st.lists(
    st.tuples(st.integers(0, 2), PRICES, st.booleans(), st.sampled_from(["print", "print", "clock", "close"])),
    min_size=1,
    max_size=40,
)  # fmt: skip
Event = tuple[int, float, bool, str]


def slow_band(price: float, is_regular: bool) -> float:
    share = 0.1 if price <= 25 else 0.05 if price <= 50 else 0.03
    band = (0.2 if price < 3 else share) * price
    band = min(0.75 * price, 0.15) if price < 0.75 else band
    return band if is_regular else 2 * band


def columns() -> dict[str, Any]:
    """The state of three symbols on a day; the third has quotes around 10."""
    names = "quote_state last seen other close_market is_official last_ns outlier_ns outlier_key"
    state: dict[str, Any] = {name: np.zeros(3, np.int64) for name in names.split()}
    names = "last seen other close_market ext_high ext_low day_high day_low"
    state |= {name: np.zeros(3) for name in names.split()}
    state |= {"day": np.full(3, DAY), "quote": np.zeros((3, 4)), "outlier": np.zeros((3, 4))}
    state["quote_state"][2], state["quote"][2, :2] = 1, (9.9, 10.1)
    return state


class Slow:
    """One symbol: what is held, and what has been let go."""

    def __init__(self, middle: float) -> None:
        self.middle = middle
        self.trusted, self.held, self.waiting, self.newest = 0.0, 0.0, [], 0
        self.let_go_market: list[float] = []
        self.session = MARKET

    def print(self, price: float, at: int, session: int) -> bool:
        if session != self.session:
            self.let_go()
            self.trusted, self.held, self.session = 0.0, 0.0, session
        references = [one for one in (self.trusted, self.held, self.middle) if one > 0]
        bands = [slow_band(one, session == MARKET) for one in references]
        is_near = any(abs(price - one) <= band for one, band in zip(references, bands, strict=True))
        if self.trusted and not is_near:
            self.held, self.newest = price, at
            self.waiting.append(price)
            return True
        self.trusted, self.held = price, 0.0
        return False

    def let_go(self) -> None:
        if self.session == MARKET:
            self.let_go_market += self.waiting
        if self.held:
            self.trusted = self.held
        self.held, self.waiting, self.newest = 0.0, [], 0

    def clock(self, at: int) -> None:
        if self.waiting and at - self.newest >= SECOND_NS:
            self.let_go()


@settings(deadline=None)
@given(EVENTS, st.integers(1, 9))
def test_prints_are_held_as_the_obvious_loop_holds_them_on_any_cut(
    events: list[Event], width: int
) -> None:
    state, slow = columns(), [Slow(0.0), Slow(0.0), Slow(10.0)]
    found: list[bool] = []
    expected: list[bool] = []
    session, batch = MARKET, []

    def flush() -> None:
        if batch:
            row, price, at, may, of = (np.array(one) for one in zip(*batch, strict=True))
            found.extend(hold(state, row, at, price, may, np.full(len(row), DAY), of).tolist())
            batch.clear()

    for number, (row, price, may, kind) in enumerate(events):
        at = T0 + number * SECOND_NS // 3
        if kind == "print":
            batch.append((row, price, at, may, session))
            expected.append(may and slow[row].print(price, at, session))
            if len(batch) == width:
                flush()
            continue
        flush()
        if kind == "close":
            session = POSTMARKET
        release(state, at)
        for one in slow:
            one.clock(at)
    flush()
    assert found == expected
    highs = [max(one.let_go_market, default=0.0) for one in slow]
    lows = [min(one.let_go_market, default=0.0) for one in slow]
    assert (state["day_high"].tolist(), state["day_low"].tolist()) == (highs, lows)


@given(st.floats(0.001, 1e6), st.booleans())
def test_bands_are_those_of_the_guidelines(price: float, is_regular: bool) -> None:
    found = band_of(np.array([price]), np.array([is_regular]))
    assert found[0] == pytest.approx(slow_band(price, is_regular))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("AB"), PRICES), min_size=1, max_size=30), st.integers(1, 9)
)
def test_the_scanner_that_holds_outliers_says_the_same_on_any_cut(
    prints: list[tuple[str, float]], width: int
) -> None:
    def said(step: int) -> list[Any]:
        h = Harness(bars, indicators, scanner, settings={"scanner": {"outliers": "hold"}})
        for start in range(0, len(prints), step):
            symbol, price = zip(*prints[start : start + step], strict=True)
            at = [T0 + (start + k) * 10**7 for k in range(len(price))]
            h.send("ticks.trades", symbol=symbol, ts_ns=at, price=price, size=[1.0] * len(price))
        h.clock(T0 + 2 * SECOND_NS)
        state = h.state("scanner")
        names = (
            "last",
            "seen",
            "other",
            "day_high",
            "day_low",
            "ext_high",
            "open_market",
            "outlier",
        )
        return [state[name].tolist() for name in names]

    assert said(width) == said(len(prints))
