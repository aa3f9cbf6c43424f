"""Run the functions over recorded trades or bars in this process: no server, no wall clock, the live answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from runtime.chain import Chain, Output
from runtime.frames import Frame, texts
from runtime.loader import CLOCK, ChainPlan, Plan
from runtime.shapes import alert_shapes
from runtime.subjects import Subjects
from runtime.tables import make_folder, write_parquet, write_text

INPUT = "MARKET"
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
        seen: Frame | None = None
        for output in outputs:
            if output.base == "dead":
                self.dead.append(msgpack.unpackb(output.data))
            elif output.base in self.kept and output.frame is not None and output.frame is not seen:
                self.frames.setdefault(output.base, []).append(output.frame)
                seen = output.frame

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
    first = [chain for chain in plan.chains if chain.stream == INPUT]
    later = [chain for chain in plan.chains if chain.stream != INPUT]
    chains = {chain.name: Chain(chain, subjects, 0, is_published=False) for chain in first}
    followers = {
        chain.name: (chain, Chain(chain, subjects, None, is_published=False)) for chain in later
    }
    result = Result(kept=kept)
    if rules:
        control = Frame({"version": np.array([1]), "body": texts([rules])}, source="backtest")
        _feed(first, chains, followers, "control", control, result)
    for base, frame in _one_clock_event_a_frame(events):
        if base == "ticks.trades":
            result.trades += len(frame)
        elif base == BARS:
            result.fed += len(frame)
        _feed(first, chains, followers, base, frame, result)
    return result


def _one_clock_event_a_frame(events: Iterable[tuple[str, Frame]]) -> Iterator[tuple[str, Frame]]:
    """What a second makes others say comes back before the next, as it does live."""
    for base, frame in events:
        if base == CLOCK:
            for place in range(len(frame)):
                yield base, frame[place : place + 1]
        else:
            yield base, frame


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
    followers: Mapping[str, tuple[ChainPlan, Chain]],
    base: str,
    frame: Frame,
    result: Result,
) -> None:
    for plan in first:
        if base not in plan.inputs:
            continue
        frame.rows_by_symbol = None
        frame.columns.pop("row", None)
        outputs = chains[plan.name].run_frame(base, frame)
        result.note(outputs)
        for output in outputs:
            for back in _follow(output, followers, result):
                _feed(first, chains, followers, back.base, _again(back), result)


def _follow(
    output: Output, followers: Mapping[str, tuple[ChainPlan, Chain]], result: Result
) -> list[Output]:
    """Hand an output to who follows its stream; what comes of it for the first chains."""
    found: list[Output] = []
    if output.frame is None:
        return found
    for plan, chain in followers.values():
        if output.base in plan.inputs:
            said = chain.run_frame(output.base, _again(output))
            result.note(said)
            found += said
    return found


def _again(output: Output) -> Frame:
    """What was said, as a frame that others may read."""
    frame = output.frame
    if frame is None:
        raise BacktestError(f"nothing was said on {output.base}")
    columns = {name: column for name, column in frame.columns.items() if name != "row"}
    return Frame(columns, frame.symbols, frame.index, frame.source, frame.sequence)


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
    """What the functions of the plan say of all bars and all alerts that fired, by name."""
    names = ("ts_ns", "price", "id", "rule_id", "rule_name")
    alerts: dict[str, Any] = {name: [] for name in (*names, "symbol")}
    for frame in result.frames.get(ALERTS, []):
        fired = (
            np.flatnonzero(np.asarray(frame["kind"]) == FIRED) if "kind" in frame else slice(None)
        )
        for name in names:
            alerts[name] += frame[name][fired].tolist()
        alerts["symbol"] += [str(one) for one in np.asarray(frame["symbol"], dtype=object)[fired]]
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
