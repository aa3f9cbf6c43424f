"""Alerts over REST: from the database, from the ring what is newer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field
from quart import Quart, abort, g
from quart_schema import document_response, tag, validate_querystring

from runtime.gateway import sight
from runtime.gateway.access import is_admin
from runtime.gateway.alert_history import Filter, Order, alert_in, alert_of, page_of, page_of_ring
from runtime.gateway.gateway import Gateway
from runtime.gateway.queries import Name, Page, Symbol, Time
from runtime.store import Outage

ID_MAX = 64


class AlertsQuery(Page):
    """Which alerts are wanted; both times belong to the range."""

    symbol: Symbol | None = None
    rule_id: Name | None = None
    start_time: Time | None = None
    end_time: Time | None = None
    from_ns: Time | None = Field(None, alias="from", description="the same as start_time")
    to_ns: Time | None = Field(None, alias="to", description="the same as end_time")
    kind: Literal["fired", "amended", "withdrawn"] | None = None
    sort: Literal["timestamp", "price", "symbol", "rule_id", "rule_name", "strength", "seq"] = (
        "timestamp"
    )
    order: Literal["asc", "desc"] = "desc"


class Alert(BaseModel):
    """What a rule said."""

    id: str
    rule_id: str
    rule_name: str
    symbol: str
    timestamp: str
    ts_ns: int
    price: float
    message: str
    metadata: dict[str, Any]
    trace_id: str
    seq: int
    kind: str
    strength: float | None = None
    explain: dict[str, Any] | None = None
    causes: dict[str, Any] | None = None
    withdrawn: dict[str, str] | None = Field(None, description="when and why it was withdrawn")


class Alerts(BaseModel):
    """A page; `more` tells whether there is another, `source` where it is from."""

    alerts: list[Alert]
    count: int
    limit: int
    offset: int
    more: bool
    source: Literal["database", "memory"]


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    hub = gateway.hub

    @app.get("/api/v1/alerts")
    @tag(["alerts"])
    @validate_querystring(AlertsQuery)
    @document_response(Alerts, 200)
    async def list_alerts(query_args: AlertsQuery) -> Any:
        """Alerts, the newest first unless `sort` and `order` say otherwise.

        Without a database, and while it is away, the newest 100,000 that the gateway holds.
        """
        asked = query_args
        wanted = Filter(
            asked.symbol,
            asked.rule_id,
            asked.start_time if asked.from_ns is None else asked.from_ns,
            asked.end_time if asked.to_ns is None else asked.to_ns,
            asked.kind,
            sight.hidden(gateway, g.user, is_admin()),
        )
        order = Order(asked.sort, asked.order == "desc", asked.limit, asked.offset)
        source = "database"
        try:
            found = await page_of(gateway.database, hub, wanted, order)
        except Outage:
            found, source = page_of_ring(hub, wanted, order), "memory"
        page = found[: order.limit]
        more = len(found) > order.limit
        told = {"alerts": page, "count": len(page), "limit": order.limit, "offset": order.offset}
        return {**told, "more": more, "source": source}

    @app.get("/api/v1/alerts/<alert_id>")
    @tag(["alerts"])
    @document_response(Alert, 200)
    async def get_alert(alert_id: str) -> Any:
        """One alert as it fired."""
        found = alert_in(hub, alert_id)
        if found is None and len(alert_id) <= ID_MAX and gateway.store is not None:
            found = await alert_of(gateway.store, alert_id)
        if found is None or found["rule_id"] in sight.hidden(gateway, g.user, is_admin()):
            abort(404, "Alert not found")
        return found
