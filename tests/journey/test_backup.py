"""A system is backed up, restored into an empty one, and goes on: everything is there, and nothing is said twice."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.backup import MANIFEST, BackupError, back_up, restore
from runtime.bus import Bus
from runtime.config import Settings
from runtime.embedded import EmbeddedNats
from runtime.frames import Frame, encode
from runtime.loader import load_plan
from runtime.ownership import unit_key
from runtime.personal import erase, told
from runtime.provision import provision, wanted_streams
from runtime.store import Store
from runtime.subjects import load_subjects, partition_of
from runtime.worker import Worker
from tests.conftest import ROOT, database_in
from tests.exactly_once.chaos import differences

SUBJECTS = load_subjects(ROOT / "subjects.yaml")
T0 = 1_767_623_400_000_000_000
MINUTE_NS = 60_000_000_000
SYMBOLS = ["AAPL", "MSFT", "IBM", "SPY"]
RULE = {"id": "up", "name": "Up", "cooldown": 0, "when": "price > 10"}


def mute(_: str) -> None:
    """Nothing is told."""


async def trade(bus: Bus, minutes: range) -> None:
    """Trades of every symbol each minute, a clock event after them."""
    for minute in minutes:
        for place, symbol in enumerate(SYMBOLS):
            now = T0 + minute * MINUTE_NS + place
            columns = {"ts_ns": np.array([now]), "price": np.array([9.5 + (minute + place) % 3])}
            columns["size"] = np.array([100.0])
            frame = Frame(columns, [symbol], np.zeros(1, dtype=int), "test")
            partition = partition_of(symbol, SUBJECTS.partitions)
            data = encode(frame, SUBJECTS.record_of("ticks.trades"))
            await bus.put(f"ticks.trades.{partition}", data)
        clock = Frame({"ts_ns": np.array([T0 + (minute + 1) * MINUTE_NS])}, source="test")
        data = encode(clock, SUBJECTS.record_of("ticks.clock"))
        for partition in range(SUBJECTS.partitions):
            await bus.put(f"ticks.clock.{partition}", data)


async def rule(bus: Bus) -> None:
    columns: dict[str, Any] = {"version": np.array([1]), "body": np.empty(1, dtype=object)}
    columns["body"][0] = json.dumps({"rules": [RULE]})
    data = encode(Frame(columns, source="test"), SUBJECTS.record_of("control"))
    for partition in range(SUBJECTS.partitions):
        await bus.put(f"control.{partition}", data)


async def worked(url: str) -> None:
    """A worker answers everything there is, saves and hands over."""
    bus, control = await Bus.connect(url, "worker"), await Bus.connect(url, "control")
    settings = Settings(functions_dir=str(ROOT / "functions"), snapshot_interval_s=0.2)
    worker = Worker(settings, SUBJECTS, bus, control)
    work = asyncio.create_task(worker.run())
    plan = load_plan(ROOT / "functions", SUBJECTS)
    units = [(one, part) for one in plan.chains for part in one.partitions]
    try:
        async with asyncio.timeout(60):
            while not all([await answered(control, one, part) for one, part in units]):
                await asyncio.sleep(0.05)
    finally:
        worker.stop()
        await work
        await bus.close()
        await control.close()


async def answered(bus: Bus, chain: Any, partition: int | None) -> bool:
    name = unit_key((chain.name, partition)).replace(".", "-")
    state = await bus.consumer_state(chain.stream, name)
    return state is not None and not state.pending and not state.unacknowledged


async def everything(bus: Bus, store: Store) -> dict[str, Any]:
    """Every message of every stream with its number, time and headers, and every row."""
    found: dict[str, Any] = {}
    for name in wanted_streams(SUBJECTS):
        state = await bus.stream_state(name)
        found[name] = [
            (one.sequence, one.subject, one.data, one.ts_ns, dict(one.headers))
            async for one in bus.read_to(name, [">"], 1, state.last)
        ]
    tables = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    for table in [row["name"] for row in await store.fetch(tables)]:
        rows = await store.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t ORDER BY 1")
        found[table] = [row["row"] for row in rows]
    return found


class System:
    """A server and a database."""

    def __init__(self, server: EmbeddedNats, bus: Bus, database: str) -> None:
        self.server, self.bus, self.database = server, bus, database
        self.store = Store(database, connections_max=2)

    @classmethod
    async def made(cls, folder: Path, database: str) -> System:
        server = await EmbeddedNats.start(folder)
        return cls(server, await Bus.connect(server.url, "test"), database)

    async def end(self) -> None:
        await self.store.close()
        await self.bus.close()
        await self.server.stop()


@pytest.fixture
async def filled(tmp_path: Path, postgres: str, template: str) -> AsyncIterator[System]:
    """A system with a past: bars, alerts, state, a database."""
    system = await System.made(tmp_path / "one", await database_in(postgres, template))
    await provision(system.bus, SUBJECTS)
    await rule(system.bus)
    await trade(system.bus, range(4))
    await worked(system.server.url)
    await system.store.execute(
        "INSERT INTO bars_1m (symbol, timestamp, open, high, low, close, volume, vwap, count, revision) "
        "VALUES ('AAPL', '2026-01-05T14:30Z', 1, 2, 1, 2, 10, 1.5, 3, 0)"
    )
    yield system
    await system.end()


@pytest.fixture
async def empty(tmp_path: Path, postgres: str) -> AsyncIterator[System]:
    system = await System.made(tmp_path / "two", await database_in(postgres, "template0"))
    yield system
    await system.end()


async def test_what_is_restored_is_what_was_backed_up_and_goes_on_exactly_once(
    filled: System, empty: System, tmp_path: Path
) -> None:
    parts = await back_up(filled.bus, SUBJECTS, tmp_path / "backup", filled.database, mute)
    assert {"MARKET", "BARS", "ALERTS", "KV_snapshots", "database"} <= {one.name for one in parts}
    before = await everything(filled.bus, filled.store)
    assert len(before["ALERTS"]) > 3
    assert len(before["bars_1m"]) == 1
    assert len(before["toplist_configs"]) == 20
    await restore(empty.bus, SUBJECTS, tmp_path / "backup", empty.database, say=mute)
    assert await everything(empty.bus, empty.store) == before
    assert (await provision(empty.bus, SUBJECTS, dry_run=True)).changes == ()
    await trade(empty.bus, range(4, 8))
    await worked(empty.server.url)
    plan = load_plan(ROOT / "functions", SUBJECTS)
    chains = [one for one in plan.chains if one.stream == "MARKET"]
    assert await differences(empty.bus, SUBJECTS, chains) == []
    assert (await empty.bus.stream_state("BARS")).last > len(before["BARS"])


async def test_a_damaged_backup_changes_nothing(
    filled: System, empty: System, tmp_path: Path
) -> None:
    whole = tmp_path / "backup"
    await back_up(filled.bus, SUBJECTS, whole, "", mute)
    for name, harm, words in (
        ("flipped", lambda folder: _flip(folder / "MARKET.stream"), "is not what was backed up"),
        ("cut", lambda folder: _cut(folder / "BARS.stream"), "is not what was backed up"),
        ("gone", lambda folder: (folder / "ALERTS.stream").unlink(), "is not what was backed up"),
        ("newer", lambda folder: _change(folder, version=99), "expected version 1, found 99"),
        ("shared", lambda folder: _change(folder, partitions=3), "has 3 partitions"),
        ("strange", lambda folder: _change(folder, parts=[{"file": "../x"}]), "not one of ours"),
        ("half", lambda folder: (folder / MANIFEST).unlink(), "no whole backup"),
    ):
        folder = tmp_path / name
        shutil.copytree(whole, folder)
        harm(folder)
        with pytest.raises(BackupError, match=words):
            await restore(empty.bus, SUBJECTS, folder, "", say=mute)
        assert (await empty.bus.api("STREAM.NAMES"))["total"] == 0, name


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def _change(folder: Path, **more: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**manifest, **more}), encoding="utf-8")


async def test_a_system_that_holds_something_is_overwritten_only_where_that_is_said(
    filled: System, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    await back_up(filled.bus, SUBJECTS, folder, filled.database, mute)
    with pytest.raises(BackupError, match="expected a new or empty folder"):
        await back_up(filled.bus, SUBJECTS, folder, "", mute)
    before = await everything(filled.bus, filled.store)
    await trade(filled.bus, range(9, 10))
    await filled.store.execute("DELETE FROM bars_1m")
    with pytest.raises(BackupError, match="restore into an empty system, or --overwrite"):
        await restore(filled.bus, SUBJECTS, folder, filled.database, say=mute)
    await restore(filled.bus, SUBJECTS, folder, filled.database, overwrite=True, say=mute)
    assert await everything(filled.bus, filled.store) == before


async def test_a_database_that_cannot_be_reached_costs_no_stream(
    filled: System, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    await back_up(filled.bus, SUBJECTS, folder, filled.database, mute)
    before = await everything(filled.bus, filled.store)
    nowhere = "postgresql://postgres@127.0.0.1:1/none"
    with pytest.raises(BackupError, match="psql"):
        await restore(filled.bus, SUBJECTS, folder, nowhere, overwrite=True, say=mute)
    assert await everything(filled.bus, filled.store) == before


async def test_nothing_is_restored_under_running_workers(filled: System, tmp_path: Path) -> None:
    await back_up(filled.bus, SUBJECTS, tmp_path / "backup", "", mute)
    answering = await filled.bus.respond("runtime.status", lambda _: b"{}")
    with pytest.raises(BackupError, match="workers are running; stop them all"):
        await restore(filled.bus, SUBJECTS, tmp_path / "backup", "", overwrite=True, say=mute)
    await answering.stop()


async def test_a_person_is_told_whole_without_secrets_and_erased_without_a_trace(
    filled: System,
) -> None:
    bus, store = filled.bus, filled.store
    await store.execute("INSERT INTO users (id, password_hash) VALUES ('ann', 'argon')")
    await store.execute("INSERT INTO watchlists (user_id, id, name) VALUES ('ann', 'mine', 'Mine')")
    await store.execute("INSERT INTO watchlists (user_id, id, name) VALUES ('bob', 'his', 'His')")
    await bus.kv("channels").put("ann.hook", b'{"kind": "webhook", "secret": "hush"}')
    await bus.kv("channels").put("anna.hook", b'{"kind": "webhook", "secret": "other"}')
    await bus.kv("rules").put("r1", b'{"id": "r1", "user_id": "ann"}')
    await bus.kv("rules").put("r2", b'{"id": "r2", "user_id": "bob"}')
    await bus.kv("profiles").put("ann", b"{}")
    found = await told(bus, store, "ann")
    assert set(found["database"]) == {"users", "watchlists"}
    assert found["buckets"]["rules"] == {"r1": {"id": "r1", "user_id": "ann"}}
    assert found["buckets"]["channels"]["ann.hook"]["secret"] == "(kept secret)"
    assert "argon" not in repr(found)
    assert await erase(bus, store, "ann") == {
        "rules": 1,
        "channels": 1,
        "profiles": 1,
        "watchlists": 1,
        "users": 1,
    }
    after = await told(bus, store, "ann")
    assert after["database"] == {}
    assert not any(after["buckets"].values())
    assert await erase(bus, store, "ann") == {}
    assert "his" in repr(await told(bus, store, "bob"))
    assert list(await bus.kv("channels").all()) == ["anna.hook"]
