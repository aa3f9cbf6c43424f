"""Dead letters: list, show, put back, drop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from runtime.bus import Bus, BusError, Message
from runtime.frames import BadFrame, decode
from runtime.subjects import Subjects

STREAM = "DEAD"


class NoLetter(BusError):
    """There is no dead letter of that number."""


@dataclass(frozen=True)
class Letter:
    """A frame that was set aside, and why."""

    sequence: int
    stored_ns: int
    function: str
    version: str
    subject: str
    stream: str
    position: int
    partition: int | None
    reason: str
    trace: str
    frame: bytes

    @property
    def redrive_subject(self) -> str:
        """Where it is put back: in stream order, for the function that failed alone."""
        ending = "all" if self.partition is None else str(self.partition)
        return f"redrive.{self.stream}.{self.function}.{ending}"


async def letters(bus: Bus, function: str = "", limit: int = 100) -> list[Letter]:
    """The newest letters, oldest first, of one function or of all."""
    subject = f"dead.{function}.*" if function else "dead.>"
    newest = await bus.last(STREAM, subject)
    if newest is None:
        return []
    messages = bus.read_to(STREAM, [subject], 1, newest.sequence)
    found = [_letter(message) async for message in messages]
    return found[-limit:]


async def letter(bus: Bus, sequence: int) -> Letter:
    """One letter; raises BusError if there is none of that number."""
    message = await bus.at(STREAM, sequence)
    if message is None:
        raise NoLetter(f"no dead letter {sequence}; `jetscan dead list` shows those there are")
    return _letter(message)


async def redrive(bus: Bus, sequence: int) -> str:
    """Put a letter back and remove it; returns the subject it went to."""
    message = await bus.at(STREAM, sequence)
    if message is None:
        raise NoLetter(f"no dead letter {sequence}; `jetscan dead list` shows those there are")
    found = _letter(message)
    await bus.put(found.redrive_subject, message.data, message_id=f"redrive/{sequence}")
    await drop(bus, sequence)
    return found.redrive_subject


async def drop(bus: Bus, sequence: int) -> None:
    """Remove a letter for good."""
    await bus.api(f"STREAM.MSG.DELETE.{STREAM}", {"seq": sequence})


async def page(bus: Bus, function: str, limit: int, offset: int) -> tuple[list[Letter], int]:
    """Some letters, newest first, of one function or of all, and how many there are."""
    subject = f"dead.{function}.*" if function else "dead.>"
    state = (await bus.api(f"STREAM.INFO.{STREAM}", {"subjects_filter": subject}))["state"]
    total = sum((state.get("subjects") or {}).values())
    if not total or offset >= total:
        return [], total
    messages = await bus.history(STREAM, subject, offset + limit)
    newest_first = [_letter(one) for one in reversed(messages)]
    return newest_first[offset:], total


def frame_shown(one: Letter, subjects: Subjects) -> tuple[Any, int]:
    """The first values of a letter's frame by column, or why it cannot be read; and its events."""
    try:
        base = one.subject if one.subject in subjects.subjects else subjects.base_of(one.subject)[0]
        frame = decode(one.frame, subjects.record_of(base), "?", 1)
    except (BadFrame, KeyError) as error:
        return f"cannot be read: {error}; begins with {one.frame[:80]!r}", 0
    columns = {name: [str(value) for value in found[:5]] for name, found in frame.columns.items()}
    return columns, len(frame)


def _letter(message: Message) -> Letter:
    told: dict[str, Any] = msgpack.unpackb(message.data)
    return Letter(
        message.sequence,
        message.ts_ns,
        told["function"],
        told["version"],
        told["subject"],
        told["stream"],
        told["position"],
        told["partition"],
        told["reason"],
        told["trace"],
        told["frame"],
    )
