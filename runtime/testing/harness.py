"""Run functions on events without a server or a sleep: one partition, and its end at any moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from runtime.chain import Chain, Output
from runtime.contract import Declaration
from runtime.frames import Frame, concatenate, encode_parts
from runtime.loader import CLOCK, ChainPlan, Hosted, hosted_of, plan_functions
from runtime.snapshots import Snapshot
from runtime.state import Table
from runtime.subjects import ChainPlace, Record, Subjects, load_subjects
from runtime.testing.literals import columns_of

SUBJECTS_FILE = Path(__file__).parent.parent.parent / "subjects.yaml"
SECOND_NS = 1_000_000_000
KEPT_MAX = 1_000  # inputs that a crash redelivers; with more the state is saved, as an owner does


class Harness:
    """A chain of functions in one partition, fed with literal columns or a table of text.

        h = Harness(breakout)
        out = h.send("ticks.trades", symbol=["A"], ts_ns=[1], price=[10.0], size=[100.0])
        out["alerts"]["price"]

    A function that raises fails the test: `dead` collects what a chain would set aside.
    """

    def __init__(
        self,
        *functions: Declaration,
        settings: dict[str, dict[str, Any]] | None = None,
        subjects: Subjects | None = None,
        expect_dead: bool = False,
    ) -> None:
        subjects = subjects or load_subjects(SUBJECTS_FILE)
        hosted = [hosted_of(one, (settings or {}).get(one.name)) for one in functions]
        plan = plan_functions(hosted, subjects, [])
        if (
            len(plan.chains) > 1
        ):  # what ties them together is not among them, as the scanner's alerts
            plan = plan_functions(hosted, _together(plan.chains[0], hosted, subjects), [])
        if plan.faults:
            raise AssertionError("\n".join(map(str, plan.faults)))
        if len(plan.chains) != 1:
            found = [chain.name for chain in plan.chains]
            raise AssertionError(f"expected one chain, found {found}")
        self._begin(plan.chains[0], subjects, expect_dead)

    @classmethod
    def of_plan(cls, plan: ChainPlan, subjects: Subjects, expect_dead: bool = False) -> Harness:
        """A harness of a chain as the loader planned it."""
        harness = cls.__new__(cls)
        harness._begin(plan, subjects, expect_dead)
        return harness

    def _begin(self, plan: ChainPlan, subjects: Subjects, expect_dead: bool) -> None:
        self.plan, self.subjects, self.expect_dead = plan, subjects, expect_dead
        self.partition = plan.partitions[0]
        self.chain = self._chain()
        self.dead: list[Output] = []
        self.position = 0
        self._saved: Snapshot | None = None
        self._since: list[tuple[int, str, bytes, list[Output]]] = []  # inputs after what is saved

    def _chain(self) -> Chain:
        return Chain(self.plan, self.subjects, self.partition)

    # -- events

    def send(
        self, base: str, table: str | Frame = "", **columns: Sequence[Any]
    ) -> dict[str, Frame]:
        """Publish one frame, of columns or of a table of text; the rows written, by subject."""
        frame = frame_of(self.subjects.record_of(base), table, columns)
        outputs = []
        for data in encode_parts(frame, self.subjects.record_of(base)):
            outputs += self.publish(base, data)
        return self._collected(outputs)

    def frame(self, base: str, **columns: Sequence[Any]) -> Frame:
        """A frame of literal columns; `symbol` is the symbol of each row."""
        return frame_of(self.subjects.record_of(base), "", columns)

    def publish(self, base: str, data: bytes) -> list[Output]:
        """Feed one encoded message at the next position."""
        if len(self._since) == KEPT_MAX:
            self.save()
        self.position += 1
        outputs = self._run(self.position, base, data)
        self._since.append((self.position, base, data, outputs))
        dead = [output for output in outputs if output.base == "dead"]
        self.dead += dead
        if dead and not self.expect_dead:
            letter = msgpack.unpackb(dead[0].data)
            raise AssertionError("{function}: {reason}\n{trace}".format(**letter))
        return outputs

    def _run(self, position: int, base: str, data: bytes) -> list[Output]:
        return self.chain.run(position, self.subjects.wire(base, self.partition or 0), data)

    # -- time

    def clock(self, ts_ns: int) -> dict[str, Frame]:
        """Advance event time to `ts_ns`, in one clock event."""
        return self.send(CLOCK, ts_ns=[ts_ns])

    def advance(self, seconds: int) -> dict[str, Frame]:
        """Advance event time second by second, as a feed does; everything said on the way."""
        before = self.chain.clock_ns
        if not before:
            raise AssertionError("there is no time yet: begin with clock(ts_ns)")
        outputs = []
        for second in range(1, seconds + 1):
            frame = Frame({"ts_ns": np.array([before + second * SECOND_NS])}, source="test")
            for data in encode_parts(frame, self.subjects.record_of(CLOCK)):
                outputs += self.publish(CLOCK, data)
        return self._collected(outputs)

    # -- state, and losing it

    def state(self, function: str) -> Table:
        """The state table of a function."""
        return self.chain.table(function)

    def save(self) -> None:
        """Save the state, as an owner does from time to time; a crash comes back to here."""
        self._saved = self.chain.snapshot()
        self._since = []

    def crash(self) -> None:
        """Lose the process and come back from what was saved last: every input since is redelivered.

        What is said of them must be what was said, byte for byte, for that is how a new owner knows what
        to leave out. Raises AssertionError where it is not.
        """
        self.chain = self._chain()
        if self._saved is not None:
            self.chain.restore(self._saved.meta, {self._saved.blob_id: self._saved.blob})
        for position, base, data, before in self._since:
            again = self._run(position, base, data)
            _check_same(position, base, before, again)

    def crash_and_restore(self) -> None:
        """Lose the process and come back from a snapshot of the present state."""
        self.save()
        self.crash()

    def _collected(self, outputs: list[Output]) -> dict[str, Frame]:
        by_base: dict[str, list[Frame]] = {}
        for output in outputs:
            if output.frame is not None:  # a frame in several messages counts once
                frames = by_base.setdefault(output.base, [])
                if not frames or frames[-1] is not output.frame:
                    frames.append(output.frame)
        return {
            base: concatenate(frames, self.subjects.record_of(base))
            for base, frames in by_base.items()
        }


def _together(chain: ChainPlan, hosted: Sequence[Hosted], subjects: Subjects) -> Subjects:
    """The wire with a place for functions that are to be hosted together."""
    place = ChainPlace(input=chain.stream, functions=[one.name for one in hosted])
    return subjects.model_copy(update={"chains": {chain.name: place}})


def frame_of(record: Record, table: str | Frame, columns: Mapping[str, Sequence[Any]]) -> Frame:
    """A frame of a table of text, or of literal columns; `symbol` is the symbol of each row."""
    if isinstance(table, Frame):
        return table
    given = dict(columns_of(table) if table else columns)
    symbols = [str(symbol) for symbol in given.pop("symbol", [])]
    unknown = [name for name in given if name not in record.columns]
    if unknown:
        known = ", ".join(["symbol", *record.columns])
        raise AssertionError(f"{record.name} has no column {', '.join(unknown)}; it has {known}")
    arrays = {name: _array(values, record.columns[name].type) for name, values in given.items()}
    if not symbols:
        return Frame(arrays, source="test")
    names = list(dict.fromkeys(symbols))
    index = np.array([names.index(symbol) for symbol in symbols], dtype=np.int64)
    return Frame(arrays, names, index, source="test")


def _array(values: Sequence[Any], kind: str) -> Any:
    return np.asarray(values, dtype=object if kind == "text" else kind)


def _check_same(position: int, base: str, before: list[Output], again: list[Output]) -> None:
    if [(one.subject, one.data) for one in before] == [(one.subject, one.data) for one in again]:
        return
    raise AssertionError(
        f"input {position} ({base}) is answered otherwise after a crash: {_told(before)} before, "
        f"{_told(again)} again; an answer may rest on nothing but the frame, the state and the clock"
    )


def _told(outputs: list[Output]) -> str:
    subjects = [one.subject for one in outputs]
    events = sum(len(one.frame) for one in outputs if one.frame is not None)
    return f"{events} events on {', '.join(dict.fromkeys(subjects)) or 'no subject'}"
