"""1 -> 4 -> 1 worker processes under load, by the scaling figures: nothing lost, twice, out of order or late."""

from __future__ import annotations

import msgpack
import pytest

from bench import run_bench
from runtime.config import Settings
from runtime.handover import Warmth, read_blobs
from runtime.ownership import unit_key
from runtime.snapshots import CHUNK_BYTES, chunks_of
from runtime.subjects import Subjects
from tests.conftest import Nats


@pytest.mark.timeout(300)
def test_workers_come_and_go_without_loss_duplicate_reorder_or_pause(subjects: Subjects) -> None:
    sizes = {"symbols": 800, "slots": 1_024, "cooldown_s": 2.0}
    report = run_bench("scaling", Settings(), subjects, quiet=True, **sizes)
    found = report["results"]
    amiss = {name: found[name] for name in ("lost", "duplicated", "reordered", "restarts")}
    assert set(amiss.values()) == {0}, amiss
    assert found["events"] > 1_000
    assert found["pause_max_s"] < 1.0 + found["stall_max_s"], found
    assert found["drain_max_s"] < 28, found


async def test_state_is_read_in_advance_and_only_what_is_new_afterwards(nats: Nats) -> None:
    kv, unit = nats.bus.kv("snapshots"), ("chain", 3)
    blob = bytes(range(256)) * (9 * CHUNK_BYTES // 256) + b"end"
    for number, chunk in enumerate(chunks_of(blob)):
        await kv.put(f"chain.3.7-1.{number}", chunk)
    warmth = Warmth(nats.bus, unit)
    await warmth.refresh()
    assert warmth.epoch == 0  # nobody saved it: there is nothing to wait for
    first = {"epoch": 7, "blobs": {"7-1": len(blob)}}
    await kv.put("chain.3", msgpack.packb(first))
    await warmth.refresh()
    assert warmth.epoch == 7
    assert warmth.blobs == {"7-1": blob}

    await kv.purge("chain.3.7-1.>")
    await kv.put("chain.3.7-2.0", b"more")
    second = {"epoch": 7, "blobs": {"7-1": len(blob), "7-2": 4}}
    assert await read_blobs(kv, unit_key(unit), second, warmth.blobs) == {
        "7-1": blob,
        "7-2": b"more",
    }
    assert await read_blobs(kv, unit_key(unit), second, {"7-1": blob[:-1]}) is None
    await kv.put("chain.3", msgpack.packb({"epoch": 8, "blobs": {"8-1": 1}}))
    await warmth.refresh()
    assert warmth.epoch == 7  # not whole: what is announced is what is here
