"""Changes noted: who did what, also while the database is away; and what every answer carries."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime import telemetry
from runtime.config import Settings
from runtime.gateway import account_command, audit
from runtime.gateway.audit import Audit
from runtime.gateway.guard import SECURITY_HEADERS
from runtime.store import Outage, Store
from runtime.subjects import Subjects
from tests.conftest import Nats
from tests.gateway.running import PASSWORD, SECRET, Gate, bearer, running

ROWS = "SELECT user_id, action, target, detail FROM audit_log ORDER BY timestamp, id"


@pytest.fixture
async def gate(nats: Nats, subjects: Subjects, store: Store, tmp_path: Path) -> AsyncIterator[Gate]:
    await account_command.added(store, "ann", "Ann", "", True, PASSWORD)
    settings = Settings(
        mode="production",
        jwt_secret=SECRET,
        database_url=store._url,
        data_dir=str(tmp_path),
        public_url="https://jetscan.example",
    )
    async with running(nats, subjects, settings) as one:
        await one.gateway.directory.read()
        yield one


async def test_every_change_is_listed_for_admins_with_its_origin(gate: Gate) -> None:
    headers = bearer((await gate.login("ann"))["access_token"])
    made = {"user_id": "bob", "password": PASSWORD}
    marked = {**headers, "X-Request-Id": "mine-1"}
    await gate.http.post("/api/v1/admin/users", json=made, headers=marked)
    wrong = {"user_id": "bob", "password": "wrong password"}
    await gate.http.post("/api/v1/auth/login", json=wrong)
    await gate.gateway.audit.flush()
    path = "/api/v1/admin/audit"
    told = (await gate.http.get(path, headers=headers)).json()
    assert [(one["user_id"], one["action"], one["target"]) for one in told["entries"][:2]] == [
        ("bob", "auth.refused", "bob"),
        ("ann", "user.create", "bob"),
    ]
    made_row = told["entries"][1]
    assert made_row["detail"] == {"roles": ["trader"]}
    assert (made_row["address"], made_row["request_id"]) == ("127.0.0.1", "mine-1")
    assert made_row["timestamp"].endswith("Z")
    assert PASSWORD not in json.dumps(told)
    some = (await gate.http.get(f"{path}?action=auth.&user_id=bob", headers=headers)).json()
    assert [one["action"] for one in some["entries"]] == ["auth.refused"]
    late = f"{path}?start_time={made_row['timestamp']}&limit=1&offset=1"
    assert (await gate.http.get(late, headers=headers)).json()["entries"] == [made_row]
    assert (await gate.http.get(f"{path}?start_time=now", headers=headers)).status_code == 400
    assert (await gate.http.get(f"{path}?limit=0", headers=headers)).status_code == 400


async def test_rows_wait_for_a_database_that_is_away_and_are_written_once(store: Store) -> None:
    away = Audit(Store("postgresql://postgres@/postgres?host=%2Fnowhere"))
    await away.note("ann", "rule.update", "r1", {"version": 3})
    await away.note("ann", "rule.update", "r\0x", {"text": "\0"})
    await away.note("bob", "rule.delete", "r1")
    await away.flush()
    assert len(away._waiting) == 3
    lost = telemetry.AUDIT_LOST._value.get()
    away._store = store
    await away.flush()
    away._waiting.extendleft([])
    await away.flush()
    rows = await store.fetch(ROWS)
    assert [(row["user_id"], row["action"], row["target"]) for row in rows] == [
        ("ann", "rule.update", "r1"),
        ("bob", "rule.delete", "r1"),
    ]
    assert json.loads(rows[0]["detail"]) == {"version": 3}
    assert telemetry.AUDIT_LOST._value.get() == lost + 1  # a text that no database takes
    (place,) = await store.fetch("SELECT DISTINCT tableoid::regclass::text AS name FROM audit_log")
    assert place["name"] != "audit_log_other"


async def test_what_waits_has_a_limit_and_what_is_beyond_it_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "WAITING_MAX", 2)
    one = Audit(Store("postgresql://postgres@/postgres?host=%2Fnowhere"))
    lost = telemetry.AUDIT_LOST._value.get()
    for k in range(5):
        await one.note("ann", "rule.update", str(k))
    assert len(one._waiting) == 2
    assert telemetry.AUDIT_LOST._value.get() == lost + 3
    await one.close()
    assert telemetry.AUDIT_LOST._value.get() == lost + 5


async def test_a_batch_whose_answer_was_lost_is_not_written_twice(store: Store) -> None:
    one = Audit(store)
    await one.note("ann", "rule.update", "r1")
    waiting = list(one._waiting)
    await one.flush()
    one._waiting.extend(waiting)
    await one.flush()
    assert len(await store.fetch(ROWS)) == 1


async def test_accounts_stay_known_while_the_database_is_away(gate: Gate) -> None:
    token = (await gate.login("ann"))["access_token"]
    store = gate.gateway.store
    assert store is not None
    url = store._url
    await store.close()
    store._url = "postgresql://postgres@/postgres?host=%2Fnowhere"
    with pytest.raises(Outage):
        await gate.gateway.directory.read()
    assert await gate.ask(token) == 200
    assert await gate.ask(token, "/api/v1/admin/audit") == 503
    body = {"user_id": "ann", "password": PASSWORD}
    assert (await gate.http.post("/api/v1/auth/login", json=body)).status_code == 503
    await store.close()
    store._url = url
    async with asyncio.timeout(10):
        while (await gate.http.post("/api/v1/auth/login", json=body)).status_code != 200:
            await asyncio.sleep(0.1)


# -- what every answer carries


async def test_an_answer_carries_its_id_and_strict_headers(gate: Gate) -> None:
    given = await gate.http.get("/api/v1/rules", headers={"X-Request-Id": "mine-2"})
    assert given.status_code == 401
    assert given.headers["x-request-id"] == "mine-2"
    assert given.json()["request_id"] == "mine-2"
    made = await gate.http.get("/health", headers={"X-Request-Id": "not one\t" + "x" * 200})
    assert len(made.headers["x-request-id"]) == 32
    page = await gate.http.get("/")
    for name, value in SECURITY_HEADERS.items():
        assert page.headers[name] == value
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "connect-src 'self'" in policy
    assert "http:" not in policy
    assert page.headers["strict-transport-security"].startswith("max-age=")
    assert given.headers["cache-control"] == "private, no-cache"


async def test_big_answers_are_gzip_for_who_asks(gate: Gate) -> None:
    headers = bearer((await gate.login("ann"))["access_token"])
    path = "/api/v1/openapi.json"
    packed = await gate.http.get(path, headers={**headers, "Accept-Encoding": "gzip, br"})
    plain = await gate.http.get(path, headers={**headers, "Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert "Accept-Encoding" in packed.headers["vary"]
    assert "Accept-Encoding" in plain.headers["vary"]
    small = await gate.http.get("/health", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in small.headers
    async with gate.http.stream("GET", path, headers={**headers, "Accept-Encoding": "gzip"}) as raw:
        body = b"".join([piece async for piece in raw.aiter_raw()])
    assert json.loads(gzip.decompress(body)) == plain.json()
