"""How often a rule would have matched on the newest stored days: a small backtest in a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
import time
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from quart import Quart, abort, g
from quart_schema import document_response, tag, validate_request

from runtime.gateway.children import TooLong, run_child
from runtime.gateway.gateway import Gateway
from runtime.gateway.queries import Symbol
from runtime.gateway.stored_range import BARS_MAX, is_too_large, newest_days
from runtime.gateway.trading_days import Day, TradingDays
from runtime.gateway.verdicts import RuleBody, asked_rule, object_of
from runtime.shapes import rfc3339

DAYS_MAX = 5
PREVIEW_S = 120.0
PREVIEWS_MAX = 1  # at once: each takes a core
WAITING_MAX = 8
KEPT_MAX, KEPT_S = 200, 3_600.0  # late revisions may still change what was found
EXAMPLES = 20
LOOK_BACK_NS = 30 * 86_400 * 10**9
SOME_SYMBOL = "SPY"  # of the market of stocks, where nothing has traded yet
SYMBOLS_MAX = 1_000
NOTES = [
    "found on minute bars: each counts as its open, extremes and close, so what needs single prints, quotes or halts is not seen",
    "windows and indicators begin with the first day; official days before it are known",
]


class PreviewBody(RuleBody):
    """A rule, and the days it is tried on."""

    days: int = Field(1, ge=1, le=DAYS_MAX, description="newest stored trading days that are over")
    symbols: list[Symbol] = Field(default_factory=list, max_length=SYMBOLS_MAX)


class Example(BaseModel):
    """An alert that would have been said."""

    symbol: str
    timestamp: str
    price: float


class Preview(BaseModel):
    """How often a rule would have fired, on how many symbols."""

    count: int
    symbols: int
    from_time: str = Field(alias="from")
    to_time: str = Field(alias="to")
    days: dict[str, int] = Field(description="alerts by day")
    examples: list[Example]
    notes: list[str] = Field(description="what the answer rests on")
    cached: bool


class Previews:
    """One at a time, results kept for a while; a newer one of a user takes the place of the one before."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._turn = asyncio.Semaphore(PREVIEWS_MAX)
        self._kept: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()
        self._running: dict[str, asyncio.Task[dict[str, Any]]] = {}

    async def of(self, user: str, rule: dict[str, Any], days: list[Day], symbols: list[str]) -> Any:
        """The answer, from before or from a run; 409, 413, 503, 504."""
        lists = self._gateway.lists.of(user)
        told = [rule, [one.day for one in days], sorted(symbols), lists]
        key = hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()
        made_at, found = self._kept.get(key, (0.0, None))
        if found is not None and time.monotonic() - made_at < KEPT_S:
            return {**found, "cached": True}
        found = await self._made(user, rule, days, symbols)
        self._kept[key] = time.monotonic(), found
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return {**found, "cached": False}

    async def _made(
        self, user: str, rule: dict[str, Any], days: list[Day], symbols: list[str]
    ) -> dict[str, Any]:
        before = self._running.pop(user, None)
        if before is not None:
            before.cancel()
        if len(self._running) >= WAITING_MAX:
            abort(503, "too many previews are under way; try again")
        task = asyncio.create_task(self._run(user, rule, days, symbols))
        self._running[user] = task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():  # who asked is gone
                task.cancel()
                raise
            abort(409, "a newer preview took the place of this one")
        finally:
            if self._running.get(user) is task:
                del self._running[user]

    async def _run(
        self, user: str, rule: dict[str, Any], days: list[Day], symbols: list[str]
    ) -> dict[str, Any]:
        begin, end = days[0].start_ns, days[-1].end_ns
        async with self._turn:
            if await is_too_large(self._gateway.database, begin, end, symbols):
                abort(413, f"more than {BARS_MAX:,} bars; fewer days, or only some symbols")
            with tempfile.TemporaryDirectory(prefix="jetscan-preview-") as folder:
                return await self._tried(Path(folder), user, rule, days, symbols)

    async def _tried(
        self, folder: Path, user: str, rule: dict[str, Any], days: list[Day], symbols: list[str]
    ) -> dict[str, Any]:
        file = folder / "rules.json"
        file.write_text(json.dumps({"rules": [rule]}), encoding="utf-8")
        words = ["backtest", "--stored", "--report", "none", "--json", "--rules", str(file)]
        words += ["--from", str(days[0].start_ns), "--to", str(days[-1].end_ns)]
        words += ["--out", str(folder / "out"), f"--symbols={','.join(symbols)}"]
        lists = self._gateway.lists.of(user)
        if any(f'"{one["id"]}"' in json.dumps(rule["when"]) for one in lists):
            (folder / "lists.json").write_text(json.dumps(lists), encoding="utf-8")
            words += ["--toplists", str(folder / "lists.json")]
        try:
            ended = await run_child(self._gateway.settings, words, PREVIEW_S)
        except TooLong as error:
            abort(504, f"the preview: {error}; fewer days, or only some symbols")
        if ended.code:
            abort(503, f"the preview failed: {ended.reason}")
        return await asyncio.to_thread(_counted, folder / "out" / "alerts.jsonl", days)


def _counted(file: Path, days: list[Day]) -> dict[str, Any]:
    """What was said, counted by day; alerts of earlier alerts are left out."""
    by_day: Counter[str] = Counter()
    symbols: set[str] = set()
    examples: list[dict[str, Any]] = []
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            alert = json.loads(line)
            if alert["kind"] != "fired":
                continue
            day = next((one.day for one in days if alert["ts_ns"] <= one.end_ns), days[-1].day)
            by_day[day] += 1
            symbols.add(alert["symbol"])
            if len(examples) < EXAMPLES:
                examples.append({name: alert[name] for name in ("symbol", "timestamp", "price")})
    return {
        "count": by_day.total(),
        "symbols": len(symbols),
        "from": rfc3339(days[0].start_ns),
        "to": rfc3339(days[-1].end_ns),
        "days": {one.day: by_day[one.day] for one in days},
        "examples": examples,
        "notes": NOTES,
    }


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    previews, calendar = Previews(gateway), TradingDays(gateway.settings, gateway.accepts)

    @app.post("/api/v1/rules/preview")
    @tag(["rules"])
    @validate_request(PreviewBody)
    @document_response(Preview, 200)
    async def preview(data: PreviewBody) -> Any:
        """How often a rule would have fired on the newest stored days, and where.

        Run by the live functions over stored minute bars, in a process of its own: seconds for some symbols,
        up to two minutes for all. A newer preview of the same user ends the one before.
        """
        told = asked_rule(gateway, object_of(data.rule), g.user)
        if told["faults"]:
            abort(400, f"rule: {told['faults'][0]['message']}")
        over = await _days_over(gateway, calendar, data.symbols)
        days = await newest_days(gateway.database, over, data.days)
        if not days:
            return _nothing(gateway)
        return await previews.of(g.user, told["rules"][0]["rule"], days, data.symbols)


def _nothing(gateway: Gateway) -> dict[str, Any]:
    """What is said before a day is over: nothing was tried, and why."""
    now_ns = gateway.hub.newest_ns or time.time_ns()
    told: dict[str, Any] = {"count": 0, "symbols": 0, "days": {}, "examples": [], "cached": False}
    told |= {"from": rfc3339(now_ns - LOOK_BACK_NS), "to": rfc3339(now_ns)}
    return {**told, "notes": ["no bars are stored of any of the last 30 days that are over"]}


async def _days_over(gateway: Gateway, calendar: TradingDays, symbols: list[str]) -> list[Day]:
    """The trading days of the last month that are over, in event time."""
    now_ns = gateway.hub.newest_ns or time.time_ns()
    symbol = next(iter([*symbols, *gateway.hub.symbols]), SOME_SYMBOL)
    told = await calendar.of(symbol, now_ns - LOOK_BACK_NS, now_ns)
    return [one for one in told.days if one.end_ns <= now_ns]
