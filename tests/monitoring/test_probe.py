"""The probe through a real NATS, worker and gateway; one that nobody answers is lost and says so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest
from prometheus_client import REGISTRY

from runtime.bus import Bus
from runtime.client import Feed
from runtime.config import Settings
from runtime.frames import Frame, encode
from runtime.probe import RULE, SYMBOL, Answer, Probe, ProbeError, keep_rule, run_probe
from runtime.subjects import Subjects, partition_of
from runtime.worker import Worker
from tests.conftest import ROOT, Nats
from tests.gateway.running import running

T0 = 1_767_623_400_000_000_000


@contextlib.asynccontextmanager
async def worker(nats: Nats, subjects: Subjects) -> AsyncIterator[Worker]:
    """A worker of all functions."""
    settings = Settings(functions_dir=str(ROOT / "functions"), snapshot_interval_s=0.2)
    bus, control = await Bus.connect(nats.url, "data"), await Bus.connect(nats.url, "control")
    one = Worker(settings, subjects, bus, control)
    work = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        one.stop()
        await work
        await bus.close()
        await control.close()


async def tell_clock(nats: Nats, subjects: Subjects) -> None:
    """The market has a time, as an ingest tells it."""
    data = encode(Frame({"ts_ns": np.array([T0])}), subjects.record_of("ticks.clock"))
    await nats.bus.put(f"ticks.clock.{partition_of(SYMBOL, subjects.partitions)}", data)


def counted(result: str) -> float:
    return REGISTRY.get_sample_value("jetscan_probes_total", {"result": result}) or 0


async def test_a_probe_goes_through_everything_and_is_lost_where_nothing_scans(
    nats: Nats, subjects: Subjects
) -> None:
    answered, lost = counted("answered"), counted("lost")
    answers: list[Answer] = []
    await tell_clock(nats, subjects)
    async with running(nats, subjects, Settings()) as gate:
        async with worker(nats, subjects):
            async with asyncio.timeout(40):
                await run_probe(nats.bus, f"http://{gate.address}", "", 0.1, 5, answers.append)
        took = [one.took_s for one in answers if one.took_s is not None]
        assert len(answers) == 5
        assert len(took) >= 4  # the first may come before the rule is known
        assert all(0 < one < 5 for one in took)
        assert counted("answered") == answered + len(took)
        await keep_rule(gate.http)  # as it is: it stays one rule
        assert [one["id"] for one in gate.gateway.rules.all()] == [RULE]
        async with Feed(f"ws://{gate.address}/ws") as feed:
            told: list[Answer] = []
            await Probe(nats.bus, feed, answer_s=0.3).run(0.1, 1, told.append)
        assert [one.took_s for one in told] == [None]
        assert counted("lost") == lost + 1 + 5 - len(took)


async def test_who_may_not_make_the_rule_is_told_what_to_say() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(401, text="who are you")

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(refuse), base_url="http://g"
    ) as http:
        with pytest.raises(ProbeError, match="401 who are you; say --token-file"):
            await keep_rule(http)
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9") as http:
        with pytest.raises(ProbeError, match=r"no gateway answers at http://127\.0\.0\.1:9"):
            await keep_rule(http)
