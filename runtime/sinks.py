"""Host a sink: a stateless function with effects, sharing one durable with its replicas.

What happened          what we say to the stream
returned               publish what it returned, then acknowledge
raised Retry           deliver again after the delay it asks for
raised Drop            dead letter, acknowledge
raised anything else   deliver again with back-off; dead letter after `tries_max`
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import msgpack

from runtime import telemetry
from runtime.bus import Bus, LostPlace, Message, Pull
from runtime.contract import Drop, Retry
from runtime.frames import BadFrame, Frame, decode, encode_parts
from runtime.loader import Hosted
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)

BATCH = 16  # asked for at once: a replica takes what it has room for, the rest goes to others
ACK_WAIT_S = 30.0
WORKING_S = 10.0  # told to the server this often while an effect takes its time
BACKOFF_S = (0.5, 2.0, 5.0, 15.0)
HTTP_TIMEOUT_S = 10.0


class SinkHost:
    """One replica of one sink."""

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        hosted: Hosted,
        tries_max: int,
        is_paused: Callable[[str], bool],
    ) -> None:
        self.hosted = hosted
        self._bus = bus
        self._subjects = subjects
        self._tries_max = tries_max
        self._is_paused = is_paused
        self._stopping = False
        self._tried: dict[int, int] = {}

    @property
    def consumer(self) -> str:
        """The durable that all replicas share."""
        return f"sink-{self.hosted.name}"

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
        async with httpx.AsyncClient(timeout=HTTP_TIMEOUT_S, follow_redirects=False) as http:
            while not self._stopping:
                pull = await self._bus.share_consumer(stream, self.consumer, BATCH)
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
                await self._take(await pull.next(), http)

    async def _take(self, message: Message, http: httpx.AsyncClient) -> None:
        tried = self._tried[message.sequence] = self._tried.get(message.sequence, 0) + 1
        trace = ""
        try:
            base, frame = self._decoded(message)
            async with self._kept_busy(message):
                answer = await self._call(base, frame, http)
            await self._publish(message, answer)
        except Retry as retry:
            reason, delay_s = f"Retry: {retry.reason}", retry.delay_s
        except Drop as drop:
            reason, delay_s = f"Drop: {drop.reason}", -1.0
        except (BadFrame, KeyError) as error:
            reason, delay_s = f"bad frame: {error}", -1.0
        except Exception as error:  # a stranger's code is called here
            reason, trace = f"{type(error).__name__}: {error}", traceback.format_exc(limit=-8)
            delay_s = BACKOFF_S[min(tried, len(BACKOFF_S)) - 1]
        else:
            self._tried.pop(message.sequence, None)
            await self._bus.acknowledge(message)
            return
        if delay_s >= 0 and tried < self._tries_max:
            log.warning("sink tries again", sink=self.hosted.name, reason=reason, tried=tried)
            await self._bus.hand_back(message, delay_s)
            return
        self._tried.pop(message.sequence, None)
        await self._bury(message, reason, trace)
        await self._bus.acknowledge(message)

    def _decoded(self, message: Message) -> tuple[str, Frame]:
        if message.subject.startswith("redrive."):
            letter = msgpack.unpackb(message.data)
            base = self._subjects.base_of(letter["subject"])[0]
            return base, decode(letter["frame"], self._subjects.record_of(base))
        base, _, symbol = self._subjects.base_of(message.subject)
        return base, decode(message.data, self._subjects.record_of(base), symbol, message.ts_ns)

    async def _call(self, base: str, frame: Frame, http: httpx.AsyncClient) -> Any:
        binding = self.hosted.binding(base)
        assert binding is not None
        known: dict[str, Any] = {
            self._subjects.subjects[read].argument: None for read in self.hosted.reads
        }
        known |= {"settings": self.hosted.settings, "kv": self._bus.kv("functions"), "http": http}
        known[self._subjects.subjects[base].argument] = frame
        return await binding.handler(**{name: known[name] for name in binding.arguments})

    @contextlib.asynccontextmanager
    async def _kept_busy(self, message: Message) -> Any:
        async def tell() -> None:
            while True:
                await asyncio.sleep(WORKING_S)
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

    async def _bury(self, message: Message, reason: str, trace: str) -> None:
        letter = {
            "function": self.hosted.name,
            "version": self.hosted.version,
            "subject": message.subject,
            "stream": self._subjects.subjects[self.hosted.reads[0]].stream,
            "position": message.sequence,
            "partition": None,
            "clock_ns": 0,
            "reason": reason[:2000],
            "trace": trace[-8000:],
            "frame": message.data,
        }
        identity = f"dead/{self.hosted.name}/{message.sequence}"
        data = msgpack.packb(letter)
        await self._bus.put(f"dead.{self.hosted.name}.all", data, message_id=identity)
        log.error("dead letter", function=self.hosted.name, reason=reason)
