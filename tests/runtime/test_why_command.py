"""`jetscan why`: from files, from a running deployment, and from what it recorded."""

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

from functions.rules import check_rules, faults_by_rule
from runtime import why as why_module
from runtime.bus import Bus
from runtime.cli import main
from runtime.config import Settings
from runtime.frames import Frame, encode, texts
from runtime.gateway.book import Book
from runtime.loader import load_plan
from runtime.subjects import Subjects, partition_of
from runtime.tables import write_parquet
from runtime.why import Question, WhyError, ask_live, from_stream, lines, said_time
from runtime.worker import Worker
from tests.conftest import ROOT, Nats

T0 = 1_767_623_400_000_000_000  # 2026-01-05T14:30:00Z
SECOND_NS = 10**9
OVER = {"id": "over", "name": "Over ten", "when": "price > 10 volume >= 0 cooldown 0s"}
HIGHER = {**OVER, "when": "price > 20 volume >= 0 cooldown 0s"}
BROKEN = {"id": "broken", "name": "Broken", "when": "prise > 10"}
PARTITION = partition_of("AAPL", 8)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Twenty prints, one a second, of 1 to 20 dollars, and a rule."""
    columns: dict[str, Any] = {"symbol": ["AAPL"] * 20, "price": np.arange(1.0, 21.0)}
    columns["ts_ns"] = T0 + np.arange(20) * SECOND_NS
    columns["size"] = np.full(20, 100.0)
    write_parquet(tmp_path / "trades.parquet", columns)
    (tmp_path / "rules.json").write_text(json.dumps([OVER]), encoding="utf-8")
    return ["--trades", str(tmp_path / "trades.parquet"), "--rules", str(tmp_path / "rules.json")]


def why(*words: str) -> Result:
    return CliRunner().invoke(main, ["why", *words])


def test_a_file_without_trades_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("symbol,ts_ns,price,size\n", encoding="utf-8")
    told = why("over", "AAPL", "--trades", str(tmp_path / "none.csv"))
    assert isinstance(told.exception, SystemExit)
    assert "none.csv: holds no trades\n" in told.stderr


def test_a_replay_of_files_ends_at_the_time_asked_about(files: list[str]) -> None:
    told = why("over", "AAPL", "--at", "2026-01-05T14:30:04Z", *files)
    assert told.exit_code == 0, told.output
    assert "AAPL at 2026-01-05 14:30:04 UTC: false\n" in told.stdout
    assert "price > 10  value 5  threshold 10  margin -50 %  false" in told.stdout
    told = why("over", "AAPL", "--at", "2026-01-05T14:30:12.5Z", *files, "--json")
    found = json.loads(told.stdout)
    assert found["leaves"][0]["value"] == 13.0
    assert (found["verdict"], found["since_ns"]) == ("true", T0 + 10 * SECOND_NS)


def test_without_a_time_the_end_of_the_files_is_meant(files: list[str]) -> None:
    told = why("over", "AAPL", *files)
    assert "true since 2026-01-05 14:30:10 UTC, fired then" in told.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ovr", "AAPL"], "no rule 'ovr' runs; did you mean over?"),
        (["over", "APL"], "nothing has been heard of 'APL' yet; did you mean AAPL?"),
        (["over", "AAPL", "--at", "noon"], "--at noon: expected nanoseconds"),
    ],
)
def test_what_cannot_be_answered_ends_with_one_line(
    files: list[str], words: list[str], says: str
) -> None:
    told = why(*words, *files)
    assert told.exit_code == 1
    assert says in told.stderr
    assert told.stderr.count("\n") == 1


def test_the_starter_rules_are_asked_where_none_are_named(files: list[str]) -> None:
    starter = json.loads((ROOT / "functions/rules/examples.json").read_text(encoding="utf-8"))
    told = why(starter[0]["id"], "AAPL", *files[:2], "--json")
    assert json.loads(told.stdout)["name"] == starter[0]["name"]


def test_reasons_are_readable() -> None:
    told = {"rule": "r", "name": "R", "text": "price > 1", "english": "Fires.", "symbol": "A"}
    told |= {"ts_ns": T0, "verdict": "true", "since_ns": 0, "fired_ns": T0, "leaves": []}  # type: ignore[dict-item]
    told["why"] = ["true already", f"cooling down until {T0 + 500_000_000}"]  # type: ignore[assignment]
    half = said_time(T0 + 500_000_000)
    told |= {"leaves": [_LEAF], "conditions": []}  # type: ignore[dict-item]
    assert list(lines(told))[2:] == [
        f"A at {said_time(T0)}: true, true already, cooling down until {half}, fired last at {said_time(T0)}",
        "  rsi_14 > 50  value -  threshold 50  margin -  unknown  missing: rsi_14",
    ]


_LEAF = {
    "text": "rsi_14 > 50",
    "value": None,
    "threshold": 50.0,
    "margin": None,
    "truth": None,
    "why": ["missing: rsi_14"],
}


# -- a running deployment


async def send(nats: Nats, subjects: Subjects, base: str, frame: Frame) -> None:
    data = encode(frame, subjects.record_of(base))
    await nats.bus.put(subjects.wire(base, PARTITION), data)


async def second(nats: Nats, subjects: Subjects, number: int, price: float) -> None:
    """A print, and the clock event after it."""
    columns = {"ts_ns": [T0 + number * SECOND_NS], "price": [price], "size": [100.0]}
    arrays = {name: np.array(values) for name, values in columns.items()}
    await send(nats, subjects, "ticks.trades", Frame(arrays, ["AAPL"], np.zeros(1, int), "test"))
    clock = Frame({"ts_ns": np.array([T0 + number * SECOND_NS + 1])}, source="test")
    await send(nats, subjects, "ticks.clock", clock)


async def rules(nats: Nats, subjects: Subjects, version: int, *some: dict[str, Any]) -> None:
    body = texts([json.dumps({"rules": list(some)})])
    control = Frame({"version": np.array([version]), "body": body}, source="test")
    await send(nats, subjects, "control", control)


@contextlib.asynccontextmanager
async def hosted(nats: Nats, subjects: Subjects) -> AsyncIterator[None]:
    """A worker that has read all there is."""
    bus, control = await Bus.connect(nats.url, "w"), await Bus.connect(nats.url, "c")
    worker = Worker(Settings(functions_dir=str(ROOT / "functions")), subjects, bus, control)
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await running
        await bus.close()
        await control.close()


async def live(nats: Nats, subjects: Subjects, rule: str, symbol: str = "AAPL") -> dict[str, Any]:
    """The answer, once a worker owns the partition."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(WhyError):
                return await ask_live(nats.bus, subjects, Question(rule, symbol))


async def recorded(
    nats: Nats, subjects: Subjects, at_s: float, control: str = ""
) -> dict[str, Any]:
    plan = load_plan(ROOT / "functions", subjects)
    question = Question("over", "AAPL", T0 + int(at_s * SECOND_NS))
    return await from_stream(nats.bus, subjects, plan, question, control, lambda _, __: None)


async def test_a_running_worker_answers_and_one_bad_rule_in_the_bucket_stops_no_other(
    nats: Nats, subjects: Subjects
) -> None:
    kv = nats.bus.kv("rules")
    for rule in (BROKEN, OVER, {**OVER, "id": "off", "enabled": False}):
        await kv.put(str(rule["id"]), json.dumps(rule).encode())
    await kv.put("bytes", b"no JSON")
    book = Book(nats.bus, subjects, {"control": check_rules, "ask.faults": faults_by_rule})
    await book.open()
    faults = {one["id"]: one["fault"] for one in book.rules.all() if "fault" in one}
    assert set(faults) == {"broken", "bytes"}
    assert "did you mean price" in faults["broken"]
    assert book.verdict("broken")["error"].endswith(faults["broken"])
    assert book.verdict("over") == {"valid": True}
    await book.rules.replace("broken", {**book.rules.get("broken"), "when": "price > 9"})
    assert "fault" not in book.rules.get("broken")
    await kv.put("broken", json.dumps(BROKEN).encode())
    await book.refresh()
    for number, price in enumerate((9.0, 11.0)):
        await second(nats, subjects, number, price)
    async with hosted(nats, subjects):
        told = await live(nats, subjects, "over")
        while told.get("fired_ns") != T0 + SECOND_NS:
            told = await live(nats, subjects, "over")
        assert (told["verdict"], told["since_ns"]) == ("true", T0 + SECOND_NS)
        assert (await live(nats, subjects, "off"))["fault"] == "rule off is disabled"
        assert "did you mean over?" in (await live(nats, subjects, "ovre"))["fault"]
    assert len(await nats.bus.history("ALERTS", f"alerts.{PARTITION}", 10)) == 1
    await book.close()


async def test_without_a_worker_it_says_so_within_two_seconds(
    nats: Nats, subjects: Subjects
) -> None:
    with pytest.raises(WhyError, match="no worker answered for partition"):
        await ask_live(nats.bus, subjects, Question("over", "AAPL"))


async def test_a_recorded_time_is_asked_with_the_rules_of_then(
    nats: Nats, subjects: Subjects
) -> None:
    await rules(nats, subjects, 1, OVER)
    await second(nats, subjects, 0, 9.0)
    await second(nats, subjects, 1, 11.0)
    await rules(nats, subjects, 2, HIGHER)
    await second(nats, subjects, 2, 12.0)
    told = [await recorded(nats, subjects, at_s) for at_s in (0.5, 1, 2)]
    assert [one["verdict"] for one in told] == ["false", "true", "false"]
    assert [one["leaves"][0]["threshold"] for one in told] == [10.0, 10.0, 20.0]
    assert told[1]["since_ns"] == T0 + SECOND_NS
    other = await recorded(nats, subjects, 2, json.dumps({"rules": [OVER]}))
    assert other["leaves"][0]["threshold"] == 10.0


async def test_a_time_before_or_behind_the_recording_is_refused_with_its_ends(
    nats: Nats, subjects: Subjects
) -> None:
    await second(nats, subjects, 0, 9.0)
    with pytest.raises(WhyError, match=r"no longer reaches back to .*--trades"):
        await recorded(nats, subjects, -60)
    with pytest.raises(WhyError, match="is not yet at"):
        await recorded(nats, subjects, 60)


async def test_a_stream_that_lost_its_beginning_is_said_and_the_rules_of_now_stand_in(
    nats: Nats, subjects: Subjects
) -> None:
    await rules(nats, subjects, 1, OVER)
    await second(nats, subjects, 0, 9.0)
    await second(nats, subjects, 1, 11.0)
    await nats.bus.kv("rules").put("over", json.dumps(HIGHER).encode())
    await nats.bus.api("STREAM.PURGE.MARKET", {"seq": 4})
    told = await recorded(nats, subjects, 1)
    assert told["leaves"][0]["threshold"] == 20.0
    assert [note.partition(":")[0] for note in told["notes"]] == [
        "older events are gone from MARKET",
        "no rule change is left in MARKET",
    ]


async def test_a_recording_whose_last_message_is_deleted_meanwhile_is_read_to_its_end(
    nats: Nats, subjects: Subjects
) -> None:
    await rules(nats, subjects, 1, OVER)
    await second(nats, subjects, 1, 11.0)
    await second(nats, subjects, 2, 12.0)
    plan = load_plan(ROOT / "functions", subjects)
    replay = why_module._Replay(subjects, why_module._market(plan), Question("over", "AAPL"))
    end = (await nats.bus.stream_state("MARKET")).last
    await nats.bus.api("STREAM.MSG.DELETE.MARKET", {"seq": end})
    async with asyncio.timeout(10):
        read = [one.sequence async for one in why_module._recorded(nats.bus, replay, end)]
    assert read == list(range(1, end))


def test_times_are_said_in_utc_to_the_nanosecond() -> None:
    assert said_time(T0) == "2026-01-05 14:30:00 UTC"
    assert said_time(T0 + 1) == "2026-01-05 14:30:00.000000001 UTC"
