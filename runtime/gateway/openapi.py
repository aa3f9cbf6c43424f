"""The OpenAPI document: made from the routes, completed with what every route has, and a page to read it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from quart import Quart, Response, abort
from quart_schema import (
    HttpSecurityScheme,
    Info,
    OpenAPIProvider,
    QuartSchema,
    Server,
    Tag,
    hide,
)
from werkzeug.routing.rules import Rule

from runtime.gateway.gateway import Gateway

BASE, PATH = "/api/v1", "/api/v1/openapi.json"
PROBLEM_TYPE = "application/problem+json"
PARAMETER = re.compile(r"<(?:[^<>:]*:)?([^<>]+)>")
WRITING = ("post", "put", "patch", "delete")
FILES = Path(__file__).parent / "reference"
SHOWN = {
    "index.html": "text/html; charset=utf-8",
    "reference.js": "text/javascript; charset=utf-8",
    "reference.css": "text/css; charset=utf-8",
}
TEXT = """\
Rules, alerts, toplists and market data of a scanner. Times are RFC 3339 in UTC. Errors are problems
(RFC 9457) whose `detail` says what was expected, what was found and what to do. Things with a version
carry it as ETag: a change with `If-Match` is made only to the version that was read.
"""
TAGS = {
    "auth": "Signing in, tokens and API keys.",
    "rules": "What fires alerts: own rules, those that others share, those of the system.",
    "alerts": "What fired, and what became of it.",
    "market": "Symbols, bars and metrics.",
    "toplists": "Rankings of the market, of the system and your own.",
    "backtests": "Rules over stored days.",
    "user": "What belongs to you: watchlists, subscriptions, channels, preferences.",
    "admin": "For admins: functions, dead letters, accounts, the audit.",
    "status": "How things are.",
}
EVERYWHERE = {
    400: "a parameter or the body is wrong; `detail` names it",
    401: "no valid token",
    403: "not for this caller",
    429: "too many requests; `Retry-After` says when",
    500: "an error on our side",
    503: "something needed is away; `Retry-After` says when to try again",
}
OF_A_THING = {404: "there is none, or it is somebody else's"}
OF_A_CHANGE = {
    409: "it exists, or was changed by somebody else, or is needed",
    413: "too large, or too many",
    415: "the body is no JSON",
}
MATCHED = ("rules/{rule_id}", "watchlists/{list_id}")  # changes of these know `If-Match`
HTML = ("get_report",)
# Who signs in has no token yet.
OPEN = ("auth/setup", "auth/login", "auth/refresh", "auth/logout", "auth/methods", "auth/oidc/")
PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "description": "An error (RFC 9457), with `error` and `code` for older clients.",
    "required": ["type", "title", "status", "detail", "error", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error": {"type": "string"},
        "code": {"type": "integer"},
    },
    "example": {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Rule not found",
        "error": "Rule not found",
        "code": 404,
    },
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "the ETag that was read; another version answers 412",
    "schema": {"type": "string"},
}


class Provider(OpenAPIProvider):
    """The document of the routes below /api/v1."""

    def generate_rules(self) -> Iterable[Rule]:
        """The routes that are documented, in order of their addresses."""
        found = [one for one in super().generate_rules() if one.rule.startswith(BASE)]
        return sorted(found, key=lambda one: one.rule)

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """The same, where the library reads `<a>/x/<path:b>` as one parameter."""
        paths, components = super().build_paths(rule)
        (described,) = paths.values()
        return {PARAMETER.sub(r"{\1}", rule.rule): described}, components

    def operation_id(self, _method: str, _path: str, func: Any) -> str | None:
        """The name of the function that answers: `list_rules`."""
        return str(func.__name__)

    def schema(self) -> dict[str, Any]:
        """The document, with the answers and parameters that routes have in common."""
        told = dict(super().schema())
        told["paths"] = dict(told["paths"])
        told["components"]["schemas"]["Problem"] = PROBLEM
        for path, method, operation in operations(told):
            _complete(path, method, operation)
        return told


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Address, method and description of every operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Answers that are problems, and headers; what the route says itself stays."""
    short = path.removeprefix(f"{BASE}/")
    answers = operation["responses"] = {str(k): v for k, v in operation["responses"].items()}
    if operation["operationId"] in HTML:
        answers["200"] = {"description": "a page", "content": {"text/html": {}}}
    known = dict(EVERYWHERE)
    if "{" in path:
        known |= OF_A_THING
    if method in WRITING:
        known |= OF_A_CHANGE
    if short in MATCHED:
        if method in WRITING:
            known[412] = "another version than `If-Match` says"
            operation["parameters"] = [*operation["parameters"], IF_MATCH]
        else:
            answers["304"] = {"description": "as the client has it, by `If-None-Match`"}
    for status, text in sorted(known.items()):
        answers.setdefault(str(status), _problem(text))
    answers.setdefault("default", _problem("any other error"))
    for answer in answers.values():
        answer.setdefault("description", "done")
    if short.startswith(OPEN):
        operation["security"] = [{}]


def _problem(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {PROBLEM_TYPE: {"schema": schema}}}


def add(app: Quart, gateway: Gateway, version: str) -> QuartSchema:
    """Serve the document, and the page that shows it."""
    security: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
    if gateway.settings.mode == "local":
        security.append({})
    made = QuartSchema(
        app,
        openapi_path=PATH,
        redoc_ui_path=None,
        scalar_ui_path=None,
        swagger_ui_path=None,
        info=Info("Jetscan", version, description=TEXT),
        tags=[Tag(name, description=text) for name, text in TAGS.items()],
        servers=[Server("/", description="this gateway")],
        security=security,
        security_schemes={
            "bearer": HttpSecurityScheme("bearer", bearer_format="JWT"),
            "key": HttpSecurityScheme("bearer", bearer_format="an API key: jsk_..."),
        },
        openapi_provider_class=Provider,
    )
    _add_page(app, made)
    return made


def _add_page(app: Quart, made: QuartSchema) -> None:
    files = {name: ((FILES / name).read_bytes(), kind) for name, kind in SHOWN.items()}

    @app.get("/docs")
    @hide
    async def reference() -> Response:
        return Response(files["index.html"][0], content_type=SHOWN["index.html"])

    @app.get("/docs/<name>")
    @hide
    async def reference_file(name: str) -> Any:
        if name == "openapi.json":  # beside the page, which is shown to whoever has no token
            return Provider(app, made).schema()
        if name not in files:
            abort(404, "Not found")
        body, kind = files[name]
        return Response(body, content_type=kind)
