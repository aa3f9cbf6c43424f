"""Host a merge: the newest frame of every partition of a core subject, given to one function at a time.

Core subjects are neither stored nor acknowledged: what they carry is replaced within a second, so a
merge needs an owner, but no cursor and no snapshot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from runtime import telemetry
from runtime.bus import Bus, BusError, Message
from runtime.chain import Chain, Output, newest_of
from runtime.frames import BadFrame, Frame, concatenate, decode, encode
from runtime.host import Progress
from runtime.loader import ChainPlan
from runtime.ownership import Owner
from runtime.subjects import Record, Subjects
from runtime.watchdog import Watchdog

log = telemetry.get_logger(__name__)

MERGE_S = 0.25  # at most this often; a reader sees nothing faster
KEEP_S = 1.0


class MergeHost:
    """One owned merge."""

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        plan: ChainPlan,
        owner: Owner,
        core_sink: Callable[[Output], Awaitable[None]],
        watchdog: Watchdog,
    ) -> None:
        self.plan = plan
        self.owner = owner
        self.progress = Progress()
        self._bus = bus
        self._subjects = subjects
        self._core_sink = core_sink
        self._watchdog = watchdog
        self._chain = Chain(plan, subjects, None)
        self._newest: dict[str, dict[int, Frame]] = {base: {} for base in plan.inputs}
        self._dirty = asyncio.Event()
        self._stopping = False

    def drain(self) -> None:
        """Stop after the present merge."""
        self._stopping = True
        self._dirty.set()

    def fence(self) -> None:
        """A newer owner is known: stop."""
        self.drain()

    def reload(self, plan: ChainPlan) -> None:
        """Run a new version of the function; a merge has no state to carry."""
        self.plan = plan
        self._chain = Chain(plan, self._subjects, None)

    async def run(self) -> None:
        """Listen and merge until drained."""
        listeners = [
            await self._bus.listen(f"{base}.*", partial(self._heard, base))
            for base in self.plan.inputs
        ]
        try:
            while not self._stopping:
                await self._dirty.wait()
                self._dirty.clear()
                await self._merge()
                await asyncio.sleep(MERGE_S)
        finally:
            for listener in listeners:
                await listener.stop()

    def _heard(self, base: str, message: Message) -> None:
        try:
            _, partition, _ = self._subjects.base_of(message.subject)
            frame = decode(message.data, self._subjects.record_of(base))
        except (KeyError, BadFrame) as error:
            log.warning("frame refused", subject=message.subject, reason=str(error))
            return
        self._newest[base][partition or 0] = frame
        self._dirty.set()

    async def _merge(self) -> None:
        for base, frames in self._newest.items():
            ordered = [frames[partition] for partition in sorted(frames)]
            frame = newest_of(ordered, self._subjects, base)
            if frame is None:
                continue
            with self._watchdog.watching(lambda: f"merge {self.plan.name}"):
                outputs = self._chain.run_frame(base, frame)
            for output in outputs:
                if output.is_core:
                    await self._core_sink(output)
                elif output.base == "dead":
                    await self._bus.put(output.subject, output.data)


@dataclass
class Latest:
    """Keeps the newest rows of core subjects in their buckets, for whoever comes later."""

    bus: Bus
    subjects: Subjects
    _frames: dict[tuple[str, str], Frame] = field(default_factory=dict)
    _changed: dict[tuple[str, str], float] = field(default_factory=dict)

    def note(self, output: Output) -> None:
        """Remember an output of a subject that has a bucket; costs a dictionary write."""
        bucket = self.subjects.subjects[output.base].bucket
        if bucket is None or output.frame is None:
            return
        for key, frame in _by_key(output):
            place = (output.base, key)
            before = self._frames.get(place)
            record = self.subjects.record_of(output.base)
            self._frames[place] = frame if "list" in frame else _merged(before, frame, record)
            self._changed.setdefault(place, time.monotonic())

    async def keep(self) -> None:
        """Write what changed once a second, until cancelled."""
        while True:
            await asyncio.sleep(KEEP_S)
            for place in list(self._changed):
                base, key = place
                del self._changed[place]
                record = self.subjects.record_of(base)
                bucket = self.subjects.subjects[base].bucket or ""
                try:
                    await self.bus.kv(bucket).put(key, encode(self._frames[place], record))
                except BusError as error:
                    log.warning("newest values not kept", bucket=bucket, reason=str(error))


def _by_key(output: Output) -> list[tuple[str, Frame]]:
    frame = output.frame
    assert frame is not None
    if "list" in frame:
        return [(name, frame[frame["list"] == name]) for name in dict.fromkeys(frame["list"])]
    return [(output.subject.rpartition(".")[2], frame)]


def _merged(before: Frame | None, frame: Frame, record: Record) -> Frame:
    """The newest row of every symbol."""
    if before is None or before.symbols is None or frame.symbols is None:
        return frame
    new = set(frame["symbol"])
    stays = np.array([symbol not in new for symbol in before["symbol"]], dtype=bool)
    return concatenate([before[stays], frame], record) if stays.any() else frame
