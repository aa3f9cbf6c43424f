"""What was said, held against a file that a person has read once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.frames import Frame

TOLD_LINES = 12  # of a difference


def lines_of(said: Mapping[str, Frame]) -> list[str]:
    """Every event of every subject as a line of JSON: subject, symbol, then its columns."""
    return [
        json.dumps({"subject": base, **event}, default=str)
        for base, frame in said.items()
        for event in events_of(frame)
    ]


def events_of(frame: Frame) -> list[dict[str, Any]]:
    """The events of a frame as plain values, symbol first."""
    columns = {"symbol": frame["symbol"].tolist()} if "symbol" in frame else {}
    columns |= {name: values.tolist() for name, values in frame.columns.items() if name != "row"}
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def golden(said: Mapping[str, Frame], file: str | Path) -> None:
    """Fail unless `said` is what `file` holds, line for line.

    Where there is no file it is written, and the test fails once: read it, keep it beside the test. To
    take over an intended change, delete the file and run the test again.
    """
    path, found = Path(file), lines_of(said)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
        raise AssertionError(f"{path} was written: read it, and run the test again")
    expected = path.read_text(encoding="utf-8").splitlines()
    if found != expected:
        raise AssertionError(f"{path}: {_difference(expected, found)}")


def _difference(expected: list[str], found: list[str]) -> str:
    from difflib import unified_diff

    told = list(unified_diff(expected, found, "expected", "found", lineterm="", n=1))
    left = f"\n... {len(told) - TOLD_LINES} lines more" if len(told) > TOLD_LINES else ""
    return (
        "\n".join([f"expected {len(expected)} lines, found {len(found)}", *told[:TOLD_LINES]])
        + left
    )
