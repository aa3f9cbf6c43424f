"""Migrations: from nothing, again, at once, changed, dry."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from functions.history import INDICATORS
from functions.market.toplists import FALLING, LISTS
from functions.market.vocabulary import toplists
from runtime.migrate import MigrateError, Migration, load_migrations, migrate, status
from runtime.store import Store
from runtime.subjects import Subjects
from tests.conftest import ROOT

FILES = load_migrations(ROOT / "migrations")
METRICS = {
    ("change_pct", "1h"): "change_pct_60m",
    ("change_pct", "1d"): "change_from_close_pct",
    ("volume", "1h"): "volume_60m",
    ("volume", "1d"): "volume_daily",
    ("rsi", "1m"): "rsi_14",
    ("vwap_dist", "5m"): "vwap_dist_5m_pct",
}


async def tables(store: Store) -> set[str]:
    rows = await store.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {str(row["tablename"]) for row in rows}


async def test_an_empty_database_gets_everything_and_the_second_run_does_nothing(
    empty: str,
) -> None:
    store = Store(empty)
    try:
        steps = await migrate(store, FILES)
        assert [step.number for step in steps] == [one.number for one in FILES]
        assert await migrate(store, FILES) == []
        assert {
            *("bars_1m", "indicators", "daily_bars", "alert_history", "deliveries", "outcomes"),
            *("withdrawals", "rules", "toplist_configs", "time_tables", "migrations"),
        } <= await tables(store)
        states = {step.state for step in await status(store, FILES)}
        assert states <= {"applied", "skipped"}
    finally:
        await store.close()


async def test_a_dry_run_says_what_is_due_and_changes_nothing(empty: str) -> None:
    store = Store(empty)
    try:
        due = await migrate(store, FILES, dry_run=True)
        assert [step.state for step in due] == ["pending"] * len(FILES)
        assert await tables(store) == set()
        await migrate(store, FILES)
        assert await migrate(store, FILES, dry_run=True) == []
    finally:
        await store.close()


async def test_runners_at_once_apply_each_migration_once(empty: str) -> None:
    stores = [Store(empty) for _ in range(3)]
    try:
        done = await asyncio.gather(*(migrate(one, FILES) for one in stores))
        assert sorted(step.number for steps in done for step in steps) == [
            one.number for one in FILES
        ]
    finally:
        for one in stores:
            await one.close()


async def test_a_file_that_changed_after_it_was_applied_is_refused(store: Store) -> None:
    changed = [replace(FILES[0], text=FILES[0].text + "\n"), *FILES[1:]]
    with pytest.raises(
        MigrateError, match=r"001_time_tables was applied as .* write the change as"
    ):
        await migrate(store, changed)


async def test_a_database_of_a_newer_version_is_left_alone(store: Store) -> None:
    with pytest.raises(MigrateError, match=f"{FILES[-1].name}, which this version does not know"):
        await migrate(store, FILES[:-1])


async def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(store: Store) -> None:
    good = Migration(len(FILES) + 1, "good", "CREATE TABLE good (n int)")
    bad = Migration(
        len(FILES) + 2, "bad", "CREATE TABLE half (n int); SELECT nothing_like_this FROM half"
    )
    with pytest.raises((MigrateError, RuntimeError), match="nothing_like_this"):
        await migrate(store, [*FILES, good, bad])
    found = await tables(store)
    assert "good" in found
    assert "half" not in found
    assert [one.state for one in await status(store, [*FILES, good, bad])][-2:] == [
        "applied",
        "pending",
    ]


def test_numbers_have_no_gap_and_names_are_plain(tmp_path: Path) -> None:
    (tmp_path / "002_second.sql").write_text("SELECT 1")
    with pytest.raises(MigrateError, match=r"numbered from 001, found \[2\]"):
        load_migrations(tmp_path)
    (tmp_path / "first.sql").write_text("SELECT 1")
    with pytest.raises(MigrateError, match=r"first\.sql: expected a name such as 001_bars\.sql"):
        load_migrations(tmp_path)


async def test_the_system_toplists_are_those_that_are_ranked(store: Store) -> None:
    rows = await store.fetch("SELECT * FROM toplist_configs WHERE user_id IS NULL")
    stored = {
        row["id"]: (
            METRICS.get(
                (row["metric"], row["time_window"]), f"{row['metric']}_{row['time_window']}"
            ),
            FALLING if row["sort_order"] == "desc" else not FALLING,
        )
        for row in rows
    }
    assert stored == LISTS
    titles = {row["id"]: row["name"] for row in rows}
    assert titles == {row["name"]: row["title"] for row in toplists()}


async def test_every_indicator_on_the_wire_has_a_column(store: Store, subjects: Subjects) -> None:
    rows = await store.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'indicators'"
    )
    wire = set(subjects.record_of("indicators").columns) - {"ts_ns"}
    assert {row["column_name"] for row in rows} == wire | {"symbol", "timestamp"}
    assert set(INDICATORS) == wire
