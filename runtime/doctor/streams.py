"""JetStream: its limits, its clock, streams and buckets as subjects.yaml wants them, and their room."""

from __future__ import annotations

import time
from datetime import datetime

from runtime.doctor.findings import OK, Finding, Patient, fail, graded, warn
from runtime.provision import Change, budget_of, provision, wanted_streams

GIB = 1 << 30
FILL = (0.7, 0.9)  # of a stream that refuses writes when it is full
SKEW_S = (0.25, 2.0)  # clocks of two machines; deliveries and latencies are told by both
ANSWER_S = (0.05, 0.5)


async def jetstream(patient: Patient) -> list[Finding]:
    """Whether JetStream answers, how fast, and has room for all that subjects.yaml may take."""
    began = time.perf_counter()
    told = await patient.bus.api("INFO")
    took_s = time.perf_counter() - began
    text = f"answers in {took_s * 1000:.1f} ms, {told['streams']} streams, {told['consumers']} consumers"
    speed = "look at the disk and the load of nats-server"
    found = [graded("jetstream", took_s, ANSWER_S, text, speed)]
    wanted, most = budget_of(patient.subjects).file_bytes, told["limits"]["max_storage"]
    if 0 < most < wanted:
        text = f"streams may take {wanted / GIB:.1f} GiB, the account has {most / GIB:.1f} GiB"
        found.append(warn("jetstream", text, "raise the account's limit, or lower max_bytes"))
    return found


async def clock(patient: Patient) -> list[Finding]:
    """How far our clock is from that of nats-server."""
    before = time.time()
    told = await patient.bus.api("STREAM.INFO.MARKET")
    middle = (before + time.time()) / 2
    skew_s = abs(middle - datetime.fromisoformat(told["ts"]).timestamp())
    text = f"{skew_s * 1000:.0f} ms from that of nats-server"
    return [graded("clock", skew_s, SKEW_S, text, "have chrony or ntpd run on both machines")]


async def provisioned(patient: Patient) -> list[Finding]:
    """Whether streams and buckets are there and as subjects.yaml says."""
    report = await provision(patient.bus, patient.subjects, dry_run=True)
    if not report.changes:
        return [Finding("streams", OK, f"{report.budget.streams} streams and buckets as wanted")]
    return [_difference(change) for change in report.changes]


def _difference(change: Change) -> Finding:
    if not change.key:
        return fail("streams", f"{change.stream} is not there", "jetscan provision")
    text = f"{change.stream}.{change.key} is {change.found}, not {change.wanted}"
    to_do = f"refused by itself: {change.refused}" if change.refused else "jetscan provision"
    return warn("streams", text, to_do)


async def room(patient: Patient) -> list[Finding]:
    """How full those streams are that refuse writes when they are, and whether replicas follow."""
    found, fullest = [], ("", 0.0)
    for name in wanted_streams(patient.subjects):
        info = await patient.bus.api(f"STREAM.INFO.{name}")
        found += _replicas(name, info)
        most, is_refusing = info["config"]["max_bytes"], info["config"]["discard"] == "new"
        share = info["state"]["bytes"] / most if most > 0 and is_refusing else 0.0
        fullest = max(fullest, (name, share), key=lambda one: one[1])
        if share > FILL[0]:
            to_do = f"raise max_bytes of {name} in subjects.yaml, then jetscan provision"
            found.append(graded("room", share, FILL, f"{name} is {share:.0%} full", to_do))
    name, share = fullest
    return found or [Finding("room", OK, f"the fullest stream is {name or 'none'}, {share:.0%}")]


def _replicas(name: str, info: dict[str, object]) -> list[Finding]:
    cluster = info.get("cluster")
    replicas = cluster.get("replicas") or () if isinstance(cluster, dict) else ()
    behind = [one["name"] for one in replicas if one.get("offline") or not one.get("current")]
    text, to_do = f"{name}: replica {', '.join(behind)} does not follow", "look at that nats-server"
    return [warn("room", text, to_do)] if behind else []


async def dead_letters(patient: Patient) -> list[Finding]:
    """Frames and deliveries that were set aside."""
    count = (await patient.bus.stream_state("DEAD")).messages
    if not count:
        return [Finding("dead letters", OK, "none")]
    to_do = "jetscan dead list; mend what failed, then jetscan dead redrive or drop"
    return [warn("dead letters", f"{count} are set aside", to_do)]
