"""`jetscan tail`: the events of a subject as they are published, as lines for people or for programs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import msgpack

from runtime.bus import Bus, Message
from runtime.developing.events import line
from runtime.frames import BadFrame, decode
from runtime.rebuild import POSITION
from runtime.subjects import Subjects, partition_of
from runtime.testing.golden import events_of

DEAD = "dead"
WAITING_MAX = (
    1_000  # messages of a core subject that wait for a slow terminal; further ones are left out
)


class TailError(ValueError):
    """The subject cannot be followed; the text says which ones can."""


@dataclass(frozen=True)
class Wanted:
    """Where the events of a subject are, and which of them are wanted.

    stream   None: nobody keeps them
    wires    subjects on the wire
    symbols  empty: all
    last     messages of the past to begin with
    """

    stream: str | None
    wires: tuple[str, ...]
    symbols: frozenset[str] = frozenset()
    last: int = 0


def wanted(subjects: Subjects, subject: str, symbols: tuple[str, ...], last: int) -> Wanted:
    """What a name means: a base subject, one partition of it, or dead letters. Raises TailError."""
    if subject == DEAD or subject.startswith(f"{DEAD}."):
        if symbols:
            raise TailError("dead letters are frames of many symbols; leave --symbol out")
        name = subject.removeprefix(DEAD).removeprefix(".")
        return Wanted("DEAD", (f"dead.{name}.*" if name else "dead.>",), frozenset(symbols), last)
    base, partitions = subject, tuple(range(subjects.partitions))
    if subject not in subjects.subjects:
        try:
            base, one, _ = subjects.base_of(subject)
        except KeyError:
            raise TailError(_unknown(subjects, subject)) from None
        partitions = (one,) if one is not None else partitions
    elif symbols and subjects.subjects[base].partitioned:
        partitions = tuple(sorted({partition_of(one, subjects.partitions) for one in symbols}))
    stream = subjects.subjects[base].stream
    if stream is None and last:
        raise TailError(
            f"{subject}: no stream keeps it; leave --last out to hear what is said from now on"
        )
    wires = tuple(dict.fromkeys(subjects.wire(base, one) for one in partitions))
    if base == "ticks.trades":
        wires += tuple(f"ticks.raw.*.{one}" for one in partitions)
    return Wanted(stream, wires, frozenset(symbols), last)


def _unknown(subjects: Subjects, subject: str) -> str:
    near = get_close_matches(subject, list(subjects.subjects), 1)
    meant = f"; did you mean {near[0]}?" if near else ";"
    return f"no subject {subject}{meant} there are {', '.join(subjects.subjects)}, dead"


async def tail(
    bus: Bus,
    subjects: Subjects,
    asked: Wanted,
    say: Callable[[str], None],
    as_json: bool,
    count: int = 0,
) -> None:
    """Say every event; ends after `count` events, 0 = never."""
    said = 0
    async with aclosing(_messages(bus, asked)) as messages:  # type: ignore[type-var]
        async for message in messages:
            for event in events_in(message, subjects):
                if asked.symbols and event.get("symbol") not in asked.symbols:
                    continue
                say(json.dumps(event, default=str) if as_json else _line(event))
                said += 1
                if count and said >= count:
                    return


async def _messages(bus: Bus, asked: Wanted) -> AsyncIterator[Message]:
    if asked.stream is None:
        async for message in _core(bus, asked.wires):
            yield message
        return
    start = await _start(bus, asked) if asked.last else "new"
    async with aclosing(bus.read(asked.stream, list(asked.wires), start)) as kept:  # type: ignore[type-var]
        async for message in kept:
            yield message


async def _core(bus: Bus, wires: tuple[str, ...]) -> AsyncIterator[Message]:
    waiting: asyncio.Queue[Message] = asyncio.Queue(WAITING_MAX)

    def heard(message: Message) -> None:
        if not waiting.full():
            waiting.put_nowait(message)

    listeners = [await bus.listen(wire, heard) for wire in wires]
    try:
        while True:
            yield await waiting.get()
    finally:
        for listener in listeners:
            await listener.stop()


async def _start(bus: Bus, asked: Wanted) -> int | str:
    """The sequence of the message that is the `last`th from the end, of all its subjects together."""
    assert asked.stream is not None
    found: list[int] = []
    for wire in asked.wires:
        found += [one.sequence for one in await bus.history(asked.stream, wire, asked.last)]
    return sorted(found)[-asked.last :][0] if found else "new"


def events_in(message: Message, subjects: Subjects) -> list[dict[str, Any]]:
    """The events of a message as plain values, with the subject, its place and who said it."""
    place: dict[str, Any] = {"subject": message.subject, "sequence": message.sequence}
    if POSITION in message.headers:
        place["position"] = message.headers[POSITION]
    if message.subject.startswith(f"{DEAD}."):
        letter = msgpack.unpackb(message.data)
        return [{**place, **{key: letter[key] for key in ("function", "reason", "subject")}}]
    try:
        base, _, symbol = subjects.base_of(message.subject)
        frame = decode(message.data, subjects.record_of(base), symbol, message.ts_ns or 1)
    except (BadFrame, KeyError) as error:
        return [{**place, "refused": str(error)}]
    place["source"] = frame.source
    return [{**place, **event} for event in events_of(frame)]


def _line(event: dict[str, Any]) -> str:
    return line({key: value for key, value in event.items() if key not in ("sequence", "position")})
