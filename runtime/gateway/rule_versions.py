"""What rules were before they were changed: rows that wait for the database, and their list."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from datetime import UTC, datetime
from typing import Any

from runtime import telemetry
from runtime.store import BadValue, Outage, Store, StoreError

log = telemetry.get_logger(__name__)

WAITING_MAX = 10_000
WRITE_S = 0.5
LAST_S = 2.0
SHOWN = 100
KEPT = 1_000  # of one rule; the oldest go
INSERT = """
INSERT INTO rule_versions (rule_id, version, user_id, rule, changed_by, changed_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (rule_id, version) DO UPDATE SET user_id = excluded.user_id, rule = excluded.rule,
    changed_by = excluded.changed_by, changed_at = excluded.changed_at
"""
TRIM = "DELETE FROM rule_versions WHERE rule_id = $1 AND version <= $2"
FORGET = "DELETE FROM rule_versions WHERE rule_id = $1"
READ = """
SELECT version, changed_by, changed_at, rule FROM rule_versions WHERE rule_id = $1 AND user_id = $2
ORDER BY version DESC LIMIT $3
"""
Statement = tuple[str, tuple[Any, ...]]


class RuleVersions:
    """The queue before the table `rule_versions`: a change of a rule never waits for the database."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._waiting: deque[list[Statement]] = deque(maxlen=WAITING_MAX)
        self._writing = asyncio.Lock()
        self._is_away = False

    def note(self, rule: dict[str, Any], user: str) -> None:
        """Remember a rule as it is from now on; the first version begins anew."""
        rule_id, version = rule["id"], rule["version"]
        values = (rule_id, version, rule["user_id"], json.dumps(rule), user, datetime.now(UTC))
        first = [(FORGET, (rule_id,))] if version == 1 else []
        self._add([*first, (INSERT, values), (TRIM, (rule_id, version - KEPT))])

    def forget(self, rule_id: str) -> None:
        """Forget a rule that is deleted: another one may have its id."""
        self._add([(FORGET, (rule_id,))])

    def _add(self, statements: list[Statement]) -> None:
        if self._store is not None:
            self._waiting.append(statements)

    async def keep(self) -> None:
        """Write what waits, until cancelled."""
        while self._store is not None:
            await self.flush()
            await asyncio.sleep(WRITE_S)

    async def close(self) -> None:
        """Write what still waits, if that is a matter of a moment."""
        try:
            await asyncio.wait_for(self.flush(), LAST_S)
        except TimeoutError:
            log.error("versions of rules are lost", changes=len(self._waiting))

    async def flush(self) -> None:
        """Write what waits now, oldest first; what the database cannot take is left out."""
        async with self._writing:
            while self._store is not None and self._waiting:
                try:
                    await self._written(self._store, self._waiting[0])
                except (BadValue, StoreError) as error:
                    log.error("a version of a rule is not kept", reason=str(error))
                except Outage as error:
                    if not self._is_away:
                        log.warning("versions of rules wait for the database", reason=str(error))
                    self._is_away = True
                    return
                self._is_away = False
                self._waiting.popleft()

    async def _written(self, store: Store, statements: list[Statement]) -> None:
        async with store.transaction() as connection:
            for statement, values in statements:
                await connection.fetch(statement, *values)

    async def of(self, rule_id: str, user: str) -> list[dict[str, Any]]:
        """The versions of a rule of a user, newest first; raises Outage."""
        if self._store is None:
            raise Outage("no database: set JETSCAN_DATABASE_URL")
        await self.flush()
        rows = await self._store.fetch(READ, rule_id, user, SHOWN)
        return [
            {
                "version": row["version"],
                "changed_at": row["changed_at"].isoformat().replace("+00:00", "Z"),
                "changed_by": row["changed_by"],
                "rule": json.loads(row["rule"]),
            }
            for row in rows
        ]
