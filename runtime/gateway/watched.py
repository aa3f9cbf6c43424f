"""The watchlists of users: rows of the database, and what follows from a change of one.

A change is stored, then told with the user's profile and copied to where rules find it
(runtime/gateway/scopes.py). What did not get there, as NATS was away, is told by the next change or by
`keep`: the copy is the last step, so while it lacks nothing, nothing does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from quart import abort

from runtime import telemetry
from runtime.bus import BusError
from runtime.gateway.book import RuleError
from runtime.gateway.profiles import named_lists
from runtime.gateway.scopes import Busy, Lists
from runtime.store import Connection, Outage, StoreError

if TYPE_CHECKING:
    from runtime.gateway.gateway import Gateway

log = telemetry.get_logger(__name__)

LISTS_MAX, SYMBOLS_MAX = 50, 1_000  # of a user, of a list: what one rule may name
SYMBOLS_OF_USER_MAX = 10_000
AGAIN_S = 30.0
ALL = "SELECT id, name, symbols, version, created_at, updated_at FROM watchlists WHERE user_id = $1 ORDER BY name, id"
ONE = "SELECT id, name, symbols, version, created_at, updated_at FROM watchlists WHERE user_id = $1 AND id = $2"
ADD = (
    "INSERT INTO watchlists (user_id, id, name, symbols) VALUES ($1, $2, $3, $4) "
    "RETURNING id, name, symbols, version, created_at, updated_at"
)
SET = (
    "UPDATE watchlists SET name = $3, symbols = $4, version = version + 1, updated_at = now() "
    "WHERE user_id = $1 AND id = $2 "
    "RETURNING id, name, symbols, version, created_at, updated_at"
)
DROP = "DELETE FROM watchlists WHERE user_id = $1 AND id = $2"
ALONE = "SELECT pg_advisory_xact_lock(hashtextextended('watchlists ' || $1, 0))"
EVERYBODY = "SELECT user_id, id, name, symbols FROM watchlists ORDER BY user_id, id"
Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """What of a watchlist can change, and the version it was read at."""

    name: str
    symbols: tuple[str, ...]
    version: int

    @property
    def as_shown(self) -> Row:
        return {"version": self.version}

    def with_symbols(self, more: tuple[str, ...]) -> Change:
        """With these at the end, unless they are in it."""
        return replace(self, symbols=tuple(dict.fromkeys([*self.symbols, *more])))

    def without(self, symbol: str) -> Change:
        return replace(self, symbols=tuple(one for one in self.symbols if one != symbol))


class Watched:
    """The watchlists of all users."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._book = gateway.book

    async def all(self, user: str) -> list[Row]:
        """Those of a user, by name; raises Outage."""
        return [_shown(row) for row in await self._gateway.database.fetch(ALL, user)]

    async def get(self, user: str, list_id: str) -> Row:
        """One of a user; 404."""
        return _found(await self._gateway.database.fetch(ONE, user, list_id))

    async def add(self, user: str, list_id: str, name: str, symbols: tuple[str, ...]) -> Row:
        """A new one; 409, 413."""

        async def work(connection: Connection) -> Row:
            lists = await self._locked(connection, user)
            if list_id in lists:
                raise RuleError(409, f"watchlist {list_id} exists; PUT changes it")
            self._check(user, {**lists, list_id: _copied(name, symbols)})
            return _shown((await connection.fetch(ADD, user, list_id, name, list(symbols)))[0])

        made = await self._gateway.database.run(work)
        await self._tell(user)
        return made

    async def change(self, user: str, list_id: str, edit: Callable[[Change], Change]) -> Row:
        """Change one; 404, 413. What changes nothing is no new version."""

        async def work(connection: Connection) -> Row:
            lists = await self._locked(connection, user)
            row = _found(await connection.fetch(ONE, user, list_id))
            known = Change(row["name"], tuple(row["symbols"]), row["version"])
            wanted = edit(known)
            if wanted == known:
                return row
            self._check(user, {**lists, list_id: _copied(wanted.name, wanted.symbols)})
            values = (user, list_id, wanted.name, list(wanted.symbols))
            return _shown((await connection.fetch(SET, *values))[0])

        made = await self._gateway.database.run(work)
        await self._tell(user)
        return made

    async def remove(self, user: str, list_id: str, check: Callable[[Row], None]) -> None:
        """Delete one; 404, 409 where the user's profile names it."""
        profile = await self._gateway.profiles.get(user)
        named = named_lists(profile)

        async def work(connection: Connection) -> None:
            await self._locked(connection, user)
            check(_found(await connection.fetch(ONE, user, list_id)))
            if list_id in named:
                raise RuleError(409, "a subscription of yours names it; change that first")
            await connection.fetch(DROP, user, list_id)

        await self._gateway.database.run(work)
        await self._tell(user)

    async def _locked(self, connection: Connection, user: str) -> Lists:
        """All of a user, of whom nobody else changes any until the transaction ends."""
        await connection.fetch(ALONE, user)
        return {
            row["id"]: _copied(row["name"], row["symbols"])
            for row in await connection.fetch(ALL, user)
        }

    def _check(self, user: str, lists: Lists) -> None:
        """Whether there is room for them; 413."""
        if len(lists) > LISTS_MAX:
            raise RuleError(413, f"at most {LISTS_MAX} watchlists of a user")
        if any(len(one["symbols"]) > SYMBOLS_MAX for one in lists.values()):
            raise RuleError(413, f"at most {SYMBOLS_MAX} symbols in a watchlist")
        if sum(len(one["symbols"]) for one in lists.values()) > SYMBOLS_OF_USER_MAX:
            raise RuleError(413, f"at most {SYMBOLS_OF_USER_MAX} symbols in all your watchlists")
        self._book.check_room(user, lists)

    # -- what follows

    async def _tell(self, user: str) -> None:
        """Rules and the profile of a user follow; it is stored already, so a failure is not the caller's."""
        try:
            await self._gateway.profiles.tell_again(user)
            await self._book.copy_watchlists(user, lambda: self._gateway.profiles.lists_of(user))
        except (BusError, Busy, Outage) as error:
            log.error("watchlists are told later", user=user, reason=str(error))

    async def keep(self) -> None:
        """Copy what is not where rules find it, now and then, until cancelled."""
        while self._gateway.store is not None:
            try:
                await self._catch_up()
            except (BusError, Busy, Outage, StoreError) as error:
                log.warning("watchlists not compared", reason=str(error))
            await asyncio.sleep(AGAIN_S)

    async def _catch_up(self) -> None:
        stored: dict[str, Lists] = {}
        for row in await self._gateway.database.fetch(EVERYBODY):
            lists = stored.setdefault(row["user_id"], {})
            lists[row["id"]] = _copied(row["name"], row["symbols"])
        known = self._book.scopes.lists
        for user in sorted(stored.keys() | known.keys()):
            if json.dumps(stored.get(user, {}), sort_keys=True) != json.dumps(
                known.get(user, {}), sort_keys=True
            ):
                await self._tell(user)


def _copied(name: str, symbols: Any) -> Row:
    return {"name": name, "symbols": list(symbols)}


def _found(rows: list[Row]) -> Row:
    if not rows:
        abort(404, "Watchlist not found")
    return rows[0] if isinstance(rows[0]["created_at"], str) else _shown(rows[0])


def _shown(row: Row) -> Row:
    times = {
        name: row[name].isoformat().replace("+00:00", "Z") for name in ("created_at", "updated_at")
    }
    return {**row, "symbols": list(row["symbols"]), **times}
