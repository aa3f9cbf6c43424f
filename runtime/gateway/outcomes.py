"""What the price did after alerts, over REST: of each alert, and of a rule."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from quart import Quart, g
from quart_schema import document_response, tag, validate_querystring

from runtime.gateway import sight
from runtime.gateway.access import is_admin
from runtime.gateway.gateway import Gateway
from runtime.gateway.queries import Name, Page, Range, Symbol, moment
from runtime.shapes import rfc3339

Row = dict[str, Any]

RETURNS = [f"return_{one}_pct" for one in ("1m", "5m", "15m", "60m", "close")]
NUMBERS = ("price", *RETURNS, "best_pct", "worst_pct")
NAMES = ("alert_id", "rule_id", "rule_name", "symbol", "ts_ns", "stage", *NUMBERS)
STAGES = ("open", "over", "settled")
LISTED = f"""
SELECT {", ".join(NAMES)} FROM outcomes
WHERE ($1::text IS NULL OR rule_id = $1) AND ($2::text IS NULL OR symbol = $2)
    AND ($3::timestamptz IS NULL OR timestamp >= $3) AND ($4::timestamptz IS NULL OR timestamp < $4)
    AND rule_id <> ALL ($5) AND NOT EXISTS (SELECT FROM withdrawals AS gone WHERE gone.alert_id = outcomes.alert_id)
ORDER BY timestamp DESC, alert_id LIMIT $6 OFFSET $7
"""  # noqa: S608 -- no value is in it
OF_RULE = "SELECT * FROM rule_outcomes WHERE rule_id = $1"


class OutcomesQuery(Range):
    """Which outcomes are wanted; `from` belongs to the range, `to` does not."""

    rule_id: Name | None = None
    symbol: Symbol | None = None


class Outcome(BaseModel):
    """Percent of the alert's price, seen by a buyer; null where it is not known (yet)."""

    alert_id: str
    rule_id: str
    rule_name: str
    symbol: str
    timestamp: str
    price: float
    state: str = Field(description="open: its day is not over; over; settled: it changes no more")
    return_1m_pct: float | None
    return_5m_pct: float | None
    return_15m_pct: float | None
    return_60m_pct: float | None
    return_close_pct: float | None
    best_pct: float | None
    worst_pct: float | None


class Outcomes(BaseModel):
    """Outcomes, newest alert first."""

    outcomes: list[Outcome]
    count: int
    limit: int
    offset: int


class RuleOutcomes(Outcomes):
    """The same of one rule, with statistics of all its alerts; null where it has none."""

    rule_id: str
    statistics: dict[str, Any] | None


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""

    @app.get("/api/v1/outcomes")
    @tag(["alerts"])
    @validate_querystring(OutcomesQuery)
    @document_response(Outcomes, 200)
    async def list_outcomes(query_args: OutcomesQuery) -> Any:
        """What the price did after each alert, newest first; withdrawn alerts have none."""
        return await _page(gateway, query_args.rule_id, query_args.symbol, query_args)

    @app.get("/api/v1/rules/<rule_id>/outcomes")
    @tag(["rules"])
    @validate_querystring(Range)
    @document_response(RuleOutcomes, 200)
    async def rule_outcomes(rule_id: str, query_args: Range) -> Any:
        """How the alerts of a rule went: hits, means and medians by horizon, and its newest outcomes."""
        sight.rule_seen(gateway, rule_id, g.user)
        rows = await gateway.database.fetch(OF_RULE, rule_id)
        page = await _page(gateway, rule_id, None, query_args)
        return {"rule_id": rule_id, "statistics": rows[0] if rows else None, **page}


async def _page(gateway: Gateway, rule_id: str | None, symbol: str | None, asked: Page) -> Row:
    times = [getattr(asked, name) for name in ("from_ns", "to_ns")]
    moments = [None if one is None else moment(one) for one in times]
    hidden = sorted(sight.hidden(gateway, g.user, is_admin()))
    values = (rule_id, symbol, *moments, hidden, asked.limit, asked.offset)
    rows = await gateway.database.fetch(LISTED, *values)
    found = [_shape(row) for row in rows]
    return {"outcomes": found, "count": len(found), "limit": asked.limit, "offset": asked.offset}


def _shape(row: Row) -> Row:
    told = {name: row[name] for name in ("alert_id", "rule_id", "rule_name", "symbol")}
    told |= {"timestamp": rfc3339(row["ts_ns"]), "state": STAGES[row["stage"]]}
    return told | {name: row[name] for name in NUMBERS}
