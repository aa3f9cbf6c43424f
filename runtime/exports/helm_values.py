"""What the Helm chart has to know of each Deployment of functions: what it hosts, what feeds it, what it asks for."""

from __future__ import annotations

from typing import Any

from runtime.exports.parts import Part, consumers_of, parts_of
from runtime.loader import Plan
from runtime.subjects import Subjects


def helm_values(plan: Plan, subjects: Subjects) -> dict[str, Any]:
    """Values for `functions:` of the chart, to be merged with its defaults."""
    streams = {base: one.stream or "" for base, one in subjects.subjects.items()}
    return {"functions": {part.name: _values(part, streams) for part in parts_of(plan)}}


def _values(part: Part, streams: dict[str, str]) -> dict[str, Any]:
    """
    partitions  as many replicas can work; 0: any number
    consumers   STREAM/DURABLE, of which the lag says how much waits
    database    a function asks for `store`
    outbound    a function sends requests or mail
    """
    fed = [f"{stream}/{name}" for stream, name in consumers_of(part, streams)]
    return {
        "hosts": part.hosts,
        "partitions": part.partitions,
        "consumers": fed,
        "database": part.asks_for("store"),
        "outbound": part.asks_for("http") or part.asks_for("outbound"),
    }
