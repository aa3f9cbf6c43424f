"""What is not in NATS: the functions on disk, the disk, PostgreSQL, Redis, the gateway."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import httpx

from runtime.doctor.findings import OK, Finding, Patient, fail, graded, warn
from runtime.doctor.streams import SKEW_S
from runtime.migrate import MigrateError, load_migrations, status
from runtime.redis_answers import ping
from runtime.store import Outage, Store, StoreError

USED = (0.85, 0.95)
ANSWER_S = (0.1, 2.0)
GATEWAY_S = 5.0


async def functions(patient: Patient) -> list[Finding]:
    """Whether every function on disk loads."""
    faults = [fail("functions", str(one), "jetscan check") for one in patient.plan.faults]
    return faults or [Finding("functions", OK, f"{len(patient.plan.functions)} load")]


async def disk(patient: Patient) -> list[Finding]:
    """Room where this machine keeps its data."""
    folder = Path(patient.addresses.data_dir).resolve()
    while not folder.exists():
        folder = folder.parent
    found = shutil.disk_usage(folder)
    used = 1 - found.free / found.total
    text = f"{folder}: {found.free / (1 << 30):.1f} GiB free, {used:.0%} used"
    return [graded("disk", used, USED, text, "make room before JetStream refuses writes")]


async def database(patient: Patient) -> list[Finding]:
    """Whether PostgreSQL answers, tells the same time, and is migrated."""
    url = patient.addresses.database
    if not url:
        text, to_do = "none: no history, no accounts", "set JETSCAN_DATABASE_URL, jetscan migrate"
        return [warn("database", text, to_do)]
    store = Store(url, connections_max=1)
    began = time.perf_counter()
    try:
        (row,) = await store.fetch("SELECT extract(epoch FROM clock_timestamp())::float8 AS now_s")
        took_s, skew_s = time.perf_counter() - began, abs(time.time() - row["now_s"])
        steps = await status(store, load_migrations(Path(patient.addresses.migrations_dir)))
    except (Outage, StoreError) as error:
        return [fail("database", str(error), "start PostgreSQL, or correct JETSCAN_DATABASE_URL")]
    except MigrateError as error:
        return [fail("migrations", str(error), "jetscan migrate --status")]
    finally:
        await store.close()
    pending = [f"{one.number:03}_{one.name}" for one in steps if one.state == "pending"]
    text = f"answers in {took_s * 1000:.0f} ms"
    found = [graded("database", took_s, ANSWER_S, text, "look at its load and the network")]
    if skew_s > SKEW_S[0] + took_s:
        to_do = "have chrony or ntpd run on both machines"
        found.append(graded("clock", skew_s, SKEW_S, f"{skew_s:.1f} s from PostgreSQL's", to_do))
    if pending:
        found.append(fail("migrations", f"not applied: {', '.join(pending)}", "jetscan migrate"))
    else:
        found.append(Finding("migrations", OK, f"all {len(steps)} are applied"))
    return found


async def redis(patient: Patient) -> list[Finding]:
    """Whether Redis answers; everything goes on without it."""
    url = patient.addresses.redis
    if not url:
        return [Finding("redis", OK, "none: limits and answers are each gateway's own")]
    try:
        took_s = await ping(url)
    except (OSError, TimeoutError) as error:
        text = f"does not answer: {error or type(error).__name__}"
        return [warn("redis", text, "start it, or correct JETSCAN_REDIS_URL")]
    text = f"answers in {took_s * 1000:.1f} ms"
    return [graded("redis", took_s, ANSWER_S, text, "look at its load and the network")]


async def gateway(patient: Patient) -> list[Finding]:
    """Whether a gateway is ready and how the page's lamps are."""
    url = patient.addresses.gateway
    began = time.perf_counter()
    try:
        async with httpx.AsyncClient(base_url=url, timeout=GATEWAY_S) as http:
            answer = await http.get("/ready")
            took_s = time.perf_counter() - began
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        text = f"{url} does not answer: {str(error) or type(error).__name__}"
        return [fail("gateway", text, "jetscan gateway, or say --gateway URL")]
    if answer.status_code != 200:
        text, to_do = f"{url} is not ready: {answer.text[:200]}", "see its log"
        return [fail("gateway", text, to_do)]
    text = f"{url} is ready, in {took_s * 1000:.0f} ms"
    return [graded("gateway", took_s, ANSWER_S, text, "look at its CPU and its clients")]
