"""Values of metrics as of event times, from files: the live functions, asked while the day replays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from runtime import telemetry
from runtime.chain import Chain
from runtime.frames import Frame, texts
from runtime.loader import Plan
from runtime.providers import Batch, clocked, frame_of
from runtime.providers.bars import PRINTS_OF_BAR, prints_of
from runtime.providers.file import FileProvider
from runtime.providers.history import known_in_time
from runtime.providers.minutes import minutes_until
from runtime.subjects import Subjects
from runtime.tables import read_bars, write_parquet

log = telemetry.get_logger(__name__)

ASK, VALUES, CLOCK = "ask.metrics", "metrics.values", "ticks.clock"
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
NEVER_NS = 1 << 63
NAMES_AT_ONCE = 8  # keeps one answer to a few ten thousand rows


class MetricsError(RuntimeError):
    """The values cannot be had; the text says what failed."""


@dataclass
class Asked:
    """What `jetscan metrics` was given."""

    names: list[str]
    at_ns: list[int]
    trades: list[Path] = field(default_factory=list)
    bars: list[Path] = field(default_factory=list)
    daily: list[Path] = field(default_factory=list)
    reference: list[Path] = field(default_factory=list)
    minutes: list[Path] = field(default_factory=list)


def values_at(
    plan: Plan, subjects: Subjects, asked: Asked, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """The values in long form: symbol, ts_ns, name, value; absent ones are left out."""
    chain = next((c for c in plan.chains if ASK in c.inputs), None)
    if chain is None:
        raise MetricsError(f"no function reads {ASK}; see jetscan functions")
    walk = _Walk(Chain(chain, subjects, 0, is_published=False), asked)
    total, batches = _batches(asked, MINUTE_NS if chain.is_by_minute else SECOND_NS)
    done = 0
    for batch in batches:
        if not done:
            walk.begin(asked.minutes, int(batch.times[0]))
        walk.feed(batch)
        done += len(batch) if batch.kind == "trades" else 0
        progress(done, total)
        if walk.is_done:
            break
    walk.finish()
    progress(total, total)
    return walk.columns()


class _Walk:
    """Feeds events in order of time and asks at the times between them."""

    def __init__(self, chain: Chain, asked: Asked) -> None:
        self._chain = chain
        self._names = asked.names
        self._left = sorted(asked.at_ns)
        known = known_in_time(asked.daily, asked.reference)
        self._known = [(when, one.base, frame_of(one, "metrics")) for when, one in known]
        self._clock_ns, self._has_news, self._is_begun = 0, False, False
        self._found: dict[str, list[Any]] = {"symbol": [], "ts_ns": [], "name": [], "value": []}

    @property
    def is_done(self) -> bool:
        return not self._left

    def begin(self, minutes: list[Path], until_ns: int) -> None:
        """Minutes that are over before the first event."""
        for batch in minutes_until(minutes, until_ns):
            self._run(batch.base, frame_of(batch, "metrics"))
        if minutes:
            self._clock(until_ns // SECOND_NS * SECOND_NS)  # their day is over with it

    def feed(self, batch: Batch) -> None:
        times = np.maximum.accumulate(batch.times)
        start = 0
        while start < len(batch) and self._left:
            first = int(times[start])
            self._reach(first - (batch.kind != "clock"))
            if not self._left:
                return
            stop = int(np.searchsorted(times, self._left[0], side="right"))
            if self._known:
                stop = min(stop, int(np.searchsorted(times, self._known[0][0], side="left")))
            stop = max(stop, start + 1)
            self._send(batch, start, stop)
            start = stop

    def finish(self) -> None:
        if self._left:
            self._reach(self._left[-1])
            while self._left:
                self._ask(self._left.pop(0))

    def _reach(self, until_ns: int) -> None:
        """Everything known, and everything asked, before a time."""
        while self._left or self._known:
            told = self._known[0][0] if self._known else NEVER_NS
            at = self._left[0] if self._left else NEVER_NS
            if min(told, at) > until_ns:
                return
            if told <= at:
                when, base, frame = self._known.pop(0)
                if when > 0 and self._clock_ns:
                    self._clock(when)
                self._run(base, frame)
            elif at < until_ns or not self._known:
                if at >= until_ns:
                    return
                self._ask(self._left.pop(0))
            else:
                return

    def _send(self, batch: Batch, start: int, stop: int) -> None:
        rows = slice(start, stop)
        columns = {name: values[rows] for name, values in batch.columns.items()}
        index = None if batch.index is None else batch.index[rows]
        part = Batch(batch.kind, columns, batch.symbols, index)
        if part.kind == "clock":
            for one in columns["ts_ns"].tolist():
                if self._has_news or one // MINUTE_NS > self._clock_ns // MINUTE_NS:
                    self._clock(int(one))  # a second in which nothing happened changes no value
        else:
            self._has_news = True
            self._run(part.base, frame_of(part, "metrics"))

    def _clock(self, ts_ns: int) -> None:
        if ts_ns > self._clock_ns:
            self._clock_ns, self._has_news = ts_ns, False
            self._run(CLOCK, Frame({"ts_ns": np.array([ts_ns])}, source="metrics"))

    def _ask(self, at_ns: int) -> None:
        if not self._is_begun:
            return  # nothing was known yet, in whatever year that was
        self._clock(at_ns)
        for start in range(0, len(self._names), NAMES_AT_ONCE):
            names = texts([" ".join(self._names[start : start + NAMES_AT_ONCE])])
            for output in self._run(ASK, Frame({"ts_ns": np.array([at_ns]), "names": names})):
                if output.base == VALUES and output.frame is not None and not output.part:
                    for name, column in self._found.items():
                        column.append(output.frame[name])

    def _run(self, base: str, frame: Frame) -> Any:
        self._is_begun = True
        outputs = self._chain.run_frame(base, frame)
        for output in outputs:
            if output.base == "dead":
                letter = msgpack.unpackb(output.data)
                log.debug("function failed", function=letter["function"], trace=letter["trace"])
                raise MetricsError(
                    f"{letter['function']} failed at {base} of {_said(int(frame['ts_ns'][-1]))}: "
                    f"{letter['reason']} (JETSCAN_LOG_LEVEL=debug shows where)"
                )
        return outputs

    def columns(self) -> dict[str, Any]:
        found = {name: np.concatenate(v) if v else np.array([]) for name, v in self._found.items()}
        return {
            "symbol": [str(one) for one in found["symbol"]],
            "ts_ns": found["ts_ns"].astype(np.int64),
            "name": [str(one) for one in found["name"]],
            "value": found["value"].astype(float),
        }


def _said(ts_ns: int) -> str:
    return f"{np.datetime64(ts_ns, 'ns')}Z"


def _batches(asked: Asked, step_ns: int) -> tuple[int, Iterator[Batch]]:
    """How many prints the files hold, and these with their clock events."""
    if asked.trades:
        provider = FileProvider(asked.trades)
        return provider.trades, provider.batches(step_ns=step_ns)
    parts = [read_bars(path) for path in asked.bars]
    total = PRINTS_OF_BAR * sum(len(part["symbol"]) for part in parts)
    return total, clocked(prints_of(parts), step_ns=step_ns)


def write_values(path: Path, values: dict[str, Any]) -> None:
    """Write the long form as Parquet; raises TableError."""
    write_parquet(path, values)
