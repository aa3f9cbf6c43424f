"""Alerts of the database as clients know them, and those of the ring that it does not have yet.

The ring holds the newest alerts, the database all of them a second later. A page is cut out of both: alerts
of the ring are looked up by id from the newest back, until a whole block of them is stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from runtime.gateway.hub import Hub
from runtime.gateway.queries import moment
from runtime.shapes import exact, rfc3339
from runtime.store import Store

Alert = dict[str, Any]

BLOCK = 100  # alerts of the ring that are looked up at once
NAMES = "id rule_id rule_name symbol ts_ns price message metadata trace_id number kind strength explain causes withdrawn_at withdrawn_reason"
SELECTED = f"SELECT {NAMES.replace(' ', ', ')} FROM alert_history"  # noqa: S608 -- no value is in it
STORED = """SELECT id, ts_ns FROM alert_history WHERE id = ANY ($1) AND timestamp >= $2 AND timestamp <= $3"""
UNSTORED_MAX = 10_000  # further back the database has what it will ever have
# What may be sorted by: column of the table, field of the shape. A tie is decided by time and number.
SORTS = {
    "timestamp": ("ts_ns", "ts_ns"),
    "price": ("price", "price"),
    "symbol": ("symbol", "symbol"),
    "rule_id": ("rule_id", "rule_id"),
    "rule_name": ("rule_name", "rule_name"),
    "strength": ("coalesce(strength, 0)", "strength"),
    "seq": ("number", "seq"),
}


@dataclass(frozen=True)
class Filter:
    """Which alerts are wanted; `hidden` are rules whose alerts are not shown."""

    symbol: str | None = None
    rule_id: str | None = None
    from_ns: int | None = None
    to_ns: int | None = None
    kind: str | None = None
    hidden: frozenset[str] = field(default_factory=frozenset)

    def takes(self, alert: Alert) -> bool:
        """Whether an alert of the ring is wanted."""
        return (
            (self.symbol is None or alert["symbol"] == self.symbol)
            and (self.rule_id is None or alert["rule_id"] == self.rule_id)
            and (self.from_ns is None or alert["ts_ns"] >= self.from_ns)
            and (self.to_ns is None or alert["ts_ns"] <= self.to_ns)
            and (self.kind is None or alert["kind"] == self.kind)
            and alert["rule_id"] not in self.hidden
        )

    def where(self) -> tuple[str, list[Any]]:
        """The same as a condition with its values."""
        told: list[tuple[str, Any]] = []
        if self.symbol is not None:
            told.append(("symbol = {}", self.symbol))
        if self.rule_id is not None:
            told.append(("rule_id = {}", self.rule_id))
        if self.from_ns is not None:  # the column that has an index, then the one that is exact
            told += [("timestamp >= {}", moment(self.from_ns)), ("ts_ns >= {}", self.from_ns)]
        if self.to_ns is not None:
            told += [("timestamp <= {}", moment(self.to_ns + 1_000)), ("ts_ns <= {}", self.to_ns)]
        if self.kind is not None:
            told.append(("coalesce(kind, 'fired') = {}", self.kind))
        if self.hidden:
            told.append(("rule_id <> ALL ({})", sorted(self.hidden)))
        parts = [text.format(f"${place}") for place, (text, _) in enumerate(told, 1)]
        return " AND ".join(parts) or "true", [value for _, value in told]


@dataclass(frozen=True)
class Order:
    """How a list is ordered, and which part of it is wanted."""

    sort: str
    is_falling: bool
    limit: int
    offset: int

    def key(self, alert: Alert) -> tuple[Any, ...]:
        """What an alert is ordered by; the same as in the statement."""
        return alert.get(SORTS[self.sort][1]) or 0, alert["ts_ns"], alert["seq"]

    def clause(self) -> str:
        """ORDER BY; by time alone it is answered from the index."""
        word = "DESC" if self.is_falling else "ASC"
        column = SORTS[self.sort][0]
        first = "timestamp" if self.sort == "timestamp" else column
        first += ' COLLATE "C"' if column in ("symbol", "rule_id", "rule_name") else ""
        return ", ".join(f"{name} {word}" for name in (first, "ts_ns", "coalesce(number, 0)"))


async def page_of(store: Store, hub: Hub, wanted: Filter, order: Order) -> list[Alert]:
    """The page, one alert more where there is one. Raises Outage."""
    fresh = [one for one in await _unstored(store, hub) if wanted.takes(one)]
    skipped = max(0, order.offset - len(fresh))
    where, values = wanted.where()
    statement = f"{SELECTED} WHERE {where} ORDER BY {order.clause()} OFFSET {skipped:d} LIMIT {order.offset + order.limit + 1 - skipped:d}"
    rows = await store.fetch(statement, *values)
    # What was stored between the two looks comes twice.
    both = {(one["id"], one["ts_ns"]): one for one in [*fresh, *map(shape, rows)]}
    merged = sorted(both.values(), key=order.key, reverse=order.is_falling)
    return merged[order.offset - skipped :][: order.limit + 1]


def page_of_ring(hub: Hub, wanted: Filter, order: Order) -> list[Alert]:
    """The page of what the ring alone holds, one alert more where there is one."""
    found: Iterable[Alert] = (one for one in hub.alerts() if wanted.takes(one))
    if order.sort not in ("timestamp", "seq") or not order.is_falling:
        found = sorted(found, key=order.key, reverse=order.is_falling)
    return list(islice(found, order.offset, order.offset + order.limit + 1))


async def _unstored(store: Store, hub: Hub) -> list[Alert]:
    """The alerts of the ring that the database does not have, newest first."""
    found: list[Alert] = []
    start, size = 0, BLOCK
    while block := hub.alerts(start + size)[start:]:
        times, ids = [one["ts_ns"] for one in block], [one["id"] for one in block]
        rows = await store.fetch(STORED, ids, moment(min(times)), moment(max(times) + 1_000))
        stored = {(row["id"], row["ts_ns"]) for row in rows}
        missing = [one for one in block if (one["id"], one["ts_ns"]) not in stored]
        found += missing
        if not missing or start + size > UNSTORED_MAX:
            break
        start, size = start + size, size * 2
    return found


def alert_in(hub: Hub, alert_id: str) -> Alert | None:
    """An alert of the ring as it fired, and what became of it."""
    said = [one for one in hub.alerts() if one["id"] == alert_id]
    if not said:
        return None
    fired = next((one for one in said if one["kind"] == "fired"), said[0])
    gone = next((one for one in said if one["kind"] == "withdrawn"), None)
    if gone is None:
        return fired
    told = {"timestamp": gone["timestamp"], "reason": gone.get("reason", "")}
    return {**fired, "withdrawn": told}


async def alert_of(store: Store, alert_id: str) -> Alert | None:
    """An alert as it fired, or what is stored of it. Raises Outage."""
    rows = await store.fetch(
        f"{SELECTED} WHERE id = $1 ORDER BY coalesce(kind, 'fired') = 'fired' DESC, timestamp LIMIT 1",
        alert_id,
    )
    return shape(rows[0]) if rows else None


def shape(row: Alert) -> Alert:
    """An alert of the table as clients know it from the stream; `withdrawn` tells its withdrawal."""
    told = {name: row[name] for name in ("id", "rule_id", "rule_name", "symbol")}
    told |= {
        "timestamp": rfc3339(row["ts_ns"]),
        "ts_ns": row["ts_ns"],
        "price": float(row["price"]),
        "message": row["message"] or "",
        "metadata": _json(row["metadata"]) or {},
        "trace_id": row["trace_id"] or "",
        "seq": row["number"] or 0,
        "kind": row["kind"] or "fired",
    }
    told |= {name: row[name] for name in ("strength",) if row[name] is not None}
    told |= {name: _json(row[name]) for name in ("explain", "causes") if row[name] is not None}
    if row["withdrawn_at"] is not None:
        told["withdrawn"] = {
            "timestamp": row["withdrawn_at"].isoformat().replace("+00:00", "Z"),
            "reason": row["withdrawn_reason"] or "",
        }
    return told


def _json(text: str | None) -> Any:
    return exact(json.loads(text)) if text else None
