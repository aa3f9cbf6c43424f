"""`jetscan test`: a function over recorded trades, and whether it keeps what every function promises.

It runs with those of its chain that write what it reads, and no others, in one partition and without a
server: the same handlers, state and clock as live.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from runtime.backtest_moments import one_clock_event_a_frame
from runtime.chain import Chain, Output
from runtime.developing.events import line
from runtime.frames import Frame
from runtime.loader import CLOCK, ChainPlan, Hosted, Plan
from runtime.shapes import rfc3339
from runtime.subjects import Subjects
from runtime.testing.checks import Check, Said, check_crashes, check_cuts, check_runs, said
from runtime.testing.golden import events_of

INPUT, TRADES, DEAD = "MARKET", "ticks.trades", "dead"
KEPT_MAX = 100_000  # events that are told; further ones are counted
REASONS_MAX = 10  # for which frames were set aside, that are told
CHECKS = (
    ("any cut into frames says the same", check_cuts),
    ("a crash after any frame says the same", check_crashes),
    ("a second run says the same", check_runs),
)

Event = tuple[str, Frame]


class TryoutError(RuntimeError):
    """The function cannot be tried like this; the text says why and what to do."""


@dataclass
class Tried:
    """What a function did.

    beside   the functions it was run with
    said     events by subject
    events   the first of them, as plain values with their subject
    dead     frames that were set aside
    reasons  why: function, reason, trace of the first, and how many
    checks   promise -> "", or how it was broken
    """

    function: str
    beside: list[str]
    trades: int = 0
    symbols: int = 0
    from_ns: int = 0
    to_ns: int = 0
    seconds: float = 0.0
    said: dict[str, int] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    dead: int = 0
    reasons: list[dict[str, Any]] = field(default_factory=list)
    checked_trades: int = 0
    checks: dict[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether no frame was set aside and every promise held."""
        return not self.dead and not any(self.checks.values())


def part_of(plan: Plan, name: str) -> tuple[Hosted, ChainPlan]:
    """A function, and the part of its chain that it needs; raises TryoutError."""
    hosted = next((one for one in plan.functions if one.name == name), None)
    if hosted is None:
        faults = "".join(f"\n{fault}" for fault in plan.faults)
        names = ", ".join(sorted(one.name for one in plan.functions))
        raise TryoutError(f"no function {name}; there are {names}{faults}")
    chain = plan.chain(name)
    if chain is None:
        raise TryoutError(
            f"{name} is a sink: it acts; deliver to it with runtime.testing.SinkHarness"
        )
    needed, wanted = {name}, [*hosted.reads]
    while wanted:
        base = wanted.pop()
        for one in chain.functions:
            if base in one.writes and one.name not in needed:
                needed.add(one.name)
                wanted += one.reads
    functions = tuple(one for one in chain.functions if one.name in needed)
    read = {base for one in functions for base in one.reads}
    inputs = tuple(base for base in chain.inputs if base in read or base == CLOCK)
    return hosted, replace(chain, functions=functions, inputs=inputs)


def tried(
    plan: Plan, subjects: Subjects, name: str, events: Iterable[Event], checked_trades: int
) -> Tried:
    """Run a function over events (base subject, frame) and check its promises on the first trades."""
    hosted, chain = part_of(plan, name)
    if chain.stream != INPUT:
        raise TryoutError(
            f"{name} reads {', '.join(hosted.reads)} of the stream {chain.stream}: trades alone do not "
            "feed it; send it literal events with runtime.testing.Harness"
        )
    found = Tried(name, [one.name for one in chain.functions if one.name != name])
    stream = _noted(one_clock_event_a_frame(events), found)
    first = list(_first(stream, found, checked_trades))
    checked = [(base, _bare(frame)) for base, frame in first if base in chain.inputs]
    calm, broken = _calm(chain, subjects, checked)
    _run(
        found, hosted, Chain(chain, subjects, 0, is_published=False), itertools.chain(first, stream)
    )
    if not found.trades:
        raise TryoutError("the files hold no trades")
    if checked_trades and not found.dead:
        found.checks = {
            promise: broken or _broken(check, chain, subjects, checked, calm)
            for promise, check in CHECKS
        }
    return found


def _calm(chain: ChainPlan, subjects: Subjects, events: list[Event]) -> tuple[Said, str]:
    """What the very first run says, before anything can be remembered of another; or what went wrong."""
    try:
        return said(chain, subjects, events), ""
    except AssertionError as error:  # the harness: a frame was set aside
        return {}, str(error)


def _broken(
    check: Check, chain: ChainPlan, subjects: Subjects, events: list[Event], calm: Said
) -> str:
    try:
        check(chain, subjects, events, calm)
    except AssertionError as error:  # the answer differs, or a frame was set aside
        return str(error)
    return ""


def _first(stream: Iterator[Event], found: Tried, trades: int) -> Iterator[Event]:
    """So many trades and what lies between them; no frame is cut."""
    while found.checked_trades < trades and (event := next(stream, None)) is not None:
        found.checked_trades += len(event[1]) if event[0] == TRADES else 0
        yield event


def _noted(events: Iterable[Event], found: Tried) -> Iterator[Event]:
    """The events, counted."""
    symbols: set[str] = set()
    for base, frame in events:
        if base == TRADES:
            found.trades += len(frame)
            symbols.update(frame.symbols or ())
            found.symbols = len(symbols)
            found.from_ns = found.from_ns or int(frame["ts_ns"][0])
            found.to_ns = int(frame["ts_ns"][-1])
        yield base, frame


def _bare(frame: Frame) -> Frame:
    """The frame without the rows of another chain."""
    return Frame(dict(frame.columns), frame.symbols, frame.index, frame.source)


def _run(found: Tried, hosted: Hosted, chain: Chain, events: Iterable[Event]) -> None:
    for base, frame in events:
        if base not in chain.plan.inputs:
            continue
        began = time.perf_counter()
        outputs = chain.run_frame(base, frame)
        found.seconds += time.perf_counter() - began
        for output in outputs:
            _note(found, hosted, output)


def _note(found: Tried, hosted: Hosted, output: Output) -> None:
    if output.base == DEAD:
        found.dead += 1
        _note_dead(found, msgpack.unpackb(output.data))
    elif output.frame is not None and output.frame.source == hosted.name:
        found.said[output.base] = found.said.get(output.base, 0) + len(output.frame)
        if len(found.events) < KEPT_MAX:
            found.events += [{"subject": output.base, **one} for one in events_of(output.frame)]


def _note_dead(found: Tried, letter: dict[str, Any]) -> None:
    told = {key: letter[key] for key in ("function", "reason", "trace")}
    for one in found.reasons:
        if (one["function"], one["reason"]) == (told["function"], told["reason"]):
            one["frames"] += 1
            return
    if len(found.reasons) < REASONS_MAX:
        found.reasons.append({**told, "frames": 1})


# -- for people


def lines(found: Tried, show: int) -> Iterator[str]:
    """What was tried, the first events that were said, and how the promises were kept."""
    beside = f" (with {', '.join(found.beside)})" if found.beside else ""
    span = f"{rfc3339(found.from_ns)[:19]}Z to {rfc3339(found.to_ns)[:19]}Z"
    yield f"{found.function}{beside} over {found.trades:,} trades of {found.symbols} symbols, {span}"
    rate = found.trades / found.seconds if found.seconds else 0.0
    said = ", ".join(f"{count:,} on {base}" for base, count in found.said.items()) or "nothing"
    yield f"said {said} in {found.seconds:.2f} s ({rate:,.0f} trades/s)"
    yield from (f"  {line(one)}" for one in found.events[:show])
    left = sum(found.said.values()) - show
    if show and left > 0:
        yield f"  ... {left:,} more"
    for promise, broken in found.checks.items():
        yield f"{'BROKEN' if broken else 'kept'}: {promise}" + (f": {broken}" if broken else "")
    if found.checks:
        yield f"checked on the first {found.checked_trades:,} trades"
    if found.dead:
        yield f"{found.dead} frames set aside; the promises were not checked"
    for one in found.reasons:
        yield f"{one['frames']} by {one['function']}: {one['reason']}"
        yield from (f"  {text}" for text in str(one["trace"]).rstrip().splitlines()[-6:])
