"""Events as lines for people: when, who, and the columns that say something."""

from __future__ import annotations

import math
from typing import Any

from runtime.shapes import rfc3339

TEXT_MAX = 60  # letters of a text column


def line(event: dict[str, Any]) -> str:
    """An event of plain values, symbol and time first; what is absent is left out."""
    rest = {name: value for name, value in event.items() if name not in ("symbol", "ts_ns")}
    head = rfc3339(event["ts_ns"])[:23].replace("T", " ") if event.get("ts_ns") else ""
    symbol = str(event.get("symbol", ""))
    told = " ".join(
        f"{name}={shown(value)}" for name, value in rest.items() if not _is_absent(value)
    )
    return "  ".join(
        part for part in (head, symbol.ljust(8) if symbol else "", told) if part
    ).rstrip()


def shown(value: Any) -> str:
    """A value in a few letters."""
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value)
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 3] + "..."


def _is_absent(value: Any) -> bool:
    return (isinstance(value, float) and math.isnan(value)) or value == ""
