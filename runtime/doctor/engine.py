"""The workers: who is there, who owns what, how far each unit and sink is behind."""

from __future__ import annotations

import json
from typing import Any

from runtime.doctor.findings import OK, Finding, Patient, fail, graded, warn
from runtime.ownership import Owners, declared_units, unit_key

LAG = (500, 5_000)  # messages before a unit: a second of work, and ten
SINK_LAG = (5_000, 100_000)
SAVED_S = 60.0


async def workers(patient: Patient) -> list[Finding]:
    """Whether workers answer, run the same code, and were refused nothing."""
    told = await _told(patient)
    if not told:
        text, to_do = "none answers: nothing is scanned", "jetscan run, and see the log of the last"
        return [fail("workers", text, to_do)]
    found = [
        fail("workers", f"{one['worker']}: {unit}: {why}", "docs/operations.md has what to do")
        for one in told
        for unit, why in one["refused"].items()
    ]
    found += [
        warn("workers", fault, "mend the function; its last good version runs")
        for fault in sorted({fault for one in told for fault in one["faults"]})
    ]
    found += [
        warn(
            "workers", f"{name} runs in {len(all_)} versions", "restart the workers that are older"
        )
        for name, all_ in _versions(told).items()
        if len(all_) > 1
    ]
    return found or [Finding("workers", OK, f"{len(told)} answer")]


async def units(patient: Patient) -> list[Finding]:
    """Whether every partition of every chain is hosted, by its owner alone, and gets on."""
    told = await _told(patient)
    hosted: dict[str, list[str]] = {}
    for one in told:
        for unit in one["units"]:
            hosted.setdefault(unit["unit"], []).append(one["worker"])
    owned = await Owners(patient.bus).all()
    wanted = declared_units(patient.subjects) | {
        unit_key((chain.name, partition))
        for chain in patient.plan.chains
        for partition in chain.partitions
    }
    missing = sorted(wanted - hosted.keys())
    found = []
    if missing:
        text = f"nobody hosts {_some(missing)}"
        found.append(fail("units", text, "jetscan lag, and the logs of workers: `unit failed`"))
    for key, names in sorted(hosted.items()):
        owner = owned.get(key)
        if len(names) > 1 or owner is None or owner.worker != names[0]:
            told_by = f"{key} is hosted by {', '.join(names)}, owned by {owner.worker if owner else 'nobody'}"
            found.append(warn("units", told_by, "a take-over may be under way: look again"))
    found += [_paused(one) for worker in told for one in worker["units"] if one["paused"]]
    found += [
        warn(
            "units", f"{one['unit']} was not saved for {one['snapshot_age_s']:.0f} s", "see its log"
        )
        for worker in told
        for one in worker["units"]
        if one["snapshot_age_s"] > SAVED_S and one["pending"] > 0
    ]
    return found or [Finding("units", OK, f"all {len(hosted)} are hosted by their owners")]


async def consumers(patient: Patient) -> list[Finding]:
    """Whether each unit and sink has its consumer, and how much that has to deliver."""
    found, most = [], ("", 0)
    for name, stream, is_sink in _consumers(patient):
        state = await patient.bus.consumer_state(stream, name)
        if state is None:
            text = f"{stream} has no consumer {name}: it was never hosted"
            found.append(warn("lag", text, "start a worker that hosts it"))
            continue
        waiting = state.pending + (state.unacknowledged if is_sink else 0)
        most = max(most, (name, waiting), key=lambda one: one[1])
        limits = SINK_LAG if is_sink else LAG
        if waiting > limits[0]:
            to_do = "look at what it writes to" if is_sink else "more workers, or see jetscan lag"
            found.append(graded("lag", waiting, limits, f"{name} has {waiting} to take", to_do))
    return found or [Finding("lag", OK, f"at most {most[1]} messages wait ({most[0] or 'none'})")]


def _consumers(patient: Patient) -> list[tuple[str, str, bool]]:
    """(name, stream, whether it is a sink's) of every durable that the functions need."""
    chains = [
        (unit_key((chain.name, partition)).replace(".", "-"), chain.stream, False)
        for chain in patient.plan.chains
        for partition in chain.partitions
    ]
    sinks = [
        (f"sink-{one.name}", patient.subjects.subjects[one.reads[0]].stream or "", True)
        for one in patient.plan.sinks
        if patient.addresses.database or not one.asks_for("store")
    ]
    return chains + sinks


async def _told(patient: Patient) -> list[dict[str, Any]]:
    return [json.loads(one.data) for one in await patient.bus.gather("runtime.status")]


def _versions(told: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in told:
        running = [unit["functions"] for unit in one["units"]] + [one["sink_versions"]]
        for functions in running:
            for name, version in functions.items():
                found.setdefault(name, set()).add(version)
    return found


def _paused(unit: dict[str, Any]) -> Finding:
    return warn("units", f"{unit['unit']} is paused", f"jetscan resume {unit['chain']}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
