"""What the functions say of a rule that is not stored: POST rules/validate."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field
from quart import Quart, abort, g
from quart_schema import document_response, tag, validate_request

from runtime.gateway.gateway import Gateway
from runtime.rule_answers import SUBJECT

TEXT_MAX = 64 << 10
OWNERS = ("user_id", "owner")  # whose watchlists it means is not for the caller to say
Rule = dict[str, Any]


class RuleBody(BaseModel):
    """A rule as text, or as the JSON object that POST rules takes; id and name may be left out."""

    rule: str | Rule = Field(
        max_length=TEXT_MAX,
        examples=["price > 5 and relative_volume_5m > 300", {"when": "rsi_14 < 30"}],
    )


class Fault(BaseModel):
    """What is wrong; `position` counts letters of the text from 0, null where there is no text."""

    message: str
    position: int | None
    length: int | None
    path: str
    expected: str
    found: str
    suggestion: str | None


class Mirror(BaseModel):
    """What is up becomes down."""

    rule: Rule
    text: str
    english: str


class Verdict(BaseModel):
    """How a rule is understood, or what is wrong with it."""

    valid: bool
    errors: list[Fault]
    rule: Rule | None = Field(description="as it would be stored, its condition as a tree")
    text: str | None
    english: str | None
    flipped: Mirror | None
    no_flip: str | None = Field(description="why there is no mirror image")


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""

    @app.post("/api/v1/rules/validate")
    @tag(["rules"])
    @validate_request(RuleBody)
    @document_response(Verdict, 200)
    async def validate_any(data: RuleBody) -> Any:
        """Check a rule without storing it: faults with their place, English, and the mirror image.

        A rule with faults is answered with 200 and `valid` false.
        """
        return verdict_of(gateway, data.rule, g.user)


def object_of(rule: str | Rule) -> Rule:
    """A rule that was typed or sent, as an object with an id and a name."""
    if isinstance(rule, str) and rule.lstrip().startswith("{"):
        try:
            told = json.loads(rule)
        except (ValueError, RecursionError) as error:
            abort(400, f"rule: expected the text of a rule or a JSON object: {error}")
    else:
        told = {"when": rule} if isinstance(rule, str) else rule
    given = {k: v for k, v in told.items() if v not in (None, "") and k not in OWNERS}
    return {"id": "rule", "name": "Rule", **given}


def asked_rule(gateway: Gateway, rule: Rule, user: str) -> dict[str, Any]:
    """`{"rules": [...], "faults": [...]}` of one rule, which may name the user's own toplists; 503."""
    accept: Callable[[str], str] | None = gateway.accepts.get(SUBJECT)
    if accept is None:
        abort(503, f"no hosted function answers {SUBJECT}")
    lists = [
        {"id": one["id"], "enabled": one.get("enabled", True)} for one in gateway.lists.of(user)
    ]
    owned = {**rule, "user_id": rule.get("user_id") or user}
    body = {
        "rules": [owned],
        "toplists": lists,
        "watchlists": gateway.book.scopes.of_rules([owned]),
    }
    found: dict[str, Any] = json.loads(accept(json.dumps(body)))
    return found


def verdict_of(gateway: Gateway, rule: str | Rule, user: str) -> dict[str, Any]:
    """The answer of the route."""
    told = asked_rule(gateway, object_of(rule), user)
    errors = [_fault(one) for one in told["faults"]]
    if errors or not told["rules"]:
        nothing = dict.fromkeys(("rule", "text", "english", "flipped", "no_flip"))
        return {"valid": False, "errors": errors, **nothing}
    found = told["rules"][0]
    known = {name: found[name] for name in ("rule", "text", "english")}
    flipped = {name: found[f"flip{more}"] for name, more in MIRRORED.items()}
    return {
        "valid": True,
        "errors": [],
        **known,
        "flipped": flipped if found["flip"] else None,
        "no_flip": found["no_flip"] or None,
    }


MIRRORED = {"rule": "_rule", "text": "", "english": "_english"}


def _fault(fault: dict[str, Any]) -> dict[str, Any]:
    has_text = fault["line"] > 0
    return {
        "message": fault["message"],
        "position": fault["start"] if has_text else None,
        "length": max(fault["end"] - fault["start"], 1) if has_text else None,
        "path": fault["path"].removeprefix("rule rule").lstrip(": "),
        "expected": fault["expected"],
        "found": fault["found"],
        "suggestion": fault["nearest"] or None,
    }
