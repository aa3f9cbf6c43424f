"""Why a rule does not fire for a symbol, over REST: now, or at a time that was recorded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from pydantic import BaseModel, Field
from quart import Quart, abort, g
from quart_schema import document_response, tag, validate_querystring

from runtime.gateway.children import TooLong, run_child
from runtime.gateway.gateway import Gateway
from runtime.gateway.queries import Query, Symbol, Time
from runtime.gateway.sight import rule_seen
from runtime.why import Question, WhyError, ask_live

RECORDED_S = 60.0  # a replay of MARKET up to the time
RECORDED_NS = 10**17  # 1973: before, `jetscan why` takes a number for something else
REPLAYS_MAX = 1  # at once: each takes a core
WAITING_MAX = 4
ASKED_MAX = 16


class WhyQuery(Query):
    """Which symbol, and when."""

    symbol: Symbol
    time: Time | None = Field(None, description="an event time that is still recorded; none: now")


class Why(BaseModel):
    """The rule at that moment: its verdict, and every condition with value, threshold and margin.

    `fault` stands alone where there is nothing to tell: the rule is disabled, nothing was heard of the symbol.
    """

    rule: str
    symbol: str
    fault: str | None = None
    verdict: str | None = Field(None, description="would fire, true, false, unknown or silent")
    why: list[str] | None = None
    leaves: list[dict[str, Any]] | None = None
    conditions: list[dict[str, Any]] | None = None
    text: str | None = None
    english: str | None = None
    notes: list[str] | None = None


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    replaying, asking = asyncio.Semaphore(REPLAYS_MAX), asyncio.Semaphore(ASKED_MAX)
    waiting: set[str] = set()  # one replay of a user at a time

    @app.get("/api/v1/rules/<rule_id>/why")
    @tag(["rules"])
    @validate_querystring(WhyQuery)
    @document_response(Why, 200)
    async def why(rule_id: str, query_args: WhyQuery) -> Any:
        """Why a rule does not fire for a symbol.

        Now: the worker that owns the symbol answers within two seconds, 504 otherwise. With `time`: what was
        recorded is replayed up to then in a process of its own, which may take a minute; one at a time.
        """
        rule_seen(gateway, rule_id, g.user)
        if query_args.time is None:
            return await _now(rule_id, query_args.symbol)
        if g.user in waiting or len(waiting) > WAITING_MAX:
            abort(503, "another replay is under way; try again")
        waiting.add(g.user)
        try:
            async with replaying:
                return await _then(gateway, rule_id, query_args)
        finally:
            waiting.discard(g.user)

    async def _now(rule_id: str, symbol: str) -> Any:
        try:
            async with asking:
                return await ask_live(gateway.bus, gateway.subjects, Question(rule_id, symbol))
        except WhyError as error:
            abort(504, str(error))


async def _then(gateway: Gateway, rule_id: str, query: WhyQuery) -> Any:
    if (query.time or 0) <= RECORDED_NS:
        abort(404, "time: nothing was recorded then")
    words = ["why", "--at", str(query.time), "--json", "--", rule_id, query.symbol]
    try:
        ended = await run_child(gateway.settings, words, RECORDED_S)
    except TooLong as error:
        abort(504, f"the replay: {error}; ask for a later time")
    if not ended.output.strip():
        abort(404, ended.reason)
    return json.loads(ended.output)
