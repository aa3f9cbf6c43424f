"""Reference data into its tables, and out of them: columns by name; a bad row costs only itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from runtime.store import BadRow, Store
from runtime.tables import read_columns

BATCH = 10_000
DAY_ONE = date.min  # asyncpg's word for -infinity


@dataclass(frozen=True)
class Table:
    """A table of reference data: its key, its other columns, and the one that is always told anew."""

    key: tuple[str, ...]
    others: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    times: tuple[str, ...] = ()

    replaced_by: str = ""  # rows of an asked time are those that are told, and no others

    @property
    def columns(self) -> tuple[str, ...]:
        return self.key + self.others

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that every row has to have."""
        return tuple(name for name in self.key if name not in ("id", "active_from"))


DAILY = ("open", "high", "low", "close", "volume", "factor")
TABLES = {
    "symbols": Table(
        ("symbol", "active_from"),
        ("active_to", "name", "exchange", "type"),
        days=("active_from", "active_to"),
    ),
    "splits": Table(("symbol", "day"), ("factor",), ("factor",), ("day",), replaced_by="day"),
    "renames": Table(("symbol", "day"), ("new_symbol",), days=("day",), replaced_by="day"),
    "fundamentals": Table(
        ("symbol", "name", "known_at"), ("value",), ("value",), times=("known_at",)
    ),
    "earnings": Table(("symbol", "timestamp"), times=("timestamp",), replaced_by="timestamp"),
    "news_times": Table(("symbol", "timestamp", "id"), times=("timestamp",)),
    "daily_bars": Table(("symbol", "day"), DAILY, DAILY, ("day",)),
}


@dataclass(frozen=True)
class Loaded:
    """What became of a file: rows written or there already, and the rows left out, counted from 1."""

    table: str
    rows: int
    bad: tuple[BadRow, ...]


async def load(store: Store, table: str, file: Path) -> Loaded:
    """Write a CSV or Parquet file into a table of TABLES; the same file again changes nothing.

    A column that the file lacks is left as the table has it. Raises TableError for a file that cannot
    be read or lacks a column of the key, Outage where the database is away.
    """
    shape = TABLES[table]
    return await write(store, table, read_columns(file, [*shape.needed]))


async def write(store: Store, table: str, columns: dict[str, list[Any]]) -> Loaded:
    """Write columns into a table of TABLES, as `load` does."""
    shape = TABLES[table]
    chosen = [name for name in shape.columns if name in columns or name in shape.key]
    size = len(columns["symbol"])
    given = {name: columns.get(name, [None] * size) for name in chosen}
    bad, good = _sorted_out(shape, given, size)
    for start in range(0, len(good), BATCH):
        bad += await _written(store, table, shape, chosen, good[start : start + BATCH])
    return Loaded(table, size - len(bad), tuple(sorted(bad, key=lambda one: one.place)))


def _sorted_out(
    shape: Table, given: dict[str, list[Any]], size: int
) -> tuple[list[BadRow], list[tuple[int, tuple[Any, ...]]]]:
    """The rows whose values have their types, with their numbers, and those that have not."""
    bad, good = [], []
    for place in range(size):
        try:
            values = tuple(_value(shape, name, given[name][place]) for name in given)
        except (TypeError, ValueError) as error:
            bad.append(BadRow(place + 1, str(error)))
            continue
        good.append((place + 1, values))
    return bad, good


def _value(shape: Table, name: str, value: Any) -> Any:
    """A value as the driver wants it; empty text is none."""
    if value is None or value == "":
        return {"active_from": DAY_ONE, "id": ""}.get(name)
    if name in shape.numbers:
        return float(value)
    if name in shape.days:
        return value if type(value) is date else date.fromisoformat(str(value)[:10])
    if name in shape.times:
        return _time(value)
    return str(value)


def _time(value: Any) -> datetime:
    """Nanoseconds since 1970, or a time in ISO 8601; without an offset it is UTC."""
    if isinstance(value, int):
        return datetime.fromtimestamp(value / 1e9, UTC)
    told = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return told if told.tzinfo else told.replace(tzinfo=UTC)


async def _written(
    store: Store,
    table: str,
    shape: Table,
    chosen: list[str],
    rows: list[tuple[int, tuple[Any, ...]]],
) -> list[BadRow]:
    columns = {name: [values[k] for _, values in rows] for k, name in enumerate(chosen)}
    if table == "news_times":
        moments = columns["timestamp"]
        await store.execute("SELECT make_room($1, $2)", table, [one for one in moments if one])
    # Of equal keys the row told last stays: a key's own last column is never smaller than itself.
    newest = shape.key[-1] if len(chosen) > len(shape.key) else ""
    found = await store.upsert(table, columns, shape.key, newest)
    return [BadRow(rows[one.place][0], one.reason) for one in found]


async def forget(
    store: Store, table: str, since: Any, until: Any, symbols: list[str], kept: dict[str, list[Any]]
) -> None:
    """Delete the rows from `since` to `until`, of these symbols (none: of all), that are not among `kept`.

    Only of tables with `replaced_by`: earnings that were moved are not held twice.
    """
    moment = TABLES[table].replaced_by
    kind = "date" if moment in TABLES[table].days else "timestamptz"
    await store.execute(
        f"""
        DELETE FROM {table} AS old
        WHERE {moment} BETWEEN $1 AND $2 AND (cardinality($3::text[]) = 0 OR symbol = ANY ($3))
          AND NOT EXISTS (
            SELECT 1 FROM unnest($4::text[], $5::{kind}[]) AS told(symbol, moment)
            WHERE told.symbol = old.symbol AND told.moment = old.{moment})
        """,  # noqa: S608 - names of TABLES, no values
        since,
        until,
        symbols,
        kept["symbol"],
        kept[moment],
    )


async def read(store: Store, table: str, since: date, until: date) -> dict[str, list[Any]]:
    """The columns of a table of TABLES; of daily bars and news those from `since` on and before `until`."""
    shape = TABLES[table]
    moment = {"daily_bars": "day", "news_times": "timestamp"}.get(table)
    names = [name for name in shape.columns if name != "active_from"]
    statement = f"SELECT {', '.join(names)} FROM {table}"  # noqa: S608 - names of TABLES
    values: list[Any] = []
    if moment:
        statement += f" WHERE {moment} >= $1 AND {moment} < $2"
        values = [since, until] if moment in shape.days else [_midnight(since), _midnight(until)]
    elif table == "symbols":
        statement += " WHERE active_to IS NULL"
    rows = await store.fetch(statement, *values)
    return {name: [row[name] for row in rows] for name in names}


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
