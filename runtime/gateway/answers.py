"""Answers that are not the thing asked for: RFC 9457 problems, and what each error becomes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel, ValidationError
from quart import Quart, Response, g, has_request_context, jsonify, request, websocket
from quart_schema import RequestSchemaValidationError, SchemaValidationError
from werkzeug.exceptions import HTTPException

from runtime import telemetry
from runtime.bus import BusError
from runtime.gateway.accounts import Refused
from runtime.gateway.auth import Unauthorized
from runtime.gateway.book import RuleError
from runtime.gateway.passwords import Busy
from runtime.gateway.provider import ProviderError
from runtime.store import BadValue, Outage

log = telemetry.get_logger(__name__)

UNREADABLE: dict[type[Exception], str] = {
    RecursionError: "the body is nested too deeply",
    UnicodeDecodeError: "the body is no text in UTF-8",
}
UNKEPT = "a value cannot be kept: it is no text of Unicode, or out of range"


class Message(BaseModel):
    """What was done."""

    message: str


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An RFC 9457 answer, with `error` and `code` for older clients."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "error": detail,
        "code": status,
    }
    if g and "request_id" in g:
        body["request_id"] = g.request_id
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

    @app.errorhandler(RequestSchemaValidationError)
    @app.errorhandler(SchemaValidationError)
    async def other_shape(error: SchemaValidationError | RequestSchemaValidationError) -> Response:
        return problem(400, shape_faults(error))

    @app.errorhandler(Unauthorized)
    async def unauthorized(error: Unauthorized) -> Response:
        return problem(401, str(error), {"WWW-Authenticate": "Bearer"})

    @app.errorhandler(ProviderError)
    async def no_provider(error: ProviderError) -> Response:
        log.warning("sign-in by OpenID failed", reason=str(error))
        return problem(502, str(error))

    @app.errorhandler(RuleError)
    @app.errorhandler(Refused)
    async def refused(error: RuleError | Refused) -> Response:
        return problem(error.status, str(error))

    @app.errorhandler(Busy)
    async def busy(error: Busy) -> Response:
        return problem(503, str(error), {"Retry-After": "1"})

    @app.errorhandler(RecursionError)
    @app.errorhandler(BadValue)
    @app.errorhandler(UnicodeError)
    async def bad_value(error: Exception) -> Response:
        log.info("a value cannot be kept", path=_path(), reason=str(error))
        return problem(400, UNREADABLE.get(type(error), UNKEPT))

    @app.errorhandler(Outage)
    async def outage(error: Outage) -> Response:
        log.error("the database is away", path=_path(), reason=str(error))
        return problem(503, "the database cannot be reached; try again", {"Retry-After": "2"})

    @app.errorhandler(BusError)
    async def bus_error(error: BusError) -> Response:
        return problem(503, str(error), {"Retry-After": "2"})

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        log.error("request failed", path=_path(), exc_info=error)
        return problem(500, "an error on our side; it is in the log")


def _path() -> str:
    return request.path if has_request_context() else websocket.path
