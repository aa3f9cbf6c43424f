"""`jetscan logs`: what the processes of `jetscan dev` wrote, in the order of time, of all or of one function."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")
BYTES_MAX = 4 << 20  # read of the end of each file; a day of a quiet worker
LOOK_S = 0.3
HEAD = ("timestamp", "level", "event", "module", "trace_id", "span_id")


class LogsError(ValueError):
    """There are no such logs; the text says which there are."""


@dataclass(frozen=True)
class Wanted:
    """Which lines: of processes, or about functions and their chains; empty = all."""

    processes: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    level: str = "debug"

    def takes(self, entry: dict[str, Any]) -> bool:
        """Whether a line is wanted."""
        if LEVELS.index(self.level) > _rank(entry):
            return False
        if not self.processes and not self.names:
            return True
        return entry["process"] in self.processes or _is_about(entry, self.names)


def wanted(
    folder: Path, names: Collection[str], level: str, chain_of: Callable[[str], str]
) -> Wanted:
    """What names mean: processes, or functions (`chain_of` gives their chain, "" for a stranger)."""
    there = {path.stem for path in folder.glob("*.log")}
    if not there:
        raise LogsError(
            f"{folder}: no logs; `jetscan dev` writes them, elsewhere they are on standard error"
        )
    processes = frozenset(names) & there
    about: set[str] = set()
    for name in frozenset(names) - processes:
        chain = chain_of(name)
        if not chain:
            raise LogsError(
                f"{name} is neither a process ({', '.join(sorted(there))}) nor a function"
            )
        about |= {name, chain}
    return Wanted(processes, frozenset(about), level)


def _rank(entry: dict[str, Any]) -> int:
    level = entry.get("level")
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)  # a stack: always told


def _is_about(entry: dict[str, Any], names: frozenset[str]) -> bool:
    unit = str(entry.get("unit", "")).rpartition(".")[0]
    told = {unit, *(str(entry.get(key, "")) for key in ("function", "sink", "chain", "name"))}
    told.add(Path(str(entry.get("file", ""))).stem)
    return bool(told & names)


def entries(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a file from a place on, and the place after them."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(BYTES_MAX)
    is_one_line = len(data) == BYTES_MAX and b"\n" not in data  # longer than any that is ours
    data = data if is_one_line else data[: data.rfind(b"\n") + 1]
    found = [_entry(path.stem, one) for one in data.decode("utf-8", "replace").splitlines()]
    return found, start + len(data)


def _entry(process: str, text: str) -> dict[str, Any]:
    """A line of JSON as it is, any other as its text."""
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    told = told if isinstance(told, dict) else {"event": text}
    return {"process": process, **told}


class Logs:
    """The files of a folder, read from their ends."""

    def __init__(self, folder: Path, asked: Wanted) -> None:
        self._folder, self._asked = folder, asked
        self._places: dict[Path, int] = {}

    def past(self, last: int) -> list[dict[str, Any]]:
        """The newest `last` lines that are there."""
        found = [one for one in self._read(True) if self._asked.takes(one)]
        return found[-last:] if last else []

    def new(self) -> list[dict[str, Any]]:
        """What was written since, in the order of time."""
        return [one for one in self._read(False) if self._asked.takes(one)]

    def _read(self, is_first: bool) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for path in sorted(self._folder.glob("*.log")):
            size = path.stat().st_size
            start = self._places.get(path, max(0, size - BYTES_MAX) if is_first else 0)
            told, self._places[path] = entries(path, start if start <= size else 0)
            found += _dated(told)
        return sorted(
            found, key=lambda one: str(one["timestamp"])
        )  # stable: a stack stays together


def _dated(told: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lines without a time, such as those of a stack, have that of the line before."""
    newest = ""
    for one in told:
        newest = str(one.get("timestamp", newest))
        yield {"timestamp": newest, **one}


def follow(logs: Logs, say: Callable[[dict[str, Any]], None]) -> None:
    """Say what is written, until interrupted."""
    while True:
        for one in logs.new():
            say(one)
        time.sleep(LOOK_S)


def line(entry: dict[str, Any]) -> str:
    """A line for people: when, who, how bad, what, and what it is about; a stack below it."""
    rest = {
        key: value for key, value in entry.items() if key not in (*HEAD, "process", "exception")
    }
    about = " ".join(f"{key}={value}" for key, value in rest.items())
    clock, level = str(entry["timestamp"])[11:23], str(entry.get("level", ""))
    head = f"{clock:12} {entry['process']:10} {level:8} {entry.get('event', '')}  {about}".rstrip()
    return "\n".join([head, *_stack(entry.get("exception"))])


def _stack(exception: Any) -> Iterator[str]:
    """The innermost frames of what was raised, as structlog tells them."""
    for one in exception if isinstance(exception, list) else []:
        for frame in one.get("frames", [])[-3:]:
            yield f"    {frame.get('filename')}:{frame.get('lineno')} in {frame.get('name')}"
        yield f"    {one.get('exc_type')}: {one.get('exc_value')}"
