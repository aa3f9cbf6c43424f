"""State as tables by symbol: one row per symbol, one column per value; what a batch changed can be undone."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.contract import ContractError, Declaration
from runtime.frames import Frame

Array = NDArray[Any]

ROWS_SPARE = 64  # room is made for so many symbols at a time: 625 lie in 640 rows,
ROWS_SPARE_FEW = 8  # and for fewer where there are few: they are saved and loaded as well
BINDINGS_MAX = 64  # symbol tables remembered: a feed repeats the same few
WHOLE_BYTES = 16 << 10  # a column up to this size is copied whole in less than picking rows takes
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

    `logged` columns are read as they are and written with `put` only, so that undoing and saving
    cost what was written, not the whole ring.
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


@dataclass(frozen=True)
class Stored:
    """A column as it lies in memory, to be saved: a ring slot by slot, anything else row by row.

    values   a ring: (slots, rows and spare rows); else (rows, ...)
    rows     of a ring: how many rows are in use, the spare ones are zero; None: it is no ring
    written  of a ring: which slots were written since `note_saved`; None: not known
    """

    values: Array
    rows: int | None = None
    written: Array | None = None


class Cells:
    """One slot of each of some rows, found once and then read and written in any ring that has it.

    flat  their places in a ring that lies slot by slot, `capacity` rows each
    """

    __slots__ = ("_slots", "capacity", "flat")

    def __init__(self, flat: Array, capacity: int, slots: Array | None = None) -> None:
        self.flat = flat
        self.capacity = capacity
        self._slots = slots

    @property
    def slots(self) -> Array:
        """The slots they lie in, each once."""
        if self._slots is None:
            self._slots = np.flatnonzero(np.bincount(self.flat.reshape(-1) // self.capacity))
        return self._slots


# What `undo` puts back: (column, index, values before), all rows where there is no index. A column that
# was made or deleted and a text that was replaced have _WHOLE for an index; None is what was not there.
_Change = tuple[str, Any, Any]
_WHOLE = object()


class Table:
    """The state of one function in one partition.

    `table["high"]` is a view of the live rows, to be read and written in place; texts are replaced.

    Columns declared with "put" lie slot by slot, so that a minute of all symbols is one stretch of
    memory. Measured with 625 symbols and 256 slots: writing a slot of each takes a third of the
    time, a window that is the same for all two fifths, and a save finds what changed side by side.
    A window of its own for each symbol takes 1.4 times as long at 20 slots, twice at 250. The market
    chain as a whole is a tenth faster at the clock and as fast elsewhere, also with the rings of
    candles, where each symbol is at another slot: so there is one layout for all.
    """

    def __init__(self, rows: Rows, shapes: Mapping[str, Shape]) -> None:
        self._rows = rows
        self._shapes = dict(shapes)
        self._arrays: dict[str, Array] = {}  # with spare rows
        self._texts: dict[str, str] = {}
        self._capacity = _rounded(len(rows))
        self._seen = len(rows)  # the number of rows that the views below have
        self._views: dict[str, Array] = {}  # what was handed out since the mark
        self._rings: dict[str, Array] = {}  # of these, the read-only ones: they outlive the mark
        self._reads: dict[str, Array] = {}  # what was handed out to be looked at only
        self._live: dict[str, Array] = {}  # the rows in use of what may be written in place
        self._puts: dict[str, tuple[Array, Array]] = {}  # of rings, with the slots written
        self._flats: dict[str, Array] = {}  # of rings, all slots one after the other
        self._written: dict[str, Array] = {}  # slots of each ring written since it was saved
        self._touched: Array | None = None
        self._changes: list[_Change] | None = None  # since the mark; None: nothing to be undone
        self._held: list[_Change] | None = None  # what was settled while changes are held
        for name, shape in self._shapes.items():
            if shape.dtype == "text":
                self._texts[name] = ""
            elif not name.endswith(".*"):
                self._make(name)

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
        if len(self._rows.symbols) == self._seen:
            view = self._views.get(name)
            if view is not None:
                return view
            view = self._live.get(name)
            if view is not None and view.nbytes <= WHOLE_BYTES:  # most columns, most of the time
                if self._changes is not None:
                    self._changes.append((name, None, view.copy()))
                self._views[name] = view
                return view
        return self._opened(name)

    def read(self, name: str) -> Array:
        """A column to be looked at only: what `table[name]` is, without the copy that undoing needs."""
        view = self._reads.get(name) if len(self._rows.symbols) == self._seen else None
        if view is None:
            view = self._live_view(name).view()
            view.flags.writeable = False
            self._reads[name] = view
        return view

    def _opened(self, name: str) -> Any:
        """A column at its first use since the mark: from here on it may be written."""
        if name in self._texts:
            return self._texts[name]
        view = self._live_view(name)
        if name in self._puts:
            view = view.view()
            view.flags.writeable = False
            self._rings[name] = view
        elif self._changes is not None:
            self._changes.append(_before(name, view, self._touched))
        self._views[name] = view
        return view

    def _live_view(self, name: str) -> Array:
        """The rows in use of a column, to be written."""
        if len(self._rows.symbols) != self._seen:
            self._see_rows()
        view = self._live.get(name)
        if view is None:
            if name not in self._arrays:
                self._make(name)
                if self._changes is not None:
                    self._changes.append((name, _WHOLE, None))
            view = self._arrays[name][: self._seen]
            if name in self._written:
                self._puts[name] = view, self._written[name]
            else:
                self._live[name] = view
        return view

    def cells(self, row: Any, slot: Any) -> Cells:
        """One slot of each row, for `at` and `put`; arrays that fit each other, 0 <= slot < width."""
        slots = np.array([slot]) if isinstance(slot, int) else None
        return Cells(np.asarray(slot * self._capacity + row), self._capacity, slots)

    def at(self, name: str, cells: Cells) -> Array:
        """What `table[name][row, slot]` is, of a ring: a fifth of the time."""
        return self._flat(name).take(self._current(cells).flat)

    def _flat(self, name: str) -> Array:
        """A ring, slot by slot, spare rows included."""
        flat = self._flats.get(name) if len(self._rows.symbols) == self._seen else None
        if flat is None:
            self._live_view(name)
            if name not in self._written:
                raise KeyError(f"state {name}: expected a column declared with 'put'")
            flat = self._flats[name] = self._arrays[name].T.reshape(-1)
        return flat

    def _current(self, cells: Cells) -> Cells:
        """The same cells in a table that has grown since."""
        if cells.capacity == self._capacity:
            return cells
        slot, row = np.divmod(cells.flat, cells.capacity)
        return self.cells(row, slot)

    def _put_cells(self, name: str, cells: Cells, values: Any) -> None:
        flat, cells = self._flat(name), self._current(cells)
        if self._changes is not None:
            self._changes.append((name, cells, flat.take(cells.flat)))
        self._written[name][cells.slots] = True
        flat[cells.flat] = values

    def put(self, name: str, index: Any, values: Any) -> None:
        """Write into a column declared as (dtype, width, 'put'): `put("closes", (row, slot), price)`.

        index   anything numpy takes, or `cells`
        """
        if type(index) is Cells:
            self._put_cells(name, index, values)
            return
        found = self._puts.get(name) if len(self._rows.symbols) == self._seen else None
        if found is None:
            self._live_view(name)
            if name not in self._puts:
                self[name][index] = values
                return
            found = self._puts[name]
        view, written = found
        slots: Any = slice(None)
        if type(index) is tuple and len(index) == 2 and index[0] is not None:
            row, slots = index
            index = _fixed(row), _fixed(slots)
        else:
            index = _fixed(index)
        if self._changes is not None:
            before = view[index]
            if before.base is not None:  # a view, which would change with the column
                before = before.copy()
            self._changes.append((name, index, before))
        written[slots] = True
        view[index] = values

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._texts:
            if not isinstance(value, str):
                raise TypeError(f"state {name}: expected a text, found {type(value).__name__}")
            if self._changes is not None:
                self._changes.append((name, _WHOLE, self._texts[name]))
            self._texts[name] = value
            return
        self[name][...] = value

    def __delitem__(self, name: str) -> None:
        self._shape(name)
        array = self._arrays.get(name)
        if array is not None:
            self._forget(name)
            if self._changes is not None:
                self._changes.append((name, _WHOLE, array))

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

    # -- undo: a batch that raised leaves no trace, and one that did not pays for what it used

    def mark(self, touched: Array | None) -> None:
        """Be ready to undo what is changed from here on; `touched`: the rows it may be (None: all)."""
        if len(self._rows.symbols) != self._seen:
            self._see_rows()
        self._touched = touched
        self._changes = []
        self._views = self._rings.copy()

    def settle(self) -> None:
        """What was changed since the mark stays."""
        if self._held is not None:
            self._held += self._changes or []
        self._changes = None

    def hold(self) -> None:
        """From here on keep what is settled, for `give_back`."""
        self._held = []

    def release(self) -> None:
        """What was settled while it was held stays."""
        self._held = None

    def give_back(self) -> None:
        """Take back everything that was settled while it was held."""
        held, self._held = self._held or [], None
        self._take_back(held)

    def undo(self) -> None:
        """Take back what was changed since the mark, the newest change first."""
        changes, self._changes = self._changes or [], None
        self._take_back(changes)

    def _take_back(self, changes: list[_Change]) -> None:
        for name, index, before in reversed(changes):
            if index is None:
                self._live_view(name)[: len(before)] = before
            elif type(index) is Cells:
                self._flat(name)[self._current(index).flat] = before
            elif index is not _WHOLE:
                self._live_view(name)[index] = before
            elif isinstance(before, str):
                self._texts[name] = before
            else:
                self._forget(name)
                if before is not None:
                    self._keep(name, before)
        self._views = self._rings.copy()

    # -- saving and loading

    def columns(self) -> dict[str, Array | str]:
        """Every column with live rows only, and every text, by name."""
        return {name: self[name] for name in [*self._arrays, *self._texts]}

    def stored(self) -> dict[str, Stored | str]:
        """Every column as it lies in memory, and every text, by name."""
        columns: dict[str, Stored | str] = dict(self._texts)
        for name in self._arrays:
            rows = self._live_view(name)
            if name in self._written:
                spare = min(_rounded(self._seen), self._capacity)
                ring = self._arrays[name][:spare].T
                columns[name] = Stored(ring, self._seen, self._written[name])
            else:
                columns[name] = Stored(rows)
        return columns

    def note_saved(self) -> None:
        """From here on, `stored` tells which slots of rings are written."""
        for written in self._written.values():
            written[:] = False

    def load(self, columns: Mapping[str, Any]) -> None:
        """Take over saved columns; those of no declared shape are refused."""
        for name, values in columns.items():
            if name in self._texts:
                self._texts[name] = str(values)
                continue
            view = self._live_view(name)
            if view.shape != values.shape:
                raise StateChanged(f"state {name}: saved {values.shape}, declared {view.shape}")
            _fill(view, values, self._shape(name))
            if name in self._written:
                self._written[name][:] = True

    # -- memory

    def _shape(self, name: str) -> Shape:
        shape = self._shapes.get(name) or self._shapes.get(name.partition(".")[0] + ".*")
        if shape is None:
            raise KeyError(f"state {name}: not declared; declared are {sorted(self._shapes)}")
        return shape

    def _make(self, name: str) -> None:
        self._keep(name, _zeros(self._shape(name), self._capacity))

    def _keep(self, name: str, array: Array) -> None:
        """Have a column, none of it saved."""
        shape = self._shape(name)
        self._arrays[name] = _larger(array, shape, self._capacity)
        if shape.logged:
            self._written[name] = np.ones(shape.width, dtype=bool)

    def _forget(self, name: str) -> None:
        for kept in (*self._view_caches(), self._arrays, self._written):
            kept.pop(name, None)

    def _view_caches(self) -> tuple[dict[str, Any], ...]:
        return self._views, self._rings, self._reads, self._live, self._puts, self._flats

    def _see_rows(self) -> None:
        """There are more rows than the views have: make them again at their next use, with room."""
        self._seen = len(self._rows.symbols)
        for views in self._view_caches():
            views.clear()
        if self._seen > self._capacity:
            self._capacity = _rounded(max(self._seen, self._capacity * 5 // 4))
            for name, array in self._arrays.items():
                self._arrays[name] = _larger(array, self._shape(name), self._capacity)


def _rounded(rows: int) -> int:
    """Rows with spare ones: a new symbol does not move the bytes of a ring's other slots."""
    spare = ROWS_SPARE if rows > ROWS_SPARE else ROWS_SPARE_FEW
    return math.ceil(max(rows, 1) / spare) * spare


def _zeros(shape: Shape, capacity: int) -> Array:
    if shape.logged:
        return np.zeros((shape.width, capacity), dtype=shape.dtype).T
    return np.zeros((capacity, shape.width) if shape.width else capacity, dtype=shape.dtype)


def _larger(array: Array, shape: Shape, capacity: int) -> Array:
    if len(array) >= capacity:
        return array
    larger = _zeros(shape, capacity)
    _fill(larger[: len(array)], array, shape)
    return larger


def _fill(empty: Array, values: Array, shape: Shape) -> None:
    """Copy into a column of zeros. Slots of a ring that hold nothing stay untouched: no memory backs them."""
    if not shape.logged or not values.size:
        empty[...] = values
        return
    slots = np.ascontiguousarray(values.T)
    is_used = slots.view(f"u{slots.itemsize}").any(axis=1)  # by its bits: -0.0 is something
    empty.T[is_used] = slots[is_used]


def _before(name: str, view: Array, touched: Array | None) -> _Change:
    """What a handler may overwrite of a column. Few bytes are copied faster whole than by rows."""
    if touched is None or view.nbytes <= WHOLE_BYTES or 4 * len(touched) > len(view):
        return name, None, view.copy()
    return name, touched, view[touched]


def _fixed(index: Any) -> Any:
    """A part of an index that its owner cannot change any more."""
    return index.copy() if type(index) is np.ndarray or type(index) is list else index


# -- declarations that change


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
