"""What the workers tell of themselves when they are asked, and what the market's streams hold beside it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from runtime.bus import Bus, BusError, Message
from runtime.frames import BadFrame, decode
from runtime.subjects import Subjects

STREAM, CLOCK = "MARKET", "ticks.clock"
STATUS, PAUSES, PAUSE = "runtime.status", "functions", "pause"
Unit = dict[str, Any]


@dataclass
class EngineView:
    """One look at the workers.

    chains_of   function -> the chain it is in; empty for a sink
    sinks       sink -> the workers that host it
    paused      functions and chains that are paused
    clock_ns    the newest clock event stored; 0 = none
    """

    units: list[Unit] = field(default_factory=list)
    chains_of: dict[str, str] = field(default_factory=dict)
    versions: dict[str, set[str]] = field(default_factory=dict)
    sinks: dict[str, set[str]] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    workers: int = 0
    clock_ns: int = 0

    def units_of(self, name: str) -> list[Unit]:
        """The hosted units of a function."""
        return [unit for unit in self.units if name in unit["functions"]]

    def version_of(self, name: str) -> str:
        """Its version; several while workers take over a new one."""
        return ", ".join(sorted(self.versions.get(name, ())))

    def beside(self, name: str) -> list[str]:
        """The other functions of its chain."""
        chain = self.chains_of.get(name, name)
        return sorted(
            one for one, its in self.chains_of.items() if its and its == chain and one != name
        )

    def behind_ms(self) -> float | None:
        """How far the unit is behind that is farthest; None where there is none."""
        return max((unit["behind_ms"] for unit in self.units), default=None)


class Engine:
    """Asks the workers; each question takes as long as they are given to answer."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus, self._subjects = bus, subjects

    async def ask(self) -> EngineView:
        """What there is now; raises BusError."""
        try:
            async with asyncio.TaskGroup() as group:
                answers = group.create_task(self._bus.gather(STATUS))
                clocks = group.create_task(self._bus.newest(STREAM, [f"{CLOCK}.*"]))
                pauses = group.create_task(self._bus.kv(PAUSES).keys(PAUSE))
        except ExceptionGroup as failed:
            known = failed.subgroup(BusError)
            if known is None or len(known.exceptions) < len(failed.exceptions):
                raise
            raise known.exceptions[0] from failed
        view = EngineView(clock_ns=newest_ns(clocks.result(), CLOCK, self._subjects))
        view.paused = {key.removeprefix(f"{PAUSE}.") for key in await self._set(pauses.result())}
        for name, chain in self._subjects.chains.items():
            view.chains_of |= dict.fromkeys(chain.functions, name)
        for answer in answers.result():
            _take(view, json.loads(answer.data))
        view.units.sort(key=lambda unit: (unit["chain"], unit["partition"] or 0))
        view.faults.sort()
        return view

    async def _set(self, keys: list[str]) -> list[str]:
        """Those of the keys that are not deleted."""
        kv = self._bus.kv(PAUSES)
        return [key for key in keys if await kv.get(key) is not None]


def _take(view: EngineView, told: dict[str, Any]) -> None:
    """Add what one worker tells."""
    worker = told["worker"]
    view.workers += 1
    view.faults += [*told["faults"], *(f"{unit}: {why}" for unit, why in told["refused"].items())]
    for unit in told["units"]:
        pending = max(unit["pending"], 0)
        is_behind = pending and unit["clock_ns"] and view.clock_ns
        behind_ns = max(view.clock_ns - unit["clock_ns"], 0) if is_behind else 0
        known = {"worker": worker, "pending": pending, "behind_ms": behind_ns / 1e6}
        view.units.append({**unit, **known})
        for name, version in unit["functions"].items():
            view.chains_of[name] = unit["chain"]
            view.versions.setdefault(name, set()).add(version)
    for name, version in told["sink_versions"].items():
        view.chains_of.setdefault(name, "")
        view.versions.setdefault(name, set()).add(version)
        view.sinks.setdefault(name, set()).add(worker)


def newest_ns(messages: dict[str, Message], base: str, subjects: Subjects) -> int:
    """The newest time in the newest frames of a subject's partitions; 0 = there is none."""
    record, newest = subjects.record_of(base), 0
    for message in messages.values():
        try:
            times = decode(message.data, record, "?", 1)["ts_ns"]
        except BadFrame:
            continue
        newest = max(newest, int(times.max())) if len(times) else newest
    return newest
