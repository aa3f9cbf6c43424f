"""`jetscan accounts` on a real database."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runtime.cli import main
from runtime.gateway.passwords import Passwords
from runtime.store import Store
from tests.conftest import database_in

PASSWORD = "correct horse battery"


def ran(url: str, *arguments: str, told: str = PASSWORD) -> Result:
    environment = {"JETSCAN_DATABASE_URL": url}
    return CliRunner().invoke(main, ["accounts", *arguments], env=environment, input=f"{told}\n")


@pytest.fixture
async def url(postgres: str, template: str) -> str:
    return await database_in(postgres, template)


def listed(url: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(ran(url, "list", "--json").output)
    return rows


def test_accounts_are_made_listed_and_removed_but_for_the_last_admin(url: str) -> None:
    made = ran(url, "add", "ann", "--admin", "--name", "Ann", "--password-stdin")
    assert made.exit_code == 0, made.output
    assert ran(url, "add", "bob", "--password-stdin").exit_code == 0
    assert [(one["user_id"], one["name"], one["roles"]) for one in listed(url)] == [
        ("ann", "Ann", ["admin", "trader"]),
        ("bob", "", ["trader"]),
    ]
    assert "bob is taken" in ran(url, "add", "bob", "--password-stdin").output
    assert "expected 1 to 64 letters" in ran(url, "add", "b b", "--password-stdin").output
    assert "12 to 1024" in ran(url, "add", "cat", "--password-stdin", told="short").output
    assert "last admin" in ran(url, "remove", "ann").output
    assert ran(url, "remove", "bob").exit_code == 0
    assert "User not found" in ran(url, "remove", "bob").output
    assert [one["user_id"] for one in listed(url)] == ["ann"]


def test_a_password_is_asked_for_twice_and_not_shown(url: str) -> None:
    made = ran(url, "add", "ann", told=f"{PASSWORD}\n{PASSWORD}")
    assert made.exit_code == 0, made.output
    assert PASSWORD not in made.output
    assert ran(url, "add", "bob", told=f"{PASSWORD}\nanother long one").exit_code != 0


async def test_a_new_password_replaces_the_old_and_is_audited(postgres: str, template: str) -> None:
    store = Store(await database_in(postgres, template))
    await asyncio.to_thread(ran, store._url, "add", "ann", "--password-stdin")
    new = "another long password"
    await asyncio.to_thread(ran, store._url, "password", "ann", "--password-stdin", told=new)
    (row,) = await store.fetch("SELECT password_hash, tokens_from FROM users")
    hasher = Passwords()
    assert await hasher.is_right(new, row["password_hash"])
    assert not await hasher.is_right(PASSWORD, row["password_hash"])
    hasher.close()
    assert row["tokens_from"] is not None
    actions = await store.fetch("SELECT action, user_id FROM audit_log ORDER BY timestamp")
    assert [one["action"] for one in actions] == ["user.create", "user.update"]
    await store.close()
