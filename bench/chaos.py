"""What feeds make of a vendor's server that misbehaves, and what the vendor's own SDK makes of it, where it is installed.

SDKs are in environments of their own, since they do not agree on the version of websockets: alpaca-py, massive,
databento, binance-sdk-spot and binance-connector in one, coinbase-advanced-py in another, each with what Jetscan needs.
Each reads the same script of `jetscan chaos-feed`, from its first print until it has been served again for
a while, or for WAIT_S after the fault.

    prints   that came
    lost     prints between the first and the last that did not come, of all symbols
    twice    prints that came more than once
    back_s   from when the server could be had again until the next print; null: not within WAIT_S
    is_told  whether the reader says that something was missed
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from bench.chaos_sdks import LOUD, MUTE_S, Got, Sdk, installed, running
from runtime.chaos.faults import parse_script
from runtime.chaos.server import DIALECTS, ChaosFeed
from runtime.config import Settings
from runtime.connections import Connection
from runtime.providers import open_provider
from runtime.subjects import Subjects

RATE = 500.0
WAIT_S = 30.0
MORE_S = 1.5  # of prints after it was served again
FAULTS = ("drop", "reset", "close:1000", "close:1001", "half", "away:2", "silence")


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    faults: tuple[str, ...] = FAULTS,
    wait_s: float = WAIT_S,
    only: tuple[str, ...] = (),
) -> tuple[dict[str, Any], dict[str, Any]]:
    for name in ("ALPACA_KEY_ID", "ALPACA_SECRET_KEY", "MASSIVE_KEY", "DATABENTO_KEY"):
        os.environ.setdefault(name, "any key of ours")
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    readers = {vendor: Sdk(vendor, "", _ours) for vendor in DIALECTS} | installed()
    found: dict[str, Any] = {}
    for name, reader in readers.items():
        for fault in faults if not only or name in only else ():
            told = asyncio.run(_measured(reader, fault, wait_s))
            found |= {f"{name} {fault} {key}": value for key, value in told.items()}
    return {"prints_per_s": RATE, "faults": len(faults)}, found


async def _measured(reader: Sdk, fault: str, wait_s: float) -> dict[str, Any]:
    feed, got = ChaosFeed(reader.vendor, parse_script(f"{fault}@300"), RATE), Got()
    if reader.dialect is not None:
        feed.dialect = reader.dialect()
    async with feed.running(), reader.reading(feed, got):
        until_s = time.monotonic() + 30
        while not feed.fault_at_s and time.monotonic() < until_s:
            await asyncio.sleep(0.02)
        until_s = feed.fault_at_s + wait_s
        while time.monotonic() < until_s:
            await asyncio.sleep(0.05)
            back_s = _back_s(feed, got)
            if back_s is not None:
                until_s = min(until_s, time.monotonic() + MORE_S)
                break
        await asyncio.sleep(max(0.0, until_s - time.monotonic()))
        return _told(feed, got)  # before it is told to end


def _told(feed: ChaosFeed, got: Got) -> dict[str, Any]:
    lost = twice = 0
    for numbers in got.numbers.values():
        times = Counter(numbers)
        lost += max(numbers) - min(numbers) + 1 - len(times)
        twice += sum(count > 1 for count in times.values())
    back_s = _back_s(feed, got)
    told = {"prints": len(got.heard_at_s), "lost": lost, "twice": twice, "is_told": got.is_told}
    return {**told, "back_s": None if back_s is None else round(back_s, 2)}


def _back_s(feed: ChaosFeed, got: Got) -> float | None:
    """From when it could be had again until the next print of another connection, if one came."""
    if len(feed.connected_at_s) < 2:
        return None
    anew_s = feed.connected_at_s[1]
    after = (one for one in got.heard_at_s if one > anew_s)
    back_at_s = next(after, None)
    return None if back_at_s is None else back_at_s - max(feed.fault_at_s, feed.back_at_s)


@contextlib.asynccontextmanager
async def _ours(feed: ChaosFeed, got: Got) -> AsyncIterator[None]:
    provider = open_provider(feed.url)
    provider.mute_s = MUTE_S  # type: ignore[attr-defined]  # as the SDK is asked to
    provider.open_between = lambda *_: True  # type: ignore[attr-defined]  # at any hour

    async def read() -> None:
        connection = Connection(provider, asyncio.Event())
        async with contextlib.aclosing(connection.batches()) as batches:
            async for batch in batches:
                got.is_told |= batch.kind == "gaps"
                if batch.kind == "trades" and batch.index is not None:
                    ids = batch.columns["id"].tolist()
                    for place, number in zip(batch.index.tolist(), ids, strict=True):
                        got.take(batch.symbols[place], number)

    async with running(read()):
        yield
