"""An ordered list of sources, of which one is published: when it says nothing while a later one does, that one takes over.

All are read all the time. What a standby sends is held for HELD_NS; at a takeover what the market did since
the newest published event is published from there, so that nothing is lost and nothing comes twice: see `seams`.

    the active source has no data for TAKEOVER_S, a later one has       the later one, at the newest event
    an earlier source has had data for RETURN_S without a break         it again, the same way
    the active source has none of a symbol that a later one trades on   that symbol from the later one: see `silences`
    the new source's hold does not reach back to the newest event       a gap of every symbol, from it on
    numbers show that trades are missing, or that none are              a gap of that symbol, or none
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
from runtime.frames import Array
from runtime.providers import SECOND_NS, Batch, Provider, ProviderError, of_rows
from runtime.providers.history import KINDS as BESIDE
from runtime.providers.losses import QUOTES, TRADES, gap_batch
from runtime.providers.seen import REACH_NS
from runtime.seams import HELD_NS, Seam, published_by
from runtime.silences import WHOEVER, Places, Silences

log = telemetry.get_logger(__name__)

TAKEOVER_S = 3.0
RETURN_S = 30.0
LOOK_S = 0.25
WAITING_BATCHES = 64
NEVER_NS = np.iinfo(np.int64).max

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
        self._symbols: dict[str, None] = {}  # that were published
        self._tables: dict[int, tuple[list[str], int]] = {}  # and how much of each is known
        self._connections: list[Connection] = []
        self._health = starting(self.name)
        places = Places()
        self._disagreement = Disagreement([one.name for one in providers], places)
        self._places, self._silences = places, Silences(len(providers), places)
        self._feeds = published_by(providers, places)
        self._seams: list[list[Seam]] = [[] for _ in providers]  # that each has not passed
        self._second = 0  # of event time, in which silences were looked for

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
            state, reason = OK, self._moved()
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
        except Exception as error:  # noqa: BLE001 - told and, of the last source, raised by `_end`
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
            self._silences.hear(place, self.active, batch)
            if place != self.active or self._silences.moved:
                source.hold(batch)
            rows = self._silences.rows_of(place, self.active, batch)
            if rows is not None:
                part = of_rows(batch, rows)
                return [] if part is None else self._passed(place, part)
        return self._passed(place, batch) if place == self.active else []

    def _passed(self, place: int, batch: Batch) -> list[Batch]:
        """Events of a published source, without those that were published before a seam."""
        newest_ns = self._sources[place].newest_ns
        seams = self._seams[place] = [one for one in self._seams[place] if newest_ns < one.until_ns]
        for seam in seams if batch.index is not None and batch.kind == "trades" else ():
            new = seam.passing(batch)
            if new is None:
                return []
            batch = new
        return self._published(place, batch)

    def _published(self, place: int, batch: Batch) -> list[Batch]:
        if batch.kind == "clock":
            keep = batch.columns["ts_ns"] > self._clock_ns
            if not keep.any():
                return []
            self._clock_ns = batch.newest_ns
            return [Batch("clock", {"ts_ns": batch.columns["ts_ns"][keep]}, [], None)]
        if batch.kind not in BESIDE:
            self._silences.publish(batch)
            feed = self._feeds[place]
            if feed is not None:
                feed.note(batch)
            self._newest_ns = max(self._newest_ns, batch.newest_ns)
            self._learn(batch.symbols)
        return [batch]

    def _learn(self, symbols: list[str]) -> None:
        _, known = self._tables.get(id(symbols), (symbols, 0))
        if len(symbols) > known:
            self._symbols |= dict.fromkeys(symbols[known:])
            self._tables[id(symbols)] = symbols, len(symbols)  # holding it keeps its id its own

    # -- who is published

    def _choose(self) -> list[Batch]:
        now_s = self._now()
        for place, source in enumerate(self._sources[: self.active]):
            if not source.is_silent(now_s) and now_s - source.healthy_since_s > RETURN_S:
                return self._take_over(place, "healthy again")
        if not self._sources[self.active].is_silent(now_s):
            return self._choose_by_symbol()
        for place, source in enumerate(self._sources):
            if place != self.active and not source.is_silent(now_s):
                return self._take_over(place, "no data")
        return []

    def _take_over(self, place: int, reason: str) -> list[Batch]:
        source, from_ns = self._sources[place], self._newest_ns
        if self._silences.moved:  # what was published of those says nothing of the others
            from_ns = self._sources[self.active].newest_ns
        after_ns = self._silences.published_ns(from_ns)
        owner = np.where(self._silences.owner == WHOEVER, self.active, self._silences.owner)
        seam = self._seam(place, after_ns, self._is_one(owner, place), from_ns)
        missed = seam.held(source.held)
        log.warning(
            "another source takes over",
            source=self.providers[place].name,
            instead_of=self.providers[self.active].name,
            reason=reason,
        )
        telemetry.TAKEN_OVER.labels(self.providers[place].name).inc()
        self.active = place
        self._silences.begin()
        source.held.clear()
        found = []
        if from_ns and self._symbols:
            names = list(self._symbols)
            at = self._places.of(names)
            found = self._told(names, at, np.full(len(at), from_ns), source, seam.joins(missed))
        for batch in missed:
            found += self._published(place, batch)
        return found

    def _is_one(self, owner: Array, place: int) -> Array:
        """Whether each of those sources is a connection to the same feed as another one."""
        mine = self._feeds[place]
        same = [mine is not None and one is mine for one in self._feeds]
        return np.array(same, dtype=bool)[owner]

    def _seam(self, place: int, after_ns: Array, is_one: Array, newest_ns: int) -> Seam:
        """Where a source goes on; what it sends is looked at until it has passed."""
        seam = Seam(self._places, after_ns, is_one, self._feeds[place], newest_ns + REACH_NS)
        if is_one.any():
            self._seams[place].append(seam)
        return seam

    def _told(
        self,
        names: list[str],
        at: Array,
        from_ns: Array,
        source: Source,
        joins: tuple[Array, Array],
    ) -> list[Batch]:
        """The seam of symbols: gaps that are repaired at once where nothing is missing."""
        first_ns, joined = (one[np.minimum(at, len(one) - 1)] for one in joins)
        is_whole = np.where(joined < 0, source.from_ns <= from_ns, joined > 0)
        to_ns = np.where(joined < 0, source.from_ns, np.where(joined > 0, from_ns, first_ns))
        found = []
        for whole in (True, False):
            rows = np.flatnonzero(is_whole == whole)
            if len(rows):
                part = [names[one] for one in rows.tolist()]
                ends = np.maximum(from_ns, to_ns)[rows]
                told = (ends, from_ns[rows], ends, TRADES | QUOTES, whole)
                found.append(gap_batch(part, np.arange(len(part)), *told))
        return found

    # -- by symbol

    def _moved(self) -> str:
        names = [self.providers[one].name for one in self._silences.moved_to()]
        return f"{self._silences.moved} symbols from {', '.join(names)}" if names else ""

    def _choose_by_symbol(self) -> list[Batch]:
        """Symbols on which the published source fell silent, and those that it sends again."""
        second = self._sources[self.active].newest_ns // SECOND_NS
        if second == self._second:
            return []
        self._second = second
        found: list[Batch] = []
        for place, symbols in self._silences.lost(self.active):
            found += self._move(symbols, place, place)
        back = self._silences.back(self.active)
        return found + (self._move(back, WHOEVER, self.active) if len(back) else [])

    def _move(self, symbols: Array, owner: int, place: int) -> list[Batch]:
        """Publish symbols from another source, from the newest of each on, with a seam."""
        source = self._sources[place]
        before = self._silences.owner[symbols]
        from_ns = self._silences.move(symbols, owner)
        name, some = self.providers[place].name, self._places.symbols[int(symbols[0])]
        log.warning("symbols from another source", source=name, count=len(symbols), one=some)
        telemetry.TAKEN_OVER_SYMBOLS.labels(name).inc(len(symbols))
        after_ns = np.full(len(self._silences.owner), NEVER_NS)
        after_ns[symbols] = from_ns
        is_one = np.zeros(len(after_ns), dtype=bool)
        is_one[symbols] = self._is_one(np.where(before == WHOEVER, self.active, before), place)
        seam = self._seam(place, after_ns, is_one, int(from_ns.max()))
        missed = seam.held(source.held)
        names = [self._places.symbols[one] for one in symbols.tolist()]
        found = self._told(names, symbols, from_ns, source, seam.joins(missed))
        for batch in missed:
            found += self._published(place, batch)
        return found
