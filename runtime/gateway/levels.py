"""What streams and consumers hold and whether workers host every unit, as metrics: also when no worker runs."""

from __future__ import annotations

import asyncio
from typing import Any

from runtime import telemetry
from runtime.bus import Bus, BusError
from runtime.gateway.engine import Engine
from runtime.ownership import Owners, declared_units
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)

LOOK_S = 10.0  # a scrape every 15 s sees each value once
CONSUMERS_MAX = 1_000  # of a stream that are looked at: chains by partition, and sinks


class Levels:
    """Looks at NATS now and then; every gateway tells the same, so take the largest."""

    def __init__(self, bus: Bus, subjects: Subjects, engine: Engine) -> None:
        self._bus, self._subjects = bus, subjects
        self._engine, self._owners = engine, Owners(bus)

    async def keep(self) -> None:
        """Look until cancelled."""
        while True:
            if self._bus.connected:
                try:
                    await self.look()
                except BusError as error:
                    log.warning("streams and workers cannot be looked at", reason=str(error))
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Set every gauge to what there is now; raises BusError."""
        buckets = [f"KV_{name}" for name in self._subjects.buckets]
        for name in (*self._subjects.streams, *buckets):
            _tell_stream(await self._bus.api(f"STREAM.INFO.{name}"))
        await self._look_at_consumers()
        await self._look_at_workers()
        telemetry.LOOKED_AT.set_to_current_time()

    async def _look_at_consumers(self) -> None:
        found = [
            one
            for name in self._subjects.streams
            for one in await self._consumers_of(name)
            if one["config"].get("durable_name")
        ]
        telemetry.CONSUMER_PENDING.clear()  # one that was removed is not told any more
        telemetry.CONSUMER_UNACKED.clear()
        for one in found:
            labels = one["stream_name"], one["name"]
            telemetry.CONSUMER_PENDING.labels(*labels).set(one["num_pending"])
            telemetry.CONSUMER_UNACKED.labels(*labels).set(one["num_ack_pending"])

    async def _consumers_of(self, stream: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < CONSUMERS_MAX:
            page = await self._bus.api(f"CONSUMER.LIST.{stream}", {"offset": len(found)})
            found += page["consumers"] or []
            if not page["consumers"] or len(found) >= page["total"]:
                break
        return found

    async def _look_at_workers(self) -> None:
        view = await self._engine.ask()
        hosted = {unit["unit"] for unit in view.units}
        owners = await self._owners.all()
        owned = {
            unit for unit, one in owners.items() if one.worker
        }  # what was given up names nobody
        known = declared_units(self._subjects) | owned
        telemetry.WORKERS.set(view.workers)
        telemetry.PAUSED.set(len(view.paused))
        telemetry.UNITS.labels("hosted").set(len(hosted))
        telemetry.UNITS.labels("unhosted").set(len(known - hosted))


def _tell_stream(info: dict[str, Any]) -> None:
    name, state, config = info["config"]["name"], info["state"], info["config"]
    telemetry.STREAM_BYTES.labels(name).set(state["bytes"])
    telemetry.STREAM_BYTES_MAX.labels(name).set(max(config["max_bytes"], 0))
    telemetry.STREAM_MESSAGES.labels(name).set(state["messages"])
    telemetry.STREAM_FULL.labels(name).set(config["discard"] == "new")
