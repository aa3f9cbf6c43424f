"""Who may call, held in memory and read again within a second of a change: no request waits for the database."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runtime import telemetry
from runtime.config import Settings
from runtime.gateway.access import ADMIN, ROLES, TRADER, Caller
from runtime.gateway.auth import LOCAL_USER, Unauthorized
from runtime.gateway.tokens import ISSUER, KEY_PREFIX, Tokens, digest
from runtime.store import Connection, Outage, Store, StoreError

log = telemetry.get_logger(__name__)

READ_S = 1.0
VERSION = "SELECT number FROM access_version"
USERS = "SELECT id, roles, is_disabled, tokens_from, created_at FROM users"
KEYS = "SELECT id, hash, user_id, roles, expires_at FROM api_keys"
ENDED = "SELECT id FROM sign_ins WHERE revoked_at > now() - make_interval(secs => $1)"


@dataclass(frozen=True)
class Account:
    """What of a person decides whether they may call."""

    roles: frozenset[str]
    is_disabled: bool
    tokens_from_s: float
    created_s: float


@dataclass(frozen=True)
class Key:
    """An API key."""

    id: str
    user: str
    roles: frozenset[str]
    expires_s: float


class Directory:
    """The accounts, keys and ended sign-ins of the database, as last read."""

    def __init__(self, settings: Settings, store: Store | None) -> None:
        self.tokens = Tokens(settings.jwt_secret, settings.token_s)
        self.on_read: Callable[[], Awaitable[None]] | None = None
        self.is_read = False
        self._is_local = settings.mode == "local"
        self._store = store
        self._reading = asyncio.Lock()
        self._version = 0
        self._accounts: dict[str, Account] = {}
        self._keys: dict[bytes, Key] = {}
        self._ended: set[str] = set()

    @property
    def has_admin(self) -> bool:
        """Whether an account may administer."""
        return any(ADMIN in one.roles and not one.is_disabled for one in self._accounts.values())

    # -- reading

    async def keep(self) -> None:
        """Read what changed, until cancelled; what was read stays while the database is away."""
        while self._store is not None:
            try:
                await self.read()
            except (Outage, StoreError) as error:
                log.debug("accounts are as they were: the database is away", reason=str(error))
            await asyncio.sleep(READ_S)

    async def read(self) -> None:
        """Read again if anything changed; raises Outage."""
        if self._store is None:
            return
        async with self._reading:  # two at once could end with what the slower one read first
            (row,) = await self._store.fetch(VERSION)
            if self.is_read and row["number"] == self._version:
                return
            await self._store.run(self._read)
            self._version, self.is_read = row["number"], True  # a later change is seen
        if self.on_read is not None:
            await self.on_read()

    async def _read(self, connection: Connection) -> None:
        users, keys = await connection.fetch(USERS), await connection.fetch(KEYS)
        ended = await connection.fetch(ENDED, self.tokens.life_s + 60.0)
        self._accounts = {row["id"]: _account(row) for row in users}
        self._keys = {bytes(row["hash"]): _key(row) for row in keys}
        self._ended = {row["id"] for row in ended}

    # -- deciding

    def caller(self, authorization: str) -> Caller:
        """Whoever sends this header; raises Unauthorized, and Outage where that cannot be known yet.

        Without a token that is `default` with every role in local mode, and nobody elsewhere.
        """
        token = authorization.removeprefix("Bearer ").strip()
        if not token:
            if self._is_local:
                return Caller(LOCAL_USER, ROLES, is_anonymous=True)
            raise Unauthorized("expected Authorization: Bearer TOKEN")
        if token.startswith(KEY_PREFIX):
            return self._by_key(token)
        claims = self.tokens.claims(token)
        return self._own(claims) if claims.get("iss") == ISSUER else self._foreign(claims)

    def is_valid(self, caller: Caller) -> bool:
        """Whether somebody who was let in would be let in now: for connections that last."""
        account = self._accounts.get(caller.user)
        if caller.is_anonymous:
            return True
        if caller.expires_s < time.time() or caller.session in self._ended:
            return False
        if account is not None and (account.is_disabled or not caller.roles <= account.roles):
            return False
        if caller.key:
            return any(one.id == caller.key for one in self._keys.values())
        if account is None:
            return not caller.session
        if caller.session and caller.issued_s < math.floor(account.created_s):
            return False  # of somebody who had the name before
        return caller.issued_s >= account.tokens_from_s

    def _by_key(self, token: str) -> Caller:
        self._need_read()
        key = self._keys.get(digest(token))
        if key is None or key.expires_s < time.time():
            raise Unauthorized("the API key is not valid: it is unknown, revoked or expired")
        account = self._accounts.get(key.user)
        roles = key.roles if account is None else key.roles & account.roles
        return self._let_in(Caller(key.user, roles, key=key.id, expires_s=key.expires_s))

    def _own(self, claims: dict[str, Any]) -> Caller:
        """By a token that was issued here: only while its sign-in lasts."""
        self._need_read()
        user, session = str(claims.get("sub")), str(claims.get("sid"))
        account = self._accounts.get(user)
        roles = account.roles if account else frozenset()
        return self._let_in(Caller(user, roles, session, "", _issued_s(claims), claims["exp"]))

    def _foreign(self, claims: dict[str, Any]) -> Caller:
        """By a token of somebody else who knows the secret: its claims count, an account's roles more."""
        user = claims.get("user_id") or claims.get("sub")
        if not isinstance(user, str) or not user:
            raise Unauthorized("the token names no user: expected the claim user_id or sub")
        told = claims.get("roles", [TRADER])
        texts = {one for one in told if isinstance(one, str)} if isinstance(told, list) else ()
        account = self._accounts.get(user)
        roles = account.roles if account else ROLES.intersection(texts)
        return self._let_in(Caller(user, roles, "", "", _issued_s(claims), claims["exp"]))

    def _let_in(self, caller: Caller) -> Caller:
        if not self.is_valid(caller):
            raise Unauthorized("it was revoked, or the account is disabled: sign in again")
        return caller

    def _need_read(self) -> None:
        if self._store is None:
            raise Unauthorized("this instance has no database that knows sign-ins and API keys")
        if not self.is_read:
            raise Outage("accounts were not read yet")


def _issued_s(claims: dict[str, Any]) -> float:
    told = claims.get("iat")
    return float(told) if isinstance(told, (int, float)) else 0.0


def _account(row: dict[str, Any]) -> Account:
    return Account(
        frozenset(row["roles"]) & ROLES,
        row["is_disabled"],
        _seconds(row["tokens_from"]),
        _seconds(row["created_at"]),
    )


def _key(row: dict[str, Any]) -> Key:
    expires: datetime | None = row["expires_at"]
    lasts = expires.timestamp() if expires else float("inf")
    return Key(row["id"], row["user_id"], frozenset(row["roles"]) & ROLES, lasts)


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
