"""A live day and its replay: the same alerts, and what was tampered with is found."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from runtime.cli import main
from runtime.config import Settings
from runtime.frames import Frame, decode, encode, texts
from runtime.ingest import Ingest
from runtime.loader import load_plan
from runtime.parity import WARM_NS, Compared, ParityError, Replay, parity
from runtime.providers.file import FileProvider
from runtime.rebuild import POSITION
from runtime.subjects import Subjects
from tests.conftest import ROOT, Nats
from tests.journey.test_backtest_and_live import RULES, answered, recorded


async def live_day(tmp_path: Path, nats: Nats, subjects: Subjects) -> None:
    """Twenty minutes of a simulated market, hosted until everything is answered; rules change on the way."""
    for version, rules in ((1, RULES[:1]), (2, RULES)):
        body = texts([json.dumps({"rules": rules})])
        control = Frame({"version": np.array([version]), "body": body}, source="test")
        for partition in range(subjects.partitions):
            data = encode(control, subjects.record_of("control"))
            await nats.bus.put(subjects.wire("control", partition), data)
    file = recorded(tmp_path / "day.parquet")
    await Ingest(nats.bus, subjects, FileProvider([file], speed=0)).run()
    await asyncio.wait_for(answered(nats, subjects), 60)


async def compared(nats: Nats, subjects: Subjects, from_ns: int = 0) -> Compared:
    plan = load_plan(Path(Settings(functions_dir=str(ROOT / "functions")).functions_dir), subjects)
    return await parity(nats.bus, subjects, plan, from_ns, 92 * 10**17, lambda *_: None)


async def tamper(nats: Nats, subjects: Subjects) -> str:
    """Put an alert with another price in the place of one; its id."""
    newest = await nats.bus.newest("ALERTS", [f"alerts.{p}" for p in range(subjects.partitions)])
    message = next(iter(newest.values()))
    frame = decode(message.data, subjects.record_of("alerts"))
    frame.columns["price"] = frame["price"].copy()
    frame.columns["price"][0] += 1.0
    await nats.bus.api("STREAM.MSG.DELETE.ALERTS", {"seq": message.sequence})
    headers = {POSITION: message.headers[POSITION]}
    await nats.bus.put(message.subject, encode(frame, subjects.record_of("alerts")), headers)
    return str(frame["id"][0])


async def test_a_live_day_and_its_replay_say_the_same_until_one_alert_is_tampered_with(
    tmp_path: Path, nats: Nats, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live_day(tmp_path, nats, subjects)
    same = await compared(nats, subjects)
    assert same.live > 10
    assert same.line == f"live {same.live:,} / replay {same.live:,} / differ 0"
    assert not same.differences
    assert not same.notes
    wanted = await tamper(nats, subjects)
    found = await compared(nats, subjects)
    assert (found.live, found.replay, found.differ) == (same.live, same.live, 1)
    assert found.differences[0]["id"] == wanted
    assert found.differences[0]["difference"].startswith("price: live ")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("JETSCAN_NATS_URL", nats.url)
    told = await asyncio.to_thread(CliRunner().invoke, main, ["parity"])
    assert told.exit_code == 1
    lines = told.stdout.splitlines()
    assert lines[0] == f"live {same.live:,} / replay {same.live:,} / differ 1"
    assert wanted in lines[1]
    later = found.differences[0]["time"]
    before = await asyncio.to_thread(CliRunner().invoke, main, ["parity", "--to", later[:16] + "Z", "--json"])  # fmt: skip
    assert before.exit_code == 0, before.output
    told_before = json.loads(before.stdout)
    assert told_before["differ"] == 0
    assert 0 < told_before["live"] < same.live


async def test_where_the_beginning_of_the_market_is_gone_only_what_follows_a_warm_up_is_compared(
    tmp_path: Path, nats: Nats, subjects: Subjects
) -> None:
    await live_day(tmp_path, nats, subjects)
    state = await nats.bus.stream_state("MARKET")
    await nats.bus.api("STREAM.PURGE.MARKET", {"seq": state.first + state.messages // 4})
    found = await compared(nats, subjects)
    assert (found.live, found.replay, found.differ) == (0, 0, 0)  # the day is shorter than that
    assert "MARKET begins at message" in found.notes[0]
    assert found.from_ns > WARM_NS


async def test_a_market_that_nobody_hosts_cannot_be_compared(
    nats: Nats, subjects: Subjects
) -> None:
    with pytest.raises(ParityError, match="holds nothing to replay"):
        await compared(nats, subjects)
    frame = Frame({"ts_ns": np.array([10**18])})
    await nats.bus.put("ticks.clock.0", encode(frame, subjects.record_of("ticks.clock")))
    with pytest.raises(ParityError, match="no input is answered for certain yet"):
        await compared(nats, subjects)


async def test_a_replay_ends_where_the_last_message_it_goes_to_was_deleted(
    nats: Nats, subjects: Subjects
) -> None:
    for second in range(1, 4):
        frame = Frame({"ts_ns": np.array([10**18 + second * 10**9])})
        await nats.bus.put("ticks.clock.0", encode(frame, subjects.record_of("ticks.clock")))
    await nats.bus.api("STREAM.MSG.DELETE.MARKET", {"seq": 3})
    replay = Replay(nats.bus, subjects, load_plan(ROOT / "functions", subjects), 1, 3)
    replay.answered = {0: 3}
    assert await asyncio.wait_for(replay.run(lambda *_: None), 10) == {}
