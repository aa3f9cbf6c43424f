"""An ordered list of sources, of which one is published: when it says nothing while a later one does, that one takes over.

All are read all the time. What a standby sends is held for HELD_NS; at a takeover what the market did since
the newest published event is published from there, so that nothing is lost and, by time, nothing comes twice.

    the active source has no data for TAKEOVER_S, a later one has       the later one, at the newest event
    an earlier source has had data for RETURN_S without a break         it again, the same way
    the new source's hold does not reach back to the newest event       a gap of every symbol, from it on
    else                                                                a gap that is repaired at once: the seam is marked

Health is data: clock events of a socket that is open and says nothing are none.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace

import numpy as np

from runtime import telemetry
from runtime.connections import Connection
from runtime.disagreement import Disagreement
from runtime.feed_health import LOST, OK, STANDBY, STARTING, Health, starting
from runtime.providers import SECOND_NS, Batch, Provider, ProviderError
from runtime.providers.history import KINDS as BESIDE
from runtime.providers.losses import QUOTES, TRADES, gap_batch

log = telemetry.get_logger(__name__)

TAKEOVER_S = 3.0
RETURN_S = 30.0
LOOK_S = 0.25
HELD_NS = 15 * SECOND_NS
WAITING_BATCHES = 64

Waiting = asyncio.Queue[tuple[int, Batch | Exception | None]]


@dataclass
class Source:
    """What is known of one source."""

    held: deque[Batch] = field(default_factory=deque)
    from_ns: int = 0  # what it sent since then is held, or was
    newest_ns: int = 0
    heard_s: float = 0.0
    healthy_since_s: float = 0.0
    is_over: bool = False

    def hear(self, batch: Batch, now_s: float) -> None:
        """Data came."""
        if not self.heard_s or now_s - self.heard_s > TAKEOVER_S:
            self.healthy_since_s, self.held, self.from_ns = now_s, deque(), int(batch.times.min())
        self.heard_s = now_s
        self.newest_ns = max(self.newest_ns, batch.newest_ns)

    def hold(self, batch: Batch) -> None:
        """Keep what came, as long as a takeover may need it."""
        self.held.append(batch)
        while self.held and self.held[0].newest_ns < self.newest_ns - HELD_NS:
            self.from_ns = max(self.from_ns, self.held.popleft().newest_ns)

    def is_silent(self, now_s: float) -> bool:
        """Whether it has no data, or never had."""
        return self.is_over or not self.heard_s or now_s - self.heard_s > TAKEOVER_S


class Failover:
    """A provider of live data made of several, the first of which is wanted most."""

    def __init__(
        self, providers: list[Provider], now: Callable[[], float] = time.monotonic
    ) -> None:
        if any(one.speed != providers[0].speed for one in providers):
            raise ProviderError(
                "standby: expected sources of one speed, live or as fast as possible"
            )
        self.providers = providers
        self.name = "/".join(dict.fromkeys(one.name for one in providers))
        self.speed, self.warm_ns = providers[0].speed, 0
        self.active = 0
        self._now = now
        self._sources = [Source() for _ in providers]
        self._newest_ns = 0  # of what was published
        self._clock_ns = 0
        self._symbols: dict[str, int] = {}
        self._connections: list[Connection] = []
        self._health = starting(self.name)
        self._disagreement = Disagreement([one.name for one in providers])

    def healths(self) -> list[Health]:
        """How the feed is: one, of whoever is published."""
        now_s, now_ns = self._now(), time.time_ns()
        name = self.providers[self.active].name
        if not any(one.heard_s for one in self._sources):
            state, reason = STARTING, ""
        elif self._sources[self.active].is_silent(now_s):
            is_due = any(one.could_speak(now_ns, now_ns) for one in self._connections)
            state, reason = (LOST, "no source has data") if is_due else (OK, "")
        elif self.active:
            state, reason = STANDBY, f"no data from {self.providers[0].name}"
        else:
            state, reason = OK, ""
        self._health = replace(self._health, source=name).becomes(state, reason)
        return [self._health]

    async def batches(self, stopping: asyncio.Event, after_ns: int = 0) -> AsyncGenerator[Batch]:
        """Every batch of whoever is active, with seams; ends when all sources have."""
        self._newest_ns = after_ns
        queue = Waiting(WAITING_BATCHES)
        self._connections = [Connection(one, stopping) for one in self.providers]
        tasks = [
            asyncio.create_task(self._read(place, one, after_ns, queue))
            for place, one in enumerate(self._connections)
        ]
        try:
            async for batch in self._followed(queue):
                yield batch
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(
        self, place: int, connection: Connection, after_ns: int, queue: Waiting
    ) -> None:
        try:
            async with contextlib.aclosing(connection.batches(after_ns)) as batches:
                async for batch in batches:
                    await queue.put((place, batch))
            await queue.put((place, None))
        except ProviderError as error:
            await queue.put((place, error))

    async def _followed(self, queue: Waiting) -> AsyncGenerator[Batch]:
        while not all(one.is_over for one in self._sources):
            try:
                async with asyncio.timeout(LOOK_S):
                    place, one = await queue.get()
            except TimeoutError:
                place, one = -1, None
            if isinstance(one, Batch):
                for batch in self._taken(place, one):
                    yield batch
            elif place >= 0:
                self._end(place, one)
            for batch in self._choose():
                yield batch

    def _end(self, place: int, error: Exception | None) -> None:
        self._sources[place].is_over = True
        if error is not None:
            log.error("source given up", source=self.providers[place].name, reason=str(error))
            if all(one.is_over for one in self._sources):
                raise error

    def _taken(self, place: int, batch: Batch) -> list[Batch]:
        source = self._sources[place]
        is_data = batch.index is not None and batch.kind not in (*BESIDE, "gaps")
        if is_data:
            source.hear(batch, self._now())
            self._disagreement.hear(place, batch)
            self._disagreement.measure(self.active)
        if place == self.active:
            return self._published(batch)
        if is_data:
            source.hold(batch)
        return []

    def _published(self, batch: Batch) -> list[Batch]:
        if batch.kind == "clock":
            keep = batch.columns["ts_ns"] > self._clock_ns
            if not keep.any():
                return []
            self._clock_ns = batch.newest_ns
            return [Batch("clock", {"ts_ns": batch.columns["ts_ns"][keep]}, [], None)]
        if batch.kind not in BESIDE:
            self._newest_ns = max(self._newest_ns, batch.newest_ns)
            for symbol in batch.symbols[len(self._symbols) :] or batch.symbols:
                self._symbols.setdefault(symbol, len(self._symbols))
        return [batch]

    # -- who is published

    def _choose(self) -> list[Batch]:
        now_s = self._now()
        for place, source in enumerate(self._sources[: self.active]):
            if not source.is_silent(now_s) and now_s - source.healthy_since_s > RETURN_S:
                return self._take_over(place, "healthy again")
        if not self._sources[self.active].is_silent(now_s):
            return []
        for place, source in enumerate(self._sources):
            if place != self.active and not source.is_silent(now_s):
                return self._take_over(place, "no data")
        return []

    def _take_over(self, place: int, reason: str) -> list[Batch]:
        source, from_ns = self._sources[place], self._newest_ns
        log.warning(
            "another source takes over",
            source=self.providers[place].name,
            instead_of=self.providers[self.active].name,
            reason=reason,
        )
        telemetry.TAKEN_OVER.labels(self.providers[place].name).inc()
        self.active = place
        missed = [part for one in source.held if (part := _after(one, from_ns)) is not None]
        source.held.clear()
        found = self._seam(from_ns, source.from_ns) if from_ns else []
        for batch in missed:
            found += self._published(batch)
        return found

    def _seam(self, from_ns: int, held_from_ns: int) -> list[Batch]:
        """Where one source ends and another goes on; whole if the other was heard before that."""
        if not self._symbols:
            return []
        symbols = list(self._symbols)
        is_whole = held_from_ns <= from_ns
        to_ns = max(from_ns, held_from_ns)
        everyone, what = np.arange(len(symbols)), TRADES | QUOTES
        return [gap_batch(symbols, everyone, to_ns, from_ns, to_ns, what, is_repaired=is_whole)]


def _after(batch: Batch, from_ns: int) -> Batch | None:
    """The events of a batch past a time."""
    keep = batch.times > from_ns
    if not keep.any() or batch.index is None:
        return None
    if keep.all():
        return batch
    columns = {name: values[keep] for name, values in batch.columns.items()}
    at_ns = None if batch.at_ns is None else batch.at_ns[keep]
    return Batch(batch.kind, columns, batch.symbols, batch.index[keep], at_ns)
