"""What the page keeps for a user, and what users say of themselves: in the database, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from quart import Quart, abort, g
from quart_schema import document_request, document_response, tag

from runtime.gateway import asked
from runtime.gateway.gateway import Gateway

BYTES_MAX = 64 << 10
PROFILE_BYTES_MAX = 8 << 10
READ = "SELECT body FROM {table} WHERE user_id = $1"
WRITE = (
    "INSERT INTO {table} (user_id, body) VALUES ($1, $2) "
    "ON CONFLICT (user_id) DO UPDATE SET body = excluded.body, updated_at = now()"
)
ACCOUNT = "SELECT name, email FROM users WHERE id = $1"
RESERVED = ("user_id", "roles")  # not for their owner to say


class Preferences(BaseModel):
    """Any object of at most 64 KiB."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": {"theme": "dark"}})


class UserProfile(BaseModel):
    """Who somebody is; further fields as they were sent."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {"user_id": "ann", "name": "Ann", "email": "ann@example.com"}
        },
    )

    user_id: str = ""
    name: str = ""
    email: str = ""


class ProfileKept(BaseModel):
    """That a profile is kept."""

    user_id: str
    message: str = Field(examples=["Profile updated"])


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    _add_preferences(app, gateway)
    _add_profile(app, gateway)


def _add_preferences(app: Quart, gateway: Gateway) -> None:
    path = "/api/v1/user/preferences"

    @app.get(path)
    @tag(["user"])
    @document_response(Preferences, 200)
    async def get_preferences() -> Any:
        """What was kept last; an empty object at first."""
        return await _read(gateway, "preferences", g.user)

    @app.put(path)
    @tag(["user"])
    @document_request(Preferences)
    @document_response(Preferences, 200)
    async def put_preferences() -> Any:
        """Keep an object in place of the one before."""
        told = await _given(BYTES_MAX)
        await gateway.database.execute(WRITE.format(table="preferences"), g.user, json.dumps(told))
        return told


def _add_profile(app: Quart, gateway: Gateway) -> None:
    path = "/api/v1/user/profile"

    @app.get(path)
    @tag(["user"])
    @document_response(UserProfile, 200)
    async def get_profile() -> Any:
        """Who you are; texts are empty where nothing is known."""
        empty = {"user_id": g.user, "email": "", "name": ""}
        if gateway.store is None:
            return empty
        rows = await gateway.store.fetch(ACCOUNT, g.user)
        account = {name: text for name, text in (rows[0] if rows else {}).items() if text}
        said = await _read(gateway, "user_profiles", g.user)
        return {**empty, **account, **said, "user_id": g.user}

    @app.put(path)
    @tag(["user"])
    @document_request(UserProfile)
    @document_response(ProfileKept, 200)
    async def put_profile() -> Any:
        """Say who you are."""
        told = await _given(PROFILE_BYTES_MAX)
        for name in ("name", "email"):
            if not isinstance(told.get(name, ""), str):
                abort(400, f"{name}: expected a text, found {told[name]!r:.40}")
        said = {name: value for name, value in told.items() if name not in RESERVED}
        await gateway.database.execute(
            WRITE.format(table="user_profiles"), g.user, json.dumps(said)
        )
        await gateway.audit.note(g.user, "profile.update", g.user)
        return {"user_id": g.user, "message": "Profile updated"}


async def _given(most: int) -> dict[str, Any]:
    """The object of the request; 400, 413."""
    told = await asked.body()
    if not isinstance(told, dict):
        abort(400, f"expected an object, found {type(told).__name__}")
    if len(json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogatepass")) > most:
        abort(413, f"at most {most} bytes of JSON")
    return told


async def _read(gateway: Gateway, table: str, user: str) -> dict[str, Any]:
    rows = await gateway.database.fetch(READ.format(table=table), user)
    return dict(json.loads(rows[0]["body"])) if rows else {}
