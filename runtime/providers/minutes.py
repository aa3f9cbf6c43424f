"""Minute bars of the past, from files: told before the first print of a feed, oldest first, a file at a time.

Told is what is over when the feed's clock begins. Prices are taken as adjusted for the splits up to
then. Where a file has no VWAP a bar's money is its volume at (high + low + close) / 3. Files are told
in the order in which they are given; the next one begins after the one before it ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime import telemetry
from runtime.frames import Array
from runtime.providers import Batch
from runtime.providers.symbols import normal_table
from runtime.tables import TableError, read_bars

log = telemetry.get_logger(__name__)

MINUTE_NS = 60_000_000_000
ROWS = 65_536  # of a batch, whole minutes: half a dozen MB, and a hundred frames of each partition
COLUMNS = ("ts_ns", "open", "high", "low", "close", "volume", "vwap", "count", "revision")


def minutes_until(files: Sequence[Path], until_ns: int) -> Iterator[Batch]:
    """The bars of files that are over by `until_ns`, in order of time. Raises TableError."""
    told_ns = 0
    for number, path in enumerate(files, 1):
        symbols, columns = _bars(path)
        times = columns["ts_ns"]
        if len(times) and int(times[0]) < told_ns:
            raise TableError(
                f"{path}: begins before the file before it ends; give the oldest first"
            )
        told_ns = int(times[-1]) if len(times) else told_ns
        stop = int(np.searchsorted(times, until_ns - MINUTE_NS, side="right"))
        for rows in _whole_minutes(times[:stop]):
            part = {name: values[rows] for name, values in columns.items()}
            table, index = np.unique(symbols[rows], return_inverse=True)
            yield Batch("minutes", part, table.tolist(), index)
        log.info("minutes told", file=str(path), number=number, of=len(files), bars=stop)


def _bars(path: Path) -> tuple[Array, dict[str, Array]]:
    """(symbol of each bar, columns of the `bars` record) in order of time; test symbols are left out."""
    read = read_bars(path)
    table = normal_table(read["symbol"])
    listed = np.array([symbol in table for symbol in read["symbol"]], dtype=bool)
    symbols = np.array([table[one] for one in read["symbol"] if one in table], dtype=str)
    columns: dict[str, Any] = {name: read[name][listed] for name in COLUMNS[:-1]}
    columns["ts_ns"] = columns["ts_ns"] // MINUTE_NS * MINUTE_NS
    typical = (columns["high"] + columns["low"] + columns["close"]) / 3.0
    columns["vwap"] = np.where(np.isfinite(columns["vwap"]), columns["vwap"], typical)
    columns["count"] = np.nan_to_num(columns["count"], nan=0.0).astype(np.int64)
    columns["revision"] = np.zeros(len(symbols), dtype=np.int32)
    return symbols, columns


def _whole_minutes(times: Array) -> Iterator[slice]:
    """Stretches of about ROWS bars that end with a minute."""
    start = 0
    while start < len(times):
        last = int(times[min(start + ROWS, len(times)) - 1])
        stop = int(np.searchsorted(times, last, side="right"))
        yield slice(start, stop)
        start = stop
