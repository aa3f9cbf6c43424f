"""The newest minutes of every symbol, from the stream of bars: what the database may not have yet."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from runtime import telemetry
from runtime.bus import Bus, Message
from runtime.frames import BadFrame, Frame, decode
from runtime.subjects import Subjects, partition_of

log = telemetry.get_logger(__name__)

FINAL, STREAM, LIVE_BUCKET = "bars.final", "BARS", "livebars"
FRAMES_MAX = 60  # of a partition: half an hour with revisions; 10,000 symbols take 50 MB
FIELDS = ("open", "high", "low", "close", "volume", "vwap", "count", "revision")
MINUTE_NS = 60_000_000_000


@dataclass(slots=True)
class Minute:
    """A bar of a minute; `vwap` may be NaN, `is_final` is false of the running one."""

    ts_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float
    count: int
    revision: int
    is_final: bool = True


class RecentBars:
    """Follows `bars.final` and holds its newest frames by partition."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus, self._subjects = bus, subjects
        self._frames: dict[int, deque[Frame]] = {}
        self._last: dict[str, tuple[int, float]] = {}

    @property
    def symbols(self) -> list[str]:
        """Every symbol of which a bar was heard."""
        return list(self._last)

    def last(self, symbol: str) -> tuple[int, float] | None:
        """The minute and the close of a symbol's newest final bar."""
        return self._last.get(symbol)

    def of(self, symbol: str) -> list[Minute]:
        """The minutes of a symbol, oldest first, the newest revision of each."""
        found: dict[int, Minute] = {}
        for frame in self._frames.get(partition_of(symbol, self._subjects.partitions), ()):
            for row in _rows_of(frame, symbol):
                minute = minute_of(frame, row)
                before = found.get(minute.ts_ns)
                if before is None or minute.revision >= before.revision:
                    found[minute.ts_ns] = minute
        return [found[ts_ns] for ts_ns in sorted(found)]

    async def follow(self) -> None:
        """Hear the newest frames there are, and every later one, until cancelled."""
        await self._load_live()
        state = await self._bus.stream_state(STREAM)
        # Indicators and corrections lie between them: a few more are asked for than are kept.
        start = max(state.first, state.last - 3 * FRAMES_MAX * self._subjects.partitions, 1)
        async with aclosing(self._bus.read(STREAM, [f"{FINAL}.*"], start)) as messages:  # type: ignore[type-var]
            async for message in messages:
                self.hear(message)
                await asyncio.sleep(0)  # thousands may wait at start

    async def _load_live(self) -> None:
        """Last prices of before: the newest running bars that are kept."""
        record = self._subjects.record_of("bars.live")
        for entry in (await self._bus.kv(LIVE_BUCKET).all()).values():
            try:
                self._note_last(decode(entry.value, record))
            except BadFrame as error:
                log.error("bars refused", reason=str(error))

    def hear(self, message: Message) -> None:
        """Hold a frame of final bars."""
        try:
            frame = decode(message.data, self._subjects.record_of(FINAL))
        except BadFrame as error:
            log.error("bars refused", sequence=message.sequence, reason=str(error))
            return
        self._note_last(frame)
        partition = int(message.subject.rpartition(".")[2])
        self._frames.setdefault(partition, deque(maxlen=FRAMES_MAX)).append(frame)

    def _note_last(self, frame: Frame) -> None:
        rows = zip(
            frame["symbol"].tolist(), frame["ts_ns"].tolist(), frame["close"].tolist(), strict=True
        )
        for symbol, ts_ns, close in rows:
            before = self._last.get(symbol)
            if before is None or ts_ns >= before[0]:
                self._last[symbol] = (ts_ns, close)


def _rows_of(frame: Frame, symbol: str) -> list[int]:
    if frame.symbols is None or frame.index is None or symbol not in frame.symbols:
        return []
    found: list[int] = (frame.index == frame.symbols.index(symbol)).nonzero()[0].tolist()
    return found


def minute_of(frame: Frame, row: int, is_final: bool = True) -> Minute:
    """The bar of a row."""
    values: dict[str, Any] = {name: frame[name][row].item() for name in FIELDS}
    return Minute(int(frame["ts_ns"][row]), **values, is_final=is_final)
