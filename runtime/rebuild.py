"""State made again from what a chain said, for functions that begin without saved state.

The input that is gone from the stream left its outputs: those of the subjects that say `rebuilds` in
`subjects.yaml` are handed to the chain in stream order, up to the last one whose cause lies before the
first input that will be run. One message is held at a time; nothing is published. The same streams
give the same state, whoever does it and however often.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from runtime import telemetry
from runtime.bus import Bus, Message
from runtime.chain import Chain
from runtime.frames import BadFrame
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)

REPORT_S = 5.0
POSITION = "Jetscan-Position"  # <input sequence>.<part>

Position = tuple[int, int]


@dataclass
class Recalled:
    """How far a rebuild got."""

    messages: int = 0
    failed: int = 0  # handlers that gave a message up, and messages that cannot be read
    is_whole: bool = True


def position_of(message: Message) -> Position | None:
    """The input position that caused a message; None for one published by hand."""
    sequence, dot, part = message.headers.get(POSITION, "").partition(".")
    return (int(sequence), int(part)) if dot and sequence.isdigit() and part.isdigit() else None


async def rebuild(
    bus: Bus, subjects: Subjects, chain: Chain, until: int, goes_on: Callable[[], bool], unit: str
) -> Recalled:
    """Hand a chain what it said at inputs up to sequence `until`, while `goes_on`."""
    done = Recalled()
    began = reported = time.monotonic()
    names = sorted(chain.begun)
    with chain.rebuilding():
        for base in chain.rebuilt_from:
            stream = subjects.subjects[base].stream or ""
            said = _said(bus, stream, subjects.wire(base, chain.partition), until)
            async with aclosing(said):
                async for message, end in said:
                    if not done.messages:
                        log.info("state is rebuilt", unit=unit, functions=names, subject=base)
                    _recall(chain, base, message, done)
                    if time.monotonic() - reported > REPORT_S:
                        reported = time.monotonic()
                        at = {"sequence": message.sequence, "end": end}
                        log.info("rebuilding", unit=unit, messages=done.messages, **at)
                    if not goes_on():
                        done.is_whole = False
                        return done
    if done.messages:
        took_s = round(time.monotonic() - began, 1)
        told = {"messages": done.messages, "failed": done.failed, "took_s": took_s}
        log.info("state was rebuilt", unit=unit, functions=names, **told)
    return done


def _recall(chain: Chain, base: str, message: Message, done: Recalled) -> None:
    done.messages += 1
    try:
        done.failed += chain.recall(base, message.data)
    except BadFrame as error:
        done.failed += 1
        log.warning("message not recalled", sequence=message.sequence, reason=str(error))


async def _said(
    bus: Bus, stream: str, subject: str, until: int
) -> AsyncGenerator[tuple[Message, int]]:
    """(message, sequence of the last one) of what was said on a subject at inputs up to `until`."""
    last = await bus.last(stream, subject)
    if last is None or until <= 0:
        return
    reading = bus.read_to(stream, [subject], 1, last.sequence)
    async with aclosing(reading):  # type: ignore[type-var]
        async for message in reading:
            position = position_of(message)
            if position is not None and position[0] > until:
                return
            if position is not None:
                yield message, last.sequence
