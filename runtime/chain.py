"""One partition of one chain: input messages in, output messages out; no I/O, no clock, no threads.

The same inputs at the same positions give the same outputs, byte for byte. That is what recovery
rests on: replaying the input says again exactly what was said before.

What happened          what becomes of the frame
returned               its outputs are published and handed to the functions of the chain that read them
raised Retry           state undone, the same frame again after the delay it asked for; nothing overtakes
raised Drop            state undone, dead letter at once
raised anything else   state undone, again with back-off; dead letter after `tries_max`
"""

from __future__ import annotations

import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from runtime import telemetry
from runtime.contract import Binding, Drop, Retry
from runtime.frames import (
    FRAME_BYTES_MAX,
    BadFrame,
    Frame,
    check_values,
    concatenate,
    decode,
    encode_parts,
)
from runtime.loader import CLOCK, ChainPlan, Hosted
from runtime.snapshots import Snapshot, pack, pack_symbols, unpack, unpack_symbols
from runtime.state import Rows, Stored, Table, carried, schema_of, shapes_of
from runtime.subjects import Column, Subjects, partition_of

BACKOFF_S = (0.05, 0.2, 0.5, 1.0)
SYMBOLS = "symbols"
TRADES = "ticks.trades"
UNTIMED: AbstractContextManager[Any] = nullcontext()
_DTYPES = {"text": object}


@dataclass(frozen=True)
class Output:
    """One message to publish: `part` counts the messages of one input on one subject."""

    subject: str
    data: bytes
    part: int
    base: str
    frame: Frame | None
    is_core: bool = False


class _OneByOne(Exception):
    """Messages that were joined have to run one by one."""


@dataclass
class Used:
    """What a function took: calls, their events, and the seconds of its handlers."""

    frames: int = 0
    events: int = 0
    took_s: float = 0.0


@dataclass
class Counts:
    """What a chain has done since it was loaded, for telemetry: nothing decides by it."""

    events_in: int = 0
    frames_in: int = 0
    given: dict[str, int] = field(default_factory=dict)  # events by subject, of those that are read
    symbols: int = 0  # of frames of trades, each once a frame
    events_out: int = 0
    dead: int = 0
    by_function: defaultdict[str, Used] = field(default_factory=lambda: defaultdict(Used))


@dataclass(frozen=True)
class Reader:
    """A handler that reads a subject, and the names of its arguments."""

    hosted: Hosted
    binding: Binding
    arguments: tuple[str, ...]


class Chain:
    """The functions of a chain with their state in one partition."""

    def __init__(
        self,
        plan: ChainPlan,
        subjects: Subjects,
        partition: int | None,
        tries_max: int = 3,
        is_published: bool = True,
    ) -> None:
        """`is_published`: else outputs are frames only, without the bytes of their messages."""
        self.plan = plan
        self.partition = partition
        self.counts = Counts()
        self.running = ""  # the function being called, for the watchdog
        self.timed: Callable[[str], AbstractContextManager[Any]] | None = (
            None  # of a function's call
        )
        self.clock_ns = 0
        self._subjects = subjects
        self._tries_max = tries_max
        self._is_published = is_published
        self._rows = Rows()
        self._tables = self._fresh_tables()
        self._outputs: list[Output] = []
        self._parts: dict[str, int] = {}
        self._position = 0
        self._saved_blocks: list[Any] | None = None  # of the newest snapshot
        self.begun = self._with_state()  # functions whose state did not come from a snapshot
        self._is_silent = False
        self._is_joined = False
        self._readers: dict[str, list[Reader]] = {}
        for hosted in plan.functions:
            for binding in hosted.declaration.bindings:
                reader = Reader(hosted, binding, binding.arguments)
                self._readers.setdefault(binding.subject, []).append(reader)

    @property
    def symbol_count(self) -> int:
        """Symbols that there is a row of."""
        return len(self._rows)

    def table(self, function: str) -> Table:
        """The state of a function."""
        return self._tables[function]

    def used(self) -> dict[str, dict[str, float]]:
        """What each function took and holds, for `jetscan top`."""
        return {
            name: {**vars(self.counts.by_function[name]), "state_bytes": table.bytes_used}
            for name, table in self._tables.items()
        }

    # -- running

    def step(
        self, position: int, subject: str, data: bytes, stored_ns: int = 0
    ) -> Generator[float, None, list[Output]]:
        """Run one input message; yields the seconds to wait before a retry, returns the outputs."""
        self._outputs, self._parts, self._position = [], {}, position
        self.counts.frames_in += 1
        if subject.startswith("redrive."):
            yield from self._redriven(data)
            return self._outputs
        try:
            base, _, symbol = self._subjects.base_of(subject)
            record = self._subjects.record_of(base)
            frame = decode(data, record, symbol, self.clock_ns or stored_ns)
        except (KeyError, BadFrame) as error:
            self._bury(self.plan.name, "", subject, data, f"bad frame: {error}", "")
            return self._outputs
        if frame.extra:
            telemetry.UNKNOWN_FIELDS.labels(base).inc(len(frame.extra))
        yield from self._feed(base, frame)
        return self._outputs

    def step_joined(
        self, position: int, inputs: Sequence[tuple[str, bytes]]
    ) -> list[Output] | None:
        """Run messages of one subject that follow each other as if they were one, at the last one's position.

        inputs   (subject, data) of each, in order; the subject is one of those that join

        None, and nothing has changed, where they have to run one by one: a frame is refused or unlike
        the others, a handler raised, or two messages are said on one subject, of which a crash could
        keep the first: only of one message it is known what it answers.
        """
        joined = self._joined(inputs)
        if joined is None:
            return None
        self._outputs, self._parts, self._position = [], {}, position
        for table in self._tables.values():
            table.hold()
        given, symbols = dict(self.counts.given), self.counts.symbols
        self._is_joined = True
        try:
            _run_through(self._hand_over(*joined))
        except _OneByOne:
            self._take_back_joined(given, symbols)
            return None
        finally:
            self._is_joined = False
        if any(one.part and not one.is_core for one in self._outputs):
            self._take_back_joined(given, symbols)
            return None
        for table in self._tables.values():
            table.release()
        self.counts.frames_in += len(inputs)
        self.counts.events_in += len(joined[1])
        return self._outputs

    def _joined(self, inputs: Sequence[tuple[str, bytes]]) -> tuple[str, Frame] | None:
        frames: list[Frame] = []
        bases = set()
        for subject, data in inputs:
            try:
                base, _, symbol = self._subjects.base_of(subject)
                record = self._subjects.record_of(base)
                frames.append(decode(data, record, symbol, self.clock_ns))
            except (KeyError, BadFrame):
                return None
            bases.add(base)
        first = frames[0]
        is_alike = all(
            one.columns.keys() == first.columns.keys() and one.symbols and not one.extra
            for one in frames
        )
        if not is_alike or len(bases) != 1 or not self.clock_ns:
            return None
        return base, concatenate(frames, record)

    def _take_back_joined(self, given: dict[str, int], symbols: int) -> None:
        self.counts.given, self.counts.symbols = given, symbols
        for table in self._tables.values():
            table.give_back()
        self.counts.events_out -= sum(len(one.frame) for one in self._outputs if one.frame)
        self._outputs, self._parts = [], {}

    def run(self, position: int, subject: str, data: bytes, stored_ns: int = 0) -> list[Output]:
        """`step` without waiting between retries."""
        return _finished(self.step(position, subject, data, stored_ns))

    def run_frame(self, base: str, frame: Frame) -> list[Output]:
        """Feed a frame that is already decoded, as a backtest does."""
        self._outputs, self._parts = [], {}
        self._position += 1
        self.counts.frames_in += 1
        return _finished(self._fed(base, frame))

    def _fed(self, base: str, frame: Frame) -> Generator[float, None, list[Output]]:
        yield from self._feed(base, frame)
        return self._outputs

    def _feed(self, base: str, frame: Frame) -> Generator[float, None, None]:
        self.counts.events_in += len(frame)
        if base != CLOCK:
            yield from self._hand_over(base, frame)
            return
        for ts_ns in frame["ts_ns"].tolist():
            if ts_ns > self.clock_ns:  # a clock never goes back
                self.clock_ns = ts_ns
                yield from self._hand_over(base, None)

    def _hand_over(self, base: str, frame: Frame | None) -> Generator[float, None, None]:
        """Give a frame to every function that reads it, and their outputs on, depth first."""
        if frame is not None:
            self._rows.bind(frame)
        readers = self._readers.get(base, ())
        if readers and frame is not None and not self._is_silent:
            self._count(base, frame)
        for reader in readers:
            answers = yield from self._call(reader, base, frame)
            for written, answer in answers:
                yield from self._hand_over(written, answer)

    def _count(self, base: str, frame: Frame) -> None:
        given = self.counts.given
        given[base] = given.get(base, 0) + len(frame)
        if base == TRADES:
            self.counts.symbols += len(frame.symbols or ())

    def _call(
        self, reader: Reader, base: str, frame: Frame | None
    ) -> Generator[float, None, list[tuple[str, Frame]]]:
        hosted = reader.hosted
        table = self._tables[hosted.name]
        arguments = self._arguments(reader, base, frame)
        touched = frame.rows_by_symbol if frame is not None else None
        self.running = hosted.name
        for tried in range(1, self._tries_max + 1):
            table.mark(touched)
            before = len(self._outputs), dict(self._parts)
            try:
                with self.timed(hosted.name) if self.timed else UNTIMED:
                    answer = self._handled(reader, arguments, frame)
                answers = self._answers(hosted, answer)
                said = [(written, self._say(written, answer)) for written, answer in answers]
                table.settle()
                return said
            except Retry as retry:
                reason, trace, delay_s = f"Retry: {retry.reason}", "", retry.delay_s
            except Drop as drop:
                reason, trace, delay_s = f"Drop: {drop.reason}", "", -1.0
            except Exception as error:  # a stranger's code is called here
                reason = f"{type(error).__name__}: {error}"
                trace = "".join(traceback.format_exception(error, limit=-8))
                delay_s = BACKOFF_S[min(tried, len(BACKOFF_S)) - 1]
            table.undo()
            if self._is_joined:
                raise _OneByOne(reason)
            del self._outputs[before[0] :]
            self._parts = before[1]
            if delay_s < 0 or tried == self._tries_max:
                break
            yield delay_s
        self._bury(hosted.name, hosted.version, base, self._original(base, frame), reason, trace)
        return []

    def _handled(self, reader: Reader, arguments: dict[str, Any], frame: Frame | None) -> Any:
        """What the handler returns; what it took is told, whether it returns or raises."""
        used = self.counts.by_function[reader.hosted.name]
        used.frames += 1
        used.events += 1 if frame is None else len(frame)
        began = time.perf_counter()
        try:
            return reader.binding.handler(**arguments)
        finally:
            used.took_s += time.perf_counter() - began

    def _arguments(self, reader: Reader, base: str, frame: Frame | None) -> dict[str, Any]:
        hosted = reader.hosted
        given: dict[str, Any] = {}
        for name in reader.arguments:
            if name == "state":
                given[name] = self._tables[hosted.name]
            elif name == "settings":
                given[name] = hosted.settings
            elif name == "clock":
                given[name] = self.clock_ns
            else:
                is_this = name == self._subjects.subjects[base].argument
                given[name] = frame if is_this else None
        return given

    # -- answers

    def _answers(self, hosted: Hosted, answer: Any) -> list[tuple[str, Frame]]:
        """What a handler returned, as frames by subject in the order the function declares."""
        if answer is None:
            return []
        writes = hosted.writes
        if not writes:
            raise TypeError(
                f"{hosted.name} returned {type(answer).__name__}, but writes no subject"
            )
        if len(writes) == 1 and not (isinstance(answer, Mapping) and set(answer) <= set(writes)):
            answer = {writes[0]: answer}
        if not isinstance(answer, Mapping) or not set(answer) <= set(writes):
            raise TypeError(
                f"{hosted.name} returned {_described(answer)}; expected None or a mapping from "
                f"{', '.join(writes)} to a frame or columns"
            )
        frames = [
            (base, self._framed(hosted.name, base, one))
            for base in writes
            if answer.get(base) is not None
            for one in _listed(answer[base])
        ]
        return [(base, frame) for base, frame in frames if len(frame)]

    def _framed(self, function: str, base: str, answer: Any) -> Frame:
        """A frame or a mapping of columns as a checked frame of the subject's record."""
        record = self._subjects.record_of(base)
        if not isinstance(answer, Frame | Mapping):
            raise TypeError(
                f"{function} returned {_described(answer)} for {base}; expected a frame or columns"
            )
        given = answer.columns if isinstance(answer, Frame) else answer
        columns: dict[str, Any] = {}
        rows = -1
        for name, column in record.columns.items():
            if given.get(name) is None:
                if column.required:
                    raise TypeError(f"{function} returned no column {name} for {base}")
                continue
            if isinstance(answer, Frame) and not column.required and _is_other(given[name], column):
                continue  # events of another subject, whose `id` is a number where this one's is a text
            columns[name] = _cast(function, base, name, given[name], column)
            if rows not in (-1, len(columns[name])):
                raise TypeError(f"{function}: columns for {base} differ in length at {name}")
            rows = len(columns[name])
        frame = Frame(columns, source=function, sequence=self._position)
        self._name_symbols(function, base, frame, answer, given)
        return frame

    def _name_symbols(
        self, function: str, base: str, frame: Frame, answer: Any, given: Mapping[str, Any]
    ) -> None:
        if isinstance(answer, Frame):
            frame.symbols, frame.index = answer.symbols, answer.index
            frame.rows_by_symbol = answer.rows_by_symbol
        elif given.get("row") is not None:
            row = np.asarray(given["row"], dtype=np.int64)
            if row.shape != (len(frame),) or (
                len(row) and not 0 <= row.min() <= row.max() < len(self._rows)
            ):
                raise TypeError(f"{function}: `row` for {base} does not name rows of the table")
            used, frame.index = np.unique(row, return_inverse=True)
            frame.symbols = [self._rows.symbols[one] for one in used]
            frame.rows_by_symbol = used
        elif given.get("symbol") is not None:
            symbols = [str(symbol) for symbol in given["symbol"]]
            frame.symbols = list(dict.fromkeys(symbols))
            place = {symbol: k for k, symbol in enumerate(frame.symbols)}
            frame.index = np.array([place[symbol] for symbol in symbols], dtype=np.int64)
        if frame.index is not None and len(frame.index) != len(frame):
            raise TypeError(f"{function}: symbols for {base} differ in number from the columns")

    def _say(self, base: str, frame: Frame) -> Frame:
        if self._is_silent:
            return frame
        is_core = self._subjects.subjects[base].core
        self.counts.events_out += len(frame)
        if not self._is_published:
            self._append(self._subjects.wire(base, self.partition), b"", base, frame, is_core)
            return frame
        for partition, part in self._shares(base, frame):
            subject = self._subjects.wire(base, partition)
            for data in encode_parts(part, self._subjects.record_of(base)):
                self._append(subject, data, base, frame, is_core)
        return frame

    def _shares(self, base: str, frame: Frame) -> Iterator[tuple[int | None, Frame]]:
        """The frame by partition: a chain over all partitions writes each symbol to its own."""
        if self.partition is not None or not self._subjects.subjects[base].partitioned:
            yield self.partition, frame
            return
        if frame.symbols is None:
            raise TypeError(
                f"{base}: expected `symbol` or `row`: a row's partition is that of its symbol"
            )
        owners = [partition_of(symbol, self._subjects.partitions) for symbol in frame.symbols]
        owner = np.array(owners, dtype=np.int64)[frame.index]
        for partition in np.unique(owner).tolist():
            part = frame[owner == partition]
            used, part.index = np.unique(part.index, return_inverse=True)
            part.symbols = [
                frame.symbols[one] for one in used
            ]  # its readers keep rows for all of these
            yield partition, part

    def _append(
        self, subject: str, data: bytes, base: str, frame: Frame | None, is_core: bool
    ) -> None:
        part = self._parts.get(subject, 0)
        self._parts[subject] = part + 1
        self._outputs.append(Output(subject, data, part, base, frame, is_core))

    # -- dead letters

    def _original(self, base: str, frame: Frame | None) -> bytes:
        if frame is None:
            frame = Frame({"ts_ns": np.array([self.clock_ns])})
        return encode_parts(frame, self._subjects.record_of(base))[0]

    def _bury(
        self, function: str, version: str, subject: str, data: bytes, reason: str, trace: str
    ) -> None:
        """Set a frame aside with what is needed to understand it and to put it back."""
        letter = {
            "function": function,
            "version": version,
            "subject": subject,
            "stream": self.plan.stream,
            "position": self._position,
            "partition": self.partition,
            "clock_ns": self.clock_ns,
            "reason": reason[:2000],
            "trace": trace[-8000:],
            "frame": data[: FRAME_BYTES_MAX - (16 << 10)],
        }
        ending = "all" if self.partition is None else str(self.partition)
        self._append(f"dead.{function}.{ending}", msgpack.packb(letter), "dead", None, False)
        self.counts.dead += 1

    def bury_input(self, position: int, subject: str, data: bytes, reason: str) -> list[Output]:
        """Set a whole input message aside without running it."""
        self._outputs, self._parts, self._position = [], {}, position
        self._bury(self.plan.name, self.plan.version, subject, data, reason, "")
        return self._outputs

    def _redriven(self, data: bytes) -> Generator[float, None, None]:
        """A dead letter put back: only the function that failed sees its frame again."""
        try:
            letter = msgpack.unpackb(data)
            base, function = letter["subject"], letter["function"]
            symbol = None
            if base not in self._subjects.subjects:  # a whole input message, by its wire subject
                base, _, symbol = self._subjects.base_of(base)
            frame = decode(letter["frame"], self._subjects.record_of(base), symbol, self.clock_ns)
        except (KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
            self._bury(self.plan.name, "", "redrive", data, f"bad dead letter: {error}", "")
            return
        if function == self.plan.name:
            yield from self._feed(base, frame)
            return
        self._rows.bind(frame)
        for reader in self._readers.get(base, ()):
            if reader.hosted.name == function:
                given = None if base == CLOCK else frame
                for written, answer in (yield from self._call(reader, base, given)):
                    yield from self._hand_over(written, answer)

    # -- state

    def _fresh_tables(self) -> dict[str, Table]:
        return {
            hosted.name: Table(self._rows, shapes_of(hosted.declaration))
            for hosted in self.plan.functions
        }

    def snapshot(self, blob_id: str = "0", previous: Mapping[str, Any] | None = None) -> Snapshot:
        """The state as an index and one blob; the index names the functions' schemas and versions."""
        columns: dict[str, Stored | str] = {SYMBOLS: pack_symbols(self._rows.symbols)}
        for name, table in self._tables.items():
            for column, values in table.stored().items():
                columns[f"{name}/{column}"] = values
        # What the tables know of writes is about the snapshot made last, whether it was kept or not.
        is_next = previous is not None and previous["blocks"] is self._saved_blocks
        snapshot = pack(columns, blob_id, previous, is_next)
        self._saved_blocks = snapshot.meta["blocks"]
        for table in self._tables.values():
            table.note_saved()
        snapshot.meta["clock_ns"] = self.clock_ns
        snapshot.meta["functions"] = {
            hosted.name: {"version": hosted.version, "schema": schema_of(hosted.declaration)}
            for hosted in self.plan.functions
        }
        return snapshot

    def _with_state(self) -> frozenset[str]:
        return frozenset(one.name for one in self.plan.functions if one.declaration.state)

    def restore(self, meta: Mapping[str, Any], blobs: Mapping[str, bytes]) -> None:
        """Take over a saved state; raises StateChanged or ValueError and then is as it was.

        `begun` names the functions of which nothing was saved, or nothing is carried over.
        """
        columns = unpack(meta, blobs)
        rows = Rows(unpack_symbols(columns.pop(SYMBOLS)))
        tables = {}
        begun = set(self._with_state())
        for hosted in self.plan.functions:
            table = tables[hosted.name] = Table(rows, shapes_of(hosted.declaration))
            saved = meta["functions"].get(hosted.name)
            if saved is not None:
                prefix = hosted.name + "/"
                own = {
                    name.removeprefix(prefix): values
                    for name, values in columns.items()
                    if name.startswith(prefix)
                }
                loaded = carried(hosted.declaration, saved["schema"], own)
                table.load(loaded)
                begun -= {hosted.name} if loaded else set()
        self._rows, self._tables, self._saved_blocks = rows, tables, None
        self.clock_ns = meta["clock_ns"]
        self.begun = frozenset(begun)

    @property
    def symbols(self) -> list[str]:
        """The symbol of each row."""
        return self._rows.symbols

    def adopt(
        self, symbols: list[str], columns: Mapping[str, Mapping[str, Any]], clock_ns: int
    ) -> None:
        """Begin with these symbols and, by function, these columns, as if it had always had them."""
        self._rows = Rows(symbols)
        self._tables = self._fresh_tables()
        for name, table in self._tables.items():
            table.load(columns[name])
        self.clock_ns, self._saved_blocks, self.begun = clock_ns, None, frozenset()

    # -- state from what was said

    @property
    def rebuilt_from(self) -> tuple[str, ...]:
        """Subjects that tell functions without saved state what came before their first input."""
        told = dict.fromkeys(
            base for base in self.plan.writes if self._subjects.subjects[base].rebuilds
        )
        return tuple(base for base in told if self._listeners(base))

    def _listeners(self, base: str) -> bool:
        """Whether a function without saved state reads a subject, said it, or rests on who reads it."""
        names = {reader.hosted.name for reader in self._readers.get(base, ())}
        names |= {one.hosted.name for one in self._recollectors(base)}
        written = {
            further
            for reader in self._readers.get(base, ())
            for further in reader.hosted.writes
            if further != base
        }
        return bool(names & self.begun) or any(map(self._listeners, sorted(written)))

    def _recollectors(self, base: str) -> list[Reader]:
        return [
            Reader(hosted, binding, binding.arguments)
            for hosted in self.plan.functions
            for binding in hosted.declaration.recollections
            if binding.subject == base
        ]

    @contextmanager
    def rebuilding(self) -> Iterator[None]:
        """Within it `recall` may be called; functions whose state was saved have it again afterwards."""
        saved = self._tables
        fresh = self._fresh_tables()
        self._tables = {name: saved[name] if name in self.begun else fresh[name] for name in saved}
        self._is_silent = True
        try:
            yield
        finally:
            self._tables, self._is_silent = saved, False
            self._outputs, self._parts = [], {}

    def recall(self, base: str, data: bytes) -> int:
        """Hand over what the chain once said on a subject; how many handlers gave it up.

        It goes to those who said it and remember, and to those who read it, whose answers go on to
        further readers and are not said.
        """
        self._outputs, self._parts = [], {}
        frame = decode(data, self._subjects.record_of(base), None, self.clock_ns)
        self._rows.bind(frame)
        for one in self._recollectors(base):
            if one.hosted.name in self.begun:
                _run_through(self._call(one, base, frame))
        _run_through(self._hand_over(base, frame))
        return len(self._outputs)


def _listed(answer: Any) -> list[Any]:
    """A list of frames is a message each; anything else is one frame."""
    return answer if isinstance(answer, list) else [answer]


def _finished(step: Generator[float, None, list[Output]]) -> list[Output]:
    while True:
        try:
            next(step)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _run_through(step: Generator[float, None, Any]) -> None:
    for _ in step:
        pass  # what failed is tried again at once


def _is_other(values: Any, column: Column) -> bool:
    """Whether texts stand where a column has numbers, or the reverse."""
    return bool((values.dtype == object) != (column.type == "text"))


def _cast(function: str, base: str, name: str, values: Any, column: Column) -> Any:
    if column.type == "text":
        texts = np.asarray(values, dtype=object)
        if texts.ndim != 1 or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{function}: column {name} of {base}: expected texts")
        return texts
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        raise TypeError(
            f"{function}: column {name} of {base}: expected one-dimensional numbers, found "
            f"{array.dtype} of shape {array.shape}"
        )
    array = array.astype("<" + column.type, copy=True)
    check_values(f"{function}: {base}.{name}", array, column)
    array.flags.writeable = False
    return array


def _described(answer: Any) -> str:
    if isinstance(answer, Mapping):
        return f"a mapping with {sorted(map(str, answer))}"
    return type(answer).__name__
