"""Bars of one symbol over REST while 10,000 symbols' minutes of some days are stored."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from runtime.bus import Bus
from runtime.config import Settings
from runtime.embedded import EmbeddedNats
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.gateway.app import create_app
from runtime.gateway.gateway import Gateway
from runtime.gateway.server import bound_socket, run_server
from runtime.loader import load_plan
from runtime.migrate import load_migrations, migrate
from runtime.provision import provision
from runtime.store import Store
from runtime.subjects import Subjects

FIRST = datetime(2026, 1, 5, 13, tzinfo=UTC)  # a Monday, 08:00 in New York
CHUNK_MIN = 20  # minutes written by one statement, in the order in which they would come
FILL = """
INSERT INTO bars_1m (symbol, timestamp, open, high, low, close, volume, vwap, count)
SELECT 'S' || lpad(number::text, 5, '0'), minute, 100, 101, 99, 100 + random(), 1000, 100, 17
FROM generate_series($1::timestamptz, $2::timestamptz, interval '1 minute') AS minute, generate_series(1, $3) AS number
"""
DAY = {"from": "2026-01-06T05:00:00Z", "to": "2026-01-07T05:00:00Z"}
QUERIES: dict[str, dict[str, Any]] = {
    "day_1m": DAY,
    "day_5m": {**DAY, "timeframe": "5m"},
    "days_1m_newest_1000": {"to": "2026-01-08T05:00:00Z"},
    "days_1h": {"timeframe": "1h", "from": "2026-01-01T05:00:00Z", "to": "2026-01-31T05:00:00Z"},
    "days_1d": {"timeframe": "1d", "from": "2026-01-01T05:00:00Z", "to": "2026-01-31T05:00:00Z"},
}


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    symbols: int = 10_000,
    days: int = 3,
    minutes: int = 480,
    requests: int = 400,
    clients: int = 4,
) -> tuple[dict[str, Any], dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="jetscan-bench-") as name:
        results = asyncio.run(
            _measured(Path(name), settings, subjects, symbols, days, minutes, requests, clients)
        )
    sizes = {
        "symbols": symbols,
        "days": days,
        "minutes": minutes,
        "requests": requests,
        "clients": clients,
    }
    return sizes, results


async def _measured(
    folder: Path, settings: Settings, subjects: Subjects, symbols: int, days: int, minutes: int,
    requests: int, clients: int,
) -> dict[str, Any]:  # fmt: skip
    server, nats = await EmbeddedPostgres.start(folder), await EmbeddedNats.start(folder / "nats")
    store, bus = Store(server.url), await Bus.connect(nats.url, "bench")
    try:
        results = await _filled(store, symbols, days, minutes)
        await provision(bus, subjects)
        told = settings.model_copy(update={"database_url": server.url, "data_dir": str(folder)})
        plan = load_plan(Path(settings.functions_dir), subjects)
        accepts = {k: v for one in plan.functions for k, v in one.declaration.accepts.items()}
        gateway = Gateway(told, subjects, bus, accepts)
        results |= await _asked(gateway, symbols, requests, clients)
    finally:
        await store.close()
        await bus.close()
        await nats.stop()
        await server.stop()
    return results


async def _filled(store: Store, symbols: int, days: int, minutes: int) -> dict[str, Any]:
    await migrate(store, load_migrations(Path("migrations")))
    began = time.monotonic()
    for day in range(days):
        first = FIRST + timedelta(days=day)
        await store.fetch("SELECT make_room('bars_1m', $1)", [first])
        for start in range(0, minutes, CHUNK_MIN):
            begin = first + timedelta(minutes=start)
            last = first + timedelta(minutes=min(start + CHUNK_MIN, minutes) - 1)
            await store.fetch(FILL, begin, last, symbols)
    size = await store.fetch(
        "SELECT sum(pg_total_relation_size(inhrelid))::bigint AS bytes FROM pg_inherits WHERE inhparent = 'bars_1m'::regclass"
    )
    seconds = time.monotonic() - began
    return {
        "bars": symbols * days * minutes,
        "fill_s": round(seconds, 1),
        "bytes": size[0]["bytes"],
    }


async def _asked(gateway: Gateway, symbols: int, requests: int, clients: int) -> dict[str, Any]:
    listening, stopping = bound_socket("127.0.0.1", 0), asyncio.Event()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    serving = asyncio.create_task(run_server(create_app(gateway), listening, stopping.wait))
    found: dict[str, Any] = {}
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        for query in QUERIES.values():  # connections, calendars, statements
            await http.get("/api/v1/bars/S00001", params=query)
        for name, query in QUERIES.items():
            alone = await _times(http, query, symbols, requests)
            found |= _told(name, alone)
        many = await asyncio.gather(
            *(_times(http, DAY, symbols, requests // clients) for _ in range(clients))
        )
        found |= _told(f"day_1m_of_{clients}_clients", [one for several in many for one in several])
    stopping.set()
    await serving
    assert gateway.store is not None
    await gateway.store.close()
    return found


async def _times(
    http: httpx.AsyncClient, query: dict[str, Any], symbols: int, requests: int
) -> list[float]:
    """Seconds of each of some requests, one after the other, each of another symbol."""
    times = []
    for _ in range(requests):
        symbol = f"S{random.randint(1, symbols):05d}"
        began = time.perf_counter()
        answer = await http.get(f"/api/v1/bars/{symbol}", params=query)
        times.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
        assert answer.json()["count"] > 0
    return times


def _told(name: str, times: list[float]) -> dict[str, Any]:
    p50, p95, p99 = (round(float(one) * 1e3, 1) for one in np.percentile(times, [50, 95, 99]))
    return {f"{name}_p50_ms": p50, f"{name}_p95_ms": p95, f"{name}_p99_ms": p99}
