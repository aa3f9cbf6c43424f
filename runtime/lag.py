"""How far behind every unit is: the workers are asked, and the newest clocks of the stream."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

from runtime import telemetry
from runtime.bus import Bus, BusError
from runtime.frames import BadFrame, decode
from runtime.loader import CLOCK
from runtime.scaling import ChainLag, Scaling
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)


@dataclass
class Lag:
    """What the workers told when last asked."""

    pending: int = 0
    workers: int = 0
    faults: frozenset[str] = frozenset()
    units: list[dict[str, Any]] = field(default_factory=list)

    def by_chain(self, partitions: int) -> dict[str, ChainLag]:
        """Every chain's greatest lag; not known where a partition is hosted by nobody right now.

        What is paused is behind on purpose: no worker more would help.
        """
        found = {}
        for chain in dict.fromkeys(unit["chain"] for unit in self.units):
            units = {
                unit["unit"]: unit
                for unit in self.units
                if unit["chain"] == chain and unit.get("loaded", True)
            }
            is_whole = any(unit["partition"] is None for unit in units.values())
            wanted = 1 if is_whole else partitions
            lag_s = max((u["behind_s"] for u in units.values() if not u["paused"]), default=0.0)
            found[chain] = ChainLag(lag_s if len(units) >= wanted else None, wanted)
        return found


async def ask_lag(bus: Bus) -> Lag:
    """Ask every worker what it hosts and how many messages it is behind."""
    told = [json.loads(answer.data) for answer in await bus.gather("runtime.status")]
    units = [
        {**unit, "worker": one["worker"], "pid": one["pid"]}
        for one in told
        for unit in one["units"]
    ]
    faults = {fault for one in told for fault in one["faults"]}
    faults |= {f"{unit}: {why}" for one in told for unit, why in one["refused"].items()}
    return Lag(sum(max(unit["pending"], 0) for unit in units), len(told), frozenset(faults), units)


async def ask_lag_s(bus: Bus, subjects: Subjects) -> Lag:
    """As `ask_lag`, and of every unit `behind_s`: event time from its clock to its partition's newest.

    A unit without a clock is behind by the age of what it answered last, while more waits.
    """
    clocks = await _newest_clocks(bus, subjects)  # before the units: none is ahead of them
    told = await ask_lag(bus)
    whole_ns = max(clocks.values(), default=0)
    for unit in told.units:
        newest_ns = whole_ns if unit["partition"] is None else clocks.get(unit["partition"], 0)
        at_ns = unit["clock_ns"]
        if not at_ns:
            newest_ns = time.time_ns() if unit["pending"] else 0
            at_ns = unit["answered_ns"] or newest_ns
        unit["behind_s"] = round(max(newest_ns - at_ns, 0) / 1e9, 3)
    return told


async def _newest_clocks(bus: Bus, subjects: Subjects) -> dict[int, int]:
    """The newest clock of each partition, in ns."""
    stream, record = subjects.subjects[CLOCK].stream or "", subjects.record_of(CLOCK)
    found = {}
    for wire, message in (await bus.newest(stream, [f"{CLOCK}.*"])).items():
        with contextlib.suppress(
            BadFrame, ValueError, IndexError
        ):  # published by hand; a worker sets it aside
            found[int(wire.rpartition(".")[2])] = int(decode(message.data, record)["ts_ns"][-1])
    return found


async def look(bus: Bus, subjects: Subjects, scaling: Scaling) -> Lag | None:
    """One look at all chains: the figures are renewed and exported; None, and they hold, on an error."""
    lag = None
    try:
        lag = await ask_lag_s(bus, subjects)
    except BusError as error:
        log.warning("workers cannot be asked", reason=str(error))
    seen = lag.by_chain(subjects.partitions) if lag else {}
    figures = scaling.look(seen, lag.workers if lag else 0, time.monotonic())
    for chain, figure in figures.items():
        telemetry.set_scaling(chain, figure.desired, figure.lag_s)
    return lag
