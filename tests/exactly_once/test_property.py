"""Whatever happens to its owners between any two steps, a partition says what one calm run says.

The same search finds a counter-example as soon as the fence or the suppression is taken away.
"""

from __future__ import annotations

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from runtime.subjects import load_subjects
from tests.conftest import ROOT
from tests.exactly_once.world import ACTIONS, Event, faults_of

SUBJECTS = load_subjects(ROOT / "subjects.yaml")
SCHEDULES = st.lists(
    st.builds(Event, st.integers(1, 90), st.sampled_from(ACTIONS), st.booleans(), st.booleans()),
    max_size=5,
)


def test_an_undisturbed_owner_says_what_the_chain_says() -> None:
    assert faults_of(SUBJECTS, []) == []


@settings(max_examples=300, deadline=None)
@given(SCHEDULES)
def test_every_output_is_said_once_in_order_whatever_happens_between_two_steps(
    schedule: list[Event],
) -> None:
    assert faults_of(SUBJECTS, schedule) == []


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("saves_often", [True, False])
@pytest.mark.parametrize("joins", [True, False])
def test_every_step_of_one_owner_may_be_its_last(
    action: str, saves_often: bool, joins: bool
) -> None:
    for after in range(1, 100):
        assert faults_of(SUBJECTS, [Event(after, action, saves_often, joins)]) == [], after


@pytest.mark.parametrize("protection", ["has_fence", "has_suppression"])
def test_the_search_finds_the_fault_when_a_protection_is_taken_away(protection: str) -> None:
    found = find(
        SCHEDULES,
        lambda schedule: faults_of(SUBJECTS, schedule, **{protection: False}) != [],
        settings=settings(max_examples=2000, deadline=None, database=None),
    )
    assert len(found) == 1  # shrunk to one event
