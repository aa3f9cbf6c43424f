"""Rules in the rule language, one per alert metric, find every event of the labelled market and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from bench.labels import NAMES, Moments, Score, market_chain, said, score, scores, true_moments
from runtime.chain import Chain
from runtime.config import Settings
from runtime.frames import Frame, texts
from runtime.providers.labelled import truth_of
from runtime.providers.labelled.provider import LabelledProvider
from runtime.subjects import load_subjects
from tests.conftest import ROOT


@dataclass
class Measured:
    """The truth and what rules said, of the clean feed."""

    expected: Moments
    found: Moments
    scores: dict[str, Score]
    provider: LabelledProvider
    chain: Chain  # as the feed left it


@pytest.fixture(scope="module")
def clean() -> Measured:
    settings = Settings(functions_dir=str(ROOT / "functions"))
    provider = LabelledProvider(seed=7, dirt="clean", speed=0.0)
    chain = market_chain(settings, load_subjects(ROOT / "subjects.yaml"))
    found, _ = said(chain, provider)
    expected = true_moments(provider)
    return Measured(expected, found, scores(expected, found, 0), provider, chain)


def difference(name: str, measured: Measured) -> str:
    true, mine = set(measured.expected[name]), set(measured.found[name])
    missed, extra = sorted(true - mine), sorted(mine - true)
    return f"{name}: {len(missed)} missed {missed[:3]}, {len(extra)} said but not true {extra[:3]}"


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_of_a_clean_feed_is_found_and_nothing_else(name: str, clean: Measured) -> None:
    found = clean.scores[name]
    assert (found.recall, found.precision) == (1.0, 1.0), difference(name, clean)


def test_every_alert_metric_becomes_true_at_least_twice(clean: Measured) -> None:
    assert len(NAMES) == 156
    assert {name for name in NAMES if len(clean.expected[name]) < 2} == set()


def test_extremes_and_gaps_of_the_last_day_are_the_true_ones(clean: Measured) -> None:
    names = ["range_today", "gap_from_close_pct"]
    asked = Frame({"ts_ns": np.array([clean.chain.clock_ns]), "names": texts([" ".join(names)])})
    told: dict[tuple[str, str], float] = {}
    for output in clean.chain.run_frame("ask.metrics", asked):
        if output.base == "metrics.values" and output.frame is not None:
            told |= zip(zip(output.frame["name"], output.frame["symbol"], strict=True), output.frame["value"], strict=True)  # fmt: skip
    day = clean.provider.market.days[-1]
    true = {(row.kind, row.symbol): row.value for row in truth_of(clean.provider.market) if row.ts_ns >= day.start_ns}  # fmt: skip
    for symbol in clean.provider.market.symbols:
        wide = true["extended_high", symbol] - true["extended_low", symbol]
        assert told["range_today", symbol] == pytest.approx(wide)
        assert told["gap_from_close_pct", symbol] == pytest.approx(true["gap", symbol])


def test_moments_match_one_to_one_within_the_tolerance() -> None:
    true = [("A", 10), ("A", 20), ("B", 10)]
    assert score(true, [("A", 10), ("A", 20), ("B", 10)], 0) == Score(3, 3, 3)
    assert score(true, [("A", 11), ("A", 12), ("B", 30)], 0) == Score(3, 3, 0)
    assert score(true, [("A", 11), ("A", 12), ("B", 30)], 2) == Score(3, 3, 1)
    assert score(true, [("C", 10)], 5) == Score(3, 1, 0)
