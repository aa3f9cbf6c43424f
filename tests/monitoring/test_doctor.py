"""The doctor on a real deployment that is well, and on the same with one thing after the other broken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from click.testing import CliRunner

from runtime.cli import main
from runtime.config import Settings
from runtime.doctor import FAIL, OK, WARN, Addresses, Finding, engine, examine, feeds, streams
from runtime.doctor.findings import Patient
from runtime.feed_health import LOST, STANDBY, Health, keep_told, starting
from runtime.feed_health import OK as GOOD
from runtime.frames import Frame, encode
from runtime.loader import load_plan
from runtime.store import Store
from runtime.subjects import Subjects
from tests.conftest import ROOT, Nats
from tests.gateway.running import running
from tests.monitoring.test_probe import worker

T0 = 1_767_623_400_000_000_000


@dataclass
class Ward:
    """A deployment, and how its feed is."""

    patient: Patient
    nats: Nats
    feed: Health = field(default_factory=lambda: starting("alpaca"))

    async def find(self, check: str) -> list[Finding]:
        told = await examine(self.patient.addresses, self.patient.subjects, self.patient.plan)
        return [one for one in told if one.check == check]

    async def all(self) -> list[Finding]:
        return await examine(self.patient.addresses, self.patient.subjects, self.patient.plan)


async def tell(nats: Nats, subjects: Subjects) -> None:
    """A clock event and a trade, now."""
    clock = Frame({"ts_ns": np.array([T0])})
    await nats.bus.put("ticks.clock.3", encode(clock, subjects.record_of("ticks.clock")))
    columns = {"ts_ns": np.array([T0]), "price": np.array([5.0]), "size": np.array([1.0])}
    frame = Frame(columns, ["AAPL"], np.zeros(1, dtype=int), "test")
    await nats.bus.put("ticks.trades.3", encode(frame, subjects.record_of("ticks.trades")))


@pytest.fixture
async def ward(nats: Nats, subjects: Subjects, store: Store) -> AsyncIterator[Ward]:
    plan = load_plan(ROOT / "functions", subjects)
    plan = replace(plan, sinks=tuple(one for one in plan.sinks if not one.asks_for("store")))
    async with running(nats, subjects, Settings()) as gate, worker(nats, subjects):
        addresses = Addresses(
            nats.url, store._url, "", f"http://{gate.address}", str(nats.directory),
            str(ROOT / "migrations"),
        )  # fmt: skip
        patient = Patient(addresses, subjects, plan)
        patient.connected(nats.bus)
        one = Ward(patient, nats)
        one.feed = one.feed.becomes(GOOD)
        telling = asyncio.create_task(keep_told(nats.bus, lambda: [one.feed]))
        async with asyncio.timeout(30):
            while [found.state for found in await engine.units(patient)] != [OK]:
                await asyncio.sleep(0.1)
        yield one
        telling.cancel()


async def test_what_is_well_is_found_well_and_what_is_not_says_what_to_do(ward: Ward) -> None:
    patient, bus = ward.patient, ward.nats.bus
    told = await ward.all()
    unwell = [one for one in told if one.state != OK and one.check not in ("data", "disk")]
    slow = ("gateway", "jetstream", "database")  # on a busy machine
    assert [one for one in unwell if one.state == FAIL or one.check not in slow] == []
    checks = "nats jetstream clock streams room workers units lag feeds data functions database"
    assert {*checks.split(), "dead letters", "migrations", "redis", "gateway"} <= {
        one.check for one in told
    }

    async def one(found: list[Finding]) -> tuple[str, str, str]:
        (only,) = found
        return only.state, only.text, only.to_do

    ward.feed = ward.feed.becomes(LOST, "refused")
    feed_lost, letter = asyncio.create_task(feeds.feeds(patient)), b"{}"
    await bus.put("dead.breakout.3", letter)
    assert (await one(await streams.dead_letters(patient)))[:2] == (WARN, "1 are set aside")
    assert (await one(await feed_lost))[:2] == (FAIL, "alpaca is lost: refused")
    ward.feed = ward.feed.becomes(STANDBY)
    assert (await one(await feeds.feeds(patient)))[0] == WARN

    await bus.kv("functions").put("pause.market", b"")
    async with asyncio.timeout(10):
        while not any("is paused" in one.text for one in await engine.units(patient)):
            await asyncio.sleep(0.1)
    assert {one.to_do for one in await engine.units(patient)} == {"jetscan resume market"}

    await bus.api("STREAM.DELETE.KV_universe")
    assert await one(await streams.provisioned(patient)) == (
        FAIL, "KV_universe is not there", "jetscan provision",
    )  # fmt: skip


async def test_a_deployment_without_workers_or_clock_is_told_so(
    nats: Nats, subjects: Subjects
) -> None:
    plan = load_plan(ROOT / "functions", subjects)
    patient = Patient(Addresses(nats.url), subjects, plan)
    patient.connected(nats.bus)
    (workers,) = await engine.workers(patient)
    (units,) = await engine.units(patient)
    assert (workers.state, units.state) == (FAIL, FAIL)
    assert "alerts.all" in units.text
    lag = await engine.consumers(patient)
    assert {one.state for one in lag} == {WARN}
    assert len(lag) == sum(len(chain.partitions) for chain in plan.chains) + 1  # and notify
    assert [one.text for one in await feeds.data(patient)] == [
        "there never were clock", "there never were trades",
    ]  # fmt: skip
    await tell(nats, subjects)
    assert [one.state for one in await feeds.data(patient)] == [OK, OK]


def test_the_command_finds_nothing_there_and_says_so_in_both_ways(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JETSCAN_DATA_DIR", str(tmp_path_factory.mktemp("nothing")))
    monkeypatch.setenv("JETSCAN_PORT", "9")
    for name in ("NATS_URL", "DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(f"JETSCAN_{name}", raising=False)
    text = CliRunner().invoke(main, ["doctor"])
    assert text.exit_code == 1
    assert "fail  nats          no address" in text.output
    assert "-> set JETSCAN_NATS_URL" in text.output
    told = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)
    states = {one["check"]: one["state"] for one in told["findings"]}
    assert states["nats"] == states["gateway"] == "fail"
    assert states["functions"] == "ok"
    assert (told["ok"], told["counts"]["fail"]) == (False, 2)
