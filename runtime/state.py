"""State as tables by symbol: one row per symbol, one column per value, saved as an index and blobs of bytes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from runtime.contract import ContractError, Declaration
from runtime.frames import Frame

Array = NDArray[Any]

ROWS_AT_FIRST = 64
BINDINGS_MAX = 64  # symbol tables remembered: a feed repeats the same few
CHUNK_BYTES = 512 << 10  # a snapshot message; well below the 1 MiB of a stream message
COLUMN_DTYPES = ("f8", "f4", "i8", "i4", "i2", "u8", "u4", "u2", "u1")


class StateChanged(RuntimeError):
    """A saved state does not fit the function's declaration, which does not say how to carry it."""


class Rows:
    """The symbols of a partition, numbered in order of first appearance. Rows are never taken back."""

    def __init__(self, symbols: Iterable[str] = ()) -> None:
        self.symbols: list[str] = list(symbols)
        self._row: dict[str, int] = {symbol: row for row, symbol in enumerate(self.symbols)}
        self._bound: OrderedDict[tuple[str, ...], Array] = OrderedDict()

    def __len__(self) -> int:
        return len(self.symbols)

    def row_of(self, symbol: str) -> int | None:
        """The row of a symbol that has been seen, else None."""
        return self._row.get(symbol)

    def bind(self, frame: Frame) -> None:
        """Give the frame's events their rows; new symbols are appended."""
        if frame.symbols is None or frame.rows_by_symbol is not None:
            return
        table = tuple(frame.symbols)
        rows = self._bound.get(table)
        if rows is None:
            rows = np.array([self._row_for(symbol) for symbol in table], dtype=np.int64)
            self._bound[table] = rows
            if len(self._bound) > BINDINGS_MAX:
                self._bound.popitem(last=False)
        else:
            self._bound.move_to_end(table)
        frame.rows_by_symbol = rows

    def _row_for(self, symbol: str) -> int:
        row = self._row.setdefault(symbol, len(self.symbols))
        if row == len(self.symbols):
            self.symbols.append(symbol)
        return row


@dataclass(frozen=True)
class Shape:
    """One declared column: dtype and, for a ring per symbol, its width.

    `logged` columns are read as they are and written with `put` only, so that a batch that raised
    is undone at the cost of what it wrote, not of the whole ring.
    """

    dtype: str
    width: int = 0
    logged: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes one symbol takes; 0 for a text."""
        return 0 if self.dtype == "text" else np.dtype(self.dtype).itemsize * max(self.width, 1)


def shape_of(name: str, declared: Any) -> Shape:
    """The shape a declaration means; raises ContractError with what may be written."""
    if declared == "text" or declared in COLUMN_DTYPES:
        return Shape(declared)
    if isinstance(declared, tuple) and len(declared) in (2, 3):
        dtype, width, *rest = declared
        if (
            dtype in COLUMN_DTYPES
            and isinstance(width, int)
            and 0 < width <= 1 << 16
            and rest in ([], ["put"])
        ):
            return Shape(dtype, width, bool(rest))
    raise ContractError(
        f"state {name}: expected one of {COLUMN_DTYPES}, (dtype, width), (dtype, width, 'put') or "
        f"'text', found {declared!r}"
    )


def shapes_of(declaration: Declaration) -> dict[str, Shape]:
    """Every declared column of a function; raises ContractError."""
    return {name: shape_of(name, declared) for name, declared in declaration.state.items()}


class Table:
    """The state of one function in one partition.

    `table["high"]` is a view of the live rows, to be read and written in place; texts are replaced.
    """

    def __init__(self, rows: Rows, shapes: Mapping[str, Shape]) -> None:
        self._rows = rows
        self._shapes = dict(shapes)
        self._arrays: dict[str, Array] = {}
        self._texts: dict[str, str] = {}
        self._capacity = max(ROWS_AT_FIRST, len(rows))
        self._written: list[tuple[str, Any, Array]] = []  # what `put` replaced since the last mark
        for name, shape in self._shapes.items():
            if shape.dtype == "text":
                self._texts[name] = ""
            elif not name.endswith(".*"):
                self._arrays[name] = self._zeros(shape)

    @property
    def rows(self) -> int:
        """Number of symbols."""
        return len(self._rows)

    @property
    def symbols(self) -> list[str]:
        """The symbol of each row."""
        return self._rows.symbols

    def row_of(self, symbol: str) -> int | None:
        """The row of a symbol, None before its first event."""
        return self._rows.row_of(symbol)

    def __getitem__(self, name: str) -> Any:
        if name in self._texts:
            return self._texts[name]
        array = self._arrays.get(name)
        if array is None:
            if len(self._rows.symbols) > self._capacity:
                self._grow()
            array = self._arrays[name] = self._zeros(self._family_shape(name))
        rows = len(self._rows.symbols)
        if rows > self._capacity:
            self._grow()
            array = self._arrays[name]
        view = array[:rows]
        shape = self._shapes.get(name)
        if shape is not None and shape.logged:
            view.flags.writeable = False
        return view

    def put(self, name: str, index: Any, values: Any) -> None:
        """Write into a column declared as (dtype, width, 'put'): `put("closes", (row, slot), price)`."""
        self[name]  # room for new symbols
        array = self._arrays[name]
        self._written.append((name, index, array[index].copy()))
        array[index] = values

    def put_flat(self, name: str, at: Array, values: Any) -> None:
        """`put` by places in the column read as one array: row * width + slot; much faster for many."""
        self[name]  # room for new symbols
        flat = self._arrays[name].reshape(-1)
        self._written.append((name, _Flat(at), flat[at]))
        flat[at] = values

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._texts:
            if not isinstance(value, str):
                raise TypeError(f"state {name}: expected a text, found {type(value).__name__}")
            self._texts[name] = value
            return
        self[name][...] = value

    def __delitem__(self, name: str) -> None:
        self._family_shape(name)
        self._arrays.pop(name, None)

    def __contains__(self, name: str) -> bool:
        return name in self._texts or name in self._arrays

    def family(self, prefix: str) -> list[str]:
        """The members of a family in use: `family("armed")` -> ["r1"] where state["armed.r1"] is."""
        start = prefix + "."
        return sorted(name[len(start) :] for name in self._arrays if name.startswith(start))

    @property
    def bytes_used(self) -> int:
        """Memory of all columns, spare rows included."""
        return sum(array.nbytes for array in self._arrays.values()) + sum(
            len(text) for text in self._texts.values()
        )

    # -- undo: a batch that raised leaves no trace

    def mark(self, touched: Array | None) -> _Mark:
        """Remember the rows a handler may change (None: all), to be given to `undo`."""
        rows = slice(0, self.rows) if touched is None else touched
        kept = {}
        if len(self._rows.symbols) > self._capacity:
            self._grow()
        for name, column in self._arrays.items():
            if name not in self._shapes or not self._shapes[name].logged:
                kept[name] = column[rows].copy() if touched is None else column[rows]
        self._written.clear()
        return _Mark(rows, kept, dict(self._texts))

    def undo(self, mark: _Mark) -> None:
        """Put back what `mark` remembered."""
        for name, index, before in reversed(self._written):
            if isinstance(index, _Flat):
                self._arrays[name].reshape(-1)[index.at] = before
            else:
                self._arrays[name][index] = before
        self._written.clear()
        for name in [name for name in self._arrays if name not in mark.kept]:
            if name not in self._shapes:
                del self._arrays[name]
        for name, values in mark.kept.items():
            if name not in self._arrays:
                self._arrays[name] = self._zeros(self._family_shape(name))
            self._arrays[name][mark.rows] = values
        self._texts = dict(mark.texts)

    # -- saving and loading

    def columns(self) -> dict[str, Array | str]:
        """Every column with live rows only, and every text, by name."""
        return {name: self[name] for name in [*self._arrays, *self._texts]}

    def load(self, columns: Mapping[str, Any]) -> None:
        """Take over saved columns; those of no declared shape are refused."""
        for name, values in columns.items():
            if name in self._texts:
                self._texts[name] = str(values)
                continue
            view = self[name]
            if view.shape != values.shape:
                raise StateChanged(f"state {name}: saved {values.shape}, declared {view.shape}")
            self._arrays[name][: len(view)] = values

    def _family_shape(self, name: str) -> Shape:
        family = name.partition(".")[0] + ".*"
        if name in self._shapes or family not in self._shapes:
            if name in self._shapes:
                return self._shapes[name]
            raise KeyError(f"state {name}: not declared; declared are {sorted(self._shapes)}")
        return self._shapes[family]

    def _zeros(self, shape: Shape) -> Array:
        size = (self._capacity, shape.width) if shape.width else (self._capacity,)
        return np.zeros(size, dtype=shape.dtype)

    def _grow(self) -> None:
        while self._capacity < self.rows:
            self._capacity *= 2
        for name, array in self._arrays.items():
            if len(array) < self._capacity:
                larger = np.zeros((self._capacity, *array.shape[1:]), dtype=array.dtype)
                larger[: len(array)] = array
                self._arrays[name] = larger


@dataclass(frozen=True)
class _Flat:
    at: Array


@dataclass(frozen=True)
class _Mark:
    rows: Any
    kept: dict[str, Array]
    texts: dict[str, str]


# -- snapshots: columns to blobs and back


@dataclass(frozen=True)
class Snapshot:
    """A chain's state: a small index, and the bytes of the columns that changed since the last one.

    The index names for every column the blob it lies in; `blob` is what this snapshot adds.
    """

    meta: dict[str, Any]
    blob_id: str
    blob: bytes


def blobs_of(meta: Mapping[str, Any]) -> dict[str, int]:
    """The blobs a snapshot's index refers to, with their sizes."""
    return dict(meta["blobs"])


def pack_columns(
    columns: Mapping[str, Array | str], blob_id: str, previous: Mapping[str, Any] | None = None
) -> Snapshot:
    """Columns and texts by name as a snapshot; what is as in `previous` is not written again."""
    saved = {entry["name"]: entry for entry in previous["columns"]} if previous else {}
    entries, parts, size = [], [], 0
    for name, values in columns.items():
        if isinstance(values, str):
            dtype, shape, raw = "text", [], values.encode()
        else:
            dtype, shape = values.dtype.str, list(values.shape)
            raw = np.ascontiguousarray(values).tobytes()
        digest = hashlib.blake2b(raw, digest_size=16).hexdigest()
        before = saved.get(name)
        if before and (before["hash"], before["shape"], before["dtype"]) == (digest, shape, dtype):
            entries.append(before)
            continue
        entry = {"name": name, "dtype": dtype, "shape": shape, "hash": digest}
        entries.append({**entry, "blob": blob_id, "start": size, "size": len(raw)})
        parts.append(raw)
        size += len(raw)
    used = {entry["blob"] for entry in entries}
    blobs = {key: n for key, n in (blobs_of(previous) if previous else {}).items() if key in used}
    if parts:
        blobs[blob_id] = size
    return Snapshot({"columns": entries, "blobs": blobs}, blob_id, b"".join(parts))


def chunks_of(blob: bytes) -> list[bytes]:
    """A blob in messages of at most CHUNK_BYTES; an empty blob is one empty message."""
    return [blob[start : start + CHUNK_BYTES] for start in range(0, max(len(blob), 1), CHUNK_BYTES)]


def unpack_columns(meta: Mapping[str, Any], blobs: Mapping[str, bytes]) -> dict[str, Any]:
    """The columns of a snapshot; raises ValueError where bytes are not those that were saved."""
    columns: dict[str, Any] = {}
    for entry in meta["columns"]:
        raw = blobs[entry["blob"]][entry["start"] : entry["start"] + entry["size"]]
        if hashlib.blake2b(raw, digest_size=16).hexdigest() != entry["hash"]:
            raise ValueError(f"snapshot column {entry['name']}: checksum differs")
        if entry["dtype"] == "text":
            columns[entry["name"]] = raw.decode()
        else:
            columns[entry["name"]] = np.frombuffer(raw, dtype=entry["dtype"]).reshape(
                entry["shape"]
            )
    return columns


def pack_symbols(symbols: list[str]) -> Array:
    """The symbol list as bytes, so that it is saved like any column."""
    return np.frombuffer(msgpack.packb(symbols), dtype=np.uint8)


def unpack_symbols(values: Array) -> list[str]:
    """The inverse of `pack_symbols`."""
    return list(msgpack.unpackb(values.tobytes()))


def schema_of(declaration: Declaration) -> dict[str, Any]:
    """What a snapshot remembers of a declaration, to notice a change."""
    shapes = shapes_of(declaration)
    return {
        "version": declaration.version,
        "columns": {name: [shape.dtype, shape.width] for name, shape in sorted(shapes.items())},
    }


def carried(
    declaration: Declaration, saved: Mapping[str, Any], columns: dict[str, Any]
) -> dict[str, Any]:
    """The saved columns as the declaration wants them now; raises StateChanged if it does not say."""
    if saved == schema_of(declaration):
        return columns
    carry: str | Callable[..., Any] | None = declaration.carry
    if carry == "clean":
        return {}
    if carry == "keep":
        return _kept(declaration, columns)
    if callable(carry):
        return dict(carry(columns, int(saved["version"])))
    raise StateChanged(
        f"function {declaration.name}: its state was saved as version {saved['version']} with "
        f"{sorted(saved['columns'])}, now it declares version {declaration.version} with "
        f"{sorted(declaration.state)}; say carry='keep', carry='clean' or give a function"
    )


def _kept(declaration: Declaration, columns: dict[str, Any]) -> dict[str, Any]:
    shapes = shapes_of(declaration)
    kept = {}
    for name, values in columns.items():
        shape = shapes.get(name) or shapes.get(name.partition(".")[0] + ".*")
        if shape is None:
            continue
        if shape.dtype == "text" and isinstance(values, str):
            kept[name] = values
        elif shape.dtype != "text" and not isinstance(values, str):
            width = values.shape[1] if values.ndim == 2 else 0
            if width == shape.width:
                kept[name] = values.astype(shape.dtype)
    return kept
