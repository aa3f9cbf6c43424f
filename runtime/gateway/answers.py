"""Answers that are not the thing asked for: RFC 9457 problems, and what each error becomes."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from quart import Quart, Response, jsonify, request
from quart_schema import RequestSchemaValidationError, SchemaValidationError
from werkzeug.exceptions import HTTPException

from runtime import telemetry
from runtime.bus import BusError
from runtime.gateway.auth import Unauthorized
from runtime.gateway.book import RuleError
from runtime.store import BadValue, Outage

log = telemetry.get_logger(__name__)


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An RFC 9457 answer, with `error` and `code` for older clients."""
    title = {
        400: "Bad Request",
        401: "Unauthorized",
        403: "Forbidden",
        404: "Not Found",
        409: "Conflict",
    }.get(status, "Error")
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "error": detail,
        "code": status,
    }
    response = jsonify(body)
    response.status_code = status
    response.headers["Content-Type"] = "application/problem+json"
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


def shape_faults(error: SchemaValidationError | RequestSchemaValidationError) -> str:
    """What a query or body should have been, field by field."""
    told = error.validation_error
    if isinstance(told, ValidationError):
        faults = told.errors(include_url=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in faults)
    return str(told)


def add(app: Quart) -> None:
    """Answer every error with a problem."""

    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> Response:
        kept = {k: v for k, v in error.get_headers() if k not in ("Content-Type", "Content-Length")}
        return problem(error.code or 500, error.description or error.name, kept)

    @app.errorhandler(RuleError)
    async def rule_error(error: RuleError) -> Response:
        return problem(error.status, str(error))

    @app.errorhandler(RequestSchemaValidationError)
    @app.errorhandler(SchemaValidationError)
    async def other_shape(error: SchemaValidationError | RequestSchemaValidationError) -> Response:
        return problem(400, shape_faults(error))

    @app.errorhandler(Unauthorized)
    async def unauthorized(error: Unauthorized) -> Response:
        return problem(401, str(error), {"WWW-Authenticate": "Bearer"})

    @app.errorhandler(Outage)
    async def outage(error: Outage) -> Response:
        log.error("the database is away", path=request.path, reason=str(error))
        return problem(503, "the database cannot be reached; try again", {"Retry-After": "2"})

    @app.errorhandler(BadValue)
    async def bad_value(error: BadValue) -> Response:
        return problem(400, f"a value that the database does not take: {error}")

    @app.errorhandler(UnicodeDecodeError)
    async def no_text(_: UnicodeDecodeError) -> Response:
        return problem(400, "the body is no text in UTF-8")

    @app.errorhandler(RecursionError)
    async def too_deep(_: RecursionError) -> Response:
        return problem(400, "the body is nested too deeply")

    @app.errorhandler(BusError)
    async def bus_error(error: BusError) -> Response:
        return problem(503, str(error), {"Retry-After": "2"})

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        log.error("request failed", path=request.path, exc_info=error)
        return problem(500, "an error on our side; it is in the log")
