"""Corrections, cancels, duplicates and late prints: bars and metrics are those of the prints that are left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.bars import bars
from runtime.testing import Harness
from tests.functions import slow_metrics, test_metrics
from tests.functions.slow_bars import MINUTE_NS, Correction, Print, SlowBars

T0 = 1_767_623_400_000_000_000
SECOND_NS = 1_000_000_000
SYMBOLS = ["A", "B", "C"]
Event = Print | Correction | int


def random_events(
    seed: int, minutes: int = 12, a_second: float = 1.2, *, are_known: bool = False
) -> list[Event]:
    """Trades, corrections and a clock each second: late and doubled trades, cancels before their trade."""
    draw = np.random.default_rng(seed)
    events: list[Event] = []
    came: list[Print] = []
    later: list[tuple[int, Print]] = []
    number = 0
    for second in range(minutes * 60):
        now_ns = T0 + second * SECOND_NS
        for _ in range(draw.poisson(a_second)):
            number += 1
            symbol = SYMBOLS[int(draw.choice(3, p=[0.85, 0.12, 0.03]))]
            late_s = int(draw.choice([0, 0, 0, 0, 0, 0, 5, 80, 400]))
            one = Print(
                symbol,
                now_ns - min(late_s, second) * SECOND_NS + int(draw.integers(0, 999)) * 1_000_000,
                float(round(10 + draw.normal(0, 0.2), 2)),
                float(draw.integers(1, 300)) / 7,
                int(draw.choice([7, 7, 7, 7, 1, 5, 6])),
                number if draw.random() < 0.7 else 0,
            )
            if draw.random() < 0.04:
                events.append(random_correction(draw, one))
                later.append((second + int(draw.integers(0, 9 if are_known else 14)), one))
            else:
                events.append(one)
                came.append(one)
        for due, one in [waiting for waiting in later if waiting[0] <= second]:
            later.remove((due, one))
            events.append(one)
            came.append(one)
        if came and draw.random() < 0.10:
            back = int(draw.choice([1, 3, 10, 60, 90 if are_known else 400]))
            events.append(
                random_correction(draw, came[-int(draw.integers(1, back + 1)) % len(came)])
            )
        if came and draw.random() < 0.05:
            events.append(came[-int(draw.integers(1, 20)) % len(came)])
        told = [one for one in events[-60:] if isinstance(one, Correction)]
        if told and not are_known and draw.random() < 0.05:  # a feed repeats itself
            events.append(told[-1])
        events.append(now_ns + SECOND_NS)
    return [*events, T0 + (minutes + 1) * MINUTE_NS]


def random_correction(draw: np.random.Generator, one: Print) -> Correction:
    if draw.random() < 0.5:
        return Correction(one, None)
    price = float(round(one.price + draw.choice([-0.5, -0.01, 0.0, 0.3]), 2))
    number = one.id + 1_000_000 if one.id and draw.random() < 0.5 else one.id
    right = Print(one.symbol, one.ts_ns, price, one.size + 1, int(draw.choice([7, 1])), number)
    return Correction(one, right)


def send_trades(h: Harness, trades: list[Print]) -> dict[str, Any]:
    names = ("symbol", "ts_ns", "price", "size", "upd", "id")
    return h.send(
        "ticks.trades", **{name: [getattr(one, name) for one in trades] for name in names}
    )


def send_corrections(h: Harness, corrections: list[Correction]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {
        name: [getattr(one.wrong, name) for one in corrections]
        for name in ("symbol", "ts_ns", "price", "size", "upd", "id")
    }
    rights = [one.right for one in corrections]
    columns["new_price"] = [one.price if one else np.nan for one in rights]
    columns["new_size"] = [one.size if one else 0.0 for one in rights]
    columns["new_upd"] = [one.upd if one else 255 for one in rights]
    columns["new_id"] = [one.id if one else 0 for one in rights]
    return h.send("ticks.corrections", **columns)


def run(h: Harness, events: list[Event], width: int) -> list[tuple[str, dict[str, Any]]]:
    """Feed events in frames of at most `width`; everything said, in order."""
    said, waiting = [], []
    for event in [*events, 0]:
        is_full = len(waiting) == width or (waiting and type(waiting[0]) is not type(event))
        if is_full and waiting:
            out = send_trades(h, waiting) if isinstance(waiting[0], Print) else send_corrections(h, waiting)  # fmt: skip
            said += list(out.items())
            waiting = []
        if isinstance(event, int):
            said += list(h.clock(event).items()) if event else []
        else:
            waiting.append(event)
    return said


def rows_of(said: list[tuple[str, Any]]) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for base, frame in said:
        names = ["symbol", *(name for name in sorted(frame.columns) if name != "row")]
        columns = [[repr(one) for one in frame[name].tolist()] for name in names]
        found.setdefault(base, []).extend(zip(*columns, strict=True))
    return found


def newest_bars(said: list[tuple[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    found = {}
    for base, frame in said:
        for k in range(len(frame) if base == "bars.final" else 0):
            key = frame["symbol"][k], int(frame["ts_ns"][k]) // MINUTE_NS
            bar = {name: frame[name][k].item() for name in frame.columns if name != "row"}
            assert bar["revision"] == found.get(key, {"revision": -1})["revision"] + 1
            found[key] = bar
    return found


def slow(events: list[Event]) -> SlowBars:
    twin = SlowBars()
    for event in events:
        if isinstance(event, Print):
            twin.trade(event)
        elif isinstance(event, Correction):
            twin.correct(event)
        else:
            twin.clock(event)
    return twin


@pytest.mark.parametrize("seed", range(6))
def test_bars_are_those_of_the_prints_that_are_left(seed: int) -> None:
    events = random_events(seed, a_second=0.8 + seed % 4)
    h, twin = Harness(bars), slow(events)
    found, expected = newest_bars(run(h, events, 1 + 5 * seed)), twin.bars()
    assert int(h.state("bars")["duplicates"].sum()) == twin.duplicates > 0
    assert int(h.state("bars")["repeated"].sum()) == twin.repeated > 0
    assert int(h.state("bars")["unknown"].sum()) == len(twin.taken) > 0
    exact = 0
    for key, bar in expected.items():
        if key in twin.blurred:
            continue
        exact += 1
        if "close" in bar:
            assert {name: found[key][name] for name in bar} == pytest.approx(bar, rel=0, abs=0, nan_ok=True)  # fmt: skip
        elif key in found:  # all that had a price was cancelled after the bar was said
            assert found[key]["volume"] == bar["volume"]
            assert found[key]["high"] == found[key]["low"] == found[key]["close"]
    assert found.keys() - expected.keys() == set()
    assert exact > 10


@pytest.mark.parametrize("seed", range(3))
def test_volumes_stay_right_where_not_all_prints_are_known(seed: int) -> None:
    events = random_events(seed, minutes=6, a_second=6.0, are_known=True)
    twin = slow(events)
    found, expected = newest_bars(run(Harness(bars), events, 40)), twin.bars()
    taken = {(one.symbol, one.minute) for one, _ in twin.taken}
    compared = [key for key in twin.blurred - taken if key in found]
    assert compared
    for key in compared:
        for name in ("volume", "count", "close"):
            assert math.isclose(found[key][name], expected[key][name], rel_tol=1e-9)
        assert found[key]["high"] <= max(one.price for one in twin.came)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 40), st.integers(1, 30))
def test_what_is_said_does_not_depend_on_the_cut(seed: int, width: int) -> None:
    events = random_events(seed, minutes=3, a_second=4.0)
    whole = rows_of(run(Harness(bars), events, 10_000))
    assert rows_of(run(Harness(bars), events, width)) == whole
    assert whole.keys() == {"bars.final", "bars.live", "bars.corrected"}


# -- metrics


# Corrections come within this time of their print: bars that are older than the last four are not
# computed again in the recursions over minutes.
REVISED_S = 150
HELD_S = 8  # and their print within 10 s of them


def with_corrections(
    events: Sequence[slow_metrics.Event], seed: int, share: float
) -> list[slow_metrics.Event]:
    """Events with prints that are cancelled or corrected later, or before they come.

    The first price of a minute is not cancelled: a bar that loses all its prices after it was said
    becomes a flat one (see docs/decisions.md), for the twin it never was.
    """
    draw = np.random.default_rng(seed)
    newest = np.maximum.accumulate([slow_metrics.when(one) for one in events]).tolist()
    timed: list[tuple[int, int, slow_metrics.Event]] = []
    priced: set[tuple[str, int]] = set()
    for number, (came_ns, one) in enumerate(zip(newest, events, strict=True)):
        timed.append((came_ns, number, one))
        if not isinstance(one, slow_metrics.Print):
            continue
        if draw.random() < share:
            lag_s = int(draw.choice([-HELD_S, -2, 0, 1, 5, 30, REVISED_S]))
            at_ns = (came_ns if lag_s < 0 else one.ts_ns) + lag_s * SECOND_NS
            price = float(round(one.price * (1 + draw.choice([-0.01, 0.01, 0.002])), 2))
            right = replace(one, price=price, size=one.size + 7)
            minute = (one.symbol, one.ts_ns // MINUTE_NS)
            is_cancel = draw.random() < 0.5 and minute in priced
            at_ns = max(at_ns, came_ns) if lag_s >= 0 else at_ns
            timed.append((at_ns, number, slow_metrics.Cancel(at_ns, one, None if is_cancel else right)))  # fmt: skip
        if one.upd & 2:
            priced.add((one.symbol, one.ts_ns // MINUTE_NS))
    return [one for _, _, one in sorted(timed, key=lambda event: event[:2])]


BEGINS = {
    "premarket and the open": (2026, 3, 6, 9, 5),
    "the close": (2026, 3, 9, 15, 20),
}


@pytest.mark.parametrize("seed", [1, 2])  # in 0 a late print is before the open that is corrected
@pytest.mark.parametrize("begins", BEGINS)
def test_metrics_are_those_of_the_prints_that_are_left(begins: str, seed: int) -> None:
    begins_ns = test_metrics.ns(*BEGINS[begins])
    prints = test_metrics.random_prints(seed, begins_ns, 3600, 2.0)
    statuses = test_metrics.random_statuses(seed, begins_ns, 3600)
    events = with_corrections(test_metrics.with_halts(prints, statuses, seed), seed, 0.06)
    draw = np.random.default_rng(seed + 7)
    at = sorted(begins_ns + int(s) * SECOND_NS // 2 for s in draw.integers(1200, 7200, 5))
    assert test_metrics.differences(events, begins_ns, at, seed, 1 + 6 * seed) == []
