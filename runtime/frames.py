"""One NATS message as columns: many events of one kind, encoded and checked.

On the wire a frame is a msgpack map

    {v: 1, src: str, seq: int, n: rows, sym: [symbols], i: bin u2 index into sym, <column>: bin, ...}

with little-endian numpy bytes in every `bin` and a list of strings for text columns. A single event
published by hand is a plain map, JSON or msgpack, of column names to values; `v` tells them apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, overload

import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.subjects import Column, Record

Array = NDArray[Any]

FRAME_VERSION = 1
FRAME_BYTES_TARGET = 64 << 10  # the knee: larger frames add latency, smaller ones cost CPU per tick
FRAME_BYTES_MAX = (1 << 20) - (16 << 10)  # the server's 1 MiB less room for headers
SYMBOLS_MAX = 1 << 16  # the index is a u2
SYMBOL_BYTES_MAX = 64
_KEYS = frozenset({"v", "src", "seq", "n", "sym", "i"})
_DTYPES = {code: np.dtype("<" + code) for code in ("f8", "f4", "i8", "i4", "u8", "u4", "u2", "u1")}
_INDEX = np.dtype("<u2")


class BadFrame(ValueError):
    """A message that is refused; the text says what was expected and what was found."""


class Frame:
    """Events of one subject, a numpy column each.

    `symbols[index[k]]` is the symbol of event k; both are None for events without one. Inside a
    chain `frame["row"]` is the event's row in the state tables.
    """

    __slots__ = ("columns", "extra", "index", "rows_by_symbol", "sequence", "source", "symbols")

    def __init__(
        self,
        columns: dict[str, Array],
        symbols: list[str] | None = None,
        index: Array | None = None,
        source: str = "",
        sequence: int = 0,
    ) -> None:
        self.columns = columns
        self.symbols = symbols
        self.index = index
        self.source = source
        self.sequence = sequence
        self.rows_by_symbol: Array | None = None
        self.extra: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __contains__(self, name: str) -> bool:
        return name in self.columns or (name in ("row", "symbol") and self.index is not None)

    @overload
    def __getitem__(self, key: str) -> Array: ...
    @overload
    def __getitem__(self, key: Array | slice | Sequence[int]) -> Frame: ...
    def __getitem__(self, key: Any) -> Any:
        """A column by its name, or the events picked by a mask, a slice or positions."""
        if not isinstance(key, str):
            return self._pick(key)
        if key in self.columns:
            return self.columns[key]
        if key == "row" and self.rows_by_symbol is not None and self.index is not None:
            self.columns["row"] = self.rows_by_symbol[self.index]
            return self.columns["row"]
        if key == "symbol" and self.symbols is not None:
            return np.array(self.symbols, dtype=object)[self.index]
        raise KeyError(f"{key}: the frame has {sorted(self.columns)}")

    def get(self, name: str, default: Any = None) -> Any:
        """The column, or `default` where the frame has none of that name."""
        return self[name] if name in self else default  # noqa: SIM401 -- this is `get` itself

    def _pick(self, rows: Any) -> Frame:
        picked = Frame(
            {name: column[rows] for name, column in self.columns.items()},
            self.symbols,
            None if self.index is None else self.index[rows],
            self.source,
            self.sequence,
        )
        picked.rows_by_symbol = self.rows_by_symbol
        return picked


def encode(frame: Frame, record: Record) -> bytes:
    """The frame as one message; raises BadFrame if a required column is missing."""
    symbols, index = _compact(frame)
    message: dict[str, Any] = {
        "v": FRAME_VERSION,
        "src": frame.source,
        "seq": frame.sequence,
        "n": len(frame),
    }
    if symbols is not None and index is not None:
        message["sym"] = symbols
        message["i"] = index.astype(_INDEX, copy=False).tobytes()
    for name, column in record.columns.items():
        values = frame.columns.get(name)
        if values is None:
            if column.required:
                raise BadFrame(f"{record.name}: column {name} is missing")
        elif column.type == "text":
            message[name] = [str(value) for value in values]
        else:
            message[name] = values.astype(_DTYPES[column.type], copy=False).tobytes()
    return msgpack.packb(message)  # type: ignore[no-any-return]


def encode_parts(frame: Frame, record: Record) -> list[bytes]:
    """The frame as one message, or as several where one would be above FRAME_BYTES_MAX."""
    data = encode(frame, record)
    if len(data) <= FRAME_BYTES_MAX:
        return [data]
    if len(frame) == 1:
        raise BadFrame(f"{record.name}: one event of {len(data)} bytes; at most {FRAME_BYTES_MAX}")
    half = len(frame) // 2
    return encode_parts(frame[:half], record) + encode_parts(frame[half:], record)


def _compact(frame: Frame) -> tuple[list[str] | None, Array | None]:
    """Only the symbols that occur, so that a few events never carry the table of thousands."""
    if frame.symbols is None or frame.index is None:
        return None, None
    if len(frame.symbols) <= len(frame):
        return frame.symbols, frame.index
    used, index = np.unique(frame.index, return_inverse=True)
    return [frame.symbols[k] for k in used], index


def decode(data: bytes, record: Record, symbol: str | None = None, now_ns: int = 0) -> Frame:
    """The frame in a message, checked column by column; raises BadFrame with the reason.

    symbol  of a plain single event whose subject names it (`ticks.raw.AAPL`)
    now_ns  event time given to a plain single event that has no `ts_ns`
    """
    if len(data) > FRAME_BYTES_MAX:
        raise BadFrame(f"{len(data)} bytes; at most {FRAME_BYTES_MAX}")
    message = _unpack(data)
    if "v" not in message:
        return _single(message, record, symbol, now_ns)
    if message["v"] != FRAME_VERSION:
        raise BadFrame(f"frame version {message['v']!r}; expected {FRAME_VERSION}")
    rows = message.get("n")
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise BadFrame(f"n: expected a number of rows from 1, found {rows!r}")
    frame = Frame(
        {},
        source=str(message.get("src", "")),
        sequence=_integer(message.get("seq", 0), "seq"),
    )
    if "sym" in message or "i" in message:
        frame.symbols, frame.index = _symbols(message, rows)
    for name, column in record.columns.items():
        if name in message:
            frame.columns[name] = _column(name, message[name], column, rows)
        elif column.required:
            raise BadFrame(f"{record.name}: column {name} is missing")
    frame.extra = {
        name: value
        for name, value in message.items()
        if name not in _KEYS and name not in record.columns
    }
    return frame


def _unpack(data: bytes) -> dict[str, Any]:
    try:
        is_json = data[:1] in (b"{", b" ", b"\n")
        message = json.loads(data) if is_json else msgpack.unpackb(data)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise BadFrame(f"neither msgpack nor JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadFrame(f"expected a map, found {type(message).__name__}")
    return message


def _symbols(message: Mapping[str, Any], rows: int) -> tuple[list[str], Array]:
    symbols, raw = message.get("sym"), message.get("i")
    if not isinstance(symbols, list) or not symbols or len(symbols) > SYMBOLS_MAX:
        raise BadFrame("sym: expected a list of 1 to 65536 symbols")
    for symbol in symbols:
        if not isinstance(symbol, str) or not 0 < len(symbol) <= SYMBOL_BYTES_MAX:
            raise BadFrame(
                f"sym: expected texts of 1 to {SYMBOL_BYTES_MAX} letters, found {symbol!r}"
            )
    if not isinstance(raw, bytes) or len(raw) != rows * _INDEX.itemsize:
        found = len(raw) if isinstance(raw, bytes) else type(raw).__name__
        raise BadFrame(f"i: expected {rows * _INDEX.itemsize} bytes, found {found}")
    index = np.frombuffer(raw, _INDEX)
    if int(index.max()) >= len(symbols):
        raise BadFrame(f"i: {int(index.max())} is beyond the {len(symbols)} symbols of sym")
    return symbols, index


def _column(name: str, value: Any, column: Column, rows: int) -> Array:
    if column.type == "text":
        if not isinstance(value, list) or len(value) != rows:
            raise BadFrame(f"{name}: expected a list of {rows} texts")
        if not all(isinstance(text, str) for text in value):
            raise BadFrame(f"{name}: expected texts only")
        return texts(value)
    dtype = _DTYPES[column.type]
    if not isinstance(value, bytes) or len(value) != rows * dtype.itemsize:
        found = f"{len(value)} bytes" if isinstance(value, bytes) else type(value).__name__
        raise BadFrame(
            f"{name}: expected {rows} x {column.type} ({rows * dtype.itemsize} bytes), found {found}"
        )
    values = np.frombuffer(value, dtype)
    check_values(name, values, column)
    return values


def texts(values: list[str]) -> Array:
    """A text column."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def check_values(name: str, values: Array, column: Column) -> None:
    """Refuse what the column's limits forbid: NaN, infinity, outside `above` or `from` and `below`."""
    if column.above is not None:
        good = values > column.above
    elif column.from_ is not None:
        good = values >= column.from_
    elif values.dtype.kind == "f" and not column.absent:
        good = np.isfinite(values)
    else:
        return
    if values.dtype.kind == "f" or column.below is not None:
        good = good & (values < (np.inf if column.below is None else column.below))
    if not good.all():
        row = int(np.argmin(good))
        limit = f"> {column.above}" if column.above is not None else "a finite number"
        limit = f">= {column.from_}" if column.from_ is not None else limit
        if column.below is not None and values[row] >= column.below:
            limit = f"< {column.below}"
        raise BadFrame(f"{name}: expected {limit}, found {values[row]} in row {row}")


def _single(message: Mapping[str, Any], record: Record, symbol: str | None, now_ns: int) -> Frame:
    """One event written by hand: a map of column names to values."""
    values = dict(message)
    symbol = values.pop("symbol", symbol) if symbol is None else symbol
    values.pop("symbol", None)
    columns: dict[str, Array] = {}
    if values.get("ts_ns") is None and "ts_ns" in record.columns:
        values["ts_ns"] = now_ns
    for name, column in record.columns.items():
        value = values.pop(name, None)
        if value is None:
            if column.required:
                raise BadFrame(f"{record.name}: {name} is missing; found {sorted(message)}")
            continue
        columns[name] = _scalar(name, value, column)
    if symbol is None:
        frame = Frame(columns, source="hand")
    elif isinstance(symbol, str) and 0 < len(symbol) <= SYMBOL_BYTES_MAX:
        frame = Frame(columns, [symbol], np.zeros(1, _INDEX), source="hand")
    else:
        raise BadFrame(f"symbol: expected 1 to {SYMBOL_BYTES_MAX} letters, found {symbol!r}")
    frame.extra = values
    return frame


def _scalar(name: str, value: Any, column: Column) -> Array:
    if column.type == "text":
        if not isinstance(value, str):
            raise BadFrame(f"{name}: expected a text, found {value!r}")
        return texts([value])
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFrame(f"{name}: expected a number, found {value!r}")
    if isinstance(value, float) and not math.isfinite(value) and not column.absent:
        raise BadFrame(f"{name}: expected a finite number, found {value!r}")
    if column.type[0] in "iu" and value != int(value):
        raise BadFrame(f"{name}: expected a whole number, found {value!r}")
    try:
        values = np.array([value], dtype=_DTYPES[column.type])
    except (OverflowError, ValueError) as error:
        raise BadFrame(f"{name}: {value!r} does not fit {column.type}") from error
    check_values(name, values, column)
    return values


def _integer(value: Any, name: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadFrame(f"{name}: expected a whole number, found {value!r}")


def concatenate(frames: list[Frame], record: Record) -> Frame:
    """The events of several frames, in order, as one frame (columns not in all are left out)."""
    if len(frames) == 1:
        return frames[0]
    names = [name for name in record.columns if all(name in frame.columns for frame in frames)]
    columns = {name: np.concatenate([frame.columns[name] for frame in frames]) for name in names}
    if any(frame.symbols is None for frame in frames):
        return Frame(columns, source=frames[0].source, sequence=frames[0].sequence)
    place: dict[str, int] = {}
    parts = []
    for frame in frames:
        table = [place.setdefault(symbol, len(place)) for symbol in frame.symbols or ()]
        parts.append(np.array(table, dtype=np.int64)[frame.index])
    return Frame(columns, list(place), np.concatenate(parts), frames[0].source, frames[0].sequence)
