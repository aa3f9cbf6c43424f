"""Trades per second through the whole chain, all processes on this machine, nothing lost.

Publisher (this process) -> nats-server, file storage -> workers hosting bars, indicators and scanner
with 100 rules -> bars, indicators and alerts stored. The clock runs from the first publish until the
workers have answered the last input.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from bench.machinery import Stage, market_frames, rules_body, send_rules, stage
from runtime.config import Settings
from runtime.frames import decode, encode
from runtime.subjects import Subjects

MINUTE_NS = 60_000_000_000


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    symbols: int = 10_000,
    trades_per_s: int = 50_000,
    seconds: int = 121,
    rules: int = 100,
    workers: int = 1,
) -> tuple[dict[str, Any], dict[str, Any]]:
    sizes = {
        "symbols": symbols,
        "rules": rules,
        "partitions": subjects.partitions,
        "workers": workers,
        "market_seconds": seconds,
    }
    results = asyncio.run(_measure(subjects, symbols, trades_per_s, seconds, rules, workers))
    return {**sizes, "trades": results.pop("trades")}, results


async def _measure(
    subjects: Subjects, symbols: int, rate: int, seconds: int, rules: int, workers: int
) -> dict[str, Any]:
    queues: list[list[tuple[str, bytes]]] = [[] for _ in range(subjects.partitions)]
    trades, volume, last_ns = 0, 0.0, 0
    for out in market_frames(subjects, symbols, rate, seconds):
        data = encode(out.frame, subjects.record_of(out.base))
        queues[out.partition].append((subjects.wire(out.base, out.partition), data))
        if out.base == "ticks.trades":
            trades += len(out.frame)
            volume += float(out.frame["size"].sum())
            last_ns = max(last_ns, int(out.frame["ts_ns"].max()))
    close = _clock((last_ns // MINUTE_NS + 1) * MINUTE_NS, subjects)
    for partition, queue in enumerate(queues):
        queue.append((subjects.wire("ticks.clock", partition), close))
    async with stage(subjects) as running:
        for _ in range(workers):
            running.start("run", "market")
        await running.hosted(subjects.partitions)
        await send_rules(running.bus, subjects, rules_body(rules))
        began = time.perf_counter()
        last = await asyncio.gather(*(_publish(running, queue) for queue in queues))
        published_s = time.perf_counter() - began
        await _answered(running, last)
        took_s = time.perf_counter() - began
        outputs = await _outputs(running, subjects)
    frames = sum(len(queue) for queue in queues)
    return {
        "trades": trades,
        "ticks_per_s": round(trades / took_s),
        "publish_ticks_per_s": round(trades / published_s),
        "frames_per_s": round(frames / took_s),
        "seconds_s": round(took_s, 2),
        "bars": outputs["bars"],
        "alerts": outputs["alerts"],
        "lost": round(volume - outputs["volume"]),
    }


def _clock(ts_ns: int, subjects: Subjects) -> bytes:
    from runtime.frames import Frame

    return encode(
        Frame({"ts_ns": np.array([ts_ns])}, source="bench"), subjects.record_of("ticks.clock")
    )


async def _publish(running: Stage, queue: list[tuple[str, bytes]]) -> int:
    """Publish a partition in order; the sequence of its last message."""
    last = 0
    for subject, data in queue:
        last = await running.bus.put(subject, data)
    return last


async def _answered(running: Stage, last: list[int]) -> None:
    """Wait until every partition's position is at its last message."""
    async with asyncio.timeout(120):
        while True:
            units = await running.units()
            done = [
                units.get(f"market.{p}", {}).get("position", 0) >= n for p, n in enumerate(last)
            ]
            if all(done):
                return


async def _outputs(running: Stage, subjects: Subjects) -> dict[str, Any]:
    """Bars and alerts stored, and the volume of the newest revision of every bar."""
    newest: dict[tuple[str, int], float] = {}
    record = subjects.record_of("bars.final")
    for partition in range(subjects.partitions):
        for message in await running.bus.history("BARS", f"bars.final.{partition}", 10**6):
            frame = decode(message.data, record)
            keys = zip(frame["symbol"], frame["ts_ns"].tolist(), strict=True)
            newest.update(dict(zip(keys, frame["volume"].tolist(), strict=True)))
    alerts = (await running.bus.stream_state("ALERTS")).messages
    return {"bars": len(newest), "volume": sum(newest.values()), "alerts": alerts}
