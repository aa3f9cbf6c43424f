"""The wire as AsyncAPI 3: a channel for every subject, what is on it, who writes and who reads it."""

from __future__ import annotations

from typing import Any

from runtime.exports.json_schema import event_schema
from runtime.frames import FRAME_VERSION
from runtime.loader import Plan
from runtime.subjects import Subjects

VERSION = "3.0.0"


def asyncapi(plan: Plan, subjects: Subjects, version: str) -> dict[str, Any]:
    """The whole document."""
    records = {name: event_schema(subjects.record(name)) for name in subjects.records}
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Jetscan",
            "version": version,
            "description": "Events as columns on NATS JetStream; docs/wire.md says how a frame is read.",
        },
        "defaultContentType": "application/msgpack",
        "servers": {"nats": {"host": "nats:4222", "protocol": "nats"}},
        "channels": {_key(base): _channel(base, subjects) for base in subjects.subjects},
        "operations": _operations(plan, subjects),
        "components": {
            "schemas": {
                **{f"{name}_frame": _frame(event) for name, event in records.items()},
                **records,
            }
        },
    }


def _channel(base: str, subjects: Subjects) -> dict[str, Any]:
    subject = subjects.subjects[base]
    channel: dict[str, Any] = {
        "address": f"{base}.{{partition}}" if subject.partitioned else base,
        "messages": {
            "frame": {
                "contentType": "application/msgpack",
                "summary": "many events",
                "payload": {"$ref": f"#/components/schemas/{subject.record}_frame"},
            },
            "event": {
                "contentType": "application/json",
                "summary": "one event",
                "payload": {"$ref": f"#/components/schemas/{subject.record}"},
            },
        },
        "x-stream": subject.stream or "none: at most once",
        "x-argument": subject.argument,
    }
    if subject.partitioned:
        numbers = [str(one) for one in range(subjects.partitions)]
        channel["parameters"] = {
            "partition": {"enum": numbers, "description": "fnv1a32(symbol) % partitions"}
        }
    return channel


def _frame(event: dict[str, Any]) -> dict[str, Any]:
    """The map of a frame: each column as the bytes of its values, texts as a list."""
    columns: dict[str, Any] = {
        name: {"type": "array", "items": {"type": "string"}}
        if column["x-dtype"] == "text"
        else {"type": "string", "format": "binary", "x-dtype": column["x-dtype"]}
        for name, column in event["properties"].items()
        if "x-dtype" in column
    }
    head = {
        "v": {"const": FRAME_VERSION},
        "n": {"type": "integer", "minimum": 1, "description": "rows"},
        "src": {"type": "string", "description": "who made it"},
        "seq": {"type": "integer", "description": "number at its source"},
        "sym": {"type": "array", "items": {"type": "string"}, "description": "symbols"},
        "i": {"type": "string", "format": "binary", "description": "u2: the symbol of each row"},
    }
    required = ["v", "n", *(one for one in event["required"] if one in columns)]
    return {"type": "object", "properties": {**head, **columns}, "required": required}


def _operations(plan: Plan, subjects: Subjects) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in plan.functions:
        for base in one.reads:
            found[f"{one.name}_reads_{_key(base)}"] = _operation("receive", base, one.name)
        for base in one.writes:
            found[f"{one.name}_writes_{_key(base)}"] = _operation("send", base, one.name)
    for base, subject in subjects.subjects.items():
        if subject.written_by != "functions":
            writer = subject.written_by
            found[f"{writer}_writes_{_key(base)}"] = _operation("send", base, writer)
    return found


def _operation(action: str, base: str, who: str) -> dict[str, Any]:
    channel = {"$ref": f"#/channels/{_key(base)}"}
    return {"action": action, "channel": channel, "tags": [{"name": who}]}


def _key(base: str) -> str:
    return base.replace(".", "_")
