"""Host one partition of one chain: own, load, run, save, hand over. Start-up and recovery are one path.

Every output names the input position that caused it. Before anything runs, the last message of each
output subject tells what was already said; running again from the snapshot says the same again, and
what was said is not repeated. So neither a crash between two steps nor a predecessor that does not
know it is dead can lose, double or reorder an output:

    crash after          on recovery
    publish, no save     the output is found on its subject and suppressed
    save, no ack         the snapshot's cursor is the position; the consumer's is not used
    nothing              the input is read again

What the server says to a fenced write, and what follows (`_say`):

    stored                                        go on
    refused, last message has a newer epoch       we are the zombie: stop
    refused, last message says this or later      somebody said exactly this: go on from there
    refused, anything else                        a foreign message: expect after it
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from runtime import telemetry, tracing
from runtime.bus import Bus, LostPlace, Message, Pull, Refused
from runtime.chain import Chain, Output
from runtime.frames import FRAME_BYTES_TARGET
from runtime.handover import read_blobs
from runtime.loader import ChainPlan
from runtime.ownership import Owner, Owners, Unit, consumer_of, unit_key
from runtime.rebuild import POSITION, Position, position_of, rebuild
from runtime.snapshots import Damaged, Snapshot, blobs_of, chunks_of
from runtime.state import StateChanged
from runtime.subjects import Subjects
from runtime.watchdog import Watchdog

log = telemetry.get_logger(__name__)

EPOCH = "Jetscan-Epoch"
INPUT_TIME = "Jetscan-Input-Time"  # when the first input behind an output was stored
STRIKES_MAX = 1  # owners that died at one cursor before the next one goes frame by frame
DEATHS_MAX = 3  # processes a frame may end before it is set aside
FOREIGN_MAX = 200  # messages without a position looked through behind an output subject's end
ALERTS = "alerts"
TELL_S = 1.0  # metrics are told this often
QUIET_S = 1.5  # without a message, the consumer is asked whether there should be one
JOINED_BYTES_MAX = FRAME_BYTES_TARGET  # of frames that wait and are run as one

CoreSink = Callable[[Output], Awaitable[None]]


class Fenced(Exception):
    """A newer owner exists; what this one still thinks is of no consequence."""


class Contested(RuntimeError):
    """Somebody else said a part of what we were about to say as one: own again, load again."""


class PartitionsChanged(RuntimeError):
    """The state was saved for another number of partitions: other symbols are here now."""


class StreamRegressed(RuntimeError):
    """The stream ends before the saved cursor: it lost messages and will reuse their numbers."""


@dataclass
class Said:
    """The end of one output subject: its last sequence and the input position that it answers."""

    sequence: int
    position: Position


@dataclass
class Progress:
    """What others may know of a hosted partition."""

    position: int = 0
    clock_ns: int = 0
    answered_ns: int = 0  # when what was answered last was stored
    pending: int = 0
    queued: int = 0
    lag_s: float = 0.0
    saved_position: int = 0
    saved_at: float = field(default_factory=time.monotonic)
    suppressed: int = 0
    published: int = 0
    state_bytes: int = 0
    paused: bool = False


@dataclass
class Limits:
    """How a partition is hosted, from the settings."""

    snapshot_interval_s: float = 2.0
    tries_max: int = 3
    # One partition of a process saves at a time: together they would hold up every alert for 0.2 s.
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Suspect:
    """Which frames the process died at."""

    trying: int = 0
    deaths: dict[int, int] = field(default_factory=dict)
    is_careful: bool = False

    def count_death(self) -> None:
        """The last owner died with this frame marked."""
        if self.trying:
            self.deaths[self.trying] = self.deaths.get(self.trying, 0) + 1

    def is_poison(self, position: int) -> bool:
        return self.deaths.get(position, 0) >= DEATHS_MAX

    def encoded(self) -> bytes:
        return msgpack.packb({"trying": self.trying, "deaths": self.deaths})  # type: ignore[no-any-return]

    @classmethod
    def decoded(cls, data: bytes) -> Suspect:
        told = msgpack.unpackb(data, strict_map_key=False)
        return cls(told["trying"], told["deaths"])


@dataclass(frozen=True)
class Taken:
    """A state that is to be saved, and the input up to which it is."""

    snapshot: Snapshot
    meta: dict[str, Any]
    message: Message | None
    is_first: bool  # of this owner


class PartitionHost:
    """One owned partition, from take-over to hand-over."""

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        plan: ChainPlan,
        unit: Unit,
        owner: Owner,
        limits: Limits,
        core_sink: CoreSink,
        is_paused: Callable[[ChainPlan], bool],
        watchdog: Watchdog,
        known_blobs: Mapping[str, bytes] | None = None,
    ) -> None:
        """`known_blobs`: of the saved state, what was read in advance."""
        self.unit = unit
        self.owner = owner
        self.progress = Progress()
        self._bus = bus
        self._kv = bus.kv("snapshots")
        self._subjects = subjects
        self.plan = plan
        self._limits = limits
        self._core_sink = core_sink
        self._is_paused = is_paused
        self._watchdog = watchdog
        self._known_blobs = known_blobs or {}
        self._chain = self._new_chain(plan)
        self._said: dict[str, Said] = {}
        self._meta: dict[str, Any] | None = None
        self._revision = 0
        self._blobs_made = 0
        self._last_message: Message | None = None
        self._saving: asyncio.Task[None] | None = None  # a save that is on its way
        self._next_plan: ChainPlan | None = None
        self.refused = ""  # why a new version is not run
        self._stopping = asyncio.Event()
        self._is_fenced = False
        self._is_loaded = False
        self._suspect = Suspect()
        self._meter = telemetry.UnitMeter(plan.name, unit_key(unit).rpartition(".")[2])
        self._told_at = 0.0
        telemetry.EXPIRED.labels(plan.name)  # from 0 on, or the first ones are no increase

    @property
    def chain(self) -> Chain:
        """The running functions and their state."""
        return self._chain

    @property
    def consumer(self) -> str:
        """The durable that feeds this partition."""
        return consumer_of(self.unit)

    def _new_chain(self, plan: ChainPlan) -> Chain:
        chain = Chain(plan, self._subjects, self.unit[1], self._limits.tries_max)
        chain.timed = telemetry.timed
        return chain

    def drain(self) -> None:
        """Ask for a hand-over: finish the frame and a save that is on its way, save the rest, stop."""
        self._stopping.set()

    @property
    def is_loaded(self) -> bool:
        """Whether it has its state, and answers."""
        return self._is_loaded

    @property
    def is_draining(self) -> bool:
        """Whether a hand-over was asked for."""
        return self._stopping.is_set()

    def is_known_to(self, epoch: int | None) -> bool:
        """Whether little is left to read for who has the snapshot that the owner of `epoch` saved last."""
        if epoch is None or not self._is_loaded:
            return False
        saved = self._meta["epoch"] if self._meta is not None else 0
        is_new = self.progress.position > self.progress.saved_position
        return bool(epoch == saved and (saved == self.owner.epoch or not is_new))

    def fence(self) -> None:
        """A newer owner is known: stop without saving."""
        self._is_fenced = True

    def reload(self, plan: ChainPlan) -> None:
        """Run a new version of the functions from the next frame on, with their state."""
        self._next_plan = plan

    # -- the life of an ownership

    async def run(self) -> None:
        """Load, run until drained or fenced, save. Raises Fenced, StateChanged, StreamRegressed."""
        await self.load()
        if self._is_fenced:
            raise Fenced(unit_key(self.unit))
        if not self._is_loaded:
            return  # told to stop in the middle: what was rebuilt so far is nobody's state
        try:
            await self._run_loaded()
        finally:
            if self._saving is not None:
                self._saving.cancel()
                await asyncio.gather(self._saving, return_exceptions=True)
            self._tell_telemetry()
            self._meter.forget()

    async def _run_loaded(self) -> None:
        while not self._stopping.is_set():
            pull = await self._open()
            try:
                await self._follow(pull)
            except LostPlace as error:
                log.info("partition reopens its pull", unit=unit_key(self.unit), reason=str(error))
                await asyncio.sleep(0.05)
            finally:
                await pull.stop()
            await self._confirm_ownership()
        if self._is_loaded:
            await self.save()

    async def load(self) -> None:
        """State at the snapshot's cursor, and the end of every output subject.

        A function of which no state was saved begins with what the chain said of the input before
        the cursor, or, without a cursor, of the input that is gone.
        """
        is_saved = await self._restore()
        state = await self._bus.stream_state(self.plan.stream)
        if self.progress.position > state.last:
            raise StreamRegressed(
                f"{unit_key(self.unit)}: saved at {self.progress.position}, but stream "
                f"{self.plan.stream} ends at {state.last}; restore the stream or remove the snapshot"
            )
        if state.first > self.progress.position + 1 and self.progress.position:
            telemetry.EXPIRED.labels(self.plan.name).inc(state.first - self.progress.position - 1)
            log.warning(
                "input expired before it was read",
                unit=unit_key(self.unit),
                saved=self.progress.position,
                first=state.first,
            )
        if not is_saved:
            self.progress.position = max(state.first - 1, 0)
        self._said = {
            subject: await self._end_of(stream, subject) for stream, subject in self._outputs()
        }
        await self._load_suspect()
        self._is_loaded = await self._rebuild()

    async def _restore(self) -> bool:
        """Take over the newest snapshot; False without one whose bytes are whole."""
        try:
            saved = await self._read_saved()
            if saved is not None:
                meta, blobs, self._revision = saved
                self._check_partitions(meta)
                self._chain.restore(meta, blobs)
                self._meta = meta
                self.progress.position = self.progress.saved_position = meta["cursor"]
                self.progress.clock_ns = self._chain.clock_ns
                return True
        except Damaged as error:
            log.error("saved state is lost", unit=unit_key(self.unit), reason=str(error))
        finally:
            self._known_blobs = {}
        self._revision = await self._kv.revision(unit_key(self.unit))
        return False

    def _check_partitions(self, meta: Mapping[str, Any]) -> None:
        present = self._subjects.partitions
        saved = meta.get("partitions", present)  # earlier versions did not say
        if saved != present and self.unit[1] is not None:
            raise PartitionsChanged(
                f"{unit_key(self.unit)}: saved for {saved} partitions, subjects.yaml says {present}; "
                f"set it back, then `jetscan partitions {present}` shares the state out anew"
            )

    async def _rebuild(self) -> bool:
        """State of functions that have none, from what was said; False if told to stop meanwhile."""
        done = await rebuild(
            self._bus,
            self._subjects,
            self._chain,
            self.progress.position,
            lambda: not (self._stopping.is_set() or self._is_fenced),
            unit_key(self.unit),
        )
        return done.is_whole

    def _outputs(self) -> list[tuple[str, str]]:
        """(stream, subject) of everything this partition publishes and fences."""
        found = []
        for base in self.plan.writes:
            stream = self._subjects.subjects[base].stream
            if stream:
                found += [(stream, one) for one in self._subjects.outputs(base, self.unit[1])]
        names = dict.fromkeys([self.plan.name, *(one.name for one in self.plan.functions)])
        ending = "all" if self.unit[1] is None else str(self.unit[1])
        return found + [("DEAD", f"dead.{name}.{ending}") for name in names]

    async def _end_of(self, stream: str, subject: str) -> Said:
        """The newest position said on a subject; what has expired was said before the cursor."""
        saved = (self.progress.position, 1 << 30)
        message = await self._bus.last(stream, subject)
        if message is None:
            return Said(0, saved)
        position = position_of(message)
        if position is None:  # published by hand: look behind it
            for earlier in reversed(await self._bus.history(stream, subject, FOREIGN_MAX)):
                position = position_of(earlier)
                if position is not None:
                    break
        return Said(message.sequence, max(saved, position or saved))

    async def _read_saved(self) -> tuple[dict[str, Any], dict[str, bytes], int] | None:
        """The newest index, its blobs, its revision. Whoever saves meanwhile removes what it replaced."""
        key = unit_key(self.unit)
        entry = await self._kv.get(key)
        while entry is not None:
            meta = msgpack.unpackb(entry.value)
            if meta.get("epoch", 0) > self.owner.epoch:
                raise Fenced(key)
            blobs = await read_blobs(self._kv, key, meta, self._known_blobs)
            if blobs is not None:
                return meta, blobs, entry.revision
            newer = await self._kv.get(key)
            if newer is not None and newer.revision == entry.revision:
                raise Damaged(f"{key}: a blob of the saved state is not whole")
            entry = newer
        return None

    async def _open(self) -> Pull:
        wanted = self.plan.wire_inputs(self._subjects, self.unit[1])
        await self._bus.ensure_consumer(self.plan.stream, self.consumer, wanted, pinned=True)
        return await self._bus.take_consumer(
            self.plan.stream, self.consumer, wanted, self.progress.position + 1
        )

    async def _confirm_ownership(self) -> None:
        owner = await Owners(self._bus).get(self.unit)
        if owner is None or owner.epoch != self.owner.epoch:
            raise Fenced(unit_key(self.unit))

    # -- running

    async def _follow(self, pull: Pull) -> None:
        heard_at = time.monotonic()
        while not self._stopping.is_set() or self._is_saving:
            if self._is_fenced:
                raise Fenced(unit_key(self.unit))
            if self._next_plan is not None:
                await self._change_plan()
                return  # the new functions may read other subjects: open again
            if self._is_paused(self.plan):
                self.progress.paused = True
                await self._save_if_due()
                await asyncio.sleep(0.1)
                continue
            self.progress.paused = False
            message = await self._next(pull)
            if message is not None:
                await self._turn()
                waiting = self._joined_with(message, pull) if pull.queued else []
                await self._answer_all([message, *waiting])
                self._note_lag(message, pull)
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > QUIET_S:
                await self._check_quiet()
                heard_at = time.monotonic()
            if time.monotonic() - self._told_at > TELL_S:
                self._tell_telemetry()
            await self._save_if_due()

    def _note_lag(self, message: Message, pull: Pull) -> None:
        """What waits at the server and here, and how long the message that was answered had waited."""
        progress = self.progress
        progress.queued = pull.queued
        progress.pending = pull.pending + pull.queued
        progress.lag_s = max(time.time() - message.ts_ns / 1e9, 0.0) if progress.pending else 0.0

    async def _turn(self) -> None:
        """Let the connection be read and written, and one other partition run, between two frames.

        An alert passes the connection four times on its way; would every partition run between two of
        them, it were late. Chains over all partitions do not wait: what they answer waited before.
        """
        if self.unit[1] is not None:
            async with self._limits.turn:
                await asyncio.sleep(0)

    async def _check_quiet(self) -> None:
        """A pull that brings nothing although the stream has more is lost, whatever it looks like."""
        self.progress.pending = self.progress.queued = 0
        self.progress.lag_s = 0.0
        state = await self._bus.consumer_state(self.plan.stream, self.consumer)
        if state is None or state.pending or state.delivered > self.progress.position:
            raise LostPlace(f"nothing came for {QUIET_S:g} s, but {state} is there")

    def _tell_telemetry(self) -> None:
        counts, progress = self._chain.counts, self.progress
        self._told_at = time.monotonic()
        self._meter.tell(
            telemetry.UnitCounts(
                frames=counts.frames_in,
                published=progress.published,
                suppressed=progress.suppressed,
                events=counts.given,
                symbols_scanned=counts.symbols,
                pending=progress.pending,
                lag_s=progress.lag_s,
                queued=progress.queued,
                snapshot_age_s=time.monotonic() - progress.saved_at,
                state_bytes=progress.state_bytes,
                symbols=self._chain.symbol_count,
                clock_ns=self._chain.clock_ns,
            )
        )

    async def _next(self, pull: Pull) -> Message | None:
        """The next input; None when it is time to look around."""
        return await pull.next() if await pull.ready(0.1) else None

    def _joined_with(self, message: Message, pull: Pull) -> list[Message]:
        """What waits behind a message and may be run with it.

        Nothing of it may have been said before: of a message that answers several, no part can be left out.
        """
        base = self._joining_base(message)
        said = max((one.position[0] for one in self._said.values()), default=0)
        if base is None or self._suspect.is_careful or self._suspect.deaths:
            return []
        if message.sequence <= max(said, self.progress.position):
            return []
        room = JOINED_BYTES_MAX - len(message.data)

        def is_wanted(one: Message) -> bool:
            nonlocal room
            room -= len(one.data)
            return room >= 0 and self._joining_base(one) == base

        return pull.take_while(is_wanted)

    def _joining_base(self, message: Message) -> str | None:
        try:
            base = self._subjects.base_of(message.subject)[0]
        except KeyError:
            return None
        return base if self._subjects.subjects[base].joins else None

    async def _answer_all(self, messages: list[Message]) -> None:
        """Answer messages, as a span of the first of them whose trace is sampled."""
        first = next((one for one in messages if tracing.is_sampled(one.headers)), None)
        if first is None:
            await self._answer_traced(messages)
            return
        others = [one.headers for one in messages if one is not first]
        told = {"unit": unit_key(self.unit), "position": first.sequence}
        with tracing.within(self.plan.name, first.headers, others, **told):
            await self._answer_traced(messages)

    async def _answer_traced(self, messages: list[Message]) -> None:
        """Answer messages as one where that can be, else one by one."""
        if len(messages) > 1:
            outputs = self._stepped_joined(messages)
            if outputs is not None:
                telemetry.JOINED.labels(self.plan.name).inc(len(messages) - 1)
                await self._publish(messages, outputs)
                self._note_answered(messages[-1])
                return
        for message in messages:
            await self._answer(message)

    def _stepped_joined(self, messages: list[Message]) -> list[Output] | None:
        began = time.perf_counter()
        with self._watchdog.watching(self._running_now):
            inputs = [(one.subject, one.data) for one in messages]
            outputs = self._chain.step_joined(messages[-1].sequence, inputs)
        telemetry.SCAN_S.labels(self.plan.name).observe(time.perf_counter() - began)
        return outputs

    async def _answer(self, message: Message) -> None:
        if message.sequence <= self.progress.position:
            return
        if self._suspect.is_careful:
            await self._mark_suspect(message.sequence)
        if self._suspect.is_poison(message.sequence):
            outputs = self._chain.bury_input(
                message.sequence, message.subject, message.data, "killed the process that ran it"
            )
        else:
            outputs = await self._stepped(message)
        if self._suspect.is_careful:
            await self._mark_suspect(0)
        for output in outputs:
            if output.base == "dead":
                self._note_dead(message, output.subject.split(".")[1])
        await self._publish([message], outputs)
        self._note_answered(message)

    def _note_dead(self, message: Message, function: str) -> None:
        telemetry.DEAD_LETTERS.labels(function).inc()
        told: dict[str, Any] = {"unit": unit_key(self.unit), "position": message.sequence}
        told["function"] = function
        with tracing.within("dead letter", message.headers, **told):
            log.error("dead letter", **told)

    def _note_answered(self, message: Message) -> None:
        self.progress.position = message.sequence
        self.progress.clock_ns = self._chain.clock_ns
        self.progress.answered_ns = message.ts_ns
        self._last_message = message

    async def _stepped(self, message: Message) -> list[Output]:
        step = self._chain.step(message.sequence, message.subject, message.data, message.ts_ns)
        began = time.perf_counter()
        while True:
            try:
                with self._watchdog.watching(self._running_now):
                    delay_s = next(step)
            except StopIteration as end:
                outputs: list[Output] = end.value
                telemetry.SCAN_S.labels(self.plan.name).observe(time.perf_counter() - began)
                return outputs
            await asyncio.sleep(delay_s)

    def _running_now(self) -> str:
        return f"{self._chain.running} in {unit_key(self.unit)} after {self.progress.position}"

    async def _publish(self, messages: list[Message], outputs: list[Output]) -> None:
        """One write in flight per subject, subjects side by side."""
        by_subject: dict[str, list[Output]] = {}
        for output in outputs:
            if output.is_core:
                await self._core_sink(output)
            else:
                by_subject.setdefault(output.subject, []).append(output)
        if len(by_subject) == 1:
            await self._say_all(messages, next(iter(by_subject.values())))
        elif by_subject:
            try:
                async with asyncio.TaskGroup() as group:
                    for queued in by_subject.values():
                        group.create_task(self._say_all(messages, queued))
            except BaseExceptionGroup as group:
                for kind in (Fenced, Contested):
                    if group.subgroup(kind) is not None:
                        raise kind(unit_key(self.unit)) from group
                raise

    async def _say_all(self, messages: list[Message], outputs: list[Output]) -> None:
        for output in outputs:
            await self._say(messages, output)

    async def _say(self, messages: list[Message], output: Output) -> None:
        said = self._said[output.subject]
        message = messages[0]  # the one that waited longest
        position = (messages[-1].sequence, output.part)
        if position <= said.position:
            self._note_suppressed(output)
            return
        headers = {POSITION: f"{position[0]}.{position[1]}", EPOCH: str(self.owner.epoch)}
        headers[INPUT_TIME] = message.headers.get(INPUT_TIME, str(message.ts_ns))
        traced = tracing.present() or message.headers.get(tracing.TRACEPARENT)
        if traced:
            headers[tracing.TRACEPARENT] = traced
        while True:
            try:
                sequence = await self._bus.put_expecting(
                    output.subject, output.data, said.sequence, headers
                )
            except Refused:
                if await self._already_said(output, said, messages):
                    self._note_suppressed(output)
                    return
                continue
            said.sequence, said.position = sequence, position
            self._note_published(output)
            return

    def _note_published(self, output: Output) -> None:
        self.progress.published += 1
        if output.base == ALERTS and output.frame is not None:
            rules = output.frame.get("rule_id", [output.frame.source] * len(output.frame))
            telemetry.note_alerts(rules)

    def _note_suppressed(self, output: Output) -> None:
        self.progress.suppressed += 1
        if output.base == ALERTS:
            telemetry.ALERTS_DEDUPLICATED.inc()

    async def _already_said(self, output: Output, said: Said, messages: list[Message]) -> bool:
        """Whether the subject's end answers the messages; raises Fenced, or Contested if some of them."""
        stream = "DEAD" if output.base == "dead" else self._subjects.subjects[output.base].stream
        last = await self._bus.last(stream or "", output.subject)
        if last is None:  # expired or purged meanwhile
            said.sequence = 0
            return False
        if int(last.headers.get(EPOCH, 0)) > self.owner.epoch:
            raise Fenced(unit_key(self.unit))
        said.sequence = last.sequence
        found, position = position_of(last), (messages[-1].sequence, output.part)
        is_ours = int(last.headers.get(EPOCH, 0)) == self.owner.epoch
        if found is None or found[0] < messages[0].sequence:
            return False
        if len(messages) > 1 and not (is_ours and found == position):
            raise Contested(unit_key(self.unit))
        if found >= position:
            said.position = found
            return True
        return False

    # -- saving

    @property
    def _is_saving(self) -> bool:
        return self._saving is not None and not self._saving.done()

    async def _save_if_due(self) -> None:
        """Take the state as it is between two frames; it is written while further frames run."""
        if self._saving is not None and self._saving.done():
            saving, self._saving = self._saving, None
            saving.result()
        due = time.monotonic() - self.progress.saved_at >= self._limits.snapshot_interval_s
        is_new = self.progress.position > self.progress.saved_position
        if not due or not is_new or self._saving is not None or self._limits.saving.locked():
            return
        if self._stopping.is_set():  # what is left is saved when nothing runs any more
            return
        if self._suspect.is_careful:
            await self.save()
            return
        taken = self._taken()
        await self._limits.saving.acquire()  # free, as was just seen: nothing runs in between
        self._saving = asyncio.create_task(self._commit(taken))
        self._saving.add_done_callback(lambda _: self._limits.saving.release())

    async def save(self) -> None:
        """Commit the state at the present position by compare-and-set, then acknowledge the input."""
        if self._saving is not None:
            saving, self._saving = self._saving, None
            await saving
        if self.progress.position == self.progress.saved_position and self._meta is not None:
            return
        await self._commit(self._taken())

    def _taken(self) -> Taken:
        self._blobs_made += 1
        blob_id = f"{self.owner.epoch}-{self._blobs_made}"
        snapshot = self._chain.snapshot(blob_id, self._own_meta())
        meta = {**snapshot.meta, "cursor": self.progress.position, "epoch": self.owner.epoch}
        meta["partitions"] = self._subjects.partitions
        return Taken(snapshot, meta, self._last_message, self._blobs_made == 1)

    async def _commit(self, taken: Taken) -> None:
        key, snapshot, meta = unit_key(self.unit), taken.snapshot, taken.meta
        if snapshot.blob_id in meta["blobs"]:
            for number, chunk in enumerate(chunks_of(snapshot.blob)):
                await self._kv.put(f"{key}.{snapshot.blob_id}.{number}", chunk)
        try:
            self._revision = await self._kv.update(key, msgpack.packb(meta), self._revision)
        except Refused:
            await self._commit_contested(key, meta)
            return
        before, self._meta = self._meta, meta
        self._note_saved(meta)
        self._tell_telemetry()
        await self._forget_blobs(before, meta)
        if taken.is_first:
            await self._forget_predecessors()
        if taken.message is not None:
            await self._bus.acknowledge(taken.message)
        await self._clear_suspect()

    def _note_saved(self, meta: Mapping[str, Any]) -> None:
        self.progress.saved_position = meta["cursor"]
        self.progress.saved_at = time.monotonic()
        self.progress.state_bytes = sum(blobs_of(meta).values())

    def _own_meta(self) -> dict[str, Any] | None:
        """The last index, if its blobs are ours: a predecessor's may be purged by itself."""
        if self._meta is not None and self._meta["epoch"] == self.owner.epoch:
            return self._meta
        return None

    async def _commit_contested(self, key: str, meta: dict[str, Any]) -> None:
        """Somebody else saved: a newer owner fences us; an older one is overruled at the next save."""
        entry = await self._kv.get(key)
        if entry is not None:
            found = msgpack.unpackb(entry.value)
            if found["epoch"] > self.owner.epoch:
                raise Fenced(key)
            if found["epoch"] == self.owner.epoch and found["cursor"] == meta["cursor"]:
                before, self._meta = self._meta, found  # our own write, whose answer was lost
                self.progress.saved_position = found["cursor"]
                await self._forget_blobs(before, found)
        self._revision = entry.revision if entry else await self._kv.revision(key)
        self.progress.saved_at = time.monotonic() - self._limits.snapshot_interval_s + 0.2

    async def _forget_blobs(self, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
        for blob_id in set(blobs_of(before) if before else ()) - set(blobs_of(now)):
            pattern = f"{unit_key(self.unit)}.{blob_id}.>"
            await self._kv.purge(pattern)

    async def _forget_predecessors(self) -> None:
        """Remove what owners before us left behind in saves that were cut off or overruled."""
        key = unit_key(self.unit)
        left = {one.removeprefix(f"{key}.").partition(".")[0] for one in await self._kv.keys(key)}
        for blob_id in left:
            if int(blob_id.partition("-")[0]) < self.owner.epoch:
                await self._kv.purge(f"{key}.{blob_id}.>")

    async def _change_plan(self) -> None:
        """Save under the old functions, go on under the new ones; on failure the old ones stay."""
        plan, self._next_plan = self._next_plan, None
        assert plan is not None
        await self.save()
        chain = self._new_chain(plan)
        snapshot = self._chain.snapshot("reload")
        self._meta = None  # what that snapshot has is saved nowhere: the next save writes all of it
        try:
            chain.restore(snapshot.meta, {snapshot.blob_id: snapshot.blob})
        except (StateChanged, ValueError) as error:
            self.refused = f"{type(error).__name__}: {error}"
            log.error("new version refused", unit=unit_key(self.unit), reason=str(error))
            return
        self.refused = ""
        chain.counts = self._chain.counts  # metrics go on
        self._chain, self.plan = chain, plan
        if not await self._rebuild():
            self._is_loaded = False
            return
        for stream, subject in self._outputs():
            if subject not in self._said:
                self._said[subject] = await self._end_of(stream, subject)
        log.info("functions reloaded", unit=unit_key(self.unit), version=plan.version)

    # -- frames that kill

    async def _load_suspect(self) -> None:
        """After owners died at one cursor, go frame by frame; one that ended DEATHS_MAX of them is set aside.

        A frame is marked in `functions` before it runs and unmarked as soon as it ran, before anything
        is published: a mark that is left is the frame that ran when the process died, or when the server
        was cut off before; once or twice by chance, more often hardly.
        """
        self._suspect = Suspect()
        if not self.owner.strikes:
            return
        entry = await self._bus.kv("functions").get(self._suspect_key)
        if entry is not None:
            self._suspect = Suspect.decoded(entry.value)
            self._suspect.count_death()
        self._suspect.is_careful = self.owner.strikes >= STRIKES_MAX

    @property
    def _suspect_key(self) -> str:
        return f"suspect.{unit_key(self.unit)}"

    async def _mark_suspect(self, position: int) -> None:
        self._suspect.trying = position
        await self._bus.kv("functions").put(self._suspect_key, self._suspect.encoded())

    async def _clear_suspect(self) -> None:
        if self._suspect.is_careful:
            await self._bus.kv("functions").delete(self._suspect_key)
            self._suspect = Suspect()
            self.owner = replace(self.owner, strikes=0)


async def saved_cursor(bus: Bus, unit: Unit) -> int:
    """The cursor of a unit's snapshot; 0 without one."""
    entry = await bus.kv("snapshots").get(unit_key(unit))
    return int(msgpack.unpackb(entry.value)["cursor"]) if entry else 0
