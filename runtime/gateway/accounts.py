"""Accounts in the database: people, their sign-ins and their API keys."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from runtime.gateway.access import ADMIN
from runtime.gateway.tokens import KEY_PREFIX, digest, random_token
from runtime.store import Connection

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # it stands in keys and subjects
AGAIN_S = 10.0  # tabs of one page renew at once, and an answer may be lost on its way
KEYS_MAX = 50  # of one user


class Refused(ValueError):
    """What was asked cannot be done; `status` as in HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class SignIn:
    """What a sign-in hands out: its id, and the token that renews it."""

    id: str
    user: str
    refresh_token: str


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A person as REST and the command line show them."""
    return {
        "user_id": row["id"],
        "name": row["name"],
        "email": row["email"],
        "roles": sorted(row["roles"]),
        "enabled": not row["is_disabled"],
        "created_at": when(row["created_at"]),
        "seen_at": when(row["seen_at"]),
    }


def when(moment: datetime | None) -> str | None:
    """RFC 3339."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


# -- people


async def alone(connection: Connection) -> None:
    """Wait for others who change who may call: the last admin must not go twice at once."""
    await connection.fetch("SELECT number FROM access_version FOR UPDATE")


async def admins(connection: Connection) -> int:
    """How many may administer."""
    (row,) = await connection.fetch(
        "SELECT count(*) AS n FROM users WHERE $1 = ANY (roles) AND NOT is_disabled", ADMIN
    )
    return int(row["n"])


async def person(connection: Connection, user: str) -> dict[str, Any]:
    """A row of `users`; raises Refused."""
    found = await connection.fetch("SELECT * FROM users WHERE id = $1", user)
    if not found:
        raise Refused(404, "User not found")
    return found[0]


async def make(
    connection: Connection, user: str, name: str, email: str, roles: Sequence[str], kept: str | None
) -> dict[str, Any]:
    """A new person; raises Refused."""
    if not NAME.fullmatch(user):
        raise Refused(400, "user_id: expected 1 to 64 letters, digits, - and _")
    rows = await connection.fetch(
        "INSERT INTO users (id, name, email, roles, password_hash) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT DO NOTHING RETURNING *",
        *(user, name, email, sorted(set(roles)), kept),
    )
    if not rows:
        raise Refused(409, f"user_id: {user} is taken")
    return rows[0]


async def change(connection: Connection, user: str, values: dict[str, Any]) -> dict[str, Any]:
    """Change columns of a person; raises Refused, also where no admin would be left."""
    await alone(connection)
    before = await admins(connection)
    await person(connection, user)
    for column in ("name", "email", "roles", "is_disabled", "password_hash"):
        if column in values:
            statement = f"UPDATE users SET {column} = $2, updated_at = now() WHERE id = $1"  # noqa: S608 -- ours
            await connection.fetch(statement, user, values[column])
    await _keep_an_admin(connection, before)
    return await person(connection, user)


async def remove(connection: Connection, user: str) -> None:
    """Remove a person, their sign-ins and their keys; raises Refused."""
    await alone(connection)
    before = await admins(connection)
    await person(connection, user)
    await remove_keys(connection, user)
    await connection.fetch("DELETE FROM users WHERE id = $1", user)
    await _keep_an_admin(connection, before)


async def _keep_an_admin(connection: Connection, before: int) -> None:
    if before and not await admins(connection):
        raise Refused(409, "the last admin has to stay one; make another first")


# -- sign-ins


async def sign_in(connection: Connection, user: str, life_s: int) -> SignIn:
    """Begin a sign-in; what has ended goes."""
    # One that was revoked is known as long as a token of it may last.
    await connection.fetch(
        "DELETE FROM sign_ins WHERE user_id = $1 AND expires_at < now() "
        "AND (revoked_at IS NULL OR revoked_at < now() - interval '31 days')",
        user,
    )
    name, token = uuid.uuid4().hex, random_token()
    await connection.fetch(
        "INSERT INTO sign_ins (id, user_id, expires_at) VALUES ($1, $2, $3)",
        *(name, user, datetime.now(UTC) + timedelta(seconds=life_s)),
    )
    await _keep_token(connection, token, name)
    await connection.fetch("UPDATE users SET seen_at = now() WHERE id = $1", user)
    return SignIn(name, user, token)


async def _keep_token(connection: Connection, token: str, sign_in: str) -> None:
    await connection.fetch(
        "INSERT INTO refresh_tokens (hash, sign_in) VALUES ($1, $2)", digest(token), sign_in
    )


FIND = """
SELECT t.used_at, now() AS now, s.id, s.user_id, s.revoked_at, s.expires_at, u.is_disabled
FROM refresh_tokens AS t JOIN sign_ins AS s ON s.id = t.sign_in JOIN users AS u ON u.id = s.user_id
WHERE t.hash = $1 FOR UPDATE OF t, s
"""


async def renew(connection: Connection, token: str, life_s: int) -> SignIn | str:
    """A new token for one that was not used; for what it is refused otherwise.

    One that was used before ends its sign-in: either it or its successor was stolen. Only for
    AGAIN_S it may come again.
    """
    found = await connection.fetch(FIND, digest(token))
    if not found:
        return "unknown"
    (row,) = found
    if row["revoked_at"] or row["is_disabled"] or row["expires_at"] < row["now"]:
        return "ended"
    if row["used_at"] and row["now"] - row["used_at"] > timedelta(seconds=AGAIN_S):
        await _revoke(connection, "id = $1", row["id"], "reuse")
        return "reuse"
    new = random_token()
    await connection.fetch(
        "UPDATE refresh_tokens SET used_at = coalesce(used_at, now()) WHERE hash = $1",
        digest(token),
    )
    await _keep_token(connection, new, row["id"])
    await connection.fetch(
        "UPDATE sign_ins SET expires_at = $2 WHERE id = $1",
        *(row["id"], datetime.now(UTC) + timedelta(seconds=life_s)),
    )
    return SignIn(row["id"], row["user_id"], new)


async def owner_of(connection: Connection, token: str) -> tuple[str, str] | None:
    """The sign-in and user of a refresh token."""
    found = await connection.fetch(FIND, digest(token))
    return (found[0]["id"], found[0]["user_id"]) if found else None


async def sign_out(connection: Connection, sign_in: str) -> None:
    """End one sign-in and every token of it."""
    await _revoke(connection, "id = $1", sign_in, "signed out")


async def sign_out_everywhere(connection: Connection, user: str, reason: str) -> None:
    """End every sign-in of a user, and every token that was issued before now, also outside."""
    await _revoke(connection, "user_id = $1", user, reason)
    await connection.fetch(
        "UPDATE users SET tokens_from = $2 WHERE id = $1", user, datetime.now(UTC)
    )


async def _revoke(connection: Connection, which: str, value: str, reason: str) -> None:
    await connection.fetch(
        "UPDATE sign_ins SET revoked_at = now(), reason = $2 "  # noqa: S608 -- ours
        f"WHERE {which} AND revoked_at IS NULL",
        *(value, reason),
    )


# -- identities of an OpenID provider


async def identity(connection: Connection, issuer: str, subject: str) -> str | None:
    """The user whom a provider calls so."""
    found = await connection.fetch(
        "SELECT user_id FROM identities WHERE issuer = $1 AND subject = $2", issuer, subject
    )
    return found[0]["user_id"] if found else None


async def identify(
    connection: Connection, issuer: str, subject: str, wanted: str, name: str, email: str
) -> str:
    """A new person for an identity; never an account that is there already."""
    user = re.sub(r"[^A-Za-z0-9_-]", "-", wanted)[:50].strip("-") or "user"
    taken = await connection.fetch("SELECT FROM users WHERE id = $1", user)
    if taken or user == "default":
        user = f"{user}-{secrets.token_hex(4)}"
    await make(connection, user, name, email, ["trader"], None)
    await connection.fetch(
        "INSERT INTO identities (issuer, subject, user_id) VALUES ($1, $2, $3)",
        *(issuer, subject, user),
    )
    return user


# -- API keys


async def make_key(
    connection: Connection, user: str, name: str, roles: Sequence[str], expires: datetime | None
) -> tuple[str, dict[str, Any]]:
    """A new key, shown this once, and its row; raises Refused."""
    await alone(connection)
    if len(await keys_of(connection, user)) >= KEYS_MAX:
        raise Refused(409, f"expected at most {KEYS_MAX} keys; remove one first")
    key = random_token(KEY_PREFIX)
    (row,) = await connection.fetch(
        "INSERT INTO api_keys (id, hash, user_id, name, roles, expires_at) "
        "VALUES ($1, $2, $3, $4, $5, $6) RETURNING *",
        *(uuid.uuid4().hex[:12], digest(key), user, name, sorted(roles), expires),
    )
    return key, row


async def keys_of(connection: Connection, user: str) -> list[dict[str, Any]]:
    """The keys of a user, newest first."""
    return await connection.fetch(
        "SELECT * FROM api_keys WHERE user_id = $1 ORDER BY created_at DESC, id", user
    )


async def remove_key(connection: Connection, user: str, key: str) -> None:
    """Remove an own key; raises Refused."""
    gone = await connection.fetch(
        "DELETE FROM api_keys WHERE user_id = $1 AND id = $2 RETURNING id", user, key
    )
    if not gone:
        raise Refused(404, "API key not found")


async def remove_keys(connection: Connection, user: str) -> None:
    """Remove every key of a user."""
    await connection.fetch("DELETE FROM api_keys WHERE user_id = $1", user)
