"""Rules over REST."""

from __future__ import annotations

from typing import Any

from quart import Quart

from runtime.gateway import asked
from runtime.gateway.gateway import Gateway


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    book = gateway.rules
    verdict = gateway.book.verdict

    @app.get("/api/v1/rules")
    async def list_rules() -> Any:
        rules = book.all()
        return {"rules": rules, "count": len(rules)}

    @app.post("/api/v1/rules")
    async def add_rule() -> Any:
        return await book.add(await asked.body()), 201

    @app.get("/api/v1/rules/<rule_id>")
    async def get_rule(rule_id: str) -> Any:
        return book.get(rule_id)

    @app.put("/api/v1/rules/<rule_id>")
    async def put_rule(rule_id: str) -> Any:
        return await book.replace(rule_id, await asked.body())

    @app.delete("/api/v1/rules/<rule_id>")
    async def delete_rule(rule_id: str) -> Any:
        await book.remove(rule_id)
        return {"message": "Rule deleted"}

    @app.post("/api/v1/rules/<rule_id>/validate")
    async def validate_rule(rule_id: str) -> Any:
        return verdict(rule_id)
