"""One run of `jetscan backtest`: what was asked for becomes files in a folder and a summary."""

from __future__ import annotations

import os
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
    Told,
    control_body,
    events_of,
    ranking,
    stored_events,
)
from runtime.backtest_moments import says_to_itself
from runtime.backtest_shares import Work, run_shares
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
PROCESSES_MOST = 4
# A process takes about a second to begin, and a frame of few symbols costs what one of many does.
WORTH_EVENTS, WORTH_SYMBOLS = 500_000, 250


@dataclass(frozen=True)
class Job:
    """What is to be done.

    report         md, html, both or none
    is_indicating  indicators are written
    database       where stored bars are; empty: events come from files
    processes      how many at most; 0: as many as are worth it
    """

    asked: Asked
    out: Path
    rules: list[Path]
    toplists: Path | None
    report: str = "both"
    is_indicating: bool = True
    database: str = ""
    processes: int = 0


PlanOf = Callable[[dict[str, dict[str, Any]]], Plan]


@dataclass(frozen=True)
class Plans:
    """The functions as a backtest runs them, also in another process."""

    plan_of: PlanOf
    settings: dict[str, dict[str, Any]]
    is_fed_with_bars: bool

    def __call__(self) -> Plan:
        plan = _plan(self.plan_of, self.settings)
        return fed_with_bars(plan) if self.is_fed_with_bars else plan


def run(
    job: Job, plan_of: PlanOf, subjects: Subjects, progress: Progress
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(what was done, in numbers; dead letters). Raises ERRORS and what the store raises.

    `plan_of` can be pickled: more than one process loads the functions anew.
    """
    began = time.monotonic()
    plan = _plan(plan_of, {})
    body, is_ranking = control_body(plan, job.rules, job.toplists)
    name = ranking(plan)
    settings = {name: {"toplists": "none"}} if name and not is_ranking else {}
    plan = _plan(plan_of, settings) if settings else plan
    make_folder(job.out)  # rather now than after all the work
    if job.database:
        told = stored_events(job.asked, job.database, progress)
    else:
        told = events_of(job.asked, progress)
    kept = tuple(one for one in KEPT if job.is_indicating or one != INDICATORS)
    plans = Plans(plan_of, settings, told.bars is not None)
    result = _result(job, plans, subjects, told, body, kept, progress)
    result.bars = None if told.bars is None else told.bars.named()
    made = reported(plan, result, subjects)
    rows = write_result(result, subjects, job.out, made)
    counted = {"trades": result.trades} if told.bars is None else {"bars": result.fed}
    _write_pages(job, result, made, counted)
    seconds = round(time.monotonic() - began, 3)
    return {**counted, **rows, "dead": len(result.dead), "seconds": seconds}, result.dead


def _result(
    job: Job,
    plans: Plans,
    subjects: Subjects,
    told: Told,
    body: str,
    kept: tuple[str, ...],
    progress: Progress,
) -> Result:
    """What the functions said, of one process or of several: the same."""
    plan = plans()
    shares = 1 if says_to_itself(plan) else processes_for(job.processes, told)
    if shares == 1:
        return run_backtest(plan, subjects, told.events, body, kept)
    told.events = iter(())  # they hold what is read; each process has its own
    work = Work(plans, subjects, body)
    return run_shares(
        work,
        plan,
        lambda share: told.of_share(share, shares),
        shares,
        kept,
        lambda done: progress(done, told.total),
    )


def processes_for(asked: int, told: Told) -> int:
    """How many processes run: what was asked for, else one per core, at most 4, where there is enough to do."""
    if asked:
        return max(1, min(asked, told.symbols))
    if told.total < WORTH_EVENTS:
        return 1
    return max(1, min(os.cpu_count() or 1, PROCESSES_MOST, told.symbols // WORTH_SYMBOLS))


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
