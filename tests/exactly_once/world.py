"""A world in one process for the real PartitionHost: a double of the bus that can fail between any two steps.

The double speaks the words the host needs, with the server's meaning: a fenced write is refused unless
the subject's last sequence is the expected one. A schedule says, for one owner after the other, after
how many operations something happens to it.

    crash before    the process is gone, the operation was not done
    crash after     the process is gone, the operation was done
    answer lost     the operation was done, the client repeats it
    zombie          the process stands still, a newer owner runs to its end, then it goes on
    hand over       the owner is asked to drain
    lands late      the process is gone; what it had sent is done while its successor is at work
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime import function
from runtime.bus import ConsumerState, Entry, Message, Refused, StreamState
from runtime.chain import Chain, Output
from runtime.frames import Frame, decode, encode
from runtime.host import Contested, Fenced, Limits, PartitionHost
from runtime.loader import ChainPlan, hosted_of
from runtime.ownership import Owner
from runtime.subjects import Subjects
from runtime.watchdog import Watchdog

UNIT = ("pair", 3)
ACTIONS = ("crash before", "crash after", "answer lost", "zombie", "hand over", "lands late")


class Crash(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Event:
    """What happens to one owner: `action` at its operation number `after`.

    saves_often   it saves at every frame
    joins         frames wait for it, so that it runs them as one
    """

    after: int
    action: str
    saves_often: bool
    joins: bool = True


first = function(
    "first", writes="bars.final", state={"count": "i8", "ring": ("f8", 3), "note": "text"}
)


def _bars(row: Any, price: Any, count: Any) -> dict[str, Any]:
    return {
        "row": row,
        "ts_ns": np.ones(len(row), dtype=np.int64),
        **dict.fromkeys(("open", "high", "low", "close", "volume", "vwap"), price),
        "count": count,
        "revision": np.zeros(len(row), dtype=np.int32),
    }


@first.on("ticks.trades")
def add(trades, state):  # type: ignore[no-untyped-def]
    row, price, count = trades["row"], trades["price"], []
    for one, paid in zip(row.tolist(), price.tolist(), strict=True):
        state["count"][one] += 1
        state["ring"][one, state["count"][one] % 3] = paid
        count.append(int(state["count"][one]))
    cut = int(np.argmax(price == 5)) + 1 if (price == 5).any() else len(row)
    parts = [slice(0, cut), slice(cut, None)] if cut < len(row) else [slice(None)]
    return [_bars(row[one], price[one], np.array(count)[one]) for one in parts]


@first.on("ticks.clock")
def tick(clock, state):  # type: ignore[no-untyped-def]
    state["note"] = str(clock)
    row = np.flatnonzero(state["count"] > 1)
    return (
        _bars(row, 1.0 + state["ring"][row].sum(axis=1), state["count"][row]) if len(row) else None
    )


@function(reads="bars.final", writes="alerts", state={"total": "f8", "seen.*": "u1"})
def second(bars, state):  # type: ignore[no-untyped-def]
    totals = []
    for row, close in zip(bars["row"].tolist(), bars["close"].tolist(), strict=True):
        state["total"][row] += close
        totals.append(float(state["total"][row]))
    state["seen.x"][bars["row"]] = 1
    if (bars["close"] == 13).any():
        raise ValueError("thirteen")
    return {"row": bars["row"], "ts_ns": bars["ts_ns"], "price": np.array(totals)}


PLAN = ChainPlan(
    "pair", "MARKET", (hosted_of(first), hosted_of(second)), ("ticks.trades", "ticks.clock"), (3,)
)


@dataclass
class World:
    """Streams and buckets, and the owners that come and go."""

    subjects: Subjects
    schedule: list[Event]
    has_fence: bool = True
    has_suppression: bool = True
    streams: dict[str, list[Message]] = field(default_factory=dict)
    epochs: int = 0
    final: Chain | None = None
    plan: ChainPlan = PLAN
    late: tuple[int, Any] | None = None  # what is still on its way, and at which operation it lands

    def store(self, stream: str, subject: str, data: bytes, headers: dict[str, str]) -> int:
        messages = self.streams.setdefault(stream, [])
        messages.append(Message(subject, data, headers, len(messages) + 1))
        return len(messages)

    def last(self, stream: str, subject: str) -> Message | None:
        found = [one for one in self.streams.get(stream, []) if one.subject == subject]
        return found[-1] if found else None

    async def run(self) -> None:
        """Owners one after the other; the last one is not disturbed."""
        while self.schedule:
            await self.own()
        host = None
        while host is None:
            host = await self.own()
        self.final = host.chain

    async def own(self) -> PartitionHost | None:
        event = self.schedule.pop(0) if self.schedule else None
        self.epochs += 1
        owner = Owner(f"w{self.epochs}", self.epochs)
        self.store("KV_owners", "$KV.owners.pair.3", owner.encoded(), {})
        epoch = len(self.streams["KV_owners"])
        bus = Double(self, event)
        interval = 0.0 if event is None or event.saves_often else 1e9
        host = PartitionHost(
            bus,  # type: ignore[arg-type]
            self.subjects,
            self.plan,
            UNIT,
            Owner(owner.worker, epoch),
            Limits(interval, tries_max=1),
            _nowhere,
            lambda _: False,
            WATCHDOG,
        )
        bus.host = host
        if not self.has_suppression:
            host._end_of = _forgetful(host)  # type: ignore[method-assign]
        try:
            await host.run()
        except (Crash, Fenced, Contested):
            return None
        except BaseExceptionGroup as group:
            if group.split((Crash, Fenced, Contested))[1] is not None:
                raise
            return None
        return host


WATCHDOG = Watchdog(60)


async def _nowhere(_: Output) -> None:
    """Core outputs are not part of the promise."""


def _forgetful(host: PartitionHost) -> Any:
    end_of = host._end_of

    async def forgetful(stream: str, subject: str) -> Any:
        said = await end_of(stream, subject)
        said.position = (0, 0)
        return said

    return forgetful


class Double:
    """One owner's connection to the world."""

    def __init__(self, world: World, event: Event | None) -> None:
        self._world = world
        self._event = event
        self._done = 0
        self._is_gone = False
        self.host: PartitionHost | None = None

    async def _operate(self, operation: Any) -> Any:
        await asyncio.sleep(0)
        if self._is_gone:
            raise Crash
        event, self._done = self._event, self._done + 1
        if self._world.late is not None and self._world.late[0] <= self._done:
            (_, landing), self._world.late = self._world.late, None
            with contextlib.suppress(Refused):
                landing()
        if event is None or self._done != event.after:
            return operation()
        if event.action == "lands late":
            self._is_gone = True
            self._world.late = (event.after * 7 % 31 + 1, operation)
            raise Crash
        if event.action == "crash before":
            self._is_gone = True
            raise Crash
        if event.action == "zombie":
            await self._world.own()
        elif event.action == "hand over" and self.host:
            self.host.drain()
        result = operation()
        if event.action == "crash after":
            self._is_gone = True
            raise Crash
        return operation() if event.action == "answer lost" else result

    async def put_expecting(
        self, subject: str, data: bytes, last: int, headers: dict[str, str] | None = None
    ) -> int:
        stream = _stream_of(subject)

        def write() -> int:
            present = self._world.last(stream, subject)
            if self._world.has_fence and (present.sequence if present else 0) != last:
                raise Refused(subject)
            return self._world.store(stream, subject, data, dict(headers or {}))

        return int(await self._operate(write))

    async def put(
        self, subject: str, data: bytes, headers: Any = None, message_id: str = ""
    ) -> int:
        def write() -> int:
            return self._world.store(_stream_of(subject), subject, data, dict(headers or {}))

        return int(await self._operate(write))

    async def last(self, stream: str, subject: str) -> Message | None:
        found: Message | None = await self._operate(lambda: self._world.last(stream, subject))
        return found

    async def history(self, stream: str, subject: str, last: int) -> list[Message]:
        return [one for one in self._world.streams.get(stream, []) if one.subject == subject][
            -last:
        ]

    async def stream_state(self, stream: str) -> StreamState:
        messages = self._world.streams.get(stream, [])
        return StreamState(1, len(messages), len(messages), 0)

    async def consumer_state(self, *_: str) -> ConsumerState:
        return ConsumerState(0, 0, 0, 0)

    async def ensure_consumer(self, *_: Any, **__: Any) -> None:
        await self._operate(lambda: None)

    async def take_consumer(
        self, stream: str, _: str, subjects: list[str], following: int
    ) -> PullDouble:
        joins = self._event is None or self._event.joins
        return PullDouble(self, self._world.streams.get(stream, []), following, joins)

    async def acknowledge(self, _: Message) -> None:
        await self._operate(lambda: None)

    def kv(self, bucket: str) -> KvDouble:
        return KvDouble(self, self._world, bucket)


@dataclass
class PullDouble:
    bus: Double
    messages: list[Message]
    following: int
    joins: bool
    pending: int = 0

    @property
    def queued(self) -> int:
        return len(self.messages) - self.following + 1 if self.joins else 0

    def take_while(self, is_wanted: Callable[[Message], bool]) -> list[Message]:
        start = self.following
        while self.queued and is_wanted(self.messages[self.following - 1]):
            self.following += 1
        return self.messages[start - 1 : self.following - 1]

    async def ready(self, _: float) -> bool:
        if self.following <= len(self.messages):
            return True
        assert self.bus.host is not None
        self.bus.host.drain()
        await asyncio.sleep(0)  # a save that is on its way goes on, as while a server is waited for
        return False

    async def next(self) -> Message:
        self.following += 1
        return self.messages[self.following - 2]

    async def stop(self) -> None:
        """Nothing to end."""


@dataclass
class KvDouble:
    bus: Double
    world: World
    bucket: str

    def _subject(self, key: str) -> str:
        return f"$KV.{self.bucket}.{key}"

    async def get(self, key: str) -> Entry | None:
        message = await self.bus.last(f"KV_{self.bucket}", self._subject(key))
        return Entry(key, message.data, message.sequence) if message else None

    async def written(self, key: str) -> bytes | None:
        entry = await self.get(key)
        return entry.value if entry else None

    async def revision(self, key: str) -> int:
        message = await self.bus.last(f"KV_{self.bucket}", self._subject(key))
        return message.sequence if message else 0

    async def keys(self, prefix: str) -> list[str]:
        start = self._subject(prefix) + "."
        messages = self.world.streams.get(f"KV_{self.bucket}", [])
        found = dict.fromkeys(one.subject for one in messages if one.subject.startswith(start))
        return [subject.removeprefix(self._subject("")) for subject in found]

    async def put(self, key: str, value: bytes) -> int:
        return await self.bus.put(self._subject(key), value)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        return await self.bus.put_expecting(self._subject(key), value, revision)

    async def purge(self, pattern: str) -> None:
        start = self._subject(pattern.removesuffix(">"))

        def remove() -> None:
            messages = self.world.streams[f"KV_{self.bucket}"]
            for place, one in enumerate(messages):
                if one.subject.startswith(start):  # the sequence stays, the message goes
                    messages[place] = Message("", b"", {}, one.sequence)

        await self.bus._operate(remove)


def _stream_of(subject: str) -> str:
    if subject.startswith("$KV."):
        return "KV_" + subject.split(".")[1]
    streams = {"bars": "BARS", "indicators": "BARS", "alerts": "ALERTS", "toplists": "LISTS"}
    return {**streams, "dead": "DEAD"}[subject.split(".")[0]]


def input_of(subjects: Subjects) -> list[tuple[str, bytes]]:
    """Trades, clock events, a frame that fails and one that cannot be read."""
    trades, clock = subjects.record("trades"), subjects.record("clock")
    made: list[tuple[str, bytes]] = []
    for number in range(1, 9):
        price = 13.0 if number == 4 else float(number)
        columns = {
            "ts_ns": np.full(3, number),
            "price": np.array([price, 2.0, 3.0]),
            "size": np.ones(3),
        }
        frame = Frame(columns, ["A", "B"], np.array([0, 1, number % 2]), "test", number)
        made.append(("ticks.trades.3", encode(frame, trades)))
        if number % 2 == 0:
            ticks = Frame({"ts_ns": np.array([number * 10, number * 10 + 5])}, source="test")
            made.append(("ticks.clock.3", encode(ticks, clock)))
        if number == 6:
            made.append(("ticks.trades.3", b"garbage"))
    return made


def undisturbed(subjects: Subjects) -> tuple[dict[str, list[bytes]], Chain]:
    """What one calm run says, and its state."""
    chain = Chain(PLAN, subjects, 3, tries_max=1)
    said: dict[str, list[bytes]] = {}
    for position, (subject, data) in enumerate(input_of(subjects), 1):
        for output in chain.run(position, subject, data):
            said.setdefault(output.subject, []).append(output.data)
    return said, chain


def events_of(subjects: Subjects, messages: list[bytes], subject: str) -> list[Any]:
    """The events of messages, one after the other: where they were cut is nobody's promise."""
    if subject.startswith("dead."):
        return list(messages)
    record = subjects.record_of(subjects.base_of(subject)[0])
    events: list[Any] = []
    for data in messages:
        frame = decode(data, record)
        columns = {name: frame[name].tolist() for name in sorted(frame.columns)}
        if frame.symbols is not None:
            columns["symbol"] = frame["symbol"].tolist()
        events += [
            dict(zip(columns, map(repr, one), strict=True))
            for one in zip(*columns.values(), strict=True)
        ]
    return events


def faults_of(subjects: Subjects, schedule: list[Event], **protections: bool) -> list[str]:
    """Run a schedule; what differs from the calm run."""
    world = World(subjects, list(schedule), **protections)
    for subject, data in input_of(subjects):
        world.store("MARKET", subject, data, {})
    asyncio.run(world.run())
    expected, calm = undisturbed(subjects)
    found = []
    for subject, wanted in expected.items():
        stream = world.streams.get(_stream_of(subject), [])
        said = events_of(subjects, [one.data for one in stream if one.subject == subject], subject)
        if said != events_of(subjects, wanted, subject):
            found.append(f"{subject}: said {len(said)}, wanted {len(wanted)}")
    assert world.final is not None
    for name in ("first", "second"):
        one, other = world.final.table(name).columns(), calm.table(name).columns()
        if one.keys() != other.keys() or any(
            not np.array_equal(one[column], other[column]) for column in one
        ):
            found.append(f"state of {name} differs")
    return found
