"""A new version beside the live one on real workers: seen by nobody, compared, promoted with its state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime.loader import ChainPlan, load_plan
from runtime.shadow import (
    Shadow,
    ShadowError,
    check_promotion,
    copy_functions,
    note_report,
    promoted,
)
from runtime.subjects import Subjects
from tests.conftest import Nats
from tests.journey.test_workers import ECHO, hosted, more, prices, trade, until, workers

LOUDER = ECHO.replace('"price": state["count"]', '"price": 100 + state["count"]')


def chain_in(folder: Path, code: str, subjects: Subjects) -> ChainPlan:
    folder.mkdir(exist_ok=True)
    (folder / "echo.py").write_text(code, encoding="utf-8")
    chain = load_plan(folder, subjects).chain("echo")
    assert chain is not None
    return chain


async def compared(nats: Nats, subjects: Subjects, chain: ChainPlan) -> Mapping[str, Any]:
    """The report of a shadow that sees three trades."""
    before = len(await prices(nats, subjects))
    shadow, stopping = Shadow(nats.bus, subjects, chain), asyncio.Event()
    await shadow.begin()
    running = asyncio.create_task(shadow.run(stopping))
    for _ in range(3):
        await trade(nats, 10.0)
    await until(lambda: more(nats, subjects, before + 2))
    stopping.set()
    await running
    report = await shadow.compared()
    await note_report(nats.bus, report)
    return report


async def test_a_version_is_run_beside_the_live_one_compared_and_promoted(
    nats: Nats, subjects: Subjects, tmp_path: Path
) -> None:
    live = tmp_path / "functions"
    chain_in(live, ECHO, subjects)
    async with workers(nats, live):
        await until(lambda: hosted(nats, "echo"))
        await trade(nats, 10.0)
        await until(lambda: more(nats, subjects, 0))
        await until(lambda: nats.bus.kv("snapshots").keys("echo"))  # there is a state to fork

        same = await compared(nats, subjects, chain_in(tmp_path / "same", ECHO, subjects))
        assert same["subjects"] == {"alerts": {"live": 3, "shadow": 3, "differ": 0}}
        assert (same["inputs"], same["dead"], same["notes"]) == (3, 0, [])

        louder = chain_in(tmp_path / "new", LOUDER, subjects)
        with pytest.raises(ShadowError, match="was not run as a shadow"):
            await check_promotion(nats.bus, louder, True)
        report = await compared(nats, subjects, louder)
        assert report["differ"] == 3
        assert report["columns"] == {"alerts price": 3}
        assert [one["price"] for one in report["shown"]] == [[n, 100.0 + n] for n in (5, 6, 7)]
        assert await prices(nats, subjects) == [float(n) for n in range(1, 8)]
        assert (await nats.bus.stream_state("SHADOW")).messages >= 6

        with pytest.raises(ShadowError, match="3 events differed"):
            await check_promotion(nats.bus, louder, False)
        await check_promotion(nats.bus, louder, True)
        assert copy_functions(louder.functions, live) == ["echo.py"]
        assert copy_functions(louder.functions, live) == []
        assert await promoted(nats.bus, "echo", louder.version, len(louder.partitions)) == []
        await trade(nats, 10.0)
        await until(lambda: more(nats, subjects, 7))
        assert (await prices(nats, subjects))[-1] == 108.0  # its state went on


async def test_a_version_whose_state_does_not_fit_or_that_fails_is_told(
    nats: Nats, subjects: Subjects, tmp_path: Path
) -> None:
    live = tmp_path / "functions"
    chain_in(live, ECHO, subjects)
    async with workers(nats, live):
        await until(lambda: hosted(nats, "echo"))
        await trade(nats, 10.0)
        await until(lambda: more(nats, subjects, 0))
        await until(lambda: nats.bus.kv("snapshots").keys("echo"))
        other = chain_in(tmp_path / "other", ECHO.replace('"f8"', '"i8"'), subjects)
        with pytest.raises(ShadowError, match="cannot be forked: function echo: its state"):
            await Shadow(nats.bus, subjects, other).begin()
        failing = ECHO.replace('    state["count"]', '    raise ValueError("no")\n    state["count"]', 1)  # fmt: skip
        report = await compared(nats, subjects, chain_in(tmp_path / "failing", failing, subjects))
        assert report["dead"] == 3
        assert report["columns"] == {"alerts only live": 3}
        broken = load_plan(tmp_path / "failing", subjects).chain("echo")
        assert broken is not None
        with pytest.raises(ShadowError, match="set 3 frames aside"):
            await check_promotion(nats.bus, broken, True)
        assert (await nats.bus.stream_state("DEAD")).messages == 0
        await nats.bus.api("STREAM.DELETE.SHADOW")
        with pytest.raises(ShadowError, match="run jetscan provision"):
            await Shadow(nats.bus, subjects, broken).begin()
