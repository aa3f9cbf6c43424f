"""Host a sink: a stateless function with effects, sharing one durable with its replicas.

What happened          what we say to the stream
returned               publish what it returned, then acknowledge
raised Retry           deliver again after the delay it asks for
raised Drop            dead letter, acknowledge; with rows: a letter of these events only
raised Outage          what it needs is away: keep the frame, wait, call again, however long it takes
raised anything else   deliver again with back-off; dead letter after `tries_max`

A sink with `batch` gets the events of several messages as one frame. Where that fails in any way but
Outage, each message is tried alone, so none pays for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import msgpack

from runtime import telemetry, tracing
from runtime.bus import Bus, BusError, LostPlace, Message, Pull
from runtime.contract import Drop, Retry
from runtime.frames import BadFrame, Frame, concatenate, decode, encode_parts
from runtime.loader import Hosted
from runtime.store import Outage, Store
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)

BATCH = 16  # asked for at once: a replica takes what it has room for, the rest goes to others
ACK_WAIT_S = 30.0
WORKING_S = 10.0  # told to the server this often while an effect takes its time
BACKOFF_S = (0.5, 2.0, 5.0, 15.0)
OUTAGE_S = (0.1, 0.2, 0.5, 1.0, 2.0)
OUTAGE_SAID_S = 30.0  # an outage is logged this often
HTTP_TIMEOUT_S = 10.0


def consumer_of(name: str) -> str:
    """The durable that all replicas of a sink share."""
    return f"sink-{name}"


class _Stopped(Exception):
    """The host was drained while it waited for the end of an outage."""


@dataclass(frozen=True)
class _Taken:
    """A message and what is in it."""

    message: Message
    base: str
    frame: Frame

    @property
    def kind(self) -> tuple[Any, ...]:
        """Messages of one kind can be one frame: the same subject and the same columns."""
        return self.base, tuple(self.frame.columns), self.frame.symbols is None


class SinkHost:
    """One replica of one sink."""

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        hosted: Hosted,
        tries_max: int,
        is_paused: Callable[[str], bool],
        store: Store | None = None,
    ) -> None:
        self.hosted = hosted
        self._bus = bus
        self._subjects = subjects
        self._tries_max = tries_max
        self._is_paused = is_paused
        self._store = store
        self._stopping = False
        self._tried: dict[int, int] = {}
        self._outage_said_at = 0.0

    @property
    def consumer(self) -> str:
        """The durable that all replicas share."""
        return consumer_of(self.hosted.name)

    def drain(self) -> None:
        """Finish the present frame, then stop."""
        self._stopping = True

    async def run(self) -> None:
        """Take frames until drained; a lost pull is opened again."""
        streams = {self._subjects.subjects[base].stream for base in self.hosted.reads}
        stream = next(iter(streams)) or ""
        wanted = self._subjects.input_subjects(stream, list(self.hosted.reads), None)
        wanted.append(f"redrive.{stream}.{self.hosted.name}.*")
        await self._bus.ensure_consumer(stream, self.consumer, wanted, False, ACK_WAIT_S)
        size = max(BATCH, 2 * self.hosted.declaration.batch)  # the next are on their way meanwhile
        async with httpx.AsyncClient(timeout=HTTP_TIMEOUT_S, follow_redirects=False) as http:
            while not self._stopping:
                pull = await self._bus.share_consumer(stream, self.consumer, size)
                try:
                    await self._follow(pull, http)
                except LostPlace as error:
                    log.info("sink reopens its pull", sink=self.hosted.name, reason=str(error))
                    await asyncio.sleep(0.1)
                finally:
                    await pull.stop()

    async def _follow(self, pull: Pull, http: httpx.AsyncClient) -> None:
        while not self._stopping:
            if self._is_paused(self.hosted.name):
                await asyncio.sleep(0.2)
            elif await pull.ready(0.2):
                messages = [await pull.next()]
                while len(messages) < self.hosted.declaration.batch and pull.queued:
                    try:
                        messages.append(await pull.next())
                    except LostPlace:
                        await self._take_all(messages, http)
                        raise
                await self._take_all(messages, http)
                telemetry.SINK_PENDING.labels(self.hosted.name).set(pull.pending + pull.queued)

    async def _take_all(self, messages: list[Message], http: httpx.AsyncClient) -> None:
        """Several messages as few frames as possible; what fails so, one by one."""
        alone = messages
        if len(messages) > 1:
            alone = []
            for taken in self._joined(messages, alone):
                if not await self._took(taken, http):
                    alone += [one.message for one in taken]
        for message in alone:
            with tracing.within(self.hosted.name, message.headers, position=message.sequence):
                await self._take(message, http)

    def _joined(self, messages: list[Message], alone: list[Message]) -> Iterator[list[_Taken]]:
        """Messages of one kind together; those that cannot be read go to `alone`."""
        read: list[_Taken] = []
        for message in messages:
            try:
                read.append(_Taken(message, *self._decoded(message)))
            except (BadFrame, KeyError):
                alone.append(message)
        read.sort(key=lambda one: one.kind)
        for _, several in itertools.groupby(read, key=lambda one: one.kind):
            yield list(several)

    async def _took(self, taken: list[_Taken], http: httpx.AsyncClient) -> bool:
        """Whether the sink took these messages as one frame."""
        headers = [one.message.headers for one in taken]
        first = next(filter(tracing.is_sampled, headers), headers[0])
        others = [one for one in headers if one is not first]
        with tracing.within(self.hosted.name, first, others, messages=len(taken)):
            return await self._took_traced(taken, http)

    async def _took_traced(self, taken: list[_Taken], http: httpx.AsyncClient) -> bool:
        base = taken[0].base
        record = self._subjects.record_of(base)
        try:
            async with self._kept_busy([one.message for one in taken]):
                await self._call(base, concatenate([one.frame for one in taken], record), http)
        except Drop as drop:
            if drop.rows is None:
                return False
            await self._bury_rows(taken, drop)
        except _Stopped:
            for one in taken:
                await self._bus.hand_back(one.message, 0)
            return True
        except Exception as error:  # a stranger's code is called here
            log.info("batch is tried one by one", sink=self.hosted.name, reason=str(error))
            return False
        for one in taken:
            self._tried.pop(one.message.sequence, None)
            await self._bus.acknowledge(one.message)
        return True

    async def _take(self, message: Message, http: httpx.AsyncClient) -> None:
        tried = self._tried[message.sequence] = self._tried.get(message.sequence, 0) + 1
        trace = ""
        try:
            base, frame = self._decoded(message)
            async with self._kept_busy([message]):
                answer = await self._call(base, frame, http)
            await self._publish(message, answer)
        except Retry as retry:
            reason, delay_s = f"Retry: {retry.reason}", retry.delay_s
        except Drop as drop:
            reason, delay_s = f"Drop: {drop.reason}", -1.0
            if drop.rows is not None:
                await self._bury_rows([_Taken(message, base, frame)], drop)
                await self._done(message)
                return
        except (BadFrame, KeyError) as error:
            reason, delay_s = f"bad frame: {error}", -1.0
        except _Stopped:
            await self._bus.hand_back(message, 0)
            return
        except Exception as error:  # a stranger's code is called here
            reason, trace = f"{type(error).__name__}: {error}", traceback.format_exc(limit=-8)
            delay_s = BACKOFF_S[min(tried, len(BACKOFF_S)) - 1]
        else:
            await self._done(message)
            return
        if delay_s >= 0 and tried < self._tries_max:
            log.warning("sink tries again", sink=self.hosted.name, reason=reason, tried=tried)
            await self._bus.hand_back(message, delay_s)
            return
        await self._bury(message, reason, trace)
        await self._done(message)

    async def _done(self, message: Message) -> None:
        self._tried.pop(message.sequence, None)
        await self._bus.acknowledge(message)

    def _decoded(self, message: Message) -> tuple[str, Frame]:
        if message.subject.startswith("redrive."):
            letter = msgpack.unpackb(message.data)
            base = self._subjects.base_of(letter["subject"])[0]
            return base, decode(letter["frame"], self._subjects.record_of(base))
        base, _, symbol = self._subjects.base_of(message.subject)
        return base, decode(message.data, self._subjects.record_of(base), symbol, message.ts_ns)

    async def _call(self, base: str, frame: Frame, http: httpx.AsyncClient) -> Any:
        """Call the handler, and again for as long as what it needs is away; raises _Stopped."""
        binding = self.hosted.binding(base)
        assert binding is not None
        known: dict[str, Any] = {
            self._subjects.subjects[read].argument: None for read in self.hosted.reads
        }
        known |= {"settings": self.hosted.settings, "kv": self._bus.kv("functions"), "http": http}
        known["store"] = self._store
        known[self._subjects.subjects[base].argument] = frame
        arguments = {name: known[name] for name in binding.arguments}
        for waited in itertools.count():
            try:
                return await binding.handler(**arguments)
            except Outage as error:
                await self._say_outage(str(error), base)
            if self._stopping:
                raise _Stopped
            await asyncio.sleep(OUTAGE_S[min(waited, len(OUTAGE_S) - 1)])
        raise AssertionError("unreachable")

    async def _say_outage(self, reason: str, base: str) -> None:
        """Now and then say why it waits, and how much waits with it: a stream that fills stops its writers."""
        if time.monotonic() - self._outage_said_at <= OUTAGE_SAID_S:
            return
        self._outage_said_at = time.monotonic()
        name, waiting = self.hosted.name, -1
        with contextlib.suppress(BusError):
            stream = self._subjects.subjects[base].stream or ""
            state = await self._bus.consumer_state(stream, self.consumer)
            if state is not None:
                waiting = state.pending + state.unacknowledged
                telemetry.SINK_PENDING.labels(name).set(waiting)
        log.warning("sink waits for what is away", sink=name, reason=reason, messages=waiting)

    @contextlib.asynccontextmanager
    async def _kept_busy(self, messages: Sequence[Message]) -> Any:
        async def tell() -> None:
            while True:
                await asyncio.sleep(WORKING_S)
                for message in messages:
                    await self._bus.still_working(message)

        task = asyncio.create_task(tell())
        try:
            yield
        finally:
            task.cancel()

    async def _publish(self, message: Message, answer: Any) -> None:
        """What the sink returned, under ids that make a second delivery the same message."""
        if answer is None:
            return
        writes = self.hosted.writes
        if len(writes) == 1 and isinstance(answer, Frame):
            answer = {writes[0]: answer}
        if not isinstance(answer, Mapping) or not set(answer) <= set(writes):
            raise TypeError(f"{self.hosted.name}: expected None or a mapping of {writes} to frames")
        for base, frame in answer.items():
            record = self._subjects.record_of(base)
            for part, data in enumerate(encode_parts(frame, record)):
                identity = f"{self.hosted.name}/{message.sequence}/{base}/{part}"
                await self._bus.put(self._subjects.wire(base, 0), data, message_id=identity)

    # -- dead letters

    async def _bury_rows(self, taken: list[_Taken], drop: Drop) -> None:
        """Set single events aside, in a letter for each message they came in."""
        rows, first = sorted(drop.rows or ()), 0
        for one in taken:
            last = first + len(one.frame)
            mine = [row - first for row in rows if first <= row < last]
            if mine:
                record = self._subjects.record_of(one.base)
                for data in encode_parts(one.frame[mine], record):
                    identity = f"/{mine[0]}-{len(mine)}"
                    await self._bury(one.message, f"Drop: {drop.reason}", "", data, identity)
            first = last

    async def _bury(
        self, message: Message, reason: str, trace: str, data: bytes = b"", identity: str = ""
    ) -> None:
        redriven = message.subject.startswith("redrive.")
        told = msgpack.unpackb(message.data) if redriven else {}
        letter = {
            "function": self.hosted.name,
            "version": self.hosted.version,
            "subject": told.get("subject", message.subject),
            "stream": self._subjects.subjects[self.hosted.reads[0]].stream,
            "position": message.sequence,
            "partition": None,
            "clock_ns": 0,
            "reason": reason[:2000],
            "trace": trace[-8000:],
            "frame": data or told.get("frame", message.data),
        }
        identity = f"dead/{self.hosted.name}/{message.sequence}{identity}"
        body = msgpack.packb(letter)
        await self._bus.put(f"dead.{self.hosted.name}.all", body, message_id=identity)
        telemetry.DEAD_LETTERS.labels(self.hosted.name).inc()
        log.error("dead letter", function=self.hosted.name, reason=reason)
