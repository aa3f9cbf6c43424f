"""The feeds: whether ingest runs, what it says of each, how old the clock and the data are."""

from __future__ import annotations

import asyncio
import time

from runtime.doctor.findings import OK, Finding, Patient, fail, graded, warn
from runtime.feed_health import LOST, TELL_S, Health, Heard
from runtime.feed_health import OK as GOOD

CLOCK_S = (5.0, 15.0)  # a clock event comes every second or more often
DATA_S = (60.0, float("inf"))  # without trades the market may be closed


async def feeds(patient: Patient) -> list[Finding]:
    """What ingest says of its feeds."""
    heard = Heard()
    listener = await heard.listen(patient.bus)
    try:
        await asyncio.sleep(2 * TELL_S)
    finally:
        await listener.stop()
    told = heard.feeds()
    if not told:
        return [fail("feeds", "no ingest tells of a feed", "jetscan ingest URL")]
    return [_feed(one) for one in told]


def _feed(one: Health) -> Finding:
    if one.state == GOOD:
        return Finding("feeds", OK, f"{one.source} sends what is wanted")
    text = f"{one.source} is {one.state}" + (f": {one.reason}" if one.reason else "")
    to_do = "see the log of ingest, and the vendor's key and status page"
    return (fail if one.state == LOST else warn)("feeds", text, to_do)


async def data(patient: Patient) -> list[Finding]:
    """How long ago the newest clock event and the newest trade were stored."""
    found = []
    for what, base, limits, to_do in (
        ("clock", "ticks.clock", CLOCK_S, "without a clock nothing fires: is ingest running?"),
        ("trades", "ticks.trades", DATA_S, "is the market open? if so, see the feed"),
    ):
        newest = await patient.bus.newest("MARKET", [f"{base}.*"])
        if not newest:
            found.append(warn("data", f"there never were {what}", to_do))
            continue
        age_s = time.time() - max(one.ts_ns for one in newest.values()) / 1e9
        text = f"the newest {what} came {max(age_s, 0):.1f} s ago"
        found.append(graded("data", age_s, limits, text, to_do))
    return found
