"""The typed model of `subjects.yaml`: every subject, record, stream, bucket, chain and limit on the wire."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

FNV_OFFSET = 0x811C9DC5
FNV_PRIME = 0x01000193
PARTITIONS_MAX = 256
FRAME_KEYS = frozenset({"v", "src", "seq", "n", "sym", "i", "row", "symbol"})  # no column names

_TIMES_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


class SubjectsError(ValueError):
    """`subjects.yaml` cannot be used; one line per mistake, each naming file, line and key."""


def fnv1a32(text: str) -> int:
    """FNV-1a, 32 bits, of the UTF-8 bytes (Fowler, Noll, Vo): nats-server's partition hash."""
    value = FNV_OFFSET
    for byte in text.encode():
        value = ((value ^ byte) * FNV_PRIME) & 0xFFFFFFFF
    return value


def partition_of(symbol: str, partitions: int) -> int:
    """The partition a symbol belongs to, the same as the server's `{{partition(n,1)}}`."""
    return fnv1a32(symbol) % partitions


def _seconds(value: Any) -> Any:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", str(value))
    if not match:
        raise ValueError(f"expected a time such as 10ms, 5m or 7d, found {value!r}")
    return float(match[1]) * _TIMES_S[match[2]]


def _bytes(value: Any) -> Any:
    match = re.fullmatch(r"(\d+)\s*(|KiB|MiB|GiB|TiB)", str(value))
    if not match:
        raise ValueError(f"expected a size such as 64KiB, 8MiB or 4GiB, found {value!r}")
    return int(match[1]) * _SIZES[match[2]]


Seconds = Annotated[float, BeforeValidator(_seconds)]
Bytes = Annotated[int, BeforeValidator(_bytes)]
Names = dict[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Strict):
    """One column of a record: its dtype on the wire and what is refused in it."""

    type: Literal["f8", "f4", "i8", "i4", "u8", "u4", "u2", "u1", "text"]
    unit: str
    meaning: str
    required: bool = True
    absent: bool = False  # NaN is a value: "cannot be computed"
    above: float | None = None
    below: float | None = None
    from_: float | None = Field(default=None, alias="from")


class Record(_Strict):
    """The columns of one kind of event."""

    name: str
    columns: dict[str, Column]


class Transform(_Strict):
    """The server's own rewriting of a subject on its way into a stream."""

    from_: str = Field(alias="from")
    to: str


class Stream(_Strict):
    """One JetStream stream."""

    subjects: list[str]
    transform: Transform | None = None
    storage: Literal["file", "memory"] = "file"
    discard: Literal["old", "new"]
    max_age: Seconds
    max_bytes: Bytes
    max_message_bytes: Bytes = 1 << 20
    duplicate_window: Seconds = 120.0
    replicas: int = Field(default=1, ge=1, le=5)


class Subject(_Strict):
    """One base subject: who carries it and what its frames hold."""

    record: str
    argument: str
    written_by: Literal["ingest", "gateway", "functions"]
    stream: str | None = None
    core: bool = False
    bucket: str | None = None
    partitioned: bool = True
    rebuilds: bool = False  # tells a chain that begins without saved state what came before
    joins: bool = False  # frames that wait for a chain that is behind may be run as one

    @model_validator(mode="after")
    def _one_carrier(self) -> Subject:
        if (self.stream is None) == (not self.core):
            raise ValueError("expected either `stream: NAME` or `core: true`")
        if self.rebuilds and (self.core or self.written_by != "functions"):
            raise ValueError("rebuilds: expected a subject that functions write to a stream")
        return self


class ChainPlace(_Strict):
    """Functions hosted together, in one worker per partition, fed from one stream."""

    input: str
    functions: list[str]
    partitions: int | None = Field(default=None, ge=1, le=PARTITIONS_MAX)


class Bucket(_Strict):
    """One key-value bucket."""

    max_bytes: Bytes
    meaning: str
    history: int = Field(default=1, ge=1, le=64)
    ttl: Seconds | None = None
    replicas: int = Field(default=1, ge=1, le=5)


class Subjects(_Strict):
    """The whole of `subjects.yaml`."""

    version: Literal[1]
    partitions: int = Field(ge=1, le=PARTITIONS_MAX)
    records: dict[str, dict[str, Column]]
    streams: dict[str, Stream]
    subjects: dict[str, Subject]
    chains: dict[str, ChainPlace]
    buckets: dict[str, Bucket]

    @cached_property
    def _records(self) -> dict[str, Record]:
        return {name: Record(name=name, columns=cols) for name, cols in self.records.items()}

    def record(self, name: str) -> Record:
        """The record called `name`."""
        return self._records[name]

    def record_of(self, base: str) -> Record:
        """The record of a base subject (`ticks.trades`)."""
        return self._records[self.subjects[base].record]

    def wire(self, base: str, partition: int | None) -> str:
        """The subject on the wire: `ticks.trades` of partition 3 is `ticks.trades.3`."""
        return f"{base}.{partition}" if self.subjects[base].partitioned else base

    def outputs(self, base: str, partition: int | None) -> list[str]:
        """What a chain in a partition, or (None) over all of them, publishes a base subject on."""
        if partition is None and self.subjects[base].partitioned:
            return [self.wire(base, one) for one in range(self.partitions)]
        return [self.wire(base, partition)]

    def base_of(self, wire: str) -> tuple[str, int | None, str | None]:
        """(base subject, partition, symbol of a raw event) of a subject on the wire.

        Raises KeyError for a subject that `subjects.yaml` does not name.
        """
        if wire in self.subjects and not self.subjects[wire].partitioned:
            return wire, None, None
        base, _, last = wire.rpartition(".")
        if base in self.subjects and last.isdigit():
            return base, int(last), None
        if base.startswith("ticks.raw.") and last.isdigit():
            return "ticks.trades", int(last), base.removeprefix("ticks.raw.")
        raise KeyError(f"{wire} is not a subject of subjects.yaml")

    def replicated(self, least: int) -> Subjects:
        """The same with at least so many replicas of every stream and bucket."""

        def copies(known: dict[str, Any]) -> dict[str, Any]:
            return {
                name: one.model_copy(update={"replicas": max(least, one.replicas)})
                for name, one in known.items()
            }

        changed = {"streams": copies(self.streams), "buckets": copies(self.buckets)}
        return self.model_copy(update=changed)

    def transform_to(self, stream: str) -> tuple[str, str] | None:
        """(source, destination) of the stream's subject transform, partitions filled in."""
        transform = self.streams[stream].transform
        if transform is None:
            return None
        return transform.from_, transform.to.replace("{partitions}", str(self.partitions))

    def input_subjects(self, stream: str, bases: list[str], partition: int | None) -> list[str]:
        """What a consumer of `bases` filters on, for one partition or (None) for all of them."""
        wanted = []
        for base in bases:
            if self.subjects[base].stream != stream:
                continue
            if not self.subjects[base].partitioned:
                wanted.append(base)
            elif partition is None:
                wanted += [f"{base}.{p}" for p in range(self.partitions)]
            else:
                wanted.append(f"{base}.{partition}")
                if base == "ticks.trades" and self.streams[stream].transform:
                    wanted.append(f"ticks.raw.*.{partition}")
        return wanted

    @model_validator(mode="after")
    def _names_exist(self) -> Subjects:
        for name, columns in self.records.items():
            for column in columns:
                if column in FRAME_KEYS:
                    raise ValueError(f"records.{name}.{column}: the frame itself uses this name")
        for base, subject in self.subjects.items():
            self._check_subject(base, subject)
        for name, chain in self.chains.items():
            if chain.input not in self.streams:
                raise ValueError(
                    f"chains.{name}.input: expected one of {sorted(self.streams)}, found {chain.input!r}"
                )
        return self

    def _check_subject(self, base: str, subject: Subject) -> None:
        if subject.record not in self.records:
            raise ValueError(
                f"subjects.{base}.record: expected one of {sorted(self.records)}, "
                f"found {subject.record!r}"
            )
        if subject.bucket is not None and subject.bucket not in self.buckets:
            raise ValueError(
                f"subjects.{base}.bucket: expected one of {sorted(self.buckets)}, "
                f"found {subject.bucket!r}"
            )
        if subject.stream is None:
            return
        if subject.stream not in self.streams:
            raise ValueError(
                f"subjects.{base}.stream: expected one of {sorted(self.streams)}, "
                f"found {subject.stream!r}"
            )
        patterns = self.streams[subject.stream].subjects
        example = self.wire(base, 0)
        if not any(matches(pattern, example) for pattern in patterns):
            raise ValueError(
                f"subjects.{base}: stream {subject.stream} does not capture {example}; "
                f"add {base}{'.*' if subject.partitioned else ''} to streams.{subject.stream}.subjects"
            )


def matches(pattern: str, subject: str) -> bool:
    """Whether a NATS subject pattern (with * and >) matches a subject."""
    wanted, found = pattern.split("."), subject.split(".")
    for position, token in enumerate(wanted):
        if token == ">":  # noqa: S105 -- a token of a subject
            return len(found) > position
        if position >= len(found) or token not in ("*", found[position]):
            return False
    return len(wanted) == len(found)


def load_subjects(path: Path) -> Subjects:
    """Read and check `subjects.yaml`; raises SubjectsError naming file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SubjectsError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_subjects(text, str(path))


def parse_subjects(text: str, path: str = "subjects.yaml") -> Subjects:
    """As `load_subjects`, from text."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SubjectsError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise SubjectsError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, dict) or node is None:
        raise SubjectsError(f"{path}:1: expected a mapping, found {type(content).__name__}")
    lines = _lines(node)
    _refuse_repeated_keys(node, path)
    try:
        return Subjects.model_validate(content)
    except ValidationError as error:
        raise SubjectsError("\n".join(_explained(error, path, lines))) from error


def _lines(node: yaml.Node, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    found = {prefix: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*prefix, str(key.value))
            found |= _lines(value, place)
            found[place] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            found |= _lines(value, (*prefix, str(position)))
    return found


def _refuse_repeated_keys(node: yaml.Node, path: str) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        if key.value in seen:
            line = key.start_mark.line + 1
            raise SubjectsError(f"{path}:{line}: {key.value}: the key stands twice")
        seen.add(key.value)
        _refuse_repeated_keys(value, path)


def _explained(error: ValidationError, path: str, lines: dict[tuple[str, ...], int]) -> list[str]:
    rows = []
    for fault in error.errors():
        place = tuple(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if not place:  # a rule over the whole file names its own key first
            place = _place_named(message, lines)
            rows.append(f"{path}:{lines[place]}: {message}")
            continue
        key = ".".join(place)
        if fault["type"] == "extra_forbidden":
            message = f"unknown key; found {fault['input']!r}"
        while place and place not in lines:
            place = place[:-1]
        rows.append(f"{path}:{lines.get(place, 1)}: {key}: {message}")
    return rows


def _place_named(message: str, lines: dict[tuple[str, ...], int]) -> tuple[str, ...]:
    named = message.partition(": ")[0]
    return max(
        (place for place in lines if place and named.startswith(".".join(place))),
        key=len,
        default=(),
    )
