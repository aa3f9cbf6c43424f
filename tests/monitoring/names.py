"""The metrics that the code exports, by name: what documents, rules and dashboards may speak of."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from runtime import telemetry

METRICS = {
    f"{one._name}_total" if one._type == "counter" else one._name: one
    for one in vars(telemetry).values()
    if isinstance(one, Counter | Gauge | Histogram)
}
ENDINGS = ("_bucket", "_sum", "_count")


def series() -> dict[str, frozenset[str]]:
    """Every series' name and its labels, `instance` and `job` aside, which Prometheus adds."""
    found: dict[str, frozenset[str]] = {}
    for name, metric in METRICS.items():
        labels = frozenset(metric._labelnames)
        if metric._type != "histogram":
            found[name] = labels
            continue
        for ending in ENDINGS:
            found[name + ending] = labels | ({"le"} if ending == "_bucket" else set())
    return found
