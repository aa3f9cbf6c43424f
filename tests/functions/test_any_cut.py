"""One test for every function, also those added later: the answer does not depend on where a batch was cut."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.chain import Chain
from runtime.frames import Frame
from runtime.loader import load_plan
from runtime.subjects import load_subjects
from tests.conftest import ROOT

SUBJECTS = load_subjects(ROOT / "subjects.yaml")
PLAN = load_plan(ROOT / "functions", SUBJECTS)
MARKET = next(chain for chain in PLAN.chains if chain.stream == "MARKET")
START_NS = 1_767_623_400_000_000_000 - 240 * 10**9  # four minutes before the open, New York
SYMBOLS = ["A", "B", "C"]
RULES = {
    "rules": [
        {"id": "up", "name": "Up", "cooldown": 30, "conditions": [{"metric": "change_pct_1m", "operator": ">", "value": 0.1}]},
        {"id": "level", "name": "Level", "cooldown": 0, "conditions": [{"metric": "price", "operator": ">=", "value": 10.05}]},
        {"id": "busy", "name": "Busy", "cooldown": 0, "conditions": [
            {"metric": "volume_1m", "operator": ">", "value": 300},
            {"metric": "change_from_open", "operator": "!=", "value": 0, "calculated_during": "market"}]},
    ]
}  # fmt: skip
QUESTION = {"rule": "level", "about": "A", "id": "q1"}


def market(seed: int) -> list[tuple[str, dict[str, Any]]]:
    """Seconds of trades with late prints, odd lots, duplicates and corrections, a clock event after each."""
    draw = np.random.default_rng(seed)
    events: list[tuple[str, dict[str, Any]]] = []
    price = np.full(len(SYMBOLS), 10.0)
    for second in range(0, 360, 4):
        count = int(draw.integers(1, 12))
        row = draw.integers(0, len(SYMBOLS), count)
        for one in row:
            price[one] = max(1.0, round(price[one] + draw.choice([-0.02, 0.0, 0.01, 0.02]), 2))
        late_s = draw.choice([0, 0, 0, 3, 70], count)
        trades = {
            "ts_ns": START_NS + (second - late_s) * 10**9 + np.sort(draw.integers(0, 10**9, count)),
            "price": price[row] + draw.choice([0.0, 0.01], count),
            "size": draw.integers(1, 200, count) / 7,
            "upd": draw.choice(np.array([7, 7, 7, 1, 37], dtype=np.uint8), count),
            "id": second * 100 + np.arange(count),
            "index": row,
        }
        if draw.random() < 0.2:  # the feed repeats itself
            twice = draw.integers(0, count, 2)
            trades = {name: np.append(values, values[twice]) for name, values in trades.items()}
        events.append(("ticks.trades", trades))
        if (
            draw.random() < 0.5
        ):  # of these prints; or of others, and then before or without their trade
            events.append(("ticks.corrections", corrections(draw, trades)))
            events.insert(-draw.choice([1, 1, 1, 3]) % len(events), events.pop())
        if draw.random() < 0.15:
            events.append(("ticks.gaps", gaps(draw, START_NS + second * 10**9)))
        events.append(("ticks.quotes", quotes(draw, START_NS + second * 10**9)))
        events.append(("ticks.clock", {"ts_ns": np.array([START_NS + (second + 4) * 10**9])}))
    names = np.empty(1, dtype=object)
    names[0] = "price volume_5m rsi_14 crossed_above_vwap bid spread crossed_s locked_s bid_size"
    clock_ns = np.array([START_NS + 364 * 10**9])
    events.append(("ask.metrics", {"ts_ns": clock_ns, "names": names}))
    asked = {name: np.array([text], dtype=object) for name, text in QUESTION.items()}
    events.append(("ask.why", {"ts_ns": clock_ns, **asked}))
    return events


def corrections(draw: np.random.Generator, trades: dict[str, Any]) -> dict[str, Any]:
    """Cancels and corrections of a few trades."""
    some = draw.integers(0, len(trades["ts_ns"]), 3)
    named = {name: trades[name][some] for name in ("ts_ns", "price", "size", "upd", "id", "index")}
    right = draw.choice([np.nan, 0.0, 0.05, -0.05], 3) + named["price"]
    new_size = np.where(np.isnan(right), 0.0, named["size"] + 1)
    return {**named, "new_price": right, "new_size": new_size}


def quotes(draw: np.random.Generator, ts_ns: int) -> dict[str, Any]:
    """Quotes of one second: some locked, crossed, one-sided, not firm or older than the one before."""
    count = int(draw.integers(1, 9))
    return {
        "ts_ns": ts_ns + draw.integers(0, 10**9, count),
        "bid": draw.choice([0.0, 9.99, 10.0, 10.01], count),
        "ask": draw.choice([0.0, 10.0, 10.01, 10.02], count),
        "bid_size": draw.integers(0, 9, count).astype(float),
        "ask_size": draw.integers(0, 9, count).astype(float),
        "condition": draw.choice(np.array([0, 0, 0, 4], dtype=np.uint8), count),
        "lots": draw.choice(np.array([0, 1], dtype=np.uint8), count),
        "index": draw.integers(0, len(SYMBOLS), count),
    }


def gaps(draw: np.random.Generator, ts_ns: int) -> dict[str, Any]:
    """Gaps of a second: some last until the next, the others were repaired at once."""
    count = int(draw.integers(1, 5))
    repaired = draw.integers(0, 2, count)
    return {
        "ts_ns": np.full(count, ts_ns),
        "from_ns": ts_ns - draw.integers(0, 10, count) * 10**9,
        "to_ns": np.where(repaired == 1, ts_ns, 0),
        "what": draw.choice(np.array([1, 1, 3], dtype=np.uint8), count),
        "repaired": repaired.astype(np.uint8),
        "index": draw.integers(0, len(SYMBOLS), count),
    }


def answers(events: list[tuple[str, dict[str, Any]]], cut: Any) -> dict[str, list[Any]]:
    """The rows each subject got, messages joined."""
    chain = Chain(MARKET, SUBJECTS, 0)
    body = np.empty(1, dtype=object)
    body[0] = json.dumps(RULES)
    chain.run_frame("control", Frame({"version": np.array([1]), "body": body}))
    said: dict[str, list[Any]] = {}
    for base, columns in events:
        for rows in cut(len(columns["ts_ns"])):
            part = {name: values[rows] for name, values in columns.items()}
            index = part.pop("index", None)
            frame = Frame(part, None if index is None else SYMBOLS, index)
            for output in chain.run_frame(base, frame):
                assert output.base != "dead", output.data
                said.setdefault(output.subject, []).extend(rows_of(output.frame))
    return said


def rows_of(frame: Frame | None) -> list[tuple[Any, ...]]:
    assert frame is not None
    names = sorted(name for name in frame.columns if name != "row")
    columns = [frame["symbol"].tolist()] if frame.symbols else []
    columns += [[repr(value) for value in frame[name].tolist()] for name in names]
    return list(zip(*columns, strict=True))


def whole(count: int) -> list[slice]:
    return [slice(0, count)]


def one_by_one(count: int) -> list[slice]:
    return [slice(k, k + 1) for k in range(count)]


@pytest.mark.parametrize("hosted", [one.name for one in MARKET.functions])
def test_one_by_one_says_what_whole_frames_say(hosted: str) -> None:
    writes = next(one.writes for one in MARKET.functions if one.name == hosted)
    for seed in range(3):
        events = market(seed)
        expected, found = answers(events, whole), answers(events, one_by_one)
        for base in writes:
            subject = SUBJECTS.wire(base, 0)
            assert found.get(subject) == expected.get(subject)
            assert expected.get(subject), f"the market of this test never makes {hosted} say {base}"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 50), st.integers(1, 6))
def test_any_cut_says_the_same(seed: int, width: int) -> None:
    events = market(seed)
    cuts = [slice(k, k + width) for k in range(0, 14, width)]
    assert answers(events, lambda count: [c for c in cuts if c.start < count]) == answers(
        events, whole
    )
