"""`jetscan top`: what every function does and costs now, between two looks at the workers."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from runtime.bus import Bus

STATUS = "runtime.status"
COLUMNS = [
    "function",
    "chain",
    "units",
    "events_s",
    "busy_pct",
    "ms_frame",
    "lag",
    "state_mb",
    "note",
]
MIB = 1 << 20


@dataclass
class Look:
    """What the workers told at a moment: by function, and by (function, worker, unit) what grows."""

    at_s: float
    grown: dict[tuple[str, str, str], tuple[int, int, float]] = field(default_factory=dict)
    functions: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    workers: int = 0


async def look(bus: Bus) -> Look:
    """Ask every worker."""
    answers = [json.loads(one.data) for one in await bus.gather(STATUS)]
    found = Look(time.monotonic(), workers=len(answers))
    faults: set[str] = set()
    for told in answers:
        faults |= {*told["faults"], *(f"{unit}: {why}" for unit, why in told["refused"].items())}
        for unit in told["units"]:
            _take(found, told["worker"], unit)
        for name in told["sinks"]:
            sink = found.functions.setdefault(name, _begun("(sink)"))
            sink["units"] += 1
    found.faults = tuple(sorted(faults))
    return found


def _begun(chain: str) -> dict[str, Any]:
    return {"chain": chain, "units": 0, "lag": 0, "state_bytes": 0, "paused": False}


def _take(found: Look, worker: str, unit: dict[str, Any]) -> None:
    for name, used in unit["used"].items():
        one = found.functions.setdefault(name, _begun(unit["chain"]))
        one["units"] += 1
        one["lag"] += max(unit["pending"], 0)  # of its chain: they go on together
        one["state_bytes"] += used["state_bytes"]
        one["paused"] |= unit["paused"]
        found.grown[name, worker, unit["unit"]] = (used["events"], used["frames"], used["took_s"])


def rows(before: Look, now: Look) -> list[dict[str, Any]]:
    """A row for every function, the busiest first; rates are of the time between the looks."""
    passed_s = max(now.at_s - before.at_s, 1e-9)
    grown: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for key, values in now.grown.items():
        earlier = before.grown.get(key, values)  # a unit that has just been taken begins at 0
        for place, (new, old) in enumerate(zip(values, earlier, strict=True)):
            grown[key[0]][place] += max(new - old, 0)
    found = []
    for name, one in now.functions.items():
        events, frames, took_s = grown[name]
        row = {"function": name, "chain": one["chain"], "units": one["units"]}
        row |= {"events_s": round(events / passed_s), "busy_pct": round(100 * took_s / passed_s, 2)}
        row |= {"ms_frame": round(1e3 * took_s / frames, 3) if frames else 0.0, "lag": one["lag"]}
        row |= {
            "state_mb": round(one["state_bytes"] / MIB, 2),
            "note": "paused" if one["paused"] else "",
        }
        found.append(row)
    return sorted(found, key=lambda row: (-row["busy_pct"], row["function"]))


async def looks(bus: Bus, interval_s: float) -> tuple[list[dict[str, Any]], Look]:
    """Rows of the next interval, and the look at its end."""
    before = await look(bus)
    await asyncio.sleep(interval_s)
    now = await look(bus)
    return rows(before, now), now
