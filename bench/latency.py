"""Trade published -> alert in a WebSocket client, while the market trades.

A rule fires when the price of a symbol is above a million; a marked symbol prints just above it
every 20 ms, each time at another price, and below it in between. The price in the alert tells which
print it was. The background is 20,000 trades a second in frames as the feed cuts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from typing import Any

import numpy as np
import websockets

from bench.machinery import Stage, percentiles_ms, stage
from runtime.config import Settings
from runtime.frames import Frame, encode
from runtime.ingest import LINGER_MS
from runtime.subjects import Subjects, partition_of

LINGER_S = LINGER_MS / 1000
LEVEL = 1_000_000.0
START_NS = 1_767_623_400_000_000_000
WARM_S = 2.0
SETTLE_S = 30.0


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    ticks_per_s: int = 20_000,
    seconds: float = 20.0,
    probes_per_s: int = 25,
    symbols: int = 10_000,
) -> tuple[dict[str, Any], dict[str, Any]]:
    sizes = {"ticks_per_s": ticks_per_s, "symbols": symbols, "seconds": seconds}
    return sizes, asyncio.run(_measure(subjects, ticks_per_s, seconds, probes_per_s, symbols))


async def _measure(
    subjects: Subjects, ticks_per_s: int, seconds: float, probes_per_s: int, symbols: int
) -> dict[str, Any]:
    async with stage(subjects) as running:
        port = _free_port()
        running.start("run")
        running.start("gateway", port=str(port))
        await running.hosted(subjects.partitions + 2)
        address = f"127.0.0.1:{port}"
        sent: dict[float, float] = {}
        heard: dict[float, float] = {}
        async with await _connected(f"ws://{address}/ws") as client:
            await _add_rule(address)
            listening = asyncio.create_task(_listen(client, heard))
            load = asyncio.create_task(_load(running, subjects, ticks_per_s, symbols))
            await asyncio.sleep(WARM_S)
            await _probe(running, sent, seconds, probes_per_s)
            await _settled(sent, heard)
            load.cancel()
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await load
    delays = [heard[price] - sent[price] for price in sent if price in heard]
    return {
        **percentiles_ms(delays),
        "probes": len(sent),
        "lost": len(sent) - len(delays),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _connected(address: str) -> Any:
    for _ in range(100):
        with contextlib.suppress(OSError):
            return await websockets.connect(address)
        await asyncio.sleep(0.1)
    raise TimeoutError(f"no gateway at {address}")


async def _add_rule(address: str) -> None:
    import httpx

    rule = {
        "id": "probe",
        "name": "Probe",
        "cooldown": 0,
        "conditions": [{"metric": "price", "operator": ">", "value": LEVEL}],
    }
    async with httpx.AsyncClient() as client:
        (await client.post(f"http://{address}/api/v1/rules", json=rule)).raise_for_status()


async def _listen(client: Any, heard: dict[float, float]) -> None:
    async for text in client:
        now = time.perf_counter()
        message = json.loads(text)
        if message["type"] == "alert":
            heard.setdefault(message["data"]["price"], now)


async def _probe(running: Stage, sent: dict[float, float], seconds: float, per_s: int) -> None:
    for number in range(int(seconds * per_s)):
        price = LEVEL + 1 + number
        sent[price] = time.perf_counter()
        await running.bus.put("ticks.raw.PROBE", json.dumps({"price": price, "size": 100}).encode())
        await asyncio.sleep(0.5 / per_s)
        await running.bus.put("ticks.raw.PROBE", b'{"price": 1, "size": 100}')
        await asyncio.sleep(0.5 / per_s)


async def _settled(sent: dict[float, float], heard: dict[float, float]) -> None:
    """Wait for what is still on its way, as long as it may take where a machine has much to do."""
    until = time.perf_counter() + SETTLE_S
    while not sent.keys() <= heard.keys() and time.perf_counter() < until:
        await asyncio.sleep(0.05)


async def _load(running: Stage, subjects: Subjects, ticks_per_s: int, symbols: int) -> None:
    """Trades of the whole market in real time, flushed every LINGER_S, and a clock every second."""
    names = [f"S{number}" for number in range(symbols)]
    parts = [
        np.array(
            [k for k, name in enumerate(names) if partition_of(name, subjects.partitions) == p]
        )
        for p in range(subjects.partitions)
    ]
    draw = np.random.default_rng(1)
    record = subjects.record_of("ticks.trades")
    began, turn, clock = time.perf_counter(), 0, 0
    while True:
        event_ns = START_NS + int((time.perf_counter() - began) * 1e9)
        if event_ns // 10**9 > clock:
            clock = event_ns // 10**9
            frame = Frame({"ts_ns": np.array([clock * 10**9])}, source="bench")
            data = encode(frame, subjects.record_of("ticks.clock"))
            for partition in range(subjects.partitions):
                await running.bus.publish(f"ticks.clock.{partition}", data)
        count = int(ticks_per_s * LINGER_S / subjects.partitions)
        for partition, members in enumerate(parts):
            chosen, index = np.unique(draw.choice(members, count), return_inverse=True)
            columns = {
                "ts_ns": np.full(count, event_ns),
                "price": np.round(50 + draw.standard_normal(count), 2),
                "size": draw.integers(1, 500, count).astype(float),
            }
            frame = Frame(columns, [names[k] for k in chosen], index, "bench")
            await running.bus.publish(f"ticks.trades.{partition}", encode(frame, record))
        turn += 1
        await asyncio.sleep(max(0.0, began + turn * LINGER_S - time.perf_counter()))
