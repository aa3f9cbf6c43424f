"""Keep the newest rows of core subjects in their buckets, for whoever comes later."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np

from runtime import telemetry
from runtime.bus import Bus, BusError
from runtime.chain import Output
from runtime.frames import Frame, concatenate, encode
from runtime.subjects import Record, Subjects

log = telemetry.get_logger(__name__)

KEEP_S = 1.0


@dataclass
class Latest:
    """What was said last, by subject and key."""

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
            if "list" in frame and not frame["rank"].any():  # nobody is shown: as if it never was
                self._frames.pop(place, None)
                self._changed.setdefault(place, time.monotonic())
                continue
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
                try:
                    await self._write(base, key, self._frames.get(place))
                except BusError as error:
                    log.warning("newest values not kept yet", subject=base, reason=str(error))
                    self._changed.setdefault(place, time.monotonic())

    async def _write(self, base: str, key: str, frame: Frame | None) -> None:
        """Keep a frame; without one, keep nothing under its key."""
        bucket = self.bus.kv(self.subjects.subjects[base].bucket or "")
        if frame is None:
            await bucket.purge(key)
        else:
            await bucket.put(key, encode(frame, self.subjects.record_of(base)))


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
