"""What is kept of one person: told whole, or erased from the database and the buckets.

Streams are logs and forget by age only: what `alerts.user`, `alerts.outbox` and `alerts.receipts` hold of a person is gone after
the 30 days of ALERTS, and from backups when they are. The audit log keeps what was done, under a name that says nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from runtime.bus import Bus
from runtime.store import Connection, Store
from runtime.users import BUCKET, PROFILES

GONE, NOBODY = "gone.", b'{"user_id": "-"}'  # what private rules leave behind
RULES = "rules"  # bucket of rules, toplists (`list.`) and copies of watchlists (`watch.`)
# Tables with a column user_id; those of an account (`users`) go with it.
OWNED = (
    *("watchlists", "preferences", "user_profiles", "rule_versions", "api_keys"),
    *("deliveries", "toplist_configs"),
)
OF_ACCOUNT = ("identities", "sign_ins")
SECRET = ("password_hash", "token_hash", "key_hash", "hash", "secret")
ROWS_MAX = 1_000_000


async def told(bus: Bus, store: Store | None, user: str) -> dict[str, Any]:
    """Everything of a person, secrets left out: {"database": {table: rows}, "buckets": {bucket: {key: value}}}."""
    found: dict[str, Any] = {"user_id": user, "database": {}, "buckets": {}}
    if store is not None:
        for table, column in [("users", "id"), *((one, "user_id") for one in _tables())]:
            query = f"SELECT * FROM {table} WHERE {column} = $1 LIMIT {ROWS_MAX}"  # noqa: S608
            rows = await store.fetch(query, user)
            if rows:
                found["database"][table] = [_without_secrets(row) for row in rows]
    for bucket, keys in (await _keys(bus, user)).items():
        entries = {key: await bus.kv(bucket).get(key) for key in keys}
        found["buckets"][bucket] = {
            key: _masked(bucket, entry.value) for key, entry in entries.items() if entry
        }
    return found


async def erase(
    bus: Bus, store: Store | None, user: str, jobs: Path | None = None
) -> dict[str, int]:
    """Remove everything of a person; how many rows, keys and folders. Again, it removes nothing.

    jobs   the folder of the person's backtests
    """
    counts: dict[str, int] = {}
    for bucket, keys in (await _keys(bus, user)).items():
        for key in keys:
            await bus.kv(bucket).purge(key)
            rule = key.removeprefix(GONE)
            if bucket == RULES and "." not in rule:  # its alerts stay private
                await bus.kv(bucket).put(GONE + rule, NOBODY)
        counts[bucket] = len(keys)
    if store is not None:
        counts |= await store.run(lambda connection: _erased(connection, user))
    if jobs is not None and jobs.is_dir():
        shutil.rmtree(jobs)
        counts["backtests"] = 1
    return {name: count for name, count in counts.items() if count}


async def _erased(connection: Connection, user: str) -> dict[str, int]:
    counts = {}
    for table in OWNED:
        query = f"WITH gone AS (DELETE FROM {table} WHERE user_id = $1 RETURNING 1) SELECT count(*) AS n FROM gone"  # noqa: S608
        counts[table] = int((await connection.fetch(query, user))[0]["n"])
    gone = (
        "WITH gone AS (DELETE FROM users WHERE id = $1 RETURNING 1) SELECT count(*) AS n FROM gone"
    )
    counts["users"] = int((await connection.fetch(gone, user))[0]["n"])
    renamed = (
        "WITH changed AS (UPDATE audit_log SET user_id = $2 WHERE user_id = $1 RETURNING 1) "
        "SELECT count(*) AS n FROM changed"
    )
    name = "erased-" + hashlib.blake2b(user.encode(), digest_size=8).hexdigest()
    counts["audit_log"] = int((await connection.fetch(renamed, user, name))[0]["n"])
    return counts


def _tables() -> tuple[str, ...]:
    return (*OWNED, *OF_ACCOUNT, "audit_log")


async def _keys(bus: Bus, user: str) -> dict[str, list[str]]:
    """The keys of a person in every bucket that has any."""
    rules = await bus.kv(RULES).all()
    own = [key for key, entry in rules.items() if _owner(entry.value) == user]
    channels = [key for key in await bus.kv(BUCKET).all() if key.partition(".")[0] == user]
    profiles = [key for key in await bus.kv(PROFILES).all() if key == user]
    copies = [key for key in rules if key == f"watch.{user}"]
    return {RULES: [*own, *copies], BUCKET: channels, PROFILES: profiles}


def _owner(value: bytes) -> str:
    try:
        thing = json.loads(value)
    except ValueError:
        return ""
    return str(thing.get("user_id", "")) if isinstance(thing, dict) else ""


def _masked(bucket: str, value: bytes) -> Any:
    thing = json.loads(value)
    return _without_secrets(thing) if bucket == BUCKET and isinstance(thing, dict) else thing


def _without_secrets(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: "(kept secret)" if any(word in name for word in SECRET) else value
        for name, value in row.items()
    }
