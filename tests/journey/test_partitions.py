"""The number of partitions of a real deployment changes: every symbol goes on where it was."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import nats as nats_py
import pytest

from runtime import partitions
from runtime.frames import decode
from runtime.loader import load_plan
from runtime.partitions import STAGE, PartitionsError, change
from runtime.subjects import Subjects, load_subjects, partition_of
from runtime.supervisor import Supervisor, ask_lag
from tests.conftest import ROOT, Nats
from tests.journey.test_workers import ECHO, until

SYMBOLS = [f"S{number}" for number in range(12)]


@contextlib.asynccontextmanager
async def worker(nats: Nats, folder: Path) -> AsyncIterator[None]:
    """A worker on the folder's functions and subjects.yaml."""
    environment = {
        "JETSCAN_NATS_URL": nats.url,
        "JETSCAN_FUNCTIONS_DIR": str(folder / "functions"),
        "JETSCAN_SUBJECTS_FILE": str(folder / "subjects.yaml"),
    }
    supervisor = Supervisor(environment, folder / "logs", lambda _: None)
    supervisor.start_worker()
    try:
        yield
    finally:
        await supervisor.stop_all()


async def trade_all(nats: Nats) -> None:
    """A trade of every symbol, as anybody would publish it: the server finds the partition."""
    client = await nats_py.connect(nats.url)
    for symbol in SYMBOLS:
        await client.publish(f"ticks.raw.{symbol}", b'{"price": 1.0, "size": 1}')
    await client.flush()
    await client.close()


async def said(nats: Nats, subjects: Subjects, wanted: int) -> dict[str, list[tuple[int, float]]]:
    """What was said of each symbol, once there is so much: in which partition, and its number."""

    async def count() -> bool:
        return (await nats.bus.stream_state("ALERTS")).messages >= wanted

    await until(count)
    found: dict[str, list[tuple[int, float]]] = {}
    last = (await nats.bus.stream_state("ALERTS")).last
    async for message in nats.bus.read_to("ALERTS", ["alerts.*"], 1, last):
        frame = decode(message.data, subjects.record_of("alerts"))
        for symbol, price in zip(frame["symbol"], frame["price"].tolist(), strict=True):
            place = int(message.subject.rpartition(".")[2])
            found.setdefault(str(symbol), []).append((place, price))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "echo.py").write_text(ECHO, encoding="utf-8")
    text = (ROOT / "subjects.yaml").read_text(encoding="utf-8")
    (tmp_path / "subjects.yaml").write_text(text, encoding="utf-8")
    return tmp_path


async def test_every_symbol_goes_on_in_its_new_partition_with_its_state(
    nats: Nats, subjects: Subjects, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, file = load_plan(folder / "functions", subjects), folder / "subjects.yaml"
    async with worker(nats, folder):
        await trade_all(nats)
        await said(nats, subjects, len(SYMBOLS))
        with pytest.raises(PartitionsError, match="workers or feeds are running"):
            await change(nats.bus, subjects, 3, plan, file)
    await trade_all(nats)
    with pytest.raises(PartitionsError, match="has not answered all of its input"):
        await change(nats.bus, subjects, 3, plan, file)
    async with worker(nats, folder):
        await said(nats, subjects, 2 * len(SYMBOLS))
    with pytest.raises(PartitionsError, match="there are 8 partitions already"):
        await change(nats.bus, subjects, 8, plan, file)

    def broken(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(partitions, "_write_number", broken)
        with pytest.raises(OSError, match="disk is full"):
            await change(nats.bus, subjects, 3, plan, file)
    with pytest.raises(PartitionsError, match="finish it first: jetscan partitions 3"):
        await change(nats.bus, subjects, 4, plan, file)
    units = await change(nats.bus, subjects, 3, plan, file)
    assert units == ["echo.0", "echo.1", "echo.2"]
    assert await nats.bus.kv("snapshots").get(STAGE) is None
    assert await nats.bus.kv("snapshots").keys("echo.5") == []

    few = load_subjects(file)
    assert few.partitions == 3
    async with worker(nats, folder):
        await trade_all(nats)
        found = await said(nats, few, 3 * len(SYMBOLS))
        for symbol in SYMBOLS:
            old, new = partition_of(symbol, 8), partition_of(symbol, 3)
            assert found[symbol] == [(old, 1.0), (old, 2.0), (new, 3.0)], symbol


async def test_a_number_changed_by_hand_is_refused_by_the_worker(
    nats: Nats, subjects: Subjects, folder: Path
) -> None:
    async with worker(nats, folder):
        await trade_all(nats)
        await said(nats, subjects, len(SYMBOLS))
    partitions._write_number(folder / "subjects.yaml", 3)
    async with worker(nats, folder):

        async def refused() -> list[str]:
            return [one for one in (await ask_lag(nats.bus)).faults if "saved for 8" in one]

        assert "jetscan partitions 3" in json.dumps(await until(refused))
