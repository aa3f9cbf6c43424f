"""Accounts over REST, for admins."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field
from quart import Quart, abort, g
from quart_schema import document_response, tag, validate_querystring, validate_request

from runtime.gateway import accounts, passwords
from runtime.gateway.access import need_admin, need_person
from runtime.gateway.accounts import shown
from runtime.gateway.answers import Message
from runtime.gateway.gateway import Gateway
from runtime.store import Connection

BASE = "/api/v1/admin/users"
Roles = list[Literal["trader", "admin"]]
LIST = """
SELECT id, name, email, roles, is_disabled, created_at, seen_at, count(*) OVER () AS total FROM users
WHERE $1 = '' OR strpos(lower(id || ' ' || name || ' ' || email), lower($1)) > 0
ORDER BY id LIMIT $2 OFFSET $3
"""


class PeopleQuery(BaseModel):
    """Which accounts."""

    search: str = Field("", max_length=200, description="part of the id, name or mail address")
    limit: int = Field(100, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=1_000_000)


class NewPerson(BaseModel):
    """An account; without a password it signs in by the OpenID provider only."""

    user_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    name: str = Field("", max_length=200)
    email: str = Field("", max_length=320)
    roles: Roles = Field(["trader"], min_length=1, max_length=2)
    password: str | None = Field(None, max_length=passwords.LENGTH_MAX)


class ChangedPerson(BaseModel):
    """What is to change; what is left out stays."""

    name: str | None = Field(None, max_length=200)
    email: str | None = Field(None, max_length=320)
    roles: Roles | None = Field(None, min_length=1, max_length=2)
    enabled: bool | None = None
    password: str | None = Field(None, max_length=passwords.LENGTH_MAX)


class Person(BaseModel):
    """An account."""

    user_id: str
    name: str
    email: str
    roles: list[str]
    enabled: bool
    created_at: str
    seen_at: str | None


class People(BaseModel):
    """Accounts by id; `count` of this page, `total` of all."""

    users: list[Person]
    count: int
    total: int


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    _add_reads(app, gateway)
    _add_changes(app, gateway)
    _add_ends(app, gateway)


def _add_reads(app: Quart, gateway: Gateway) -> None:
    @app.get(BASE)
    @tag(["admin"])
    @validate_querystring(PeopleQuery)
    @document_response(People, 200)
    async def list_people(query_args: PeopleQuery) -> Any:
        """The accounts (admins)."""
        need_admin()
        asked = query_args
        values = (asked.search, asked.limit, asked.offset)
        rows = await gateway.database.fetch(LIST, *values)
        total = rows[0]["total"] if rows else 0
        return {"users": [shown(row) for row in rows], "count": len(rows), "total": total}

    @app.get(f"{BASE}/<user_id>")
    @tag(["admin"])
    @document_response(Person, 200)
    async def get_person(user_id: str) -> Any:
        """One account (admins)."""
        need_admin()
        _named(user_id)
        return shown(await gateway.database.run(lambda c: accounts.person(c, user_id)))


def _add_changes(app: Quart, gateway: Gateway) -> None:
    @app.post(BASE)
    @tag(["admin"])
    @validate_request(NewPerson)
    @document_response(Person, 201)
    async def make_person(data: NewPerson) -> Any:
        """Make an account (admins who signed in)."""
        need_admin()
        need_person()
        kept = await _hashed(gateway, data.password, data.user_id, data.email)
        values = (data.user_id, data.name, data.email, data.roles, kept)
        row = await gateway.database.run(lambda c: accounts.make(c, *values))
        await gateway.directory.read()
        await gateway.audit.note(g.user, "user.create", data.user_id, {"roles": data.roles})
        return shown(row), 201

    @app.put(f"{BASE}/<user_id>")
    @tag(["admin"])
    @validate_request(ChangedPerson)
    @document_response(Person, 200)
    async def change_person(user_id: str, data: ChangedPerson) -> Any:
        """Change an account (admins); a new password or a disabled account ends its sign-ins."""
        need_admin()
        _named(user_id)
        if data.password is not None:
            need_person()
        told = data.model_dump(exclude_none=True)
        values = {k: v for k, v in told.items() if k in ("name", "email")}
        if data.roles is not None:
            values["roles"] = sorted(set(data.roles))
        if data.enabled is not None:
            values["is_disabled"] = not data.enabled
        if data.password is not None:
            values["password_hash"] = await _hashed(gateway, data.password, user_id)

        async def work(connection: Connection) -> dict[str, Any]:
            row = await accounts.change(connection, user_id, values)
            if data.password is not None or data.enabled is False:
                await accounts.sign_out_everywhere(connection, user_id, "by an admin")
            return row

        row = await gateway.database.run(work)
        await gateway.directory.read()
        told.pop("password", None)
        detail = {**told, "password": "changed"} if data.password is not None else told
        await gateway.audit.note(g.user, "user.update", user_id, detail)
        return shown(row)


def _add_ends(app: Quart, gateway: Gateway) -> None:
    @app.delete(f"{BASE}/<user_id>")
    @tag(["admin"])
    @document_response(Message, 200)
    async def remove_person(user_id: str) -> Any:
        """Remove an account with its sign-ins and API keys (admins)."""
        need_admin()
        _named(user_id)
        await gateway.database.run(lambda c: accounts.remove(c, user_id))
        await gateway.directory.read()
        await gateway.audit.note(g.user, "user.delete", user_id)
        return {"message": "User removed"}

    @app.post(f"{BASE}/<user_id>/revoke")
    @tag(["admin"])
    @document_response(Message, 200)
    async def revoke_person(user_id: str) -> Any:
        """End every sign-in and API key of an account (admins)."""
        need_admin()
        _named(user_id)

        async def work(connection: Connection) -> None:
            await accounts.person(connection, user_id)
            await accounts.sign_out_everywhere(connection, user_id, "by an admin")
            await accounts.remove_keys(connection, user_id)

        await gateway.database.run(work)
        await gateway.directory.read()
        await gateway.audit.note(g.user, "user.revoke", user_id)
        return {"message": "Sign-ins and API keys ended"}


def _named(user: str) -> None:
    if not accounts.NAME.fullmatch(user):
        abort(404, "User not found")


async def _hashed(gateway: Gateway, password: str | None, user: str, email: str = "") -> str | None:
    if password is None:
        return None
    fault = passwords.fault(password, user, email)
    if fault:
        abort(400, fault)
    return await gateway.passwords.hash(password)
