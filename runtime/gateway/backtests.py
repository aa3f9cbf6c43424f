"""Backtests over REST: jobs over stored bars, their progress, their reports."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator
from quart import Quart, Response, abort, g, send_file
from quart_schema import document_response, tag, validate_querystring, validate_request

from runtime.gateway.backtest_jobs import BacktestJobs
from runtime.gateway.gateway import Gateway
from runtime.gateway.job_folders import REPORT, UNFINISHED, Job
from runtime.gateway.queries import Name, Page, Symbol, time_ns
from runtime.gateway.sight import rule_seen
from runtime.gateway.verdicts import TEXT_MAX, Rule, asked_rule, object_of
from runtime.shapes import rfc3339

BASE = "/api/v1/backtests"
RULES_MAX, SYMBOLS_MAX = 50, 1_000
DAYS_MAX = 31
DAY_NS = 86_400 * 10**9
NIGHT_NS = 5 * 3_600 * 10**9  # 05:00 UTC: night in New York, whose last session ends at 01:00
DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; "
    "base-uri 'none'; form-action 'none'; sandbox"
)


def _edge(text: Any) -> int:
    """A date, from 05:00 UTC on, or a time."""
    if isinstance(text, str) and DATE.fullmatch(text):
        return time_ns(f"{text}T00:00:00Z") + NIGHT_NS
    return time_ns(text)


def _end(text: Any) -> int:
    is_date = isinstance(text, str) and DATE.fullmatch(text)
    return _edge(text) + (DAY_NS if is_date else 0)


WRITTEN = WithJsonSchema({"type": "string", "examples": ["2026-01-05", "2026-01-05T14:30:00Z"]})


class BacktestBody(BaseModel):
    """What is to be run: rules, given or stored, over the stored bars of a range."""

    name: str = Field("", max_length=200)
    rules: list[Annotated[str, Field(max_length=TEXT_MAX)] | Rule] = Field(
        default_factory=list, max_length=RULES_MAX, description="as text or JSON"
    )
    rule_ids: list[Name] = Field(
        default_factory=list, max_length=RULES_MAX, description="stored rules"
    )
    from_ns: Annotated[int, BeforeValidator(_edge), WRITTEN] = Field(
        alias="from", description="the first date, or the time it begins"
    )
    to_ns: Annotated[int, BeforeValidator(_end), WRITTEN] = Field(
        alias="to", description="the last date, or the time before which it ends"
    )
    symbols: list[Symbol] = Field(
        default_factory=list, max_length=SYMBOLS_MAX, description="only these; none: all"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> BacktestBody:
        if not 1 <= len(self.rules) + len(self.rule_ids) <= RULES_MAX:
            raise ValueError(f"expected 1 to {RULES_MAX} rules and rule_ids together")
        if not 0 < self.to_ns - self.from_ns <= DAYS_MAX * DAY_NS:
            raise ValueError(
                f"from, to: expected a range of at most {DAYS_MAX} days that ends after it begins"
            )
        if any("," in one for one in self.symbols):
            raise ValueError("symbols: expected one symbol each, found a comma")
        return self


class Backtest(BaseModel):
    """A job; `waiting` is its place in the queue, `error` why it has no result."""

    id: str
    name: str
    state: str = Field(description="queued, running, done, failed, cancelled or interrupted")
    progress: float
    from_time: str = Field(alias="from")
    to_time: str = Field(alias="to")
    symbols: list[str]
    rules: list[dict[str, str]]
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    seconds: float | None = None
    error: str | None = None
    waiting: int | None = None


class Backtests(BaseModel):
    """Jobs, newest first."""

    backtests: list[Backtest]
    count: int
    total: int


class Said(BaseModel):
    """Alerts of a backtest, in order of time."""

    alerts: list[dict[str, Any]]
    count: int
    limit: int
    offset: int


class Message(BaseModel):
    """What was done."""

    message: str


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    jobs = gateway.backtests
    _add_results(app, jobs)

    @app.post(BASE)
    @tag(["backtests"])
    @validate_request(BacktestBody)
    @document_response(Backtest, 202)
    async def add_backtest(data: BacktestBody) -> Any:
        """Queue a backtest of rules over stored bars; one runs at a time, each user may have five waiting."""
        rules = await _rules(gateway, data)
        files: dict[str, Any] = {"rules.json": {"rules": rules}}
        lists = [one for one in gateway.lists.of(g.user) if f'"{one["id"]}"' in json.dumps(rules)]
        files |= {"toplists.json": lists} if lists else {}
        named = [{"id": one["id"], "name": one["name"]} for one in rules]
        told = data.model_dump(include={"name", "from_ns", "to_ns", "symbols"})
        job = jobs.submit(g.user, {**told, "rules": named}, files)
        await _note(gateway, "backtest.create", job["id"])
        return _shape(jobs, job), 202, {"Location": f"{BASE}/{job['id']}"}

    @app.get(BASE)
    @tag(["backtests"])
    @validate_querystring(Page)
    @document_response(Backtests, 200)
    async def list_backtests(query_args: Page) -> Any:
        """Your backtests, newest first."""
        mine = jobs.folders.of(g.user)
        page = mine[query_args.offset :][: query_args.limit]
        shapes = [_shape(jobs, one) for one in page]
        return {"backtests": shapes, "count": len(shapes), "total": len(mine)}

    @app.delete(f"{BASE}/<job_id>")
    @tag(["backtests"])
    @document_response(Message, 200)
    async def delete_backtest(job_id: str) -> Any:
        """Cancel a backtest that waits or runs; remove one that ended, with its results."""
        job = _job(jobs, job_id)
        if job["state"] in UNFINISHED:
            jobs.cancel(job)
            await _note(gateway, "backtest.cancel", job_id)
            return {"message": "Backtest cancelled"}
        jobs.folders.remove(g.user, job_id)
        await _note(gateway, "backtest.delete", job_id)
        return {"message": "Backtest deleted"}


def _add_results(app: Quart, jobs: BacktestJobs) -> None:
    @app.get(f"{BASE}/<job_id>")
    @tag(["backtests"])
    @document_response(Backtest, 200)
    async def get_backtest(job_id: str) -> Any:
        """One backtest: how far it is, or how it ended."""
        return _shape(jobs, _job(jobs, job_id))

    @app.get(f"{BASE}/<job_id>/report")
    @tag(["backtests"])
    async def get_report(job_id: str) -> Response:
        """The report of a backtest as a page (text/html), with a policy of its own; 409 before it is done."""
        job = _done(jobs, job_id)
        file = jobs.folders.folder(g.user, job["id"]) / "out" / REPORT
        answer = await send_file(file, mimetype="text/html; charset=utf-8")
        answer.headers["Content-Security-Policy"] = REPORT_POLICY
        answer.headers["X-Frame-Options"] = "SAMEORIGIN"
        return answer

    @app.get(f"{BASE}/<job_id>/alerts")
    @tag(["backtests"])
    @validate_querystring(Page)
    @document_response(Said, 200)
    async def get_said(job_id: str, query_args: Page) -> Any:
        """The alerts of a backtest, in order; 409 before it is done."""
        job, limit, offset = _done(jobs, job_id), query_args.limit, query_args.offset
        found = await asyncio.to_thread(jobs.folders.alerts, job, offset, limit)
        return {"alerts": found, "count": len(found), "limit": limit, "offset": offset}


async def _rules(gateway: Gateway, data: BacktestBody) -> list[Rule]:
    """The rules as they are understood, each with an id of its own; 400, 404."""
    given = [object_of(one) for one in data.rules]
    for place, one in enumerate(given):
        if one["id"] == "rule":  # it was given none
            one |= {"id": f"rule-{place + 1}", "name": f"Rule {place + 1}"}
    given += [rule_seen(gateway, one, g.user) for one in data.rule_ids]
    found = []
    for one in given:
        known = {name: value for name, value in one.items() if name not in ("fault", "shared")}
        told = asked_rule(gateway, known, g.user)
        if told["faults"]:
            abort(400, f"rules: {told['faults'][0]['error']}")
        found.append({**told["rules"][0]["rule"], "enabled": True})
    ids = [one["id"] for one in found]
    if len(set(ids)) < len(ids):
        abort(400, "rules: expected each id once")
    return found


def _job(jobs: BacktestJobs, job_id: str) -> Job:
    """A job of the caller; 404 for anybody else's."""
    job = jobs.folders.read(g.user, job_id)
    if job is None:
        abort(404, "Backtest not found")
    return job


def _done(jobs: BacktestJobs, job_id: str) -> Job:
    job = _job(jobs, job_id)
    if job["state"] != "done":
        abort(409, f"the backtest is {job['state']}: it has no result")
    return job


def _shape(jobs: BacktestJobs, job: Job) -> Job:
    told = jobs.shape(job)
    told |= {"from": rfc3339(told.pop("from_ns")), "to": rfc3339(told.pop("to_ns"))}
    return {name: value for name, value in told.items() if name != "user_id"}


async def _note(gateway: Gateway, what: str, job_id: str) -> None:
    audit = getattr(gateway, "audit", None)
    if audit is not None:
        await audit.note(g.user, what, job_id, {})
