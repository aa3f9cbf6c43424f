"""Rules over REST: own ones, those that others share, and those that came with the functions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from quart import Quart, Response, abort, g
from quart_schema import document_request, document_response, tag

from runtime.gateway import asked, etags
from runtime.gateway.access import is_admin
from runtime.gateway.gateway import Gateway
from runtime.gateway.rule_versions import RuleVersions
from runtime.gateway.sight import may_see, rule_seen

BASE = "/api/v1/rules"
Rule = dict[str, Any]


class RuleShape(BaseModel):
    """A rule: `conditions` (all must hold) or `when` (a text or a tree), and whose it is."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "id": "cheap-and-busy",
                "name": "Cheap and busy",
                "when": "price < 5 and relative_volume_5m > 300 in watchlist mine",
                "cooldown": 300,
            }
        },
    )

    id: str = Field(
        "", description="1 to 64 of letters, digits, - and _; one is made where none is"
    )
    name: str = Field(description="what people call it")
    description: str | None = ""
    when: str | dict[str, Any] | None = Field(None, description="the text of a rule, or its tree")
    conditions: list[dict[str, Any]] | None = Field(None, description="all of them must hold")
    cooldown: float | str = Field(10, description="seconds, or a duration such as 5m")
    enabled: bool = True
    shared: bool = Field(False, description="whether other users see it and its alerts")


class KeptRule(RuleShape):
    """A rule as it is kept."""

    user_id: str = Field(description="whose it is; empty: it came with the functions")
    version: int = Field(description="counts its changes; its ETag")
    created_at: str
    updated_at: str
    fault: str | None = Field(None, description="why it does not run any more")


class Rules(BaseModel):
    """Rules, newest first."""

    rules: list[KeptRule]
    count: int


class Said(BaseModel):
    """That it is done."""

    message: str


class StoredVerdict(BaseModel):
    """Whether a stored rule compiles."""

    valid: bool
    error: str | None = None


class Version(BaseModel):
    """A rule as it was."""

    version: int
    changed_at: str
    changed_by: str
    rule: dict[str, Any]


class Versions(BaseModel):
    """What a rule was, newest first."""

    versions: list[Version]
    count: int


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    versions = gateway.rule_versions
    _add_reading(app, gateway, versions)
    _add_changing(app, gateway, versions)


def _seen(gateway: Gateway, rule_id: str) -> Rule:
    """A rule that the caller may see; admins see all. 404."""
    return gateway.rules.get(rule_id) if is_admin() else rule_seen(gateway, rule_id, g.user)


def _owned(gateway: Gateway, rule_id: str) -> Rule:
    """A rule that the caller may change; 403 for one that is only shown to them, 404."""
    rule = _seen(gateway, rule_id)
    if not is_admin() and rule["user_id"] != g.user:
        abort(403, "this rule is not yours; copy it to change it")
    return rule


def _add_reading(app: Quart, gateway: Gateway, versions: RuleVersions) -> None:
    @app.get(BASE)
    @tag(["rules"])
    @document_response(Rules, 200)
    async def list_rules() -> Any:
        """All rules that you may see, newest first: yours, shared ones, those of the system."""
        rules = [one for one in gateway.rules.all() if is_admin() or may_see(one, g.user)]
        return {"rules": rules, "count": len(rules)}

    @app.get(f"{BASE}/<rule_id>")
    @tag(["rules"])
    @document_response(KeptRule, 200)
    async def get_rule(rule_id: str) -> Response:
        """One rule; its version is the ETag."""
        return etags.tagged(_seen(gateway, rule_id))

    @app.get(f"{BASE}/<rule_id>/versions")
    @tag(["rules"])
    @document_response(Versions, 200)
    async def list_versions(rule_id: str) -> Any:
        """What a rule was before each change, newest first; at most a hundred."""
        rule = _seen(gateway, rule_id)
        found = await versions.of(rule_id, rule["user_id"])
        return {"versions": found, "count": len(found)}

    @app.post(f"{BASE}/<rule_id>/validate")
    @tag(["rules"])
    @document_response(StoredVerdict, 200)
    async def validate_rule(rule_id: str) -> Any:
        """Whether a stored rule compiles."""
        _seen(gateway, rule_id)
        return gateway.book.verdict(rule_id)


def _add_changing(app: Quart, gateway: Gateway, versions: RuleVersions) -> None:
    rules, audit = gateway.rules, gateway.audit

    @app.post(BASE)
    @tag(["rules"])
    @document_request(RuleShape)
    @document_response(KeptRule, 201)
    async def add_rule() -> Response:
        """Store a new rule of yours; it runs from the next event on."""
        told = await asked.body()
        given = {**told, "user_id": g.user} if isinstance(told, dict) else told
        rule = await rules.add(given)
        versions.note(rule, g.user)
        await audit.note(g.user, "rule.create", rule["id"], {"version": rule["version"]})
        return etags.tagged(rule, 201)

    @app.put(f"{BASE}/<rule_id>")
    @tag(["rules"])
    @document_request(RuleShape)
    @document_response(KeptRule, 200)
    async def put_rule(rule_id: str) -> Response:
        """Change a rule of yours, all of it; with `If-Match` only the version you read."""
        _owned(gateway, rule_id)
        rule = await rules.replace(rule_id, await asked.body(), etags.check_match)
        versions.note(rule, g.user)
        await audit.note(g.user, "rule.update", rule_id, {"version": rule["version"]})
        return etags.tagged(rule)

    @app.delete(f"{BASE}/<rule_id>")
    @tag(["rules"])
    @document_response(Said, 200)
    async def delete_rule(rule_id: str) -> Any:
        """Delete a rule of yours, and what it was before; with `If-Match` only the version you read."""
        _owned(gateway, rule_id)
        await rules.remove(rule_id, etags.check_match)
        versions.forget(rule_id)
        await audit.note(g.user, "rule.delete", rule_id)
        return {"message": "Rule deleted"}
