"""`jetscan replay`: the recorded stream once more through the code on disk, and what it says otherwise.

Every partition of a function, with those of its chain that write what it reads, runs over what its stream
has. Nothing is published. What is said is compared with what was said live by the same function, or, in a
sandbox, with what the replay before kept there: so a change of code shows as a difference of output.

Events are compared by subject, symbol and event time, and then column by column; how they were cut
into messages does not count. What the stream no longer has cannot be replayed: then state begins with
the bars that were said, and only events after a warm-up are compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from runtime.bus import Bus, Message
from runtime.chain import Chain, Output
from runtime.developing.events import line, shown
from runtime.developing.tryout import TryoutError, part_of
from runtime.frames import BadFrame, Frame, decode
from runtime.loader import ChainPlan, Hosted, Plan
from runtime.rebuild import position_of, rebuild
from runtime.shapes import rfc3339
from runtime.subjects import Subjects, partition_of
from runtime.testing.golden import events_of

DEAD = "dead"
WARM_NS = 3_600_000_000_000  # after what the stream begins with, where its beginning is gone
EVENTS_MAX = 1_000_000  # of one side, in memory: some 500 MB
DIFFERENCES_MAX = 1_000  # that are told; further ones are counted
TOLD_EVERY = 2_000  # messages between two words of progress

Event = dict[str, Any]
Key = tuple[str, str, int, int]  # subject, symbol, event time, which of these
Progress = Callable[[int, int], None]


class ReplayError(RuntimeError):
    """It cannot be replayed; the text says why and what to do."""


@dataclass(frozen=True)
class Asked:
    """A function, event times from and before which it is compared, and a folder to keep what it says in."""

    name: str
    from_ns: int
    to_ns: int
    sandbox: Path | None = None


@dataclass
class Replayed:
    """What a replay found; `before` is what it was compared with, `notes` say what is left out."""

    function: str
    version: str
    before: str = "live"
    messages: int = 0
    said: dict[str, int] = field(default_factory=dict)
    compared: tuple[int, int] = (0, 0)  # events before, events of the replay
    differ: int = 0
    differences: list[Event] = field(default_factory=list)
    dead: int = 0
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_same(self) -> bool:
        """Whether it says what was said before, and nothing was set aside."""
        return not self.differ and not self.dead


async def replay(
    bus: Bus, subjects: Subjects, plan: Plan, asked: Asked, progress: Progress
) -> Replayed:
    """Replay and compare; raises ReplayError."""
    try:
        hosted, chain = part_of(plan, asked.name)
    except TryoutError as error:
        raise ReplayError(str(error)) from error
    found = Replayed(asked.name, hosted.version)
    run = _Run(bus, subjects, hosted, chain, asked, found)
    await run.through(progress)
    if not asked.sandbox:
        await _against_live(run)
        return found
    kept = _kept(asked.sandbox)
    _keep(asked.sandbox, run)
    if kept is None:
        found.before = "sandbox"
        found.notes.append("nothing was kept before: change the code and replay again to compare")
    else:
        _against_kept(run, *kept)
    return found


class _Run:
    """The chains of all partitions, and what the function said in them."""

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        hosted: Hosted,
        chain: ChainPlan,
        asked: Asked,
        found: Replayed,
    ) -> None:
        self.bus, self.subjects, self.hosted, self.plan = bus, subjects, hosted, chain
        self.asked, self.found = asked, found
        self.events: list[Event] = []
        self.from_ns = asked.from_ns
        self.first = self.last = 0
        self._began_ns = 0
        self._chains: dict[int | None, Chain] = {}

    async def through(self, progress: Progress) -> None:
        """Run what the stream has, until every partition is past the range."""
        state = await self.bus.stream_state(self.plan.stream)
        if not state.messages:
            raise ReplayError(
                f"{self.plan.stream} holds nothing to replay; is this the right NATS?"
            )
        self.first, self.last = state.first, state.last
        for partition in self.plan.partitions:
            chain = Chain(self.plan, self.subjects, partition, is_published=False)
            if state.first > 1:
                unit = f"replay.{partition}"
                await rebuild(self.bus, self.subjects, chain, state.first - 1, lambda: True, unit)
            self._chains[partition] = chain
        wires = [
            one for p in self.plan.partitions for one in self.plan.wire_inputs(self.subjects, p)
        ]
        reading = self.bus.read_to(self.plan.stream, list(dict.fromkeys(wires)), 1, self.last)
        async with aclosing(reading):  # type: ignore[type-var]
            async for message in reading:
                self._take(message)
                if self.found.messages % TOLD_EVERY == 0:
                    progress(message.sequence - self.first, self.last - self.first + 1)
                if all(one.clock_ns > self.asked.to_ns for one in self._chains.values()):
                    break
        progress(self.last - self.first + 1, self.last - self.first + 1)
        if state.first > 1:
            self._warm()

    def _warm(self) -> None:
        self.from_ns = max(self.from_ns, self._began_ns + WARM_NS)
        self.found.notes.append(
            f"{self.plan.stream} begins at message {self.first:,}, {rfc3339(self._began_ns)}: what came before is "
            f"not known; events from {rfc3339(self.from_ns)} on are compared"
        )

    def _take(self, message: Message) -> None:
        self.found.messages += 1
        token = message.subject.rpartition(".")[2]
        chain = self._chains.get(int(token) if token.isdigit() else None) or self._chains.get(None)
        if chain is None:
            return
        for output in chain.run(message.sequence, message.subject, message.data, message.ts_ns):
            self._note(message.sequence, output)
        self._began_ns = self._began_ns or chain.clock_ns

    def _note(self, sequence: int, output: Output) -> None:
        if output.base == DEAD:
            letter = msgpack.unpackb(output.data)
            self.found.dead += 1
            told = f"{letter['function']}: {letter['reason']}"
            if told not in self.found.reasons and len(self.found.reasons) < 10:
                self.found.reasons.append(told)
        elif output.frame is not None and output.frame.source == self.hosted.name:
            self.found.said[output.base] = self.found.said.get(output.base, 0) + len(output.frame)
            self.events += self.within(_told(output.base, output.frame, sequence))
            _check_number(len(self.events))

    def within(self, events: Iterable[Event]) -> Iterator[Event]:
        """Those in the range of event times; events without a time are."""
        for one in events:
            if "ts_ns" not in one or self.asked.from_ns <= one["ts_ns"] < self.asked.to_ns:
                yield one


def _told(base: str, frame: Frame, sequence: int) -> Iterator[Event]:
    for one in events_of(frame):
        yield {"subject": base, "input": sequence, **one}


def _check_number(events: int) -> None:
    if events > EVENTS_MAX:
        raise ReplayError(
            f"more than {EVENTS_MAX:,} events are said; ask for less with --from and --to"
        )


# -- what was said before


async def _against_live(run: _Run) -> None:
    """Compare with what the deployment said of inputs that it has answered for certain."""
    answered: dict[str, int] = {}
    for partition in run.plan.partitions:
        ending = "all" if partition is None else str(partition)
        state = await run.bus.consumer_state(run.plan.stream, f"{run.plan.name}-{ending}")
        answered[ending] = min(state.acknowledged, run.last) if state else 0
    if not any(answered.values()):
        raise ReplayError(
            f"{run.plan.name} was never hosted here: there is nothing to compare with; "
            "keep what is said with --sandbox, change the code, and replay again"
        )
    live = [one for base in run.hosted.writes async for one in _live(run, base, answered)]
    is_answered = _answered_by(run.subjects, answered)
    replayed = [one for one in run.events if is_answered(one)]
    cores = [base for base in run.hosted.writes if run.subjects.subjects[base].core]
    if cores:
        run.found.notes.append(f"{', '.join(cores)}: no stream keeps what was said; left out")
    replayed = [one for one in replayed if one["subject"] not in cores]
    _compare(run, live, replayed)


async def _live(run: _Run, base: str, answered: dict[str, int]) -> Any:
    stream = run.subjects.subjects[base].stream
    if stream is None:
        return
    wires = run.subjects.outputs(base, None)
    newest = await run.bus.newest(stream, wires)
    if not newest:
        return
    last, number = max(one.sequence for one in newest.values()), 0
    reading = run.bus.read_to(stream, wires, 1, last)
    async with aclosing(reading):  # type: ignore[type-var]
        async for message in reading:
            position = position_of(message)
            if position is None or not run.first <= position[0]:
                continue
            try:
                frame = decode(message.data, run.subjects.record_of(base))
            except BadFrame:
                continue  # published by hand
            if frame.source != run.hosted.name:
                continue
            is_answered = _answered_by(run.subjects, answered)
            for one in run.within(_told(base, frame, position[0])):
                if is_answered(one):
                    number += 1
                    _check_number(number)
                    yield one


def _answered_by(subjects: Subjects, answered: dict[str, int]) -> Callable[[Event], bool]:
    """Whether the input of an event was answered for certain by the owner of its partition."""

    def is_answered(one: Event) -> bool:
        ending = "all"
        if ending not in answered:
            ending = (
                str(partition_of(one["symbol"], subjects.partitions)) if "symbol" in one else "0"
            )
        return bool(one["input"] <= answered.get(ending, 0))

    return is_answered


def _kept(folder: Path) -> tuple[dict[str, Any], list[Event]] | None:
    """What the replay before said, and about what; None where there was none."""
    about = folder / "about.json"
    if not about.exists():
        return None
    try:
        told = json.loads(about.read_text(encoding="utf-8"))
        lines = (folder / "said.jsonl").read_text(encoding="utf-8").splitlines()
        return told, [json.loads(one) for one in lines]
    except (OSError, ValueError) as error:
        raise ReplayError(f"{folder}: cannot be read ({error}); remove it to begin anew") from error


def _keep(folder: Path, run: _Run) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.json").unlink(missing_ok=True)  # until all of it is written there is nothing
    text = "".join(f"{json.dumps(one)}\n" for one in run.events)
    (folder / "said.jsonl").write_text(text, encoding="utf-8")
    about = {"version": run.hosted.version, "first": run.first, "last": run.last}
    about |= {"from_ns": run.asked.from_ns, "to_ns": run.asked.to_ns}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _against_kept(run: _Run, about: dict[str, Any], before: list[Event]) -> None:
    """Compare with the replay before, of the inputs and times that both have."""
    run.found.before = f"sandbox {about['version']}"
    first, last = max(run.first, about["first"]), min(run.last, about["last"])
    from_ns, to_ns = max(run.from_ns, about["from_ns"]), min(run.asked.to_ns, about["to_ns"])

    def is_in_both(one: Event) -> bool:
        is_then = "ts_ns" not in one or from_ns <= one["ts_ns"] < to_ns
        return bool(is_then and first <= one["input"] <= last)

    _compare(run, list(filter(is_in_both, before)), list(filter(is_in_both, run.events)))


# -- comparing


def _compare(run: _Run, before: list[Event], after: list[Event]) -> None:
    found = run.found
    before = [one for one in before if one.get("ts_ns", run.from_ns) >= run.from_ns]
    after = [one for one in after if one.get("ts_ns", run.from_ns) >= run.from_ns]
    found.compared = (len(before), len(after))
    left, right = _keyed(before), _keyed(after)
    for key in sorted(left.keys() | right.keys(), key=lambda one: (one[2], one[1], one[0], one[3])):
        what = _difference(left.get(key), right.get(key))
        if what:
            found.differ += 1
            if len(found.differences) < DIFFERENCES_MAX:
                event = left.get(key) or right[key]
                found.differences.append({**event, "difference": what})


def _keyed(events: list[Event]) -> dict[Key, Event]:
    numbers: Counter[tuple[str, str, int]] = Counter()
    found: dict[Key, Event] = {}
    for one in events:
        place = (one["subject"], str(one.get("symbol", "")), one.get("ts_ns", 0))
        found[(*place, numbers[place])] = one
        numbers[place] += 1
    return found


def _difference(before: Event | None, after: Event | None) -> str:
    """What differs, empty where nothing does; the input may be cut elsewhere."""
    if before is None or after is None:
        return "new" if before is None else "gone"
    names = [name for name in dict.fromkeys([*before, *after]) if name != "input"]
    return "; ".join(
        f"{name}: {shown(before.get(name))} -> {shown(after.get(name))}"
        for name in names
        if not _equal(before.get(name), after.get(name))
    )


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))  # NaN is equal to NaN here


def lines(found: Replayed, show: int) -> Iterator[str]:
    """The result for people: what was said, the count, and the first differences."""
    said = ", ".join(f"{count:,} on {base}" for base, count in found.said.items()) or "nothing"
    yield f"{found.function} {found.version} over {found.messages:,} messages said {said}"
    before, after = found.compared
    yield f"{found.before} {before:,} / replay {after:,} / differ {found.differ:,}"
    for one in found.differences[:show]:
        rest = {key: value for key, value in one.items() if key not in ("input", "difference")}
        is_whole = one["difference"] in ("new", "gone")
        head = (
            line(rest)
            if is_whole
            else line({k: rest[k] for k in ("symbol", "ts_ns", "subject") if k in rest})
        )
        yield f"  {'+' if one['difference'] == 'new' else '-' if is_whole else '~'} {head}" + (
            "" if is_whole else f"  {one['difference']}"
        )
    left = found.differ - min(show, len(found.differences))
    if left > 0 and show:
        yield f"  ... {left:,} more"
    if found.dead:
        yield f"{found.dead} frames set aside"
    yield from (f"  {one}" for one in found.reasons)
    yield from (f"note: {one}" for one in found.notes)
