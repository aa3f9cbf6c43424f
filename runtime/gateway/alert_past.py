"""Alerts that the ring holds no more, for who resumes after a long time: from the database."""

from __future__ import annotations

import asyncio

from runtime import telemetry
from runtime.gateway.alert_history import SELECTED, shape
from runtime.gateway.client import Client
from runtime.gateway.hub import gap, may_hear
from runtime.gateway.updates import Update
from runtime.store import BadValue, Outage, Store

log = telemetry.get_logger(__name__)

PAGE = 100  # what a slow line takes in a few seconds
PAST_MAX = 20_000  # who missed more reads them over REST
FREE_S = 0.02
WAIT_S = 15.0  # as long as a stuck client may stay
BETWEEN = f"{SELECTED} WHERE number > $1 AND number < $2 ORDER BY number LIMIT {PAGE}"


async def before_the_ring(store: Store, client: Client, after: int, oldest: int) -> int:
    """Write the alerts between `after` and `oldest`; the number up to which they were written or told as gaps."""
    if oldest - after > PAST_MAX:
        client.write(gap(after + 1, oldest - 1 - PAST_MAX))
        after = oldest - 1 - PAST_MAX
    try:
        while after < oldest - 1:
            rows = await store.fetch(BETWEEN, after, oldest)
            if not rows:
                break
            if not await _is_free(client):
                return after
            after = _write(client, [shape(row) for row in rows], after)
    except (Outage, BadValue) as error:  # the ring's own gap says what is missing
        log.warning("old alerts cannot be read", reason=str(error))
    return after


def _write(client: Client, alerts: list[dict], after: int) -> int:  # type: ignore[type-arg]
    updates: list[Update] = []
    for alert in alerts:
        if alert["seq"] > after + 1:
            updates.append(gap(after + 1, alert["seq"] - 1))
        if may_hear(client, alert):
            updates.append(Update({"type": "alert", "late": True, "data": alert}))
        after = alert["seq"]
    if updates:
        client.write_all(updates)
    return after


async def _is_free(client: Client) -> bool:
    """Wait until a client has taken what was written before; False: it does not."""
    for _ in range(int(WAIT_S / FREE_S)):
        if client.is_free:
            return True
        await asyncio.sleep(FREE_S)
    return False
