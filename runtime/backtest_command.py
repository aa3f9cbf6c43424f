"""One run of `jetscan backtest`: what was asked for becomes files in a folder and a summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.backtest import (
    INDICATORS,
    KEPT,
    BacktestError,
    Result,
    fed_with_bars,
    reported,
    run_backtest,
    write_result,
)
from runtime.backtest_input import (
    Asked,
    InputError,
    Progress,
    control_body,
    events_of,
    ranking,
    stored_events,
)
from runtime.loader import Plan
from runtime.providers import ProviderError
from runtime.report import as_html, as_markdown, report_of
from runtime.shapes import rfc3339
from runtime.subjects import Subjects
from runtime.tables import TableError, make_folder, write_text

ERRORS = (BacktestError, InputError, ProviderError, TableError)
PAGES = {"md": ("md",), "html": ("html",), "both": ("md", "html"), "none": ()}
OUTCOMES = "outcomes"  # the report with a row per alert
MOST_NS = 92 * 10**17


@dataclass(frozen=True)
class Job:
    """What is to be done.

    report         md, html, both or none
    is_indicating  indicators are written
    database       where stored bars are; empty: events come from files
    """

    asked: Asked
    out: Path
    rules: list[Path]
    toplists: Path | None
    report: str = "both"
    is_indicating: bool = True
    database: str = ""


PlanOf = Callable[[dict[str, dict[str, Any]]], Plan]


def run(
    job: Job, plan_of: PlanOf, subjects: Subjects, progress: Progress
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(what was done, in numbers; dead letters). Raises ERRORS and what the store raises."""
    began = time.monotonic()
    plan = _plan(plan_of, {})
    body, is_ranking = control_body(plan, job.rules, job.toplists)
    name = ranking(plan)
    if name and not is_ranking:
        plan = _plan(plan_of, {name: {"toplists": "none"}})
    make_folder(job.out)  # rather now than after all the work
    if job.database:
        told = stored_events(job.asked, job.database, progress)
    else:
        told = events_of(job.asked, progress)
    kept = tuple(one for one in KEPT if job.is_indicating or one != INDICATORS)
    running = plan if told.bars is None else fed_with_bars(plan)
    result = run_backtest(running, subjects, told.events, body, kept)
    result.bars = None if told.bars is None else told.bars.named()
    made = reported(plan, result, subjects)
    rows = write_result(result, subjects, job.out, made)
    counted = {"trades": result.trades} if told.bars is None else {"bars": result.fed}
    _write_pages(job, result, made, counted)
    seconds = round(time.monotonic() - began, 3)
    return {**counted, **rows, "dead": len(result.dead), "seconds": seconds}, result.dead


def _plan(plan_of: PlanOf, overrides: dict[str, dict[str, Any]]) -> Plan:
    plan = plan_of(overrides)
    if plan.faults:
        raise BacktestError("; ".join(map(str, plan.faults)))
    return plan


def _write_pages(
    job: Job, result: Result, made: Mapping[str, Any], counted: Mapping[str, int]
) -> None:
    if not PAGES[job.report]:
        return
    facts = _facts(job, counted)
    report = report_of(facts, result.alerts(), made.get(OUTCOMES, {}))
    for page in PAGES[job.report]:
        if page == "md":
            write_text(job.out / "summary.md", as_markdown(report))
        else:
            write_text(job.out / "report.html", as_html(report))


def _facts(job: Job, counted: Mapping[str, int]) -> dict[str, str]:
    facts = {name: f"{count:,}" for name, count in counted.items()}
    files = [*job.asked.trades, *job.asked.bars]
    facts["from"] = ", ".join(str(one) for one in files) or "the stored history"
    if job.rules:
        facts["rules"] = ", ".join(str(one) for one in job.rules)
    if job.asked.from_ns:
        facts["begins"] = rfc3339(job.asked.from_ns)
    if job.asked.to_ns < MOST_NS:
        facts["ends before"] = rfc3339(job.asked.to_ns)
    if job.asked.symbols:
        facts["symbols"] = ", ".join(job.asked.symbols)
    return facts


def summary(told: Mapping[str, Any], out: str) -> str:
    """What was done, in a line."""
    what = "bars" if "bars" in told else "trades"
    seconds = told["seconds"]
    rate = told[what] / seconds if seconds else 0
    files = (f"{name} {rows:,}" for name, rows in told.items() if "." in name)
    return (
        f"{told[what]:,} {what} in {seconds:.2f} s ({rate:,.0f}/s) into {out}: {', '.join(files)}"
    )
