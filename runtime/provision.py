"""Make the streams and buckets of `subjects.yaml` exist: show what differs, then change only what is safe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.bus import ApiError, Bus
from runtime.subjects import Bucket, Stream, Subjects

NOT_FOUND = 10059
UNCHANGEABLE = ("storage", "retention")  # the server would have to make the stream anew
SHRINKING = ("max_bytes", "max_age", "max_msg_size")


@dataclass(frozen=True)
class Change:
    """One difference between `subjects.yaml` and the server."""

    stream: str
    key: str
    found: Any
    wanted: Any
    refused: str = ""  # why it is not applied without being told so

    def __str__(self) -> str:
        if self.key == "":
            return f"+ {self.stream}"
        mark = "!" if self.refused else "~"
        why = f"  refused: {self.refused}" if self.refused else ""
        return f"{mark} {self.stream}.{self.key}: {self.found} -> {self.wanted}{why}"


@dataclass(frozen=True)
class Budget:
    """What the whole of `subjects.yaml` may take on the server."""

    file_bytes: int
    memory_bytes: int
    streams: int
    consumers: int


@dataclass(frozen=True)
class Report:
    """The differences found and whether the safe ones were applied."""

    changes: tuple[Change, ...]
    budget: Budget
    applied: bool

    @property
    def refused(self) -> list[Change]:
        """Differences that were left as they are."""
        return [change for change in self.changes if change.refused]


async def provision(
    bus: Bus,
    subjects: Subjects,
    dry_run: bool = False,
    allow_shrink: bool = False,
    replicas: int | None = None,
) -> Report:
    """Create and update streams and buckets; never shrinks or deletes unless `allow_shrink`.

    `replicas`: at least so many of each; None: what there are more of than subjects.yaml asks for stays.
    """
    subjects = subjects.replicated(replicas or 1)
    changes: list[Change] = []
    for name, wanted in wanted_streams(subjects).items():
        found = await _found(bus, name)
        if found is None:
            changes.append(Change(name, "", None, wanted))
            if not dry_run:
                await bus.api(f"STREAM.CREATE.{name}", wanted)
            continue
        differences = list(_differences(name, found, wanted, allow_shrink, replicas))
        changes += differences
        safe = {change.key: change.wanted for change in differences if not change.refused}
        if safe and not dry_run:
            await bus.api(f"STREAM.UPDATE.{name}", {**found, **safe})
    return Report(tuple(changes), budget_of(subjects), not dry_run)


def budget_of(subjects: Subjects, chains: int | None = None) -> Budget:
    """Storage and consumers `subjects.yaml` can take, replicas counted."""
    streams = wanted_streams(subjects).values()
    total = {"file": 0, "memory": 0}
    for stream in streams:
        total[stream["storage"]] += stream["max_bytes"] * stream["num_replicas"]
    consumers = sum(place.partitions or subjects.partitions for place in subjects.chains.values())
    return Budget(total["file"], total["memory"], len(streams), chains or consumers)


def wanted_streams(subjects: Subjects) -> dict[str, dict[str, Any]]:
    """The server's configuration of every stream and bucket."""
    streams = {name: _stream(name, stream, subjects) for name, stream in subjects.streams.items()}
    return streams | {
        f"KV_{name}": _bucket(name, bucket) for name, bucket in subjects.buckets.items()
    }


def _stream(name: str, stream: Stream, subjects: Subjects) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": name,
        "subjects": stream.subjects,
        "storage": stream.storage,
        "retention": "limits",
        "discard": stream.discard,
        "max_age": int(stream.max_age * 1e9),
        "max_bytes": stream.max_bytes,
        "max_msg_size": stream.max_message_bytes,
        "duplicate_window": int(stream.duplicate_window * 1e9),
        "num_replicas": stream.replicas,
        "allow_direct": True,
    }
    transform = subjects.transform_to(name)
    if transform:
        config["subject_transform"] = {"src": transform[0], "dest": transform[1]}
    return config


def _bucket(name: str, bucket: Bucket) -> dict[str, Any]:
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_age": int((bucket.ttl or 0) * 1e9),
        "max_bytes": bucket.max_bytes,
        "max_msgs_per_subject": bucket.history,
        "max_msg_size": 1 << 20,
        "num_replicas": bucket.replicas,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    }


async def _found(bus: Bus, name: str) -> dict[str, Any] | None:
    try:
        return dict((await bus.api(f"STREAM.INFO.{name}"))["config"])
    except ApiError as error:
        if error.code == NOT_FOUND:
            return None
        raise


def _differences(
    name: str,
    found: Mapping[str, Any],
    wanted: Mapping[str, Any],
    allow_shrink: bool,
    replicas: int | None,
) -> list[Change]:
    changes = []
    for key, value in wanted.items():
        present = found.get(key)
        if present == value or (not present and not value):
            continue
        if key == "num_replicas" and replicas is None and (present or 1) > value:
            continue  # of a cluster; who wants fewer says how many
        changes.append(
            Change(name, key, present, value, _refusal(key, present, value, allow_shrink))
        )
    return changes


def _refusal(key: str, found: Any, wanted: Any, allow_shrink: bool) -> str:
    if key in UNCHANGEABLE:
        return "needs a new stream; back up, remove and provision again"
    if allow_shrink:
        return ""
    if key in SHRINKING and wanted > 0 and (found in (0, -1) or found is None or wanted < found):
        return "would drop what is stored; say --allow-shrink"
    if key == "subjects" and set(found or []) - set(wanted):
        return "would stop storing a subject; say --allow-shrink"
    if key == "num_replicas" and wanted < (found or 1):
        return "would give up replicas; say --allow-shrink"
    return ""
