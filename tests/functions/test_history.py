"""History in PostgreSQL: every alert and bar once, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from functions.history import (
    BAR,
    INDICATORS,
    keep_alerts,
    keep_days,
    keep_deliveries,
    keep_indicators,
)
from runtime.bus import Bus
from runtime.config import Settings
from runtime.contract import Drop
from runtime.deadletters import letters, redrive
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.frames import Frame, decode, encode, texts
from runtime.loader import Hosted, load_plan
from runtime.migrate import load_migrations, migrate
from runtime.sinks import SinkHost
from runtime.store import Store
from runtime.subjects import Subjects
from runtime.worker import Worker
from tests.conftest import ROOT, Nats

OPEN_NS = 1_767_623_400_000_000_000
MINUTE_NS = 60_000_000_000


def alerts(count: int, first: int = 0, **columns: Any) -> Frame:
    numbers = range(first, first + count)
    made = {
        "ts_ns": np.array([OPEN_NS + 1_234_567 * k for k in numbers]),
        "price": np.full(count, 187.2),
        "id": texts([f"id-{k}" for k in numbers]),
        "rule_id": texts(["r1"] * count),
        "rule_name": texts(["Rule"] * count),
        "values": texts(['{"metrics":{"rsi_14":28.4}}'] * count),
        "number": np.arange(first + 1, first + count + 1),
    }
    return Frame(made | columns, ["AAPL"], np.zeros(count, np.int64))


def bars(symbols: list[str], minute: int, close: float = 10.0, revision: int = 0) -> Frame:
    size = len(symbols)
    columns = {name: np.full(size, close) for name in BAR}
    columns["ts_ns"] = np.full(size, OPEN_NS + minute * MINUTE_NS)
    columns["count"] = np.ones(size, np.int64)
    columns["revision"] = np.full(size, revision)
    return Frame(columns, symbols, np.arange(size))


async def test_an_alert_is_a_row_as_clients_know_it(store: Store) -> None:
    await keep_alerts(alerts(2), store)
    await keep_alerts(alerts(2), store)
    rows = await store.fetch("SELECT * FROM alert_history ORDER BY number")
    assert [row["id"] for row in rows] == ["id-0", "id-1"]
    row = rows[1]
    assert row["timestamp"] == datetime(2026, 1, 5, 14, 30, 0, 1234, tzinfo=UTC)
    assert row["ts_ns"] == OPEN_NS + 1_234_567
    assert row["price"] == Decimal("187.2")
    assert row["message"] == "Rule 'Rule' matched for AAPL"
    assert '"rsi_14": 28.4' in row["metadata"]
    assert row["kind"] is None


async def test_what_newer_alerts_tell_is_kept_as_well(store: Store) -> None:
    extras = {
        "kind": texts(["rule"]),
        "strength": np.array([0.5]),
        "explain": texts(['{"leaf": 1}']),
        "causes": texts([""]),
    }
    await keep_alerts(alerts(1, **extras), store)
    (row,) = await store.fetch("SELECT * FROM alert_history")
    assert (row["kind"], row["strength"], row["explain"]) == ("rule", 0.5, '{"leaf": 1}')
    assert row["causes"] is None


@pytest.mark.parametrize("comes_first", ["fired", "withdrawn"])
async def test_a_withdrawn_alert_is_marked_and_its_rows_stay_in_any_order(
    store: Store, comes_first: str
) -> None:
    fired = alerts(2, kind=texts(["fired"] * 2), reason=texts(["", ""]))
    gone = alerts(
        1, ts_ns=np.array([OPEN_NS + 5 * 10**9]), number=np.array([3]),
        kind=texts(["withdrawn"]), reason=texts(["trade cancelled"]),
    )  # fmt: skip
    frames = [fired, gone] if comes_first == "fired" else [gone, fired]
    for frame in [*frames, *frames]:
        await keep_alerts(frame, store)
    rows = await store.fetch("SELECT * FROM alert_history ORDER BY number")
    assert [(row["id"], row["kind"]) for row in rows] == [
        ("id-0", "fired"), ("id-1", "fired"), ("id-0", "withdrawn"),
    ]  # fmt: skip
    at = datetime(2026, 1, 5, 14, 30, 5, tzinfo=UTC)
    assert [(row["withdrawn_at"], row["withdrawn_reason"]) for row in rows] == [
        (at, "trade cancelled"), (None, None), (at, "trade cancelled"),
    ]  # fmt: skip
    assert rows[2]["message"] == "Withdrawn: Rule 'Rule' matched for AAPL (trade cancelled)"


async def test_every_receipt_is_one_row_however_often_it_comes(store: Store) -> None:
    columns = {
        "ts_ns": np.array([OPEN_NS, OPEN_NS, OPEN_NS + 10**9]),
        "user": texts(["u1"] * 3),
        "channel": texts(["phone", "mail", "phone"]),
        "id": texts(["d1"] * 3),
        "alert": texts(["a1"] * 3),
        "outcome": texts(["later", "delivered", "delivered"]),
        "status": np.array([503, 250, 200], dtype=np.int32),
        "tries": np.array([1, 1, 2]),
        "reason": texts(["busy", "", ""]),
    }
    for _ in range(2):
        await keep_deliveries(Frame(columns), store)
    rows = await store.fetch("SELECT * FROM deliveries ORDER BY timestamp, channel")
    assert [(row["delivery_id"], row["outcome"], row["status"], row["tries"], row["reason"]) for row in rows] == [
        ("d1.mail", "delivered", 250, 1, None),
        ("d1.phone", "later", 503, 1, "busy"),
        ("d1.phone", "delivered", 200, 2, None),
    ]  # fmt: skip
    assert {(row["alert_id"], row["user_id"]) for row in rows} == {("a1", "u1")}


async def test_one_alert_that_cannot_be_kept_is_named_and_the_others_are(store: Store) -> None:
    wrong = texts(["{}", "no json", "{}"])
    with pytest.raises(Drop, match="alert_history: invalid input syntax for type json") as dropped:
        await keep_alerts(alerts(3, values=wrong), store)
    assert dropped.value.rows == [1]
    rows = await store.fetch("SELECT id FROM alert_history ORDER BY id")
    assert [row["id"] for row in rows] == ["id-0", "id-2"]


async def test_an_absent_indicator_is_null(store: Store) -> None:
    columns = {name: np.array([1.5]) for name in INDICATORS}
    columns |= {"ema_200": np.array([np.nan]), "revision": np.array([0])}
    columns["ts_ns"] = np.array([OPEN_NS])
    await keep_indicators(Frame(columns, ["A"], np.zeros(1, np.int64)), store)
    (row,) = await store.fetch("SELECT ema_9, ema_200 FROM indicators")
    assert row == {"ema_9": 1.5, "ema_200": None}


async def test_an_official_day_told_again_is_one_row_the_last(store: Store) -> None:
    for close in (10.0, 11.0):
        columns = {name: np.array([close]) for name in "open high low close volume".split()}
        columns |= {"factor": np.array([np.nan]), "ts_ns": np.array([1_767_571_200_000_000_000])}
        await keep_days(Frame(columns, ["A"], np.zeros(1, np.int64)), store)
    (row,) = await store.fetch("SELECT day::text, close, factor FROM daily_bars")
    assert row == {"day": "2026-01-05", "close": 11.0, "factor": None}


# -- hosted


def hosted(name: str, subjects: Subjects) -> Hosted:
    plan = load_plan(ROOT / "functions", subjects)
    assert not plan.faults
    return next(one for one in plan.sinks if one.name == name)


@contextlib.asynccontextmanager
async def sink(nats: Nats, subjects: Subjects, name: str, store: Store) -> AsyncIterator[SinkHost]:
    bus = await Bus.connect(nats.url, "sink")
    host = SinkHost(bus, subjects, hosted(name, subjects), 3, lambda _: False, store)
    task = asyncio.create_task(host.run())
    try:
        yield host
    finally:
        host.drain()
        await asyncio.wait_for(task, 15)
        await bus.close()


async def until(check: Callable[[], Any], seconds: float = 30) -> Any:
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(RuntimeError):  # the database is away
                if found := await check():
                    return found
            await asyncio.sleep(0.05)


async def put(nats: Nats, subjects: Subjects, base: str, frame: Frame, partition: int = 0) -> None:
    await nats.bus.put(subjects.wire(base, partition), encode(frame, subjects.record_of(base)))


async def done(nats: Nats, stream: str, name: str) -> bool:
    state = await nats.bus.consumer_state(stream, f"sink-{name}")
    return state is not None and state.pending == 0 and state.unacknowledged == 0


async def test_many_messages_are_one_frame_and_a_bad_row_is_one_letter(
    nats: Nats, subjects: Subjects, store: Store
) -> None:
    for minute in range(40):
        symbols = ["A", "B\0"] if minute == 7 else ["A", "B"]
        await put(nats, subjects, "bars.final", bars(symbols, minute), minute % 8)
    async with sink(nats, subjects, "keeps_bars", store):
        await until(lambda: done(nats, "BARS", "keeps_bars"))
    (found,) = await store.fetch("SELECT count(*) FROM bars_1m")
    assert found["count"] == 79
    (letter,) = await letters(nats.bus)
    assert "invalid byte sequence" in letter.reason
    frame = decode(letter.frame, subjects.record_of("bars.final"))
    assert frame["symbol"].tolist() == ["B\0"]
    assert frame["ts_ns"].tolist() == [OPEN_NS + 7 * MINUTE_NS]


async def test_a_letter_put_back_is_written_and_one_that_fails_again_is_the_same_letter(
    nats: Nats, subjects: Subjects, store: Store
) -> None:
    await put(nats, subjects, "bars.final", bars(["A\0"], 0))
    async with sink(nats, subjects, "keeps_bars", store):
        await until(lambda: letters(nats.bus))
        (first,) = await letters(nats.bus)
        await redrive(nats.bus, first.sequence)
        await until(lambda: letters(nats.bus))
        (second,) = await letters(nats.bus)
    assert (second.subject, second.frame) == (first.subject, first.frame)
    assert msgpack.unpackb(second.frame)["sym"] == ["A\0"]


async def test_a_database_that_is_killed_in_the_middle_costs_nothing(
    nats: Nats, subjects: Subjects, tmp_path: Path
) -> None:
    server = await EmbeddedPostgres.start(tmp_path / "pg")
    server.keep(lambda _: None)
    store = Store(server.url)
    await migrate(store, load_migrations(ROOT / "migrations"))
    total = 60

    async def count() -> int:
        (found,) = await store.fetch("SELECT count(*) FROM alert_history")
        return int(found["count"])

    try:
        async with sink(nats, subjects, "keeps_alerts", store):
            for number in range(total):
                if number in (20, 40):
                    os.kill(server.pid, signal.SIGKILL)
                await put(nats, subjects, "alerts.filtered", alerts(5, 5 * number))
            await until(lambda: done(nats, "ALERTS", "keeps_alerts"))
            assert await until(count) == 5 * total
        assert await letters(nats.bus) == []
    finally:
        await store.close()
        await server.stop()


async def test_a_database_that_comes_late_gets_everything(
    nats: Nats, subjects: Subjects, tmp_path: Path
) -> None:
    server = await EmbeddedPostgres.start(tmp_path / "pg")  # without a table in it
    store = Store(server.url)
    await put(nats, subjects, "alerts.filtered", alerts(3))
    try:
        async with sink(nats, subjects, "keeps_alerts", store) as host:
            await until(lambda: waits(host))
            await migrate(store, load_migrations(ROOT / "migrations"))
            await until(lambda: done(nats, "ALERTS", "keeps_alerts"))
        (found,) = await store.fetch("SELECT count(*) FROM alert_history")
        assert found["count"] == 3
        assert await letters(nats.bus) == []
    finally:
        await store.close()
        await server.stop()


async def test_workers_without_a_database_leave_its_sinks_to_others(
    nats: Nats, subjects: Subjects, store: Store, tmp_path: Path
) -> None:
    functions = tmp_path / "functions"
    shutil.copytree(ROOT / "functions", functions)
    text = '"""Other."""\nfrom runtime import function\n@function(reads="alerts")\nasync def other(alerts): ...\n'
    (functions / "other.py").write_text(text, encoding="utf-8")

    async def hosted_by(url: str) -> tuple[list[str], bool]:
        bus, control = await Bus.connect(nats.url, "w"), await Bus.connect(nats.url, "c")
        settings = Settings(functions_dir=str(functions), database_url=url)
        worker = Worker(settings, subjects, bus, control, only_sinks=True)
        task = asyncio.create_task(worker.run())

        async def told() -> Any:
            status = json.loads(worker._status(None))
            return status if status["sinks"] else None  # all are begun in one go

        status = await until(told)
        worker.stop()
        await task
        await bus.close()
        await control.close()
        return status["sinks"], bool(status["units"])

    sinks = sorted(one.name for one in load_plan(functions, subjects).sinks)
    assert len(sinks) > 3
    assert await hosted_by(store._url) == (sinks, False)
    assert await hosted_by("") == (["notify", "other"], False)


async def waits(host: SinkHost) -> bool:
    return host._outage_said_at > 0
