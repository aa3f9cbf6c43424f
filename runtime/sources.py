"""Several providers as one feed: prints go on at once, and the slowest source moves the clock, unless it is idle.

The market's clock is the least of what the sources' clocks have reached. A source that said nothing
for IDLE_S of wall time, or ended, no longer counts; when it speaks again, what it sends behind the
clock is late. A source that is ahead waits, so that prints stay near the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from runtime import telemetry
from runtime.connections import Connection
from runtime.feed_health import Health
from runtime.providers import SECOND_NS, Batch, Provider, ProviderError, clock_batch, clocks_between

log = telemetry.get_logger(__name__)

IDLE_S = 2.0
AHEAD_NS = 2 * SECOND_NS
WAITING_BATCHES = 8
NOBODY = -1

Waiting = asyncio.Queue[tuple[int, Batch | Exception | None]]


@dataclass
class Watermarks:
    """What the clocks of sources have reached; `now_s` is wall time, which only tells who is idle."""

    idle_s: float = IDLE_S
    clock_ns: int = 0
    _reached_ns: dict[int, int] = field(default_factory=dict)
    _heard_s: dict[int, float] = field(default_factory=dict)

    def hear(self, source: int, now_s: float, reached_ns: int = 0) -> None:
        """A source said something; where it was a clock event, which time it has reached."""
        self._heard_s[source] = now_s
        self._reached_ns[source] = max(self._reached_ns.get(source, 0), reached_ns)

    def end(self, source: int) -> None:
        """A source has nothing more to say."""
        del self._heard_s[source]

    def is_ahead(self, source: int) -> bool:
        """Whether a source should wait for the others."""
        return 0 < self.clock_ns < self._reached_ns.get(source, 0) - AHEAD_NS

    def advance(self, now_s: float) -> int:
        """Event time of all, which never goes back: the least of those who are not idle; of all idle, the most."""
        awake = [
            self._reached_ns[one] for one, s in self._heard_s.items() if now_s - s <= self.idle_s
        ]
        reached_ns = min(awake) if awake else max(self._reached_ns.values(), default=0)
        self.clock_ns = max(self.clock_ns, reached_ns)
        return self.clock_ns


class Sources:
    """Providers read side by side; they must be of one speed."""

    def __init__(
        self,
        providers: list[Provider],
        idle_s: float = IDLE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        speeds = {one.speed for one in providers}
        if len(speeds) != 1:
            raise ProviderError(f"sources: expected one speed for all, found {sorted(speeds)}")
        self.providers = providers
        self.name = "+".join(dict.fromkeys(one.name for one in providers))
        self.speed = providers[0].speed
        self.warm_ns = max(one.warm_ns for one in providers)
        self._now, self._idle_s = now, idle_s
        self._moved = asyncio.Event()
        self._connections: list[Connection] = []

    def healths(self) -> list[Health]:
        """How each source is."""
        return [one.health for one in self._connections]

    async def batches(self, stopping: asyncio.Event, after_ns: int = 0) -> AsyncGenerator[Batch]:
        """Every batch after an event time, with the clock events of all."""
        marks = Watermarks(self._idle_s, after_ns)
        self._connections.clear()
        queue = Waiting(WAITING_BATCHES)
        tasks = []
        for place, provider in enumerate(self.providers):
            marks.hear(place, self._now(), after_ns)
            connection = Connection(provider, stopping)
            self._connections.append(connection)
            tasks.append(asyncio.create_task(self._read(place, connection, after_ns, marks, queue)))
        try:
            async for batch in self._merged(marks, queue):
                yield batch
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(
        self,
        place: int,
        connection: Connection,
        after_ns: int,
        marks: Watermarks,
        queue: Waiting,
    ) -> None:
        try:
            async with contextlib.aclosing(connection.batches(after_ns)) as batches:
                async for batch in batches:
                    await queue.put((place, batch))
                    await asyncio.sleep(0)
                    while marks.is_ahead(place):
                        self._moved.clear()
                        await self._moved.wait()
            await queue.put((place, None))
        except Exception as error:  # noqa: BLE001 -- it is raised where the batches are awaited
            await queue.put((place, error))

    async def _merged(self, marks: Watermarks, queue: Waiting) -> AsyncGenerator[Batch]:
        left = len(self.providers)
        while left:
            before_ns = marks.clock_ns
            place, one = await self._next(queue)
            if isinstance(one, Batch):
                is_clock = one.kind == "clock"
                marks.hear(place, self._now(), one.newest_ns if is_clock else 0)
                if not is_clock:
                    yield one
            elif place != NOBODY:
                marks.end(place)
                left -= 1
            clock_ns = marks.advance(self._now())
            if clock_ns > before_ns:
                self._moved.set()
                times = clocks_between(before_ns or clock_ns - 1, clock_ns)
                if len(times):
                    yield clock_batch(times)

    async def _next(self, queue: Waiting) -> tuple[int, Batch | None]:
        """What a source said, None at its end; NOBODY when all are silent. Raises what a source raised."""
        try:
            async with asyncio.timeout(self._idle_s):
                place, one = await queue.get()
        except TimeoutError:
            return NOBODY, None
        if isinstance(one, Exception):
            raise one
        return place, one
