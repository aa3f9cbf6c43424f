"""`jetscan replay`: a change of code is a difference of output."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from runtime.cli import main
from runtime.developing.replaying import Asked, Replayed, ReplayError, lines, replay
from runtime.frames import Frame, encode
from runtime.loader import load_plan
from runtime.rebuild import POSITION
from runtime.subjects import Subjects
from tests.conftest import ROOT, Nats
from tests.runtime.test_looking import HIGHEST, PARTITION, T0, hosted, send

ALL = (0, 1 << 62)
WITHIN = HIGHEST.replace('trades["price"] > met)]', 'trades["price"] > met + 1)]')
DEARER = HIGHEST.replace("return trades[(met > 0)", "trades = trades[:]\n    trades.columns['price'] = trades['price'] + 1\n    return trades[(met > 0)")  # fmt: skip
PRICES = (10.0, 11.0, 2000.0, 13.0, 13.5)


async def again(nats: Nats, subjects: Subjects, folder: Path, code: str, *asked: Any) -> Replayed:
    (folder / "highest.py").write_text(code, encoding="utf-8")
    how = Asked("highest", *(asked or ALL))
    return await replay(nats.bus, subjects, load_plan(folder, subjects), how, lambda _, __: None)


def told(found: Replayed) -> list[tuple[str, float]]:
    return [(one["difference"], one["price"]) for one in found.differences]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "functions"
    made.mkdir()
    return made


async def test_a_change_of_code_is_a_difference_of_what_was_said_live(
    nats: Nats, subjects: Subjects, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ReplayError, match="MARKET holds nothing to replay"):
        await again(nats, subjects, folder, HIGHEST)
    await send(nats, subjects, *PRICES)
    with pytest.raises(ReplayError, match=r"highest was never hosted here.*--sandbox"):
        await again(nats, subjects, folder, HIGHEST)
    async with hosted(nats, subjects, folder):
        async with asyncio.timeout(20):
            while (await nats.bus.consumer_state("MARKET", f"highest-{PARTITION}") or _Nobody).acknowledged < 5:  # fmt: skip
                await asyncio.sleep(0.05)
    await another(nats, subjects)
    same = await again(nats, subjects, folder, HIGHEST)
    assert (same.compared, same.differ, same.dead) == ((3, 3), 0, 1)
    assert same.reasons == ["highest: Drop: nobody means that"]
    narrower = await again(nats, subjects, folder, WITHIN)
    assert told(narrower) == [("gone", 11.0), ("gone", 13.5)]
    assert told(await again(nats, subjects, folder, WITHIN, T0 + 2, T0 + 5)) == [("gone", 13.5)]
    dearer = await again(nats, subjects, folder, DEARER)
    assert [one["difference"] for one in dearer.differences][:2] == [
        "price: 11 -> 12",
        "price: 13 -> 14",
    ]
    assert list(lines(dearer, 1))[1:4] == [
        "live 3 / replay 3 / differ 3",
        "  ~ 2026-01-05 14:30:00.000  AAPL      subject=alerts  price: 11 -> 12",
        "  ... 2 more",
    ]
    monkeypatch.setenv("JETSCAN_NATS_URL", nats.url)
    monkeypatch.setenv("JETSCAN_FUNCTIONS_DIR", str(folder))
    monkeypatch.setenv("JETSCAN_SUBJECTS_FILE", str(ROOT / "subjects.yaml"))
    monkeypatch.setenv("JETSCAN_DATA_DIR", str(tmp_path))
    words = ["replay", "highest", "--json", "--to", str(T0 + 2)]
    command = await asyncio.to_thread(CliRunner().invoke, main, words)
    assert command.exit_code == 1, command.output
    assert json.loads(command.stdout)["compared"] == [1, 1]


async def another(nats: Nats, subjects: Subjects) -> None:
    """An alert that another function said of the same input."""
    columns = {"ts_ns": np.array([T0 + 1]), "price": np.array([5.0])}
    frame = Frame(columns, ["AAPL"], np.zeros(1, int), "another")
    data = encode(frame, subjects.record_of("alerts"))
    await nats.bus.put(f"alerts.{PARTITION}", data, {POSITION: "2.1"})


class _Nobody:
    acknowledged = 0


async def test_a_sandbox_compares_one_replay_with_the_next(
    nats: Nats, subjects: Subjects, folder: Path, tmp_path: Path
) -> None:
    await send(nats, subjects, *PRICES[:2], *PRICES[3:])
    asked = (*ALL, tmp_path / "sandbox")
    found = await again(nats, subjects, folder, HIGHEST, *asked)
    assert (found.differ, found.said, found.notes[0][:27]) == (
        0,
        {"alerts": 3},
        "nothing was kept before: ch",
    )
    found = await again(nats, subjects, folder, HIGHEST, *asked)
    assert (found.compared, found.differ) == ((3, 3), 0)
    assert found.before == f"sandbox {found.version}"
    await send(nats, subjects, 20.0)  # an input that the replay before did not have is not compared
    found = await again(nats, subjects, folder, WITHIN, *asked)
    assert told(found) == [("gone", 11.0), ("gone", 13.5)]
    assert (await again(nats, subjects, folder, WITHIN, *asked)).compared == (2, 2)
    found = await again(nats, subjects, folder, HIGHEST, *asked)
    assert told(found) == [("new", 11.0), ("new", 13.5)]
    (tmp_path / "sandbox" / "said.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(ReplayError, match="remove it to begin anew"):
        await again(nats, subjects, folder, HIGHEST, *asked)
