"""Alerts over REST."""

from __future__ import annotations

from typing import Any

from quart import Quart, abort, request

from runtime.gateway import asked
from runtime.gateway.gateway import Gateway
from runtime.gateway.hub import RING_MAX

ALERT_LIMIT, ALERT_LIMIT_MAX = 100, 1_000


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    hub = gateway.hub

    @app.get("/api/v1/alerts")
    async def list_alerts() -> Any:
        limit = asked.whole("limit", ALERT_LIMIT, 1, ALERT_LIMIT_MAX)
        offset = asked.whole("offset", 0, 0, RING_MAX)
        symbol, rule_id = request.args.get("symbol"), request.args.get("rule_id")
        start, end = asked.time_ns("start_time"), asked.time_ns("end_time")
        found = [
            alert
            for alert in hub.alerts()
            if (symbol is None or alert["symbol"] == symbol)
            and (rule_id is None or alert["rule_id"] == rule_id)
            and (start is None or alert["ts_ns"] >= start)
            and (end is None or alert["ts_ns"] <= end)
        ]
        page = found[offset : offset + limit]
        return {"alerts": page, "count": len(page), "limit": limit, "offset": offset}

    @app.get("/api/v1/alerts/<alert_id>")
    async def get_alert(alert_id: str) -> Any:
        for alert in hub.alerts():
            if alert["id"] == alert_id:
                return alert
        return abort(404, "Alert not found")
