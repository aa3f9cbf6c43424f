"""Why a rule does not fire: the live scanner is asked, or a private one after a replay of files or of MARKET."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.backtest import BacktestError, run_backtest
from runtime.bus import Bus, Message
from runtime.chain import Chain, Output
from runtime.frames import BadFrame, Frame, decode, encode, texts
from runtime.loader import CLOCK, ChainPlan, Plan
from runtime.rebuild import rebuild
from runtime.subjects import Subjects, partition_of

ASK, ANSWERS, CONTROL, MARKET, RULES = "ask.why", "why.values", "control", "MARKET", "rules"
CUT = ("ticks.trades", "ticks.quotes", "ticks.status", "ticks.corrections")  # events by time
ANSWER_S = 2.0
SECOND_NS = 1_000_000_000
ANY_VERSION = 1 << 62  # of rules that stand in for all that were recorded
TIME = re.compile(r"until (\d{16,19})")

Progress = Callable[[int, int], None]


class WhyError(RuntimeError):
    """The question cannot be answered; the text says why."""


@dataclass(frozen=True)
class Question:
    """A rule (id or name), a symbol, and an event time; 0 = the newest. `names`: metrics in place of a rule."""

    rule: str
    symbol: str
    at_ns: int = 0
    names: str = ""

    def frame(self, identity: str) -> Frame:
        """The question as it is published."""
        columns: dict[str, Any] = {"ts_ns": np.array([self.at_ns])}
        told = {"rule": self.rule, "about": self.symbol, "id": identity}
        told |= {"names": self.names} if self.names else {}
        return Frame(columns | {name: texts([text]) for name, text in told.items()}, source="why")


def control_of(body: str, version: int = 1) -> Frame:
    """A rule set as the gateway sends it."""
    return Frame({"version": np.array([version]), "body": texts([body])}, source="why")


# -- now


async def ask_live(bus: Bus, subjects: Subjects, question: Question) -> dict[str, Any]:
    """What the worker that owns the symbol answers; raises WhyError after two seconds."""
    identity = str(uuid.uuid4())
    partition = partition_of(question.symbol, subjects.partitions)
    found: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def heard(message: Message) -> None:
        frame = decode(message.data, subjects.record_of(ANSWERS))
        for one, body in zip(frame["id"].tolist(), frame["body"].tolist(), strict=True):
            if one == identity and not found.done():
                found.set_result(json.loads(body))

    listener = await bus.listen(subjects.wire(ANSWERS, partition), heard)
    data = encode(question.frame(identity), subjects.record_of(ASK))
    try:
        await bus.put(subjects.wire(ASK, partition), data)
        async with asyncio.timeout(ANSWER_S):
            told = await found
    except TimeoutError:
        raise WhyError(
            f"no worker answered for partition {partition} within {ANSWER_S:g} s: none runs, or it is "
            "far behind; see jetscan lag"
        ) from None
    finally:
        await listener.stop()
    is_of_rule = "fault" in told and question.rule
    return await _with_stored(bus, question, told) if is_of_rule else told


async def _with_stored(bus: Bus, question: Question, told: dict[str, Any]) -> dict[str, Any]:
    """An answer with what the bucket knows of a rule that does not run."""
    for key, rule in (await _stored(bus)).items():
        is_meant = question.rule in (key, rule.get("name"))
        if is_meant and not rule.get("enabled", True):
            return {**told, "fault": f"rule {key} is disabled"}
    return told


async def _stored(bus: Bus) -> dict[str, dict[str, Any]]:
    found = {}
    for key, entry in (await bus.kv(RULES).all()).items():
        with contextlib.suppress(ValueError):
            found[key] = json.loads(entry.value)
    return {key: rule for key, rule in found.items() if isinstance(rule, dict)}


# -- from files


def from_files(
    plan: Plan,
    subjects: Subjects,
    question: Question,
    events: Iterable[tuple[str, Frame]],
    rules: str,
) -> dict[str, Any]:
    """The answer after events (base subject, frame) of files up to the time; raises WhyError."""
    _market(plan)
    try:
        result = run_backtest(plan, subjects, _asking(events, question), rules)
    except BacktestError as error:
        raise WhyError(str(error)) from error
    said = result.frames.get(ANSWERS)
    if not said:
        dead = (
            result.dead[-1] if result.dead else {"function": "", "reason": "no function answered"}
        )
        raise WhyError(f"{dead['function']}: {dead['reason']}")
    found: dict[str, Any] = json.loads(said[-1]["body"][0])
    return found


def _asking(events: Iterable[tuple[str, Frame]], question: Question) -> Iterator[tuple[str, Frame]]:
    """Events up to the time asked about, the second it lies in, the question."""
    clock_ns = 0
    for base, frame in events:
        part, is_over = _until(base, frame, question.at_ns)
        if part is not None:
            clock_ns = int(part["ts_ns"][-1]) if base == CLOCK else clock_ns
            yield base, part
        if is_over:
            break
    second_ns = question.at_ns // SECOND_NS * SECOND_NS
    if second_ns > clock_ns:
        yield CLOCK, Frame({"ts_ns": np.array([second_ns])}, source="why")
    yield ASK, question.frame("files")


def _until(base: str, frame: Frame, at_ns: int) -> tuple[Frame | None, bool]:
    """The events of a frame up to a time (0 = all of them), and whether a clock went beyond it."""
    if not at_ns or base not in (*CUT, CLOCK):
        return frame, False
    keep = frame["ts_ns"] <= at_ns
    if keep.all():
        return frame, False
    return (frame[keep] if keep.any() else None), base == CLOCK


def _market(plan: Plan) -> ChainPlan:
    for chain in plan.chains:
        if ASK in chain.inputs:
            return chain
    raise WhyError(f"no function reads {ASK}; see jetscan functions")


# -- from the recorded stream


async def from_stream(
    bus: Bus,
    subjects: Subjects,
    plan: Plan,
    question: Question,
    rules: str,
    progress: Progress,
) -> dict[str, Any]:
    """The answer of a private chain that read MARKET up to the time, rule changes where they happened.

    rules   a control body in place of all recorded ones; "" = those. Raises WhyError. What no longer
    can be known is told in `notes`.
    """
    replay = _Replay(subjects, _market(plan), question)
    began = await _begin(bus, replay, rules)
    end = max(
        (one.sequence for one in (await bus.newest(MARKET, replay.wanted)).values()), default=0
    )
    async with aclosing(_recorded(bus, replay, end)) as messages:
        async for message in messages:
            if replay.count % 1000 == 0:
                progress(message.sequence - began, end - began)
            if replay.take(message):
                break
    progress(end - began, end - began)
    return replay.answer()


async def _begin(bus: Bus, replay: _Replay, rules: str) -> int:
    """Bring a chain to where the stream begins, as an owner without a snapshot does: its first sequence."""
    state = await bus.stream_state(MARKET)
    if state.first > 1:
        replay.notes.append("older events are gone from MARKET: values are rebuilt from bars")
        chain, unit = replay.chain, f"why.{replay.chain.partition}"
        await rebuild(bus, replay.subjects, chain, state.first - 1, lambda: True, unit)
    if rules:
        replay.run(CONTROL, control_of(rules, ANY_VERSION))
        return state.first
    wire = replay.subjects.wire(CONTROL, replay.chain.partition)
    first = await bus.newest(MARKET, [wire])
    if not first:
        stored = (await _stored(bus)).values()
        body = json.dumps({"rules": [one for one in stored if one.get("enabled", True)]})
        replay.run(CONTROL, control_of(body))
        replay.notes.append("no rule change is left in MARKET: the rules of now were asked")
    elif state.first > 1:
        replay.notes.append("rules are known from the first change that is left in MARKET")
    return state.first


async def _recorded(bus: Bus, replay: _Replay, end: int) -> AsyncGenerator[Message]:
    """The messages of the symbol's partition up to the one that is the newest now."""
    async with aclosing(bus.read_to(MARKET, replay.wanted, 1, end)) as messages:  # type: ignore[type-var]
        async for message in messages:
            yield message


class _Replay:
    """A private chain of one partition, fed with what was recorded up to a time."""

    def __init__(self, subjects: Subjects, plan: ChainPlan, question: Question) -> None:
        partition = partition_of(question.symbol, subjects.partitions)
        self.subjects, self.question = subjects, question
        self.chain = Chain(plan, subjects, partition, is_published=False)
        self.wanted = subjects.input_subjects(MARKET, list(plan.inputs), partition)
        self.notes: list[str] = []
        self.count = 0
        self._first_ns = self._newest_ns = 0

    def take(self, message: Message) -> bool:
        """Run a message as far as it lies before the time; True = the time is reached."""
        self.count += 1
        if message.subject.startswith("redrive."):
            self.chain.run(message.sequence, message.subject, message.data)
            return False
        try:
            base, _, symbol = self.subjects.base_of(message.subject)
            now_ns = self.chain.clock_ns or message.ts_ns
            frame = decode(message.data, self.subjects.record_of(base), symbol, now_ns)
        except (KeyError, BadFrame):
            return False  # a dead letter of the live run
        if base == ASK:
            return False
        self._note_times(base, frame)
        part, is_over = _until(base, frame, self.question.at_ns)
        if part is not None:
            self.run(base, part)
        return is_over

    def _note_times(self, base: str, frame: Frame) -> None:
        if base in (*CUT, CLOCK):
            self._first_ns = self._first_ns or int(frame["ts_ns"][0])
            self._newest_ns = max(self._newest_ns, int(frame["ts_ns"].max()))
            if 0 < self.question.at_ns < self._first_ns:
                raise WhyError(
                    f"MARKET no longer reaches back to {said_time(self.question.at_ns)}: it begins at "
                    f"{said_time(self._first_ns)}; ask files with --trades"
                )

    def run(self, base: str, frame: Frame) -> list[Output]:
        return self.chain.run_frame(base, frame)

    def answer(self) -> dict[str, Any]:
        """What the chain answers now."""
        at_ns = self.question.at_ns
        if not self._newest_ns:
            raise WhyError("MARKET holds no event of the symbol's partition")
        if at_ns - self._newest_ns > SECOND_NS:
            raise WhyError(
                f"MARKET is not yet at {said_time(at_ns)}: it ends at {said_time(self._newest_ns)}; "
                "leave --at out for the newest"
            )
        for output in self.run(ASK, self.question.frame("stream")):
            if output.base == ANSWERS and output.frame is not None:
                told: dict[str, Any] = json.loads(output.frame["body"][0])
                return told | ({"notes": self.notes} if self.notes else {})
        raise WhyError("no function answered; see jetscan dead list")


# -- for people


def said_time(ts_ns: int) -> str:
    """An event time in UTC, to the second where it is whole."""
    text = str(np.datetime64(ts_ns, "ns")).replace("T", " ")
    return (text[:-10] if text.endswith(".000000000") else text.rstrip("0")) + " UTC"


def lines(told: dict[str, Any]) -> Iterator[str]:
    """An answer for people: the rule, the verdict, a line per leaf and per condition that remembers."""
    if "fault" in told:
        yield str(told["fault"])
    else:
        yield f"{told['rule']} ({told['name']}): {told['text']}"
        yield str(told["english"])
        yield f"{told['symbol']} at {said_time(told['ts_ns'])}: {_verdict(told)}"
        yield from _table([_leaf(one) for one in told["leaves"]])
        yield from _table([_condition(one) for one in told["conditions"]])
    yield from (f"note: {note}" for note in told.get("notes", ()))


def _verdict(told: dict[str, Any]) -> str:
    words, reasons = str(told["verdict"]), [_readable(one) for one in told["why"]]
    if told["verdict"] == "would fire":
        return words
    if told["since_ns"]:
        return f"true since {said_time(told['since_ns'])}, fired then"
    if told["verdict"] in ("true", "silent"):
        words = "true"
    reasons = [one for one in reasons if one not in ("not true", words)]
    if told["fired_ns"]:
        reasons.append(f"fired last at {said_time(told['fired_ns'])}")
    return ", ".join([words, *reasons])


def _readable(reason: str) -> str:
    return TIME.sub(lambda found: f"until {said_time(int(found[1]))}", reason)


def _leaf(leaf: dict[str, Any]) -> list[str]:
    margin = leaf["margin"]
    cells = [leaf["text"], f"value {_number(leaf['value'])}"]
    cells += [f"threshold {_number(leaf['threshold'])}"]
    cells += [f"margin {'-' if margin is None else f'{100 * margin:+.3g} %'}", _truth(leaf)]
    return [*cells, "; ".join(leaf["why"])]


def _condition(one: dict[str, Any]) -> list[str]:
    reached = f"reached {_number(one['value'])} of {one['threshold']:g}" if "value" in one else ""
    return [one["text"], reached, _truth(one), one["why"]]


def _truth(one: dict[str, Any]) -> str:
    return {True: "true", False: "false", None: "unknown"}[one["truth"]]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.8g}"


def _table(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield ("  " + "  ".join(cells)).rstrip()


def starter_rules(functions_dir: Path) -> Path | None:
    """The rules that come with the functions."""
    file = functions_dir / "rules" / "examples.json"
    return file if file.exists() else None
