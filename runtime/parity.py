"""Does a replay say the alerts that a live deployment said? The recorded MARKET stream through private chains.

Every partition's chain runs over the inputs as they were recorded, trades, quotes, clock, rules and changes of
toplists, in stream order, up to the input that its live owner is known to have answered: the one it
acknowledged with its newest snapshot. Alerts are compared by id, kind, position of the causing input
and every column.

What MARKET no longer has cannot be replayed. State begins as that of an owner without a snapshot, with
the bars of the stream BARS; rules that were set before MARKET begins are not known. Then only alerts
after a warm-up are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from runtime.bus import Bus, Message
from runtime.chain import Chain, Output
from runtime.frames import Frame, decode
from runtime.loader import ChainPlan, Plan
from runtime.rebuild import Position, position_of, rebuild
from runtime.shapes import rfc3339
from runtime.subjects import Subjects

MARKET, ALERTS = "MARKET", "alerts"
WARM_NS = 3_600_000_000_000  # after what MARKET begins with, where its beginning is gone
SHOWN = 10  # differences that are told
TOLD_EVERY = 2_000  # messages between two words of progress

Key = tuple[str, str, Position]  # id, kind, position of the causing input
Said = dict[Key, dict[str, Any]]
Progress = Callable[[int, int], None]


class ParityError(RuntimeError):
    """The two cannot be compared; the text says why."""


@dataclass
class Compared:
    """What a comparison found; `notes` say what it leaves out."""

    live: int = 0
    replay: int = 0
    differ: int = 0
    from_ns: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The result in a line."""
        return f"live {self.live:,} / replay {self.replay:,} / differ {self.differ:,}"


async def parity(
    bus: Bus, subjects: Subjects, plan: Plan, from_ns: int, to_ns: int, progress: Progress
) -> Compared:
    """Compare the alerts with event times from `from_ns` (0: all there are) to before `to_ns`.

    Raises ParityError.
    """
    state = await bus.stream_state(MARKET)
    if not state.messages:
        raise ParityError(f"{MARKET} holds nothing to replay; is this the deployment's NATS?")
    replay = Replay(bus, subjects, plan, state.first, state.last)
    await replay.begin()
    replayed = await replay.run(progress)
    live = await _live(bus, subjects, replay.answered)
    found = Compared(from_ns=from_ns, notes=replay.notes)
    if state.first > 1:
        found.from_ns = max(from_ns, replay.began_ns + WARM_NS)
        found.notes.append(
            f"{MARKET} begins at message {state.first:,}, {rfc3339(replay.began_ns)}: what came before is not "
            f"known, such as rules set then; alerts from {rfc3339(found.from_ns)} on are compared"
        )
    _compare(_within(live, found.from_ns, to_ns), _within(replayed, found.from_ns, to_ns), found)
    return found


class Replay:
    """The chains that write alerts, one per partition, over what the stream has."""

    def __init__(self, bus: Bus, subjects: Subjects, plan: Plan, first: int, last: int) -> None:
        self._bus = bus
        self._subjects = subjects
        self._plans = [one for one in plan.chains if one.stream == MARKET and ALERTS in one.writes]
        self._first, self._last = first, last
        self._chains: list[tuple[ChainPlan, int | None, Chain]] = []
        self.answered: dict[
            int | None, int
        ] = {}  # partition -> the last input answered for certain
        self.notes: list[str] = []
        self.began_ns = 0

    async def begin(self) -> None:
        """Make the chains, with the state of an owner that has no snapshot. Raises ParityError."""
        for plan in self._plans:
            for partition in plan.partitions:
                await self._begin(plan, partition)
        if not self._chains:
            raise ParityError("no input is answered for certain yet; wait for the first snapshot")

    async def _begin(self, plan: ChainPlan, partition: int | None) -> None:
        name = f"{plan.name}-{'all' if partition is None else partition}"
        live = await self._bus.consumer_state(MARKET, name)
        if live is None or not live.acknowledged:
            self.notes.append(f"{name}: nothing answered for certain yet, left out")
            return
        until = min(live.acknowledged, self._last)
        self.answered[partition] = min(until, self.answered.get(partition, until))
        chain = Chain(plan, self._subjects, partition)
        if self._first > 1:
            await rebuild(self._bus, self._subjects, chain, self._first - 1, lambda: True, name)
        self._chains.append((plan, partition, chain))

    async def run(self, progress: Progress) -> Said:
        """The alerts of the replay."""
        said: Said = {}
        last = max(self.answered.values())
        reading = self._bus.read_to(MARKET, [">"], self._first, last)
        async with aclosing(reading):  # type: ignore[type-var]
            async for message in reading:
                self._run(message, said)
                if message.sequence % TOLD_EVERY == 0:
                    progress(message.sequence - self._first, last - self._first + 1)
        progress(last - self._first + 1, last - self._first + 1)
        return said

    def _run(self, message: Message, said: Said) -> None:
        for plan, partition, chain in self._chains:
            if message.sequence > self.answered[partition]:
                continue
            if self._reads(plan, partition, message.subject):
                outputs = chain.run(message.sequence, message.subject, message.data, message.ts_ns)
                for output in outputs:
                    self._note(message.sequence, output, said)
                self.began_ns = self.began_ns or chain.clock_ns

    def _reads(self, plan: ChainPlan, partition: int | None, subject: str) -> bool:
        """Whether a chain's consumer filters on a subject."""
        owner = subject.rpartition(".")[2]
        if partition is not None and owner != str(partition):
            return False
        if subject.startswith(f"redrive.{MARKET}."):
            name = subject.split(".")[2]
            return name in {plan.name, *(one.name for one in plan.functions)}
        try:
            return self._subjects.base_of(subject)[0] in plan.inputs
        except KeyError:
            return False

    def _note(self, sequence: int, output: Output, said: Said) -> None:
        if output.base == ALERTS:
            _add(said, (sequence, output.part), decode(output.data, self._record))

    @property
    def _record(self) -> Any:
        return self._subjects.record_of(ALERTS)


async def _live(bus: Bus, subjects: Subjects, answered: dict[int | None, int]) -> Said:
    """The alerts that were said of the inputs answered."""
    stream = subjects.subjects[ALERTS].stream or ""
    wires = [f"{ALERTS}.{partition}" for partition in range(subjects.partitions)]
    newest = await bus.newest(stream, wires)
    said: Said = {}
    if not newest:
        return said
    last = max(message.sequence for message in newest.values())
    reading = bus.read_to(stream, wires, 1, last)
    async with aclosing(reading):  # type: ignore[type-var]
        async for message in reading:
            position = position_of(message)
            until = answered.get(int(message.subject.rpartition(".")[2]), answered.get(None, 0))
            if position is not None and position[0] <= until:
                _add(said, position, decode(message.data, subjects.record_of(ALERTS)))
    return said


def _add(said: Said, position: Position, frame: Frame) -> None:
    symbols = frame["symbol"]
    for row in range(len(frame)):
        content = {name: _plain(values[row]) for name, values in frame.columns.items()}
        content["symbol"] = str(symbols[row])
        key = (str(content.get("id", row)), str(content.get("kind", "fired")), position)
        said[key] = content


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _within(said: Said, from_ns: int, to_ns: int) -> Said:
    return {key: one for key, one in said.items() if from_ns <= one["ts_ns"] < to_ns}


def _compare(live: Said, replay: Said, found: Compared) -> None:
    """Count what differs, and tell the first in the order of their causes."""
    found.live, found.replay = len(live), len(replay)
    for key in sorted(live.keys() | replay.keys(), key=lambda one: (one[2], one[0], one[1])):
        what = _difference(live.get(key), replay.get(key))
        if what:
            found.differ += 1
            if len(found.differences) < SHOWN:
                found.differences.append(_told(key, live.get(key) or replay[key], what))


def _difference(live: dict[str, Any] | None, replay: dict[str, Any] | None) -> str:
    """What differs in an alert, empty where nothing does."""
    if live is None or replay is None:
        return "only in the replay" if live is None else "only live"
    names = sorted(live.keys() | replay.keys())
    differing = [name for name in names if not _equal(live.get(name), replay.get(name))]
    return "; ".join(
        f"{name}: live {live.get(name)!r:.200}, replay {replay.get(name)!r:.200}"
        for name in differing
    )


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))  # NaN is equal to NaN here


def _told(key: Key, alert: dict[str, Any], what: str) -> dict[str, Any]:
    return {
        "id": key[0],
        "kind": key[1],
        "position": f"{key[2][0]}.{key[2][1]}",
        "rule_id": alert.get("rule_id", ""),
        "symbol": alert["symbol"],
        "time": rfc3339(alert["ts_ns"]),
        "difference": what,
    }
