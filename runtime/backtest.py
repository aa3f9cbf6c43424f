"""Run the functions over recorded trades in this process: no server, no wall clock, the live answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from runtime.chain import Chain, Output
from runtime.frames import Frame, texts
from runtime.loader import ChainPlan, Plan
from runtime.shapes import alert_shapes
from runtime.subjects import Subjects
from runtime.tables import make_folder, write_parquet, write_text

INPUT = "MARKET"
KEPT = ("bars.final", "indicators", "alerts.filtered", "why.values")


class BacktestError(RuntimeError):
    """The backtest cannot run, or a function failed in it."""


@dataclass
class Result:
    """Everything the functions said, newest revision of a bar last."""

    frames: dict[str, list[Frame]] = field(default_factory=dict)
    trades: int = 0
    dead: list[dict[str, Any]] = field(default_factory=list)

    def note(self, outputs: Iterable[Output]) -> None:
        seen: Frame | None = None
        for output in outputs:
            if output.base == "dead":
                self.dead.append(msgpack.unpackb(output.data))
            elif output.base in KEPT and output.frame is not None and output.frame is not seen:
                self.frames.setdefault(output.base, []).append(output.frame)
                seen = output.frame


def run_backtest(
    plan: Plan,
    subjects: Subjects,
    events: Iterable[tuple[str, Frame]],
    rules: str = "",
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
    result = Result()
    if rules:
        control = Frame({"version": np.array([1]), "body": texts([rules])}, source="backtest")
        _feed(first, chains, followers, "control", control, result)
    for base, frame in events:
        if base == "ticks.trades":
            result.trades += len(frame)
        _feed(first, chains, followers, base, frame, result)
    return result


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
    if output.frame is None or output.part:
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
    result: Result, subjects: Subjects, directory: Path, plan: Plan | None = None
) -> dict[str, int]:
    """Write bars.parquet, indicators.parquet, alerts.jsonl and reports; returns the rows of each.

    Raises TableError.
    """
    make_folder(directory)
    rows = {}
    for base, file in (("bars.final", "bars.parquet"), ("indicators", "indicators.parquet")):
        columns = _newest(result.frames.get(base, []), subjects, base)
        write_parquet(directory / file, columns)
        rows[file] = len(columns["symbol"])
    alerts = [
        alert for frame in result.frames.get("alerts.filtered", []) for alert in alert_shapes(frame)
    ]
    for name, report in _reported(plan, result, subjects):
        write_parquet(directory / f"{name}.parquet", report)
        rows[f"{name}.parquet"] = len(next(iter(report.values())))
    text = "".join(json.dumps(alert, separators=(",", ":")) + "\n" for alert in alerts)
    write_text(directory / "alerts.jsonl", text)
    rows["alerts.jsonl"] = len(alerts)
    return rows


def _reported(
    plan: Plan | None, result: Result, subjects: Subjects
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What the functions of the plan say of all bars and all alerts, by name."""
    bars = _newest(result.frames.get("bars.final", []), subjects, "bars.final")
    said = result.frames.get("alerts.filtered", [])
    names = ("ts_ns", "price", "id", "rule_id", "rule_name")
    alerts = {name: [one for frame in said for one in frame[name].tolist()] for name in names}
    alerts["symbol"] = [str(one) for frame in said for one in frame["symbol"]]
    for one in plan.functions if plan else ():
        for name, report in one.declaration.reports.items():
            yield name, report(bars, alerts, one.settings)


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
