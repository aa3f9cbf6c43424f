"""A folder of `jetscan reference fetch`, as facts: what each of its tables says of symbols."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from runtime.tables import TableError, read_columns

DAY_NS = 86_400_000_000_000
RENAME, EARNINGS, EXCHANGE = "rename:", "earnings_ns", "exchange."
Fact = tuple[str, str, float, int]  # symbol, name, value, ts_ns


def facts_in(folder: Path) -> dict[str, Any]:
    """What the tables of a folder say, as `read_facts` has it; a table that is not there says nothing. Raises TableError."""
    facts: list[Fact] = []
    for table, (told, needed) in FACTS_OF.items():
        path = folder / f"{table}.parquet"
        if path.exists():
            try:
                facts += told(read_columns(path, ["symbol", *needed]))
            except (TypeError, ValueError, AttributeError) as error:
                if isinstance(error, TableError):
                    raise
                raise TableError(
                    f"{path}: expected symbol, {', '.join(needed)} with the types that "
                    f"`jetscan reference fetch` writes: {error}"
                ) from error
    columns = list(zip(*facts, strict=True)) or [(), (), (), ()]
    return {
        "symbol": list(columns[0]),
        "name": list(columns[1]),
        "value": np.array(columns[2], dtype=np.float64),
        "ts_ns": np.array(columns[3], dtype=np.int64),
    }


def _exchanges(rows: dict[str, Any]) -> list[Fact]:
    columns = (rows["symbol"], rows["exchange"])
    return [(one, EXCHANGE + name, 1.0, 0) for one, name in zip(*columns, strict=True) if name]


def _splits_of(rows: dict[str, Any]) -> list[Fact]:
    columns = (rows["symbol"], rows["factor"], rows["day"])
    return [(one, "split", factor, _ns(day)) for one, factor, day in zip(*columns, strict=True)]


def _renames_of(rows: dict[str, Any]) -> list[Fact]:
    columns = (rows["symbol"], rows["new_symbol"], rows["day"])
    return [(new, RENAME + old, 1.0, _ns(day)) for old, new, day in zip(*columns, strict=True)]


def _fundamentals(rows: dict[str, Any]) -> list[Fact]:
    columns = (rows["symbol"], rows["name"], rows["value"], rows["known_at"])
    return [(one, name, value, _ns(at)) for one, name, value, at in zip(*columns, strict=True)]


def _earnings(rows: dict[str, Any]) -> list[Fact]:
    """The next earnings of a symbol are known a day after the last ones: until then those are told."""
    facts, newest = [], dict[str, int]()
    for when, one in sorted(
        (_ns(at), one) for one, at in zip(rows["symbol"], rows["timestamp"], strict=True)
    ):
        known_ns = newest[one] + DAY_NS if one in newest else 0
        facts.append((one, EARNINGS, float(when), known_ns))
        newest[one] = when
    return facts


def _news(rows: dict[str, Any]) -> list[Fact]:
    times = map(_ns, rows["timestamp"])
    return [(one, "news_ns", float(at), at) for one, at in zip(rows["symbol"], times, strict=True)]


FACTS_OF: dict[str, tuple[Callable[[dict[str, Any]], list[Fact]], tuple[str, ...]]] = {
    "symbols": (_exchanges, ("exchange",)),
    "splits": (_splits_of, ("factor", "day")),
    "renames": (_renames_of, ("new_symbol", "day")),
    "fundamentals": (_fundamentals, ("name", "value", "known_at")),
    "earnings": (_earnings, ("timestamp",)),
    "news_times": (_news, ("timestamp",)),
}


def _ns(when: date) -> int:
    """A time, or 00:00 UTC of a day."""
    if not isinstance(when, datetime):
        return (when - date(1970, 1, 1)).days * DAY_NS
    moment = when.astimezone(UTC) if when.tzinfo else when
    return calendar.timegm(moment.timetuple()) * 1_000_000_000 + moment.microsecond * 1000
