"""Precision and recall of every alert metric over the labelled market: the live code against the truth."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from functions.market.vocabulary import FAMILIES, Family
from runtime.chain import Chain
from runtime.config import Settings
from runtime.frames import Frame, texts
from runtime.loader import load_plan
from runtime.providers import frame_of
from runtime.providers.labelled import truth_of
from runtime.providers.labelled.provider import LabelledProvider
from runtime.subjects import Subjects

SECOND_NS = 1_000_000_000
ALERTS = tuple(family for family in FAMILIES if family.kind == "alert")
NAMES = tuple(name for family in ALERTS for name in family.names)

Moments = dict[str, list[tuple[str, int]]]  # metric -> (symbol, event time), in order


class Score(NamedTuple):
    """How many moments of the truth were found, and how many that were found are true."""

    true: int
    said: int
    matched: int

    @property
    def recall(self) -> float:
        """Found of what is true."""
        return self.matched / self.true if self.true else 1.0

    @property
    def precision(self) -> float:
        """True of what was found."""
        return self.matched / self.said if self.said else 1.0


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    seed: int = 7,
    dirts: tuple[str, ...] = ("clean", "usual", "bad"),
    tolerance_s: float = 5.0,
    prints_max: int = 0,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """For each dirtiness: recall and precision over all alert metrics and by family."""
    results: dict[str, Any] = {}
    for dirt in dirts:
        provider = LabelledProvider(seed, dirt, speed=0.0)
        found, end_ns = said(market_chain(settings, subjects), provider, prints_max)
        expected = true_moments(provider, end_ns)
        exact = scores(expected, found, 0)
        near = scores(expected, found, int(tolerance_s * SECOND_NS))
        results[dirt] = {
            "exact": told(total(exact.values())),
            "near": told(total(near.values())),
            "families": {
                family.id: told(total(near[name] for name in family.names)) for family in ALERTS
            },
        }
    sizes = {"seed": seed, "tolerance_s": tolerance_s, "metrics": len(NAMES)}
    return sizes, results


def told(score: Score) -> dict[str, Any]:
    """A score as the report has it."""
    return {
        "true": score.true,
        "said": score.said,
        "recall": round(score.recall, 4),
        "precision": round(score.precision, 4),
    }


def total(several: Any) -> Score:
    """Scores added up."""
    return Score(*(sum(column) for column in zip(*several, strict=True)))


def true_moments(provider: LabelledProvider, end_ns: int = 0) -> Moments:
    """When each alert metric became true, as a rule could first see it."""
    moments: Moments = defaultdict(list)
    for row in truth_of(provider.market):
        if not end_ns or row.seen_ns < end_ns:
            moments[row.kind].append((row.symbol, row.seen_ns))
    return moments


def market_chain(settings: Settings, subjects: Subjects) -> Chain:
    """The functions of the market in one partition, every metric kept ready."""
    watched = {"scanner": {"watch": "*"}}
    market = load_plan(Path(settings.functions_dir), subjects, watched).chain("market")
    assert market is not None
    return Chain(market, subjects, 0)


def said(chain: Chain, provider: LabelledProvider, prints_max: int = 0) -> tuple[Moments, int]:
    """When rules of one condition each fired on the feed, and the event time at which it was cut (0: not)."""
    read = {base for one in chain.plan.functions for base in one.reads}
    chain.run_frame("control", rules())
    moments: Moments = defaultdict(list)
    prints = 0
    for batch in provider.batches():
        if batch.kind == "trades":
            if prints_max and prints >= prints_max:
                return moments, int(chain.clock_ns)
            prints += len(batch)
        if batch.base in read:
            for output in chain.run_frame(batch.base, frame_of(batch, provider.name)):
                assert output.base != "dead", output.data
                if output.base == "alerts" and output.frame is not None and not output.part:
                    note(moments, output.frame)
    return moments, 0


def note(moments: Moments, alerts: Frame) -> None:
    """Alerts by the metric of their rule, as they fired: what becomes of them later is no moment."""
    for name, symbol, ts_ns, kind in zip(
        alerts["rule_name"].tolist(),
        alerts["symbol"].tolist(),
        alerts["ts_ns"].tolist(),
        alerts["kind"].tolist(),
        strict=True,
    ):
        if kind == "fired":
            moments[name].append((symbol, ts_ns))


def rules() -> Frame:
    """One rule per alert metric: its documented condition and sessions, no volume threshold, no cooldown."""
    made = [rule(family, name) for family in ALERTS for name in family.names]
    body = json.dumps({"rules": made})
    return Frame({"version": np.array([1]), "body": texts([body])}, source="bench")


def rule(family: Family, name: str) -> dict[str, Any]:
    """The rule of one metric in the rule language: its documented condition and sessions, whatever the volume."""
    when = f"{name} {family.condition} volume >= 0"
    return {"id": name.replace(".", "_"), "name": name, "cooldown": 0, "when": when}


def scores(expected: Moments, found: Moments, tolerance_ns: int) -> dict[str, Score]:
    """Every metric's score; a moment found matches one of the truth at most `tolerance_ns` away."""
    return {name: score(expected[name], found[name], tolerance_ns) for name in NAMES}


def score(
    expected: list[tuple[str, int]], found: list[tuple[str, int]], tolerance_ns: int
) -> Score:
    """Moments matched one to one, symbol by symbol, the earliest first."""
    matched = 0
    for symbol in {one for one, _ in expected}:
        true = sorted(ts for one, ts in expected if one == symbol)
        mine = sorted(ts for one, ts in found if one == symbol)
        place = 0
        for ts in mine:
            while place < len(true) and true[place] < ts - tolerance_ns:
                place += 1
            if place < len(true) and true[place] <= ts + tolerance_ns:
                matched += 1
                place += 1
    return Score(len(expected), len(found), matched)
