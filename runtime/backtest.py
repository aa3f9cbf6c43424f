"""Run the functions over recorded trades or bars in this process: no server, no wall clock, the live answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from runtime.backtest_moments import (
    DEAD,
    INPUT,
    Market,
    Moment,
    control_frame,
    one_clock_event_a_frame,
    plain,
    says_to_itself,
    together,
)
from runtime.chain import Chain, Output
from runtime.frames import Frame
from runtime.loader import ChainPlan, Plan
from runtime.shapes import alert_shapes
from runtime.subjects import Subjects
from runtime.tables import make_folder, write_parquet, write_text

BARS, INDICATORS, ALERTS, CHANGES = (
    "bars.final",
    "indicators",
    "alerts.filtered",
    "toplists.changes",
)
KEPT = (BARS, INDICATORS, ALERTS, CHANGES, "why.values")
FIRED = "fired"  # kind of an alert that a rule fired; other kinds are said of earlier alerts


class BacktestError(RuntimeError):
    """The backtest cannot run, or a function failed in it."""


@dataclass
class Result:
    """Everything the functions said on the kept subjects, newest revision of a bar last.

    bars  the bars that were fed, where they were: columns with a symbol each, one per symbol and minute
    """

    frames: dict[str, list[Frame]] = field(default_factory=dict)
    trades: int = 0
    fed: int = 0  # bars that were fed
    dead: list[dict[str, Any]] = field(default_factory=list)
    kept: tuple[str, ...] = KEPT
    bars: Mapping[str, Any] | None = None

    def note(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if output.base == DEAD:
                self.dead.append(msgpack.unpackb(output.data))
            elif output.frame is not None:
                self.keep(output.base, output.frame)

    def keep(self, base: str, frame: Frame) -> None:
        """Remember a frame, if its subject is kept."""
        if base in self.kept:
            self.frames.setdefault(base, []).append(frame)

    def count(self, base: str, events: int) -> None:
        """Count what was fed."""
        if base == "ticks.trades":
            self.trades += events
        elif base == BARS:
            self.fed += events

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts as clients know them, in order."""
        return [one for frame in self.frames.get(ALERTS, []) for one in alert_shapes(frame)]


def run_backtest(
    plan: Plan,
    subjects: Subjects,
    events: Iterable[tuple[str, Frame]],
    rules: str = "",
    kept: tuple[str, ...] = KEPT,
) -> Result:
    """Feed (base subject, frame) events, in order, to every chain; `rules` is a control body.

    Chains that read what others write are fed with it in memory, in the same order as their stream.
    """
    if says_to_itself(plan):
        return _run_with_answers(plan, subjects, events, rules, kept)
    followers = Followers(plan, subjects, kept)
    for moment in Market(plan, subjects, followers.wanted).moments(events, rules):
        followers.take([moment])
    return followers.result


class Followers:
    """The chains that read what those of the market say, and what is kept of all that is said."""

    def __init__(self, plan: Plan, subjects: Subjects, kept: tuple[str, ...]) -> None:
        self._subjects = subjects
        later = [one for one in plan.chains if one.stream != INPUT]
        self._chains = {
            one.name: (one, Chain(one, subjects, None, is_published=False)) for one in later
        }
        self.followed = frozenset(base for one in later for base in one.inputs)
        self.wanted = self.followed | frozenset(kept)  # what the market's chains need to tell
        self.result = Result(kept=kept)

    def take(self, shares: list[Moment]) -> None:
        """One moment of every share of the symbols."""
        whole = together(shares, self._subjects, self.followed)
        for base, events in whole.fed.items():
            self.result.count(base, events)
        self.result.dead += whole.dead
        for base, frame in whole.said:
            self.result.keep(base, frame)
            self.follow(base, frame)

    def follow(self, base: str, frame: Frame) -> list[Output]:
        """Hand what was said to who follows its stream; what they say."""
        found: list[Output] = []
        for plan, chain in self._chains.values():
            if base in plan.inputs:
                said = chain.run_frame(base, plain(frame))
                self.result.note(said)
                found += said
        return found


def _run_with_answers(
    plan: Plan,
    subjects: Subjects,
    events: Iterable[tuple[str, Frame]],
    rules: str,
    kept: tuple[str, ...],
) -> Result:
    """Feed events one by one: what followers say of each comes back before the next."""
    first = [chain for chain in plan.chains if chain.stream == INPUT]
    chains = {chain.name: Chain(chain, subjects, 0, is_published=False) for chain in first}
    followers = Followers(plan, subjects, kept)
    if rules:
        _feed(first, chains, followers, "control", control_frame(rules))
    for base, frame in one_clock_event_a_frame(events):
        followers.result.count(base, len(frame))
        _feed(first, chains, followers, base, frame)
    return followers.result


def fed_with_bars(plan: Plan) -> Plan:
    """The plan without those who make bars of prints: bars are an input of it, where they made them."""
    chains = []
    for chain in plan.chains:
        kept = tuple(one for one in chain.functions if BARS not in one.writes)
        if chain.stream != INPUT or len(kept) == len(chain.functions):
            chains.append(chain)
        elif kept:
            inputs = tuple(dict.fromkeys([*chain.inputs, BARS]))
            chains.append(replace(chain, functions=kept, inputs=inputs))
    return replace(plan, chains=tuple(chains))


def _feed(
    first: list[ChainPlan],
    chains: Mapping[str, Chain],
    followers: Followers,
    base: str,
    frame: Frame,
) -> None:
    for plan in first:
        if base not in plan.inputs:
            continue
        frame.rows_by_symbol = None
        frame.columns.pop("row", None)
        outputs = chains[plan.name].run_frame(base, frame)
        followers.result.note(outputs)
        for output in outputs:
            if output.frame is not None:
                for back in followers.follow(output.base, output.frame):
                    if back.frame is not None:
                        _feed(first, chains, followers, back.base, plain(back.frame))


def write_result(
    result: Result,
    subjects: Subjects,
    directory: Path,
    reports: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, int]:
    """Write bars, indicators, alerts, toplists and reports; returns the rows of each file.

    Bars that were fed are not written again. Raises TableError.
    """
    make_folder(directory)
    rows = {}
    files = [(INDICATORS, "indicators.parquet")] if INDICATORS in result.kept else []
    for base, file in ([] if result.bars is not None else [(BARS, "bars.parquet")]) + files:
        columns = _newest(result.frames.get(base, []), subjects, base)
        write_parquet(directory / file, columns)
        rows[file] = len(columns["symbol"])
    for name, report in (reports or {}).items():
        write_parquet(directory / f"{name}.parquet", report)
        rows[f"{name}.parquet"] = len(next(iter(report.values())))
    if CHANGES in result.frames:
        changes = _changes(result.frames[CHANGES])
        write_parquet(directory / "toplists.parquet", changes)
        rows["toplists.parquet"] = len(changes["ts_ns"])
    alerts = result.alerts()
    text = "".join(json.dumps(alert, separators=(",", ":")) + "\n" for alert in alerts)
    write_text(directory / "alerts.jsonl", text)
    rows["alerts.jsonl"] = len(alerts)
    return rows


def _changes(frames: list[Frame]) -> dict[str, Any]:
    """Who entered and left which toplist when, in order."""
    names = ("ts_ns", "list", "kind", "rank")
    symbols = [str(one) for frame in frames for one in frame["symbol"]]
    return {"symbol": symbols} | {
        name: np.concatenate([frame[name] for frame in frames]) for name in names
    }


def reported(plan: Plan | None, result: Result, subjects: Subjects) -> dict[str, Mapping[str, Any]]:
    """What the functions of the plan say of all bars and all alerts, those about earlier ones among them, by name."""
    names = ("ts_ns", "price", "id", "rule_id", "rule_name")
    alerts: dict[str, Any] = {name: [] for name in (*names, "symbol", "kind")}
    for frame in result.frames.get(ALERTS, []):
        for name in names:
            alerts[name] += frame[name].tolist()
        alerts["symbol"] += [str(one) for one in frame["symbol"]]
        alerts["kind"] += list(frame.get("kind", [FIRED] * len(frame)))
    functions = plan.functions if plan else ()
    reports = [(one, name) for one in functions for name in one.declaration.reports]
    if not reports:
        return {}
    bars = result.bars
    if bars is None:
        bars = _newest(result.frames.get(BARS, []), subjects, BARS)
    return {
        name: one.declaration.reports[name](bars, alerts, one.settings) for one, name in reports
    }


def _newest(frames: list[Frame], subjects: Subjects, base: str) -> dict[str, Any]:
    """One row per symbol and minute, the newest revision, ordered by symbol and time."""
    names = list(subjects.record_of(base).columns)
    if not frames:
        return {
            "symbol": [],
            **{name: np.array([], dtype="i8" if name == "ts_ns" else "f8") for name in names},
        }
    symbols = np.concatenate([frame["symbol"] for frame in frames])
    columns = {name: np.concatenate([frame[name] for frame in frames]) for name in names}
    order = np.lexsort((np.arange(len(symbols)), columns["ts_ns"], symbols.astype(str)))
    last = np.ones(len(order), dtype=bool)
    same = (symbols[order][1:] == symbols[order][:-1]) & (
        columns["ts_ns"][order][1:] == columns["ts_ns"][order][:-1]
    )
    last[:-1] = ~same
    keep = order[last]
    return {
        "symbol": list(symbols[keep]),
        **{name: column[keep] for name, column in columns.items()},
    }
