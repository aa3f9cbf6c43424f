"""On a real server: the snapshot is lost and the input is trimmed; the next owner has its state again from bars."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.chain import Output
from runtime.host import Limits, PartitionHost
from runtime.ownership import Owner, Owners
from runtime.watchdog import Watchdog
from tests.conftest import Nats
from tests.functions.test_metrics import MARKET, MINUTE_NS, SUBJECTS, difference, ns
from tests.functions.test_rebuilt import WATCHED, a_life, asked

UNIT = ("market", 0)
BEGINS = ns(2026, 3, 6, 9, 15)
PLAN = replace(MARKET, name="market")


async def owned(nats: Nats, last: int) -> PartitionHost:
    """One owner from its load to its hand-over, after it answered input `last`."""
    owners = Owners(nats.bus)
    claim = Owner("w", 0)
    owner = await owners.take(UNIT, await owners.get(UNIT), claim)
    assert owner is not None

    async def nowhere(_: Output) -> None:
        """Core outputs are not looked at."""

    def is_done(_: object) -> bool:
        if host.progress.position >= last:
            host.drain()
        return False

    limits = Limits(snapshot_interval_s=1e9)
    host = PartitionHost(
        nats.bus, SUBJECTS, PLAN, UNIT, owner, limits, nowhere, is_done, Watchdog(60)
    )
    await host.run()
    return host


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_state_comes_from_bars_when_the_snapshot_and_the_input_are_gone(
    nats: Nats, is_damaged: bool
) -> None:
    life = a_life(5, BEGINS, 2400, 2.0)
    life.run(BEGINS + 20 * MINUTE_NS)
    for subject, data in life.messages:
        last = await nats.bus.put(subject, data)
    await owned(nats, last)
    stored = (await nats.bus.stream_state("BARS")).messages
    if is_damaged:
        await nats.bus.api("STREAM.PURGE.KV_snapshots", {"filter": "$KV.snapshots.market.0.>"})
    else:
        await nats.bus.api("STREAM.PURGE.KV_snapshots", {})
    await nats.bus.api("STREAM.PURGE.MARKET", {"seq": life.cut + 1})
    for subject, data in life.known:  # ingest starts again
        last = await nats.bus.put(subject, data)
        life.calm.run(last, subject, data)
    host = await owned(nats, last)
    assert (await nats.bus.stream_state("BARS")).messages == stored  # nothing is said twice
    at_ns = BEGINS + 2460 * 1_000_000_000
    wrong = difference(asked(host.chain, at_ns), asked(life.calm, at_ns))
    assert [one for one in wrong if not one.split()[1].startswith(WATCHED)] == []
    assert (
        host.chain.table("scanner")["volume_pre"] > 0
    ).sum() >= 2  # all of it is gone from MARKET
