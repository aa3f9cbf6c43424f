"""History in a real PostgreSQL: bars per second through the way they are written, and one day's bars of a symbol."""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.machinery import percentiles_ms
from runtime.config import Settings
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.frames import Frame, concatenate
from runtime.gateway.bar_history import SINGLE
from runtime.migrate import load_migrations, migrate
from runtime.store import Store
from runtime.subjects import Subjects, partition_of

MINUTE_NS = 60_000_000_000
OPEN_NS = 1_767_623_400_000_000_000  # 2026-01-05, 09:30 in New York
DAY_MINUTES = 390
REVISED = 0.02  # of the bars of a minute, said again a minute later
# What GET /api/v1/bars/{symbol} runs for single minutes of a range.
ONE_DAY = SINGLE + " LIMIT $4"
# Minute by minute, as they come: the minutes of a symbol lie in as many pages.
FILL = """
    INSERT INTO bars_1m (symbol, timestamp, open, high, low, close, volume, vwap, count)
    SELECT name, at, 10, 10.5, 9.5, 10.1, 1000 + minute, 10.05, 7
    FROM generate_series(0, $2 - 1) AS minute,
        LATERAL (SELECT $1::timestamptz + minute * interval '1 minute' AS at OFFSET 0) AS moment,
        unnest($3::text[]) AS name
"""


def run(
    settings: Settings,
    subjects: Subjects,
    quiet: bool,
    symbols: int = 10_000,
    minutes: int = 60,
    days: int = 3,
    queries: int = 1_000,
) -> tuple[dict[str, Any], dict[str, Any]]:
    names = [f"S{number:05}" for number in range(symbols)]
    with tempfile.TemporaryDirectory(prefix="jetscan-bench-") as folder:
        work = measured(Path(folder), settings, subjects, names, minutes, days, queries)
        found = asyncio.run(work)
    return {"symbols": symbols, "minutes": minutes, "days": days, "queries": queries}, found


async def measured(
    folder: Path,
    settings: Settings,
    subjects: Subjects,
    names: list[str],
    minutes: int,
    days: int,
    queries: int,
) -> dict[str, Any]:
    """Write, then fill the days before and read."""
    from functions.history import BAR, BATCH, INDICATORS, keep_bars, keep_indicators

    server = await EmbeddedPostgres.start(folder)
    store = Store(server.url)
    try:
        await migrate(store, load_migrations(Path(settings.migrations_dir)))
        frames = messages(subjects, names, minutes, BAR, "bars.final")
        found = await written(store, batches(subjects, frames, BATCH, "bars.final"), keep_bars)
        frames = messages(subjects, names, minutes // 4, INDICATORS, "indicators")
        told = await written(store, batches(subjects, frames, BATCH, "indicators"), keep_indicators)
        found |= {f"indicators_{key}": told[key] for key in ("per_s", "commit_p95_ms")}
        found["bars_per_s"] = found.pop("per_s")
        (row,) = await store.fetch("SELECT count(*) FROM bars_1m")
        found["lost"] = len(names) * minutes - row["count"]
        return found | await read(store, names, days, queries)
    finally:
        await store.close()
        await server.stop()


# -- writing


def messages(
    subjects: Subjects, names: list[str], minutes: int, columns: Any, base: str
) -> list[Frame]:
    """One of each partition and minute, the revisions of the minute before first."""
    draw = np.random.default_rng(7)
    parts: dict[int, list[str]] = {}
    for name in names:
        parts.setdefault(partition_of(name, subjects.partitions), []).append(name)
    found = []
    for minute in range(minutes):
        for mine in parts.values():
            revised = draw.choice(len(mine), int(len(mine) * REVISED), replace=False)
            again = revised if minute else revised[:0]
            found.append(_frame(draw, mine, again, minute, columns))
    return found


def _frame(draw: Any, names: list[str], again: Any, minute: int, columns: Any) -> Frame:
    size, early = len(names) + len(again), len(again)
    values: dict[str, Any] = {name: draw.uniform(9.0, 11.0, size) for name in columns}
    at = np.full(size, OPEN_NS + minute * MINUTE_NS)
    at[:early] -= MINUTE_NS
    values |= {"ts_ns": at, "revision": np.zeros(size, dtype=np.int32)}
    values["revision"][:early] = 1
    if "count" in columns:
        values["count"] = np.full(size, 7)
    return Frame(values, names, np.concatenate((again, np.arange(len(names)))))


def batches(subjects: Subjects, frames: list[Frame], size: int, base: str) -> list[Frame]:
    """As a sink that is behind joins them."""
    record = subjects.record_of(base)
    groups = [frames[start : start + size] for start in range(0, len(frames), size)]
    return [concatenate(group, record) for group in groups]


async def written(store: Store, frames: list[Frame], keep: Any) -> dict[str, Any]:
    """Rows per second, and the time of each batch until it was committed."""
    spent = []
    for frame in frames:
        began = time.perf_counter()
        await keep(frame, store)
        spent.append(time.perf_counter() - began)
    half = len(frames) // 2  # sustained: the second half alone, its indexes have grown
    rows = [len(frame) for frame in frames]
    revised = int(sum((frame["revision"] > 0).sum() for frame in frames))
    return {
        "per_s": round(sum(rows) / sum(spent)),
        "second_half_per_s": round(sum(rows[half:]) / sum(spent[half:])),
        "batches": len(frames),
        "batch_rows": round(sum(rows) / len(rows)),
        "revised": revised,
        "commit_p50_ms": percentiles_ms(spent)["p50_ms"],
        "commit_p95_ms": percentiles_ms(spent)["p95_ms"],
    }


# -- reading


async def read(store: Store, names: list[str], days: int, queries: int) -> dict[str, Any]:
    """One day's minutes of a symbol, another symbol and day each time."""
    first = datetime.fromtimestamp(OPEN_NS / 1e9, UTC) - timedelta(days=days + 1)
    for day in range(days):
        await fill(store, first + timedelta(days=day), names)
    draw = np.random.default_rng(8)
    spent = []
    for _ in range(queries):
        at = first + timedelta(days=int(draw.integers(days)))
        symbol = names[int(draw.integers(len(names)))]
        began = time.perf_counter()
        rows = await store.fetch(ONE_DAY, symbol, at, at + timedelta(days=1), 1_001)
        spent.append(time.perf_counter() - began)
        assert len(rows) == DAY_MINUTES, f"expected {DAY_MINUTES} bars of {symbol}, got {len(rows)}"
    (size,) = await store.fetch("SELECT count(*) FROM bars_1m")
    told = {f"day_{key}": value for key, value in percentiles_ms(spent).items()}
    return {"bars_stored": size["count"], **told}


async def fill(store: Store, opens: datetime, names: list[str]) -> None:
    """A day of every symbol, in portions that no time limit ends."""
    await store.fetch("SELECT make_room('bars_1m', $1)", [opens])
    step = 30
    for minute in range(0, DAY_MINUTES, step):
        count = min(step, DAY_MINUTES - minute)
        await store.fetch(FILL, opens + timedelta(minutes=minute), count, names)
