"""Publish a provider's batches: by partition, in order, each exactly once, never faster than NATS takes them.

Every partition has one sender with one write in flight, so that order survives a retry; the others
do not wait for it. A message's id is made of the feed's event time and its number, so that what a
restart sends again is the message it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runtime import telemetry
from runtime.bus import Bus, BusError
from runtime.config import Settings
from runtime.connections import Connection
from runtime.failover import Failover
from runtime.feed_health import keep_told
from runtime.frames import FRAME_BYTES_TARGET, Array, Frame, concatenate, decode, encode
from runtime.knowledge import Knowledge
from runtime.providers import (
    SECOND_NS,
    Batch,
    Provider,
    ProviderError,
    frame_of_rows,
    open_provider,
)
from runtime.providers.history import KINDS as KNOWN_KINDS
from runtime.shedding import LATE_S, QUEUED_MAX, Shedder
from runtime.sources import Sources
from runtime.subjects import Subjects, partition_of
from runtime.tables import TableError
from runtime.universe import Follower

log = telemetry.get_logger(__name__)

QUEUE_FRAMES = 64  # per partition: a second of a busy market; then the provider waits
LINGER_MS = 3.0  # a frame that is not full waits no longer, unless one before it is being written
REPORT_S = 10.0
CLOCK_ROWS_MAX = 4096
STOP_S = 5.0
ALERTS_CLOCK_NS = 5 * SECOND_NS  # a digest waits no longer; a month of them is 100 MB of ALERTS
BYTES_PER_TRADE = 2 + 8 + 8 + 8  # index, time, price, size


@dataclass(frozen=True)
class Outgoing:
    """A frame ready to be published."""

    partition: int
    base: str
    frame: Frame


@dataclass
class Splitter:
    """Cuts batches into frames per partition, trades and clock events in the order they came."""

    subjects: Subjects
    source: str
    _partitions: dict[int, tuple[list[str], Array]] = field(default_factory=dict)  # by table
    _open: dict[int, list[tuple[str, Frame]]] = field(default_factory=dict)
    _joined: list[Batch] = field(default_factory=list)  # alike, not cut yet
    after_ns: dict[int, int] = field(
        default_factory=dict
    )  # partitions that were ahead at a restart
    clock_ns: int = 0

    def split(self, batch: Batch) -> Iterator[Outgoing]:
        """The full frames a batch completes; the rest waits for `flush`."""
        if batch.index is None:
            yield from self._split_joined()  # what came before the clock is judged by the one before
            self.clock_ns = batch.newest_ns
            for partition in range(self.subjects.partitions):
                frame = Frame(dict(batch.columns), source=self.source)
                if partition in self.after_ns:
                    frame = frame[frame["ts_ns"] > self.after_ns[partition]]
                if len(frame):
                    yield from self._add(partition, batch.base, frame)
            return
        if self._joined and not _are_alike(self._joined[-1], batch):
            yield from self._split_joined()
        self._joined.append(batch)
        if _is_full(batch.base, sum(map(len, self._joined))):
            yield from self._split_joined()

    def _split_joined(self) -> Iterator[Outgoing]:
        """Cut the batches that wait as one: that costs hardly more than the first of them."""
        if self._joined:
            batch = _as_one(self._joined)
            self._joined = []
            yield from self._split_by_symbol(batch)

    def _split_by_symbol(self, batch: Batch) -> Iterator[Outgoing]:
        wanted = self._partitions_of(batch.symbols)[batch.index]
        is_due = batch.kind in KNOWN_KINDS  # told again at every start, whoever was ahead
        order = np.argsort(wanted, kind="stable")
        bounds = np.searchsorted(wanted[order], np.arange(self.subjects.partitions + 1))
        for partition in range(self.subjects.partitions):
            rows = order[bounds[partition] : bounds[partition + 1]]
            if len(rows) and (is_due or self.clock_ns >= self.after_ns.get(partition, 0)):
                yield from self._add(partition, batch.base, frame_of_rows(batch, rows, self.source))

    def _partitions_of(self, symbols: list[str]) -> Array:
        """The partition of every symbol of a table, looked up once."""
        _, known = self._partitions.get(id(symbols), (symbols, np.zeros(0, dtype=np.int64)))
        if len(symbols) > len(known):
            new = [partition_of(one, self.subjects.partitions) for one in symbols[len(known) :]]
            known = np.concatenate([known, np.array(new, dtype=np.int64)])
            self._partitions[id(symbols)] = symbols, known  # holding it keeps its id its own
        return known

    def _add(self, partition: int, base: str, frame: Frame) -> Iterator[Outgoing]:
        waiting = self._open.setdefault(partition, [])
        if waiting and not _are_of_a_kind(waiting[-1], (base, frame)):
            yield from self._emit(partition)
        waiting = self._open.setdefault(partition, [])
        waiting.append((base, frame))
        if _is_full(base, sum(len(one) for _, one in waiting)):
            yield from self._emit(partition)

    def _emit(self, partition: int) -> Iterator[Outgoing]:
        waiting = self._open.pop(partition, [])
        if not waiting:
            return
        base = waiting[0][0]
        whole = concatenate([frame for _, frame in waiting], self.subjects.record_of(base))
        rows = CLOCK_ROWS_MAX if base == "ticks.clock" else FRAME_BYTES_TARGET // BYTES_PER_TRADE
        for first in range(0, len(whole), rows):
            yield Outgoing(partition, base, whole[first : first + rows])

    def flush(self, held: Collection[int] = ()) -> Iterator[Outgoing]:
        """Everything that waits, but for the partitions `held`."""
        yield from self._split_joined()
        for partition in [one for one in self._open if one not in held]:
            yield from self._emit(partition)

    @property
    def is_empty(self) -> bool:
        """Nothing waits."""
        return not (self._joined or self._open)


def _are_alike(one: Batch, other: Batch) -> bool:
    """Whether two batches can be cut as one."""
    return (
        one.kind == other.kind
        and one.symbols is other.symbols
        and one.at_ns is None
        and other.at_ns is None
        and one.columns.keys() == other.columns.keys()
    )


def _as_one(batches: list[Batch]) -> Batch:
    """Batches that are alike, in order, as one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    columns = {
        name: np.concatenate([one.columns[name] for one in batches]) for name in first.columns
    }
    index = np.concatenate([one.index for one in batches if one.index is not None])
    return Batch(first.kind, columns, first.symbols, index)


def _are_of_a_kind(one: tuple[str, Frame], other: tuple[str, Frame]) -> bool:
    """Whether frames can become one: a column that one of them lacks would be lost to both."""
    return one[0] == other[0] and one[1].columns.keys() == other[1].columns.keys()


def _goes_by_content(base: str) -> bool:
    return base == "ticks.gaps" or base.removeprefix("ticks.") in KNOWN_KINDS


def _is_full(base: str, rows: int) -> bool:
    if base == "ticks.clock":
        return rows >= CLOCK_ROWS_MAX
    return rows * BYTES_PER_TRADE >= FRAME_BYTES_TARGET


class Ingest:
    """One feed on its way into the MARKET stream."""

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        provider: Provider | Sources | Failover,
        clocks_ns: Mapping[int, int] | None = None,
        late_s: float = LATE_S,
        linger_ms: float = LINGER_MS,
        follower: Follower | None = None,
        knowledge: Knowledge | None = None,
    ) -> None:
        self._bus = bus
        self._linger_s = linger_ms / 1000
        self._subjects = subjects
        self._provider = provider
        self._follower, self._knowledge = follower, knowledge
        self._splitter = Splitter(subjects, provider.name, after_ns=dict(clocks_ns or {}))
        self._queues = [asyncio.Queue[Outgoing](QUEUE_FRAMES) for _ in range(subjects.partitions)]
        self._shedders = [Shedder(late_s) for _ in range(subjects.partitions)]
        self._late_s = 0.0  # by which publishing is behind event time
        self._numbers = [0] * subjects.partitions
        self._stopping = asyncio.Event()
        self._feeds = (
            provider
            if isinstance(provider, Sources | Failover)
            else Connection(provider, self._stopping)
        )
        self._epoch_ns = 0
        self._told_ns = 0  # event time that ALERTS knows
        self._ticked = asyncio.Event()
        self._cutting = asyncio.Lock()  # frames leave in the order in which they were cut
        self._opened = asyncio.Event()  # rows wait for a frame to be full
        self.published = 0

    def stop(self) -> None:
        """Publish what waits, then end."""
        self._stopping.set()

    async def run(self, after_ns: int = 0) -> None:
        """Publish until the feed ends or `stop` is called, and everything pending is stored.

        Raises BusError when the provider gives up.
        """
        try:
            await self._run(after_ns)
        except ExceptionGroup as failed:
            given_up = failed.subgroup(ProviderError)
            if given_up is None:
                raise
            raise BusError(str(given_up.exceptions[0])) from failed

    async def _run(self, after_ns: int) -> None:
        self._epoch_ns = after_ns
        self._splitter.clock_ns = after_ns
        async with asyncio.TaskGroup() as group:
            senders = [group.create_task(self._send(queue)) for queue in self._queues]
            reporting = group.create_task(self._report())
            telling = group.create_task(self._keep_alerts_told())
            flushing = group.create_task(self._keep_flushed())
            saying = group.create_task(keep_told(self._bus, self._feeds.healths))
            kept = (self._follower, self._knowledge)
            following = [group.create_task(one.keep()) for one in kept if one]
            await self._feed(after_ns)
            with contextlib.suppress(TimeoutError):
                limit_s = STOP_S if self._stopping.is_set() else None
                async with asyncio.timeout(limit_s):
                    await self._drained()
            for task in (*senders, *following, reporting, telling, flushing, saying):
                task.cancel()

    async def _feed(self, after_ns: int) -> None:
        pace = Pace(self._provider.speed, self._provider.warm_ns)
        if isinstance(self._feeds, Connection):
            found = self._feeds.batches(after_ns)
        else:
            found = self._feeds.batches(self._stopping, after_ns)
        async with contextlib.aclosing(found) as batches:
            await self._publish(batches, pace)
        await self._flush()

    async def _publish(self, batches: AsyncIterator[Batch], pace: Pace) -> None:
        turned_s = time.monotonic()
        async for batch in self._with_known(batches):
            is_known = batch.kind in KNOWN_KINDS  # dated in the past, due now
            wait_s = 0.0 if is_known else pace.wait_s(batch.newest_ns)
            self._late_s = -wait_s
            if wait_s > self._linger_s / 2 and not self._stopping.is_set():
                await self._flush()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._stopping.wait()
            await self._cut(batch)
            if batch.kind == "clock":
                self._ticked.set()
            telemetry.INGESTED.labels(self._provider.name, batch.kind).inc(len(batch))
            self.published += len(batch) if batch.kind != "clock" and not is_known else 0
            if self._stopping.is_set() and batch.kind == "clock":
                break  # a clock event in every partition is where the next run goes on
            is_urgent = batch.kind == "gaps"  # before a pause, perhaps: rules should know at once
            if is_urgent:
                await self._flush()
            if time.monotonic() - turned_s > self._linger_s:
                turned_s = time.monotonic()
                await asyncio.sleep(0)  # a provider that never waits lets senders and flushes run

    async def _with_known(self, batches: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
        """The feed's batches, and what becomes known beside them."""
        async for batch in batches:
            if self._knowledge is None:
                yield batch
                continue
            for one in self._knowledge.around(batch):
                yield one

    async def _cut(self, batch: Batch) -> None:
        async with self._cutting:
            for outgoing in self._splitter.split(batch):
                await self._put(outgoing)
        if not self._splitter.is_empty:
            self._opened.set()

    async def _keep_flushed(self) -> None:
        """Have no row wait longer than the linger, also when nothing comes after it."""
        while True:
            await self._opened.wait()
            self._opened.clear()
            await asyncio.sleep(self._linger_s)
            await self._flush(is_whole=False)
            if not self._splitter.is_empty:
                self._opened.set()

    async def _flush(self, is_whole: bool = True) -> None:
        """Put what waits; unless the whole is wanted, what would only queue waits and grows."""
        queues = enumerate(self._queues)
        held = [] if is_whole else [one for one, queue in queues if not queue.empty()]
        async with self._cutting:
            for outgoing in self._splitter.flush(held):
                await self._put(outgoing)
        for partition, queue in enumerate(self._queues):
            if queue.qsize() < QUEUED_MAX:
                await self._tell_shed(partition)

    async def _put(self, outgoing: Outgoing) -> None:
        """Have a frame sent, or shed it; it has its number either way, so that a restart says the same."""
        partition, base = outgoing.partition, outgoing.base
        if not _goes_by_content(base):
            outgoing.frame.sequence = self._numbers[partition]
            self._numbers[partition] += 1
        queue, shedder = self._queues[partition], self._shedders[partition]
        if shedder.sheds(base, outgoing.frame, self._late_s, queue.qsize()):
            kind = base.removeprefix("ticks.")
            telemetry.SHED.labels(self._provider.name, kind).inc(len(outgoing.frame))
            return
        if base == "ticks.quotes":
            await self._tell_shed(partition)
        await queue.put(outgoing)

    async def _tell_shed(self, partition: int) -> None:
        frame = self._shedders[partition].told(self._provider.name)
        if frame is not None:
            await self._queues[partition].put(Outgoing(partition, "ticks.gaps", frame))

    async def _drained(self) -> None:
        for queue in self._queues:
            await queue.join()
        await self._tell_alerts()

    async def _keep_alerts_told(self) -> None:
        while True:
            await self._ticked.wait()
            self._ticked.clear()
            await self._tell_alerts()

    async def _tell_alerts(self) -> None:
        """Tell ALERTS the event time: what is due there is said although no alert comes.

        It may be ahead of alerts that are still being found; nothing but digests follows it.
        """
        now_ns = self._splitter.clock_ns
        if now_ns // ALERTS_CLOCK_NS > self._told_ns // ALERTS_CLOCK_NS:
            base, frame = "alerts.clock", Frame({"ts_ns": np.array([now_ns])})
            data = encode(frame, self._subjects.record_of(base))
            wire = self._subjects.wire(base, 0)
            await self._bus.put(wire, data, message_id=f"{base}/{now_ns}")
            self._told_ns = now_ns

    async def _send(self, queue: asyncio.Queue[Outgoing]) -> None:
        while True:
            outgoing = await queue.get()
            data, identity = self._message(outgoing)
            subject = self._subjects.wire(outgoing.base, outgoing.partition)
            with telemetry.span("ingest", subject=subject):
                await self._bus.put(subject, data, telemetry.inject({}), identity)
            queue.task_done()

    def _message(self, outgoing: Outgoing) -> tuple[bytes, str]:
        """The bytes of a frame, and what makes it the same message when it is sent again.

        The feed's frames are numbered; what is known beside it goes by its content, because it comes
        again at every start, and in other frames when files grew; so do gaps, which have no number.
        """
        record = self._subjects.record_of(outgoing.base)
        if _goes_by_content(outgoing.base):
            data = encode(outgoing.frame, record)
            digest = hashlib.blake2b(data, digest_size=16).hexdigest()
            return data, f"{outgoing.base}/{outgoing.partition}/{digest}"
        number = outgoing.frame.sequence
        identity = f"{self._provider.name}/{self._epoch_ns}/{outgoing.partition}/{number}"
        return encode(outgoing.frame, record), identity

    async def _report(self) -> None:
        before = 0
        while True:
            await asyncio.sleep(REPORT_S)
            rate = (self.published - before) / REPORT_S
            before = self.published
            log.info("ingested", source=self._provider.name, events_per_s=round(rate))


@dataclass
class Pace:
    """When an event time is due on the wall; the first `warm_ns` of event time are due at once."""

    speed: float
    warm_ns: int
    _from_ns: int = 0
    _from_s: float = 0.0

    def wait_s(self, event_ns: int) -> float:
        """Seconds until an event of this time is due."""
        if not self.speed:
            return 0.0
        if not self._from_ns:
            self._from_ns = event_ns + self.warm_ns
            self._from_s = time.monotonic()
        if event_ns <= self._from_ns:
            self._from_s = time.monotonic()
            return 0.0
        due_s = self._from_s + (event_ns - self._from_ns) / 1e9 / self.speed
        return due_s - time.monotonic()


async def last_clocks_ns(bus: Bus, subjects: Subjects) -> dict[int, int]:
    """The newest clock event of every partition that has one."""
    newest = await bus.newest("MARKET", ["ticks.clock.*"])
    record = subjects.record_of("ticks.clock")
    return {
        int(subject.rpartition(".")[2]): int(decode(message.data, record)["ts_ns"][-1])
        for subject, message in newest.items()
    }


async def run_ingest(
    settings: Settings,
    subjects: Subjects,
    url: str,
    urls: list[str],
    is_resuming: bool = False,
    daily: Sequence[Path] = (),
    reference: Sequence[str] = (),
    minutes: Sequence[Path] = (),
    standby: Sequence[str] = (),
) -> None:
    """Publish feeds, and what files know beside them, until they end or the process is told to stop.

    The simulator goes on where the stream's clock stands. A file is refused when the stream's clock
    is past its beginning, since all its trades would be late: --resume publishes what comes after.
    """
    try:
        first, *others = [open_provider(one) for one in urls]
        knowledge = Knowledge(settings, daily, reference, minutes)
        standing_by = [open_provider(one) for one in standby]
        provider = _joined(first, others, standing_by)
    except (ProviderError, TableError) as error:
        raise BusError(str(error)) from error
    bus = await Bus.connect(url, "ingest")
    try:
        clocks_ns = await last_clocks_ns(bus, subjects)
        is_whole = len(clocks_ns) == subjects.partitions
        after_ns = min(clocks_ns.values()) if is_whole else 0
        if all(one.startswith("file:") for one in urls) and after_ns and not is_resuming:
            for one in (first, *others):
                await _refuse_past(one, after_ns)
            after_ns, clocks_ns = 0, {}
        follower = Follower(bus, [first, *others, *standing_by])
        await follower.read()  # the first connection asks for what was asked of the last
        ingest = Ingest(
            bus,
            subjects,
            provider,
            clocks_ns,
            linger_ms=settings.linger_ms,
            follower=follower,
            knowledge=knowledge,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ingest.stop)
        log.info("ingest starts", source=provider.name, after_ns=after_ns)
        await ingest.run(after_ns)
        log.info("ingest ends", source=provider.name, trades=ingest.published)
    finally:
        await bus.close()


def _joined(
    first: Provider, others: list[Provider], standby: list[Provider]
) -> Provider | Sources | Failover:
    """One provider of all: side by side, or in the order in which they are wanted; raises ProviderError."""
    if standby and others:
        raise ProviderError("standby: expected one URL that others stand by for")
    if standby:
        return Failover([first, *standby])
    return Sources([first, *others]) if others else first


async def _refuse_past(provider: Provider, after_ns: int) -> None:
    first = next(iter(provider.batches())).newest_ns
    if first < after_ns - SECOND_NS:
        raise BusError(
            f"the stream's clock is at {np.datetime64(after_ns, 'ns')}, the file begins at "
            f"{np.datetime64(first, 'ns')}: its trades would all be late; say --resume to publish only "
            "what comes after, or use an empty data directory"
        )
