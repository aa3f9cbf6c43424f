"""The wire for other programs: JSON Schema refuses what `decode` refuses, AsyncAPI names what subjects.yaml names."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgpack
import pytest

from runtime.exports.asyncapi import asyncapi
from runtime.exports.json_schema import event_schema, json_schema
from runtime.frames import BadFrame, decode, encode
from runtime.loader import load_plan
from runtime.subjects import Column, Subjects, load_subjects
from tests.conftest import ROOT

SUBJECTS = load_subjects(ROOT / "subjects.yaml")


def usual(column: Column) -> Any:
    """A value that a column takes."""
    if column.type == "text":
        return "x"
    low = column.from_ if column.from_ is not None else column.above
    value = 1.5 if low is None or low < 1 else low + 1
    return value if column.type[0] == "f" else int(value) + 1


def odd(column: Column) -> list[Any]:
    """Values at and beyond the edges of a column, of other types, and none."""
    values: list[Any] = ["x", 1, 0, -1, 1.5, True, None, [], {}, 2**31, 2**64, -(2**64), 1e300]
    for edge in (column.above, column.below, column.from_):
        if edge is not None:
            step = max(1, int(abs(edge) * 1e-9))  # the wire compares floats
            values += [edge, int(edge) - step, int(edge) + step]
    return values


def is_taken(event: dict[str, Any], name: str) -> bool:
    try:
        decode(json.dumps(event).encode(), SUBJECTS.record(name), now_ns=10**18)
    except BadFrame:
        return False
    return True


@pytest.mark.parametrize("name", SUBJECTS.records)
def test_what_the_schema_takes_is_what_the_wire_takes(name: str) -> None:
    record = SUBJECTS.record(name)
    schema = json_schema(SUBJECTS)["$defs"][name]
    taken = jsonschema.Draft202012Validator(schema)
    event = {one: usual(column) for one, column in record.columns.items()} | {"symbol": "A"}
    assert taken.is_valid(event)
    assert is_taken(event, name)
    tried = [{key: value for key, value in event.items() if key != left} for left in event]
    tried += [
        {**event, one: value} for one, column in record.columns.items() for value in odd(column)
    ]
    tried += [{**event, "symbol": value} for value in ("", "A" * 200, 7)]
    tried.append({**event, "unheard_of": 1})
    differ = [one for one in tried if taken.is_valid(one) != is_taken(one, name)]
    assert differ == []


def test_asyncapi_names_every_subject_and_who_reads_and_writes_it(subjects: Subjects) -> None:
    plan = load_plan(ROOT / "functions", subjects)
    told = asyncapi(plan, subjects, "1")
    assert {
        one["address"].removesuffix(".{partition}") for one in told["channels"].values()
    } == set(subjects.subjects)
    reads = {
        (one["tags"][0]["name"], one["channel"]["$ref"].rpartition("/")[2])
        for one in told["operations"].values()
        if one["action"] == "receive"
    }
    assert reads == {
        (one.name, base.replace(".", "_")) for one in plan.functions for base in one.reads
    }
    text = json.dumps(told)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "#/')[1:]}:
        place: Any = told
        for key in reference.split("/"):
            place = place[key]


def test_a_frame_has_the_keys_that_asyncapi_says() -> None:
    told = asyncapi(load_plan(ROOT / "functions", SUBJECTS), SUBJECTS, "1")
    for name in SUBJECTS.records:
        record = SUBJECTS.record(name)
        event = {one: usual(column) for one, column in record.columns.items()}
        data = encode(decode(json.dumps(event).encode(), record, "A"), record)
        known = told["components"]["schemas"][f"{name}_frame"]
        assert set(msgpack.unpackb(data)) <= set(known["properties"]), name
        assert set(known["required"]) <= set(msgpack.unpackb(data)), name
        assert event_schema(record) == told["components"]["schemas"][name]
