"""What every function promises, tried on its own events: any cut, any crash, any run says the same.

    any_cut(breakout, events=[("ticks.trades", frame), ("ticks.clock", clock)])

`events` are (base subject, frame or table of text or columns) in the order of their stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from runtime.contract import Declaration
from runtime.frames import Frame
from runtime.loader import CLOCK, ChainPlan
from runtime.subjects import Subjects
from runtime.testing.golden import events_of
from runtime.testing.harness import Harness, frame_of

Event = tuple[str, Any]
Said = dict[str, list[str]]  # subject -> every event, as text
Check = Callable[[ChainPlan, Subjects, Sequence[tuple[str, Frame]], Said], None]
CUTS = (1, 3)  # events a frame, beside whole frames


class Broken(AssertionError):
    """A promise that a function does not keep."""


def any_cut(*functions: Declaration, events: Iterable[Event], **options: Any) -> None:
    """Fail where the answer depends on where the stream was cut into frames."""
    _checked(check_cuts, Harness(*functions, **options), events)


def any_crash(*functions: Declaration, events: Iterable[Event], **options: Any) -> None:
    """Fail where a crash changes an answer: one after every frame, with and without a save before it."""
    _checked(check_crashes, Harness(*functions, **options), events)


def said_twice(*functions: Declaration, events: Iterable[Event], **options: Any) -> None:
    """Fail where a second run of the same events says something else."""
    _checked(check_runs, Harness(*functions, **options), events)


def _checked(check: Check, harness: Harness, events: Iterable[Event]) -> None:
    framed = _framed(harness, events)
    calm = said(harness.plan, harness.subjects, framed)
    check(harness.plan, harness.subjects, framed, calm)


def _framed(harness: Harness, events: Iterable[Event]) -> list[tuple[str, Frame]]:
    return [(base, _frame(harness, base, given)) for base, given in events]


def _frame(harness: Harness, base: str, given: Any) -> Frame:
    table, columns = ("", given) if isinstance(given, dict) else (given, {})
    return frame_of(harness.subjects.record_of(base), table, columns)


# -- the same for a chain as the loader planned it; `calm` is what its first run said


def check_cuts(
    plan: ChainPlan, subjects: Subjects, events: Sequence[tuple[str, Frame]], calm: Said
) -> None:
    """As `any_cut`."""
    for width in CUTS:
        found = said(plan, subjects, _cut(events, width))
        _compare(calm, found, f"whole frames and frames of {width}")


def check_crashes(
    plan: ChainPlan, subjects: Subjects, events: Sequence[tuple[str, Frame]], calm: Said
) -> None:
    """As `any_crash`."""

    def crash(harness: Harness, number: int) -> None:
        if number % 2:
            harness.save()
        harness.crash()

    _compare(calm, said(plan, subjects, events, crash), "a calm run and one with crashes")


def check_runs(
    plan: ChainPlan, subjects: Subjects, events: Sequence[tuple[str, Frame]], calm: Said
) -> None:
    """As `said_twice`."""
    _compare(calm, said(plan, subjects, events), "one run and the next")


def said(
    plan: ChainPlan,
    subjects: Subjects,
    events: Iterable[tuple[str, Frame]],
    after: Callable[[Harness, int], None] | None = None,
) -> Said:
    """What a chain says of events, in a harness of its own; `after` is called after each frame."""
    harness, told = Harness.of_plan(plan, subjects), Said()
    for number, (base, frame) in enumerate(events):
        for written, answer in harness.send(base, _by_appearance(frame)).items():
            told.setdefault(written, []).extend(map(repr, events_of(answer)))
        if after is not None:
            after(harness, number)
    return told


def _by_appearance(frame: Frame) -> Frame:
    """The events with symbols in the order in which they come: so they get their rows, however cut."""
    if frame.symbols is None or frame.index is None:
        return frame
    used, first, index = np.unique(frame.index, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    symbols = [frame.symbols[one] for one in used[order]]
    return Frame(dict(frame.columns), symbols, place[index], frame.source)


def _cut(events: Iterable[tuple[str, Frame]], width: int) -> Iterator[tuple[str, Frame]]:
    for base, frame in events:
        step = 1 if base == CLOCK else width
        for start in range(0, len(frame), step):
            yield base, frame[start : start + step]


def _compare(expected: Said, found: Said, what: str) -> None:
    for base in sorted(expected.keys() | found.keys()):
        left, right = expected.get(base, []), found.get(base, [])
        if left == right:
            continue
        pairs = enumerate(zip(left, right, strict=False))
        place = next((k for k, (a, b) in pairs if a != b), min(len(left), len(right)))
        raise Broken(
            f"{what} differ on {base}, {len(left)} events against {len(right)}, first at event "
            f"{place + 1}: {_at(left, place)} against {_at(right, place)}"
        )


def _at(events: Sequence[str], place: int) -> str:
    return events[place] if place < len(events) else "nothing"
