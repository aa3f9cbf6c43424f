"""Whether the process lives and is ready, and what it counted."""

from __future__ import annotations

from typing import Any

from quart import Quart, Response

from runtime import telemetry
from runtime.gateway.gateway import Gateway
from runtime.shapes import rfc3339


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""

    @app.get("/health")
    async def health() -> Any:
        return {"status": "healthy"}

    @app.get("/live")
    async def live() -> Any:
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> Any:
        if not gateway.bus.connected:
            return {"status": "not ready", "reason": "NATS cannot be reached"}, 503
        if not gateway.is_loaded or gateway.is_draining:
            return {"status": "not ready", "reason": "starting or stopping"}, 503
        return {"status": "ready"}

    @app.get("/metrics")
    async def metrics() -> Response:
        body, kind = telemetry.rendered()
        return Response(body, content_type=kind)

    @app.get("/scaling")
    async def scaling() -> Any:
        return gateway.scaling.told()

    @app.get("/stats")
    async def stats() -> Any:
        hub = gateway.hub
        return {
            "ConnectionsTotal": hub.connections,
            "ConnectionsActive": len(hub.clients),
            "AlertsReceived": hub.newest,
            "AlertsBroadcast": hub.delivered,
            "ToplistsConflated": hub.conflated,
            "NewestEvent": rfc3339(hub.newest_ns) if hub.newest_ns else None,
        }
