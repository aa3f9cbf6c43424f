"""The examples: hosted where they are put, not by default, and true to what every function promises."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.block_trade import block_trade
from examples.breakout import breakout
from examples.pullback import pullback
from examples.quiet import quiet
from examples.volume_spike import volume_spike
from functions.bars import bars
from runtime.frames import Frame
from runtime.loader import load_plan
from runtime.subjects import Subjects
from runtime.testing import Harness, any_crash, any_cut, ns
from tests.conftest import ROOT

EXAMPLES = ["block_trade", "breakout", "quiet", "volume_spike", "pullback"]  # of rising depth
START_NS, SECOND_NS = ns("09:30:00"), 10**9
WITH_BARS = ("volume_spike", "pullback")
EAGER: dict[str, dict[str, Any]] = {
    "block_trade": {"size_min": 450.0},
    "breakout": {"volume_min": 0.0},
    "quiet": {"silent_s": 5},
    "volume_spike": {"times": 0.5},
    "pullback": {"run_pct": 0.2, "keeps": 0.1, "pause_min": 1},
}


def chain(name: str) -> list[Any]:
    function = getattr(importlib.import_module(f"examples.{name}"), name)
    return [bars, function] if name in WITH_BARS else [function]


def market() -> list[tuple[str, Frame]]:
    """Half an hour of three symbols, several prints of each in a frame, a clock event after it."""
    draw = np.random.default_rng(5)
    price, events = np.full(3, 20.0), []
    for number in range(120):
        start = START_NS + number * 15 * SECOND_NS
        row = draw.integers(0, 3 if number % 8 < 5 else 2, 6)
        price[:] += draw.choice([-0.05, 0.0, 0.05], 3)
        columns = {
            "ts_ns": start + np.sort(draw.integers(0, 14 * SECOND_NS, 6)),
            "price": np.round(price[row] + draw.choice([-0.01, 0.0, 0.01], 6), 2),
            "size": draw.integers(1, 500, 6).astype(float),
        }
        events.append(("ticks.trades", Frame(columns, ["A", "B", "C"], row, "test")))
        clock = start + np.arange(5, 16, 5) * SECOND_NS
        events.append(("ticks.clock", Frame({"ts_ns": clock}, source="test")))
    return events


def test_the_examples_are_those_on_the_disk_and_none_is_loaded_by_default(
    subjects: Subjects,
) -> None:
    assert sorted(one.stem for one in (ROOT / "examples").glob("*.py")) == sorted(EXAMPLES)
    names = {one.name for one in load_plan(ROOT / "functions", subjects).functions}
    assert not names & set(EXAMPLES)


def test_every_example_is_hosted_where_it_is_put(subjects: Subjects, tmp_path: Path) -> None:
    for folder in ("functions", "examples"):
        for file in (ROOT / folder).glob("*.py"):
            shutil.copy(file, tmp_path)
    plan = load_plan(tmp_path, subjects)
    assert plan.faults == ()
    assert {plan.chain(name).name for name in EXAMPLES} == {"market"}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_cut_and_no_crash_changes_what_an_example_says(name: str) -> None:
    events, settings = market(), {name: EAGER[name]}
    harness = Harness(*chain(name), settings=settings)
    said = [out["alerts"] for out in (harness.send(*one) for one in events) if "alerts" in out]
    assert sum(map(len, said)) > 2, "the market of this test never makes it say anything"
    any_cut(*chain(name), events=events, settings=settings)
    any_crash(*chain(name), events=events[:60], settings=settings)


def test_a_block_is_said_at_its_size() -> None:
    out = Harness(block_trade).send(
        "ticks.trades", "time symbol price size\n09:30:00 A 5 9999\n09:30:00 B 6 10000"
    )
    assert out["alerts"]["symbol"].tolist() == ["B"]


def test_a_print_at_the_high_is_no_breakout_and_one_above_it_is() -> None:
    table = "time symbol price size\n09:30:00 A 10 900\n09:30:01 A 10 200\n09:30:02 A 10.01 1"
    out = Harness(breakout).send("ticks.trades", table)
    assert out["alerts"]["price"].tolist() == [10.01]


def test_who_stood_still_is_said_once() -> None:
    harness = Harness(quiet, settings={"quiet": {"silent_s": 5}})
    harness.send("ticks.trades", "time symbol price size\n09:30:00 A 10 1")
    harness.clock(START_NS)
    assert harness.advance(5) == {}
    assert harness.advance(10)["alerts"]["ts_ns"].tolist() == [ns("09:30:06")]


def test_six_times_the_usual_volume_is_a_spike() -> None:
    harness = Harness(bars, volume_spike)
    for number in range(21):
        out = minute(harness, number, [(10.0, 600.0 if number == 20 else 100.0)])
    assert out["alerts"]["ts_ns"].tolist() == [START_NS + 20 * 60 * SECOND_NS]


# -- pullback


def minute(harness: Harness, number: int, prints: list[tuple[float, float]]) -> dict[str, Frame]:
    """The prints of a minute of A, then its end."""
    start = START_NS + number * 60 * SECOND_NS
    times = [start + place * SECOND_NS for place in range(len(prints))]
    prices, sizes = zip(*prints, strict=True)
    said = harness.send(
        "ticks.trades", symbol=["A"] * len(prints), ts_ns=times, price=prices, size=sizes
    )
    return {**harness.clock(start + 60 * SECOND_NS), **said}


def paused() -> Harness:
    """A run of 5 % in three minutes, and two quiet minutes above the half of it."""
    harness = Harness(bars, pullback)
    for number, price in enumerate((10.0, 10.2, 10.5)):
        minute(harness, number, [(price, 500.0)])
    for number, price in ((3, 10.4), (4, 10.45)):
        minute(harness, number, [(price, 100.0), (price - 0.02, 50.0)])
    assert harness.state("pullback")["stage"].tolist() == [3]
    return harness


def test_a_print_above_the_pause_fires_once() -> None:
    out = minute(paused(), 5, [(10.45, 10.0), (10.46, 10.0), (10.47, 10.0)])
    assert out["alerts"]["price"].tolist() == [10.46]


@pytest.mark.parametrize(
    ("prints", "why"),
    [
        ([(10.2, 10.0)], "it lost more than half"),
        ([(10.44, 900.0)], "the pause is louder than the run"),
        ([(10.44, 10.0)], ""),
    ],
)
def test_a_pause_that_is_none_ends_it(prints: list[tuple[float, float]], why: str) -> None:
    harness = paused()
    minute(harness, 5, prints)
    assert (harness.state("pullback")["stage"][0] == 0) == bool(why)


def test_a_halt_ends_it_and_a_print_that_sets_no_high_does_not_fire() -> None:
    harness = paused()
    odd = {"symbol": ["A"], "ts_ns": [ns("09:35:01")], "price": [11.0], "size": [1.0], "upd": [1]}
    assert "alerts" not in harness.send("ticks.trades", **odd)
    harness.send("ticks.status", symbol=["A"], ts_ns=[ns("09:35:02")], code=[1])
    assert "alerts" not in minute(harness, 5, [(10.6, 10.0)])


def test_a_setting_that_means_nothing_is_refused(subjects: Subjects, tmp_path: Path) -> None:
    for file in (ROOT / "functions" / "bars.py", ROOT / "examples" / "pullback.py"):
        shutil.copy(file, tmp_path)
    plan = load_plan(tmp_path, subjects, {"pullback": {"keeps": 1.5}})
    assert "keeps: expected a share between 0 and 1, found 1.5" in str(plan.faults[0])
