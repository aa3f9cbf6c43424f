"""What users are told, and what reaches their webhook, while workers are killed, frozen, cut off and drained."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bus import Bus
from runtime.embedded import binary
from runtime.frames import Frame, decode, encode, texts
from runtime.loader import ChainPlan
from runtime.subjects import Subjects
from tests.exactly_once.chaos import ROOT, SETTLED_TRIES, START_NS, SYMBOLS, Chaos, Server
from tests.exactly_once.test_real_processes import free_port
from tests.runtime.servers import Answer, Request, web

CHAOS_S = float(os.environ.get("CHAOS_S", "10"))
SECOND_NS = 10**9
PROFILES: dict[str, dict[str, Any]] = {
    "busy": {"subscriptions": [{}], "cooldown_s": 0, "budget": {"alerts": 3}, "channels": ["hook"]},
    "calm": {"subscriptions": [{"symbols": SYMBOLS[:60]}], "cooldown_s": 20},
}


@dataclass
class ToldUsers(Chaos):
    """Alerts are fed instead of trades; a webhook of one user counts what it gets."""

    delivered: list[str] = field(default_factory=list)
    wanted: set[str] = field(default_factory=set)
    url: str = ""

    def webhook(self, request: Request) -> Answer:
        self.delivered.append(request.headers["idempotency-key"])
        return 200, {}, b""

    async def _feed(self, bus: Bus, subjects: Subjects, seconds: float) -> None:
        market = random.Random(self.seed + 1)
        channel = json.dumps({"kind": "webhook", "url": self.url}).encode()
        await bus.kv("channels").put("busy.hook", channel)
        for user, profile in PROFILES.items():
            told = {"user": texts([user]), "body": texts([json.dumps(profile)])}
            await _put(bus, subjects, "alerts.control", {"version": np.array([1]), **told})
        until, number = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            number += 1
            await _put(
                bus,
                subjects,
                "alerts",
                *_alerts(market, number),
                partition=number % subjects.partitions,
            )
            if number % 10 == 0:
                ts_ns = START_NS + number * SECOND_NS
                await _put(bus, subjects, "alerts.clock", {"ts_ns": np.array([ts_ns])})
            await asyncio.sleep(0.02)

    async def _settled(
        self, bus: Bus, subjects: Subjects, chains: list[ChainPlan], port: int
    ) -> None:
        await super()._settled(bus, subjects, chains, port)
        record = subjects.record_of("alerts.outbox")
        outbox = await bus.history("ALERTS", "alerts.outbox", 10**6)
        self.wanted = {decode(one.data, record)["id"][0] for one in outbox}
        for _ in range(SETTLED_TRIES):
            if self.wanted <= set(self.delivered):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{len(self.wanted - set(self.delivered))} deliveries do not arrive")


def _alerts(market: random.Random, number: int) -> tuple[dict[str, Any], list[str]]:
    """Some alerts of one second, now and then a storm of them."""
    count = market.choice([1, 1, 2, 40])
    symbols = [market.choice(SYMBOLS) for _ in range(count)]
    ts_ns = START_NS + number * SECOND_NS + np.arange(count)
    return {"ts_ns": ts_ns, "price": np.full(count, 10.0)}, symbols


async def _put(
    bus: Bus,
    subjects: Subjects,
    base: str,
    columns: dict[str, Any],
    symbols: list[str] | None = None,
    partition: int = 0,
) -> None:
    index = None if symbols is None else np.arange(len(symbols))
    frame = Frame(columns, symbols, index, source="chaos")
    await bus.put(subjects.wire(base, partition), encode(frame, subjects.record_of(base)))


@pytest.mark.timeout(600)
async def test_users_are_told_what_one_calm_run_tells_them_and_their_webhook_gets_all_of_it(
    tmp_path: Path,
) -> None:
    functions = tmp_path / "functions"
    functions.mkdir()
    for name in ("alerts", "deliveries", "notify"):
        shutil.copy(ROOT / "functions" / f"{name}.py", functions)
    server = Server(binary(), tmp_path, free_port())
    chaos = ToldUsers(server, functions, 1, die_before_save=0.2, log=tmp_path / "workers.log")
    async with web(chaos.webhook) as hook:
        chaos.url = hook.url
        assert await chaos.run(CHAOS_S) == []
    assert sum(chaos.counts.values()) > 4
    assert len(chaos.wanted) > 10
    assert set(chaos.delivered) == chaos.wanted
