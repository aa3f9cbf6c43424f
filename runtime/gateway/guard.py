"""What every request goes through: id, host, origin, caller, limit; and every answer: headers, counting."""

from __future__ import annotations

import math
import re
import time
import uuid

from quart import Quart, Response, g, request

from runtime import telemetry
from runtime.config import Settings
from runtime.gateway.access import NOBODY, Caller
from runtime.gateway.answers import problem
from runtime.gateway.auth import Proxies, Unauthorized, host_allowed, origin_allowed
from runtime.gateway.gateway import Gateway
from runtime.gateway.limits import Limit, Verdict
from runtime.store import Outage

METHODS = frozenset(("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"))
log = telemetry.get_logger(__name__)

API = "/api/"
SIGN_IN = "/api/v1/auth/"  # needs nobody signed in, but for what follows
SIGNED_IN = ("/api/v1/auth/keys", "/api/v1/auth/password")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
SECURE_ONLY = "max-age=31536000"
CORS_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization, If-Match, If-None-Match, X-Request-Id",
    "Access-Control-Expose-Headers": "ETag, Location, Retry-After, X-Request-Id, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
    "Access-Control-Max-Age": "3600",
}


def add(app: Quart, gateway: Gateway) -> None:
    """Check every request before its route, and finish every answer after it."""
    settings, proxies = gateway.settings, Proxies(gateway.settings)
    rate = settings.api_rate_limit_rps
    limit = Limit("api", rate, max(1, math.ceil(rate))) if rate else None

    @app.before_request
    async def check() -> Response | None:
        _begin(proxies)
        if not host_allowed(settings, request.host):
            name = request.host
            return problem(403, f"{name} is not known here; list https://{name} in JETSCAN_ORIGINS")
        origin = request.headers.get("Origin", "")
        if not origin_allowed(settings, origin, request.host):
            return problem(403, f"origin {origin} may not call; list it in JETSCAN_ORIGINS")
        if request.method == "OPTIONS":
            return Response("", 200)
        if request.path.startswith(API):
            return _identify(gateway, limit)
        return None

    @app.after_request
    async def finish(response: Response) -> Response:
        _finish(response, settings)
        _count(response)
        return response


def _begin(proxies: Proxies) -> None:
    """What is known of a request before anything is decided."""
    g.started_at = time.monotonic()
    told = request.headers.get("X-Request-Id", "")
    g.request_id = told if REQUEST_ID.fullmatch(told) else uuid.uuid4().hex
    telemetry.bind(request_id=g.request_id)
    # A proxy may add a line of its own to the one that was sent.
    forwarded = ",".join(request.headers.getlist("X-Forwarded-For"))
    g.remote = request.remote_addr or ""
    g.address = proxies.address(g.remote, forwarded)
    told_scheme = request.headers.get("X-Forwarded-Proto", "") if proxies.is_one(g.remote) else ""
    g.is_secure = (told_scheme or request.scheme) == "https"


def _finish(response: Response, settings: Settings) -> None:
    """The headers of every answer; a route that set one of them knows better."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.path.startswith(API):
        response.headers.setdefault("Cache-Control", "private, no-cache")
    if settings.public_url.startswith("https://"):
        response.headers.setdefault("Strict-Transport-Security", SECURE_ONLY)
    if "request_id" in g:
        response.headers["X-Request-Id"] = g.request_id
    if "verdict" in g:
        _tell_limit(response, g.verdict)
    origin = request.headers.get("Origin", "")
    if origin and origin_allowed(settings, origin, request.host):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.vary.add("Origin")
        response.headers.update(CORS_HEADERS)


def _identify(gateway: Gateway, limit: Limit | None) -> Response | None:
    """Set the caller; 401 is counted against the address, everything else against who calls."""
    caller, refusal = NOBODY, None
    try:
        caller = gateway.directory.caller(request.headers.get("Authorization", ""))
    except (Unauthorized, Outage) as error:
        refusal = error
    g.caller, g.user, g.roles = caller, caller.user, caller.roles
    if limit is not None:
        g.verdict = gateway.limits.take(limit, _counted(caller))
        if not g.verdict.is_let:
            return too_many(g.verdict)
    if refusal is not None and not _is_open(request.path):
        raise refusal
    return None


def _counted(caller: Caller) -> str:
    return f"address:{g.address}" if caller.is_anonymous else f"user:{caller.user}"


def _is_open(path: str) -> bool:
    return path.startswith(SIGN_IN) and not path.startswith(SIGNED_IN)


def too_many(verdict: Verdict) -> Response:
    """429, and when to ask again."""
    telemetry.LIMITED.labels(verdict.limit.name).inc()
    rate = f"{verdict.limit.burst} at once, {verdict.limit.per_s:g} a second"
    wait_s = max(1, math.ceil(verdict.wait_s))
    return problem(429, f"Rate limit exceeded: {rate}", {"Retry-After": str(wait_s)})


def _tell_limit(response: Response, verdict: Verdict) -> None:
    response.headers["RateLimit-Limit"] = str(verdict.limit.burst)
    response.headers["RateLimit-Remaining"] = str(verdict.left)
    response.headers["RateLimit-Reset"] = str(math.ceil(verdict.ahead_s))


def _count(response: Response) -> None:
    endpoint = request.endpoint or "unknown"
    took_s = time.monotonic() - g.get("started_at", time.monotonic())
    method = request.method if request.method in METHODS else "other"
    telemetry.REQUESTS.labels(method, endpoint, str(response.status_code)).inc()
    telemetry.REQUEST_S.labels(endpoint).observe(took_s)
    log.debug(
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        user=g.get("user", ""),
        address=g.get("address", ""),
        took_ms=round(took_s * 1000, 2),
    )
