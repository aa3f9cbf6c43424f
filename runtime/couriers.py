"""Host a courier: a sink of many targets, of which one that is slow or away must not hold up the others.

What happened          what we say to the stream
returned               publish what it returned, then acknowledge
raised Retry           publish what it says of the try, deliver again after the delay; always granted
raised Drop            publish what it says of the try, dead letter, acknowledge
raised anything else   as any sink

A sink is one when it declares `at_once`. It is told by `attempt` how often and how long it has been
tried, and gives up with Drop. A try may take as long as ACK_WAIT_S; the ways out of `outbound` are
bounded well below it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import msgpack
import numpy as np

from runtime import telemetry, tracing
from runtime.bus import Bus, LostPlace, Message, Pull
from runtime.contract import Drop, Retry
from runtime.frames import BadFrame, Frame, encode_parts
from runtime.loader import Hosted
from runtime.outbound import Attempt, Outbound
from runtime.sinks import ACK_WAIT_S, HTTP_TIMEOUT_S, SinkHost
from runtime.subjects import Record, Subjects

log = telemetry.get_logger(__name__)

WAITING_MAX = 200_000  # messages that may be put off: hours of a target that is away


class CourierHost(SinkHost):
    """One replica of one courier."""

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        hosted: Hosted,
        tries_max: int,
        is_paused: Callable[[str], bool],
        outbound: Outbound,
    ) -> None:
        super().__init__(bus, subjects, hosted, tries_max, is_paused)
        self._outbound = outbound
        self._at_once = hosted.declaration.at_once
        self._room = asyncio.Semaphore(self._at_once)

    async def run(self) -> None:
        """Take messages until drained; those under way are finished."""
        streams = {self._subjects.subjects[base].stream for base in self.hosted.reads}
        stream = next(iter(streams)) or ""
        wanted = self._subjects.input_subjects(stream, list(self.hosted.reads), None)
        wanted.append(f"redrive.{stream}.{self.hosted.name}.*")
        await self._bus.ensure_consumer(
            stream, self.consumer, wanted, False, ACK_WAIT_S, WAITING_MAX
        )
        async with (
            httpx.AsyncClient(timeout=HTTP_TIMEOUT_S, follow_redirects=False) as http,
            asyncio.TaskGroup() as group,
        ):
            while not self._stopping:
                pull = await self._bus.share_consumer(stream, self.consumer, self._at_once)
                try:
                    await self._send_off(pull, http, group)
                except LostPlace as error:
                    log.info("courier reopens its pull", sink=self.hosted.name, reason=str(error))
                    await asyncio.sleep(0.1)
                finally:
                    await pull.stop()

    async def _send_off(
        self, pull: Pull, http: httpx.AsyncClient, group: asyncio.TaskGroup
    ) -> None:
        while not self._stopping:
            if self._is_paused(self.hosted.name):
                await asyncio.sleep(0.2)
            elif await pull.ready(0.2):
                await self._room.acquire()
                try:
                    task = group.create_task(self._carry(await pull.next(), http))
                except LostPlace:
                    self._room.release()
                    raise
                task.add_done_callback(lambda _: self._room.release())

    async def _carry(self, message: Message, http: httpx.AsyncClient) -> None:
        with tracing.within(self.hosted.name, message.headers, tried=message.delivered):
            await self._carry_traced(message, http)

    async def _carry_traced(self, message: Message, http: httpx.AsyncClient) -> None:
        try:
            base, frame = self._decoded(message)
            answer = await self._handled(message, base, frame, http)
        except Retry as retry:
            await self._say(message, retry.said, f"/{message.delivered}")
            log.info("courier tries again", sink=self.hosted.name, reason=retry.reason)
            await self._bus.hand_back(message, retry.delay_s)
        except Drop as drop:
            await self._say(message, drop.said, f"/{message.delivered}")
            await self._set_aside(message, f"Drop: {drop.reason}")
        except (BadFrame, KeyError) as error:
            await self._set_aside(message, f"bad frame: {error}")
        except Exception as error:  # a stranger's code is called here
            reason = f"{type(error).__name__}: {error}"
            if message.delivered >= self._tries_max:
                await self._set_aside(message, reason)
            else:
                log.warning("courier failed", sink=self.hosted.name, exc_info=error)
                await self._bus.hand_back(message, self._outbound.pause_s(message.delivered))
        else:
            await self._say(message, answer)
            await self._bus.acknowledge(message)

    async def _handled(
        self, message: Message, base: str, frame: Frame, http: httpx.AsyncClient
    ) -> Any:
        binding = self.hosted.binding(base)
        if binding is None:
            raise KeyError(f"{self.hosted.name} does not read {base}")
        known: dict[str, Any] = {
            self._subjects.subjects[read].argument: None for read in self.hosted.reads
        }
        known |= {"settings": self.hosted.settings, "kv": self._bus.kv("functions"), "http": http}
        known |= {"channels": self._bus.kv("channels"), "outbound": self._outbound}
        age_s = max(0.0, time.time() - message.ts_ns / 1e9)
        known["attempt"] = Attempt(message.delivered, age_s)
        known[self._subjects.subjects[base].argument] = frame
        return await binding.handler(**{name: known[name] for name in binding.arguments})

    async def _say(self, message: Message, said: Any, attempt: str = "") -> None:
        """Publish columns by subject, under ids that make a second delivery the same message."""
        for base, columns in (said or {}).items():
            record = self._subjects.record_of(base)
            for part, data in enumerate(encode_parts(_framed(columns, record), record)):
                identity = f"{self.hosted.name}/{message.sequence}/{base}/{part}{attempt}"
                await self._bus.put(self._subjects.wire(base, 0), data, message_id=identity)

    async def _set_aside(self, message: Message, reason: str) -> None:
        letter = message
        if message.subject.startswith("redrive."):  # put back and failed again
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told = msgpack.unpackb(message.data)
                letter = replace(message, subject=told["subject"], data=told["frame"])
        await self._bury(letter, reason, "")
        await self._bus.acknowledge(message)


def _framed(columns: Any, record: Record) -> Frame:
    """Columns as a frame without symbols."""
    found = {}
    for name, column in record.columns.items():
        if name in columns:
            dtype = object if column.type == "text" else "<" + column.type
            found[name] = np.array(columns[name], dtype=dtype)
    return Frame(found)
