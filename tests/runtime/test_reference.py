"""Reference files into their tables: by name, again, and with rows that are none."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from runtime.reference import TABLES, load
from runtime.store import Store
from runtime.tables import TableError

DAYS = "symbol,day,factor\nA,2026-01-05,0.5\nB,2026-01-06,0.1\n"


def written(folder: Path, text: str) -> Path:
    file = folder / "told.csv"
    file.write_text(text, encoding="utf-8")
    return file


async def test_every_table_of_reference_data_has_the_columns_that_are_loaded(store: Store) -> None:
    for name, table in TABLES.items():
        rows = await store.fetch(
            "SELECT column_name AS name FROM information_schema.columns WHERE table_name = $1", name
        )
        assert set(table.columns) <= {row["name"] for row in rows}, name


async def test_the_same_file_again_changes_nothing_and_a_new_value_replaces_the_old(
    store: Store, tmp_path: Path
) -> None:
    for text, factor in ((DAYS, 0.5), (DAYS, 0.5), (DAYS.replace("0.5", "0.25"), 0.25)):
        assert (await load(store, "splits", written(tmp_path, text))).rows == 2
        rows = await store.fetch("SELECT * FROM splits ORDER BY symbol")
        assert [row["factor"] for row in rows] == [factor, 0.1]


async def test_a_bad_row_costs_only_itself_and_is_told_by_its_number(
    store: Store, tmp_path: Path
) -> None:
    text = DAYS + "C,someday,0.5\nD,2026-01-07,-1\n,2026-01-07,1\nE,2026-01-07,2\n"
    loaded = await load(store, "splits", written(tmp_path, text))
    assert [row.place for row in loaded.bad] == [3, 4, 5]
    rows = await store.fetch("SELECT symbol FROM splits ORDER BY symbol")
    assert [row["symbol"] for row in rows] == ["A", "B", "E"]


async def test_a_symbol_without_days_was_always_there(store: Store, tmp_path: Path) -> None:
    text = "symbol,name,active_from,active_to\nA,Alpha,,\nB,Old,2001-01-02,2009-12-31\n"
    assert (await load(store, "symbols", written(tmp_path, text))).bad == ()
    rows = await store.fetch("SELECT * FROM symbols ORDER BY symbol")
    assert [row["active_from"] for row in rows] == [date.min, date(2001, 1, 2)]
    assert rows[1]["active_to"] == date(2009, 12, 31)


async def test_times_of_news_are_whole_nanoseconds_or_iso_8601_in_utc(
    store: Store, tmp_path: Path
) -> None:
    text = "symbol,timestamp\nA,1767625200000000000\nA,1767711600000000000\n"
    await load(store, "news_times", written(tmp_path, text))
    await load(store, "news_times", written(tmp_path, "symbol,timestamp\nA,2026-01-05T15:00:00\n"))
    rows = await store.fetch("SELECT timestamp FROM news_times ORDER BY 1")
    assert [row["timestamp"] for row in rows] == [
        datetime(2026, 1, 5, 15, tzinfo=UTC),
        datetime(2026, 1, 6, 15, tzinfo=UTC),
    ]


async def test_a_file_without_a_column_of_the_key_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="column day is missing"):
        await load(store, "splits", written(tmp_path, "symbol,factor\nA,0.5\n"))
