"""Looking at functions that run: `jetscan tail`, `state`, `top` and `logs`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from runtime.bus import Bus
from runtime.cli import main
from runtime.config import Settings
from runtime.developing import top
from runtime.developing.state import StateError, remembered
from runtime.developing.tail import TailError, tail, wanted
from runtime.frames import Frame, encode
from runtime.loader import load_plan
from runtime.subjects import Subjects, partition_of
from runtime.worker import Worker
from tests.conftest import ROOT, Nats

T0 = 1_767_623_400_000_000_000  # 2026-01-05T14:30:00Z
PARTITION = partition_of("AAPL", 8)
HIGHEST = '''
"""Highest: a print above all before."""
import numpy as np
from runtime import Drop, function

@function(reads="ticks.trades", writes="alerts", state={"high": "f8", "recent": ("f8", 8), "note": "text"})
def highest(trades, state):
    if (trades["price"] > 1000).any():
        raise Drop("nobody means that")
    met = state["high"][trades["row"]]
    np.maximum.at(state["high"], trades["row"], trades["price"])
    state["recent"][trades["row"], 0] = trades["price"]
    state["note"] = "seen"
    return trades[(met > 0) & (trades["price"] > met)]
'''


async def send(nats: Nats, subjects: Subjects, *prices: float, symbol: str = "AAPL") -> None:
    """Prints of a symbol of the partition of AAPL, a frame each."""
    for number, price in enumerate(prices):
        columns = {"ts_ns": [T0 + number], "price": [price], "size": [100.0]}
        arrays = {name: np.array(values) for name, values in columns.items()}
        frame = Frame(arrays, [symbol], np.zeros(1, int), "test")
        data = encode(frame, subjects.record_of("ticks.trades"))
        await nats.bus.put(subjects.wire("ticks.trades", PARTITION), data)


@contextlib.asynccontextmanager
async def hosted(nats: Nats, subjects: Subjects, folder: Path) -> AsyncIterator[None]:
    """A worker that hosts `highest` alone."""
    (folder / "highest.py").write_text(HIGHEST, encoding="utf-8")
    bus, control = await Bus.connect(nats.url, "w"), await Bus.connect(nats.url, "c")
    settings = Settings(functions_dir=str(folder), snapshot_interval_s=0.1)
    worker = Worker(settings, subjects, bus, control)
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await running
        await bus.close()
        await control.close()


async def told(nats: Nats, subjects: Subjects, subject: str, count: int, **how: Any) -> list[Any]:
    """The events of a subject as programs get them."""
    lines: list[str] = []
    asked = wanted(subjects, subject, how.get("symbols", ()), how.get("last", 0))
    async with asyncio.timeout(20):
        await tail(nats.bus, subjects, asked, lines.append, True, count)
    return [json.loads(line) for line in lines]


async def test_what_runs_can_be_looked_at(nats: Nats, subjects: Subjects, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    folder.mkdir()
    await send(nats, subjects, 10.0, 11.0, 2000.0, 12.0)
    await send(nats, subjects, 7.0, symbol="AAPD")
    async with hosted(nats, subjects, folder):
        alerts = await told(nats, subjects, "alerts", 2, last=10)
        assert [(one["symbol"], one["price"]) for one in alerts] == [("AAPL", 11.0), ("AAPL", 12.0)]
        assert alerts[0] == {
            "subject": f"alerts.{PARTITION}",
            "sequence": 1,
            "position": "2.0",
            "source": "highest",
            "symbol": "AAPL",
            "ts_ns": T0 + 1,
            "price": 11.0,
        }
        letters = await told(nats, subjects, "dead.highest", 1, last=1)
        assert letters[0]["reason"] == "Drop: nobody means that"
        plan = load_plan(folder, subjects)
        found = await saved(nats, subjects, plan, 12.0)
        assert found.columns == {"high": 12.0, "recent": [12.0] + [0.0] * 7}
        assert found.texts == {"note": "seen"}
        assert found.cursor == 5
        with pytest.raises(
            StateError, match="has seen no AAPT yet, of 2 symbols; did you mean AAPL"
        ):
            await remembered(nats.bus, subjects, plan, "highest", "AAPT")
        with pytest.raises(StateError, match="no function lowest; with state there are highest"):
            await remembered(nats.bus, subjects, plan, "lowest", "AAPL")
        await _check_top(nats, subjects)


async def saved(nats: Nats, subjects: Subjects, plan: Any, high: float) -> Any:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(StateError):
                found = await remembered(nats.bus, subjects, plan, "highest", "AAPL")
                if found.columns["high"] == high and found.cursor == 5:
                    return found
            await asyncio.sleep(0.05)


async def _check_top(nats: Nats, subjects: Subjects) -> None:
    before = await top.look(nats.bus)
    await send(nats, subjects, *np.arange(1.0, 21.0))
    await told(nats, subjects, "alerts", 1, last=1)
    async with asyncio.timeout(20):
        while not (rows := top.rows(before, now := await top.look(nats.bus)))[0]["ms_frame"]:
            await asyncio.sleep(0.05)
    assert (rows[0]["function"], rows[0]["chain"], rows[0]["units"]) == ("highest", "highest", 8)
    assert rows[0]["events_s"] > 0
    assert (now.workers, now.faults) == (1, ())


async def test_only_the_symbols_asked_for_are_told_and_core_subjects_from_now_on(
    nats: Nats, subjects: Subjects
) -> None:
    await send(nats, subjects, 1.0, 2.0)
    await nats.bus.put("ticks.raw.MSFT", b'{"price": 3.0, "size": 1}')
    found = await told(nats, subjects, "ticks.trades", 1, last=5, symbols=("MSFT",))
    assert [(one["symbol"], one["price"]) for one in found] == [("MSFT", 3.0)]
    found = await told(nats, subjects, f"ticks.trades.{PARTITION}", 1, last=1)
    assert found[0]["price"] == 3.0  # it came last, and MSFT is of the same partition
    data = encode(
        Frame({"id": np.array(["q"], object), "body": np.array(["{}"], object)}, source="x"),
        subjects.record_of("why.values"),
    )
    hearing = asyncio.create_task(told(nats, subjects, "why.values", 1))
    while not hearing.done():
        await nats.bus.publish("why.values.3", data)
        await asyncio.sleep(0.02)
    assert (await hearing)[0]["body"] == "{}"
    await nats.bus.put("ticks.quotes.1", b"no frame")
    assert (
        "neither msgpack nor JSON"
        in (await told(nats, subjects, "ticks.quotes", 1, last=1))[0]["refused"]
    )


def test_a_subject_that_is_not_there_is_answered_with_those_that_are(subjects: Subjects) -> None:
    with pytest.raises(TailError, match=r"no subject ticks\.trade; did you mean ticks\.trades\?"):
        wanted(subjects, "ticks.trade", (), 0)
    with pytest.raises(TailError, match="leave --symbol out"):
        wanted(subjects, "dead", ["A"], 0)
    with pytest.raises(TailError, match=r"bars\.live: no stream keeps it"):
        wanted(subjects, "bars.live", (), 5)


# -- logs

INFO = {
    "timestamp": "2026-01-05T14:30:01.5Z",
    "level": "info",
    "event": "unit taken",
    "unit": "market.3",
}
BAD = {
    "timestamp": "2026-01-05T14:30:00.5Z",
    "level": "error",
    "event": "dead letter",
    "function": "notify",
}
STACK = [
    {
        "exc_type": "ValueError",
        "exc_value": "no",
        "frames": [{"filename": "a.py", "lineno": 3, "name": "f"}],
    }
]


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The logs of two processes; one of them died."""
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = [json.dumps(INFO), "Traceback (most recent call last):", "half a li"]
    (folder / "worker-1.log").write_text("\n".join(lines), encoding="utf-8")
    failed = {**BAD, "exception": STACK}
    (folder / "history.log").write_text(f"{json.dumps(failed)}\n", encoding="utf-8")
    monkeypatch.setenv("JETSCAN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JETSCAN_FUNCTIONS_DIR", str(ROOT / "functions"))
    monkeypatch.setenv("JETSCAN_SUBJECTS_FILE", str(ROOT / "subjects.yaml"))
    return folder


def jetscan_logs(*words: str) -> Result:
    return CliRunner().invoke(main, ["logs", *words])


def test_logs_of_all_processes_are_in_the_order_of_time(logs: Path) -> None:
    assert jetscan_logs().stdout.splitlines() == [
        "14:30:00.5Z  history    error    dead letter  function=notify",
        "    a.py:3 in f",
        "    ValueError: no",
        "14:30:01.5Z  worker-1   info     unit taken  unit=market.3",
        "14:30:01.5Z  worker-1            Traceback (most recent call last):",
    ]


@pytest.mark.parametrize(
    ("words", "events"),
    [
        (["worker-1"], ["unit taken", "Traceback (most recent call last):"]),
        (["bars"], ["unit taken"]),
        (["notify"], ["dead letter"]),
        (["--level", "error"], ["dead letter", "Traceback (most recent call last):"]),
        (["--last", "1"], ["Traceback (most recent call last):"]),
    ],
)
def test_logs_are_of_a_process_a_function_or_a_level(
    logs: Path, words: list[str], events: list[str]
) -> None:
    found = [json.loads(line) for line in jetscan_logs(*words, "--json").stdout.splitlines()]
    assert [one["event"] for one in found] == events


def test_logs_of_nobody_are_refused_with_who_there_is(logs: Path, monkeypatch: Any) -> None:
    assert "nobody is neither a process (history, worker-1)" in jetscan_logs("nobody").stderr
    assert jetscan_logs("--level", "loud").exit_code == 2
    monkeypatch.setenv("JETSCAN_DATA_DIR", str(logs / "none"))
    assert "no logs; `jetscan dev` writes them" in jetscan_logs().stderr
