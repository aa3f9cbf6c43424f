"""`jetscan migrate` and `jetscan outcomes` on a real database, and what says that there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from functions.outcomes import open_outcomes
from runtime.cli import main
from runtime.store import Store
from tests.conftest import database_in
from tests.functions.test_outcomes import SETTINGS, alert, alert_frame, bar, feed


def ran(*arguments: str, **environment: str) -> Result:
    known = {f"JETSCAN_{name.upper()}": value for name, value in environment.items()}
    return CliRunner().invoke(main, list(arguments), env=known)


@pytest.fixture
async def new(postgres: str) -> str:
    return await database_in(postgres)


def test_migrate_says_what_is_due_then_does_it_once(new: str) -> None:
    due = json.loads(ran("migrate", "--dry-run", "--json", database_url=new).output)
    assert [row["state"] for row in due] == ["pending"] * len(due)
    done = json.loads(ran("migrate", "--json", database_url=new).output)
    assert [row["number"] for row in done] == [row["number"] for row in due]
    assert json.loads(ran("migrate", "--json", database_url=new).output) == []
    status = ran("migrate", "--status", database_url=new).output
    assert "time_tables" in status
    assert "applied" in status


@pytest.fixture
async def judged(postgres: str, template: str) -> str:
    """The address of a database with alerts of two rules."""
    url = await database_in(postgres, template)
    store = Store(url)
    alerts = [{**alert(0), "id": name, "rule_id": name} for name in ("r1", "r2")]
    await open_outcomes(alert_frame(alerts), store, SETTINGS)
    await feed(store, [bar(0, 101.0), bar(395, 102.0)])
    await store.close()
    return url


def test_outcomes_are_told_by_rule_or_of_one(judged: str) -> None:
    rows = json.loads(ran("outcomes", "--json", database_url=judged).output)
    assert [row["rule_id"] for row in rows] == ["r1", "r2"]
    (row,) = json.loads(ran("outcomes", "--rule", "r2", "--json", database_url=judged).output)
    assert (row["rule_id"], row["alerts"], row["hits_1m_pct"]) == ("r2", 1, 100.0)
    assert row["mean_1m_pct"] == pytest.approx(1.0)
    shown = ran("outcomes", "--rule", "r2", database_url=judged).output.splitlines()
    assert shown[1].split()[:6] == ["r2", "1", "1", "100.00", "1.00", "1.00"]


def test_without_a_database_the_command_says_how_to_name_one(tmp_path: Path) -> None:
    result = ran("outcomes", data_dir=str(tmp_path))
    assert result.exit_code == 1
    assert "no database: JETSCAN_DATABASE_URL is not set" in result.output


def test_a_database_that_is_away_ends_the_command_with_the_reason() -> None:
    result = ran("migrate", database_url="postgresql://postgres@/postgres?host=%2Fnowhere")
    assert result.exit_code == 1
    assert "PostgreSQL cannot be reached" in result.output


def test_an_address_that_is_none_is_refused_and_a_password_is_not_shown() -> None:
    result = ran("settings", database_url="db.example")
    assert result.exit_code == 2
    assert "JETSCAN_DATABASE_URL: expected postgresql://USER:PASSWORD@HOST/NAME" in result.output
    shown = ran("settings", database_url="postgresql://jetscan:secret@db.example/jetscan").output
    assert "postgresql://jetscan:***@db.example/jetscan" in shown


@pytest.fixture
async def empty(postgres: str, template: str) -> str:
    return await database_in(postgres, template)


def test_reference_files_are_loaded_and_rows_left_out_are_told(empty: str, tmp_path: Path) -> None:
    file = tmp_path / "splits.csv"
    file.write_text("symbol,day,factor\nA,2026-01-05,0.5\nB,someday,1\n", encoding="utf-8")
    result = ran("reference", "load", "splits", str(file), database_url=empty)
    assert result.exit_code == 1
    assert "row 2:" in result.output
    assert "splits: 1 rows taken, 1 left out" in result.output
    good = ran("reference", "load", "splits", str(file), "--json", database_url=empty)
    assert json.loads(good.output.splitlines()[-1])["rows"] == 1
    unknown = ran("reference", "load", "spliz", str(file), database_url=empty)
    assert unknown.exit_code == 2
    assert "splits" in unknown.output
