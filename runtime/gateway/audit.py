"""What was changed by whom: rows that wait for the database, and their list for admins."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field
from quart import Quart, g, has_request_context
from quart_schema import document_response, tag, validate_querystring

from runtime import telemetry
from runtime.gateway.access import need_admin
from runtime.gateway.asked import moment
from runtime.store import Outage, Store, StoreError

log = telemetry.get_logger(__name__)

WAITING_MAX = 10_000  # rows; an hour without a database at three changes a second
BATCH = 500
WRITE_S = 0.5
LAST_S = 2.0  # for what waits when the process ends
COLUMNS = ("id", "timestamp", "user_id", "action", "target", "detail", "address", "request_id")


class Audit:
    """The queue before the table `audit_log`; without a database the log has it alone."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._is_away = False

    async def note(
        self, user: str, action: str, target: str, detail: dict[str, Any] | None = None
    ) -> None:
        """Remember a change; never raises, never waits for the database.

        action   what was done to what, such as `rule.update`
        target   the id of what was changed
        """
        address, request_id = _origin()
        log.info("audit", user=user, action=action, target=target, address=address)
        if self._store is None:
            return
        if len(self._waiting) >= WAITING_MAX:
            telemetry.AUDIT_LOST.inc()
            log.error("an audit row is only in this log: too many wait for the database")
            return
        text = json.dumps(detail or {}, default=str).replace("\\u0000", "")
        row = (str(uuid.uuid4()), datetime.now(UTC), user, action, target, text)
        self._waiting.append((*row, address, request_id))

    async def keep(self) -> None:
        """Write what waits, until cancelled; a database that is away gets it when it is back."""
        while self._store is not None:
            await self.flush()
            await asyncio.sleep(WRITE_S)

    async def close(self) -> None:
        """Write what still waits, if that is a matter of a moment."""
        try:
            await asyncio.wait_for(self.flush(), LAST_S)
        except TimeoutError:
            pass
        if self._waiting:
            telemetry.AUDIT_LOST.inc(len(self._waiting))
            log.error("audit rows are only in this log", rows=len(self._waiting))

    async def flush(self) -> None:
        """Write what waits now."""
        while self._store is not None and self._waiting:
            rows = [self._waiting[k] for k in range(min(BATCH, len(self._waiting)))]
            try:
                await self._written(self._store, rows)
            except (Outage, StoreError) as error:
                if not self._is_away:
                    log.warning("audit rows wait for the database", reason=str(error))
                self._is_away = True
                return
            self._is_away = False
            for _ in rows:
                self._waiting.popleft()

    async def _written(self, store: Store, rows: list[tuple[Any, ...]]) -> None:
        columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
        await store.execute("SELECT make_room('audit_log', $1)", list(columns["timestamp"]))
        for bad in await store.upsert("audit_log", columns, ("id", "timestamp")):
            telemetry.AUDIT_LOST.inc()
            log.error("an audit row is only in this log", reason=bad.reason)


def _origin() -> tuple[str, str]:
    """Where the present request comes from, and its id."""
    if not has_request_context():
        return "", ""
    return g.get("address", ""), g.get("request_id", "")


# -- over REST


class AuditQuery(BaseModel):
    """Which rows."""

    user_id: str | None = Field(None, description="of this user")
    action: str | None = Field(None, description="this action, or those that begin with `rule.`")
    start_time: str | None = Field(None, description="RFC 3339, UTC")
    end_time: str | None = Field(None, description="RFC 3339, UTC")
    limit: int = Field(100, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=100_000)


class AuditRow(BaseModel):
    """One change."""

    id: str
    timestamp: datetime
    user_id: str
    action: str
    target: str
    detail: dict[str, Any]
    address: str
    request_id: str


class AuditPage(BaseModel):
    """Changes, newest first."""

    entries: list[AuditRow]
    count: int
    limit: int
    offset: int


READ = """
SELECT id, timestamp, user_id, action, target, detail, address, request_id FROM audit_log
WHERE ($1::text IS NULL OR user_id = $1)
    AND ($2::text IS NULL OR action = $2 OR ($2 LIKE '%.' AND starts_with(action, $2)))
    AND ($3::timestamptz IS NULL OR timestamp >= $3) AND ($4::timestamptz IS NULL OR timestamp <= $4)
ORDER BY timestamp DESC, id LIMIT $5 OFFSET $6
"""


def add(app: Quart, gateway: Any) -> None:
    """Add the route."""

    @app.get("/api/v1/admin/audit")
    @tag(["admin"])
    @validate_querystring(AuditQuery)
    @document_response(AuditPage, 200)
    async def list_audit(query_args: AuditQuery) -> Any:
        """What was changed by whom, newest first (admins)."""
        need_admin()
        asked = query_args
        start, end = moment("start_time", asked.start_time), moment("end_time", asked.end_time)
        values = (asked.user_id, asked.action, start, end, asked.limit, asked.offset)
        rows = await gateway.database.fetch(READ, *values)
        for row in rows:
            row["detail"] = json.loads(row["detail"])
            row["timestamp"] = row["timestamp"].isoformat().replace("+00:00", "Z")
        page = {"entries": rows, "count": len(rows)}
        return {**page, "limit": asked.limit, "offset": asked.offset}
