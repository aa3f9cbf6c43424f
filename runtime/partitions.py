"""Saved state shared out anew when the number of partitions changes: rows by symbol, texts as functions say."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from runtime.bus import ApiError, Bus
from runtime.chain import Chain
from runtime.handover import read_blobs
from runtime.loader import ChainPlan, Hosted, Plan
from runtime.ownership import Unit, unit_key
from runtime.provision import provision
from runtime.snapshots import Damaged, chunks_of
from runtime.state import StateChanged
from runtime.subjects import Subjects, partition_of
from runtime.universe import feeds_of

STAGE = "partitions"  # of the bucket `snapshots`: what is about to take the place of what is there


class PartitionsError(RuntimeError):
    """State cannot be shared out anew; the text says why and what to do."""


def shared_out(plan: ChainPlan, subjects: Subjects, olds: Sequence[Chain]) -> list[Chain]:
    """The chains of every partition that `subjects` has, with the rows that are theirs of the old ones.

    olds   the chains of all partitions there were, all of whose input is answered
    """
    clock_ns = max(old.clock_ns for old in olds)
    chains = []
    for partition in range(subjects.partitions):
        parts = [(old, _rows_of(old, subjects.partitions, partition)) for old in olds]
        parts = [(old, rows) for old, rows in parts if len(rows)] or [(olds[0], np.zeros(0, int))]
        chain = Chain(plan, subjects, partition)
        columns = {one.name: _columns(one, parts) for one in plan.functions}
        chain.adopt([old.symbols[row] for old, rows in parts for row in rows], columns, clock_ns)
        chains.append(chain)
    return chains


def _rows_of(old: Chain, partitions: int, partition: int) -> Any:
    mine = [partition_of(symbol, partitions) == partition for symbol in old.symbols]
    return np.flatnonzero(np.array(mine, dtype=bool))


def _columns(hosted: Hosted, parts: list[tuple[Chain, Any]]) -> dict[str, Any]:
    """The columns of one function: rows side by side, a column that a part has not is zero there."""
    tables = [(old.table(hosted.name).columns(), rows) for old, rows in parts]
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for columns, _ in tables for name in columns):
        present = [columns[name] for columns, _ in tables if name in columns]
        if isinstance(present[0], str):
            found[name] = _text(hosted, name, [str(text) for text in present])
            continue
        shape = present[0].shape[1:]
        found[name] = np.concatenate(
            [
                columns[name][rows]
                if name in columns
                else np.zeros((len(rows), *shape), present[0].dtype)
                for columns, rows in tables
            ]
        )
    return found


def _text(hosted: Hosted, name: str, texts: list[str]) -> str:
    merge = hosted.declaration.merges.get(name)
    if merge is not None:
        try:
            return merge(texts)
        except ValueError as error:
            raise PartitionsError(f"function {hosted.name}: text {name}: {error}") from error
    if len(set(texts)) > 1:
        raise PartitionsError(
            f"function {hosted.name}: text {name} differs between partitions and nothing says how they "
            f"become one; declare merges={{{name!r}: ...}}"
        )
    return texts[0]


# -- in a deployment that stands still


async def change(
    bus: Bus, subjects: Subjects, partitions: int, plan: Plan, subjects_file: Path
) -> list[str]:
    """Share saved state out for another number of partitions; the units that have it. Raises PartitionsError.

    Everything is written beside what is there first; a run that broke off after that is gone on with.
    """
    if await bus.gather("runtime.status") or await feeds_of(bus):
        raise PartitionsError(
            "workers or feeds are running; stop them all, gateways too, then again"
        )
    _numbered(subjects_file, partitions)  # before anything is written
    new = subjects.model_copy(update={"partitions": partitions})
    kv = bus.kv("snapshots")
    staged = await kv.get(STAGE)
    if staged is None:
        if partitions == subjects.partitions:
            raise PartitionsError(f"there are {partitions} partitions already")
        told = await _staged(bus, subjects, new, plan)
        await kv.put(STAGE, json.dumps(told).encode())
    else:
        told = json.loads(staged.value)
        if told["to"] != partitions:
            raise PartitionsError(
                f"a change from {told['from']} to {told['to']} partitions broke off; finish it first: "
                f"jetscan partitions {told['to']}"
            )
    await _applied(bus, told)
    _write_number(subjects_file, partitions)
    await provision(bus, new)
    await kv.purge(f"{STAGE}.>")
    await kv.delete(STAGE)
    return list(told["units"])


async def _staged(bus: Bus, subjects: Subjects, new: Subjects, plan: Plan) -> dict[str, Any]:
    """Write the state of every new unit under names nobody reads yet."""
    # Epoch 0: whoever owns the unit first writes its own and removes it. Of another run it has another name.
    blob = f"0-{secrets.token_hex(4)}"
    units, chains = [], {}
    shares: list[tuple[ChainPlan, int, list[Chain]]] = []
    for chain in plan.chains:
        last = (await bus.stream_state(chain.stream)).last
        olds = [await _answered(bus, subjects, chain, partition) for partition in chain.partitions]
        present = [old for old in olds if old is not None]
        if chain.partitions == (None,):
            continue
        chains[chain.name] = chain.stream
        if not present:
            continue
        shares.append((chain, last, shared_out(chain, new, present)))
    for (
        chain,
        last,
        ones,
    ) in shares:  # all of them could be shared out: only now is anything written
        for partition, one in enumerate(ones):
            unit: Unit = (chain.name, partition)
            snapshot = one.snapshot(blob)
            meta = {**snapshot.meta, "cursor": last, "epoch": 0, "partitions": new.partitions}
            for number, chunk in enumerate(chunks_of(snapshot.blob)):
                await bus.kv("snapshots").put(f"{unit_key(unit)}.{blob}.{number}", chunk)
            await bus.kv("snapshots").put(f"{STAGE}.{unit_key(unit)}", msgpack.packb(meta))
            units.append(unit_key(unit))
    return {"from": subjects.partitions, "to": new.partitions, "units": units, "chains": chains}


async def _answered(
    bus: Bus, subjects: Subjects, plan: ChainPlan, partition: int | None
) -> Chain | None:
    """The saved state of a unit that has answered all of its input; None if nothing was saved."""
    unit, kv = (plan.name, partition), bus.kv("snapshots")
    entry = await kv.get(unit_key(unit))
    meta = msgpack.unpackb(entry.value) if entry else {"cursor": 0}
    for wire in plan.wire_inputs(subjects, partition):
        waiting = await bus.first(plan.stream, wire, meta["cursor"] + 1)
        if waiting is not None:
            raise PartitionsError(
                f"{unit_key(unit)} has not answered all of its input: it is saved at {meta['cursor']}, "
                f"{waiting.subject} has {waiting.sequence}; stop the feeds, run workers until "
                "`jetscan lag` shows nothing pending, stop them, then again"
            )
    if entry is None or partition is None:
        return None
    blobs = await read_blobs(kv, unit_key(unit), meta, {})
    if blobs is None:
        raise PartitionsError(f"{unit_key(unit)}: its saved state is not whole")
    chain = Chain(plan, subjects, partition)
    try:
        chain.restore(meta, blobs)
    except (Damaged, StateChanged, ValueError) as error:
        raise PartitionsError(f"{unit_key(unit)}: {error}") from error
    return chain


async def _applied(bus: Bus, told: dict[str, Any]) -> None:
    """Put what was staged in its place, and remove units that are no more; may be done again."""
    kv = bus.kv("snapshots")
    for key in told["units"]:
        entry = await kv.get(f"{STAGE}.{key}")
        if entry is not None:
            await kv.put(key, entry.value)
    for chain, stream in told["chains"].items():
        for partition in range(told["to"], told["from"]):
            key = unit_key((chain, partition))
            await kv.purge(f"{key}.>")
            await kv.delete(key)
            await bus.kv("owners").delete(key)
            with contextlib.suppress(ApiError):  # there is none
                await bus.api(f"CONSUMER.DELETE.{stream}.{key.replace('.', '-')}")


def _numbered(file: Path, partitions: int) -> str:
    """The text of subjects.yaml with another number; raises PartitionsError where it could not be written."""
    text = file.read_text(encoding="utf-8")
    changed, count = re.subn(
        r"^partitions: \d+", f"partitions: {partitions}", text, flags=re.MULTILINE
    )
    if count != 1:
        raise PartitionsError(f"{file}: expected one line `partitions: N`, found {count}")
    if not os.access(file.parent, os.W_OK):
        raise PartitionsError(f"{file}: {file.parent} cannot be written to; run this where it can")
    return changed


def _write_number(file: Path, partitions: int) -> None:
    changed = _numbered(file, partitions)
    fresh = file.with_suffix(".new")
    fresh.write_text(changed, encoding="utf-8")
    fresh.rename(file)
