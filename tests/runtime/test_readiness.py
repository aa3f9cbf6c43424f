"""What probes and people are told of a process: a worker is ready while it takes its share; replicas are at least as asked."""

from __future__ import annotations

import asyncio

from runtime.bus import Bus
from runtime.config import Settings
from runtime.provision import wanted_streams
from runtime.subjects import Subjects
from runtime.worker import Worker
from tests.conftest import ROOT, Nats


async def test_a_worker_is_ready_from_taking_its_share_until_it_hands_over(
    nats: Nats, subjects: Subjects
) -> None:
    bus, control = await Bus.connect(nats.url, "data"), await Bus.connect(nats.url, "control")
    worker = Worker(Settings(functions_dir=str(ROOT / "functions")), subjects, bus, control)
    assert not worker.is_ready
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while not worker.is_ready:
            await asyncio.sleep(0.02)
    worker.stop()
    assert not worker.is_ready
    await running
    await bus.close()
    await control.close()


def test_replicas_are_at_least_as_asked(subjects: Subjects) -> None:
    three = wanted_streams(subjects.replicated(3)).values()
    assert {one["num_replicas"] for one in three} == {3}
    again = wanted_streams(subjects.replicated(3).replicated(1)).values()
    assert {one["num_replicas"] for one in again} == {3}
