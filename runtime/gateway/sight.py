"""Whose rules a caller may see, and with them their alerts: own ones, shared ones, and those of nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quart import abort

if TYPE_CHECKING:
    from runtime.gateway.gateway import Gateway


def may_see(rule: dict[str, Any], user: str) -> bool:
    """Whether a rule is shown to a user."""
    owner = rule.get("user_id") or ""
    return not owner or owner == user or bool(rule.get("shared"))


def rule_seen(gateway: Gateway, rule_id: str, user: str) -> dict[str, Any]:
    """A stored rule; 404 where it is not there or somebody else's."""
    rule = gateway.rules.get(rule_id)
    if not may_see(rule, user):
        abort(404, "Rule not found")
    return rule


def hidden(gateway: Gateway, user: str, is_admin: bool = False) -> frozenset[str]:
    """Ids of the rules whose alerts a user is not shown, also of those that were deleted."""
    if is_admin:
        return frozenset()
    rules = gateway.rules.things
    departed = gateway.book.departed.items()
    gone = (name for name, owner in departed if owner != user and name not in rules)
    return frozenset((*(name for name, rule in rules.items() if not may_see(rule, user)), *gone))
