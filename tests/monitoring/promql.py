"""What a PromQL query speaks of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser as parser

from tests.monitoring.names import series

ADDED = {"job", "instance"}  # by Prometheus
FROM_PROMETHEUS = {"up", "ALERTS", "process_resident_memory_bytes", "process_cpu_seconds_total"}
RANGES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}  # what Grafana puts in


def selectors(query: str) -> Iterator[tuple[str, set[str]]]:
    """Every series' name and the labels that it is matched or grouped by; raises ValueError."""
    for name, found in RANGES.items():
        query = query.replace(name, found)
    yield from _selected(parser.parse(re.sub(r"\$\w+", ".*", query)))


def _selected(node: Any) -> Iterator[tuple[str, set[str]]]:
    if isinstance(node, parser.VectorSelector):
        yield node.name or "", {one.name for one in node.matchers.matchers}
    elif isinstance(node, parser.MatrixSelector):
        yield from _selected(node.vector_selector)
    elif isinstance(node, parser.BinaryExpr):
        yield from _selected(node.lhs)
        yield from _selected(node.rhs)
    elif isinstance(node, parser.Call):
        for argument in node.args:
            yield from _selected(argument)
    elif isinstance(node, parser.AggregateExpr):
        by = re.fullmatch(r"by \((.*)\)", str(node.modifier))
        grouped = {one.strip() for one in by[1].split(",")} if by else set()
        for name, labels in _selected(node.expr):
            yield name, labels | grouped
    elif isinstance(node, parser.ParenExpr | parser.UnaryExpr | parser.SubqueryExpr):
        yield from _selected(node.expr)


def faults(query: str, recorded: set[str]) -> list[str]:
    """What a query speaks of that nobody exports."""
    known = series()
    found = []
    for name, labels in selectors(query):
        if name in recorded or name in FROM_PROMETHEUS:
            continue
        if name not in known:
            found.append(f"{name} is not exported")
        elif not labels <= known[name] | ADDED:
            found.append(f"{name} has no label {', '.join(labels - known[name] - ADDED)}")
    return found
