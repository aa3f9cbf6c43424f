"""API keys of whoever is signed in: made, shown once, listed, removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field
from quart import Quart, abort, g
from quart_schema import document_response, tag, validate_request

from runtime.gateway import accounts
from runtime.gateway.access import need_person
from runtime.gateway.accounts import when
from runtime.gateway.answers import Message
from runtime.gateway.gateway import Gateway

BASE = "/api/v1/auth/keys"


class NewKey(BaseModel):
    """A name to know it by, what it may do (at most what you may), and when it ends."""

    name: str = Field(min_length=1, max_length=100)
    roles: list[Literal["trader", "admin"]] | None = Field(None, min_length=1, max_length=2)
    days: int | None = Field(None, ge=1, le=3650, description="null: until it is removed")


class KeyShape(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    roles: list[str]
    created_at: str
    expires_at: str | None


class MadeKey(KeyShape):
    """A key; its secret is shown this once."""

    key: str


class Keys(BaseModel):
    """The keys there are."""

    keys: list[KeyShape]
    count: int


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""

    @app.get(BASE)
    @tag(["auth"])
    @document_response(Keys, 200)
    async def list_keys() -> Any:
        """The own API keys, newest first."""
        user = g.user
        rows = await gateway.database.run(lambda c: accounts.keys_of(c, user))
        return {"keys": [_shown(row) for row in rows], "count": len(rows)}

    @app.post(BASE)
    @tag(["auth"])
    @validate_request(NewKey)
    @document_response(MadeKey, 201)
    async def make_key(data: NewKey) -> Any:
        """Make an API key; it is shown this once."""
        need_person()
        user, roles = g.user, sorted(set(data.roles or g.roles))
        if not g.roles.issuperset(roles):
            abort(403, f"roles: expected some of your own: {', '.join(sorted(g.roles))}")
        ends = datetime.now(UTC) + timedelta(days=data.days) if data.days else None
        name = data.name
        key, row = await gateway.database.run(
            lambda c: accounts.make_key(c, user, name, roles, ends)
        )
        await gateway.directory.read()
        await gateway.audit.note(user, "key.create", row["id"], {"name": name, "roles": roles})
        return {**_shown(row), "key": key}, 201

    @app.delete(f"{BASE}/<key_id>")
    @tag(["auth"])
    @document_response(Message, 200)
    async def remove_key(key_id: str) -> Any:
        """Remove an own API key; it is refused from now on."""
        need_person()
        user = g.user
        await gateway.database.run(lambda c: accounts.remove_key(c, user, key_id))
        await gateway.directory.read()
        await gateway.audit.note(user, "key.delete", key_id)
        return {"message": "API key removed"}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "roles": sorted(row["roles"]),
        "created_at": when(row["created_at"]),
        "expires_at": when(row["expires_at"]),
    }
