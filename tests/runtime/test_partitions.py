"""State shared out anew goes on as if there had always been so many partitions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bench.machinery import control_frame, market_frames, rules_body
from runtime.chain import Chain
from runtime.frames import encode
from runtime.loader import ChainPlan, load_plan
from runtime.partitions import PartitionsError, shared_out
from runtime.subjects import Subjects
from tests.conftest import ROOT
from tests.exactly_once.world import events_of

SECONDS = 130  # two minutes close


def with_partitions(subjects: Subjects, partitions: int) -> Subjects:
    return subjects.model_copy(update={"partitions": partitions})


def plan_of(subjects: Subjects) -> ChainPlan:
    chain = load_plan(ROOT / "functions", subjects).chain("market")
    assert chain is not None
    return chain


class Market:
    """The market chain in every partition, and what it says: events by base subject, in no order."""

    def __init__(self, subjects: Subjects) -> None:
        self.subjects = subjects
        self.plan = plan_of(subjects)
        self.chains = [Chain(self.plan, subjects, p) for p in range(subjects.partitions)]
        self.said: Counter[Any] = Counter()
        control = control_frame(subjects, rules_body(4))
        for partition, chain in enumerate(self.chains):
            chain.run(1, f"control.{partition}", control)

    def run(self, seconds: range) -> None:
        """The simulated market of these seconds."""
        self.said.clear()
        clocks = [0] * self.subjects.partitions
        for number, out in enumerate(market_frames(self.subjects, 24, 80.0, SECONDS), 2):
            chain = self.chains[out.partition]
            if clocks[out.partition] in seconds:
                wire = self.subjects.wire(out.base, out.partition)
                data = encode(out.frame, self.subjects.record_of(out.base))
                for one in chain.run(number, wire, data):
                    assert one.base != "dead", one.data
                    if one.base in ("bars.final", "indicators", "alerts"):
                        for event in events_of(self.subjects, [one.data], one.subject):
                            event.pop("explain", None)
                            self.said[(one.base, *sorted(event.items()))] += 1
            clocks[out.partition] += out.base == "ticks.clock"


@pytest.mark.parametrize(("before", "after"), [(4, 3)])
def test_a_market_goes_on_as_if_there_had_always_been_so_many_partitions(
    subjects: Subjects, before: int, after: int
) -> None:
    old = Market(with_partitions(subjects, before))
    always = Market(with_partitions(subjects, after))
    half, rest = range(70), range(70, SECONDS)
    old.run(half)
    always.run(half)
    assert old.said == always.said
    always.run(rest)
    assert {base for base, *_ in always.said} == {"bars.final", "indicators", "alerts"}

    new = Market(always.subjects)
    new.chains = shared_out(new.plan, new.subjects, old.chains)
    saved = [chain.snapshot() for chain in new.chains]
    for chain, snapshot in zip(new.chains, saved, strict=True):
        chain.restore(snapshot.meta, {snapshot.blob_id: snapshot.blob})
    new.run(rest)
    assert new.said == always.said


def test_texts_that_differ_are_refused_where_nothing_says_how_they_become_one(
    subjects: Subjects,
) -> None:
    few = with_partitions(subjects, 2)
    old = Market(few)
    old.run(range(3))
    old.chains[1].table("bars")["held"] = "[[1]]"
    with pytest.raises(PartitionsError, match="bars: text held: corrections wait"):
        shared_out(old.plan, with_partitions(subjects, 1), old.chains)
    old.chains[1].table("bars")["held"] = ""
    old.chains[1].table("scanner")["rules"] = "other"
    with pytest.raises(PartitionsError, match="scanner: text rules differs between partitions"):
        shared_out(old.plan, with_partitions(subjects, 1), old.chains)
