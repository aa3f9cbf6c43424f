"""A vendor's trades over a websocket -> stored in JetStream, by the real ingest: steady, then an opening burst.

Both clocks are this machine's: a trade has the time at which the feed was due to send it, the server stamps what it
stores. So the feed's own lateness, the socket and the wait in it count as well, which a time taken by ingest would hide.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import numpy as np

from bench.machinery import ROOT, percentiles_ms, stage
from runtime.config import Settings
from runtime.frames import Array, decode
from runtime.subjects import Subjects

BURST_TIMES = 20
STORED_S = 60.0  # that the last trade of a plan may take
KEYS = {"ALPACA_KEY_ID": "bench", "ALPACA_SECRET_KEY": "bench"}


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    trades_per_s: int = 50_000,
    seconds: float = 20.0,
    average_per_s: int = 10_000,
    burst_s: float = 2.0,
    warm_s: float = 3.0,
) -> tuple[dict[str, Any], dict[str, Any]]:
    sizes = {
        "trades_per_s": trades_per_s,
        "seconds": seconds,
        "average_per_s": average_per_s,
        "burst_s": burst_s,
        "warm_s": warm_s,
    }
    warm = (trades_per_s, warm_s)
    steady = asyncio.run(_measure(subjects, [warm, (trades_per_s, seconds)]))
    burst = (average_per_s * BURST_TIMES, burst_s)
    opening = asyncio.run(
        _measure(subjects, [(average_per_s, warm_s), burst, (average_per_s, warm_s)])
    )
    first = round(trades_per_s * warm_s)
    found = percentiles_ms(_delays_s(steady)[steady["id"] >= first].tolist())
    found |= {"frames_per_s": round(len(np.unique(steady["stored_ns"])) / (warm_s + seconds))}
    found |= {"lost": steady["lost"] + opening["lost"]}
    found |= {"duplicated": steady["twice"] + opening["twice"]}
    found |= {"sender_late_max_ms": steady["sender_ms"]}
    first = round(average_per_s * warm_s)
    burst_until = first + round(burst[0] * burst_s)
    in_burst = (opening["id"] >= first) & (opening["id"] < burst_until)
    delays_s = _delays_s(opening)
    found |= {f"burst_{k}": v for k, v in percentiles_ms(delays_s[in_burst].tolist()).items()}
    ended_ns = opening["ts_ns"][in_burst].max()
    caught_up_s = (opening["stored_ns"][in_burst].max() - ended_ns) / 1e9
    found |= {"burst_caught_up_s": round(float(caught_up_s), 3)}
    found |= {"burst_sender_late_max_ms": opening["sender_ms"]}
    return sizes, found


def _delays_s(stored: dict[str, Any]) -> Array:
    return np.asarray((stored["stored_ns"] - stored["ts_ns"]) / 1e9)


async def _measure(subjects: Subjects, plan: list[tuple[int, float]]) -> dict[str, Any]:
    """Every stored trade: id, time, time of storing; and what is missing or there twice."""
    wanted = sum(round(per_s * seconds) for per_s, seconds in plan)
    async with stage(subjects) as running:
        arguments = [sys.executable, "-m", "bench.tape", json.dumps(plan)]
        feed = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, stdout=subprocess.PIPE)
        try:
            assert feed.stdout is not None
            port = int(await feed.stdout.readline())
            url = f"alpaca://sip?symbols=*&channels=trades&host=ws://127.0.0.1:{port}"
            running.start("ingest", url, keys=KEYS)
            sender_ms = float(await feed.stdout.readline())
            found = await _stored(running.bus, subjects, wanted)
        finally:
            if feed.returncode is None:
                feed.kill()
            await feed.wait()
    ids = found["id"]
    return {
        **found,
        "sender_ms": sender_ms,
        "lost": wanted - len(np.unique(ids)),
        "twice": len(ids) - len(np.unique(ids)),
    }


async def _stored(bus: Any, subjects: Subjects, wanted: int) -> dict[str, Array]:
    """What MARKET holds, once it has grown to `wanted` trades or grows no more."""
    record = subjects.record_of("ticks.trades")
    parts: dict[str, list[Array]] = {"id": [], "ts_ns": [], "stored_ns": []}
    count = 0
    reading = bus.read("MARKET", ["ticks.trades.*"], "first")
    async with asyncio.timeout(STORED_S):
        async for message in reading:
            frame = decode(message.data, record)
            parts["id"].append(frame["id"])
            parts["ts_ns"].append(frame["ts_ns"])
            parts["stored_ns"].append(np.full(len(frame), message.ts_ns))
            count += len(frame)
            if count >= wanted:
                break
    return {name: np.concatenate(values) for name, values in parts.items()}
