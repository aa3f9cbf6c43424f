"""The newest of core subjects in their buckets, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import numpy as np
import pytest

from runtime import latest
from runtime.chain import Output
from runtime.frames import Frame, decode, texts
from runtime.latest import Latest
from runtime.subjects import Subjects
from tests.conftest import Nats


@contextlib.asynccontextmanager
async def keeping(nats: Nats, subjects: Subjects) -> AsyncIterator[Latest]:
    kept = Latest(nats.bus, subjects)
    task = asyncio.create_task(kept.keep())
    try:
        yield kept
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def update(ranks: dict[str, int]) -> Output:
    """An update of two lists: `gone` with these ranks, and `stays`."""
    names = ["gone"] * len(ranks) + ["stays"]
    size = len(names)
    columns = {
        "list": texts(names),
        "ts_ns": np.full(size, 10**9),
        "value": np.ones(size),
        "price": np.ones(size),
        "volume": np.ones(size),
        "rank": np.array([*ranks.values(), 1], dtype=np.uint32),
    }
    frame = Frame(columns, [*ranks, "Z"], np.arange(size), "toplists")
    return Output("toplists.updated", b"", 0, "toplists.updated", frame)


async def keys(nats: Nats) -> set[str]:
    return set(await nats.bus.kv("toplists").all())


async def test_a_list_that_shows_nobody_any_more_leaves_no_key(
    nats: Nats, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latest, "KEEP_S", 0.02)
    async with keeping(nats, subjects) as kept, asyncio.timeout(10):
        kept.note(update({"A": 1, "B": 2}))
        while await keys(nats) != {"gone", "stays"}:
            await asyncio.sleep(0.01)
        entry = await nats.bus.kv("toplists").get("gone")
        assert entry is not None
        frame = decode(entry.value, subjects.record_of("toplists.updated"))
        assert frame["symbol"].tolist() == ["A", "B"]
        kept.note(update({"A": 0, "B": 0}))
        while await keys(nats) != {"stays"}:
            await asyncio.sleep(0.01)
        kept.note(update({"A": 1}))
        while await keys(nats) != {"gone", "stays"}:
            await asyncio.sleep(0.01)
