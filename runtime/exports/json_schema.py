"""Records as JSON Schema: what `decode` takes as one event in plain JSON, as people and other programs publish it."""

from __future__ import annotations

from typing import Any

from runtime.frames import SYMBOL_BYTES_MAX
from runtime.subjects import Column, Record, Subjects

DRAFT = "https://json-schema.org/draft/2020-12/schema"
ASSUMED = "ts_ns"  # an event without a time is given one


def json_schema(subjects: Subjects) -> dict[str, Any]:
    """A schema for each record, under `$defs`."""
    records = {name: event_schema(subjects.record(name)) for name in subjects.records}
    return {"$schema": DRAFT, "title": "Events of Jetscan, one by one", "$defs": records}


def event_schema(record: Record) -> dict[str, Any]:
    """One event of a record; what nobody knows is kept aside, so it is allowed."""
    columns = {name: _column(name, column) for name, column in record.columns.items()}
    symbol = {
        "type": "string",
        "minLength": 1,
        "maxLength": SYMBOL_BYTES_MAX,
        "description": "of whom it tells, where the subject does not say it",
    }
    required = [
        name for name, column in record.columns.items() if column.required and name != ASSUMED
    ]
    properties = columns if "symbol" in columns else {"symbol": symbol, **columns}
    return {"type": "object", "properties": properties, "required": required}


def _column(name: str, column: Column) -> dict[str, Any]:
    is_optional = not column.required or name == ASSUMED
    kind = {"t": "string", "f": "number"}.get(column.type[0], "integer")
    told: dict[str, Any] = {"type": [kind, "null"] if is_optional else kind}
    if kind == "integer":
        bits = 8 * int(column.type[1])
        is_signed = column.type[0] == "i"
        told["minimum"] = -(1 << bits - 1) if is_signed else 0
        told["maximum"] = (1 << bits - is_signed) - 1
    if column.from_ is not None:
        told["minimum"] = column.from_
    if column.above is not None:
        told["exclusiveMinimum"] = column.above
    if column.below is not None:
        told["exclusiveMaximum"] = column.below
    unit = f" ({column.unit})" if column.unit else ""
    return {**told, "description": f"{column.meaning}{unit}", "x-dtype": column.type}
