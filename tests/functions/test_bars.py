"""Bars against the obvious aggregation, and what late prints do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.bars import bars
from functions.market.running import add_volume, lower_low, previous, raise_high
from runtime.testing import Harness

MINUTE_NS = 60_000_000_000
T0 = 1_767_623_400_000_000_000


def slow_bars(prints: list[tuple[str, int, float, float]]) -> dict[tuple[str, int], list[float]]:
    made: dict[tuple[str, int], list[float]] = {}
    for symbol, ts_ns, price, size in prints:
        key = (symbol, ts_ns // MINUTE_NS * MINUTE_NS)
        bar = made.setdefault(key, [price, price, price, price, 0.0, 0.0, 0])
        bar[1], bar[2], bar[3] = max(bar[1], price), min(bar[2], price), price
        bar[4] += size
        bar[5] += price * size
        bar[6] += 1
    return made


PRINTS = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.integers(0, 5 * MINUTE_NS),
        st.integers(100, 200).map(lambda cents: cents / 10),
        st.floats(0, 1000),
    ),
    min_size=1,
    max_size=80,
)


@settings(deadline=None)
@given(PRINTS)
def test_bars_are_the_obvious_aggregation(drawn: list[tuple[str, int, float, float]]) -> None:
    prints = [(s, T0 + t, p, z) for s, t, p, z in sorted(drawn, key=lambda one: one[1])]
    h = Harness(bars)
    found: dict[tuple[str, int], list[float]] = {}
    for minute in range(6):
        part = [one for one in prints if (one[1] - T0) // MINUTE_NS == minute]
        if part:
            symbol, ts_ns, price, size = zip(*part, strict=True)
            h.send("ticks.trades", symbol=symbol, ts_ns=ts_ns, price=price, size=size)
        out = h.clock(T0 + (minute + 1) * MINUTE_NS).get("bars.final")
        for row in range(len(out) if out else 0):
            assert out is not None
            names = ("open", "high", "low", "close", "volume")
            bar = [float(out[name][row]) for name in names]
            found[out["symbol"][row], int(out["ts_ns"][row])] = [
                *bar,
                float(out["vwap"][row]),
                int(out["count"][row]),
            ]
    expected = slow_bars(prints)
    assert found.keys() == expected.keys()
    for key, bar in expected.items():
        assert found[key][:5] == bar[:5]
        assert found[key][6] == bar[6]
        vwap = bar[5] / bar[4] if bar[4] else float("nan")
        assert found[key][5] == pytest.approx(vwap, nan_ok=True)


def send(h: Harness, ts_ns: int, price: float, size: float = 100.0, upd: int = 7) -> dict[str, Any]:
    return h.send(
        "ticks.trades", symbol=["A"], ts_ns=[ts_ns], price=[price], size=[size], upd=[upd]
    )


def test_a_quiet_symbols_bar_closes_by_the_clock() -> None:
    h = Harness(bars)
    send(h, T0, 10.0)
    assert "bars.final" not in h.clock(T0 + 59 * 10**9)
    out = h.clock(T0 + MINUTE_NS)["bars.final"]
    assert (out["close"].tolist(), out["revision"].tolist()) == ([10.0], [0])
    assert "bars.final" not in h.clock(T0 + 10 * MINUTE_NS)


def test_a_late_print_revises_its_bar_and_never_rewinds_the_running_one() -> None:
    h = Harness(bars)
    send(h, T0, 10.0)
    h.clock(T0 + MINUTE_NS)
    send(h, T0 + MINUTE_NS + 1, 11.0)
    send(h, T0 + 59 * 10**9, 12.0)
    revised = h.clock(T0 + MINUTE_NS + 2 * 10**9)["bars.final"]
    assert (revised["high"].tolist(), revised["volume"].tolist()) == ([12.0], [200.0])
    assert (revised["revision"].tolist(), revised["ts_ns"].tolist()) == ([1], [T0])
    running = h.clock(T0 + 2 * MINUTE_NS)["bars.final"]
    assert (running["open"].tolist(), running["close"].tolist()) == ([11.0], [11.0])


def test_a_print_of_the_last_hour_revises_its_bar_at_the_next_clock() -> None:
    h = Harness(bars)
    send(h, T0, 10.0)
    h.clock(T0 + MINUTE_NS)
    for minute in range(1, 60):
        send(h, T0 + minute * MINUTE_NS, 20.0)
        h.clock(T0 + (minute + 1) * MINUTE_NS)
    assert "bars.final" not in send(h, T0 + 1, 99.0)
    out = h.clock(T0 + 60 * MINUTE_NS + 1)["bars.final"]
    assert (out["ts_ns"].tolist(), out["revision"].tolist()) == ([T0], [1])
    assert (out["open"].tolist(), out["high"].tolist(), out["close"].tolist()) == ([10], [99], [99])


def test_a_print_of_a_minute_of_the_last_hour_without_a_bar_makes_one() -> None:
    h = Harness(bars)
    send(h, T0 + 30 * MINUTE_NS, 10.0)
    send(h, T0, 99.0)
    out = h.clock(T0 + 31 * MINUTE_NS)["bars.final"]
    assert out["ts_ns"].tolist() == [T0, T0 + 30 * MINUTE_NS]
    assert (out["close"].tolist(), out["revision"].tolist()) == ([99.0, 10.0], [0, 0])


def test_a_print_later_than_an_hour_is_counted_and_changes_nothing() -> None:
    h = Harness(bars)
    send(h, T0 + 60 * MINUTE_NS, 10.0)
    send(h, T0, 99.0)
    assert h.state("bars")["late"].tolist() == [1]
    assert h.clock(T0 + 61 * MINUTE_NS)["bars.final"]["high"].tolist() == [10.0]


def test_bars_are_said_in_order_when_event_time_leaps_and_none_is_lost() -> None:
    h = Harness(bars)
    for minute in (0, 1, 9, 30, 200):
        send(h, T0 + minute * MINUTE_NS, 10.0 + minute)
    out = h.clock(T0 + 201 * MINUTE_NS)["bars.final"]
    assert (out["close"] - 10.0).tolist() == [0.0, 1.0, 9.0, 30.0, 200.0]


def test_an_odd_lot_adds_volume_and_no_price() -> None:
    h = Harness(bars)
    send(h, T0, 10.0)
    send(h, T0 + 1, 50.0, 5.0, upd=1)
    out = h.clock(T0 + MINUTE_NS)["bars.final"]
    assert (out["high"].tolist(), out["volume"].tolist()) == ([10.0], [105.0])


def test_a_minute_with_odd_lots_only_has_no_bar() -> None:
    h = Harness(bars)
    send(h, T0, 50.0, 5.0, upd=1)
    assert "bars.final" not in h.clock(T0 + MINUTE_NS)


def test_a_bar_survives_a_restart_half_way() -> None:
    h = Harness(bars)
    send(h, T0, 10.0)
    h.crash_and_restore()
    send(h, T0 + 1, 12.0)
    out = h.clock(T0 + MINUTE_NS)["bars.final"]
    assert (out["open"].tolist(), out["close"].tolist(), out["volume"].tolist()) == (
        [10.0],
        [12.0],
        [200.0],
    )


ROWS = st.lists(st.tuples(st.integers(0, 4), st.floats(0.5, 100)), min_size=1, max_size=200)


@given(ROWS, st.integers(1, 60))
def test_running_kernels_are_the_obvious_loop_on_any_cut(
    rows: list[tuple[int, float]], width: int
) -> None:
    total, high, low, last = (np.zeros(5) for _ in range(4))
    found: list[list[float]] = [[], [], [], []]
    for start in range(0, len(rows), width):
        row = np.array([one[0] for one in rows[start : start + width]])
        value = np.array([one[1] for one in rows[start : start + width]])
        found[0] += add_volume(total, row, value).tolist()
        found[1] += raise_high(high, row, value).tolist()
        found[2] += lower_low(low, row, value).tolist()
        found[3] += previous(last, row, value).tolist()
    slow: list[list[float]] = [[], [], [], []]
    state: dict[int, list[float]] = {}
    for row_, value_ in rows:
        seen = state.setdefault(row_, [0.0, 0.0, 0.0, 0.0])
        slow[1].append(seen[1])
        slow[2].append(seen[2])
        slow[3].append(seen[3])
        seen[0] += value_
        seen[1] = max(seen[1], value_)
        seen[2] = min(seen[2] or value_, value_)
        seen[3] = value_
        slow[0].append(seen[0])
    assert found[0] == slow[0]
    assert found[1] == slow[1]
    assert found[3] == slow[3]
    assert [0.0 if np.isinf(one) else one for one in found[2]] == slow[2]
