"""How the functions are while an admin follows them: who hosts what, how far behind it is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from runtime import telemetry
from runtime.bus import Bus, BusError
from runtime.gateway.client import Client
from runtime.gateway.hub import Hub
from runtime.gateway.topics import Topic

log = telemetry.get_logger(__name__)

SUBJECT, NAME = "runtime.status", "functions"
ASK_S = 2.0
SHOWN = ("unit", "chain", "partition", "epoch", "pending", "clock_ns", "snapshot_age_s", "paused", "version")  # fmt: skip


class FunctionHealth:
    """What the workers tell."""

    def __init__(self, bus: Bus, hub: Hub) -> None:
        self._bus, self._hub = bus, hub
        self._wake = asyncio.Event()

    def follow(self, client: Client) -> None:
        """Send what the workers tell, every two seconds."""
        self._hub.follow(client, self._hub.topics.get(NAME) or Topic(NAME))
        self._wake.set()

    def leave(self, client: Client) -> None:
        """Send it no more."""
        self._hub.leave_topic(client, NAME)

    async def run(self) -> None:
        """Ask while anybody follows, until cancelled."""
        while True:
            await self._wake.wait()
            topic = self._hub.topics.get(NAME)
            if topic is None:
                self._wake.clear()
                continue
            try:
                told = [json.loads(one.data) for one in await self._bus.gather(SUBJECT)]
                topic.renew({"type": "functions", "data": units_of(told)})
                self._hub.spread(topic)
            except BusError as error:
                log.warning("workers not asked", reason=str(error))
            await asyncio.sleep(ASK_S)


def units_of(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for every hosted unit, in the order of chains and partitions."""
    rows = [
        {"worker": one.get("worker"), **{name: unit.get(name) for name in SHOWN}}
        for one in told
        for unit in one.get("units", ())
    ]
    return sorted(rows, key=lambda row: (str(row["chain"]), row["partition"] or 0))
