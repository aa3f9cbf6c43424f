"""Kill and freeze workers under load: how long until the next owner speaks, and is anything amiss.

Two workers host a function that answers every frame. A round ends one of them with SIGKILL (or stops
it with SIGSTOP and wakes it later, a zombie) and measures until every partition that it owned has an
output of a newer epoch. At the end the outputs' positions are compared with the inputs.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from typing import Any

import numpy as np

from bench.machinery import ROOT, Stage, stage
from runtime.bus import Message
from runtime.config import Settings
from runtime.frames import Frame, encode
from runtime.subjects import Subjects, partition_of

EVERY_S = 0.02
ROUND_S = 15.0


def run(
    settings: Settings, subjects: Subjects, quiet: bool, kills: int = 10, freezes: int = 3
) -> tuple[dict[str, Any], dict[str, Any]]:
    sizes = {"partitions": subjects.partitions, "workers": 2, "kills": kills, "freezes": freezes}
    return sizes, asyncio.run(_measure(subjects, kills, freezes))


async def _measure(subjects: Subjects, kills: int, freezes: int) -> dict[str, Any]:
    async with stage(subjects) as running:
        spoken: dict[int, tuple[int, float]] = {}

        def heard(message: Message) -> None:
            epoch = int(message.headers.get("Jetscan-Epoch", 0))
            partition = int(message.subject.rpartition(".")[2])
            if epoch > spoken.get(partition, (0, 0.0))[0]:
                spoken[partition] = (epoch, time.monotonic())

        await running.bus.listen("alerts.*", heard)
        for _ in range(2):
            _start(running)
        await running.hosted(subjects.partitions)
        stopping = asyncio.Event()
        feeding = asyncio.create_task(_feed(running, subjects, stopping))
        await asyncio.sleep(3)
        killed = [await _round(running, spoken, signal.SIGKILL) for _ in range(kills)]
        frozen = [await _round(running, spoken, signal.SIGSTOP) for _ in range(freezes)]
        stopping.set()
        inputs = await feeding
        await _settled(running, inputs)
        amiss = await _compared(running, inputs)
    return {
        "kill_median_s": round(statistics.median(killed), 3) if killed else 0.0,
        "kill_max_s": round(max(killed, default=0.0), 3),
        "freeze_max_s": round(max(frozen, default=0.0), 3),
        **amiss,
    }


def _start(running: Stage) -> Any:
    return running.start("run", functions_dir=str(ROOT / "bench" / "functions"))


async def _feed(running: Stage, subjects: Subjects, stopping: asyncio.Event) -> list[list[int]]:
    """Publish a small frame into every partition, again and again; the sequences by partition."""
    symbols = [""] * subjects.partitions
    number = 0
    while not all(symbols):
        symbols[partition_of(f"S{number}", subjects.partitions)] = f"S{number}"
        number += 1
    record, stored = subjects.record_of("ticks.trades"), [[] for _ in symbols]
    number = 1
    while not stopping.is_set():
        columns = {"ts_ns": np.array([number]), "price": np.array([10.0]), "size": np.array([1.0])}
        for partition, symbol in enumerate(symbols):
            data = encode(Frame(columns, [symbol], np.zeros(1, dtype=int), "bench", number), record)
            stored[partition].append(await running.bus.put(f"ticks.trades.{partition}", data))
        number += 1
        await asyncio.sleep(EVERY_S)
    return stored


async def _round(
    running: Stage, spoken: dict[int, tuple[int, float]], number: signal.Signals
) -> float:
    units = await running.units()
    by_pid: dict[int, list[dict[str, Any]]] = {}
    for unit in units.values():
        by_pid.setdefault(unit["pid"], []).append(unit)
    victim = max(by_pid, key=lambda pid: len(by_pid[pid]))
    process = next(one for one in running.processes if one.pid == victim)
    before = {unit["partition"]: unit["epoch"] for unit in by_pid[victim]}
    began = time.monotonic()
    process.send_signal(number)
    async with asyncio.timeout(ROUND_S):
        while not all(spoken.get(p, (0, 0.0))[0] > epoch for p, epoch in before.items()):
            await asyncio.sleep(0.005)
    took = max(spoken[partition][1] for partition in before) - began
    if number == signal.SIGSTOP:
        process.send_signal(signal.SIGCONT)  # the zombie comes back, is fenced, and shares again
    else:
        process.wait()
        running.processes.remove(process)
        _start(running)
    await asyncio.sleep(3)
    return took


async def _settled(running: Stage, inputs: list[list[int]]) -> None:
    async with asyncio.timeout(30):
        while True:
            units = {unit["partition"]: unit for unit in (await running.units()).values()}
            done = [
                units.get(p, {}).get("position", 0) >= seqs[-1] for p, seqs in enumerate(inputs)
            ]
            if all(done):
                return


async def _compared(running: Stage, inputs: list[list[int]]) -> dict[str, int]:
    """Each input must have been answered once, in order."""
    lost = duplicated = reordered = 0
    for partition, wanted in enumerate(inputs):
        messages = await running.bus.history("ALERTS", f"alerts.{partition}", 10**6)
        said = [int(one.headers["Jetscan-Position"].partition(".")[0]) for one in messages]
        lost += len(set(wanted) - set(said))
        duplicated += len(said) - len(set(said))
        reordered += said != sorted(said)
    return {"lost": lost, "duplicated": duplicated, "reordered": reordered}
