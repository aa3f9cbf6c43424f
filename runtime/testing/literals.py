"""Events as people write them: a table of text becomes columns.

time         symbol  price  size
09:30:00     A       10.00  100
09:30:00.5   B       50.00  200
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

DAY = "2026-01-05"  # a Monday with a whole session
ZONE = ZoneInfo("America/New_York")
TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")
CELL = re.compile(r'"[^"]*"|\S+')
SECOND_NS = 1_000_000_000


class LiteralError(ValueError):
    """A table that cannot be read; the text names its line."""


def ns(time: str, day: str = DAY) -> int:
    """The time of day in New York, `09:30:00` to `09:30:00.123456789`, of a day, as ns since 1970."""
    found = TIME.fullmatch(time)
    if found is None:
        raise LiteralError(f"expected a time such as 09:30:00 or 09:30:00.25, found {time!r}")
    whole = date.fromisoformat(day)
    hour, minute, second = int(found[1]), int(found[2]), int(found[3])
    try:
        moment = datetime(whole.year, whole.month, whole.day, hour, minute, second, tzinfo=ZONE)
    except ValueError as error:
        raise LiteralError(f"{time}: {error}") from error
    return int(moment.timestamp()) * SECOND_NS + int((found[4] or "0").ljust(9, "0"))


def columns_of(table: str, day: str = DAY) -> dict[str, list[Any]]:
    """The columns of a table: a line of names, a line for each event; `time` becomes `ts_ns`.

    A cell is a number, or else a text; one with blanks stands in double quotes.
    """
    lines = [line for line in table.splitlines() if line.strip()]
    if len(lines) < 2:
        raise LiteralError("expected a line of column names and a line for each event")
    names = lines[0].split()
    columns: dict[str, list[Any]] = {"ts_ns" if name == "time" else name: [] for name in names}
    if len(columns) != len(names):
        raise LiteralError(f"{lines[0].strip()}: expected each column once, `time` or `ts_ns`")
    for number, line in enumerate(lines[1:], 1):
        cells = CELL.findall(line)
        if len(cells) != len(names):
            told = f"event {number}: expected {len(names)} cells ({' '.join(names)})"
            raise LiteralError(f"{told}, found {len(cells)}: {line.strip()}")
        for name, cell in zip(names, cells, strict=True):
            column = "ts_ns" if name == "time" else name
            columns[column].append(_value(name, cell, day))
    return columns


def _value(name: str, cell: str, day: str) -> Any:
    if name == "time":
        return ns(cell, day)
    if name == "symbol" or cell.startswith('"'):
        return cell.strip('"')
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell
