"""A provider kept connected: when it drops or goes mute a gap is told, it is opened again, and the gap is filled.

    the connection ended          a gap of every symbol that was sent so far, and is followed, begins with the newest event
    it is open again              the gap ends with the first event that comes
    the provider can send again   what is missing, then the news that the gap is repaired
    by time, which overlaps       the same, without what came already: see `Overlap` of `providers.seen`
    it goes on where it ended     nothing is missing, however late it comes: the gap ends repaired
    the market was closed         nothing is missing: the gap ends repaired

Waits grow from half a second to 30 s, each drawn at random below that, and start small again after a
minute of data; where nobody listens it knocks every second or so. Nothing here decides for functions: they are told of gaps in event time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator

import numpy as np

from runtime import telemetry
from runtime.feed_health import LOST, OK, Health, starting
from runtime.frames import Array
from runtime.providers import SECOND_NS, Batch, Provider, ProviderError
from runtime.providers.history import KINDS as BESIDE
from runtime.providers.losses import QUOTES, TRADES, gap_batch
from runtime.providers.seen import Gap, Overlap
from runtime.providers.trouble import (
    BACK_OFF,
    GIVE_UP,
    KNOCK,
    MUTE,
    Dropped,
    decision,
    longest_wait_s,
)

log = telemetry.get_logger(__name__)

GOOD_S = 60.0  # of data: then waits start small again
FILL_S = 60.0  # that a part of a gap may take to come again
AHEAD_BATCHES = 8  # that a reader may be ahead
OPENING_NS = 60 * SECOND_NS  # that opening a connection may take


class Wake:
    """Something else is to be done than to read."""


WAKE = Wake()


class Reader:
    """A provider read in a thread of its own: a socket that says nothing holds up nobody else."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches, self._loop = batches, asyncio.get_running_loop()
        self._queue: deque[Batch | Exception | Wake | None] = deque()
        self._room = threading.Semaphore(AHEAD_BATCHES)
        self._arrived = asyncio.Event()
        self._is_left = False
        threading.Thread(target=self._read, name="reader", daemon=True).start()

    def _read(self) -> None:
        try:
            for batch in self._batches:
                if not self._put(batch):
                    return
            self._put(None)
        except Exception as error:  # noqa: BLE001 -- it is raised where the batches are awaited
            self._put(error)
        finally:
            if isinstance(self._batches, Generator):
                self._batches.close()  # here: saying goodbye to a socket may take its time

    def _put(self, one: Batch | Exception | None) -> bool:
        """Hand over from the thread, once there is room; False when nobody reads any more."""
        self._room.acquire()
        if self._is_left:
            return False
        self._queue.append(one)
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop has ended, and with it whoever would read
            return False
        return True

    def wake(self) -> None:
        """Have `next` answer at once; if something waits it will anyway."""
        if not self._queue:
            self._queue.append(WAKE)
            self._arrived.set()

    async def next(self, within_s: float | None) -> Batch | Wake | None:
        """The next batch, None at the end, WAKE if woken; raises TimeoutError, and what the provider raised."""
        while not self._queue:
            self._arrived.clear()
            async with asyncio.timeout(within_s):
                await self._arrived.wait()
        one = self._queue.popleft()
        if not isinstance(one, Wake):
            self._room.release()
        if isinstance(one, Exception):
            raise one
        return one

    def leave(self) -> None:
        """Read no more; whoever waits to hand over goes on and ends."""
        self._is_left = True
        self._room.release()


class Connection:
    """The batches of a provider across its connections, gaps among them.

    A provider may have more attributes: `mute_s`, seconds of silence that mean it is gone (it is then
    read in a thread), `open_between(from_ns, to_ns)`, whether it could say anything between two wall
    times, `again(from_ns, to_ns)`, which gives the batches of a past time, `overlaps`, whether those are
    also what came on either side of it, `resumes(from_ns)`, whether it goes on by itself where it ended at an
    event time, and `universe`, what it follows.
    """

    def __init__(
        self,
        provider: Provider,
        stopping: asyncio.Event,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._provider, self._stopping, self._draw = provider, stopping, draw
        self.health = starting(provider.name)
        telemetry.UNFILLED.labels(provider.name)  # from 0 on, or the first one is no increase
        self._places: dict[str, int] = {}
        self._symbols: list[str] = []
        self._tables: dict[int, tuple[list[str], int]] = {}  # and how much of each is known
        self._newest_ns = 0
        self._newest_event_ns = 0  # a clock that follows the wall is ahead of it
        self._gap_ns = 0  # since when a gap lasts, in event time
        self._lost = np.zeros(0, dtype=np.int64)  # places of the symbols that it is of
        self._dropped_ns = 0  # and by the wall
        self._tries = 0
        self._is_away = False
        self._opened_s = 0.0
        self._opened_ns = 0
        self._filled: deque[Batch] = deque()  # what was sent again and waits to go on
        self._overlap = Overlap() if getattr(provider, "overlaps", False) else None
        self._reader: Reader | None = None
        self._filling: set[asyncio.Task[None]] = set()

    def healths(self) -> list[Health]:
        """How the feed is."""
        return [self.health]

    async def batches(self, after_ns: int = 0) -> AsyncGenerator[Batch]:
        """Every batch after an event time; raises ProviderError where opening again is no use."""
        self._newest_ns = self._newest_event_ns = after_ns
        while not self._stopping.is_set():
            try:
                async with contextlib.aclosing(self._once(self._newest_ns)) as batches:
                    async for batch in batches:
                        for one in () if isinstance(batch, Wake) else self._with_news(batch):
                            yield one
                        while self._filled:
                            yield self._filled.popleft()
                await asyncio.gather(*self._filling)
                while self._filled:
                    yield self._filled.popleft()
                return
            except Dropped as error:
                action = decision(error.vendor, error.code)
                self.health = self.health.becomes(LOST, str(error))
                if action == GIVE_UP:
                    raise
                for one in self._begun():
                    yield one
                await self._pause(error, action)

    async def _once(self, after_ns: int) -> AsyncGenerator[Batch | Wake]:
        batches = self._provider.batches(after_ns)
        self._opened_s, self._opened_ns = time.monotonic(), time.time_ns()
        mute_s = getattr(self._provider, "mute_s", 0.0)
        if not mute_s:
            for batch in batches:
                yield batch
            return
        reader = self._reader = Reader(batches)
        try:
            while (one := await self._said(reader, mute_s)) is not None:
                yield one
        finally:
            reader.leave()

    async def _said(self, reader: Reader, mute_s: float) -> Batch | Wake | None:
        """What comes next; silence ends the connection, but for one that has nothing to say now."""
        while True:
            try:
                return await reader.next(mute_s)
            except TimeoutError as error:
                now_ns = time.time_ns()
                if self.could_speak(now_ns, now_ns):
                    raise Dropped(self._provider.name, MUTE) from error
                self.health = self.health.becomes(OK)  # it is there and has nothing to say now

    def could_speak(self, from_ns: int, to_ns: int) -> bool:
        """Whether the provider could have said anything between two times of the wall's clock."""
        open_between = getattr(self._provider, "open_between", None)
        return open_between is None or bool(open_between(from_ns, to_ns))

    def _resumed(self, from_ns: int) -> bool:
        """Whether the provider goes on by itself where it ended."""
        resumes = getattr(self._provider, "resumes", None)
        return resumes is not None and bool(resumes(from_ns))

    def _with_news(self, batch: Batch) -> Iterator[Batch]:
        """A batch; the first after a drop with the end of the gap before it, and what was missing after it."""
        if batch.kind not in BESIDE and batch.index is not None:
            self.health = self.health.becomes(OK)
        if batch.kind in BESIDE or batch.index is None or not self._gap_ns:
            yield from self._came(batch)
            return
        from_ns, to_ns = self._gap_ns, int(batch.times.min())
        self._gap_ns = 0
        lost = self._lost
        is_whole = self._resumed(from_ns) or not self.could_speak(
            self._dropped_ns, self._opened_ns + OPENING_NS
        )
        yield self._gap(lost, max(to_ns, self._newest_ns), from_ns, max(to_ns, from_ns), is_whole)
        again = None if is_whole else getattr(self._provider, "again", None)
        gap = None
        if again is not None and self._overlap is not None:
            gap = self._overlap.begin(from_ns, to_ns)
        asked = gap.asked if gap else (from_ns, to_ns)
        yield from self._came(batch)
        if again is not None and getattr(self._provider, "mute_s", None):
            filling = asyncio.create_task(self._fill(again(*asked), lost, from_ns, to_ns, gap))
            self._filling.add(filling)
            filling.add_done_callback(self._filling.discard)
        elif again is not None:
            for missing in again(*asked):
                yield from self._sent_again(missing)
            if gap:
                gap.is_filled = True
            yield self._gap(lost, self._newest_ns, from_ns, max(to_ns, from_ns), is_repaired=True)

    def _came(self, batch: Batch) -> Iterator[Batch]:
        """A batch as the connection gives it, without what was sent again before it."""
        self._learn(batch)
        new = batch if self._overlap is None else self._overlap.came(batch)
        if new is not None:
            yield new

    def _sent_again(self, batch: Batch) -> Iterator[Batch]:
        new = batch if self._overlap is None else self._overlap.new(batch)
        if new is not None:
            yield new

    async def _fill(
        self, missing: Iterator[Batch], lost: Array, from_ns: int, to_ns: int, gap: Gap | None
    ) -> None:
        """Have sent again what was missing, beside what goes on; where that fails the gap stays one."""
        reader = Reader(missing)
        try:
            while isinstance(one := await reader.next(FILL_S), Batch):
                for new in self._sent_again(one):
                    self._hand_on(new)
            until_ns = max(to_ns, from_ns)
            self._hand_on(self._gap(lost, self._newest_ns, from_ns, until_ns, is_repaired=True))
        except Exception as error:
            is_known = isinstance(error, ProviderError | OSError | TimeoutError)
            telemetry.UNFILLED.labels(self._provider.name).inc()
            log.error(
                "gap not filled",
                source=self._provider.name,
                reason=str(error) or "too slow",
                exc_info=None if is_known else error,
            )
        finally:
            reader.leave()
            if gap:
                gap.is_filled = True

    def _hand_on(self, batch: Batch) -> None:
        self._filled.append(batch)
        if self._reader is not None:
            self._reader.wake()

    def _begun(self) -> Iterator[Batch]:
        """The gap that a drop begins: of every symbol that was sent and is followed."""
        if self._gap_ns:
            return
        lost = np.flatnonzero([self._follows(one) for one in self._symbols])
        if len(lost):
            self._lost = lost
            self._gap_ns, self._dropped_ns = self._newest_event_ns, time.time_ns()
            yield self._gap(lost, self._newest_ns, self._gap_ns)

    def _follows(self, symbol: str) -> bool:
        universe = getattr(self._provider, "universe", None)
        return universe is None or universe.follows(symbol)

    def _gap(
        self, lost: Array, ts_ns: int, from_ns: int, to_ns: int = 0, is_repaired: bool = False
    ) -> Batch:
        return gap_batch(self._symbols, lost, ts_ns, from_ns, to_ns, TRADES | QUOTES, is_repaired)

    def _learn(self, batch: Batch) -> None:
        if batch.kind in BESIDE:
            return
        self._newest_ns = max(self._newest_ns, batch.newest_ns)
        if batch.index is None:
            return
        self._newest_event_ns = max(self._newest_event_ns, batch.newest_ns)
        _, known = self._tables.get(id(batch.symbols), (batch.symbols, 0))
        for symbol in batch.symbols[known:]:
            if self._places.setdefault(symbol, len(self._places)) == len(self._symbols):
                self._symbols.append(symbol)
        if len(batch.symbols) > known:
            self._tables[id(batch.symbols)] = (
                batch.symbols,
                len(batch.symbols),
            )  # held: its id is its own

    async def _pause(self, error: Dropped, action: str) -> None:
        if time.monotonic() - self._opened_s > GOOD_S:
            self._tries = 0
        wait_s = self._draw(0.0, longest_wait_s(action, self._tries))
        self._tries += action != KNOCK
        telemetry.DROPS.labels(error.vendor, error.code).inc()
        if action != KNOCK or not self._is_away:  # once, not every second of an outage
            tell = log.error if action == BACK_OFF else log.warning
            tell(
                "connection ended", source=error.vendor, code=error.code, then=action, wait_s=wait_s
            )
        self._is_away = action == KNOCK
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._stopping.wait()
