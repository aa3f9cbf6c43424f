"""Run functions on events without a server or a sleep: the harness their tests are written with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.chain import Chain, Output
from runtime.contract import Declaration
from runtime.frames import Frame, concatenate, encode_parts
from runtime.loader import CLOCK, ChainPlan, hosted_of, plan_functions
from runtime.state import Table
from runtime.subjects import Subjects, load_subjects

SUBJECTS_FILE = Path(__file__).parent.parent / "subjects.yaml"


class Harness:
    """A chain of functions in one partition, fed with literal columns.

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
        self.subjects = subjects or load_subjects(SUBJECTS_FILE)
        hosted = [hosted_of(one, (settings or {}).get(one.name)) for one in functions]
        plan = plan_functions(hosted, self.subjects, [])
        if plan.faults:
            raise AssertionError("\n".join(map(str, plan.faults)))
        if len(plan.chains) != 1:
            found = [chain.name for chain in plan.chains]
            raise AssertionError(f"expected one chain, found {found}")
        self.plan: ChainPlan = plan.chains[0]
        self.partition = self.plan.partitions[0]
        self.chain = self._chain()
        self.expect_dead = expect_dead
        self.dead: list[Output] = []
        self.position = 0

    def _chain(self) -> Chain:
        return Chain(self.plan, self.subjects, self.partition)

    def send(self, base: str, **columns: Sequence[Any]) -> dict[str, Frame]:
        """Publish one frame of literal columns; the rows written, by subject."""
        frame = self.frame(base, **columns)
        outputs = []
        for data in encode_parts(frame, self.subjects.record_of(base)):
            outputs += self.publish(base, data)
        return self._collected(outputs)

    def frame(self, base: str, **columns: Sequence[Any]) -> Frame:
        """A frame of literal columns; `symbol` is the symbol of each row."""
        symbols = [str(symbol) for symbol in columns.pop("symbol", [])]
        record = self.subjects.record_of(base)
        arrays = {
            name: np.asarray(
                values,
                dtype=object if record.columns[name].type == "text" else record.columns[name].type,
            )
            for name, values in columns.items()
        }
        if not symbols:
            return Frame(arrays, source="test")
        table = list(dict.fromkeys(symbols))
        index = np.array([table.index(symbol) for symbol in symbols], dtype=np.int64)
        return Frame(arrays, table, index, source="test")

    def publish(self, base: str, data: bytes) -> list[Output]:
        """Feed one encoded message at the next position."""
        self.position += 1
        outputs = self.chain.run(self.position, self.subjects.wire(base, self.partition or 0), data)
        dead = [output for output in outputs if output.base == "dead"]
        self.dead += dead
        if dead and not self.expect_dead:
            raise AssertionError(dead[0].data.decode("utf-8", "replace"))
        return outputs

    def clock(self, ts_ns: int) -> dict[str, Frame]:
        """Advance event time."""
        return self.send(CLOCK, ts_ns=[ts_ns])

    def state(self, function: str) -> Table:
        """The state table of a function."""
        return self.chain.table(function)

    def crash_and_restore(self) -> None:
        """Lose the process and come back from a snapshot of the present state."""
        snapshot = self.chain.snapshot()
        self.chain = self._chain()
        self.chain.restore(snapshot.meta, {snapshot.blob_id: snapshot.blob})

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
