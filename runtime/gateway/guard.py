"""What every request goes through: origin, caller, security headers, CORS, counting."""

from __future__ import annotations

import time

from quart import Quart, Response, g, request

from runtime import telemetry
from runtime.gateway.answers import problem
from runtime.gateway.auth import caller_of, origin_allowed
from runtime.gateway.gateway import Gateway

POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def add(app: Quart, gateway: Gateway) -> None:
    """Check every request before its route, and finish every answer after it."""
    settings = gateway.settings

    @app.before_request
    async def check() -> Response | None:
        g.started_at = time.monotonic()
        origin = request.headers.get("Origin", "")
        if not origin_allowed(settings, origin, request.host):
            return problem(403, f"origin {origin} may not call; list it in JETSCAN_ORIGINS")
        if request.method == "OPTIONS":
            return Response("", 200)
        if request.path.startswith("/api/"):
            g.caller = caller_of(settings, request.headers.get("Authorization", ""))
            g.user, g.roles = g.caller.user, g.caller.roles
        return None

    @app.after_request
    async def finish(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        origin = request.headers.get("Origin", "")
        if origin and origin_allowed(settings, origin, request.host):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, DELETE, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization"
            response.headers["Access-Control-Max-Age"] = "3600"
        endpoint = request.endpoint or "unknown"
        telemetry.REQUESTS.labels(request.method, endpoint, str(response.status_code)).inc()
        telemetry.REQUEST_S.labels(endpoint).observe(
            time.monotonic() - g.get("started_at", time.monotonic())
        )
        return response
