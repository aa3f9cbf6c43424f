"""A rule edited while the market trades: live, whatever happens to its owners, and in a replay, the same alerts."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.chain import Chain
from runtime.frames import Frame, decode, encode, texts
from runtime.loader import load_plan
from runtime.subjects import load_subjects
from tests.conftest import ROOT
from tests.exactly_once.world import ACTIONS, UNIT, Event, World

SUBJECTS = load_subjects(ROOT / "subjects.yaml")
MARKET = load_plan(ROOT / "functions", SUBJECTS, {"scanner": {"toplists": "none"}}).chain("scanner")
assert MARKET is not None
PLAN = replace(MARKET, name=UNIT[0])
T0 = 1_767_623_400_000_000_000  # Monday, 09:30 in New York
SECOND_NS = 10**9
RULES = (
    "price > 10 volume >= 0 cooldown 0s",
    "price > 10 volume >= 0 cooldown 3s",
    "price crosses above 11 volume >= 0 cooldown 0s",
    "(price > 9 volume >= 0) held for 2s cooldown 0s",
    "price changed by >= 5% in 5m cooldown 0s",
    "prise > 10",  # does not compile, and stops no other
)
SETS = st.lists(st.sampled_from(RULES), max_size=3)
# An edit stands before the print with its number: the rules of a set are its places.
EDITS = st.dictionaries(st.integers(0, 23), SETS, max_size=5)
PRICES = st.lists(st.sampled_from([8.0, 9.5, 10.5, 11.5, 12.0]), min_size=24, max_size=24)
CUTS = st.sets(st.integers(1, 23))
SCHEDULES = st.lists(
    st.builds(Event, st.integers(1, 120), st.sampled_from(ACTIONS), st.booleans()), max_size=3
)
Input = list[tuple[str, bytes]]


def market(prices: list[float], edits: dict[int, list[str]], cuts: set[int]) -> Input:
    """Four prints a second of two symbols and clock events, with edits between them; frames end at cuts too."""
    ends = sorted({*cuts, *edits, *range(4, 24, 4)} - {0} | {24})
    said: Input = []
    for start, end in zip([0, *ends], ends, strict=False):
        if start in edits:
            said.append(control(start + 1, edits[start]))
        said.append(trades(start, prices[start:end]))
        if end % 4 == 0:
            clock = Frame({"ts_ns": np.array([T0 + end // 4 * SECOND_NS])}, source="test")
            said.append(("ticks.clock.3", encode(clock, SUBJECTS.record_of("ticks.clock"))))
    return said


def control(version: int, rules: list[str]) -> tuple[str, bytes]:
    some = [{"id": f"r{k}", "name": "Rule", "when": text} for k, text in enumerate(rules)]
    body = texts([json.dumps({"rules": some})])
    frame = Frame({"version": np.array([version]), "body": body}, source="test")
    return "control.3", encode(frame, SUBJECTS.record_of("control"))


def trades(start: int, prices: list[float]) -> tuple[str, bytes]:
    number = np.arange(start, start + len(prices))
    columns: dict[str, Any] = {"ts_ns": T0 + number * SECOND_NS // 4, "price": np.array(prices)}
    columns["size"] = np.full(len(prices), 100.0)
    frame = Frame(columns, ["A", "B"], number // 2 % 2, "test")
    return "ticks.trades.3", encode(frame, SUBJECTS.record_of("ticks.trades"))


def lived(said: Input, schedule: list[Event]) -> tuple[list[bytes], Input]:
    """What owners say that come and go, and what was recorded."""
    world = World(SUBJECTS, list(schedule), plan=PLAN)
    for subject, data in said:
        world.store("MARKET", subject, data, {})
    asyncio.run(world.run())
    assert not world.streams.get("DEAD")
    alerts = [one.data for one in world.streams.get("ALERTS", []) if one.subject == "alerts.3"]
    return alerts, [(one.subject, one.data) for one in world.streams["MARKET"]]


def replayed(recorded: Input) -> list[bytes]:
    """What one private chain says of it."""
    chain = Chain(PLAN, SUBJECTS, 3)
    outputs = [
        output
        for position, (subject, data) in enumerate(recorded, 1)
        for output in chain.run(position, subject, data)
    ]
    return [one.data for one in outputs if one.subject == "alerts.3"]


def told(alerts: list[bytes]) -> list[tuple[Any, ...]]:
    """All that alerts say, without the frames they came in."""
    record = SUBJECTS.record_of("alerts")
    frames = [decode(data, record) for data in alerts]
    names = ("symbol", "ts_ns", "price", "id", "rule_id", "values", "explain", "causes")
    return [
        row for one in frames for row in zip(*(one[name].tolist() for name in names), strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(PRICES, EDITS, CUTS, SCHEDULES)
def test_a_rule_edited_between_two_prints_says_the_same_live_and_in_a_replay(
    prices: list[float], edits: dict[int, list[str]], cuts: set[int], schedule: list[Event]
) -> None:
    alerts, recorded = lived(market(prices, edits, cuts), schedule)
    assert told(alerts) == told(replayed(recorded))


@settings(max_examples=60, deadline=None)
@given(PRICES, EDITS, CUTS)
def test_how_a_feed_is_cut_moves_no_edit(
    prices: list[float], edits: dict[int, list[str]], cuts: set[int]
) -> None:
    some = {0: [RULES[0]], **edits}
    whole = told(replayed(market(prices, some, set())))
    assert told(replayed(market(prices, some, cuts))) == whole


def test_an_edit_takes_effect_at_the_next_print_and_is_not_known_before() -> None:
    prices = [8.0, 8.0, 10.5, 10.5] * 6
    alerts = told(replayed(market(prices, {0: [RULES[5]], 10: [RULES[0], RULES[5]]}, set())))
    assert [(one[0], (one[1] - T0) * 4 // SECOND_NS) for one in alerts] == [("B", 10)]
