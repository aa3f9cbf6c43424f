"""`jetscan state`: what a function remembers of a symbol, as it was saved last."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import msgpack
import numpy as np

from runtime.bus import Bus
from runtime.chain import SYMBOLS
from runtime.handover import read_blobs
from runtime.loader import ChainPlan, Plan
from runtime.ownership import unit_key
from runtime.snapshots import unpack, unpack_symbols
from runtime.subjects import Subjects, partition_of

TRIES = 5  # whoever saves meanwhile removes what it replaced
RING_SHOWN = 6  # values of a ring, for people


class StateError(RuntimeError):
    """There is no such state; the text says why."""


@dataclass(frozen=True)
class Remembered:
    """The row of a symbol, and when it was saved.

    columns   name -> value, or values of a ring; texts are of the whole partition
    cursor    the input up to which it has seen the stream
    """

    function: str
    symbol: str
    unit: str
    version: str
    cursor: int
    clock_ns: int
    columns: dict[str, Any]
    texts: dict[str, str]


async def remembered(
    bus: Bus, subjects: Subjects, plan: Plan, function: str, symbol: str
) -> Remembered:
    """What the newest snapshot has of a symbol; raises StateError."""
    chain = _chain_of(plan, function)
    partition = None if chain.partitions == (None,) else partition_of(symbol, subjects.partitions)
    unit = unit_key((chain.name, partition))
    meta, columns = await _read(bus, unit)
    if function not in meta["functions"]:
        raise StateError(f"{unit}: nothing of {function} was saved yet; see jetscan lag")
    symbols = unpack_symbols(columns[SYMBOLS])
    if symbol not in symbols:
        near = get_close_matches(symbol, symbols, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise StateError(f"{unit} has seen no {symbol} yet, of {len(symbols)} symbols{meant}")
    row, prefix = symbols.index(symbol), f"{function}/"
    own = {
        name.removeprefix(prefix): one for name, one in columns.items() if name.startswith(prefix)
    }
    return Remembered(
        function,
        symbol,
        unit,
        meta["functions"][function]["version"],
        meta["cursor"],
        meta["clock_ns"],
        {name: one[row].tolist() for name, one in own.items() if not isinstance(one, str)},
        {name: one for name, one in own.items() if isinstance(one, str)},
    )


def _chain_of(plan: Plan, function: str) -> ChainPlan:
    chain = plan.chain(function)
    hosted = next((one for one in plan.functions if one.name == function), None)
    if hosted is None:
        names = sorted(one.name for one in plan.functions if one.declaration.state)
        raise StateError(f"no function {function}; with state there are {', '.join(names)}")
    if chain is None or not hosted.declaration.state:
        raise StateError(f"{function} declares no state")
    return chain


async def _read(bus: Bus, unit: str) -> tuple[dict[str, Any], dict[str, Any]]:
    kv = bus.kv("snapshots")
    for _ in range(TRIES):
        entry = await kv.get(unit)
        if entry is None:
            raise StateError(f"{unit}: nothing was saved yet; see jetscan lag")
        meta = msgpack.unpackb(entry.value)
        blobs = await read_blobs(kv, unit, meta, {})
        if blobs is not None:
            return meta, unpack(meta, blobs)
    raise StateError(
        f"{unit}: the saved state is not whole; see docs/operations.md, a lost snapshot"
    )


def rows(found: Remembered) -> list[dict[str, Any]]:
    """The columns for people."""
    told = [{"column": name, "value": _shown(value)} for name, value in found.columns.items()]
    told += [
        {"column": f"{name} (of the partition)", "value": _shown(text)}
        for name, text in found.texts.items()
    ]
    return told


def _shown(value: Any) -> str:
    if isinstance(value, list):
        used = int(np.count_nonzero(value))
        head = ", ".join(f"{one:.8g}" for one in value[:RING_SHOWN])
        more = ", ..." if len(value) > RING_SHOWN else ""
        return f"[{head}{more}] ({used} of {len(value)} not 0)"
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
