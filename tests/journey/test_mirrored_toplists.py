"""From a partition's partial to the sorted set in a real Valkey, through a real worker."""

from __future__ import annotations

import asyncio

import numpy as np
from redis.asyncio import Redis

from runtime.bus import Bus
from runtime.config import Settings
from runtime.embedded_valkey import EmbeddedValkey
from runtime.frames import Frame, encode, texts
from runtime.subjects import Subjects
from runtime.worker import Worker
from tests.conftest import ROOT, Nats


async def test_the_worker_that_merges_toplists_mirrors_them(nats: Nats, subjects: Subjects) -> None:
    valkey = await EmbeddedValkey.start(nats.directory)
    settings = Settings(functions_dir=str(ROOT / "functions"), redis_url=valkey.url)
    bus, control = await Bus.connect(nats.url, "data"), await Bus.connect(nats.url, "control")
    worker = Worker(settings, subjects, bus, control, ["toplists"])
    running = asyncio.create_task(worker.run())
    columns = {
        "list": texts(["gainers_5m"] * 2),
        "version": np.full(2, 7),
        "configured": np.zeros(2),
        "is_falling": np.ones(2),
        "ts_ns": np.full(2, 10**9),
        "value": np.array([3.0, 2.0]),
        "price": np.full(2, 5.0),
        "volume": np.full(2, 100.0),
        "rank": np.array([1, 2]),
    }
    frame = Frame(columns, ["A", "B"], np.arange(2), "scanner")
    await nats.bus.put("toplists.partial.0", encode(frame, subjects.record_of("toplists.partial")))
    try:
        async with Redis.from_url(valkey.url, decode_responses=True) as reader, asyncio.timeout(20):
            while not await reader.exists("toplist:change_pct:5m"):
                await asyncio.sleep(0.05)
            assert await reader.zrevrange("toplist:change_pct:5m", 0, -1) == ["A", "B"]
    finally:
        worker.stop()
        await running
        await bus.close()
        await control.close()
        await valkey.stop()
