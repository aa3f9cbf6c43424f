"""State tables: they grow, and what is undone leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract import ContractError, function
from runtime.frames import Frame
from runtime.state import Rows, StateChanged, Table, carried, schema_of, shape_of

SHAPES = {
    "high": "f8",
    "ring": ("i8", 3),
    "kept": ("f8", 3, "put"),
    "note": "text",
    "armed.*": "u1",
    "past.*": ("i4", 3, "put"),
}


def table_of(symbols: int = 0) -> tuple[Rows, Table]:
    rows = Rows(f"S{k}" for k in range(symbols))
    return rows, Table(rows, {name: shape_of(name, one) for name, one in SHAPES.items()})


def test_new_symbols_get_zero_rows_and_old_ones_keep_theirs() -> None:
    rows, table = table_of(1)
    table["high"][0] = 5.0
    frame = Frame({"ts_ns": np.zeros(500)}, [f"S{k}" for k in range(500)], np.arange(500))
    rows.bind(frame)
    assert frame["row"].tolist() == list(range(500))
    assert table["high"].tolist() == [5.0] + [0.0] * 499
    assert table["ring"].shape == (500, 3)


def test_a_column_of_a_family_is_made_on_use_and_deleted() -> None:
    _, table = table_of(2)
    table["armed.r1"][1] = 1
    assert table.family("armed") == ["r1"]
    del table["armed.r1"]
    assert table.family("armed") == []
    with pytest.raises(KeyError, match="fired: not declared"):
        table["fired"]


ROWS = st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True)
CHANGES = st.one_of(
    st.tuples(st.just("in place"), ROWS, st.floats(-1e9, 1e9)),
    st.tuples(st.just("put"), ROWS, st.integers(0, 2)),
    st.tuples(st.just("put rows"), ROWS, st.integers(0, 9)),
    st.tuples(st.just("put a stretch"), ROWS, st.integers(0, 2)),
    st.tuples(st.just("put a member"), ROWS, st.integers(0, 2)),
    st.tuples(st.just("member"), ROWS, st.integers(0, 2)),
    st.tuples(st.just("delete"), ROWS, st.integers(0, 2)),
    st.tuples(st.just("text"), ROWS, st.integers(0, 9)),
)


def change(table: Table, what: str, rows: list[int], value: float) -> None:
    """What a handler may do to its state."""
    row = np.array(rows)
    if what == "in place":
        table["high"][row] = value
        table["ring"][row, 1] += 1
    elif what == "put":
        table.put("kept", (row, int(value)), value + 1)
        row[:] = 0  # its own array, to do with as it likes
    elif what == "put rows":
        table.put("kept", row, value)
    elif what == "put a stretch":
        table.put("kept", (slice(rows[0], None), int(value)), rows[-1])
    elif what == "put a member":
        table.put(f"past.{value}", (row, int(value)), 7)
    elif what == "member":
        table[f"armed.{value}"][row] += 1
    elif what == "delete":
        del table[f"armed.{value}"]
        del table[f"past.{value}"]
    else:
        table["note"] = str(value)


def copied(table: Table) -> dict[str, bytes | str]:
    return {
        name: values if isinstance(values, str) else values.tobytes()
        for name, values in table.columns().items()
    }


@given(st.lists(CHANGES, max_size=12), st.lists(CHANGES, max_size=12), st.booleans())
def test_what_is_undone_leaves_no_trace(
    earlier: list[Any], later: list[Any], is_whole: bool
) -> None:
    _, table = table_of(10)
    for one in earlier:
        change(table, *one)
    before = copied(table)
    rows = sorted({row for _, rows, _ in later for row in rows})
    for _ in range(2):  # tried again, and failed again
        table.mark(None if is_whole else np.array(rows, dtype=np.int64))
        for one in later:
            change(table, *one)
        table.undo()
        assert copied(table) == before


@given(st.lists(CHANGES, max_size=12))
def test_what_is_settled_stays(changes: list[Any]) -> None:
    _, table = table_of(10)
    _, plain = table_of(10)
    for one in changes:
        table.mark(np.array(one[1]))
        change(table, *one)
        table.settle()
        change(plain, *one)
    table.undo()
    assert copied(table) == copied(plain)


def test_only_the_columns_a_handler_uses_are_copied_and_only_once() -> None:
    _, table = table_of(10)
    table.mark(None)
    for _ in range(3):
        table["high"][1] += 1
        table["kept"]
    assert [name for name, _, _ in table._changes or ()] == ["high"]


def test_a_column_that_is_only_read_is_not_copied_and_cannot_be_written() -> None:
    rows, table = table_of(3)
    table.mark(None)
    seen = table.read("high")
    assert table._changes == []
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 1.0
    table["high"][1] = 2.0
    assert seen.tolist() == [0.0, 2.0, 0.0]
    table.undo()
    assert table.read("high").tolist() == [0.0, 0.0, 0.0]
    rows.symbols.append("S3")
    assert table.read("high").shape == (4,)


def test_a_member_made_anew_is_what_reading_finds() -> None:
    _, table = table_of(2)
    table["armed.r1"][:] = 1
    assert table.read("armed.r1").tolist() == [1, 1]
    del table["armed.r1"]
    assert table.read("armed.r1").tolist() == [0, 0]


def test_of_a_large_column_the_rows_of_the_frame_are_copied() -> None:
    _, table = table_of(5_000)
    table.mark(np.array([7, 9]))
    table["high"][[7, 9]] = 5.0
    assert [before.shape for _, _, before in table._changes or ()] == [(2,)]
    table.undo()
    assert not table["high"].any()


def test_a_ring_is_written_with_put_and_one_slot_of_all_symbols_is_one_stretch() -> None:
    rows, table = table_of(100)
    with pytest.raises(ValueError, match="read-only"):
        table["kept"][0, 0] = 1.0
    table.put("kept", (np.arange(100), 1), np.arange(100))
    assert table["kept"][:, 1].flags.contiguous
    rows.bind(Frame({"ts_ns": np.zeros(1)}, [f"T{k}" for k in range(900)], np.zeros(1, dtype=int)))
    table.put("kept", (999, 2), 5.0)
    assert table["kept"].shape == (1000, 3)
    assert table["kept"][:, 1].tolist() == [*range(100), *[0] * 900]
    assert table["kept"][:, 1].flags.contiguous
    with pytest.raises(IndexError):
        table.put("kept", (1000, 2), 5.0)


def test_cells_are_what_row_and_slot_are_and_a_write_to_them_is_undone() -> None:
    rows, table = table_of(5)
    table.put("kept", ([0, 1, 2, 3, 4], 1), np.arange(5) + 0.5)
    cells = table.cells(np.array([4, 2]), np.array([1, 2]))
    rows.bind(Frame({"ts_ns": np.zeros(1)}, [f"T{k}" for k in range(900)], np.zeros(1, dtype=int)))
    assert table.at("kept", cells).tolist() == [4.5, 0.0]
    table.mark(None)
    table.put("kept", cells, np.array([7.0, 8.0]))
    assert table["kept"][[4, 2], [1, 2]].tolist() == [7.0, 8.0]
    assert not table["kept"][5:].any()
    table.undo()
    assert table.at("kept", cells).tolist() == [4.5, 0.0]
    with pytest.raises(KeyError, match="declared with 'put'"):
        table.at("ring", cells)


@pytest.mark.parametrize("wrong", ["f7", ("f8", 0), ("f8", "x"), 5, None])
def test_a_wrong_declaration_says_what_may_be_written(wrong: object) -> None:
    with pytest.raises(ContractError, match=r"expected one of .* or 'text', found"):
        shape_of("high", wrong)


def declared(state: dict[str, object], carry: object = None, version: int = 1):  # type: ignore[no-untyped-def]
    @function(reads="ticks.trades", state=state, carry=carry, version=version)
    def one(trades, state):  # type: ignore[no-untyped-def]
        return None

    return one


def test_a_changed_declaration_must_say_what_becomes_of_the_state() -> None:
    old = schema_of(declared({"high": "f8", "low": "f8"}))
    columns = {"high": np.array([1.0]), "low": np.array([2.0])}
    with pytest.raises(StateChanged, match="say carry='keep', carry='clean' or give a function"):
        carried(declared({"high": "f8"}), old, columns)
    kept = carried(declared({"high": "f8", "new": "i8"}, "keep"), old, columns)
    assert list(kept) == ["high"]
    assert carried(declared({"high": "f8"}, "clean"), old, columns) == {}
    moved = carried(
        declared({"top": "f8"}, lambda saved, version: {"top": saved["high"] * version}),
        old,
        columns,
    )
    assert moved["top"].tolist() == [1.0]
    assert carried(declared({"high": "f8", "low": "f8"}), old, columns) is columns
