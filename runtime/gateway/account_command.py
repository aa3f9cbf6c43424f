"""What `jetscan accounts` does to the database; a running gateway notices within a second."""

from __future__ import annotations

from typing import Any

from runtime.gateway import accounts, passwords
from runtime.gateway.access import ADMIN, TRADER
from runtime.gateway.accounts import Refused, shown
from runtime.gateway.audit import Audit
from runtime.store import Connection, Store

BY = "command line"


async def listed(store: Store) -> list[dict[str, Any]]:
    """Every account, by id."""
    return [shown(row) for row in await store.fetch("SELECT * FROM users ORDER BY id")]


async def added(
    store: Store, user: str, name: str, email: str, is_admin: bool, password: str
) -> None:
    """A new account; raises Refused."""
    kept = await _hashed(password, user, email)
    roles = [ADMIN, TRADER] if is_admin else [TRADER]
    await store.run(lambda c: accounts.make(c, user, name, email, roles, kept))
    await _note(store, "user.create", user, {"roles": roles})


async def with_password(store: Store, user: str, password: str) -> None:
    """A new password, and the end of every sign-in; raises Refused."""
    kept = await _hashed(password, user)

    async def work(connection: Connection) -> None:
        await accounts.change(connection, user, {"password_hash": kept})
        await accounts.sign_out_everywhere(connection, user, BY)

    await store.run(work)
    await _note(store, "user.update", user, {"password": "changed"})


async def removed(store: Store, user: str) -> None:
    """The end of an account; raises Refused."""
    await store.run(lambda c: accounts.remove(c, user))
    await _note(store, "user.delete", user)


async def _hashed(password: str, user: str, email: str = "") -> str:
    fault = passwords.fault(password, user, email)
    if fault:
        raise Refused(400, fault)
    hasher = passwords.Passwords()
    try:
        return await hasher.hash(password)
    finally:
        hasher.close()


async def _note(store: Store, action: str, user: str, detail: dict[str, Any] | None = None) -> None:
    audit = Audit(store)
    await audit.note(BY, action, user, detail)
    await audit.close()
