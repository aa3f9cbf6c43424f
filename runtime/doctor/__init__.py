"""`jetscan doctor`: looks at a deployment end to end and says what to do; changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from runtime.bus import Bus, BusError
from runtime.doctor import engine, feeds, outside, streams
from runtime.doctor.findings import FAIL, OK, WARN, Addresses, Finding, Patient, fail
from runtime.loader import Plan
from runtime.subjects import Subjects

__all__ = ["FAIL", "OK", "WARN", "Addresses", "Finding", "examine"]

CHECK_S = 15.0  # a look that takes longer has failed
CONNECT_S = 3.0

Check = Callable[[Patient], Awaitable[list[Finding]]]
OUTSIDE: tuple[Check, ...] = (
    outside.functions,
    outside.disk,
    outside.database,
    outside.redis,
    outside.gateway,
)
INSIDE: tuple[Check, ...] = (
    streams.jetstream,
    streams.clock,
    streams.provisioned,
    streams.room,
    streams.dead_letters,
    engine.workers,
    engine.units,
    engine.consumers,
    feeds.feeds,
    feeds.data,
)


async def examine(addresses: Addresses, subjects: Subjects, plan: Plan) -> list[Finding]:
    """Every finding, in the order of the checks; what needs NATS is left out where there is none."""
    patient = Patient(addresses, subjects, plan)
    found = [await _nats(patient)]
    try:
        for check in (*(INSIDE if patient.has_bus else ()), *OUTSIDE):
            found += await _looked(check, patient)
    finally:
        if patient.has_bus:
            await patient.bus.close()
    return found


async def _nats(patient: Patient) -> Finding:
    url = patient.addresses.nats
    if not url:
        return fail("nats", "no address", "set JETSCAN_NATS_URL, or start `jetscan dev`")
    began = time.perf_counter()
    try:
        patient.connected(await Bus.connect(url, "doctor", connect_s=CONNECT_S))
    except BusError as error:
        return fail("nats", str(error), "start nats-server, or correct JETSCAN_NATS_URL")
    took_ms = (time.perf_counter() - began) * 1000
    return Finding("nats", OK, f"connected in {took_ms:.0f} ms")


async def _looked(check: Check, patient: Patient) -> list[Finding]:
    """What one check finds; what it could not look at is a finding as well."""
    try:
        async with asyncio.timeout(CHECK_S):
            return await check(patient)
    except TimeoutError:
        return [fail(check.__name__, f"no answer within {CHECK_S:g} s", "see the server's log")]
    except BusError as error:
        return [fail(check.__name__, str(error), "see the log of nats-server")]


def summary(found: list[Finding]) -> dict[str, Any]:
    """All of it as JSON."""
    counts = {state: sum(one.state == state for one in found) for state in (OK, WARN, FAIL)}
    return {"ok": not counts[FAIL], "counts": counts, "findings": [vars(one) for one in found]}
