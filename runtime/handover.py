"""State read in advance: who is to take a unit over has its bytes before its owner gives it up.

Reading the state of a market takes longer than anybody should wait for an alert. So the successor reads
the newest snapshot while the owner still runs, and again what later snapshots add; it announces whose
snapshot it has. The owner gives the unit up when that is its own: what its last save adds is little.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

import msgpack

from runtime import telemetry
from runtime.bus import Bus, BusError, Kv
from runtime.ownership import Unit, unit_key
from runtime.snapshots import CHUNK_BYTES, blobs_of

log = telemetry.get_logger(__name__)

REFRESH_S = 0.2
READS_AT_ONCE = 8  # chunks of 512 KB: one at a time would wait a turn of a busy event loop for each


async def read_blobs(
    kv: Kv, key: str, meta: Mapping[str, Any], known: Mapping[str, bytes]
) -> dict[str, bytes] | None:
    """The blobs of the snapshot of a unit, those `known` not read again; None where one is not whole.

    A blob never changes: its name has the epoch of who wrote it, and a number.
    """
    blobs = {}
    for blob_id, size in blobs_of(meta).items():
        if len(known.get(blob_id, b"")) == size:
            blobs[blob_id] = known.get(blob_id, b"")
            continue
        parts: list[bytes] = []
        while sum(map(len, parts)) < size:
            left = math.ceil((size - sum(map(len, parts))) / CHUNK_BYTES)
            numbers = range(len(parts), len(parts) + min(left, READS_AT_ONCE))
            names = [f"{key}.{blob_id}.{number}" for number in numbers]
            chunks = await asyncio.gather(*map(kv.written, names))
            if chunks[0] is None:
                return None
            parts += [chunk for chunk in chunks if chunk is not None]
        blobs[blob_id] = b"".join(parts)
    return blobs


class Warmth:
    """The saved state of a unit that another worker runs, as new as its newest snapshot."""

    def __init__(self, bus: Bus, unit: Unit) -> None:
        self.unit = unit
        self.blobs: dict[str, bytes] = {}
        self.epoch: int | None = None  # of who saved it, 0: nobody did; None: not read yet
        self._kv = bus.kv("snapshots")
        self._revision = -1

    async def keep(self) -> None:
        """Follow what the owner saves, until cancelled."""
        while True:
            try:
                await self.refresh()
            except BusError as error:
                log.warning(
                    "state not read in advance", unit=unit_key(self.unit), reason=str(error)
                )
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Read what is new, if it is whole."""
        entry = await self._kv.get(unit_key(self.unit))
        if entry is None:
            self.epoch = 0
        elif entry.revision != self._revision:
            meta = msgpack.unpackb(entry.value)
            blobs = await read_blobs(self._kv, unit_key(self.unit), meta, self.blobs)
            if blobs is not None:  # else it was replaced meanwhile
                self.blobs, self.epoch, self._revision = blobs, meta["epoch"], entry.revision
