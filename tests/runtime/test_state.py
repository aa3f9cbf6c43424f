"""State tables: they grow, undo exactly, and come back from a snapshot as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract import ContractError, function
from runtime.frames import Frame
from runtime.snapshots import pack, unpack
from runtime.state import Rows, StateChanged, Table, carried, schema_of, shape_of

SHAPES = {"high": "f8", "ring": ("i8", 3), "note": "text", "armed.*": "u1"}


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


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-1e9, 1e9)), max_size=20), st.booleans())
def test_what_is_undone_leaves_no_trace(changes: list[tuple[int, float]], is_whole: bool) -> None:
    _, table = table_of(10)
    table["high"][:] = np.arange(10)
    table["note"] = "before"
    before = {name: np.copy(column) for name, column in table.columns().items()}
    touched = None if is_whole else np.array(sorted({row for row, _ in changes}), dtype=np.int64)
    table.mark(touched)
    for row, value in changes:
        table["high"][row] = value
        table["ring"][row, 1] = 7
        table["armed.x"][row] = 1
    table["note"] = "after"
    table.undo()
    after = table.columns()
    assert after.keys() == before.keys()
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_a_snapshot_comes_back_and_writes_only_what_changed() -> None:
    _, table = table_of(100)
    table["high"][:] = np.arange(100)
    table["note"] = "hello"
    first = pack(table.stored(), "1-1")
    table["ring"][5] = 9
    second = pack(table.stored(), "1-2", first.meta)
    assert len(second.blob) == table["ring"].nbytes
    assert set(second.meta["blobs"]) == {"1-1", "1-2"}
    columns = unpack(second.meta, {"1-1": first.blob, "1-2": second.blob})
    _, restored = table_of(100)
    restored.load(columns)
    assert all(np.array_equal(restored[name], table[name]) for name in ("high", "ring"))
    assert restored["note"] == "hello"


def test_bytes_that_are_not_those_saved_are_noticed() -> None:
    _, table = table_of(10)
    snapshot = pack(table.stored(), "1-1")
    spoiled = bytes([snapshot.blob[0] ^ 1]) + snapshot.blob[1:]
    with pytest.raises(ValueError, match="checksum differs"):
        unpack(snapshot.meta, {"1-1": spoiled})


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
