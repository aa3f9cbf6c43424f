"""A new version of a chain beside the one that runs: the same input, a fork of its state, outputs kept apart.

The shadow has a cursor of its own and owns nothing: it begins at the newest snapshots, runs what follows
and stores what it would have said on `shadow.<chain>.<subject>`. What it says of the input that came
after it began is compared with what was said live, event by event, wherever messages were cut.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from runtime.bus import ApiError, Bus, Message
from runtime.chain import Chain, Output
from runtime.frames import BadFrame, decode
from runtime.handover import read_blobs
from runtime.lag import ask_lag
from runtime.loader import ChainPlan, Hosted
from runtime.ownership import unit_key
from runtime.rebuild import POSITION, position_of, rebuild
from runtime.snapshots import Damaged
from runtime.state import StateChanged
from runtime.subjects import Subjects

EVENTS_MAX = 1_000_000  # held until they are compared, some 500 bytes each
SHOWN = 10  # differences that are told
SETTLED_S = 10.0  # for the live chain to answer what the shadow has answered
PROMOTED_S = 30.0
LOOK_S = 0.1

Key = tuple[str, str, int, int]  # subject, symbol, event time, number among those
Say = Callable[[str], None]


class ShadowError(RuntimeError):
    """A version cannot be run beside the live one, or not take its place; the text says why."""


@dataclass
class Unit:
    """The new version in one partition."""

    chain: Chain
    cursor: int
    answered: int = 0  # the last input it answered


@dataclass
class Events:
    """What was said, by event: the position of its cause and its columns."""

    by_key: dict[Key, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    _counts: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def add(self, subjects: Subjects, wire: str, data: bytes, position: int) -> None:
        """Note the events of a message."""
        frame = decode(data, subjects.record_of(subjects.base_of(wire)[0]))
        symbols = frame["symbol"] if frame.symbols is not None else [""] * len(frame)
        names = list(frame.columns)
        rows = zip(*(frame[name].tolist() for name in names), strict=True)
        for symbol, row in zip(symbols, rows, strict=True):
            event = dict(zip(names, row, strict=True))
            same = (wire, str(symbol), int(event.get("ts_ns", 0)))
            self.by_key[(*same, self._counts[same])] = position, event
            self._counts[same] += 1


class Shadow:
    """A chain's new version, from the snapshots of the live one on."""

    def __init__(self, bus: Bus, subjects: Subjects, plan: ChainPlan) -> None:
        self._bus = bus
        self._subjects = subjects
        self._plan = plan
        self._units: dict[int | None, Unit] = {}
        self._events = Events()
        self._begun_at = 0  # sequence of the input: what came before is not compared
        self._outputs_at: dict[str, int] = {}  # the same of output streams
        self._inputs = self._dead = 0

    async def begin(self) -> None:
        """Fork the state of every partition; raises ShadowError."""
        try:
            await self._bus.stream_state("SHADOW")
        except ApiError as error:
            raise ShadowError(f"stream SHADOW: {error}; run jetscan provision") from error
        for base in self._plan.writes:
            stream = self._subjects.subjects[base].stream
            if stream is not None:
                self._outputs_at[stream] = (await self._bus.stream_state(stream)).last
        self._begun_at = (await self._bus.stream_state(self._plan.stream)).last
        for partition in self._plan.partitions:
            self._units[partition] = await self._forked(partition)

    async def _forked(self, partition: int | None) -> Unit:
        unit, kv = (self._plan.name, partition), self._bus.kv("snapshots")
        chain = Chain(self._plan, self._subjects, partition)
        entry = await kv.get(unit_key(unit))
        cursor = self._begun_at
        try:
            if entry is not None:
                meta = msgpack.unpackb(entry.value)
                blobs = await read_blobs(kv, unit_key(unit), meta, {})
                if blobs is None:  # replaced while it was read
                    newer = await kv.get(unit_key(unit))
                    if newer is None or newer.revision == entry.revision:
                        raise ShadowError(f"{unit_key(unit)}: its saved state is not whole")
                    return await self._forked(partition)
                chain.restore(meta, blobs)
                cursor = meta["cursor"]
        except (StateChanged, Damaged, ValueError) as error:
            raise ShadowError(f"{unit_key(unit)}: its state cannot be forked: {error}") from error
        await rebuild(
            self._bus, self._subjects, chain, cursor, lambda: True, f"shadow of {unit_key(unit)}"
        )
        return Unit(chain, cursor, cursor)

    async def run(self, stopping: asyncio.Event) -> None:
        """Answer what follows until told to stop, and then what was there by then."""
        start = min(unit.cursor for unit in self._units.values()) + 1
        following = asyncio.create_task(self._follow(start))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait({following, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        following.cancel()
        done = await asyncio.gather(following, return_exceptions=True)
        if isinstance(done[0], Exception):
            raise done[0]
        last = (await self._bus.stream_state(self._plan.stream)).last
        start = max([start - 1, *(unit.answered for unit in self._units.values())]) + 1
        reading = self._bus.read_to(self._plan.stream, self._wanted(), start, last)
        async with aclosing(reading):  # type: ignore[type-var]
            async for message in reading:
                await self._answer(message)

    async def _follow(self, start: int) -> None:
        reading = self._bus.read(self._plan.stream, self._wanted(), start)
        async with aclosing(reading):  # type: ignore[type-var]
            async for message in reading:
                await asyncio.shield(self._answer(message))
                if len(self._events.by_key) >= EVENTS_MAX:
                    return

    def _wanted(self) -> list[str]:
        wanted = [self._plan.wire_inputs(self._subjects, one) for one in self._plan.partitions]
        return list(dict.fromkeys(wire for wires in wanted for wire in wires))

    async def _answer(self, message: Message) -> None:
        ending = message.subject.rpartition(".")[2]
        unit = self._units.get(None) or self._units[int(ending)]
        if message.sequence <= unit.answered:
            return
        outputs = unit.chain.run(message.sequence, message.subject, message.data, message.ts_ns)
        unit.answered = message.sequence
        self._inputs += 1
        stored = [one for one in outputs if not one.is_core]
        await asyncio.gather(*(self._keep(message.sequence, one) for one in stored))
        for output in stored:
            if output.base == "dead":
                self._dead += message.sequence > self._begun_at
            elif (
                message.sequence > self._begun_at
            ):  # as of the live ones: both are numbered from there
                self._events.add(self._subjects, output.subject, output.data, message.sequence)

    async def _keep(self, position: int, output: Output) -> None:
        headers = {POSITION: f"{position}.{output.part}"}
        await self._bus.put(f"shadow.{self._plan.name}.{output.subject}", output.data, headers)

    async def compared(self) -> dict[str, Any]:
        """The report: what both said of the input that came after the shadow began."""
        notes = await self._settled()
        live = Events()
        for stream, after in self._outputs_at.items():
            wires = [
                wire
                for base in self._plan.writes
                for partition in self._plan.partitions
                for wire in self._subjects.outputs(base, partition)
                if self._subjects.subjects[base].stream == stream
            ]
            last = (await self._bus.stream_state(stream)).last
            reading = self._bus.read_to(stream, wires, after + 1, last)
            async with aclosing(reading):  # type: ignore[type-var]
                async for message in reading:
                    position = position_of(message)
                    if position is not None and position[0] > self._begun_at:
                        try:
                            live.add(self._subjects, message.subject, message.data, position[0])
                        except BadFrame as error:
                            notes.append(f"{message.subject} {message.sequence}: {error}")
        return {
            "chain": self._plan.name,
            "version": self._plan.version,
            "inputs": self._inputs,
            "dead": self._dead,
            **self._differences(live),
            "notes": notes,
        }

    async def _settled(self) -> list[str]:
        """Wait until the live chain has answered what the shadow has."""
        until = time.monotonic() + SETTLED_S
        while time.monotonic() < until:
            units = [u for u in (await ask_lag(self._bus)).units if u["chain"] == self._plan.name]
            at = {unit["partition"]: unit["position"] for unit in units}
            ran = {p: one for p, one in self._units.items() if one.answered > one.cursor}
            if all(at.get(p, -1) >= unit.answered for p, unit in ran.items()):
                return []
            await asyncio.sleep(LOOK_S)
        return [
            "the live chain has not answered all of it: what it had not said counts as a difference"
        ]

    def _differences(self, live: Events) -> dict[str, Any]:
        found: dict[str, Counter[str]] = {}
        columns: Counter[str] = Counter()
        shown: list[dict[str, Any]] = []
        last = max(unit.answered for unit in self._units.values())
        mine = self._events.by_key
        for key in sorted(mine.keys() | live.by_key.keys()):
            position = (mine.get(key) or live.by_key[key])[0]
            if not self._begun_at < position <= last:
                continue
            base = self._subjects.base_of(key[0])[0]
            counts = found.setdefault(base, Counter())
            ours, theirs = mine.get(key, (0, None))[1], live.by_key.get(key, (0, None))[1]
            counts["shadow"] += ours is not None
            counts["live"] += theirs is not None
            what = _difference(ours, theirs)
            if not what:
                continue
            counts["differ"] += 1
            columns.update(f"{base} {name}" for name in what)
            if len(shown) < SHOWN:
                told = {name: [(theirs or {}).get(name), (ours or {}).get(name)] for name in what}
                shown.append({"subject": key[0], "symbol": key[1], "ts_ns": key[2], **told})
        subjects = {
            base: {n: one[n] for n in ("live", "shadow", "differ")} for base, one in found.items()
        }
        differ = sum(one["differ"] for one in found.values())
        return {"differ": differ, "subjects": subjects, "columns": dict(columns), "shown": shown}


def _difference(ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> list[str]:
    """The columns that differ, or which of the two has nothing."""
    if ours is None or theirs is None:
        return ["only live" if ours is None else "only shadow"]
    names = sorted(ours.keys() | theirs.keys())
    return [n for n in names if not _equal(ours.get(n), theirs.get(n))]


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))  # NaN is equal to NaN here


# -- promotion


async def note_report(bus: Bus, report: dict[str, Any]) -> None:
    """Keep the newest report of a chain: a version is promoted by it."""
    kept = {name: report[name] for name in ("version", "inputs", "dead", "differ")}
    await bus.kv("functions").put(f"shadow.{report['chain']}", json.dumps(kept).encode())


async def check_promotion(bus: Bus, plan: ChainPlan, is_accepted: bool) -> None:
    """Whether a version was run as a shadow and may take over; raises ShadowError."""
    entry = await bus.kv("functions").get(f"shadow.{plan.name}")
    report = json.loads(entry.value) if entry else {}
    if report.get("version") != plan.version:
        raise ShadowError(
            f"{plan.name}: version {plan.version} was not run as a shadow (last was "
            f"{report.get('version', 'none')}); run it first, without --promote"
        )
    if not report["inputs"]:
        raise ShadowError(f"{plan.name}: its shadow saw no input; run it while the market does")
    if report["dead"]:
        raise ShadowError(f"{plan.name}: its shadow set {report['dead']} frames aside; mend it")
    if report["differ"] and not is_accepted:
        raise ShadowError(
            f"{plan.name}: {report['differ']} events differed; if that is what is wanted, say "
            "--accept-differences"
        )


def copy_functions(functions: tuple[Hosted, ...], folder: Path) -> list[str]:
    """Put the files of a chain into the folder of the live functions, each whole or not at all."""
    copied = []
    for file in dict.fromkeys(Path(one.file) for one in functions):
        target = folder / file.name
        if target.exists() and target.read_bytes() == file.read_bytes():
            continue
        fresh = folder / f".{file.name}.new"
        shutil.copyfile(file, fresh)
        fresh.rename(target)
        copied.append(file.name)
    return copied


async def promoted(bus: Bus, chain: str, version: str, partitions: int) -> list[str]:
    """Wait until every partition runs a version; those that do not."""
    until = time.monotonic() + PROMOTED_S
    while True:
        units = [unit for unit in (await ask_lag(bus)).units if unit["chain"] == chain]
        late = sorted(unit["unit"] for unit in units if unit["version"] != version)
        is_whole = len({unit["unit"] for unit in units}) >= partitions
        if (is_whole and not late) or time.monotonic() > until:
            missing = [] if is_whole else [f"{chain} ({len(units)} of {partitions} are hosted)"]
            return late + missing
        await asyncio.sleep(LOOK_S)
